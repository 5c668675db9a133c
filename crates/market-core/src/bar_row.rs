//! A closed bar as it is stored.

use crate::bar::{Bar, BarState, Fold, Quality};
use crate::series::sequence::IdSpan;
use crate::value::amount::Amount;
use crate::value::clock::{UnixMicros, UnixMillis};
use crate::value::price::Price;

/// One revision of a closed bar: the fields that the bus and the clients have, and what only the
/// store knows about it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BarRow {
    /// First instant in the bar.
    pub start_ms: UnixMillis,
    /// Price of the earliest trade; of a flat bar, the close before.
    pub open: Price,
    /// Highest price.
    pub high: Price,
    /// Lowest price.
    pub low: Price,
    /// Price of the latest trade.
    pub close: Price,
    /// In the base currency.
    pub volume: Amount,
    /// In the quote currency. This and the next three are `None` where the venue does not say them:
    /// in bars that were not made here.
    pub quote_volume: Option<Amount>,
    /// Quantity that takers bought, in the base currency.
    pub taker_buy_volume: Option<Amount>,
    /// Quantity that takers bought, in the quote currency.
    pub taker_buy_quote_volume: Option<Amount>,
    /// Number of trades.
    pub count: Option<u64>,
    /// Lowest and highest trade id; `None` in a flat bar, and where a venue does not say them.
    pub ids: Option<IdSpan>,
    /// Event time of the latest trade, if known.
    pub event_ms: Option<UnixMillis>,
    /// When the newest trade was received, if known.
    pub received_us: Option<UnixMicros>,
    /// Revision number.
    pub rev: u32,
    /// What is known about the bar's completeness.
    pub quality: Quality,
    /// It is the venue's own bar, and any bar that was made here replaces it.
    pub is_imported: bool,
    /// When this revision became known here.
    pub known_ms: UnixMillis,
}

impl BarRow {
    /// The row of a closed bar that became known at `known_ms`. `None` for a forming bar, and for
    /// one with neither trades nor a bar before it.
    #[must_use]
    pub fn of(bar: &Bar, known_ms: UnixMillis) -> Option<Self> {
        match bar.state {
            BarState::Closed => Self::of_any(bar, known_ms),
            BarState::Forming => None,
        }
    }

    /// The same of a forming bar, too.
    #[must_use]
    pub fn of_any(bar: &Bar, known_ms: UnixMillis) -> Option<Self> {
        let [open, high, low, close] = bar.ohlc()?;
        let fold = bar.fold.as_ref();
        let amount = |amount: Option<Amount>| amount.unwrap_or(Amount::ZERO);
        Some(Self {
            start_ms: bar.start_ms,
            open,
            high,
            low,
            close,
            volume: amount(fold.map(|fold| fold.volume)),
            quote_volume: Some(amount(fold.map(|fold| fold.quote_volume))),
            taker_buy_volume: Some(amount(fold.map(|fold| fold.taker_buy_volume))),
            taker_buy_quote_volume: Some(amount(fold.map(|fold| fold.taker_buy_quote_volume))),
            count: Some(fold.map_or(0, |fold| fold.count)),
            ids: fold.map(|fold| IdSpan {
                first: fold.first_id,
                last: fold.last_id,
            }),
            event_ms: fold.map(Fold::event_ms),
            received_us: fold.map(|fold| fold.received_us),
            rev: bar.rev,
            quality: bar.quality,
            is_imported: false,
            known_ms,
        })
    }

    /// The row of an interval without trades, after a bar that closed at `close`.
    #[must_use]
    pub fn flat(start_ms: UnixMillis, close: Price, known_ms: UnixMillis) -> Self {
        Self {
            start_ms,
            open: close,
            high: close,
            low: close,
            close,
            volume: Amount::ZERO,
            quote_volume: Some(Amount::ZERO),
            taker_buy_volume: Some(Amount::ZERO),
            taker_buy_quote_volume: Some(Amount::ZERO),
            count: Some(0),
            ids: None,
            event_ms: None,
            received_us: None,
            rev: 0,
            quality: Quality::Filled,
            is_imported: false,
            known_ms,
        }
    }

    /// Whether no trade happened.
    #[must_use]
    pub fn is_flat(&self) -> bool {
        self.count.is_none_or(|count| count == 0) && self.volume.is_zero()
    }

    /// The order of the revisions of one bar: a bar that was made here comes after an imported one,
    /// then the revision number counts, then the time at which it became known.
    #[must_use]
    pub fn rank(&self) -> (bool, u32, UnixMillis) {
        (!self.is_imported, self.rev, self.known_ms)
    }

    /// The place of the revision that counts among all revisions of one bar: the highest one, unless
    /// it began before its first trade was received, and the venue's whole bar is there.
    #[must_use]
    pub fn current(revisions: &[Self]) -> Option<usize> {
        let highest = |wanted: &dyn Fn(&Self) -> bool| {
            let wanted = revisions.iter().enumerate().filter(|(_, row)| wanted(row));
            wanted.max_by_key(|(_, row)| row.rank()).map(|(at, _)| at)
        };
        let newest = highest(&|_| true)?;
        let is_whole = |row: &Self| row.is_imported && row.quality == Quality::Complete;
        match revisions[newest].quality {
            Quality::Partial => highest(&is_whole).or(Some(newest)),
            _ => Some(newest),
        }
    }

    /// Whether two rows say the same, whenever they became known. The bus may deliver a bar twice.
    #[must_use]
    pub fn says_the_same(&self, other: &Self) -> bool {
        Self {
            known_ms: other.known_ms,
            ..*self
        } == *other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partial_bar_never_counts_beside_the_whole_one_of_the_venue() {
        use Quality::{Backfilled, Complete, Gap, Partial};
        let price = Price::from_parts(1, 0).expect("above zero");
        let row = |quality, rev, is_imported| BarRow {
            quality,
            rev,
            is_imported,
            ..BarRow::flat(0, price, 0)
        };
        let (own, venue) = (
            |quality, rev| row(quality, rev, false),
            row(Complete, 0, true),
        );
        for (revisions, expected) in [
            (vec![], None),
            (vec![own(Partial, 0)], Some(0)),
            (vec![venue, own(Partial, 3)], Some(0)),
            (vec![own(Partial, 3), venue], Some(1)),
            (vec![own(Gap, 0), own(Partial, 1), venue], Some(2)),
            // What was made of all trades here is better known than the venue's bar.
            (vec![own(Partial, 0), venue, own(Backfilled, 1)], Some(2)),
            (vec![own(Complete, 0), venue, own(Gap, 1)], Some(2)),
            (vec![own(Complete, 0), own(Partial, 1)], Some(1)),
            (vec![own(Partial, 0), row(Partial, 0, true)], Some(0)),
        ] {
            assert_eq!(BarRow::current(&revisions), expected, "{revisions:?}");
        }
    }
}
