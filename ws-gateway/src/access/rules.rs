//! The tokens that sessions need, and their permissions without one.

use std::sync::Arc;
use std::time::Duration;

use auth::{Auth, Permissions};

use super::config::AuthConfig;

/// The rules of a gateway that checks tokens.
#[derive(Clone, Debug)]
pub(crate) struct AuthRules {
    /// Whether sessions without a token are closed.
    pub is_required: bool,
    /// The permissions of sessions without a token, if these are allowed.
    pub anonymous: Arc<Permissions>,
    /// How long before a token expires its session gets a notice.
    pub notice: Duration,
    /// Bad tokens in a row after which a session is closed.
    pub failures_max: u32,
}

impl AuthRules {
    /// The rules of a configuration and its checks.
    #[must_use]
    pub(crate) fn new(config: &AuthConfig, auth: &Auth) -> Self {
        Self {
            is_required: auth.is_required(),
            anonymous: Arc::clone(auth.anonymous()),
            notice: Duration::from_millis(config.auth_notice_ms),
            failures_max: config.auth_failures_per_session.max(1),
        }
    }
}
