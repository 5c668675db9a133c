//! Builds the parts of the program and starts them.

use std::sync::Arc;
use std::time::Duration;

use bus::Bus;
use rand::Rng;
use service::Service;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::drain::Running;
use super::error::Error;
use super::feeds::{
    Carriers, epoch_of, native_names, publish_values, reconcile_tickers, start_feeds,
};
use super::inputs::Inputs;
use super::leases;
use crate::archive::BarAnswers;
use crate::assignment::Assignment;
use crate::backfill::{BackfillJob, Backfiller, JOBS_ON_THE_WAY_MAX};
use crate::config::Plan;
use crate::feed::dial;
use crate::feed::listing::Listing;
use crate::feed::status::SymbolHealth;
use crate::feed::symbols::SymbolBoard;
use crate::host_clock::now_ms;
use crate::inbox::Inbox;
use crate::instrument::{Instrument, InstrumentId};
use crate::lease::parts::LeaseParts;
use crate::lease::share::Share;
use crate::ownership::control::Control;
use crate::ownership::ledger::Ledger;
use crate::ownership::task::OwnershipTask;
use crate::ownership::transfer::Transfer;
use crate::parts::Part;
use crate::presence::{Epoch, Others, Presence, first_epoch, published};
use crate::publish::Publisher;
use crate::publish::boundary::{Boundaries, position_subject};
use crate::publish::durable::{EncodingTurn, Item, Lane};
use crate::publish::fence::Refusals;
use crate::publish::message::Publication;
use crate::publish::outbox::{Outbox, OutboxBounds};
use crate::publish::validity::Validity;
use crate::publish::values::Values;
use crate::reconcile::background::{Reconciler, Watched};
use crate::recovery;
use crate::rivals::Announcement;
use crate::series::timing::WorkerTiming;
use crate::series::worker::Worker;
use crate::teller::{StoreWatch, Teller};

/// Durable lanes of each worker.
const LANES: usize = 8;

/// Starts every part. Afterwards only tasks hold senders of frames, jobs and bars. So each part can
/// end when the parts before it have ended.
///
/// # Errors
/// The configuration, the file of certificates, or the bus cannot be used; nothing was started.
pub(super) async fn assemble(
    inputs: Inputs<'_>,
    bus: &Arc<dyn Bus>,
    service: &Service,
    control: Control,
) -> Result<Running, Error> {
    let Inputs {
        config,
        found,
        clients: venue_clients,
        conditions,
    } = inputs;
    let plan = config.plan_of(&found.instruments)?;
    if let Some(variable) = dial::proxy_variable() {
        warn!(
            variable,
            "REST goes through this proxy, but WebSockets do not: they need a direct way to the venues"
        );
    }

    let has_journal = match config.journal.stream() {
        Some(journal) => {
            let kept = recovery::put_stream(&**bus, journal, &service.shutdown).await;
            kept.map_err(Error::Journal)?;
            true
        }
        None => false,
    };

    // What is ours from the start.
    let instruments: Arc<[Instrument]> = plan.instruments.clone().into();
    let mut ledger = Ledger::new(instruments.len());
    let first: Vec<InstrumentId> = (0..found.assigned).collect();
    let first = ledger.assign(&first).unwrap_or_default();
    for &(id, number) in &first {
        ledger.assigned(id, number, true);
    }
    let board = Arc::new(SymbolBoard::new(instruments.len()));
    board.assign(&first);

    // What the last run left.
    let checkpoints = recovery::checkpoints(&**bus, &service.shutdown).await?;
    let narrowest = plan.pipeline.timeframes.as_slice().first().copied();
    let narrowest = narrowest.expect("a timeframe set is never empty");
    let shutdown = &service.shutdown;
    let ours = first.iter().map(|&(id, _)| &plan.instruments[id]);
    recovery::count_lost(&**bus, ours, narrowest, &checkpoints, shutdown).await?;

    // Another provider may be installed already. Then that one stays.
    let _ = rustls::crypto::ring::default_provider().install_default();
    info!(
        instruments = plan.instruments.len(),
        assigned = first.len(),
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
    // Programs with the same flags share the position, whatever their patterns have found by now.
    let named = config
        .named_instruments()
        .map(|spec| spec.symbol.to_string());
    let patterns = config.patterns().map(ToString::to_string);
    let names: Vec<String> = named.chain(patterns).collect();
    let boundaries = Arc::new(Boundaries::new(
        &plan.pipeline.timeframes,
        plan.instruments.len(),
        plan.pipeline.gap_hold_ms,
        position_subject(names.iter().map(String::as_str)),
    ));
    let validity = Arc::new(Validity::none());
    let refused = Arc::new(Notify::new());
    let mut outboxes = Vec::new();
    for worker in 0..plan.workers {
        let encoding = EncodingTurn::default();
        let refusals = Arc::new(Refusals::new(Arc::clone(&refused)));
        let lanes: Vec<Arc<Lane>> = (0..LANES)
            .map(|lane| {
                let bars_max = (config.bars_waiting_max / (LANES * plan.workers)).max(1);
                let index = worker * LANES + lane;
                let lane = Lane::new(bars_max, index, encoding.clone());
                let lane = lane.with_refusals(Arc::clone(&refusals));
                let lane = lane.with_validity(Arc::clone(&validity));
                let lane = lane.with_batches(config.batch_bars);
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
            refusals,
            OutboxBounds {
                bars_max: (config.bars_waiting_max / plan.workers).max(1),
                trades_max: config.trades_waiting_max,
            },
        ));
        let publisher = Publisher::new(Arc::clone(bus), Arc::clone(&outbox), Arc::clone(&validity));
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
    let mut listings = Part::new("listing");
    let mut reconcilers = Part::new("reconcile");
    let mut archives = Part::new("archive");
    let mut clients = Vec::new();
    for venue in &plan.venues {
        let (sender, jobs) = mpsc::channel::<BackfillJob>(JOBS_ON_THE_WAY_MAX);
        job_senders.push(sender);
        let client = venue_clients.of(venue.exchange, &venue.endpoints);
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
                board: Arc::clone(&board),
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
        let answers = BarAnswers {
            exchange: venue.exchange,
            client: Arc::clone(&client),
            bus: Arc::clone(bus),
        };
        archives.spawn(answers.run(fetching.clone()));
        let backfiller = Backfiller {
            exchange: venue.exchange,
            client: Arc::clone(&client),
            concurrency: config.backfill_concurrency,
            jobs_max: config.backfill_jobs_max,
            board: Arc::clone(&board),
            trades_max: config.backfill_trades_max,
            inboxes: Arc::clone(&by_instrument),
        };
        backfillers.spawn(backfiller.run(jobs, fetching.clone()));
        clients.push(client);
    }
    let health = Arc::new(SymbolHealth::new(plan.instruments.len()));
    let mut worker_tasks = Part::new("worker");
    for (index, receiver) in receivers.into_iter().enumerate() {
        let mut worker = Worker::new(
            index,
            plan.instruments.len(),
            job_senders.clone(),
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
        for &(id, number) in &first {
            if worker_of[id] != index {
                continue;
            }
            let restored = recovery::pipeline(&plan.instruments[id], &plan.pipeline, &checkpoints);
            if let Some((subject, payload)) = restored.refused {
                let subject = subject.into();
                first_lane.set_checkpoint(Item::new(subject, payload));
            }
            let assignment = Assignment {
                id,
                number,
                instrument: plan.instruments[id].clone(),
                pipeline: restored.pipeline,
            };
            worker.assign(assignment, now_ms());
        }
        worker_tasks.spawn(worker.run(receiver));
    }

    // What others take over from us, and we from others.
    let others = Arc::new(Others::default());
    let me = announcement(&instruments, &board, &epoch);
    info!(instance = me.instance, "following the instruments");
    let lease_parts = LeaseParts {
        bus: Arc::clone(bus),
        me: me.instance.clone(),
        instruments: Arc::clone(&instruments),
        board: Arc::clone(&board),
        outboxes: outboxes.clone(),
        worker_of: Arc::clone(&worker_of),
        boundaries: Arc::clone(&boundaries),
        epoch: Arc::clone(&epoch),
        lane: Arc::clone(&first_lane),
        validity: Arc::clone(&validity),
        others: Arc::clone(&others),
        silence: Duration::from_millis(config.takeover_silence_ms.into()),
        share: config.share_instruments.then(|| Share::new(&instruments)),
        refused,
        leaving: CancellationToken::new(),
        ready: conditions.leases,
    };
    let (leasing, leases, releasing) = leases::start(lease_parts);
    leases.join(first.iter().map(|&(id, _)| id).collect()).await;
    let owning = CancellationToken::new();
    let mut ownership = Part::new("ownership");
    let held = epoch_of(&outboxes, &worker_of);
    let values = Arc::new(Values::new(&instruments, held));
    let transfer = Transfer {
        instruments: Arc::clone(&instruments),
        pipeline: plan.pipeline.clone(),
        bus: Arc::clone(bus),
        board: Arc::clone(&board),
        leases: leases.clone(),
        values: Arc::clone(&values),
        outboxes: worker_of
            .iter()
            .map(|&at| Arc::clone(&outboxes[at]))
            .collect(),
        inboxes: by_instrument,
        lane: Arc::clone(&first_lane),
        shutdown: service.shutdown.clone(),
    };
    ownership.spawn(OwnershipTask::new(ledger, transfer).run(control, owning.clone()));

    // Frames in.
    let feeding = CancellationToken::new();
    publish_values(
        config,
        &values,
        bus,
        &validity,
        &mut publishers,
        &publishing,
    );
    let carriers = Carriers {
        values,
        tls: venue_clients.tls().clone(),
        worker_of,
        workers,
        health,
        board: Arc::clone(&board),
    };
    reconcile_tickers(config, &plan, &carriers, bus, &mut reconcilers, &fetching);
    let (supervisors, statuses) = start_feeds(config, &plan, &carriers, &clients, &feeding);

    // What others are told.
    let telling = CancellationToken::new();
    let mut tellers = Part::new("status");
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
        feeds_ready: conditions.feeds,
        bus_ready: conditions.bus,
        store_ready: conditions.store,
    };
    tellers.spawn(teller.run(telling.clone()));
    let presence = Presence {
        bus: Arc::clone(bus),
        me,
        instruments,
        board,
        exchanges: plan
            .venues
            .iter()
            .map(|venue| venue.exchange.name())
            .collect(),
        epoch,
        lane: Arc::clone(&first_lane),
        others,
        leases: leases.clone(),
        silence_ms: config.rival_silence_ms.into(),
    };
    tellers.spawn(presence.run(telling.clone()));
    let marking = CancellationToken::new();
    let mut marks = Part::new("boundary marks");
    marks.spawn(boundaries.tell(Arc::clone(bus), first_lane, validity, marking.clone()));
    Ok(Running {
        ownership,
        owning,
        leasing,
        leases,
        releasing,
        supervisors,
        feeding,
        backfillers,
        reconcilers,
        listings,
        archives,
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

/// This program's announcement on the bus.
fn announcement(instruments: &[Instrument], board: &SymbolBoard, epoch: &Epoch) -> Announcement {
    let (symbols, follows) = published(instruments, board);
    Announcement {
        instance: format!("{:016x}", rand::rng().random::<u64>()),
        epoch: epoch.get(),
        leaves: false,
        symbols,
        follows,
    }
}

/// The worker of an instrument. Neighbours in the list go to different workers, so that each worker
/// gets a part of every venue.
fn worker_of(plan: &Plan, instrument: usize) -> usize {
    instrument % plan.workers
}

fn instruments_of(plan: &Plan, worker: usize) -> impl Iterator<Item = usize> {
    let workers = plan.workers;
    (0..plan.instruments.len()).filter(move |id| id % workers == worker)
}
