//! Revisions that came while a session read the past.

use std::time::Instant;

use market_core::UnixMillis;

use super::phase::Phase;
use super::{LATE_MS, LONG, Next, Read};
use crate::sessions::past::PastBar;

impl Read {
    /// What must be asked before it is complete, although no bar is missing: revisions that the
    /// held bars may lack. False if nothing.
    pub(in crate::sessions::shard) fn look_for_revisions(&mut self, now: Instant) -> bool {
        if self.next == Next::Finish || self.after_ms.is_none() {
            return false;
        }
        let is_long = now.saturating_duration_since(self.begun_at) >= LONG;
        if is_long && self.owed_since_ms.is_none() {
            let begun_ms = self.begun_ms.unwrap_or(self.asked_ms);
            self.owed_since_ms = Some(begun_ms.saturating_sub(LATE_MS));
        }
        if self.owed_since_ms.is_none() {
            return false;
        }
        self.revisions.clear();
        self.lacks_revisions = false;
        self.phase = Phase::Revisions {
            cursor: None,
            pages: 0,
        };
        true
    }

    /// Whether the client is owed revisions that were not looked for.
    pub(in crate::sessions::shard) fn lacks_revisions(&self) -> bool {
        self.lacks_revisions
    }

    /// There is a hole before the held bars: bars are looked for again, then revisions.
    pub(in crate::sessions::shard) fn look_for_bars(&mut self) {
        if self.next == Next::Finish {
            self.next = Next::Ask;
        }
    }

    /// The revisions that history had and the client lacks, oldest bar first. Of the bars that
    /// `is_held` holds for, the gateway has a newer one.
    pub(in crate::sessions::shard) fn take_revisions(
        &mut self,
        is_held: impl Fn(UnixMillis, u32) -> bool,
    ) -> Vec<PastBar> {
        let mut revisions = std::mem::take(&mut self.revisions);
        revisions.reverse();
        revisions.retain(|bar| {
            let at = self
                .told
                .binary_search_by_key(&bar.start_ms, |(start, _)| *start);
            at.map_or(true, |at| bar.rev > self.told[at].1) && !is_held(bar.start_ms, bar.rev)
        });
        for bar in &revisions {
            self.known_ms = self.known_ms.max(bar.known_ms);
            match self
                .told
                .binary_search_by_key(&bar.start_ms, |(start, _)| *start)
            {
                Ok(at) => self.told[at].1 = bar.rev,
                Err(at) => self.told.insert(at, (bar.start_ms, bar.rev)),
            }
        }
        revisions
    }
}
