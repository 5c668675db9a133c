/** Keeps the page's address equal to what is shown, and copies it. */
import { hashOf, type View } from "./page-address.js";
import { setText } from "./page-part.js";

/** Scrolling changes the address once it rests: browsers limit how often a page may change it. */
const REST_MS = 400;
const COPIED_MS = 2_000;

export class ViewLink {
  readonly #button: HTMLElement;
  readonly #view: () => View | null;
  #timer: number | undefined;

  /** `view` says what is shown at the moment. */
  constructor(button: HTMLElement, view: () => View | null) {
    this.#button = button;
    this.#view = view;
    button.addEventListener("click", () => void this.#copy());
  }

  /** The view has changed; "push" makes Back return to the one before. */
  write(history: "push" | "replace"): void {
    window.clearTimeout(this.#timer);
    const view = this.#view();
    if (view === null) return;
    const hash = hashOf(view);
    if (window.location.hash === hash) return;
    if (history === "push") window.history.pushState(null, "", hash);
    else window.history.replaceState(null, "", hash);
  }

  /** The view is changing. */
  writeSoon(): void {
    window.clearTimeout(this.#timer);
    this.#timer = window.setTimeout(() => this.write("replace"), REST_MS);
  }

  async #copy(): Promise<void> {
    this.write("replace");
    let said = "Link copied";
    try {
      await window.navigator.clipboard.writeText(window.location.href);
    } catch {
      // Pages without TLS, and those that are not permitted to, cannot reach the clipboard.
      said = "Copy the address above";
    }
    setText(this.#button, said);
    window.setTimeout(() => setText(this.#button, "Copy link"), COPIED_MS);
  }
}
