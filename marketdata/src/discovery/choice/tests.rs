use proptest::prelude::*;

use super::*;
use crate::exchange::registry;

fn market(base: &str) -> Market {
    Market {
        native: format!("{base}USDT"),
        base: base.to_owned(),
        quote: "USDT".to_owned(),
        is_trading: true,
    }
}

/// Markets in the order of their turnover.
fn ranked(bases: &[&str], top: &str) -> Vec<Candidate> {
    let pattern: Pattern = format!("binance:*-USDT{top}").parse().expect("a pattern");
    let markets: Vec<Market> = bases.iter().map(|base| market(base)).collect();
    let turnovers = bases.iter().enumerate().map(|(rank, base)| {
        let turnover = 1_000.0 - rank as f64;
        (format!("{base}USDT"), turnover)
    });
    let binance = registry::find("binance").expect("a venue");
    let mut left_out = LeftOut::default();
    candidates(
        &pattern,
        binance,
        &markets,
        &turnovers.collect(),
        &mut HashSet::new(),
        &mut left_out,
    )
}

fn look(choice: &mut Choice, candidates: &[Candidate], elsewhere: &[&str]) -> Changes {
    let elsewhere = elsewhere.iter().map(|base| format!("binance:{base}-USDT"));
    let mut left_out = LeftOut::default();
    let looked = choice.look(
        candidates,
        &elsewhere.collect(),
        &BTreeSet::new(),
        1_000,
        &mut left_out,
    );
    looked.expect("it is believed")
}

fn followed(choice: &Choice) -> Vec<String> {
    choice
        .followed()
        .map(|spec| spec.symbol.base().to_owned())
        .collect()
}

fn names(specs: &[InstrumentSpec]) -> Vec<&str> {
    specs.iter().map(|spec| spec.symbol.base()).collect()
}

#[test]
fn a_market_at_the_edge_of_the_rank_does_not_come_and_go() {
    let mut choice = Choice::default();
    look(&mut choice, &ranked(&["A", "B", "C", "D"], ":top=2"), &[]);
    assert_eq!(followed(&choice), ["A", "B"]);
    // B and C change places again and again: C comes once, and nothing leaves.
    for order in [
        ["A", "C", "B", "D"],
        ["A", "B", "C", "D"],
        ["A", "C", "B", "D"],
    ] {
        let changes = look(&mut choice, &ranked(&order, ":top=2"), &[]);
        assert_eq!(changes.leave, []);
    }
    assert_eq!(followed(&choice), ["A", "B", "C"]);
    // Behind the margin it leaves.
    let changes = look(&mut choice, &ranked(&["A", "C", "D", "B"], ":top=2"), &[]);
    assert_eq!(names(&changes.leave), ["B"]);
    assert_eq!(followed(&choice), ["A", "C"]);
}

#[test]
fn a_market_is_delisted_when_two_answers_lack_it_and_comes_back_when_it_is_listed() {
    let mut choice = Choice::default();
    look(&mut choice, &ranked(&["A", "B"], ""), &[]);
    let without = ranked(&["A"], "");
    assert_eq!(look(&mut choice, &without, &[]), Changes::default());
    // An answer with it begins the count again.
    look(&mut choice, &ranked(&["A", "B"], ""), &[]);
    assert_eq!(look(&mut choice, &without, &[]), Changes::default());
    assert_eq!(names(&look(&mut choice, &without, &[]).delisted), ["B"]);
    let changes = look(&mut choice, &ranked(&["A", "B", "C"], ""), &[]);
    assert_eq!(names(&changes.come), ["B", "C"]);
}

#[test]
fn a_list_without_most_of_what_is_followed_is_not_believed() {
    let mut choice = Choice::default();
    let all = ["A", "B", "C", "D", "E", "F"];
    look(&mut choice, &ranked(&all, ""), &[]);
    let mut left_out = LeftOut::default();
    for _ in 0..3 {
        let doubted = choice.look(
            &ranked(&["A", "B"], ""),
            &HashSet::new(),
            &BTreeSet::new(),
            9,
            &mut left_out,
        );
        assert_eq!(
            doubted,
            Err(Doubted {
                absent: 4,
                followed: 6
            })
        );
    }
    assert_eq!(followed(&choice), all);
}

#[test]
fn an_answer_without_the_turnovers_of_most_markets_changes_no_rank() {
    let last = ranked(&["A", "B", "C"], ":top=2");
    let mut turnovers = HashMap::from([("CUSDT".to_owned(), 1.0), ("BUSDT".to_owned(), 2_000.0)]);
    keep_known(&mut turnovers, &last);
    let expected = [("AUSDT", 1_000.0), ("BUSDT", 2_000.0), ("CUSDT", 1.0)];
    let expected = expected.map(|(native, turnover)| (native.to_owned(), turnover));
    assert_eq!(turnovers, HashMap::from(expected));
}

#[test]
fn a_pause_keeps_a_market_and_starts_none_and_what_is_left_out_is_counted() {
    let mut choice = Choice::default();
    let mut markets = ranked(&["A", "B", "C", "D"], "");
    markets[1].is_trading = false;
    let claimed = BTreeSet::from(["C-USDT".parse().expect("a symbol")]);
    let mut left_out = LeftOut::default();
    let looked = choice.look(&markets, &HashSet::new(), &claimed, 1, &mut left_out);
    assert_eq!(names(&looked.expect("believed").come), ["A"]);
    let expected = LeftOut {
        paused: 1,
        claimed: 1,
        bound: 1,
        ..LeftOut::default()
    };
    assert_eq!(left_out, expected);
    markets[0].is_trading = false;
    assert_eq!(look(&mut choice, &markets, &[]).leave, []);
    assert_eq!(followed(&choice), ["A", "C", "D"]);
}

#[test]
fn a_market_that_pauses_for_too_long_while_others_trade_is_delisted() {
    const HOUR: Duration = Duration::from_secs(3_600);
    let mut choice = Choice::default();
    let begun = Instant::now();
    let mut markets = ranked(&["A", "B"], "");
    look(&mut choice, &markets, &[]);
    let after = |choice: &mut Choice, markets: &[Candidate], hours: u32| {
        look(choice, markets, &[]);
        let gone = choice.paused_for(markets, 24 * HOUR, begun + hours * HOUR);
        names(&gone).join(" ")
    };
    // The whole venue pauses: that says nothing.
    markets[0].is_trading = false;
    markets[1].is_trading = false;
    for hours in [0, 30, 60] {
        assert_eq!(after(&mut choice, &markets, hours), "");
    }
    markets[0].is_trading = true;
    assert_eq!(after(&mut choice, &markets, 61), "");
    assert_eq!(after(&mut choice, &markets, 85), "");
    // One that trades in between begins again.
    markets[1].is_trading = true;
    assert_eq!(after(&mut choice, &markets, 86), "");
    markets[1].is_trading = false;
    assert_eq!(after(&mut choice, &markets, 87), "");
    assert_eq!(after(&mut choice, &markets, 111), "");
    assert_eq!(after(&mut choice, &markets, 112), "B");
    assert_eq!(followed(&choice), ["A"]);
    assert_eq!(after(&mut choice, &markets, 113), "");
    // It is listed again.
    markets[1].is_trading = true;
    assert_eq!(names(&look(&mut choice, &markets, &[]).come), ["B"]);
}

#[test]
fn a_name_that_is_no_symbol_is_counted_and_left_out() {
    let pattern: Pattern = "binance:*-USDT".parse().expect("a pattern");
    let mut left_out = LeftOut::default();
    let binance = registry::find("binance").expect("a venue");
    let odd = [
        market("币安人生"),
        Market {
            native: "OTHER".to_owned(),
            ..market("A")
        },
    ];
    let found = candidates(
        &pattern,
        binance,
        &odd,
        &HashMap::new(),
        &mut HashSet::new(),
        &mut left_out,
    );
    assert_eq!((found, left_out.unwritable), (Vec::new(), 2));
}

proptest! {
    /// Two programs that looked at different orders before, and now both see one order and each
    /// other, follow the same.
    #[test]
    fn programs_that_looked_at_different_moments_agree_in_the_end(
        first in Just(["A", "B", "C", "D", "E", "F", "G", "H"].to_vec()).prop_shuffle(),
        second in Just(["A", "B", "C", "D", "E", "F", "G", "H"].to_vec()).prop_shuffle(),
        now in Just(["A", "B", "C", "D", "E", "F", "G", "H"].to_vec()).prop_shuffle(),
        top in 1usize..8,
    ) {
        let top = format!(":top={top}");
        let (mut one, mut other) = (Choice::default(), Choice::default());
        look(&mut one, &ranked(&first, &top), &[]);
        look(&mut other, &ranked(&second, &top), &[]);
        for _ in 0..2 {
            let said = followed(&other);
            let said: Vec<&str> = said.iter().map(String::as_str).collect();
            look(&mut one, &ranked(&now, &top), &said);
            let said = followed(&one);
            let said: Vec<&str> = said.iter().map(String::as_str).collect();
            look(&mut other, &ranked(&now, &top), &said);
        }
        prop_assert_eq!(followed(&one), followed(&other));
    }
}
