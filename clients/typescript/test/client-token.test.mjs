import assert from "node:assert/strict";
import { test } from "node:test";
import { bench, DATE_MS, settle, subsOf } from "./client-bench.mjs";

const tokensOf = (socket) => socket.sent.filter((message) => message.op === "auth").map((message) => message.token);

/** A client whose function gives t1, t2 and so on, subscribed to two topics. */
function renewing(config = {}) {
  let count = 0;
  const b = bench({ token: async () => `t${(count += 1)}`, ...config });
  b.client.sub(["kline:1s:A-B", "kline:1m:*"]);
  return b;
}

async function connect(b) {
  b.client.connect();
  await settle();
  b.socket.open();
}

/** The gateway takes the newest token for so long. */
function accept(b, seconds, nowMs, more = {}) {
  b.socket.receive({ op: "ack", id: 1, expires_ms: DATE_MS + nowMs + seconds * 1_000, ...more });
}

test("a function is asked before each connection, and its token goes first", async () => {
  const b = renewing();
  b.client.connect();
  assert.equal(b.sockets.length, 0);
  assert.equal(b.client.status.state, "connecting");
  await settle();
  b.socket.open();
  assert.deepEqual(b.socket.sent.map((message) => message.op), ["auth", "sub"]);
  assert.deepEqual(tokensOf(b.socket), ["t1"]);
  b.socket.drop(1001);
  await b.advance(b.client.status.retryInMs);
  b.socket.open();
  assert.deepEqual(tokensOf(b.socket), ["t2"]);
});

test("a token is renewed before it expires, on the same connection", async () => {
  const b = renewing();
  await connect(b);
  accept(b, 600, 0);
  // The gateway is heard all the while.
  const pass = async (seconds) => {
    for (let second = 0; second < seconds; second += 5) {
      await b.advance(5_000);
      b.socket.receive({ op: "pong" });
    }
  };
  await pass(535);
  assert.deepEqual(tokensOf(b.socket), ["t1"]);
  await pass(10);
  assert.deepEqual(tokensOf(b.socket), ["t1", "t2"]);
  accept(b, 600, 545_000);
  await pass(535);
  assert.deepEqual(tokensOf(b.socket), ["t1", "t2"]);
  await pass(10);
  assert.deepEqual(tokensOf(b.socket), ["t1", "t2", "t3"]);
  assert.equal(b.sockets.length, 1);
  assert.equal(subsOf(b.socket).length, 1);
});

test("a short token is renewed at half its time, and an expired one not in a loop", async () => {
  const b = renewing();
  await connect(b);
  accept(b, 10, 0);
  await b.advance(4_900);
  assert.equal(tokensOf(b.socket).length, 1);
  await b.advance(200);
  assert.equal(tokensOf(b.socket).length, 2);
  accept(b, -100, 5_100);
  await settle();
  assert.equal(tokensOf(b.socket).length, 2);
  await b.advance(1_000);
  assert.equal(tokensOf(b.socket).length, 3);
});

test("the gateway's notice renews the token once, whatever the clock says", async () => {
  const b = renewing();
  await connect(b);
  accept(b, 1_000_000, 0);
  b.socket.receive({ op: "auth_expiring", expires_ms: DATE_MS + 1 });
  b.socket.receive({ op: "auth_expiring", expires_ms: DATE_MS + 1 });
  await settle();
  assert.deepEqual(tokensOf(b.socket), ["t1", "t2"]);
  assert.equal(b.of("expiring").length, 2);
});

test("a fixed token is only announced to expire, and then ends the connection", async () => {
  const b = bench({ token: "fixed" });
  b.client.sub(["kline:1s:A-B"]);
  b.client.connect();
  b.socket.open();
  accept(b, 10, 0);
  b.socket.receive({ op: "auth_expiring", expires_ms: DATE_MS + 10_000 });
  await b.advance(9_000);
  assert.deepEqual(tokensOf(b.socket), ["fixed"]);
  assert.equal(b.of("expiring").length, 1);
  b.socket.drop(4005, "token expired");
  assert.equal(b.client.status.state, "stopped");
  assert.match(b.client.status.why, /token expired/);
});

test("with a function an expired token is followed by a reconnect with another", async () => {
  for (const code of [4003, 4005]) {
    const b = renewing();
    await connect(b);
    accept(b, 600, 0);
    b.socket.drop(code);
    assert.equal(b.client.status.state, "reconnecting");
    await b.advance(b.client.status.retryInMs);
    b.socket.open();
    assert.deepEqual(tokensOf(b.socket), ["t2"]);
  }
});

test("a token that is refused is not sent again", async () => {
  const refused = { op: "error", id: 1, code: "invalid_token", message: "the token has expired" };
  const fixed = bench({ token: "fixed" });
  fixed.client.connect();
  fixed.socket.open();
  fixed.socket.receive(refused);
  assert.equal(fixed.client.status.state, "stopped");
  assert.match(fixed.client.status.why, /the token has expired/);
  assert.ok(fixed.sockets[0].isClosed);
  const b = renewing();
  await connect(b);
  b.socket.receive(refused);
  assert.equal(b.client.status.state, "reconnecting");
  await b.advance(b.client.status.retryInMs);
  b.socket.open();
  assert.deepEqual(tokensOf(b.socket), ["t2"]);
  // One that was to replace a good one leaves the connection.
  accept(b, 600, 0);
  b.socket.receive(refused);
  assert.equal(b.client.status.state, "open");
});

test("a function that fails, gives nothing or never ends is tried again with backoff", async () => {
  const faults = [
    () => {
      throw new Error("no network");
    },
    async () => {
      throw new Error("no network");
    },
    () => "",
    () => undefined,
    () => new Promise(() => {}),
  ];
  for (const fault of faults) {
    let calls = 0;
    const token = () => {
      calls += 1;
      return calls < 3 ? fault() : "good";
    };
    const b = bench({ token });
    b.client.connect();
    await settle();
    for (let steps = 0; steps < 500 && b.sockets.length === 0; steps += 1) await b.advance(100);
    assert.equal(b.sockets.length, 1, String(fault));
    b.socket.open();
    assert.deepEqual(tokensOf(b.socket), ["good"]);
    assert.match(b.of("status").map((status) => status.why ?? "").join("|"), /no token: /);
  }
});

test("a renewal that fails is tried again while the old token is good", async () => {
  let calls = 0;
  const token = async () => {
    calls += 1;
    if (calls === 2) throw new Error("no network");
    return `t${calls}`;
  };
  const b = bench({ token });
  await connect(b);
  accept(b, 20, 0);
  await b.advance(10_100);
  assert.equal(b.of("error")[0].code, "no_token");
  b.socket.receive({ op: "pong" });
  await b.advance(5_000);
  assert.deepEqual(tokensOf(b.socket), ["t1", "t3"]);
});

test("a token that comes after the client was closed opens nothing", async () => {
  let give;
  const b = bench({ token: () => new Promise((resolve) => (give = resolve)) });
  b.client.connect();
  await settle();
  b.client.close();
  give("late");
  await settle();
  assert.equal(b.sockets.length, 0);
  assert.equal(b.client.status.state, "closed");
  assert.equal(b.taskCount, 0);
});

test("what is not permitted is not asked for again before another token", async () => {
  const b = renewing();
  await connect(b);
  accept(b, 600, 0);
  b.socket.receive({ op: "error", id: 2, code: "forbidden", message: "not permitted", topics: ["kline:1m:*"] });
  b.client.sub(["kline:1h:A-B"]);
  await settle();
  assert.deepEqual(subsOf(b.socket).at(-1).topics, ["kline:1h:A-B"]);
  // A token that permits other topics.
  accept(b, 600, 0, { unsubscribed: ["kline:1s:A-B"] });
  await settle();
  assert.deepEqual(subsOf(b.socket).at(-1).topics, ["kline:1m:*"]);
  const before = b.socket.sent.length;
  await settle();
  assert.equal(b.socket.sent.length, before);
  // And once more, when it permits them again.
  accept(b, 600, 0);
  await settle();
  assert.deepEqual(subsOf(b.socket).at(-1).topics, ["kline:1s:A-B"]);
});
