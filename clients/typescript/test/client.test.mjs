/** Events, requests and bounds of the client, and a run over real sockets. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { WebSocket } from "ws";
import { KlinecastClient } from "../dist/index.js";
import { bench } from "./client-bench.mjs";
import { makeBar } from "./make-bar.mjs";
import { TestGateway, until } from "./test-gateway.mjs";

const START_MS = 1_700_000_000_000;

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
