//! The bytes of the same books in each dialect, as the gateway frames them.

use bytes::Bytes;
use client_frames::dialect::Dialect;
use client_frames::dialect::binance::stream::MadeStream;
use client_frames::encode::batch::Batch;
use client_frames::encode::deflate::{Compression, Deflater, Window};
use client_frames::encode::encoding::Encoding;
use client_frames::encode::payload::Payload;
use market_core::binance::DepthBook;
use market_core::wire::{BookChangesMessage, BookMessage, JsonMessage, Stamp};
use market_core::{BookLevels, BookTop, Symbol};

use super::tape::Tape;
use super::{book_of, decode};

/// Levels of each side that `marketdata` publishes, unless its flags say otherwise.
const DEPTH: usize = 20;
pub(super) const EPOCH_MS: u64 = 1_723_464_000_000;
/// The gateway's defaults.
pub(super) const COMPRESSION: Compression = Compression {
    level: 4,
    message_bytes_min: 256,
};

/// A published book, and its levels.
struct Published {
    message: BookMessage,
    levels: BookLevels,
    json: Bytes,
}

fn published(top: &BookTop, seq: u64) -> Published {
    let symbol: Symbol = "BTC-USDT".parse().expect("a symbol");
    let stamp = Stamp {
        seq,
        epoch: EPOCH_MS,
        published_us: top.received_us + 300,
    };
    let message = BookMessage::new("binance", &symbol, Ok(top), stamp);
    Published {
        levels: message.levels().expect("levels"),
        json: message.encode(),
        message,
    }
}

/// What has changed since the book before; the whole book where that is no longer.
fn changes(before: &Published, now: &Published) -> Bytes {
    let changes = now.levels.changes_since(&before.levels, None);
    if changes.len() >= now.levels.len() {
        return now.json.clone();
    }
    let checksum = now.levels.checksum();
    BookChangesMessage::new(&now.message, before.message.seq, &changes, checksum).encode()
}

/// The event of Binance's changes for a client that has the book before.
fn depth_event(before: &Published, now: &Published) -> Bytes {
    let read = |book: &Published| DepthBook::read(&book.json).expect("a book");
    let event = read(now).event_since(std::iter::once(&read(before)));
    MadeStream::publication("btcusdt@depth@100ms", &event).into()
}

type Form = fn(&Published, &Published) -> Bytes;

/// The rows: a dialect, and what it says of a book.
const ROWS: [(&str, Dialect, Form); 6] = [
    ("native, whole", Dialect::Json, |_, now| now.json.clone()),
    ("native, changes", Dialect::Json, changes),
    ("protobuf, whole", Dialect::Protobuf, |_, now| {
        now.json.clone()
    }),
    ("protobuf, changes", Dialect::Protobuf, changes),
    ("Binance, @depth20@100ms", Dialect::Binance, |_, now| {
        now.json.clone()
    }),
    ("Binance, @depth@100ms", Dialect::Binance, depth_event),
];

/// Bytes of the frame of one update.
pub(super) fn frame_bytes(json: Bytes, encoding: Encoding, deflater: &mut Deflater) -> u64 {
    let mut batch = Batch::new(usize::MAX);
    batch.push(Payload::from(json), 0);
    let prepared = batch.finish(0);
    prepared.encoded(encoding, false, deflater, &mut 0).bytes
}

/// Prints the mean bytes of a frame, for a book published after each frame of the tape.
pub(super) fn print(tape: &Tape) {
    let mut deflater = Deflater::new(COMPRESSION);
    let mut book = book_of(tape.snapshot.clone());
    let mut before: Option<Published> = None;
    let mut sums = [[0; 2]; ROWS.len()];
    let mut books = 0u64;
    decode(tape, |update| {
        book.apply(update);
        let top = book.top(DEPTH).expect("the frames have no hole");
        let seq = before.as_ref().map_or(1, |before| before.message.seq + 1);
        let now = published(&top, seq);
        if let Some(before) = &before {
            books += 1;
            for ((_, dialect, form), sums) in ROWS.iter().zip(&mut sums) {
                for (window, sum) in [None, Some(Window::Usual)].into_iter().zip(sums) {
                    let encoding = Encoding {
                        dialect: *dialect,
                        window,
                    };
                    *sum += frame_bytes(form(before, &now), encoding, &mut deflater);
                }
            }
        }
        before = Some(now);
    });
    println!(
        "\n{}: {books} books of {DEPTH} levels of each side\n\n| dialect | bytes a book | of native, whole | with deflate | of native, whole |\n|---|---|---|---|---|",
        tape.label
    );
    let percent = |sum: u64| sum * 100 / sums[0][0].max(1);
    for ((name, ..), [plain, deflated]) in ROWS.iter().zip(sums) {
        let mean = |sum: u64| sum / books.max(1);
        println!(
            "| {name} | {} | {} % | {} | {} % |",
            mean(plain),
            percent(plain),
            mean(deflated),
            percent(deflated),
        );
    }
    println!();
}
