//! Where the bars of a replay go: as text to a writer, or to a sink of the caller.

use std::io::{self, Write};

use clap::ValueEnum;
use market_core::wire::{Stamp, encode_bar};
use market_core::{Bar, BarState, Quality, Symbol, Topic, UnixMicros};

/// How bars are printed.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum BarFormat {
    /// As on the wire, one a line.
    Jsonl,
    /// A header and one line a bar.
    Csv,
}

const CSV_HEADER: &str = "exchange,symbol,interval,open_time,close_time,open,high,low,close,volume,quote_volume,trades,taker_buy_volume,taker_buy_quote,first_id,last_id,state,quality,rev";

/// Takes the bars of a replay in their order.
pub trait BarSink {
    /// Takes a bar; true if it was not left out. `seq` counts the bars of the symbol, and
    /// `published_us` is the capture's time.
    ///
    /// # Errors
    /// The bar cannot be written.
    fn bar(
        &mut self,
        exchange: &str,
        symbol: &Symbol,
        bar: &Bar,
        seq: u64,
        published_us: UnixMicros,
    ) -> io::Result<bool>;

    /// Writes what is buffered.
    ///
    /// # Errors
    /// It cannot be written.
    fn flush(&mut self) -> io::Result<()>;
}

/// Writes bars as text.
pub(super) struct BarWriter<'w> {
    out: &'w mut dyn Write,
    format: BarFormat,
    no_fill: bool,
    closed_only: bool,
}

impl<'w> BarWriter<'w> {
    /// A writer; CSV begins with its header.
    ///
    /// # Errors
    /// If `out` cannot be written.
    pub(super) fn new(
        out: &'w mut dyn Write,
        format: BarFormat,
        no_fill: bool,
        closed_only: bool,
    ) -> io::Result<Self> {
        if format == BarFormat::Csv {
            writeln!(out, "{CSV_HEADER}")?;
        }
        Ok(Self {
            out,
            format,
            no_fill,
            closed_only,
        })
    }

    fn write_csv(&mut self, exchange: &str, symbol: &Symbol, bar: &Bar) -> io::Result<bool> {
        let Some([open, high, low, close]) = bar.ohlc() else {
            return Ok(false);
        };
        write!(
            self.out,
            "{exchange},{symbol},{},{},{},{open},{high},{low},{close},",
            bar.timeframe, bar.start_ms, bar.end_ms
        )?;
        match &bar.fold {
            Some(fold) => write!(
                self.out,
                "{},{},{},{},{},{},{}",
                fold.volume,
                fold.quote_volume,
                fold.count,
                fold.taker_buy_volume,
                fold.taker_buy_quote_volume,
                fold.first_id,
                fold.last_id
            )?,
            None => write!(self.out, "0,0,0,0,0,,")?,
        }
        let state = match bar.state {
            BarState::Forming => "forming",
            BarState::Closed => "closed",
        };
        let quality = match bar.quality {
            Quality::Complete => "complete",
            Quality::Gap => "gap",
            Quality::Backfilled => "backfilled",
            Quality::Partial => "partial",
            Quality::Filled => "filled",
        };
        writeln!(self.out, ",{state},{quality},{}", bar.rev)?;
        Ok(true)
    }
}

impl BarSink for BarWriter<'_> {
    fn bar(
        &mut self,
        exchange: &str,
        symbol: &Symbol,
        bar: &Bar,
        seq: u64,
        published_us: UnixMicros,
    ) -> io::Result<bool> {
        if (self.no_fill && bar.quality == Quality::Filled)
            || (self.closed_only && bar.state == BarState::Forming)
        {
            return Ok(false);
        }
        match self.format {
            BarFormat::Jsonl => {
                let topic = Topic::bars(bar.timeframe, symbol);
                let stamp = Stamp {
                    seq,
                    epoch: 0,
                    published_us,
                };
                let Some(json) = encode_bar(&topic, exchange, symbol, bar, stamp) else {
                    return Ok(false);
                };
                self.out.write_all(&json)?;
                self.out.write_all(b"\n")?;
            }
            BarFormat::Csv => return self.write_csv(exchange, symbol, bar),
        }
        Ok(true)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
