/** Ranges of time that the chart can show at a press, and the widths that suit them. Pure. */
import { parseWidth, sourceOf } from "klinecast";
import { nearestLength, timeframeMs } from "./timeframe.js";

const DAY_MS = 86_400_000;

/** Length of each range in milliseconds; all is everything that is stored. */
const LENGTHS_MS = {
  "1h": 3_600_000,
  "6h": 6 * 3_600_000,
  "1d": DAY_MS,
  "1w": 7 * DAY_MS,
  "1M": 31 * DAY_MS,
  "1y": 366 * DAY_MS,
  all: Number.POSITIVE_INFINITY,
} as const;

export type TimeRange = keyof typeof LENGTHS_MS;

export const TIME_RANGES = Object.keys(LENGTHS_MS) as readonly TimeRange[];

/** The widths of the menu, shortest first. */
export const MENU_WIDTHS: readonly string[] = ["1s", "5s", "15s", "1m", "3m", "5m", "15m", "30m", "1h", "4h", "1d", "1w"];

/** Pixels that a bar of a range has, with its distance to the next. */
const PIXELS_PER_BAR = 3;
/** A width that is chosen already stays if it gives between a third and three times the bars that fit best. */
const TOLERANCE = 3;

export function isTimeRange(text: string | null): text is TimeRange {
  return text !== null && Object.hasOwn(LENGTHS_MS, text);
}

export function rangeMs(range: TimeRange): number {
  return LENGTHS_MS[range];
}

/** The width, made of `timeframes`, in which `lengthMs` is shown best on `pixels`; `current` if that is good enough. */
export function widthForLength(lengthMs: number, current: string, pixels: number, timeframes: readonly string[]): string {
  const barsBest = Math.max(60, pixels / PIXELS_PER_BAR);
  const bars = lengthMs / (timeframeMs(current) ?? 60_000);
  if (bars >= barsBest / TOLERANCE && bars <= barsBest * TOLERANCE) return current;
  const offered = MENU_WIDTHS.filter((each) => {
    const width = parseWidth(each);
    return width !== null && sourceOf(width, timeframes) !== null;
  });
  return nearestLength(lengthMs / barsBest, offered) ?? current;
}
