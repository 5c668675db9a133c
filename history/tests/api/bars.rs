//! `/api/v1/bars`.

use history::read_bar;
use market_core::protocol::ResumeToken;
use market_core::{BarState, Topic, Width};
use serde_json::Value;
use testkit::wait::{holds, until};

use crate::server::{MINUTE_MS, START_MS, Server, minutes, positions, row};

#[tokio::test]
async fn bars_are_the_objects_of_the_socket_and_pages_join() {
    let server = Server::with_minutes(1_200).await;
    let series = minutes("coinbase", "BTC-USD");
    let mut found: Vec<i64> = Vec::new();
    let mut path = format!("/api/v1/bars?symbol=BTC-USD&width=1m&from={START_MS}&limit=500");
    loop {
        let response = server.answer(&path).await;
        let link = response.headers().get("link").cloned();
        let text = response.text().await.expect("text");
        let page: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(page["exchange"], "coinbase");
        for position in positions(&page) {
            let symbol = &series.instrument.symbol;
            let width = Width::from(series.timeframe);
            let topic = Topic::bars(width, symbol);
            let object = row(position).encode(&topic, "coinbase", symbol, width);
            let object = std::str::from_utf8(&object).expect("UTF-8");
            assert!(text.contains(object), "{object}");
            found.push(position);
        }
        let newest = row(*found.last().expect("bars"));
        let token = format!("k1.{}.{}", newest.start_ms + MINUTE_MS, newest.known_ms);
        assert_eq!(page["token"], token);
        // The header and the field say the same.
        let Some(link) = link else {
            assert!(page["next"].is_null());
            break;
        };
        let link = link.to_str().expect("text");
        assert!(
            link.contains(page["next"].as_str().expect("a cursor")),
            "{link}"
        );
        let end = link.find('>').expect("an address in brackets");
        link[1..end].clone_into(&mut path);
    }
    assert_eq!(found, (0..1_200).collect::<Vec<_>>());
    server.stop().await;
}

#[tokio::test]
async fn without_a_start_the_newest_bars_come_first() {
    let server = Server::with_minutes(100).await;
    let page = server.get("/api/v1/bars?symbol=BTC-USD&limit=3").await;
    assert_eq!(positions(&page), [99, 98, 97]);
    let page = server
        .get("/api/v1/bars?symbol=BTC-USD&exchange=coinbase&width=7m&limit=2")
        .await;
    let bar = &page["bars"][0];
    assert_eq!(bar["topic"], "kline:7m:BTC-USD");
    assert_eq!(bar["interval"], "7m");
    assert_eq!(bar["count"], 7);
    let span = bar["end_ms"].as_i64().expect("a time") - bar["start_ms"].as_i64().expect("a time");
    assert_eq!(span, 7 * MINUTE_MS);
    server.stop().await;
}

#[tokio::test]
async fn bars_that_are_not_stored_yet_and_the_forming_one_are_in_the_answer() {
    let server = Server::with_minutes(100).await;
    let series = minutes("coinbase", "BTC-USD");
    server.publish(&series, &row(100), BarState::Closed).await;
    server.publish(&series, &row(101), BarState::Forming).await;
    until("both bars", async || {
        let page = server
            .get("/api/v1/bars?symbol=BTC-USD&limit=2&forming=true")
            .await;
        let found = positions(&page);
        holds(found == [101, 100, 99], || format!("{found:?}"))
    })
    .await;
    let page = server
        .get("/api/v1/bars?symbol=BTC-USD&limit=1&forming=true&order=asc&from=2024-02-28T01:41:00Z")
        .await;
    assert_eq!(page["bars"][0]["state"], "forming");
    let page = server
        .get("/api/v1/bars?symbol=BTC-USD&limit=1&forming=true&width=1h")
        .await;
    let (forming, closed) = (&page["bars"][0], &page["bars"][1]);
    assert_eq!(forming["state"], "forming");
    // Minutes 60 to 101: the stored, the unstored and the forming ones.
    assert_eq!(forming["count"], 42);
    assert_eq!(forming["quality"], "complete");
    assert_eq!(closed["state"], "closed");
    // What was known before has no forming bar.
    let path = format!("/api/v1/bars?symbol=BTC-USD&limit=1&forming=true&as_of={START_MS}");
    assert_eq!(positions(&server.get(&path).await), [0i64; 0]);
    server.stop().await;
}

#[tokio::test]
async fn a_bar_whose_interval_is_over_is_told_until_it_closes() {
    let server = Server::with_minutes(99).await;
    let series = minutes("coinbase", "BTC-USD");
    // Late trades may still change minute 99, and minute 100 has begun.
    server.publish(&series, &row(99), BarState::Forming).await;
    server.publish(&series, &row(100), BarState::Forming).await;
    until("both bars", async || {
        let page = server
            .get("/api/v1/bars?symbol=BTC-USD&limit=1&forming=true")
            .await;
        let found = positions(&page);
        holds(found == [100, 99, 98], || format!("{found:?}"))
    })
    .await;
    // A bar of ten minutes ends with minute 99.
    let page = server
        .get("/api/v1/bars?symbol=BTC-USD&width=10m&from=2024-02-28T01:30:00Z&forming=true")
        .await;
    let bars = page["bars"].as_array().expect("bars");
    let told: Vec<_> = bars
        .iter()
        .map(|bar| (&bar["state"], &bar["count"]))
        .collect();
    let forming = Value::from("forming");
    assert_eq!(
        told,
        [(&forming, &Value::from(10)), (&forming, &Value::from(1))]
    );
    server.stop().await;
}

#[tokio::test]
async fn a_bar_behind_a_bar_that_nobody_has_seen_yet_waits_for_it() {
    let server = Server::with_minutes(0).await;
    let series = minutes("coinbase", "BTC-USD");
    // Minutes to come, so that none of them is an old hole while the test runs.
    let now_s = i64::try_from(testkit::mint::now_s()).expect("a time");
    let next = (now_s * 1_000 + 86_400_000 - START_MS) / MINUTE_MS;
    server.store(&series, next - 3..next).await;
    server
        .publish(&series, &row(next + 1), BarState::Forming)
        .await;
    let path = "/api/v1/bars?symbol=BTC-USD&limit=3&forming=true";
    until("the forming bar", async || {
        let newest = server.history.latest.of(&series);
        holds(newest.forming.is_some(), || format!("{newest:?}"))
    })
    .await;
    let found = positions(&server.get(path).await);
    assert_eq!(found, [next - 1, next - 2, next - 3]);
    // Its close comes.
    server.publish(&series, &row(next), BarState::Closed).await;
    until("both bars", async || {
        let found = positions(&server.get(path).await);
        holds(found == [next + 1, next, next - 1, next - 2], || {
            format!("{found:?}")
        })
    })
    .await;
    server.stop().await;
}

#[tokio::test]
async fn a_history_that_lags_sends_no_closed_bar_behind_a_hole() {
    let server = Server::with_minutes(100).await;
    let minute = minutes("coinbase", "BTC-USD");
    let latest = server.history.latest.clone();
    let has_come = async |position| {
        until("the bar of the bus", async || {
            let newest = latest.of(&minute).closed;
            let start_ms = row(position).start_ms;
            let is_it = |bar| read_bar(bar).expect("a bar").1.start_ms == start_ms;
            holds(newest.iter().any(|bar| is_it(bar)), || {
                format!("{newest:?}")
            })
        })
        .await;
    };
    // The bus retains one bar. The others come once history follows it.
    server.publish(&minute, &row(100), BarState::Closed).await;
    has_come(100).await;
    // The bus is ahead of the store, by more bars than are remembered.
    for position in 101..111 {
        server
            .publish(&minute, &row(position), BarState::Closed)
            .await;
    }
    has_come(110).await;
    let path = "/api/v1/bars?symbol=BTC-USD&limit=3";
    let page = server.get(path).await;
    assert_eq!(positions(&page), [99, 98, 97]);
    // A reader that goes on from here gets what is missing.
    let token: ResumeToken = page["token"]
        .as_str()
        .expect("a token")
        .parse()
        .expect("well formed");
    assert_eq!(token.end_ms(), row(100).start_ms);
    server.store(&minute, 100..105).await;
    assert_eq!(positions(&server.get(path).await), [110, 109, 108]);
    server.stop().await;
}

#[tokio::test]
async fn lines_and_tables_have_the_bars_of_the_json() {
    let server = Server::with_minutes(50).await;
    let json = server
        .get("/api/v1/bars?symbol=BTC-USD&limit=20&order=asc")
        .await;
    let bars = json["bars"].as_array().expect("bars");
    let client = reqwest::Client::new();
    let ask = async |accept: &str, path: &str| {
        let url = format!("http://{}{path}", server.address);
        let response = client.get(url).header("accept", accept).send();
        let response = response.await.expect("an answer");
        let media = response.headers()["content-type"].to_str().expect("text");
        (media.to_owned(), response.text().await.expect("text"))
    };
    let path = "/api/v1/bars?symbol=BTC-USD&limit=20&order=asc";
    let (media, lines) = ask("application/x-ndjson", path).await;
    assert_eq!(media, "application/x-ndjson");
    let lines: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(lines, *bars);

    let (media, table) = ask("*/*", &format!("{path}&format=csv")).await;
    assert!(media.starts_with("text/csv"), "{media}");
    let mut lines = table
        .lines()
        .map(|line| line.split(',').collect::<Vec<_>>());
    let head = lines.next().expect("a header");
    let mut count = 0;
    for (line, bar) in lines.zip(bars) {
        for (name, cell) in head.iter().zip(line) {
            let value = match &bar[name] {
                Value::String(text) => text.clone(),
                Value::Null => String::new(),
                other => other.to_string(),
            };
            assert_eq!(cell, value, "{name}");
        }
        count += 1;
    }
    assert_eq!(count, 20);
    server.stop().await;
}

#[tokio::test]
async fn a_range_that_is_over_is_sent_once() {
    let server = Server::with_minutes(600).await;
    let end_ms = START_MS + 300 * MINUTE_MS;
    let url = format!(
        "http://{}/api/v1/bars?symbol=BTC-USD&from={START_MS}&to={end_ms}",
        server.address
    );
    let client = reqwest::Client::new();
    let first = client.get(&url).send().await.expect("an answer");
    let cache = first.headers()["cache-control"].to_str().expect("text");
    assert_eq!(cache, "public, max-age=60");
    let tag = first.headers()["etag"].clone();
    let again = client.get(&url).header("if-none-match", tag.clone());
    let again = again.send().await.expect("an answer");
    assert_eq!(again.status(), 304);
    assert!(again.bytes().await.expect("no body").is_empty());
    // A revision is another answer.
    let revised = history::BarRow {
        rev: 1,
        known_ms: end_ms + 1,
        ..row(3)
    };
    let batch = vec![(minutes("coinbase", "BTC-USD"), vec![revised])];
    server
        .history
        .append_bars(batch, None)
        .await
        .expect("stored");
    let again = client.get(&url).header("if-none-match", tag);
    assert_eq!(again.send().await.expect("an answer").status(), 200);
    // What was known then does not change any more.
    let as_of = client.get(format!("{url}&as_of={end_ms}")).send().await;
    let as_of = as_of.expect("an answer");
    let cache = as_of.headers()["cache-control"].to_str().expect("text");
    assert!(cache.contains("immutable"), "{cache}");
    let page: Value = as_of.json().await.expect("JSON");
    assert_eq!(page["bars"][3]["rev"], 0);
    // The newest bars are asked for each time.
    let newest = server.answer("/api/v1/bars?symbol=BTC-USD").await;
    assert_eq!(newest.headers()["cache-control"], "no-cache");
    server.stop().await;
}

#[tokio::test]
async fn errors_have_a_code_and_say_what_to_write() {
    let server = Server::with_minutes(10).await;
    server.store(&minutes("okx", "OKX:ETH-USDT"), 0..10).await;
    server
        .store(&minutes("binance", "BINANCE:ETH-USDT"), 0..10)
        .await;
    for (query, status, code, hint) in [
        ("", 400, "bad_symbol", "symbol=BTC-USD"),
        ("symbol=btcusd", 400, "bad_symbol", "BASE-QUOTE"),
        ("symbol=XRP-USD", 404, "unknown_symbol", "/api/v1/symbols"),
        ("symbol=BTC-USD&exchange=okx", 404, "unknown_symbol", "okx"),
        ("symbol=ETH-USDT", 400, "ambiguous_symbol", "binance, okx"),
        ("symbol=BTC-USD&width=1y", 400, "bad_width", "7m"),
        ("symbol=BTC-USD&width=30s", 400, "bad_width", "1m"),
        ("symbol=BTC-USD&width=12M", 400, "bad_width", "narrower"),
        ("symbol=BTC-USD&from=yesterday", 400, "bad_time", "RFC 3339"),
        (
            "symbol=BTC-USD&to=1709078400",
            400,
            "bad_time",
            "1709078400000",
        ),
        ("symbol=BTC-USD&limit=5001", 400, "bad_limit", "5000"),
        ("symbol=BTC-USD&order=up", 400, "bad_order", "asc"),
        ("symbol=BTC-USD&fill=zero", 400, "bad_fill", "none"),
        ("symbol=BTC-USD&cursor=x", 400, "bad_cursor", "next"),
        ("symbol=BTC-USD&format=xml", 400, "bad_format", "csv"),
        ("symbol=BTC-USD&widht=1m", 400, "bad_parameter", "width"),
        ("symbol=%ff", 400, "bad_symbol", "BASE-QUOTE"),
    ] {
        let response = server.answer(&format!("/api/v1/bars?{query}")).await;
        assert_eq!(response.status(), status, "{query}");
        assert_eq!(response.headers()["content-type"], "application/json");
        let body: Value = response.json().await.expect("JSON");
        assert_eq!(body["error"]["code"], code, "{query}: {body}");
        let message = body["error"]["message"].as_str().expect("text");
        assert!(message.contains(hint), "{query}: {message}");
    }
    for (path, hint) in [
        ("/api/v1/candles", "openapi.json"),
        ("/api/v3/klines?symbol=BTCUSD", "/binance/api/v3/klines"),
    ] {
        let response = server.answer(path).await;
        assert_eq!(response.status(), 404);
        let body: Value = response.json().await.expect("JSON");
        let message = body["error"]["message"].as_str().expect("text");
        assert!(message.contains(hint), "{path}: {message}");
    }
    server.stop().await;
}
