use clap::Parser;

use super::*;

#[derive(Parser)]
struct Program {
    #[command(flatten)]
    config: Config,
}

#[track_caller]
fn parse(flags: &[&str]) -> Config {
    let program = Program::try_parse_from([&["marketdata"], flags].concat());
    program.unwrap_or_else(|error| panic!("{error}")).config
}

#[track_caller]
fn check_refused(flags: &[&str], parts: &[&str]) {
    let given = [&["marketdata"], flags].concat();
    let error = match Program::try_parse_from(given) {
        Ok(program) => program.config.plan().expect_err("refused").to_string(),
        Err(error) => error.to_string(),
    };
    for part in parts {
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn no_flags_are_the_default() {
    assert_eq!(parse(&[]), Config::default());
    let plan = Config::default().plan().expect("valid");
    assert_eq!(plan.instruments.len(), 7);
    assert_eq!(plan.mode, "live");
    let natives: Vec<&str> = plan
        .instruments
        .iter()
        .map(|instrument| instrument.native.as_str())
        .collect();
    assert_eq!(
        natives,
        [
            "BTCUSDT", "ETHUSDT", "SOLUSDT", "BTC-USD", "ETH-USD", "BTC-USDT", "ETH-USDT"
        ]
    );
}

#[test]
fn two_instruments_that_claim_one_symbol_are_refused_with_the_fix() {
    check_refused(
        &["--instruments", "binance:BTC-USDT,okx:BTC-USDT"],
        &["binance:BTC-USDT", "okx:BTC-USDT", "write okx:OKX:BTC-USDT"],
    );
    check_refused(
        &["--instruments", "okx:BTC-USDT,okx:OKX:BTC-USDT"],
        &["the same at the venue"],
    );
}

#[test]
fn a_symbol_with_another_venues_name_is_refused_with_the_fix() {
    check_refused(
        &["--instruments", "binance:OKX:BTC-USDT"],
        &["binance:OKX:BTC-USDT", "write binance:BINANCE:BTC-USDT"],
    );
}

#[test]
fn wrong_values_say_what_to_write() {
    check_refused(&["--instruments", "BTC-USDT"], &["binance:BTC-USDT"]);
    check_refused(
        &["--instruments", "kraken:BTC-USD"],
        &["kraken", "binance, coinbase, okx"],
    );
    check_refused(&["--instruments", "binance:btcusdt"], &["BASE-QUOTE"]);
    check_refused(&["--endpoint", "binance=ws://x"], &["binance.ws="]);
    check_refused(&["--endpoint", "binance.ws=http://x"], &["binance.ws="]);
    check_refused(
        &["--endpoint", "kraken.ws=ws://x"],
        &["binance, coinbase, okx"],
    );
    check_refused(&["--sim", "127.0.0.1:9443"], &["http://127.0.0.1:9443"]);
    check_refused(&["--timeframes", "7m"], &["not a timeframe"]);
    check_refused(&["--forming-interval-ms", "0"], &["a number above 0"]);
    check_refused(&["--rival-silence-ms", "999"], &["1000 or more"]);
    check_refused(&["--feed-mode-label", "fake"], &["live or sim"]);
}

#[test]
fn endpoints_can_be_pointed_elsewhere() {
    let plan = parse(&[
        "--sim",
        "http://127.0.0.1:9443/",
        "--endpoint",
        "okx.ws=ws://127.0.0.1:1",
        "--endpoint",
        "binance.rest=http://127.0.0.1:2/",
    ])
    .plan()
    .expect("valid");
    assert_eq!(plan.mode, "sim");
    let endpoints: Vec<(&str, &str)> = plan
        .venues
        .iter()
        .map(|venue| {
            (
                venue.endpoints.websocket.as_str(),
                venue.endpoints.rest.as_str(),
            )
        })
        .collect();
    assert_eq!(
        endpoints,
        [
            ("ws://127.0.0.1:9443/ws", "http://127.0.0.1:2"),
            ("ws://127.0.0.1:9443/", "http://127.0.0.1:9443"),
            ("ws://127.0.0.1:1/ws/v5/public", "http://127.0.0.1:9443"),
        ]
    );
}
