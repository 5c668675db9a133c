/** The clock that the client's parts share, so that a test can move time by hand. */

export interface Clock {
  nowMs(): number;
  /** Runs `task` once after `delayMs`; the result cancels it. */
  after(delayMs: number, task: () => void): () => void;
  /** Milliseconds since 1970, for the expiry of tokens; default `Date.now`. */
  dateMs?(): number;
}

export const systemClock: Clock = {
  // Monotonic: a corrected wall clock must not look like silence.
  nowMs: () => performance.now(),
  after: (delayMs, task) => {
    const timer = setTimeout(task, delayMs);
    return () => clearTimeout(timer);
  },
};
