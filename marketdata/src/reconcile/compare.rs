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
    /// The venue's value.
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

/// How many trades our bar has. A bar that was made here says it.
pub(super) fn count_of(ours: &BarMessage) -> u64 {
    ours.count.unwrap_or_default()
}

fn told(sum: Option<&String>) -> &str {
    sum.map_or("", String::as_str)
}

/// Our bar's fields, in the order of [`VenueBar::fields`].
fn fields_of(ours: &BarMessage) -> [&str; 8] {
    [
        &ours.open,
        &ours.high,
        &ours.low,
        &ours.close,
        &ours.volume,
        told(ours.quote_volume.as_ref()),
        told(ours.taker_buy_volume.as_ref()),
        told(ours.taker_buy_quote_volume.as_ref()),
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
            return if count_of(ours) == 0 {
                Verdict::Equal
            } else {
                Verdict::Mismatch(Cause::ExtraBar, volumes(Some(ours), None))
            };
        }
    };
    if count_of(ours) > 0 && venue.is_empty() {
        return Verdict::Mismatch(Cause::ExtraBar, volumes(Some(ours), Some(venue)));
    }
    let is_missing = count_of(ours) == 0 && !venue.is_empty();
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
    if venue.count.is_some_and(|count| count != count_of(ours)) {
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
        ours: ours.map(|bar| count_of(bar).to_string()),
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
    venue.count.is_none_or(|count| count_of(ours) <= count)
        && venue
            .fields()
            .into_iter()
            .zip(fields_of(ours))
            .all(|((field, theirs), ours)| {
                theirs.is_none_or(|theirs| is_within(field, ours, theirs))
            })
}

#[cfg(test)]
mod tests;
