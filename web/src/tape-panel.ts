/**
 * The newest trades of the chosen symbol. Rows are made once and stay where they are: only their texts
 * change, so new trades move nothing on the page.
 */
import type { KlinecastClient, Trade } from "klinecast";
import { amountText, groupedText } from "./decimal-text.js";
import { part, setText } from "./page-part.js";
import { watchSight } from "./panel-sight.js";
import type { PriceDigits } from "./price-digits.js";
import { baseOf } from "./readout.js";
import { timeText, type Zone } from "./time-text.js";
import { TopicUse } from "./topic-use.js";
import { type TapeEntry, TradeTape } from "./trade-tape.js";

const ROWS_MAX = 40;

interface Row {
  readonly element: HTMLTableRowElement;
  readonly price: HTMLElement;
  readonly side: HTMLElement;
  readonly quantity: HTMLElement;
  readonly time: HTMLElement;
}

export class TapePanel {
  readonly #topics: TopicUse;
  readonly #digits: PriceDigits;
  readonly #zoneOf: () => Zone;
  /** The newest first. */
  readonly #rows: readonly Row[];
  readonly #tape = new TradeTape(ROWS_MAX);
  #symbol: string | null = null;
  #said = "";
  #isInSight = false;
  #isDirty = false;

  constructor(client: Pick<KlinecastClient, "sub" | "unsub">, digits: PriceDigits, zoneOf: () => Zone, onDirty: () => void) {
    this.#topics = new TopicUse(client);
    this.#digits = digits;
    this.#zoneOf = zoneOf;
    const body = part<HTMLTableElement>("tape").tBodies[0];
    if (body === undefined) throw new Error("the table of trades has a body");
    this.#rows = Array.from({ length: ROWS_MAX }, () => newRow());
    body.append(...this.#rows.map(({ element }) => element));
    watchSight(part("tape-panel"), (isInSight) => {
      this.#isInSight = isInSight;
      this.#subscribe();
      onDirty();
    });
  }

  choose(symbol: string): void {
    if (symbol === this.#symbol) return;
    this.#symbol = symbol;
    this.#tape.clear();
    this.#said = "Waiting for the next trade.";
    this.#isDirty = true;
    this.#subscribe();
  }

  take(trade: Trade): void {
    if (trade.symbol !== this.#symbol && `${trade.exchange.toUpperCase()}:${trade.symbol}` !== this.#symbol) return;
    this.#tape.add(trade);
    this.#said = "";
    this.#isDirty = true;
  }

  refuse(topics: readonly string[], message: string): boolean {
    if (this.#symbol === null || !topics.includes(`trade:${this.#symbol}`)) return false;
    this.#said = `The gateway refused the trades: ${message}`;
    this.#isDirty = true;
    return true;
  }

  /** Times are shown in another zone from now on. */
  zoneChanged(): void {
    this.#isDirty = true;
  }

  /** Writes what has changed; once a frame. */
  flush(): void {
    if (!this.#isInSight || !this.#isDirty) return;
    this.#isDirty = false;
    const said = part("tape-fault");
    said.hidden = this.#said === "";
    setText(said, this.#said);
    setText(part("tape-unit"), this.#symbol === null ? "" : `Amounts in ${baseOf(this.#symbol)}`);
    for (const [index, row] of this.#rows.entries()) {
      const entry = this.#tape.at(index);
      const isShown = entry !== undefined;
      if (row.element.hidden === isShown) row.element.hidden = !isShown;
      if (entry !== undefined) this.#write(row, entry);
    }
  }

  #write(row: Row, entry: TapeEntry): void {
    const { element, price, side, quantity, time } = row;
    if (entry.kind === "hole") {
      setClass(element, "hole");
      setText(side, "");
      setText(price, entry.count === null ? "Trades may be missing here" : `${groupedText(String(entry.count))} not received`);
      setText(quantity, "");
      setText(time, "");
      return;
    }
    const { trade } = entry;
    const isBuy = trade.aggressor_side === "buy";
    setClass(element, isBuy ? "up" : "down");
    setText(side, isBuy ? "buy " : "sell ");
    setText(price, this.#digits.text(this.#symbol ?? trade.symbol, trade.price));
    setText(quantity, amountText(trade.quantity));
    setText(time, timeText(trade.event_ms, this.#zoneOf(), "second").slice(11));
  }

  #subscribe(): void {
    this.#topics.set(this.#isInSight && this.#symbol !== null ? [`trade:${this.#symbol}`] : []);
  }
}

function setClass(element: HTMLElement, name: string): void {
  if (element.className !== name) element.className = name;
}

function newRow(): Row {
  const element = document.createElement("tr");
  element.hidden = true;
  const [priceCell, quantity, time] = ["tape-price", "tape-quantity", "tape-time"].map((className) => {
    const cell = document.createElement("td");
    cell.className = className;
    return cell;
  }) as [HTMLTableCellElement, HTMLTableCellElement, HTMLTableCellElement];
  const side = document.createElement("span");
  side.className = "visually-hidden";
  const price = document.createElement("span");
  priceCell.append(side, price);
  element.append(priceCell, quantity, time);
  return { element, price, side, quantity, time };
}
