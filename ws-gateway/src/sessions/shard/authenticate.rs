//! The effect of a token on a session.

use std::sync::Arc;
use std::time::Instant;

use auth::{Grant, Permissions, TokenError};
use market_core::TopicPattern;
use market_core::protocol::{AuthAck, CloseCode, ErrorCode, Reply};

use super::Shard;
use super::effect::{Echo, Effect};
use super::subscriptions::naming::is_permitted;
use crate::sessions::outlet::Outlet;
use crate::sessions::session_id::SessionId;
use crate::sessions::topic_set::Spec;

impl<O: Outlet> Shard<O> {
    /// The gateway accepted the token of a session's handshake.
    pub(crate) fn admit(&mut self, id: SessionId, grant: &Grant, now: Instant) {
        if self.members.get(id).is_some() {
            self.take_grant(id, None, grant, now);
        }
    }

    /// A session's token came in a frame.
    pub(crate) fn authenticate(
        &mut self,
        id: SessionId,
        echo: Echo,
        outcome: Result<&Grant, TokenError>,
        now: Instant,
    ) {
        if self.members.get(id).is_none() {
            return;
        }
        self.members.live_mut(id.index).has_asked = true;
        match outcome {
            Ok(grant) => self.take_grant(id, echo, grant, now),
            Err(error) => {
                self.refuse(id, echo, ErrorCode::InvalidToken, &error.to_string());
                if self.tokens.fail(id, error, self.config.auth.as_ref()) {
                    self.effects
                        .push(Effect::Close(id, CloseCode::UNAUTHORIZED));
                }
            }
        }
    }

    fn take_grant(&mut self, id: SessionId, echo: Echo, grant: &Grant, now: Instant) {
        if self.config.auth.is_none() {
            return;
        }
        let unsubscribed = self.give_up(id, &grant.permissions, now);
        if let Some(rules) = &self.config.auth {
            self.tokens.take(id, grant, rules, now);
        }
        let ack = AuthAck {
            id: echo,
            expires_ms: grant.expires_ms,
            unsubscribed,
        };
        self.reply(id, Reply::AuthAck(ack));
    }

    /// Ends the subscriptions that are not permitted, and returns them.
    fn give_up(
        &mut self,
        id: SessionId,
        permissions: &Permissions,
        now: Instant,
    ) -> Vec<TopicPattern> {
        let set = self.members.live(id.index).set;
        let old = Arc::clone(&self.subscriptions.sets.get(set).spec);
        let is_kept = |pattern: &TopicPattern| is_permitted(permissions, pattern);
        let mut lost: Vec<TopicPattern> = old
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
        lost.extend(self.cancel_reads(id, |pattern| !is_kept(pattern), now));
        lost
    }
}
