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
