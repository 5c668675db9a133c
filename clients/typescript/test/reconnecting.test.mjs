/** Lost, refused and silent connections, and what follows them. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { bench, subsOf } from "./client-bench.mjs";
import { makeBar } from "./make-bar.mjs";
import { seededRandom } from "./seeded-random.mjs";

const START_MS = 1_700_000_000_000;

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
