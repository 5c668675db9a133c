//! The choice of the feed: the real exchanges, or the built-in simulator.

use std::time::Duration;

use clap::ValueEnum;
use futures_util::future::join_all;
use market_core::Timeframe;
use marketdata::config::{Config, Plan};
use marketdata::instrument::Venue;
use service::wall_clock_ms;
use tracing::{info, warn};

/// A venue that does not answer within this time counts as out of reach.
const PROBE_TIMEOUT: Duration = Duration::from_secs(4);

/// Where trades come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Feed {
    /// The exchanges, or the simulator if no exchange can be reached.
    Auto,
    /// The exchanges' public feeds.
    Live,
    /// The built-in exchange simulator.
    Sim,
}

/// The decision about the feed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// Follow these exchanges; exchanges out of reach were left out.
    Live(Box<Config>),
    /// None can be reached.
    Sim,
}

/// Sends every configured venue a small REST request, and chooses.
pub(crate) async fn choose(config: &Config, plan: &Plan) -> Choice {
    let reachable = reachable(plan).await;
    if reachable.is_empty() {
        return Choice::Sim;
    }
    let mut config = Box::new(config.clone());
    config
        .instruments
        .retain(|wish| reachable.contains(&wish.exchange()));
    if reachable.len() < plan.venues.len() {
        warn!(followed = ?reachable, "leaving out the exchanges that cannot be reached; --feed live uses all of them");
    }
    Choice::Live(config)
}

/// Logs it if none of the required exchanges answers.
pub(crate) async fn warn_if_unreachable(plan: &Plan) {
    if reachable(plan).await.is_empty() {
        warn!(
            "no exchange can be reached: still trying; check the network and proxy settings, or start with --feed sim for simulated data"
        );
    }
}

/// The names of the venues that answer.
async fn reachable(plan: &Plan) -> Vec<&'static str> {
    let probes = plan
        .venues
        .iter()
        .map(|venue| async move { (venue, probe(venue, plan).await) });
    let mut reachable = Vec::new();
    for (venue, outcome) in join_all(probes).await {
        let exchange = venue.exchange.name();
        match outcome {
            Ok(()) => reachable.push(exchange),
            Err(error) => info!(exchange, %error, "exchange cannot be reached"),
        }
    }
    reachable
}

/// Requests the newest minute bars of the venue's first instrument, or its list of symbols if only
/// patterns are followed there: the venue refuses it if it does not serve this country.
async fn probe(venue: &Venue, plan: &Plan) -> anyhow::Result<()> {
    let newest_ms = Timeframe::MINUTE.start_of(wall_clock_ms());
    let bars = venue.instruments.first().map(|instrument| {
        let native = &plan.instruments[*instrument].native;
        let from_ms = newest_ms - 300_000;
        let page = venue
            .exchange
            .bars_page(native, Timeframe::MINUTE, from_ms, newest_ms);
        page.expect("every venue has minute bars")
    });
    let request = bars
        .clone()
        .unwrap_or_else(|| venue.exchange.symbols_page());
    let client = reqwest::Client::builder()
        .timeout(PROBE_TIMEOUT)
        .user_agent(concat!("klinecast/", env!("CARGO_PKG_VERSION")))
        .build()?;
    let url = format!("{}{}", venue.endpoints.rest, request.path_and_query);
    let body = client
        .get(url)
        .send()
        .await?
        .error_for_status()?
        .bytes()
        .await?;
    match bars {
        Some(_) => venue.exchange.parse_bars_page(&body).map(|_| ())?,
        None => venue.exchange.parse_symbols_page(&body).map(|_| ())?,
    }
    Ok(())
}
