/** What the page's address says: the view in the hash, the gateway in `?ws=`. Pure. */
import type { Span } from "./bar-series.js";
import type { Zone } from "./time-text.js";
import { isTimeRange, type TimeRange } from "./time-range.js";
import { timeframeMs } from "./timeframe.js";

/** What the address asks for; what it does not say, or says wrongly, is null. */
export interface Choice {
  readonly symbol: string | null;
  readonly timeframe: string | null;
  readonly range: TimeRange | null;
  readonly zone: Zone | null;
  /** A part of the past. */
  readonly span: Span | null;
}

/** Times outside of these are typing mistakes. */
const TIME_MIN_MS = Date.UTC(2000, 0);
const TIME_MAX_MS = Date.UTC(2200, 0);

/** Reads `#symbol=BTC-USD&timeframe=1m&range=1d&zone=utc` or, of the past, `…&from=2026-11-21T10:00:00Z&to=…`. */
export function choiceFromHash(hash: string): Choice {
  const values = new URLSearchParams(hash.replace(/^#/, ""));
  // Symbols are upper case everywhere; people type as they like.
  const symbol = values.get("symbol")?.toUpperCase() ?? null;
  const timeframe = values.get("timeframe");
  const range = values.get("range");
  const zone = values.get("zone");
  const [fromMs, toMs] = [timeFrom(values.get("from")), timeFrom(values.get("to"))];
  return {
    symbol: symbol !== null && /^[A-Z0-9][A-Z0-9:._-]{0,63}$/.test(symbol) ? symbol : null,
    timeframe: timeframe !== null && timeframeMs(timeframe) !== null ? timeframe : null,
    range: isTimeRange(range) ? range : null,
    zone: zone === "utc" || zone === "local" ? zone : null,
    span: fromMs !== null && toMs !== null && fromMs < toMs ? { fromMs, toMs } : null,
  };
}

function timeFrom(text: string | null): number | null {
  if (text === null || !/^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z$/.test(text)) return null;
  const timeMs = Date.parse(text);
  return timeMs >= TIME_MIN_MS && timeMs <= TIME_MAX_MS ? timeMs : null;
}

export interface View {
  readonly symbol: string;
  readonly timeframe: string;
  readonly range?: TimeRange | null;
  readonly zone?: Zone | null;
  readonly span?: Span | null;
}

/** The hash that leads back to `view`. */
export function hashOf({ symbol, timeframe, range = null, zone = null, span = null }: View): string {
  const parts = [
    // The colon of `OKX:BTC-USDT` is legal in a fragment and reads better unescaped.
    `symbol=${encodeURIComponent(symbol).replaceAll("%3A", ":")}`,
    `timeframe=${timeframe}`,
    range === null ? "" : `range=${range}`,
    span === null ? "" : `from=${timeTo(span.fromMs)}&to=${timeTo(span.toMs)}`,
    zone === null ? "" : `zone=${zone}`,
  ];
  return `#${parts.filter((each) => each !== "").join("&")}`;
}

function timeTo(timeMs: number): string {
  return `${new Date(timeMs).toISOString().slice(0, 19)}Z`;
}

export interface GatewayAddress {
  readonly url: string;
  /** True if the address came from `?ws=` and is not the page's own host. */
  readonly isForeign: boolean;
}

/** `/ws` of the page's own origin, or what `?ws=` says if that is a WebSocket address. */
export function gatewayAddress(location: { protocol: string; host: string; search: string }): GatewayAddress {
  const override = new URLSearchParams(location.search).get("ws");
  if (override !== null && /^wss?:\/\//.test(override) && URL.canParse(override)) {
    return { url: override, isForeign: new URL(override).host !== location.host };
  }
  const scheme = location.protocol === "https:" ? "wss:" : "ws:";
  return { url: `${scheme}//${location.host}/ws`, isForeign: false };
}
