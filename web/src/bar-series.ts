/**
 * The bars of one topic in order of time, and what must be drawn of them.
 *
 * Bars may arrive in any order, repeatedly and revised. The chart library throws when
 * it is asked to go back in time or to change a point that it does not have; so the
 * series remembers what was drawn and answers with updates that are safe, or a rebuild.
 */
import type { Bar } from "./protocol.js";

/** One place on the time axis; `bar` is null where no bar is known. */
export interface Slot {
  readonly start_ms: number;
  readonly bar: Bar | null;
}

export interface BarUpdate {
  readonly bar: Bar;
  /** The bar is already drawn and is not the last one. */
  readonly historical: boolean;
}

export type Drawing =
  | { readonly kind: "nothing" }
  | { readonly kind: "updates"; readonly updates: readonly BarUpdate[] }
  /** Everything, in order of time; intervals without a bar between the first and the last are empty slots. */
  | { readonly kind: "rebuild"; readonly slots: readonly Slot[] };

/** From this many single updates on, drawing everything anew is cheaper. */
const UPDATES_MAX = 64;

export class BarSeries {
  /** Intervals kept, counted back from the latest bar. */
  readonly #intervalsMax: number;
  readonly #bars: Bar[] = [];
  readonly #changed = new Set<number>();
  #rebuild = true;
  #lastDrawnMs: number | null = null;
  #lostCount = 0;
  /** The lost bars start before this. */
  #lostBeforeMs = Number.NEGATIVE_INFINITY;

  constructor(intervalsMax: number) {
    this.#intervalsMax = intervalsMax;
  }

  get length(): number {
    return this.#bars.length;
  }

  get last(): Bar | undefined {
    return this.#bars[this.#bars.length - 1];
  }

  /** Closed bars that were lost on the way and have not come since. */
  get lostCount(): number {
    return this.#lostCount;
  }

  /** The gateway said that it will not send `count` closed bars before the one of `beforeMs` (null: before now). */
  noteLost(count: number, beforeMs: number | null): void {
    this.#lostCount = Math.min(this.#intervalsMax, this.#lostCount + count);
    this.#lostBeforeMs = Math.max(this.#lostBeforeMs, beforeMs ?? this.last?.end_ms ?? Number.POSITIVE_INFINITY);
  }

  get bars(): readonly Bar[] {
    return this.#bars;
  }

  /** The bar that starts exactly then. */
  at(startMs: number): Bar | undefined {
    const bar = this.#bars[this.#position(startMs)];
    return bar?.start_ms === startMs ? bar : undefined;
  }

  /** Takes `bar` in unless it is not newer than the known version, or too old to be kept. */
  apply(bar: Bar): boolean {
    const isTaken = this.#insert(bar);
    if (isTaken && this.#lostCount > 0 && bar.state === "closed" && bar.start_ms < this.#lostBeforeMs) this.#lostCount -= 1;
    return isTaken;
  }

  #insert(bar: Bar): boolean {
    const position = this.#position(bar.start_ms);
    const known = this.#bars[position];
    if (known !== undefined && known.start_ms === bar.start_ms) {
      if (!isNewer(bar, known)) return false;
      this.#bars[position] = bar;
      this.#markChanged(bar.start_ms);
      return true;
    }
    if (known !== undefined) {
      if (bar.start_ms < this.#windowStartMs()) return false;
      this.#bars.splice(position, 0, bar);
      this.#rebuild = true;
      return true;
    }
    const previous = this.last;
    this.#bars.push(bar);
    if (previous !== undefined && previous.end_ms === bar.start_ms) this.#markChanged(bar.start_ms);
    else this.#rebuild = true;
    this.#trim();
    return true;
  }

  /** What to draw since the last call, which is then taken as drawn. */
  takeDrawing(): Drawing {
    const lastDrawnMs = this.#lastDrawnMs;
    this.#lastDrawnMs = this.last?.start_ms ?? null;
    if (this.#rebuild || lastDrawnMs === null) {
      this.#rebuild = false;
      this.#changed.clear();
      return { kind: "rebuild", slots: this.#slots() };
    }
    if (this.#changed.size === 0) return { kind: "nothing" };
    const updates: BarUpdate[] = [];
    for (const startMs of [...this.#changed].sort((a, b) => a - b)) {
      const bar = this.at(startMs);
      if (bar !== undefined) updates.push({ bar, historical: startMs < lastDrawnMs });
    }
    this.#changed.clear();
    return { kind: "updates", updates };
  }

  /** Nothing counts as drawn any more: the canvas shows another series now. */
  forgetDrawing(): void {
    this.#rebuild = true;
    this.#lastDrawnMs = null;
  }

  #markChanged(startMs: number): void {
    this.#changed.add(startMs);
    if (this.#changed.size > UPDATES_MAX) this.#rebuild = true;
    if (this.#rebuild) this.#changed.clear();
  }

  /** Drops what has left the window, in steps of a quarter so that rebuilds are rare. */
  #trim(): void {
    const first = this.#bars[0];
    const windowStartMs = this.#windowStartMs();
    if (first === undefined || first.start_ms >= windowStartMs - this.#windowMs() / 4) return;
    this.#bars.splice(0, this.#position(windowStartMs));
    this.#rebuild = true;
  }

  #windowMs(): number {
    const last = this.last;
    return last === undefined ? 0 : (last.end_ms - last.start_ms) * this.#intervalsMax;
  }

  #windowStartMs(): number {
    return (this.last?.end_ms ?? 0) - this.#windowMs();
  }

  /** Index of the first bar that starts at or after `startMs`. */
  #position(startMs: number): number {
    let low = 0;
    let high = this.#bars.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#bars[middle] as Bar).start_ms < startMs) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #slots(): Slot[] {
    const slots: Slot[] = [];
    let previous: Bar | null = null;
    for (const bar of this.#bars) {
      if (previous !== null) {
        const intervalMs = previous.end_ms - previous.start_ms;
        // Months differ in length, so a hole between them cannot be counted in the previous one's.
        if ((bar.start_ms - previous.end_ms) % intervalMs === 0) {
          for (let startMs = previous.end_ms; startMs < bar.start_ms; startMs += intervalMs) {
            slots.push({ start_ms: startMs, bar: null });
          }
        }
      }
      slots.push({ start_ms: bar.start_ms, bar });
      previous = bar;
    }
    return slots;
  }
}

function isNewer(bar: Bar, known: Bar): boolean {
  return (bar.epoch - known.epoch || bar.rev - known.rev || bar.seq - known.seq) > 0;
}
