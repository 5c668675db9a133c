//! The topics that a session may see, and for how long: the state of its tokens.
//!
//! Only sessions with a token have an entry here, so the others cost nothing.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use market_core::TopicPattern;
use market_core::protocol::{
    CloseCode, ErrorCode, Selection, encode_auth_ack, encode_auth_expiring, encode_error,
};

use super::{Shard, Timer};
use crate::auth::{Grant, Permissions, TokenError};
use crate::sessions::outlet::Outlet;
use crate::sessions::session_id::SessionId;
use crate::sessions::topic_set::Spec;

/// Longest wait of a token's timer. The timer stays when its session ends, and tokens may be valid
/// for years.
const TIMER_MAX: Duration = Duration::from_secs(60);

/// The tokens of a session.
#[derive(Debug, Default)]
struct Standing {
    grant: Option<Held>,
    failures: u32,
}

/// The last accepted token.
#[derive(Debug)]
struct Held {
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

impl Held {
    /// The time of its next check.
    fn next_at(&self, now: Instant) -> Instant {
        let look_at = now + TIMER_MAX;
        let next_at = self.notice_at.or(self.close_at);
        next_at.map_or(look_at, |next_at| next_at.min(look_at))
    }
}

/// The states of the tokens of a shard's sessions.
#[derive(Debug, Default)]
pub(super) struct Standings {
    by_member: HashMap<SessionId, Standing>,
}

impl Standings {
    /// A session has ended.
    pub(super) fn remove(&mut self, id: SessionId) {
        self.by_member.remove(&id);
    }

    /// Whether no session has a token.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.by_member.is_empty()
    }

    fn held(&self, id: SessionId) -> Option<&Held> {
        self.by_member.get(&id)?.grant.as_ref()
    }
}

impl<O: Outlet> Shard<O> {
    /// The gateway accepted the token of a session's handshake.
    pub(crate) fn admit(&mut self, id: SessionId, grant: &Grant, now: Instant) {
        if self.member(id).is_some() {
            self.take_grant(id, None, grant, now);
        }
    }

    /// A session's token came in a frame.
    pub(crate) fn authenticate(
        &mut self,
        id: SessionId,
        echo: Option<&str>,
        outcome: Result<&Grant, TokenError>,
        now: Instant,
    ) {
        if self.member(id).is_none() {
            return;
        }
        self.live_mut(id.index).has_asked = true;
        let error = match outcome {
            Ok(grant) => return self.take_grant(id, echo, grant, now),
            Err(error) => error,
        };
        self.refuse(id, echo, ErrorCode::InvalidToken, &error.to_string());
        let standing = self.standings.by_member.entry(id).or_default();
        standing.failures += 1;
        let failures_max = self
            .config
            .auth
            .as_ref()
            .map_or(1, |auth| auth.failures_max);
        if standing.failures >= failures_max || error == TokenError::TooManyFailures {
            self.close(id, CloseCode::UNAUTHORIZED);
        }
    }

    fn take_grant(&mut self, id: SessionId, echo: Option<&str>, grant: &Grant, now: Instant) {
        let Some(notice) = self.config.auth.as_ref().map(|auth| auth.notice) else {
            return;
        };
        let unsubscribed = self.give_up(id, &grant.permissions);
        let standing = self.standings.by_member.entry(id).or_default();
        let armed_at = standing.grant.as_ref().and_then(|held| held.armed_at);
        let mut held = Held {
            permissions: Arc::clone(&grant.permissions),
            subscriptions_max: grant.subscriptions_max.unwrap_or(usize::MAX),
            expires_ms: grant.expires_ms,
            // The notice is sent at once if there is no more time.
            notice_at: (grant.expires_in > notice)
                .then(|| now.checked_add(grant.expires_in - notice))
                .flatten(),
            close_at: now.checked_add(grant.lasts),
            armed_at,
        };
        // A timer that fires earlier starts the next one: many refreshes need only one timer.
        let next_at = held.next_at(now);
        if armed_at.is_none_or(|armed_at| next_at < armed_at) {
            held.armed_at = Some(next_at);
            self.wheel.arm(next_at, Timer::Expiry(id));
        }
        standing.grant = Some(held);
        standing.failures = 0;
        let unsubscribed: Vec<&str> = unsubscribed.iter().map(TopicPattern::as_str).collect();
        self.reply_text(id, &encode_auth_ack(echo, grant.expires_ms, &unsubscribed));
    }

    /// Ends the subscriptions that are not permitted, and returns them.
    fn give_up(&mut self, id: SessionId, permissions: &Permissions) -> Vec<TopicPattern> {
        let set = self.member(id).expect("the caller checked").set;
        let old = Arc::clone(&self.sets.get(set).spec);
        let is_kept = |pattern: &TopicPattern| permissions.covers(pattern);
        let lost: Vec<TopicPattern> = old
            .iter()
            .filter(|(pattern, _)| !is_kept(pattern))
            .map(|(pattern, _)| pattern.clone())
            .collect();
        if !lost.is_empty() {
            let kept: Spec = old
                .iter()
                .filter(|(pattern, _)| is_kept(pattern))
                .cloned()
                .collect();
            self.narrow(id, &kept);
        }
        lost
    }

    /// Checks a token's time: sends the notice, or closes the session.
    pub(super) fn expire(&mut self, id: SessionId, now: Instant) {
        let standing = self.standings.by_member.get_mut(&id);
        let Some(held) = standing.and_then(|standing| standing.grant.as_mut()) else {
            return;
        };
        if held.armed_at.is_none_or(|armed_at| now < armed_at) {
            return;
        }
        if held.close_at.is_some_and(|close_at| close_at <= now) {
            self.close(id, CloseCode::TOKEN_EXPIRED);
            return;
        }
        let expires_ms = held.expires_ms;
        let is_near = held.notice_at.is_some_and(|notice_at| notice_at <= now);
        if is_near {
            held.notice_at = None;
        }
        let next_at = held.next_at(now);
        held.armed_at = Some(next_at);
        self.wheel.arm(next_at, Timer::Expiry(id));
        if is_near {
            self.reply_text(id, &encode_auth_expiring(expires_ms));
        }
    }

    /// Whether the session must send a token first.
    pub(super) fn lacks_token(&self, id: SessionId) -> bool {
        self.config
            .auth
            .as_ref()
            .is_some_and(|auth| auth.is_required)
            && self.standings.held(id).is_none()
    }

    /// The topics that the session may subscribe; `None` is all topics.
    pub(super) fn permissions(&self, id: SessionId) -> Option<&Arc<Permissions>> {
        let auth = self.config.auth.as_ref()?;
        let held = self.standings.held(id);
        Some(held.map_or(&auth.anonymous, |held| &held.permissions))
    }

    /// The session's limit of subscriptions.
    pub(super) fn subscriptions_max(&self, id: SessionId) -> usize {
        let held = self.standings.held(id);
        let permitted = held.map_or(usize::MAX, |held| held.subscriptions_max);
        self.config.subscriptions_max.min(permitted)
    }

    /// The patterns of selections; those that are not permitted are refused and left out.
    pub(super) fn permitted(
        &mut self,
        id: SessionId,
        echo: Option<&str>,
        selections: Vec<Selection>,
    ) -> Vec<TopicPattern> {
        let Some(permissions) = self.permissions(id).cloned() else {
            return selections
                .into_iter()
                .map(|selection| self.resolve(selection))
                .collect();
        };
        let (mut patterns, mut forbidden) = (Vec::with_capacity(selections.len()), Vec::new());
        for selection in selections {
            let pattern = match selection {
                // The choice must not reveal the existence of topics that are not permitted.
                Selection::OfExchange {
                    exchange, plain, ..
                } if permissions.covers(&plain) && self.is_of(&plain, &exchange) => plain,
                Selection::OfExchange { prefixed, .. } => prefixed,
                Selection::Pattern(pattern) => pattern,
            };
            if permissions.covers(&pattern) {
                patterns.push(self.resolve(Selection::Pattern(pattern)));
            } else {
                forbidden.push(pattern);
            }
        }
        if !forbidden.is_empty() {
            self.counts.errors += 1;
            self.counts.forbidden += forbidden.len() as u64;
            let message = format!(
                "not permitted; the session may have {}, and each topic or pattern has to be covered by one of them",
                permissions.describe()
            );
            let topics: Vec<&str> = forbidden.iter().map(TopicPattern::as_str).collect();
            self.reply_text(
                id,
                &encode_error(echo, ErrorCode::Forbidden, &message, &topics),
            );
        }
        patterns
    }

    fn close(&self, id: SessionId, code: CloseCode) {
        if let Some(member) = self.member(id) {
            member.outlet.close(code);
        }
    }
}
