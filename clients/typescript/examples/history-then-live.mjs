/**
 * The last closed bars of a symbol, then each that closes, without a hole from one run to the next:
 * the place is kept in a file.
 *
 *   node examples/history-then-live.mjs [TOPIC] [FILE]
 */
import { readFile, writeFile } from "node:fs/promises";
import { KlinecastClient } from "klinecast";
import { WebSocket } from "ws";

const url = process.env.KLINECAST_URL ?? "ws://127.0.0.1:8080/ws";
const count = Number(process.env.COUNT ?? Number.POSITIVE_INFINITY);
const [topic = "kline:1s:BTC-USD", file = "place.txt"] = process.argv.slice(2);
const kept = await readFile(file, "utf8").catch(() => "");

const client = new KlinecastClient({ url, WebSocket });
client.on("status", ({ state, why = "" }) => console.error(state, why));
client.connect();

let seen = 0;
const from = kept === "" ? { last: 20 } : { token: kept.trim() };
for await (const event of client.stream(topic, { from, closedOnly: true })) {
  if (event.kind === "bar") {
    const { start_ms, close, rev, quality } = event.bar;
    console.log(new Date(start_ms).toISOString(), close, event.isPast ? "past" : "live", `rev ${rev}`, quality);
  }
  if (event.kind === "live") console.error(event.recovered ? "live: nothing is missing" : `live: bars may be missing (${event.reason})`);
  // Only after the bar was worked off: a crash before this line repeats it, and loses nothing.
  if ("token" in event && event.token !== null) {
    await writeFile(file, event.token);
    seen += 1;
  }
  if (seen >= count) break;
}
client.close();
