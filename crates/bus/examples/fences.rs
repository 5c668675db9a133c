//! How many closed bars a second a stream takes behind the fences of their leases, one by one and in
//! batches, from one server and from a cluster of three, how long a boundary takes, and how much
//! processor time a bar costs the publisher and each server.
//!
//! `cargo run --release -p bus --example fences`; it needs Linux, and nats-server on the PATH.

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bus::{Append, Bus, BusConfig, Expected, StreamSpec, StreamStorage};
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use testkit::nats::NatsServer;
use testkit::nats::cluster::NatsCluster;

/// Instruments, each with its lease.
const INSTRUMENTS: usize = 1_000;
/// Bytes of a closed bar.
const BAR_BYTES: usize = 420;
/// Bars of a batch at a boundary.
const BATCH_BARS: usize = 500;
/// How many batches are on their way at once while a rate is measured, and of how many bars each: no two
/// bars of one instrument are on their way together.
const SHAPES: [(usize, usize); 4] = [(4, 250), (8, 125), (2, 500), (1, 1_000)];
/// Single bars that are on their way at once.
const SINGLES_AT_ONCE: usize = 256;
/// Clock ticks of `/proc` in a second, on every Linux of today.
const TICKS_PER_SECOND: f64 = 100.0;
/// How long each rate is measured.
const MEASURED: Duration = Duration::from_secs(5);
/// Boundaries of all instruments that are timed, and the pause between two.
const BOUNDARIES: usize = 40;
const BETWEEN: Duration = Duration::from_millis(250);

type Failed = Box<dyn Error + Send + Sync>;

/// Something that publishes bars of all instruments.
struct Publisher {
    bus: Arc<dyn Bus>,
    fences: Vec<Expected>,
    payload: Bytes,
}

impl Publisher {
    async fn connect(url: &str, replicas: u8) -> Result<Self, Failed> {
        let config = BusConfig {
            bus: url.parse()?,
            bus_replicas: Some(replicas),
            bus_storage: Some(StreamStorage::File),
            ..BusConfig::default()
        };
        let specs = [StreamSpec::newest("bench", 32, true).fenced(true)];
        let bus = bus::connect(&config, &specs).await?;
        let leases = (0..INSTRUMENTS).map(|instrument| {
            let subject = format!("bench.lease.binance.S{instrument}");
            let bus = Arc::clone(&bus);
            async move {
                let lease = Append::new(subject.clone(), Bytes::from_static(b"me"));
                let sequence = bus.streams().append(lease).await?.sequence;
                Ok::<_, Failed>(Expected::LastOf { subject, sequence })
            }
        });
        let leases = futures_util::stream::iter(leases).buffered(64);
        Ok(Self {
            fences: leases.try_collect().await?,
            payload: Bytes::from(vec![b'x'; BAR_BYTES]),
            bus,
        })
    }

    fn bar(&self, instrument: usize) -> Append {
        let subject = format!("bench.1s.S{instrument}");
        Append {
            expected: Some(self.fences[instrument].clone()),
            ..Append::new(subject, self.payload.clone())
        }
    }

    async fn single(&self, instrument: usize) -> Result<usize, Failed> {
        self.bus.streams().append(self.bar(instrument)).await?;
        Ok(1)
    }

    async fn batch(&self, first: usize, bars: usize) -> Result<usize, Failed> {
        let batch = (first..first + bars).map(|at| self.bar(at % INSTRUMENTS));
        self.bus.streams().append_all(batch.collect()).await?;
        Ok(bars)
    }

    /// Bars, and seconds, with so many batches of so many bars at once; without a shape, one by one.
    async fn rate(&self, shape: Option<(usize, usize)>) -> Result<(f64, f64), Failed> {
        let began = Instant::now();
        let (at_once, step) = match shape {
            Some((at_once, _)) => (at_once, INSTRUMENTS / at_once),
            None => (SINGLES_AT_ONCE, INSTRUMENTS / SINGLES_AT_ONCE),
        };
        let loops = (0..at_once).map(async |at| {
            let mut stored = 0;
            for turn in 0.. {
                if began.elapsed() >= MEASURED {
                    break;
                }
                stored += match shape {
                    Some((_, bars)) => self.batch(at * step, bars).await?,
                    None => self.single(at * step + turn % step).await?,
                };
            }
            Ok::<usize, Failed>(stored)
        });
        let stored = futures_util::future::try_join_all(loops).await?;
        Ok((
            stored.into_iter().sum::<usize>() as f64,
            began.elapsed().as_secs_f64(),
        ))
    }

    /// By bar of a boundary of all instruments: how long until it is stored, ms, sorted.
    async fn boundary_ms(&self, in_batches: bool) -> Result<Vec<f64>, Failed> {
        let mut times = Vec::new();
        for _ in 0..BOUNDARIES {
            let began = Instant::now();
            let timed = async |bars: usize| (bars, began.elapsed().as_secs_f64() * 1_000.0);
            let stored: Vec<(usize, f64)> = if in_batches {
                let batches = (0..INSTRUMENTS).step_by(BATCH_BARS);
                let batches =
                    batches.map(async |at| Ok(timed(self.batch(at, BATCH_BARS).await?).await));
                futures_util::future::try_join_all(batches).await
            } else {
                let bars = (0..INSTRUMENTS).map(async |at| Ok(timed(self.single(at).await?).await));
                futures_util::future::try_join_all(bars).await
            }
            .map_err(|error: Failed| error)?;
            for (bars, ms) in stored {
                times.extend(std::iter::repeat_n(ms, bars));
            }
            tokio::time::sleep(BETWEEN).await;
        }
        times.sort_by(f64::total_cmp);
        Ok(times)
    }

    async fn measure(&self, what: &str, servers: &[u32]) -> Result<(), Failed> {
        let shapes = std::iter::once(None).chain(SHAPES.map(Some));
        for shape in shapes {
            let how = match shape {
                Some((at_once, bars)) => format!("{at_once} batches of {bars} at once"),
                None => format!("{SINGLES_AT_ONCE} bars at once"),
            };
            let processes = std::iter::once(std::process::id()).chain(servers.iter().copied());
            let before: Vec<(u32, f64)> = processes.map(|id| (id, busy_s(id))).collect();
            let (bars, seconds) = self.rate(shape).await?;
            let costs = before.iter().map(|&(id, before)| {
                let us = (busy_s(id) - before) * 1e6 / bars;
                format!("{us:.1}")
            });
            let costs: Vec<String> = costs.collect();
            println!(
                "{what}, {how}: {:.0} bars/s; us of processor for a bar, publisher and servers: {}",
                bars / seconds,
                costs.join(" ")
            );
        }
        for in_batches in [false, true] {
            let how = if in_batches { "batches" } else { "one by one" };
            let times = self.boundary_ms(in_batches).await?;
            let at = |part: usize| times[(times.len() - 1) * part / 100];
            println!(
                "{what}, {how}: a boundary of {INSTRUMENTS}: p50 {:.1} ms, p99 {:.1} ms",
                at(50),
                at(99)
            );
        }
        Ok(())
    }
}

/// The processor time that a process has used, s.
fn busy_s(process_id: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{process_id}/stat")).unwrap_or_default();
    let fields = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace();
    let ticks = fields
        .skip(11)
        .take(2)
        .filter_map(|it| it.parse::<f64>().ok());
    ticks.sum::<f64>() / TICKS_PER_SECOND
}

#[tokio::main]
async fn main() -> Result<(), Failed> {
    {
        let server = NatsServer::start()?;
        let publisher = Publisher::connect(&server.url(), 1).await?;
        let servers: Vec<u32> = server.process_id().into_iter().collect();
        publisher.measure("one server", &servers).await?;
    }
    let mut cluster = NatsCluster::start()?;
    let publisher = Publisher::connect(&cluster.url(), 3).await?;
    let servers = cluster.members().iter().filter_map(NatsServer::process_id);
    let servers: Vec<u32> = servers.collect();
    publisher.measure("three copies", &servers).await
}
