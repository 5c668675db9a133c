/** How far the page's wall clock is ahead of the gateway's, from the times in its messages. */

/** Clock samples are compared within this span. */
const SPAN_MS = 30_000;
const SAMPLE_INTERVAL_MS = 250;

export class ClockOffset {
  #samples: { atMs: number; offsetMs: number }[] = [];

  /** 0 before the first sample. */
  get offsetMs(): number {
    return this.#samples[0]?.offsetMs ?? 0;
  }

  /** The gateway's time, as far as it is known. */
  get serverNowMs(): number {
    return Date.now() - this.offsetMs;
  }

  /** The smallest difference seen lately is the one with the least delay on the way. */
  sample(serverMs: number): void {
    const atMs = performance.now();
    const offsetMs = Date.now() - serverMs;
    const latest = this.#samples[this.#samples.length - 1];
    const isCrowded = latest !== undefined && atMs - latest.atMs < SAMPLE_INTERVAL_MS && latest.offsetMs <= offsetMs;
    if (!Number.isFinite(offsetMs) || isCrowded) return;
    this.#samples = this.#samples.filter((sample) => atMs - sample.atMs < SPAN_MS && sample.offsetMs < offsetMs);
    this.#samples.push({ atMs, offsetMs });
  }
}
