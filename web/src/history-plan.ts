/**
 * What of a chart's past is to be asked for next: the newest bars first, then what the view shows
 * and the series lacks, then bars that lacked trades and may be whole by now. One question at a
 * time. It has no clock and no socket: the caller passes the time and reports the answers.
 */
import { type BarPage, type HistoryFailure, PAGE_BARS_MAX } from "klinecast";
import type { BarSeries, Span } from "./bar-series.js";

export interface HistoryRequest {
  readonly kind: "newest" | "older" | "hole" | "heal";
  readonly fromMs: number | null;
  readonly toMs: number | null;
  readonly limit: number;
}

/** What the chart needs, and when that is asked by the server's clock. */
export interface WantedBars extends Span {
  readonly serverNowMs: number;
}

export type HistoryState =
  | { readonly kind: "loading" | "idle" }
  /** The oldest stored bar is in the series. */
  | { readonly kind: "begin" }
  /** The series holds as many bars as a page may. */
  | { readonly kind: "full" }
  | { readonly kind: "failed"; readonly message: string; readonly isRetried: boolean };

/** Bars of the first question at least: more than a screen. */
const FIRST_BARS_MIN = 400;
/** Bars of a question for older ones at least. */
const OLDER_BARS_MIN = 400;
/** A bar may come this long after its end: trades are waited for, and an interval without any is known late. */
const CLOSING_MS = 5_000;
/** An empty hole is asked for again after 1 s, 2 s, 4 s, ... */
const HOLE_RETRY_MS = 1_000;
const HOLE_ATTEMPTS_MAX = 6;
/** Holes whose attempts are remembered. */
const HOLES_MAX = 256;
/** Bars that lack trades are asked for again after 10 s, 20 s, 40 s, ... */
const HEAL_RETRY_MS = 10_000;
const HEAL_RETRY_MAX_MS = 300_000;
const HEAL_ATTEMPTS_MAX = 8;
/** After a failure: 1 s, 2 s, 4 s, ... */
const FAILURE_RETRY_MS = 1_000;
const FAILURE_RETRY_MAX_MS = 30_000;
/** Lost bars are looked for among so many bars at least: they need not be neighbours. */
const LOST_BARS_MIN = 100;
/** Where the past ended, there may be more of it after 5 s, 10 s, 20 s, ...: a new server fills its store. */
const BEGIN_RETRY_MS = 5_000;
const BEGIN_RETRY_MAX_MS = 300_000;

interface Healing {
  /** What was to be healed when it was looked at last. */
  mark: string;
  attempts: number;
  askedMs: number;
  dueMs: number | null;
}

function newHealing(): Healing {
  return { mark: "", attempts: 0, askedMs: Number.NEGATIVE_INFINITY, dueMs: null };
}

export class HistoryPlan {
  readonly #intervalMs: number;
  #inFlight: HistoryRequest | null = null;
  #isStarted = false;
  /** Whether answers are worth asking for; a refusal ends that. */
  #isStopped = false;
  /** When the oldest stored bar was reached, and how often in a row; null if there is more. */
  #begin: { readonly atMs: number; readonly attempts: number } | null = null;
  #isFull = false;
  #notBeforeMs = Number.NEGATIVE_INFINITY;
  #failures = 0;
  #failure: HistoryFailure | null = null;
  readonly #holes = new Map<number, { attempts: number; dueMs: number }>();
  /** The hole that was asked for last. */
  #asked: Span | null = null;
  #healing: Healing = newHealing();

  /** For bars of this length. */
  constructor(intervalMs: number) {
    this.#intervalMs = intervalMs;
  }

  get state(): HistoryState {
    if (this.#failure !== null) return { kind: "failed", message: this.#failure.message, isRetried: !this.#isStopped };
    if (!this.#isStarted) return { kind: "loading" };
    if (this.#begin !== null) return { kind: "begin" };
    if (this.#inFlight?.kind === "newest" || this.#inFlight?.kind === "older") return { kind: "loading" };
    return { kind: this.#isFull ? "full" : "idle" };
  }

  /**
   * What to ask for now so that `series` has what `view` needs; null if there is nothing to do.
   * The caller asks, and then calls `answered` or `failed`. `nowMs` is of a clock that only goes
   * forward; the times of `view` are those of bars.
   */
  next(series: BarSeries, view: WantedBars, nowMs: number): HistoryRequest | null {
    if (this.#inFlight !== null || this.#isStopped || nowMs < this.#notBeforeMs) return null;
    this.#inFlight = this.#isStarted
      ? (this.#hole(series, view, nowMs) ?? this.#older(series, view, nowMs) ?? this.#heal(series, view, nowMs))
      : { kind: "newest", fromMs: null, toMs: null, limit: this.#bars(view.toMs - view.fromMs, FIRST_BARS_MIN) };
    return this.#inFlight;
  }

  /** The answer came, and `taken` of its bars were new to the series. */
  answered(request: HistoryRequest, page: BarPage, taken: number, nowMs: number): void {
    if (this.#inFlight === request) this.#inFlight = null;
    this.#failures = 0;
    this.#failure = null;
    this.#notBeforeMs = Number.NEGATIVE_INFINITY;
    switch (request.kind) {
      case "newest":
        this.#isStarted = true;
        if (!page.hasMore) this.#pastEnds(taken, nowMs);
        return;
      case "older":
        // More to come, and nothing new: whatever the server means, do not ask on and on.
        if (!page.hasMore || taken === 0) this.#pastEnds(taken, nowMs);
        else this.#begin = null;
        return;
      case "hole":
        if (taken === 0 && this.#asked !== null) this.#holeStays(this.#asked.fromMs, nowMs);
        return;
      case "heal":
        return;
    }
  }

  failed(request: HistoryRequest, failure: HistoryFailure, nowMs: number): void {
    if (this.#inFlight === request) this.#inFlight = null;
    this.#failure = failure;
    this.#failures += 1;
    const delayMs = Math.min(FAILURE_RETRY_MAX_MS, FAILURE_RETRY_MS * 2 ** (this.#failures - 1));
    this.#notBeforeMs = nowMs + Math.max(delayMs, failure.retryAfterMs ?? 0);
    // These answers will be the same the next time.
    this.#isStopped = failure.kind === "absent" || failure.kind === "refused" || failure.kind === "access";
  }

  /** The connection is back: what could not be had before may be there now. */
  reconnected(): void {
    this.#isStopped = false;
    this.#failures = 0;
    this.#notBeforeMs = Number.NEGATIVE_INFINITY;
    this.#holes.clear();
    this.#healing = newHealing();
    this.#begin = null;
  }

  #hole(series: BarSeries, view: WantedBars, nowMs: number): HistoryRequest | null {
    for (const hole of series.holes(view, view.serverNowMs - CLOSING_MS)) {
      const known = this.#holes.get(hole.fromMs);
      if (known !== undefined && (known.attempts >= HOLE_ATTEMPTS_MAX || nowMs < known.dueMs)) continue;
      this.#asked = hole;
      const fromMs = Math.max(hole.fromMs, view.fromMs);
      const toMs = Math.min(hole.toMs, view.toMs);
      // A long hole is filled from the side that is in sight.
      const limitMs = PAGE_BARS_MAX * this.#intervalMs;
      const isFromLeft = toMs - fromMs > limitMs && hole.fromMs > view.fromMs;
      return { kind: "hole", fromMs, toMs: isFromLeft ? fromMs + limitMs : toMs, limit: this.#bars(toMs - fromMs, 1) };
    }
    return null;
  }

  #pastEnds(taken: number, nowMs: number): void {
    this.#begin = { atMs: nowMs, attempts: taken > 0 ? 1 : (this.#begin?.attempts ?? 0) + 1 };
  }

  #holeStays(fromMs: number, nowMs: number): void {
    const attempts = (this.#holes.get(fromMs)?.attempts ?? 0) + 1;
    this.#holes.delete(fromMs);
    this.#holes.set(fromMs, { attempts, dueMs: nowMs + HOLE_RETRY_MS * 2 ** (attempts - 1) });
    const oldest = this.#holes.keys().next().value;
    if (this.#holes.size > HOLES_MAX && oldest !== undefined) this.#holes.delete(oldest);
  }

  #older(series: BarSeries, view: Span, nowMs: number): HistoryRequest | null {
    const { first } = series;
    this.#isFull = series.isFull;
    if (this.#isFull || (first !== undefined && first.start_ms <= view.fromMs)) return null;
    if (this.#begin !== null) {
      const delayMs = Math.min(BEGIN_RETRY_MAX_MS, BEGIN_RETRY_MS * 2 ** (this.#begin.attempts - 1));
      if (nowMs - this.#begin.atMs < delayMs) return null;
    }
    if (first === undefined) return { kind: "newest", fromMs: null, toMs: null, limit: FIRST_BARS_MIN };
    // A view far in the past is filled by itself; the hole between is filled when it comes into sight.
    const isFar = first.start_ms - view.toMs > PAGE_BARS_MAX * this.#intervalMs;
    const toMs = isFar ? view.toMs : first.start_ms;
    return { kind: "older", fromMs: null, toMs, limit: this.#bars(toMs - view.fromMs, OLDER_BARS_MIN) };
  }

  #heal(series: BarSeries, view: Span, nowMs: number): HistoryRequest | null {
    const { lostBeforeMs } = series;
    const flaws = series.flaws(view);
    if (lostBeforeMs === null && flaws === null) {
      this.#healing.dueMs = null;
      return null;
    }
    const state = this.#healing;
    const mark = `${flaws?.count} ${flaws?.toMs} ${lostBeforeMs} ${series.lostCount}`;
    if (mark !== state.mark) {
      // What was lost on the way can be asked for at once; trades that are missing are being looked for.
      const dueMs = Math.max(state.askedMs, lostBeforeMs === null ? nowMs : Number.NEGATIVE_INFINITY) + HEAL_RETRY_MS;
      state.mark = mark;
      state.attempts = 0;
      state.dueMs = Math.min(state.dueMs ?? dueMs, dueMs);
    }
    if (state.dueMs === null || nowMs < state.dueMs || state.attempts >= HEAL_ATTEMPTS_MAX) return null;
    state.attempts += 1;
    state.askedMs = nowMs;
    state.dueMs = nowMs + Math.min(HEAL_RETRY_MAX_MS, HEAL_RETRY_MS * 2 ** state.attempts);
    const toMs = Math.max(flaws?.toMs ?? 0, lostBeforeMs ?? 0);
    const lostFromMs = lostBeforeMs === null ? toMs : lostBeforeMs - Math.max(LOST_BARS_MIN, 2 * series.lostCount) * this.#intervalMs;
    const fromMs = Math.max(toMs - PAGE_BARS_MAX * this.#intervalMs, Math.min(flaws?.fromMs ?? toMs, lostFromMs));
    return { kind: "heal", fromMs, toMs, limit: PAGE_BARS_MAX };
  }

  /** As many bars as `spanMs` holds, within what a page may have. */
  #bars(spanMs: number, least: number): number {
    const bars = Math.ceil(spanMs / this.#intervalMs);
    return Math.min(PAGE_BARS_MAX, Math.max(least, Number.isFinite(bars) ? bars : PAGE_BARS_MAX));
  }
}
