use bus::MemoryBus;
use market_core::{AggressorSide, Origin, Pipeline, PipelineConfig, Price, Quantity, Trade};

use super::*;

mod batch;

fn item(subject: &str, payload: &'static str) -> Item {
    Item::new(subject.into(), payload.into())
}

/// What is next once bars have waited.
fn next(lane: &Lane) -> Option<Item> {
    match lane.next(Instant::now() + LINGER) {
        Next::Store(item) => Some(item),
        Next::Wait => None,
        Next::WaitUntil(_) => panic!("it has waited"),
        Next::Encode(_) => panic!("these are bytes"),
    }
}

#[test]
fn a_bar_waits_for_those_that_clients_wait_for() {
    let lane = Lane::new(10, 0, EncodingTurn::default());
    let before = Instant::now();
    lane.push(item("closed.a", "1"));
    let Next::WaitUntil(at) = lane.next(before) else {
        panic!("it may not be stored yet");
    };
    assert!(at >= before + LINGER);
    assert_eq!(lane.next(at), Next::Store(item("closed.a", "1")));
}

#[test]
fn a_checkpoint_waits_for_the_bars_before_it_and_the_newest_counts() {
    let lane = Lane::new(10, 0, EncodingTurn::default());
    lane.push(item("closed.a", "1"));
    lane.set_checkpoint(item("state.a", "old"));
    lane.set_checkpoint(item("state.a", "new"));
    lane.push(item("closed.a", "2"));
    assert_eq!(next(&lane), Some(item("closed.a", "1")));
    lane.done(Settled::Stored);
    assert_eq!(next(&lane), Some(item("state.a", "new")));
    lane.done(Settled::Stored);
    assert_eq!(next(&lane), Some(item("closed.a", "2")));
    lane.done(Settled::Stored);
    assert_eq!(next(&lane), None);
}

#[test]
fn the_oldest_bar_makes_room_and_does_not_hold_up_checkpoints() {
    let lane = Lane::new(2, 0, EncodingTurn::default());
    for payload in ["1", "2", "3"] {
        lane.push(item("closed.a", payload));
    }
    lane.set_checkpoint(item("state.a", "s"));
    for payload in ["2", "3"] {
        assert_eq!(next(&lane), Some(item("closed.a", payload)));
        lane.done(Settled::Stored);
    }
    assert_eq!(next(&lane), Some(item("state.a", "s")));
}

/// A symbol's state after its trade of this id.
fn snapshot(subject: &str, id: u64) -> Snapshot {
    let mut pipeline = Pipeline::new(&PipelineConfig::default());
    let trade = Trade {
        first_id: id,
        last_id: id,
        event_ms: 1_700_000_000_000,
        price: Price::parse("1").expect("price"),
        quantity: Quantity::parse("1").expect("quantity"),
        aggressor_side: AggressorSide::Buy,
        received_us: 0,
    };
    pipeline.feed_up(trade.event_ms);
    pipeline.offer(&trade, Origin::Live, trade.event_ms, &mut Vec::new());
    Snapshot {
        subject: subject.into(),
        state: Box::new(pipeline.checkpoint().expect("short")),
        right: Right::default(),
    }
}

async fn saved(bus: &MemoryBus, pattern: &str) -> Vec<Option<u64>> {
    let messages = bus.last_values(pattern).await.expect("the bus is there");
    let next_id = |message: &bus::Message| {
        let config = PipelineConfig::default();
        let restored = Pipeline::restore(&config, &message.subject, &message.payload);
        restored.expect("its own").next_id()
    };
    messages.iter().map(next_id).collect()
}

#[tokio::test]
async fn one_state_of_a_worker_is_encoded_at_a_time_and_only_if_no_newer_one_came() {
    let bus = Arc::new(MemoryBus::with_streams(&service::streams()));
    let encoding = EncodingTurn::default();
    let lanes = [0, 1].map(|index| Arc::new(Lane::new(10, index, encoding.clone())));
    let held = encoding.0.lock().await;
    let stop = CancellationToken::new();
    let tasks = lanes.each_ref().map(|lane| {
        let bus = Arc::<MemoryBus>::clone(&bus);
        tokio::spawn(Arc::clone(lane).run(bus, stop.clone()))
    });
    for (index, lane) in lanes.iter().enumerate() {
        lane.set_snapshot(snapshot(&format!("state.marketdata.okx.{index}"), 1));
    }
    // Each lane has one in hand, and waits for its turn.
    let both_wait = async {
        while lanes.iter().any(|lane| lane.trying().is_none()) {
            tokio::task::yield_now().await;
        }
    };
    let both_wait = tokio::time::timeout(Duration::from_secs(60), both_wait);
    both_wait.await.expect("both take one");
    for (index, lane) in lanes.iter().enumerate() {
        for id in 2..=5 {
            lane.set_snapshot(snapshot(&format!("state.marketdata.okx.{index}"), id));
        }
        assert_eq!(lane.state().checkpoints.len(), 1);
        assert_eq!(lane.state().checkpoint_order.len(), 1);
    }
    assert!(saved(&bus, "state.>").await.is_empty());
    drop(held);
    stop.cancel();
    for task in tasks {
        task.await.expect("it ends");
    }
    assert_eq!(saved(&bus, "state.>").await, [Some(6), Some(6)]);
}

#[tokio::test]
async fn a_bar_is_done_once_the_record_and_the_journal_have_it() {
    let bus = Arc::new(MemoryBus::with_streams(&service::streams()));
    let lane = Arc::new(Lane::new(10, 0, EncodingTurn::default()).with_journal(true));
    let journal = service::JournalConfig::default().stream();
    let put = bus.streams().put_stream(journal.expect("a journal"));
    put.await.expect("a stream");
    lane.push(item("closed.1m.BTC-USD", "bar"));
    lane.set_checkpoint(item("state.marketdata.okx.BTC-USD", "state"));
    let stop = CancellationToken::new();
    stop.cancel();
    Arc::clone(&lane)
        .run(Arc::<MemoryBus>::clone(&bus), stop)
        .await;
    for (pattern, expected) in [
        ("closed.>", "bar"),
        ("journal.>", "bar"),
        ("state.>", "state"),
    ] {
        let kept = bus.last_values(pattern).await.expect("the bus is there");
        let kept: Vec<_> = kept.iter().map(|message| &*message.payload).collect();
        assert_eq!(kept, [expected.as_bytes()], "{pattern}");
    }
}

#[tokio::test]
async fn what_no_fence_protects_waits_for_doubts_and_is_left_to_a_successor() {
    let bus = Arc::new(MemoryBus::with_streams(&service::streams()));
    let validity = Arc::new(Validity::none());
    let lane = Lane::new(10, 0, EncodingTurn::default()).with_validity(Arc::clone(&validity));
    let lane = Arc::new(lane);
    let right = Right::default();
    let position = Item::under(right.clone(), "state.marks.0".into(), "{}".into());
    {
        let asking = lane.may_store(&position);
        tokio::pin!(asking);
        assert!(futures_util::poll!(&mut asking).is_pending(), "in doubt");
        validity.set(i64::MAX);
        assert!(asking.await);
    }
    // It is lost while both wait in the queue.
    let lost = snapshot("state.marketdata.okx.A", 1);
    lost.right.lose();
    right.lose();
    lane.set_checkpoint(position);
    lane.set_snapshot(lost);
    lane.set_snapshot(snapshot("state.marketdata.okx.B", 2));
    let stop = CancellationToken::new();
    stop.cancel();
    Arc::clone(&lane)
        .run(Arc::<MemoryBus>::clone(&bus), stop)
        .await;
    assert_eq!(saved(&bus, "state.marketdata.>").await, [Some(3)]);
    assert_eq!(bus.last_values("state.marks.>").await, Ok(Vec::new()));
}
