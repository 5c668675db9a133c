//! The end of a page as text.

use std::fmt;
use std::str::FromStr;

use market_core::{Timeframe, UnixMillis};

use crate::Width;
use crate::store::Order;

/// Where the next page begins. Its text is opaque to clients: `v1.7m.1m.asc.1723161240000`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BarCursor {
    width: Width,
    /// The stored bars from which the pages are made. All pages of a range use the same ones.
    pub(super) source: Timeframe,
    order: Order,
    /// Upwards, the start of the next bar; downwards, its end.
    pub(super) at_ms: UnixMillis,
}

/// The text is no cursor, or the cursor of another question.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the cursor does not fit: send the `next` of the page before, with the same width and order, or none for the first page"
)]
pub struct ParseCursorError;

impl BarCursor {
    /// The end of a page of bars of a width, made from a stored timeframe.
    pub(super) fn new(width: Width, order: Order, source: Timeframe, at_ms: UnixMillis) -> Self {
        Self {
            width,
            source,
            order,
            at_ms,
        }
    }

    pub(super) fn width(&self) -> Width {
        self.width
    }

    /// Whether it is the end of a page of a question with this width and order.
    pub(super) fn check(&self, width: Width, order: Order) -> Result<(), ParseCursorError> {
        if (self.width, self.order) == (width, order) {
            Ok(())
        } else {
            Err(ParseCursorError)
        }
    }
}

impl fmt::Display for BarCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let order = match self.order {
            Order::Ascending => "asc",
            Order::Descending => "desc",
        };
        let Self {
            width,
            source,
            at_ms,
            ..
        } = self;
        write!(f, "v1.{width}.{source}.{order}.{at_ms}")
    }
}

impl FromStr for BarCursor {
    type Err = ParseCursorError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts: Vec<&str> = text.splitn(6, '.').collect();
        let ["v1", width, source, order, at_ms] = parts[..] else {
            return Err(ParseCursorError);
        };
        Ok(Self {
            width: width.parse().map_err(|_| ParseCursorError)?,
            source: source.parse().map_err(|_| ParseCursorError)?,
            order: match order {
                "asc" => Order::Ascending,
                "desc" => Order::Descending,
                _ => return Err(ParseCursorError),
            },
            at_ms: at_ms.parse().map_err(|_| ParseCursorError)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_cursor_is_read_as_it_was_written(at_ms in any::<i64>(), count in 1u32..=1_000, is_up in any::<bool>()) {
            let cursor = BarCursor {
                width: format!("{count}m").parse().expect("a width"),
                source: Timeframe::MINUTE,
                order: if is_up { Order::Ascending } else { Order::Descending },
                at_ms,
            };
            prop_assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }

        #[test]
        fn no_text_panics(text in "v1\\.[0-9msM]{0,4}\\.[0-9ms]{0,3}\\.(asc|desc|x)\\.-?[0-9]{0,25}\\.?") {
            let _ = text.parse::<BarCursor>();
        }
    }
}
