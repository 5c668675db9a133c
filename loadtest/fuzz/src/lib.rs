//! Hostile input for every reader of bytes from outside, and what has to hold for it.
//!
//! One function a target. It makes a structure of the bytes that it is given (valid frames or
//! messages with extremes in their fields, cut anywhere) or takes them as they are, gives it to
//! the product, and panics where a property does not hold: the same answer as another decoder
//! gives, bounded memory and work, and what comes afterwards still taken.
//!
//! The first byte says which form the rest has: an even one that it is the input itself, so that
//! fixtures are seeds; an odd one that a structure is made of it.
//!
//! `tests/bounded.rs` runs every target on the corpus and on some thousands of seeded inputs;
//! `scripts/fuzz.sh` runs them with coverage counters for as long as one likes.

mod checkpoints;
mod compressed;
mod frames;
mod json;
mod protobuf;
mod publications;
mod requests;
mod venues;

pub use checkpoints::checkpoint;
pub use compressed::deflate;
pub use frames::frame_decoder;
pub use protobuf::protobuf_request;
pub use publications::bus_payloads;
pub use requests::request;
pub use venues::{binance, coinbase, okx};

/// A reader of bytes from outside, and what has to hold for it.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// As of its corpus and its libFuzzer program.
    pub name: &'static str,
    /// Panics where something does not hold.
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
    bus_payloads,
    checkpoint,
    binance,
    coinbase,
    okx,
}

/// What the first byte says of the rest.
enum Form<'a> {
    /// It is the input itself.
    Raw(&'a [u8]),
    /// A structure is to be made of it.
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
