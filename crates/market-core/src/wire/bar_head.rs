//! The head of a published bar.

use serde::Deserialize;

use crate::value::clock::UnixMillis;

/// The few fields of an encoded bar by which a gateway routes it. The gateway never reads the
/// others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BarHead<'a> {
    /// See [`super::Stamp::seq`].
    pub seq: u64,
    /// See [`super::Stamp::epoch`].
    pub epoch: u64,
    /// First instant in the bar.
    pub start_ms: UnixMillis,
    /// First instant after the bar.
    pub end_ms: UnixMillis,
    /// Whether the bar is closed.
    pub closed: bool,
    /// Revision number.
    pub rev: u32,
    /// Whether the bar is flat because there were no trades.
    pub filled: bool,
    /// The venue of its trades, in lower case; empty if the publisher did not name it.
    pub exchange: &'a str,
}

#[derive(Deserialize)]
struct HeadFields<'a> {
    seq: u64,
    epoch: u64,
    start_ms: UnixMillis,
    end_ms: UnixMillis,
    #[serde(borrow)]
    state: &'a str,
    rev: u32,
    #[serde(borrow)]
    quality: &'a str,
    #[serde(borrow, default)]
    exchange: &'a str,
}

impl<'a> BarHead<'a> {
    /// Reads the head of an encoded bar; `None` if the payload is not a bar.
    #[must_use]
    pub fn read(payload: &'a [u8]) -> Option<Self> {
        let fields: HeadFields<'_> = serde_json::from_slice(payload).ok()?;
        Some(Self {
            seq: fields.seq,
            epoch: fields.epoch,
            start_ms: fields.start_ms,
            end_ms: fields.end_ms,
            closed: fields.state == "closed",
            rev: fields.rev,
            filled: fields.quality == "filled",
            exchange: fields.exchange,
        })
    }
}
