//! What the publications of a topic say, read once for all streams that are made of it.

use std::sync::Arc;

use bytes::Bytes;
use market_core::Topic;
use market_core::binance::{DayTicker, DepthBook, Minute, TradeEvent};
use market_core::channel::{BOOK, KLINE, TICKER, TRADE};

use crate::topics::state::{BookBytes, StreamBook, StreamPosition};

/// A publication that was read.
#[derive(Clone, Debug)]
pub(super) struct Reading {
    pub(super) json: Bytes,
    pub(super) content: Content,
}

/// What a publication says.
#[derive(Clone, Debug)]
pub(super) enum Content {
    Book(Arc<StreamBook>),
    Ticker(Arc<TickerEvents>),
    Trade(Arc<Aggregate>),
    Minute(Arc<Minute>),
    /// It is none of these.
    Nothing,
}

/// The events of a ticker; `None` for a symbol without a name.
#[derive(Debug)]
pub(super) struct TickerEvents {
    pub(super) mini: Option<Arc<str>>,
    pub(super) whole: Option<Arc<str>>,
}

/// A trade as an aggregate.
#[derive(Debug)]
pub(super) struct Aggregate {
    pub(super) position: StreamPosition,
    pub(super) event: String,
}

/// The readings of the publications of a topic, the newest last. Those in `known` are not read again.
pub(super) fn read(
    source: &Topic,
    publications: Vec<Bytes>,
    known: &[Reading],
    bytes: &Arc<BookBytes>,
) -> Vec<Reading> {
    // The oldest ones go, and new ones come behind the last one that is known.
    let last = known.last().map(|reading| &reading.json);
    let known_upto = publications.iter().rposition(|json| Some(json) == last);
    let known_from = known_upto.map_or(0, |at| (at + 1).saturating_sub(known.len()));
    let skipped = known_upto.map_or(known.len(), |at| known.len().saturating_sub(at + 1));
    let of_known = |at: usize, json: &Bytes| {
        if known_upto.is_none() {
            // A forming bar is the last one, and goes when the next one comes.
            return known.iter().find(|reading| reading.json == *json).cloned();
        }
        let reading = known.get(at.checked_sub(known_from)? + skipped)?;
        (reading.json == *json).then(|| reading.clone())
    };
    let publications = publications.into_iter().enumerate();
    let one = |(at, json): (usize, Bytes)| {
        of_known(at, &json).unwrap_or_else(|| Reading {
            content: content(source, &json, bytes),
            json,
        })
    };
    publications.map(one).collect()
}

fn content(source: &Topic, json: &Bytes, bytes: &Arc<BookBytes>) -> Content {
    let is_of =
        |channel: market_core::channel::Channel| channel.rest(source.as_str(), ':').is_some();
    let content = if is_of(BOOK) {
        DepthBook::read(json).map(|book| Content::Book(bytes.hold(book)))
    } else if is_of(TICKER) {
        DayTicker::read(json).map(|ticker| {
            Content::Ticker(Arc::new(TickerEvents {
                mini: ticker.mini_event().map(Arc::from),
                whole: ticker.event().map(Arc::from),
            }))
        })
    } else if is_of(KLINE) {
        Minute::read(json).map(|minute| Content::Minute(Arc::new(minute)))
    } else if is_of(TRADE) {
        TradeEvent::read(json).and_then(|trade| {
            let (epoch, seq) = trade.place();
            Some(Content::Trade(Arc::new(Aggregate {
                position: StreamPosition { epoch, seq },
                event: trade.aggregate_event()?,
            })))
        })
    } else {
        None
    };
    content.unwrap_or(Content::Nothing)
}
