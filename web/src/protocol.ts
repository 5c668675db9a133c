/**
 * The Klinecast client protocol, version 1, as values: what a frame may hold
 * and how its text becomes messages. Pure; docs/protocol.md is the reference.
 */

/** A decimal number exactly as the gateway sent it, for example `"64120.5"`. */
export type DecimalText = string;

export type BarState = "forming" | "closed";
export type BarQuality = "complete" | "gap" | "backfilled" | "partial" | "filled";

/** One version of one OHLCV bar. Times with `_ms` are Unix milliseconds, `_us` Unix microseconds. */
export interface Bar {
  readonly topic: string;
  /** Rises by one per publication of the topic within an epoch. */
  readonly seq: number;
  /** Rises with each restart of the publisher. */
  readonly epoch: number;
  /** The venue of its trades, in lower case, for example `binance`. */
  readonly exchange: string;
  readonly symbol: string;
  readonly interval: string;
  readonly start_ms: number;
  readonly end_ms: number;
  readonly open: DecimalText;
  readonly high: DecimalText;
  readonly low: DecimalText;
  readonly close: DecimalText;
  readonly volume: DecimalText;
  readonly quote_volume: DecimalText;
  readonly taker_buy_volume: DecimalText;
  readonly taker_buy_quote_volume: DecimalText;
  readonly count: number;
  readonly first_id: string | null;
  readonly last_id: string | null;
  readonly state: BarState;
  /** 0 at first; one higher each time a closed bar is corrected. */
  readonly rev: number;
  readonly quality: BarQuality;
  readonly event_ms: number;
  readonly received_us: number;
  readonly published_us: number;
  /** Closed bars of this topic that were conflated away just before this message. */
  readonly skipped?: number;
}

export type FeedMode = "live" | "sim";
export type FeedState = "live" | "stale" | "reconnecting";

/** Health of one exchange's feed, once a second and at changes. */
export interface FeedStatus {
  readonly topic: string;
  readonly exchange: string;
  readonly mode: FeedMode;
  readonly state: FeedState;
  /** Milliseconds since the exchange last sent anything, at `at_ms`. */
  readonly age_ms: number;
  readonly connections: number;
  readonly symbols: number;
  readonly at_ms: number;
  /** Who says it. Publishers of different symbols of one exchange share the topic. */
  readonly publisher?: string;
  /** Other publishers of the same symbols. */
  readonly rivals?: number;
  /** Publishers of other symbols that fell silent. */
  readonly lost_publishers?: number;
  /** The first of the symbols that the exchange would not subscribe, and their number. */
  readonly refused?: readonly string[];
  readonly refused_count?: number;
  /** The first of the symbols that the exchange does not have, and their number. */
  readonly unknown?: readonly string[];
  readonly unknown_count?: number;
}

/** Trades known to be missing from one symbol, and whether they were found. */
export interface FeedGap {
  readonly topic: string;
  readonly exchange: string;
  readonly symbol: string;
  readonly first_id: string;
  readonly last_id: string;
  readonly from_ms: number;
  readonly to_ms: number;
  readonly state: "open" | "filled" | "lost";
}

export interface Ack {
  readonly op: "ack";
  readonly id?: number;
  readonly topics: readonly string[];
  /** Topics that do not exist yet; they start when they first appear. */
  readonly pending: readonly string[];
  /** Topics that were asked for from a position on, of which more is missing than the gateway holds. */
  readonly not_resumed: readonly string[];
  /** Answer to a token: when it expires, in milliseconds since 1970. */
  readonly expires_ms?: number;
  /** Answer to a token: what was subscribed and is not permitted any more. */
  readonly unsubscribed: readonly string[];
}

/** The connection's token expires soon. */
export interface TokenExpiring {
  readonly op: "auth_expiring";
  readonly expires_ms: number;
}

export interface TopicList {
  readonly op: "list";
  readonly id?: number;
  readonly subscriptions: readonly string[];
  /** Every topic that the gateway knows, up to its bound. */
  readonly topics: readonly string[];
  /** True if there are more topics than the answer holds. */
  readonly truncated: boolean;
}

export interface Boundary {
  readonly op: "boundary";
  readonly interval: string;
  readonly end_ms: number;
  /** Bars that were published of it. */
  readonly bars?: number;
  /** Symbols whose bar was not waited for any longer. */
  readonly missing?: number;
}

/** Closed bars of a topic that were lost on the way, where no bar could carry the number. */
export interface Skipped {
  readonly op: "skipped";
  readonly topic: string;
  readonly skipped: number;
}

export interface ProtocolError {
  readonly op: "error";
  readonly id?: number;
  readonly code: string;
  readonly message: string;
  /** The topics that it is about, if any. */
  readonly topics: readonly string[];
}

export interface Pong {
  readonly op: "pong";
  readonly id?: number;
}

export type Message =
  | { readonly kind: "bar"; readonly bar: Bar }
  | { readonly kind: "feed"; readonly feed: FeedStatus }
  | { readonly kind: "gap"; readonly gap: FeedGap }
  | { readonly kind: "ack"; readonly ack: Ack }
  | { readonly kind: "expiring"; readonly expiring: TokenExpiring }
  | { readonly kind: "list"; readonly list: TopicList }
  | { readonly kind: "boundary"; readonly boundary: Boundary }
  | { readonly kind: "skipped"; readonly skipped: Skipped }
  | { readonly kind: "pong"; readonly pong: Pong }
  | { readonly kind: "error"; readonly error: ProtocolError }
  /** A message of a later protocol version: well formed, not understood. */
  | { readonly kind: "other"; readonly value: Readonly<Record<string, unknown>> }
  | { readonly kind: "malformed"; readonly text: string; readonly why: string };

/** What a `sub` may ask for besides topics. */
export interface SubscribeOptions {
  readonly closedOnly?: boolean;
  /** `"none"` declines the flat bars of intervals without trades. */
  readonly fill?: "none";
  /** Start with the last closed bars that the gateway still holds (not for patterns). */
  readonly recent?: boolean;
  /** What remains of the subscription while the client is paused (default `"stop"`). */
  readonly whenPaused?: "stop" | "closed_only";
}

/** Where a client stopped reading: the last `seq` of each topic within one epoch. */
export interface ResumePosition {
  readonly epoch: number;
  /** Number of the last publication seen, by topic. */
  readonly seq: Readonly<Record<string, number>>;
  /** End of the last closed bar seen, by topic; before the first, start of the first bar seen. */
  readonly closed_ms?: Readonly<Record<string, number>>;
}

const DECIMAL = /^-?\d+(\.\d+)?$/;
const MALFORMED_TEXT_CHARS_MAX = 200;
const BAR_DECIMALS = ["open", "high", "low", "close", "volume"] as const;
const BAR_INTEGERS = ["seq", "epoch", "start_ms", "end_ms", "rev"] as const;

/**
 * Splits one frame (JSON objects separated by newlines) into its messages, in order.
 * Never throws: a line that cannot be read becomes a `malformed` message and the others stand.
 */
export function decodeFrame(frame: string): Message[] {
  const messages: Message[] = [];
  for (const line of frame.split("\n")) {
    if (line.trim() === "") continue;
    messages.push(decodeMessage(line));
  }
  return messages;
}

/** Whether a topic of the client protocol is a pattern. */
export function isPattern(topic: string): boolean {
  return topic.includes("*") || topic.includes(">");
}

/**
 * Whether `pattern` stands for `topic`: a `*` is any one part, in a bar topic's place of the
 * symbol any symbol (with or without an exchange in front), and a last `>` all that follows.
 */
export function topicMatches(pattern: string, topic: string): boolean {
  if (pattern === topic) return true;
  const wanted = pattern.split(":");
  const parts = topic.split(":");
  for (const [index, want] of wanted.entries()) {
    const part = parts[index];
    const isLast = index === wanted.length - 1;
    if (part === undefined) return false;
    if (isLast && want === ">") return true;
    if (isLast && want === "*" && index === 2 && parts[0] === "kline") return true;
    if (want !== "*" && want !== part) return false;
  }
  return wanted.length === parts.length;
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
  if (topic.startsWith("system:feed:")) {
    const readable =
      typeof fields["exchange"] === "string" &&
      typeof fields["state"] === "string" &&
      typeof fields["age_ms"] === "number";
    return readable
      ? { kind: "feed", feed: fields as unknown as FeedStatus }
      : malformed(line, "feed status without exchange, state or age_ms");
  }
  if (topic.startsWith("system:service:") && topic.endsWith(":gap")) {
    return { kind: "gap", gap: fields as unknown as FeedGap };
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
              interval: fields["interval"],
              end_ms: fields["end_ms"],
              ...(typeof fields["bars"] === "number" && { bars: fields["bars"] }),
              ...(typeof fields["missing"] === "number" && { missing: fields["missing"] }),
            },
          }
        : malformed(line, "boundary without interval or end_ms");
    case "skipped":
      return typeof fields["topic"] === "string" && typeof fields["skipped"] === "number"
        ? { kind: "skipped", skipped: { op, topic: fields["topic"], skipped: fields["skipped"] } }
        : malformed(line, "skipped without topic or number");
    case "error":
      return {
        kind: "error",
        error: {
          op,
          ...id,
          code: String(fields["code"] ?? "unknown"),
          message: String(fields["message"] ?? ""),
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
    const value = fields[name];
    if (typeof value !== "string" || !DECIMAL.test(value)) return `bar field ${name} is not a decimal string`;
  }
  if (typeof fields["symbol"] !== "string" || typeof fields["interval"] !== "string") {
    return "bar without symbol or interval";
  }
  if ((fields["end_ms"] as number) <= (fields["start_ms"] as number)) return "bar ends before it starts";
  return null;
}

function malformed(text: string, why: string): Message {
  return { kind: "malformed", text: text.slice(0, MALFORMED_TEXT_CHARS_MAX), why };
}

function strings(value: unknown): readonly string[] {
  return Array.isArray(value) ? value.filter((item): item is string => typeof item === "string") : [];
}
