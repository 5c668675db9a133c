//! Takes bars from the bus and sends the latest state of every topic to WebSocket clients.
//!
//! # Layout
//!
//! Each folder imports only the folders below it. From a client's connection down to its data:
//!
//! - `entry`: how a connection begins;
//! - `fleet`: the other gateways, and how sessions move to them;
//! - `connection`: bytes in and out of one socket;
//! - `sessions`: the subscriptions of each session, and the updates that it lacks;
//! - `topics`: from the bus to the newest state of every topic;
//! - `encode` and `dialect`, in the crate [`client_frames`]: publications as frames, once for each
//!   encoding, in the protocols that clients speak;
//! - `access`: which clients may connect, and what their tokens mean for sessions; `limits`: how much
//!   they may use.
//!
//! `config` has the configuration, and the settings of each folder. This file connects the folders.
//! `supervision` makes their tasks run as long as the gateway, and `standstill` notices that the
//! process stood still.
//!
//! Nothing queues for a client: a session that cannot take updates keeps its version, and takes the
//! newest state when it can again.

mod access;
mod config;
mod connection;
mod entry;
mod error;
mod fleet;
mod limits;
mod metrics;
mod sessions;
mod standstill;
mod supervision;
mod topics;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bus::Bus;
use market_core::BarRow;
use service::Service;
use tokio::net::TcpListener;
use tokio::time::timeout_at;
use tokio_util::task::TaskTracker;
use tracing::{error, info};

pub use access::{AuthConfig, OriginPattern, ParseOriginError};
pub use auth::{AuthMode, TokenConfig};
pub use config::{BinanceStreamsConfig, Config, Switch};
pub use error::Error;
pub use fleet::rebalance::Control;
pub use service::{Network, ParseNetworkError, client_ip};

/// Readers of bytes from outside, for fuzzers: not part of the interface.
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzz;

use crate::access::AuthRules;
use crate::connection::settings::Settings;
use crate::entry::accept::{Acceptor, HttpAnswers};
use crate::entry::connection_threads::ConnectionThreads;
use crate::entry::handshake::Handshaker;
use crate::entry::routes;
use crate::fleet::drain::Drain;
use crate::fleet::rebalance::Rebalancer;
use crate::limits::{Limits, open_files_max};
use crate::metrics::{Metrics, help};
use crate::sessions::flush;
use crate::sessions::history_reader::HistoryReader;
use crate::sessions::questions::Questions;
use crate::sessions::session_counts::SessionCounts;
use crate::standstill::{Looks, Witness};
use crate::supervision::Tasks;
use crate::topics::book_silence::BookSilence;
use crate::topics::boundary_gate::BoundaryGate;
use crate::topics::clock_lead::ClockHealth;
use crate::topics::folds::{Folds, Load};
use crate::topics::hub::{Hub, SHARDS_MAX};
use crate::topics::ingest::{Ingest, Shared};
use crate::topics::streams::{self, Streams};
use crate::topics::warmth::Warmth;
use client_frames::encode::frame_budget::FrameBudget;

/// How often the bus is asked whether it is connected.
const BUS_CHECK_INTERVAL: Duration = Duration::from_millis(500);
/// How often folds are asked what they lack.
const LOADS_INTERVAL: Duration = Duration::from_millis(100);
const NO_SUBJECTS: &str = "no subjects are configured: set --subjects, such as kline.>";

/// Runs a gateway until it is drained after the service's shutdown.
///
/// `extra_routes` are served beside `/ws`. Readiness has three conditions: `bus` (connected),
/// `warm` (the retained messages are loaded) and `clock` (this host's is not far behind the
/// publishers').
///
/// The conditions exist as soon as this is called, so that a gateway that has not begun is never
/// ready.
///
/// # Errors
/// See [`Error`].
pub fn run(
    config: Config,
    bus: Arc<dyn Bus>,
    listener: TcpListener,
    extra_routes: axum::Router,
    service: Service,
) -> impl Future<Output = Result<(), Error>> + Send + 'static {
    let control = Control::default();
    run_controlled(config, bus, listener, extra_routes, service, control)
}

/// As [`run`], with an operator's side, whose routes belong to the admin listener.
///
/// # Errors
/// See [`Error`].
pub fn run_controlled(
    config: Config,
    bus: Arc<dyn Bus>,
    listener: TcpListener,
    extra_routes: axum::Router,
    service: Service,
    control: Control,
) -> impl Future<Output = Result<(), Error>> + Send + 'static {
    let awaited = config
        .subjects
        .iter()
        .filter(|pattern| !Ingest::is_on_demand(pattern));
    let warmth = Warmth::new(service.readiness.condition("warm"), awaited.count());
    let clock = ClockHealth::new(service.readiness.condition("clock"));
    let connected = service.readiness.condition("bus");
    connected.unmet("the bus is not connected");
    serve(
        config,
        bus,
        listener,
        extra_routes,
        service,
        control,
        warmth,
        clock,
        connected,
    )
}

#[expect(clippy::too_many_arguments, reason = "called once, from above")]
async fn serve(
    config: Config,
    bus: Arc<dyn Bus>,
    listener: TcpListener,
    extra_routes: axum::Router,
    service: Service,
    control: Control,
    warmth: Arc<Warmth>,
    clock: Arc<ClockHealth>,
    connected: service::Condition,
) -> Result<(), Error> {
    if config.subjects.is_empty() {
        return Err(Error::Config(NO_SUBJECTS.to_owned()));
    }
    help::describe();
    let auth = access::checks(&config.auth, config.address_groups()).map_err(Error::Config)?;
    let rules = auth
        .as_deref()
        .map(|auth| AuthRules::new(&config.auth, auth));
    let metrics = Arc::new(Metrics::default());
    let files_max = open_files_max();
    let limits = Arc::new(Limits::new(config.limits(), files_max));
    if limits.sessions_max < config.sessions_max {
        info!(
            sessions_max = limits.sessions_max,
            configured = config.sessions_max,
            open_files_max = files_max,
            "fewer sessions than configured: raise the open-files limit (ulimit -n)"
        );
    }
    if config.send_buffer_bytes > 0 {
        // Accepted sockets inherit it.
        socket2::SockRef::from(&listener).set_send_buffer_size(config.send_buffer_bytes)?;
    }
    let shards = match config.shards {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        shards => shards,
    };
    let shards = shards.min(SHARDS_MAX);
    let hub = Hub::new(shards, config.topics_max, config.depth(), config.names())
        .with_budget(FrameBudget::new(config.pending_bytes_max));
    let hub = Arc::new(hub);
    let folds = Folds::new(Arc::clone(&hub), Arc::clone(&warmth), config.folds());
    let folds = Arc::new(folds);
    let streams = Arc::new(Streams::new(
        Arc::clone(&hub),
        Arc::clone(&warmth),
        config.streams(),
    ));

    let drain = Drain::new(config.drain(), &service.shutdown);
    let session_counts = Arc::new(SessionCounts::new(shards));
    let history = HistoryReader::new(Arc::clone(&bus), config.history(), config.bounds());
    let history = Arc::new(history);
    let tracker = TaskTracker::new();
    let mut tasks = Tasks::new(service.shutdown.clone());
    let runner = config.runner(rules);
    let senders: Vec<_> = (0..shards)
        .map(|index| {
            let (sender, shard) = flush::shard(
                runner.clone(),
                index,
                flush::Shared {
                    hub: Arc::clone(&hub),
                    folds: Arc::clone(&folds),
                    streams: Arc::clone(&streams),
                    metrics: Arc::clone(&metrics),
                    session_counts: Arc::clone(&session_counts),
                    history: Arc::clone(&history),
                },
                drain.clone().window_once_begun(),
            );
            tasks.spawn("shard", shard);
            sender
        })
        .collect();

    let looks = Looks::new(Instant::now());
    let books = Arc::new(config.book_silence());
    let shared = Shared {
        bus: Arc::clone(&bus),
        hub: Arc::clone(&hub),
        folds: Arc::clone(&folds),
        topics_max: config.topics_max,
        bounds: config.bounds(),
        boundaries: Arc::new(BoundaryGate::default()),
        books: Arc::clone(&books),
        warmth,
        clock,
        witness: Witness::new(&looks),
    };
    for pattern in &config.subjects {
        let ingest = Ingest::new(pattern.clone(), shared.clone());
        tasks.spawn("ingest", ingest.run());
    }
    let wanted = Arc::clone(&streams);
    let loaded = Arc::clone(&streams);
    let windows = answer_loads(
        Arc::clone(&history),
        move |now| wanted.loads(now),
        move |load, rows, now| loaded.loaded(load, rows, now),
        AfterAnswer::Ask,
    );
    tasks.spawn("windows", windows);
    tasks.spawn("streams", streams::run(streams));
    let wanted = Arc::clone(&folds);
    let tend_folds = answer_loads(
        Arc::clone(&history),
        move |now| wanted.tend(now),
        move |load, rows, now| folds.loaded(load, rows, now),
        AfterAnswer::Wait,
    );
    tasks.spawn("folds", tend_folds);
    tasks.spawn("standstill", standstill::watch(looks));
    let watch = watch(
        Arc::clone(&bus),
        connected,
        Arc::clone(&hub),
        books,
        Arc::clone(&metrics),
    );
    tasks.spawn("watch", watch);
    tasks.spawn("drain", drain.clone().follow(service.shutdown.clone()));
    if let Some(auth) = &auth {
        tasks.spawn("keys", Arc::clone(auth).watch_keys());
    }

    let address = listener.local_addr()?;
    let rebalancer = Rebalancer::new(
        address.to_string(),
        config.shed_rate,
        Arc::clone(&bus),
        session_counts,
        senders.clone(),
        Arc::clone(&metrics),
    );
    tasks.spawn("rebalancer", rebalancer.run(control, service.clone()));
    info!(%address, shards, sessions_max = limits.sessions_max, "gateway listens");
    let acceptor = Acceptor::new(
        config.entry(),
        HttpAnswers {
            handshaker: Handshaker::new(config.handshake(), &metrics, auth.clone()),
            router: routes::router(extra_routes),
        },
        limits,
        Arc::new(Settings::new(config.connection(), metrics, auth)),
        senders,
        tracker.clone(),
        drain,
    );
    let threads = ConnectionThreads::start(config.connection_threads)?;
    let listener = listener.into_std()?;
    // Connections belong to the threads on which they were accepted.
    let accepting = threads.spawn(async move {
        acceptor.accept(TcpListener::from_std(listener)?).await;
        Ok::<(), std::io::Error>(())
    });
    let drained = async {
        accepting.await.map_err(|error| Error::Task {
            task: "accept",
            why: error.to_string(),
        })??;
        // The listener is closed, so that a proxy turns to other gateways. Each session is closed
        // at its time within the drain, and gets updates until then.
        info!("gateway drains");
        tracker.close();
        tracker.wait().await;
        Ok::<(), Error>(())
    };
    tokio::select! {
        drained = drained => drained?,
        error = tasks.failed() => {
            error!(%error, "gateway ends");
            return Err(error);
        }
    }
    tasks.end().await;
    info!("gateway is drained");
    Ok(())
}

/// When more is asked of history after one of its answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum AfterAnswer {
    /// At once.
    Ask,
    /// At the next look.
    Wait,
}

/// Reads from history what is wanted, and gives it to who wanted it.
async fn answer_loads(
    history: Arc<HistoryReader>,
    wanted: impl Fn(Instant) -> Vec<Load>,
    loaded: impl Fn(&Load, Option<&[BarRow]>, Instant),
    after_answer: AfterAnswer,
) {
    let mut loads = Questions::new();
    'asking: loop {
        for load in wanted(Instant::now()) {
            let history = Arc::clone(&history);
            let asked = load.clone();
            loads.ask(load, async move { history.parts(&asked).await });
        }
        let look_at = Instant::now() + LOADS_INTERVAL;
        while let Ok(Some((load, rows))) = timeout_at(look_at.into(), loads.next()).await {
            // Who wants it waits for an answer also where the task has panicked.
            loaded(&load, rows.flatten().as_deref(), Instant::now());
            if after_answer == AfterAnswer::Ask {
                continue 'asking;
            }
        }
        tokio::time::sleep_until(look_at.into()).await;
    }
}

/// Updates the readiness and the gauges that no other task updates, and ends what is due.
async fn watch(
    bus: Arc<dyn Bus>,
    connected: service::Condition,
    hub: Arc<Hub>,
    books: Arc<BookSilence>,
    metrics: Arc<Metrics>,
) {
    loop {
        if bus.is_connected() {
            connected.met();
        } else {
            connected.unmet("the bus is not connected");
        }
        metrics.topics.set(hub.topic_count() as f64);
        hub.let_go(Instant::now());
        books.tick(&hub, Instant::now());
        metrics.held(hub.take_held());
        metrics.held_entries(hub.take_held_entries());
        metrics.pending_bytes.set(hub.budget.bytes() as f64);
        tokio::time::sleep(BUS_CHECK_INTERVAL).await;
    }
}
