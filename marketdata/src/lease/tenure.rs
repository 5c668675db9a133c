//! When to take a lease, when to doubt one, and when to give it up: a pure state machine.
//!
//! Time is measured only while we hear ourselves over the bus. A program that stood still, or that
//! the bus does not reach, knows nothing about the silence of others, and nothing about its own
//! leases: it looks at them before it publishes again. Safety does not depend on this. The bus refuses what is
//! stored under a lease that was taken.

mod answers;
mod free;
mod holder;
mod surplus;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bus::Holding;
use market_core::UnixMillis;

use self::holder::Holder;
use super::beat::Beat;
use super::carriers::Carriers;
use super::share::Share;
use crate::instrument::InstrumentId;

/// Most other programs in memory.
const OTHERS_MAX: usize = 64;
/// The longest name of a program, bytes.
const NAME_MAX: usize = 64;
/// Pause after a question that the bus did not answer.
const RETRY_MS: i64 = 200;
/// How long after a look at the lease of a living program it is looked at again: what was seen may have
/// been wrong. More for each instrument, so that thousands are not looked at together.
const LOOK_AGAIN_MS: i64 = 10_000;
const LOOK_AGAIN_STEP_MS: i64 = 10;

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    /// Read the lease, and call [`Tenure::looked`].
    Look(InstrumentId),
    /// Take the lease from what was seen of it, and call [`Tenure::claimed`].
    Claim(InstrumentId, Option<Holding>),
    /// It is ours: publish under it.
    Begin(InstrumentId, Holding),
    /// It is not ours any more: stop publishing, read what others published meanwhile, and call
    /// [`Tenure::joined`].
    End(InstrumentId),
    /// It is still ours, and something was refused under an older number: offer it again.
    Repeat(InstrumentId),
}

/// Where an instrument stands.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Stand {
    /// It is not followed here.
    Away,
    /// What is published of it is being read.
    Joining {
        /// Some of it was missed since then: it is read once more.
        is_missed: bool,
    },
    /// Another program publishes it, or nobody.
    Watching { holder: Holder, look_at_ms: i64 },
    /// Its lease is being read.
    Looking {
        holder: Holder,
        /// The bus said that the lease was taken or released since then, so the answer may be older: it
        /// is read once more, then.
        again_at_ms: Option<i64>,
    },
    /// Its lease is being taken.
    Claiming,
    /// We publish it.
    Holding(Held),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Held {
    holding: Holding,
    /// Whether it was ours when we looked last, after the last doubt.
    is_checked: bool,
    /// Something was refused.
    is_refused: bool,
    /// A look is on its way.
    is_looking: bool,
    /// Something was refused after the look had begun: its answer may be older.
    looks_again: bool,
    look_at_ms: i64,
}

/// Another program.
#[derive(Clone, Copy, Debug)]
struct Other {
    /// When it was heard. It moves on while we do not hear ourselves.
    heard_ms: UnixMillis,
    /// Since when it was never silent for long.
    since_ms: UnixMillis,
    /// Whether it takes leases.
    takes: bool,
    /// The hash of its name.
    hash: u64,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Tenure {
    me: String,
    /// The hash of our name.
    my_hash: u64,
    silence_ms: i64,
    /// When the newest of our beats was sent that we have heard.
    echo_ms: Option<UnixMillis>,
    /// Since when we hear ourselves without a pause.
    hears_since_ms: Option<UnixMillis>,
    others: HashMap<String, Other>,
    /// What the others have.
    carriers: Arc<Carriers>,
    stands: Vec<Stand>,
    /// By instrument: the lease of another program, as it was seen last. It is taken over from there
    /// without another look; if it has changed since, the bus refuses that.
    seen: Vec<Option<Holding>>,
    /// How programs share the instruments; `None` if one of them publishes all that it can.
    share: Option<Share>,
    /// Instruments of which the venue tells us nothing.
    unfed: HashSet<InstrumentId>,
    /// What was moved to another program last, and when each was.
    last_moved: Option<(InstrumentId, UnixMillis)>,
    moved: HashMap<InstrumentId, UnixMillis>,
    /// Our leases must be looked at before anything is published.
    is_in_doubt: bool,
    /// No more leases are taken.
    is_leaving: bool,
}

impl Tenure {
    /// A program that follows none of so many instruments. Another one that says nothing for
    /// `silence_ms` is gone.
    pub(crate) fn new(me: String, instruments: usize, silence_ms: i64) -> Self {
        Self {
            my_hash: Share::program(&me),
            me,
            silence_ms,
            echo_ms: None,
            hears_since_ms: None,
            others: HashMap::new(),
            carriers: Arc::default(),
            stands: vec![Stand::Away; instruments],
            seen: vec![None; instruments],
            share: None,
            unfed: HashSet::new(),
            last_moved: None,
            moved: HashMap::new(),
            is_in_doubt: false,
            is_leaving: false,
        }
    }

    /// Until when we may publish; `None` while we may not.
    pub(crate) fn valid_until_ms(&self) -> Option<UnixMillis> {
        let echo_ms = self.echo_ms.filter(|_| !self.is_in_doubt)?;
        // Others measure from the moment at which they heard the beat, which is later.
        Some(echo_ms.saturating_add(self.silence_ms - self.silence_ms / 10))
    }

    /// Whether the instrument is followed here and another program publishes it.
    pub(crate) fn is_standby(&self, instrument: InstrumentId) -> bool {
        matches!(
            &self.stands[instrument],
            Stand::Watching {
                holder: Holder::Other(_),
                ..
            } | Stand::Looking {
                holder: Holder::Other(_),
                ..
            }
        )
    }

    /// Whether we publish the instrument.
    pub(crate) fn is_holding(&self, instrument: InstrumentId) -> bool {
        matches!(&self.stands[instrument], Stand::Holding(_))
    }

    /// Whether we publish the instrument under this lease.
    pub(crate) fn is_held_as(&self, instrument: InstrumentId, holding: &Holding) -> bool {
        matches!(&self.stands[instrument], Stand::Holding(held) if held.holding == *holding)
    }

    /// Whether the instrument is followed here.
    pub(crate) fn is_followed(&self, instrument: InstrumentId) -> bool {
        self.stands[instrument] != Stand::Away
    }

    /// Whether what is published of the instrument is to be read.
    pub(crate) fn is_joining(&self, instrument: InstrumentId) -> bool {
        matches!(&self.stands[instrument], Stand::Joining { .. })
    }

    /// An instrument is followed from now on: read what is published of it, and call
    /// [`Tenure::joined`].
    pub(crate) fn join(&mut self, instrument: InstrumentId) {
        if self.stands[instrument] == Stand::Away {
            self.stands[instrument] = Stand::Joining { is_missed: false };
        }
    }

    /// What is published of an instrument was read. False if it must be read once more.
    #[must_use]
    pub(crate) fn joined(&mut self, instrument: InstrumentId) -> bool {
        let stand = &mut self.stands[instrument];
        match stand {
            Stand::Joining { is_missed: true } => {
                *stand = Stand::Joining { is_missed: false };
                return false;
            }
            Stand::Joining { is_missed: false } => {
                *stand = Stand::Watching {
                    holder: Holder::Unknown,
                    look_at_ms: UnixMillis::MIN,
                };
            }
            _ => {}
        }
        true
    }

    /// What others published was missed: nothing is taken before it was read again. Where a lease is
    /// ours, nobody else published; if it was not any more, it is read after the loss.
    pub(crate) fn missed(&mut self) -> Vec<InstrumentId> {
        let mut followed = Vec::new();
        for (instrument, stand) in self.stands.iter_mut().enumerate() {
            match stand {
                Stand::Away | Stand::Holding(_) => {}
                Stand::Joining { is_missed } => *is_missed = true,
                Stand::Watching { .. } | Stand::Looking { .. } | Stand::Claiming => {
                    *stand = Stand::Joining { is_missed: false };
                    followed.push(instrument);
                }
            }
        }
        followed
    }

    /// A bar of another program may have been refused. True if what is published of the instrument is
    /// to be read because of it. A program that takes the lease now reads it anyway.
    pub(crate) fn doubt(&mut self, instrument: InstrumentId, now: UnixMillis) -> bool {
        let stand = &self.stands[instrument];
        let is_standby = matches!(
            stand,
            Stand::Watching { holder, .. } | Stand::Looking { holder, .. }
                if !self.is_free(holder, now)
        );
        if is_standby {
            self.stands[instrument] = Stand::Joining { is_missed: false };
        }
        is_standby
    }

    /// An instrument is not followed any more. Its lease, if it was ours, is to be released.
    pub(crate) fn leave(&mut self, instrument: InstrumentId) {
        self.stands[instrument] = Stand::Away;
    }

    /// The program stops: no more leases are taken.
    pub(crate) fn stop_taking(&mut self) {
        self.is_leaving = true;
    }

    /// A program has beaten.
    pub(crate) fn heard(&mut self, beat: &Beat, now: UnixMillis) {
        if beat.instance == self.me {
            // One of the future is not ours, and would last for ever.
            if beat.sent_ms <= now {
                self.heard_me(beat.sent_ms, now);
            }
            return;
        }
        if beat.instance.len() > NAME_MAX {
            metrics::counter!("marketdata_publishers_ignored_total").increment(1);
            return;
        }
        let mut other = Other {
            heard_ms: now,
            since_ms: now,
            takes: beat.takes,
            hash: 0,
        };
        if let Some(known) = self.others.get_mut(&beat.instance) {
            if now.saturating_sub(known.heard_ms) < self.silence_ms {
                other.since_ms = known.since_ms;
            }
            other.hash = known.hash;
            *known = other;
            return;
        }
        other.hash = Share::program(&beat.instance);
        if self.others.len() >= OTHERS_MAX {
            let silence_ms = self.silence_ms;
            self.others
                .retain(|_, other| now.saturating_sub(other.heard_ms) < silence_ms);
        }
        if self.others.len() < OTHERS_MAX {
            self.others.insert(beat.instance.clone(), other);
        } else {
            metrics::counter!("marketdata_publishers_ignored_total").increment(1);
        }
    }

    fn heard_me(&mut self, sent_ms: UnixMillis, now: UnixMillis) {
        let is_recent = now.saturating_sub(sent_ms) < self.silence_ms;
        let before = self
            .echo_ms
            .replace(sent_ms.max(self.echo_ms.unwrap_or(sent_ms)));
        let has_paused =
            before.is_some_and(|before| sent_ms.saturating_sub(before) >= self.silence_ms);
        if has_paused || !is_recent {
            self.deaf(now);
        }
        if is_recent && self.hears_since_ms.is_none() {
            self.hears_since_ms = Some(now);
        }
    }

    /// We did not hear ourselves for a while.
    fn deaf(&mut self, now: UnixMillis) {
        self.hears_since_ms = None;
        for other in self.others.values_mut() {
            other.heard_ms = now;
        }
        for stand in &mut self.stands {
            if let Stand::Holding(held) = stand {
                held.is_checked = false;
                self.is_in_doubt = true;
            }
        }
    }

    /// The bus says that a lease was taken by this program, or released. It may be an attempt that
    /// the bus refused.
    pub(crate) fn lease_said(
        &mut self,
        instrument: InstrumentId,
        holder: Option<&str>,
        now: UnixMillis,
    ) {
        self.seen[instrument] = None;
        match &mut self.stands[instrument] {
            Stand::Watching {
                holder: known,
                look_at_ms,
            } => (*known, *look_at_ms) = known.said(holder, now),
            Stand::Looking {
                holder: known,
                again_at_ms,
            } => {
                let (said, look_at_ms) = known.said(holder, now);
                (*known, *again_at_ms) = (said, Some(look_at_ms));
            }
            Stand::Holding(held) if holder != Some(self.me.as_str()) => {
                held.is_checked = false;
                held.look_at_ms = UnixMillis::MIN;
            }
            _ => {}
        }
    }

    /// The bus refused to store something because of the fence of this instrument's lease.
    pub(crate) fn refused(&mut self, instrument: InstrumentId) {
        if let Stand::Holding(held) = &mut self.stands[instrument] {
            held.is_checked = false;
            held.is_refused = true;
            held.looks_again = held.is_looking;
            held.look_at_ms = UnixMillis::MIN;
        }
    }

    /// Our leases need higher numbers: take them again.
    pub(crate) fn renumber(&mut self, out: &mut Vec<Ask>) {
        for (instrument, stand) in self.stands.iter_mut().enumerate() {
            if let Stand::Holding(held) = stand {
                held.is_looking = true;
                out.push(Ask::Claim(instrument, Some(held.holding.clone())));
            }
        }
    }

    /// Moves the clock. Call it several times within `silence_ms`.
    pub(crate) fn tick(&mut self, now: UnixMillis, out: &mut Vec<Ask>) {
        let hears = self
            .echo_ms
            .is_some_and(|at| now.saturating_sub(at) < self.silence_ms);
        if !hears {
            self.deaf(now);
            return;
        }
        let mut unchecked = 0;
        for (instrument, stand) in self.stands.iter_mut().enumerate() {
            if let Stand::Holding(held) = stand
                && !held.is_checked
            {
                unchecked += 1;
                if !held.is_looking && now >= held.look_at_ms {
                    held.is_looking = true;
                    out.push(Ask::Look(instrument));
                }
            }
        }
        self.is_in_doubt &= unchecked > 0;
        let has_listened = self
            .hears_since_ms
            .is_some_and(|since| now.saturating_sub(since) >= self.silence_ms / 2);
        if !has_listened || self.is_leaving {
            return;
        }
        for instrument in 0..self.stands.len() {
            self.take_if_free(instrument, now, out);
        }
    }
}

/// What became of an attempt to take a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Claimed {
    /// It is ours.
    Taken(Holding),
    /// It is another's, or nobody's.
    Lost(Option<Holding>),
}

#[cfg(test)]
mod tests;
