/** The button that changes between UTC and the reader's own time zone; the browser keeps the choice. */
import { setText } from "./page-part.js";
import { type Zone, zoneName } from "./time-text.js";

const STORAGE_KEY = "klinecast-zone";

export class ZoneSwitch {
  readonly #button: HTMLElement;
  #zone: Zone = window.localStorage.getItem(STORAGE_KEY) === "local" ? "local" : "utc";

  constructor(button: HTMLElement, onChange: (zone: Zone) => void) {
    this.#button = button;
    this.#show();
    button.addEventListener("click", () => {
      this.#zone = this.#zone === "utc" ? "local" : "utc";
      window.localStorage.setItem(STORAGE_KEY, this.#zone);
      this.#show();
      onChange(this.#zone);
    });
  }

  get zone(): Zone {
    return this.#zone;
  }

  #show(): void {
    const isUtc = this.#zone === "utc";
    const name = zoneName(this.#zone, Date.now());
    setText(this.#button, isUtc ? "UTC" : name === "UTC" ? "Local" : `Local ${name}`);
    this.#button.title = isUtc
      ? "Times are UTC. Press for your own time zone."
      : "Times are of your time zone; days begin at 00:00 UTC. Press for UTC.";
  }
}
