/**
 * Sums the volume of the last hours, exactly, from stored bars.
 *
 *   node examples/stored.mjs [SYMBOL] [WIDTH] [HOURS]
 */
import { addDecimals, History, HistoryError } from "klinecast";

const url = process.env.KLINECAST_HTTP_URL ?? "http://127.0.0.1:8080";
const [symbol = "BTC-USD", width = "1m", hours = "24"] = process.argv.slice(2);
const history = new History({ url });

let bars = 0;
let volume = "0";
try {
  for await (const bar of history.bars({ symbol, width, fromMs: Date.now() - Number(hours) * 3_600_000 })) {
    bars += 1;
    volume = addDecimals(volume, bar.volume);
  }
  console.log(`${symbol}: ${bars} bars of ${width}, volume ${volume}`);
} catch (error) {
  if (!(error instanceof HistoryError)) throw error;
  console.error(error.message);
  process.exitCode = 1;
}
