//! Instruments that move from one running marketdata to another.

use loadtest::fleet::{Fleet, FleetConfig, INSTRUMENTS, topics};
use loadtest::follower::Follower;
use loadtest::program::Program;
use serde_json::{Value, json};

async fn ask(program: &Program, verb: &str, instrument: &str) -> Value {
    let path = format!("/instruments/{verb}");
    let body = json!({"instruments": [instrument]});
    let (status, text) = program.post_json(&path, &body).await.expect("an answer");
    assert_eq!(status, 200, "{verb} {instrument}: {text}");
    serde_json::from_str(&text).expect("JSON")
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_miss_no_bar_while_every_instrument_moves_to_another_marketdata() {
    let config = FleetConfig {
        has_no_nginx: true,
        ..FleetConfig::default()
    };
    let Some(mut fleet) = Fleet::start(config).await else {
        return;
    };
    let follower = Follower::start(fleet.gateways[0].url(), topics());
    let first_ms = follower.closed_until_ms(&topics());
    follower.until_closed(&topics(), first_ms + 6_000).await;
    let standby = fleet.start_standby().await;
    for instrument in INSTRUMENTS {
        let name = format!("{}:{}", instrument.venue, instrument.symbol);
        let left = ask(&fleet.marketdata, "revoke", &name).await;
        assert!(
            left["released"]
                .as_array()
                .is_some_and(|all| all.contains(&json!(name)))
        );
        let taken = ask(&standby, "assign", &name).await;
        assert!(
            taken["owned"]
                .as_array()
                .is_some_and(|all| all.contains(&json!(name)))
        );
        let now_ms = follower.closed_until_ms(&topics());
        follower.until_closed(&topics(), now_ms + 6_000).await;
    }
    // Nothing depends on the first one any more.
    fleet.marketdata.process.kill();
    let now_ms = follower.closed_until_ms(&topics());
    follower.until_closed(&topics(), now_ms + 6_000).await;
    let comparison = fleet.until_true(&follower, false).await;
    assert!(comparison.gaps.is_empty(), "{comparison:?}");
    for topic in topics() {
        let holes = follower.seen(|seen| seen.topics[&topic].holes());
        assert!(holes.is_empty(), "{topic}: {holes:?}");
    }
    let (status, text) = standby
        .post_json(
            "/instruments/assign",
            &json!({"instruments": ["okx:OKX:NO-SUCH"]}),
        )
        .await
        .expect("an answer");
    assert_eq!(status, 404, "{text}");
    assert!(text.contains("is not among --instruments"), "{text}");
}
