//! The whole system as one process: what `make run` starts.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use history::BarRow;
use history::store::{BarSeries, BarStore, Instrument, Range, SqliteOptions, SqliteStore};
use loadtest::client::Client;
use loadtest::directory::Directory;
use loadtest::fleet::is_required;
use loadtest::follower::Follower;
use loadtest::process::Process;
use loadtest::wait::{holds, until, until_within};
use market_core::{Amount, Price, Quality, Timeframe};
use serde_json::Value;

/// How long the browser's check may take: its own waits are shorter.
const BROWSER_DEADLINE: Duration = Duration::from_secs(300);

/// A running klinecast and where it is.
struct Klinecast {
    process: Process,
    /// `http://address:port/`
    url: String,
}

fn command(flags: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_klinecast"));
    command
        .args(["--log-format", "json", "--admin-listen", "127.0.0.1:0"])
        .env("KLINECAST_NO_HISTORY", "true")
        .args(flags);
    command
}

impl Klinecast {
    async fn start(command: &mut Command) -> Self {
        let mut process = Process::start("klinecast", command);
        let event = process.until_event("open this in a browser").await;
        let url = event["url"].as_str().expect("an address").to_owned();
        Self { process, url }
    }

    async fn simulated() -> Self {
        let flags = [
            "--feed",
            "sim",
            "--listen",
            "127.0.0.1:0",
            "--drain-ms",
            "500",
        ];
        Self::start(&mut command(&flags)).await
    }

    fn socket_url(&self) -> String {
        format!("{}ws", self.url.replacen("http", "ws", 1))
    }

    async fn get(&self, path: &str) -> (u16, String) {
        let answer = reqwest::get(format!("{}{path}", self.url))
            .await
            .expect("it answers");
        (
            answer.status().as_u16(),
            answer.text().await.expect("a body"),
        )
    }
}

fn in_checkout(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

#[tokio::test(flavor = "multi_thread")]
async fn one_process_serves_the_page_and_live_bars_and_drains_with_1012() {
    let mut klinecast = Klinecast::simulated().await;
    let url = &klinecast.url;
    let printed = format!("Klinecast is at {url}");
    until("the address is printed", async || {
        let log = klinecast.process.log();
        if log.lines().any(|line| line.trim() == printed) {
            Ok(())
        } else {
            Err(log)
        }
    })
    .await;

    let (status, page) = klinecast.get("").await;
    match in_checkout("web/dist/index.html").exists() {
        true => assert!(status == 200 && page.contains("<html"), "{status} {page}"),
        false => assert!(
            status == 404 && page.contains("make web"),
            "{status} {page}"
        ),
    }
    for path in ["metrics", "readyz", "healthz"] {
        assert_eq!(klinecast.get(path).await.0, 404, "{path} is not public");
    }

    let topics: Vec<String> = [
        "kline:1s:BTC-USDT",
        "kline:1m:BTC-USD",
        "kline:1s:OKX:BTC-USDT",
        "kline:1d:BTC-USD",
    ]
    .map(str::to_owned)
    .into();
    let follower = Follower::start(klinecast.socket_url(), topics.clone());
    follower
        .until("bars of all venues and timeframes", |seen| {
            let has = |topic: &String| {
                seen.topics
                    .get(topic)
                    .is_some_and(|topic| topic.forming > 0)
            };
            topics.iter().all(has) && seen.topics["kline:1s:BTC-USDT"].closed.len() >= 3
        })
        .await;
    follower.seen(|seen| {
        let second = &seen.topics["kline:1s:BTC-USDT"];
        assert_eq!((second.holes(), second.skipped), (Vec::new(), 0));
    });

    let mut client = Client::connect(&klinecast.socket_url()).await;
    client.subscribe(&topics).await;
    klinecast.process.signal("TERM");
    assert_eq!(client.close_code().await, 1012);
    follower
        .until("1012 at the other client", |seen| {
            seen.closes.first() == Some(&1012)
        })
        .await;
    let status = klinecast.process.until_ended().await;
    assert_eq!(status.code(), Some(0), "{}", klinecast.process.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_is_told_with_the_flag_that_changes_it() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("bound").to_string();
    for flag in ["--listen", "--admin-listen"] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_klinecast"));
        let other = if flag == "--listen" {
            "--admin-listen"
        } else {
            "--listen"
        };
        command.args(["--feed", "sim", other, "127.0.0.1:0", flag, &address]);
        let mut process = Process::start("klinecast", &mut command);
        let status = process.until_ended().await;
        let log = process.log();
        assert_eq!(status.code(), Some(1), "{log}");
        for part in ["failed to listen", &address, flag, "in use"] {
            assert!(log.contains(part), "'{part}' is not in: {log}");
        }
        assert!(
            !log.contains("panicked") && !log.contains("Klinecast is at"),
            "{log}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_any_exchange_the_data_is_simulated_and_said_to_be() {
    let mut command = command(&["--feed", "auto", "--listen", "127.0.0.1:0"]);
    // Where the exchanges can be reached, they cannot through a proxy that is not there.
    for variable in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
        command.env(variable, "http://127.0.0.1:9");
    }
    for variable in ["NO_PROXY", "no_proxy"] {
        command.env_remove(variable);
    }
    let klinecast = Klinecast::start(&mut command).await;
    assert!(
        klinecast.process.log().contains("SIMULATED DATA"),
        "{}",
        klinecast.process.log()
    );
    let mut client = Client::connect(&klinecast.socket_url()).await;
    client.subscribe(&["system:feed:binance".to_owned()]).await;
    let status: Value = client.frame().await.remove(0);
    assert_eq!(
        (&status["mode"], &status["exchange"]),
        (&"sim".into(), &"binance".into())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn live_feeds_without_any_exchange_are_said_to_be_out_of_reach() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let simulator = format!("http://{}", nobody.local_addr().expect("bound"));
    drop(nobody);
    let flags = [
        "--feed",
        "live",
        "--listen",
        "127.0.0.1:0",
        "--sim",
        &simulator,
    ];
    let klinecast = Klinecast::start(&mut command(&flags)).await;
    let log = klinecast.process.log();
    for part in ["no exchange can be reached", "--feed sim", "proxy"] {
        assert!(log.contains(part), "'{part}' is not in: {log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_shows_live_bars() {
    let chromium = match std::env::var_os("CHROMIUM").filter(|path| !path.is_empty()) {
        Some(path) => PathBuf::from(path),
        None => PathBuf::from("/usr/bin/chromium"),
    };
    let missing = [
        (
            chromium,
            "chromium (Debian: apt-get install chromium, or set CHROMIUM)",
        ),
        (
            in_checkout("web/node_modules/playwright-core"),
            "the page's tools (npm --prefix web ci)",
        ),
        (in_checkout("web/dist/index.html"), "the page (make web)"),
    ];
    if let Some((path, what)) = missing.into_iter().find(|(path, _)| !path.exists()) {
        let text = format!("{} not found: install {what}", path.display());
        assert!(!is_required("KLINECAST_REQUIRE_CHROMIUM"), "{text}");
        println!("skipped: {text}");
        return;
    }
    let klinecast = Klinecast::simulated().await;
    let folder = Directory::named("page");
    let screenshot = folder.path().join("page.png");
    let mut command = Command::new("node");
    command
        .arg(in_checkout("web/test/page.mjs"))
        .arg(&klinecast.url)
        .arg(&screenshot);
    let mut browser = Process::start("page", &mut command).asked_to_end();
    // The check has a deadline for each of its own waits.
    let status = until_within(
        BROWSER_DEADLINE,
        "the end of the browser's check",
        async || browser.ended().ok_or_else(|| browser.log()),
    )
    .await;
    assert!(status.success(), "{}", browser.log());
    println!("{}", browser.log().trim());
    let size = std::fs::metadata(&screenshot).map(|file| file.len());
    assert!(size.is_ok_and(|bytes| bytes > 10_000), "there is a picture");
}

/// The starts of the stored 1s bars of a symbol of the simulator.
fn stored(directory: &Path) -> Vec<i64> {
    let directory = directory.join("simulated");
    let store = SqliteStore::open(&directory, SqliteOptions::default()).expect("a store");
    let series = BarSeries {
        instrument: Instrument {
            exchange: "binance".into(),
            symbol: "BTC-USDT".parse().expect("a symbol"),
        },
        timeframe: "1s".parse().expect("a timeframe"),
    };
    let page = store.bars(&series, &Range::new(0, i64::MAX, 100_000));
    let rows = page.expect("a page").rows;
    rows.iter().map(|row| row.start_ms).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_klinecast_has_stored_is_there_after_a_kill_and_after_a_restart() {
    let directory = Directory::named("klinecast-history");
    let path = directory.path().to_str().expect("UTF-8");
    let mut known = Vec::new();
    for is_killed in [true, false, false] {
        let flags = [
            "--feed",
            "sim",
            "--listen",
            "127.0.0.1:0",
            "--drain-ms",
            "500",
        ];
        let mut command = command(&flags);
        command
            .env_remove("KLINECAST_NO_HISTORY")
            .args(["--data-dir", path]);
        let mut klinecast = Klinecast::start(&mut command).await;
        until("bars are stored", async || {
            let (status, text) = klinecast.get("api/v1/status").await;
            let json: Value = serde_json::from_str(&text).unwrap_or_default();
            let stored_to = json["streams"]["bars"]["stored_to"].as_u64();
            holds(status == 200 && stored_to > Some(20), || text.clone())
        })
        .await;
        if is_killed {
            klinecast.process.kill();
        } else {
            klinecast.process.signal("TERM");
            let ended = klinecast.process.until_ended().await;
            assert!(ended.success(), "{}", klinecast.process.log());
        }
        let now = stored(directory.path());
        assert!(
            now.len() > known.len(),
            "{} after {}",
            now.len(),
            known.len()
        );
        let lost: Vec<_> = known.iter().filter(|start| !now.contains(start)).collect();
        assert!(lost.is_empty(), "{lost:?}");
        known = now;
    }
}

/// A store with closed minutes of a symbol.
fn store_of_minutes(directory: &Path, count: i64) {
    let store = SqliteStore::open(directory, SqliteOptions::default()).expect("a store");
    let series = BarSeries {
        instrument: Instrument {
            exchange: "binance".into(),
            symbol: "BTC-USDT".parse().expect("a symbol"),
        },
        timeframe: Timeframe::MINUTE,
    };
    let row = |minute: i64| {
        let price = Price::from_parts(i128::from(50_000 + minute), 0).expect("above zero");
        BarRow {
            start_ms: REPLAYED_MS + minute * 60_000,
            open: price,
            high: price,
            low: price,
            close: price,
            volume: Amount::from_parts(1, 0),
            quote_volume: Some(Amount::from_parts(50_000, 0)),
            taker_buy_volume: Some(Amount::ZERO),
            taker_buy_quote_volume: Some(Amount::ZERO),
            count: Some(1),
            ids: None,
            event_ms: None,
            received_us: None,
            rev: 0,
            quality: Quality::Complete,
            is_imported: false,
            known_ms: REPLAYED_MS + (minute + 1) * 60_000,
        }
    };
    let batch = vec![(series, (0..count).map(row).collect())];
    store.append_bars(&batch, None).expect("stored");
}

/// 2024-08-01.
const REPLAYED_MS: i64 = 1_722_470_400_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_in_one_process_plays_stored_bars_to_sockets_and_ends_when_it_is_told_to() {
    let directory = Directory::named("klinecast-replay");
    let path = directory.path().to_str().expect("UTF-8");
    store_of_minutes(directory.path(), 100);
    let mut command = Command::new(env!("CARGO_BIN_EXE_klinecast"));
    // Ten minutes a second.
    command.args(["replay", "--data-dir", path, "--speed", "600"]);
    command.args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]);
    command.args(["--log-format", "json", "--drain-ms", "200"]);
    let mut replay = Klinecast::start(&mut command).await;
    let mut client = Client::connect(&replay.socket_url()).await;
    client.subscribe(&["kline:1m:BTC-USDT".to_owned()]).await;
    let mut starts: Vec<i64> = Vec::new();
    while starts.last() != Some(&(REPLAYED_MS + 99 * 60_000)) {
        for bar in client.frame().await {
            if bar["state"] == "closed" {
                starts.push(bar["start_ms"].as_i64().expect("a time"));
            }
        }
    }
    assert!(starts.len() > 10, "{starts:?}");
    let is_next = |pair: &[i64]| pair[1] == pair[0] + 60_000;
    assert!(starts.windows(2).all(is_next), "{starts:?}");
    let ended = replay.process.until_event("replay ended").await;
    assert_eq!(ended["summary"], "100 bars, 0 trades");
    assert_eq!(replay.get("metrics").await.0, 404);
    replay.process.signal("TERM");
    let status = replay.process.until_ended().await;
    assert_eq!(status.code(), Some(0), "{}", replay.process.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_of_nothing_says_what_to_name() {
    let directory = Directory::named("klinecast-no-store");
    let missing = directory.path().join("missing");
    for (path, word) in [
        (missing.as_path(), "there is no store in"),
        (directory.path(), "nothing is stored that fits"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_klinecast"));
        command
            .args(["replay", "--drain-ms", "200", "--data-dir"])
            .arg(path);
        command.args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]);
        let mut replay = Process::start("klinecast", &mut command);
        let status = replay.until_ended().await;
        let log = replay.log();
        assert_eq!(status.code(), Some(1), "{log}");
        assert!(log.contains(word) && log.contains("--data-dir"), "{log}");
    }
}
