/** Timeframes (`1s`, `1m`, `1h`, `1d`, ...) and the topics that carry them. Pure. */
import { type BarTopic, lengthMs, parseWidth } from "klinecast";

export const TIMEFRAMES_DEFAULT: readonly string[] = ["1s", "1m", "1h", "1d"];

/** Length in milliseconds, of months the mean; null if `timeframe` is none. */
export function timeframeMs(timeframe: string): number | null {
  const width = parseWidth(timeframe);
  return width === null ? null : lengthMs(width);
}

export interface Offer {
  readonly symbols: readonly string[];
  /** Shortest first. */
  readonly timeframes: readonly string[];
}

/** Symbols and timeframes that occur in `kline:<timeframe>:<symbol>` topics. */
export function offerOf(topics: readonly string[]): Offer {
  const symbols = new Set<string>();
  const timeframes = new Set<string>();
  for (const topic of topics) {
    const parts = /^kline:([^:]+):(.+)$/.exec(topic);
    if (parts === null) continue;
    const [, timeframe, symbol] = parts as unknown as [string, string, string];
    if (timeframeMs(timeframe) === null || symbol.includes("*")) continue;
    symbols.add(symbol);
    timeframes.add(timeframe);
  }
  return {
    symbols: [...symbols].sort(),
    timeframes: [...timeframes].sort((a, b) => (timeframeMs(a) ?? 0) - (timeframeMs(b) ?? 0)),
  };
}

/** The one of `offered` whose length is nearest to that of `wanted`, by ratio; `wanted` if none is offered. */
export function nearestTimeframe(wanted: string, offered: readonly string[]): string {
  return nearestLength(timeframeMs(wanted) ?? 60_000, offered) ?? wanted;
}

/** The one of `offered` whose length is nearest to `lengthMs`, by ratio; null if none is offered. */
export function nearestLength(lengthMs: number, offered: readonly string[]): string | null {
  const distance = (each: string): number => Math.abs(Math.log((timeframeMs(each) ?? 1) / lengthMs));
  return [...offered].sort((a, b) => distance(a) - distance(b))[0] ?? null;
}

export function barTopic(timeframe: string, symbol: string): BarTopic {
  return `kline:${timeframe}:${symbol}`;
}
