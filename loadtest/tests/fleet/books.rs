//! Order books, from the exchanges to clients of gateways: whole, and as changes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use loadtest::client::{Client, Got};
use loadtest::fleet::{Fleet, FleetConfig, INSTRUMENTS, Instrument};
use loadtest::program::arguments;
use loadtest::wait::{holds, until};
use serde_json::{Value, json};
use tokio::task::AbortHandle;

/// Levels of each side that `marketdata` publishes.
const PUBLISHED: usize = 20;

/// A client of all books at one gateway.
struct Reader {
    depth: usize,
    followed: Arc<Mutex<Followed>>,
    task: AbortHandle,
}

/// The newest book of each topic.
#[derive(Default)]
struct Followed {
    books: HashMap<String, Value>,
    /// Messages that had changes only.
    changes: u64,
    /// Why the messages do not fit together.
    fault: Option<String>,
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn topic(instrument: &Instrument) -> String {
    format!("book:{}", instrument.symbol)
}

/// Its epoch, and a number of its sequence.
fn place(book: &Value, number: &str) -> (u64, u64) {
    let field = |name: &str| book[name].as_u64().expect("a number");
    (field("epoch"), field(number))
}

/// A side after changes of it. `sign` is 1 where prices rise.
fn changed(before: &Value, changes: &Value, depth: usize, sign: f64) -> Value {
    let price = |level: &Value| -> f64 {
        let text = level[0].as_str().expect("a price");
        text.parse().expect("a number")
    };
    let changes = changes.as_array().expect("levels");
    let is_kept = |level: &&Value| changes.iter().all(|change| change[0] != level[0]);
    let before = before.as_array().expect("levels").iter().take(depth);
    let added = changes.iter().filter(|change| change[1] != "0");
    let mut levels: Vec<Value> = before.filter(is_kept).chain(added).cloned().collect();
    levels.sort_by(|left, right| (sign * price(left)).total_cmp(&(sign * price(right))));
    Value::from(levels)
}

impl Followed {
    fn take(&mut self, mut book: Value) -> Result<(), String> {
        let topic = book["topic"].as_str().expect("a topic").to_owned();
        let before = self.books.get(&topic);
        if book.get("prev_seq").is_some() {
            let before = before.filter(|before| before["state"] == "valid");
            let before = before.ok_or_else(|| format!("no book to change: {book}"))?;
            if place(before, "seq") != place(&book, "prev_seq") {
                return Err(format!("{before} is not what changes: {book}"));
            }
            let depth = book["depth"].as_u64().expect("it was asked for") as usize;
            book["bids"] = changed(&before["bids"], &book["bids"], depth, -1.0);
            book["asks"] = changed(&before["asks"], &book["asks"], depth, 1.0);
            self.changes += 1;
        } else if let Some(before) = before
            && place(before, "seq") > place(&book, "seq")
        {
            return Err(format!("{before} is newer than {book}"));
        }
        self.books.insert(topic, book);
        Ok(())
    }
}

impl Reader {
    /// A reader of whole books, or of changes to a depth.
    async fn at(url: String, depth: Option<usize>) -> Self {
        let followed: Arc<Mutex<Followed>> = Arc::default();
        let mut client = Client::connect(&url).await;
        let topics: Vec<String> = INSTRUMENTS.iter().map(topic).collect();
        let mut request = json!({"op": "sub", "topics": topics});
        if let Some(depth) = depth {
            request["depth"] = json!(depth);
            request["changes"] = json!(true);
        }
        client.send(&request.to_string()).await;
        let shared = Arc::clone(&followed);
        let task = tokio::spawn(async move {
            while let Got::Frame(objects) = client.next().await {
                for book in objects {
                    if book.get("op").is_some() {
                        continue;
                    }
                    let mut followed = shared.lock().expect("not poisoned");
                    if let Err(fault) = followed.take(book) {
                        followed.fault.get_or_insert(fault);
                    }
                }
            }
        });
        Self {
            depth: depth.unwrap_or(PUBLISHED),
            followed,
            task: task.abort_handle(),
        }
    }

    fn followed(&self) -> MutexGuard<'_, Followed> {
        let followed = self.followed.lock().expect("not poisoned");
        assert_eq!(followed.fault, None);
        followed
    }

    fn newest(&self, instrument: &Instrument) -> Option<Value> {
        self.followed().books.get(&topic(instrument)).cloned()
    }

    /// Waits until some more books of each exchange were compared, and all of them were its books.
    async fn until_right(&self, fleet: &Fleet, what: &str) {
        for instrument in INSTRUMENTS {
            // What came before says nothing.
            let before = self.newest(&instrument);
            let mut compared: Vec<_> = before.iter().map(|book| place(book, "seq")).collect();
            let enough = compared.len() + 2;
            until(what, async || {
                let newest = self
                    .newest(&instrument)
                    .filter(|book| book["state"] == "valid");
                let is_new = |book: &Value| !compared.contains(&place(book, "seq"));
                let Some(newest) = newest.filter(is_new) else {
                    return Err(format!("{} has no newer book", instrument.symbol));
                };
                if is_true(fleet, &instrument, &newest, self.depth).await {
                    compared.push(place(&newest, "seq"));
                }
                holds(compared.len() >= enough, || {
                    format!("{compared:?} of {newest}")
                })
            })
            .await;
        }
    }
}

/// Whether a book is one that the exchange had; false if the exchange does not know it any more.
async fn is_true(fleet: &Fleet, instrument: &Instrument, book: &Value, depth: usize) -> bool {
    let truth = fleet
        .simulator
        .books(instrument.venue, instrument.native, depth)
        .await;
    let is_it = |truth: &Value| {
        side(&truth["bids"]) == side(&book["bids"]) && side(&truth["asks"]) == side(&book["asks"])
    };
    let Some(id) = book["update_id"].as_str() else {
        // Without a number, it must be some book of the last minutes.
        return truth.iter().any(is_it);
    };
    let id: u64 = id.parse().expect("a number");
    let Some(of_id) = truth.iter().find(|truth| truth["update_id"] == id) else {
        return false;
    };
    assert!(is_it(of_id), "{book}\n{of_id}");
    true
}

/// Prices and quantities without zeros at their ends.
fn side(levels: &Value) -> Vec<[String; 2]> {
    let plain = |text: &Value| {
        let text = text.as_str().expect("a number");
        match text.contains('.') {
            true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
            false => text.to_owned(),
        }
    };
    let levels = levels.as_array().expect("levels");
    levels
        .iter()
        .map(|level| [plain(&level[0]), plain(&level[1])])
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_books_of_clients_are_the_exchanges_books_through_faults_and_a_restart() {
    let fleet = Fleet::start(FleetConfig {
        has_no_nginx: true,
        marketdata: arguments(&["--channels", "book", "--book-resync-ms", "200"]),
        ..FleetConfig::default()
    });
    let Some(mut fleet) = fleet.await else {
        return;
    };
    let readers = [
        Reader::at(fleet.gateways[0].url(), None).await,
        Reader::at(fleet.gateways[1].url(), Some(10)).await,
    ];
    for reader in &readers {
        reader.until_right(&fleet, "books").await;
    }
    for kind in ["book_duplicate", "book_late", "book_gap"] {
        for Instrument { venue, native, .. } in INSTRUMENTS {
            // Coinbase numbers nothing: a change that is lost there does not show.
            if (venue, kind) != ("coinbase", "book_gap") {
                let fault = json!({"kind": kind, "venue": venue, "symbol": native, "count": 1});
                fleet.simulator.fault(fault).await;
            }
        }
    }
    for reader in &readers {
        reader.until_right(&fleet, "books after faults").await;
    }
    fleet.marketdata.process.kill();
    fleet.marketdata = fleet.start_marketdata().await;
    fleet.marketdata.until_ready().await;
    for reader in &readers {
        reader.until_right(&fleet, "books after a restart").await;
    }
    // A book that changes in most of its levels is sent whole.
    until("changes", async || {
        holds(readers[1].followed().changes > 0, || {
            "whole books".to_owned()
        })
    })
    .await;
    assert_eq!(readers[0].followed().changes, 0);
}
