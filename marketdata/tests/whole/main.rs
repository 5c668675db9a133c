//! marketdata as production runs it: real sockets and REST against the exchange simulator, with
//! the memory bus, and recorded captures through `replay`.

mod captures;
mod deployment;
mod faulty_bus;
mod seen;

mod books;
mod boundaries;
mod discovery;
mod feeds;
mod gaps;
mod many;
mod ownership;
mod process;
mod reconcile;
mod recovery;
mod replay;
mod sharing;
mod standstills;
mod stream_klines;
mod symbols;
mod takeover;
mod tickers;
mod values;
mod venue_bars;
