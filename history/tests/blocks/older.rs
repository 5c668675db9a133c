//! Blocks that older programs wrote.

use history::block::{encode_bars, encode_trades};
use market_core::{AggressorSide, Price, Quantity, Timeframe, Trade};

use crate::{decoded_bars, decoded_trades, set_version, untold};

/// Bursts of three trades: of one event time, and received one soon after the other.
fn bursts(count: u64) -> Vec<Trade> {
    let trade = |index: u64| {
        let (burst, place) = (index / 3, index % 3);
        let event_ms = 1_723_161_255_342 + (burst * burst % 97).cast_signed() * 7;
        let is_buy = burst % 5 < 2;
        let cents = 6_183_763 + i128::from(burst * 31 % 17) + i128::from(is_buy);
        let step = i128::from(place) * if is_buy { 1 } else { -1 };
        let lots = i128::from(index * 7_919 % 10_007 + 1);
        Trade {
            first_id: 3_735_683_259 + index,
            last_id: 3_735_683_259 + index + u64::from(index.is_multiple_of(11)) * 2,
            event_ms,
            price: Price::from_parts(cents + step, 2).expect("above zero"),
            quantity: Quantity::from_parts(lots, 5).expect("above zero"),
            aggressor_side: match is_buy {
                true => AggressorSide::Buy,
                false => AggressorSide::Sell,
            },
            received_us: event_ms * 1_000 + 1_700 + (burst * 613 % 1_000 + place * 9).cast_signed(),
        }
    };
    (0..count).map(trade).collect()
}

/// Seven of them in version 3: its columns are not packed.
const PLAIN_3: &str = "\
    0302070000000138000000ae1d6a349101000000000000000000000000000000000000070000000000000000\
    00000000000000000000000000000015000000000000000138000000bb00aade00000000feffffffffffffff\
    0000000000000000000000000000000000000000000000000000000000000000000000000000000001380000\
    0002000000000000000000000000000000000000000000000000000000000000000000000000000000000000\
    00000000000000000000000000000800000002000000000000000138000000545b5e00000000000100000000\
    00000001000000000000000c0000000000000001000000000000000100000000000000faffffffffffffff00\
    08000000050000000000000001380000000100000000000000f01e000000000000c816000000000000a00e00\
    0000000000780600000000000067250000000000003f1d000000000000013800000001000000000000000100\
    0000000000000100000000000000010000000000000001000000000000000100000000000000000000000000\
    00000138000000a406000000000000ad06000000000000b60600000000000009090000000000001209000000\
    0000001b0900000000000086070000000000006e39fd5f";

/// Sixty of them in version 3.
const PACKED_3: &str = "\
    03023c000000026600000070636f210300050f0401043b000000460010bcfbffffffffffff0e2a0000000000\
    000020c039000000000000004408e70000000000008029b2db86f23a8af5e17564960270cca1461319c08143\
    05c7884a0c0ec0a8898a2396060000000000e7000000000000023800000070636f210300050f0401043b0000\
    00360028fcffffffffffffff0038000000000000002000d80550f506000000040019b0eaa476e83c0000022d\
    00000070636f210300050f0401043b0000002500e0000000000000008000210000000000000008004d11089d\
    77a6010000080000000200000000000000024f00000070636f210300050f0401043b0000002600d0f5ffffff\
    ffffffff06c402000000000000e00572992fed496fd296f70f0000fc68dbb6f51f0000f8d1b66deb3f3f0000\
    a06ddbd67f7eb4050080b62d0000080000000500000000000000028500000070636f210300050f0401043b00\
    000010000800000000000000740000c0bb776c7d3a778659e9d35954ee8c31513b366e6553cf52311088dc19\
    6dc498900553e00a36006d1fcaa6a8a76749392a464619cf2553a14c1e8136026d1813bc822cdc868fd959f4\
    935c0406a0f765fb381e7d6695d7621538dd053349caf151540c0bb131ce6b00022400000070636f21030005\
    0f0401043b000000100000000000000000000c003f801fc00fe0070000024400000070636f210300050f0401\
    043b00001061038065cdffffffffffff0fa026000000000000000290290100000000004000a4060000000000\
    801244629091e01a1bd4e926000009d15699";

fn bytes(hex: &str) -> Vec<u8> {
    let pairs = hex.as_bytes().chunks(2);
    let pair = |pair: &[u8]| {
        let text = std::str::from_utf8(pair).expect("ASCII");
        u8::from_str_radix(text, 16).expect("a hexadecimal number")
    };
    pairs.map(pair).collect()
}

#[test]
fn trades_of_blocks_of_version_3_are_read() {
    for (hex, count) in [(PLAIN_3, 7), (PACKED_3, 60)] {
        let block = bytes(hex);
        assert_eq!(block[0], 3, "another version");
        assert_eq!(decoded_trades(&block), Ok(bursts(count)));
    }
}

#[test]
fn bars_of_blocks_of_version_3_are_read() {
    let rows = [untold(1), untold(2)];
    let mut block = encode_bars(Timeframe::MINUTE, &rows).expect("sound bars");
    set_version(&mut block, 3);
    assert_eq!(decoded_bars(Timeframe::MINUTE, &block), Ok(rows.to_vec()));
}

#[test]
fn trades_of_one_order_take_less_room_than_in_version_3() {
    // The rows of a sealed block.
    let rows = bursts(4_096);
    let block = encode_trades(&rows).expect("sound trades");
    assert_eq!(decoded_trades(&block), Ok(rows));
    // In version 3.
    let before = 12_232;
    assert!(
        block.len() < before,
        "{} bytes beside {before}",
        block.len()
    );
}
