//! What the three venues have in common from the market's side: channels to subscribe to, and
//! sessions that turn a client's text into actions.

mod target;

mod action;

pub(crate) mod binance;
pub(crate) mod coinbase;
pub(crate) mod okx;

mod session;

pub(crate) mod request;
pub(crate) mod rest;

pub(crate) use action::{Action, Handshake};
pub(crate) use session::Session;
pub(crate) use target::{Channel, Target};
