//! Changes of order books on their way to the clients, through the faults.

use crate::book::Book;
use crate::delay_queue::{CapturedFrame, Payload};
use crate::exchange::Exchange;
use crate::topic::Topic;
use crate::venues::binance::frame::{COMBINED, binance_frame};
use crate::venues::{Channel, binance, coinbase, okx};

impl Exchange {
    /// Sends what has changed in a book since the last frame of this channel, if it is due. The
    /// number of frames; `None` if the channel has no changes of books.
    pub(crate) fn step_book(
        &self,
        index: usize,
        key: &str,
        topic: &mut Topic,
        book: &Book,
        now_us: i64,
    ) -> Option<usize> {
        let instrument = self.instrument(index);
        let now_ms = now_us.div_euclid(1000);
        let channel = topic.channel;
        let is_due = match channel {
            Channel::Binance(binance::Stream::Depth { fast }) => {
                topic.is_due(if fast { 100 } else { 1_000 }, now_ms)
            }
            Channel::Coinbase(coinbase::Feed::Level2 | coinbase::Feed::Level2Batch)
            | Channel::Okx(okx::Feed::Books) => true,
            _ => return None,
        };
        if !is_due {
            return Some(0);
        }
        let before = match topic.book.replace(*book) {
            Some(before) if before != *book => before,
            _ => return Some(0),
        };
        let encode = |variant: u8| match channel {
            Channel::Binance(stream) => binance_frame(instrument, stream, variant, |micros| {
                binance::encode::depth_update(instrument, &before, book, now_us, micros)
            }),
            Channel::Coinbase(_) => {
                coinbase::encode::level2_update(instrument, &before, book, now_us)
            }
            Channel::Okx(_) => okx::encode::books_frame(instrument, Some(&before), book, now_ms),
        };
        let verdict = self.faults.book(instrument.venue, key, now_ms);
        if verdict.dropped {
            return Some(0);
        }
        if verdict.delay_ms > 0 {
            let frame = CapturedFrame {
                channel,
                single: encode(0),
                combined: encode(COMBINED),
                malformed: false,
            };
            self.delay(
                index,
                Payload::Frame(frame),
                now_ms + verdict.delay_ms as i64,
            );
            return Some(0);
        }
        let copies = (0..verdict.copies()).map(|_| topic.send(verdict.malformed, encode));
        Some(copies.sum())
    }
}
