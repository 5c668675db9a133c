import { KlinecastClient } from "../dist/index.js";

/** What the calendar says when the clock is at 0. */
export const DATE_MS = 1_700_000_000_000;

/** A clock that moves only when told, and a socket class whose sockets are worked by hand. */
export function bench(config = {}) {
  let nowMs = 0;
  let tasks = [];
  const clock = {
    nowMs: () => nowMs,
    dateMs: () => DATE_MS + nowMs,
    after: (delayMs, task) => {
      const entry = { atMs: nowMs + delayMs, task };
      tasks.push(entry);
      return () => {
        tasks = tasks.filter((other) => other !== entry);
      };
    },
  };
  const sockets = [];
  class HandSocket {
    sent = [];
    isClosed = false;
    constructor(url) {
      this.url = url;
      sockets.push(this);
    }
    send(text) {
      this.sent.push(JSON.parse(text));
    }
    close() {
      this.isClosed = true;
    }
    open() {
      this.onopen?.({});
    }
    receive(...messages) {
      this.onmessage?.({ data: messages.map((message) => (typeof message === "string" ? message : JSON.stringify(message))).join("\n") });
    }
    drop(code, reason = "") {
      this.onclose?.({ code, reason });
    }
  }
  const client = new KlinecastClient({ url: "ws://gateway/ws", WebSocket: HandSocket, clock, random: () => 0.5, ...config });
  const events = [];
  for (const name of ["status", "bar", "trade", "quote", "ticker", "book", "alert", "system_alert", "live", "feed", "skipped", "not_resumed", "expiring", "error", "other", "frame"]) client.on(name, (value) => events.push([name, value]));
  return {
    client,
    sockets,
    events,
    get socket() {
      return sockets[sockets.length - 1];
    },
    get taskCount() {
      return tasks.length;
    },
    of: (name) => events.filter(([event]) => event === name).map(([, value]) => value),
    /** Time passes while nothing runs. */
    sleep: (ms) => {
      nowMs += ms;
    },
    /** Lets time pass, running what falls due in order. */
    async advance(ms) {
      const untilMs = nowMs + ms;
      for (;;) {
        const due = tasks.filter((entry) => entry.atMs <= untilMs).sort((a, b) => a.atMs - b.atMs)[0];
        if (due === undefined) break;
        tasks = tasks.filter((entry) => entry !== due);
        nowMs = Math.max(nowMs, due.atMs);
        due.task();
        await settle();
      }
      nowMs = untilMs;
    },
  };
}

export const settle = () => new Promise((resolve) => setImmediate(resolve));
export const subsOf = (socket) => socket.sent.filter((message) => message.op === "sub");
