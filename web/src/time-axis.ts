/** The places of the drawn time axis, and the times that they stand for; beyond both ends by extrapolation. Pure. */

export class TimeAxis {
  readonly #times: number[];
  readonly #intervalMs: number;

  /** `times` are the starts of the drawn places, ascending. */
  constructor(times: number[], intervalMs: number) {
    this.#times = times;
    this.#intervalMs = intervalMs;
  }

  get length(): number {
    return this.#times.length;
  }

  /** A place was added at the end, unless `startMs` is there already. */
  extend(startMs: number): void {
    const last = this.#times[this.#times.length - 1];
    if (last === undefined || startMs > last) this.#times.push(startMs);
  }

  /** The time at a place, which need not be a whole number; null if nothing is drawn. */
  timeAt(place: number): number | null {
    const { length } = this.#times;
    const [first, last] = [this.#times[0], this.#times[length - 1]];
    if (first === undefined || last === undefined) return null;
    if (place <= 0) return first + place * this.#intervalMs;
    if (place >= length - 1) return last + (place - length + 1) * this.#intervalMs;
    const before = this.#times[Math.floor(place)] ?? last;
    const after = this.#times[Math.ceil(place)] ?? last;
    return before + (after - before) * (place % 1);
  }

  /** The place of the first bar that starts at `timeMs` or later; null if nothing is drawn. */
  placeOf(timeMs: number): number | null {
    const { length } = this.#times;
    const [first, last] = [this.#times[0], this.#times[length - 1]];
    if (first === undefined || last === undefined) return null;
    if (timeMs < first) return (timeMs - first) / this.#intervalMs;
    if (timeMs > last) return length - 1 + (timeMs - last) / this.#intervalMs;
    let low = 0;
    let high = length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#times[middle] as number) < timeMs) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
