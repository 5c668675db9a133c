/**
 * Widths of bars: a number of seconds to months (`7m`, `4h`, `1w`), and where such bars begin and
 * end. The rules are the server's: bars up to days are counted from 1970-01-01 UTC, weeks start on
 * Mondays, months on the first. Pure.
 */

export type WidthUnit = "s" | "m" | "h" | "d" | "w" | "M";

export interface Width {
  readonly count: number;
  readonly unit: WidthUnit;
}

const DAY_MS = 86_400_000;
/** 1970-01-05, the first Monday of Unix time. */
const FIRST_MONDAY_MS = 4 * DAY_MS;
const COUNT_MAX = 1_000;
const UNIT_MS: Readonly<Record<WidthUnit, number>> = {
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
  d: DAY_MS,
  w: 7 * DAY_MS,
  // A mean month, for lengths only: starts and ends of months come from the calendar.
  M: 30.436_875 * DAY_MS,
};
/** What a number of the smaller unit makes one of the larger. Seven days are no week: weeks start on Mondays. */
const LARGER: readonly (readonly [WidthUnit, number, WidthUnit])[] = [
  ["s", 60, "m"],
  ["m", 60, "h"],
  ["h", 24, "d"],
];

/** The width that `text` says exactly; null if it says none. */
export function parseWidth(text: string): Width | null {
  const parts = /^([1-9]\d{0,3})([smhdwM])$/.exec(text);
  if (parts === null) return null;
  const count = Number(parts[1]);
  return count > COUNT_MAX ? null : { count, unit: parts[2] as WidthUnit };
}

/** The width that a person means: `60m` is `1h`, `4H` is `4h`, `7 min` is `7m`; null if it is none. */
export function widthFromInput(text: string): string | null {
  const parts = /^(\d{1,6}) *([a-z]+)$/i.exec(text.trim());
  if (parts === null) return null;
  const [, digits = "", name = ""] = parts;
  const unit = unitNamed(name);
  if (unit === null) return null;
  let width = { count: Number(digits), unit };
  for (const [smaller, factor, larger] of LARGER) {
    if (width.unit === smaller && width.count % factor === 0) width = { count: width.count / factor, unit: larger };
  }
  const written = widthText(width);
  return parseWidth(written) === null ? null : written;
}

function unitNamed(name: string): WidthUnit | null {
  // `m` and `M` are the only letters whose case counts.
  if (name === "M") return "M";
  const lower = name.toLowerCase();
  const names: readonly (readonly [WidthUnit, RegExp])[] = [
    ["s", /^s(ec(ond)?s?)?$/],
    ["m", /^m(in(ute)?s?)?$/],
    ["h", /^h((ou)?rs?)?$/],
    ["d", /^d(ays?)?$/],
    ["w", /^w(eeks?)?$/],
    ["M", /^mo(n(th)?s?)?$/],
  ];
  return names.find(([, pattern]) => pattern.test(lower))?.[0] ?? null;
}

export function widthText({ count, unit }: Width): string {
  return `${count}${unit}`;
}

/** Length in milliseconds; of months, the mean. */
export function lengthMs({ count, unit }: Width): number {
  return count * UNIT_MS[unit];
}

/** The start of the bar that holds `atMs`. */
export function startOf(width: Width, atMs: number): number {
  if (width.unit === "M") return monthStart(firstMonth(width, atMs));
  const originMs = width.unit === "w" ? FIRST_MONDAY_MS : 0;
  const length = lengthMs(width);
  return atMs - modulo(atMs - originMs, length);
}

/** The end (exclusive) of the bar that starts at `startMs`. */
export function endOf(width: Width, startMs: number): number {
  return width.unit === "M" ? monthStart(firstMonth(width, startMs) + width.count) : startMs + lengthMs(width);
}

/** Whether every bar of `width` is a whole number of bars of `part`. */
export function isMadeOf(width: Width, part: Width): boolean {
  if (part.unit === "M") return width.unit === "M" && width.count % part.count === 0;
  const partMs = lengthMs(part);
  if (width.unit === "M") return DAY_MS % partMs === 0;
  const originMs = width.unit === "w" ? FIRST_MONDAY_MS : 0;
  const partOriginMs = part.unit === "w" ? FIRST_MONDAY_MS : 0;
  return lengthMs(width) % partMs === 0 && (originMs - partOriginMs) % partMs === 0;
}

/** The widest of `timeframes` of which bars of `width` are made; null if there is none. */
export function sourceOf(width: Width, timeframes: readonly string[]): string | null {
  let widest: string | null = null;
  let widestMs = 0;
  for (const each of timeframes) {
    const part = parseWidth(each);
    if (part === null || !isMadeOf(width, part) || lengthMs(part) <= widestMs) continue;
    widest = each;
    widestMs = lengthMs(part);
  }
  return widest;
}

/** The first month of the bar that holds `atMs`, counted from January 1970. */
function firstMonth(width: Width, atMs: number): number {
  const date = new Date(atMs);
  const month = (date.getUTCFullYear() - 1970) * 12 + date.getUTCMonth();
  return month - modulo(month, width.count);
}

function monthStart(month: number): number {
  return Date.UTC(1970 + Math.floor(month / 12), modulo(month, 12), 1);
}

function modulo(value: number, divisor: number): number {
  return ((value % divisor) + divisor) % divisor;
}
