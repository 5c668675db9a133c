/**
 * The client's connection: one socket at a time, its handshake, its silence and its end, and
 * when the next one is tried. It knows nothing of what is subscribed.
 */
import type { Clock } from "./client-clock.js";
import { type BackoffConfig, type CloseAdvice, closeReason, reconnectDelayMs } from "./reconnect.js";
import type { TokenKeeper } from "./token-keeper.js";

/** The part of the WebSocket interface that is used; `ws` and browsers both have it. */
export interface Socket {
  onopen: ((event: never) => void) | null;
  onmessage: ((event: { data: unknown }) => void) | null;
  onerror: ((event: never) => void) | null;
  onclose: ((event: { code: number; reason: string }) => void) | null;
  send(text: string): void;
  close(code?: number, reason?: string): void;
  /** Ends the connection without waiting for the server (`ws` has it, browsers do not). */
  terminate?(): void;
}

export type SocketConstructor = new (url: string) => Socket;

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

export interface ConnectionConfig {
  readonly url: string;
  readonly Socket: SocketConstructor;
  /** Asked before each connection; null: the gateway wants no token. */
  readonly tokens: TokenKeeper | null;
  readonly staleAfterMs: number;
  readonly connectTimeoutMs: number;
  readonly stableAfterMs: number;
  readonly backoff: BackoffConfig;
  readonly clock: Clock;
  readonly random: () => number;
}

export interface ConnectionObserver {
  /** In state `open` a token has been sent, and nothing else. */
  onStatus(status: ConnectionStatus): void;
  onFrame(data: unknown, receivedAtMs: number): void;
  /** The gateway will have forgotten all that it was told, and answers no request of before. */
  onDropped(): void;
}

/** No close code: the connection ended without one, or we gave it up. */
const ABNORMAL = 1006;
const UNAUTHORIZED = 4003;
/** Attempts that were brought forward are at least so far apart. */
const RETRY_NOW_INTERVAL_MS = 1_000;

export class Connection {
  readonly #config: ConnectionConfig;
  readonly #observer: ConnectionObserver;
  #status: ConnectionStatus = { state: "closed", attempt: 0 };
  #socket: Socket | null = null;
  #framesReceived = 0;
  #openedAtMs = 0;
  #lastFrameAtMs = 0;
  #lastAttemptAtMs = Number.NEGATIVE_INFINITY;
  #attempt = 0;
  #nextId = 1;
  #cancelTimer: () => void = () => {};

  constructor(config: ConnectionConfig, observer: ConnectionObserver) {
    this.#config = config;
    this.#observer = observer;
  }

  get status(): ConnectionStatus {
    return this.#status;
  }

  get isOpen(): boolean {
    return this.#status.state === "open";
  }

  /** When the last frame arrived, on the client's monotonic clock; 0 before the first. */
  get lastFrameAtMs(): number {
    return this.#lastFrameAtMs;
  }

  /** Starts connecting, and keeps a connection until `close`. */
  connect(): void {
    if (this.#status.state === "closed" || this.#status.state === "stopped") {
      this.#attempt = 0;
      this.#open();
    }
  }

  close(): void {
    this.#dropSocket(1000, "client closed");
    this.#setStatus({ state: "closed", attempt: 0 });
  }

  /** Brings a scheduled attempt forward; at most one a second. */
  retryNow(): void {
    if (this.#status.state !== "reconnecting") return;
    if (this.#config.clock.nowMs() - this.#lastAttemptAtMs < RETRY_NOW_INTERVAL_MS) return;
    this.#cancelTimer();
    this.#open();
  }

  /** Ends a connection whose first token the gateway refused, as its close code 4003 would. */
  loseUnauthorized(reason: string): void {
    this.#lost(UNAUTHORIZED, closeReason(UNAUTHORIZED).label, reason);
  }

  /** Ends a connection whose server does not speak the protocol; the next attempt leaves it time. */
  giveUp(why: string): void {
    if (this.#socket !== null) this.#lost(ABNORMAL, why, "", "back_off");
  }

  /** The id of the next request. */
  nextId(): number {
    const id = this.#nextId;
    this.#nextId += 1;
    return id;
  }

  send(value: object): void {
    try {
      this.#socket?.send(JSON.stringify(value));
    } catch {
      // A socket that is closing refuses; its close event follows and everything is sent again.
    }
  }

  sendToken(token: string): void {
    this.send({ op: "auth", id: this.nextId(), token });
  }

  #open(): void {
    const { clock, tokens } = this.#config;
    this.#lastAttemptAtMs = clock.nowMs();
    this.#setStatus({ ...this.#ended(), state: "connecting", attempt: this.#attempt });
    if (tokens === null) this.#openSocket(null);
    else
      tokens.fetch(
        (token) => this.#openSocket(token),
        (why) => this.#lost(ABNORMAL, `no token: ${why}`),
      );
  }

  #openSocket(token: string | null): void {
    const { clock, url, connectTimeoutMs } = this.#config;
    let socket: Socket;
    try {
      socket = new this.#config.Socket(url);
    } catch (error) {
      // An address that can never work (a syntax error, or ws: from an https: page).
      this.#setStatus({ state: "stopped", attempt: this.#attempt, why: String(error) });
      return;
    }
    this.#socket = socket;
    socket.onopen = () => {
      this.#openedAtMs = clock.nowMs();
      this.#lastFrameAtMs = this.#openedAtMs;
      this.#cancelTimer();
      this.#watchForSilence();
      // Before anything that a listener of the status may ask for.
      if (token !== null) this.sendToken(token);
      this.#setStatus({ state: "open", attempt: this.#attempt });
    };
    socket.onmessage = (event) => this.#receive(event.data);
    // Every failure is followed by a close event, which decides.
    socket.onerror = () => {};
    socket.onclose = (event) => this.#lost(event.code, closeReason(event.code).label, event.reason);
    this.#cancelTimer = clock.after(connectTimeoutMs, () => this.#lost(ABNORMAL, "no answer to the handshake"));
  }

  #receive(data: unknown): void {
    this.#lastFrameAtMs = this.#config.clock.nowMs();
    this.#framesReceived += 1;
    this.#observer.onFrame(data, this.#lastFrameAtMs);
  }

  #lost(code: number, label: string, reason = "", insteadOfTable?: CloseAdvice): void {
    const { clock, tokens, stableAfterMs, random, backoff } = this.#config;
    const general = insteadOfTable ?? closeReason(code).advice;
    // Without another token the same would happen again.
    const advice = general === "renew" && tokens?.canRenew !== true ? "stop" : general;
    const wasStable = this.isOpen && clock.nowMs() - this.#openedAtMs >= stableAfterMs;
    this.#dropSocket(1000, "client gave up", true);
    const why = reason === "" ? label : `${label}: ${reason}`;
    if (advice === "stop") {
      this.#setStatus({ state: "stopped", attempt: this.#attempt, closeCode: code, why });
      return;
    }
    if (wasStable) this.#attempt = 0;
    const retryInMs = reconnectDelayMs(this.#attempt, advice, random(), backoff);
    this.#attempt += 1;
    this.#cancelTimer = clock.after(retryInMs, () => this.#open());
    this.#setStatus({ state: "reconnecting", attempt: this.#attempt, closeCode: code, why, retryInMs });
  }

  /** Forgets the socket at once; events that it still emits reach nobody. */
  #dropSocket(code: number, reason: string, isAbandoned = false): void {
    this.#cancelTimer();
    this.#cancelTimer = () => {};
    this.#config.tokens?.stop();
    this.#observer.onDropped();
    const socket = this.#socket;
    this.#socket = null;
    if (socket === null) return;
    socket.onopen = null;
    socket.onmessage = null;
    socket.onclose = null;
    // `ws` reports an abandoned handshake as an error; it must find a listener.
    socket.onerror = () => {};
    try {
      // A server that floods would go on with it while the closing handshake lasts.
      if (isAbandoned && socket.terminate !== undefined) socket.terminate();
      else socket.close(code, reason);
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
      const framesBefore = this.#framesReceived;
      this.send({ op: "ping" });
      this.#cancelTimer = clock.after(halfMs, () => {
        if (this.#framesReceived > framesBefore) this.#watchForSilence();
        else this.#lost(ABNORMAL, `nothing received for ${Math.round(halfMs + clock.nowMs() - pingedAtMs)} ms`);
      });
    });
  }

  #ended(): Partial<ConnectionStatus> {
    const { closeCode, why } = this.#status;
    return { ...(closeCode === undefined ? {} : { closeCode }), ...(why === undefined ? {} : { why }) };
  }

  #setStatus(status: ConnectionStatus): void {
    this.#status = status;
    this.#observer.onStatus(status);
  }
}
