/**
 * How fast a client sends requests: half of what a gateway permits (20 messages a second, 50 at once),
 * because pongs and other requests count, too. Pure: the time is an argument.
 */

const PER_SECOND = 10;
const BURST = 25;

export class MessagePace {
  #room = BURST;
  #atMs = Number.NEGATIVE_INFINITY;

  /** How long a message that counts as `cost` messages must wait, in milliseconds; 0: it may go, and counts. */
  take(cost: number, nowMs: number): number {
    this.#refill(nowMs);
    // A message that is larger than the burst goes once the bucket is full.
    const lacking = Math.min(cost, BURST) - this.#room;
    if (lacking > 0) return Math.ceil((lacking * 1_000) / PER_SECOND);
    this.#room -= cost;
    return 0;
  }

  /** A message went that does not wait. */
  spend(cost: number, nowMs: number): void {
    this.#refill(nowMs);
    this.#room -= cost;
  }

  /** A new connection has its own rate. */
  startOver(): void {
    this.#room = BURST;
  }

  #refill(nowMs: number): void {
    const passedMs = Math.max(0, nowMs - this.#atMs);
    this.#room = Math.min(BURST, this.#room + (passedMs * PER_SECOND) / 1_000);
    this.#atMs = nowMs;
  }
}

/** What a `sub` or `unsub` of these topics counts as. */
export function costOf(topicCount: number, wildcardCount: number): number {
  return 1 + Math.floor(topicCount / 100) + Math.floor(wildcardCount / 10);
}
