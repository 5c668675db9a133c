/**
 * The topics that begin in the past: where each of them stopped, and whether bars are lacking since.
 * Pure: it has no clock and no socket.
 *
 * A place moves on with closed bars only after `live`. While bars are lacking it stays, so that the
 * next `sub` with it brings them.
 */
import type { Bar, From, Live } from "./messages.js";
import { earlierPlace, parseToken, placeAfter, type ResumePlace, tokenText } from "./resume-token.js";

export interface HealingConfig {
  /** Before lacking bars are asked for the first time; doubles with each attempt. */
  readonly baseMs: number;
  readonly maxMs: number;
  /** Then the client goes on without them. */
  readonly attemptsMax: number;
}

export const HEALING_DEFAULT: HealingConfig = { baseMs: 10_000, maxMs: 300_000, attemptsMax: 5 };

interface Past {
  readonly from: From;
  /** Whether the past is being sent: between the `sub` and `live`. */
  isReading: boolean;
  place: ResumePlace | null;
  isLacking: boolean;
  attempts: number;
  /** When the lacking bars are asked for again; null if they are not. */
  dueMs: number | null;
}

export class Pasts {
  readonly #config: HealingConfig;
  readonly #byTopic = new Map<string, Past>();

  constructor(config: HealingConfig = HEALING_DEFAULT) {
    this.#config = config;
  }

  has(topic: string): boolean {
    return this.#byTopic.has(topic);
  }

  /** `topic` is to begin at `from`. */
  want(topic: string, from: From): void {
    const place = "token" in from ? parseToken(from.token) : null;
    this.#byTopic.set(topic, { from, isReading: true, place, isLacking: false, attempts: 0, dueMs: null });
  }

  unwant(topic: string): void {
    this.#byTopic.delete(topic);
  }

  /** Whether bars of `topic` may come that are older than those that came. */
  isReading(topic: string): boolean {
    const past = this.#byTopic.get(topic);
    return past !== undefined && (past.isReading || past.isLacking);
  }

  /** Whether `live` has come and the place is known. */
  isLive(topic: string): boolean {
    return this.#byTopic.get(topic)?.isReading === false;
  }

  /** Where `topic` can be continued, as text; null before it is live, or without a closed bar. */
  token(topic: string): string | null {
    const past = this.#byTopic.get(topic);
    return past === undefined || past.place === null ? null : tokenText(past.place);
  }

  /** A live bar of `topic` came. Bars of the past do not move the place. */
  barCame(topic: string, bar: Bar): void {
    const past = this.#byTopic.get(topic);
    if (past !== undefined && !past.isReading && !past.isLacking && bar.epoch !== 0) past.place = placeAfter(past.place, bar);
  }

  /** The gateway will not send some bars of `topic`. True if they are asked for later. */
  lacks(topic: string, nowMs: number): boolean {
    const past = this.#byTopic.get(topic);
    if (past === undefined) return false;
    // While the past is being read, `live` says whether all of it came.
    if (!past.isReading) this.#heal(past, nowMs);
    return past.isReading || past.isLacking;
  }

  /** The past of `topic` has ended. True if it was asked for. */
  live(topic: string, live: Live, nowMs: number): boolean {
    const past = this.#byTopic.get(topic);
    if (past === undefined) return false;
    past.isReading = false;
    past.dueMs = null;
    if (live.recovered) past.attempts = 0;
    // More bars than the gateway gives at once will be as many the next time.
    const isHealed = live.recovered || live.reason === "too_many" || !this.#heal(past, nowMs);
    if (isHealed) {
      past.isLacking = false;
      past.place = (live.token === undefined ? null : parseToken(live.token)) ?? past.place;
    }
    return true;
  }

  /** The connection is gone, or the topic is asked for again: its past comes first once more. */
  restart(topics: Iterable<string> = this.#byTopic.keys()): void {
    for (const topic of topics) {
      const past = this.#byTopic.get(topic);
      if (past === undefined) continue;
      past.isReading = true;
      past.dueMs = null;
    }
  }

  /** The topics whose lacking bars are to be asked for now. */
  takeDue(nowMs: number): string[] {
    const due: string[] = [];
    for (const [topic, past] of this.#byTopic) {
      if (past.dueMs === null || past.dueMs > nowMs) continue;
      past.dueMs = null;
      due.push(topic);
    }
    return due;
  }

  /** When the next topic is due; null if none is. */
  get nextDueMs(): number | null {
    let nextMs: number | null = null;
    for (const { dueMs } of this.#byTopic.values()) {
      if (dueMs !== null && (nextMs === null || dueMs < nextMs)) nextMs = dueMs;
    }
    return nextMs;
  }

  /**
   * The `from` of each `sub` that these topics need. Topics that stopped at the end of the same bar
   * share one: from the earliest of their places on nothing is lost, and what comes twice is dropped.
   */
  requests(topics: readonly string[]): { readonly topics: string[]; readonly from: From }[] {
    const groups = new Map<string, { topics: string[]; from: From; place: ResumePlace | null }>();
    for (const topic of topics) {
      const past = this.#byTopic.get(topic);
      if (past === undefined) continue;
      const { place, from } = past;
      const key = place === null ? JSON.stringify(from) : String(place.endMs);
      const group = groups.get(key);
      if (group === undefined) groups.set(key, { topics: [topic], from, place });
      else {
        group.topics.push(topic);
        if (place !== null) group.place = group.place === null ? place : earlierPlace(group.place, place);
      }
    }
    return [...groups.values()].map(({ topics: names, from, place }) => ({ topics: names, from: place === null ? from : { token: tokenText(place) } }));
  }

  /** True if the bars that `past` lacks are asked for again. */
  #heal(past: Past, nowMs: number): boolean {
    const { baseMs, maxMs, attemptsMax } = this.#config;
    if (past.dueMs !== null) return true;
    if (past.attempts >= attemptsMax) {
      past.isLacking = false;
      return false;
    }
    past.isLacking = true;
    past.dueMs = nowMs + Math.min(maxMs, baseMs * 2 ** past.attempts);
    past.attempts += 1;
    return true;
  }
}
