/** What the page shows at the moment, and what it knows about that; app.ts changes it. */
import type { Span } from "./bar-series.js";
import type { TimeRange } from "./time-range.js";

export interface PageState {
  /** Null before the first symbol is known. */
  symbol: string | null;
  timeframe: string;
  /** What the gateway offers, shortest first. */
  timeframes: readonly string[];
  /** The table shows the bars of this timeframe: the day, or the longest that is offered. */
  tableTimeframe: string;
  /** Whether the gateway has said which symbols it has, and said all of them. */
  isListed: boolean;
  /** The range that was chosen; null once the view was moved by hand. */
  range: TimeRange | null;
  /** The part of the past that the address asked for; null once the view was moved by hand. */
  span: Span | null;
  /** Why the gateway refused a topic of the chart. */
  refusal: { readonly topic: string; readonly message: string } | null;
  /** Something to tell about the last choice. */
  choiceNote: string;
  /** Start of the bar under the pointer; null if there is none. */
  hoveredMs: number | null;
  isDrawScheduled: boolean;
}
