/** How stored bars are asked for, and what the answers mean. No socket. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { barsPath, failureOf, firstStoredMs, readPage, readSymbols } from "../dist/history-api.js";
import { makeBar } from "./make-bar.mjs";

const START_MS = 1_700_000_000_000;
const TOPIC = "kline:1s:BTC-USD";
const at = (index) => START_MS + index * 1_000;

test("the address of a page names the exchange where it is known", () => {
  const question = { symbol: "BTC-USD", exchange: null, width: "7m", fromMs: null, toMs: null, limit: 300 };
  assert.equal(barsPath(question), "/api/v1/bars?symbol=BTC-USD&width=7m&limit=300&order=desc");
  assert.equal(barsPath({ ...question, symbol: "OKX:BTC-USDT", fromMs: 5.7, toMs: 8.2 }), "/api/v1/bars?symbol=BTC-USDT&exchange=okx&width=7m&from=5&to=9&limit=300&order=desc");
  assert.match(barsPath({ ...question, exchange: "coinbase" }), /symbol=BTC-USD&exchange=coinbase&/);
});

test("an answer becomes bars of the topic, in order of time, and what is no bar is left out", () => {
  const { topic, ...bar } = makeBar({ start_ms: at(1), state: "closed", seq: 7, epoch: 9, symbol: "BTC-USDT" });
  const body = { bars: [{ ...bar, start_ms: at(2), end_ms: at(3) }, bar, bar, { ...bar, start_ms: at(2), end_ms: at(3), rev: 4 }, { ...bar, state: "forming" }, { ...bar, open: "x" }, null, 5], next: "c" };
  const page = readPage(body, "kline:1s:OKX:BTC-USDT");
  assert.deepEqual(page.bars.map((each) => [each.start_ms, each.rev]), [[at(1), 0], [at(2), 4]]);
  const { epoch, seq, symbol, interval } = page.bars[0];
  assert.deepEqual({ topic: page.bars[0].topic, epoch, seq, symbol, interval }, { topic: "kline:1s:OKX:BTC-USDT", epoch: 0, seq: 0, symbol: "OKX:BTC-USDT", interval: "1s" });
  assert.ok(page.hasMore);
  assert.ok(!readPage({ bars: [], next: null }, TOPIC).hasMore);
  assert.deepEqual(readPage({ bars: [{ ...bar, state: "forming" }, bar] }, TOPIC, true).bars.map(({ state }) => state), ["closed"]);
  for (const nonsense of [null, 5, "x", {}, { bars: 5 }]) assert.equal(readPage(nonsense, TOPIC), null);
});

test("what an answer's status means is told in words that a person can act on", () => {
  const json = (message) => JSON.stringify({ error: { code: "c", message } });
  const cases = [
    [404, "<html>", null, "absent", /keeps no history/, null],
    [404, json("nothing is stored of A-B"), null, "unknown", /nothing is stored of A-B/, null],
    [400, json("write 7m"), null, "refused", /write 7m/, null],
    [401, "", null, "access", /token/, null],
    [429, json("slower"), "7", "busy", /too often/, 7_000],
    [503, "", "2", "unreachable", /does not answer/, 2_000],
    [502, "<html>", "soon", "unreachable", /does not answer/, null],
    [500, "", "1e99", "unreachable", /does not answer/, 3_600_000],
  ];
  for (const [status, body, retryAfter, kind, message, retryAfterMs] of cases) {
    const failure = failureOf(status, body, retryAfter);
    assert.deepEqual([failure.kind, failure.retryAfterMs], [kind, retryAfterMs], String(status));
    assert.match(failure.message, message);
  }
});

test("the first stored bar is the earliest of the symbol's widths", () => {
  const widths = [{ width: "1m", first_ms: 50, last_end_ms: 90 }, { width: "1d", first_ms: 7, last_end_ms: 90 }, null];
  const body = { symbols: [{ exchange: "okx", symbol: "A-B", topic_symbol: "OKX:A-B", widths }, { exchange: "okx", symbol: "C-D", topic_symbol: "C-D", widths: [] }, null] };
  const symbols = readSymbols(body);
  assert.equal(firstStoredMs(symbols, "OKX:A-B", null), 7);
  assert.equal(firstStoredMs(symbols, "OKX:A-B", "binance"), null);
  assert.equal(firstStoredMs(symbols, "C-D", null), null);
  for (const nonsense of [null, 5, {}, { symbols: 1 }]) assert.equal(readSymbols(nonsense), null);
});
