/**
 * The stored bars of a made-up market, asked for as the real history is: `/api/v1/bars` and
 * `/api/v1/symbols`. A bar is a function of its times, so every width and every page agree; live bars
 * that were closed take the place of made-up ones.
 */
const UNIT_MS = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000, w: 604_800_000 };
/** 1970-01-05, a Monday. */
const MONDAY_MS = 4 * UNIT_MS.d;

/** Length and origin of a width up to weeks; null if it is none. */
export function widthOf(text) {
  const parts = /^([1-9]\d{0,3})([smhdw])$/.exec(text);
  return parts === null ? null : { lengthMs: Number(parts[1]) * UNIT_MS[parts[2]], originMs: parts[2] === "w" ? MONDAY_MS : 0 };
}

export function startOf({ lengthMs, originMs }, atMs) {
  return Math.floor((atMs - originMs) / lengthMs) * lengthMs + originMs;
}

export class FakeHistory {
  #market;
  #exchangeOf;
  #startMs = Date.now();
  /** Closed bars that were published, and others that a test puts here, by topic and start. */
  #closed = new Map();
  /** How many milliseconds back the store reaches; 0: it is empty. */
  depthMs = 0;
  /** What it answers instead: "absent", "down", or a list of [status, body, headers]. */
  trouble = null;
  /** Bars of these spans are not stored: `{topic, fromMs, toMs}`. */
  lacking = [];
  /** The questions that were answered or refused, as URLs. */
  asked = [];
  /** The most bars of an answer. */
  limitMax = 5_000;
  /** While there is a promise here, answers wait for it. */
  held = null;

  constructor(market, exchangeOf, options = {}) {
    this.#market = market;
    this.#exchangeOf = exchangeOf;
    Object.assign(this, options);
  }

  /** Stores a closed bar, or another version of one. */
  store(bar) {
    if (bar.state !== "closed") return;
    if (!this.#closed.has(bar.topic)) this.#closed.set(bar.topic, new Map());
    this.#closed.get(bar.topic).set(bar.start_ms, bar);
  }

  async serve(request, response) {
    const url = new URL(request.url, "http://history");
    this.asked.push(url);
    if (this.held !== null) await this.held;
    const [status, body, headers = {}] = this.#answer(url);
    response.writeHead(status, { "content-type": typeof body === "string" ? "text/html" : "application/json", ...headers });
    response.end(typeof body === "string" ? body : JSON.stringify(body));
  }

  #answer(url) {
    if (this.trouble === "absent") return [404, "not found"];
    if (this.trouble === "down") return [503, error("unavailable", "history does not answer"), { "retry-after": "1" }];
    if (this.trouble !== null) return this.trouble;
    if (url.pathname === "/api/v1/symbols") return [200, this.#symbols()];
    if (url.pathname === "/api/v1/bars") return this.#bars(url.searchParams);
    return [404, error("not_found", "there are /api/v1/bars and /api/v1/symbols")];
  }

  #symbols() {
    const first_ms = this.#startMs - this.depthMs;
    const widths = ["1s", "1m", "1h", "1d"].map((width) => ({ width, first_ms, last_end_ms: Date.now() }));
    const symbols = Object.keys(this.#market).map((topic_symbol) => ({
      exchange: this.#exchangeOf(topic_symbol),
      symbol: topic_symbol.split(":").pop(),
      topic_symbol,
      widths: this.depthMs > 0 ? widths : [],
    }));
    return { symbols };
  }

  #bars(values) {
    const width = widthOf(values.get("width") ?? "");
    if (width === null) return [400, error("bad_width", "write a width such as 7m, 4h or 1d")];
    const [plain, exchange] = [values.get("symbol"), values.get("exchange")];
    const symbols = Object.keys(this.#market).filter((each) => each.split(":").pop() === plain && (exchange === null || this.#exchangeOf(each) === exchange));
    if (symbols.length === 0) return [404, error("unknown_symbol", `nothing is stored of ${plain}`)];
    if (symbols.length > 1) return [400, error("bad_exchange", "several exchanges have the symbol: write exchange=")];
    const topic = `kline:${values.get("width")}:${symbols[0]}`;
    const number = (name, otherwise) => (values.has(name) ? Number(values.get(name)) : otherwise);
    const limit = Math.min(number("limit", 500), this.limitMax);
    const nowMs = Date.now();
    const firstMs = startOf(width, Math.max(number("from", 0), this.#startMs - this.depthMs) + width.lengthMs - 1);
    // A bar is stored a moment after it has closed.
    const endMs = Math.min(number("to", nowMs), nowMs - 300);
    const bars = [];
    let hasMore = false;
    for (let startMs = startOf(width, endMs - 1); startMs >= firstMs; startMs -= width.lengthMs) {
      if (startMs + width.lengthMs > nowMs - 300 || startMs >= endMs || this.#isLacking(topic, startMs)) continue;
      const bar = this.#closed.get(topic)?.get(startMs) ?? this.#madeUp(topic, symbols[0], startMs, width);
      if (bar === null) continue;
      if (bars.length === limit) {
        hasMore = true;
        break;
      }
      bars.push(bar);
    }
    if (values.get("order") !== "desc") bars.reverse();
    return [200, { exchange: this.#exchangeOf(symbols[0]), symbol: plain, width: values.get("width"), bars, next: hasMore ? "more" : null, token: null }];
  }

  #isLacking(topic, startMs) {
    return this.lacking.some((each) => each.topic === topic && startMs >= each.fromMs && startMs < each.toMs);
  }

  #madeUp(topic, symbol, startMs, { lengthMs }) {
    if (this.depthMs === 0 || startMs < this.#startMs - this.depthMs || startMs > this.#startMs + 1_000) return null;
    const [price, digits] = this.#market[symbol];
    const at = (ms) => {
      const x = (ms - this.#startMs) / 60_000;
      return price * (1 + 0.004 * Math.sin(x / 7) + 0.02 * Math.sin(x / 190) + 0.05 * Math.sin(x / 4_000) + 0.1 * Math.sin(x / 90_000));
    };
    const [open, close] = [at(startMs), at(startMs + lengthMs)];
    const noise = ((startMs / 1_000) * 2_654_435_761) % 1_000 / 1_000;
    const spread = price * 0.0002 * Math.sqrt(lengthMs / 60_000) * (0.5 + noise);
    return {
      topic,
      exchange: this.#exchangeOf(symbol),
      symbol,
      interval: topic.split(":")[1],
      start_ms: startMs,
      end_ms: startMs + lengthMs,
      open: open.toFixed(digits),
      high: (Math.max(open, close) + spread).toFixed(digits),
      low: (Math.min(open, close) - spread).toFixed(digits),
      close: close.toFixed(digits),
      volume: ((0.2 + noise) * (lengthMs / 4_000)).toFixed(4),
      quote_volume: "1",
      taker_buy_volume: "0",
      taker_buy_quote_volume: "0",
      count: 40,
      first_id: "1",
      last_id: "2",
      state: "closed",
      rev: 0,
      quality: "complete",
      event_ms: startMs + lengthMs - 1,
    };
  }
}

function error(code, message) {
  return { error: { code, message } };
}
