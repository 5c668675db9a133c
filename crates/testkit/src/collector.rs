//! A collector of traces: OTLP over HTTP, as protobuf.

use std::collections::BTreeMap;
use std::future::ready;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::http::StatusCode;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode as SpanStatus;
use prost::Message;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::ports;
use crate::wait::until;

/// See the module.
#[derive(Debug)]
pub struct Collector {
    address: SocketAddr,
    spans: Arc<Mutex<Vec<SpanSeen>>>,
    task: JoinHandle<()>,
}

/// A span that was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpanSeen {
    /// The program that told it.
    pub service: String,
    /// Its name.
    pub name: String,
    /// Its trace: hexadecimal digits, as all ids here.
    pub trace_id: String,
    /// Its id.
    pub span_id: String,
    /// Its parent's id; empty if it has none.
    pub parent_id: String,
    /// The spans that it links to.
    pub links: Vec<String>,
    /// What it says; numbers as text.
    pub attributes: BTreeMap<String, String>,
    /// From when to when, unix ns.
    pub time_ns: (u64, u64),
    /// Whether it failed.
    pub has_failed: bool,
}

impl Collector {
    /// Starts one on a free port.
    ///
    /// # Panics
    /// If its port cannot be listened on.
    pub async fn start() -> Self {
        let address = ports::reserve_address();
        let listener = TcpListener::bind(address).await;
        let listener = listener.expect("the port is reserved");
        let spans = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&spans);
        let take = move |body: Bytes| {
            let status = match ExportTraceServiceRequest::decode(body) {
                Ok(request) => {
                    let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                    kept.extend(seen(request));
                    StatusCode::OK
                }
                Err(_) => StatusCode::BAD_REQUEST,
            };
            ready(status)
        };
        let routes = Router::new().route("/v1/traces", post(take));
        let task = tokio::spawn(async move {
            let _ = axum::serve(listener, routes).await;
        });
        Self {
            address,
            spans,
            task,
        }
    }

    /// For `--otlp-endpoint`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All spans so far.
    #[must_use]
    pub fn spans(&self) -> Vec<SpanSeen> {
        let spans = self.spans.lock().unwrap_or_else(PoisonError::into_inner);
        spans.clone()
    }

    /// Waits until `look` finds something in the spans.
    ///
    /// # Panics
    /// After [`crate::wait::DEADLINE`].
    pub async fn until<T>(&self, what: &str, look: impl Fn(&[SpanSeen]) -> Option<T>) -> T {
        until(what, async || {
            let spans = self.spans();
            look(&spans).ok_or_else(|| {
                let names = spans.iter().map(|span| (&span.service, &span.name));
                let mut counts = BTreeMap::new();
                names.for_each(|name| *counts.entry(name).or_insert(0_usize) += 1);
                format!("{counts:?}")
            })
        })
        .await
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn seen(request: ExportTraceServiceRequest) -> Vec<SpanSeen> {
    let mut spans = Vec::new();
    for part in request.resource_spans {
        let attributes = part.resource.unwrap_or_default().attributes;
        let service = texts(attributes).remove("service.name").unwrap_or_default();
        let of_scopes = part.scope_spans.into_iter();
        spans.extend(of_scopes.flat_map(|scope| scope.spans).map(|span| {
            let service = service.clone();
            span_seen(service, span)
        }));
    }
    spans
}

fn span_seen(service: String, span: Span) -> SpanSeen {
    let status = span.status.unwrap_or_default();
    SpanSeen {
        service,
        name: span.name,
        trace_id: hex(&span.trace_id),
        span_id: hex(&span.span_id),
        parent_id: hex(&span.parent_span_id),
        links: span.links.iter().map(|link| hex(&link.span_id)).collect(),
        attributes: texts(span.attributes),
        time_ns: (span.start_time_unix_nano, span.end_time_unix_nano),
        has_failed: status.code == SpanStatus::Error as i32,
    }
}

fn texts(attributes: Vec<KeyValue>) -> BTreeMap<String, String> {
    let text = |attribute: KeyValue| {
        let text = match attribute.value?.value? {
            Value::StringValue(text) => text,
            Value::IntValue(number) => number.to_string(),
            other => format!("{other:?}"),
        };
        Some((attribute.key, text))
    };
    attributes.into_iter().filter_map(text).collect()
}

fn hex(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}
