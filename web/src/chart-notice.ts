/** What the page says in the chart's place while there is little or nothing to draw: what is wrong, and what to do. Pure. */
import type { ConnectionStatus } from "klinecast";
import { exchangeName, feedState, type KnownFeed, unservedSymbols } from "./feed-health.js";

export interface ChartNotice {
  readonly title: string;
  readonly text: string;
}

export interface Situation {
  readonly connection: ConnectionStatus;
  readonly feeds: readonly KnownFeed[];
  readonly nowMs: number;
  readonly symbol: string | null;
  readonly timeframe: string;
  /** Bars of the chosen symbol and timeframe. */
  readonly barCount: number;
  /** Whether stored bars are being asked for. */
  readonly isLoading: boolean;
  /** Symbols that the gateway has bars of; null before it said so. */
  readonly listed: readonly string[] | null;
  /** What the gateway answered if it refused the chart's topic. */
  readonly refusal: string | null;
}

/** With fewer bars than this the chart says so in its middle. */
const SPARSE_BARS = 5;

/** The notice for `situation`; null if the chart speaks for itself. */
export function chartNotice(situation: Situation): ChartNotice | null {
  const { connection, symbol, timeframe, barCount, listed, refusal } = situation;
  if (barCount >= SPARSE_BARS) return null;
  const what = symbol === null ? "bars" : `${timeframe} bars of ${symbol}`;
  if (connection.state !== "open" && connection.closeCode === undefined && situation.isLoading) return { title: `Loading ${what}`, text: "" };
  if (connection.state !== "open") return { title: `Collecting ${what}`, text: "Waiting for the gateway." };
  if (refusal !== null) return { title: `The gateway refused the ${what}`, text: refusal };
  const refusing = situation.feeds.find((feed) => symbol !== null && unservedSymbols(feed).includes(symbol));
  if (refusing !== undefined) {
    const venue = exchangeName(refusing.status.exchange);
    return { title: `${venue} does not serve ${symbol}`, text: `Check the spelling in --instruments, and whether ${venue} still lists it.` };
  }
  if (barCount === 0 && listed?.length === 0) return noBars(situation);
  if (barCount === 0 && symbol !== null && listed !== null && !listed.includes(symbol)) {
    return {
      title: `No data of ${symbol}`,
      text: `This gateway has no such symbol so far: check the spelling, or choose one of the ${listed.length} under Markets. It appears here with its first trade.`,
    };
  }
  if (situation.isLoading && barCount === 0) return { title: `Loading ${what}`, text: "" };
  return {
    title: `Collecting ${what}${barCount > 0 ? `: ${barCount} so far` : ""}`,
    text: "The chart fills from live bars as they arrive.",
  };
}

/** The gateway has no bar of any symbol. */
function noBars({ feeds, nowMs }: Situation): ChartNotice {
  const isReached = feeds.some((feed) => feedState(feed, nowMs) === "live");
  if (feeds.length === 0) {
    return { title: "No market data", text: "The gateway is up, but no exchange feed has reported. Is marketdata running?" };
  }
  if (isReached) return { title: "Waiting for the first trade", text: "The exchanges are connected; bars appear with their trades." };
  const names = feeds.map((feed) => exchangeName(feed.status.exchange)).sort().join(", ");
  return {
    title: "No exchange can be reached",
    text: `${names}: no answer. The server keeps trying: check its network and proxy settings. Started with --feed sim, it shows simulated data instead.`,
  };
}
