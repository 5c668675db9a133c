//! What was published is what was delivered and what was said to be skipped.

use std::collections::BTreeMap;

use loadtest::bar::{Bar, State};
use loadtest::client::Client;
use loadtest::fleet::{Fleet, FleetConfig, topics};
use loadtest::program::arguments;
use serde_json::{Value, json};

/// What a client has of a topic, from its first closed bar on.
#[derive(Debug, Default)]
struct Account {
    /// Starts of the closed bars, in the order in which they came.
    delivered: Vec<i64>,
    /// Closed bars that were said to be skipped after the first delivered one.
    skipped: u64,
}

impl Account {
    fn take(&mut self, object: &Value) {
        let skipped = object["skipped"].as_u64().unwrap_or(0);
        if !self.delivered.is_empty() {
            self.skipped += skipped;
        }
        let bar: Bar = serde_json::from_value(object.clone()).expect("a bar");
        if bar.state == State::Closed && bar.rev == 0 {
            self.delivered.push(bar.start_ms);
        }
    }
}

async fn read(client: &mut Client, accounts: &mut BTreeMap<String, Account>) {
    for object in client.frame().await {
        if let Some(topic) = object["topic"].as_str() {
            accounts.entry(topic.to_owned()).or_default().take(&object);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_saturated_client_accounts_for_every_bar_that_was_published() {
    let config = FleetConfig {
        gateway: arguments(&["--closed-bars", "3", "--closed-hold-ms", "0"]),
        ..FleetConfig::default()
    };
    let Some(fleet) = Fleet::start(config).await else {
        return;
    };
    // It is not saturated, so it has everything that is published from here on.
    let witness = fleet.follow();
    let topics = topics();
    witness
        .until("closed bars", |seen| {
            topics.iter().all(|topic| {
                seen.topics
                    .get(topic)
                    .is_some_and(|topic| !topic.closed.is_empty())
            })
        })
        .await;
    // A frame every five seconds: more bars close in between than the gateway holds.
    let mut client = Client::connect(&fleet.nginx().url()).await;
    let request = json!({"op": "sub", "topics": topics, "max_rate": 0.2});
    client.send(&request.to_string()).await;
    let mut accounts = BTreeMap::new();
    let second = format!("kline:1s:{}", loadtest::fleet::INSTRUMENTS[0].symbol);
    while accounts
        .get(&second)
        .is_none_or(|account: &Account| account.skipped < 4)
    {
        read(&mut client, &mut accounts).await;
    }
    // At full rate again, nothing more is skipped, and the newest state comes.
    client.send(r#"{"op":"rate","max_rate":0}"#).await;
    let target_ms = witness.closed_until_ms(&topics) + 6_000;
    witness.until_closed(&topics, target_ms).await;
    let has_come = |accounts: &BTreeMap<String, Account>, topic: &String| {
        let last = accounts.get(topic).and_then(|it| it.delivered.last());
        last.is_some_and(|&start| start >= target_ms - 6_000)
    };
    while !topics.iter().all(|topic| has_come(&accounts, topic)) {
        read(&mut client, &mut accounts).await;
    }
    witness
        .until("what the client has", |seen| {
            accounts.iter().all(|(topic, account)| {
                let last = account.delivered.last().copied().unwrap_or(0);
                seen.topics[topic].closed.contains_key(&last)
            })
        })
        .await;
    for topic in &topics {
        let account = &accounts[topic];
        let (first, last) = (
            account.delivered[0],
            account.delivered[account.delivered.len() - 1],
        );
        assert!(account.delivered.is_sorted(), "{topic}: {account:?}");
        let published = witness.seen(|seen| {
            let seen = &seen.topics[topic];
            assert_eq!((seen.skipped, seen.holes()), (0, vec![]), "{topic}");
            let after_first = seen
                .closed
                .keys()
                .filter(|&&start| first < start && start <= last);
            after_first.count() as u64
        });
        let delivered = account.delivered.len() as u64 - 1;
        assert_eq!(
            delivered + account.skipped,
            published,
            "{topic}: {account:?}"
        );
    }
}
