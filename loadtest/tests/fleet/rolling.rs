//! Gateways and nginx are restarted, added and emptied under clients that are to notice little.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use loadtest::client::{Client, Dial};
use loadtest::fleet::{Fleet, FleetConfig, find_nginx};
use loadtest::follower::{Follower, Seen};
use loadtest::nginx::Nginx;
use loadtest::program::arguments;
use loadtest::wait::{holds, until};

const TOPIC: &str = "kline:1s:BTC-USD";
/// The time over which a gateway closes its sessions.
const DRAIN: Duration = Duration::from_secs(4);

/// A fleet without nginx that publishes little, as there are many clients on few cores.
async fn quiet_fleet(gateway: &[&str]) -> Option<Fleet> {
    Fleet::start(FleetConfig {
        marketdata: arguments(&["--forming-interval-ms", "1000"]),
        gateway: arguments(gateway),
        has_no_nginx: true,
        ..FleetConfig::default()
    })
    .await
}

fn addresses(fleet: &Fleet, count: usize) -> Vec<SocketAddr> {
    let addresses = fleet.gateways.iter().map(|gateway| gateway.address);
    addresses.take(count).collect()
}

/// Clients of one topic.
struct Crowd {
    topics: Vec<String>,
    followers: Vec<Follower>,
}

impl Crowd {
    /// So many behind nginx, all of which have had closed bars.
    async fn start(nginx: &Nginx, count: usize) -> Self {
        let topics = vec![TOPIC.to_owned()];
        let followers = (0..count)
            .map(|_| Follower::start(nginx.url(), topics.clone()))
            .collect();
        let crowd = Self { topics, followers };
        crowd.until_later(1_000).await;
        crowd
    }

    /// Waits until all have bars that closed so long after all that any has now.
    async fn until_later(&self, later_ms: i64) {
        let ends = self
            .followers
            .iter()
            .map(|follower| follower.closed_until_ms(&self.topics));
        let target_ms = ends.max().expect("a crowd is not empty") + later_ms;
        for follower in &self.followers {
            follower.until_closed(&self.topics, target_ms).await;
        }
    }

    fn sum(&self, what: impl Fn(&Seen) -> usize) -> usize {
        self.followers
            .iter()
            .map(|follower| follower.seen(&what))
            .sum()
    }

    /// Nobody was refused, lacks a closed bar, or was told that it does.
    fn check_nothing_lost(&self) {
        assert_eq!(self.sum(|seen| seen.refusals), 0, "handshakes failed");
        for follower in &self.followers {
            follower.seen(|seen| {
                assert_eq!(seen.others, Vec::<serde_json::Value>::new());
                let topic = &seen.topics[TOPIC];
                assert_eq!(
                    (topic.holes(), topic.skipped, topic.not_resumed),
                    (Vec::new(), 0, 0),
                    "{:?}",
                    seen.closes
                );
            });
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_a_drained_gateway_come_to_the_others_one_after_another() {
    let Some(binary) = find_nginx() else {
        return;
    };
    let drain_ms = DRAIN.as_millis().to_string();
    let drain = ["--drain-notice-ms", "300", "--drain-ms", &drain_ms];
    let Some(mut fleet) = quiet_fleet(&drain).await else {
        return;
    };
    let nginx = Nginx::start(&binary, &addresses(&fleet, 3)).await;
    let crowd = Crowd::start(&nginx, 240).await;
    let drained = fleet.gateways.remove(0);
    let moving = drained.sessions().await;
    assert_eq!(moving, 80.0);
    let handshakes = async || {
        let mut sum = 0.0;
        for gateway in &fleet.gateways {
            sum += gateway.program.metric("gateway_sessions_total", &[]).await;
        }
        sum
    };
    let mut seen = handshakes().await;
    let end = seen + moving;
    drained.program.process.signal("TERM");
    until("it says that it drains", async || {
        let (status, why) = drained.program.page("/readyz").await?;
        holds(status == 503 && why.contains("draining"), || why)
    })
    .await;
    // How many came to the others between two looks, and the time between these: what the machine
    // makes of 100 ms.
    let mut arrivals: Vec<(f64, Duration)> = Vec::new();
    let mut looked_at = Instant::now();
    until("all have moved", async || {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let now = handshakes().await;
        arrivals.push((now - seen, looked_at.elapsed()));
        (seen, looked_at) = (now, Instant::now());
        holds(now >= end, || format!("{now} of {end}"))
    })
    .await;
    // In a second not three times as many as the drain's time has seconds for, and some at a time.
    let a_second = moving / DRAIN.as_secs_f64();
    let are_spread = arrivals
        .iter()
        .all(|(count, time)| *count <= 3.0 * a_second * time.as_secs_f64() + 20.0);
    assert!(are_spread, "{arrivals:?}");
    let mut drained = drained;
    let status = drained.program.process.until_ended().await;
    assert!(status.success(), "{status}");
    crowd.until_later(2_000).await;
    crowd.check_nothing_lost();
    // In the notice nginx may send a client to the gateway that drains, which moves twice then.
    assert!(crowd.sum(|seen| seen.closes.len()) >= 80);
    for follower in &crowd.followers {
        follower.seen(|seen| assert!(seen.closes.iter().all(|code| *code == 1012)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_a_reload_adds_gets_its_share_when_asked() {
    let Some(binary) = find_nginx() else {
        return;
    };
    let shed = ["--shed-rate", "40", "--shed-age-ms", "1000"];
    let Some(fleet) = quiet_fleet(&shed).await else {
        return;
    };
    // Long enough for the whole test: nobody is cut.
    let nginx = Nginx::start_with(&binary, &addresses(&fleet, 2), 600).await;
    let count = 300;
    let crowd = Crowd::start(&nginx, count).await;
    let sessions = async || {
        let mut sessions = Vec::new();
        for gateway in &fleet.gateways {
            sessions.push(gateway.sessions().await as usize);
        }
        sessions
    };
    assert_eq!(sessions().await, [150, 150, 0]);

    nginx.reload(&addresses(&fleet, 3));
    // The new workers know the third gateway.
    let mut probes = Vec::new();
    until("a client comes to the third gateway", async || {
        probes.push(Client::connect(&nginx.url()).await);
        let sessions = sessions().await;
        holds(sessions[2] > 0, || format!("{sessions:?}"))
    })
    .await;
    drop(probes);
    // The others' sockets are none the worse: they go on getting bars.
    crowd.until_later(2_000).await;
    assert_eq!(crowd.sum(|seen| seen.closes.len()), 0);

    let third = &fleet.gateways[2].program;
    until("the third gateway has heard of both", async || {
        let (_, text) = third.page("/rebalance").await?;
        holds(text.matches("\"sessions\":150").count() == 2, || text)
    })
    .await;
    let (status, text) = third.post("/rebalance").await.expect("an answer");
    assert_eq!(status, 202, "{text}");
    until("the gateways have as many", async || {
        let sessions = sessions().await;
        let (least, most) = (sessions.iter().min(), sessions.iter().max());
        let skew = (most.unwrap_or(&0) - least.unwrap_or(&0)) as f64 / (count as f64 / 3.0);
        let is_whole = sessions.iter().sum::<usize>() == count;
        let (_, text) = third.page("/rebalance").await?;
        let is_over = text.contains("\"target\":null");
        if is_over && skew >= 0.1 {
            // A client that was slow to come back came after the end of it: once more.
            third.post("/rebalance").await?;
        }
        holds(is_over && is_whole && skew < 0.1, || {
            format!("{sessions:?} {text}")
        })
    })
    .await;
    crowd.until_later(2_000).await;
    crowd.check_nothing_lost();
    let mut shed = 0.0;
    for gateway in &fleet.gateways {
        shed += gateway.program.metric("gateway_sheds_total", &[]).await;
    }
    let closes = crowd.sum(|seen| seen.closes.len());
    assert_eq!(closes as f64, shed);
    // nginx counts from nothing after a reload, so that more have to move than the third needs.
    assert!((80..600).contains(&closes), "{closes}");
    for follower in &crowd.followers {
        follower.seen(|seen| assert!(seen.closes.iter().all(|code| *code == 4006)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_comes_back_is_filled_without_a_reload() {
    let Some(binary) = find_nginx() else {
        return;
    };
    let shed = ["--shed-rate", "20", "--shed-age-ms", "1000"];
    let Some(mut fleet) = quiet_fleet(&shed).await else {
        return;
    };
    let nginx = Nginx::start(&binary, &addresses(&fleet, 3)).await;
    // Every handshake meets the one that is gone first, as it has the fewest connections.
    fleet.gateways[2].program.process.kill();
    let crowd = Crowd::start(&nginx, 120).await;
    fleet.gateways[2].program.restart().await;
    let third = &fleet.gateways[2].program;
    third.until_ready().await;
    // nginx tries a gateway that failed every three seconds. Until then those who are sent away
    // would come to the others.
    until("nginx knows that it is back", async || {
        let client = Dial::default().connect(&nginx.url()).await;
        let sessions = third.metric("gateway_sessions", &[]).await;
        drop(client);
        holds(sessions > 0.0, || sessions.to_string())
    })
    .await;
    until("it has heard of both", async || {
        let (_, text) = third.page("/rebalance").await?;
        holds(text.matches("\"sessions\":60").count() == 2, || text)
    })
    .await;
    let (status, text) = third.post("/rebalance").await.expect("an answer");
    assert_eq!(status, 202, "{text}");
    until("the gateways have as many", async || {
        let mut sessions = Vec::new();
        for gateway in &fleet.gateways {
            sessions.push(gateway.sessions().await as usize);
        }
        let (least, most) = (sessions.iter().min(), sessions.iter().max());
        holds(
            sessions.iter().sum::<usize>() == 120 && least >= Some(&36) && most <= Some(&44),
            || format!("{sessions:?}"),
        )
    })
    .await;
    crowd.until_later(2_000).await;
    crowd.check_nothing_lost();
    // nginx knows who has how many: nobody has to move twice.
    let closes = crowd.sum(|seen| seen.closes.len());
    assert!((30..=50).contains(&closes), "{closes}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_cuts_sockets_only_after_its_time_and_clients_come_back() {
    let Some(binary) = find_nginx() else {
        return;
    };
    let Some(fleet) = quiet_fleet(&[]).await else {
        return;
    };
    let addresses = addresses(&fleet, 3);
    let nginx = Nginx::start_with(&binary, &addresses, 4).await;
    let crowd = Crowd::start(&nginx, 30).await;
    nginx.reload(&addresses);
    crowd.until_later(1_000).await;
    until("the old workers have cut their clients", async || {
        let closes = crowd.sum(|seen| seen.closes.len());
        holds(closes >= 30, || closes.to_string())
    })
    .await;
    crowd.until_later(2_000).await;
    crowd.check_nothing_lost();
    for follower in &crowd.followers {
        // Without a close frame.
        follower.seen(|seen| assert_eq!(seen.closes, [1006]));
    }
}

/// How long a client of the test waits for the answer to its handshake.
const PATIENCE: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_gateway_gets_no_new_clients_until_it_wakes() {
    let Some(binary) = find_nginx() else {
        return;
    };
    let Some(fleet) = quiet_fleet(&[]).await else {
        return;
    };
    let nginx = Nginx::start(&binary, &addresses(&fleet, 3)).await;
    let dial = async || {
        let dial = Dial::default();
        let answer = tokio::time::timeout(PATIENCE, dial.connect(&nginx.url())).await;
        answer.ok().and_then(Result::ok)
    };
    let mut clients = Vec::new();
    for _ in 0..30 {
        clients.push(dial().await.expect("all gateways are well"));
    }
    let frozen = &fleet.gateways[1];
    let before = frozen.sessions().await;
    assert_eq!(before, 10.0);
    frozen.program.process.signal("STOP");
    let frozen_at = Instant::now();
    // Those who come in the second that nginx needs to find out may get no answer, and try again.
    let mut unanswered = 0;
    let mut served_in_a_row = 0;
    while served_in_a_row < 30 || frozen_at.elapsed() < Duration::from_secs(8) {
        match dial().await {
            Some(client) => {
                clients.push(client);
                served_in_a_row += 1;
            }
            None => {
                unanswered += 1;
                served_in_a_row = 0;
            }
        }
        assert!(unanswered <= 3, "{unanswered} of {}", clients.len());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    frozen.program.process.signal("CONT");
    // It is filled at once, as it has the fewest, and knows that what it had was old.
    until("clients come to it", async || {
        clients.extend(dial().await);
        let sessions = frozen.sessions().await;
        holds(sessions >= before + 10.0, || sessions.to_string())
    })
    .await;
    let resyncs = "gateway_resyncs_total";
    let reason = ["reason=\"standstill\""];
    frozen.program.until_metric(resyncs, &reason, 1.0).await;
    frozen.program.until_ready().await;
}
