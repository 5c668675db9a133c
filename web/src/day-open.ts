/**
 * The first price of the day, from history. The live bar of a day that began while nobody recorded
 * opens later, and its change would count from then.
 */
import { type Bar, type DecimalText, History, isFlawed } from "klinecast";
import { exchangeOf } from "./feed-health.js";

const HOUR_MS = 3_600_000;
const MINUTE_MS = 60_000;
/** Asked again after 5 s, 10 s, 20 s, ... */
const RETRY_MS = 5_000;
const ATTEMPTS_MAX = 6;
/** One question at a time, and then a pause: a table may have hundreds of symbols. */
const PAUSE_MS = 100;
/** Symbols whose day is remembered: more than a table has, so that none is asked for again and again. */
const SYMBOLS_MAX = 6_000;

interface Known {
  readonly startMs: number;
  open: DecimalText | null;
  attempts: number;
  dueMs: number;
}

export class DayOpens {
  readonly #history: History | null;
  readonly #onChange: (symbol: string) => void;
  readonly #bySymbol = new Map<string, Known>();
  /** When the next question may be asked; none while one is. */
  #nextMs = Number.NEGATIVE_INFINITY;

  /** `history` is null where the page may not ask for any. */
  constructor(history: History | null, onChange: (symbol: string) => void) {
    this.#history = history;
    this.#onChange = onChange;
  }

  /** The first price of the day of `day`, the symbol's bar of a day; null if only the bar itself says one. */
  of(day: Bar, nowMs: number): DecimalText | null {
    if (day.quality !== "partial" || day.interval !== "1d" || this.#history === null) return null;
    let known = this.#bySymbol.get(day.symbol);
    if (known === undefined || known.startMs !== day.start_ms) {
      known = { startMs: day.start_ms, open: null, attempts: 0, dueMs: nowMs };
      this.#bySymbol.delete(day.symbol);
      this.#bySymbol.set(day.symbol, known);
      const oldest = this.#bySymbol.keys().next().value;
      if (this.#bySymbol.size > SYMBOLS_MAX && oldest !== undefined) this.#bySymbol.delete(oldest);
    }
    if (known.open === null && known.attempts < ATTEMPTS_MAX && nowMs >= Math.max(known.dueMs, this.#nextMs)) {
      this.#nextMs = Number.POSITIVE_INFINITY;
      known.dueMs = nowMs + RETRY_MS * 2 ** known.attempts;
      known.attempts += 1;
      void this.#ask(this.#history, day, known);
    }
    return known.open;
  }

  async #ask(history: History, day: Bar, known: Known): Promise<void> {
    // An hour is stored once it is over; before, the first minute says the same.
    const isOver = (day.event_ms ?? day.start_ms) > day.start_ms + HOUR_MS + MINUTE_MS;
    const [width, lengthMs] = isOver ? ["1h", HOUR_MS] : ["1m", MINUTE_MS];
    const exchange = exchangeOf(day.symbol) ?? day.exchange ?? null;
    const question = { symbol: day.symbol, exchange, width: width as string, fromMs: day.start_ms, toMs: day.start_ms + (lengthMs as number), limit: 1 };
    const page = await history.page(question).catch(() => null);
    this.#nextMs = performance.now() + PAUSE_MS;
    const first = page?.bars[0];
    if (first === undefined || first.start_ms !== day.start_ms || isFlawed(first)) return;
    known.open = first.open;
    this.#onChange(day.symbol);
  }
}
