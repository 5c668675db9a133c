/** One message of each kind that carries data, as a gateway sends it. */
export { makeBar } from "./make-bar.mjs";

const of = (topic, seq) => ({ topic, seq, epoch: 5, exchange: "binance", symbol: "BTC-USDT" });

export const trade = (seq, fields = {}) => ({
  ...of("trade:BTC-USDT", seq),
  first_id: String(seq),
  last_id: String(seq),
  price: "61837.63",
  quantity: "0.02",
  aggressor_side: "sell",
  event_ms: 1_723_161_255_342,
  received_us: 1_723_161_255_350_000,
  published_us: 1_723_161_255_350_999,
  ...fields,
});

export const quote = (seq, fields = {}) => ({
  ...of("quote:BTC-USDT", seq),
  bid: "61837.63",
  bid_quantity: "3.78826",
  ask: null,
  ask_quantity: null,
  update_id: "5",
  event_ms: null,
  received_us: 1,
  published_us: 2,
  ...fields,
});

export const ticker = (seq, fields = {}) => ({
  ...of("ticker:BTC-USDT", seq),
  source: "venue",
  open: null,
  high: "62500.5",
  low: null,
  last: "61837.63",
  last_quantity: null,
  volume: "20123.5",
  quote_volume: null,
  count: null,
  first_id: null,
  last_id: null,
  bid: null,
  bid_quantity: null,
  ask: "61837.63",
  ask_quantity: null,
  event_ms: null,
  received_us: 1,
  published_us: 2,
  ...fields,
});

export const book = (seq, fields = {}) => ({
  ...of("book:BTC-USDT", seq),
  state: "valid",
  reason: null,
  update_id: "160",
  bids: [["61837.63", "3.78826"], ["61837", "1"]],
  asks: [["61837.64", "1.54698"], ["61900", "0.5"]],
  event_ms: null,
  received_us: 1,
  published_us: 2,
  ...fields,
});

export const alert = (seq, fields = {}) => ({
  ...of("alert:btc-5:BTC-USDT", seq),
  rule: "btc-5",
  type: "move",
  level: "critical",
  direction: "up",
  start_ms: 1_763_697_660_000,
  end_ms: 1_763_697_661_000,
  value: "63000",
  reference: "60000",
  raised_ms: 1_763_697_663_120,
  ...fields,
});
