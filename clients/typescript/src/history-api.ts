/**
 * The server's stored bars over HTTP: how a page of them is asked for, and what an answer says.
 * Pure; docs/history-api.md is the reference.
 */
import { barFault } from "./decode.js";
import type { Bar } from "./messages.js";

/** Most bars of one answer. */
export const PAGE_BARS_MAX = 1_000;

/** A question for stored bars. */
export interface BarQuestion {
  /** As in topics: `BTC-USD`, or `OKX:BTC-USDT` with its exchange. */
  readonly symbol: string;
  /** In lower case; null where it is not known. */
  readonly exchange: string | null;
  readonly width: string;
  /** The first instant; null: from the first bar that is stored. */
  readonly fromMs: number | null;
  /** The first instant after the range; null: until now. */
  readonly toMs: number | null;
  readonly limit: number;
  /** Which end of the range comes first (default `desc`, the newest). A page itself is ascending. */
  readonly order?: "asc" | "desc";
  /** Also the bars that are not closed yet, on top of the limit. */
  readonly isFormingWanted?: boolean;
  /** `none` leaves out the flat bars of intervals without trades. */
  readonly fill?: "none";
  /** The `next` of the page before. */
  readonly cursor?: string | null;
}

export interface BarPage {
  /** By ascending start. */
  readonly bars: readonly Bar[];
  /** Whether the range holds more bars than these. */
  readonly hasMore: boolean;
  /** The `cursor` of the next page; null at the end of the range. */
  readonly next: string | null;
  /** Where live bars go on after the newest bars, as the `token` of `from`; null if that is not said. */
  readonly token: string | null;
}

/** Why there was no page, and when asking again makes sense. */
export interface HistoryFailure {
  readonly kind: "absent" | "refused" | "access" | "busy" | "unknown" | "unreachable" | "unreadable";
  /** What to tell a person. */
  readonly message: string;
  /** At the earliest; null: as the page sees fit. */
  readonly retryAfterMs: number | null;
}

/** The address of `question` on the server. */
export function barsPath(question: BarQuestion): string {
  const { symbol, exchange, width, fromMs, toMs, limit, order = "desc", isFormingWanted = false, fill, cursor = null } = question;
  const colon = symbol.indexOf(":");
  const venue = colon < 0 ? exchange : symbol.slice(0, colon).toLowerCase();
  const values = new URLSearchParams({ symbol: symbol.slice(colon + 1) });
  if (venue !== null) values.set("exchange", venue);
  values.set("width", width);
  if (fromMs !== null) values.set("from", String(Math.floor(fromMs)));
  if (toMs !== null) values.set("to", String(Math.ceil(toMs)));
  values.set("limit", String(limit));
  values.set("order", order);
  if (isFormingWanted) values.set("forming", "true");
  if (fill !== undefined) values.set("fill", fill);
  if (cursor !== null) values.set("cursor", cursor);
  return `/api/v1/bars?${values.toString()}`;
}

/**
 * The page in `body`; null if it is none. Bars become bars of `topic`. A bar that cannot be read
 * is left out: a chart shows a hole there. So is a bar that is not closed, unless it was wanted.
 */
export function readPage(body: unknown, topic: string, isFormingWanted = false): BarPage | null {
  if (typeof body !== "object" || body === null) return null;
  const { bars: sent, next, token } = body as { readonly bars?: unknown; readonly next?: unknown; readonly token?: unknown };
  if (!Array.isArray(sent)) return null;
  const [, interval = "", ...symbol] = topic.split(":");
  const read: Bar[] = [];
  for (const each of sent) {
    if (typeof each !== "object" || each === null) continue;
    // Stored bars have no number of publication that could be compared with a gateway's.
    const bar = { ...each, topic, interval, symbol: symbol.join(":"), epoch: 0, seq: 0 } as Record<string, unknown>;
    bar["rev"] ??= 0;
    for (const name of ["quote_volume", "taker_buy_volume", "taker_buy_quote_volume", "count"]) bar[name] ??= null;
    bar["quality"] ??= "complete";
    bar["state"] ??= "closed";
    if (barFault(bar) === null && (bar["state"] === "closed" || isFormingWanted)) read.push(bar as unknown as Bar);
  }
  read.sort((a, b) => a.start_ms - b.start_ms || Number(a.state === "closed") - Number(b.state === "closed") || a.rev - b.rev);
  // One bar for each interval: of two, the closed one and the later revision.
  const bars = read.filter((bar, index) => read[index + 1]?.start_ms !== bar.start_ms);
  const cursor = typeof next === "string" && next !== "" ? next : null;
  return { bars, hasMore: cursor !== null, next: cursor, token: typeof token === "string" ? token : null };
}

export const SYMBOLS_PATH = "/api/v1/symbols";

/** A symbol of which bars are stored. */
export interface StoredSymbol {
  readonly exchange: string;
  readonly symbol: string;
  /** As topics call it. */
  readonly topic_symbol: string;
  readonly widths: readonly { readonly width: string; readonly first_ms: number; readonly last_end_ms: number }[];
}

/** The symbols in `body`; null if it is no list of them. */
export function readSymbols(body: unknown): StoredSymbol[] | null {
  const symbols = (body as { symbols?: unknown } | null)?.symbols;
  if (!Array.isArray(symbols)) return null;
  const isReadable = (each: unknown): each is StoredSymbol => {
    const { exchange, symbol, topic_symbol, widths } = (each ?? {}) as Record<string, unknown>;
    return [exchange, symbol, topic_symbol].every((text) => typeof text === "string") && Array.isArray(widths);
  };
  return symbols.filter(isReadable);
}

/** When the first stored bar of a symbol begins, as the list of symbols says; null if it does not. */
export function firstStoredMs(symbols: readonly StoredSymbol[], topicSymbol: string, exchange: string | null): number | null {
  const own = symbols.filter((each) => each.topic_symbol === topicSymbol && (exchange === null || each.exchange === exchange));
  const starts = own.flatMap(({ widths }) => widths.map((width) => width?.first_ms)).filter((startMs) => typeof startMs === "number");
  return starts.length === 0 ? null : starts.reduce((a, b) => Math.min(a, b));
}

/** What an answer with this HTTP status means; `body` is its text, `retryAfter` its header. */
export function failureOf(status: number, body: string, retryAfter: string | null): HistoryFailure {
  const error = errorOf(body);
  const seconds = retryAfter === null ? Number.NaN : Number(retryAfter);
  const retryAfterMs = Number.isFinite(seconds) && seconds >= 0 ? Math.min(seconds, 3_600) * 1_000 : null;
  if (status === 401 || status === 403) return { kind: "access", message: "History wants a token that permits this symbol.", retryAfterMs };
  if (status === 429) return { kind: "busy", message: "History was asked too often: wait a moment.", retryAfterMs };
  // A server without history knows nothing of its addresses, nor of its errors.
  if (status === 404 && error === null) return { kind: "absent", message: "This server keeps no history.", retryAfterMs };
  // A symbol or width of which nothing is stored yet.
  if (status === 404) return { kind: "unknown", message: error ?? "", retryAfterMs };
  if (status >= 400 && status < 500) return { kind: "refused", message: error === null ? `History answered ${status}.` : `History refused the question: ${error}`, retryAfterMs };
  return { kind: "unreachable", message: "History does not answer at the moment.", retryAfterMs };
}

function errorOf(body: string): string | null {
  try {
    const message = (JSON.parse(body) as { error?: { message?: unknown } } | null)?.error?.message;
    return typeof message === "string" && message !== "" ? message : null;
  } catch {
    return null;
  }
}
