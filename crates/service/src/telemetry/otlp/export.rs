//! Spans on their way to the collector.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bus::LogLimit;
use metrics::{Counter, counter};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans};
use prost::Message;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, Url};
use tokio::sync::mpsc::Receiver;
use tokio::task::JoinHandle;
use tokio::time::{sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::config::TraceConfig;
use super::span::{Span, attribute};
use super::tracer::{self, Tracer};

/// Most spans of a request.
const BATCH_MAX: usize = 512;
/// How long the first span of a request waits for others.
const LINGER: Duration = Duration::from_secs(1);
/// How long spans may take to reach the collector once the program ends.
const END_DEADLINE: Duration = Duration::from_secs(1);
/// Most bytes of an answer that are read.
const ANSWER_BYTES_MAX: usize = 64 * 1_024;
/// Time between two log lines about a collector that takes nothing.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// Sends the spans of the process; without it they are dropped.
#[derive(Debug)]
#[must_use = "the spans that wait are sent by TraceExport::end"]
pub struct TraceExport {
    stop: CancellationToken,
    task: JoinHandle<()>,
    /// Spans that the task has lost when it was ended.
    lost: Arc<AtomicU64>,
}

impl TraceExport {
    /// Starts to trace, if the flags ask for it. Only the first call of a process has an effect.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn start(config: &TraceConfig) -> Option<TraceExport> {
        let endpoint = config.otlp_endpoint.as_ref()?;
        let spans_max = usize::try_from(config.otlp_spans_max).unwrap_or(usize::MAX);
        let (tracer, spans) = Tracer::new(config.trace_one_in, spans_max);
        if !tracer::install(tracer) {
            return None;
        }
        info!(%endpoint, one_in = config.trace_one_in, "bars are traced");
        let exporter = Exporter {
            collector: Collector::new(endpoint.traces(), config.timeout()),
            log: LogLimit::new(LOG_INTERVAL),
            sent: counter!("service_spans_sent_total"),
            failed: tracer::dropped("not_sent"),
            refused: tracer::dropped("refused"),
        };
        Some(TraceExport::of(exporter, spans, tracer::dropped("end")))
    }

    fn of(exporter: Exporter, spans: Receiver<Span>, dropped: Counter) -> TraceExport {
        let (stop, lost) = (CancellationToken::new(), Arc::default());
        let unsent = Unsent {
            spans,
            batch: Vec::new(),
            sending: 0,
            dropped,
            lost: Arc::clone(&lost),
        };
        let task = tokio::spawn(exporter.run(unsent, stop.clone()));
        TraceExport { stop, task, lost }
    }

    /// Sends the spans that wait, for no longer than a second.
    pub async fn end(mut self) {
        self.stop.cancel();
        if timeout(END_DEADLINE, &mut self.task).await.is_err() {
            self.task.abort();
            // Then it has counted what it still had.
            let _ = self.task.await;
            let dropped = self.lost.load(Ordering::SeqCst);
            warn!(
                dropped,
                "the last spans did not reach the collector in time and are dropped"
            );
        }
    }
}

/// The spans that the collector does not have yet. Those that are left when it goes are counted.
struct Unsent {
    spans: Receiver<Span>,
    batch: Vec<Span>,
    /// Spans of the request that is on its way.
    sending: u64,
    dropped: Counter,
    lost: Arc<AtomicU64>,
}

impl Drop for Unsent {
    fn drop(&mut self) {
        self.spans.close();
        let mut left = self.sending.saturating_add(self.batch.len() as u64);
        while self.spans.try_recv().is_ok() {
            left = left.saturating_add(1);
        }
        self.dropped.increment(left);
        self.lost.fetch_add(left, Ordering::SeqCst);
    }
}

struct Exporter {
    collector: Collector,
    log: LogLimit,
    sent: Counter,
    failed: Counter,
    refused: Counter,
}

impl Exporter {
    /// Sends spans until `stop`, and then those that wait.
    async fn run(self, mut unsent: Unsent, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let mut send_at = None;
            while unsent.batch.len() < BATCH_MAX {
                let room = BATCH_MAX - unsent.batch.len();
                let linger = async {
                    match send_at {
                        Some(at) => sleep_until(at).await,
                        None => pending().await,
                    }
                };
                tokio::select! {
                    () = stop.cancelled() => break,
                    () = linger => break,
                    // No span at all comes once the tracer is gone.
                    count = unsent.spans.recv_many(&mut unsent.batch, room) => if count == 0 { break },
                }
                send_at = send_at.or_else(|| Some((Instant::now() + LINGER).into()));
            }
            if unsent.batch.is_empty() {
                break;
            }
            self.send(&mut unsent).await;
        }
        unsent.spans.close();
        while unsent.spans.recv_many(&mut unsent.batch, BATCH_MAX).await > 0 {
            self.send(&mut unsent).await;
        }
    }

    /// Sends the batch. It is unsent until the collector has answered.
    async fn send(&self, unsent: &mut Unsent) {
        let batch = std::mem::take(&mut unsent.batch);
        let count = batch.len() as u64;
        unsent.sending = count;
        let outcome = self.collector.post(batch).await;
        unsent.sending = 0;
        match outcome {
            Ok(refused) => {
                let refused = refused.min(count);
                self.refused.increment(refused);
                self.sent.increment(count - refused);
                if refused > 0 {
                    self.complain(refused, "it refused them as part of a request");
                }
            }
            Err(error) => {
                self.failed.increment(count);
                self.complain(count, &error);
            }
        }
    }

    fn complain(&self, spans: u64, error: &str) {
        if let Some(dropped) = self.log.pass(Instant::now(), spans) {
            warn!(
                dropped,
                error,
                "the collector takes no spans: check it and --otlp-endpoint; bars are not affected"
            );
        }
    }
}

/// The collector, over HTTP.
struct Collector {
    client: Client,
    traces: Url,
    resource: Resource,
}

impl Collector {
    fn new(traces: Url, timeout: Duration) -> Collector {
        Collector {
            client: Client::builder()
                .timeout(timeout)
                .user_agent(concat!("klinecast/", env!("CARGO_PKG_VERSION")))
                .redirect(reqwest::redirect::Policy::none())
                // A proxy would see the password of an http address.
                .no_proxy()
                .build()
                .expect("the TLS provider is built in"),
            traces,
            resource: resource(),
        }
    }

    /// Posts spans. Gives how many the collector did not take, or why it took none; the text has no
    /// address, which may hold a password.
    async fn post(&self, batch: Vec<Span>) -> Result<u64, String> {
        let request = self.request(batch).encode_to_vec();
        let post = self.client.post(self.traces.clone()).body(request);
        let post = post.header(CONTENT_TYPE, "application/x-protobuf").send();
        let mut answer = post.await.map_err(cause)?;
        let status = answer.status();
        if !status.is_success() {
            return Err(format!("it answered with {status}"));
        }
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(cause)? {
            if body.len().saturating_add(chunk.len()) > ANSWER_BYTES_MAX {
                // It took them: what it has to say about that is not for us.
                return Ok(0);
            }
            body.extend_from_slice(&chunk);
        }
        let answer = ExportTraceServiceResponse::decode(&*body).unwrap_or_default();
        let refused = answer.partial_success.map_or(0, |part| part.rejected_spans);
        Ok(u64::try_from(refused).unwrap_or(0))
    }

    fn request(&self, batch: Vec<Span>) -> ExportTraceServiceRequest {
        let scope = InstrumentationScope {
            name: "klinecast".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..InstrumentationScope::default()
        };
        let spans = batch.into_iter().map(Span::into_proto).collect();
        ExportTraceServiceRequest {
            resource_spans: vec![ResourceSpans {
                resource: Some(self.resource.clone()),
                scope_spans: vec![ScopeSpans {
                    scope: Some(scope),
                    spans,
                    ..ScopeSpans::default()
                }],
                ..ResourceSpans::default()
            }],
        }
    }
}

/// The innermost cause of an error: the outer ones name the address.
fn cause(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(inner) = source {
        text = inner.to_string();
        source = inner.source();
    }
    text
}

/// What the spans of this process have in common.
fn resource() -> Resource {
    let program = std::env::current_exe().ok();
    let program = program.as_deref().and_then(|path| path.file_stem());
    let program = program.map_or("klinecast".into(), |name| name.to_string_lossy());
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let instance = format!("{}:{}", host.trim(), std::process::id());
    let text = |key, value: String| attribute(key, Value::StringValue(value));
    Resource {
        attributes: vec![
            text("service.name", program.into_owned()),
            text("service.namespace", "klinecast".to_owned()),
            text("service.instance.id", instance),
            text("service.version", env!("CARGO_PKG_VERSION").to_owned()),
        ],
        ..Resource::default()
    }
}

#[cfg(test)]
mod tests {
    use testkit::ports;
    use testkit::wait::DEADLINE;
    use tokio::net::TcpListener;

    use super::*;
    use crate::TraceContext;

    #[derive(Default)]
    struct Counts {
        sent: Arc<AtomicU64>,
        failed: Arc<AtomicU64>,
        refused: Arc<AtomicU64>,
        end: Arc<AtomicU64>,
    }

    impl Counts {
        fn exporter(&self, endpoint: &str, timeout: Duration) -> Exporter {
            let endpoint: super::super::config::Endpoint = endpoint.parse().expect("an address");
            Exporter {
                collector: Collector::new(endpoint.traces(), timeout),
                log: LogLimit::new(LOG_INTERVAL),
                sent: Counter::from_arc(Arc::clone(&self.sent)),
                failed: Counter::from_arc(Arc::clone(&self.failed)),
                refused: Counter::from_arc(Arc::clone(&self.refused)),
            }
        }

        fn export(&self, exporter: Exporter, spans: Receiver<Span>) -> TraceExport {
            TraceExport::of(exporter, spans, Counter::from_arc(Arc::clone(&self.end)))
        }

        /// Sent, failed, refused, and lost at the end.
        fn all(&self) -> (u64, u64, u64, u64) {
            let counts = [&self.sent, &self.failed, &self.refused, &self.end];
            let [sent, failed, refused, end] = counts.map(|count| count.load(Ordering::SeqCst));
            (sent, failed, refused, end)
        }
    }

    fn record(tracer: &Tracer, spans: usize) {
        for _ in 0..spans {
            tracer.record(Span::new("bar", TraceContext::begin(), 1, 2));
        }
    }

    #[tokio::test]
    async fn spans_reach_the_collector_with_the_programs_name_and_the_last_ones_at_the_end() {
        let collector = testkit::collector::Collector::start().await;
        let counts = Counts::default();
        let (tracer, spans) = Tracer::new(1, 2_000);
        let exporter = counts.exporter(&collector.endpoint(), DEADLINE);
        let TraceExport { stop, task, .. } = counts.export(exporter, spans);
        record(&tracer, 700);
        let seen = collector
            .until("more spans than one request has", |spans| {
                (spans.len() == 700).then(|| spans[0].clone())
            })
            .await;
        let program = std::env::current_exe().expect("this test");
        let program = program.file_stem().expect("its name").to_string_lossy();
        assert_eq!(seen.service, program);
        assert_eq!((seen.name.as_str(), seen.time_ns), ("bar", (1_000, 2_000)));
        stop.cancel();
        record(&tracer, 1);
        timeout(DEADLINE, task)
            .await
            .expect("it ends")
            .expect("it does not panic");
        let sent = collector.spans().len() as u64;
        assert_eq!(counts.all(), (sent, 0, 0, 0));
    }

    /// Nobody waits for it: what finds no room is dropped at once, and the end is bounded.
    #[tokio::test]
    async fn a_collector_that_is_down_hangs_or_refuses_costs_only_its_spans() {
        let silent = TcpListener::bind(ports::reserve_address()).await;
        let silent = silent.expect("the port is reserved");
        let hangs = format!("http://{}", silent.local_addr().expect("bound"));
        let down = format!("http://{}", ports::reserve_address());
        let collector = testkit::collector::Collector::start().await;
        let refuses = format!("{}/elsewhere", collector.endpoint());
        for endpoint in [down, hangs, refuses] {
            let counts = Counts::default();
            let (tracer, spans) = Tracer::new(1, 8);
            // More than there is room for; with a queue that waits this would never end.
            record(&tracer, 100);
            let exporter = counts.exporter(&endpoint, Duration::from_millis(100));
            let TraceExport { stop, task, .. } = counts.export(exporter, spans);
            stop.cancel();
            timeout(DEADLINE, task)
                .await
                .expect("it ends")
                .expect("it does not panic");
            assert_eq!(counts.all(), (0, 8, 0, 0), "{endpoint}");
        }
    }

    #[tokio::test]
    async fn the_end_of_a_program_does_not_wait_for_a_collector_that_hangs_and_counts_its_spans() {
        let silent = TcpListener::bind(ports::reserve_address()).await;
        let silent = silent.expect("the port is reserved");
        let hangs = format!("http://{}", silent.local_addr().expect("bound"));
        // Less than a request has, and more: then some of them still wait.
        for spans_max in [8, 2 * BATCH_MAX] {
            let counts = Counts::default();
            let (tracer, spans) = Tracer::new(1, spans_max);
            record(&tracer, spans_max);
            // Longer than the test may take.
            let exporter = counts.exporter(&hangs, DEADLINE * 100);
            let export = counts.export(exporter, spans);
            timeout(DEADLINE, export.end()).await.expect("it ends");
            assert_eq!(counts.all(), (0, 0, 0, spans_max as u64));
        }
    }

    #[tokio::test]
    async fn an_error_about_the_collector_never_tells_its_password() {
        let endpoint = format!("http://name:secret@{}", ports::reserve_address());
        let exporter = Counts::default().exporter(&endpoint, DEADLINE);
        let span = Span::new("bar", TraceContext::begin(), 1, 2);
        let error = exporter.collector.post(vec![span]).await;
        let error = error.expect_err("nobody listens");
        assert!(!error.contains("secret") && !error.is_empty(), "{error}");
    }
}
