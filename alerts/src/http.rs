//! `/api/v1/rules` and `/api/v1/alerts`.

mod admit;
mod error;
mod state;
mod token;

use std::convert::Infallible;
use std::sync::PoisonError;

use axum::body::Body;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::header::CONTENT_TYPE;
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

async fn list(State(api): State<Api>) -> impl IntoResponse {
    let rules = api.rules.read().unwrap_or_else(PoisonError::into_inner);
    let pieces = pieces(rules.clone()).map(Ok::<_, Infallible>);
    let body = Body::from_stream(futures_util::stream::iter(pieces));
    ([(CONTENT_TYPE, "application/json")], body)
}

/// The JSON of some rules, in pieces: each is made when the one before it was sent. A thousand rules
/// with a thousand symbols are many megabytes.
fn pieces(rules: Vec<StoredRule>) -> impl Iterator<Item = String> {
    let rules = rules.into_iter().enumerate().map(|(index, stored)| {
        let comma = if index == 0 { "" } else { "," };
        format!("{comma}{}", shown(&stored))
    });
    let begin = std::iter::once("{\"rules\":[".to_owned());
    begin.chain(rules).chain(std::iter::once("]}".to_owned()))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::ActiveRule;

    #[test]
    fn many_rules_are_listed_piece_by_piece_and_none_is_copied() {
        let symbols: Vec<String> = (0..1_000).map(|index| format!("A{index}-B")).collect();
        let rule = |name: &str| {
            let rule = json!({"name": name, "symbols": symbols, "when": {"type": "gap"}});
            let active = ActiveRule {
                rule: serde_json::from_value(rule).expect("a rule"),
                epoch: 1,
            };
            StoredRule {
                active,
                source: Source::Http,
            }
        };
        let rules = vec![rule("a"), rule("b")];
        // As the program hands out its list.
        let copy = rules.clone();
        assert!(std::sync::Arc::ptr_eq(
            &copy[0].active.rule,
            &rules[0].active.rule
        ));
        let longest = shown(&rules[0]).to_string().len() + 1;
        let texts: Vec<String> = pieces(copy).collect();
        assert!(texts.iter().all(|text| text.len() <= longest));
        let all: Value = serde_json::from_str(&texts.concat()).expect("JSON");
        assert_eq!(all, json!({"rules": [shown(&rules[0]), shown(&rules[1])]}));
        let none: Value =
            serde_json::from_str(&pieces(Vec::new()).collect::<String>()).expect("JSON");
        assert_eq!(none, json!({"rules": []}));
    }
}
