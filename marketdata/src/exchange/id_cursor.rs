//! The cursor of venues that page their trades by id, newest first.

use super::PageAsk;

/// The query's part for a page of single trades: `after` means older, `before` newer. It is empty
/// for the newest page.
pub(super) fn after_or_before(ask: PageAsk) -> String {
    match ask {
        PageAsk::Below(Some(id)) => format!("&after={id}"),
        PageAsk::Below(None) | PageAsk::AggregatesSince(_) | PageAsk::AggregatesFrom(_) => {
            String::new()
        }
        PageAsk::FromId(id) => format!("&before={}", id.saturating_sub(1)),
    }
}
