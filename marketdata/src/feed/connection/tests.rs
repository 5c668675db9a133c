use super::*;
use crate::exchange::registry;

const TIMING: ConnectionTiming = ConnectionTiming {
    ack_timeout_ms: 10_000,
    symbol_silence_ms: 15_000,
    rotation_age_ms: 1_000_000,
    refused_retry_ms: 30_000,
};

fn connection(exchange: &str, natives: &[&str]) -> Connection {
    let symbols: Vec<Subscription> = natives
        .iter()
        .enumerate()
        .map(|(instrument, &native)| Subscription {
            instrument,
            native: native.to_owned(),
            refusal: None,
        })
        .collect();
    let exchange = registry::find(exchange).expect("registered");
    Connection::new(
        exchange,
        &symbols,
        crate::exchange::Wanted::default(),
        usize::MAX,
        TIMING,
        None,
        0,
    )
}

fn tick(connection: &mut Connection, now: i64) -> Vec<Action> {
    let mut actions = Vec::new();
    connection.tick(now, &mut actions);
    actions
}

fn frame(connection: &mut Connection, text: &str, now: i64) -> (Vec<Action>, Vec<(usize, Trade)>) {
    let (mut actions, mut trades) = (Vec::new(), Vec::new());
    connection.frame(text, now * 1_000, &mut trades, &mut actions);
    (actions, trades)
}

fn binance_trade(id: u64, at: i64) -> String {
    format!(
        r#"{{"e":"trade","E":{at},"s":"BTCUSDT","t":{id},"p":"5","q":"1","T":{at},"m":true,"M":true}}"#
    )
}

#[test]
fn subscribes_are_paced_below_the_venues_message_limit() {
    let natives: Vec<String> = (0..200).map(|index| format!("C{index}USDT")).collect();
    let natives: Vec<&str> = natives.iter().map(String::as_str).collect();
    let mut connection = connection("binance", &natives);
    let mut sent_ms = Vec::new();
    for now in 0..5_000 {
        for action in tick(&mut connection, now) {
            assert!(matches!(action, Action::Send(_)), "{action:?}");
            sent_ms.push(now);
        }
    }
    assert_eq!(sent_ms, [0, 300, 600, 900]);
}

#[test]
fn symbols_are_up_once_their_frame_is_acknowledged() {
    let mut connection = connection("binance", &["BTCUSDT", "ETHUSDT"]);
    assert!(
        matches!(&tick(&mut connection, 0)[..], [Action::Send(text)] if text.contains("btcusdt@trade"))
    );
    let (actions, _) = frame(&mut connection, r#"{"result":null,"id":1}"#, 40);
    assert_eq!(actions, [Action::Up(vec![0, 1]), Action::Ready]);
    assert_eq!(connection.up(), [0, 1]);
    let (actions, trades) = frame(&mut connection, &binance_trade(7, 50), 60);
    assert_eq!((actions.len(), trades.len()), (0, 1));
    assert_eq!(connection.offset_ms(), Some(-10));
}

#[test]
fn a_subscription_that_nobody_acknowledges_is_given_up() {
    let mut connection = connection("binance", &["BTCUSDT"]);
    tick(&mut connection, 0);
    assert_eq!(tick(&mut connection, 9_999), []);
    assert_eq!(
        tick(&mut connection, 10_000),
        [Action::Close(CloseReason::AckTimeout)]
    );
}

#[test]
fn one_refused_symbol_does_not_cost_the_others_their_connection() {
    let mut connection = connection("okx", &["BTC-USDT", "XYZ-USDT"]);
    tick(&mut connection, 0);
    let ack = r#"{"event":"subscribe","arg":{"channel":"trades","instId":"BTC-USDT"}}"#;
    assert_eq!(frame(&mut connection, ack, 10).0, [Action::Up(vec![0])]);
    let error = r#"{"event":"error","code":"60018","msg":"Wrong URL or channel"}"#;
    let refusal = Refusal {
        times: 1,
        retry_at_ms: 30_011,
    };
    assert_eq!(
        frame(&mut connection, error, 11).0,
        [Action::Refused(1, refusal), Action::Ready]
    );
}

#[test]
fn okx_is_asked_after_20_s_of_silence_and_given_up_without_an_answer() {
    let mut connection = connection("okx", &["BTC-USDT"]);
    tick(&mut connection, 0);
    let ack = r#"{"event":"subscribe","arg":{"channel":"trades","instId":"BTC-USDT"}}"#;
    frame(&mut connection, ack, 1_000);
    let asked = Action::Send("ping".to_owned());
    assert!(!tick(&mut connection, 20_999).contains(&asked));
    assert!(tick(&mut connection, 21_000).contains(&asked));
    frame(&mut connection, "pong", 21_050);
    assert!(tick(&mut connection, 41_050).contains(&asked));
    assert_eq!(
        tick(&mut connection, 49_050),
        [Action::Close(CloseReason::Silent)]
    );
}

#[test]
fn a_venue_that_should_speak_and_does_not_is_given_up() {
    let mut connection = connection("coinbase", &["BTC-USD"]);
    tick(&mut connection, 0);
    let ack =
        r#"{"type":"subscriptions","channels":[{"name":"matches","product_ids":["BTC-USD"]}]}"#;
    frame(&mut connection, ack, 10);
    assert_eq!(tick(&mut connection, 10_009), []);
    assert_eq!(
        tick(&mut connection, 10_010),
        [Action::Close(CloseReason::Silent)]
    );
}

#[test]
fn a_silent_symbol_is_suspected_less_and_less_often_until_it_trades() {
    let mut connection = connection("binance", &["BTCUSDT"]);
    tick(&mut connection, 0);
    frame(&mut connection, r#"{"result":null,"id":1}"#, 0);
    let mut asked_ms = Vec::new();
    for now in (0..200_000).step_by(1_000) {
        connection.heard(now);
        if tick(&mut connection, now).contains(&Action::Suspect(0)) {
            asked_ms.push(now);
        }
    }
    assert_eq!(asked_ms, [15_000, 45_000, 105_000]);
    for (id, at) in [(1, 200_000), (2, 200_100)] {
        frame(&mut connection, &binance_trade(id, at), at);
    }
    assert_eq!(tick(&mut connection, 215_099), []);
    assert_eq!(tick(&mut connection, 215_100), [Action::Suspect(0)]);
}

#[test]
fn a_symbol_that_rarely_trades_is_suspected_later() {
    let mut connection = connection("binance", &["BTCUSDT"]);
    tick(&mut connection, 0);
    for id in 1..10 {
        let at = id * 6_000;
        frame(&mut connection, &binance_trade(id as u64, at), at);
    }
    connection.heard(113_999);
    assert_eq!(tick(&mut connection, 113_999), []);
    assert_eq!(tick(&mut connection, 114_000), [Action::Suspect(0)]);
}

#[test]
fn it_is_replaced_before_the_venue_cuts_it_or_when_the_venue_says_so() {
    let mut aged = connection("binance", &["BTCUSDT"]);
    tick(&mut aged, 0);
    frame(&mut aged, r#"{"result":null,"id":1}"#, 0);
    aged.heard(1_000_000);
    assert!(tick(&mut aged, 1_000_000).contains(&Action::Rotate));
    assert!(
        !tick(&mut aged, 1_000_001).contains(&Action::Rotate),
        "once"
    );

    let shutdown = r#"{"e":"serverShutdown","E":1770123456789}"#;
    assert_eq!(
        frame(&mut connection("binance", &["BTCUSDT"]), shutdown, 5).0,
        [Action::Rotate]
    );
    let notice = r#"{"event":"notice","code":"64008","msg":"..."}"#;
    assert_eq!(
        frame(&mut connection("okx", &["BTC-USDT"]), notice, 5).0,
        [Action::Rotate]
    );
}

#[test]
fn an_old_last_match_is_a_trade_but_does_not_set_the_clock() {
    let mut connection = connection("coinbase", &["BTC-USD"]);
    let last = r#"{"type":"last_match","trade_id":9,"side":"buy","size":"1","price":"400.2","product_id":"BTC-USD","time":"2014-11-07T08:17:40Z"}"#;
    let (_, trades) = frame(&mut connection, last, 1_415_348_367_000);
    assert_eq!(trades.len(), 1);
    assert_eq!(connection.offset_ms(), None);
}

#[test]
fn the_last_trade_that_okx_pushes_on_subscribing_tells_nothing_of_its_clock() {
    let mut connection = connection("okx", &["BTC-USDT"]);
    tick(&mut connection, 0);
    let trade = |id: u64, at: i64| {
        format!(
            r#"{{"arg":{{"channel":"trades","instId":"BTC-USDT"}},"data":[{{"instId":"BTC-USDT","tradeId":"{id}","px":"30236","sz":"0.0002","side":"buy","ts":"{at}"}}]}}"#
        )
    };
    let now = 100_000_000;
    let (_, trades) = frame(&mut connection, &trade(7, now - 35_000_000), now);
    assert_eq!((trades.len(), connection.offset_ms()), (1, None));
    frame(&mut connection, &trade(8, now + 990), now + 1_000);
    assert_eq!(connection.offset_ms(), Some(-10));
}

#[test]
fn trades_of_a_usdc_product_that_come_by_its_usd_name_are_its_own() {
    let usd = r#"{"type":"match","trade_id":9,"side":"buy","size":"1","price":"400.2","product_id":"BTC-USD","time":"2014-11-07T08:17:40Z"}"#;
    let mut alone = connection("coinbase", &["BTC-USDC"]);
    let (_, trades) = frame(&mut alone, usd, 5);
    assert_eq!(trades.len(), 1);
    let mut both = connection("coinbase", &["BTC-USDC", "BTC-USD"]);
    let (_, trades) = frame(&mut both, usd, 5);
    assert_eq!(trades[0].0, 1, "the USD product's own");
}

#[test]
fn a_verdict_about_a_dead_connection_does_not_replace_the_next_one() {
    let open = || {
        let mut connection = connection("binance", &["BTCUSDT"]);
        tick(&mut connection, 0);
        frame(&mut connection, r#"{"result":null,"id":1}"#, 0);
        connection
    };
    let verdict = |connection: &mut Connection| {
        let mut actions = Vec::new();
        connection.zombie_found(0, &mut actions);
        actions
    };
    let mut silent = open();
    assert_eq!(tick(&mut silent, 15_000), [Action::Suspect(0)]);
    let mut next = open();
    assert_eq!(verdict(&mut next), []);
    assert_eq!(verdict(&mut silent), [Action::Rotate]);
    let mut heard = open();
    tick(&mut heard, 15_000);
    let (actions, _) = frame(&mut heard, &binance_trade(1, 15_001), 15_001);
    assert_eq!(actions, [Action::Heard(0)]);
    assert_eq!(verdict(&mut heard), []);
}

#[test]
fn the_fills_of_one_order_are_one_event_of_a_symbols_pace() {
    let mut connection = connection("binance", &["BTCUSDT"]);
    tick(&mut connection, 0);
    // An order each 30 s, with 20 fills in one millisecond.
    for (fill, id) in (1..=200).enumerate() {
        let at = (fill as i64 / 20 + 1) * 30_000;
        frame(&mut connection, &binance_trade(id, at), at);
    }
    let last_ms = 300_000;
    connection.heard(last_ms + 299_999);
    assert_eq!(tick(&mut connection, last_ms + 299_999), []);
    assert_eq!(
        tick(&mut connection, last_ms + 300_000),
        [Action::Suspect(0)]
    );
}

#[test]
fn the_counts_of_a_frame_say_what_it_contained() {
    let mut connection = connection("binance", &["BTCUSDT"]);
    tick(&mut connection, 0);
    let (mut actions, mut trades) = (Vec::new(), Vec::new());
    let mut counts = |text: &str| connection.frame(text, 1_000_000, &mut trades, &mut actions);
    let ours = counts(&binance_trade(7, 1_000));
    assert_eq!((ours.trades, ours.unsubscribed), (1, 0));
    let others = counts(&binance_trade(8, 1_000).replace("BTC", "ETH"));
    assert_eq!((others.trades, others.unsubscribed), (0, 1));
    let broken = counts("{");
    assert!(broken.malformed.is_some() && broken.trades == 0);
    let refused = counts(r#"{"error":{"code":2,"msg":"Invalid request"},"id":1}"#);
    assert_eq!(refused.refusals.len(), 1);
    assert!(
        refused.refusals[0].contains("Invalid request"),
        "{refused:?}"
    );
    assert!(refused.malformed.is_none());
}

#[test]
fn quotes_and_tickers_are_taken_if_they_are_wanted_and_prove_nothing_for_bars() {
    const QUOTE: &str = r#"{"u":2,"s":"BTCUSDT","b":"61837.63","B":"3.5","a":"61837.64","A":"1"}"#;
    for (quotes, expected) in [(true, 1), (false, 0)] {
        let exchange = registry::find("binance").expect("registered");
        let symbols = [Subscription {
            instrument: 0,
            native: "BTCUSDT".to_owned(),
            refusal: None,
        }];
        let wanted = crate::exchange::Wanted {
            quotes,
            tickers: true,
        };
        let mut connection =
            Connection::new(exchange, &symbols, wanted, usize::MAX, TIMING, None, 0);
        let (mut trades, mut actions) = (Vec::new(), Vec::new());
        let other = QUOTE.replace("BTCUSDT", "ETHUSDT");
        for frame in [QUOTE, &other] {
            let counts = connection.frame(frame, 5_000_000, &mut trades, &mut actions);
            assert_eq!(counts.malformed, None);
        }
        assert_eq!(connection.take_values().count(), expected);
        assert_eq!(connection.take_values().count(), 0);
        assert!(trades.is_empty() && actions.is_empty() && connection.up().is_empty());
        assert_eq!(connection.offset_ms(), None);
    }
}
