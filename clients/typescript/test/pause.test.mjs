/** A client that pauses, by itself or with its page. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { pauseWhileHidden } from "../dist/index.js";
import { bench, settle } from "./client-bench.mjs";
import { makeBar } from "./make-bar.mjs";

const START_MS = 1_700_000_000_000;

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
