//! The token that requests need.

use std::path::Path;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use ring::digest::{SHA256, digest};
use subtle::ConstantTimeEq;

use crate::error::Error;
use crate::secret;

/// The digest of the token: what is compared has one length, and no token is in memory.
#[derive(Clone)]
pub(crate) struct Token([u8; 32]);

fn hash(token: &str) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
    bytes
}

impl Token {
    pub(crate) fn read(path: &Path) -> Result<Self, Error> {
        Ok(Self(hash(&secret::read(path, "--token-file")?)))
    }

    /// Whether a request has it.
    pub(super) fn is_in(&self, headers: &HeaderMap) -> bool {
        let header = headers
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok());
        let token = header.and_then(|value| value.split_once(' '));
        token.is_some_and(|(scheme, token)| {
            scheme.eq_ignore_ascii_case("bearer") && bool::from(hash(token.trim()).ct_eq(&self.0))
        })
    }
}
