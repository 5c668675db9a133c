/** Requests that wait for the gateway's answer: each has an id, a promise and a timeout. */
import type { Clock } from "./client-clock.js";
import type { Connection } from "./connection.js";
import type { ProtocolError } from "./protocol.js";

interface Request {
  readonly resolve: (value: never) => void;
  readonly reject: (error: Error) => void;
  /** Ends the timeout. */
  readonly cancel: () => void;
}

const REQUESTS_MAX = 64;

export class Requests {
  readonly #connection: Connection;
  readonly #clock: Clock;
  readonly #timeoutMs: number;
  readonly #waiting = new Map<number, Request>();

  constructor(connection: Connection, clock: Clock, timeoutMs: number) {
    this.#connection = connection;
    this.#clock = clock;
    this.#timeoutMs = timeoutMs;
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
      const cancel = this.#clock.after(this.#timeoutMs, () => {
        this.#waiting.delete(id);
        reject(new Error(`no answer to ${op}`));
      });
      this.#waiting.set(id, { resolve: resolve as (value: never) => void, reject, cancel });
      this.#connection.send({ op, id });
    });
  }

  answer(id: number | undefined, value: unknown): void {
    this.#take(id)?.resolve(value as never);
  }

  refuse(error: ProtocolError): void {
    this.#take(error.id)?.reject(new Error(`${error.code}: ${error.message}`));
  }

  /** The connection is gone: nothing will be answered. */
  failAll(): void {
    for (const request of this.#waiting.values()) {
      request.cancel();
      request.reject(new Error("connection lost"));
    }
    this.#waiting.clear();
  }

  #take(id: number | undefined): Request | null {
    const request = id === undefined ? undefined : this.#waiting.get(id);
    if (id === undefined || request === undefined) return null;
    this.#waiting.delete(id);
    request.cancel();
    return request;
  }
}
