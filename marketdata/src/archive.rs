//! Answers questions of other programs about a venue's own bars.
//!
//! One task for each venue answers one question at a time, with at most a quarter of the venue's
//! REST budget: missing trades go first.

use std::sync::Arc;
use std::time::Duration;

use bus::{Bus, Headers, Question};
use market_core::wire::archive::{ARCHIVE_BARS_MAX, ArchiveBar, ArchivePage, ArchiveQuery};
use market_core::{Amount, Price, Symbol, Timeframe, UnixMillis, subject};
use metrics::Counter;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::backfill::client::{RestClient, RestError};
use crate::exchange::{Exchange, VenueBar};
use crate::host_clock::now_ms;

/// The share of a venue's REST budget for these questions: one part in this many.
const BUDGET_PART: i64 = 4;
/// The group of responders: one publisher of a venue answers, whatever symbols it publishes itself.
const GROUP: &str = "archive";
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// One venue's answers.
pub(crate) struct BarAnswers {
    /// What the venue speaks.
    pub(crate) exchange: &'static dyn Exchange,
    /// The REST client, shared with the backfills and their budget.
    pub(crate) client: Arc<RestClient>,
    /// Where the questions come from.
    pub(crate) bus: Arc<dyn Bus>,
}

impl BarAnswers {
    /// Answers until `stop`.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let exchange = self.exchange.name();
        let outcome = |result: &'static str| metrics::counter!("marketdata_archive_answers_total", "exchange" => exchange, "result" => result);
        let (answered, refused) = (outcome("answered"), outcome("refused"));
        let unreadable =
            metrics::counter!("marketdata_rest_rows_unreadable_total", "exchange" => exchange);
        let subject = subject::archive_bars(exchange);
        let work = async {
            loop {
                match self.bus.requests().serve(&subject, GROUP).await {
                    Ok(mut responder) => {
                        while let Some(question) = responder.recv().await {
                            let is_answered = self.answer(question, &unreadable).await;
                            let counter = if is_answered { &answered } else { &refused };
                            counter.increment(1);
                        }
                    }
                    Err(error) => {
                        debug!(exchange, %error, "cannot answer questions about bars yet");
                    }
                }
                tokio::time::sleep(RETRY_AFTER).await;
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = work => {}
        }
    }

    async fn answer(&self, question: Question, unreadable: &Counter) -> bool {
        let page = self.page(&question.message.payload, unreadable).await;
        let sent = match &page {
            Ok(page) => {
                // A page has plain fields only.
                let json = serde_json::to_vec(page).unwrap_or_default();
                question.answer(Headers::new(), json.into()).await
            }
            Err(reason) => question.refuse(reason).await,
        };
        if let Err(error) = sent {
            warn!(exchange = self.exchange.name(), %error, "an answer about bars could not be sent");
        }
        page.is_ok()
    }

    async fn page(&self, payload: &[u8], unreadable: &Counter) -> Result<ArchivePage, String> {
        let query: ArchiveQuery =
            serde_json::from_slice(payload).map_err(|error| format!("not a question: {error}"))?;
        let native = native_name(self.exchange, &query.symbol)?;
        let Some((first_ms, last_ms)) = starts(&query, self.exchange.bars_max(), now_ms()) else {
            return Ok(nothing(&query, true));
        };
        let request = self
            .exchange
            .bars_page(&native, query.interval, first_ms, last_ms);
        let Some(request) = request else {
            return Ok(nothing(&query, false));
        };
        let limits = self.exchange.limits();
        let share_ms = limits.rest_window_ms * i64::from(request.weight) * BUDGET_PART
            / i64::from(limits.rest_weight_max.max(1));
        tokio::time::sleep(Duration::from_millis(share_ms.unsigned_abs())).await;
        let body = match self.client.get(&request).await {
            Ok(body) => body,
            // It has no bars of this symbol at any time. Asked again and again, its other symbols would wait.
            Err(RestError::UnknownSymbol) => return Ok(nothing(&query, true)),
            Err(error) => return Err(error.to_string()),
        };
        let rows = self.exchange.parse_bars_page(&body);
        let rows = rows.map_err(|error| error.to_string())?;
        let mut bars: Vec<ArchiveBar> = Vec::with_capacity(rows.len());
        for row in rows {
            match archive_bar(&row, query.interval) {
                Some(bar) if (first_ms..=last_ms).contains(&bar.start_ms) => bars.push(bar),
                Some(_) => {}
                None => unreadable.increment(1),
            }
        }
        bars.sort_by_key(|bar| bar.start_ms);
        bars.dedup_by_key(|bar| bar.start_ms);
        bars.truncate(ARCHIVE_BARS_MAX);
        Ok(ArchivePage {
            bars,
            complete_from_ms: first_ms,
            has_width: true,
        })
    }
}

/// The venue's name of a symbol. Several programs may publish symbols of one venue, and any of them gets
/// the question: so none of them asks whether it publishes this one itself.
fn native_name(exchange: &dyn Exchange, symbol: &Symbol) -> Result<String, String> {
    let name = exchange.name();
    let is_of_venue = |venue: &str| venue.eq_ignore_ascii_case(name);
    match symbol.venue().is_none_or(is_of_venue) {
        true => Ok(exchange.native_name(symbol.base(), symbol.quote())),
        false => Err(format!(
            "{symbol} is a symbol of another venue: ask the publisher of that venue, not of {name}"
        )),
    }
}

/// The venue has no such bar.
fn nothing(query: &ArchiveQuery, has_width: bool) -> ArchivePage {
    ArchivePage {
        bars: Vec::new(),
        complete_from_ms: query.from_ms,
        has_width,
    }
}

/// The first and the last start of the page: the newest closed bars of the range, as many as the
/// venue gives at once. `None` if no bar of the range is closed.
fn starts(
    query: &ArchiveQuery,
    bars_max: usize,
    now_ms: UnixMillis,
) -> Option<(UnixMillis, UnixMillis)> {
    let width = query.interval;
    // A time before 1970 or far ahead is no time of a bar.
    let from_ms = query.from_ms.max(0);
    let to_ms = query.to_ms.min(width.start_of(now_ms));
    if from_ms >= to_ms {
        return None;
    }
    let mut first_ms = width.start_of(to_ms - 1);
    if first_ms < from_ms {
        return None;
    }
    let last_ms = first_ms;
    for _ in 1..bars_max.min(ARCHIVE_BARS_MAX) {
        let before = width.start_of(first_ms - 1);
        if before < from_ms {
            return Some((from_ms.min(first_ms), last_ms));
        }
        first_ms = before;
    }
    Some((first_ms, last_ms))
}

/// A bar with exact numbers; `None` if one is none, or the start is none of the timeframe. What the
/// venue does not say stays unknown, but for a bar without trades: all its sums are 0.
fn archive_bar(bar: &VenueBar, timeframe: Timeframe) -> Option<ArchiveBar> {
    let price = |text: &str| Price::parse(text).ok();
    let is_empty = bar.is_empty();
    let optional = |text: &Option<String>| match text {
        Some(text) => Amount::parse(text).map(Some),
        None => Some(is_empty.then_some(Amount::ZERO)),
    };
    (timeframe.start_of(bar.start_ms) == bar.start_ms).then_some(())?;
    Some(ArchiveBar {
        start_ms: bar.start_ms,
        open: price(&bar.open)?,
        high: price(&bar.high)?,
        low: price(&bar.low)?,
        close: price(&bar.close)?,
        volume: Amount::parse(&bar.volume)?,
        quote_volume: optional(&bar.quote_volume)?,
        taker_buy_volume: optional(&bar.taker_buy_volume)?,
        taker_buy_quote_volume: optional(&bar.taker_buy_quote_volume)?,
        count: bar.count.or(is_empty.then_some(0)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(interval: &str, from_ms: UnixMillis, to_ms: UnixMillis) -> ArchiveQuery {
        ArchiveQuery {
            symbol: "BTC-USD".parse().expect("a symbol"),
            interval: interval.parse().expect("a timeframe"),
            from_ms,
            to_ms,
        }
    }

    #[test]
    fn a_symbol_of_another_venue_is_refused_and_any_other_has_a_name() {
        let binance = crate::exchange::registry::find("binance").expect("registered");
        for (symbol, expected) in [
            ("BTC-USDT", Some("BTCUSDT")),
            ("BINANCE:ETH-BTC", Some("ETHBTC")),
            ("OKX:BTC-USDT", None),
        ] {
            let name = native_name(binance, &symbol.parse().expect("a symbol"));
            assert_eq!(name.ok().as_deref(), expected, "{symbol}");
        }
    }

    #[test]
    fn a_page_is_the_newest_closed_bars_of_the_range() {
        const MINUTE: i64 = 60_000;
        let now = 100 * MINUTE + 30_000;
        for (from, to, bars, expected) in [
            (0, 50 * MINUTE, 10, Some((40 * MINUTE, 49 * MINUTE))),
            // The bar of minute 100 still forms.
            (0, i64::MAX, 10, Some((90 * MINUTE, 99 * MINUTE))),
            // The whole range is in the page.
            (
                45 * MINUTE,
                50 * MINUTE,
                10,
                Some((45 * MINUTE, 49 * MINUTE)),
            ),
            (i64::MIN, 3 * MINUTE, 10, Some((0, 2 * MINUTE))),
            (50 * MINUTE, 50 * MINUTE, 10, None),
            (100 * MINUTE, i64::MAX, 10, None),
            (i64::MAX, i64::MIN, 10, None),
            // No bar starts in it.
            (45 * MINUTE + 1, 46 * MINUTE, 10, None),
        ] {
            let starts = starts(&query("1m", from, to), bars, now);
            assert_eq!(starts, expected, "{from} {to}");
        }
        let months = starts(&query("1M", 0, i64::MAX), 3, 1_700_000_000_000);
        // 2023-08-01 to 2023-10-01.
        assert_eq!(months, Some((1_690_848_000_000, 1_696_118_400_000)));
    }

    #[test]
    fn a_bar_without_exact_numbers_is_none() {
        let bar = VenueBar {
            start_ms: 60_000,
            open: "1.50".to_owned(),
            high: "2".to_owned(),
            low: "1".to_owned(),
            close: "1.25".to_owned(),
            volume: "10".to_owned(),
            quote_volume: None,
            count: None,
            taker_buy_volume: None,
            taker_buy_quote_volume: None,
        };
        let read = archive_bar(&bar, Timeframe::MINUTE).expect("a bar");
        assert_eq!((read.count, read.quote_volume), (None, None));
        let empty = VenueBar {
            volume: "0.000".to_owned(),
            ..bar.clone()
        };
        let read_empty = archive_bar(&empty, Timeframe::MINUTE).expect("a bar");
        assert_eq!(read_empty.count, Some(0));
        assert_eq!(read_empty.taker_buy_volume, Some(Amount::ZERO));
        assert_eq!(read.open.to_string(), "1.5");
        assert_eq!(archive_bar(&bar, Timeframe::HOUR), None);
        for wrong in ["", "1e-5", "-1", "NaN"] {
            let open = wrong.to_owned();
            let bar = VenueBar {
                open,
                ..bar.clone()
            };
            assert_eq!(archive_bar(&bar, Timeframe::MINUTE), None, "{wrong}");
        }
    }
}
