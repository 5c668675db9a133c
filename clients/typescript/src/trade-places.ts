/**
 * Where a client stopped in each topic of trades: the epoch and number of the last trade. A trade that
 * came before is recognised and dropped. The same holds for quotes, tickers, order books and alerts. Bounded in topics.
 */
import type { ResumePosition } from "./messages.js";
import { isPattern, plainOf } from "./topics.js";

/** What of a message says where it stands. */
export interface Numbered {
  readonly topic: string;
  readonly epoch: number;
  readonly seq: number;
  readonly exchange: string;
}

interface Place {
  readonly epoch: number;
  readonly seq: number;
  readonly exchange: string;
}

const TOPICS_MAX = 20_000;

export class TradePlaces {
  readonly #places = new Map<string, Place>();

  /** True if the message comes after all that came of its topic, or has the number of the last one and may. */
  accept({ topic, epoch, seq, exchange }: Numbered, mayRepeat = false): boolean {
    const known = this.#places.get(topic);
    if (known !== undefined && (epoch < known.epoch || (epoch === known.epoch && (seq < known.seq || (seq === known.seq && !mayRepeat))))) return false;
    // The topic heard of last stands last.
    this.#places.delete(topic);
    this.#places.set(topic, { epoch, seq, exchange });
    const oldest = this.#places.keys().next().value;
    if (this.#places.size > TOPICS_MAX && oldest !== undefined) this.#places.delete(oldest);
    return true;
  }

  /**
   * Where to resume the topics that `wanted` selects. Trades resume within their epoch only, and a
   * position has one: the one that most of the topics have. The others are returned as `lost`.
   */
  resumePosition(wanted: (topic: string, exchange: string) => boolean, topicsMax: number): { readonly since: ResumePosition | null; readonly lost: string[] } {
    const byEpoch = new Map<number, [string, number][]>();
    for (const [topic, { epoch, seq, exchange }] of [...this.#places].reverse()) {
      if (!wanted(topic, exchange)) continue;
      const group = byEpoch.get(epoch);
      if (group === undefined) byEpoch.set(epoch, [[topic, seq]]);
      else group.push([topic, seq]);
    }
    const [most, ...others] = [...byEpoch].sort(([, a], [, b]) => b.length - a.length);
    if (most === undefined) return { since: null, lost: [] };
    const [epoch, topics] = most;
    const lost = [...topics.slice(topicsMax), ...others.flatMap(([, group]) => group)].map(([topic]) => topic);
    return { since: { epoch, seq: Object.fromEntries(topics.slice(0, topicsMax)) }, lost };
  }

  /** Does not resume a topic: its newest value is wanted whole. */
  forget(topic: string): void {
    this.#places.delete(topic);
  }

  /** Forgets the topics that these topics and patterns brought, as far as `isLeft` says so. */
  forgetAll(wanted: readonly string[], isLeft: (topic: string, exchange: string) => boolean): void {
    // A topic is found by its name; only patterns need a look at all.
    const candidates = wanted.some(isPattern) ? [...this.#places.keys()] : wanted.flatMap((topic) => [topic, plainOf(topic)]);
    for (const topic of candidates) {
      const place = this.#places.get(topic);
      if (place !== undefined && isLeft(topic, place.exchange)) this.#places.delete(topic);
    }
  }

  /** The epoch of a topic's last trade; null if none came. */
  epochOf(topic: string): number | null {
    return this.#places.get(topic)?.epoch ?? null;
  }
}
