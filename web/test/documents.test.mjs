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
