//! From the past into the present, over a real bus and real sockets.

use std::sync::atomic::Ordering;

use bus::{Headers, MemoryBus};
use bytes::Bytes;
use market_core::subject::HISTORY_QUERY;
use market_core::wire::{HistoryOrder, HistoryPage, HistoryQuery};
use serde_json::json;
use serde_json::value::RawValue;
use tokio::task::JoinHandle;
use ws_gateway::Config;

use crate::fickle_bus::Fickle;
use crate::support::{Client, Gateway, closed, forming, start, start_on};

/// A history with the bars before `end`, until it is aborted.
async fn history(gateway: &Gateway, end: i64) -> JoinHandle<()> {
    history_of(gateway, end, |index| closed(index, 0).payload()).await
}

/// A history with these bars before `end`, until it is aborted.
pub(crate) async fn history_of(
    gateway: &Gateway,
    end: i64,
    bar_of: impl Fn(i64) -> Bytes + Send + Sync + 'static,
) -> JoinHandle<()> {
    let bus = gateway.bus.clone();
    let mut responder = bus
        .requests()
        .serve(HISTORY_QUERY, "history")
        .await
        .unwrap();
    tokio::spawn(async move {
        while let Some(question) = responder.recv().await {
            let query: HistoryQuery = serde_json::from_slice(&question.message.payload).unwrap();
            let limit = i64::try_from(query.limit).unwrap();
            let mut from = query.from_ms.unwrap_or(0).div_euclid(1_000);
            let mut to = query.to_ms.map_or(end, |to_ms| to_ms / 1_000).min(end);
            let cursor: Option<i64> = query.cursor.map(|cursor| cursor.parse().unwrap());
            match query.order {
                HistoryOrder::Asc => from = cursor.unwrap_or(from),
                HistoryOrder::Desc => to = cursor.unwrap_or(to),
            }
            let starts: Vec<i64> = match query.order {
                HistoryOrder::Asc => (from..to).take(query.limit).collect(),
                HistoryOrder::Desc => (from.max(to - limit)..to).rev().collect(),
            };
            let has_more = to - from > limit;
            let next = match query.order {
                HistoryOrder::Asc => from + limit,
                HistoryOrder::Desc => to - limit,
            };
            let bar = |index: &i64| {
                let json = bar_of(*index);
                RawValue::from_string(String::from_utf8(json.to_vec()).unwrap()).unwrap()
            };
            let page = HistoryPage {
                exchange: "binance".to_owned(),
                bars: starts.iter().map(bar).collect(),
                next: has_more.then(|| next.to_string()),
            };
            let answer = serde_json::to_vec(&page).unwrap();
            question
                .answer(Headers::new(), answer.into())
                .await
                .unwrap();
        }
    })
}

/// The starts of the bars before `live`, in seconds, and `live`.
async fn past(client: &mut Client) -> (Vec<i64>, serde_json::Value) {
    let mut starts = Vec::new();
    loop {
        let object = client.object().await;
        match object["op"].as_str() {
            None => starts.push(object["start_ms"].as_i64().unwrap() / 1_000),
            Some("live") => return (starts, object),
            Some(_) => {}
        }
    }
}

#[tokio::test]
async fn the_past_of_a_topic_comes_in_pages_and_runs_into_live() {
    const END: i64 = 2_400;
    let gateway = start(Config::default()).await.ready().await;
    let history = history(&gateway, END).await;
    // History lacks the newest bars, and the gateway has no others.
    for index in END - 5..END + 5 {
        gateway
            .publish_closed(&closed(index, index.unsigned_abs()))
            .await;
    }
    gateway
        .knows(&closed(END + 4, END.unsigned_abs() + 4))
        .await;
    for from in [json!({"ms": 100_000}), json!({"token": "k1.100000.1"})] {
        let mut client = gateway.connect().await;
        let request = json!({"op":"sub","topics":["kline:1s:A-B"],"from":from});
        client.send(&request.to_string()).await;
        let (starts, live) = past(&mut client).await;
        assert_eq!(starts, (100..END + 5).collect::<Vec<_>>(), "{from}");
        assert_eq!(live["recovered"], true, "{live}");
        let known_ms = i64::from(from["ms"].is_null());
        assert_eq!(
            live["token"],
            format!("k1.{}.{known_ms}", (END + 5) * 1_000)
        );
    }
    let mut client = gateway.connect().await;
    client
        .send(r#"{"op":"sub","topics":["kline:1s:A-B"],"from":{"last":3}}"#)
        .await;
    let (starts, _) = past(&mut client).await;
    assert_eq!(starts, (END - 3..END + 5).collect::<Vec<_>>());
    gateway
        .publish(&forming(END + 5, END.unsigned_abs() + 9))
        .await;
    assert_eq!(client.object().await["state"], "forming");
    assert!(gateway.metric("gateway_past_bars_total", &[]) >= 4_600.0);
    history.abort();
}

#[tokio::test]
async fn while_history_is_down_a_client_gets_what_is_held_and_is_told() {
    let config = Config {
        history_wait_ms: 200,
        ..Config::default()
    };
    let gateway = start(config).await.ready().await;
    for index in 1..4 {
        gateway
            .publish_closed(&closed(index, index.unsigned_abs()))
            .await;
    }
    gateway.knows(&closed(3, 3)).await;
    let mut client = gateway.connect().await;
    client
        .send(r#"{"op":"sub","topics":["kline:1s:A-B"],"from":{"last":500}}"#)
        .await;
    let (starts, live) = past(&mut client).await;
    assert_eq!(starts, [1, 2, 3]);
    assert_eq!(
        (&live["recovered"], &live["reason"]),
        (&json!(false), &json!("history"))
    );
    gateway.publish(&forming(4, 4)).await;
    assert_eq!(client.object().await["seq"], 4);
}

#[tokio::test]
async fn a_client_goes_live_although_the_task_that_asked_history_for_it_panicked() {
    let bus = Fickle::new(MemoryBus::with_streams(&service::streams()));
    let config = Config {
        history_wait_ms: 200,
        ..Config::default()
    };
    let gateway = start_on(config, bus.clone()).await.ready().await;
    for index in 8..10 {
        gateway
            .publish_closed(&closed(index, index.unsigned_abs()))
            .await;
    }
    gateway.knows(&closed(9, 9)).await;
    bus.panics.store(true, Ordering::Release);
    let mut client = gateway.connect().await;
    client
        .send(r#"{"op":"sub","topics":["kline:1s:A-B"],"from":{"last":500}}"#)
        .await;
    let (starts, live) = past(&mut client).await;
    assert_eq!((starts, &live["reason"]), (vec![8, 9], &json!("history")));
}
