//! The newest prices.

use std::fmt::Write as _;

use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use market_core::{Price, Timeframe};

use super::{UdfError, instrument, ticker};
use crate::api::access::Access;
use crate::api::body::Answer;
use crate::api::error::ApiError;
use crate::api::params::Params;
use crate::api::state::Api;
use crate::range::BarQuery;
use crate::{History, Width};

/// The most symbols of one question.
const QUOTES_MAX: usize = 50;
const DAY: &str = "1d";

/// `GET /udf/quotes?symbols=COINBASE:BTC-USD,…`.
pub(in super::super) async fn quotes(
    State(api): State<Api>,
    access: Access,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, UdfError> {
    let params = Params::read_any(&uri)?;
    let names = params.text("symbols").unwrap_or_default().to_owned();
    if names.split(',').count() > QUOTES_MAX {
        let message = format!("symbols: at most {QUOTES_MAX} at once");
        return Err(ApiError::bad("bad_symbol", message).into());
    }
    let answer = api.read(move |history| {
        let mut quotes = Vec::new();
        for name in names.split(',').filter(|name| !name.is_empty()) {
            quotes.push(match quote(history, &access, name) {
                Ok(quote) => quote,
                Err(error) => {
                    let name = serde_json::Value::from(name);
                    let message = serde_json::Value::from(error.message);
                    format!(r#"{{"s":"error","n":{name},"errmsg":{message},"v":{{}}}}"#)
                }
            });
        }
        let body = format!(r#"{{"s":"ok","d":[{}]}}"#, quotes.join(","));
        Ok(Answer::json(body.into_bytes()).respond(&headers))
    });
    Ok(answer.await?)
}

/// The newest price, and its change since the close of the day before.
fn quote(history: &History, access: &Access, name: &str) -> Result<String, ApiError> {
    let instrument = instrument(history, name)?;
    let permits = |timeframe| access.permits_bars(&instrument, timeframe);
    let Some(newest) = history.newest_bar(&instrument, permits)? else {
        access.check_bars(&instrument, Timeframe::MINUTE)?;
        return Err(ApiError::not_found(
            "unknown_symbol",
            "nothing is stored of it",
        ));
    };
    let name = serde_json::Value::from(name);
    let ticker = ticker(&instrument);
    let exchange = instrument.exchange.to_ascii_uppercase();
    let mut json = format!(
        r#"{{"s":"ok","n":{name},"v":{{"lp":{},"short_name":"{}","exchange":"{exchange}","description":"{ticker}""#,
        newest.row.close,
        instrument.symbol.pair(),
    );
    let day: Width = DAY.parse().map_err(|_| ApiError::internal())?;
    // Days may not be stored or not be permitted: then there is no change to tell.
    if access.permits_bars(&instrument, day)
        && let Ok(answer) = history.bars(&BarQuery::newest(instrument, day, 1), true)
    {
        if let Some(before) = answer.page.bars.first() {
            let (change, percent) = change(newest.row.close, before.close);
            let _ = write!(
                json,
                r#","prev_close_price":{},"ch":{change},"chp":{percent}"#,
                before.close
            );
        }
        if let Some(today) = answer.forming.last() {
            let _ = write!(
                json,
                r#","open_price":{},"high_price":{},"low_price":{},"volume":{}"#,
                today.open, today.high, today.low, today.volume
            );
        }
    }
    json.push_str("}}");
    Ok(json)
}

/// The difference of two prices, and in percent with two places.
fn change(now: Price, before: Price) -> (String, String) {
    let ((now, now_scale), (before, before_scale)) = (now.parts(), before.parts());
    let scale = now_scale.max(before_scale);
    let raised = |mantissa: i128, from: u32| {
        let factor = 10i128.checked_pow(scale - from)?;
        mantissa.checked_mul(factor)
    };
    let exact = raised(now, now_scale)
        .zip(raised(before, before_scale))
        .and_then(|(now, before)| {
            let change = now.checked_sub(before)?;
            let percent = change.checked_mul(10_000)?.checked_div(before)?;
            Some((signed(change, scale), signed(percent, 2)))
        });
    exact.unwrap_or_else(|| ("0".to_owned(), "0".to_owned()))
}

fn signed(mantissa: i128, scale: u32) -> String {
    let sign = if mantissa < 0 { "-" } else { "" };
    let digits = format!(
        "{:0>width$}",
        mantissa.unsigned_abs(),
        width = scale as usize + 1
    );
    let (whole, places) = digits.split_at(digits.len() - scale as usize);
    let point = if places.is_empty() { "" } else { "." };
    format!("{sign}{whole}{point}{places}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_exact() {
        let price = |text: &str| Price::parse(text).expect("a price");
        let check = |now, before, ch: &str, chp: &str| {
            let expected = (ch.to_owned(), chp.to_owned());
            assert_eq!(change(price(now), price(before)), expected);
        };
        check("101.5", "100", "1.5", "1.50");
        check("99.999", "100", "-0.001", "0.00");
        check("0.1", "0.3", "-0.2", "-66.66");
        check("5", "5", "0", "0.00");
    }
}
