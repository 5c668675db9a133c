use market_core::{Amount, Price};
use proptest::prelude::*;
use serde_json::Value;

use super::*;

const WIDTH: TickerWindow = TickerWindow::Hour;

fn source() -> Topic {
    "kline:1m:BTC-USDT".parse().expect("a topic")
}

fn minute(at: i64, volume: u64, is_closed: bool) -> Arc<Minute> {
    let state = if is_closed { "closed" } else { "forming" };
    let json = format!(
        r#"{{"symbol":"BTC-USDT","exchange":"binance","start_ms":{},"open":"5","high":"5","low":"5","close":"5","volume":"{volume}","quote_volume":"{}","count":1,"state":"{state}","event_ms":null,"published_us":1}}"#,
        at * MINUTE_MS,
        5 * volume,
    );
    Arc::new(Minute::read(json.as_bytes()).expect("a bar"))
}

fn row(at: i64, volume: u64) -> BarRow {
    let price = Price::parse("5").expect("a price");
    BarRow {
        volume: Amount::from_parts(volume.into(), 0),
        quote_volume: Some(Amount::from_parts((5 * volume).into(), 0)),
        count: Some(1),
        ..BarRow::flat(at * MINUTE_MS, price, 0)
    }
}

/// Asks history for all symbols that are due.
fn wanted(
    windows: &mut Windows,
    now: Instant,
) -> Vec<(Topic, (UnixMillis, UnixMillis), Option<String>)> {
    let mut due: Vec<(Urgency, Topic)> = windows
        .due(now)
        .map(|(urgency, source)| (urgency, source.clone()))
        .collect();
    due.sort();
    let ask = |(_, source): (Urgency, Topic)| {
        let (range, exchange) = windows.ask(&source, now)?;
        Some((source, range, exchange))
    };
    due.into_iter().filter_map(ask).collect()
}

fn volume(windows: &mut Windows) -> Option<u64> {
    let event: Value = serde_json::from_str(&windows.event(&source())?).expect("JSON");
    Some(event["v"].as_str()?.parse().expect("a number"))
}

#[test]
fn there_is_no_event_until_history_has_answered_and_none_while_a_minute_is_missing() {
    let now = Instant::now();
    let mut windows = Windows::new(WIDTH, true, &MinuteRoom::new(1_000));
    windows.took(
        &source(),
        &[&minute(99, 1, true), &minute(100, 1, false)],
        now,
    );
    assert_eq!(volume(&mut windows), None);
    let range = (40 * MINUTE_MS, 100 * MINUTE_MS);
    let asked = wanted(&mut windows, now);
    assert_eq!(asked, [(source(), range, Some("binance".to_owned()))]);
    assert_eq!((wanted(&mut windows, now).len(), windows.asked()), (0, 1));
    windows.loaded(&source(), range, None, now);
    assert!(wanted(&mut windows, now).is_empty());
    let later = now + LOAD_REST;
    assert_eq!(wanted(&mut windows, later).len(), 1);
    // What history has of a minute that the topic holds is not taken.
    let rows: Vec<BarRow> = (40..100).map(|at| row(at, 10)).collect();
    windows.loaded(&source(), range, Some(&rows), later);
    assert_eq!(volume(&mut windows), Some(59 * 10 + 1 + 1));
    // The next minute begins before the one before is closed, and the first one leaves.
    windows.took(
        &source(),
        &[&minute(100, 2, false), &minute(101, 1, false)],
        now,
    );
    assert_eq!(volume(&mut windows), Some(58 * 10 + 1 + 2 + 1));
    windows.took(
        &source(),
        &[&minute(100, 3, true), &minute(101, 1, false)],
        now,
    );
    assert_eq!(volume(&mut windows), Some(58 * 10 + 1 + 3 + 1));
    // The bus was away for five minutes.
    windows.took(&source(), &[&minute(107, 1, false)], now);
    assert_eq!(volume(&mut windows), None);
    let range = (101 * MINUTE_MS, 107 * MINUTE_MS);
    assert_eq!(wanted(&mut windows, later)[0].1, range);
    let rows: Vec<BarRow> = (101..106).map(|at| row(at, 10)).collect();
    windows.loaded(&source(), range, Some(&rows), later);
    assert_eq!(volume(&mut windows), Some(52 * 10 + 1 + 3 + 5 * 10 + 1));
}

#[test]
fn history_is_asked_again_for_bars_that_it_reads_from_the_venue_only_now() {
    let mut now = Instant::now();
    let mut windows = Windows::new(WIDTH, true, &MinuteRoom::new(1_000));
    windows.took(&source(), &[&minute(100, 1, false)], now);
    let whole = (40 * MINUTE_MS, 100 * MINUTE_MS);
    let rows: Vec<BarRow> = (40..100).map(|at| row(at, 1)).collect();
    windows.loaded(&source(), whole, Some(&rows[50..]), now);
    assert_eq!(volume(&mut windows), Some(11));
    assert!(wanted(&mut windows, now).is_empty());
    now += AGAIN_AFTER;
    assert_eq!(wanted(&mut windows, now)[0].1, whole);
    windows.loaded(&source(), whole, Some(&rows[40..]), now);
    assert_eq!(volume(&mut windows), Some(21));
    now += AGAIN_AFTER;
    assert!(wanted(&mut windows, now).is_empty(), "it waits for longer");
    now += AGAIN_AFTER;
    assert_eq!(wanted(&mut windows, now)[0].1, whole);
    windows.loaded(&source(), whole, Some(&rows), now);
    assert_eq!(volume(&mut windows), Some(61));
    assert!(wanted(&mut windows, now + AGAIN_AFTER_MAX).is_empty());
}

#[test]
fn without_room_a_symbol_is_left_out_until_another_leaves() {
    let now = Instant::now();
    let room = MinuteRoom::new(200);
    let mut first = Windows::new(WIDTH, true, &room);
    first.took(&source(), &[&minute(100, 1, false)], now);
    assert!(!room.has(WIDTH, true) && room.has(WIDTH, false));
    let mut second = Windows::new(WIDTH, true, &room);
    second.took(&source(), &[&minute(100, 1, false)], now);
    assert!(wanted(&mut second, now).is_empty());
    drop(first);
    second.took(&source(), &[&minute(100, 1, false)], now);
    assert_eq!(wanted(&mut second, now).len(), 1);
}

#[test]
fn a_single_missing_minute_is_asked_for_again_and_questions_in_between_do_not_put_that_off() {
    let mut now = Instant::now();
    let mut windows = Windows::new(WIDTH, true, &MinuteRoom::new(1_000));
    let begun_at = now;
    let took = |windows: &mut Windows, at: i64| {
        windows.took(&source(), &[&minute(at, 1, false)], begun_at);
    };
    let answer = |windows: &mut Windows, lacking: &[i64], now: Instant| {
        let asked = wanted(windows, now);
        let [(_, range, _)] = asked.as_slice() else {
            return None;
        };
        let minutes = range.0 / MINUTE_MS..range.1 / MINUTE_MS;
        let had = minutes.clone().filter(|at| !lacking.contains(at));
        let rows: Vec<BarRow> = had.map(|at| row(at, 1)).collect();
        windows.loaded(&source(), *range, Some(&rows), now);
        Some((minutes.start, minutes.end))
    };
    took(&mut windows, 100);
    assert_eq!(answer(&mut windows, &[60], now), Some((40, 100)));
    assert_eq!(volume(&mut windows), Some(60));
    // The bus loses minutes, again and again.
    for at in [103, 106] {
        took(&mut windows, at);
        now += AGAIN_AFTER / 4;
        assert_eq!(answer(&mut windows, &[], now), Some((at - 3, at)));
    }
    now += AGAIN_AFTER / 2;
    assert_eq!(answer(&mut windows, &[], now), Some((46, 106)));
    assert_eq!(volume(&mut windows), Some(61));
    assert!(wanted(&mut windows, now + AGAIN_AFTER_MAX).is_empty());
    // The next time, it is asked again as soon as the first time.
    took(&mut windows, 110);
    assert_eq!(answer(&mut windows, &[107], now), Some((106, 110)));
    now += AGAIN_AFTER;
    assert_eq!(answer(&mut windows, &[], now), Some((50, 110)));
    assert_eq!(volume(&mut windows), Some(61));
}

#[test]
fn a_bar_of_the_future_holds_a_window_only_until_the_next_bar() {
    let now = Instant::now();
    let mut windows = Windows::new(WIDTH, false, &MinuteRoom::new(1_000));
    let rows = |from: i64, to: i64| -> Vec<BarRow> { (from..to).map(|at| row(at, 1)).collect() };
    windows.took(&source(), &[&minute(100, 1, false)], now);
    let first = wanted(&mut windows, now)[0].1;
    windows.loaded(&source(), first, Some(&rows(40, 100)), now);
    assert_eq!(volume(&mut windows), Some(61));
    windows.took(&source(), &[&minute(150, 7, false)], now);
    let ahead = wanted(&mut windows, now)[0].1;
    assert_eq!(ahead.1, 150 * MINUTE_MS);
    windows.took(&source(), &[&minute(100, 2, false)], now);
    assert_eq!(volume(&mut windows), None, "the first minutes are gone");
    windows.loaded(&source(), ahead, Some(&rows(100, 101)), now);
    assert_eq!(volume(&mut windows), None, "that was asked for the future");
    assert_eq!(wanted(&mut windows, now)[0].1, first);
    windows.loaded(&source(), first, Some(&rows(40, 100)), now);
    assert_eq!(volume(&mut windows), Some(62));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Minutes come, some of them are lost, some are revised; history has all of them.
    #[test]
    fn an_event_is_the_sum_of_the_window_or_none(steps in proptest::collection::vec((0u64..5, 1u64..4, any::<bool>()), 1..80)) {
        let now = Instant::now();
        let mut windows = Windows::new(WIDTH, true, &MinuteRoom::new(1_000));
        let mut truth: BTreeMap<i64, u64> = (0..=100).map(|at| (at, 1)).collect();
        let mut at = 100;
        for (step, volume_of, is_revised) in steps {
            // The topic holds two closed bars and the forming one.
            let held = |truth: &BTreeMap<i64, u64>, at: i64| -> Vec<Arc<Minute>> {
                (at - 2..=at).map(|held| minute(held, truth[&held], held < at)).collect()
            };
            if is_revised {
                truth.insert(at - 1, volume_of);
                let held = held(&truth, at);
                windows.took(&source(), &held.iter().collect::<Vec<_>>(), now);
            }
            at += i64::try_from(step).expect("small");
            for new in truth.len() as i64..=at {
                truth.insert(new, volume_of);
            }
            let held = held(&truth, at);
            windows.took(&source(), &held.iter().collect::<Vec<_>>(), now);
            let sum: u64 = truth.range(at - 60..).map(|(_, volume)| volume).sum();
            if let Some(volume) = volume(&mut windows) {
                prop_assert_eq!(volume, sum);
            }
            for (source, range, _) in wanted(&mut windows, now) {
                let rows: Vec<BarRow> = truth.range(range.0 / MINUTE_MS..range.1 / MINUTE_MS).map(|(at, volume)| row(*at, *volume)).collect();
                windows.loaded(&source, range, Some(&rows), now);
            }
            prop_assert_eq!(volume(&mut windows), Some(sum));
        }
    }
}
