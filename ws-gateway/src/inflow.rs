//! What a client sends that may compress: compressed messages are replaced by what they hold, so
//! that the protocol parser sees a connection without the extension. All else, and all that is
//! wrong with it, is left to the parser.
//!
//! One compressed message is decompressed at a time, and the next one only once the parser has
//! taken it all: a few bytes can hold many messages of the greatest length.
//!
//! A connection that sends nothing keeps a few bytes here: no window, no buffer.

use crate::deflate::{InflateError, inflate};

const FIN: u8 = 0x80;
const RSV1: u8 = 0x40;
const RSV2_RSV3: u8 = 0x30;
const CONTROL: u8 = 0x08;
const OPCODE: u8 = 0x0f;
const MASKED: u8 = 0x80;
const HEADER_BYTES_MAX: usize = 14;
/// The top bit of a length has to be 0 (RFC 6455, 5.2).
const PAYLOAD_BYTES_MAX: u64 = u64::MAX >> 1;

/// Why a message is not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum Refused {
    /// It, or one of its frames, is longer than allowed.
    #[error("the message is too big")]
    TooBig,
    /// It is against the protocol.
    #[error("the message is malformed")]
    Malformed,
}

impl From<InflateError> for Refused {
    fn from(error: InflateError) -> Self {
        match error {
            InflateError::TooBig => Self::TooBig,
            InflateError::Malformed => Self::Malformed,
        }
    }
}

/// The state between two reads.
#[derive(Debug)]
pub(crate) struct Inflow {
    header: [u8; HEADER_BYTES_MAX],
    header_len: u8,
    /// The frame whose payload comes.
    frame: Frame,
    /// The compressed message that has begun.
    message: Option<Message>,
    /// Bytes of the client that wait until the parser has read what is ready.
    raw: Vec<u8>,
    /// What the parser has yet to read, from `taken` on.
    ready: Vec<u8>,
    taken: usize,
    /// Why nothing more is taken.
    refused: Option<Refused>,
    bytes_max: usize,
}

#[derive(Clone, Copy, Debug)]
enum Frame {
    /// None: a header comes.
    None,
    /// It goes to the parser as it is.
    Passed { rest: u64 },
    /// It is a part of the compressed message.
    Kept {
        rest: u64,
        mask: [u8; 4],
        at: u8,
        is_last: bool,
    },
}

#[derive(Debug)]
struct Message {
    opcode: u8,
    deflated: Vec<u8>,
}

impl Inflow {
    /// Takes messages that hold at most `bytes_max`, compressed and not.
    #[must_use]
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self {
            header: [0; HEADER_BYTES_MAX],
            header_len: 0,
            frame: Frame::None,
            message: None,
            raw: Vec::new(),
            ready: Vec::new(),
            taken: 0,
            refused: None,
            bytes_max,
        }
    }

    /// Moves bytes for the parser to `out`, and returns how many; none while it wants more of
    /// the client's.
    ///
    /// # Errors
    /// See [`Refused`]: the connection has to be closed. All that came before it is moved first.
    pub(crate) fn take(&mut self, out: &mut [u8]) -> Result<usize, Refused> {
        if self.ready.is_empty() && !self.raw.is_empty() {
            let mut raw = std::mem::take(&mut self.raw);
            raw.drain(..self.parse_some(&raw));
            if !raw.is_empty() {
                self.raw = raw;
            }
        }
        let rest = &self.ready[self.taken..];
        let count = rest.len().min(out.len());
        out[..count].copy_from_slice(&rest[..count]);
        self.taken += count;
        if self.taken == self.ready.len() {
            self.ready = Vec::new();
            self.taken = 0;
        }
        match self.refused {
            Some(refused) if count == 0 => Err(refused),
            _ => Ok(count),
        }
    }

    /// Takes bytes of the client.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        let parsed = if self.ready.is_empty() && self.raw.is_empty() {
            self.parse_some(bytes)
        } else {
            0
        };
        self.raw.extend_from_slice(&bytes[parsed..]);
    }

    /// Bytes that it holds of messages, ready or not.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn held_bytes(&self) -> usize {
        let deflated = self.message.as_ref().map_or(0, |it| it.deflated.capacity());
        self.raw.capacity() + self.ready.capacity() + deflated
    }

    /// Parses bytes up to the end of a compressed message, and returns how many. After a refusal
    /// the rest of the connection is of no use.
    fn parse_some(&mut self, bytes: &[u8]) -> usize {
        if self.refused.is_some() {
            return bytes.len();
        }
        match self.parse(bytes) {
            Ok(rest) => bytes.len() - rest.len(),
            Err(refused) => {
                self.refused = Some(refused);
                bytes.len()
            }
        }
    }

    /// Parses bytes up to the end of a compressed message, and returns the others.
    fn parse<'a>(&mut self, mut bytes: &'a [u8]) -> Result<&'a [u8], Refused> {
        loop {
            match &mut self.frame {
                Frame::None => {
                    let Some((&byte, rest)) = bytes.split_first() else {
                        return Ok(bytes);
                    };
                    bytes = rest;
                    self.header[usize::from(self.header_len)] = byte;
                    self.header_len += 1;
                    let header = &self.header[..usize::from(self.header_len)];
                    if let Some(payload_bytes) = payload_bytes(header) {
                        self.begin(payload_bytes)?;
                    }
                }
                Frame::Passed { rest } => {
                    let count = portion(*rest, bytes);
                    *rest -= count as u64;
                    let is_whole = *rest == 0;
                    self.ready.extend_from_slice(&bytes[..count]);
                    bytes = &bytes[count..];
                    if is_whole {
                        self.frame = Frame::None;
                    } else if bytes.is_empty() {
                        return Ok(bytes);
                    }
                }
                Frame::Kept {
                    rest,
                    mask,
                    at,
                    is_last,
                } => {
                    let count = portion(*rest, bytes);
                    *rest -= count as u64;
                    let (is_whole, is_last) = (*rest == 0, *is_last);
                    let message = self.message.as_mut().expect("a part of it comes");
                    message.deflated.extend(bytes[..count].iter().map(|byte| {
                        let byte = byte ^ mask[usize::from(*at)];
                        *at = (*at + 1) % 4;
                        byte
                    }));
                    bytes = &bytes[count..];
                    if is_whole {
                        self.frame = Frame::None;
                        if is_last {
                            self.end_message()?;
                            return Ok(bytes);
                        }
                    } else if bytes.is_empty() {
                        return Ok(bytes);
                    }
                }
            }
        }
    }

    /// Begins the frame whose header has come.
    fn begin(&mut self, payload_bytes: u64) -> Result<(), Refused> {
        let header = &self.header[..usize::from(self.header_len)];
        let (first, opcode) = (header[0], header[0] & OPCODE);
        self.header_len = 0;
        let begins = first & RSV1 != 0 && matches!(opcode, 1 | 2);
        let is_part = self.message.is_some() && opcode & CONTROL == 0;
        if !begins && !is_part {
            self.ready.extend_from_slice(header);
            self.frame = Frame::Passed {
                rest: payload_bytes,
            };
            return Ok(());
        }
        let reserved = if is_part { RSV1 | RSV2_RSV3 } else { RSV2_RSV3 };
        let is_wrong = header[1] & MASKED == 0
            || first & reserved != 0
            || (is_part && opcode != 0)
            || payload_bytes > PAYLOAD_BYTES_MAX;
        if is_wrong {
            return Err(Refused::Malformed);
        }
        let mask = header[header.len() - 4..].try_into().expect("four bytes");
        let message = self.message.get_or_insert_with(|| Message {
            opcode,
            deflated: Vec::new(),
        });
        // The length is the client's word: nothing may be added to it.
        let room = self.bytes_max.saturating_sub(message.deflated.len());
        if payload_bytes > room as u64 {
            return Err(Refused::TooBig);
        }
        self.frame = Frame::Kept {
            rest: payload_bytes,
            mask,
            at: 0,
            is_last: first & FIN != 0,
        };
        Ok(())
    }

    /// Hands the parser what the message holds, as one frame.
    fn end_message(&mut self) -> Result<(), Refused> {
        let Message { opcode, deflated } = self.message.take().expect("it has come");
        let payload = inflate(&deflated, self.bytes_max)?;
        self.ready.push(FIN | opcode);
        match payload.len() {
            len @ 0..=125 => self.ready.push(MASKED | len as u8),
            len @ 126..=0xffff => {
                self.ready.push(MASKED | 126);
                self.ready.extend_from_slice(&(len as u16).to_be_bytes());
            }
            len => {
                self.ready.push(MASKED | 127);
                self.ready.extend_from_slice(&(len as u64).to_be_bytes());
            }
        }
        // A mask of zeros leaves the payload as it is.
        self.ready.extend_from_slice(&[0; 4]);
        self.ready.extend_from_slice(&payload);
        Ok(())
    }
}

fn portion(rest: u64, bytes: &[u8]) -> usize {
    usize::try_from(rest).map_or(bytes.len(), |rest| rest.min(bytes.len()))
}

/// The length of the payload that a header announces; none if it is not whole.
fn payload_bytes(header: &[u8]) -> Option<u64> {
    let second = *header.get(1)?;
    let length_bytes = match second & !MASKED {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let mask_bytes = if second & MASKED == 0 { 0 } else { 4 };
    if header.len() < 2 + length_bytes + mask_bytes {
        return None;
    }
    Some(match length_bytes {
        0 => u64::from(second & !MASKED),
        _ => header[2..2 + length_bytes]
            .iter()
            .fold(0, |length, &byte| length << 8 | u64::from(byte)),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::deflate::{Compression, Deflater, Window};

    const MASK: [u8; 4] = [1, 2, 3, 250];

    /// A client's frame.
    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![first];
        match payload.len() {
            len @ 0..=125 => frame.push(0x80 | len as u8),
            len => {
                frame.push(0x80 | 126);
                frame.extend_from_slice(&u16::try_from(len).expect("short").to_be_bytes());
            }
        }
        frame.extend_from_slice(&MASK);
        frame.extend(
            payload
                .iter()
                .zip(MASK.iter().cycle())
                .map(|(byte, mask)| byte ^ mask),
        );
        frame
    }

    fn deflated(plain: &[u8]) -> Vec<u8> {
        let options = Compression {
            level: 6,
            message_bytes_min: 0,
        };
        Deflater::new(options).blocks(Window::Usual, plain).to_vec()
    }

    /// What the parser reads, as opcode byte and payload of each frame.
    fn read(inflow: &mut Inflow) -> Vec<(u8, Vec<u8>)> {
        let mut bytes = Vec::new();
        let mut step = [0; 7];
        loop {
            match inflow.take(&mut step) {
                Ok(0) | Err(_) => break,
                Ok(count) => bytes.extend_from_slice(&step[..count]),
            }
        }
        assert_eq!((inflow.ready.capacity(), inflow.raw.capacity()), (0, 0));
        let mut frames = Vec::new();
        while !bytes.is_empty() {
            let header = (2..=14)
                .find(|&len| payload_bytes(&bytes[..len]).is_some())
                .expect("whole");
            let len = payload_bytes(&bytes[..header]).expect("whole") as usize;
            let mask = bytes[header - 4..header].to_vec();
            let payload = bytes[header..header + len].iter().zip(mask.iter().cycle());
            frames.push((bytes[0], payload.map(|(byte, mask)| byte ^ mask).collect()));
            bytes.drain(..header + len);
        }
        frames
    }

    fn refusal(inflow: &mut Inflow, bytes: &[u8]) -> Option<Refused> {
        inflow.feed(bytes);
        let _ = read(inflow);
        inflow.take(&mut [0]).err()
    }

    #[test]
    fn a_fragmented_message_is_joined_and_control_frames_pass_it() {
        let message = deflated(b"{\"op\":\"ping\",\"id\":1}");
        let (head, tail) = message.split_at(5);
        let mut inflow = Inflow::new(1_000);
        inflow.feed(&frame(0x41, head));
        inflow.feed(&frame(0x89, b"now"));
        assert_eq!(read(&mut inflow), [(0x89, b"now".to_vec())]);
        inflow.feed(&frame(0x00, b""));
        inflow.feed(&frame(0x80, tail));
        assert_eq!(
            read(&mut inflow),
            [(0x81, b"{\"op\":\"ping\",\"id\":1}".to_vec())]
        );
        assert!(inflow.message.is_none());
    }

    #[test]
    fn rsv1_where_it_may_not_be_is_refused_or_left_to_the_parser() {
        let message = deflated(b"hello");
        // In a part that is not the first, a second message inside, and without a mask.
        for wrong in [
            frame(0xc0, &message),
            frame(0xc1, &message),
            frame(0x81, b"hello"),
        ] {
            let mut inflow = Inflow::new(1_000);
            inflow.feed(&frame(0x41, &message));
            assert_eq!(refusal(&mut inflow, &wrong), Some(Refused::Malformed));
        }
        let mut inflow = Inflow::new(1_000);
        assert_eq!(
            refusal(&mut inflow, &[0xc1, 0x01]),
            Some(Refused::Malformed)
        );
        let mut inflow = Inflow::new(1_000);
        assert_eq!(
            refusal(&mut inflow, &frame(0xe1, &message)),
            Some(Refused::Malformed)
        );
        for passed in [0xc9, 0xc0, 0xa1, 0x81] {
            let mut inflow = Inflow::new(1_000);
            inflow.feed(&frame(passed, b"hello"));
            assert_eq!(read(&mut inflow), [(passed, b"hello".to_vec())]);
        }
    }

    #[test]
    fn a_message_is_bounded_before_and_after_it_is_decompressed() {
        let mut inflow = Inflow::new(1_000);
        assert_eq!(
            refusal(&mut inflow, &frame(0xc1, &deflated(&[b' '; 1_001]))),
            Some(Refused::TooBig)
        );
        let mut inflow = Inflow::new(1_000);
        // Refused by its header, before the payload comes.
        assert_eq!(
            refusal(&mut inflow, &frame(0xc1, &[0; 1_001])[..8]),
            Some(Refused::TooBig)
        );
        let mut inflow = Inflow::new(1_000);
        inflow.feed(&frame(0x41, &[0; 600]));
        assert_eq!(
            refusal(&mut inflow, &frame(0x00, &[0; 600])[..8]),
            Some(Refused::TooBig)
        );
        let mut inflow = Inflow::new(1_000);
        inflow.feed(&frame(0xc2, &deflated(&[7; 1_000])));
        assert_eq!(read(&mut inflow), [(0x82, vec![7; 1_000])]);
    }

    /// The header of a masked frame that announces so many bytes in 64 bits.
    fn announced(first: u8, length: u64) -> Vec<u8> {
        [&[first, 0xff][..], &length.to_be_bytes(), &MASK].concat()
    }

    #[test]
    fn an_announced_length_that_would_wrap_is_refused_by_its_header() {
        for (length, expected) in [
            (u64::MAX, Refused::Malformed),
            (1 << 63, Refused::Malformed),
            ((1 << 63) - 1, Refused::TooBig),
            (u64::from(u32::MAX), Refused::TooBig),
        ] {
            let mut inflow = Inflow::new(1_000);
            assert_eq!(
                refusal(&mut inflow, &announced(0xc1, length)),
                Some(expected)
            );
            let mut inflow = Inflow::new(1_000);
            inflow.feed(&frame(0x41, b"x"));
            assert_eq!(
                refusal(&mut inflow, &announced(0x00, length)),
                Some(expected)
            );
            inflow.feed(&[0; 100_000]);
            assert!(inflow.held_bytes() <= 1_000, "{length:x}");
        }
    }

    #[test]
    fn messages_are_decompressed_one_at_a_time() {
        const BYTES_MAX: usize = 65_536;
        let bomb = frame(0xc1, &deflated(&[b' '; BYTES_MAX]));
        let sent = bomb.repeat(8_000 / bomb.len());
        assert!(sent.len() > 50 * bomb.len());
        let mut inflow = Inflow::new(BYTES_MAX);
        inflow.feed(&sent);
        let (mut held_max, mut taken, mut out) = (0, 0, [0; 512]);
        loop {
            held_max = held_max.max(inflow.held_bytes());
            match inflow.take(&mut out) {
                Ok(0) => break,
                count => taken += count.expect("nothing is wrong with it"),
            }
        }
        assert_eq!(
            taken,
            (sent.len() / bomb.len()) * (BYTES_MAX + HEADER_BYTES_MAX)
        );
        assert!(held_max <= sent.len() + BYTES_MAX + 1_024, "{held_max}");
        assert_eq!(inflow.held_bytes(), 0);
    }

    proptest! {
        #[test]
        fn the_parser_sees_what_was_meant_wherever_the_bytes_are_cut(
            messages in proptest::collection::vec((proptest::collection::vec(any::<u8>(), 0..400), any::<bool>()), 1..6),
            cut in 1usize..40,
        ) {
            let mut bytes = Vec::new();
            for (payload, is_compressed) in &messages {
                bytes.extend(match is_compressed {
                    true => frame(0xc2, &deflated(payload)),
                    false => frame(0x82, payload),
                });
            }
            let mut inflow = Inflow::new(1_000);
            for part in bytes.chunks(cut) {
                inflow.feed(part);
            }
            let expected: Vec<_> = messages.into_iter().map(|(payload, _)| (0x82, payload)).collect();
            prop_assert_eq!(read(&mut inflow), expected);
        }

        #[test]
        fn any_bytes_are_taken_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut inflow = Inflow::new(1_000);
            inflow.feed(&bytes);
        }
    }
}
