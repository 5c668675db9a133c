/** What a frame's text says. Pure, and safe with any text. */
import { compareDecimals } from "./decimal.js";
import type { Alert, Bar, Book, BookChanges, FeedGap, FeedStatus, Message, Quote, SystemAlert, Ticker, Trade } from "./messages.js";

const DECIMAL = /^-?\d+(\.\d+)?$/;
/** The exchanges' numbers have at most 38 digits. */
const DECIMAL_CHARS_MAX = 64;
const MALFORMED_TEXT_CHARS_MAX = 200;
/** A hostile server must not have the client sort millions of levels. */
const BOOK_LEVELS_MAX = 5_000;
const BAR_DECIMALS = ["open", "high", "low", "close", "volume"] as const;
const BAR_INTEGERS = ["seq", "epoch", "start_ms", "end_ms", "rev"] as const;

/**
 * Splits one frame (JSON objects separated by newlines) into its messages, in order.
 * Never throws: a line that cannot be read becomes a `malformed` message and the others stand.
 */
export function decodeFrame(frame: string): Message[] {
  const messages: Message[] = [];
  // Not by `split`: a frame of newlines would become millions of texts.
  for (let start = 0; start < frame.length; ) {
    const found = frame.indexOf("\n", start);
    const end = found < 0 ? frame.length : found;
    const line = frame.slice(start, end);
    if (line.length > 0 && line.trim() !== "") messages.push(decodeMessage(line));
    start = end + 1;
  }
  return messages;
}

function decodeMessage(line: string): Message {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return malformed(line, "not JSON");
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    return malformed(line, "not a JSON object");
  }
  const fields = value as Record<string, unknown>;
  if (typeof fields["op"] === "string") return decodeReply(fields["op"], fields, line);
  const topic = fields["topic"];
  if (typeof topic !== "string") return malformed(line, "neither op nor topic");
  if (topic.startsWith("kline:")) {
    const why = barFault(fields);
    return why === null ? { kind: "bar", bar: fields as unknown as Bar } : malformed(line, why);
  }
  if (topic.startsWith("trade:")) {
    const why = tradeFault(fields);
    return why === null ? { kind: "trade", trade: fields as unknown as Trade } : malformed(line, why);
  }
  if (topic.startsWith("quote:")) {
    const why = valueFault(fields, [], ["bid", "bid_quantity", "ask", "ask_quantity"]);
    return why === null ? { kind: "quote", quote: fields as unknown as Quote } : malformed(line, why);
  }
  if (topic.startsWith("ticker:")) {
    const why = valueFault(fields, ["last", "volume"], ["open", "high", "low", "quote_volume", "bid", "ask"]);
    return why === null ? { kind: "ticker", ticker: fields as unknown as Ticker } : malformed(line, why);
  }
  if (topic.startsWith("book:") && "prev_seq" in fields) {
    const why = bookChangesFault(fields);
    return why === null ? { kind: "book_changes", changes: fields as unknown as BookChanges } : malformed(line, why);
  }
  if (topic.startsWith("book:")) {
    const why = bookFault(fields);
    return why === null ? { kind: "book", book: fields as unknown as Book } : malformed(line, why);
  }
  if (topic.startsWith("alert:")) {
    const why = alertFault(fields);
    return why === null ? { kind: "alert", alert: fields as unknown as Alert } : malformed(line, why);
  }
  if (topic.startsWith("system:alert:")) {
    const why = typeof fields["service"] === "string" ? null : alertFault(fields);
    return why === null ? { kind: "system_alert", alert: fields as unknown as SystemAlert } : malformed(line, why);
  }
  if (topic.startsWith("system:feed:")) {
    const isReadable = hasTexts(fields, ["exchange", "state"]) && typeof fields["age_ms"] === "number";
    return isReadable ? { kind: "feed", feed: fields as unknown as FeedStatus } : malformed(line, "feed status without exchange, state or age_ms");
  }
  if (topic.startsWith("system:service:") && topic.endsWith(":gap")) {
    const isReadable = hasTexts(fields, ["exchange", "symbol", "state"]);
    return isReadable ? { kind: "gap", gap: fields as unknown as FeedGap } : malformed(line, "gap without exchange, symbol or state");
  }
  return { kind: "other", value: fields };
}

function decodeReply(op: string, fields: Record<string, unknown>, line: string): Message {
  const id = typeof fields["id"] === "number" ? { id: fields["id"] } : {};
  switch (op) {
    case "ack":
      return {
        kind: "ack",
        ack: {
          op,
          ...id,
          topics: strings(fields["topics"]),
          pending: strings(fields["pending"]),
          not_resumed: strings(fields["not_resumed"]),
          ...(typeof fields["expires_ms"] === "number" ? { expires_ms: fields["expires_ms"] } : {}),
          unsubscribed: strings(fields["unsubscribed"]),
        },
      };
    case "auth_expiring":
      return typeof fields["expires_ms"] === "number"
        ? { kind: "expiring", expiring: { op, expires_ms: fields["expires_ms"] } }
        : malformed(line, "auth_expiring without expires_ms");
    case "list":
      return {
        kind: "list",
        list: {
          op,
          ...id,
          subscriptions: strings(fields["subscriptions"]),
          topics: strings(fields["topics"]),
          truncated: fields["truncated"] === true,
        },
      };
    case "pong":
      return { kind: "pong", pong: { op, ...id } };
    case "boundary":
      return typeof fields["interval"] === "string" && typeof fields["end_ms"] === "number"
        ? {
            kind: "boundary",
            boundary: {
              op,
              topic: `boundary:${fields["interval"]}`,
              interval: fields["interval"],
              end_ms: fields["end_ms"],
              ...(typeof fields["bars"] === "number" && { bars: fields["bars"] }),
              ...(typeof fields["missing"] === "number" && { missing: fields["missing"] }),
            },
          }
        : malformed(line, "boundary without interval or end_ms");
    case "live":
      return typeof fields["topic"] === "string" && typeof fields["recovered"] === "boolean"
        ? {
            kind: "live",
            live: {
              op,
              topic: fields["topic"],
              recovered: fields["recovered"],
              ...(typeof fields["reason"] === "string" && { reason: fields["reason"] }),
              ...(isCount(fields["missing"]) && { missing: fields["missing"] }),
              ...(typeof fields["token"] === "string" && { token: fields["token"] }),
            },
          }
        : malformed(line, "live without topic or recovered");
    case "skipped":
      return typeof fields["topic"] === "string" && isCount(fields["skipped"])
        ? { kind: "skipped", skipped: { op, topic: fields["topic"], skipped: fields["skipped"] } }
        : malformed(line, "skipped without topic or number");
    case "error":
      return {
        kind: "error",
        error: {
          op,
          ...id,
          code: typeof fields["code"] === "string" ? fields["code"] : "unknown",
          message: typeof fields["message"] === "string" ? fields["message"] : "",
          topics: strings(fields["topics"]),
        },
      };
    default:
      return { kind: "other", value: fields };
  }
}

/** Why `fields` are no bar; null if they are one. */
export function barFault(fields: Record<string, unknown>): string | null {
  for (const name of BAR_INTEGERS) {
    if (!Number.isSafeInteger(fields[name])) return `bar field ${name} is not an integer`;
  }
  for (const name of BAR_DECIMALS) {
    if (!isDecimal(fields[name])) return `bar field ${name} is not a decimal string`;
  }
  if (typeof fields["symbol"] !== "string" || typeof fields["interval"] !== "string") {
    return "bar without symbol or interval";
  }
  if (fields["state"] !== "forming" && fields["state"] !== "closed") return "bar field state is neither forming nor closed";
  if (fields["skipped"] !== undefined && !isCount(fields["skipped"])) return "bar field skipped is not a number of bars";
  if ((fields["end_ms"] as number) <= (fields["start_ms"] as number)) return "bar ends before it starts";
  return null;
}

/** Why `fields` are no trade; null if they are one. */
/** The latest time that a Date can have, unix ms. */
const TIME_MS_MAX = 8.64e15;

function tradeFault(fields: Record<string, unknown>): string | null {
  for (const name of ["seq", "epoch", "event_ms"]) {
    if (!Number.isSafeInteger(fields[name])) return `trade field ${name} is not an integer`;
  }
  if (Math.abs(fields["event_ms"] as number) > TIME_MS_MAX) return "trade field event_ms is no time";
  for (const name of ["price", "quantity"]) {
    if (!isDecimal(fields[name])) return `trade field ${name} is not a decimal string`;
  }
  if (!hasTexts(fields, ["symbol", "exchange"])) return "trade without symbol or exchange";
  if (fields["aggressor_side"] !== "buy" && fields["aggressor_side"] !== "sell") return "trade field aggressor_side is neither buy nor sell";
  if (fields["skipped"] !== undefined && !isCount(fields["skipped"])) return "trade field skipped is not a number of trades";
  return null;
}

/** Why `fields` are no quote or ticker with these decimals, the latter of which may be null; null if they are. */
function valueFault(fields: Record<string, unknown>, decimals: readonly string[], orNull: readonly string[]): string | null {
  for (const name of ["seq", "epoch"]) {
    if (!Number.isSafeInteger(fields[name])) return `field ${name} is not an integer`;
  }
  const wrong = [...decimals, ...orNull.filter((name) => fields[name] != null)].find((name) => !isDecimal(fields[name]));
  if (wrong !== undefined) return `field ${wrong} is not a decimal string`;
  return hasTexts(fields, ["symbol", "exchange"]) ? null : "neither symbol nor exchange";
}

/** Why `fields` are no alert; null if they are one. */
function alertFault(fields: Record<string, unknown>): string | null {
  const numbers = ["seq", "epoch", "start_ms", "end_ms", "raised_ms"].find((name) => !Number.isSafeInteger(fields[name]));
  if (numbers !== undefined) return `alert field ${numbers} is not an integer`;
  const texts = ["exchange", "symbol", "rule", "type", "level", "value", "reference"].find((name) => typeof fields[name] !== "string");
  if (texts !== undefined) return `alert field ${texts} is not a string`;
  const { direction, skipped } = fields;
  if (direction !== "up" && direction !== "down" && direction !== "none") return "alert field direction is neither up, down nor none";
  return skipped === undefined || isCount(skipped) ? null : "alert field skipped is not a number of alerts";
}

/** Why `fields` are no order book; null if they are one. */
function bookFault(fields: Record<string, unknown>): string | null {
  const why = valueFault(fields, [], []);
  if (why !== null) return why;
  const { state, bids, asks } = fields;
  if (state !== "valid" && state !== "invalid") return "field state is neither valid nor invalid";
  if (!Array.isArray(bids) || !Array.isArray(asks)) return "field bids or asks is not a list";
  const fault = sideFault(bids, 1) ?? sideFault(asks, -1);
  if (fault !== null) return fault;
  if (state === "invalid") return bids.length + asks.length === 0 ? null : "an invalid book has levels";
  const isCrossed = bids.length > 0 && asks.length > 0 && compareDecimals(bids[0][0], asks[0][0]) >= 0;
  return isCrossed ? "the best bid is not below the best ask" : null;
}

/** Why `fields` are no changes of an order book; null if they are. */
function bookChangesFault(fields: Record<string, unknown>): string | null {
  const why = valueFault(fields, [], []);
  if (why !== null) return why;
  const { state, prev_seq, depth, checksum, bids, asks } = fields;
  if (state !== "valid") return "changes of a book that is not valid";
  if (!isCount(prev_seq) || !isCount(checksum)) return "field prev_seq or checksum is no number";
  if (depth !== null && !isCount(depth)) return "field depth is no number";
  if (!Array.isArray(bids) || !Array.isArray(asks)) return "field bids or asks is not a list";
  return sideFault(bids, 1, true) ?? sideFault(asks, -1, true);
}

/** Why these are no levels, the best first; `sign` is 1 where prices fall. Of changes, levels may be gone. */
function sideFault(levels: readonly unknown[], sign: 1 | -1, mayBeGone = false): string | null {
  if (levels.length > BOOK_LEVELS_MAX) return `more than ${BOOK_LEVELS_MAX} levels`;
  let before: string | null = null;
  for (const level of levels) {
    const isLevel = Array.isArray(level) && level.length === 2 && isAboveZero(level[0]) && (isAboveZero(level[1]) || (mayBeGone && level[1] === "0"));
    if (!isLevel) return "a level is not a price and a quantity";
    const price: string = level[0];
    if (before !== null && compareDecimals(before, price) * sign <= 0) return "levels are not in order";
    before = price;
  }
  return null;
}

function isAboveZero(value: unknown): boolean {
  return isDecimal(value) && compareDecimals(value as string, "0") > 0;
}

function isDecimal(value: unknown): boolean {
  return typeof value === "string" && value.length <= DECIMAL_CHARS_MAX && DECIMAL.test(value);
}

function hasTexts(fields: Record<string, unknown>, names: readonly string[]): boolean {
  return names.every((name) => typeof fields[name] === "string");
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function malformed(text: string, why: string): Message {
  return { kind: "malformed", text: text.slice(0, MALFORMED_TEXT_CHARS_MAX), why };
}

function strings(value: unknown): readonly string[] {
  return Array.isArray(value) ? value.filter((item): item is string => typeof item === "string") : [];
}
