/** The package beside a real gateway with its history: what it promises holds there, too. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { readFile, rm, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { WebSocket } from "ws";
import { CutProxy } from "../../../web/test/cut-proxy.mjs";
import { addDecimals, History, KlinecastClient } from "../dist/index.js";
import { ChartFeed } from "../dist/lightweight-charts.js";
import { TradingViewDatafeed } from "../dist/tradingview.js";
import { skipped, startGateway } from "./real-gateway.mjs";
import { until } from "./test-gateway.mjs";

const LIMIT = { timeout: 180_000, skip: skipped };
const TOPIC = "kline:1s:BTC-USD";
const BACKOFF = { baseMs: 50, maxMs: 500, backOffAttempts: 2 };
const HEALING = { baseMs: 1_000, maxMs: 4_000, attemptsMax: 20 };
let gateway = null;
before(async () => (gateway = skipped === false ? await startGateway() : null), { timeout: 150_000 });
after(() => gateway?.stop());

/** A client that the end of the test closes. */
function clientOf(t, url) {
  const client = new KlinecastClient({ url, WebSocket, backoff: BACKOFF, healing: HEALING });
  t.after(() => client.close());
  client.connect();
  return client;
}
const DEADLINE_MS = 60_000;

/** Whether these bars follow each other from the first to the last. */
function isWhole(bars) {
  const starts = [...bars.values()].sort((a, b) => a.start_ms - b.start_ms);
  return starts.every((bar, index) => index === 0 || starts[index - 1].end_ms === bar.start_ms);
}

/** Reads a stream in the background: its closed bars by start, its events, and its newest token. */
function follow(client, topic, options) {
  const read = { closed: new Map(), kinds: [], token: null, stream: client.stream(topic, options) };
  read.done = (async () => {
    for await (const event of read.stream) {
      read.kinds.push(event.kind);
      if (event.kind === "bar" && event.bar.state === "closed") read.closed.set(event.bar.start_ms, event.bar);
      read.token = event.token ?? read.token;
    }
  })();
  return read;
}

test("history then live in one call, cut and killed, is one row of bars, equal to what is stored", LIMIT, async (t) => {
  const { port, url, http } = gateway;
  const proxy = new CutProxy("127.0.0.1", port);
  const near = await proxy.start();
  t.after(() => proxy.stop());
  const client = clientOf(t, `ws://127.0.0.1:${near}/ws`);
  const first = follow(client, TOPIC, { from: { last: 300 } });
  await until("live and some bars", () => first.kinds.includes("live") && first.closed.size > 5 && first.token !== null, DEADLINE_MS);
  proxy.cut();
  await until("the loss", () => client.status.state === "reconnecting");
  const cutMs = Math.max(...first.closed.keys());
  const direct = clientOf(t, url);
  const witness = follow(direct, TOPIC, { from: { last: 1 } });
  await until("five seconds of market", () => Math.max(...witness.closed.keys(), 0) > cutMs + 5_000, DEADLINE_MS);
  proxy.mend();
  await until("the bars of the cut", () => first.closed.has(cutMs + 5_000) && isWhole(first.closed), DEADLINE_MS);
  const token = first.token;
  client.close();
  await first.done;

  // Another process goes on from the token that this one kept.
  const second = follow(clientOf(t, url), "kline:1s:COINBASE:BTC-USD", { from: { token } });
  await until("bars after the token", () => second.closed.size >= 3 && second.kinds.includes("live"), DEADLINE_MS);
  await until("no hole", () => isWhole(new Map([...first.closed, ...second.closed])), DEADLINE_MS);
  const endMs = Number(token.split(".")[1]);
  assert.ok([...second.closed.keys()].every((startMs) => startMs >= endMs - 60_000), "not from the beginning");

  const history = new History({ url: http });
  const stored = new Map();
  const fromMs = Math.min(...first.closed.keys());
  for await (const bar of history.bars({ symbol: "BTC-USD", width: "1s", fromMs, toMs: endMs })) stored.set(bar.start_ms, bar);
  const fields = ({ open, high, low, close, volume, count }) => ({ open, high, low, close, volume, count });
  for (const [startMs, bar] of first.closed) {
    if (startMs < endMs) assert.deepEqual(fields(bar), fields(stored.get(startMs)), new Date(startMs).toISOString());
  }
});

test("any width is streamed, by any name, beside feeds and marks", LIMIT, async (t) => {
  const { url, http } = gateway;
  const client = clientOf(t, url);
  const refused = client.stream("kline:1x:BTC-USD");
  await assert.rejects(refused.next(), /bad_topic/);
  const folded = follow(client, "kline:3s:BTC-USD", { from: { last: 5 } });
  const others = follow(client, ["system:feed:*", "boundary:1s", "kline:1s:*"], {});
  await until("bars of three seconds", () => folded.closed.size >= 2 && folded.kinds.includes("live"), DEADLINE_MS);
  await until("feeds and marks", () => ["feed", "boundary", "bar"].every((kind) => others.kinds.includes(kind)), DEADLINE_MS);
  for (const bar of folded.closed.values()) assert.deepEqual([bar.interval, bar.end_ms - bar.start_ms, bar.start_ms % 3_000], ["3s", 3_000, 0]);
  // The wider bar is the exact sum of the shorter ones.
  const startMs = Math.max(...folded.closed.keys());
  let volume = "0";
  for await (const bar of new History({ url: http }).bars({ symbol: "BTC-USD", width: "1s", fromMs: startMs, toMs: startMs + 3_000 })) volume = addDecimals(volume, bar.volume);
  assert.equal(volume, addDecimals(folded.closed.get(startMs).volume, "0"));
  assert.ok((await client.list()).topics.includes(TOPIC));
  assert.equal(client.stats.malformedMessages, 0);
  client.close();
});

test("both adapters draw a real market without a hole", LIMIT, async (t) => {
  const { url, http } = gateway;
  const client = clientOf(t, url);
  const history = new History({ url: http });
  const points = new Map();
  const series = {
    setData: (all) => {
      points.clear();
      for (const point of all) points.set(point.time, point);
    },
    update: (point) => points.set(point.time, point),
  };
  const feed = new ChartFeed({ client, history, topic: TOPIC, series, bars: 50 });
  const isRow = (times) => times.sort((a, b) => a - b).every((time, index) => index === 0 || time === times[index - 1] + 1);
  await until("a row of candles", () => points.size >= 10 && isRow([...points.keys()]), DEADLINE_MS);
  assert.ok([...points.values()].every(({ open, high, low, close }) => high >= Math.max(open, close) && low <= Math.min(open, close)));

  const datafeed = new TradingViewDatafeed({ client, history });
  const symbol = await new Promise((resolve, reject) => datafeed.resolveSymbol("OKX:BTC-USDT", resolve, reject));
  assert.deepEqual([symbol.name, symbol.ticker], ["OKX:BTC-USDT", "OKX:BTC-USDT"]);
  const to = Math.ceil(Date.now() / 1_000) + 60;
  const bars = await new Promise((resolve, reject) => datafeed.getBars(symbol, "1", { from: 0, to, countBack: 300, firstDataRequest: true }, resolve, reject));
  assert.ok(bars.length >= 1, `${bars.length} bars`);
  const ticks = [];
  datafeed.subscribeBars(symbol, "1", (bar) => ticks.push(bar), "guid", () => {});
  await until("ticks", () => ticks.length >= 3, DEADLINE_MS);
  assert.ok(ticks.every(({ time }, index) => time >= (ticks[index - 1]?.time ?? bars.at(-1).time)), "never back in time");
  datafeed.close();
  feed.close();
  client.close();
});

const example = (name) => fileURLToPath(new URL(`../examples/${name}`, import.meta.url));

/** Runs an example to its end and resolves to what it printed. */
function run(file, args, env) {
  const child = spawn(process.execPath, [file, ...args], { env: { ...process.env, ...env }, stdio: ["ignore", "pipe", "pipe"], timeout: 60_000 });
  let [out, errors] = ["", ""];
  child.stdout.on("data", (data) => (out += data));
  child.stderr.on("data", (data) => (errors += data));
  return new Promise((resolve, reject) => child.once("close", (code) => (code === 0 ? resolve({ out, errors }) : reject(new Error(`${file}: ${code}\n${errors}`)))));
}

test("the examples do what they say", LIMIT, async (t) => {
  const { url, http } = gateway;
  const env = { KLINECAST_URL: url, KLINECAST_HTTP_URL: http, COUNT: "3" };
  const live = await run(example("live.mjs"), [], env);
  assert.match(live.out, /^\S+ +(forming|closed) +[\d.]+ +[\d.]+$/m);
  const place = join(tmpdir(), `klinecast-place-${process.pid}.txt`);
  try {
    const first = await run(example("history-then-live.mjs"), [TOPIC, place], env);
    assert.match(first.out, /^\d{4}-\d\d-\d\dT[\d:.]+Z [\d.]+ (past|live) rev \d+ \w+$/m);
    assert.match(await readFile(place, "utf8"), /^k1\.\d+\.\d+$/);
    const second = await run(example("history-then-live.mjs"), [TOPIC, place], env);
    const timesOf = ({ out }) => out.trim().split("\n").map((line) => Date.parse(line.split(" ")[0]));
    const last = Math.max(...timesOf(first));
    assert.ok(timesOf(second).includes(last + 1_000), "the second run goes on where the first one stopped");
  } finally {
    await rm(place, { force: true });
  }
  const stored = await run(example("stored.mjs"), ["BTC-USD", "1m", "24"], env);
  assert.match(stored.out, /^BTC-USD: \d+ bars of 1m, volume [\d.]+$/m);
});

test("the README's first example runs as it is written", LIMIT, async () => {
  const readme = await readFile(new URL("../README.md", import.meta.url), "utf8");
  const block = /## History, then live\n[^]*?```js\n([^]*?)```/.exec(readme);
  assert.ok(block !== null);
  const { url } = gateway;
  // In the package's folder, where its own name and `ws` are found.
  const file = fileURLToPath(new URL(`readme-${process.pid}.mjs`, import.meta.url));
  const code = block[1].replace("ws://127.0.0.1:8080/ws", url).replace("kline:1m:BTC-USD", TOPIC);
  await writeFile(file, `let saved = 0;\nconst save = () => { saved += 1; if (saved === 3) client.close(); };\n${code}`);
  try {
    const { out } = await run(file, [], {});
    assert.match(out, /^\d{13} closed [\d.]+$/m);
    assert.match(out, /^(complete|incomplete: \w+)$/m);
  } finally {
    await rm(file, { force: true });
  }
});

test("the package has no dependencies, and exports what its README imports", async () => {
  const { dependencies, peerDependencies, exports } = createRequire(import.meta.url)("../package.json");
  assert.deepEqual([dependencies, peerDependencies], [undefined, undefined]);
  for (const name of Object.keys(exports).filter((each) => !each.endsWith(".json"))) assert.ok(Object.keys(await import(`klinecast${name.slice(1)}`)).length > 0);
});
