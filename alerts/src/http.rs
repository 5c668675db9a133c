//! `/api/v1/rules` and `/api/v1/alerts`.

mod admit;
mod error;
mod state;
mod token;

use std::sync::PoisonError;

use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use self::error::ApiError;
pub(crate) use self::state::{Api, check_window};
use crate::command::{CommandError, RuleChange};
use crate::rule::RuleName;
use crate::store::{Source, StoredRule};

/// Longest body: a rule with the most symbols.
const BODY_BYTES_MAX: usize = 128 << 10;
/// Alerts of an answer, unless the client says how many.
const LIMIT_DEFAULT: u32 = 100;
/// Most alerts of an answer.
const LIMIT_MAX: u32 = 1_000;

/// The routes.
pub(crate) fn router(api: Api) -> Router {
    Router::new()
        .route("/api/v1/rules", get(list).post(add))
        .route("/api/v1/rules/{name}", get(one).put(replace).delete(remove))
        .route("/api/v1/alerts", get(alerts))
        .fallback(unknown_route)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(from_fn_with_state(api.clone(), admit::admit))
        .with_state(api)
}

async fn unknown_route() -> ApiError {
    ApiError::not_found(
        "unknown_route",
        "there is no such route: docs/alerts.md lists what there is",
    )
}

async fn wrong_method() -> ApiError {
    ApiError::wrong_method()
}

fn shown(stored: &StoredRule) -> Value {
    let source = match stored.source {
        Source::File => "file",
        Source::Http => "http",
    };
    json!({ "rule": stored.active.rule, "epoch": stored.active.epoch, "source": source })
}

async fn list(State(api): State<Api>) -> Json<Value> {
    let rules = api.rules.read().unwrap_or_else(PoisonError::into_inner);
    let rules: Vec<Value> = rules.iter().map(shown).collect();
    Json(json!({ "rules": rules }))
}

fn name_of(name: &str) -> Result<RuleName, ApiError> {
    name.parse()
        .map_err(|error: crate::rule::RuleError| ApiError::bad("bad_name", error.to_string()))
}

async fn one(State(api): State<Api>, Path(name): Path<String>) -> Result<Json<Value>, ApiError> {
    let name = name_of(&name)?;
    let rules = api.rules.read().unwrap_or_else(PoisonError::into_inner);
    let found = rules.iter().find(|stored| stored.active.rule.name == name);
    let found = found.ok_or(CommandError::Unknown(name))?;
    Ok(Json(shown(found)))
}

async fn add(
    State(api): State<Api>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiError> {
    let rule = api.checked(&headers, body)?;
    let made = api.change(RuleChange::Add(rule)).await?;
    Ok((StatusCode::CREATED, Json(shown(&made))).into_response())
}

async fn replace(
    State(api): State<Api>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Value>, ApiError> {
    let name = name_of(&name)?;
    let rule = api.checked(&headers, body)?;
    if rule.name != name {
        return Err(ApiError::bad(
            "bad_rule",
            "the name in the body is that of the route",
        ));
    }
    let changed = api.change(RuleChange::Replace(rule)).await?;
    Ok(Json(shown(&changed)))
}

async fn remove(State(api): State<Api>, Path(name): Path<String>) -> Result<Json<Value>, ApiError> {
    let name = name_of(&name)?;
    let removed = api.change(RuleChange::Remove(name)).await?;
    Ok(Json(shown(&removed)))
}

/// How many alerts.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Limit {
    limit: Option<u32>,
}

async fn alerts(
    State(api): State<Api>,
    limit: Result<Query<Limit>, QueryRejection>,
) -> Result<Json<Value>, ApiError> {
    let Query(Limit { limit }) = limit?;
    let limit = limit.unwrap_or(LIMIT_DEFAULT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(ApiError::bad("bad_query", "limit is from 1 to 1000"));
    }
    let alerts = api.store.run(move |store| store.recent(limit)).await?;
    Ok(Json(json!({ "alerts": alerts })))
}
