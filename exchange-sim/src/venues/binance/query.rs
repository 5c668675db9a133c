//! What Binance's REST requests have in common: their parameters, and the errors about them.

use serde_json::json;

use crate::exchange::Exchange;
use crate::instrument::Venue;
use crate::venues::request::{Reply, Request};

/// An answer that refuses a request.
pub(super) type Failure = Reply;

/// A refusal with Binance's code.
pub(super) fn failure(code: i32, message: &str) -> Failure {
    Reply::status(400, json!({"code": code, "msg": message}).to_string())
}

/// The refusal of a parameter that is no number.
pub(super) fn illegal(key: &str) -> Failure {
    failure(
        -1100,
        &format!(
            "Illegal characters found in parameter '{key}'; legal range is '^[0-9]{{1,20}}$'."
        ),
    )
}

/// The symbol that the request must name.
pub(super) fn symbol(exchange: &Exchange, request: &Request) -> Result<usize, Failure> {
    let symbol = request.get("symbol").ok_or_else(|| {
        failure(
            -1102,
            "Mandatory parameter 'symbol' was not sent, was empty/null, or malformed.",
        )
    })?;
    exchange
        .listing
        .find(Venue::Binance, symbol)
        .ok_or_else(|| failure(-1121, "Invalid symbol."))
}

/// The number of rows that the request asks for.
pub(super) fn limit(request: &Request, default: i64, most: i64) -> Result<usize, Failure> {
    let limit = request.number("limit").map_err(illegal)?.unwrap_or(default);
    if limit < 1 {
        return Err(failure(
            -1130,
            "Data sent for parameter 'limit' is not valid.",
        ));
    }
    Ok(limit.min(most) as usize)
}

/// A time of the query in milliseconds; microseconds are recognised by their size.
pub(super) fn time_ms(request: &Request, key: &'static str) -> Result<Option<i64>, Failure> {
    let time = request.number(key).map_err(illegal)?;
    Ok(time.map(|time| {
        if time >= 100_000_000_000_000 {
            time / 1000
        } else {
            time
        }
    }))
}

/// `8`, `-1:30`, `05:45` as milliseconds.
pub(super) fn zone_ms(text: &str) -> Option<i64> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (hours, minutes) = digits.split_once(':').unwrap_or((digits, "0"));
    let minutes = hours
        .parse::<i64>()
        .ok()
        .filter(|hours| (0..=14).contains(hours))?
        * 60
        + minutes
            .parse::<i64>()
            .ok()
            .filter(|minutes| (0..60).contains(minutes))?;
    Some(if negative { -minutes } else { minutes } * 60_000)
}

/// The symbols that `symbol` or `symbols` name, or all symbols; and whether one was named.
pub(super) fn symbols(
    exchange: &Exchange,
    request: &Request,
) -> Result<(Vec<usize>, bool), Failure> {
    if request.get("symbol").is_some() {
        return Ok((vec![symbol(exchange, request)?], true));
    }
    match request.get("symbols") {
        Some(list) => {
            // The server has replaced unescaped quotation marks by apostrophes.
            let list = list.replace('\'', "\"");
            let names: Vec<String> = serde_json::from_str(&list).map_err(|_| illegal("symbols"))?;
            let found: Option<Vec<usize>> = names
                .iter()
                .map(|name| exchange.listing.find(Venue::Binance, name))
                .collect();
            Ok((
                found.ok_or_else(|| failure(-1121, "Invalid symbol."))?,
                false,
            ))
        }
        None => Ok((
            exchange
                .listing
                .of(Venue::Binance)
                .map(|(index, _)| index)
                .collect(),
            false,
        )),
    }
}

/// The time of the request, in the unit that the client asked for.
pub(super) fn time(request: &Request) -> i64 {
    if request.micros {
        request.now_us
    } else {
        request.now_ms()
    }
}
