//! The state from which a feed continues after a restart.

use std::collections::HashMap;
use std::sync::OnceLock;

use arbitrary::{Result, Unstructured};
use market_core::{
    AggressorSide, BackfillOutcome, Bar, BarState, Offered, Origin, Output, Pipeline,
    PipelineConfig, Price, Quantity, Timeframe, Trade,
};

use crate::Form;
use crate::json::vary;

const NOW_MS: i64 = 1_800_000_000_000;
const STEPS: i64 = 12;
/// Most closed bars of one tick: the longest fill of each timeframe, and all held bars.
const BARS_MAX: usize = 3 * 40_000 + 1_000;
const WORDS: &[&str] = &[
    "1s",
    "1m",
    "1M",
    "1w",
    "5m",
    "complete",
    "gap",
    "filled",
    "lost",
    "Lost",
    "Requested",
    "FeedDown",
    "Waiting",
    "due_ms",
    "ids",
    "first",
    "last",
    "source",
    "joined_ms",
    "before",
    "open",
    "closed",
    "rev",
];

const TIMEFRAMES: &str = "1s,1m,1M";
/// A restart may have others.
const CHANGED: &str = "5s,1m,1h";

fn config(timeframes: &str) -> PipelineConfig {
    PipelineConfig {
        timeframes: timeframes.parse().expect("timeframes"),
        ..PipelineConfig::default()
    }
}

/// A checkpoint is refused, or the pipeline continues from it: without a panic, with bounded work,
/// with possible bars, and with its own checkpoint that can be read.
pub fn checkpoint(data: &[u8]) {
    match Form::of(data) {
        None => {}
        Some(Form::Raw(bytes)) => check_both(bytes),
        Some(Form::Made(mut u)) => {
            let _ = made(&mut u);
        }
    }
}

fn made(u: &mut Unstructured<'_>) -> Result<()> {
    let template = u.choose(templates())?;
    check_both(vary(u, template, WORDS)?.as_bytes());
    Ok(())
}

/// Of pipelines at several moments: with bars closed and forming, with a gap open, held and lost,
/// and in an outage.
fn templates() -> &'static [String] {
    static TEMPLATES: OnceLock<Vec<String>> = OnceLock::new();
    TEMPLATES.get_or_init(|| {
        let mut pipeline = Pipeline::new(&config(TIMEFRAMES));
        let (mut out, mut templates) = (Vec::new(), Vec::new());
        let mut now_ms = NOW_MS - 400_000;
        let mut take = |pipeline: &Pipeline| {
            let checkpoint = pipeline.checkpoint().expect("it is short").encode("");
            templates.push(String::from_utf8(checkpoint).expect("JSON"));
        };
        take(&pipeline);
        pipeline.feed_up(now_ms);
        for (id, pause_ms) in [
            (10, 100),
            (11, 100),
            (12, 3_000),
            (15, 400),
            (20, 30_000),
            (21, 9),
        ] {
            now_ms += pause_ms;
            pipeline.offer(&trade(id, now_ms), Origin::Live, now_ms, &mut out);
            pipeline.tick(now_ms, now_ms, &mut out);
            take(&pipeline);
        }
        now_ms += 320_000;
        pipeline.tick(now_ms, now_ms, &mut out);
        take(&pipeline);
        pipeline.feed_down(now_ms);
        pipeline.tick(now_ms, now_ms, &mut out);
        take(&pipeline);
        templates
    })
}

fn trade(id: u64, event_ms: i64) -> Trade {
    Trade {
        first_id: id,
        last_id: id,
        event_ms,
        price: Price::parse("61837.63").expect("a price"),
        quantity: Quantity::parse("0.02").expect("a quantity"),
        aggressor_side: AggressorSide::Buy,
        received_us: 1_000 * event_ms,
    }
}

fn check_both(bytes: &[u8]) {
    for timeframes in [TIMEFRAMES, CHANGED] {
        check(bytes, &config(timeframes));
    }
}

fn check(bytes: &[u8], config: &PipelineConfig) {
    let Ok(mut pipeline) = Pipeline::restore(config, "", bytes) else {
        return;
    };
    let mut published = Published::default();
    let mut next_id = pipeline.next_id().unwrap_or(1);
    let mut offered = 0;
    for step in 0..STEPS {
        let now_ms = NOW_MS + 700 * step + if step > 8 { 3_600_000 } else { 0 };
        let mut out = Vec::new();
        match step {
            0 => pipeline.feed_up(now_ms),
            7 => pipeline.feed_down(now_ms),
            8 => pipeline.feed_up(now_ms),
            9 => pipeline.refetch(0, now_ms, now_ms),
            _ => {}
        }
        // The next one, one after a hole, and one that may be in the hole.
        for id in [
            next_id,
            next_id.saturating_add(3),
            next_id.saturating_add(1),
        ] {
            // No venue's decoder gives other trades.
            if i64::try_from(id).is_ok() {
                pipeline.offer(&trade(id, now_ms), Origin::Live, now_ms, &mut out);
                offered += 1;
            }
        }
        next_id = next_id.saturating_add(4);
        pipeline.tick(now_ms, now_ms, &mut out);
        let requests: Vec<_> = out
            .iter()
            .filter_map(|output| match output {
                Output::Backfill(request) => Some(*request),
                _ => None,
            })
            .collect();
        for (index, request) in requests.into_iter().enumerate() {
            let filled = trade(request.first_id.min(i64::MAX as u64), now_ms);
            let fate = pipeline.offer(&filled, Origin::Backfill, now_ms, &mut out);
            offered += 1;
            let outcome = match (fate, index % 3) {
                (Offered::Future, _) | (_, 0) => BackfillOutcome::Done,
                (_, 1) => BackfillOutcome::Failed,
                _ => BackfillOutcome::Gone,
            };
            pipeline.backfill_ended(request.id, outcome, now_ms, &mut out);
        }
        pipeline.tick(now_ms, now_ms, &mut out);
        let mut bars = Vec::new();
        pipeline.forming(&mut bars);
        published.check(&out, &bars);
    }
    assert_eq!(pipeline.counts().offered(), offered);
    // `None` if it would be too long: then the previous one stays.
    let Some(own) = pipeline.checkpoint() else {
        return;
    };
    let own = own.encode("");
    let again = Pipeline::restore(config, "", &own).expect("its own checkpoint can be read");
    assert_eq!(again.next_id(), pipeline.next_id());
}

/// What came out so far.
#[derive(Default)]
struct Published {
    closed_ms: HashMap<Timeframe, i64>,
}

impl Published {
    fn check(&mut self, out: &[Output], forming: &[Bar]) {
        let closed = out.iter().filter_map(|output| match output {
            Output::Bar(bar) => Some(bar),
            _ => None,
        });
        assert!(out.len() <= BARS_MAX, "{} at once", out.len());
        for bar in closed.chain(forming) {
            assert_eq!(bar.timeframe.start_of(bar.start_ms), bar.start_ms);
            assert_eq!(bar.timeframe.end_of(bar.start_ms), bar.end_ms);
            if let Some([open, high, low, close]) = bar.ohlc() {
                assert!(low <= open && low <= close && open <= high && close <= high);
            }
            if bar.state == BarState::Closed && bar.rev == 0 {
                let until = self.closed_ms.insert(bar.timeframe, bar.end_ms);
                assert!(
                    until.is_none_or(|until| until <= bar.start_ms),
                    "closed twice"
                );
            }
        }
    }
}
