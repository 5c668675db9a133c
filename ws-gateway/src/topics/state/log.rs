//! A topic whose entries all count: each comes in order, or is counted as skipped. A change of epoch
//! is a hole of unknown size.
//!
//! The last entries are held for as long as the topic lives, and all others for their hold time. Of
//! older ones only a running number by version is remembered, for as long as some session may lack
//! them.

use std::collections::VecDeque;

use bytes::Bytes;

use super::bar::StreamPosition;
use super::depth::Keep;
use super::offered::Offered;
use super::resume_position::ResumePosition;
use client_frames::encode::payload::Payload;

/// The entries of a topic.
#[derive(Debug, Default)]
pub(crate) struct Log {
    /// The held entries, ascending by version and by position.
    held: VecDeque<Entry>,
    /// The entries that are no longer held, and the holes before them.
    gone: VecDeque<Gone>,
    /// The number of gone entries that every session has got or was told of; and of those before
    /// the first of `gone`.
    told: u64,
    /// The number of all gone entries.
    gone_total: u64,
    newest: StreamPosition,
}

#[derive(Debug)]
struct Entry {
    version: u64,
    position: StreamPosition,
    /// Entries right before it that never reached this gateway.
    missed: u64,
    payload: Payload,
}

/// An entry that is no longer held.
#[derive(Debug)]
struct Gone {
    version: u64,
    /// The number of gone entries up to this one, with the holes before them.
    total: u64,
}

/// Gone entries that are remembered one by one, for each entry that may be held. Sessions that lack
/// older ones are told of too many of them.
const GONE_PER_HELD: usize = 4;

/// Entries that streams which are made of them get at once. If more come before they look, these are
/// holes in the stream, of which its sessions are told.
pub(super) const FOLLOWED_MAX: usize = 256;

impl Log {
    /// The last entries, the newest last.
    pub(super) fn publications(&self) -> Vec<Bytes> {
        let from = self.held.len().saturating_sub(FOLLOWED_MAX);
        let entries = self.held.range(from..);
        entries.map(|entry| entry.payload.json().clone()).collect()
    }

    /// Takes an entry. `early` rises by the entries that are released before their hold time is
    /// over.
    pub(super) fn offer(
        &mut self,
        position: StreamPosition,
        payload: Bytes,
        version: u64,
        keep: Keep,
        early: &mut u64,
    ) -> Offered {
        if position == self.newest {
            return Offered::Duplicate;
        }
        if position < self.newest {
            return Offered::Stale;
        }
        // The first number of an epoch says nothing about the end of the epoch before.
        let is_next = position.epoch == self.newest.epoch;
        let after = self.newest.seq.saturating_add(1);
        let missed = match is_next {
            true => position.seq.saturating_sub(after),
            false => 0,
        };
        self.newest = position;
        self.held.push_back(Entry {
            version,
            position,
            missed,
            payload: Payload::from(payload),
        });
        let depth = keep.depth;
        while self.held.len() > depth.log_entries
            && (self.held.front()).is_some_and(|first| first.version <= keep.old_upto)
        {
            self.release();
        }
        while self.held.len() > depth.log_burst_max.max(1) {
            self.release();
            *early += 1;
        }
        self.forget(keep);
        Offered::New {
            missed: u32::try_from(missed).unwrap_or(u32::MAX),
            late: false,
            conflated: false,
        }
    }

    /// The hold time of a version is over: the entry stays only if it is one of the last. True if
    /// it is no longer held because of this.
    pub(super) fn let_go(&mut self, version: u64, keep: Keep) -> bool {
        let mut is_gone = false;
        while self.held.len() > keep.depth.log_entries
            && (self.held.front()).is_some_and(|first| first.version <= version)
        {
            self.release();
            is_gone = true;
        }
        self.forget(keep);
        is_gone
    }

    /// The oldest entry is no longer held.
    fn release(&mut self) {
        if let Some(first) = self.held.pop_front() {
            self.gone_total = self
                .gone_total
                .saturating_add(first.missed)
                .saturating_add(1);
            self.gone.push_back(Gone {
                version: first.version,
                total: self.gone_total,
            });
        }
    }

    fn forget(&mut self, keep: Keep) {
        let gone_max = keep.depth.log_burst_max.saturating_mul(GONE_PER_HELD);
        while let Some(first) = self.gone.front() {
            if first.version <= keep.told_upto {
                self.told = first.total;
            } else if self.gone.len() <= gone_max {
                break;
            }
            self.gone.pop_front();
        }
    }

    /// The number of gone entries up to a version. It may be too low, but never too high, if that
    /// version is older than what is remembered: then a session is told of too many.
    fn gone_upto(&self, version: u64) -> u64 {
        let at = self.gone.partition_point(|gone| gone.version <= version);
        match at.checked_sub(1) {
            Some(at) => self.gone[at].total,
            None => self.told,
        }
    }

    /// Appends the entries of versions above `seen` and up to `upto`, the newest ones that fit
    /// `room`, and returns the number of the others. `room` falls by their bytes. The newest entry
    /// always fits.
    pub(super) fn since(
        &self,
        seen: u64,
        upto: u64,
        room: &mut usize,
        updates: &mut Vec<Payload>,
    ) -> u64 {
        let begin = self.held.partition_point(|entry| entry.version <= seen);
        let end = self.held.partition_point(|entry| entry.version <= upto);
        // A session that has seen a version of these has seen all gone entries before it.
        let gone = match begin {
            0 => self.gone_upto(upto).saturating_sub(self.gone_upto(seen)),
            _ => 0,
        };
        gone.saturating_add(self.append(begin, end, room, updates))
    }

    /// Appends the entries of a range; see [`Log::since`].
    fn append(
        &self,
        begin: usize,
        end: usize,
        room: &mut usize,
        updates: &mut Vec<Payload>,
    ) -> u64 {
        let mut first = end;
        while first > begin {
            let bytes = self.held[first - 1].payload.json_bytes();
            if bytes > *room && first < end {
                break;
            }
            *room = room.saturating_sub(bytes);
            first -= 1;
        }
        let mut skipped = 0u64;
        for (at, entry) in self.held.range(begin..end).enumerate() {
            skipped = skipped.saturating_add(entry.missed);
            if begin + at < first {
                skipped = skipped.saturating_add(1);
            } else {
                updates.push(entry.payload.clone());
            }
        }
        skipped
    }

    /// The newest entry up to version `upto`.
    pub(super) fn last(&self, upto: u64) -> Option<Payload> {
        let end = self.held.partition_point(|entry| entry.version <= upto);
        let last = self.held.get(end.checked_sub(1)?)?;
        Some(last.payload.clone())
    }

    /// Appends the entries up to version `upto` after the place where a client stopped. Returns the
    /// number of those that are no longer held, and whether it knows of all: numbers of another
    /// epoch say nothing about what came between the two.
    pub(super) fn after(
        &self,
        place: ResumePosition,
        upto: u64,
        room: &mut usize,
        updates: &mut Vec<Payload>,
    ) -> (u64, bool) {
        let last = StreamPosition {
            epoch: place.epoch,
            seq: place.seq,
        };
        let begin = self.held.partition_point(|entry| entry.position <= last);
        let end = self.held.partition_point(|entry| entry.version <= upto);
        let is_known = self.newest.epoch == place.epoch;
        let end = end.max(begin);
        let mut skipped = self.append(begin, end, room, updates);
        if is_known && let Some(first) = self.held.get(begin).filter(|_| begin < end) {
            // By the numbers: gone entries, and the hole before the first held one.
            let hole = first.position.seq.saturating_sub(last.seq).max(1) - 1;
            skipped = skipped.saturating_sub(first.missed).saturating_add(hole);
        }
        match is_known {
            true => (skipped, true),
            // The client gets the held entries, and no number, because the number is unknown.
            false => (0, false),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::super::depth::Depth;
    use super::*;

    const DEPTH: Depth = Depth {
        closed_bars: 4,
        closed_log: 8,
        lag_max: Duration::from_secs(75),
        hold: Duration::from_secs(30),
        burst_max: 8,
        hold_bytes_max: 1 << 20,
        log_entries: 3,
        log_burst_max: 6,
        log_hold_bytes_max: 1 << 20,
        earlier_books: 3,
    };

    fn keep(old_upto: u64, told_upto: u64) -> Keep {
        Keep {
            depth: DEPTH,
            old_upto,
            told_upto,
        }
    }

    fn at(epoch: u64, seq: u64) -> StreamPosition {
        StreamPosition { epoch, seq }
    }

    fn json(seq: u64) -> Bytes {
        Bytes::from(format!("{{\"seq\":{seq}}}"))
    }

    fn seqs(updates: &[Payload]) -> Vec<u64> {
        let seq = |update: &Payload| {
            let value: serde_json::Value = serde_json::from_slice(update.json()).expect("JSON");
            value["seq"].as_u64().expect("a number")
        };
        updates.iter().map(seq).collect()
    }

    fn log_of(seqs: impl IntoIterator<Item = u64>, keep: Keep) -> (Log, u64) {
        let (mut log, mut version, mut early) = (Log::default(), 0, 0);
        for seq in seqs {
            version += 1;
            log.offer(at(1, seq), json(seq), version, keep, &mut early);
        }
        (log, version)
    }

    fn since(log: &Log, seen: u64, upto: u64, mut room: usize) -> (u64, Vec<u64>) {
        let mut updates = Vec::new();
        let skipped = log.since(seen, upto, &mut room, &mut updates);
        (skipped, seqs(&updates))
    }

    fn after(log: &Log, epoch: u64, seq: u64) -> (u64, bool, Vec<u64>) {
        let place = ResumePosition {
            epoch,
            seq,
            closed_ms: None,
        };
        let mut updates = Vec::new();
        let (skipped, is_whole) = log.after(place, u64::MAX, &mut { usize::MAX }, &mut updates);
        (skipped, is_whole, seqs(&updates))
    }

    #[test]
    fn an_entry_that_came_before_comes_no_second_time() {
        let (mut log, version) = log_of([1, 2], keep(0, 0));
        let mut offer = |position| log.offer(position, json(9), version + 1, keep(0, 0), &mut 0);
        assert_eq!(offer(at(1, 2)), Offered::Duplicate);
        assert_eq!(offer(at(1, 1)), Offered::Stale);
        assert_eq!(offer(at(0, 9)), Offered::Stale);
        assert!(matches!(offer(at(2, 1)), Offered::New { missed: 0, .. }));
    }

    #[test]
    fn entries_that_never_came_are_counted_before_the_next_one() {
        let (log, version) = log_of([1, 2, 6], keep(0, 0));
        assert_eq!(since(&log, 2, version, 1_000), (3, vec![6]));
        assert_eq!(since(&log, 0, version, 1_000), (3, vec![1, 2, 6]));
    }

    #[test]
    fn a_change_of_epoch_is_a_hole_that_nobody_counts() {
        let (mut log, version) = log_of([1, 2], keep(0, 0));
        let first = at(2, 4);
        let _ = log.offer(first, json(4), version + 1, keep(0, 0), &mut 0);
        assert_eq!(since(&log, 2, version + 1, 1_000), (0, vec![4]));
        // A resuming client is told that something may be missing.
        assert_eq!(after(&log, 1, 2), (0, false, vec![4]));
        // And from there on all are counted.
        let _ = log.offer(at(2, 7), json(7), version + 2, keep(0, 0), &mut 0);
        assert_eq!(since(&log, 3, version + 2, 1_000), (2, vec![7]));
    }

    #[test]
    fn a_burst_beyond_the_bound_is_counted_exactly() {
        let (log, version) = log_of(1..=20, keep(0, 0));
        assert_eq!(
            since(&log, 0, version, 1_000),
            (14, vec![15, 16, 17, 18, 19, 20])
        );
        assert_eq!(
            since(&log, 10, version, 1_000),
            (4, vec![15, 16, 17, 18, 19, 20])
        );
        assert_eq!(since(&log, 18, version, 1_000), (0, vec![19, 20]));
        assert_eq!(since(&log, 10, 12, 1_000), (2, vec![]));
    }

    #[test]
    fn a_session_gets_the_newest_entries_that_fit_and_a_count_of_the_others() {
        let (log, version) = log_of(1..=5, keep(0, 0));
        let bytes = json(1).len();
        assert_eq!(since(&log, 0, version, 2 * bytes), (3, vec![4, 5]));
        assert_eq!(since(&log, 0, version, 0), (4, vec![5]), "one always fits");
    }

    #[test]
    fn entries_are_held_for_their_time_and_the_last_ones_for_ever() {
        let (mut log, version) = log_of(1..=5, keep(0, 0));
        assert!(log.let_go(1, keep(1, 0)));
        assert_eq!(since(&log, 0, version, 1_000), (1, vec![2, 3, 4, 5]));
        assert!(log.let_go(5, keep(5, 0)));
        assert_eq!(since(&log, 0, version, 1_000), (2, vec![3, 4, 5]));
        assert!(!log.let_go(5, keep(5, 0)));
        log.offer(at(1, 6), json(6), 6, keep(5, 0), &mut 0);
        assert_eq!(since(&log, 0, 6, 1_000), (3, vec![4, 5, 6]));
    }

    #[test]
    fn what_is_gone_is_remembered_only_while_a_session_may_lack_it() {
        let (mut log, version) = log_of(1..=1_000, keep(0, 0));
        assert_eq!(log.gone.len(), 4 * 6);
        // Too many, because the log does not remember how many of these it has seen.
        assert_eq!(since(&log, 900, version, 1_000).0, 994);
        assert_eq!(since(&log, 990, version, 1_000).0, 4);
        log.let_go(0, keep(0, 994));
        assert!(log.gone.is_empty());
        assert_eq!(since(&log, 999, version, 1_000), (0, vec![1_000]));
    }

    #[test]
    fn a_client_resumes_at_its_number_and_is_told_what_is_no_longer_held() {
        let (log, _) = log_of((1..=10).chain(13..=14), keep(0, 0));
        assert_eq!(after(&log, 1, 14), (0, true, vec![]));
        assert_eq!(
            after(&log, 1, 20),
            (0, true, vec![]),
            "this gateway is behind"
        );
        assert_eq!(after(&log, 1, 9), (2, true, vec![10, 13, 14]));
        assert_eq!(after(&log, 1, 11), (1, true, vec![13, 14]));
        assert_eq!(after(&log, 1, 4), (4, true, vec![7, 8, 9, 10, 13, 14]));
        assert_eq!(after(&log, 2, 3), (0, false, vec![]));
        assert_eq!(after(&log, 0, 0), (0, false, vec![7, 8, 9, 10, 13, 14]));
    }

    proptest! {
        /// A session that takes what it lacks at any moments, with any bound of bytes, has got or
        /// was told of each entry exactly once, while its place is remembered.
        #[test]
        fn got_and_skipped_are_all_entries(
            steps in proptest::collection::vec((1u64..4, any::<bool>(), 0usize..60, any::<bool>()), 1..60),
        ) {
            let (mut log, mut version, mut seq, mut seen) = (Log::default(), 0, 0, 0);
            let (mut got, mut skipped) = (Vec::new(), 0);
            for (step, is_taken, room, lets_go) in steps {
                seq += step;
                version += 2;
                log.offer(at(1, seq), json(seq), version, keep(0, 0), &mut 0);
                if lets_go {
                    log.let_go(version, keep(version, 0));
                }
                if is_taken {
                    let (more, mut updates) = since(&log, seen, version, room);
                    skipped += more;
                    got.append(&mut updates);
                    seen = version;
                }
            }
            let (more, mut updates) = since(&log, seen, version, usize::MAX);
            skipped += more;
            got.append(&mut updates);
            prop_assert!(got.is_sorted_by(|a, b| a < b));
            // The first entry of all tells nothing about what was before it.
            prop_assert!(got.len() as u64 + skipped <= seq);
            prop_assert!(got.last() == Some(&seq));
            let first = seq - (got.len() as u64 + skipped);
            prop_assert!(first < 3, "{first} before the first");
        }
    }
}
