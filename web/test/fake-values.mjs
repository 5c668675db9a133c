/** The trades, tickers and order books of a fake gateway's market, with their numbers. */
import { crc32 } from "node:zlib";

const LEVELS = 20;
/** Levels of each side that a checksum covers. */
const CHECKSUM_LEVELS = 10;

/** The changes from one valid book of a topic to a later one. */
export function bookChanges(before, after) {
  const best = [...after.bids.slice(0, CHECKSUM_LEVELS), ...after.asks.slice(0, CHECKSUM_LEVELS)];
  return {
    ...after,
    prev_seq: before.seq,
    depth: null,
    bids: sideChanges(before.bids, after.bids, -1),
    asks: sideChanges(before.asks, after.asks, 1),
    checksum: crc32(best.map(([price, quantity]) => `${price}:${quantity},`).join("")),
  };
}

/** The levels that are new or differ, and those that are gone, in the order of their side. */
function sideChanges(before, after, sign) {
  const [old, now] = [new Map(before), new Map(after)];
  const changed = after.filter(([price, quantity]) => old.get(price) !== quantity);
  const gone = before.filter(([price]) => !now.has(price)).map(([price]) => [price, "0"]);
  return [...changed, ...gone].sort(([a], [b]) => sign * (Number(a) - Number(b)));
}

export class FakeValues {
  #exchangeOf;
  #epoch;
  #seq = new Map();
  #trades = 0;
  #opens = new Map();
  /** Why the book of a symbol is invalid, by symbol. */
  bookFaults = {};

  constructor(exchangeOf, epoch) {
    this.#exchangeOf = exchangeOf;
    this.#epoch = epoch;
  }

  trade(symbol, price, quantity, isBuy, more = {}) {
    this.#trades += 1;
    const id = String(this.#trades);
    const fields = { first_id: id, last_id: id, price, quantity, aggressor_side: isBuy ? "buy" : "sell", event_ms: Date.now() };
    return this.#message(`trade:${symbol}`, symbol, { ...fields, ...more });
  }

  ticker(symbol, last) {
    if (!this.#opens.has(symbol)) this.#opens.set(symbol, String(Number(last) * 0.98));
    const open = this.#opens.get(symbol);
    const fields = { source: "venue", open, high: last, low: open, last, last_quantity: "1", volume: "1000", quote_volume: String(1_000 * Number(last)), count: 9, first_id: null, last_id: null, bid: null, bid_quantity: null, ask: null, ask_quantity: null, event_ms: Date.now() };
    return this.#message(`ticker:${symbol}`, symbol, fields);
  }

  /** A book around `price`, one step of its last digit on each side. */
  book(symbol, price, digits) {
    const reason = this.bookFaults[symbol] ?? null;
    const step = 10 ** -digits;
    const side = (sign) => Array.from({ length: LEVELS }, (_, at) => [(Number(price) + sign * (at + 1) * step).toFixed(digits), (0.5 + ((at * 7) % 5)).toFixed(3)]);
    const levels = reason === null ? { bids: side(-1).filter(([each]) => Number(each) > 0), asks: side(1) } : { bids: [], asks: [] };
    return this.#message(`book:${symbol}`, symbol, { state: reason === null ? "valid" : "invalid", reason, update_id: "1", ...levels, event_ms: null });
  }

  #message(topic, symbol, fields) {
    const seq = (this.#seq.get(topic) ?? 0) + 1;
    this.#seq.set(topic, seq);
    const us = Date.now() * 1_000;
    return { topic, seq, epoch: this.#epoch, exchange: this.#exchangeOf(symbol), symbol, received_us: us, published_us: us, ...fields };
  }
}
