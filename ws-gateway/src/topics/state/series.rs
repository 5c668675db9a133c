//! A topic with bars: the newest forming bar, and the last closed bars.

use bytes::Bytes;
use market_core::protocol::Filter;
use market_core::wire::BarHead;

use super::bar::{Bar, StreamPosition};
use super::closed::{ClosedBars, HeldBar, Taken};
use super::depth::Keep;
use super::newest::Newest;
use super::offered::Offered;
use super::progress::Progress;
use super::resume_position::ResumePosition;
use client_frames::encode::payload::Payload;

/// Most closed bars that events of streams are made of.
pub(super) const FOLLOWED_MAX: usize = 5;

/// The bars of a topic.
#[derive(Debug, Default)]
pub(crate) struct Series {
    forming: Option<Bar>,
    pub(super) closed: ClosedBars,
    /// The position of the newest bar taken, forming or closed.
    newest: StreamPosition,
}

/// The closed bars that a client lacks.
#[derive(Debug)]
pub(super) struct Lacking {
    /// Closed bars that are no longer held.
    pub(super) skipped: u64,
    /// Whether the held and the counted bars are all that it lacks.
    pub(super) is_whole: bool,
    /// Whether it lacks the newest forming bar.
    pub(super) lacks_forming: bool,
}

impl Series {
    /// Takes a bar: see [`super::TopicState::offer_bar`].
    pub(super) fn offer(
        &mut self,
        head: &BarHead<'_>,
        payload: Bytes,
        version: u64,
        keep: Keep,
        early: &mut u64,
    ) -> Offered {
        let bar = Bar::new(head, payload, version);
        if head.closed {
            self.offer_closed(bar, keep, early)
        } else {
            self.offer_forming(bar)
        }
    }

    /// The last closed bars by their start, and the forming one.
    pub(super) fn publications(&self) -> Vec<Bytes> {
        let closed = self.closed.last_first(u64::MAX, Filter::default());
        let closed = closed.take(FOLLOWED_MAX);
        let mut bars: Vec<Bytes> = closed.map(|payload| payload.json().clone()).collect();
        bars.reverse();
        let forming = self.forming.as_ref();
        bars.extend(forming.map(|bar| bar.payload.json().clone()));
        bars
    }

    fn offer_forming(&mut self, bar: Bar) -> Offered {
        if bar.position == self.newest {
            return Offered::Duplicate;
        }
        let is_closed = self
            .closed
            .last_ms()
            .is_some_and(|(start_ms, _)| bar.start_ms <= start_ms);
        if bar.position < self.newest || (is_closed && bar.position.epoch == self.newest.epoch) {
            return Offered::Stale;
        }
        self.newest = bar.position;
        let conflated = self.forming.is_some();
        self.forming = Some(bar);
        Offered::New {
            missed: 0,
            late: false,
            conflated,
        }
    }

    fn offer_closed(&mut self, bar: Bar, keep: Keep, early: &mut u64) -> Offered {
        let (start_ms, position) = (bar.start_ms, bar.position);
        let Taken::New { missed, late } = self.closed.offer(bar, keep, early) else {
            return Offered::Duplicate;
        };
        if self
            .forming
            .as_ref()
            .is_some_and(|forming| forming.start_ms <= start_ms)
        {
            self.forming = None;
        }
        self.newest = self.newest.max(position);
        Offered::New {
            missed,
            late,
            conflated: false,
        }
    }

    /// See [`super::TopicState::let_go`].
    pub(super) fn let_go(&mut self, start_ms: i64, version: u64, keep: Keep) -> bool {
        self.closed.let_go(start_ms, version, keep)
    }

    /// The forming bar.
    pub(super) fn newest(&self) -> Option<Newest> {
        self.forming.as_ref().map(Newest::from)
    }

    /// Appends the closed bars up to version `upto` that a session lacks, and returns the number of
    /// further ones.
    pub(super) fn since(
        &self,
        progress: Progress,
        upto: u64,
        filter: Filter,
        room: &mut usize,
        updates: &mut Vec<Payload>,
    ) -> u64 {
        self.closed.since(progress, upto, filter, room, updates)
    }

    /// The newest closed bar up to version `upto` that passes `filter`.
    pub(super) fn last_closed(&self, upto: u64, filter: Filter) -> Option<Payload> {
        self.closed.last_first(upto, filter).next()
    }

    /// Appends the closed bars up to version `upto` that a client lacks after it stopped at
    /// `place`.
    ///
    /// A client lacks a closed bar if the bar's position is newer, or if the bar ends after the
    /// client's last one: a bar that its gateway got late has an older number than the client has
    /// seen.
    ///
    /// A publisher that restarts begins a new epoch and counts from the start. Numbers of another
    /// epoch mean nothing, but the end of the last closed bar still does. A client that does not
    /// send it gets every held closed bar, and is told that it could not be resumed. A number of
    /// this epoch that has not come here yet is from a gateway that is ahead: the bars in between
    /// come as they come to all other clients.
    pub(super) fn lacking(
        &self,
        newest: Option<&Newest>,
        upto: u64,
        filter: Filter,
        place: ResumePosition,
        updates: &mut Vec<Payload>,
    ) -> Lacking {
        let last = StreamPosition {
            epoch: place.epoch,
            seq: place.seq,
        };
        let is_known_epoch = self.newest.epoch == place.epoch;
        let is_placed = is_known_epoch || place.closed_ms.is_some();
        let is_lacking = |position: StreamPosition, end_ms: i64| {
            !is_placed || position > last || place.closed_ms.is_some_and(|ms| end_ms > ms)
        };
        // A revision of a bar that the client has says nothing about a hole before the bar.
        let is_hole_lacking = |position: StreamPosition, end_ms: i64| match place.closed_ms {
            Some(ms) => end_ms > ms,
            None => position > last,
        };
        let skipped = self
            .closed
            .lacking(upto, filter, is_lacking, is_hole_lacking, updates);
        let forming = newest.and_then(|newest| newest.bar);
        // A gateway that started late has only the bars that were retained, and knows nothing of
        // those before them.
        let has_all_before = match place.closed_ms {
            Some(ms) => match self.closed.first_ms() {
                Some(start_ms) => start_ms <= ms,
                None => forming.is_some_and(|forming| forming.start_ms <= ms),
            },
            None => is_known_epoch && self.closed.reaches_back_to(last),
        };
        let is_forgotten_lacking = self
            .closed
            .forgotten()
            .is_some_and(|forgotten| is_lacking(forgotten.position, forgotten.end_ms));
        Lacking {
            skipped: if is_placed { skipped } else { 0 },
            is_whole: has_all_before && !is_forgotten_lacking,
            lacks_forming: forming
                .is_some_and(|forming| !is_known_epoch || forming.position > last),
        }
    }

    /// The held bars beside those of a client that has all closed bars which end at `after_ms` or
    /// before; `None` if it has none.
    pub(super) fn seam(
        &self,
        newest: Option<&Newest>,
        upto: u64,
        filter: Filter,
        after_ms: Option<i64>,
    ) -> Seam {
        let mut seam = Seam {
            held: self.closed.held(upto, filter).collect(),
            is_torn: self.closed.is_torn(upto),
            ..Seam::default()
        };
        let forming = newest.and_then(|newest| newest.bar);
        let after_ms = after_ms.unwrap_or(i64::MIN);
        // By the times alone: the caller chooses the bars to send.
        let is_after = |_: StreamPosition, end_ms: i64| end_ms > after_ms;
        let mut whole = Vec::new();
        let skipped = self
            .closed
            .lacking(upto, filter, is_after, is_after, &mut whole);
        let is_forgotten = self
            .closed
            .forgotten()
            .is_some_and(|forgotten| forgotten.end_ms > after_ms);
        let first_ms = self.closed.first_ms().or_else(|| {
            forming
                .filter(|_| after_ms > i64::MIN)
                .map(|forming| forming.start_ms)
        });
        seam.skipped = skipped;
        seam.reach = match first_ms {
            Some(start_ms) if start_ms <= after_ms && skipped == 0 && !is_forgotten => Reach::Whole,
            Some(_) => Reach::Short,
            None => Reach::Unknown,
        };
        seam
    }
}

/// What a topic holds beside the past of a client.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seam {
    /// The closed bars that are held whole, by their start.
    pub held: Vec<HeldBar>,
    /// Closed bars after the past that are no longer held.
    pub skipped: u64,
    /// Whether the held bars adjoin the past.
    pub reach: Reach,
    /// A bar has been revised since the version of the seam, so it is not among the held ones.
    pub is_torn: bool,
}

/// Whether the bars that are held adjoin a client's past.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Reach {
    /// Nothing can have closed in between.
    Whole,
    /// They begin later, or some of them are no longer held.
    Short,
    /// No bar has come here: only the clock tells.
    #[default]
    Unknown,
}
