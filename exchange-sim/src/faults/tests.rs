//! Which connections, trades and requests a fault strikes.

use super::*;

fn faults(text: &str) -> Faults {
    let faults = Faults::new(1);
    faults
        .add(text.parse().expect("a fault"), 1_000_000)
        .expect("there is room");
    faults
}

#[test]
fn a_gap_takes_its_count_of_its_symbol_from_its_time_on() {
    let faults = faults("gap,venue=binance,symbol=BTC-USDT,count=2,at=1s");
    let dropped = |symbol, now_ms| faults.trade(Venue::Binance, symbol, now_ms).dropped;
    assert!(!dropped("BTCUSDT", 1_000_999));
    assert!(!dropped("ETHUSDT", 1_001_000));
    assert!(dropped("BTCUSDT", 1_001_000));
    assert!(dropped("BTCUSDT", 1_001_500));
    assert!(!dropped("BTCUSDT", 1_001_501));
    assert_eq!(faults.list()[0].hits, 2);
    assert!(faults.list()[0].done);
}

#[test]
fn a_silence_lasts_until_it_is_lifted() {
    let faults = faults("silence,symbol=ETH-USD,lie=true");
    assert!(faults.trade(Venue::Coinbase, "ETHUSD", 9_000_000).dropped);
    assert!(faults.heartbeat_lies(Venue::Coinbase, "ETHUSD", 9_000_000));
    assert!(!faults.heartbeat_lies(Venue::Coinbase, "BTCUSD", 9_000_000));
    assert_eq!(faults.remove(None), 1);
    assert!(!faults.trade(Venue::Coinbase, "ETHUSD", 9_000_001).dropped);
}

#[test]
fn a_repeating_fault_strikes_once_a_round() {
    let faults = faults("disconnect,venue=okx,every=10s");
    assert_eq!(faults.due(1_000_000).len(), 1);
    assert_eq!(faults.due(1_009_999).len(), 0);
    assert_eq!(faults.due(1_010_000).len(), 1);
    assert_eq!(faults.due(1_045_000).len(), 1);
}

#[test]
fn a_cut_disconnects_and_then_refuses_for_its_time() {
    let faults = faults("cut,venue=coinbase,for=30s");
    assert_eq!(faults.due(1_000_000)[0].kind, FaultKind::Disconnect);
    assert_eq!(faults.due(1_000_001).len(), 0);
    assert!(faults.refuses(Venue::Coinbase, 1_029_999));
    assert!(!faults.refuses(Venue::Binance, 1_029_999));
    assert!(!faults.refuses(Venue::Coinbase, 1_030_000));
}

#[test]
fn rest_faults_choose_their_path() {
    let faults = faults("rest_429,venue=binance,path=/klines,retry_after=3,count=1");
    assert_eq!(faults.rest(Venue::Binance, "/api/v3/time", 1_000_000), None);
    assert_eq!(
        faults.rest(Venue::Binance, "/api/v3/klines", 1_000_000),
        Some(RestVerdict::Status(429, Some(3)))
    );
    assert_eq!(
        faults.rest(Venue::Binance, "/api/v3/klines", 1_000_000),
        None
    );
}
