mod lagging;

use std::sync::atomic::{AtomicU64, Ordering};

use bus::{MemoryBus, Position};
use market_core::{Bar, BarState, Price, Quality, Timeframe, TimeframeSet};
use tokio::sync::Notify;

use self::lagging::LaggingBus;
use super::*;
use crate::publish::boundary::Boundaries;
use crate::publish::durable::{EncodingTurn, Lane};
use crate::publish::fence::{Hold, Refusals};
use crate::publish::message::{Publication, Trigger};
use crate::publish::outbox::OutboxBounds;

/// A standby of one instrument, and the bus.
struct Standby {
    bus: Arc<MemoryBus>,
    outbox: Arc<Outbox>,
    followed: Followed,
}

impl Standby {
    /// One that has made the bars of these seconds. It reads instruments one by one, or all at once.
    fn new(seconds: i64, one_by_one_max: usize) -> Self {
        let instrument = Instrument {
            exchange: "binance",
            venue: 0,
            symbol: "BTC-USDT".parse().expect("a symbol"),
            native: "BTCUSDT".to_owned(),
        };
        let timeframes: TimeframeSet = "1s".parse().expect("timeframes");
        let publication = Publication {
            instrument: 0,
            exchange: instrument.exchange,
            symbol: instrument.symbol.clone(),
        };
        let outbox = Arc::new(Outbox::new(
            vec![publication],
            &timeframes,
            vec![Arc::new(Lane::new(100, 0, EncodingTurn::default()))],
            Arc::new(Boundaries::new(&timeframes, 1, 0, "state.marks.0".into())),
            Arc::new(Refusals::new(Arc::new(Notify::new()))),
            OutboxBounds {
                bars_max: 1_000,
                trades_max: 1,
            },
        ));
        for second in 0..seconds {
            let bar = Bar {
                timeframe: Timeframe::SECOND,
                start_ms: second * 1_000,
                end_ms: (second + 1) * 1_000,
                fold: None,
                previous_close: Price::parse("5").ok(),
                state: BarState::Closed,
                rev: 0,
                quality: Quality::Filled,
            };
            outbox.closed(0, &bar, 0, Trigger::Tick { due_us: 0 });
        }
        let mut followed = Followed::new(&[instrument], &[Arc::clone(&outbox)]);
        followed.one_by_one_max = one_by_one_max;
        Self {
            bus: Arc::new(MemoryBus::with_streams(&service::streams())),
            outbox,
            followed,
        }
    }

    /// The holder stores the bars of these seconds.
    async fn store(&self, seconds: std::ops::Range<i64>) {
        for second in seconds {
            let stored = self
                .bus
                .publish_durable("closed.1s.BTC-USDT", payload(second));
            stored.await.expect("a stream");
        }
    }

    /// The bar of a second is heard.
    fn hear(&self, second: i64) {
        let message = Message::new("closed.1s.BTC-USDT", payload(second));
        assert_eq!(self.followed.take(&message), None);
    }

    /// Everything up to now is known.
    async fn known(&self) -> Known {
        let status = self.bus.streams().status("closed").await;
        let status = status.expect("an answer").expect("a stream");
        Known {
            position: Position {
                stream_created_ns: status.created_ns,
                sequence: status.last_sequence,
                stored_ns: 0,
            },
            asked_ms: now_ms(),
        }
    }

    /// A server whose first pages end at a position.
    fn lagging(&self, known: Known, pages: u64) -> LaggingBus {
        LaggingBus {
            inner: Arc::clone(&self.bus),
            up_to: known.position.sequence,
            pages: AtomicU64::new(pages),
        }
    }

    /// The seconds of the bars that it publishes when it takes over.
    fn published(&self) -> Vec<i64> {
        let hold = Hold {
            epoch: 2,
            fence: None,
        };
        self.outbox.hold(0, &hold, 0);
        let closed = self.outbox.take().closed;
        closed.iter().map(|bar| bar.start_ms / 1_000).collect()
    }
}

fn payload(second: i64) -> bytes::Bytes {
    let start_ms = second * 1_000;
    let head =
        format!(r#"{{"epoch":1,"start_ms":{start_ms},"rev":0,"count":0,"quality":"filled"}}"#);
    head.into()
}

#[tokio::test]
async fn a_loss_costs_a_read_of_what_was_stored_since_and_not_of_everything() {
    for one_by_one_max in [0, 1] {
        let standby = Standby::new(25, one_by_one_max);
        standby.store(0..20).await;
        let read = standby.followed.read(&*standby.bus, &[0]).await;
        assert_eq!(read, Ok(20));
        let known = standby.known().await;
        // These are not heard.
        standby.store(20..23).await;
        let read = standby
            .followed
            .read_since(&*standby.bus, &[0], known)
            .await;
        assert_eq!(read, Ok(3));
        assert_eq!(standby.published(), [23, 24]);
    }
}

#[tokio::test]
async fn a_loss_of_more_than_the_bus_keeps_leaves_no_hole_whose_bars_come_again() {
    for one_by_one_max in [0, 1] {
        let standby = Standby::new(100, one_by_one_max);
        standby.store(0..20).await;
        let read = standby.followed.read(&*standby.bus, &[0]).await;
        assert_eq!(read, Ok(20));
        let known = standby.known().await;
        standby.store(20..99).await;
        let read = standby
            .followed
            .read_since(&*standby.bus, &[0], known)
            .await;
        assert_eq!(read, Ok(32), "what the bus keeps");
        assert_eq!(standby.published(), [99]);
    }
}

#[tokio::test]
async fn a_bar_that_is_heard_while_a_long_loss_is_read_does_not_come_again() {
    for one_by_one_max in [0, 1] {
        let standby = Standby::new(100, one_by_one_max);
        standby.store(0..20).await;
        let read = standby.followed.read(&*standby.bus, &[0]).await;
        assert_eq!(read, Ok(20));
        let known = standby.known().await;
        standby.store(20..98).await;
        standby.hear(98);
        let read = standby
            .followed
            .read_since(&*standby.bus, &[0], known)
            .await;
        assert_eq!(read, Ok(32), "what the bus keeps");
        assert_eq!(standby.published(), [99]);
    }
}

#[tokio::test]
async fn what_is_known_of_a_stream_that_was_created_anew_is_not_continued() {
    for one_by_one_max in [0, 1] {
        let standby = Standby::new(5, one_by_one_max);
        standby.store(0..3).await;
        let known = standby.known().await;
        let streams = service::streams();
        let spec = streams.iter().find(|spec| spec.root == "closed");
        let bus = standby.bus.streams();
        assert_eq!(bus.delete_stream("closed").await, Ok(true));
        let put = bus.put_stream(spec.expect("the record").clone()).await;
        assert_eq!(put, Ok(()));
        let read = standby
            .followed
            .read_since(&*standby.bus, &[0], known)
            .await;
        assert!(
            matches!(read, Err(BusError::PositionLost { .. })),
            "{read:?}"
        );
        let newest = standby
            .followed
            .newest_since(&*standby.bus, &[0], Some(known), 0);
        assert_eq!(newest.await, Ok(None));
    }
}

#[tokio::test]
async fn a_takeover_of_many_reads_what_was_stored_since_and_publishes_what_was_not() {
    let standby = Standby::new(25, 0);
    standby.store(0..20).await;
    let read = standby.followed.read(&*standby.bus, &[0]).await;
    assert_eq!(read, Ok(20));
    let known = standby.known().await;
    standby.store(20..22).await;
    // The last one is heard, and its holder dies before it is stored.
    (20..23).for_each(|second| standby.hear(second));
    let up_to = standby.known().await.position.sequence;
    let newest = standby
        .followed
        .newest_since(&*standby.bus, &[0], Some(known), up_to);
    let newest = newest.await.expect("an answer").expect("a position");
    let Newest::Since { stored, .. } = &newest[0][0] else {
        panic!("{newest:?}");
    };
    assert_eq!(stored.len(), 2, "not everything is read");
    assert!(standby.outbox.settle(0, &newest[0], 1));
    assert_eq!(standby.published(), [22, 23, 24]);
}

#[tokio::test]
async fn a_takeover_does_not_believe_a_server_that_lags_behind_the_lease() {
    let standby = Standby::new(5, 0);
    standby.store(0..3).await;
    let known = standby.known().await;
    let beyond = known.position.sequence + 1;
    let newest = standby
        .followed
        .newest_since(&*standby.bus, &[0], Some(known), beyond);
    assert_eq!(newest.await, Ok(None), "each record is asked for");
}

#[tokio::test]
async fn a_read_waits_for_a_server_that_lags_behind_the_leader_of_the_stream() {
    for one_by_one_max in [0, 1] {
        // After a first read, and after a loss.
        for is_loss in [false, true] {
            let standby = Standby::new(6, one_by_one_max);
            standby.store(0..3).await;
            let known = standby.known().await;
            let bus = standby.lagging(known, 2);
            if is_loss {
                let read = standby.followed.read(&*standby.bus, &[0]).await;
                assert_eq!(read, Ok(3));
            }
            standby.store(3..5).await;
            let read = if is_loss {
                standby.followed.read_since(&bus, &[0], known).await
            } else {
                standby.followed.read(&bus, &[0]).await
            };
            assert_eq!(read, Ok(if is_loss { 2 } else { 5 }));
            assert_eq!(standby.published(), [5], "{one_by_one_max} {is_loss}");
        }
    }
}

/// What is read of a server that lags for too long, after a first read or after a loss.
async fn read_of_a_server_that_lags(one_by_one_max: usize, is_loss: bool) {
    let standby = Standby::new(8, one_by_one_max);
    standby.store(0..3).await;
    let known = standby.known().await;
    let bus = standby.lagging(known, u64::MAX);
    if is_loss {
        let read = standby.followed.read(&*standby.bus, &[0]).await;
        assert_eq!(read, Ok(3));
    }
    standby.store(3..6).await;
    let read = if is_loss {
        standby.followed.read_since(&bus, &[0], known).await
    } else {
        standby.followed.read(&bus, &[0]).await
    };
    assert!(read.is_ok(), "{read:?}");
    // Its holder goes on, and dies.
    standby.store(6..7).await;
    standby.hear(6);
    let newest = standby.followed.newest(&bus, 0).await.expect("an answer");
    let is_known = standby.outbox.settle(0, &newest, 1);
    assert!(is_known, "it is not read again: {one_by_one_max} {is_loss}");
    assert_eq!(standby.published(), [7], "{one_by_one_max} {is_loss}");
}

#[tokio::test]
async fn a_server_that_lags_for_too_long_holds_nothing_up_and_no_bar_comes_twice() {
    // Of few instruments and of many. They wait beside each other.
    tokio::join!(
        read_of_a_server_that_lags(0, false),
        read_of_a_server_that_lags(0, true),
        read_of_a_server_that_lags(1, false),
        read_of_a_server_that_lags(1, true),
    );
}

#[tokio::test]
async fn all_instruments_of_a_read_wait_together_for_a_server_that_lags() {
    let standby = Standby::new(6, 3);
    standby.store(0..3).await;
    let bus = standby.lagging(standby.known().await, u64::MAX);
    standby.store(3..5).await;
    // Three, of which each is asked for at least once.
    let read = standby.followed.read(&bus, &[0, 0, 0]).await;
    assert!(read.is_ok(), "{read:?}");
    let pages = u64::MAX - bus.pages.load(Ordering::Relaxed);
    assert_eq!(pages, u64::from(reading::LAG_TRIES_MAX) + 3);
}

#[tokio::test]
async fn a_stream_whose_newest_message_was_deleted_is_read_all_the_same() {
    // Of many records the newest position is that of the stream, which may have no message.
    let standby = Standby::new(6, 0);
    standby.store(0..2).await;
    let bus = standby.lagging(standby.known().await, u64::MAX);
    standby.store(2..3).await;
    assert_eq!(standby.followed.read(&bus, &[0]).await, Ok(2));
}

#[test]
fn a_lease_says_its_number() {
    let standby = Standby::new(0, 1);
    let said = |content: &'static str| {
        let message = Message::new("closed.lease.binance.BTC-USDT", content.as_bytes().into());
        standby.followed.take(&message).map(|said| said.number)
    };
    assert_eq!(said(r#"{"number":7,"holder":"b"}"#), Some(Some(7)));
    assert_eq!(said(r#"{"holder":"b"}"#), Some(None));
    assert_eq!(said(r#"{"number":-7,"holder":"b"}"#), None);
}
