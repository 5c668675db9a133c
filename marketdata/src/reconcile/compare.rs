//! Compares one of our bars with the venue's own bar of the same interval.

use market_core::wire::BarMessage;
use market_core::{BarState, Quality};
use serde::Serialize;

use super::exact::Exact;
use crate::exchange::VenueBar;

/// Why a bar differs from the venue's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The venue has trades, but we have none.
    MissingBar,
    /// We have trades, but the venue has none.
    ExtraBar,
    /// The capture begins or ends in the middle of the interval, and our bar can be a part of the
    /// venue's.
    Partial,
    /// Our bar says that trades are missing, and it can be a part of the venue's.
    Gap,
    /// At least one field differs, and no known cause explains it.
    FieldDiffers,
}

/// One field's two values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Its name.
    pub field: &'static str,
    /// What we have.
    pub ours: Option<String>,
    /// What the venue has.
    pub venue: Option<String>,
}

/// The result of a comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every field of the venue's bar equals ours; or there are no trades on either side.
    Equal,
    /// Not equal.
    Mismatch(Cause, Vec<Difference>),
}

impl Cause {
    /// Every cause, in the order of reports.
    pub const ALL: [Self; 5] = [
        Self::MissingBar,
        Self::ExtraBar,
        Self::FieldDiffers,
        Self::Partial,
        Self::Gap,
    ];

    /// Its name in reports and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::MissingBar => "missing_bar",
            Self::ExtraBar => "extra_bar",
            Self::Partial => "partial",
            Self::Gap => "gap",
            Self::FieldDiffers => "field_differs",
        }
    }

    /// Whether our bar says that it is incomplete.
    #[must_use]
    pub fn is_explained(self) -> bool {
        matches!(self, Self::Partial | Self::Gap)
    }
}

impl VenueBar {
    /// Whether there were no trades: some venues have a flat bar there, others none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        match self.count {
            Some(count) => count == 0,
            None => Exact::parse(&self.volume).is_some_and(|volume| volume.is_zero()),
        }
    }

    /// The fields that are compared if the venue has them.
    #[must_use]
    pub fn fields(&self) -> [(&'static str, Option<&str>); 8] {
        [
            ("open", Some(&self.open)),
            ("high", Some(&self.high)),
            ("low", Some(&self.low)),
            ("close", Some(&self.close)),
            ("volume", Some(&self.volume)),
            ("quote_volume", self.quote_volume.as_deref()),
            ("taker_buy_volume", self.taker_buy_volume.as_deref()),
            (
                "taker_buy_quote_volume",
                self.taker_buy_quote_volume.as_deref(),
            ),
        ]
    }
}

/// Our bar's fields, in the order of those of [`VenueBar::fields`].
fn fields_of(ours: &BarMessage) -> [&str; 8] {
    [
        &ours.open,
        &ours.high,
        &ours.low,
        &ours.close,
        &ours.volume,
        &ours.quote_volume,
        &ours.taker_buy_volume,
        &ours.taker_buy_quote_volume,
    ]
}

/// Compares the bars of one interval; either may be absent.
#[must_use]
pub fn compare(ours: Option<&BarMessage>, venue: Option<&VenueBar>) -> Verdict {
    let (ours, venue) = match (ours, venue) {
        (Some(ours), Some(venue)) => (ours, venue),
        // A flat bar and no bar mean the same.
        (None, None) => return Verdict::Equal,
        (None, Some(venue)) => {
            return if venue.is_empty() {
                Verdict::Equal
            } else {
                Verdict::Mismatch(Cause::MissingBar, volumes(None, Some(venue)))
            };
        }
        (Some(ours), None) => {
            return if ours.count == 0 {
                Verdict::Equal
            } else {
                Verdict::Mismatch(Cause::ExtraBar, volumes(Some(ours), None))
            };
        }
    };
    if ours.count > 0 && venue.is_empty() {
        return Verdict::Mismatch(Cause::ExtraBar, volumes(Some(ours), Some(venue)));
    }
    let is_missing = ours.count == 0 && !venue.is_empty();
    let differences = if is_missing {
        volumes(Some(ours), Some(venue))
    } else {
        differences(ours, venue)
    };
    if differences.is_empty() {
        return Verdict::Equal;
    }
    // A bar that says that it is incomplete is accepted only if it can be a part.
    let is_part = is_missing || is_part_of(ours, venue);
    let cause = match ours.quality {
        Quality::Gap if is_part => Cause::Gap,
        Quality::Partial if is_part => Cause::Partial,
        _ if is_part && ours.state == BarState::Forming => Cause::Partial,
        _ if is_missing => Cause::MissingBar,
        _ => Cause::FieldDiffers,
    };
    Verdict::Mismatch(cause, differences)
}

fn differences(ours: &BarMessage, venue: &VenueBar) -> Vec<Difference> {
    let mut differences = Vec::new();
    for ((field, theirs), ours) in venue.fields().into_iter().zip(fields_of(ours)) {
        // A field that the venue does not have cannot differ.
        let Some(theirs) = theirs else { continue };
        let is_same = match (Exact::parse(ours), Exact::parse(theirs)) {
            (Some(ours), Some(theirs)) => ours == theirs,
            _ => false,
        };
        if !is_same {
            differences.push(Difference {
                field,
                ours: Some(ours.to_owned()),
                venue: Some(theirs.to_owned()),
            });
        }
    }
    if venue.count.is_some_and(|count| count != ours.count) {
        differences.push(count_difference(Some(ours), Some(venue)));
    }
    differences
}

/// The value that is reported if one side has none.
fn volumes(ours: Option<&BarMessage>, venue: Option<&VenueBar>) -> Vec<Difference> {
    let volume = Difference {
        field: "volume",
        ours: ours.map(|bar| bar.volume.clone()),
        venue: venue.map(|bar| bar.volume.clone()),
    };
    vec![volume, count_difference(ours, venue)]
}

fn count_difference(ours: Option<&BarMessage>, venue: Option<&VenueBar>) -> Difference {
    Difference {
        field: "count",
        ours: ours.map(|bar| bar.count.to_string()),
        venue: venue
            .and_then(|bar| bar.count)
            .map(|count| count.to_string()),
    }
}

/// Whether our trades can be some of the venue's: no sum is larger, no extreme is outside.
fn is_part_of(ours: &BarMessage, venue: &VenueBar) -> bool {
    let is_within = |field: &str, ours: &str, theirs: &str| {
        let (Some(ours), Some(theirs)) = (Exact::parse(ours), Exact::parse(theirs)) else {
            return false;
        };
        match field {
            "open" | "close" => true,
            "low" => ours >= theirs,
            _ => ours <= theirs,
        }
    };
    venue.count.is_none_or(|count| ours.count <= count)
        && venue
            .fields()
            .into_iter()
            .zip(fields_of(ours))
            .all(|((field, theirs), ours)| {
                theirs.is_none_or(|theirs| is_within(field, ours, theirs))
            })
}

#[cfg(test)]
mod tests {
    use market_core::Timeframe;
    use proptest::prelude::*;

    use super::*;

    fn ours() -> BarMessage {
        BarMessage {
            topic: String::new(),
            seq: 0,
            epoch: 0,
            exchange: "binance".to_owned(),
            symbol: "BTC-USDT".to_owned(),
            interval: Timeframe::MINUTE,
            start_ms: 60_000,
            end_ms: 120_000,
            open: "10".to_owned(),
            high: "12".to_owned(),
            low: "9.5".to_owned(),
            close: "11".to_owned(),
            volume: "3".to_owned(),
            quote_volume: "31".to_owned(),
            taker_buy_volume: "1".to_owned(),
            taker_buy_quote_volume: "10".to_owned(),
            count: 4,
            first_id: None,
            last_id: None,
            state: BarState::Closed,
            rev: 0,
            quality: Quality::Complete,
            event_ms: None,
            received_us: None,
            published_us: 0,
        }
    }

    fn venue() -> VenueBar {
        VenueBar {
            start_ms: 60_000,
            open: "10.00".to_owned(),
            high: "12.00".to_owned(),
            low: "9.50".to_owned(),
            close: "11.00".to_owned(),
            volume: "3.000".to_owned(),
            quote_volume: Some("31.0000".to_owned()),
            count: Some(4),
            taker_buy_volume: Some("1.000".to_owned()),
            taker_buy_quote_volume: Some("10.0".to_owned()),
        }
    }

    fn empty_venue() -> VenueBar {
        VenueBar {
            open: "11".to_owned(),
            high: "11".to_owned(),
            low: "11".to_owned(),
            close: "11".to_owned(),
            volume: "0.000".to_owned(),
            quote_volume: Some("0".to_owned()),
            count: Some(0),
            taker_buy_volume: Some("0".to_owned()),
            taker_buy_quote_volume: Some("0".to_owned()),
            ..venue()
        }
    }

    fn filled() -> BarMessage {
        let flat = || "11".to_owned();
        BarMessage {
            open: flat(),
            high: flat(),
            low: flat(),
            close: flat(),
            volume: "0".to_owned(),
            quote_volume: "0".to_owned(),
            taker_buy_volume: "0".to_owned(),
            taker_buy_quote_volume: "0".to_owned(),
            count: 0,
            quality: Quality::Filled,
            ..ours()
        }
    }

    /// `None` for equal, else the cause and the fields.
    #[track_caller]
    fn check(ours: Option<&BarMessage>, venue: Option<&VenueBar>, expected: Option<(Cause, &str)>) {
        let found = match compare(ours, venue) {
            Verdict::Equal => None,
            Verdict::Mismatch(cause, differences) => {
                let fields: Vec<&str> = differences.iter().map(|found| found.field).collect();
                Some((cause, fields.join(",")))
            }
        };
        assert_eq!(
            found,
            expected.map(|(cause, fields)| (cause, fields.to_owned()))
        );
    }

    #[test]
    fn spelling_and_fields_that_the_venue_lacks_are_no_difference() {
        check(Some(&ours()), Some(&venue()), None);
        let bare = VenueBar {
            quote_volume: None,
            count: None,
            taker_buy_volume: None,
            taker_buy_quote_volume: None,
            ..venue()
        };
        check(Some(&ours()), Some(&bare), None);
    }

    #[test]
    fn an_empty_interval_may_be_flat_or_absent_on_either_side() {
        check(Some(&filled()), Some(&empty_venue()), None);
        check(Some(&filled()), None, None);
        check(None, Some(&empty_venue()), None);
        check(None, None, None);
        let elsewhere = VenueBar {
            open: "11.5".to_owned(),
            ..empty_venue()
        };
        check(
            Some(&filled()),
            Some(&elsewhere),
            Some((Cause::FieldDiffers, "open")),
        );
    }

    #[test]
    fn trades_on_one_side_only_are_missing_or_extra() {
        let missing = Some((Cause::MissingBar, "volume,count"));
        check(None, Some(&venue()), missing);
        check(Some(&filled()), Some(&venue()), missing);
        let extra = Some((Cause::ExtraBar, "volume,count"));
        check(Some(&ours()), None, extra);
        check(Some(&ours()), Some(&empty_venue()), extra);
        let lost = BarMessage {
            quality: Quality::Gap,
            ..filled()
        };
        check(
            Some(&lost),
            Some(&venue()),
            Some((Cause::Gap, "volume,count")),
        );
    }

    #[test]
    fn every_field_that_differs_is_named() {
        let differing = VenueBar {
            close: "11.1".to_owned(),
            taker_buy_volume: Some("2".to_owned()),
            count: Some(5),
            ..venue()
        };
        check(
            Some(&ours()),
            Some(&differing),
            Some((Cause::FieldDiffers, "close,taker_buy_volume,count")),
        );
    }

    #[test]
    fn a_part_is_explained_only_if_it_can_be_one() {
        let more = VenueBar {
            high: "13".to_owned(),
            volume: "5".to_owned(),
            count: Some(9),
            ..venue()
        };
        let less = VenueBar {
            volume: "2".to_owned(),
            ..venue()
        };
        for (quality, cause) in [
            (Quality::Partial, Cause::Partial),
            (Quality::Gap, Cause::Gap),
        ] {
            let part = BarMessage { quality, ..ours() };
            check(Some(&part), Some(&more), Some((cause, "high,volume,count")));
            check(
                Some(&part),
                Some(&less),
                Some((Cause::FieldDiffers, "volume")),
            );
        }
        let forming = BarMessage {
            state: BarState::Forming,
            ..ours()
        };
        check(
            Some(&forming),
            Some(&more),
            Some((Cause::Partial, "high,volume,count")),
        );
    }

    proptest! {
        #[test]
        fn whatever_a_venue_writes_is_compared(texts in proptest::collection::vec("[0-9.eE-]{0,12}|.{0,8}", 6), count in any::<Option<u64>>()) {
            let odd = VenueBar {
                start_ms: 60_000,
                open: texts[0].clone(),
                high: texts[1].clone(),
                low: texts[2].clone(),
                close: texts[3].clone(),
                volume: texts[4].clone(),
                quote_volume: Some(texts[5].clone()),
                count,
                taker_buy_volume: None,
                taker_buy_quote_volume: None,
            };
            for quality in [Quality::Complete, Quality::Gap, Quality::Partial] {
                let bar = BarMessage { quality, ..ours() };
                let _ = compare(Some(&bar), Some(&odd));
                let _ = compare(None, Some(&odd));
            }
        }
    }
}
