//! The open-ended gap after the newest trade, while the feed is down or suspiciously silent.

use super::{Gap, GapAction, GapEventState, GapState, Gaps, STEP_BACK_MS};
use crate::value::clock::UnixMillis;

impl Gaps {
    /// Whether there is an open end.
    pub(crate) fn has_tail(&self) -> bool {
        self.gaps.iter().any(Gap::is_tail)
    }

    /// Opens the open-ended gap after the newest trade, if there is none. `watched_ms` is the last
    /// time at which the feed is known to have been up. Bars that ended `late_horizon_ms` before it
    /// are final.
    pub(crate) fn open_tail(
        &mut self,
        from_ms: UnixMillis,
        watched_ms: UnixMillis,
        is_down: bool,
        late_horizon_ms: i64,
    ) {
        let id = self.next_id;
        if let Some(tail) = self.gaps.iter_mut().find(|gap| gap.is_tail()) {
            if is_down {
                tail.no_longer_suspicion();
                tail.state = GapState::FeedDown;
                // Requests from before the feed was lost again do not cover later trades.
                tail.id = id;
                self.next_id += 1;
            }
            return;
        }
        let gap = self.push(None, from_ms - STEP_BACK_MS);
        gap.marked_from_ms = watched_ms.saturating_sub(late_horizon_ms);
    }

    /// Opens the open-ended gap because of a silence, if there is none.
    pub(crate) fn open_suspicion(
        &mut self,
        from_ms: UnixMillis,
        watched_ms: UnixMillis,
        late_horizon_ms: i64,
    ) {
        if !self.gaps.iter().any(Gap::is_tail) {
            self.open_tail(from_ms, watched_ms, false, late_horizon_ms);
            if let Some(tail) = self.gaps.iter_mut().find(|gap| gap.is_tail()) {
                tail.is_suspicion = true;
            }
        }
    }

    /// The feed is up: trades after the newest one may be requested.
    pub(crate) fn ask_tail(&mut self) {
        let due_ms = self.steady_ms;
        for gap in self
            .gaps
            .iter_mut()
            .filter(|gap| gap.state == GapState::FeedDown)
        {
            gap.state = GapState::Waiting { due_ms };
        }
    }

    /// The open end begins with the newest trade, because trades after the newest one have come. It
    /// begins earlier than before if the venue's clock was set back.
    pub(crate) fn narrow_tail(&mut self, event_ms: UnixMillis) {
        if let Some(tail) = self.gaps.iter_mut().find(|gap| gap.is_tail()) {
            tail.from_ms = event_ms - STEP_BACK_MS;
            self.is_narrowed = true;
        }
    }

    /// The stream continues with a jump, but has not reached the bars that have closed: the jump
    /// replaces the open end, and another open end follows it.
    pub(crate) fn split_tail(&mut self, event_ms: UnixMillis) {
        let Some(tail) = self.gaps.iter().position(Gap::is_tail) else {
            return;
        };
        let is_confirmed = self.gaps[tail].is_confirmed;
        let due_ms = self.steady_ms;
        let rest = self.push(None, event_ms - STEP_BACK_MS);
        rest.is_confirmed = is_confirmed;
        rest.state = GapState::Waiting { due_ms };
        self.is_narrowed = true;
    }

    /// Nothing was missed: the stream continued with the next id. True if bars had been marked.
    pub(crate) fn close_tail<O: From<GapAction>>(&mut self, out: &mut Vec<O>) -> bool {
        let Some(index) = self.gaps.iter().position(Gap::is_tail) else {
            return false;
        };
        let gap = self.gaps.remove(index);
        if gap.is_overdue {
            out.push(gap.event(GapEventState::Filled).into());
        }
        self.refresh_missing();
        gap.is_confirmed
    }
}
