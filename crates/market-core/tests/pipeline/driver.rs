//! A pipeline under test with its clock.

use std::collections::BTreeMap;

use market_core::pipeline::BackfillOutcome;
use market_core::{
    AggressorSide, Bar, GapEventState, Offered, Origin, Output, Pipeline, PipelineConfig, Price,
    Quality, Quantity, Timeframe, Trade,
};

/// A Monday, 12:00:00 UTC.
pub(crate) const NOON: i64 = 1_723_464_000_000;

pub(crate) fn trade(id: u64, event_ms: i64, price_cents: u64) -> Trade {
    Trade {
        first_id: id,
        last_id: id,
        event_ms,
        price: Price::parse(&format!("{}.{:02}", price_cents / 100, price_cents % 100))
            .expect("price"),
        quantity: Quantity::parse(&format!("0.{}", id % 9 + 1)).expect("quantity"),
        aggressor_side: if id.is_multiple_of(3) {
            AggressorSide::Buy
        } else {
            AggressorSide::Sell
        },
        received_us: 0,
    }
}

/// A pipeline with its clock and everything that has come out of it.
pub(crate) struct Driver {
    pub(crate) pipeline: Pipeline,
    pub(crate) now: i64,
    pub(crate) out: Vec<Output>,
}

impl Driver {
    pub(crate) fn new() -> Self {
        Self::with(&PipelineConfig::default())
    }

    pub(crate) fn of(timeframes: &str) -> Self {
        Self::with(&PipelineConfig {
            timeframes: timeframes.parse().expect("set"),
            ..PipelineConfig::default()
        })
    }

    pub(crate) fn with(config: &PipelineConfig) -> Self {
        let mut pipeline = Pipeline::new(config);
        pipeline.feed_up(NOON - 3_600_000);
        Self {
            pipeline,
            now: NOON,
            out: Vec::new(),
        }
    }

    pub(crate) fn offer(&mut self, trade: &Trade) -> Offered {
        // No trade comes long before it has happened.
        let now = self.now.max(trade.event_ms - 5_000);
        self.pipeline.offer(trade, Origin::Live, now, &mut self.out)
    }

    pub(crate) fn at(&mut self, now: i64) -> &mut Self {
        self.now = now;
        self.pipeline.tick(now, now, &mut self.out);
        self
    }

    pub(crate) fn forming(&mut self) -> Vec<Bar> {
        let mut bars = Vec::new();
        self.pipeline.forming(&mut bars);
        bars
    }

    pub(crate) fn bars(&self, timeframe: Timeframe) -> Vec<Bar> {
        let bars = self.out.iter().filter_map(|output| match output {
            Output::Bar(bar) if bar.timeframe == timeframe => Some(*bar),
            _ => None,
        });
        bars.collect()
    }

    pub(crate) fn requests(&self) -> Vec<market_core::BackfillRequest> {
        let requests = self.out.iter().filter_map(|output| match output {
            Output::Backfill(request) => Some(*request),
            _ => None,
        });
        requests.collect()
    }

    pub(crate) fn gap_states(&self) -> Vec<GapEventState> {
        let events = self.out.iter().filter_map(|output| match output {
            Output::Gap(event) => Some(event.state),
            _ => None,
        });
        events.collect()
    }

    /// The newest revision of every closed bar.
    pub(crate) fn effective(&self) -> BTreeMap<(Timeframe, i64), Bar> {
        let mut bars = BTreeMap::new();
        for output in &self.out {
            if let Output::Bar(bar) = output {
                let before = bars.insert((bar.timeframe, bar.start_ms), *bar);
                assert_eq!(
                    before.map_or(0, |before: Bar| before.rev + 1),
                    bar.rev,
                    "revisions rise by one"
                );
            }
        }
        bars
    }

    pub(crate) fn fetched(&mut self, trade: &Trade) -> Offered {
        self.pipeline
            .offer(trade, Origin::Backfill, self.now, &mut self.out)
    }

    pub(crate) fn ended(&mut self, id: u64, outcome: BackfillOutcome) {
        self.pipeline
            .backfill_ended(id, outcome, self.now, &mut self.out);
    }

    /// Answers the newest request with these trades, all that the venue has.
    pub(crate) fn answer(&mut self, trades: &[Trade]) {
        let request = *self.requests().last().expect("asked");
        for trade in trades {
            self.fetched(trade);
        }
        self.ended(request.id, BackfillOutcome::Done);
    }

    /// Ticks each 50 ms up to `until`.
    pub(crate) fn run_to(&mut self, until: i64) -> &mut Self {
        while self.now < until {
            self.at((self.now + 50).min(until));
        }
        self
    }

    /// The quality of the newest revision of a bar, and the number of its trades.
    pub(crate) fn bar(&self, timeframe: Timeframe, start_ms: i64) -> Option<(Quality, u64)> {
        let newest = self.out.iter().rev().find_map(|output| match output {
            Output::Bar(bar) if bar.timeframe == timeframe && bar.start_ms == start_ms => Some(bar),
            _ => None,
        });
        newest.map(|bar| (bar.quality, bar.fold.map_or(0, |fold| fold.count)))
    }
}
