//! A gateway on a free port over a memory bus, and a client that waits on conditions.
#![allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each test program uses a part of it"
)]

pub mod raw;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bus::{Bus, MemoryBus};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use market_core::subject;
use market_core::wire::BoundaryMark;
use serde_json::Value;
use service::Service;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{HeaderName, Request, Response};
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};
use ws_gateway::{Config, Control};

/// Everything that is waited for has to happen within this.
pub const DEADLINE: Duration = Duration::from_secs(20);

pub struct Gateway {
    pub address: SocketAddr,
    pub bus: Arc<dyn Bus>,
    pub service: Service,
    pub task: JoinHandle<Result<(), ws_gateway::Error>>,
    pub control: Control,
    metrics: service::MetricsHandle,
}

pub async fn start(config: Config) -> Gateway {
    start_on(
        config,
        Arc::new(MemoryBus::with_streams(&service::streams())),
    )
    .await
}

pub async fn start_on(config: Config, bus: Arc<dyn Bus>) -> Gateway {
    let page = axum::Router::new().route("/", axum::routing::get(|| async { "page" }));
    start_with(config, bus, page).await
}

/// As [`start_on`], with these routes beside the WebSocket.
pub async fn start_with(config: Config, bus: Arc<dyn Bus>, page: axum::Router) -> Gateway {
    let metrics = service::install_metrics();
    let service = Service::for_test();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let control = Control::default();
    let task = tokio::spawn(ws_gateway::run_controlled(
        config,
        Arc::clone(&bus),
        listener,
        page,
        service.clone(),
        control.clone(),
    ));
    Gateway {
        address,
        bus,
        service,
        task,
        control,
        metrics,
    }
}

impl Gateway {
    pub async fn ready(self) -> Self {
        until("ready", || self.service.readiness.is_ready()).await;
        self
    }

    pub fn url(&self, path: &str) -> String {
        format!("ws://{}{path}", self.address)
    }

    pub async fn publish(&self, bar: &Bar) {
        self.bus
            .publish(&bar.subject(), bar.payload())
            .await
            .unwrap();
    }

    /// A mark as marketdata publishes it, behind `bars` bars.
    pub async fn publish_mark(&self, interval: &str, end_ms: i64, bars: u64) {
        let mark = BoundaryMark {
            interval: interval.into(),
            end_ms,
            bars,
            missing: 0,
        };
        self.bus
            .publish(&subject::boundary(interval), mark.encode(0))
            .await
            .unwrap();
    }

    /// A closed bar as marketdata publishes it: live, and retained.
    pub async fn publish_closed(&self, bar: &Bar) {
        self.publish(bar).await;
        let subject = bar.subject().replacen("kline.", "closed.", 1);
        self.bus
            .publish_durable(&subject, bar.payload())
            .await
            .unwrap();
    }

    /// Returns once the gateway has taken this bar or a later one of its topic.
    pub async fn knows(&self, bar: &Bar) {
        let mut probe = self.connect().await;
        probe.subscribe(&[&bar.topic()]).await;
        while probe.object().await["seq"].as_u64() < Some(bar.seq) {}
    }

    pub async fn connect(&self) -> Client {
        self.connect_to("/ws").await
    }

    /// A client whose receive buffer is small, so that not reading is felt soon.
    pub async fn connect_narrow(&self) -> Client {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(32 * 1_024).unwrap();
        let stream = socket.connect(self.address).await.unwrap();
        let stream = MaybeTlsStream::Plain(stream);
        let (socket, _) = tokio_tungstenite::client_async(self.url("/ws"), stream)
            .await
            .expect("handshake");
        Client {
            socket,
            lines: Vec::new(),
        }
    }

    pub async fn connect_to(&self, path: &str) -> Client {
        self.connect_with(self.url(path).into_client_request().unwrap())
            .await
    }

    pub async fn connect_with(&self, request: Request<()>) -> Client {
        let (socket, _) = timeout(DEADLINE, tokio_tungstenite::connect_async(request))
            .await
            .expect("handshake within the deadline")
            .expect("handshake");
        Client {
            socket,
            lines: Vec::new(),
        }
    }

    /// The answer to a handshake that is refused.
    pub async fn refused(&self, path: &str, headers: &[(&str, &str)]) -> Response<String> {
        let request = self.request(path, headers);
        let refused = timeout(DEADLINE, tokio_tungstenite::connect_async(request))
            .await
            .expect("an answer within the deadline");
        match refused {
            Err(tungstenite::Error::Http(response)) => {
                response.map(|body| String::from_utf8(body.unwrap_or_default()).expect("text"))
            }
            other => panic!("a refusal is expected, not {other:?}"),
        }
    }

    /// A handshake with these headers.
    pub fn request(&self, path: &str, headers: &[(&str, &str)]) -> Request<()> {
        let mut request = self.url(path).into_client_request().unwrap();
        for (name, value) in headers {
            let name: HeaderName = name.parse().unwrap();
            request.headers_mut().append(name, value.parse().unwrap());
        }
        request
    }

    pub async fn connect_as(&self, path: &str, headers: &[(&str, &str)]) -> Client {
        self.connect_with(self.request(path, headers)).await
    }

    /// What a scrape of its metrics gets.
    pub fn scrape(&self) -> String {
        self.metrics.render()
    }

    /// The sum of a metric's series whose labels hold all of `labels`. The recorder is shared
    /// by all tests of a process: compare before and after, or use labels of one's own.
    pub fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let text = self.metrics.render();
        text.lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| line.rsplit_once(' '))
            .filter(|(series, _)| {
                series.split('{').next() == Some(name)
                    && labels.iter().all(|label| series.contains(label))
            })
            .filter_map(|(_, value)| value.parse::<f64>().ok())
            .sum()
    }
}

/// Waits on a condition.
pub async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let waited = timeout(DEADLINE, async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(waited.await.is_ok(), "never came: {what}");
}

/// A bar of one second of A-B, unless changed.
#[derive(Clone, Debug)]
pub struct Bar {
    pub symbol: String,
    pub index: i64,
    pub seq: u64,
    pub epoch: u64,
    pub closed: bool,
    pub filled: bool,
    pub rev: u32,
    pub pad: usize,
}

pub fn forming(index: i64, seq: u64) -> Bar {
    Bar {
        symbol: "A-B".to_owned(),
        index,
        seq,
        epoch: 1,
        closed: false,
        filled: false,
        rev: 0,
        pad: 0,
    }
}

pub fn closed(index: i64, seq: u64) -> Bar {
    Bar {
        closed: true,
        ..forming(index, seq)
    }
}

impl Bar {
    pub fn of(mut self, symbol: &str) -> Self {
        self.symbol = symbol.to_owned();
        self
    }

    pub fn revised(mut self, rev: u32) -> Self {
        self.rev = rev;
        self
    }

    pub fn padded(mut self, bytes: usize) -> Self {
        self.pad = bytes;
        self
    }

    pub fn filled(mut self) -> Self {
        self.filled = true;
        self
    }

    pub fn epoch(mut self, epoch: u64) -> Self {
        self.epoch = epoch;
        self
    }

    pub fn subject(&self) -> String {
        format!("kline.1s.{}", self.symbol.replace(':', "."))
    }

    pub fn topic(&self) -> String {
        format!("kline:1s:{}", self.symbol)
    }

    pub fn payload(&self) -> Bytes {
        let state = if self.closed { "closed" } else { "forming" };
        let quality = if self.filled { "filled" } else { "complete" };
        Bytes::from(format!(
            r#"{{"topic":"{}","seq":{},"epoch":{},"exchange":"binance","symbol":"{}","interval":"1s","start_ms":{},"end_ms":{},"open":"1","high":"1","low":"1","close":"1","volume":"1","state":"{state}","rev":{},"quality":"{quality}","published_us":1,"pad":"{}"}}"#,
            self.topic(),
            self.seq,
            self.epoch,
            self.symbol,
            self.index * 1_000,
            (self.index + 1) * 1_000,
            self.rev,
            "x".repeat(self.pad),
        ))
    }
}

pub struct Client {
    pub socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    lines: Vec<Value>,
}

/// What a client gets.
#[derive(Debug, PartialEq)]
pub enum Got {
    Frame(Vec<Value>),
    Closed(u16, String),
    Lost,
}

impl Client {
    pub async fn send(&mut self, text: &str) {
        self.socket
            .send(Message::Text(text.into()))
            .await
            .expect("send");
    }

    pub async fn send_message(&mut self, message: Message) {
        self.socket.send(message).await.expect("send");
    }

    /// The next data frame, close or loss.
    pub async fn next(&mut self) -> Got {
        loop {
            let message = timeout(DEADLINE, self.socket.next())
                .await
                .expect("a frame within the deadline");
            match message {
                Some(Ok(Message::Text(text))) => {
                    return Got::Frame(
                        text.split('\n')
                            .map(|line| serde_json::from_str(line).expect("a JSON object"))
                            .collect(),
                    );
                }
                Some(Ok(Message::Close(Some(close)))) => {
                    return Got::Closed(close.code.into(), close.reason.to_string());
                }
                Some(Ok(Message::Close(None))) => return Got::Closed(1005, String::new()),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Got::Lost,
            }
        }
    }

    /// The objects of the next frame.
    #[track_caller]
    pub fn frame(&mut self) -> impl Future<Output = Vec<Value>> + '_ {
        let caller = std::panic::Location::caller();
        async move {
            match self.next().await {
                Got::Frame(values) => values,
                other => panic!("a frame is expected, not {other:?}, at {caller}"),
            }
        }
    }

    /// The next object, whichever frame it is in.
    pub async fn object(&mut self) -> Value {
        while self.lines.is_empty() {
            self.lines = self.frame().await;
        }
        self.lines.remove(0)
    }

    /// As [`Client::object`]; says what came before where there is none.
    pub async fn object_after(&mut self, before: &str, lacking: &[&str]) -> Value {
        match timeout(DEADLINE, self.object()).await {
            Ok(object) => object,
            Err(_) => panic!("no {lacking:?} after {before}"),
        }
    }

    /// The close code, after whatever frames come before it.
    pub async fn close_code(&mut self) -> u16 {
        loop {
            match self.next().await {
                Got::Frame(_) => {}
                Got::Closed(code, _) => return code,
                Got::Lost => return 1006,
            }
        }
    }

    /// Subscribes and returns the ack.
    pub async fn subscribe(&mut self, topics: &[&str]) -> Value {
        let request = serde_json::json!({"op": "sub", "id": 1, "topics": topics});
        self.send(&request.to_string()).await;
        let mut frame = self.frame().await;
        assert_eq!((frame.len(), &frame[0]["op"]), (1, &Value::from("ack")));
        frame.remove(0)
    }
}
