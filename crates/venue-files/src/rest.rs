//! Bars of venues as their REST APIs give them: a page, or a row of one, on a line.
//!
//! ```json
//! [1499040000000,"0.0163","0.8","0.0157","0.0157","148976.1",1499644799999,"2434.1",308,"1756.8","28.4","0"]
//! ["1597026420000","8551.8","8552.0","8549.0","8549.1","11.2","95800.1","95800.1","1"]
//! [1415398800,0.32,4.2,0.35,4.2,12.3]
//! ```
//!
//! The first is Binance's `/api/v3/klines`, the second OKX's `/api/v5/market/history-candles`
//! (`[ts,o,h,l,c,vol,volCcy,volCcyQuote,confirm]`, in an object with `data`), the third Coinbase's
//! `/products/{id}/candles` (`[time,low,high,open,close,volume]`, time in seconds). Their forms
//! differ, so nobody has to name the venue.

use market_core::Timeframe;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::binance::RestKline;
use crate::klines::VenueBar;
use crate::timeframe_of;

/// A venue's own bar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestBar {
    /// The bar.
    pub bar: VenueBar,
    /// Its timeframe, if the row reveals it.
    pub timeframe: Option<Timeframe>,
    /// False if the venue says that it can still change.
    pub is_closed: bool,
}

/// OKX's page.
#[derive(Deserialize)]
struct Page<'a> {
    code: String,
    #[serde(default)]
    msg: String,
    #[serde(borrow, default)]
    data: Vec<&'a RawValue>,
}

/// Whether a line can be what [`rest_bars`] reads.
#[must_use]
pub fn is_rest(line: &str) -> bool {
    line.starts_with('[') || line == "]" || (line.starts_with('{') && line.contains("\"code\""))
}

/// Reads a line: a row, a page of rows, or the beginning or the end of a page that has a row a line.
///
/// # Errors
/// What is wrong with it.
pub fn rest_bars(line: &str) -> Result<Vec<RestBar>, String> {
    let line = line.trim().trim_end_matches(',');
    if line.starts_with('{') {
        let page: Page<'_> =
            serde_json::from_str(line).map_err(|error| format!("is no page of bars ({error})"))?;
        if page.code != "0" {
            let (code, why) = (page.code, page.msg);
            return Err(format!(
                "is an error of the venue and no page of bars: {code} {why}"
            ));
        }
        return page
            .data
            .into_iter()
            .map(|row| rest_bar(row.get()))
            .collect();
    }
    if let Ok(rows) = serde_json::from_str::<Vec<&RawValue>>(line)
        && rows.iter().all(|row| row.get().starts_with('['))
    {
        return rows.into_iter().map(|row| rest_bar(row.get())).collect();
    }
    let row = line.strip_prefix("[[").map(|rest| format!("[{rest}"));
    let row = row.as_deref().unwrap_or(line);
    let row = match row.strip_suffix("]]") {
        Some(row) => format!("{row}]"),
        None => row.to_owned(),
    };
    match row.as_str() {
        "[" | "]" => Ok(Vec::new()),
        row => Ok(vec![rest_bar(row)?]),
    }
}

fn rest_bar(row: &str) -> Result<RestBar, String> {
    let wrong = |error: serde_json::Error| format!("is no row of bars ({error})");
    let cells: Vec<&RawValue> = serde_json::from_str(row).map_err(wrong)?;
    match cells[..] {
        [
            start,
            open,
            high,
            low,
            close,
            volume,
            _,
            quote_volume,
            confirm,
        ] if start.get().starts_with('"') => {
            let start_ms = text(start).parse();
            Ok(RestBar {
                bar: VenueBar {
                    start_ms: start_ms.map_err(|_| "has a time that is no number")?,
                    open: text(open),
                    high: text(high),
                    low: text(low),
                    close: text(close),
                    volume: text(volume),
                    quote_volume: Some(text(quote_volume)),
                    count: None,
                    taker_buy_volume: None,
                    taker_buy_quote_volume: None,
                },
                timeframe: None,
                is_closed: text(confirm) != "0",
            })
        }
        [start, low, high, open, close, volume] => {
            let start_s: Result<i64, _> = start.get().parse();
            let start_s = start_s.map_err(|_| "has a time that is no number of seconds")?;
            Ok(RestBar {
                bar: VenueBar {
                    start_ms: start_s
                        .checked_mul(1_000)
                        .ok_or("has a time out of range")?,
                    open: text(open),
                    high: text(high),
                    low: text(low),
                    close: text(close),
                    volume: text(volume),
                    quote_volume: None,
                    count: None,
                    taker_buy_volume: None,
                    taker_buy_quote_volume: None,
                },
                timeframe: None,
                is_closed: true,
            })
        }
        _ => {
            let row: RestKline = serde_json::from_str(row).map_err(wrong)?;
            let last_ms = row.last_ms();
            let bar = VenueBar::from(row);
            let width_ms = last_ms.checked_sub(bar.start_ms);
            Ok(RestBar {
                bar,
                timeframe: width_ms.and_then(timeframe_of),
                is_closed: true,
            })
        }
    }
}

/// A number or a text, as it is written.
fn text(value: &RawValue) -> String {
    value.get().trim_matches('"').to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OKX: &str =
        r#"["1597026420000","8551.8","8552.0","8549.0","8549.1","11.2","95800.1","95801.2","1"]"#;
    const COINBASE: &str = "[1415398800,0.32,4.2,0.35,4.25,12.3]";
    const BINANCE: &str =
        r#"[1499040000000,"1","4","0.5","2","10",1499040059999,"20",3,"5","9","0"]"#;

    fn described(line: &str) -> Vec<String> {
        let bars = rest_bars(line).expect(line).into_iter();
        let described = bars.map(
            |RestBar {
                 bar,
                 timeframe,
                 is_closed,
             }| {
                format!(
                    "{} {} {} {} {} {} {:?} {:?} {:?} {is_closed}",
                    bar.start_ms,
                    bar.open,
                    bar.high,
                    bar.low,
                    bar.close,
                    bar.volume,
                    bar.quote_volume.as_deref(),
                    bar.count,
                    timeframe.map(|timeframe| timeframe.to_string()),
                )
            },
        );
        described.collect()
    }

    #[test]
    fn rows_of_each_venue_are_read_alone_and_in_pages() {
        let okx = "1597026420000 8551.8 8552.0 8549.0 8549.1 11.2 Some(\"95801.2\") None None true";
        let coinbase = "1415398800000 0.35 4.2 0.32 4.25 12.3 None None None true";
        let binance = "1499040000000 1 4 0.5 2 10 Some(\"20\") Some(3) Some(\"1m\") true";
        assert_eq!(described(OKX), [okx]);
        assert_eq!(described(COINBASE), [coinbase]);
        assert_eq!(described(&format!("{BINANCE},")), [binance]);
        let page = format!(r#"{{"code":"0","msg":"","data":[{OKX},{OKX}]}}"#);
        assert_eq!(described(&page), [okx, okx]);
        assert_eq!(
            described(&format!("[{COINBASE},{COINBASE}]")),
            [coinbase, coinbase]
        );
        assert_eq!(described(&format!("[{BINANCE}]")), [binance]);
        // A page with a row a line.
        for (line, rows) in [
            ("[".to_owned(), 0),
            (format!("[{COINBASE},"), 1),
            (format!("{COINBASE}]"), 1),
            ("]".to_owned(), 0),
            ("[]".to_owned(), 0),
        ] {
            assert!(is_rest(&line));
            assert_eq!(described(&line).len(), rows, "{line}");
        }
        let forming = OKX.replace(r#""1"]"#, r#""0"]"#);
        assert!(!rest_bars(&forming).expect("a row")[0].is_closed);
    }

    #[test]
    fn what_is_no_row_is_refused_with_the_reason() {
        for (line, reason) in [
            (
                r#"{"code":"51001","msg":"Instrument ID does not exist","data":[]}"#,
                "51001 Instrument",
            ),
            (r#"{"code":0}"#, "no page"),
            ("[1,2,3]", "no row"),
            ("[[1,2,3],[4]]", "no row"),
            ("[99999999999999999999,1,2,3,4,5]", "seconds"),
            ("[9999999999999999,1,2,3,4,5]", "range"),
            (r#"["x","1","1","1","1","1","1","1","1"]"#, "no number"),
        ] {
            let error = rest_bars(line).expect_err(line);
            assert!(error.contains(reason), "{line}: {error}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_lines_never_panic(
            line in ".{0,60}",
            cells in "\\[{0,3}\"?[0-9]{1,20}\"?(,\"?[0-9.a-z]{0,20}\"?){0,13}\\]{0,3},?",
        ) {
            let _ = rest_bars(&line);
            let _ = rest_bars(&cells);
        }
    }
}
