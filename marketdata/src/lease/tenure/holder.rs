//! Who holds a lease that is not ours, as far as the bus has told.

use market_core::UnixMillis;

/// How long after a lease changed hands it is looked at, so that it need not be at a takeover.
const SEEN_AFTER_MS: i64 = 1_000;

/// Who holds a lease that is not ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Holder {
    Unknown,
    /// Nobody, since then. The program that released it does not want it back.
    Nobody {
        since_ms: UnixMillis,
        left: Option<String>,
    },
    Other(String),
}

impl Holder {
    /// Who holds it after the bus said that this program has taken it, or that it was released; and
    /// when to look.
    pub(super) fn said(&self, holder: Option<&str>, now: UnixMillis) -> (Self, i64) {
        match (holder, self) {
            // Thousands may change hands together: first things first.
            (Some(name), _) => {
                let look_at_ms = now.saturating_add(SEEN_AFTER_MS);
                (Self::Other(name.to_owned()), look_at_ms)
            }
            (None, Self::Other(left)) => {
                let left = Some(left.clone());
                let nobody = Self::Nobody {
                    since_ms: now,
                    left,
                };
                (nobody, UnixMillis::MIN)
            }
            (None, _) => (holder_of(None, now), UnixMillis::MIN),
        }
    }
}

pub(super) fn holder_of(name: Option<&str>, now: UnixMillis) -> Holder {
    match name {
        Some(name) => Holder::Other(name.to_owned()),
        None => Holder::Nobody {
            since_ms: now,
            left: None,
        },
    }
}
