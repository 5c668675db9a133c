//! Why a gateway closes a session, and what the client does then.

/// What a client should do after a close.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reconnect {
    /// Connect again after a short random delay; another gateway takes over.
    Soon,
    /// Connect again with a growing, jittered delay.
    Backoff,
    /// Connect again with another token, after a growing, jittered delay.
    NewToken,
    /// Do not connect again without a change: the same client would be closed again.
    No,
}

impl Reconnect {
    /// The word in the reference.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Soon => "soon",
            Self::Backoff => "backoff",
            Self::NewToken => "token",
            Self::No => "no",
        }
    }
}

/// A row of the close-code table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CloseCode {
    /// The WebSocket close code.
    pub code: u16,
    /// Its name, as in the `reason` of metrics and the reference.
    pub name: &'static str,
    /// The reason that the close frame carries, at most 123 bytes.
    pub reason: &'static str,
    /// What the client should do.
    pub reconnect: Reconnect,
}

macro_rules! close_codes {
    ($($(#[$doc:meta])* $constant:ident = $code:literal, $name:literal, $reconnect:ident, $reason:literal;)*) => {
        impl CloseCode {
            $($(#[$doc])* pub const $constant: Self = Self {
                code: $code, name: $name, reason: $reason, reconnect: Reconnect::$reconnect,
            };)*

            /// Every close code that a gateway sends, in ascending order.
            pub const ALL: &'static [Self] = &[$(Self::$constant),*];
        }
    };
}

close_codes! {
    /// The client asked to close.
    NORMAL = 1000, "normal", No, "bye";
    /// The gateway stops without a drain.
    GOING_AWAY = 1001, "going_away", Soon, "gateway is going away: reconnect";
    /// The client broke the WebSocket protocol.
    PROTOCOL = 1002, "protocol_error", No, "websocket protocol error";
    /// The client sent a binary frame.
    UNSUPPORTED = 1003, "unsupported_data", No, "send text frames: binary frames are not understood";
    /// The client sent text that is not UTF-8.
    INVALID_UTF8 = 1007, "invalid_utf8", No, "text is not valid UTF-8";
    /// The client sent a frame or message above the size limit.
    TOO_BIG = 1009, "message_too_big", No, "message is too big: split the request";
    /// The gateway drains: another one takes over.
    DRAIN = 1012, "drain", Soon, "gateway is restarting: reconnect after a random 0 to 1000 ms";
    /// A limit on sessions is reached.
    LIMIT = 1013, "limit", Backoff, "too many sessions: try again later";
    /// The client takes data more slowly than it comes.
    SLOW_CONSUMER = 4000, "slow_consumer", Backoff, "slow consumer: the connection took no data in time";
    /// The client answered no ping.
    IDLE = 4001, "idle", Soon, "idle: no pong or message in time";
    /// The client sends messages faster than allowed.
    MESSAGE_RATE = 4002, "message_rate", Backoff, "too many messages a second";
    /// The client sent no valid token in time, or too many invalid ones.
    UNAUTHORIZED = 4003, "unauthorized", NewToken, "unauthorized: send a valid token first";
    /// The client sent no request in time.
    FIRST_MESSAGE = 4004, "first_message", Backoff, "no request came in time after the handshake";
    /// The token has expired and no new one came.
    TOKEN_EXPIRED = 4005, "token_expired", NewToken, "token expired: reconnect with a new one";
    /// The gateway has more than its share of the sessions: another one takes over.
    REBALANCE = 4006, "rebalance", Soon, "other gateways have room: reconnect after a random 0 to 1000 ms";
}
