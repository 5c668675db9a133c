//! Lines of a capture: the stream and the trades of a frame, and how its times are moved.

use serde_json::Value;

use crate::fixed::parse_decimal;
use crate::instrument::Venue;
use crate::interval::{iso_us, parse_iso_us};
use crate::venues::{Channel, binance, coinbase, okx};

/// A trade of a captured frame, numbers as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RawTrade {
    pub(crate) id: u64,
    pub(crate) aggregate_id: Option<u64>,
    pub(crate) count: u32,
    pub(crate) event_us: i64,
    pub(crate) price: String,
    pub(crate) quantity: String,
    pub(crate) taker_buys: bool,
    /// Whether it is only an aggregate of trades.
    pub(crate) is_aggregate: bool,
}

/// A captured frame, parsed as far as necessary.
#[derive(Clone, Debug)]
pub(crate) struct RawRecord {
    pub(crate) received_us: i64,
    pub(crate) venue: Venue,
    pub(crate) symbol: String,
    pub(crate) channel: Channel,
    pub(crate) frame: String,
    pub(crate) trades: Vec<RawTrade>,
}

/// Parses a line; `None` if it is not market data of a known stream.
pub(crate) fn parse_line(line: &str) -> Option<RawRecord> {
    let (head, frame) = line.split_once(' ')?;
    if !frame.starts_with('{') {
        return None;
    }
    let received_us = match head.strip_suffix(':') {
        Some(seconds) => seconds_us(seconds)?,
        None => head.parse::<i64>().ok()? / 1000,
    };
    let value: Value = serde_json::from_str(frame).ok()?;
    let (venue, symbol, channel, trades) = binance_frame(&value)
        .or_else(|| coinbase_frame(&value))
        .or_else(|| okx_frame(&value))?;
    Some(RawRecord {
        received_us,
        venue,
        symbol,
        channel,
        frame: frame.to_owned(),
        trades,
    })
}

/// Reads seconds with a fraction as microseconds.
fn seconds_us(text: &str) -> Option<i64> {
    let (mantissa, scale) = parse_decimal(text)?;
    let micros = if scale > 6 {
        mantissa / 10i128.pow(u32::from(scale - 6))
    } else {
        mantissa * 10i128.pow(u32::from(6 - scale))
    };
    i64::try_from(micros).ok()
}

type Understood = (Venue, String, Channel, Vec<RawTrade>);

fn text(value: &Value, key: &str) -> Option<String> {
    value.get(key)?.as_str().map(str::to_owned)
}

fn binance_frame(value: &Value) -> Option<Understood> {
    let (named, data) = match value.get("stream").and_then(Value::as_str) {
        Some(stream) => (Some(binance_stream(stream)?), value.get("data")?),
        None => (None, value),
    };
    let event = data.get("e").and_then(Value::as_str).unwrap_or_default();
    let (symbol, stream) = match named {
        Some(named) => named,
        // Raw frames do not name their stream; their event and symbol do.
        None => {
            let symbol = text(data, "s")?;
            let stream = match event {
                "trade" => binance::Stream::Trade,
                "aggTrade" => binance::Stream::AggTrade,
                "24hrTicker" => binance::Stream::Ticker,
                "24hrMiniTicker" => binance::Stream::MiniTicker,
                "depthUpdate" => binance::Stream::Depth { fast: true },
                "kline" => {
                    let interval = data.pointer("/k/i")?.as_str()?;
                    binance::Stream::Kline {
                        interval: binance::find_interval(interval)?,
                        east: false,
                    }
                }
                _ if data.get("u").is_some() && data.get("B").is_some() => {
                    binance::Stream::BookTicker
                }
                _ => return None,
            };
            (symbol, stream)
        }
    };
    let mut trades = Vec::new();
    if let (binance::Stream::Trade | binance::Stream::AggTrade, "trade" | "aggTrade") =
        (stream, event)
    {
        let is_aggregate = event == "aggTrade";
        let number = |key: &str| data.get(key).and_then(Value::as_u64);
        let (first, last) = if is_aggregate {
            (number("f")?, number("l")?)
        } else {
            (number("t")?, number("t")?)
        };
        let time = data.get("T")?.as_i64()?;
        trades.push(RawTrade {
            id: last,
            aggregate_id: number("a"),
            count: u32::try_from((last + 1).checked_sub(first)?).ok()?,
            event_us: if time >= 100_000_000_000_000 {
                time
            } else {
                time * 1000
            },
            price: text(data, "p")?,
            quantity: text(data, "q")?,
            taker_buys: !data.get("m")?.as_bool()?,
            is_aggregate,
        });
    }
    Some((Venue::Binance, symbol, Channel::Binance(stream), trades))
}

/// A stream's name; names of futures streams such as `@depth@0ms` are read as the spot stream.
fn binance_stream(name: &str) -> Option<(String, binance::Stream)> {
    binance::parse_name(name)
        .or_else(|| binance::parse_name(&format!("{}@100ms", name.rsplit_once('@')?.0)))
}

fn coinbase_frame(value: &Value) -> Option<Understood> {
    let symbol = text(value, "product_id")?;
    let mut trades = Vec::new();
    let feed = match value.get("type")?.as_str()? {
        "match" | "last_match" => {
            trades.push(RawTrade {
                id: value.get("trade_id")?.as_u64()?,
                aggregate_id: None,
                count: 1,
                event_us: parse_iso_us(value.get("time")?.as_str()?)?,
                price: text(value, "price")?,
                quantity: text(value, "size")?,
                // The maker sold: the taker bought.
                taker_buys: value.get("side")?.as_str()? == "sell",
                is_aggregate: false,
            });
            coinbase::Feed::Matches
        }
        "ticker" => coinbase::Feed::Ticker,
        "heartbeat" => coinbase::Feed::Heartbeat,
        "snapshot" | "l2update" => coinbase::Feed::Level2,
        _ => return None,
    };
    Some((Venue::Coinbase, symbol, Channel::Coinbase(feed), trades))
}

fn okx_frame(value: &Value) -> Option<Understood> {
    let symbol = text(value.get("arg")?, "instId")?;
    let feed = okx::Feed::parse(value.pointer("/arg/channel")?.as_str()?)?;
    let data = value.get("data")?.as_array()?;
    let mut trades = Vec::new();
    if matches!(feed, okx::Feed::Trades | okx::Feed::TradesAll) {
        for row in data {
            let count = row
                .get("count")
                .and_then(Value::as_str)
                .map_or(Some(1), |count| count.parse().ok())?;
            trades.push(RawTrade {
                id: row.get("tradeId")?.as_str()?.parse().ok()?,
                aggregate_id: None,
                count,
                event_us: row.get("ts")?.as_str()?.parse::<i64>().ok()? * 1000,
                price: text(row, "px")?,
                quantity: text(row, "sz")?,
                taker_buys: row.get("side")?.as_str()? == "buy",
                is_aggregate: count > 1,
            });
        }
    }
    Some((Venue::Okx, symbol, Channel::Okx(feed), trades))
}

/// Moves the venue times in a frame, and leaves every other byte unchanged. Captured bars lose
/// their alignment, because the shift is not a whole number of intervals.
pub(crate) fn shift_times(frame: &str, channel: Channel, shift_us: i64) -> String {
    let keys: &[&str] = match channel {
        Channel::Binance(binance::Stream::Kline { .. }) => &["\"E\":", "\"t\":", "\"T\":"],
        Channel::Binance(_) => &["\"E\":", "\"T\":"],
        Channel::Coinbase(_) => &["\"time\":"],
        Channel::Okx(_) => &["\"ts\":"],
    };
    let mut out = String::with_capacity(frame.len() + 8);
    let mut rest = frame;
    while let Some((at, key)) = keys
        .iter()
        .filter_map(|key| Some((rest.find(key)?, *key)))
        .min_by_key(|(at, _)| *at)
    {
        let (before, after) = rest.split_at(at + key.len());
        out.push_str(before);
        let quoted = after.starts_with('"');
        let value = if quoted { &after[1..] } else { after };
        let length = value.find(['"', ',', '}', ']']).unwrap_or(value.len());
        let (value, tail) = value.split_at(length);
        if quoted {
            out.push('"');
        }
        match (value.parse::<i64>(), parse_iso_us(value)) {
            (Ok(time), _) if time >= 100_000_000_000_000 => {
                out.push_str(&(time + shift_us).to_string())
            }
            (Ok(time), _) => out.push_str(&(time + shift_us.div_euclid(1000)).to_string()),
            (Err(_), Some(time_us)) if quoted => out.push_str(&iso_us(time_us + shift_us)),
            _ => out.push_str(value),
        }
        rest = tail;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests;
