/** Fetches what a HistoryPlan asks for, and puts it into the chart's series. */
import type { BarSeries } from "./bar-series.js";
import { type BarPage, barsPath, failureOf, type HistoryFailure, readFirstMs, readPage, SYMBOLS_PATH } from "./history-api.js";
import { HistoryPlan, type HistoryRequest, type HistoryState, type WantedBars } from "./history-plan.js";
import { timeframeMs } from "./timeframe.js";

/** An answer that takes longer is given up. */
const ANSWER_TIMEOUT_MS = 20_000;
/** Without knowing the symbol's exchange it is asked for after this long all the same. */
const EXCHANGE_WAIT_MS = 1_000;

const UNREADABLE: HistoryFailure = { kind: "unreadable", message: "History's answer cannot be read.", retryAfterMs: null };
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
  #target: HistoryTarget | null = null;
  #plan = new HistoryPlan(60_000);
  #shownAtMs = 0;
  /** What the last question named. */
  #exchange: string | null = null;
  #abort: AbortController | null = null;

  constructor(options: HistoryOptions) {
    this.#options = options;
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
    const { symbol, width, series, topic } = target;
    const abort = new AbortController();
    this.#abort = abort;
    const path = barsPath({ symbol, exchange, width, ...request });
    const answer = this.#options.isOwnServer ? await this.#fetch(path, (body) => readPage(body, topic), abort) : FOREIGN;
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
    const answer = await this.#fetch(SYMBOLS_PATH, (body) => readFirstMs(body, symbol, exchange), new AbortController());
    return typeof answer === "number" ? answer : null;
  }

  /** What `read` makes of the answer; it gives null for one that it cannot read. */
  async #fetch<T>(path: string, read: (body: unknown) => T | null, abort: AbortController): Promise<T | HistoryFailure> {
    const { token } = this.#options;
    const headers = token === null ? {} : { authorization: `Bearer ${token}` };
    const timeout = window.setTimeout(() => abort.abort(), ANSWER_TIMEOUT_MS);
    try {
      const response = await fetch(path, { signal: abort.signal, headers });
      if (!response.ok) return failureOf(response.status, await response.text(), response.headers.get("retry-after"));
      return read(await response.json()) ?? UNREADABLE;
    } catch {
      return UNREACHABLE;
    } finally {
      window.clearTimeout(timeout);
    }
  }
}
