//! Starts a simulator on a free port, and talks to it.

use std::time::Duration;

use exchange_sim::Config;
use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use service::Service;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

/// Beyond this a test has failed.
const DEADLINE: Duration = Duration::from_secs(20);

/// A running simulator.
pub(crate) struct Sim {
    pub(crate) port: u16,
    service: Service,
    task: JoinHandle<Result<(), exchange_sim::Error>>,
    http: reqwest::Client,
}

/// An answer: status, headers, body.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: Value,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }

    pub(crate) fn rows(&self) -> &Vec<Value> {
        self.body.as_array().expect("the body is an array")
    }
}

/// A market that is silent but for injected trades.
pub(crate) fn manual() -> Config {
    Config {
        manual: true,
        ..Config::default()
    }
}

/// A generated market with little history, so that it starts at once.
pub(crate) fn generated() -> Config {
    Config {
        history_minutes: 5,
        rate: 20.0,
        ..Config::default()
    }
}

impl Sim {
    pub(crate) async fn start(config: Config) -> Sim {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a free port");
        let port = listener.local_addr().expect("a bound address").port();
        let service = Service::for_test();
        let task = tokio::spawn(exchange_sim::run(config, listener, service.clone()));
        Sim {
            port,
            service,
            task,
            http: reqwest::Client::new(),
        }
    }

    /// Stops the simulator and checks that it drains.
    pub(crate) async fn stop(self) {
        self.service.shutdown.trigger();
        let ended = tokio::time::timeout(DEADLINE, self.task)
            .await
            .expect("it drains in time");
        ended
            .expect("it does not panic")
            .expect("it ends without an error");
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    async fn answer(request: reqwest::RequestBuilder) -> Result<Answer, reqwest::Error> {
        let response = request.timeout(DEADLINE).send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = serde_json::from_str(&response.text().await?).expect("a JSON body");
        Ok(Answer {
            status,
            headers,
            body,
        })
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.try_get(path).await.expect("an answer")
    }

    pub(crate) async fn try_get(&self, path: &str) -> Result<Answer, reqwest::Error> {
        Sim::answer(self.http.get(self.url(path))).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        Sim::answer(self.http.post(self.url(path)).body(body.to_string()))
            .await
            .expect("an answer")
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        Sim::answer(self.http.delete(self.url(path)))
            .await
            .expect("an answer")
    }

    /// Sets a fault.
    pub(crate) async fn fault(&self, fault: Value) {
        let answer = self.post("/sim/faults", fault).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
    }

    /// Injects trades of one symbol at this price, a quantity of 1 each, and returns their ids.
    pub(crate) async fn trade(&self, venue: &str, symbol: &str, prices: &[&str]) -> Vec<u64> {
        let trades: Vec<Value> = prices
            .iter()
            .map(|price| serde_json::json!({"venue": venue, "symbol": symbol, "price": price, "quantity": "1", "side": "buy"}))
            .collect();
        let answer = self.post("/sim/trade", Value::from(trades)).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        serde_json::from_value(answer.body["ids"].clone()).expect("ids")
    }

    pub(crate) async fn connect(&self, path: &str) -> Socket {
        self.try_connect(path).await.expect("a connection")
    }

    pub(crate) async fn try_connect(&self, path: &str) -> Result<Socket, String> {
        let url = format!("ws://127.0.0.1:{}{path}", self.port);
        let connecting = tokio::time::timeout(DEADLINE, tokio_tungstenite::connect_async(url));
        match connecting.await.expect("an answer in time") {
            Ok((stream, _)) => Ok(Socket { stream }),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Waits until all faults together have struck so often.
    pub(crate) async fn until_struck(&self, times: u64) {
        let started = std::time::Instant::now();
        loop {
            let faults = self.get("/sim/faults").await.body;
            let hits = faults.as_array().expect("faults").iter();
            let hits: u64 = hits.filter_map(|fault| fault["hits"].as_u64()).sum();
            if hits >= times {
                return;
            }
            assert!(started.elapsed() < DEADLINE, "not struck in time: {faults}");
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }

    /// Waits until the condition holds of `/sim/stats`.
    pub(crate) async fn until_stats(&self, what: &str, holds: impl Fn(&Value) -> bool) {
        let started = std::time::Instant::now();
        loop {
            let stats = self.get("/sim/stats").await.body;
            if holds(&stats) {
                return;
            }
            assert!(
                started.elapsed() < DEADLINE,
                "{what} does not hold: {stats}"
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// A WebSocket client.
pub(crate) struct Socket {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl Socket {
    pub(crate) async fn send(&mut self, text: impl Into<String>) {
        self.stream
            .send(Message::text(text.into()))
            .await
            .expect("a frame is sent");
    }

    /// The next message; `None` at the end of the connection.
    pub(crate) async fn message(&mut self) -> Option<Message> {
        let next = tokio::time::timeout(DEADLINE, self.stream.next());
        next.await.expect("a message in time").and_then(Result::ok)
    }

    /// The next text frame.
    pub(crate) async fn text(&mut self) -> String {
        loop {
            match self.message().await {
                Some(Message::Text(text)) => return text.to_string(),
                Some(Message::Ping(_) | Message::Pong(_)) => {}
                other => panic!("no text: {other:?}"),
            }
        }
    }

    /// The next text frame as JSON.
    pub(crate) async fn json(&mut self) -> Value {
        let text = self.text().await;
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// The next JSON frame for which `wanted` holds.
    pub(crate) async fn json_until(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            let frame = self.json().await;
            if wanted(&frame) {
                return frame;
            }
        }
    }

    /// Sends a close, and returns the code of the answer.
    pub(crate) async fn close(&mut self) -> Option<u16> {
        let close = CloseFrame {
            code: CloseCode::Normal,
            reason: "".into(),
        };
        self.stream
            .send(Message::Close(Some(close)))
            .await
            .expect("a close is sent");
        self.close_code().await
    }

    /// Reads until the connection ends, and returns the close code: `None` if there was no close.
    pub(crate) async fn close_code(&mut self) -> Option<u16> {
        loop {
            match self.message().await {
                Some(Message::Close(close)) => return close.map(|close| close.code.into()),
                Some(_) => {}
                None => return None,
            }
        }
    }
}
