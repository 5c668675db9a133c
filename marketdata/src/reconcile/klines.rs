//! A venue's own bars from a file: CSV with any of the usual column names, or REST rows.

use std::collections::BTreeMap;

use market_core::{Timeframe, UnixMillis};

use crate::exchange::{DecodeError, Exchange, VenueBar, to_millis};

/// The columns of Binance's public dumps, which sometimes have no header.
const BINANCE_COLUMNS: [&str; 11] = [
    "open_time",
    "open",
    "high",
    "low",
    "close",
    "volume",
    "close_time",
    "quote_volume",
    "count",
    "taker_buy_volume",
    "taker_buy_quote_volume",
];
/// When bars start: up to the year 9999.
const START_MS: std::ops::Range<UnixMillis> = 0..253_402_300_800_000;
/// The possible timeframes of a file's rows.
const WIDTHS: [&str; 14] = [
    "1s", "1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "1w",
];

/// What a file holds.
#[derive(Clone, Debug)]
pub struct Klines {
    /// The bars' timeframe, as far as the rows reveal it.
    pub timeframe: Option<Timeframe>,
    /// By start.
    pub bars: BTreeMap<UnixMillis, VenueBar>,
}

/// Why a file cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KlinesError {
    /// A CSV lacks a required column.
    #[error(
        "no column {0} in the header: a CSV needs open_time,open,high,low,close,volume and may have quote_volume,count,taker_buy_volume,taker_buy_quote_volume"
    )]
    NoColumn(&'static str),
    /// A row that cannot be read.
    #[error("line {line} is not a kline: {text}")]
    Row {
        /// Counted from 1.
        line: usize,
        /// Its beginning.
        text: String,
    },
    /// REST rows that the venue's parser refuses.
    #[error("not this venue's REST klines: {0}")]
    Rest(#[from] DecodeError),
    /// Nothing in it.
    #[error("the file has no klines")]
    Empty,
}

/// Reads a file's text.
///
/// # Errors
/// What cannot be read, and where.
pub fn parse(text: &str, exchange: &dyn Exchange) -> Result<Klines, KlinesError> {
    let text = text.trim_start_matches('\u{feff}');
    let (bars, told) = match text.trim_start().as_bytes().first() {
        None => return Err(KlinesError::Empty),
        Some(b'[' | b'{') => (rest_rows(text, exchange)?, None),
        Some(_) => csv(text)?,
    };
    if !bars.iter().all(|bar| START_MS.contains(&bar.start_ms)) {
        return Err(DecodeError::Malformed("time of a bar").into());
    }
    let bars: BTreeMap<UnixMillis, VenueBar> =
        bars.into_iter().map(|bar| (bar.start_ms, bar)).collect();
    if bars.is_empty() {
        return Err(KlinesError::Empty);
    }
    Ok(Klines {
        timeframe: told.or_else(|| width_of(&bars)),
        bars,
    })
}

/// Pages, or one row a line.
fn rest_rows(text: &str, exchange: &dyn Exchange) -> Result<Vec<VenueBar>, KlinesError> {
    let is_row = |line: &str| {
        line.strip_prefix('[')
            .is_some_and(|rest| !rest.trim_start().starts_with(['[', ']']))
    };
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    if lines.iter().all(|line| is_row(line)) {
        let page = format!("[{}]", lines.join(","));
        return Ok(exchange.parse_bars_page(page.as_bytes())?);
    }
    if let Ok(bars) = exchange.parse_bars_page(text.as_bytes()) {
        return Ok(bars);
    }
    let mut bars = Vec::new();
    for line in lines {
        bars.extend(exchange.parse_bars_page(line.as_bytes())?);
    }
    Ok(bars)
}

fn csv(text: &str) -> Result<(Vec<VenueBar>, Option<Timeframe>), KlinesError> {
    let mut lines = text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
        .peekable();
    let has_header = lines
        .peek()
        .is_some_and(|(_, line)| !line.starts_with(|first: char| first.is_ascii_digit()));
    let names: Vec<String> = if has_header {
        let (_, header) = lines.next().unwrap_or_default();
        header
            .split(',')
            .map(|name| name.trim().to_lowercase())
            .collect()
    } else {
        BINANCE_COLUMNS.map(str::to_owned).to_vec()
    };
    let column = |known: &[&str]| names.iter().position(|name| known.contains(&name.as_str()));
    let needed = |known: &[&'static str]| column(known).ok_or(KlinesError::NoColumn(known[0]));
    let start = needed(&["open_time", "start_ms", "timestamp", "time", "date"])?;
    let [open, high, low, close] = [
        needed(&["open"])?,
        needed(&["high"])?,
        needed(&["low"])?,
        needed(&["close"])?,
    ];
    let volume = needed(&["volume"])?;
    let end = column(&["close_time"]);
    let interval = column(&["interval"]);
    let quote_volume = column(&["quote_volume", "quote_asset_volume"]);
    let count = column(&["count", "trades", "number_of_trades"]);
    let taker_buy_volume = column(&["taker_buy_volume", "taker_buy_base_asset_volume"]);
    let taker_buy_quote_volume = column(&[
        "taker_buy_quote_volume",
        "taker_buy_quote",
        "taker_buy_quote_asset_volume",
    ]);
    let mut bars = Vec::new();
    let mut told = None;
    for (index, line) in lines {
        let wrong = || KlinesError::Row {
            line: index + 1,
            text: line.chars().take(80).collect(),
        };
        let values: Vec<&str> = line.split(',').map(str::trim).collect();
        let value = |at: usize| values.get(at).copied().ok_or_else(wrong);
        let text = |at: usize| value(at).map(str::to_owned);
        // A cell may be empty even if the column exists.
        let optional = |at: Option<usize>| -> Option<String> {
            let text = values.get(at?)?;
            (!text.is_empty()).then(|| (*text).to_owned())
        };
        let start_ms = time_of(value(start)?).ok_or_else(wrong)?;
        if told.is_none() {
            let named = interval.and_then(|at| values.get(at)?.parse().ok());
            let spanned = end
                .and_then(|at| time_of(values.get(at)?))
                .and_then(|end_ms| timeframe_of(end_ms.checked_sub(start_ms)?));
            told = named.or(spanned);
        }
        bars.push(VenueBar {
            start_ms,
            open: text(open)?,
            high: text(high)?,
            low: text(low)?,
            close: text(close)?,
            volume: text(volume)?,
            quote_volume: optional(quote_volume),
            count: match optional(count) {
                Some(count) => Some(count.parse().map_err(|_| wrong())?),
                None => None,
            },
            taker_buy_volume: optional(taker_buy_volume),
            taker_buy_quote_volume: optional(taker_buy_quote_volume),
        });
    }
    Ok((bars, told))
}

/// Seconds, ms or µs, recognised by their size.
fn time_of(text: &str) -> Option<UnixMillis> {
    let value: i64 = text.parse().ok()?;
    match value {
        0..100_000_000_000 => value.checked_mul(1_000),
        100_000_000_000.. => Some(to_millis(value)),
        _ => None,
    }
}

/// The timeframe with this width, or with this width plus the last millisecond.
fn timeframe_of(width_ms: i64) -> Option<Timeframe> {
    let known = WIDTHS
        .iter()
        .filter_map(|name| name.parse::<Timeframe>().ok());
    // The epoch began on a Thursday, so a week is measured from its first Monday.
    known.into_iter().find(|known| {
        let start_ms = known.start_of(4 * 86_400_000);
        let known_ms = known.end_of(start_ms) - start_ms;
        width_ms == known_ms || width_ms == known_ms - 1
    })
}

/// The greatest width of which all distances between starts are multiples.
fn width_of(bars: &BTreeMap<UnixMillis, VenueBar>) -> Option<Timeframe> {
    let mut starts = bars.keys();
    let mut before = *starts.next()?;
    let mut common = 0;
    for &start in starts {
        let (mut left, mut right) = (common, start - before);
        while right != 0 {
            (left, right) = (right, left % right);
        }
        common = left;
        before = start;
    }
    timeframe_of(common)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::exchange::binance::Binance;
    use crate::exchange::registry::EXCHANGES;

    #[track_caller]
    fn check(text: &str, timeframe: &str, rows: usize) -> VenueBar {
        let klines = parse(text, &Binance).expect("klines");
        let told = klines.timeframe.map(|told| told.to_string());
        assert_eq!(told.as_deref().unwrap_or("?"), timeframe);
        assert_eq!(klines.bars.len(), rows);
        klines.bars.into_values().next().expect("not empty")
    }

    #[test]
    fn the_venues_dumps_are_read_with_or_without_a_header() {
        let row = "1723161240000,61766.20,61839.80,61755.70,61807.80,196.112,1723161299999,12120132.41840,2950,103.638,6404690.00200,0";
        let header = "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore";
        for text in [row.to_owned(), format!("{header}\n{row}\n")] {
            let bar = check(&text, "1m", 1);
            assert_eq!((bar.start_ms, bar.count), (1_723_161_240_000, Some(2_950)));
            assert_eq!(bar.taker_buy_quote_volume.as_deref(), Some("6404690.00200"));
        }
    }

    #[test]
    fn a_csv_may_lack_all_but_prices_and_volume() {
        let text = "open_time,open,high,low,close,volume\n60,1,1,1,1,2.0\n240,1,1,1,1,2.0\n";
        let bar = check(text, "3m", 2);
        assert_eq!(
            (bar.start_ms, bar.count, bar.quote_volume),
            (60_000, None, None)
        );
    }

    #[test]
    fn rest_rows_are_read_one_a_line_or_as_pages() {
        let row = |start: i64| {
            format!(
                r#"[{start},"1","2","0.5","1","3",{},"4",5,"1","1","0"]"#,
                start + 59_999
            )
        };
        let (first, second) = (row(1_588_740_120_000), row(1_588_740_180_000));
        check(&format!("{first}\n{second}\n"), "1m", 2);
        check(&format!("[{first},{second}]"), "1m", 2);
        check(&format!("[{first}]\n[{second}]\n"), "1m", 2);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        let parse = |text: &str| parse(text, &Binance).map(|klines| klines.bars.len());
        assert_eq!(parse("\n"), Err(KlinesError::Empty));
        assert_eq!(
            parse("open_time,open\n"),
            Err(KlinesError::NoColumn("high"))
        );
        assert!(matches!(
            parse("open_time,open,high,low,close,volume\n1,2\n"),
            Err(KlinesError::Row { line: 2, .. })
        ));
        assert!(matches!(parse("[1]\n"), Err(KlinesError::Rest(_))));
        let far = format!(r#"[{},"1","1","1","1","1",0,"1",1,"1","1","0"]"#, i64::MIN);
        assert!(matches!(parse(&far), Err(KlinesError::Rest(_))));
    }

    proptest! {
        #[test]
        fn arbitrary_files_never_panic(text in "(?s).{0,200}", csv in "([0-9a-z_.,-]{0,40}\n){0,6}", rows in "(\\[[0-9\",.-]{0,40}\\]\n){0,4}") {
            for exchange in EXCHANGES {
                for text in [&text, &csv, &rows] {
                    let _ = parse(text, exchange);
                }
            }
        }
    }
}
