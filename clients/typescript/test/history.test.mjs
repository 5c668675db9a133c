/** Stored bars over HTTP, from good servers and bad ones. */
import assert from "node:assert/strict";
import { createServer } from "node:http";
import { test } from "node:test";
import { History, HistoryError } from "../dist/index.js";
import { makeBar } from "./make-bar.mjs";

const START_MS = 1_700_000_000_000;
const bar = (index) => makeBar({ start_ms: START_MS + index * 1_000, epoch: 0, seq: 0, state: "closed" });
const noWait = () => Promise.resolve();

/** Runs `scenario` with a history whose server answers as `answer` says. */
async function withServer(answer, scenario, config = {}) {
  const asked = [];
  const server = createServer((request, response) => {
    asked.push({ url: new URL(request.url, "http://history"), headers: request.headers });
    void answer(response, asked.at(-1).url, asked.length);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  try {
    await scenario(new History({ url: `http://127.0.0.1:${server.address().port}/`, wait: noWait, ...config }), asked);
  } finally {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
}
const json = (response, body, status = 200, headers = {}) => response.writeHead(status, { "content-type": "application/json", ...headers }).end(JSON.stringify(body));
async function all(bars) {
  const starts = [];
  for await (const { start_ms } of bars) starts.push((start_ms - START_MS) / 1_000);
  return starts;
}
const failsWith = (kind) => (error) => error instanceof HistoryError && error.failure.kind === kind;

test("all pages are followed, empty ones too, and the token goes with each", async () => {
  const pages = { null: [[bar(0), bar(1)], "a"], a: [[], "b"], b: [[bar(2)], null] };
  await withServer(
    (response, url) => {
      const [bars, next] = pages[url.searchParams.get("cursor")];
      json(response, { bars, next });
    },
    async (history, asked) => {
      assert.deepEqual(await all(history.bars({ symbol: "OKX:A-B", width: "7m", fromMs: 5, toMs: 9, fill: "none" })), [0, 1, 2]);
      assert.equal(asked[0].url.search, "?symbol=A-B&exchange=okx&width=7m&from=5&to=9&limit=1000&order=asc&fill=none");
      assert.deepEqual(asked.map(({ headers }) => headers.authorization), ["Bearer t", "Bearer t", "Bearer t"]);
    },
    { token: () => Promise.resolve("t") },
  );
});

test("a busy server is asked again after what it says, and a refusal is told at once", async () => {
  const waits = [];
  await withServer(
    (response, _url, count) => (count <= 2 ? json(response, { error: { message: "slower" } }, 429, { "retry-after": "3" }) : json(response, { bars: [bar(0)], next: null })),
    async (history) => assert.deepEqual(await all(history.bars({ symbol: "A-B" })), [0]),
    { wait: (delayMs) => Promise.resolve(waits.push(delayMs)), random: () => 0.5 },
  );
  assert.deepEqual(waits, [3_500, 4_000]);
  await withServer(
    (response) => json(response, { error: { code: "bad_width", message: "write 7m" } }, 400),
    async (history, asked) => {
      await assert.rejects(all(history.bars({ symbol: "A-B" })), /write 7m/);
      assert.equal(asked.length, 1);
    },
  );
});

test("a server that is away is asked a few times only", async () => {
  await withServer(
    (response) => response.destroy(),
    async (history, asked) => {
      await assert.rejects(history.symbols(), failsWith("unreachable"));
      assert.equal(asked.length, 5);
    },
  );
});

test("an answer without end, without bars or without sense is an error, and holds nothing", async () => {
  const flood = (response) => {
    response.writeHead(200);
    const more = () => {
      while (!response.destroyed && response.write("x".repeat(65_536)));
    };
    response.on("drain", more);
    more();
  };
  await withServer(flood, (history) => assert.rejects(history.page({ symbol: "A-B", exchange: null, width: "1m", fromMs: null, toMs: null, limit: 1 }), failsWith("unreadable")), { answerBytesMax: 1_000_000 });
  for (const body of ["", "{", "[]", "null", '{"bars":5}', "<html>"]) {
    await withServer((response) => response.writeHead(200).end(body), (history) => assert.rejects(all(history.bars({ symbol: "A-B" })), failsWith("unreadable")));
  }
  await withServer((response) => json(response, { bars: [], next: "again" }), (history) => assert.rejects(all(history.bars({ symbol: "A-B" })), failsWith("unreadable")));
  await withServer(
    (response, _url, count) => json(response, { bars: [], next: `n${count}` }),
    async (history, asked) => {
      await assert.rejects(all(history.bars({ symbol: "A-B" })), failsWith("unreadable"));
      assert.ok(asked.length <= 102, `${asked.length} questions`);
    },
  );
});

test("a silent server is given up, and a signal ends a question at once", async () => {
  await withServer(() => {}, (history) => assert.rejects(history.page({ symbol: "A-B", exchange: null, width: "1m", fromMs: null, toMs: null, limit: 1 }), failsWith("unreachable")), { timeoutMs: 50 });
  await withServer(
    () => {},
    async (history) => {
      const abort = new AbortController();
      const asked = history.symbols(abort.signal);
      abort.abort(new Error("enough"));
      await assert.rejects(asked, /enough/);
    },
  );
});
