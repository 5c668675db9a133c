/** Streams: what a reader gets, when it is slow, and how a stream ends. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { KlinecastError } from "../dist/index.js";
import { bench, settle, subsOf } from "./client-bench.mjs";
import { makeBar } from "./make-bar.mjs";

const START_MS = 1_700_000_000_000;
const TOPIC = "kline:1s:BTC-USD";
const at = (index) => START_MS + index * 1_000;
const forming = (index, seq) => makeBar({ start_ms: at(index), seq });
const closed = (index, seq, fields = {}) => makeBar({ start_ms: at(index), state: "closed", seq, ...fields });
const stored = (index) => closed(index, 0, { epoch: 0 });

function opened(topics, options, config) {
  const b = bench(config);
  const stream = b.client.stream(topics, options);
  b.client.connect();
  b.socket.open();
  return { b, stream };
}

test("a stream yields the past, then live, with the token to go on from", async () => {
  const { b, stream } = opened(TOPIC, { from: { last: 2 } });
  b.socket.receive(stored(0), stored(1), { op: "live", topic: TOPIC, recovered: true, token: `k1.${at(2)}.${at(2)}` }, forming(2, 4), closed(2, 5));
  const seen = [];
  for await (const event of stream) {
    seen.push(event.kind === "bar" ? [event.bar.state, event.isPast, event.token] : [event.kind, event.recovered, event.token]);
    if (seen.length === 4) break;
  }
  assert.deepEqual(seen, [
    ["closed", true, null],
    ["closed", true, null],
    ["live", true, `k1.${at(2)}.${at(2)}`],
    ["closed", false, `k1.${at(3)}.${at(2) + 411}`],
  ]);
  await settle();
  assert.deepEqual(b.socket.sent.at(-1).op, "unsub", "break ends the subscription");
});

test("live says how many intervals have no bar that anybody has", async () => {
  const { b, stream } = opened(TOPIC, { from: { last: 2 } });
  b.socket.receive(stored(0), stored(4), { op: "live", topic: TOPIC, recovered: true, missing: 3 });
  const read = [];
  for await (const event of stream) {
    read.push([event.kind, event.missing]);
    if (read.length === 3) break;
  }
  assert.deepEqual(read, [["bar", undefined], ["bar", undefined], ["live", 3]]);
});

test("bars alone can be read, too", async () => {
  const b = bench();
  const bars = b.client.bars([TOPIC], { from: { last: 1 } });
  const first = bars.next();
  b.client.connect();
  b.socket.open();
  b.socket.receive(stored(0), { op: "live", topic: TOPIC, recovered: true }, closed(1, 3));
  assert.equal((await first).value.start_ms, at(0));
  assert.equal((await bars.next()).value.start_ms, at(1));
  await bars.return();
  await settle();
  assert.equal(b.socket.sent.at(-1).op, "unsub");
});

test("a slow reader finds the newest forming bar, and is told what it missed", async () => {
  const { b, stream } = opened(["kline:1s:BTC-USD", "system:feed:okx"], { bufferMax: 10 });
  for (let seq = 1; seq <= 1_000; seq += 1) b.socket.receive(forming(0, seq));
  for (let age = 0; age < 100; age += 1) b.socket.receive({ topic: "system:feed:okx", exchange: "okx", state: "live", age_ms: age });
  assert.equal(stream.waitingCount, 2);
  assert.deepEqual([(await stream.next()).value.bar.seq, (await stream.next()).value.feed.age_ms], [1_000, 99]);
  for (let index = 1; index <= 25; index += 1) b.socket.receive(closed(index, 1_000 + index));
  assert.equal(stream.waitingCount, 10);
  assert.deepEqual((await stream.next()).value, { kind: "dropped", count: 15 });
  assert.equal((await stream.next()).value.bar.start_ms, at(16));
  assert.equal(b.client.stats.droppedEvents, 15);
});

test("an event never stands before one whose token is older", async () => {
  const { b, stream } = opened(TOPIC, { from: { last: 1 } });
  b.socket.receive({ op: "live", topic: TOPIC, recovered: true }, forming(0, 1), forming(1, 2), closed(0, 3), closed(1, 4), forming(2, 5));
  const places = [];
  for (let event = await stream.next(); ; event = await stream.next()) {
    if (event.value.kind === "bar") places.push([event.value.bar.start_ms, event.value.token]);
    if (stream.waitingCount === 0) break;
  }
  assert.deepEqual(places, [
    [at(0), `k1.${at(1)}.${at(0) + 411}`],
    [at(1), `k1.${at(2)}.${at(1) + 411}`],
    [at(2), null],
  ]);
});

test("a stream whose topics the gateway refuses ends with the reason", async () => {
  for (const [error, topics] of [
    [{ code: "bad_topic", topics: [TOPIC] }, [TOPIC]],
    [{ code: "forbidden", topics: [TOPIC] }, [TOPIC]],
    [{ code: "bad_option" }, [TOPIC]],
    [{ code: "too_many_topics" }, [TOPIC]],
  ]) {
    const { b, stream } = opened(TOPIC, {});
    const waiting = stream.next();
    b.socket.receive({ op: "error", id: subsOf(b.socket)[0].id, message: "no", ...error });
    await assert.rejects(waiting, (thrown) => thrown instanceof KlinecastError && thrown.code === error.code && thrown.topics[0] === topics[0]);
    assert.ok((await stream.next()).done);
    b.client.close();
  }
});

test("a refusal of one stream's topics leaves the other streams", async () => {
  const b = bench();
  const [bad, good] = [b.client.stream("kline:1x:A-B"), b.client.stream(TOPIC)];
  b.client.connect();
  b.socket.open();
  b.socket.receive({ op: "error", id: 1, code: "bad_topic", message: "no", topics: ["kline:1x:A-B"] }, forming(0, 1));
  await assert.rejects(bad.next(), KlinecastError);
  assert.equal((await good.next()).value.bar.seq, 1);
});

test("streams end with the client, with a signal, and when the client gives up", async () => {
  const first = opened(TOPIC, {});
  const waiting = first.stream.next();
  first.b.client.close();
  assert.ok((await waiting).done);
  assert.equal(first.b.taskCount, 0);

  const abort = new AbortController();
  const second = opened(TOPIC, { signal: abort.signal });
  abort.abort();
  assert.ok((await second.stream.next()).done);
  await settle();
  assert.equal(second.b.socket.sent.at(-1).op, "unsub");

  const third = opened(TOPIC, {});
  third.b.socket.drop(1009);
  await assert.rejects(third.stream.next(), /stopped: message too big/);
});

test("a topic belongs to one stream, and may have another once that has ended", async () => {
  const { b, stream } = opened(TOPIC, { from: { last: 1 } });
  assert.throws(() => b.client.stream(TOPIC), /subscribed already/);
  b.socket.receive(stored(0), { op: "live", topic: TOPIC, recovered: true });
  await stream.return();
  const again = b.client.stream(TOPIC, { from: { last: 1 } });
  await settle();
  b.socket.receive(stored(0), { op: "live", topic: TOPIC, recovered: true });
  assert.equal((await again.next()).value.bar.start_ms, at(0), "its past comes again");
});

test("feeds, gaps and marks come through streams of their topics", async () => {
  const gap = { topic: "system:service:marketdata:gap", exchange: "okx", symbol: "A-B", first_id: null, last_id: null, from_ms: 1, to_ms: null, state: "open" };
  const { b, stream } = opened(["system:feed:*", "system:service:marketdata:gap", "boundary:1m"], {});
  b.socket.receive({ topic: "system:feed:okx", exchange: "okx", state: "live", age_ms: 1 }, gap, { op: "boundary", topic: "boundary:1m", interval: "1m", end_ms: 60_000, bars: 3, missing: 0 });
  const kinds = [(await stream.next()).value, (await stream.next()).value, (await stream.next()).value].map(({ kind, topic }) => [kind, topic]);
  assert.deepEqual(kinds, [["feed", "system:feed:okx"], ["gap", "system:service:marketdata:gap"], ["boundary", "boundary:1m"]]);
});

test("a gateway that does not know all that came since says so", async () => {
  const { b, stream } = opened(TOPIC, {});
  b.socket.receive({ op: "ack", id: 1, topics: [TOPIC], not_resumed: [TOPIC] });
  assert.deepEqual((await stream.next()).value, { kind: "not_resumed", topic: TOPIC });
  assert.deepEqual(b.of("not_resumed"), [{ topics: [TOPIC] }]);
});
