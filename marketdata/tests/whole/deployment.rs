//! A simulator, a bus, marketdata between them, and a reader that keeps what was published.

use std::future::Future;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use bus::{Bus, Delivery, MemoryBus};
use exchange_sim::FaultSpec;
use marketdata::{Config, Control};
use serde_json::{Value, json};
use service::{LogGuard, Service};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use crate::seen::Seen;

mod truth;

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
                // As a gateway does: what was missed is among the last values, or comes among them
                // soon, for a bar is stored a moment after its copy for clients.
                let read_again_after = Duration::from_secs(2);
                let mut read_at = None;
                loop {
                    let is_due = async {
                        match read_at {
                            Some(at) => tokio::time::sleep_until(at).await,
                            None => std::future::pending().await,
                        }
                    };
                    let is_lost = tokio::select! {
                        delivery = subscription.recv() => match delivery {
                            None => return,
                            Some(Delivery::Message(message)) => {
                                let mut seen = seen.lock().expect("not poisoned");
                                seen.note(&message.subject, &message.payload);
                                continue;
                            }
                            Some(_) => true,
                        },
                        () = is_due => false,
                    };
                    read_at = is_lost.then(|| tokio::time::Instant::now() + read_again_after);
                    for message in bus.last_values("closed.>").await.unwrap_or_default() {
                        if message.subject.starts_with("closed.lease.") {
                            continue;
                        }
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
            instruments: marketdata::discovery::pattern::Wish::parse_list(&instruments)
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
            // A busy machine lets a program of two threads stand still for longer than the default.
            takeover_silence_ms: 3_000,
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

    /// Whether the first marketdata publishes every instrument, and the second none.
    pub(crate) fn is_first_holding_all(&self) -> bool {
        let notes = |running: &Option<Running>| {
            let service = &running.as_ref().expect("it runs").service;
            service
                .readiness
                .is_ready()
                .then(|| service.readiness.notes())
        };
        let all = INSTRUMENTS.len();
        let standby = format!("standby: another marketdata publishes {all} of {all} instruments");
        notes(&self.running) == Some(Vec::new()) && notes(&self.beside) == Some(vec![standby])
    }

    /// The venues stand still for so long.
    pub(crate) async fn freeze_venues(&self, time: Duration) {
        freeze(self.sim_runtime.as_ref().expect("it runs"), time).await;
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
        let ended = tokio::time::timeout(Duration::from_secs(60), running.task).await;
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
