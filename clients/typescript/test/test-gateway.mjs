/**
 * A small gateway for tests: it speaks the client protocol for bars, with `since` and `from`, publishes
 * when it is told to, and can misbehave. The tests beside a real gateway are in real-gateway.test.mjs.
 */
import { createServer } from "node:http";
import { WebSocketServer } from "ws";
import { topicMatches } from "../dist/index.js";
import { makeBar } from "./make-bar.mjs";

export const START_MS = 1_700_000_000_000;

export class TestGateway {
  #server = null;
  #sockets = null;
  #sessions = new Set();
  #timer = null;
  #seq = 0;
  /** Every request that arrived, parsed. */
  received = [];
  /** The newest version of each bar by topic and start: what a client must end with. */
  truth = new Map();
  epoch;

  constructor({ epoch = 1, truth } = {}) {
    this.epoch = epoch;
    if (truth !== undefined) this.truth = truth;
  }

  get sessionCount() {
    return this.#sessions.size;
  }

  async start(port = 0) {
    this.#server = createServer((request, response) => response.writeHead(404).end());
    this.#sockets = new WebSocketServer({ server: this.#server, path: "/ws" });
    this.#sockets.on("connection", (socket) => {
      const session = { socket, wanted: new Map() };
      this.#sessions.add(session);
      socket.on("close", () => this.#sessions.delete(session));
      socket.on("error", () => {});
      socket.on("message", (data) => this.#answer(session, JSON.parse(data.toString())));
    });
    await new Promise((resolve, reject) => this.#server.once("error", reject).listen(port, "127.0.0.1", resolve));
    return this.#server.address().port;
  }

  /** Publishes a bar of these topics again and again, as a market does. */
  run(topics, intervalMs = 10) {
    let index = 0;
    this.#timer = setInterval(() => {
      for (const topic of topics) {
        this.publish(bar(topic, index, { state: "closed" }));
        this.publish(bar(topic, index + 1));
      }
      index += 1;
    }, intervalMs);
  }

  async kill() {
    clearInterval(this.#timer);
    for (const { socket } of this.#sessions) socket.terminate();
    this.#sockets.close();
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  closeAll(code, reason = "") {
    for (const { socket } of this.#sessions) socket.close(code, reason);
  }

  /** Stores `fields` as the newest version of its bar, and sends it to whoever wants it. */
  publish(fields) {
    this.#seq += 1;
    const full = { ...fields, epoch: this.epoch, seq: this.#seq };
    const topic = this.#barsOf(full.topic);
    const known = topic.get(full.start_ms);
    if (known?.state !== "closed" || full.rev > known.rev) topic.set(full.start_ms, full);
    for (const session of this.#sessions) if (this.#isWanted(session, full.topic)) session.socket.send(JSON.stringify(full));
    return full;
  }

  sendRaw(data) {
    for (const { socket } of this.#sessions) socket.send(data);
  }

  closedOf(topic) {
    return [...this.#barsOf(topic).values()].filter(({ state }) => state === "closed").sort((a, b) => a.start_ms - b.start_ms);
  }

  #barsOf(topic) {
    if (!this.truth.has(topic)) this.truth.set(topic, new Map());
    return this.truth.get(topic);
  }

  #isWanted(session, topic) {
    for (const [pattern, isLive] of session.wanted) if (isLive && topicMatches(pattern, topic)) return true;
    return false;
  }

  #answer(session, request) {
    this.received.push(request);
    const { id, op, topics = [], since, from } = request;
    const send = (...messages) => session.socket.send(messages.map((message) => JSON.stringify(message)).join("\n"));
    switch (op) {
      case "sub": {
        for (const topic of topics) session.wanted.set(topic, true);
        send({ op: "ack", id, topics });
        for (const topic of this.truth.keys()) {
          if (!topics.some((pattern) => topicMatches(pattern, topic))) continue;
          const forming = [...this.#barsOf(topic).values()].filter(({ state }) => state === "forming").slice(-1);
          if (from !== undefined) {
            const past = this.#past(topic, from);
            const token = this.closedOf(topic).at(-1);
            send(...past, { op: "live", topic, recovered: true, ...(token && { token: `k1.${token.end_ms}.${Math.floor(token.published_us / 1_000)}` }) }, ...forming);
          } else {
            const closedMs = since?.closed_ms?.[topic] ?? Number.POSITIVE_INFINITY;
            send(...this.closedOf(topic).filter(({ end_ms }) => end_ms > closedMs), ...forming);
          }
        }
        return;
      }
      case "unsub":
        for (const topic of topics) session.wanted.delete(topic);
        return send({ op: "ack", id, topics });
      case "list":
        return send({ op: "list", id, subscriptions: [...session.wanted.keys()], topics: [...this.truth.keys()] });
      case "ping":
        return send({ op: "pong", id });
      default:
        return send({ op: "error", id, code: "unknown_op", message: `unknown op ${op}` });
    }
  }

  #past(topic, from) {
    const closed = this.closedOf(topic).map((each) => ({ ...each, epoch: 0, seq: 0 }));
    if (from.last !== undefined) return closed.slice(-from.last);
    if (from.ms !== undefined) return closed.filter(({ start_ms }) => start_ms >= from.ms);
    const [, endMs, knownMs] = from.token.split(".").map(Number);
    return closed.filter(({ end_ms, published_us }) => end_ms > endMs || published_us / 1_000 >= knownMs + 1);
  }
}

/** A bar of `topic`, the one with this index from START_MS on. */
export function bar(topic, index, fields = {}) {
  const [, interval, ...symbol] = topic.split(":");
  const start_ms = START_MS + index * 1_000;
  return makeBar({ interval, symbol: symbol.join(":"), topic, start_ms, ...fields });
}

/** Waits until `condition` holds. */
export async function until(what, condition, deadlineMs = 20_000) {
  const endMs = Date.now() + deadlineMs;
  while (!condition()) {
    if (Date.now() > endMs) throw new Error(`waited in vain for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
