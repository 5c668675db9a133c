//! Bounds, and requests of every kind.

use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use history::Config;
use proptest::prelude::*;
use reqwest::{Client, Method};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tower::ServiceExt;

use crate::server::Server;

#[tokio::test]
async fn an_address_that_asks_too_often_is_told_when_to_ask_again() {
    let mut config = Config::default();
    config.api.history_requests_per_ip = Some(1);
    config.api.history_trusted_proxy = vec!["127.0.0.1".parse().expect("a network")];
    let server = Server::with(config).await;
    let client = Client::new();
    let ask = async |address: &str| {
        let url = format!("http://{}/api/v1/symbols", server.address);
        let request = client.get(url).header("x-forwarded-for", address);
        request.send().await.expect("an answer")
    };
    let mut refused = None;
    // Four at once, and one more each second.
    for _ in 0..200 {
        let answer = ask("203.0.113.9").await;
        if answer.status() == 429 {
            refused = Some(answer);
            break;
        }
    }
    let refused = refused.expect("more than a second's worth");
    assert_eq!(refused.headers()["retry-after"], "1");
    assert!(refused.text().await.expect("text").contains("rate_limited"));
    assert_eq!(ask("203.0.113.10").await.status(), 200);
    server.stop().await;
}

#[tokio::test]
async fn pages_of_any_site_may_read_the_answers_and_heads_have_no_body() {
    let server = Server::with_minutes(10).await;
    let url = format!("http://{}/api/v1/bars?symbol=BTC-USD", server.address);
    let client = Client::new();
    let preflight = client.request(Method::OPTIONS, &url).send().await;
    let preflight = preflight.expect("an answer");
    assert_eq!(preflight.status(), 204);
    assert_eq!(preflight.headers()["access-control-allow-origin"], "*");
    assert_eq!(
        preflight.headers()["access-control-allow-methods"],
        "GET, HEAD, OPTIONS"
    );
    let whole = client.get(&url).send().await.expect("an answer");
    assert_eq!(whole.headers()["access-control-allow-origin"], "*");
    let head = client.head(&url).send().await.expect("an answer");
    assert_eq!(head.headers()["etag"], whole.headers()["etag"]);
    assert!(head.bytes().await.expect("no body").is_empty());
    let posted = client.post(&url).send().await.expect("an answer");
    assert_eq!(posted.status(), 405);
    server.stop().await;
}

#[tokio::test]
async fn a_long_answer_is_compressed_for_clients_that_read_gzip() {
    let server = Server::with_minutes(600).await;
    let url = format!("http://{}/api/v1/bars?symbol=BTC-USD", server.address);
    let plain = Client::builder().no_gzip().build().expect("a client");
    let bytes = async |request: reqwest::RequestBuilder| {
        let answer = request.send().await.expect("an answer");
        answer.bytes().await.expect("a body")
    };
    let long = bytes(plain.get(&url)).await;
    let short = bytes(plain.get(&url).header("accept-encoding", "gzip")).await;
    assert!(
        short.len() * 4 < long.len(),
        "{} of {}",
        short.len(),
        long.len()
    );
    let read = bytes(Client::new().get(&url)).await;
    assert_eq!(read, long);
    server.stop().await;
}

fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("BTC-USD".to_owned()),
        Just("COINBASE:BTC-USD".to_owned()),
        "[0-9]{1,20}",
        "-?[0-9]{1,20}",
        "[0-9]{1,4}[smhdwMSDW]?",
        "2024-02-2[0-9]T[0-9]{2}:[0-9]{2}:00Z",
        "v1\\.[0-9]{1,3}[mhdM]\\.1m\\.(asc|desc)\\.-?[0-9]{1,20}",
        "(asc|desc|flat|none|true|csv|ndjson|json)",
        "[%a-zA-Z0-9:,._ +-]{0,30}",
    ]
}

fn query() -> impl Strategy<Value = String> {
    let names = [
        "symbol",
        "exchange",
        "width",
        "from",
        "to",
        "limit",
        "order",
        "fill",
        "as_of",
        "cursor",
        "forming",
        "format",
        "day",
        "resolution",
        "countback",
        "symbols",
        "query",
        "x",
    ];
    let pair = (prop::sample::select(names.to_vec()), value());
    prop::collection::vec(pair, 0..6).prop_map(|pairs| {
        let pairs: Vec<String> = pairs
            .iter()
            .map(|(name, value)| format!("{name}={}", value.replace(' ', "+")))
            .collect();
        pairs.join("&")
    })
}

#[test]
fn no_question_panics_or_fails_the_server() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let server = runtime.block_on(Server::with_minutes(300));
    let router = history::api::router(server.history.clone());
    let paths = [
        "bars",
        "trades",
        "symbols",
        "completeness",
        "status",
        "tick/coinbase/BTC-USD",
        "tick/x/y",
    ];
    let paths = paths.iter().map(|path| format!("/api/v1/{path}"));
    let udf = [
        "history", "symbols", "search", "quotes", "config", "marks", "time", "x",
    ];
    let paths: Vec<String> = paths
        .chain(udf.map(|path| format!("/udf/{path}")))
        .collect();
    let strategy = (prop::sample::select(paths), query(), any::<bool>());
    proptest!(|((path, query, has_symbol) in strategy)| {
        let symbol = if has_symbol && !query.contains("symbol") { "symbol=BTC-USD&" } else { "" };
        let request = Request::get(format!("{path}?{symbol}{query}")).body(Body::empty());
        let Ok(request) = request else {
            return Ok(());
        };
        let answer = runtime.block_on(router.clone().oneshot(request)).expect("an answer");
        let status = answer.status().as_u16();
        prop_assert!([200, 400, 404].contains(&status), "{path}?{symbol}{query}: {status}");
    });
    runtime.block_on(server.stop());
}

#[tokio::test]
async fn a_request_that_does_not_end_holds_up_no_shutdown() {
    let server = Server::with_minutes(1).await;
    let mut half = TcpStream::connect(server.address).await.expect("connected");
    half.write_all(b"GET /api/v1/sta").await.expect("sent");
    // The connection is being served: a later one was.
    server.get("/api/v1/status").await;
    let stopped = timeout(Duration::from_secs(60), server.stop()).await;
    stopped.expect("drained in time");
    drop(half);
}
