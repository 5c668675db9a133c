//! Periodic messages: bars, books, tickers and heartbeats.

use std::sync::atomic::Ordering;

use crate::bar::Bar;
use crate::book::Book;
use crate::exchange::Exchange;
use crate::instrument::{Instrument, Venue};
use crate::symbol::Core;
use crate::tape::Tape;
use crate::topic::Topic;
use crate::trade::Trade;
use crate::venues::binance::frame::{MICROSECONDS, binance_frame, wrap};
use crate::venues::{Channel, binance, coinbase, okx};

impl Exchange {
    /// Sends bars, books, tickers and heartbeats that are due. Called every 100 ms.
    pub(crate) fn step(&self, now_us: i64) {
        let now_ms = now_us.div_euclid(1000);
        for (index, symbol) in self.symbols.iter().enumerate() {
            let listed = !self.listing.is_delisted(index);
            if listed && symbol.subscribers.load(Ordering::Acquire) > 0 {
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
        let beats = !core.heartbeats_captured;
        let Core { tape, topics, .. } = &mut *core;
        let (Some(last), Some(book), Some(day)) = (tape.last().copied(), book, day) else {
            return;
        };
        let mut frames = 0;
        for topic in topics.iter_mut() {
            let is_heartbeat = topic.channel == Channel::Coinbase(coinbase::Feed::Heartbeat);
            // A capture has its own frames; heartbeats are added if it has none.
            let is_invented = self.config.capture.is_empty() || (is_heartbeat && beats);
            if !is_invented {
                continue;
            }
            if let Some(sent) = self.step_book(index, key, topic, &book, now_us) {
                frames += sent;
                continue;
            }
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
                let micros = variant & MICROSECONDS != 0;
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
        Stream::Trade | Stream::AggTrade | Stream::AllMiniTickers | Stream::Depth { .. } => 0,
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
        Stream::PartialDepth { levels, fast } => {
            if !topic.is_due(if fast { 100 } else { 1_000 }, now_ms)
                || topic.book.replace(*book) == Some(*book)
            {
                return 0;
            }
            send(topic, &|_| {
                encode::depth(instrument, book, i64::from(levels))
            })
        }
        Stream::MiniTicker | Stream::Ticker | Stream::AvgPrice => {
            if !topic.is_due(1_000, now_ms) || topic.sent_trade_id == last.id {
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
            if !topic.is_due(1_000, now_ms) {
                return 0;
            }
            let last_trade_id = if heartbeat_lies { 0 } else { last.id };
            topic.send(false, |_| {
                encode::heartbeat(instrument, encode::sequence(last.id), last_trade_id, now_us)
            })
        }
        Feed::TickerBatch => {
            if !topic.is_due(5_000, now_ms) || topic.sent_trade_id == last.id {
                return 0;
            }
            topic.sent_trade_id = last.id;
            topic.send(false, |_| encode::ticker(instrument, last, day, book))
        }
        // See `book_changes`.
        Feed::Level2 | Feed::Level2Batch => 0,
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
        // See `book_changes`.
        Feed::Books => 0,
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
