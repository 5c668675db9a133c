/**
 * How many decimals the prices of each symbol have. The gateway sends `90711.8` for 90711.80, so the
 * widest price seen counts: all of a symbol's prices then have one width. Pure.
 */
import type { Bar, DecimalText } from "klinecast";
import { fractionDigits, groupedText } from "./decimal-text.js";

const DIGITS_MAX = 12;

export class PriceDigits {
  readonly #symbolsMax: number;
  readonly #digits = new Map<string, number>();

  constructor(symbolsMax: number) {
    this.#symbolsMax = symbolsMax;
  }

  see(bar: Bar): void {
    const known = this.#digits.get(bar.symbol);
    if (known === undefined && this.#digits.size >= this.#symbolsMax) return;
    const digits = Math.max(known ?? 0, ...[bar.open, bar.high, bar.low, bar.close].map(fractionDigits));
    this.#digits.set(bar.symbol, Math.min(digits, DIGITS_MAX));
  }

  of(symbol: string): number {
    return this.#digits.get(symbol) ?? 0;
  }

  /** A price of `symbol` for people: `90,711.80`. */
  text(symbol: string, price: DecimalText): string {
    return groupedText(price, this.of(symbol));
  }
}
