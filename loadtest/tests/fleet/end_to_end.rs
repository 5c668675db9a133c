//! From the exchanges to clients behind nginx.

use std::collections::HashSet;

use loadtest::bar::Bar;
use loadtest::client::{Client, Dial, Got};
use loadtest::fleet::{Fleet, FleetConfig, topics};
use loadtest::follower::Follower;
use loadtest::nginx::PAGE;
use loadtest::program::arguments;

#[tokio::test(flavor = "multi_thread")]
async fn clients_behind_nginx_get_bars_that_equal_the_exchanges_trades() {
    let Some(fleet) = Fleet::start(FleetConfig::default()).await else {
        return;
    };
    let topics = topics();
    let followers: Vec<Follower> = (0..9).map(|_| fleet.follow()).collect();
    for follower in &followers {
        follower
            .until("the first closed bars", |seen| {
                topics.iter().all(|topic| {
                    seen.topics
                        .get(topic)
                        .is_some_and(|topic| !topic.closed.is_empty())
                })
            })
            .await;
    }
    // nginx gives each connection to the gateway that has least.
    for gateway in &fleet.gateways {
        assert_eq!(gateway.sessions().await, 3.0);
    }

    let mut client = Client::connect(&fleet.nginx().url()).await;
    let ack = client.subscribe(&topics).await;
    assert_eq!(
        ack,
        serde_json::json!({"op": "ack", "id": 1, "topics": topics})
    );
    let snapshot = client.frame().await;
    let of: HashSet<&str> = snapshot
        .iter()
        .filter_map(|bar| bar["topic"].as_str())
        .collect();
    assert_eq!(
        of.len(),
        topics.len(),
        "every topic is in the frame after the ack: {snapshot:?}"
    );
    for bar in snapshot {
        serde_json::from_value::<Bar>(bar).expect("a bar as in the reference");
    }

    let target_ms = followers[0].closed_until_ms(&topics) + 12_000;
    for follower in &followers {
        follower.until_closed(&topics, target_ms).await;
        let comparison = fleet.until_true(follower, false).await;
        assert!(
            comparison.gaps.is_empty() && comparison.equal >= 6 * 2,
            "{comparison:?}"
        );
        follower.seen(|seen| {
            assert_eq!(
                (seen.connects, seen.others.len()),
                (1, 0),
                "{:?}",
                seen.others
            );
            for (topic, seen) in &seen.topics {
                assert!(seen.forming > 0, "{topic} has no forming bar");
                assert_eq!(seen.holes(), [] as [i64; 0], "{topic}");
                assert_eq!((seen.skipped, seen.disordered), (0, 0), "{topic}");
            }
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_for_operators_is_not_on_the_public_side() {
    let Some(fleet) = Fleet::start(FleetConfig::default()).await else {
        return;
    };
    let get = async |path: &str| {
        let answer = reqwest::get(format!("http://{}{path}", fleet.nginx().address))
            .await
            .expect("nginx answers");
        (
            answer.status().as_u16(),
            answer.text().await.expect("a body"),
        )
    };
    for path in [
        "/metrics",
        "/readyz",
        "/healthz",
        "/metrics/",
        "/metrics?x=1",
        "/%6detrics",
        "//metrics",
    ] {
        assert_eq!(get(path).await.0, 404, "{path}");
    }
    assert_eq!(get("/").await, (200, PAGE.to_owned()));
    // Nor do the gateways serve them where they serve clients.
    for gateway in &fleet.gateways {
        let answer = reqwest::get(format!("http://{}/metrics", gateway.address))
            .await
            .expect("the gateway answers");
        assert_eq!(answer.status().as_u16(), 404);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_limited_by_the_address_that_nginx_saw_not_by_the_one_claimed() {
    let config = FleetConfig {
        gateway: arguments(&["--sessions-per-ip", "2"]),
        ..FleetConfig::default()
    };
    let Some(fleet) = Fleet::start(config).await else {
        return;
    };
    let url = fleet.nginx().url();
    let from = |address: &str| Some(address.parse().expect("an address"));
    let (mut held, mut turned_away) = (Vec::new(), 0);
    for number in 0..10 {
        let claimed = format!("198.51.100.{number}");
        let dial = Dial {
            from: from("127.0.0.2"),
            forwarded_for: Some(&claimed),
            ..Dial::default()
        };
        let mut client = dial.connect(&url).await.expect("a handshake");
        // Those above the limit hear so before they can ask anything.
        let _ = client.try_send(r#"{"op":"ping"}"#.into()).await;
        match client.next().await {
            Got::Frame(_) => held.push(client),
            Got::Closed(1013, _) => turned_away += 1,
            other => panic!("a pong or 1013 is expected, not {other:?}"),
        }
    }
    assert_eq!(
        (held.len(), turned_away),
        (6, 4),
        "two sessions on each of three gateways"
    );
    let dial = Dial {
        from: from("127.0.0.3"),
        ..Dial::default()
    };
    let mut other = dial.connect(&url).await.expect("a handshake");
    other.send(r#"{"op":"ping"}"#).await;
    other.answer("pong").await;
    let mut refused = 0.0;
    for gateway in &fleet.gateways {
        refused += gateway
            .program
            .metric(
                "gateway_handshake_failures_total",
                &["reason=\"sessions_per_ip\""],
            )
            .await;
    }
    assert_eq!(refused, 4.0);
}
