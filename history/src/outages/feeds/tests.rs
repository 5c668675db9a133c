use market_core::wire::FeedState;

use super::*;

fn at(now_ms: i64) -> LookTime {
    LookTime {
        wall_ms: now_ms,
        elapsed: Duration::from_millis(now_ms.unsigned_abs()),
    }
}

fn said(publisher: &str, state: FeedState, age_ms: i64, at_ms: i64) -> FeedStatusMessage {
    FeedStatusMessage {
        topic: "system:feed:okx".to_owned(),
        exchange: "okx".to_owned(),
        mode: "live".to_owned(),
        state,
        age_ms,
        connections: 1,
        symbols: 1,
        subscribed: 1,
        silent: 0,
        refused: Vec::new(),
        refused_count: 0,
        unknown: Vec::new(),
        unknown_count: 0,
        at_ms,
        publisher: publisher.to_owned(),
        rivals: 0,
        lost_publishers: 0,
        standbys: 0,
    }
}

fn spans(outages: Vec<Outage>) -> Vec<(i64, i64, &'static str)> {
    let spans = outages.into_iter();
    spans
        .map(|outage| (outage.from_ms, outage.to_ms, outage.reason.as_str()))
        .collect()
}

#[test]
fn outages_are_told_by_what_publishers_say_and_by_their_silence() {
    use FeedState::{Live, Reconnecting, Stale};
    let mut feeds = Feeds::default();
    let mut look =
        |message: Option<FeedStatusMessage>, now_ms| spans(feeds.look(message, at(now_ms)));
    assert_eq!(look(None, 1_000), []);
    assert_eq!(look(Some(said("a", Live, 10, 10_000)), 10_100), []);
    // Nothing has come since 16,000.
    let stale = said("a", Stale, 6_000, 22_000);
    assert_eq!(look(Some(stale), 22_100), [(16_000, 22_000, "stale")]);
    assert_eq!(look(None, 24_000), []);
    let down = said("a", Reconnecting, 9_000, 25_000);
    assert_eq!(
        look(Some(down), 25_500),
        [(16_000, 25_000, "stale"), (25_000, 25_000, "reconnecting")]
    );
    assert_eq!(
        look(None, 40_501),
        [
            (25_000, 25_000, "reconnecting"),
            (25_000, 40_501, "no_publisher")
        ]
    );
    let live = said("b", Live, 0, 50_000);
    assert_eq!(look(Some(live), 50_500), [(25_000, 50_000, "no_publisher")]);
    assert_eq!(look(None, 51_000), []);
}

#[test]
fn a_feed_is_not_live_while_one_of_its_publishers_has_no_connection() {
    use FeedState::{Live, Reconnecting};
    let mut feeds = Feeds::default();
    let mut look = |message, now_ms| spans(feeds.look([message], at(now_ms)));
    assert_eq!(
        look(said("a", Reconnecting, 0, 1_000), 1_000),
        [(1_000, 1_000, "reconnecting")]
    );
    let told = look(said("b", Live, 0, 3_000), 3_000);
    assert_eq!(told, [(1_000, 3_000, "reconnecting")]);
    let told = look(said("a", Live, 0, 5_000), 5_000);
    assert_eq!(told, [(1_000, 5_000, "reconnecting")]);
    assert_eq!(look(said("b", Live, 0, 6_000), 6_000), []);
}

#[test]
fn a_publisher_whose_clock_is_wrong_spoils_no_outage() {
    use FeedState::{Live, Reconnecting};
    for ahead_ms in [86_400_000, 16_000, -16_000, -86_400_000] {
        let mut feeds = Feeds::default();
        let mut look =
            |message: Option<FeedStatusMessage>, now_ms| spans(feeds.look(message, at(now_ms)));
        let said = |state, now_ms| Some(said("a", state, 0, now_ms + ahead_ms));
        for now_ms in (100_000..200_000).step_by(2_000) {
            assert_eq!(look(said(Live, now_ms), now_ms), [], "{ahead_ms}");
        }
        let begun = look(said(Reconnecting, 200_000), 200_000);
        let [(from_ms, to_ms, "reconnecting")] = begun[..] else {
            panic!("{begun:?}");
        };
        assert!((198_000..=200_000).contains(&from_ms) && from_ms == to_ms);
        // It is right again, and dies.
        let ended = look(Some(super::tests::said("a", Live, 0, 202_000)), 202_000);
        assert_eq!(ended, [(from_ms, 202_000, "reconnecting")]);
        assert_eq!(look(None, 217_000), []);
        assert_eq!(look(None, 218_000), [(202_000, 218_000, "no_publisher")]);
    }
}

#[test]
fn a_clock_of_history_that_is_set_back_spoils_no_outage() {
    use FeedState::{Live, Stale};
    let mut feeds = Feeds::default();
    let mut look = |message: Option<FeedStatusMessage>, wall_ms, elapsed_ms| {
        let elapsed = Duration::from_millis(elapsed_ms);
        spans(feeds.look(message, LookTime { wall_ms, elapsed }))
    };
    let told = look(Some(said("a", Stale, 0, 90_000)), 90_000, 1_000);
    assert_eq!(told, [(90_000, 90_000, "stale")]);
    assert_eq!(look(Some(said("a", Live, 0, 50_000)), 50_000, 3_000), []);
    assert_eq!(
        look(None, 66_000, 19_000),
        [(50_000, 66_000, "no_publisher")]
    );
}

#[test]
fn a_new_reason_begins_no_earlier_than_the_old_one_ends() {
    use FeedState::{Live, Reconnecting, Stale};
    let mut feeds = Feeds::default();
    let mut look = |message, now_ms| spans(feeds.look([message], at(now_ms)));
    look(said("a", Reconnecting, 0, 0), 0);
    look(said("a", Reconnecting, 600_000, 600_000), 600_000);
    assert_eq!(
        look(said("a", Stale, 602_000, 602_000), 602_000),
        [(0, 600_000, "reconnecting"), (600_000, 602_000, "stale")]
    );
    assert_eq!(
        look(said("a", Live, 0, 604_000), 604_000),
        [(600_000, 604_000, "stale")]
    );
    // Nor does one after a time in which it was live.
    assert_eq!(
        look(said("a", Stale, 600_000, 606_000), 606_000),
        [(604_000, 606_000, "stale")]
    );
}

#[test]
fn a_publisher_that_is_lost_is_no_fault_of_the_venue() {
    let mut feeds = Feeds::default();
    let message = FeedStatusMessage {
        lost_publishers: 1,
        ..said("a", FeedState::Stale, 700, 10_000)
    };
    assert_eq!(
        spans(feeds.look([message], at(10_000))),
        [(10_000, 10_000, "publisher_lost")]
    );
}

#[test]
fn an_outage_that_lasts_is_told_once_a_minute() {
    let mut feeds = Feeds::default();
    let mut told = Vec::new();
    for now_ms in (0..180_000).step_by(2_000) {
        let message = said("a", FeedState::Reconnecting, 0, now_ms);
        told.extend(spans(feeds.look([message], at(now_ms))));
    }
    let ends: Vec<i64> = told.iter().map(|(_, to_ms, _)| *to_ms).collect();
    assert_eq!(ends, [0, 2_000, 62_000, 122_000]);
}

#[test]
fn an_outage_goes_on_after_a_restart_if_it_lasted_meanwhile() {
    use FeedState::{Live, Reconnecting};
    let stored = |reason| Outage {
        exchange: "okx".into(),
        from_ms: 10_000,
        to_ms: 70_000,
        reason,
    };
    let look = |reason, message, now_ms| {
        let mut feeds = Feeds::restored([stored(reason)]);
        spans(feeds.look([message], at(now_ms)))
    };
    let (silent, down) = (OutageReason::NoPublisher, OutageReason::Reconnecting);
    for (reason, message, now_ms, expected) in [
        (
            silent,
            said("a", Live, 0, 10_000),
            900_000,
            vec![(10_000, 900_000, "no_publisher")],
        ),
        // Somebody has spoken: nobody knows since when.
        (silent, said("a", Live, 0, 899_000), 900_000, vec![]),
        (
            down,
            said("a", Reconnecting, 0, 80_000),
            81_000,
            vec![(10_000, 80_000, "reconnecting")],
        ),
        (
            down,
            said("a", Reconnecting, 0, 900_000),
            900_000,
            vec![(900_000, 900_000, "reconnecting")],
        ),
    ] {
        assert_eq!(look(reason, message, now_ms), expected);
    }
    // The bus has forgotten the exchange.
    let mut feeds = Feeds::restored([stored(down)]);
    assert_eq!(feeds.look([], at(900_000)), []);
}

#[test]
fn an_outage_that_a_wrong_clock_has_made_longer_ends_when_it_did() {
    const DAY_MS: i64 = 86_400_000;
    let mut feeds = Feeds::default();
    let mut look = |message: Option<FeedStatusMessage>, wall_ms: i64, elapsed_s| {
        let elapsed = Duration::from_secs(elapsed_s);
        spans(feeds.look(message, LookTime { wall_ms, elapsed }))
    };
    let live = |at_ms| Some(said("a", FeedState::Live, 0, at_ms));
    assert_eq!(look(live(1_000), 1_000, 1), []);
    let begun = [(1_000, 21_000, "no_publisher")];
    assert_eq!(look(None, 21_000, 21), begun);
    // The clock is a day ahead for a while.
    let ahead = [(1_000, 81_000 + DAY_MS, "no_publisher")];
    assert_eq!(look(None, 81_000 + DAY_MS, 81), ahead);
    assert_eq!(look(None, 83_000, 83), [(1_000, 83_000, "no_publisher")]);
    let ended = [(1_000, 85_000, "no_publisher")];
    assert_eq!(look(live(85_000), 85_500, 85), ended);
}

#[test]
fn a_bus_that_was_away_is_no_outage_without_a_publisher() {
    let mut feeds = Feeds::default();
    let live = |at_ms| said("a", FeedState::Live, 10, at_ms);
    assert_eq!(spans(feeds.look([live(10_000)], at(10_100))), []);
    // It can be read again before the publisher is back.
    feeds.resumed(at(45_000).elapsed);
    assert_eq!(spans(feeds.look([live(10_000)], at(45_000))), []);
    assert_eq!(spans(feeds.look([live(46_000)], at(46_100))), []);
    assert_eq!(spans(feeds.look([live(46_000)], at(60_000))), []);
    let silent = spans(feeds.look([live(46_000)], at(62_000)));
    assert_eq!(silent, [(46_000, 62_000, "no_publisher")]);
    // One that is told already goes on.
    feeds.resumed(at(90_000).elapsed);
    assert_eq!(spans(feeds.look([live(46_000)], at(90_000))), []);
    let back = spans(feeds.look([live(91_000)], at(91_100)));
    assert_eq!(back.len(), 1, "{back:?}");
}
