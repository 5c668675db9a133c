/** What a stream of topics yields: a union by `kind`, narrowed by the topics that were asked for. */
import type { Alert, AlertTopic, Bar, BarTopic, Book, BookTopic, Boundary, BoundaryTopic, FeedGap, FeedStatus, FeedTopic, GapTopic, Quote, QuoteTopic, SystemAlert, SystemAlertTopic, Ticker, TickerTopic, Trade, TradeTopic } from "./messages.js";

/** A bar: a new forming state, a closed bar, or a revision of one. */
export interface BarEvent {
  readonly kind: "bar";
  readonly topic: string;
  readonly bar: Bar;
  /** Whether it is of the past: `live` has not come yet, or the gateway took it from history. */
  readonly isPast: boolean;
  /**
   * Where to go on after this event, if the stream began with `from`: keep it once the event is
   * worked off. Only live closed bars have one; before `live` the place is not known.
   */
  readonly token: string | null;
}

/** A trade; each comes once, in order. */
export interface TradeEvent {
  readonly kind: "trade";
  readonly topic: TradeTopic;
  readonly trade: Trade;
}

/** The best bid and ask; a newer one replaces one that waits. */
export interface QuoteEvent {
  readonly kind: "quote";
  readonly topic: QuoteTopic;
  readonly quote: Quote;
}

/** The last 24 hours; newer ones replace those that wait. */
export interface TickerEvent {
  readonly kind: "ticker";
  readonly topic: TickerTopic;
  readonly ticker: Ticker;
}

/** The order book, whole. A newer one replaces one that waits. Its `state` says whether there is one. */
export interface BookEvent {
  readonly kind: "book";
  readonly topic: BookTopic;
  readonly book: Book;
}

/** An alert of a rule; each comes once, in order. */
export interface AlertEvent {
  readonly kind: "alert";
  readonly topic: AlertTopic;
  readonly alert: Alert;
}

/** The last alert of a level and a type. It comes again after a reconnect. */
export interface SystemAlertEvent {
  readonly kind: "system_alert";
  readonly topic: SystemAlertTopic;
  readonly alert: SystemAlert;
}

/** The past has ended; what follows is live. */
export interface LiveEvent {
  readonly kind: "live";
  readonly topic: string;
  /** Whether all bars came that were asked for. If not, the client asks again for a while. */
  readonly recovered: boolean;
  readonly reason: string | null;
  /** Intervals between the bars before this event that have no bar, because history has none. */
  readonly missing: number;
  readonly token: string | null;
}

/** The gateway left out closed bars, or trades. With `from` the client fetches them from history. */
export interface SkippedEvent {
  readonly kind: "skipped";
  readonly topic: string;
  readonly count: number;
  /** The bars are older than the one that starts here; null if that is not known. */
  readonly beforeMs: number | null;
  /** Whether the client will ask for them. */
  readonly isFetched: boolean;
}

/** After a reconnect the gateway did not know all that came in between. Only without `from`. */
export interface NotResumedEvent {
  readonly kind: "not_resumed";
  readonly topic: string;
}

export interface FeedEvent {
  readonly kind: "feed";
  readonly topic: FeedTopic;
  readonly feed: FeedStatus;
}

/** Trades are missing at the source, or were found. */
export interface GapEvent {
  readonly kind: "gap";
  readonly topic: GapTopic;
  readonly gap: FeedGap;
}

export interface BoundaryEvent {
  readonly kind: "boundary";
  readonly topic: BoundaryTopic;
  readonly boundary: Boundary;
}

/** The reader was too slow: so many events were left out here, the oldest that waited. */
export interface DroppedEvent {
  readonly kind: "dropped";
  readonly count: number;
}

export type StreamEvent = BarEvent | TradeEvent | QuoteEvent | TickerEvent | BookEvent | AlertEvent | SystemAlertEvent | LiveEvent | SkippedEvent | NotResumedEvent | FeedEvent | GapEvent | BoundaryEvent | DroppedEvent;

type EventOfTopic<T extends string> = T extends BarTopic
  ? BarEvent | LiveEvent | SkippedEvent | NotResumedEvent
  : T extends TradeTopic
    ? TradeEvent | SkippedEvent | NotResumedEvent
    : T extends QuoteTopic
      ? QuoteEvent
      : T extends TickerTopic
        ? TickerEvent
        : T extends BookTopic
          ? BookEvent
          : T extends AlertTopic
            ? AlertEvent | SkippedEvent | NotResumedEvent
            : T extends SystemAlertTopic
              ? SystemAlertEvent
              : T extends FeedTopic
                ? FeedEvent
                : T extends GapTopic
                  ? GapEvent
                  : T extends BoundaryTopic
                    ? BoundaryEvent
                    : StreamEvent;

/** The events that a stream of the topics `T` yields. */
export type EventOf<T extends string> = EventOfTopic<T> | DroppedEvent;
