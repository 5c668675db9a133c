//! Tokens: what they permit over HTTP, and what clients without one are told.

use std::process::Command;

use auth::{AuthMode, TokenConfig};
use history::Config;
use history::store::TradeStore;
use market_core::channel::TRADE;
use market_core::{AggressorSide, Price, Quantity, Trade};
use reqwest::{Client, Response};
use serde_json::{Value, json};
use testkit::json_schema;
use testkit::mint::{Issuer, KeyFile, key_set, now_s};
use testkit::process::Process;
use testkit::wait::{holds, until};

use crate::server::{START_MS, Server, minutes};

mod secrecy;

/// A history that checks tokens, with minutes and trades of BTC-USD and OKX:BTC-USDT.
struct World {
    server: Server,
    issuer: Issuer,
    jwks: KeyFile,
    http: Client,
}

impl World {
    async fn start(change: impl FnOnce(&mut Config)) -> Self {
        let issuer = Issuer::eddsa("first");
        let jwks = KeyFile::new(key_set(&[&issuer]));
        let mut config = Config {
            tokens: TokenConfig {
                auth_mode: AuthMode::Required,
                auth_jwks_file: jwks.path(),
                auth_cookie: Some("sid".to_owned()),
                auth_keys_check_ms: 20,
                ..TokenConfig::default()
            },
            ..Config::default()
        };
        change(&mut config);
        let server = Server::with(config).await;
        for (exchange, symbol) in [("coinbase", "BTC-USD"), ("okx", "OKX:BTC-USDT")] {
            let series = minutes(exchange, symbol);
            server.store(&series, 0..100).await;
            let trade = Trade {
                first_id: 1,
                last_id: 1,
                event_ms: START_MS,
                price: Price::parse("61837.63").expect("a price"),
                quantity: Quantity::parse("0.02").expect("a quantity"),
                aggressor_side: AggressorSide::Buy,
                received_us: START_MS * 1_000,
            };
            let (store, batch) = (
                server.history.store.clone(),
                vec![(series.instrument, vec![trade])],
            );
            let stored = tokio::task::spawn_blocking(move || {
                TradeStore::append_trades(&*store, &batch, None)
            });
            stored.await.expect("no panic").expect("stored");
        }
        Self {
            server,
            issuer,
            jwks,
            http: Client::new(),
        }
    }

    async fn ask(&self, path: &str, headers: &[(&str, String)]) -> Response {
        let url = format!("http://{}{path}", self.server.address);
        let mut request = self.http.get(url);
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        request.send().await.expect("an answer")
    }

    async fn with_token(&self, path: &str, token: &str) -> (u16, Value) {
        let answer = self.ask(path, &[bearer(token)]).await;
        let status = answer.status().as_u16();
        (status, answer.json().await.expect("JSON"))
    }
}

fn bearer(token: &str) -> (&'static str, String) {
    ("authorization", format!("Bearer {token}"))
}

const BARS: &str = "/api/v1/bars?symbol=BTC-USD&limit=2";

#[tokio::test]
async fn a_client_without_a_good_token_is_told_what_to_send() {
    let world = World::start(|_| {}).await;
    let other = Issuer::eddsa("first").permit(&["kline:>"], 100);
    let old = world.issuer.token(&json!({"exp": 1}));
    for path in [
        BARS,
        "/api/v1/trades?symbol=BTC-USD",
        "/api/v1/symbols",
        "/api/v1/tick/coinbase/BTC-USD",
        "/api/v1/completeness?symbol=BTC-USD&day=2024-02-28",
        "/api/v1/status",
        "/api/v1/no-such-route",
        "/udf/config",
        "/udf/history?symbol=BTC-USD&resolution=1&countback=2&to=1709078520",
        "/udf/quotes?symbols=BTC-USD",
    ] {
        for (headers, code, word) in [
            (vec![], "token_required", "Authorization: Bearer"),
            (vec![bearer(&other)], "invalid_token", "signature"),
            (vec![bearer(&old)], "invalid_token", "expired"),
            (vec![bearer("x")], "invalid_token", "JWT"),
        ] {
            let answer = world.ask(path, &headers).await;
            assert_eq!(answer.status(), 401, "{path}");
            assert_eq!(answer.headers()["access-control-allow-origin"], "*");
            let challenge = answer.headers()["www-authenticate"].to_str();
            assert!(challenge.expect("text").starts_with("Bearer "));
            let body: Value = answer.json().await.expect("JSON");
            let message = if path.starts_with("/udf/") {
                assert_eq!(body["s"], "error");
                body["errmsg"].clone()
            } else {
                assert_eq!(body["error"]["code"], code);
                body["error"]["message"].clone()
            };
            let message = message.as_str().expect("a text");
            assert!(message.contains(word), "{path}: {message}");
        }
    }
    let open = world.ask("/api/v1/openapi.json", &[]).await;
    assert_eq!(open.status(), 200);
    world.server.stop().await;
}

#[tokio::test]
async fn a_token_is_taken_from_header_query_or_cookie() {
    let world = World::start(|_| {}).await;
    let token = world.issuer.permit(&["kline:1m:*"], 100);
    let in_query = format!("{BARS}&token={token}");
    for (path, headers) in [
        (BARS, vec![bearer(&token)]),
        (in_query.as_str(), vec![]),
        (BARS, vec![("cookie", format!("a=b; sid={token}"))]),
    ] {
        let answer = world.ask(path, &headers).await;
        assert_eq!(answer.status(), 200, "{path}");
        // Of clients with other tokens no cache may give it away, and no address has the token.
        let kept = answer.headers()["cache-control"].to_str().expect("text");
        assert!(!kept.contains("public"), "{kept}");
        let next = answer.headers()["link"].to_str().expect("text");
        assert!(
            next.contains("cursor=") && !next.contains("token="),
            "{next}"
        );
    }
    let closed = "/api/v1/bars?symbol=BTC-USD&to=2024-02-28T00:05:00Z";
    let answer = world.ask(closed, &[bearer(&token)]).await;
    assert_eq!(answer.headers()["cache-control"], "private, max-age=60");
    let two = world.ask(&in_query, &[bearer(&token)]).await;
    assert_eq!(two.status(), 401);
    world.server.stop().await;
}

#[tokio::test]
async fn a_token_permits_the_bars_and_trades_that_it_names_and_no_others() {
    let world = World::start(|_| {}).await;
    let token = world.issuer.permit(&["kline:1m:BTC-USD"], 100);
    let day = "day=2024-02-28";
    for (path, expected) in [
        (BARS.to_owned(), 200),
        ("/api/v1/bars?symbol=BTC-USD&width=7m".to_owned(), 403),
        ("/api/v1/bars?symbol=OKX:BTC-USDT".to_owned(), 403),
        ("/api/v1/bars?symbol=BTC-USDT&exchange=okx".to_owned(), 403),
        ("/api/v1/bars?symbol=NO-USD".to_owned(), 404),
        ("/api/v1/trades?symbol=BTC-USD".to_owned(), 403),
        ("/api/v1/tick/coinbase/BTC-USD".to_owned(), 200),
        ("/api/v1/tick/okx/BTC-USDT".to_owned(), 403),
        (format!("/api/v1/completeness?symbol=BTC-USD&{day}"), 200),
        (format!("/api/v1/completeness?symbol=BTC-USDT&{day}"), 403),
        (
            format!("/api/v1/completeness?symbol=BTC-USD&width=1h&{day}"),
            403,
        ),
        ("/api/v1/status".to_owned(), 200),
        (
            "/udf/history?symbol=BTC-USD&resolution=1&countback=2".to_owned(),
            200,
        ),
        (
            "/udf/history?symbol=BTC-USD&resolution=5&countback=2".to_owned(),
            403,
        ),
        (
            "/udf/history?symbol=OKX:BTCUSDT&resolution=1".to_owned(),
            403,
        ),
        ("/udf/symbols?symbol=BTC-USD".to_owned(), 200),
        ("/udf/symbols?symbol=OKX:BTCUSDT".to_owned(), 403),
    ] {
        let (status, body) = world.with_token(&path, &token).await;
        assert_eq!(status, expected, "{path}: {body}");
        if status == 403 && path.starts_with("/api/") {
            assert_eq!(body["error"]["code"], "forbidden");
            let message = body["error"]["message"].as_str().expect("a text");
            assert!(
                message.ends_with("the token permits kline:1m:BTC-USD"),
                "{message}"
            );
        }
    }
    let (_, symbols) = world.with_token("/api/v1/symbols", &token).await;
    let names: Vec<_> = symbols["symbols"]
        .as_array()
        .expect("a list")
        .iter()
        .collect();
    assert_eq!(names.len(), 1, "{symbols}");
    assert_eq!(names[0]["topic_symbol"], "BTC-USD");
    let (_, found) = world.with_token("/udf/search?query=btc", &token).await;
    assert_eq!(found.as_array().map(Vec::len), Some(1), "{found}");
    let (_, symbol) = world
        .with_token("/udf/symbols?symbol=BTC-USD", &token)
        .await;
    assert_eq!(symbol["supported_resolutions"], json!(["1"]), "{symbol}");
    let (_, quotes) = world
        .with_token("/udf/quotes?symbols=COINBASE:BTC-USD,OKX:BTC-USDT", &token)
        .await;
    assert_eq!(quotes["d"][0]["s"], "ok", "{quotes}");
    assert_eq!(quotes["d"][1]["s"], "error", "{quotes}");

    let trades = format!("{}:BTC-USD", TRADE.root);
    let token = world.issuer.permit(&[&trades], 100);
    for (path, expected) in [
        ("/api/v1/trades?symbol=BTC-USD", 200),
        ("/api/v1/trades?symbol=BTC-USDT", 403),
        (BARS, 403),
    ] {
        let (status, body) = world.with_token(path, &token).await;
        assert_eq!(status, expected, "{path}: {body}");
    }
    // A plain symbol has a second name with its venue, as at gateways.
    let token = world.issuer.permit(&["kline:1m:COINBASE:*"], 100);
    assert_eq!(world.with_token(BARS, &token).await.0, 200);
    // Without the claim, a token permits nothing.
    let token = world.issuer.token(&json!({"exp": now_s() + 100}));
    assert_eq!(world.with_token(BARS, &token).await.0, 403);
    world.server.stop().await;
}

#[tokio::test]
async fn clients_of_binance_send_their_token_as_api_key() {
    let world = World::start(|_| {}).await;
    let token = world.issuer.permit(&["kline:1m:BTC-USD"], 100);
    let key = |token: &str| vec![("x-mbx-apikey", token.to_owned())];
    let klines = "/binance/api/v3/klines?symbol=BTCUSD&limit=2&interval";
    let minute = format!("{klines}=1m");
    let in_query = format!("{minute}&token={token}");
    for (path, headers, expected, code) in [
        ("/binance/api/v3/ping", vec![], 200, None),
        ("/binance/api/v3/time", vec![], 200, None),
        ("/binance/api/v3/exchangeInfo", vec![], 401, Some(-1002)),
        (&minute, vec![], 401, Some(-1002)),
        (
            &minute,
            key("vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2zvsw0MuIgwCIPy6utIco14y7Ju91duEh8A"),
            401,
            Some(-2015),
        ),
        (&minute, key(&token), 200, None),
        (&minute, vec![bearer(&token)], 200, None),
        (&in_query, vec![], 200, None),
        // A real key beside a token that was added by hand.
        (&in_query, key("no token"), 200, None),
        (&format!("{klines}=5m"), key(&token), 403, Some(-2015)),
        (
            "/binance/api/v3/klines?symbol=OKX_BTCUSDT&interval=1m",
            key(&token),
            403,
            Some(-2015),
        ),
        (
            "/binance/api/v3/trades?symbol=BTCUSD",
            key(&token),
            403,
            Some(-2015),
        ),
        (
            "/binance/api/v3/ticker/price?symbol=BTCUSD",
            key(&token),
            200,
            None,
        ),
        (
            "/binance/api/v3/ticker/price?symbol=OKX_BTCUSDT",
            key(&token),
            403,
            Some(-2015),
        ),
        (
            "/binance/api/v3/ticker/24hr?symbols=[%22OKX_BTCUSDT%22]",
            key(&token),
            403,
            Some(-2015),
        ),
        (
            "/binance/api/v3/avgPrice?symbol=OKX_BTCUSDT",
            key(&token),
            403,
            Some(-2015),
        ),
        (
            "/binance/api/v3/exchangeInfo?symbol=OKX_BTCUSDT",
            key(&token),
            403,
            Some(-2015),
        ),
    ] {
        let answer = world.ask(path, &headers).await;
        let status = answer.status();
        let body: Value = answer.json().await.expect("JSON");
        assert_eq!(status, expected, "{path}: {body}");
        assert_eq!(
            body.get("code").and_then(Value::as_i64),
            code,
            "{path}: {body}"
        );
    }
    for (path, list) in [
        ("/binance/api/v3/exchangeInfo", "/symbols"),
        ("/binance/api/v3/ticker/price", ""),
        ("/binance/api/v3/ticker/24hr", ""),
        ("/binance/sapi/v1/asset/tradeFee", ""),
    ] {
        let answer = world.ask(path, &key(&token)).await;
        let body: Value = answer.json().await.expect("JSON");
        let listed = body
            .pointer(list)
            .and_then(Value::as_array)
            .expect("a list");
        assert_eq!(listed.len(), 1, "{path}: {body}");
        assert_eq!(listed[0]["symbol"], "BTCUSD", "{path}");
    }
    world.server.stop().await;
}

#[tokio::test]
async fn without_a_token_the_anonymous_topics_may_be_read_where_tokens_are_optional() {
    let world = World::start(|config| {
        config.tokens.auth_mode = AuthMode::Optional;
        config.tokens.auth_anonymous_topics = vec!["kline:1m:BTC-USD".parse().expect("a topic")];
    })
    .await;
    assert_eq!(world.ask(BARS, &[]).await.status(), 200);
    let other = "/api/v1/bars?symbol=BTC-USDT";
    assert_eq!(world.ask(other, &[]).await.status(), 403);
    let token = world.issuer.permit(&["kline:1m:OKX:*"], 100);
    assert_eq!(world.with_token(other, &token).await.0, 200);
    // A bad token is not as good as none.
    assert_eq!(world.with_token(BARS, "bad").await.0, 401);
    world.server.stop().await;
}

#[tokio::test]
async fn an_address_that_sends_many_bad_tokens_is_refused_without_a_check() {
    let world = World::start(|config| {
        config.tokens.auth_failures_per_ip = Some(2);
        config.api.history_trusted_proxy = vec!["127.0.0.1".parse().expect("a network")];
    })
    .await;
    let token = world.issuer.permit(&["kline:1m:*"], 100);
    let ask = async |address: &str, token: &str| {
        let headers = [bearer(token), ("x-forwarded-for", address.to_owned())];
        world.ask(BARS, &headers).await
    };
    let mut refused = None;
    for _ in 0..200 {
        let answer = ask("203.0.113.9", "bad").await;
        if answer.status() == 429 {
            refused = Some(answer);
            break;
        }
        assert_eq!(answer.status(), 401);
    }
    let refused = refused.expect("more failures than two and one a second");
    assert!(refused.headers().contains_key("retry-after"));
    let body: Value = refused.json().await.expect("JSON");
    assert_eq!(body["error"]["code"], "too_many_failures");
    assert_eq!(ask("203.0.113.10", &token).await.status(), 200);
    world.server.stop().await;
}

#[tokio::test]
async fn a_new_key_counts_without_a_restart() {
    let world = World::start(|_| {}).await;
    let second = Issuer::eddsa("second");
    let token = second.permit(&["kline:1m:*"], 100);
    assert_eq!(world.with_token(BARS, &token).await.0, 401);
    world.jwks.write(key_set(&[&second]));
    until("the new key", async || {
        let (status, body) = world.with_token(BARS, &token).await;
        holds(status == 200, || body.to_string())
    })
    .await;
    world.server.stop().await;
}
