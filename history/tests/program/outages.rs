//! When feeds were not live.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bus::Bus;
use market_core::BarState;
use serde_json::{Value, json};
use service::wall_clock_ms;
use testkit::directory::Directory;
use testkit::wait::{holds, until};

use crate::journal::{put_journal, until_stored};
use crate::{Running, bars, config, memory_bus};

async fn tell(bus: &dyn Bus, state: &str) {
    let status = json!({
        "topic": "system:feed:binance", "exchange": "binance", "mode": "live", "state": state,
        "age_ms": 1, "connections": 1, "symbols": 1, "subscribed": 1, "silent": 0,
        "refused": [], "refused_count": 0, "unknown": [], "unknown_count": 0,
        "at_ms": wall_clock_ms(), "publisher": "a", "rivals": 0, "lost_publishers": 0,
    });
    let told = bus.publish("system.feed.binance", status.to_string().into());
    told.await.expect("the bus is open");
}

/// A history that has stored a bar of Binance.
async fn with_a_bar(directory: &Directory, bus: &Arc<dyn Bus>) -> Running {
    put_journal(&**bus, 1 << 20).await;
    let minute = bars::minutes("binance", "BTC-USD");
    bars::journal(&**bus, &minute, 0, BarState::Closed, 0).await;
    let running = Running::start(&config(directory), bus).await;
    until_stored(&running, &minute, &[0]).await;
    running
}

#[tokio::test]
async fn an_outage_of_a_feed_is_in_the_record_of_its_day() {
    let (directory, bus) = (Directory::new(), memory_bus());
    let running = with_a_bar(&directory, &bus).await;
    let path = format!(
        "/api/v1/completeness?symbol=BTC-USD&day={}",
        wall_clock_ms()
    );
    let outages = async |running: &Running| running.get(&path).await["outages"].clone();
    let is_outage = |outage: &Value| {
        let time = |name: &str| outage[name].as_i64().unwrap_or_default();
        outage["reason"] == "reconnecting" && time("from_ms") < time("to_ms")
    };
    assert_eq!(outages(&running).await, json!([]));
    until("the outage", async || {
        tell(&*bus, "reconnecting").await;
        let outages = outages(&running).await;
        holds(is_outage(&outages[0]), || outages.to_string())
    })
    .await;
    running.stop().await;

    // The next one knows it, too, and of a feed that is live it tells no other.
    tell(&*bus, "live").await;
    let running = Running::start(&config(&directory), &bus).await;
    let after = outages(&running).await;
    assert!(is_outage(&after[0]) && after[1].is_null(), "{after}");
    running.stop().await;
}

#[tokio::test]
async fn history_runs_without_the_outages_if_their_file_is_damaged() {
    let (directory, bus) = (Directory::new(), memory_bus());
    let running = with_a_bar(&directory, &bus).await;
    running.stop().await;
    let file = find(directory.path(), "outages.sqlite").expect("the file of outages");
    std::fs::write(&file, "no database ".repeat(500)).expect("writable");

    let running = Running::start(&config(&directory), &bus).await;
    let path = format!(
        "/api/v1/completeness?symbol=BTC-USD&day={}",
        wall_clock_ms()
    );
    let record = running.get(&path).await;
    assert!(
        record["outages"].is_null() && record["outages_more"] == 0 && record["bars"].is_u64(),
        "{record}"
    );
    running.stop().await;
}

/// The file of a name in a directory or the directories in it.
fn find(directory: &Path, name: &str) -> Option<PathBuf> {
    let entries = std::fs::read_dir(directory).expect("a directory");
    let paths = entries.map(|entry| entry.expect("readable").path());
    paths.into_iter().find_map(|path| match path.is_dir() {
        true => find(&path, name),
        false => path.ends_with(name).then_some(path),
    })
}
