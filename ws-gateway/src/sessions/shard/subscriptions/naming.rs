//! What the names in a request mean.

use auth::Permissions;
use client_frames::dialect::Dialect;
use client_frames::dialect::binance::stream::{self, MadeStream};
use market_core::protocol::{MalformedTopic, Selection};
use market_core::{Topic, TopicPattern};

use super::Subscriptions;
use crate::topics::made::Made;

/// Whether these permissions cover a pattern. Who may have a topic may have the streams of Binance
/// that are made of it.
pub(in crate::sessions::shard) fn is_permitted(
    permissions: &Permissions,
    pattern: &TopicPattern,
) -> bool {
    match MadeStream::of(pattern) {
        Some(made) => permissions.covers(&made.source),
        None => permissions.covers(pattern) || stream::is_silent(pattern),
    }
}

impl Subscriptions {
    /// The pattern that a selection means, by the topics that are known now.
    pub(super) fn resolve(&self, selection: Selection) -> TopicPattern {
        let pattern = match selection {
            Selection::Pattern(pattern) => pattern,
            Selection::OfExchange {
                exchange, plain, ..
            } if self.is_of(&plain, &exchange) => plain,
            Selection::OfExchange { prefixed, .. } => prefixed,
        };
        // The text of a known topic is stored once for all sets.
        let topic = pattern.as_topic();
        match topic.as_ref().and_then(|topic| self.view_of(topic)) {
            Some((_, view)) => TopicPattern::from(view.slot.topic.clone()),
            None => pattern,
        }
    }

    /// The patterns of selections: those that these permissions cover, and the others. Without
    /// permissions everything is permitted.
    pub(in crate::sessions::shard) fn permitted(
        &self,
        permissions: Option<&Permissions>,
        selections: Vec<Selection>,
    ) -> (Vec<TopicPattern>, Vec<TopicPattern>) {
        let Some(permissions) = permissions else {
            let all = selections.into_iter();
            return (
                all.map(|selection| self.resolve(selection)).collect(),
                Vec::new(),
            );
        };
        let (mut patterns, mut forbidden) = (Vec::with_capacity(selections.len()), Vec::new());
        for selection in selections {
            let pattern = match selection {
                // The choice must not reveal the existence of topics that are not permitted.
                Selection::OfExchange {
                    exchange, plain, ..
                } if permissions.covers(&plain) && self.is_of(&plain, &exchange) => plain,
                Selection::OfExchange { prefixed, .. } => prefixed,
                Selection::Pattern(pattern) => pattern,
            };
            if is_permitted(permissions, &pattern) {
                patterns.push(self.resolve(Selection::Pattern(pattern)));
            } else {
                forbidden.push(pattern);
            }
        }
        (patterns, forbidden)
    }

    /// Whether a pattern is a known topic with bars from this exchange.
    pub(in crate::sessions::shard) fn is_of(&self, pattern: &TopicPattern, exchange: &str) -> bool {
        let view = pattern.as_topic().and_then(|topic| self.view_of(&topic));
        view.is_some_and(|(_, view)| view.exchange.as_deref() == Some(exchange))
    }

    /// The selections with a valid channel, timeframe and exchange; the others are malformed.
    pub(in crate::sessions::shard) fn named(
        &self,
        dialect: Dialect,
        mut selections: Vec<Selection>,
        malformed: &mut Vec<MalformedTopic>,
    ) -> Vec<Selection> {
        let names = &self.hub.names;
        selections.retain(|selection| {
            let (pattern, checked) = match selection {
                Selection::Pattern(pattern)
                    if dialect.is_binance() && stream::is_stream(pattern) =>
                {
                    return true;
                }
                Selection::Pattern(pattern) => (pattern, names.check(pattern)),
                Selection::OfExchange {
                    exchange, prefixed, ..
                } => {
                    let checked = names.check(prefixed);
                    let checked = checked.and_then(|()| names.check_exchange(exchange));
                    (prefixed, checked)
                }
            };
            let Err(message) = checked else {
                return true;
            };
            malformed.push(MalformedTopic {
                topic: pattern.to_string(),
                message,
            });
            false
        });
        selections
    }

    /// How the bars of a topic are folded, under its own name; `None` if they are published.
    pub(in crate::sessions::shard) fn made(&self, topic: &Topic) -> Option<Made> {
        let made = self.hub.names.made(topic)?;
        let source = made.source_topic()?;
        match self.view_of_pattern(&TopicPattern::from(source)) {
            Some(view) => made.of_source(&view.slot.topic),
            None => Some(made),
        }
    }

    /// The stream of Binance that a topic stands for, made of a topic under its own name; `None` if
    /// it is no such stream.
    pub(in crate::sessions::shard) fn made_stream(&self, topic: &Topic) -> Option<MadeStream> {
        let made = MadeStream::of(&TopicPattern::from(topic.clone()))?;
        let source = match self.view_of_pattern(&made.source) {
            Some(view) => TopicPattern::from(view.slot.topic.clone()),
            None => made.source,
        };
        Some(MadeStream { source, ..made })
    }

    /// Whether bars of the symbol of a stream have come. Of a stream of all symbols, they have.
    pub(in crate::sessions::shard) fn is_known(&self, stream: &MadeStream) -> bool {
        let Some(source) = stream.source.as_topic() else {
            return true;
        };
        let Some((_, symbol)) = source.as_str().split_once(':') else {
            return false;
        };
        let bars = self.hub.names.bars_of(symbol);
        let mut patterns = bars.into_iter().map(TopicPattern::from);
        patterns.any(|pattern| {
            let view = self.view_of_pattern(&pattern);
            view.is_some_and(|view| view.newest.is_some())
        })
    }

    /// The topic under which history is asked for a topic, and its venue as far as it is known.
    pub(in crate::sessions::shard) fn asked_of_history(
        &self,
        topic: Topic,
    ) -> (Topic, Option<String>) {
        match self.view_of_pattern(&TopicPattern::from(topic.clone())) {
            Some(view) => (
                view.slot.topic.clone(),
                view.exchange.as_deref().map(str::to_owned),
            ),
            None => (topic, None),
        }
    }
}
