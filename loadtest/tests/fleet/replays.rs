//! The past at the pace of a clock, and then the present, through NATS, history and a gateway.

use std::collections::BTreeMap;

use loadtest::client::Client;
use loadtest::directory::Directory;
use loadtest::fleet::{
    FleetConfig, INSTRUMENTS, start_gateway, start_history, start_marketdata, start_nats,
};
use loadtest::program::{arguments, fresh_http};
use loadtest::simulator::Simulator;
use loadtest::wait::{holds, until};
use serde_json::Value;

/// Bars of the past before the replay begins, and live ones after it.
const PAST: usize = 10;
const LIVE: usize = 3;

fn field(bar: &Value, name: &str) -> i64 {
    bar[name].as_i64().unwrap_or(-1)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_runs_into_the_present_without_a_missing_bar() {
    let Some(nats) = start_nats() else {
        return;
    };
    let config = FleetConfig {
        // The gateway forgets what history has.
        gateway: arguments(&["--closed-bars", "2", "--closed-hold-ms", "3000"]),
        ..FleetConfig::default()
    };
    let simulator = Simulator::start(arguments(&["--rate", "8"])).await;
    let marketdata = start_marketdata(&config, &nats.url(), &simulator).await;
    let folder = Directory::named("replay");
    let (history, address) = start_history(&nats.url(), &folder).await;
    let gateway = start_gateway(&config, &nats.url()).await;
    marketdata.until_ready().await;
    history.until_ready().await;
    gateway.program.until_ready().await;
    let symbol = INSTRUMENTS[0].symbol;
    let http = fresh_http();
    let bars_url = format!("http://{address}/api/v1/bars?symbol={symbol}&width=1s&limit=1000");
    let stored = async || {
        let answer = http.get(&bars_url).send().await;
        let text = answer.map_err(|error| error.to_string())?.text().await;
        let text = text.map_err(|error| error.to_string())?;
        let page: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        let bars = page["bars"].as_array().cloned().unwrap_or_default();
        let by_start = bars.into_iter().map(|bar| (field(&bar, "start_ms"), bar));
        Ok::<BTreeMap<i64, Value>, String>(by_start.collect())
    };
    let mut first_ms = 0;
    until("there is a past", async || {
        let bars = stored().await?;
        first_ms = bars.keys().next().copied().unwrap_or_default();
        holds(bars.len() >= PAST, || format!("{} bars", bars.len()))
    })
    .await;

    let topic = format!("kline:1s:{symbol}");
    let url = format!(
        "{}?topics={topic}&replay_from={first_ms}&speed=4",
        gateway.url()
    );
    let mut client = Client::connect(&url).await;
    let (mut closed, mut live, mut after) = (Vec::new(), None, 0);
    while after < LIVE {
        for object in client.frame().await {
            if object["op"] == "live" {
                live = Some(object);
            } else if object["state"] == "closed" {
                after += usize::from(live.is_some());
                closed.push(object);
            } else if object["state"] == "forming" {
                assert!(live.is_some(), "a forming bar in the past: {object}");
            }
        }
    }
    assert_eq!(live.expect("came")["recovered"], true);
    let mut newest: BTreeMap<i64, Value> = BTreeMap::new();
    for bar in closed {
        let start_ms = field(&bar, "start_ms");
        match newest.get(&start_ms) {
            // A late trade.
            Some(before) => assert!(field(&bar, "rev") > field(before, "rev"), "{bar}"),
            None => {
                let last = newest.keys().next_back().copied();
                let next_ms = last.map_or(first_ms, |last| last + 1_000);
                assert_eq!(start_ms, next_ms, "{bar}");
            }
        }
        newest.insert(start_ms, bar);
    }
    until("history has the same bars", async || {
        let stored = stored().await?;
        for (start_ms, bar) in &newest {
            let is_same = stored.get(start_ms).is_some_and(|stored| {
                ["open", "high", "low", "close", "volume", "count"]
                    .iter()
                    .all(|name| stored[*name] == bar[*name])
                    || field(stored, "rev") > field(bar, "rev")
            });
            holds(is_same, || {
                format!("{bar} is stored as {:?}", stored.get(start_ms))
            })?;
        }
        Ok(())
    })
    .await;
}
