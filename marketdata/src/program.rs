//! The program: every part wired together, and taken down in the order of the flow.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bus::{Bus, BusError};
use market_core::subject;
use service::Service;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::backfill::client::RestClient;
use crate::backfill::{BackfillJob, Backfiller, JOBS_MAX};
use crate::budget::WindowBudget;
use crate::config::{Config, ConfigError, Plan};
use crate::feed::backoff::Backoff;
use crate::feed::connection::ConnectionTiming;
use crate::feed::listing::Listing;
use crate::feed::status::{FeedState, FeedStatus, SymbolHealth};
use crate::feed::supervisor::{Shard, StageMeters, Supervisor};
use crate::feed::symbols::{SymbolBoard, SymbolState, SymbolSummary, VenueSymbols};
use crate::host_clock::now_ms;
use crate::inbox::Inbox;
use crate::instrument::{InstrumentId, Venue};
use crate::publish::Publisher;
use crate::publish::boundary::Boundaries;
use crate::publish::durable::Lane;
use crate::publish::message::Publication;
use crate::publish::outbox::{Outbox, OutboxBounds};
use crate::reconcile::background::{Reconciler, Watched};
use crate::recovery;
use crate::worker::{Worker, WorkerSymbol, WorkerTiming};

/// Durable lanes of each worker.
const LANES: usize = 8;
/// How often the feeds' status is looked at, and how often it is published at least.
const STATUS_LOOK: Duration = Duration::from_millis(100);
const STATUS_INTERVAL_MS: i64 = 1_000;

/// Why the program could not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration cannot be used; the text says what to write.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The bus cannot be used.
    #[error("failed to read checkpoints from the bus: {0}")]
    Bus(#[from] BusError),
}

/// Runs marketdata until `service.shutdown`, and drains.
///
/// # Errors
/// `Config` or `Bus`, both before anything was started.
pub async fn run(config: Config, bus: Arc<dyn Bus>, service: Service) -> Result<(), Error> {
    let plan = config.plan()?;
    let feeds_ready = service.readiness.condition("feed_live");
    let bus_ready = service.readiness.condition("bus_connected");
    let checkpoints = recovery::checkpoints(&*bus, &service.shutdown).await?;
    // A second provider in the process is no fault: the first one stays.
    let _ = rustls::crypto::ring::default_provider().install_default();
    info!(
        instruments = plan.instruments.len(),
        workers = plan.workers,
        mode = plan.mode,
        timeframes = %plan.pipeline.timeframes,
        "marketdata starts"
    );

    // Bars out.
    let publishing = CancellationToken::new();
    let mut publishers = JoinSet::new();
    let mut lane_tasks = JoinSet::new();
    let epoch = now_ms().unsigned_abs();
    let boundaries = Arc::new(Boundaries::new(
        &plan.pipeline.timeframes,
        plan.instruments.len(),
        plan.pipeline.gap_hold_ms,
    ));
    let mut outboxes = Vec::new();
    for worker in 0..plan.workers {
        let lanes: Vec<Arc<Lane>> = (0..LANES)
            .map(|lane| {
                let bars_max = (config.bars_waiting_max / (LANES * plan.workers)).max(1);
                Arc::new(Lane::new(bars_max, worker * LANES + lane))
            })
            .collect();
        for lane in &lanes {
            lane_tasks.spawn(Arc::clone(lane).run(Arc::clone(&bus), publishing.clone()));
        }
        let publications = instruments_of(&plan, worker).map(|id| Publication {
            instrument: id,
            exchange: plan.instruments[id].exchange,
            symbol: plan.instruments[id].symbol.clone(),
        });
        let outbox = Arc::new(Outbox::new(
            publications.collect(),
            &plan.pipeline.timeframes,
            lanes,
            Arc::clone(&boundaries),
            epoch,
            OutboxBounds {
                bars_max: (config.bars_waiting_max / plan.workers).max(1),
                trades_max: config.trades_waiting_max,
            },
        ));
        let publisher = Publisher::new(Arc::clone(&bus), Arc::clone(&outbox));
        publishers.spawn(publisher.run(publishing.clone()));
        outboxes.push(outbox);
    }

    // Workers, and the backfills that they ask for.
    let mut inboxes = Vec::new();
    let mut receivers = Vec::new();
    for worker in 0..plan.workers {
        let (inbox, receiver) = Inbox::new(worker, config.inbox_batches_max);
        inboxes.push(inbox);
        receivers.push(receiver);
    }
    let workers: Arc<[Inbox]> = inboxes.into();
    let worker_of: Arc<[usize]> = (0..plan.instruments.len())
        .map(|id| worker_of(&plan, id))
        .collect();
    let by_instrument: Arc<[Inbox]> = worker_of.iter().map(|&at| workers[at].clone()).collect();
    let fetching = CancellationToken::new();
    let mut backfillers = JoinSet::new();
    let mut job_senders = Vec::new();
    let board = Arc::new(SymbolBoard::new(plan.instruments.len()));
    let mut listings = JoinSet::new();
    let mut reconcilers = JoinSet::new();
    for venue in &plan.venues {
        let (sender, jobs) = mpsc::channel::<BackfillJob>(JOBS_MAX);
        job_senders.push(sender);
        let limits = venue.exchange.limits();
        let client = Arc::new(RestClient::new(
            venue.exchange.name(),
            venue.endpoints.rest.clone(),
            &limits,
            Duration::from_millis(config.rest_timeout_ms.into()),
        ));
        let is_reconciled = config.reconcile_interval_ms > 0
            && plan
                .pipeline
                .timeframes
                .as_slice()
                .contains(&config.reconcile_timeframe);
        if is_reconciled {
            let watched = venue.instruments.iter().map(|&id| Watched {
                instrument: id,
                symbol: plan.instruments[id].symbol.clone(),
                native: plan.instruments[id].native.clone(),
                inbox: by_instrument[id].clone(),
            });
            let reconciler = Reconciler {
                exchange: venue.exchange,
                client: Arc::clone(&client),
                bus: Arc::clone(&bus),
                watched: watched.collect(),
                timeframe: config.reconcile_timeframe,
                interval: Duration::from_millis(config.reconcile_interval_ms.into()),
            };
            reconcilers.spawn(reconciler.run(fetching.clone()));
        }
        if config.listing_interval_ms > 0 {
            let listing = Listing {
                exchange: venue.exchange,
                client: Arc::clone(&client),
                symbols: native_names(&plan, &venue.instruments),
                board: Arc::clone(&board),
                interval: Duration::from_millis(config.listing_interval_ms.into()),
                retry: Duration::from_millis(config.refused_retry_ms.into()),
            };
            listings.spawn(listing.run(fetching.clone()));
        }
        let backfiller = Backfiller {
            exchange: venue.exchange,
            client,
            concurrency: config.backfill_concurrency,
            trades_max: config.backfill_trades_max,
            inboxes: Arc::clone(&by_instrument),
        };
        backfillers.spawn(backfiller.run(jobs, fetching.clone()));
    }
    let health = Arc::new(SymbolHealth::new(plan.instruments.len()));
    let mut worker_tasks = JoinSet::new();
    for (index, receiver) in receivers.into_iter().enumerate() {
        let symbols = instruments_of(&plan, index).map(|id| WorkerSymbol {
            id,
            instrument: plan.instruments[id].clone(),
            pipeline: recovery::pipeline(&plan.instruments[id], &plan.pipeline, &checkpoints),
            backfills: job_senders[plan.instruments[id].venue].clone(),
        });
        let worker = Worker::new(
            index,
            symbols.collect(),
            plan.instruments.len(),
            Arc::clone(&outboxes[index]),
            Arc::clone(&health),
            WorkerTiming {
                forming_interval_ms: config.forming_interval_ms.into(),
                checkpoint_interval_ms: config.checkpoint_interval_ms.into(),
                zombie_age_ms: i64::from(config.symbol_silence_ms) / 2,
            },
            config.publish_trades,
        );
        worker_tasks.spawn(worker.run(receiver));
    }
    drop(job_senders);
    drop(checkpoints);

    // Frames in.
    let feeding = CancellationToken::new();
    let mut supervisors = JoinSet::new();
    let mut statuses = Vec::new();
    let carriers = Carriers {
        worker_of,
        workers,
        health,
        board,
    };
    for venue in &plan.venues {
        let (status, shards) = shards(&config, &plan, venue, &carriers);
        statuses.push(status);
        for shard in shards {
            supervisors.spawn(Supervisor::new(shard).run(feeding.clone()));
        }
    }
    drop(carriers);
    drop(by_instrument);
    let telling = CancellationToken::new();
    // In a set, so that it ends with the program even if that is dropped.
    let mut teller = JoinSet::new();
    teller.spawn(tell_status(
        statuses,
        plan.mode.clone(),
        config.stale_after_ms.into(),
        Arc::clone(&bus),
        [feeds_ready, bus_ready],
        telling.clone(),
    ));

    teller.spawn(boundaries.tell_overdue(bus.clone(), telling.clone()));

    service.shutdown.triggered().await;
    info!("marketdata drains");
    let half = service.shutdown.drain_deadline() / 2;
    feeding.cancel();
    join(&mut supervisors, "feed").await;
    fetching.cancel();
    join(&mut backfillers, "backfill").await;
    join(&mut reconcilers, "reconcile").await;
    join(&mut listings, "listing").await;
    // Every sender is gone now, so the workers end once they have worked off what is there.
    join(&mut worker_tasks, "worker").await;
    telling.cancel();
    publishing.cancel();
    let stored = timeout(half, async {
        join(&mut publishers, "publisher").await;
        join(&mut lane_tasks, "store").await;
        bus.flush().await
    });
    match stored.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => warn!(error = %error, "the bus did not confirm the last messages"),
        Err(_) => warn!("the bus did not take everything before the drain deadline"),
    }
    join(&mut teller, "status").await;
    info!("marketdata has drained");
    Ok(())
}

/// Symbols are dealt out among workers venue by venue, so that each has its part of every venue.
fn worker_of(plan: &Plan, instrument: usize) -> usize {
    instrument % plan.workers
}

fn instruments_of(plan: &Plan, worker: usize) -> impl Iterator<Item = usize> {
    let workers = plan.workers;
    (0..plan.instruments.len()).filter(move |id| id % workers == worker)
}

/// What every connection needs of the rest of the program.
struct Carriers {
    worker_of: Arc<[usize]>,
    workers: Arc<[Inbox]>,
    health: Arc<SymbolHealth>,
    board: Arc<SymbolBoard>,
}

/// Instruments with the venue's names.
fn native_names(plan: &Plan, instruments: &[InstrumentId]) -> Vec<(InstrumentId, String)> {
    let named = |&id: &InstrumentId| (id, plan.instruments[id].native.clone());
    instruments.iter().map(named).collect()
}

/// A venue's feed: its symbols dealt out among connections.
fn shards(
    config: &Config,
    plan: &Plan,
    venue: &Venue,
    carriers: &Carriers,
) -> (Arc<FeedStatus>, Vec<Shard>) {
    let limits = venue.exchange.limits();
    let per_connection = config
        .streams_per_connection
        .unwrap_or(limits.streams_per_connection)
        .min(limits.streams_per_connection);
    let parts: Vec<&[usize]> = venue.instruments.chunks(per_connection).collect();
    let status = Arc::new(FeedStatus::new(
        venue.exchange.name(),
        VenueSymbols {
            board: Arc::clone(&carriers.board),
            symbols: venue
                .instruments
                .iter()
                .map(|&id| (id, plan.instruments[id].symbol.clone()))
                .collect(),
            names_max: config.status_symbols_max,
        },
        parts.len(),
        now_ms(),
    ));
    let attempts = Arc::new(Mutex::new(WindowBudget::new(
        u32::try_from(limits.attempts_max).unwrap_or(u32::MAX),
        limits.attempts_window_ms,
    )));
    let rotation_age_ms = config
        .rotation_age_ms
        .and_then(|age_ms| i64::try_from(age_ms).ok())
        .unwrap_or(limits.rotation_age_ms);
    let shards = parts.iter().enumerate().map(|(index, part)| Shard {
        index,
        exchange: venue.exchange,
        url: venue.endpoints.websocket.clone(),
        symbols: native_names(plan, part),
        worker_of: Arc::clone(&carriers.worker_of),
        workers: Arc::clone(&carriers.workers),
        connect_timeout: Duration::from_millis(config.connect_timeout_ms.into()),
        base_timing: ConnectionTiming {
            ack_timeout_ms: config.connect_timeout_ms.into(),
            symbol_silence_ms: config.symbol_silence_ms.into(),
            rotation_age_ms,
            refused_retry_ms: config.refused_retry_ms.into(),
        },
        backoff: Backoff::new(config.backoff_base_ms.into(), config.backoff_max_ms.into()),
        attempts: Arc::clone(&attempts),
        status: Arc::clone(&status),
        health: Arc::clone(&carriers.health),
        board: Arc::clone(&carriers.board),
        meters: StageMeters::new(venue.exchange.name()),
    });
    let shards = shards.collect();
    (status, shards)
}

/// Publishes each feed's status once a second and whenever its state changes.
async fn tell_status(
    statuses: Vec<Arc<FeedStatus>>,
    mode: String,
    stale_after_ms: i64,
    bus: Arc<dyn Bus>,
    [feeds_ready, bus_ready]: [service::Condition; 2],
    stop: CancellationToken,
) {
    let mut told: Vec<Option<(FeedState, i64)>> = vec![None; statuses.len()];
    let mut symbols_told: Vec<SymbolSummary> = vec![SymbolSummary::default(); statuses.len()];
    feeds_ready.unmet("no feed is live yet");
    while !stop.is_cancelled() {
        let now = now_ms();
        let mut is_any_live = false;
        for ((status, told), symbols_told) in statuses.iter().zip(&mut told).zip(&mut symbols_told)
        {
            let symbols = status.symbols();
            let message = status.message(&mode, &symbols, now, stale_after_ms);
            is_any_live |= message.state == FeedState::Live;
            let is_left_out_new = tell_left_out(message.exchange, symbols_told, &symbols);
            *symbols_told = symbols;
            let is_due = is_left_out_new
                || told.is_none_or(|(state, at)| {
                    state != message.state || now - at >= STATUS_INTERVAL_MS
                });
            if !is_due {
                continue;
            }
            if let Some((before, _)) = *told
                && before != message.state
            {
                info!(exchange = message.exchange, state = ?message.state, age_ms = message.age_ms, "feed");
            }
            *told = Some((message.state, now));
            metrics::gauge!("marketdata_feed_live", "exchange" => message.exchange)
                .set(f64::from(u8::from(message.state == FeedState::Live)));
            metrics::gauge!("marketdata_feed_connections", "exchange" => message.exchange)
                .set(message.connections as f64);
            metrics::gauge!("marketdata_feed_age_seconds", "exchange" => message.exchange)
                .set(message.age_ms as f64 / 1e3);
            symbols_told.record(message.exchange);
            let payload = serde_json::to_vec(&message).expect("plain fields");
            let subject = subject::feed_status(message.exchange);
            if bus.publish(&subject, payload.into()).await.is_err() {
                metrics::counter!("marketdata_publish_failures_total").increment(1);
            }
        }
        set(&feeds_ready, is_any_live, "no feed is live");
        set(&bus_ready, bus.is_connected(), "the bus is disconnected");
        tokio::select! {
            () = tokio::time::sleep(STATUS_LOOK) => {}
            () = stop.cancelled() => {}
        }
    }
}

/// Logs which symbols the venue does not carry, by name, whenever that changes. True if it did.
fn tell_left_out(exchange: &'static str, before: &SymbolSummary, now: &SymbolSummary) -> bool {
    let [refused, unknown] = [SymbolState::Refused, SymbolState::Unknown];
    if before.part(refused) == now.part(refused) && before.part(unknown) == now.part(unknown) {
        return false;
    }
    let (refused, unknown) = (now.part(refused), now.part(unknown));
    if refused.count + unknown.count == 0 {
        info!(exchange, "the venue carries every symbol");
    } else {
        warn!(
            exchange,
            refused = refused.names.join(","),
            refused_count = refused.count,
            unknown = unknown.names.join(","),
            unknown_count = unknown.count,
            "symbols without a feed: check how they are written, or whether they were delisted"
        );
    }
    true
}

fn set(condition: &service::Condition, holds: bool, why_not: &str) {
    match (holds, condition.is_met()) {
        (true, false) => condition.met(),
        (false, true) => condition.unmet(why_not),
        _ => {}
    }
}

async fn join(tasks: &mut JoinSet<()>, what: &'static str) {
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended {
            warn!(what, error = %error, "a task failed");
        }
    }
}
