import assert from "node:assert/strict";
import { test } from "node:test";
import { decodeFrame, topicMatches } from "../dist/index.js";
import { makeBar } from "./make-bar.mjs";

const kinds = (frame) => decodeFrame(frame).map((message) => message.kind);

test("a batch is read line by line in order", () => {
  const first = makeBar({ seq: 1 });
  const second = makeBar({ seq: 2 });
  const frame = [JSON.stringify({ op: "ack", id: 3, topics: ["kline:1s:BTC-USD"] }), JSON.stringify(first), JSON.stringify(second), ""].join("\n");
  const messages = decodeFrame(frame);
  assert.deepEqual(messages, [
    { kind: "ack", ack: { op: "ack", id: 3, topics: ["kline:1s:BTC-USD"], pending: [], not_resumed: [], unsubscribed: [] } },
    { kind: "bar", bar: first },
    { kind: "bar", bar: second },
  ]);
});

test("an unreadable line does not take the others with it", () => {
  const bar = JSON.stringify(makeBar());
  assert.deepEqual(kinds(`${bar}\n{"topic":"kline:1s:BT\n[1]\n"text"\nnull\n${bar}`), ["bar", "malformed", "malformed", "malformed", "malformed", "bar"]);
});

test("a bar that could not be drawn is malformed", () => {
  for (const fields of [
    { open: 10 },
    { close: "NaN" },
    { high: "" },
    { volume: "1e5" },
    { start_ms: "1700000000000" },
    { start_ms: 1.5 },
    { seq: null },
    { end_ms: 1_700_000_000_000 },
    { symbol: 7 },
  ]) {
    assert.deepEqual(kinds(JSON.stringify(makeBar(fields))), ["malformed"], JSON.stringify(fields));
  }
});

test("a filled bar without trade ids is a bar", () => {
  assert.deepEqual(kinds(JSON.stringify(makeBar({ quality: "filled", first_id: null, last_id: null, count: 0, volume: "0" }))), ["bar"]);
});

test("every kind of server message is told apart", () => {
  const feed = { topic: "system:feed:okx", exchange: "okx", mode: "sim", state: "live", age_ms: 3, connections: 1, symbols: 2, at_ms: 5 };
  const gap = { topic: "system:service:marketdata:gap", exchange: "okx", symbol: "A-B", first_id: "1", last_id: "2", from_ms: 1, to_ms: 2, state: "open" };
  const frame = [
    feed,
    gap,
    { op: "list", id: 1, subscriptions: [], topics: ["kline:1s:A-B"] },
    { op: "boundary", topic: "boundary:1m", interval: "1m", end_ms: 60_000 },
    { op: "skipped", topic: "kline:1s:A-B", skipped: 3 },
    { op: "pong" },
    { op: "error", id: 4, code: "bad_topic", message: "no" },
    { op: "later_version" },
    { topic: "later:A-B" },
  ]
    .map((message) => JSON.stringify(message))
    .join("\n");
  assert.deepEqual(kinds(frame), ["feed", "gap", "list", "boundary", "skipped", "pong", "error", "other", "other"]);
});

test("patterns match as the gateway's do", () => {
  const cases = [
    ["kline:1m:*", "kline:1m:BTC-USD", true],
    ["kline:1m:*", "kline:1m:OKX:BTC-USDT", true],
    ["kline:1m:*", "kline:1h:BTC-USD", false],
    ["kline:*:BTC-USD", "kline:1h:BTC-USD", true],
    ["kline:*:BTC-USD", "kline:1h:BTC-USDT", false],
    ["kline:1m:BTC-USD", "kline:1m:BTC-USD", true],
    ["kline:1m:BTC-USD", "kline:1m:BTC-USDT", false],
    ["system:feed:*", "system:feed", false],
    ["system:*", "system:feed:okx", false],
    ["system:>", "system:feed:okx", true],
    ["trade:*", "trade:BTC-USD", true],
    ["trade:*", "trade:OKX:BTC-USDT", true],
    ["trade:OKX:*", "trade:OKX:BTC-USDT", true],
    ["trade:OKX:*", "trade:BTC-USDT", false],
    ["kline:>", "kline:1m:OKX:BTC-USDT", true],
  ];
  for (const [pattern, topic, expected] of cases) assert.equal(topicMatches(pattern, topic), expected, `${pattern} ${topic}`);
});
