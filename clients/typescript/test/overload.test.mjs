/** Requests that an overloaded gateway refused. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { bench, settle, subsOf } from "./client-bench.mjs";

test("topics that an overloaded gateway refused are asked for again, later each time", async () => {
  const b = bench({ staleAfterMs: 3_600_000 });
  const overloaded = (message) => ({ op: "error", id: message.id, code: "overloaded", message: "ask again in a few seconds" });
  b.client.sub(["kline:1s:A-B", "kline:1m:A-B"]);
  b.client.connect();
  b.socket.open();
  const delaysMs = [4_000, 8_000, 15_000];
  for (const [index, delayMs] of delaysMs.entries()) {
    b.socket.receive(overloaded(subsOf(b.socket).at(-1)));
    await b.advance(delayMs - 1);
    assert.equal(subsOf(b.socket).length, index + 1);
    await b.advance(1);
    assert.deepEqual(subsOf(b.socket).at(-1).topics, ["kline:1s:A-B", "kline:1m:A-B"]);
  }
  assert.deepEqual(b.of("error").map(({ code }) => code), delaysMs.map(() => "overloaded"));

  b.socket.receive({ op: "ack", id: subsOf(b.socket).at(-1).id, topics: [] });
  const before = subsOf(b.socket).length;
  b.client.sub(["kline:1s:C-D"]);
  await settle();
  b.socket.receive(overloaded(subsOf(b.socket).at(-1)));
  b.client.sub(["kline:1s:E-F"]);
  await settle();
  b.client.unsub(["kline:1s:C-D"]);
  b.client.sub(["kline:1s:C-D"], { closedOnly: true });
  await settle();
  await b.advance(4_000);
  assert.deepEqual(
    subsOf(b.socket).slice(before).map(({ id, ...message }) => message),
    [
      { op: "sub", topics: ["kline:1s:C-D"] },
      { op: "sub", topics: ["kline:1s:E-F"] },
      { op: "sub", topics: ["kline:1s:C-D"], closed_only: true },
    ],
  );
  b.socket.receive(overloaded(subsOf(b.socket).at(-1)));
  b.client.close();
  assert.equal(b.taskCount, 0);
});

test("a list that an overloaded gateway refused is asked again until its time is over", async () => {
  const b = bench({ staleAfterMs: 3_600_000, requestTimeoutMs: 10_000 });
  const overloaded = (message) => ({ op: "error", id: message.id, code: "overloaded", message: "ask again in a few seconds" });
  const listsOf = (socket) => socket.sent.filter((message) => message.op === "list");
  b.client.connect();
  b.socket.open();
  const answered = b.client.list();
  b.socket.receive(overloaded(listsOf(b.socket)[0]));
  await b.advance(4_000);
  assert.equal(listsOf(b.socket).length, 2);
  b.socket.receive({ op: "list", id: listsOf(b.socket)[1].id, subscriptions: [], topics: ["kline:1s:A-B"], truncated: false });
  assert.deepEqual((await answered).topics, ["kline:1s:A-B"]);

  const refused = assert.rejects(b.client.list(), /overloaded: ask again/);
  b.socket.receive(overloaded(listsOf(b.socket).at(-1)));
  await b.advance(4_000);
  b.socket.receive(overloaded(listsOf(b.socket).at(-1)));
  await b.advance(6_000);
  await refused;
  await b.advance(60_000);
  assert.equal(listsOf(b.socket).length, 4);
  b.client.close();
  assert.equal(b.taskCount, 0);
});
