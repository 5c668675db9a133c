//! The newest trade of a timeframe.

use serde::{Deserialize, Serialize};

use crate::bar::TradeKey;
use crate::value::price::Price;

/// The trade whose price flat bars repeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LastTrade {
    /// Its time and id, or an upper bound of these.
    pub(crate) key: TradeKey,
    pub(crate) price: Price,
}
