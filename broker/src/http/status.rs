//! How the server is: `/health`, `/api/v1/status`, `/api/v1/nats/…`.

use std::sync::atomic::Ordering;

use axum::Json;
use axum::extract::Query;
use axum::extract::State;
use axum::extract::rejection::QueryRejection;
use axum::http::StatusCode;
use axum::http::header::CACHE_CONTROL;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::body::DryRun;
use super::error::ApiError;
use super::state::Api;
use crate::clock;
use crate::events::SERVICE;
use crate::nats_process::ServerPhase;
use crate::snapshot::Snapshot;

fn fresh(body: Value) -> Response {
    ([(CACHE_CONTROL, "no-store")], Json(body)).into_response()
}

/// 200 if messages can be published and stored, else 503 with what is wrong.
pub(crate) async fn health(State(api): State<Api>) -> Response {
    let snapshot = api.snapshots.get().await;
    let problems = crate::health::problems(&api.config, &snapshot);
    let status = match problems.is_empty() {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    let body = json!({
        "status": if problems.is_empty() { "healthy" } else { "unhealthy" },
        "service": SERVICE,
        "timestamp": clock::now_text(),
        "uptime_seconds": api.started.elapsed().as_secs(),
        "problems": problems,
    });
    (status, fresh(body)).into_response()
}

pub(crate) async fn status(State(api): State<Api>) -> Response {
    let snapshot = api.snapshots.get().await;
    let (streams, reason) = match &snapshot.streams {
        Ok(streams) => (json!(streams), Value::Null),
        Err(error) => (json!([]), json!(error.to_string())),
    };
    let problems = crate::health::problems(&api.config, &snapshot);
    fresh(json!({
        "service": SERVICE,
        "timestamp": clock::now_text(),
        "uptime_seconds": api.started.elapsed().as_secs(),
        "nats_server": {
            "status": server_status(&api, &snapshot),
            "server_info": server_info(&api, &snapshot),
        },
        "jetstream_streams": streams,
        "jetstream_error": reason,
        "streams_left_off": snapshot.streams_left_off,
        "message_stats": {
            "published": snapshot.published,
            "consumed": snapshot.consumed,
            "errors": api.failed.load(Ordering::Relaxed),
        },
        "problems": problems,
    }))
}

pub(crate) async fn nats_info(State(api): State<Api>) -> Response {
    let snapshot = api.snapshots.get().await;
    let nats = &api.config.nats;
    let mut info = json!({
        "status": server_status(&api, &snapshot),
        "pid": null,
        "ports": { "nats": nats.nats_port, "cluster": nats.cluster_port, "http": nats.http_port },
        "server_info": server_info(&api, &snapshot),
        "supervised": api.supervised.is_some(),
    });
    if let Some(supervised) = &api.supervised {
        let state = supervised.state.borrow().clone();
        info["pid"] = json!(state.process_id);
        info["adopted"] = json!(state.is_adopted);
        info["restarts"] = json!(state.restarts);
        info["last_end"] = json!(state.last_end);
        info["config_is_old"] = json!(state.is_config_old);
    }
    fresh(info)
}

fn server_status(api: &Api, snapshot: &Snapshot) -> &'static str {
    let phase = api
        .supervised
        .as_ref()
        .map(|supervised| supervised.state.borrow().phase);
    match phase {
        Some(ServerPhase::Running) | None if snapshot.is_connected => "running",
        Some(ServerPhase::Running) | None => "unreachable",
        Some(phase) => phase.as_str(),
    }
}

/// The figures of the monitoring page; without it, what the server says to each client.
fn server_info(api: &Api, snapshot: &Snapshot) -> Value {
    let Some(figures) = &snapshot.figures else {
        if !snapshot.is_connected {
            return Value::Null;
        }
        let info = api.jetstream.server_info();
        return json!({
            "server_id": info.server_id, "server_name": info.server_name, "version": info.version,
            "go": info.go, "host": info.host, "port": info.port,
        });
    };
    let mut info = json!({});
    for field in [
        "server_id",
        "server_name",
        "version",
        "go",
        "host",
        "port",
        "max_connections",
        "connections",
        "total_connections",
        "routes",
        "remotes",
        "in_msgs",
        "out_msgs",
        "in_bytes",
        "out_bytes",
        "slow_consumers",
        "subscriptions",
        "mem",
        "cpu",
        "uptime",
        "jetstream",
    ] {
        info[field] = figures.get(field).cloned().unwrap_or(Value::Null);
    }
    info["cluster"] = figures["cluster"]
        .get("name")
        .cloned()
        .unwrap_or(Value::Null);
    info
}

/// Restarts the server that we supervise.
pub(crate) async fn restart(
    State(api): State<Api>,
    dry_run: Result<Query<DryRun>, QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(DryRun { dry_run }) = dry_run?;
    let Some(supervised) = &api.supervised else {
        return Err(ApiError::conflict(
            "not_supervised",
            "this broker did not start nats-server (auto_start_nats: false): restart it where it was started",
        ));
    };
    let snapshot = api.snapshots.get().await;
    let clients = snapshot
        .figures
        .as_ref()
        .map_or(Value::Null, |figures| figures["connections"].clone());
    let in_memory = snapshot
        .streams
        .iter()
        .flatten()
        .filter(|stream| stream["storage"] == "memory");
    let lost: Vec<&Value> = in_memory.map(|stream| &stream["name"]).collect();
    let body = json!({
        "success": true,
        "dry_run": dry_run,
        // Connections end, and streams in memory are empty afterwards.
        "disconnects": clients,
        "loses_streams": lost,
    });
    if !dry_run {
        supervised.restart();
        api.snapshots.forget().await;
    }
    Ok((StatusCode::ACCEPTED, fresh(body)).into_response())
}
