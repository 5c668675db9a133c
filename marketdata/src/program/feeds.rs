//! Deals a venue's symbols out among connections.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bus::Bus;
use tokio_util::sync::CancellationToken;

use crate::backfill::client::RestClient;
use crate::budget::WindowBudget;
use crate::config::{Config, FeedChannel, Plan};
use crate::feed::backoff::Backoff;
use crate::feed::connection::ConnectionTiming;
use crate::feed::connection_spec::ConnectionSpec;
use crate::feed::dial::VenueTls;
use crate::feed::meters::SocketMeters;
use crate::feed::status::{FeedStatus, SymbolHealth};
use crate::feed::supervisor::Supervisor;
use crate::feed::symbols::{SymbolBoard, VenueSymbols};
use crate::host_clock::now_ms;
use crate::inbox::Inbox;
use crate::instrument::{InstrumentId, Venue};
use crate::order_books::feed::BookFeed;
use crate::parts::Part;
use crate::publish::outbox::Outbox;
use crate::publish::validity::Validity;
use crate::publish::values::{EpochOf, Kind, Values};
use crate::reconcile::ticker_rounds::TickerReconciler;

/// What every connection needs of the rest of the program.
pub(super) struct Carriers {
    pub(super) tls: VenueTls,
    pub(super) worker_of: Arc<[usize]>,
    pub(super) workers: Arc<[Inbox]>,
    pub(super) health: Arc<SymbolHealth>,
    pub(super) board: Arc<SymbolBoard>,
    pub(super) values: Arc<Values>,
}

/// Instruments with the venue's names.
pub(super) fn native_names(
    plan: &Plan,
    instruments: &[InstrumentId],
) -> Vec<(InstrumentId, String)> {
    let named = |&id: &InstrumentId| (id, plan.instruments[id].native.clone());
    instruments.iter().map(named).collect()
}

/// Under which epochs instruments are published, as their workers' outboxes know it.
pub(super) fn epoch_of(outboxes: &[Arc<Outbox>], worker_of: &[usize]) -> EpochOf {
    let place = |(instrument, &worker): (InstrumentId, &usize)| {
        let outbox = Arc::clone(&outboxes[worker]);
        let slot = outbox.slot(instrument);
        (outbox, slot)
    };
    let places: Vec<_> = worker_of.iter().enumerate().map(place).collect();
    Box::new(move |instrument| {
        let (outbox, slot) = &places[instrument];
        outbox.held_epoch((*slot)?)
    })
}

/// Publishes the quotes, tickers and books that are wanted, until `publishing` ends.
pub(super) fn publish_values(
    config: &Config,
    values: &Arc<Values>,
    bus: &Arc<dyn Bus>,
    validity: &Arc<Validity>,
    publishers: &mut Part,
    publishing: &CancellationToken,
) {
    let wanted = FeedChannel::wanted(&config.channels);
    let books = config.channels.contains(&FeedChannel::Book);
    for (kind, is_wanted, interval_ms) in [
        (Kind::Quotes, wanted.quotes, config.quote_interval_ms),
        (Kind::Tickers, wanted.tickers, config.ticker_interval_ms),
        (Kind::Books, books, config.books.book_interval_ms),
    ] {
        if is_wanted {
            let every = Duration::from_millis(interval_ms.into());
            let values = Arc::clone(values);
            let (bus, validity) = (Arc::clone(bus), Arc::clone(validity));
            let heartbeat = (kind == Kind::Books).then(|| config.books.heartbeat());
            let stop = publishing.clone();
            publishers.spawn(values.run(kind, every, heartbeat, bus, validity, stop));
        }
    }
}

/// Compares the tickers of every venue with our bars, if both are wanted.
pub(super) fn reconcile_tickers(
    config: &Config,
    plan: &Plan,
    carriers: &Carriers,
    bus: &Arc<dyn Bus>,
    reconcilers: &mut Part,
    stop: &CancellationToken,
) {
    if config.reconcile_interval_ms == 0 || !FeedChannel::wanted(&config.channels).tickers {
        return;
    }
    for venue in &plan.venues {
        let watched = |&id: &InstrumentId| (id, plan.instruments[id].symbol.clone());
        let reconciler = TickerReconciler {
            exchange: venue.exchange.name(),
            bus: Arc::clone(bus),
            values: Arc::clone(&carriers.values),
            board: Arc::clone(&carriers.board),
            watched: venue.instruments.iter().map(watched).collect(),
            timeframes: plan.pipeline.timeframes.as_slice().to_vec(),
            interval: Duration::from_millis(config.reconcile_interval_ms.into()),
        };
        reconcilers.spawn(reconciler.run(stop.clone()));
    }
}

/// Starts the connections of every venue: for trades, and for books if they are wanted. `clients` ask
/// the venues over REST, in the order of the plan.
pub(super) fn start_feeds(
    config: &Config,
    plan: &Plan,
    carriers: &Carriers,
    clients: &[Arc<RestClient>],
    feeding: &CancellationToken,
) -> (Part, Vec<Arc<FeedStatus>>) {
    let mut feeds = Part::new("feed");
    let mut statuses = Vec::new();
    let has_books = config.channels.contains(&FeedChannel::Book);
    for (venue, client) in plan.venues.iter().zip(clients) {
        let (status, specs) = connection_specs(config, plan, venue, carriers);
        statuses.push(status);
        for spec in specs {
            if has_books {
                let books = BookFeed::beside(&spec, Arc::clone(client), config.books.desk());
                feeds.spawn(books.run(feeding.clone()));
            }
            feeds.spawn(Supervisor::new(spec).run(feeding.clone()));
        }
    }
    (feeds, statuses)
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
            wanted: FeedChannel::wanted(&config.channels),
            values: Arc::clone(&carriers.values),
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
