//! A share of the sessions: the subscriptions of each, the version that it has seen, and the
//! updates that it lacks.
//!
//! A shard is a state machine without clock, task or socket: time is an argument, and output goes
//! to an [`Outlet`]. One task owns it (`flush`). A session here is an index, a version and a set of
//! topics; none of these grows while its client does not read.

mod answer;
mod delivery;
mod departures;
mod interest;
mod member;
mod standing;
mod topic_list;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use market_core::Topic;
use market_core::protocol::{
    CloseCode, ErrorCode, Filter, Op, Request, RequestError, encode_error, encode_pong,
};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use self::delivery::Cursor;
use self::departures::Departures;
use self::member::Member;
use crate::auth::AuthRules;
use crate::encode::deflate::{Compression, Deflater};
use crate::metrics::Counts;
use crate::sessions::agenda::{Agenda, Changes, Pace};
use crate::sessions::called::Called;
use crate::sessions::outlet::{Outlet, Sent};
use crate::sessions::session_id::SessionId;
use crate::sessions::set_id::SetId;
use crate::sessions::topic_set::TopicSets;
use crate::sessions::wheel::Wheel;
use crate::standstill::STANDSTILL;
use crate::topics::hub::Hub;
use crate::topics::slot::{Slot, SlotId};
use crate::topics::state::Forming;

use standing::Standings;
use topic_list::TopicLists;

/// Bounds and times of the sessions.
#[derive(Clone, Debug)]
pub(crate) struct ShardConfig {
    /// Most subscriptions of a session; a wildcard counts as one.
    pub subscriptions_max: usize,
    /// Of them, with wildcards.
    pub wildcards_max: usize,
    /// Most topics of a session, with its wildcards expanded.
    pub topics_max: usize,
    /// Most bytes of the names of a session's subscriptions.
    pub name_bytes_max: usize,
    /// Most bytes of closed bars for a session that resumes.
    pub resume_bytes_max: usize,
    /// Topics that `list` names.
    pub list_max: usize,
    /// Most payload of a frame, bytes.
    pub frame_bytes_max: usize,
    /// Which messages are compressed for clients that accept it.
    pub compression: Compression,
    /// Between pings, on average.
    pub ping_interval: Duration,
    /// Longest time without a message from the client.
    pub idle_timeout: Duration,
    /// Time within which the first request must come, or the token where one is required.
    pub first_message_timeout: Duration,
    /// When changes are sent.
    pub pace: Pace,
    /// The rules for sessions where tokens are checked.
    pub auth: Option<AuthRules>,
}

/// A slot as of the last pull.
#[derive(Debug)]
struct View {
    slot: Arc<Slot>,
    newest: u64,
    /// See [`crate::topics::hub::Changed::lasting`].
    lasting: u64,
    forming: Option<Forming>,
    /// The venue of its bars, if they name it.
    exchange: Option<Arc<str>>,
    /// Its name with the venue in front, if its own has none.
    alias: Option<Topic>,
    /// The sets that contain it, and the messages of it that they decline.
    sets: HashMap<SetId, Filter>,
    /// Whether it comes last in a frame.
    is_mark: bool,
}

impl View {
    /// What it is called.
    fn called(&self) -> Called<'_> {
        Called {
            topic: &self.slot.topic,
            alias: self.alias.as_ref(),
        }
    }

    /// Version of the newest publication that a set with this filter may want.
    fn newest_for(&self, filter: Filter) -> u64 {
        match filter.closed_only {
            true => self.lasting,
            false => self.newest,
        }
    }
}

#[derive(Debug)]
enum Timer {
    Check(SessionId),
    Expiry(SessionId),
}

/// A share of the sessions.
#[derive(Debug)]
pub(crate) struct Shard<O> {
    config: ShardConfig,
    hub: Arc<Hub>,
    index: usize,
    views: Vec<View>,
    /// All versions up to here have been pulled.
    version: u64,
    sets: TopicSets,
    members: Vec<Option<Member<O>>>,
    free: Vec<u32>,
    generation: u32,
    /// Sets with changes to send.
    agenda: Agenda,
    /// Sessions that are due separately: they could not take updates before.
    due_members: Vec<SessionId>,
    /// When these may get a frame.
    members_at: Instant,
    /// Sessions that wait because of their `max_rate`.
    delayed: BinaryHeap<Reverse<(Instant, SessionId)>>,
    cursor: Cursor,
    departures: Departures,
    /// Sessions, without those that were chosen to move.
    staying: usize,
    wheel: Wheel<Timer>,
    fired: Vec<Timer>,
    /// When the last standstill ended, or the shard began.
    awake_since: Instant,
    rng: SmallRng,
    deflater: Deflater,
    lists: TopicLists,
    standings: Standings,
    /// See [`Counts`].
    pub counts: Counts,
}

/// From this number of sessions on, a set's frames are compressed as a whole, in half the bytes.
const SHARED_MEMBERS_MIN: usize = 8;
/// Shorter answers do not count: a session has only one.
const COUNTED_BYTES_MIN: usize = 1_024;
const WHEEL_TICK: Duration = Duration::from_millis(250);

impl<O: Outlet> Shard<O> {
    /// A shard without sessions. `index` is its number in the hub.
    #[must_use]
    pub(crate) fn new(
        config: ShardConfig,
        hub: Arc<Hub>,
        index: usize,
        seed: u64,
        now: Instant,
    ) -> Self {
        Self {
            deflater: Deflater::new(config.compression),
            config,
            hub,
            index,
            views: Vec::new(),
            version: 0,
            sets: TopicSets::default(),
            members: Vec::new(),
            free: Vec::new(),
            generation: 0,
            agenda: Agenda::default(),
            due_members: Vec::new(),
            members_at: now,
            delayed: BinaryHeap::new(),
            cursor: Cursor::default(),
            departures: Departures::default(),
            staying: 0,
            wheel: Wheel::new(now, WHEEL_TICK),
            fired: Vec::new(),
            awake_since: now,
            rng: SmallRng::seed_from_u64(seed),
            lists: TopicLists::default(),
            standings: Standings::default(),
            counts: Counts::default(),
        }
    }

    /// How many different sets of topics the sessions have.
    #[must_use]
    pub(crate) fn set_count(&self) -> usize {
        self.sets.count()
    }

    /// The counts since the last call.
    pub(crate) fn take_counts(&mut self) -> Counts {
        let mut counts = std::mem::take(&mut self.counts);
        (counts.deflate_in_bytes, counts.deflate_out_bytes) = self.deflater.take_work();
        counts.pattern_lookups = self.sets.take_lookups();
        counts
    }

    /// Takes the changes from the hub.
    pub(crate) fn pull(&mut self) {
        let pulled = self.hub.pull(self.index, self.views.len());
        self.version = pulled.version;
        for slot in pulled.created {
            let id = SlotId(u32::try_from(self.views.len()).expect("fewer than 2^32 topics"));
            let called = Called {
                topic: &slot.topic,
                alias: None,
            };
            let sets = self.sets.appear(
                called,
                id,
                self.config.topics_max,
                &mut self.counts.beyond_bound,
            );
            self.views.push(View {
                is_mark: slot.topic.as_str().starts_with("boundary:"),
                slot,
                newest: 0,
                lasting: 0,
                forming: None,
                exchange: None,
                alias: None,
                sets: sets.into_iter().collect(),
            });
        }
        for (id, exchange) in pulled.named {
            self.name(id, exchange);
        }
        for changed in pulled.changed {
            let view = &mut self.views[changed.slot.index()];
            // The first publication ends the pending state, even if it is declined itself.
            let is_first = view.newest == 0;
            let is_lasting = changed.lasting > view.lasting || is_first;
            view.newest = changed.newest;
            view.lasting = changed.lasting;
            view.forming = changed.forming;
            let at = pulled.since.expect("what changed has its time");
            for (&id, filter) in &view.sets {
                if filter.closed_only && !is_lasting {
                    continue;
                }
                let set = self.sets.get_mut(id);
                set.changed(changed.slot, changed.newest);
                match &mut set.changes {
                    Some(changes) => changes.last = at,
                    none => {
                        let changes = Changes {
                            first: at,
                            last: at,
                        };
                        *none = Some(changes);
                        let due_at = self.config.pace.due_at(changes, set.sent_at);
                        self.agenda.add(due_at, id);
                    }
                }
            }
        }
    }

    /// A slot's bars name their venue: sessions that want its bars of this venue get them from now
    /// on, and sessions that want the previous venue no longer do.
    fn name(&mut self, id: SlotId, exchange: Arc<str>) {
        let view = &mut self.views[id.index()];
        let alias = view.slot.topic.with_exchange(&exchange);
        view.exchange = Some(exchange);
        let former = std::mem::replace(&mut view.alias, alias);
        if let Some(former) = former {
            let mut sets = std::mem::take(&mut self.views[id.index()].sets);
            let view = &self.views[id.index()];
            self.sets.rename(view.called(), &former, id, &mut sets);
            self.views[id.index()].sets = sets;
        }
        if self.views[id.index()].alias.is_some() {
            let gained = self.sets.appear(
                self.views[id.index()].called(),
                id,
                self.config.topics_max,
                &mut self.counts.beyond_bound,
            );
            self.views[id.index()].sets.extend(gained);
        }
    }

    /// Answers a request, or reports its error.
    pub(crate) fn request(
        &mut self,
        id: SessionId,
        request: Result<Request, RequestError>,
        now: Instant,
    ) {
        if self.member(id).is_none() {
            return;
        }
        self.live_mut(id.index).has_asked = true;
        match request {
            Ok(Request { id: echo, op }) => {
                let echo = echo.as_deref();
                if self.lacks_token(id) && !matches!(op, Op::Ping | Op::Auth(_)) {
                    let message = "this gateway wants a token first: send {\"op\":\"auth\",\"token\":\"...\"}";
                    self.refuse(id, echo, ErrorCode::AuthRequired, message);
                    return;
                }
                match op {
                    Op::Sub(subscribe) => self.subscribe(id, echo, subscribe, now),
                    Op::Unsub(selections) => self.unsubscribe(id, echo, &selections),
                    Op::Rate(max_rate) => self.change_rate(id, echo, max_rate, now),
                    Op::List => self.list(id, echo),
                    Op::Ping => self.reply_text(id, &encode_pong(echo)),
                    Op::Auth(_) => self.refuse(
                        id,
                        echo,
                        ErrorCode::AuthNotRequired,
                        "this gateway asks for no authentication: subscribe at once",
                    ),
                }
            }
            Err(error) => {
                self.counts.errors += 1;
                // The message names them, too: they are left out while there is no room.
                let named = (!self.hub.budget.is_spent()).then_some(&error.topics);
                let topics: Vec<_> = named.into_iter().flatten().map(String::as_str).collect();
                let echo = error.id.as_deref();
                self.reply_text(id, &encode_error(echo, error.code, &error.message, &topics));
            }
        }
    }

    fn reply_text(&mut self, id: SessionId, json: &str) {
        if let Some(member) = self.member(id) {
            let mut frame = member.outlet.encoding().codec.answer(json);
            if frame.len() >= COUNTED_BYTES_MIN {
                frame = self.hub.budget.count(frame);
            }
            let frame_bytes = frame.len() as u64;
            if member.outlet.reply(&[frame]) != Sent::Closed {
                self.counts.answer_bytes += frame_bytes;
            }
        }
    }

    /// Refuses long answers now, if slow clients use all the memory.
    fn is_overloaded(&mut self, id: SessionId, echo: Option<&str>) -> bool {
        let is_spent = self.hub.budget.is_spent();
        if is_spent {
            self.counts.overloaded += 1;
            let message = "slow clients hold all the memory that this gateway has for answers: ask again in a few seconds";
            self.refuse(id, echo, ErrorCode::Overloaded, message);
        }
        is_spent
    }

    fn refuse(&mut self, id: SessionId, echo: Option<&str>, code: ErrorCode, message: &str) {
        self.counts.errors += 1;
        self.reply_text(id, &encode_error(echo, code, message, &[]));
    }

    /// The time of the next timer.
    #[must_use]
    pub(crate) fn next_at(&self) -> Instant {
        let delayed = self.delayed.peek().map(|Reverse((at, _))| *at);
        let others = delayed.into_iter().chain(self.departures.next_at());
        others.fold(self.wheel.next_at(), Instant::min)
    }

    /// Sends pings, closes idle sessions, and makes sessions due whose `max_rate` allows it.
    pub(crate) fn tick(&mut self, now: Instant) {
        while let Some(Reverse((at, id))) = self.delayed.peek().copied()
            && at <= now
        {
            self.delayed.pop();
            if self.member(id).is_some() {
                self.live_mut(id.index).is_delayed = false;
                self.due_members.push(id);
            }
        }
        self.depart(now);
        if now.saturating_duration_since(self.wheel.next_at()) >= STANDSTILL {
            self.awake_since = now;
        }
        let mut fired = std::mem::take(&mut self.fired);
        self.wheel.turn(now, &mut fired);
        for timer in fired.drain(..) {
            match timer {
                Timer::Check(id) => self.check(id, now),
                Timer::Expiry(id) => self.expire(id, now),
            }
        }
        self.fired = fired;
    }

    fn check(&mut self, id: SessionId, now: Instant) {
        let jitter = self.rng.random_range(0.8..1.2);
        let lacks_token = self.lacks_token(id);
        let Some(member) = self.member(id) else {
            return;
        };
        // Messages of clients during a standstill wait in their sockets: silence counts from its
        // end.
        let joined_at = member.joined_at.max(self.awake_since);
        let heard_at = member.outlet.heard_at().max(self.awake_since);
        let is_new = !member.has_asked || lacks_token;
        if is_new && now >= joined_at + self.config.first_message_timeout {
            member.outlet.close(match lacks_token {
                true => CloseCode::UNAUTHORIZED,
                false => CloseCode::FIRST_MESSAGE,
            });
            return;
        }
        if now.saturating_duration_since(heard_at) >= self.config.idle_timeout {
            member.outlet.close(CloseCode::IDLE);
            return;
        }
        member.outlet.ping();
        let mut next = now + self.config.ping_interval.mul_f64(jitter);
        if is_new {
            next = next.min(joined_at + self.config.first_message_timeout);
        }
        self.counts.pings += 1;
        self.wheel.arm(next, Timer::Check(id));
    }
}

#[cfg(test)]
mod tests;
