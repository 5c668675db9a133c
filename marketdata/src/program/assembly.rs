//! Builds the parts of the program and starts them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bus::Bus;
use rand::Rng;
use service::Service;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::Error;
use super::drain::Running;
use crate::backfill::client::RestClient;
use crate::backfill::{BackfillJob, Backfiller, JOBS_ON_THE_WAY_MAX};
use crate::budget::WindowBudget;
use crate::config::{Config, Plan};
use crate::feed::backoff::Backoff;
use crate::feed::connection::ConnectionTiming;
use crate::feed::connection_spec::ConnectionSpec;
use crate::feed::dial::{self, VenueTls};
use crate::feed::listing::Listing;
use crate::feed::meters::SocketMeters;
use crate::feed::status::{FeedStatus, SymbolHealth};
use crate::feed::supervisor::Supervisor;
use crate::feed::symbols::{SymbolBoard, VenueSymbols};
use crate::host_clock::now_ms;
use crate::inbox::Inbox;
use crate::instrument::{InstrumentId, Venue};
use crate::parts::Part;
use crate::presence::{Epoch, Others, Presence, first_epoch};
use crate::publish::Publisher;
use crate::publish::boundary::{self, Boundaries};
use crate::publish::durable::{EncodingTurn, Item, Lane};
use crate::publish::message::Publication;
use crate::publish::outbox::{Outbox, OutboxBounds};
use crate::reconcile::background::{Reconciler, Watched};
use crate::recovery;
use crate::rivals::Announcement;
use crate::series::owned::WorkerSymbol;
use crate::series::timing::WorkerTiming;
use crate::series::worker::Worker;
use crate::teller::{StoreWatch, Teller};

/// Durable lanes of each worker.
const LANES: usize = 8;

/// Starts every part. Only the tasks hold senders of frames, jobs and bars after that, so each part
/// ends when those before it have ended.
///
/// # Errors
/// The configuration, the file of certificates, or the bus cannot be used; nothing was started.
pub(super) async fn assemble(
    config: &Config,
    bus: &Arc<dyn Bus>,
    service: &Service,
) -> Result<Running, Error> {
    let plan = config.plan()?;
    let tls = VenueTls::with_file(config.venue_ca_file.as_deref())?;
    if let Some(variable) = dial::proxy_variable() {
        warn!(
            variable,
            "REST goes through this proxy, but WebSockets do not: they need a direct way to the venues"
        );
    }
    let feeds_ready = service.readiness.condition("feed_live");
    let bus_ready = service.readiness.condition("bus");
    let store_ready = service.readiness.condition("bars_stored");

    let has_journal = match config.journal.stream() {
        Some(journal) => {
            let kept = recovery::put_stream(&**bus, journal, &service.shutdown).await;
            kept.map_err(Error::Journal)?;
            true
        }
        None => false,
    };

    // What the last run left.
    let checkpoints = recovery::checkpoints(&**bus, &service.shutdown).await?;
    let narrowest = plan.pipeline.timeframes.as_slice().first().copied();
    let narrowest = narrowest.expect("a timeframe set is never empty");
    let shutdown = &service.shutdown;
    recovery::count_lost(&**bus, &plan.instruments, narrowest, &checkpoints, shutdown).await?;

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
    let mut publishers = Part::new("publisher");
    let mut lane_tasks = Part::new("store");
    let mut all_lanes: Vec<Arc<Lane>> = Vec::new();
    let epoch = Arc::new(Epoch::new(
        first_epoch(&**bus, now_ms(), &service.shutdown).await?,
    ));
    let boundaries = Arc::new(Boundaries::new(
        &plan.pipeline.timeframes,
        plan.instruments.len(),
        plan.pipeline.gap_hold_ms,
    ));
    let symbols = plan.instruments.iter().map(|one| one.symbol.as_str());
    let position_subject = boundary::position_subject(symbols);
    if let Some(position) =
        boundary::kept_position(&**bus, &position_subject, &service.shutdown).await?
    {
        boundaries.resume(&position, now_ms());
    }
    let mut outboxes = Vec::new();
    for worker in 0..plan.workers {
        let encoding = EncodingTurn::default();
        let lanes: Vec<Arc<Lane>> = (0..LANES)
            .map(|lane| {
                let bars_max = (config.bars_waiting_max / (LANES * plan.workers)).max(1);
                let index = worker * LANES + lane;
                let lane = Lane::new(bars_max, index, encoding.clone());
                Arc::new(lane.with_journal(has_journal))
            })
            .collect();
        all_lanes.extend(lanes.iter().cloned());
        for lane in &lanes {
            lane_tasks.spawn(Arc::clone(lane).run(Arc::clone(bus), publishing.clone()));
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
            Arc::clone(&epoch),
            OutboxBounds {
                bars_max: (config.bars_waiting_max / plan.workers).max(1),
                trades_max: config.trades_waiting_max,
            },
        ));
        let publisher = Publisher::new(Arc::clone(bus), Arc::clone(&outbox));
        publishers.spawn(publisher.run(publishing.clone()));
        outboxes.push(outbox);
    }

    let first_lane = Arc::clone(all_lanes.first().expect("a plan has a worker"));

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
    let mut backfillers = Part::new("backfill");
    let mut job_senders = Vec::new();
    let board = Arc::new(SymbolBoard::new(plan.instruments.len()));
    let mut listings = Part::new("listing");
    let mut reconcilers = Part::new("reconcile");
    for venue in &plan.venues {
        let (sender, jobs) = mpsc::channel::<BackfillJob>(JOBS_ON_THE_WAY_MAX);
        job_senders.push(sender);
        let client = Arc::new(RestClient::new(
            venue.exchange,
            venue.endpoints.rest.clone(),
            Duration::from_millis(config.rest_timeout_ms.into()),
            &tls,
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
                bus: Arc::clone(bus),
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
            jobs_max: config.backfill_jobs_max,
            board: Arc::clone(&board),
            trades_max: config.backfill_trades_max,
            inboxes: Arc::clone(&by_instrument),
        };
        backfillers.spawn(backfiller.run(jobs, fetching.clone()));
    }
    let health = Arc::new(SymbolHealth::new(plan.instruments.len()));
    let mut worker_tasks = Part::new("worker");
    for (index, receiver) in receivers.into_iter().enumerate() {
        let symbols = instruments_of(&plan, index).map(|id| {
            let restored = recovery::pipeline(&plan.instruments[id], &plan.pipeline, &checkpoints);
            if let Some((subject, payload)) = restored.refused {
                first_lane.set_checkpoint(Item {
                    subject: subject.into(),
                    payload,
                });
            }
            WorkerSymbol {
                id,
                instrument: plan.instruments[id].clone(),
                pipeline: restored.pipeline,
                backfills: job_senders[plan.instruments[id].venue].clone(),
            }
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
                reorder_window_ms: config.reorder_window_ms.into(),
                proof_hold_ms: config.proof_hold_ms.into(),
            },
            config.publish_trades,
        );
        worker_tasks.spawn(worker.run(receiver));
    }

    // Frames in.
    let feeding = CancellationToken::new();
    let mut supervisors = Part::new("feed");
    let mut statuses = Vec::new();
    let carriers = Carriers {
        tls,
        worker_of,
        workers,
        health,
        board,
    };
    for venue in &plan.venues {
        let (status, specs) = connection_specs(config, &plan, venue, &carriers);
        statuses.push(status);
        for spec in specs {
            supervisors.spawn(Supervisor::new(spec).run(feeding.clone()));
        }
    }

    // What others are told.
    let telling = CancellationToken::new();
    let mut tellers = Part::new("status");
    let others = Arc::new(Others::default());
    let me = announcement(&plan, &epoch);
    info!(instance = me.instance, epoch = me.epoch, "publishing");
    let teller = Teller {
        statuses,
        mode: plan.mode.clone(),
        stale_after_ms: config.stale_after_ms.into(),
        bus: Arc::clone(bus),
        publisher: me.instance.clone(),
        others: Arc::clone(&others),
        store: StoreWatch {
            lanes: all_lanes,
            stall: Duration::from_millis(config.store_stall_ms.into()),
        },
        feeds_ready,
        bus_ready,
        store_ready,
    };
    tellers.spawn(teller.run(telling.clone()));
    let presence = Presence {
        bus: Arc::clone(bus),
        me,
        exchanges: plan
            .venues
            .iter()
            .map(|venue| venue.exchange.name())
            .collect(),
        epoch,
        lane: Arc::clone(&first_lane),
        others,
        silence_ms: config.rival_silence_ms.into(),
    };
    tellers.spawn(presence.run(telling.clone()));
    let marking = CancellationToken::new();
    let mut marks = Part::new("boundary marks");
    marks.spawn(boundaries.tell(
        Arc::clone(bus),
        first_lane,
        position_subject,
        marking.clone(),
    ));
    Ok(Running {
        supervisors,
        feeding,
        backfillers,
        reconcilers,
        listings,
        fetching,
        workers: worker_tasks,
        publishers,
        lanes: lane_tasks,
        publishing,
        marks,
        marking,
        tellers,
        telling,
    })
}

/// What this program says of itself on the bus.
fn announcement(plan: &Plan, epoch: &Epoch) -> Announcement {
    let mut symbols: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for instrument in &plan.instruments {
        let of_exchange = symbols.entry(instrument.exchange.to_owned()).or_default();
        of_exchange.insert(instrument.symbol.to_string());
    }
    Announcement {
        instance: format!("{:016x}", rand::rng().random::<u64>()),
        epoch: epoch.get(),
        leaves: false,
        symbols,
    }
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
    tls: VenueTls,
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
fn connection_specs(
    config: &Config,
    plan: &Plan,
    venue: &Venue,
    carriers: &Carriers,
) -> (Arc<FeedStatus>, Vec<ConnectionSpec>) {
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
    let specs = parts
        .iter()
        .enumerate()
        .map(|(index, part)| ConnectionSpec {
            index,
            exchange: venue.exchange,
            url: venue.endpoints.websocket.clone(),
            symbols: native_names(plan, part),
            worker_of: Arc::clone(&carriers.worker_of),
            workers: Arc::clone(&carriers.workers),
            tls: carriers.tls.clone(),
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
            meters: SocketMeters::new(venue.exchange.name()),
        });
    let specs = specs.collect();
    (status, specs)
}
