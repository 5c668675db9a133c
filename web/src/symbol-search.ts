/** Finds symbols by what people type: `btcusdt`, `btc/usd`, `okx btc`, `binance`. Pure. */
import { exchangeName } from "./feed-health.js";

/** The letters and figures of `text` alone, in upper case. */
function plain(text: string): string {
  return text.toUpperCase().replace(/[^A-Z0-9]/g, "");
}

/**
 * Whether `query` means `symbol` of `exchange` (null if unknown): its letters occur in the symbol,
 * or each of its words occurs in the symbol or in the exchange's name.
 */
export function matchesSearch(query: string, symbol: string, exchange: string | null): boolean {
  const name = plain(symbol);
  if (name.includes(plain(query))) return true;
  const venue = exchange === null ? "" : plain(exchangeName(exchange));
  const words = query.split(/\s+/).map(plain).filter((word) => word !== "");
  return words.every((word) => name.includes(word) || venue.includes(word));
}
