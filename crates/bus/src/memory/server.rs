//! Who answers questions inside one process.

use tokio::sync::mpsc;

use crate::request::Question;
use crate::subject::Pattern;

/// Who answers the questions of a pattern.
pub(super) struct Server {
    pub(super) pattern: Pattern,
    pub(super) group: Box<str>,
    pub(super) questions: mpsc::Sender<Question>,
}
