//! Hostile input for every reader of bytes from outside, and the properties that must hold.
//!
//! One function per target. It builds a structure from its bytes (valid frames or messages with
//! extremes in their fields, cut anywhere), or uses them directly. It passes this to the product,
//! and panics if a property does not hold: another decoder gives the same answer, memory and work
//! have a bound, and later input is still accepted.
//!
//! The first byte says what the rest is. If it is even, the rest is the input itself, so that
//! fixtures are seeds. If it is odd, a structure is built from the rest.
//!
//! `tests/bounded.rs` runs every target on the corpus and on some thousands of seeded inputs.
//! `scripts/fuzz.sh` runs them with coverage counters for any time.

mod binance_dialect;
mod checkpoints;
mod compressed;
mod frames;
mod json;
mod protobuf;
mod publications;
mod requests;
mod venues;

pub use binance_dialect::{binance_query, binance_request};
pub use checkpoints::checkpoint;
pub use compressed::deflate;
pub use frames::frame_decoder;
pub use protobuf::protobuf_request;
pub use publications::bus_payloads;
pub use requests::request;
pub use venues::{binance, coinbase, okx};

/// A reader of bytes from outside, and the property that must hold.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// The name of its corpus, and in the libFuzzer program.
    pub name: &'static str,
    /// Panics if the property does not hold.
    pub run: fn(&[u8]),
}

macro_rules! targets {
    ($($name:ident),+ $(,)?) => {
        /// Every target, in the order of the flow from clients to venues.
        pub const TARGETS: &[Target] = &[$(Target { name: stringify!($name), run: $name }),+];
    };
}

targets! {
    frame_decoder,
    deflate,
    request,
    protobuf_request,
    binance_request,
    binance_query,
    bus_payloads,
    checkpoint,
    binance,
    coinbase,
    okx,
}

/// The meaning of the first byte.
enum Form<'a> {
    /// It is the input itself.
    Raw(&'a [u8]),
    /// A structure is built from it.
    Made(arbitrary::Unstructured<'a>),
}

impl<'a> Form<'a> {
    fn of(data: &'a [u8]) -> Option<Self> {
        let (first, rest) = data.split_first()?;
        Some(match first.is_multiple_of(2) {
            true => Self::Raw(rest),
            false => Self::Made(arbitrary::Unstructured::new(rest)),
        })
    }
}
