//! exchange-sim as a process: the market, its faults, and what was really traded.

use std::net::SocketAddr;

use serde::Deserialize;
use serde_json::Value;

use crate::program::{Program, fresh_http};
use crate::truth::Trade;

/// Trades of one answer.
const PAGE: usize = 20_000;

/// See the module.
#[derive(Debug)]
pub struct Simulator {
    /// The running program.
    pub program: Program,
    /// Where all its venues are served.
    pub address: SocketAddr,
    http: reqwest::Client,
}

#[derive(Deserialize)]
struct Page {
    next_id: Option<u64>,
    trades: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    id: u64,
    price: String,
    quantity: String,
    side: String,
    event_ms: i64,
}

impl Simulator {
    /// Starts it.
    pub async fn start(mut arguments: Vec<String>) -> Self {
        for argument in ["--listen", "127.0.0.1:0"] {
            arguments.push(argument.to_owned());
        }
        let mut program = Program::start("exchange-sim", arguments).await;
        let address = program
            .listens("exchange simulator is serving", "listen")
            .await;
        program.until_ready().await;
        Self {
            program,
            address,
            http: fresh_http(),
        }
    }

    /// As `--sim` of marketdata wants it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Every trade of a symbol that the simulator knows, in the order of their ids.
    ///
    /// # Panics
    /// If it does not answer.
    pub async fn trades(&self, venue: &str, symbol: &str) -> Vec<Trade> {
        let mut trades = Vec::new();
        let mut from_id = 0;
        loop {
            let path =
                format!("/sim/trades?venue={venue}&symbol={symbol}&from_id={from_id}&limit={PAGE}");
            let text = self.get(&path).await;
            let page: Page =
                serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
            let count = page.trades.len();
            trades.extend(page.trades.into_iter().map(|row| {
                Trade::read(
                    row.id,
                    &row.price,
                    &row.quantity,
                    row.side == "buy",
                    row.event_ms,
                )
            }));
            match page.next_id {
                Some(next_id) if count == PAGE => from_id = next_id,
                _ => return trades,
            }
        }
    }

    /// The last books of a symbol to a depth, newest first.
    ///
    /// # Panics
    /// If it does not answer.
    pub async fn books(&self, venue: &str, symbol: &str, depth: usize) -> Vec<Value> {
        let path = format!("/sim/books?venue={venue}&symbol={symbol}&depth={depth}&limit=200");
        let text = self.get(&path).await;
        let books: Value =
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        books["books"].as_array().expect("books").clone()
    }

    /// Sets a fault.
    ///
    /// # Panics
    /// If it is refused.
    pub async fn fault(&self, fault: Value) {
        let url = format!("{}/sim/faults", self.url());
        let answer = self.http.post(url).body(fault.to_string()).send().await;
        let answer = answer.expect("the simulator answers");
        assert!(
            answer.status().is_success(),
            "{fault} is refused: {:?}",
            answer.text().await
        );
    }

    /// Ends all faults.
    ///
    /// # Panics
    /// If the simulator does not answer.
    pub async fn end_faults(&self) {
        let answer = self
            .http
            .delete(format!("{}/sim/faults", self.url()))
            .send()
            .await;
        assert!(answer.is_ok_and(|answer| answer.status().is_success()));
    }

    /// Its figures: connections, attempts and so on by venue.
    ///
    /// # Panics
    /// If it does not answer.
    pub async fn stats(&self) -> Value {
        serde_json::from_str(&self.get("/sim/stats").await).expect("JSON")
    }

    /// Our names of a venue's symbols, but for those that may trade nothing for minutes.
    ///
    /// # Panics
    /// If it does not answer.
    pub async fn busy_symbols(&self, venue: &str) -> Vec<String> {
        #[derive(Deserialize)]
        struct Listed {
            venue: String,
            base: String,
            quote: String,
            quiet: bool,
        }
        let text = self.get("/sim/symbols").await;
        let listed: Vec<Listed> =
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        let listed = listed.into_iter();
        let listed = listed.filter(|listed| listed.venue == venue && !listed.quiet);
        listed
            .map(|listed| format!("{}-{}", listed.base, listed.quote))
            .collect()
    }

    async fn get(&self, path: &str) -> String {
        let answer = self.http.get(format!("{}{path}", self.url())).send().await;
        answer
            .expect("the simulator answers")
            .text()
            .await
            .expect("a body")
    }
}
