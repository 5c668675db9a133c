//! Tickers of venues against our own bars: in the running process, and in captures.

use std::collections::BTreeMap;

use market_core::{Amount, Price, Ticker, Trade};
use marketdata::config::FeedChannel;
use marketdata::exchange::{Event, registry};
use marketdata::reconcile::ticker::{Allowance, Field, OwnBar, OwnBars, Verdict, compare};

use crate::captures::{captures, read};
use crate::deployment::{Deployment, INSTRUMENTS, sim_config};

/// How many fields were compared with a result, by venue and field.
fn counted(result: &str) -> BTreeMap<(String, String), u64> {
    let text = service::install_metrics().render();
    let lines = text.lines().filter_map(|line| {
        let rest = line.strip_prefix("marketdata_reconciled_tickers_total{exchange=\"")?;
        let (exchange, rest) = rest.split_once("\",field=\"")?;
        let (field, rest) = rest.split_once("\",result=\"")?;
        let count = rest.strip_prefix(result)?.strip_prefix("\"} ")?;
        let count = count.parse().expect("a count");
        Some(((exchange.to_owned(), field.to_owned()), count))
    });
    lines.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tickers_of_every_venue_agree_with_the_published_bars() {
    service::install_metrics();
    let mut deployment = Deployment::new(sim_config()).await;
    let mut config = deployment.config();
    config.channels = vec![FeedChannel::Ticker];
    // The first ticker is taken when there are whole bars before it.
    config.reconcile_interval_ms = 5_000;
    deployment.start(config);
    let wanted = ["last", "high", "low", "volume"];
    deployment
        .until_seen("tickers of every venue were compared", |_| {
            let equal = counted("equal");
            INSTRUMENTS.iter().all(|(venue, _, _)| {
                let is_equal = |field: &str| {
                    let key = ((*venue).to_owned(), field.to_owned());
                    equal.get(&key).is_some_and(|&count| count > 0)
                };
                wanted.iter().all(|field| is_equal(field))
            })
        })
        .await;
    assert_eq!(counted("mismatch"), BTreeMap::new());
    deployment.stop().await;
}

/// Bars of a second; those of the first and the last second are not whole.
fn bars_of(trades: &[Trade]) -> OwnBars {
    let mut bars: BTreeMap<i64, OwnBar> = BTreeMap::new();
    let second = |trade: &Trade| trade.event_ms.div_euclid(1_000) * 1_000;
    let (Some(first), Some(last)) = (
        trades.iter().map(second).min(),
        trades.iter().map(second).max(),
    ) else {
        return OwnBars::default();
    };
    for trade in trades {
        let start_ms = second(trade);
        let bar = bars.entry(start_ms).or_insert_with(|| OwnBar {
            start_ms,
            end_ms: start_ms + 1_000,
            high: trade.price,
            low: trade.price,
            volume: Amount::ZERO,
            is_whole: start_ms > first && start_ms < last,
        });
        bar.high = bar.high.max(trade.price);
        bar.low = bar.low.min(trade.price);
        bar.volume.add(trade.quantity.amount());
    }
    // Seconds without trades repeat the close before.
    let mut close = None;
    let mut flat = Vec::new();
    for start_ms in (first..last).step_by(1_000) {
        let closed = trades.iter().rfind(|trade| second(trade) == start_ms);
        match (closed, close) {
            (Some(trade), _) => close = Some(trade.price),
            (None, Some(price)) => flat.push(OwnBar {
                start_ms,
                end_ms: start_ms + 1_000,
                high: price,
                low: price,
                volume: Amount::ZERO,
                is_whole: true,
            }),
            (None, None) => {}
        }
    }
    let mut own = OwnBars::default();
    own.extend(bars.into_values().chain(flat));
    own
}

/// No field of a capture's tickers differs; so many agree, so many last prices among them, and so
/// many of these differ if they are twice as high.
#[track_caller]
fn check(venue: &str, file: &str, expected: (usize, usize, usize)) {
    let Some(folder) = captures(file) else { return };
    let exchange = registry::find(venue).expect("registered");
    let mut trades: BTreeMap<String, Vec<Trade>> = BTreeMap::new();
    let mut tickers: Vec<(String, Ticker)> = Vec::new();
    for line in read(&folder.join(file)).lines() {
        let Some(frame) = line.find('{').map(|at| &line[at..]) else {
            continue;
        };
        if line.contains("<-") {
            continue;
        }
        let _ = exchange.decode(frame, 7, &mut |event| match event {
            Event::Trade { native, trade, .. } => {
                trades.entry(native.to_owned()).or_default().push(trade);
            }
            Event::Ticker { native, ticker } => tickers.push((native.to_owned(), ticker)),
            _ => {}
        });
    }
    // The captures last only seconds.
    let allowed = Allowance {
        step_ms: 3_600_000,
        tolerance_ms: 1_000,
        age_ms: 60_000,
    };
    let bars: BTreeMap<&str, OwnBars> = trades
        .iter()
        .map(|(native, trades)| (native.as_str(), bars_of(trades)))
        .collect();
    let (mut equal, mut last, mut doubled) = (0, 0, 0);
    for (native, ticker) in &tickers {
        let Some(bars) = bars.get(native.as_str()) else {
            continue;
        };
        let mut ticker = *ticker;
        ticker.received_us = ticker.event_ms.expect("a time") * 1_000;
        let verdicts = compare(&ticker, bars, allowed).expect("it has a time");
        for (field, verdict) in Field::ALL.iter().zip(&verdicts) {
            assert!(
                !matches!(verdict, Verdict::Differs(_)),
                "{native} {field:?} {verdict:?} {ticker:?}"
            );
            equal += usize::from(*verdict == Verdict::Agrees);
        }
        if verdicts[0] == Verdict::Agrees {
            last += 1;
            let (mantissa, scale) = ticker.last.parts();
            ticker.last = Price::from_parts(mantissa * 2, scale).expect("a price");
            let verdicts = compare(&ticker, bars, allowed).expect("it has a time");
            doubled += usize::from(matches!(verdicts[0], Verdict::Differs(_)));
        }
    }
    assert_eq!((equal, last, doubled), expected, "{file}");
}

#[test]
fn real_tickers_agree_with_the_trades_beside_them() {
    check(
        "coinbase",
        "coinbase-raw/coinbase_exchange_20210417_A.txt.gz",
        (222, 45, 45),
    );
    check(
        "okx",
        "okx-raw/okx_v5_20220513_BTC-USDT.txt.gz",
        (87, 15, 15),
    );
}
