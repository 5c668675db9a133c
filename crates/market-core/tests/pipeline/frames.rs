//! Restarts with other timeframes.

use std::collections::{BTreeMap, BTreeSet};

use market_core::pipeline::BackfillOutcome;
use market_core::{Bar, Output, Pipeline, PipelineConfig, Quality, Timeframe, TimeframeSet, Trade};
use proptest::prelude::*;

use crate::driver::{Driver, NOON, trade};
use crate::order::{oracle, tape};

type Bars = BTreeMap<(Timeframe, i64), Bar>;

fn config(timeframes: &TimeframeSet) -> PipelineConfig {
    PipelineConfig {
        timeframes: timeframes.clone(),
        ..PipelineConfig::default()
    }
}

fn set(text: &str) -> TimeframeSet {
    text.parse().expect("set")
}

/// A feed with REST that always answers, from the first trade to the last, with restarts.
struct Feed<'a> {
    driver: Driver,
    trades: &'a [Trade],
    answered: usize,
    /// Of the runs before, and the newest revision of each bar.
    bars: Bars,
}

impl<'a> Feed<'a> {
    fn new(timeframes: &TimeframeSet, trades: &'a [Trade]) -> Self {
        Self {
            driver: Driver::with(&config(timeframes)),
            trades,
            answered: 0,
            bars: Bars::new(),
        }
    }

    /// Time goes on to `now`, and what is asked for is answered at once.
    fn at(&mut self, now: i64) {
        self.driver.at(now);
        while let Some(request) = self.driver.requests().get(self.answered).copied() {
            self.answered += 1;
            let ids = request.first_id..=request.last_id.unwrap_or(u64::MAX);
            for trade in self.trades {
                if ids.contains(&trade.first_id) && trade.event_ms <= now {
                    self.driver.fetched(trade);
                }
            }
            self.driver.ended(request.id, BackfillOutcome::Done);
        }
    }

    fn offer(&mut self, at: i64, trade: &Trade) {
        self.at(at);
        self.driver.offer(trade);
    }

    /// Killed, and started again from a checkpoint at `now`.
    fn restart(&mut self, timeframes: &TimeframeSet, checkpoint: &[u8], now: i64) {
        self.keep_bars();
        let is_kept = |timeframe: &Timeframe| timeframes.as_slice().contains(timeframe);
        self.bars.retain(|(timeframe, _), _| is_kept(timeframe));
        let pipeline = Pipeline::restore(&config(timeframes), "", checkpoint).expect("its own");
        self.driver = Driver {
            pipeline,
            now,
            out: Vec::new(),
        };
        self.answered = 0;
        self.driver.pipeline.feed_up(now);
        // Bars wait for the answer, as they do in the worker.
        self.at(now + 1);
        self.at(now + 500);
    }

    fn keep_bars(&mut self) {
        let mut revs = BTreeMap::new();
        for output in &self.driver.out {
            if let Output::Bar(bar) = output {
                let key = (bar.timeframe, bar.start_ms);
                let before = revs.insert(key, bar.rev);
                assert!(before.is_none_or(|before| before < bar.rev), "{bar:?}");
                self.bars.insert(key, *bar);
            }
        }
        self.driver.out.clear();
        self.answered = 0;
    }

    fn checkpoint(&self) -> Vec<u8> {
        let checkpoint = self.driver.pipeline.checkpoint();
        checkpoint.expect("small").encode("")
    }
}

/// Trades one each 700 ms, offered as they happen.
fn steady(count: u64) -> Vec<Trade> {
    let trade = |id: u64| trade(id, NOON + id as i64 * 700, 10_000 + id * 37 % 500);
    (1..=count).map(trade).collect()
}

/// `old` until NOON + 100.5 s, `new` from then on to NOON + 350 s.
fn changed(old: &str, new: &str) -> (Bars, Vec<Trade>) {
    let trades = steady(500);
    let mut feed = Feed::new(&set(old), &trades);
    let mut checkpoint = None;
    for trade in &trades {
        if trade.event_ms > NOON + 100_500 && checkpoint.is_none() {
            checkpoint = Some(feed.checkpoint());
            let state = checkpoint.as_deref().expect("just taken");
            feed.restart(&set(new), state, trade.event_ms - 1);
        }
        feed.offer(trade.event_ms, trade);
    }
    feed.at(NOON + 390_000);
    feed.keep_bars();
    (feed.bars, trades)
}

#[track_caller]
fn check(bars: &Bars, trades: &[Trade], timeframe: &str, start_s: i64, quality: Quality) {
    let timeframe: Timeframe = timeframe.parse().expect("timeframe");
    let key = (timeframe, NOON + start_s * 1_000);
    let bar = bars.get(&key).expect("it has closed");
    assert_eq!(bar.quality, quality, "{bar:?}");
    let whole = oracle(trades, &TimeframeSet::new(vec![timeframe]).expect("set"))[&key];
    let count = bar.fold.map_or(0, |fold| fold.count);
    if quality == Quality::Partial {
        assert!(count < whole.count, "{count} of {}", whole.count);
    } else {
        assert_eq!(bar.fold, Some(whole));
    }
}

#[test]
fn open_bars_outlive_the_timeframe_that_they_were_made_of() {
    for new in ["1m,2m", "2m,1m", "2m", "5s,2m"] {
        let (bars, trades) = changed("1s,1m,2m", new);
        check(&bars, &trades, "2m", 0, Quality::Complete);
        check(&bars, &trades, "2m", 120, Quality::Complete);
    }
    let (bars, trades) = changed("1s,1m,2m", "1m,2m");
    check(&bars, &trades, "1m", 60, Quality::Complete);
}

#[test]
fn a_timeframe_that_is_added_says_partial_until_its_first_whole_bar() {
    for (old, new, added, partial_s) in [
        ("1s,2m", "1s,1m,2m", "1m", 60),
        ("1s,2m", "1s,5s,1m,2m", "1m", 60),
        ("1m,2m", "1s,1m,2m", "1s", 100),
        ("1s,2m", "1m,2m", "1m", 60),
        ("2m", "15s,2m", "15s", 90),
        ("1s,2m", "1s,2m,3m", "3m", 0),
    ] {
        let (bars, trades) = changed(old, new);
        let timeframe: Timeframe = added.parse().expect("timeframe");
        let end_s = (timeframe.end_of(NOON + partial_s * 1_000) - NOON) / 1_000;
        check(&bars, &trades, added, partial_s, Quality::Partial);
        check(&bars, &trades, added, end_s, Quality::Complete);
        assert!(
            !bars.contains_key(&(timeframe, NOON + (2 * partial_s - end_s) * 1_000)),
            "nothing is told of the time before"
        );
        // What was open and stays is whole all the same.
        check(&bars, &trades, "2m", 0, Quality::Complete);
    }
}

#[test]
fn a_timeframe_that_is_added_at_the_start_of_its_bar_is_whole() {
    let trades = steady(500);
    let mut feed = Feed::new(&set("1m"), &trades);
    let mut is_changed = false;
    for trade in &trades {
        // The minute before has just closed.
        if trade.event_ms > NOON + 122_500 && !is_changed {
            is_changed = true;
            let checkpoint = feed.checkpoint();
            feed.restart(&set("1m,2m"), &checkpoint, trade.event_ms - 1);
        }
        feed.offer(trade.event_ms, trade);
    }
    feed.at(NOON + 390_000);
    feed.keep_bars();
    check(&feed.bars, &trades, "2m", 120, Quality::Complete);
}

#[test]
fn builds_of_before_read_checkpoints_but_for_those_of_timeframes_that_were_added() {
    let trades = steady(100);
    let mut feed = Feed::new(&set("1s,1m"), &trades);
    for trade in &trades {
        feed.offer(trade.event_ms, trade);
    }
    let version = |checkpoint: &[u8]| {
        let text = String::from_utf8(checkpoint.to_vec()).expect("JSON");
        let after = text.strip_prefix(r#"{"version":"#).expect("it is first");
        after.split(',').next().expect("a number").to_owned()
    };
    let checkpoint = feed.checkpoint();
    assert_eq!(version(&checkpoint), "2");
    let restarted = |feed: &mut Feed<'_>, new: &str, checkpoint: &[u8]| {
        feed.restart(&set(new), checkpoint, NOON + 80_000);
        feed.checkpoint()
    };
    assert_eq!(version(&restarted(&mut feed, "1m", &checkpoint)), "2");
    let added = restarted(&mut feed, "1s,5s,1m", &checkpoint);
    assert_eq!(version(&added), "3");
    // And what was added is known as such from then on.
    assert_eq!(version(&restarted(&mut feed, "1s,5s", &added)), "3");
}

fn some_timeframes() -> impl Strategy<Value = TimeframeSet> {
    let all = vec!["1s", "2s", "3s", "5s", "15s", "1m", "2m", "3m", "5m"];
    proptest::sample::subsequence(all, 1..=5)
        .prop_shuffle()
        .prop_map(|chosen| {
            TimeframeSet::new(
                chosen
                    .iter()
                    .map(|text| text.parse().expect("timeframe"))
                    .collect(),
            )
            .expect("set")
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Whatever the timeframes were and become, and whenever: what stays is as if nothing had
    /// happened, and of what is added only the bars that were open say `partial`.
    #[test]
    fn bars_of_any_change_of_timeframes_are_those_of_an_undisturbed_run_or_say_partial(
        trades in tape(),
        delays in proptest::collection::vec(prop_oneof![4 => 0i64..1_500, 1 => 0i64..20_000], 80),
        sets in proptest::collection::vec(some_timeframes(), 2..5),
        moments in proptest::collection::vec((0usize..40, 0usize..6, 0i64..30_000), 4),
    ) {
        let mut arrivals: Vec<(i64, Trade)> = trades.iter().zip(&delays).map(|(trade, delay)| (trade.event_ms + delay, *trade)).collect();
        // What is late from before the first bar is in no bar at all.
        arrivals[0].0 = trades[0].event_ms;
        arrivals.sort_by_key(|(at, _)| *at);
        let end_ms = NOON + 700_000;

        let all: BTreeSet<Timeframe> = sets.iter().flat_map(|set| set.as_slice()).copied().collect();
        let all = TimeframeSet::new(all.into_iter().collect()).expect("set");
        let mut undisturbed = Feed::new(&all, &trades);
        for (at, trade) in &arrivals {
            undisturbed.offer(*at, trade);
        }
        undisturbed.at(end_ms);
        undisturbed.keep_bars();

        let mut feed = Feed::new(&sets[0], &trades);
        // When each timeframe of the last set has been there from.
        let mut added_ms: BTreeMap<Timeframe, i64> = sets[0].as_slice().iter().map(|&timeframe| (timeframe, 0)).collect();
        let mut index = 0;
        let mut now = arrivals[0].0;
        for (set, &(step, lag, down_ms)) in sets[1..].iter().zip(&moments) {
            // Bars, then the state, then `lag` trades that the state does not have, and the end.
            let until = (index + step + 1).min(arrivals.len());
            for (at, trade) in &arrivals[index..until] {
                now = now.max(*at);
                feed.offer(now, trade);
            }
            let (checkpoint, taken_ms) = (feed.checkpoint(), now);
            let killed = (until + lag).min(arrivals.len());
            for (at, trade) in &arrivals[until..killed] {
                now = now.max(*at);
                feed.offer(now, trade);
            }
            now += down_ms;
            index = killed + arrivals[killed..].iter().take_while(|(at, _)| *at <= now).count();
            feed.restart(set, &checkpoint, now);
            now += 500;
            added_ms = set.as_slice().iter().map(|&timeframe| (timeframe, added_ms.get(&timeframe).copied().unwrap_or(taken_ms))).collect();
        }
        for (at, trade) in &arrivals[index..] {
            now = now.max(*at);
            feed.offer(now, trade);
        }
        feed.at(end_ms.max(now));
        feed.keep_bars();

        let last = sets.last().expect("at least two");
        let whole = oracle(&trades, &all);
        for (key, bar) in &feed.bars {
            let fold = whole.get(key);
            if bar.quality == Quality::Partial {
                let count = bar.fold.map_or(0, |fold| fold.count);
                prop_assert!(count <= fold.map_or(0, |fold| fold.count), "{:?}", bar);
                let added = added_ms.get(&bar.timeframe).copied();
                prop_assert!(added.is_none_or(|added| bar.start_ms <= added), "{:?} was added at {:?}", bar, added);
            } else if last.as_slice().contains(&bar.timeframe) {
                prop_assert_eq!(bar.fold.as_ref(), fold, "{:?}", bar);
            }
        }
        for (key, expected) in &undisturbed.bars {
            if added_ms.get(&key.0).is_none_or(|&added| expected.start_ms <= added) {
                continue;
            }
            let bar = feed.bars.get(key);
            prop_assert_eq!(bar.and_then(Bar::ohlc), expected.ohlc(), "{:?} of {:?}", bar, expected);
            prop_assert_eq!(bar.and_then(|bar| bar.fold), expected.fold);
        }
    }
}
