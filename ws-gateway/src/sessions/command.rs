//! What connections and the fleet tell a shard.

use std::sync::Arc;
use std::time::Duration;

use market_core::protocol::{Request, RequestError};
use tokio::sync::mpsc;

use crate::auth::{Grant, TokenError};
use crate::sessions::session_id::SessionId;

/// A client's request, or what is wrong with it.
pub(crate) type Asked = Result<Request, RequestError>;

/// What a shard is told by connections of the kind `C`.
#[derive(Debug)]
pub(crate) enum Command<C> {
    /// It begins, with what its handshake's token permits and what it asks for.
    Join(Arc<C>, Option<Box<First>>),
    /// It asks for something.
    Request(Arc<C>, Box<Asked>),
    /// It brings a token, which was checked.
    Auth(Arc<C>, Box<Checked>),
    /// What was unsent is written.
    Writable(SessionId),
    /// It has ended. It may not have joined.
    Leave(Arc<C>),
    /// So many sessions are to leave within this time.
    Shed(usize, Duration),
}

/// What a handshake brings and asks for.
#[derive(Debug)]
pub(crate) struct First {
    /// What its token permits.
    pub grant: Option<Box<Grant>>,
    /// What it subscribes to.
    pub request: Option<Asked>,
}

/// What a token is worth that came in a frame. Boxed in its command, so that commands stay small:
/// each connection's task has room for one.
#[derive(Debug)]
pub(crate) struct Checked {
    /// The request's id.
    pub echo: Option<Box<str>>,
    /// What the token gives.
    pub outcome: Result<Box<Grant>, TokenError>,
}

/// The way to a shard of connections of the kind `C`.
pub(crate) type ShardSender<C> = mpsc::Sender<Command<C>>;
