//! What a request costs of the message rate.

use market_core::protocol::{Op, Request, Selection};

use crate::sessions::command::Asked;

/// Messages that a token counts for: its signature has to be checked.
const TOKEN_COST: u32 = 5;
/// Messages that a list counts for: it may name all topics.
const LIST_COST: u32 = 10;
/// So many wildcards of a request cost as much as a message more: they are looked for among all
/// topics.
const WILDCARDS_A_MESSAGE: usize = 10;
/// So many topics of a request, wildcards or not, cost as much as a message more.
const TOPICS_A_MESSAGE: usize = 100;

/// What a request costs of the message rate: wildcards are looked for among all topics, and what
/// is no topic is looked at and named in the answer as those that are.
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
