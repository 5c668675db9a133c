/** What the badge says: the socket's state and the feeds' states made one. Pure. */
import type { ConnectionStatus, FeedStatus } from "./client.js";

export type BadgeState = "live" | "stale" | "reconnecting";

export interface Badge {
  readonly state: BadgeState;
  readonly label: string;
  /** One sentence for people who want to know why. */
  readonly detail: string;
  /** Age of the newest exchange data in milliseconds; null when unknown. */
  readonly ageMs: number | null;
}

export interface KnownFeed {
  readonly status: FeedStatus;
  /** On the page's monotonic clock. */
  readonly receivedAtMs: number;
}

/** Feed statuses come once a second; older than this they say nothing about now. */
export const FEED_STATUS_STALE_AFTER_MS = 5_000;

/** Age of an exchange's data now: what the status said, plus the time since. */
export function feedAgeMs(feed: KnownFeed, nowMs: number): number {
  return Math.max(0, feed.status.age_ms + nowMs - feed.receivedAtMs);
}

/** A feed's state now; a status that no longer arrives is stale whatever it said. */
export function feedState(feed: KnownFeed, nowMs: number): BadgeState {
  return nowMs - feed.receivedAtMs > FEED_STATUS_STALE_AFTER_MS ? "stale" : feed.status.state;
}

/**
 * The badge for a symbol of `exchange`, or of an unknown exchange if null: then one live
 * feed makes it live, and the label counts the feeds that are.
 */
export function badge(
  connection: ConnectionStatus,
  feeds: readonly KnownFeed[],
  exchange: string | null,
  nowMs: number,
): Badge {
  if (connection.state === "stopped") {
    return { state: "stale", label: "Stopped", detail: `Not reconnecting: ${connection.why ?? "refused"}.`, ageMs: null };
  }
  if (connection.state !== "open") {
    const isFirst = connection.closeCode === undefined;
    return {
      state: "reconnecting",
      label: isFirst ? "Connecting" : "Reconnecting",
      detail: isFirst ? "Connecting to the gateway." : `Connection to the gateway lost: ${connection.why ?? "no reason given"}.`,
      ageMs: null,
    };
  }
  const own = feeds.filter((feed) => feed.status.exchange === exchange);
  const counted = own.length > 0 ? own : feeds;
  if (counted.length === 0) {
    return { state: "stale", label: "Waiting for feed", detail: "Connected; no exchange feed has reported yet.", ageMs: null };
  }
  const ageMs = Math.min(...counted.map((feed) => feedAgeMs(feed, nowMs)));
  const states = counted.map((feed) => feedState(feed, nowMs));
  const liveCount = states.filter((state) => state === "live").length;
  const detail = counted
    .map((feed, index) => `${exchangeName(feed.status.exchange)} ${states[index]}, data ${ageText(feedAgeMs(feed, nowMs))} old`)
    .join("; ");
  if (liveCount === states.length) return { state: "live", label: "Live", detail, ageMs };
  if (liveCount > 0) return { state: "live", label: `Live ${liveCount}/${states.length}`, detail, ageMs };
  return states.includes("stale")
    ? { state: "stale", label: "Stale", detail, ageMs }
    : { state: "reconnecting", label: "Reconnecting", detail, ageMs };
}

/** The exchange in front of a symbol such as `OKX:BTC-USDT`; null if it has none. */
export function exchangeOf(symbol: string): string | null {
  const colon = symbol.indexOf(":");
  return colon < 0 ? null : symbol.slice(0, colon).toLowerCase();
}

/** How an exchange writes itself: short names are initials (`OKX`), longer ones are words (`Binance`). */
export function exchangeName(exchange: string): string {
  return exchange.length <= 3 ? exchange.toUpperCase() : exchange.charAt(0).toUpperCase() + exchange.slice(1);
}

/** Exchanges whose feed is simulated. */
export function simulatedExchanges(feeds: readonly KnownFeed[]): string[] {
  return feeds.filter((feed) => feed.status.mode === "sim").map((feed) => feed.status.exchange);
}

/** A short human age: `0.4 s`, `12 s`, `3 min`, `5 h`, `2 d`. */
export function ageText(ageMs: number): string {
  const seconds = Math.max(0, ageMs) / 1_000;
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7_200) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172_800) return `${Math.round(seconds / 3_600)} h`;
  return `${Math.round(seconds / 86_400)} d`;
}
