/** Order books: checked, the newest only, and never taken for right without a connection. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { crc32 } from "node:zlib";
import { bench, settle, subsOf } from "./client-bench.mjs";
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

/** Changes of `book(7)`, in JSON as the gateway sends them. */
const changes = (seq, fields = {}) => ({ ...book(seq), prev_seq: seq - 1, depth: null, bids: [], asks: [], checksum: 0, ...fields });

const right = changes(8, {
  update_id: "170",
  bids: [["61837.63", "2"], ["61837", "0"], ["61836", "0.00000001"]],
  asks: [["61900", "0"]],
  checksum: crc32("61837.63:2,61836:0.00000001,61837.64:1.54698,"),
});

test("the changes of a book make a whole one", () => {
  const b = bench();
  b.client.sub(["book:*"], { depth: 20, changes: true });
  b.client.connect();
  b.socket.open();
  const { depth, changes: isChanges } = subsOf(b.socket)[0];
  assert.deepEqual([depth, isChanges], [20, true]);
  b.socket.receive(book(7), right, changes(9, { depth: 1, checksum: crc32("61837.63:2,61837.64:1.54698,") }));
  const [, first, second] = b.of("book");
  assert.deepEqual([first.seq, first.update_id, first.bids, first.asks], [8, "170", [["61837.63", "2"], ["61836", "0.00000001"]], [["61837.64", "1.54698"]]]);
  assert.deepEqual([second.seq, second.bids, second.asks], [9, [["61837.63", "2"]], [["61837.64", "1.54698"]]]);
  assert.ok(!("prev_seq" in second || "checksum" in second));
});

for (const [why, wrong] of Object.entries({
  "of another book": { prev_seq: 6 },
  "of another publisher": { epoch: 4 },
  "with another checksum": { checksum: 1 },
  "that cross it": { bids: [["61838", "1"]] },
  "of a book that is not there": { topic: "book:ETH-USDT", symbol: "ETH-USDT" },
})) {
  test(`after changes ${why}, the whole book is asked for once, and the connection stays`, async () => {
    const b = opened(["book:*", "kline:1m:*"]);
    await settle();
    const asked = subsOf(b.socket).length;
    const misfit = { ...right, ...wrong };
    b.socket.receive(book(7), misfit, misfit);
    const reasons = misfit.topic === right.topic ? [null, "hole"] : [null];
    assert.deepEqual(b.of("book").map(({ reason }) => reason), reasons);
    await settle();
    b.socket.receive({ ...misfit, seq: 9, prev_seq: 8 });
    await settle();
    assert.deepEqual(subsOf(b.socket).slice(asked).map(({ topics }) => topics), [["book:*"]]);
    b.socket.receive(book(9, { topic: misfit.topic, symbol: misfit.symbol }));
    assert.deepEqual([b.of("book").at(-1).state, b.of("book").at(-1).topic], ["valid", misfit.topic]);
    assert.deepEqual([b.client.status.state, b.sockets.length], ["open", 1]);
  });
}

test("changes that do not fit again and again end the connection, and so does an answer that does not come", async () => {
  const b = opened(["book:*"]);
  const wrong = { ...right, checksum: 1 };
  // Some that fit in between begin the count anew.
  for (const fits of [false, true, false, false, false]) {
    b.socket.receive(book(7));
    if (fits) b.socket.receive(right);
    b.socket.receive(fits ? { ...wrong, seq: 9, prev_seq: 8 } : wrong);
    await settle();
  }
  assert.equal(b.client.status.state, "reconnecting");
  const other = opened(["book:*"]);
  other.socket.receive(book(7), wrong);
  await other.advance(9_000);
  other.socket.receive(wrong);
  assert.equal(other.client.status.state, "open");
  await other.advance(1_000);
  other.socket.receive(wrong);
  assert.equal(other.client.status.state, "reconnecting");
});

test("changes that make no sense are malformed", () => {
  const b = opened(["book:*"]);
  const wrong = [
    { state: "invalid" },
    { prev_seq: "7" },
    { prev_seq: -1 },
    { checksum: null },
    { depth: "5" },
    { depth: 1.5 },
    { bids: null },
    { bids: [["5", "-1"]] },
    { bids: [["5", "0.0"]] },
    { bids: [["5", "0"], ["6", "0"]] },
    { asks: [["0", "0"]] },
    { asks: Array.from({ length: 5_001 }, (_, at) => [String(70_000 + at), "0"]) },
  ];
  b.socket.receive(book(7));
  for (const fields of wrong) b.socket.receive({ ...right, ...fields }, { op: "pong" });
  assert.equal(b.client.stats.malformedMessages, wrong.length);
  b.socket.receive(right);
  assert.equal(b.of("book").at(-1).seq, 8);
});

test("after a silence, the book with the number of the silence is the next one", () => {
  const b = opened(["book:*"]);
  b.socket.receive(book(7), book(8, { state: "invalid", reason: "silent", bids: [], asks: [] }), book(8), book(8), { ...right, seq: 9, prev_seq: 8 });
  assert.deepEqual(b.of("book").map(({ seq, state }) => [seq, state]), [[7, "valid"], [8, "invalid"], [8, "valid"], [9, "valid"]]);
  assert.equal(b.client.stats.repeatedValues, 1);
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

test("a book to another depth replaces the one with the same number, and changes go on from it", async () => {
  const b = bench();
  b.client.sub(["book:*"], { depth: 5, changes: true });
  b.client.connect();
  b.socket.open();
  b.socket.receive(book(7, { bids: book(7).bids.slice(0, 1) }));
  b.client.sub(["book:*"], { depth: 20, changes: true });
  await Promise.resolve();
  b.socket.receive(book(7), { ...right, depth: 20 });
  assert.deepEqual(b.of("book").map(({ seq, state }) => [seq, state]), [[7, "valid"], [7, "valid"], [8, "valid"]]);
  assert.equal(b.client.status.state, "open");
});

test("a book that is wanted again at once is asked for again, and changes on their way are not lost", async () => {
  const b = opened(["book:BINANCE:BTC-USDT"]);
  await Promise.resolve();
  const asked = subsOf(b.socket).length;
  b.socket.receive(book(7));
  b.client.unsub(["book:BINANCE:BTC-USDT"]);
  b.socket.receive(right);
  b.client.sub(["book:BINANCE:BTC-USDT"]);
  await b.advance(100);
  assert.equal(subsOf(b.socket).length, asked + 1);
  b.socket.receive(changes(9, { depth: 1, checksum: crc32("61837.63:2,61837.64:1.54698,") }));
  assert.equal(b.client.status.state, "open");
});
