//! A strategy decides alike on live bars and on their replay.

use std::process::Command;
use std::time::Duration;

use loadtest::bar::{Bar, Quality};
use loadtest::bar_stream::BarStream;
use loadtest::directory::Directory;
use loadtest::process::Process;
use loadtest::strategy::{Crossing, Run};
use serde_json::json;
use tokio::time::timeout;

const TOPIC: &str = "kline:1s:BTC-USD";
const BARS: usize = 8;
/// Everything takes far less.
const DEADLINE: Duration = Duration::from_secs(180);

/// Decides on closed bars, each once, until there are enough of them.
async fn play(mut bars: BarStream, is_live: bool) -> (Vec<(Bar, String)>, Run) {
    let mut run = Run::new(Crossing::new(2, 3));
    let mut taken = Vec::new();
    while taken.len() < BARS {
        let bar = bars.next().await;
        // A program that has just started begins in the middle of a bar, and gets the bars before it
        // from the venue.
        let is_past = is_live && bar.seq == 0 || bar.quality == Quality::Partial;
        if taken.is_empty() && is_past || !run.is_new(&bar) {
            continue;
        }
        let decision = format!("{:?}", run.take(&bar));
        taken.push((bar, decision));
    }
    (taken, run)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strategy_decides_alike_on_live_bars_and_on_their_replay() {
    let folder = Directory::named("strategies");
    let mut command = Command::new(env!("CARGO_BIN_EXE_klinecast"));
    command
        .args(["--feed", "sim", "--listen", "127.0.0.1:0"])
        .args(["--admin-listen", "127.0.0.1:0", "--log-format", "json"])
        .arg("--data-dir")
        .arg(folder.path());
    let mut klinecast = Process::start("klinecast", &mut command);
    let event = klinecast.until_event("open this in a browser").await;
    let url = event["url"].as_str().expect("an address");
    let url = format!("{}/ws", url.replacen("http", "ws", 1).trim_end_matches('/'));

    let stream = |from| BarStream::new(&url, TOPIC, from);
    let both = async || {
        let (live, traded) = play(stream(json!({"last": 1})), true).await;
        let from = json!({"ms": live[0].0.start_ms, "speed": 1_000});
        let (replay, again) = play(stream(from), false).await;
        (live, traded, replay, again)
    };
    let mut tries = 0;
    let (live, traded, replay, again) = loop {
        let runs = timeout(DEADLINE, both()).await.expect("enough bars come");
        let mut pairs = runs.0.iter().zip(&runs.2);
        let are_alike = pairs.all(|((live, _), (stored, _))| {
            (live.start_ms, live.rev) == (stored.start_ms, stored.rev)
        });
        tries += 1;
        // History may have been too slow for the replay, or a late trade may have revised a bar.
        if are_alike || tries == 3 {
            break runs;
        }
    };

    // On a machine that is too busy, late trades revise a bar after it was decided on: a replay has
    // the revised bar, and may decide otherwise from there on.
    let pairs = || live.iter().zip(&replay);
    let revised = pairs().position(|(live, replay)| live.0.rev != replay.0.rev);
    for ((live, told), (stored, told_again)) in pairs().take(revised.unwrap_or(BARS)) {
        let decided = |bar: &Bar| (bar.start_ms, bar.open.clone(), bar.close.clone());
        assert_eq!(decided(live), decided(stored));
        assert_eq!(told, told_again, "{}", live.start_ms);
    }
    for ((live, _), (stored, _)) in pairs() {
        assert_eq!(live.start_ms, stored.start_ms);
    }
    if revised.is_none() {
        assert_eq!(traded.account.fills, again.account.fills);
        assert_eq!(traded.account.equity, again.account.equity);
    }
}
