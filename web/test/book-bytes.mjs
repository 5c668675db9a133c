/**
 * Measures what the book of the page costs, whole and as changes, on a running gateway.
 *
 *   node test/book-bytes.mjs ws://127.0.0.1:8080/ws [--symbol BTC-USDT] [--levels 20] [--seconds 30]
 *
 * Two connections have the same book at the same time. Prints one line of JSON.
 */
import { parseArgs } from "node:util";
import { WebSocket } from "ws";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { symbol: { type: "string", default: "BTC-USDT" }, levels: { type: "string", default: "20" }, seconds: { type: "string", default: "30" } },
});
const topic = `book:${values.symbol}`;

/** Counts the messages of the book, and the bytes of its frames as they come from the socket. */
async function counted(options) {
  const socket = new WebSocket(positionals[0]);
  await new Promise((resolve, reject) => socket.once("open", resolve).once("error", reject));
  const count = { frames: 0, books: 0, changes: 0, payload_bytes: 0, socket_bytes: 0 };
  socket.send(JSON.stringify({ op: "sub", topics: [topic], depth: Number(values.levels), ...options }));
  const startBytes = socket._socket.bytesRead;
  socket.on("message", (data) => {
    const lines = data.toString().split("\n").filter((line) => line.includes(`"topic":"${topic}"`));
    if (lines.length === 0) return;
    const changes = lines.filter((line) => line.includes('"prev_seq":')).length;
    count.frames += 1;
    count.changes += changes;
    count.books += lines.length - changes;
    count.payload_bytes += data.length;
  });
  return () => {
    count.socket_bytes = socket._socket.bytesRead - startBytes;
    socket.terminate();
    return count;
  };
}

const [whole, changes] = await Promise.all([counted({}), counted({ changes: true })]);
await new Promise((resolve) => setTimeout(resolve, Number(values.seconds) * 1_000));
console.log(JSON.stringify({ topic, seconds: Number(values.seconds), whole: whole(), changes: changes() }));
