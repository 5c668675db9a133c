//! Fires once when a condition begins to hold, and again only after it has been re-armed.

use market_core::UnixMillis;
use serde::{Deserialize, Serialize};

/// Whether a condition may fire. At most one thing happens to it in each bar, so a bar that is
/// revised neither fires twice nor fires after it has re-armed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Edge {
    is_armed: bool,
    /// Start of the bar in which it fired or was re-armed last.
    changed_ms: Option<UnixMillis>,
    /// End of the bar in which it fired last.
    fired_ms: Option<UnixMillis>,
}

impl Edge {
    /// An edge on which nothing has happened yet.
    #[must_use]
    pub const fn new(is_armed: bool) -> Self {
        Self {
            is_armed,
            changed_ms: None,
            fired_ms: None,
        }
    }

    /// When the cooldown is over; `None` if it never fired.
    #[must_use]
    pub fn cool_ms(&self, cooldown_ms: i64) -> Option<UnixMillis> {
        Some(self.fired_ms?.saturating_add(cooldown_ms))
    }

    /// Re-arms, also in a bar before the one in which it fired.
    pub fn rearm(&mut self, start_ms: UnixMillis) {
        if !self.is_armed {
            self.is_armed = true;
            self.changed_ms = self.changed_ms.max(Some(start_ms));
        }
    }

    /// The clock that all times are of is at `now_ms`: what happened later by it was at most just now. It
    /// was put back.
    pub fn put_back(&mut self, now_ms: UnixMillis) {
        let before_ms = now_ms.saturating_sub(1);
        for ms in [&mut self.changed_ms, &mut self.fired_ms] {
            *ms = ms.map(|ms| if ms > now_ms { before_ms } else { ms });
        }
    }

    /// Takes a bar, and says whether it fires in it.
    ///
    /// It fires if it is armed, the condition holds, and the cooldown since it fired last is over.
    pub fn step(
        &mut self,
        (start_ms, end_ms): (UnixMillis, UnixMillis),
        holds: bool,
        rearms: bool,
        cooldown_ms: i64,
    ) -> bool {
        if self.changed_ms.is_some_and(|changed| start_ms <= changed) {
            return false;
        }
        let is_cool = self
            .fired_ms
            .is_none_or(|fired| end_ms.saturating_sub(fired) >= cooldown_ms);
        let fires = self.is_armed && holds && is_cool;
        if fires {
            self.is_armed = false;
            self.fired_ms = Some(end_ms);
            self.changed_ms = Some(start_ms);
        } else if !self.is_armed && rearms {
            self.is_armed = true;
            self.changed_ms = Some(start_ms);
        }
        fires
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever the bars say, and in whichever order they come.
        #[test]
        fn between_two_alerts_there_is_a_rearm_and_the_cooldown(
            starts_armed in any::<bool>(),
            cooldown_ms in 0_i64..20,
            steps in proptest::collection::vec((0_i64..60, any::<bool>(), any::<bool>()), 0..80),
        ) {
            let mut edge = Edge::new(starts_armed);
            let (mut may_fire, mut last_fired) = (starts_armed, None::<i64>);
            for (start_ms, holds, rearms) in steps {
                let was = edge;
                let fired = edge.step((start_ms, start_ms + 1), holds, rearms, cooldown_ms);
                if fired {
                    prop_assert!(may_fire && holds);
                    if let Some(last) = last_fired {
                        prop_assert!(start_ms > last && start_ms - last >= cooldown_ms);
                    }
                    (may_fire, last_fired) = (false, Some(start_ms));
                } else if edge != was {
                    prop_assert!(rearms, "only a re-arm changes it beside an alert");
                    may_fire = true;
                }
            }
        }
    }
}
