/** What the page says beside the chart: symbol, price and day above it, the number of bars and the state of history below. */
import type { Bar, DecimalText } from "klinecast";
import type { BarSeries } from "./bar-series.js";
import { groupedText, percentChange, percentText } from "./decimal-text.js";
import type { HistoryState } from "./history-plan.js";
import { part, setText } from "./page-part.js";
import type { PriceDigits } from "./price-digits.js";
import { direction } from "./price-row.js";
import { barTimeText, type Zone } from "./time-text.js";

/** With fewer bars than this the page says that it is still collecting. */
const COLLECTED_BARS = 20;

export interface ChartHeadState {
  readonly symbol: string;
  readonly series: BarSeries;
  /** The symbol's bar of the day, or of the longest timeframe. */
  readonly day: Bar | null;
  /** The day's first price where the bar itself begins later; null otherwise. */
  readonly dayOpen: DecimalText | null;
  readonly history: HistoryState;
  readonly zone: Zone;
}

export function showChartHead({ symbol, series, day, dayOpen, history, zone }: ChartHeadState, digits: PriceDigits): void {
  const price = series.last?.close ?? day?.close ?? null;
  const priceText = price === null ? "–" : digits.text(symbol, price);
  setText(part("symbol"), symbol);
  setText(part("last-price"), priceText);
  setText(part("to-chart-symbol"), symbol);
  setText(part("to-chart-price"), priceText);
  document.title = price === null ? `${symbol} · Klinecast` : `${priceText} ${symbol} · Klinecast`;
  const percent = day === null ? null : percentChange(dayOpen ?? day.open, day.close);
  const change = part("day-change");
  setText(change, percent === null ? "" : percentText(percent));
  change.className = `day-change ${direction(percent)}`;
  const isPartial = day?.quality === "partial" && dayOpen === null;
  setText(part("day-note"), day === null ? "" : isPartial ? "partial day" : "today");
  part("day-note").classList.toggle("partial", isPartial);

  const { length, lostCount } = series;
  const count = `${groupedText(String(length))} bar${length === 1 ? "" : "s"}`;
  const isCollecting = length < COLLECTED_BARS && history.kind !== "loading";
  setText(part("bar-note"), length === 0 ? "" : isCollecting ? `Collecting: ${count} so far` : count);
  const lost = part("lost-note");
  lost.hidden = lostCount === 0;
  if (lostCount > 0) setText(lost, `${lostCount} not received or not corrected: the gateway no longer has them`);
  const note = part("history-note");
  const text = historyText(history, series, zone);
  note.hidden = text === "";
  note.classList.toggle("failed", history.kind === "failed");
  setText(note, text);
}

/** What there is to say about the chart's past. */
export function historyText(history: HistoryState, { first, length }: Pick<BarSeries, "first" | "length">, zone: Zone): string {
  switch (history.kind) {
    case "loading":
      return "Loading older bars…";
    case "idle":
      return "";
    case "begin":
      return first === undefined ? "" : `History begins ${barTimeText(first.start_ms, first.end_ms, zone)}`;
    case "full":
      return `${groupedText(String(length))} bars are loaded: choose a wider width to see further back`;
    case "failed":
      return `${history.message.replace(/[.]?$/, ".")} ${history.isRetried ? "The page tries again by itself." : "The chart shows live bars only."}`;
  }
}
