/** The exchanges' last 24 hours of all symbols, with the way of the price. Only rows in sight are subscribed. */
import type { History, KlinecastClient, Ticker } from "klinecast";
import { percentChange, percentText, volumeText } from "./decimal-text.js";
import { exchangeName, exchangeOf } from "./feed-health.js";
import { part, setText } from "./page-part.js";
import { PastTrails } from "./past-trails.js";
import type { PriceDigits } from "./price-digits.js";
import { direction } from "./price-row.js";
import { newTickerRow, SPARK_HEIGHT, SPARK_WIDTH, type TickerRow } from "./ticker-row.js";
import { matchesSearch } from "./symbol-search.js";
import { TopicUse } from "./topic-use.js";

/** More symbols are not listed. */
const ROWS_MAX = 1_000;
/** Rows that pass by while a person scrolls are not subscribed. */
const REST_MS = 150;
/** Without any ticker for this long, the server has none. */
const NONE_AFTER_MS = 10_000;

export class TickerTable {
  readonly #topics: TopicUse;
  readonly #digits: PriceDigits;
  readonly #pasts: PastTrails;
  readonly #body: HTMLTableSectionElement;
  readonly #rows = new Map<string, TickerRow>();
  readonly #onDirty: () => void;
  readonly #sight: IntersectionObserver;
  #restTimer: number | undefined;
  /** Runs out if no ticker comes. */
  #noneTimer: number | undefined;
  #hasAny = false;
  #tabStop: TickerRow | null = null;
  #chosen = "";
  #search = "";

  constructor(client: Pick<KlinecastClient, "sub" | "unsub">, history: History | null, digits: PriceDigits, onChoose: (symbol: string) => void, onDirty: () => void) {
    this.#topics = new TopicUse(client);
    this.#digits = digits;
    this.#onDirty = onDirty;
    this.#pasts = new PastTrails(history, (symbol, past) => {
      const row = this.#rows.get(symbol);
      if (row === undefined) return;
      row.trail.addPast(past);
      this.#mark(row);
    });
    const body = part<HTMLTableElement>("tickers").tBodies[0];
    if (body === undefined) throw new Error("the table of tickers has a body");
    this.#body = body;
    this.#sight = new IntersectionObserver((changes) => {
      for (const { target, isIntersecting } of changes) {
        const row = this.#rowOf(target);
        if (row !== undefined) row.isInSight = isIntersecting;
      }
      window.clearTimeout(this.#restTimer);
      this.#restTimer = window.setTimeout(() => this.#subscribe(), REST_MS);
    });
    body.addEventListener("click", (event) => {
      const row = this.#rowOf(event.target as Element);
      if (row !== undefined) onChoose(row.symbol);
    });
    body.addEventListener("focusin", (event) => this.#setTabStop(this.#rowOf(event.target as Element) ?? null));
    body.addEventListener("keydown", (event) => this.#moveFocus(event));
    const search = part<HTMLInputElement>("ticker-filter");
    search.addEventListener("input", () => {
      this.#search = search.value.trim();
      this.#order();
    });
  }

  /** Makes sure that each of `symbols` has a row. A gateway names no tickers before somebody wants them. */
  list(symbols: readonly string[]): void {
    let isChanged = false;
    for (const symbol of symbols) {
      if (this.#rows.has(symbol) || this.#rows.size >= ROWS_MAX) continue;
      const row = newTickerRow(symbol);
      this.#rows.set(symbol, row);
      this.#sight.observe(row.element);
      isChanged = true;
    }
    if (isChanged) this.#order();
    this.choose(this.#chosen);
  }

  choose(symbol: string): void {
    this.#rows.get(this.#chosen)?.button.removeAttribute("aria-current");
    this.#rows.get(this.#chosen)?.element.classList.remove("chosen");
    this.#chosen = symbol;
    this.#rows.get(symbol)?.button.setAttribute("aria-current", "true");
    this.#rows.get(symbol)?.element.classList.add("chosen");
  }

  take(ticker: Ticker): void {
    const row = this.#rows.get(ticker.topic.slice("ticker:".length));
    if (row === undefined) return;
    row.ticker = ticker;
    this.#hasAny = true;
    part("tickers-none").hidden = true;
    row.trail.add(ticker.event_ms ?? ticker.published_us / 1_000, Number(ticker.last));
    this.#mark(row);
  }

  /** Writes the rows in sight that have changed; once a frame. */
  flush(): void {
    for (const row of this.#rows.values()) {
      if (row.isDirty && row.isInSight) this.#write(row);
    }
  }

  #mark(row: TickerRow): void {
    row.isDirty = true;
    this.#onDirty();
  }

  #write(row: TickerRow): void {
    row.isDirty = false;
    const { ticker } = row;
    if (ticker === null) return;
    const percent = ticker.open === null ? null : percentChange(ticker.open, ticker.last);
    const tone = direction(percent);
    setText(row.venue, exchangeName(ticker.exchange));
    setText(row.last, this.#digits.text(row.symbol, ticker.last));
    setText(row.change, percentText(percent));
    setText(row.volume, ticker.quote_volume === null ? `≈${volumeText(String(Number(ticker.volume) * Number(ticker.last)))}` : volumeText(ticker.quote_volume));
    if (row.change.className !== tone) row.change.className = tone;
    const points = row.trail.polyline(SPARK_WIDTH, SPARK_HEIGHT);
    if (row.line.getAttribute("points") !== points) row.line.setAttribute("points", points);
    const [first] = row.trail.points;
    const isRising = first !== undefined && Number(ticker.last) >= first.price;
    row.line.setAttribute("class", isRising ? "up" : "down");
  }

  #subscribe(): void {
    const seen = [...this.#rows.values()].filter((row) => row.isInSight);
    this.#topics.set(seen.map(({ symbol }) => `ticker:${symbol}`));
    if (seen.length > 0 && !this.#hasAny) this.#noneTimer ??= window.setTimeout(() => (part("tickers-none").hidden = this.#hasAny), NONE_AFTER_MS);
    for (const row of seen) {
      this.#pasts.want(row.symbol, row.ticker?.exchange ?? exchangeOf(row.symbol));
      if (row.isDirty) this.#onDirty();
    }
  }

  #order(): void {
    const shown = [...this.#rows.values()].filter((row) => matchesSearch(this.#search, row.symbol, row.ticker?.exchange ?? null)).sort((a, b) => (a.symbol < b.symbol ? -1 : 1));
    const focused = document.activeElement;
    this.#body.replaceChildren(...shown.map(({ element }) => element));
    if (focused instanceof HTMLElement && this.#body.contains(focused)) focused.focus({ preventScroll: true });
    if (this.#tabStop?.element.isConnected !== true) this.#setTabStop(shown[0] ?? null);
    const empty = part("tickers-empty");
    empty.hidden = shown.length > 0;
    setText(empty, this.#rows.size === 0 ? "Waiting for symbols." : "No symbol is like this. Search by name (btc usd).");
  }

  #rowOf(element: Element): TickerRow | undefined {
    const symbol = element.closest("tr")?.dataset["symbol"];
    return symbol === undefined ? undefined : this.#rows.get(symbol);
  }

  #setTabStop(row: TickerRow | null): void {
    if (this.#tabStop !== null) this.#tabStop.button.tabIndex = -1;
    if (row !== null) row.button.tabIndex = 0;
    this.#tabStop = row;
  }

  #moveFocus(event: KeyboardEvent): void {
    const row = (event.target as Element).closest("tr");
    const target = {
      ArrowDown: row?.nextElementSibling,
      ArrowUp: row?.previousElementSibling,
      Home: this.#body.firstElementChild,
      End: this.#body.lastElementChild,
    }[event.key];
    if (target === undefined) return;
    event.preventDefault();
    target?.querySelector("button")?.focus();
  }
}
