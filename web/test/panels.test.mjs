/** The models of the panels beside the chart: order book, trades, tickers. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { bookFaultText, ladderOf } from "../build/book-ladder.js";
import { amountText } from "../build/decimal-text.js";
import { compareDecimals } from "../build/klinecast.js";
import { PastTrails } from "../build/past-trails.js";
import { PriceTrail, TRAIL_POINTS_MAX } from "../build/price-trail.js";
import { TopicUse } from "../build/topic-use.js";
import { TradeTape } from "../build/trade-tape.js";
import { seededRandom } from "../../clients/typescript/test/seeded-random.mjs";

const DAY_MS = 86_400_000;

test("a ladder adds up amounts exactly, and its bars compare both sides", () => {
  const book = { bids: [["100.1", "0.1"], ["100", "0.2"], ["99", "5"]], asks: [["100.3", "0.7"], ["101", "0.1"]] };
  const { bids, asks, spread, spreadBasisPoints } = ladderOf(book, 2);
  assert.deepEqual(bids.map(({ price, total, depth }) => [price, total, depth]), [["100.1", "0.1", 0.125], ["100", "0.3", 0.375]]);
  assert.deepEqual(asks.map(({ total, depth }) => [total, depth]), [["0.7", 0.875], ["0.8", 1]]);
  assert.equal(spread, "0.2");
  assert.ok(Math.abs(spreadBasisPoints - 19.96) < 0.01);
  assert.deepEqual(ladderOf({ bids: [], asks: [["1", "2"]] }, 5), { bids: [], asks: [{ price: "1", quantity: "2", total: "2", depth: 1 }], spread: null, spreadBasisPoints: null });
});

test("the bars of a ladder grow away from the spread and stay within their column", () => {
  const random = seededRandom(11);
  for (let round = 0; round < 300; round += 1) {
    const side = (sign) => Array.from({ length: Math.floor(random() * 60) }, (_, at) => [String(1_000 + sign * (at + 1)), (random() ** 6 * 1_000 + 0.00000001).toFixed(8)]);
    const levels = 1 + Math.floor(random() * 25);
    const ladder = ladderOf({ bids: side(-1), asks: side(1) }, levels);
    for (const rows of [ladder.bids, ladder.asks]) {
      assert.ok(rows.length <= levels);
      for (const [at, row] of rows.entries()) {
        assert.ok(row.depth >= (rows[at - 1]?.depth ?? 0) && row.depth <= 1);
        assert.ok(compareDecimals(row.total, rows[at - 1]?.total ?? "0") > 0);
      }
    }
  }
});

test("each reason why a book is not right has words of its own", () => {
  const reasons = ["hole", "crossed", "lost", "silent", "too_deep", "too_thin", "disconnected", "a later reason", null];
  assert.equal(new Set(reasons.map(bookFaultText)).size, reasons.length - 1);
});

test("amounts fit a narrow column, and none becomes nothing", () => {
  const cases = [["0.035553", "0.03555"], ["0.5", "0.5"], ["12.345678", "12.3457"], ["1234.5678", "1,234.57"], ["999999", "999,999"], ["12345678.9", "12.35M"], ["0.00000042", "4.2e-7"], ["0", "0"]];
  for (const [amount, text] of cases) assert.equal(amountText(amount), text);
});

test("a tape has the newest trades first, and says where some are missing", () => {
  const tape = new TradeTape(3);
  const trade = (seq, fields = {}) => ({ seq, epoch: 1, price: String(seq), ...fields });
  const shown = () => Array.from({ length: tape.length }, (_, at) => tape.at(at)).map((entry) => (entry.kind === "trade" ? entry.trade.seq : `hole ${entry.count}`));
  tape.add(trade(5, { skipped: 4 }));
  assert.deepEqual(shown(), [5], "what came before the first was not asked for");
  tape.add(trade(8, { skipped: 2 }));
  tape.add(trade(1, { epoch: 2 }));
  assert.deepEqual(shown(), [1, "hole null", 8, "hole 2", 5]);
  for (let seq = 2; seq < 10_000; seq += 1) {
    tape.add(trade(seq, { epoch: 2 }));
    assert.ok(tape.length < 6);
    assert.equal(tape.at(0).trade.seq, seq);
  }
  tape.clear();
  tape.add(trade(1, { epoch: 3, skipped: 9 }));
  assert.deepEqual(shown(), [1]);
});

test("the way of a price has a bounded number of points, reaches back a day, and ends at the newest price", () => {
  const random = seededRandom(5);
  for (const pauseMs of [10, 900, 45_000, 3_600_000]) {
    const trail = new PriceTrail();
    const past = Array.from({ length: 96 }, (_, at) => ({ timeMs: at * 900_000, price: 50 }));
    trail.addPast(past);
    const startMs = DAY_MS;
    let timeMs = startMs;
    for (let count = 0; count < 3_000; count += 1) {
      timeMs += random() * pauseMs;
      trail.add(timeMs, 100 + count);
      const { points } = trail;
      assert.ok(points.length <= TRAIL_POINTS_MAX);
      assert.deepEqual(points.at(-1), { timeMs, price: 100 + count });
      assert.ok(timeMs - points[0].timeMs <= DAY_MS);
    }
    const { points } = trail;
    assert.ok(points.every((point, at) => at === 0 || point.timeMs >= points[at - 1].timeMs));
    if (timeMs - startMs < DAY_MS / 2) assert.ok(timeMs - points[0].timeMs > DAY_MS * 0.9, "the past is still there");
  }
});

test("a sparkline fills its box, and is empty where there is no way", () => {
  const trail = new PriceTrail();
  assert.equal(trail.polyline(84, 24), "");
  trail.add(0, 10);
  trail.add(0, 12);
  assert.equal(trail.polyline(84, 24), "", "no time has passed");
  trail.add(1_000, 11);
  trail.add(Number.NaN, 5);
  trail.add(2_000, Number.POSITIVE_INFINITY);
  trail.add(500, 5);
  trail.add(4_000, 8);
  assert.equal(trail.polyline(80, 20), "0.0,6.7 20.0,0.0 80.0,20.0");
});

test("topics are subscribed when they come into use, and unsubscribed when they go out of it", () => {
  const said = [];
  const use = new TopicUse({ sub: (topics) => said.push(["sub", ...topics]), unsub: (topics) => said.push(["unsub", ...topics]) });
  use.set(["ticker:A", "ticker:B"]);
  use.set(["ticker:B", "ticker:A"]);
  use.set(["ticker:B", "ticker:C"]);
  use.set([]);
  assert.deepEqual(said, [["sub", "ticker:A", "ticker:B"], ["unsub", "ticker:A"], ["sub", "ticker:C"], ["unsub", "ticker:B", "ticker:C"]]);
  assert.ok(!use.has("ticker:B"));
});

test("the past of each symbol is asked for once, one after another, and no more where there is no history", async () => {
  const asked = [];
  let running = 0;
  const bars = [{ end_ms: 60_000, close: "5" }];
  const page = async ({ symbol }) => {
    running += 1;
    assert.equal(running, 1);
    asked.push(symbol);
    await new Promise(setImmediate);
    running -= 1;
    return { bars };
  };
  let done;
  const finished = new Promise((resolve) => (done = resolve));
  const got = [];
  const trails = new PastTrails({ page }, (symbol, past) => {
    got.push([symbol, past]);
    if (got.length === 3) done();
  });
  for (const symbol of ["A", "B", "A", "C", "B"]) trails.want(symbol, null);
  await finished;
  assert.deepEqual(asked, ["A", "B", "C"]);
  assert.deepEqual(got[0], ["A", [{ timeMs: 60_000, price: 5 }]]);
});
