//! A simulator, a bus, marketdata between them, and a reader that keeps what was published.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use bus::{Bus, Delivery, MemoryBus};
use exchange_sim::FaultSpec;
use market_core::wire::BoundaryMark;
use marketdata::{Config, Control};
use serde_json::{Value, json};
use service::{LogGuard, Service};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

/// How long any condition may take.
const DEADLINE: Duration = Duration::from_secs(60);
/// Keeps the log of the process, which all tests of it share.
static LOG: OnceLock<LogGuard> = OnceLock::new();

/// The instruments of most tests: (venue, the venue's name, our symbol).
pub(crate) const INSTRUMENTS: [(&str, &str, &str); 3] = [
    ("binance", "BTCUSDT", "BTC-USDT"),
    ("coinbase", "BTC-USD", "BTC-USD"),
    ("okx", "BTC-USDT", "OKX:BTC-USDT"),
];

/// What the reader has seen.
#[derive(Default)]
pub(crate) struct Seen {
    /// Every closed bar and revision, in order.
    pub(crate) all_closed: Vec<Value>,
    /// The effective closed bar of each (topic, start): the one with the highest revision.
    pub(crate) closed: BTreeMap<(String, i64), Value>,
    /// Sequence numbers by topic.
    pub(crate) seqs: HashMap<String, Vec<(u64, u64)>>,
    /// Feed statuses, in order.
    pub(crate) statuses: Vec<Value>,
    /// Gap events, in order.
    pub(crate) gaps: Vec<Value>,
    /// Forming bars.
    pub(crate) forming: usize,
    /// Revisions of closed bars.
    pub(crate) revisions: usize,
    /// Trades on `market.>`.
    pub(crate) trades: usize,
    /// Boundary marks, in order.
    pub(crate) marks: Vec<Mark>,
}

/// A boundary mark, and what had come before it.
#[derive(Debug)]
pub(crate) struct Mark {
    pub(crate) interval: String,
    pub(crate) end_ms: i64,
    pub(crate) bars: u64,
    pub(crate) missing: u64,
    /// Topics whose bar of that boundary had not come.
    pub(crate) behind: usize,
}

/// See the module.
pub(crate) struct Deployment {
    /// The simulator's address.
    pub(crate) base: String,
    sim: Service,
    /// Of its own, so that it can stand still.
    sim_runtime: Option<Runtime>,
    pub(crate) bus: Arc<dyn Bus>,
    seen: Arc<Mutex<Seen>>,
    http: reqwest::Client,
    running: Option<Running>,
    beside: Option<Running>,
}

struct Running {
    service: Service,
    runtime: Runtime,
    task: tokio::task::JoinHandle<Result<(), marketdata::Error>>,
}

/// Threads of a runtime.
const THREADS: usize = 2;

fn runtime() -> Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let built = builder.worker_threads(THREADS).enable_all().build();
    built.expect("a runtime")
}

/// Blocks every thread of a runtime.
#[expect(clippy::disallowed_methods, reason = "to block is what it is for")]
async fn freeze(runtime: &Runtime, time: Duration) {
    let all_blocked = Arc::new(std::sync::Barrier::new(THREADS));
    let blocked = (0..THREADS).map(|_| {
        let all_blocked = Arc::clone(&all_blocked);
        runtime.spawn(async move {
            all_blocked.wait();
            std::thread::sleep(time);
        })
    });
    for blocked in blocked.collect::<Vec<_>>() {
        blocked.await.expect("it does not panic");
    }
}

/// A busy little market with limits that are not in the way.
pub(crate) fn sim_config() -> exchange_sim::Config {
    exchange_sim::Config {
        rate: 15.0,
        history_minutes: 1,
        ..exchange_sim::Config::default()
    }
}

impl Deployment {
    /// A simulator and an empty memory bus.
    pub(crate) async fn new(sim_config: exchange_sim::Config) -> Self {
        let bus = MemoryBus::with_streams(&service::streams());
        Self::on(Arc::new(bus), sim_config).await
    }

    /// A simulator, on the bus given.
    pub(crate) async fn on(bus: Arc<dyn Bus>, sim_config: exchange_sim::Config) -> Self {
        // The first test of the process starts the log, and the process ends it.
        LOG.get_or_init(|| service::init_logging(&service::LogConfig::default()));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("a socket");
        let base = format!("http://{}", listener.local_addr().expect("bound"));
        let sim = Service::for_test();
        let sim_runtime = runtime();
        sim_runtime.spawn({
            let sim = sim.clone();
            async move {
                let listener = TcpListener::from_std(listener).expect("a listener");
                exchange_sim::run(sim_config, listener, sim).await
            }
        });
        let seen = Arc::new(Mutex::new(Seen::default()));
        let mut subscription = bus.subscribe(">").await.expect("the bus is there");
        tokio::spawn({
            let (seen, bus) = (Arc::clone(&seen), Arc::clone(&bus));
            async move {
                while let Some(delivery) = subscription.recv().await {
                    if let Delivery::Message(message) = delivery {
                        let mut seen = seen.lock().expect("not poisoned");
                        seen.note(&message.subject, &message.payload);
                        continue;
                    }
                    // As a gateway does: what was missed is among the last values.
                    for message in bus.last_values("closed.>").await.unwrap_or_default() {
                        let bar = serde_json::from_slice(&message.payload).expect("JSON");
                        seen.lock().expect("not poisoned").note_closed(bar);
                    }
                }
            }
        });
        let this = Self {
            base,
            sim,
            sim_runtime: Some(sim_runtime),
            bus,
            seen,
            http: reqwest::Client::new(),
            running: None,
            beside: None,
        };
        this.until("the simulator serves", || async {
            this.get("/sim/stats").await.is_some()
        })
        .await;
        this
    }

    /// marketdata's configuration in this deployment: quick, and pointed at the simulator.
    pub(crate) fn config(&self) -> Config {
        let instruments = INSTRUMENTS
            .map(|(venue, _, symbol)| format!("{venue}:{symbol}"))
            .join(",");
        Config {
            instruments: marketdata::instrument::InstrumentSpec::parse_list(&instruments)
                .expect("valid"),
            sim: Some(self.base.parse().expect("an address")),
            timeframes: "1s,1m".parse().expect("valid"),
            // Wide enough for a machine that is busy with other tests.
            reorder_window_ms: 1_500,
            gap_grace_ms: 100,
            gap_hold_ms: 5_000,
            gap_retry_ms: 200,
            forming_interval_ms: 100,
            backoff_base_ms: 50,
            backoff_max_ms: 500,
            symbol_silence_ms: 2_000,
            checkpoint_interval_ms: 100,
            workers: 2,
            ..Config::default()
        }
    }

    /// Starts marketdata in a runtime of its own, so that it can be killed whole.
    pub(crate) fn start(&mut self, config: Config) {
        self.start_controlled(config, Control::default());
    }

    /// As `start`, with an operator.
    pub(crate) fn start_controlled(&mut self, config: Config, control: Control) {
        assert!(self.running.is_none());
        self.running = Some(self.spawn(config, control));
    }

    fn spawn(&self, config: Config, control: Control) -> Running {
        let runtime = runtime();
        let service = Service::for_test();
        let bus = Arc::clone(&self.bus);
        let run = marketdata::run_controlled(config, bus, service.clone(), control);
        let task = runtime.spawn(run);
        Running {
            service,
            runtime,
            task,
        }
    }

    /// Starts a second marketdata beside the first.
    pub(crate) fn start_beside(&mut self, config: Config, control: Control) {
        assert!(self.beside.is_none());
        self.beside = Some(self.spawn(config, control));
    }

    /// The second marketdata, which can be stopped and killed like the first, changes places with it.
    pub(crate) fn swap(&mut self) {
        std::mem::swap(&mut self.running, &mut self.beside);
    }

    /// marketdata stands still for so long, as one that is stopped or starved does.
    pub(crate) async fn freeze_marketdata(&self, time: Duration) {
        freeze(&self.running.as_ref().expect("it runs").runtime, time).await;
    }

    /// The venues stand still for so long.
    pub(crate) async fn freeze_venues(&self, time: Duration) {
        freeze(self.sim_runtime.as_ref().expect("it runs"), time).await;
    }

    /// Checks that each closed second that was ever published as `complete` or `filled`, of a
    /// whole symbol, is what the simulator knows. Gives how many there were.
    pub(crate) async fn check_no_lies(&self, venue: &str, native: &str, symbol: &str) -> usize {
        let topic = format!("kline:1s:{symbol}");
        let said: Vec<Value> = self.seen(|seen| {
            let bars = seen.all_closed.iter().filter(|bar| bar["topic"] == *topic);
            let sure =
                bars.filter(|bar| bar["quality"] == "complete" || bar["quality"] == "filled");
            sure.cloned().collect()
        });
        let path = format!(
            "/sim/klines?venue={venue}&symbol={native}&interval=1s&limit=100000&fill=true&from_ms={}&to_ms={}",
            said[0]["start_ms"],
            said.last().expect("a bar")["end_ms"],
        );
        let truth = self.get(&path).await.expect("the simulator answers");
        let truth: HashMap<i64, &Value> = truth["klines"]
            .as_array()
            .expect("klines")
            .iter()
            .map(|bar| (bar["start_ms"].as_i64().expect("a time"), bar))
            .collect();
        for bar in &said {
            let truth = truth[&bar["start_ms"].as_i64().expect("a time")];
            for field in ["open", "high", "low", "close", "volume", "count"] {
                assert_eq!(
                    bar[field], truth[field],
                    "{field}:\n  said  {bar}\n  truth {truth}"
                );
            }
        }
        said.len()
    }

    /// Ends marketdata as a power cut does.
    pub(crate) fn kill(&mut self) {
        let running = self.running.take().expect("it runs");
        running.runtime.shutdown_background();
    }

    /// Drains marketdata.
    pub(crate) async fn stop(&mut self) {
        let running = self.running.take().expect("it runs");
        running.service.shutdown.trigger();
        let ended = tokio::time::timeout(Duration::from_secs(10), running.task).await;
        ended
            .expect("it drains in time")
            .expect("it does not panic")
            .expect("it drains well");
        running.runtime.shutdown_background();
    }

    /// Whether marketdata says that it is ready.
    pub(crate) fn is_ready(&self) -> bool {
        let running = self.running.as_ref().expect("it runs");
        running.service.readiness.is_ready()
    }

    /// What keeps marketdata from being ready.
    pub(crate) fn unmet(&self) -> Vec<service::UnmetCondition> {
        let running = self.running.as_ref().expect("it runs");
        running.service.readiness.unmet()
    }

    /// How marketdata ends by itself.
    pub(crate) async fn ended(&mut self) -> Result<(), marketdata::Error> {
        let running = self.running.take().expect("it runs");
        let ended = tokio::time::timeout(DEADLINE, running.task).await;
        let ended = ended
            .expect("it ends in time")
            .expect("it does not panic itself");
        running.runtime.shutdown_background();
        ended
    }

    /// The epoch under which a symbol's newest bar was published.
    pub(crate) fn newest_epoch(&self, symbol: &str) -> u64 {
        let topic = format!("kline:1s:{symbol}");
        self.seen(|seen| seen.seqs[&topic].last().expect("a bar").0)
    }

    /// What the simulator answers.
    pub(crate) async fn get(&self, path: &str) -> Option<Value> {
        let response = self
            .http
            .get(format!("{}{path}", self.base))
            .send()
            .await
            .ok()?;
        serde_json::from_slice(&response.bytes().await.ok()?).ok()
    }

    /// Posts to the simulator.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Value {
        let response = self
            .http
            .post(format!("{}{path}", self.base))
            .body(body.to_string())
            .send()
            .await
            .expect("the simulator answers");
        let body = response.bytes().await.expect("a body");
        let answer: Value = serde_json::from_slice(&body).expect("JSON");
        assert!(answer.get("error").is_none(), "{answer}");
        answer
    }

    /// Sets a fault, written as for `--fault`.
    pub(crate) async fn fault(&self, fault: &str) {
        let spec: FaultSpec = fault.parse().expect("a fault");
        self.post("/sim/faults", &json!(spec)).await;
    }

    /// Lifts all faults.
    pub(crate) async fn no_faults(&self) {
        let url = format!("{}/sim/faults", self.base);
        let answer = self.http.delete(url).send().await;
        let answer = answer.expect("the simulator answers");
        assert!(answer.status().is_success(), "{answer:?}");
    }

    /// Looks at what was published.
    pub(crate) fn seen<T>(&self, look: impl FnOnce(&Seen) -> T) -> T {
        look(&self.seen.lock().expect("not poisoned"))
    }

    /// Waits until `condition` holds.
    #[track_caller]
    pub(crate) fn until<'a, F>(
        &'a self,
        what: &'a str,
        condition: impl Fn() -> F + 'a,
    ) -> impl Future<Output = ()> + 'a
    where
        F: Future<Output = bool> + 'a,
    {
        let caller = std::panic::Location::caller();
        async move {
            let started = Instant::now();
            while !condition().await {
                assert!(
                    started.elapsed() < DEADLINE,
                    "{caller}: not in time: {what}"
                );
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }

    /// Waits until what was published satisfies `condition`.
    #[track_caller]
    pub(crate) fn until_seen<'a>(
        &'a self,
        what: &'a str,
        condition: impl Fn(&Seen) -> bool + 'a,
    ) -> impl Future<Output = ()> + 'a {
        let condition = Arc::new(condition);
        self.until(what, move || {
            let condition = Arc::clone(&condition);
            async move { self.seen(|seen| condition(seen)) }
        })
    }

    /// The newest closed second of a symbol ends here.
    pub(crate) fn closed_until_ms(&self, symbol: &str) -> i64 {
        self.seen(|seen| seen.newest_end_ms(symbol))
    }

    /// Waits until a symbol has closed `seconds` more seconds.
    #[track_caller]
    pub(crate) fn more_seconds<'a>(
        &'a self,
        symbol: &'a str,
        seconds: i64,
    ) -> impl Future<Output = ()> + 'a {
        let target_ms = self.closed_until_ms(symbol) + seconds * 1_000;
        self.until_seen("more seconds closed", move |seen| {
            seen.newest_end_ms(symbol) >= target_ms
        })
    }

    /// Waits until every symbol of [`INSTRUMENTS`] has closed `seconds` more seconds.
    #[track_caller]
    pub(crate) fn all_more_seconds(&self, seconds: i64) -> impl Future<Output = ()> + '_ {
        let targets = INSTRUMENTS
            .map(|(_, _, symbol)| (symbol, self.closed_until_ms(symbol) + seconds * 1_000));
        self.until_seen("more seconds of every symbol closed", move |seen| {
            targets
                .iter()
                .all(|&(symbol, target_ms)| seen.newest_end_ms(symbol) >= target_ms)
        })
    }

    /// Compares every closed second of a symbol, from the first whole one on, with what the
    /// simulator knows. Gives how many there were.
    #[track_caller]
    pub(crate) fn check_truth<'a>(
        &'a self,
        venue: &'a str,
        native: &'a str,
        symbol: &'a str,
    ) -> impl Future<Output = usize> + 'a {
        let caller = std::panic::Location::caller();
        async move {
            // Revisions may still be on their way: what does not agree now may a little later.
            let started = Instant::now();
            loop {
                match self.compare(venue, native, symbol).await {
                    Ok(count) => return count,
                    Err(difference) => assert!(
                        started.elapsed() < Duration::from_secs(15),
                        "{caller}: {difference}"
                    ),
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }

    async fn compare(&self, venue: &str, native: &str, symbol: &str) -> Result<usize, String> {
        let topic = format!("kline:1s:{symbol}");
        let ours: BTreeMap<i64, Value> = self.seen(|seen| {
            let bars = seen.closed.iter().filter(|((of, _), _)| *of == topic);
            bars.map(|((_, start_ms), bar)| (*start_ms, bar.clone()))
                .collect()
        });
        let whole = ours.values().find(|bar| bar["quality"] != "partial");
        let first_ms = whole.ok_or("no whole bar")?["start_ms"]
            .as_i64()
            .expect("a time");
        let (last_ms, _) = ours.last_key_value().ok_or("no bar")?;
        let path = format!(
            "/sim/klines?venue={venue}&symbol={native}&interval=1s&limit=100000&fill=true&from_ms={first_ms}&to_ms={}",
            last_ms + 1_000
        );
        let truth = self.get(&path).await.ok_or("the simulator is away")?;
        let truth = truth["klines"].as_array().ok_or("no klines")?.clone();
        let expected = (last_ms - first_ms) / 1_000 + 1;
        if truth.len() as i64 != expected {
            return Err(format!(
                "{expected} seconds, and the truth has {}",
                truth.len()
            ));
        }
        for bar in &truth {
            let start_ms = bar["start_ms"].as_i64().expect("a time");
            let Some(our) = ours.get(&start_ms) else {
                return Err(format!("{symbol} lacks the second {start_ms}"));
            };
            for field in [
                "end_ms",
                "open",
                "high",
                "low",
                "close",
                "volume",
                "quote_volume",
                "taker_buy_volume",
                "taker_buy_quote_volume",
                "count",
                "first_id",
                "last_id",
            ] {
                if our[field] != bar[field] {
                    return Err(format!(
                        "{field} of {symbol}:\n  ours  {our}\n  truth {bar}"
                    ));
                }
            }
        }
        Ok(truth.len())
    }
}

impl Drop for Deployment {
    fn drop(&mut self) {
        self.sim.shutdown.trigger();
        if let Some(runtime) = self.sim_runtime.take() {
            runtime.shutdown_background();
        }
        for running in [self.running.take(), self.beside.take()]
            .into_iter()
            .flatten()
        {
            running.runtime.shutdown_background();
        }
    }
}

impl Seen {
    fn note(&mut self, subject: &str, payload: &[u8]) {
        if subject.starts_with("state.") || subject.starts_with("closed.") {
            return;
        }
        let value: Value = serde_json::from_slice(payload).expect("JSON");
        if subject.starts_with("market.") {
            self.trades += 1;
        } else if subject.starts_with("system.feed.") {
            self.statuses.push(value);
        } else if subject.ends_with("marketdata.gap") {
            self.gaps.push(value);
        } else if subject.starts_with("kline.") {
            self.note_bar(value);
        } else if subject.starts_with("boundary.") {
            self.note_mark(payload);
        }
    }

    fn note_mark(&mut self, payload: &[u8]) {
        let mark = BoundaryMark::read(payload).expect("a mark");
        let prefix = format!("kline:{}:", mark.interval);
        let mut ends: HashMap<&str, i64> = HashMap::new();
        for ((topic, _), bar) in &self.closed {
            if topic.starts_with(&prefix) {
                ends.insert(topic, bar["end_ms"].as_i64().expect("a time"));
            }
        }
        let behind = ends.values().filter(|&&end| end < mark.end_ms).count();
        self.marks.push(Mark {
            interval: mark.interval.into(),
            end_ms: mark.end_ms,
            bars: mark.bars,
            missing: mark.missing,
            behind,
        });
    }

    fn note_bar(&mut self, bar: Value) {
        let topic = bar["topic"].as_str().expect("a topic").to_owned();
        let number = |field: &str| bar[field].as_u64().expect("a number");
        self.seqs
            .entry(topic)
            .or_default()
            .push((number("epoch"), number("seq")));
        if bar["state"] == "forming" {
            self.forming += 1;
            return;
        }
        if number("rev") > 0 {
            self.revisions += 1;
        }
        self.all_closed.push(bar.clone());
        self.note_closed(bar);
    }

    fn note_closed(&mut self, bar: Value) {
        let topic = bar["topic"].as_str().expect("a topic").to_owned();
        let key = (topic, bar["start_ms"].as_i64().expect("a time"));
        let is_newer = self
            .closed
            .get(&key)
            .is_none_or(|before| before["rev"].as_u64() <= bar["rev"].as_u64());
        if is_newer {
            self.closed.insert(key, bar);
        }
    }

    pub(crate) fn newest_end_ms(&self, symbol: &str) -> i64 {
        let topic = format!("kline:1s:{symbol}");
        let newest = self
            .closed
            .range((topic.clone(), i64::MIN)..=(topic, i64::MAX))
            .next_back();
        newest.map_or(0, |((_, start_ms), _)| start_ms + 1_000)
    }

    /// How many closed seconds of a symbol have this quality.
    pub(crate) fn count_quality(&self, symbol: &str, quality: &str) -> usize {
        let topic = format!("kline:1s:{symbol}");
        self.closed
            .iter()
            .filter(|((of, _), bar)| *of == topic && bar["quality"] == quality)
            .count()
    }

    /// How many gap events there were of this state.
    pub(crate) fn count_gaps(&self, state: &str) -> usize {
        self.gaps.iter().filter(|gap| gap["state"] == state).count()
    }

    /// The newest status of a venue's feed.
    pub(crate) fn state_of(&self, exchange: &str) -> Option<String> {
        let newest = self
            .statuses
            .iter()
            .rev()
            .find(|status| status["exchange"] == exchange)?;
        newest["state"].as_str().map(str::to_owned)
    }
}
