/** The prices of the last day of symbols, from history, for their sparklines: one question after another. */
import { type History, HistoryError } from "klinecast";

const DAY_MS = 86_400_000;
/** Closes of these bars are the points of a day. */
const WIDTH = "15m";
const BARS_MAX = 96;
/** Between two questions: a table may have hundreds of symbols. */
const PAUSE_MS = 100;
/** Failures in a row after which nothing is asked any more. */
const FAILURES_MAX = 20;

export class PastTrails {
  readonly #history: Pick<History, "page"> | null;
  readonly #onPast: (symbol: string, past: readonly { timeMs: number; price: number }[]) => void;
  readonly #asked = new Set<string>();
  readonly #waiting = new Map<string, string | null>();
  #isAsking = false;
  #failures = 0;

  constructor(history: Pick<History, "page"> | null, onPast: (symbol: string, past: readonly { timeMs: number; price: number }[]) => void) {
    this.#history = history;
    this.#onPast = onPast;
  }

  /** Asks for the past of `symbol` of `exchange`, once; null: its exchange is not known. */
  want(symbol: string, exchange: string | null): void {
    if (this.#history === null || this.#failures >= FAILURES_MAX || this.#asked.has(symbol)) return;
    this.#asked.add(symbol);
    this.#waiting.set(symbol, exchange);
    void this.#askAll(this.#history);
  }

  async #askAll(history: Pick<History, "page">): Promise<void> {
    if (this.#isAsking) return;
    this.#isAsking = true;
    for (;;) {
      const [next] = this.#waiting;
      if (next === undefined || this.#failures >= FAILURES_MAX) break;
      const [symbol, exchange] = next;
      this.#waiting.delete(symbol);
      const nowMs = Date.now();
      try {
        const page = await history.page({ symbol, exchange, width: WIDTH, fromMs: nowMs - DAY_MS, toMs: null, limit: BARS_MAX });
        this.#failures = 0;
        this.#onPast(symbol, page.bars.map((bar) => ({ timeMs: bar.end_ms, price: Number(bar.close) })));
      } catch (error) {
        // Without the past, the line begins when the page was opened.
        const isAbsent = error instanceof HistoryError && (error.failure.kind === "absent" || error.failure.kind === "access");
        this.#failures += isAbsent ? FAILURES_MAX : 1;
      }
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    }
    this.#isAsking = false;
  }
}
