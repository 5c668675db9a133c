/** What the client tells its user, and the list of those who listen. */
import type { Clock } from "./client-clock.js";
import type { ConnectionStatus } from "./connection.js";
import type { Ack, Alert, Bar, Book, Boundary, FeedGap, FeedStatus, Live, ProtocolError, Quote, SystemAlert, Ticker, TokenExpiring, Trade } from "./messages.js";

export interface ClientEvents {
  /** The connection's state changed. */
  status: ConnectionStatus;
  /** A bar that is newer than everything known of its interval. */
  bar: Bar;
  /** A trade; each comes once. */
  trade: Trade;
  /** The newest best bid and ask of a symbol. */
  quote: Quote;
  /** The newest 24 hours of a symbol. */
  ticker: Ticker;
  /** The newest order book of a symbol, or that there is none: see its `state`. */
  book: Book;
  /** An alert of a rule; each comes once. */
  alert: Alert;
  /** The last alert of a level and a type, of a rule or of a service. */
  system_alert: SystemAlert;
  feed: FeedStatus;
  gap: FeedGap;
  boundary: Boundary;
  ack: Ack;
  /**
   * Closed bars of a topic that the gateway conflated away for this client. They are older than
   * the bar that starts at `beforeMs`; null if the number came without a bar. `isFetched`: the
   * topic began with `from`, and the client gets them from history. For others see `refetch`.
   */
  skipped: { readonly topic: string; readonly count: number; readonly beforeMs: number | null; readonly isFetched: boolean };
  /** The past of a topic that was asked for with `from` has ended. `topic` is as it was asked for. */
  live: Live;
  /** Topics of which the gateway does not know all that came while the client was away. */
  not_resumed: { readonly topics: readonly string[] };
  /** The gateway says that the token expires soon. With a token function it is being renewed. */
  expiring: TokenExpiring;
  /** All messages of one frame were handed out. */
  frame: { readonly messages: number; readonly receivedAtMs: number };
  /** The gateway refused something, or sent something unreadable. The connection goes on. */
  error: ProtocolError;
  /** A well-formed message of a kind that this version does not know. */
  other: Readonly<Record<string, unknown>>;
}

export type Listener<T> = (value: T) => void;

export class Listeners {
  readonly #clock: Clock;
  readonly #byEvent = new Map<keyof ClientEvents, Set<Listener<never>>>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Calls `listener` at each event; the result removes it. */
  add<K extends keyof ClientEvents>(event: K, listener: Listener<ClientEvents[K]>): () => void {
    let listeners = this.#byEvent.get(event);
    if (listeners === undefined) {
      listeners = new Set();
      this.#byEvent.set(event, listeners);
    }
    listeners.add(listener as Listener<never>);
    return () => listeners.delete(listener as Listener<never>);
  }

  emit<K extends keyof ClientEvents>(event: K, value: ClientEvents[K]): void {
    for (const listener of this.#byEvent.get(event) ?? []) {
      try {
        (listener as Listener<ClientEvents[K]>)(value);
      } catch (error) {
        // A listener's fault must not stop the others, nor be swallowed.
        this.#clock.after(0, () => {
          throw error;
        });
      }
    }
  }
}
