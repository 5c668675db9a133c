//! The commands of connections and the fleet to a shard.

use std::sync::Arc;
use std::time::Duration;

use auth::{Grant, TokenError};
use market_core::protocol::{Request, RequestError};
use tokio::sync::mpsc;

use crate::sessions::session_id::SessionId;

/// A client's request, or its error.
pub(crate) type Asked = Result<Request, RequestError>;

/// A command to a shard with connections of the kind `C`.
#[derive(Debug)]
pub(crate) enum Command<C> {
    /// A session begins, with its handshake's grant and its initial request.
    Join(Arc<C>, Option<Box<InitialRequest>>),
    /// It asks for something.
    Request(Arc<C>, Box<Asked>),
    /// A session sent a token, which was checked.
    Auth(Arc<C>, Box<Checked>),
    /// The waiting bytes of a connection are written.
    Writable(SessionId),
    /// A session has ended. It may not have joined.
    Leave(Arc<C>),
    /// This many sessions must be closed within this time.
    Shed(usize, Duration),
}

/// A handshake's grant and request.
#[derive(Debug)]
pub(crate) struct InitialRequest {
    /// What its token permits.
    pub grant: Option<Box<Grant>>,
    /// What it subscribes to.
    pub request: Option<Asked>,
}

/// The grant of a token in a frame. Boxed, so that commands stay small: each connection's task has
/// room for one.
#[derive(Debug)]
pub(crate) struct Checked {
    /// The request's id.
    pub echo: Option<Box<str>>,
    /// What the token gives.
    pub outcome: Result<Box<Grant>, TokenError>,
}

/// The channel to a shard with connections of the kind `C`.
pub(crate) type ShardSender<C> = mpsc::Sender<Command<C>>;
