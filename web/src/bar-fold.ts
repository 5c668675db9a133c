/** Makes a bar of a wider width from the bars in it, exactly, as the server does. Pure. */
import type { Bar, BarQuality, DecimalText } from "./protocol.js";

const BADNESS: Readonly<Record<BarQuality, number>> = { filled: 0, complete: 1, backfilled: 2, partial: 3, gap: 4 };

/**
 * The bar of `topic` from `startMs` to `endMs` that `parts` make; null without any. `parts` are in
 * order, within the interval, and of one shorter timeframe.
 */
export function foldBars(topic: string, startMs: number, endMs: number, parts: readonly Bar[]): Bar | null {
  const [first, last] = [parts[0], parts[parts.length - 1]];
  if (first === undefined || last === undefined) return null;
  const traded = parts.filter(({ count }) => count > 0);
  const [opening, closing] = [traded[0] ?? first, traded[traded.length - 1] ?? last];
  const counted = traded.length > 0 ? traded : [first];
  const sum = (name: "volume" | "quote_volume" | "taker_buy_volume" | "taker_buy_quote_volume"): DecimalText =>
    parts.map((part) => part[name] ?? "0").reduce(addDecimals);
  const total = (number: (part: Bar) => number): number => parts.reduce((all, part) => all + number(part), 0);
  return {
    ...last,
    topic,
    interval: topic.split(":")[1] ?? "",
    start_ms: startMs,
    end_ms: endMs,
    open: opening.open,
    high: counted.map(({ high }) => high).reduce((a, b) => (Number(b) > Number(a) ? b : a)),
    low: counted.map(({ low }) => low).reduce((a, b) => (Number(b) < Number(a) ? b : a)),
    close: closing.close,
    volume: sum("volume"),
    quote_volume: sum("quote_volume"),
    taker_buy_volume: sum("taker_buy_volume"),
    taker_buy_quote_volume: sum("taker_buy_quote_volume"),
    count: total(({ count }) => count),
    first_id: opening.first_id,
    last_id: closing.last_id,
    event_ms: closing.event_ms,
    state: last.end_ms >= endMs && parts.every(({ state }) => state === "closed") ? "closed" : "forming",
    // Every revision and every publication of a part raises the number of the whole.
    rev: total(({ rev }) => rev),
    seq: total(({ seq }) => seq),
    epoch: Math.max(...parts.map(({ epoch }) => epoch)),
    quality: qualityOf(startMs, parts),
  };
}

function qualityOf(startMs: number, parts: readonly Bar[]): BarQuality {
  let quality: BarQuality = "filled";
  let endMs = startMs;
  for (const part of parts) {
    const missing: BarQuality = part.start_ms === endMs ? "filled" : endMs === startMs ? "partial" : "gap";
    for (const each of [part.quality, missing]) if (BADNESS[each] > BADNESS[quality]) quality = each;
    endMs = part.end_ms;
  }
  return quality;
}

/** The exact sum of two decimals that are not negative. */
export function addDecimals(a: DecimalText, b: DecimalText): DecimalText {
  const [wholeA = "0", fractionA = ""] = a.split(".");
  const [wholeB = "0", fractionB = ""] = b.split(".");
  const digits = Math.max(fractionA.length, fractionB.length);
  const scaled = BigInt(wholeA + fractionA.padEnd(digits, "0")) + BigInt(wholeB + fractionB.padEnd(digits, "0"));
  const text = scaled.toString().padStart(digits + 1, "0");
  if (digits === 0) return text;
  const fraction = text.slice(-digits).replace(/0+$/, "");
  return text.slice(0, -digits) + (fraction === "" ? "" : `.${fraction}`);
}
