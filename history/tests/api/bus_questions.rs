//! `history.query`.

use std::time::Duration;

use bus::{BusError, Headers};
use market_core::subject::HISTORY_QUERY;
use market_core::wire::{HistoryOrder, HistoryPage, HistoryQuery};
use serde_json::{Value, json};

use crate::server::{START_MS, Server, minutes, row};

async fn ask(server: &Server, question: Value) -> Result<HistoryPage, BusError> {
    let payload = serde_json::to_vec(&question).expect("JSON");
    let waited = Duration::from_secs(20);
    loop {
        let requests = server.bus.requests();
        let answer = requests
            .request(
                HISTORY_QUERY,
                Headers::default(),
                payload.clone().into(),
                waited,
            )
            .await;
        match answer {
            // It has not begun to serve.
            Err(BusError::NoResponders { .. }) => tokio::task::yield_now().await,
            Err(error) => return Err(error),
            Ok(answer) => {
                assert!(answer.payload.len() < 900_001, "{}", answer.payload.len());
                return Ok(serde_json::from_slice(&answer.payload).expect("a page"));
            }
        }
    }
}

fn topic_question(topic: &str, order: HistoryOrder) -> Value {
    let query = HistoryQuery {
        topic: topic.to_owned(),
        exchange: None,
        from_ms: None,
        to_ms: None,
        limit: 1_000,
        order,
        as_of_ms: None,
        known_after_ms: None,
        has_flat_bars: true,
        cursor: None,
    };
    serde_json::to_value(query).expect("JSON")
}

#[tokio::test]
async fn questions_over_the_bus_have_the_bars_of_the_web_in_pages_that_fit_a_message() {
    let server = Server::with_minutes(2_500).await;
    let mut question = topic_question("kline:1m:BTC-USD", HistoryOrder::Asc);
    let mut starts = Vec::new();
    loop {
        let page = ask(&server, question.clone()).await.expect("a page");
        assert_eq!(page.exchange, "coinbase");
        for bar in &page.bars {
            let bar: Value = serde_json::from_str(bar.get()).expect("JSON");
            assert_eq!(bar["topic"], "kline:1m:BTC-USD");
            starts.push(bar["start_ms"].as_i64().expect("a start"));
        }
        let Some(next) = page.next else {
            break;
        };
        question["cursor"] = json!(next);
    }
    let expected: Vec<i64> = (0..2_500)
        .map(|minute| START_MS + minute * 60_000)
        .collect();
    assert_eq!(starts, expected);
    server.stop().await;
}

#[tokio::test]
async fn a_question_names_its_topic_in_either_way_and_an_unknown_one_has_no_bars() {
    let server = Server::with_minutes(100).await;
    server.store(&minutes("okx", "OKX:BTC-USDT"), 0..100).await;
    for (topic, exchange) in [
        ("kline:7m:BTC-USD", "coinbase"),
        ("kline:7m:COINBASE:BTC-USD", "coinbase"),
        ("kline:7m:OKX:BTC-USDT", "okx"),
    ] {
        let page = ask(&server, topic_question(topic, HistoryOrder::Desc));
        let page = page.await.expect("a page");
        assert_eq!(page.exchange, exchange);
        assert_eq!(page.bars.len(), 14, "{topic}");
        let bar: Value = serde_json::from_str(page.bars[0].get()).expect("JSON");
        assert_eq!(bar["topic"], topic);
    }
    let page = ask(
        &server,
        topic_question("kline:1m:XRP-USD", HistoryOrder::Asc),
    );
    assert!(page.await.expect("an empty page").bars.is_empty());
    server.stop().await;
}

#[tokio::test]
async fn a_question_that_cannot_be_answered_is_refused_with_the_reason() {
    let server = Server::with_minutes(10).await;
    for (question, reason) in [
        (json!({"limit": 5}), "topic"),
        (
            topic_question("system:feed:okx", HistoryOrder::Asc),
            "kline:7m",
        ),
        (
            topic_question("kline:0m:BTC-USD", HistoryOrder::Asc),
            "width",
        ),
        (topic_question("kline:1s:BTC-USD", HistoryOrder::Asc), "1m"),
        (
            json!({"topic": "kline:1m:BTC-USD", "limit": 5, "cursor": "x"}),
            "cursor",
        ),
    ] {
        match ask(&server, question.clone()).await {
            Err(BusError::Refused { reason: said, .. }) => {
                assert!(said.contains(reason), "{question}: {said}");
            }
            other => panic!("{question}: {other:?}"),
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_was_away_gets_the_revisions_that_it_lacks() {
    let server = Server::with_minutes(2_000).await;
    let series = minutes("coinbase", "BTC-USD");
    let known_ms = row(1_999).known_ms;
    let revised = |position| history::BarRow {
        rev: 1,
        known_ms: known_ms + 5_000,
        ..row(position)
    };
    let batch = vec![(series, vec![revised(3), revised(1_500)])];
    let stored = server.history.append_bars(batch, None).await;
    stored.expect("stored");
    for (width, expected) in [("1m", [3, 1_500]), ("5m", [0, 1_500])] {
        let topic = format!("kline:{width}:BTC-USD");
        let mut question = topic_question(&topic, HistoryOrder::Asc);
        question["known_after_ms"] = json!(known_ms);
        let mut found = Vec::new();
        loop {
            let page = ask(&server, question.clone()).await.expect("a page");
            for bar in &page.bars {
                let bar: Value = serde_json::from_str(bar.get()).expect("JSON");
                assert_eq!(bar["rev"], 1);
                found.push((bar["start_ms"].as_i64().expect("a start") - START_MS) / 60_000);
            }
            let Some(next) = page.next else {
                break;
            };
            question["cursor"] = json!(next);
        }
        assert_eq!(found, expected, "{width}");
    }
    server.stop().await;
}
