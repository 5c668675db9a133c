//! A trade's path from the tape to the clients, through the faults.

use std::sync::atomic::Ordering;

use crate::delay_queue::{CapturedFrame, Payload, Run};
use crate::exchange::Exchange;
use crate::symbol::Core;
use crate::trade::Trade;
use crate::venues::binance::frame::{COMBINED, binance_frame};
use crate::venues::{Channel, binance, coinbase, okx};
use crate::verdict::TradeVerdict;

/// A trade to be injected.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Injection {
    /// Its id; `None`: the id after the last one.
    pub(crate) id: Option<u64>,
    /// Whether the venue's ids start again with it.
    pub(crate) restarts_ids: bool,
    /// Whether it is sent without being on the tape.
    pub(crate) aside: bool,
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
    /// Puts generated trades of one symbol on its tape, and sends them. Only `history` is silent.
    pub(crate) fn publish(&self, index: usize, trades: &mut [Trade], history: bool, now_ms: i64) {
        let instrument = self.instrument(index);
        let mut core = self.core(index);
        if let Some(first) = trades.first()
            && let Some(next_id) = core.restarted_at.take()
        {
            core.id_shift = next_id.wrapping_sub(first.id);
            core.aggregate_shift = next_id.wrapping_sub(first.aggregate_id);
        }
        for trade in trades.iter_mut() {
            trade.id = trade.id.wrapping_add(core.id_shift);
            trade.aggregate_id = trade.aggregate_id.wrapping_add(core.aggregate_shift);
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
        if injection.restarts_ids {
            core.tape.restart_ids();
        }
        let (last_id, last_aggregate) = core
            .tape
            .last()
            .map_or((0, 0), |last| (last.id, last.aggregate_id));
        let id = injection.id.unwrap_or(last_id + 1);
        let trade = Trade {
            id,
            aggregate_id: if id > last_id {
                last_aggregate.saturating_add(id - last_id)
            } else {
                id
            },
            count: 1,
            event_us: injection.event_us,
            price: injection.price,
            quantity: injection.quantity,
            taker_buys: injection.taker_buys,
        };
        if !injection.aside {
            if !core.tape.place(trade) {
                return None;
            }
            if injection.restarts_ids {
                core.restarted_at = Some(id + 1);
            } else if id > last_id {
                match &mut core.restarted_at {
                    Some(next_id) => *next_id = id + 1,
                    None => {
                        core.id_shift = core.id_shift.wrapping_add(id - last_id);
                        core.aggregate_shift = core.aggregate_shift.wrapping_add(id - last_id);
                    }
                }
            }
            self.count_trades(self.instrument(index).venue, 1);
        }
        self.send_trades(index, &mut core, &[trade], now_ms);
        Some(id)
    }

    /// Puts captured trades on the tape, and plays the frame that carried them.
    pub(crate) fn play(
        &self,
        index: usize,
        trades: &[Trade],
        mut frame: CapturedFrame,
        now_ms: i64,
    ) {
        let venue = self.instrument(index).venue;
        let mut core = self.core(index);
        // A frame is not split: the verdict on its last trade applies to the frame.
        let mut verdict = TradeVerdict::default();
        for trade in trades {
            if core.tape.insert(*trade) {
                self.count_trades(venue, 1);
            }
            verdict = self.faults.trade(venue, &self.symbols[index].key, now_ms);
        }
        core.heartbeats_captured |= frame.channel == Channel::Coinbase(coinbase::Feed::Heartbeat);
        if verdict.dropped {
            return;
        }
        frame.malformed = verdict.malformed;
        for _ in 0..verdict.copies() {
            if verdict.delay_ms == 0 {
                self.send_captured(index, &core, &frame);
            } else {
                self.delay(
                    index,
                    Payload::Frame(frame.clone()),
                    now_ms + verdict.delay_ms as i64,
                );
            }
        }
    }

    /// Sends the data that is now due after a fault held it back.
    pub(crate) fn release_delayed(&self, now_ms: i64) {
        loop {
            let due = self
                .delayed
                .lock()
                .expect("no holder panics")
                .pop_due(now_ms);
            let Some(due) = due else { return };
            let mut core = self.core(due.symbol);
            match due.payload {
                Payload::Run(run) => self.send_run(due.symbol, &mut core, &run, now_ms),
                Payload::Frame(frame) => self.send_captured(due.symbol, &core, &frame),
            }
        }
    }

    fn send_captured(&self, index: usize, core: &Core, frame: &CapturedFrame) {
        let Some(topic) = core
            .topics
            .iter()
            .find(|topic| topic.channel == frame.channel)
        else {
            return;
        };
        let frames = topic.send(frame.malformed, |variant| {
            let is_combined = variant & COMBINED != 0;
            if is_combined {
                frame.combined.clone()
            } else {
                frame.single.clone()
            }
        });
        self.count_frames(self.instrument(index).venue, frames);
    }

    fn send_trades(&self, index: usize, core: &mut Core, trades: &[Trade], now_ms: i64) {
        let symbol = &self.symbols[index];
        let venue = self.instrument(index).venue;
        // Faults count trades even if no client is connected, so that a fault's effect does not
        // depend on when a client connects. A delayed trade is kept only for connected clients.
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
                    self.delay(index, Payload::Run(copy), now_ms + delay_ms as i64);
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
            let copies = verdict.copies();
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

    /// Holds a payload back until it is due.
    pub(crate) fn delay(&self, symbol: usize, payload: Payload, due_ms: i64) {
        self.delayed
            .lock()
            .expect("no holder panics")
            .push(symbol, payload, due_ms);
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
}
