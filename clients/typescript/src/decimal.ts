/**
 * Exact arithmetic on the decimal strings of the protocol. A JavaScript number holds about 15 digits
 * and prices and sums have up to 38, so use `toNumber` for charts only. Pure.
 */
import type { DecimalText } from "./messages.js";

/** A decimal as `units / 10^digits`. */
export interface Decimal {
  readonly units: bigint;
  /** Digits after the point. */
  readonly digits: number;
}

const DECIMAL = /^(-?)(\d+)(?:\.(\d+))?$/;
/** Longer texts are refused: arithmetic on them takes time that grows with the square of their length. */
const CHARS_MAX = 200;

/** Throws a RangeError if `text` is no decimal. */
export function parseDecimal(text: DecimalText): Decimal {
  const parts = text.length > CHARS_MAX ? null : DECIMAL.exec(text);
  if (parts === null) throw new RangeError(`'${text.slice(0, 50)}' is no decimal`);
  const [, sign = "", whole = "", fraction = ""] = parts;
  const units = BigInt(whole + fraction);
  return { units: sign === "" ? units : -units, digits: fraction.length };
}

/** Without zeros at the end of the fraction. */
export function decimalText({ units, digits }: Decimal): DecimalText {
  const sign = units < 0n ? "-" : "";
  const text = (units < 0n ? -units : units).toString().padStart(digits + 1, "0");
  const fraction = digits === 0 ? "" : text.slice(-digits).replace(/0+$/, "");
  const whole = digits === 0 ? text : text.slice(0, -digits);
  const isZero = units === 0n;
  return `${isZero ? "" : sign}${whole}${fraction === "" ? "" : `.${fraction}`}`;
}

/** `text` as a whole number of 10^-digits, for example cents; throws if that is not exact. */
export function toScaled(text: DecimalText, digits: number): bigint {
  const decimal = parseDecimal(text);
  if (decimal.digits <= digits) return decimal.units * 10n ** BigInt(digits - decimal.digits);
  const divisor = 10n ** BigInt(decimal.digits - digits);
  if (decimal.units % divisor !== 0n) throw new RangeError(`'${text}' has more than ${digits} digits after the point`);
  return decimal.units / divisor;
}

/** Below 0 if `a` is less, 0 if they are equal, above 0 if `a` is greater. */
export function compareDecimals(a: DecimalText, b: DecimalText): number {
  const [left, right] = aligned(a, b);
  return left < right ? -1 : left > right ? 1 : 0;
}

export function addDecimals(a: DecimalText, b: DecimalText): DecimalText {
  const [left, right, digits] = aligned(a, b);
  return decimalText({ units: left + right, digits });
}

export function subtractDecimals(a: DecimalText, b: DecimalText): DecimalText {
  const [left, right, digits] = aligned(a, b);
  return decimalText({ units: left - right, digits });
}

export function multiplyDecimals(a: DecimalText, b: DecimalText): DecimalText {
  const [left, right] = [parseDecimal(a), parseDecimal(b)];
  return decimalText({ units: left.units * right.units, digits: left.digits + right.digits });
}

/** The nearest JavaScript number: for charts and statistics, not for money. */
export function toNumber(text: DecimalText): number {
  return Number(text);
}

function aligned(a: DecimalText, b: DecimalText): [bigint, bigint, number] {
  const [left, right] = [parseDecimal(a), parseDecimal(b)];
  const digits = Math.max(left.digits, right.digits);
  return [left.units * 10n ** BigInt(digits - left.digits), right.units * 10n ** BigInt(digits - right.digits), digits];
}
