/** docs/asyncapi.json, the types of this package, its tests and what it sends say the same. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import ts from "typescript";
import { bench } from "./client-bench.mjs";
import { alert, book, makeBar, quote, ticker, trade } from "./samples.mjs";
import { faultsOf, kindsOf, requestsOf, schemas } from "./schema.mjs";

/** The schemas of each interface, and the fields that the client keeps to itself. */
const INTERFACES = {
  Bar: [["bar"]],
  Trade: [["trade"]],
  Quote: [["quote"]],
  Ticker: [["ticker"]],
  Book: [["book"]],
  BookChanges: [["bookChanges"]],
  AlertOf: [["alert", "systemAlert"]],
  FeedStatus: [["feed"]],
  FeedGap: [["gap"]],
  Boundary: [["boundary"], ["published_us"]],
  Skipped: [["skipped"]],
  Live: [["live"]],
  TokenExpiring: [["authExpiring"]],
  TopicList: [["topicList"]],
  Ack: [["ack", "authAck"], ["not_subscribed"]],
  ProtocolError: [["error"]],
  Pong: [["pong"]],
};

const file = fileURLToPath(new URL("../src/messages.ts", import.meta.url));
const program = ts.createProgram([file], { strict: true, target: ts.ScriptTarget.ES2022 });
const checker = program.getTypeChecker();
const exported = new Map(checker.getExportsOfModule(checker.getSymbolAtLocation(program.getSourceFile(file))).map((symbol) => [symbol.name, symbol]));

/** What a type takes, as words: `string`, `"closed"`, `kline:…`, `number`, `null`. */
function wordsOf(type) {
  if (type.flags & ts.TypeFlags.TypeParameter) return wordsOf(checker.getBaseConstraintOfType(type));
  if (type.isUnion()) return type.types.flatMap(wordsOf);
  if (type.isStringLiteral()) return [JSON.stringify(type.value)];
  if (type.flags & ts.TypeFlags.TemplateLiteral) return [`${type.texts[0]}…`];
  if (type.flags & ts.TypeFlags.BooleanLike) return ["boolean"];
  if (type.flags & ts.TypeFlags.Undefined) return [];
  if (checker.isArrayType(type) || checker.isTupleType(type)) return ["array"];
  return [checker.typeToString(type)];
}

/** What a schema permits, in the same words. */
function permitted(schema) {
  const types = [schema.type].flat();
  return types.flatMap((type) => {
    if (type === "integer") return ["number"];
    if (type !== "string") return [type];
    if (schema.const !== undefined) return [JSON.stringify(schema.const)];
    if (schema.enum !== undefined) return schema.enum.map((value) => JSON.stringify(value));
    const begin = /^\^([a-z:]+:)$/.exec(schema.pattern ?? "");
    return begin === null ? ["string"] : [`${begin[1]}…`];
  });
}

const isTaken = (word, words) =>
  words.includes(word) || ((word.startsWith('"') || word.endsWith("…")) && words.some((each) => each === "string" || (each.endsWith("…") && word.replace('"', "").startsWith(each.slice(0, each.indexOf(":") + 1)))));

for (const [name, [kinds, own = []]] of Object.entries(INTERFACES)) {
  test(`the interface ${name} has the fields and types of ${kinds.join(" and ")} in the document`, () => {
    const type = checker.getDeclaredTypeOfSymbol(exported.get(name));
    const fields = new Map(checker.getPropertiesOfType(type).map((field) => [field.name, field]));
    const documented = new Map(kinds.flatMap((kind) => Object.entries(schemas[kind].properties)));
    assert.deepEqual([...fields.keys()].sort(), [...documented.keys()].filter((field) => !own.includes(field)).sort());
    for (const kind of kinds) {
      for (const [field, schema] of Object.entries(schemas[kind].properties)) {
        // An id is the client's own number. Of answers, the client makes lists that are always there.
        if (field === "id" || own.includes(field)) continue;
        const symbol = fields.get(field);
        const words = wordsOf(checker.getTypeOfSymbol(symbol));
        // Alerts are told apart by their types, and there may be more of them later.
        if (name === "AlertOf" && field === "type") continue;
        for (const word of permitted(schema)) assert.ok(isTaken(word, words), `${field}: ${word} is none of ${words}`);
        const isOptional = (symbol.flags & ts.SymbolFlags.Optional) !== 0;
        if (isOptional) assert.ok(kinds.length > 1 || name === "Boundary" || !schemas[kind].required.includes(field), `${field} is always there`);
        else if (!["Ack", "TopicList", "ProtocolError"].includes(name)) assert.ok(schemas[kind].required.includes(field), `${field} may be absent`);
        if (schema.enum !== undefined) assert.deepEqual(words.filter((word) => word !== "string" && !permitted(schema).includes(word)), [], field);
      }
    }
  });
}

test("the samples of the tests are as the document says", () => {
  const samples = { bar: makeBar(), trade: trade(1), quote: quote(1), ticker: ticker(1), book: book(1), alert: alert(1), systemAlert: alert(1, { topic: "system:alert:critical:move" }) };
  for (const [kind, sample] of Object.entries(samples)) {
    assert.deepEqual([kindsOf(sample), faultsOf(schemas[kind], sample)], [[kind], []]);
    assert.deepEqual(kindsOf({ ...sample, later: 1 }), [], "a field that is not documented is seen");
  }
});

test("whatever the client asks is a request of the document", async () => {
  const b = bench({ token: "t", maxRate: 5 });
  b.client.sub(["kline:1m:BTC-USD"], { from: { last: 5 }, closedOnly: true, fill: "none" });
  b.client.sub(["kline:1m:ETH-USD"], { recent: true });
  b.client.sub(["trade:*", "alert:*:*", "system:>"]);
  b.client.sub(["book:*"], { depth: 10, changes: true });
  b.client.connect();
  await b.advance(1);
  b.socket.open();
  b.client.list().catch(() => {});
  b.client.ping().catch(() => {});
  b.client.setMaxRate(null);
  b.socket.receive(trade(1), makeBar({ symbol: "ETH-USD", topic: "kline:1m:ETH-USD" }));
  b.client.unsub(["book:*"]);
  await b.advance(5_000);
  b.socket.drop(1012);
  await b.advance(60_000);
  b.socket.open();
  await b.advance(1_000);
  const kinds = new Set();
  for (const message of b.sockets.flatMap((socket) => socket.sent)) {
    const [kind, ...others] = requestsOf(message);
    assert.ok(kind !== undefined && others.length === 0, JSON.stringify(message));
    kinds.add(kind);
  }
  assert.deepEqual([...kinds].sort(), ["auth", "list", "ping", "rate", "sub", "unsub"]);
});
