//! The clock of the simulator: generates the market, plays captures, and fires faults.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use crate::capture::Record;
use crate::client::{Client, End};
use crate::clock;
use crate::exchange::{Exchange, Playback};
use crate::market::SymbolMarket;
use crate::trade::Trade;

/// Milliseconds between the steps of bars, books and tickers.
const STEP_MS: i64 = 100;
/// Seconds that the market may be behind before it skips: a suspended machine is not flooded.
const BEHIND_S_MAX: i64 = 300;

/// Fills the tapes with the trades before now, and returns the markets that continue from there.
pub(crate) fn generate_history(exchange: &Exchange) -> Vec<Market> {
    let now_us = clock::now_us();
    let minutes = history_minutes(exchange);
    // Whole minutes, so that the first bar is complete.
    let from_s = (now_us.div_euclid(60_000_000) - minutes) * 60;
    let mut markets = Vec::new();
    for (index, instrument) in exchange.listing.all().iter().enumerate() {
        let generator = SymbolMarket::new(exchange.config.seed, instrument, exchange.config.rate);
        let mut market = Market {
            index,
            generator,
            next_second: from_s,
            pending: Vec::new(),
            taken: 0,
        };
        market.advance(exchange, now_us, true);
        markets.push(market);
    }
    markets
}

/// How many minutes there is time for.
fn history_minutes(exchange: &Exchange) -> i64 {
    let config = &exchange.config;
    let activity: f64 = exchange
        .listing
        .all()
        .iter()
        .map(|instrument| instrument.activity)
        .sum();
    let trades_a_minute = (activity * config.rate * 60.0).max(1.0);
    // A float becomes the nearest possible whole number.
    let affordable = (config.history_trades_max as f64 / trades_a_minute) as i64;
    let minutes = i64::from(config.history_minutes).min(affordable.max(1));
    if minutes < i64::from(config.history_minutes) {
        tracing::info!(
            minutes,
            "history is shorter because of --history-trades-max"
        );
    }
    minutes
}

/// The generated market of one symbol, and the time up to which it has been published.
#[derive(Debug)]
pub(crate) struct Market {
    index: usize,
    generator: SymbolMarket,
    next_second: i64,
    pending: Vec<Trade>,
    taken: usize,
}

impl Market {
    /// Publishes the trades of whole milliseconds before `now_us`, so that an aggregate is never
    /// sent in parts.
    fn advance(&mut self, exchange: &Exchange, now_us: i64, history: bool) {
        let until_us = now_us.div_euclid(1000) * 1000;
        loop {
            let due = self.pending[self.taken..].partition_point(|trade| trade.event_us < until_us);
            if due > 0 {
                let trades = &mut self.pending[self.taken..self.taken + due];
                exchange.publish(self.index, trades, history, now_us.div_euclid(1000));
                self.taken += due;
            }
            if self.taken < self.pending.len() || self.next_second * 1_000_000 >= until_us {
                return;
            }
            self.pending.clear();
            self.taken = 0;
            self.generator.second(self.next_second, &mut self.pending);
            self.next_second += 1;
        }
    }
}

/// Runs until the exchange stops.
pub(crate) async fn run(exchange: Arc<Exchange>, mut markets: Vec<Market>, records: Vec<Record>) {
    let mut tick = tokio::time::interval(Duration::from_millis(exchange.config.tick_ms));
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let mut next_step_ms = 0;
    let mut ending = JoinSet::new();
    let mut player = Player {
        records,
        next: 0,
        started_us: None,
    };
    loop {
        tokio::select! {
            () = exchange.stop.cancelled() => return,
            Some(_) = ending.join_next(), if !ending.is_empty() => continue,
            _ = tick.tick() => {}
        }
        let now_us = clock::now_us();
        let now_ms = now_us.div_euclid(1000);
        for fault in exchange.faults.due(now_ms) {
            tracing::info!(fault = ?fault, "fault strikes");
            for client in exchange.strike(&fault, now_ms) {
                ending.spawn(end_later(client, fault.delay_ms));
            }
        }
        exchange.apply_delistings(now_ms);
        exchange.release_delayed(now_ms);
        for market in &mut markets {
            if market.next_second < now_us / 1_000_000 - BEHIND_S_MAX {
                tracing::warn!(
                    behind_s = now_us / 1_000_000 - market.next_second,
                    "the market skips the time that it has missed"
                );
                market.next_second = now_us / 1_000_000;
            }
            market.advance(&exchange, now_us, false);
        }
        player.advance(&exchange, now_us);
        if now_ms >= next_step_ms {
            exchange.step(now_us);
            next_step_ms = now_ms - now_ms.rem_euclid(STEP_MS) + STEP_MS;
        }
        let spent_us = clock::now_us() - now_us;
        metrics::histogram!("exchange_sim_tick_seconds").record(spent_us as f64 / 1e6);
    }
}

async fn end_later(client: Arc<Client>, delay_ms: u64) {
    tokio::time::sleep(Duration::from_millis(delay_ms)).await;
    client.end(End::Close {
        code: 1001,
        reason: "service upgrade".to_owned(),
    });
}

/// Plays captured records with their own spacing.
struct Player {
    records: Vec<Record>,
    next: usize,
    started_us: Option<i64>,
}

impl Player {
    fn advance(&mut self, exchange: &Exchange, now_us: i64) {
        let Some(first) = self.records.first() else {
            return;
        };
        if self.next >= self.records.len() {
            return;
        }
        if self.started_us.is_none() {
            if !exchange.first_subscription.is_cancelled() {
                return;
            }
            self.started_us = Some(now_us + exchange.config.capture_lead_ms as i64 * 1000);
        }
        let Some(started_us) = self.started_us else {
            return;
        };
        let first_us = first.received_us;
        let before = self.next;
        while let Some(record) = self.records.get(self.next) {
            let offset_us = ((record.received_us - first_us) as f64 / exchange.config.speed) as i64;
            if started_us + offset_us > now_us {
                break;
            }
            let shift_us = exchange.config.rebase_time.then_some(started_us - first_us);
            record.play(exchange, shift_us, now_us.div_euclid(1000));
            self.next += 1;
        }
        if self.next != before {
            let done = self.next == self.records.len();
            exchange.set_playback(Playback {
                frames: self.records.len(),
                played: self.next,
                done,
            });
            if done {
                tracing::info!(frames = self.records.len(), "captures played");
            }
        }
    }
}
