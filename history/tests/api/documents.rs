//! The OpenAPI document and docs/history-api.md say what the server answers.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::server::{Server, minutes, row};
use market_core::BarState;

const PAGE: &str = include_str!("../../../docs/history-api.md");

/// Whether a value is as a schema says. It knows the words that the document uses, and refuses
/// others.
pub(crate) fn check(document: &Value, schema: &Value, value: &Value, place: &str) {
    let words = schema.as_object().expect("a schema");
    if let Some(name) = words.get("$ref") {
        let path = name.as_str().and_then(|name| name.strip_prefix('#'));
        let target = document.pointer(path.expect("a path"));
        return check(document, target.expect("a schema"), value, place);
    }
    for (word, wanted) in words {
        let is_right = match word.as_str() {
            "description" | "default" | "format" => true,
            "type" => {
                let is_of = |name: &Value| match name.as_str().expect("a name") {
                    "string" => value.is_string(),
                    "integer" => value.is_i64() || value.is_u64(),
                    "boolean" => value.is_boolean(),
                    "array" => value.is_array(),
                    "object" => value.is_object(),
                    "null" => value.is_null(),
                    other => panic!("{place}: unknown type {other}"),
                };
                match wanted {
                    Value::Array(names) => names.iter().any(is_of),
                    name => is_of(name),
                }
            }
            "enum" => wanted.as_array().expect("values").contains(value),
            "pattern" => value
                .as_str()
                .is_none_or(|text| fits(wanted.as_str().expect("a pattern"), text)),
            "required" => {
                let names = wanted.as_array().expect("names");
                names
                    .iter()
                    .all(|name| value.get(name.as_str().expect("a name")).is_some())
            }
            "properties" => {
                for (name, schema) in wanted.as_object().expect("properties") {
                    if let Some(value) = value.get(name) {
                        check(document, schema, value, &format!("{place}.{name}"));
                    }
                }
                true
            }
            "additionalProperties" => {
                assert_eq!(wanted, false);
                let known = schema["properties"].as_object().expect("properties");
                let mut names = value.as_object().expect("an object").keys();
                names.all(|name| known.contains_key(name))
            }
            "items" => {
                for (index, item) in value.as_array().expect("a list").iter().enumerate() {
                    check(document, wanted, item, &format!("{place}[{index}]"));
                }
                true
            }
            other => panic!("{place}: unknown word {other}"),
        };
        assert!(is_right, "{place}: {word} {wanted}: {value}");
    }
}

/// The few patterns of the document.
fn fits(pattern: &str, text: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match pattern {
        r"^[0-9]+(\.[0-9]+)?$" => match text.split_once('.') {
            Some((whole, places)) => digits(whole) && digits(places),
            None => digits(text),
        },
        r"^k1\.[0-9]+\.[0-9]+$" => {
            let parts: Vec<&str> = text.split('.').collect();
            matches!(parts[..], ["k1", end, known] if digits(end) && digits(known))
        }
        "^[1-9][0-9]{0,3}[smhdwM]$" => text.parse::<history::Width>().is_ok(),
        "^[0-9a-f]{8}$" => text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_hexdigit()),
        other => panic!("unknown pattern {other}"),
    }
}

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
        check(
            &document,
            schema,
            &body,
            &format!("{path}?{query}: {status}"),
        );
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
