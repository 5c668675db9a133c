//! What has to hold after a run.

use std::collections::BTreeMap;

use market_core::aggregate::FILL_MAX;
use market_core::{Bar, Fold, Quality, Timeframe, TimeframeSet, Trade};

use crate::START_MS;
use crate::world::Run;

pub(crate) fn judge(run: &Run<'_>, timeframes: &TimeframeSet) {
    let (Some(&first), Some(&last)) = (run.folded.first(), run.folded.last()) else {
        return;
    };
    let trades = &run.tape.trades;
    let is_lost = |id: u64| {
        run.reported_lost
            .iter()
            .any(|&(from, to)| (from..=to).contains(&id))
    };
    // What REST has comes in the end. Of a trade that neither stream nor REST brings, only the ids
    // around it can tell.
    // Nobody asks for what came before the first trade, nor for ids that mean nothing any more.
    let joined = match (run.joined_anew, run.tape.restart) {
        (Some(joined), _) => joined,
        (None, Some(_)) => last,
        (None, None) => first,
    };
    // A checkpoint that is too old is no beginning: REST is not asked for what was missing in it, nor
    // for what came after it, up to the next trade. Both are reported as lost.
    let is_left = |index: usize| run.left.is_some_and(|left| index < left);
    let is_skipped = |index: usize| {
        run.left
            .is_some_and(|left| left <= index && run.folded.range(left..=index).next().is_none())
    };
    for (index, trade) in trades.iter().enumerate().take(last).skip(joined) {
        let id = trade.first_id;
        let is_to_be_had = !run.adversary.lost.contains(&index);
        assert!(
            run.folded.contains(&index)
                || run.beyond_horizon.contains(&index)
                || ((!is_to_be_had || is_left(index)) && is_lost(id))
                || (is_skipped(index) && run.is_end_lost),
            "trade {index} with id {id} is in no bar and was not reported"
        );
    }
    let mut expected: BTreeMap<(Timeframe, i64), Fold> = BTreeMap::new();
    for trade in run.folded.iter().map(|&index| &trades[index]) {
        for &timeframe in timeframes.as_slice() {
            let fold = Fold::of(trade);
            expected
                .entry((timeframe, timeframe.start_of(trade.event_ms)))
                .and_modify(|sum| sum.merge(&fold))
                .or_insert(fold);
        }
    }
    // What was folded before a crash and is nowhere to be had after it stays as published.
    let is_forgotten = |bar: &Bar| {
        let forgotten = run.folded_ever.difference(&run.folded);
        forgotten
            .map(|&index| &trades[index])
            .any(|trade| (bar.start_ms..bar.end_ms).contains(&trade.event_ms))
    };
    // A restart keeps no closed bar for a late trade that nobody missed: the wide ones take it. Of one
    // that was missed, the bar has said so, or that it is not whole.
    // After a step of the venue's clock, a gap's times do not tell which bars to keep.
    let is_blurred = run.is_restarted && run.tape.step.is_some();
    // New ids that were never told apart from those before say nothing of what is missing.
    let is_unnoticed = run.tape.restart.is_some() && run.joined_anew.is_none();
    let is_final = |bar: &Bar| {
        let holds = |trade: &Trade| (bar.start_ms..bar.end_ms).contains(&trade.event_ms);
        let says_so = matches!(bar.quality, Quality::Gap | Quality::Partial);
        let is_unmissed = || run.late.iter().any(|&index| holds(&trades[index]));
        let is_too_late = run.too_late.iter().any(|&index| holds(&trades[index]));
        is_blurred || is_too_late || (run.is_restarted && (says_so || is_unmissed()))
    };
    for (key, fold) in &expected {
        // A first trade that comes after others, days old, is in the wide bars only. So is one beyond
        // the late horizon whose time no gap told.
        let (timeframe, start_ms) = *key;
        let is_narrow = timeframes.as_slice().last() != Some(&timeframe);
        let is_too_late = run
            .too_late
            .iter()
            .any(|&index| (start_ms..timeframe.end_of(start_ms)).contains(&trades[index].event_ms));
        let is_old = start_ms < START_MS - FILL_MAX * 1_000 || (is_narrow && is_too_late);
        if is_old && !run.effective.contains_key(key) {
            continue;
        }
        let bar = run
            .effective
            .get(key)
            .unwrap_or_else(|| panic!("no bar for {key:?}"));
        assert!(
            bar.fold.as_ref() == Some(fold) || is_forgotten(bar) || is_final(bar),
            "{key:?}: {bar:?} is not {fold:?}"
        );
    }
    // Where the clock has stepped, the trades around do not tell when a missing one happened.
    let is_missing = |&index: &usize| !run.folded.contains(&index);
    let is_around_step = |index: usize| {
        run.tape.step.is_some_and(|step| {
            let between = if index < step {
                index..step
            } else {
                step..index + 1
            };
            between.into_iter().all(|index| is_missing(&index))
        })
    };
    for (key, bar) in &run.effective {
        let is_expected = expected.contains_key(key);
        assert!(
            bar.fold.is_some() == is_expected || is_forgotten(bar) || is_final(bar),
            "{key:?} holds trades that it should not"
        );
        // A bar that lacks a trade says so.
        let is_lacking = |&index: &usize| {
            (bar.start_ms..bar.end_ms).contains(&trades[index].event_ms)
                && is_missing(&index)
                && !run.beyond_horizon.contains(&index)
                && !is_around_step(index)
        };
        let lacking = (first..last).find(is_lacking);
        let says_so = matches!(bar.quality, Quality::Gap | Quality::Partial);
        assert!(
            lacking.is_none() || is_forgotten(bar) || says_so || is_blurred || is_unnoticed,
            "{key:?} lacks trade {lacking:?} and says {:?}",
            bar.quality
        );
    }
}
