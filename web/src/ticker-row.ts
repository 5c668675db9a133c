/** One symbol's row of the table of tickers. */
import type { Ticker } from "klinecast";
import { exchangeName, exchangeOf } from "./feed-health.js";
import { PriceTrail } from "./price-trail.js";

export const SPARK_WIDTH = 84;
export const SPARK_HEIGHT = 24;
const SVG = "http://www.w3.org/2000/svg";

export interface TickerRow {
  readonly symbol: string;
  readonly element: HTMLTableRowElement;
  readonly button: HTMLButtonElement;
  readonly venue: HTMLElement;
  readonly last: HTMLElement;
  readonly change: HTMLElement;
  readonly volume: HTMLElement;
  readonly line: SVGElement;
  readonly trail: PriceTrail;
  ticker: Ticker | null;
  isDirty: boolean;
  isInSight: boolean;
}

export function newTickerRow(symbol: string): TickerRow {
  const element = document.createElement("tr");
  element.dataset["symbol"] = symbol;
  const heading = document.createElement("th");
  heading.scope = "row";
  const button = document.createElement("button");
  button.type = "button";
  // The exchange stands below it.
  button.textContent = symbol.slice(symbol.indexOf(":") + 1);
  button.tabIndex = -1;
  const venue = document.createElement("span");
  venue.className = "venue";
  const exchange = exchangeOf(symbol);
  if (exchange !== null) venue.textContent = exchangeName(exchange);
  heading.append(button, venue);
  const [last, change, volume, spark] = Array.from({ length: 4 }, () => document.createElement("td")) as [HTMLTableCellElement, HTMLTableCellElement, HTMLTableCellElement, HTMLTableCellElement];
  for (const cell of [last, change, volume]) cell.textContent = "–";
  // The figures beside it say the same to who does not see it.
  const picture = document.createElementNS(SVG, "svg");
  picture.setAttribute("viewBox", `-1 -1 ${SPARK_WIDTH + 2} ${SPARK_HEIGHT + 2}`);
  picture.setAttribute("aria-hidden", "true");
  picture.setAttribute("class", "spark");
  const line = document.createElementNS(SVG, "polyline");
  picture.append(line);
  spark.append(picture);
  element.append(heading, last, change, volume, spark);
  return { symbol, element, button, venue, last, change, volume, line, trail: new PriceTrail(), ticker: null, isDirty: false, isInSight: false };
}
