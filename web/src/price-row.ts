/** One symbol's row of the price table. */
import type { Bar, DecimalText } from "klinecast";

export interface Row {
  readonly symbol: string;
  readonly element: HTMLTableRowElement;
  readonly button: HTMLButtonElement;
  readonly venue: HTMLElement;
  readonly price: HTMLTableCellElement;
  readonly change: HTMLTableCellElement;
  readonly changeText: HTMLElement;
  readonly volume: HTMLTableCellElement;
  readonly volumeText: HTMLElement;
  readonly age: HTMLTableCellElement;
  /** Shown while the day's bar is only a part of the day. */
  readonly partialMarks: readonly HTMLElement[];
  bar: Bar | null;
  /** In lower case; null while unknown. */
  exchange: string | null;
  changePercent: number | null;
  /** The day's first price, where the bar itself begins later. */
  dayOpen: DecimalText | null;
  isDirty: boolean;
  isInSight: boolean;
  /** How the price moved since the row was written last. */
  tick: "up" | "down" | null;
}

export function newRow(symbol: string): Row {
  const element = document.createElement("tr");
  element.dataset["symbol"] = symbol;
  const heading = document.createElement("th");
  heading.scope = "row";
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = symbol;
  button.tabIndex = -1;
  const venue = document.createElement("span");
  venue.className = "venue";
  heading.append(button, venue);
  const [price, change, volume, age] = ["price", "", "volume", "age"].map((className) => {
    const cell = document.createElement("td");
    cell.className = className;
    return cell;
  }) as [HTMLTableCellElement, HTMLTableCellElement, HTMLTableCellElement, HTMLTableCellElement];
  const [changeText, volumeText] = [change, volume].map((cell) => {
    const text = document.createElement("span");
    cell.append(partialMark(), text);
    return text;
  }) as [HTMLElement, HTMLElement];
  for (const text of [price, changeText, volumeText, age]) text.textContent = "–";
  element.append(heading, price, change, volume, age);
  element.addEventListener("animationend", () => element.classList.remove("ticked-up", "ticked-down"));
  return {
    symbol,
    element,
    button,
    venue,
    price,
    change,
    changeText,
    volume,
    volumeText,
    age,
    partialMarks: [...element.querySelectorAll<HTMLElement>(".partial-mark")],
    bar: null,
    exchange: null,
    changePercent: null,
    dayOpen: null,
    isDirty: false,
    isInSight: false,
    tick: null,
  };
}

/** Colours the price for a moment if it moved, and if anybody can see it. */
export function showTick(row: Row): void {
  const { tick } = row;
  row.tick = null;
  if (tick === null || !row.isInSight) return;
  row.element.classList.remove("ticked-up", "ticked-down");
  row.element.classList.add(`ticked-${tick}`);
}

/** A dot for eyes, words for screen readers. */
function partialMark(): HTMLElement {
  const mark = document.createElement("span");
  mark.className = "partial-mark";
  mark.title = "Counted since recording began, not since 00:00 UTC";
  mark.hidden = true;
  const words = document.createElement("span");
  words.className = "visually-hidden";
  words.textContent = "part of the day ";
  mark.append(words);
  return mark;
}

export function direction(percent: number | null): string {
  return percent === null || Math.abs(percent) < 0.005 ? "flat" : percent > 0 ? "up" : "down";
}
