//! Parquet: a row group for each page.

use std::io;
use std::sync::Arc;

use market_core::Amount;
use parquet::basic::{Compression, LogicalType, Repetition, TimeUnit, Type as Physical};
use parquet::data_type::{
    ByteArray, ByteArrayType, DataType, FixedLenByteArray, FixedLenByteArrayType, Int64Type,
};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::types::{Type, TypePtr};

use super::output::Output;
use crate::api::arrow::{Column, Values};

const DECIMAL_BYTES: i32 = 16;
const DECIMAL_DIGITS: i32 = 38;
/// Decimal places of prices and sums.
const DECIMAL_PLACES: u32 = 18;

/// A file whose columns are known with its first page.
pub(super) enum ParquetFile {
    Empty(Output),
    Begun(SerializedFileWriter<Output>),
    /// It failed: nothing more is written.
    Ended,
}

fn failed(error: ParquetError) -> io::Error {
    match error {
        ParquetError::External(error) => match error.downcast::<io::Error>() {
            Ok(error) => *error,
            Err(error) => io::Error::other(error),
        },
        error => io::Error::other(error),
    }
}

fn field(column: &Column) -> Result<TypePtr, ParquetError> {
    let timestamp = |unit| LogicalType::timestamp(true, unit);
    let (physical, logical, repetition) = match &column.values {
        Values::Millis(_) => (
            Physical::INT64,
            timestamp(TimeUnit::MILLIS),
            Repetition::OPTIONAL,
        ),
        Values::Micros(_) => (
            Physical::INT64,
            timestamp(TimeUnit::MICROS),
            Repetition::OPTIONAL,
        ),
        Values::U64(_) => (
            Physical::INT64,
            LogicalType::integer(64, false),
            Repetition::OPTIONAL,
        ),
        Values::Text(_) => (
            Physical::BYTE_ARRAY,
            LogicalType::String,
            Repetition::REQUIRED,
        ),
        Values::Decimals(_) | Values::SomeDecimals(_) => {
            let repetition = match &column.values {
                Values::SomeDecimals(_) => Repetition::OPTIONAL,
                _ => Repetition::REQUIRED,
            };
            let places = i32::try_from(DECIMAL_PLACES).unwrap_or(i32::MAX);
            let field = Type::primitive_type_builder(column.name, Physical::FIXED_LEN_BYTE_ARRAY)
                .with_length(DECIMAL_BYTES)
                .with_precision(DECIMAL_DIGITS)
                .with_scale(places)
                .with_logical_type(Some(LogicalType::decimal(places, DECIMAL_DIGITS)))
                .with_repetition(repetition);
            return field.build().map(Arc::new);
        }
    };
    let field = Type::primitive_type_builder(column.name, physical)
        .with_logical_type(Some(logical))
        .with_repetition(repetition);
    field.build().map(Arc::new)
}

/// Mantissa at [`DECIMAL_PLACES`], big endian.
fn decimal(text: &str) -> io::Result<FixedLenByteArray> {
    let mantissa = Amount::parse(text).and_then(|amount| {
        let (mantissa, scale) = amount.parts();
        let factor = 10i128.checked_pow(DECIMAL_PLACES.checked_sub(scale)?)?;
        let digits_max = 10i128.pow(DECIMAL_DIGITS.unsigned_abs());
        mantissa
            .checked_mul(factor)
            .filter(|value| *value < digits_max)
    });
    let mantissa = mantissa.ok_or_else(|| {
        let what = format!(
            "{text} does not fit DECIMAL({DECIMAL_DIGITS}, {DECIMAL_PLACES}): use --format csv, ndjson or arrow"
        );
        io::Error::new(io::ErrorKind::InvalidData, what)
    })?;
    Ok(ByteArray::from(mantissa.to_be_bytes().to_vec()).into())
}

impl ParquetFile {
    pub(super) fn new(output: Output) -> Self {
        Self::Empty(output)
    }

    /// The file with these columns, which are those of every page.
    fn begun(&mut self, columns: &[Column]) -> io::Result<&mut SerializedFileWriter<Output>> {
        if let Self::Empty(_) = self
            && let Self::Empty(output) = std::mem::replace(self, Self::Ended)
        {
            let fields: Result<Vec<_>, _> = columns.iter().map(field).collect();
            let schema = Type::group_type_builder("rows").with_fields(fields.map_err(failed)?);
            let schema = Arc::new(schema.build().map_err(failed)?);
            let properties = WriterProperties::builder().set_compression(Compression::SNAPPY);
            let properties = Arc::new(properties.build());
            let file = SerializedFileWriter::new(output, schema, properties).map_err(failed)?;
            *self = Self::Begun(file);
        }
        match self {
            Self::Begun(file) => Ok(file),
            Self::Empty(_) | Self::Ended => Err(io::Error::other("the export has failed before")),
        }
    }

    pub(super) fn write(&mut self, columns: &[Column], rows: usize) -> io::Result<()> {
        let file = self.begun(columns)?;
        if rows == 0 {
            return Ok(());
        }
        let mut group = file.next_row_group().map_err(failed)?;
        for column in columns {
            match &column.values {
                Values::Millis(values) | Values::Micros(values) => {
                    put_optional(&mut group, values)?
                }
                Values::U64(values) => {
                    let values: Vec<_> = values
                        .iter()
                        .map(|value| value.map(u64::cast_signed))
                        .collect();
                    put_optional(&mut group, &values)?;
                }
                Values::Text(texts) => {
                    let texts: Vec<_> = texts.iter().map(|text| text.as_str().into()).collect();
                    put::<ByteArrayType>(&mut group, &texts, None)?;
                }
                Values::Decimals(texts) => {
                    let values: io::Result<Vec<_>> =
                        texts.iter().map(|text| decimal(text)).collect();
                    put::<FixedLenByteArrayType>(&mut group, &values?, None)?;
                }
                Values::SomeDecimals(texts) => {
                    let present = texts.iter().flatten();
                    let values: io::Result<Vec<_>> = present.map(|text| decimal(text)).collect();
                    let levels = levels_of(texts);
                    put::<FixedLenByteArrayType>(&mut group, &values?, Some(&levels))?;
                }
            }
        }
        group.close().map(drop).map_err(failed)
    }

    /// Writes what ends the file.
    pub(super) fn finish(mut self) -> io::Result<Output> {
        // Without a page there are no columns, and a file without columns says that it has no rows.
        self.begun(&[])?;
        match self {
            Self::Begun(file) => file.into_inner().map_err(failed),
            Self::Empty(_) | Self::Ended => Err(io::Error::other("the export has failed before")),
        }
    }
}

type Group<'a> = SerializedRowGroupWriter<'a, Output>;

fn put_optional(group: &mut Group<'_>, values: &[Option<i64>]) -> io::Result<()> {
    let present: Vec<i64> = values.iter().flatten().copied().collect();
    put::<Int64Type>(group, &present, Some(&levels_of(values)))
}

/// Which values there are.
fn levels_of<T>(values: &[Option<T>]) -> Vec<i16> {
    let levels = values.iter().map(|value| i16::from(value.is_some()));
    levels.collect()
}

fn put<T: DataType>(
    group: &mut Group<'_>,
    values: &[T::T],
    levels: Option<&[i16]>,
) -> io::Result<()> {
    let column = group.next_column().map_err(failed)?;
    let mut column = column.ok_or_else(|| io::Error::other("more columns than the first page"))?;
    column
        .typed::<T>()
        .write_batch(values, levels, None)
        .map_err(failed)?;
    column.close().map_err(failed)
}
