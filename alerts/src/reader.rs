//! Reads closed bars from the bus into the engine, page by page, and stores what follows from them.

mod changes;
mod looks;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bus::{Bus, BusError, LogLimit, Page, Position, Range, Start, StreamSpec};
use market_core::Timeframe;
use market_core::wire::AlertMessage;
use metrics::{counter, gauge, histogram};
use service::wall_clock_ms;
use service::{Condition, Service};
use tokio::sync::{Notify, mpsc, watch};
use tracing::{error, info, warn};

use crate::bar::read_bar;
use crate::command::{Command, RuleList};
use crate::config::Config;
use crate::engine::{Alert, Engine, Outcome};
use crate::error::Error;
use crate::lateness::Lateness;
use crate::quotes::NewestQuotes;
use crate::rule::RuleName;
use crate::series::Taken;
use crate::store::{Commit, Committed, Place, Source, Store, StoreError};
use crate::wanted::Wanted;

pub(crate) use self::changes::{epoch_latest, next_epoch};

/// Messages of a page.
const PAGE_MESSAGES_MAX: usize = 1_024;
/// Bars between two turns of other tasks.
const BARS_PER_TURN: usize = 16;
/// How far a bar may begin ahead of the time at which the bus took it.
const AHEAD_MAX_MS: i64 = 60_000;
/// Bytes of a page.
const PAGE_BYTES_MAX: usize = 8 << 20;
/// Pause after a failure.
const RETRY_AFTER: Duration = Duration::from_millis(500);
/// What a reader begins with.
#[derive(Debug)]
pub(crate) struct Begin {
    pub(crate) engine: Engine,
    pub(crate) sources: BTreeMap<RuleName, Source>,
    pub(crate) epoch_max: u64,
    /// Rules of the file that have changed since they were stored.
    pub(crate) commit: Commit,
}

/// See the module.
pub(crate) struct Reader {
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) store: Store,
    pub(crate) stream: StreamSpec,
    pub(crate) timeframe: Timeframe,
    pub(crate) poll: Duration,
    pub(crate) lateness: Lateness,
    pub(crate) config: Config,
    /// While this many alerts are not on the bus, no bars are read.
    pub(crate) unpublished_max: u64,
    /// How many there were last.
    pub(crate) unpublished: u64,
    pub(crate) engine: Engine,
    pub(crate) sources: BTreeMap<RuleName, Source>,
    /// The highest epoch that a rule ever had.
    pub(crate) epoch_max: u64,
    pub(crate) place: Option<Place>,
    /// What is not stored yet: nothing else is read before.
    pub(crate) pending: Option<Commit>,
    pub(crate) commands: mpsc::Receiver<Command>,
    pub(crate) list: RuleList,
    /// Told when there are new alerts.
    pub(crate) raised: Arc<Notify>,
    pub(crate) stored: Condition,
    pub(crate) caught_up: Condition,
    pub(crate) service: Service,
    pub(crate) quotes: NewestQuotes,
    /// Which of them are wanted.
    pub(crate) quotes_wanted: watch::Sender<Arc<Wanted>>,
    pub(crate) unreadable_log: LogLimit,
    pub(crate) ahead_log: LogLimit,
}

/// Why a step was not taken.
#[derive(Debug, thiserror::Error)]
enum StepError {
    #[error("{0}")]
    Bus(#[from] BusError),
    #[error("{0}")]
    Store(#[from] StoreError),
}

impl Reader {
    /// Reads until the shutdown.
    ///
    /// # Errors
    /// If the bus will never keep the stream, or was drained.
    pub(crate) async fn run(mut self) -> Result<(), Error> {
        let shutdown = self.service.shutdown.clone();
        self.tell_rules();
        let mut failures = 0_u32;
        while !shutdown.is_triggered() {
            let rest = match self.step().await {
                Ok(is_end) => {
                    failures = 0;
                    self.stored.met();
                    if is_end { self.poll } else { Duration::ZERO }
                }
                Err(StepError::Bus(_)) if shutdown.is_triggered() => return Ok(()),
                Err(StepError::Bus(error)) if !error.is_retryable() => return Err(error.into()),
                Err(error) => {
                    failures = failures.saturating_add(1);
                    self.lateness.disturb(Instant::now());
                    self.failed(&error, failures);
                    RETRY_AFTER
                }
            };
            let deadline = tokio::time::Instant::now() + rest;
            loop {
                tokio::select! {
                    Some(command) = self.commands.recv() => self.obey(command).await,
                    () = tokio::time::sleep_until(deadline) => break,
                    () = shutdown.triggered() => break,
                }
            }
        }
        Ok(())
    }

    fn failed(&self, error: &StepError, failures: u32) {
        if let StepError::Store(error) = error {
            self.store_failed(error);
        }
        // Of a long outage, fewer and fewer lines.
        if failures.is_power_of_two() {
            warn!(%error, failures, "bars are not read now, trying again");
        }
    }

    fn store_failed(&self, error: &StoreError) {
        counter!("alerts_store_errors_total").increment(1);
        self.stored.unmet(error.to_string());
    }

    /// Takes one page. True if it has to wait for the next one.
    async fn step(&mut self) -> Result<bool, StepError> {
        self.flush().await?;
        if self.unpublished >= self.unpublished_max {
            self.unpublished = self.store.run(Store::count_unpublished).await?;
            gauge!("alerts_unpublished").set(self.unpublished as f64);
            if self.unpublished >= self.unpublished_max {
                return Ok(true);
            }
        }
        let place = match self.place {
            Some(place) => place,
            None => self.find_place().await?,
        };
        // With the message that was taken last, to know whether it is still the same stream.
        let back = u64::from(place.stored_ns.is_some());
        let start = Position {
            stream_created_ns: place.created_ns,
            sequence: place.sequence.saturating_sub(back),
            stored_ns: 0,
        };
        let range = Range {
            bytes_max: PAGE_BYTES_MAX,
            ..Range::new(
                self.stream.subjects(),
                Start::After(start),
                PAGE_MESSAGES_MAX,
            )
        };
        let page = match self.bus.streams().range(&range).await {
            Err(BusError::PositionLost { .. }) => {
                self.place = None;
                return Ok(false);
            }
            page => page?,
        };
        if place.is_other(&page) {
            counter!("alerts_streams_anew_total").increment(1);
            error!(
                sequence = place.sequence,
                "the bus was put back to an older copy of the stream of bars: all of it is read again, and what the rules know already changes nothing"
            );
            self.place = Some(Place::beginning(place.created_ns));
            return Ok(false);
        }
        self.take(place, page).await
    }

    async fn take(&mut self, place: Place, page: Page) -> Result<bool, StepError> {
        let lost = place.lost(&page);
        if lost > 0 {
            counter!("alerts_messages_lost_total").increment(lost);
            error!(
                lost,
                "the bus no longer had these bars when they were to be read: let it keep more with --journal-hours and --journal-bytes-max"
            );
        }
        let mut next = match page.end() {
            Some(_) => place,
            None if lost > 0 => Place {
                sequence: page.first_sequence.saturating_sub(1),
                stored_ns: None,
                ..place
            },
            None => place,
        };
        // Of alerts that the bus lacks; at least one, or no page is read.
        let room = self.unpublished_max.saturating_sub(self.unpublished);
        let mut raised = Vec::new();
        let mut is_end = page.is_end;
        for (index, message) in page.messages.iter().enumerate() {
            let Some(at) = message.position.as_deref() else {
                continue;
            };
            if at.sequence > place.sequence {
                raised.extend(self.offer(&message.payload, at.stored_ns / 1_000_000));
            }
            next = Place {
                sequence: at.sequence,
                stored_ns: Some(at.stored_ns),
                ..place
            };
            if raised.len() as u64 >= room && index.saturating_add(1) < page.messages.len() {
                // The next page begins here.
                is_end = false;
                break;
            }
            if index % BARS_PER_TURN == 0 {
                tokio::task::yield_now().await;
            }
        }
        let now_ms = wall_clock_ms();
        if is_end {
            self.caught_up.met();
            let left = |raised: &[Alert]| room.saturating_sub(raised.len() as u64);
            if let Some(known_ms) = self.lateness.known_ms(Instant::now(), now_ms) {
                raised.extend(self.look_at_silences(known_ms, left(&raised)).await);
            }
            raised.extend(self.look_at_quotes(now_ms, left(&raised)).await);
        }
        let alerts: Vec<AlertMessage> = raised.iter().map(|alert| alert.message(now_ms)).collect();
        for alert in &alerts {
            let (kind, level) = (alert.kind.clone(), alert.level.clone());
            counter!("alerts_raised_total", "type" => kind, "level" => level).increment(1);
            info!(
                alert = alert.id(),
                kind = alert.kind,
                value = alert.value,
                "a rule has fired"
            );
        }
        let is_moved = next != place;
        self.place = Some(next);
        if is_moved || !alerts.is_empty() {
            self.pending = Some(Commit {
                place: Some(next),
                changes: self.engine.take_changes(),
                alerts,
                ..Commit::default()
            });
            self.flush().await?;
        }
        let behind = page.last_sequence.saturating_sub(next.sequence);
        gauge!("alerts_lag_messages").set(if is_end { 0.0 } else { behind as f64 });
        Ok(is_end)
    }

    fn offer(&mut self, payload: &[u8], stored_ms: u64) -> Vec<Alert> {
        let latest_ms = AHEAD_MAX_MS.saturating_add_unsigned(stored_ms);
        let outcome = match read_bar(payload, self.timeframe) {
            Ok(None) => return Vec::new(),
            // No later bar would be newer than this one.
            Ok(Some(bar)) if bar.bar.start_ms > latest_ms => {
                counter!("alerts_bars_total", "outcome" => "ahead").increment(1);
                if let Some(bars) = self.ahead_log.pass(Instant::now(), 1) {
                    error!(
                        bars,
                        start_ms = bar.bar.start_ms,
                        stored_ms,
                        "bars begin more than a minute after the bus stored them, and no rule looks at them: look at the clocks of the hosts of NATS and marketdata"
                    );
                }
                return Vec::new();
            }
            Ok(Some(bar)) => self.engine.offer(bar),
            Err(why) => {
                counter!("alerts_bars_total", "outcome" => "unreadable").increment(1);
                if let Some(bars) = self.unreadable_log.pass(Instant::now(), 1) {
                    warn!(bars, why, "bars cannot be read and are left out");
                }
                return Vec::new();
            }
        };
        let (label, alerts) = match outcome {
            Outcome::Watched(alerts) => ("watched", alerts),
            Outcome::Unwatched => ("unwatched", Vec::new()),
            Outcome::Old(Taken::TooOld) => ("too_old", Vec::new()),
            Outcome::Old(_) => ("known", Vec::new()),
            Outcome::Full => ("refused", Vec::new()),
        };
        counter!("alerts_bars_total", "outcome" => label).increment(1);
        alerts
    }

    /// Stores what is not stored yet.
    async fn flush(&mut self) -> Result<(), StoreError> {
        let Some(commit) = self.pending.take() else {
            return Ok(());
        };
        let began = Instant::now();
        let kept = commit.clone();
        match self.store.run(move |store| store.commit(&kept)).await {
            Ok(Committed {
                left_out,
                too_old,
                unpublished,
            }) => {
                self.unpublished = unpublished;
                gauge!("alerts_unpublished").set(unpublished as f64);
                histogram!("alerts_commit_seconds").record(began.elapsed().as_secs_f64());
                counter!("alerts_webhook_dropped_total", "reason" => "queue_full")
                    .increment(left_out);
                if left_out > 0 {
                    warn!(
                        left_out,
                        "alerts are dropped for a webhook, because too many wait: --webhook-queue-max says how many may"
                    );
                }
                counter!("alerts_webhook_dropped_total", "reason" => "too_old").increment(too_old);
                if too_old > 0 {
                    warn!(
                        too_old,
                        "alerts are on the bus and not sent to webhooks, because their bars are old: --webhook-age-seconds-max says how old they may be"
                    );
                }
                if !commit.alerts.is_empty() {
                    self.raised.notify_waiters();
                }
                let (symbols, bars) = self.engine.size();
                gauge!("alerts_symbols").set(symbols as f64);
                gauge!("alerts_bars").set(bars as f64);
                Ok(())
            }
            Err(error) => {
                self.pending = Some(commit);
                Err(error)
            }
        }
    }

    /// Where to read on in the stream that the bus has now.
    async fn find_place(&mut self) -> Result<Place, StepError> {
        let streams = self.bus.streams();
        streams.put_stream(self.stream.clone()).await?;
        let Some(status) = streams.status(&self.stream.root).await? else {
            let subject = self.stream.subjects();
            let retained = String::new();
            return Err(BusError::NotRetained { subject, retained }.into());
        };
        let stored = self.store.run(Store::place).await?;
        let place = match stored {
            Some(place) if place.created_ns == status.created_ns => place,
            Some(_) => {
                counter!("alerts_streams_anew_total").increment(1);
                warn!(
                    "the bus has another stream of bars than before: it is read from its beginning"
                );
                Place::beginning(status.created_ns)
            }
            None => Place {
                created_ns: status.created_ns,
                sequence: status.last_sequence,
                stored_ns: None,
            },
        };
        self.place = Some(place);
        self.pending = Some(Commit {
            place: Some(place),
            ..Commit::default()
        });
        self.flush().await?;
        info!(
            sequence = place.sequence,
            newest = status.last_sequence,
            "reading bars"
        );
        Ok(place)
    }
}
