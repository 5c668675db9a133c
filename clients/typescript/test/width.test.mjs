/** Widths of bars. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { endOf, isMadeOf, lengthMs, parseWidth, sourceOf, startOf, widthFromInput } from "../dist/width.js";

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
