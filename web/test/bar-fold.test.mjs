/** Bars that are made of shorter ones. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { foldBars } from "../build/bar-fold.js";
import { makeBar } from "./make-bar.mjs";

const MINUTE_MS = 60_000;
const part = (index, fields = {}) => makeBar({ interval: "1m", start_ms: index * MINUTE_MS, end_ms: (index + 1) * MINUTE_MS, state: "closed", ...fields });
const fold = (parts) => foldBars("kline:3m:BTC-USD", 0, 3 * MINUTE_MS, parts);

test("a wider bar is the merge of the bars in it", () => {
  const bar = fold([
    part(0, { open: "10", high: "12", low: "9", close: "11", volume: "0.1", count: 2, first_id: "5", last_id: "6" }),
    part(1, { open: "11", high: "11", low: "11", close: "11", volume: "0", count: 0, first_id: null, last_id: null, quality: "filled" }),
    part(2, { open: "11", high: "13.5", low: "10", close: "13", volume: "0.2", count: 3, first_id: "7", last_id: "9", rev: 2 }),
  ]);
  const { topic, interval, start_ms, end_ms, open, high, low, close, volume, count, first_id, last_id, state, rev, quality } = bar;
  assert.deepEqual(
    { topic, interval, start_ms, end_ms, open, high, low, close, volume, count, first_id, last_id, state, rev, quality },
    { topic: "kline:3m:BTC-USD", interval: "3m", start_ms: 0, end_ms: 180_000, open: "10", high: "13.5", low: "9", close: "13", volume: "0.3", count: 5, first_id: "5", last_id: "9", state: "closed", rev: 2, quality: "complete" },
  );
});

test("what a venue does not say of a part is unknown of the wider bar, and its prices count", () => {
  const unknown = { quote_volume: null, taker_buy_volume: null, taker_buy_quote_volume: null, count: null };
  const bar = fold([part(0, { high: "12", volume: "1" }), part(1, { ...unknown, high: "20", low: "3", close: "4", volume: "2" })]);
  const { high, low, close, volume, quote_volume, taker_buy_volume, taker_buy_quote_volume, count } = bar;
  assert.deepEqual({ high, low, close, volume }, { high: "20", low: "3", close: "4", volume: "3" });
  assert.deepEqual({ quote_volume, taker_buy_volume, taker_buy_quote_volume, count }, unknown);
});

test("a wider bar says what its parts lack, and is closed when the last part is", () => {
  const flat = { count: 0, quality: "filled" };
  const cases = [
    [[part(0), part(1)], "forming", "complete"],
    [[part(0), part(1), part(2, { state: "forming" })], "forming", "complete"],
    [[part(1), part(2)], "closed", "partial"],
    [[part(0), part(2)], "closed", "gap"],
    [[part(0, { quality: "gap" }), part(1), part(2)], "closed", "gap"],
    [[part(0, flat), part(1, flat), part(2, flat)], "closed", "filled"],
  ];
  for (const [parts, state, quality] of cases) {
    const bar = fold(parts);
    assert.deepEqual([bar.state, bar.quality], [state, quality]);
  }
  assert.equal(fold([]), null);
});
