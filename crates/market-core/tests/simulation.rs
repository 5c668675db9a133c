//! Deterministic simulation: one symbol's feed through a seeded adversary on a virtual clock.
//!
//! The venue has a tape of trades. What the pipeline sees of it is reordered, duplicated, delayed
//! within and beyond the window, cut, silenced, and refetched in overlapping pages that may fail,
//! lag or lack trades, for longer than any limit; the process may be killed and restored from an old
//! checkpoint, the host's clock may be off and the venue's may step back. A wrong id may come, and
//! the first trade may be days old. Whatever happens, every bar has to equal the
//! fold of the trades that came, every trade that REST has has to come in the end, and a bar that
//! lacks one has to say so.
//!
//! `KLINECAST_SEEDS=20000` sets how many seeds run, `KLINECAST_SEED=17` replays one alone.

use std::collections::{BTreeMap, BTreeSet};

use market_core::aggregate::FILL_MAX;
use market_core::pipeline::BackfillOutcome;
use market_core::{
    AggressorSide, Bar, BarState, Fold, GapEventState, Offered, Origin, Output, Pipeline,
    PipelineConfig, Price, Quality, Quantity, Timeframe, TimeframeSet, Trade, VenueClock,
};

const START_MS: i64 = 1_723_463_990_000;
const STEP_MS: i64 = 50;
const SEEDS: u64 = 6_000;

/// SplitMix64: small, seedable, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: i64) -> i64 {
        (self.next() % bound.unsigned_abs()) as i64
    }

    fn one_in(&mut self, n: i64) -> bool {
        self.below(n) == 0
    }
}

/// What goes wrong in one run.
struct Adversary {
    reorder_ms: i64,
    duplicate_one_in: i64,
    drop_one_in: i64,
    late_one_in: i64,
    late_ms: i64,
    host_ahead_ms: i64,
    /// Nothing is to be had from REST within these venue times.
    rest_away: (i64, i64),
    /// A trade of a wrong id comes once, at this venue time.
    stray: Option<(i64, u64)>,
    /// (from, to, restart from an old checkpoint) in venue time.
    outages: Vec<(i64, i64, bool)>,
    /// Trades stop coming while the connection lives.
    silences: Vec<(i64, i64)>,
    rest_fails_one_in: i64,
    rest_latency_ms: i64,
    rest_lags_ms: i64,
    /// Ids that REST no longer has.
    lost_ids: BTreeSet<u64>,
    /// The feed is joined in the middle of the tape.
    join_at_ms: i64,
}

const FIRST_ID: u64 = 50_000;

fn tape(random: &mut Random) -> Vec<Trade> {
    let count = 20 + random.below(150);
    let first_age_ms = if random.one_in(6) {
        [1_500, 30_000, 1_000_000, 259_200_000][random.below(4) as usize]
    } else {
        0
    };
    let mean_gap_ms = [30, 300, 1_500][random.below(3) as usize];
    let (mut at, mut cents) = (START_MS, 10_000);
    let mut trades = Vec::new();
    let back_ms = if random.one_in(4) { 40 } else { 0 };
    for index in 0..count {
        if !random.one_in(4) {
            at += random.below(mean_gap_ms * 2);
        }
        if random.one_in(40) {
            at += random.below(9_000);
        }
        cents = (cents + random.below(101) - 50).max(1);
        let event_ms = at
            - if back_ms > 0 && random.one_in(20) {
                random.below(back_ms)
            } else {
                0
            };
        let quantity = 1 + random.below(9_999);
        let id = FIRST_ID + index as u64;
        let event_ms = match index {
            0 => START_MS - first_age_ms,
            _ => event_ms,
        };
        trades.push(Trade {
            first_id: id,
            last_id: id,
            event_ms,
            price: Price::parse(&format!("{}.{:02}", cents / 100, cents % 100)).expect("price"),
            quantity: Quantity::parse(&format!("{}.{:04}", quantity / 100, quantity))
                .expect("quantity"),
            aggressor_side: if random.one_in(2) {
                AggressorSide::Buy
            } else {
                AggressorSide::Sell
            },
            received_us: 0,
        });
    }
    trades
}

fn adversary(random: &mut Random, tape: &[Trade]) -> Adversary {
    let end_ms = tape.last().expect("a tape has trades").event_ms;
    let span_ms = (end_ms - START_MS).max(1);
    let mut outages = Vec::new();
    let mut from = START_MS;
    while random.one_in(2) && outages.len() < 3 {
        from += 1_000 + random.below(span_ms);
        let longest_ms = [5_000, 5_000, 60_000, 400_000][random.below(4) as usize];
        let to = from + 100 + random.below(longest_ms);
        outages.push((from, to, random.one_in(3)));
        from = to + 500;
    }
    let silences = if random.one_in(4) {
        let from = START_MS + random.below(span_ms);
        vec![(from, from + random.below(30_000))]
    } else {
        Vec::new()
    };
    let lost_ids = if random.one_in(5) {
        let first = FIRST_ID + random.below(tape.len() as i64) as u64;
        (first..first + 1 + random.below(4) as u64).collect()
    } else {
        BTreeSet::new()
    };
    let pick =
        |random: &mut Random, values: &[i64]| values[random.below(values.len() as i64) as usize];
    Adversary {
        reorder_ms: pick(random, &[0, 0, 5, 300, 1_500]),
        duplicate_one_in: pick(random, &[1_000_000, 20, 3]),
        drop_one_in: pick(random, &[1_000_000, 1_000_000, 50, 8]),
        late_one_in: pick(random, &[1_000_000, 30]),
        late_ms: pick(random, &[2_500, 20_000, 100_000]),
        host_ahead_ms: pick(random, &[0, 0, -1_270, 7_000, -30_000]),
        rest_away: if random.one_in(6) {
            let from = START_MS + random.below(span_ms);
            (from, from + random.below(300_000))
        } else {
            (0, 0)
        },
        stray: random.one_in(6).then(|| {
            let ids = [9_000_000_000_000_000_000, u64::MAX, 3];
            (
                START_MS + random.below(span_ms),
                ids[random.below(3) as usize],
            )
        }),
        outages,
        silences,
        rest_fails_one_in: pick(random, &[1_000_000, 4, 2]),
        rest_latency_ms: pick(random, &[50, 50, 400, 3_000]),
        rest_lags_ms: pick(random, &[0, 0, 1_500]),
        lost_ids,
        join_at_ms: if random.one_in(3) {
            START_MS + random.below(span_ms) / 2
        } else {
            START_MS - 20_000
        },
    }
}

impl Adversary {
    fn host_ms(&self, venue_ms: i64) -> i64 {
        venue_ms + self.host_ahead_ms
    }
}

struct Pending {
    due_ms: i64,
    id: u64,
    first_id: u64,
    last_id: Option<u64>,
}

struct Run<'a> {
    tape: &'a [Trade],
    adversary: Adversary,
    config: PipelineConfig,
    pipeline: Pipeline,
    checkpoint: Option<Vec<u8>>,
    clock: VenueClock,
    out: Vec<Output>,
    backfills: Vec<Pending>,
    /// The newest revision of every closed bar, over all restarts.
    effective: BTreeMap<(Timeframe, i64), Bar>,
    /// Ids that a bar holds, as the last restart knows it.
    folded: BTreeSet<u64>,
    folded_at_checkpoint: BTreeSet<u64>,
    folded_ever: BTreeSet<u64>,
    offered_at_checkpoint: u64,
    beyond_horizon: BTreeSet<u64>,
    reported_lost: Vec<(u64, u64)>,
    is_restarted: bool,
    /// Not believed when they came, and how many were taken afterwards.
    set_aside: Vec<u64>,
    /// Ids that came when a bar of theirs had closed.
    late: BTreeSet<u64>,
    confirmed: u64,
    /// When the last outage is over.
    quiet_ms: i64,
}

impl Run<'_> {
    fn offer(&mut self, trade: &Trade, origin: Origin, venue_ms: i64) {
        let venue_now = self.clock.venue_now(self.adversary.host_ms(venue_ms));
        let before = self.pipeline.counts().offered();
        let offered = self.pipeline.offer(trade, origin, venue_now, &mut self.out);
        assert_eq!(
            self.pipeline.counts().offered(),
            before + 1,
            "every trade is counted once"
        );
        let confirmed = self.pipeline.counts().confirmed - self.confirmed;
        self.confirmed += confirmed;
        // Those that were set aside and are taken with this one are the newest of them.
        let taken = self.set_aside.len() - usize::try_from(confirmed).expect("few");
        for id in self.set_aside.split_off(taken) {
            self.fold(id);
        }
        match offered {
            Offered::InBar => self.fold(trade.first_id),
            Offered::Late { .. } => {
                self.late.insert(trade.first_id);
                self.fold(trade.first_id);
            }
            // Until frames have told the venue's clock, this host's may be far behind.
            Offered::Future if self.pipeline.next_id().is_none() => {
                self.beyond_horizon.insert(trade.first_id);
            }
            Offered::Duplicate | Offered::Future => {}
            Offered::BeyondHorizon { .. } | Offered::BeforeJoin => {
                self.beyond_horizon.insert(trade.first_id);
            }
            Offered::Implausible => self.set_aside.push(trade.first_id),
            Offered::Overlap | Offered::Conflict => panic!("{offered:?} of {trade:?}"),
        }
    }

    fn fold(&mut self, id: u64) {
        assert!(self.folded.insert(id), "trade {id} was folded twice");
        self.folded_ever.insert(id);
    }

    /// Carries out what came out.
    fn drain(&mut self, venue_ms: i64) {
        for output in std::mem::take(&mut self.out) {
            match output {
                Output::Bar(bar) => self.note(bar),
                Output::Backfill(request) => self.backfills.push(Pending {
                    due_ms: venue_ms + self.adversary.rest_latency_ms,
                    id: request.id,
                    first_id: request.first_id,
                    last_id: request.last_id,
                }),
                Output::IdsRestarted { .. } => panic!("ids go on: {output:?}"),
                Output::Gap(event) => {
                    if let (GapEventState::Lost, Some(first), Some(last)) =
                        (event.state, event.first_id, event.last_id)
                    {
                        self.reported_lost.push((first, last));
                    }
                }
            }
        }
    }

    fn note(&mut self, bar: Bar) {
        assert_eq!(bar.state, BarState::Closed);
        let [open, high, low, close] = bar.ohlc().expect("a published bar has prices");
        assert!(
            low <= open && low <= close && open <= high && close <= high,
            "{bar:?}"
        );
        let key = (bar.timeframe, bar.start_ms);
        match self.effective.insert(key, bar) {
            None => assert_eq!(bar.rev, 0, "a first publication is no revision: {bar:?}"),
            Some(before) if bar.rev == before.rev + 1 => assert_ne!(before, bar),
            Some(_) => assert!(self.is_restarted, "only a restart publishes {bar:?} again"),
        }
    }

    fn answer_backfills(&mut self, venue_ms: i64, random: &mut Random) {
        let (due, waiting) = std::mem::take(&mut self.backfills)
            .into_iter()
            .partition(|pending| pending.due_ms <= venue_ms);
        self.backfills = waiting;
        let due: Vec<Pending> = due;
        for pending in due {
            let venue_now = self.clock.venue_now(self.adversary.host_ms(venue_ms));
            let archived_until = venue_ms - self.adversary.rest_lags_ms;
            // Pages overlap what was asked for, and repeat themselves.
            let last = pending.last_id.map_or(u64::MAX, |last| last + 3);
            let mut page: Vec<Trade> = self
                .tape
                .iter()
                .filter(|trade| {
                    (pending.first_id.saturating_sub(2)..=last).contains(&trade.first_id)
                })
                .filter(|trade| {
                    trade.event_ms <= archived_until
                        && !self.adversary.lost_ids.contains(&trade.first_id)
                })
                .copied()
                .collect();
            if random.one_in(3) {
                page.reverse();
            }
            let (away_from, away_to) = self.adversary.rest_away;
            let is_away = (away_from..away_to).contains(&venue_ms);
            // In the end it answers.
            let has_failed = is_away
                || (venue_ms < self.quiet_ms && random.one_in(self.adversary.rest_fails_one_in));
            if has_failed {
                page.truncate(if is_away { 0 } else { page.len() / 2 });
            }
            for trade in &page {
                self.offer(trade, Origin::Backfill, venue_ms);
            }
            let outcome = if has_failed {
                BackfillOutcome::Failed
            } else {
                BackfillOutcome::Done
            };
            self.pipeline
                .backfill_ended(pending.id, outcome, venue_now, &mut self.out);
        }
    }

    fn restart(&mut self) {
        self.pipeline = match &self.checkpoint {
            Some(checkpoint) => {
                Pipeline::restore(&self.config, checkpoint).expect("own checkpoint")
            }
            None => Pipeline::new(&self.config),
        };
        self.folded = self.folded_at_checkpoint.clone();
        self.clock = VenueClock::default();
        self.backfills.clear();
        self.set_aside.clear();
        self.confirmed = 0;
        self.is_restarted = true;
    }
}

fn simulate(seed: u64) {
    let mut random = Random(seed);
    let tape = tape(&mut random);
    let adversary = adversary(&mut random, &tape);
    let timeframes: TimeframeSet = "1s,5s,1m".parse().expect("set");
    let config = PipelineConfig {
        timeframes: timeframes.clone(),
        gap_give_up_ms: 60_000,
        ..PipelineConfig::default()
    };

    // When each frame reaches the host, by the venue's clock.
    let mut arrivals: Vec<(i64, usize)> = Vec::new();
    let mut newest_ms = START_MS;
    for (index, trade) in tape.iter().enumerate() {
        newest_ms = newest_ms.max(trade.event_ms);
        if random.one_in(adversary.drop_one_in) {
            continue;
        }
        let delay_ms = 5
            + random.below(adversary.reorder_ms + 1)
            + if random.one_in(adversary.late_one_in) {
                random.below(adversary.late_ms)
            } else {
                0
            };
        arrivals.push((newest_ms + delay_ms, index));
        if random.one_in(adversary.duplicate_one_in) {
            arrivals.push((newest_ms + delay_ms + random.below(3_000), index));
        }
    }
    arrivals.sort_unstable();

    let mut run = Run {
        tape: &tape,
        pipeline: Pipeline::new(&config),
        config,
        adversary,
        checkpoint: None,
        clock: VenueClock::default(),
        out: Vec::new(),
        backfills: Vec::new(),
        effective: BTreeMap::new(),
        folded: BTreeSet::new(),
        folded_at_checkpoint: BTreeSet::new(),
        folded_ever: BTreeSet::new(),
        offered_at_checkpoint: 0,
        beyond_horizon: BTreeSet::new(),
        reported_lost: Vec::new(),
        is_restarted: false,
        set_aside: Vec::new(),
        late: BTreeSet::new(),
        confirmed: 0,
        quiet_ms: i64::MAX,
    };
    let mut arrivals = arrivals.into_iter().peekable();
    let outages = &run.adversary.outages;
    let quiet_ms = outages
        .iter()
        .map(|&(_, to, _)| to)
        .chain([newest_ms, run.adversary.rest_away.1])
        .max()
        .unwrap_or(newest_ms);
    run.quiet_ms = quiet_ms;
    let end_ms = quiet_ms + 100_000 + 4 * run.adversary.rest_latency_ms.max(60_000);
    let mut now_ms = START_MS - 25_000;
    let mut was_up = false;
    let mut quiet_since_ms = now_ms;
    while now_ms < end_ms {
        // Long after the last trade, nothing hangs on a twentieth of a second.
        let is_over = now_ms > newest_ms + 110_000;
        now_ms += if is_over { 5 * STEP_MS } else { STEP_MS };
        let outage = run
            .adversary
            .outages
            .iter()
            .find(|(from, to, _)| (*from..*to).contains(&now_ms))
            .copied();
        let is_up = outage.is_none() && now_ms >= run.adversary.join_at_ms;
        let venue_now = run.clock.venue_now(run.adversary.host_ms(now_ms));
        if is_up != was_up {
            if is_up {
                run.pipeline.feed_up(venue_now);
            } else {
                run.pipeline.feed_down(venue_now);
                if outage.is_some_and(|(_, _, is_restart)| is_restart) {
                    run.restart();
                }
            }
            was_up = is_up;
        }
        while let Some((at, index)) = arrivals.next_if(|(at, _)| *at <= now_ms) {
            let is_silent = run
                .adversary
                .silences
                .iter()
                .any(|(from, to)| (*from..*to).contains(&at));
            if is_up && !is_silent {
                let trade = &tape[index];
                run.clock.observe(trade.event_ms, run.adversary.host_ms(at));
                run.offer(trade, Origin::Live, at);
                quiet_since_ms = now_ms;
            }
        }
        if let Some((at, id)) = run.adversary.stray
            && now_ms >= at
            && is_up
        {
            run.adversary.stray = None;
            let mut stray = tape[0];
            (stray.first_id, stray.last_id, stray.event_ms) = (id, id, now_ms);
            let venue_now = run.clock.venue_now(run.adversary.host_ms(now_ms));
            let is_first = run.pipeline.next_id().is_none();
            if !is_first {
                let offered = run
                    .pipeline
                    .offer(&stray, Origin::Live, venue_now, &mut run.out);
                assert!(
                    !matches!(offered, Offered::InBar | Offered::Late { .. }),
                    "{offered:?} of a wrong id"
                );
                if offered == Offered::Implausible {
                    run.set_aside.push(id);
                }
            }
        }
        if is_up && now_ms - quiet_since_ms > 15_000 {
            quiet_since_ms = now_ms;
            run.pipeline
                .suspect(run.clock.venue_now(run.adversary.host_ms(now_ms)));
        }
        run.answer_backfills(now_ms, &mut random);
        let venue_now = run.clock.venue_now(run.adversary.host_ms(now_ms));
        run.pipeline.tick(venue_now, &mut run.out);
        run.drain(now_ms);
        // A silent symbol needs no new checkpoint.
        let offered = run.pipeline.counts().offered();
        if now_ms % 1_000 == 0 && offered != run.offered_at_checkpoint {
            run.checkpoint = run.pipeline.checkpoint().or(run.checkpoint.take());
            run.folded_at_checkpoint = run.folded.clone();
            run.offered_at_checkpoint = offered;
        }
    }
    judge(&run, &timeframes);
}

fn judge(run: &Run<'_>, timeframes: &TimeframeSet) {
    let is_folded = |trade: &&Trade| run.folded.contains(&trade.first_id);
    let Some(first) = run.tape.iter().position(|trade| is_folded(&trade)) else {
        return;
    };
    let Some(last) = run.tape.iter().rposition(|trade| is_folded(&trade)) else {
        return;
    };
    let is_lost = |id: u64| {
        run.reported_lost
            .iter()
            .any(|&(from, to)| (from..=to).contains(&id))
    };
    // What REST has comes in the end. Of a trade that neither stream nor REST brings, only the ids
    // around it can tell.
    for trade in &run.tape[first..last] {
        let id = trade.first_id;
        let is_to_be_had = !run.adversary.lost_ids.contains(&id);
        assert!(
            run.folded.contains(&id)
                || run.beyond_horizon.contains(&id)
                || (!is_to_be_had && is_lost(id)),
            "trade {id} is in no bar and was not reported"
        );
    }
    let mut expected: BTreeMap<(Timeframe, i64), Fold> = BTreeMap::new();
    for trade in run
        .tape
        .iter()
        .filter(|trade| run.folded.contains(&trade.first_id))
    {
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
        run.tape.iter().any(|trade| {
            (bar.start_ms..bar.end_ms).contains(&trade.event_ms)
                && run.folded_ever.contains(&trade.first_id)
                && !run.folded.contains(&trade.first_id)
        })
    };
    // A restart keeps no closed bar for a late trade that nobody missed: the wide ones take it.
    let is_final = |bar: &Bar| {
        run.is_restarted
            && run.tape.iter().any(|trade| {
                (bar.start_ms..bar.end_ms).contains(&trade.event_ms)
                    && run.late.contains(&trade.first_id)
            })
    };
    for (key, fold) in &expected {
        // A first trade that comes after others, days old, is in the wide bars only.
        if key.1 < START_MS - FILL_MAX * 1_000 && !run.effective.contains_key(key) {
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
    for (key, bar) in &run.effective {
        let is_expected = expected.contains_key(key);
        assert!(
            bar.fold.is_some() == is_expected || is_forgotten(bar) || is_final(bar),
            "{key:?} holds trades that it should not"
        );
        // A bar that lacks a trade says so.
        let lacks = run.tape[first..last].iter().any(|trade| {
            (bar.start_ms..bar.end_ms).contains(&trade.event_ms)
                && !run.folded.contains(&trade.first_id)
                && !run.beyond_horizon.contains(&trade.first_id)
        });
        let says_so = matches!(bar.quality, Quality::Gap | Quality::Partial);
        assert!(
            !lacks || is_forgotten(bar) || says_so,
            "{key:?} lacks a trade and says {:?}",
            bar.quality
        );
    }
}

#[test]
fn bars_equal_the_fold_of_all_trades_whatever_happens_on_the_way() {
    let number = |name: &str| {
        std::env::var(name)
            .ok()
            .and_then(|text| text.parse::<u64>().ok())
    };
    if let Some(seed) = number("KLINECAST_SEED") {
        simulate(seed);
        return;
    }
    let seeds = number("KLINECAST_SEEDS").unwrap_or(SEEDS);
    let workers = std::thread::available_parallelism().map_or(2, usize::from) as u64;
    std::thread::scope(|scope| {
        for worker in 0..workers {
            scope.spawn(move || {
                for seed in (worker..seeds).step_by(workers as usize) {
                    let outcome = std::panic::catch_unwind(|| simulate(seed));
                    assert!(
                        outcome.is_ok(),
                        "seed {seed} failed; replay it alone with KLINECAST_SEED={seed}"
                    );
                }
            });
        }
    });
}
