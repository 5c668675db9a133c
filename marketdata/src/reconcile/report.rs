//! The result of a comparison, for people and programs.

use std::collections::BTreeMap;
use std::io::{self, Write};

use market_core::wire::BarMessage;
use market_core::{Timeframe, UnixMillis};
use serde::Serialize;

use super::compare::{Cause, Difference, Verdict, compare, count_of};
use crate::exchange::VenueBar;

/// All that was compared.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The venue.
    pub exchange: &'static str,
    /// What the replay met.
    pub replay: String,
    /// One for each symbol, timeframe and source of klines.
    pub sections: Vec<Section>,
    /// Whether our bar explains every difference.
    pub is_explained: bool,
}

/// One symbol's bars of one timeframe.
#[derive(Clone, Debug, Serialize)]
pub struct Section {
    /// Our name of it.
    pub symbol: String,
    /// The bars' width.
    pub interval: Timeframe,
    /// The source of the venue's bars.
    pub klines: String,
    /// The fields that the venue's bars have.
    pub fields: Vec<&'static str>,
    /// Intervals that both cover.
    pub compared: u64,
    /// Of them, those in which every field is equal.
    pub equal: u64,
    /// Of the equal ones, those without a trade on either side.
    pub empty: u64,
    /// The venue's bars from before our first or after our last.
    pub outside_of_ours: u64,
    /// Our bars from before the venue's first or after its last.
    pub outside_of_venue: u64,
    /// How many mismatches each cause has.
    pub causes: BTreeMap<Cause, u64>,
    /// Every mismatch, by time.
    pub mismatches: Vec<Mismatch>,
}

/// A bar that differs from the venue's.
#[derive(Clone, Debug, Serialize)]
pub struct Mismatch {
    /// Start of the interval.
    pub start_ms: UnixMillis,
    /// Why.
    pub cause: Cause,
    /// Which fields.
    pub differences: Vec<Difference>,
}

impl Section {
    /// Compares all intervals that both sides cover; if there are none, `compared` is 0.
    #[must_use]
    pub fn new(
        (symbol, interval): (String, Timeframe),
        klines: String,
        ours: &BTreeMap<UnixMillis, BarMessage>,
        venue: &BTreeMap<UnixMillis, VenueBar>,
    ) -> Self {
        let mut fields: Vec<&'static str> = Vec::new();
        if let Some(bar) = venue.values().next() {
            let known = bar.fields().into_iter();
            fields.extend(known.filter_map(|(field, value)| value.map(|_| field)));
            fields.extend(bar.count.map(|_| "count"));
        }
        let mut section = Self {
            symbol,
            interval,
            klines,
            fields,
            compared: 0,
            equal: 0,
            empty: 0,
            outside_of_ours: 0,
            outside_of_venue: 0,
            causes: BTreeMap::new(),
            mismatches: Vec::new(),
        };
        let span = |first: Option<&UnixMillis>, last: Option<&UnixMillis>| Some((*first?, *last?));
        let ours_span = span(ours.keys().next(), ours.keys().next_back());
        let venue_span = span(venue.keys().next(), venue.keys().next_back());
        let (Some(ours_span), Some(venue_span)) = (ours_span, venue_span) else {
            return section;
        };
        let first_ms = ours_span.0.max(venue_span.0);
        let last_ms = ours_span.1.min(venue_span.1);
        let mut starts: Vec<UnixMillis> = ours.keys().chain(venue.keys()).copied().collect();
        starts.sort_unstable();
        starts.dedup();
        for start_ms in starts {
            let (our, their) = (ours.get(&start_ms), venue.get(&start_ms));
            if !(first_ms..=last_ms).contains(&start_ms) {
                section.outside_of_ours += u64::from(their.is_some());
                section.outside_of_venue += u64::from(our.is_some());
                continue;
            }
            section.compared += 1;
            match compare(our, their) {
                Verdict::Equal => {
                    section.equal += 1;
                    let is_empty = our.is_none_or(|bar| count_of(bar) == 0);
                    section.empty += u64::from(is_empty);
                }
                Verdict::Mismatch(cause, differences) => {
                    *section.causes.entry(cause).or_default() += 1;
                    section.mismatches.push(Mismatch {
                        start_ms,
                        cause,
                        differences,
                    });
                }
            }
        }
        section
    }

    fn is_explained(&self) -> bool {
        self.causes.keys().all(|cause| cause.is_explained())
    }
}

impl Report {
    /// A report of `sections`.
    #[must_use]
    pub fn new(exchange: &'static str, replay: String, sections: Vec<Section>) -> Self {
        Self {
            exchange,
            replay,
            is_explained: sections.iter().all(Section::is_explained),
            sections,
        }
    }

    /// Writes it for people.
    ///
    /// # Errors
    /// If `out` cannot be written.
    pub fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}: {}", self.exchange, self.replay)?;
        for section in &self.sections {
            writeln!(
                out,
                "\n{} {} against {}",
                section.symbol, section.interval, section.klines
            )?;
            writeln!(out, "  fields        {}", section.fields.join(" "))?;
            writeln!(out, "  compared      {:>8}", section.compared)?;
            writeln!(
                out,
                "  equal         {:>8}  ({} of them without a trade)",
                section.equal, section.empty
            )?;
            for cause in Cause::ALL {
                let count = section.causes.get(&cause).copied().unwrap_or(0);
                let why = if cause.is_explained() {
                    "  explained"
                } else {
                    ""
                };
                writeln!(out, "  {:<13} {count:>8}{why}", cause.name())?;
            }
            writeln!(
                out,
                "  not compared  {:>8}  of the venue's, which the capture does not reach",
                section.outside_of_ours
            )?;
            writeln!(
                out,
                "  not compared  {:>8}  of ours, which the klines do not reach",
                section.outside_of_venue
            )?;
            for mismatch in &section.mismatches {
                let differences: Vec<String> = mismatch
                    .differences
                    .iter()
                    .map(|found| {
                        format!(
                            "{} {} (venue {})",
                            found.field,
                            found.ours.as_deref().unwrap_or("-"),
                            found.venue.as_deref().unwrap_or("-")
                        )
                    })
                    .collect();
                writeln!(
                    out,
                    "  {} {}: {}",
                    mismatch.start_ms,
                    mismatch.cause.name(),
                    differences.join(", ")
                )?;
            }
        }
        let outcome = if self.is_explained {
            "every difference is explained"
        } else {
            "there are differences that nothing explains"
        };
        writeln!(out, "\n{outcome}")
    }

    /// Writes it for programs.
    ///
    /// # Errors
    /// If `out` cannot be written.
    pub fn write_json(&self, out: &mut dyn Write) -> io::Result<()> {
        serde_json::to_writer(&mut *out, self)?;
        writeln!(out)
    }
}
