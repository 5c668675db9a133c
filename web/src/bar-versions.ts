/**
 * Which version of a bar counts: one effective bar per (topic, start_ms), the
 * greatest by (epoch, rev, seq). A resumed or repeated delivery is recognised
 * and dropped here. Memory is bounded per topic and in topics.
 */
import type { Bar, ResumePosition } from "./protocol.js";

/** A version's place in the order of versions. */
type Version = readonly [epoch: number, rev: number, seq: number];

interface TopicVersions {
  /** Latest publication seen, by (epoch, seq). */
  epoch: number;
  seq: number;
  readonly byStart: Map<number, Version>;
  /** Closed bars that end up to here are not lacking: they came, or are older than the first bar that came. */
  closedMs: number;
  /** Everything that started before this may have been forgotten. */
  forgottenBeforeMs: number;
}

export interface BarVersionsConfig {
  /** Bars remembered per topic. */
  readonly barsPerTopicMax: number;
  /** Topics remembered; the one not heard of for longest is forgotten first. */
  readonly topicsMax: number;
}

export const BAR_VERSIONS_DEFAULT: BarVersionsConfig = { barsPerTopicMax: 64, topicsMax: 20_000 };

export class BarVersions {
  readonly #config: BarVersionsConfig;
  readonly #topics = new Map<string, TopicVersions>();

  constructor(config: BarVersionsConfig = BAR_VERSIONS_DEFAULT) {
    this.#config = config;
  }

  /** Topics remembered now. */
  get topicCount(): number {
    return this.#topics.size;
  }

  /** True if `bar` is newer than what is known of its interval, and then remembers it. */
  accept(bar: Bar): boolean {
    const topic = this.#touch(bar);
    const isNewPublication = compare([bar.epoch, 0, bar.seq], [topic.epoch, 0, topic.seq]) > 0;
    const known = topic.byStart.get(bar.start_ms);
    const version: Version = [bar.epoch, bar.rev, bar.seq];
    if (known !== undefined) {
      if (compare(version, known) <= 0) return false;
    } else if (bar.start_ms < topic.forgottenBeforeMs && !isNewPublication) {
      // It cannot be told from a repetition of a bar that was forgotten.
      return false;
    }
    if (isNewPublication) {
      topic.epoch = bar.epoch;
      topic.seq = bar.seq;
    }
    topic.byStart.set(bar.start_ms, version);
    topic.closedMs = Math.max(topic.closedMs, bar.state === "closed" ? bar.end_ms : Number.NEGATIVE_INFINITY);
    if (topic.byStart.size > this.#config.barsPerTopicMax) forgetOldest(topic);
    return true;
  }

  /** Bars of `name` that are older than all that is remembered may come now: they were asked for. */
  expectOlder(name: string): void {
    const topic = this.#topics.get(name);
    if (topic !== undefined) topic.forgottenBeforeMs = Number.NEGATIVE_INFINITY;
  }

  /**
   * Where to resume the topics that `wanted` selects. One position has one epoch, so it
   * names the topics of the latest epoch, most recently heard of first, at most `topicsMax`.
   */
  resumePosition(wanted: (topic: string) => boolean, topicsMax: number): ResumePosition | null {
    let epoch = 0;
    for (const [name, topic] of this.#topics) {
      if (wanted(name)) epoch = Math.max(epoch, topic.epoch);
    }
    const seq: Record<string, number> = {};
    const closed_ms: Record<string, number> = {};
    let count = 0;
    for (const [name, topic] of [...this.#topics].reverse()) {
      if (count === topicsMax) break;
      if (topic.epoch !== epoch || !wanted(name)) continue;
      seq[name] = topic.seq;
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
      epoch: -1,
      seq: -1,
      byStart: new Map(),
      closedMs: bar.start_ms,
      forgottenBeforeMs: Number.NEGATIVE_INFINITY,
    };
    this.#topics.set(bar.topic, fresh);
    if (this.#topics.size > this.#config.topicsMax) {
      const oldest = this.#topics.keys().next().value;
      if (oldest !== undefined) this.#topics.delete(oldest);
    }
    return fresh;
  }
}

function compare(a: Version, b: Version): number {
  return a[0] - b[0] || a[1] - b[1] || a[2] - b[2];
}

function forgetOldest(topic: TopicVersions): void {
  let oldestMs = Number.POSITIVE_INFINITY;
  for (const startMs of topic.byStart.keys()) oldestMs = Math.min(oldestMs, startMs);
  topic.byStart.delete(oldestMs);
  topic.forgottenBeforeMs = Math.max(topic.forgottenBeforeMs, oldestMs + 1);
}
