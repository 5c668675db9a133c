//! One WebSocket connection: bytes in and out.
//!
//! A shard writes through the `gate`: whole frames out, however few bytes the `socket` takes. The
//! connection's own task reads. `reader` makes messages from bytes, through `inflow` for clients
//! that may compress, and never more than `intake` allows. `session` passes them to the shard at
//! their `cost`, and `end` ends the connection.

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
