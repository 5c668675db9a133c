//! The values that trades and bars consist of: exact numbers, names, widths and times.

pub mod amount;
pub mod clock;
pub mod price;
pub mod symbol;
pub(crate) mod text;
pub mod timeframe;
pub mod unit;
pub mod width;
