//! The write buffer of one connection: whole frames in, bytes out, in order, however few bytes the
//! socket takes at a time.
//!
//! It is empty unless the socket is full. Then it holds the rest of the current frame, control
//! frames, and the answers to the one request in progress. Control frames pass answers, but never
//! go inside a frame. Meanwhile updates are refused; nothing queues.

use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::sessions::outlet::Sent;

/// The destination of the bytes: a socket that takes some and never waits.
pub(crate) trait Sink {
    /// Writes some bytes; `WouldBlock` if none are taken now.
    ///
    /// # Errors
    /// As a socket's write.
    fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize>;
}

/// The buffer's state.
#[derive(Debug, Default)]
pub(crate) struct WriteBuffer {
    /// The waiting bytes; `None` while the socket keeps up, so an idle connection costs one
    /// pointer.
    unsent: Option<Box<PendingWrites>>,
    /// No more frames are accepted.
    closed: bool,
}

#[derive(Debug)]
struct PendingWrites {
    /// The rest of a partly written frame; empty between frames.
    tail: Bytes,
    control: VecDeque<Bytes>,
    frames: VecDeque<Bytes>,
    /// When the socket first refused.
    since: Instant,
    /// When it last took a byte.
    progress_at: Instant,
}

impl PendingWrites {
    fn next(&mut self) -> Option<Bytes> {
        if self.tail.is_empty() {
            self.control.pop_front().or_else(|| self.frames.pop_front())
        } else {
            Some(std::mem::take(&mut self.tail))
        }
    }
}

impl WriteBuffer {
    /// Whether bytes wait for the socket.
    #[must_use]
    pub(crate) fn is_pending(&self) -> bool {
        self.unsent.is_some()
    }

    /// Whether it accepts no more frames.
    #[must_use]
    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Updates: refused while bytes wait.
    pub(crate) fn send(&mut self, frames: &[Bytes], sink: &mut impl Sink, now: Instant) -> Sent {
        if self.closed {
            return Sent::Closed;
        }
        if self.unsent.is_some() {
            return Sent::Refused;
        }
        for (index, frame) in frames.iter().enumerate() {
            match write_some(frame, sink) {
                Ok(written) if written == frame.len() => {}
                Ok(written) => {
                    self.unsent = Some(Box::new(PendingWrites {
                        tail: frame.slice(written..),
                        control: VecDeque::new(),
                        frames: frames[index + 1..].iter().cloned().collect(),
                        since: now,
                        progress_at: now,
                    }));
                    return Sent::Pending;
                }
                Err(_) => return self.break_off(),
            }
        }
        Sent::Written
    }

    /// Answers: accepted after the waiting bytes.
    pub(crate) fn reply(&mut self, frames: &[Bytes], sink: &mut impl Sink, now: Instant) -> Sent {
        match (&mut self.unsent, self.closed) {
            (_, true) => Sent::Closed,
            (Some(unsent), _) => {
                unsent.frames.extend(frames.iter().cloned());
                Sent::Pending
            }
            (None, _) => self.send(frames, sink, now),
        }
    }

    /// A control frame: accepted before answers, after the frame in progress.
    pub(crate) fn control(&mut self, frame: Bytes, sink: &mut impl Sink, now: Instant) -> Sent {
        match (&mut self.unsent, self.closed) {
            (_, true) => Sent::Closed,
            (Some(unsent), _) => {
                unsent.control.push_back(frame);
                Sent::Pending
            }
            (None, _) => self.send(&[frame], sink, now),
        }
    }

    /// The close frame: drops the waiting frames except the one in progress, and accepts no more.
    pub(crate) fn close(&mut self, frame: Bytes, sink: &mut impl Sink, now: Instant) -> Sent {
        if let Some(unsent) = &mut self.unsent {
            unsent.frames.clear();
        }
        let sent = self.control(frame, sink, now);
        self.closed = true;
        sent
    }

    /// Writes the waiting bytes, as far as the socket takes them.
    pub(crate) fn resume(&mut self, sink: &mut impl Sink, now: Instant) -> Sent {
        let Some(unsent) = &mut self.unsent else {
            return Sent::Written;
        };
        while let Some(frame) = unsent.next() {
            match write_some(&frame, sink) {
                Ok(written) => {
                    if written > 0 {
                        unsent.progress_at = now;
                    }
                    if written < frame.len() {
                        unsent.tail = frame.slice(written..);
                        // A frame of which no byte is written is the first again: the order does
                        // not change.
                        return Sent::Pending;
                    }
                }
                Err(_) => return self.break_off(),
            }
        }
        self.unsent = None;
        Sent::Written
    }

    /// How long bytes have waited for the socket; zero while it takes all.
    #[must_use]
    pub(crate) fn waiting(&self, now: Instant) -> Duration {
        let unsent = self.unsent.as_ref();
        unsent.map_or(Duration::ZERO, |unsent| {
            now.saturating_duration_since(unsent.since)
        })
    }

    /// By when the socket must have taken some bytes, and by when all of them; `None` while no
    /// bytes wait.
    #[must_use]
    pub(crate) fn deadline(&self, progress: Duration, whole: Duration) -> Option<Instant> {
        self.unsent
            .as_ref()
            .map(|unsent| (unsent.progress_at + progress).min(unsent.since + whole))
    }

    fn break_off(&mut self) -> Sent {
        self.unsent = None;
        self.closed = true;
        Sent::Closed
    }
}

/// Writes until all bytes are written or the socket is full; a socket that takes 0 bytes is broken.
fn write_some(frame: &[u8], sink: &mut impl Sink) -> io::Result<usize> {
    let mut written = 0;
    while written < frame.len() {
        match sink.try_write(&frame[written..]) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(bytes) => written += bytes,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(written)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Takes as many bytes as it is given room for.
    #[derive(Default)]
    struct Pipe {
        room: usize,
        taken: Vec<u8>,
    }

    impl Sink for Pipe {
        fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.room == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let count = bytes.len().min(self.room);
            self.room -= count;
            self.taken.extend_from_slice(&bytes[..count]);
            Ok(count)
        }
    }

    #[derive(Debug, Clone)]
    enum Step {
        Room(usize),
        Send(usize),
        Reply(usize),
        Control,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        proptest::collection::vec(
            prop_oneof![
                (0usize..40).prop_map(Step::Room),
                (1usize..30).prop_map(Step::Send),
                (1usize..30).prop_map(Step::Reply),
                Just(Step::Control),
            ],
            1..60,
        )
    }

    /// A frame of its own: length, then a byte that names it.
    fn frame(number: usize, len: usize) -> Bytes {
        let mut bytes = vec![len as u8];
        bytes.resize(len + 1, number as u8);
        Bytes::from(bytes)
    }

    proptest! {
        #[test]
        fn what_comes_out_is_whole_frames_and_all_that_were_taken(steps in steps()) {
            let (mut buffer, mut pipe, now) = (WriteBuffer::default(), Pipe::default(), Instant::now());
            let mut taken = Vec::new();
            for (number, step) in steps.into_iter().enumerate() {
                let (sent, frame) = match step {
                    Step::Room(room) => {
                        pipe.room += room;
                        let _ = buffer.resume(&mut pipe, now);
                        continue;
                    }
                    Step::Send(len) => {
                        let frame = frame(number, len);
                        let was_pending = buffer.is_pending();
                        let sent = buffer.send(std::slice::from_ref(&frame), &mut pipe, now);
                        prop_assert_eq!(sent == Sent::Refused, was_pending);
                        (sent, frame)
                    }
                    Step::Reply(len) => {
                        let frame = frame(number, len);
                        (buffer.reply(std::slice::from_ref(&frame), &mut pipe, now), frame)
                    }
                    Step::Control => {
                        let frame = frame(number, 2);
                        (buffer.control(frame.clone(), &mut pipe, now), frame)
                    }
                };
                if sent != Sent::Refused {
                    taken.push(frame);
                }
            }
            pipe.room = usize::MAX;
            prop_assert_eq!(buffer.resume(&mut pipe, now), Sent::Written);
            prop_assert!(!buffer.is_pending());
            let mut rest = &pipe.taken[..];
            let mut seen = Vec::new();
            while let Some((&len, after)) = rest.split_first() {
                let body = &after[..len as usize];
                prop_assert!(body.iter().all(|&byte| byte == body[0]), "frames interleave");
                seen.push(body[0] as usize);
                rest = &after[len as usize..];
            }
            let mut numbers: Vec<_> = taken.iter().map(|frame| frame[1] as usize).collect();
            numbers.sort_unstable();
            seen.sort_unstable();
            prop_assert_eq!(seen, numbers);
        }
    }

    #[test]
    fn a_stalled_socket_has_a_deadline_and_a_trickling_one_too() {
        let (mut buffer, mut pipe, start) =
            (WriteBuffer::default(), Pipe::default(), Instant::now());
        let second = Duration::from_secs(1);
        assert_eq!(buffer.deadline(second, second), None);
        let big = frame(1, 200);
        assert_eq!(buffer.send(&[big], &mut pipe, start), Sent::Pending);
        assert_eq!(buffer.deadline(second, 5 * second), Some(start + second));
        for elapsed in 1..10 {
            pipe.room = 1;
            let _ = buffer.resume(&mut pipe, start + elapsed * second);
        }
        assert_eq!(
            buffer.deadline(second, 5 * second),
            Some(start + 5 * second)
        );
    }

    #[test]
    fn a_close_drops_what_waits_but_not_what_is_begun() {
        let (mut buffer, mut pipe, now) = (WriteBuffer::default(), Pipe::default(), Instant::now());
        pipe.room = 3;
        let (first, second, close) = (frame(1, 5), frame(2, 5), frame(3, 2));
        assert_eq!(
            buffer.send(std::slice::from_ref(&first), &mut pipe, now),
            Sent::Pending
        );
        assert_eq!(buffer.reply(&[second], &mut pipe, now), Sent::Pending);
        assert_eq!(buffer.close(close.clone(), &mut pipe, now), Sent::Pending);
        assert_eq!(
            buffer.send(std::slice::from_ref(&first), &mut pipe, now),
            Sent::Closed
        );
        pipe.room = 100;
        let _ = buffer.resume(&mut pipe, now);
        assert_eq!(pipe.taken, [first, close].concat());
    }
}
