/** Asks for the token that a gateway wants, and keeps it for this tab. */
import { part, setText } from "./page-part.js";

const STORAGE_KEY = "klinecast-token";

export class AccessForm {
  #isNeeded = false;

  constructor() {
    part<HTMLFormElement>("access").addEventListener("submit", (event) => {
      event.preventDefault();
      const token = part<HTMLInputElement>("token").value.trim();
      if (token === "") return;
      window.sessionStorage.setItem(STORAGE_KEY, token);
      window.location.reload();
    });
  }

  /** The token that was given in this tab; null if none was. */
  get token(): string | null {
    return window.sessionStorage.getItem(STORAGE_KEY);
  }

  get isNeeded(): boolean {
    return this.#isNeeded;
  }

  /** Shows the form; `why` says what is wrong with the token at hand, null that there is none. */
  ask(why: string | null): void {
    if (this.#isNeeded) return;
    this.#isNeeded = true;
    window.sessionStorage.removeItem(STORAGE_KEY);
    setText(
      part("access-text"),
      why === null ? "This gateway wants a token. Its operator gives them out." : `The gateway did not take the token: ${why}. Give another one.`,
    );
    part("access").hidden = false;
  }
}
