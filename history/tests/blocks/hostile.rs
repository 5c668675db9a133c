//! Blocks with a right checksum and wrong content.

use history::block::{TradeBlock, decode_bars, decode_trades, encode_bars, encode_trades};
use market_core::Timeframe;
use proptest::prelude::*;

use crate::invented::{bars, trades};

const HEAD_BYTES: usize = 6;

/// One change to a block.
#[derive(Clone, Debug)]
enum Change {
    Byte(prop::sample::Index, u8),
    /// The version, the kind or the number of rows.
    Head(usize, u8),
    /// Encoding and length of a column.
    ColumnHead(prop::sample::Index, u8, u32),
    /// The first bytes of a column's content, where a packed column has its tables.
    ColumnContent(prop::sample::Index, usize, u8),
    Cut(prop::sample::Index),
    Append(Vec<u8>),
}

fn change() -> impl Strategy<Value = Change> {
    let any_at = any::<prop::sample::Index>;
    let length = prop_oneof![any::<u32>(), 0u32..32, Just(u32::MAX)];
    prop_oneof![
        (any_at(), any::<u8>()).prop_map(|(at, byte)| Change::Byte(at, byte)),
        (0..HEAD_BYTES, any::<u8>()).prop_map(|(at, byte)| Change::Head(at, byte)),
        (any_at(), 0u8..4, length)
            .prop_map(|(at, code, length)| Change::ColumnHead(at, code, length)),
        (any_at(), 0usize..24, any::<u8>())
            .prop_map(|(at, byte, value)| Change::ColumnContent(at, byte, value)),
        any_at().prop_map(Change::Cut),
        prop::collection::vec(any::<u8>(), 1..16).prop_map(Change::Append),
    ]
}

/// Where the columns of a sound block begin.
fn column_starts(content: &[u8]) -> Vec<usize> {
    let (mut starts, mut at) = (Vec::new(), HEAD_BYTES);
    while let Some(head) = content.get(at..at + 5) {
        starts.push(at);
        let length = u32::from_le_bytes([head[1], head[2], head[3], head[4]]) as usize;
        at += 5 + length;
    }
    starts
}

/// Changes a block and gives it a checksum that fits.
fn changed(mut block: Vec<u8>, changes: &[Change]) -> Vec<u8> {
    block.truncate(block.len() - 4);
    let starts = column_starts(&block);
    for change in changes {
        match change {
            Change::Byte(at, byte) => {
                let at = at.index(block.len().max(1));
                if let Some(old) = block.get_mut(at) {
                    *old = *byte;
                }
            }
            Change::Head(at, byte) => {
                if let Some(old) = block.get_mut(*at) {
                    *old = *byte;
                }
            }
            Change::ColumnHead(at, code, length) => {
                let at = starts[at.index(starts.len())];
                if let Some(head) = block.get_mut(at..at + 5) {
                    head[0] = *code;
                    head[1..].copy_from_slice(&length.to_le_bytes());
                }
            }
            Change::ColumnContent(at, byte, value) => {
                let at = starts[at.index(starts.len())] + 5 + byte;
                if let Some(old) = block.get_mut(at) {
                    *old = *value;
                }
            }
            Change::Cut(at) => block.truncate(at.index(block.len().max(1))),
            Change::Append(bytes) => block.extend(bytes),
        }
    }
    block.extend(crc32fast::hash(&block).to_le_bytes());
    block
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn hostile_blocks_of_trades_give_an_error_or_sound_trades(
        rows in trades(1..200),
        changes in prop::collection::vec(change(), 1..4),
    ) {
        let block = changed(encode_trades(&rows).expect("sound trades"), &changes);
        if let Ok(block) = TradeBlock::new(&block) {
            let _ = (block.ids(), block.quantity());
            let _ = block.is_buy().map(|is_buy| block.price(&is_buy));
            let _ = block.event_ms().map(|event_ms| block.received_us(&event_ms));
        }
        let mut read = Vec::new();
        if decode_trades(&block, &mut read).is_ok() {
            let block = encode_trades(&read).expect("sound trades");
            let mut again = Vec::new();
            prop_assert_eq!(decode_trades(&block, &mut again), Ok(()));
            prop_assert_eq!(again, read);
        }
    }

    #[test]
    fn hostile_blocks_of_bars_give_an_error_or_sound_bars(
        rows in bars(1..100),
        changes in prop::collection::vec(change(), 1..4),
    ) {
        let block = changed(encode_bars(Timeframe::SECOND, &rows).expect("sound bars"), &changes);
        let mut read = Vec::new();
        if decode_bars(Timeframe::SECOND, &block, &mut read).is_ok() {
            let block = encode_bars(Timeframe::SECOND, &read).expect("sound bars");
            let mut again = Vec::new();
            prop_assert_eq!(decode_bars(Timeframe::SECOND, &block, &mut again), Ok(()));
            prop_assert_eq!(again, read);
        }
    }
}
