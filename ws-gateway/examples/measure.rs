//! scratch, not committed
use bus::{Bus, MemoryBus};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket};

fn cpu() -> (f64, f64) {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let f: Vec<&str> = stat
        .rsplit_once(')')
        .unwrap()
        .1
        .split_whitespace()
        .collect();
    (
        f[11].parse::<f64>().unwrap() / 100.0,
        f[12].parse::<f64>().unwrap() / 100.0,
    )
}
fn rss_kib() -> f64 {
    let s = std::fs::read_to_string("/proc/self/status").unwrap();
    s.lines()
        .find_map(|l| l.strip_prefix("VmRSS:"))
        .unwrap()
        .split_whitespace()
        .next()
        .unwrap()
        .parse()
        .unwrap()
}
fn payload(topic: &str, seq: u64, now: u128) -> bytes::Bytes {
    format!(r#"{{"topic":"kline:1s:{topic}","seq":{seq},"epoch":1763697600000,"symbol":"{topic}","interval":"1s","start_ms":1723161255000,"end_ms":1723161256000,"open":"61837.63","high":"61837.63","low":"61837.63","close":"61837.63","volume":"0.02","quote_volume":"1236.7526","taker_buy_volume":"0.02","taker_buy_quote_volume":"1236.7526","count":2,"first_id":"41","last_id":"42","state":"forming","rev":0,"quality":"complete","event_ms":1723161255342,"received_us":1723161255350000,"published_us":{now:016}}}"#).into()
}
fn micros() -> u128 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_micros()
}

#[tokio::main]
async fn main() {
    let args: Vec<String> = std::env::args().collect();
    let n: usize = args[2].parse().unwrap();
    if args[1] == "client" {
        client(n, &args[3], args[4].parse().unwrap()).await;
        return;
    }
    // server: measure server N shared|random topics rate_per_topic secs
    let random = args[3] == "random";
    let rate: f64 = args[4].parse().unwrap();
    let secs: u64 = args[5].parse().unwrap();
    let m = service::install_metrics();
    let bus: Arc<dyn Bus> = Arc::new(MemoryBus::with_defaults());
    let svc = service::Service::for_test();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let config = ws_gateway::Config {
        ping_interval_ms: 25_000,
        ..Default::default()
    };
    tokio::spawn(ws_gateway::run(
        config,
        bus.clone(),
        listener,
        axum::Router::new(),
        svc.clone(),
    ));
    let topics = if random { 1000 } else { 10 };
    for t in 0..topics {
        bus.publish(
            &format!("kline.1s.T{t}-USD"),
            payload(&format!("T{t}-USD"), 1, micros()),
        )
        .await
        .unwrap();
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let base = rss_kib();
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .args([
            "client",
            &n.to_string(),
            &addr.to_string(),
            if random { "1" } else { "0" },
        ])
        .spawn()
        .unwrap();
    let count = |m: &service::MetricsHandle, name: &str| -> f64 {
        m.render()
            .lines()
            .filter(|l| l.split(['{', ' ']).next() == Some(name))
            .filter_map(|l| l.rsplit_once(' '))
            .filter_map(|(_, v)| v.parse::<f64>().ok())
            .sum()
    };
    let t = Instant::now();
    while count(&m, "gateway_snapshots_total") < n as f64 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    println!("all subscribed after {:?} cpu {:?}", t.elapsed(), cpu());
    tokio::time::sleep(Duration::from_secs(2)).await;
    println!(
        "RSS per connection idle {:.0} B (base {base} KiB)",
        (rss_kib() - base) * 1024.0 / n as f64
    );
    let (u0, s0) = cpu();
    tokio::time::sleep(Duration::from_secs(5)).await;
    let (u1, s1) = cpu();
    println!(
        "idle cpu {:.2} us/conn/s",
        (u1 + s1 - u0 - s0) * 1e6 / 5.0 / n as f64
    );
    let (up0, fr0, en0) = (
        count(&m, "gateway_updates_total"),
        count(&m, "gateway_frames_total"),
        count(&m, "gateway_frames_encoded_total"),
    );
    let (u0, s0) = cpu();
    let start = Instant::now();
    let mut seqs = vec![1u64; topics];
    let mut k = 0u64;
    let total = (rate * topics as f64 * secs as f64) as u64;
    while k < total {
        let due = start + Duration::from_secs_f64(k as f64 / (rate * topics as f64));
        let now = Instant::now();
        if due > now {
            tokio::time::sleep(due - now).await;
        }
        let t = (k.wrapping_mul(7919) % topics as u64) as usize;
        seqs[t] += 1;
        bus.publish(
            &format!("kline.1s.T{t}-USD"),
            payload(&format!("T{t}-USD"), seqs[t], micros()),
        )
        .await
        .unwrap();
        k += 1;
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let (u1, s1) = cpu();
    let up = count(&m, "gateway_updates_total") - up0;
    let fr = count(&m, "gateway_frames_total") - fr0;
    let en = count(&m, "gateway_frames_encoded_total") - en0;
    println!(
        "updates {up} frames {fr} encoded {en}  user {:.2} sys {:.2}  => {:.2} us/frame {:.2} us/update  util {:.2}",
        u1 - u0,
        s1 - s0,
        (u1 + s1 - u0 - s0) * 1e6 / fr,
        (u1 + s1 - u0 - s0) * 1e6 / up,
        (u1 + s1 - u0 - s0) / start.elapsed().as_secs_f64()
    );
    println!(
        "RSS per connection after {:.0} B; sets {}",
        (rss_kib() - base) * 1024.0 / n as f64,
        count(&m, "gateway_topic_sets")
    );
    for l in m.render().lines().filter(|l| {
        l.starts_with("gateway_fanout_seconds") && (l.contains("_bucket") || l.contains("quantile"))
    }) {
        println!("{l}");
    }
    let _ = child.kill();
}
async fn client(n: usize, addr: &str, random: u8) {
    let addr: std::net::SocketAddr = addr.parse().unwrap();
    let hist = Arc::new(std::sync::Mutex::new(Vec::<u32>::new()));
    let mut tasks = Vec::new();
    let sem = Arc::new(tokio::sync::Semaphore::new(200));
    for i in 0..n {
        let permit = sem.clone().acquire_owned().await.unwrap();
        let hist = hist.clone();
        tasks.push(tokio::spawn(async move {
            let sock = TcpSocket::new_v4().unwrap();
            sock.bind(format!("127.0.0.{}:0", 1 + i % 8).parse().unwrap()).unwrap();
            let mut s = sock.connect(addr).await.unwrap();
            s.write_all(b"GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n").await.unwrap();
            let mut buf = vec![0u8; 16384];
            let got = s.read(&mut buf).await.unwrap();
            assert!(buf[..got].starts_with(b"HTTP/1.1 101"));
            let topics: Vec<String> = if random == 1 { (0..10u64).map(|k| format!("\"kline:1s:T{}-USD\"", (i as u64 * 2654435761 + k * 40503 * (i as u64 + 1)) % 1000)).collect() } else { (0..10).map(|k| format!("\"kline:1s:T{k}-USD\"")).collect() };
            let msg = format!("{{\"op\":\"sub\",\"topics\":[{}]}}", topics.join(","));
            let mut f = vec![0x81u8, 0xFE, (msg.len() >> 8) as u8, msg.len() as u8, 0, 0, 0, 0];
            f.extend(msg.bytes());
            s.write_all(&f).await.unwrap();
            drop(permit);
            loop {
                let got = s.read(&mut buf).await.unwrap_or(0);
                if got == 0 { return; }
                if buf[0] == 0x89 { let _ = s.write_all(&[0x8a, 0x80, 0, 0, 0, 0]).await; }
                // latency of the last object
                if let Some(p) = buf[..got].windows(15).rposition(|w| w == b"\"published_us\":".as_slice()) && p + 31 <= got {
                    if let Ok(us) = std::str::from_utf8(&buf[p+15..p+31]).unwrap().parse::<u128>() { let d = micros().saturating_sub(us) as u32; hist.lock().unwrap().push(d); }
                }
            }
        }));
    }
    loop {
        tokio::time::sleep(Duration::from_secs(4)).await;
        let mut h = std::mem::take(&mut *hist.lock().unwrap());
        if h.is_empty() {
            continue;
        }
        h.sort_unstable();
        eprintln!(
            "   client: {} frames, latency us p50 {} p99 {} max {}",
            h.len(),
            h[h.len() / 2],
            h[h.len() * 99 / 100],
            h[h.len() - 1]
        );
    }
}
