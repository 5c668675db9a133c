/** What a client is told when it is made, and what it counts. */
import type { BarVersionsConfig } from "./bar-versions.js";
import type { Clock } from "./client-clock.js";
import type { SubscribeOptions } from "./messages.js";
import type { HealingConfig } from "./pasts.js";
import type { BackoffConfig } from "./reconnect.js";
import type { TokenSource } from "./token-keeper.js";

/** The longest frame that is read unless the configuration says otherwise, in characters. */
export const FRAME_CHARS_MAX = 16 * 2 ** 20;
/** After so many unreadable messages in a row the server is taken for another kind of server. */
export const MALFORMED_IN_A_ROW_MAX = 100;

export interface ClientConfig {
  readonly url: string;
  /** Default: the global `WebSocket`. In Node 20 pass the class of the `ws` package. */
  readonly WebSocket?: unknown;
  /**
   * Sent as `{"op":"auth"}` before anything else. A function is called before each connection and
   * again before the token expires, so that connections outlive tokens.
   */
  readonly token?: TokenSource;
  /** How long before its expiry a token is renewed (default 60 s). */
  readonly tokenRefreshBeforeMs?: number;
  /** Most frames a second that the gateway is to send on this connection; more arrives in each. */
  readonly maxRate?: number;
  /** Without any frame for this long (a ping of ours included) the connection is dead (default 15 s). */
  readonly staleAfterMs?: number;
  /** A connection that is not open after this long is given up (default 10 s). */
  readonly connectTimeoutMs?: number;
  /** A connection must have lasted this long before backoff starts over (default 10 s). */
  readonly stableAfterMs?: number;
  /** `list` and `ping` reject after this long (default 10 s). */
  readonly requestTimeoutMs?: number;
  readonly backoff?: BackoffConfig;
  readonly versions?: BarVersionsConfig;
  /** Most topics and patterns that may be wanted at once (default 1,000, as a gateway's). */
  readonly subscriptionsMax?: number;
  /** When bars that are lacking in a topic with `from` are asked for again. */
  readonly healing?: HealingConfig;
  /** A longer frame ends the connection (default 16 Mi characters; a gateway's have about 512 Ki). */
  readonly frameCharsMax?: number;
  readonly clock?: Clock;
  /** Uniform in [0, 1). */
  readonly random?: () => number;
}

export interface ClientStats {
  frames: number;
  messages: number;
  bars: number;
  /** Bar messages that were not newer than what was known. */
  repeatedBars: number;
  /** Trades, quotes, tickers and order books. */
  values: number;
  /** Trades, quotes, tickers and order books that were not newer than the one before. */
  repeatedValues: number;
  malformedMessages: number;
  /** Messages about topics that nobody wants, or no longer. */
  unaskedMessages: number;
  /** Events that readers of streams were too slow for. */
  droppedEvents: number;
  connections: number;
}

export function newStats(): ClientStats {
  return {
    frames: 0,
    messages: 0,
    bars: 0,
    repeatedBars: 0,
    values: 0,
    repeatedValues: 0,
    malformedMessages: 0,
    unaskedMessages: 0,
    droppedEvents: 0,
    connections: 0,
  };
}

export interface StreamOptions extends SubscribeOptions {
  /** Most events that wait for the reader (default 10,000). Newer forming bars replace older ones. */
  readonly bufferMax?: number;
  /** Ends the stream. */
  readonly signal?: AbortSignal;
}

/** Why a stream ended: the gateway refused its topics, or the client gave up. */
export class KlinecastError extends Error {
  /** A code of the protocol's errors, or `stopped`. */
  readonly code: string;
  readonly topics: readonly string[];

  constructor(code: string, message: string, topics: readonly string[] = []) {
    super(`${code}: ${message}`);
    this.name = "KlinecastError";
    this.code = code;
    this.topics = topics;
  }
}
