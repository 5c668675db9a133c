//! For how long a server has answered nothing, counted in looks.
//!
//! The clock alone does not tell a server that hangs from a broker that stood still itself, as with
//! SIGSTOP or a paused container: after it, the deadline of the look is over although the answer is
//! there. So a look counts for no longer than it may take, and one look proves nothing.

use std::time::Duration;

use crate::monitor::PAGE_DEADLINE;

/// Time between two looks at a server.
pub(super) const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// Silent looks that prove something.
const LOOKS_MIN: u32 = 2;

/// The silent looks since the last answer.
#[derive(Debug)]
pub(super) struct Silence {
    /// The silence that is a hang; zero for none.
    pub(super) deadline: Duration,
    looks: u32,
    total: Duration,
}

impl Silence {
    pub(super) fn new(deadline: Duration) -> Self {
        Self {
            deadline,
            looks: 0,
            total: Duration::ZERO,
        }
    }

    /// A look took so long. True if the server hangs.
    pub(super) fn is_hang(&mut self, is_silent: bool, took: Duration) -> bool {
        if !is_silent {
            *self = Self::new(self.deadline);
            return false;
        }
        self.looks = self.looks.saturating_add(1);
        let counted = took.clamp(LOOK_INTERVAL, PAGE_DEADLINE);
        self.total = self.total.saturating_add(counted);
        !self.deadline.is_zero() && self.looks >= LOOKS_MIN && self.total >= self.deadline
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEADLINE: Duration = Duration::from_secs(30);

    #[test]
    fn a_broker_that_stood_still_takes_no_server_for_one_that_hangs() {
        let mut silence = Silence::new(DEADLINE);
        let hour = Duration::from_secs(3_600);
        assert!(!silence.is_hang(true, hour));
        assert!(!silence.is_hang(true, hour));
        assert!(!silence.is_hang(false, hour));
        // Also where the deadline is shorter than a look.
        let mut silence = Silence::new(Duration::from_millis(1));
        assert!(!silence.is_hang(true, hour));
        assert!(!silence.is_hang(false, Duration::ZERO));
        assert!(!silence.is_hang(true, hour));
        assert!(silence.is_hang(true, Duration::ZERO));
    }

    #[test]
    fn a_server_hangs_after_as_many_silent_looks_in_a_row_as_the_deadline_has() {
        for (took, looks) in [(PAGE_DEADLINE, 15), (Duration::ZERO, 60)] {
            let mut silence = Silence::new(DEADLINE);
            assert!(!silence.is_hang(true, took));
            assert!(!silence.is_hang(false, took));
            for look in 1..looks {
                assert!(!silence.is_hang(true, took), "{look}");
            }
            assert!(silence.is_hang(true, took));
        }
        let mut never = Silence::new(Duration::ZERO);
        assert!((0..1_000).all(|_| !never.is_hang(true, PAGE_DEADLINE)));
    }
}
