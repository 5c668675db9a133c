/** Trades, quotes, tickers, order books and alerts on their way to those who want them. */
import { Books } from "./books.js";
import type { ClientStats } from "./client-config.js";
import type { ClientEvents, Listeners } from "./client-events.js";
import { LostBooks } from "./lost-books.js";
import type { Book, BookChanges } from "./messages.js";
import type { StreamEvent } from "./stream-events.js";
import type { StreamRouter } from "./stream-router.js";
import type { Subscriptions } from "./subscriptions.js";
import { NEWEST_ONLY } from "./topics.js";
import type { Numbered, TradePlaces } from "./trade-places.js";

export type ValueKind = "trade" | "quote" | "ticker" | "book" | "alert";

export class Values {
  readonly #subscriptions: Subscriptions;
  readonly #places: TradePlaces;
  readonly #streams: StreamRouter;
  readonly #listeners: Listeners;
  readonly #stats: ClientStats;
  readonly #books = new Books();
  readonly #lost = new LostBooks();
  /** Sends soon what is to be asked. */
  readonly #sendSoon: () => void;

  constructor(subscriptions: Subscriptions, places: TradePlaces, streams: StreamRouter, listeners: Listeners, stats: ClientStats, sendSoon: () => void) {
    this.#subscriptions = subscriptions;
    this.#places = places;
    this.#streams = streams;
    this.#listeners = listeners;
    this.#stats = stats;
    this.#sendSoon = sendSoon;
  }

  /** Hands on a value, if somebody wants it and it did not come before. */
  take<K extends ValueKind>(kind: K, value: ClientEvents[K] & Numbered, event: StreamEvent): void {
    const names = this.#subscriptions.namesOf(value.topic, value.exchange);
    if (event.kind === "book") this.#lost.whole(value.topic);
    if (names.length === 0) {
      this.#stats.unaskedMessages += 1;
      if (event.kind === "book") this.#books.told(event.book);
    }
    // After a gateway has said that a book is silent, the publisher's next message has the same number,
    // and so has the book to another depth.
    else if (!this.#places.accept(value, event.kind === "book" && !this.#books.isHere(event.book))) this.#stats.repeatedValues += 1;
    else {
      this.#stats.values += 1;
      if (event.kind === "book") this.#books.told(event.book);
      this.#streams.push(names, event);
      this.#listeners.emit(kind, value);
    }
  }

  /** Hands on a book after its changes. If they do not fit, the topic is asked for again; false if that does not help. */
  changeBook(changes: BookChanges, nowMs: number): boolean {
    const { topic } = changes;
    const book = this.#books.changed(changes);
    const names = this.#subscriptions.namesOf(topic, changes.exchange);
    if (names.length === 0) {
      this.#stats.unaskedMessages += 1;
      // Who wants the topic again goes on from here.
      if (book !== null) this.#books.told(book);
      return true;
    }
    if (book !== null) {
      this.take("book", book, { kind: "book", topic, book });
      this.#lost.fitted(topic);
      return true;
    }
    const answer = this.#lost.misfit(topic, nowMs);
    if (answer !== "ask") return answer === "wait";
    const lost = this.#books.lose(topic);
    if (lost !== null) this.#loseBook(lost);
    this.#subscriptions.askAgain(names);
    this.#sendSoon();
    return true;
  }

  /**
   * These topics or patterns are not wanted any more. Who wants them again later gets the newest value
   * again: it may not have changed since. Trades and alerts go on where they stopped.
   */
  unwant(topics: readonly string[]): void {
    this.#lost.clear();
    const left = topics.filter((topic) => NEWEST_ONLY.test(topic));
    if (left.length === 0) return;
    this.#places.forgetAll(left, (topic, exchange) => NEWEST_ONLY.test(topic) && this.#subscriptions.namesOf(topic, exchange).length === 0);
  }

  /** The connection has ended, and without one no book is right. The next one brings each book whole. */
  loseBooks(): void {
    this.#lost.clear();
    for (const book of this.#books.lost()) this.#loseBook(book);
  }

  #loseBook(book: Book): void {
    this.#places.forget(book.topic);
    const names = this.#subscriptions.namesOf(book.topic, book.exchange);
    if (names.length === 0) return;
    this.#streams.push(names, { kind: "book", topic: book.topic, book });
    this.#listeners.emit("book", book);
  }
}
