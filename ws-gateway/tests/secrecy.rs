//! Tokens are shown nowhere: neither in what the program logs, however much, nor in its metrics
//! nor in its answers.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::json;
use testkit::mint::{Issuer, KeyFile, key_set};
use tokio::time::timeout;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};

const DEADLINE: Duration = Duration::from_secs(20);
/// Everything, and what is silenced unless it is named.
const LEVEL: &str = "trace,hyper=trace,hyper_util=trace,axum=trace,tungstenite=trace,tokio_tungstenite=trace,rustls=trace,async_nats=trace";

struct Program {
    child: Child,
    lines: Receiver<String>,
    log: String,
}

impl Program {
    #[expect(
        clippy::disallowed_methods,
        reason = "the program must not wait for the test"
    )]
    fn start(args: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_ws-gateway"))
            .args(args)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self {
            child,
            lines,
            log: String::new(),
        }
    }

    /// The address that the line with this message names, whenever it came.
    fn address(&mut self, message: &str) -> String {
        let line: serde_json::Value = serde_json::from_str(&self.until(message)).unwrap();
        line["address"].as_str().unwrap().to_owned()
    }

    /// Waits for the line with this message, whenever it came.
    fn until(&mut self, message: &str) -> String {
        loop {
            if let Some(line) = self.log.lines().find(|line| line.contains(message)) {
                return line.to_owned();
            }
            let line = self.lines.recv_timeout(DEADLINE).expect(message);
            self.log.push_str(&line);
            self.log.push('\n');
        }
    }

    /// Ends it, and gives all that it logged.
    fn end(mut self) -> String {
        self.child.kill().unwrap();
        while let Ok(line) = self.lines.recv_timeout(DEADLINE) {
            self.log.push_str(&line);
            self.log.push('\n');
        }
        std::mem::take(&mut self.log)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// All that a gateway says to a handshake and to these frames, up to the close or as many answers
/// as there are frames.
async fn talk(
    address: &str,
    path: &str,
    headers: &[(&'static str, String)],
    frames: &[Message],
) -> String {
    let mut request = format!("ws://{address}{path}")
        .into_client_request()
        .unwrap();
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    let mut socket = match timeout(DEADLINE, connect_async(request)).await.unwrap() {
        Ok((socket, _)) => socket,
        Err(Error::Http(answer)) => {
            let body = answer.body().clone().unwrap_or_default();
            return format!("{:?}{}", answer.headers(), String::from_utf8_lossy(&body));
        }
        Err(error) => panic!("{error}"),
    };
    let mut said = String::new();
    for frame in frames {
        socket.send(frame.clone()).await.unwrap();
        let answer = timeout(DEADLINE, socket.next()).await.unwrap();
        said.push_str(&format!("{answer:?}\n"));
    }
    said
}

/// `klinecast.v1.Request { auth: Auth { token } }`.
fn protobuf_auth(token: &str) -> Message {
    let field = |number: u8, content: &[u8]| {
        let mut bytes = vec![number << 3 | 2];
        let mut rest = content.len();
        while rest > 0x7f {
            bytes.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        bytes.push(rest as u8);
        bytes.extend(content);
        bytes
    };
    Message::binary(field(6, &field(1, token.as_bytes())))
}

#[tokio::test]
async fn no_token_is_in_the_log_at_any_level_nor_in_the_metrics() {
    let (issuer, other) = (Issuer::eddsa("first"), Issuer::eddsa("first"));
    let keys = KeyFile::new(key_set(&[&issuer]));
    let path = keys.path().unwrap();
    let mut program = Program::start(&[
        "--listen=127.0.0.1:0",
        "--admin-listen=127.0.0.1:0",
        "--bus=memory:",
        "--log-format=json",
        &format!("--log-level={LEVEL}"),
        "--auth-mode=required",
        &format!("--auth-jwks-file={}", path.display()),
        "--auth-cookie=sid",
        "--allowed-origins=https://app.example.com",
        "--auth-keys-check-ms=20",
    ]);
    let admin = program.address("admin pages served");
    let address = program.address("gateway listens");

    let good = issuer.permit(&["kline:1s:*"], 100);
    let forged = other.permit(&["kline:1s:*"], 100);
    let expired = issuer.token(&json!({"exp": 1, "sub": "someone"}));
    let long = format!("{good}{}", "x".repeat(4_096));
    let tokens = [good, forged, expired, long];
    let mut said = String::new();
    for token in &tokens {
        let none = Vec::new();
        let header = vec![("authorization", format!("Bearer {token}"))];
        let cookie = vec![("cookie", format!("sid={token}"))];
        let query = format!("/ws?token={token}");
        said += &talk(
            &address,
            &query,
            &none,
            &[Message::text(r#"{"op":"list"}"#)],
        )
        .await;
        said += &talk(&address, &query, &header, &[]).await;
        said += &talk(&address, "/ws", &header, &[]).await;
        said += &talk(&address, "/ws", &cookie, &[]).await;
        for frame in [
            json!({"op": "auth", "id": 1, "token": token}).to_string(),
            json!({"op": "auth", "token": [token]}).to_string(),
            json!({"op": "auth", "tokens": token}).to_string(),
            json!({"op": "ping", "token": token}).to_string(),
            format!("{{\"op\":\"auth\",\"token\":\"{token}"),
            token.clone(),
        ] {
            said += &talk(&address, "/ws", &none, &[Message::text(frame)]).await;
        }
        let subprotocol = ("sec-websocket-protocol", "klinecast.protobuf.v1".to_owned());
        said += &talk(&address, "/ws", &[subprotocol], &[protobuf_auth(token)]).await;
    }
    keys.write("{");
    let mut metrics = String::new();
    // Until the keys were looked at, too.
    while !metrics.contains(r#"gateway_auth_key_reloads_total{outcome="failed"}"#) {
        let mut page = TcpStream::connect(&admin).unwrap();
        page.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            .unwrap();
        metrics.clear();
        page.read_to_string(&mut metrics).unwrap();
    }
    // A line is in the metrics before it is written.
    program.until("keys cannot be read again");
    let log = program.end();

    assert!(metrics.contains(r#"outcome="signature""#), "{metrics}");
    // As text and as protobuf.
    let taken = r#"gateway_auth_total{source="message",outcome="ok"} 2"#;
    assert!(metrics.contains(taken), "{metrics}");
    assert!(said.contains("expires_ms") && said.contains("invalid_token"));
    for token in &tokens {
        // Nor a part of it that is no secret by itself but says whose it is.
        for part in token.split('.').skip(1) {
            for (place, text) in [("log", &log), ("metrics", &metrics), ("answers", &said)] {
                assert!(!text.contains(part), "a token is in the {place}");
            }
        }
    }
}
