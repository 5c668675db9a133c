use super::*;

#[test]
fn a_ticker_of_a_window_comes_once_history_has_answered_and_then_once_a_second() {
    let mut world = World::new(StreamLimits::default());
    world.bar("BTC-USDT", 1, 99, 5, "closed");
    world.bar("BTC-USDT", 2, 100, 7, "forming");
    let topic = world.want("btcusdt@ticker_1h", None).expect("room");
    world.turn(1_000);
    assert_eq!(world.event(&topic, None), None);
    assert_eq!(world.answer(3), 1);
    world.turn(1_000);
    let (event, seen) = world.event(&topic, None).expect("an event");
    assert_eq!(
        (&event["e"], &event["v"], &event["O"]),
        (&"1hTicker".into(), &"189".into(), &2_400_000.into())
    );
    world.bar("BTC-USDT", 3, 100, 8, "forming");
    world.turn(100);
    assert_eq!(world.event(&topic, Some(seen)), None);
    world.turn(900);
    let (event, _) = world.event(&topic, Some(seen)).expect("an event");
    assert_eq!(event["v"], "190");
    assert_eq!(world.answer(3), 0);
}

#[test]
fn an_array_of_windows_has_the_symbols_that_changed_and_history_is_asked_for_few_at_once() {
    let world = World::new(StreamLimits::default());
    let symbols: Vec<String> = (0..10).map(|at| format!("A{at}-USDT")).collect();
    for symbol in &symbols {
        world.bar(symbol, 1, 300, 7, "forming");
    }
    let topic = world.want("!ticker_4h@arr", None).expect("room");
    assert_eq!(world.streams.loads(world.now).len(), LOADS_MAX);
    assert!(world.streams.loads(world.now).is_empty());
    drop(world);

    let mut world = World::new(StreamLimits::default());
    for symbol in &symbols {
        world.bar(symbol, 1, 300, 7, "forming");
    }
    world.want("!ticker_4h@arr", None).expect("room");
    while world.answer(1) > 0 {}
    world.turn(1_000);
    let (event, seen) = world.event(&topic, None).expect("an event");
    let rows = event.as_array().expect("an array");
    assert_eq!(rows.len(), 10);
    assert!(rows.iter().all(|row| row["v"] == "247"));
    world.bar("A3-USDT", 2, 300, 9, "forming");
    world.bar("B-USDT", 1, 300, 1, "forming");
    world.turn(1_000);
    world.answer(2);
    world.turn(1_000);
    let (event, _) = world.event(&topic, Some(seen)).expect("an event");
    let rows = event.as_array().expect("an array").iter();
    let rows: Vec<_> = rows
        .map(|row| (row["s"].as_str(), row["v"].as_str()))
        .collect();
    assert_eq!(
        rows,
        [(Some("A3USDT"), Some("249")), (Some("BUSDT"), Some("481"))]
    );
}

#[test]
fn tickers_of_windows_hold_a_bounded_number_of_minutes() {
    let mut world = World::new(StreamLimits {
        window_minutes_max: 240,
        ..StreamLimits::default()
    });
    for symbol in ["BTC-USDT", "ETH-USDT", "SOL-USDT"] {
        world.bar(symbol, 1, 300, 7, "forming");
    }
    let error = world.want("btcusdt@ticker_4h", None).expect_err("no room");
    assert!(error.contains("no more minutes"), "{error}");
    let array = world.want("!ticker_1h@arr", None).expect("room");
    while world.answer(1) > 0 {}
    world.turn(1_000);
    let (event, _) = world.event(&array, None).expect("an event");
    assert_eq!(event.as_array().map(Vec::len), Some(1), "half of the room");
    let second = world.want("!ticker_1h@arr", None);
    second.expect("it is the same one");
    for name in ["aaa-usdt@ticker_1h", "ethusdt@ticker_1h"] {
        world.want(name, None).expect("arrays leave room");
    }
    let error = world.want("solusdt@ticker_1h", None);
    assert!(error.expect_err("no room").contains("no more minutes"));
    // The bars of the first one come late, and find their room.
    world.bar("AAA-USDT", 1, 300, 7, "forming");
    world.turn(1_000);
    while world.answer(1) > 0 {}
    world.turn(1_000);
    let topic = world.want("aaa-usdt@ticker_1h", None).expect("it is there");
    let (event, _) = world.event(&topic, None).expect("an event");
    assert_eq!(event["v"], "67");
    for _ in 0..62 {
        world.turn(1_000);
    }
    world.want("solusdt@ticker_1h", None).expect("room again");
}

#[test]
fn one_client_leaves_minutes_of_windows_for_the_others() {
    let mut world = World::new(StreamLimits {
        window_minutes_max: 1_441 * 16,
        shares: SharesConfig {
            per_ip: 1_000,
            holds_for_loopback: true,
            ..StreamLimits::default().shares
        },
        ..StreamLimits::default()
    });
    let sharer = |session: u64, ip: &str| {
        Some(Sharer {
            session: (0, session),
            ip: Some(ip.parse().expect("an address")),
        })
    };
    let day = |world: &World, at: usize, sharer: Option<Sharer>| {
        world.want(&format!("a{at}-usdt@ticker_1d"), sharer)
    };
    let first = sharer(1, "10.0.0.1");
    for at in 0..2 {
        day(&world, at, first).expect("its share");
    }
    let error = day(&world, 2, first).expect_err("beyond it");
    assert!(
        error.contains("2882 minutes") && error.contains("a session"),
        "{error}"
    );
    day(&world, 1, first).expect("it has it");
    world.want("btcusdt@depth", first).expect("no window");
    for at in 2..4 {
        day(&world, at, sharer(2, "10.0.0.1")).expect("of the address");
    }
    let error = day(&world, 4, sharer(3, "10.0.0.1")).expect_err("beyond it");
    assert!(error.contains("an address"), "{error}");
    day(&world, 4, sharer(4, "10.0.0.2")).expect("another client");
    for _ in 0..62 {
        world.turn(1_000);
    }
    assert_eq!(world.streams.inner().shares.minutes.len(), (0, 0));
    let _ = world.hub.pull(0, 0);
    day(&world, 9, first).expect("room again");
}

#[test]
fn history_is_asked_first_for_what_was_never_asked_and_for_streams_of_one_symbol() {
    let mut world = World::new(StreamLimits::default());
    for at in 0..6 {
        world.bar(&format!("A{at}-USDT"), 1, 300, 7, "forming");
    }
    world.bar("Z-USDT", 1, 300, 7, "forming");
    let sources = |loads: &[Load]| -> Vec<String> {
        let sources = loads.iter().map(|load| load.source.as_str());
        sources
            .map(|source| source["kline:1m:".len()..].to_owned())
            .collect()
    };
    let array = world.want("!ticker_1h@arr", None).expect("room");
    world.want("z-usdt@ticker_1h", None).expect("room");
    let first = world.streams.loads(world.now);
    assert_eq!(sources(&first), ["Z-USDT", "A0-USDT", "A1-USDT", "A2-USDT"]);
    assert_ne!(first[0].topic, array);
    // One of them lacks bars, and one has no answer: the others come first.
    world.answer_these(&first[..2], 1);
    world.streams.loaded(&first[2], Some(&[]), world.now);
    world.streams.loaded(&first[3], None, world.now);
    world.turn(10_000);
    let second = world.streams.loads(world.now);
    assert_eq!(
        sources(&second),
        ["A3-USDT", "A4-USDT", "A5-USDT", "Z-USDT"]
    );
    world.answer_these(&second, 1);
    // Then those without an event.
    let third = world.streams.loads(world.now);
    assert_eq!(sources(&third), ["A2-USDT", "A1-USDT"]);
}

#[test]
fn a_bar_is_read_once_for_all_arrays_of_windows() {
    let mut world = World::new(StreamLimits::default());
    for minute in 1..=6 {
        let state = if minute < 6 { "closed" } else { "forming" };
        world.bar("BTC-USDT", minute, minute, 1, state);
    }
    let arrays = ["!ticker_1h@arr", "!ticker_1d@arr"];
    for name in arrays {
        world.want(name, None).expect("room");
    }
    let read = |world: &World| -> Vec<Arc<market_core::binance::Minute>> {
        let inner = world.streams.inner();
        let source: Topic = "kline:1m:BTC-USDT".parse().expect("a topic");
        let of = inner.by_source.get(&source);
        let readings = of.into_iter().flat_map(|of| &of.readings);
        let minutes = readings.filter_map(|reading| match &reading.content {
            readings::Content::Minute(minute) => Some(Arc::clone(minute)),
            _ => None,
        });
        minutes.collect()
    };
    let before = read(&world);
    world.bar("BTC-USDT", 7, 6, 2, "forming");
    world.turn(1_000);
    let after = read(&world);
    assert_eq!((before.len(), after.len()), (6, 6));
    for at in 0..5 {
        assert!(
            Arc::ptr_eq(&before[at], &after[at]),
            "bar {at} is read again"
        );
    }
    assert!(!Arc::ptr_eq(&before[5], &after[5]));
    for _ in 0..62 {
        world.turn(1_000);
    }
    assert!(world.streams.inner().by_source.is_empty());
}
