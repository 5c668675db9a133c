//! How far a stream of the bus is stored, and whether it still is the stream that was stored.

use bus::{Message, Page, Position, Start};

use crate::store::Watermark;

/// A position in one stream of the bus. A stream that the bus lost and made again is another one, and
/// so is one that was put back from an older copy of its files: it has new messages under old numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    root: Box<str>,
    created_ns: u64,
    /// How often the stream was put back.
    rewinds: u64,
    /// `None` if nothing of this stream is stored.
    stored_to: Option<u64>,
    /// When the bus took the message there; `None` if only the store knows the place.
    stored_ns: Option<u64>,
}

/// What a page says about the message at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Anchor<'a> {
    /// It is the message that was stored, or the stream keeps it no longer.
    Same,
    /// Only the store can tell whether it is.
    Ask(&'a Message),
    /// Another message has its number, or none has yet: the stream was put back.
    Other,
}

impl Place {
    /// The beginning of a stream.
    pub(super) fn new(root: &str, created_ns: u64) -> Self {
        Self {
            root: root.into(),
            created_ns,
            rewinds: 0,
            stored_to: None,
            stored_ns: None,
        }
    }

    /// The newest place in the same stream that the store knows. `marks` are its watermarks.
    pub(super) fn find(self, marks: &[Watermark]) -> Self {
        let own = self.watermark_name();
        let places = marks.iter().filter_map(|mark| {
            let rewinds = match mark.stream.strip_prefix(own.as_str())? {
                "" => 0,
                rest => rest.strip_prefix('.')?.parse().ok()?,
            };
            Some((rewinds, mark.position))
        });
        match places.max() {
            Some((rewinds, stored_to)) => Self {
                rewinds,
                stored_to: Some(stored_to),
                ..self
            },
            None => self,
        }
    }

    /// The same stream after this message, which the bus took at `stored_ns`.
    pub(super) fn at(&self, sequence: u64, stored_ns: Option<u64>) -> Self {
        Self {
            stored_to: Some(sequence),
            stored_ns,
            ..self.clone()
        }
    }

    /// The beginning of the stream that was put back.
    pub(super) fn rewound(&self) -> Self {
        Self {
            rewinds: self.rewinds.saturating_add(1),
            ..Self::new(&self.root, self.created_ns)
        }
    }

    /// Whether anything of the stream is stored.
    pub(super) fn is_begun(&self) -> bool {
        self.stored_to.is_some()
    }

    /// The sequence of the last stored message; 0 if there is none.
    pub(super) fn stored_to(&self) -> u64 {
        self.stored_to.unwrap_or_default()
    }

    /// Where the next page begins: with the message that was stored last, if it is still kept.
    pub(super) fn start(&self) -> Start {
        match self.stored_to {
            None => Start::Oldest,
            Some(sequence) => Start::After(Position {
                stream_created_ns: self.created_ns,
                sequence: sequence.saturating_sub(1),
                stored_ns: 0,
            }),
        }
    }

    /// Whether the stream that gave this page is the one that was stored.
    pub(super) fn anchor<'a>(&self, page: &'a Page) -> Anchor<'a> {
        let Some(stored_to) = self.stored_to else {
            return Anchor::Same;
        };
        if page.last_sequence < stored_to {
            return Anchor::Other;
        }
        let Some((message, position)) = self.message_here(page) else {
            return Anchor::Same;
        };
        match self.stored_ns {
            None => Anchor::Ask(message),
            Some(stored_ns) if stored_ns == position.stored_ns => Anchor::Same,
            Some(_) => Anchor::Other,
        }
    }

    /// The messages of a page that are behind this place.
    pub(super) fn new_messages(&self, page: Page) -> Vec<Message> {
        let is_here = self.message_here(&page).is_some();
        let mut messages = page.messages;
        messages.drain(..usize::from(is_here));
        messages
    }

    fn message_here<'a>(&self, page: &'a Page) -> Option<(&'a Message, &'a Position)> {
        let first = page.messages.first()?;
        let position = first.position.as_deref()?;
        (Some(position.sequence) == self.stored_to).then_some((first, position))
    }

    /// How many messages after this place the stream keeps no longer, if `first` is the oldest that
    /// it keeps. If nothing of a stream is stored, nothing is missed.
    pub(super) fn lost_before(&self, first: u64) -> u64 {
        self.stored_to
            .map_or(0, |stored| first.saturating_sub(stored).saturating_sub(1))
    }

    /// The name under which the store keeps it.
    pub(super) fn watermark_name(&self) -> String {
        match self.rewinds {
            0 => format!("{}.{}", self.root, self.created_ns),
            rewinds => format!("{}.{}.{rewinds}", self.root, self.created_ns),
        }
    }

    /// As the store keeps it.
    pub(super) fn watermark(&self) -> Watermark {
        Watermark {
            stream: self.watermark_name().into(),
            position: self.stored_to(),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn page(sequences: std::ops::Range<u64>, last_sequence: u64) -> Page {
        let message = |sequence: u64| Message {
            position: Some(Box::new(Position {
                stream_created_ns: 7,
                sequence,
                stored_ns: sequence * 10,
            })),
            ..Message::new("journal.a", Bytes::new())
        };
        Page {
            first_sequence: sequences.start,
            messages: sequences.map(message).collect(),
            is_end: true,
            last_sequence,
        }
    }

    #[test]
    fn messages_between_the_stored_and_the_oldest_kept_one_are_lost() {
        let place = Place::new("journal", 7);
        assert_eq!(place.start(), Start::Oldest);
        // It was never read: earlier messages are not missed.
        assert_eq!(place.lost_before(100), 0);
        let place = place.at(10, None);
        for (first, lost) in [(0, 0), (1, 0), (11, 0), (12, 1), (100, 89)] {
            assert_eq!(place.lost_before(first), lost, "{first}");
        }
        assert_eq!(place.watermark().position, 10);
        assert_eq!(&*place.watermark().stream, "journal.7");
    }

    #[test]
    fn a_stream_that_was_put_back_is_known_by_the_message_that_was_stored_last() {
        let place = Place::new("journal", 7);
        assert_eq!(place.anchor(&page(1..3, 2)), Anchor::Same);
        let place = place.at(10, Some(100));
        assert_eq!(place.anchor(&page(10..13, 12)), Anchor::Same);
        assert_eq!(place.new_messages(page(10..13, 12)).len(), 2);
        // It is kept no longer.
        assert_eq!(place.anchor(&page(11..13, 12)), Anchor::Same);
        assert_eq!(place.new_messages(page(11..13, 12)).len(), 2);
        assert_eq!(place.anchor(&page(0..0, 10)), Anchor::Same);
        // The stream has not come there again, or is beyond it with other messages.
        assert_eq!(place.anchor(&page(0..0, 9)), Anchor::Other);
        let other = place.at(10, Some(99));
        assert_eq!(other.anchor(&page(10..13, 12)), Anchor::Other);
        let unknown = place.at(10, None);
        let known = page(10..13, 12);
        assert_eq!(unknown.anchor(&known), Anchor::Ask(&known.messages[0]));
        let rewound = place.rewound();
        assert_eq!(
            (rewound.start(), rewound.is_begun()),
            (Start::Oldest, false)
        );
        assert_eq!(rewound.watermark_name(), "journal.7.1");
    }

    #[test]
    fn the_place_in_the_stream_that_was_put_back_last_is_found() {
        let mark = |stream: &str, position| Watermark {
            stream: stream.into(),
            position,
        };
        let all = [
            mark("journal.7", 50),
            mark("journal.7.1", 40),
            mark("journal.7.2", 45),
            mark("journal.7.x", 99),
            mark("journal.70", 99),
            mark("journal.70.9", 99),
        ];
        let found = Place::new("journal", 7).find(&all);
        assert_eq!(found.watermark(), all[2]);
        let found = Place::new("journal", 7).find(&all[..1]);
        assert_eq!(found.watermark(), all[0]);
        assert!(!Place::new("journal", 8).find(&all).is_begun());
    }
}
