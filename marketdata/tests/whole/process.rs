//! The program as a whole: its parts, its bus and other programs like it.

use std::sync::Arc;

use serde_json::json;

use crate::deployment::{Deployment, INSTRUMENTS, sim_config};
use crate::faulty_bus::{Fault, FaultyBus};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_part_that_panics_ends_the_program_with_an_error_that_names_it() {
    for (prefix, part) in [
        ("kline.", "publisher"),
        ("closed.", "store"),
        ("boundary.", "boundary marks"),
        ("system.feed.", "status"),
        ("presence.marketdata", "status"),
        ("presence.beat", "lease"),
    ] {
        let bus = FaultyBus::new();
        let mut deployment = Deployment::on(Arc::<FaultyBus>::clone(&bus), sim_config()).await;
        deployment.start(deployment.config());
        deployment.more_seconds("BTC-USDT", 1).await;
        bus.set(prefix, Some(Fault::Panic));
        let error = deployment.ended().await.expect_err("it cannot go on");
        assert!(
            error.to_string().starts_with(&format!("the {part} task")),
            "{prefix}: {error}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bars_that_cannot_be_stored_make_it_not_ready_until_they_can() {
    let bus = FaultyBus::new();
    let mut deployment = Deployment::on(Arc::<FaultyBus>::clone(&bus), sim_config()).await;
    let mut config = deployment.config();
    config.store_stall_ms = 500;
    deployment.start(config);
    deployment.more_seconds("BTC-USDT", 1).await;
    deployment
        .until("it is ready", || async { deployment.is_ready() })
        .await;
    bus.set("closed.", Some(Fault::NoRoom));
    deployment
        .until("it says what to do", || async {
            deployment.unmet().iter().any(|unmet| {
                unmet.name == "bars_stored"
                    && unmet.why
                        == "jetstream refuses writes: insufficient resources; restart nats-server when space is back"
            })
        })
        .await;
    bus.set("closed.", None);
    deployment
        .until("it is ready again", || async { deployment.is_ready() })
        .await;
    deployment.more_seconds("BTC-USDT", 2).await;
    deployment
        .check_truth("binance", "BTCUSDT", "BTC-USDT")
        .await;
    deployment.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn states_that_have_no_room_are_told_and_the_newest_follow_when_there_is() {
    let bus = FaultyBus::new();
    let mut deployment = Deployment::on(Arc::<FaultyBus>::clone(&bus), sim_config()).await;
    let mut config = deployment.config();
    config.store_stall_ms = 500;
    bus.set("state.", Some(Fault::NoRoom));
    deployment.start(config);
    deployment
        .until("it says what to do", || async {
            let mut unmet = deployment.unmet().into_iter();
            unmet.any(|unmet| {
                unmet.name == "bars_stored" && unmet.why.contains("restart nats-server")
            })
        })
        .await;
    // Live bars go on meanwhile.
    deployment.all_more_seconds(2).await;
    let saved = async || {
        let saved = deployment.bus.last_values("state.marketdata.>").await;
        saved.expect("a bus").len()
    };
    assert_eq!(saved().await, 0);
    bus.set("state.", None);
    deployment
        .until("every symbol is saved", || async {
            saved().await == INSTRUMENTS.len()
        })
        .await;
    deployment.kill();
    deployment.start(deployment.config());
    deployment.all_more_seconds(2).await;
    for (venue, native, symbol) in INSTRUMENTS {
        deployment.check_truth(venue, native, symbol).await;
    }
    deployment.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gap_events_that_the_bus_did_not_take_are_told_when_it_is_back() {
    let bus = FaultyBus::new();
    let mut deployment = Deployment::on(Arc::<FaultyBus>::clone(&bus), sim_config()).await;
    deployment.start(deployment.config());
    deployment.more_seconds("BTC-USDT", 2).await;
    bus.set("system.service.marketdata.gap", Some(Fault::Disconnected));
    deployment
        .fault("gap,venue=binance,symbol=BTCUSDT,count=5")
        .await;
    // Closed bars go first, so they pass while the event waits.
    deployment.more_seconds("BTC-USDT", 6).await;
    assert_eq!(deployment.seen(|seen| seen.gaps.len()), 0);
    bus.set("system.service.marketdata.gap", None);
    deployment
        .until_seen("both events of the gap", |seen| {
            seen.count_gaps("open") > 0 && seen.count_gaps("filled") > 0
        })
        .await;
    deployment.stop().await;
}

/// What another marketdata says of itself.
fn rival(epoch: i64) -> Vec<u8> {
    json!({
        "instance": "rival",
        "epoch": epoch,
        "leaves": false,
        "symbols": {"binance": ["BTC-USDT"]},
    })
    .to_string()
    .into_bytes()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_survivor_goes_on_above_the_epoch_of_a_rival_that_died() {
    let mut deployment = Deployment::new(sim_config()).await;
    deployment.start(deployment.config());
    deployment.more_seconds("BTC-USDT", 1).await;
    let before = deployment.newest_epoch("BTC-USDT");
    // It started a minute later.
    let epoch = i64::try_from(before).expect("a time") + 60_000;
    deployment
        .until("the feed's status tells of the rival", || async {
            let said = deployment
                .bus
                .publish("presence.marketdata", rival(epoch).into());
            said.await.expect("the bus is there");
            deployment.seen(|seen| {
                seen.statuses.last().is_some_and(|last| last["rivals"] == 1)
                    || seen
                        .statuses
                        .iter()
                        .rev()
                        .take(6)
                        .any(|status| status["rivals"] == 1)
            })
        })
        .await;
    assert_eq!(deployment.newest_epoch("BTC-USDT"), before);
    let highest = u64::try_from(epoch).expect("a time");
    deployment
        .until("it publishes above the rival's epoch", || async {
            deployment.newest_epoch("BTC-USDT") > highest
        })
        .await;
    // The next start is above it as well, whatever this host's clock says.
    let kept = || async { deployment.bus.last_values("state.epoch.>").await };
    deployment
        .until("the epoch is kept", || async {
            kept().await.is_ok_and(|kept| {
                let epoch = kept.first().map(|message| message.payload.clone());
                epoch.is_some_and(|epoch| {
                    std::str::from_utf8(&epoch)
                        .is_ok_and(|epoch| epoch.parse() == Ok(deployment.newest_epoch("BTC-USDT")))
                })
            })
        })
        .await;
    let taken = deployment.newest_epoch("BTC-USDT");
    deployment.stop().await;
    deployment.start(deployment.config());
    deployment.more_seconds("BTC-USDT", 1).await;
    assert!(deployment.newest_epoch("BTC-USDT") > taken);
    deployment.stop().await;
}
