//! Why a connection ends.

use market_core::protocol::CloseCode;

/// Why a session has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum End {
    /// The client closed, with this code.
    ByClient(u16),
    /// The connection broke.
    Broken,
    /// We close, and the close frame is already sent or waits.
    ByUs,
    /// We must close with this code.
    Close(CloseCode),
}
