//! A task of the gateway that ends when it should not ends the gateway.

use std::sync::Arc;

use async_trait::async_trait;
use bus::{Bus, BusError, BusLayer, Headers, MemoryBus, Subscription};
use bytes::Bytes;
use tokio::time::timeout;
use ws_gateway::{Config, Error};

use crate::support::{DEADLINE, start_on};

/// A memory bus that panics in one of its calls.
struct Treacherous {
    inner: MemoryBus,
    call: &'static str,
}

impl Treacherous {
    fn pass(&self, call: &str) {
        assert!(!call.starts_with(self.call), "{call} panics on purpose");
    }
}

#[async_trait]
impl BusLayer for Treacherous {
    fn inner(&self) -> &dyn Bus {
        &self.inner
    }

    async fn publish(&self, subject: &str, payload: Bytes) -> Result<(), BusError> {
        self.pass(&format!("publish {subject}"));
        self.inner.publish(subject, payload).await
    }

    async fn publish_with(
        &self,
        subject: &str,
        headers: Headers,
        payload: Bytes,
    ) -> Result<(), BusError> {
        self.pass(&format!("publish {subject}"));
        self.inner.publish_with(subject, headers, payload).await
    }

    async fn subscribe(&self, pattern: &str) -> Result<Subscription, BusError> {
        self.pass(&format!("subscribe {pattern}"));
        self.inner.subscribe(pattern).await
    }

    fn is_connected(&self) -> bool {
        self.pass("is_connected");
        self.inner.is_connected()
    }
}

#[tokio::test]
async fn a_task_that_panics_ends_the_gateway_with_an_error_that_names_it() {
    for (call, expected) in [
        ("subscribe kline", "ingest"),
        ("is_connected", "watch"),
        ("publish fleet.report", "rebalancer"),
    ] {
        let bus = Treacherous {
            inner: MemoryBus::with_streams(&service::streams()),
            call,
        };
        let gateway = start_on(Config::default(), Arc::new(bus)).await;
        let ended = timeout(DEADLINE, gateway.task).await;
        let ended = ended.unwrap_or_else(|_| panic!("{expected} is not missed"));
        match ended.expect("the gateway itself does not panic") {
            Err(Error::Task { task, why }) => {
                assert_eq!(task, expected);
                assert!(why.contains("on purpose"), "{why}");
            }
            other => panic!("{other:?}"),
        }
    }
}
