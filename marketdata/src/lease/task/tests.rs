use bus::{Bus, LeaseKey, MemoryBus};
use market_core::{Bar, BarState, Price, Quality, Timeframe, TimeframeSet, subject};
use service::Service;
use tokio::sync::Notify;

use super::*;
use crate::feed::symbols::SymbolBoard;
use crate::instrument::Instrument;
use crate::lease::beat::beat;
use crate::presence::{Epoch, Others};
use crate::publish::Publisher;
use crate::publish::book::RecordHead;
use crate::publish::boundary::Boundaries;
use crate::publish::durable::{EncodingTurn, Lane};
use crate::publish::fence::Refusals;
use crate::publish::message::{Publication, Trigger};
use crate::publish::outbox::OutboxBounds;
use crate::publish::validity::Validity;

const SILENCE: Duration = Duration::from_millis(500);
/// No mark is overdue within a test.
const HOLD_MS: i64 = 1_000_000_000;
/// How long anything may take.
const DEADLINE: Duration = Duration::from_secs(90);

/// The parts of a program of so many instruments, each of which has made one bar.
fn parts(bus: &Arc<MemoryBus>, instruments: usize) -> LeaseParts {
    let instrument = |id| Instrument {
        exchange: "binance",
        venue: 0,
        symbol: format!("A{id}-B").parse().expect("a symbol"),
        native: format!("A{id}B"),
    };
    let all: Arc<[Instrument]> = (0..instruments).map(instrument).collect();
    let timeframes: TimeframeSet = "1s".parse().expect("timeframes");
    let boundaries = Boundaries::new(&timeframes, instruments, HOLD_MS, "state.marks.0".into());
    let boundaries = Arc::new(boundaries);
    let publications = all.iter().enumerate().map(|(id, of)| Publication {
        instrument: id,
        exchange: of.exchange,
        symbol: of.symbol.clone(),
    });
    let refused = Arc::new(Notify::new());
    let lane = Arc::new(Lane::new(1_000, 0, EncodingTurn::default()));
    let outbox = Arc::new(Outbox::new(
        publications.collect(),
        &timeframes,
        vec![Arc::clone(&lane)],
        Arc::clone(&boundaries),
        Arc::new(Refusals::new(Arc::clone(&refused))),
        OutboxBounds {
            bars_max: 1_000,
            trades_max: 1,
        },
    ));
    for slot in 0..instruments {
        outbox.begin(slot, [1_000].into_iter());
        outbox.closed(slot, &bar(1), 0, Trigger::Tick { due_us: 0 });
    }
    LeaseParts {
        bus: Arc::<MemoryBus>::clone(bus),
        me: "a".to_owned(),
        instruments: all,
        board: Arc::new(SymbolBoard::new(instruments)),
        outboxes: vec![outbox],
        worker_of: vec![0; instruments].into(),
        boundaries,
        epoch: Arc::new(Epoch::new(1)),
        lane,
        validity: Arc::new(Validity::none()),
        others: Arc::new(Others::default()),
        silence: SILENCE,
        share: None,
        refused,
        leaving: CancellationToken::new(),
        ready: Service::for_test().readiness.condition("leases"),
    }
}

fn bar(second: i64) -> Bar {
    Bar {
        timeframe: Timeframe::SECOND,
        start_ms: second * 1_000,
        end_ms: (second + 1) * 1_000,
        fold: None,
        previous_close: Price::parse("5").ok(),
        state: BarState::Closed,
        rev: 0,
        quality: Quality::Filled,
    }
}

fn head(second: i64, epoch: u64) -> RecordHead {
    RecordHead {
        epoch,
        start_ms: second * 1_000,
        rev: 0,
        count: 0,
        quality: Quality::Filled,
    }
}

fn bus() -> Arc<MemoryBus> {
    Arc::new(MemoryBus::with_streams(&service::streams()))
}

#[tokio::test]
async fn a_takeover_in_portions_marks_nothing_before_the_last_symbol_has_published() {
    let instruments = 2 * takeover::PORTION + 7;
    let bus = bus();
    let parts = parts(&bus, instruments);
    let (boundaries, outbox) = (
        Arc::clone(&parts.boundaries),
        Arc::clone(&parts.outboxes[0]),
    );
    let publisher = Publisher::new(
        Arc::<MemoryBus>::clone(&bus),
        outbox,
        Arc::clone(&parts.validity),
    );
    let (asking, commands) = mpsc::channel(1);
    let stop = CancellationToken::new();
    let running = [
        tokio::spawn(publisher.run(stop.clone())),
        tokio::spawn(beat(
            Arc::<MemoryBus>::clone(&bus),
            parts.me.clone(),
            SILENCE,
            parts.leaving.clone(),
            stop.clone(),
        )),
        tokio::spawn(LeaseTask::new(parts).run(commands, stop.clone())),
    ];
    let join = Command::Join((0..instruments).collect());
    assert!(asking.send(join).await.is_ok());
    let mark = tokio::time::timeout(DEADLINE, async {
        loop {
            boundaries.look(now_ms());
            if let Some(mark) = boundaries.next_due() {
                break mark;
            }
            // Whatever runs between two portions.
            tokio::task::yield_now().await;
        }
    });
    let mark = mark.await.expect("a mark in time");
    assert_eq!(
        (mark.end_ms, mark.bars, mark.missing),
        (2_000, instruments as u64, 0)
    );
    stop.cancel();
    for running in running {
        running.await.expect("no panic");
    }
}

#[tokio::test]
async fn lease_of_a_symbol_that_kafka_fed_has_a_number_above_the_epoch_of_the_bridges() {
    let bus = bus();
    let parts = parts(&bus, 1);
    let key = LeaseKey {
        subject: subject::lease("binance", &parts.instruments[0].symbol),
        beat_subject: subject::BEATS.to_owned(),
    };
    // This program runs since before.
    let of_kafka = parts.epoch.get() + 1_000_000;
    let kept = bus.publish_durable(subject::BRIDGE_EPOCH, of_kafka.to_string().into());
    kept.await.expect("it is kept");
    let (asking, commands) = mpsc::channel(1);
    let stop = CancellationToken::new();
    let beats = beat(
        Arc::<MemoryBus>::clone(&bus),
        parts.me.clone(),
        SILENCE,
        parts.leaving.clone(),
        stop.clone(),
    );
    let running = [
        tokio::spawn(beats),
        tokio::spawn(LeaseTask::new(parts).run(commands, stop.clone())),
    ];
    assert!(asking.send(Command::Join(vec![0])).await.is_ok());
    let held = tokio::time::timeout(DEADLINE, async {
        loop {
            match key.holding(&*bus).await.expect("an answer") {
                Some(held) => break held,
                None => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    });
    assert_eq!(held.await.expect("a lease in time").number, of_kafka + 1);
    stop.cancel();
    for running in running {
        running.await.expect("no panic");
    }
}

#[tokio::test]
async fn what_was_heard_in_doubt_is_read_while_another_program_still_publishes() {
    let bus = bus();
    let parts = parts(&bus, 1);
    let outbox = Arc::clone(&parts.outboxes[0]);
    let key = LeaseKey {
        subject: subject::lease("binance", &parts.instruments[0].symbol),
        beat_subject: subject::BEATS.to_owned(),
    };
    let mut task = LeaseTask::new(parts);
    task.command(Command::Join(vec![0]));
    task.listen().await;
    answer_all(&mut task).await;
    // A holder publishes, and another program takes its lease.
    let as_bus: Arc<dyn Bus> = Arc::<MemoryBus>::clone(&bus);
    let taken = key.take(&as_bus, "b", None, 4).await;
    assert!(matches!(taken, Ok(bus::Claim::Taken(_))), "{taken:?}");
    task.taken_by(0, Some("b"), Some(4));
    task.tenure.lease_said(0, Some("b"), now_ms());
    assert!(task.tenure.is_standby(0));
    // What the holder of before still sends is refused.
    outbox.follow(0, &head(1, 3), now_ms());
    for _ in 0..1_000 {
        task.read_doubted();
    }
    assert!(
        task.tenure.is_joining(0),
        "nothing is taken before it was read"
    );
    answer_all(&mut task).await;
    assert!(!task.tenure.is_joining(0));
    // The takeover reads nothing again, and publishes the bar.
    let newest = task.followed.newest(&*bus, 0).await.expect("an answer");
    assert!(outbox.settle(0, &newest, 4));
    let hold = Hold {
        epoch: 5,
        fence: None,
    };
    outbox.hold(0, &hold, 0);
    let closed = outbox.take().closed;
    let starts: Vec<i64> = closed.iter().map(|bar| bar.start_ms).collect();
    assert_eq!(starts, [1_000]);
}

/// Waits for the answers to all questions.
async fn answer_all(task: &mut LeaseTask) {
    while let Some(done) = task.running.join_next().await {
        task.done(done.expect("no panic"));
    }
}
