//! The sessions of a shard: their connections, their silence, and when they are closed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use market_core::protocol::CloseCode;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::beginnings::Beginnings;
use super::config::ShardConfig;
use super::effect::Effect;
use super::scheduled_closes::ScheduledCloses;
use super::session::Session;
use crate::sessions::outlet::Outlet;
use crate::sessions::session_id::SessionId;
use crate::sessions::set_id::SetId;
use crate::sessions::timer_wheel::TimerWheel;
use crate::standstill::STANDSTILL;

/// Number of random sessions that are compared for each one to close.
const TRIES: usize = 8;
/// The accuracy of the sessions' timers.
pub(super) const TIMER_TICK: Duration = Duration::from_millis(250);

/// The sessions of a shard.
#[derive(Debug)]
pub(super) struct Members<O> {
    sessions: Vec<Option<Session<O>>>,
    free: Vec<u32>,
    generation: u32,
    /// Sessions that are not chosen to move.
    staying: usize,
    closes: ScheduledCloses,
    /// When each session is next pinged, and its silence checked.
    checks: TimerWheel<SessionId>,
    fired: Vec<SessionId>,
    /// When the last standstill ended, or the shard began.
    awake_since: Instant,
    rng: SmallRng,
}

impl<O: Outlet> Members<O> {
    /// No sessions.
    pub(super) fn new(seed: u64, now: Instant) -> Self {
        Self {
            sessions: Vec::new(),
            free: Vec::new(),
            generation: 0,
            staying: 0,
            closes: ScheduledCloses::default(),
            checks: TimerWheel::new(now, TIMER_TICK),
            fired: Vec::new(),
            awake_since: now,
            rng: SmallRng::seed_from_u64(seed),
        }
    }

    /// A session begins. It is in no set until it enters one.
    pub(super) fn join(&mut self, outlet: Arc<O>, config: &ShardConfig, now: Instant) -> SessionId {
        self.generation = self.generation.wrapping_add(1);
        let index = self.free.pop().unwrap_or_else(|| {
            self.sessions.push(None);
            u32::try_from(self.sessions.len() - 1).expect("fewer than 2^32 sessions")
        });
        let id = SessionId {
            index,
            generation: self.generation,
        };
        self.sessions[index as usize] = Some(Session {
            outlet,
            generation: self.generation,
            set: SetId::EMPTY,
            set_index: 0,
            seen: 0,
            begun: Beginnings::default(),
            min_frame_interval: None,
            next_at: now,
            is_delayed: false,
            has_asked: false,
            is_leaving: false,
            joined_at: now,
        });
        self.staying += 1;
        // The first ping comes at a random time in the interval, so that sessions that began
        // together are not pinged together.
        let first = config.ping_interval.mul_f64(self.rng.random::<f64>());
        let first = first.min(config.first_message_timeout);
        self.checks.arm(now + first, id);
        // Its connection may have been accepted before a drain that has begun since.
        if let Some(rest) = self.closes.drain_rest(now) {
            self.close_within(rest, id, now);
        }
        id
    }

    /// A session ends; it has left its set.
    pub(super) fn leave(&mut self, id: SessionId) {
        let Some(session) = self.get(id) else {
            return;
        };
        self.staying -= usize::from(!session.is_leaving);
        self.sessions[id.index as usize] = None;
        self.free.push(id.index);
    }

    /// A session, unless it has ended.
    pub(super) fn get(&self, id: SessionId) -> Option<&Session<O>> {
        self.sessions
            .get(id.index as usize)?
            .as_ref()
            .filter(|session| session.generation == id.generation)
    }

    /// A session that has not ended.
    pub(super) fn live(&self, index: u32) -> &Session<O> {
        self.sessions[index as usize]
            .as_ref()
            .expect("members of a set are live")
    }

    /// A session that has not ended.
    pub(super) fn live_mut(&mut self, index: u32) -> &mut Session<O> {
        self.sessions[index as usize]
            .as_mut()
            .expect("members of a set are live")
    }

    /// The id of a session that has not ended.
    pub(super) fn id_of(&self, index: u32) -> SessionId {
        SessionId {
            index,
            generation: self.live(index).generation,
        }
    }

    /// The number of places for sessions, including free ones.
    #[cfg(test)]
    pub(super) fn places(&self) -> usize {
        self.sessions.len()
    }

    /// How many timers are armed.
    #[cfg(test)]
    pub(super) fn timer_count(&self) -> usize {
        self.checks.len()
    }

    /// Sessions that are not chosen to move to another gateway.
    pub(super) fn staying(&self) -> usize {
        self.staying
    }

    /// Closes every session, each at a random time within `window`.
    pub(super) fn drain(&mut self, now: Instant, window: Duration) {
        self.closes.begin_drain(now + window);
        for index in 0..self.sessions.len() {
            if let Some(session) = &self.sessions[index] {
                let id = SessionId {
                    index: u32::try_from(index).expect("fewer than 2^32 sessions"),
                    generation: session.generation,
                };
                self.close_within(window, id, now);
            }
        }
    }

    /// Closes about `count` sessions that have lasted for `age_min`, each at a random time within
    /// `window`; none if the shard drains. Picks the oldest of a few random sessions. A reloaded
    /// balancer does not count older connections, so closing a young one would only bring it back.
    pub(super) fn shed(&mut self, count: usize, age_min: Duration, now: Instant, window: Duration) {
        if self.closes.drain_rest(now).is_some() || self.sessions.is_empty() {
            return;
        }
        for _ in 0..count {
            let places = 0..self.sessions.len();
            let oldest = (0..TRIES)
                .filter_map(|_| {
                    let index = self.rng.random_range(places.clone());
                    let session = self.sessions[index].as_ref()?;
                    let may_go = !session.is_leaving && now >= session.joined_at + age_min;
                    may_go.then_some((session.joined_at, index))
                })
                .min();
            let Some((_, index)) = oldest else {
                continue;
            };
            let session = self.sessions[index].as_mut().expect("it was just found");
            session.is_leaving = true;
            self.staying -= 1;
            let id = SessionId {
                index: u32::try_from(index).expect("fewer than 2^32 sessions"),
                generation: session.generation,
            };
            self.close_within(window, id, now);
        }
    }

    fn close_within(&mut self, window: Duration, id: SessionId, now: Instant) {
        let at = now + window.mul_f64(self.rng.random::<f64>());
        self.closes.add(at, id);
    }

    /// Closes the sessions that are due to close, and returns how many of them move to another
    /// gateway.
    pub(super) fn close_due(&mut self, now: Instant, effects: &mut Vec<Effect>) -> u64 {
        let mut moved = 0;
        while let Some(id) = self.closes.take(now) {
            if self.get(id).is_none() {
                continue;
            }
            let is_draining = self.closes.drain_rest(now).is_some();
            let code = match is_draining {
                true => CloseCode::DRAIN,
                false => CloseCode::REBALANCE,
            };
            moved += u64::from(!is_draining);
            effects.push(Effect::Close(id, code));
        }
        moved
    }

    /// The time of the next timer.
    pub(super) fn next_at(&self) -> Instant {
        let closes = self.closes.next_at();
        closes.into_iter().fold(self.checks.next_at(), Instant::min)
    }

    /// The sessions whose check is due; the caller must check each of them.
    pub(super) fn due_checks(&mut self, now: Instant) -> Vec<SessionId> {
        if now.saturating_duration_since(self.checks.next_at()) >= STANDSTILL {
            self.awake_since = now;
        }
        let mut fired = std::mem::take(&mut self.fired);
        self.checks.turn(now, &mut fired);
        fired
    }

    /// Keeps the list of [`Members::due_checks`] for the next time.
    pub(super) fn checked(&mut self, mut fired: Vec<SessionId>) {
        fired.clear();
        self.fired = fired;
    }

    /// Pings a session, or closes it if it is silent for too long. `lacks_token` says whether it
    /// must still send a token.
    pub(super) fn check(
        &mut self,
        id: SessionId,
        lacks_token: bool,
        config: &ShardConfig,
        now: Instant,
    ) -> Option<Effect> {
        let jitter = self.rng.random_range(0.8..1.2);
        let session = self.get(id)?;
        // Messages of clients during a standstill wait in their sockets: silence counts from its
        // end.
        let joined_at = session.joined_at.max(self.awake_since);
        let heard_at = session.outlet.heard_at().max(self.awake_since);
        let is_new = !session.has_asked || lacks_token;
        if is_new && now >= joined_at + config.first_message_timeout {
            let code = match lacks_token {
                true => CloseCode::UNAUTHORIZED,
                false => CloseCode::FIRST_MESSAGE,
            };
            return Some(Effect::Close(id, code));
        }
        if now.saturating_duration_since(heard_at) >= config.idle_timeout {
            return Some(Effect::Close(id, CloseCode::IDLE));
        }
        let mut next = now + config.ping_interval.mul_f64(jitter);
        if is_new {
            next = next.min(joined_at + config.first_message_timeout);
        }
        self.checks.arm(next, id);
        Some(Effect::Ping(id))
    }
}
