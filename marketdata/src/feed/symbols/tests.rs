use super::*;
use crate::exchange::registry;

fn venue(board: &Arc<SymbolBoard>, count: usize, names_max: usize) -> VenueSymbols {
    let symbol = |index| (index, format!("C{index}-USD").parse().expect("a symbol"));
    VenueSymbols {
        board: Arc::clone(board),
        symbols: (0..count).map(symbol).collect(),
        names_max,
    }
}

fn refusal(retry_at_ms: i64) -> Refusal {
    Refusal {
        times: 1,
        retry_at_ms,
    }
}

#[test]
fn each_symbol_is_told_by_name_in_its_state_and_long_lists_are_cut() {
    let board = Arc::new(SymbolBoard::with_all(6));
    board.up(&[0, 1, 2]);
    board.set_silent(1, true);
    board.refused(3, refusal(9));
    board.refused(4, refusal(9));
    board.is_gone(2);
    let summary = venue(&board, 6, 1).summary();
    let told: Vec<(&str, usize, &[String])> = SymbolState::ALL
        .iter()
        .map(|&state| {
            let part = summary.part(state);
            (state.name(), part.count, part.names.as_slice())
        })
        .collect();
    let name = |index: usize| vec![format!("C{index}-USD")];
    assert_eq!(
        told,
        [
            ("waiting", 1, &name(5)[..]),
            ("subscribed", 1, &name(0)[..]),
            ("silent", 1, &name(1)[..]),
            ("refused", 2, &name(3)[..]),
            ("unknown", 1, &name(2)[..]),
        ]
    );
    assert_eq!(summary.carried(), 2);
}

#[test]
fn a_share_has_what_is_ours_and_differs_after_each_new_assignment() {
    let board = SymbolBoard::new(2);
    let symbols = [(0, "A".to_owned()), (1, "B".to_owned())];
    assert_eq!(board.share(&symbols), Share::default());
    board.assign(&[(1, 7)]);
    let before = board.share(&symbols);
    assert_eq!(before.symbols(), &symbols[1..]);
    assert!(board.is_ours(1) && !board.is_ours(0));
    let changes = board.changes();
    board.release(&[1]);
    assert!(changes.has_changed().expect("the board lives"));
    assert_eq!(board.share(&symbols), Share::default());
    board.assign(&[(1, 8)]);
    assert_ne!(board.share(&symbols), before, "a new connection is due");
}

#[test]
fn what_is_not_ours_is_in_no_summary() {
    let board = Arc::new(SymbolBoard::with_all(3));
    board.release(&[1]);
    let summary = venue(&board, 3, 9).summary();
    assert_eq!(summary.total(), 2);
    assert_eq!(
        summary.part(SymbolState::Waiting).names,
        ["C0-USD", "C2-USD"]
    );
}

#[test]
fn a_symbol_is_carried_while_one_of_two_connections_carries_it() {
    let board = SymbolBoard::with_all(1);
    board.refused(0, refusal(9));
    board.up(&[0]);
    board.up(&[0]);
    board.down(&[0]);
    assert_eq!(board.state(0), SymbolState::Subscribed);
    board.down(&[0]);
    assert_eq!(board.state(0), SymbolState::Waiting);
}

#[test]
fn the_venues_list_tells_what_is_unknown_and_takes_it_back() {
    let okx = registry::find("okx").expect("registered");
    let symbols = [(0, "BTC-USDT".to_owned()), (1, "BTC-USD-SWAP".to_owned())];
    let board = SymbolBoard::with_all(2);
    board.listed(okx, &symbols, &HashSet::new());
    assert_eq!(board.state(0), SymbolState::Unknown);
    assert_eq!(board.state(1), SymbolState::Waiting, "not of that list");
    let listed = HashSet::from(["BTC-USDT".to_owned()]);
    board.listed(okx, &symbols, &listed);
    assert_eq!(board.state(0), SymbolState::Waiting);
}

#[test]
fn a_connection_waits_only_while_all_of_its_symbols_are_refused() {
    let symbols = [(0, "A".to_owned()), (1, "B".to_owned())];
    let board = SymbolBoard::with_all(2);
    board.refused(0, refusal(5_000));
    assert_eq!(board.all_refused_for_ms(&symbols, 1_000), None);
    board.refused(1, refusal(3_000));
    assert_eq!(board.all_refused_for_ms(&symbols, 1_000), Some(2_000));
    assert_eq!(board.all_refused_for_ms(&symbols, 3_000), None);
}
