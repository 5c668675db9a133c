//! `/api/v1/`: bars, trades, symbols and completeness.

use std::fmt::Write as _;

use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use market_core::protocol::ResumeToken;
use market_core::{BarState, Timeframe, UnixMillis};
use serde::Serialize;

use super::access::Access;
use super::body::{Answer, Keep};
use super::cursor::TradeCursor;
use super::error::ApiError;
use super::format::{Bars, Format, Trades};
use super::params::Params;
use super::state::Api;
use crate::answer::{BarAnswer, FILL_TIME};
use crate::completeness::{Cause, DAY_MS, SPANS_MAX};
use crate::outages::OutageReason;
use crate::range::{BarQuery, RangeError};
use crate::store::{BarSeries, Instrument, Order, Range};
use crate::{BarRow, Width, completeness};

/// Rows of an answer unless the client says how many.
const LIMIT_DEFAULT: usize = 500;
/// The most rows of an answer.
pub(crate) const LIMIT_MAX: usize = 5_000;
/// A bar may be revised for a while after its end. Then its range is over.
const SETTLED_AFTER_MS: i64 = 60_000;

/// `GET /api/v1/bars`.
pub(super) async fn bars(
    State(api): State<Api>,
    access: Access,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let known = [
        "symbol",
        "exchange",
        "width",
        "from",
        "to",
        "limit",
        "order",
        "fill",
        "as_of",
        "known_after",
        "cursor",
        "forming",
        "format",
    ];
    let params = Params::read(&uri, &known)?;
    let format = Format::of(&params, &headers)?;
    let (symbol, wants_forming) = (params.symbol()?, params.flag("forming")?);
    let instrument = api.history.instrument(&symbol, params.text("exchange"))?;
    let query = BarQuery {
        instrument,
        width: params.width()?,
        from_ms: params.time("from")?,
        to_ms: params.time("to")?,
        limit: params.limit(LIMIT_DEFAULT, LIMIT_MAX)?,
        order: params.order()?,
        has_flat_bars: params.has_flat_bars()?,
        as_of_ms: params.time("as_of")?,
        known_after_ms: params.time("known_after")?,
        cursor: params
            .text("cursor")
            .map(str::parse)
            .transpose()
            .map_err(RangeError::Cursor)?,
    };
    access.check_bars(&query.instrument, query.width)?;
    api.history.reach_back(&query, FILL_TIME).await;
    api.read(move |history| {
        let answer = history.bars(&query, wants_forming)?;
        metrics::counter!("history_bars_sent_total").increment(answer.page.bars.len() as u64);
        let next = answer.page.next.map(|next| next.to_string());
        let token = token(&answer, query.width).map(|token| token.to_string());
        let series = BarSeries {
            instrument: query.instrument.clone(),
            timeframe: answer.page.source,
        };
        let stored_until = history.index.get(&series).map(|info| info.last_end_ms);
        let bars = Bars {
            instrument: &query.instrument,
            width: query.width,
            rows: rows(&answer, query.order),
            next: next.as_deref(),
            token: token.as_deref(),
            is_venue_lacking: history.filler.lacks(&series),
        };
        let answer = Answer {
            content_type: format.content_type(),
            body: bars.write(format),
            keep: keep(&query, stored_until),
            next: next.as_deref().map(|next| next_page(&uri, next)),
        };
        Ok(answer.respond(&headers))
    })
    .await
}

/// Closed bars and those that are not closed, in the order of the answer.
fn rows(answer: &BarAnswer, order: Order) -> Vec<(&BarRow, BarState)> {
    let closed = answer.page.bars.iter().map(|bar| (bar, BarState::Closed));
    let forming = answer.forming.iter().map(|bar| (bar, BarState::Forming));
    match order {
        Order::Ascending => closed.chain(forming).collect(),
        Order::Descending => forming.rev().chain(closed).collect(),
    }
}

/// What a client that has this answer sends to a gateway to go on from there.
fn token(answer: &BarAnswer, width: Width) -> Option<ResumeToken> {
    let bars = answer.page.bars.iter();
    let end_ms = bars.clone().map(|bar| width.end_of(bar.start_ms)).max()?;
    let known_ms = bars.map(|bar| bar.known_ms).max()?;
    ResumeToken::new(end_ms, known_ms)
}

/// How long an answer stays true. `stored_until` is the end of the newest stored bar.
fn keep(query: &BarQuery, stored_until: Option<UnixMillis>) -> Keep {
    let settled_until = stored_until.map(|until| until.saturating_sub(SETTLED_AFTER_MS));
    let is_before = |at: UnixMillis| settled_until.is_some_and(|until| at <= until);
    match (query.to_ms, query.as_of_ms) {
        // Retention may still delete it, which nobody has to know at once.
        (_, Some(as_of)) if is_before(as_of) => Keep::Always,
        (Some(to), _) if is_before(to) => Keep::Minute,
        _ => Keep::Ask,
    }
}

/// The same question with the cursor of the next page.
fn next_page(uri: &Uri, cursor: &str) -> String {
    let mut url = format!("{}?", uri.path());
    let pairs = uri.query().unwrap_or_default().split('&');
    // A token is not repeated: addresses are kept in more places than requests.
    let is_same = |pair: &&str| {
        !pair.is_empty() && !pair.starts_with("cursor=") && !pair.starts_with("token=")
    };
    for pair in pairs.filter(is_same) {
        let _ = write!(url, "{pair}&");
    }
    let _ = write!(url, "cursor={cursor}");
    url
}

/// `GET /api/v1/trades`.
pub(super) async fn trades(
    State(api): State<Api>,
    access: Access,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let known = [
        "symbol", "exchange", "from", "to", "limit", "order", "cursor", "format",
    ];
    let params = Params::read(&uri, &known)?;
    let format = Format::of(&params, &headers)?;
    let symbol = params.symbol()?;
    let instrument = api.history.instrument(&symbol, params.text("exchange"))?;
    access.check_trades(&instrument)?;
    let order = params.order()?;
    let range = Range {
        order,
        cursor: TradeCursor::read(params.text("cursor"), order)?,
        ..Range::new(
            params.time("from")?.unwrap_or(0),
            params.time("to")?.unwrap_or(UnixMillis::MAX),
            params.limit(LIMIT_DEFAULT, LIMIT_MAX)?,
        )
    };
    api.read(move |history| {
        let page = history.store.trades(&instrument, &range)?;
        let next = page.next.map(|next| TradeCursor::text(next, order));
        let trades = Trades {
            instrument: &instrument,
            rows: &page.rows,
            next: next.as_deref(),
        };
        let answer = Answer {
            content_type: format.content_type(),
            body: trades.write(format),
            keep: Keep::Ask,
            next: next.as_deref().map(|next| next_page(&uri, next)),
        };
        Ok(answer.respond(&headers))
    })
    .await
}

/// An instrument, with what is stored of it.
#[derive(Serialize)]
struct SymbolInfo {
    exchange: Box<str>,
    symbol: String,
    topic_symbol: String,
    widths: Vec<WidthInfo>,
}

#[derive(Serialize)]
struct WidthInfo {
    width: Timeframe,
    first_ms: UnixMillis,
    last_end_ms: UnixMillis,
}

#[derive(Serialize)]
struct Symbols {
    symbols: Vec<SymbolInfo>,
}

/// `GET /api/v1/symbols`.
pub(super) async fn symbols(
    State(api): State<Api>,
    access: Access,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let params = Params::read(&uri, &["exchange"])?;
    let exchange = params.text("exchange").map(str::to_ascii_lowercase);
    api.read(move |history| {
        let mut symbols: Vec<SymbolInfo> = Vec::new();
        for info in history.index.all() {
            let series = info.series;
            let is_other = |exchange: &String| **exchange != *series.instrument.exchange;
            if exchange.as_ref().is_some_and(is_other)
                || !access.permits_bars(&series.instrument, series.timeframe)
            {
                continue;
            }
            let Instrument {
                exchange: own,
                symbol,
            } = series.instrument;
            let width = WidthInfo {
                width: series.timeframe,
                first_ms: info.first_ms,
                last_end_ms: info.last_end_ms,
            };
            match symbols.last_mut() {
                Some(last) if last.exchange == own && last.topic_symbol == symbol.as_str() => {
                    last.widths.push(width);
                }
                _ => symbols.push(SymbolInfo {
                    exchange: own,
                    symbol: symbol.pair().to_owned(),
                    topic_symbol: symbol.to_string(),
                    widths: vec![width],
                }),
            }
        }
        respond_json(&Symbols { symbols }, &headers)
    })
    .await
}

/// A span of trade ids, as texts: they can be larger than a double holds.
#[derive(Serialize)]
struct Span {
    first_id: String,
    last_id: String,
}

#[derive(Serialize)]
struct Day {
    exchange: Box<str>,
    symbol: String,
    width: Timeframe,
    day_ms: UnixMillis,
    held: Vec<Span>,
    held_more: usize,
    missing: Vec<Span>,
    missing_more: usize,
    bars: u64,
    bars_incomplete: u64,
    bars_crc32: String,
    causes: Vec<CauseOf>,
    causes_more: usize,
    /// None if their file cannot be read.
    outages: Option<Vec<OutageOf>>,
    outages_more: usize,
}

#[derive(Serialize)]
struct OutageOf {
    from_ms: UnixMillis,
    to_ms: UnixMillis,
    reason: OutageReason,
}

#[derive(Serialize)]
struct CauseOf {
    from_ms: UnixMillis,
    to_ms: UnixMillis,
    cause: Cause,
    bars: u64,
}

/// `GET /api/v1/completeness`.
pub(super) async fn completeness(
    State(api): State<Api>,
    access: Access,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let params = Params::read(&uri, &["symbol", "exchange", "width", "day", "as_of"])?;
    let symbol = params.symbol()?;
    let instrument = api.history.instrument(&symbol, params.text("exchange"))?;
    let day = params
        .time("day")?
        .ok_or_else(|| ApiError::bad("bad_time", "a day is needed: write day=2026-03-01"))?;
    let as_of_ms = params.time("as_of")?;
    let width = params.text("width").unwrap_or("1m");
    let width: Timeframe = width
        .parse()
        .map_err(|error: market_core::ParseTimeframeError| {
            ApiError::bad("bad_width", error.to_string())
        })?;
    access.check_bars(&instrument, width)?;
    // A day can have millions of trades: one such question at a time.
    let turn = api.completeness.begin().await?;
    api.read(move |history| {
        let _turn = turn;
        let record = completeness::of_day(&*history.store, &instrument, width, day, as_of_ms)?;
        let spans = |spans: &[market_core::IdSpan]| {
            let spans = spans.iter().map(|span| Span {
                first_id: span.first.to_string(),
                last_id: span.last.to_string(),
            });
            spans.collect()
        };
        let causes = record.causes.iter().map(|span| CauseOf {
            from_ms: span.from_ms,
            to_ms: span.to_ms,
            cause: span.cause,
            bars: span.bars,
        });
        let (from_ms, to_ms) = (record.day_ms, record.day_ms.saturating_add(DAY_MS));
        let outages = history.outages.of(&instrument.exchange, from_ms, to_ms);
        let outages = outages
            .inspect_err(|error| {
                metrics::counter!("history_store_errors_total", "kind" => "outages").increment(1);
                tracing::debug!(%error, "an answer is without the outages of the feed");
            })
            .ok();
        let outages_more = outages.as_ref().map_or(0, Vec::len);
        let outages_more = outages_more.saturating_sub(SPANS_MAX);
        let outages = outages.map(|outages| {
            let outages = outages.iter().take(SPANS_MAX).map(|outage| OutageOf {
                from_ms: outage.from_ms,
                to_ms: outage.to_ms,
                reason: outage.reason,
            });
            outages.collect()
        });
        let day = Day {
            exchange: instrument.exchange.clone(),
            symbol: instrument.symbol.to_string(),
            width,
            day_ms: record.day_ms,
            held: spans(&record.held),
            held_more: record.held_more,
            missing: spans(&record.missing),
            missing_more: record.missing_more,
            bars: record.bars,
            bars_incomplete: record.bars_incomplete,
            bars_crc32: format!("{:08x}", record.bars_checksum),
            causes: causes.collect(),
            causes_more: record.causes_more,
            outages,
            outages_more,
        };
        respond_json(&day, &headers)
    })
    .await
}

pub(super) fn respond_json(
    value: &impl Serialize,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    let body = serde_json::to_vec(value).map_err(|_| ApiError::internal())?;
    Ok(Answer::json(body).respond(headers))
}
