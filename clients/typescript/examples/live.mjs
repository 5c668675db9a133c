/** Prints the bars of a minute of all symbols, as they form and close. */
import { KlinecastClient } from "klinecast";
import { WebSocket } from "ws";

const url = process.env.KLINECAST_URL ?? "ws://127.0.0.1:8080/ws";
const count = Number(process.env.COUNT ?? Number.POSITIVE_INFINITY);
const client = new KlinecastClient({ url, WebSocket, maxRate: 2 });
client.on("status", ({ state, why = "" }) => console.error(state, why));
client.on("error", ({ code, message }) => console.error(code, message));
client.connect();

let seen = 0;
for await (const event of client.stream("kline:1m:*")) {
  if (event.kind === "dropped") console.error(`too slow: ${event.count} events were left out`);
  if (event.kind !== "bar") continue;
  const { symbol, state, close, volume } = event.bar;
  console.log(symbol.padEnd(16), state.padEnd(8), close.padStart(14), volume.padStart(14));
  seen += 1;
  if (seen >= count) break;
}
client.close();
