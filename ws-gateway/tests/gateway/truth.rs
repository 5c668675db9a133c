//! A client that is saturated, stalls and changes its rate accounts for every closed bar.

use std::collections::BTreeMap;

use tokio::sync::mpsc;
use ws_gateway::Config;

use crate::support::{Client, Got, closed, forming, start};

const SYMBOLS: [&str; 4] = ["A-B", "C-D", "E-F", "OKX:G-H"];
const ROUNDS: i64 = 30;
/// More in a round than the gateway holds of a topic, now and then.
const BARS_A_ROUND: i64 = 15;
/// So that a round fills the socket's buffers several times.
const PAD: usize = 3_000;

enum Command {
    Read,
    Stall,
    Say(&'static str),
    /// To be ended once every topic has come to this number.
    Until(u64),
}

#[derive(Debug, Default)]
struct Account {
    delivered: Vec<i64>,
    skipped: u64,
    last_seq: u64,
}

/// Reads when it is told to, until the end.
async fn read(
    mut client: Client,
    mut commands: mpsc::UnboundedReceiver<Command>,
) -> BTreeMap<String, Account> {
    let mut accounts: BTreeMap<String, Account> = BTreeMap::new();
    let (mut is_reading, mut last_seq) = (true, None);
    loop {
        let is_last = |account: &Account| Some(account.last_seq) == last_seq;
        if accounts.len() == SYMBOLS.len() && accounts.values().all(is_last) {
            return accounts;
        }
        let got = tokio::select! {
            Some(command) = commands.recv() => {
                match command {
                    Command::Read => is_reading = true,
                    Command::Stall => is_reading = false,
                    Command::Say(text) => client.send(text).await,
                    Command::Until(seq) => last_seq = Some(seq),
                }
                continue;
            }
            got = client.next(), if is_reading => got,
        };
        let Got::Frame(objects) = got else {
            panic!("{got:?} with {accounts:?}");
        };
        for object in objects {
            let Some(topic) = object["topic"].as_str() else {
                continue;
            };
            let account = accounts.entry(topic.to_owned()).or_default();
            account.skipped += object["skipped"].as_u64().unwrap_or(0);
            account.last_seq = object["seq"].as_u64().unwrap();
            if object["state"] == "closed" {
                account.delivered.push(object["start_ms"].as_i64().unwrap());
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::disallowed_methods, reason = "a command a round of this test")]
async fn a_saturated_client_is_delivered_or_told_every_closed_bar() {
    let config = Config {
        send_buffer_bytes: 16 * 1024,
        closed_bars: 16,
        closed_hold_ms: 0,
        ..Config::default()
    };
    let gateway = start(config).await.ready().await;
    let mut client = gateway.connect_narrow().await;
    client
        .send(r#"{"op":"sub","topics":["kline:1s:*"],"max_rate":50}"#)
        .await;
    client.frame().await;
    let (commands, inbox) = mpsc::unbounded_channel();
    let reader = tokio::spawn(read(client, inbox));
    let (mut seq, mut index) = (0, 0);
    for round in 0..ROUNDS {
        let stalls = || gateway.metric("gateway_stalled_sends_total", &[]);
        let before = stalls();
        let _ = commands.send(match round % 6 {
            1 | 4 => Command::Stall,
            2 | 5 => Command::Read,
            3 => Command::Say(r#"{"op":"rate","max_rate":5}"#),
            _ => Command::Say(r#"{"op":"rate","max_rate":200}"#),
        });
        for _ in 0..BARS_A_ROUND {
            seq += 1;
            for symbol in SYMBOLS {
                gateway
                    .publish(&closed(index, seq).of(symbol).padded(PAD))
                    .await;
            }
            index += 1;
        }
        // Where the client stalls, until there is something for it that it cannot take.
        loop {
            seq += 1;
            for symbol in SYMBOLS {
                gateway
                    .publish(&forming(index, seq).of(symbol).padded(PAD))
                    .await;
            }
            gateway.knows(&forming(index, seq).of(SYMBOLS[3])).await;
            if round % 3 != 1 || stalls() > before {
                break;
            }
        }
    }
    let _ = commands.send(Command::Read);
    let _ = commands.send(Command::Until(seq));
    let accounts = reader.await.unwrap();
    let mut skipped = 0;
    for (topic, account) in &accounts {
        assert!(account.delivered.is_sorted(), "{topic}: {account:?}");
        assert_eq!(
            account.delivered.len() as u64 + account.skipped,
            (ROUNDS * BARS_A_ROUND) as u64,
            "{topic}"
        );
        skipped += account.skipped;
    }
    assert!(skipped > 0, "it was not saturated");
}
