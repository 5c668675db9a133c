/** Decimal strings as the gateway sends them, prepared for people. Pure. */
import type { DecimalText } from "klinecast";

/** Digits after the point. */
export function fractionDigits(decimal: DecimalText): number {
  const point = decimal.indexOf(".");
  return point < 0 ? 0 : decimal.length - point - 1;
}

/**
 * A decimal with thousands separators and at least `digits` digits after the point: `90711.8` with
 * two is `90,711.80`. Nothing is rounded.
 */
export function groupedText(decimal: DecimalText, digits = 0): string {
  const parts = /^(-?)(\d+)(?:\.(\d*))?$/.exec(decimal);
  if (parts === null) return decimal;
  const [, sign = "", whole = "", fraction = ""] = parts;
  const padded = fraction.padEnd(digits, "0");
  return sign + whole.replace(/\B(?=(\d{3})+$)/g, ",") + (padded === "" ? "" : `.${padded}`);
}

/** Change from `from` to `to` in percent; null if there is none to speak of. For display only. */
export function percentChange(from: DecimalText, to: DecimalText): number | null {
  const base = Number(from);
  return base === 0 || !Number.isFinite(base) ? null : ((Number(to) - base) / base) * 100;
}

export function percentText(percent: number | null): string {
  if (percent === null) return "–";
  const text = Math.abs(percent).toFixed(2);
  if (text === "0.00") return "0.00%";
  return `${percent > 0 ? "+" : "−"}${text}%`;
}

/** A volume in four figures: `1.24M`, `532.1`, `0.0031`. The exact string belongs in the tooltip. */
export function volumeText(volume: DecimalText): string {
  return COMPACT.format(Number(volume));
}

const COMPACT = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 4 });

/** Figures of an amount; fewer would hide small trades, more need too much room. */
const AMOUNT_FIGURES = 6;
const AMOUNT_DIGITS_MAX = 8;

/** An amount for a narrow column: `0.03555`, `12.3457`, `1,234.57`, `12.35M`. Shorter ones are not rounded. */
export function amountText(amount: DecimalText): string {
  const value = Number(amount);
  if (value >= 10 ** AMOUNT_FIGURES) return volumeText(amount);
  const whole = value >= 1 ? Math.floor(Math.log10(value)) + 1 : 1;
  const digits = Math.min(AMOUNT_DIGITS_MAX, AMOUNT_FIGURES - whole);
  if (fractionDigits(amount) <= digits) return groupedText(amount);
  // Very small amounts would become nothing.
  return value < 10 ** -digits ? value.toPrecision(2) : groupedText(value.toFixed(digits));
}
