/**
 * What is wanted, apart from what the current connection was told. The difference is what is to
 * be sent; so subscribing, reconnecting, pausing and changing options are one mechanism.
 */
import type { BarVersions } from "./bar-versions.js";
import { costOf } from "./message-pace.js";
import type { From, ResumePosition, SubscribeOptions } from "./messages.js";
import type { Pasts } from "./pasts.js";
import type { TradePlaces } from "./trade-places.js";
import { aliasOf, isPattern, NEWEST_ONLY, plainOf, topicMatches } from "./topics.js";

/** A `sub` or `unsub`, without its id. */
export interface SubscriptionChange {
  readonly op: "sub" | "unsub";
  readonly topics: readonly string[];
  readonly since?: ResumePosition;
  readonly from?: From;
}

/** What the gateway counts a change as, in messages. */
export function changeCost({ topics }: SubscriptionChange): number {
  return costOf(topics.length, topics.filter(isPattern).length);
}

const TOPICS_PER_MESSAGE_MAX = 200;
/** A gateway takes so many wildcards in one request. */
const PATTERNS_PER_MESSAGE_MAX = 50;
const RESUME_TOPICS_MAX = 200;
/** Topics of which it is remembered who wants them. */
const NAMES_CACHED_MAX = 20_000;
/** Unanswered `sub`s that are remembered, in case that the gateway refuses one; the oldest goes first. */
const UNANSWERED_MAX = 256;

export class Subscriptions {
  readonly #versions: BarVersions;
  readonly #trades: TradePlaces;
  /** Topics of trades and alerts whose place could not be said in the last changes. */
  #lost: string[] = [];
  readonly #pasts: Pasts;
  readonly #subscriptionsMax: number;
  /** Topics and patterns that the address of the gateway subscribes. */
  readonly #always: readonly string[];
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
  /** The names and patterns under which a topic is wanted, by topic and exchange. */
  readonly #names = new Map<string, readonly string[]>();
  /** The patterns among the wanted; null: to be looked up. */
  #patterns: readonly string[] | null = null;
  /** Whether only that is wanted now which is to go on while the client is paused. */
  isPaused = false;

  constructor(versions: BarVersions, trades: TradePlaces, pasts: Pasts, subscriptionsMax: number, always: readonly string[] = []) {
    this.#versions = versions;
    this.#trades = trades;
    this.#pasts = pasts;
    this.#subscriptionsMax = subscriptionsMax;
    this.#always = always;
  }

  has(topic: string): boolean {
    return this.#wanted.has(topic);
  }

  /** The wanted topics and patterns that bring `topic`, whose bars come from `exchange`. */
  namesOf(topic: string, exchange: string): readonly string[] {
    const key = `${topic} ${exchange}`;
    const known = this.#names.get(key);
    if (known !== undefined) return known;
    const exact = [topic, aliasOf(topic, exchange)].filter((name) => name !== null && this.#wanted.has(name)) as string[];
    this.#patterns ??= [...this.#wanted.keys()].filter(isPattern);
    const names = [...exact, ...[...this.#patterns, ...this.#always].filter((wanted) => isNameOf(wanted, topic, exchange) && !exact.includes(wanted))];
    // A message that does not name its exchange may be about a topic under its second name.
    if (names.length === 0 && exchange === "") names.push(...[...this.#wanted.keys()].filter((wanted) => plainOf(wanted) === topic));
    if (this.#names.size >= NAMES_CACHED_MAX) this.#names.clear();
    this.#names.set(key, names);
    return names;
  }

  /** The wanted topic whose past the gateway calls `topic`; null if there is none. */
  pastNameOf(topic: string): string | null {
    const candidates = [...this.#wanted.keys()].filter((wanted) => this.#pasts.has(wanted) && (wanted === topic || plainOf(wanted) === topic));
    // A topic and its second name: the one that waits for it is meant.
    const own = candidates.filter((wanted) => wanted === topic);
    return [...own, ...candidates].find((wanted) => !this.#pasts.isLive(wanted)) ?? own[0] ?? candidates[0] ?? null;
  }

  want(topics: readonly string[], options: SubscribeOptions): void {
    const added = topics.filter((topic) => !this.#wanted.has(topic)).length;
    if (this.#wanted.size + added > this.#subscriptionsMax) {
      throw new RangeError(`more than ${this.#subscriptionsMax} subscriptions`);
    }
    this.#refuseTwoPasts(topics, options);
    this.#wantedChanged();
    for (const topic of topics) {
      const before = this.#wanted.get(topic);
      // Its newest value is wanted again, also if the gateway was not told that it left.
      if (before === undefined && NEWEST_ONLY.test(topic)) this.#told.delete(topic);
      if (options.from === undefined) this.#pasts.unwant(topic);
      else if (before === undefined || JSON.stringify(before.from) !== JSON.stringify(options.from)) {
        this.#pasts.want(topic, options.from);
        this.#versions.forget(topic);
        this.#versions.forget(plainOf(topic));
        this.#told.delete(topic);
      }
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
      this.#pasts.unwant(topic);
    }
    this.#wantedChanged();
  }

  /** These topics and patterns are asked for again; a past goes on from where it stopped. */
  askAgain(topics: readonly string[]): void {
    for (const topic of topics) this.#told.delete(topic);
  }

  /** All closed bars that the gateway holds of these topics are wanted once more. */
  wantRecentAgain(topics: readonly string[]): void {
    for (const topic of topics) {
      if (!this.#wanted.has(topic) || isPattern(topic) || this.#pasts.has(topic)) continue;
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
    this.unwant(topics);
    for (const topic of topics) this.#told.delete(topic);
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

  /** The gateway refused a request; the topics of it, if it was a `sub`. */
  refused(id: number | undefined): readonly string[] {
    const topics = id === undefined ? undefined : this.#unanswered.get(id);
    return this.answered(id) && topics !== undefined ? topics : [];
  }

  /** An overloaded gateway refused a `sub`; false if it was none. */
  postpone(id: number | undefined): boolean {
    const topics = this.refused(id);
    if (topics.length === 0) return false;
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

  /** The topics of trades and alerts that go on without what came in between, since the last call. */
  takeLost(): string[] {
    const lost = this.#lost;
    this.#lost = [];
    return lost;
  }

  /** The connection is gone: the next one was told nothing. */
  connectionDropped(): void {
    this.#told.clear();
    this.#forbidden.clear();
    this.#unanswered.clear();
    this.#postponed.clear();
    this.#pasts.restart();
  }

  /** What the connection must be told so that it matches what is wanted; it counts as told. */
  takeChanges(maxRate: number | null): SubscriptionChange[] {
    const changes: SubscriptionChange[] = [];
    const goal = this.#goal();
    const leaving = [...this.#told].filter(([topic, told]) => goal.get(topic) !== told).map(([topic]) => topic);
    for (const topics of requestsOf(leaving)) changes.push({ op: "unsub", topics });
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
      const past = group.filter((topic) => this.#pasts.has(topic));
      const fresh = group.filter((topic) => !this.#pasts.has(topic) && this.#recentDue.has(topic));
      const resumed = group.filter((topic) => !this.#pasts.has(topic) && !this.#recentDue.has(topic));
      for (const topics of requestsOf(resumed.filter((topic) => !isLog(topic)))) {
        const since = this.#versions.resumePosition(selectorOf(topics), RESUME_TOPICS_MAX);
        changes.push({ op: "sub", topics, ...fields, ...(since === null ? {} : { since }) });
      }
      // Trades and alerts resume within one epoch, so topics of one epoch go together.
      for (const group of groupedBy(resumed.filter(isLog), (topic) => this.#trades.epochOf(topic)).values()) {
        for (const topics of requestsOf(group)) {
          const { since, lost } = this.#trades.resumePosition(selectorOf(topics), RESUME_TOPICS_MAX);
          this.#lost.push(...lost);
          changes.push({ op: "sub", topics, ...fields, ...(since === null ? {} : { since }) });
        }
      }
      for (const topics of requestsOf(fresh)) {
        // From the beginning of an epoch that never was: the gateway answers with all that it holds.
        const since = { epoch: 0, seq: Object.fromEntries(topics.map((topic) => [topic, 0])) };
        changes.push({ op: "sub", topics, ...fields, since });
      }
      this.#pasts.restart(past);
      for (const { topics: names, from } of this.#pasts.requests(past)) {
        for (const topics of requestsOf(names)) changes.push({ op: "sub", topics, ...fields, from });
      }
    }
    return changes;
  }

  #wantedChanged(): void {
    this.#names.clear();
    this.#patterns = null;
  }

  /** A gateway gives a topic a past only where no pattern brings it without. */
  #refuseTwoPasts(topics: readonly string[], { from }: SubscribeOptions): void {
    if (from !== undefined) {
      const pattern = topics.find(isPattern);
      if (pattern !== undefined) throw new TypeError(`${pattern} is a pattern: \`from\` needs topics`);
      const other = topics.find((topic) => !topic.startsWith("kline:"));
      if (other !== undefined) throw new TypeError(`${other} has no past: \`from\` needs topics of bars`);
    }
    const others = [...this.#wanted.keys()];
    // Either the new topics have a past, or there are new patterns.
    const patterns = from === undefined ? topics.filter(isPattern) : others.filter(isPattern);
    if (patterns.length === 0) return;
    for (const topic of from === undefined ? others.filter((other) => this.#pasts.has(other)) : topics) {
      const pattern = patterns.find((each) => topicMatches(each, topic));
      if (pattern !== undefined) throw new TypeError(`${pattern} brings ${topic} without its past: \`from\` cannot be beside it`);
    }
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
      ...(options.depth === undefined ? {} : { depth: options.depth }),
      ...(options.changes === true ? { changes: true } : {}),
    };
  }
}

/** Whether each message of a topic comes once, in order: trades and alerts. */
function isLog(topic: string): boolean {
  return topic.startsWith("trade:") || topic.startsWith("alert:");
}

/** Selects the topics that these topics and patterns bring. */
function selectorOf(wanted: readonly string[]): (topic: string, exchange: string) => boolean {
  return (topic, exchange) => wanted.some((each) => isNameOf(each, topic, exchange));
}

function groupedBy<K>(topics: readonly string[], keyOf: (topic: string) => K): Map<K, string[]> {
  const groups = new Map<K, string[]>();
  for (const topic of topics) {
    const key = keyOf(topic);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [topic]);
    else group.push(topic);
  }
  return groups;
}

/** Whether `wanted` brings `topic`, whose bars come from `exchange`; empty: that is not known. */
function isNameOf(wanted: string, topic: string, exchange: string): boolean {
  if (topicMatches(wanted, topic)) return true;
  if (exchange === "") return plainOf(wanted) === topic;
  const alias = aliasOf(topic, exchange);
  return alias !== null && topicMatches(wanted, alias);
}

/** The topics in parts that a gateway takes as one request each. */
function requestsOf(topics: readonly string[]): string[][] {
  const parts: string[][] = [];
  let part: string[] = [];
  let patterns = 0;
  for (const topic of topics) {
    const isFull = part.length === TOPICS_PER_MESSAGE_MAX || (isPattern(topic) && patterns === PATTERNS_PER_MESSAGE_MAX);
    if (part.length === 0 || isFull) {
      part = [];
      parts.push(part);
      patterns = 0;
    }
    part.push(topic);
    if (isPattern(topic)) patterns += 1;
  }
  return parts;
}
