//! The program on the memory bus: rules over HTTP, alerts on the bus and at a webhook, restarts.

use std::fs::File;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use alerts::Config;
use alerts::engine::ActiveRule;
use alerts::store::{Commit, Outlets, Place, Source, Store, StoredRule};
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use bus::{Bus, BusConfig, MemoryBus, Range, Start};
use bytes::Bytes;
use clap::Parser;
use market_core::Timeframe;
use market_core::clock::EPOCH_AHEAD_MAX_MS;
use market_core::wire::AlertMessage;
use ring::hmac;
use serde_json::{Value, json};
use service::Service;
use testkit::directory::Directory;
use testkit::program::fresh_http;
use testkit::wait::{DEADLINE, holds, until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    config: Config,
}

struct Running {
    address: SocketAddr,
    service: Service,
    ended: JoinHandle<Result<(), alerts::Error>>,
    http: reqwest::Client,
}

fn config(folder: &Directory, flags: &[&str]) -> Config {
    let directory = folder.path().to_str().expect("UTF-8");
    let arguments = ["alerts", "--data-dir", directory, "--alerts-poll-ms", "5"];
    Flags::parse_from(arguments.iter().chain(flags)).config
}

impl Running {
    async fn start(bus: &Arc<dyn Bus>, folder: &Directory, flags: &[&str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("it is bound");
        let service = Service::for_test();
        let run = alerts::run(
            config(folder, flags),
            Arc::clone(bus),
            listener,
            service.clone(),
        );
        let ended = tokio::spawn(run);
        let running = Self {
            address,
            service,
            ended,
            http: fresh_http(),
        };
        until("it is ready", async || {
            holds(running.service.readiness.is_ready(), || {
                format!(
                    "{:?}, ended: {}",
                    running.service.readiness.unmet(),
                    running.ended.is_finished()
                )
            })
        })
        .await;
        running
    }

    async fn stop(self) {
        self.service.shutdown.trigger();
        self.ended.await.expect("no panic").expect("it drains");
    }

    /// Without any warning. A transaction that has begun still ends, as in a process that is killed.
    async fn kill(self, folder: &Directory) {
        self.ended.abort();
        let _ = self.ended.await;
        until("no part of it has the store", async || {
            let lock = File::open(folder.path().join("lock")).map_err(|error| error.to_string())?;
            lock.try_lock().map_err(|error| error.to_string())
        })
        .await;
    }

    async fn ask(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let method = method.parse().expect("a method");
        let url = format!("http://{}/api/v1/{path}", self.address);
        let mut request = self.http.request(method, url);
        if let Some(body) = body {
            request = request
                .header("Content-Type", "application/json")
                .body(body.to_string());
        }
        let answer = request.send().await.expect("an answer");
        let status = answer.status().as_u16();
        let text = answer.text().await.expect("a body");
        (status, serde_json::from_str(&text).expect("JSON"))
    }
}

fn memory() -> Arc<dyn Bus> {
    Arc::new(MemoryBus::new(&BusConfig::default(), &service::streams()).expect("a bus"))
}

async fn publish(bus: &Arc<dyn Bus>, second: i64, price: &str) {
    publish_wide(bus, "1s", 1_700_000_000_000 + second * 1_000, price).await;
}

async fn publish_wide(bus: &Arc<dyn Bus>, interval: &str, start_ms: i64, price: &str) {
    let timeframe: Timeframe = interval.parse().expect("a timeframe");
    let bar = json!({
        "exchange": "binance", "symbol": "BTC-USDT", "interval": interval,
        "start_ms": start_ms, "end_ms": timeframe.end_of(start_ms),
        "open": price, "high": price, "low": price, "close": price,
        "volume": "1", "quote_volume": null, "taker_buy_volume": null,
        "taker_buy_quote_volume": null, "count": 1,
        "state": "closed", "rev": 0, "quality": "complete",
    });
    let subject = format!("journal.{interval}.BTC-USDT");
    let published = bus.publish_durable(&subject, bar.to_string().into()).await;
    published.expect("the journal takes it");
}

async fn alerts_on(bus: &Arc<dyn Bus>, pattern: &str) -> Vec<AlertMessage> {
    let range = Range::new(pattern, Start::Oldest, 1_000);
    let page = bus.streams().range(&range).await.expect("a page");
    let read = |payload: &Bytes| AlertMessage::read(payload).expect("an alert");
    page.messages
        .iter()
        .map(|message| read(&message.payload))
        .collect()
}

fn five_percent(name: &str) -> Value {
    json!({
        "name": name, "symbols": ["BTC-USDT"], "cooldown_s": 0,
        "when": { "type": "move", "percent": "5", "window_s": 60 },
    })
}

#[tokio::test]
async fn rules_are_made_changed_and_removed_over_http_and_are_there_after_a_restart() {
    let (bus, folder) = (memory(), Directory::named("alerts-rules"));
    let file = folder.path().join("rules.json");
    let of_file = json!({"rules": [five_percent("of-file")]});
    std::fs::write(&file, of_file.to_string()).expect("it is written");
    let flags = [
        "--rules-file",
        file.to_str().expect("UTF-8"),
        "--alerts-rules-max",
        "2",
    ];
    let program = Running::start(&bus, &folder, &flags).await;
    let (status, made) = program.ask("POST", "rules", Some(five_percent("a"))).await;
    assert_eq!((status, &made["source"]), (201, &json!("http")), "{made}");
    for (method, path, body, status, code) in [
        ("POST", "rules", Some(five_percent("a")), 409, "rule_exists"),
        (
            "POST",
            "rules",
            Some(five_percent("b")),
            409,
            "too_many_rules",
        ),
        ("POST", "rules", Some(json!({"name": "b"})), 400, "bad_rule"),
        (
            "PUT",
            "rules/b",
            Some(five_percent("b")),
            404,
            "unknown_rule",
        ),
        ("PUT", "rules/a", Some(five_percent("b")), 400, "bad_rule"),
        (
            "PUT",
            "rules/of-file",
            Some(five_percent("of-file")),
            409,
            "rule_of_file",
        ),
        ("DELETE", "rules/of-file", None, 409, "rule_of_file"),
        ("DELETE", "rules/b", None, 404, "unknown_rule"),
        ("GET", "rules/B", None, 400, "bad_name"),
        ("PATCH", "rules/a", None, 405, "wrong_method"),
        ("GET", "nothing", None, 404, "unknown_route"),
        ("GET", "alerts?limit=0", None, 400, "bad_query"),
        ("POST", "rules", None, 415, "wrong_type"),
    ] {
        let (got, answer) = program.ask(method, path, body).await;
        let expected = (status, json!(code));
        assert_eq!(
            (got, answer["error"]["code"].clone()),
            expected,
            "{method} {path}: {answer}"
        );
    }
    let mut changed = five_percent("a");
    changed["when"]["percent"] = json!("7");
    let (status, answer) = program.ask("PUT", "rules/a", Some(changed)).await;
    assert_eq!(status, 200);
    assert!(
        answer["epoch"].as_u64() > made["epoch"].as_u64(),
        "{answer}"
    );
    program.kill(&folder).await;
    let program = Running::start(&bus, &folder, &flags).await;
    let (_, list) = program.ask("GET", "rules", None).await;
    assert_eq!(list["rules"].as_array().map(Vec::len), Some(2), "{list}");
    assert_eq!(
        list["rules"][0], answer,
        "the stored rule is the changed one"
    );
    let (status, _) = program.ask("DELETE", "rules/a", None).await;
    assert_eq!(status, 200);
    program.stop().await;
    let program = Running::start(&bus, &folder, &[]).await;
    let (_, list) = program.ask("GET", "rules", None).await;
    assert_eq!(
        list["rules"],
        json!([]),
        "a rule that the file has no longer is gone"
    );
    program.stop().await;
}

#[tokio::test]
async fn requests_need_the_token_and_pages_of_other_sites_are_refused() {
    let (bus, folder) = (memory(), Directory::named("alerts-token"));
    let program = Running::start(&bus, &folder, &[]).await;
    let url = format!("http://{}/api/v1/rules", program.address);
    let site = program
        .http
        .get(&url)
        .header("Origin", "http://evil.example");
    assert_eq!(site.send().await.expect("an answer").status(), 403);
    let name = program.http.get(&url).header("Host", "evil.example");
    assert_eq!(name.send().await.expect("an answer").status(), 403);
    program.stop().await;
    let file = folder.path().join("token");
    std::fs::write(&file, "0123456789abcdef\n").expect("it is written");
    let flags = ["--token-file", file.to_str().expect("UTF-8")];
    let program = Running::start(&bus, &folder, &flags).await;
    let url = format!("http://{}/api/v1/rules", program.address);
    for (token, status) in [
        ("0123456789abcdef", 200),
        ("0123456789abcdeF", 401),
        ("", 401),
    ] {
        let request = program
            .http
            .get(&url)
            .header("Authorization", format!("Bearer {token}"));
        assert_eq!(
            request.send().await.expect("an answer").status(),
            status,
            "{token}"
        );
    }
    program.stop().await;
}

#[tokio::test]
async fn a_token_is_made_once_and_is_for_its_user_only() {
    let (bus, folder) = (memory(), Directory::named("alerts-token-made"));
    let file = folder.path().join("token");
    let flags = [
        "--token-file",
        file.to_str().expect("UTF-8"),
        "--token-make",
    ];
    let mut tokens = Vec::new();
    for _ in 0..2 {
        let program = Running::start(&bus, &folder, &flags).await;
        let token = std::fs::read_to_string(&file).expect("it is made");
        let url = format!("http://{}/api/v1/rules", program.address);
        for (token, status) in [(token.trim(), 200), ("0123456789abcdef", 401)] {
            let request = program.http.get(&url).bearer_auth(token);
            assert_eq!(request.send().await.expect("an answer").status(), status);
        }
        program.stop().await;
        tokens.push(token);
    }
    assert_eq!(tokens[0], tokens[1], "a second start keeps it");
    assert_eq!(tokens[0].trim().len(), 64);
    let mode = std::fs::metadata(&file).expect("a file").permissions();
    assert_eq!(
        std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777,
        0o600
    );
    // Without the flag, a file that is missing is an error: its name may be misspelt.
    let missing = folder.path().join("other");
    let config = config(&folder, &["--token-file", missing.to_str().expect("UTF-8")]);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let error = alerts::run(config, bus, listener, Service::for_test()).await;
    let error = error.expect_err("no file").to_string();
    assert!(error.contains("--token-file"), "{error}");
}

/// What a webhook got.
type Got = Arc<Mutex<Vec<(String, AlertMessage)>>>;

/// How many requests came.
type Calls = Arc<Mutex<u32>>;

const SECRET: &str = "a-secret-of-the-test";

async fn take(
    State((got, calls)): State<(Got, Calls)>,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    let header = |name: &str| headers[name].to_str().expect("text").to_owned();
    let signed = [header("klinecast-timestamp").as_bytes(), b".", &body].concat();
    let signature = header("klinecast-signature");
    let tag = signature.strip_prefix("sha256=").expect("its kind");
    let digits = (0..tag.len()).step_by(2);
    let tag: Vec<u8> = digits
        .map(|at| u8::from_str_radix(&tag[at..at + 2], 16).expect("hex"))
        .collect();
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    hmac::verify(&key, &signed, &tag).expect("the signature is right");
    let mut calls = calls.lock().unwrap_or_else(PoisonError::into_inner);
    *calls += 1;
    if *calls % 2 == 1 {
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    let alert = AlertMessage::read(&body).expect("an alert");
    assert_eq!(header("klinecast-alert-id"), alert.id());
    let mut got = got.lock().unwrap_or_else(PoisonError::into_inner);
    got.push((header("klinecast-alert-id"), alert));
    StatusCode::OK
}

/// A receiver that checks signatures, and refuses each second request.
async fn receiver() -> (String, Got) {
    let got: Got = Arc::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("it is bound");
    let calls = Calls::default();
    let router = Router::new()
        .route("/hook", post(take))
        .with_state((Arc::clone(&got), calls));
    tokio::spawn(async move { axum::serve(listener, router).await });
    (format!("http://{address}/hook"), got)
}

/// A receiver that does not want the content of the first alert of a rule, and notes each request.
async fn fussy_receiver() -> (String, Arc<Mutex<Vec<u64>>>) {
    let seqs: Arc<Mutex<Vec<u64>>> = Arc::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("it is bound");
    let noted = Arc::clone(&seqs);
    let take = async move |body: Bytes| {
        let alert = AlertMessage::read(&body).expect("an alert");
        let mut noted = noted.lock().unwrap_or_else(PoisonError::into_inner);
        noted.push(alert.seq);
        match alert.seq {
            1 => StatusCode::UNPROCESSABLE_ENTITY,
            _ => StatusCode::OK,
        }
    };
    let router = Router::new().route("/hook", post(take));
    tokio::spawn(async move { axum::serve(listener, router).await });
    (format!("http://{address}/hook"), seqs)
}

#[tokio::test]
async fn an_alert_whose_content_a_webhook_refuses_does_not_hold_up_the_next_one() {
    let (bus, folder) = (memory(), Directory::named("alerts-fussy"));
    let (url, seqs) = fussy_receiver().await;
    let secret = folder.path().join("secret");
    std::fs::write(&secret, SECRET).expect("it is written");
    let flags = [
        "--webhook-age-seconds-max",
        "4294967295",
        "--webhook-url",
        &url,
        "--webhook-secret-file",
        secret.to_str().expect("UTF-8"),
    ];
    let program = Running::start(&bus, &folder, &flags).await;
    let (status, answer) = program.ask("POST", "rules", Some(five_percent("r"))).await;
    assert_eq!(status, 201, "{answer}");
    for second in [0, 200] {
        publish(&bus, second, "100").await;
        publish(&bus, second + 1, "105").await;
    }
    until("both were sent once", async || {
        let seqs = seqs.lock().unwrap_or_else(PoisonError::into_inner).clone();
        holds(seqs == [1, 2], || format!("{seqs:?}"))
    })
    .await;
    program.stop().await;
}

#[tokio::test]
async fn a_body_that_does_not_arrive_is_answered_and_rules_are_listed_though_it_waits() {
    let (bus, folder) = (memory(), Directory::named("alerts-slow"));
    let program = Running::start(&bus, &folder, &["--alerts-idle-ms", "3000"]).await;
    let mut slow = TcpStream::connect(program.address)
        .await
        .expect("it listens");
    let head = "POST /api/v1/rules HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{";
    slow.write_all(head.as_bytes()).await.expect("it reads");
    let (status, list) = program.ask("GET", "rules", None).await;
    assert_eq!((status, list), (200, json!({"rules": []})));
    let mut answer = String::new();
    let read = tokio::time::timeout(DEADLINE, slow.read_to_string(&mut answer)).await;
    read.expect("it answers").expect("and ends");
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.contains("too_slow"), "{answer}");
    program.stop().await;
}

#[tokio::test]
async fn rules_that_look_at_too_many_bars_of_a_symbol_are_refused() {
    let (bus, folder) = (memory(), Directory::named("alerts-work"));
    let flags = ["--alerts-symbol-bars-max", "100"];
    let program = Running::start(&bus, &folder, &flags).await;
    let of = |name: &str, symbols: &[&str], window_s: u32| {
        json!({
            "name": name, "symbols": symbols,
            "when": { "type": "move", "percent": "5", "window_s": window_s },
        })
    };
    for (method, path, rule, status, code) in [
        ("POST", "rules", of("a", &["A-B"], 60), 201, ""),
        ("POST", "rules", of("b", &["C-D"], 40), 201, ""),
        ("POST", "rules", of("c", &["*"], 40), 201, ""),
        ("POST", "rules", of("d", &["A-B"], 1), 409, "too_many_bars"),
        ("POST", "rules", of("d", &["*"], 1), 409, "too_many_bars"),
        ("POST", "rules", of("d", &["C-D"], 20), 201, ""),
        // In the place of its 60.
        (
            "PUT",
            "rules/a",
            of("a", &["A-B"], 61),
            409,
            "too_many_bars",
        ),
        ("PUT", "rules/a", of("a", &["A-B"], 50), 200, ""),
        ("POST", "rules", of("e", &["A-B"], 10), 201, ""),
    ] {
        let (got, answer) = program.ask(method, path, Some(rule.clone())).await;
        let answered = answer["error"]["code"].as_str().unwrap_or_default();
        assert_eq!((got, answered), (status, code), "{rule}: {answer}");
    }
    program.stop().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let fewer = config(&folder, &["--alerts-symbol-bars-max", "99"]);
    let run = alerts::run(fewer, bus, listener, Service::for_test());
    let error = run.await.expect_err("100 are too many").to_string();
    assert!(error.contains("--alerts-symbol-bars-max"), "{error}");
}

#[tokio::test]
async fn a_spread_on_the_bus_is_an_alert_before_any_bar_of_its_symbol() {
    let (bus, folder) = (memory(), Directory::named("alerts-spread"));
    let quote = |bid: &str, ask: &str| {
        let now_us = i64::try_from(now_ms()).expect("it fits") * 1_000;
        let quote = json!({
            "topic": "quote:BTC-USDT", "seq": 1, "epoch": 1, "exchange": "binance",
            "symbol": "BTC-USDT", "bid": bid, "bid_quantity": "1", "ask": ask,
            "ask_quantity": "1", "update_id": null, "event_ms": null,
            "received_us": now_us, "published_us": now_us,
        });
        bus.publish_durable("quote.BTC-USDT", quote.to_string().into())
    };
    // Retained before the rule is there.
    quote("20000", "20020").await.expect("the bus takes it");
    let program = Running::start(&bus, &folder, &["--alerts-symbols-max", "1"]).await;
    let rule = json!({
        "name": "wide", "symbols": ["*"], "cooldown_s": 0,
        "when": { "type": "spread", "points": "10", "for_s": 0 },
    });
    let (status, answer) = program.ask("POST", "rules", Some(rule)).await;
    assert_eq!(status, 201, "{answer}");
    let raised = async |expected: &[(&str, &str)]| {
        until("these alerts are on the bus", async || {
            let alerts = alerts_on(&bus, "alert.>").await;
            let got: Vec<(&str, &str)> = alerts
                .iter()
                .map(|alert| (alert.value.as_str(), alert.reference.as_str()))
                .collect();
            holds(got == expected, || format!("{got:?}"))
        })
        .await;
    };
    raised(&[("20020", "20000")]).await;
    assert_eq!(alerts_on(&bus, "alert.>").await[0].exchange, "binance");
    // It is told once, also after a restart.
    program.kill(&folder).await;
    let program = Running::start(&bus, &folder, &["--alerts-symbols-max", "1"]).await;
    raised(&[("20020", "20000")]).await;
    quote("20000", "20001").await.expect("the bus takes it");
    until("the rule is armed again", async || {
        quote("20000", "20001").await.expect("the bus takes it");
        publish(
            &bus,
            i64::try_from(now_ms() % 1_000_000).expect("it fits"),
            "20000",
        )
        .await;
        let other = rusqlite::Connection::open(folder.path().join("alerts.sqlite"));
        let armed = other.and_then(|store| {
            store.query_row("SELECT json FROM watch", [], |row| row.get::<_, String>(0))
        });
        let armed = armed.map_err(|error| error.to_string())?;
        let armed: Value = serde_json::from_str(&armed).map_err(|error| error.to_string())?;
        holds(armed["up"]["is_armed"] == true, || armed.to_string())
    })
    .await;
    quote("20000", "20040").await.expect("the bus takes it");
    raised(&[("20020", "20000"), ("20040", "20000")]).await;
    program.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_alert_is_on_the_bus_and_at_the_webhook_once_though_the_program_is_killed() {
    let (bus, folder) = (memory(), Directory::named("alerts-once"));
    let (url, got) = receiver().await;
    let secret = folder.path().join("secret");
    std::fs::write(&secret, SECRET).expect("it is written");
    let flags = [
        // Reading waits for the bus after each alert.
        "--alerts-unpublished-max",
        "1",
        // The bars are years old.
        "--webhook-age-seconds-max",
        "4294967295",
        "--webhook-url",
        &url,
        "--webhook-secret-file",
        secret.to_str().expect("UTF-8"),
    ];
    let mut program = Running::start(&bus, &folder, &flags).await;
    let (status, answer) = program
        .ask("POST", "rules", Some(five_percent("btc-5")))
        .await;
    assert_eq!(status, 201, "{answer}");
    // Up and down by ten percent, and killed in between, also while it reads and delivers.
    for round in 0..4_i64 {
        publish(&bus, round * 200, "100").await;
        publish(&bus, round * 200 + 1, "100").await;
        if round % 2 == 0 {
            program.kill(&folder).await;
            publish(&bus, round * 200 + 2, "110").await;
            program = Running::start(&bus, &folder, &flags).await;
        } else {
            publish(&bus, round * 200 + 2, "110").await;
            program.kill(&folder).await;
            program = Running::start(&bus, &folder, &flags).await;
        }
    }
    let expected: Vec<(u64, i64)> = (0..4)
        .map(|round: i64| {
            (
                round.unsigned_abs() + 1,
                1_700_000_000_000 + (round * 200 + 2) * 1_000,
            )
        })
        .collect();
    let numbers = |alerts: &[AlertMessage]| -> Vec<(u64, i64)> {
        alerts
            .iter()
            .map(|alert| (alert.seq, alert.start_ms))
            .collect()
    };
    until(
        "all alerts are at the webhook, in their order",
        async || {
            let got = got.lock().unwrap_or_else(PoisonError::into_inner);
            let got: Vec<AlertMessage> = got.iter().map(|(_, alert)| alert.clone()).collect();
            // A request whose answer was lost with the program is repeated under its id.
            let mut got = numbers(&got);
            got.dedup();
            holds(got == expected, || format!("{got:?}"))
        },
    )
    .await;
    until("all alerts are on the bus", async || {
        let on_bus = numbers(&alerts_on(&bus, "alert.>").await);
        holds(on_bus == expected, || format!("{on_bus:?}"))
    })
    .await;
    until(
        "the newest one is the status of its level and type",
        async || {
            let system = numbers(&alerts_on(&bus, "system.alert.>").await);
            holds(system == expected[3..], || format!("{system:?}"))
        },
    )
    .await;
    let (_, answer) = program.ask("GET", "alerts", None).await;
    assert_eq!(
        answer["alerts"].as_array().map(Vec::len),
        Some(4),
        "{answer}"
    );
    assert_eq!(answer["alerts"][0]["seq"], 4, "{answer}");
    program.stop().await;
    let on_bus = numbers(&alerts_on(&bus, "alert.>").await);
    assert_eq!(on_bus, expected);
}

/// This host's clock, unix ms.
fn now_ms() -> u64 {
    let since = std::time::UNIX_EPOCH.elapsed().expect("after 1970");
    u64::try_from(since.as_millis()).expect("it fits")
}

/// Later than the clock of this host, and not too late for gateways.
fn later() -> u64 {
    now_ms() + 12 * 3_600_000
}

#[tokio::test]
async fn a_rule_that_is_made_again_has_a_later_epoch_though_the_clock_was_put_back() {
    let (bus, folder) = (memory(), Directory::named("alerts-again"));
    let later = later();
    let store = Store::open(folder.path(), Outlets::default()).expect("a store");
    let rule = serde_json::from_value(five_percent("r")).expect("a rule");
    let stored = StoredRule {
        active: ActiveRule { rule, epoch: later },
        source: Source::Http,
    };
    let commit = Commit {
        rules_put: vec![stored],
        ..Commit::default()
    };
    store.commit(&commit).expect("it is stored");
    drop(store);
    let program = Running::start(&bus, &folder, &[]).await;
    let (status, removed) = program.ask("DELETE", "rules/r", None).await;
    assert_eq!((status, &removed["epoch"]), (200, &json!(later)));
    program.stop().await;
    let program = Running::start(&bus, &folder, &[]).await;
    let (status, made) = program.ask("POST", "rules", Some(five_percent("r"))).await;
    assert_eq!((status, &made["epoch"]), (201, &json!(later + 1)), "{made}");
    program.stop().await;
}

#[tokio::test]
async fn alerts_are_published_though_the_bus_has_later_epochs_of_their_rule() {
    let (bus, folder) = (memory(), Directory::named("alerts-behind"));
    let later = later();
    let symbol = "BTC-USDT".parse().expect("a symbol");
    // Another program, on a host whose clock was ahead.
    let known = AlertMessage {
        topic: AlertMessage::topic_of("r", &symbol),
        seq: 7,
        epoch: later,
        exchange: "binance".to_owned(),
        symbol,
        rule: "r".to_owned(),
        kind: "move".to_owned(),
        level: "warning".to_owned(),
        direction: "up".to_owned(),
        start_ms: 0,
        end_ms: 1_000,
        value: "105".to_owned(),
        reference: "100".to_owned(),
        raised_ms: 2_000,
    };
    let published = bus.publish_durable("alert.r.BTC-USDT", known.encode());
    published.await.expect("the bus takes it");
    let program = Running::start(&bus, &folder, &[]).await;
    let (status, _) = program.ask("POST", "rules", Some(five_percent("r"))).await;
    assert_eq!(status, 201);
    let on_bus = async |pattern: &str, expected: &[(u64, u64)]| {
        until("these alerts are on the bus", async || {
            let alerts = alerts_on(&bus, pattern).await;
            let got: Vec<(u64, u64)> = alerts
                .iter()
                .map(|alert| (alert.epoch, alert.seq))
                .collect();
            holds(got == expected, || format!("{got:?}"))
        })
        .await;
    };
    publish(&bus, 0, "100").await;
    publish(&bus, 1, "105").await;
    on_bus("alert.>", &[(later, 7), (later + 1, 1)]).await;
    on_bus("system.alert.>", &[(later + 1, 1)]).await;
    let (_, shown) = program.ask("GET", "rules/r", None).await;
    assert_eq!(shown["epoch"], json!(later + 1), "{shown}");
    // The rule goes on as it was, also after a restart.
    program.kill(&folder).await;
    let program = Running::start(&bus, &folder, &[]).await;
    publish(&bus, 100, "100").await;
    publish(&bus, 101, "105").await;
    on_bus("alert.>", &[(later, 7), (later + 1, 1), (later + 1, 2)]).await;
    program.stop().await;
}

#[tokio::test]
async fn an_epoch_that_gateways_would_refuse_is_not_believed_and_alerts_get_another_one() {
    let (bus, folder) = (memory(), Directory::named("alerts-century"));
    // A century ahead, in the store and on the bus.
    let far = 5_000_000_000_000;
    let store = Store::open(folder.path(), Outlets::default()).expect("a store");
    let rule = serde_json::from_value(five_percent("r")).expect("a rule");
    let stored = StoredRule {
        active: ActiveRule { rule, epoch: far },
        source: Source::Http,
    };
    let commit = Commit {
        rules_put: vec![stored],
        epoch_max: Some(far),
        ..Commit::default()
    };
    store.commit(&commit).expect("it is stored");
    drop(store);
    let program = Running::start(&bus, &folder, &[]).await;
    publish(&bus, 0, "100").await;
    publish(&bus, 1, "105").await;
    let published = async |count: usize| {
        until("the alerts are on the bus", async || {
            let alerts = alerts_on(&bus, "alert.>").await;
            holds(alerts.len() == count, || format!("{alerts:?}"))
        })
        .await;
        let alerts = alerts_on(&bus, "alert.>").await;
        let newest = alerts.last().expect("one").clone();
        let latest = now_ms() + EPOCH_AHEAD_MAX_MS;
        assert!(newest.epoch <= latest, "{newest:?}");
        newest
    };
    let first = published(1).await;
    let (_, shown) = program.ask("GET", "rules/r", None).await;
    assert_eq!(shown["epoch"], json!(first.epoch), "{shown}");
    program.stop().await;
    // An alert of no program like this one.
    let forged = AlertMessage {
        epoch: far,
        seq: 7,
        ..first.clone()
    };
    let stored = bus.publish_durable("alert.r.BTC-USDT", forged.encode());
    stored.await.expect("the bus takes it");
    let program = Running::start(&bus, &folder, &[]).await;
    publish(&bus, 100, "100").await;
    publish(&bus, 101, "105").await;
    let second = published(3).await;
    assert_eq!((second.epoch, second.seq), (first.epoch, 2));
    program.stop().await;
}

#[tokio::test]
async fn rules_that_do_not_fit_the_width_of_bars_are_refused_and_another_width_begins_them_anew() {
    let (bus, folder) = (memory(), Directory::named("alerts-width"));
    let of = |when: Value| json!({"name": "r", "symbols": ["*"], "cooldown_s": 0, "when": when});
    let program = Running::start(&bus, &folder, &[]).await;
    let five = |window_s: u32| of(json!({"type": "move", "percent": "5", "window_s": window_s}));
    let (status, _) = program.ask("POST", "rules", Some(five(90))).await;
    assert_eq!(status, 201);
    program.stop().await;
    let minutes = ["--alerts-timeframe", "1m"];
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let run = alerts::run(
        config(&folder, &minutes),
        Arc::clone(&bus),
        listener,
        Service::for_test(),
    );
    let error = run.await.expect_err("90 s are no minutes").to_string();
    assert!(error.contains("window_s is a multiple of 60"), "{error}");
    let program = Running::start(&bus, &folder, &[]).await;
    let (status, made) = program.ask("PUT", "rules/r", Some(five(120))).await;
    assert_eq!(status, 200);
    // The second before a minute.
    publish_wide(&bus, "1s", 1_700_000_039_000, "100").await;
    program.stop().await;
    let program = Running::start(&bus, &folder, &minutes).await;
    let (_, shown) = program.ask("GET", "rules/r", None).await;
    assert!(shown["epoch"].as_u64() > made["epoch"].as_u64(), "{shown}");
    for (when, reason) in [
        (
            json!({"type": "volume", "times": "3", "window_s": 60, "base_s": 90}),
            "base_s is a multiple of 60",
        ),
        (json!({"type": "stale", "after_s": 119}), "at least 120"),
    ] {
        let (status, answer) = program.ask("PUT", "rules/r", Some(of(when))).await;
        let message = answer["error"]["message"].as_str().unwrap_or_default();
        assert!(status == 400 && message.contains(reason), "{answer}");
    }
    // The bar of a second is not in the window of the minute after it.
    publish_wide(&bus, "1m", 1_700_000_040_000, "105").await;
    publish_wide(&bus, "1m", 1_700_000_100_000, "110.25").await;
    until("the second minute is an alert", async || {
        let alerts = alerts_on(&bus, "alert.>").await;
        let values: Vec<&str> = alerts.iter().map(|alert| alert.value.as_str()).collect();
        holds(values == ["110.25"], || format!("{values:?}"))
    })
    .await;
    program.stop().await;
}

#[tokio::test]
async fn a_change_that_cannot_be_made_now_is_answered_as_one_that_was_not_made() {
    let (bus, folder) = (memory(), Directory::named("alerts-busy"));
    let program = Running::start(&bus, &folder, &[]).await;
    let (status, _) = program.ask("POST", "rules", Some(five_percent("a"))).await;
    assert_eq!(status, 201);
    let file = folder.path().join("alerts.sqlite");
    let other = rusqlite::Connection::open(file).expect("it is there");
    other
        .execute_batch("BEGIN IMMEDIATE")
        .expect("it is locked");
    publish(&bus, 0, "100").await;
    until("the bar cannot be stored", async || {
        let unmet = format!("{:?}", program.service.readiness.unmet());
        holds(unmet.contains("store"), || unmet)
    })
    .await;
    let (status, answer) = program.ask("POST", "rules", Some(five_percent("b"))).await;
    let code = answer["error"]["code"].clone();
    assert_eq!((status, code), (503, json!("busy")), "{answer}");
    other.execute_batch("ROLLBACK").expect("it is free");
    let (_, list) = program.ask("GET", "rules", None).await;
    assert_eq!(list["rules"].as_array().map(Vec::len), Some(1), "{list}");
    let (status, answer) = program.ask("POST", "rules", Some(five_percent("b"))).await;
    assert_eq!(status, 201, "{answer}");
    program.stop().await;
}

/// How many alerts of a rule wait for a bus that takes none, if two may.
async fn waiting_of(name: &str, rule: Value, seconds: &[i64]) -> u64 {
    let journal = service::JournalConfig::default();
    // A bus that takes no alerts.
    let streams = [journal.stream().expect("a journal")];
    let bus: Arc<dyn Bus> = Arc::new(MemoryBus::with_streams(&streams));
    let folder = Directory::named(name);
    let root = streams[0].root.clone();
    let status = bus.streams().status(&root).await.expect("a status");
    let store = Store::open(folder.path(), Outlets::default()).expect("a store");
    let rule = serde_json::from_value(rule).expect("a rule");
    let stored = StoredRule {
        active: ActiveRule { rule, epoch: 1 },
        source: Source::Http,
    };
    let commit = Commit {
        place: Some(Place {
            created_ns: status.expect("it is there").created_ns,
            sequence: 0,
            stored_ns: None,
        }),
        rules_put: vec![stored],
        ..Commit::default()
    };
    store.commit(&commit).expect("it is stored");
    drop(store);
    for second in seconds {
        publish(&bus, *second, "100").await;
    }
    let flags = ["--alerts-unpublished-max", "2", "--alerts-late-ms", "1"];
    let flags = config(&folder, &flags);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let run = alerts::run(flags, Arc::clone(&bus), listener, Service::for_test());
    run.await.expect_err("the bus will never take an alert");
    until("no part of it has the store", async || {
        let lock = File::open(folder.path().join("lock")).map_err(|error| error.to_string())?;
        lock.try_lock().map_err(|error| error.to_string())
    })
    .await;
    let store = Store::open(folder.path(), Outlets::default()).expect("a store");
    store.count_unpublished().expect("it is read")
}

#[tokio::test]
async fn neither_bars_nor_time_raise_more_alerts_than_the_bus_may_lack() {
    let gap = json!({"name": "r", "symbols": ["*"], "cooldown_s": 0, "when": {"type": "gap"}});
    // Each second one is after a hole.
    let seconds = [0, 2, 3, 5, 6, 8, 9, 11, 12, 14];
    assert_eq!(waiting_of("alerts-many", gap, &seconds).await, 2);
    let symbols: Vec<String> = (0..10).map(|index| format!("A{index}-B")).collect();
    let stale = json!({"name": "r", "symbols": symbols, "when": {"type": "stale", "after_s": 10}});
    assert_eq!(waiting_of("alerts-silent", stale, &[]).await, 2);
}

#[tokio::test]
async fn a_bar_far_ahead_of_its_time_stops_no_rule() {
    let (bus, folder) = (memory(), Directory::named("alerts-ahead"));
    let program = Running::start(&bus, &folder, &[]).await;
    let (status, answer) = program.ask("POST", "rules", Some(five_percent("r"))).await;
    assert_eq!(status, 201, "{answer}");
    publish(&bus, 0, "100").await;
    // Two hundred years.
    publish(&bus, 6_000_000_000, "100").await;
    publish(&bus, 1, "105").await;
    until("the rule has fired", async || {
        let alerts = alerts_on(&bus, "alert.>").await;
        holds(alerts.len() == 1 && alerts[0].value == "105", || {
            format!("{alerts:?}")
        })
    })
    .await;
    program.stop().await;
}

#[tokio::test]
async fn a_symbol_is_silent_only_after_late_bars_have_had_their_time() {
    let (bus, folder) = (memory(), Directory::named("alerts-late"));
    let file = folder.path().join("rules.json");
    let of = |name: &str, when: Value| json!({"name": name, "symbols": ["*"], "cooldown_s": 0, "when": when});
    let rules = json!({"rules": [
        of("hole", json!({"type": "gap"})),
        of("quiet", json!({"type": "stale", "after_s": 10})),
    ]});
    std::fs::write(&file, rules.to_string()).expect("it is written");
    let file = ["--rules-file", file.to_str().expect("UTF-8")];
    let raised = async |expected: &[(&str, i64)]| {
        let wanted: Vec<(String, i64)> = expected
            .iter()
            .map(|(rule, second)| ((*rule).to_owned(), *second))
            .collect();
        until("these alerts are on the bus", async || {
            let alerts = alerts_on(&bus, "alert.>").await;
            let got: Vec<(String, i64)> = alerts
                .iter()
                .map(|alert| {
                    (
                        alert.rule.clone(),
                        (alert.start_ms - 1_700_000_000_000) / 1_000,
                    )
                })
                .collect();
            holds(got == wanted, || format!("{got:?}"))
        })
        .await;
    };
    // For a day after its start, it cannot say that all bars have come, though these are years old.
    let flags = [&file[..], &["--alerts-late-ms", "86400000"]].concat();
    let program = Running::start(&bus, &folder, &flags).await;
    publish(&bus, 0, "100").await;
    publish(&bus, 2, "100").await;
    raised(&[("hole", 2)]).await;
    publish(&bus, 3, "100").await;
    publish(&bus, 5, "100").await;
    raised(&[("hole", 2), ("hole", 5)]).await;
    program.stop().await;
    let flags = [&file[..], &["--alerts-late-ms", "1"]].concat();
    let program = Running::start(&bus, &folder, &flags).await;
    raised(&[("hole", 2), ("hole", 5), ("quiet", 5)]).await;
    program.stop().await;
}

#[tokio::test]
async fn configurations_that_cannot_work_are_refused_with_what_to_set() {
    let (bus, folder) = (memory(), Directory::named("alerts-config"));
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "short").expect("it is written");
    let secret = secret.to_str().expect("UTF-8");
    for (flags, listen, reason) in [
        (
            vec!["--webhook-url", "http://127.0.0.1:9/k3y"],
            "127.0.0.1:0",
            "set --webhook-secret-file",
        ),
        (
            vec!["--webhook-url", "ftp://127.0.0.1/k3y"],
            "127.0.0.1:0",
            "http or https",
        ),
        (
            vec![
                "--webhook-url",
                "http://h/k3y",
                "--webhook-secret-file",
                secret,
            ],
            "127.0.0.1:0",
            "16 to 4096",
        ),
        (vec![], "0.0.0.0:0", "set --token-file"),
        (vec!["--rules-file", secret], "127.0.0.1:0", "--rules-file"),
    ] {
        let listener = TcpListener::bind(listen).await.expect("a port");
        let config = config(&folder, &flags);
        let error = alerts::run(config, Arc::clone(&bus), listener, Service::for_test()).await;
        let error = error.expect_err(reason).to_string();
        assert!(error.contains(reason), "{error}");
        assert!(!error.contains("k3y"), "{error}");
    }
}
