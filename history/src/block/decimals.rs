//! Columns of exact decimals.

use super::column::{ColumnReader, ColumnWriter, PackedColumn};
use super::error::BlockError;

/// The most decimal places of a sum: those of a price and a quantity together.
const SCALE_MAX: u32 = 56;
/// In place of a scale: each row has its own.
const NO_SCALE: i64 = -1;

/// Decimals of one column.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Decimals {
    /// Integers at one scale: `mantissa / 10^scale`.
    Scaled {
        /// Decimal places of all rows.
        scale: u32,
        /// A row each.
        mantissas: Vec<i64>,
    },
    /// Mantissa and scale of each row.
    Wide(Vec<(i128, u32)>),
}

const POWERS: [i128; 39] = {
    let mut powers = [1i128; 39];
    let mut index = 1;
    while index < 39 {
        powers[index] = powers[index - 1] * 10;
        index += 1;
    }
    powers
};

/// The mantissa of `mantissa / 10^scale` at another scale.
pub(super) fn at_scale((mantissa, own): (i128, u32), scale: u32) -> Option<i128> {
    let factor = POWERS.get(usize::try_from(scale.checked_sub(own)?).ok()?)?;
    mantissa.checked_mul(*factor)
}

impl Decimals {
    /// Integers at the highest scale of all `columns`, if all values fit.
    pub(super) fn common_scale<const N: usize>(
        columns: [&[(i128, u32)]; N],
    ) -> Option<(u32, [Vec<i64>; N])> {
        let scales = columns.iter().flat_map(|column| column.iter());
        let scale = scales.map(|(_, scale)| *scale).max()?;
        let mut scaled = columns.map(|column| Vec::with_capacity(column.len()));
        for (column, out) in columns.iter().zip(&mut scaled) {
            for value in *column {
                out.push(i64::try_from(at_scale(*value, scale)?).ok()?);
            }
        }
        Some((scale, scaled))
    }

    /// Mantissa and scale of a row.
    #[must_use]
    #[inline]
    pub fn get(&self, row: usize) -> (i128, u32) {
        match self {
            Self::Scaled { scale, mantissas } => (i128::from(mantissas[row]), *scale),
            Self::Wide(values) => values[row],
        }
    }
}

/// Writes a scale for the columns that follow; `None` says that they have mantissas and scales.
pub(super) fn put_scale(
    writer: &mut ColumnWriter,
    rows: usize,
    scale: Option<u32>,
) -> Result<(), BlockError> {
    writer.put(&vec![scale.map_or(NO_SCALE, i64::from); rows])
}

pub(super) fn take_scale(reader: &mut ColumnReader<'_>) -> Result<Option<u32>, BlockError> {
    let scales = reader.take()?;
    let scale = *scales.first().ok_or(BlockError::Impossible("no rows"))?;
    if scale == NO_SCALE {
        return Ok(None);
    }
    let scale = u32::try_from(scale).ok().filter(|at| *at <= SCALE_MAX);
    scale.map(Some).ok_or(BlockError::Impossible("a scale"))
}

/// Writes mantissas and scales as they are.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "a mantissa is cut into two halves, which the reader joins"
)]
pub(super) fn put_wide(
    writer: &mut ColumnWriter,
    values: &[(i128, u32)],
) -> Result<(), BlockError> {
    let column = |part: fn(&(i128, u32)) -> i64| values.iter().map(part).collect::<Vec<_>>();
    writer.put(&column(|(mantissa, _)| (mantissa >> 64) as i64))?;
    writer.put(&column(|(mantissa, _)| *mantissa as u64 as i64))?;
    writer.put(&column(|(_, scale)| i64::from(*scale)))
}

pub(super) fn take_wide(reader: &mut ColumnReader<'_>) -> Result<Vec<(i128, u32)>, BlockError> {
    let columns = [
        reader.take_packed()?,
        reader.take_packed()?,
        reader.take_packed()?,
    ];
    unpack_wide(columns)
}

fn unpack_wide([high, low, scales]: [PackedColumn<'_>; 3]) -> Result<Vec<(i128, u32)>, BlockError> {
    let (high, low, scales) = (high.unpack()?, low.unpack()?, scales.unpack()?);
    let halves = high.into_iter().zip(low);
    let values = halves.zip(scales).map(|((high, low), scale)| {
        let mantissa = (i128::from(high) << 64) | i128::from(low.cast_unsigned());
        let scale = u32::try_from(scale).ok().filter(|at| *at <= SCALE_MAX)?;
        Some((mantissa, scale))
    });
    let values: Option<Vec<_>> = values.collect();
    values.ok_or(BlockError::Impossible("a scale"))
}

/// A column of decimals that is not unpacked yet.
#[derive(Clone, Copy, Debug)]
pub(super) enum PackedDecimals<'a> {
    Scaled {
        scale: u32,
        mantissas: PackedColumn<'a>,
    },
    Wide([PackedColumn<'a>; 3]),
}

impl<'a> PackedDecimals<'a> {
    pub(super) fn take(reader: &mut ColumnReader<'a>) -> Result<Self, BlockError> {
        Ok(match take_scale(reader)? {
            Some(scale) => Self::Scaled {
                scale,
                mantissas: reader.take_packed()?,
            },
            None => Self::Wide([
                reader.take_packed()?,
                reader.take_packed()?,
                reader.take_packed()?,
            ]),
        })
    }

    /// `undo` makes mantissas at one scale from what the column holds.
    pub(super) fn unpack(self, undo: impl FnOnce(&mut [i64])) -> Result<Decimals, BlockError> {
        match self {
            Self::Scaled { scale, mantissas } => {
                let mut mantissas = mantissas.unpack()?;
                undo(&mut mantissas);
                Ok(Decimals::Scaled { scale, mantissas })
            }
            Self::Wide(columns) => unpack_wide(columns).map(Decimals::Wide),
        }
    }
}
