/** Servers that break the protocol, in every layer: the client neither leaks, nor spins, nor stops working. */
import assert from "node:assert/strict";
import { createServer as createTcpServer } from "node:net";
import { test } from "node:test";
import { WebSocket, WebSocketServer } from "ws";
import { KlinecastClient } from "../dist/index.js";
import { bench } from "./client-bench.mjs";
import { makeBar } from "./make-bar.mjs";
import { seededRandom } from "./seeded-random.mjs";
import { until } from "./test-gateway.mjs";

const START_MS = 1_700_000_000_000;
const TOPIC = "kline:1s:BTC-USD";
const at = (index) => START_MS + index * 1_000;
const FAST = { baseMs: 20, maxMs: 100, backOffAttempts: 1 };

/** Text that no gateway sends. */
const JUNK = [
  "",
  "\n\n\n",
  "{",
  "null",
  "[]",
  "[[[[[[",
  "5",
  '"text"',
  "{}",
  '{"op":5}',
  '{"topic":null}',
  '{"__proto__":{"kind":"bar"},"topic":"kline:1s:BTC-USD"}',
  '{"constructor":{"prototype":{"polluted":1}},"op":"ack"}',
  `${"[".repeat(20_000)}${"]".repeat(20_000)}`,
  `{"op":"ack","id":${"9".repeat(400)},"topics":[{"a":1},null,5]}`,
  '{"op":"ack","id":{"a":1},"topics":"kline:1s:BTC-USD"}',
  '{"op":"list","id":1,"topics":{"length":1e9}}',
  '{"op":"live","topic":"kline:1s:BTC-USD","recovered":"yes"}',
  '{"op":"live","topic":"kline:1s:BTC-USD","recovered":true,"token":"k1.99999999999999999999.-5"}',
  '{"op":"live","topic":"__proto__","recovered":true,"token":5}',
  '{"op":"skipped","topic":"kline:1s:BTC-USD","skipped":-5}',
  '{"op":"skipped","topic":"kline:1s:BTC-USD","skipped":1e300}',
  '{"op":"boundary","interval":{},"end_ms":"x"}',
  '{"op":"error","code":{},"message":[],"topics":{"0":"kline:1s:BTC-USD"}}',
  '{"op":"error","code":{"toString":1},"message":{"toString":1}}',
  `{"op":"error","code":${"[".repeat(20_000)}${"]".repeat(20_000)}}`,
  '{"op":"auth_expiring","expires_ms":"soon"}',
  '{"topic":"system:feed:okx","exchange":{},"state":[],"age_ms":null}',
  '{"topic":"system:service:marketdata:gap"}',
  JSON.stringify(makeBar({ close: "9".repeat(1_000_000) })),
  JSON.stringify(makeBar({ start_ms: 1e308 })),
  JSON.stringify(makeBar({ seq: -1.5 })),
  JSON.stringify(makeBar({ state: "open" })),
  JSON.stringify(makeBar({ skipped: "many" })),
  JSON.stringify(makeBar({ start_ms: -5, end_ms: Number.MAX_SAFE_INTEGER })),
  "\u0000\uffff\ud800",
];

test("whatever a frame holds, the client goes on, and the next good bar arrives", () => {
  for (let seed = 1; seed <= 50; seed += 1) {
    const random = seededRandom(seed);
    const b = bench();
    b.client.sub([TOPIC, "system:feed:*"], {});
    b.client.connect();
    b.socket.open();
    const before = b.client.stats.bars;
    for (let count = 0; count < 40; count += 1) {
      const junk = JUNK[Math.floor(random() * JUNK.length)];
      const cut = random() < 0.3 ? junk.slice(0, Math.floor(random() * junk.length)) : junk;
      b.socket.onmessage({ data: random() < 0.1 ? new ArrayBuffer(8) : cut });
    }
    const known = b.client.stats.bars - before;
    b.socket.receive(makeBar({ start_ms: at(5_000 + seed), epoch: Number.MAX_SAFE_INTEGER, seq: Number.MAX_SAFE_INTEGER }));
    assert.equal(b.client.stats.bars - before, known + 1, `seed ${seed}`);
    assert.equal(b.client.status.state, "open");
    assert.equal({}.polluted, undefined);
    b.client.close();
    assert.equal(b.taskCount, 0, "no timer is left");
  }
});

test("a server of another kind is left after a hundred unreadable messages, and asked more and more rarely", async () => {
  const b = bench({ random: () => 0.9 });
  b.client.sub([TOPIC]);
  b.client.connect();
  for (let second = 0; second < 3_600; second += 1) {
    if (b.client.status.state === "connecting") {
      b.socket.open();
      b.socket.onmessage({ data: "hello\n".repeat(150) });
      assert.ok(b.socket.isClosed, "the connection is given up");
    }
    await b.advance(1_000);
  }
  assert.match(b.client.status.why, /is this the address of a gateway/);
  assert.ok(b.sockets.length < 200, `${b.sockets.length} connections in an hour`);
});

test("a frame without end is not read, and the connection is given up", () => {
  const b = bench({ frameCharsMax: 10_000 });
  b.client.connect();
  b.socket.open();
  b.socket.onmessage({ data: "\n".repeat(10_001) });
  assert.equal(b.client.status.state, "reconnecting");
  assert.match(b.client.status.why, /10001 characters/);
  assert.ok(b.client.status.retryInMs > 1_000);
});

test("bars of topics that nobody asked for are counted and forgotten", () => {
  const b = bench();
  b.client.sub([TOPIC]);
  b.client.connect();
  b.socket.open();
  for (let index = 0; index < 30_000; index += 1) b.socket.receive(makeBar({ symbol: `S${index}-USD`, topic: `kline:1s:S${index}-USD` }));
  b.socket.receive({ op: "live", topic: "kline:1s:S1-USD", recovered: true }, { op: "skipped", topic: "kline:1s:S1-USD", skipped: 5 });
  assert.equal(b.client.stats.unaskedMessages, 30_002);
  assert.deepEqual([b.of("bar").length, b.of("live").length, b.of("skipped").length], [0, 0, 0]);
});

test("ten thousand topics cost no comparison with each of a thousand subscriptions", () => {
  const b = bench();
  const wanted = Array.from({ length: 900 }, (_, index) => `kline:1m:S${index}-USD`);
  b.client.sub([...wanted, "kline:1s:*"]);
  b.client.connect();
  b.socket.open();
  let comparisons = 0;
  const { split } = String.prototype;
  String.prototype.split = function (...rest) {
    comparisons += 1;
    return split.apply(this, rest);
  };
  try {
    for (let index = 0; index < 10_000; index += 1) b.socket.receive(makeBar({ symbol: `T${index}-USD`, topic: `kline:1s:T${index}-USD` }));
  } finally {
    String.prototype.split = split;
  }
  assert.equal(b.client.stats.bars, 10_000);
  assert.ok(comparisons <= 10_000 * 10, `${comparisons} names were taken apart`);
});

test("a flood of bars that nobody reads fills no more than the buffer, and the loss is told", async () => {
  const b = bench();
  const stream = b.client.stream("kline:1s:*", { bufferMax: 1_000 });
  b.client.connect();
  b.socket.open();
  for (let seq = 1; seq <= 100_000; seq += 1) {
    b.socket.receive(makeBar({ start_ms: at(seq), state: "closed", seq, symbol: `S${seq % 300}-USD`, topic: `kline:1s:S${seq % 300}-USD` }));
  }
  assert.equal(stream.waitingCount, 1_000);
  assert.deepEqual((await stream.next()).value, { kind: "dropped", count: 99_000 });
});

test("a gateway that says of each bar that others are missing is not asked for them each time", async () => {
  const b = bench({ staleAfterMs: 3_600_000 });
  b.client.sub([TOPIC], { from: { last: 1 } });
  b.client.connect();
  b.socket.open();
  b.socket.receive({ op: "live", topic: TOPIC, recovered: true });
  for (let second = 1; second <= 1_000; second += 1) {
    b.socket.receive(makeBar({ start_ms: at(second), state: "closed", seq: second, skipped: 7 }), { op: "live", topic: TOPIC, recovered: true });
    await b.advance(1_000);
  }
  assert.ok(b.socket.sent.length <= 1_000 / 10 + 1, `${b.socket.sent.length} requests`);
});

test("a gateway that answers every request with an error is not asked without end", async () => {
  for (const code of ["overloaded", "bad_option", "too_many_topics", "forbidden", "auth_required", "unknown_op", "nonsense"]) {
    const b = bench({ staleAfterMs: 3_600_000 });
    b.client.sub([TOPIC, "kline:1m:*"]);
    b.client.connect();
    b.socket.open();
    let answered = 0;
    for (let second = 0; second < 600; second += 1) {
      for (const { id } of b.socket.sent.slice(answered)) b.socket.receive({ op: "error", id, code, message: "no", topics: code === "forbidden" ? [TOPIC] : [] });
      answered = b.socket.sent.length;
      await b.advance(1_000);
    }
    assert.ok(b.socket.sent.length <= 120, `${code}: ${b.socket.sent.length} requests in ten minutes`);
  }
});

test("acks and answers that nobody asked for do nothing", async () => {
  const b = bench();
  b.client.sub([TOPIC]);
  b.client.connect();
  b.socket.open();
  const list = b.client.list();
  for (let id = 100; id < 400; id += 1) b.socket.receive({ op: "ack", id, topics: ["kline:>"] }, { op: "list", id, topics: ["x"] }, { op: "pong", id }, { op: "error", id, code: "bad_topic", topics: ["nobody"] });
  const { id } = b.socket.sent.at(-1);
  b.socket.receive({ op: "list", id, subscriptions: [], topics: ["kline:1s:A-B"] });
  assert.deepEqual((await list).topics, ["kline:1s:A-B"]);
});

/** What a hostile host does with a TCP connection. */
const RAW = {
  "ends at once": (socket) => socket.destroy(),
  "resets at once": (socket) => socket.resetAndDestroy(),
  "answers with nonsense": (socket) => socket.end("SSH-2.0-OpenSSH_9\r\n"),
  "answers 200": (socket) => socket.end("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"),
  "answers 101 without the key": (socket) => socket.end("HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n"),
  "never answers": () => {},
  "sends endless headers": (socket) => {
    socket.write("HTTP/1.1 101 Switching Protocols\r\n");
    const timer = setInterval(() => socket.write(`x: ${"y".repeat(1_000)}\r\n`), 1);
    socket.on("close", () => clearInterval(timer));
  },
};

for (const [what, act] of Object.entries(RAW)) {
  test(`a host that ${what} is asked again at the backoff's pace, and no socket is left`, { timeout: 60_000 }, async () => {
    const open = new Set();
    let accepted = 0;
    const server = createTcpServer((socket) => {
      accepted += 1;
      open.add(socket);
      socket.on("error", () => {});
      socket.on("close", () => open.delete(socket));
      // Without reading, the end of a connection is not seen.
      socket.resume();
      act(socket);
    });
    await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
    const client = new KlinecastClient({ url: `ws://127.0.0.1:${server.address().port}/ws`, WebSocket, backoff: FAST, connectTimeoutMs: 200 });
    let attempts = 0;
    client.on("status", ({ state }) => (attempts += state === "connecting" ? 1 : 0));
    try {
      client.sub([TOPIC]);
      client.connect();
      await until("a few attempts", () => attempts >= 5);
      client.close();
      await until("the end of all sockets", () => open.size === 0);
      assert.ok(accepted <= attempts, `${accepted} connections, ${attempts} attempts`);
      assert.equal(client.status.state, "closed");
    } finally {
      client.close();
      for (const socket of open) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    }
  });
}

/** What a hostile server does with an open WebSocket, raw bytes included. */
const FRAMES = {
  "sends binary frames": (socket) => socket.send(Buffer.alloc(100)),
  "sets reserved bits": (socket) => socket._socket.write(Buffer.from([0xf1, 0x01, 0x41])),
  "sends a frame of 2^62 bytes": (socket) => socket._socket.write(Buffer.from([0x81, 127, 0x40, 0, 0, 0, 0, 0, 0, 0])),
  "sends text that is not UTF-8": (socket) => socket._socket.write(Buffer.from([0x81, 0x02, 0xc3, 0x28])),
  "never ends a message": (socket) => {
    socket._socket.write(Buffer.from([0x01, 0x01, 0x41]));
    const timer = setInterval(() => socket._socket.write(Buffer.from([0x00, 0x01, 0x41])), 1);
    socket.on("close", () => clearInterval(timer));
  },
  "closes with a code that does not exist": (socket) => socket._socket.write(Buffer.from([0x88, 0x02, 0x03, 0xe7])),
  "resets the connection": (socket) => socket._socket.resetAndDestroy(),
  "floods with pings": (socket) => {
    for (let count = 0; count < 5_000; count += 1) socket.ping("x");
  },
};

for (const [what, act] of Object.entries(FRAMES)) {
  test(`after a server that ${what} the client works with the next one`, { timeout: 60_000 }, async () => {
    const server = new WebSocketServer({ port: 0, host: "127.0.0.1" });
    await new Promise((resolve) => server.once("listening", resolve));
    let connections = 0;
    server.on("connection", (socket) => {
      connections += 1;
      socket.on("error", () => {});
      if (connections <= 3) act(socket);
      else socket.on("message", () => socket.send(JSON.stringify(makeBar({ seq: connections }))));
    });
    const client = new KlinecastClient({ url: `ws://127.0.0.1:${server.address().port}/ws`, WebSocket, backoff: FAST, staleAfterMs: 300 });
    try {
      client.sub([TOPIC]);
      client.connect();
      // Some of these leave the connection open: another request brings nothing, silence ends it.
      await until("a bar of a good connection", () => client.stats.bars > 0);
      assert.ok(client.stats.connections >= 2 && client.stats.connections <= 20, `${client.stats.connections} connections`);
    } finally {
      client.close();
      for (const socket of server.clients) socket.terminate();
      await new Promise((resolve) => server.close(resolve));
    }
  });
}

test("a connection that is given up is gone at once, though the server goes on sending", { timeout: 60_000 }, async () => {
  const server = new WebSocketServer({ port: 0, host: "127.0.0.1" });
  await new Promise((resolve) => server.once("listening", resolve));
  server.on("connection", (socket) => {
    socket.on("error", () => {});
    // It never answers the closing handshake.
    socket._receiver.removeAllListeners("conclude");
    const timer = setInterval(() => socket.readyState === socket.OPEN && socket.send("hello\n".repeat(500)), 1);
    socket.on("close", () => clearInterval(timer));
  });
  const client = new KlinecastClient({ url: `ws://127.0.0.1:${server.address().port}/ws`, WebSocket, backoff: { baseMs: 60_000, maxMs: 60_000, backOffAttempts: 1 }, random: () => 0.99 });
  client.connect();
  await until("the end", () => client.status.state === "reconnecting");
  await until("no socket", () => server.clients.size === 0);
  client.close();
  await new Promise((resolve) => server.close(resolve));
});
