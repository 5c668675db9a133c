/**
 * The bars of one topic in order of time, and what must be drawn of them.
 *
 * Bars may arrive in any order, repeatedly and revised. The chart library throws when
 * it is asked to go back in time or to change a point that it does not have; so the
 * series remembers what was drawn and answers with updates that are safe, or a rebuild.
 */
import { type Bar, isFlawed, isNewerVersion } from "klinecast";

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
/** Old bars go in steps of a sixteenth, so that drawing everything anew for it is rare. */
const TRIM_FACTOR = 1 + 1 / 16;
/** A longer hole is drawn as so many empty slots; then the time axis jumps. */
const HOLE_SLOTS_MAX = 500;
/** Empty slots of all holes; with many holes each has fewer, but at least one. */
const EMPTY_SLOTS_MAX = 4_000;

/** Instants from `fromMs` (inclusive) to `toMs` (exclusive). */
export interface Span {
  readonly fromMs: number;
  readonly toMs: number;
}

export class BarSeries {
  #barsMax: number;
  readonly #bars: Bar[] = [];
  readonly #changed = new Set<number>();
  #rebuild = true;
  #lastDrawnMs: number | null = null;
  #lostCount = 0;
  /** The lost bars start before this. */
  #lostBeforeMs = Number.NEGATIVE_INFINITY;

  /** Keeps the latest `barsMax` bars. */
  constructor(barsMax: number) {
    this.#barsMax = barsMax;
  }

  get length(): number {
    return this.#bars.length;
  }

  get first(): Bar | undefined {
    return this.#bars[0];
  }

  get last(): Bar | undefined {
    return this.#bars[this.#bars.length - 1];
  }

  /** Whether no older bar can be taken in. */
  get isFull(): boolean {
    return this.#bars.length >= this.#barsMax;
  }

  /** Closed bars that were lost on the way and have not come since. */
  get lostCount(): number {
    return this.#lostCount;
  }

  /** Where the lost bars start at the latest; null if none are lost. */
  get lostBeforeMs(): number | null {
    return this.#lostCount === 0 ? null : Math.min(this.#lostBeforeMs, this.last?.end_ms ?? this.#lostBeforeMs);
  }

  /** The gateway said that it will not send `count` closed bars before the one of `beforeMs` (null: before now). */
  noteLost(count: number, beforeMs: number | null): void {
    this.#lostCount = Math.min(this.#barsMax, this.#lostCount + count);
    this.#lostBeforeMs = Math.max(this.#lostBeforeMs, beforeMs ?? this.last?.end_ms ?? Number.POSITIVE_INFINITY);
  }

  /** All that is stored from `fromMs` on has come: if no bar is missing there, none is lost any more. */
  forgetLostWithin(fromMs: number): void {
    const { first, lostBeforeMs } = this;
    if (lostBeforeMs === null || first === undefined || first.start_ms >= lostBeforeMs) return;
    if (this.holes({ fromMs: Math.max(fromMs, first.start_ms), toMs: lostBeforeMs }, lostBeforeMs).length > 0) return;
    this.#lostCount = 0;
    this.#lostBeforeMs = Number.NEGATIVE_INFINITY;
  }

  get bars(): readonly Bar[] {
    return this.#bars;
  }

  /** Changes how many bars are kept; what is too much goes. */
  keep(barsMax: number): void {
    this.#barsMax = barsMax;
    this.#trim(barsMax);
  }

  /** The bar that starts exactly then. */
  at(startMs: number): Bar | undefined {
    const bar = this.#bars[this.#position(startMs)];
    return bar?.start_ms === startMs ? bar : undefined;
  }

  /** The bars that start within `span`. */
  within({ fromMs, toMs }: Span): readonly Bar[] {
    return this.#bars.slice(this.#position(fromMs), this.#position(toMs));
  }

  /** Takes `bar` in unless it is not newer than the known version, or too old to be kept. */
  apply(bar: Bar): boolean {
    const isTaken = this.#insert(bar);
    if (isTaken && this.#lostCount > 0 && bar.state === "closed" && bar.start_ms < this.#lostBeforeMs) this.#lostCount -= 1;
    return isTaken;
  }

  /** Takes a page of stored bars in, by ascending start; returns how many of them were new or newer. */
  applyStored(page: readonly Bar[]): number {
    const firstMs = this.first?.start_ms ?? Number.POSITIVE_INFINITY;
    let olderCount = page.findIndex((bar) => bar.start_ms >= firstMs);
    if (olderCount < 0) olderCount = page.length;
    // Older ones go in at once, the newest of them if not all find room; the others one by one.
    const older = page.slice(Math.max(0, olderCount - Math.max(0, this.#barsMax - this.#bars.length)), olderCount);
    if (older.length > 0) {
      this.#bars.splice(0, 0, ...older);
      this.#rebuild = true;
    }
    return older.length + page.slice(olderCount).filter((bar) => this.#insert(bar)).length;
  }

  /**
   * Intervals of which no closed bar is there although later bars are, where they touch `span`: whole,
   * the latest first. The first interval of each ended by `endedMs`.
   */
  holes({ fromMs, toMs }: Span, endedMs: number): Span[] {
    const holes: Span[] = [];
    const add = (hole: Span, intervalMs: number): void => {
      if (hole.fromMs >= toMs || hole.toMs <= fromMs || hole.fromMs + intervalMs > endedMs) return;
      const newer = holes[holes.length - 1];
      if (newer !== undefined && newer.fromMs === hole.toMs) holes[holes.length - 1] = { fromMs: hole.fromMs, toMs: newer.toMs };
      else holes.push(hole);
    };
    for (let index = this.#bars.length - 1; index > 0; index -= 1) {
      const bar = this.#bars[index] as Bar;
      const before = this.#bars[index - 1] as Bar;
      if (bar.start_ms <= fromMs) break;
      if (before.end_ms < bar.start_ms) add({ fromMs: before.end_ms, toMs: bar.start_ms }, before.end_ms - before.start_ms);
      if (before.state === "forming") add({ fromMs: before.start_ms, toMs: before.end_ms }, before.end_ms - before.start_ms);
    }
    return holes;
  }

  /** Closed bars within `span` that lack trades: how many, and from where to where. */
  flaws({ fromMs, toMs }: Span): (Span & { readonly count: number }) | null {
    let oldest: Bar | null = null;
    let newest: Bar | null = null;
    let count = 0;
    for (let index = this.#bars.length - 1; index >= 0; index -= 1) {
      const bar = this.#bars[index] as Bar;
      if (bar.start_ms < fromMs) break;
      if (bar.start_ms >= toMs || !isFlawed(bar)) continue;
      newest ??= bar;
      oldest = bar;
      count += 1;
    }
    return oldest === null || newest === null ? null : { fromMs: oldest.start_ms, toMs: newest.end_ms, count };
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
      if (position === 0 && this.isFull) return false;
      this.#bars.splice(position, 0, bar);
      this.#rebuild = true;
      this.#trim(this.#barsMax * TRIM_FACTOR);
      return true;
    }
    const previous = this.last;
    this.#bars.push(bar);
    if (previous !== undefined && previous.end_ms === bar.start_ms) this.#markChanged(bar.start_ms);
    else this.#rebuild = true;
    this.#trim(this.#barsMax * TRIM_FACTOR);
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

  /** Drops the oldest bars if there are more than `length`. */
  #trim(length: number): void {
    if (this.#bars.length <= length) return;
    this.#bars.splice(0, this.#bars.length - this.#barsMax);
    this.#rebuild = true;
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
    const holeCount = this.#bars.filter((bar, index) => index > 0 && bar.start_ms > (this.#bars[index - 1] as Bar).end_ms).length;
    const holeSlotsMax = Math.max(1, Math.min(HOLE_SLOTS_MAX, Math.floor(EMPTY_SLOTS_MAX / Math.max(1, holeCount))));
    const slots: Slot[] = [];
    let previous: Bar | null = null;
    for (const bar of this.#bars) {
      if (previous !== null) {
        const intervalMs = previous.end_ms - previous.start_ms;
        const missing = (bar.start_ms - previous.end_ms) / intervalMs;
        // Months differ in length, so a hole between them cannot be counted in the previous one's.
        const count = Number.isInteger(missing) ? Math.min(missing, holeSlotsMax) : 0;
        for (let index = 0; index < count; index += 1) slots.push({ start_ms: previous.end_ms + index * intervalMs, bar: null });
      }
      slots.push({ start_ms: bar.start_ms, bar });
      previous = bar;
    }
    return slots;
  }
}

/** As the client orders versions; a stored bar with another content replaces one with the same revision. */
function isNewer(bar: Bar, known: Bar): boolean {
  if (bar.epoch === 0 && known.epoch === 0 && bar.rev === known.rev) return !isSame(bar, known);
  return isNewerVersion(bar, known);
}

function isSame(a: Bar, b: Bar): boolean {
  const names = ["open", "high", "low", "close", "volume", "count", "quality"] as const;
  return names.every((name) => a[name] === b[name]);
}
