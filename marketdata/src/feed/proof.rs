//! How far a connection has proved that the venue's data was read.
//!
//! If no trade was read, this does not prove that there was none. This process may have stood still
//! (stopped, starved, swapped out) while frames piled up in its socket. Or the venue, or the way to
//! it, may have stood still. So the time of a symbol's bars advances no further than its
//! connections have proved. In normal operation, an empty socket is the proof. After a standstill,
//! or when a busy connection falls silent, it is not. Then a ping is sent, and its answer comes
//! after everything that the venue sent before.

use market_core::UnixMillis;

/// A longer pause between two checks of the socket was a standstill.
const STANDSTILL_MS: i64 = 500;
/// A connection that is silent for this many times its usual pause is doubted.
const SILENCES_OF_PACE: i64 = 5;
/// But not earlier than this.
const SILENCE_MIN_MS: i64 = 250;
/// And not later, however slow its pace: bars close two seconds after their end, and by then it
/// must be known whether the venue is quiet or gone.
const SILENCE_MAX_MS: i64 = 1_200;
/// Frames until the pace is known.
const PACE_FRAMES: u32 = 16;
/// Shortest time between two pings because of silence. Venues count them among a client's messages.
const ASK_EVERY_MS: i64 = 1_000;
/// A venue that has sent frames for this long after a ping, but no answer, answers no pings.
const ANSWER_MAX_MS: i64 = 5_000;
/// After the end of a long doubt, data that came in bulk must be read within this time.
const SETTLE_MS: i64 = 500;

/// Why a connection is doubted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doubt {
    /// The socket was not checked for long.
    StoodStill,
    /// It was busy, and nothing came for long.
    Silent,
}

impl Doubt {
    /// The name in metrics.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::StoodStill => "stood_still",
            Self::Silent => "silent",
        }
    }
}

/// See the module. All times are this host's, ms.
#[derive(Clone, Debug)]
pub(crate) struct Proof {
    through_ms: UnixMillis,
    looked_ms: UnixMillis,
    /// When something came, or the last doubt ended.
    heard_ms: UnixMillis,
    /// A frame with data came.
    data_ms: UnixMillis,
    /// Usual pause between frames, µs.
    pace_us: i64,
    frames: u32,
    doubt: Option<(Doubt, UnixMillis)>,
    /// The doubt is over, and this is the time at which its end counts.
    settled_at_ms: Option<UnixMillis>,
    asked_ms: Option<UnixMillis>,
    /// Since when pings have no answer.
    unanswered_ms: Option<UnixMillis>,
    answers_pings: Option<bool>,
}

impl Proof {
    /// A connection that was opened at `now`.
    pub(crate) fn new(now: UnixMillis) -> Self {
        Self {
            through_ms: now,
            looked_ms: now,
            heard_ms: now,
            data_ms: now,
            pace_us: 0,
            frames: 0,
            doubt: None,
            settled_at_ms: None,
            asked_ms: None,
            unanswered_ms: None,
            answers_pings: None,
        }
    }

    /// The data that the venue sent until then is read.
    pub(crate) fn through_ms(&self) -> UnixMillis {
        self.through_ms
    }

    fn has_stood_still(&self) -> bool {
        matches!(self.doubt, Some((Doubt::StoodStill, _)))
    }

    /// The socket was not checked for long, and its data may not be read yet: do not judge anything
    /// by the clock. A connection that does not recover is still judged.
    pub(crate) fn is_catching_up(&self, now: UnixMillis) -> bool {
        matches!(self.doubt, Some((Doubt::StoodStill, since_ms)) if now - since_ms < ANSWER_MAX_MS)
    }

    /// The socket is checked. Returns the doubt that begins, if any.
    pub(crate) fn look(&mut self, now: UnixMillis) -> Option<Doubt> {
        let pause_ms = now - std::mem::replace(&mut self.looked_ms, now);
        if pause_ms > STANDSTILL_MS {
            // Frames in the meantime say nothing about the pace.
            self.heard_ms = now;
            self.data_ms = now;
            self.settled_at_ms = None;
            self.doubt = Some((Doubt::StoodStill, now));
            return Some(Doubt::StoodStill);
        }
        None
    }

    /// A frame with data came.
    pub(crate) fn frame(&mut self, now: UnixMillis) {
        if self.doubt.is_none() {
            self.pause(now, 16);
        }
        self.data_ms = now;
        self.frames = self.frames.saturating_add(1);
        self.heard_ms = now;
        if self.answers_pings.is_none()
            && self
                .unanswered_ms
                .is_some_and(|since| now - since > ANSWER_MAX_MS)
        {
            self.answers_pings = Some(false);
        }
        if let Some((Doubt::Silent, since_ms)) = self.doubt {
            self.is_over(since_ms, now);
        }
    }

    /// Moves the pace towards a pause between frames, by one part in `parts`.
    fn pause(&mut self, now: UnixMillis, parts: i64) {
        let pause_us = (now - self.data_ms).max(0).saturating_mul(1_000);
        self.pace_us = match self.frames {
            0 => pause_us,
            _ => self.pace_us + (pause_us - self.pace_us) / parts,
        };
    }

    /// The answer came to the ping that was sent at `asked_ms`.
    pub(crate) fn pong(&mut self, asked_ms: UnixMillis, now: UnixMillis) {
        self.answers_pings = Some(true);
        self.heard_ms = now;
        self.unanswered_ms = None;
        match self.doubt {
            Some((doubt, since_ms)) if asked_ms >= since_ms => {
                if doubt == Doubt::Silent {
                    // The market is quiet: after a few of these, the pace is that of a quiet
                    // market.
                    self.pause(now, 4);
                }
                self.is_over(since_ms, now);
            }
            _ => {}
        }
    }

    fn is_over(&mut self, since_ms: UnixMillis, now: UnixMillis) {
        let was_long = now - since_ms > STANDSTILL_MS || self.has_stood_still();
        let at = if was_long { now + SETTLE_MS } else { now };
        self.settled_at_ms.get_or_insert(at);
    }

    /// The socket is empty. Returns the doubt that begins, if any.
    pub(crate) fn empty(&mut self, now: UnixMillis) -> Option<Doubt> {
        if let Some((doubt, since_ms)) = self.doubt {
            if doubt == Doubt::StoodStill && self.answers_pings == Some(false) {
                self.is_over(since_ms, now);
            }
            if self.settled_at_ms.is_none_or(|at| now < at) {
                return None;
            }
            self.doubt = None;
            self.settled_at_ms = None;
            self.heard_ms = now;
        }
        if self.is_silent(now) {
            self.doubt = Some((Doubt::Silent, now));
            return Some(Doubt::Silent);
        }
        self.through_ms = now;
        None
    }

    fn is_silent(&self, now: UnixMillis) -> bool {
        let limit_ms = if self.frames < PACE_FRAMES {
            SILENCE_MAX_MS
        } else {
            let of_pace_ms = (self.pace_us / 1_000).saturating_mul(SILENCES_OF_PACE);
            of_pace_ms.clamp(SILENCE_MIN_MS, SILENCE_MAX_MS)
        };
        self.answers_pings == Some(true) && now - self.heard_ms > limit_ms
    }

    /// Whether to send a ping now: once to learn whether pings are answered, and in doubt. At most
    /// one is on its way, because a venue that stands still gets all of them at once. Returns the
    /// ping's content, for [`Proof::pong`].
    pub(crate) fn ask(&mut self, now: UnixMillis) -> Option<UnixMillis> {
        let is_wanted = match (self.doubt, self.asked_ms) {
            (None, asked_ms) => asked_ms.is_none(),
            (Some(_), _) if self.settled_at_ms.is_some() || self.answers_pings == Some(false) => {
                false
            }
            (Some(_), None) => true,
            // An earlier ping is answered before the data that piled up.
            (Some((Doubt::StoodStill, since_ms)), Some(at)) => at < since_ms,
            (Some((Doubt::Silent, since_ms)), Some(at)) => {
                at < since_ms && self.unanswered_ms.is_none() && now - at >= ASK_EVERY_MS
            }
        };
        if !is_wanted {
            return None;
        }
        self.asked_ms = Some(now);
        self.unanswered_ms.get_or_insert(now);
        self.asked_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A connection that is busy until `ms`: a frame each 50 ms, and its first ping answered.
    fn busy_until(ms: i64) -> Proof {
        let mut proof = Proof::new(0);
        assert_eq!(proof.ask(0), Some(0));
        proof.pong(0, 0);
        for now in (50..=ms).step_by(50) {
            assert_eq!(proof.look(now), None);
            proof.frame(now);
            assert_eq!(proof.empty(now), None);
            assert_eq!(proof.ask(now), None);
        }
        assert_eq!(proof.through_ms(), ms);
        proof
    }

    /// Nothing comes from `from_ms` on: when it is asked, and until when it is proved.
    fn silent(proof: &mut Proof, from_ms: i64, to_ms: i64) -> Vec<i64> {
        let mut asked = Vec::new();
        for now in (from_ms..=to_ms).step_by(50) {
            proof.look(now);
            proof.empty(now);
            asked.extend(proof.ask(now));
        }
        asked
    }

    #[test]
    fn after_a_standstill_only_the_answer_to_a_later_ping_proves_that_all_is_read() {
        let mut proof = busy_until(2_000);
        assert_eq!(proof.look(22_000), Some(Doubt::StoodStill));
        // The socket may be found empty while more is on its way.
        assert_eq!(proof.empty(22_000), None);
        assert_eq!(proof.ask(22_000), Some(22_000));
        assert!(proof.is_catching_up(22_000));
        for now in (22_050..22_500).step_by(50) {
            proof.look(now);
            proof.frame(now);
            proof.empty(now);
            assert_eq!(proof.through_ms(), 2_000);
        }
        proof.pong(22_000, 22_500);
        for now in (22_550..23_000).step_by(50) {
            proof.look(now);
            proof.empty(now);
            assert_eq!(proof.through_ms(), 2_000);
        }
        proof.look(23_000);
        proof.empty(23_000);
        assert_eq!(
            (proof.through_ms(), proof.is_catching_up(23_000)),
            (23_000, false)
        );
    }

    #[test]
    fn an_answer_from_before_the_standstill_proves_nothing() {
        let mut proof = busy_until(2_000);
        assert_eq!(silent(&mut proof, 2_050, 3_500), [2_300]);
        assert_eq!(proof.look(9_000), Some(Doubt::StoodStill));
        proof.pong(2_300, 9_000);
        silent(&mut proof, 9_000, 9_900);
        assert!(proof.through_ms() < 3_100);
    }

    #[test]
    fn a_busy_connection_that_falls_silent_is_asked_and_proves_by_its_answer() {
        let mut proof = busy_until(2_000);
        let asked = silent(&mut proof, 2_050, 7_000);
        // One ping, however long it takes.
        assert_eq!((asked, proof.through_ms()), (vec![2_300], 2_250));
        proof.pong(2_300, 7_000);
        silent(&mut proof, 7_050, 7_500);
        assert_eq!(proof.through_ms(), 7_500);
    }

    #[test]
    fn a_quiet_market_whose_venue_answers_is_never_far_from_proved() {
        let mut proof = busy_until(2_000);
        let (mut asked, mut pings) = (None, 0);
        for now in (2_050..600_000).step_by(50) {
            proof.look(now);
            if let Some(at) = asked.take() {
                proof.pong(at, now);
            }
            proof.empty(now);
            asked = proof.ask(now);
            pings += usize::from(asked.is_some());
            assert!(now - proof.through_ms() <= ASK_EVERY_MS, "{now}");
        }
        assert!((1..=600).contains(&pings), "{pings}");
    }

    #[test]
    fn a_market_of_bursts_is_asked_once_a_second_at_most() {
        let mut proof = busy_until(2_000);
        let (mut asked, mut last_asked) = (None, 0);
        for now in (2_010..60_000).step_by(10) {
            proof.look(now);
            if let Some(at) = asked.take() {
                proof.pong(at, now);
            }
            // A frame each 10 ms for a while, and a pause.
            if now % 800 < 400 {
                proof.frame(now);
            }
            proof.empty(now);
            asked = proof.ask(now);
            if let Some(at) = asked {
                assert!(at - last_asked >= ASK_EVERY_MS, "{last_asked} {at}");
                last_asked = at;
            }
        }
    }

    #[test]
    fn a_connection_that_is_usually_quiet_is_asked_in_time_for_its_bars() {
        let mut proof = Proof::new(0);
        assert_eq!(proof.ask(0), Some(0));
        proof.pong(0, 0);
        let (mut asked, mut pings) = (None, 0);
        for now in (50..600_000).step_by(50) {
            proof.look(now);
            if let Some(at) = asked.take() {
                proof.pong(at, now);
            }
            if now % 5_000 == 0 {
                proof.frame(now);
            }
            proof.empty(now);
            asked = proof.ask(now);
            pings += usize::from(asked.is_some());
            assert!(now - proof.through_ms() <= 100, "{now}");
        }
        assert!(pings <= 600, "{pings}");
        // The venue stands still: after the last answer nothing is proved for long.
        silent(&mut proof, 600_000, 660_000);
        assert!(proof.through_ms() <= 600_000 + SILENCE_MAX_MS);
    }

    #[test]
    fn a_venue_that_answers_no_pings_is_believed_once_its_socket_is_read() {
        let mut proof = Proof::new(0);
        assert_eq!(proof.ask(0), Some(0));
        for now in (50..=6_000).step_by(50) {
            proof.look(now);
            proof.frame(now);
            assert_eq!(proof.empty(now), None);
        }
        assert_eq!(silent(&mut proof, 6_050, 60_000), [] as [i64; 0]);
        assert_eq!(proof.through_ms(), 60_000);
        proof.look(80_000);
        assert_eq!(silent(&mut proof, 80_000, 80_600), [] as [i64; 0]);
        assert_eq!(proof.through_ms(), 80_600);
    }
}
