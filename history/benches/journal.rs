//! What the journal costs: closed bars that are stored once, and stored twice at the same time.
//!
//! `cargo bench -p history --bench journal`, with a nats-server on the PATH. Each bar waits until the
//! server has it on disk, as in a lane of marketdata, and 256 bars are under way at once.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bus::{Bus, BusConfig};
use bytes::Bytes;
use testkit::nats::NatsServer;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

const BARS: usize = 20_000;
const IN_FLIGHT: usize = 256;
/// About the bytes of a bar's JSON.
const BAR_BYTES: usize = 480;
const SYMBOLS: usize = 1_000;

/// Processor time of a process, in ticks of 10 ms.
fn ticks(process_id: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{process_id}/stat")).unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split(' ');
    let times = fields.skip(12).take(2);
    times.filter_map(|time| time.parse::<u64>().ok()).sum()
}

/// Stores all bars under these roots; returns the time until all are on disk, and the longest wait.
async fn publish(bus: &Arc<dyn Bus>, roots: &'static [&'static str]) -> (Duration, Duration) {
    let places = Arc::new(Semaphore::new(IN_FLIGHT));
    let payload = Bytes::from(vec![b'x'; BAR_BYTES]);
    let (began, mut running) = (Instant::now(), JoinSet::new());
    for index in 0..BARS {
        let place = Arc::clone(&places).acquire_owned().await.expect("open");
        let (bus, payload) = (Arc::clone(bus), payload.clone());
        running.spawn(async move {
            let began = Instant::now();
            let mut stored = JoinSet::new();
            for root in roots {
                let subject = format!("{root}.1m.A{}", index % SYMBOLS);
                let (bus, payload) = (Arc::clone(&bus), payload.clone());
                stored.spawn(async move { bus.publish_durable(&subject, payload).await });
            }
            while let Some(stored) = stored.join_next().await {
                stored.expect("no panic").expect("stored");
            }
            drop(place);
            began.elapsed()
        });
    }
    let mut longest = Duration::ZERO;
    while let Some(waited) = running.join_next().await {
        longest = longest.max(waited.expect("no panic"));
    }
    (began.elapsed(), longest)
}

fn main() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let Ok(server) = NatsServer::start() else {
        println!("skipped: no nats-server on the PATH");
        return;
    };
    runtime.block_on(async {
        let config = BusConfig {
            bus: server.url().parse().expect("a url"),
            ..BusConfig::default()
        };
        let bus = bus::connect(&config, &service::streams()).await;
        let bus = bus.expect("the server runs");
        let journal = service::JournalConfig::default().stream();
        let put = bus.streams().put_stream(journal.expect("a journal")).await;
        put.expect("a stream");
        let process_id = server.process_id().expect("it runs");
        for _ in 0..3 {
            for roots in [&["closed"][..], &["closed", "journal"][..]] {
                let roots: &'static [&'static str] = roots;
                let before = ticks(process_id);
                let (took, longest) = publish(&bus, roots).await;
                println!(
                    "{}: {:.0} bars/s, longest wait {longest:?}, {:.1} us of the server's processor time a bar",
                    roots.join(" and "),
                    BARS as f64 / took.as_secs_f64(),
                    (ticks(process_id) - before) as f64 * 10_000.0 / BARS as f64
                );
            }
        }
    });
}
