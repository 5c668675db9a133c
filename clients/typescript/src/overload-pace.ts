/** When a gateway that answered `overloaded` is asked again: full jitter, and longer each time that it refuses. */
import { type BackoffConfig, reconnectDelayMs } from "./reconnect.js";

export class OverloadPace {
  readonly #backoff: BackoffConfig;
  readonly #random: () => number;
  /** Refusals since the last answer. */
  #refusals = 0;

  constructor(backoff: BackoffConfig, random: () => number) {
    this.#backoff = backoff;
    this.#random = random;
  }

  /** The gateway refused: how long to wait, in milliseconds. */
  refusedDelayMs(): number {
    const attempt = this.#backoff.backOffAttempts + this.#refusals;
    this.#refusals += 1;
    return reconnectDelayMs(attempt, "back_off", this.#random(), this.#backoff);
  }

  /** The gateway did what it was asked for, or another connection asks. */
  startOver(): void {
    this.#refusals = 0;
  }
}
