//! Bodies and queries of requests.

use axum::extract::FromRequest;
use axum::extract::Request;
use axum::http::header::CONTENT_TYPE;
use bytes::Bytes;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::error::ApiError;

/// A JSON body. A page of another site cannot send its content type without asking first, and is
/// then refused.
pub(crate) struct JsonBody<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let kind = request.headers().get(CONTENT_TYPE);
        let kind = kind
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        if !kind.eq_ignore_ascii_case("application/json") {
            return Err(ApiError::wrong_type());
        }
        let bytes = Bytes::from_request(request, state).await?;
        read(&bytes).map(Self)
    }
}

fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        let reason = error.inner().to_string();
        ApiError::bad(
            "bad_body",
            match path.as_str() {
                "." => reason,
                path => format!("{path}: {reason}"),
            },
        )
    })?;
    reader
        .end()
        .map_err(|error| ApiError::bad("bad_body", error.to_string()))?;
    Ok(value)
}

/// Whether a change is only to be said, not made. A query with another name is refused: a
/// misspelled dry run would be no dry run.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct DryRun {
    pub(crate) dry_run: bool,
}
