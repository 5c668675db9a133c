//! What ingest makes of a message.

use std::collections::HashSet;
use std::time::Instant;

use bus::Message;
use market_core::UnixMillis;
use market_core::channel::Class;
use market_core::subject::published_topic;
use tracing::warn;

use super::Ingest;
use super::outcomes::outcome;
use crate::topics::host_clock::{latest_us, wall_us};
use crate::topics::loaded::Loaded;
use crate::topics::publication::{Kind, Publication, Refusal};
use crate::topics::slot_id::SlotId;
use crate::topics::state::Offered;

impl Ingest {
    /// Takes a message that was read, unless only the newest message of its topic counts and a
    /// newer one came meanwhile.
    pub(super) fn take_retained(&mut self, message: &Message, replaced: &HashSet<SlotId>) {
        let is_replaced = self.names.get(&message.subject).is_some_and(|named| {
            named.name.kind == Kind::Status
                && named.slot.is_some_and(|slot| replaced.contains(&slot))
        });
        if is_replaced {
            self.outcomes.stale.increment(1);
        } else {
            self.take(message, false);
        }
    }

    /// Takes the retained bars of the topic of a live bar that begin before it: they were lost.
    pub(super) fn take_earlier(
        &mut self,
        live: &Message,
        loaded: &mut Loaded,
        replaced: &HashSet<SlotId>,
    ) {
        if !loaded.has_topic_of(&live.subject) {
            return;
        }
        let Some(start_ms) = self.start_of(live) else {
            return;
        };
        // One that cannot be read is refused when it is taken.
        while let Some(earlier) = loaded.take_of(&live.subject, |retained| {
            self.start_of(retained)
                .is_none_or(|earlier_ms| earlier_ms < start_ms)
        }) {
            self.take_retained(&earlier, replaced);
        }
    }

    /// When the bar of a message begins; `None` if it is none.
    fn start_of(&self, message: &Message) -> Option<UnixMillis> {
        let named = self.named(&message.subject)?;
        if !matches!(named.name.kind, Kind::Bars(_)) {
            return None;
        }
        let now_ms = latest_us() / 1_000;
        let read = named
            .name
            .read(&message.payload, self.shared.bounds, now_ms);
        match read {
            Ok(Publication::Bar(head, _)) => Some(head.start_ms),
            _ => None,
        }
    }

    /// Takes a message; returns the slot if every later message replaces this one.
    pub(crate) fn take(&mut self, message: &Message, is_live: bool) -> Option<SlotId> {
        let received_at = Instant::now();
        let Some(named) = self.named(&message.subject) else {
            self.outcomes.unknown.increment(1);
            return None;
        };
        let now_ms = latest_us() / 1_000;
        let read = named
            .name
            .read(&message.payload, self.shared.bounds, now_ms);
        let publication = match read {
            Ok(publication) => publication,
            Err(refusal) => {
                if refusal == Refusal::Ahead && is_live {
                    self.clock.refused(received_at);
                }
                self.refused(message, refusal, received_at);
                return None;
            }
        };
        let kind = named.name.kind;
        if let Publication::Placed(placed) = publication {
            let slot = self.slot_of(&message.subject, named)?;
            let hub = &self.shared.hub;
            let offered = match kind {
                Kind::Books => {
                    let retained_at_us = (!is_live).then(wall_us);
                    let books = &self.shared.books;
                    let payload = &message.payload;
                    books.offer(hub, slot, placed, payload, received_at, retained_at_us)
                }
                _ => hub.offer_placed(slot, placed, message.payload.clone(), received_at),
            };
            self.outcomes.placed(offered, placed.class == Class::Log);
            // A later message replaces a value only if its place is higher, so the slot decides.
            return None;
        }
        let head = match publication {
            Publication::Mark(mark) => {
                if let Kind::Marks(timeframe) = kind {
                    let payload = message.payload.clone();
                    let (end_ms, bars) = (mark.end_ms, mark.bars);
                    let ready = self.shared.boundaries.marked(
                        timeframe,
                        end_ms,
                        bars,
                        payload,
                        received_at,
                    );
                    for payload in ready {
                        self.offer_mark(timeframe, payload);
                    }
                }
                return None;
            }
            Publication::Bar(head, published_us) => {
                if let Some(published_us) = published_us.filter(|_| is_live) {
                    let age_us = wall_us().saturating_sub(published_us).max(0);
                    self.outcomes.bar_age.record(age_us as f64 / 1e6);
                    let lead_ms = (published_us / 1_000).saturating_sub(now_ms);
                    self.has_refused |= self.clock.took(lead_ms);
                }
                Some(head)
            }
            Publication::Status | Publication::Placed(_) => None,
        };
        let slot = self.slot_of(&message.subject, named)?;
        let payload = message.payload.clone();
        match self
            .shared
            .hub
            .offer_traced(slot, head.as_ref(), payload, received_at, self.traced)
        {
            Offered::New {
                missed,
                late,
                conflated,
            } => {
                self.outcomes.taken.increment(1);
                if conflated {
                    self.outcomes.conflated.increment(1);
                }
                self.outcomes.late.increment(u64::from(late));
                if missed > 0 {
                    self.outcomes.missed.increment(u64::from(missed));
                }
                if head.is_some() && self.shared.folds.is_any() {
                    let topic = self.shared.hub.topic_of(slot);
                    let folds = &self.shared.folds;
                    folds.took(&topic, &message.payload, received_at);
                }
                if let Some(head) = head
                    && head.closed
                    && head.rev == 0
                    && let Kind::Bars(timeframe) = kind
                    && let Some(mark) =
                        self.shared
                            .boundaries
                            .closed(timeframe, head.end_ms, now_ms)
                {
                    self.offer_mark(timeframe, mark);
                }
            }
            Offered::Duplicate => self.outcomes.duplicate.increment(1),
            Offered::Stale => self.outcomes.stale.increment(1),
        }
        head.is_none().then_some(slot)
    }

    pub(super) fn refused(&self, message: &Message, refusal: Refusal, now: Instant) {
        outcome(refusal.label()).increment(1);
        if let Some(refused) = self.refusal_log.pass(now, 1) {
            // The subject is short and has no invalid characters: it names a topic.
            warn!(
                refused,
                subject = &*message.subject,
                topic = published_topic(&message.subject).map(display),
                reason = refusal.label(),
                "messages of the bus refused: check their publisher and the clocks of both hosts"
            );
        }
    }
}
