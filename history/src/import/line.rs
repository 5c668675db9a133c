//! Lines of files as rows.

use market_core::wire::BarMessage;
use market_core::{BarRow, BarState, Symbol, Timeframe, Trade, UnixMillis};
use serde::Deserialize;
use venue_files::binance::{aggressor_side, parse_trade_line};
use venue_files::{KlineColumns, MissingColumn, VenueBar, is_rest, rest_bars, to_millis, trade_of};

/// What a line holds.
#[expect(
    clippy::large_enum_variant,
    reason = "there is one at a time, which is taken apart at once"
)]
pub(super) enum Row {
    Bar(Timeframe, BarRow),
    /// A page of a REST API, without the bars that are not closed yet.
    Page(Vec<(Timeframe, BarRow)>),
    Trade(Trade),
    /// Nothing for the store: a header, another symbol, a frame of another kind, a bar that is not
    /// closed yet.
    LeftOut,
}

/// A trade of a frame or of a REST row.
#[derive(Deserialize)]
struct JsonTrade<'a> {
    #[serde(rename = "s")]
    symbol: Option<&'a str>,
    #[serde(rename = "t")]
    id: Option<u64>,
    #[serde(rename = "f")]
    first: Option<u64>,
    #[serde(rename = "l")]
    last: Option<u64>,
    #[serde(rename = "p")]
    price: &'a str,
    #[serde(rename = "q")]
    quantity: &'a str,
    #[serde(rename = "T")]
    time: i64,
    #[serde(rename = "m")]
    is_buyer_maker: bool,
}

/// A frame of a combined stream.
#[derive(Deserialize)]
struct Frame<'a> {
    stream: Option<&'a str>,
    #[serde(borrow)]
    data: Option<&'a serde_json::value::RawValue>,
}

/// Reads the lines of one file, in their order.
pub(super) struct Reader<'a> {
    exchange: &'a str,
    symbol: &'a Symbol,
    /// The symbol as Binance writes it.
    native: String,
    width: Option<Timeframe>,
    columns: Option<KlineColumns>,
    now_ms: UnixMillis,
}

impl<'a> Reader<'a> {
    pub(super) fn new(
        exchange: &'a str,
        symbol: &'a Symbol,
        width: Option<Timeframe>,
        now_ms: UnixMillis,
    ) -> Self {
        Self {
            exchange,
            symbol,
            native: format!("{}{}", symbol.base(), symbol.quote()),
            width,
            columns: None,
            now_ms,
        }
    }

    /// Learns the columns from a first line that was stored before.
    pub(super) fn see_header(&mut self, line: &str) {
        let _ = self.read(line);
    }

    /// Reads a line.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn read(&mut self, line: &str) -> Result<Row, String> {
        let line = line.trim().trim_start_matches('\u{feff}');
        match line.as_bytes().first() {
            None => Ok(Row::LeftOut),
            Some(_) if is_rest(line) => self.page(line),
            Some(b'{') => self.json(line),
            Some(byte) if byte.is_ascii_digit() => match line.split_once(' ') {
                Some((time, frame)) => self.frame(time, frame.trim()),
                None => self.csv(line),
            },
            Some(_) if line.contains(" <-> ") || line.contains(" <- ") => Ok(Row::LeftOut),
            Some(_) => self.header(line),
        }
    }

    fn header(&mut self, line: &str) -> Result<Row, String> {
        let names = line.to_lowercase();
        if names.split(',').any(|name| name.trim() == "open") {
            let columns = KlineColumns::of_header(line);
            self.columns = Some(columns.map_err(|MissingColumn(name)| {
                format!("is a header of bars without a column {name}")
            })?);
            Ok(Row::LeftOut)
        } else if names.contains("price") {
            Ok(Row::LeftOut)
        } else {
            Err("is neither a bar, nor a trade, nor a header of them".to_owned())
        }
    }

    fn csv(&mut self, line: &str) -> Result<Row, String> {
        // A file of trades has eight columns at most, one of bars without a header eleven or twelve.
        if self.columns.is_none() {
            if line.split(',').count() < 9 {
                let trade = parse_trade_line(line);
                return trade
                    .map(Row::Trade)
                    .map_err(|what| format!("is no trade ({what})"));
            }
            self.columns = Some(KlineColumns::without_header());
        }
        let columns = self.columns.as_ref().ok_or("has no columns")?;
        let kline = columns.read(line).ok_or("is no bar")?;
        self.bar(&kline.bar, kline.timeframe)
    }

    /// Rows of a REST API.
    fn page(&self, line: &str) -> Result<Row, String> {
        let mut page = Vec::new();
        for row in rest_bars(line)? {
            match self.bar(&row.bar, row.timeframe)? {
                Row::Bar(timeframe, bar) if row.is_closed => page.push((timeframe, bar)),
                _ => {}
            }
        }
        Ok(Row::Page(page))
    }

    fn bar(&self, bar: &VenueBar, told: Option<Timeframe>) -> Result<Row, String> {
        let timeframe = self
            .width
            .or(told)
            .ok_or("does not tell how wide its bar is; name it with --width")?;
        if let Some(told) = told
            && told != timeframe
        {
            return Err(format!("is a bar of {told}, not of --width {timeframe}"));
        }
        let row = bar.row(self.now_ms).ok_or("has a number that is none")?;
        self.closed(timeframe, row)
    }

    fn closed(&self, timeframe: Timeframe, row: BarRow) -> Result<Row, String> {
        /// The years 1970 to 9999.
        const TIMES_MS: std::ops::Range<UnixMillis> = 0..253_402_300_800_000;
        if !TIMES_MS.contains(&row.start_ms) || timeframe.start_of(row.start_ms) != row.start_ms {
            return Err(format!("does not start where a bar of {timeframe} starts"));
        }
        let prices = row.low..=row.high;
        if !prices.contains(&row.open) || !prices.contains(&row.close) {
            return Err("has an open or a close outside of low and high".to_owned());
        }
        if timeframe.end_of(row.start_ms) > self.now_ms {
            return Ok(Row::LeftOut);
        }
        Ok(Row::Bar(timeframe, row))
    }

    /// A frame behind its receive time: ns, or seconds with a fraction and a colon.
    fn frame(&self, time: &str, frame: &str) -> Result<Row, String> {
        let received_us = received_us(time).ok_or("does not begin with a receive time")?;
        let Ok(frame) = serde_json::from_str::<Frame<'_>>(frame) else {
            return Err("is no frame".to_owned());
        };
        let (Some(stream), Some(data)) = (frame.stream, frame.data) else {
            return Ok(Row::LeftOut);
        };
        if stream.ends_with("@trade") {
            self.json_trade(data.get(), Some(received_us))
        } else {
            Ok(Row::LeftOut)
        }
    }

    fn json(&self, line: &str) -> Result<Row, String> {
        if line.contains(r#""interval""#) {
            return self.message(line);
        }
        self.json_trade(line, None)
    }

    fn json_trade(&self, json: &str, received_us: Option<i64>) -> Result<Row, String> {
        let trade: JsonTrade<'_> =
            serde_json::from_str(json).map_err(|error| format!("is no trade ({error})"))?;
        if trade.symbol.is_some_and(|symbol| symbol != self.native) {
            return Ok(Row::LeftOut);
        }
        let ids = trade.first.zip(trade.last);
        let ids = ids.or(trade.id.map(|id| (id, id)));
        let ids = ids.ok_or("is a trade without an id")?;
        let event_ms = to_millis(trade.time);
        trade_of(
            ids,
            event_ms,
            trade.price,
            trade.quantity,
            aggressor_side(trade.is_buyer_maker),
            // A row of REST has no receive time.
            received_us.unwrap_or(event_ms.saturating_mul(1_000)),
        )
        .map(Row::Trade)
        .map_err(|what| format!("is no trade ({what})"))
    }

    /// A bar as the bus carries it, and as `marketdata replay` prints it.
    fn message(&self, line: &str) -> Result<Row, String> {
        let bar: BarMessage =
            serde_json::from_str(line).map_err(|error| format!("is no bar ({error})"))?;
        let is_other = !bar.exchange.is_empty() && bar.exchange != self.exchange;
        if is_other || bar.symbol != self.symbol.as_str() || bar.state == BarState::Forming {
            return Ok(Row::LeftOut);
        }
        let row = BarRow::of_message(&bar).ok_or("has a number that is none")?;
        let known_ms = if bar.published_us > 0 {
            row.known_ms
        } else {
            self.now_ms
        };
        // A capture can begin and end in the middle of a bar: what was made live replaces it.
        let row = BarRow {
            is_imported: true,
            known_ms,
            ..row
        };
        self.closed(bar.interval, row)
    }
}

/// Integers are ns, µs, ms or s, recognised by their size.
fn received_us(text: &str) -> Option<i64> {
    if let Some(seconds) = text.strip_suffix(':') {
        let (whole, fraction) = seconds.split_once('.').unwrap_or((seconds, "0"));
        let whole: i64 = whole.parse().ok()?;
        let digits: String = fraction.chars().chain("000000".chars()).take(6).collect();
        return whole
            .checked_mul(1_000_000)?
            .checked_add(digits.parse().ok()?);
    }
    let value: i64 = text.parse().ok()?;
    Some(match value {
        0..100_000_000_000 => value * 1_000_000,
        100_000_000_000..100_000_000_000_000 => value * 1_000,
        100_000_000_000_000..100_000_000_000_000_000 => value,
        _ => value / 1_000,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Lines that begin like the lines of each form.
    fn line() -> impl Strategy<Value = String> {
        prop_oneof![
            ".{0,80}",
            "-?[0-9]{1,20}(,-?[0-9.]{0,30}){4,12}",
            "[0-9]{1,20}:? \\{\"stream\":\"x@trade\",\"data\":\\{\"t\":[0-9]{1,20},\"p\":\"[0-9.]{1,30}\",\"q\":\"[0-9.]{1,30}\",\"T\":-?[0-9]{1,19},\"m\":true\\}\\}",
            "\\[-?[0-9]{1,19}(,\"[0-9.]{1,30}\"){5},-?[0-9]{1,19},\"[0-9.]{1,30}\",[0-9]{1,19}(,\"[0-9.]{1,30}\"){2},\"0\"\\]",
            "\\[\"[0-9]{1,19}\"(,\"[0-9.]{1,30}\"){7},\"[01]\"\\]",
            "\\[\\[[0-9]{1,19}(,[0-9.]{1,30}){5}\\](,\\[[0-9]{1,19}(,[0-9.]{1,30}){5}\\]){0,3}\\]",
            "open_time,(open|high|low|close|volume|,){0,12}",
        ]
    }

    proptest! {
        #[test]
        fn arbitrary_lines_give_a_row_that_can_be_stored_or_an_error(lines in prop::collection::vec(line(), 1..6), has_width in any::<bool>()) {
            let symbol: Symbol = "BTC-USDT".parse().expect("a symbol");
            let width = has_width.then_some(Timeframe::MINUTE);
            let mut reader = Reader::new("binance", &symbol, width, 1_800_000_000_000);
            for line in lines {
                match reader.read(&line) {
                    Ok(Row::Bar(timeframe, row)) => {
                        prop_assert!(crate::block::encode_bars(timeframe, &[row]).is_ok(), "{line}");
                    }
                    Ok(Row::Page(page)) => {
                        for (timeframe, row) in page {
                            prop_assert!(crate::block::encode_bars(timeframe, &[row]).is_ok(), "{line}");
                        }
                    }
                    Ok(Row::Trade(trade)) => {
                        prop_assert!(crate::block::encode_trades(&[trade]).is_ok(), "{line}");
                    }
                    Ok(Row::LeftOut) => {}
                    Err(why) => prop_assert!(!why.is_empty()),
                }
            }
        }
    }

    #[test]
    fn receive_times_are_read_in_every_unit() {
        let cases = [
            ("1723161254087896568", Some(1_723_161_254_087_896)),
            ("1723161254087896", Some(1_723_161_254_087_896)),
            ("1723161254087", Some(1_723_161_254_087_000)),
            ("1723161254", Some(1_723_161_254_000_000)),
            ("1652459225.5072603:", Some(1_652_459_225_507_260)),
            ("1652459225:", Some(1_652_459_225_000_000)),
            ("9223372036854775807.0:", None),
            ("12.x:", None),
            ("x", None),
        ];
        for (text, expected) in cases {
            assert_eq!(received_us(text), expected, "{text}");
        }
    }
}
