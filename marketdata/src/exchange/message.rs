//! What a venue is sent, and why what it sends cannot be read.

/// A subscribe frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscribeFrame {
    /// The number by which the venue acknowledges it, if it does.
    pub id: u64,
    /// The frame.
    pub text: String,
    /// The symbols in it, by the venue's name.
    pub natives: Vec<String>,
}

/// A REST request: always GET.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestRequest {
    /// Path and query, to be put after [`crate::exchange::Endpoints::rest`].
    pub path_and_query: String,
    /// Its cost, of [`crate::exchange::Limits::rest_weight_max`].
    pub weight: u32,
}

/// Why a frame or body cannot be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Not as the venue documents it.
    #[error("malformed: {0}")]
    Malformed(&'static str),
}
