/** A valid bar of `kline:1s:BTC-USD` with `fields` replaced. */
export function makeBar(fields = {}) {
  const startMs = fields.start_ms ?? 1_700_000_000_000;
  const interval = fields.interval ?? "1s";
  const symbol = fields.symbol ?? "BTC-USD";
  return {
    topic: `kline:${interval}:${symbol}`,
    seq: 1,
    epoch: 1,
    exchange: "coinbase",
    symbol,
    interval,
    start_ms: startMs,
    end_ms: startMs + 1_000,
    open: "10",
    high: "12",
    low: "9.5",
    close: "11",
    volume: "3.25",
    quote_volume: "35",
    taker_buy_volume: "1",
    taker_buy_quote_volume: "11",
    count: 4,
    first_id: "7",
    last_id: "10",
    state: "forming",
    rev: 0,
    quality: "complete",
    event_ms: startMs + 400,
    received_us: (startMs + 410) * 1_000,
    published_us: (startMs + 411) * 1_000,
    ...fields,
  };
}
