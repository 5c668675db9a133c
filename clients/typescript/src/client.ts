/**
 * A client of the Klinecast WebSocket protocol, for browsers and Node 20: it joins the connection
 * (connection.ts), what is subscribed (subscriptions.ts), topics that begin in the past (pasts.ts),
 * requests that wait for an answer (requests.ts), listeners (client-events.ts) and streams
 * (stream-router.ts). Socket, clock and randomness can be injected.
 */
import { Alarm } from "./alarm.js";
import { BAR_VERSIONS_DEFAULT, BarVersions } from "./bar-versions.js";
import { type Clock, systemClock } from "./client-clock.js";
import { type ClientConfig, type ClientStats, FRAME_CHARS_MAX, KlinecastError, MALFORMED_IN_A_ROW_MAX, newStats, type StreamOptions } from "./client-config.js";
import { type ClientEvents, type Listener, Listeners } from "./client-events.js";
import { Connection, type ConnectionStatus, type SocketConstructor } from "./connection.js";
import { decodeFrame } from "./decode.js";
import { EventStream } from "./event-stream.js";
import type { Ack, AlertTopic, Bar, Live, Message, ProtocolError, SubscribeOptions, SystemAlertTopic, TopicList } from "./messages.js";
import { Outbox } from "./outbox.js";
import { OverloadPace } from "./overload-pace.js";
import { HEALING_DEFAULT, Pasts } from "./pasts.js";
import { BACKOFF_DEFAULT } from "./reconnect.js";
import { Requests } from "./requests.js";
import type { EventOf, StreamEvent } from "./stream-events.js";
import { StreamRouter } from "./stream-router.js";
import { Subscriptions } from "./subscriptions.js";
import { TokenKeeper } from "./token-keeper.js";
import { topicsOfAddress } from "./topics.js";
import { type Numbered, TradePlaces } from "./trade-places.js";
import { type ValueKind, Values } from "./values.js";

export class KlinecastClient {
  readonly stats: ClientStats = newStats();

  readonly #clock: Clock;
  readonly #listeners: Listeners;
  readonly #versions: BarVersions;
  readonly #subscriptions: Subscriptions;
  readonly #tokens: TokenKeeper | null;
  readonly #connection: Connection;
  readonly #requests: Requests;
  readonly #overload: OverloadPace;
  readonly #outbox: Outbox;
  readonly #trades = new TradePlaces();
  readonly #values: Values;
  readonly #pasts: Pasts;
  readonly #streams = new StreamRouter();
  readonly #frameCharsMax: number;
  /** Lacking bars are asked for again. */
  readonly #healing: Alarm;
  #malformedInARow = 0;
  /** Whether the gateway has taken a token of this connection. */
  #isAuthenticated = false;
  /** An overloaded gateway is asked again for topics. */
  readonly #postponed: Alarm;

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
    this.#healing = new Alarm(clock);
    this.#postponed = new Alarm(clock);
    this.#overload = new OverloadPace(backoff, random);
    this.#listeners = new Listeners(clock);
    this.#versions = new BarVersions(config.versions ?? BAR_VERSIONS_DEFAULT);
    this.#pasts = new Pasts(config.healing ?? HEALING_DEFAULT);
    this.#frameCharsMax = config.frameCharsMax ?? FRAME_CHARS_MAX;
    this.#subscriptions = new Subscriptions(this.#versions, this.#trades, this.#pasts, config.subscriptionsMax ?? 1_000, topicsOfAddress(config.url));
    this.#values = new Values(this.#subscriptions, this.#trades, this.#streams, this.#listeners, this.stats, () => this.#outbox.sendSoon());
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
    this.#outbox = new Outbox(this.#connection, this.#subscriptions, clock, config.maxRate ?? null, (topics) => this.#tellNotResumed(topics));
    this.#requests = new Requests(this.#connection, clock, config.requestTimeoutMs ?? 10_000, this.#overload, this.#outbox.pace);
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

  /** Ends the connection and all streams; what was subscribed otherwise is kept for a later `connect`. */
  close(): void {
    this.#connection.close();
    this.#streams.endAll(null);
  }

  /** Wants these topics or patterns, with these options; repeating a topic replaces its options. */
  sub(topics: readonly string[], options: SubscribeOptions = {}): void {
    this.#subscriptions.want(topics, options);
    this.#outbox.sendSoon();
  }

  /** No longer wants these topics or patterns. */
  unsub(topics: readonly string[]): void {
    this.#subscriptions.unwant(topics);
    this.#values.unwant(topics);
    this.#outbox.sendSoon();
  }

  /**
   * Wants these topics or patterns and yields what comes of them, until the reader breaks off, the
   * `signal` says so or `close` is called. Throws a KlinecastError where the gateway refuses the
   * topics for good. One topic belongs to one stream; its options are as for `sub`.
   */
  stream<const T extends string>(topics: T | readonly T[], options: StreamOptions = {}): EventStream<EventOf<T>> {
    const names: readonly string[] = typeof topics === "string" ? [topics] : [...topics];
    const taken = names.find((name) => this.#subscriptions.has(name));
    if (taken !== undefined) throw new TypeError(`${taken} is subscribed already: end that first, or use one stream for all`);
    const { bufferMax, signal, ...subscribe } = options;
    const onAbort = (): void => stream.end();
    const onEnd = (): void => {
      signal?.removeEventListener("abort", onAbort);
      this.#streams.remove(names);
      this.unsub(names);
    };
    const stream = new EventStream<StreamEvent>(bufferMax, onEnd, () => (this.stats.droppedEvents += 1));
    this.sub(names, subscribe);
    this.#streams.add(names, stream);
    if (signal?.aborted === true) stream.end();
    else signal?.addEventListener("abort", onAbort);
    return stream as EventStream<unknown> as EventStream<EventOf<T>>;
  }

  /** The bars of a stream alone: of the past first, with `from`, and then live. */
  async *bars(topics: string | readonly string[], options: StreamOptions = {}): AsyncGenerator<Bar, void, undefined> {
    for await (const event of this.stream(topics, options)) if (event.kind === "bar") yield event.bar;
  }

  /**
   * Where a topic with `from` can be continued, by this client or another, on any gateway: the
   * `token` of a later `from`. Null before the topic is live. Events of streams have their own.
   */
  token(topic: string): string | null {
    return this.#pasts.token(topic);
  }

  /**
   * Asks again for all closed bars that the gateway holds of these topics, for example after
   * `skipped`. Only bars that are newer than the known version are handed out, but a bar that
   * was forgotten since (`versions.barsPerTopicMax`) may come a second time.
   */
  refetch(topics: readonly string[]): void {
    this.#subscriptions.wantRecentAgain(topics);
    this.#outbox.sendSoon();
  }

  /** What this connection is subscribed to and which topics the gateway knows. */
  list(): Promise<TopicList> {
    return this.#requests.ask<TopicList>("list");
  }

  /** Changes how many frames a second the gateway sends at most; null is no limit. */
  setMaxRate(framesPerSecond: number | null): void {
    this.#outbox.setMaxRate(framesPerSecond);
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
    this.#outbox.sendSoon();
  }

  /** Wants everything again, and connects at once if an attempt is only scheduled. */
  resume(): void {
    this.#subscriptions.isPaused = false;
    this.#outbox.sendSoon();
    this.retryNow();
  }

  /** Brings a scheduled attempt forward, for example when the network is back; at most one a second. */
  retryNow(): void {
    this.#connection.retryNow();
  }

  #statusChanged(status: ConnectionStatus): void {
    if (status.state === "open") this.stats.connections += 1;
    this.#listeners.emit("status", status);
    if (status.state === "open") this.#outbox.send();
    if (status.state === "stopped") this.#streams.endAll(new KlinecastError("stopped", status.why ?? "the connection cannot be had"));
  }

  #connectionDropped(): void {
    this.#isAuthenticated = false;
    this.#malformedInARow = 0;
    this.#outbox.connectionDropped();
    this.#healing.clear();
    this.#subscriptions.connectionDropped();
    this.#postponed.clear();
    this.#overload.startOver();
    this.#requests.failAll();
    this.#values.loseBooks();
  }

  #receive(data: unknown, receivedAtMs: number): void {
    this.stats.frames += 1;
    if (typeof data === "string" && data.length > this.#frameCharsMax) {
      this.stats.malformedMessages += 1;
      this.#connection.giveUp(`a frame of ${data.length} characters came, ${this.#frameCharsMax} are allowed`);
      return;
    }
    const messages: Message[] =
      typeof data === "string" ? decodeFrame(data) : [{ kind: "malformed", text: "", why: "binary frame" }];
    for (const message of messages) {
      this.#handle(message);
      // A listener may have closed the client, and the server may not be a gateway.
      if (!this.#connection.isOpen) return;
    }
    this.#listeners.emit("frame", { messages: messages.length, receivedAtMs });
  }

  #handle(message: Message): void {
    const listeners = this.#listeners;
    this.stats.messages += 1;
    if (message.kind !== "malformed") this.#malformedInARow = 0;
    switch (message.kind) {
      case "bar":
        return this.#handleBar(message.bar);
      case "trade":
        return this.#handleValue("trade", message.trade, { ...message, topic: message.trade.topic });
      case "quote":
        return this.#handleValue("quote", message.quote, { ...message, topic: message.quote.topic });
      case "ticker":
        return this.#handleValue("ticker", message.ticker, { ...message, topic: message.ticker.topic });
      case "book":
        return this.#handleValue("book", message.book, { ...message, topic: message.book.topic });
      case "book_changes":
        if (!this.#values.changeBook(message.changes, this.#clock.nowMs())) this.#connection.giveUp(`changes of ${message.changes.topic} do not fit again and again`);
        return;
      case "alert":
        return this.#handleValue("alert", message.alert, { ...message, topic: message.alert.topic as AlertTopic });
      case "system_alert":
        return this.#handOn("system_alert", message.alert, { ...message, topic: message.alert.topic as SystemAlertTopic });
      case "feed":
        return this.#handOn("feed", message.feed, { ...message, topic: message.feed.topic });
      case "gap":
        return this.#handOn("gap", message.gap, { ...message, topic: message.gap.topic });
      case "boundary":
        return this.#handOn("boundary", message.boundary, { ...message, topic: message.boundary.topic });
      case "skipped":
        return this.#handleSkipped(message.skipped.topic, "", message.skipped.skipped, null);
      case "live":
        return this.#handleLive(message.live);
      case "ack":
        return this.#handleAck(message.ack);
      case "expiring":
        listeners.emit("expiring", message.expiring);
        return this.#renewToken();
      case "list":
        return this.#requests.answer(message.list.id, message.list);
      case "pong":
        return this.#requests.answer(message.pong.id, message.pong);
      case "error":
        return this.#handleError(message.error);
      case "other":
        return listeners.emit("other", message.value);
      case "malformed":
        return this.#handleMalformed(message.why, message.text);
    }
  }

  #handleMalformed(why: string, text: string): void {
    this.stats.malformedMessages += 1;
    this.#malformedInARow += 1;
    this.#listeners.emit("error", { op: "error", code: "malformed_message", message: `${why}: ${text}`, topics: [] });
    if (this.#malformedInARow < MALFORMED_IN_A_ROW_MAX) return;
    this.#connection.giveUp(`${MALFORMED_IN_A_ROW_MAX} unreadable messages came in a row: is this the address of a gateway?`);
  }

  /** The names under which a topic is wanted; null, counted, if nobody wants it. */
  #wantedNames(topic: string, exchange: string): readonly string[] | null {
    const names = this.#subscriptions.namesOf(topic, exchange);
    if (names.length > 0) return names;
    this.stats.unaskedMessages += 1;
    return null;
  }

  /** Hands a message to its streams and listeners, if somebody wants its topic. */
  #handOn<K extends keyof ClientEvents>(name: K, value: ClientEvents[K], event: Exclude<StreamEvent, { kind: "dropped" }>): void {
    const names = this.#wantedNames(event.topic, "");
    if (names === null) return;
    this.#streams.push(names, event);
    this.#listeners.emit(name, value);
  }

  #handleBar(bar: Bar): void {
    const exchange = bar.exchange ?? "";
    const names = this.#wantedNames(bar.topic, exchange);
    if (names === null) return;
    if (bar.skipped !== undefined && bar.skipped > 0) this.#handleSkipped(bar.topic, exchange, bar.skipped, bar.start_ms);
    const past = names.find((name) => this.#pasts.has(name));
    for (const name of names) this.#subscriptions.barCame(name);
    this.#versions.read(bar.topic, past !== undefined && this.#pasts.isReading(past));
    const isNew = this.#versions.accept(bar);
    if (past !== undefined) this.#pasts.barCame(past, bar);
    if (!isNew) {
      this.stats.repeatedBars += 1;
      return;
    }
    this.stats.bars += 1;
    this.#listeners.emit("bar", bar);
    const isPast = bar.epoch === 0;
    const hasToken = past !== undefined && !isPast && bar.state === "closed" && this.#pasts.isLive(past);
    this.#streams.push(names, { kind: "bar", topic: bar.topic, bar, isPast, token: hasToken ? this.#pasts.token(past) : null });
  }

  #handleValue<K extends ValueKind>(kind: K, value: ClientEvents[K] & Numbered & { readonly skipped?: number }, event: StreamEvent): void {
    if ((value.skipped ?? 0) > 0) this.#handleSkipped(value.topic, value.exchange, value.skipped ?? 0, null);
    this.#values.take(kind, value, event);
  }

  #handleSkipped(topic: string, exchange: string, count: number, beforeMs: number | null): void {
    const names = this.#wantedNames(topic, exchange);
    if (names === null) return;
    const past = names.find((name) => this.#pasts.has(name));
    const isFetched = past !== undefined && this.#pasts.lacks(past, this.#clock.nowMs());
    if (isFetched) this.#healLater();
    this.#listeners.emit("skipped", { topic, count, beforeMs, isFetched });
    this.#streams.push(names, { kind: "skipped", topic, count, beforeMs, isFetched });
  }

  #handleLive(live: Live): void {
    const name = this.#subscriptions.pastNameOf(live.topic);
    if (name === null || !this.#pasts.live(name, live, this.#clock.nowMs())) {
      this.stats.unaskedMessages += 1;
      return;
    }
    this.#versions.read(live.topic, this.#pasts.isReading(name));
    this.#healLater();
    this.#listeners.emit("live", { ...live, topic: name });
    const { recovered, reason = null, missing = 0 } = live;
    this.#streams.push([name], { kind: "live", topic: name, recovered, reason, missing, token: this.#pasts.token(name) });
  }

  #handleAck(ack: Ack): void {
    if (this.#subscriptions.answered(ack.id)) this.#overload.startOver();
    if (ack.expires_ms !== undefined) this.#authenticated(ack, ack.expires_ms);
    this.#listeners.emit("ack", ack);
    if (ack.not_resumed.length > 0) this.#tellNotResumed(ack.not_resumed);
  }

  #tellNotResumed(topics: readonly string[]): void {
    this.#listeners.emit("not_resumed", { topics });
    for (const topic of topics) this.#streams.push(this.#subscriptions.namesOf(topic, ""), { kind: "not_resumed", topic });
  }

  #handleError(error: ProtocolError): void {
    this.#requests.refuse(error);
    const isOverloaded = error.code === "overloaded";
    if (isOverloaded && this.#subscriptions.postpone(error.id)) this.#resumePostponedLater();
    if (error.code === "bad_topic") this.#subscriptions.dropMalformed(error.topics);
    if (error.code === "forbidden") this.#subscriptions.forbid(error.topics);
    // These two are about some topics of a request, the others about all of it.
    const isOfSome = error.code === "bad_topic" || error.code === "forbidden";
    const topics = isOfSome || isOverloaded || error.topics.length > 0 ? error.topics : this.#subscriptions.refused(error.id);
    this.#listeners.emit("error", { ...error, topics });
    if (!isOverloaded) this.#streams.fail(topics, new KlinecastError(error.code, error.message, topics));
    if (error.code === "invalid_token" && !this.#isAuthenticated) this.#connection.loseUnauthorized(error.message);
  }

  /** Asks for bars that are lacking once they are due. */
  #healLater(): void {
    this.#healing.clear();
    const dueMs = this.#pasts.nextDueMs;
    if (dueMs === null || !this.#connection.isOpen) return;
    this.#healing.set(Math.max(0, dueMs - this.#clock.nowMs()), () => {
      this.#subscriptions.askAgain(this.#pasts.takeDue(this.#clock.nowMs()));
      this.#outbox.send();
      this.#healLater();
    });
  }

  /** The gateway has taken a token, which may permit other topics than the one before. */
  #authenticated(ack: Ack, expiresMs: number): void {
    this.#isAuthenticated = true;
    this.#subscriptions.tokenAccepted(ack.unsubscribed);
    this.#outbox.sendSoon();
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
    if (this.#postponed.isSet) return;
    this.#postponed.set(this.#overload.refusedDelayMs(), () => {
      this.#subscriptions.resumePostponed();
      this.#outbox.send();
    });
  }
}
