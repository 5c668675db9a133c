/** Widths of bars, and bars that are made of shorter ones. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { addDecimals, foldBars } from "../build/bar-fold.js";
import { endOf, isMadeOf, lengthMs, parseWidth, sourceOf, startOf, widthFromInput } from "../build/width.js";
import { makeBar } from "./make-bar.mjs";

const width = (text) => parseWidth(text);

test("widths are numbers of seconds to months, and nothing else is one", () => {
  for (const text of ["1s", "7m", "4h", "3d", "2w", "6M", "1000s"]) assert.notEqual(width(text), null, text);
  for (const text of ["", "0m", "07m", "1001s", "1y", "m", "1", "-1m", "1.5h", " 1m", "1m\n", "1e3s", "99999s"]) assert.equal(width(text), null, text);
});

test("people write widths as they like", () => {
  const cases = [["7m", "7m"], [" 7 min ", "7m"], ["60m", "1h"], ["90m", "90m"], ["3600s", "1h"], ["1440m", "1d"], ["4H", "4h"], ["2 weeks", "2w"], ["7d", "7d"], ["1M", "1M"], ["3 months", "3M"], ["1 hour", "1h"], ["100000s", null], ["7", null], ["seven", null], ["0m", null], ["7x", null]];
  for (const [text, expected] of cases) assert.equal(widthFromInput(text), expected, text);
});

test("bars begin at multiples of their width, weeks on Mondays, months on the first", () => {
  const at = Date.UTC(2026, 10, 21, 13, 47, 9, 500);
  const cases = [
    ["5s", Date.UTC(2026, 10, 21, 13, 47, 5), Date.UTC(2026, 10, 21, 13, 47, 10)],
    ["15m", Date.UTC(2026, 10, 21, 13, 45), Date.UTC(2026, 10, 21, 14)],
    ["1d", Date.UTC(2026, 10, 21), Date.UTC(2026, 10, 22)],
    ["1w", Date.UTC(2026, 10, 16), Date.UTC(2026, 10, 23)],
    ["1M", Date.UTC(2026, 10, 1), Date.UTC(2026, 11, 1)],
    ["5M", Date.UTC(2026, 8, 1), Date.UTC(2027, 1, 1)],
  ];
  for (const [text, startMs, endMs] of cases) {
    assert.deepEqual([startOf(width(text), at), endOf(width(text), startMs)], [startMs, endMs], text);
    assert.equal(startOf(width(text), endMs), endMs, `${text}: the end is the next one's start`);
    assert.equal(startOf(width(text), endMs - 1), startMs, text);
  }
});

test("the source of a width is the widest of which it is a whole number", () => {
  const all = ["1s", "1m", "1h", "1d", "1w", "1M"];
  const cases = [["1s", "1s"], ["7m", "1m"], ["90s", "1s"], ["4h", "1h"], ["36h", "1h"], ["3d", "1d"], ["2w", "1w"], ["7d", "1d"], ["3M", "1M"]];
  for (const [text, expected] of cases) assert.equal(sourceOf(width(text), all), expected, text);
  assert.equal(sourceOf(width("1M"), ["1s", "1m", "1h", "1d", "1w"]), "1d");
  assert.equal(sourceOf(width("30s"), ["1m", "1h"]), null);
  assert.ok(!isMadeOf(width("2w"), width("3d")));
  assert.ok(lengthMs(width("1M")) > lengthMs(width("4w")));
});

test("decimals are added exactly", () => {
  const cases = [["0.1", "0.2", "0.3"], ["1", "2", "3"], ["0.00000001", "99999999999999999999", "99999999999999999999.00000001"], ["1.5", "0.5", "2"], ["0", "0.000", "0"]];
  for (const [a, b, expected] of cases) assert.equal(addDecimals(a, b), expected);
});

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
