//! `POST /api/v1/publish`.

use std::sync::atomic::Ordering;

use axum::extract::State;
use axum::{Extension, Json};
use bytes::Bytes;
use metrics::counter;
use serde::Deserialize;
use serde_json::{Value, json};

use super::admit::Permitted;
use super::body::JsonBody;
use super::error::ApiError;
use super::state::Api;
use crate::copies::COPY_ROOT;
use crate::tokens::Role;

/// What is published.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Publication {
    subject: String,
    /// A text is published as it is, anything else as JSON.
    message: Value,
}

pub(crate) async fn publish(
    State(api): State<Api>,
    Extension(permitted): Extension<Permitted>,
    JsonBody(publication): JsonBody<Publication>,
) -> Result<Json<Value>, ApiError> {
    let outcome = send(&api, permitted.0, publication).await;
    match &outcome {
        Ok(_) => counter!("broker_published_total").increment(1),
        Err(error) if error.is_ours() => {
            api.failed.fetch_add(1, Ordering::Relaxed);
            counter!("broker_publish_failures_total").increment(1);
        }
        Err(_) => {}
    }
    outcome
}

async fn send(api: &Api, role: Role, publication: Publication) -> Result<Json<Value>, ApiError> {
    let subject = publication.subject;
    check(api, role, &subject)?;
    let payload = match publication.message {
        Value::String(text) => Bytes::from(text),
        message => Bytes::from(message.to_string()),
    };
    let longest = api.jetstream.server_info().max_payload;
    if longest > 0 && payload.len() > longest {
        return Err(ApiError::too_large(format!(
            "the message has {} bytes, and nats-server takes {longest} (max_payload)",
            payload.len()
        )));
    }
    let is_kept =
        api.config.nats.jetstream_enabled && !api.jetstream.streams_of(&subject).await?.is_empty();
    if !is_kept {
        api.jetstream.publish(&subject, payload).await?;
        return Ok(Json(json!({ "success": true, "stream": null })));
    }
    let stored = api.jetstream.publish_stored(&subject, payload).await?;
    Ok(Json(
        json!({ "success": true, "stream": stored["stream"], "seq": stored["seq"] }),
    ))
}

fn check(api: &Api, role: Role, subject: &str) -> Result<(), ApiError> {
    bus::check_subject(subject).map_err(|error| ApiError::bad("bad_subject", error.to_string()))?;
    let is_copy = subject
        .strip_prefix(COPY_ROOT)
        .is_some_and(|rest| rest.starts_with('.'));
    if is_copy || subject.starts_with(['$', '_']) {
        let message =
            "subjects that begin with $, _ or klinecast.copy are the server's and the broker's";
        return Err(ApiError::bad("bad_subject", message));
    }
    if role < Role::Admin && api.streams.is_own_subject(subject) {
        return Err(ApiError::forbidden(
            "own_subject",
            "Klinecast's programs publish here, and believe what they read: it needs a token of role admin, or another klinecast_prefix for them",
        ));
    }
    Ok(())
}
