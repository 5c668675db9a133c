//! What a store keeps.

use bus::Page;
use market_core::Timeframe;
use market_core::wire::AlertMessage;
use serde::{Deserialize, Serialize};

use crate::engine::{ActiveRule, Changes};
use crate::rule::RuleName;

/// A place in the stream of bars.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Place {
    /// When the stream was created.
    pub created_ns: u64,
    /// The last message that was taken.
    pub sequence: u64,
    /// When the stream took it; `None` if the program has only begun there.
    pub stored_ns: Option<u64>,
}

impl Place {
    /// The beginning of a stream.
    pub(crate) const fn beginning(created_ns: u64) -> Self {
        Self {
            created_ns,
            sequence: 0,
            stored_ns: None,
        }
    }

    /// How many messages the bus no longer had when it was asked for those after this place.
    pub(crate) fn lost(&self, page: &Page) -> u64 {
        let first = page.messages.first();
        let first = first.and_then(|message| message.position.as_deref());
        // The first sequence may be newer than the messages: some were dropped after they were read.
        let oldest = first.map_or(page.first_sequence, |first| {
            first.sequence.min(page.first_sequence)
        });
        match self.sequence {
            // It begins here.
            0 => 0,
            taken => oldest.saturating_sub(taken).saturating_sub(1),
        }
    }

    /// Whether a page is of another stream than the one that was read: new messages have old
    /// numbers.
    pub(crate) fn is_other(&self, page: &Page) -> bool {
        if page.last_sequence < self.sequence {
            return true;
        }
        let first = page.messages.first();
        let first = first.and_then(|message| message.position.as_deref());
        match (first, self.stored_ns) {
            (Some(first), Some(stored_ns)) if first.sequence == self.sequence => {
                first.stored_ns != stored_ns
            }
            _ => false,
        }
    }
}

/// Who made a rule.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    /// The file of rules.
    File,
    /// A request over HTTP.
    Http,
}

/// A rule of the store.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredRule {
    /// The rule.
    pub active: ActiveRule,
    /// Who made it.
    pub source: Source,
}

/// All that an engine begins with.
#[derive(Debug)]
pub struct Loaded {
    /// Where the stream is read on.
    pub place: Option<Place>,
    /// The rules.
    pub rules: Vec<StoredRule>,
    /// The timeframe of the bars; `None` of a store that has none yet.
    pub timeframe: Option<Timeframe>,
    /// The highest epoch that a rule ever had, also one that was removed.
    pub epoch_max: u64,
    /// The state of the engine.
    pub state: Changes,
}

/// What one transaction changes.
#[derive(Clone, Default, Debug)]
pub struct Commit {
    /// The new place in the stream.
    pub place: Option<Place>,
    /// The timeframe of the bars.
    pub timeframe: Option<Timeframe>,
    /// Rules that were made or changed.
    pub rules_put: Vec<StoredRule>,
    /// Rules that were removed.
    pub rules_removed: Vec<RuleName>,
    /// A rule whose alerts that are not on the bus yet get another epoch, and so do its next ones. The rule may be gone.
    pub lifted: Option<(RuleName, u64)>,
    /// The highest epoch that a rule ever had, where it has changed.
    pub epoch_max: Option<u64>,
    /// The state of the engine.
    pub changes: Changes,
    /// Alerts, in their order.
    pub alerts: Vec<AlertMessage>,
}

/// What a transaction did.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Committed {
    /// Deliveries to webhooks that were left out, because too many wait.
    pub left_out: u64,
    /// Deliveries to webhooks that were left out, because the alert was raised too late.
    pub too_old: u64,
    /// Alerts that are not on the bus yet.
    pub unpublished: u64,
}

/// Where alerts go beside the bus, and how many wait and are remembered.
#[derive(Clone, Default, Debug)]
pub struct Outlets {
    /// The webhooks, by their names in the store.
    pub hooks: Vec<String>,
    /// Most alerts that wait for each of them.
    pub queue_max: usize,
    /// Longest time from the end of a bar to its alert, for webhooks.
    pub age_max_ms: i64,
    /// Alerts that are remembered after they were delivered.
    pub recent_max: usize,
}

#[cfg(test)]
mod tests {
    use bus::{Message, Position};
    use bytes::Bytes;

    use super::*;

    #[test]
    fn what_the_bus_drops_after_it_was_read_is_not_lost() {
        let place = Place {
            sequence: 10,
            ..Place::beginning(1)
        };
        let page = |sequences: &[u64], first_sequence| {
            let message = |sequence: &u64| Message {
                position: Some(Box::new(Position {
                    stream_created_ns: 1,
                    sequence: *sequence,
                    stored_ns: 1,
                })),
                ..Message::new("journal.1s.BTC-USDT", Bytes::new())
            };
            Page {
                messages: sequences.iter().map(message).collect(),
                is_end: false,
                first_sequence,
                last_sequence: 100,
            }
        };
        assert_eq!(place.lost(&page(&[10, 11], 1)), 0);
        assert_eq!(place.lost(&page(&[11, 12], 11)), 0);
        assert_eq!(
            place.lost(&page(&[10, 11], 50)),
            0,
            "dropped after it was read"
        );
        assert_eq!(place.lost(&page(&[14, 15], 14)), 3);
        assert_eq!(place.lost(&page(&[], 101)), 90);
        assert_eq!(Place::beginning(1).lost(&page(&[14], 14)), 0);
    }
}
