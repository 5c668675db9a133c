//! The publisher of many symbols is killed, and its standby takes over.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use bus::{BusConfig, Delivery};
use loadtest::bar::{Bar, State};
use loadtest::fleet::{FleetConfig, start_marketdata, start_nats};
use loadtest::program::{Program, arguments};
use loadtest::simulator::Simulator;
use loadtest::wait::{holds, until_within};
use testkit::nats::NatsServer;
use tokio::task::JoinHandle;

/// More than are read one by one, and than begin in one go.
const SYMBOLS: usize = 70;
/// How long anything may take, for thousands of symbols on a busy machine.
const DEADLINE: Duration = Duration::from_secs(240);

/// How long a publisher is stopped.
const STOPPED: Duration = Duration::from_secs(6);

/// What was published of a symbol.
#[derive(Default)]
struct Published {
    /// By start: the trade ids of its bars of a second. A closed bar may be delivered twice.
    closed: BTreeMap<i64, (Option<u64>, Option<u64>)>,
    /// The newest epoch, and when its first message came.
    epoch: Option<(u64, Instant)>,
}

/// What was published, by symbol.
type Seen = Arc<Mutex<HashMap<String, Published>>>;

/// What was published, and the task that reads it.
struct Reader {
    seen: Seen,
    task: JoinHandle<()>,
}

impl Reader {
    /// What was published so far. It counts only while its reader reads.
    fn seen(&self) -> MutexGuard<'_, HashMap<String, Published>> {
        assert!(
            !self.task.is_finished(),
            "the test's own reader has ended: its panic is above"
        );
        self.seen.lock().expect("not poisoned")
    }
}

async fn follow(nats: &NatsServer) -> Reader {
    let config = BusConfig {
        bus: nats.url().parse().expect("an address"),
        ..BusConfig::default()
    };
    let bus = bus::connect(&config, &[]).await.expect("NATS is there");
    let mut subscription = bus.subscribe("kline.1s.>").await.expect("NATS is there");
    let seen = Seen::default();
    let task = tokio::spawn({
        let seen = Arc::clone(&seen);
        async move {
            // The bus lives as long as it is read.
            let _bus = bus;
            while let Some(delivery) = subscription.recv().await {
                let Delivery::Message(message) = delivery else {
                    panic!("the test's own reader lost messages: {delivery:?}");
                };
                let bar: Bar = serde_json::from_slice(&message.payload).expect("a bar");
                let now = Instant::now();
                let mut seen = seen.lock().expect("not poisoned");
                let published = seen.entry(bar.symbol).or_default();
                let epoch = published.epoch.get_or_insert((bar.epoch, now));
                if epoch.0 < bar.epoch {
                    *epoch = (bar.epoch, now);
                }
                if bar.state == State::Closed {
                    let id = |text: Option<String>| text.map(|text| text.parse().expect("an id"));
                    let ids = (id(bar.first_id), id(bar.last_id));
                    published.closed.insert(bar.start_ms, ids);
                }
            }
        }
    });
    Reader { seen, task }
}

/// The first symbol with a hole in its bars' trade ids.
fn hole(reader: &Reader) -> Option<String> {
    let seen = reader.seen();
    seen.iter().find_map(|(symbol, published)| {
        let mut next = None;
        published.closed.iter().find_map(|(start_ms, ids)| {
            let (Some(first), Some(last)) = ids else {
                return None;
            };
            let is_hole = next.is_some_and(|next| next != *first);
            next = Some(last + 1);
            is_hole.then(|| format!("{symbol} at {start_ms}: {first} instead of {next:?}"))
        })
    })
}

/// The processor time that a program has used.
fn cpu_ticks(program: &Program) -> u64 {
    let stat = format!("/proc/{}/stat", program.process.id());
    let stat = std::fs::read_to_string(stat).expect("it runs");
    // The name before may have spaces.
    let (_, fields) = stat.rsplit_once(") ").expect("a name in brackets");
    let field = |index: usize| fields.split(' ').nth(index).and_then(|it| it.parse().ok());
    let (user, system): (Option<u64>, Option<u64>) = (field(11), field(12));
    user.zip(system).map_or(0, |(user, system)| user + system)
}

async fn until_metric(program: &Program, name: &str, least: usize) {
    until_within(DEADLINE, name, async || {
        let value = program.metric(name, &[]).await;
        holds(value >= least as f64, || value.to_string())
    })
    .await;
}

/// Waits until so many symbols are so.
async fn until_so(
    reader: &Reader,
    symbols: usize,
    what: &str,
    is_so: impl Fn(&str, &Published) -> bool,
) {
    until_within(DEADLINE, what, async || {
        let seen = reader.seen();
        let so = seen
            .iter()
            .filter(|(symbol, published)| is_so(symbol, published));
        let so = so.count();
        holds(so >= symbols, || format!("{so} of {symbols}"))
    })
    .await;
}

/// Waits until each symbol has closed so many more bars.
async fn until_later(reader: &Reader, symbols: usize, bars: usize) {
    let before: HashMap<String, usize> = {
        let seen = reader.seen();
        let closed = seen
            .iter()
            .map(|(symbol, seen)| (symbol.clone(), seen.closed.len()));
        closed.collect()
    };
    until_so(
        reader,
        symbols,
        "more bars of every symbol",
        |symbol, seen| seen.closed.len() >= before.get(symbol).copied().unwrap_or_default() + bars,
    )
    .await;
}

/// `KLINECAST_SYMBOLS=1000` sets how many symbols there are, and `KLINECAST_TAKEOVER` how the publisher
/// ends: `KILL`, `STOP` for 6 s, or `TERM`, which hands over. The times are printed:
/// docs/performance.md has them.
#[tokio::test(flavor = "multi_thread")]
async fn a_takeover_of_many_symbols_leaves_no_hole() {
    let symbols = std::env::var("KLINECAST_SYMBOLS").ok();
    let symbols = symbols.map_or(SYMBOLS, |symbols| symbols.parse().expect("a number"));
    let Some(nats) = start_nats() else { return };
    // A third of the invented symbols is of each venue, and few of them are quiet. A quiet symbol
    // has no bar before its first trade, which may come minutes later.
    let invented = (4 * symbols).to_string();
    let simulator = Simulator::start(arguments(&[
        "--symbols",
        &invented,
        "--rate",
        "0.5",
        "--history-minutes",
        "1",
    ]))
    .await;
    let instruments = simulator.busy_symbols("binance").await;
    let instruments: Vec<String> = instruments
        .iter()
        .map(|symbol| format!("binance:{symbol}"))
        .take(symbols)
        .collect();
    assert_eq!(instruments.len(), symbols);
    let config = FleetConfig {
        marketdata: arguments(&[
            "--instruments",
            &instruments.join(","),
            "--timeframes",
            "1s,1m",
            "--forming-interval-ms",
            "1000",
            "--checkpoint-interval-ms",
            "5000",
            "--symbol-silence-ms",
            "60000",
            "--reconcile-interval-ms",
            "0",
        ]),
        ..FleetConfig::default()
    };
    let reader = follow(&nats).await;
    let mut holder = start_marketdata(&config, &nats.url(), &simulator).await;
    until_metric(&holder, "marketdata_instruments_held", symbols).await;
    until_later(&reader, symbols, 2).await;
    let standby = start_marketdata(&config, &nats.url(), &simulator).await;
    // A machine that is busy may make it take some of them over already.
    until_within(
        DEADLINE,
        "instruments that are followed or held",
        async || {
            let mut followed = 0.0;
            for state in ["standby", "held"] {
                let name = format!("marketdata_instruments_{state}");
                followed += standby.metric(&name, &[]).await;
            }
            holds(followed >= symbols as f64, || followed.to_string())
        },
    )
    .await;
    // It has its own feeds, and has read what is published.
    standby.until_ready().await;
    let before = [&holder, &standby].map(cpu_ticks);
    until_later(&reader, symbols, 5).await;
    let ticks = [&holder, &standby].map(cpu_ticks);
    let used = [0, 1].map(|at| (ticks[at] - before[at]) as f64);
    println!(
        "cpu of the standby: {:.2} of the publisher's",
        used[1] / used[0].max(1.0)
    );
    let read = standby.metric("marketdata_records_read_total", &[]).await;
    let epochs: HashMap<String, u64> = {
        let seen = reader.seen();
        let epochs = seen
            .iter()
            .filter_map(|(symbol, seen)| Some((symbol.clone(), seen.epoch?.0)));
        epochs.collect()
    };
    let how = std::env::var("KLINECAST_TAKEOVER").unwrap_or_else(|_| "KILL".to_owned());
    let killed = Instant::now();
    match how.as_str() {
        "KILL" => holder.process.kill(),
        how => holder.process.signal(how),
    }
    until_metric(&standby, "marketdata_instruments_held", symbols).await;
    let held_ms = killed.elapsed().as_millis();
    // Those that the standby took over before have no new epoch.
    until_later(&reader, symbols, 1).await;
    let mut times: Vec<u128> = {
        let seen = reader.seen();
        let taken = seen.iter().filter_map(|(symbol, seen)| {
            let (epoch, at) = seen.epoch?;
            let is_new = epochs.get(symbol).is_some_and(|before| epoch > *before);
            is_new.then(|| at.saturating_duration_since(killed).as_millis())
        });
        taken.collect()
    };
    times.sort_unstable();
    let read = standby.metric("marketdata_records_read_total", &[]).await - read;
    println!(
        "{how}, {} of {symbols} symbols: all leases after {held_ms} ms; bars under the new epoch after {:?} ms (first), {:?} ms (half), {:?} ms (all); {read} messages of the record read",
        times.len(),
        times.first(),
        times.get(times.len() / 2),
        times.last(),
    );
    if how == "STOP" {
        // The moment is what is tested: nothing can be waited for.
        tokio::time::sleep(STOPPED.saturating_sub(killed.elapsed())).await;
        holder.process.signal("CONT");
        holder
            .until_metric("marketdata_leases_lost_total", &[], symbols as f64)
            .await;
    }
    until_later(&reader, symbols, 3).await;
    // A revision may be on its way.
    until_within(DEADLINE, "bars without a hole", async || {
        hole(&reader).map_or(Ok(()), Err)
    })
    .await;
}
