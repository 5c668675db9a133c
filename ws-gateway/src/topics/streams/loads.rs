//! Which questions to history come first.

use market_core::Topic;

use super::windows::Urgency;

/// Most questions to history for the tickers of windows that wait for their answers.
pub(super) const LOADS_MAX: usize = 4;

/// The most urgent symbols of streams, the most urgent first.
pub(super) fn most_urgent(
    mut due: Vec<(Urgency, &Topic, &Topic)>,
    most: usize,
) -> Vec<(Topic, Topic)> {
    // There may be thousands, and other threads wait for the lock.
    if due.len() > most {
        due.select_nth_unstable(most);
        due.truncate(most);
    }
    due.sort_unstable();
    due.into_iter()
        .map(|(_, topic, source)| (topic.clone(), source.clone()))
        .collect()
}
