//! The admin listener: metrics and health, for operators and load balancers only.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ORIGIN};
use axum::http::{Method, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use clap::Args;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::http::{HttpBounds, serve_http};
use crate::{MetricsHandle, Readiness, Shutdown};

/// The header of requests that change something.
const ADMIN_HEADER: &str = "x-klinecast-admin";
const NO_ADMIN_HEADER: &str = "a request that changes something needs the header X-Klinecast-Admin: 1, and must not come from a web page\n";

/// Address and limits of the admin pages.
///
/// A program sets its own default port and environment name with
/// `#[command(mut_arg("admin_listen", |arg| arg.default_value("127.0.0.1:9110").env("...")))]`.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct AdminConfig {
    /// Address of /metrics, /healthz and /readyz; keep it off public networks
    #[arg(
        long,
        env = "KLINECAST_ADMIN_LISTEN",
        default_value = "127.0.0.1:9100",
        value_name = "ADDR"
    )]
    pub admin_listen: SocketAddr,

    /// Time within which a request's headers must arrive, and then its body; and longest pause between two requests of a
    /// connection, ms
    #[arg(long, env = "KLINECAST_ADMIN_IDLE_MS", default_value_t = AdminConfig::default().admin_idle_ms)]
    pub admin_idle_ms: u64,

    /// Most connections to the admin pages at once; more wait in the backlog
    #[arg(long, env = "KLINECAST_ADMIN_CONNECTIONS_MAX", default_value_t = AdminConfig::default().admin_connections_max)]
    pub admin_connections_max: usize,
}

impl Default for AdminConfig {
    fn default() -> AdminConfig {
        AdminConfig {
            admin_listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 9100)),
            admin_idle_ms: 60_000,
            admin_connections_max: 64,
        }
    }
}

/// The admin pages: `/metrics` (Prometheus text), `/healthz` (200 `ok` while the process lives) and
/// `/readyz` (200 `ready`, with a line for each note, or 503 with the unmet conditions, one a line as `name: why`).
pub fn admin_router(metrics: MetricsHandle, readiness: Readiness) -> Router {
    let metrics_page = Router::new()
        .route("/metrics", get(serve_metrics))
        .with_state((metrics, readiness.clone()));
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(serve_readiness))
        .with_state(readiness)
        .merge(metrics_page)
}

/// The running admin listener.
#[derive(Debug)]
pub struct AdminServer {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// Serves `router` on `listener`, within the bounds of `config`, until [`AdminServer::join`]. So
/// `/readyz` says "draining" while the program drains. If nobody joins it, it ends when the drain
/// deadline has passed.
///
/// A request with another method than GET and HEAD needs the header `X-Klinecast-Admin`, and is
/// refused with an `Origin`: a web page cannot send it.
pub fn serve_admin(
    listener: TcpListener,
    router: Router,
    config: &AdminConfig,
    shutdown: Shutdown,
) -> AdminServer {
    let stop = CancellationToken::new();
    let router = router.layer(from_fn(refuse_other_sites));
    let task = tokio::spawn(serve(
        listener,
        router,
        config.clone(),
        shutdown,
        stop.clone(),
    ));
    AdminServer { stop, task }
}

impl AdminServer {
    /// Ends the admin listener: call it last, once the program has drained. Takes at most a second.
    pub async fn join(self) {
        self.stop.cancel();
        if let Err(error) = self.task.await {
            error!(error = %error, "admin listener failed");
        }
    }
}

async fn serve(
    listener: TcpListener,
    router: Router,
    config: AdminConfig,
    shutdown: Shutdown,
    stop: CancellationToken,
) {
    if let Ok(address) = listener.local_addr() {
        info!(address = %address, "admin pages served");
    }
    let bounds = HttpBounds {
        connections_max: config.admin_connections_max,
        idle: Duration::from_millis(config.admin_idle_ms),
    };
    let serving = serve_http("admin", listener, router, bounds, stop.clone());
    let mut serving = std::pin::pin!(serving);
    tokio::select! {
        () = serving.as_mut() => return,
        () = async {
            shutdown.triggered().await;
            tokio::time::sleep(shutdown.drain_deadline()).await;
        } => {}
    }
    stop.cancel();
    serving.await;
}

/// Refuses requests that a web page in an operator's browser could send: a browser adds no header
/// of ours to a request for another site, and names the page's site in each request that changes
/// something.
async fn refuse_other_sites(request: Request, next: Next) -> Response {
    let headers = request.headers();
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    if is_read || (headers.contains_key(ADMIN_HEADER) && !headers.contains_key(ORIGIN)) {
        return next.run(request).await;
    }
    (StatusCode::FORBIDDEN, NO_ADMIN_HEADER).into_response()
}

async fn serve_metrics(
    State((metrics, readiness)): State<(MetricsHandle, Readiness)>,
) -> impl IntoResponse {
    let is_ready = readiness.unmet().is_empty();
    metrics::gauge!("service_ready").set(f64::from(u8::from(is_ready)));
    let content_type = "text/plain; version=0.0.4; charset=utf-8";
    ([(CONTENT_TYPE, content_type)], metrics.render())
}

async fn serve_readiness(State(readiness): State<Readiness>) -> impl IntoResponse {
    let unmet = readiness.unmet();
    let headers = [(CACHE_CONTROL, "no-store")];
    if unmet.is_empty() {
        let mut body = "ready\n".to_owned();
        for note in readiness.notes() {
            body.push_str(&note);
            body.push('\n');
        }
        return (StatusCode::OK, headers, body);
    }
    let mut body = String::new();
    for condition in unmet {
        body.push_str(condition.name);
        body.push_str(": ");
        body.push_str(&condition.why);
        body.push('\n');
    }
    (StatusCode::SERVICE_UNAVAILABLE, headers, body)
}
