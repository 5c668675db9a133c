//! Snapshots of order books as rows of `market_orderbooks`.

use market_core::book::BookLevels;
use market_core::{Price, PriceLevel, Quantity};

use super::binary::{Reader, put_decimal, put_length, put_some, put_text};
use super::{ClickHouseStore, READ_ROWS_MAX, check_time, instant, quoted, schema, span_of};
use crate::store::remote::Purpose;
use crate::store::{BookSnapshot, BookStore, Cursor, Instrument, Page, Range, StoreError};

const WRITTEN: &str =
    "exchange, symbol, time, event_ms, update_id, epoch, seq, bids, asks, is_exact";
const READ: &str = "time, event_ms, update_id, epoch, seq, bids, asks";
/// Bytes after which a request is sent.
const INSERT_BYTES: usize = 4 << 20;

/// Appends an array of pairs. False if a number does not fit its column.
fn put_side(out: &mut Vec<u8>, levels: &[PriceLevel]) -> bool {
    put_length(out, levels.len());
    let mut is_exact = true;
    for level in levels {
        is_exact &= put_decimal(out, level.price.parts());
        is_exact &= put_decimal(out, level.quantity.parts());
    }
    is_exact
}

fn read_side(reader: &mut Reader<'_>) -> Option<Vec<PriceLevel>> {
    let mut levels = Vec::new();
    for _ in 0..reader.length()? {
        let (price, quantity) = (reader.decimal()?, reader.decimal()?);
        levels.push(PriceLevel {
            price: Price::from_parts(price.0, price.1)?,
            quantity: Quantity::from_parts(quantity.0, quantity.1)?,
        });
    }
    Some(levels)
}

fn put_row(out: &mut Vec<u8>, book: &BookSnapshot) {
    put_text(out, &book.instrument.exchange);
    put_text(out, book.instrument.symbol.as_str());
    out.extend(book.published_ms.to_le_bytes());
    put_some(out, book.event_ms, |out, at_ms| {
        out.extend(at_ms.to_le_bytes());
    });
    put_text(out, &book.update_id);
    out.extend(book.epoch.to_le_bytes());
    out.extend(book.seq.to_le_bytes());
    let is_exact = put_side(out, &book.levels.bids);
    let is_exact = put_side(out, &book.levels.asks) && is_exact;
    out.push(is_exact.into());
}

impl BookStore for ClickHouseStore {
    fn append_books(&self, books: &[BookSnapshot]) -> Result<(), StoreError> {
        for book in books {
            self.check_book(book)?;
        }
        let mut bytes = Vec::new();
        for (index, book) in books.iter().enumerate() {
            put_row(&mut bytes, book);
            if bytes.len() >= INSERT_BYTES || index + 1 == books.len() {
                self.insert(schema::ORDERBOOKS, WRITTEN, std::mem::take(&mut bytes))?;
            }
        }
        Ok(())
    }

    fn check_book(&self, book: &BookSnapshot) -> Result<(), StoreError> {
        check_time(book.published_ms)
    }

    fn books(
        &self,
        instrument: &Instrument,
        range: &Range,
    ) -> Result<Page<BookSnapshot>, StoreError> {
        let (from_ms, to_ms) = span_of(range);
        if from_ms >= to_ms {
            let (rows, next) = (Vec::new(), None);
            return Ok(Page { rows, next });
        }
        let limit = range.limit.min(READ_ROWS_MAX);
        let sql = format!(
            "SELECT {READ} FROM {} FINAL WHERE exchange = {} AND symbol = {} AND time >= {} AND time < {} ORDER BY time LIMIT {}",
            self.table(schema::ORDERBOOKS),
            quoted(&instrument.exchange),
            quoted(instrument.symbol.as_str()),
            instant(from_ms),
            instant(to_ms),
            limit.saturating_add(1)
        );
        let bytes = self.ask(&sql, Purpose::Read)?;
        let rows = self.rows(&bytes, |reader| {
            Some(BookSnapshot {
                instrument: instrument.clone(),
                published_ms: reader.i64()?,
                event_ms: reader.some(Reader::i64)?,
                update_id: reader.text()?.into(),
                epoch: reader.u64()?,
                seq: reader.u64()?,
                levels: BookLevels {
                    bids: read_side(reader)?,
                    asks: read_side(reader)?,
                },
            })
        })?;
        Ok(Page::of(rows, limit, |book| Cursor {
            at_ms: book.published_ms,
            id: 0,
        }))
    }
}
