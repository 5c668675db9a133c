//! The admin listener: metrics and health, for operators and load balancers only.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::IntoResponse;
use axum::routing::get;
use clap::Args;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::{MetricsHandle, Readiness, Shutdown};

/// How long a scrape in progress may take once the admin listener is told to end.
const STOP_DEADLINE: Duration = Duration::from_secs(1);

/// Where the admin pages are served.
///
/// A program sets its own default port and environment name with
/// `#[command(mut_arg("admin_listen", |arg| arg.default_value("127.0.0.1:9110").env("...")))]`.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct AdminConfig {
    /// Address of /metrics, /healthz and /readyz; keep it off the public network
    #[arg(
        long,
        env = "KLINECAST_ADMIN_LISTEN",
        default_value = "127.0.0.1:9100",
        value_name = "ADDR"
    )]
    pub admin_listen: SocketAddr,
}

impl Default for AdminConfig {
    fn default() -> AdminConfig {
        AdminConfig {
            admin_listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 9100)),
        }
    }
}

/// The admin pages: `/metrics` (Prometheus text), `/healthz` (200 `ok` while the process lives) and
/// `/readyz` (200 `ready`, or 503 with the unmet conditions, one a line as `name: why`).
pub fn admin_router(metrics: MetricsHandle, readiness: Readiness) -> Router {
    let metrics_page = Router::new()
        .route("/metrics", get(serve_metrics))
        .with_state(metrics);
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

/// Serves `router` on `listener` until [`AdminServer::join`]; so `/readyz` says "draining" while the
/// program drains. Should nobody join it, it ends when the drain deadline has passed.
pub fn serve_admin(listener: TcpListener, router: Router, shutdown: Shutdown) -> AdminServer {
    let stop = CancellationToken::new();
    let task = tokio::spawn(serve(listener, router, shutdown, stop.clone()));
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

async fn serve(listener: TcpListener, router: Router, shutdown: Shutdown, stop: CancellationToken) {
    if let Ok(address) = listener.local_addr() {
        info!(address = %address, "admin pages served");
    }
    let graceful_stop = stop.clone();
    let server = axum::serve(listener, router)
        .with_graceful_shutdown(async move { graceful_stop.cancelled().await });
    let ended = async {
        tokio::select! {
            () = stop.cancelled() => {}
            () = async {
                shutdown.triggered().await;
                tokio::time::sleep(shutdown.drain_deadline()).await;
            } => stop.cancel(),
        }
        tokio::time::sleep(STOP_DEADLINE).await;
    };
    tokio::select! {
        result = server => {
            if let Err(error) = result {
                error!(error = %error, "admin listener failed");
            }
        }
        () = ended => {}
    }
}

async fn serve_metrics(State(metrics): State<MetricsHandle>) -> impl IntoResponse {
    let content_type = "text/plain; version=0.0.4; charset=utf-8";
    ([(CONTENT_TYPE, content_type)], metrics.render())
}

async fn serve_readiness(State(readiness): State<Readiness>) -> impl IntoResponse {
    let unmet = readiness.unmet();
    let headers = [(CACHE_CONTROL, "no-store")];
    if unmet.is_empty() {
        return (StatusCode::OK, headers, "ready\n".to_owned());
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
