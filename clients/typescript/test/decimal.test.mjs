/** Exact arithmetic on decimal strings. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { addDecimals, compareDecimals, decimalText, multiplyDecimals, parseDecimal, subtractDecimals, toNumber, toScaled } from "../dist/index.js";

test("decimals are added exactly", () => {
  const cases = [["0.1", "0.2", "0.3"], ["1", "2", "3"], ["0.00000001", "99999999999999999999", "99999999999999999999.00000001"], ["1.5", "0.5", "2"], ["0", "0.000", "0"]];
  for (const [a, b, expected] of cases) assert.equal(addDecimals(a, b), expected);
});

test("decimals are compared, subtracted and multiplied exactly, also below zero", () => {
  assert.deepEqual([["1.10", "1.1"], ["0.1", "0.09"], ["-2", "1"], ["99999999999999999999.1", "99999999999999999999.2"]].map(([a, b]) => compareDecimals(a, b)), [0, 1, -1, -1]);
  assert.equal(subtractDecimals("0.3", "0.1"), "0.2");
  assert.equal(subtractDecimals("1", "1.00000000000000000001"), "-0.00000000000000000001");
  assert.equal(subtractDecimals("1.0", "1"), "0");
  assert.equal(multiplyDecimals("64120.55", "0.00000001"), "0.0006412055");
  assert.equal(multiplyDecimals("-0.5", "0.5"), "-0.25");
});

test("a decimal becomes whole units only if nothing is lost", () => {
  assert.equal(toScaled("64120.5", 2), 6_412_050n);
  assert.equal(toScaled("1.500", 1), 15n);
  assert.throws(() => toScaled("1.25", 1), RangeError);
  assert.equal(decimalText(parseDecimal("007.500")), "7.5");
  assert.equal(toNumber("0.1"), 0.1);
});

test("what is no decimal is refused, and so is one of a length that would keep the processor busy", () => {
  for (const text of ["", "1e5", "NaN", ".5", "5.", "+1", "0x10", " 1", "1,000", "9".repeat(201)]) assert.throws(() => parseDecimal(text), RangeError, text);
});
