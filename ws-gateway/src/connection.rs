//! One WebSocket connection: bytes in and out.
//!
//! A shard writes through the `gate`: whole frames out, however little the `socket` takes. The
//! connection's own task reads: `reader` makes messages of bytes, of those who may compress through
//! `inflow`, and no more of them than `intake` allows for. `session` gives them to the shard at
//! their `cost`, and `end` ends it.

pub(crate) mod echo;
pub(crate) mod end;
pub(crate) mod guard;
pub(crate) mod session;
pub(crate) mod settings;
pub(crate) mod socket;

mod cost;
mod gate;
mod inflow;
mod intake;
pub(crate) mod reader;
mod receive;
