/** The line under the page's head: simulated data, another gateway, a stop, or how things are. */
import type { ConnectionStatus } from "klinecast";
import { type Badge, exchangeName, type KnownFeed, simulatedExchanges, unservedText } from "./feed-health.js";
import { part, setText } from "./page-part.js";

export interface NoticeBarState {
  readonly connection: ConnectionStatus;
  readonly feeds: readonly KnownFeed[];
  readonly badge: Badge;
  /** Something to tell about the last choice; empty if there is nothing. */
  readonly choiceNote: string;
  readonly isTokenNeeded: boolean;
}

/** Says that the data comes from `url`, which is not the page's own gateway. */
export function showForeignGateway(url: string): void {
  const banner = part("gateway-banner");
  banner.textContent = `Data from another gateway: ${url}`;
  banner.hidden = false;
}

export function showNoticeBar({ connection, feeds, badge, choiceNote, isTokenNeeded }: NoticeBarState): void {
  const simulated = simulatedExchanges(feeds);
  const simBanner = part("sim-banner");
  simBanner.hidden = simulated.length === 0;
  setText(
    simBanner,
    simulated.length === feeds.length
      ? "Simulated data: built-in simulator, not a market."
      : `Simulated data: the prices of ${simulated.map(exchangeName).join(", ")} are not a market's.`,
  );
  const stopped = part("stopped-banner");
  stopped.hidden = connection.state !== "stopped" || isTokenNeeded;
  if (!stopped.hidden) {
    setText(stopped, `Disconnected: ${connection.why ?? "refused"}. The page does not try again by itself; reload it to try once more.`);
  }

  // What a lost connection said before may not hold any more.
  const unserved = connection.state === "open" ? feeds.map(unservedText) : [];
  const line = [badge.state !== "live" ? badge.detail : choiceNote, ...unserved].filter((text) => text !== "").join(" ");
  const statusLine = part("status-line");
  const names = feeds.map(({ status }) => exchangeName(status.exchange)).sort();
  setText(statusLine, line !== "" ? line : `Live trades of ${names.join(", ")} as bars.`);
  // The line is there from the start, so that a banner in its place moves nothing.
  const hasBanner = !simBanner.hidden || !part("gateway-banner").hidden;
  statusLine.hidden = (line === "" && hasBanner) || !stopped.hidden || isTokenNeeded;
}
