/**
 * A client of the Klinecast WebSocket protocol, for browsers and Node 20.
 *
 * It keeps what is wanted (`sub`, `unsub`, `pause`) apart from what the current
 * connection has been told, and sends the difference; so reconnecting, pausing
 * and changing options are one mechanism. It has no dependencies; socket, clock
 * and randomness can be injected.
 */
import { BAR_VERSIONS_DEFAULT, BarVersions, type BarVersionsConfig } from "./bar-versions.js";
import {
  type Ack,
  type Bar,
  type Boundary,
  decodeFrame,
  type FeedGap,
  type FeedStatus,
  isPattern,
  type Message,
  type ProtocolError,
  type ResumePosition,
  type SubscribeOptions,
  type TokenExpiring,
  type TopicList,
  topicMatches,
} from "./protocol.js";
import { BACKOFF_DEFAULT, type BackoffConfig, closeReason, reconnectDelayMs } from "./reconnect.js";
import { TokenKeeper, type TokenSource } from "./token-keeper.js";

export * from "./protocol.js";
export { BACKOFF_DEFAULT, type BackoffConfig, type CloseAdvice, closeReason, reconnectDelayMs } from "./reconnect.js";
export { type TokenSource } from "./token-keeper.js";
export { BarVersions, type BarVersionsConfig } from "./bar-versions.js";

/** The part of the WebSocket interface that is used; `ws` and browsers both have it. */
export interface Socket {
  onopen: ((event: never) => void) | null;
  onmessage: ((event: { data: unknown }) => void) | null;
  onerror: ((event: never) => void) | null;
  onclose: ((event: { code: number; reason: string }) => void) | null;
  send(text: string): void;
  close(code?: number, reason?: string): void;
}

export type SocketConstructor = new (url: string) => Socket;

export interface Clock {
  nowMs(): number;
  /** Runs `task` once after `delayMs`; the result cancels it. */
  after(delayMs: number, task: () => void): () => void;
  /** Milliseconds since 1970, for the expiry of tokens; default `Date.now`. */
  dateMs?(): number;
}

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

export type ConnectionState =
  /** `connect` was not called yet, or `close` was. */
  | "closed"
  | "connecting"
  | "open"
  /** Lost; the next attempt is scheduled. */
  | "reconnecting"
  /** The server said that the same request would fail again. */
  | "stopped";

export interface ConnectionStatus {
  readonly state: ConnectionState;
  /** Why the last connection ended, if one did. */
  readonly closeCode?: number;
  readonly why?: string;
  /** Until the next attempt, in state `reconnecting`. */
  readonly retryInMs?: number;
  /** Failed attempts since the last stable connection. */
  readonly attempt: number;
}

export interface ClientEvents {
  /** The connection's state changed. */
  status: ConnectionStatus;
  /** A bar that is newer than everything known of its interval. */
  bar: Bar;
  feed: FeedStatus;
  gap: FeedGap;
  boundary: Boundary;
  ack: Ack;
  /**
   * Closed bars of a topic that the gateway conflated away for this client. They are older than
   * the bar that starts at `beforeMs`; null if the number came without a bar. See `refetch`.
   */
  skipped: { readonly topic: string; readonly count: number; readonly beforeMs: number | null };
  /** The gateway says that the token expires soon. With a token function it is being renewed. */
  expiring: TokenExpiring;
  /** All messages of one frame were handed out. */
  frame: { readonly messages: number; readonly receivedAtMs: number };
  /** The gateway refused something, or sent something unreadable. The connection goes on. */
  error: ProtocolError;
  /** A well-formed message of a kind that this version does not know. */
  other: Readonly<Record<string, unknown>>;
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

type Listener<T> = (value: T) => void;
type Request = { resolve: (value: never) => void; reject: (error: Error) => void; cancel: () => void };

const TOPICS_PER_MESSAGE_MAX = 200;
const RESUME_TOPICS_MAX = 200;
const REQUESTS_MAX = 64;
/** No close code: the connection ended without one, or we gave it up. */
const ABNORMAL = 1006;
const UNAUTHORIZED = 4003;

export class KlinecastClient {
  readonly stats: ClientStats = {
    frames: 0,
    messages: 0,
    bars: 0,
    repeatedBars: 0,
    malformedMessages: 0,
    connections: 0,
  };

  readonly #config: Required<Omit<ClientConfig, "WebSocket" | "token" | "maxRate">> & {
    maxRate: number | null;
  };
  readonly #Socket: SocketConstructor;
  readonly #versions: BarVersions;
  readonly #listeners = new Map<keyof ClientEvents, Set<Listener<never>>>();
  readonly #wanted = new Map<string, SubscribeOptions>();
  /** What the current connection was told: topic or pattern to its options as sent. */
  readonly #told = new Map<string, string>();
  /** Topics newly wanted with `recent` of which nothing has come since. */
  readonly #recentDue = new Set<string>();
  /** Topics and patterns that this connection's token does not permit. */
  readonly #forbidden = new Set<string>();
  readonly #tokens: TokenKeeper | null;
  readonly #requests = new Map<number, Request>();
  #status: ConnectionStatus = { state: "closed", attempt: 0 };
  #socket: Socket | null = null;
  /** Whether the gateway has taken a token of this connection. */
  #isAuthenticated = false;
  #openedAtMs = 0;
  #lastFrameAtMs = 0;
  #lastAttemptAtMs = Number.NEGATIVE_INFINITY;
  #attempt = 0;
  #nextId = 1;
  #paused = false;
  #reconcileQueued = false;
  #cancelTimer: () => void = () => {};

  constructor(config: ClientConfig) {
    this.#config = {
      url: config.url,
      maxRate: config.maxRate ?? null,
      staleAfterMs: config.staleAfterMs ?? 15_000,
      connectTimeoutMs: config.connectTimeoutMs ?? 10_000,
      stableAfterMs: config.stableAfterMs ?? 10_000,
      requestTimeoutMs: config.requestTimeoutMs ?? 10_000,
      backoff: config.backoff ?? BACKOFF_DEFAULT,
      versions: config.versions ?? BAR_VERSIONS_DEFAULT,
      tokenRefreshBeforeMs: config.tokenRefreshBeforeMs ?? 60_000,
      subscriptionsMax: config.subscriptionsMax ?? 1_000,
      clock: config.clock ?? systemClock,
      random: config.random ?? Math.random,
    };
    const socketClass = config.WebSocket ?? (globalThis as { WebSocket?: unknown }).WebSocket;
    if (typeof socketClass !== "function") {
      throw new TypeError("no WebSocket here: pass the class of the `ws` package as `WebSocket`");
    }
    this.#Socket = socketClass as SocketConstructor;
    this.#versions = new BarVersions(this.#config.versions);
    const { clock, connectTimeoutMs, tokenRefreshBeforeMs } = this.#config;
    this.#tokens =
      config.token === undefined ? null : new TokenKeeper(config.token, clock, connectTimeoutMs, tokenRefreshBeforeMs);
  }

  get status(): ConnectionStatus {
    return this.#status;
  }

  get isPaused(): boolean {
    return this.#paused;
  }

  /** When the last frame arrived, on the client's monotonic clock; 0 before the first. */
  get lastFrameAtMs(): number {
    return this.#lastFrameAtMs;
  }

  /** Calls `listener` at each event; the result removes it. */
  on<K extends keyof ClientEvents>(event: K, listener: Listener<ClientEvents[K]>): () => void {
    let listeners = this.#listeners.get(event);
    if (listeners === undefined) {
      listeners = new Set();
      this.#listeners.set(event, listeners);
    }
    listeners.add(listener as Listener<never>);
    return () => listeners.delete(listener as Listener<never>);
  }

  /** Starts connecting, and keeps a connection until `close`. */
  connect(): void {
    if (this.#status.state === "closed" || this.#status.state === "stopped") {
      this.#attempt = 0;
      this.#open();
    }
  }

  /** Ends the connection for good; what was subscribed is kept for a later `connect`. */
  close(): void {
    this.#dropSocket(1000, "client closed");
    this.#setStatus({ state: "closed", attempt: 0 });
  }

  /** Wants these topics or patterns, with these options; repeating a topic replaces its options. */
  sub(topics: readonly string[], options: SubscribeOptions = {}): void {
    const added = topics.filter((topic) => !this.#wanted.has(topic)).length;
    if (this.#wanted.size + added > this.#config.subscriptionsMax) {
      throw new RangeError(`more than ${this.#config.subscriptionsMax} subscriptions`);
    }
    for (const topic of topics) {
      const isDue = options.recent === true && this.#wanted.get(topic)?.recent !== true && !isPattern(topic);
      if (isDue) this.#recentDue.add(topic);
      this.#wanted.set(topic, options);
    }
    this.#queueReconcile();
  }

  /** No longer wants these topics or patterns. */
  unsub(topics: readonly string[]): void {
    for (const topic of topics) {
      this.#wanted.delete(topic);
      this.#recentDue.delete(topic);
      this.#forbidden.delete(topic);
    }
    this.#queueReconcile();
  }

  /**
   * Asks again for all closed bars that the gateway holds of these topics, for example after
   * `skipped`. Only bars that are newer than the known version are handed out, but a bar that
   * was forgotten since (`versions.barsPerTopicMax`) may come a second time.
   */
  refetch(topics: readonly string[]): void {
    for (const topic of topics) {
      if (!this.#wanted.has(topic) || isPattern(topic)) continue;
      this.#versions.expectOlder(topic);
      this.#recentDue.add(topic);
      this.#told.delete(topic);
    }
    this.#queueReconcile();
  }

  /** What this connection is subscribed to and which topics the gateway knows. */
  list(): Promise<TopicList> {
    return this.#request<TopicList>("list");
  }

  /** Changes how many frames a second the gateway sends at most; null is no limit. */
  setMaxRate(framesPerSecond: number | null): void {
    this.#config.maxRate = framesPerSecond;
    if (this.#status.state === "open") this.#send({ op: "rate", id: this.#id(), max_rate: framesPerSecond ?? 0 });
  }

  /** Round-trip time in milliseconds. */
  async ping(): Promise<number> {
    const sentAtMs = this.#config.clock.nowMs();
    await this.#request("ping");
    return this.#config.clock.nowMs() - sentAtMs;
  }

  /**
   * Nobody is looking: unsubscribes what may stop, and reduces what is to go on to closed bars.
   * Nothing piles up meanwhile, so `resume` is followed by one snapshot instead of a flood.
   */
  pause(): void {
    this.#paused = true;
    this.#queueReconcile();
  }

  /** Wants everything again, and connects at once if an attempt is only scheduled. */
  resume(): void {
    this.#paused = false;
    this.#queueReconcile();
    this.retryNow();
  }

  /** Brings a scheduled attempt forward, for example when the network is back; at most one a second. */
  retryNow(): void {
    if (this.#status.state !== "reconnecting") return;
    if (this.#config.clock.nowMs() - this.#lastAttemptAtMs < 1_000) return;
    this.#cancelTimer();
    this.#open();
  }

  #open(): void {
    this.#lastAttemptAtMs = this.#config.clock.nowMs();
    this.#setStatus({ ...this.#ended(), state: "connecting", attempt: this.#attempt });
    if (this.#tokens === null) this.#openSocket(null);
    else
      this.#tokens.fetch(
        (token) => this.#openSocket(token),
        (why) => this.#lost(ABNORMAL, `no token: ${why}`),
      );
  }

  #openSocket(token: string | null): void {
    const { clock, url, connectTimeoutMs } = this.#config;
    let socket: Socket;
    try {
      socket = new this.#Socket(url);
    } catch (error) {
      // An address that can never work (a syntax error, or ws: from an https: page).
      this.#setStatus({ state: "stopped", attempt: this.#attempt, why: String(error) });
      return;
    }
    this.#socket = socket;
    socket.onopen = () => {
      this.#openedAtMs = clock.nowMs();
      this.#lastFrameAtMs = this.#openedAtMs;
      this.stats.connections += 1;
      this.#cancelTimer();
      this.#watchForSilence();
      // Before anything that a listener of the status may ask for.
      if (token !== null) this.#send({ op: "auth", id: this.#id(), token });
      this.#setStatus({ state: "open", attempt: this.#attempt });
      this.#reconcile();
    };
    socket.onmessage = (event) => this.#receive(event.data);
    // Every failure is followed by a close event, which decides.
    socket.onerror = () => {};
    socket.onclose = (event) => this.#lost(event.code, closeReason(event.code).label, event.reason);
    this.#cancelTimer = clock.after(connectTimeoutMs, () => this.#lost(ABNORMAL, "no answer to the handshake"));
  }

  #lost(code: number, label: string, reason = ""): void {
    const { advice: general } = closeReason(code);
    // Without another token the same would happen again.
    const advice = general === "renew" && this.#tokens?.canRenew !== true ? "stop" : general;
    const nowMs = this.#config.clock.nowMs();
    const wasStable = this.#status.state === "open" && nowMs - this.#openedAtMs >= this.#config.stableAfterMs;
    this.#dropSocket(1000, "client gave up");
    const why = reason === "" ? label : `${label}: ${reason}`;
    if (advice === "stop") {
      this.#setStatus({ state: "stopped", attempt: this.#attempt, closeCode: code, why });
      return;
    }
    if (wasStable) this.#attempt = 0;
    const retryInMs = reconnectDelayMs(this.#attempt, advice, this.#config.random(), this.#config.backoff);
    this.#attempt += 1;
    this.#cancelTimer = this.#config.clock.after(retryInMs, () => this.#open());
    this.#setStatus({ state: "reconnecting", attempt: this.#attempt, closeCode: code, why, retryInMs });
  }

  /** Forgets the socket at once; events that it still emits reach nobody. */
  #dropSocket(code: number, reason: string): void {
    this.#cancelTimer();
    this.#cancelTimer = () => {};
    this.#told.clear();
    this.#forbidden.clear();
    this.#isAuthenticated = false;
    this.#tokens?.stop();
    for (const request of this.#requests.values()) {
      request.cancel();
      request.reject(new Error("connection lost"));
    }
    this.#requests.clear();
    const socket = this.#socket;
    this.#socket = null;
    if (socket === null) return;
    socket.onopen = null;
    socket.onmessage = null;
    socket.onclose = null;
    // `ws` reports an abandoned handshake as an error; it must find a listener.
    socket.onerror = () => {};
    try {
      socket.close(code, reason);
    } catch {
      // A socket that cannot be closed is as gone as one that is.
    }
  }

  /** After half of `staleAfterMs` without a frame asks for one; after the other half gives up. */
  #watchForSilence(): void {
    const { clock, staleAfterMs } = this.#config;
    const halfMs = staleAfterMs / 2;
    const waitMs = Math.max(1, this.#lastFrameAtMs + halfMs - clock.nowMs());
    this.#cancelTimer = clock.after(waitMs, () => {
      if (clock.nowMs() - this.#lastFrameAtMs < halfMs) {
        this.#watchForSilence();
        return;
      }
      // Timers run late in hidden tabs and after sleep; only an unanswered ping proves silence.
      const pingedAtMs = clock.nowMs();
      const framesBefore = this.stats.frames;
      this.#send({ op: "ping" });
      this.#cancelTimer = clock.after(halfMs, () => {
        if (this.stats.frames > framesBefore) this.#watchForSilence();
        else this.#lost(ABNORMAL, `nothing received for ${Math.round(halfMs + clock.nowMs() - pingedAtMs)} ms`);
      });
    });
  }

  #receive(data: unknown): void {
    const receivedAtMs = this.#config.clock.nowMs();
    this.#lastFrameAtMs = receivedAtMs;
    this.stats.frames += 1;
    const messages: Message[] =
      typeof data === "string" ? decodeFrame(data) : [{ kind: "malformed", text: "", why: "binary frame" }];
    for (const message of messages) this.#handle(message);
    this.#emit("frame", { messages: messages.length, receivedAtMs });
  }

  #handle(message: Message): void {
    this.stats.messages += 1;
    switch (message.kind) {
      case "bar": {
        const { bar } = message;
        if (bar.skipped !== undefined && bar.skipped > 0) {
          this.#emit("skipped", { topic: bar.topic, count: bar.skipped, beforeMs: bar.start_ms });
        }
        if (this.#told.has(bar.topic)) this.#recentDue.delete(bar.topic);
        if (!this.#versions.accept(bar)) {
          this.stats.repeatedBars += 1;
          return;
        }
        this.stats.bars += 1;
        this.#emit("bar", bar);
        return;
      }
      case "feed":
        this.#emit("feed", message.feed);
        return;
      case "gap":
        this.#emit("gap", message.gap);
        return;
      case "boundary":
        this.#emit("boundary", message.boundary);
        return;
      case "skipped": {
        const { topic, skipped } = message.skipped;
        this.#emit("skipped", { topic, count: skipped, beforeMs: null });
        return;
      }
      case "ack":
        if (message.ack.expires_ms !== undefined) this.#authenticated(message.ack, message.ack.expires_ms);
        this.#emit("ack", message.ack);
        return;
      case "expiring":
        this.#emit("expiring", message.expiring);
        this.#renewToken();
        return;
      case "list":
        this.#answer(message.list.id, message.list);
        return;
      case "pong":
        this.#answer(message.pong.id, message.pong);
        return;
      case "error":
        this.#refuse(message.error);
        // A topic that is none will be none after a reconnect too.
        if (message.error.code === "bad_topic") {
          for (const topic of message.error.topics) {
            this.#wanted.delete(topic);
            this.#told.delete(topic);
          }
        }
        if (message.error.code === "forbidden") this.#forbid(message.error.topics);
        this.#emit("error", message.error);
        if (message.error.code === "invalid_token" && !this.#isAuthenticated) {
          this.#lost(UNAUTHORIZED, closeReason(UNAUTHORIZED).label, message.error.message);
        }
        return;
      case "other":
        this.#emit("other", message.value);
        return;
      case "malformed":
        this.stats.malformedMessages += 1;
        this.#emit("error", { op: "error", code: "malformed_message", message: `${message.why}: ${message.text}`, topics: [] });
        return;
    }
  }

  /** The gateway has taken a token, which may permit other topics than the one before. */
  #authenticated(ack: Ack, expiresMs: number): void {
    this.#isAuthenticated = true;
    this.#forbidden.clear();
    this.#forbid(ack.unsubscribed);
    this.#queueReconcile();
    this.#tokens?.schedule(expiresMs, () => this.#renewToken());
  }

  #forbid(topics: readonly string[]): void {
    for (const topic of topics) {
      this.#forbidden.add(topic);
      this.#told.delete(topic);
    }
  }

  #renewToken(): void {
    const tokens = this.#tokens;
    if (tokens === null || !tokens.canRenew || this.#status.state !== "open") return;
    tokens.fetch(
      (token) => this.#send({ op: "auth", id: this.#id(), token }),
      (why) => {
        this.#emit("error", { op: "error", code: "no_token", message: `no new token: ${why}`, topics: [] });
        tokens.scheduleRetry(() => this.#renewToken());
      },
    );
  }

  /** Sends what the connection must be told so that it matches what is wanted. */
  #reconcile(): void {
    if (this.#status.state !== "open") return;
    const goal = new Map<string, string>();
    for (const [topic, options] of this.#wanted) {
      if (this.#forbidden.has(topic)) continue;
      const parameters = this.#parameters(options);
      if (parameters !== null) goal.set(topic, JSON.stringify(parameters));
    }
    const leaving = [...this.#told].filter(([topic, told]) => goal.get(topic) !== told).map(([topic]) => topic);
    for (const topics of chunks(leaving, TOPICS_PER_MESSAGE_MAX)) this.#send({ op: "unsub", id: this.#id(), topics });
    for (const topic of leaving) this.#told.delete(topic);

    const joining = new Map<string, string[]>();
    for (const [topic, parameters] of goal) {
      if (this.#told.has(topic)) continue;
      this.#told.set(topic, parameters);
      const group = joining.get(parameters);
      if (group === undefined) joining.set(parameters, [topic]);
      else group.push(topic);
    }
    for (const [parameters, group] of joining) {
      const fields = JSON.parse(parameters) as Record<string, unknown>;
      if (this.#config.maxRate !== null) fields["max_rate"] = this.#config.maxRate;
      const fresh = group.filter((topic) => this.#recentDue.has(topic));
      const resumed = group.filter((topic) => !this.#recentDue.has(topic));
      for (const topics of chunks(resumed, TOPICS_PER_MESSAGE_MAX)) {
        const matched = (topic: string): boolean => topics.some((pattern) => topicMatches(pattern, topic));
        this.#subscribe(topics, fields, this.#versions.resumePosition(matched, RESUME_TOPICS_MAX));
      }
      for (const topics of chunks(fresh, TOPICS_PER_MESSAGE_MAX)) {
        // From the beginning of an epoch that never was: the gateway answers with all that it holds.
        this.#subscribe(topics, fields, { epoch: 0, seq: Object.fromEntries(topics.map((topic) => [topic, 0])) });
      }
    }
  }

  #subscribe(topics: readonly string[], fields: object, since: ResumePosition | null): void {
    this.#send({ op: "sub", id: this.#id(), topics, ...fields, ...(since === null ? {} : { since }) });
  }

  /** What is asked for by `options` as they hold now; null if the topic is not to be subscribed now. */
  #parameters(options: SubscribeOptions): Record<string, unknown> | null {
    const reduced = this.#paused && options.whenPaused === "closed_only";
    if (this.#paused && !reduced) return null;
    return {
      ...(options.closedOnly === true || reduced ? { closed_only: true } : {}),
      ...(options.fill === undefined ? {} : { fill: options.fill }),
    };
  }

  #queueReconcile(): void {
    if (this.#reconcileQueued) return;
    this.#reconcileQueued = true;
    queueMicrotask(() => {
      this.#reconcileQueued = false;
      this.#reconcile();
    });
  }

  #request<T>(op: "list" | "ping"): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      if (this.#status.state !== "open") {
        reject(new Error("not connected"));
        return;
      }
      if (this.#requests.size >= REQUESTS_MAX) {
        reject(new Error(`more than ${REQUESTS_MAX} requests without an answer`));
        return;
      }
      const id = this.#id();
      const cancel = this.#config.clock.after(this.#config.requestTimeoutMs, () => {
        this.#requests.delete(id);
        reject(new Error(`no answer to ${op}`));
      });
      this.#requests.set(id, { resolve: resolve as (value: never) => void, reject, cancel });
      this.#send({ op, id });
    });
  }

  #answer(id: number | undefined, value: unknown): void {
    const request = this.#takeRequest(id);
    request?.resolve(value as never);
  }

  #refuse(error: ProtocolError): void {
    this.#takeRequest(error.id)?.reject(new Error(`${error.code}: ${error.message}`));
  }

  #takeRequest(id: number | undefined): Request | null {
    const request = id === undefined ? undefined : this.#requests.get(id);
    if (id === undefined || request === undefined) return null;
    this.#requests.delete(id);
    request.cancel();
    return request;
  }

  #id(): number {
    const id = this.#nextId;
    this.#nextId += 1;
    return id;
  }

  #send(value: object): void {
    try {
      this.#socket?.send(JSON.stringify(value));
    } catch {
      // A socket that is closing refuses; its close event follows and everything is sent again.
    }
  }

  #ended(): Partial<ConnectionStatus> {
    const { closeCode, why } = this.#status;
    return { ...(closeCode === undefined ? {} : { closeCode }), ...(why === undefined ? {} : { why }) };
  }

  #setStatus(status: ConnectionStatus): void {
    this.#status = status;
    this.#emit("status", status);
  }

  #emit<K extends keyof ClientEvents>(event: K, value: ClientEvents[K]): void {
    for (const listener of this.#listeners.get(event) ?? []) {
      try {
        (listener as Listener<ClientEvents[K]>)(value);
      } catch (error) {
        // A listener's fault must not stop the others, nor be swallowed.
        this.#config.clock.after(0, () => {
          throw error;
        });
      }
    }
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

const systemClock: Clock = {
  // Monotonic: a corrected wall clock must not look like silence.
  nowMs: () => performance.now(),
  after: (delayMs, task) => {
    const timer = setTimeout(task, delayMs);
    return () => clearTimeout(timer);
  },
};

function chunks<T>(items: readonly T[], size: number): T[][] {
  const parts: T[][] = [];
  for (let start = 0; start < items.length; start += size) parts.push(items.slice(start, start + size));
  return parts;
}
