import assert from "node:assert/strict";
import { test } from "node:test";
import { BACKOFF_DEFAULT, closeReason, reconnectDelayMs } from "../dist/reconnect.js";

test("each close code of the protocol has its advice", () => {
  const table = {
    reconnect: [1000, 1001, 1006, 1012, 4001, 4006, 4999],
    back_off: [1013, 4000, 4002, 4004],
    stop: [1002, 1003, 1007, 1009],
    renew: [4003, 4005],
  };
  for (const [advice, codes] of Object.entries(table)) {
    for (const code of codes) assert.equal(closeReason(code).advice, advice, String(code));
  }
});

test("delays are spread from zero to a doubling ceiling that ends at the maximum", () => {
  const { baseMs, maxMs } = BACKOFF_DEFAULT;
  for (let attempt = 0; attempt < 100; attempt += 1) {
    const ceilingMs = Math.min(maxMs, baseMs * 2 ** attempt);
    assert.equal(reconnectDelayMs(attempt, "reconnect", 0), 0);
    assert.equal(reconnectDelayMs(attempt, "reconnect", 0.5), Math.floor(ceilingMs / 2));
    assert.ok(reconnectDelayMs(attempt, "reconnect", 0.999_999) < ceilingMs);
  }
});

test("a limit leaves more time at the first attempt already", () => {
  assert.ok(reconnectDelayMs(0, "back_off", 0.9) > reconnectDelayMs(0, "reconnect", 0.9) * 4);
});
