/** Shows how things are: the badge, the list of feeds and the line below the header. */
import type { KlinecastClient } from "klinecast";
import type { AccessForm } from "./access-form.js";
import { ageText, type Badge, badge, type BadgeState, feedState } from "./feed-health.js";
import { FeedList } from "./feed-list.js";
import type { Feeds } from "./feeds.js";
import { showNoticeBar } from "./notice-bar.js";
import { part, setText } from "./page-part.js";
import type { PageState } from "./page-state.js";
import type { PriceTable } from "./price-table.js";

/** The device says that it is offline, and nothing has come for this long: so it is. */
export const OFFLINE_SILENCE_MS = 1_000;

export interface HealthSources {
  readonly client: Pick<KlinecastClient, "status" | "lastFrameAtMs">;
  readonly feeds: Feeds;
  readonly table: Pick<PriceTable, "exchangeOf" | "hasBarsOf" | "symbols">;
  readonly access: AccessForm;
  readonly state: Pick<PageState, "symbol" | "choiceNote">;
}

export class PageHealth {
  readonly #sources: HealthSources;
  readonly #feedList = new FeedList(part("feeds"));

  constructor(sources: HealthSources) {
    this.#sources = sources;
  }

  /** The state of an exchange's feed; of an unknown exchange that of the connection. */
  ofExchange(exchange: string | null): BadgeState {
    const { client, feeds } = this.#sources;
    if (client.status.state !== "open" || this.#isOffline) return "reconnecting";
    const feed = exchange === null ? undefined : feeds.get(exchange);
    return feed === undefined ? "live" : feedState(feed, performance.now());
  }

  show(): void {
    const { client, feeds, table, access, state } = this.#sources;
    const nowMs = performance.now();
    const known = feeds.all();
    const own = this.#badge(nowMs);
    const element = part("badge");
    if (element.dataset["state"] !== own.state) element.dataset["state"] = own.state;
    if (document.body.dataset["state"] !== own.state) document.body.dataset["state"] = own.state;
    if (element.title !== own.detail) element.title = own.detail;
    setText(part("badge-label"), own.label);
    setText(part("badge-age"), own.ageMs === null || (own.state !== "live" && table.symbols.length === 0) ? "" : ageText(own.ageMs));
    this.#feedList.show(known, client.status.state === "open", (exchange) => table.hasBarsOf(exchange), nowMs);
    showNoticeBar({ connection: client.status, feeds: known, badge: own, choiceNote: state.choiceNote, isTokenNeeded: access.isNeeded });
  }

  /** Browsers say "offline" of networks, which a gateway on this very machine does not need. */
  get #isOffline(): boolean {
    return !window.navigator.onLine && performance.now() - this.#sources.client.lastFrameAtMs > OFFLINE_SILENCE_MS;
  }

  #badge(nowMs: number): Badge {
    const { client, feeds, table, access, state } = this.#sources;
    if (access.isNeeded) return { state: "stale", label: "Token needed", detail: "The gateway sends nothing without a token.", ageMs: null };
    if (this.#isOffline) return { state: "reconnecting", label: "Offline", detail: "This device has no network; prices are the last ones received.", ageMs: null };
    return badge(client.status, feeds.all(), state.symbol === null ? null : table.exchangeOf(state.symbol), nowMs);
  }
}
