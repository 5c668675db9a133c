/**
 * The bars of the chart: live ones from the gateway, stored ones from history, in one series for
 * each topic. Where the gateway has no bars of a width, they are made here from shorter ones.
 */
import { type Bar, type BarTopic, endOf, type KlinecastClient, parseWidth, sourceOf, startOf, type Width } from "klinecast";
import { foldBars } from "./bar-fold.js";
import { BarSeries } from "./bar-series.js";
import { History, type HistoryOptions } from "./history.js";
import type { HistoryState, WantedBars } from "./history-plan.js";
import { barTopic, TIMEFRAMES_DEFAULT } from "./timeframe.js";

/** Bars kept of the series that is shown. */
const SHOWN_BARS_MAX = 10_000;
/** Bars kept of each other series. */
const BARS_MAX = 2_000;
/** Series kept in memory; the one not used for longest goes first. */
const SERIES_MAX = 24;
/** Lost bars of a topic are asked for again at most this often. */
const REFETCH_INTERVAL_MS = 10_000;

interface Fold {
  readonly topic: BarTopic;
  readonly source: BarTopic;
  readonly width: Width;
}

export interface Shown {
  readonly symbol: string;
  readonly timeframe: string;
  /** What the gateway publishes, shortest first. */
  readonly timeframes: readonly string[];
  /** Bars of this timeframe come for all symbols anyway. */
  readonly tableTimeframe: string;
  /** The table's latest bar of the symbol. */
  readonly tableBar: Bar | null;
}

export class ChartData {
  readonly #client: KlinecastClient;
  readonly #history: History;
  readonly #series = new Map<string, BarSeries>();
  readonly #refetchedAtMs = new Map<string, number>();
  /** Topics that the gateway refused, and that are made here. */
  readonly #refused = new Set<string>();
  #subscribed: readonly BarTopic[] = [];
  #fold: Fold | null = null;
  #topic = "";

  constructor(client: KlinecastClient, historyOptions: HistoryOptions) {
    this.#client = client;
    this.#history = new History(historyOptions);
  }

  get historyState(): HistoryState {
    return this.#history.state;
  }

  /** The topics that the chart is subscribed to. */
  get subscribed(): readonly string[] {
    return this.#subscribed;
  }

  /** The series that `topic` has by now. */
  known(topic: string): BarSeries | undefined {
    return this.#series.get(topic);
  }

  /**
   * The series of what is shown, subscribed at full rate. The symbol's other timeframes collect closed
   * bars only, so that changing the timeframe shows what has passed since.
   */
  show(shown: Shown): BarSeries {
    const { symbol, timeframe, timeframes, tableTimeframe } = shown;
    const topic = barTopic(timeframe, symbol);
    this.#series.get(this.#topic)?.keep(BARS_MAX);
    this.#topic = topic;
    this.#fold = this.#foldOf(topic, shown);
    const live = this.#fold?.source ?? topic;
    // The table's pattern already brings the day's bars of every symbol.
    const isCollected = (other: string): boolean => other !== tableTimeframe && TIMEFRAMES_DEFAULT.includes(other);
    const collected = timeframes.filter(isCollected).map((other) => barTopic(other, symbol)).filter((other) => other !== live);
    const client = this.#client;
    client.unsub(this.#subscribed.filter((each) => each !== live && !collected.includes(each)));
    // Of a width that it does not publish a gateway holds no bars: history has them.
    const recent = timeframes.some((each) => barTopic(each, symbol) === live);
    client.sub([live], { recent, whenPaused: "closed_only" });
    client.sub(collected, { closedOnly: true, recent: true, whenPaused: "closed_only" });
    this.#subscribed = [live, ...collected];
    for (const each of [...timeframes.map((other) => barTopic(other, symbol)), live, topic]) this.#seriesOf(each, shown);
    const series = this.#seriesOf(topic, shown);
    series.keep(SHOWN_BARS_MAX);
    this.#foldAgain();
    this.#history.show({ topic, symbol, width: timeframe, series });
    return series;
  }

  /** Takes a live bar in. */
  apply(bar: Bar): void {
    const series = this.#series.get(bar.topic);
    if (series?.apply(bar) === true && bar.topic === this.#fold?.source) this.#foldAt(this.#fold, series, bar.start_ms);
  }

  /** The gateway will not send `count` closed bars of `topic`. */
  skipped(topic: string, count: number, beforeMs: number | null): void {
    const series = this.#series.get(topic);
    if (series === undefined) return;
    series.noteLost(count, beforeMs);
    const nowMs = performance.now();
    if (nowMs - (this.#refetchedAtMs.get(topic) ?? Number.NEGATIVE_INFINITY) < REFETCH_INTERVAL_MS) return;
    this.#refetchedAtMs.set(topic, nowMs);
    this.#client.refetch([topic]);
  }

  /** The gateway has no bars of `topic`. True if they can be made from others: show it again then. */
  refuse(topic: string, shown: Shown): boolean {
    if (this.#refused.has(topic) || sourceOfTopic(topic, shown) === null) return false;
    this.#refused.add(topic);
    return true;
  }

  /** The connection is back, to a gateway that may have what the one before had not. */
  reconnected(): void {
    this.#refused.clear();
    this.#history.reconnected();
  }

  /** Asks history for what `view` needs and the shown series lacks. */
  update(view: WantedBars, nowMs: number): void {
    this.#history.update(view, nowMs);
  }

  /** When the first stored bar of `symbol` begins; null if nobody knows. */
  firstStoredMs(symbol: string): Promise<number | null> {
    return this.#history.firstMs(symbol);
  }

  #foldOf(topic: BarTopic, shown: Shown): Fold | null {
    const width = parseWidth(shown.timeframe);
    const source = sourceOfTopic(topic, shown);
    return width === null || source === null || !this.#refused.has(topic) ? null : { topic, source, width };
  }

  #foldAgain(): void {
    const fold = this.#fold;
    const source = fold === null ? undefined : this.#series.get(fold.source);
    if (fold === null || source === undefined) return;
    const starts = new Set(source.bars.map(({ start_ms }) => startOf(fold.width, start_ms)));
    for (const startMs of starts) this.#foldAt(fold, source, startMs);
  }

  /** Makes the bar that holds `atMs`. */
  #foldAt({ topic, width }: Fold, source: BarSeries, atMs: number): void {
    const startMs = startOf(width, atMs);
    const endMs = endOf(width, startMs);
    const bar = foldBars(topic, startMs, endMs, source.within({ fromMs: startMs, toMs: endMs }));
    if (bar !== null) this.#series.get(topic)?.apply(bar);
  }

  /** The series of `topic`, made if needed; the table's latest bar is a first one for the day's. */
  #seriesOf(topic: string, { symbol, tableTimeframe, tableBar }: Shown): BarSeries {
    const known = this.#series.get(topic);
    const series = known ?? new BarSeries(BARS_MAX);
    this.#series.delete(topic);
    this.#series.set(topic, series);
    if (known === undefined && tableBar !== null && topic === barTopic(tableTimeframe, symbol)) series.apply(tableBar);
    const oldest = this.#series.keys().next().value;
    if (this.#series.size > SERIES_MAX && oldest !== undefined) {
      this.#series.delete(oldest);
      this.#refetchedAtMs.delete(oldest);
    }
    return series;
  }
}

/** The topic of the widest bars that those of `topic` are made of; null if there is none. */
function sourceOfTopic(topic: string, { symbol, timeframe, timeframes }: Shown): BarTopic | null {
  const width = parseWidth(timeframe);
  if (width === null || topic !== barTopic(timeframe, symbol)) return null;
  const source = sourceOf(width, timeframes.filter((each) => each !== timeframe));
  return source === null ? null : barTopic(source, symbol);
}
