/**
 * Bars of one topic in a series of TradingView's lightweight-charts: history and live in one call,
 * older bars on demand. The library is not imported: any series with its two methods will do.
 */
import { isNewerVersion } from "./bar-versions.js";
import type { KlinecastClient } from "./client.js";
import { toNumber } from "./decimal.js";
import type { History } from "./history.js";
import type { Bar, BarTopic } from "./messages.js";
import type { EventOf } from "./stream-events.js";

/** A candle as the library takes it: its time in seconds, its prices as numbers. */
export interface Candle {
  readonly time: number;
  readonly open: number;
  readonly high: number;
  readonly low: number;
  readonly close: number;
}

/** A column of a histogram series, for the volume. */
export interface VolumeColumn {
  readonly time: number;
  readonly value: number;
  readonly color?: string;
}

/** The part of the library's `ISeriesApi` that is used. */
export interface SeriesLike<P> {
  setData(points: P[]): void;
  update(point: P, historicalUpdate?: boolean): void;
}

export interface ChartFeedConfig {
  readonly client: KlinecastClient;
  readonly topic: BarTopic;
  /** A candlestick or bar series. The types are loose because the library's own times are branded. */
  readonly series: SeriesLike<any>;
  /** A histogram series for the volume. */
  readonly volume?: SeriesLike<any>;
  /** Bars of the past to begin with (default 500). */
  readonly bars?: number;
  /** Most bars kept; the oldest go first (default 10,000). */
  readonly barsMax?: number;
  /** For `loadOlder`. */
  readonly history?: History;
  /** In place of the candle of a bar, for example to colour it. */
  readonly candle?: (bar: Bar) => Candle;
  readonly column?: (bar: Bar) => VolumeColumn;
  /** Everything of the topic, also what is no bar: `live`, `skipped`, `dropped`. */
  readonly onEvent?: (event: EventOf<BarTopic>) => void;
  /** The gateway refused the topic, or the client gave up. */
  readonly onError?: (error: Error) => void;
}

const BARS_DEFAULT = 500;
const BARS_MAX_DEFAULT = 10_000;
const OLDER_BARS_MIN = 1;

/** Keeps a series equal to a topic's bars until `close`. */
export class ChartFeed {
  readonly #config: ChartFeedConfig;
  readonly #abort = new AbortController();
  /** Ascending by start. */
  #bars: Bar[] = [];
  #exchange: string | null = null;
  /** Whether nothing was drawn yet: the past is drawn at once. */
  #isLoading = true;
  #older: Promise<number> | null = null;
  #hasOlder = true;

  constructor(config: ChartFeedConfig) {
    this.#config = config;
    void this.#follow();
  }

  /** The bars in the series, in order of time. */
  get bars(): readonly Bar[] {
    return this.#bars;
  }

  /** Whether there may be bars before the first. */
  get hasOlder(): boolean {
    return this.#hasOlder && this.#bars.length < this.#barsMax;
  }

  /**
   * Puts up to `count` older bars before the first and resolves to how many came; 0 at the first
   * stored bar. Call it when the chart is scrolled to its left edge; it asks one question at a time.
   */
  loadOlder(count = BARS_DEFAULT): Promise<number> {
    this.#older ??= this.#loadOlder(count).finally(() => (this.#older = null));
    return this.#older;
  }

  /** Unsubscribes; the series keeps what it shows. */
  close(): void {
    this.#abort.abort();
  }

  get #barsMax(): number {
    return Math.max(1, this.#config.barsMax ?? BARS_MAX_DEFAULT);
  }

  async #follow(): Promise<void> {
    const { client, topic, bars = BARS_DEFAULT, onEvent, onError } = this.#config;
    try {
      const stream = client.stream(topic, { from: { last: Math.min(bars, this.#barsMax) }, signal: this.#abort.signal });
      for await (const first of stream) {
        // What waits is drawn together.
        const changed = new Set<number>();
        for (const event of [first, ...stream.takeAll()]) {
          if (event.kind === "bar" && this.#insert(event.bar)) changed.add(event.bar.start_ms);
          if (event.kind === "live") this.#isLoading = false;
          onEvent?.(event);
        }
        if (!this.#isLoading) this.#draw(changed);
      }
    } catch (error) {
      onError?.(error instanceof Error ? error : new Error(String(error)));
    }
  }

  /** Starts of the bars that are drawn, ascending as they are; null before the first drawing. */
  #drawn: { readonly starts: Set<number>; lastMs: number } | null = null;

  #draw(changed: ReadonlySet<number>): void {
    const { series, volume } = this.#config;
    const drawn = this.#drawn;
    const last = this.#bars[this.#bars.length - 1];
    if (last === undefined) return;
    const changedBars = this.#bars.filter(({ start_ms }) => changed.has(start_ms));
    // A bar between others, or before them, needs a new drawing; so does a bar that fell off.
    const isAppend = drawn !== null && changedBars.every(({ start_ms }) => drawn.starts.has(start_ms) || start_ms > drawn.lastMs) && this.#bars.length >= drawn.starts.size;
    if (drawn === null || !isAppend) {
      series.setData(this.#bars.map((bar) => this.#candle(bar)));
      volume?.setData(this.#bars.map((bar) => this.#column(bar)));
      this.#drawn = { starts: new Set(this.#bars.map(({ start_ms }) => start_ms)), lastMs: last.start_ms };
      return;
    }
    for (const bar of changedBars) {
      const isHistorical = bar.start_ms < drawn.lastMs;
      series.update(this.#candle(bar), isHistorical);
      volume?.update(this.#column(bar), isHistorical);
      drawn.starts.add(bar.start_ms);
      drawn.lastMs = Math.max(drawn.lastMs, bar.start_ms);
    }
  }

  async #loadOlder(count: number): Promise<number> {
    const { history, topic } = this.#config;
    const first = this.#bars[0];
    const room = this.#barsMax - this.#bars.length;
    if (history === undefined || first === undefined || room < OLDER_BARS_MIN || !this.#hasOlder) return 0;
    const [, width = "", ...symbol] = topic.split(":");
    const question = { symbol: symbol.join(":"), exchange: this.#exchange, width, fromMs: null, toMs: first.start_ms, limit: Math.min(count, room) };
    const page = await history.page(question, this.#abort.signal);
    const older = page.bars.filter((bar) => bar.start_ms < first.start_ms && bar.state === "closed");
    this.#hasOlder = page.hasMore && older.length > 0;
    for (const bar of older) this.#insert(bar);
    if (older.length > 0) this.#draw(new Set(older.map(({ start_ms }) => start_ms)));
    return older.length;
  }

  /** True if `bar` changed what is to be drawn. */
  #insert(bar: Bar): boolean {
    this.#exchange ??= bar.exchange ?? null;
    const bars = this.#bars;
    let position = bars.length;
    // Nearly always one of the last.
    while (position > 0 && (bars[position - 1] as Bar).start_ms >= bar.start_ms) position -= 1;
    const known = bars[position];
    if (known?.start_ms === bar.start_ms) {
      if (!isNewerVersion(bar, known)) return false;
      bars[position] = bar;
      return true;
    }
    if (position === 0 && bars.length >= this.#barsMax) return false;
    bars.splice(position, 0, bar);
    // In steps, because the series is drawn anew for it.
    if (bars.length > this.#barsMax * 1.05 + 1) bars.splice(0, bars.length - this.#barsMax);
    return true;
  }

  #candle(bar: Bar): Candle {
    if (this.#config.candle !== undefined) return this.#config.candle(bar);
    const { open, high, low, close } = bar;
    return { time: bar.start_ms / 1_000, open: toNumber(open), high: toNumber(high), low: toNumber(low), close: toNumber(close) };
  }

  #column(bar: Bar): VolumeColumn {
    return this.#config.column?.(bar) ?? { time: bar.start_ms / 1_000, value: toNumber(bar.volume) };
  }
}
