//! A publication: its JSON as the publisher encoded it, and its other encoded forms, each made at
//! most once and only when the first session needs it.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use crate::dialect::{Dialect, binance, json, protobuf};
use crate::encode::deflate::{Deflater, Window};

/// A publication, shared by all its senders.
#[derive(Clone, Debug)]
pub struct Payload(Arc<Forms>);

#[derive(Debug)]
struct Forms {
    /// One object.
    json: Bytes,
    derived: OnceLock<Box<Derived>>,
}

/// The encoded forms of the JSON.
#[derive(Debug, Default)]
struct Derived {
    /// The compressed body, for each dialect and window.
    deflated: [[OnceLock<Box<[u8]>>; Window::ALL.len()]; Dialect::ALL.len()],
    /// The body in each dialect that is not the JSON of the bus.
    bodies: [OnceLock<Box<[u8]>>; Dialect::ALL.len()],
}

impl From<Bytes> for Payload {
    /// A JSON object.
    fn from(json: Bytes) -> Self {
        Self(Arc::new(Forms {
            json,
            derived: OnceLock::new(),
        }))
    }
}

/// Equal if they are the same JSON.
impl PartialEq for Payload {
    fn eq(&self, other: &Self) -> bool {
        self.0.json == other.0.json
    }
}

impl PartialEq<Bytes> for Payload {
    fn eq(&self, other: &Bytes) -> bool {
        self.0.json == *other
    }
}

impl Payload {
    /// The same publication without its encoded forms.
    #[must_use]
    pub fn bare(&self) -> Self {
        Self::from(self.0.json.clone())
    }

    /// Whether it has no encoded forms.
    #[must_use]
    pub fn is_bare(&self) -> bool {
        self.0.derived.get().is_none()
    }

    /// The JSON.
    #[must_use]
    pub fn json(&self) -> &Bytes {
        &self.0.json
    }

    /// Length of the JSON, bytes.
    #[must_use]
    pub fn json_bytes(&self) -> usize {
        self.0.json.len()
    }

    /// What follows [`Dialect::put_prefix`].
    #[must_use]
    pub fn body(&self, dialect: Dialect) -> &[u8] {
        let encode = match dialect {
            Dialect::Json => return json::body(&self.0.json),
            Dialect::Protobuf => protobuf::update,
            Dialect::Binance => binance::body,
            Dialect::BinanceCombined => binance::combined_body,
        };
        self.derived().bodies[dialect as usize].get_or_init(|| encode(&self.0.json).into())
    }

    /// The body as compressed blocks: see [`Deflater::blocks`].
    #[must_use]
    pub fn deflated(&self, dialect: Dialect, window: Window, deflater: &mut Deflater) -> &[u8] {
        self.derived().deflated[dialect as usize][window.index()]
            .get_or_init(|| deflater.blocks(window, self.body(dialect)).into())
    }

    fn derived(&self) -> &Derived {
        self.0.derived.get_or_init(Box::default)
    }
}
