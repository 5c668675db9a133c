//! Why a client gets nothing at all.

use auth::TokenError;

/// Why a client gets nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Refusal {
    /// It sent no token.
    Missing,
    /// Its token is not accepted.
    Token(TokenError),
}
