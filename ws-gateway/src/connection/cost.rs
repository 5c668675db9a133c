//! The cost of a request, of the message rate.

use market_core::protocol::{Op, Request, Selection};

use crate::sessions::command::Asked;

/// The cost of a token in messages: its signature must be checked.
const TOKEN_COST: u32 = 5;
/// The cost of a list in messages: it may name all topics.
const LIST_COST: u32 = 10;
/// This many wildcards of a request cost one message more: they are compared with all topics.
const WILDCARDS_A_MESSAGE: usize = 10;
/// This many topics of a request, with or without wildcards, cost one message more.
const TOPICS_A_MESSAGE: usize = 100;

/// The cost of a request in messages: wildcards are compared with all topics, and malformed topics
/// are checked and named in the answer like valid ones.
pub(super) fn cost(request: &Asked) -> u32 {
    let (selections, malformed): (&[Selection], usize) = match request {
        Ok(Request { op, .. }) => match op {
            Op::Sub(wanted) => (&wanted.selections, wanted.malformed.len()),
            Op::Unsub(selections) => (selections, 0),
            Op::Auth(_) => return TOKEN_COST,
            Op::List => return LIST_COST,
            Op::Rate(_) | Op::Ping => return 1,
        },
        Err(error) => (&[], error.topics.len()),
    };
    let wildcards = selections
        .iter()
        .filter(|selection| selection.is_wildcard())
        .count();
    let topics = selections.len().saturating_add(malformed);
    let more = wildcards / WILDCARDS_A_MESSAGE + topics / TOPICS_A_MESSAGE;
    u32::try_from(more.saturating_add(1)).unwrap_or(u32::MAX)
}
