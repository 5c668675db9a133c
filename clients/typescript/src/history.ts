/** Stored bars over HTTP, page by page. */
import { barsPath, type BarPage, type BarQuestion, failureOf, type HistoryFailure, PAGE_BARS_MAX, readPage, readSymbols, type StoredSymbol, SYMBOLS_PATH } from "./history-api.js";
import type { Bar } from "./messages.js";

export interface HistoryConfig {
  /** The server's address without a path, for example `http://127.0.0.1:8080`; empty: a page's own server. */
  readonly url: string;
  /** Sent as `Authorization: Bearer`, where a proxy asks for it. */
  readonly token?: string | (() => string | Promise<string>);
  /** An answer that takes longer is given up (default 20 s). */
  readonly timeoutMs?: number;
  /** An answer with more bytes is given up (default 32 MiB). */
  readonly answerBytesMax?: number;
  /** How often `bars` and `symbols` ask again after a failure that may pass (default 4). */
  readonly retriesMax?: number;
  readonly fetch?: typeof globalThis.fetch;
  /** Uniform in [0, 1). */
  readonly random?: () => number;
  /** Waits between attempts; ends early with the signal. */
  readonly wait?: (delayMs: number, signal: AbortSignal | undefined) => Promise<void>;
}

/** Which bars `bars` yields. */
export interface BarRange {
  readonly symbol: string;
  /** In lower case; needed where several exchanges have the symbol. */
  readonly exchange?: string;
  /** A width such as `1m`, `7m`, `4h` (default `1m`). */
  readonly width?: string;
  /** The first instant, in milliseconds since 1970; without it, the oldest stored bar. */
  readonly fromMs?: number;
  /** The first instant after the range; without it, all until now. */
  readonly toMs?: number;
  /** Bars of one answer (default 1,000). */
  readonly pageBars?: number;
  readonly fill?: "none";
  readonly signal?: AbortSignal;
}

/** Why there was no answer, and whether asking again makes sense. */
export class HistoryError extends Error {
  readonly failure: HistoryFailure;

  constructor(failure: HistoryFailure) {
    super(failure.message);
    this.name = "HistoryError";
    this.failure = failure;
  }
}

const ANSWER_TIMEOUT_MS = 20_000;
const ANSWER_BYTES_MAX = 32 * 2 ** 20;
const RETRIES_MAX = 4;
const RETRY_BASE_MS = 1_000;
const RETRY_MAX_MS = 30_000;
/** A page may be empty although more follows; so many in a row are a fault of the server. */
const EMPTY_PAGES_MAX = 100;

const UNREADABLE: HistoryFailure = { kind: "unreadable", message: "History's answer cannot be read.", retryAfterMs: null };
const UNREACHABLE: HistoryFailure = { kind: "unreachable", message: "History does not answer at the moment.", retryAfterMs: null };
const ENDLESS: HistoryFailure = { kind: "unreadable", message: "History's pages have no end.", retryAfterMs: null };

export class History {
  readonly #config: HistoryConfig;

  constructor(config: HistoryConfig) {
    this.#config = config;
  }

  /** One page, asked for once. Throws a HistoryError. */
  page(question: BarQuestion, signal?: AbortSignal): Promise<BarPage> {
    const topic = `kline:${question.width}:${question.symbol}`;
    return this.#ask(barsPath(question), (body) => readPage(body, topic, question.isFormingWanted), signal);
  }

  /** The closed bars of `range`, the oldest first, however many pages that takes. */
  async *bars(range: BarRange): AsyncGenerator<Bar, void, undefined> {
    const { symbol, exchange = null, width = "1m", fromMs = null, toMs = null, pageBars = PAGE_BARS_MAX, fill, signal } = range;
    const question: BarQuestion = { symbol, exchange, width, fromMs, toMs, limit: pageBars, order: "asc", ...(fill === undefined ? {} : { fill }) };
    let cursor: string | null = null;
    let emptyPages = 0;
    do {
      const page: BarPage = await this.#patiently(() => this.page({ ...question, cursor }, signal), signal);
      yield* page.bars;
      emptyPages = page.bars.length === 0 ? emptyPages + 1 : 0;
      if ((page.next !== null && page.next === cursor) || emptyPages > EMPTY_PAGES_MAX) throw new HistoryError(ENDLESS);
      cursor = page.next;
    } while (cursor !== null);
  }

  /** What is stored. */
  symbols(signal?: AbortSignal): Promise<StoredSymbol[]> {
    return this.#patiently(() => this.#ask(SYMBOLS_PATH, readSymbols, signal), signal);
  }

  async #patiently<T>(ask: () => Promise<T>, signal: AbortSignal | undefined): Promise<T> {
    const { retriesMax = RETRIES_MAX, random = Math.random, wait = waitFor } = this.#config;
    for (let attempt = 0; ; attempt += 1) {
      try {
        return await ask();
      } catch (error) {
        const failure = error instanceof HistoryError ? error.failure : null;
        const mayPass = failure?.kind === "busy" || failure?.kind === "unreachable";
        if (!mayPass || attempt >= retriesMax) throw error;
        const delayMs = random() * Math.min(RETRY_MAX_MS, RETRY_BASE_MS * 2 ** attempt);
        await wait(delayMs + (failure?.retryAfterMs ?? 0), signal);
      }
    }
  }

  /** What `read` makes of the answer; it gives null for one that it cannot read. */
  async #ask<T>(path: string, read: (body: unknown) => T | null, signal: AbortSignal | undefined): Promise<T> {
    const { url, token, timeoutMs = ANSWER_TIMEOUT_MS, answerBytesMax = ANSWER_BYTES_MAX, fetch: ask = globalThis.fetch } = this.#config;
    signal?.throwIfAborted();
    const abort = new AbortController();
    const onAbort = (): void => abort.abort();
    signal?.addEventListener("abort", onAbort);
    const timeout = setTimeout(onAbort, timeoutMs);
    try {
      const bearer = typeof token === "function" ? await token() : token;
      const headers: Record<string, string> = bearer === undefined ? {} : { authorization: `Bearer ${bearer}` };
      const response = await ask(url.replace(/\/+$/, "") + path, { signal: abort.signal, headers });
      const text = await textOf(response, answerBytesMax);
      if (text === null) throw new HistoryError(UNREADABLE);
      if (!response.ok) throw new HistoryError(failureOf(response.status, text, response.headers.get("retry-after")));
      const answer = read(parsed(text));
      if (answer === null) throw new HistoryError(UNREADABLE);
      return answer;
    } catch (error) {
      signal?.throwIfAborted();
      throw error instanceof HistoryError ? error : new HistoryError(UNREACHABLE);
    } finally {
      clearTimeout(timeout);
      signal?.removeEventListener("abort", onAbort);
      // A body that was not read to its end must not hold its connection.
      abort.abort();
    }
  }
}

/** The text of an answer; null if it has too many bytes. */
async function textOf(response: Response, bytesMax: number): Promise<string | null> {
  const reader = response.body?.getReader();
  if (reader === undefined) return response.text();
  const decoder = new TextDecoder();
  const parts: string[] = [];
  let bytes = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return parts.join("") + decoder.decode();
    bytes += value.byteLength;
    if (bytes > bytesMax) return null;
    parts.push(decoder.decode(value, { stream: true }));
  }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

function waitFor(delayMs: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => {
      clearTimeout(timer);
      reject(signal?.reason ?? new Error("aborted"));
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", onAbort);
      resolve();
    }, delayMs);
    signal?.addEventListener("abort", onAbort, { once: true });
  });
}
