/**
 * Which version of a bar counts: one effective bar for each topic and `start_ms`. A resumed or
 * repeated delivery is recognised and dropped here. Memory is bounded per topic and in topics.
 */
import type { Bar, ResumePosition } from "./messages.js";

/** What is compared of a bar. */
export type BarVersion = Pick<Bar, "epoch" | "rev" | "seq" | "state" | "quality" | "published_us">;

interface TopicVersions {
  readonly exchange: string;
  /** Latest publication seen; null before the first. */
  latest: Publication | null;
  readonly byStart: Map<number, BarVersion>;
  /** Closed bars that end up to here are not lacking: they came, or are older than the first bar that came. */
  closedMs: number;
  /** Everything that started before this may have been forgotten. */
  forgottenBeforeMs: number;
  /** Whether older bars may come now, so that none is forgotten yet. */
  isReading: boolean;
}

interface Publication {
  readonly epoch: number;
  readonly seq: number;
  readonly publishedUs: number;
}

export interface BarVersionsConfig {
  /** Bars remembered per topic. */
  readonly barsPerTopicMax: number;
  /** Topics remembered; the one not heard of for longest is forgotten first. */
  readonly topicsMax: number;
  /** Bars remembered of topics whose past is being read, together. */
  readonly readingBarsMax?: number;
}

export const BAR_VERSIONS_DEFAULT: BarVersionsConfig = { barsPerTopicMax: 64, topicsMax: 20_000, readingBarsMax: 100_000 };

/**
 * Whether `bar` replaces `known`, a version of the same interval.
 *
 * Publications of one epoch are in order of revision and number. A greater epoch is later. A smaller
 * one is later too if it was published later: a gateway numbers the bars that it folds itself, and
 * another gateway may have begun with that earlier. A bar of the past has no number of publication
 * (epoch 0): a closed bar comes before a forming one, then the higher revision, then a bar without
 * missing trades.
 */
export function isNewerVersion(bar: BarVersion, known: BarVersion): boolean {
  const isStored = bar.epoch === 0;
  if (isStored && known.epoch === 0) return bar.rev > known.rev;
  if (isStored !== (known.epoch === 0)) {
    if (bar.state !== known.state) return bar.state === "closed";
    if (bar.rev !== known.rev) return bar.rev > known.rev;
    return isStored ? isFlawed(known) && !isFlawed(bar) : !isFlawed(bar) || isFlawed(known);
  }
  if (bar.epoch !== known.epoch) return bar.epoch > known.epoch || bar.published_us > known.published_us;
  return (bar.rev - known.rev || bar.seq - known.seq) > 0;
}

/** Whether trades are known to be missing from a closed bar. */
export function isFlawed({ state, quality }: Pick<Bar, "state" | "quality">): boolean {
  return state === "closed" && (quality === "gap" || quality === "partial");
}

export class BarVersions {
  readonly #config: BarVersionsConfig;
  readonly #topics = new Map<string, TopicVersions>();
  /** Bars remembered of topics that are being read. */
  #readingBars = 0;

  constructor(config: BarVersionsConfig = BAR_VERSIONS_DEFAULT) {
    this.#config = config;
  }

  /** Topics remembered now. */
  get topicCount(): number {
    return this.#topics.size;
  }

  /** Bars remembered now, of all topics. */
  get barCount(): number {
    let count = 0;
    for (const { byStart } of this.#topics.values()) count += byStart.size;
    return count;
  }

  /** True if `bar` is newer than what is known of its interval, and then remembers it. */
  accept(bar: Bar): boolean {
    const topic = this.#touch(bar);
    const isNewPublication = bar.epoch !== 0 && isLater(bar, topic.latest);
    const known = topic.byStart.get(bar.start_ms);
    if (known !== undefined) {
      if (!isNewerVersion(bar, known)) return false;
    } else if (bar.start_ms < topic.forgottenBeforeMs && !isNewPublication) {
      // It cannot be told from a repetition of a bar that was forgotten.
      return false;
    }
    if (isNewPublication) topic.latest = { epoch: bar.epoch, seq: bar.seq, publishedUs: bar.published_us };
    const { epoch, rev, seq, state, quality, published_us } = bar;
    topic.byStart.set(bar.start_ms, { epoch, rev, seq, state, quality, published_us });
    if (known === undefined && topic.isReading) this.#readingBars += 1;
    topic.closedMs = Math.max(topic.closedMs, bar.state === "closed" ? bar.end_ms : Number.NEGATIVE_INFINITY);
    this.#trim(topic);
    return true;
  }

  /** Bars of `name` that are older than all that is remembered may come now: they were asked for. */
  expectOlder(name: string): void {
    const topic = this.#topics.get(name);
    if (topic !== undefined) topic.forgottenBeforeMs = Number.NEGATIVE_INFINITY;
  }

  /** While the past of `name` is read, older bars may come, and none is forgotten within a bound. */
  read(name: string, isReading: boolean): void {
    const topic = this.#topics.get(name);
    if (topic === undefined || topic.isReading === isReading) return;
    topic.isReading = isReading;
    if (isReading) topic.forgottenBeforeMs = Number.NEGATIVE_INFINITY;
    this.#readingBars += isReading ? topic.byStart.size : -topic.byStart.size;
    this.#trim(topic);
  }

  /** Nothing is known of `name` any more. */
  forget(name: string): void {
    this.read(name, false);
    this.#topics.delete(name);
  }

  /**
   * Where to resume the topics that `wanted` selects, most recently heard of first, at most `topicsMax`.
   * A position has one epoch, and topics may have several: the lowest is said, because a gateway sends
   * what was published in newer ones, and the ends of the closed bars say the rest.
   */
  resumePosition(wanted: (topic: string, exchange: string) => boolean, topicsMax: number): ResumePosition | null {
    let epoch = Number.POSITIVE_INFINITY;
    const seq: Record<string, number> = {};
    const closed_ms: Record<string, number> = {};
    let count = 0;
    for (const [name, topic] of [...this.#topics].reverse()) {
      if (count === topicsMax) break;
      if (topic.latest === null || !wanted(name, topic.exchange)) continue;
      epoch = Math.min(epoch, topic.latest.epoch);
      seq[name] = topic.latest.seq;
      closed_ms[name] = topic.closedMs;
      count += 1;
    }
    return count === 0 ? null : { epoch, seq, closed_ms };
  }

  #touch(bar: Bar): TopicVersions {
    const known = this.#topics.get(bar.topic);
    if (known !== undefined) {
      this.#topics.delete(bar.topic);
      this.#topics.set(bar.topic, known);
      return known;
    }
    const fresh: TopicVersions = {
      exchange: bar.exchange ?? "",
      latest: null,
      byStart: new Map(),
      closedMs: bar.start_ms,
      forgottenBeforeMs: Number.NEGATIVE_INFINITY,
      isReading: false,
    };
    this.#topics.set(bar.topic, fresh);
    if (this.#topics.size > this.#config.topicsMax) {
      const oldest = this.#topics.keys().next().value;
      if (oldest !== undefined) this.forget(oldest);
    }
    return fresh;
  }

  /** Forgets the oldest bars of a topic that has too many. */
  #trim(topic: TopicVersions): void {
    const { barsPerTopicMax, readingBarsMax = BAR_VERSIONS_DEFAULT.readingBarsMax ?? 0 } = this.#config;
    const excess = topic.byStart.size - barsPerTopicMax;
    if (excess <= 0 || (topic.isReading && this.#readingBars <= readingBarsMax)) return;
    const starts = excess === 1 ? [oldestOf(topic.byStart)] : [...topic.byStart.keys()].sort((a, b) => a - b).slice(0, excess);
    for (const startMs of starts) topic.byStart.delete(startMs);
    topic.forgottenBeforeMs = Math.max(topic.forgottenBeforeMs, (starts[starts.length - 1] as number) + 1);
    if (topic.isReading) this.#readingBars -= starts.length;
  }
}

function oldestOf(byStart: ReadonlyMap<number, unknown>): number {
  let oldestMs = Number.POSITIVE_INFINITY;
  for (const startMs of byStart.keys()) oldestMs = Math.min(oldestMs, startMs);
  return oldestMs;
}

function isLater(bar: Bar, latest: Publication | null): boolean {
  if (latest === null || bar.epoch > latest.epoch) return true;
  return bar.epoch === latest.epoch ? bar.seq > latest.seq : bar.published_us > latest.publishedUs;
}
