//! Our bars against the venue's own.
//!
//! [`compare`] is the comparison, pure; [`klines`] reads what a venue says, from files;
//! [`command`] replays a capture and compares it, and [`report`] prints what came of it;
//! [`background`] does the same all the time with what was published.

pub mod compare;
pub mod exact;

pub mod klines;
pub mod report;

pub mod command;

pub mod background;
