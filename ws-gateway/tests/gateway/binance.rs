//! Binance's dialect: paths, requests and events, as clients of Binance have them.

use bytes::Bytes;
use market_core::wire::BarMessage;
use market_core::{BarState, Quality, Timeframe};
use serde_json::{Value, json};
use ws_gateway::{AuthConfig, AuthMode, Config, TokenConfig};

use crate::past::history_of;
use crate::support::raw::deflate;
use crate::support::{Client, Gateway, Got, start};
use testkit::mint::{Issuer, KeyFile, key_set};

const OFFER: &str = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n";
const COMPRESSED: u8 = 0xc1;

fn bar(symbol: &str, index: i64, seq: u64, state: BarState) -> BarMessage {
    let number = |value: u64| value.to_string();
    BarMessage {
        topic: format!("kline:1s:{symbol}"),
        seq,
        epoch: 1,
        exchange: "binance".to_owned(),
        symbol: symbol.to_owned(),
        interval: Timeframe::SECOND,
        start_ms: index * 1_000,
        end_ms: (index + 1) * 1_000,
        open: "61837.63".to_owned(),
        high: number(62_000 + seq),
        low: "61000".to_owned(),
        close: number(61_000 + seq),
        volume: "0.02".to_owned(),
        quote_volume: Some("1236.7526".to_owned()),
        taker_buy_volume: Some("0.01".to_owned()),
        taker_buy_quote_volume: Some("618.3763".to_owned()),
        count: Some(seq),
        first_id: Some(number(seq)),
        last_id: Some(number(seq * 2)),
        state,
        rev: 0,
        quality: Quality::Complete,
        event_ms: Some(index * 1_000 + 342),
        received_us: Some(index * 1_000_000),
        published_us: index * 1_000_000 + 500_999,
    }
}

async fn publish(gateway: &Gateway, bar: &BarMessage) {
    let subject = bar.topic.replace(':', ".");
    let payload = Bytes::from(serde_json::to_vec(bar).unwrap());
    gateway.bus.publish(&subject, payload).await.unwrap();
}

/// The next frame, which holds one object.
async fn event(client: &mut Client) -> Value {
    let mut frame = client.frame().await;
    assert_eq!(frame.len(), 1, "{frame:?}");
    frame.remove(0)
}

/// Sends a request, and returns the frames up to its answer.
async fn ask(client: &mut Client, request: Value) -> (Vec<Value>, Value) {
    client.send(&request.to_string()).await;
    let mut before = Vec::new();
    loop {
        let object = event(client).await;
        if object.get("id").is_some() {
            return (before, object);
        }
        before.push(object);
    }
}

/// Publishes forming bars until the gateway has answered a session for the topic.
async fn warm(gateway: &Gateway, symbol: &str) {
    publish(gateway, &bar(symbol, 10, 10, BarState::Forming)).await;
    let mut probe = gateway.connect().await;
    probe.subscribe(&[&format!("kline:1s:{symbol}")]).await;
    probe.object().await;
}

#[tokio::test]
async fn streams_of_the_url_give_events_and_no_answer() {
    let gateway = start(Config::default()).await.ready().await;
    warm(&gateway, "BTC-USDT").await;
    warm(&gateway, "OKX:BTC-USDT").await;
    for path in [
        "/binance/ws/btcusdt@kline_1s",
        "/binance/ws/btcusdt%40kline_1s",
        "/binance/ws/0/btcusdt@kline_1s/btcusdt@trade",
        "/binance/ws/BTCUSDT@kline_1s",
    ] {
        let mut client = gateway.connect_to(path).await;
        let expected = json!({
            "e": "kline", "E": 10_500, "s": "BTCUSDT", "k": {
                "t": 10_000, "T": 10_999, "s": "BTCUSDT", "i": "1s", "f": 10, "L": 20,
                "o": "61837.63", "c": "61010", "h": "62010", "l": "61000", "v": "0.02", "n": 10,
                "x": false, "q": "1236.7526", "V": "0.01", "Q": "618.3763", "B": "0",
            },
        });
        assert_eq!(event(&mut client).await, expected, "{path}");
    }
    let path = "/binance/stream?streams=btcusdt@kline_1s/okx_btcusdt@kline_1s";
    let mut client = gateway.connect_to(path).await;
    let mut streams = Vec::new();
    for _ in 0..2 {
        let event = event(&mut client).await;
        assert_eq!(event["data"]["e"], "kline");
        streams.push(event["stream"].as_str().unwrap().to_owned());
    }
    streams.sort();
    assert_eq!(streams, ["btcusdt@kline_1s", "okx_btcusdt@kline_1s"]);
}

#[tokio::test]
async fn a_subscription_in_a_frame_is_acknowledged_and_repeated_without_another_delivery() {
    let gateway = start(Config::default()).await.ready().await;
    warm(&gateway, "BTC-USDT").await;
    for (path, is_combined) in [
        ("/binance/ws", false),
        ("/binance/ws/", false),
        ("/binance/ws/0", false),
        ("/binance/stream", true),
        ("/binance/stream?streams=", true),
    ] {
        let mut client = gateway.connect_to(path).await;
        let subscribe = |id: Value| json!({"method": "SUBSCRIBE", "params": ["btcusdt@kline_1s", "btcusdt@bookTicker"], "id": id});
        let (before, answer) = ask(&mut client, subscribe(json!("a-1"))).await;
        assert!(before.is_empty(), "{path}: {before:?}");
        assert_eq!(answer, json!({"result": null, "id": "a-1"}));
        let first = event(&mut client).await;
        assert_eq!(first.get("stream").is_some(), is_combined, "{path}");
        let (before, answer) = ask(&mut client, subscribe(json!(1_763_697_600_000u64))).await;
        assert_eq!(answer["id"], json!(1_763_697_600_000u64));
        let list = json!({"method": "LIST_SUBSCRIPTIONS", "id": 3});
        let (again, answer) = ask(&mut client, list).await;
        assert!(
            before.is_empty() && again.is_empty(),
            "{before:?} {again:?}"
        );
        let streams = json!(["btcusdt@kline_1s", "btcusdt@bookTicker"]);
        assert_eq!(answer, json!({"result": streams, "id": 3}));
        let unsubscribe = json!({"method": "UNSUBSCRIBE", "params": ["btcusdt@kline_1s", "ethusdt@trade"], "id": 4});
        let (_, answer) = ask(&mut client, unsubscribe).await;
        assert_eq!(answer, json!({"result": null, "id": 4}));
        let list = json!({"method": "LIST_SUBSCRIPTIONS", "id": 5});
        let (_, answer) = ask(&mut client, list).await;
        assert_eq!(answer["result"], json!(["btcusdt@bookTicker"]));
    }
}

#[tokio::test]
async fn a_symbol_that_appears_later_joins_a_subscription_that_waits_for_it() {
    let gateway = start(Config::default()).await.ready().await;
    let mut client = gateway.connect_to("/binance/ws").await;
    let subscribe = json!({"method": "SUBSCRIBE", "params": ["newusdt@kline_1s"], "id": 1});
    let (_, answer) = ask(&mut client, subscribe).await;
    assert_eq!(answer, json!({"result": null, "id": 1}));
    publish(&gateway, &bar("NEW-USDT", 10, 10, BarState::Forming)).await;
    assert_eq!(event(&mut client).await["s"], "NEWUSDT");
}

#[tokio::test]
async fn closed_bars_and_their_revisions_are_events_that_say_closed() {
    let gateway = start(Config::default()).await.ready().await;
    warm(&gateway, "BTC-USDT").await;
    let mut client = gateway.connect_to("/binance/ws/btcusdt@kline_1s").await;
    event(&mut client).await;
    let closed = bar("BTC-USDT", 10, 11, BarState::Closed);
    publish(&gateway, &closed).await;
    let got = event(&mut client).await;
    assert_eq!((&got["k"]["x"], &got["k"]["n"]), (&json!(true), &json!(11)));
    let revised = BarMessage {
        rev: 1,
        ..bar("BTC-USDT", 10, 12, BarState::Closed)
    };
    publish(&gateway, &revised).await;
    let got = event(&mut client).await;
    assert_eq!((&got["k"]["x"], &got["k"]["n"]), (&json!(true), &json!(12)));
    assert_eq!(got["k"]["t"], json!(10_000));
}

#[tokio::test]
async fn a_request_that_is_refused_has_one_answer_with_a_code() {
    let gateway = start(Config::default()).await.ready().await;
    warm(&gateway, "BTC-USDT").await;
    let mut client = gateway.connect_to("/binance/ws/0").await;
    client.send("{\"connect\":{}}\n{\"subscribe\":{}}").await;
    assert_eq!(event(&mut client).await["code"], 3);
    let params = ["btcusdt@kline_7y", "btcusdt@kline_1s"];
    let subscribe = json!({"method": "SUBSCRIBE", "params": params, "id": 7});
    let (_, answer) = ask(&mut client, subscribe).await;
    assert_eq!((&answer["code"], &answer["id"]), (&json!(2), &json!(7)));
    let list = json!({"method": "LIST_SUBSCRIPTIONS", "id": 8});
    let (before, answer) = ask(&mut client, list).await;
    assert!(before.is_empty(), "{before:?}");
    assert_eq!(answer["result"], json!([]));
    client.send_message(vec![1, 2].into()).await;
    assert!(matches!(client.next().await, Got::Closed(1003, _)));
}

#[tokio::test]
async fn intervals_that_nobody_publishes_are_made_of_narrower_bars() {
    let gateway = start(Config::default()).await.ready().await;
    warm(&gateway, "BTC-USDT").await;
    let mut client = gateway.connect_to("/binance/ws/btcusdt@kline_5s").await;
    // It may come only with the next change.
    publish(&gateway, &bar("BTC-USDT", 11, 11, BarState::Forming)).await;
    let got = event(&mut client).await;
    let kline = &got["k"];
    assert_eq!(
        (&kline["i"], &kline["t"]),
        (&json!("5s"), &json!(10_000)),
        "{got}"
    );
    assert_eq!(
        (&kline["T"], &got["s"]),
        (&json!(14_999), &json!("BTCUSDT"))
    );
}

#[tokio::test]
async fn silent_streams_are_of_no_use_to_other_dialects() {
    let gateway = start(Config::default()).await.ready().await;
    let mut client = gateway.connect().await;
    client
        .send(r#"{"op":"sub","id":1,"topics":["binance:btcusdt:trade"]}"#)
        .await;
    assert_eq!(client.object().await["code"], "bad_topic");
}

#[tokio::test]
async fn frames_name_their_streams_from_when_the_property_is_set() {
    let gateway = start(Config::default()).await.ready().await;
    warm(&gateway, "BTC-USDT").await;
    let mut client = gateway.connect_to("/binance/ws/btcusdt@kline_1s").await;
    assert!(event(&mut client).await.get("stream").is_none());
    let get = json!({"method": "GET_PROPERTY", "params": ["combined"], "id": 1});
    let (_, answer) = ask(&mut client, get.clone()).await;
    assert_eq!(answer["result"], json!(false));
    let set = json!({"method": "SET_PROPERTY", "params": ["combined", true], "id": 2});
    let (_, answer) = ask(&mut client, set).await;
    assert_eq!(answer, json!({"result": null, "id": 2}));
    let (_, answer) = ask(&mut client, get).await;
    assert_eq!(answer["result"], json!(true));
    publish(&gateway, &bar("BTC-USDT", 10, 11, BarState::Forming)).await;
    assert_eq!(event(&mut client).await["stream"], "btcusdt@kline_1s");
}

#[tokio::test]
async fn events_are_compressed_one_by_one_for_who_offers_it() {
    let gateway = start(Config::default()).await.ready().await;
    warm(&gateway, "BTC-USDT").await;
    warm(&gateway, "ETH-USDT").await;
    let path = "/binance/stream?streams=btcusdt@kline_1s/ethusdt@kline_1s";
    let mut clients = Vec::new();
    for _ in 0..10 {
        let mut client = gateway.connect_raw(path, OFFER).await;
        for _ in 0..2 {
            let frame = client.next().await;
            assert_eq!((frame.first, frame.objects().len()), (COMPRESSED, 1));
        }
        clients.push(client);
    }
    for client in &mut clients {
        let request = r#"{"method":"LIST_SUBSCRIPTIONS","id":1}"#;
        client.send(0xc1, &deflate(request.as_bytes())).await;
        let answer = client.next().await;
        assert_eq!(answer.objects()[0]["id"], 1);
    }
    publish(&gateway, &bar("BTC-USDT", 11, 21, BarState::Forming)).await;
    publish(&gateway, &bar("ETH-USDT", 11, 21, BarState::Forming)).await;
    for client in &mut clients {
        let mut streams = Vec::new();
        for _ in 0..2 {
            let frame = client.next().await;
            assert_eq!((frame.first, frame.objects().len()), (COMPRESSED, 1));
            streams.push(frame.objects()[0]["stream"].as_str().unwrap().to_owned());
        }
        streams.sort();
        assert_eq!(streams, ["btcusdt@kline_1s", "ethusdt@kline_1s"]);
    }
}

#[tokio::test]
async fn a_token_comes_with_the_handshake_and_permits_topics_by_their_own_names() {
    let issuer = Issuer::eddsa("first");
    let jwks = KeyFile::new(key_set(&[&issuer]));
    let config = Config {
        auth: AuthConfig {
            tokens: TokenConfig {
                auth_mode: AuthMode::Required,
                auth_jwks_file: jwks.path(),
                ..TokenConfig::default()
            },
            ..AuthConfig::default()
        },
        ..Config::default()
    };
    let gateway = start(config).await.ready().await;
    publish(&gateway, &bar("BTC-USDT", 10, 10, BarState::Forming)).await;
    let refused = gateway.refused("/binance/ws/btcusdt@kline_1s", &[]).await;
    assert_eq!(refused.status(), 401);
    assert!(refused.body().contains("?token="), "{}", refused.body());
    let token = issuer.permit(&["kline:1s:BTC-USDT"], 600);
    let path = format!("/binance/ws?token={token}");
    let mut client = gateway.connect_to(&path).await;
    let params = ["ethusdt@kline_1s", "btcusdt@kline_1s", "btcusdt@trade"];
    let subscribe = json!({"method": "SUBSCRIBE", "params": params, "id": 1});
    let (_, answer) = ask(&mut client, subscribe).await;
    assert_eq!((&answer["code"], &answer["id"]), (&json!(2), &json!(1)));
    publish(&gateway, &bar("ETH-USDT", 11, 10, BarState::Forming)).await;
    publish(&gateway, &bar("BTC-USDT", 11, 11, BarState::Forming)).await;
    loop {
        let event = event(&mut client).await;
        assert_eq!(event["s"], "BTCUSDT");
        if event["k"]["n"] == 11 {
            break;
        }
    }
}

#[tokio::test]
async fn a_replay_of_the_url_comes_as_klines_and_runs_into_the_present() {
    const END: i64 = 2_400;
    let encoded = |bar: &BarMessage| Bytes::from(serde_json::to_vec(bar).unwrap());
    let gateway = start(Config::default()).await.ready().await;
    let history = history_of(&gateway, END, move |index| {
        encoded(&bar("BTC-USDT", index, 0, BarState::Closed))
    })
    .await;
    // History lacks the newest bars, and the gateway has no others.
    for index in END - 5..END + 5 {
        let closed = bar("BTC-USDT", index, index.unsigned_abs(), BarState::Closed);
        publish(&gateway, &closed).await;
        let record = gateway
            .bus
            .publish_durable("closed.1s.BTC-USDT", encoded(&closed));
        record.await.unwrap();
    }
    let forming = bar(
        "BTC-USDT",
        END + 5,
        END.unsigned_abs() + 9,
        BarState::Forming,
    );
    publish(&gateway, &forming).await;
    let mut probe = gateway.connect().await;
    probe.subscribe(&["kline:1s:BTC-USDT"]).await;
    while probe.object().await["state"] != "forming" {}
    for (path, is_combined) in [
        ("/binance/ws/btcusdt@kline_1s?", false),
        ("/binance/stream?streams=btcusdt@kline_1s&", true),
    ] {
        let path = format!("{path}replay_from=2000000&speed=1000");
        let mut client = gateway.connect_to(&path).await;
        let mut klines = Vec::new();
        loop {
            let event = event(&mut client).await;
            let event = if is_combined { &event["data"] } else { &event };
            klines.push(event["k"]["t"].as_i64().unwrap() / 1_000);
            if event["k"]["x"] == false {
                break;
            }
        }
        assert_eq!(klines, (2_000..=END + 5).collect::<Vec<_>>(), "{path}");
    }
    let path = "/binance/ws/btcusdt@trade?replay_from=2000000";
    let error = event(&mut gateway.connect_to(path).await).await;
    assert_eq!(error["code"], 2, "{error}");
    history.abort();
}
