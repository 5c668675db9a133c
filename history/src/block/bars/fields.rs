//! Prices, volumes and quote volumes as the columns of a block have them.

use super::super::column::ColumnReader;
use super::super::decimals::{Decimals, take_scale, take_wide};
use super::super::error::BlockError;

/// A mantissa and its scale.
pub(super) type Parts = (i128, u32);

/// The volume that takers sold, at the lowest price.
pub(super) fn sold_at_low(volume: i64, taker_buy: i64, low: i64) -> i128 {
    // Only hostile bytes wrap: the sums of real bars are checked before they are stored.
    let sold = i128::from(volume) - i128::from(taker_buy);
    sold.wrapping_mul(i128::from(low))
}

/// The volume that takers bought, at the highest price.
pub(super) fn bought_at_high(taker_buy: i64, high: i64) -> i128 {
    i128::from(taker_buy) * i128::from(high)
}

#[derive(Clone, Debug)]
pub(super) enum Prices {
    Scaled {
        scale: u32,
        open: Vec<i64>,
        above: Vec<i64>,
        below: Vec<i64>,
        close: Vec<i64>,
    },
    Wide([Decimals; 4]),
}

#[derive(Clone, Debug)]
pub(super) enum Volumes {
    Scaled {
        scale: u32,
        volume: Vec<i64>,
        lesser: Vec<i64>,
    },
    Wide([Decimals; 2]),
}

#[derive(Clone, Debug)]
pub(super) enum Quotes {
    Differences {
        scale: u32,
        sold: Vec<i64>,
        bought: Vec<i64>,
    },
    Wide([Decimals; 2]),
}

impl Prices {
    pub(super) fn take(reader: &mut ColumnReader<'_>) -> Result<Self, BlockError> {
        let Some(scale) = take_scale(reader)? else {
            let mut wide = || take_wide(reader).map(Decimals::Wide);
            return Ok(Self::Wide([wide()?, wide()?, wide()?, wide()?]));
        };
        let [mut open, above, below, mut close] = reader.take_many()?;
        let mut close_before = 0i64;
        for (open, close) in open.iter_mut().zip(&mut close) {
            *open = open.wrapping_add(close_before);
            *close = close.wrapping_add(*open);
            close_before = *close;
        }
        Ok(Self::Scaled {
            scale,
            open,
            above,
            below,
            close,
        })
    }

    /// Open, high, low and close.
    pub(super) fn get(&self, row: usize) -> [Parts; 4] {
        match self {
            Self::Scaled {
                scale,
                open,
                above,
                below,
                close,
            } => {
                let (open, close) = (open[row], close[row]);
                let high = above[row].wrapping_add(open.max(close));
                let low = open.min(close).wrapping_sub(below[row]);
                [open, high, low, close].map(|mantissa| (mantissa.into(), *scale))
            }
            Self::Wide(columns) => std::array::from_fn(|index| columns[index].get(row)),
        }
    }
}

impl Volumes {
    pub(super) fn take(reader: &mut ColumnReader<'_>) -> Result<Self, BlockError> {
        let Some(scale) = take_scale(reader)? else {
            let mut wide = || take_wide(reader).map(Decimals::Wide);
            return Ok(Self::Wide([wide()?, wide()?]));
        };
        let [volume, lesser] = reader.take_many()?;
        Ok(Self::Scaled {
            scale,
            volume,
            lesser,
        })
    }

    /// All, and what takers bought.
    pub(super) fn get(&self, row: usize, bought_more: bool) -> [Parts; 2] {
        match self {
            Self::Scaled {
                scale,
                volume,
                lesser,
            } => {
                let (volume, lesser) = (volume[row], lesser[row]);
                let taker_buy = if bought_more {
                    volume.wrapping_sub(lesser)
                } else {
                    lesser
                };
                [volume, taker_buy].map(|mantissa| (mantissa.into(), *scale))
            }
            Self::Wide(columns) => std::array::from_fn(|index| columns[index].get(row)),
        }
    }
}

impl Quotes {
    pub(super) fn take(
        reader: &mut ColumnReader<'_>,
        prices: &Prices,
        volumes: &Volumes,
    ) -> Result<Self, BlockError> {
        let Some(scale) = take_scale(reader)? else {
            let mut wide = || take_wide(reader).map(Decimals::Wide);
            return Ok(Self::Wide([wide()?, wide()?]));
        };
        if matches!(prices, Prices::Wide(_)) || matches!(volumes, Volumes::Wide(_)) {
            return Err(BlockError::Impossible("quote volumes without prices"));
        }
        let [sold, bought] = reader.take_many()?;
        Ok(Self::Differences {
            scale,
            sold,
            bought,
        })
    }

    /// All, and what takers bought.
    pub(super) fn get(&self, row: usize, prices: &[Parts; 4], volumes: &[Parts; 2]) -> [Parts; 2] {
        let (scale, sold, bought) = match self {
            Self::Differences {
                scale,
                sold,
                bought,
            } => (*scale, sold[row], bought[row]),
            Self::Wide(columns) => return std::array::from_fn(|index| columns[index].get(row)),
        };
        let ([_, high, low, _], [volume, taker_buy]) = (prices, volumes);
        // Columns with differences have mantissas of 64 bits.
        let small = |parts: &Parts| i64::try_from(parts.0).unwrap_or_default();
        let (volume, taker_buy) = (small(volume), small(taker_buy));
        let taker_quote = bought_at_high(taker_buy, small(high)).wrapping_sub(bought.into());
        let quote = sold_at_low(volume, taker_buy, small(low))
            .wrapping_add(i128::from(sold))
            .wrapping_add(taker_quote);
        [quote, taker_quote].map(|mantissa| (mantissa, scale))
    }
}
