//! The simulated venues: the tape of every symbol, who listens to it, and the way of a trade from
//! the tape to the clients.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use axum::extract::ws::Message;

use crate::bar::Bar;
use crate::book::Book;
use crate::client::{Client, End};
use crate::clock;
use crate::config::Config;
use crate::faults::{ConnectionFault, FaultKind, Faults};
use crate::instrument::{Instrument, Venue};
use crate::interval::DAY_MS;
use crate::listing::Listing;
use crate::tape::{Tape, TapeBounds};
use crate::topic::Topic;
use crate::trade::Trade;
use crate::venues::{Channel, Target, binance, coinbase, okx};
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
    symbols: Vec<Symbol>,
    whole_venue: Mutex<Vec<Topic>>,
    delayed: Mutex<BinaryHeap<Reverse<Delayed>>>,
    clients: Mutex<HashMap<u64, Arc<Client>>>,
    limits: Mutex<HashMap<(Venue, IpAddr, Limit), Window>>,
    next_connection: AtomicU64,
    counts: [VenueCounts; 3],
}

/// What a venue has done, for `/sim/stats`.
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

/// How far the playback of captures has got, for `/sim/stats`.
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

#[derive(Debug)]
struct Symbol {
    key: String,
    subscribers: AtomicUsize,
    core: Mutex<Core>,
}

/// What is known of one symbol.
#[derive(Debug)]
pub(crate) struct Core {
    /// Its trades.
    pub(crate) tape: Tape,
    topics: Vec<Topic>,
    /// The book that REST and new subscribers see.
    book: Option<Book>,
    /// Added to generated ids: how many trades were injected between them.
    injected: u64,
    day: Option<(i64, Bar)>,
}

/// A run of trades that a fault holds back. Ordered by when it is due.
#[derive(Debug, PartialEq, Eq)]
struct Delayed {
    due_ms: i64,
    order: u64,
    symbol: usize,
    run: Run,
}

impl Ord for Delayed {
    fn cmp(&self, other: &Delayed) -> std::cmp::Ordering {
        (self.due_ms, self.order).cmp(&(other.due_ms, other.order))
    }
}

impl PartialOrd for Delayed {
    fn partial_cmp(&self, other: &Delayed) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// Trades that are sent together: consecutive, and of one aggregate.
#[derive(Debug, PartialEq, Eq)]
struct Run {
    trades: Vec<Trade>,
    malformed: bool,
}

/// A trade to be injected.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Injection {
    /// Its id; none: the one after the last.
    pub(crate) id: Option<u64>,
    /// When it happened, microseconds since the epoch.
    pub(crate) event_us: i64,
    /// Price mantissa.
    pub(crate) price: i64,
    /// Quantity mantissa.
    pub(crate) quantity: i64,
    /// Whether the taker bought.
    pub(crate) taker_buys: bool,
}

impl Exchange {
    /// The venues with these instruments, all tapes empty.
    pub(crate) fn new(config: Config, instruments: Vec<Instrument>) -> Exchange {
        let listing = Listing::new(instruments);
        let bounds = TapeBounds {
            trades_max: (config.tape_trades_max / listing.all().len().max(1)).max(1_000),
            age_us_max: i64::from(config.tape_minutes.max(config.history_minutes)) * 60_000_000
                + 60_000_000,
            minutes_max: config.tape_bars_max.max(1),
        };
        let symbols = listing
            .all()
            .iter()
            .map(|instrument| Symbol {
                key: instrument.key(),
                subscribers: AtomicUsize::new(0),
                core: Mutex::new(Core {
                    tape: Tape::new(bounds),
                    topics: Vec::new(),
                    book: None,
                    injected: 0,
                    day: None,
                }),
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

    /// What is known of a symbol; hold it briefly.
    pub(crate) fn core(&self, symbol: usize) -> MutexGuard<'_, Core> {
        self.symbols[symbol]
            .core
            .lock()
            .expect("no holder of a symbol panics")
    }

    /// How far the playback of captures has got; none without captures.
    pub(crate) fn playback(&self) -> Option<Playback> {
        (!self.config.capture.is_empty()).then(|| *self.playback.lock().expect("no holder panics"))
    }

    /// Records how far the playback has got.
    pub(crate) fn set_playback(&self, playback: Playback) {
        *self.playback.lock().expect("no holder panics") = playback;
    }

    /// What a venue has done.
    pub(crate) fn counts(&self, venue: Venue) -> &VenueCounts {
        &self.counts[venue as usize]
    }

    // ---- clients ----

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
    /// `--rate-limits`, everything is admitted.
    pub(crate) fn admit(
        &self,
        venue: Venue,
        peer: IpAddr,
        limit: Limit,
        units: u64,
        now_ms: i64,
    ) -> Result<u64, i64> {
        if !self.config.rate_limits {
            return Ok(0);
        }
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
        if window.admit(units, now_ms) {
            Ok(window.used())
        } else {
            Err(window.wait_ms(now_ms))
        }
    }

    /// Starts delivering a channel to a client, beginning with what the venue begins with.
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
                // The real one sends the last trade first, too, as captures show.
                okx::Feed::Trades => Some(okx::encode::frame(
                    "trades",
                    instrument,
                    &okx::encode::aggregate(instrument, &[*last]),
                )),
                _ => None,
            },
        };
        if let Some(text) = first.filter(|_| self.config.capture.is_empty()) {
            client.send(Message::Text(text.into()));
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

    // ---- trades ----

    /// Puts generated trades of one symbol on its tape, and sends them. Only `history` is silent.
    pub(crate) fn publish(&self, index: usize, trades: &mut [Trade], history: bool, now_ms: i64) {
        let instrument = self.instrument(index);
        let mut core = self.core(index);
        for trade in trades.iter_mut() {
            trade.id += core.injected;
            trade.aggregate_id += core.injected;
            core.tape.insert(*trade);
        }
        self.count_trades(instrument.venue, trades.len());
        if !history {
            self.send_trades(index, &mut core, trades, now_ms);
        }
    }

    /// Puts one trade on the tape and sends it; its id, or `None` if that id is taken.
    pub(crate) fn inject(&self, index: usize, injection: Injection, now_ms: i64) -> Option<u64> {
        let mut core = self.core(index);
        let (last_id, last_aggregate) = core
            .tape
            .last()
            .map_or((0, 0), |last| (last.id, last.aggregate_id));
        let id = injection.id.unwrap_or(last_id + 1);
        let trade = Trade {
            id,
            aggregate_id: if id > last_id {
                last_aggregate + (id - last_id)
            } else {
                id
            },
            count: 1,
            event_us: injection.event_us,
            price: injection.price,
            quantity: injection.quantity,
            taker_buys: injection.taker_buys,
        };
        if !core.tape.insert(trade) {
            return None;
        }
        core.injected += id.saturating_sub(last_id);
        self.count_trades(self.instrument(index).venue, 1);
        self.send_trades(index, &mut core, &[trade], now_ms);
        Some(id)
    }

    /// Puts captured trades on the tape, and plays the frame that carried them verbatim.
    pub(crate) fn play(
        &self,
        index: usize,
        channel: Channel,
        trades: &[Trade],
        encode: &dyn Fn(u8) -> String,
        now_ms: i64,
    ) {
        let instrument = self.instrument(index);
        let mut core = self.core(index);
        let mut verdict = crate::faults::TradeVerdict::default();
        for trade in trades {
            if core.tape.insert(*trade) {
                self.count_trades(instrument.venue, 1);
            }
            verdict = self
                .faults
                .trade(instrument.venue, &self.symbols[index].key, now_ms);
        }
        // Frames cannot be taken apart: a fault on its last trade is one on the frame.
        if verdict.dropped {
            return;
        }
        let copies = if verdict.duplicated { 2 } else { 1 };
        if let Some(topic) = core.topics.iter().find(|topic| topic.channel == channel) {
            for _ in 0..copies {
                self.count_frames(instrument.venue, topic.send(verdict.malformed, encode));
            }
        }
    }

    /// Sends the trades that faults held back until now.
    pub(crate) fn release_delayed(&self, now_ms: i64) {
        loop {
            let due = {
                let mut delayed = self.delayed.lock().expect("no holder panics");
                match delayed.peek() {
                    Some(Reverse(next)) if next.due_ms <= now_ms => delayed.pop(),
                    _ => None,
                }
            };
            let Some(Reverse(due)) = due else { return };
            self.send_run(due.symbol, &mut self.core(due.symbol), &due.run, now_ms);
        }
    }

    fn send_trades(&self, index: usize, core: &mut Core, trades: &[Trade], now_ms: i64) {
        let symbol = &self.symbols[index];
        let venue = self.instrument(index).venue;
        // Faults count trades even while nobody listens, so that what a fault strikes does not
        // depend on when a client has connected. A delay is only kept for those who listen.
        let mut run = Run {
            trades: Vec::new(),
            malformed: false,
        };
        let mut run_delay_ms = 0;
        let mut run_copies = 1;
        let flush = |run: &mut Run, delay_ms: u64, copies: u32, core: &mut Core| {
            if run.trades.is_empty() {
                return;
            }
            for _ in 0..copies {
                if delay_ms == 0 {
                    self.send_run(index, core, run, now_ms);
                } else {
                    let copy = Run {
                        trades: run.trades.clone(),
                        malformed: run.malformed,
                    };
                    self.delay(index, copy, now_ms + delay_ms as i64);
                }
            }
            run.trades.clear();
        };
        for trade in trades {
            let verdict = self.faults.trade(venue, &symbol.key, now_ms);
            if verdict.dropped {
                flush(&mut run, run_delay_ms, run_copies, core);
                continue;
            }
            let copies = if verdict.duplicated { 2 } else { 1 };
            let joins = run.trades.last().is_some_and(|last| {
                last.aggregate_id == trade.aggregate_id
                    && run.malformed == verdict.malformed
                    && run_delay_ms == verdict.delay_ms
                    && run_copies == copies
            });
            if !joins {
                flush(&mut run, run_delay_ms, run_copies, core);
                run.malformed = verdict.malformed;
                run_delay_ms = verdict.delay_ms;
                run_copies = copies;
            }
            run.trades.push(*trade);
        }
        flush(&mut run, run_delay_ms, run_copies, core);
    }

    fn delay(&self, symbol: usize, run: Run, due_ms: i64) {
        let mut delayed = self.delayed.lock().expect("no holder panics");
        let order = self.next_connection.fetch_add(1, Ordering::Relaxed);
        delayed.push(Reverse(Delayed {
            due_ms,
            order,
            symbol,
            run,
        }));
    }

    fn send_run(&self, index: usize, core: &mut Core, run: &Run, now_ms: i64) {
        if self.symbols[index].subscribers.load(Ordering::Acquire) == 0 {
            return;
        }
        let instrument = self.instrument(index);
        // The clock may be behind the trades of one step; an event never precedes its trade.
        let now_us = (now_ms * 1000 + 999).max(run.trades.last().map_or(0, |trade| trade.event_us));
        let ticker = core
            .topics
            .iter()
            .any(|topic| topic.channel == Channel::Coinbase(coinbase::Feed::Ticker));
        let day_and_book = if ticker {
            core.day_now(now_ms).zip(core.book_now(instrument))
        } else {
            None
        };
        let mut frames = 0;
        for topic in &core.topics {
            match topic.channel {
                Channel::Binance(stream @ binance::Stream::Trade) => {
                    for trade in &run.trades {
                        frames += topic.send(run.malformed, |variant| {
                            binance_frame(instrument, stream, variant, |micros| {
                                binance::encode::trade(instrument, trade, now_us, micros)
                            })
                        });
                    }
                }
                Channel::Binance(stream @ binance::Stream::AggTrade) => {
                    frames += topic.send(run.malformed, |variant| {
                        binance_frame(instrument, stream, variant, |micros| {
                            binance::encode::aggregate(instrument, &run.trades, now_us, micros)
                        })
                    });
                }
                Channel::Coinbase(coinbase::Feed::Matches) => {
                    for trade in &run.trades {
                        frames += topic.send(run.malformed, |_| {
                            coinbase::encode::matched(instrument, trade, "match")
                        });
                    }
                }
                Channel::Coinbase(coinbase::Feed::Ticker) => {
                    let (Some((day, book)), Some(last)) = (&day_and_book, run.trades.last()) else {
                        continue;
                    };
                    frames += topic.send(run.malformed, |_| {
                        coinbase::encode::ticker(instrument, last, day, book)
                    });
                }
                Channel::Okx(okx::Feed::Trades) => {
                    frames += topic.send(run.malformed, |_| {
                        okx::encode::frame(
                            "trades",
                            instrument,
                            &okx::encode::aggregate(instrument, &run.trades),
                        )
                    });
                }
                Channel::Okx(okx::Feed::TradesAll) => {
                    for trade in &run.trades {
                        frames += topic.send(run.malformed, |_| {
                            okx::encode::frame(
                                "trades-all",
                                instrument,
                                &okx::encode::trade(instrument, trade),
                            )
                        });
                    }
                }
                _ => {}
            }
        }
        self.count_frames(instrument.venue, frames);
    }

    // ---- what comes by the clock ----

    /// Sends bars, books, tickers and heartbeats that are due. Called every 100 ms.
    pub(crate) fn step(&self, now_us: i64) {
        let now_ms = now_us.div_euclid(1000);
        for (index, symbol) in self.symbols.iter().enumerate() {
            if symbol.subscribers.load(Ordering::Acquire) > 0 {
                self.step_symbol(index, &symbol.key, now_us);
            }
        }
        self.step_whole_venue(now_us, now_ms);
    }

    fn step_symbol(&self, index: usize, key: &str, now_us: i64) {
        let now_ms = now_us.div_euclid(1000);
        let instrument = self.instrument(index);
        let mut core = self.core(index);
        let book = core.advance_book(instrument);
        let day = core.day_now(now_ms);
        let Core { tape, topics, .. } = &mut *core;
        let (Some(last), Some(book), Some(day)) = (tape.last().copied(), book, day) else {
            return;
        };
        let mut frames = 0;
        for topic in topics.iter_mut() {
            frames += match topic.channel {
                Channel::Binance(stream) => {
                    step_binance(instrument, stream, topic, tape, &last, &book, &day, now_us)
                }
                Channel::Coinbase(feed) => {
                    let lies = self.faults.heartbeat_lies(Venue::Coinbase, key, now_ms);
                    step_coinbase(instrument, feed, topic, &last, &book, &day, lies, now_us)
                }
                Channel::Okx(feed) => {
                    step_okx(instrument, feed, topic, tape, &last, &book, &day, now_ms)
                }
            };
        }
        self.count_frames(instrument.venue, frames);
    }

    fn step_whole_venue(&self, now_us: i64, now_ms: i64) {
        let mut topics = self.whole_venue.lock().expect("no holder panics");
        topics.retain(|topic| !topic.is_empty());
        for topic in topics
            .iter_mut()
            .filter(|topic| now_ms - topic.sent_ms >= 1_000)
        {
            let mut tickers = Vec::new();
            for (index, instrument) in self.listing.of(Venue::Binance) {
                let mut core = self.core(index);
                let traded = core
                    .tape
                    .last()
                    .is_some_and(|last| now_ms - last.event_ms() < 2_000);
                if let Some(day) = core.day_now(now_ms).filter(|_| traded) {
                    tickers.push((instrument, day));
                }
            }
            topic.sent_ms = now_ms - now_ms.rem_euclid(1_000);
            if tickers.is_empty() {
                continue;
            }
            let frames = topic.send(false, |variant| {
                let micros = variant & binance::MICROSECONDS != 0;
                let rows: Vec<String> = tickers
                    .iter()
                    .map(|(instrument, day)| {
                        binance::encode::mini_ticker(instrument, day, now_us, micros)
                    })
                    .collect();
                wrap(variant, "!miniTicker@arr", format!("[{}]", rows.join(",")))
            });
            self.count_frames(Venue::Binance, frames);
        }
    }

    /// Carries out a fault that strikes connections; returns those that end `delay_ms` later.
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
                    let micros = client.variant() & binance::MICROSECONDS != 0;
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

    fn count_trades(&self, venue: Venue, trades: usize) {
        self.counts(venue)
            .trades
            .fetch_add(trades as u64, Ordering::Relaxed);
        metrics::counter!("exchange_sim_trades_total", "exchange" => venue.name())
            .increment(trades as u64);
    }

    fn count_frames(&self, venue: Venue, frames: usize) {
        if frames > 0 {
            self.counts(venue)
                .frames
                .fetch_add(frames as u64, Ordering::Relaxed);
            metrics::counter!("exchange_sim_frames_total", "exchange" => venue.name())
                .increment(frames as u64);
        }
    }
}

impl Core {
    /// The book as of now. While someone follows the changes, it is the one of the last change.
    pub(crate) fn book_now(&mut self, instrument: &Instrument) -> Option<Book> {
        let followed = self.topics.iter().any(|topic| topic.book.is_some());
        if followed && self.book.is_some() {
            return self.book;
        }
        self.advance_book(instrument)
    }

    fn advance_book(&mut self, instrument: &Instrument) -> Option<Book> {
        let last = self.tape.last()?;
        let before = self.book;
        // Ids begin high and rise, across restarts as well: the trade's id is a part of them.
        let update_id = before.map_or(0, |book| book.update_id).max(last.id * 3);
        if before.is_none_or(|book| book.update_id < last.id * 3) {
            self.book = Some(Book::after(last, instrument.tick, update_id));
        }
        self.book
    }

    /// The time up to which the symbol has bars: now, or the last trade's time if that is more than
    /// a day away, as in a capture of another year.
    pub(crate) fn market_now_ms(&self, now_ms: i64) -> i64 {
        match self.tape.newest_ms() {
            Some(last_ms) if (now_ms - last_ms).abs() >= DAY_MS => last_ms,
            Some(last_ms) => now_ms.max(last_ms),
            None => now_ms,
        }
    }

    /// The last 24 hours, not older than a second.
    pub(crate) fn day_now(&mut self, now_ms: i64) -> Option<Bar> {
        if self
            .day
            .is_none_or(|(at_ms, _)| now_ms - at_ms >= 1_000 || now_ms < at_ms)
        {
            let summary = self
                .tape
                .summary_since(self.market_now_ms(now_ms) - DAY_MS)?;
            self.day = Some((now_ms, summary));
        }
        self.day.map(|(_, bar)| bar)
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

fn binance_frame(
    instrument: &Instrument,
    stream: binance::Stream,
    variant: u8,
    payload: impl Fn(bool) -> String,
) -> String {
    wrap_named(
        variant,
        || stream.name(&instrument.symbol),
        payload(variant & binance::MICROSECONDS != 0),
    )
}

fn wrap(variant: u8, stream: &str, payload: String) -> String {
    wrap_named(variant, || stream.to_owned(), payload)
}

fn wrap_named(variant: u8, stream: impl Fn() -> String, payload: String) -> String {
    if variant & binance::COMBINED == 0 {
        payload
    } else {
        binance::encode::combined(&stream(), &payload)
    }
}

#[expect(
    clippy::too_many_arguments,
    reason = "one symbol's whole state, seen by one channel"
)]
fn step_binance(
    instrument: &Instrument,
    stream: binance::Stream,
    topic: &mut Topic,
    tape: &Tape,
    last: &Trade,
    book: &Book,
    day: &Bar,
    now_us: i64,
) -> usize {
    use binance::{Stream, encode};
    let now_ms = now_us.div_euclid(1000);
    let send = |topic: &Topic, payload: &dyn Fn(bool) -> String| {
        topic.send(false, |variant| {
            binance_frame(instrument, stream, variant, payload)
        })
    };
    match stream {
        Stream::Trade | Stream::AggTrade | Stream::AllMiniTickers => 0,
        Stream::Kline { interval, east } => {
            let name = binance::INTERVALS[usize::from(interval)];
            let (interval, offset_ms) = binance::kline_interval(interval, east);
            let cadence_ms = if name == "1s" { 1_000 } else { 2_000 };
            let mut frames = 0;
            for (bar, closed) in topic.bars_due(tape, interval, offset_ms, cadence_ms, now_ms) {
                let kline = encode::Kline {
                    bar: &bar,
                    interval,
                    offset_ms,
                };
                frames += send(topic, &|micros| {
                    encode::kline(instrument, name, kline, closed, now_us, micros)
                });
            }
            frames
        }
        Stream::BookTicker => {
            if topic.book.replace(*book) == Some(*book) {
                return 0;
            }
            send(topic, &|_| encode::book_ticker(instrument, book))
        }
        Stream::Depth { fast } => {
            if !is_due(topic, if fast { 100 } else { 1_000 }, now_ms) {
                return 0;
            }
            match topic.book.replace(*book) {
                Some(before) if before != *book => send(topic, &|micros| {
                    encode::depth_update(instrument, &before, book, now_us, micros)
                }),
                _ => 0,
            }
        }
        Stream::PartialDepth { levels, fast } => {
            if !is_due(topic, if fast { 100 } else { 1_000 }, now_ms)
                || topic.book.replace(*book) == Some(*book)
            {
                return 0;
            }
            send(topic, &|_| {
                encode::depth(instrument, book, i64::from(levels))
            })
        }
        Stream::MiniTicker | Stream::Ticker | Stream::AvgPrice => {
            if !is_due(topic, 1_000, now_ms) || topic.sent_trade_id == last.id {
                return 0;
            }
            topic.sent_trade_id = last.id;
            match stream {
                Stream::MiniTicker => send(topic, &|micros| {
                    encode::mini_ticker(instrument, day, now_us, micros)
                }),
                Stream::Ticker => {
                    let fields = encode::day_fields(instrument, day, last, book, now_us);
                    send(topic, &|micros| {
                        encode::ticker(instrument, &fields, now_us, micros)
                    })
                }
                _ => match tape.summary_since(now_ms - 300_000) {
                    Some(window) => send(topic, &|micros| {
                        encode::average_price(instrument, &window, now_us, micros)
                    }),
                    None => 0,
                },
            }
        }
    }
}

#[expect(
    clippy::too_many_arguments,
    reason = "one symbol's whole state, seen by one channel"
)]
fn step_coinbase(
    instrument: &Instrument,
    feed: coinbase::Feed,
    topic: &mut Topic,
    last: &Trade,
    book: &Book,
    day: &Bar,
    heartbeat_lies: bool,
    now_us: i64,
) -> usize {
    use coinbase::{Feed, encode};
    let now_ms = now_us.div_euclid(1000);
    match feed {
        Feed::Matches | Feed::Ticker => 0,
        Feed::Heartbeat => {
            if !is_due(topic, 1_000, now_ms) {
                return 0;
            }
            let last_trade_id = if heartbeat_lies { 0 } else { last.id };
            topic.send(false, |_| {
                encode::heartbeat(instrument, encode::sequence(last.id), last_trade_id, now_us)
            })
        }
        Feed::TickerBatch => {
            if !is_due(topic, 5_000, now_ms) || topic.sent_trade_id == last.id {
                return 0;
            }
            topic.sent_trade_id = last.id;
            topic.send(false, |_| encode::ticker(instrument, last, day, book))
        }
        Feed::Level2 | Feed::Level2Batch => match topic.book.replace(*book) {
            Some(before) if before != *book => topic.send(false, |_| {
                encode::level2_update(instrument, &before, book, now_us)
            }),
            _ => 0,
        },
    }
}

#[expect(
    clippy::too_many_arguments,
    reason = "one symbol's whole state, seen by one channel"
)]
fn step_okx(
    instrument: &Instrument,
    feed: okx::Feed,
    topic: &mut Topic,
    tape: &Tape,
    last: &Trade,
    book: &Book,
    day: &Bar,
    now_ms: i64,
) -> usize {
    use okx::{Feed, encode};
    let frame = |data: &str| encode::frame(&feed.name(), instrument, data);
    match feed {
        Feed::Trades | Feed::TradesAll => 0,
        Feed::Tickers => {
            if topic.sent_trade_id == last.id {
                return 0;
            }
            topic.sent_trade_id = last.id;
            topic.send(false, |_| {
                frame(&encode::ticker(instrument, last, day, book, now_ms))
            })
        }
        Feed::Books => match topic.book.replace(*book) {
            Some(before) if before != *book => topic.send(false, |_| {
                encode::books_frame(instrument, Some(&before), book, now_ms)
            }),
            _ => 0,
        },
        Feed::Books5 | Feed::Best => {
            if topic.book.replace(*book) == Some(*book) {
                return 0;
            }
            let depth = if feed == Feed::Best { 1 } else { 5 };
            topic.send(false, |_| {
                frame(&encode::book(instrument, book, depth, now_ms))
            })
        }
        Feed::Candle(bar) => {
            let (interval, offset_ms) = okx::bar_interval(bar);
            let mut frames = 0;
            for (bar, closed) in topic.bars_due(tape, interval, offset_ms, 1_000, now_ms) {
                frames += topic.send(false, |_| frame(&encode::candle(instrument, &bar, closed)));
            }
            frames
        }
    }
}

/// Whether a period has passed since the last frame; if so, it starts anew.
fn is_due(topic: &mut Topic, period_ms: i64, now_ms: i64) -> bool {
    if now_ms - topic.sent_ms < period_ms {
        return false;
    }
    topic.sent_ms = now_ms - now_ms.rem_euclid(period_ms);
    true
}
