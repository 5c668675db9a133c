//! The tokens that sessions need, and their permissions without one.

use std::sync::Arc;
use std::time::Duration;

use super::permissions::Permissions;

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
