/** Something that is to be done once, later, unless it is called off before. */
import type { Clock } from "./client-clock.js";

export class Alarm {
  readonly #clock: Clock;
  /** Calls it off; null while it is not set. */
  #cancel: (() => void) | null = null;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get isSet(): boolean {
    return this.#cancel !== null;
  }

  /** Does `work` after `delayMs`, in place of what was set before. */
  set(delayMs: number, work: () => void): void {
    this.clear();
    this.#cancel = this.#clock.after(delayMs, () => {
      this.#cancel = null;
      work();
    });
  }

  clear(): void {
    this.#cancel?.();
    this.#cancel = null;
  }
}
