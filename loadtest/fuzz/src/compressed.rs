//! A client's compressed messages: compares our decompressor with another one, alone and in frames.

use arbitrary::{Result, Unstructured};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use ws_gateway::fuzz::{NotInflated, decode, inflate, put_frame};

use crate::Form;
use crate::frames::{BYTES_MAX, check, compressed_first};

/// The end of a message that is not sent (RFC 7692).
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

/// An accepted message that flate2 also accepts has the same content. A message from another
/// compressor is accepted unless it is too big. In frames of any lengths, a message is the same.
pub fn deflate(data: &[u8]) {
    let Some(([cut], data)) = data.split_first_chunk::<1>() else {
        return;
    };
    let cut = usize::from(*cut) + 1;
    let (message, plain) = match Form::of(data) {
        None => return,
        Some(Form::Raw(message)) => (message.to_vec(), None),
        Some(Form::Made(mut u)) => message(&mut u).unwrap_or_default(),
    };
    let inflated = inflate(&message, BYTES_MAX);
    // Each decompressor refuses some messages that the other accepts (for example cut streams), and
    // one returns more than the other before an error. So refusals are not compared. But valid
    // messages must be accepted.
    if let (Ok(content), Ok(expected)) = (&inflated, inflate_by_another(&message)) {
        assert_eq!(*content, expected);
    }
    if let Some(plain) = plain {
        match plain.len() <= BYTES_MAX {
            true => assert_eq!(inflated, Ok(plain)),
            false => assert_eq!(inflated, Err(NotInflated::TooBig)),
        }
    }
    if message.len() > BYTES_MAX {
        return;
    }
    let mut sent = Vec::new();
    let parts: Vec<&[u8]> = match message.is_empty() {
        true => vec![&[]],
        false => message.chunks(cut * 4).collect(),
    };
    for (index, part) in parts.iter().enumerate() {
        let first = compressed_first(index == 0, index + 1 == parts.len());
        let mask = Some([1, 2, 3, cut as u8]);
        put_frame(&mut sent, first, part.len() as u64, false, mask, part);
    }
    let decoded = decode(&sent, 0, cut, true, BYTES_MAX);
    match inflated {
        Ok(content) => {
            assert_eq!(decoded.messages, [(2, content)]);
            assert_eq!(decoded.end, "Ended");
        }
        Err(NotInflated::TooBig) => assert_eq!(decoded.end, "TooBig"),
        Err(NotInflated::Malformed) => assert_eq!(decoded.end, "Malformed"),
    }
    check(&sent, cut, cut);
}

fn inflate_by_another(message: &[u8]) -> std::result::Result<Vec<u8>, NotInflated> {
    let mut stream = Decompress::new(false);
    let mut out = Vec::new();
    for part in [message, &TAIL] {
        let mut taken = 0;
        loop {
            // One more than allowed at most, to see that it is too much before what follows.
            let mut room = vec![0; (BYTES_MAX + 1 - out.len()).min(512)];
            let (in_before, out_before) = (stream.total_in(), stream.total_out());
            let status = stream
                .decompress(&part[taken..], &mut room, FlushDecompress::Sync)
                .map_err(|_| NotInflated::Malformed)?;
            let (read, made) = (
                (stream.total_in() - in_before) as usize,
                (stream.total_out() - out_before) as usize,
            );
            taken += read;
            out.extend_from_slice(&room[..made]);
            if out.len() > BYTES_MAX {
                return Err(NotInflated::TooBig);
            }
            if status == Status::StreamEnd {
                stream.reset(false);
                if taken == part.len() {
                    break;
                }
            } else if made < room.len() {
                if taken < part.len() && read == 0 && made == 0 {
                    return Err(NotInflated::Malformed);
                }
                if taken == part.len() {
                    break;
                }
            }
        }
    }
    Ok(out)
}

/// A message of blocks of every kind, and its content if it is valid.
fn message(u: &mut Unstructured<'_>) -> Result<(Vec<u8>, Option<Vec<u8>>)> {
    let (mut message, mut content, mut is_sound) = (Vec::new(), Vec::new(), true);
    for _ in 0..u.int_in_range(1..=6)? {
        if u.is_empty() {
            break;
        }
        let plain = match u.int_in_range(0..=2u8)? {
            0 => vec![u.arbitrary()?; u.int_in_range(0..=5_000)?],
            1 => r#"{"op":"sub","topics":["kline:1m:BTC-USD"]}"#
                .repeat(u.int_in_range(0..=40)?)
                .into_bytes(),
            _ => u.arbitrary::<&[u8]>()?.to_vec(),
        };
        if u.ratio(1, 6)? {
            // As they are: invalid blocks, or blocks that end within a symbol.
            message.extend_from_slice(&plain[..plain.len().min(100)]);
            is_sound = false;
            continue;
        }
        let level = Compression::new(u.int_in_range(0..=9)?);
        let flush = match u.ratio(1, 5)? {
            true => FlushCompress::Finish,
            false => FlushCompress::Sync,
        };
        let mut blocks = Vec::with_capacity(plain.len() * 2 + 1_024);
        let made = Compress::new(level, false).compress_vec(&plain, &mut blocks, flush);
        made.expect("there is room");
        message.extend_from_slice(&blocks);
        content.extend_from_slice(&plain);
    }
    if message.ends_with(&TAIL) {
        message.truncate(message.len() - TAIL.len());
    }
    if u.ratio(1, 4)? && !message.is_empty() {
        let at = u.choose_index(message.len())?;
        message[at] ^= 1 << u.int_in_range(0..=7u8)?;
        is_sound = false;
    }
    if u.ratio(1, 4)? {
        message.truncate(u.int_in_range(0..=message.len())?);
        is_sound = false;
    }
    Ok((message, is_sound.then_some(content)))
}
