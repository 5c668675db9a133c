/** Which streams get which events: each topic or pattern belongs to at most one stream. */
import type { EventStream } from "./event-stream.js";
import type { StreamEvent } from "./stream-events.js";

export class StreamRouter {
  readonly #byName = new Map<string, EventStream<StreamEvent>>();

  add(names: readonly string[], stream: EventStream<StreamEvent>): void {
    for (const name of names) this.#byName.set(name, stream);
  }

  remove(names: readonly string[]): void {
    for (const name of names) this.#byName.delete(name);
  }

  has(name: string): boolean {
    return this.#byName.has(name);
  }

  /** Gives `event` to the streams of these topics and patterns, to each once. */
  push(names: readonly string[], event: StreamEvent): void {
    if (this.#byName.size === 0) return;
    const [key, over] = keysOf(event);
    for (const stream of this.#of(names)) stream.push(event, key, over);
  }

  /** Ends the streams of these topics with what the gateway said of them. */
  fail(names: readonly string[], error: Error): void {
    for (const stream of this.#of(names)) stream.end(error);
  }

  endAll(error: Error | null): void {
    for (const stream of new Set(this.#byName.values())) stream.end(error);
  }

  #of(names: readonly string[]): Set<EventStream<StreamEvent>> {
    const streams = new Set<EventStream<StreamEvent>>();
    for (const name of names) {
      const stream = this.#byName.get(name);
      if (stream !== undefined) streams.add(stream);
    }
    return streams;
  }
}

/** The key under which an event waits, and the key of the event that it makes needless. */
function keysOf(event: StreamEvent): [string | undefined, string | undefined] {
  switch (event.kind) {
    case "bar": {
      const key = `bar ${event.topic} ${event.bar.start_ms}`;
      // A closed bar goes to the end: an event before it must not carry its token.
      return event.bar.state === "forming" ? [key, undefined] : [undefined, key];
    }
    case "feed":
      return [`feed ${event.topic} ${event.feed.publisher ?? ""}`, undefined];
    case "system_alert":
    case "quote":
    case "ticker":
    case "book":
      return [`${event.kind} ${event.topic}`, undefined];
    default:
      return [undefined, undefined];
  }
}
