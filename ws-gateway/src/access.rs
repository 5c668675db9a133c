//! Which pages may connect, and what tokens mean for sessions.
//!
//! The `origin` decides whether a page may connect. The crate `auth` checks tokens, in the
//! connection's own task: the shards get grants, and the `rules`.

mod config;
mod origin;
mod rules;

use std::sync::Arc;

use auth::{Auth, MetricNames};

pub use config::AuthConfig;
pub use origin::{OriginPattern, ParseOriginError};

pub(crate) use origin::Origins;
pub(crate) use rules::AuthRules;

use crate::limits::{AddressGroups, UNMETERED};

/// The metrics of tokens.
const METRICS: MetricNames = MetricNames {
    checks: "gateway_auth_total",
    keys: "gateway_auth_keys",
    key_reloads: "gateway_auth_key_reloads_total",
    unmetered: UNMETERED,
};

/// The checks of a configuration; `None` if it asks for no authentication.
///
/// # Errors
/// The fault in the configuration or the key files, for people.
pub(crate) fn checks(
    config: &AuthConfig,
    groups: AddressGroups,
) -> Result<Option<Arc<Auth>>, String> {
    config.tokens.check()?;
    config.check()?;
    Auth::new(&config.tokens, groups, METRICS)
}
