/** Trades: each once, in order, and resumed within their epoch. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { bench, subsOf } from "./client-bench.mjs";
import { quote, ticker, trade } from "./samples.mjs";

function opened(topics) {
  const b = bench();
  b.client.sub(topics);
  b.client.connect();
  b.socket.open();
  return b;
}

async function reconnect(b) {
  b.socket.drop(1012);
  await b.advance(b.client.status.retryInMs);
  b.socket.open();
}

test("each trade comes once, and what was skipped is told", () => {
  const b = opened(["trade:BTC-USDT"]);
  b.socket.receive(trade(1), trade(2), trade(2), trade(1), { skipped: 3, ...trade(6) }, trade(1, { epoch: 6 }), trade(9));
  assert.deepEqual(b.of("trade").map(({ epoch, seq }) => [epoch, seq]), [[5, 1], [5, 2], [5, 6], [6, 1]]);
  assert.deepEqual(b.of("skipped"), [{ topic: "trade:BTC-USDT", count: 3, beforeMs: null, isFetched: false }]);
  assert.equal(b.client.stats.repeatedValues, 3);
});

test("trades are resumed by number, in one request for each epoch, also under their second name", async () => {
  const b = opened(["trade:BTC-USDT", "trade:COINBASE:ETH-USD", "trade:SOL-USD", "kline:1m:*"]);
  b.socket.receive(trade(7), trade(3, { topic: "trade:ETH-USD", symbol: "ETH-USD", exchange: "coinbase", epoch: 9 }), trade(8));
  assert.equal(b.of("trade").length, 3);
  await reconnect(b);
  assert.deepEqual(
    subsOf(b.socket).map(({ topics, since }) => [topics, since]),
    [
      [["kline:1m:*"], undefined],
      [["trade:BTC-USDT"], { epoch: 5, seq: { "trade:BTC-USDT": 8 } }],
      [["trade:COINBASE:ETH-USD", "trade:SOL-USD"], { epoch: 9, seq: { "trade:ETH-USD": 3 } }],
    ],
  );
  assert.deepEqual(b.of("not_resumed"), []);
});

test("of a pattern's topics with several epochs most are resumed, and the others are named", async () => {
  const b = opened(["trade:*"]);
  for (const [symbol, epoch] of [["A-USD", 5], ["B-USD", 5], ["OKX:C-USDT", 8]]) b.socket.receive(trade(4, { topic: `trade:${symbol}`, symbol, epoch }));
  await reconnect(b);
  assert.deepEqual(subsOf(b.socket)[0].since, { epoch: 5, seq: { "trade:B-USD": 4, "trade:A-USD": 4 } });
  assert.deepEqual(b.of("not_resumed"), [{ topics: ["trade:OKX:C-USDT"] }]);
});

test("a trade that makes no sense is malformed", () => {
  const b = opened(["trade:*"]);
  for (const fields of [{ price: 5 }, { quantity: "1e5" }, { seq: "1" }, { aggressor_side: "both" }, { skipped: -1 }, { symbol: null }]) b.socket.receive(trade(1, fields));
  assert.equal(b.client.stats.malformedMessages, 6);
  assert.equal(b.of("trade").length, 0);
});

test("the newest quote and ticker of a symbol count, under both names, and a slow reader gets these alone", async () => {
  const b = bench();
  const stream = b.client.stream(["quote:BINANCE:BTC-USDT", "ticker:*"]);
  b.client.connect();
  b.socket.open();
  b.socket.receive(quote(7), quote(6), quote(8, { bid: "61838" }), ticker(3), ticker(3), ticker(4), quote(9, { symbol: "OTHER", topic: "quote:OTHER" }));
  assert.deepEqual([b.of("quote").map(({ seq }) => seq), b.of("ticker").map(({ seq }) => seq)], [[7, 8], [3, 4]]);
  assert.equal(b.client.stats.unaskedMessages, 1);
  assert.deepEqual([(await stream.next()).value.quote.bid, (await stream.next()).value.ticker.seq, stream.waitingCount], ["61838", 4, 0]);
});

test("a quote or ticker that makes no sense is malformed", () => {
  const b = opened(["quote:*", "ticker:*"]);
  b.socket.receive(quote(1, { bid: 5 }), quote(1, { seq: null }), ticker(1, { last: null }), ticker(1, { volume: "x" }), ticker(1, { exchange: 5 }), quote(1, { ask: "9".repeat(70) }));
  assert.equal(b.client.stats.malformedMessages, 6);
});
