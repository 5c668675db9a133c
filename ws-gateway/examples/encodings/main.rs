//! What each encoding costs: bytes and CPU for every update delivered, and memory for every
//! client. Prints a table; see docs/performance.md.
//!
//! ```sh
//! cargo run --release -p ws-gateway --example encodings
//! ```
//!
//! It starts itself again for each row, as a gateway that publishes to itself, and reads what comes
//! without looking at it: client libraries are not what is measured. The floor is the same bars
//! written to the same sockets as JSON by a loop that does nothing else.
#![allow(clippy::unwrap_used, reason = "a benchmark")]
#![expect(
    clippy::disallowed_methods,
    reason = "its pace is that of threads that do nothing else"
)]

mod server;

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand, ValueEnum};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

const TOPICS_OF_CLIENT: usize = 10;
const WARM_UP: Duration = Duration::from_secs(1);

#[derive(Parser)]
struct Flags {
    #[command(subcommand)]
    role: Option<Role>,

    /// Clients.
    #[arg(long, default_value_t = 2_000)]
    clients: usize,

    /// Length of each measurement, s.
    #[arg(long, default_value_t = 4)]
    seconds: u64,

    /// Repeat everything so often; the medians are printed.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
}

#[derive(Subcommand)]
enum Role {
    /// Started by itself.
    #[command(hide = true)]
    Serve { job: String },
}

/// Who is subscribed to what, and when it changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum, Serialize, Deserialize)]
enum Workload {
    /// All have the same ten topics, which change together, ten times a second.
    Shared,
    /// Each has ten of 1,000 topics, which change one after another, once a second each.
    Random,
}

impl Workload {
    fn topics(self) -> usize {
        match self {
            Self::Shared => TOPICS_OF_CLIENT,
            Self::Random => 1_000,
        }
    }

    fn topics_of(self, client: usize) -> Vec<usize> {
        let mut random = SmallRng::seed_from_u64(client as u64);
        match self {
            Self::Shared => (0..TOPICS_OF_CLIENT).collect(),
            Self::Random => {
                rand::seq::index::sample(&mut random, 1_000, TOPICS_OF_CLIENT).into_vec()
            }
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
enum Encoding {
    Floor,
    Json,
    JsonDeflate,
    Protobuf,
    ProtobufDeflate,
    Binance,
    BinanceDeflate,
    BinanceCombined,
}

impl Encoding {
    const ALL: [Self; 8] = [
        Self::Floor,
        Self::Json,
        Self::JsonDeflate,
        Self::Protobuf,
        Self::ProtobufDeflate,
        Self::Binance,
        Self::BinanceDeflate,
        Self::BinanceCombined,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Floor => "floor (JSON)",
            Self::Json => "JSON",
            Self::JsonDeflate => "JSON, deflate",
            Self::Protobuf => "protobuf",
            Self::ProtobufDeflate => "protobuf, deflate",
            Self::Binance => "Binance",
            Self::BinanceDeflate => "Binance, deflate",
            Self::BinanceCombined => "Binance, combined",
        }
    }

    /// Where a client connects that wants these topics.
    fn path(self, topics: &[usize]) -> String {
        let join = |name: fn(usize) -> String, separator: &str| {
            let names: Vec<String> = topics.iter().map(|&topic| name(topic)).collect();
            names.join(separator)
        };
        match self {
            Self::Binance | Self::BinanceDeflate => {
                format!("/binance/ws/{}", join(stream, "/"))
            }
            Self::BinanceCombined => {
                format!("/binance/stream?streams={}", join(stream, "/"))
            }
            _ => format!("/ws?topics={}", join(name, ",")),
        }
    }

    fn headers(self) -> String {
        let mut headers = String::new();
        if matches!(self, Self::Protobuf | Self::ProtobufDeflate) {
            headers += "Sec-WebSocket-Protocol: klinecast.protobuf.v1\r\n";
        }
        if matches!(
            self,
            Self::JsonDeflate | Self::ProtobufDeflate | Self::BinanceDeflate
        ) {
            headers += "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n";
        }
        headers
    }
}

/// What a server process is to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Job {
    workload: Workload,
    encoding: Encoding,
    clients: usize,
    seconds: u64,
}

/// What it reports.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Outcome {
    rss_bytes_per_client: f64,
    updates: f64,
    frames: f64,
    bytes: f64,
    cpu_seconds: f64,
}

fn name(topic: usize) -> String {
    format!("kline:1m:S{topic}-USD")
}

/// The name of the topic for clients of Binance.
fn stream(topic: usize) -> String {
    format!("s{topic}usd@kline_1m")
}

/// A bar such as marketdata publishes.
fn bar(topic: usize, seq: u64, random: &mut SmallRng) -> String {
    let price: f64 = 10f64.powi((topic % 5) as i32) * random.random_range(1.0..9.0);
    let decimals = 5 - topic % 5;
    let volume: f64 = random.random_range(0.1..5_000.0);
    let taker = volume * random.random_range(0.3..0.7);
    let id: u64 = random.random_range(100_000_000..9_000_000_000);
    let now_us = 1_763_697_600_000_000 + seq * 100_000 + random.random_range(0..1_000);
    let start_ms = now_us / 60_000_000 * 60_000;
    let (event_ms, received_us) = (now_us / 1_000 - 3, now_us - random.random_range(100..900));
    format!(
        r#"{{"topic":"{}","seq":{},"epoch":1763697600123,"exchange":"binance","symbol":"S{topic}-USD","interval":"1m","start_ms":{start_ms},"end_ms":{},"open":"{:.decimals$}","high":"{:.decimals$}","low":"{:.decimals$}","close":"{price:.decimals$}","volume":"{volume:.6}","quote_volume":"{:.8}","taker_buy_volume":"{taker:.6}","taker_buy_quote_volume":"{:.8}","count":{},"first_id":"{id}","last_id":"{}","state":"forming","rev":0,"quality":"complete","event_ms":{event_ms},"received_us":{received_us},"published_us":{now_us}}}"#,
        name(topic),
        100_000 + seq,
        start_ms + 60_000,
        price * 0.9997,
        price * 1.0004,
        price * 0.9991,
        volume * price,
        taker * price,
        id % 2_000,
        id + id % 2_000,
    )
}

/// Waits until the next change and returns its topics; `None` at the end.
fn changes(workload: Workload, step: u64, start: Instant, length: Duration) -> Option<Vec<usize>> {
    let (interval, topics) = match workload {
        Workload::Shared => (Duration::from_millis(100), (0..TOPICS_OF_CLIENT).collect()),
        Workload::Random => (Duration::from_millis(1), vec![step as usize * 7 % 1_000]),
    };
    let at = start + interval * step as u32;
    std::thread::sleep(at.saturating_duration_since(Instant::now()));
    (at < start + length).then_some(topics)
}

/// A server in a process of its own.
struct Server {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Server {
    fn start(job: &Job) -> (Self, SocketAddr) {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["serve", &serde_json::to_string(job).unwrap()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let stdin = child.stdin.take().unwrap();
        (
            Self {
                child,
                stdin,
                stdout,
            },
            line.trim().parse().unwrap(),
        )
    }

    fn finish(mut self) -> Outcome {
        self.stdin.write_all(b"go\n").unwrap();
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        let _ = self.child.kill();
        let _ = self.child.wait();
        serde_json::from_str(&line).unwrap()
    }
}

async fn connect(job: &Job, address: SocketAddr, received: &Arc<AtomicU64>) {
    for client in 0..job.clients {
        let topics = job.workload.topics_of(client);
        let request = format!(
            "GET {} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{}\r\n",
            job.encoding.path(&topics),
            job.encoding.headers(),
        );
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        stream.writable().await.unwrap();
        assert_eq!(stream.try_write(request.as_bytes()).unwrap(), request.len());
        // The answer has to be there, so that all are subscribed before the first change.
        stream.readable().await.unwrap();
        let received = Arc::clone(received);
        tokio::spawn(async move {
            loop {
                if stream.readable().await.is_err() {
                    return;
                }
                let mut buffer = [0; 8_192];
                match stream.try_read(&mut buffer) {
                    Ok(0) => return,
                    Ok(bytes) => {
                        received.fetch_add(bytes as u64, Ordering::Relaxed);
                    }
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                    Err(_) => return,
                }
            }
        });
    }
}

fn measure(job: &Job) -> Outcome {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let (server, address) = Server::start(job);
    let received = Arc::new(AtomicU64::new(0));
    runtime.block_on(connect(job, address, &received));
    std::thread::sleep(Duration::from_millis(500));
    let outcome = server.finish();
    // The warm-up comes on top.
    let received = received.load(Ordering::Relaxed) as f64;
    if received < outcome.bytes {
        eprintln!(
            "only {received} of {} bytes came: a busy machine",
            outcome.bytes
        );
    }
    runtime.shutdown_background();
    outcome
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    let flags = Flags::parse();
    if let Some(Role::Serve { job }) = &flags.role {
        return server::serve(&serde_json::from_str(job).unwrap());
    }
    for workload in [Workload::Shared, Workload::Random] {
        let mut outcomes: Vec<Vec<Outcome>> = vec![Vec::new(); Encoding::ALL.len()];
        for round in 0..flags.rounds {
            for (rows, encoding) in outcomes.iter_mut().zip(Encoding::ALL) {
                eprintln!("{workload:?}, round {}: {}", round + 1, encoding.name());
                rows.push(measure(&Job {
                    workload,
                    encoding,
                    clients: flags.clients,
                    seconds: flags.seconds,
                }));
            }
        }
        let mut table = format!(
            "\n#### {workload:?}: {} clients, {} s, {} rounds\n\n| encoding | bytes an update | of JSON | updates a frame | CPU µs an update | of the floor | of JSON | KiB a client |\n|---|---|---|---|---|---|---|---|\n",
            flags.clients, flags.seconds, flags.rounds
        );
        let of = |rows: &[Outcome], figure: fn(&Outcome) -> f64| {
            median(rows.iter().map(figure).collect())
        };
        let bytes = |outcome: &Outcome| outcome.bytes / outcome.updates;
        let cpu = |outcome: &Outcome| outcome.cpu_seconds * 1e6 / outcome.updates;
        // Ratios are taken within a round.
        let ratio = |rows: &[Outcome], base: &[Outcome], figure: fn(&Outcome) -> f64| {
            let ratios = rows
                .iter()
                .zip(base)
                .map(|(row, base)| figure(row) / figure(base));
            median(ratios.collect())
        };
        for (rows, encoding) in outcomes.iter().zip(Encoding::ALL) {
            let memory = match encoding {
                Encoding::Floor => String::new(),
                _ => format!(
                    "{:.2}",
                    of(rows, |outcome| outcome.rss_bytes_per_client / 1_024.0)
                ),
            };
            let _ = writeln!(
                table,
                "| {} | {:.0} | {:.0}% | {:.1} | {:.2} | {:.2} | {:.2} | {memory} |",
                encoding.name(),
                of(rows, bytes),
                ratio(rows, &outcomes[1], bytes) * 100.0,
                of(rows, |outcome| outcome.updates / outcome.frames),
                of(rows, cpu),
                ratio(rows, &outcomes[0], cpu),
                ratio(rows, &outcomes[1], cpu),
            );
        }
        println!("{table}");
    }
}
