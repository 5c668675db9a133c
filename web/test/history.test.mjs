/** What is asked of history, when, and what its answers mean. No clock and no socket. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { BarSeries } from "../build/bar-series.js";
import { HistoryPlan } from "../build/history-plan.js";
import { failureOf, PAGE_BARS_MAX } from "../build/klinecast.js";
import { seededRandom } from "./fake-gateway.mjs";
import { makeBar } from "./make-bar.mjs";

const START_MS = 1_700_000_000_000;
const TOPIC = "kline:1s:BTC-USD";
const at = (index) => START_MS + index * 1_000;
const span = (from, to) => ({ fromMs: at(from), toMs: at(to) });
const live = (index, fields = {}) => makeBar({ start_ms: at(index), state: "closed", ...fields });
const stored = (index, fields = {}) => live(index, { epoch: 0, seq: 0, ...fields });

/** A store of the bars from `first` to `end`, which answers a plan's questions as the server does. */
class Store {
  asked = [];
  flawed = new Set();
  missing = new Set();

  constructor(first, end) {
    this.first = first;
    this.end = end;
  }

  answer({ fromMs, toMs, limit }) {
    const from = fromMs === null ? this.first : Math.max(this.first, Math.ceil((fromMs - START_MS) / 1_000));
    const to = toMs === null ? this.end : Math.min(this.end, Math.ceil((toMs - START_MS) / 1_000));
    const indexes = [];
    for (let index = to - 1; index >= from; index -= 1) if (!this.missing.has(index)) indexes.push(index);
    const bars = indexes.slice(0, limit).reverse().map((index) => stored(index, this.flawed.has(index) ? { quality: "gap" } : { rev: this.rev ?? 0 }));
    return { bars, hasMore: indexes.length > limit };
  }
}

/** Asks until the plan wants nothing more at this time. */
function settle(plan, series, store, view, nowMs) {
  for (let count = 0; ; count += 1) {
    assert.ok(count < 200, "the plan comes to an end");
    const request = plan.next(series, { serverNowMs: Number.POSITIVE_INFINITY, ...view }, nowMs);
    if (request === null) return;
    store.asked.push(request);
    assert.ok(request.limit >= 1 && request.limit <= PAGE_BARS_MAX);
    assert.equal(plan.next(series, view, nowMs), null, "one question at a time");
    const page = store.answer(request);
    plan.answered(request, page, series.applyStored(page.bars), nowMs);
  }
}

test("the chart is full after one question, and scrolling back asks page by page until the first bar", () => {
  const [series, plan, store] = [new BarSeries(20_000), new HistoryPlan(1_000), new Store(-5_000, 0)];
  assert.equal(plan.state.kind, "loading");
  settle(plan, series, store, span(-300, 0), 0);
  assert.deepEqual(store.asked.map(({ kind }) => kind), ["newest"]);
  assert.equal(series.length, 400);
  assert.equal(plan.state.kind, "idle");
  for (let left = -500; left >= -6_000; left -= 500) settle(plan, series, store, span(left, left + 300), 0);
  assert.equal(series.first.start_ms, at(-5_000));
  assert.equal(series.length, 5_000);
  assert.equal(plan.state.kind, "begin");
  assert.deepEqual(series.holes(span(-5_000, 0), at(0)), []);
});

test("live bars that come before, while and after a page loads leave no hole at the seam", () => {
  for (let seed = 1; seed <= 300; seed += 1) {
    const random = seededRandom(seed);
    const [series, plan, store] = [new BarSeries(20_000), new HistoryPlan(1_000), new Store(-900, 0)];
    const firstLive = -Math.floor(random() * 5);
    let nowMs = 0;
    // History is behind by up to four bars when it is asked first, and catches up.
    store.end = firstLive - Math.floor(random() * 5) + 1;
    for (let index = firstLive; index < 30; index += 1) {
      // The connection is lost for a while.
      if (index < 10 || index > 18) series.apply(live(index, { seq: index + 100 }));
      if (random() < 0.6) settle(plan, series, store, span(-300, index), nowMs);
      nowMs += 1_000;
      store.end = Math.max(store.end, index - Math.floor(random() * 3));
    }
    store.end = 30;
    for (let later = 0; later < 40; later += 1) {
      nowMs += 1_000;
      settle(plan, series, store, span(-300, 30), nowMs);
    }
    const starts = series.bars.filter((bar) => bar.start_ms >= at(-300)).map((bar) => bar.start_ms);
    assert.deepEqual(starts, Array.from({ length: 330 }, (_, index) => at(index - 300)), `seed ${seed}`);
  }
});

test("a hole that stays empty is asked for a few times, later and later, and again after a reconnect", () => {
  const [series, plan, store] = [new BarSeries(1_000), new HistoryPlan(1_000), new Store(-500, 0)];
  for (let index = -40; index < -20; index += 1) store.missing.add(index);
  const times = [];
  const run = (untilMs) => {
    for (let nowMs = run.nowMs; nowMs < untilMs; nowMs += 250) {
      const before = store.asked.length;
      settle(plan, series, store, span(-300, 0), nowMs);
      if (store.asked.slice(before).some(({ kind }) => kind === "hole")) times.push(nowMs);
      run.nowMs = nowMs + 250;
    }
  };
  run.nowMs = 0;
  run(600_000);
  assert.deepEqual(times, [0, 1_000, 3_000, 7_000, 15_000, 31_000]);
  store.missing.clear();
  plan.reconnected();
  run(601_000);
  assert.deepEqual(series.holes(span(-300, 0), at(0)), []);
});

test("an empty hole at the edge of a view that moves with the market is not asked for without end", () => {
  const [series, plan, store] = [new BarSeries(10_000), new HistoryPlan(1_000), new Store(-2_000, 0)];
  for (let index = -400; index < -200; index += 1) store.missing.add(index);
  settle(plan, series, store, span(-1_000, 0), 0);
  store.asked.length = 0;
  for (let index = 0; index < 600; index += 1) {
    series.apply(live(index, { seq: index + 1 }));
    settle(plan, series, store, { fromMs: at(index - 300) + 0.5, toMs: at(index) + 0.5 }, index * 1_000);
  }
  assert.ok(store.asked.length <= 6, `${store.asked.length} questions`);
});

test("bars that close some seconds after their end are waited for, and not asked for each second", () => {
  const [series, plan, store] = [new BarSeries(1_000), new HistoryPlan(1_000), new Store(-500, 0)];
  settle(plan, series, store, span(-300, 0), 0);
  store.asked.length = 0;
  for (let index = 0; index < 60; index += 1) {
    const view = { ...span(-300, index), serverNowMs: at(index) + 500 };
    // One interval in seven has no trade: nothing is known of it before it is closed as flat.
    if (index % 7 !== 0) series.apply(live(index, { seq: index + 1, state: "forming" }));
    if (index >= 3) series.apply(live(index - 3, { seq: index + 1_000 }));
    settle(plan, series, store, view, index * 1_000);
  }
  assert.deepEqual(store.asked, []);
  // A bar that never closes is asked for.
  series.apply(live(70, { seq: 5_000, state: "forming" }));
  settle(plan, series, store, { ...span(-300, 70), serverNowMs: at(70) }, 70_000);
  assert.deepEqual(store.asked.map(({ kind, fromMs }) => [kind, fromMs]), [["hole", at(57)]]);
});

test("bars that lack trades are asked for again until they are whole, and not for ever", () => {
  const [series, plan, store] = [new BarSeries(1_000), new HistoryPlan(1_000), new Store(-500, 0)];
  for (const index of [-30, -20, -10]) store.flawed.add(index);
  const heals = [];
  const run = (fromMs, untilMs) => {
    for (let nowMs = fromMs; nowMs < untilMs; nowMs += 500) {
      const before = store.asked.length;
      settle(plan, series, store, span(-300, 0), nowMs);
      heals.push(...store.asked.slice(before).filter(({ kind }) => kind === "heal").map((request) => ({ ...request, nowMs })));
    }
  };
  run(0, 60_000);
  assert.deepEqual(heals.map(({ nowMs }) => nowMs), [10_000, 30_000]);
  assert.deepEqual([heals[0].fromMs, heals[0].toMs], [at(-30), at(-9)]);
  store.flawed.clear();
  store.rev = 1;
  run(60_000, 120_000);
  assert.equal(series.flaws(span(-300, 0)), null);
  const healed = heals.length;
  store.flawed.add(-5);
  series.apply(live(-5, { rev: 2, quality: "gap" }));
  store.rev = undefined;
  run(120_000, 7_200_000);
  assert.equal(heals.length - healed, 8);
});

test("bars that were lost on the way are fetched at once", () => {
  const [series, plan, store] = [new BarSeries(1_000), new HistoryPlan(1_000), new Store(-500, 0)];
  settle(plan, series, store, span(-300, 0), 0);
  series.noteLost(3, at(-2));
  const request = plan.next(series, span(-300, 0), 100);
  assert.equal(request.kind, "heal");
  assert.ok(request.fromMs <= at(-100) && request.toMs === at(-2));
});

test("a failure is told, asked again later and later, and a refusal only after a reconnect", () => {
  const [series, plan] = [new BarSeries(1_000), new HistoryPlan(1_000)];
  const view = span(-300, 0);
  const down = failureOf(503, "", null);
  const times = [];
  for (let nowMs = 0; nowMs < 130_000; nowMs += 500) {
    const request = plan.next(series, view, nowMs);
    if (request === null) continue;
    times.push(nowMs);
    plan.failed(request, down, nowMs);
  }
  assert.deepEqual(times, [0, 1_000, 3_000, 7_000, 15_000, 31_000, 61_000, 91_000, 121_000]);
  assert.deepEqual(plan.state, { kind: "failed", message: "History does not answer at the moment.", isRetried: true });
  const busy = new HistoryPlan(1_000);
  busy.failed(busy.next(series, view, 0), failureOf(429, "", "60"), 0);
  assert.equal(busy.next(series, view, 59_999), null);
  assert.equal(busy.next(series, view, 60_000).kind, "newest");
  const refused = new HistoryPlan(1_000);
  refused.failed(refused.next(series, view, 0), failureOf(400, '{"error":{"code":"bad_width","message":"write 7m"}}', null), 0);
  assert.deepEqual(refused.state, { kind: "failed", message: "History refused the question: write 7m", isRetried: false });
  assert.equal(refused.next(series, view, 1e9), null);
  refused.reconnected();
  assert.equal(refused.next(series, view, 1e9).kind, "newest");
});

test("a view far in the past is filled by itself, and a full series asks for no more", () => {
  const [series, plan, store] = [new BarSeries(4_000), new HistoryPlan(1_000), new Store(-100_000, 0)];
  settle(plan, series, store, span(-50_300, -50_000), 0);
  assert.equal(series.at(at(-50_001)).epoch, 0);
  assert.ok(store.asked.length <= 3, `${store.asked.length} questions`);
  settle(plan, series, store, { fromMs: Number.NEGATIVE_INFINITY, toMs: at(0) }, 0);
  assert.equal(plan.state.kind, "full");
  assert.ok(series.length <= 4_250);
});

test("an empty store is asked again soon, and more and more rarely", () => {
  const [series, plan, store] = [new BarSeries(1_000), new HistoryPlan(1_000), new Store(0, 0)];
  for (let nowMs = 0; nowMs < 40_000; nowMs += 500) settle(plan, series, store, span(-300, 0), nowMs);
  assert.ok(store.asked.length >= 3 && store.asked.length <= 5, `${store.asked.length} questions`);
  store.first = -200;
  for (let nowMs = 40_000; nowMs < 90_000; nowMs += 500) settle(plan, series, store, span(-300, 0), nowMs);
  assert.equal(series.length, 200);
});
