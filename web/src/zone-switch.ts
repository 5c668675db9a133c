/** The button that changes between UTC and the reader's own time zone; the browser keeps the choice. */
import { setText } from "./page-part.js";
import { type Zone, zoneName } from "./time-text.js";

const STORAGE_KEY = "klinecast-zone";

export class ZoneSwitch {
  readonly #button: HTMLElement;
  /** Null before anybody has chosen. */
  #chosen: Zone | null;

  /** `asked` is what the address says; it comes before what the browser kept. */
  constructor(button: HTMLElement, asked: Zone | null, onChange: (zone: Zone) => void) {
    this.#button = button;
    const kept = window.localStorage.getItem(STORAGE_KEY);
    this.#chosen = asked ?? (kept === "local" || kept === "utc" ? kept : null);
    this.#show();
    button.addEventListener("click", () => {
      const zone = this.zone === "utc" ? "local" : "utc";
      this.#chosen = zone;
      window.localStorage.setItem(STORAGE_KEY, zone);
      this.#show();
      onChange(zone);
    });
  }

  get zone(): Zone {
    return this.#chosen ?? "utc";
  }

  /** What was chosen, here or by the address; null: nothing yet. */
  get chosen(): Zone | null {
    return this.#chosen;
  }

  /** The address asks for `zone`; the browser keeps only what is chosen here. */
  take(zone: Zone): void {
    this.#chosen = zone;
    this.#show();
  }

  #show(): void {
    const isUtc = this.zone === "utc";
    const name = zoneName(this.zone, Date.now());
    setText(this.#button, isUtc ? "UTC" : name === "UTC" ? "Local" : `Local ${name}`);
    this.#button.title = isUtc
      ? "Times are UTC. Press for your own time zone."
      : "Times are of your time zone; days begin at 00:00 UTC. Press for UTC.";
  }
}
