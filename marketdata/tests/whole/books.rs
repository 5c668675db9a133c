//! Order books, from the venues' sockets to the bus.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bus::Delivery;
use market_core::book::{Applied, BookLimits, BookSync, BookTop};
use market_core::wire::{BookMessage, BookState, JsonMessage};
use market_core::{BookFault, PriceLevel, channel};
use marketdata::config::FeedChannel;
use marketdata::exchange::{BookEvent, Event, registry};
use serde_json::Value;

use crate::captures::{captures, read};
use crate::deployment::{Deployment, INSTRUMENTS, sim_config};

/// The newest book of each topic, and how many of them were the venue's.
#[derive(Clone, Default)]
struct Books(Arc<Mutex<BTreeMap<String, Followed>>>);

#[derive(Default)]
struct Followed {
    newest: Option<BookMessage>,
    right: u64,
    compared: (u64, u64),
}

impl Books {
    /// Follows what is published from now on.
    async fn of(deployment: &Deployment) -> Self {
        let this = Self::default();
        let pattern = channel::BOOK.subjects();
        let mut messages = deployment.bus.subscribe(&pattern).await.expect("a pattern");
        tokio::spawn({
            let this = this.clone();
            async move {
                while let Some(delivery) = messages.recv().await {
                    let Delivery::Message(message) = delivery else {
                        continue;
                    };
                    let book = BookMessage::read(&message.payload).expect("a book");
                    let mut all = this.0.lock().expect("not poisoned");
                    let followed = all.entry(book.topic.clone()).or_default();
                    if let Some(newest) = &followed.newest {
                        let place = |book: &BookMessage| (book.epoch, book.seq);
                        assert!(place(newest) < place(&book), "{newest:?} {book:?}");
                    }
                    followed.newest = Some(book);
                }
            }
        });
        this
    }

    fn right(&self, symbol: &str) -> u64 {
        let all = self.0.lock().expect("not poisoned");
        all.get(&format!("book:{symbol}"))
            .map_or(0, |followed| followed.right)
    }

    /// Compares the newest book of a symbol with the simulator's.
    async fn compare(&self, deployment: &Deployment, venue: &str, native: &str, symbol: &str) {
        let topic = format!("book:{symbol}");
        let newest = {
            let all = self.0.lock().expect("not poisoned");
            all.get(&topic).and_then(|followed| followed.newest.clone())
        };
        let Some(newest) = newest.filter(|book| book.state == BookState::Valid) else {
            return;
        };
        let path = format!("/sim/books?venue={venue}&symbol={native}&depth=20&limit=200");
        let truth = deployment.get(&path).await.expect("the simulator answers");
        let books = truth["books"].as_array().expect("books");
        let is_it = match &newest.update_id {
            // Of a numbered book, the simulator knows the book of each number.
            Some(id) => {
                let of_id = books
                    .iter()
                    .find(|book| book["update_id"].as_u64() == id.parse().ok());
                let Some(of_id) = of_id else { return };
                assert!(is_same(&newest, of_id), "{newest:?}\n{of_id}");
                true
            }
            // Of others, it must be some book of the last seconds.
            None => books.iter().any(|book| is_same(&newest, book)),
        };
        let mut all = self.0.lock().expect("not poisoned");
        let followed = all.get_mut(&topic).expect("it was there");
        let place = (newest.epoch, newest.seq);
        if is_it && followed.compared < place {
            followed.compared = place;
            followed.right += 1;
        }
    }

    /// Waits until so many more books of every symbol were the venue's.
    async fn until_right(&self, deployment: &Deployment, what: &str, more: u64) {
        let targets = INSTRUMENTS.map(|(_, _, symbol)| self.right(symbol) + more);
        deployment
            .until(what, || async {
                let mut all_right = true;
                for ((venue, native, symbol), target) in INSTRUMENTS.into_iter().zip(targets) {
                    if self.right(symbol) < target {
                        self.compare(deployment, venue, native, symbol).await;
                        all_right = false;
                    }
                }
                all_right
            })
            .await;
    }
}

/// Whether a published book has the levels of the simulator's.
fn is_same(book: &BookMessage, truth: &Value) -> bool {
    let plain = |text: &str| market_core::Amount::parse(text).map(|amount| amount.to_string());
    let side = |levels: &[(String, String)], truth: &Value| {
        let truth = truth.as_array().expect("levels");
        levels.len() == truth.len()
            && levels.iter().zip(truth).all(|(level, truth)| {
                let text = |at: usize| plain(truth[at].as_str().expect("a number"));
                (plain(&level.0), plain(&level.1)) == (text(0), text(1))
            })
    };
    side(&book.bids, &truth["bids"]) && side(&book.asks, &truth["asks"])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn books_are_the_venues_books_through_lost_repeated_and_late_changes_and_restarts() {
    let mut deployment = Deployment::new(sim_config()).await;
    let books = Books::of(&deployment).await;
    let mut config = deployment.config();
    config.channels = vec![FeedChannel::Book];
    config.books.book_interval_ms = 20;
    config.books.book_resync_ms = 200;
    deployment.start(config.clone());
    books
        .until_right(&deployment, "books are published", 3)
        .await;
    for kind in ["book_duplicate", "book_late", "book_gap", "book_malformed"] {
        for (venue, native, _) in INSTRUMENTS {
            // Coinbase numbers nothing: a change that is lost there shows only once a book is crossed.
            if (venue, kind) != ("coinbase", "book_gap") {
                let fault = format!("{kind},venue={venue},symbol={native},count=1");
                deployment.fault(&fault).await;
            }
        }
        deployment
            .until("the faults have struck", || async {
                let faults = deployment.get("/sim/faults").await.expect("faults");
                let mut all = faults.as_array().expect("faults").iter();
                all.all(|fault| fault["done"] == true || fault["remaining"] == 0)
            })
            .await;
        books.until_right(&deployment, kind, 3).await;
    }
    for (venue, _, _) in INSTRUMENTS {
        deployment.fault(&format!("disconnect,venue={venue}")).await;
    }
    books
        .until_right(&deployment, "after a disconnect", 3)
        .await;
    deployment.kill();
    deployment.start(config);
    books.until_right(&deployment, "after a restart", 3).await;
    deployment.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_book_of_a_program_that_ended_is_said_to_be_lost_by_the_next_one() {
    let mut deployment = Deployment::new(sim_config()).await;
    let books = Books::of(&deployment).await;
    let mut config = deployment.config();
    config.channels = vec![FeedChannel::Book];
    deployment.start(config.clone());
    books
        .until_right(&deployment, "books are published", 1)
        .await;
    deployment.kill();
    // The next one does not reach the venues.
    for (venue, _, _) in INSTRUMENTS {
        deployment.fault(&format!("refuse,venue={venue}")).await;
    }
    deployment.start(config);
    deployment
        .until("every book is said to be lost", || async {
            let all = books.0.lock().expect("not poisoned");
            let newest = all.values().filter_map(|followed| followed.newest.as_ref());
            let lost = newest.filter(|book| {
                book.state == BookState::Invalid && book.reason.as_deref() == Some("lost")
            });
            lost.count() == INSTRUMENTS.len()
        })
        .await;
    deployment.no_faults().await;
    books
        .until_right(&deployment, "the venues are back", 1)
        .await;
    deployment.stop().await;
}

const LIMITS: BookLimits = BookLimits {
    levels_min: 20,
    levels_max: 10_000,
    waiting_max: 1_000,
    waiting_levels_max: 100_000,
};

/// The books of a capture, one for each symbol, with each update that changed one.
fn play(
    venue: &str,
    folder: &std::path::Path,
    files: &[&str],
    mut changed: impl FnMut(&str, &BookTop),
) -> BTreeMap<String, BookSync> {
    let exchange = registry::find(venue).expect("registered");
    let mut books: BTreeMap<String, BookSync> = BTreeMap::new();
    for file in files {
        for line in read(&folder.join(file)).lines() {
            let Some(frame) = line.find('{').map(|at| &line[at..]) else {
                continue;
            };
            if line.contains("<-") {
                continue;
            }
            if line.contains("lastUpdateId") {
                let snapshot = exchange.parse_book_snapshot(frame.as_bytes(), 7);
                let book = books.get_mut("BTCUSDT").expect("changes came before");
                let applied = book.apply(snapshot.expect("a snapshot"));
                assert_eq!(applied, Applied::Changed, "{file}");
                continue;
            }
            let is_book = ["depthUpdate", "l2update", "\"snapshot\"", "\"books\""];
            if !is_book.iter().any(|kind| frame.contains(kind)) {
                continue;
            }
            let decoded = exchange.decode_books(frame, 7, &mut |event| {
                let BookEvent::Update { native, update } = event else {
                    return;
                };
                let book = books
                    .entry(native.to_owned())
                    .or_insert_with(|| BookSync::new(LIMITS));
                match book.apply(update) {
                    Applied::Changed => changed(native, &book.top(25).expect("a book")),
                    // The price has left the snapshot, of which a capture has only one.
                    Applied::Invalid(BookFault::TooThin) | Applied::Waiting => {
                        assert!(!book.is_valid());
                    }
                    other => panic!("{other:?}: {frame}"),
                }
            });
            assert_eq!(decoded, Ok(()), "{frame}");
        }
    }
    books
}

#[test]
fn a_real_book_of_binance_is_right_at_each_number_that_the_venue_says_a_quote_of() {
    let Some(folder) = captures("a book of Binance") else {
        return;
    };
    let files = [
        "binance-spot-raw/btcusdt_20240808.gz",
        "binance-spot-raw/btcusdt_20240809.gz",
    ];
    // The venue's own best prices, by its numbers.
    let binance = registry::find("binance").expect("registered");
    let mut quotes = BTreeMap::new();
    for file in files {
        for line in read(&folder.join(file)).lines() {
            if !line.contains("bookTicker") {
                continue;
            }
            let frame = line.find('{').map(|at| &line[at..]).expect("a frame");
            let decoded = binance.decode(frame, 7, &mut |event| {
                if let Event::Quote { quote, .. } = event {
                    quotes.insert(quote.update_id, (quote.bid, quote.ask));
                }
            });
            assert_eq!(decoded, Ok(()));
        }
    }
    let (mut changes, mut compared) = (0, 0);
    play("binance", &folder, &files, |_, top| {
        changes += 1;
        if let Some(quote) = quotes.get(&top.update_id) {
            compared += 1;
            let best = (top.bids.first().copied(), top.asks.first().copied());
            assert_eq!(best, *quote);
        }
    });
    // After four minutes the price has left the 1,000 levels of the snapshot.
    assert!(changes > 2_000, "{changes}");
    assert!(compared > 100, "{compared}");
}

#[test]
fn real_books_of_coinbase_are_never_crossed() {
    let Some(folder) = captures("books of Coinbase") else {
        return;
    };
    let files = ["coinbase-raw/coinbase_exchange_20210417_A.txt.gz"];
    let mut changes = 0;
    let books = play("coinbase", &folder, &files, |_, _| changes += 1);
    assert_eq!((books.len(), changes), (5, 6_293 + 5));
    assert!(books.values().all(BookSync::is_valid));
}

/// The checksum of OKX: of the first 25 levels, bids and asks in turn.
fn checksum(top: &BookTop) -> i32 {
    let mut texts = Vec::new();
    let text = |level: &PriceLevel| format!("{}:{}", level.price, level.quantity);
    for at in 0..25 {
        texts.extend(top.bids.get(at).map(text));
        texts.extend(top.asks.get(at).map(text));
    }
    let mut crc = u32::MAX;
    for byte in texts.join(":").bytes() {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = crc >> 1 ^ 0xEDB8_8320 & 0u32.wrapping_sub(crc & 1);
        }
    }
    i32::from_ne_bytes((!crc).to_ne_bytes())
}

#[test]
fn a_real_book_of_okx_has_the_checksum_of_the_venue() {
    let Some(folder) = captures("a book of OKX") else {
        return;
    };
    let file = "okx-raw/okx_v5_20220513_BTC-USDT.txt.gz";
    let mut said = Vec::new();
    for line in read(&folder.join(file)).lines() {
        if let Some((_, rest)) = line.split_once("\"checksum\":") {
            let end = rest.find([',', '}']).expect("an end");
            said.push(rest[..end].parse::<i32>().expect("a checksum"));
        }
    }
    let mut ours = Vec::new();
    let books = play("okx", &folder, &[file], |_, top| ours.push(checksum(top)));
    assert_eq!(books.len(), 1);
    assert_eq!(ours, said);
    assert!(said.len() > 90, "{}", said.len());
}
