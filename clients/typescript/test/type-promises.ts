/** Promises of the package's types. This file never runs. If a promise is broken, `npm run typecheck` fails at its line. */
import {
  type Bar,
  type BarEvent,
  type Boundary,
  type DroppedEvent,
  type EventOf,
  type FeedGap,
  type FeedStatus,
  KlinecastClient,
  type LiveEvent,
  type NotResumedEvent,
  type SkippedEvent,
} from "klinecast";
import { ChartFeed } from "klinecast/lightweight-charts";
import { TradingViewDatafeed } from "klinecast/tradingview";
import type { ISeriesApi, Time } from "lightweight-charts";

type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
function holds<T extends true>(): T | undefined {
  return undefined;
}

holds<Same<EventOf<"kline:1m:BTC-USD">, BarEvent | LiveEvent | SkippedEvent | NotResumedEvent | DroppedEvent>>();

export async function narrowing(client: KlinecastClient): Promise<void> {
  for await (const event of client.stream("kline:7m:OKX:BTC-USDT", { from: { last: 5 } })) {
    if (event.kind === "bar") {
      const bar: Bar = event.bar;
      // @ts-expect-error: a price is a string, never a number.
      const price: number = bar.close;
      void price;
    }
    // @ts-expect-error: a topic of bars has no events of feeds.
    if (event.kind === "feed") break;
  }
  for await (const event of client.stream(["system:feed:okx", "boundary:1m"])) {
    if (event.kind === "feed") {
      const feed: FeedStatus = event.feed;
      void feed;
    } else if (event.kind === "boundary") {
      const boundary: Boundary = event.boundary;
      void boundary;
    } else {
      const dropped: DroppedEvent = event;
      void dropped;
    }
  }
  for await (const event of client.stream("trade:BTC-USD")) {
    if (event.kind === "trade") {
      const side: "buy" | "sell" = event.trade.aggressor_side;
      void side;
    }
  }
  for await (const event of client.stream(["quote:BTC-USD", "ticker:*"])) {
    const text: string | null = event.kind === "quote" ? event.quote.bid : event.kind === "ticker" ? event.ticker.last : String(event.count);
    void text;
  }
  for await (const event of client.stream("book:BTC-USD")) {
    if (event.kind === "book") {
      const best: readonly [string, string] | undefined = event.book.bids[0];
      void best;
    }
    // @ts-expect-error: a topic of books has no quotes.
    if (event.kind === "quote") break;
  }
  for await (const event of client.stream("alert:btc-5:*")) {
    if (event.kind !== "alert") continue;
    const { alert } = event;
    switch (alert.type) {
      case "move":
      case "cross": {
        const way: "up" | "down" = alert.direction;
        void way;
        break;
      }
      default: {
        const way: "none" = alert.direction;
        void way;
      }
    }
    // @ts-expect-error: there is no such type.
    if (alert.type === "moon") break;
  }
  for await (const event of client.stream("system:alert:critical:*")) {
    if (event.kind !== "system_alert") continue;
    // A service tells of itself without a rule.
    const name: string = "service" in event.alert ? event.alert.service : event.alert.rule;
    void name;
  }
  const gap = (await client.stream("system:service:marketdata:gap").next()).value;
  if (gap?.kind === "gap") {
    const missing: FeedGap = gap.gap;
    void missing;
  }
  // @ts-expect-error: `from` takes `last`, `ms` or `token` only.
  client.sub(["kline:1m:BTC-USD"], { from: { days: 3 } });
}

/** A series of the chart library fits the parameter. */
export function chart(client: KlinecastClient, series: ISeriesApi<"Candlestick", Time>, volume: ISeriesApi<"Histogram", Time>): ChartFeed {
  return new ChartFeed({ client, topic: "kline:1m:BTC-USD", series, volume });
}

export const datafeed = TradingViewDatafeed;
