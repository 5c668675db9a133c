//! Playback of captured frames.

use std::io::Write;
use std::path::PathBuf;

use serde_json::json;

use crate::harness::Sim;
use exchange_sim::Config;

/// Frames of the three venues, as recorded.
const BINANCE: &str = r#"{"stream":"btcusdt@trade","data":{"e":"trade","E":1723161255343,"s":"BTCUSDT","t":3735683259,"p":"61837.63000000","q":"0.02000000","T":1723161255342,"m":true,"M":true}}"#;
const COINBASE: &str = r#"{"type":"match","trade_id":280232,"maker_order_id":"2a0da34e-61f7-4c36-88e5-c9dd15927b16","taker_order_id":"3c82abaa-c01e-4608-be59-6a1e69742891","side":"sell","size":"985","price":"0.00001305","product_id":"SKL-BTC","sequence":177100030,"time":"2021-04-17T16:43:37.089723Z"}"#;
const OKX: &str = r#"{"arg":{"channel":"trades","instId":"BTC-USDT"},"data":[{"instId":"BTC-USDT","tradeId":"338476308","px":"30243.5","sz":"0.001","side":"buy","ts":"1652459226050"}]}"#;

/// A file that is removed when the test ends.
struct Capture(PathBuf);

impl Capture {
    fn write(name: &str, content: &[u8]) -> Capture {
        let path = std::env::temp_dir().join(format!("exchange-sim-{}-{name}", std::process::id()));
        std::fs::write(&path, content).expect("the capture is written");
        Capture(path)
    }

    fn config(&self) -> Config {
        Config {
            capture: vec![self.0.clone()],
            capture_lead_ms: 0,
            ..Config::default()
        }
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn binance_frames_are_played_verbatim_to_their_subscribers_only() {
    let later = BINANCE.replace("3735683259", "3735683260");
    let content = format!(
        "1723161254087896568 {BINANCE}\n1723161254206652067 {{\"lastUpdateId\":1}}\n1723161254300000000 {later}\n"
    );
    let capture = Capture::write("binance", content.as_bytes());
    let sim = Sim::start(Config {
        capture_lead_ms: 2_000,
        ..capture.config()
    })
    .await;
    let mut combined = sim.connect("/stream?streams=btcusdt@trade").await;
    let mut raw = sim.connect("/ws/btcusdt@trade").await;
    assert_eq!(combined.text().await, BINANCE);
    assert_eq!(combined.text().await, later);
    let payload = BINANCE
        .trim_start_matches(r#"{"stream":"btcusdt@trade","data":"#)
        .strip_suffix('}')
        .expect("a wrapper");
    assert_eq!(raw.text().await, payload);
    let rest = sim
        .get("/api/v3/historicalTrades?symbol=BTCUSDT&fromId=0")
        .await;
    assert_eq!(rest.rows().len(), 2);
    let klines = sim.get("/api/v3/klines?symbol=BTCUSDT&interval=1m").await;
    assert_eq!((klines.rows().len(), &klines.rows()[0][8]), (1, &json!(2)));
    assert_eq!(
        sim.get("/sim/stats").await.body["capture"],
        json!({"frames": 2, "played": 2, "done": true})
    );
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn gzipped_frames_of_cryptofeed_are_played_too() {
    let content = format!(
        "wss://ws-feed.pro.coinbase.com <-> 1618677816.8434298\nwss://ws-feed.pro.coinbase.com <- 1618677817.0: {{\"type\":\"subscribe\"}}\n\
         1618677817.1295161: {COINBASE}\n1618677817.2295161: {OKX}\n"
    );
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(content.as_bytes()).expect("it is packed");
    let capture = Capture::write("cryptofeed.gz", &packed.finish().expect("it is packed"));
    let sim = Sim::start(Config {
        capture_lead_ms: 2_000,
        ..capture.config()
    })
    .await;
    let mut coinbase = sim.connect("/").await;
    coinbase
        .send(r#"{"type":"subscribe","product_ids":["SKL-BTC"],"channels":["matches"]}"#)
        .await;
    let mut okx = sim.connect("/ws/v5/public").await;
    okx.send(r#"{"op":"subscribe","args":[{"channel":"trades","instId":"BTC-USDT"}]}"#)
        .await;
    assert_eq!(coinbase.json().await["type"], "subscriptions");
    assert_eq!(coinbase.text().await, COINBASE);
    assert_eq!(okx.json().await["event"], "subscribe");
    assert_eq!(okx.text().await, OKX);
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rebased_frames_are_of_now() {
    let capture = Capture::write(
        "rebased",
        format!("1723161254087896568 {BINANCE}\n").as_bytes(),
    );
    let sim = Sim::start(Config {
        rebase_time: true,
        ..capture.config()
    })
    .await;
    let mut socket = sim.connect("/ws/btcusdt@trade").await;
    let frame = socket.json().await;
    let now_ms = sim.get("/sim/stats").await.body["now_ms"]
        .as_i64()
        .expect("a time");
    let event_ms = frame["T"].as_i64().expect("a time");
    assert!(
        (now_ms - 60_000..now_ms + 60_000).contains(&event_ms),
        "{event_ms} is not about {now_ms}"
    );
    assert_eq!(
        (&frame["t"], frame["E"].as_i64()),
        (&json!(3_735_683_259u64), Some(event_ms + 1))
    );
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_without_market_data_is_an_error_that_names_it() {
    let capture = Capture::write("empty", b"nothing\n");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a free port");
    let error = exchange_sim::run(capture.config(), listener, service::Service::for_test())
        .await
        .expect_err("it cannot run");
    assert!(error.to_string().contains("empty"), "{error}");
}

/// Real captures are not in the repository: `KLINECAST_CAPTURES` names their folder.
#[tokio::test(flavor = "multi_thread")]
async fn a_real_capture_of_okx_is_played_whole() {
    let Some(folder) = std::env::var_os("KLINECAST_CAPTURES") else {
        println!("skipped: KLINECAST_CAPTURES names no folder of captures");
        return;
    };
    let path = PathBuf::from(folder).join("okx-raw/okx_v5_20220513_BTC-USDT.txt.gz");
    let config = Config {
        capture: vec![path],
        capture_lead_ms: 2_000,
        speed: 20.0,
        ..Config::default()
    };
    let sim = Sim::start(config).await;
    let mut socket = sim.connect("/ws/v5/public").await;
    socket
        .send(r#"{"op":"subscribe","args":[{"channel":"trades","instId":"BTC-USDT"}]}"#)
        .await;
    socket.json().await;
    let mut ids = Vec::new();
    while ids.len() < 69 {
        let frame = socket.json().await;
        for row in frame["data"].as_array().expect("rows") {
            ids.push(
                row["tradeId"]
                    .as_str()
                    .and_then(|id| id.parse::<u64>().ok())
                    .expect("an id"),
            );
        }
    }
    assert_eq!(ids, (ids[0]..ids[0] + 69).collect::<Vec<_>>());
    sim.stop().await;
}
