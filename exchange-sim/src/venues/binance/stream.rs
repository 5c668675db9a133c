//! Names of Binance streams.

use crate::interval::Interval;

/// Names of the kline intervals.
pub(crate) const INTERVALS: [&str; 16] = [
    "1s", "1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "3d", "1w",
    "1M",
];

/// Place of an interval's name in [`INTERVALS`].
pub(crate) fn find_interval(name: &str) -> Option<u8> {
    INTERVALS
        .iter()
        .position(|known| *known == name)
        .map(|at| at as u8)
}

/// A stream of one symbol, or of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Stream {
    /// `@trade`
    Trade,
    /// `@aggTrade`
    AggTrade,
    /// `@kline_<interval>`, or `@kline_<interval>@+08:00`
    Kline {
        /// Place in [`INTERVALS`].
        interval: u8,
        /// Whether days begin at midnight UTC+8.
        east: bool,
    },
    /// `@bookTicker`
    BookTicker,
    /// `@miniTicker`
    MiniTicker,
    /// `@ticker`
    Ticker,
    /// `@avgPrice`
    AvgPrice,
    /// `@depth`, `@depth@100ms`
    Depth {
        /// Every 100 ms instead of every second.
        fast: bool,
    },
    /// `@depth5`, `@depth10`, `@depth20`, each with or without `@100ms`
    PartialDepth {
        /// Levels of each side.
        levels: u8,
        /// Every 100 ms instead of every second.
        fast: bool,
    },
    /// `!miniTicker@arr`
    AllMiniTickers,
}

impl Stream {
    /// The stream of a symbol, such as `btcusdt@trade`; the symbol in any case.
    pub(crate) fn name(self, symbol: &str) -> String {
        let suffix = match self {
            Stream::AllMiniTickers => return "!miniTicker@arr".to_owned(),
            Stream::Trade => "trade".to_owned(),
            Stream::AggTrade => "aggTrade".to_owned(),
            Stream::Kline { interval, east } => {
                format!(
                    "kline_{}{}",
                    INTERVALS[usize::from(interval)],
                    if east { "@+08:00" } else { "" }
                )
            }
            Stream::BookTicker => "bookTicker".to_owned(),
            Stream::MiniTicker => "miniTicker".to_owned(),
            Stream::Ticker => "ticker".to_owned(),
            Stream::AvgPrice => "avgPrice".to_owned(),
            Stream::Depth { fast } => format!("depth{}", if fast { "@100ms" } else { "" }),
            Stream::PartialDepth { levels, fast } => {
                format!("depth{levels}{}", if fast { "@100ms" } else { "" })
            }
        };
        format!("{}@{suffix}", symbol.to_ascii_lowercase())
    }
}

/// Interval and offset of a kline stream, milliseconds.
pub(crate) fn kline_interval(interval: u8, east: bool) -> (Interval, i64) {
    let parsed =
        Interval::parse(INTERVALS[usize::from(interval)]).expect("the table holds intervals");
    (parsed, if east { 8 * 3_600_000 } else { 0 })
}

/// Reads a stream name into the upper-case symbol (empty for all) and the stream.
///
/// Symbols must be lower case, as on Binance: `BTCUSDT@trade` is no stream.
pub(crate) fn parse_name(name: &str) -> Option<(String, Stream)> {
    if name == "!miniTicker@arr" {
        return Some((String::new(), Stream::AllMiniTickers));
    }
    let (symbol, suffix) = name.split_once('@')?;
    if symbol.is_empty()
        || !symbol
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    {
        return None;
    }
    let stream = match suffix {
        "trade" => Stream::Trade,
        "aggTrade" => Stream::AggTrade,
        "bookTicker" => Stream::BookTicker,
        "miniTicker" => Stream::MiniTicker,
        "ticker" => Stream::Ticker,
        "avgPrice" => Stream::AvgPrice,
        _ => match suffix.strip_prefix("kline_") {
            Some(rest) => {
                let (interval, east) = match rest.strip_suffix("@+08:00") {
                    Some(interval) => (interval, true),
                    None => (rest, false),
                };
                Stream::Kline {
                    interval: find_interval(interval)?,
                    east,
                }
            }
            None => parse_depth(suffix.strip_prefix("depth")?)?,
        },
    };
    Some((symbol.to_ascii_uppercase(), stream))
}

fn parse_depth(rest: &str) -> Option<Stream> {
    let (levels, fast) = match rest.split_once('@') {
        Some((levels, "100ms")) => (levels, true),
        Some((levels, "1000ms")) => (levels, false),
        Some(_) => return None,
        None => (rest, false),
    };
    match levels {
        "" => Some(Stream::Depth { fast }),
        "5" | "10" | "20" => Some(Stream::PartialDepth {
            levels: levels.parse().ok()?,
            fast,
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
