use proptest::prelude::*;

use super::*;

const SECOND_MS: i64 = 1_000;
const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 3_600_000;
/// The whole hour at or after which tickers come.
const NOON_MS: i64 = 1_723_118_400_000;
const ALLOWED: Allowance = Allowance {
    step_ms: HOUR_MS,
    tolerance_ms: 3_000,
    age_ms: 60_000,
};

/// A trade: its time, its price, and its quantity in thousandths.
type Traded = (UnixMillis, u32, u32);

fn price(value: u32) -> Price {
    Price::parse(&value.to_string()).expect("a price")
}

fn amount(thousandths: u32) -> Amount {
    Amount::from_parts(i128::from(thousandths), 3)
}

/// Every bar of a width within `times`, those without trades among them.
fn bars_of(trades: &[Traded], width_ms: i64, times: Range<UnixMillis>) -> Vec<OwnBar> {
    let mut bars = Vec::new();
    let mut start_ms = times.start.div_euclid(width_ms) * width_ms;
    let before = |start_ms: i64| trades.iter().rfind(|trade| trade.0 < start_ms);
    while start_ms + width_ms <= times.end {
        let end_ms = start_ms + width_ms;
        let first = trades.partition_point(|trade| trade.0 < start_ms);
        let last = trades.partition_point(|trade| trade.0 < end_ms);
        let within = &trades[first..last];
        let mut volume = Amount::ZERO;
        within.iter().for_each(|trade| volume.add(amount(trade.2)));
        let prices = || within.iter().map(|trade| trade.1);
        let flat = before(start_ms).map(|trade| trade.1);
        if let Some((low, high)) = prices().min().zip(prices().max()).or(flat.zip(flat)) {
            bars.push(OwnBar {
                start_ms,
                end_ms,
                high: price(high),
                low: price(low),
                volume,
                is_whole: true,
            });
        }
        start_ms = end_ms;
    }
    bars
}

/// What the bus keeps 12 seconds after `event_ms`: the newest bars of each width.
fn kept(trades: &[Traded], event_ms: UnixMillis) -> OwnBars {
    let mut own = OwnBars::default();
    let now_ms = event_ms + 12_000;
    for width_ms in [SECOND_MS, MINUTE_MS, HOUR_MS] {
        own.extend(bars_of(trades, width_ms, now_ms - 32 * width_ms..now_ms));
    }
    own
}

/// The venue's ticker of the trades in `[from_ms, to_ms]`.
fn ticker(trades: &[Traded], from_ms: UnixMillis, to_ms: UnixMillis) -> Option<Ticker> {
    let first = trades.partition_point(|trade| trade.0 < from_ms);
    let last = trades.partition_point(|trade| trade.0 <= to_ms);
    let within = &trades[first..last];
    let mut volume = Amount::ZERO;
    within.iter().for_each(|trade| volume.add(amount(trade.2)));
    let prices = || within.iter().map(|trade| trade.1);
    Some(Ticker {
        open: within.first().map(|trade| price(trade.1)),
        high: prices().max().map(price),
        low: prices().min().map(price),
        last: price(trades[..last].last()?.1),
        last_quantity: None,
        volume,
        quote_volume: None,
        count: None,
        ids: None,
        bid: None,
        bid_quantity: None,
        ask: None,
        ask_quantity: None,
        event_ms: Some(to_ms),
        received_us: to_ms * 1_000,
    })
}

/// Names of the fields that differ.
fn differing(ticker: &Ticker, own: &OwnBars) -> Vec<&'static str> {
    let verdicts = compare(ticker, own, ALLOWED).expect("it has a time");
    let names = Field::ALL.iter().zip(verdicts);
    names
        .filter(|(_, verdict)| matches!(verdict, Verdict::Differs(_)))
        .map(|(field, _)| field.name())
        .collect()
}

/// Trades of 30 hours before noon and an hour after, by time.
fn trades() -> impl Strategy<Value = Vec<Traded>> {
    let trade = (-30 * HOUR_MS..HOUR_MS, 900u32..1_100, 1u32..5_000);
    let dense = (-40_000i64..20_000, 900u32..1_100, 1u32..5_000);
    (
        prop::collection::vec(trade, 1..60),
        prop::collection::vec(dense, 0..20),
    )
        .prop_map(|(mut trades, dense)| {
            trades.extend(dense);
            trades.sort_unstable();
            for trade in &mut trades {
                trade.0 += NOON_MS;
            }
            trades
        })
}

/// Minute 5 of an hour: the bars of hours and minutes that are kept adjoin.
const EVENT_MS: UnixMillis = NOON_MS + 5 * MINUTE_MS;

/// One trade each ten minutes, and one right before the ticker.
fn quiet_day() -> Vec<Traded> {
    let at = |index: i64| EVENT_MS - 30 * HOUR_MS + 5_000 + index * 10 * MINUTE_MS;
    let mut trades: Vec<Traded> = (0..180).map(|index| (at(index), 1_000, 1_000)).collect();
    trades.push((EVENT_MS - 8_000, 1_001, 1_000));
    trades
}

#[test]
fn an_open_is_compared_also_in_the_second_half_of_an_hour() {
    let (trades, event_ms) = (quiet_day(), EVENT_MS - 20 * MINUTE_MS);
    let own = kept(&trades, event_ms);
    let mut ticker = ticker(&trades, event_ms - WINDOW_MS, event_ms).expect("trades");
    let verdicts = compare(&ticker, &own, ALLOWED).expect("it has a time");
    assert_eq!(verdicts[1], Verdict::Agrees);
    ticker.open = Some(price(2_000));
    ticker.high = Some(price(2_000));
    // The high has no bound above: the bars of hours and of minutes do not adjoin.
    assert_eq!(differing(&ticker, &own), ["open"]);
}

#[test]
fn all_fields_of_a_covered_day_are_bounded_on_both_sides() {
    let trades = quiet_day();
    let own = kept(&trades, EVENT_MS);
    let ticker = ticker(&trades, EVENT_MS - WINDOW_MS, EVENT_MS).expect("trades");
    let verdicts = compare(&ticker, &own, ALLOWED);
    assert_eq!(verdicts, Some([const { Verdict::Agrees }; 5]));
    let check = |field: &str, change: &dyn Fn(&mut Ticker)| {
        let mut changed = ticker;
        change(&mut changed);
        assert_eq!(differing(&changed, &own), [field]);
    };
    check("last", &|ticker| ticker.last = price(1_002));
    check("last", &|ticker| ticker.last = price(999));
    check("open", &|ticker| ticker.open = Some(price(1_001)));
    check("high", &|ticker| ticker.high = Some(price(1_002)));
    check("high", &|ticker| ticker.high = Some(price(1_000)));
    check("low", &|ticker| ticker.low = Some(price(999)));
    check("low", &|ticker| ticker.low = Some(price(1_001)));
    check("volume", &|ticker| ticker.volume = amount(100_000));
    check("volume", &|ticker| ticker.volume = amount(170_000));
}

#[test]
fn a_ticker_without_a_time_or_received_long_after_it_is_not_compared() {
    let trades = quiet_day();
    let own = kept(&trades, EVENT_MS);
    let mut ticker = ticker(&trades, EVENT_MS - WINDOW_MS, EVENT_MS).expect("trades");
    ticker.received_us += 60_000_000;
    assert!(compare(&ticker, &own, ALLOWED).is_some());
    ticker.received_us += 1_000;
    assert_eq!(compare(&ticker, &own, ALLOWED), None);
    ticker.event_ms = None;
    assert_eq!(compare(&ticker, &own, ALLOWED), None);
}

#[test]
fn bars_that_lack_trades_bound_only_one_side() {
    let trades = quiet_day();
    let mut own = kept(&trades, EVENT_MS);
    for bars in own.by_width.values_mut() {
        for bar in bars.values_mut() {
            bar.is_whole = false;
        }
    }
    let mut ticker = ticker(&trades, EVENT_MS - WINDOW_MS, EVENT_MS).expect("trades");
    ticker.high = Some(price(5_000));
    ticker.low = Some(price(1));
    ticker.volume = amount(1_000_000);
    ticker.last = price(7);
    let verdicts = compare(&ticker, &own, ALLOWED).expect("it has a time");
    let expected = [
        Verdict::Uncovered,
        Verdict::Uncovered,
        Verdict::Agrees,
        Verdict::Agrees,
        Verdict::Agrees,
    ];
    assert_eq!(verdicts, expected);
    ticker.volume = amount(100_000);
    assert_eq!(differing(&ticker, &own), ["volume"]);
}

/// The bar that holds the ticker's trades begins after its last one.
#[test]
fn the_last_price_may_be_one_of_the_bar_before() {
    let trades = [(EVENT_MS - 10_000, 1_000, 1), (EVENT_MS - 2_500, 1_001, 1)];
    let own = kept(&trades, EVENT_MS);
    let mut ticker = ticker(&trades, EVENT_MS - WINDOW_MS, EVENT_MS - 2_900).expect("trades");
    (ticker.event_ms, ticker.received_us) = (Some(EVENT_MS), EVENT_MS * 1_000);
    // Its second has a bar with trades only after it.
    let mut bars = OwnBars::default();
    let seconds = own.by_width[&SECOND_MS].values().copied();
    bars.extend(seconds.filter(|bar| bar.has_trades() || bar.start_ms < EVENT_MS - 3_000));
    bars.extend((0..8).map(|second| OwnBar {
        start_ms: EVENT_MS - 2_000 + second * SECOND_MS,
        end_ms: EVENT_MS - 1_000 + second * SECOND_MS,
        high: price(1_001),
        low: price(1_001),
        volume: Amount::ZERO,
        is_whole: true,
    }));
    let first = bars.at(EVENT_MS - 3_000).expect("a bar");
    assert_eq!(first.low, price(1_001));
    let verdicts = compare(&ticker, &bars, ALLOWED).expect("it has a time");
    assert_eq!(verdicts[0], Verdict::Agrees);
}

#[test]
fn a_window_that_begins_in_a_silence_may_open_with_its_first_trade() {
    let mut trades = quiet_day();
    let silence = EVENT_MS - 26 * HOUR_MS..EVENT_MS - 20 * HOUR_MS;
    trades.retain(|trade| !silence.contains(&trade.0));
    let first = trades.partition_point(|trade| trade.0 < silence.end);
    trades[first].1 = 1_007;
    let own = kept(&trades, EVENT_MS);
    let mut ticker = ticker(&trades, EVENT_MS - WINDOW_MS, EVENT_MS).expect("trades");
    assert_eq!(ticker.open, Some(price(1_007)));
    for (open, expected) in [(1_007, &[][..]), (1_000, &[]), (1_008, &["open"])] {
        ticker.open = Some(price(open));
        assert_eq!(differing(&ticker, &own), expected);
    }
}

#[test]
fn without_bars_nothing_is_said() {
    let ticker = ticker(&quiet_day(), EVENT_MS - WINDOW_MS, EVENT_MS).expect("trades");
    let verdicts = compare(&ticker, &OwnBars::default(), ALLOWED);
    assert_eq!(verdicts, Some([const { Verdict::Uncovered }; 5]));
}

proptest! {
    /// Wherever in the step the venue's window begins, however late the ticker is within the
    /// tolerance, and whichever bars were given up.
    #[test]
    fn a_ticker_of_the_same_trades_never_differs(
        trades in trades(),
        minute in 0i64..59,
        step_ms in -HOUR_MS..HOUR_MS,
        lag_ms in 0i64..3_000,
        from_hour in 0i64..40,
    ) {
        let event_ms = NOON_MS + minute * MINUTE_MS;
        let mut own = kept(&trades, event_ms);
        let first_ms = event_ms - from_hour * HOUR_MS;
        for bars in own.by_width.values_mut() {
            bars.retain(|&start_ms, _| start_ms >= first_ms);
        }
        let from_ms = event_ms - WINDOW_MS + step_ms;
        let Some(mut ticker) = ticker(&trades, from_ms, event_ms - lag_ms) else {
            return Ok(());
        };
        ticker.event_ms = Some(event_ms);
        ticker.received_us = event_ms * 1_000;
        prop_assert_eq!(differing(&ticker, &own), Vec::<&str>::new());
    }

    /// A trade that only one side has. The trades around the beginning of the window, which it may
    /// or may not have, would hide it: there are none.
    #[test]
    fn a_ticker_with_one_trade_lost_differs(lost in any::<prop::sample::Index>(), is_ours in any::<bool>()) {
        let around = EVENT_MS - 26 * HOUR_MS..NOON_MS - 22 * HOUR_MS;
        let mut trades = quiet_day();
        trades.retain(|trade| !around.contains(&trade.0));
        // The last price has a field of its own.
        let first = trades.partition_point(|trade| trade.0 < around.start);
        let lost = trades[first + lost.index(trades.len() - 1 - first)].0;
        let less: Vec<Traded> = trades.iter().copied().filter(|trade| trade.0 != lost).collect();
        let (venue, ours) = if is_ours { (&trades, &less) } else { (&less, &trades) };
        let ticker = ticker(venue, EVENT_MS - WINDOW_MS, EVENT_MS).expect("trades");
        prop_assert_eq!(differing(&ticker, &kept(ours, EVENT_MS)), ["volume"]);
    }

    /// The prices of two symbols are apart.
    #[test]
    fn a_ticker_with_the_price_of_another_symbol_differs(trades in trades(), other in 1_100u32..9_000) {
        let own = kept(&trades, EVENT_MS);
        let Some(mut ticker) = ticker(&trades, EVENT_MS - WINDOW_MS, EVENT_MS) else {
            return Ok(());
        };
        ticker.last = price(other);
        let verdicts = compare(&ticker, &own, ALLOWED).expect("it has a time");
        let has_price = own.last_prices(&(EVENT_MS - 3_000..EVENT_MS + 3_000)).at_least.is_some();
        prop_assert_eq!(matches!(verdicts[0], Verdict::Differs(_)), has_price);
    }

    #[test]
    fn times_at_the_ends_of_the_range_never_panic(event_ms in prop_oneof![Just(i64::MIN), Just(i64::MAX), any::<i64>()], received_us in any::<i64>()) {
        let trades = quiet_day();
        let mut ticker = ticker(&trades, EVENT_MS - WINDOW_MS, EVENT_MS).expect("trades");
        (ticker.event_ms, ticker.received_us) = (Some(event_ms), received_us);
        let _ = compare(&ticker, &kept(&trades, EVENT_MS), ALLOWED);
    }
}
