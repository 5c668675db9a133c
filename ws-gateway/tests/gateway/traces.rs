//! Bars whose publisher traces them.

use bus::Headers;
use service::{TRACEPARENT, TraceConfig, TraceExport};
use testkit::collector::Collector;
use ws_gateway::Config;

use crate::support::{closed, start};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";

#[tokio::test]
async fn a_traced_bar_is_told_up_to_its_flush_and_a_broken_header_is_ignored() {
    let collector = Collector::start().await;
    let config = TraceConfig {
        otlp_endpoint: Some(collector.endpoint().parse().unwrap()),
        ..TraceConfig::default()
    };
    let export = TraceExport::start(&config).unwrap();
    let gateway = start(Config::default()).await.ready().await;
    let mut client = gateway.connect().await;
    client.subscribe(&["kline:1s:A-B"]).await;
    let headers = [
        format!("00-{TRACE}-{SPAN}-00"),
        format!("00-{TRACE}-{SPAN}"),
        format!("00-{}-{SPAN}-01", "0".repeat(32)),
        "x".repeat(4_096),
        // The only one that is whole and sampled.
        format!("00-{TRACE}-{SPAN}-01"),
    ];
    for (index, header) in headers.iter().enumerate() {
        let bar = closed(index as i64, index as u64 + 1);
        let mut of_bar = Headers::new();
        of_bar.set(TRACEPARENT, header).unwrap();
        let (subject, payload) = (bar.subject(), bar.payload());
        let sent = gateway.bus.publish_with(&subject, of_bar, payload).await;
        sent.unwrap();
    }
    let mut starts = Vec::new();
    while starts.len() < headers.len() {
        starts.push(client.object().await["start_ms"].as_i64().unwrap());
    }
    assert_eq!(starts, [0, 1_000, 2_000, 3_000, 4_000]);
    let (ingest, deliver, flush) = collector
        .until("the way through the gateway", |spans| {
            let named = |name: &str| spans.iter().find(|span| span.name == name).cloned();
            Some((named("ingest")?, named("deliver")?, named("flush")?))
        })
        .await;
    assert_eq!(
        (ingest.trace_id.as_str(), ingest.parent_id.as_str()),
        (TRACE, SPAN)
    );
    assert_eq!(ingest.attributes["subject"], "kline.1s.A-B");
    assert_eq!(deliver.trace_id, TRACE);
    assert_eq!(deliver.parent_id, ingest.span_id);
    // One flush serves many bars: a trace of its own, which links to them.
    assert_ne!(flush.trace_id, TRACE);
    assert_eq!(flush.links, [&*ingest.span_id]);
    assert_eq!(deliver.links, [&*flush.span_id]);
    export.end().await;
    let count = |name: &str| {
        collector
            .spans()
            .iter()
            .filter(|span| span.name == name)
            .count()
    };
    assert_eq!((count("ingest"), count("deliver")), (1, 1));
}
