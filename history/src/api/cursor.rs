//! The end of a page of trades as text.

use super::error::ApiError;
use crate::store::{Cursor, Order};

/// Reads and writes cursors of trades: `v1.asc.1723206855000.4711`.
pub(super) struct TradeCursor;

impl TradeCursor {
    pub(super) fn text(cursor: Cursor, order: Order) -> String {
        format!("v1.{}.{}.{}", name(order), cursor.at_ms, cursor.id)
    }

    /// # Errors
    /// If it is the cursor of another question.
    pub(super) fn read(text: Option<&str>, order: Order) -> Result<Option<Cursor>, ApiError> {
        let Some(text) = text else {
            return Ok(None);
        };
        let parts: Vec<&str> = text.splitn(5, '.').collect();
        let cursor = match parts[..] {
            ["v1", direction, at_ms, id] if direction == name(order) => {
                let times = at_ms.parse().ok().zip(id.parse().ok());
                times.map(|(at_ms, id)| Cursor { at_ms, id })
            }
            _ => None,
        };
        cursor
            .map(Some)
            .ok_or_else(|| ApiError::bad("bad_cursor", crate::range::ParseCursorError.to_string()))
    }
}

fn name(order: Order) -> &'static str {
    match order {
        Order::Ascending => "asc",
        Order::Descending => "desc",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_of_trades_is_read_as_it_was_written_and_in_its_direction_only() {
        let cursor = Cursor {
            at_ms: -5,
            id: u64::MAX,
        };
        let text = TradeCursor::text(cursor, Order::Ascending);
        assert_eq!(
            TradeCursor::read(Some(&text), Order::Ascending),
            Ok(Some(cursor))
        );
        for text in [
            text.as_str(),
            "v1.desc.1",
            "v1.desc.1.2.3",
            "v1.desc.x.1",
            "x",
        ] {
            assert!(TradeCursor::read(Some(text), Order::Descending).is_err());
        }
    }
}
