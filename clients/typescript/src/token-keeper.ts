/**
 * Where a client's tokens come from, and when the next one is due. At most one
 * is being fetched at a time, and none for longer than a timeout.
 */

/** A token, or a function that gets one each time that one is needed. */
export type TokenSource = string | (() => string | Promise<string>);

export interface TokenClock {
  after(delayMs: number, task: () => void): () => void;
  /** Milliseconds since 1970; default `Date.now`. */
  dateMs?(): number;
}

/** Between attempts to get a token while the old one is still good. */
const RETRY_MS = 5_000;
/** Timers of browsers hold 31 bits. */
const DELAY_MAX_MS = 2 ** 31 - 1;

export class TokenKeeper {
  readonly #source: TokenSource;
  readonly #clock: TokenClock;
  readonly #timeoutMs: number;
  readonly #refreshBeforeMs: number;
  #fetching: object | null = null;
  #cancelTimeout: () => void = () => {};
  #cancelRefresh: () => void = () => {};

  constructor(source: TokenSource, clock: TokenClock, timeoutMs: number, refreshBeforeMs: number) {
    this.#source = source;
    this.#clock = clock;
    this.#timeoutMs = timeoutMs;
    this.#refreshBeforeMs = refreshBeforeMs;
  }

  /** Whether another token can be had than the one before. */
  get canRenew(): boolean {
    return typeof this.#source === "function";
  }

  /** Gets a token; a fixed one at once. Does nothing while one is being fetched. */
  fetch(done: (token: string) => void, failed: (why: string) => void): void {
    if (this.#fetching !== null) return;
    if (typeof this.#source === "string") {
      done(this.#source);
      return;
    }
    const fetching = {};
    this.#fetching = fetching;
    const end = (act: () => void): void => {
      // One that was given up may still come.
      if (this.#fetching !== fetching) return;
      this.#fetching = null;
      this.#cancelTimeout();
      act();
    };
    this.#cancelTimeout = this.#clock.after(this.#timeoutMs, () => end(() => failed(`none within ${this.#timeoutMs} ms`)));
    const source = this.#source;
    // A function that throws at once is as one that fails later.
    Promise.resolve()
      .then(() => source())
      .then(
        (token) =>
          end(() => {
            if (typeof token === "string" && token !== "") done(token);
            else failed("the token function gave none");
          }),
        (error: unknown) => end(() => failed(error instanceof Error ? error.message : String(error))),
      );
  }

  /** Calls `renew` well before `expiresMs`, if there is anything that it could do. */
  schedule(expiresMs: number, renew: () => void): void {
    this.#cancelRefresh();
    if (!this.canRenew) return;
    const restMs = Math.max(0, expiresMs - (this.#clock.dateMs ?? Date.now)());
    // A token that lives shorter than the time ahead is renewed at half its time.
    const delayMs = restMs > 2 * this.#refreshBeforeMs ? restMs - this.#refreshBeforeMs : restMs / 2;
    // Not in a loop, whatever clocks and issuers say.
    const boundedMs = Math.min(Math.max(delayMs, 1_000), DELAY_MAX_MS);
    this.#cancelRefresh = this.#clock.after(boundedMs, renew);
  }

  /** Calls `renew` again after a failure. */
  scheduleRetry(renew: () => void): void {
    this.#cancelRefresh();
    this.#cancelRefresh = this.#clock.after(RETRY_MS, renew);
  }

  /** Gives up what is under way. */
  stop(): void {
    this.#fetching = null;
    this.#cancelTimeout();
    this.#cancelRefresh();
  }
}
