//! The state of the connection, and the tasks that are told of its changes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::{Duration, Instant};

use async_nats::connection::State;
use async_nats::{Client, Event};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::stream::Streams;
use crate::log_limit::LogLimit;
use crate::meter::{self, LostReason};
use crate::queue::Queue;

const LOG_INTERVAL: Duration = Duration::from_secs(10);
/// The client library drops events when 128 wait, so the connection is also checked.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
const STREAM_RETRY_DELAY: Duration = Duration::from_millis(100);
/// First and longest pause before missing streams are created again without a reconnect: somebody
/// may keep deleting them.
const RENEW_REST_MIN: Duration = Duration::from_millis(500);
const RENEW_REST_MAX: Duration = Duration::from_secs(30);
/// How often missing streams are looked for. A publication without an acknowledgement does not
/// reveal that no stream stores it.
const STREAM_LOOK_INTERVAL: Duration = Duration::from_secs(30);

pub(super) struct Link {
    client: OnceLock<Client>,
    queues: Mutex<Vec<Weak<Queue>>>,
    /// An event says that the connection changed.
    changed: Notify,
    /// Counts reconnects with subscriptions and streams renewed.
    restored: watch::Sender<u64>,
    /// A publication found no stream.
    stream_missed: Notify,
    is_closing: AtomicBool,
    closed: CancellationToken,
    lag_log: LogLimit,
    down_log: LogLimit,
    error_log: LogLimit,
}

impl Link {
    pub(super) fn new() -> Link {
        Link {
            client: OnceLock::new(),
            queues: Mutex::default(),
            changed: Notify::new(),
            restored: watch::Sender::new(0),
            stream_missed: Notify::new(),
            is_closing: AtomicBool::new(false),
            closed: CancellationToken::new(),
            lag_log: LogLimit::new(LOG_INTERVAL),
            down_log: LogLimit::new(LOG_INTERVAL),
            error_log: LogLimit::new(LOG_INTERVAL),
        }
    }

    pub(super) fn set_client(&self, client: Client) {
        // Set once, by the task that connects.
        let _ = self.client.set(client);
    }

    pub(super) fn is_connected(&self) -> bool {
        self.client
            .get()
            .is_some_and(|client| client.connection_state() == State::Connected)
    }

    /// Whether a drain has started.
    pub(super) fn is_closed(&self) -> bool {
        self.is_closing.load(Ordering::Acquire)
    }

    /// True for the first caller.
    pub(super) fn start_closing(&self) -> bool {
        !self.is_closing.swap(true, Ordering::AcqRel)
    }

    /// Ends the pumps and the keeper.
    pub(super) fn close(&self) {
        self.is_closing.store(true, Ordering::Release);
        self.closed.cancel();
    }

    /// Cancelled when the pumps must end.
    pub(super) fn closed(&self) -> CancellationToken {
        self.closed.clone()
    }

    /// Completes at the next reconnect.
    pub(super) async fn restored(&self) {
        let mut restored = self.restored.subscribe();
        restored.mark_unchanged();
        if restored.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Says that a publication found no stream.
    pub(super) fn miss_stream(&self) {
        self.stream_missed.notify_one();
    }

    pub(super) fn add_queue(&self, queue: &Arc<Queue>) {
        let mut queues = self.queues.lock().expect("nothing panics under this lock");
        queues.retain(|queue| queue.strong_count() > 0);
        queues.push(Arc::downgrade(queue));
    }

    fn for_each_queue(&self, act: impl Fn(&Queue)) {
        let queues = self.queues.lock().expect("nothing panics under this lock");
        for queue in queues.iter().filter_map(Weak::upgrade) {
            act(&queue);
        }
    }

    pub(super) fn on_event(&self, event: &Event) {
        let now = Instant::now();
        match event {
            Event::Connected => self.changed.notify_one(),
            Event::Disconnected => {
                meter::connected(false);
                self.changed.notify_one();
                if let Some(events) = self.down_log.pass(now, 1) {
                    warn!(events, "nats connection lost, reconnecting");
                }
            }
            // The library does not say whose message it dropped: it may be from any subscription.
            Event::SlowConsumer(_) => {
                meter::lost(LostReason::ClientQueue, 1);
                self.for_each_queue(|queue| queue.push_lost(1));
                if let Some(lost) = self.lag_log.pass(now, 1) {
                    warn!(lost, "process is slow, nats messages dropped");
                }
            }
            Event::ServerError(error) => {
                if let Some(events) = self.error_log.pass(now, 1) {
                    warn!(error = %error, events, "nats server reported an error");
                }
            }
            Event::ClientError(error) => {
                if let Some(events) = self.error_log.pass(now, 1) {
                    warn!(error = %error, events, "nats client reported an error");
                }
            }
            Event::LameDuckMode => info!("nats server is about to stop, moving to another"),
            Event::Closed if !self.is_closed() => {
                error!("nats connection closed and will not be opened again")
            }
            Event::Closed | Event::Draining => {}
        }
    }

    /// How often the connection was made.
    pub(super) fn connects(&self) -> u64 {
        self.client.get().map_or(0, |client| {
            client.statistics().connects.load(Ordering::Relaxed)
        })
    }
}

/// Watches the connection until it is closed: after each reconnect renews the streams, then tells
/// the subscriptions.
pub(super) async fn keep(link: Arc<Link>, streams: Arc<Streams>, request_deadline: Duration) {
    let mut connects_handled = link.connects();
    let mut renewal = Renewal::new(Instant::now());
    loop {
        tokio::select! {
            () = link.closed.cancelled() => return,
            () = link.changed.notified() => {}
            () = link.stream_missed.notified() => renewal.ask(Instant::now()),
            () = tokio::time::sleep_until(renewal.at.into()) => {
                let is_done = tokio::select! {
                    () = link.closed.cancelled() => return,
                    is_done = create_missing_streams(&link, &streams) => is_done,
                };
                renewal.done(Instant::now(), is_done);
            }
            () = tokio::time::sleep(LOOK_INTERVAL) => {}
        }
        let is_connected = link.is_connected();
        meter::connected(is_connected);
        let connects = link.connects();
        if !is_connected || connects == connects_handled {
            continue;
        }
        // The server lost its in-memory streams. The answer to this request also shows that the
        // server has our subscriptions again, because it was sent after them.
        tokio::select! {
            () = link.closed.cancelled() => return,
            // The connection was lost again, and the request with it: check again instead of
            // waiting for the answer.
            () = link.changed.notified() => {
                link.changed.notify_one();
                continue;
            }
            () = restore_streams(&link, &streams, request_deadline) => {}
        }
        if !link.is_connected() {
            continue;
        }
        meter::reconnected_times(connects.saturating_sub(connects_handled));
        connects_handled = connects;
        info!("nats connection is back");
        link.restored.send_modify(|count| *count += 1);
        // A task that got a message of the new connection already knows.
        link.for_each_queue(|queue| queue.push_reconnected(connects));
    }
}

/// When missing streams are created without a reconnect.
#[derive(Debug)]
struct Renewal {
    at: Instant,
    done_at: Option<Instant>,
    rest: Duration,
}

impl Renewal {
    fn new(now: Instant) -> Renewal {
        Renewal {
            at: now + STREAM_LOOK_INTERVAL,
            done_at: None,
            rest: RENEW_REST_MIN,
        }
    }

    /// A stream is missing: create it as soon as the pause since the last time is over.
    fn ask(&mut self, now: Instant) {
        let earliest = self.done_at.map_or(now, |at| (at + self.rest).max(now));
        self.at = self.at.min(earliest);
    }

    fn done(&mut self, now: Instant, is_whole: bool) {
        let is_calm = self
            .done_at
            .is_none_or(|at| now.saturating_duration_since(at) >= RENEW_REST_MAX);
        self.rest = match is_calm && is_whole {
            true => RENEW_REST_MIN,
            false => self.rest.saturating_mul(2).min(RENEW_REST_MAX),
        };
        self.done_at = Some(now);
        self.at = now + STREAM_LOOK_INTERVAL;
    }
}

/// False if the server did not allow it; the next publication without a stream reports it again.
async fn create_missing_streams(link: &Link, streams: &Streams) -> bool {
    if !link.is_connected() {
        return false;
    }
    match streams.create_missing().await {
        Ok(created) => {
            meter::streams_created(created);
            true
        }
        Err(error) => {
            if let Some(events) = link.error_log.pass(Instant::now(), 1) {
                warn!(error = %error, events, "missing streams not created");
            }
            false
        }
    }
}

/// Tries for as long as a request may take. Subscribers are told of the reconnect in any case.
async fn restore_streams(link: &Link, streams: &Streams, deadline: Duration) {
    let give_up_at = tokio::time::Instant::now() + deadline;
    loop {
        let Err(error) = streams.ensure().await else {
            return;
        };
        if !link.is_connected() {
            return;
        }
        if !error.is_retryable() || tokio::time::Instant::now() >= give_up_at {
            error!(error = %error, "streams not renewed after the reconnect");
            return;
        }
        tokio::time::sleep(STREAM_RETRY_DELAY).await;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::io::Write;

    use super::*;
    use crate::Delivery;
    use crate::subject::Pattern;

    #[test]
    fn streams_that_go_missing_again_and_again_are_created_less_and_less_often() {
        let start = Instant::now();
        let mut renewal = Renewal::new(start);
        renewal.ask(start);
        assert_eq!(renewal.at, start);
        let mut done_at = start;
        renewal.done(done_at, true);
        for rest_ms in [500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000] {
            renewal.ask(done_at);
            assert_eq!(renewal.at - done_at, Duration::from_millis(rest_ms));
            done_at = renewal.at;
            renewal.done(done_at, true);
        }
        // Looked for in any case, and at once after a calm time.
        done_at += RENEW_REST_MAX;
        assert!(renewal.at <= done_at);
        renewal.done(done_at, true);
        renewal.ask(done_at);
        assert_eq!(renewal.at - done_at, RENEW_REST_MIN);
    }

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let mut lines = self.0.lock().expect("no panic under it");
            lines.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// vectordotdev/vector#24230: each event was a log line.
    #[test]
    fn flood_of_slow_consumer_events_is_one_log_line_and_told_in_full() {
        let link = Link::new();
        let pattern = Pattern::new("kline.>").expect("the pattern is valid");
        let queue = Arc::new(Queue::new(pattern, 8, 1_000));
        link.add_queue(&queue);
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            for _ in 0..10_000 {
                link.on_event(&Event::SlowConsumer(7));
            }
        });
        let mut taken = VecDeque::new();
        assert!(queue.try_take(&mut taken));
        assert_eq!(taken, [Delivery::Lagged { lost: 10_000 }]);
        let text = String::from_utf8(lines.0.lock().expect("no panic under it").clone());
        let text = text.expect("logs are utf-8");
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(
            text.contains("process is slow, nats messages dropped"),
            "{text}"
        );
    }
}
