/** The buttons of the usual widths, and the menu of all others with a field for any. */
import { parseWidth, sourceOf, widthFromInput } from "klinecast";
import { part, setText } from "./page-part.js";
import { MENU_WIDTHS } from "./time-range.js";

/** The widths that have a button of their own. */
const BUTTON_WIDTHS: readonly string[] = ["1s", "1m", "5m", "15m", "1h", "4h", "1d"];

export class WidthMenu {
  readonly #buttons = part("timeframes");
  readonly #opener = part<HTMLButtonElement>("width-opener");
  readonly #panel = part("width-panel");
  readonly #list = part("width-list");
  readonly #input = part<HTMLInputElement>("width-input");
  readonly #fault = part("width-fault");
  readonly #onChoose: (width: string) => void;
  /** What the gateway publishes; bars of a width are made of these. */
  #timeframes: readonly string[] = [];

  constructor(onChoose: (width: string) => void) {
    this.#onChoose = onChoose;
    for (const group of [this.#buttons, this.#list]) {
      group.addEventListener("click", (event) => {
        const width = (event.target as Element).closest("button")?.textContent;
        if (width != null) this.#choose(width);
      });
    }
    this.#opener.addEventListener("click", () => this.#open(this.#panel.hidden));
    part<HTMLFormElement>("width-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit();
    });
    this.#input.addEventListener("input", () => (this.#fault.hidden = true));
    document.addEventListener("pointerdown", (event) => {
      const isInside = event.target instanceof Node && part("width-menu").contains(event.target);
      if (!isInside) this.#open(false);
    });
    part("width-menu").addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || this.#panel.hidden) return;
      this.#open(false);
      this.#opener.focus();
    });
  }

  /** Offers what can be made of `timeframes`, and marks `chosen`. */
  show(chosen: string, timeframes: readonly string[]): void {
    this.#timeframes = timeframes;
    fill(this.#buttons, BUTTON_WIDTHS.filter((width) => this.#canBeMade(width)), chosen);
    fill(this.#list, MENU_WIDTHS.filter((width) => this.#canBeMade(width)), chosen);
    const isOther = ![...this.#buttons.children].some((button) => button.textContent === chosen);
    setText(part("width-chosen"), isOther ? chosen : "More");
    this.#opener.classList.toggle("chosen", isOther);
    this.#opener.setAttribute("aria-label", isOther ? `${chosen}, more bar widths` : "More bar widths");
  }

  #canBeMade(text: string): boolean {
    const width = parseWidth(text);
    return width !== null && sourceOf(width, this.#timeframes) !== null;
  }

  #submit(): void {
    const width = widthFromInput(this.#input.value);
    if (width === null) {
      this.#say("Write a number and s, m, h, d, w or M (months): 7m, 4h, 3d.");
    } else if (!this.#canBeMade(width)) {
      this.#say(`Bars of ${width} cannot be made of ${this.#timeframes.join(", ")}.`);
    } else {
      this.#input.value = "";
      this.#choose(width);
    }
  }

  #say(fault: string): void {
    setText(this.#fault, fault);
    this.#fault.hidden = false;
  }

  #choose(width: string): void {
    // The focus would go down with the panel.
    if (this.#panel.contains(document.activeElement)) this.#opener.focus();
    this.#open(false);
    this.#onChoose(width);
  }

  #open(isOpen: boolean): void {
    if (this.#panel.hidden === !isOpen) return;
    this.#panel.hidden = !isOpen;
    this.#fault.hidden = true;
    this.#opener.setAttribute("aria-expanded", String(isOpen));
  }
}

/** Makes the buttons of `texts` in `group`, and marks the one that is `chosen`. */
export function fill(group: HTMLElement, texts: readonly string[], chosen: string | null): void {
  const known = [...group.children];
  if (known.map((button) => button.textContent).join() !== texts.join()) {
    group.replaceChildren(
      ...texts.map((text) => {
        const button = document.createElement("button");
        button.type = "button";
        button.textContent = text;
        return button;
      }),
    );
  }
  for (const button of group.children) button.setAttribute("aria-pressed", String(button.textContent === chosen));
}
