//! Bars whose publisher traces them.

use bus::{Append, Bus, Headers};
use history::store::BarSeries;
use market_core::{BarState, UnixMillis, subject};
use service::{TRACEPARENT, TraceConfig, TraceExport};
use testkit::collector::Collector;
use testkit::directory::Directory;

use crate::journal::{put_journal, until_stored};
use crate::{Running, bars, config, memory_bus};

const MINUTE_MS: UnixMillis = 60_000;
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";

async fn journal(bus: &dyn Bus, series: &BarSeries, start_ms: UnixMillis, traceparent: &str) {
    let record = subject::closed_bars(series.timeframe, &series.instrument.symbol);
    let subject = subject::journal(&record).expect("a record of bars");
    let mut headers = Headers::new();
    let set = headers.set(TRACEPARENT, traceparent);
    set.expect("NATS can carry it");
    let append = Append {
        headers,
        ..Append::new(
            subject,
            bars::encoded(series, start_ms, BarState::Closed, 0),
        )
    };
    bus.streams().append(append).await.expect("stored");
}

#[tokio::test]
async fn a_traced_bar_is_told_once_it_is_stored_and_a_broken_header_is_ignored() {
    let collector = Collector::start().await;
    let traced = TraceConfig {
        otlp_endpoint: Some(collector.endpoint().parse().expect("an address")),
        ..TraceConfig::default()
    };
    let export = TraceExport::start(&traced).expect("the first of this process");
    let (directory, bus) = (Directory::new(), memory_bus());
    put_journal(&*bus, 1 << 20).await;
    let minute = bars::minutes("binance", "BTC-USD");
    journal(&*bus, &minute, 0, "00-broken").await;
    journal(&*bus, &minute, MINUTE_MS, &format!("00-{TRACE}-{SPAN}-01")).await;
    let running = Running::start(&config(&directory), &bus).await;
    until_stored(&running, &minute, &[0, MINUTE_MS]).await;
    let keep = collector
        .until("the bar is stored", |spans| {
            spans.iter().find(|span| span.name == "keep").cloned()
        })
        .await;
    let of = (keep.trace_id.as_str(), keep.parent_id.as_str());
    assert_eq!(of, (TRACE, SPAN));
    assert_eq!(keep.attributes["stream"], "bars");
    running.stop().await;
    export.end().await;
    let count = collector.spans().len();
    assert_eq!(count, 1, "{:?}", collector.spans());
}
