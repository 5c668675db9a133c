//! Replays: the past of a topic at the pace of a clock of its own, and then the present.
//!
//! A replay is a read of the topic's past whose bars wait until the clock has come to their ends. Once
//! history has no bar after those that were sent, the session enters the set with the topic, as after
//! every other read.

use std::time::Instant;

use market_core::protocol::ErrorCode;
use market_core::{TopicPattern, UnixMillis};

use super::Shard;
use super::effect::Echo;
use super::read::{Next, Step};
use crate::limits::Beyond;
use crate::sessions::outlet::Outlet;
use crate::sessions::past::{PastBar, ReadId};
use crate::sessions::replay_places::{NoPlace, ReplayPlace};
use crate::sessions::session_id::SessionId;

impl<O: Outlet> Shard<O> {
    /// The places for the replayed topics of a session; none, and an answer, if there are not enough.
    /// A topic that the session replays already keeps its place.
    pub(super) fn replay_places(
        &mut self,
        id: SessionId,
        echo: &Echo,
        patterns: &[TopicPattern],
    ) -> Option<Vec<ReplayPlace>> {
        let replaced: Vec<ReadId> = self
            .reads
            .of(id)
            .filter(|(_, read)| read.replay.is_some() && patterns.contains(&read.pattern))
            .map(|(read_id, _)| read_id)
            .collect();
        let sharer = self.sharer(id);
        let places = &self.config.replay_places;
        let more = patterns.len().saturating_sub(replaced.len());
        let taken: Result<Vec<ReplayPlace>, NoPlace> =
            (0..more).map(|_| places.take(sharer)).collect();
        let mut taken = match taken {
            Ok(taken) => taken,
            Err(no_place) => {
                self.refuse_replay(id, echo, no_place);
                return None;
            }
        };
        for read_id in replaced {
            let read = self.reads.get_mut(read_id);
            let replay = read.and_then(|read| read.replay.take());
            taken.extend(replay.map(|replay| replay.into_place()));
        }
        Some(taken)
    }

    fn refuse_replay(&mut self, id: SessionId, echo: &Echo, no_place: NoPlace) {
        let code = ErrorCode::TooManySubscriptions;
        let counts = &mut self.counts;
        let (count, code, message) = match no_place {
            NoPlace::Beyond(Beyond::Session(most)) => (
                &mut counts.replays_refused_session,
                code,
                format!(
                    "a session replays {most} topics at once: unsubscribe one, or open another connection"
                ),
            ),
            NoPlace::Beyond(Beyond::Address(most)) => (
                &mut counts.replays_refused_address,
                code,
                format!(
                    "an address replays {most} topics at once: unsubscribe one of any of its connections, or leave out speed"
                ),
            ),
            NoPlace::Gateway(most) => (
                &mut counts.replays_refused_gateway,
                ErrorCode::Overloaded,
                format!(
                    "all places for replays of this gateway are taken ({most}): try again later, or leave out speed"
                ),
            ),
        };
        *count += 1;
        self.refuse(id, echo.clone(), code, &message);
    }

    /// A replay begins.
    pub(super) fn begin_replay(&mut self, read_id: ReadId, now: Instant) {
        let position = self.subscriptions.version;
        self.reads.begun(read_id);
        if let Some(read) = self.reads.get_mut(read_id) {
            read.begin(position, now);
            self.ask_history(read_id, now);
        }
    }

    /// A replay gets a page.
    pub(super) fn play_page(&mut self, read_id: ReadId, bars: Vec<PastBar>, now: Instant) {
        let read = self.reads.get_mut(read_id);
        if let Some(replay) = read.and_then(|read| read.replay.as_mut()) {
            replay.take(bars);
            self.play(read_id, now);
        }
    }

    /// A replay sends what is due, or rests until something is.
    pub(super) fn play(&mut self, read_id: ReadId, now: Instant) {
        let Some(read) = self.reads.get_mut(read_id) else {
            return;
        };
        let Some(replay) = &mut read.replay else {
            return;
        };
        let due = replay.due(now);
        match replay.next_at() {
            Some(next_at) if due.is_empty() => {
                read.step = Step::Resting;
                let session = read.session;
                self.reads.rest(read_id, next_at);
                self.skip_hole(session, read_id, now);
            }
            _ => self.send_page(read_id, due, now),
        }
    }

    /// Where all topics of a request wait for bars that begin later than their clock is, it goes to
    /// the first of these at once: nobody wants to wait for a hole in the past.
    fn skip_hole(&mut self, session: SessionId, read_id: ReadId, now: Instant) {
        let replay_of = |id: ReadId| self.reads.get(id)?.replay.as_ref();
        let Some(clock) = replay_of(read_id).map(|replay| replay.clock().clone()) else {
            return;
        };
        let mut others = self.reads.replays(session);
        others.retain(|id| replay_of(*id).is_some_and(|replay| replay.clock().is(&clock)));
        let starts: Option<Vec<UnixMillis>> = others
            .iter()
            .map(|id| replay_of(*id)?.next_start_ms())
            .collect();
        // One without bars waits for a page, or is about to end.
        let Some(first_ms) = starts.and_then(|starts| starts.into_iter().min()) else {
            return;
        };
        if !clock.skip_to(first_ms, now) {
            return;
        }
        self.counts.replay_holes += 1;
        for id in others {
            let next_at = self.reads.get(id).and_then(|read| {
                let is_resting = matches!(read.step, Step::Resting);
                read.replay.as_ref().filter(|_| is_resting)?.next_at()
            });
            if let Some(next_at) = next_at {
                self.reads.rest(id, next_at);
            }
        }
    }

    /// The part of a replay that follows when its socket has taken what was due; false if the read
    /// goes on as every other one.
    pub(super) fn plays_on(&mut self, read_id: ReadId, now: Instant) -> bool {
        let Some(read) = self.reads.get_mut(read_id) else {
            return false;
        };
        let Some(replay) = &read.replay else {
            return false;
        };
        if replay.has_waiting() {
            self.play(read_id, now);
            return true;
        }
        if !replay.is_behind() || !matches!(read.next, Next::Ask | Next::Join) {
            return false;
        }
        // It waited for its clock, and not for history.
        read.progressed(now);
        self.ask_history(read_id, now);
        true
    }
}
