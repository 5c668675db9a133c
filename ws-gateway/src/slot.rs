//! What is known of one topic: the newest forming bar, the last closed bars, and how many there were.
//!
//! Nothing in here is a queue: a session that falls behind takes the newest state and is told how
//! many closed bars it can no longer have.

use std::collections::VecDeque;

use bytes::Bytes;
use market_core::protocol::Filter;
use market_core::wire::BarHead;

use crate::payload::Payload;

/// A publication of a topic, as the hub holds it.
#[derive(Clone, Debug)]
pub(crate) struct Update {
    /// Its place in the order of everything that the hub took: rises over all topics.
    pub version: u64,
    /// What is sent of it.
    pub payload: Payload,
    /// Its sequence number and epoch, if it is a bar.
    stamp: Stamp,
    start_ms: i64,
    end_ms: i64,
    rev: u32,
    filled: bool,
}

/// Where the publisher says that a publication stands: ordered by epoch, then by number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
struct Stamp {
    epoch: u64,
    seq: u64,
}

/// A closed bar that was, whether or not the bar itself is still held.
#[derive(Clone, Copy, Debug)]
struct Logged {
    version: u64,
    stamp: Stamp,
    end_ms: i64,
    filled: bool,
    /// Closed bars that should have come before it and never reached this gateway.
    missed: u32,
}

/// What became of an offered publication.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Offered {
    /// It is new; `missed` closed bars should have come before it.
    New {
        /// Closed bars that never reached this gateway.
        missed: u32,
        /// Whether it replaced a forming bar that some session may not have seen.
        conflated: bool,
    },
    /// It was here before.
    Duplicate,
    /// It is older than what is held.
    Stale,
}

/// How much a slot keeps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Depth {
    /// Closed bars held whole.
    pub closed_bars: usize,
    /// Closed bars of which it is known that they were.
    pub closed_log: usize,
}

impl Default for Depth {
    fn default() -> Self {
        Self {
            closed_bars: 32,
            closed_log: 256,
        }
    }
}

/// The state of one topic.
#[derive(Debug, Default)]
pub(crate) struct SlotState {
    /// The newest forming bar, or the newest message of a topic that has no bars.
    forming: Option<Update>,
    /// The last closed bars, ascending by version.
    closed: VecDeque<Update>,
    /// The last closed bars' versions, ascending; holds at least those of `closed`.
    log: VecDeque<Logged>,
    /// The newest entry that was dropped from the log.
    forgotten: Option<Logged>,
    /// The newest publication taken, forming or closed.
    newest: Stamp,
    /// The newest closed bar by the publisher's order.
    newest_closed: Stamp,
    /// Start and end of the closed bar that starts last, ms.
    last_closed_ms: Option<(i64, i64)>,
}

/// What a session is to be sent of one topic.
#[derive(Clone, Debug, Default)]
pub(crate) struct Delta {
    /// Publications, oldest first.
    pub updates: Vec<Payload>,
    /// Closed bars before them that it can no longer have.
    pub skipped: u64,
}

impl SlotState {
    /// Takes a message of a topic without bars: each replaces the one before.
    pub(crate) fn offer_status(&mut self, payload: Bytes, version: u64) -> Offered {
        if let Some(held) = &self.forming
            && held.payload == payload
        {
            return Offered::Duplicate;
        }
        let conflated = self.forming.is_some();
        self.forming = Some(Update {
            version,
            payload: Payload::from(payload),
            stamp: Stamp::default(),
            start_ms: 0,
            end_ms: 0,
            rev: 0,
            filled: false,
        });
        Offered::New {
            missed: 0,
            conflated,
        }
    }

    /// Takes a bar. `version` has to be above every version given before.
    pub(crate) fn offer_bar(
        &mut self,
        head: &BarHead,
        payload: Bytes,
        version: u64,
        depth: Depth,
    ) -> Offered {
        let update = Update {
            version,
            payload: Payload::from(payload),
            stamp: Stamp {
                epoch: head.epoch,
                seq: head.seq,
            },
            start_ms: head.start_ms,
            end_ms: head.end_ms,
            rev: head.rev,
            filled: head.filled,
        };
        if head.closed {
            self.offer_closed(head, update, depth)
        } else {
            self.offer_forming(update)
        }
    }

    fn offer_forming(&mut self, update: Update) -> Offered {
        if update.stamp == self.newest {
            return Offered::Duplicate;
        }
        let is_closed = self
            .last_closed_ms
            .is_some_and(|(start_ms, _)| update.start_ms <= start_ms);
        if update.stamp < self.newest || (is_closed && update.stamp.epoch == self.newest.epoch) {
            return Offered::Stale;
        }
        self.newest = update.stamp;
        let conflated = self.forming.is_some();
        self.forming = Some(update);
        Offered::New {
            missed: 0,
            conflated,
        }
    }

    fn offer_closed(&mut self, head: &BarHead, update: Update, depth: Depth) -> Offered {
        let held = self.closed.iter().rev().find(|held| {
            held.start_ms == update.start_ms
                && held.rev >= update.rev
                && held.stamp.epoch >= update.stamp.epoch
        });
        if held.is_some() {
            return Offered::Duplicate;
        }
        // What starts before all that is held was held once, unless it is newer than all of it.
        let is_before_all = self.closed.len() >= depth.closed_bars
            && self
                .closed
                .iter()
                .all(|held| update.start_ms < held.start_ms);
        if is_before_all && update.stamp <= self.newest_closed {
            return Offered::Duplicate;
        }
        let missed = self.missed_before(head);
        if self
            .last_closed_ms
            .is_none_or(|(start_ms, _)| head.start_ms > start_ms)
        {
            self.last_closed_ms = Some((head.start_ms, head.end_ms));
        } else if head.rev == 0 {
            self.no_longer_missed(head);
        }
        if self
            .forming
            .as_ref()
            .is_some_and(|forming| forming.start_ms <= head.start_ms)
        {
            self.forming = None;
        }
        self.newest = self.newest.max(update.stamp);
        self.newest_closed = self.newest_closed.max(update.stamp);
        self.log.push_back(Logged {
            version: update.version,
            stamp: update.stamp,
            end_ms: head.end_ms,
            filled: update.filled,
            missed,
        });
        while self.log.len() > depth.closed_log.max(depth.closed_bars) {
            self.forgotten = self.log.pop_front();
        }
        self.closed.push_back(update);
        while self.closed.len() > depth.closed_bars {
            self.closed.pop_front();
        }
        Offered::New {
            missed,
            conflated: false,
        }
    }

    /// How many bars lie between the last closed one and this one, by their times.
    fn missed_before(&self, head: &BarHead) -> u32 {
        let width_ms = head.end_ms - head.start_ms;
        match self.last_closed_ms {
            Some((_, end_ms)) if head.rev == 0 && head.start_ms > end_ms && width_ms > 0 => {
                // Months differ in width; rounding up never makes a hole vanish.
                let bars = (head.start_ms - end_ms + width_ms - 1) / width_ms;
                u32::try_from(bars).unwrap_or(u32::MAX)
            }
            _ => 0,
        }
    }

    /// A bar has come late: the one after its hole no longer says that it was missed.
    fn no_longer_missed(&mut self, head: &BarHead) {
        let after = self
            .log
            .iter_mut()
            .filter(|logged| logged.missed > 0 && logged.end_ms > head.end_ms)
            .min_by_key(|logged| logged.end_ms);
        if let Some(logged) = after {
            logged.missed -= 1;
        }
    }

    /// The newest forming bar or status, as a shard freezes it for a flush.
    #[must_use]
    pub(crate) fn forming(&self) -> Option<Forming> {
        self.forming.as_ref().map(|update| Forming {
            version: update.version,
            payload: update.payload.clone(),
            stamp: update.stamp,
            filled: update.filled,
        })
    }

    /// Appends the closed bars of versions above `seen` and up to `upto`, oldest first, and
    /// returns how many more there were.
    pub(crate) fn closed_since(
        &self,
        seen: u64,
        upto: u64,
        filter: Filter,
        updates: &mut Vec<Payload>,
    ) -> u64 {
        let is_wanted = |version: u64, filled: bool| {
            version > seen && version <= upto && !(filter.no_fill && filled)
        };
        let before = updates.len();
        // Closed bars are few and the newest are at the back.
        let from = self.closed.partition_point(|update| update.version <= seen);
        for update in self.closed.range(from..) {
            if is_wanted(update.version, update.filled) {
                updates.push(update.payload.clone());
            }
        }
        let sent = (updates.len() - before) as u64;
        let mut existed = 0;
        for logged in self.log.iter().rev() {
            if logged.version <= seen {
                break;
            }
            if logged.version <= upto {
                existed += u64::from(logged.missed);
            }
            existed += u64::from(is_wanted(logged.version, logged.filled));
        }
        existed - sent
    }

    /// The newest closed bar up to `upto` that passes the filter.
    fn newest_closed(&self, upto: u64, filter: Filter) -> Option<&Update> {
        self.closed
            .iter()
            .rev()
            .find(|update| update.version <= upto && !(filter.no_fill && update.filled))
    }
}

/// The newest forming bar or status of a topic, frozen for a flush.
#[derive(Clone, Debug)]
pub(crate) struct Forming {
    /// See [`Update::version`].
    pub version: u64,
    /// See [`Update::payload`].
    pub payload: Payload,
    stamp: Stamp,
    filled: bool,
}

impl Forming {
    fn passes(&self, filter: Filter) -> bool {
        !(filter.closed_only || filter.no_fill && self.filled)
    }
}

/// What a session that has seen everything up to version `seen` lacks, up to version `upto`.
#[must_use]
pub(crate) fn delta(
    state: &SlotState,
    forming: Option<&Forming>,
    seen: u64,
    upto: u64,
    filter: Filter,
) -> Delta {
    let mut delta = Delta::default();
    delta.skipped = state.closed_since(seen, upto, filter, &mut delta.updates);
    if let Some(forming) = forming
        && forming.version > seen
        && forming.passes(filter)
    {
        delta.updates.push(forming.payload.clone());
    }
    delta
}

/// The newest state: what a new subscriber starts from.
#[must_use]
pub(crate) fn snapshot(
    state: &SlotState,
    forming: Option<&Forming>,
    upto: u64,
    filter: Filter,
) -> Option<Payload> {
    match forming.filter(|forming| forming.passes(filter)) {
        Some(forming) => Some(forming.payload.clone()),
        None => state
            .newest_closed(upto, filter)
            .map(|update| update.payload.clone()),
    }
}

/// Where a client stopped in a topic.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Place {
    /// The epoch in which its number counts.
    pub epoch: u64,
    /// The last number that it saw.
    pub seq: u64,
    /// End of the last closed bar that it has, unix ms, if it says so.
    pub closed_ms: Option<i64>,
}

/// What a client that stopped at `place` lacks, and whether that is all of it. In another epoch
/// the numbers say nothing: it gets every closed bar that is held.
///
/// A closed bar is lacking if its number is newer, or if it ends after the last one that the
/// client has: one that its gateway got late has an older number than what it saw.
#[must_use]
pub(crate) fn resume(
    state: &SlotState,
    forming: Option<&Forming>,
    upto: u64,
    filter: Filter,
    place: Place,
) -> (Delta, bool) {
    let Place { epoch, seq, .. } = place;
    let last = Stamp { epoch, seq };
    let mut delta = Delta::default();
    let is_known_epoch = state.newest.epoch == epoch && seq <= state.newest.seq;
    let is_lacking = |stamp: Stamp, end_ms: i64| {
        !is_known_epoch || stamp > last || place.closed_ms.is_some_and(|ms| end_ms > ms)
    };
    for update in &state.closed {
        if update.version <= upto
            && is_lacking(update.stamp, update.end_ms)
            && !(filter.no_fill && update.filled)
        {
            delta.updates.push(update.payload.clone());
        }
    }
    let mut is_whole = is_known_epoch;
    if is_known_epoch {
        let mut existed = 0;
        for logged in &state.log {
            if logged.version <= upto && is_lacking(logged.stamp, logged.end_ms) {
                existed += u64::from(logged.missed);
                existed += u64::from(!(filter.no_fill && logged.filled));
            }
        }
        delta.skipped = existed.saturating_sub(delta.updates.len() as u64);
        is_whole = state
            .forgotten
            .is_none_or(|forgotten| !is_lacking(forgotten.stamp, forgotten.end_ms));
    }
    if let Some(forming) = forming
        && forming.passes(filter)
        && (!is_known_epoch || forming.stamp > last)
    {
        delta.updates.push(forming.payload.clone());
    }
    (delta, is_whole)
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    /// A bar's head and payload: 1 s bars, numbered by `index`.
    pub(crate) fn bar(index: i64, seq: u64, epoch: u64, closed: bool) -> (BarHead, Bytes) {
        let head = BarHead {
            seq,
            epoch,
            start_ms: index * 1_000,
            end_ms: (index + 1) * 1_000,
            closed,
            rev: 0,
            filled: false,
        };
        let state = if closed { "closed" } else { "forming" };
        let payload = format!(
            r#"{{"topic":"kline:1s:A-B","seq":{seq},"epoch":{epoch},"start_ms":{},"end_ms":{},"state":"{state}","rev":0,"quality":"complete"}}"#,
            head.start_ms, head.end_ms,
        );
        (head, Bytes::from(payload))
    }
}

#[cfg(test)]
mod tests {
    use super::testing::bar;
    use super::*;

    const NONE: Filter = Filter {
        closed_only: false,
        no_fill: false,
    };

    struct Slot {
        state: SlotState,
        version: u64,
        depth: Depth,
    }

    impl Slot {
        fn new() -> Self {
            Self {
                state: SlotState::default(),
                version: 0,
                depth: Depth {
                    closed_bars: 4,
                    closed_log: 8,
                },
            }
        }

        fn offer(&mut self, index: i64, seq: u64, epoch: u64, closed: bool) -> Offered {
            let (head, payload) = bar(index, seq, epoch, closed);
            self.offer_head(head, payload)
        }

        fn offer_head(&mut self, head: BarHead, payload: Bytes) -> Offered {
            self.version += 1;
            self.state
                .offer_bar(&head, payload, self.version, self.depth)
        }

        fn delta(&self, seen: u64) -> Delta {
            delta(
                &self.state,
                self.state.forming().as_ref(),
                seen,
                self.version,
                NONE,
            )
        }

        fn resume(&self, epoch: u64, seq: u64, closed_ms: Option<i64>) -> (Delta, bool) {
            let place = Place {
                epoch,
                seq,
                closed_ms,
            };
            let forming = self.state.forming();
            resume(&self.state, forming.as_ref(), self.version, NONE, place)
        }

        fn snapshot(&self, filter: Filter) -> Option<Payload> {
            snapshot(
                &self.state,
                self.state.forming().as_ref(),
                self.version,
                filter,
            )
        }
    }

    const NEW: Offered = Offered::New {
        missed: 0,
        conflated: false,
    };

    #[test]
    fn closed_bars_come_in_order_before_the_newest_forming_one() {
        let mut slot = Slot::new();
        assert_eq!(slot.offer(1, 1, 1, false), NEW);
        assert_eq!(
            slot.offer(2, 2, 1, false),
            Offered::New {
                missed: 0,
                conflated: true
            }
        );
        assert_eq!(slot.offer(1, 3, 1, true), NEW);
        let delta = slot.delta(0);
        assert_eq!(delta.updates, [bar(1, 3, 1, true).1, bar(2, 2, 1, false).1]);
        assert_eq!(slot.delta(slot.version).updates.len(), 0);
    }

    #[test]
    fn duplicates_and_older_publications_are_dropped() {
        let mut slot = Slot::new();
        slot.offer(1, 5, 1, true);
        slot.offer(2, 7, 1, false);
        assert_eq!(slot.offer(2, 7, 1, false), Offered::Duplicate);
        assert_eq!(slot.offer(2, 6, 1, false), Offered::Stale);
        assert_eq!(slot.offer(1, 5, 1, true), Offered::Duplicate);
        // An older number, but a bar that is not here yet.
        assert_eq!(slot.offer(0, 4, 1, true), NEW);
        // A restarted publisher begins again.
        assert!(matches!(slot.offer(2, 1, 2, false), Offered::New { .. }));
        assert_eq!(slot.offer(2, 8, 1, false), Offered::Stale);
    }

    #[test]
    fn a_revision_of_a_closed_bar_is_new() {
        let mut slot = Slot::new();
        slot.offer(1, 1, 1, true);
        let (mut head, payload) = bar(1, 2, 1, true);
        head.rev = 1;
        assert_eq!(slot.offer_head(head, payload.clone()), NEW);
        assert_eq!(slot.offer_head(head, payload), Offered::Duplicate);
    }

    #[test]
    fn bars_that_never_came_are_counted() {
        let mut slot = Slot::new();
        slot.offer(1, 1, 1, true);
        assert_eq!(
            slot.offer(5, 2, 1, true),
            Offered::New {
                missed: 3,
                conflated: false
            }
        );
        assert_eq!(slot.delta(1).skipped, 3);
        assert_eq!(slot.delta(0).updates.len(), 2);
    }

    #[test]
    fn bars_beyond_what_is_held_are_counted_as_skipped() {
        let mut slot = Slot::new();
        for index in 0..7 {
            slot.offer(index, index as u64 + 1, 1, true);
        }
        let delta = slot.delta(1);
        assert_eq!((delta.updates.len(), delta.skipped), (4, 2));
        assert_eq!(slot.delta(4).skipped, 0);
    }

    #[test]
    fn a_closed_bar_replaces_its_forming_one_in_the_snapshot() {
        let mut slot = Slot::new();
        slot.offer(1, 1, 1, false);
        assert_eq!(slot.snapshot(NONE), Some(bar(1, 1, 1, false).1.into()));
        slot.offer(1, 2, 1, true);
        assert_eq!(slot.snapshot(NONE), Some(bar(1, 2, 1, true).1.into()));
        slot.offer(2, 3, 1, false);
        assert_eq!(slot.snapshot(NONE), Some(bar(2, 3, 1, false).1.into()));
        let closed_only = Filter {
            closed_only: true,
            ..NONE
        };
        assert_eq!(
            slot.snapshot(closed_only),
            Some(bar(1, 2, 1, true).1.into())
        );
    }

    #[test]
    fn flat_bars_can_be_declined_and_are_not_counted_as_skipped_then() {
        let mut slot = Slot::new();
        let no_fill = Filter {
            no_fill: true,
            ..NONE
        };
        for index in 0..8 {
            let (mut head, payload) = bar(index, index as u64 + 1, 1, true);
            head.filled = index % 2 == 1;
            slot.offer_head(head, payload);
        }
        let mut updates = Vec::new();
        assert_eq!(slot.state.closed_since(0, 8, no_fill, &mut updates), 2);
        assert_eq!(updates.len(), 2);
        assert_eq!(slot.snapshot(no_fill), Some(bar(6, 7, 1, true).1.into()));
    }

    #[test]
    fn a_client_resumes_where_it_was_or_is_told_that_it_cannot() {
        let mut slot = Slot::new();
        for index in 0..6 {
            slot.offer(index, index as u64 + 1, 7, true);
        }
        slot.offer(6, 7, 7, false);
        let resume = |epoch, seq| slot.resume(epoch, seq, None);
        let (delta, is_whole) = resume(7, 4);
        assert_eq!((delta.updates.len(), delta.skipped, is_whole), (3, 0, true));
        let (delta, is_whole) = resume(7, 1);
        assert_eq!((delta.updates.len(), delta.skipped, is_whole), (5, 1, true));
        let (delta, is_whole) = resume(7, 7);
        assert_eq!((delta.updates.len(), delta.skipped, is_whole), (0, 0, true));
        let (delta, is_whole) = resume(6, 900);
        assert_eq!((delta.updates.len(), is_whole), (5, false));
        let (_, is_whole) = resume(7, 900);
        assert!(!is_whole, "a number that was never given");
    }

    #[test]
    fn a_bar_that_came_late_is_not_counted_as_missed_as_well() {
        let mut slot = Slot::new();
        slot.offer(1, 1, 1, true);
        slot.offer(4, 5, 1, true);
        assert_eq!(slot.delta(1).skipped, 2);
        slot.offer(3, 4, 1, true);
        let delta = slot.delta(1);
        assert_eq!((delta.updates.len(), delta.skipped), (2, 1));
    }

    /// A gateway lost the closed bar 3, went on, and got it late: its client may have left
    /// meanwhile, having seen newer numbers.
    #[test]
    fn a_closed_bar_that_a_gateway_got_late_is_not_missed_at_the_next() {
        let mut next = Slot::new();
        for index in 0..4 {
            next.offer(index, index as u64 + 1, 7, true);
        }
        next.offer(4, 9, 7, false);
        let closed = |index: i64| Some(index * 1_000);
        // The client has closed bars up to 2 and the forming bar of number 9.
        let (delta, is_whole) = next.resume(7, 9, closed(3));
        assert_eq!(delta.updates, [bar(3, 4, 7, true).1]);
        assert_eq!((delta.skipped, is_whole), (0, true));
        let (delta, _) = next.resume(7, 9, closed(4));
        assert_eq!((delta.updates.len(), delta.skipped), (0, 0));
        // What is no longer held is counted, and what is no longer known is said.
        for index in 4..8 {
            next.offer(index, index as u64 + 10, 7, true);
        }
        let (delta, is_whole) = next.resume(7, 17, closed(3));
        assert_eq!((delta.updates.len(), delta.skipped, is_whole), (4, 1, true));
        for index in 8..14 {
            next.offer(index, index as u64 + 10, 7, true);
        }
        let (_, is_whole) = next.resume(7, 23, closed(3));
        assert!(!is_whole);
    }
}
