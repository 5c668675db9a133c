//! Captures of raw frames: read once, and played to the clients that subscribed to their streams.
//!
//! Two formats are read, plain or gzipped: lines `<receive ns> <json>`, and cryptofeed's (`<url>
//! <-> <s>` for a connection, `<receive s>: <json>` for a frame; `<url> <- ...` is a message of the
//! client and `<url> -> ...` a REST answer). Lines that are not market data of a known stream are
//! left out and counted.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::capture_line::{RawRecord, parse_line, shift_times};
use crate::delay_queue::CapturedFrame;
use crate::exchange::Exchange;
use crate::fixed::{parse_at, parse_decimal};
use crate::instrument::{Instrument, Venue};
use crate::listing::Listing;
use crate::trade::Trade;
use crate::venues::{Channel, binance};

/// Why a capture cannot be played.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The file cannot be read.
    #[error("failed to read capture {path}")]
    Read {
        /// Which file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// It unpacks to more than the configured bound.
    #[error("capture {path} is larger than {bytes_max} bytes")]
    TooLarge {
        /// Which file.
        path: String,
        /// The bound.
        bytes_max: u64,
    },
    /// It has no frame of a known stream.
    #[error("capture {path} has no market data of binance, coinbase or okx ({lines} lines)")]
    Empty {
        /// Which file.
        path: String,
        /// How many lines it has.
        lines: usize,
    },
}

/// A captured frame of a listed symbol.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    /// When the frame was received, microseconds since the epoch.
    pub(crate) received_us: i64,
    symbol: usize,
    channel: Channel,
    stream: String,
    /// The frame as captured.
    frame: String,
    trades: Vec<Trade>,
}

/// Captures that were read.
#[derive(Debug, Default)]
pub(crate) struct Captures {
    records: Vec<RawRecord>,
    /// Lines that are not market data of a known stream.
    pub(crate) skipped: usize,
}

impl Captures {
    /// Reads a file and adds its frames, by receive time.
    pub(crate) fn read(&mut self, path: &Path, bytes_max: u64) -> Result<(), CaptureError> {
        let name = path.display().to_string();
        let failed = |source| CaptureError::Read {
            path: name.clone(),
            source,
        };
        let mut file = BufReader::new(std::fs::File::open(path).map_err(failed)?);
        let is_gzip = file.fill_buf().map_err(failed)?.starts_with(&[0x1F, 0x8B]);
        let unpacked: Box<dyn Read> = if is_gzip {
            Box::new(MultiGzDecoder::new(file))
        } else {
            Box::new(file)
        };
        let mut lines = BufReader::new(unpacked.take(bytes_max + 1));
        let (mut bytes, mut line_count, before) = (0u64, 0, self.records.len());
        let mut line = Vec::new();
        loop {
            line.clear();
            let read = lines.read_until(b'\n', &mut line).map_err(failed)?;
            if read == 0 {
                break;
            }
            bytes += read as u64;
            if bytes > bytes_max {
                return Err(CaptureError::TooLarge {
                    path: name,
                    bytes_max,
                });
            }
            line_count += 1;
            match parse_line(String::from_utf8_lossy(&line).trim()) {
                Some(record) => self.records.push(record),
                None => self.skipped += 1,
            }
        }
        if self.records.len() == before {
            return Err(CaptureError::Empty {
                path: name,
                lines: line_count,
            });
        }
        self.records.sort_by_key(|record| record.received_us);
        Ok(())
    }

    /// The instruments of the frames, with as many decimals as the frames show.
    pub(crate) fn instruments(&self) -> Vec<Instrument> {
        let mut scales: BTreeMap<(Venue, &str), (u8, u8)> = BTreeMap::new();
        for record in &self.records {
            let scale = scales.entry((record.venue, &record.symbol)).or_default();
            for trade in &record.trades {
                scale.0 = scale.0.max(decimals(&trade.price));
                scale.1 = scale.1.max(decimals(&trade.quantity));
            }
        }
        scales
            .into_iter()
            .map(|((venue, symbol), (price_scale, quantity_scale))| {
                Instrument::captured(venue, symbol, price_scale, quantity_scale)
            })
            .collect()
    }

    /// The frames, ready to be played on these instruments. Aggregates go to the tape only if the
    /// capture has no single trades.
    pub(crate) fn into_records(self, listing: &Listing) -> Vec<Record> {
        let with_trades: BTreeSet<(Venue, String)> = self
            .records
            .iter()
            .filter(|record| record.trades.iter().any(|trade| !trade.is_aggregate))
            .map(|record| (record.venue, record.symbol.clone()))
            .collect();
        let mut records = Vec::new();
        for raw in self.records {
            let Some(symbol) = listing.find(raw.venue, &raw.symbol) else {
                continue;
            };
            let instrument = &listing.all()[symbol];
            let singles = with_trades.contains(&(raw.venue, raw.symbol.clone()));
            let trades = raw
                .trades
                .iter()
                .filter(|trade| !(trade.is_aggregate && singles))
                .filter_map(|trade| {
                    Some(Trade {
                        id: trade.id,
                        aggregate_id: trade.aggregate_id.unwrap_or(trade.id),
                        count: trade.count,
                        event_us: trade.event_us,
                        price: parse_at(&trade.price, instrument.price_scale)?,
                        quantity: parse_at(&trade.quantity, instrument.quantity_scale)?,
                        taker_buys: trade.taker_buys,
                    })
                })
                .collect();
            let stream = match raw.channel {
                Channel::Binance(stream) => stream.name(&raw.symbol),
                _ => String::new(),
            };
            records.push(Record {
                received_us: raw.received_us,
                symbol,
                channel: raw.channel,
                stream,
                frame: raw.frame,
                trades,
            });
        }
        records
    }
}

impl Record {
    /// Plays the frame, its venue times moved by `shift_us` if given.
    pub(crate) fn play(&self, exchange: &Exchange, shift_us: Option<i64>, now_ms: i64) {
        let Some(shift_us) = shift_us else {
            return exchange.play(self.symbol, &self.trades, self.formats(&self.frame), now_ms);
        };
        let frame = shift_times(&self.frame, self.channel, shift_us);
        let mut trades = self.trades.clone();
        for trade in &mut trades {
            trade.event_us += shift_us;
        }
        exchange.play(self.symbol, &trades, self.formats(&frame), now_ms);
    }

    /// The frame with and without Binance's wrapper; for other venues, both are the frame.
    fn formats(&self, frame: &str) -> CapturedFrame {
        let is_binance = matches!(self.channel, Channel::Binance(_));
        let payload = serde_json::from_str::<Combined>(frame)
            .ok()
            .filter(|_| is_binance);
        let (single, combined) = match payload {
            Some(wrapped) => (wrapped.data.get().to_owned(), frame.to_owned()),
            None if is_binance => (
                frame.to_owned(),
                binance::encode::combined(&self.stream, frame),
            ),
            None => (frame.to_owned(), frame.to_owned()),
        };
        CapturedFrame {
            channel: self.channel,
            single,
            combined,
            malformed: false,
        }
    }
}

#[derive(Deserialize)]
struct Combined<'a> {
    #[serde(rename = "stream")]
    _stream: String,
    #[serde(borrow)]
    data: &'a RawValue,
}

fn decimals(number: &str) -> u8 {
    // Zeros at the end are padding.
    parse_decimal(number.trim_end_matches('0')).map_or(0, |(_, decimals)| decimals)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BINANCE: &str = r#"1723161254087896568 {"stream":"btcusdt@trade","data":{"e":"trade","E":1723161255343,"s":"BTCUSDT","t":3735683259,"p":"61837.63000000","q":"0.02000000","T":1723161255342,"m":true,"M":true}}"#;

    #[test]
    fn a_frame_is_wrapped_and_unwrapped_as_its_client_wants_it() {
        let captures = Captures {
            records: vec![parse_line(BINANCE).expect("a record")],
            skipped: 0,
        };
        let listing = Listing::new(captures.instruments());
        let record = &captures.into_records(&listing)[0];
        let wrapped = BINANCE.split_once(' ').expect("two parts").1;
        let formats = record.formats(&record.frame);
        assert_eq!(formats.combined, wrapped);
        assert_eq!(
            binance::encode::combined("btcusdt@trade", &formats.single),
            wrapped
        );
    }
}
