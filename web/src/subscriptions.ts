/**
 * What is wanted, apart from what the current connection was told. The difference is what is to
 * be sent; so subscribing, reconnecting, pausing and changing options are one mechanism.
 */
import type { BarVersions } from "./bar-versions.js";
import { isPattern, type ResumePosition, type SubscribeOptions, topicMatches } from "./protocol.js";

/** A `sub` or `unsub`, without its id. */
export interface SubscriptionChange {
  readonly op: "sub" | "unsub";
  readonly topics: readonly string[];
  readonly since?: ResumePosition;
}

const TOPICS_PER_MESSAGE_MAX = 200;
const RESUME_TOPICS_MAX = 200;
/** Unanswered `sub`s that are remembered, in case that the gateway refuses one; the oldest goes first. */
const UNANSWERED_MAX = 256;

export class Subscriptions {
  readonly #versions: BarVersions;
  readonly #subscriptionsMax: number;
  readonly #wanted = new Map<string, SubscribeOptions>();
  /** What the current connection was told: topic or pattern to its options as sent. */
  readonly #told = new Map<string, string>();
  /** Topics newly wanted with `recent` of which nothing has come since. */
  readonly #recentDue = new Set<string>();
  /** Topics and patterns that this connection's token does not permit. */
  readonly #forbidden = new Set<string>();
  /** The topics of each `sub` that the gateway has not answered, by its id. */
  readonly #unanswered = new Map<number, readonly string[]>();
  /** Topics that an overloaded gateway refused, until it is asked again. */
  readonly #postponed = new Set<string>();
  /** Whether only that is wanted now which is to go on while the client is paused. */
  isPaused = false;

  constructor(versions: BarVersions, subscriptionsMax: number) {
    this.#versions = versions;
    this.#subscriptionsMax = subscriptionsMax;
  }

  want(topics: readonly string[], options: SubscribeOptions): void {
    const added = topics.filter((topic) => !this.#wanted.has(topic)).length;
    if (this.#wanted.size + added > this.#subscriptionsMax) {
      throw new RangeError(`more than ${this.#subscriptionsMax} subscriptions`);
    }
    for (const topic of topics) {
      const isDue = options.recent === true && this.#wanted.get(topic)?.recent !== true && !isPattern(topic);
      if (isDue) this.#recentDue.add(topic);
      this.#wanted.set(topic, options);
    }
  }

  unwant(topics: readonly string[]): void {
    for (const topic of topics) {
      this.#wanted.delete(topic);
      this.#recentDue.delete(topic);
      this.#forbidden.delete(topic);
    }
  }

  /** All closed bars that the gateway holds of these topics are wanted once more. */
  wantRecentAgain(topics: readonly string[]): void {
    for (const topic of topics) {
      if (!this.#wanted.has(topic) || isPattern(topic)) continue;
      this.#versions.expectOlder(topic);
      this.#recentDue.add(topic);
      this.#told.delete(topic);
    }
  }

  /** A bar of `topic` came. */
  barCame(topic: string): void {
    if (this.#told.has(topic)) this.#recentDue.delete(topic);
  }

  /** The gateway calls these topics malformed: they will be that after a reconnect too. */
  dropMalformed(topics: readonly string[]): void {
    for (const topic of topics) {
      this.#wanted.delete(topic);
      this.#told.delete(topic);
    }
  }

  /** The token does not permit these topics: only another token makes them worth asking for. */
  forbid(topics: readonly string[]): void {
    for (const topic of topics) {
      this.#forbidden.add(topic);
      this.#told.delete(topic);
    }
  }

  /** The gateway took another token, and unsubscribed what this one does not permit. */
  tokenAccepted(unsubscribed: readonly string[]): void {
    this.#forbidden.clear();
    this.forbid(unsubscribed);
  }

  /** The `change` goes out with this id. */
  sent(id: number, change: SubscriptionChange): void {
    if (change.op !== "sub") return;
    this.#unanswered.set(id, change.topics);
    const oldest = this.#unanswered.keys().next().value;
    if (this.#unanswered.size > UNANSWERED_MAX && oldest !== undefined) this.#unanswered.delete(oldest);
  }

  /** The gateway answered a request; true if this was a `sub`. */
  answered(id: number | undefined): boolean {
    return id !== undefined && this.#unanswered.delete(id);
  }

  /** An overloaded gateway refused a request; true if this was a `sub`, which is postponed. */
  postpone(id: number | undefined): boolean {
    const topics = id === undefined ? undefined : this.#unanswered.get(id);
    if (!this.answered(id) || topics === undefined) return false;
    for (const topic of topics) {
      this.#told.delete(topic);
      this.#postponed.add(topic);
    }
    return true;
  }

  /** What was postponed is to be asked for again. */
  resumePostponed(): void {
    this.#postponed.clear();
  }

  /** The connection is gone: the next one was told nothing. */
  connectionDropped(): void {
    this.#told.clear();
    this.#forbidden.clear();
    this.#unanswered.clear();
    this.#postponed.clear();
  }

  /** What the connection must be told so that it matches what is wanted; it counts as told. */
  takeChanges(maxRate: number | null): SubscriptionChange[] {
    const changes: SubscriptionChange[] = [];
    const goal = this.#goal();
    const leaving = [...this.#told].filter(([topic, told]) => goal.get(topic) !== told).map(([topic]) => topic);
    for (const topics of chunks(leaving, TOPICS_PER_MESSAGE_MAX)) changes.push({ op: "unsub", topics });
    for (const topic of leaving) this.#told.delete(topic);

    const joining = new Map<string, string[]>();
    for (const [topic, parameters] of goal) {
      if (this.#told.has(topic)) continue;
      this.#told.set(topic, parameters);
      const group = joining.get(parameters);
      if (group === undefined) joining.set(parameters, [topic]);
      else group.push(topic);
    }
    for (const [parameters, group] of joining) {
      const fields = JSON.parse(parameters) as Record<string, unknown>;
      if (maxRate !== null) fields["max_rate"] = maxRate;
      const fresh = group.filter((topic) => this.#recentDue.has(topic));
      const resumed = group.filter((topic) => !this.#recentDue.has(topic));
      for (const topics of chunks(resumed, TOPICS_PER_MESSAGE_MAX)) {
        const matched = (topic: string): boolean => topics.some((pattern) => topicMatches(pattern, topic));
        const since = this.#versions.resumePosition(matched, RESUME_TOPICS_MAX);
        changes.push({ op: "sub", topics, ...fields, ...(since === null ? {} : { since }) });
      }
      for (const topics of chunks(fresh, TOPICS_PER_MESSAGE_MAX)) {
        // From the beginning of an epoch that never was: the gateway answers with all that it holds.
        const since = { epoch: 0, seq: Object.fromEntries(topics.map((topic) => [topic, 0])) };
        changes.push({ op: "sub", topics, ...fields, since });
      }
    }
    return changes;
  }

  /** Every topic that is to be subscribed now, with its parameters as text. */
  #goal(): Map<string, string> {
    const goal = new Map<string, string>();
    for (const [topic, options] of this.#wanted) {
      if (this.#forbidden.has(topic) || this.#postponed.has(topic)) continue;
      const parameters = this.#parameters(options);
      if (parameters !== null) goal.set(topic, JSON.stringify(parameters));
    }
    return goal;
  }

  /** What is asked for by `options` as they hold now; null if the topic is not to be subscribed now. */
  #parameters(options: SubscribeOptions): Record<string, unknown> | null {
    const reduced = this.isPaused && options.whenPaused === "closed_only";
    if (this.isPaused && !reduced) return null;
    return {
      ...(options.closedOnly === true || reduced ? { closed_only: true } : {}),
      ...(options.fill === undefined ? {} : { fill: options.fill }),
    };
  }
}

function chunks<T>(items: readonly T[], size: number): T[][] {
  const parts: T[][] = [];
  for (let start = 0; start < items.length; start += size) parts.push(items.slice(start, start + size));
  return parts;
}
