//! What sessions have to bring, and what they may have without it.

use std::sync::Arc;
use std::time::Duration;

use super::permissions::Permissions;

/// What a gateway that looks at tokens asks of its sessions.
#[derive(Clone, Debug)]
pub(crate) struct AuthRules {
    /// Whether sessions without a token are closed.
    pub is_required: bool,
    /// What sessions without a token may have, where they are not.
    pub anonymous: Arc<Permissions>,
    /// How long before its token expires a session is told.
    pub notice: Duration,
    /// Bad tokens in a row after which a session is closed.
    pub failures_max: u32,
}
