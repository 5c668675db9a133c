//! History is killed again and again while bars are published: in the end, it has all of them once.

use std::collections::BTreeMap;
use std::time::Duration;

use loadtest::bar::Bar;
use loadtest::directory::Directory;
use loadtest::fleet::{
    FleetConfig, INSTRUMENTS, TIMEFRAMES, start_history, start_marketdata, start_nats,
};
use loadtest::program::{arguments, fresh_http};
use loadtest::simulator::Simulator;
use loadtest::truth;
use loadtest::wait::{holds, until};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde::Deserialize;

/// Kills of one run.
const KILLS: u32 = 12;

#[derive(Deserialize)]
struct Page {
    bars: Vec<Bar>,
}

/// The stored bars of a symbol, by start.
async fn stored(
    http: &reqwest::Client,
    address: &str,
    venue: &str,
    symbol: &str,
    width: &str,
) -> Result<BTreeMap<i64, Bar>, String> {
    let url = format!(
        "http://{address}/api/v1/bars?exchange={venue}&symbol={symbol}&width={width}&limit=1000"
    );
    let answer = http.get(url).send().await;
    let text = answer.map_err(|error| error.to_string())?.text().await;
    let text = text.map_err(|error| error.to_string())?;
    let page: Page = serde_json::from_str(&text).map_err(|error| format!("{error}: {text}"))?;
    let count = page.bars.len();
    let bars: BTreeMap<i64, Bar> = page
        .bars
        .into_iter()
        .map(|bar| (bar.start_ms, bar))
        .collect();
    holds(bars.len() == count, || {
        format!("a bar of {symbol} is there twice")
    })?;
    Ok(bars)
}

async fn run(seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let Some(mut nats) = start_nats() else {
        return;
    };
    let simulator = Simulator::start(arguments(&["--rate", "8", "--history-minutes", "1"])).await;
    let marketdata = start_marketdata(&FleetConfig::default(), &nats.url(), &simulator).await;
    marketdata.until_ready().await;
    let folder = Directory::named("history");
    let (mut history, address) = start_history(&nats.url(), &folder).await;
    let address = address.to_string();
    for kill in 0..KILLS {
        // The moment is what is tested: nothing can be waited for.
        tokio::time::sleep(Duration::from_millis(random.random_range(50..1_500))).await;
        history.restart().await;
        if kill == KILLS / 2 {
            nats.kill();
            nats.restart().expect("the port is free again");
        }
    }
    history.until_ready().await;
    until_all_is_stored(&simulator, &address).await;
}

/// Waits until history has every closed bar of what was traded so far, once, and as it was traded.
pub(crate) async fn until_all_is_stored(simulator: &Simulator, address: &str) {
    let http = fresh_http();
    let newest = simulator
        .trades(INSTRUMENTS[0].venue, INSTRUMENTS[0].native)
        .await;
    let until_ms = newest.last().expect("the market trades").event_ms() + 2_000;
    until("every bar is stored once", async || {
        for instrument in INSTRUMENTS {
            for (width, width_ms) in TIMEFRAMES {
                let (venue, symbol) = (instrument.venue, instrument.symbol);
                let bars = stored(&http, address, venue, symbol, width).await?;
                let newest = bars.last_key_value().map_or(0, |(start, _)| *start);
                holds(newest + width_ms >= until_ms, || {
                    format!("{symbol} ends at {newest}")
                })?;
                let starts: Vec<i64> = bars.keys().copied().collect();
                let holes = starts
                    .windows(2)
                    .filter(|pair| pair[1] != pair[0] + width_ms);
                let holes: Vec<_> = holes.collect();
                holds(holes.is_empty(), || format!("{symbol} {width}: {holes:?}"))?;
                let trades = simulator.trades(venue, instrument.native).await;
                let compared = truth::compare(&bars, &trades, width_ms)?;
                holds(compared.gaps.is_empty(), || {
                    format!("{symbol}: {compared:?}")
                })?;
                holds(compared.equal > 0, || format!("{symbol} has no whole bar"))?;
            }
        }
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn history_killed_at_any_moment_has_every_closed_bar_once() {
    let seed = std::env::var("KLINECAST_SEED").ok();
    let seed = seed.and_then(|seed| seed.parse().ok()).unwrap_or(1);
    println!("KLINECAST_SEED={seed}");
    run(seed).await;
}
