//! The broker's log on the bus: `service.message-broker-service.log.<level>`.
//!
//! Nothing here logs: a line about a line would be one more to publish. What is lost is counted.

use std::time::{Duration, Instant};

use bytes::Bytes;
use metrics::counter;
use serde_json::json;
use service::{LogLine, LogTap, Shutdown, TokenBucket};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::clock;
use crate::config::Config;
use crate::events::SERVICE;
use crate::jetstream::{JetStream, NatsError};

/// How often it looks whether the server is there again.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);
/// Seconds whose lines may come at once.
const BURST_SECONDS: u32 = 10;

/// Longest time for the lines that wait at the end.
const END_DEADLINE: Duration = Duration::from_secs(2);

/// Publishes the lines of a tap.
pub(crate) struct LogLines {
    tap: LogTap,
    jetstream: JetStream,
    has_jetstream: bool,
    /// The id of the server that has all streams.
    kept_server: watch::Receiver<String>,
    rate: TokenBucket,
    /// The line that the server has not taken yet, with its subject.
    unsent: Option<(String, Bytes)>,
}

impl LogLines {
    pub(crate) fn new(
        config: &Config,
        tap: LogTap,
        jetstream: JetStream,
        kept_server: watch::Receiver<String>,
    ) -> Self {
        let rate = config.published_log_lines_rate;
        let burst = rate.saturating_mul(BURST_SECONDS);
        Self {
            tap,
            jetstream,
            has_jetstream: config.nats.jetstream_enabled,
            kept_server,
            rate: TokenBucket::new(rate, burst, Instant::now()),
            unsent: None,
        }
    }

    /// Publishes until the shutdown. While the server is away, or lacks the streams that keep the
    /// lines, they wait in the tap.
    pub(crate) async fn run(mut self, shutdown: Shutdown) -> Self {
        let mut looks = interval(LOOK_INTERVAL);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            if self.is_kept() {
                tokio::select! {
                    () = shutdown.triggered() => return self,
                    () = self.send() => {}
                }
            }
            tokio::select! {
                () = shutdown.triggered() => return self,
                line = self.tap.next(), if self.unsent.is_none() && self.is_kept() => match line {
                    Some(line) => self.unsent = self.message(&line),
                    // Nothing logs any more.
                    None => return self,
                },
                _ = looks.tick() => {}
            }
        }
    }

    /// Publishes what waits, as far as the server takes it in time.
    pub(crate) async fn publish_waiting(&mut self) {
        let publishing = async {
            while self.is_kept() {
                self.send().await;
                if self.unsent.is_some() {
                    return;
                }
                let Some(line) = self.tap.next_waiting() else {
                    return;
                };
                self.unsent = self.message(&line);
            }
        };
        // What is left is on standard error.
        let _ = timeout(END_DEADLINE, publishing).await;
    }

    /// Whether what is published now is kept.
    fn is_kept(&self) -> bool {
        self.jetstream.is_connected()
            && *self.kept_server.borrow() == self.jetstream.server_info().server_id
    }

    /// The subject and the bytes of a line; none where it is not published.
    fn message(&mut self, line: &LogLine) -> Option<(String, Bytes)> {
        if !self.rate.take(1, Instant::now()) {
            lost("rate");
            return None;
        }
        let payload = Bytes::from(text(line));
        let longest = self.jetstream.server_info().max_payload;
        if longest > 0 && payload.len() > longest {
            lost("too_long");
            return None;
        }
        Some((format!("service.{SERVICE}.log.{}", line.level), payload))
    }

    /// Publishes the line that was not taken yet. It stays while the server cannot say that it has
    /// the line, so after an outage a line may come twice.
    async fn send(&mut self) {
        let Some((subject, payload)) = &self.unsent else {
            return;
        };
        match self.publish(subject, payload.clone()).await {
            Ok(()) => counter!("broker_log_lines_published_total").increment(1),
            Err(NatsError::Disconnected | NatsError::NoJetStream | NatsError::Timeout) => return,
            Err(NatsError::Refused { .. } | NatsError::Unsendable(_)) => lost("refused"),
        }
        self.unsent = None;
    }

    async fn publish(&self, subject: &str, payload: Bytes) -> Result<(), NatsError> {
        // A connection that has just broken takes messages for a moment, and the first lines of an
        // outage say the most: a stream has to acknowledge them.
        if self.has_jetstream && !self.jetstream.streams_of(subject).await?.is_empty() {
            return self
                .jetstream
                .publish_stored(subject, payload)
                .await
                .map(drop);
        }
        self.jetstream.publish(subject, payload).await
    }
}

fn lost(reason: &'static str) {
    counter!("broker_log_lines_lost_total", "reason" => reason).increment(1);
}

fn text(line: &LogLine) -> String {
    json!({
        "timestamp": clock::text_of(line.time),
        "service": SERVICE,
        "level": line.level,
        "target": line.target,
        "message": line.message,
        "fields": line.fields,
    })
    .to_string()
}
