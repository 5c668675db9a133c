use std::sync::{Arc, Mutex};

use bus::{Bus, BusConfig, Headers, MemoryBus};
use market_core::wire::archive::{ArchiveBar, ArchivePage, ArchiveQuery};
use market_core::{Amount, Price, subject};
use testkit::directory::Directory;
use testkit::wait::{holds, until};

use super::*;
use crate::config::Config;
use crate::store::Instrument;

const MINUTE_MS: UnixMillis = 60_000;

/// A background that fills the first minute of each of these symbols from a venue that refuses the
/// questions for which `refuses` says so, by symbol and number.
struct Filling {
    history: History,
    asked: Arc<Mutex<Vec<String>>>,
    symbols: Vec<BarSeries>,
    shutdown: Shutdown,
    tasks: JoinSet<()>,
    _directory: Directory,
}

impl Filling {
    async fn start(
        symbols: &[&str],
        patience: Patience,
        refuses: impl Fn(&str, usize) -> bool + Send + 'static,
    ) -> Self {
        let directory = Directory::new();
        let bus = MemoryBus::new(&BusConfig::default(), &service::streams());
        let bus: Arc<dyn Bus> = Arc::new(bus.expect("a memory bus"));
        let subject = subject::archive_bars("okx");
        let served = bus.requests().serve(&subject, "archive").await;
        let mut responder = served.expect("served");
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let known = Arc::clone(&asked);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            while let Some(question) = responder.recv().await {
                let query: ArchiveQuery =
                    serde_json::from_slice(&question.message.payload).expect("a question");
                let symbol = query.symbol.to_string();
                let before = {
                    let mut asked = known.lock().expect("no panic");
                    let before = asked.iter().filter(|other| **other == symbol).count();
                    asked.push(symbol.clone());
                    before
                };
                let answered = match refuses(&symbol, before) {
                    true => question.refuse("the venue is away").await,
                    false => {
                        let page = serde_json::to_vec(&page(&query)).expect("plain fields");
                        question.answer(Headers::new(), page.into()).await
                    }
                };
                answered.expect("answered");
            }
        });
        let config = Config {
            data_dir: Some(directory.path().to_owned()),
            ..Config::default()
        };
        let history = History::open(&config, bus).await.expect("a new directory");
        let (holes, holes_out) = mpsc::channel(symbols.len());
        let mut of_symbols = Vec::new();
        for symbol in symbols {
            let series = BarSeries {
                instrument: Instrument {
                    exchange: "okx".into(),
                    symbol: symbol.parse().expect("a symbol"),
                },
                timeframe: Timeframe::MINUTE,
            };
            let hole = Hole {
                series: series.clone(),
                is_partial: false,
                from_ms: 0,
                to_ms: MINUTE_MS,
            };
            holes.try_send(hole).expect("room");
            of_symbols.push(series);
        }
        let background = Background {
            history: history.clone(),
            bars: 0,
            patience,
        };
        let service = service::Service::for_test();
        let shutdown = service.shutdown.clone();
        tasks.spawn(async move {
            let ended = background.run(holes_out, service.shutdown).await;
            ended.expect("it works until the shutdown");
            drop(holes);
        });
        Self {
            history,
            asked,
            symbols: of_symbols,
            shutdown,
            tasks,
            _directory: directory,
        }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("no panic").clone()
    }

    fn is_filled(&self, place: usize) -> bool {
        self.history.index.get(&self.symbols[place]).is_some()
    }
}

impl Drop for Filling {
    fn drop(&mut self) {
        self.shutdown.trigger();
        self.tasks.abort_all();
    }
}

fn page(query: &ArchiveQuery) -> ArchivePage {
    let price = Price::parse("2").expect("a price");
    let bar = ArchiveBar {
        start_ms: query.from_ms,
        open: price,
        high: price,
        low: price,
        close: price,
        volume: Amount::ZERO,
        quote_volume: None,
        taker_buy_volume: None,
        taker_buy_quote_volume: None,
        count: None,
    };
    ArchivePage {
        bars: vec![bar],
        complete_from_ms: query.from_ms,
        has_width: true,
    }
}

#[tokio::test]
async fn spans_that_have_waited_long_outlive_a_venue_that_is_away_for_a_moment() {
    // No time at all for questions that were asked before.
    let patience = Patience {
        retry_after: Duration::from_millis(1),
        give_up_after: Duration::ZERO,
    };
    let symbols = ["A-USD", "B-USD", "C-USD", "D-USD"];
    let filling = Filling::start(&symbols, patience, |_, before| before == 0).await;
    until("every span", async || {
        let is_filled = (0..symbols.len()).all(|place| filling.is_filled(place));
        holds(is_filled, || format!("asked: {:?}", filling.asked()))
    })
    .await;
}

#[tokio::test]
async fn a_span_without_an_answer_holds_up_no_other_of_its_venue() {
    let patience = Patience {
        retry_after: Duration::from_millis(1),
        ..Patience::default()
    };
    let symbols = ["A-USD", "B-USD", "C-USD"];
    let filling = Filling::start(&symbols, patience, |symbol, _| symbol == "A-USD").await;
    until("the spans after it, and another question", async || {
        let asked = filling.asked();
        let again = asked.iter().filter(|symbol| *symbol == "A-USD").count() > 1;
        holds(
            filling.is_filled(1) && filling.is_filled(2) && again,
            || format!("asked: {asked:?}"),
        )
    })
    .await;
    assert!(!filling.is_filled(0));
}
