//! The behaviours that every cache has.

use std::collections::BTreeMap;

use bytes::Bytes;
use history::cache::{Cache, CacheEntry, CacheKey, PutReport, Value};
use market_core::Timeframe;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::{Subject, TICKS_MAX, entry, key};

pub(crate) const MINUTE: Value = Value::Kline(Timeframe::MINUTE);

async fn get(cache: &dyn Cache, key: &CacheKey) -> Option<Bytes> {
    cache.get(key).await.expect("it answers")
}

async fn put(cache: &dyn Cache, entries: &[CacheEntry]) -> PutReport {
    cache.put(entries).await.expect("written")
}

pub(crate) async fn a_value_is_read_as_it_was_written(subject: &impl Subject) {
    let cache = subject.open();
    assert_eq!(put(&*cache, &[]).await, PutReport::default());
    let values = [Value::Tick, MINUTE, Value::Orderbook];
    for value in values {
        assert_eq!(get(&*cache, &key("BTC-USDT", value)).await, None);
    }
    // Any bytes, and many.
    let bytes: Bytes = (0..60_000u32).map(|at| (at % 256) as u8).collect();
    let entries = values.map(|value| CacheEntry {
        bytes: bytes.clone(),
        ..entry("BTC-USDT", value, 1)
    });
    assert_eq!(put(&*cache, &entries).await.written, 3);
    for value in values {
        let read = get(&*cache, &key("BTC-USDT", value)).await;
        assert!(read.is_some_and(|read| read == bytes), "{value:?}");
    }
    let other = key("BTC-USDT", Value::Kline(Timeframe::HOUR));
    assert_eq!(get(&*cache, &other).await, None);
    assert_eq!(get(&*cache, &key("ETH-USDT", Value::Tick)).await, None);
}

pub(crate) async fn an_older_value_does_not_replace_a_newer_one_in_whatever_order_they_come(
    subject: &impl Subject,
) {
    let (first, second) = (subject.open(), subject.open());
    put(&*first, &[]).await;
    put(&*second, &[]).await;
    // 9 and 10 have another order as texts.
    for value in [Value::Tick, MINUTE, Value::Orderbook] {
        let ranks = [9, 10, 2, u64::MAX, 11];
        let mut reports = PutReport::default();
        for (at, rank) in ranks.into_iter().enumerate() {
            let cache = if at % 2 == 0 { &first } else { &second };
            let report = put(&**cache, &[entry("BTC-USDT", value, rank)]).await;
            reports.written += report.written;
            reports.older += report.older;
        }
        assert_eq!((reports.written, reports.older), (3, 2), "{value:?}");
        let read = get(&*first, &key("BTC-USDT", value)).await;
        assert_eq!(read, Some(u64::MAX.to_string().into()), "{value:?}");
    }
}

pub(crate) async fn the_same_entries_again_change_nothing(subject: &impl Subject) {
    let cache = subject.open();
    let entries: Vec<_> = (0..300)
        .map(|at| entry("BTC-USDT", Value::Tick, at))
        .collect();
    put(&*cache, &entries).await;
    let tick = key("BTC-USDT", Value::Tick);
    let before = cache.ticks(&tick, 1_000).await.expect("ticks");
    // As after an answer that did not come.
    put(&*cache, &entries[200..]).await;
    put(&*cache, &entries).await;
    assert_eq!(cache.ticks(&tick, 1_000).await.expect("ticks"), before);
    assert_eq!(before.len(), 300);
    assert_eq!(get(&*cache, &tick).await, Some("299".into()));
}

pub(crate) async fn the_newest_ticks_are_kept_in_their_order(subject: &impl Subject) {
    let cache = subject.open();
    let most = TICKS_MAX as u64;
    let entries: Vec<_> = (0..most + 500)
        .map(|at| entry("BTC-USDT", Value::Tick, 5_000 + at))
        .collect();
    put(&*cache, &entries).await;
    // Another price at the same time replaces the one before.
    let corrected = CacheEntry {
        bytes: "corrected".into(),
        ..entry("BTC-USDT", Value::Tick, 5_000 + most + 499)
    };
    put(&*cache, std::slice::from_ref(&corrected)).await;
    let tick = key("BTC-USDT", Value::Tick);
    let ticks = cache
        .ticks(&tick, usize::from(u16::MAX))
        .await
        .expect("ticks");
    let mut expected: Vec<Bytes> = entries[500..]
        .iter()
        .map(|tick| tick.bytes.clone())
        .collect();
    expected.pop();
    expected.push("corrected".into());
    assert_eq!(ticks, expected);
    let newest = cache.ticks(&tick, 3).await.expect("ticks");
    assert_eq!(newest, expected[expected.len() - 3..]);
    assert_eq!(cache.ticks(&tick, 0).await.expect("ticks"), [""; 0]);
    let other = key("ETH-USDT", Value::Tick);
    assert_eq!(cache.ticks(&other, 10).await.expect("ticks"), [""; 0]);
}

pub(crate) async fn a_late_tick_takes_its_place_among_the_others(subject: &impl Subject) {
    let cache = subject.open();
    let tick = key("BTC-USDT", Value::Tick);
    for at in [9, 5, 7] {
        put(&*cache, &[entry("BTC-USDT", Value::Tick, at)]).await;
    }
    // One with a lower rank does not replace the one of its time.
    let lower = CacheEntry {
        bytes: "lower".into(),
        event_ms: 7,
        ..entry("BTC-USDT", Value::Tick, 6)
    };
    let report = put(&*cache, &[lower]).await;
    assert_eq!((report.written, report.older), (0, 1));
    assert_eq!(get(&*cache, &tick).await, Some("9".into()));
    let ticks = cache.ticks(&tick, 10).await.expect("ticks");
    assert_eq!(ticks, ["5", "7", "9"]);
}

pub(crate) async fn a_cache_equals_its_model_after_any_writes(subject: &impl Subject) {
    let cache = subject.open();
    let mut random = StdRng::seed_from_u64(13);
    let mut model: BTreeMap<CacheKey, CacheEntry> = BTreeMap::new();
    for _ in 0..200 {
        let count = random.random_range(0..150);
        let entries: Vec<CacheEntry> = (0..count)
            .map(|_| {
                let pair = ["BTC-USDT", "ETH-USDT", "SOL-USDT"][random.random_range(0..3)];
                let value = [Value::Tick, MINUTE, Value::Orderbook][random.random_range(0..3)];
                entry(pair, value, random.random_range(0..100_000))
            })
            .collect();
        let mut expected = PutReport::default();
        for entry in &entries {
            let held = model.get(&entry.key);
            if held.is_some_and(|held| held.rank > entry.rank) {
                expected.older += 1;
                continue;
            }
            expected.written += 1;
            model.insert(entry.key.clone(), entry.clone());
        }
        assert_eq!(put(&*cache, &entries).await, expected);
    }
    for (key, entry) in &model {
        assert_eq!(get(&*cache, key).await.as_ref(), Some(&entry.bytes));
    }
}

pub(crate) async fn writers_at_once_leave_the_newest_value(subject: &impl Subject) {
    let writers = (0..4u64).map(|writer| {
        let cache = subject.open();
        tokio::spawn(async move {
            for step in 0..200u64 {
                let entries = [entry("BTC-USDT", MINUTE, step * 4 + writer)];
                put(&*cache, &entries).await;
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.expect("no panic");
    }
    let cache = subject.open();
    put(&*cache, &[]).await;
    let read = get(&*cache, &key("BTC-USDT", MINUTE)).await;
    assert_eq!(read, Some("799".into()));
}
