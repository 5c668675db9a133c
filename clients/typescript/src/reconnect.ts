/**
 * When to connect again after a connection ended: the table of close codes and
 * full-jitter backoff. Pure: randomness is an argument.
 */

/** What a close code asks of the client. */
export type CloseAdvice =
  /** The server is fine; come back after a short random delay. */
  | "reconnect"
  /** A limit was hit; come back, but leave more time. */
  | "back_off"
  /** Come back with a new token; without one as `stop`. */
  | "renew"
  /** The same request would fail again: a person or the program must change something. */
  | "stop";

export interface CloseReason {
  readonly advice: CloseAdvice;
  readonly label: string;
}

/** As the table of docs/protocol.md has them. A 1000 that the client did not ask for is a lost connection. */
const CLOSE_REASONS: ReadonlyMap<number, CloseReason> = new Map([
  [1000, { advice: "reconnect", label: "closed by the server" }],
  [1001, { advice: "reconnect", label: "server going away" }],
  [1002, { advice: "stop", label: "protocol error" }],
  [1003, { advice: "stop", label: "unsupported data" }],
  [1007, { advice: "stop", label: "invalid text" }],
  [1009, { advice: "stop", label: "message too big" }],
  [1012, { advice: "reconnect", label: "server restarting" }],
  [1013, { advice: "back_off", label: "server at its limit" }],
  [4000, { advice: "back_off", label: "this client reads too slowly" }],
  [4001, { advice: "reconnect", label: "connection was idle" }],
  [4002, { advice: "back_off", label: "too many messages sent" }],
  [4003, { advice: "renew", label: "not authorised" }],
  [4004, { advice: "back_off", label: "handshake took too long" }],
  [4005, { advice: "renew", label: "token expired" }],
  [4006, { advice: "reconnect", label: "moved to another server" }],
]);

/** What to do after a close with `code`. An unknown code is a lost connection: reconnect. */
export function closeReason(code: number): CloseReason {
  return CLOSE_REASONS.get(code) ?? { advice: "reconnect", label: "connection lost" };
}

export interface BackoffConfig {
  /** Upper end of the first delay, in milliseconds. */
  readonly baseMs: number;
  /** Upper end of any delay, in milliseconds. */
  readonly maxMs: number;
  /** Attempts that a `back_off` close counts for, so that its first delay is longer. */
  readonly backOffAttempts: number;
}

export const BACKOFF_DEFAULT: BackoffConfig = { baseMs: 1_000, maxMs: 30_000, backOffAttempts: 3 };

/**
 * Full jitter: uniform in `[0, min(max, base * 2^attempt))` milliseconds.
 * `attempt` counts from 0 and starts again only after a connection that proved stable.
 */
export function reconnectDelayMs(
  attempt: number,
  advice: CloseAdvice,
  random: number,
  config: BackoffConfig = BACKOFF_DEFAULT,
): number {
  const effective = advice === "back_off" ? Math.max(attempt, config.backOffAttempts) : attempt;
  const ceilingMs = Math.min(config.maxMs, config.baseMs * 2 ** Math.min(effective, 30));
  return Math.floor(random * ceilingMs);
}
