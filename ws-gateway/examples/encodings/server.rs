//! The servers: a gateway that publishes to itself, and the floor.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bus::{Bus, MemoryBus};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use service::Service;
use ws_gateway::Config;

use crate::{Encoding, Job, Outcome, WARM_UP, Workload, bar, changes, name};

/// CPU time of all threads, s.
fn cpu_seconds() -> f64 {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let nanoseconds = tasks.filter_map(|task| {
        let text = std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<f64>().ok()
    });
    nanoseconds.sum::<f64>() / 1e9
}

fn rss_bytes() -> f64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<f64>().unwrap() * 4_096.0
}

fn wait_for_go() {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
}

fn announce(address: SocketAddr) {
    println!("{address}");
    std::io::stdout().flush().unwrap();
}

/// Does a job and prints its outcome.
pub(crate) fn serve(job: &Job) {
    let outcome = match job.encoding {
        Encoding::Floor => floor(job),
        _ => gateway(job),
    };
    println!("{}", serde_json::to_string(&outcome).unwrap());
}

fn gateway(job: &Job) -> Outcome {
    let metrics = service::install_metrics();
    let total = |name: &str| -> f64 {
        let text = metrics.render();
        let line = text
            .lines()
            .find(|line| line.split([' ', '{']).next() == Some(name));
        line.and_then(|line| line.rsplit(' ').next()?.parse().ok())
            .unwrap_or(0.0)
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _guard = runtime.enter();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    let bus: Arc<dyn Bus> = Arc::new(MemoryBus::with_streams(&service::streams()));
    let service = Service::for_test();
    let routes = axum::Router::new();
    runtime.spawn(ws_gateway::run(
        Config::default(),
        Arc::clone(&bus),
        listener,
        routes,
        service.clone(),
    ));
    while !service.readiness.is_ready() {
        std::thread::sleep(Duration::from_millis(10));
    }
    let rss = rss_bytes();
    announce(address);
    wait_for_go();
    let rss_bytes_per_client = (rss_bytes() - rss) / job.clients as f64;

    let mut random = SmallRng::seed_from_u64(1);
    let length = WARM_UP + Duration::from_secs(job.seconds);
    let (start, mut step, mut before) = (Instant::now(), 0, None);
    let read = || {
        let [updates, frames, bytes] =
            ["updates", "frames", "sent_bytes"].map(|name| total(&format!("gateway_{name}_total")));
        (updates, frames, bytes, cpu_seconds())
    };
    while let Some(topics) = changes(job.workload, step, start, length) {
        if before.is_none() && start.elapsed() >= WARM_UP {
            before = Some(read());
        }
        for topic in topics {
            let subject = name(topic).replace(':', ".");
            let bar = bar(topic, step, &mut random);
            runtime.block_on(bus.publish(&subject, bar.into())).unwrap();
        }
        step += 1;
    }
    let (before, after) = (before.unwrap(), read());
    Outcome {
        rss_bytes_per_client,
        updates: after.0 - before.0,
        frames: after.1 - before.1,
        bytes: after.2 - before.2,
        cpu_seconds: after.3 - before.3,
    }
}

/// Appends a text frame.
fn put_frame(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&[0x81, 126]);
    out.extend_from_slice(&(text.len() as u16).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn floor(job: &Job) -> Outcome {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    announce(listener.local_addr().unwrap());
    let mut readers: Vec<Vec<Arc<TcpStream>>> =
        (0..job.workload.topics()).map(|_| Vec::new()).collect();
    for _ in 0..job.clients {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_nodelay(true).unwrap();
        let mut head = [0; 2_048];
        let length = stream.read(&mut head).unwrap();
        let head = String::from_utf8_lossy(&head[..length]).into_owned();
        stream
            .write_all(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
            .unwrap();
        stream.set_nonblocking(true).unwrap();
        let query = head
            .split("topics=")
            .nth(1)
            .and_then(|rest| rest.split(' ').next());
        let topics = query.unwrap().split(',').map(|topic| {
            topic
                .trim_start_matches("kline:1m:S")
                .trim_end_matches("-USD")
                .parse::<usize>()
                .unwrap()
        });
        match job.workload {
            // All get the same frames: the first topic stands for all of them.
            Workload::Shared => readers[0].push(Arc::new(stream)),
            Workload::Random => {
                let stream = Arc::new(stream);
                for topic in topics {
                    readers[topic].push(Arc::clone(&stream));
                }
            }
        }
    }
    wait_for_go();
    let mut random = SmallRng::seed_from_u64(1);
    let length = WARM_UP + Duration::from_secs(job.seconds);
    let (start, mut step, mut outcome) = (Instant::now(), 0, Outcome::default());
    let mut cpu_before = None;
    while let Some(topics) = changes(job.workload, step, start, length) {
        if cpu_before.is_none() && start.elapsed() >= WARM_UP {
            cpu_before = Some(cpu_seconds());
            outcome = Outcome::default();
        }
        let bars: Vec<String> = topics
            .iter()
            .map(|&topic| bar(topic, step, &mut random))
            .collect();
        let mut frame = Vec::new();
        put_frame(&mut frame, &bars.join("\n"));
        for stream in &readers[topics[0]] {
            // A full socket would mean that the readers are too slow for this machine.
            (&**stream).write_all(&frame).unwrap();
            outcome.updates += bars.len() as f64;
            outcome.frames += 1.0;
            outcome.bytes += frame.len() as f64;
        }
        step += 1;
    }
    outcome.cpu_seconds = cpu_seconds() - cpu_before.unwrap();
    outcome
}
