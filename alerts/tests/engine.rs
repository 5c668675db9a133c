//! The rules against a plain count over all bars, and against themselves after restarts.

use std::collections::BTreeMap;
use std::sync::Arc;

use alerts::bar::{SymbolBar, WatchedBar};
use alerts::engine::{ActiveRule, Alert, Engine, Outcome, Turn};
use alerts::quote::SymbolQuote;
use alerts::rule::{Rule, read_rules};
use alerts::series::Taken;
use alerts::store::{Commit, Outlets, Source, Store, StoredRule};
use alerts::watch::Way;
use market_core::{Amount, Price, Symbol};
use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use testkit::directory::Directory;

const SECOND: i64 = 1_000;

fn rule(when: &str, cooldown_s: u32) -> Rule {
    let json = format!(
        r#"{{"rules":[{{"name":"r","symbols":["*"],"cooldown_s":{cooldown_s},"when":{when}}}]}}"#
    );
    read_rules(json.as_bytes()).expect("a rule").remove(0)
}

fn active(rule: &Rule) -> ActiveRule {
    ActiveRule {
        rule: Arc::new(rule.clone()),
        epoch: 1,
    }
}

fn engine(rule: &Rule) -> Engine {
    let mut engine = Engine::new(10);
    engine.put(active(rule));
    engine
}

fn price(cents: i64) -> Price {
    Price::from_parts(i128::from(cents), 2).expect("a price")
}

/// A bar of a second, with prices in cents.
#[derive(Clone, Copy, Debug)]
struct Cents {
    second: i64,
    rev: u32,
    open: i64,
    high: i64,
    low: i64,
    close: i64,
}

impl Cents {
    fn flat(second: i64, cents: i64) -> Self {
        Self {
            second,
            rev: 0,
            open: cents,
            high: cents,
            low: cents,
            close: cents,
        }
    }

    fn bar(self) -> SymbolBar {
        SymbolBar {
            exchange: "binance".into(),
            symbol: symbol(),
            bar: WatchedBar {
                start_ms: self.second * SECOND,
                end_ms: (self.second + 1) * SECOND,
                rev: self.rev,
                open: price(self.open),
                high: price(self.high),
                low: price(self.low),
                close: price(self.close),
                volume: Amount::from_parts(i128::from(1 + self.open % 7), 0),
                is_traded: true,
                has_gap: false,
            },
        }
    }
}

fn symbol() -> Symbol {
    "BTC-USDT".parse().expect("a symbol")
}

/// Bars in the order in which they come: with holes, late ones, revisions and repetitions.
fn stream(random: &mut StdRng, length: usize) -> Vec<Cents> {
    let mut all: Vec<Cents> = Vec::new();
    let (mut second, mut last) = (1_000, 10_000_i64);
    while all.len() < length {
        let step =
            |random: &mut StdRng, from: i64| (from * random.random_range(94..=106) / 100).max(100);
        let (open, one, other) = (step(random, last), step(random, last), step(random, last));
        let close = step(random, last);
        let bar = Cents {
            second,
            rev: 0,
            open,
            high: open.max(one).max(other).max(close),
            low: open.min(one).min(other).min(close),
            close,
        };
        match random.random_range(0..10) {
            0 if !all.is_empty() => all.push(all[random.random_range(0..all.len())]),
            1 if !all.is_empty() => {
                let revised = all[random.random_range(all.len().saturating_sub(6)..all.len())];
                let rev = revised.rev + random.random_range(0..2);
                all.push(Cents {
                    second: revised.second,
                    rev,
                    ..bar
                });
            }
            2 if !all.is_empty() => {
                let late = second - random.random_range(1..8);
                all.push(Cents {
                    second: late,
                    ..bar
                });
            }
            _ => {
                all.push(bar);
                last = close;
                second += if random.random_bool(0.1) {
                    random.random_range(2..5)
                } else {
                    1
                };
            }
        }
    }
    all
}

fn feed(engine: &mut Engine, bar: Cents) -> Vec<Alert> {
    match engine.offer(bar.bar()) {
        Outcome::Watched(alerts) => alerts,
        Outcome::Old(_) => Vec::new(),
        other => panic!("{other:?}"),
    }
}

/// What a move of `percent` in `window` seconds says of all bars, counted anew for each bar.
struct Count {
    known: BTreeMap<i64, Cents>,
    window: i64,
    percent: i64,
    cooldown: i64,
    /// For each direction: whether it may fire, the second in which that changed, the end of the second
    /// in which it fired.
    edges: [(bool, Option<i64>, Option<i64>); 2],
}

impl Count {
    fn take(&mut self, bar: Cents) -> Vec<(bool, i64)> {
        let newest = self.known.last_key_value().map(|(second, _)| *second);
        if newest.is_some_and(|newest| bar.second < newest + 1 - self.window) {
            return Vec::new();
        }
        if self
            .known
            .get(&bar.second)
            .is_some_and(|known| known.rev >= bar.rev)
        {
            return Vec::new();
        }
        self.known.insert(bar.second, bar);
        let (&second, &newest) = self.known.last_key_value().expect("it has one");
        let from = second + 1 - self.window;
        let before = || self.known.range(from..second).map(|(_, bar)| bar);
        let lowest = before()
            .map(|bar| bar.low)
            .chain([newest.open])
            .min()
            .expect("one");
        let highest = before()
            .map(|bar| bar.high)
            .chain([newest.open])
            .max()
            .expect("one");
        let rises = |cents: i64, percent: i64| (cents * 100 - lowest * 100) * 2 - lowest * percent;
        let falls =
            |cents: i64, percent: i64| (highest * 100 - cents * 100) * 2 - highest * percent;
        let readings = [
            (
                rises(newest.high, self.percent * 2) >= 0,
                rises(newest.close, self.percent) <= 0,
            ),
            (
                falls(newest.low, self.percent * 2) >= 0,
                falls(newest.close, self.percent) <= 0,
            ),
        ];
        let mut fired = Vec::new();
        for (index, (holds, rearms)) in readings.into_iter().enumerate() {
            let (is_armed, changed, ended) = &mut self.edges[index];
            if changed.is_some_and(|changed| second <= changed) {
                continue;
            }
            let is_cool = ended.is_none_or(|ended| second + 1 - ended >= self.cooldown);
            if *is_armed && holds && is_cool {
                (*is_armed, *changed, *ended) = (false, Some(second), Some(second + 1));
                fired.push((index == 0, second));
            } else if !*is_armed && rearms {
                (*is_armed, *changed) = (true, Some(second));
            }
        }
        fired
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Windows of one second and of more, bars at both ends of them, holes, late bars, revisions.
    #[test]
    fn moves_fire_where_a_count_over_all_bars_says(
        seed in any::<u64>(),
        window in 1_i64..7,
        percent in 1_i64..9,
        cooldown in 0_u32..5,
    ) {
        let mut random = StdRng::seed_from_u64(seed);
        let when = format!(r#"{{"type":"move","percent":"{percent}","window_s":{window}}}"#);
        let mut engine = engine(&rule(&when, cooldown));
        let mut count = Count {
            known: BTreeMap::new(),
            window,
            percent,
            cooldown: cooldown.into(),
            edges: [(true, None, None); 2],
        };
        for (index, bar) in stream(&mut random, 120).into_iter().enumerate() {
            let fired: Vec<(bool, i64)> = feed(&mut engine, bar)
                .iter()
                .map(|alert| (alert.firing.way == Way::Up, alert.firing.start_ms / SECOND))
                .collect();
            prop_assert_eq!(fired, count.take(bar), "at bar {} {:?}", index, bar);
        }
    }
}

const CONDITIONS: [&str; 5] = [
    r#"{"type":"move","percent":"4","window_s":5}"#,
    r#"{"type":"cross","price":"100","rearm_percent":"1"}"#,
    r#"{"type":"volume","times":"1.1","window_s":1,"base_s":4,"rearm_times":"1"}"#,
    r#"{"type":"gap"}"#,
    r#"{"type":"stale","after_s":10}"#,
];

/// All rules of `CONDITIONS`, each with its name.
fn all_rules() -> Vec<StoredRule> {
    let rules = CONDITIONS.iter().enumerate().map(|(index, when)| {
        let mut rule = rule(when, 2);
        rule.name = format!("r{index}").parse().expect("a name");
        StoredRule {
            active: active(&rule),
            source: Source::Http,
        }
    });
    rules.collect()
}

/// The alerts of a stream. With a store, the program is killed again and again: at some bars, what was
/// done since the last commit is lost, and the stream is read again from there.
fn alerts_of(bars: &[Cents], store: Option<(&Store, &mut StdRng)>) -> Vec<Alert> {
    let rules = all_rules();
    let actives = || rules.iter().map(|stored| stored.active.clone()).collect();
    let mut engine = Engine::restored(10, actives(), Default::default());
    let mut all = Vec::new();
    let tick = |engine: &mut Engine, bar: &Cents| {
        engine.tick((bar.second + 1) * SECOND, Turn::WHOLE).alerts
    };
    let Some((store, random)) = store else {
        for bar in bars {
            all.extend(feed(&mut engine, *bar));
            all.extend(tick(&mut engine, bar));
        }
        return all;
    };
    let commit = Commit {
        rules_put: rules.clone(),
        changes: engine.take_changes(),
        ..Commit::default()
    };
    store.commit(&commit).expect("it is stored");
    let mut at = 0;
    while at < bars.len() {
        let page = random.random_range(1..8).min(bars.len() - at);
        let mut raised = Vec::new();
        for bar in &bars[at..at + page] {
            raised.extend(feed(&mut engine, *bar));
            raised.extend(tick(&mut engine, bar));
        }
        let is_stored = random.random_bool(0.7);
        if is_stored {
            let commit = Commit {
                changes: engine.take_changes(),
                ..Commit::default()
            };
            store.commit(&commit).expect("it is stored");
            all.extend(raised);
            at += page;
        }
        if !is_stored || random.random_bool(0.5) {
            let loaded = store.load().expect("it is read");
            let rules = loaded.rules.into_iter().map(|stored| stored.active);
            engine = Engine::restored(10, rules.collect(), loaded.state);
        }
    }
    all
}

#[test]
fn a_program_that_is_killed_at_any_bar_raises_the_alerts_of_one_that_is_not() {
    let mut kinds = BTreeMap::new();
    for seed in 0..12 {
        let mut random = StdRng::seed_from_u64(seed);
        let mut bars = stream(&mut random, 60);
        // A silence of more than ten seconds.
        for bar in &mut bars[40..] {
            bar.second += 20;
        }
        let expected = alerts_of(&bars, None);
        let folder = Directory::named("alerts-engine");
        let store = Store::open(folder.path(), Outlets::default()).expect("a store");
        let raised = alerts_of(&bars, Some((&store, &mut random)));
        assert_eq!(raised, expected, "seed {seed}");
        for alert in expected {
            *kinds.entry(alert.rule.rule.when.kind()).or_insert(0) += 1;
        }
    }
    assert_eq!(kinds.len(), CONDITIONS.len(), "each rule fires: {kinds:?}");
}

fn starts(alerts: &[Alert]) -> Vec<(u64, i64)> {
    let of = |alert: &Alert| (alert.seq, alert.firing.start_ms / SECOND);
    alerts.iter().map(of).collect()
}

#[test]
fn a_level_is_crossed_only_from_the_other_side_and_again_after_the_way_back() {
    let when = r#"{"type":"cross","price":"100","direction":"up","rearm_percent":"1"}"#;
    let mut engine = engine(&rule(when, 0));
    let cents = [
        10_100, 10_200, 9_950, 9_901, 10_100, 9_900, 10_000, 9_950, 10_050,
    ];
    let mut alerts = Vec::new();
    for (second, cents) in (0..).zip(cents) {
        alerts.extend(feed(&mut engine, Cents::flat(second, cents)));
    }
    // Above from the start, and never a whole percent below before second 5: no alert. After
    // second 6 it does not go back by a percent.
    assert_eq!(starts(&alerts), [(1, 6)]);
    assert_eq!(alerts[0].firing.value, "100");
}

#[test]
fn a_touch_of_a_level_within_a_bar_is_enough() {
    let mut engine = engine(&rule(r#"{"type":"cross","price":"100"}"#, 0));
    feed(&mut engine, Cents::flat(0, 9_900));
    let bar = Cents {
        high: 10_000,
        ..Cents::flat(1, 9_900)
    };
    assert_eq!(starts(&feed(&mut engine, bar)), [(1, 1)]);
}

#[test]
fn a_hole_between_bars_is_a_gap_once() {
    let mut engine = engine(&rule(r#"{"type":"gap"}"#, 0));
    let mut alerts = Vec::new();
    for second in [0, 1, 5, 6, 9] {
        alerts.extend(feed(&mut engine, Cents::flat(second, 100)));
    }
    assert_eq!(starts(&alerts), [(1, 5), (2, 9)]);
}

#[test]
fn a_silence_is_the_same_alert_whenever_it_is_noticed() {
    let rule = rule(r#"{"type":"stale","after_s":10}"#, 60);
    let begun = || {
        let mut engine = engine(&rule);
        feed(&mut engine, Cents::flat(100, 100));
        assert_eq!(engine.tick(109_999, Turn::WHOLE).alerts, []);
        engine
    };
    let mut watching = begun();
    let noticed = watching.tick(110_000, Turn::WHOLE).alerts;
    assert_eq!(noticed.len(), 1);
    assert_eq!(watching.tick(500_000, Turn::WHOLE).alerts, [], "once");
    assert_eq!(feed(&mut watching, Cents::flat(400, 100)), []);
    let mut was_down = begun();
    assert_eq!(feed(&mut was_down, Cents::flat(400, 100)), noticed);
    // It is silent again, for good: it is told after the cooldown.
    let mut flapping = begun();
    assert_eq!(flapping.tick(110_000, Turn::WHOLE).alerts.len(), 1);
    assert_eq!(feed(&mut flapping, Cents::flat(115, 100)), []);
    assert_eq!(flapping.tick(169_999, Turn::WHOLE).alerts, []);
    let again = flapping.tick(170_000, Turn::WHOLE).alerts;
    assert_eq!(starts(&again), [(2, 115)]);
    assert_eq!(again[0].firing.value, "55");
}

#[test]
fn a_bar_that_comes_after_the_alert_of_its_silence_ends_it() {
    let mut engine = engine(&rule(r#"{"type":"stale","after_s":30}"#, 0));
    feed(&mut engine, Cents::flat(0, 100));
    let mut alerts = engine.tick(30_000, Turn::WHOLE).alerts;
    // It was traded before the alert, and its bar came after it.
    alerts.extend(feed(&mut engine, Cents::flat(29, 100)));
    alerts.extend(engine.tick(100_000, Turn::WHOLE).alerts);
    assert_eq!(starts(&alerts), [(1, 0), (2, 29)]);
}

#[test]
fn a_named_symbol_that_was_never_traded_is_silent_from_the_beginning_of_its_rule() {
    let mut rule = rule(r#"{"type":"stale","after_s":10}"#, 0);
    rule.symbols = vec!["OKX:A-B".to_owned(), "BTC-USDT".to_owned()];
    let active = ActiveRule {
        rule: Arc::new(rule),
        epoch: 100_000,
    };
    let folder = Directory::named("alerts-never");
    let store = Store::open(folder.path(), Outlets::default()).expect("a store");
    let mut engine = Engine::new(2);
    assert!(engine.has_room(&active.rule));
    engine.put(active.clone());
    let commit = Commit {
        rules_put: vec![StoredRule {
            active: active.clone(),
            source: Source::Http,
        }],
        changes: engine.take_changes(),
        ..Commit::default()
    };
    store.commit(&commit).expect("it is stored");
    assert_eq!(feed(&mut engine, Cents::flat(105, 100)), []);
    assert_eq!(engine.tick(109_999, Turn::WHOLE).alerts, []);
    let alerts = engine.tick(110_000, Turn::WHOLE).alerts;
    assert_eq!(starts(&alerts), [(1, 100)]);
    assert_eq!(alerts[0].symbol.as_str(), "OKX:A-B");
    assert_eq!(
        (&*alerts[0].exchange, alerts[0].firing.end_ms),
        ("okx", 110_000)
    );
    assert_eq!(
        starts(&engine.tick(115_000, Turn::WHOLE).alerts),
        [(1, 105)],
        "the other one"
    );
    assert_eq!(engine.tick(500_000, Turn::WHOLE).alerts, [], "once");
    // A restart before the alert, and another epoch: it is the same silence.
    let loaded = store.load().expect("it is read");
    let rules = loaded.rules.into_iter().map(|stored| stored.active);
    let mut restored = Engine::restored(2, rules.collect(), loaded.state);
    restored.lift(&active.rule.name, 400_000);
    let again = restored.tick(110_000, Turn::WHOLE).alerts;
    assert_eq!(again.len(), 2);
    assert_eq!(again[1].firing, alerts[0].firing);
    // Its first trade comes late: the silence before it is told, and it is armed again.
    let first = SymbolBar {
        exchange: "okx".into(),
        symbol: "OKX:A-B".parse().expect("a symbol"),
        ..Cents::flat(300, 100).bar()
    };
    let mut was_down = Engine::restored(2, vec![active.clone()], Default::default());
    assert_eq!(was_down.offer(first.clone()), Outcome::Watched(alerts));
    assert_eq!(
        was_down.tick(309_999, Turn::WHOLE).alerts.len(),
        1,
        "the one of BTC-USDT"
    );
    assert_eq!(
        starts(&was_down.tick(310_000, Turn::WHOLE).alerts),
        [(2, 300)]
    );
    // A symbol that only a rule for all watches is silent from its first bar on.
    let mut of_all = (*active.rule).clone();
    of_all.symbols = vec!["*".to_owned()];
    let mut engine = Engine::new(2);
    engine.put(ActiveRule {
        rule: Arc::new(of_all),
        epoch: 100_000,
    });
    let mut untraded = first;
    untraded.bar.is_traded = false;
    assert_eq!(engine.offer(untraded), Outcome::Watched(Vec::new()));
    assert_eq!(engine.tick(309_999, Turn::WHOLE).alerts, []);
    assert_eq!(
        starts(&engine.tick(310_000, Turn::WHOLE).alerts),
        [(1, 300)]
    );
}

#[test]
fn symbols_without_room_are_not_followed_before_their_first_bar() {
    let mut rule = rule(r#"{"type":"stale","after_s":10}"#, 0);
    rule.symbols = (0..12).map(|index| format!("A{index}-B")).collect();
    let mut engine = Engine::new(10);
    assert!(!engine.has_room(&rule));
    engine.put(active(&rule));
    assert_eq!(engine.size(), (10, 0));
    assert_eq!(engine.tick(11_000, Turn::WHOLE).alerts.len(), 10);
}

fn quote(bid: i64, ask: i64, received_ms: i64) -> Option<SymbolQuote> {
    Some(SymbolQuote {
        exchange: "binance".into(),
        bid: price(bid),
        ask: price(ask),
        received_ms,
    })
}

#[test]
fn a_spread_fires_once_it_was_wide_for_its_time_and_again_after_it_was_narrow() {
    let when = r#"{"type":"spread","points":"10","for_s":5}"#;
    let mut engine = engine(&rule(when, 0));
    // The time, and the ask at a bid of 10,000: 0 for no quote.
    let steps: [(i64, i64); 18] = [
        (0, 10_010),
        (4_999, 10_010),
        // Below its ten points for a moment: it begins again.
        (5_000, 10_009),
        (6_000, 10_010),
        (10_999, 10_020),
        (11_000, 10_015),
        (20_000, 10_010),
        // Narrower, and not narrow enough: five points.
        (21_000, 10_006),
        (22_000, 10_010),
        (30_000, 10_010),
        (31_000, 10_005),
        (32_000, 10_030),
        // Nobody knows the quote for a while.
        (36_000, 0),
        (37_000, 10_030),
        (41_999, 10_030),
        (42_000, 10_030),
        (43_000, 10_030),
        (44_000, 9_999),
    ];
    let mut fired = Vec::new();
    for (now_ms, ask) in steps {
        let quote = quote(10_000, ask.max(1), now_ms).filter(|_| ask > 0);
        assert!(engine.offer_quote(&symbol(), quote));
        for alert in engine
            .tick_quotes(now_ms, now_ms - 60_000, Turn::WHOLE)
            .alerts
        {
            let firing = alert.firing;
            fired.push((
                now_ms,
                alert.seq,
                firing.start_ms,
                firing.end_ms,
                firing.value,
            ));
        }
    }
    let expected = [
        (11_000, 1, 6_000, 11_000, "100.15".to_owned()),
        (42_000, 2, 37_000, 42_000, "100.3".to_owned()),
    ];
    assert_eq!(fired, expected);
}

#[test]
fn a_symbol_whose_first_sign_is_a_quote_is_silent_from_then_on_and_not_since_its_rule() {
    let mut stale = rule(r#"{"type":"stale","after_s":10}"#, 0);
    stale.name = "stale".parse().expect("a name");
    let mut engine = engine(&rule(r#"{"type":"spread","points":"10","for_s":0}"#, 0));
    // Both are for all symbols, and much older than the quote.
    engine.put(active(&stale));
    assert!(engine.offer_quote(&symbol(), quote(10_000, 10_001, 1_000_000)));
    assert_eq!(engine.tick(1_009_999, Turn::WHOLE).alerts, []);
    assert_eq!(
        starts(&engine.tick(1_010_000, Turn::WHOLE).alerts),
        [(1, 1_000)]
    );
}

#[test]
fn an_old_quote_says_nothing_and_quotes_without_a_rule_are_not_kept() {
    let when = r#"{"type":"spread","points":"10","for_s":5}"#;
    let mut engine = engine(&rule(when, 0));
    let wide = || quote(10_000, 10_100, 1_000);
    assert!(engine.offer_quote(&symbol(), wide()));
    assert_eq!(engine.tick_quotes(2_000, 1_000, Turn::WHOLE).alerts, []);
    // Its feed stands still: what was wide then need not be wide now.
    assert_eq!(engine.tick_quotes(7_000, 1_001, Turn::WHOLE).alerts, []);
    assert_eq!(
        engine.tick_quotes(8_000, 1_000, Turn::WHOLE).alerts,
        [],
        "it begins again"
    );
    assert_eq!(
        engine.tick_quotes(13_000, 1_000, Turn::WHOLE).alerts.len(),
        1
    );
    engine.remove(&"r".parse().expect("a name"));
    assert_eq!(engine.size(), (0, 0));
    assert!(!engine.offer_quote(&symbol(), wide()));
    assert_eq!(engine.tick_quotes(20_000, 0, Turn::WHOLE).alerts, []);
}

#[test]
fn a_volume_is_compared_only_with_bars_that_are_all_there() {
    let when = r#"{"type":"volume","times":"3","window_s":1,"base_s":4}"#;
    let mut engine = engine(&rule(when, 0));
    // Of 7 and of 1.
    let (much, little) = (706, 700);
    let mut alerts = Vec::new();
    for second in [0, 4, 1, 2, 3, 5, 6, 7, 8] {
        let cents = if second < 5 { much } else { little };
        alerts.extend(feed(&mut engine, Cents::flat(second, cents)));
    }
    assert_eq!(starts(&alerts), [], "a base with a hole is no base");
    assert_eq!(starts(&feed(&mut engine, Cents::flat(9, much))), [(1, 9)]);
    feed(&mut engine, Cents::flat(10, little));
    let mut with_gap = Cents::flat(11, little).bar();
    with_gap.bar.has_gap = true;
    assert_eq!(engine.offer(with_gap), Outcome::Watched(Vec::new()));
    for second in 12..15 {
        feed(&mut engine, Cents::flat(second, little));
    }
    // Trades of second 11 are missing.
    assert_eq!(starts(&feed(&mut engine, Cents::flat(15, much))), []);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Windows of any width, late bars, revisions, holes: a volume is compared exactly when all bars
    /// of both windows are there, and with exactly these.
    #[test]
    fn volumes_fire_where_a_count_over_all_bars_says(
        seed in any::<u64>(),
        window in 1_i64..4,
        base in 1_i64..6,
    ) {
        let mut random = StdRng::seed_from_u64(seed);
        let when = format!(
            r#"{{"type":"volume","times":"1.25","rearm_times":"1","window_s":{window},"base_s":{base}}}"#
        );
        let mut engine = engine(&rule(&when, 0));
        let mut known: BTreeMap<i64, Cents> = BTreeMap::new();
        let (mut is_armed, mut changed) = (true, i64::MIN);
        for bar in stream(&mut random, 120) {
            let fired: Vec<i64> = feed(&mut engine, bar)
                .iter()
                .map(|alert| alert.firing.start_ms / SECOND)
                .collect();
            let newest = known.last_key_value().map_or(i64::MIN, |(second, _)| *second);
            let is_old = bar.second < newest.saturating_add(1 - window - base);
            let is_known = known.get(&bar.second).is_some_and(|other| other.rev >= bar.rev);
            if is_old || is_known {
                prop_assert_eq!(fired, Vec::<i64>::new());
                continue;
            }
            known.insert(bar.second, bar);
            let (&second, _) = known.last_key_value().expect("it has one");
            let sum = |from: i64, to: i64| {
                let bars: Vec<i64> = known.range(from..to).map(|(_, bar)| 1 + bar.open % 7).collect();
                (bars.len() == usize::try_from(to - from).expect("above 0")).then(|| bars.iter().sum::<i64>())
            };
            let from = second + 1 - window;
            // Bars before the newest one of a new series are unknown: the base must be there.
            let sums = sum(from, second + 1).zip(sum(from - base, from));
            let mut expected = Vec::new();
            if let Some((new, old)) = sums.filter(|_| second > changed) {
                if is_armed && new * base * 4 >= old * window * 5 {
                    (is_armed, changed) = (false, second);
                    expected.push(second);
                } else if !is_armed && new * base <= old * window {
                    (is_armed, changed) = (true, second);
                }
            }
            prop_assert_eq!(fired, expected, "at {:?}", bar);
        }
    }
}

#[test]
fn bars_are_watched_as_rules_come_change_and_go() {
    let of = |name: &str, symbols: &[&str], when: &str| {
        let mut rule = rule(when, 0);
        rule.name = name.parse().expect("a name");
        rule.symbols = symbols.iter().map(|&symbol| symbol.to_owned()).collect();
        active(&rule)
    };
    let (gap, stale) = (r#"{"type":"gap"}"#, r#"{"type":"stale","after_s":10}"#);
    let mut engine = Engine::new(10);
    let mut second = 0;
    let mut is_watched = |engine: &mut Engine| {
        second += 1;
        engine.offer(Cents::flat(second, 100).bar()) != Outcome::Unwatched
    };
    let name = |text: &str| text.parse().expect("a name");
    assert!(!is_watched(&mut engine));
    engine.put(of("a", &["ETH-USDT"], gap));
    assert!(!is_watched(&mut engine));
    engine.put(of("a", &["ETH-USDT", "BTC-USDT"], gap));
    engine.put(of("b", &["BTC-USDT"], stale));
    assert!(is_watched(&mut engine));
    assert_eq!(
        engine.tick(100_000, Turn::WHOLE).alerts.len(),
        1,
        "the rule b"
    );
    engine.put(of("b", &["BTC-USDT"], gap));
    assert_eq!(
        engine.tick(200_000, Turn::WHOLE).alerts,
        [],
        "it looks at silences no longer"
    );
    engine.put(of("c", &["*"], stale));
    assert_eq!(
        engine.tick(200_000, Turn::WHOLE).alerts.len(),
        1,
        "the rule c"
    );
    assert!(engine.remove(&name("a")) && engine.remove(&name("b")));
    assert!(is_watched(&mut engine));
    assert!(engine.remove(&name("c")) && !engine.remove(&name("c")));
    assert!(!is_watched(&mut engine));
    assert_eq!(engine.tick(300_000, Turn::WHOLE).alerts, []);
}

#[test]
fn more_symbols_than_the_bound_are_refused() {
    let mut engine = engine(&rule(r#"{"type":"gap"}"#, 0));
    for index in 0..12 {
        let symbol: Symbol = format!("A{index}-B").parse().expect("a symbol");
        let bar = SymbolBar {
            symbol,
            ..Cents::flat(0, 100).bar()
        };
        let expected = if index < 10 {
            Outcome::Watched(Vec::new())
        } else {
            Outcome::Full
        };
        assert_eq!(engine.offer(bar), expected);
    }
    assert_eq!(engine.size(), (10, 10));
}

#[test]
fn what_no_rule_looks_at_is_not_kept() {
    let mut engine = engine(&rule(r#"{"type":"move","percent":"5","window_s":10}"#, 0));
    for second in 0..1_000 {
        feed(&mut engine, Cents::flat(second, 100));
    }
    assert_eq!(engine.size(), (1, 10));
    let old = engine.offer(Cents::flat(500, 100).bar());
    assert_eq!(old, Outcome::Old(Taken::TooOld));
    engine.take_changes();
    engine.remove(&"r".parse().expect("a name"));
    assert_eq!(engine.size(), (0, 0));
    assert_eq!(engine.take_changes().symbols, [(symbol(), None)]);
    assert_eq!(
        engine.offer(Cents::flat(2_000, 100).bar()),
        Outcome::Unwatched
    );
}
