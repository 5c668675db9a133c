//! A share of the sessions: what each is subscribed to, what it has seen, and what it lacks.
//!
//! A shard is a state machine without clock, task or socket: time is an argument, and what is to
//! be sent goes to an [`Outlet`]. One task owns it (`flush`). A session here is an index, a
//! version and a set of topics; nothing of it grows while its client does not read.

mod answer;
mod departures;
mod standing;
mod topic_list;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use market_core::Topic;
use market_core::protocol::{
    CloseCode, ErrorCode, Op, Request, RequestError, encode_error, encode_pong, encode_skipped,
};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use self::departures::Departures;
use crate::agenda::{Agenda, Changes, Pace};
use crate::batch::{Batch, Encoded, Prepared};
use crate::deflate::{Compression, Deflater};
use crate::encoding::Encoding;
use crate::gate::Sent;
use crate::hub::{Hub, Slot, SlotId};
use crate::payload::Payload;
use crate::slot::{self, Forming};
use crate::topic_set::{Entry, SetId, TopicSets};
use crate::wheel::Wheel;

pub(crate) use standing::AuthRules;
use standing::Standings;
use topic_list::TopicLists;

/// One connection as its shard sees it.
pub(crate) trait Outlet {
    /// Sends updates, unless earlier frames are unsent.
    fn send(&self, frames: &[Bytes]) -> Sent;
    /// Sends answers, behind what is unsent.
    fn reply(&self, frames: &[Bytes]) -> Sent;
    /// Sends a ping.
    fn ping(&self);
    /// Closes the connection.
    fn close(&self, code: CloseCode);
    /// Since when nothing has been heard of the client.
    fn heard_at(&self) -> Instant;
    /// How its frames look.
    fn encoding(&self) -> Encoding {
        Encoding::default()
    }
}

/// Bounds and times of the sessions.
#[derive(Clone, Debug)]
pub(crate) struct ShardConfig {
    /// Subscriptions of a session; a wildcard counts as one.
    pub subscriptions_max: usize,
    /// Topics of a session, with its wildcards expanded.
    pub topics_max: usize,
    /// Topics that `list` names.
    pub list_max: usize,
    /// Payload of a frame, bytes.
    pub frame_bytes_max: usize,
    /// What is compressed for those who take it.
    pub compression: Compression,
    /// Between pings, on average.
    pub ping_interval: Duration,
    /// Without a word from the client.
    pub idle_timeout: Duration,
    /// Until the first request, and until a token where one is required.
    pub first_message_timeout: Duration,
    /// When changes are sent.
    pub pace: Pace,
    /// What is asked of sessions where tokens are looked at.
    pub auth: Option<AuthRules>,
}

/// What happened, for the metrics: read and reset by the owner.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Frames with updates given to sockets.
    pub frames: u64,
    /// Updates in them.
    pub updates: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Bytes of them if none were compressed.
    pub plain_bytes: u64,
    /// How many of them are compressed.
    pub compressed: u64,
    /// Frames encoded; the rest were shared.
    pub encoded: u64,
    /// Closed bars that sessions were told they missed.
    pub skipped: u64,
    /// Times that a session had something to get and could not take it.
    pub refused: u64,
    /// Snapshots sent.
    pub snapshots: u64,
    /// Topics that a session's bound kept from it.
    pub beyond_bound: u64,
    /// Pings sent.
    pub pings: u64,
    /// Requests refused with an error.
    pub errors: u64,
    /// Bytes given to the compressor.
    pub deflate_in_bytes: u64,
    /// Bytes that it made of them.
    pub deflate_out_bytes: u64,
    /// Sessions closed so that others take them.
    pub sheds: u64,
    /// Topics and patterns that a session was not permitted.
    pub forbidden: u64,
}

impl Counts {
    /// Frames were given to a socket.
    fn sent(&mut self, data: &Prepared, encoded: &Encoded) {
        self.frames += encoded.frames.len() as u64;
        self.updates += data.updates();
        self.bytes += encoded.bytes;
        self.plain_bytes += encoded.plain_bytes;
        self.compressed += encoded.compressed;
        self.skipped += data.skipped;
    }
}

/// A slot as of the last pull.
#[derive(Debug)]
struct View {
    slot: Arc<Slot>,
    newest: u64,
    forming: Option<Forming>,
    sets: Vec<SetId>,
    /// Whether it comes after everything else in a frame.
    is_mark: bool,
}

#[derive(Debug)]
struct Member<O> {
    outlet: Arc<O>,
    generation: u32,
    set: SetId,
    /// Its index in the set's members.
    place: u32,
    /// Everything of its set up to this version has been sent.
    seen: u64,
    /// Least time between frames, if the client asked for one.
    gap: Option<Duration>,
    /// When the next frame may be sent, if so.
    next_at: Instant,
    /// Whether it stands in `delayed`.
    is_delayed: bool,
    has_asked: bool,
    /// Whether it was chosen to go to another gateway.
    is_leaving: bool,
    joined_at: Instant,
}

/// A session of a shard; stale once the session has left.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) struct MemberId {
    index: u32,
    generation: u32,
}

#[derive(Debug)]
enum Timer {
    Check(MemberId),
    Expiry(MemberId),
}

/// Where a flush stands: it is done in portions, so that others get their turn.
#[derive(Debug, Default)]
struct Cursor {
    sets: Vec<SetId>,
    member: usize,
    /// Frames of the current set, by what was seen before.
    prepared: Vec<(u64, Prepared)>,
    loose: Vec<MemberId>,
    /// When the oldest change came that is sent.
    since: Option<Instant>,
}

/// A share of the sessions.
#[derive(Debug)]
pub(crate) struct Shard<O> {
    config: ShardConfig,
    hub: Arc<Hub>,
    index: usize,
    views: Vec<View>,
    /// Everything up to here has been pulled.
    version: u64,
    sets: TopicSets,
    members: Vec<Option<Member<O>>>,
    free: Vec<u32>,
    generation: u32,
    /// Sets that have something new.
    agenda: Agenda,
    /// Sessions that are due on their own: they could not take anything before.
    due_members: Vec<MemberId>,
    /// When these may be sent something.
    members_at: Instant,
    /// Sessions that wait because of their `max_rate`.
    delayed: BinaryHeap<Reverse<(Instant, MemberId)>>,
    cursor: Cursor,
    departures: Departures,
    /// Sessions but those that were chosen to go.
    staying: usize,
    wheel: Wheel<Timer>,
    fired: Vec<Timer>,
    rng: SmallRng,
    deflater: Deflater,
    lists: TopicLists,
    standings: Standings,
    /// See [`Counts`].
    pub counts: Counts,
}

/// Members of a set from which on its frames are compressed as a whole, for half the bytes.
const SHARED_MEMBERS_MIN: usize = 8;
const WHEEL_TICK: Duration = Duration::from_millis(250);

impl<O: Outlet> Shard<O> {
    /// A shard without sessions. `index` is its place in the hub.
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

    /// What happened since the last call.
    pub(crate) fn take_counts(&mut self) -> Counts {
        let mut counts = std::mem::take(&mut self.counts);
        (counts.deflate_in_bytes, counts.deflate_out_bytes) = self.deflater.take_work();
        counts
    }

    /// When there is something to flush next; none while nothing is new.
    #[must_use]
    pub(crate) fn flush_at(&self) -> Option<Instant> {
        let sets = self.agenda.next_at();
        let members = (!self.due_members.is_empty()).then_some(self.members_at);
        sets.into_iter().chain(members).min()
    }

    /// When the oldest change of the flush in progress came to the hub.
    #[must_use]
    pub(crate) fn flushing_since(&self) -> Option<Instant> {
        self.cursor.since
    }

    // === what changed

    /// Takes note of what changed in the hub.
    pub(crate) fn pull(&mut self) {
        let pulled = self.hub.pull(self.index, self.views.len());
        self.version = pulled.version;
        for slot in pulled.created {
            let id = SlotId(u32::try_from(self.views.len()).expect("fewer than 2^32 topics"));
            let sets = self.sets.appear(
                &slot.topic,
                id,
                self.config.topics_max,
                &mut self.counts.beyond_bound,
            );
            self.views.push(View {
                is_mark: slot.topic.as_str().starts_with("boundary:"),
                slot,
                newest: 0,
                forming: None,
                sets,
            });
        }
        for changed in pulled.changed {
            let view = &mut self.views[changed.slot.index()];
            view.newest = changed.newest;
            view.forming = changed.forming;
            let at = pulled.since.expect("what changed has its time");
            for &id in &view.sets {
                let set = self.sets.get_mut(id);
                set.newest = set.newest.max(changed.newest);
                set.snapshot = None;
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

    // === sessions come, ask and go

    /// A session begins. It has no subscriptions.
    pub(crate) fn join(&mut self, outlet: Arc<O>, now: Instant) -> MemberId {
        self.generation = self.generation.wrapping_add(1);
        let index = self.free.pop().unwrap_or_else(|| {
            self.members.push(None);
            u32::try_from(self.members.len() - 1).expect("fewer than 2^32 sessions")
        });
        let id = MemberId {
            index,
            generation: self.generation,
        };
        self.members[index as usize] = Some(Member {
            outlet,
            generation: self.generation,
            set: SetId::EMPTY,
            place: 0,
            seen: 0,
            gap: None,
            next_at: now,
            is_delayed: false,
            has_asked: false,
            is_leaving: false,
            joined_at: now,
        });
        self.staying += 1;
        self.enter(index, SetId::EMPTY);
        // The first ping comes anywhere in the interval, so that sessions that came together
        // are not pinged together.
        let first = self.config.ping_interval.mul_f64(self.rng.random::<f64>());
        let first = first.min(self.config.first_message_timeout);
        self.wheel.arm(now + first, Timer::Check(id));
        id
    }

    /// A session ends.
    pub(crate) fn leave(&mut self, id: MemberId) {
        let Some(member) = self.member(id) else {
            return;
        };
        self.staying -= usize::from(!member.is_leaving);
        self.exit(id.index);
        self.members[id.index as usize] = None;
        self.standings.remove(id);
        self.free.push(id.index);
    }

    /// A session whose socket was full has written everything.
    pub(crate) fn writable(&mut self, id: MemberId) {
        if self.member(id).is_some() {
            self.due_members.push(id);
        }
    }

    /// Answers a request, or says what is wrong with it.
    pub(crate) fn request(
        &mut self,
        id: MemberId,
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
            Err(error) => self.refuse(id, error.id.as_deref(), error.code, &error.message),
        }
    }

    fn member(&self, id: MemberId) -> Option<&Member<O>> {
        self.members
            .get(id.index as usize)?
            .as_ref()
            .filter(|member| member.generation == id.generation)
    }

    fn live_mut(&mut self, index: u32) -> &mut Member<O> {
        self.members[index as usize]
            .as_mut()
            .expect("members of a set are live")
    }

    fn enter(&mut self, index: u32, set: SetId) {
        let members = &mut self.sets.get_mut(set).members;
        members.push(index);
        let place = u32::try_from(members.len() - 1).expect("fewer than 2^32 sessions");
        let member = self.live_mut(index);
        member.set = set;
        member.place = place;
    }

    fn exit(&mut self, index: u32) {
        let member = self.live_mut(index);
        let (set_id, place) = (member.set, member.place);
        let members = &mut self.sets.get_mut(set_id).members;
        members.swap_remove(place as usize);
        if let Some(&moved) = members.get(place as usize) {
            self.live_mut(moved).place = place;
        }
        let set = self.sets.get_mut(set_id);
        if set.members.len() <= 1 {
            set.snapshot = None;
        }
        if let Some(set) = self.sets.remove(set_id) {
            for entry in &set.entries {
                let sets = &mut self.views[entry.slot.index()].sets;
                if let Some(at) = sets.iter().position(|&id| id == set_id) {
                    sets.swap_remove(at);
                }
            }
        }
    }

    fn move_to(&mut self, index: u32, set: SetId) {
        if self.live_mut(index).set != set {
            // Entered first: a set that is left empty is removed.
            let (from, place) = {
                let member = self.live_mut(index);
                (member.set, member.place)
            };
            self.enter(index, set);
            let place_new = self.live_mut(index).place;
            {
                let member = self.live_mut(index);
                member.set = from;
                member.place = place;
            }
            self.exit(index);
            let member = self.live_mut(index);
            member.set = set;
            member.place = place_new;
        }
    }

    fn reply_text(&mut self, id: MemberId, json: &str) {
        if let Some(member) = self.member(id) {
            let frame = member.outlet.encoding().codec.answer(json);
            let _ = member.outlet.reply(&[frame]);
        }
    }

    fn refuse(&mut self, id: MemberId, echo: Option<&str>, code: ErrorCode, message: &str) {
        self.counts.errors += 1;
        self.reply_text(id, &encode_error(echo, code, message, &[]));
    }

    // === flush

    /// Begins a flush of what is due.
    fn begin_flush(&mut self, now: Instant) {
        self.cursor.since = None;
        while let Some(ids) = self.agenda.take(now) {
            for id in ids {
                // A set may have been removed, and its place taken by another, since it was due.
                let Some(set) = self.sets.try_get_mut(id) else {
                    continue;
                };
                let Some(changes) = set.changes else {
                    continue;
                };
                // More may have changed since it was noted.
                let due_at = self.config.pace.due_at(changes, set.sent_at);
                if due_at > now {
                    self.agenda.add(due_at, id);
                    continue;
                }
                set.changes = None;
                set.sent_at = Some(now);
                let since = &mut self.cursor.since;
                *since = Some(since.map_or(changes.first, |at| at.min(changes.first)));
                self.cursor.sets.push(id);
            }
        }
        if self.members_at <= now {
            self.cursor.loose = std::mem::take(&mut self.due_members);
            self.members_at = now + self.config.pace.interval;
        }
    }

    /// Sends sessions what they lack, `budget` sessions at most; true once all are served.
    /// Nothing else may be called between the portions of one flush.
    pub(crate) fn flush_some(&mut self, now: Instant, mut budget: usize) -> bool {
        if self.cursor.sets.is_empty() && self.cursor.loose.is_empty() {
            self.begin_flush(now);
        }
        while budget > 0 {
            if let Some(&id) = self.cursor.sets.last() {
                let next = self
                    .sets
                    .try_get_mut(id)
                    .and_then(|set| set.members.get(self.cursor.member).copied());
                if let Some(index) = next {
                    self.deliver(index, now);
                    self.cursor.member += 1;
                    budget -= 1;
                } else {
                    self.cursor.sets.pop();
                    self.cursor.member = 0;
                    self.cursor.prepared.clear();
                }
            } else if let Some(id) = self.cursor.loose.pop() {
                if self.member(id).is_some() {
                    self.cursor.prepared.clear();
                    self.deliver(id.index, now);
                    budget -= 1;
                }
            } else {
                self.cursor.prepared.clear();
                return true;
            }
        }
        false
    }

    fn deliver(&mut self, index: u32, now: Instant) {
        let member = self.members[index as usize]
            .as_mut()
            .expect("members of a set are live");
        let set = self.sets.get(member.set);
        if member.seen >= set.newest {
            return;
        }
        if member.gap.is_some() && now < member.next_at {
            if !member.is_delayed {
                member.is_delayed = true;
                let id = MemberId {
                    index,
                    generation: member.generation,
                };
                self.delayed.push(Reverse((member.next_at, id)));
            }
            return;
        }
        let seen = member.seen;
        let at = self
            .cursor
            .prepared
            .iter()
            .position(|(version, _)| *version == seen);
        let at = at.unwrap_or_else(|| {
            let prepared = lacking(
                &self.views,
                &set.entries,
                seen,
                self.version,
                self.config.frame_bytes_max,
            );
            self.cursor.prepared.push((seen, prepared));
            self.cursor.prepared.len() - 1
        });
        let data = &self.cursor.prepared[at].1;
        if data.updates() == 0 {
            member.seen = set.newest;
            return;
        }
        // Who is served alone shares nothing but what its objects were compressed to.
        let is_shared = !self.cursor.sets.is_empty() && set.members.len() >= SHARED_MEMBERS_MIN;
        let encoded = data.encoded(
            member.outlet.encoding(),
            is_shared,
            &mut self.deflater,
            &mut self.counts.encoded,
        );
        match member.outlet.send(&encoded.frames) {
            Sent::Written | Sent::Pending => {
                member.seen = set.newest;
                if let Some(gap) = member.gap {
                    member.next_at = now + gap;
                }
                self.counts.sent(data, encoded);
            }
            Sent::Refused => self.counts.refused += 1,
            Sent::Closed => {}
        }
    }

    // === time

    /// When time next has to be looked at.
    #[must_use]
    pub(crate) fn next_at(&self) -> Instant {
        let delayed = self.delayed.peek().map(|Reverse((at, _))| *at);
        let others = delayed.into_iter().chain(self.departures.next_at());
        others.fold(self.wheel.next_at(), Instant::min)
    }

    /// Pings, closes the idle, and makes due those whose `max_rate` lets them be.
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

    fn check(&mut self, id: MemberId, now: Instant) {
        let jitter = self.rng.random_range(0.8..1.2);
        let lacks_token = self.lacks_token(id);
        let Some(member) = self.member(id) else {
            return;
        };
        let is_new = !member.has_asked || lacks_token;
        if is_new && now >= member.joined_at + self.config.first_message_timeout {
            member.outlet.close(match lacks_token {
                true => CloseCode::UNAUTHORIZED,
                false => CloseCode::FIRST_MESSAGE,
            });
            return;
        }
        if now.saturating_duration_since(member.outlet.heard_at()) >= self.config.idle_timeout {
            member.outlet.close(CloseCode::IDLE);
            return;
        }
        member.outlet.ping();
        let mut next = now + self.config.ping_interval.mul_f64(jitter);
        if is_new {
            next = next.min(member.joined_at + self.config.first_message_timeout);
        }
        self.counts.pings += 1;
        self.wheel.arm(next, Timer::Check(id));
    }
}

fn push_delta(batch: &mut Batch, topic: &Topic, delta: slot::Delta) {
    let mut skipped = delta.skipped;
    if delta.updates.is_empty() && skipped > 0 {
        // All that is left of the topic is declined, so there is no message to say it in.
        let said = Bytes::from(encode_skipped(topic, skipped));
        batch.push(Payload::from(said), 0);
    }
    for update in delta.updates {
        batch.push(update, skipped);
        skipped = 0;
    }
}

/// What a session with these entries lacks that has seen everything up to `seen`.
fn lacking(
    views: &[View],
    entries: &[Entry],
    seen: u64,
    upto: u64,
    frame_bytes_max: usize,
) -> Prepared {
    let mut batch = Batch::new(frame_bytes_max);
    let (mut skipped, mut marks) = (0, Vec::new());
    for entry in entries {
        let view = &views[entry.slot.index()];
        if view.newest <= seen {
            continue;
        }
        let delta = slot::delta(
            &view.slot.state(),
            view.forming.as_ref(),
            seen,
            upto,
            entry.filter,
        );
        if view.is_mark {
            marks.extend(delta.updates);
        } else {
            skipped += delta.skipped;
            push_delta(&mut batch, &view.slot.topic, delta);
        }
    }
    for mark in marks {
        batch.push(mark, 0);
    }
    batch.finish(skipped)
}

#[cfg(test)]
mod tests;
