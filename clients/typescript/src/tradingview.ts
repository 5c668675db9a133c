/**
 * A datafeed for TradingView's charting library: symbols and past bars from history, live bars from
 * the gateway, joined without a hole. The library is not imported: the types here are the part of its
 * `IBasicDataFeed` that is used.
 */
import type { KlinecastClient } from "./client.js";
import { toNumber } from "./decimal.js";
import { type History, HistoryError } from "./history.js";
import { PAGE_BARS_MAX, type StoredSymbol } from "./history-api.js";
import type { Bar, BarTopic } from "./messages.js";
import { parseWidth } from "./width.js";

export interface TradingViewBar {
  /** Unix milliseconds, the start. */
  time: number;
  open: number;
  high: number;
  low: number;
  close: number;
  volume: number;
}

export interface TradingViewSymbol {
  name: string;
  ticker: string;
  full_name: string;
  description: string;
  type: string;
  session: string;
  timezone: string;
  exchange: string;
  listed_exchange: string;
  minmov: number;
  pricescale: number;
  format: string;
  has_intraday: boolean;
  has_seconds: boolean;
  has_daily: boolean;
  has_weekly_and_monthly: boolean;
  seconds_multipliers: string[];
  intraday_multipliers: string[];
  supported_resolutions: string[];
  volume_precision: number;
  data_status: string;
}

export interface PeriodParams {
  /** Unix seconds, inclusive. */
  readonly from: number;
  /** Unix seconds, exclusive. */
  readonly to: number;
  /** How many bars are needed; more important than `from`. */
  readonly countBack: number;
  readonly firstDataRequest: boolean;
}

export interface TradingViewConfig {
  readonly client: KlinecastClient;
  readonly history: History;
  /** What the chart offers (default from a second to a month). Any number of minutes works. */
  readonly resolutions?: readonly string[];
  /** Digits after the point of a symbol's prices (default: as its newest bar has). */
  readonly priceDigits?: (symbol: string) => number | undefined;
}

const RESOLUTIONS = ["1S", "5S", "15S", "30S", "1", "3", "5", "15", "30", "60", "120", "240", "720", "1D", "1W", "1M"];
/** The list of symbols is asked for at most this often. */
const SYMBOLS_KEPT_MS = 30_000;
const SEARCH_RESULTS_MAX = 50;
/** The library is told to load anew at most this often: each time it asks for all bars in sight. */
const RESET_INTERVAL_MS = 10_000;
const PRICE_DIGITS_MAX = 16;
/** Most bars of one `getBars`. */
const BARS_OF_CALL_MAX = 10_000;
const RECENT_BARS_MAX = 100;
const TOPICS_REMEMBERED_MAX = 200;

/** A resolution of the library as a width of bars: `5` is `5m`, `60` is `1h`, `1D` is `1d`; null if it is none. */
export function widthOfResolution(resolution: string): string | null {
  const parts = /^(\d{0,5})([SDWM]?)$/.exec(resolution);
  if (parts === null || resolution === "") return null;
  const [, digits = "", unit = ""] = parts;
  const count = Number(digits === "" ? 1 : digits);
  if (unit === "") return checked(count % 1_440 === 0 ? `${count / 1_440}d` : count % 60 === 0 ? `${count / 60}h` : `${count}m`);
  const units: Readonly<Record<string, string>> = { S: "s", D: "d", W: "w", M: "M" };
  return checked(`${count}${units[unit]}`);
}

function checked(width: string): string | null {
  return parseWidth(width) === null ? null : width;
}

/** Give it to the library as `datafeed`. */
export class TradingViewDatafeed {
  readonly #config: TradingViewConfig;
  readonly #live = new Map<string, LiveTopic>();
  /** The newest bars that the library got by `getBars`, by topic. */
  readonly #newest = new Map<string, TradingViewBar>();
  #symbols: { readonly atMs: number; readonly list: Promise<StoredSymbol[]> } | null = null;

  constructor(config: TradingViewConfig) {
    this.#config = config;
  }

  onReady(callback: (configuration: object) => void): void {
    const supported_resolutions = this.#config.resolutions ?? RESOLUTIONS;
    // The library wants its callbacks after the call has returned.
    queueMicrotask(() => callback({ supported_resolutions, supports_marks: false, supports_timescale_marks: false, supports_time: false }));
  }

  searchSymbols(input: string, exchange: string, _type: string, onResult: (results: object[]) => void): void {
    const wanted = input.toLowerCase().replace(/[^a-z0-9]/g, "");
    const result = (each: StoredSymbol): object => ({
      symbol: each.symbol,
      ticker: tickerOf(each),
      full_name: tickerOf(each),
      description: each.symbol,
      exchange: each.exchange.toUpperCase(),
      type: "crypto",
    });
    this.#list().then(
      (symbols) => {
        const found = symbols.filter((each) => {
          const text = `${each.exchange}${each.symbol}`.toLowerCase().replace(/[^a-z0-9]/g, "");
          return text.includes(wanted) && (exchange === "" || each.exchange === exchange.toLowerCase());
        });
        onResult(found.slice(0, SEARCH_RESULTS_MAX).map(result));
      },
      () => onResult([]),
    );
  }

  resolveSymbol(name: string, onResolve: (symbol: TradingViewSymbol) => void, onError: (reason: string) => void): void {
    this.#resolve(name).then(onResolve, (error: unknown) => onError(messageOf(error)));
  }

  getBars(
    symbol: TradingViewSymbol,
    resolution: string,
    { to, countBack, firstDataRequest }: PeriodParams,
    onResult: (bars: TradingViewBar[], meta: { noData: boolean }) => void,
    onError: (reason: string) => void,
  ): void {
    this.#bars(symbol, resolution, to, countBack, firstDataRequest).then(
      (bars) => onResult(bars, { noData: bars.length === 0 }),
      (error: unknown) => onError(messageOf(error)),
    );
  }

  subscribeBars(symbol: TradingViewSymbol, resolution: string, onTick: (bar: TradingViewBar) => void, guid: string, onResetCacheNeeded: () => void): void {
    this.unsubscribeBars(guid);
    const width = widthOfResolution(resolution);
    if (width === null) return;
    const topic: BarTopic = `kline:${width}:${symbol.name}`;
    // Two charts of one symbol share the subscription.
    let live = this.#live.get(topic);
    if (live === undefined) {
      live = new LiveTopic(this.#config.client, topic, this.#newest.get(topic));
      this.#live.set(topic, live);
    }
    live.add(guid, { onTick, onResetCacheNeeded, newest: this.#newest.get(topic), resetAtMs: Number.NEGATIVE_INFINITY });
  }

  unsubscribeBars(guid: string): void {
    for (const [topic, live] of this.#live) if (live.remove(guid)) this.#live.delete(topic);
  }

  /** Ends all subscriptions. */
  close(): void {
    for (const live of this.#live.values()) live.end();
    this.#live.clear();
  }

  async #bars(symbol: TradingViewSymbol, resolution: string, to: number, countBack: number, isFirst: boolean): Promise<TradingViewBar[]> {
    const width = widthOfResolution(resolution);
    if (width === null) throw new RangeError(`there are no bars of ${resolution}: write 1S, 7, 60, 1D, 1W or 1M`);
    const wanted = Math.max(1, Math.min(Number.isFinite(countBack) ? countBack : PAGE_BARS_MAX, BARS_OF_CALL_MAX));
    let bars: Bar[] = [];
    let cursor: string | null = null;
    do {
      const limit = Math.min(PAGE_BARS_MAX, wanted - bars.length);
      const page = await this.#config.history.page({
        symbol: symbol.name,
        exchange: symbol.exchange.toLowerCase(),
        width,
        fromMs: null,
        toMs: to * 1_000,
        limit,
        isFormingWanted: isFirst && cursor === null,
        cursor,
      });
      bars = [...page.bars, ...bars];
      if (page.bars.length === 0 || page.next === cursor) break;
      cursor = page.next;
    } while (cursor !== null && bars.length < wanted);
    const shown = bars.map(tradingViewBar);
    const newest = shown[shown.length - 1];
    if (isFirst && newest !== undefined) this.#remember(`kline:${width}:${symbol.name}`, newest);
    return shown;
  }

  #remember(topic: string, newest: TradingViewBar): void {
    this.#newest.delete(topic);
    this.#newest.set(topic, newest);
    const oldest = this.#newest.keys().next().value;
    if (this.#newest.size > TOPICS_REMEMBERED_MAX && oldest !== undefined) this.#newest.delete(oldest);
  }

  async #resolve(name: string): Promise<TradingViewSymbol> {
    const wanted = name.toUpperCase();
    const symbols = await this.#list();
    const namesOf = ({ exchange, symbol, topic_symbol }: StoredSymbol): string[] => [topic_symbol, `${exchange}:${topic_symbol}`, `${exchange}:${symbol}`];
    const known = symbols.find((each) => namesOf(each).some((each) => each.toUpperCase() === wanted));
    if (known === undefined) throw new RangeError(`there is no symbol ${name}`);
    const { exchange, topic_symbol } = known;
    const digits = this.#config.priceDigits?.(topic_symbol) ?? (await this.#digitsOf(known));
    const resolutions = [...(this.#config.resolutions ?? RESOLUTIONS)];
    return {
      name: topic_symbol,
      ticker: tickerOf(known),
      full_name: tickerOf(known),
      description: known.symbol,
      type: "crypto",
      session: "24x7",
      timezone: "Etc/UTC",
      exchange: exchange.toUpperCase(),
      listed_exchange: exchange.toUpperCase(),
      minmov: 1,
      pricescale: 10 ** Math.min(PRICE_DIGITS_MAX, Math.max(0, digits)),
      format: "price",
      has_intraday: true,
      has_seconds: true,
      has_daily: true,
      has_weekly_and_monthly: true,
      seconds_multipliers: resolutions.filter((each) => each.endsWith("S")).map((each) => each.slice(0, -1)),
      intraday_multipliers: resolutions.filter((each) => /^\d+$/.test(each)),
      supported_resolutions: resolutions,
      volume_precision: 8,
      data_status: "streaming",
    };
  }

  /** Digits after the point of the newest bars' prices. */
  async #digitsOf({ exchange, topic_symbol }: StoredSymbol): Promise<number> {
    const page = await this.#config.history.page({ symbol: topic_symbol, exchange, width: "1m", fromMs: null, toMs: null, limit: 50 });
    const texts = page.bars.flatMap(({ open, high, low, close }) => [open, high, low, close]);
    return Math.max(0, ...texts.map((text) => (text.includes(".") ? text.length - text.indexOf(".") - 1 : 0)));
  }

  #list(): Promise<StoredSymbol[]> {
    const nowMs = performance.now();
    if (this.#symbols === null || nowMs - this.#symbols.atMs > SYMBOLS_KEPT_MS) {
      const list = this.#config.history.symbols();
      this.#symbols = { atMs: nowMs, list };
      // A failure is not kept.
      list.catch(() => (this.#symbols = null));
    }
    return this.#symbols.list;
  }
}

interface Reader {
  readonly onTick: (bar: TradingViewBar) => void;
  readonly onResetCacheNeeded: () => void;
  /** The newest bar that the library has. */
  newest: TradingViewBar | undefined;
  resetAtMs: number;
}

/** The live bars of one topic, for all charts that show it. */
class LiveTopic {
  readonly #abort = new AbortController();
  readonly #readers = new Map<string, Reader>();
  /** The latest bars, by start, for a chart that joins and for telling what has changed. */
  readonly #recent = new Map<number, TradingViewBar>();

  constructor(client: KlinecastClient, topic: BarTopic, newest: TradingViewBar | undefined) {
    void this.#follow(client, topic, newest);
  }

  add(guid: string, reader: Reader): void {
    this.#readers.set(guid, reader);
    const { newest } = reader;
    const lacking = [...this.#recent.values()].filter((bar) => newest === undefined || bar.time >= newest.time);
    for (const bar of lacking.sort((a, b) => a.time - b.time)) this.#give(reader, bar, undefined);
  }

  /** True if nobody reads any more, and the topic has ended. */
  remove(guid: string): boolean {
    if (!this.#readers.delete(guid) || this.#readers.size > 0) return false;
    this.end();
    return true;
  }

  end(): void {
    this.#abort.abort();
  }

  async #follow(client: KlinecastClient, topic: BarTopic, newest: TradingViewBar | undefined): Promise<void> {
    // From the newest bar on that the library has: what has closed since comes first.
    const from = newest === undefined ? { last: 1 } : { ms: newest.time };
    try {
      for await (const event of client.stream(topic, { from, signal: this.#abort.signal })) {
        if (event.kind === "dropped") for (const reader of this.#readers.values()) this.#reset(reader);
        if (event.kind !== "bar") continue;
        const bar = tradingViewBar(event.bar);
        const before = this.#recent.get(bar.time);
        this.#recent.delete(bar.time);
        this.#recent.set(bar.time, bar);
        const oldest = this.#recent.keys().next().value;
        if (this.#recent.size > RECENT_BARS_MAX && oldest !== undefined) this.#recent.delete(oldest);
        for (const reader of this.#readers.values()) this.#give(reader, bar, before);
      }
    } catch {
      // The gateway refused the topic, or the client gave up: the charts keep what they have.
    }
  }

  #give(reader: Reader, bar: TradingViewBar, before: TradingViewBar | undefined): void {
    const { newest } = reader;
    if (newest === undefined || bar.time >= newest.time) {
      reader.newest = bar;
      reader.onTick(bar);
      return;
    }
    // The library cannot change a bar of the past: it has to ask again.
    if (before === undefined || !isSame(bar, before)) this.#reset(reader);
  }

  #reset(reader: Reader): void {
    const nowMs = performance.now();
    if (nowMs - reader.resetAtMs < RESET_INTERVAL_MS) return;
    reader.resetAtMs = nowMs;
    reader.onResetCacheNeeded();
  }
}

/** The library's name of a symbol: its exchange in front, once. */
function tickerOf({ exchange, symbol }: StoredSymbol): string {
  return `${exchange.toUpperCase()}:${symbol}`;
}

function isSame(a: TradingViewBar, b: TradingViewBar): boolean {
  return a.open === b.open && a.high === b.high && a.low === b.low && a.close === b.close && a.volume === b.volume;
}

function tradingViewBar({ start_ms, open, high, low, close, volume }: Bar): TradingViewBar {
  return { time: start_ms, open: toNumber(open), high: toNumber(high), low: toNumber(low), close: toNumber(close), volume: toNumber(volume) };
}

function messageOf(error: unknown): string {
  return error instanceof HistoryError ? error.failure.message : error instanceof Error ? error.message : String(error);
}
