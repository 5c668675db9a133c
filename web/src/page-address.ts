/** What the page's address says: chosen symbol and timeframe in the hash, the gateway in `?ws=`. Pure. */
import { timeframeMs } from "./timeframe.js";

export interface Choice {
  readonly symbol: string | null;
  readonly timeframe: string | null;
}

/** Reads `#symbol=BTC-USD&timeframe=1m`; what is missing or malformed is null. */
export function choiceFromHash(hash: string): Choice {
  const values = new URLSearchParams(hash.replace(/^#/, ""));
  // Symbols are upper case everywhere; people type as they like.
  const symbol = values.get("symbol")?.toUpperCase() ?? null;
  const timeframe = values.get("timeframe");
  return {
    symbol: symbol !== null && /^[A-Z0-9][A-Z0-9:._-]{0,63}$/.test(symbol) ? symbol : null,
    timeframe: timeframe !== null && timeframeMs(timeframe) !== null ? timeframe : null,
  };
}

export function hashOf(symbol: string, timeframe: string): string {
  // The colon of `OKX:BTC-USDT` is legal in a fragment and reads better unescaped.
  return `#symbol=${encodeURIComponent(symbol).replaceAll("%3A", ":")}&timeframe=${timeframe}`;
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
