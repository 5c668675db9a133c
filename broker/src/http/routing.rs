//! `GET /api/v1/routing`: the rules of NATS that send messages elsewhere.

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::error::ApiError;
use super::state::Api;

pub(crate) async fn routing(State(api): State<Api>) -> Result<Json<Value>, ApiError> {
    let mut rules = Vec::new();
    if api.config.nats.jetstream_enabled {
        for running in api.jetstream.streams().await?.entries {
            let config = &running["config"];
            let mut rule = json!({ "stream": config["name"] });
            let mut is_rule = false;
            for field in ["republish", "subject_transform", "sources", "mirror"] {
                if let Some(value) = config.get(field).filter(|value| !value.is_null()) {
                    rule[field] = value.clone();
                    is_rule = true;
                }
            }
            if is_rule {
                rules.push(rule);
            }
        }
    }
    Ok(Json(json!({
        // Of the server that we start: it has them from its configuration.
        "mappings": if api.supervised.is_some() { json!(api.config.nats.mappings) } else { json!({}) },
        "streams": rules,
    })))
}
