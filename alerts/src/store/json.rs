//! Columns of JSON.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::StoreError;

/// A value of a column of JSON.
pub(super) fn read<T: DeserializeOwned>(json: &str) -> Result<T, StoreError> {
    serde_json::from_str(json).map_err(|error| StoreError::Damaged(error.to_string()))
}

/// The text of such a column.
pub(super) fn write_json(value: &impl Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::Damaged(error.to_string()))
}
