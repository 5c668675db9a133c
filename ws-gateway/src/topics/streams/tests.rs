use client_frames::dialect::binance::stream::pattern_of;
use market_core::binance::DepthBook;
use market_core::book::{BookFault, BookTop};
use market_core::protocol::Filter;
use market_core::quote::PriceLevel;
use market_core::wire::{BookMessage, JsonMessage, Stamp};
use serde_json::Value;

use super::*;
use crate::limits::SharesConfig;
use crate::topics::names::Names;
use crate::topics::publication::Placed;
use crate::topics::state::{self, Depth, StreamPosition};

mod books;
mod windows;

struct World {
    hub: Arc<Hub>,
    streams: Streams,
    now: Instant,
}

impl World {
    fn new(limits: StreamLimits) -> Self {
        Self::of(Names::any(), Warmth::warm(), limits)
    }

    fn of(names: Names, warmth: Arc<Warmth>, limits: StreamLimits) -> Self {
        let hub = Arc::new(Hub::new(1, 100, Depth::default(), names));
        Self {
            streams: Streams::new(Arc::clone(&hub), warmth, limits),
            hub,
            now: Instant::now(),
        }
    }

    fn want(&self, name: &str, sharer: Option<Sharer>) -> Result<Topic, String> {
        self.want_of(name, true, sharer)
    }

    fn want_of(&self, name: &str, is_known: bool, sharer: Option<Sharer>) -> Result<Topic, String> {
        let topic = pattern_of(name).and_then(|pattern| pattern.as_topic());
        let topic = topic.expect("a stream");
        let stream = MadeStream::of(&topic.clone().into()).expect("it is made");
        self.streams
            .want(&topic, stream, is_known, sharer, self.now)
            .map(|()| topic)
    }

    fn publish(&self, topic: &str, seq: u64, json: Vec<u8>, class: market_core::channel::Class) {
        let slot = self.hub.slot_of(&topic.parse().expect("a topic"));
        let placed = Placed {
            position: StreamPosition { epoch: 1_000, seq },
            exchange: "binance",
            class,
            published_us: Some(1),
        };
        let slot = slot.expect("room");
        let _ = self.hub.offer_placed(slot, placed, json.into(), self.now);
    }

    fn book(&self, seq: u64, bids: &[u64]) -> DepthBook {
        let level = |price: &u64| {
            let level = PriceLevel::parse(&price.to_string(), "1").expect("numbers");
            level.expect("a level")
        };
        let top = BookTop {
            update_id: None,
            bids: bids.iter().map(level).collect(),
            asks: vec![level(&99)],
            event_ms: None,
            received_us: 1,
        };
        let book = match bids {
            [] => Err(BookFault::Hole),
            _ => Ok(&top),
        };
        let stamp = Stamp {
            seq,
            epoch: 1_000,
            published_us: 5_000,
        };
        let symbol = "BTC-USDT".parse().expect("a symbol");
        let json = BookMessage::new("binance", &symbol, book, stamp).encode();
        let read = DepthBook::read(&json).expect("a book");
        self.publish(
            "book:BTC-USDT",
            seq,
            json.to_vec(),
            market_core::channel::Class::Book,
        );
        read
    }

    fn ticker(&self, symbol: &str, seq: u64, last: u64) {
        let json = format!(
            r#"{{"topic":"ticker:{symbol}","seq":{seq},"epoch":1000,"exchange":"binance","symbol":"{symbol}","source":"venue","open":"1","high":"1","low":"1","last":"{last}","last_quantity":null,"volume":"2","quote_volume":null,"count":null,"first_id":null,"last_id":null,"bid":null,"bid_quantity":null,"ask":null,"ask_quantity":null,"event_ms":7,"received_us":1,"published_us":1}}"#
        );
        let topic = format!("ticker:{symbol}");
        let class = market_core::channel::Class::Latest;
        self.publish(&topic, seq, json.into_bytes(), class);
    }

    /// A bar of a minute at the price 2, whose quote volume is its volume times its number.
    fn bar(&self, symbol: &str, seq: u64, minute: u64, volume: u64, state: &str) {
        let start_ms = minute * 60_000;
        let topic = format!("kline:1m:{symbol}");
        let json = format!(
            r#"{{"topic":"{topic}","seq":{seq},"epoch":1000,"exchange":"binance","symbol":"{symbol}","interval":"1m","start_ms":{start_ms},"end_ms":{},"open":"2","high":"2","low":"2","close":"2","volume":"{volume}","quote_volume":"{}","taker_buy_volume":"0","taker_buy_quote_volume":"0","count":1,"first_id":null,"last_id":null,"state":"{state}","rev":0,"quality":"complete","event_ms":{start_ms},"received_us":1,"published_us":1}}"#,
            start_ms + 60_000,
            volume * minute,
        );
        let head = market_core::wire::BarHead::read(json.as_bytes()).expect("a bar");
        let slot = self.hub.slot_of(&topic.parse().expect("a topic"));
        let payload = Bytes::from(json.clone());
        let _ = self
            .hub
            .offer(slot.expect("room"), Some(&head), payload, self.now);
    }

    /// History answers all that is asked of it, with a bar of this volume for each minute.
    fn answer(&self, volume: u64) -> usize {
        let loads = self.streams.loads(self.now);
        self.answer_these(&loads, volume);
        loads.len()
    }

    fn answer_these(&self, loads: &[Load], volume: u64) {
        for load in loads {
            let minutes = load.range.0 / 60_000..load.range.1 / 60_000;
            let price = market_core::Price::parse("2").expect("a price");
            let rows: Vec<BarRow> = minutes
                .map(|minute| BarRow {
                    volume: market_core::Amount::from_parts(volume.into(), 0),
                    ..BarRow::flat(minute * 60_000, price, 0)
                })
                .collect();
            self.streams.loaded(load, Some(&rows), self.now);
        }
    }

    fn turn(&mut self, later_ms: u64) {
        self.now += Duration::from_millis(later_ms);
        self.streams.turn(self.now);
    }

    /// What a session gets that has seen all versions up to `seen`, and the version that it has then.
    fn event(&self, topic: &Topic, seen: Option<u64>) -> Option<(Value, u64)> {
        let id = self.hub.find(topic).expect("a slot");
        let pulled = self.hub.pull(0, 0);
        let slot = &pulled.created[id.index()];
        let newest = slot.state().newest()?;
        let payload = match seen {
            None => state::snapshot(&slot.state(), Some(&newest), u64::MAX, Filter::default()),
            Some(seen) => {
                let filter = Filter::default();
                let state = slot.state();
                let delta = state::delta(&state, Some(&newest), seen, u64::MAX, filter);
                delta.updates.into_iter().next()
            }
        };
        let json: Value = serde_json::from_slice(payload?.json()).expect("JSON");
        Some((json["data"].clone(), newest.version))
    }
}

#[test]
fn an_array_has_the_tickers_that_changed_since_the_one_that_a_session_has() {
    let mut world = World::new(StreamLimits::default());
    world.ticker("BTC-USDT", 1, 10);
    world.ticker("ETH-USDT", 1, 20);
    let topic = world.want("!miniTicker@arr", None).expect("room");
    let symbols = |event: &Value| -> Vec<String> {
        let events = event.as_array().expect("an array").iter();
        events
            .map(|event| event["s"].as_str().expect("a name").to_owned())
            .collect()
    };
    let (first, seen) = world.event(&topic, None).expect("an event");
    assert_eq!(symbols(&first), ["BTCUSDT", "ETHUSDT"]);
    world.ticker("ETH-USDT", 2, 21);
    world.turn(1_000);
    world.ticker("SOL-USDT", 1, 30);
    world.turn(1_000);
    let (next, _) = world.event(&topic, Some(seen)).expect("an event");
    assert_eq!(
        symbols(&next),
        ["ETHUSDT", "SOLUSDT"],
        "also those of an array that it skipped"
    );
    assert_eq!(next[0]["c"], "21");
}

#[test]
fn streams_are_bounded_and_end_after_their_last_session() {
    let shares = SharesConfig {
        per_session: 2,
        ..StreamLimits::default().shares
    };
    let mut world = World::new(StreamLimits {
        streams_max: 3,
        shares,
        ..StreamLimits::default()
    });
    let sharer = |number: u64| {
        Some(Sharer {
            session: (0, number),
            ip: None,
        })
    };
    let topic = world.want("btcusdt@depth", sharer(1)).expect("room");
    world.want("ethusdt@depth", sharer(1)).expect("room");
    let error = world
        .want("solusdt@depth", sharer(1))
        .expect_err("too many");
    assert!(error.contains("2 streams"), "{error}");
    world.want("!ticker@arr", sharer(2)).expect("room");
    let error = world
        .want("solusdt@depth", sharer(3))
        .expect_err("too many");
    assert!(error.contains("no more streams"), "{error}");
    for _ in 0..59 {
        world.turn(1_000);
        world.streams.renew(std::slice::from_ref(&topic), world.now);
    }
    world.turn(2_000);
    assert_eq!(world.streams.topics(), [topic]);
    let _ = world.hub.pull(0, 0);
    world.want("solusdt@depth", sharer(1)).expect("room again");
}

#[test]
fn streams_of_invented_symbols_leave_room_for_the_others() {
    let mut world = World::new(StreamLimits {
        streams_max: 20,
        ..StreamLimits::default()
    });
    for at in 0..2 {
        let name = format!("aaa{at}-usdt@depth");
        world.want_of(&name, false, None).expect("room");
    }
    let error = world.want_of("aaa2-usdt@depth", false, None);
    let error = error.expect_err("too many");
    assert!(error.contains("nothing of book:AAA2-USDT"), "{error}");
    // Its bars are known, but no book has come yet.
    world.want("ethusdt@depth", None).expect("room");
    world.book(1, &[9]);
    world.want_of("btcusdt@depth", false, None).expect("room");
    assert_eq!(world.streams.inner().unknown, 2);
    // One of them is no invention.
    world.want("aaa1-usdt@depth", None).expect("it is there");
    world.want_of("btc-usdc@depth", false, None).expect("room");
    world.turn(61_000);
    assert_eq!(world.streams.inner().unknown, 0);
}

#[test]
fn streams_that_clients_want_back_before_the_bars_are_loaded_are_not_taken_for_inventions() {
    let condition = service::Service::for_test().readiness.condition("warm");
    let warmth = Warmth::new(condition, 1);
    let limits = StreamLimits {
        streams_max: 20,
        ..StreamLimits::default()
    };
    let mut world = World::of(Names::any(), Arc::clone(&warmth), limits);
    for at in 0..12 {
        let name = format!("aaa{at}-usdt@depth");
        world.want_of(&name, false, None).expect("nobody can know");
    }
    warmth.one_is_warm();
    let error = world.want_of("bbb-usdt@depth", false, None);
    assert!(error.expect_err("invented").contains("nothing of"));
    // Those that are real are found out at the next renewal.
    for at in 0..11 {
        let name = format!("aaa{at}-usdt@depth");
        world.want_of(&name, true, None).expect("it is there");
    }
    assert_eq!(world.streams.inner().unknown, 1);
    world.want_of("bbb-usdt@depth", false, None).expect("room");
    // After a standstill, bars may be missing again.
    warmth.one_is_cold();
    for at in 0..7 {
        let name = format!("ccc{at}-usdt@depth");
        world.want_of(&name, false, None).expect("nobody can know");
    }
    let error = world.want_of("ddd-usdt@depth", false, None);
    assert!(error.expect_err("too many").contains("no more streams"));
    world.turn(61_000);
    assert_eq!(world.streams.inner().unknown, 0);
}

#[test]
fn a_gateway_without_bars_takes_no_symbol_for_an_invention() {
    let limits = StreamLimits {
        streams_max: 5,
        ..StreamLimits::default()
    };
    let names = Names::new(&["book.>".to_owned(), "ticker.>".to_owned()], &[], &[]);
    let world = World::of(names, Warmth::warm(), limits);
    for at in 0..5 {
        let name = format!("aaa{at}-usdt@depth");
        world.want_of(&name, false, None).expect("nobody can know");
    }
    let error = world.want_of("bbb-usdt@depth", false, None);
    assert!(error.expect_err("too many").contains("no more streams"));
}

#[test]
fn ended_streams_take_no_room_of_folds() {
    let mut world = World::new(StreamLimits::default());
    world.want("btcusdt@depth", None).expect("room");
    world.turn(61_000);
    let counts = world.hub.ending_counts();
    assert_eq!((counts.folds, counts.streams), (0, 1));
    let _ = world.hub.pull(0, 0);
    assert_eq!(world.hub.ending_counts().streams, 0);
}

#[test]
fn an_average_price_has_the_minute_that_is_not_closed_yet_and_no_older_ones() {
    let mut world = World::new(StreamLimits::default());
    let average = |world: &World, topic: &Topic| {
        let (event, _) = world.event(topic, None).expect("an event");
        event["w"].as_str().expect("a price").to_owned()
    };
    let mut seq = 0;
    for minute in 1..=7 {
        seq += 1;
        world.bar("BTC-USDT", seq, minute, 1, "closed");
    }
    let topic = world.want("btcusdt@avgPrice", None).expect("room");
    assert_eq!(average(&world, &topic), "5.00000000");
    for (minute, expected) in [(8, "6.00000000"), (9, "7.00000000")] {
        seq += 1;
        world.bar("BTC-USDT", seq, minute, 1, "forming");
        world.turn(1_000);
        // The minute before it is closed two seconds later.
        assert_eq!(average(&world, &topic), expected);
    }
    seq += 1;
    world.bar("BTC-USDT", seq, 8, 5, "closed");
    world.turn(1_000);
    assert_eq!(average(&world, &topic), "7.44444444");
}

#[test]
fn trades_are_aggregates_once_each_and_in_order() {
    let mut world = World::new(StreamLimits::default());
    let trade = |world: &World, seq: u64| {
        let json = format!(
            r#"{{"topic":"trade:BTC-USDT","seq":{seq},"epoch":1000,"exchange":"binance","symbol":"BTC-USDT","first_id":"{seq}","last_id":"{seq}","price":"2","quantity":"1","aggressor_side":"sell","event_ms":7,"received_us":1,"published_us":1}}"#
        );
        let class = market_core::channel::Class::Log;
        world.publish("trade:BTC-USDT", seq, json.into_bytes(), class);
    };
    trade(&world, 1);
    let topic = world.want("btcusdt@aggTrade", None).expect("room");
    let id = world.hub.find(&topic).expect("a slot");
    for seq in 2..=5 {
        trade(&world, seq);
        if seq % 2 == 0 {
            world.turn(1);
        }
    }
    world.turn(1);
    let pulled = world.hub.pull(0, 0);
    let slot = Arc::clone(&pulled.created[id.index()]);
    let events = slot.state().publications();
    let numbers: Vec<u64> = events
        .iter()
        .map(|json| {
            let json: Value = serde_json::from_slice(json).expect("JSON");
            assert_eq!(json["stream"], "btcusdt@aggTrade");
            json["data"]["a"].as_u64().expect("an id")
        })
        .collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5]);
}
