//! Keys of other programs, values that are none of the newest, and another server at the address.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use history::cache::{Cache, CacheEntry, PutReport, Value};
use market_core::BarState;
use redis::AsyncCommands as _;
use testkit::redis::RedisServer;
use tokio::net::{TcpListener, TcpStream};

use crate::program::{Program, TICK, connection, until_value};
use crate::suite::MINUTE;
use crate::{entry, key, redis};

/// As of a Redis that came back from an older snapshot.
#[tokio::test]
async fn an_old_price_of_a_cache_that_answers_does_not_hide_a_newer_one_of_the_bus() {
    let Some(server) = RedisServer::start(&[]) else {
        return;
    };
    let program = Program::start(&server.url()).await;
    let mut other = connection(&server).await;
    let old = program.publish(10, BarState::Forming).await;
    let new = program.publish(50, BarState::Forming).await;
    program.until_told("cache", "", 50).await;
    let () = other.set(TICK, &old[..]).await.expect("set");
    assert_eq!(program.tick().await.event_ms, 50);
    // And the cache gets it again.
    until_value(&mut other, TICK, &new).await;
    program.until_told("cache", "", 50).await;
    program.stop().await;
}

#[tokio::test]
async fn a_value_of_another_type_under_a_key_is_not_touched() {
    let Some(server) = RedisServer::start(&[]) else {
        return;
    };
    let mut other = connection(&server).await;
    let names = [TICK, "market_data:kline:binance:BTC-USDT:1m"];
    for name in names {
        let () = other.hset(name, "theirs", 1).await.expect("set");
    }
    // And one that is no rank.
    let rank = "market_data:tick:binance:ETH-USDT:rank";
    let () = other.set(rank, "theirs").await.expect("set");
    let cache = redis(&server.url());
    let entries: Vec<CacheEntry> = vec![
        entry("BTC-USDT", Value::Tick, 1),
        entry("BTC-USDT", MINUTE, 1),
        entry("ETH-USDT", Value::Tick, 1),
        entry("XRP-USDT", Value::Tick, 1),
    ];
    let expected = PutReport {
        written: 1,
        older: 0,
        poisoned: 3,
    };
    assert_eq!(cache.put(&entries).await, Ok(expected));
    for name in names {
        let theirs: u64 = other.hget(name, "theirs").await.expect("a hash");
        assert_eq!(theirs, 1, "{name}");
    }
    let theirs: String = other.get(rank).await.expect("read");
    assert_eq!(theirs, "theirs");
}

#[tokio::test]
async fn questions_for_a_key_of_another_type_are_misses_and_the_cache_stays_well() {
    let Some(server) = RedisServer::start(&[]) else {
        return;
    };
    let log = testkit::log::Log::start();
    let program = Program::start(&server.url()).await;
    let mut other = connection(&server).await;
    program.publish(10, BarState::Forming).await;
    program.until_told("cache", "", 10).await;
    let mut replace = redis::pipe();
    let replace = replace.atomic().del(TICK).hset(TICK, "theirs", 1);
    let () = replace.query_async(&mut other).await.expect("replaced");
    for _ in 0..20 {
        let told = program.tick().await;
        let expected = ("bus", "", 10);
        assert_eq!((&*told.source, &*told.degraded, told.event_ms), expected);
    }
    assert_eq!(log.events("the cache answers").len(), 1);
    program.stop().await;
}

#[tokio::test]
async fn a_value_that_is_far_too_long_is_a_miss() {
    let Some(server) = RedisServer::start(&[]) else {
        return;
    };
    let mut other = connection(&server).await;
    let cache = redis(&server.url());
    cache.put(&[]).await.expect("it answers");
    for (bytes, is_read) in [(1 << 16, true), ((1 << 16) + 1, false), (1 << 24, false)] {
        let () = other.set(TICK, vec![b'x'; bytes]).await.expect("set");
        let read = cache.get(&key("BTC-USDT", Value::Tick)).await;
        let read = read.expect("it answers");
        assert_eq!(read.map(|read| read.len()), is_read.then_some(bytes));
    }
}

/// As the address of a primary: connections stay with the server that they were made to.
async fn forwarder(server: &RedisServer) -> (String, Arc<Mutex<SocketAddr>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let target = Arc::new(Mutex::new(server.address()));
    let current = Arc::clone(&target);
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let to = *current.lock().expect("no panic");
            tokio::spawn(async move {
                if let Ok(mut server) = TcpStream::connect(to).await {
                    tokio::io::copy_bidirectional(&mut client, &mut server)
                        .await
                        .ok();
                }
            });
        }
    });
    (format!("redis://{address}"), target)
}

#[tokio::test]
async fn a_redis_that_was_demoted_is_left_for_the_one_that_took_over() {
    let (Some(first), Some(second)) = (RedisServer::start(&[]), RedisServer::start(&[])) else {
        return;
    };
    let (url, target) = forwarder(&first).await;
    let program = Program::start(&url).await;
    program.publish(10, BarState::Forming).await;
    program.until_told("cache", "", 10).await;
    *target.lock().expect("no panic") = second.address();
    let () = redis::cmd("REPLICAOF")
        .arg(&["127.0.0.1", "1"][..])
        .query_async(&mut connection(&first).await)
        .await
        .expect("it obeys");
    let new = program.publish(50, BarState::Forming).await;
    let mut other = connection(&second).await;
    until_value(&mut other, TICK, &new).await;
    program.until_told("cache", "", 50).await;
    program.stop().await;
}
