//! Responders inside one process.

use tokio::sync::mpsc;

use crate::request::Question;
use crate::subject::Pattern;

/// The responders of a pattern.
pub(super) struct Server {
    pub(super) pattern: Pattern,
    pub(super) group: Box<str>,
    pub(super) questions: mpsc::Sender<Question>,
}
