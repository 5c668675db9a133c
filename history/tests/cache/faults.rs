//! A Redis that stops, dies, stutters, is full, refuses the password or has keys of others.

use std::time::Duration;

use history::Config;
use history::cache::{Cache, CacheEntry, PutReport, Value};
use market_core::BarState;
use redis::AsyncCommands as _;
use testkit::redis::RedisServer;
use testkit::wait::{holds, until};

use crate::program::{Program, TICK, TICKS, connection, until_value};
use crate::{entry, key, redis};

/// Publishes prices, one each millisecond of the market's time.
async fn publish(program: &Program, times: std::ops::Range<i64>) -> bytes::Bytes {
    let mut last = bytes::Bytes::new();
    for at in times {
        last = program.publish(at, BarState::Forming).await;
    }
    last
}

async fn until_ticks(redis: &mut redis::aio::MultiplexedConnection, count: usize) {
    until("the ticks", async || {
        let ticks: usize = redis.zcard(TICKS).await.expect("it answers");
        holds(ticks == count, || ticks.to_string())
    })
    .await;
}

#[tokio::test]
async fn a_redis_that_stops_holds_up_nothing_and_gets_what_it_missed() {
    let Some(server) = RedisServer::start(&[]) else {
        return;
    };
    let program = Program::start(&server.url()).await;
    let mut redis = connection(&server).await;
    publish(&program, 0..1).await;
    program.until_known().await;
    let bytes = publish(&program, 1..100).await;
    until_value(&mut redis, TICK, &bytes).await;
    program.until_told("cache", "", 99).await;

    server.suspend();
    publish(&program, 100..400).await;
    program.until_told("bus", "cache", 399).await;
    program.until_note(Some("does not answer")).await;
    assert!(program.service.readiness.is_ready());
    let last = publish(&program, 400..500).await;
    program.until_told("bus", "cache", 499).await;

    server.resume();
    program.until_told("cache", "", 499).await;
    program.until_note(None).await;
    until_value(&mut redis, TICK, &last).await;
    until_ticks(&mut redis, 500).await;
    program.stop().await;
}

#[tokio::test]
async fn a_redis_that_is_killed_while_it_is_written_is_filled_again() {
    let Some(mut server) = RedisServer::start(&[]) else {
        return;
    };
    let program = Program::start(&server.url()).await;
    for round in 0..4 {
        let from = round * 1_000;
        publish(&program, from..from + 500).await;
        server.kill();
        publish(&program, from + 500..from + 600).await;
        program.until_told("bus", "cache", from + 599).await;
        server.start_again();
        // Without a new price: the first question fills it.
        program.until_told("cache", "", from + 599).await;
        let last = publish(&program, from + 600..from + 700).await;
        let mut redis = connection(&server).await;
        until_value(&mut redis, TICK, &last).await;
    }
    program.stop().await;
}

#[tokio::test]
async fn a_redis_that_stutters_makes_answers_no_errors_and_loses_nothing() {
    let Some(server) = RedisServer::start(&[]) else {
        return;
    };
    let program = Program::start(&server.url()).await;
    let mut redis = connection(&server).await;
    let mut last = publish(&program, 0..1).await;
    program.until_known().await;
    for round in 0..20 {
        server.suspend();
        last = publish(&program, 1 + round * 30..31 + round * 30).await;
        program.tick().await;
        server.resume();
        program.tick().await;
    }
    until_value(&mut redis, TICK, &last).await;
    until_ticks(&mut redis, 601).await;
    program.stop().await;
}

#[tokio::test]
async fn a_redis_that_is_full_says_so_and_what_waits_is_bounded() {
    let options = ["--maxmemory", "100kb", "--maxmemory-policy", "noeviction"];
    let Some(server) = RedisServer::start(&options) else {
        return;
    };
    let mut config = Config::default();
    config.cache.cache_pending_max = 50;
    let program = Program::with(&server.url(), config).await;
    publish(&program, 0..400).await;
    program.until_note(Some("maxmemory")).await;
    program.until_told("bus", "cache", 399).await;
    let mut redis = connection(&server).await;
    let () = redis::cmd("CONFIG")
        .arg(&["SET", "maxmemory", "0"][..])
        .query_async(&mut redis)
        .await
        .expect("it obeys");
    program.until_told("cache", "", 399).await;
    // The newest one, and the last ones before it.
    until_ticks(&mut redis, 51).await;
    program.until_note(None).await;
    program.stop().await;
}

#[tokio::test]
async fn a_wrong_password_is_said_without_the_password() {
    let Some(server) = RedisServer::start(&["--requirepass", "right"]) else {
        return;
    };
    let log = testkit::log::Log::start();
    let url = format!("redis://:wr0ng@{}", server.address());
    let program = Program::start(&url).await;
    publish(&program, 0..10).await;
    program.until_note(Some("refuses")).await;
    program.until_told("bus", "cache", 9).await;
    let notes = program.service.readiness.notes();
    assert!(
        !notes.iter().any(|note| note.contains("wr0ng")),
        "{notes:?}"
    );
    let events = log.events("the cache is not written");
    assert!(!events.is_empty());
    assert!(
        !events
            .iter()
            .any(|event| event.to_string().contains("wr0ng"))
    );
    program.stop().await;
}

#[tokio::test]
async fn a_redis_that_is_not_there_at_the_start_is_used_once_it_is() {
    let Some(mut server) = RedisServer::start(&[]) else {
        return;
    };
    server.kill();
    let program = Program::start(&server.url()).await;
    publish(&program, 0..1).await;
    program.until_told("bus", "cache", 0).await;
    publish(&program, 1..10).await;
    program.until_told("bus", "cache", 9).await;
    server.start_again();
    program.until_told("cache", "", 9).await;
    let mut redis = connection(&server).await;
    until_ticks(&mut redis, 10).await;
    program.stop().await;
}

#[tokio::test]
async fn keys_that_others_use_are_counted_and_hold_up_no_other_entry() {
    let Some(server) = RedisServer::start(&[]) else {
        return;
    };
    let mut other = connection(&server).await;
    let () = other
        .set(TICKS.replace("BTC", "ETH"), 1)
        .await
        .expect("set");
    let rank = "market_data:tick:binance:SOL-USDT:rank";
    let () = other.lpush(rank, 1).await.expect("set");
    let cache = redis(&server.url());
    let pairs = ["BTC-USDT", "ETH-USDT", "SOL-USDT", "XRP-USDT"];
    let entries: Vec<CacheEntry> = pairs.map(|pair| entry(pair, Value::Tick, 1)).into();
    let report = cache.put(&entries).await.expect("written");
    let expected = PutReport {
        written: 2,
        older: 0,
        poisoned: 2,
    };
    assert_eq!(report, expected);
    for (pair, bytes) in [
        ("BTC-USDT", Some("1")),
        ("ETH-USDT", None),
        ("XRP-USDT", Some("1")),
    ] {
        let read = cache.get(&key(pair, Value::Tick)).await.expect("read");
        assert_eq!(read.as_deref(), bytes.map(str::as_bytes), "{pair}");
    }
}

#[tokio::test]
async fn a_reader_of_a_redis_that_stopped_waits_once_and_then_not_at_all() {
    let Some(server) = RedisServer::start(&[]) else {
        return;
    };
    let cache = redis(&server.url());
    let tick = key("BTC-USDT", Value::Tick);
    // Only a writer connects.
    cache.get(&tick).await.expect_err("not connected");
    cache.put(&[]).await.expect("it answers");
    assert_eq!(cache.get(&tick).await, Ok(None));
    server.suspend();
    cache.get(&tick).await.expect_err("no answer in time");
    // With the clock stopped, nothing that takes time ends.
    let at_once = tokio::time::timeout(Duration::ZERO, cache.get(&tick)).await;
    at_once.expect("no wait").expect_err("not connected");
    cache.put(&[]).await.expect_err("no answer in time");
    server.resume();
    cache.put(&[]).await.expect("it answers");
    assert_eq!(cache.get(&tick).await, Ok(None));
}
