/** The order books whose changes did not fit: each is asked for again, and not without end. */

/** Times in a row that a book is asked for, without changes that fit in between. */
const TRIES_MAX = 3;
/** How long the answer may take. */
const ANSWER_MS = 10_000;
/** More books at once say something of the connection. */
const TOPICS_MAX = 100;

interface Lost {
  readonly tries: number;
  readonly askedAtMs: number;
  /** Whether the whole book has not come yet. */
  readonly isWaiting: boolean;
}

export class LostBooks {
  readonly #byTopic = new Map<string, Lost>();

  /** Changes of a topic did not fit: whether the book is to be asked for, waited for, or nothing helps. */
  misfit(topic: string, nowMs: number): "ask" | "wait" | "give_up" {
    const lost = this.#byTopic.get(topic);
    if (lost?.isWaiting === true) return nowMs - lost.askedAtMs < ANSWER_MS ? "wait" : "give_up";
    const tries = (lost?.tries ?? 0) + 1;
    if (tries > TRIES_MAX || (lost === undefined && this.#byTopic.size >= TOPICS_MAX)) return "give_up";
    this.#byTopic.set(topic, { tries, askedAtMs: nowMs, isWaiting: true });
    return "ask";
  }

  /** A whole book of a topic came. */
  whole(topic: string): void {
    const lost = this.#byTopic.get(topic);
    if (lost !== undefined) this.#byTopic.set(topic, { ...lost, isWaiting: false });
  }

  /** Changes of a topic fitted. */
  fitted(topic: string): void {
    this.#byTopic.delete(topic);
  }

  /** The topics are asked for anew, or some are not wanted any more. */
  clear(): void {
    this.#byTopic.clear();
  }
}
