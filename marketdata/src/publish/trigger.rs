//! What made a bar close, and when.

use market_core::UnixMicros;

/// The input that made a bar close.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trigger {
    /// A frame with a trade that moved the watermark past the bar's end.
    Frame {
        /// When it was received, host time.
        received_us: UnixMicros,
        /// When its trades were passed on to the worker, host time.
        passed_on_us: UnixMicros,
        /// When the worker took them, host time.
        taken_us: UnixMicros,
    },
    /// The clock, in a silent market.
    Tick {
        /// When it was due, host time.
        due_us: UnixMicros,
    },
}

impl Trigger {
    /// When it happened, host time.
    #[must_use]
    pub fn at_us(self) -> UnixMicros {
        match self {
            Self::Frame { received_us, .. } => received_us,
            Self::Tick { due_us } => due_us,
        }
    }

    /// The same, where the worker has taken a frame of then, too: the older one counts.
    #[must_use]
    pub(crate) fn or_frame(self, received_us: UnixMicros, passed_on_us: UnixMicros) -> Self {
        match self {
            Self::Frame { taken_us, .. } if received_us < self.at_us() => Self::Frame {
                received_us,
                passed_on_us,
                taken_us,
            },
            other => other,
        }
    }
}
