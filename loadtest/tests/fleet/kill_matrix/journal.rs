//! The closed bars of the journal, beside what was traded: compared here, and counted by a script that
//! shares no code with us.

use std::collections::BTreeMap;

use std::process::{Command, Stdio};

use bus::{Bus, PAGE_MESSAGES_MAX, Range, Start};
use loadtest::bar::Bar;
use loadtest::fleet::{INSTRUMENTS, TIMEFRAMES};
use loadtest::simulator::Simulator;
use loadtest::truth;
use loadtest::wait::{holds, until};

use crate::takeover::check_doubles;

/// Whether the journal has one effective bar for each interval, without a hole, and equal to what
/// was traded.
///
/// # Errors
/// The first bar that is not so yet: revisions may be on their way.
///
/// # Panics
/// If a revision is there twice with other content.
pub(crate) async fn compare(bus: &dyn Bus, simulator: &Simulator) -> Result<(), String> {
    let closed = bars(bus).await?;
    check_doubles(&closed);
    let mut effective: BTreeMap<String, BTreeMap<i64, Bar>> = BTreeMap::new();
    for bar in closed {
        let bars = effective.entry(bar.topic.clone()).or_default();
        let held = bars.get(&bar.start_ms);
        if held.is_none_or(|held| held.standing() <= bar.standing()) {
            bars.insert(bar.start_ms, bar);
        }
    }
    for instrument in INSTRUMENTS {
        let trades = simulator.trades(instrument.venue, instrument.native).await;
        for (timeframe, width_ms) in TIMEFRAMES {
            let topic = format!("kline:{timeframe}:{}", instrument.symbol);
            let bars = effective.get(&topic);
            let bars = bars.ok_or_else(|| format!("no {topic}"))?;
            let starts: Vec<i64> = bars.keys().copied().collect();
            let hole = starts.windows(2).find(|pair| pair[0] + width_ms != pair[1]);
            holds(hole.is_none(), || format!("{topic} has a hole: {hole:?}"))?;
            let compared = truth::compare(bars, &trades, width_ms)?;
            holds(compared.gaps.is_empty(), || {
                format!("{topic}: {compared:?}")
            })?;
            holds(compared.equal > 0, || format!("{topic} has no whole bar"))?;
        }
    }
    Ok(())
}

/// The same by scripts/count-bars.py, with a Python that has nats-py in `KLINECAST_BROKER_PYTHON`.
/// Prints its report.
///
/// # Panics
/// If it finds a wrong bar.
pub(crate) async fn count(nats: &str, simulator: &str) {
    let Some(python) = std::env::var_os("KLINECAST_BROKER_PYTHON") else {
        println!("skipped: set KLINECAST_BROKER_PYTHON to a Python with nats-py");
        return;
    };
    until("scripts/count-bars.py finds every bar true", async || {
        let mut counter = Command::new(&python);
        counter
            .arg(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/../scripts/count-bars.py"
            ))
            .args([nats, simulator])
            .stdin(Stdio::null());
        let output = tokio::task::block_in_place(|| counter.output());
        let output = output.map_err(|error| error.to_string())?;
        let report = String::from_utf8_lossy(&output.stdout).into_owned();
        holds(output.status.success(), || {
            format!("{report}{}", String::from_utf8_lossy(&output.stderr))
        })?;
        println!("counted: {}", report.trim());
        Ok(())
    })
    .await;
}

/// Every bar of the journal, in its order.
async fn bars(bus: &dyn Bus) -> Result<Vec<Bar>, String> {
    let mut bars = Vec::new();
    let mut start = Start::Oldest;
    loop {
        let range = Range::new("journal.>", start, PAGE_MESSAGES_MAX);
        let page = bus.streams().range(&range).await;
        let page = page.map_err(|error| error.to_string())?;
        for message in &page.messages {
            let bar = serde_json::from_slice(&message.payload);
            bars.push(bar.map_err(|error| format!("no bar: {error}"))?);
        }
        match page.end() {
            Some(end) if !page.is_end => start = Start::After(end),
            _ => return Ok(bars),
        }
    }
}
