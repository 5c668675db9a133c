//! Missing trades, fetched over REST.
//!
//! One task for each venue takes jobs from a bounded queue, runs a few at a time within the
//! venue's limits, and gives the pages to the symbol's worker as they come.

pub mod client;
pub mod pager;

use std::sync::Arc;
use std::time::Duration;

use market_core::{BackfillOutcome, BackfillRequest};
use rand::Rng;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::exchange::Exchange;
use crate::host_clock::{now_ms, now_us};
use crate::inbox::{Inbox, Input};
use crate::instrument::InstrumentId;
use client::{RestClient, RestError};
use pager::{Pager, Progress};

/// Most jobs that wait; what does not fit is tried again by its pipeline.
pub const JOBS_MAX: usize = 1_024;
/// Tries of one page before the job is given back as failed.
const TRIES_MAX: u32 = 4;
const RETRY_BASE_MS: u64 = 200;

/// One pipeline's request.
#[derive(Clone, Debug)]
pub struct BackfillJob {
    /// Whose trades are missing.
    pub instrument: InstrumentId,
    /// The venue's name of it.
    pub native: Arc<str>,
    /// Which trades.
    pub request: BackfillRequest,
}

/// One venue's backfills.
pub struct Backfiller {
    /// What the venue speaks.
    pub exchange: &'static dyn Exchange,
    /// How it is asked.
    pub client: Arc<RestClient>,
    /// Jobs at a time.
    pub concurrency: usize,
    /// Most trades that a job may bring.
    pub trades_max: u64,
    /// The worker of each instrument.
    pub inboxes: Arc<[Inbox]>,
}

impl Backfiller {
    /// Runs jobs until `stop`.
    pub async fn run(self, mut jobs: mpsc::Receiver<BackfillJob>, stop: CancellationToken) {
        let this = Arc::new(self);
        let mut running = JoinSet::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                Some(ended) = running.join_next() => {
                    ended.expect("a backfill does not panic");
                }
                job = jobs.recv(), if running.len() < this.concurrency => {
                    let Some(job) = job else { break };
                    let this = Arc::clone(&this);
                    running.spawn(async move { this.run_job(job).await });
                }
            }
        }
        running.shutdown().await;
    }

    async fn run_job(&self, job: BackfillJob) {
        let started_ms = now_ms();
        let exchange = self.exchange.name();
        let (outcome, result) = match self.fetch(&job).await {
            Ok(Progress::Complete) => (BackfillOutcome::Done, "complete"),
            Ok(Progress::TooMany) => (BackfillOutcome::Done, "too_many"),
            Ok(Progress::Behind | Progress::More) => (BackfillOutcome::Failed, "behind"),
            Err(error) => {
                info!(exchange, native = &*job.native, error = %error, "backfill failed, to be tried again");
                (BackfillOutcome::Failed, "failed")
            }
        };
        metrics::counter!("marketdata_backfills_total", "exchange" => exchange, "result" => result)
            .increment(1);
        metrics::histogram!("marketdata_backfill_seconds", "exchange" => exchange)
            .record((now_ms() - started_ms) as f64 / 1e3);
        debug!(exchange, native = &*job.native, result, request = ?job.request, "backfill ended");
        let ended = Input::BackfillEnded {
            instrument: job.instrument,
            request_id: job.request.id,
            outcome,
        };
        self.inboxes[job.instrument].send(ended).await;
    }

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
                "gap is wider than a backfill may be, its trades are lost: raise --backfill-trades-max"
            );
            return Ok(Progress::TooMany);
        }
        let mut tries = 0;
        loop {
            let request = self.exchange.trades_page(&job.native, pager.ask());
            let mut rows = Vec::new();
            let page = match self.client.get(&request).await {
                Ok(body) => self
                    .exchange
                    .parse_trades_page(&body, now_us(), &mut rows)
                    .map_err(|error| RestError::Unavailable(error.to_string())),
                Err(error) => Err(error),
            };
            if let Err(error) = page {
                tries += 1;
                if !error.is_retryable() && pager.refused() {
                    info!(exchange, error = %error, "single trades are refused, asking for aggregates");
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
            tries = 0;
            let mut trades = Vec::new();
            let progress = pager.page(rows, &mut trades);
            metrics::counter!("marketdata_backfilled_trades_total", "exchange" => exchange)
                .increment(trades.len() as u64);
            for chunk in trades.chunks(1_000) {
                let input = Input::Backfilled {
                    instrument: job.instrument,
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
                    "backfill stopped at its most trades, what follows shows as another gap"
                );
            }
            if progress != Progress::More {
                return Ok(progress);
            }
        }
    }
}
