/** The order book of the chosen symbol as a ladder: asks above, bids below, with bars of depth. */
import type { Book, KlinecastClient } from "klinecast";
import { bookFaultText, type Ladder, ladderOf, type LadderRow } from "./book-ladder.js";
import { amountText } from "./decimal-text.js";
import { part, setText } from "./page-part.js";
import { watchSight } from "./panel-sight.js";
import type { PriceDigits } from "./price-digits.js";
import { baseOf } from "./readout.js";
import { TopicUse } from "./topic-use.js";

/** Rows of one side; a wide screen has room for no more. */
const LEVELS_MAX = 20;
const LEVELS_MIN = 3;
/** Height of a row in pixels; style.css has the same. */
const ROW_PX = 20;
/** Height of the line between the sides; style.css has the same. */
const SPREAD_PX = 32;
/** A book that has not come after this long is missing. */
const PENDING_MS = 3_000;

interface Row {
  readonly element: HTMLElement;
  readonly price: HTMLElement;
  readonly quantity: HTMLElement;
  readonly total: HTMLElement;
  readonly bar: HTMLElement;
  depth: number;
}

export class BookPanel {
  readonly #topics: TopicUse;
  readonly #digits: PriceDigits;
  readonly #bids: readonly Row[];
  readonly #asks: readonly Row[];
  #symbol: string | null = null;
  #book: Book | null = null;
  /** What is said in place of a book; empty while there is nothing to say. */
  #said = "";
  #levels = LEVELS_MAX;
  #isInSight = false;
  #isDirty = false;
  #pendingTimer: number | undefined;
  readonly #onDirty: () => void;

  constructor(client: Pick<KlinecastClient, "sub" | "unsub">, digits: PriceDigits, onDirty: () => void) {
    this.#topics = new TopicUse(client, { depth: LEVELS_MAX, changes: true });
    this.#digits = digits;
    this.#onDirty = onDirty;
    this.#asks = newRows(part("book-asks"));
    this.#bids = newRows(part("book-bids"));
    watchSight(part("book-panel"), (isInSight) => {
      this.#isInSight = isInSight;
      this.#subscribe();
      this.#mark();
    });
    new ResizeObserver(([entry]) => {
      const room = Math.floor(((entry?.contentRect.height ?? 0) - SPREAD_PX - ROW_PX) / 2 / ROW_PX);
      const levels = Math.min(LEVELS_MAX, Math.max(LEVELS_MIN, room));
      if (levels === this.#levels) return;
      this.#levels = levels;
      this.#mark();
    }).observe(part("book-body"));
  }

  choose(symbol: string): void {
    if (symbol === this.#symbol) return;
    this.#symbol = symbol;
    this.#book = null;
    this.#said = "Waiting for the order book.";
    this.#isDirty = true;
    this.#subscribe();
  }

  take(book: Book): void {
    if (book.topic !== this.#topic && plainTopic(this.#topic, book) !== book.topic) return;
    this.#book = book;
    this.#said = book.state === "valid" ? "" : bookFaultText(book.reason);
    this.#isDirty = true;
  }

  /** Without a connection no book is right. */
  connectionLost(): void {
    window.clearTimeout(this.#pendingTimer);
    this.#book = null;
    this.#said = bookFaultText("disconnected");
    this.#isDirty = true;
  }

  /** There is no book so far. One may come at once: a gateway takes books from the bus when somebody wants them. */
  pending(topics: readonly string[]): void {
    const topic = this.#topic;
    if (topic === null || !topics.includes(topic)) return;
    window.clearTimeout(this.#pendingTimer);
    this.#pendingTimer = window.setTimeout(() => {
      if (this.#topic !== topic || this.#book !== null) return;
      this.#said = "This server has no order book of this symbol so far. Its operator starts books with --channels ticker,book.";
      this.#mark();
    }, PENDING_MS);
  }

  refuse(topics: readonly string[], message: string): boolean {
    if (this.#topic === null || !topics.includes(this.#topic)) return false;
    window.clearTimeout(this.#pendingTimer);
    this.#said = `The gateway refused the order book: ${message}`;
    this.#book = null;
    this.#isDirty = true;
    return true;
  }

  /** Writes what has changed; once a frame. */
  flush(): void {
    if (!this.#isDirty || !this.#isInSight) return;
    this.#isDirty = false;
    const ladder = this.#book?.state === "valid" ? ladderOf(this.#book, this.#levels) : null;
    part("book-rows").hidden = ladder === null;
    const fault = part("book-fault");
    fault.hidden = this.#said === "";
    setText(fault, this.#said);
    if (ladder !== null) this.#write(ladder);
  }

  #write(ladder: Ladder): void {
    const symbol = this.#symbol ?? "";
    // The worst ask is the first row, and the best stands beside the spread.
    for (const [index, row] of this.#asks.entries()) this.#writeRow(row, ladder.asks[this.#asks.length - 1 - index], symbol);
    for (const [index, row] of this.#bids.entries()) this.#writeRow(row, ladder.bids[index], symbol);
    const { spread, spreadBasisPoints } = ladder;
    setText(part("book-spread"), spread === null ? "One side is empty" : this.#digits.text(symbol, spread));
    setText(part("book-spread-part"), spreadBasisPoints === null ? "" : `${(spreadBasisPoints / 100).toFixed(3)}%`);
    setText(part("book-unit"), `Amounts in ${baseOf(symbol)}`);
  }

  #writeRow(row: Row, level: LadderRow | undefined, symbol: string): void {
    const isShown = level !== undefined;
    if (row.element.hidden === isShown) row.element.hidden = !isShown;
    if (level === undefined) return;
    setText(row.price, this.#digits.text(symbol, level.price));
    setText(row.quantity, amountText(level.quantity));
    setText(row.total, amountText(level.total));
    if (row.depth === level.depth) return;
    row.depth = level.depth;
    // A transform costs no layout.
    row.bar.style.transform = `scaleX(${level.depth})`;
  }

  get #topic(): string | null {
    return this.#symbol === null ? null : `book:${this.#symbol}`;
  }

  #subscribe(): void {
    this.#topics.set(this.#isInSight && this.#topic !== null ? [this.#topic] : []);
  }

  #mark(): void {
    this.#isDirty = true;
    this.#onDirty();
  }
}

/** The name under which the books of `topic` come if its symbol has its exchange in front, and theirs has not. */
function plainTopic(topic: string | null, { exchange, symbol }: Book): string | null {
  return topic === `book:${exchange.toUpperCase()}:${symbol}` ? `book:${symbol}` : null;
}

function newRows(group: HTMLElement): readonly Row[] {
  return Array.from({ length: LEVELS_MAX }, () => {
    const element = document.createElement("div");
    element.className = "book-row";
    element.setAttribute("role", "row");
    element.hidden = true;
    const bar = document.createElement("i");
    bar.className = "book-bar";
    bar.setAttribute("aria-hidden", "true");
    const [price, quantity, total] = ["book-price", "book-quantity", "book-total"].map((className) => {
      const cell = document.createElement("span");
      cell.className = className;
      cell.setAttribute("role", "cell");
      return cell;
    }) as [HTMLElement, HTMLElement, HTMLElement];
    element.append(bar, price, quantity, total);
    group.append(element);
    return { element, price, quantity, total, bar, depth: -1 };
  });
}
