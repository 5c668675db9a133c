/** The adapters for chart libraries, with the rules of these libraries. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { History } from "../dist/index.js";
import { ChartFeed } from "../dist/lightweight-charts.js";
import { TradingViewDatafeed, widthOfResolution } from "../dist/tradingview.js";
import { bench, settle, subsOf } from "./client-bench.mjs";
import { makeBar } from "./make-bar.mjs";
import { seededRandom } from "./seeded-random.mjs";

const START_MS = 1_700_000_000_000;
const TOPIC = "kline:1s:BTC-USD";
const at = (index) => START_MS + index * 1_000;
const closed = (index, seq, fields = {}) => makeBar({ start_ms: at(index), state: "closed", seq, ...fields });
const stored = (index, fields = {}) => closed(index, 0, { epoch: 0, ...fields });
const live = { op: "live", topic: TOPIC, recovered: true };

/** A series that throws where the library does. */
class Series {
  points = new Map();
  newest = Number.NEGATIVE_INFINITY;
  rebuilds = 0;

  update(point, isHistorical = false) {
    if (point.time < this.newest && !isHistorical) throw new Error("Cannot update oldest data");
    if (isHistorical && !this.points.has(point.time)) throw new Error("no such point");
    this.points.set(point.time, point.close ?? point.value);
    this.newest = Math.max(this.newest, point.time);
  }

  setData(points) {
    this.rebuilds += 1;
    this.points.clear();
    for (const [index, point] of points.entries()) {
      if (index > 0 && point.time <= points[index - 1].time) throw new Error("not in order of time");
      this.points.set(point.time, point.close ?? point.value);
    }
    this.newest = points.at(-1)?.time ?? Number.NEGATIVE_INFINITY;
  }
}

/** A history of the bars from `first` to `end`, and what it was asked. */
function historyOf(first, end, symbols = [{ exchange: "coinbase", symbol: "BTC-USD", topic_symbol: "BTC-USD", widths: [] }]) {
  const asked = [];
  const fetch = (url) => {
    const { pathname, searchParams: values } = new URL(url, "http://history");
    asked.push([pathname, Object.fromEntries(values)]);
    if (pathname === "/api/v1/symbols") return Promise.resolve(Response.json({ symbols }));
    const to = values.has("to") ? Math.min(end, Math.ceil((Number(values.get("to")) - START_MS) / 1_000)) : end;
    const newest = Number(values.get("cursor") ?? to);
    const limit = Number(values.get("limit"));
    const oldest = Math.max(first, newest - limit);
    const bars = Array.from({ length: Math.max(0, newest - oldest) }, (_, index) => stored(newest - 1 - index, { open: "10.25" }));
    return Promise.resolve(Response.json({ bars, next: oldest > first ? String(oldest) : null, token: null }));
  };
  return { history: new History({ url: "http://history", fetch, retriesMax: 0 }), asked };
}

test("a series of lightweight-charts survives bars in any order", async () => {
  for (let seed = 1; seed <= 30; seed += 1) {
    const random = seededRandom(seed);
    const b = bench();
    const [series, volume] = [new Series(), new Series()];
    const feed = new ChartFeed({ client: b.client, topic: TOPIC, series, volume, barsMax: 50 });
    b.client.connect();
    b.socket.open();
    const truth = new Map();
    b.socket.receive(stored(0, { close: "1" }), stored(1, { close: "2" }), live);
    truth.set(at(0) / 1_000, 1).set(at(1) / 1_000, 2);
    for (let seq = 1; seq <= 120; seq += 1) {
      const index = Math.floor(seq / 4 + random() * 5);
      const known = truth.has(at(index) / 1_000);
      b.socket.receive(closed(index, seq, { close: String(seq + 10), rev: known ? seq : 0 }));
      truth.set(at(index) / 1_000, seq + 10);
      if (random() < 0.3) await settle();
    }
    await settle();
    await settle();
    const expected = [...truth].sort(([a], [z]) => a - z);
    assert.deepEqual([...series.points].sort(([a], [z]) => a - z), expected, `seed ${seed}`);
    assert.equal(volume.points.size, truth.size);
    assert.deepEqual(feed.bars.map(({ start_ms }) => start_ms / 1_000), expected.map(([time]) => time));
    feed.close();
  }
});

test("the past is drawn at once, a new bar without drawing all anew, and older bars when they are asked for", async () => {
  const b = bench();
  const series = new Series();
  const { history, asked } = historyOf(-1_200, 500);
  const events = [];
  const feed = new ChartFeed({ client: b.client, history, topic: TOPIC, series, bars: 500, barsMax: 2_000, onEvent: ({ kind }) => events.push(kind) });
  b.client.connect();
  b.socket.open();
  assert.deepEqual(subsOf(b.socket)[0].from, { last: 500 });
  b.socket.receive(...Array.from({ length: 500 }, (_, index) => stored(index)));
  await settle();
  assert.equal(series.rebuilds, 0, "not before the past has ended");
  b.socket.receive(live);
  await settle();
  assert.deepEqual([series.rebuilds, series.points.size], [1, 500]);
  b.socket.receive(makeBar({ start_ms: at(500), seq: 1 }), closed(500, 2), makeBar({ start_ms: at(501), seq: 3 }));
  await settle();
  assert.deepEqual([series.rebuilds, series.points.size], [1, 502]);
  assert.deepEqual(await Promise.all([feed.loadOlder(), feed.loadOlder()]), [500, 500], "one question at a time");
  assert.deepEqual(asked.map(([, values]) => [values.symbol, values.exchange, values.to]), [["BTC-USD", "coinbase", String(at(0))]]);
  assert.equal(series.points.size, 1_002);
  assert.equal(await feed.loadOlder(), 500);
  assert.equal(await feed.loadOlder(), 200, "up to the first stored bar");
  assert.equal(await feed.loadOlder(), 0);
  assert.ok(!feed.hasOlder);
  assert.ok(events.includes("live"));
  feed.close();
  await settle();
  assert.equal(b.socket.sent.at(-1).op, "unsub");
});

test("a series keeps no more bars than it may", async () => {
  const b = bench();
  const series = new Series();
  const feed = new ChartFeed({ client: b.client, topic: TOPIC, series, barsMax: 100 });
  b.client.connect();
  b.socket.open();
  b.socket.receive(live);
  for (let index = 0; index < 1_000; index += 1) {
    b.socket.receive(closed(index, index + 1));
    await settle();
  }
  assert.ok(series.points.size <= 110 && feed.bars.length <= 110, `${series.points.size}`);
  assert.equal(series.newest, at(999) / 1_000);
  feed.close();
});

test("a topic that the gateway refuses is told to the chart's owner", async () => {
  const b = bench();
  const errors = [];
  new ChartFeed({ client: b.client, topic: "kline:1x:A-B", series: new Series(), onError: (error) => errors.push(error.code) });
  b.client.connect();
  b.socket.open();
  b.socket.receive({ op: "error", id: 1, code: "bad_topic", message: "no", topics: ["kline:1x:A-B"] });
  await settle();
  assert.deepEqual(errors, ["bad_topic"]);
});

test("resolutions of TradingView are widths", () => {
  const cases = [["1", "1m"], ["7", "7m"], ["60", "1h"], ["90", "90m"], ["240", "4h"], ["1440", "1d"], ["1D", "1d"], ["D", "1d"], ["3D", "3d"], ["W", "1w"], ["1M", "1M"], ["15S", "15s"], ["", null], ["0", null], ["1T", null], ["99999S", null], ["1.5", null]];
  for (const [resolution, width] of cases) assert.equal(widthOfResolution(resolution), width, resolution);
});

function datafeedOf(first, end, symbols) {
  const b = bench();
  const { history, asked } = historyOf(first, end, symbols);
  const datafeed = new TradingViewDatafeed({ client: b.client, history });
  b.client.connect();
  b.socket.open();
  return { b, asked, datafeed };
}
const resolved = (datafeed, name) => new Promise((resolve, reject) => datafeed.resolveSymbol(name, resolve, (reason) => reject(new Error(reason))));
const barsOf = (datafeed, symbol, resolution, params) =>
  new Promise((resolve, reject) => datafeed.getBars(symbol, resolution, params, (bars, meta) => resolve({ bars, ...meta }), (reason) => reject(new Error(reason))));

test("TradingView's library finds symbols, and gets the past in the bars that it counts", async () => {
  const symbols = [
    { exchange: "coinbase", symbol: "BTC-USD", topic_symbol: "BTC-USD", widths: [] },
    { exchange: "okx", symbol: "BTC-USDT", topic_symbol: "OKX:BTC-USDT", widths: [] },
  ];
  const { asked, datafeed } = datafeedOf(-3_000, 0, symbols);
  const configuration = await new Promise((resolve) => datafeed.onReady(resolve));
  assert.ok(configuration.supported_resolutions.includes("240"));
  const found = (input, exchange) => new Promise((resolve) => datafeed.searchSymbols(input, exchange, "", (results) => resolve(results.map(({ ticker }) => ticker))));
  assert.deepEqual(await found("btc/usd", ""), ["COINBASE:BTC-USD", "OKX:BTC-USDT"]);
  assert.deepEqual(await found("btcusdt", "OKX"), ["OKX:BTC-USDT"]);
  const symbol = await resolved(datafeed, "COINBASE:BTC-USD");
  assert.deepEqual([symbol.name, symbol.exchange, symbol.pricescale], ["BTC-USD", "COINBASE", 100]);
  await assert.rejects(resolved(datafeed, "NOPE"), /there is no symbol NOPE/);
  const { bars, noData } = await barsOf(datafeed, symbol, "1S", { from: 0, to: at(0) / 1_000, countBack: 2_500, firstDataRequest: true });
  assert.deepEqual([bars.length, bars[0].time, bars.at(-1).time, bars[0].open, noData], [2_500, at(-2_500), at(-1), 10.25, false]);
  assert.equal(asked.at(-3)[1].forming, "true");
  assert.equal((await barsOf(datafeed, symbol, "1S", { from: 0, to: at(-3_000) / 1_000, countBack: 300, firstDataRequest: false })).noData, true);
  await assert.rejects(barsOf(datafeed, symbol, "1Q", { from: 0, to: 1, countBack: 1, firstDataRequest: false }), /no bars of 1Q/);
});

test("live bars follow TradingView's past without a hole, in order, for two charts at once, and a revision asks for new data", async () => {
  const { b, datafeed } = datafeedOf(-10, 0);
  const symbol = await resolved(datafeed, "BTC-USD");
  await barsOf(datafeed, symbol, "1S", { from: 0, to: at(0) / 1_000, countBack: 5, firstDataRequest: true });
  const [first, second] = [[], []];
  let resets = 0;
  datafeed.subscribeBars(symbol, "1S", ({ time, close }) => first.push([time, close]), "a", () => (resets += 1));
  await settle();
  assert.deepEqual(subsOf(b.socket)[0].from, { ms: at(-1) });
  b.socket.receive(stored(-1), stored(0), live, makeBar({ start_ms: at(1), seq: 1, close: "5" }));
  await settle();
  datafeed.subscribeBars(symbol, "1S", ({ time, close }) => second.push([time, close]), "b", () => {});
  b.socket.receive(makeBar({ start_ms: at(2), seq: 2, close: "6" }), closed(1, 3, { close: "5" }));
  await settle();
  assert.deepEqual(first, [[at(-1), 11], [at(0), 11], [at(1), 5], [at(2), 6]]);
  assert.deepEqual(second, first);
  assert.equal(resets, 0, "the closed bar says what was shown");
  b.socket.receive(closed(1, 4, { close: "7", rev: 1 }));
  await settle();
  assert.equal(resets, 1);
  assert.equal(subsOf(b.socket).length, 1, "one subscription for both");
  datafeed.unsubscribeBars("a");
  await settle();
  assert.notEqual(b.socket.sent.at(-1).op, "unsub");
  datafeed.unsubscribeBars("b");
  await settle();
  assert.equal(b.socket.sent.at(-1).op, "unsub");
});
