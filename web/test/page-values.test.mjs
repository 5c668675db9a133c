import assert from "node:assert/strict";
import { test } from "node:test";
import { fractionDigits, percentChange, percentText, volumeText } from "../build/decimal-text.js";
import { ageText, badge, exchangeOf, simulatedExchanges } from "../build/feed-health.js";
import { choiceFromHash, gatewayAddress, hashOf } from "../build/page-address.js";
import { offerOf, timeframeMs } from "../build/timeframe.js";

const OPEN = { state: "open", attempt: 0 };
const feed = (exchange, fields = {}, receivedAtMs = 1_000) => ({
  status: { topic: `system:feed:${exchange}`, exchange, mode: "live", state: "live", age_ms: 100, connections: 1, symbols: 1, at_ms: 0, ...fields },
  receivedAtMs,
});

test("the badge follows the socket first, then the feeds", () => {
  const cases = [
    [{ state: "connecting", attempt: 0 }, [feed("okx")], "reconnecting"],
    [{ state: "reconnecting", attempt: 2, closeCode: 1012, why: "server restarting" }, [feed("okx")], "reconnecting"],
    [{ state: "stopped", attempt: 0, closeCode: 4003, why: "not authorised" }, [feed("okx")], "stale"],
    [OPEN, [], "stale"],
    [OPEN, [feed("okx")], "live"],
    [OPEN, [feed("okx", { state: "stale" })], "stale"],
    [OPEN, [feed("okx", { state: "reconnecting" })], "reconnecting"],
    [OPEN, [feed("okx", { state: "reconnecting" }), feed("binance")], "live"],
  ];
  for (const [connection, feeds, expected] of cases) assert.equal(badge(connection, feeds, null, 1_500).state, expected);
});

test("a feed whose status no longer comes is stale whatever it said", () => {
  assert.equal(badge(OPEN, [feed("okx")], null, 6_100).state, "stale");
  assert.equal(badge(OPEN, [feed("okx")], null, 6_100).ageMs, 5_200);
});

test("a symbol of a named exchange is judged by that exchange's feed", () => {
  const feeds = [feed("okx", { state: "stale" }), feed("binance")];
  assert.equal(badge(OPEN, feeds, exchangeOf("OKX:BTC-USDT"), 1_500).state, "stale");
  assert.equal(badge(OPEN, feeds, exchangeOf("BTC-USDT"), 1_500).label, "Live 1/2");
});

test("simulated feeds are named", () => {
  assert.deepEqual(simulatedExchanges([feed("okx", { mode: "sim" }), feed("binance")]), ["okx"]);
});

test("ages are short", () => {
  const cases = [[-5, "0.0 s"], [420, "0.4 s"], [9_949, "9.9 s"], [12_300, "12 s"], [180_000, "3 min"], [5 * 3_600_000, "5 h"], [3 * 86_400_000, "3 d"]];
  for (const [ageMs, expected] of cases) assert.equal(ageText(ageMs), expected);
});

test("the hash keeps symbol and timeframe, and nonsense in it is ignored", () => {
  for (const symbol of ["BTC-USD", "OKX:BTC-USDT", "1INCH-USDT"]) {
    assert.deepEqual(choiceFromHash(hashOf(symbol, "1m")), { symbol, timeframe: "1m" });
  }
  assert.equal(hashOf("OKX:BTC-USDT", "1s"), "#symbol=OKX:BTC-USDT&timeframe=1s");
  for (const hash of ["", "#", "#symbol=%3Cscript%3E&timeframe=9y", "#symbol=*&timeframe=", `#symbol=${"A".repeat(65)}`, "#%E0%A4%A"]) {
    assert.deepEqual(choiceFromHash(hash), { symbol: null, timeframe: null }, hash);
  }
});

test("the gateway is the page's own unless a WebSocket address is asked for", () => {
  const page = { protocol: "http:", host: "localhost:8080", search: "" };
  assert.deepEqual(gatewayAddress(page), { url: "ws://localhost:8080/ws", isForeign: false });
  assert.deepEqual(gatewayAddress({ ...page, protocol: "https:" }), { url: "wss://localhost:8080/ws", isForeign: false });
  assert.deepEqual(gatewayAddress({ ...page, search: "?ws=ws://other:1/ws" }), { url: "ws://other:1/ws", isForeign: true });
  assert.deepEqual(gatewayAddress({ ...page, search: "?ws=ws://localhost:8080/ws" }).isForeign, false);
  assert.deepEqual(gatewayAddress({ ...page, search: "?ws=javascript:alert(1)" }).url, "ws://localhost:8080/ws");
});

test("timeframes are sorted by length, and symbols may carry an exchange", () => {
  assert.deepEqual(offerOf(["kline:1d:B-C", "kline:1s:OKX:B-C", "kline:15m:B-C", "kline:bad:X-Y", "system:feed:okx", "kline:1M:B-C", "kline:1w:B-C"]), {
    symbols: ["B-C", "OKX:B-C"],
    timeframes: ["1s", "15m", "1d", "1w", "1M"],
  });
  assert.equal(timeframeMs("0m"), null);
});

test("decimals are shown with their sign and without inventing digits", () => {
  assert.equal(fractionDigits("0.0000099312"), 10);
  assert.equal(fractionDigits("64120"), 0);
  assert.equal(percentText(percentChange("100", "101.5")), "+1.50%");
  assert.equal(percentText(percentChange("100", "98")), "−2.00%");
  assert.equal(percentText(percentChange("100", "100.001")), "0.00%");
  assert.equal(percentText(percentChange("0", "1")), "–");
  assert.equal(volumeText("0"), "0");
  assert.equal(volumeText("1240512.5"), "1.241M");
  assert.equal(volumeText("0.0031"), "0.0031");
});
