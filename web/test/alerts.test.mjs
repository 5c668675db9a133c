/** Alerts and rules on the page: what is read, said, made and refused. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { alertFrom, alertKey, AlertLog, alertText } from "../build/alert-text.js";
import { freeName, RULE_FIELDS, RULE_TYPES, ruleOf } from "../build/rule-draft.js";
import { RulesApi } from "../build/rules-api.js";
import { seededRandom } from "../../clients/typescript/test/seeded-random.mjs";

const alert = (fields = {}) => ({
  topic: "alert:btc-5:BTC-USDT",
  seq: 1,
  epoch: 5,
  exchange: "binance",
  symbol: "BTC-USDT",
  rule: "btc-5",
  type: "move",
  level: "critical",
  direction: "up",
  start_ms: 0,
  end_ms: 1_000,
  value: "63000",
  reference: "60000",
  raised_ms: 2_000,
  ...fields,
});

test("an alert is said in a sentence, whatever its type", () => {
  const cases = [
    [{}, "BTC-USDT rose 5.00%: from 60,000 to 63,000"],
    [{ direction: "down", value: "57000" }, "BTC-USDT fell 5.00%: from 60,000 to 57,000"],
    [{ type: "cross", direction: "down", value: "59999.5" }, "BTC-USDT crossed 60,000 downwards: 59,999.5"],
    [{ type: "volume", direction: "none", value: "1200", reference: "240.5" }, "BTC-USDT has unusual volume: 1,200, after 240.5 in the time before"],
    [{ type: "spread", direction: "none", value: "60120", reference: "60000" }, "BTC-USDT has a wide spread: bid 60,000, ask 60,120"],
    [{ type: "gap", direction: "none", value: "bars", reference: "" }, "BTC-USDT has missing bars"],
    [{ type: "stale", direction: "none", value: "31", reference: "30" }, "BTC-USDT had no trade for 31 s"],
    [{ type: "later", direction: "none", value: "1.5", reference: "" }, "BTC-USDT: later 1.5"],
  ];
  for (const [fields, text] of cases) assert.equal(alertText(alertFrom(alert(fields))), text);
});

test("what is no alert is not taken for one", () => {
  const wrong = [null, 5, "alert", {}, alert({ topic: "system:alert:critical:move" }), alert({ seq: "1" }), alert({ end_ms: 1e300 }), alert({ end_ms: 9e15 }), alert({ level: "loud" }), alert({ value: 5 }), alert({ value: "9".repeat(201) })];
  for (const value of wrong) assert.equal(alertFrom(value), null, JSON.stringify(value));
});

test("a log has each alert once, the newest first, and no more than its bound", () => {
  const random = seededRandom(3);
  for (let round = 0; round < 50; round += 1) {
    const log = new AlertLog(10);
    const all = Array.from({ length: 40 }, (_, seq) => alert({ seq, end_ms: Math.floor(random() * 30) * 1_000 }));
    const order = [...all, ...all].sort(() => random() - 0.5);
    const seen = new Set();
    for (const each of order) {
      const isKnown = log.all.some((other) => alertKey(other) === alertKey(each));
      if (isKnown) assert.equal(log.add(each), false);
      else log.add(each);
      seen.add(each.end_ms);
    }
    assert.equal(log.all.length, 10);
    assert.equal(new Set(log.all.map(alertKey)).size, 10);
    const times = log.all.map(({ end_ms }) => end_ms);
    assert.deepEqual(times, [...times].sort((a, b) => b - a));
    const newest = all.map(({ end_ms }) => end_ms).sort((a, b) => b - a).slice(0, 10);
    assert.deepEqual(times, newest);
  }
});

test("a form makes the rule that the server takes, or says what to correct", () => {
  const draft = { type: "move", symbol: " btc-usdt ", level: "critical", values: { percent: "2.5", window_s: "300" } };
  assert.deepEqual(ruleOf(draft, []), { rule: { name: "btc-usdt-move", symbols: ["BTC-USDT"], level: "critical", when: { type: "move", percent: "2.5", window_s: 300 } } });
  assert.deepEqual(ruleOf({ ...draft, type: "cross", values: { price: "64,000.5" } }, []).rule.when, { type: "cross", price: "64000.5" });
  assert.deepEqual(ruleOf({ ...draft, type: "gap", symbol: "*", values: {} }, ["all-gap"]).rule, { name: "all-gap-2", symbols: ["*"], level: "critical", when: { type: "gap" } });
  for (const percent of ["", "0", "-1", "x", "1e9", "1.", "9".repeat(19)]) assert.match(ruleOf({ ...draft, values: { percent, window_s: "300" } }, []).fault, /^Percent: write a number above 0/);
  for (const window_s of ["", "0", "1.5", "9999999999"]) assert.match(ruleOf({ ...draft, values: { percent: "1", window_s } }, []).fault, /whole number/);
  assert.match(ruleOf({ ...draft, symbol: " " }, []).fault, /symbol/);
  for (const type of RULE_TYPES) {
    const values = Object.fromEntries(RULE_FIELDS[type].map(({ name, value }) => [name, value === "" ? "1" : value]));
    assert.equal(ruleOf({ ...draft, type, values }, []).rule.when.type, type);
  }
});

test("names of rules are free and short enough, whatever the symbol", () => {
  const names = [];
  for (const symbol of ["OKX:BTC-USDT", "OKX:BTC-USDT", "A".repeat(64), "A".repeat(64), "*", "...", "É"]) {
    for (let count = 0; count < 12; count += 1) {
      const name = freeName("volume", symbol, names);
      assert.match(name, /^[a-z0-9][a-z0-9-]{0,31}$/);
      assert.ok(!names.includes(name));
      names.push(name);
    }
  }
});

test("each failure of the server of rules is told as what it is", async () => {
  const api = (status, body) => new RulesApi(async () => new Response(typeof body === "string" ? body : JSON.stringify(body), { status }));
  const kindOf = (promise) => promise.then(() => "none", ({ fault }) => fault.kind);
  const error = (code, message = "why") => ({ error: { code, message } });
  assert.equal(await kindOf(api(404, "not found").rules()), "absent");
  assert.equal(await kindOf(api(404, { code: "not_found", message: "no" }).rules()), "absent");
  assert.equal(await kindOf(api(404, error("not_found")).add({})), "absent");
  assert.equal(await kindOf(api(200, "<html>").rules()), "absent");
  assert.equal(await kindOf(api(200, "{}").rules()), "absent");
  assert.equal(await kindOf(api(401, error("token_needed")).rules()), "access");
  assert.equal(await kindOf(api(409, error("rule_exists")).add({})), "refused");
  assert.equal(await kindOf(api(404, error("unknown_rule")).remove("x")), "refused");
  assert.equal(await kindOf(new RulesApi(() => Promise.reject(new TypeError("gone"))).rules()), "unreachable");
  const rules = [{ rule: { name: "a", symbols: ["*", 5], when: { type: "gap" } }, source: "file" }, { rule: { symbols: [] } }, null];
  assert.deepEqual(await api(200, { rules }).rules(), [{ name: "a", symbols: ["*"], type: "gap", isOwn: false }]);
  assert.deepEqual(await api(200, { alerts: [alert(), {}] }).alerts(), [alert()]);
});
