import assert from "node:assert/strict";
import { test } from "node:test";
import { BarVersions } from "../dist/bar-versions.js";
import { seededRandom } from "./seeded-random.mjs";
import { makeBar } from "./make-bar.mjs";

const START_MS = 1_700_000_000_000;

test("a version counts once, and only if it is greater by epoch, revision and seq", () => {
  const versions = new BarVersions();
  const steps = [
    [{ seq: 5 }, true],
    [{ seq: 5 }, false],
    [{ seq: 4 }, false],
    [{ seq: 6 }, true],
    [{ seq: 9, rev: 1 }, true],
    [{ seq: 10, rev: 0 }, false],
    [{ epoch: 2, seq: 1, rev: 0 }, true],
    [{ epoch: 1, seq: 99, rev: 9 }, false],
  ];
  for (const [fields, expected] of steps) assert.equal(versions.accept(makeBar(fields)), expected, JSON.stringify(fields));
});

test("an older interval that was not seen yet is accepted although newer ones were", () => {
  const versions = new BarVersions();
  assert.ok(versions.accept(makeBar({ start_ms: START_MS + 1_000, seq: 10 })));
  assert.ok(versions.accept(makeBar({ start_ms: START_MS, seq: 9, state: "closed" })));
  assert.ok(!versions.accept(makeBar({ start_ms: START_MS, seq: 9, state: "closed" })));
});

test("a forgotten bar is not accepted again, but its revision is", () => {
  const versions = new BarVersions({ barsPerTopicMax: 4, topicsMax: 10 });
  for (let index = 0; index < 10; index += 1) versions.accept(makeBar({ start_ms: START_MS + index * 1_000, seq: index + 1 }));
  assert.ok(!versions.accept(makeBar({ start_ms: START_MS, seq: 1 })), "repeated");
  assert.ok(versions.accept(makeBar({ start_ms: START_MS, seq: 11, rev: 1 })), "revised");
  assert.ok(!versions.accept(makeBar({ start_ms: START_MS, seq: 11, rev: 1 })), "revision repeated");
});

test("topics are bounded and the one not heard of for longest is forgotten", () => {
  const versions = new BarVersions({ barsPerTopicMax: 4, topicsMax: 3 });
  for (const symbol of ["A-B", "C-D", "A-B", "E-F", "G-H"]) versions.accept(makeBar({ symbol }));
  assert.equal(versions.topicCount, 3);
  assert.deepEqual(Object.keys(versions.resumePosition(() => true, 10).seq).sort(), ["kline:1s:A-B", "kline:1s:E-F", "kline:1s:G-H"]);
});

test("a resume position names the topics asked for, of all epochs, and the lowest of these", () => {
  const versions = new BarVersions();
  assert.equal(versions.resumePosition(() => true, 10), null);
  versions.accept(makeBar({ symbol: "OLD-USD", epoch: 1, seq: 70 }));
  versions.accept(makeBar({ symbol: "A-USD", epoch: 2, seq: 3 }));
  versions.accept(makeBar({ symbol: "B-USD", epoch: 2, seq: 4 }));
  versions.accept(makeBar({ symbol: "PAST-USD", epoch: 0, seq: 0, state: "closed" }));
  assert.deepEqual(versions.resumePosition((topic) => !topic.endsWith("B-USD"), 10), {
    epoch: 1,
    seq: { "kline:1s:A-USD": 3, "kline:1s:OLD-USD": 70 },
    closed_ms: { "kline:1s:A-USD": START_MS, "kline:1s:OLD-USD": START_MS },
  });
  assert.equal(Object.keys(versions.resumePosition(() => true, 1).seq).length, 1);
});

test("a resume position says up to where bars have closed, whatever their numbers", () => {
  const versions = new BarVersions();
  const at = (index, fields) => versions.accept(makeBar({ start_ms: START_MS + index * 1_000, ...fields }));
  const closedMs = () => versions.resumePosition(() => true, 10).closed_ms["kline:1s:BTC-USD"] - START_MS;
  at(3, { seq: 10 });
  assert.equal(closedMs(), 3_000, "older ones were never asked for");
  at(4, { seq: 13 });
  at(3, { seq: 12, state: "closed" });
  at(1, { seq: 14, rev: 1, state: "closed" });
  assert.equal(closedMs(), 4_000);
});

test("whatever the order and however often, the last accepted version of each bar is the greatest", () => {
  for (let seed = 1; seed <= 200; seed += 1) {
    const random = seededRandom(seed);
    const publications = [];
    for (let epoch = 1; epoch <= 2; epoch += 1) {
      for (let seq = 1; seq <= 30; seq += 1) {
        publications.push(makeBar({ epoch, seq, rev: Math.floor(seq / 12), start_ms: START_MS + Math.floor(random() * 8) * 1_000 }));
      }
    }
    const delivered = [...publications, ...publications].map((bar) => [random(), bar]).sort((a, b) => a[0] - b[0]).map(([, bar]) => bar);
    const versions = new BarVersions();
    const effective = new Map();
    const seen = new Set();
    for (const bar of delivered) {
      if (!versions.accept(bar)) continue;
      const key = `${bar.start_ms} ${bar.epoch} ${bar.rev} ${bar.seq}`;
      assert.ok(!seen.has(key), `seed ${seed}: accepted twice: ${key}`);
      seen.add(key);
      effective.set(bar.start_ms, bar);
    }
    const greatest = new Map();
    for (const bar of publications) {
      const known = greatest.get(bar.start_ms);
      if (known === undefined || bar.epoch - known.epoch || bar.rev - known.rev || bar.seq - known.seq) {
        if (known === undefined || (bar.epoch - known.epoch || bar.rev - known.rev || bar.seq - known.seq) > 0) greatest.set(bar.start_ms, bar);
      }
    }
    for (const [startMs, bar] of greatest) assert.deepEqual(effective.get(startMs), bar, `seed ${seed}`);
  }
});

test("bars of the past and live versions of them are ordered by what they say", () => {
  const past = (fields) => makeBar({ epoch: 0, seq: 0, state: "closed", ...fields });
  const cases = [
    [[{ state: "forming" }, past()], true, "closed comes before forming"],
    [[past(), makeBar({ state: "forming" })], false, "and a forming bar does not come back"],
    [[{ state: "closed" }, past({ rev: 1 })], true, "a revision from history"],
    [[{ state: "closed", rev: 1 }, past()], false, "an older revision from history"],
    [[{ state: "closed", quality: "gap" }, past()], true, "a bar that was healed"],
    [[{ state: "closed" }, past()], false, "the same bar from history"],
    [[past({ rev: 1 }), past({ rev: 1 })], false, "the same bar of the past"],
  ];
  for (const [[first, second], expected, why] of cases) {
    const versions = new BarVersions();
    versions.accept(makeBar(first));
    assert.equal(versions.accept(second), expected, why);
  }
});

test("the memory of bars that are being read is bounded, and ends with the reading", () => {
  const versions = new BarVersions({ barsPerTopicMax: 4, topicsMax: 10, readingBarsMax: 100 });
  const read = (symbol, count) => {
    for (let index = 0; index < count; index += 1) {
      versions.read(`kline:1s:${symbol}`, true);
      versions.accept(makeBar({ symbol, epoch: 0, seq: 0, state: "closed", start_ms: START_MS + index * 1_000 }));
    }
  };
  read("A-B", 60);
  assert.equal(versions.barCount, 60);
  read("C-D", 5_000);
  assert.ok(versions.barCount <= 110, String(versions.barCount));
  versions.read("kline:1s:A-B", false);
  versions.read("kline:1s:C-D", false);
  assert.equal(versions.barCount, 8);
});
