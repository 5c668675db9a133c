/** The messages by which the client subscribes. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { bench, settle, subsOf } from "./client-bench.mjs";
import { makeBar } from "./make-bar.mjs";

const START_MS = 1_700_000_000_000;

test("subscriptions of one moment become one message per set of options", async () => {
  const { client, socket: none, ...rest } = bench();
  assert.equal(none, undefined);
  client.sub(["kline:1s:BTC-USD"]);
  client.sub(["kline:1m:BTC-USD"]);
  client.sub(["kline:1d:*"], { fill: "none" });
  client.sub(["kline:1h:BTC-USD"], { closedOnly: true, fill: "none" });
  client.connect();
  rest.sockets[0].open();
  const messages = subsOf(rest.sockets[0]).map(({ id, ...message }) => message);
  assert.deepEqual(messages, [
    { op: "sub", topics: ["kline:1s:BTC-USD", "kline:1m:BTC-USD"] },
    { op: "sub", topics: ["kline:1d:*"], fill: "none" },
    { op: "sub", topics: ["kline:1h:BTC-USD"], closed_only: true, fill: "none" },
  ]);
  client.unsub(["kline:1d:*"]);
  client.sub(["kline:1h:BTC-USD"]);
  await settle();
  assert.deepEqual(
    rest.sockets[0].sent.slice(3).map(({ id, ...message }) => message),
    [
      { op: "unsub", topics: ["kline:1d:*", "kline:1h:BTC-USD"] },
      { op: "sub", topics: ["kline:1h:BTC-USD"] },
    ],
  );
});

test("the frame rate can be changed while connected, and holds after a reconnect", async () => {
  const b = bench({ maxRate: 4 });
  b.client.sub(["kline:1d:*"]);
  b.client.connect();
  b.client.setMaxRate(1);
  b.socket.open();
  assert.equal(subsOf(b.socket)[0].max_rate, 1);
  b.client.setMaxRate(null);
  assert.deepEqual([b.socket.sent.at(-1).op, b.socket.sent.at(-1).max_rate], ["rate", 0]);
  b.client.setMaxRate(10);
  b.socket.drop(1012);
  await b.advance(b.client.status.retryInMs);
  b.socket.open();
  assert.equal(subsOf(b.socket)[0].max_rate, 10);
});

test("a topic that was never seen can start with the closed bars that the gateway holds", async () => {
  const b = bench();
  b.client.sub(["kline:1s:A-B", "kline:1s:C-D", "kline:1m:*"], { recent: true });
  b.client.connect();
  b.socket.open();
  assert.deepEqual(
    subsOf(b.socket).map(({ topics, since }) => [topics, since]),
    [
      [["kline:1m:*"], undefined],
      [["kline:1s:A-B", "kline:1s:C-D"], { epoch: 0, seq: { "kline:1s:A-B": 0, "kline:1s:C-D": 0 } }],
    ],
  );
  b.socket.receive(makeBar({ symbol: "A-B", epoch: 3, seq: 8 }));
  b.socket.drop(1012);
  await b.advance(b.client.status.retryInMs);
  b.socket.open();
  assert.deepEqual(
    subsOf(b.socket).map(({ topics, since }) => [topics, since]),
    [
      [["kline:1s:A-B", "kline:1m:*"], { epoch: 3, seq: { "kline:1s:A-B": 8 }, closed_ms: { "kline:1s:A-B": START_MS } }],
      [["kline:1s:C-D"], { epoch: 0, seq: { "kline:1s:C-D": 0 } }],
    ],
  );
});

test("bars that were skipped can be asked for again, also where no bar could say so", async () => {
  const b = bench({ versions: { barsPerTopicMax: 2, topicsMax: 10 } });
  const topic = "kline:1s:BTC-USD";
  const closed = (index, seq) => makeBar({ start_ms: START_MS + index * 1_000, seq, state: "closed" });
  b.client.sub([topic, "kline:1d:*"]);
  b.client.connect();
  b.socket.open();
  b.socket.receive(closed(0, 1), closed(7, 8), closed(8, 9), closed(9, 10), { op: "skipped", topic, skipped: 6 });
  assert.deepEqual(b.of("skipped"), [{ topic, count: 6, beforeMs: null, isFetched: false }]);
  assert.deepEqual(b.of("other"), []);

  const before = subsOf(b.socket).length;
  b.client.refetch([topic, "kline:1d:*", "kline:1m:NOT-WANTED"]);
  await settle();
  assert.deepEqual(
    subsOf(b.socket).slice(before).map(({ id, ...message }) => message),
    [{ op: "sub", topics: [topic], since: { epoch: 0, seq: { [topic]: 0 } } }],
  );
  const count = b.of("bar").length;
  b.socket.receive(...[1, 2, 3, 4, 5, 6].map((index) => closed(index, index + 1)), closed(9, 10));
  assert.deepEqual(b.of("bar").slice(count).map((bar) => bar.seq), [2, 3, 4, 5, 6, 7]);
});

test("a topic that the gateway calls malformed is not asked for again", async () => {
  const b = bench();
  b.client.sub(["kline:1s:A-B", "kline:1x:A-B"]);
  b.client.connect();
  b.socket.open();
  b.socket.receive({ op: "error", id: 1, code: "bad_topic", message: "'kline:1x:A-B' names no timeframe", topics: ["kline:1x:A-B"] });
  assert.equal(b.of("error").length, 1);
  b.socket.drop(1001);
  await b.advance(b.client.status.retryInMs);
  b.socket.open();
  assert.deepEqual(subsOf(b.socket)[0].topics, ["kline:1s:A-B"]);
});

test("many topics are split over messages", () => {
  const b = bench();
  b.client.sub(Array.from({ length: 450 }, (_, index) => `kline:1s:S${index}-USD`));
  b.client.connect();
  b.socket.open();
  assert.deepEqual(subsOf(b.socket).map((message) => message.topics.length), [200, 200, 50]);
});
