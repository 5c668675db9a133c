use market_core::Timeframe;
use proptest::prelude::*;

use super::*;

fn ours() -> BarMessage {
    BarMessage {
        topic: String::new(),
        seq: 0,
        epoch: 0,
        exchange: "binance".to_owned(),
        symbol: "BTC-USDT".to_owned(),
        interval: Timeframe::MINUTE,
        start_ms: 60_000,
        end_ms: 120_000,
        open: "10".to_owned(),
        high: "12".to_owned(),
        low: "9.5".to_owned(),
        close: "11".to_owned(),
        volume: "3".to_owned(),
        quote_volume: Some("31".to_owned()),
        taker_buy_volume: Some("1".to_owned()),
        taker_buy_quote_volume: Some("10".to_owned()),
        count: Some(4),
        first_id: None,
        last_id: None,
        state: BarState::Closed,
        rev: 0,
        quality: Quality::Complete,
        event_ms: None,
        received_us: None,
        published_us: 0,
    }
}

fn venue() -> VenueBar {
    VenueBar {
        start_ms: 60_000,
        open: "10.00".to_owned(),
        high: "12.00".to_owned(),
        low: "9.50".to_owned(),
        close: "11.00".to_owned(),
        volume: "3.000".to_owned(),
        quote_volume: Some("31.0000".to_owned()),
        count: Some(4),
        taker_buy_volume: Some("1.000".to_owned()),
        taker_buy_quote_volume: Some("10.0".to_owned()),
    }
}

fn empty_venue() -> VenueBar {
    VenueBar {
        open: "11".to_owned(),
        high: "11".to_owned(),
        low: "11".to_owned(),
        close: "11".to_owned(),
        volume: "0.000".to_owned(),
        quote_volume: Some("0".to_owned()),
        count: Some(0),
        taker_buy_volume: Some("0".to_owned()),
        taker_buy_quote_volume: Some("0".to_owned()),
        ..venue()
    }
}

fn filled() -> BarMessage {
    let flat = || "11".to_owned();
    BarMessage {
        open: flat(),
        high: flat(),
        low: flat(),
        close: flat(),
        volume: "0".to_owned(),
        quote_volume: Some("0".to_owned()),
        taker_buy_volume: Some("0".to_owned()),
        taker_buy_quote_volume: Some("0".to_owned()),
        count: Some(0),
        quality: Quality::Filled,
        ..ours()
    }
}

/// `None` for equal, else the cause and the fields.
#[track_caller]
fn check(ours: Option<&BarMessage>, venue: Option<&VenueBar>, expected: Option<(Cause, &str)>) {
    let found = match compare(ours, venue) {
        Verdict::Equal => None,
        Verdict::Mismatch(cause, differences) => {
            let fields: Vec<&str> = differences.iter().map(|found| found.field).collect();
            Some((cause, fields.join(",")))
        }
    };
    assert_eq!(
        found,
        expected.map(|(cause, fields)| (cause, fields.to_owned()))
    );
}

#[test]
fn spelling_and_fields_that_the_venue_lacks_are_no_difference() {
    check(Some(&ours()), Some(&venue()), None);
    let bare = VenueBar {
        quote_volume: None,
        count: None,
        taker_buy_volume: None,
        taker_buy_quote_volume: None,
        ..venue()
    };
    check(Some(&ours()), Some(&bare), None);
}

#[test]
fn an_empty_interval_may_be_flat_or_absent_on_either_side() {
    check(Some(&filled()), Some(&empty_venue()), None);
    check(Some(&filled()), None, None);
    check(None, Some(&empty_venue()), None);
    check(None, None, None);
    let elsewhere = VenueBar {
        open: "11.5".to_owned(),
        ..empty_venue()
    };
    check(
        Some(&filled()),
        Some(&elsewhere),
        Some((Cause::FieldDiffers, "open")),
    );
}

#[test]
fn trades_on_one_side_only_are_missing_or_extra() {
    let missing = Some((Cause::MissingBar, "volume,count"));
    check(None, Some(&venue()), missing);
    check(Some(&filled()), Some(&venue()), missing);
    let extra = Some((Cause::ExtraBar, "volume,count"));
    check(Some(&ours()), None, extra);
    check(Some(&ours()), Some(&empty_venue()), extra);
    let lost = BarMessage {
        quality: Quality::Gap,
        ..filled()
    };
    check(
        Some(&lost),
        Some(&venue()),
        Some((Cause::Gap, "volume,count")),
    );
}

#[test]
fn every_field_that_differs_is_named() {
    let differing = VenueBar {
        close: "11.1".to_owned(),
        taker_buy_volume: Some("2".to_owned()),
        count: Some(5),
        ..venue()
    };
    check(
        Some(&ours()),
        Some(&differing),
        Some((Cause::FieldDiffers, "close,taker_buy_volume,count")),
    );
}

#[test]
fn a_part_is_explained_only_if_it_can_be_one() {
    let more = VenueBar {
        high: "13".to_owned(),
        volume: "5".to_owned(),
        count: Some(9),
        ..venue()
    };
    let less = VenueBar {
        volume: "2".to_owned(),
        ..venue()
    };
    for (quality, cause) in [
        (Quality::Partial, Cause::Partial),
        (Quality::Gap, Cause::Gap),
    ] {
        let part = BarMessage { quality, ..ours() };
        check(Some(&part), Some(&more), Some((cause, "high,volume,count")));
        check(
            Some(&part),
            Some(&less),
            Some((Cause::FieldDiffers, "volume")),
        );
    }
    let forming = BarMessage {
        state: BarState::Forming,
        ..ours()
    };
    check(
        Some(&forming),
        Some(&more),
        Some((Cause::Partial, "high,volume,count")),
    );
}

proptest! {
    #[test]
    fn whatever_a_venue_writes_is_compared(texts in proptest::collection::vec("[0-9.eE-]{0,12}|.{0,8}", 6), count in any::<Option<u64>>()) {
        let odd = VenueBar {
            start_ms: 60_000,
            open: texts[0].clone(),
            high: texts[1].clone(),
            low: texts[2].clone(),
            close: texts[3].clone(),
            volume: texts[4].clone(),
            quote_volume: Some(texts[5].clone()),
            count,
            taker_buy_volume: None,
            taker_buy_quote_volume: None,
        };
        for quality in [Quality::Complete, Quality::Gap, Quality::Partial] {
            let bar = BarMessage { quality, ..ours() };
            let _ = compare(Some(&bar), Some(&odd));
            let _ = compare(None, Some(&odd));
        }
    }
}
