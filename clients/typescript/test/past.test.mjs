/** Topics that begin in the past: one call, tokens, what is lacking, and other gateways. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { bench, settle, subsOf } from "./client-bench.mjs";
import { makeBar } from "./make-bar.mjs";

const START_MS = 1_700_000_000_000;
const TOPIC = "kline:1s:BTC-USD";
const at = (index) => START_MS + index * 1_000;
const stored = (index, fields = {}) => makeBar({ start_ms: at(index), state: "closed", epoch: 0, seq: 0, ...fields });
const closed = (index, seq, fields = {}) => makeBar({ start_ms: at(index), state: "closed", seq, ...fields });
const token = (index, knownMs = at(index) + 411) => `k1.${at(index) + 1_000}.${knownMs}`;
const live = (fields = {}) => ({ op: "live", topic: TOPIC, recovered: true, ...fields });
const plain = (messages) => messages.map(({ id, ...message }) => message);

/** A client that is subscribed to `TOPIC` from the last two bars, and live after bar 1. */
function begun(config) {
  const b = bench({ staleAfterMs: 3_600_000, ...config });
  b.client.sub([TOPIC], { from: { last: 2 } });
  b.client.connect();
  b.socket.open();
  b.socket.receive(stored(0), stored(1), live({ token: token(1) }));
  return b;
}

test("the past comes first, then live, in one request", () => {
  const b = begun();
  assert.deepEqual(plain(subsOf(b.socket)), [{ op: "sub", topics: [TOPIC], from: { last: 2 } }]);
  assert.deepEqual(b.of("bar").map(({ start_ms }) => start_ms), [at(0), at(1)]);
  assert.deepEqual(b.of("live"), [{ op: "live", topic: TOPIC, recovered: true, token: token(1) }]);
  assert.equal(b.client.token(TOPIC), token(1));
});

test("the token moves on with each live closed bar, and a reconnect to any gateway goes on from it", async () => {
  const b = begun();
  b.socket.receive(makeBar({ start_ms: at(2), seq: 8 }), closed(2, 9), makeBar({ start_ms: at(3), seq: 10 }));
  assert.equal(b.client.token(TOPIC), token(2));
  b.socket.drop(1012);
  await b.advance(b.client.status.retryInMs);
  b.socket.open();
  assert.deepEqual(plain(subsOf(b.socket)), [{ op: "sub", topics: [TOPIC], from: { token: token(2) } }]);
  const before = b.of("bar").length;
  // Another gateway: bar 3 closed meanwhile, bar 1 was revised, and its live numbers are of another epoch.
  b.socket.receive(stored(3), stored(1, { rev: 1 }), live({ token: token(3) }), makeBar({ start_ms: at(4), seq: 1, epoch: 7 }));
  assert.deepEqual(b.of("bar").slice(before).map(({ start_ms, rev }) => [start_ms, rev]), [[at(3), 0], [at(1), 1], [at(4), 0]]);
});

test("between the request and live the token does not move, and a loss there begins anew without repeating bars", async () => {
  const b = bench();
  b.client.sub([TOPIC], { from: { ms: at(0) } });
  b.client.connect();
  b.socket.open();
  b.socket.receive(stored(0), stored(1));
  assert.equal(b.client.token(TOPIC), null);
  b.socket.drop(1006);
  await b.advance(b.client.status.retryInMs);
  b.socket.open();
  assert.deepEqual(subsOf(b.socket)[0].from, { ms: at(0) });
  b.socket.receive(stored(0), stored(1), stored(2), live({ token: token(2) }));
  assert.deepEqual(b.of("bar").map(({ start_ms }) => start_ms), [at(0), at(1), at(2)]);
});

test("thousands of bars of the past are each handed out once, though the reading is broken off and started again", async () => {
  const b = bench();
  b.client.sub([TOPIC], { from: { last: 5_000 } });
  b.client.connect();
  for (const count of [3_000, 4_000, 5_000]) {
    b.socket.open();
    b.socket.receive(...Array.from({ length: count }, (_, index) => stored(index)));
    if (count < 5_000) b.socket.drop(1006);
    await b.advance(count < 5_000 ? b.client.status.retryInMs : 0);
  }
  b.socket.receive(live({ token: token(4_999) }));
  assert.equal(b.of("bar").length, 5_000);
  assert.equal(b.client.stats.repeatedBars, 7_000);
});

test("what a gateway skips is fetched from the place before it, later each time, and not without end", async () => {
  const b = begun();
  b.socket.receive(closed(2, 9), closed(7, 14, { skipped: 4 }));
  assert.deepEqual(b.of("skipped"), [{ topic: TOPIC, count: 4, beforeMs: at(7), isFetched: true }]);
  assert.equal(b.client.token(TOPIC), token(2), "the place stays before what is lacking");
  await b.advance(9_999);
  assert.equal(subsOf(b.socket).length, 1);
  await b.advance(1);
  assert.deepEqual(plain(subsOf(b.socket)).at(-1), { op: "sub", topics: [TOPIC], from: { token: token(2) } });
  b.socket.receive(...[3, 4, 5, 6, 7].map((index) => stored(index)), live({ token: token(7) }));
  assert.deepEqual(b.of("bar").slice(2).map(({ start_ms }) => start_ms), [2, 7, 3, 4, 5, 6].map(at));
  assert.equal(b.client.token(TOPIC), token(7));

  // A history that never has them is not asked for ever.
  b.socket.receive(closed(9, 17, { skipped: 1 }));
  const delaysMs = [];
  for (let index = 0; index < 8; index += 1) {
    const before = subsOf(b.socket).length;
    let waitedMs = 0;
    while (subsOf(b.socket).length === before && waitedMs < 700_000) {
      await b.advance(1_000);
      waitedMs += 1_000;
    }
    if (waitedMs < 700_000) delaysMs.push(waitedMs);
    b.socket.receive(live({ recovered: false, reason: "gap", token: token(9) }));
  }
  assert.deepEqual(delaysMs, [10_000, 20_000, 40_000, 80_000, 160_000]);
  assert.equal(b.client.token(TOPIC), token(9), "then the client goes on without them");
});

test("more bars than a gateway gives at once are not asked for again", async () => {
  const b = begun();
  b.socket.drop(1012);
  await b.advance(b.client.status.retryInMs);
  b.socket.open();
  b.socket.receive(stored(500, { skipped: 498 }), live({ recovered: false, reason: "too_many", token: token(500) }));
  await b.advance(3_600_000);
  assert.equal(subsOf(b.socket).length, 1);
  assert.equal(b.client.token(TOPIC), token(500));
});

test("topics that stopped at the same bar are resumed together, from the earliest of their places", async () => {
  const topics = Array.from({ length: 450 }, (_, index) => `kline:1s:S${index}-USD`);
  const b = bench();
  b.client.sub(topics, { from: { last: 1 } });
  b.client.connect();
  b.socket.open();
  for (const [index, topic] of topics.entries()) {
    b.socket.receive({ op: "live", topic, recovered: true, token: `k1.${at(9)}.${at(9) + 700 - index}` });
  }
  b.socket.drop(1012);
  await b.advance(b.client.status.retryInMs);
  b.socket.open();
  const messages = subsOf(b.socket);
  assert.deepEqual(messages.map((message) => message.topics.length), [200, 200, 50]);
  for (const message of messages) assert.deepEqual(message.from, { token: `k1.${at(9)}.${at(9) + 700 - 449}` });
});

test("a thousand topics with places of their own are resumed no faster than a gateway permits", async () => {
  const topics = Array.from({ length: 1_000 }, (_, index) => `kline:1s:S${index}-USD`);
  const b = bench({ staleAfterMs: 3_600_000 });
  b.client.sub(topics, { from: { last: 1 } });
  b.client.connect();
  b.socket.open();
  for (const [index, topic] of topics.entries()) b.socket.receive({ op: "live", topic, recovered: true, token: `k1.${at(index)}.${at(index)}` });
  b.socket.drop(1012);
  await b.advance(b.client.status.retryInMs);
  b.socket.open();
  assert.ok(subsOf(b.socket).length <= 50, "not more than the gateway's burst at once");
  for (let second = 0; second < 10; second += 1) {
    const before = b.socket.sent.length;
    await b.advance(1_000);
    assert.ok(b.socket.sent.length - before <= 20, "nor more than its rate");
  }
  await b.advance(120_000);
  assert.equal(new Set(subsOf(b.socket).flatMap((message) => message.topics)).size, 1_000);
});

test("a pattern has no past, and none may bring a topic beside its past", () => {
  const b = bench();
  assert.throws(() => b.client.sub(["kline:1m:*"], { from: { last: 5 } }), TypeError);
  assert.throws(() => b.client.sub(["trade:BTC-USD"], { from: { last: 5 } }), /topics of bars/);
  b.client.sub([TOPIC], { from: { last: 5 } });
  assert.throws(() => b.client.sub(["kline:1s:*"]), /brings kline:1s:BTC-USD without its past/);
  b.client.sub(["kline:1m:*"]);
  assert.throws(() => b.client.sub(["kline:1m:BTC-USD"], { from: { last: 5 } }), TypeError);
});

test("a topic under its second name goes on by its token, too", async () => {
  const b = bench();
  const name = "kline:1s:COINBASE:BTC-USD";
  b.client.sub([name], { from: { last: 1 } });
  b.client.connect();
  b.socket.open();
  b.socket.receive(stored(0), live({ token: token(0) }), closed(1, 5));
  assert.deepEqual(b.of("bar").map(({ topic }) => topic), [TOPIC, TOPIC]);
  assert.equal(b.client.token(name), token(1));
  b.socket.drop(1012);
  await b.advance(b.client.status.retryInMs);
  b.socket.open();
  assert.deepEqual(plain(subsOf(b.socket)), [{ op: "sub", topics: [name], from: { token: token(1) } }]);
});

test("without a past a topic under its second name is resumed where it stopped", async () => {
  const b = bench();
  b.client.sub(["kline:1s:COINBASE:BTC-USD"]);
  b.client.connect();
  b.socket.open();
  b.socket.receive(closed(1, 5));
  b.socket.drop(1012);
  await b.advance(b.client.status.retryInMs);
  b.socket.open();
  assert.deepEqual(subsOf(b.socket)[0].since, { epoch: 1, seq: { [TOPIC]: 5 }, closed_ms: { [TOPIC]: at(2) } });
});

test("paused and shown again, a topic goes on from its token", async () => {
  const b = begun();
  b.socket.receive(closed(2, 9));
  b.client.pause();
  await settle();
  assert.deepEqual(plain(b.socket.sent).at(-1), { op: "unsub", topics: [TOPIC] });
  b.client.resume();
  await settle();
  assert.deepEqual(plain(b.socket.sent).at(-1), { op: "sub", topics: [TOPIC], from: { token: token(2) } });
});

test("bars of a folded width are taken from another gateway although its epoch is lower", async () => {
  const b = bench();
  const topic = "kline:7m:BTC-USD";
  const folded = (fields) => makeBar({ topic, interval: "7m", start_ms: START_MS, end_ms: START_MS + 420_000, ...fields });
  b.client.sub([topic]);
  b.client.connect();
  b.socket.open();
  b.socket.receive(folded({ epoch: 2_000, seq: 90, close: "10", published_us: 1_000_000 }));
  b.socket.drop(1012);
  await b.advance(b.client.status.retryInMs);
  b.socket.open();
  // The other gateway began to fold this width earlier.
  b.socket.receive(folded({ epoch: 1_500, seq: 7, close: "11", published_us: 2_000_000 }), folded({ epoch: 1_500, seq: 8, close: "11.5", published_us: 2_100_000 }));
  assert.deepEqual(b.of("bar").map(({ close }) => close), ["10", "11", "11.5"]);
  // What the first one sent earlier is still old.
  b.socket.receive(folded({ epoch: 1_400, seq: 900, close: "9", published_us: 900_000 }));
  assert.equal(b.of("bar").length, 3);
});

test("topics of publishers with different epochs are all resumed", async () => {
  const b = bench();
  b.client.sub(["kline:1s:*"]);
  b.client.connect();
  b.socket.open();
  b.socket.receive(closed(1, 70, { symbol: "A-USD", topic: "kline:1s:A-USD", epoch: 5 }), closed(2, 3, { symbol: "B-USDT", topic: "kline:1s:B-USDT", epoch: 9 }));
  b.socket.drop(1012);
  await b.advance(b.client.status.retryInMs);
  b.socket.open();
  assert.deepEqual(subsOf(b.socket)[0].since, {
    epoch: 5,
    seq: { "kline:1s:B-USDT": 3, "kline:1s:A-USD": 70 },
    closed_ms: { "kline:1s:B-USDT": at(3), "kline:1s:A-USD": at(2) },
  });
});

test("more patterns than a gateway takes at once are split over requests", () => {
  const b = bench();
  b.client.sub(Array.from({ length: 120 }, (_, index) => `kline:${index + 1}m:*`));
  b.client.connect();
  b.socket.open();
  assert.deepEqual(subsOf(b.socket).map((message) => message.topics.length), [50, 50, 20]);
});
