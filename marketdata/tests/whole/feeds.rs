//! Sockets: what they bring, how they are kept, replaced and given up.

use serde_json::json;

use crate::deployment::{Deployment, INSTRUMENTS, sim_config};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bars_of_every_venue_equal_the_venues_trades() {
    let mut deployment = Deployment::new(sim_config()).await;
    deployment.start(deployment.config());
    deployment.all_more_seconds(1).await;
    deployment
        .until("it is ready", || async { deployment.is_ready() })
        .await;
    deployment.all_more_seconds(4).await;
    for (venue, native, symbol) in INSTRUMENTS {
        assert!(deployment.check_truth(venue, native, symbol).await >= 3);
    }
    deployment.seen(|seen| {
        assert!(seen.forming > 0 && seen.trades > 0);
        assert_eq!((seen.revisions, seen.gaps.len()), (0, 0));
        for (topic, seqs) in &seen.seqs {
            let epoch = seqs[0].0;
            let expected: Vec<(u64, u64)> =
                (1..=seqs.len() as u64).map(|seq| (epoch, seq)).collect();
            assert_eq!(*seqs, expected, "{topic}");
        }
        let status = seen.statuses.last().expect("a status");
        assert_eq!(
            (status["mode"].as_str(), status["state"].as_str()),
            (Some("sim"), Some("live"))
        );
    });
    deployment.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn duplicates_and_disorder_change_nothing() {
    let mut deployment = Deployment::new(sim_config()).await;
    // Disorder that stays within the grace is no gap.
    let mut config = deployment.config();
    config.gap_grace_ms = 1_000;
    deployment.start(config);
    deployment.all_more_seconds(1).await;
    deployment.fault("duplicate,count=100").await;
    deployment.fault("reorder,delay=300ms,for=3s").await;
    deployment.all_more_seconds(5).await;
    for (venue, native, symbol) in INSTRUMENTS {
        deployment.check_truth(venue, native, symbol).await;
    }
    deployment.seen(|seen| assert_eq!(seen.revisions, 0));
    deployment.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_frames_are_survived_and_their_trades_refetched() {
    let mut deployment = Deployment::new(sim_config()).await;
    deployment.start(deployment.config());
    deployment.all_more_seconds(1).await;
    for (venue, native, _) in INSTRUMENTS {
        deployment
            .fault(&format!("malformed,venue={venue},symbol={native},count=3"))
            .await;
    }
    for (_, _, symbol) in INSTRUMENTS {
        deployment
            .until_seen("the gap is filled", |seen| {
                seen.gaps
                    .iter()
                    .any(|gap| gap["symbol"] == symbol && gap["state"] == "filled")
            })
            .await;
    }
    deployment.all_more_seconds(2).await;
    for (venue, native, symbol) in INSTRUMENTS {
        deployment.check_truth(venue, native, symbol).await;
    }
    // Nobody was reconnected for it.
    let stats = deployment.get("/sim/stats").await.expect("stats");
    for (venue, _, _) in INSTRUMENTS {
        assert_eq!(stats["venues"][venue]["attempts"], 1, "{venue}");
    }
    deployment.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closing_venue_is_left_before_it_closes() {
    let mut deployment = Deployment::new(sim_config()).await;
    deployment.start(deployment.config());
    deployment.all_more_seconds(1).await;
    let statuses_before = deployment.seen(|seen| seen.statuses.len());
    deployment
        .fault("server_shutdown,venue=binance,delay=4s")
        .await;
    deployment.fault("notice,venue=okx,delay=4s").await;
    for (venue, native, symbol) in [INSTRUMENTS[0], INSTRUMENTS[2]] {
        deployment
            .until("the socket is replaced", || async {
                let stats = deployment.get("/sim/stats").await.expect("stats");
                stats["venues"][venue]["attempts"].as_u64() >= Some(2)
            })
            .await;
        deployment.more_seconds(symbol, 7).await;
        deployment.check_truth(venue, native, symbol).await;
    }
    deployment.seen(|seen| {
        for status in &seen.statuses[statuses_before..] {
            assert_ne!(status["state"], "reconnecting", "{status}");
        }
        assert_eq!(seen.revisions, 0);
    });
    deployment.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_aged_connection_is_replaced_without_a_hole() {
    let mut deployment = Deployment::new(sim_config()).await;
    let mut config = deployment.config();
    config.rotation_age_ms = Some(3_000);
    deployment.start(config);
    deployment
        .until("each socket is replaced twice", || async {
            let stats = deployment.get("/sim/stats").await.expect("stats");
            INSTRUMENTS
                .iter()
                .all(|(venue, _, _)| stats["venues"][venue]["attempts"].as_u64() >= Some(3))
        })
        .await;
    deployment.all_more_seconds(1).await;
    for (venue, native, symbol) in INSTRUMENTS {
        deployment.check_truth(venue, native, symbol).await;
    }
    deployment.seen(|seen| assert_eq!((seen.revisions, seen.gaps.len()), (0, 0)));
    deployment.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_zombie_symbol_is_found_by_rest_and_its_socket_replaced() {
    let mut deployment = Deployment::new(sim_config()).await;
    let mut config = deployment.config();
    config.instruments = marketdata::discovery::pattern::Wish::parse_list(
        "binance:BTC-USDT,binance:ETH-USDT,coinbase:BTC-USD",
    )
    .expect("valid");
    deployment.start(config);
    for symbol in ["BTC-USDT", "ETH-USDT", "BTC-USD"] {
        deployment.more_seconds(symbol, 1).await;
    }
    let statuses_before = deployment.seen(|seen| seen.statuses.len());
    // The heartbeat goes on, and lies.
    deployment
        .fault("silence,venue=binance,symbol=BTCUSDT,for=5s")
        .await;
    deployment
        .fault("silence,venue=coinbase,symbol=BTC-USD,for=5s,lie=true")
        .await;
    deployment
        .until("both sockets are replaced", || async {
            let stats = deployment.get("/sim/stats").await.expect("stats");
            ["binance", "coinbase"]
                .iter()
                .all(|venue| stats["venues"][venue]["attempts"].as_u64() >= Some(2))
        })
        .await;
    for (venue, native, symbol) in [
        ("binance", "BTCUSDT", "BTC-USDT"),
        ("binance", "ETHUSDT", "ETH-USDT"),
        ("coinbase", "BTC-USD", "BTC-USD"),
    ] {
        deployment.more_seconds(symbol, 6).await;
        deployment.check_truth(venue, native, symbol).await;
    }
    // The other symbols had a connection all the while.
    deployment.seen(|seen| {
        for status in &seen.statuses[statuses_before..] {
            assert_ne!(status["state"], "reconnecting", "{status}");
        }
    });
    deployment.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_connections_are_retried_within_the_venues_budget() {
    let mut deployment = Deployment::new(sim_config()).await;
    deployment.fault("refuse,for=4s").await;
    let mut config = deployment.config();
    // Without a budget, hundreds of attempts.
    config.instruments =
        marketdata::discovery::pattern::Wish::parse_list("okx:BTC-USDT,coinbase:BTC-USD")
            .expect("valid");
    config.backoff_base_ms = 1;
    config.backoff_max_ms = 5;
    let stats = deployment.get("/sim/stats").await.expect("stats");
    let started_ms = stats["now_ms"].as_i64().expect("a time");
    deployment.start(config);
    deployment
        .until_seen("both feeds are live", |seen| {
            ["okx", "coinbase"]
                .iter()
                .all(|venue| seen.state_of(venue).as_deref() == Some("live"))
        })
        .await;
    let stats = deployment.get("/sim/stats").await.expect("stats");
    let elapsed_ms = stats["now_ms"].as_i64().expect("a time") - started_ms;
    for (venue, per_second_max) in [("okx", 2), ("coinbase", 5)] {
        let attempts = stats["venues"][venue]["attempts"]
            .as_i64()
            .expect("a count");
        assert!(attempts >= 3, "{venue} was not retried");
        assert!(
            attempts <= per_second_max * (elapsed_ms / 1_000 + 1),
            "{venue}: {attempts} attempts in {elapsed_ms} ms"
        );
    }
    deployment.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_last_match_goes_into_its_own_old_bar() {
    let manual = exchange_sim::Config {
        manual: true,
        ..exchange_sim::Config::default()
    };
    let mut deployment = Deployment::new(manual).await;
    let now_ms = deployment.get("/sim/stats").await.expect("stats")["now_ms"]
        .as_i64()
        .expect("a time");
    let trade = |event_ms: Option<i64>, price: &str| {
        let mut trade = json!({"venue": "coinbase", "symbol": "BTC-USD", "price": price, "quantity": "1", "side": "buy"});
        if let Some(event_ms) = event_ms {
            trade["event_ms"] = event_ms.into();
        }
        trade
    };
    let old_ms = now_ms - 20_000;
    deployment
        .post("/sim/trade", &trade(Some(old_ms), "100"))
        .await;
    let mut config = deployment.config();
    config.instruments =
        marketdata::discovery::pattern::Wish::parse_list("coinbase:BTC-USD").expect("valid");
    deployment.start(config);
    deployment
        .until_seen("the feed is live", |seen| {
            seen.state_of("coinbase").as_deref() == Some("live")
        })
        .await;
    deployment.post("/sim/trade", &trade(None, "200")).await;
    deployment
        .until_seen("the new trade's second closes", |seen| {
            seen.closed
                .values()
                .any(|bar| bar["interval"] == "1s" && bar["close"] == "200" && bar["count"] == 1)
        })
        .await;
    deployment.seen(|seen| {
        let start_ms = old_ms - old_ms.rem_euclid(1_000);
        let old = &seen.closed[&("kline:1s:BTC-USD".to_owned(), start_ms)];
        assert_eq!(
            (old["close"].as_str(), old["quality"].as_str()),
            (Some("100"), Some("partial"))
        );
        let new = seen
            .closed
            .values()
            .find(|bar| bar["interval"] == "1s" && bar["close"] == "200" && bar["count"] == 1)
            .expect("closed");
        assert_eq!(
            (new["low"].as_str(), new["taker_buy_volume"].as_str()),
            (Some("200"), Some("1"))
        );
    });
    deployment.stop().await;
}

#[tokio::test]
async fn a_late_trade_revises_its_bar_and_leaves_the_next_alone() {
    let manual = exchange_sim::Config {
        manual: true,
        ..exchange_sim::Config::default()
    };
    let mut deployment = Deployment::new(manual).await;
    let mut config = deployment.config();
    config.instruments =
        marketdata::discovery::pattern::Wish::parse_list("binance:BTC-USDT").expect("valid");
    deployment.start(config);
    deployment
        .until_seen("the feed is live", |seen| {
            seen.state_of("binance").as_deref() == Some("live")
        })
        .await;
    let trade = |event_ms: i64, price: &str| json!({"venue": "binance", "symbol": "BTCUSDT", "price": price, "quantity": "1", "side": "sell", "event_ms": event_ms});
    let now_ms = deployment.get("/sim/stats").await.expect("stats")["now_ms"]
        .as_i64()
        .expect("a time");
    deployment.post("/sim/trade", &trade(now_ms, "100")).await;
    deployment
        .until_seen("two flat seconds closed", |seen| {
            seen.count_quality("BTC-USDT", "filled") >= 2
        })
        .await;
    let is_flat = |bar: &serde_json::Value| bar["interval"] == "1s" && bar["quality"] == "filled";
    let late_ms = deployment.seen(|seen| {
        let flat = seen.closed.values().filter(|bar| is_flat(bar));
        flat.map(|bar| bar["start_ms"].as_i64().expect("a time"))
            .min()
            .expect("a flat second")
    });
    deployment
        .post("/sim/trade", &trade(late_ms + 500, "90"))
        .await;
    deployment
        .until_seen("the late trade's bar is revised", |seen| {
            let bar = &seen.closed[&("kline:1s:BTC-USDT".to_owned(), late_ms)];
            bar["rev"] == 1 && bar["count"] == 1 && bar["low"] == "90"
        })
        .await;
    deployment.stop().await;
}

#[tokio::test]
async fn an_unusable_configuration_is_refused_at_start() {
    let deployment = Deployment::new(sim_config()).await;
    let mut config = deployment.config();
    config.instruments =
        marketdata::discovery::pattern::Wish::parse_list("binance:BTC-USDT,okx:BTC-USDT")
            .expect("well-formed");
    let service = service::Service::for_test();
    let error = marketdata::run(config, std::sync::Arc::clone(&deployment.bus), service)
        .await
        .expect_err("refused");
    let text = error.to_string();
    assert!(
        text.contains("binance:BTC-USDT") && text.contains("write okx:OKX:BTC-USDT"),
        "{text}"
    );
}
