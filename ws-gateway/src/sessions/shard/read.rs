//! A read of one topic's past, for which a session waits.
//!
//! A session does not get the live bars of a topic while it reads the topic's past. The topic's slot
//! holds them back for it: the session enters the set with the topic when its past is complete.

mod paced;
mod phase;
mod revisions;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use market_core::protocol::{Filter, Past, ResumeToken};
use market_core::wire::history::BARS_PER_PAGE_MAX;
use market_core::wire::{HistoryOrder, HistoryQuery};
use market_core::{Topic, TopicPattern, UnixMillis, Width};

use self::phase::Phase;
use super::replay::{PAGE_BARS, Replay};
use crate::sessions::past::PastBar;
use crate::sessions::session_id::SessionId;
use client_frames::encode::batch::Prepared;

/// Shortest and longest rest before history is asked again.
const REST_MIN: Duration = Duration::from_millis(50);
const REST_MAX: Duration = Duration::from_secs(1);
/// Most bars whose revisions are remembered: a revision that came meanwhile is of a late bar.
const TOLD_MAX: usize = 2 * BARS_PER_PAGE_MAX;
/// Most pages in which revisions are looked for.
const REVISION_PAGES_MAX: usize = 16;
/// How far the clocks of two publishers may differ, ms.
const CLOCKS_DIFFER_MS: i64 = 2_000;
/// From this duration of a read on, the slot may have released revisions that came meanwhile: half
/// of the hold time of closed bars, so that history may lag by the other half.
const LONG: Duration = Duration::from_secs(15);
/// How much earlier than the read such a revision may have become known, ms.
const LATE_MS: i64 = 60_000;

/// What a read waits for.
#[derive(Debug)]
pub(super) enum Step {
    /// Other reads of the session.
    Queued,
    /// An answer of history.
    Asked,
    /// The socket, which has a page.
    Writing,
    /// The socket, which does not take this page yet.
    Held(Box<Prepared>),
    /// Some time.
    Resting,
    /// Others of its session, with which it goes live.
    Joining,
}

/// What comes after a page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Next {
    /// Another question.
    Ask,
    /// The same, after a rest: the page was empty although something follows.
    AskLater,
    /// The bars that the gateway holds.
    Join,
    /// The same, with the revisions that history had.
    Finish,
}

/// A read of one topic's past.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) session: SessionId,
    pub(super) pattern: TopicPattern,
    /// The topic of the bars.
    pub(super) topic: Topic,
    exchange: Option<String>,
    width: Width,
    pub(super) filter: Filter,
    phase: Phase,
    pub(super) step: Step,
    pub(super) next: Next,
    /// Version up to which the gateway had come when the read began.
    position: u64,
    /// The client has all closed bars that end here or before.
    pub(super) after_ms: Option<UnixMillis>,
    /// When the newest bar that the client has became known.
    pub(super) known_ms: UnixMillis,
    /// The client's bars before this one were not asked for.
    begin_ms: UnixMillis,
    /// With a token, or after a while: revisions that became known later are owed.
    owed_since_ms: Option<UnixMillis>,
    /// These revisions, the bar that starts last first.
    revisions: Vec<PastBar>,
    /// There are more of them than were looked for.
    lacks_revisions: bool,
    /// Before its turn, when it was asked for.
    pub(super) begun_at: Instant,
    /// This host's time at the first answer, unix ms.
    begun_ms: Option<UnixMillis>,
    bars_left: usize,
    /// Whether the next bar adjoins the newest one that the client has, if none is missing.
    is_begun: bool,
    /// Intervals without a bar between those that the client has.
    missing: u64,
    /// Start and revision of the last bars that were sent, ascending.
    told: VecDeque<(UnixMillis, u32)>,
    /// When the last bar came.
    progress_at: Instant,
    /// This host's time at the last answer, unix ms.
    asked_ms: UnixMillis,
    attempts: u32,
    /// The clock of a replay, and the bars that wait for it.
    pub(super) replay: Option<Box<Replay>>,
}

impl Read {
    #[expect(
        clippy::too_many_arguments,
        reason = "called once, with what a read is of"
    )]
    pub(super) fn new(
        session: SessionId,
        pattern: TopicPattern,
        topic: Topic,
        exchange: Option<String>,
        width: Width,
        filter: Filter,
        past: Past,
        position: u64,
        bars_max: usize,
        now: Instant,
    ) -> Self {
        let mut read = Self {
            session,
            pattern,
            topic,
            exchange,
            width,
            filter,
            phase: Phase::BARS,
            step: Step::Queued,
            next: Next::Ask,
            position,
            after_ms: None,
            known_ms: 0,
            begin_ms: UnixMillis::MAX,
            owed_since_ms: None,
            revisions: Vec::new(),
            lacks_revisions: false,
            begun_at: now,
            begun_ms: None,
            bars_left: bars_max,
            is_begun: false,
            missing: 0,
            told: VecDeque::new(),
            progress_at: now,
            asked_ms: 0,
            attempts: 0,
            replay: None,
        };
        match past {
            Past::Last(wanted) => {
                read.phase = Phase::Start {
                    wanted,
                    found: 0,
                    cursor: None,
                };
                // Others close while it reads.
                read.bars_left = wanted.saturating_add(BARS_PER_PAGE_MAX);
            }
            Past::Start(ms) | Past::Replay { start_ms: ms, .. } => {
                // The first bar that starts there or later.
                let start_ms = width.start_of(ms);
                let at = match start_ms == ms {
                    true => ms,
                    false => width.end_of(start_ms),
                };
                read.after_ms = Some(at);
                read.begin_ms = at;
            }
            Past::Token(token) => {
                read.after_ms = Some(token.end_ms());
                read.is_begun = true;
                read.known_ms = token.known_ms();
                read.begin_ms = UnixMillis::MIN;
                read.owed_since_ms = Some(token.known_ms().saturating_sub(CLOCKS_DIFFER_MS));
            }
        }
        read
    }

    /// It is this session's turn.
    pub(super) fn begin(&mut self, position: u64, now: Instant) {
        self.position = position;
        self.begun_at = now;
        self.progress_at = now;
    }

    /// The next question.
    pub(super) fn query(&mut self) -> HistoryQuery {
        self.step = Step::Asked;
        let mut query = HistoryQuery {
            topic: self.topic.to_string(),
            exchange: self.exchange.clone(),
            from_ms: None,
            to_ms: None,
            limit: BARS_PER_PAGE_MAX,
            order: HistoryOrder::Desc,
            as_of_ms: None,
            // Whatever the client wants: only then do the times of the bars adjoin.
            has_flat_bars: true,
            known_after_ms: None,
            cursor: None,
        };
        match &self.phase {
            Phase::Revisions { cursor, .. } => {
                query.to_ms = self.after_ms;
                query.known_after_ms = self.owed_since_ms;
                query.cursor.clone_from(cursor);
            }
            Phase::Start {
                wanted,
                found,
                cursor,
            } => {
                query.limit = wanted.saturating_sub(*found).clamp(1, BARS_PER_PAGE_MAX);
                query.cursor.clone_from(cursor);
            }
            Phase::Bars { cursor } => {
                query.order = HistoryOrder::Asc;
                query.from_ms = self.after_ms;
                let page_max = match self.replay {
                    None => BARS_PER_PAGE_MAX,
                    Some(_) => PAGE_BARS,
                };
                query.limit = self.bars_left.clamp(1, page_max);
                query.cursor.clone_from(cursor);
            }
        }
        query
    }

    /// Takes a page, and returns the bars of it that are to be sent, oldest first.
    pub(super) fn take(
        &mut self,
        mut bars: Vec<PastBar>,
        next: Option<String>,
        now: Instant,
    ) -> Vec<PastBar> {
        if !bars.is_empty() {
            self.progress_at = now;
        }
        if !bars.is_empty() || next.is_none() {
            self.attempts = 0;
        }
        match &mut self.phase {
            Phase::Start { cursor, .. } | Phase::Bars { cursor }
                if bars.is_empty() && next.is_some() =>
            {
                // History has looked at a part without bars.
                *cursor = next;
                self.next = Next::AskLater;
                Vec::new()
            }
            Phase::Revisions { cursor, pages } => {
                *pages += 1;
                let owed_ms = self.owed_since_ms.unwrap_or(UnixMillis::MAX);
                let count = bars.len();
                bars.retain(|bar| bar.known_ms > owed_ms);
                // A history that does not choose by this time has sent bars for nothing.
                let is_chosen = bars.len() == count;
                bars.retain(|bar| bar.rev > 0 && bar.start_ms >= self.begin_ms);
                self.revisions.append(&mut bars);
                if next.is_some() && is_chosen && *pages < REVISION_PAGES_MAX {
                    *cursor = next;
                    self.next = Next::Ask;
                } else {
                    self.lacks_revisions = next.is_some();
                    self.phase = Phase::BARS;
                    self.next = Next::Finish;
                }
                Vec::new()
            }
            Phase::Start {
                wanted,
                found,
                cursor,
            } => {
                let is_first = cursor.is_none();
                *found = found.saturating_add(bars.len());
                let first_ms = bars.last().map(|bar| bar.start_ms);
                if let Some(first_ms) = first_ms {
                    self.begin_ms = first_ms;
                }
                if *found < *wanted && next.is_some() && first_ms.is_some() {
                    *cursor = next;
                    self.next = Next::Ask;
                    return Vec::new();
                }
                if !is_first {
                    // From there on, forwards: pages are sent oldest first.
                    self.after_ms = Some(self.begin_ms);
                    self.phase = Phase::BARS;
                    self.next = Next::Ask;
                    return Vec::new();
                }
                self.next = Next::Join;
                if first_ms.is_some() {
                    self.phase = Phase::BARS;
                }
                bars.reverse();
                self.advance(&bars);
                bars
            }
            Phase::Bars { cursor } => {
                // From the last bar, which may be revised meanwhile.
                *cursor = None;
                self.next = match next {
                    Some(_) => Next::Ask,
                    None => Next::Join,
                };
                self.advance(&bars);
                bars
            }
        }
    }

    fn advance(&mut self, bars: &[PastBar]) {
        self.bars_left = self.bars_left.saturating_sub(bars.len());
        for bar in bars {
            self.follow(bar.start_ms);
            self.tell(bar);
            self.after_ms = Some(bar.end_ms);
        }
    }

    /// A bar comes next: counts the intervals before it that have none.
    pub(super) fn follow(&mut self, start_ms: UnixMillis) {
        if let Some(after_ms) = self.after_ms.filter(|_| self.is_begun) {
            let missing = self.width.bars_between(after_ms, start_ms);
            self.missing = self.missing.saturating_add(missing);
        }
        self.is_begun = true;
    }

    /// How many intervals between the bars of the client have none.
    pub(super) fn missing(&self) -> u64 {
        self.missing
    }

    fn tell(&mut self, bar: &PastBar) {
        self.known_ms = self.known_ms.max(bar.known_ms);
        if self.told.len() >= TOLD_MAX {
            self.told.pop_front();
        }
        self.told.push_back((bar.start_ms, bar.rev));
    }

    /// History has answered, asked at this time of this host.
    pub(super) fn answered(&mut self, asked_ms: UnixMillis) {
        self.asked_ms = asked_ms;
        self.begun_ms.get_or_insert(asked_ms);
    }

    /// No more bars may be sent, and there are some.
    pub(super) fn is_beyond_bound(&self) -> bool {
        self.bars_left == 0 && self.next == Next::Ask && matches!(self.phase, Phase::Bars { .. })
    }

    /// Whether the held bars alone can complete it: no revisions are owed, and its start is known.
    pub(super) fn may_join_at_once(&self) -> bool {
        self.after_ms.is_some() && self.owed_since_ms.is_none() && self.replay.is_none()
    }

    /// Whether no bar can have closed since, by the clock alone; or history has no bar at all.
    pub(super) fn is_whole_by_the_clock(&self) -> bool {
        let closed_ms = self.width.start_of(self.asked_ms);
        self.after_ms.is_none_or(|after_ms| after_ms >= closed_ms)
    }

    /// Whether a bar that is held is to be sent after the past. `known_ms` tells when it became
    /// known.
    pub(super) fn lacks(
        &self,
        version: u64,
        (start_ms, end_ms, rev): (UnixMillis, UnixMillis, u32),
        known_ms: impl FnOnce() -> UnixMillis,
    ) -> bool {
        if self.after_ms.is_none_or(|after_ms| end_ms > after_ms) {
            return true;
        }
        let came_meanwhile = version > self.position;
        match self
            .told
            .binary_search_by_key(&start_ms, |(start, _)| *start)
        {
            Ok(at) => {
                let told = self.told[at].1;
                rev > told || (came_meanwhile && rev != told)
            }
            Err(_) if start_ms < self.begin_ms => false,
            Err(_) => {
                let is_owed = |since_ms: UnixMillis| rev > 0 && known_ms() > since_ms;
                came_meanwhile || self.owed_since_ms.is_some_and(is_owed)
            }
        }
    }

    /// The rest before the next question; `None` if there was no progress for too long.
    pub(super) fn rest(&mut self, wait: Duration, now: Instant) -> Option<Duration> {
        if now.saturating_duration_since(self.progress_at) >= wait {
            return None;
        }
        let rest = REST_MIN.saturating_mul(1 << self.attempts.min(10));
        self.attempts = self.attempts.saturating_add(1);
        self.step = Step::Resting;
        Some(rest.min(REST_MAX))
    }

    /// Where the client is with these bars.
    pub(super) fn token(&self) -> Option<ResumeToken> {
        ResumeToken::new(self.after_ms?, self.known_ms)
    }
}
