import assert from "node:assert/strict";
import { test } from "node:test";
import { BarSeries } from "../build/bar-series.js";
import { seededRandom } from "./fake-gateway.mjs";
import { makeBar } from "./make-bar.mjs";

const START_MS = 1_700_000_000_000;
const bar = (index, fields = {}) => makeBar({ start_ms: START_MS + index * 1_000, seq: 1, ...fields });

/** The rules of lightweight-charts 5.2 for `setData` and `update`; breaking one throws, as there. */
class StrictCanvas {
  points = new Map();
  #lastMs = -Infinity;
  rebuilds = 0;

  setData(slots) {
    this.rebuilds += 1;
    this.points = new Map();
    this.#lastMs = -Infinity;
    for (const slot of slots) {
      if (slot.start_ms <= this.#lastMs) throw new Error("data must be asc ordered by time");
      this.points.set(slot.start_ms, slot.bar);
      this.#lastMs = slot.start_ms;
    }
  }

  update(value, historical) {
    if (!historical && value.start_ms < this.#lastMs) throw new Error("Cannot update oldest data");
    if (historical && this.points.get(value.start_ms) == null) throw new Error("Cannot update non-existing data point when historicalUpdate is true");
    this.points.set(value.start_ms, value);
    this.#lastMs = Math.max(this.#lastMs, value.start_ms);
  }

  draw(series) {
    const drawing = series.takeDrawing();
    if (drawing.kind === "rebuild") this.setData(drawing.slots);
    if (drawing.kind === "updates") for (const update of drawing.updates) this.update(update.bar, update.historical);
    return drawing;
  }

  get bars() {
    return [...this.points.values()].filter((point) => point !== null);
  }
}

test("the forming bar is updated in place and the next one appended without a rebuild", () => {
  const series = new BarSeries(100);
  const canvas = new StrictCanvas();
  series.apply(bar(0));
  assert.equal(canvas.draw(series).kind, "rebuild");
  series.apply(bar(0, { seq: 2, close: "11.5" }));
  series.apply(bar(1, { seq: 3 }));
  assert.deepEqual(
    canvas.draw(series).updates.map((update) => [update.bar.start_ms - START_MS, update.historical]),
    [[0, false], [1_000, false]],
  );
  assert.equal(canvas.draw(series).kind, "nothing");
});

test("a bar that closes after the next one has begun is a historical update", () => {
  const series = new BarSeries(100);
  const canvas = new StrictCanvas();
  series.apply(bar(0));
  series.apply(bar(1, { seq: 2 }));
  canvas.draw(series);
  series.apply(bar(0, { seq: 3, state: "closed", close: "10.5" }));
  assert.deepEqual(canvas.draw(series).updates.map((update) => update.historical), [true]);
  assert.equal(canvas.points.get(START_MS).close, "10.5");
});

test("an unknown older bar rebuilds, and a hole is left empty", () => {
  const series = new BarSeries(100);
  const canvas = new StrictCanvas();
  series.apply(bar(0));
  canvas.draw(series);
  series.apply(bar(4));
  assert.equal(canvas.draw(series).kind, "rebuild");
  assert.deepEqual([...canvas.points.values()].map((point) => point !== null), [true, false, false, false, true]);
  series.apply(bar(2));
  assert.equal(canvas.draw(series).kind, "rebuild");
  assert.deepEqual(canvas.bars.map((each) => (each.start_ms - START_MS) / 1_000), [0, 2, 4]);
});

test("an older version changes nothing", () => {
  const series = new BarSeries(100);
  series.apply(bar(0, { seq: 5, rev: 1 }));
  series.takeDrawing();
  assert.ok(!series.apply(bar(0, { seq: 6, rev: 0 })));
  assert.ok(!series.apply(bar(0, { seq: 5, rev: 1 })));
  assert.equal(series.takeDrawing().kind, "nothing");
});

test("memory is bounded, and what is too old is refused", () => {
  const series = new BarSeries(96);
  for (let index = 0; index < 10_000; index += 1) {
    series.apply(bar(index));
    assert.ok(series.length <= 102);
  }
  assert.ok(series.isFull);
  assert.ok(!series.apply(bar(0)));
  assert.ok(series.length >= 96);
  series.keep(10);
  assert.deepEqual([series.length, series.first.start_ms], [10, bar(9_990).start_ms]);
});

test("a hole of years is drawn as a few hundred empty places, and many holes as few each", () => {
  const series = new BarSeries(20_000);
  series.apply(bar(0));
  series.apply(bar(100_000_000));
  assert.equal(series.takeDrawing().slots.length, 502);
  for (let index = 1; index < 10_000; index += 1) series.apply(bar(index * 1_000));
  series.forgetDrawing();
  assert.ok(series.takeDrawing().slots.length <= 20_002);
});

test("what piled up while nobody drew becomes one drawing", () => {
  const series = new BarSeries(1_000);
  const canvas = new StrictCanvas();
  series.apply(bar(0));
  canvas.draw(series);
  for (let index = 1; index <= 600; index += 1) series.apply(bar(index, { seq: index }));
  assert.equal(canvas.draw(series).kind, "rebuild");
  assert.equal(canvas.bars.length, 601);
});

test("random order, repetition, revision and holes never break the chart's rules", () => {
  let drawings = 0;
  for (let seed = 1; seed <= 400; seed += 1) {
    const random = seededRandom(seed);
    const windowBars = 20 + Math.floor(random() * 60);
    const series = new BarSeries(windowBars);
    const canvas = new StrictCanvas();
    const greatest = new Map();
    const sent = [];
    let seq = 0;
    let head = 0;
    let epoch = 1;
    try {
      for (let step = 0; step < 400; step += 1) {
        const draw = random();
        let next;
        if (draw < 0.1 && sent.length > 0) next = sent[Math.floor(random() * sent.length)];
        else {
          if (draw < 0.4) head += 1;
          else if (draw < 0.42) head += Math.floor(random() * windowBars * 2);
          if (draw > 0.995) {
            epoch += 1;
            seq = 0;
          }
          seq += 1;
          const back = random() < 0.7 ? 0 : Math.floor(random() * windowBars * 1.5);
          next = bar(head - back, { epoch, seq, rev: Math.floor(random() * 3), close: (10 + random()).toFixed(4), state: back > 0 ? "closed" : "forming" });
          sent.push(next);
        }
        const isTaken = series.apply(next);
        if (isTaken) greatest.set(next.start_ms, next);
        const starts = series.bars.map((each) => each.start_ms);
        for (let index = 1; index < starts.length; index += 1) assert.ok(starts[index] > starts[index - 1]);
        if (random() < 0.3) {
          if (random() < 0.05) series.forgetDrawing();
          const kind = canvas.draw(series).kind;
          drawings += 1;
          if (kind !== "nothing") assert.deepEqual(canvas.bars, series.bars.slice());
        }
      }
      canvas.draw(series);
      assert.deepEqual(canvas.bars, series.bars.slice());
      for (const each of series.bars) assert.deepEqual(each, greatest.get(each.start_ms));
      assert.ok(series.length <= windowBars * 1.07 + 1, `${series.length} bars of ${windowBars}`);
    } catch (error) {
      error.message = `seed ${seed}: ${error.message}`;
      throw error;
    }
  }
  assert.ok(drawings > 10_000);
});

test("lost bars are counted until they come", () => {
  const series = new BarSeries(100);
  const closed = (index, fields = {}) => makeBar({ start_ms: START_MS + index * 1_000, seq: index + 1, state: "closed", ...fields });
  series.apply(closed(0));
  series.noteLost(3, START_MS + 4_000);
  series.apply(closed(4));
  assert.equal(series.lostCount, 3, "the bar that says it is not one of them");
  series.apply(closed(1));
  series.apply(closed(1));
  assert.equal(series.lostCount, 2, "a repetition counts once");
  series.apply(closed(2));
  series.apply(closed(0, { rev: 1, seq: 9 }));
  assert.equal(series.lostCount, 0);
  series.noteLost(1_000_000, null);
  assert.equal(series.lostCount, 100, "more than is kept cannot be lacking");
});

const stored = (index, fields = {}) => bar(index, { epoch: 0, seq: 0, state: "closed", ...fields });
const closed = (index, fields = {}) => bar(index, { state: "closed", ...fields });

test("stored bars join the live ones without a doubled or a lost bar, in any order of arrival", () => {
  for (let seed = 1; seed <= 200; seed += 1) {
    const random = seededRandom(seed);
    const series = new BarSeries(1_000);
    const canvas = new StrictCanvas();
    const page = (from, to) => () => series.applyStored(Array.from({ length: to - from }, (_, index) => stored(from + index)));
    const arrivals = [page(-50, 0), page(-20, 3), page(-100, -50)];
    for (let index = -5; index < 5; index += 1) arrivals.push(() => series.apply(closed(index, { seq: index + 20 })));
    arrivals.push(() => series.apply(bar(5, { seq: 40 })));
    while (arrivals.length > 0) {
      arrivals.splice(Math.floor(random() * arrivals.length), 1)[0]();
      canvas.draw(series);
      assert.deepEqual(canvas.bars, series.bars.slice());
    }
    const starts = series.bars.map((each) => (each.start_ms - START_MS) / 1_000);
    assert.deepEqual(starts, Array.from({ length: 106 }, (_, index) => index - 100), `seed ${seed}`);
    // Where both are known the live one counts: it has the gateway's numbers.
    for (let index = -5; index < 5; index += 1) assert.equal(series.at(START_MS + index * 1_000).epoch, 1, `seed ${seed}`);
  }
});

test("of a stored and a live version the closed one, the higher revision and the whole one count", () => {
  const cases = [
    [bar(0), stored(0), "second"],
    [stored(0), bar(0), "first"],
    [closed(0), stored(0), "first"],
    [stored(0), closed(0), "second"],
    [closed(0), stored(0, { rev: 1 }), "second"],
    [stored(0, { rev: 1 }), closed(0), "first"],
    [closed(0, { quality: "gap" }), stored(0), "second"],
    [stored(0), closed(0, { quality: "partial" }), "first"],
    [closed(0, { rev: 2 }), stored(0, { rev: 1 }), "first"],
    [stored(0, { close: "10" }), stored(0, { close: "11" }), "second"],
  ];
  for (const [first, second, expected] of cases) {
    const series = new BarSeries(10);
    series.apply(first);
    series.applyStored([second]);
    assert.deepEqual(series.last, expected === "first" ? first : second);
  }
  const series = new BarSeries(10);
  series.applyStored([stored(0)]);
  series.takeDrawing();
  assert.equal(series.applyStored([stored(0)]), 0);
  assert.equal(series.takeDrawing().kind, "nothing");
});

test("holes and forming bars that were left behind are found within the view, the latest first", () => {
  const series = new BarSeries(100);
  for (const index of [0, 1, 5, 6, 8, 9]) series.apply(index === 6 ? bar(6) : closed(index));
  const span = (from, to) => ({ fromMs: START_MS + from * 1_000, toMs: START_MS + to * 1_000 });
  assert.deepEqual(series.holes(span(0, 100), Number.POSITIVE_INFINITY), [span(6, 8), span(2, 5)]);
  assert.deepEqual(series.holes(span(3, 7), Number.POSITIVE_INFINITY), [span(6, 7), span(2, 5)]);
  assert.deepEqual(series.holes(span(5, 8), Number.POSITIVE_INFINITY), [span(6, 8)]);
  assert.deepEqual(series.holes(span(8, 100), Number.POSITIVE_INFINITY), []);
  assert.deepEqual(series.holes(span(0, 100), START_MS + 7_000), [span(6, 7), span(2, 5)]);
});

test("bars that lack trades are found within the view", () => {
  const series = new BarSeries(100);
  for (let index = 0; index < 20; index += 1) series.apply(closed(index, index % 5 === 0 ? { quality: "gap" } : {}));
  const span = (from, to) => ({ fromMs: START_MS + from * 1_000, toMs: START_MS + to * 1_000 });
  assert.deepEqual(series.flaws(span(3, 100)), { ...span(5, 16), count: 3 });
  assert.equal(series.flaws(span(16, 100)), null);
});
