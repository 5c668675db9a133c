//! Bars, trades and events on their way to the bus.
//!
//! Each worker has an [`outbox::Outbox`] that never makes it wait, and a task that empties it:
//! closed bars first and in order, then the newest forming bar of each topic, then trades. Messages
//! that no reader may miss (closed bars, checkpoints) also go through [`durable::Lane`]s. Each lane
//! keeps the order of its symbols and retries until the bus has stored the message.

pub(crate) mod book;
pub mod boundary;
pub mod durable;
mod failure;
pub mod fence;
pub mod item;
pub mod message;
pub mod outbox;
pub mod trace;
pub mod trigger;
pub mod validity;
pub mod values;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bus::{Bus, BusError};
use bytes::Bytes;
use market_core::wire::{Stamp, encode_bar};
use metrics::{Counter, Histogram};
use tokio::task::unconstrained;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, trace_span, warn};

use self::failure::{RETRY_AFTER, log_refused, topic_field};
use self::fence::Right;
use self::message::{Closing, EncodedBar, Trigger, Work};
use self::outbox::Outbox;
use self::trace::Traced;
use self::validity::{DOUBT, Validity};
use crate::host_clock::{now_ms, now_us};

/// Publishes the content of one worker's outbox on the bus.
pub struct Publisher {
    bus: Arc<dyn Bus>,
    outbox: Arc<Outbox>,
    validity: Arc<Validity>,
    meters: Meters,
}

struct Meters {
    closed: Counter,
    forming: Counter,
    trades: Counter,
    events: Counter,
    failed: Counter,
    stage: Histogram,
    frame_to_publish: Histogram,
    frame_closes: Histogram,
    tick_closes: Histogram,
}

/// Whether the bus accepted a message.
enum Sent {
    Yes,
    /// It may later.
    NotNow,
    /// It never will.
    Never,
    /// Another program publishes it now.
    NoMore,
}

impl Publisher {
    /// A publisher of `outbox`, while `validity` says that the leases are ours.
    #[must_use]
    pub fn new(bus: Arc<dyn Bus>, outbox: Arc<Outbox>, validity: Arc<Validity>) -> Self {
        let published =
            |kind: &'static str| metrics::counter!("marketdata_published_total", "kind" => kind);
        let closes = |trigger: &'static str| metrics::histogram!("marketdata_close_to_publish_seconds", "trigger" => trigger);
        Self {
            bus,
            outbox,
            validity,
            meters: Meters {
                closed: published("closed_bar"),
                forming: published("forming_bar"),
                trades: published("trade"),
                events: published("event"),
                failed: metrics::counter!("marketdata_publish_failures_total"),
                stage: metrics::histogram!("marketdata_stage_seconds", "stage" => "publish"),
                frame_to_publish: metrics::histogram!("marketdata_frame_to_publish_seconds"),
                frame_closes: closes("frame"),
                tick_closes: closes("tick"),
            },
        }
    }

    /// Publishes until `stop`, and then the rest, as far as the bus accepts it.
    pub async fn run(self, stop: CancellationToken) {
        loop {
            if !self.validity.holds() {
                // Another program may publish by now; what waits here stays bounded.
                if stop.is_cancelled() {
                    return;
                }
                tokio::time::sleep(DOUBT).await;
                continue;
            }
            let work = self.outbox.take();
            if work.is_empty() {
                if stop.is_cancelled() {
                    return;
                }
                tokio::select! {
                    () = self.outbox.filled() => {}
                    () = stop.cancelled() => {}
                }
                continue;
            }
            if !self.publish(work).instrument(trace_span!("publish")).await {
                if stop.is_cancelled() {
                    return;
                }
                tokio::time::sleep(RETRY_AFTER).await;
            }
        }
    }

    /// False if the bus accepts nothing at the moment; messages that must not be lost were put
    /// back.
    async fn publish(&self, work: Work) -> bool {
        let Work {
            mut closed,
            mut events,
            forming,
            trades,
        } = work;
        // Most bars of all symbols close at once. Without a budget they go out together. With one,
        // they would wait for every socket and worker of the process after each 128.
        if !unconstrained(self.publish_closed(&mut closed)).await {
            self.outbox.put_back(closed, events);
            return false;
        }
        while let Some(event) = events.pop_front() {
            match self
                .send(
                    &event.right,
                    &event.subject,
                    event.payload.clone(),
                    event.trace.as_ref().map(|(traced, _)| &**traced),
                )
                .await
            {
                Sent::Yes => {
                    self.meters.events.increment(1);
                    if let Some((traced, queued_us)) = &event.trace {
                        traced.published(&event.subject, None, *queued_us);
                    }
                }
                Sent::Never | Sent::NoMore => {}
                Sent::NotNow => {
                    // Each event is published once: no later message repeats it.
                    events.push_front(event);
                    self.outbox.put_back(closed, events);
                    return false;
                }
            }
        }
        for taken in forming {
            let stamp = Stamp {
                seq: taken.seq,
                epoch: taken.epoch,
                published_us: now_us(),
            };
            let Some(payload) = encode_bar(
                &taken.topic,
                taken.exchange,
                &taken.symbol,
                &taken.bar,
                stamp,
            ) else {
                continue;
            };
            // The next one replaces it, so a refused one is not kept.
            let trace = taken.trace.as_deref();
            let sent = self
                .send(&taken.right, &taken.subject, payload, trace)
                .await;
            if matches!(sent, Sent::Yes) {
                self.meters.forming.increment(1);
                if let Some(traced) = trace {
                    traced.published(&taken.subject, None, stamp.published_us);
                }
                if let Some(fold) = &taken.bar.fold {
                    let age_us = (now_us() - fold.received_us).max(0);
                    self.meters.frame_to_publish.record(age_us as f64 / 1e6);
                }
            }
        }
        for trade in trades {
            let sent = self
                .send(&trade.right, &trade.subject, trade.payload, None)
                .await;
            if matches!(sent, Sent::Yes) {
                self.meters.trades.increment(1);
            }
        }
        true
    }

    /// False if the bus accepts nothing at the moment; the remaining bars stay in `closed`.
    async fn publish_closed(&self, closed: &mut VecDeque<EncodedBar>) -> bool {
        let before = closed.len();
        let is_done = self.publish_each(closed).await;
        self.outbox.published((before - closed.len()) as u64);
        is_done
    }

    async fn publish_each(&self, closed: &mut VecDeque<EncodedBar>) -> bool {
        while let Some(bar) = closed.pop_front() {
            match self
                .send(
                    &bar.right,
                    &bar.subject,
                    bar.payload.clone(),
                    bar.trace.as_deref(),
                )
                .await
            {
                Sent::Yes => {
                    self.meters.closed.increment(1);
                    self.meters.stage.record(bar.queued_at.elapsed());
                    if let Some(traced) = &bar.trace {
                        let waited = bar.queued_at.elapsed().as_micros();
                        let queued_us = now_us() - i64::try_from(waited).unwrap_or(0);
                        traced.published(&bar.subject, Some(bar.trigger), queued_us);
                    }
                    let closes = match bar.trigger {
                        Trigger::Frame { .. } => &self.meters.frame_closes,
                        Trigger::Tick { .. } => &self.meters.tick_closes,
                    };
                    let age_us = (now_us() - bar.trigger.at_us()).max(0);
                    closes.record(age_us as f64 / 1e6);
                    if let Some(closing) = bar.closing {
                        self.note_closing(closing);
                    }
                }
                Sent::Never => {}
                Sent::NoMore => self.outbox.disown(&bar),
                Sent::NotNow => {
                    closed.push_front(bar);
                    return false;
                }
            }
        }
        true
    }

    /// Publishes the marks that are due because a bar has just been published.
    fn note_closing(&self, closing: Closing) {
        let Closing {
            instrument,
            timeframe,
            end_ms,
        } = closing;
        let boundaries = self.outbox.boundaries();
        boundaries.closed(instrument, timeframe, end_ms, now_ms());
    }

    async fn send(
        &self,
        right: &Right,
        subject: &str,
        payload: Bytes,
        trace: Option<&Traced>,
    ) -> Sent {
        // For each message: the program may have stood still since the last one.
        if !right.holds() {
            return Sent::NoMore;
        }
        if !self.validity.holds() {
            return Sent::NotNow;
        }
        let started = Instant::now();
        let Some(traced) = trace else {
            let published = self.bus.publish(subject, payload).await;
            return self.judge(subject, published, started);
        };
        let sending = traced.sending();
        let published = sending.publish(&*self.bus, subject, payload).await;
        sending.ended(subject, published.as_ref().err());
        let log = traced.context().log_span();
        log.in_scope(|| self.judge(subject, published, started))
    }

    fn judge(&self, subject: &str, published: Result<(), BusError>, started: Instant) -> Sent {
        match published {
            Ok(()) => Sent::Yes,
            Err(error) if error.is_retryable() => {
                self.meters.failed.increment(1);
                if started.elapsed() > Duration::from_millis(500) {
                    let topic = topic_field(subject);
                    warn!(subject, topic, error = %error, "the bus is slow");
                }
                Sent::NotNow
            }
            Err(error) => {
                self.meters.failed.increment(1);
                log_refused(subject, &error);
                Sent::Never
            }
        }
    }
}
