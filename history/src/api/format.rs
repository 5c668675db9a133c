//! Rows as JSON, lines of JSON, CSV or Arrow.

use std::fmt::Write as _;

use axum::http::HeaderMap;
use axum::http::header::ACCEPT;
use market_core::wire::{self, Stamp};
use market_core::{AggressorSide, Amount, BarState, Topic, Trade, UnixMillis};

use super::arrow::{self, Column, Values};
use super::error::ApiError;
use super::params::Params;
use crate::store::Instrument;
use crate::{BarRow, Width};

/// How rows are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Format {
    /// One JSON object with all rows.
    Json,
    /// One JSON object a line for each row.
    Ndjson,
    /// Comma-separated values with a header.
    Csv,
    /// Columns for tables.
    Arrow,
}

const FORMATS: [(Format, &str, &str); 4] = [
    (Format::Json, "json", "application/json"),
    (Format::Ndjson, "ndjson", "application/x-ndjson"),
    (Format::Csv, "csv", "text/csv; charset=utf-8"),
    (Format::Arrow, "arrow", arrow::MEDIA_TYPE),
];

impl Format {
    /// What `format` says, or else the first known type in `Accept`; JSON otherwise.
    pub(crate) fn of(params: &Params, headers: &HeaderMap) -> Result<Self, ApiError> {
        if let Some(name) = params.text("format") {
            let format = FORMATS.iter().find(|(_, other, _)| *other == name);
            return format.map(|(format, ..)| *format).ok_or_else(|| {
                let names: Vec<&str> = FORMATS.iter().map(|(_, name, _)| *name).collect();
                let message = format!("format: write one of {}", names.join(", "));
                ApiError::bad("bad_format", message)
            });
        }
        let accepted = headers.get_all(ACCEPT).iter();
        let accepted = accepted.filter_map(|value| value.to_str().ok());
        let mut types = accepted.flat_map(|value| value.split(',')).map(|part| {
            let name = part.split(';').next().unwrap_or_default();
            name.trim().to_ascii_lowercase()
        });
        let known = |name: String| {
            let mut formats = FORMATS.iter();
            let own = |media: &str| media.split(';').next() == Some(name.as_str());
            formats
                .find(|(_, _, media)| own(media))
                .map(|(format, ..)| *format)
        };
        Ok(types.find_map(known).unwrap_or(Self::Json))
    }

    pub(crate) fn content_type(self) -> &'static str {
        let format = FORMATS.iter().find(|(format, ..)| *format == self);
        format.map_or("application/json", |(_, _, media)| media)
    }
}

/// Which bars are written.
pub(crate) struct Bars<'a> {
    pub(crate) instrument: &'a Instrument,
    pub(crate) width: Width,
    /// In the order of the answer.
    pub(crate) rows: Vec<(&'a BarRow, BarState)>,
    pub(crate) next: Option<&'a str>,
    pub(crate) token: Option<&'a str>,
    /// The venue has said that it has no bars of the width from which these are made.
    pub(crate) is_venue_lacking: bool,
}

const BAR_COLUMNS: &str = "start_ms,end_ms,open,high,low,close,volume,quote_volume,taker_buy_volume,taker_buy_quote_volume,count,first_id,last_id,state,rev,quality,event_ms,received_us\n";

impl Bars<'_> {
    pub(crate) fn write(&self, format: Format) -> Vec<u8> {
        match format {
            Format::Json => self.json(),
            Format::Ndjson => {
                let mut out = String::with_capacity(self.rows.len() * 576);
                self.write_objects(&mut out, '\n');
                if !out.is_empty() {
                    out.push('\n');
                }
                out.into_bytes()
            }
            Format::Csv => self.csv().into_bytes(),
            Format::Arrow => arrow::stream(&self.columns(), self.rows.len()),
        }
    }

    /// The columns of the CSV.
    pub(crate) fn columns(&self) -> Vec<Column> {
        let rows = || self.rows.iter().map(|(row, _)| *row);
        let texts = |text: &dyn Fn(&BarRow) -> String| Values::Text(rows().map(text).collect());
        let times = |time: &dyn Fn(&BarRow) -> Option<i64>| rows().map(time).collect();
        let ids = |id: &dyn Fn(&BarRow) -> Option<u64>| Values::U64(rows().map(id).collect());
        let states = self
            .rows
            .iter()
            .map(|(_, state)| state_name(*state).to_owned());
        let column = |name, values| Column { name, values };
        let decimals =
            |text: &dyn Fn(&BarRow) -> String| Values::Decimals(rows().map(text).collect());
        let told = |sum: &dyn Fn(&BarRow) -> Option<Amount>| {
            let texts = rows().map(|row| sum(row).map(|sum| sum.to_string()));
            Values::SomeDecimals(texts.collect())
        };
        vec![
            column("start_ms", Values::Millis(times(&|row| Some(row.start_ms)))),
            column(
                "end_ms",
                Values::Millis(times(&|row| Some(self.width.end_of(row.start_ms)))),
            ),
            column("open", decimals(&|row| row.open.to_string())),
            column("high", decimals(&|row| row.high.to_string())),
            column("low", decimals(&|row| row.low.to_string())),
            column("close", decimals(&|row| row.close.to_string())),
            column("volume", decimals(&|row| row.volume.to_string())),
            column("quote_volume", told(&|row| row.quote_volume)),
            column("taker_buy_volume", told(&|row| row.taker_buy_volume)),
            column(
                "taker_buy_quote_volume",
                told(&|row| row.taker_buy_quote_volume),
            ),
            column("count", ids(&|row| row.count)),
            column("first_id", ids(&|row| row.ids.map(|ids| ids.first))),
            column("last_id", ids(&|row| row.ids.map(|ids| ids.last))),
            column("state", Values::Text(states.collect())),
            column("rev", ids(&|row| Some(row.rev.into()))),
            column(
                "quality",
                texts(&|row| wire::quality_name(row.quality).to_owned()),
            ),
            column("event_ms", Values::Millis(times(&|row| row.event_ms))),
            column("received_us", Values::Micros(times(&|row| row.received_us))),
        ]
    }

    /// Appends each bar as a client gets it on a socket, with `separator` between two.
    pub(crate) fn write_objects(&self, out: &mut String, separator: char) {
        let Instrument { exchange, symbol } = self.instrument;
        let topic = Topic::bars(self.width, symbol);
        for (index, (row, state)) in self.rows.iter().enumerate() {
            if index > 0 {
                out.push(separator);
            }
            // The past has no place in the live sequence.
            let stamp = Stamp {
                seq: 0,
                epoch: 0,
                published_us: row.known_ms.saturating_mul(1_000),
            };
            wire::write_row(
                out,
                (&topic, exchange, symbol),
                self.width,
                row,
                *state,
                stamp,
            );
        }
    }

    fn json(&self) -> Vec<u8> {
        let mut out = String::with_capacity(256 + self.rows.len() * 576);
        let Instrument { exchange, symbol } = self.instrument;
        // Names, widths, cursors and tokens are plain: nothing needs escaping.
        let _ = write!(
            out,
            r#"{{"exchange":"{exchange}","symbol":"{symbol}","width":"{}","bars":["#,
            self.width
        );
        self.write_objects(&mut out, ',');
        let venue = match self.is_venue_lacking {
            true => r#","venue_has_width":false"#,
            false => "",
        };
        let _ = write!(
            out,
            r#"],"next":{},"token":{}{venue}}}"#,
            quoted(self.next),
            quoted(self.token)
        );
        out.into_bytes()
    }

    fn csv(&self) -> String {
        let mut out = String::with_capacity(256 + self.rows.len() * 160);
        out.push_str(BAR_COLUMNS);
        for (row, state) in &self.rows {
            let end_ms = self.width.end_of(row.start_ms);
            let state = state_name(*state);
            let BarRow {
                start_ms,
                open,
                high,
                low,
                close,
                volume,
                rev,
                ..
            } = row;
            let _ = write!(
                out,
                "{start_ms},{end_ms},{open},{high},{low},{close},{volume},"
            );
            for sum in [
                row.quote_volume,
                row.taker_buy_volume,
                row.taker_buy_quote_volume,
            ] {
                write_told(&mut out, sum);
            }
            write_told(&mut out, row.count);
            let _ = match row.ids {
                Some(ids) => write!(out, "{},{},", ids.first, ids.last),
                None => write!(out, ",,"),
            };
            let quality = wire::quality_name(row.quality);
            let _ = write!(out, "{state},{rev},{quality},");
            write_time(&mut out, row.event_ms);
            out.push(',');
            write_time(&mut out, row.received_us);
            out.push('\n');
        }
        out
    }
}

/// Which trades are written.
pub(crate) struct Trades<'a> {
    pub(crate) instrument: &'a Instrument,
    pub(crate) rows: &'a [Trade],
    pub(crate) next: Option<&'a str>,
}

impl Trades<'_> {
    /// The columns of the CSV.
    pub(crate) fn columns(&self) -> Vec<Column> {
        let rows = self.rows.iter();
        let texts =
            |text: &dyn Fn(&Trade) -> String| Values::Text(rows.clone().map(text).collect());
        let decimals =
            |text: &dyn Fn(&Trade) -> String| Values::Decimals(rows.clone().map(text).collect());
        let ids =
            |id: &dyn Fn(&Trade) -> u64| Values::U64(rows.clone().map(id).map(Some).collect());
        let times = |time: &dyn Fn(&Trade) -> i64| rows.clone().map(time).map(Some).collect();
        let column = |name, values| Column { name, values };
        vec![
            column("event_ms", Values::Millis(times(&|trade| trade.event_ms))),
            column("price", decimals(&|trade| trade.price.to_string())),
            column("quantity", decimals(&|trade| trade.quantity.to_string())),
            column(
                "aggressor_side",
                texts(&|trade| side_name(trade).to_owned()),
            ),
            column("first_id", ids(&|trade| trade.first_id)),
            column("last_id", ids(&|trade| trade.last_id)),
            column(
                "received_us",
                Values::Micros(times(&|trade| trade.received_us)),
            ),
        ]
    }

    pub(crate) fn write(&self, format: Format) -> Vec<u8> {
        let Instrument { exchange, symbol } = self.instrument;
        let objects = || {
            let rows = self.rows.iter();
            rows.map(|trade| wire::encode_trade(exchange, symbol, trade))
        };
        match format {
            Format::Json => {
                let head = format!(r#"{{"exchange":"{exchange}","symbol":"{symbol}","trades":["#);
                let mut out = head.into_bytes();
                write_list(&mut out, objects());
                out.extend_from_slice(format!(r#"],"next":{}}}"#, quoted(self.next)).as_bytes());
                out
            }
            Format::Ndjson => {
                let mut out = Vec::new();
                for trade in objects() {
                    out.extend_from_slice(&trade);
                    out.push(b'\n');
                }
                out
            }
            Format::Csv => {
                let mut out =
                    "event_ms,price,quantity,aggressor_side,first_id,last_id,received_us\n"
                        .to_owned();
                for trade in self.rows {
                    let side = side_name(trade);
                    let _ = writeln!(
                        out,
                        "{},{},{},{side},{},{},{}",
                        trade.event_ms,
                        trade.price,
                        trade.quantity,
                        trade.first_id,
                        trade.last_id,
                        trade.received_us
                    );
                }
                out.into_bytes()
            }
            Format::Arrow => arrow::stream(&self.columns(), self.rows.len()),
        }
    }
}

fn state_name(state: BarState) -> &'static str {
    match state {
        BarState::Forming => "forming",
        BarState::Closed => "closed",
    }
}

fn side_name(trade: &Trade) -> &'static str {
    match trade.aggressor_side {
        AggressorSide::Buy => "buy",
        AggressorSide::Sell => "sell",
    }
}

fn write_list(out: &mut Vec<u8>, objects: impl Iterator<Item = bytes::Bytes>) {
    for (index, object) in objects.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(&object);
    }
}

/// A cell, which is empty if nobody knows its value.
fn write_told(out: &mut String, value: Option<impl std::fmt::Display>) {
    if let Some(value) = value {
        let _ = write!(out, "{value}");
    }
    out.push(',');
}

fn write_time(out: &mut String, time: Option<UnixMillis>) {
    if let Some(time) = time {
        let _ = write!(out, "{time}");
    }
}

fn quoted(text: Option<&str>) -> String {
    text.map_or_else(|| "null".to_owned(), |text| format!("\"{text}\""))
}
