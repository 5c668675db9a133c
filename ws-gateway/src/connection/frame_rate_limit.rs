//! How much of a client's data is read: never more frames than its message rate allows, and never
//! so long at a time that other connections wait.
//!
//! The parser returns a message only when it is complete, and counts nothing before: endless or
//! empty fragments would keep it busy for as long as they come.

use std::time::Instant;

use crate::connection::frame_header::HeaderPart;
use crate::limits::TokenBucket;

/// Frames for each message that the rate allows.
const FRAMES_PER_MESSAGE: u32 = 16;
/// Most reads in a row before others have their turn.
const READS_PER_TURN: u8 = 64;

/// The messages and frames of one connection.
#[derive(Debug)]
pub(crate) struct FrameRateLimit {
    bucket: TokenBucket,
    /// Bytes of payload before the next header; within a header, the known part of its length.
    skip: u64,
    part: HeaderPart,
    reads: u8,
    is_over: bool,
}

impl FrameRateLimit {
    /// For a client that may send this many messages a second, and at once; a rate of 0 is no
    /// limit.
    #[must_use]
    pub(crate) fn new(message_rate: u32, message_burst: u32, now: Instant) -> Self {
        Self {
            bucket: TokenBucket::new(
                message_rate.saturating_mul(FRAMES_PER_MESSAGE),
                message_burst.saturating_mul(FRAMES_PER_MESSAGE),
                now,
            ),
            skip: 0,
            part: HeaderPart::default(),
            reads: 0,
            is_over: false,
        }
    }

    /// Whether the parser may continue to read now.
    #[must_use]
    pub(crate) fn may_read(&self) -> bool {
        !self.is_over && self.reads < READS_PER_TURN
    }

    /// These bytes were read.
    pub(crate) fn take(&mut self, bytes: &[u8], now: Instant) {
        self.reads += 1;
        let frames = self.frames(bytes);
        self.is_over |= frames > 0 && !self.bucket.take(frames, now);
    }

    /// Whether more came than allowed.
    #[must_use]
    pub(crate) fn is_over(&self) -> bool {
        self.is_over
    }

    /// Whether it is the turn of others, now that the parser needs more. The next turn begins then.
    pub(crate) fn ends_turn(&mut self) -> bool {
        let was_long = self.reads >= READS_PER_TURN;
        self.reads = 0;
        was_long
    }

    /// Number of headers that end in these bytes.
    fn frames(&mut self, mut bytes: &[u8]) -> u32 {
        let mut frames = 0;
        loop {
            if self.part == HeaderPart::Opcode {
                let skipped =
                    usize::try_from(self.skip).map_or(bytes.len(), |skip| skip.min(bytes.len()));
                self.skip -= skipped as u64;
                bytes = &bytes[skipped..];
            }
            let Some((&byte, rest)) = bytes.split_first() else {
                return frames;
            };
            bytes = rest;
            frames += u32::from(self.part.take(byte, &mut self.skip));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn frame(length: usize, is_masked: bool) -> Vec<u8> {
        let mask_bit = if is_masked { 0x80 } else { 0 };
        let mut bytes = vec![0x80];
        match length {
            0..126 => bytes.push(mask_bit | length as u8),
            126..0x1_0000 => {
                bytes.push(mask_bit | 126);
                bytes.extend_from_slice(&(length as u16).to_be_bytes());
            }
            _ => {
                bytes.push(mask_bit | 127);
                bytes.extend_from_slice(&(length as u64).to_be_bytes());
            }
        }
        let mask_bytes = if is_masked { 4 } else { 0 };
        bytes.resize(bytes.len() + mask_bytes + length, 0xff);
        bytes
    }

    proptest! {
        #[test]
        fn frames_are_counted_however_the_stream_is_cut(
            lengths in proptest::collection::vec(
                (prop_oneof![0usize..200, 65_000usize..66_000], any::<bool>()), 0..20),
            cuts in proptest::collection::vec(1usize..5_000, 1..50),
        ) {
            let stream: Vec<u8> = lengths
                .iter()
                .flat_map(|(length, is_masked)| frame(*length, *is_masked))
                .collect();
            let mut limit = FrameRateLimit::new(0, 0, Instant::now());
            let mut rest = &stream[..];
            let mut count = 0;
            for cut in cuts.iter().cycle() {
                let (piece, after) = rest.split_at((*cut).min(rest.len()));
                count += limit.frames(piece);
                rest = after;
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(count as usize, lengths.len());
            prop_assert_eq!(limit.skip, 0);
        }
    }

    #[test]
    fn others_have_their_turn_while_one_keeps_sending() {
        let now = Instant::now();
        let mut limit = FrameRateLimit::new(0, 0, now);
        let mut reads = 0;
        while limit.may_read() {
            limit.take(&frame(10, true), now);
            reads += 1;
        }
        assert_eq!(reads, READS_PER_TURN);
        assert!(limit.ends_turn() && limit.may_read());
        limit.take(&frame(10, true), now);
        assert!(!limit.ends_turn());
        assert!(!limit.is_over());
    }

    #[test]
    fn fragments_are_limited_by_the_message_rate() {
        let start = Instant::now();
        let mut limit = FrameRateLimit::new(10, 2, start);
        let empty = frame(0, true);
        limit.take(&empty.repeat(32), start);
        assert!(!limit.is_over());
        let later = start + Duration::from_millis(100);
        limit.take(&empty.repeat(16), later);
        assert!(!limit.is_over());
        limit.take(&empty, later);
        assert!(limit.is_over() && !limit.may_read());
    }

    #[test]
    fn a_length_beyond_all_bounds_overflows_nothing() {
        let mut limit = FrameRateLimit::new(0, 0, Instant::now());
        let header = [0x81, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
        assert_eq!(limit.frames(&header), 0, "its mask has not come");
        assert_eq!(limit.frames(&[0xff; 4]), 1);
        assert_eq!(limit.frames(&[0; 1_000]), 0);
        assert_eq!(limit.skip, u64::MAX - 1_000);
    }
}
