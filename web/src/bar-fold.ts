/** Makes a bar of a wider width from the bars in it, exactly, as the server does. Pure. */
import { addDecimals, type Bar, type BarQuality, type BarTopic, type DecimalText } from "klinecast";

const BADNESS: Readonly<Record<BarQuality, number>> = { filled: 0, complete: 1, backfilled: 2, partial: 3, gap: 4 };

/**
 * The bar of `topic` from `startMs` to `endMs` that `parts` make; null without any. `parts` are in
 * order, within the interval, and of one shorter timeframe.
 */
export function foldBars(topic: BarTopic, startMs: number, endMs: number, parts: readonly Bar[]): Bar | null {
  const [first, last] = [parts[0], parts[parts.length - 1]];
  if (first === undefined || last === undefined) return null;
  // A venue need not say how many trades its bar has.
  const traded = parts.filter(({ count, volume }) => (count === null ? Number(volume) > 0 : count > 0));
  const [opening, closing] = [traded[0] ?? first, traded[traded.length - 1] ?? last];
  const counted = traded.length > 0 ? traded : [first];
  // What is unknown of a part is unknown of the whole.
  const sum = (name: "quote_volume" | "taker_buy_volume" | "taker_buy_quote_volume"): DecimalText | null =>
    parts.map((part) => part[name]).reduce((all, text) => (all === null || text === null ? null : addDecimals(all, text)));
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
    volume: parts.map(({ volume }) => volume).reduce(addDecimals),
    quote_volume: sum("quote_volume"),
    taker_buy_volume: sum("taker_buy_volume"),
    taker_buy_quote_volume: sum("taker_buy_quote_volume"),
    count: parts.some(({ count }) => count === null) ? null : total(({ count }) => count ?? 0),
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
