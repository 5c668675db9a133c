/** Fetches what a HistoryPlan asks for, and puts it into the chart's series. */
import { type BarPage, type BarQuestion, firstStoredMs, History as StoredBars, HistoryError, type HistoryFailure } from "klinecast";
import type { BarSeries } from "./bar-series.js";
import { HistoryPlan, type HistoryRequest, type HistoryState, type WantedBars } from "./history-plan.js";
import { timeframeMs } from "./timeframe.js";

/** Without knowing the symbol's exchange it is asked for after this long all the same. */
const EXCHANGE_WAIT_MS = 1_000;

const UNREACHABLE: HistoryFailure = { kind: "unreachable", message: "History does not answer at the moment.", retryAfterMs: null };
const FOREIGN: HistoryFailure = { kind: "absent", message: "History comes only from this page's own server.", retryAfterMs: null };

export interface HistoryTarget {
  readonly topic: string;
  readonly symbol: string;
  readonly width: string;
  readonly series: BarSeries;
}

export interface HistoryOptions {
  /** The token that the gateway wants, if any. */
  readonly token: string | null;
  /** Whether the gateway is the page's own: the page may ask no other server for history. */
  readonly isOwnServer: boolean;
  /** In lower case; null while unknown. */
  readonly exchangeOf: (symbol: string) => string | null;
  /** Bars came, or the state has changed. */
  readonly onChange: (target: HistoryTarget, bars: BarPage["bars"]) => void;
}

export class History {
  readonly #options: HistoryOptions;
  readonly #stored: StoredBars;
  #target: HistoryTarget | null = null;
  #plan = new HistoryPlan(60_000);
  #shownAtMs = 0;
  /** What the last question named. */
  #exchange: string | null = null;
  #abort: AbortController | null = null;

  constructor(options: HistoryOptions) {
    this.#options = options;
    // Asked once: the plan knows when to ask again.
    this.#stored = new StoredBars({ url: "", retriesMax: 0, ...(options.token === null ? {} : { token: options.token }) });
  }

  get state(): HistoryState {
    return this.#plan.state;
  }

  /** The chart shows `target` from now on; what was asked for another one is dropped. */
  show(target: HistoryTarget): void {
    if (target.series === this.#target?.series) return;
    this.#abort?.abort();
    this.#target = target;
    this.#plan = new HistoryPlan(timeframeMs(target.width) ?? 60_000);
    this.#shownAtMs = performance.now();
  }

  /** The connection to the gateway is back. */
  reconnected(): void {
    this.#plan.reconnected();
  }

  /** Asks for what `view` needs and the series lacks, if anything. */
  update(view: WantedBars, nowMs: number): void {
    const target = this.#target;
    if (target === null) return;
    const exchange = this.#options.exchangeOf(target.symbol);
    if (exchange === null && performance.now() - this.#shownAtMs < EXCHANGE_WAIT_MS) return;
    // Without its exchange a symbol of several was refused.
    if (exchange !== this.#exchange && exchange !== null) this.#plan.reconnected();
    this.#exchange = exchange;
    const request = this.#plan.next(target.series, view, nowMs);
    if (request !== null) void this.#ask(target, this.#plan, request, exchange);
  }

  async #ask(target: HistoryTarget, plan: HistoryPlan, request: HistoryRequest, exchange: string | null): Promise<void> {
    const { symbol, width, series } = target;
    const abort = new AbortController();
    this.#abort = abort;
    const answer = this.#options.isOwnServer ? await this.#page({ symbol, exchange, width, ...request }, abort.signal) : FOREIGN;
    // Another chart is shown by now.
    if (this.#target !== target) return;
    if ("kind" in answer) {
      plan.failed(request, answer, performance.now());
      this.#options.onChange(target, []);
      return;
    }
    const taken = series.applyStored(answer.bars);
    if (request.kind === "heal" && request.fromMs !== null) series.forgetLostWithin(request.fromMs);
    plan.answered(request, answer, taken, performance.now());
    this.#options.onChange(target, answer.bars);
  }

  /** When the first stored bar of `symbol` begins; null if that cannot be had. */
  async firstMs(symbol: string): Promise<number | null> {
    if (!this.#options.isOwnServer) return null;
    const exchange = this.#options.exchangeOf(symbol);
    return this.#stored.symbols().then(
      (symbols) => firstStoredMs(symbols, symbol, exchange),
      () => null,
    );
  }

  async #page(question: BarQuestion, signal: AbortSignal): Promise<BarPage | HistoryFailure> {
    try {
      return await this.#stored.page(question, signal);
    } catch (error) {
      return error instanceof HistoryError ? error.failure : UNREACHABLE;
    }
  }
}
