//! A bus that can be taken away.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bus::{Bus, BusConfig, BusError, BusLayer, MemoryBus, Message, Requests};
use tokio::sync::watch;

/// A memory bus whose connection and retained messages can be taken away.
pub(crate) struct Fickle {
    pub(crate) inner: MemoryBus,
    pub(crate) is_connected: AtomicBool,
    pub(crate) withholds: AtomicBool,
    /// A request for retained messages waits for this.
    pub(crate) answers: watch::Sender<bool>,
    pub(crate) last_values_asked: Mutex<Vec<String>>,
    /// A request to another program panics.
    pub(crate) panics: AtomicBool,
}

impl Fickle {
    pub(crate) fn new(inner: MemoryBus) -> Arc<Self> {
        Arc::new(Self {
            inner,
            is_connected: AtomicBool::new(true),
            withholds: AtomicBool::new(false),
            answers: watch::Sender::new(true),
            last_values_asked: Mutex::default(),
            panics: AtomicBool::new(false),
        })
    }

    /// Subscribers that are behind lose messages beyond this many.
    pub(crate) fn with_queues_of(messages: usize) -> Arc<Self> {
        let config = BusConfig {
            bus_buffer_messages: messages,
            ..BusConfig::default()
        };
        Self::new(MemoryBus::new(&config, &service::streams()).unwrap())
    }
}

#[async_trait]
impl BusLayer for Fickle {
    fn inner(&self) -> &dyn Bus {
        &self.inner
    }

    async fn last_values(&self, pattern: &str) -> Result<Vec<Message>, BusError> {
        self.last_values_asked
            .lock()
            .unwrap()
            .push(pattern.to_owned());
        if self.withholds.load(Ordering::Acquire) {
            return Err(BusError::Disconnected);
        }
        let read = self.inner.last_values(pattern).await;
        let mut answers = self.answers.subscribe();
        let _ = answers.wait_for(|answers| *answers).await;
        read
    }

    fn requests(&self) -> &dyn Requests {
        assert!(!self.panics.load(Ordering::Acquire), "for this test");
        self.inner.requests()
    }

    fn is_connected(&self) -> bool {
        self.is_connected.load(Ordering::Acquire)
    }
}
