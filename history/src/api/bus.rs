//! Answers the questions of gateways: `history.query`.

use std::time::Duration;

use ::bus::{BusError, Headers, Question};
use bytes::Bytes;
use market_core::channel::KLINE;
use market_core::subject::HISTORY_QUERY;
use market_core::wire::history::BARS_PER_PAGE_MAX;
use market_core::wire::{HistoryOrder, HistoryPage, HistoryQuery};
use market_core::{Symbol, Topic};
use metrics::counter;
use service::Shutdown;
use tokio::task::{JoinSet, spawn_blocking};
use tracing::{debug, warn};

use super::error::ApiError;
use crate::answer::FILL_TIME_OF_GATEWAYS;
use crate::range::{BarQuery, RangeError};
use crate::store::{Instrument, Order};
use crate::stream::Content;
use crate::{History, Width};

/// The responders of one fleet share the questions.
const GROUP: &str = "history";
/// Pause after the bus could not do what was asked.
const BUS_REST: Duration = Duration::from_millis(500);
/// The most bytes of an answer: the bus takes 1 MiB.
const ANSWER_BYTES_MAX: usize = 900_000;
/// Questions that are answered or wait for the store at once.
const QUESTIONS_MAX: usize = 64;

/// Answers until the shutdown, or until the bus has drained. It begins once the bars that the bus
/// keeps are stored: each question goes to one history of the fleet, and one that has just begun
/// would answer that there are no bars.
///
/// # Errors
/// If the bus refuses the responder, and a repetition would not help.
pub(crate) async fn serve(history: History, shutdown: Shutdown) -> Result<(), BusError> {
    let bus = std::sync::Arc::clone(&history.bus);
    let work = async {
        let bars = Content::Bars.name();
        history.progress.until_caught_up(bars).await;
        loop {
            let mut responder = match bus.requests().serve(HISTORY_QUERY, GROUP).await {
                Ok(responder) => responder,
                Err(error) if error.is_retryable() => {
                    tokio::time::sleep(BUS_REST).await;
                    continue;
                }
                Err(error) => return Err(error),
            };
            let mut answers = JoinSet::new();
            while let Some(question) = responder.recv().await {
                while answers.len() >= QUESTIONS_MAX {
                    answers.join_next().await;
                }
                while answers.try_join_next().is_some() {}
                answers.spawn(answer(history.clone(), question));
            }
            return Err(BusError::Closed);
        }
    };
    tokio::select! {
        result = work => result,
        () = shutdown.triggered() => Ok(()),
    }
}

async fn answer(history: History, question: Question) {
    let payload = question.message.payload.clone();
    let page = page(&history, &payload).await;
    let outcome = if page.is_ok() { "ok" } else { "refused" };
    counter!("history_questions_total", "outcome" => outcome).increment(1);
    let sent = match page {
        Ok(page) => question.answer(Headers::default(), page).await,
        Err(error) => {
            debug!(%error, "a question was refused");
            question.refuse(&format!("{}: {error}", error.code)).await
        }
    };
    if let Err(error) = sent {
        warn!(%error, "an answer could not be sent");
    }
}

/// The answer to an encoded question.
async fn page(history: &History, payload: &[u8]) -> Result<Bytes, ApiError> {
    let asked: HistoryQuery = serde_json::from_slice(payload)
        .map_err(|error| ApiError::bad("bad_request", error.to_string()))?;
    let Some((query, topic)) = read(history, &asked)? else {
        // It may trade later: no error, no bars.
        let nothing = HistoryPage {
            exchange: asked.exchange.unwrap_or_default(),
            bars: Vec::new(),
            next: None,
        };
        return json(&nothing);
    };
    history.reach_back(&query, FILL_TIME_OF_GATEWAYS).await;
    let place = history.reads.begin().await?;
    let history = history.clone();
    let task = spawn_blocking(move || {
        let _place = place;
        encode(&history, query, &topic)
    });
    task.await.unwrap_or_else(|error| {
        tracing::error!(%error, "an answer panicked");
        Err(ApiError::internal())
    })
}

/// What is asked, and the topic that the bars get; `None` if nothing of the symbol is stored.
fn read(history: &History, asked: &HistoryQuery) -> Result<Option<(BarQuery, Topic)>, ApiError> {
    let parts = KLINE.rest(&asked.topic, ':');
    let (width, symbol) = parts
        .and_then(|parts| parts.split_once(':'))
        .ok_or_else(|| {
            ApiError::bad(
                "bad_topic",
                "write a topic of bars, such as kline:7m:BTC-USD",
            )
        })?;
    let symbol: Symbol = super::params::symbol(symbol)?;
    let width: Width = width
        .parse()
        .map_err(|error: crate::ParseWidthError| ApiError::bad("bad_width", error.to_string()))?;
    let instrument = match history.instrument(&symbol, asked.exchange.as_deref()) {
        Err(RangeError::Unknown { .. }) => return Ok(None),
        instrument => instrument?,
    };
    let query = BarQuery {
        instrument,
        width,
        from_ms: asked.from_ms,
        to_ms: asked.to_ms,
        limit: asked.limit.clamp(1, BARS_PER_PAGE_MAX),
        order: match asked.order {
            HistoryOrder::Asc => Order::Ascending,
            HistoryOrder::Desc => Order::Descending,
        },
        has_flat_bars: asked.has_flat_bars,
        as_of_ms: asked.as_of_ms,
        known_after_ms: asked.known_after_ms,
        cursor: asked
            .cursor
            .as_deref()
            .map(str::parse)
            .transpose()
            .map_err(RangeError::Cursor)?,
    };
    Ok(Some((query, Topic::bars(width, &symbol))))
}

/// Reads and encodes a page. A page that is too long for the bus is read again with half the limit.
fn encode(history: &History, mut query: BarQuery, topic: &Topic) -> Result<Bytes, ApiError> {
    loop {
        let answer = history.bars(&query, false)?;
        let raw = |bar: Bytes| {
            let text = String::from_utf8(bar.into()).ok()?;
            serde_json::value::RawValue::from_string(text).ok()
        };
        let Instrument { exchange, symbol } = &query.instrument;
        let rows = answer.page.bars.iter();
        let encoded = rows.map(|row| row.encode(topic, exchange, symbol, query.width));
        let bars: Option<Vec<_>> = encoded.map(raw).collect();
        let page = HistoryPage {
            exchange: exchange.to_string(),
            bars: bars.ok_or_else(ApiError::internal)?,
            next: answer.page.next.map(|next| next.to_string()),
        };
        let json = json(&page)?;
        if json.len() <= ANSWER_BYTES_MAX || query.limit <= 1 {
            return Ok(json);
        }
        query.limit = (query.limit / 2).max(1);
    }
}

fn json(page: &HistoryPage) -> Result<Bytes, ApiError> {
    let json = serde_json::to_vec(page).map_err(|_| ApiError::internal())?;
    Ok(json.into())
}
