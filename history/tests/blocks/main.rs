//! Blocks give back what was stored, and survive bytes that are no block.

mod hostile;
mod invented;
mod older;
mod recorded;

use history::BarRow;
use history::block::{
    BLOCK_ROWS_MAX, BlockError, decode_bars, decode_trades, encode_bars, encode_trades,
};
use market_core::{AggressorSide, Amount, Price, Quality, Quantity, Timeframe, Trade};
use proptest::prelude::*;

use invented::{bars, trades};

fn decoded_bars(timeframe: Timeframe, block: &[u8]) -> Result<Vec<BarRow>, BlockError> {
    let mut rows = Vec::new();
    decode_bars(timeframe, block, &mut rows).map(|()| rows)
}

fn decoded_trades(block: &[u8]) -> Result<Vec<Trade>, BlockError> {
    let mut rows = Vec::new();
    decode_trades(block, &mut rows).map(|()| rows)
}

/// As if a program of another version had written the block.
fn set_version(block: &mut [u8], version: u8) {
    block[0] = version;
    let end = block.len() - 4;
    let checksum = crc32fast::hash(&block[..end]).to_le_bytes();
    block[end..].copy_from_slice(&checksum);
}

proptest! {
    #[test]
    fn bars_come_back_as_they_were(rows in bars(1..120)) {
        let block = encode_bars(Timeframe::SECOND, &rows).expect("sound bars");
        prop_assert_eq!(decoded_bars(Timeframe::SECOND, &block).expect("own block"), rows);
    }

    #[test]
    fn trades_come_back_as_they_were(rows in trades(1..120)) {
        let block = encode_trades(&rows).expect("sound trades");
        prop_assert_eq!(decoded_trades(&block).expect("own block"), rows);
    }

    #[test]
    fn a_block_that_is_cut_or_has_a_wrong_bit_is_torn(rows in trades(1..60), at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let mut block = encode_trades(&rows).expect("sound trades");
        let at = at.index(block.len());
        prop_assert_eq!(decoded_trades(&block[..at]), Err(BlockError::Torn));
        block[at] ^= 1 << bit;
        prop_assert_eq!(decoded_trades(&block), Err(BlockError::Torn));
    }
}

fn plain_trade() -> Trade {
    Trade {
        first_id: 7,
        last_id: 7,
        event_ms: 1_723_161_255_342,
        price: Price::parse("61837.63").expect("price"),
        quantity: Quantity::parse("0.02").expect("quantity"),
        aggressor_side: AggressorSide::Buy,
        received_us: 1_723_161_255_350_123,
    }
}

#[test]
fn one_price_with_many_digits_does_not_round_its_neighbours() {
    let mut rows = vec![plain_trade(); 100];
    rows[50].price = Price::parse("0.0000000000000000000000000012").expect("price");
    rows[51].quantity = Quantity::parse("1234567890123456789012345678").expect("quantity");
    let block = encode_trades(&rows).expect("sound trades");
    assert_eq!(decoded_trades(&block), Ok(rows));
}

#[test]
fn a_rounded_sum_is_still_rounded_when_it_is_read() {
    let mut sum = Amount::from_parts(120_000_000_000_000_000, 0);
    sum.add(Amount::from_parts(1, 24));
    assert!(!sum.is_exact());
    let price = Price::parse("5.5").expect("price");
    let row = BarRow {
        volume: Amount::from_parts(1, 0),
        quote_volume: Some(sum),
        count: Some(1),
        rev: 3,
        quality: Quality::Gap,
        ..BarRow::flat(1_723_161_255_000, price, 0)
    };
    let block = encode_bars(Timeframe::SECOND, &[row]).expect("sound bar");
    let rows = decoded_bars(Timeframe::SECOND, &block).expect("own block");
    assert_eq!(rows, [row]);
    let is_exact = |amount: Amount| amount.is_exact();
    assert_eq!(
        (rows[0].quote_volume.map(is_exact), is_exact(rows[0].volume)),
        (Some(false), true)
    );
}

/// A minute of a venue that says neither the quote volume nor the number of trades.
fn untold(minute: i64) -> BarRow {
    let price = |units: i64| Price::from_parts(i128::from(units), 2).expect("above zero");
    BarRow {
        start_ms: minute * 60_000,
        open: price(6_000_000 + minute % 7),
        high: price(6_000_900 + minute % 11),
        low: price(5_999_000 + minute % 5),
        close: price(6_000_000 + minute % 3),
        volume: Amount::from_parts(i128::from(minute % 13 + 1), 3),
        quote_volume: None,
        taker_buy_volume: None,
        taker_buy_quote_volume: None,
        count: None,
        ids: None,
        event_ms: None,
        received_us: None,
        rev: 0,
        quality: Quality::Complete,
        is_imported: true,
        known_ms: 0,
    }
}

#[test]
fn what_a_venue_does_not_say_takes_little_room_beside_bars_that_say_it() {
    let told = |minute: i64| {
        let bar = untold(minute);
        // At the lowest price, so that it is what the other columns tell.
        let quote = bar.volume.parts().0 * bar.low.parts().0;
        BarRow {
            quote_volume: Some(Amount::from_parts(quote, 5)),
            taker_buy_volume: Some(Amount::ZERO),
            taker_buy_quote_volume: Some(Amount::ZERO),
            count: Some(1),
            ..bar
        }
    };
    let all: Vec<BarRow> = (0..4_096).map(told).collect();
    let half: Vec<BarRow> = (0..4_096)
        .map(|minute| {
            if minute < 2_048 {
                told(minute)
            } else {
                untold(minute)
            }
        })
        .collect();
    let [all, half] = [all, half].map(|rows| {
        let block = encode_bars(Timeframe::MINUTE, &rows).expect("sound bars");
        assert_eq!(decoded_bars(Timeframe::MINUTE, &block), Ok(rows));
        block.len()
    });
    // A quarter of a byte for each: the flags, and a number of trades that changes once.
    assert!(half < all + 1_024, "{half} bytes beside {all}");
}

#[test]
fn zeros_of_imported_bars_in_older_blocks_are_unknown_where_they_cannot_be_true() {
    let zeros = BarRow {
        quote_volume: Some(Amount::ZERO),
        taker_buy_volume: Some(Amount::ZERO),
        taker_buy_quote_volume: Some(Amount::ZERO),
        count: Some(0),
        ..untold(1)
    };
    let empty = BarRow {
        start_ms: 120_000,
        volume: Amount::ZERO,
        ..zeros
    };
    // Only sold, and told.
    let sold = BarRow {
        start_ms: 180_000,
        quote_volume: Some(Amount::from_parts(1, 0)),
        count: Some(3),
        ..zeros
    };
    let own = BarRow {
        start_ms: 240_000,
        is_imported: false,
        ..zeros
    };
    let rows = [zeros, empty, sold, own];
    let mut block = encode_bars(Timeframe::MINUTE, &rows).expect("sound bars");
    assert_eq!(decoded_bars(Timeframe::MINUTE, &block), Ok(rows.to_vec()));
    set_version(&mut block, 2);
    let expected = vec![untold(1), empty, sold, own];
    assert_eq!(decoded_bars(Timeframe::MINUTE, &block), Ok(expected));
}

#[test]
fn rows_that_no_block_can_hold_are_refused() {
    let too_many = vec![plain_trade(); BLOCK_ROWS_MAX + 1];
    for rows in [&[][..], &too_many] {
        assert!(matches!(
            encode_trades(rows),
            Err(BlockError::Unstorable(_))
        ));
    }
    let falling = Trade {
        last_id: 6,
        ..plain_trade()
    };
    assert!(matches!(
        encode_trades(&[falling]),
        Err(BlockError::Unstorable(_))
    ));
    assert!(encode_trades(&too_many[1..]).is_ok());
}

#[test]
fn a_block_of_bars_is_not_read_as_trades() {
    let block = encode_trades(&[plain_trade()]).expect("sound trade");
    assert!(matches!(
        decoded_bars(Timeframe::SECOND, &block),
        Err(BlockError::Impossible(_))
    ));
}
