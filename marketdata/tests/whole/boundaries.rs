//! Marks that an interval is over for all symbols, of all workers.

use crate::deployment::{Deployment, INSTRUMENTS, sim_config};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_boundary_is_marked_once_and_after_the_last_symbols_bar_even_if_that_is_held_back() {
    let mut deployment = Deployment::new(sim_config()).await;
    deployment.start(deployment.config());
    deployment.all_more_seconds(2).await;
    // Its bars wait for the missing trades; the others' do not, but the marks do.
    deployment.fault("cut,venue=okx,for=3s").await;
    deployment.more_seconds("OKX:BTC-USDT", 6).await;
    let end_ms = deployment.closed_until_ms("OKX:BTC-USDT");
    deployment
        .until_seen("the last of these seconds is marked", |seen| {
            seen.marks.last().is_some_and(|mark| mark.end_ms >= end_ms)
        })
        .await;
    deployment.seen(|seen| {
        let mut before_ms = None;
        for mark in seen.marks.iter().filter(|mark| mark.interval == "1s") {
            assert_eq!((mark.missing, mark.behind), (0, 0), "{mark:?}");
            if let Some(before_ms) = before_ms {
                assert_eq!(mark.end_ms, before_ms + 1_000, "marked once and in order");
            }
            before_ms = Some(mark.end_ms);
        }
        let last = seen.marks.last().expect("there are marks");
        assert_eq!(last.bars, INSTRUMENTS.len() as u64);
    });
    deployment.stop().await;
}
