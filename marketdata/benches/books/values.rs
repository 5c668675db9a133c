//! The bytes of trades, quotes, tickers and bars in each dialect, as the gateway frames them.

use std::collections::BTreeMap;

use bytes::Bytes;
use client_frames::dialect::Dialect;
use client_frames::encode::deflate::{Deflater, Window};
use client_frames::encode::encoding::Encoding;
use market_core::bar::{Bar, BarState, Fold, Quality};
use market_core::wire::{
    JsonMessage, QuoteMessage, Stamp, TickerMessage, encode_bar, encode_trade_entry,
};
use market_core::{Symbol, Timeframe, Topic, Trade};
use marketdata::exchange::{Event, registry};
use marketdata::replay::{Line, parse_line};

use super::bytes::{COMPRESSION, EPOCH_MS, frame_bytes};
use super::captured;

const DIALECTS: [(&str, Dialect); 3] = [
    ("native", Dialect::Json),
    ("protobuf", Dialect::Protobuf),
    ("Binance", Dialect::Binance),
];

/// Publications of one kind.
struct Kind {
    name: &'static str,
    publications: Vec<Bytes>,
}

/// The publications of a venue's captured frames: trades, quotes, tickers, and closed bars of a second.
fn kinds(venue: &'static str, text: &str) -> [Kind; 4] {
    let exchange = registry::find(venue).expect("registered");
    let symbol: Symbol = "BTC-USDT".parse().expect("a symbol");
    let trade_topic: Topic = "trade:BTC-USDT".parse().expect("a topic");
    let bar_topic: Topic = "kline:1s:BTC-USDT".parse().expect("a topic");
    let [mut trades, mut quotes, mut tickers] = [const { Vec::new() }; 3];
    let mut seconds: BTreeMap<i64, Fold> = BTreeMap::new();
    for line in text.lines() {
        let Ok(Line::Frame { received_us, frame }) = parse_line(line) else {
            continue;
        };
        let stamp = |seq: usize| Stamp {
            seq: seq as u64,
            epoch: EPOCH_MS,
            published_us: received_us + 300,
        };
        // Frames of order books are not for this decoder.
        let _ = exchange.decode(frame, received_us, &mut |event| match event {
            Event::Trade { trade, .. } => {
                let entry =
                    encode_trade_entry(&trade_topic, venue, &symbol, &trade, stamp(trades.len()));
                trades.push(entry);
                add(&mut seconds, &trade);
            }
            Event::Quote { quote, .. } => {
                let message = QuoteMessage::new(venue, &symbol, &quote, stamp(quotes.len()));
                quotes.push(message.encode());
            }
            Event::Ticker { ticker, .. } => {
                let message = TickerMessage::new(venue, &symbol, &ticker, stamp(tickers.len()));
                tickers.push(message.encode());
            }
            _ => {}
        });
    }
    let bar = |(seq, (start_ms, fold)): (usize, (i64, Fold))| {
        let bar = Bar {
            timeframe: Timeframe::SECOND,
            start_ms,
            end_ms: start_ms + 1_000,
            fold: Some(fold),
            previous_close: None,
            state: BarState::Closed,
            rev: 0,
            quality: Quality::Complete,
        };
        let stamp = Stamp {
            seq: seq as u64,
            epoch: EPOCH_MS,
            published_us: (start_ms + 3_000) * 1_000,
        };
        encode_bar(&bar_topic, venue, &symbol, &bar, stamp)
    };
    let bars = seconds.into_iter().enumerate().filter_map(bar).collect();
    [
        ("trades", trades),
        ("quotes", quotes),
        ("tickers", tickers),
        ("closed 1s bars", bars),
    ]
    .map(|(name, publications)| Kind { name, publications })
}

fn add(seconds: &mut BTreeMap<i64, Fold>, trade: &Trade) {
    let start_ms = trade.event_ms.div_euclid(1_000) * 1_000;
    let fold = Fold::of(trade);
    seconds
        .entry(start_ms)
        .and_modify(|known| known.merge(&fold))
        .or_insert(fold);
}

/// Prints the mean bytes of a frame of each kind.
pub(super) fn print() {
    let mut deflater = Deflater::new(COMPRESSION);
    let venues = [
        ("binance", captured::btcusdt()),
        (
            "coinbase",
            captured::text(&["coinbase-raw/coinbase_exchange_20210417_A.txt.gz"]),
        ),
    ];
    println!(
        "\n| publication | dialect | bytes | of native | with deflate | of native |\n|---|---|---|---|---|---|"
    );
    for (venue, text) in venues {
        let Some(text) = text else {
            continue;
        };
        for Kind { name, publications } in kinds(venue, &text) {
            let mut native = 0;
            for (dialect_name, dialect) in DIALECTS {
                let mut sum = |window| {
                    let encoding = Encoding { dialect, window };
                    let bytes = publications.iter();
                    let bytes =
                        bytes.map(|json| frame_bytes(json.clone(), encoding, &mut deflater));
                    bytes.sum::<u64>()
                };
                let (plain, deflated) = (sum(None), sum(Some(Window::Usual)));
                native = if native == 0 { plain } else { native };
                let count = publications.len() as u64;
                if native == 0 || count == 0 {
                    continue;
                }
                println!(
                    "| {venue}, {count} {name} | {dialect_name} | {} | {} % | {} | {} % |",
                    plain / count,
                    plain * 100 / native,
                    deflated / count,
                    deflated * 100 / native,
                );
            }
        }
    }
    println!();
}
