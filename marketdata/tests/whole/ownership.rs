//! Instruments that are assigned to a running marketdata, and revoked.

use marketdata::instrument::InstrumentSpec;
use marketdata::ownership::control::Refused;
use marketdata::{Assigned, Config, Control};

use crate::deployment::{Deployment, INSTRUMENTS, sim_config};

fn spec(venue: &str, symbol: &str) -> Vec<InstrumentSpec> {
    InstrumentSpec::parse_list(&format!("{venue}:{symbol}")).expect("valid")
}

/// Two programs with the same instruments, of which the second publishes none yet.
async fn two(first: &Control, second: &Control) -> Deployment {
    let mut deployment = Deployment::new(sim_config()).await;
    deployment.start_controlled(deployment.config(), first.clone());
    deployment.all_more_seconds(2).await;
    let standby = Config {
        assigned: Assigned::None,
        ..deployment.config()
    };
    deployment.start_beside(standby, second.clone());
    deployment
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instrument_changes_hands_and_no_bar_is_missing_or_doubled_with_other_content() {
    let (first, second) = (Control::default(), Control::default());
    let mut deployment = two(&first, &second).await;
    // There, and back again.
    for (from, to) in [(&first, &second), (&second, &first)] {
        for (venue, _, symbol) in INSTRUMENTS {
            let left = from.revoke(spec(venue, symbol)).await.expect("it drains");
            assert!(
                left.released.contains(&format!("{venue}:{symbol}")),
                "{left:?}"
            );
            let taken = to.assign(spec(venue, symbol)).await.expect("it is free");
            assert!(
                taken.owned.contains(&format!("{venue}:{symbol}")),
                "{taken:?}"
            );
            deployment.more_seconds(symbol, 3).await;
        }
        deployment.all_more_seconds(2).await;
    }
    for (venue, native, symbol) in INSTRUMENTS {
        deployment.check_truth(venue, native, symbol).await;
    }
    deployment.check_doubles();
    deployment.seen(|seen| {
        for (_, _, symbol) in INSTRUMENTS {
            assert!(seen.count_quality(symbol, "partial") <= 1, "{symbol}");
            assert_eq!(seen.count_quality(symbol, "gap"), 0, "{symbol}");
        }
        for seqs in seen.seqs.values() {
            assert!(seqs.is_sorted(), "epochs rise, and sequences within them");
        }
    });
    // Each of them may have any holder: a successor finds where the marks are.
    let kept = deployment.bus.last_values("state.marks.>").await;
    let mut positions: Vec<_> = kept
        .expect("the bus is there")
        .into_iter()
        .map(|message| message.subject)
        .collect();
    positions.dedup();
    assert_eq!(positions.len(), 1, "{positions:?}");
    // The second one owns nothing again, and is ready: it lacks no feed.
    let all = second.see().await.expect("it lives");
    assert_eq!(
        (all.owned.len(), all.released.len()),
        (0, INSTRUMENTS.len())
    );
    deployment.stop().await;
    deployment.swap();
    deployment
        .until("the standby is ready", || async { deployment.is_ready() })
        .await;
    deployment.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_revoked_is_published_no_more_and_holds_no_boundary_up() {
    let (first, second) = (Control::default(), Control::default());
    let mut deployment = two(&first, &second).await;
    let (venue, _, symbol) = INSTRUMENTS[0];
    first.revoke(spec(venue, symbol)).await.expect("it drains");
    let topic = format!("kline:1s:{symbol}");
    let published = deployment.seen(|seen| seen.seqs[&topic].len());
    let marked = deployment.seen(|seen| seen.marks.len());
    deployment
        .until_seen("whole marks of the rest", |seen| {
            let later = seen.marks[marked..].iter();
            later
                .filter(|mark| mark.interval == "1s" && mark.missing == 0 && mark.bars == 2)
                .count()
                >= 3
        })
        .await;
    let after = deployment.seen(|seen| seen.seqs[&topic].len());
    assert_eq!(after, published, "nothing of it after the answer");
    // Its state is on the bus, for the next holder; a second revocation changes nothing.
    let left = first.revoke(spec(venue, symbol)).await.expect("it is free");
    assert_eq!(left.released, [format!("{venue}:{symbol}")]);
    let unknown = second.assign(spec("okx", "OKX:XRP-USDT")).await;
    assert!(matches!(unknown, Err(Refused::Unknown(_))), "{unknown:?}");
    deployment.stop().await;
}
