//! Gateways that come and go: a drain's notice, and sessions that move to other gateways.

use axum::body::{Body, to_bytes};
use axum::http::Request;
use serde_json::Value;
use tokio::task::JoinSet;
use tower::ServiceExt;
use ws_gateway::Config;

use crate::support::{Client, Gateway, start, start_on, until};

#[tokio::test]
async fn a_draining_gateway_takes_connections_until_the_notice_is_over() {
    let config = Config {
        drain_notice_ms: 60_000,
        ..Config::default()
    };
    let gateway = start(config).await.ready().await;
    let mut old = gateway.connect_to("/ws?topics=kline:1s:A-B").await;
    old.frame().await;
    gateway.service.shutdown.trigger();
    assert!(!gateway.service.readiness.is_ready());
    // A quarter of the drain deadline at most: both are served, then closed like all others.
    let mut new = gateway.connect_to("/ws?topics=kline:1s:A-B").await;
    new.frame().await;
    assert_eq!(
        (old.close_code().await, new.close_code().await),
        (1012, 1012)
    );
    gateway.task.await.unwrap().unwrap();
}

async fn ask(gateway: &Gateway, method: &str, path: &str) -> (u16, Value) {
    let request = Request::builder().method(method).uri(path);
    let request = request.body(Body::empty()).unwrap();
    let answer = gateway.control.routes().oneshot(request).await.unwrap();
    let status = answer.status().as_u16();
    let body = to_bytes(answer.into_body(), 100_000).await.unwrap();
    (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
}

async fn clients(gateway: &Gateway, count: usize) -> Vec<Client> {
    let mut clients = Vec::new();
    for _ in 0..count {
        let mut client = gateway.connect_to("/ws?topics=kline:1s:A-B").await;
        client.frame().await;
        clients.push(client);
    }
    clients
}

fn config() -> Config {
    Config {
        shed_age_ms: 0,
        ..Config::default()
    }
}

#[tokio::test]
async fn a_full_gateway_closes_its_excess_when_any_gateway_is_asked() {
    let full = start(config()).await.ready().await;
    let empty = start_on(config(), full.bus.clone()).await.ready().await;
    let clients = clients(&full, 30).await;
    // Both have heard of each other and of the sessions.
    loop {
        let (status, fleet) = ask(&empty, "GET", "/rebalance").await;
        assert_eq!((status, &fleet["target"]), (200, &Value::Null));
        if fleet["gateways"][1]["sessions"] == 30 {
            break;
        }
        tokio::task::yield_now().await;
    }
    let (status, fleet) = ask(&empty, "POST", "/rebalance").await;
    assert_eq!((status, &fleet["target"]), (202, &Value::from(15)));
    let mut ends = JoinSet::new();
    for mut client in clients {
        ends.spawn(async move { client.close_code().await });
    }
    for _ in 0..15 {
        assert_eq!(ends.join_next().await.unwrap().unwrap(), 4006);
    }
    until("they are counted", || {
        full.metric("gateway_sheds_total", &[]) >= 15.0
    })
    .await;
}

#[tokio::test]
async fn a_gateway_can_be_told_how_many_sessions_to_keep() {
    let gateway = start(config()).await.ready().await;
    let _clients = clients(&gateway, 12).await;
    let (status, _) = ask(&gateway, "POST", "/rebalance?target=many").await;
    assert_eq!(status, 400);
    let (status, fleet) = ask(&gateway, "POST", "/rebalance?target=5").await;
    assert_eq!((status, &fleet["target"]), (202, &Value::from(5)));
    loop {
        let (_, fleet) = ask(&gateway, "GET", "/rebalance").await;
        if fleet["target"] == Value::Null {
            let sessions = fleet["gateways"][0]["sessions"].as_u64().unwrap();
            assert_eq!(sessions, 5);
            break;
        }
        tokio::task::yield_now().await;
    }
    gateway.service.shutdown.trigger();
    until("the gateway has ended", || gateway.task.is_finished()).await;
    assert_eq!(ask(&gateway, "GET", "/rebalance").await.0, 503);
}

#[tokio::test]
async fn what_the_gateways_were_asked_is_taken_back_at_all_of_them() {
    // One that closes nobody, so that it does not come to its end by itself.
    let config = || Config {
        shed_rate: 0,
        ..config()
    };
    let full = start(config()).await.ready().await;
    let other = start_on(config(), full.bus.clone()).await.ready().await;
    let _clients = clients(&full, 3).await;
    let (status, fleet) = ask(&full, "POST", "/rebalance?target=1").await;
    assert_eq!((status, &fleet["target"]), (202, &Value::from(1)));
    let (status, fleet) = ask(&other, "DELETE", "/rebalance").await;
    assert_eq!((status, &fleet["target"]), (202, &Value::Null));
    while ask(&full, "GET", "/rebalance").await.1["target"] != Value::Null {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_flood_of_garbage_between_gateways_moves_nobody_and_is_counted() {
    let gateway = start(config()).await.ready().await;
    let refused = || gateway.metric("gateway_fleet_messages_refused_total", &[]);
    let before = refused();
    let huge = format!(
        r#"{{"id":"x","address":"y","sessions":{},"is_leaving":false}}"#,
        u64::MAX
    );
    for payload in ["{garbage", &huge, r#"{"id":"other"}"#] {
        for _ in 0..100 {
            let payload = bytes::Bytes::copy_from_slice(payload.as_bytes());
            gateway
                .bus
                .publish("fleet.report.x", payload)
                .await
                .unwrap();
        }
    }
    until("counted", || refused() >= before + 300.0).await;
    let (status, fleet) = ask(&gateway, "GET", "/rebalance").await;
    assert_eq!(status, 200);
    assert_eq!(fleet["gateways"].as_array().unwrap().len(), 1);
}
