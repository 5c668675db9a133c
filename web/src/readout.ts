/** The line above the chart: the bar under the crosshair, else the latest. */
import type { Bar } from "klinecast";
import { groupedText, percentChange, percentText } from "./decimal-text.js";
import { part, setText } from "./page-part.js";
import type { PriceDigits } from "./price-digits.js";
import { barTimeText, type Zone } from "./time-text.js";

export class Readout {
  readonly #digits: PriceDigits;

  constructor(digits: PriceDigits) {
    this.#digits = digits;
  }

  show(bar: Bar | undefined, zone: Zone): void {
    const price = (decimal: string | undefined): string =>
      bar === undefined || decimal === undefined ? "–" : this.#digits.text(bar.symbol, decimal);
    setText(part("bar-time"), bar === undefined ? "–" : barTimeText(bar.start_ms, bar.end_ms, zone));
    setText(part("bar-open"), price(bar?.open));
    setText(part("bar-high"), price(bar?.high));
    setText(part("bar-low"), price(bar?.low));
    setText(part("bar-close"), price(bar?.close));
    setText(part("bar-change"), bar === undefined ? "–" : percentText(percentChange(bar.open, bar.close)));
    setText(part("bar-volume"), bar === undefined ? "–" : `${groupedText(bar.volume)} ${baseOf(bar.symbol)}`);
    setText(part("bar-count"), bar === undefined || bar.count === null ? "–" : groupedText(String(bar.count)));
    const state = part("bar-state");
    setText(state, bar === undefined ? "–" : stateText(bar));
    state.dataset["quality"] = bar?.quality ?? "";
    part("readout").dataset["direction"] = bar === undefined ? "flat" : Number(bar.close) >= Number(bar.open) ? "up" : "down";
  }
}

/** The currency that a symbol's volume is counted in: `BTC` of `OKX:BTC-USDT`. */
export function baseOf(symbol: string): string {
  return symbol.slice(symbol.indexOf(":") + 1).split("-")[0] ?? "";
}

/** The currency that a symbol's price is in: `USDT` of `OKX:BTC-USDT`. */
export function quoteOf(symbol: string): string {
  return symbol.split("-").slice(1).join("-");
}

function stateText(bar: Bar): string {
  const quality = bar.quality === "complete" ? "" : ` · ${bar.quality}`;
  const revision = bar.rev > 0 ? ` · revised ${bar.rev}×` : "";
  return bar.state + quality + revision;
}
