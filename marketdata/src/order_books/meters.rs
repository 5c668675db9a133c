//! The metrics of a venue's order books.

use market_core::BookFault;
use metrics::{Counter, Gauge};

/// What is measured at a venue's order books.
#[derive(Clone)]
pub(super) struct BookMeters {
    exchange: &'static str,
    pub(super) frames: Counter,
    pub(super) malformed: Counter,
    pub(super) unknown: Counter,
    pub(super) refused: Counter,
    pub(super) changed: Counter,
    pub(super) repeated: Counter,
    pub(super) waiting: Counter,
    pub(super) unsubscribed: Counter,
    pub(super) dropped: Counter,
    pub(super) valid: Gauge,
    levels: Gauge,
}

impl BookMeters {
    /// The venue's meters.
    pub(super) fn new(exchange: &'static str) -> Self {
        let frames = |kind: &'static str| metrics::counter!("marketdata_book_frames_total", "exchange" => exchange, "kind" => kind);
        let updates = |fate: &'static str| metrics::counter!("marketdata_book_updates_total", "exchange" => exchange, "fate" => fate);
        Self {
            exchange,
            frames: frames("any"),
            malformed: frames("malformed"),
            unknown: frames("unknown"),
            refused: frames("refused"),
            changed: updates("changed"),
            repeated: updates("repeated"),
            waiting: updates("waiting"),
            unsubscribed: updates("unsubscribed"),
            dropped: updates("dropped"),
            valid: metrics::gauge!("marketdata_books_valid", "exchange" => exchange),
            levels: metrics::gauge!("marketdata_book_levels", "exchange" => exchange),
        }
    }

    /// A book had so many levels, and has so many now.
    pub(super) fn levels(&self, before: usize, now: usize) {
        match now.checked_sub(before) {
            Some(more) => self.levels.increment(more as f64),
            None => self.levels.decrement((before - now) as f64),
        }
    }

    /// A book is wrong from now on.
    pub(super) fn fault(&self, fault: BookFault) {
        metrics::counter!("marketdata_book_faults_total", "exchange" => self.exchange, "reason" => fault.name())
            .increment(1);
    }

    /// A snapshot came, or it did not.
    pub(super) fn snapshot(&self, result: &'static str) {
        metrics::counter!("marketdata_book_snapshots_total", "exchange" => self.exchange, "result" => result)
            .increment(1);
    }

    /// A connection ended.
    pub(super) fn disconnected(&self, reason: &'static str) {
        metrics::counter!("marketdata_book_disconnects_total", "exchange" => self.exchange, "reason" => reason)
            .increment(1);
    }
}
