//! How far a stream of the bus is stored.

use bus::{Position, Start};

use crate::store::Watermark;

/// A position in one stream of the bus. A stream that the bus lost and made again is another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    root: Box<str>,
    created_ns: u64,
    /// `None` if nothing of this stream is stored.
    stored_to: Option<u64>,
}

impl Place {
    /// The beginning of a stream.
    pub(super) fn new(root: &str, created_ns: u64) -> Self {
        Self {
            root: root.into(),
            created_ns,
            stored_to: None,
        }
    }

    /// The same stream after this message.
    pub(super) fn at(&self, sequence: u64) -> Self {
        Self {
            stored_to: Some(sequence),
            ..self.clone()
        }
    }

    /// The sequence of the last stored message; 0 if there is none.
    pub(super) fn stored_to(&self) -> u64 {
        self.stored_to.unwrap_or_default()
    }

    /// Where the next page begins.
    pub(super) fn start(&self) -> Start {
        match self.stored_to {
            None => Start::Oldest,
            Some(sequence) => Start::After(Position {
                stream_created_ns: self.created_ns,
                sequence,
                stored_ns: 0,
            }),
        }
    }

    /// How many messages after this place the stream keeps no longer, if `first` is the oldest that
    /// it keeps. Of a stream of which nothing is stored, nothing is missed.
    pub(super) fn lost_before(&self, first: u64) -> u64 {
        self.stored_to
            .map_or(0, |stored| first.saturating_sub(stored).saturating_sub(1))
    }

    /// The name under which the store keeps it.
    pub(super) fn watermark_name(&self) -> String {
        format!("{}.{}", self.root, self.created_ns)
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
    use super::*;

    #[test]
    fn messages_between_the_stored_and_the_oldest_kept_one_are_lost() {
        let place = Place::new("journal", 7);
        assert_eq!(place.start(), Start::Oldest);
        // It was never read: what was there before is not missed.
        assert_eq!(place.lost_before(100), 0);
        let place = place.at(10);
        for (first, lost) in [(0, 0), (1, 0), (11, 0), (12, 1), (100, 89)] {
            assert_eq!(place.lost_before(first), lost, "{first}");
        }
        assert_eq!(place.watermark().position, 10);
        assert_eq!(&*place.watermark().stream, "journal.7");
    }
}
