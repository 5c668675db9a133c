//! Frames as the clients of one variant want them: wrapped or not, in milliseconds or microseconds.

use super::encode;
use super::stream::Stream;
use crate::instrument::Instrument;

/// Bit of the variant: frames are wrapped as `{"stream":..,"data":..}`.
pub(crate) const COMBINED: u8 = 1;
/// Bit of the variant: times are microseconds.
pub(crate) const MICROSECONDS: u8 = 2;
/// A payload for a variant: in its unit of time, wrapped or not.
pub(crate) fn binance_frame(
    instrument: &Instrument,
    stream: Stream,
    variant: u8,
    payload: impl Fn(bool) -> String,
) -> String {
    wrap_named(
        variant,
        || stream.name(&instrument.symbol),
        payload(variant & MICROSECONDS != 0),
    )
}

/// Wraps a payload for the variants that want it.
pub(crate) fn wrap(variant: u8, stream: &str, payload: String) -> String {
    wrap_named(variant, || stream.to_owned(), payload)
}

fn wrap_named(variant: u8, stream: impl Fn() -> String, payload: String) -> String {
    if variant & COMBINED == 0 {
        payload
    } else {
        encode::combined(&stream(), &payload)
    }
}
