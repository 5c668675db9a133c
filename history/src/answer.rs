//! What history knows of bars: those of the store, and the newest ones of the bus.

use std::time::Duration;

use bytes::Bytes;
use market_core::wire::BarMessage;
use market_core::{Quality, Symbol, Timeframe, UnixMillis};
use service::wall_clock_ms;

use crate::range::{self, BarPage, BarQuery, RangeError, StoredBars, WithNewest};
use crate::store::{BarSeries, Instrument, Order, StoreError};
use crate::{BarRow, History};

/// Most questions to the venue for one question of a client.
const FILL_PAGES_MAX: usize = 2;
/// How long a question of a client waits for bars of the venue.
pub(crate) const FILL_TIME: Duration = Duration::from_secs(2);
/// The same of a gateway, which waits for two seconds itself (`--history-answer-ms`).
pub(crate) const FILL_TIME_OF_GATEWAYS: Duration = Duration::from_secs(1);

/// How long after its end a bar may close: publishers wait for late trades.
const CLOSE_WAIT_MS: i64 = 10_000;

/// For how long the bars of a symbol may be late, which somebody follows: a publisher waits for lost trades,
/// and another one may have to take over.
const FOLLOWED_LATE_MS: i64 = 60_000;

/// A page, and the bars that are not closed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BarAnswer {
    /// The closed bars.
    pub page: BarPage,
    /// The bars after the closed ones, by ascending start, if they were asked for and are in the
    /// range. Most often it is one; after the end of an interval, its bar waits for late trades. In
    /// ascending order they belong to the last page, in descending order to the first.
    pub forming: Vec<BarRow>,
}

/// The bar with the newest price of an instrument.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewestBar {
    /// Its series.
    pub series: BarSeries,
    /// The bar.
    pub row: BarRow,
    /// Whether it is not closed yet.
    pub is_forming: bool,
    /// Who had it.
    pub from: NewestFrom,
}

/// Who had a bar.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NewestFrom {
    /// The bus, with the bytes that it carried.
    Bus(Bytes),
    /// The store.
    Store,
    /// The cache.
    Cache,
}

impl NewestBar {
    /// The time of its price. A flat bar repeats an older one.
    #[must_use]
    pub fn at_ms(&self) -> UnixMillis {
        self.row.event_ms.unwrap_or(self.row.start_ms)
    }
}

impl History {
    /// The instrument that a client means by a symbol. A symbol may name its venue
    /// (`OKX:BTC-USDT`), and a plain one may stand for the symbol of any venue that alone has it.
    ///
    /// # Errors
    /// `Unknown`, or `Ambiguous` with the venues that have it.
    pub fn instrument(
        &self,
        symbol: &Symbol,
        exchange: Option<&str>,
    ) -> Result<Instrument, RangeError> {
        let venue = symbol.venue().map(str::to_ascii_lowercase);
        let wanted = exchange.map(str::to_ascii_lowercase);
        let unknown = || match self.index.is_loaded() {
            true => RangeError::Unknown {
                exchange: exchange.unwrap_or("any venue").chars().take(32).collect(),
                symbol: symbol.to_string(),
            },
            // Nobody can say that there are none of it.
            false => RangeError::Store(StoreError::Away {
                store: "the store".into(),
                reason: "it has not answered since history started".to_owned(),
            }),
        };
        if let (Some(venue), Some(wanted)) = (&venue, &wanted)
            && venue != wanted
        {
            return Err(unknown());
        }
        let named = self.index.of_pair(symbol.pair());
        let is_wanted = |instrument: &&Instrument| {
            let wanted = venue.as_deref().or(wanted.as_deref());
            wanted.is_none_or(|wanted| wanted == &*instrument.exchange)
        };
        let mut found: Vec<&Instrument> = named.iter().filter(is_wanted).collect();
        if found.len() > 1 {
            // Of the symbols of one pair, one is plain.
            let is_same = |instrument: &&Instrument| instrument.symbol == *symbol;
            let same: Vec<_> = found.iter().copied().filter(is_same).collect();
            if same.len() == 1 {
                found = same;
            }
        }
        match found[..] {
            [] => Err(unknown()),
            [instrument] => Ok(instrument.clone()),
            _ => {
                let exchanges: Vec<&str> = found.iter().map(|found| &*found.exchange).collect();
                Err(RangeError::Ambiguous {
                    symbol: symbol.to_string(),
                    exchanges: exchanges.join(", "),
                })
            }
        }
    }

    /// What there is of an instrument, by timeframe: in the store, and on the bus alone.
    #[must_use]
    pub fn stored_bars(&self, instrument: &Instrument) -> Vec<StoredBars> {
        let mut stored = self.index.stored_bars(instrument);
        for series in self.latest.of_instrument(instrument) {
            let is_stored = stored.iter().any(|bars| bars.timeframe == series.timeframe);
            if !is_stored {
                stored.push(StoredBars::not_yet(series.timeframe));
            }
        }
        stored
    }

    /// Gets older bars from the venue, if a question reaches back further than the store. It takes
    /// `time` at most; bars that come later are for the next question. What is stored is an answer, too,
    /// so a failure is no error.
    pub(crate) async fn reach_back(&self, query: &BarQuery, time: Duration) {
        let stored = self.stored_bars(&query.instrument);
        let Ok(timeframe) = range::source_of(query, &stored) else {
            return;
        };
        let series = BarSeries {
            instrument: query.instrument.clone(),
            timeframe,
        };
        let Some(first_ms) = self.index.get(&series).map(|info| info.first_ms) else {
            return;
        };
        let from_ms = query.reaches_to().filter(|from_ms| *from_ms < first_ms);
        // What became known later, or was known then, is stored.
        let is_of_stored = query.as_of_ms.is_some() || query.known_after_ms.is_some();
        let Some(from_ms) = from_ms.filter(|_| !is_of_stored) else {
            return;
        };
        self.fill_on_demand(&series, from_ms, FILL_PAGES_MAX, time)
            .await;
    }

    /// Reads a page of bars. It blocks: call it on a thread that may.
    ///
    /// # Errors
    /// See [`RangeError`].
    pub fn bars(&self, query: &BarQuery, wants_forming: bool) -> Result<BarAnswer, RangeError> {
        let stored = self.stored_bars(&query.instrument);
        let source = range::source_of(query, &stored)?;
        let series = BarSeries {
            instrument: query.instrument.clone(),
            timeframe: source,
        };
        let newest = self.latest.of(&series);
        let closed = newest.closed.iter().filter_map(row_of).collect();
        // Read after the newest bars: what was stored meanwhile is both here and there.
        let stored_until = self.index.get(&series).map(|info| info.last_end_ms);
        let closed = range::joined(source, stored_until, closed);
        let store = WithNewest::new(&*self.store, &series, closed);
        let page = range::bars(&store, &stored, query)?;
        let is_its_page = match query.order {
            Order::Ascending => page.next.is_none(),
            Order::Descending => query.cursor.is_none(),
        };
        let mut forming = Vec::new();
        if wants_forming && is_its_page && query.as_of_ms.is_none() {
            let live = newest.closing.iter().chain(&newest.forming);
            let live: Vec<BarRow> = live.filter_map(row_of).collect();
            let old_before_ms = wall_clock_ms().saturating_sub(CLOSE_WAIT_MS);
            forming = range::forming(&store, query, source, &live, old_before_ms)?;
            forming.retain(|bar| {
                query.from_ms.is_none_or(|from| from <= bar.start_ms)
                    && query.to_ms.is_none_or(|to| bar.start_ms < to)
                    && (query.has_flat_bars || bar.quality != Quality::Filled)
            });
        }
        Ok(BarAnswer { page, forming })
    }

    /// Whether a publisher makes the bars of an instrument. Each interval of the narrowest timeframe has a
    /// bar, with or without trades: where the newest is an old one, nobody follows the symbol any more.
    /// `None` if the bus has no bars of it.
    pub(crate) fn is_followed(&self, instrument: &Instrument, now_ms: UnixMillis) -> Option<bool> {
        let next_end_ms = self.latest.next_end_ms(instrument)?;
        Some(now_ms <= next_end_ms.saturating_add(FOLLOWED_LATE_MS))
    }

    /// The bar with the newest price of an instrument: of the bus, or else of the store, and of the
    /// permitted timeframes. It may block.
    ///
    /// # Errors
    /// See [`RangeError`].
    pub fn newest_bar(
        &self,
        instrument: &Instrument,
        permits: impl Fn(Timeframe) -> bool,
    ) -> Result<Option<NewestBar>, RangeError> {
        if let Some(newest) = self.newest_on_bus(instrument, &permits) {
            return Ok(Some(newest));
        }
        let mut infos = self.index.of_instrument(instrument);
        infos.retain(|info| permits(info.series.timeframe));
        let Some(info) = infos.into_iter().max_by_key(|info| info.last_end_ms) else {
            return Ok(None);
        };
        let newest = self.store.latest_bar(&info.series);
        self.store_health.set_answers(newest.is_ok());
        Ok(newest?.map(|row| NewestBar {
            series: info.series,
            row,
            is_forming: false,
            from: NewestFrom::Store,
        }))
    }

    /// The bar with the newest price of an instrument that the bus delivered.
    pub(crate) fn newest_on_bus(
        &self,
        instrument: &Instrument,
        permits: impl Fn(Timeframe) -> bool,
    ) -> Option<NewestBar> {
        let mut best: Option<NewestBar> = None;
        for series in self.latest.of_instrument(instrument) {
            if !permits(series.timeframe) {
                continue;
            }
            for (start_ms, is_forming, payload) in self.latest.newest_first(&series) {
                let end_ms = series.timeframe.end_of(start_ms);
                // Neither this bar nor the older ones of its series can have a newer price.
                if best.as_ref().is_some_and(|best| end_ms <= best.at_ms()) {
                    break;
                }
                let Some(bar) = row_of(&payload) else {
                    continue;
                };
                let newest = NewestBar {
                    series: series.clone(),
                    row: bar,
                    is_forming,
                    from: NewestFrom::Bus(payload),
                };
                if best
                    .as_ref()
                    .is_none_or(|best| best.at_ms() < newest.at_ms())
                {
                    best = Some(newest);
                }
            }
        }
        best
    }
}

/// The row of a bar that the bus carried.
fn row_of(payload: &Bytes) -> Option<BarRow> {
    BarRow::of_message(&BarMessage::read(payload)?)
}
