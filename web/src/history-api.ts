/**
 * The server's stored bars over HTTP: how a page of them is asked for, and what an answer says.
 * Pure; docs/history-api.md is the reference.
 */
import { exchangeOf } from "./feed-health.js";
import { type Bar, barFault } from "./protocol.js";

/** Most bars of one answer. */
export const PAGE_BARS_MAX = 1_000;

/** A question for closed bars, the newest of the range first. */
export interface BarQuestion {
  readonly symbol: string;
  /** In lower case; null where it is not known. */
  readonly exchange: string | null;
  readonly width: string;
  /** The first instant; null: from the first bar that is stored. */
  readonly fromMs: number | null;
  /** The first instant after the range; null: until now. */
  readonly toMs: number | null;
  readonly limit: number;
}

export interface BarPage {
  /** By ascending start. */
  readonly bars: readonly Bar[];
  /** Whether the range holds older bars than these. */
  readonly hasMore: boolean;
}

/** Why there was no page, and when asking again makes sense. */
export interface HistoryFailure {
  readonly kind: "absent" | "refused" | "access" | "busy" | "unknown" | "unreachable" | "unreadable";
  /** What to tell a person. */
  readonly message: string;
  /** At the earliest; null: as the page sees fit. */
  readonly retryAfterMs: number | null;
}

/** The address of `question` on the page's own server. */
export function barsPath({ symbol, exchange, width, fromMs, toMs, limit }: BarQuestion): string {
  const venue = exchangeOf(symbol) ?? exchange;
  const values = new URLSearchParams({ symbol: symbol.slice(symbol.indexOf(":") + 1) });
  if (venue !== null) values.set("exchange", venue);
  values.set("width", width);
  if (fromMs !== null) values.set("from", String(Math.floor(fromMs)));
  if (toMs !== null) values.set("to", String(Math.ceil(toMs)));
  values.set("limit", String(limit));
  values.set("order", "desc");
  return `/api/v1/bars?${values.toString()}`;
}

/**
 * The page in `body`; null if it is none. Bars become bars of `topic`. A bar that cannot be read
 * is left out: the chart shows a hole there.
 */
export function readPage(body: unknown, topic: string): BarPage | null {
  if (typeof body !== "object" || body === null) return null;
  const { bars: sent, next } = body as { readonly bars?: unknown; readonly next?: unknown };
  if (!Array.isArray(sent)) return null;
  const [, interval = "", ...symbol] = topic.split(":");
  const read: Bar[] = [];
  for (const each of sent) {
    if (typeof each !== "object" || each === null) continue;
    // Stored bars have no number of publication that could be compared with a gateway's.
    const bar = { ...each, topic, interval, symbol: symbol.join(":"), epoch: 0, seq: 0 } as Record<string, unknown>;
    bar["rev"] ??= 0;
    bar["count"] ??= 0;
    bar["quality"] ??= "complete";
    if (barFault(bar) === null && (bar["state"] ?? "closed") === "closed") read.push({ ...bar, state: "closed" } as unknown as Bar);
  }
  read.sort((a, b) => a.start_ms - b.start_ms || a.rev - b.rev);
  // One bar for each interval: of two, the later revision.
  const bars = read.filter((bar, index) => read[index + 1]?.start_ms !== bar.start_ms);
  return { bars, hasMore: typeof next === "string" && next !== "" };
}

export const SYMBOLS_PATH = "/api/v1/symbols";

/** When the first stored bar of `symbol` begins, as the list of symbols says; null if it does not. */
export function readFirstMs(body: unknown, symbol: string, exchange: string | null): number | null {
  const symbols = (body as { symbols?: unknown } | null)?.symbols;
  if (!Array.isArray(symbols)) return null;
  let firstMs: number | null = null;
  for (const each of symbols as { exchange?: unknown; topic_symbol?: unknown; widths?: unknown }[]) {
    if (each?.topic_symbol !== symbol || (exchange !== null && each.exchange !== exchange) || !Array.isArray(each.widths)) continue;
    for (const width of each.widths as { first_ms?: unknown }[]) {
      if (typeof width?.first_ms === "number") firstMs = Math.min(firstMs ?? width.first_ms, width.first_ms);
    }
  }
  return firstMs;
}

/** What an answer with this HTTP status means; `body` is its text, `retryAfter` its header. */
export function failureOf(status: number, body: string, retryAfter: string | null): HistoryFailure {
  const error = errorOf(body);
  const seconds = retryAfter === null ? Number.NaN : Number(retryAfter);
  const retryAfterMs = Number.isFinite(seconds) && seconds >= 0 ? Math.min(seconds, 3_600) * 1_000 : null;
  if (status === 401 || status === 403) return { kind: "access", message: "History wants a token that permits this symbol.", retryAfterMs };
  if (status === 429) return { kind: "busy", message: "This page asked for history too often; it waits a moment.", retryAfterMs };
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
