//! The names by which patterns find a topic.

use market_core::Topic;

/// The names of a topic: its own, and the one with its exchange in front if its own has none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Called<'a> {
    /// Its own name.
    pub topic: &'a Topic,
    /// Its second name; see [`Topic::with_exchange`].
    pub alias: Option<&'a Topic>,
    /// Whether no wildcard finds it.
    pub is_folded: bool,
}

impl Called<'_> {
    /// Whether a pattern matches it.
    #[must_use]
    #[cfg(test)]
    pub(crate) fn is_matched_by(&self, pattern: &market_core::TopicPattern) -> bool {
        pattern.matches(self.topic) || self.alias.is_some_and(|alias| pattern.matches(alias))
    }
}
