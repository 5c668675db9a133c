/** The order books that a client has told of: without a connection, none of them is right. */
import type { Book } from "./messages.js";

const TOPICS_MAX = 20_000;

export class Books {
  /** The valid ones. */
  readonly #byTopic = new Map<string, Book>();

  /** A book was told. */
  told(book: Book): void {
    this.#byTopic.delete(book.topic);
    if (book.state === "invalid") return;
    this.#byTopic.set(book.topic, book);
    const oldest = this.#byTopic.keys().next().value;
    if (this.#byTopic.size > TOPICS_MAX && oldest !== undefined) this.#byTopic.delete(oldest);
  }

  /** The connection has ended: what is to be told of the books that were valid. */
  lost(): Book[] {
    const books = [...this.#byTopic.values()];
    this.#byTopic.clear();
    return books.map((book): Book => ({ ...book, state: "invalid", reason: "disconnected", update_id: null, bids: [], asks: [], event_ms: null, received_us: null }));
  }
}
