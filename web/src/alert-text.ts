/** Alerts of rules: reading them, and saying them in a sentence. Pure. */
import type { DecimalText } from "klinecast";
import { groupedText, percentChange } from "./decimal-text.js";

export type AlertLevel = "info" | "warning" | "critical";

export interface Alert {
  readonly topic: string;
  readonly seq: number;
  readonly epoch: number;
  readonly symbol: string;
  readonly rule: string;
  readonly type: string;
  readonly level: AlertLevel;
  readonly direction: string;
  readonly end_ms: number;
  readonly value: string;
  readonly reference: string;
}

const TEXT_CHARS_MAX = 200;

/** The alert in a message of the gateway or an answer of `/api/v1/alerts`; null if it is none. */
export function alertFrom(value: unknown): Alert | null {
  if (typeof value !== "object" || value === null) return null;
  const fields = value as Record<string, unknown>;
  if (typeof fields["topic"] !== "string" || !fields["topic"].startsWith("alert:")) return null;
  const texts = ["topic", "symbol", "rule", "type", "direction", "value", "reference"];
  const areTexts = texts.every((name) => typeof fields[name] === "string" && (fields[name] as string).length <= TEXT_CHARS_MAX);
  const areNumbers = ["seq", "epoch", "end_ms"].every((name) => Number.isSafeInteger(fields[name]));
  const level = ["info", "warning", "critical"].includes(String(fields["level"]));
  const isTime = Math.abs(Number(fields["end_ms"])) <= 8.64e15;
  return areTexts && areNumbers && level && isTime ? (fields as unknown as Alert) : null;
}

/** What names an alert: the same one comes from the gateway and over HTTP. */
export function alertKey({ topic, epoch, seq }: Alert): string {
  return `${topic} ${epoch} ${seq}`;
}

/** What has happened, in a sentence. */
export function alertText({ type, symbol, direction, value, reference }: Alert): string {
  switch (type) {
    case "move": {
      const percent = percentChange(reference, value);
      const word = direction === "down" ? "fell" : "rose";
      const size = percent === null ? "" : ` ${Math.abs(percent).toFixed(2)}%`;
      return `${symbol} ${word}${size}: from ${price(reference)} to ${price(value)}`;
    }
    case "cross":
      return `${symbol} crossed ${price(reference)} ${direction === "down" ? "downwards" : "upwards"}: ${price(value)}`;
    case "volume":
      return `${symbol} has unusual volume: ${price(value)}, after ${price(reference)} in the time before`;
    case "spread":
      return `${symbol} has a wide spread: bid ${price(reference)}, ask ${price(value)}`;
    case "gap":
      return `${symbol} has missing ${value === "bars" ? "bars" : "trades"}`;
    case "stale":
      return `${symbol} had no trade for ${price(value)} s`;
    default:
      return `${symbol}: ${type} ${price(value)}${reference === "" ? "" : ` (${price(reference)})`}`;
  }
}

function price(text: DecimalText): string {
  return groupedText(text);
}

/** The newest alerts, each once, the newest first. */
export class AlertLog {
  readonly #max: number;
  readonly #keys = new Set<string>();
  #alerts: Alert[] = [];

  constructor(max: number) {
    this.#max = max;
  }

  get all(): readonly Alert[] {
    return this.#alerts;
  }

  /** False if it is known, or older than all that are kept. */
  add(alert: Alert): boolean {
    const key = alertKey(alert);
    if (this.#keys.has(key)) return false;
    const at = this.#alerts.findIndex(({ end_ms }) => end_ms <= alert.end_ms);
    if (at < 0 && this.#alerts.length >= this.#max) return false;
    this.#alerts.splice(at < 0 ? this.#alerts.length : at, 0, alert);
    this.#keys.add(key);
    const left = this.#alerts.length > this.#max ? this.#alerts.pop() : undefined;
    if (left !== undefined) this.#keys.delete(alertKey(left));
    return true;
  }
}
