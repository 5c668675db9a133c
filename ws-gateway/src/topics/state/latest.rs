//! A topic with one value: each message replaces the one before.

use bytes::Bytes;

use super::bar::StreamPosition;
use super::newest::Newest;
use super::offered::Offered;
use client_frames::encode::payload::Payload;

/// The newest value of a topic.
#[derive(Debug, Default)]
pub(crate) struct Latest(Option<Value>);

#[derive(Debug)]
struct Value {
    version: u64,
    payload: Payload,
    /// The lowest one if its messages have none.
    position: StreamPosition,
}

impl Latest {
    /// Takes a message. One with a lower position than the value is stale.
    pub(super) fn offer(
        &mut self,
        position: StreamPosition,
        payload: Bytes,
        version: u64,
    ) -> Offered {
        if let Some(held) = &self.0 {
            if held.payload == payload {
                return Offered::Duplicate;
            }
            if position < held.position {
                return Offered::Stale;
            }
        }
        let conflated = self.0.is_some();
        let payload = Payload::from(payload);
        self.0 = Some(Value {
            version,
            payload,
            position,
        });
        Offered::New {
            missed: 0,
            late: false,
            conflated,
        }
    }

    /// Whether its messages have positions.
    pub(super) fn has_position(&self) -> bool {
        let has_one = |value: &Value| value.position != StreamPosition::default();
        self.0.as_ref().is_some_and(has_one)
    }

    /// Whether a client that stopped at a position lacks the value; it always does if the value
    /// has none.
    pub(super) fn is_after(&self, last: StreamPosition) -> bool {
        let is_after = |value: &Value| {
            value.position == StreamPosition::default()
                || value.position.epoch != last.epoch
                || value.position > last
        };
        self.0.as_ref().is_some_and(is_after)
    }

    /// The value.
    pub(super) fn newest(&self) -> Option<Newest> {
        let value = self.0.as_ref()?;
        Some(Newest::value(value.payload.clone(), value.version))
    }
}
