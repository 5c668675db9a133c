//! The simulated venues: the tape of every symbol, and its subscribers.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use axum::extract::ws::Message;

use crate::client::{Client, End};
use crate::clock;
use crate::config::Config;
use crate::delay_queue::DelayQueue;
use crate::fault_spec::FaultKind;
use crate::faults::Faults;
use crate::instrument::{Instrument, Venue};
use crate::listing::Listing;
use crate::symbol::{Core, Symbol};
use crate::tape::TapeBounds;
use crate::topic::Topic;
use crate::venues::binance::frame::{MICROSECONDS, wrap};
use crate::venues::{Channel, Target, coinbase, okx};
use crate::verdict::ConnectionFault;
use crate::window::Window;

/// Everything that is shared between the market, the sockets and the REST endpoints.
#[derive(Debug)]
pub(crate) struct Exchange {
    /// How it was configured.
    pub(crate) config: Config,
    /// What it lists.
    pub(crate) listing: Listing,
    /// What goes wrong.
    pub(crate) faults: Faults,
    /// Set when the simulator stops: connections end.
    pub(crate) stop: tokio_util::sync::CancellationToken,
    /// Set when the first client has subscribed: captures wait for that.
    pub(crate) first_subscription: tokio_util::sync::CancellationToken,
    playback: Mutex<Playback>,
    /// Whether a symbol is delisted: spares the walk through the list.
    any_delisted: AtomicBool,
    pub(crate) symbols: Vec<Symbol>,
    pub(crate) whole_venue: Mutex<Vec<Topic>>,
    pub(crate) delayed: Mutex<DelayQueue>,
    clients: Mutex<HashMap<u64, Arc<Client>>>,
    limits: Mutex<HashMap<(Venue, IpAddr, Limit), Window>>,
    next_connection: AtomicU64,
    counts: [VenueCounts; 3],
}

/// A venue's activity, for `/sim/stats`.
#[derive(Debug, Default)]
pub(crate) struct VenueCounts {
    /// WebSocket handshakes asked for.
    pub(crate) attempts: AtomicU64,
    /// Of these, refused by a fault or a limit.
    pub(crate) refused: AtomicU64,
    /// REST requests.
    pub(crate) requests: AtomicU64,
    /// Trades put on the tape.
    pub(crate) trades: AtomicU64,
    /// Data frames queued for clients.
    pub(crate) frames: AtomicU64,
}

/// The progress of the playback of captures, for `/sim/stats`.
#[derive(Clone, Copy, Debug, Default, serde::Serialize)]
pub(crate) struct Playback {
    /// Frames in all captures.
    pub(crate) frames: usize,
    /// Frames played.
    pub(crate) played: usize,
    /// Whether all have been played.
    pub(crate) done: bool,
}

/// A limit per address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Limit {
    /// New WebSocket connections.
    Connections,
    /// REST requests, or their weight.
    Rest,
}

impl Exchange {
    /// The venues with these instruments, all tapes empty.
    pub(crate) fn new(config: Config, instruments: Vec<Instrument>) -> Exchange {
        let listing = Listing::new(instruments);
        let bounds = TapeBounds {
            trades_max: (config.tape_trades_max / listing.all().len().max(1)).max(1_000),
            age_us_max: i64::from(config.tape_minutes) * 60_000_000 + 60_000_000,
            minutes_max: config.tape_bars_max.max(1),
        };
        let symbols = listing
            .all()
            .iter()
            .map(|instrument| Symbol {
                key: instrument.key(),
                subscribers: AtomicUsize::new(0),
                core: Mutex::new(Core::new(bounds)),
            })
            .collect();
        let faults = Faults::new(config.seed);
        for spec in &config.faults {
            faults.add(spec.clone(), clock::now_ms());
        }
        Exchange {
            config,
            listing,
            faults,
            stop: tokio_util::sync::CancellationToken::new(),
            first_subscription: tokio_util::sync::CancellationToken::new(),
            playback: Mutex::default(),
            any_delisted: AtomicBool::new(false),
            symbols,
            whole_venue: Mutex::default(),
            delayed: Mutex::default(),
            clients: Mutex::default(),
            limits: Mutex::default(),
            next_connection: AtomicU64::new(1),
            counts: Default::default(),
        }
    }

    /// The instrument at an index of the listing.
    pub(crate) fn instrument(&self, symbol: usize) -> &Instrument {
        &self.listing.all()[symbol]
    }

    /// The state of a symbol; hold it briefly.
    pub(crate) fn core(&self, symbol: usize) -> MutexGuard<'_, Core> {
        self.symbols[symbol]
            .core
            .lock()
            .expect("no holder of a symbol panics")
    }

    /// The progress of the playback of captures; `None` without captures.
    pub(crate) fn playback(&self) -> Option<Playback> {
        (!self.config.capture.is_empty()).then(|| *self.playback.lock().expect("no holder panics"))
    }

    /// Records how far the playback has got.
    pub(crate) fn set_playback(&self, playback: Playback) {
        *self.playback.lock().expect("no holder panics") = playback;
    }

    /// A venue's activity.
    pub(crate) fn counts(&self, venue: Venue) -> &VenueCounts {
        &self.counts[venue as usize]
    }

    /// Registers a client and returns it with its queue.
    pub(crate) fn connect(
        &self,
        venue: Venue,
        peer: IpAddr,
        now_ms: i64,
    ) -> (Arc<Client>, tokio::sync::mpsc::Receiver<Message>) {
        let id = self.next_connection.fetch_add(1, Ordering::Relaxed);
        let (client, frames) = Client::new(id, venue, peer, now_ms, self.config.client_frames_max);
        let client = Arc::new(client);
        self.clients
            .lock()
            .expect("no holder panics")
            .insert(id, Arc::clone(&client));
        metrics::gauge!("exchange_sim_connections", "exchange" => venue.name()).increment(1.0);
        (client, frames)
    }

    /// Forgets a client and its subscriptions.
    pub(crate) fn disconnect(&self, client: &Client, targets: impl IntoIterator<Item = Target>) {
        for target in targets {
            self.unsubscribe(client, target);
        }
        self.clients
            .lock()
            .expect("no holder panics")
            .remove(&client.id);
        metrics::gauge!("exchange_sim_connections", "exchange" => client.venue.name())
            .decrement(1.0);
    }

    /// The clients that are connected.
    pub(crate) fn clients(&self) -> Vec<Arc<Client>> {
        self.clients
            .lock()
            .expect("no holder panics")
            .values()
            .cloned()
            .collect()
    }

    /// Counts units against a limit of an address: `Err` with the milliseconds to wait. Without
    /// `--rate-limits`, everything is counted and admitted.
    pub(crate) fn admit(
        &self,
        venue: Venue,
        peer: IpAddr,
        limit: Limit,
        units: u64,
        now_ms: i64,
    ) -> Result<u64, i64> {
        let mut limits = self.limits.lock().expect("no holder panics");
        if limits.len() > 10_000 {
            limits.retain(|_, window| !window.is_idle(now_ms));
        }
        let window = limits
            .entry((venue, peer, limit))
            .or_insert_with(|| match (venue, limit) {
                (Venue::Binance, Limit::Connections) => Window::new(300_000, 300),
                (Venue::Binance, Limit::Rest) => Window::new(60_000, 6_000),
                // No limit on connections is documented for Coinbase beyond 8 a second.
                (Venue::Coinbase, Limit::Connections) => Window::new(1_000, 8),
                (Venue::Coinbase, Limit::Rest) => Window::new(1_500, 20),
                (Venue::Okx, Limit::Connections) => Window::new(1_000, 3),
                (Venue::Okx, Limit::Rest) => Window::new(2_000, 20),
            });
        if !self.config.rate_limits {
            window.count(units, now_ms);
        }
        if !self.config.rate_limits || window.admit(units, now_ms) {
            Ok(window.used())
        } else {
            Err(window.wait_ms(now_ms))
        }
    }

    /// Starts to deliver a channel to a client, beginning with the venue's first messages.
    pub(crate) fn subscribe(&self, client: &Arc<Client>, target: Target) {
        self.first_subscription.cancel();
        let Some(index) = target.symbol else {
            let mut topics = self.whole_venue.lock().expect("no holder panics");
            if topic_of(&mut topics, target.channel).add(client) {
                client.subscriptions.fetch_add(1, Ordering::Relaxed);
            }
            return;
        };
        let instrument = self.instrument(index);
        let now_us = clock::now_us();
        let mut core = self.core(index);
        let book = core.book_now(instrument);
        let day = core.day_now(now_us / 1000);
        let Core { tape, topics, .. } = &mut *core;
        let topic = topic_of(topics, target.channel);
        if !topic.add(client) {
            return;
        }
        client.subscriptions.fetch_add(1, Ordering::Relaxed);
        self.symbols[index]
            .subscribers
            .fetch_add(1, Ordering::Release);
        let (Some(last), Some(book), Some(day)) = (tape.last(), book, day) else {
            return;
        };
        // A late subscriber gets the book that the next change builds on.
        let shown = *topic.book.get_or_insert(book);
        let first = match target.channel {
            Channel::Binance(_) => None,
            Channel::Coinbase(coinbase::Feed::Matches) => {
                Some(coinbase::encode::matched(instrument, last, "last_match"))
            }
            Channel::Coinbase(coinbase::Feed::Ticker | coinbase::Feed::TickerBatch) => {
                Some(coinbase::encode::ticker(instrument, last, &day, &shown))
            }
            Channel::Coinbase(coinbase::Feed::Level2 | coinbase::Feed::Level2Batch) => Some(
                coinbase::encode::snapshot(instrument, &shown, crate::book::LEVELS, now_us),
            ),
            Channel::Coinbase(coinbase::Feed::Heartbeat) => None,
            Channel::Okx(feed) => match feed {
                okx::Feed::Books => Some(okx::encode::books_frame(
                    instrument,
                    None,
                    &shown,
                    now_us / 1000,
                )),
                okx::Feed::Tickers => {
                    let data = okx::encode::ticker(instrument, last, &day, &shown, now_us / 1000);
                    Some(okx::encode::frame("tickers", instrument, &data))
                }
                // The real venue also sends the last trade first, as captures show.
                okx::Feed::Trades => Some(okx::encode::frame(
                    "trades",
                    instrument,
                    &okx::encode::aggregate(instrument, &[*last]),
                )),
                _ => None,
            },
        };
        // Invented books and tickers would contradict captured ones; the last trade is on the tape.
        let fits = self.config.capture.is_empty()
            || matches!(
                target.channel,
                Channel::Coinbase(coinbase::Feed::Matches) | Channel::Okx(okx::Feed::Trades)
            );
        if let Some(text) = first.filter(|_| fits) {
            client.send(Message::Text(text.into()));
        }
    }

    /// Brings the list up to date with the faults that delist symbols.
    pub(crate) fn apply_delistings(&self, now_ms: i64) {
        let delisted = self.faults.delisted(now_ms);
        if delisted.is_empty() && !self.any_delisted.load(Ordering::Acquire) {
            return;
        }
        self.any_delisted
            .store(!delisted.is_empty(), Ordering::Release);
        for (index, instrument) in self.listing.all().iter().enumerate() {
            let off = delisted.iter().any(|(venue, key)| {
                venue.is_none_or(|venue| venue == instrument.venue)
                    && key
                        .as_deref()
                        .is_none_or(|key| key == self.symbols[index].key)
            });
            if self.listing.set_delisted(index, off) {
                tracing::info!(
                    exchange = instrument.venue.name(),
                    symbol = instrument.symbol,
                    listed = !off,
                    "listing changed"
                );
            }
        }
    }

    /// Stops delivering a channel to a client.
    pub(crate) fn unsubscribe(&self, client: &Client, target: Target) {
        let removed = match target.symbol {
            None => topic_of(
                &mut self.whole_venue.lock().expect("no holder panics"),
                target.channel,
            )
            .remove(client.id),
            Some(index) => {
                let mut core = self.core(index);
                let removed = topic_of(&mut core.topics, target.channel).remove(client.id);
                core.topics.retain(|topic| !topic.is_empty());
                if removed {
                    self.symbols[index]
                        .subscribers
                        .fetch_sub(1, Ordering::Release);
                }
                removed
            }
        };
        if removed {
            client.subscriptions.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Carries out a fault on connections; returns the connections that end `delay_ms` later.
    pub(crate) fn strike(&self, fault: &ConnectionFault, now_ms: i64) -> Vec<Arc<Client>> {
        let mut ending = Vec::new();
        for client in self.clients() {
            let venue = match fault.kind {
                FaultKind::ServerShutdown => Some(Venue::Binance),
                FaultKind::Notice => Some(Venue::Okx),
                _ => fault.venue,
            };
            let concerned = venue.is_none_or(|only| only == client.venue)
                && fault.connection.is_none_or(|only| only == client.id);
            if !concerned {
                continue;
            }
            match fault.kind {
                FaultKind::ServerShutdown => {
                    let micros = client.variant() & MICROSECONDS != 0;
                    let at = if micros { now_ms * 1000 } else { now_ms };
                    let event = format!(r#"{{"e":"serverShutdown","E":{at}}}"#);
                    client.send(Message::Text(
                        wrap(client.variant(), "!serverShutdown", event).into(),
                    ));
                    ending.push(client);
                }
                FaultKind::Notice => {
                    client.send(Message::Text(okx::notice(client.id).into()));
                    ending.push(client);
                }
                _ => client.end(match fault.code {
                    Some(code) => End::Close {
                        code,
                        reason: "scripted disconnect".to_owned(),
                    },
                    None => End::Abrupt,
                }),
            }
        }
        ending
    }

    pub(crate) fn count_trades(&self, venue: Venue, trades: usize) {
        self.counts(venue)
            .trades
            .fetch_add(trades as u64, Ordering::Relaxed);
        metrics::counter!("exchange_sim_trades_total", "exchange" => venue.name())
            .increment(trades as u64);
    }

    pub(crate) fn count_frames(&self, venue: Venue, frames: usize) {
        if frames > 0 {
            self.counts(venue)
                .frames
                .fetch_add(frames as u64, Ordering::Relaxed);
            metrics::counter!("exchange_sim_frames_total", "exchange" => venue.name())
                .increment(frames as u64);
        }
    }
}

fn topic_of(topics: &mut Vec<Topic>, channel: Channel) -> &mut Topic {
    let at = topics
        .iter()
        .position(|topic| topic.channel == channel)
        .unwrap_or_else(|| {
            topics.push(Topic::new(channel));
            topics.len() - 1
        });
    &mut topics[at]
}
