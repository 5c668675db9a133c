//! One WebSocket connection: bytes in and out.
//!
//! A shard writes through the `write_buffer`: whole frames out, however few bytes the `socket`
//! takes. The connection's own task reads. `reader` makes messages from bytes, through
//! `inflate_reader` for clients that may compress, and never more than `frame_rate_limit` allows.
//! Both find the frames in the stream by `frame_header`. `session` passes messages to the shard at
//! their `cost`. `end` says why a connection ends, and `finish` ends it.

pub(crate) mod echo;
pub(crate) mod finish;
pub(crate) mod guard;
pub(crate) mod session;
pub(crate) mod settings;
pub(crate) mod socket;

mod cost;
mod end;
mod frame_header;
mod frame_rate_limit;
mod inflate_reader;
pub(crate) mod reader;
mod receive;
mod write_buffer;
