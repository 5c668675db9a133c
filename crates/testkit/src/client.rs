//! One WebSocket, well-behaved or not.

use std::net::{IpAddr, SocketAddr};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{HeaderValue, Request, Uri};
use tokio_tungstenite::tungstenite::protocol::frame::Frame;

use crate::wait::DEADLINE;

/// See the module.
#[derive(Debug)]
pub struct Client {
    socket: WebSocketStream<TcpStream>,
}

/// What a client gets.
#[derive(Clone, Debug, PartialEq)]
pub enum Got {
    /// A frame's objects.
    Frame(Vec<Value>),
    /// A close and its reason; 1005 if it had no code.
    Closed(u16, String),
    /// The end of the connection without a close.
    Lost,
}

/// How a client connects.
#[derive(Clone, Copy, Debug, Default)]
pub struct Dial<'a> {
    /// Its own address: any of 127.0.0.0/8.
    pub from: Option<IpAddr>,
    /// The address that it claims in X-Forwarded-For.
    pub forwarded_for: Option<&'a str>,
    /// Its kernel's receive buffer, bytes.
    pub receive_buffer: Option<u32>,
}

impl Dial<'_> {
    /// Connects.
    ///
    /// # Errors
    /// Why the handshake fails.
    pub async fn connect(self, url: &str) -> Result<Client, String> {
        let mut request = url
            .into_client_request()
            .map_err(|error| error.to_string())?;
        if let Some(claimed) = self.forwarded_for {
            let value = HeaderValue::from_str(claimed).map_err(|error| error.to_string())?;
            request.headers_mut().insert("x-forwarded-for", value);
        }
        let dial = async {
            let stream = self
                .stream(address_of(request.uri())?)
                .await
                .map_err(|error| error.to_string())?;
            shake(request, stream).await
        };
        timeout(DEADLINE, dial)
            .await
            .map_err(|_| "no handshake in time".to_owned())?
    }

    async fn stream(self, address: SocketAddr) -> std::io::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        if let Some(from) = self.from {
            socket.bind((from, 0).into())?;
        }
        if let Some(bytes) = self.receive_buffer {
            socket.set_recv_buffer_size(bytes)?;
        }
        socket.connect(address).await
    }
}

fn address_of(uri: &Uri) -> Result<SocketAddr, String> {
    let authority = uri.authority().ok_or("no address")?.as_str();
    authority
        .parse()
        .map_err(|_| format!("no address: {authority}"))
}

async fn shake(request: Request<()>, stream: TcpStream) -> Result<Client, String> {
    let (socket, _) = tokio_tungstenite::client_async(request, stream)
        .await
        .map_err(|error| error.to_string())?;
    Ok(Client { socket })
}

impl Client {
    /// Connects to `ws://address:port/...`.
    ///
    /// # Panics
    /// If the handshake fails.
    pub async fn connect(url: &str) -> Self {
        Dial::default()
            .connect(url)
            .await
            .unwrap_or_else(|error| panic!("{url}: {error}"))
    }

    /// Sends a message.
    ///
    /// # Errors
    /// If the connection has ended.
    pub async fn try_send(&mut self, message: Message) -> Result<(), String> {
        self.socket
            .send(message)
            .await
            .map_err(|error| error.to_string())
    }

    /// Sends a text.
    ///
    /// # Panics
    /// If the connection has ended.
    pub async fn send(&mut self, text: &str) {
        self.try_send(Message::text(text))
            .await
            .expect("the connection is there");
    }

    /// Sends a frame unchanged, masked.
    ///
    /// # Panics
    /// If the connection has ended.
    pub async fn send_frame(&mut self, frame: Frame) {
        self.try_send(Message::Frame(frame))
            .await
            .expect("the connection is there");
    }

    /// The next data frame, close or end.
    ///
    /// # Panics
    /// If nothing comes in time, or no JSON.
    pub async fn next(&mut self) -> Got {
        loop {
            match timeout(DEADLINE, self.socket.next())
                .await
                .expect("something comes in time")
            {
                Some(Ok(Message::Text(text))) => {
                    let objects = text.split('\n').map(|line| {
                        serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
                    });
                    return Got::Frame(objects.collect());
                }
                Some(Ok(Message::Close(Some(close)))) => {
                    let got = Got::Closed(close.code.into(), close.reason.to_string());
                    // The answer to the close is sent with the next poll.
                    let _ = timeout(DEADLINE, self.socket.next()).await;
                    return got;
                }
                Some(Ok(Message::Close(None))) => return Got::Closed(1005, String::new()),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Got::Lost,
            }
        }
    }

    /// The objects of the next frame.
    ///
    /// # Panics
    /// If the connection ends instead.
    pub async fn frame(&mut self) -> Vec<Value> {
        match self.next().await {
            Got::Frame(objects) => objects,
            other => panic!("a frame is expected, not {other:?}"),
        }
    }

    /// The first object with this `op`, after any other objects.
    pub async fn answer(&mut self, op: &str) -> Value {
        loop {
            if let Some(object) = self
                .frame()
                .await
                .into_iter()
                .find(|object| object["op"] == op)
            {
                return object;
            }
        }
    }

    /// The close code, after any other messages; 1006 if the connection just ends.
    pub async fn close_code(&mut self) -> u16 {
        loop {
            match self.next().await {
                Got::Frame(_) => {}
                Got::Closed(code, _) => return code,
                Got::Lost => return 1006,
            }
        }
    }

    /// Subscribes, and returns the ack, which must be the next frame.
    ///
    /// # Panics
    /// If something else comes.
    pub async fn subscribe(&mut self, topics: &[String]) -> Value {
        self.send(&json!({"op": "sub", "id": 1, "topics": topics}).to_string())
            .await;
        let mut frame = self.frame().await;
        assert!(
            frame.len() == 1 && frame[0]["op"] == "ack",
            "an ack is expected: {frame:?}"
        );
        frame.remove(0)
    }
}
