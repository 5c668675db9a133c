/** The messages of the Klinecast client protocol, version 1. docs/protocol.md is the reference. */

/** A decimal number exactly as the gateway sent it, for example `"64120.5"`. */
export type DecimalText = string;

export type BarState = "forming" | "closed";
export type BarQuality = "complete" | "gap" | "backfilled" | "partial" | "filled";

/** The topic of bars, for example `kline:1m:BTC-USD`. */
export type BarTopic = `kline:${string}`;
/** The topic of trades, for example `trade:BTC-USD`. */
export type TradeTopic = `trade:${string}`;
/** The topic of the best bid and ask, for example `quote:BTC-USD`. */
export type QuoteTopic = `quote:${string}`;
/** The topic of the last 24 hours, for example `ticker:BTC-USD`. */
export type TickerTopic = `ticker:${string}`;
/** The topic of an order book, for example `book:BTC-USD`. */
export type BookTopic = `book:${string}`;
/** The topic of a rule's alerts about a symbol, for example `alert:btc-5:BTC-USDT`. */
export type AlertTopic = `alert:${string}`;
/** The topic of the last alert of a level and a type, for example `system:alert:critical:move`. */
export type SystemAlertTopic = `system:alert:${string}`;
/** The topic of the state of an exchange's feed, for example `system:feed:okx`. */
export type FeedTopic = `system:feed:${string}`;
/** The topic of gaps in the exchanges' trade numbers. */
export type GapTopic = `system:service:${string}:gap`;
/** The topic of the marks after the last bar of an interval, for example `boundary:1m`. */
export type BoundaryTopic = `boundary:${string}`;

/** One version of one OHLCV bar. Times with `_ms` are Unix milliseconds, `_us` Unix microseconds. */
export interface Bar {
  readonly topic: BarTopic;
  /** Rises by one per publication of the topic within an epoch; 0 for a bar of the past. */
  readonly seq: number;
  /** Rises with each restart of the publisher; 0 for a bar of the past. Compare it only. */
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
  /** This and the next three are null in a bar of the past whose exchange does not say them. */
  readonly quote_volume: DecimalText | null;
  readonly taker_buy_volume: DecimalText | null;
  readonly taker_buy_quote_volume: DecimalText | null;
  readonly count: number | null;
  readonly first_id: string | null;
  readonly last_id: string | null;
  readonly state: BarState;
  /** 0 at first; one higher each time a closed bar is corrected. */
  readonly rev: number;
  readonly quality: BarQuality;
  readonly event_ms: number | null;
  readonly received_us: number | null;
  readonly published_us: number;
  /** Closed bars of this topic that were conflated away just before this message. */
  readonly skipped?: number;
}

export type AggressorSide = "buy" | "sell";

/** One trade, or an aggregate of one order's trades at one price. Each comes once. */
export interface Trade {
  readonly topic: TradeTopic;
  /** Rises by one per trade of the topic within an epoch. */
  readonly seq: number;
  readonly epoch: number;
  readonly exchange: string;
  readonly symbol: string;
  /** The exchange's numbers of the trades. */
  readonly first_id: string;
  readonly last_id: string;
  readonly price: DecimalText;
  /** In the base currency. */
  readonly quantity: DecimalText;
  /** What the taker did. */
  readonly aggressor_side: AggressorSide;
  readonly event_ms: number;
  readonly received_us: number;
  readonly published_us: number;
  /** Earlier trades of this topic that were not sent. */
  readonly skipped?: number;
}

/** The best bid and ask. Only the newest counts; null where there is none, or the exchange does not say it. */
export interface Quote {
  readonly topic: QuoteTopic;
  readonly seq: number;
  readonly epoch: number;
  readonly exchange: string;
  readonly symbol: string;
  readonly bid: DecimalText | null;
  readonly bid_quantity: DecimalText | null;
  readonly ask: DecimalText | null;
  readonly ask_quantity: DecimalText | null;
  readonly update_id: string | null;
  readonly event_ms: number | null;
  readonly received_us: number;
  readonly published_us: number;
}

/** The last 24 hours, as the exchange counts them. Only the newest counts; null is what the exchange does not say. */
export interface Ticker {
  readonly topic: TickerTopic;
  readonly seq: number;
  readonly epoch: number;
  readonly exchange: string;
  readonly symbol: string;
  /** Where the 24 hours come from: `venue`, and perhaps others later. */
  readonly source: string;
  readonly open: DecimalText | null;
  readonly high: DecimalText | null;
  readonly low: DecimalText | null;
  readonly last: DecimalText;
  readonly last_quantity: DecimalText | null;
  readonly volume: DecimalText;
  readonly quote_volume: DecimalText | null;
  readonly count: number | null;
  readonly first_id: string | null;
  readonly last_id: string | null;
  readonly bid: DecimalText | null;
  readonly bid_quantity: DecimalText | null;
  readonly ask: DecimalText | null;
  readonly ask_quantity: DecimalText | null;
  readonly event_ms: number | null;
  readonly received_us: number;
  readonly published_us: number;
}

/** A price and its quantity. */
export type BookLevel = readonly [price: DecimalText, quantity: DecimalText];

/** The best levels of an order book. Each has all of them, so only the newest counts. */
export interface Book {
  readonly topic: BookTopic;
  readonly seq: number;
  readonly epoch: number;
  readonly exchange: string;
  readonly symbol: string;
  /** `invalid`: there is no book now. Discard the one before. */
  readonly state: "valid" | "invalid";
  /** Why there is none: a reason of the protocol, or `disconnected` from this client; null if there is one. */
  readonly reason: string | null;
  /** The exchange's number of this state, if it has one. */
  readonly update_id: string | null;
  /** The highest price first. */
  readonly bids: readonly BookLevel[];
  /** The lowest price first, above all bids. */
  readonly asks: readonly BookLevel[];
  readonly event_ms: number | null;
  readonly received_us: number | null;
  readonly published_us: number;
}

export type AlertLevel = "info" | "warning" | "critical";
/** What a rule watches. A later protocol version may add types: give a `switch` a `default`. */
export type AlertType = "move" | "cross" | "volume" | "spread" | "gap" | "stale";

/** An alert of one type. */
export interface AlertOf<Type extends AlertType, Direction extends "up" | "down" | "none"> {
  readonly topic: AlertTopic | SystemAlertTopic;
  /** Rises by one per alert of the rule and symbol within an epoch. */
  readonly seq: number;
  /** When the rule was last created or changed. */
  readonly epoch: number;
  readonly exchange: string;
  readonly symbol: string;
  /** The name of the rule. */
  readonly rule: string;
  readonly type: Type;
  readonly level: AlertLevel;
  /** Where the price went, if the rule watches prices. */
  readonly direction: Direction;
  /** The bar in which the rule fired. */
  readonly start_ms: number;
  readonly end_ms: number;
  /** What was measured. */
  readonly value: string;
  /** What it was compared with. */
  readonly reference: string;
  readonly raised_ms: number;
  /** Earlier alerts of this topic that were not sent. */
  readonly skipped?: number;
}

/** An alert, narrowed by its `type`. Each comes once. */
export type Alert =
  | AlertOf<"move", "up" | "down">
  | AlertOf<"cross", "up" | "down">
  | AlertOf<"volume", "none">
  | AlertOf<"spread", "none">
  | AlertOf<"gap", "none">
  | AlertOf<"stale", "none">;

/** What a service says of itself in a topic of alerts, with more fields of its own. */
export interface ServiceAlert {
  readonly topic: SystemAlertTopic;
  readonly service: string;
  readonly timestamp: string;
  readonly [detail: string]: unknown;
}

/** The last alert of a level and a type: of a rule, or of a service (then `service` is there). */
export type SystemAlert = Alert | ServiceAlert;

/** What makes the newest order book of the one before. A level with the quantity `0` is gone. */
export interface BookChanges {
  readonly topic: BookTopic;
  readonly seq: number;
  readonly epoch: number;
  /** `seq` of the book that changes. */
  readonly prev_seq: number;
  readonly exchange: string;
  readonly symbol: string;
  readonly state: "valid";
  readonly reason: null;
  readonly update_id: string | null;
  /** Levels of each side that are followed; null: all. */
  readonly depth: number | null;
  readonly bids: readonly BookLevel[];
  readonly asks: readonly BookLevel[];
  /** CRC-32 of the best ten bids and asks after the changes. */
  readonly checksum: number;
  readonly event_ms: number | null;
  readonly received_us: number | null;
  readonly published_us: number;
}

export type FeedMode = "live" | "sim";
export type FeedState = "live" | "stale" | "reconnecting";

/** Health of one exchange's feed, once a second and at changes. */
export interface FeedStatus {
  readonly topic: FeedTopic;
  readonly exchange: string;
  readonly mode: FeedMode;
  readonly state: FeedState;
  /** Milliseconds since the exchange last sent anything, at `at_ms`. */
  readonly age_ms: number;
  readonly connections: number;
  readonly symbols: number;
  readonly at_ms: number;
  /** Symbols that a connection carries. */
  readonly subscribed?: number;
  /** Symbols that a connection carries and that have not traded for longer than usual. */
  readonly silent?: number;
  /** Who says it. Publishers of different symbols of one exchange share the topic. */
  readonly publisher?: string;
  /** Other publishers of the same symbols. */
  readonly rivals?: number;
  /** Other marketdata that would take over its symbols. */
  readonly standbys?: number;
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
  readonly topic: GapTopic;
  readonly exchange: string;
  readonly symbol: string;
  /** The first and the last missing trade; null if unknown. */
  readonly first_id: string | null;
  readonly last_id: string | null;
  /** The exchange's time of the trade before the gap. */
  readonly from_ms: number;
  /** The exchange's time of the trade after the gap; null while there is none. */
  readonly to_ms: number | null;
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

/** All bars of an interval were published. */
export interface Boundary {
  readonly op: "boundary";
  readonly topic: BoundaryTopic;
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

/** A topic's past ends here; what follows is live. */
export interface Live {
  readonly op: "live";
  readonly topic: string;
  /** Whether all bars came that were asked for. */
  readonly recovered: boolean;
  /** Why bars may be missing: `history`, `gap` or `too_many`. */
  readonly reason?: string;
  /** Intervals between the bars before this message that have no bar, because history has none. */
  readonly missing?: number;
  /** Where the topic continues, on any gateway; absent if it has no closed bar. */
  readonly token?: string;
}

export interface Pong {
  readonly op: "pong";
  readonly id?: number;
}

export type Message =
  | { readonly kind: "bar"; readonly bar: Bar }
  | { readonly kind: "trade"; readonly trade: Trade }
  | { readonly kind: "quote"; readonly quote: Quote }
  | { readonly kind: "ticker"; readonly ticker: Ticker }
  | { readonly kind: "book"; readonly book: Book }
  | { readonly kind: "book_changes"; readonly changes: BookChanges }
  | { readonly kind: "alert"; readonly alert: Alert }
  | { readonly kind: "system_alert"; readonly alert: SystemAlert }
  | { readonly kind: "feed"; readonly feed: FeedStatus }
  | { readonly kind: "gap"; readonly gap: FeedGap }
  | { readonly kind: "ack"; readonly ack: Ack }
  | { readonly kind: "expiring"; readonly expiring: TokenExpiring }
  | { readonly kind: "list"; readonly list: TopicList }
  | { readonly kind: "boundary"; readonly boundary: Boundary }
  | { readonly kind: "skipped"; readonly skipped: Skipped }
  | { readonly kind: "live"; readonly live: Live }
  | { readonly kind: "pong"; readonly pong: Pong }
  | { readonly kind: "error"; readonly error: ProtocolError }
  /** A message of a later protocol version: well formed, not understood. */
  | { readonly kind: "other"; readonly value: Readonly<Record<string, unknown>> }
  | { readonly kind: "malformed"; readonly text: string; readonly why: string };

/** How far back a topic begins: the last bars, a time, or where a client stopped. */
export type From = { readonly last: number } | { readonly ms: number } | { readonly token: string };

/** What a `sub` may ask for besides topics. */
export interface SubscribeOptions {
  /**
   * Closed bars of the past come first, then `live`, then what is newer. From then on the client
   * resumes the topic by token, on any gateway and without a hole. Not for patterns.
   */
  readonly from?: From;
  readonly closedOnly?: boolean;
  /** `"none"` declines the flat bars of intervals without trades. */
  readonly fill?: "none";
  /** Levels of each side of order books; all that are published if it is left out. */
  readonly depth?: 5 | 10 | 20 | 50;
  /** The gateway sends what has changed of order books, in fewer bytes. Events have whole books nevertheless. */
  readonly changes?: boolean;
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
