//! The path of a capture through decoder, clock and pipelines.

mod printing;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};

use market_core::{
    BackfillOutcome, Offered, Origin, Output, Pipeline, PipelineConfig, Symbol, Trade, UnixMicros,
    UnixMillis, VenueClock,
};

use super::capture::{Line, parse_line};
use super::config::ReplayConfig;
use super::error::ReplayError;
use super::final_bars::FinalBars;
use super::missing::{GapsFile, Held};
use super::output::BarSink;
use super::source::Place;
use super::span::{Span, is_plausible};
use super::summary::Summary;
use crate::exchange::{DecodeError, Event, Exchange, TradesPage, iso_time};

/// How often pipelines are ticked, in the capture's time.
const TICK_MS: i64 = 50;
/// How long before `--from` a feed counts as joined, so that bars that start then are complete.
const JOINED_BEFORE_MS: i64 = 3_600_000;
/// The most names of other instruments that an error lists.
const OTHERS_MAX: usize = 10;

/// See the module.
pub(super) struct Player<'w> {
    exchange: &'static dyn Exchange,
    config: PipelineConfig,
    sink: &'w mut dyn BarSink,
    gaps_file: Option<GapsFile<'w>>,
    span: Span,
    final_bars: Option<FinalBars>,
    /// The requested instruments; if empty, all that appear.
    wanted: BTreeMap<String, Symbol>,
    is_open: bool,
    clock: VenueClock,
    /// Symbols that have traded since they were subscribed: if a venue begins with the last trade,
    /// however old, this trade is not a sample of its clock.
    begun: HashSet<String>,
    index: HashMap<String, usize>,
    lanes: Vec<Lane>,
    now_ms: Option<UnixMillis>,
    ticked_ms: UnixMillis,
    /// The latest event time of a trade in a bar.
    newest_ms: Option<UnixMillis>,
    /// How often forming bars are given out, if they are, and when they last were.
    forming_interval_ms: Option<i64>,
    formed_ms: UnixMillis,
    /// Instruments in the capture that were not requested.
    others: BTreeSet<String>,
    summary: Summary,
    decoded: Vec<(usize, Trade)>,
    outputs: Vec<Output>,
}

struct Lane {
    symbol: Symbol,
    pipeline: Pipeline,
    /// Requests without an answer: (end of the hold, id).
    unanswered: VecDeque<(UnixMillis, u64)>,
    held: Held,
    seq: u64,
}

impl<'w> Player<'w> {
    /// A player that has played nothing.
    #[must_use]
    pub(super) fn new(
        exchange: &'static dyn Exchange,
        config: &ReplayConfig,
        sink: &'w mut dyn BarSink,
        gaps_file: Option<GapsFile<'w>>,
    ) -> Self {
        let wanted = config.instruments.iter().map(|spec| {
            let native = exchange.native_name(spec.symbol.base(), spec.symbol.quote());
            (native, spec.symbol.clone())
        });
        Self {
            exchange,
            config: config.pipeline(),
            sink,
            gaps_file,
            span: config.span(),
            final_bars: config.final_only.then(FinalBars::default),
            wanted: wanted.collect(),
            is_open: config.instruments.is_empty(),
            clock: VenueClock::default(),
            begun: HashSet::new(),
            index: HashMap::new(),
            lanes: Vec::new(),
            now_ms: None,
            ticked_ms: 0,
            newest_ms: None,
            forming_interval_ms: None,
            formed_ms: UnixMillis::MIN,
            others: BTreeSet::new(),
            summary: Summary::default(),
            decoded: Vec::new(),
            outputs: Vec::new(),
        }
    }

    /// Forming bars are given out, too: once in so many milliseconds of the capture's time.
    pub(super) fn form_every(&mut self, interval_ms: Option<u32>) {
        self.forming_interval_ms = interval_ms.map(i64::from);
    }

    /// The time of a line, if it has one: its receive time, or the time of its first trade.
    pub(super) fn time_of(&self, line: &str) -> Option<UnixMillis> {
        let at_ms = match parse_line(line).ok()? {
            Line::Frame { received_us, .. } => received_us.div_euclid(1_000),
            Line::Row(row) => {
                let trades = self.trades_of(row).ok()?.trades;
                trades.iter().map(|trade| trade.event_ms).min()?
            }
            Line::Csv(line) => self.exchange.parse_dump_line(line).ok()?.event_ms,
            Line::Connected | Line::Skipped => return None,
        };
        is_plausible(at_ms).then_some(at_ms)
    }

    /// Whose frames are played.
    pub(super) fn exchange_name(&self) -> &'static str {
        self.exchange.name()
    }

    /// The counts so far.
    pub(super) fn summary(&self) -> &Summary {
        &self.summary
    }

    /// Plays a line.
    ///
    /// # Errors
    /// `Write`, `NoSymbol` for rows without one instrument, or `OutOfOrder`.
    pub(super) fn line(&mut self, line: &str, place: Place<'_>) -> Result<(), ReplayError> {
        match parse_line(line) {
            Ok(Line::Frame { received_us, frame }) => self.frame(frame, received_us, place),
            Ok(Line::Row(row)) => self.row(row, place),
            Ok(Line::Csv(line)) => self.csv(line, place),
            Ok(Line::Connected) => {
                self.reconnected();
                Ok(())
            }
            Ok(Line::Skipped) => Ok(()),
            Err(_) => {
                self.summary.unreadable_lines += 1;
                Ok(())
            }
        }
    }

    /// Trades between two connections are unknown.
    fn reconnected(&mut self) {
        self.begun.clear();
        if let Some(now) = self.now_ms {
            let venue_now = self.clock.venue_now(now);
            for lane in &mut self.lanes {
                lane.pipeline.feed_down(venue_now);
                lane.pipeline.feed_up(venue_now);
            }
        }
    }

    fn frame(
        &mut self,
        frame: &str,
        received_us: UnixMicros,
        place: Place<'_>,
    ) -> Result<(), ReplayError> {
        let received_ms = received_us.div_euclid(1_000);
        if !is_plausible(received_ms) {
            self.summary.unreadable_lines += 1;
            return Ok(());
        }
        self.check_order(received_ms, place)?;
        self.summary.frames += 1;
        let mut decoded = std::mem::take(&mut self.decoded);
        let exchange = self.exchange;
        let result = exchange.decode(frame, received_us, &mut |event| match event {
            Event::Trade {
                native,
                trade,
                stamped_ms,
            } => {
                let is_old = exchange.begins_with_last_trade()
                    && !self.begun.contains(native)
                    && self.begun.insert(native.to_owned());
                if let Some(stamped_ms) = stamped_ms.filter(|_| !is_old) {
                    self.clock.observe(stamped_ms, received_ms);
                }
                match self.lane(native, received_ms) {
                    Some(lane) => decoded.push((lane, trade)),
                    None => self.other(native),
                }
            }
            Event::Time { stamped_ms } => self.clock.observe(stamped_ms, received_ms),
            Event::SubscribedSymbol { native } => {
                self.begun.remove(native);
            }
            Event::NotForBars => self.summary.not_for_bars += 1,
            Event::Unknown => self.summary.unknown += 1,
            _ => {}
        });
        if result.is_err() {
            self.summary.malformed += 1;
        }
        // A recorder's clock may be set back: ours never goes back.
        let now = self.now_ms.map_or(received_ms, |now| now.max(received_ms));
        self.advance(now)?;
        for (lane, trade) in decoded.drain(..) {
            self.offer(lane, &trade)?;
        }
        self.decoded = decoded;
        Ok(())
    }

    /// A REST row: the clock is the trade's own time.
    fn row(&mut self, row: &str, place: Place<'_>) -> Result<(), ReplayError> {
        let Ok(page) = self.trades_of(row) else {
            self.summary.malformed += 1;
            return Ok(());
        };
        self.summary.malformed += page.unreadable as u64;
        let mut trades = page.trades;
        trades.sort_by_key(|trade| trade.first_id);
        for mut trade in trades {
            trade.received_us = trade.event_ms.saturating_mul(1_000);
            self.past_trade(&trade, place)?;
        }
        Ok(())
    }

    /// The trades of a page, or of one row of it.
    fn trades_of(&self, row: &str) -> Result<TradesPage, DecodeError> {
        let parsed = self.exchange.parse_trades_page(row.as_bytes(), 0);
        if parsed.is_err() && row.starts_with('{') {
            let page = format!("[{row}]");
            return self.exchange.parse_trades_page(page.as_bytes(), 0);
        }
        parsed
    }

    /// A line of a file of trades: the clock is the trade's own time.
    fn csv(&mut self, line: &str, place: Place<'_>) -> Result<(), ReplayError> {
        match self.exchange.parse_dump_line(line) {
            Ok(trade) => self.past_trade(&trade, place),
            Err(_) => {
                self.summary.malformed += 1;
                Ok(())
            }
        }
    }

    /// Plays a trade of a symbol. The clock is the trade's own time.
    ///
    /// # Errors
    /// `Write` or `OutOfOrder`.
    pub(super) fn trade(
        &mut self,
        symbol: &Symbol,
        trade: &Trade,
        place: Place<'_>,
    ) -> Result<(), ReplayError> {
        let native = self.exchange.native_name(symbol.base(), symbol.quote());
        self.past_trade_of(&native, trade, place)
    }

    /// A trade without a symbol or a receive time.
    fn past_trade(&mut self, trade: &Trade, place: Place<'_>) -> Result<(), ReplayError> {
        let mut natives = self.wanted.keys();
        let (Some(native), None) = (natives.next().cloned(), natives.next()) else {
            return Err(ReplayError::NoSymbol {
                place: place.to_string(),
                exchange: self.exchange.name().to_owned(),
                instruments: self.wanted.len(),
            });
        };
        self.past_trade_of(&native, trade, place)
    }

    fn past_trade_of(
        &mut self,
        native: &str,
        trade: &Trade,
        place: Place<'_>,
    ) -> Result<(), ReplayError> {
        if !is_plausible(trade.event_ms) {
            self.summary.malformed += 1;
            return Ok(());
        }
        self.check_order(trade.event_ms, place)?;
        self.summary.frames += 1;
        let now = self
            .now_ms
            .map_or(trade.event_ms, |now| now.max(trade.event_ms));
        if let Some(lane) = self.lane(native, now) {
            self.advance(now)?;
            self.offer(lane, trade)?;
        }
        Ok(())
    }

    /// A trade that is too late for its pipeline would be missing in its bars: that would not be a
    /// replay.
    fn check_order(&self, at_ms: UnixMillis, place: Place<'_>) -> Result<(), ReplayError> {
        let allowed_ms = self.config.reorder_window_ms + self.config.late_horizon_ms;
        match self.now_ms {
            Some(newest_ms) if newest_ms - at_ms > allowed_ms => Err(ReplayError::OutOfOrder {
                place: place.to_string(),
                at: iso_time::format_seconds(at_ms.div_euclid(1_000)),
                newest: iso_time::format_seconds(newest_ms.div_euclid(1_000)),
                allowed_s: allowed_ms / 1_000,
            }),
            _ => Ok(()),
        }
    }

    fn other(&mut self, native: &str) {
        self.summary.other_instruments += 1;
        if self.others.len() < OTHERS_MAX && !self.others.contains(native) {
            self.others.insert(native.to_owned());
        }
    }

    /// The lane of an instrument, made on its first trade.
    fn lane(&mut self, native: &str, received_ms: UnixMillis) -> Option<usize> {
        if let Some(&lane) = self.index.get(native) {
            return Some(lane);
        }
        let symbol = if self.is_open {
            self.exchange.pair_of(native)?.parse().ok()?
        } else {
            self.wanted.get(native)?.clone()
        };
        let mut pipeline = Pipeline::new(&self.config);
        let venue_now = self.clock.venue_now(received_ms);
        // `--from` says that the capture has all trades since then.
        let joined_ms = match self.span.from_ms {
            Some(from_ms) if from_ms <= venue_now => from_ms - JOINED_BEFORE_MS,
            _ => venue_now,
        };
        pipeline.feed_up(joined_ms);
        self.lanes.push(Lane {
            symbol,
            pipeline,
            unanswered: VecDeque::new(),
            held: Held::default(),
            seq: 0,
        });
        self.index.insert(native.to_owned(), self.lanes.len() - 1);
        Some(self.lanes.len() - 1)
    }

    fn offer(&mut self, lane: usize, trade: &Trade) -> Result<(), ReplayError> {
        self.summary.trades += 1;
        let now = self.now_ms.unwrap_or(trade.event_ms);
        let venue_now = self.clock.venue_now(now);
        let offered =
            self.lanes[lane]
                .pipeline
                .offer(trade, Origin::Live, venue_now, &mut self.outputs);
        match offered {
            Offered::Duplicate | Offered::Conflict | Offered::Overlap => {
                self.summary.duplicates += 1
            }
            Offered::Late { .. } => self.summary.late += 1,
            Offered::BeyondHorizon { .. } => self.summary.beyond_horizon += 1,
            Offered::Future => self.summary.future += 1,
            Offered::BeforeJoin => self.summary.before_join += 1,
            Offered::InBar | Offered::Implausible => {}
        }
        if !matches!(offered, Offered::BeforeJoin) {
            self.lanes[lane].held.add(trade);
        }
        if matches!(offered, Offered::InBar | Offered::Late { .. }) {
            self.newest_ms = self.newest_ms.max(Some(trade.event_ms));
        }
        self.emit(lane, venue_now)
    }

    /// Moves the virtual clock, with ticks in between like the live clock.
    fn advance(&mut self, now: UnixMillis) -> Result<(), ReplayError> {
        if self.now_ms.is_none() {
            self.ticked_ms = now;
        }
        self.now_ms = Some(now);
        // Long silences do not need a tick every 50 ms: due events still come in order. A step
        // grows with the silence, so that months between two files take no longer than hours.
        while now - self.ticked_ms >= TICK_MS {
            let step = ((now - self.ticked_ms) / 1_000).max(TICK_MS);
            self.ticked_ms += step;
            // What was captured has no clock that is steadier.
            let venue_now = self.clock.venue_now(self.ticked_ms);
            self.tick(venue_now, venue_now)?;
        }
        Ok(())
    }

    /// `steady_ms` measures the age of gaps, `venue_now` what time it is for bars.
    fn tick(&mut self, venue_now: UnixMillis, steady_ms: UnixMillis) -> Result<(), ReplayError> {
        for index in 0..self.lanes.len() {
            let lane = &mut self.lanes[index];
            while let Some(&(due_ms, id)) = lane.unanswered.front()
                && due_ms <= venue_now
            {
                lane.unanswered.pop_front();
                lane.pipeline.backfill_ended(
                    id,
                    BackfillOutcome::Done,
                    venue_now,
                    &mut self.outputs,
                );
            }
            lane.pipeline.tick(venue_now, steady_ms, &mut self.outputs);
            self.emit(index, venue_now)?;
        }
        self.write_forming(venue_now)?;
        self.write_final(venue_now)
    }

    fn emit(&mut self, lane: usize, venue_now: UnixMillis) -> Result<(), ReplayError> {
        let mut outputs = std::mem::take(&mut self.outputs);
        for output in outputs.drain(..) {
            match output {
                Output::Bar(bar) => self.write(lane, bar)?,
                Output::Backfill(request) => {
                    // The missing trades may still come late: the request waits for as long as a
                    // bar can be revised. Bars do not wait: they close, and say `gap`.
                    let due_ms = venue_now + self.config.late_horizon_ms;
                    let unanswered = &mut self.lanes[lane].unanswered;
                    unanswered.push_back((due_ms, request.id));
                }
                Output::IdsRestarted { .. } => {}
                Output::Gap(event) => {
                    if event.state == market_core::GapEventState::Open {
                        self.summary.gaps += 1;
                    }
                }
            }
        }
        self.outputs = outputs;
        Ok(())
    }
}
