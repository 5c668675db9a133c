/** What publishers say of the exchanges' feeds: one feed for each exchange. Pure. */
import type { FeedStatus } from "klinecast";
import type { BadgeState, KnownFeed } from "./feed-health.js";

/** More exchanges are not kept. */
const EXCHANGES_MAX = 32;
/** More publishers of one exchange are not kept. */
const PUBLISHERS_MAX = 16;

/**
 * A publisher that says nothing for this long while another one of its exchange does is forgotten: it
 * was restarted and has another name, or it ended. If it died, the others say so.
 */
const FORGOTTEN_AFTER_MS = 15_000;

/**
 * Publishers of different symbols share the topic of an exchange's feed, and each one describes its
 * own symbols. The newest message alone would hide what the others say.
 */
export class Feeds {
  readonly #byExchange = new Map<string, Map<string, KnownFeed>>();

  take(status: FeedStatus, nowMs: number): void {
    let publishers = this.#byExchange.get(status.exchange);
    if (publishers === undefined) {
      if (this.#byExchange.size >= EXCHANGES_MAX) return;
      publishers = new Map();
      this.#byExchange.set(status.exchange, publishers);
    }
    const publisher = status.publisher ?? "";
    publishers.delete(publisher);
    for (const [name, known] of publishers) {
      if (nowMs - known.receivedAtMs > FORGOTTEN_AFTER_MS) publishers.delete(name);
    }
    if (publishers.size < PUBLISHERS_MAX) publishers.set(publisher, { status, receivedAtMs: nowMs });
  }

  get(exchange: string): KnownFeed | undefined {
    const publishers = this.#byExchange.get(exchange);
    return publishers === undefined ? undefined : merged([...publishers.values()]);
  }

  all(): KnownFeed[] {
    return [...this.#byExchange.values()].map((publishers) => merged([...publishers.values()])).filter((feed) => feed !== undefined);
  }
}

/** Live if all are, stale if some are; the greatest age of all, and all symbols. */
function merged(known: readonly KnownFeed[]): KnownFeed | undefined {
  const first = known[0];
  if (first === undefined || known.length === 1) return first;
  const statuses = known.map(({ status }) => status);
  const receivedAtMs = Math.max(...known.map((feed) => feed.receivedAtMs));
  const live = statuses.filter((status) => status.state === "live").length;
  const isAllStale = statuses.every((status) => status.state === "stale");
  const state: BadgeState = live === statuses.length ? "live" : live > 0 || isAllStale ? "stale" : "reconnecting";
  // Rivals publish the same symbols: they must not count twice.
  const isOfSame = statuses.some((status) => (status.rivals ?? 0) > 0);
  const total = (of: (status: FeedStatus) => number | undefined) => {
    const numbers = statuses.map((status) => of(status) ?? 0);
    return isOfSame ? Math.max(...numbers) : numbers.reduce((sum, number) => sum + number, 0);
  };
  const names = (of: (status: FeedStatus) => readonly string[] | undefined) => [...new Set(statuses.flatMap((status) => of(status) ?? []))];
  return {
    receivedAtMs,
    publishers: { live, all: statuses.length },
    status: {
      ...first.status,
      state,
      mode: statuses.some((status) => status.mode === "sim") ? "sim" : first.status.mode,
      age_ms: Math.max(...known.map((feed) => feed.status.age_ms + receivedAtMs - feed.receivedAtMs)),
      connections: total((status) => status.connections),
      symbols: total((status) => status.symbols),
      refused: names((status) => status.refused),
      refused_count: total((status) => status.refused_count),
      unknown: names((status) => status.unknown),
      unknown_count: total((status) => status.unknown_count),
      lost_publishers: Math.max(...statuses.map((status) => status.lost_publishers ?? 0)),
    },
  };
}
