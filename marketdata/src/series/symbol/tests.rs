use market_core::{AggressorSide, PipelineConfig, Price, Quantity};

use super::*;

const TIMING: WorkerTiming = WorkerTiming {
    forming_interval_ms: 250,
    checkpoint_interval_ms: 5_000,
    zombie_age_ms: 7_500,
    reorder_window_ms: 2_000,
    proof_hold_ms: 10_000,
};
const START_MS: i64 = 1_700_000_000_000;

fn symbol() -> Symbol {
    let pipeline = Pipeline::new(&PipelineConfig::default());
    Symbol::new(0, "BTCUSDT", pipeline, TIMING, START_MS, (0, 1))
}

fn trade(id: u64, event_ms: i64) -> Trade {
    Trade {
        first_id: id,
        last_id: id,
        event_ms,
        price: Price::parse("5.50").expect("price"),
        quantity: Quantity::parse("2").expect("quantity"),
        aggressor_side: AggressorSide::Sell,
        received_us: event_ms * 1_000,
    }
}

/// A symbol that connection 1 carries, and its first trade, of id 100.
fn trading() -> Symbol {
    let mut symbol = symbol();
    symbol.tell_clock(0);
    assert!(symbol.socket_up(1, START_MS));
    let mut out = Vec::new();
    let offered = symbol.live(&trade(100, START_MS), START_MS, &mut out);
    assert_eq!((offered, out.len()), (Offered::InBar, 0));
    symbol
}

/// Ticks a symbol whose connections have proved all of their time.
fn tick(symbol: &mut Symbol, now: i64) -> Vec<Output> {
    let mut out = Vec::new();
    symbol.prove(now, now);
    symbol.tick(now, now, &mut out);
    out
}

fn requests(outputs: &[Output]) -> Vec<BackfillRequest> {
    let request = |output: &Output| match output {
        Output::Backfill(request) => Some(*request),
        _ => None,
    };
    outputs.iter().filter_map(request).collect()
}

/// The request because of a silence at `now`.
fn suspected(symbol: &mut Symbol, now: i64) -> BackfillRequest {
    symbol.suspect(now);
    // The first tick gives the gap its age, and a later one asks.
    let mut asked = requests(&tick(symbol, now));
    for later in 1..100 {
        asked.extend(requests(&tick(symbol, now + later * 50)));
    }
    assert_eq!(asked.len(), 1, "one request for the silence");
    asked[0]
}

#[test]
fn only_the_first_and_the_last_connection_change_a_symbol() {
    let mut symbol = symbol();
    assert!(symbol.socket_up(1, START_MS));
    assert!(!symbol.socket_up(2, START_MS));
    assert_eq!(symbol.connections(), [1, 2]);
    assert!(!symbol.socket_down(1, START_MS + 10));
    assert!(symbol.socket_down(2, START_MS + 20));
}

#[test]
fn a_symbol_begins_once_and_with_its_first_trade() {
    let mut waiting = symbol();
    assert!(waiting.begin().is_none());
    let mut symbol = trading();
    assert!(symbol.begin().is_some());
    assert!(symbol.begin().is_none());
}

#[test]
fn bars_stay_open_until_the_venues_clock_is_told_or_waited_for() {
    let mut symbol = symbol();
    symbol.socket_up(1, START_MS);
    let mut out = Vec::new();
    assert!(!symbol.tick(START_MS + 100, START_MS + 100, &mut out));
    assert!(symbol.tick(START_MS + 5_000, START_MS + 5_000, &mut out));
}

#[test]
fn bars_do_not_close_beyond_the_proved_time_until_the_proof_is_given_up() {
    let mut symbol = trading();
    let proved_ms = START_MS + 500;
    let mut out = Vec::new();
    assert_eq!(symbol.prove(proved_ms, START_MS + 1_000), None);
    symbol.tick(proved_ms, START_MS + 1_000, &mut out);
    assert!(!symbol.tick(proved_ms, START_MS + 9_000, &mut out));
    let given_up = symbol.prove(proved_ms, START_MS + 11_000);
    assert_eq!(given_up, Some(ProofChange::GivenUp));
    assert!(symbol.tick(proved_ms, START_MS + 11_000, &mut out));
    let trusted = symbol.prove(START_MS + 12_000, START_MS + 12_000);
    assert_eq!(trusted, Some(ProofChange::Trusted));
}

#[test]
fn old_trades_of_a_suspected_symbol_show_a_dead_socket_once() {
    let mut symbol = trading();
    let now = START_MS + 60_000;
    let request = suspected(&mut symbol, now);
    let job = symbol.job(request, 1);
    assert_eq!((job.instrument, &*job.native), (0, "BTCUSDT"));
    let mut out = Vec::new();
    let mut fates = Vec::new();
    let missed = [trade(101, now - 10_000)];
    let is_zombie = symbol.backfilled(request.id, &missed, now, &mut out, |fate| fates.push(fate));
    assert!(is_zombie);
    assert_eq!(fates.len(), 1);
    let more = [trade(102, now - 9_000)];
    assert!(!symbol.backfilled(request.id, &more, now, &mut out, |_| {}));
}

#[test]
fn young_trades_of_a_suspected_symbol_may_still_be_on_their_way() {
    let mut symbol = trading();
    let now = START_MS + 60_000;
    let request = suspected(&mut symbol, now);
    symbol.job(request, 1);
    let young = [trade(101, now - TIMING.zombie_age_ms)];
    let mut out = Vec::new();
    assert!(!symbol.backfilled(request.id, &young, now, &mut out, |_| {}));
}

#[test]
fn a_request_that_the_stream_made_needless_is_cancelled() {
    let mut symbol = trading();
    let now = START_MS + 60_000;
    let request = suspected(&mut symbol, now);
    let job = symbol.job(request, 1);
    symbol.forget_requests();
    assert!(job.wanted.load(Ordering::Relaxed));
    let later = now + 6_000;
    symbol.live(&trade(101, later), later, &mut Vec::new());
    symbol.forget_requests();
    assert!(!job.wanted.load(Ordering::Relaxed));
}

#[test]
fn forming_bars_come_after_new_trades_and_at_their_interval() {
    let mut symbol = trading();
    let mut bars = Vec::new();
    symbol.forming(START_MS + 100, &mut bars);
    assert!(bars.is_empty(), "too early");
    symbol.forming(START_MS + 250, &mut bars);
    assert!(!bars.is_empty());
    bars.clear();
    symbol.forming(START_MS + 1_000, &mut bars);
    assert!(bars.is_empty(), "no new trade");
}

#[test]
fn a_symbol_without_trades_is_never_saved() {
    let mut symbol = symbol();
    symbol.socket_up(1, START_MS);
    assert!(symbol.save(START_MS + 60_000).is_none());
    assert!(symbol.save_at_the_end().is_none());
}

#[test]
fn the_state_is_saved_at_its_interval_and_at_the_end() {
    let mut symbol = trading();
    assert!(symbol.save(START_MS + 4_999).is_none());
    let saved = symbol.save(START_MS + 5_000);
    assert!(matches!(saved, Some(Ok(_))));
    assert!(symbol.save(START_MS + 60_000).is_none(), "nothing is new");
    assert!(matches!(symbol.save_at_the_end(), Some(Ok(_))));
}
