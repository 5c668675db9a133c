//! The disk of nats-server is full, and has space again.

use std::collections::BTreeMap;

use bus::{BusConfig, Range, Start, StreamSpec};
use loadtest::bar::Bar;
use loadtest::fleet::{Fleet, FleetConfig, INSTRUMENTS, topics};
use loadtest::truth;
use loadtest::wait::{holds, until};

use crate::outages::{check_nothing_lost, until_later};

/// Much more than the streams take in the test, and more than nats-server reserves for the journal
/// and for alerts.
const DISK_BYTES: u64 = 128 << 20;
/// The room that nats-server reserves for the journal of closed bars.
const JOURNAL_BYTES: u64 = 4 << 20;

/// The newest revisions of the stored bars of five seconds, by symbol and start.
async fn stored(fleet: &Fleet) -> BTreeMap<String, BTreeMap<i64, Bar>> {
    let config = BusConfig {
        bus: fleet.nats.url().parse().expect("an address"),
        ..BusConfig::default()
    };
    let streams = [StreamSpec::newest("closed", 32, true)];
    let bus = bus::connect(&config, &streams)
        .await
        .expect("NATS is there");
    let range = Range::new("closed.5s.>", Start::Oldest, 1_000);
    let page = bus.streams().range(&range).await.expect("NATS is there");
    assert!(page.is_end, "{} bars are not all", page.messages.len());
    let mut stored: BTreeMap<String, BTreeMap<i64, Bar>> = BTreeMap::new();
    for message in page.messages {
        let bar: Bar = serde_json::from_slice(&message.payload).expect("a bar");
        let of_symbol = stored.entry(bar.symbol.clone()).or_default();
        let held = of_symbol.get(&bar.start_ms);
        if held.is_none_or(|held| held.standing() <= bar.standing()) {
            of_symbol.insert(bar.start_ms, bar);
        }
    }
    stored
}

/// All bars of this time are stored, and equal what was traded.
async fn check_stored(fleet: &Fleet, from_ms: i64, to_ms: i64) {
    let stored = stored(fleet).await;
    for instrument in INSTRUMENTS {
        let bars = &stored[instrument.symbol];
        let missing = (from_ms / 5_000 * 5_000..to_ms)
            .step_by(5_000)
            .filter(|start_ms| start_ms + 5_000 <= to_ms && !bars.contains_key(start_ms));
        assert_eq!(
            missing.count(),
            0,
            "{}: {:?}",
            instrument.symbol,
            bars.keys()
        );
        let trades = fleet
            .simulator
            .trades(instrument.venue, instrument.native)
            .await;
        if let Err(why) = truth::compare(bars, &trades, 5_000) {
            panic!("{}: {why}", instrument.symbol);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_of_nats_is_told_stops_no_bar_and_afterwards_every_closed_bar_is_stored() {
    let config = FleetConfig {
        nats_disk_bytes: Some(DISK_BYTES),
        marketdata: vec!["--journal-bytes-max".to_owned(), JOURNAL_BYTES.to_string()],
        has_no_nginx: true,
        ..FleetConfig::default()
    };
    let Some(mut fleet) = Fleet::start(config).await else {
        return;
    };
    let followers = fleet.follow_each_gateway();
    until_later(&followers, 2_000).await;
    let full_from_ms = followers[0].closed_until_ms(&topics());
    // Until nothing more fits: nats-server deletes old files meanwhile.
    let why = until("marketdata says that nothing is stored", async || {
        fleet.nats_disk().fill();
        let (status, text) = fleet.marketdata.page("/readyz").await?;
        holds(status == 503 && text.contains("bars_stored"), || {
            text.clone()
        })?;
        Ok(text)
    })
    .await;
    assert!(why.contains("restart nats-server"), "{why}");
    // Clients get forming and closed bars all the same, and gateways stay ready for others.
    for follower in &followers {
        follower.until_more_forming(&topics(), 10).await;
    }
    until_later(&followers, 5_000).await;
    for gateway in &fleet.gateways {
        gateway.program.until_ready().await;
    }
    let full_until_ms = followers[0].closed_until_ms(&topics());
    fleet.nats_disk().free();
    fleet.nats.restart().expect("NATS starts again");
    fleet.marketdata.until_ready().await;
    until("what waited is stored", async || {
        let waiting = fleet
            .marketdata
            .metric("marketdata_bars_waiting", &[])
            .await;
        holds(waiting == 0.0, || format!("{waiting} wait"))
    })
    .await;
    until_later(&followers, 6_000).await;
    for follower in &followers {
        fleet.until_true(follower, false).await;
        follower.seen(|seen| {
            assert_eq!(seen.connects, 1, "{:?}", seen.closes);
            check_nothing_lost(seen);
        });
    }
    check_stored(&fleet, full_from_ms, full_until_ms).await;
}
