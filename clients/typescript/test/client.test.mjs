import assert from "node:assert/strict";
import { test } from "node:test";
import { WebSocket } from "ws";
import { KlinecastClient, pauseWhileHidden } from "../dist/index.js";
import { bench, settle, subsOf } from "./client-bench.mjs";
import { makeBar } from "./make-bar.mjs";
import { seededRandom } from "./seeded-random.mjs";
import { TestGateway, until } from "./test-gateway.mjs";

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

test("a batch becomes events in order, then one frame event", () => {
  const b = bench();
  b.client.sub(["kline:1s:BTC-USD"]);
  b.client.connect();
  b.socket.open();
  b.socket.receive(makeBar({ seq: 1 }), makeBar({ seq: 2, skipped: 3 }), "{broken", makeBar({ seq: 2 }));
  assert.deepEqual(b.of("bar").map((bar) => bar.seq), [1, 2]);
  assert.deepEqual(b.of("skipped"), [{ topic: "kline:1s:BTC-USD", count: 3, beforeMs: START_MS, isFetched: false }]);
  assert.equal(b.of("error")[0].code, "malformed_message");
  assert.deepEqual(b.of("frame").map((frame) => frame.messages), [4]);
  assert.deepEqual(
    { ...b.client.stats },
    { frames: 1, messages: 4, bars: 2, repeatedBars: 1, values: 0, repeatedValues: 0, malformedMessages: 1, unaskedMessages: 0, droppedEvents: 0, connections: 1 },
  );
});

test("after a drain the client comes back and resumes where it stopped, without repeating bars", async () => {
  const b = bench();
  b.client.sub(["kline:1s:*"]);
  b.client.connect();
  b.socket.open();
  b.socket.receive(makeBar({ epoch: 4, seq: 17 }));
  b.socket.drop(1012, "drain");
  assert.deepEqual(b.of("status").at(-1), { state: "reconnecting", attempt: 1, closeCode: 1012, why: "server restarting: drain", retryInMs: 500 });
  await b.advance(499);
  assert.equal(b.sockets.length, 1);
  await b.advance(1);
  assert.equal(b.sockets.length, 2);
  b.socket.open();
  assert.deepEqual(subsOf(b.socket)[0].since, { epoch: 4, seq: { "kline:1s:BTC-USD": 17 }, closed_ms: { "kline:1s:BTC-USD": START_MS } });
  b.socket.receive(makeBar({ epoch: 4, seq: 17 }), makeBar({ epoch: 4, seq: 18, state: "closed" }));
  assert.deepEqual(b.of("bar").map((bar) => bar.seq), [17, 18]);
});

test("a close that asks for a change is not followed by another attempt", async () => {
  for (const code of [1002, 1003, 1007, 1009, 4003, 4005]) {
    const b = bench();
    b.client.connect();
    b.socket.open();
    b.socket.drop(code);
    assert.equal(b.client.status.state, "stopped", String(code));
    await b.advance(3_600_000);
    assert.equal(b.sockets.length, 1, String(code));
    assert.equal(b.taskCount, 0, "no timer is left");
    b.client.connect();
    assert.equal(b.sockets.length, 2, "an explicit connect tries again");
  }
});

test("ten minutes of refused connections stay within the backoff's budget", async () => {
  const b = bench({ random: seededRandom(3) });
  b.client.connect();
  for (let second = 0; second < 600; second += 1) {
    if (b.client.status.state === "connecting") b.socket.drop(1006);
    await b.advance(1_000);
  }
  assert.ok(b.sockets.length >= 20 && b.sockets.length <= 80, `${b.sockets.length} attempts`);
});

test("a connection that opens and is lost at once does not reset the backoff", async () => {
  const b = bench({ random: () => 0.999 });
  b.client.connect();
  for (let round = 0; round < 6; round += 1) {
    b.socket.open();
    b.socket.drop(1006);
    await b.advance(b.client.status.retryInMs);
  }
  assert.deepEqual(b.of("status").filter((status) => status.state === "reconnecting").map((status) => status.retryInMs), [999, 1998, 3996, 7992, 15984, 29970]);
  b.socket.open();
  for (let second = 0; second < 12; second += 1) {
    await b.advance(1_000);
    b.socket.receive({ op: "pong" });
  }
  b.socket.drop(1006);
  assert.equal(b.client.status.retryInMs, 999, "a stable connection starts over");
});

test("a limit close waits longer", () => {
  const b = bench();
  b.client.connect();
  b.socket.open();
  b.socket.drop(1013);
  assert.equal(b.client.status.retryInMs, 4_000);
});

test("a silent connection is asked, then given up and replaced", async () => {
  const b = bench({ staleAfterMs: 10_000 });
  b.client.sub(["kline:1s:BTC-USD"]);
  b.client.connect();
  const [first] = b.sockets;
  first.open();
  await b.advance(5_000);
  assert.deepEqual(first.sent.at(-1), { op: "ping" });
  first.receive({ op: "pong" });
  await b.advance(9_999);
  assert.equal(b.client.status.state, "open", "an answered ping keeps it");
  await b.advance(6_000);
  assert.ok(first.isClosed);
  assert.match(b.of("status").find((status) => status.state === "reconnecting").why, /nothing received/);
  assert.equal(b.sockets.length, 2);
  first.receive(makeBar());
  first.drop(1000);
  assert.equal(b.of("bar").length, 0, "the abandoned socket reaches nobody");
  assert.equal(b.client.status.state, "connecting");
});

test("a timer that ran late, after sleep say, is no proof of silence", async () => {
  const b = bench({ staleAfterMs: 10_000 });
  b.client.connect();
  b.socket.open();
  b.sleep(3_600_000);
  await b.advance(0);
  assert.equal(b.client.status.state, "open");
  assert.deepEqual(b.socket.sent.at(-1), { op: "ping" });
  b.socket.receive({ op: "pong" });
  await b.advance(9_000);
  assert.equal(b.client.status.state, "open");
});

test("a handshake without an answer is given up", async () => {
  const b = bench({ connectTimeoutMs: 3_000 });
  b.client.connect();
  await b.advance(3_000);
  assert.equal(b.client.status.state, "reconnecting");
  assert.ok(b.sockets[0].isClosed);
});

test("paused, it keeps closed bars where asked and nothing else; resumed, it asks for one snapshot", async () => {
  const b = bench({ maxRate: 4 });
  b.client.sub(["kline:1s:BTC-USD"], { whenPaused: "closed_only" });
  b.client.sub(["kline:1d:*"]);
  b.client.connect();
  b.socket.open();
  b.socket.receive(makeBar({ seq: 40 }));
  b.socket.sent.length = 0;
  b.client.pause();
  await settle();
  const plain = (messages) => messages.map(({ id, ...message }) => message);
  const since = { epoch: 1, seq: { "kline:1s:BTC-USD": 40 }, closed_ms: { "kline:1s:BTC-USD": START_MS } };
  assert.deepEqual(plain(b.socket.sent), [
    { op: "unsub", topics: ["kline:1s:BTC-USD", "kline:1d:*"] },
    { op: "sub", topics: ["kline:1s:BTC-USD"], closed_only: true, max_rate: 4, since },
  ]);
  b.socket.sent.length = 0;
  b.client.resume();
  await settle();
  assert.deepEqual(plain(b.socket.sent), [
    { op: "unsub", topics: ["kline:1s:BTC-USD"] },
    { op: "sub", topics: ["kline:1s:BTC-USD", "kline:1d:*"], max_rate: 4, since },
  ]);
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

test("a pause that ends before it was sent sends nothing", async () => {
  const b = bench();
  b.client.sub(["kline:1s:BTC-USD"]);
  b.client.connect();
  b.socket.open();
  b.socket.sent.length = 0;
  b.client.pause();
  b.client.resume();
  await settle();
  assert.deepEqual(b.socket.sent, []);
});

test("a page hidden for a moment is not paused, a page hidden for longer is", (t) => {
  const b = bench();
  const page = new EventTarget();
  page.visibilityState = "visible";
  const show = (state) => {
    page.visibilityState = state;
    page.dispatchEvent(new Event("visibilitychange"));
  };
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const end = pauseWhileHidden(b.client, page, 5_000);
  show("hidden");
  t.mock.timers.tick(4_999);
  show("visible");
  t.mock.timers.tick(60_000);
  assert.equal(b.client.isPaused, false);
  show("hidden");
  t.mock.timers.tick(5_000);
  assert.equal(b.client.isPaused, true);
  show("visible");
  assert.equal(b.client.isPaused, false);
  end();
});

test("list and ping answer by id, and fail when the connection does", async () => {
  const b = bench();
  await assert.rejects(b.client.list(), /not connected/);
  b.client.connect();
  b.socket.open();
  const list = b.client.list();
  const refused = b.client.list();
  const { id } = b.socket.sent.at(-2);
  b.socket.receive({ op: "list", id, subscriptions: [], topics: ["kline:1s:A-B"] }, { op: "error", id: id + 1, code: "rate", message: "too many" });
  assert.deepEqual((await list).topics, ["kline:1s:A-B"]);
  await assert.rejects(refused, /rate: too many/);
  const late = b.client.ping();
  const lost = b.client.ping();
  b.socket.receive({ op: "pong", id: id + 2 });
  assert.equal(await late, 0);
  b.socket.drop(1001);
  await assert.rejects(lost, /connection lost/);
});

test("requests and subscriptions are bounded", async () => {
  const b = bench({ subscriptionsMax: 3 });
  b.client.sub(["a", "b", "c"]);
  assert.throws(() => b.client.sub(["d"]), RangeError);
  b.client.sub(["a"], { closedOnly: true });
  b.client.connect();
  b.socket.open();
  const answers = Array.from({ length: 70 }, () => b.client.ping().catch((error) => error.message));
  b.client.close();
  const messages = await Promise.all(answers);
  assert.equal(messages.filter((message) => /more than 64/.test(message)).length, 6);
  assert.equal(b.taskCount, 0);
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

test("topics that an overloaded gateway refused are asked for again, later each time", async () => {
  const b = bench({ staleAfterMs: 3_600_000 });
  const overloaded = (message) => ({ op: "error", id: message.id, code: "overloaded", message: "ask again in a few seconds" });
  b.client.sub(["kline:1s:A-B", "kline:1m:A-B"]);
  b.client.connect();
  b.socket.open();
  const delaysMs = [4_000, 8_000, 15_000];
  for (const [index, delayMs] of delaysMs.entries()) {
    b.socket.receive(overloaded(subsOf(b.socket).at(-1)));
    await b.advance(delayMs - 1);
    assert.equal(subsOf(b.socket).length, index + 1);
    await b.advance(1);
    assert.deepEqual(subsOf(b.socket).at(-1).topics, ["kline:1s:A-B", "kline:1m:A-B"]);
  }
  assert.deepEqual(b.of("error").map(({ code }) => code), delaysMs.map(() => "overloaded"));

  b.socket.receive({ op: "ack", id: subsOf(b.socket).at(-1).id, topics: [] });
  const before = subsOf(b.socket).length;
  b.client.sub(["kline:1s:C-D"]);
  await settle();
  b.socket.receive(overloaded(subsOf(b.socket).at(-1)));
  b.client.sub(["kline:1s:E-F"]);
  await settle();
  b.client.unsub(["kline:1s:C-D"]);
  b.client.sub(["kline:1s:C-D"], { closedOnly: true });
  await settle();
  await b.advance(4_000);
  assert.deepEqual(
    subsOf(b.socket).slice(before).map(({ id, ...message }) => message),
    [
      { op: "sub", topics: ["kline:1s:C-D"] },
      { op: "sub", topics: ["kline:1s:E-F"] },
      { op: "sub", topics: ["kline:1s:C-D"], closed_only: true },
    ],
  );
  b.socket.receive(overloaded(subsOf(b.socket).at(-1)));
  b.client.close();
  assert.equal(b.taskCount, 0);
});

test("a list that an overloaded gateway refused is asked again until its time is over", async () => {
  const b = bench({ staleAfterMs: 3_600_000, requestTimeoutMs: 10_000 });
  const overloaded = (message) => ({ op: "error", id: message.id, code: "overloaded", message: "ask again in a few seconds" });
  const listsOf = (socket) => socket.sent.filter((message) => message.op === "list");
  b.client.connect();
  b.socket.open();
  const answered = b.client.list();
  b.socket.receive(overloaded(listsOf(b.socket)[0]));
  await b.advance(4_000);
  assert.equal(listsOf(b.socket).length, 2);
  b.socket.receive({ op: "list", id: listsOf(b.socket)[1].id, subscriptions: [], topics: ["kline:1s:A-B"], truncated: false });
  assert.deepEqual((await answered).topics, ["kline:1s:A-B"]);

  const refused = assert.rejects(b.client.list(), /overloaded: ask again/);
  b.socket.receive(overloaded(listsOf(b.socket).at(-1)));
  await b.advance(4_000);
  b.socket.receive(overloaded(listsOf(b.socket).at(-1)));
  await b.advance(6_000);
  await refused;
  await b.advance(60_000);
  assert.equal(listsOf(b.socket).length, 4);
  b.client.close();
  assert.equal(b.taskCount, 0);
});

test("many topics are split over messages", () => {
  const b = bench();
  b.client.sub(Array.from({ length: 450 }, (_, index) => `kline:1s:S${index}-USD`));
  b.client.connect();
  b.socket.open();
  assert.deepEqual(subsOf(b.socket).map((message) => message.topics.length), [200, 200, 50]);
});

test("the token goes first", () => {
  const b = bench({ token: "secret" });
  // What a listener asks for would be refused before the token.
  b.client.on("status", (status) => {
    if (status.state === "open") b.client.list().catch(() => {});
  });
  b.client.sub(["kline:1s:A-B"]);
  b.client.connect();
  b.socket.open();
  assert.deepEqual(b.socket.sent.map((message) => message.op), ["auth", "list", "sub"]);
});

test("a listener that throws stops neither the others nor the frame, and is heard of", async () => {
  const b = bench();
  b.client.on("feed", () => {
    throw new Error("listener's own fault");
  });
  b.client.sub(["system:feed:*", "kline:1s:*"]);
  b.client.connect();
  b.socket.open();
  b.socket.receive({ topic: "system:feed:okx", exchange: "okx", state: "live", age_ms: 1 }, makeBar());
  assert.equal(b.of("bar").length, 1);
  assert.equal(b.of("frame").length, 1);
  await assert.rejects(b.advance(0), /listener's own fault/);
});

test("over real sockets: live, killed, back on the same port, no bar twice", { timeout: 60_000 }, async () => {
  const topics = ["kline:1s:A-USD", "kline:1s:OKX:B-USDT"];
  let gateway = new TestGateway();
  const port = await gateway.start();
  gateway.run(topics);
  const client = new KlinecastClient({ url: `ws://127.0.0.1:${port}/ws`, WebSocket, backoff: { baseMs: 50, maxMs: 200, backOffAttempts: 2 } });
  const versions = new Set();
  let repeated = 0;
  client.on("bar", (bar) => {
    const key = `${bar.topic} ${bar.start_ms} ${bar.epoch} ${bar.rev} ${bar.seq}`;
    if (versions.has(key)) repeated += 1;
    versions.add(key);
  });
  try {
    client.sub(["kline:1s:*", "system:feed:*"]);
    client.connect();
    await until("bars", () => client.stats.bars > 30);
    assert.ok((await client.list()).topics.includes(topics[0]));
    assert.ok((await client.ping()) >= 0);
    await gateway.kill();
    await until("the loss", () => client.status.state === "reconnecting");
    const before = client.stats.bars;
    gateway = new TestGateway({ epoch: 2, truth: gateway.truth });
    await gateway.start(port);
    gateway.run(topics);
    await until("bars after the restart", () => client.stats.bars > before + 30);
    assert.equal(client.status.state, "open");
    assert.ok(gateway.received.some((message) => message.op === "sub" && message.since?.seq?.[topics[0]] > 0));
    gateway.closeAll(1012, "drain");
    await until("the second reconnect", () => client.stats.connections === 3);
    gateway.closeAll(4003);
    await until("the stop", () => client.status.state === "stopped");
    assert.equal(repeated, 0);
  } finally {
    client.close();
    await gateway.kill();
  }
});
