//! What a client may not learn, and what nobody may read in the log.

use super::*;

#[tokio::test]
async fn refusals_are_as_the_openapi_document_says() {
    let world = World::start(|_| {}).await;
    let document: Value = world
        .ask("/api/v1/openapi.json", &[])
        .await
        .json()
        .await
        .expect("JSON");
    let nothing = world.issuer.permit(&[], 100);
    let paths = document["paths"].as_object().expect("paths");
    let mut forbidden = 0;
    for (path, item) in paths {
        let asked = path
            .replace("{exchange}", "coinbase")
            .replace("{symbol}", "BTC-USD");
        let asked = match path.rsplit('/').next() {
            Some("bars" | "trades") => format!("{asked}?symbol=BTC-USD"),
            Some("completeness") => format!("{asked}?symbol=BTC-USD&day=2024-02-28"),
            _ => asked,
        };
        for headers in [vec![], vec![bearer(&nothing)]] {
            let answer = world.ask(&asked, &headers).await;
            let status = answer.status().as_u16().to_string();
            let is_open = item["get"]["security"] == json!([]);
            let has_token = !headers.is_empty();
            assert_eq!(status == "401", !is_open && !has_token, "{path}");
            forbidden += usize::from(status == "403");
            let body: Value = answer.json().await.expect("JSON");
            let described = &item["get"]["responses"][&status]["content"]["application/json"];
            let faults = json_schema::faults(&document, &described["schema"], &body);
            assert!(faults.is_empty(), "{path}: {status}: {faults:?}");
        }
    }
    assert_eq!(forbidden, 4);
    world.server.stop().await;
}

#[tokio::test]
async fn keys_without_a_mode_do_not_start() {
    let jwks = KeyFile::new(key_set(&[&Issuer::eddsa("first")]));
    let config = Config {
        tokens: TokenConfig {
            auth_jwks_file: jwks.path(),
            ..TokenConfig::default()
        },
        ..Config::default()
    };
    let bus = bus::MemoryBus::new(&bus::BusConfig::default(), &service::streams());
    let opened = history::History::open(&config, std::sync::Arc::new(bus.expect("a bus"))).await;
    let error = opened.expect_err("unsafe").to_string();
    assert!(error.contains("--auth-mode"), "{error}");
}

/// Everything, and what is silenced unless it is named.
const LEVEL: &str = "trace,hyper=trace,hyper_util=trace,axum=trace,tower=trace";

#[tokio::test]
async fn no_token_is_in_the_log_at_any_level_nor_in_the_metrics_or_answers() {
    let (issuer, other) = (Issuer::eddsa("first"), Issuer::eddsa("first"));
    let keys = KeyFile::new(key_set(&[&issuer]));
    let directory = testkit::directory::Directory::new();
    let mut command = Command::new(env!("CARGO_BIN_EXE_history"));
    command
        .args(["--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0"])
        .args(["--bus=memory:", "--log-format=json", "--auth-mode=required"])
        .args(["--auth-cookie=sid", "--log-level", LEVEL, "--data-dir"])
        .arg(directory.path())
        .arg("--auth-jwks-file")
        .arg(keys.path().expect("a path"));
    let mut program = Process::start("history", &mut command);
    let mut address = async |event: &str| {
        let event = program.until_event(event).await;
        event["address"].as_str().expect("an address").to_owned()
    };
    let admin = address("admin pages served").await;
    let address = address("history listens").await;
    let good = issuer.permit(&["kline:1m:*"], 100);
    let tokens = [
        good.clone(),
        other.permit(&["kline:1m:*"], 100),
        issuer.token(&json!({"exp": 1, "sub": "someone"})),
        format!("{good}{}", "x".repeat(4_096)),
    ];
    let http = Client::new();
    let mut said = String::new();
    for token in &tokens {
        for path in [
            BARS,
            "/api/v1/symbols",
            "/udf/search",
            "/binance/api/v3/klines?symbol=BTCUSD&interval=1m",
        ] {
            let url = format!("http://{address}{path}");
            let join = if path.contains('?') { '&' } else { '?' };
            let in_query = format!("{url}{join}token={token}");
            for request in [
                http.get(&in_query),
                http.get(&url)
                    .header("authorization", format!("Bearer {token}")),
                http.get(&url).header("cookie", format!("sid={token}")),
                http.get(&url).header("x-mbx-apikey", token),
            ] {
                let answer = request.send().await.expect("an answer");
                said += &format!("{:?}", answer.headers());
                said += &answer.text().await.expect("text");
            }
        }
    }
    let metrics = http.get(format!("http://{admin}/metrics")).send().await;
    let metrics = metrics.expect("an answer").text().await.expect("text");
    for outcome in ["ok", "signature", "expired", "too_long"] {
        assert!(
            metrics.contains(&format!("outcome=\"{outcome}\"")),
            "{outcome}: {metrics}"
        );
    }
    assert!(said.contains("invalid_token"), "{said}");
    let log = program.log();
    assert!(log.contains("history listens"), "{log}");
    for token in &tokens {
        for part in token.split('.').skip(1) {
            for (place, text) in [("log", &log), ("metrics", &metrics), ("answers", &said)] {
                assert!(!text.contains(part), "a token is in the {place}");
            }
        }
    }
}
