//! A topic with one value: each message replaces the one before.

use bytes::Bytes;

use super::newest::Newest;
use super::offered::Offered;
use crate::encode::payload::Payload;

/// The newest value of a topic.
#[derive(Debug, Default)]
pub(crate) struct Latest(Option<Value>);

#[derive(Debug)]
struct Value {
    version: u64,
    payload: Payload,
}

impl Latest {
    /// Takes a message.
    pub(super) fn offer(&mut self, payload: Bytes, version: u64) -> Offered {
        if let Some(held) = &self.0
            && held.payload == payload
        {
            return Offered::Duplicate;
        }
        let conflated = self.0.is_some();
        let payload = Payload::from(payload);
        self.0 = Some(Value { version, payload });
        Offered::New {
            missed: 0,
            late: false,
            conflated,
        }
    }

    /// The value.
    pub(super) fn newest(&self) -> Option<Newest> {
        let value = self.0.as_ref()?;
        Some(Newest::value(value.payload.clone(), value.version))
    }
}
