//! Rows as bytes: up to [`BLOCK_ROWS_MAX`] bars or trades of one series, column by column.
//!
//! ```text
//! version, kind, rows     1 + 1 + 4 bytes, little endian
//! columns                 each: encoding (1), length (4), bytes
//! CRC-32 of all before    4 bytes
//! ```
//!
//! A column is a list of `i64`. It holds what the row before and the other columns do not tell
//! already, for example the open less the previous close. Decimals are integers at one scale for
//! the whole block; where one row does not fit, the columns keep mantissa and scale of each row. So
//! every decimal comes back exactly.
//!
//! Torn and hostile bytes give a [`BlockError`]. Decoding allocates no more than the rows need.

mod bars;
mod column;
mod decimals;
mod error;
mod layout;
mod trades;

pub use bars::{BarColumns, decode_bars, encode_bars};
pub(crate) use bars::{check_bar, decode_some_bars};
pub use decimals::Decimals;
pub use error::BlockError;
pub use layout::BLOCK_ROWS_MAX;
pub(crate) use trades::decode_some_trades;
pub use trades::{TradeBlock, decode_trades, encode_trades};
