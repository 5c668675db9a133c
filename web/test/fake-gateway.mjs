/**
 * A small gateway for developing and testing the page: speaks the client protocol, serves
 * dist/, makes up a market, and does on command what real ones do on bad days.
 *
 *   node test/fake-gateway.mjs [--port 8090] [--mode live|sim] [--history 120] [--quality-mix] [--stored-days 40]
 */
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { WebSocketServer } from "ws";
import { seededRandom } from "../../clients/typescript/test/seeded-random.mjs";
import { FakeHistory, widthOf } from "./fake-history.mjs";
import { bookChanges, FakeValues } from "./fake-values.mjs";

export { seededRandom };

const DIST = fileURLToPath(new URL("../dist/", import.meta.url));
const TYPES = { html: "text/html; charset=utf-8", js: "text/javascript; charset=utf-8", css: "text/css; charset=utf-8", svg: "image/svg+xml" };
const INTERVALS = { "1s": 1_000, "1m": 60_000, "1h": 3_600_000, "1d": 86_400_000 };
const MARKET = {
  "BTC-USD": [64_120.5, 1],
  "BTC-USDT": [64_131.2, 2],
  "ETH-USD": [3_188.42, 2],
  "ETH-USDT": [3_189.07, 2],
  "SOL-USD": [148.713, 3],
  "XRP-USDT": [0.5231, 4],
  "DOGE-USDT": [0.12345, 5],
  "ADA-USD": [0.4012, 4],
  "AVAX-USD": [27.34, 2],
  "LINK-USDT": [14.207, 3],
  "PEPE-USDT": [0.0000099312, 10],
  "OKX:BTC-USDT": [64_129.8, 1],
  "OKX:ETH-USDT": [3_188.9, 2],
};

/** The exchange that a symbol's trades come from. */
function exchangeOf(symbol) {
  if (symbol.startsWith("OKX:")) return "okx";
  return symbol.endsWith("-USD") ? "coinbase" : "binance";
}

export class FakeGateway {
  #random = seededRandom(7);
  #epoch = Date.now();
  #seq = new Map();
  #forming = new Map();
  #lastClosed = new Map();
  /** The newest line of each topic without bars. */
  #lastValues = new Map();
  /** The newest book of each topic. */
  #books = new Map();
  #prices = new Map(Object.entries(MARKET).map(([symbol, [price]]) => [symbol, price]));
  #sessions = new Set();
  #timers = [];
  #isCut = false;
  #server = null;
  #sockets = null;
  /** Every frame that arrived, parsed, for assertions. */
  received = [];
  framesSent = 0;
  /** Messages of order books that were sent: whole ones, and changes. */
  booksSent = { whole: 0, changes: 0 };
  /** What is made of changes before they are sent: to send wrong ones. */
  bookChangesSent = (changes) => changes;
  mode;
  feedState = "live";
  /** State of single exchanges, where it is not `feedState`. */
  feedStates = {};
  /** Lists of symbols that an exchange refused or does not know, by exchange. */
  unserved = {};
  /** The token that it wants; null: none. */
  token = null;
  /** Whether there is any market: without, there are feeds and no bars. */
  hasMarket = true;
  /** Topics that are known without a bar. */
  extraTopics = [];
  /** Interval that is answered with an error, as one that nobody publishes. */
  unknownInterval = null;
  isFeedSilent = false;
  /** Whether nothing at all is sent, as over a network that is gone. */
  isSilent = false;
  /** Quality of the bars of days. */
  dayQuality = "complete";
  /** Closed bars that a topic starts with where they are asked for. */
  historyBars;
  qualityMix;
  /** What is stored, and asked for over HTTP. */
  history;
  /** Rules of alerts over HTTP; null: the program does not run. */
  rules = null;
  /** Trades, tickers and order books. */
  values = new FakeValues(exchangeOf, this.#epoch);
  /** Whether it publishes bars of any width, or refuses those that it does not have. */
  hasAnyWidth = false;

  constructor({ mode = "live", historyBars = 0, qualityMix = false, stored = {}, history = null, ...rest } = {}) {
    Object.assign(this, rest);
    this.history = history ?? new FakeHistory(MARKET, exchangeOf, stored);
    this.mode = mode;
    this.historyBars = historyBars;
    this.qualityMix = qualityMix;
  }

  get sessionCount() {
    return this.#sessions.size;
  }

  /** Listens on `port` (0: a free one) and resolves to the port. */
  async start(port = 0) {
    this.#server = createServer((request, response) => void this.#serve(request, response));
    this.#sockets = new WebSocketServer({ server: this.#server, path: "/ws" });
    this.#server.on("connection", (socket) => this.#isCut && socket.destroy());
    this.#sockets.on("connection", (socket) => this.#connect(socket));
    await new Promise((resolve, reject) => this.#server.once("error", reject).listen(port, "127.0.0.1", resolve));
    this.#timers = [setInterval(() => this.#trade(), 100), setInterval(() => this.sendFeeds(), 1_000)];
    return this.#server.address().port;
  }

  /** Cuts every connection and stops listening, as a killed process would. */
  async kill() {
    for (const timer of this.#timers) clearInterval(timer);
    for (const { socket } of this.#sessions) socket.terminate();
    this.#sessions.clear();
    this.#sockets.close();
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  /** Cuts the network: nothing arrives, while the market goes on. */
  cut() {
    this.#isCut = true;
    for (const { socket } of this.#sessions) socket.terminate();
    this.#server.closeAllConnections();
  }

  /** Mends the network. */
  mend() {
    this.#isCut = false;
  }

  /** Closes every connection with `code`, as a draining gateway does with 1012. */
  closeAll(code, reason = "") {
    for (const { socket } of this.#sessions) socket.close(code, reason);
  }

  /** Publishes `bar` (missing fields are made up) to whoever subscribed its topic. */
  publish(bar) {
    const full = this.bar(bar);
    this.history.store(full);
    this.#broadcast(full.topic, JSON.stringify(full), full.state === "closed");
    return full;
  }

  /** The last closed bar of a topic. */
  lastClosed(topic) {
    return this.#lastClosed.get(topic);
  }

  forming(topic) {
    return this.#forming.get(topic);
  }

  sendFeeds() {
    if (this.isFeedSilent) return;
    for (const [exchange, symbols] of [["binance", 5], ["coinbase", 5], ["okx", 2]]) {
      const topic = `system:feed:${exchange}`;
      this.#broadcast(topic, JSON.stringify(this.#feed(topic, exchange, symbols)), true);
    }
  }

  sendRaw(text) {
    for (const { socket } of this.#sessions) socket.send(text);
  }

  bar(fields) {
    const topic = `kline:${fields.interval}:${fields.symbol}`;
    const seq = (this.#seq.get(topic) ?? 0) + 1;
    this.#seq.set(topic, seq);
    const nowMs = Date.now();
    return {
      topic,
      seq,
      epoch: this.#epoch,
      exchange: exchangeOf(fields.symbol),
      quote_volume: text(Number(fields.volume) * Number(fields.close), 4),
      taker_buy_volume: "0",
      taker_buy_quote_volume: "0",
      count: 1,
      first_id: "1",
      last_id: "1",
      state: "forming",
      rev: 0,
      quality: "complete",
      event_ms: nowMs,
      received_us: nowMs * 1_000,
      published_us: nowMs * 1_000,
      end_ms: fields.start_ms + INTERVALS[fields.interval],
      ...fields,
    };
  }

  /** Publishes lines to whoever subscribed `topic`, in one frame and unchanged. */
  publishLines(topic, bars) {
    this.#broadcast(topic, bars.map((bar) => JSON.stringify(bar)).join("\n"), true);
  }

  async #serve(request, response) {
    if (this.rules !== null && /^\/api\/v1\/(rules|alerts)\b/.test(request.url)) return this.rules.serve(request, response);
    if (request.url.startsWith("/api/")) return this.history.serve(request, response);
    const name = request.url.split("?")[0] === "/" ? "index.html" : request.url.split("?")[0].slice(1);
    try {
      if (!/^[\w.-]+$/.test(name)) throw new Error("no such file");
      const body = await readFile(DIST + name);
      response.writeHead(200, { "content-type": TYPES[name.split(".").pop()] ?? "application/octet-stream", "cache-control": "no-store" });
      response.end(body);
    } catch {
      response.writeHead(404).end("not found");
    }
  }

  #connect(socket) {
    const session = { socket, subscriptions: new Map(), books: new Map(), isAllowed: this.token === null };
    this.#sessions.add(session);
    socket.on("close", () => this.#sessions.delete(session));
    socket.on("error", () => {});
    socket.on("message", (data) => {
      const message = JSON.parse(data.toString());
      this.received.push(message);
      this.#answer(session, message);
    });
  }

  #answer(session, message) {
    const { id } = message;
    if (message.op === "auth") {
      session.isAllowed = message.token === this.token;
      const answer = session.isAllowed ? { op: "ack", id, expires_ms: Date.now() + 3_600_000 } : { op: "error", id, code: "invalid_token", message: "the token is not valid" };
      this.#send(session, JSON.stringify(answer));
      return;
    }
    if (!session.isAllowed) {
      this.#send(session, JSON.stringify({ op: "error", id, code: "auth_required", message: "send a valid token first", topics: message.topics }));
      return;
    }
    switch (message.op) {
      case "sub": {
        const unknown = message.topics.filter((topic) => this.#isUnknown(topic.split(":")));
        message.topics = message.topics.filter((topic) => !unknown.includes(topic));
        if (unknown.length > 0) {
          this.#send(session, JSON.stringify({ op: "error", id, code: "bad_topic", message: "there are no such bars; there are 1s 1m 1h 1d", topics: unknown }));
        }
        const strange = Object.keys(message.since?.seq ?? {}).filter((topic) => topic.startsWith("kline:") && INTERVALS[topic.split(":")[1]] === undefined);
        if (strange.length > 0) {
          this.#send(session, JSON.stringify({ op: "error", id, code: "bad_option", message: `since has the place of each topic, and '${strange[0]}' is none` }));
          return;
        }
        for (const topic of message.topics) session.subscriptions.set(topic, { closedOnly: message.closed_only === true, changes: message.changes === true });
        const known = this.topics();
        const published = known.filter((topic) => !this.extraTopics.includes(topic));
        const matched = published.filter((topic) => message.topics.some((pattern) => matches(pattern, topic)));
        this.#send(session, JSON.stringify({ op: "ack", id, topics: message.topics, pending: message.topics.filter((topic) => !topic.includes("*") && !known.includes(topic)) }));
        this.#send(session, matched.flatMap((topic) => this.#snapshot(topic, message)).join("\n"));
        for (const topic of matched) {
          if (this.#books.has(topic)) this.booksSent.whole += 1;
          session.books.set(topic, this.#books.get(topic));
        }
        return;
      }
      case "unsub":
        for (const topic of message.topics) session.subscriptions.delete(topic);
        this.#send(session, JSON.stringify({ op: "ack", id, topics: message.topics }));
        return;
      case "list":
        this.#send(session, JSON.stringify({ op: "list", id, subscriptions: [...session.subscriptions.keys()], topics: this.topics() }));
        return;
      case "ping":
        this.#send(session, JSON.stringify({ op: "pong", id }));
        return;
      default:
        this.#send(session, JSON.stringify({ op: "error", id, code: "unknown_op", message: `unknown op ${message.op}` }));
    }
  }

  #isUnknown([channel, interval]) {
    if (interval === this.unknownInterval) return true;
    if (channel !== "kline" || INTERVALS[interval] !== undefined) return false;
    return !this.hasAnyWidth || widthOf(interval) === null;
  }

  topics() {
    const bars = !this.hasMarket ? [] : Object.keys(MARKET).flatMap((symbol) => Object.keys(INTERVALS).filter((interval) => interval !== this.unknownInterval).map((interval) => `kline:${interval}:${symbol}`));
    const values = !this.hasMarket ? [] : Object.keys(MARKET).flatMap((symbol) => [`trade:${symbol}`, `ticker:${symbol}`, `book:${symbol}`]);
    return [...bars, ...values, ...this.extraTopics, "system:feed:binance", "system:feed:coinbase", "system:feed:okx"];
  }

  #snapshot(topic, message) {
    if (topic.startsWith("system:feed:")) return [JSON.stringify(this.#feed(topic, topic.split(":")[2], 5))];
    const last = this.#lastValues.get(topic);
    if (last !== undefined) return [last];
    const lines = [];
    // A resumed topic gets nothing made up: its history is with the client already.
    const isResumed = message.since?.epoch > 0 && message.since.seq[topic] !== undefined;
    if (this.historyBars > 0 && !isResumed) lines.push(...this.#history(topic));
    const closed = this.#lastClosed.get(topic);
    const forming = this.#forming.get(topic);
    if (closed !== undefined) lines.push(JSON.stringify(closed));
    if (forming !== undefined && message.closed_only !== true) lines.push(JSON.stringify(forming));
    return lines;
  }

  #history(topic) {
    const [, interval, ...rest] = topic.split(":");
    const symbol = rest.join(":");
    const lengthMs = INTERVALS[interval];
    const digits = MARKET[symbol][1];
    const firstMs = (this.#forming.get(topic)?.start_ms ?? Math.floor(Date.now() / lengthMs) * lengthMs) - lengthMs;
    const swing = this.#prices.get(symbol) * 0.00025 * Math.sqrt(lengthMs / 1_000) * 0.6;
    let close = Number(this.#forming.get(topic)?.open ?? this.#prices.get(symbol));
    const lines = [];
    for (let index = 0; index < this.historyBars; index += 1) {
      const open = Math.max(close - (this.#random() - 0.49) * swing * 2, close * 0.5);
      const high = Math.max(open, close) + this.#random() * swing * 0.7;
      const low = Math.min(open, close) - this.#random() * swing * 0.7;
      const draw = this.#random();
      const quality = !this.qualityMix ? "complete" : draw < 0.04 ? "gap" : draw < 0.06 ? "partial" : draw < 0.12 ? "filled" : "complete";
      const flat = quality === "filled";
      lines.push(
        this.bar({
          symbol,
          interval,
          start_ms: firstMs - index * lengthMs,
          open: text(flat ? close : open, digits),
          high: text(flat ? close : high, digits),
          low: text(flat ? close : low, digits),
          close: text(close, digits),
          volume: flat ? "0" : text(((0.2 + this.#random() ** 3 * 3) * lengthMs) / 4_000, 4),
          count: flat ? 0 : 40,
          first_id: flat ? null : "1",
          last_id: flat ? null : "2",
          state: "closed",
          quality,
        }),
      );
      if (!flat) close = open;
    }
    return lines.reverse().map((bar) => JSON.stringify(bar));
  }

  #feed(topic, exchange, symbols) {
    const state = this.feedStates[exchange] ?? this.feedState;
    return {
      topic,
      exchange,
      mode: this.mode,
      state,
      age_ms: state === "live" ? Math.floor(this.#random() * 400) : 42_000,
      connections: 1,
      symbols,
      at_ms: Date.now(),
      ...this.unserved[exchange],
    };
  }

  #trade() {
    if (!this.hasMarket) return;
    const nowMs = Date.now();
    for (const [symbol, [, digits]] of Object.entries(MARKET)) {
      const hasTrade = this.#random() < 0.6 && symbol !== "ADA-USD";
      const price = this.#prices.get(symbol) * (1 + (hasTrade ? (this.#random() - 0.5) * 0.0005 : 0));
      this.#prices.set(symbol, price);
      const quantity = hasTrade ? this.#random() * 0.4 : 0;
      this.#publishValues(symbol, text(price, digits), quantity, digits);
      for (const [interval, lengthMs] of Object.entries(INTERVALS)) {
        this.#fold(symbol, interval, Math.floor(nowMs / lengthMs) * lengthMs, text(price, digits), quantity);
      }
    }
  }

  #publishValues(symbol, price, quantity, digits) {
    if (quantity > 0) this.publishValue(this.values.trade(symbol, price, text(quantity, 4), quantity > 0.2));
    this.publishValue(this.values.ticker(symbol, price));
    this.publishValue(this.values.book(symbol, price, digits));
  }

  /** Publishes a trade, ticker, book or alert to whoever subscribed its topic. */
  publishValue(value) {
    const line = JSON.stringify(value);
    this.#lastValues.set(value.topic, line);
    if (value.topic.startsWith("book:")) this.#sendBook(value, line);
    else this.#broadcast(value.topic, line, true);
  }

  /** Sends a book to whoever subscribed it: whole, or as changes of the book that the session has. */
  #sendBook(book, line) {
    this.#books.set(book.topic, book);
    for (const session of this.#sessions) {
      const subscription = [...session.subscriptions].find(([pattern]) => matches(pattern, book.topic));
      if (subscription === undefined) continue;
      const before = session.books.get(book.topic);
      session.books.set(book.topic, book);
      const hasChanges = subscription[1].changes && before?.state === "valid" && book.state === "valid";
      this.booksSent[hasChanges ? "changes" : "whole"] += 1;
      this.#send(session, hasChanges ? JSON.stringify(this.bookChangesSent(bookChanges(before, book))) : line);
    }
  }

  #fold(symbol, interval, startMs, price, quantity) {
    const topic = `kline:${interval}:${symbol}`;
    const before = this.#forming.get(topic);
    const isSame = before?.start_ms === startMs;
    if (before !== undefined && !isSame) {
      // The closed bar comes after the next one has begun, as from the real publisher.
      const closed = { ...before, state: "closed" };
      setTimeout(() => this.#lastClosed.set(topic, this.publish({ ...closed, seq: (this.#seq.get(topic) ?? 0) + 1 })), 300).unref();
    }
    if (isSame && quantity === 0) return;
    const base = isSame ? before : interval === "1d" ? { open: text(Number(price) * 0.985, MARKET[symbol][1]), high: price, low: price, volume: "1240.5", count: 0 } : { open: price, high: price, low: price, volume: "0", count: 0 };
    const bar = this.publish({
      symbol,
      interval,
      start_ms: startMs,
      open: base.open,
      high: Number(price) > Number(base.high) ? price : base.high,
      low: Number(price) < Math.min(Number(base.low), Number(base.open)) ? price : Number(base.low) < Number(base.open) ? base.low : base.open,
      close: price,
      volume: text(Number(base.volume) + quantity, 4),
      count: base.count + (quantity > 0 ? 1 : 0),
      quality: interval === "1d" ? this.dayQuality : "complete",
    });
    this.#forming.set(topic, bar);
  }

  #broadcast(topic, line, isClosed) {
    for (const session of this.#sessions) {
      const wanted = [...session.subscriptions].some(([pattern, { closedOnly }]) => matches(pattern, topic) && (isClosed || !closedOnly));
      if (wanted) this.#send(session, line);
    }
  }

  /** Joins what comes within a few milliseconds into one frame, as the gateway does. */
  #send(session, line) {
    if (line === "") return;
    if (session.batch !== undefined) {
      session.batch.push(line);
      return;
    }
    session.batch = [line];
    setTimeout(() => {
      const frame = session.batch.join("\n");
      session.batch = undefined;
      if (this.isSilent || session.socket.readyState !== session.socket.OPEN) return;
      this.framesSent += 1;
      session.socket.send(frame);
    }, 5);
  }
}

function text(value, digits) {
  const fixed = value.toFixed(digits);
  return fixed.includes(".") ? fixed.replace(/\.?0+$/, "") : fixed;
}

function matches(pattern, topic) {
  if (pattern === topic) return true;
  if (pattern.endsWith(":>")) return topic.startsWith(pattern.slice(0, -1));
  return pattern.endsWith(":*") && topic.startsWith(pattern.slice(0, -1));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { values } = parseArgs({
    options: { port: { type: "string", default: "8090" }, mode: { type: "string", default: "sim" }, history: { type: "string", default: "0" }, "quality-mix": { type: "boolean", default: false }, "stored-days": { type: "string", default: "40" } },
  });
  const gateway = new FakeGateway({ mode: values.mode, historyBars: Number(values.history), qualityMix: values["quality-mix"], stored: { depthMs: Number(values["stored-days"]) * 86_400_000 } });
  const port = await gateway.start(Number(values.port));
  console.log(`fake gateway: http://127.0.0.1:${port}/`);
}
