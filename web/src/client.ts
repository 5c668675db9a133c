/**
 * A client of the Klinecast WebSocket protocol, for browsers and Node 20.
 *
 * It joins the connection (connection.ts), what is subscribed over it (subscriptions.ts), the
 * requests that wait for an answer (requests.ts) and the listeners (client-events.ts). It has no
 * dependencies; socket, clock and randomness can be injected.
 */
import { BAR_VERSIONS_DEFAULT, BarVersions, type BarVersionsConfig } from "./bar-versions.js";
import { type Clock, systemClock } from "./client-clock.js";
import { type ClientEvents, type Listener, Listeners } from "./client-events.js";
import { Connection, type ConnectionStatus, type SocketConstructor } from "./connection.js";
import { OverloadPace } from "./overload-pace.js";
import { type Ack, type Bar, decodeFrame, type Message, type ProtocolError, type SubscribeOptions, type TopicList } from "./protocol.js";
import { BACKOFF_DEFAULT, type BackoffConfig } from "./reconnect.js";
import { Requests } from "./requests.js";
import { Subscriptions } from "./subscriptions.js";
import { TokenKeeper, type TokenSource } from "./token-keeper.js";

export * from "./protocol.js";
export { BACKOFF_DEFAULT, type BackoffConfig, type CloseAdvice, closeReason, reconnectDelayMs } from "./reconnect.js";
export { type TokenSource } from "./token-keeper.js";
export { BarVersions, type BarVersionsConfig } from "./bar-versions.js";
export { type Clock } from "./client-clock.js";
export { type ClientEvents } from "./client-events.js";
export { type ConnectionState, type ConnectionStatus, type Socket, type SocketConstructor } from "./connection.js";

export interface ClientConfig {
  readonly url: string;
  /** Default: the global `WebSocket`. In Node 20 pass the class of the `ws` package. */
  readonly WebSocket?: unknown;
  /**
   * Sent as `{"op":"auth"}` before anything else. A function is called before each connection and
   * again before the token expires, so that connections outlive tokens.
   */
  readonly token?: TokenSource;
  /** How long before its expiry a token is renewed. */
  readonly tokenRefreshBeforeMs?: number;
  /** Most frames a second that the gateway is to send on this connection; more arrives in each. */
  readonly maxRate?: number;
  /** Without any frame for this long (a ping of ours included) the connection is dead. */
  readonly staleAfterMs?: number;
  /** A connection that is not open after this long is given up. */
  readonly connectTimeoutMs?: number;
  /** A connection must have lasted this long before backoff starts over. */
  readonly stableAfterMs?: number;
  /** `list` and `ping` reject after this long. */
  readonly requestTimeoutMs?: number;
  readonly backoff?: BackoffConfig;
  readonly versions?: BarVersionsConfig;
  /** Most topics and patterns that may be wanted at once. */
  readonly subscriptionsMax?: number;
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
  malformedMessages: number;
  connections: number;
}

export class KlinecastClient {
  readonly stats: ClientStats = {
    frames: 0,
    messages: 0,
    bars: 0,
    repeatedBars: 0,
    malformedMessages: 0,
    connections: 0,
  };

  readonly #clock: Clock;
  readonly #listeners: Listeners;
  readonly #versions: BarVersions;
  readonly #subscriptions: Subscriptions;
  readonly #tokens: TokenKeeper | null;
  readonly #connection: Connection;
  readonly #requests: Requests;
  readonly #overload: OverloadPace;
  #maxRate: number | null;
  /** Whether the gateway has taken a token of this connection. */
  #isAuthenticated = false;
  #reconcileQueued = false;
  /** Ends the wait before an overloaded gateway is asked again for topics; null while there is none. */
  #cancelPostponed: (() => void) | null = null;

  constructor(config: ClientConfig) {
    const Socket = config.WebSocket ?? (globalThis as { WebSocket?: unknown }).WebSocket;
    if (typeof Socket !== "function") {
      throw new TypeError("no WebSocket here: pass the class of the `ws` package as `WebSocket`");
    }
    const clock = config.clock ?? systemClock;
    const connectTimeoutMs = config.connectTimeoutMs ?? 10_000;
    const backoff = config.backoff ?? BACKOFF_DEFAULT;
    const random = config.random ?? Math.random;
    this.#clock = clock;
    this.#overload = new OverloadPace(backoff, random);
    this.#maxRate = config.maxRate ?? null;
    this.#listeners = new Listeners(clock);
    this.#versions = new BarVersions(config.versions ?? BAR_VERSIONS_DEFAULT);
    this.#subscriptions = new Subscriptions(this.#versions, config.subscriptionsMax ?? 1_000);
    this.#tokens =
      config.token === undefined ? null : new TokenKeeper(config.token, clock, connectTimeoutMs, config.tokenRefreshBeforeMs ?? 60_000);
    this.#connection = new Connection(
      {
        url: config.url,
        Socket: Socket as SocketConstructor,
        tokens: this.#tokens,
        staleAfterMs: config.staleAfterMs ?? 15_000,
        connectTimeoutMs,
        stableAfterMs: config.stableAfterMs ?? 10_000,
        backoff,
        clock,
        random,
      },
      {
        onStatus: (status) => this.#statusChanged(status),
        onFrame: (data, receivedAtMs) => this.#receive(data, receivedAtMs),
        onDropped: () => this.#connectionDropped(),
      },
    );
    this.#requests = new Requests(this.#connection, clock, config.requestTimeoutMs ?? 10_000, this.#overload);
  }

  get status(): ConnectionStatus {
    return this.#connection.status;
  }

  get isPaused(): boolean {
    return this.#subscriptions.isPaused;
  }

  /** When the last frame arrived, on the client's monotonic clock; 0 before the first. */
  get lastFrameAtMs(): number {
    return this.#connection.lastFrameAtMs;
  }

  /** Calls `listener` at each event; the result removes it. */
  on<K extends keyof ClientEvents>(event: K, listener: Listener<ClientEvents[K]>): () => void {
    return this.#listeners.add(event, listener);
  }

  /** Starts connecting, and keeps a connection until `close`. */
  connect(): void {
    this.#connection.connect();
  }

  /** Ends the connection for good; what was subscribed is kept for a later `connect`. */
  close(): void {
    this.#connection.close();
  }

  /** Wants these topics or patterns, with these options; repeating a topic replaces its options. */
  sub(topics: readonly string[], options: SubscribeOptions = {}): void {
    this.#subscriptions.want(topics, options);
    this.#queueReconcile();
  }

  /** No longer wants these topics or patterns. */
  unsub(topics: readonly string[]): void {
    this.#subscriptions.unwant(topics);
    this.#queueReconcile();
  }

  /**
   * Asks again for all closed bars that the gateway holds of these topics, for example after
   * `skipped`. Only bars that are newer than the known version are handed out, but a bar that
   * was forgotten since (`versions.barsPerTopicMax`) may come a second time.
   */
  refetch(topics: readonly string[]): void {
    this.#subscriptions.wantRecentAgain(topics);
    this.#queueReconcile();
  }

  /** What this connection is subscribed to and which topics the gateway knows. */
  list(): Promise<TopicList> {
    return this.#requests.ask<TopicList>("list");
  }

  /** Changes how many frames a second the gateway sends at most; null is no limit. */
  setMaxRate(framesPerSecond: number | null): void {
    this.#maxRate = framesPerSecond;
    const connection = this.#connection;
    if (connection.isOpen) connection.send({ op: "rate", id: connection.nextId(), max_rate: framesPerSecond ?? 0 });
  }

  /** Round-trip time in milliseconds. */
  async ping(): Promise<number> {
    const sentAtMs = this.#clock.nowMs();
    await this.#requests.ask("ping");
    return this.#clock.nowMs() - sentAtMs;
  }

  /**
   * Nobody is looking: unsubscribes what may stop, and reduces what is to go on to closed bars.
   * Nothing piles up meanwhile, so `resume` is followed by one snapshot instead of a flood.
   */
  pause(): void {
    this.#subscriptions.isPaused = true;
    this.#queueReconcile();
  }

  /** Wants everything again, and connects at once if an attempt is only scheduled. */
  resume(): void {
    this.#subscriptions.isPaused = false;
    this.#queueReconcile();
    this.retryNow();
  }

  /** Brings a scheduled attempt forward, for example when the network is back; at most one a second. */
  retryNow(): void {
    this.#connection.retryNow();
  }

  #statusChanged(status: ConnectionStatus): void {
    if (status.state === "open") this.stats.connections += 1;
    this.#listeners.emit("status", status);
    if (status.state === "open") this.#reconcile();
  }

  #connectionDropped(): void {
    this.#isAuthenticated = false;
    this.#subscriptions.connectionDropped();
    this.#cancelPostponed?.();
    this.#cancelPostponed = null;
    this.#overload.startOver();
    this.#requests.failAll();
  }

  #receive(data: unknown, receivedAtMs: number): void {
    this.stats.frames += 1;
    const messages: Message[] =
      typeof data === "string" ? decodeFrame(data) : [{ kind: "malformed", text: "", why: "binary frame" }];
    for (const message of messages) this.#handle(message);
    this.#listeners.emit("frame", { messages: messages.length, receivedAtMs });
  }

  #handle(message: Message): void {
    const listeners = this.#listeners;
    this.stats.messages += 1;
    switch (message.kind) {
      case "bar":
        this.#handleBar(message.bar);
        return;
      case "feed":
        listeners.emit("feed", message.feed);
        return;
      case "gap":
        listeners.emit("gap", message.gap);
        return;
      case "boundary":
        listeners.emit("boundary", message.boundary);
        return;
      case "skipped": {
        const { topic, skipped } = message.skipped;
        listeners.emit("skipped", { topic, count: skipped, beforeMs: null });
        return;
      }
      case "ack":
        if (this.#subscriptions.answered(message.ack.id)) this.#overload.startOver();
        if (message.ack.expires_ms !== undefined) this.#authenticated(message.ack, message.ack.expires_ms);
        listeners.emit("ack", message.ack);
        return;
      case "expiring":
        listeners.emit("expiring", message.expiring);
        this.#renewToken();
        return;
      case "list":
        this.#requests.answer(message.list.id, message.list);
        return;
      case "pong":
        this.#requests.answer(message.pong.id, message.pong);
        return;
      case "error":
        this.#handleError(message.error);
        return;
      case "other":
        listeners.emit("other", message.value);
        return;
      case "malformed":
        this.stats.malformedMessages += 1;
        listeners.emit("error", { op: "error", code: "malformed_message", message: `${message.why}: ${message.text}`, topics: [] });
        return;
    }
  }

  #handleBar(bar: Bar): void {
    if (bar.skipped !== undefined && bar.skipped > 0) {
      this.#listeners.emit("skipped", { topic: bar.topic, count: bar.skipped, beforeMs: bar.start_ms });
    }
    this.#subscriptions.barCame(bar.topic);
    if (!this.#versions.accept(bar)) {
      this.stats.repeatedBars += 1;
      return;
    }
    this.stats.bars += 1;
    this.#listeners.emit("bar", bar);
  }

  #handleError(error: ProtocolError): void {
    this.#requests.refuse(error);
    if (error.code === "overloaded" && this.#subscriptions.postpone(error.id)) this.#resumePostponedLater();
    if (error.code === "bad_topic") this.#subscriptions.dropMalformed(error.topics);
    if (error.code === "forbidden") this.#subscriptions.forbid(error.topics);
    this.#listeners.emit("error", error);
    if (error.code === "invalid_token" && !this.#isAuthenticated) this.#connection.loseUnauthorized(error.message);
  }

  /** The gateway has taken a token, which may permit other topics than the one before. */
  #authenticated(ack: Ack, expiresMs: number): void {
    this.#isAuthenticated = true;
    this.#subscriptions.tokenAccepted(ack.unsubscribed);
    this.#queueReconcile();
    this.#tokens?.schedule(expiresMs, () => this.#renewToken());
  }

  #renewToken(): void {
    const tokens = this.#tokens;
    if (tokens === null || !tokens.canRenew || !this.#connection.isOpen) return;
    tokens.fetch(
      (token) => this.#connection.sendToken(token),
      (why) => {
        this.#listeners.emit("error", { op: "error", code: "no_token", message: `no new token: ${why}`, topics: [] });
        tokens.scheduleRetry(() => this.#renewToken());
      },
    );
  }

  /** Asks an overloaded gateway again for all topics that it refused meanwhile. */
  #resumePostponedLater(): void {
    if (this.#cancelPostponed !== null) return;
    this.#cancelPostponed = this.#clock.after(this.#overload.refusedDelayMs(), () => {
      this.#cancelPostponed = null;
      this.#subscriptions.resumePostponed();
      this.#reconcile();
    });
  }

  /** Sends what the connection must be told so that it matches what is wanted. */
  #reconcile(): void {
    const connection = this.#connection;
    if (!connection.isOpen) return;
    for (const change of this.#subscriptions.takeChanges(this.#maxRate)) {
      const id = connection.nextId();
      this.#subscriptions.sent(id, change);
      connection.send({ id, ...change });
    }
  }

  /** What is wanted in one moment becomes one message. */
  #queueReconcile(): void {
    if (this.#reconcileQueued) return;
    this.#reconcileQueued = true;
    queueMicrotask(() => {
      this.#reconcileQueued = false;
      this.#reconcile();
    });
  }
}

/**
 * Pauses `client` while `page` is hidden for longer than `graceMs`, and resumes it on return.
 * The result ends that.
 */
export function pauseWhileHidden(client: KlinecastClient, page: Document, graceMs = 5_000): () => void {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const onChange = (): void => {
    clearTimeout(timer);
    if (page.visibilityState === "hidden") timer = setTimeout(() => client.pause(), graceMs);
    else client.resume();
  };
  page.addEventListener("visibilitychange", onChange);
  return () => {
    clearTimeout(timer);
    page.removeEventListener("visibilitychange", onChange);
  };
}
