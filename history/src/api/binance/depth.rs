//! The order book that the bus retains.

use std::time::Duration;

use market_core::binance::depth::book_number;
use market_core::channel::BOOK;
use market_core::subject;
use market_core::wire::{BookMessage, BookState, JsonMessage, SILENT};
use metrics::counter;
use serde_json::json;
use service::wall_clock_ms;
use tokio::time::timeout;
use tracing::warn;

use super::failure::{self, Answer, Failure};
use super::listing::{Listed, Market};
use super::query::Parameters;

/// How long the bus may take for a book.
const READ_TIME: Duration = Duration::from_secs(2);
/// Binance's greatest limit. A request gets the levels that are there, as on Binance.
const LIMIT_MAX: usize = 5_000;

/// The best levels of each side.
pub(super) async fn depth(market: &Market, parameters: &Parameters) -> Answer {
    let listed = parameters.symbol(market)?;
    market.check_listed(&listed)?;
    let checked = market.access.check_books(&listed.instrument);
    checked.map_err(|error| failure::forbidden(&error))?;
    let limit = limit(parameters)?;
    let book = newest(market, &listed).await?;
    if book.state == BookState::Invalid {
        let reason = book.reason.as_deref().unwrap_or("unknown");
        return Err(failure::no_right_book(reason));
    }
    let silence_max_ms = i64::from(market.history.api.history_book_silence_ms);
    let age_ms = wall_clock_ms().saturating_sub(book.published_us.div_euclid(1_000));
    if age_ms > silence_max_ms {
        return Err(failure::no_right_book(SILENT));
    }
    let limit = limit.unwrap_or(LIMIT_MAX);
    let answer = json!({
        // The number of the streams: a client applies their events to this book.
        "lastUpdateId": book_number(book.epoch, book.seq, false),
        "bids": &book.bids[..limit.min(book.bids.len())],
        "asks": &book.asks[..limit.min(book.asks.len())],
    });
    Ok(answer.to_string())
}

/// How many levels of each side are wanted; `None` is all that are there.
fn limit(parameters: &Parameters) -> Result<Option<usize>, Failure> {
    let Some(limit) = parameters.number("limit")? else {
        return Ok(None);
    };
    let limit = usize::try_from(limit).ok();
    match limit.filter(|limit| (1..=LIMIT_MAX).contains(limit)) {
        Some(limit) => Ok(Some(limit)),
        None => {
            let what_to_write = format!("write a number of levels from 1 to {LIMIT_MAX}");
            Err(failure::invalid("limit", &what_to_write))
        }
    }
}

/// The newest book that was published of a symbol.
async fn newest(market: &Market, listed: &Listed) -> Result<BookMessage, Failure> {
    let instrument = &listed.instrument;
    let subject = subject::of_symbol(&BOOK, &instrument.exchange, &instrument.symbol);
    // As many questions at once as the store may have.
    let place = market.history.reads.begin().await;
    let _place = place.map_err(|_| failure::busy())?;
    let last = market.history.bus.streams().last(&subject);
    let kept = match timeout(READ_TIME, last).await {
        Ok(Ok(kept)) => kept,
        Ok(Err(error)) => {
            warn!(%error, "the bus did not give a book: the client is told to ask again");
            return Err(failure::busy());
        }
        Err(_) => {
            warn!("the bus did not give a book in time: the client is told to ask again");
            return Err(failure::busy());
        }
    };
    let message = kept.ok_or_else(failure::no_book)?;
    BookMessage::read(&message.payload).ok_or_else(|| {
        counter!("history_messages_unreadable_total", "from" => "book").increment(1);
        failure::no_right_book("unreadable")
    })
}
