//! One WebSocket connection: frames in to the session, frames out from the client's queue.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket};
use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::client::{Client, End};
use crate::clock;
use crate::exchange::Exchange;
use crate::instrument::Venue;
use crate::venues::{Action, Handshake, Session, Target};

/// Frames written before a flush.
const BATCH_MAX: usize = 256;
/// Time for a close frame to leave.
const CLOSE_WITHIN: Duration = Duration::from_millis(500);
const TICK: Duration = Duration::from_millis(100);

/// Serves a connection until it ends.
pub(crate) async fn serve(
    exchange: Arc<Exchange>,
    venue: Venue,
    mut handshake: Handshake,
    peer: std::net::IpAddr,
    socket: WebSocket,
) {
    let (client, mut queue) = exchange.connect(venue, peer, handshake.now_ms);
    handshake.connection = client.id;
    tracing::debug!(
        exchange = venue.name(),
        session_id = client.id,
        path = handshake.path,
        "client connected"
    );
    let (session, actions) = Session::open(venue, &handshake, &exchange.config, &exchange.listing);
    let mut reader = Reader {
        exchange: &exchange,
        client: &client,
        session,
        targets: Vec::new(),
    };
    reader.perform(actions);
    let (mut sink, mut stream) = socket.split();
    let end = tokio::select! {
        end = client.ended() => Some(end),
        () = exchange.stop.cancelled() => Some(End::Close { code: 1001, reason: "the simulator stops".to_owned() }),
        () = reader.run(&mut stream) => None,
        () = write(&exchange, &client, &mut queue, &mut sink) => None,
    };
    exchange.disconnect(&client, std::mem::take(&mut reader.targets));
    let Some(end) = end else {
        // The client has closed, or is gone: the flush answers its close.
        let _ = tokio::time::timeout(CLOSE_WITHIN, sink.close()).await;
        return;
    };
    tracing::debug!(exchange = venue.name(), session_id = client.id, end = ?end, "client disconnected");
    let close = match end {
        End::Abrupt => return,
        End::Close { code, reason } => CloseFrame {
            code,
            reason: reason.into(),
        },
        End::SlowConsumer => match venue {
            Venue::Okx => CloseFrame {
                code: 4005,
                reason: "Buffer is full, can not write data".into(),
            },
            Venue::Binance | Venue::Coinbase => return,
        },
    };
    // Data that was queued before the close is still sent, such as the announcement of a shutdown.
    let farewell = async {
        while let Ok(frame) = queue.try_recv() {
            sink.feed(frame).await?;
        }
        sink.send(Message::Close(Some(close))).await?;
        // The peer answers with its own close; dropping the socket earlier could reset it.
        while let Some(Ok(_)) = stream.next().await {}
        Ok::<(), axum::Error>(())
    };
    let _ = tokio::time::timeout(CLOSE_WITHIN, farewell).await;
}

struct Reader<'a> {
    exchange: &'a Exchange,
    client: &'a Arc<Client>,
    session: Session,
    targets: Vec<Target>,
}

impl Reader<'_> {
    async fn run(&mut self, stream: &mut SplitStream<WebSocket>) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            let actions = tokio::select! {
                message = stream.next() => match message {
                    Some(Ok(Message::Text(text))) => {
                        self.session.on_text(text.as_str(), clock::now_ms(), &self.exchange.listing)
                    }
                    Some(Ok(Message::Binary(_))) => self.session.on_text("", clock::now_ms(), &self.exchange.listing),
                    Some(Ok(Message::Ping(_))) => self.session.on_control(false, clock::now_ms()),
                    Some(Ok(Message::Pong(_))) => self.session.on_control(true, clock::now_ms()),
                    Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                },
                _ = tick.tick() => {
                    let written_ms = self.client.written_ms.load(Ordering::Relaxed);
                    self.session.on_tick(clock::now_ms(), written_ms)
                }
            };
            self.perform(actions);
        }
    }

    fn perform(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Reply(text) => self.client.send(Message::Text(text.into())),
                Action::Ping => self
                    .client
                    .send(Message::Ping(Bytes::from(clock::now_ms().to_string()))),
                Action::Subscribe(target) => {
                    self.exchange.subscribe(self.client, target);
                    self.targets.push(target);
                }
                Action::Unsubscribe(target) => {
                    self.exchange.unsubscribe(self.client, target);
                    self.targets.retain(|known| *known != target);
                }
                Action::Variant(variant) => self.client.set_variant(variant),
                Action::Close(code, reason) => {
                    metrics::counter!("exchange_sim_closed_clients_total", "exchange" => self.client.venue.name(), "code" => code.to_string())
                        .increment(1);
                    self.client.end(End::Close { code, reason });
                }
            }
        }
    }
}

/// Writes the queued frames with one flush for all; ends when the socket fails.
///
/// A fault may delay frames on a line, each for its time and all in order: the latency rises, and
/// the rate stays the same.
async fn write(
    exchange: &Exchange,
    client: &Client,
    queue: &mut mpsc::Receiver<Message>,
    sink: &mut SplitSink<WebSocket, Message>,
) {
    let mut taken = Vec::with_capacity(BATCH_MAX);
    let mut batch = Vec::with_capacity(BATCH_MAX);
    let mut line = VecDeque::new();
    loop {
        let due = line.front().map(|(due, _): &(Instant, Message)| *due);
        // A full line leaves the frames in the client's queue, which has its own bound.
        let has_room = line.len() < exchange.config.client_frames_max;
        tokio::select! {
            biased;
            () = sleep_until(due) => {
                let now = Instant::now();
                let due = line.partition_point(|(due, _)| *due <= now);
                batch.extend(line.drain(..due).map(|(_, frame)| frame));
            }
            count = queue.recv_many(&mut taken, BATCH_MAX), if has_room => {
                if count == 0 {
                    return;
                }
                for frame in taken.drain(..) {
                    let delay_ms = exchange
                        .faults
                        .frame_delay_ms(client.venue, client.id, clock::now_ms());
                    if delay_ms == 0 && line.is_empty() {
                        batch.push(frame);
                        continue;
                    }
                    // No frame overtakes one that waits longer.
                    let at = Instant::now() + Duration::from_millis(delay_ms);
                    let at = line.back().map_or(at, |(last, _)| at.max(*last));
                    line.push_back((at, frame));
                }
            }
        }
        let frames = batch.len() as u64;
        for frame in batch.drain(..) {
            if sink.feed(frame).await.is_err() {
                return;
            }
        }
        if sink.flush().await.is_err() {
            return;
        }
        client.frames.fetch_add(frames, Ordering::Relaxed);
        client.written_ms.store(clock::now_ms(), Ordering::Relaxed);
    }
}

/// Completes at a time, if there is one.
async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
