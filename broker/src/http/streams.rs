//! Streams and their consumers over HTTP.

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::body::{DryRun, JsonBody};
use super::error::ApiError;
use super::state::Api;
use crate::snapshot::consumer_entry;
use crate::stream_settings::{StreamSettings, check_name, check_pattern};

type Name = Result<Path<String>, PathRejection>;
type Dry = Result<Query<DryRun>, QueryRejection>;

fn checked(name: Name) -> Result<String, ApiError> {
    let Path(name) = name?;
    check_name(&name).map_err(|reason| ApiError::bad("bad_name", reason))?;
    Ok(name)
}

pub(crate) async fn list(State(api): State<Api>) -> Result<Json<Value>, ApiError> {
    let snapshot = api.snapshots.get().await;
    let streams = snapshot.streams.clone()?;
    Ok(Json(
        json!({ "streams": streams, "left_off": snapshot.streams_left_off }),
    ))
}

pub(crate) async fn one(State(api): State<Api>, name: Name) -> Result<Json<Value>, ApiError> {
    let running = api.jetstream.stream(&checked(name)?).await?;
    let mut entry = api.snapshots.stream_entry(&running);
    entry["config"] = running["config"].clone();
    Ok(Json(entry))
}

pub(crate) async fn consumers(State(api): State<Api>) -> Result<Json<Value>, ApiError> {
    let snapshot = api.snapshots.get().await;
    snapshot.streams.clone()?;
    Ok(Json(json!({
        "consumers": snapshot.consumers,
        "left_off": snapshot.consumers_left_off,
    })))
}

pub(crate) async fn consumers_of(
    State(api): State<Api>,
    name: Name,
) -> Result<Json<Value>, ApiError> {
    let name = checked(name)?;
    let list = api.jetstream.consumers(&name).await?;
    let entries = list
        .entries
        .iter()
        .map(|consumer| consumer_entry(&name, consumer));
    Ok(Json(json!({
        "consumers": entries.collect::<Vec<_>>(),
        "left_off": list.left_off,
    })))
}

pub(crate) async fn create(
    State(api): State<Api>,
    dry_run: Dry,
    JsonBody(mut body): JsonBody<Map<String, Value>>,
) -> Result<Response, ApiError> {
    let Query(DryRun { dry_run }) = dry_run?;
    let Some(Value::String(name)) = body.remove("name") else {
        return Err(ApiError::bad(
            "bad_body",
            "name: a stream needs one, such as \"ORDERS\"",
        ));
    };
    let settings: StreamSettings = serde_path_to_error::deserialize(Value::Object(body))
        .map_err(|error| ApiError::bad("bad_body", error.to_string()))?;
    let (made, others) = api.streams.creation(&name, &settings).await?;
    let conflict = match others.as_slice() {
        [] => Value::Null,
        others if others.contains(&name) => json!(format!("there is a stream {name} already")),
        others => json!(format!(
            "its subjects overlap with those of {}: a message can be in one stream only",
            others.join(", ")
        )),
    };
    if dry_run {
        return Ok(Json(json!({
            "success": conflict.is_null(),
            "dry_run": true,
            "config": made.settings.new_config(&name),
            "copies_of": made.of,
            "conflict": conflict,
        }))
        .into_response());
    }
    if let Some(reason) = conflict.as_str() {
        return Err(ApiError::conflict("conflict", reason));
    }
    let created = api.streams.create(&name, &settings).await?;
    api.snapshots.forget().await;
    let body = json!({ "success": true, "stream": api.snapshots.stream_entry(&created) });
    Ok((StatusCode::CREATED, Json(body)).into_response())
}

pub(crate) async fn update(
    State(api): State<Api>,
    name: Name,
    dry_run: Dry,
    JsonBody(settings): JsonBody<StreamSettings>,
) -> Result<Json<Value>, ApiError> {
    let (name, Query(DryRun { dry_run })) = (checked(name)?, dry_run?);
    let planned = api.streams.update_plan(&name, &settings).await?;
    if !dry_run {
        api.streams.update(&name, &settings).await?;
        api.snapshots.forget().await;
    }
    Ok(Json(
        json!({ "success": true, "dry_run": dry_run, "change": planned }),
    ))
}

pub(crate) async fn delete(
    State(api): State<Api>,
    name: Name,
    dry_run: Dry,
) -> Result<Json<Value>, ApiError> {
    let (name, Query(DryRun { dry_run })) = (checked(name)?, dry_run?);
    let loses = api.streams.deletion(&name).await?;
    if !dry_run {
        api.streams.delete(&name).await?;
        api.snapshots.forget().await;
    }
    let is_wanted = api.config.auto_create_streams && api.streams.is_wanted(&name);
    let note = is_wanted
        .then_some("the configuration names it, so it is made again, empty, within seconds");
    Ok(Json(
        json!({ "success": true, "dry_run": dry_run, "loses": loses, "note": note }),
    ))
}

/// The messages that a purge deletes: all, those of some subjects, those below a sequence, or all
/// but the newest.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Purge {
    subject: Option<String>,
    below_seq: Option<u64>,
    keep: Option<u64>,
}

pub(crate) async fn purge(
    State(api): State<Api>,
    name: Name,
    dry_run: Dry,
    JsonBody(purge): JsonBody<Purge>,
) -> Result<Json<Value>, ApiError> {
    let (name, Query(DryRun { dry_run })) = (checked(name)?, dry_run?);
    let mut body = json!({});
    if let Some(subject) = &purge.subject {
        check_pattern(subject).map_err(|reason| ApiError::bad("bad_subject", reason))?;
        body["filter"] = json!(subject);
    }
    match (purge.below_seq, purge.keep) {
        (Some(_), Some(_)) => {
            return Err(ApiError::bad("bad_body", "set below_seq or keep, not both"));
        }
        // NATS takes 0 for no limit, and would remove everything.
        (Some(0), _) | (_, Some(0)) => {
            return Err(ApiError::bad(
                "bad_body",
                "below_seq and keep are 1 or more; leave both out to remove everything",
            ));
        }
        (Some(sequence), None) => body["seq"] = json!(sequence),
        (None, Some(keep)) => body["keep"] = json!(keep),
        (None, None) => {}
    }
    let loses = api.streams.purge_loss(&name, &body).await?;
    let mut answer = json!({ "success": true, "dry_run": dry_run, "loses": loses });
    if !dry_run {
        answer["purged"] = json!(api.streams.purge(&name, &body).await?);
        api.snapshots.forget().await;
    }
    Ok(Json(answer))
}

/// How the wanted streams differ from the running ones.
pub(crate) async fn plan(State(api): State<Api>) -> Result<Json<Value>, ApiError> {
    Ok(Json(json!({ "plan": api.streams.plan().await? })))
}

/// Which wanted streams are to be made or changed.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Apply {
    streams: Vec<String>,
}

pub(crate) async fn apply(
    State(api): State<Api>,
    dry_run: Dry,
    JsonBody(apply): JsonBody<Apply>,
) -> Result<Json<Value>, ApiError> {
    let Query(DryRun { dry_run }) = dry_run?;
    if dry_run {
        let mut plan = api.streams.plan().await?;
        plan.retain(|planned| apply.streams.is_empty() || apply.streams.contains(&planned.name));
        return Ok(Json(
            json!({ "success": true, "dry_run": true, "plan": plan }),
        ));
    }
    let done = api.streams.apply(&apply.streams).await?;
    api.snapshots.forget().await;
    Ok(Json(
        json!({ "success": true, "dry_run": false, "done": done }),
    ))
}
