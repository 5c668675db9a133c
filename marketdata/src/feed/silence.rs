//! The silence of a connection, judged by the venue's keepalive.

use market_core::UnixMillis;

use crate::exchange::Keepalive;

/// How long a connection has been silent, and whether the venue was asked to break the silence.
#[derive(Debug)]
pub(crate) struct Silence {
    heard_ms: UnixMillis,
    asked_ms: Option<UnixMillis>,
}

/// What is to be done about a silence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing.
    Wait,
    /// Send this text.
    Ask(&'static str),
    /// Close the connection: it is dead.
    Dead,
}

impl Silence {
    /// The connection was opened now.
    pub(crate) fn since(now: UnixMillis) -> Self {
        Self {
            heard_ms: now,
            asked_ms: None,
        }
    }

    /// The venue sent anything.
    pub(crate) fn broken(&mut self, now: UnixMillis) {
        *self = Self::since(now);
    }

    /// Judges the silence; a question that is due counts as sent.
    pub(crate) fn judge(&mut self, keepalive: Keepalive, now: UnixMillis) -> Verdict {
        let silent_ms = now - self.heard_ms;
        match (keepalive, self.asked_ms) {
            (Keepalive::VenueSpeaks { silence_max_ms }, _) if silent_ms >= silence_max_ms => {
                Verdict::Dead
            }
            (Keepalive::WeAsk { answer_max_ms, .. }, Some(asked_ms))
                if now - asked_ms >= answer_max_ms =>
            {
                Verdict::Dead
            }
            (Keepalive::WeAsk { idle_ms, text, .. }, None) if silent_ms >= idle_ms => {
                self.asked_ms = Some(now);
                Verdict::Ask(text)
            }
            _ => Verdict::Wait,
        }
    }
}
