//! marketdata as production runs it: real sockets and REST against the exchange simulator, with
//! the memory bus, and recorded captures through `replay`.

mod captures;
mod deployment;

mod boundaries;
mod feeds;
mod gaps;
mod reconcile;
mod recovery;
mod stream_klines;
mod symbols;
