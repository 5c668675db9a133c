//! The REST API for clients of Binance.

use history::store::BarSeries;
use history::{BarRow, read_bar};
use market_core::{BarState, UnixMillis};
use serde_json::{Value, json};
use service::wall_clock_ms;
use testkit::directory::Directory;
use testkit::wait::{holds, until};

use crate::venue::Venue;
use crate::{Running, bars, config, memory_bus};

const MINUTE_MS: UnixMillis = 60_000;

impl Running {
    async fn binance(&self, path: &str) -> (u16, Value) {
        let url = format!("http://{}/binance{path}", self.address);
        let response = reqwest::get(url).await.expect("an answer");
        let weight = response.headers().get("x-mbx-used-weight-1m");
        assert!(weight.is_some() || response.status() == 404, "{response:?}");
        (
            response.status().as_u16(),
            response.json().await.expect("JSON"),
        )
    }

    /// Stores closed bars of these minutes.
    async fn store(&self, series: &BarSeries, minutes: std::ops::Range<i64>) {
        let rows = minutes.map(|minute| row(series, minute)).collect();
        let batch = vec![(series.clone(), rows)];
        let stored = self.history.append_bars(batch, None).await;
        stored.expect("room");
    }

    async fn starts(&self, query: &str) -> Vec<i64> {
        let path = format!("/api/v3/klines?symbol=BTCUSD&{query}");
        let (status, rows) = self.binance(&path).await;
        assert_eq!(status, 200, "{rows}");
        let rows = rows.as_array().expect("rows").clone();
        rows.iter()
            .map(|row| row[0].as_i64().expect("a time") / MINUTE_MS)
            .collect()
    }
}

fn row(series: &BarSeries, minute: i64) -> BarRow {
    let payload = bars::encoded(series, minute * MINUTE_MS, BarState::Closed, 0);
    read_bar(&payload).expect("a bar").1
}

/// A history with the minutes 10 to 19, of which 20 and 21 are on the bus only: 20 is over and not
/// closed, 21 is forming.
async fn running(directory: &Directory) -> (Running, BarSeries) {
    let bus = memory_bus();
    let running = Running::start(&config(directory), &bus).await;
    let minute = bars::minutes("coinbase", "BTC-USD");
    running.store(&minute, 10..19).await;
    bars::publish(&*bus, &minute, 19 * MINUTE_MS, BarState::Closed, 0).await;
    let latest = running.history.latest.clone();
    // The bus retains only the newest bar for who is not there yet.
    until("the closed bar", async || {
        let newest = latest.of(&minute);
        holds(newest.closed.len() == 1, || format!("{newest:?}"))
    })
    .await;
    for forming in [20, 21] {
        bars::publish(&*bus, &minute, forming * MINUTE_MS, BarState::Forming, 0).await;
    }
    until("the bars of the bus", async || {
        let newest = latest.of(&minute);
        let has = newest.closing.len() == 1 && newest.forming.is_some();
        holds(has && newest.closed.len() == 1, || format!("{newest:?}"))
    })
    .await;
    (running, minute)
}

#[tokio::test]
async fn klines_reach_until_now_without_a_hole() {
    let directory = Directory::new();
    let (running, minute) = running(&directory).await;
    let all: Vec<i64> = (10..22).collect();
    assert_eq!(running.starts("interval=1m").await, all);
    assert_eq!(running.starts("interval=1m&limit=3").await, [19, 20, 21]);
    assert_eq!(
        running.starts("interval=1m&startTime=0&limit=1").await,
        [10]
    );
    assert_eq!(
        running
            .starts("interval=1m&startTime=1110000&limit=3")
            .await,
        [19, 20, 21]
    );
    assert_eq!(
        running
            .starts("interval=1m&startTime=600000&endTime=660000")
            .await,
        [10, 11]
    );
    assert_eq!(
        running.starts("interval=1m&endTime=660000&limit=1").await,
        [11]
    );
    assert_eq!(
        running.starts("interval=1m&startTime=1320000").await,
        [0; 0]
    );
    // Microseconds are recognised by their size.
    let micros = "interval=1m&startTime=1763697600000000";
    assert_eq!(running.starts(micros).await, [0; 0]);
    // Wider bars are made of the same ones; the last one is forming.
    assert_eq!(running.starts("interval=5m").await, [10, 15, 20]);
    let (_, wide) = running
        .binance("/api/v3/klines?symbol=BTCUSD&interval=5m&limit=1")
        .await;
    assert_eq!(
        (&wide[0][8], &wide[0][6]),
        (&json!(2), &json!(25 * MINUTE_MS - 1))
    );
    let (_, rows) = running
        .binance("/api/v3/uiKlines?symbol=BTCUSD&interval=1m&startTime=600000&limit=1")
        .await;
    let expected = market_core::binance::kline::row(&row(&minute, 10), minute.timeframe.into());
    assert_eq!(rows[0].to_string(), expected);
    running.stop().await;
}

#[tokio::test]
async fn a_revision_that_is_not_stored_yet_is_in_the_answer() {
    let directory = Directory::new();
    let (running, minute) = running(&directory).await;
    let bus = running.history.bus.clone();
    let revised = bars::publish(&*bus, &minute, 18 * MINUTE_MS, BarState::Closed, 1).await;
    let revised = read_bar(&revised).expect("a bar").1;
    until("the revision", async || {
        let path = "/api/v3/klines?symbol=BTCUSD&interval=1m&startTime=1080000&limit=1";
        let (_, rows) = running.binance(path).await;
        let is_it = rows[0][4] == revised.close.to_string();
        holds(is_it, || rows.to_string())
    })
    .await;
    running.stop().await;
}

#[tokio::test]
async fn errors_have_the_codes_of_binance() {
    let directory = Directory::new();
    let (running, _) = running(&directory).await;
    for (path, status, code) in [
        ("/api/v3/klines?interval=1m", 400, -1102),
        ("/api/v3/klines?symbol=BTCUSD", 400, -1102),
        ("/api/v3/klines?symbol=BTCUSD&interval=", 400, -1102),
        ("/api/v3/klines?symbol=NOSUCH&interval=1m", 400, -1121),
        ("/api/v3/klines?symbol=btcusd&interval=1m", 400, -1121),
        ("/api/v3/klines?symbol=BTCUSD&interval=7m", 400, -1120),
        ("/api/v3/klines?symbol=BTCUSD&interval=1s", 400, -1120),
        (
            "/api/v3/klines?symbol=BTCUSD&interval=1m&limit=0",
            400,
            -1130,
        ),
        (
            "/api/v3/klines?symbol=BTCUSD&interval=1m&limit=-1",
            400,
            -1130,
        ),
        (
            "/api/v3/klines?symbol=BTCUSD&interval=1m&limit=x",
            400,
            -1100,
        ),
        (
            "/api/v3/klines?symbol=BTCUSD&interval=1m&startTime=99999999999999999999",
            400,
            -1100,
        ),
        (
            "/api/v3/klines?symbol=BTCUSD&interval=1d&timeZone=8",
            400,
            -1130,
        ),
        ("/api/v3/exchangeInfo?symbols=x", 400, -1100),
        ("/api/v3/exchangeInfo?symbols=[\"NOSUCH\"]", 400, -1121),
        (
            "/api/v3/aggTrades?symbol=BTCUSD&fromId=1&startTime=2",
            400,
            -1128,
        ),
        ("/api/v3/aggTrades?symbol=BTCUSD", 404, -1000),
        ("/api/v3/ticker/bookTicker?symbol=BTCUSD", 404, -1000),
        ("/api/v3/depth?symbol=BTCUSD", 404, -1000),
        ("/api/v3/account", 404, -1000),
    ] {
        let (got, body) = running.binance(path).await;
        assert_eq!(
            (got, &body["code"]),
            (status, &json!(code)),
            "{path}: {body}"
        );
        assert!(
            body["msg"].as_str().is_some_and(|msg| !msg.is_empty()),
            "{body}"
        );
    }
    running.stop().await;
}

#[tokio::test]
async fn symbols_have_the_full_shape_and_the_names_of_binance() {
    let directory = Directory::new();
    let (running, _) = running(&directory).await;
    let okx = bars::minutes("okx", "OKX:BTC-USDT");
    running.store(&okx, 10..11).await;
    let names = async || {
        let (_, info) = running.binance("/api/v3/exchangeInfo").await;
        let symbols = info["symbols"].as_array().expect("symbols").clone();
        symbols
            .iter()
            .map(|symbol| symbol["symbol"].clone())
            .collect::<Vec<_>>()
    };
    until("the new symbol", async || {
        let names = names().await;
        holds(names == ["BTCUSD", "OKX_BTCUSDT"], || format!("{names:?}"))
    })
    .await;
    let (_, info) = running
        .binance("/api/v3/exchangeInfo?symbols=[%22OKX_BTCUSDT%22]")
        .await;
    let symbol = &info["symbols"][0];
    assert_eq!(
        (&symbol["baseAsset"], &symbol["quoteAsset"]),
        (&json!("OKX_BTC"), &json!("USDT"))
    );
    let (_, info) = running.binance("/api/v3/exchangeInfo?symbol=BTCUSD").await;
    let symbol = &info["symbols"][0];
    assert_eq!(symbol["filters"][0]["filterType"], "PRICE_FILTER");
    assert_eq!(symbol["filters"][0]["tickSize"], "0.01");
    for key in [
        "status",
        "orderTypes",
        "permissionSets",
        "baseAssetPrecision",
        "quotePrecision",
    ] {
        assert!(!symbol[key].is_null(), "{key}");
    }
    assert_eq!(running.binance("/api/v3/ping").await, (200, json!({})));
    let (_, time) = running.binance("/api/v3/time").await;
    assert!(
        time["serverTime"].as_i64() > Some(1_600_000_000_000),
        "{time}"
    );
    running.stop().await;
}

#[tokio::test]
async fn tickers_are_made_of_bars() {
    let directory = Directory::new();
    let (running, minute) = running(&directory).await;
    let newest = bars::encoded(&minute, 21 * MINUTE_MS, BarState::Forming, 0);
    let close = read_bar(&newest).expect("a bar").1.close.to_string();
    let (_, price) = running.binance("/api/v3/ticker/price?symbol=BTCUSD").await;
    assert_eq!(price, json!({"symbol": "BTCUSD", "price": close}));
    let (_, prices) = running.binance("/api/v3/ticker/price").await;
    assert_eq!(prices, json!([price]));
    // The last trade is years old: it has the last price and no volume.
    let (_, day) = running.binance("/api/v3/ticker/24hr?symbol=BTCUSD").await;
    assert_eq!(
        (&day["lastPrice"], &day["volume"]),
        (&json!(close), &json!("0"))
    );
    assert_eq!(
        (&day["priceChange"], &day["count"]),
        (&json!("0.00"), &json!(0))
    );
    for path in [
        "/api/v3/ticker?symbols=[%22BTCUSD%22]&windowSize=7d",
        "/api/v3/ticker/tradingDay?symbols=[%22BTCUSD%22]&timeZone=-12:00",
    ] {
        let (status, windows) = running.binance(path).await;
        assert_eq!(status, 200, "{windows}");
        let window = &windows[0];
        assert_eq!(
            (&window["lastPrice"], &window["volume"], &window["count"]),
            (&json!(close), &json!("0"), &json!(0))
        );
    }
    let (_, average) = running.binance("/api/v3/avgPrice?symbol=BTCUSD").await;
    assert_eq!(average["price"], json!(close));
    running.stop().await;
}

#[tokio::test]
async fn a_ticker_of_a_window_is_the_sum_of_its_bars() {
    let directory = Directory::new();
    let bus = memory_bus();
    let running = Running::start(&config(&directory), &bus).await;
    let series = bars::minutes("coinbase", "BTC-USD");
    let now = wall_clock_ms() / MINUTE_MS;
    // Two days: hours in the middle of the longer window are made of them.
    running.store(&series, now - 2 * 1_440..now).await;
    let sum_of = async |query: &str, width_ms: i64| {
        let path = format!("/api/v3/klines?symbol=BTCUSD&{query}");
        let (_, rows) = running.binance(&path).await;
        let rows = rows.as_array().expect("rows").clone();
        let counts = rows.iter().map(|row| row[8].as_u64().expect("a number"));
        let open_ms = rows.first().and_then(|row| row[0].as_i64());
        (open_ms.expect("rows") / width_ms, counts.sum::<u64>())
    };
    let (first, count) = sum_of("interval=1m&limit=5", MINUTE_MS).await;
    let path = "/api/v3/ticker?symbol=BTCUSD&windowSize=";
    // A minute may end meanwhile.
    until("a window of five minutes", async || {
        let minutes = wall_clock_ms() / MINUTE_MS - first;
        let (status, window) = running.binance(&format!("{path}{minutes}m")).await;
        assert_eq!(status, 200, "{window}");
        let is_same = window["openTime"].as_i64() == Some(first * MINUTE_MS);
        if is_same {
            assert_eq!(window["count"].as_u64(), Some(count), "{window}");
        }
        holds(is_same, || window.to_string())
    })
    .await;
    let start_ms = (now - 2 * 1_440) * MINUTE_MS;
    let (_, longer) = running.binance(&format!("{path}2d")).await;
    let (_, one) = running
        .binance(&format!(
            "/api/v3/klines?symbol=BTCUSD&interval=1m&startTime={start_ms}&limit=1"
        ))
        .await;
    let one = one[0][8].as_u64().expect("a number");
    let opened = longer["openTime"].as_i64().expect("a time") / MINUTE_MS;
    let bars = u64::try_from(now - opened).expect("some");
    assert_eq!(longer["count"].as_u64(), Some(one * bars), "{longer}");
    let (_, small) = running.binance(&format!("{path}2d&type=MINI")).await;
    assert_eq!(
        (&small["count"], &small["priceChange"]),
        (&longer["count"], &Value::Null)
    );
    let (_, today) = running
        .binance("/api/v3/ticker/tradingDay?symbol=BTCUSD")
        .await;
    let opened = today["openTime"].as_i64().expect("a time");
    assert_eq!(opened % (1_440 * MINUTE_MS), 0);
    let bars = u64::try_from(now - opened / MINUTE_MS).unwrap_or(0);
    assert_eq!(today["count"].as_u64(), Some(one * bars), "{today}");
    for (query, code) in [
        ("ticker", -1102),
        ("ticker?symbol=BTCUSD&windowSize=60m", -1130),
        ("ticker?symbol=BTCUSD&type=SMALL", -1130),
        ("ticker/tradingDay?symbol=BTCUSD&timeZone=15", -1130),
        ("ticker?symbol=NOSUCH", -1121),
    ] {
        let (status, error) = running.binance(&format!("/api/v3/{query}")).await;
        assert_eq!((status, &error["code"]), (400, &json!(code)), "{query}");
    }
    running.stop().await;
}

#[tokio::test]
async fn the_best_bid_and_ask_are_those_of_the_newest_quote_unless_it_is_old() {
    let directory = Directory::new();
    let (running, minute) = running(&directory).await;
    for path in [
        "/api/v3/ticker/bookTicker?symbol=BTCUSD",
        "/api/v3/ticker/bookTicker",
    ] {
        let (status, error) = running.binance(path).await;
        assert_eq!(status, 404, "{error}");
        assert!(error["msg"].to_string().contains("--channels"), "{error}");
    }
    let bus = &running.history.bus;
    let publish = async |symbol: &str, bid: &str, published_us: i64| {
        let quote = json!({
            "topic": format!("quote:{symbol}"), "seq": 7, "epoch": 3, "exchange": "coinbase",
            "symbol": symbol, "bid": bid, "bid_quantity": "3.5", "ask": "61838", "ask_quantity": null,
            "update_id": null, "event_ms": null, "received_us": 1, "published_us": published_us,
        });
        let subject = format!("quote.{symbol}");
        let published = bus.publish(&subject, quote.to_string().into());
        published.await.expect("the bus is open");
    };
    publish("BTC-USD", "61836", wall_clock_ms() * 1_000).await;
    publish("NO-BARS", "1", wall_clock_ms() * 1_000).await;
    let broken = bus.publish("quote.ETH-USD", "{}".into()).await;
    broken.expect("the bus is open");
    let expected = json!({
        "symbol": "BTCUSD", "bidPrice": "61837.63", "bidQty": "3.5",
        "askPrice": "61838", "askQty": "0.00000000",
    });
    let (one, all) = (
        "/api/v3/ticker/bookTicker?symbol=BTCUSD",
        "/api/v3/ticker/bookTicker",
    );
    // What was read just now is used for a moment.
    until("the quote", async || {
        publish("BTC-USD", "61837.63", wall_clock_ms() * 1_000).await;
        let (status, row) = running.binance(one).await;
        let (_, rows) = running.binance(all).await;
        let is_so = status == 200 && row == expected && rows == json!([expected]);
        holds(is_so, || format!("{row}; of symbols with bars {rows}"))
    })
    .await;

    // Of a program that ended, or of a quiet market.
    publish("BTC-USD", "61837.63", 2).await;
    publish("NO-BARS", "1", 2).await;
    for path in [one, all] {
        until("that the quote is old", async || {
            let (status, error) = running.binance(path).await;
            let is_old = (status, &error["code"]) == (503, &json!(-1008));
            holds(is_old, || error.to_string())
        })
        .await;
    }
    let tell = async |state: &str| {
        let status = json!({
            "topic": "system:feed:coinbase", "exchange": "coinbase", "mode": "live", "state": state,
            "age_ms": 1, "connections": 1, "symbols": 1, "subscribed": 1, "silent": 0,
            "refused": [], "refused_count": 0, "unknown": [], "unknown_count": 0,
            "at_ms": wall_clock_ms(), "publisher": "a", "rivals": 0, "lost_publishers": 0,
        });
        let told = bus.publish("system.feed.coinbase", status.to_string().into());
        told.await.expect("the bus is open");
    };
    // The newest bar of this one is of 1970: nobody follows it any more.
    let gone = bars::minutes("coinbase", "ETH-USD");
    running.store(&gone, 10..19).await;
    bars::publish(&**bus, &gone, 20 * MINUTE_MS, BarState::Forming, 0).await;
    let latest = &running.history.latest;
    until("the bar of a symbol that was followed", async || {
        let is_there = latest.of(&gone).forming.is_some();
        holds(is_there, || format!("{:?}", latest.of(&gone)))
    })
    .await;
    publish("ETH-USD", "1", 2).await;
    let now_ms = wall_clock_ms();
    let start_ms = now_ms - now_ms.rem_euclid(MINUTE_MS);
    bars::publish(&**bus, &minute, start_ms, BarState::Forming, 0).await;
    let expected_row = expected;
    for (state, expected) in [("live", 200), ("reconnecting", 503)] {
        until("what the feed says of the quiet market", async || {
            tell(state).await;
            let (status, row) = running.binance(one).await;
            holds(status == expected, || format!("{state}: {row}"))
        })
        .await;
        let (status, rows) = running.binance(all).await;
        // Of the same read as the other.
        assert!(status != 200 || rows == json!([expected_row]), "{rows}");
    }
    running.stop().await;
}

/// The message of a book, with some fields of another kind.
fn book(symbol: &str, published_us: i64, fields: &Value) -> bytes::Bytes {
    let level = |price: i64| json!([price.to_string(), "0.5"]);
    let bids: Vec<_> = (0..20).map(|below| level(100 - below)).collect();
    let asks: Vec<_> = (0..15).map(|above| level(101 + above)).collect();
    let mut book = json!({
        "topic": format!("book:{symbol}"), "seq": 7, "epoch": 3, "exchange": "coinbase",
        "symbol": symbol, "state": "valid", "reason": null, "update_id": "160", "bids": bids, "asks": asks,
        "event_ms": null, "received_us": 1, "published_us": published_us,
    });
    for (name, value) in fields.as_object().expect("fields") {
        book[name] = value.clone();
    }
    book.to_string().into()
}

#[tokio::test]
async fn the_depth_of_a_symbol_is_its_newest_book_or_an_error_that_says_why_there_is_none() {
    let directory = Directory::new();
    let (running, _) = running(&directory).await;
    let (status, error) = running.binance("/api/v3/depth?symbol=BTCUSD").await;
    assert_eq!((status, &error["code"]), (404, &json!(-1000)), "{error}");
    assert!(
        error["msg"].to_string().contains("--channels ticker,book"),
        "{error}"
    );
    let bus = &running.history.bus;
    let publish = async |payload: bytes::Bytes| {
        let published = bus.publish("book.BTC-USD", payload).await;
        published.expect("the bus is open");
    };
    let (_, time) = running.binance("/api/v3/time").await;
    let now_us = time["serverTime"].as_i64().expect("a time") * 1_000;
    publish(book("BTC-USD", now_us, &json!({}))).await;
    let sizes = async |query: &str| {
        let (status, book) = running
            .binance(&format!("/api/v3/depth?symbol=BTCUSD{query}"))
            .await;
        assert_eq!(status, 200, "{book}");
        assert_eq!(book["lastUpdateId"], 3 + 2 * 7, "the number of the streams");
        assert_eq!(
            (&book["bids"][0], &book["asks"][0]),
            (&json!(["100", "0.5"]), &json!(["101", "0.5"]))
        );
        ["bids", "asks"].map(|side| book[side].as_array().map(Vec::len))
    };
    assert_eq!(sizes("&limit=5").await, [Some(5), Some(5)]);
    for query in ["", "&limit=20", "&limit=100", "&limit=5000"] {
        assert_eq!(sizes(query).await, [Some(20), Some(15)], "what is there");
    }
    for limit in ["0", "-1", "5001"] {
        let (status, error) = running
            .binance(&format!("/api/v3/depth?symbol=BTCUSD&limit={limit}"))
            .await;
        assert_eq!(
            (status, &error["code"]),
            (400, &json!(-1130)),
            "{limit}: {error}"
        );
    }
    for (payload, reason) in [
        (
            book(
                "BTC-USD",
                now_us,
                &json!({"state": "invalid", "reason": "hole", "bids": [], "asks": []}),
            ),
            "hole",
        ),
        (book("BTC-USD", 1_723_161_255_350_999, &json!({})), "silent"),
        ("{}".into(), "unreadable"),
    ] {
        publish(payload).await;
        let (status, error) = running.binance("/api/v3/depth?symbol=BTCUSD").await;
        assert_eq!((status, &error["code"]), (503, &json!(-1008)), "{error}");
        assert!(error["msg"].to_string().contains(reason), "{error}");
    }
    running.stop().await;
}

#[tokio::test]
async fn klines_that_begin_before_the_store_come_from_the_venue() {
    let (directory, bus) = (Directory::new(), memory_bus());
    let venue = Venue::since(50 * MINUTE_MS).start(&bus).await;
    let mut config = config(&directory);
    config.fill_bars = 0;
    let running = Running::start(&config, &bus).await;
    let minute = bars::minutes("binance", "BTC-USD");
    running.store(&minute, 200..201).await;
    // Two questions of 40 bars.
    let expected: Vec<i64> = (120..=200).collect();
    assert_eq!(running.starts("interval=1m&startTime=0").await, expected);
    assert_eq!(venue.asked(), 2);
    assert_eq!(
        running.starts("interval=1m&startTime=7200000").await,
        expected
    );
    assert_eq!(venue.asked(), 2, "the store has them");
    running.stop().await;
}
