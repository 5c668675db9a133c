/** Order books: checked, the newest only, and never taken for right without a connection. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { bench, subsOf } from "./client-bench.mjs";
import { book } from "./samples.mjs";

function opened(topics) {
  const b = bench();
  b.client.sub(topics);
  b.client.connect();
  b.socket.open();
  return b;
}

test("the newest book of a symbol counts, under both names, and a slow reader gets it alone", async () => {
  const b = bench();
  const stream = b.client.stream("book:BINANCE:BTC-USDT");
  b.client.connect();
  b.socket.open();
  b.socket.receive(book(7), book(6), book(8, { state: "invalid", reason: "hole", bids: [], asks: [] }));
  assert.deepEqual(b.of("book").map(({ seq, state }) => [seq, state]), [[7, "valid"], [8, "invalid"]]);
  assert.deepEqual([(await stream.next()).value.book.reason, stream.waitingCount], ["hole", 0]);
  assert.equal(b.client.stats.repeatedValues, 1);
});

test("a book that makes no sense is malformed", () => {
  const b = opened(["book:*"]);
  const wrong = [
    { state: "stale" },
    { bids: null },
    { bids: [["5"]] },
    { bids: [["5", "1", "1"]] },
    { bids: [[5, 1]] },
    { bids: [["0", "1"]] },
    { bids: [["-5", "1"]] },
    { bids: [["5", "0.000"]] },
    { bids: [["5", "1"], ["6", "1"]] },
    { bids: [["5", "1"], ["5.0", "1"]] },
    { asks: [["61900", "1"], ["61899", "1"]] },
    { asks: [["61837.63", "1"]] },
    { asks: [["1", "1"]] },
    { state: "invalid" },
    { asks: Array.from({ length: 5_001 }, (_, at) => [String(70_000 + at), "1"]) },
    { seq: "7" },
    { symbol: null },
  ];
  for (const fields of wrong) {
    b.socket.receive(book(1, fields));
    // Many in a row would be another server.
    b.socket.receive({ op: "pong" });
  }
  assert.equal(b.client.stats.malformedMessages, wrong.length);
  assert.deepEqual(b.of("book"), []);
  b.socket.receive(book(1));
  assert.equal(b.of("book").length, 1);
});

test("without a connection no book is right, and the next connection brings each one whole", async () => {
  const b = bench();
  const stream = b.client.stream(["book:*", "quote:BTC-USDT"]);
  b.client.connect();
  b.socket.open();
  b.socket.receive(book(7), book(3, { topic: "book:ETH-USDT", symbol: "ETH-USDT", state: "invalid", reason: "lost", bids: [], asks: [] }));
  await stream.next();
  await stream.next();
  b.socket.drop(1006);
  const { book: lost } = (await stream.next()).value;
  assert.deepEqual([lost.topic, lost.state, lost.reason, lost.bids, lost.asks], ["book:BTC-USDT", "invalid", "disconnected", [], []]);
  assert.equal(stream.waitingCount, 0, "the other one was invalid before");
  await b.advance(b.client.status.retryInMs);
  b.socket.open();
  for (const { since } of subsOf(b.socket)) assert.equal(since?.seq?.["book:BTC-USDT"], undefined);
  b.socket.receive(book(7));
  assert.equal((await stream.next()).value.book.state, "valid", "the same one again");
});

test("a value that is wanted again comes again, though it has not changed", () => {
  const b = opened(["book:BINANCE:BTC-USDT", "ticker:*", "trade:BTC-USDT"]);
  const ticker = { topic: "ticker:BTC-USDT", seq: 3, epoch: 5, exchange: "binance", symbol: "BTC-USDT", last: "1", volume: "1" };
  const trade = { topic: "trade:BTC-USDT", seq: 9, epoch: 5, exchange: "binance", symbol: "BTC-USDT", price: "1", quantity: "1", aggressor_side: "buy", event_ms: 1 };
  const counts = () => ["book", "ticker", "trade"].map((kind) => b.of(kind).length);
  b.socket.receive(book(7), ticker, trade);
  b.client.unsub(["ticker:*", "trade:BTC-USDT"]);
  b.client.sub(["ticker:BTC-USDT", "trade:BTC-USDT"]);
  b.socket.receive(book(7), ticker, trade);
  assert.deepEqual(counts(), [1, 2, 1], "a trade comes once");
  b.client.unsub(["book:BINANCE:BTC-USDT"]);
  b.client.sub(["book:BTC-USDT"]);
  b.socket.receive(book(7));
  assert.deepEqual(counts(), [2, 2, 1]);
});
