//! Buses to test, and waiting for what they give.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bus::{Bus, BusConfig, Delivery, MemoryBus, Message, StreamSpec, Subscription};
use bytes::Bytes;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use testkit::nats::{NatsServer, NatsServerOptions};

/// No wait of a test is longer; far above what any takes.
const DEADLINE: Duration = Duration::from_secs(30);

/// What the buses of the tests keep.
pub(crate) fn streams() -> Vec<StreamSpec> {
    vec![
        StreamSpec::newest("kline", 1, false),
        StreamSpec::newest("closed", 32, true),
        StreamSpec::newest("system", 1, false),
        StreamSpec::newest("state", 1, true),
    ]
}

/// Runs each test on the memory bus and on a server of its own.
macro_rules! on_both {
    ($($test:ident,)*) => {
        mod memory {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                if let Some(setup) = crate::setup::Setup::memory() {
                    super::$test(setup).await;
                }
            })*
        }
        mod nats {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                if let Some(setup) = crate::setup::Setup::nats() {
                    super::$test(setup).await;
                }
            })*
        }
    };
}
pub(crate) use on_both;

/// Where a test of the common suite gets its buses from.
pub(crate) enum Setup {
    Memory,
    Nats(Box<NatsServer>),
}

impl Setup {
    pub(crate) fn memory() -> Option<Setup> {
        Some(Setup::Memory)
    }

    pub(crate) fn nats() -> Option<Setup> {
        server(NatsServerOptions::default()).map(|server| Setup::Nats(Box::new(server)))
    }

    /// A bus of its own; on NATS all of a setup share the server.
    pub(crate) async fn bus_with(&self, config: BusConfig) -> Arc<dyn Bus> {
        match self {
            Setup::Memory => {
                Arc::new(MemoryBus::new(&config, &streams()).expect("the configuration is valid"))
            }
            Setup::Nats(server) => connect(server, config).await,
        }
    }

    pub(crate) async fn bus(&self) -> Arc<dyn Bus> {
        self.bus_with(BusConfig::default()).await
    }

    /// Two buses through which messages travel: one and the same in memory.
    pub(crate) async fn pair(&self) -> (Arc<dyn Bus>, Arc<dyn Bus>) {
        let first = self.bus().await;
        match self {
            Setup::Memory => (Arc::clone(&first), first),
            Setup::Nats(_) => (first, self.bus().await),
        }
    }
}

/// A nats-server, or `None` with a printed line if there is no binary.
pub(crate) fn server(options: NatsServerOptions) -> Option<NatsServer> {
    match NatsServer::start_with(options) {
        Ok(server) => Some(server),
        Err(testkit::nats::NatsServerError::NotFound)
            if std::env::var_os("KLINECAST_REQUIRE_NATS").is_none() =>
        {
            println!("skipped: {}", testkit::nats::NatsServerError::NotFound);
            None
        }
        Err(error) => panic!("{error}"),
    }
}

pub(crate) async fn connect(server: &NatsServer, mut config: BusConfig) -> Arc<dyn Bus> {
    config.bus = server.url().parse().expect("the url is valid");
    bus::connect(&config, &streams())
        .await
        .expect("the server runs")
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "a test passes a number or a text as it stands"
)]
pub(crate) fn payload(text: impl ToString) -> Bytes {
    Bytes::from(text.to_string())
}

pub(crate) fn text(message: &Message) -> String {
    String::from_utf8(message.payload.to_vec()).expect("tests send text")
}

/// Waits for `future`, at most until the deadline.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, future).await {
        Ok(output) => output,
        Err(_) => panic!("{what}: not within {DEADLINE:?}"),
    }
}

/// The next delivery.
pub(crate) async fn next(subscription: &mut Subscription) -> Option<Delivery> {
    within("a delivery", subscription.recv()).await
}

/// The next delivery, which must be a message, as `subject=payload`.
pub(crate) async fn next_message(subscription: &mut Subscription) -> String {
    match next(subscription).await {
        Some(Delivery::Message(message)) => format!("{}={}", message.subject, text(&message)),
        other => panic!("a message expected, got {other:?}"),
    }
}

/// Waits until `is_so`.
pub(crate) async fn until(what: &str, is_so: impl Fn() -> bool) {
    within(what, async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// The last values as `subject=payload`, in order of subject; per subject in the order given.
pub(crate) async fn last_values(bus: &Arc<dyn Bus>, pattern: &str) -> Vec<String> {
    let mut messages = within("last values", bus.last_values(pattern))
        .await
        .expect("the bus is open");
    // A stable sort.
    messages.sort_by(|left, right| left.subject.cmp(&right.subject));
    messages
        .iter()
        .map(|message| format!("{}={}", message.subject, text(message)))
        .collect()
}

/// The value of a metric, 0 if it has none. Tests run side by side, so only rises can be asserted.
pub(crate) fn metric(name: &str) -> f64 {
    let text = recorder().render();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|value| value.trim().parse().ok())
        .unwrap_or(0.0)
}

pub(crate) fn recorder() -> &'static PrometheusHandle {
    static RECORDER: OnceLock<PrometheusHandle> = OnceLock::new();
    RECORDER.get_or_init(|| {
        PrometheusBuilder::new()
            .install_recorder()
            .expect("nobody else installs one")
    })
}
