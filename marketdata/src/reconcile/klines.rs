//! A venue's own bars from a file: CSV with any of the usual column names, or REST rows.

use std::collections::BTreeMap;

use market_core::{Timeframe, UnixMillis};
use venue_files::{KlineColumns, MissingColumn, timeframe_of};

use crate::exchange::{DecodeError, Exchange, VenueBar};

/// When bars start: up to the year 9999.
const START_MS: std::ops::Range<UnixMillis> = 0..253_402_300_800_000;

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
    let columns = match lines.next_if(|(_, line)| KlineColumns::is_header(line)) {
        Some((_, header)) => KlineColumns::of_header(header)
            .map_err(|MissingColumn(name)| KlinesError::NoColumn(name))?,
        None => KlineColumns::without_header(),
    };
    let mut bars = Vec::new();
    let mut told = None;
    for (index, line) in lines {
        let kline = columns.read(line).ok_or_else(|| KlinesError::Row {
            line: index + 1,
            text: line.chars().take(80).collect(),
        })?;
        told = told.or(kline.timeframe);
        bars.push(kline.bar);
    }
    Ok((bars, told))
}

/// The greatest width that divides every distance between two starts.
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
