/**
 * A simulated fleet that loses connections at any point, skips bars, lags with its history, revises
 * bars late and changes epochs. Whatever happens, a reader with `from` ends with the publisher's bars,
 * also if its process is killed and goes on from the token that it kept.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { bench, settle } from "./client-bench.mjs";
import { makeBar } from "./make-bar.mjs";
import { seededRandom } from "./seeded-random.mjs";

const START_MS = 1_700_000_000_000;
const TOPIC = "kline:1s:BTC-USD";
/** How long a gateway holds what it was published, in seconds. */
const HELD_S = 15;
/** A token may be older than what became known by this much, because clocks differ. */
const CLOCKS_MS = 2_000;

class Fleet {
  #random;
  /** Every version that was published, in order. */
  versions = [];
  /** How many of them history has stored. */
  stored = 0;
  storesAgainAt = 0;
  epoch = 1;
  seq = 0;
  index = 0;
  /** The one session: what it has been sent, and what a slow one was not. */
  session = null;

  constructor(random) {
    this.#random = random;
  }

  get truth() {
    const bars = new Map();
    for (const bar of this.versions) bars.set(bar.start_ms, `${bar.rev} ${bar.close}`);
    return bars;
  }

  /** A second of market. */
  step(isQuiet) {
    const random = this.#random;
    if (random() < 0.02) [this.epoch, this.seq] = [this.epoch + 1, 0];
    this.#publish(this.index, 0);
    this.index += 1;
    if (!isQuiet && random() < 0.15) {
      const index = Math.max(0, this.index - 1 - Math.floor(random() * 30));
      const known = this.versions.filter((bar) => bar.start_ms === START_MS + index * 1_000).length;
      this.#publish(index, known);
    }
    const forming = makeBar({ start_ms: START_MS + this.index * 1_000, epoch: this.epoch, seq: (this.seq += 1), published_us: this.#nowUs() });
    this.#send(forming);
    // Now and then history is away for longer than a gateway holds bars.
    if (!isQuiet && random() < 0.02) this.storesAgainAt = this.index + 2 * HELD_S;
    if (isQuiet || (this.index >= this.storesAgainAt && random() < 0.6)) this.stored = this.versions.length;
  }

  #nowUs() {
    return (START_MS + this.index * 1_000 + 500) * 1_000;
  }

  #publish(index, rev) {
    this.seq += 1;
    const bar = makeBar({ start_ms: START_MS + index * 1_000, state: "closed", epoch: this.epoch, seq: this.seq, rev, close: String(100 + index + rev / 100), published_us: this.#nowUs() });
    this.versions.push(bar);
    if (this.session?.isLive !== true) return;
    if (this.session.isSlow) this.session.skipped.add(bar.start_ms);
    else this.#send(bar);
  }

  #send(bar) {
    const session = this.session;
    if (session?.isLive !== true) return;
    const count = session.skipped.size;
    const isTold = count > 0 && bar.state === "closed" && !session.isSlow;
    if (isTold) session.skipped.clear();
    session.socket.receive(isTold ? { skipped: count, ...bar } : bar);
  }

  /** Answers a `sub`; a session may break in the middle of the past. */
  subscribe(socket, { id, from }) {
    const random = this.#random;
    this.session = { socket, isLive: false, isSlow: false, skipped: new Set() };
    const newest = (bars) => [...new Map(bars.map((bar) => [bar.start_ms, bar])).values()].sort((a, b) => a.start_ms - b.start_ms);
    const known = newest(this.versions.slice(0, this.stored));
    const isHeld = (bar) => bar.published_us > this.#nowUs() - HELD_S * 1e6;
    const held = newest(this.versions.filter(isHeld));
    let past;
    if (from.token !== undefined) {
      const [, endMs, knownMs] = from.token.split(".").map(Number);
      past = known.filter((bar) => bar.end_ms > endMs || bar.published_us / 1_000 > knownMs - CLOCKS_MS);
    } else past = known.slice(-from.last);
    socket.receive({ op: "ack", id, topics: [TOPIC] });
    for (let start = 0; start < past.length; start += 7) {
      if (random() < 0.03) return socket.drop(1006);
      socket.receive(...past.slice(start, start + 7).map((bar) => ({ ...bar, epoch: 0, seq: 0 })));
    }
    const isWhole = this.versions.slice(this.stored).every(isHeld);
    const rest = held.filter((bar) => !past.some((each) => each.start_ms === bar.start_ms && each.rev === bar.rev));
    socket.receive(...rest);
    if (random() < 0.03) return socket.drop(1012);
    const sent = newest(this.versions);
    const token = sent.length === 0 ? {} : { token: `k1.${sent.at(-1).end_ms}.${Math.max(...sent.map((bar) => bar.published_us / 1_000))}` };
    socket.receive({ op: "live", topic: TOPIC, ...(isWhole ? { recovered: true } : { recovered: false, reason: "gap" }), ...token });
    this.session.isLive = true;
  }
}

test("a reader of a fleet that loses, skips, lags and revises ends with the publisher's bars", async () => {
  let connections = 0;
  let killed = 0;
  for (let seed = 1; seed <= 60; seed += 1) {
    const random = seededRandom(seed);
    const fleet = new Fleet(random);
    for (let second = 0; second < 40; second += 1) fleet.step(false);
    const seen = new Map();
    let place = null;
    let b = null;
    let answered = 0;

    const begin = () => {
      b = bench({ staleAfterMs: 3_600_000, random, healing: { baseMs: 5_000, maxMs: 20_000, attemptsMax: 1_000 } });
      answered = 0;
      const { client } = b;
      client.on("bar", (bar) => {
        if (bar.state === "closed") seen.set(bar.start_ms, `${bar.rev} ${bar.close}`);
        const token = client.token(TOPIC);
        if (token !== null) place = token;
      });
      client.on("live", () => (place = client.token(TOPIC) ?? place));
      client.sub([TOPIC], { from: place === null ? { last: 10_000 } : { token: place } });
      client.connect();
    };
    const serve = async () => {
      if (b.client.status.state === "connecting") b.socket.open();
      await settle();
      const subs = b.socket.sent.filter(({ op }) => op === "sub");
      for (const request of subs.slice(answered > subs.length ? 0 : answered)) {
        answered += 1;
        if (b.client.status.state === "open") fleet.subscribe(b.socket, request);
      }
    };
    begin();
    let socket = b.socket;
    for (let second = 0; second < 400; second += 1) {
      const isQuiet = second >= 250;
      if (b.socket !== socket) [socket, answered] = [b.socket, 0];
      await serve();
      if (b.socket === socket) fleet.step(isQuiet);
      if (fleet.session !== null && !isQuiet) {
        const draw = random();
        if (draw < 0.04) fleet.session.isSlow = true;
        else if (draw < 0.3) fleet.session.isSlow = false;
        if (draw > 0.97 && b.client.status.state === "open") {
          fleet.session = null;
          b.socket.drop(random() < 0.5 ? 1006 : 4000);
        } else if (draw > 0.955) {
          // The process is killed; another one goes on from what was kept.
          fleet.session = null;
          connections += b.sockets.length;
          killed += 1;
          b.client.close();
          begin();
          [socket, answered] = [b.socket, 0];
        }
      } else if (fleet.session !== null) fleet.session.isSlow = false;
      await b.advance(1_000);
    }
    connections += b.sockets.length;
    const truth = fleet.truth;
    const wrong = [...truth].filter(([startMs, version]) => seen.get(startMs) !== version).map(([startMs, version]) => [(startMs - START_MS) / 1_000, version, seen.get(startMs)]);
    assert.deepEqual(wrong, [], `seed ${seed}`);
    assert.equal(b.client.stats.malformedMessages, 0);
    b.client.close();
  }
  assert.ok(connections > 300 && killed > 100, `${connections} connections, ${killed} killed`);
});
