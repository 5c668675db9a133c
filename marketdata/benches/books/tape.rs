//! Frames of an order book, with the snapshot before them.

use market_core::{BookUpdate, UnixMicros};
use marketdata::exchange::{BookEvent, Exchange, registry};
use marketdata::replay::{Line, parse_line};

const FRAMES: usize = 6_000;
const START_MS: i64 = 1_723_464_000_000;
/// Levels of each side in the invented snapshot.
const LEVELS: usize = 1_000;
/// Changes of each side in an invented frame.
const CHANGES: usize = 12;
/// The middle of the invented book, in hundredths.
const MIDDLE: usize = 6_183_764;

pub(super) struct Tape {
    pub(super) exchange: &'static dyn Exchange,
    pub(super) label: &'static str,
    /// What the book is before the first frame. It counts as the whole book, so that no frame finds
    /// the price beyond its levels.
    pub(super) snapshot: BookUpdate,
    /// When each was received, µs, and its text.
    pub(super) frames: Vec<(UnixMicros, String)>,
}

fn binance() -> &'static dyn Exchange {
    registry::find("binance").expect("registered")
}

fn snapshot_of(body: &str, received_us: UnixMicros) -> BookUpdate {
    let parsed = binance().parse_book_snapshot(body.as_bytes(), received_us);
    BookUpdate {
        cut_after: None,
        ..parsed.expect("a snapshot")
    }
}

/// Eleven minutes of BTCUSDT: the frames of changes from the first one after the snapshot on.
pub(super) fn captured() -> Option<Tape> {
    let text = crate::captured::btcusdt()?;
    let mut snapshot = None;
    let mut frames = Vec::new();
    for line in text.lines() {
        let Ok(Line::Frame { received_us, frame }) = parse_line(line) else {
            continue;
        };
        if frame.starts_with(r#"{"lastUpdateId""#) {
            snapshot = Some(snapshot_of(frame, received_us));
        } else if frame.contains(r#""e":"depthUpdate""#) {
            frames.push((received_us, frame.to_owned()));
        }
    }
    let snapshot = snapshot?;
    // Those that the snapshot has are no changes of it.
    let last_of = |frame: &str| {
        let mut last = None;
        let decoded = binance().decode_books(frame, 0, &mut |event| {
            if let BookEvent::Update { update, .. } = event {
                last = Some(update.numbers);
            }
        });
        decoded.expect("a venue's frame");
        last
    };
    let number = |numbers| match numbers {
        market_core::book::UpdateNumbers::Range { last, .. } => last,
        _ => 0,
    };
    let had = number(snapshot.numbers);
    frames.retain(|(_, frame)| last_of(frame).map_or(0, number) > had);
    Some(Tape {
        exchange: binance(),
        label: "binance-captured",
        snapshot,
        frames,
    })
}

/// A price in hundredths, as Binance writes it.
fn price(hundredths: usize) -> String {
    format!("{}.{:02}000000", hundredths / 100, hundredths % 100)
}

/// Frames such as a busy symbol has them, ten a second: most changes are near the best price, and
/// every third one takes a level away.
pub(super) fn invented() -> Tape {
    let rows = |rows: &mut dyn Iterator<Item = (usize, usize)>| {
        let row = |(at, quantity)| format!(r#"["{}","0.{quantity:05}000"]"#, price(at));
        rows.map(row).collect::<Vec<_>>().join(",")
    };
    let quantity = |salt: usize| 1 + salt * 7_919 % 99_991;
    let snapshot = format!(
        r#"{{"lastUpdateId":1000,"bids":[{}],"asks":[{}]}}"#,
        rows(&mut (1..=LEVELS).map(|level| (MIDDLE - level, quantity(level)))),
        rows(&mut (1..=LEVELS).map(|level| (MIDDLE + level, quantity(level)))),
    );
    let frame = |index: usize| {
        let at_ms = START_MS + index as i64 * 100;
        let (first, last) = (1_001 + index * 30, 1_030 + index * 30);
        let changes = |salt: usize| {
            (0..CHANGES).map(move |change| {
                let random = (index * 2 + salt) * CHANGES * 31 + change * 6_151;
                // The product of two even choices is near zero more often than not.
                let level = 1 + (random % 31) * (random / 31 % 29);
                let gone = random.is_multiple_of(3);
                (level, if gone { 0 } else { 1 + random * 7_919 % 99_991 })
            })
        };
        let text = format!(
            r#"{{"stream":"btcusdt@depth@100ms","data":{{"e":"depthUpdate","E":{at_ms},"s":"BTCUSDT","U":{first},"u":{last},"b":[{}],"a":[{}]}}}}"#,
            rows(&mut changes(0).map(|(level, quantity)| (MIDDLE - level, quantity))),
            rows(&mut changes(1).map(|(level, quantity)| (MIDDLE + level, quantity))),
        );
        ((at_ms + 8) * 1_000, text)
    };
    Tape {
        exchange: binance(),
        label: "binance-invented",
        snapshot: snapshot_of(&snapshot, START_MS * 1_000),
        frames: (0..FRAMES).map(frame).collect(),
    }
}
