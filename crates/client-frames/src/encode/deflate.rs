//! Compressed messages (RFC 7692) without a context: every message begins with an empty window. So
//! a frame is compressed once for all its receivers, and no client costs memory.
//!
//! A message can also be concatenated from parts that were compressed separately: see
//! [`Deflater::blocks`] and [`put_stored`].

use zlib_rs::{Deflate, DeflateConfig, DeflateFlush, Inflate, InflateFlush, Status};

/// How far back a compressed message may refer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Window {
    /// 4 KiB: bars resemble their neighbours, and more makes them no smaller.
    Usual,
    /// 512 bytes, for clients that allow no more than that.
    Least,
}

impl Window {
    /// All there are.
    pub const ALL: [Self; 2] = [Self::Usual, Self::Least];

    /// The widest window for a client whose own window has this many bits; `None` if every window
    /// is too wide.
    #[must_use]
    pub fn within(bits: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|window| window.bits() <= bits)
    }

    /// Its size as a power of two, bytes.
    #[must_use]
    pub fn bits(self) -> u8 {
        match self {
            Self::Usual => 12,
            Self::Least => 9,
        }
    }

    /// An index below the number of windows.
    #[must_use]
    pub fn index(self) -> usize {
        self as usize
    }
}

/// Which messages are compressed, and how well.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Compression {
    /// 1 (fast) to 9 (small).
    pub level: u8,
    /// Messages below this length are not compressed, bytes.
    pub message_bytes_min: usize,
}

/// The bytes at the end of a message that are not sent.
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];
/// zlib's `memLevel`: as much as these windows can use.
const MEM_LEVEL: i32 = 5;

/// Compresses for a shard.
pub struct Deflater {
    /// See [`Compression`].
    pub options: Compression,
    /// Input and output bytes since the last call.
    work: (u64, u64),
    /// Made when first needed.
    streams: [Option<Deflate>; Window::ALL.len()],
    out: Vec<u8>,
}

impl std::fmt::Debug for Deflater {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Deflater")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl Deflater {
    /// Takes no memory before it is used.
    #[must_use]
    pub fn new(options: Compression) -> Self {
        Self {
            options,
            work: (0, 0),
            streams: [None, None],
            out: Vec::new(),
        }
    }

    /// Compresses bytes to blocks that refer to nothing before them, and the beginning of an empty
    /// stored block. With the length of this block appended (`TAIL`), this is a complete message.
    /// Alternatively, [`put_stored`] appends a block with bytes in it.
    pub fn blocks(&mut self, window: Window, plain: &[u8]) -> &[u8] {
        let stream = self.streams[window.index()].get_or_insert_with(|| {
            Deflate::new_with_config(DeflateConfig {
                level: i32::from(self.options.level),
                window_bits: -i32::from(window.bits()),
                mem_level: MEM_LEVEL,
                ..DeflateConfig::default()
            })
        });
        stream.reset();
        // Room for incompressible bytes, so that one call is enough.
        self.out.resize(plain.len() + plain.len() / 8 + 128, 0);
        let (mut taken, mut made) = (0, 0);
        loop {
            let (taken_before, made_before) = (stream.total_in(), stream.total_out());
            stream
                .compress(
                    &plain[taken..],
                    &mut self.out[made..],
                    DeflateFlush::SyncFlush,
                )
                .expect("a stream takes bytes until it is finished");
            taken += (stream.total_in() - taken_before) as usize;
            made += (stream.total_out() - made_before) as usize;
            if taken == plain.len() && made < self.out.len() {
                break;
            }
            self.out.resize(self.out.len() * 2, 0);
        }
        let blocks = self.out[..made]
            .strip_suffix(&TAIL)
            .expect("a flush ends with an empty block");
        self.work.0 += plain.len() as u64;
        self.work.1 += blocks.len() as u64;
        blocks
    }

    /// Bytes that were compressed, and bytes made of them, since the last call.
    pub fn take_work(&mut self) -> (u64, u64) {
        std::mem::take(&mut self.work)
    }
}

/// Appends the beginning of a stored block; [`put_stored`] appends its length and bytes.
pub fn begin_stored(out: &mut Vec<u8>) {
    out.push(0);
}

/// Appends the length and the bytes of a stored block that has begun. Other blocks may follow, but
/// not the end of the message.
pub fn put_stored(out: &mut Vec<u8>, bytes: &[u8]) {
    let len = u16::try_from(bytes.len()).expect("what is stored is short");
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(&(!len).to_le_bytes());
    out.extend_from_slice(bytes);
}

/// Why a compressed message is not accepted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum InflateError {
    /// Its content is larger than allowed.
    #[error("the message is too big")]
    TooBig,
    /// It is not valid by RFC 7692.
    #[error("the message is not valid deflate data")]
    Malformed,
}

/// Decompresses a message whose content has at most `bytes_max`. It needs no more memory than this
/// and a window.
///
/// # Errors
/// See [`InflateError`].
pub fn inflate(message: &[u8], bytes_max: usize) -> Result<Vec<u8>, InflateError> {
    let mut stream = Inflate::new(false, 15);
    // One byte more than allowed, to detect that it is too big.
    let room_max = bytes_max.saturating_add(1);
    let mut out = vec![0; message.len().saturating_mul(4).max(256).min(room_max)];
    let mut made = 0;
    for part in [message, &TAIL] {
        let mut taken = 0;
        loop {
            let (taken_before, made_before) = (stream.total_in(), stream.total_out());
            let status = stream
                .decompress(&part[taken..], &mut out[made..], InflateFlush::SyncFlush)
                .map_err(|_| InflateError::Malformed)?;
            taken += (stream.total_in() - taken_before) as usize;
            made += (stream.total_out() - made_before) as usize;
            if made > bytes_max {
                return Err(InflateError::TooBig);
            }
            if status == Status::StreamEnd {
                // A last block need not be the last of a message (RFC 7692, 7.2.3.5).
                stream.reset(false);
            }
            if made == out.len() {
                out.resize(out.len().saturating_mul(2).min(room_max), 0);
            } else if taken == part.len() {
                break;
            } else if status == Status::BufError {
                return Err(InflateError::Malformed);
            }
        }
    }
    out.truncate(made);
    Ok(out)
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    const MANY: usize = 1 << 24;

    fn deflater() -> Deflater {
        Deflater::new(Compression {
            level: 4,
            message_bytes_min: 0,
        })
    }

    #[test]
    fn the_examples_of_the_rfc_are_read() {
        let hello = |message: &[u8]| inflate(message, MANY);
        let one_block = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
        let stored = [
            0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00,
        ];
        let last = [0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00];
        let two_blocks = [
            0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00,
        ];
        for message in [&one_block[..], &stored, &last, &two_blocks] {
            assert_eq!(hello(message), Ok(b"Hello".to_vec()));
        }
        assert_eq!(hello(&[0]), Ok(Vec::new()));
        assert_eq!(hello(&[]), Ok(Vec::new()));
    }

    #[test]
    fn what_is_no_deflate_is_refused() {
        assert_eq!(inflate(&[0xff; 20], MANY), Err(InflateError::Malformed));
        assert_eq!(
            inflate(b"{\"op\":\"ping\"}", MANY),
            Err(InflateError::Malformed)
        );
    }

    #[test]
    fn a_bomb_is_refused_once_it_is_too_big() {
        let zeros = vec![b' '; 1 << 20];
        let bomb = deflater().blocks(Window::Usual, &zeros).to_vec();
        assert!(bomb.len() < 8_192);
        assert_eq!(inflate(&bomb, 65_536), Err(InflateError::TooBig));
        assert_eq!(inflate(&bomb, zeros.len() - 1), Err(InflateError::TooBig));
        assert_eq!(inflate(&bomb, zeros.len()), Ok(zeros));
    }

    #[test]
    fn a_window_is_no_wider_than_allowed() {
        assert_eq!(Window::within(15), Some(Window::Usual));
        assert_eq!(Window::within(12), Some(Window::Usual));
        assert_eq!(Window::within(11), Some(Window::Least));
        assert_eq!(Window::within(9), Some(Window::Least));
        assert_eq!(Window::within(8), None);
    }

    proptest! {
        #[test]
        fn blocks_and_stored_bytes_make_one_message(
            parts in proptest::collection::vec(("[a-c]{0,40}", "[a-f\n]{0,3000}"), 1..6),
            is_narrow: bool,
        ) {
            let window = if is_narrow { Window::Least } else { Window::Usual };
            let mut deflater = deflater();
            let (mut message, mut plain) = (Vec::new(), String::new());
            begin_stored(&mut message);
            for (stored, body) in &parts {
                put_stored(&mut message, stored.as_bytes());
                message.extend_from_slice(deflater.blocks(window, body.as_bytes()));
                plain.push_str(stored);
                plain.push_str(body);
            }
            prop_assert_eq!(inflate(&message, MANY), Ok(plain.into_bytes()));
        }

        #[test]
        fn nothing_refers_further_back_than_the_window(bytes in proptest::collection::vec(0u8..4, 0..5_000)) {
            let mut deflater = deflater();
            for window in Window::ALL {
                let message = deflater.blocks(window, &bytes).to_vec();
                let mut stream = Inflate::new(false, window.bits());
                let mut out = Vec::new();
                // In small steps: only several calls reveal a window that is too small.
                let mut input = [&message[..], &TAIL].concat();
                while !input.is_empty() {
                    let mut step = [0; 64];
                    let (taken, made) = (stream.total_in(), stream.total_out());
                    stream.decompress(&input, &mut step, InflateFlush::NoFlush).expect("within the window");
                    out.extend_from_slice(&step[..(stream.total_out() - made) as usize]);
                    input.drain(..(stream.total_in() - taken) as usize);
                }
                let mut step = [0; 64];
                loop {
                    let made = stream.total_out();
                    let _ = stream.decompress(&[], &mut step, InflateFlush::SyncFlush);
                    let count = (stream.total_out() - made) as usize;
                    out.extend_from_slice(&step[..count]);
                    if count == 0 { break; }
                }
                prop_assert_eq!(&out, &bytes);
            }
        }

        #[test]
        fn any_bytes_are_inflated_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(plain) = inflate(&bytes, 1_000) {
                prop_assert!(plain.len() <= 1_000);
            }
        }
    }
}
