/**
 * The tabs beside the chart. In a wide window, some panels have their own place and no tab. Arrow
 * keys move between tabs, as readers of screens expect; the browser keeps the choice.
 */

const STORAGE_KEY = "klinecast-tab";

interface Tab {
  readonly name: string;
  readonly button: HTMLElement;
  readonly panel: HTMLElement;
}

export class PanelTabs {
  readonly #tabs: readonly Tab[];
  readonly #pinned: readonly string[];
  readonly #isWide: MediaQueryList;
  readonly #onChoose: (name: string) => void;
  #chosen: string;

  /** `pinned` are the names of the panels that need no tab while `isWide` matches. */
  constructor(list: HTMLElement, pinned: readonly string[], isWide: MediaQueryList, onChoose: (name: string) => void) {
    this.#tabs = [...list.querySelectorAll<HTMLElement>("[role=tab]")].map((button) => {
      const panel = document.getElementById(button.getAttribute("aria-controls") ?? "");
      if (panel === null) throw new Error(`the tab ${button.id} has no panel`);
      return { name: button.id.replace(/^tab-/, ""), button, panel };
    });
    this.#pinned = pinned;
    this.#isWide = isWide;
    this.#onChoose = onChoose;
    const kept = window.localStorage.getItem(STORAGE_KEY);
    this.#chosen = this.#tabs.some(({ name }) => name === kept) && kept !== null ? kept : (this.#tabs[0]?.name ?? "");
    list.addEventListener("click", (event) => {
      const tab = this.#tabs.find(({ button }) => button.contains(event.target as Node));
      if (tab === undefined) return;
      window.localStorage.setItem(STORAGE_KEY, tab.name);
      this.choose(tab.name);
    });
    list.addEventListener("keydown", (event) => this.#key(event));
    isWide.addEventListener("change", () => this.#show());
    this.#show();
  }

  get chosen(): string {
    return this.#chosen;
  }

  choose(name: string): void {
    this.#chosen = name;
    this.#show();
    this.#onChoose(name);
  }

  #isPinned({ name }: Tab): boolean {
    return this.#isWide.matches && this.#pinned.includes(name);
  }

  #show(): void {
    const open = this.#tabs.filter((tab) => !this.#isPinned(tab));
    const chosen = open.find(({ name }) => name === this.#chosen) ?? open[0];
    for (const tab of this.#tabs) {
      const { button, panel } = tab;
      const isPinned = this.#isPinned(tab);
      const isChosen = tab === chosen;
      button.hidden = isPinned;
      button.setAttribute("aria-selected", String(isChosen));
      button.tabIndex = isChosen ? 0 : -1;
      panel.hidden = !isPinned && !isChosen;
      panel.setAttribute("role", isPinned ? "region" : "tabpanel");
    }
  }

  #key(event: KeyboardEvent): void {
    const open = this.#tabs.filter((tab) => !this.#isPinned(tab));
    const at = open.findIndex(({ button }) => button === event.target);
    if (at < 0) return;
    const next = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: open.length - 1 }[event.key];
    if (next === undefined) return;
    event.preventDefault();
    const tab = open[(next + open.length) % open.length];
    tab?.button.click();
    tab?.button.focus();
  }
}
