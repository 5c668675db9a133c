//! Order books that clients of Binance keep of the gateway's stream of changes and history's
//! snapshots, through faults of the exchange and a restart of `marketdata`.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

use loadtest::directory::Directory;
use loadtest::fleet::{Fleet, FleetConfig, start_history};
use loadtest::program::arguments;
use serde_json::json;
use tokio::task::block_in_place;

/// Ends with the test.
struct Clients(Child);

impl Drop for Clients {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// python-binance's depth cache, ccxt.pro and cryptofeed. `KLINECAST_PYTHON` is as in
/// `tests/binance_clients.rs`.
#[tokio::test(flavor = "multi_thread")]
async fn books_that_clients_of_binance_keep_are_the_published_books_through_faults_and_a_restart() {
    let Some(python) = std::env::var_os("KLINECAST_PYTHON") else {
        let is_required = std::env::var_os("KLINECAST_REQUIRE_CLIENTS").is_some();
        assert!(!is_required, "run make tools and make test");
        println!("skipped: KLINECAST_PYTHON is not set");
        return;
    };
    let fleet = Fleet::start(FleetConfig {
        has_no_nginx: true,
        marketdata: arguments(&["--channels", "book", "--book-resync-ms", "200"]),
        ..FleetConfig::default()
    });
    let Some(mut fleet) = fleet.await else {
        return;
    };
    let folder = Directory::named("binance-books");
    let (_history, address) = start_history(&fleet.nats.url(), &folder).await;
    let script = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../tests/clients/binance_books.py"
    );
    let clients = Command::new(python)
        .arg(script)
        .arg(address.to_string())
        .arg(fleet.gateways[0].address.to_string())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let mut clients = Clients(clients.expect("the interpreter starts"));
    let mut lines = BufReader::new(clients.0.stdout.take().expect("it is piped")).lines();
    let mut until_line = |wanted: &str| {
        block_in_place(|| {
            loop {
                let line = lines.next().expect("the clients go on").expect("UTF-8");
                println!("{line}");
                if line == wanted {
                    break;
                }
            }
        });
    };
    until_line("followed");
    for kind in ["book_duplicate", "book_late", "book_gap"] {
        let fault = json!({"kind": kind, "venue": "binance", "symbol": "BTCUSDT", "count": 1});
        fleet.simulator.fault(fault).await;
    }
    fleet.marketdata.process.kill();
    fleet.marketdata = fleet.start_marketdata().await;
    fleet.marketdata.until_ready().await;
    let mut stdin = clients.0.stdin.take().expect("it is piped");
    stdin.write_all(b"go on\n").expect("it reads");
    until_line("ok");
}
