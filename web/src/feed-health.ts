/** What the badge says: the socket's state and the feeds' states made one. Pure. */
import { closeReason, type ConnectionStatus, type FeedStatus } from "klinecast";

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
  /** How many publishers share the feed, if several do, and how many of them are live. */
  readonly publishers?: { readonly live: number; readonly all: number };
}

/** The connection ended without a close code. */
const ABNORMAL = 1006;

/** Symbols of an exchange that are named as not served. */
const UNSERVED_NAMED_MAX = 3;

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
 * The badge for a symbol of `exchange`: that exchange's feed alone counts. Of an unknown exchange
 * (null) all feeds count, and one that is not live is enough for amber: it may be the symbol's own.
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
      detail: isFirst
        ? "Connecting to the gateway."
        : `Connection to the gateway lost: ${lossText(connection)}. The page tries again by itself.`,
      ageMs: null,
    };
  }
  const counted = exchange === null ? feeds : feeds.filter((feed) => feed.status.exchange === exchange);
  if (counted.length === 0) {
    const detail = exchange === null ? "no exchange feed has reported yet" : `the feed of ${exchangeName(exchange)} has not reported yet`;
    return { state: "stale", label: "Waiting for feed", detail: `Connected; ${detail}.`, ageMs: null };
  }
  // The age of the worst: the smallest one would hide that another stands still.
  const ageMs = Math.max(...counted.map((feed) => feedAgeMs(feed, nowMs)));
  const states = counted.map((feed) => feedState(feed, nowMs));
  const liveCount = states.filter((state) => state === "live").length;
  const detail = `${counted.map((feed, index) => feedText(feed, states[index] ?? "stale", nowMs)).join(" ")}`;
  if (liveCount === states.length) return { state: "live", label: "Live", detail, ageMs };
  if (liveCount > 0) return { state: "stale", label: `${liveCount} of ${states.length} live`, detail, ageMs };
  return states.includes("stale")
    ? { state: "stale", label: "Stale", detail, ageMs }
    : { state: "reconnecting", label: "Reconnecting", detail, ageMs };
}

function feedText(feed: KnownFeed, state: BadgeState, nowMs: number): string {
  const name = exchangeName(feed.status.exchange);
  const age = ageText(feedAgeMs(feed, nowMs));
  switch (state) {
    case "live":
      return `${name} is live.`;
    case "stale":
      if (feed.publishers !== undefined && feed.publishers.live > 0 && feed.publishers.live < feed.publishers.all) {
        return `Only ${feed.publishers.live} of ${feed.publishers.all} servers that follow ${name} are live.`;
      }
      if ((feed.status.lost_publishers ?? 0) > 0) return `A server that follows other symbols of ${name} has stopped.`;
      return `${name} sent nothing for ${age}.`;
    case "reconnecting":
      // A feed without any symbol has nothing to connect for.
      if (feed.status.symbols > 0 && unservedCount(feed) >= feed.status.symbols) return `${name} serves none of the configured symbols.`;
      return `${name} cannot be reached for ${age}; the server tries again by itself.`;
  }
}

/** Why the connection was lost, once: a gateway's own reason is meant for programs and repeats the code's. */
function lossText(connection: ConnectionStatus): string {
  const { closeCode, why } = connection;
  return closeCode === undefined || closeCode === ABNORMAL ? (why ?? "no reason given") : closeReason(closeCode).label;
}

/** Symbols that were configured and that the exchange does not serve, as far as they are named. */
export function unservedSymbols(feed: KnownFeed): readonly string[] {
  return [...(feed.status.refused ?? []), ...(feed.status.unknown ?? [])];
}

/** How many symbols were configured and are not served, those without a name included. */
function unservedCount(feed: KnownFeed): number {
  const { refused = [], unknown = [], refused_count: refusedCount = 0, unknown_count: unknownCount = 0 } = feed.status;
  return Math.max(refused.length, refusedCount) + Math.max(unknown.length, unknownCount);
}

/** Names the first of the symbols that the exchange does not serve, and counts the others; empty if it serves all. */
export function unservedText(feed: KnownFeed): string {
  const count = unservedCount(feed);
  if (count === 0) return "";
  const named = unservedSymbols(feed).slice(0, UNSERVED_NAMED_MAX);
  const rest = count - named.length;
  const symbols = `${rest} symbol${rest === 1 ? "" : "s"}`;
  const names = named.length === 0 ? symbols : rest === 0 ? named.join(", ") : `${named.join(", ")} and ${rest} more`;
  return `${exchangeName(feed.status.exchange)} does not serve ${names}.`;
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
