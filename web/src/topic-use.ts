/** The topics that one part of the page uses at the moment: only what can be seen is subscribed. */
import type { KlinecastClient, SubscribeOptions } from "klinecast";

export class TopicUse {
  readonly #client: Pick<KlinecastClient, "sub" | "unsub">;
  readonly #options: SubscribeOptions;
  #topics: ReadonlySet<string> = new Set();

  constructor(client: Pick<KlinecastClient, "sub" | "unsub">, options: SubscribeOptions = {}) {
    this.#client = client;
    this.#options = options;
  }

  has(topic: string): boolean {
    return this.#topics.has(topic);
  }

  /** Uses these topics from now on, and no others. */
  set(topics: Iterable<string>): void {
    const wanted = new Set(topics);
    const left = [...this.#topics].filter((topic) => !wanted.has(topic));
    const joined = [...wanted].filter((topic) => !this.#topics.has(topic));
    this.#topics = wanted;
    if (left.length > 0) this.#client.unsub(left);
    if (joined.length > 0) this.#client.sub(joined, this.#options);
  }
}
