//! What the bus answers about leases, and what follows from it.

use bus::Holding;
use market_core::UnixMillis;

use super::holder::{Holder, holder_of};
use super::{Ask, Claimed, Held, RETRY_MS, Stand, Tenure};
use crate::instrument::InstrumentId;
use crate::lease::beat::BEATS_IN_SILENCE;

impl Tenure {
    /// Whether a living program may publish instruments of ours that are not followed here: then
    /// what programs keep in common may be of another part of the instruments.
    pub(crate) fn may_share(&self, now: UnixMillis) -> bool {
        let mut living = self.others.iter();
        living.any(|(name, other)| {
            now.saturating_sub(other.heard_ms) < self.silence_ms
                && self
                    .carriers
                    .may_have_other(name, |id| self.is_followed(id))
        })
    }

    /// A lease was read; `Err` if the bus did not answer.
    pub(crate) fn looked(
        &mut self,
        instrument: InstrumentId,
        found: Result<Option<Holding>, ()>,
        now: UnixMillis,
        out: &mut Vec<Ask>,
    ) {
        match self.stands[instrument].clone() {
            Stand::Looking {
                holder,
                again_at_ms: Some(look_at_ms),
            } => self.stands[instrument] = Stand::Watching { holder, look_at_ms },
            Stand::Looking { holder, .. } => {
                self.looked_free(instrument, &holder, found, now, out);
            }
            Stand::Holding(held) => self.looked_ours(instrument, held, found, now, out),
            _ => {}
        }
    }

    fn looked_free(
        &mut self,
        instrument: InstrumentId,
        known: &Holder,
        found: Result<Option<Holding>, ()>,
        now: UnixMillis,
        out: &mut Vec<Ask>,
    ) {
        let Ok(found) = found else {
            self.stands[instrument] = Stand::Watching {
                holder: known.clone(),
                look_at_ms: now.saturating_add(RETRY_MS),
            };
            return;
        };
        self.see(instrument, found.as_ref());
        let name = found.as_ref().and_then(|found| found.holder.as_deref());
        let (holder, free_ms) = match name {
            // An attempt of ours whose answer was lost.
            Some(name) if name == self.me => (Holder::Unknown, i64::MAX),
            Some(name) => {
                let free_ms = self.silent_ms(name, now).saturating_sub(self.silence_ms);
                (Holder::Other(name.to_owned()), free_ms)
            }
            None => match known {
                Holder::Nobody { since_ms, .. } => (known.clone(), now.saturating_sub(*since_ms)),
                Holder::Unknown | Holder::Other(_) => (holder_of(None, now), 0),
            },
        };
        let left = match &holder {
            Holder::Nobody { left, .. } => left.as_deref(),
            Holder::Unknown | Holder::Other(_) => None,
        };
        if self.is_our_turn(instrument, left, free_ms, now) && !self.is_leaving {
            self.stands[instrument] = Stand::Claiming;
            out.push(Ask::Claim(instrument, found));
        } else {
            let pause_ms = self.silence_ms / i64::from(BEATS_IN_SILENCE);
            self.stands[instrument] = Stand::Watching {
                holder,
                look_at_ms: now.saturating_add(pause_ms),
            };
        }
    }

    fn looked_ours(
        &mut self,
        instrument: InstrumentId,
        mut held: Held,
        found: Result<Option<Holding>, ()>,
        now: UnixMillis,
        out: &mut Vec<Ask>,
    ) {
        held.is_looking = false;
        let looks_again = std::mem::take(&mut held.looks_again);
        match found {
            Ok(Some(found)) if found == held.holding && looks_again => {
                self.stands[instrument] = Stand::Holding(held);
            }
            Ok(Some(found)) if found == held.holding => {
                held.is_checked = true;
                if std::mem::take(&mut held.is_refused) {
                    out.push(Ask::Repeat(instrument));
                }
                self.stands[instrument] = Stand::Holding(held);
            }
            Ok(_) => self.lost(instrument, out),
            Err(()) => {
                // Where the stream does not answer, nobody can take the lease either; and nobody is
                // there who could have.
                held.is_checked = self.is_alone(now) && !held.is_refused;
                held.look_at_ms = now.saturating_add(RETRY_MS);
                self.stands[instrument] = Stand::Holding(held);
            }
        }
    }

    /// Its successor may have published while we did not follow it.
    fn lost(&mut self, instrument: InstrumentId, out: &mut Vec<Ask>) {
        out.push(Ask::End(instrument));
        self.stands[instrument] = Stand::Joining { is_missed: false };
    }

    fn see(&mut self, instrument: InstrumentId, lease: Option<&Holding>) {
        let is_other = |lease: &&Holding| lease.holder.is_some() && !self.is_mine(lease);
        self.seen[instrument] = lease.filter(is_other).cloned();
    }

    fn is_mine(&self, lease: &Holding) -> bool {
        lease.holder.as_ref() == Some(&self.me)
    }

    fn watch(&mut self, instrument: InstrumentId, to: Option<&Holding>, now: UnixMillis) {
        self.see(instrument, to);
        let holder = to.and_then(|to| to.holder.as_deref());
        self.stands[instrument] = Stand::Watching {
            holder: holder_of(holder, now),
            look_at_ms: now,
        };
    }

    /// An attempt to take a lease has ended: it is ours, or who has it; `Err` if the bus did not
    /// answer.
    pub(crate) fn claimed(
        &mut self,
        instrument: InstrumentId,
        claim: Result<Claimed, ()>,
        now: UnixMillis,
        out: &mut Vec<Ask>,
    ) {
        let was_held = match &self.stands[instrument] {
            Stand::Claiming => false,
            Stand::Holding(_) => true,
            _ => return,
        };
        match claim {
            Ok(Claimed::Taken(holding)) => {
                self.stands[instrument] = Stand::Holding(Held {
                    holding: holding.clone(),
                    is_checked: true,
                    is_refused: false,
                    is_looking: false,
                    looks_again: false,
                    look_at_ms: now,
                });
                out.push(Ask::Begin(instrument, holding));
            }
            Ok(Claimed::Lost(_)) if was_held => self.lost(instrument, out),
            Ok(Claimed::Lost(to)) => self.watch(instrument, to.as_ref(), now),
            Err(()) => {
                let look_at_ms = now.saturating_add(RETRY_MS);
                if let Stand::Holding(held) = &mut self.stands[instrument] {
                    held.is_looking = false;
                    held.is_checked = false;
                    held.look_at_ms = look_at_ms;
                } else {
                    self.stands[instrument] = Stand::Watching {
                        holder: Holder::Unknown,
                        look_at_ms,
                    };
                }
            }
        }
    }
}
