//! The closed bars of a topic, from any gateway, of the past, of a replay or live.

use std::collections::VecDeque;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

use crate::bar::{Bar, State};
use crate::client::{Client, Dial, Got};

/// Pause before another attempt to connect.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// A gateway that sends nothing for this long is gone.
const SILENCE: Duration = Duration::from_secs(30);

/// Goes on after a break, from where it stopped.
#[derive(Debug)]
pub struct BarStream {
    url: String,
    topic: String,
    from: Value,
    /// The greatest end of a bar that was got, and when the newest one became known, unix ms.
    place: Option<(i64, i64)>,
    client: Option<Client>,
    bars: VecDeque<Bar>,
}

impl BarStream {
    /// The bars of a topic. `from` says where it begins, as in the protocol: `{"last":5}`, or
    /// `{"ms":…,"speed":…}` for a replay.
    #[must_use]
    pub fn new(url: &str, topic: &str, from: Value) -> Self {
        Self {
            url: url.to_owned(),
            topic: topic.to_owned(),
            from,
            place: None,
            client: None,
            bars: VecDeque::new(),
        }
    }

    /// The next closed bar, or a revision of one. One that was got before may come again after a break.
    ///
    /// # Panics
    /// If the gateway refuses the topic.
    pub async fn next(&mut self) -> Bar {
        loop {
            if let Some(bar) = self.bars.pop_front() {
                let (end_ms, known_ms) = self.place.unwrap_or_default();
                let known_ms = known_ms.max(bar.published_us / 1_000);
                self.place = Some((end_ms.max(bar.end_ms), known_ms));
                return bar;
            }
            if let Err(why) = self.read().await {
                println!("{}: {why}; connecting again", self.topic);
                self.client = None;
                tokio::time::sleep(RETRY_AFTER).await;
            }
        }
    }

    /// Reads one frame, from a new connection if there is none.
    async fn read(&mut self) -> Result<(), String> {
        let client = match &mut self.client {
            Some(client) => client,
            none => {
                let mut client = Dial::default().connect(&self.url).await?;
                let from = match self.place {
                    Some((end_ms, known_ms)) => json!({"token": format!("k1.{end_ms}.{known_ms}")}),
                    None => self.from.clone(),
                };
                let bars = json!({"op": "sub", "id": 1, "topics": [self.topic], "from": from, "closed_only": true});
                // The state of the feeds comes each second: a gateway without it is gone.
                let feeds = json!({"op": "sub", "id": 2, "topics": ["system:feed:*"]});
                for request in [bars, feeds] {
                    client.try_send(Message::text(request.to_string())).await?;
                }
                none.insert(client)
            }
        };
        let got = timeout(SILENCE, client.next()).await;
        let frame = match got.map_err(|_| "nothing came for long".to_owned())? {
            Got::Frame(frame) => frame,
            Got::Closed(code, reason) => return Err(format!("closed with {code}: {reason}")),
            Got::Lost => return Err("the connection broke".to_owned()),
        };
        for message in frame {
            assert_ne!(message["op"], "error", "{message}");
            // History did not answer, so bars may be missing before the live ones: ask once more.
            if message["op"] == "live" && message["reason"] == "history" {
                return Err("history did not answer".to_owned());
            }
            if message["op"].is_null() && message["topic"] == self.topic.as_str() {
                let bar: Bar =
                    serde_json::from_value(message).map_err(|error| error.to_string())?;
                if bar.state == State::Closed {
                    self.bars.push_back(bar);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{SinkExt, StreamExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio_tungstenite::accept_async;

    use super::*;

    const TOPIC: &str = "kline:1m:BTC-USD";

    fn bar(start_ms: i64) -> Value {
        json!({"topic": TOPIC, "seq": 1, "epoch": 1, "exchange": "sim", "symbol": "BTC-USD",
            "interval": "1m", "start_ms": start_ms, "end_ms": start_ms + 60_000, "open": "1",
            "high": "1", "low": "1", "close": "1", "volume": "1", "quote_volume": "1",
            "taker_buy_volume": "1", "taker_buy_quote_volume": "1", "count": 1, "first_id": "1",
            "last_id": "1", "state": "closed", "rev": 1, "quality": "complete",
            "event_ms": start_ms, "received_us": null, "published_us": (start_ms + 60_000) * 1_000})
    }

    /// Answers one connection with these messages. Returns what it subscribed first.
    async fn serve(socket: TcpStream, messages: &[Value]) -> Value {
        let mut socket = accept_async(socket).await.expect("a handshake");
        let request = socket.next().await.expect("a request").expect("a frame");
        for message in messages {
            let frame = Message::text(message.to_string());
            socket.send(frame).await.expect("it takes");
        }
        // Reads until the client goes.
        while let Some(Ok(_)) = socket.next().await {}
        serde_json::from_str(request.to_text().expect("text")).expect("JSON")
    }

    #[tokio::test]
    async fn bars_that_history_did_not_send_are_asked_for_again() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("ws://{}", listener.local_addr().expect("an address"));
        let unrecovered =
            json!({"op": "live", "topic": TOPIC, "recovered": false, "reason": "history"});
        let gateway = tokio::spawn(async move {
            let (first, _) = listener.accept().await.expect("a client");
            // The bar of minute 1 is missing.
            serve(first, &[bar(0), unrecovered, bar(120_000)]).await;
            let (again, _) = listener.accept().await.expect("a client");
            serve(again, &[bar(60_000), bar(120_000)]).await
        });
        let mut stream = BarStream::new(&url, TOPIC, json!({"last": 5}));
        for start_ms in [0, 60_000, 120_000] {
            assert_eq!(stream.next().await.start_ms, start_ms);
        }
        drop(stream);
        let again = gateway.await.expect("it served");
        assert_eq!(again["from"], json!({"token": "k1.60000.60000"}));
    }
}
