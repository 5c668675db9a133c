//! Books whose publisher is not heard any more.
//!
//! A book looks right for as long as nobody says otherwise, and a publisher that is dead, cut off or
//! stopped says nothing. A publisher that lives sends each book again every few seconds, also if it
//! does not change. So the gateway says that a book is invalid once nothing has come for a time.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use bytes::Bytes;
use market_core::channel::Class;
use market_core::clock::UnixMicros;
use market_core::wire::{BookMessage, JsonMessage};
use metrics::{Counter, counter};

use crate::topics::hub::Hub;
use crate::topics::publication::Placed;
use crate::topics::slot_id::SlotId;
use crate::topics::state::{Offered, StreamPosition};

/// See the module.
#[derive(Debug)]
pub(crate) struct BookSilence {
    silence_max: Duration,
    /// The valid books that were heard and not said to be silent since then.
    heard: Mutex<HashMap<SlotId, Heard>>,
    silent: Counter,
}

#[derive(Debug)]
struct Heard {
    at: Instant,
    position: StreamPosition,
    payload: Bytes,
}

impl BookSilence {
    /// Nothing was heard yet. A publisher may be silent for less than `silence_max`.
    #[must_use]
    pub(crate) fn new(silence_max: Duration) -> Self {
        Self {
            silence_max,
            heard: Mutex::default(),
            silent: counter!("gateway_books_silent_total"),
        }
    }

    fn heard(&self) -> MutexGuard<'_, HashMap<SlotId, Heard>> {
        self.heard.lock().expect("no holder panics")
    }

    /// Offers a book to its slot. The bus also retains books of publishers that are silent: such a
    /// book counts from when it was published, `now_us` by this host's clock.
    pub(crate) fn offer(
        &self,
        hub: &Hub,
        slot: SlotId,
        placed: Placed<'_>,
        payload: &Bytes,
        received_at: Instant,
        retained_at_us: Option<UnixMicros>,
    ) -> Offered {
        let Some(published_us) = placed.published_us else {
            // It is invalid, and says so.
            let offered = hub.offer_placed(slot, placed, payload.clone(), received_at);
            if matches!(offered, Offered::New { .. }) {
                self.heard().remove(&slot);
            }
            return offered;
        };
        let age_us = retained_at_us.map_or(0, |now_us| now_us.saturating_sub(published_us));
        let age = Duration::from_micros(u64::try_from(age_us).unwrap_or_default());
        if age >= self.silence_max {
            return self.offer_silent(hub, slot, placed.position, payload, received_at);
        }
        let offered = hub.offer_placed(slot, placed, payload.clone(), received_at);
        // One that was there before is no sign of life.
        if matches!(offered, Offered::New { .. }) {
            let heard = Heard {
                at: received_at.checked_sub(age).unwrap_or(received_at),
                position: placed.position,
                payload: payload.clone(),
            };
            self.heard().insert(slot, heard);
        }
        offered
    }

    /// Says that books are invalid whose publisher was silent for too long. Call it about each second.
    pub(crate) fn tick(&self, hub: &Hub, now: Instant) {
        let is_silent =
            |heard: &mut Heard| now.saturating_duration_since(heard.at) >= self.silence_max;
        let silent: Vec<(SlotId, Heard)> = self
            .heard()
            .extract_if(|_, heard| is_silent(heard))
            .collect();
        for (slot, heard) in silent {
            self.offer_silent(hub, slot, heard.position, &heard.payload, now);
        }
    }

    /// Has the place of the next message. So the reader that takes it also takes the next message, and never
    /// this one after it.
    fn offer_silent(
        &self,
        hub: &Hub,
        slot: SlotId,
        position: StreamPosition,
        payload: &Bytes,
        now: Instant,
    ) -> Offered {
        let Some(book) = BookMessage::read(payload) else {
            return Offered::Stale;
        };
        let placed = Placed {
            position: StreamPosition {
                seq: position.seq.saturating_add(1),
                ..position
            },
            exchange: "",
            class: Class::Book,
            published_us: None,
        };
        let offered = hub.offer_placed(slot, placed, book.silent().encode(), now);
        if matches!(offered, Offered::New { .. }) {
            self.silent.increment(1);
        }
        offered
    }
}
