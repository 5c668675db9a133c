/** The newest trades of one symbol, the newest first, with the holes between them. Pure. */
import type { Trade } from "klinecast";

export type TapeEntry =
  | { readonly kind: "trade"; readonly trade: Trade }
  /** Trades are missing here; null: nobody knows how many. */
  | { readonly kind: "hole"; readonly count: number | null };

export class TradeTape {
  readonly #max: number;
  /** The oldest first. */
  #entries: TapeEntry[] = [];
  #epoch: number | null = null;

  /** Keeps `max` entries. */
  constructor(max: number) {
    this.#max = max;
  }

  get length(): number {
    return this.#entries.length;
  }

  /** The entry at `index`; 0 is the newest. */
  at(index: number): TapeEntry | undefined {
    return this.#entries[this.#entries.length - 1 - index];
  }

  add(trade: Trade): void {
    // What came before the first trade was never wanted.
    if (this.#epoch !== null) {
      if (this.#epoch !== trade.epoch) this.#put({ kind: "hole", count: null });
      else if ((trade.skipped ?? 0) > 0) this.#put({ kind: "hole", count: trade.skipped ?? 0 });
    }
    this.#epoch = trade.epoch;
    this.#put({ kind: "trade", trade });
  }

  clear(): void {
    this.#entries = [];
    this.#epoch = null;
  }

  #put(entry: TapeEntry): void {
    this.#entries.push(entry);
    // Not at each trade: moving all entries for each would cost more than the trades.
    if (this.#entries.length >= 2 * this.#max) this.#entries = this.#entries.slice(-this.#max);
  }
}
