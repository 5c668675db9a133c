//! Fetches missing trades over REST.
//!
//! One task for each venue takes jobs from a bounded queue, runs a few at a time within the venue's
//! limits, and passes the pages to the symbol's worker as they come.

pub mod client;
mod job;
pub mod pager;
mod queue;

use std::sync::Arc;
use std::time::Duration;

use market_core::BackfillOutcome;
use rand::Rng;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::exchange::{Exchange, TradesPage};
use crate::feed::symbols::SymbolBoard;
use crate::host_clock::{now_ms, now_us};
use crate::inbox::{Inbox, Input};
pub use job::BackfillJob;

use client::{RestClient, RestError};
use pager::{Pager, Progress};
use queue::Queue;

/// Jobs on their way to the backfiller, which takes them as they come.
pub const JOBS_ON_THE_WAY_MAX: usize = 1_024;
/// Tries of one page before the job is given back as failed.
const TRIES_MAX: u32 = 4;
const RETRY_BASE_MS: u64 = 200;

/// One venue's backfills.
pub struct Backfiller {
    /// What the venue speaks.
    pub exchange: &'static dyn Exchange,
    /// How it is asked.
    pub client: Arc<RestClient>,
    /// Jobs at a time.
    pub concurrency: usize,
    /// Most waiting jobs; the pipelines of other jobs try again later.
    pub jobs_max: usize,
    /// Most trades of one job.
    pub trades_max: u64,
    /// The worker of each instrument.
    pub inboxes: Arc<[Inbox]>,
    /// Where to report symbols that the venue does not have.
    pub board: Arc<SymbolBoard>,
}

impl Backfiller {
    /// Runs jobs until `stop`.
    pub async fn run(self, mut jobs: mpsc::Receiver<BackfillJob>, stop: CancellationToken) {
        let this = Arc::new(self);
        let rows_max = this.exchange.paging().rows_max;
        let exchange = this.exchange.name();
        let waiting = metrics::gauge!("marketdata_backfills_waiting", "exchange" => exchange);
        let mut queue = Queue::default();
        let mut unwanted = Vec::new();
        let mut running = JoinSet::new();
        loop {
            while running.len() < this.concurrency
                && let Some(job) = queue.pop(&mut unwanted)
            {
                let this = Arc::clone(&this);
                running.spawn(async move { this.run_job(job).await });
            }
            for job in unwanted.drain(..) {
                this.end(&job, BackfillOutcome::Failed, "superseded").await;
            }
            waiting.set(queue.len() as f64);
            tokio::select! {
                () = stop.cancelled() => break,
                Some(ended) = running.join_next() => {
                    ended.expect("a backfill does not panic");
                }
                job = jobs.recv() => match job {
                    None => break,
                    Some(job) if queue.len() >= this.jobs_max => {
                        this.end(&job, BackfillOutcome::Failed, "queue_full").await;
                    }
                    Some(job) => queue.push(job, rows_max, now_ms()),
                },
            }
        }
        running.shutdown().await;
    }

    /// Gives a job back.
    async fn end(&self, job: &BackfillJob, outcome: BackfillOutcome, result: &'static str) {
        let exchange = self.exchange.name();
        metrics::counter!("marketdata_backfills_total", "exchange" => exchange, "result" => result)
            .increment(1);
        debug!(exchange, native = &*job.native, result, request = ?job.request, "backfill ended");
        let ended = Input::BackfillEnded {
            instrument: job.instrument,
            assignment: job.assignment,
            request_id: job.request.id,
            outcome,
        };
        self.inboxes[job.instrument].send(ended).await;
    }

    async fn run_job(&self, job: BackfillJob) {
        let started_ms = now_ms();
        let exchange = self.exchange.name();
        let (outcome, result) = match self.fetch(&job).await {
            Ok(Progress::Complete) => (BackfillOutcome::Done, "complete"),
            Ok(Progress::TooMany) => (BackfillOutcome::Done, "too_many"),
            Ok(Progress::Behind) => (BackfillOutcome::Failed, "behind"),
            Ok(Progress::More) => (BackfillOutcome::Failed, "superseded"),
            Err(RestError::UnknownSymbol) => {
                self.board.is_gone(job.instrument);
                (BackfillOutcome::Gone, "unknown_symbol")
            }
            Err(error) => {
                info!(exchange, native = &*job.native, error = %error, "backfill failed, trying again later");
                (BackfillOutcome::Failed, "failed")
            }
        };
        metrics::histogram!("marketdata_backfill_seconds", "exchange" => exchange)
            .record((now_ms() - started_ms) as f64 / 1e3);
        self.end(&job, outcome, result).await;
    }

    /// `More` means that the rest is no longer needed.
    async fn fetch(&self, job: &BackfillJob) -> Result<Progress, RestError> {
        let exchange = self.exchange.name();
        let mut pager = Pager::new(self.exchange.paging(), job.request, self.trades_max);
        if pager.is_too_wide() {
            warn!(
                exchange,
                native = &*job.native,
                first_id = job.request.first_id,
                last_id = job.request.last_id,
                trades_max = self.trades_max,
                "the gap is wider than --backfill-trades-max, so its trades are lost: raise the limit to fetch such gaps"
            );
            return Ok(Progress::TooMany);
        }
        let mut tries = 0;
        loop {
            let request = self.exchange.trades_page(&job.native, pager.ask());
            let page = match self.client.get(&request).await {
                Ok(body) => self.parse(&body),
                Err(error) => Err(error),
            };
            if !job.is_wanted() {
                return Ok(Progress::More);
            }
            let page = match page {
                Ok(page) => page,
                Err(error) => {
                    tries += 1;
                    let is_refused = matches!(error, RestError::Refused { .. });
                    if is_refused && pager.refused() {
                        info!(exchange, error = %error, "the venue refuses this kind of page, asking for the other kind");
                        continue;
                    }
                    if !error.is_retryable() || tries >= TRIES_MAX {
                        return Err(error);
                    }
                    let longest_ms = RETRY_BASE_MS << tries;
                    let wait_ms = rand::rng().random_range(0..=longest_ms);
                    tokio::time::sleep(Duration::from_millis(wait_ms)).await;
                    continue;
                }
            };
            tries = 0;
            let mut trades = Vec::new();
            let progress = pager.page(page, &mut trades);
            metrics::counter!("marketdata_backfilled_trades_total", "exchange" => exchange)
                .increment(trades.len() as u64);
            for chunk in trades.chunks(1_000) {
                let input = Input::Backfilled {
                    instrument: job.instrument,
                    assignment: job.assignment,
                    request_id: job.request.id,
                    trades: chunk.to_vec(),
                };
                self.inboxes[job.instrument].send(input).await;
            }
            if progress == Progress::TooMany {
                warn!(
                    exchange,
                    native = &*job.native,
                    trades_max = self.trades_max,
                    "backfill stopped at --backfill-trades-max; the trades after it show as another gap"
                );
            }
            if progress != Progress::More {
                return Ok(progress);
            }
        }
    }

    /// A page. A row that cannot be read does not affect the others; a page with no other rows is
    /// an error.
    fn parse(&self, body: &[u8]) -> Result<TradesPage, RestError> {
        let page = self.exchange.parse_trades_page(body, now_us());
        let page = page.map_err(|error| RestError::Unavailable(error.to_string()))?;
        if page.unreadable > 0 {
            let exchange = self.exchange.name();
            metrics::counter!("marketdata_rest_rows_unreadable_total", "exchange" => exchange)
                .increment(page.unreadable as u64);
            if page.trades.is_empty() {
                return Err(RestError::Unavailable("no readable row".to_owned()));
            }
        }
        Ok(page)
    }
}
