//! When a venue is asked for its markets again.

use std::time::{Duration, Instant};

/// How soon a venue is asked again that has never answered, or on which nothing trades.
const SOON: Duration = Duration::from_secs(10);
/// The time in which nothing has traded, in terms of the time until the venue is asked again.
const IDLE_PARTS: u32 = 10;

/// What is known of a venue's markets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It has never said which markets it lists.
    Unknown,
    /// No market of its patterns trades, and none is followed: the venue pauses, or all are delisted.
    Idle,
    Usual,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Due {
    at: Option<Instant>,
    idle_since: Option<Instant>,
}

impl Due {
    /// How long it is until the venue is asked.
    pub(super) fn wait(&self, now: Instant) -> Duration {
        self.at
            .map_or(Duration::ZERO, |at| at.saturating_duration_since(now))
    }

    /// The venue was asked; `interval` is the usual time until it is asked again. A program that
    /// starts while a venue pauses must learn soon that it trades again: within a tenth of the pause.
    /// But a market that is delisted may be listed as one that pauses for ever.
    pub(super) fn asked(&mut self, state: State, interval: Duration, now: Instant) {
        let idle_for = match state {
            State::Idle => now.saturating_duration_since(*self.idle_since.get_or_insert(now)),
            State::Unknown | State::Usual => {
                self.idle_since = None;
                Duration::ZERO
            }
        };
        let pause = match state {
            State::Usual => interval,
            State::Unknown | State::Idle => interval.min(SOON.max(idle_for / IDLE_PARTS)),
        };
        self.at = Some(now + pause);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USUAL: Duration = Duration::from_secs(300);

    #[test]
    fn a_venue_on_which_nothing_trades_is_asked_soon_and_then_less_often() {
        let mut due = Due::default();
        let begun = Instant::now();
        let (mut now, mut asked) = (begun, 0);
        while now < begun + Duration::from_secs(86_400) {
            assert_eq!(due.wait(now), Duration::ZERO);
            due.asked(State::Idle, USUAL, now);
            let wait = due.wait(now);
            assert!(wait <= (now - begun).max(SOON * IDLE_PARTS) / IDLE_PARTS && wait <= USUAL);
            now += wait;
            asked += 1;
        }
        // 288 is one each interval.
        assert!((288..=340).contains(&asked), "{asked}");
        assert_eq!(due.wait(now - Duration::from_secs(1)).as_secs(), 1);
        // The next pause begins anew.
        due.asked(State::Usual, USUAL, now);
        assert_eq!(due.wait(now), USUAL);
        due.asked(State::Idle, USUAL, now);
        assert_eq!(due.wait(now), SOON);
    }

    #[test]
    fn a_venue_that_never_answers_is_asked_every_ten_seconds() {
        let mut due = Due::default();
        let mut now = Instant::now();
        for _ in 0..1_000 {
            due.asked(State::Unknown, USUAL, now);
            assert_eq!(due.wait(now), SOON);
            now += SOON;
        }
        due.asked(State::Unknown, Duration::from_secs(1), now);
        assert_eq!(due.wait(now).as_secs(), 1, "not more seldom than usual");
    }
}
