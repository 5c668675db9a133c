//! What is published, as JSON: one struct for each payload, with its encoder and its decoder.
//!
//! The publisher encodes a payload once, and every reader gets the same bytes. Bars and trades are
//! written by hand, as there are many of them; tests read them back with serde.

pub mod alert;
pub mod archive;
pub mod bar;
mod bar_head;
mod bar_message;
mod bar_row;
pub mod book;
pub mod boundary;
pub mod feed_status;
pub mod gap;
pub mod history;
mod json;
pub mod quote;
pub mod ticker;
pub mod trade;

pub use alert::AlertMessage;
pub use bar::{Stamp, encode_bar, encode_row, quality_name, write_row};
pub use bar_head::BarHead;
pub use bar_message::BarMessage;
pub use book::{BookChangesMessage, BookMessage, BookState, SILENT};
pub use boundary::BoundaryMark;
pub use feed_status::{FeedState, FeedStatusMessage};
pub use gap::GapMessage;
pub use history::{HistoryOrder, HistoryPage, HistoryQuery};
pub use json::JsonMessage;
pub use quote::QuoteMessage;
pub use ticker::{TickerMessage, TickerSource};
pub use trade::{TradeMessage, encode_trade, encode_trade_entry};
