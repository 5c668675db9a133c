//! A capture's way through decoder, clock and pipelines.

use std::collections::{HashMap, VecDeque};

use market_core::{
    BackfillOutcome, Offered, Origin, Output, Pipeline, PipelineConfig, Symbol, Trade, UnixMicros,
    UnixMillis, VenueClock,
};

use super::ReplayError;
use super::capture::{Line, parse_line};
use super::output::BarWriter;
use crate::exchange::{Event, Exchange};
use crate::instrument::InstrumentSpec;

/// How often pipelines are ticked, in the capture's time.
const TICK_MS: i64 = 50;

/// What a replay met.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "counts, named by what they count")]
pub struct Summary {
    pub frames: u64,
    pub trades: u64,
    pub duplicates: u64,
    pub late: u64,
    pub beyond_horizon: u64,
    pub not_for_bars: u64,
    pub other_instruments: u64,
    pub unknown: u64,
    pub malformed: u64,
    pub unreadable_lines: u64,
    pub gaps: u64,
    pub bars: u64,
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} frames, {} trades ({} duplicates, {} late, {} beyond the horizon, {} not for bars, {} of other instruments), {} gaps, {} bars; {} unknown and {} malformed frames, {} unreadable lines",
            self.frames,
            self.trades,
            self.duplicates,
            self.late,
            self.beyond_horizon,
            self.not_for_bars,
            self.other_instruments,
            self.gaps,
            self.bars,
            self.unknown,
            self.malformed,
            self.unreadable_lines,
        )
    }
}

/// See the module.
pub struct Player<'w> {
    exchange: &'static dyn Exchange,
    config: PipelineConfig,
    writer: BarWriter<'w>,
    /// What was asked for; all that appears if empty.
    wanted: HashMap<String, Symbol>,
    is_open: bool,
    clock: VenueClock,
    index: HashMap<String, usize>,
    lanes: Vec<Lane>,
    now_ms: Option<UnixMillis>,
    ticked_ms: UnixMillis,
    summary: Summary,
    decoded: Vec<(usize, Trade)>,
    outputs: Vec<Output>,
}

struct Lane {
    symbol: Symbol,
    pipeline: Pipeline,
    /// Requests that nobody will answer: (end of the hold, id).
    unanswered: VecDeque<(UnixMillis, u64)>,
    seq: u64,
}

impl<'w> Player<'w> {
    /// A player that has played nothing.
    #[must_use]
    pub fn new(
        exchange: &'static dyn Exchange,
        instruments: &[InstrumentSpec],
        config: PipelineConfig,
        writer: BarWriter<'w>,
    ) -> Self {
        let wanted = instruments.iter().map(|spec| {
            let native = exchange.native_name(spec.symbol.base(), spec.symbol.quote());
            (native, spec.symbol.clone())
        });
        Self {
            exchange,
            config,
            writer,
            wanted: wanted.collect(),
            is_open: instruments.is_empty(),
            clock: VenueClock::default(),
            index: HashMap::new(),
            lanes: Vec::new(),
            now_ms: None,
            ticked_ms: 0,
            summary: Summary::default(),
            decoded: Vec::new(),
            outputs: Vec::new(),
        }
    }

    /// Plays a line.
    ///
    /// # Errors
    /// `Write`, or `NoSymbol` for REST rows without an instrument.
    pub fn line(&mut self, line: &str) -> Result<(), ReplayError> {
        match parse_line(line) {
            Ok(Line::Frame { received_us, frame }) => self.frame(frame, received_us),
            Ok(Line::Row(row)) => self.row(row),
            Ok(Line::Csv(line)) => self.csv(line),
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

    /// What was missed between two connections is not known.
    fn reconnected(&mut self) {
        if let Some(now) = self.now_ms {
            let venue_now = self.clock.venue_now(now);
            for lane in &mut self.lanes {
                lane.pipeline.feed_down(venue_now);
                lane.pipeline.feed_up(venue_now);
            }
        }
    }

    fn frame(&mut self, frame: &str, received_us: UnixMicros) -> Result<(), ReplayError> {
        self.summary.frames += 1;
        let received_ms = received_us.div_euclid(1_000);
        let mut decoded = std::mem::take(&mut self.decoded);
        let exchange = self.exchange;
        let result = exchange.decode(frame, received_us, &mut |event| match event {
            Event::Trade {
                native,
                trade,
                stamped_ms,
            } => {
                if let Some(stamped_ms) = stamped_ms {
                    self.clock.observe(stamped_ms, received_ms);
                }
                match self.lane(native, received_ms) {
                    Some(lane) => decoded.push((lane, trade)),
                    None => self.summary.other_instruments += 1,
                }
            }
            Event::Time { stamped_ms } => self.clock.observe(stamped_ms, received_ms),
            Event::NotForBars => self.summary.not_for_bars += 1,
            Event::Unknown => self.summary.unknown += 1,
            _ => {}
        });
        if result.is_err() {
            self.summary.malformed += 1;
        }
        // A recorder's clock may be set back: ours never is.
        let now = self.now_ms.map_or(received_ms, |now| now.max(received_ms));
        self.advance(now)?;
        for (lane, trade) in decoded.drain(..) {
            self.offer(lane, &trade)?;
        }
        self.decoded = decoded;
        Ok(())
    }

    /// A REST row: the clock is the trade's own time.
    fn row(&mut self, row: &str) -> Result<(), ReplayError> {
        let mut trades = Vec::new();
        let mut parsed = self
            .exchange
            .parse_trades_page(row.as_bytes(), 0, &mut trades);
        if parsed.is_err() && row.starts_with('{') {
            // No page but one row of it.
            trades.clear();
            let page = format!("[{row}]");
            parsed = self
                .exchange
                .parse_trades_page(page.as_bytes(), 0, &mut trades);
        }
        if parsed.is_err() {
            self.summary.malformed += 1;
            return Ok(());
        }
        trades.sort_by_key(|trade| trade.first_id);
        for mut trade in trades {
            trade.received_us = trade.event_ms * 1_000;
            self.past_trade(&trade)?;
        }
        Ok(())
    }

    /// A line of a file of trades: the clock is the trade's own time.
    fn csv(&mut self, line: &str) -> Result<(), ReplayError> {
        match self.exchange.parse_dump_line(line) {
            Ok(trade) => self.past_trade(&trade),
            Err(_) => {
                self.summary.malformed += 1;
                Ok(())
            }
        }
    }

    /// A trade that names neither its symbol nor its receipt.
    fn past_trade(&mut self, trade: &Trade) -> Result<(), ReplayError> {
        let Some(native) = self.wanted.keys().next().cloned() else {
            return Err(ReplayError::NoSymbol(self.exchange.name().to_owned()));
        };
        self.summary.frames += 1;
        let now = self
            .now_ms
            .map_or(trade.event_ms, |now| now.max(trade.event_ms));
        if let Some(lane) = self.lane(&native, now) {
            self.advance(now)?;
            self.offer(lane, trade)?;
        }
        Ok(())
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
        pipeline.feed_up(self.clock.venue_now(received_ms));
        self.lanes.push(Lane {
            symbol,
            pipeline,
            unanswered: VecDeque::new(),
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
            Offered::Duplicate | Offered::Overlap => self.summary.duplicates += 1,
            Offered::Late { .. } => self.summary.late += 1,
            Offered::BeyondHorizon { .. } => self.summary.beyond_horizon += 1,
            Offered::InBar | Offered::BeforeJoin | Offered::Future => {}
        }
        self.emit(lane, venue_now)
    }

    /// Moves the virtual clock, ticking on the way as the live clock would.
    fn advance(&mut self, now: UnixMillis) -> Result<(), ReplayError> {
        if self.now_ms.is_none() {
            self.ticked_ms = now;
        }
        self.now_ms = Some(now);
        // Long silences need no tick each 50 ms: what is due is due in order all the same.
        while now - self.ticked_ms >= TICK_MS {
            let step = ((now - self.ticked_ms) / 1_000).clamp(TICK_MS, 1_000);
            self.ticked_ms += step;
            self.tick(self.clock.venue_now(self.ticked_ms))?;
        }
        Ok(())
    }

    fn tick(&mut self, venue_now: UnixMillis) -> Result<(), ReplayError> {
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
            lane.pipeline.tick(venue_now, &mut self.outputs);
            self.emit(index, venue_now)?;
        }
        Ok(())
    }

    fn emit(&mut self, lane: usize, venue_now: UnixMillis) -> Result<(), ReplayError> {
        let lane = &mut self.lanes[lane];
        let mut outputs = std::mem::take(&mut self.outputs);
        for output in outputs.drain(..) {
            match output {
                Output::Bar(bar) => {
                    lane.seq += 1;
                    let published_us = self.now_ms.unwrap_or(venue_now) * 1_000;
                    let exchange = self.exchange.name();
                    if self
                        .writer
                        .write(exchange, &lane.symbol, &bar, lane.seq, published_us)?
                    {
                        self.summary.bars += 1;
                    }
                }
                Output::Backfill(request) => {
                    // The missing trades may still come, only late: they are waited for.
                    let due_ms = venue_now + self.config.gap_hold_ms;
                    lane.unanswered.push_back((due_ms, request.id));
                }
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

    /// Ends the replay: bars that ended within the capture close, the others are written as they
    /// stand, forming.
    ///
    /// # Errors
    /// `Write`.
    pub fn finish(mut self) -> Result<Summary, ReplayError> {
        let Some(now) = self.now_ms else {
            self.writer.flush()?;
            return Ok(self.summary);
        };
        let venue_now = self.clock.venue_now(now);
        let hold_ms = self.config.gap_hold_ms + self.config.gap_grace_ms + TICK_MS;
        let has_gaps = self
            .lanes
            .iter()
            .any(|lane| lane.pipeline.gaps().next().is_some());
        if has_gaps {
            // Two ticks: one to ask for what is missing, one to give it up.
            self.tick(venue_now + self.config.gap_grace_ms + 1)?;
            self.tick(venue_now + hold_ms)?;
        }
        // A bar closes once the clock has passed its end by more than the window.
        self.tick(venue_now + self.config.reorder_window_ms + 1)?;
        let mut bars = Vec::new();
        for lane in &mut self.lanes {
            lane.pipeline.forming(&mut bars);
            for bar in bars.drain(..) {
                lane.seq += 1;
                let exchange = self.exchange.name();
                if self
                    .writer
                    .write(exchange, &lane.symbol, &bar, lane.seq, now * 1_000)?
                {
                    self.summary.bars += 1;
                }
            }
        }
        self.writer.flush()?;
        Ok(self.summary)
    }
}
