//! Tests that memory is released after an outage.

use super::*;
use crate::trade::{AggressorSide, Trade};
use crate::value::price::{Price, Quantity};

const START_MS: UnixMillis = 1_723_464_000_000;
const HOUR_MS: i64 = 3_600_000;

fn trade(id: u64, event_ms: UnixMillis) -> Trade {
    Trade {
        first_id: id,
        last_id: id,
        event_ms,
        price: Price::parse(&format!("{}", 100 + id % 7)).expect("price"),
        quantity: Quantity::parse("1").expect("quantity"),
        aggressor_side: AggressorSide::Buy,
        received_us: 0,
    }
}

/// What is allocated for closed bars, gaps and missing ids.
fn room(pipeline: &Pipeline) -> [usize; 3] {
    [
        pipeline.aggregator.room(),
        pipeline.gaps.room(),
        pipeline.sequence.room(),
    ]
}

/// For three hours, one trade a second happens and one in `kept` arrives. Then REST, which was
/// unavailable, brings the others, and an hour passes. Returns the highest and the last room.
fn trouble(kept: u64) -> ([usize; 3], [usize; 3]) {
    let mut pipeline = Pipeline::new(&PipelineConfig::default());
    pipeline.feed_up(START_MS - HOUR_MS);
    let mut out = Vec::new();
    let mut most = [0; 3];
    let mut look = |pipeline: &Pipeline| {
        for (most, now) in most.iter_mut().zip(room(pipeline)) {
            *most = now.max(*most);
        }
    };
    let mut end = |pipeline: &mut Pipeline, out: &mut Vec<Output>, outcome, now| {
        let mut requests = Vec::new();
        for output in out.drain(..) {
            if let Output::Backfill(request) = output {
                requests.push(request.id);
            }
        }
        for id in requests {
            pipeline.backfill_ended(id, outcome, now, out);
        }
        look(pipeline);
    };
    let lacking = 1..=3 * HOUR_MS as u64 / 1_000;
    let at = |id: u64| START_MS + id as i64 * 1_000;
    for id in lacking.clone() {
        let now = at(id);
        if id % kept == 0 || id == 1 {
            pipeline.offer(&trade(id, now), Origin::Live, now, &mut out);
        }
        pipeline.tick(now, now, &mut out);
        end(&mut pipeline, &mut out, BackfillOutcome::Failed, now);
    }
    let mut now = at(*lacking.end());
    for id in lacking.clone() {
        pipeline.offer(&trade(id, at(id)), Origin::Backfill, now, &mut out);
        if id % 1_000 == 0 {
            now += 500;
            pipeline.tick(now, now, &mut out);
            end(&mut pipeline, &mut out, BackfillOutcome::Failed, now);
        }
    }
    for id in lacking.end() + 1..lacking.end() + 3_600 {
        let now = at(id) + 60_000;
        pipeline.offer(&trade(id, now), Origin::Live, now, &mut out);
        pipeline.tick(now, now, &mut out);
        end(&mut pipeline, &mut out, BackfillOutcome::Done, now);
    }
    (most, room(&pipeline))
}

#[test]
fn room_is_given_back_after_hours_without_most_trades() {
    let ([bars, gaps, ids], [bars_after, gaps_after, ids_after]) = trouble(3);
    assert!(bars > 10_000, "bars are kept for what may come: {bars}");
    assert!(
        gaps >= 512 && ids > 3_000,
        "{gaps} gaps, {ids} spans of ids"
    );
    // The late horizon, with room to grow.
    assert!(bars_after < 2_500, "room for {bars_after} bars of {bars}");
    assert!(gaps_after <= 64, "room for {gaps_after} gaps of {gaps}");
    assert!(ids_after <= 64, "room for {ids_after} spans of {ids}");
}
