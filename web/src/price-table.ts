/** The table of all symbols: last price, change over the day's bar, quote volume, age. */
import type { Bar, DecimalText } from "klinecast";
import { groupedText, percentChange, percentText, volumeText } from "./decimal-text.js";
import { ageText, type BadgeState, exchangeName, exchangeOf } from "./feed-health.js";
import { setText } from "./page-part.js";
import type { PriceDigits } from "./price-digits.js";
import { direction, newRow, type Row, showTick } from "./price-row.js";
import { baseOf, quoteOf } from "./readout.js";
import { matchesSearch } from "./symbol-search.js";

type SortKey = "symbol" | "price" | "change" | "volume" | "age";

export interface PriceTableParts {
  readonly table: HTMLTableElement;
  readonly search: HTMLInputElement;
  /** How many symbols are shown. */
  readonly note: HTMLElement;
  /** What is said when no symbol is found. */
  readonly empty: HTMLElement;
  /** What the mark of a part of a day means; shown while there is one. */
  readonly partialNote: HTMLElement;
}

/** Rows in the document; more symbols than this can be found with the search only. */
const ROWS_MAX = 1_000;
export const SYMBOLS_MAX = 5_000;
/** A symbol without a trade for this long is shown as quiet. */
const QUIET_AFTER_MS = 60_000;
const REORDER_INTERVAL_MS = 1_000;
/** Rows out of sight are written this often: each one costs the layout as much as one in sight. */
const UNSEEN_INTERVAL_MS = 2_000;

export class PriceTable {
  readonly #parts: PriceTableParts;
  readonly #body: HTMLTableSectionElement;
  readonly #headings: readonly HTMLTableCellElement[];
  readonly #rows = new Map<string, Row>();
  readonly #digits: PriceDigits;
  readonly #onChoose: (symbol: string) => void;
  readonly #dayOpenOf: (day: Bar) => DecimalText | null;
  /** Rows in sight are written at once and animated, the others now and then. */
  readonly #sight: IntersectionObserver;
  #chosen = "";
  /** The one row that Tab reaches; arrows lead to the others. */
  #tabStop: Row | null = null;
  #search = "";
  #sortKey: SortKey = "symbol";
  #isDescending = false;
  #isOrderDirty = false;
  #orderedAtMs = Number.NEGATIVE_INFINITY;
  #unseenWrittenAtMs = Number.NEGATIVE_INFINITY;
  #unseenAgesAtMs = Number.NEGATIVE_INFINITY;

  constructor(parts: PriceTableParts, digits: PriceDigits, onChoose: (symbol: string) => void, dayOpenOf: (day: Bar) => DecimalText | null) {
    const { table, search } = parts;
    const body = table.tBodies[0];
    if (body === undefined) throw new Error("the price table has a body");
    this.#parts = parts;
    this.#body = body;
    this.#digits = digits;
    this.#onChoose = onChoose;
    this.#dayOpenOf = dayOpenOf;
    this.#headings = [...table.querySelectorAll<HTMLTableCellElement>("thead th")];
    for (const heading of this.#headings) {
      heading.querySelector("button")?.addEventListener("click", () => this.#sortBy(heading.dataset["sort"] as SortKey));
    }
    this.#sight = new IntersectionObserver((changes) => {
      for (const { target, isIntersecting } of changes) {
        const row = this.#rowOf(target);
        if (row === undefined) continue;
        row.isInSight = isIntersecting;
        if (isIntersecting && row.isDirty && row.bar !== null) this.#write(row, row.bar);
      }
    });
    search.addEventListener("input", () => this.#searchFor(search.value));
    search.addEventListener("keydown", (event) => this.#searchKey(event));
    body.addEventListener("click", (event) => {
      const row = this.#rowOf(event.target as Element);
      if (row !== undefined) this.#onChoose(row.symbol);
    });
    body.addEventListener("focusin", (event) => this.#setTabStop(this.#rowOf(event.target as Element) ?? null));
    body.addEventListener("keydown", (event) => this.#moveFocus(event));
  }

  get symbols(): readonly string[] {
    return [...this.#rows.keys()];
  }

  /** The latest bar of `symbol` in the table's timeframe. */
  bar(symbol: string): Bar | null {
    return this.#rows.get(symbol)?.bar ?? null;
  }

  /** The first price of the day of that bar, where the bar itself begins later and the price is known. */
  dayOpen(symbol: string): DecimalText | null {
    return this.#rows.get(symbol)?.dayOpen ?? null;
  }

  /** The exchange whose trades make `symbol`'s bars, in lower case; null if unknown. */
  exchangeOf(symbol: string): string | null {
    return this.#rows.get(symbol)?.exchange ?? exchangeOf(symbol);
  }

  /** Whether any bar of `exchange` has come. */
  hasBarsOf(exchange: string): boolean {
    for (const row of this.#rows.values()) {
      if (row.bar !== null && (row.exchange === null || row.exchange === exchange)) return true;
    }
    return false;
  }

  /** Makes sure that each of `symbols` has a row. */
  add(symbols: Iterable<string>): void {
    for (const symbol of symbols) {
      if (this.#rows.has(symbol) || this.#rows.size >= SYMBOLS_MAX) continue;
      const row = newRow(symbol);
      this.#rows.set(symbol, row);
      this.#sight.observe(row.element);
      this.#isOrderDirty = true;
      this.#orderedAtMs = Number.NEGATIVE_INFINITY;
    }
    this.#mark();
  }

  choose(symbol: string): void {
    this.#chosen = symbol;
    this.#mark();
    const row = this.#rows.get(symbol);
    if (row?.element.isConnected === true) this.#setTabStop(row);
  }

  /** Scrolls the chosen symbol's row into sight, within the table. */
  revealChosen(): void {
    this.#rows.get(this.#chosen)?.element.scrollIntoView({ block: "nearest" });
  }

  /** Notes `bar`; the document changes at the next `flush`. */
  apply(bar: Bar): void {
    if (!this.#rows.has(bar.symbol)) this.add([bar.symbol]);
    const row = this.#rows.get(bar.symbol);
    if (row === undefined || (row.bar !== null && bar.start_ms < row.bar.start_ms)) return;
    const before = row.bar;
    row.bar = bar;
    row.exchange = bar.exchange ?? row.exchange;
    this.#count(row, bar);
    if (before !== null && before.close !== bar.close) row.tick = Number(bar.close) > Number(before.close) ? "up" : "down";
    if (this.#sortKey !== "symbol" && this.#sortKey !== "age") this.#isOrderDirty = true;
  }

  /** The first price of a symbol's day has become known. */
  dayKnown(symbol: string): void {
    const row = this.#rows.get(symbol);
    if (row !== undefined && row.bar !== null) this.#count(row, row.bar);
  }

  #count(row: Row, bar: Bar): void {
    row.dayOpen = this.#dayOpenOf(bar);
    row.changePercent = percentChange(row.dayOpen ?? bar.open, bar.close);
    row.isDirty = true;
  }

  /** Writes changed rows to the document. */
  flush(): void {
    const isUnseenDue = performance.now() - this.#unseenWrittenAtMs >= UNSEEN_INTERVAL_MS;
    if (isUnseenDue) this.#unseenWrittenAtMs = performance.now();
    for (const row of this.#rows.values()) {
      if (row.isDirty && row.bar !== null && (row.isInSight || isUnseenDue)) this.#write(row, row.bar);
    }
    // Rows that change places several times a second could not be clicked.
    if (this.#isOrderDirty && performance.now() - this.#orderedAtMs > REORDER_INTERVAL_MS) this.#reorder();
  }

  #write(row: Row, bar: Bar): void {
    row.isDirty = false;
    setText(row.price, this.#digits.text(bar.symbol, bar.close));
    setText(row.venue, row.exchange === null ? "" : exchangeName(row.exchange));
    setText(row.changeText, percentText(row.changePercent));
    const tone = direction(row.changePercent);
    if (row.change.className !== tone) row.change.className = tone;
    const { quote_volume: quoteVolume } = bar;
    setText(row.volumeText, quoteVolume === null ? "–" : volumeText(quoteVolume));
    const isPartial = bar.quality === "partial";
    const [ofChange, ...ofVolume] = row.partialMarks;
    if (ofChange !== undefined) ofChange.hidden = !isPartial || row.dayOpen !== null;
    for (const mark of ofVolume) mark.hidden = !isPartial;
    const base = `${groupedText(bar.volume)} ${baseOf(bar.symbol)}`;
    const title = quoteVolume === null ? base : `${groupedText(quoteVolume)} ${quoteOf(bar.symbol)} (${base})`;
    if (row.volume.title !== title) row.volume.title = title;
    showTick(row);
  }

  /**
   * Writes the ages, and dims rows whose feed is not live. `offsetMs` is how far the page's
   * clock is ahead of the gateway's; `stateOf` gives the state of an exchange's feed.
   */
  refreshAges(offsetMs: number, stateOf: (exchange: string | null) => BadgeState): void {
    const nowMs = Date.now() - offsetMs;
    const isUnseenDue = performance.now() - this.#unseenAgesAtMs >= UNSEEN_INTERVAL_MS;
    if (isUnseenDue) this.#unseenAgesAtMs = performance.now();
    let hasPartial = false;
    for (const row of this.#rows.values()) {
      if (row.bar === null || !row.element.isConnected) continue;
      hasPartial ||= row.bar.quality === "partial";
      if (!row.isInSight && !isUnseenDue) continue;
      // A day may have no trade yet.
      const { event_ms } = row.bar;
      const ageMs = event_ms === null ? null : Math.max(0, nowMs - event_ms);
      setText(row.age, ageMs === null ? "–" : ageText(ageMs));
      row.element.classList.toggle("quiet", ageMs === null || ageMs > QUIET_AFTER_MS);
      row.element.classList.toggle("dim", stateOf(row.exchange) !== "live");
    }
    this.#parts.partialNote.hidden = !hasPartial;
  }

  /** The row that `element` lies in. */
  #rowOf(element: Element): Row | undefined {
    const symbol = element.closest("tr")?.dataset["symbol"];
    return symbol === undefined ? undefined : this.#rows.get(symbol);
  }

  #mark(): void {
    for (const row of this.#rows.values()) {
      const isChosen = row.symbol === this.#chosen;
      if (row.element.classList.contains("chosen") === isChosen) continue;
      row.element.classList.toggle("chosen", isChosen);
      if (isChosen) row.button.setAttribute("aria-current", "true");
      else row.button.removeAttribute("aria-current");
    }
  }

  #setTabStop(row: Row | null): void {
    if (row === this.#tabStop) return;
    if (this.#tabStop !== null) this.#tabStop.button.tabIndex = -1;
    if (row !== null) row.button.tabIndex = 0;
    this.#tabStop = row;
  }

  #sortBy(key: SortKey): void {
    this.#isDescending = key === this.#sortKey ? !this.#isDescending : key !== "symbol" && key !== "age";
    this.#sortKey = key;
    for (const heading of this.#headings) {
      if (heading.dataset["sort"] === key) heading.setAttribute("aria-sort", this.#isDescending ? "descending" : "ascending");
      else heading.removeAttribute("aria-sort");
    }
    this.#reorder();
  }

  #searchFor(text: string): void {
    this.#search = text.trim();
    this.#reorder();
  }

  #searchKey(event: KeyboardEvent): void {
    const first = this.#body.rows[0];
    if (event.key === "Enter" && first !== undefined) {
      const row = this.#rowOf(first);
      if (row !== undefined) this.#onChoose(row.symbol);
    } else if (event.key === "ArrowDown") {
      first?.querySelector("button")?.focus();
    } else if (event.key === "Escape" && this.#search !== "") {
      this.#parts.search.value = "";
      this.#searchFor("");
    } else {
      return;
    }
    event.preventDefault();
  }

  #reorder(): void {
    this.#isOrderDirty = false;
    this.#orderedAtMs = performance.now();
    const sign = this.#isDescending ? -1 : 1;
    const shown = [...this.#rows.values()]
      .filter((row) => matchesSearch(this.#search, row.symbol, row.exchange))
      .sort((a, b) => sign * this.#compare(a, b) || (a.symbol < b.symbol ? -1 : 1))
      .slice(0, ROWS_MAX);
    const elements = shown.map((row) => row.element);
    const isSame = elements.length === this.#body.rows.length && elements.every((element, index) => this.#body.rows[index] === element);
    if (!isSame) {
      const focused = document.activeElement;
      this.#body.replaceChildren(...elements);
      if (focused instanceof HTMLElement && this.#body.contains(focused)) focused.focus({ preventScroll: true });
    }
    if (this.#tabStop?.element.isConnected !== true) {
      this.#setTabStop(shown.find((row) => row.symbol === this.#chosen) ?? shown[0] ?? null);
    }
    const total = this.#rows.size;
    const { note, empty } = this.#parts;
    setText(note, total === 0 ? "Waiting for symbols" : shown.length === total ? `${total} symbol${total === 1 ? "" : "s"}` : `${shown.length} of ${total} symbols`);
    empty.hidden = total === 0 || shown.length > 0;
    setText(empty, `No symbol is like “${this.#search}”. Search by name (btc usd) or by exchange (okx).`);
  }

  #compare(a: Row, b: Row): number {
    switch (this.#sortKey) {
      case "symbol":
        return a.symbol < b.symbol ? -1 : a.symbol > b.symbol ? 1 : 0;
      case "price":
        return number(a.bar?.close) - number(b.bar?.close);
      case "change":
        return (a.changePercent ?? -Infinity) - (b.changePercent ?? -Infinity) || 0;
      case "volume":
        // In quote currency: a billion of one coin may be worth less than one of another.
        return number(a.bar?.quote_volume) - number(b.bar?.quote_volume);
      case "age":
        return (b.bar?.event_ms ?? 0) - (a.bar?.event_ms ?? 0);
    }
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
    const button = target?.querySelector("button") ?? (event.key === "ArrowUp" ? this.#parts.search : null);
    button?.focus();
  }
}

function number(decimal: string | null | undefined): number {
  return decimal === undefined || decimal === null ? Number.MIN_SAFE_INTEGER : Number(decimal);
}
