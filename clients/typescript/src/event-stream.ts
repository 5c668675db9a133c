/**
 * Events as an async iterator, with a bounded buffer. A newer forming bar takes the place of the one
 * that waits. If the buffer is full all the same, the oldest event goes, and the reader is told how many.
 */
import type { DroppedEvent } from "./stream-events.js";

interface Waiting<E> {
  readonly resolve: (result: IteratorResult<E, undefined>) => void;
  readonly reject: (error: Error) => void;
}

const BUFFER_MAX = 10_000;

export class EventStream<E> implements AsyncIterableIterator<E, undefined> {
  readonly #bufferMax: number;
  readonly #onEnd: () => void;
  readonly #onDrop: () => void;
  /** In order of arrival, each under a key of its own. */
  readonly #buffer = new Map<string | number, E | DroppedEvent>();
  #nextKey = 0;
  #dropped = 0;
  #waiting: Waiting<E>[] = [];
  #isEnded = false;
  #error: Error | null = null;

  /** `onEnd` is called once, when the reader or the client ends the stream; `onDrop` for each event left out. */
  constructor(bufferMax: number | undefined, onEnd: () => void, onDrop: () => void = () => {}) {
    this.#bufferMax = Math.max(1, bufferMax ?? BUFFER_MAX);
    this.#onEnd = onEnd;
    this.#onDrop = onDrop;
  }

  /** Events that wait for the reader. */
  get waitingCount(): number {
    return this.#buffer.size;
  }

  get isEnded(): boolean {
    return this.#isEnded;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  next(): Promise<IteratorResult<E, undefined>> {
    const value = this.#take();
    if (value !== undefined) return Promise.resolve({ done: false, value });
    if (this.#error !== null) {
      const error = this.#error;
      // Said once; after it the stream is over.
      this.#error = null;
      return Promise.reject(error);
    }
    if (this.#isEnded) return Promise.resolve({ done: true, value: undefined });
    return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }));
  }

  /** Ends the stream, as `break` out of a `for await` does; what waits is left out. */
  return(): Promise<IteratorResult<E, undefined>> {
    this.#buffer.clear();
    this.#dropped = 0;
    this.end();
    return Promise.resolve({ done: true, value: undefined });
  }

  /** All events that wait, without waiting for more. */
  takeAll(): E[] {
    const events: E[] = [];
    for (let value = this.#take(); value !== undefined; value = this.#take()) events.push(value);
    return events;
  }

  /**
   * For the client: gives `event` to the reader. An event with a `key` replaces the one with the same
   * key that waits, in its place; `over` is the key of an event that has become needless.
   */
  push(event: E, key?: string, over?: string): void {
    if (this.#isEnded) return;
    const waiting = this.#waiting.shift();
    if (waiting !== undefined) {
      waiting.resolve({ done: false, value: event });
      return;
    }
    if (over !== undefined) this.#buffer.delete(over);
    if (key === undefined || !this.#buffer.has(key)) this.#makeRoom();
    this.#nextKey += 1;
    this.#buffer.set(key ?? this.#nextKey, event);
  }

  /** For the client: nothing more comes; with `error` the reader gets it after what waits. */
  end(error: Error | null = null): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    const waiting = this.#waiting;
    this.#waiting = [];
    const [first, ...others] = waiting;
    if (error !== null && first !== undefined) first.reject(error);
    else {
      this.#error = error;
      first?.resolve({ done: true, value: undefined });
    }
    for (const each of others) each.resolve({ done: true, value: undefined });
    this.#onEnd();
  }

  #makeRoom(): void {
    if (this.#buffer.size < this.#bufferMax) return;
    const oldest = this.#buffer.keys().next().value;
    if (oldest !== undefined) this.#buffer.delete(oldest);
    this.#dropped += 1;
    this.#onDrop();
  }

  #take(): E | undefined {
    if (this.#dropped > 0) {
      const dropped: DroppedEvent = { kind: "dropped", count: this.#dropped };
      this.#dropped = 0;
      // Every stream's events include this one.
      return dropped as E;
    }
    const entry = this.#buffer.entries().next().value;
    if (entry === undefined) return undefined;
    this.#buffer.delete(entry[0]);
    return entry[1] as E;
  }
}
