//! Bars that are stored together.

use bus::{Append, Expected, StreamSpec};

use super::*;
use crate::publish::fence::Fenced;

/// Takes the lease of a symbol, and gives its fence.
async fn take(bus: &MemoryBus, symbol: &str) -> Arc<Expected> {
    let subject = format!("closed.lease.binance.{symbol}");
    let lease = Append::new(subject.clone(), "me".into());
    let taken = bus.streams().append(lease).await.expect("stored");
    Arc::new(Expected::LastOf {
        subject,
        sequence: taken.sequence,
    })
}

fn bar(topic: usize, start_ms: i64, fence: &Arc<Expected>) -> Item {
    let fenced = Fenced {
        expected: Arc::clone(fence),
        topic,
        start_ms,
        rev: 0,
        epoch: 1,
    };
    let subject = format!("closed.1s.S{topic}");
    Item {
        fence: Some(Box::new(fenced)),
        ..Item::new(subject.into(), format!("{topic}@{start_ms}").into())
    }
}

/// Stores all that waits.
async fn run(lane: &Arc<Lane>, bus: &Arc<MemoryBus>) {
    let stop = CancellationToken::new();
    stop.cancel();
    let bus: Arc<dyn Bus> = Arc::clone(bus) as _;
    Arc::clone(lane).run(bus, stop).await;
}

async fn stored(bus: &MemoryBus, pattern: &str) -> Vec<(u64, String)> {
    let range = bus::Range::new(pattern, bus::Start::Oldest, 100);
    let page = bus
        .streams()
        .range(&range)
        .await
        .expect("the stream is there");
    let messages = page.messages.iter().map(|message| {
        let position = message.position.as_deref().expect("it is stored");
        let text = String::from_utf8(message.payload.to_vec()).expect("text");
        (position.sequence, text)
    });
    messages.collect()
}

fn texts(stored: &[(u64, String)]) -> Vec<&str> {
    stored.iter().map(|(_, text)| text.as_str()).collect()
}

fn lane(refusals: &Arc<Refusals>) -> Arc<Lane> {
    let lane = Lane::new(100, 0, EncodingTurn::default());
    let lane = lane.with_journal(true);
    Arc::new(lane.with_refusals(Arc::clone(refusals)))
}

fn bus_with(is_fenced: bool) -> Arc<MemoryBus> {
    let closed = StreamSpec::newest("closed", 32, true).fenced(is_fenced);
    let journal = StreamSpec::newest("journal", 32, true);
    Arc::new(MemoryBus::with_streams(&[closed, journal]))
}

#[tokio::test]
async fn bars_of_a_boundary_are_stored_together_and_before_the_checkpoints_behind_them() {
    let bus = bus_with(true);
    let fences = [take(&bus, "S0").await, take(&bus, "S1").await];
    let refusals = Arc::new(Refusals::new(Arc::default()));
    let lane = lane(&refusals);
    for (topic, start_ms) in [(0, 0), (1, 0), (0, 1_000)] {
        lane.push(bar(topic, start_ms, &fences[topic]));
    }
    run(&lane, &bus).await;
    let record = stored(&bus, "closed.1s.>").await;
    assert_eq!(texts(&record), ["0@0", "1@0", "0@1000"]);
    let first = record[0].0;
    let sequences = record.iter().map(|(sequence, _)| *sequence);
    assert!(sequences.eq(first..first + 3), "{record:?}");
    let journal = stored(&bus, "journal.>").await;
    assert_eq!(texts(&journal), ["0@0", "1@0", "0@1000"]);
    assert!(refusals.take_stored());
    assert_eq!(refusals.take(), []);
    // What follows goes on.
    lane.flushed("state.S0").await;
    lane.push(bar(1, 1_000, &fences[1]));
    run(&lane, &bus).await;
    assert_eq!(stored(&bus, "closed.1s.>").await.len(), 4);
}

#[tokio::test]
async fn a_batch_with_a_lost_lease_leaves_out_the_bars_of_this_lease_alone() {
    let bus = bus_with(true);
    let fences = [take(&bus, "S0").await, take(&bus, "S1").await];
    take(&bus, "S1").await;
    let refusals = Arc::new(Refusals::new(Arc::default()));
    let lane = lane(&refusals);
    for (topic, start_ms) in [(0, 0), (1, 0), (0, 1_000)] {
        lane.push(bar(topic, start_ms, &fences[topic]));
    }
    run(&lane, &bus).await;
    for pattern in ["closed.1s.>", "journal.>"] {
        let stored = stored(&bus, pattern).await;
        assert_eq!(texts(&stored), ["0@0", "0@1000"], "{pattern}");
    }
    let refused = refusals.take();
    let refused = refused.iter().map(|fenced| (fenced.topic, fenced.start_ms));
    assert!(refused.eq([(1, 0)]));
    lane.flushed("state.S0").await;
}

#[tokio::test]
async fn a_stream_that_takes_no_batches_gets_every_bar_by_itself() {
    let bus = bus_with(false);
    let fence = take(&bus, "S0").await;
    let refusals = Arc::new(Refusals::new(Arc::default()));
    let lane = lane(&refusals);
    for turn in 0..2 {
        for start_ms in [0, 1_000] {
            lane.push(bar(0, turn * 2_000 + start_ms, &fence));
        }
        run(&lane, &bus).await;
    }
    let record = stored(&bus, "closed.1s.>").await;
    assert_eq!(texts(&record), ["0@0", "0@1000", "0@2000", "0@3000"]);
}

#[tokio::test]
async fn after_a_batch_that_failed_bars_are_stored_one_by_one_for_a_while() {
    let bus = bus_with(true);
    let fence = take(&bus, "S0").await;
    let refusals = Arc::new(Refusals::new(Arc::default()));
    let lane = lane(&refusals);
    lane.push(bar(0, 0, &fence));
    // No stream has it, so the batch fails as a whole.
    lane.push(Item {
        subject: "nowhere.1s.S0".into(),
        ..bar(0, 1_000, &fence)
    });
    run(&lane, &bus).await;
    assert_eq!(texts(&stored(&bus, "closed.1s.>").await), ["0@0"]);
    let now = Instant::now();
    assert!(!lane.batches.may_be_tried(now));
    assert!(lane.batches.may_be_tried(now + Duration::from_secs(60)));
}
