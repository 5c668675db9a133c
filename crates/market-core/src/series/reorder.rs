//! The reorder window: how far behind the venue's clock a trade may come and still be on time.
//!
//! Bars are merges that do not depend on order, so no trade is held back: a trade is folded at once
//! and the forming bar shows it. The window decides when a bar may close, and which trades are
//! late. See docs/decisions/0001-bars-are-merges.md.

use serde::{Deserialize, Serialize};

use crate::value::clock::UnixMillis;

/// A watermark that trails the venue's clock by the window. If the clock proves to have been ahead,
/// the watermark goes back with it: closed bars stay closed, and open bars wait.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReorderWindow {
    window_ms: i64,
    late_horizon_ms: i64,
    watermark_ms: Option<UnixMillis>,
}

/// The position of a trade relative to the watermark.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Placement {
    /// Not later than the window.
    OnTime,
    /// Later than the window, within the horizon: bars already closed are revised.
    Late {
        /// How long after the watermark passed it the trade came, ms.
        lateness_ms: i64,
    },
    /// Too late for any bar.
    BeyondHorizon {
        /// How long after the watermark passed it the trade came, ms.
        lateness_ms: i64,
    },
}

impl ReorderWindow {
    /// `window_ms`: lateness that a bar waits for; `late_horizon_ms`: age up to which a closed
    /// bar is revised.
    #[must_use]
    pub fn new(window_ms: i64, late_horizon_ms: i64) -> Self {
        Self {
            window_ms,
            late_horizon_ms,
            watermark_ms: None,
        }
    }

    /// Moves the watermark with the venue's clock.
    pub fn advance(&mut self, venue_now: UnixMillis) {
        self.watermark_ms = Some(venue_now - self.window_ms);
    }

    /// Places an event time.
    #[must_use]
    #[inline]
    pub fn place(&self, event_ms: UnixMillis) -> Placement {
        match self.watermark_ms {
            Some(watermark) if event_ms < watermark => {
                let lateness_ms = watermark - event_ms;
                if lateness_ms > self.late_horizon_ms {
                    Placement::BeyondHorizon { lateness_ms }
                } else {
                    Placement::Late { lateness_ms }
                }
            }
            _ => Placement::OnTime,
        }
    }

    /// Bars that end at or before this may close. A trade that comes exactly the window after its
    /// bar's end is still on time, so the watermark has to have passed the end.
    #[must_use]
    pub fn close_limit_ms(&self) -> Option<UnixMillis> {
        self.watermark_ms.map(|watermark| watermark - 1)
    }

    /// Bars that end before this are beyond the late horizon.
    #[must_use]
    pub fn horizon_ms(&self) -> Option<UnixMillis> {
        self.watermark_ms
            .map(|watermark| watermark - self.late_horizon_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lateness_is_judged_against_the_watermark() {
        let mut window = ReorderWindow::new(2_000, 900_000);
        assert_eq!(window.place(0), Placement::OnTime);
        window.advance(10_000);
        assert_eq!(window.place(8_000), Placement::OnTime);
        assert_eq!(window.place(7_999), Placement::Late { lateness_ms: 1 });
        window.advance(910_001);
        assert_eq!(
            window.place(8_000),
            Placement::BeyondHorizon {
                lateness_ms: 900_001
            }
        );
    }
}
