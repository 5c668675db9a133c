/** The way of a price over the last day, in a bounded number of points, for a sparkline. Pure. */

export const TRAIL_POINTS_MAX = 96;
const DAY_MS = 86_400_000;
/** The points of a full day are as far apart as this. */
const SPACING_MAX_MS = DAY_MS / TRAIL_POINTS_MAX;

interface Point {
  timeMs: number;
  price: number;
}

export class PriceTrail {
  #points: Point[] = [];
  /** Points are at least this far apart, but for the newest. */
  #spacingMs = 1_000;

  get points(): readonly Readonly<Point>[] {
    return this.#points;
  }

  /** The price at `timeMs`. Older points than a day before are forgotten, and so is a time that goes back. */
  add(timeMs: number, price: number): void {
    if (!Number.isFinite(timeMs) || !Number.isFinite(price)) return;
    const newest = this.#points[this.#points.length - 1];
    if (newest !== undefined && timeMs < newest.timeMs) return;
    const before = this.#points[this.#points.length - 2];
    // The newest point moves until it is far enough from the one before.
    if (newest !== undefined && before !== undefined && newest.timeMs - before.timeMs < this.#spacingMs) {
      newest.timeMs = timeMs;
      newest.price = price;
    } else {
      this.#points.push({ timeMs, price });
    }
    this.#shorten(timeMs);
  }

  /** Puts points of the past before those that are known. They are in ascending order. */
  addPast(past: readonly Readonly<Point>[]): void {
    const own = this.#points;
    const firstMs = own[0]?.timeMs ?? Number.POSITIVE_INFINITY;
    this.#points = [];
    for (const { timeMs, price } of past) if (timeMs < firstMs) this.add(timeMs, price);
    for (const { timeMs, price } of own) this.add(timeMs, price);
  }

  /** The points as text for a polyline in a box of this size; empty if there are fewer than two. */
  polyline(width: number, height: number): string {
    const points = this.#points;
    const [first, last] = [points[0], points[points.length - 1]];
    if (first === undefined || last === undefined || last.timeMs <= first.timeMs) return "";
    let [low, high] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
    for (const { price } of points) {
      low = Math.min(low, price);
      high = Math.max(high, price);
    }
    const x = (timeMs: number): number => ((timeMs - first.timeMs) / (last.timeMs - first.timeMs)) * width;
    const y = (price: number): number => (high > low ? height - ((price - low) / (high - low)) * height : height / 2);
    return points.map(({ timeMs, price }) => `${x(timeMs).toFixed(1)},${y(price).toFixed(1)}`).join(" ");
  }

  #shorten(nowMs: number): void {
    const isOld = (point: Point | undefined): boolean => point !== undefined && nowMs - point.timeMs > DAY_MS;
    while (isOld(this.#points[0])) this.#points.shift();
    while (this.#points.length > TRAIL_POINTS_MAX) {
      if (this.#spacingMs >= SPACING_MAX_MS) {
        this.#points.shift();
        continue;
      }
      this.#spacingMs = Math.min(SPACING_MAX_MS, this.#spacingMs * 2);
      this.#thin();
    }
  }

  /** Leaves out points that are too close to the one before; the newest stays. */
  #thin(): void {
    const kept: Point[] = [];
    for (const [index, point] of this.#points.entries()) {
      const before = kept[kept.length - 1];
      if (index === this.#points.length - 1 || before === undefined || point.timeMs - before.timeMs >= this.#spacingMs) kept.push(point);
    }
    this.#points = kept;
  }
}
