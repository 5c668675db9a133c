//! Stores what the bus keeps for history: page by page, with the position in the same transaction.
//!
//! The store alone knows how far a stream is stored. So what is on disk and what is read next never
//! disagree, whenever the program is killed, and the bus has nothing to remember about it.

mod batch;
mod position;
pub(crate) mod refused;
mod traces;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bus::{BusError, LogLimit, Message, PAGE_MESSAGES_MAX, Range, StreamSpec};
use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use rand::Rng as _;
use service::wall_clock_ms;
use service::{Condition, Service};
use tracing::{error, info, warn};

use crate::error::{Error, PartEnd};
use crate::filler::holes;
use crate::history::History;
use crate::store::{Store, StoreError, Watermark};
use crate::stream::{Content, Pace};

use batch::Batch;
use position::{Anchor, Place};
use traces::Traced;

/// Bytes of a page.
const PAGE_BYTES_MAX: usize = 8 << 20;
/// Between two log lines about what the messages of a stream have.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// The longest pause after a page could not be stored for the first time.
const RETRY_MIN: Duration = Duration::from_millis(500);
/// The longest one after many failures.
const RETRY_MAX: Duration = Duration::from_secs(8);

/// How long the page waits that could not be stored so often: a random time, so that several programs
/// do not come back to a server at once.
fn retry_after(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(8);
    let longest = RETRY_MIN.saturating_mul(1 << doublings).min(RETRY_MAX);
    longest.mul_f64(rand::rng().random_range(0.5..=1.0))
}

/// Reads one stream into the store.
pub(crate) struct Reader {
    history: History,
    stream: StreamSpec,
    content: Content,
    pace: Pace,
    place: Option<Place>,
    /// When messages were written last.
    written: Option<Instant>,
    /// Since when nothing could be written.
    failing: Option<Instant>,
    stored: Condition,
    service: Service,
    skipped_log: LogLimit,
    meters: Meters,
}

struct Meters {
    lag_messages: Gauge,
    lag_seconds: Gauge,
    lost: Counter,
    restarts: Counter,
    rewinds: Counter,
    unreadable: Counter,
    refused: Counter,
    rows: Counter,
    commits: Counter,
    commit_seconds: Histogram,
    store_errors: Counter,
}

impl Meters {
    fn new(content: Content) -> Self {
        let name = content.name();
        Self {
            lag_messages: gauge!("history_lag_messages", "stream" => name),
            lag_seconds: gauge!("history_lag_seconds", "stream" => name),
            lost: counter!("history_messages_lost_total", "stream" => name),
            restarts: counter!("history_streams_created_anew_total", "stream" => name),
            rewinds: counter!("history_streams_put_back_total", "stream" => name),
            unreadable: counter!("history_messages_unreadable_total", "from" => name),
            refused: counter!("history_rows_refused_total", "kind" => name),
            rows: counter!("history_rows_total", "kind" => name),
            commits: counter!("history_commits_total", "kind" => name),
            commit_seconds: histogram!("history_commit_seconds", "kind" => name),
            store_errors: counter!("history_store_errors_total", "kind" => name),
        }
    }
}

/// Why a page was not stored.
#[derive(Debug, thiserror::Error)]
enum StepError {
    #[error("{0}")]
    Bus(#[from] BusError),
    #[error("{0}")]
    Store(#[from] Error),
}

impl Reader {
    pub(crate) fn new(
        history: History,
        stream: StreamSpec,
        content: Content,
        pace: Pace,
        service: Service,
    ) -> Self {
        let stored = service.readiness.condition("store");
        stored.met();
        Self {
            history,
            stream,
            content,
            pace,
            place: None,
            written: None,
            failing: None,
            stored,
            service,
            skipped_log: LogLimit::new(LOG_INTERVAL),
            meters: Meters::new(content),
        }
    }

    /// Reads until the shutdown, and then what is left, for half of the drain deadline.
    ///
    /// # Errors
    /// If the bus will never keep the stream, or was drained.
    pub(crate) async fn run(mut self) -> PartEnd {
        let shutdown = self.service.shutdown.clone();
        let mut failures = 0_u32;
        let mut stop_at: Option<Instant> = None;
        loop {
            let is_stopping = shutdown.is_triggered();
            if is_stopping {
                let deadline = Instant::now() + shutdown.drain_deadline() / 2;
                if Instant::now() >= *stop_at.get_or_insert(deadline) {
                    return Ok(());
                }
            }
            let rest = match self.step(is_stopping).await {
                Ok(is_end) => {
                    failures = 0;
                    self.failing = None;
                    self.stored.met();
                    self.history.store_health.set_stores(true);
                    match is_end {
                        true if is_stopping => return Ok(()),
                        true => self.pace.interval,
                        false => continue,
                    }
                }
                Err(_) if is_stopping => return Ok(()),
                Err(StepError::Bus(error)) if !error.is_retryable() => return Err(error.into()),
                Err(error) => {
                    failures = failures.saturating_add(1);
                    self.failed(&error, failures);
                    self.measure_lag().await;
                    retry_after(failures)
                }
            };
            tokio::select! {
                () = tokio::time::sleep(rest) => {}
                () = shutdown.triggered(), if !is_stopping => {}
            }
        }
    }

    fn failed(&self, error: &StepError, failures: u32) {
        if let StepError::Store(error) = error {
            self.meters.store_errors.increment(1);
            self.history.store_health.set_stores(false);
            self.stored.unmet(error.to_string());
        }
        // Of a long outage, fewer and fewer lines.
        if failures.is_power_of_two() {
            let stream = self.content.name();
            warn!(stream, %error, failures, "not stored yet, trying again");
        }
    }

    /// How much waits while nothing can be stored. The bus keeps it.
    async fn measure_lag(&mut self) {
        let since = *self.failing.get_or_insert_with(Instant::now);
        let Some(place) = &self.place else {
            return;
        };
        let status = self.history.bus.streams().status(&self.stream.root).await;
        if let Ok(Some(status)) = status {
            let behind = status.last_sequence.saturating_sub(place.stored_to());
            self.meters.lag_messages.set(behind as f64);
            self.meters.lag_seconds.set(
                since
                    .elapsed()
                    .as_secs_f64()
                    .max(self.waited().as_secs_f64()),
            );
            self.history
                .progress
                .at(self.content.name(), place.stored_to(), behind);
        }
    }

    /// How long ago messages were written.
    fn waited(&self) -> Duration {
        self.written.map_or(Duration::ZERO, |at| at.elapsed())
    }

    /// Whether what the bus has is too little for a batch, and nothing of it has waited too long.
    async fn is_waiting(&self) -> Result<bool, StepError> {
        let (Some(batch), Some(place)) = (self.pace.batch, &self.place) else {
            return Ok(false);
        };
        if self.written.is_none_or(|at| at.elapsed() >= batch.wait) {
            return Ok(false);
        }
        let status = self.history.bus.streams().status(&self.stream.root).await?;
        let newest = status.map_or(0, |status| status.last_sequence);
        // Fewer than were stored: the stream was put back, which a page tells.
        let waiting = newest.checked_sub(place.stored_to());
        Ok(waiting.is_some_and(|waiting| waiting < batch.messages))
    }

    /// Stores one page. True if nothing was behind it.
    async fn step(&mut self, is_stopping: bool) -> Result<bool, StepError> {
        if !is_stopping && self.is_waiting().await? {
            return Ok(true);
        }
        let place = match self.place.clone() {
            Some(place) => place,
            None => {
                let found = self.find_place().await?;
                // The lag is told from it, even if the first page cannot be stored.
                self.place = Some(found.clone());
                found
            }
        };
        let range = Range {
            pattern: self.stream.subjects(),
            start: place.start(),
            // And the message that was stored last.
            messages_max: self
                .pace
                .messages_max
                .saturating_add(1)
                .min(PAGE_MESSAGES_MAX),
            bytes_max: PAGE_BYTES_MAX,
        };
        let page = match self.history.bus.streams().range(&range).await {
            Err(BusError::PositionLost { .. }) => {
                self.place = None;
                return Ok(false);
            }
            page => page?,
        };
        let is_same = match place.anchor(&page) {
            Anchor::Same => true,
            Anchor::Other => false,
            Anchor::Ask(message) => self.is_stored(message).await?,
        };
        if !is_same {
            self.put_back(&place, page.last_sequence);
            return Ok(false);
        }
        let lost = place.lost_before(page.first_sequence);
        let newest = page.end();
        let next = match (&newest, lost) {
            (Some(newest), _) => place.at(newest.sequence, Some(newest.stored_ns)),
            (None, 0) => place.clone(),
            (None, _) => place.at(page.first_sequence.saturating_sub(1), None),
        };
        let (is_end, last_sequence) = (page.is_end, page.last_sequence);
        let messages = place.new_messages(page);
        if next.stored_to() != place.stored_to() || next.is_begun() != place.is_begun() {
            self.store(messages, next.watermark()).await?;
        }
        self.written = Some(Instant::now());
        if lost > 0 {
            self.lost(lost);
        }
        let stored_to = next.stored_to();
        self.place = Some(next);
        let behind = match is_end {
            true => 0,
            false => last_sequence.saturating_sub(stored_to),
        };
        let lag_ms = match &newest {
            Some(newest) if !is_end => {
                wall_clock_ms().saturating_sub_unsigned(newest.stored_ns / 1_000_000)
            }
            _ => 0,
        };
        self.meters.lag_messages.set(behind as f64);
        self.meters.lag_seconds.set(lag_ms.max(0) as f64 / 1e3);
        self.history
            .progress
            .at(self.content.name(), stored_to, behind);
        Ok(is_end)
    }

    /// Whether the row of a message is in the store. A message without a row tells nothing.
    async fn is_stored(&self, message: &Message) -> Result<bool, Error> {
        let (content, message) = (self.content, message.clone());
        let read = move |store: &dyn Store| Batch::read(content, &[message]).is_in(store);
        self.history.read(read).await
    }

    /// The bus was put back to an older copy of the stream. All that it keeps is read again: what is
    /// stored already changes nothing.
    fn put_back(&mut self, place: &Place, last_sequence: u64) {
        let stream = self.content.name();
        self.meters.rewinds.increment(1);
        error!(
            stream,
            stored_to = place.stored_to(),
            last_sequence,
            "the bus was put back to an older copy of the stream: all of it is read again; bars that only the newer one had are missing there and at clients, restore the bus from its newest copy if there is one"
        );
        self.place = Some(place.rewound());
    }

    fn lost(&self, messages: u64) {
        let stream = self.content.name();
        self.meters.lost.increment(messages);
        self.history.progress.lost(stream, messages);
        error!(
            stream,
            messages,
            "the bus no longer had these messages when history asked for them: let it keep more, of bars with --journal-hours and --journal-bytes-max"
        );
    }

    /// Where the store is in the stream that the bus has now.
    async fn find_place(&mut self) -> Result<Place, StepError> {
        let streams = self.history.bus.streams();
        streams.put_stream(self.stream.clone()).await?;
        let Some(status) = streams.status(&self.stream.root).await? else {
            let subject = self.stream.subjects();
            let retained = String::new();
            return Err(BusError::NotRetained { subject, retained }.into());
        };
        let found = Place::new(&self.stream.root, status.created_ns);
        let index = Arc::clone(&self.history.index);
        if !index.is_loaded() {
            // The store was away when history started.
            self.history.read(move |store| index.reload(store)).await?;
        }
        let any = format!("{}.", self.stream.root);
        let marks = self
            .history
            .read(move |store| store.watermarks(&any))
            .await?;
        let found = found.find(&marks);
        let stream = self.content.name();
        if !found.is_begun() && !marks.is_empty() {
            self.meters.restarts.increment(1);
            warn!(
                stream,
                "the bus has another stream than the one that was stored last: it is read from its beginning"
            );
        }
        let stored_to = found.stored_to();
        info!(stream, stored_to, newest = status.last_sequence, "reading");
        Ok(found)
    }

    async fn store(&self, messages: Vec<Message>, watermark: Watermark) -> Result<(), Error> {
        let began = Instant::now();
        let traced = Traced::of(&messages);
        let content = self.content;
        let (store, index) = (
            Arc::clone(&self.history.store),
            Arc::clone(&self.history.index),
        );
        let latest = self.history.latest.clone();
        let filler = self.history.filler.clone();
        let stored = tokio::task::spawn_blocking(move || {
            let mut batch = Batch::read(content, &messages);
            batch.append(&*store, &watermark)?;
            for (series, rows) in &batch.bars {
                let stored_end_ms = index.get(series).map(|known| known.last_end_ms);
                let holes = holes(series, stored_end_ms, rows);
                holes.into_iter().for_each(|hole| filler.missing(hole));
            }
            index.stored(&batch.bars);
            latest.stored(&batch.bars);
            Ok::<_, StoreError>(batch)
        });
        let batch = stored.await.map_err(|error| Error::panicked(&error))??;
        traced.stored(content.name());
        self.meters.rows.increment(batch.rows() as u64);
        self.meters.commits.increment(1);
        self.meters.commit_seconds.record(began.elapsed());
        self.meters.unreadable.increment(batch.unreadable);
        self.meters.refused.increment(batch.refused);
        let skipped = batch.unreadable.saturating_add(batch.refused);
        if let Some(why) = &batch.why_skipped
            && let Some(skipped) = self.skipped_log.pass(Instant::now(), skipped)
        {
            let stream = content.name();
            warn!(
                stream,
                skipped, why, "messages cannot be stored and are skipped"
            );
        }
        Ok(())
    }
}
