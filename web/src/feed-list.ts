/** The exchanges' feeds in the page's head: state, mode and age of each. */
import { ageText, type BadgeState, exchangeName, feedAgeMs, feedState, type KnownFeed, unservedSymbols } from "./feed-health.js";
import { setText } from "./page-part.js";

export class FeedList {
  readonly #list: HTMLElement;

  constructor(list: HTMLElement) {
    this.#list = list;
  }

  /** `hasData` tells whether anything of an exchange has come; without it an age would mean nothing. */
  show(feeds: readonly KnownFeed[], isConnected: boolean, hasData: (exchange: string) => boolean, nowMs: number): void {
    const sorted = [...feeds].sort((a, b) => (a.status.exchange < b.status.exchange ? -1 : 1));
    while (this.#list.children.length > sorted.length) this.#list.lastElementChild?.remove();
    for (const [index, feed] of sorted.entries()) {
      const item = (this.#list.children[index] as HTMLLIElement | undefined) ?? this.#newItem();
      const state = isConnected ? feedState(feed, nowMs) : "reconnecting";
      if (item.dataset["state"] !== state) item.dataset["state"] = state;
      const [name, mode, stateText, age] = item.children as unknown as [HTMLElement, HTMLElement, HTMLElement, HTMLElement];
      const { exchange, connections, symbols } = feed.status;
      setText(name, exchangeName(exchange));
      setText(mode, feed.status.mode === "sim" ? "SIM" : "");
      setText(stateText, `: ${state}`);
      setText(age, !isConnected ? "" : state !== "live" && !hasData(exchange) ? "no data yet" : ageText(feedAgeMs(feed, nowMs)));
      const unserved = unservedSymbols(feed);
      const title = `${exchangeName(exchange)}: ${stateWords(state)}, ${connections} connections, ${symbols} symbols${unserved.length > 0 ? `, not served: ${unserved.join(" ")}` : ""}`;
      if (item.title !== title) item.title = title;
    }
  }

  #newItem(): HTMLLIElement {
    const item = document.createElement("li");
    for (const className of ["exchange", "mode", "visually-hidden", "age"]) {
      const span = document.createElement("span");
      span.className = className;
      item.append(span);
    }
    this.#list.append(item);
    return item;
  }
}

function stateWords(state: BadgeState): string {
  return state === "live" ? "live" : state === "stale" ? "nothing comes" : "connecting again";
}
