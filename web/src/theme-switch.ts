/** The button for the light and the dark look: as the system has it, until a person chooses. The browser keeps the choice. */
import { setText } from "./page-part.js";

export type Theme = "light" | "dark";

const STORAGE_KEY = "klinecast-theme";

export class ThemeSwitch {
  readonly #button: HTMLElement;
  readonly #isSystemLight = window.matchMedia("(prefers-color-scheme: light)");
  /** Null: as the system has it. */
  #chosen: Theme | null;

  constructor(button: HTMLElement, onChange: (theme: Theme) => void) {
    this.#button = button;
    const kept = window.localStorage.getItem(STORAGE_KEY);
    this.#chosen = kept === "light" || kept === "dark" ? kept : null;
    this.#show();
    button.addEventListener("click", () => {
      this.#chosen = this.theme === "light" ? "dark" : "light";
      window.localStorage.setItem(STORAGE_KEY, this.#chosen);
      this.#show();
      onChange(this.theme);
    });
    this.#isSystemLight.addEventListener("change", () => {
      if (this.#chosen !== null) return;
      this.#show();
      onChange(this.theme);
    });
  }

  get theme(): Theme {
    return this.#chosen ?? (this.#isSystemLight.matches ? "light" : "dark");
  }

  #show(): void {
    // Without a choice the style sheet follows the system by itself.
    if (this.#chosen === null) delete document.documentElement.dataset["theme"];
    else document.documentElement.dataset["theme"] = this.#chosen;
    const other = this.theme === "light" ? "Dark" : "Light";
    setText(this.#button, other);
    this.#button.setAttribute("aria-label", `${other} theme`);
  }
}
