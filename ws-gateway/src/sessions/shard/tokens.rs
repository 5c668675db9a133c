//! The topics that a session may see, and for how long: the tokens of a shard's sessions.
//!
//! Only sessions with a token have an entry here, so the others cost nothing.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use auth::{Grant, Permissions, TokenError};
use market_core::protocol::{CloseCode, Reply};

use super::effect::Effect;
use super::members::TIMER_TICK;
use crate::access::AuthRules;
use crate::sessions::session_id::SessionId;
use crate::sessions::timer_wheel::TimerWheel;

/// Longest wait of a token's timer. The timer stays when its session ends, and tokens may be valid
/// for years.
const TIMER_MAX: Duration = Duration::from_secs(60);

/// The tokens of a session.
#[derive(Debug, Default)]
struct TokenState {
    held: Option<HeldToken>,
    /// Bad tokens since the last good one.
    failures: u32,
}

/// The last good token.
#[derive(Debug)]
struct HeldToken {
    permissions: Arc<Permissions>,
    subscriptions_max: usize,
    expires_ms: u64,
    /// When the session gets the notice; `None` after it.
    notice_at: Option<Instant>,
    /// When the session is closed; `None` if this time is too far away to compute.
    close_at: Option<Instant>,
    /// When the valid timer fires; other timers of this session are outdated.
    armed_at: Option<Instant>,
}

impl HeldToken {
    /// The time of its next check.
    fn next_at(&self, now: Instant) -> Instant {
        let look_at = now + TIMER_MAX;
        let next_at = self.notice_at.or(self.close_at);
        next_at.map_or(look_at, |next_at| next_at.min(look_at))
    }
}

/// The tokens of a shard's sessions.
#[derive(Debug)]
pub(super) struct Tokens {
    by_session: HashMap<SessionId, TokenState>,
    timers: TimerWheel<SessionId>,
    fired: Vec<SessionId>,
}

impl Tokens {
    /// No tokens.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            by_session: HashMap::new(),
            timers: TimerWheel::new(now, TIMER_TICK),
            fired: Vec::new(),
        }
    }

    /// A session has ended.
    pub(super) fn remove(&mut self, id: SessionId) {
        self.by_session.remove(&id);
    }

    /// Whether no session has a token.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.by_session.is_empty()
    }

    /// How many timers are armed.
    #[cfg(test)]
    pub(super) fn timer_count(&self) -> usize {
        self.timers.len()
    }

    fn held(&self, id: SessionId) -> Option<&HeldToken> {
        self.by_session.get(&id)?.held.as_ref()
    }

    /// Whether the session must send a token first.
    pub(super) fn lacks(&self, id: SessionId, rules: Option<&AuthRules>) -> bool {
        rules.is_some_and(|rules| rules.is_required) && self.held(id).is_none()
    }

    /// The topics that the session may subscribe; `None` is all topics.
    pub(super) fn permissions<'a>(
        &'a self,
        id: SessionId,
        rules: Option<&'a AuthRules>,
    ) -> Option<&'a Arc<Permissions>> {
        let rules = rules?;
        let held = self.held(id);
        Some(held.map_or(&rules.anonymous, |held| &held.permissions))
    }

    /// The token's limit of subscriptions.
    pub(super) fn subscriptions_max(&self, id: SessionId) -> usize {
        self.held(id)
            .map_or(usize::MAX, |held| held.subscriptions_max)
    }

    /// A session sent a good token.
    pub(super) fn take(&mut self, id: SessionId, grant: &Grant, rules: &AuthRules, now: Instant) {
        let state = self.by_session.entry(id).or_default();
        let armed_at = state.held.as_ref().and_then(|held| held.armed_at);
        let mut held = HeldToken {
            permissions: Arc::clone(&grant.permissions),
            subscriptions_max: grant.subscriptions_max.unwrap_or(usize::MAX),
            expires_ms: grant.expires_ms,
            // The answer to the token says it if there is no more time.
            notice_at: (grant.expires_in > rules.notice)
                .then(|| now.checked_add(grant.expires_in - rules.notice))
                .flatten(),
            close_at: now.checked_add(grant.lasts),
            armed_at,
        };
        // A timer that fires earlier starts the next one: many refreshes need only one timer.
        let next_at = held.next_at(now);
        if armed_at.is_none_or(|armed_at| next_at < armed_at) {
            held.armed_at = Some(next_at);
            self.timers.arm(next_at, id);
        }
        state.held = Some(held);
        state.failures = 0;
    }

    /// A session sent a bad token. True if the session must be closed for it.
    pub(super) fn fail(
        &mut self,
        id: SessionId,
        error: TokenError,
        rules: Option<&AuthRules>,
    ) -> bool {
        let state = self.by_session.entry(id).or_default();
        state.failures = state.failures.saturating_add(1);
        let failures_max = rules.map_or(1, |rules| rules.failures_max);
        state.failures >= failures_max || error == TokenError::TooManyFailures
    }

    /// The time of the next timer.
    pub(super) fn next_at(&self) -> Instant {
        self.timers.next_at()
    }

    /// Sends the notice to sessions whose token expires soon, and closes those whose token has
    /// expired.
    pub(super) fn tick(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        let mut fired = std::mem::take(&mut self.fired);
        self.timers.turn(now, &mut fired);
        for id in fired.drain(..) {
            effects.extend(self.look_at(id, now));
        }
        self.fired = fired;
    }

    fn look_at(&mut self, id: SessionId, now: Instant) -> Option<Effect> {
        let held = self.by_session.get_mut(&id)?.held.as_mut()?;
        if held.armed_at.is_none_or(|armed_at| now < armed_at) {
            return None;
        }
        if held.close_at.is_some_and(|close_at| close_at <= now) {
            return Some(Effect::Close(id, CloseCode::TOKEN_EXPIRED));
        }
        let expires_ms = held.expires_ms;
        let is_near = held.notice_at.is_some_and(|notice_at| notice_at <= now);
        if is_near {
            held.notice_at = None;
        }
        let next_at = held.next_at(now);
        held.armed_at = Some(next_at);
        self.timers.arm(next_at, id);
        is_near.then_some(Effect::Reply(id, Reply::AuthExpiring { expires_ms }))
    }
}
