/** Requests that wait for the gateway's answer: each has an id, a promise and a timeout. */
import type { Clock } from "./client-clock.js";
import type { Connection } from "./connection.js";
import type { MessagePace } from "./message-pace.js";
import type { OverloadPace } from "./overload-pace.js";
import type { ProtocolError } from "./messages.js";

interface Request {
  readonly op: "list" | "ping";
  readonly resolve: (value: never) => void;
  readonly reject: (error: Error) => void;
  readonly cancelTimeout: () => void;
  /** Ends the wait before an overloaded gateway is asked again. */
  cancelRepeat: () => void;
  /** What the gateway answered last, if it was overloaded. */
  refusal: string | null;
}

const REQUESTS_MAX = 64;
/** What a gateway counts them as, in messages. */
const COST: Readonly<Record<Request["op"], number>> = { list: 10, ping: 1 };

export class Requests {
  readonly #connection: Connection;
  readonly #clock: Clock;
  readonly #timeoutMs: number;
  readonly #overload: OverloadPace;
  readonly #pace: MessagePace;
  readonly #waiting = new Map<number, Request>();

  constructor(connection: Connection, clock: Clock, timeoutMs: number, overload: OverloadPace, pace: MessagePace) {
    this.#connection = connection;
    this.#clock = clock;
    this.#timeoutMs = timeoutMs;
    this.#overload = overload;
    this.#pace = pace;
  }

  ask<T>(op: "list" | "ping"): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      if (!this.#connection.isOpen) {
        reject(new Error("not connected"));
        return;
      }
      if (this.#waiting.size >= REQUESTS_MAX) {
        reject(new Error(`more than ${REQUESTS_MAX} requests without an answer`));
        return;
      }
      const id = this.#connection.nextId();
      const cancelTimeout = this.#clock.after(this.#timeoutMs, () => {
        const refusal = this.#take(id)?.refusal ?? null;
        reject(new Error(refusal ?? `no answer to ${op}`));
      });
      this.#waiting.set(id, { op, resolve: resolve as (value: never) => void, reject, cancelTimeout, cancelRepeat: () => {}, refusal: null });
      this.#send(op, id);
    });
  }

  answer(id: number | undefined, value: unknown): void {
    const request = this.#take(id);
    if (request === null) return;
    // An overloaded gateway still answers pings, so a pong proves nothing.
    if (request.op === "list") this.#overload.startOver();
    request.resolve(value as never);
  }

  refuse(error: ProtocolError): void {
    const why = `${error.code}: ${error.message}`;
    if (error.code === "overloaded") this.#repeatLater(error.id, why);
    else this.#take(error.id)?.reject(new Error(why));
  }

  /** The connection is gone: nothing will be answered. */
  failAll(): void {
    for (const id of [...this.#waiting.keys()]) this.#take(id)?.reject(new Error("connection lost"));
  }

  /** Asks an overloaded gateway again after a while; the request's timeout goes on. */
  #repeatLater(id: number | undefined, refusal: string): void {
    const request = id === undefined ? undefined : this.#waiting.get(id);
    if (request === undefined) return;
    request.refusal = refusal;
    request.cancelRepeat();
    request.cancelRepeat = this.#clock.after(this.#overload.refusedDelayMs(), () => this.#send(request.op, id));
  }

  #send(op: Request["op"], id: number | undefined): void {
    this.#pace.spend(COST[op], this.#clock.nowMs());
    this.#connection.send({ op, id });
  }

  #take(id: number | undefined): Request | null {
    const request = id === undefined ? undefined : this.#waiting.get(id);
    if (id === undefined || request === undefined) return null;
    this.#waiting.delete(id);
    request.cancelTimeout();
    request.cancelRepeat();
    return request;
  }
}
