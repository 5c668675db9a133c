/** The feeds of exchanges that several publishers share. */
import assert from "node:assert/strict";
import { test } from "node:test";

import { badge } from "../build/feed-health.js";
import { Feeds } from "../build/feeds.js";

const OPEN = { state: "open", attempt: 0 };

const status = (publisher, fields = {}) => ({
  topic: "system:feed:okx", exchange: "okx", mode: "live", state: "live", age_ms: 100, connections: 1, symbols: 2, at_ms: 0,
  refused: [], refused_count: 0, unknown: [], unknown_count: 0, publisher, rivals: 0, lost_publishers: 0, ...fields,
});

test("a feed of two publishers is live only if both are, whichever spoke last", () => {
  for (const order of [["a", "b"], ["b", "a"]]) {
    const feeds = new Feeds();
    const said = {
      a: status("a"),
      b: status("b", { state: "reconnecting", age_ms: 9_000, connections: 0, symbols: 3, refused: ["FOO-USDT"], refused_count: 1 }),
    };
    for (const publisher of order) feeds.take(said[publisher], 1_000);
    const { status: both } = feeds.get("okx");
    assert.equal(both.state, "stale");
    assert.match(badge(OPEN, feeds.all(), "okx", 1_500).detail, /Only 1 of 2 servers that follow OKX are live/);
    assert.deepEqual([both.age_ms, both.connections, both.symbols], [9_000, 1, 5]);
    assert.deepEqual([both.refused, both.refused_count], [["FOO-USDT"], 1]);
    assert.deepEqual(feeds.all(), [feeds.get("okx")]);
    // Where none is live, the worse one counts.
    feeds.take(status("a", { state: "stale" }), 1_000);
    assert.equal(feeds.get("okx").status.state, "reconnecting");
    feeds.take(status("b", { state: "stale" }), 1_000);
    assert.equal(feeds.get("okx").status.state, "stale");
  }
});

test("two publishers of the same symbols do not count them twice", () => {
  const feeds = new Feeds();
  for (const publisher of ["a", "b"]) feeds.take(status(publisher, { rivals: 1, unknown: ["BAR-USDT"], unknown_count: 1 }), 1_000);
  const { status: both } = feeds.get("okx");
  assert.deepEqual([both.symbols, both.unknown, both.unknown_count], [2, ["BAR-USDT"], 1]);
});

test("a publisher that was restarted is forgotten while its successor speaks, and a silent feed is not", () => {
  const feeds = new Feeds();
  feeds.take(status("a", { state: "reconnecting" }), 1_000);
  for (let nowMs = 2_000; nowMs <= 16_000; nowMs += 1_000) feeds.take(status("b"), nowMs);
  assert.equal(feeds.get("okx").status.state, "stale");
  feeds.take(status("b"), 17_000);
  assert.equal(feeds.get("okx").status.state, "live");
  // Nobody speaks: the last that is known stays, and gets old.
  assert.equal(badge(OPEN, feeds.all(), "okx", 60_000).state, "stale");
});

test("publishers and exchanges are bounded, and the first of them are kept", () => {
  const feeds = new Feeds();
  for (let number = 0; number < 100; number += 1) {
    feeds.take(status(`publisher ${number}`), 1_000);
    feeds.take(status("a", { exchange: `exchange ${number}` }), 1_000);
  }
  assert.equal(feeds.get("okx").status.symbols, 2 * 16);
  assert.equal(feeds.all().length, 32);
});

test("a feed that is stale for a lost publisher is not said to have sent nothing", () => {
  const feeds = new Feeds();
  feeds.take(status("a", { state: "stale", lost_publishers: 1 }), 1_000);
  const { state, detail } = badge(OPEN, feeds.all(), "okx", 1_500);
  assert.equal(state, "stale");
  assert.match(detail, /a server that follows other symbols of OKX has stopped/i);
  assert.doesNotMatch(detail, /sent nothing/);
});
