/** Sends what the connection must be told so that it matches what is wanted, at the pace that a gateway permits. */
import type { Clock } from "./client-clock.js";
import type { Connection } from "./connection.js";
import { MessagePace } from "./message-pace.js";
import { changeCost, type SubscriptionChange, type Subscriptions } from "./subscriptions.js";

export class Outbox {
  readonly pace = new MessagePace();
  readonly #connection: Connection;
  readonly #subscriptions: Subscriptions;
  readonly #clock: Clock;
  /** Told of topics that go on without what came in between. */
  readonly #onLost: (topics: readonly string[]) => void;
  #maxRate: number | null;
  /** Changes that wait for the pace. */
  #changes: SubscriptionChange[] = [];
  #cancelWait: (() => void) | null = null;
  #isQueued = false;

  constructor(connection: Connection, subscriptions: Subscriptions, clock: Clock, maxRate: number | null, onLost: (topics: readonly string[]) => void) {
    this.#connection = connection;
    this.#subscriptions = subscriptions;
    this.#clock = clock;
    this.#maxRate = maxRate;
    this.#onLost = onLost;
  }

  /** Sends what differs now. */
  send(): void {
    const connection = this.#connection;
    if (!connection.isOpen || this.#cancelWait !== null) return;
    for (;;) {
      if (this.#changes.length === 0) {
        this.#changes = this.#subscriptions.takeChanges(this.#maxRate);
        const lost = this.#subscriptions.takeLost();
        if (lost.length > 0) this.#onLost(lost);
      }
      const change = this.#changes[0];
      if (change === undefined) return;
      const waitMs = this.pace.take(changeCost(change), this.#clock.nowMs());
      if (waitMs > 0) {
        this.#cancelWait = this.#clock.after(waitMs, () => {
          this.#cancelWait = null;
          this.send();
        });
        return;
      }
      this.#changes.shift();
      const id = connection.nextId();
      this.#subscriptions.sent(id, change);
      connection.send({ id, ...change });
    }
  }

  /** Sends soon: what is wanted in one moment becomes one message. */
  sendSoon(): void {
    if (this.#isQueued) return;
    this.#isQueued = true;
    queueMicrotask(() => {
      this.#isQueued = false;
      this.send();
    });
  }

  /** Changes how many frames a second the gateway sends at most; null is no limit. */
  setMaxRate(framesPerSecond: number | null): void {
    this.#maxRate = framesPerSecond;
    if (!this.#connection.isOpen) return;
    this.pace.spend(1, this.#clock.nowMs());
    this.#connection.send({ op: "rate", id: this.#connection.nextId(), max_rate: framesPerSecond ?? 0 });
  }

  /** The connection is gone: the next one is told everything anew. */
  connectionDropped(): void {
    this.#changes = [];
    this.#cancelWait?.();
    this.#cancelWait = null;
    this.pace.startOver();
  }
}
