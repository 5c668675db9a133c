/** The table of all symbols: last price, change over the day's bar, volume, age. */
import type { Bar } from "./client.js";
import { percentChange, percentText, volumeText } from "./decimal-text.js";
import { ageText } from "./feed-health.js";

type SortKey = "symbol" | "price" | "change" | "volume" | "age";

interface Row {
  readonly symbol: string;
  readonly element: HTMLTableRowElement;
  readonly button: HTMLButtonElement;
  readonly price: HTMLTableCellElement;
  readonly change: HTMLTableCellElement;
  readonly volume: HTMLTableCellElement;
  readonly age: HTMLTableCellElement;
  bar: Bar | null;
  changePercent: number | null;
  isDirty: boolean;
}

/** Rows in the document; more symbols than this can be found with the filter only. */
const ROWS_MAX = 1_000;
const SYMBOLS_MAX = 5_000;
/** A symbol without a trade for this long is shown as quiet. */
const QUIET_AFTER_MS = 60_000;
const REORDER_INTERVAL_MS = 1_000;

export class PriceTable {
  readonly #body: HTMLTableSectionElement;
  readonly #note: HTMLElement;
  readonly #headings: readonly HTMLTableCellElement[];
  readonly #rows = new Map<string, Row>();
  readonly #onChoose: (symbol: string) => void;
  #chosen = "";
  #filter = "";
  #sortKey: SortKey = "symbol";
  #isDescending = false;
  #isOrderDirty = false;
  #orderedAtMs = Number.NEGATIVE_INFINITY;

  constructor(table: HTMLTableElement, filter: HTMLInputElement, note: HTMLElement, onChoose: (symbol: string) => void) {
    const body = table.tBodies[0];
    if (body === undefined) throw new Error("the price table has a body");
    this.#body = body;
    this.#note = note;
    this.#onChoose = onChoose;
    this.#headings = [...table.querySelectorAll<HTMLTableCellElement>("thead th")];
    for (const heading of this.#headings) {
      heading.querySelector("button")?.addEventListener("click", () => this.#sortBy(heading.dataset["sort"] as SortKey));
    }
    filter.addEventListener("input", () => {
      this.#filter = filter.value.trim().toUpperCase();
      this.#reorder();
    });
    body.addEventListener("click", (event) => {
      const row = (event.target as Element).closest("tr");
      if (row?.dataset["symbol"] !== undefined) this.#onChoose(row.dataset["symbol"]);
    });
    body.addEventListener("keydown", (event) => this.#moveFocus(event));
  }

  get symbols(): readonly string[] {
    return [...this.#rows.keys()];
  }

  /** The latest bar of `symbol` in the table's timeframe. */
  bar(symbol: string): Bar | null {
    return this.#rows.get(symbol)?.bar ?? null;
  }

  /** Makes sure that each of `symbols` has a row. */
  add(symbols: Iterable<string>): void {
    for (const symbol of symbols) {
      if (this.#rows.has(symbol) || this.#rows.size >= SYMBOLS_MAX) continue;
      this.#rows.set(symbol, newRow(symbol));
      this.#isOrderDirty = true;
      this.#orderedAtMs = Number.NEGATIVE_INFINITY;
    }
    this.#mark();
  }

  choose(symbol: string): void {
    this.#chosen = symbol;
    this.#mark();
  }

  /** Notes `bar`; the document changes at the next `flush`. */
  apply(bar: Bar): void {
    if (!this.#rows.has(bar.symbol)) this.add([bar.symbol]);
    const row = this.#rows.get(bar.symbol);
    if (row === undefined || (row.bar !== null && bar.start_ms < row.bar.start_ms)) return;
    const before = row.bar;
    row.bar = bar;
    row.changePercent = percentChange(bar.open, bar.close);
    row.isDirty = true;
    if (before !== null && before.close !== bar.close) {
      const isUp = Number(bar.close) > Number(before.close);
      row.element.classList.remove("ticked-up", "ticked-down");
      row.element.dataset["tick"] = isUp ? "up" : "down";
    }
    if (this.#sortKey !== "symbol" && this.#sortKey !== "age") this.#isOrderDirty = true;
  }

  /** Writes changed rows to the document. */
  flush(): void {
    for (const row of this.#rows.values()) {
      if (!row.isDirty || row.bar === null) continue;
      row.isDirty = false;
      setText(row.price, row.bar.close);
      setText(row.change, percentText(row.changePercent));
      row.change.className = direction(row.changePercent);
      setText(row.volume, volumeText(row.bar.volume));
      row.volume.title = `${row.bar.volume} (quote volume ${row.bar.quote_volume})`;
      const tick = row.element.dataset["tick"];
      if (tick !== undefined) {
        delete row.element.dataset["tick"];
        row.element.classList.add(tick === "up" ? "ticked-up" : "ticked-down");
      }
    }
    // Rows that change places several times a second could not be clicked.
    if (this.#isOrderDirty && performance.now() - this.#orderedAtMs > REORDER_INTERVAL_MS) this.#reorder();
  }

  /** Writes the ages. `offsetMs` is how far the page's clock is ahead of the gateway's. */
  refreshAges(offsetMs: number): void {
    const nowMs = Date.now() - offsetMs;
    for (const row of this.#rows.values()) {
      if (row.bar === null || !row.element.isConnected) continue;
      const ageMs = Math.max(0, nowMs - row.bar.event_ms);
      setText(row.age, ageText(ageMs));
      row.element.classList.toggle("quiet", ageMs > QUIET_AFTER_MS);
    }
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

  #sortBy(key: SortKey): void {
    this.#isDescending = key === this.#sortKey ? !this.#isDescending : key !== "symbol" && key !== "age";
    this.#sortKey = key;
    for (const heading of this.#headings) {
      if (heading.dataset["sort"] === key) heading.setAttribute("aria-sort", this.#isDescending ? "descending" : "ascending");
      else heading.removeAttribute("aria-sort");
    }
    this.#reorder();
  }

  #reorder(): void {
    this.#isOrderDirty = false;
    this.#orderedAtMs = performance.now();
    const sign = this.#isDescending ? -1 : 1;
    const shown = [...this.#rows.values()]
      .filter((row) => row.symbol.toUpperCase().includes(this.#filter))
      .sort((a, b) => sign * this.#compare(a, b) || (a.symbol < b.symbol ? -1 : 1))
      .slice(0, ROWS_MAX);
    const elements = shown.map((row) => row.element);
    const isSame = elements.length === this.#body.rows.length && elements.every((element, index) => this.#body.rows[index] === element);
    if (!isSame) {
      const focused = document.activeElement;
      this.#body.replaceChildren(...elements);
      if (focused instanceof HTMLElement && this.#body.contains(focused)) focused.focus({ preventScroll: true });
    }
    const total = this.#rows.size;
    setText(
      this.#note,
      total === 0 ? "Waiting for symbols" : shown.length === total ? `${total} symbol${total === 1 ? "" : "s"}` : `${shown.length} of ${total} symbols`,
    );
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
        return number(a.bar?.volume) - number(b.bar?.volume);
      case "age":
        return (b.bar?.event_ms ?? 0) - (a.bar?.event_ms ?? 0);
    }
  }

  #moveFocus(event: KeyboardEvent): void {
    if (event.key !== "ArrowDown" && event.key !== "ArrowUp") return;
    const row = (event.target as Element).closest("tr");
    const next = event.key === "ArrowDown" ? row?.nextElementSibling : row?.previousElementSibling;
    const button = next?.querySelector("button");
    if (button == null) return;
    event.preventDefault();
    button.focus();
  }
}

function newRow(symbol: string): Row {
  const element = document.createElement("tr");
  element.dataset["symbol"] = symbol;
  const heading = document.createElement("th");
  heading.scope = "row";
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = symbol;
  heading.append(button);
  const [price, change, volume, age] = ["price", "", "volume", "age"].map((className) => {
    const cell = document.createElement("td");
    cell.className = className;
    cell.textContent = "–";
    return cell;
  }) as [HTMLTableCellElement, HTMLTableCellElement, HTMLTableCellElement, HTMLTableCellElement];
  element.append(heading, price, change, volume, age);
  element.addEventListener("animationend", () => element.classList.remove("ticked-up", "ticked-down"));
  return { symbol, element, button, price, change, volume, age, bar: null, changePercent: null, isDirty: false };
}

export function direction(percent: number | null): string {
  return percent === null || Math.abs(percent) < 0.005 ? "flat" : percent > 0 ? "up" : "down";
}

/** Changes the text only if it differs, so that the browser has nothing to lay out otherwise. */
export function setText(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

function number(decimal: string | undefined): number {
  return decimal === undefined ? Number.MIN_SAFE_INTEGER : Number(decimal);
}
