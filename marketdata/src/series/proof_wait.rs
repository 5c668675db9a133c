//! How long the bars of a symbol wait for the proof that its connections were read.

use market_core::UnixMillis;

/// Whether a symbol's time waits for the proof that nobody traded.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum ProofWait {
    /// All of its time is proved, or no connection carries it.
    #[default]
    Proved,
    /// Its time waits.
    Waiting {
        /// Counted from when this was noticed: this process may have stood still itself.
        since_ms: UnixMillis,
    },
    /// The proof did not come for long: its bars continue as in an outage.
    GivenUp {
        /// Since when it was waited for.
        since_ms: UnixMillis,
    },
}

/// What the pipeline must be told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum ProofChange {
    /// Trades that may be missing count as a gap from now on.
    GivenUp,
    /// The connections are trusted again.
    Trusted,
}

impl ProofWait {
    /// Judges a symbol with connections that have proved its time up to `proved_ms`, which is at
    /// most `now`. After `hold_ms` without proof, the wait is given up.
    pub(super) fn judge(
        &mut self,
        proved_ms: UnixMillis,
        now: UnixMillis,
        hold_ms: i64,
    ) -> Option<ProofChange> {
        let was_given_up = self.is_given_up();
        *self = if proved_ms >= now {
            Self::Proved
        } else {
            let since_ms = match *self {
                Self::Proved => now,
                Self::Waiting { since_ms } | Self::GivenUp { since_ms } => since_ms,
            };
            if now - since_ms >= hold_ms {
                Self::GivenUp { since_ms }
            } else {
                Self::Waiting { since_ms }
            }
        };
        match (was_given_up, self.is_given_up()) {
            (false, true) => Some(ProofChange::GivenUp),
            (true, false) => Some(ProofChange::Trusted),
            _ => None,
        }
    }

    /// A first connection carries the symbol: the wait for the ones before is over.
    pub(super) fn begin_anew(&mut self) {
        *self = Self::Proved;
    }

    /// How far the symbol's time may advance at `now`.
    pub(super) fn limit_ms(self, proved_ms: UnixMillis, now: UnixMillis) -> UnixMillis {
        if self.is_given_up() { now } else { proved_ms }
    }

    fn is_given_up(self) -> bool {
        matches!(self, Self::GivenUp { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOLD_MS: i64 = 10_000;

    #[test]
    fn time_waits_for_the_proof_and_goes_on_without_it_after_the_hold() {
        let mut wait = ProofWait::default();
        assert_eq!(wait.judge(5_000, 5_000, HOLD_MS), None);
        assert_eq!(wait.judge(5_000, 6_000, HOLD_MS), None);
        assert_eq!(wait.limit_ms(5_000, 6_000), 5_000);
        assert_eq!(wait.judge(5_500, 15_999, HOLD_MS), None);
        let given_up = wait.judge(5_500, 16_000, HOLD_MS);
        assert_eq!(given_up, Some(ProofChange::GivenUp));
        assert_eq!(wait.limit_ms(5_500, 16_000), 16_000);
        assert_eq!(wait.judge(5_500, 17_000, HOLD_MS), None);
    }

    #[test]
    fn a_proof_makes_the_connections_trusted_again() {
        let mut wait = ProofWait::GivenUp { since_ms: 0 };
        let trusted = wait.judge(20_000, 20_000, HOLD_MS);
        assert_eq!(trusted, Some(ProofChange::Trusted));
        assert_eq!(wait, ProofWait::Proved);
    }

    #[test]
    fn the_wait_counts_from_when_it_was_noticed() {
        let mut wait = ProofWait::default();
        assert_eq!(wait.judge(0, 60_000, HOLD_MS), None);
        assert_eq!(wait, ProofWait::Waiting { since_ms: 60_000 });
    }

    #[test]
    fn a_first_connection_is_waited_for_as_long_as_any_other() {
        let mut wait = ProofWait::GivenUp { since_ms: 0 };
        wait.begin_anew();
        assert_eq!(wait.judge(29_000, 30_000, HOLD_MS), None);
        assert_eq!(wait.limit_ms(29_000, 30_000), 29_000);
        let given_up = wait.judge(29_000, 30_000 + HOLD_MS, HOLD_MS);
        assert_eq!(given_up, Some(ProofChange::GivenUp));
    }
}
