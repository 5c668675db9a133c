//! One channel of one symbol with its subscribers: each event is encoded once per variant and
//! shared by all of them.

use std::sync::Arc;

use axum::extract::ws::Message;

use crate::bar::Bar;
use crate::book::Book;
use crate::client::Client;
use crate::interval::Interval;
use crate::tape::Tape;
use crate::venues::Channel;

/// Variants of an encoding that a venue may have.
const VARIANTS: usize = 4;

/// A channel, its subscribers, and what was last sent on it.
#[derive(Debug)]
pub(crate) struct Topic {
    /// Which channel.
    pub(crate) channel: Channel,
    /// Book as of the last frame, for channels of books.
    pub(crate) book: Option<Book>,
    /// When the last periodic frame was sent, milliseconds since the epoch.
    pub(crate) sent_ms: i64,
    /// Id of the trade that the last periodic frame told of.
    pub(crate) sent_trade_id: u64,
    subscribers: Vec<Arc<Client>>,
    bar_start_ms: Option<i64>,
    bar_sent: Option<Bar>,
}

impl Topic {
    /// A channel without subscribers.
    pub(crate) fn new(channel: Channel) -> Topic {
        Topic {
            channel,
            book: None,
            sent_ms: 0,
            sent_trade_id: 0,
            subscribers: Vec::new(),
            bar_start_ms: None,
            bar_sent: None,
        }
    }

    /// Adds a subscriber; false if it was one already.
    pub(crate) fn add(&mut self, client: &Arc<Client>) -> bool {
        if self.subscribers.iter().any(|known| known.id == client.id) {
            return false;
        }
        self.subscribers.push(Arc::clone(client));
        true
    }

    /// Removes a subscriber; false if it was none.
    pub(crate) fn remove(&mut self, client_id: u64) -> bool {
        let before = self.subscribers.len();
        self.subscribers.retain(|known| known.id != client_id);
        self.subscribers.len() < before
    }

    /// Whether nobody subscribes.
    pub(crate) fn is_empty(&self) -> bool {
        self.subscribers.is_empty()
    }

    /// Whether a period has passed since the last frame; if so, it starts again.
    pub(crate) fn is_due(&mut self, period_ms: i64, now_ms: i64) -> bool {
        if now_ms - self.sent_ms < period_ms {
            return false;
        }
        self.sent_ms = now_ms - now_ms.rem_euclid(period_ms);
        true
    }

    /// Encodes each variant with `encode` and sends it to every subscriber, truncated if the frame
    /// must be malformed. Returns the number of frames.
    pub(crate) fn send(&self, malformed: bool, encode: impl Fn(u8) -> String) -> usize {
        let mut frames: [Option<Message>; VARIANTS] = [None, None, None, None];
        for client in &self.subscribers {
            let variant = client.variant();
            let frame = frames[usize::from(variant) % VARIANTS].get_or_insert_with(|| {
                let mut text = encode(variant);
                if malformed {
                    truncate(&mut text);
                }
                Message::Text(text.into())
            });
            client.send(frame.clone());
        }
        self.subscribers.len()
    }

    /// The bars that are due: the ones that have ended since the last call (closed), and the
    /// forming one if `cadence_ms` have passed and it has changed.
    pub(crate) fn bars_due(
        &mut self,
        tape: &Tape,
        interval: Interval,
        offset_ms: i64,
        cadence_ms: i64,
        now_ms: i64,
    ) -> Vec<(Bar, bool)> {
        let current_ms = interval.start_of(now_ms, offset_ms);
        let mut due = Vec::new();
        if let Some(previous_ms) = self
            .bar_start_ms
            .filter(|previous_ms| *previous_ms < current_ms)
        {
            let ended = tape.bars_filled(interval, offset_ms, previous_ms, current_ms);
            due.extend(ended.into_iter().map(|bar| (bar, true)));
            self.bar_sent = None;
        }
        self.bar_start_ms = Some(current_ms);
        if now_ms - self.sent_ms >= cadence_ms {
            let next_ms = interval.next(current_ms, offset_ms);
            let forming = tape
                .bars_filled(interval, offset_ms, current_ms, next_ms)
                .pop();
            if let Some(bar) = forming.filter(|bar| self.bar_sent.as_ref() != Some(bar)) {
                self.bar_sent = Some(bar);
                // Updates keep to multiples of the cadence, whatever the step's jitter.
                self.sent_ms = now_ms - now_ms.rem_euclid(cadence_ms);
                due.push((bar, false));
            }
        }
        due
    }
}

fn truncate(text: &mut String) {
    let mut length = text.len() / 2;
    while !text.is_char_boundary(length) {
        length -= 1;
    }
    text.truncate(length);
}
