//! What becomes of single bars, told to a collector.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use bus::{BusConfig, Delivery};
use loadtest::bar::{Bar, State};
use loadtest::fleet::{Fleet, FleetConfig, topics};
use loadtest::follower::Follower;
use loadtest::program::arguments;
use serde_json::json;
use testkit::collector::{Collector, SpanSeen};

/// The workers of the fleet's marketdata: each one traces its first closed bar, and its first forming
/// bar.
const WORKERS: usize = 2;

/// A bar of the bus, and its header.
type Carried = (Bar, Option<String>);

async fn read_bars(fleet: &Fleet) -> Arc<Mutex<Vec<Carried>>> {
    let config = BusConfig {
        bus: fleet.nats.url().parse().expect("an address"),
        ..BusConfig::default()
    };
    let bus = bus::connect(&config, &[]).await.expect("NATS is there");
    let mut subscription = bus.subscribe("kline.>").await.expect("NATS is there");
    let carried = Arc::new(Mutex::new(Vec::new()));
    tokio::spawn({
        let carried = Arc::clone(&carried);
        async move {
            // The bus lives as long as it is read.
            let _bus = bus;
            while let Some(delivery) = subscription.recv().await {
                let Delivery::Message(message) = delivery else {
                    continue;
                };
                let bar = serde_json::from_slice(&message.payload).expect("a bar");
                let header = message.header("traceparent").map(str::to_owned);
                carried.lock().expect("not poisoned").push((bar, header));
            }
        }
    });
    carried
}

/// The way of one revision through both programs, and the flush that sent it.
fn way_of_a_revision(spans: &[SpanSeen]) -> Option<(SpanSeen, Vec<String>)> {
    let is_revision = |span: &&SpanSeen| {
        let rev = span.attributes.get("rev");
        span.name == "bar" && rev.is_some_and(|rev| rev != "0")
    };
    spans.iter().filter(is_revision).find_map(|whole| {
        let of_trace = spans.iter().filter(|span| span.trace_id == whole.trace_id);
        let find = |service: &str, name: &str| {
            let mut of_trace = of_trace.clone();
            of_trace.find(|span| span.service == service && span.name == name)
        };
        let publish = find("marketdata", "publish")?;
        find("marketdata", "store")?;
        find("marketdata", "fold")?;
        // There are three gateways: one has the follower.
        let deliver = find("ws-gateway", "deliver")?;
        let mut of_trace = of_trace.clone();
        let ingest = of_trace.find(|span| span.span_id == deliver.parent_id)?;
        let is_way = ingest.name == "ingest" && ingest.parent_id == publish.span_id;
        let links_back = |span: &&SpanSeen| {
            span.name == "flush"
                && deliver.links.contains(&span.span_id)
                && span.links.contains(&ingest.span_id)
        };
        let flush = spans.iter().find(links_back)?;
        let is_own_trace = flush.trace_id != whole.trace_id;
        let programs = of_trace_services(spans, &whole.trace_id);
        (is_way && is_own_trace).then(|| (whole.clone(), programs))
    })
}

fn of_trace_services(spans: &[SpanSeen], trace_id: &str) -> Vec<String> {
    let of_trace = spans.iter().filter(|span| span.trace_id == trace_id);
    let services: HashSet<&str> = of_trace.map(|span| &*span.service).collect();
    let mut services: Vec<String> = services.into_iter().map(str::to_owned).collect();
    services.sort();
    services
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revision_is_traced_from_the_feed_to_the_flush_and_other_bars_have_no_header() {
    let collector = Collector::start().await;
    let endpoint = collector.endpoint();
    let traced = arguments(&["--otlp-endpoint", &endpoint, "--trace-one-in", "4000000000"]);
    let mut marketdata = arguments(&["--gap-hold-ms", "500"]);
    marketdata.extend_from_slice(&traced);
    let config = FleetConfig {
        marketdata,
        gateway: traced,
        has_no_nginx: true,
        ..FleetConfig::default()
    };
    let Some(fleet) = Fleet::start(config).await else {
        return;
    };
    let carried = read_bars(&fleet).await;
    let follower = Follower::start(fleet.gateways[0].url(), topics());
    follower
        .until("closed bars", |seen| {
            let mut of_topics = seen.topics.values();
            of_topics.any(|topic| topic.closed.len() >= 2)
        })
        .await;
    // Longer than bars wait: they close with the gap, and are revised when it is filled.
    fleet
        .simulator
        .fault(json!({"kind": "cut", "for_ms": 4_000}))
        .await;
    let (whole, programs) = collector
        .until("the way of a revision", way_of_a_revision)
        .await;
    assert_eq!(programs, ["marketdata", "ws-gateway"]);
    assert_eq!(whole.attributes["state"], "closed");
    collector
        .until("the gap", |spans| {
            spans.iter().find(|span| span.name == "gap").cloned()
        })
        .await;
    let carried = carried.lock().expect("not poisoned").clone();
    let mut first = 0;
    for (bar, header) in &carried {
        let is_revision = bar.state == State::Closed && bar.rev > 0;
        match header {
            Some(_) if is_revision => {}
            Some(_) => first += 1,
            None => assert!(!is_revision, "not traced: {bar:?}"),
        }
    }
    assert!(first <= 2 * WORKERS, "{first} of {}", carried.len());
    let is_told = |(_, header): &Carried| {
        let id = header.as_deref().and_then(|header| header.get(3..35));
        id == Some(&*whole.trace_id)
    };
    assert!(carried.iter().any(is_told), "{whole:?}");
}
