//! The bus between processes, over NATS with JetStream.

mod api;
mod batch;
mod connect;
mod consumer;
mod last_values;
mod link;
mod pump;
mod range;
mod request;
mod store;
mod stream;

use std::sync::Arc;
use std::time::Duration;

use async_nats::client::PublishErrorKind;
use async_nats::jetstream;
use async_nats::jetstream::context::PublishErrorKind as StoreErrorKind;
use async_nats::jetstream::publish::PublishAck;
use async_nats::{Client, HeaderMap, Subject};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::meter::{self, PublishMeter};
use crate::queue::Queue;
use crate::subject::{Pattern, Prefix, check_subject};
use crate::{
    Bus, BusConfig, BusError, Headers, Message, Requests, StreamSpec, StreamStore, Subscription,
};

use api::Api;
use link::Link;
use stream::Streams;

/// Wait before a durable publication that the server refused is tried again.
const DURABLE_RETRY_DELAY: Duration = Duration::from_millis(100);

/// Carries messages between processes. There is one connection per bus. It reconnects by itself,
/// renews the subscriptions and the streams, and then tells every subscription (see
/// [`crate::Delivery::Reconnected`]).
///
/// # Permissions
///
/// An account with restricted permissions needs: publish and subscribe on the subjects used (with
/// the prefix) and on `_INBOX.<user>.>` (`_INBOX.>` for a token, or a user whose name is not one part
/// of a subject), and publish on `$JS.API.>` and `$JS.ACK.>`.
pub struct NatsBus {
    client: Client,
    link: Arc<Link>,
    streams: Arc<Streams>,
    prefix: Prefix,
    config: BusConfig,
    meter: PublishMeter,
    /// The tasks that move messages from the connection into the queues.
    pumps: TaskTracker,
    keeper: std::sync::Mutex<Option<JoinHandle<()>>>,
}

impl NatsBus {
    /// Connects, and creates or updates the streams of `specs`. Tries to reach a server until
    /// `bus_connect_deadline_ms`.
    ///
    /// # Errors
    /// `Config`, `Unreachable`, `Unauthorized`, `JetStreamDisabled`, `StreamConflict`, `JetStream`.
    pub async fn connect(config: &BusConfig, specs: &[StreamSpec]) -> Result<NatsBus, BusError> {
        let prefix = Prefix::new(&config.bus_prefix)?;
        let servers = config.bus.nats_servers()?;
        let deadline = Instant::now() + config.connect_deadline();
        let link = Arc::new(Link::new());
        let client = connect::connect(servers, config, &link, deadline).await?;
        link.set_client(client.clone());
        let context = jetstream::context::ContextBuilder::new()
            .timeout(config.request_deadline())
            .backpressure_on_inflight(true)
            .build(client.clone());
        let streams = Streams::new(Api::new(context, servers.display()), &prefix, config, specs)?;
        let streams = Arc::new(streams);
        streams.ensure_until(deadline).await?;
        meter::describe();
        meter::connected(true);
        info!(servers = servers.display(), "connected to nats");
        let keeper = tokio::spawn(link::keep(
            Arc::clone(&link),
            Arc::clone(&streams),
            config.request_deadline(),
        ));
        Ok(NatsBus {
            client,
            link,
            streams,
            prefix,
            config: config.clone(),
            meter: PublishMeter::default(),
            pumps: TaskTracker::new(),
            keeper: std::sync::Mutex::new(Some(keeper)),
        })
    }

    fn check_open(&self) -> Result<(), BusError> {
        if self.link.is_closed() {
            return Err(BusError::Closed);
        }
        Ok(())
    }

    fn check_connected(&self) -> Result<(), BusError> {
        self.check_open()?;
        if !self.link.is_connected() {
            return Err(BusError::Disconnected);
        }
        Ok(())
    }

    fn too_large(&self, payload_bytes: usize) -> BusError {
        BusError::PayloadTooLarge {
            payload_bytes,
            payload_bytes_max: self.client.max_payload(),
        }
    }

    /// Sends a message to ourselves through the server. NATS handles a connection's commands in
    /// order. When the message is back, the server has processed all that we sent before, and all
    /// that it sent us before has arrived.
    async fn round_trip(&self) -> Result<(), BusError> {
        self.check_link()?;
        let waited = self.config.request_deadline();
        let echo = async {
            let inbox = self.client.new_inbox();
            let mut replies = self
                .client
                .subscribe(inbox.clone())
                .await
                .map_err(|_| BusError::Closed)?;
            self.client
                .publish(inbox, Bytes::new())
                .await
                .map_err(|_| BusError::Closed)?;
            match replies.next().await {
                Some(_) => Ok(()),
                None => Err(BusError::Closed),
            }
        };
        timeout(waited, echo)
            .await
            .unwrap_or_else(|_| Err(timed_out("answer", waited)))
    }

    /// As `check_connected`, also while draining.
    fn check_link(&self) -> Result<(), BusError> {
        if self.link.is_connected() {
            return Ok(());
        }
        Err(BusError::Disconnected)
    }

    /// Waits until the connection has taken a message.
    async fn sent(
        &self,
        payload_bytes: usize,
        send: impl Future<Output = Result<(), async_nats::PublishError>>,
    ) -> Result<(), BusError> {
        let waited = self.config.publish_deadline();
        match timeout(waited, send).await {
            Ok(Ok(())) => {
                self.meter.published();
                Ok(())
            }
            Ok(Err(error)) => Err(match error.kind() {
                PublishErrorKind::MaxPayloadExceeded => self.too_large(payload_bytes),
                PublishErrorKind::InvalidSubject | PublishErrorKind::Send => BusError::Closed,
            }),
            Err(_) => Err(timed_out("take a message", waited)),
        }
    }

    /// One attempt to store. Another attempt makes sense if the error is retryable.
    async fn store(
        &self,
        subject: &Subject,
        headers: Option<HeaderMap>,
        payload: Bytes,
    ) -> Result<PublishAck, BusError> {
        self.check_connected()?;
        let payload_bytes = payload.len();
        let acknowledged = async {
            let context = &self.streams.api.context;
            let sent = match headers {
                None => context.publish(subject.clone(), payload).await,
                Some(headers) => {
                    let subject = subject.clone();
                    context
                        .publish_with_headers(subject, headers, payload)
                        .await
                }
            };
            sent?.await
        };
        let result = tokio::select! {
            result = acknowledged => result,
            // The acknowledgement went down with the connection.
            () = self.link.restored() => return Err(BusError::Disconnected),
        };
        result.map_err(|error| match error.kind() {
            StoreErrorKind::MaxPayloadExceeded => self.too_large(payload_bytes),
            StoreErrorKind::TimedOut => timed_out("store", self.config.request_deadline()),
            StoreErrorKind::WrongLastSequence => BusError::NotAsExpected {
                subject: self.prefix.strip(subject).unwrap_or(subject).to_owned(),
            },
            StoreErrorKind::StreamNotFound => {
                self.link.miss_stream();
                api::error(
                    &format!("store {subject:?}"),
                    "no stream takes this subject at the moment",
                    true,
                )
            }
            _ => api::error(&format!("store {subject:?}"), &error.to_string(), true),
        })
    }
}

#[async_trait]
impl Bus for NatsBus {
    async fn publish(&self, subject: &str, payload: Bytes) -> Result<(), BusError> {
        check_subject(subject)?;
        self.check_connected()?;
        let payload_bytes = payload.len();
        let send = self.client.publish(self.prefix.add(subject), payload);
        self.sent(payload_bytes, send).await
    }

    async fn publish_with(
        &self,
        subject: &str,
        headers: Headers,
        payload: Bytes,
    ) -> Result<(), BusError> {
        check_subject(subject)?;
        self.check_connected()?;
        let payload_bytes = payload.len();
        let subject = self.prefix.add(subject);
        let headers = pump::map_of(&headers);
        let send = self.client.publish_with_headers(subject, headers, payload);
        self.sent(payload_bytes, send).await
    }

    async fn publish_durable(&self, subject: &str, payload: Bytes) -> Result<(), BusError> {
        self.streams.of_subject(subject)?;
        let full_subject = Subject::from(self.prefix.add(subject));
        let started_at = Instant::now();
        let deadline = started_at + self.config.durable_deadline();
        let mut last_error = timed_out("store", self.config.durable_deadline());
        loop {
            let attempt = self.store(&full_subject, None, payload.clone());
            match timeout_at(deadline, attempt).await {
                Ok(Ok(_)) => {
                    self.meter.published();
                    meter::stored(started_at.elapsed());
                    return Ok(());
                }
                Ok(Err(error)) if error.is_retryable() => last_error = error,
                Ok(Err(error)) => return Err(error),
                Err(_) => return Err(last_error),
            }
            tokio::select! {
                () = tokio::time::sleep(DURABLE_RETRY_DELAY) => {}
                () = self.link.restored() => {}
            }
            if Instant::now() >= deadline {
                return Err(last_error);
            }
        }
    }

    async fn subscribe(&self, pattern: &str) -> Result<Subscription, BusError> {
        let pattern = Pattern::new(pattern)?;
        self.check_connected()?;
        let full_pattern = self.prefix.add(pattern.as_str());
        let queue = Arc::new(Queue::new(
            pattern,
            self.config.bus_buffer_messages,
            self.config.bus_buffer_bytes,
        ));
        let waited = self.config.request_deadline();
        let subscriber = timeout(waited, self.client.subscribe(full_pattern))
            .await
            .map_err(|_| timed_out("take a subscription", waited))?
            .map_err(|_| BusError::Closed)?;
        // Registered first, so that no later reconnect is missed.
        self.link.add_queue(&queue);
        let pump = self.pumps.spawn(pump::run(
            subscriber,
            Arc::clone(&queue),
            self.prefix.clone(),
            Arc::clone(&self.link),
        ));
        let subscription = Subscription::new(queue, AbortOnDrop(pump));
        self.round_trip().await?;
        Ok(subscription)
    }

    async fn last_values(&self, pattern: &str) -> Result<Vec<Message>, BusError> {
        let pattern = Pattern::new(pattern)?;
        self.check_connected()?;
        last_values::read(&self.streams, &self.prefix, &pattern).await
    }

    fn streams(&self) -> &dyn StreamStore {
        self
    }

    fn requests(&self) -> &dyn Requests {
        self
    }

    async fn flush(&self) -> Result<(), BusError> {
        self.check_open()?;
        self.round_trip().await
    }

    async fn drain(&self) -> Result<(), BusError> {
        if !self.link.start_closing() {
            return Ok(());
        }
        // After it, the server has our publications, and its messages to us wait at the pumps.
        let sent = self.round_trip().await;
        self.link.close();
        self.pumps.close();
        self.pumps.wait().await;
        let keeper = self
            .keeper
            .lock()
            .expect("nothing panics under this lock")
            .take();
        if let Some(keeper) = keeper
            && let Err(error) = keeper.await
        {
            warn!(error = %error, "connection keeper failed");
        }
        // Ends the connection. Without a server there is no connection to end.
        let _ = timeout(self.config.publish_deadline(), self.client.drain()).await;
        meter::connected(false);
        info!("nats connection drained");
        sent
    }

    fn is_connected(&self) -> bool {
        self.check_connected().is_ok()
    }
}

impl Drop for NatsBus {
    fn drop(&mut self) {
        // A bus that was not drained must still end its tasks.
        self.link.close();
    }
}

/// Ends the pump of a subscription that was dropped; its subscriber unsubscribes when it is
/// dropped.
struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn timed_out(action: &'static str, waited: Duration) -> BusError {
    BusError::Timeout {
        action,
        waited_ms: u64::try_from(waited.as_millis()).unwrap_or(u64::MAX),
    }
}
