import assert from "node:assert/strict";
import { test } from "node:test";
import { chartNotice } from "../build/chart-notice.js";
import { fractionDigits, groupedText, percentChange, percentText, volumeText } from "../build/decimal-text.js";
import { ageText, badge, exchangeOf, simulatedExchanges, unservedText } from "../build/feed-health.js";
import { choiceFromHash, gatewayAddress, hashOf } from "../build/page-address.js";
import { PriceDigits } from "../build/price-digits.js";
import { matchesSearch } from "../build/symbol-search.js";
import { TimeAxis } from "../build/time-axis.js";
import { rangeMs, widthForLength } from "../build/time-range.js";
import { barTimeText, zoneName } from "../build/time-text.js";
import { nearestTimeframe, offerOf, timeframeMs } from "../build/timeframe.js";

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
    [OPEN, [feed("okx", { state: "reconnecting" }), feed("binance")], "stale"],
  ];
  for (const [connection, feeds, expected] of cases) assert.equal(badge(connection, feeds, null, 1_500).state, expected);
});

test("a feed whose status no longer comes is stale whatever it said", () => {
  assert.equal(badge(OPEN, [feed("okx")], null, 6_100).state, "stale");
  assert.equal(badge(OPEN, [feed("okx")], null, 6_100).ageMs, 5_200);
});

test("a symbol is judged by its own exchange's feed alone, and while that is unknown by the worst", () => {
  const feeds = [feed("okx", { state: "stale", age_ms: 42_000 }), feed("binance")];
  assert.equal(badge(OPEN, feeds, exchangeOf("OKX:BTC-USDT"), 1_500).state, "stale");
  assert.equal(badge(OPEN, feeds, "binance", 1_500).label, "Live");
  assert.equal(badge(OPEN, feeds, "coinbase", 1_500).label, "Waiting for feed");
  const unknown = badge(OPEN, feeds, null, 1_500);
  assert.deepEqual([unknown.state, unknown.label, unknown.ageMs], ["stale", "1 of 2 live", 42_500]);
});

test("why a connection was lost is said once, in words for people", () => {
  const closed = { state: "reconnecting", attempt: 1, closeCode: 1012, why: "server restarting: gateway is restarting: reconnect after a random 0 to 1000 ms" };
  assert.equal(badge(closed, [], null, 0).detail, "Connection to the gateway lost: server restarting. The page tries again by itself.");
  const silent = { state: "reconnecting", attempt: 1, closeCode: 1006, why: "no answer to the handshake" };
  assert.match(badge(silent, [], null, 0).detail, /lost: no answer to the handshake\./);
});

test("the chart says at once what is wrong and what to do", () => {
  const base = { connection: OPEN, feeds: [feed("okx"), feed("binance")], nowMs: 1_500, symbol: "DOGE-USD", timeframe: "1m", barCount: 0, isLoading: false, listed: ["BTC-USD", "ETH-USD"], refusal: null };
  const down = { state: "reconnecting", age_ms: 115_000 };
  const cases = [
    [{}, /No data of DOGE-USD.*check the spelling, or choose one of the 2/],
    [{ listed: null }, /Collecting 1m bars of DOGE-USD/],
    [{ symbol: "BTC-USD" }, /Collecting 1m bars of BTC-USD/],
    [{ symbol: "BTC-USD", isLoading: true }, /Loading 1m bars of BTC-USD/],
    [{ symbol: "BTC-USD", barCount: 3 }, /BTC-USD: 3 so far/],
    [{ refusal: "symbols are upper case" }, /refused the 1m bars of DOGE-USD.*symbols are upper case/],
    [{ feeds: [feed("coinbase", { refused: ["DOGE-USD"] })] }, /Coinbase does not serve DOGE-USD/],
    [{ connection: { state: "connecting", attempt: 0 } }, /Waiting for the gateway/],
    [{ listed: [], symbol: null, feeds: [feed("okx", down), feed("binance", down)] }, /No exchange can be reached.*Binance, OKX: no answer.*--feed sim/],
    [{ listed: [], symbol: null }, /Waiting for the first trade/],
    [{ listed: [], symbol: null, feeds: [] }, /Is marketdata running\?/],
  ];
  for (const [changes, expected] of cases) {
    const { title, text } = chartNotice({ ...base, ...changes });
    assert.match(`${title} ${text}`, expected);
  }
  assert.equal(chartNotice({ ...base, symbol: "BTC-USD", barCount: 5 }), null);
});

test("symbols that an exchange does not serve are named, and those without a name are counted", () => {
  const cases = [
    [{}, ""],
    [{ refused: [], unknown: [], refused_count: 0, unknown_count: 0 }, ""],
    [{ refused: ["A-B"], unknown: ["C-D"] }, "OKX does not serve A-B, C-D."],
    [{ refused: ["A-B"], refused_count: 1, unknown: ["C-D", "E-F", "G-H"], unknown_count: 40 }, "OKX does not serve A-B, C-D, E-F and 38 more."],
    [{ refused_count: 2 }, "OKX does not serve 2 symbols."],
  ];
  for (const [fields, expected] of cases) assert.equal(unservedText(feed("okx", fields)), expected);
});

test("a feed without any symbol that its exchange serves is not called unreachable", () => {
  const detail = (fields) => badge(OPEN, [feed("okx", { state: "reconnecting", symbols: 2, ...fields })], "okx", 1_500).detail;
  assert.match(detail({ unknown: ["A-B"], unknown_count: 2 }), /OKX serves none of the configured symbols\./);
  assert.match(detail({ unknown: ["A-B"], unknown_count: 1 }), /OKX cannot be reached/);
});

test("people find symbols as they type them", () => {
  const found = (query) =>
    [["BTC-USD", "coinbase"], ["BTC-USDT", "binance"], ["OKX:BTC-USDT", "okx"], ["ETH-USD", null]].filter(([symbol, exchange]) => matchesSearch(query, symbol, exchange)).map(([symbol]) => symbol);
  const cases = [
    ["btcusdt", ["BTC-USDT", "OKX:BTC-USDT"]],
    ["btc/usdt", ["BTC-USDT", "OKX:BTC-USDT"]],
    ["btc usd", ["BTC-USD", "BTC-USDT", "OKX:BTC-USDT"]],
    ["binance", ["BTC-USDT"]],
    ["usdt okx", ["OKX:BTC-USDT"]],
    ["okx:btc-usdt", ["OKX:BTC-USDT"]],
    ["eth", ["ETH-USD"]],
    ["", ["BTC-USD", "BTC-USDT", "OKX:BTC-USDT", "ETH-USD"]],
    ["doge", []],
  ];
  for (const [query, expected] of cases) assert.deepEqual(found(query), expected, query);
});

test("all prices of a symbol have the decimals of the widest that was seen", () => {
  const digits = new PriceDigits(2);
  const bar = (symbol, close) => ({ symbol, open: "90000", high: close, low: "9", close });
  digits.see(bar("BTC-USD", "90711.85"));
  digits.see(bar("BTC-USD", "90711.8"));
  assert.equal(digits.text("BTC-USD", "90732"), "90,732.00");
  assert.equal(digits.text("BTC-USD", "90711.8"), "90,711.80");
  digits.see(bar("PEPE-USDT", "0.0000099312"));
  digits.see(bar("ONE-TOO-MANY", "1.5"));
  assert.equal(digits.of("ONE-TOO-MANY"), 0);
  assert.equal(groupedText("1413386446"), "1,413,386,446");
  assert.equal(groupedText("-1234.5678"), "-1,234.5678");
  assert.equal(groupedText("nonsense"), "nonsense");
});

test("times are shown in UTC or in the reader's zone, and days are days of UTC", () => {
  const before = process.env.TZ;
  process.env.TZ = "America/St_Johns";
  try {
    const startMs = Date.UTC(2026, 0, 2, 1, 15, 30);
    assert.equal(barTimeText(startMs, startMs + 1_000, "utc"), "2026-01-02 01:15:30");
    assert.equal(barTimeText(startMs, startMs + 1_000, "local"), "2026-01-01 21:45:30");
    assert.equal(barTimeText(startMs, startMs + 60_000, "local"), "2026-01-01 21:45");
    assert.equal(barTimeText(Date.UTC(2026, 0, 2), Date.UTC(2026, 0, 3), "local"), "2026-01-02");
    assert.equal(zoneName("local", startMs), "UTC−3:30");
    assert.equal(zoneName("utc", startMs), "UTC");
  } finally {
    if (before === undefined) delete process.env.TZ;
    else process.env.TZ = before;
  }
});

test("simulated feeds are named", () => {
  assert.deepEqual(simulatedExchanges([feed("okx", { mode: "sim" }), feed("binance")]), ["okx"]);
});

test("ages are short", () => {
  const cases = [[-5, "0.0 s"], [420, "0.4 s"], [9_949, "9.9 s"], [12_300, "12 s"], [180_000, "3 min"], [5 * 3_600_000, "5 h"], [3 * 86_400_000, "3 d"]];
  for (const [ageMs, expected] of cases) assert.equal(ageText(ageMs), expected);
});

test("the hash keeps the whole view, and nonsense in it is ignored", () => {
  const nothing = { symbol: null, timeframe: null, range: null, zone: null, span: null };
  const span = { fromMs: Date.UTC(2026, 9, 10, 10), toMs: Date.UTC(2026, 9, 10, 12, 30) };
  for (const symbol of ["BTC-USD", "OKX:BTC-USDT", "1INCH-USDT"]) {
    for (const view of [{ range: null, zone: null, span: null }, { range: "1M", zone: "local", span: null }, { range: null, zone: "utc", span }]) {
      assert.deepEqual(choiceFromHash(hashOf({ symbol, timeframe: "7m", ...view })), { symbol, timeframe: "7m", ...view });
    }
  }
  assert.deepEqual(choiceFromHash("#symbol=btc-usd&timeframe=1m"), { ...nothing, symbol: "BTC-USD", timeframe: "1m" });
  assert.equal(hashOf({ symbol: "OKX:BTC-USDT", timeframe: "1s" }), "#symbol=OKX:BTC-USDT&timeframe=1s");
  assert.equal(hashOf({ symbol: "A-B", timeframe: "1m", span, zone: "utc" }), "#symbol=A-B&timeframe=1m&from=2026-10-10T10:00:00Z&to=2026-10-10T12:30:00Z&zone=utc");
  const times = ["from=2026-10-10T12:00:00Z&to=2026-10-10T10:00:00Z", "from=1e99&to=2e99", "from=0001-01-01T00:00:00Z&to=9999-01-01T00:00:00Z", "from=2026-10-10T12:00:00Z"];
  for (const hash of ["", "#", "#symbol=%3Cscript%3E&timeframe=9y", "#symbol=*&timeframe=", `#symbol=${"A".repeat(65)}`, "#%E0%A4%A", "#range=constructor&zone=mars", ...times.map((each) => `#${each}`)]) {
    assert.deepEqual(choiceFromHash(hash), nothing, hash);
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
  assert.equal(nearestTimeframe("5m", ["1s", "1m", "1h", "1d"]), "1m");
  assert.equal(nearestTimeframe("1w", ["1s", "1m", "1h", "1d"]), "1d");
  assert.equal(nearestTimeframe("5m", []), "5m");
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

test("a range is shown in a width that gives some hundred bars, or in the chosen one if that does", () => {
  const all = ["1s", "1m", "1h", "1d"];
  const width = (range, current, pixels = 800, timeframes = all) => widthForLength(rangeMs(range), current, pixels, timeframes);
  assert.deepEqual(["1h", "6h", "1d", "1w", "1M", "1y"].map((range) => width(range, "1s")), ["15s", "1m", "5m", "30m", "4h", "1d"]);
  assert.equal(width("1d", "7m"), "7m");
  assert.equal(width("1h", "1m", 330), "1m");
  // Bars can only be made of shorter ones.
  assert.equal(width("1h", "1h", 800, ["1m", "1h", "1d"]), "1m");
});

test("places on the axis and times are one another's, also beyond both ends and over holes", () => {
  const axis = new TimeAxis([10_000, 11_000, 12_000, 60_000], 1_000);
  const cases = [[-2, 8_000], [0, 10_000], [2, 12_000], [3, 60_000], [5, 62_000]];
  for (const [place, timeMs] of cases) {
    assert.equal(axis.timeAt(place), timeMs);
    assert.equal(axis.placeOf(timeMs), place);
  }
  assert.equal(axis.placeOf(30_000), 3, "the first bar after it");
  axis.extend(60_000);
  axis.extend(61_000);
  assert.equal(axis.length, 5);
  assert.deepEqual([new TimeAxis([], 1_000).timeAt(0), new TimeAxis([], 1_000).placeOf(5)], [null, null]);
});
