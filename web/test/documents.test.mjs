/** The examples in documents do what they say. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { makeBar } from "./make-bar.mjs";

const document = (path) => readFile(new URL(`../../${path}`, import.meta.url), "utf8");

/** The first block of `language` in `text`. */
function example(text, language) {
  const block = new RegExp(`\`\`\`${language}\n([^]*?)\`\`\``).exec(text);
  assert.ok(block !== null, `a block of ${language}`);
  return block[1];
}

test("the Python example of the README reads every kind of message", async () => {
  const messages = [
    { op: "ack", id: 1, topics: [] },
    makeBar({ close: "64120.5", state: "closed" }),
    { topic: "system:feed:okx", exchange: "okx", mode: "live", state: "live", age_ms: 3, connections: 1, symbols: 2, at_ms: 5 },
    { topic: "system:service:marketdata:gap", exchange: "okx", symbol: "A-B", first_id: null, last_id: null, from_ms: 1, to_ms: null, state: "open" },
    { op: "boundary", topic: "boundary:1m", interval: "1m", end_ms: 60_000, missing: 0 },
    { op: "skipped", topic: "kline:1s:BTC-USD", skipped: 3 },
    { op: "error", code: "bad_topic", message: "no", topics: [] },
  ];
  const folder = await mkdtemp(join(tmpdir(), "klinecast-example-"));
  try {
    await writeFile(join(folder, "frame.txt"), messages.map((message) => JSON.stringify(message)).join("\n"));
    await writeFile(join(folder, "example.py"), example(await document("README.md"), "python"));
    // In place of the package: a connection that sends the frame and ends.
    await writeFile(
      join(folder, "websockets.py"),
      `
import pathlib

class connect:
    def __init__(self, url):
        self.frames = [pathlib.Path(__file__).with_name("frame.txt").read_text()]
    async def __aenter__(self):
        return self
    async def __aexit__(self, *error):
        return False
    async def send(self, text):
        pass
    def __aiter__(self):
        return self
    async def __anext__(self):
        if not self.frames:
            raise StopAsyncIteration
        return self.frames.pop()
`,
    );
    const run = spawnSync("python3", ["example.py"], { cwd: folder, encoding: "utf8" });
    assert.equal(run.status, 0, run.stderr);
    assert.match(run.stdout, /^BTC-USD closed 64120\.5$/m);
  } finally {
    await rm(folder, { recursive: true });
  }
});

test("the example for lightweight-charts survives bars in any order", async () => {
  const handlers = {};
  const client = { on: (event, handler) => (handlers[event] = handler) };
  const drawn = new Map();
  let newest = -Infinity;
  // The rules of the library, as far as they matter here.
  const series = {
    update: (point, isHistorical = false) => {
      if (point.time < newest && !isHistorical) throw new Error("Cannot update oldest data");
      if (isHistorical && !drawn.has(point.time)) throw new Error("no such point");
      drawn.set(point.time, point.close);
      newest = Math.max(newest, point.time);
    },
    setData: (points) => {
      drawn.clear();
      for (const [index, point] of points.entries()) {
        if (index > 0 && point.time <= points[index - 1].time) throw new Error("not in order of time");
        drawn.set(point.time, point.close);
      }
      newest = Math.max(...points.map(({ time }) => time));
    },
  };
  const [, recipe] = (await document("web/README.md")).split("### With lightweight-charts");
  new Function("client", "series", example(recipe, "js"))(client, series);
  const startMs = 1_700_000_000_000;
  for (const [index, close] of [[0, "1"], [1, "2"], [0, "3"], [4, "4"], [2, "5"], [4, "6"], [2, "7"], [5, "8"]]) {
    handlers.bar(makeBar({ start_ms: startMs + index * 1_000, close }));
  }
  const seen = [...drawn].sort(([a], [b]) => a - b).map(([time, close]) => [time - startMs / 1_000, close]);
  assert.deepEqual(seen, [[0, 3], [1, 2], [2, 7], [4, 6], [5, 8]]);
});
