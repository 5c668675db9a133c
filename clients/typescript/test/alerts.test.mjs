/** Alerts: each once, in order, resumed by number, and told apart by their type. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { bench, subsOf } from "./client-bench.mjs";
import { alert } from "./samples.mjs";

function opened(topics, options) {
  const b = bench();
  b.client.sub(topics, options);
  b.client.connect();
  b.socket.open();
  return b;
}

test("each alert comes once, and what was skipped is told", () => {
  const b = opened(["alert:btc-5:*"]);
  b.socket.receive(alert(1), alert(2), alert(2), alert(1), { skipped: 2, ...alert(5) }, alert(1, { epoch: 6 }), alert(9));
  assert.deepEqual(b.of("alert").map(({ epoch, seq }) => [epoch, seq]), [[5, 1], [5, 2], [5, 5], [6, 1]]);
  assert.deepEqual(b.of("skipped"), [{ topic: "alert:btc-5:BTC-USDT", count: 2, beforeMs: null, isFetched: false }]);
});

test("alerts are resumed by number, also under their second name, and a repeated one is dropped", async () => {
  const b = opened(["alert:btc-5:BINANCE:BTC-USDT", "kline:1m:*"]);
  b.socket.receive(alert(7));
  b.socket.drop(1012);
  await b.advance(b.client.status.retryInMs);
  b.socket.open();
  const resumed = subsOf(b.socket).find(({ topics }) => topics.includes("alert:btc-5:BINANCE:BTC-USDT"));
  assert.deepEqual([resumed.topics, resumed.since], [["alert:btc-5:BINANCE:BTC-USDT"], { epoch: 5, seq: { "alert:btc-5:BTC-USDT": 7 } }]);
  b.socket.receive(alert(7), alert(8));
  assert.deepEqual(b.of("alert").map(({ seq }) => seq), [7, 8]);
});

test("a stream of alerts yields each of them, and a stream of the system's the newest only", async () => {
  const b = bench();
  const alerts = b.client.stream("alert:*:*");
  const system = b.client.stream("system:alert:>");
  b.client.connect();
  b.socket.open();
  const topic = "system:alert:critical:move";
  // The last alert of a level: its numbers are those of several rules.
  b.socket.receive(alert(1), alert(2), alert(9, { topic }), alert(1, { topic, rule: "eth", epoch: 2 }));
  assert.deepEqual([(await alerts.next()).value.alert.seq, (await alerts.next()).value.alert.seq], [1, 2]);
  assert.deepEqual([(await system.next()).value.alert.rule, system.waitingCount], ["eth", 0]);
  assert.equal(b.of("system_alert").length, 2);
  const broker = { topic: "system:alert:critical:broker_unhealthy", service: "message-broker-service", timestamp: "2026-11-22T00:00:00Z", reason: "disk" };
  b.socket.receive(broker);
  assert.deepEqual((await system.next()).value, { kind: "system_alert", topic: broker.topic, alert: broker });
});

test("an alert of a type that a later version adds is told, and one that makes no sense is malformed", () => {
  const b = opened(["alert:*:*", "system:alert:>"]);
  b.socket.receive(alert(1, { type: "eclipse" }));
  assert.deepEqual(b.of("alert").map(({ type }) => type), ["eclipse"]);
  const wrong = [{ seq: "1" }, { epoch: 1.5 }, { direction: "left" }, { rule: null }, { value: 5 }, { skipped: -1 }, { raised_ms: null }, { symbol: [] }];
  for (const fields of wrong) b.socket.receive(alert(2, fields));
  b.socket.receive(alert(2, { topic: "system:alert:info:gap", rule: 5 }));
  assert.equal(b.client.stats.malformedMessages, wrong.length + 1);
  assert.deepEqual([b.of("alert").length, b.of("system_alert").length, b.client.status.state], [1, 0, "open"]);
});
