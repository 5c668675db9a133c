//! The OpenAPI document and docs/history-api.md say what the server answers.

use std::collections::BTreeSet;

use serde_json::Value;
use testkit::json_schema;

use crate::server::{Server, minutes, row};
use market_core::BarState;

const PAGE: &str = include_str!("../../../docs/history-api.md");

#[tokio::test]
async fn answers_are_as_the_openapi_document_says() {
    let server = Server::with_minutes(100).await;
    let series = minutes("coinbase", "BTC-USD");
    server.publish(&series, &row(100), BarState::Forming).await;
    let document = server.get("/api/v1/openapi.json").await;
    let mut checked = BTreeSet::new();
    for (path, query) in [
        ("/api/v1/bars", "symbol=BTC-USD&limit=5&forming=true"),
        (
            "/api/v1/bars",
            "symbol=BTC-USD&width=7m&order=asc&fill=none",
        ),
        ("/api/v1/bars", "symbol=BTC-USD&from=2030-01-01"),
        ("/api/v1/bars", "symbol=BTC-USD&width=no"),
        ("/api/v1/bars", "symbol=NO-USD"),
        ("/api/v1/trades", "symbol=BTC-USD"),
        ("/api/v1/symbols", ""),
        ("/api/v1/tick/{exchange}/{symbol}", ""),
        ("/api/v1/completeness", "symbol=BTC-USD&day=2024-02-28"),
        ("/api/v1/completeness", "symbol=BTC-USD"),
        ("/api/v1/status", ""),
    ] {
        let asked = path
            .replace("{exchange}", "coinbase")
            .replace("{symbol}", "BTC-USD");
        let response = server.answer(&format!("{asked}?{query}")).await;
        let status = response.status().as_u16().to_string();
        let body: Value = response.json().await.expect("JSON");
        let answers = &document["paths"][path]["get"]["responses"];
        let schema = &answers[&status]["content"]["application/json"]["schema"];
        let faults = json_schema::faults(&document, schema, &body);
        assert!(faults.is_empty(), "{path}?{query}: {status}: {faults:?}");
        checked.insert(path);
    }
    let paths = document["paths"].as_object().expect("paths");
    let unchecked: Vec<_> = paths
        .keys()
        .filter(|path| !checked.contains(path.as_str()))
        .collect();
    assert_eq!(unchecked, ["/api/v1/openapi.json"]);
    // Each documented parameter is known to the server, and each format.
    for (path, item) in paths {
        let parameters = item["get"]["parameters"].as_array();
        for parameter in parameters.into_iter().flatten() {
            if parameter["in"] != "query" {
                continue;
            }
            let name = parameter["name"].as_str().expect("a name");
            let asked = path
                .replace("{exchange}", "coinbase")
                .replace("{symbol}", "BTC-USD");
            let text = server
                .answer(&format!("{asked}?{name}="))
                .await
                .text()
                .await;
            let text = text.expect("text");
            assert!(!text.contains("unknown parameter"), "{path} {name}: {text}");
            for value in parameter["schema"]["enum"].as_array().into_iter().flatten() {
                let value = value.as_str().expect("text");
                let asked = format!("{asked}?symbol=BTC-USD&{name}={value}");
                assert_eq!(server.answer(&asked).await.status(), 200, "{asked}");
            }
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn the_samples_of_the_page_are_what_the_server_answers() {
    let server = Server::with_minutes(100).await;
    let host = "http://127.0.0.1:8090";
    let mut samples = 0;
    for block in PAGE.split("```sh\n").skip(1) {
        let (code, rest) = block.split_once("```").expect("the end of a sample");
        let command = code
            .lines()
            .find(|line| line.starts_with("curl "))
            .expect("curl");
        let address = command.split('\'').nth(1).expect("a quoted address");
        let path = address.strip_prefix(host).expect("our address");
        let response = server.answer(path).await;
        assert!(
            response.status().is_success(),
            "{path}: {}",
            response.status()
        );
        let text = response.text().await.expect("text");
        let shown = rest.trim_start();
        if let Some(shown) = shown.strip_prefix("```json\n") {
            let shown: Value =
                serde_json::from_str(shown.split("```").next().expect("an end")).expect(path);
            let told: Value = serde_json::from_str(&text).expect("JSON");
            assert_eq!(told, shown, "{path}");
        } else if let Some(shown) = shown.strip_prefix("```text\n") {
            assert_eq!(text, shown.split("```").next().expect("an end"), "{path}");
        }
        samples += 1;
    }
    assert!(samples >= 6, "{samples} samples");
    server.stop().await;
}
