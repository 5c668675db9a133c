/** Timeframes (`1s`, `1m`, `1h`, `1d`, ...) and the topics that carry them. Pure. */

const UNIT_MS: Readonly<Record<string, number>> = {
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
  w: 604_800_000,
  // Only for sorting: the shortest month.
  M: 2_419_200_000,
};

export const TIMEFRAMES_DEFAULT: readonly string[] = ["1s", "1m", "1h", "1d"];

/** Length in milliseconds; null if `timeframe` is none. */
export function timeframeMs(timeframe: string): number | null {
  const parts = /^(\d{1,4})([smhdwM])$/.exec(timeframe);
  if (parts === null) return null;
  const unitMs = UNIT_MS[parts[2] ?? ""];
  const count = Number(parts[1]);
  return unitMs === undefined || count === 0 ? null : count * unitMs;
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
  const wantedMs = timeframeMs(wanted) ?? 60_000;
  const distance = (each: string): number => Math.abs(Math.log((timeframeMs(each) ?? 1) / wantedMs));
  return [...offered].sort((a, b) => distance(a) - distance(b))[0] ?? wanted;
}

export function barTopic(timeframe: string, symbol: string): string {
  return `kline:${timeframe}:${symbol}`;
}
