//! How far streams are stored.
//!
//! A position is a point of its own each day: the points move with the clock, so a database that keeps
//! rows for a month keeps the positions of its streams, too. The highest one counts.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Instant;

use service::wall_clock_ms;
use twox_hash::XxHash64;

use super::InfluxStore;
use super::point::{BARS, MARKS, PLACES, TIME_END_MS, TRADES, put_mark};
use super::question::quoted;
use super::writer::Mark;
use crate::store::remote::Purpose;
use crate::store::{StoreError, Watermark};

const DAY_MS: i64 = 86_400_000;
/// The most positions that are remembered.
const REMEMBERED_MAX: usize = 1_024;

/// The time of a stream's point on the day of a clock, ns.
fn mark_ns(stream: &str, now_ms: i64) -> i64 {
    let day_ms = now_ms.clamp(0, TIME_END_MS - DAY_MS);
    let day_ms = day_ms - day_ms.rem_euclid(DAY_MS);
    let place = XxHash64::oneshot(0, stream.as_bytes()) % (DAY_MS * PLACES).unsigned_abs();
    (day_ms * PLACES).saturating_add_unsigned(place)
}

impl InfluxStore {
    /// Refuses to write while another history does.
    pub(super) fn check_writer(
        &self,
        marks: &mut BTreeMap<Box<str>, Mark>,
        watermark: Option<&Watermark>,
    ) -> Result<(), StoreError> {
        let Some(Watermark { stream, .. }) = watermark else {
            return Ok(());
        };
        let found = self.read_mark(stream)?;
        if marks.len() >= REMEMBERED_MAX && !marks.contains_key(stream) {
            marks.clear();
        }
        let mark = marks.entry(stream.clone()).or_default();
        match mark.is_foreign(found, Instant::now()) {
            false => Ok(()),
            true => Err(self.refused(format!(
                "another history writes to this database, which has one writer: this one waits until {stream} has not moved for a while"
            ))),
        }
    }

    /// Stores how far a stream has come, after its rows.
    pub(super) fn put_watermark(
        &self,
        marks: &mut BTreeMap<Box<str>, Mark>,
        watermark: Option<&Watermark>,
    ) -> Result<(), StoreError> {
        let Some(Watermark { stream, position }) = watermark else {
            return Ok(());
        };
        if !self.has_rows()? {
            return Err(StoreError::Empty);
        }
        let mark = marks.entry(stream.clone()).or_default();
        let position = mark
            .stored
            .map_or(*position, |stored| stored.max(*position));
        if mark.stored != Some(position) {
            mark.send(position);
            let mut line = String::new();
            let at_ns = mark_ns(stream, wall_clock_ms());
            put_mark(&mut line, stream, position, at_ns);
            // A point of today's first hour is too old for a policy of an hour.
            if self.write(&[line])? > 0 {
                return Err(self.refused(
                    "positions need a retention policy of at least two days: give history one of its own, and name it with ?rp=",
                ));
            }
        }
        mark.stored = Some(position);
        Ok(())
    }

    /// Whether any row is stored.
    fn has_rows(&self) -> Result<bool, StoreError> {
        if self.has_rows.load(Ordering::Relaxed) {
            return Ok(true);
        }
        let statements = [BARS, TRADES]
            .map(|measurement| format!("SELECT \"row\" FROM \"{measurement}\" LIMIT 1"));
        let answers = self.ask(&statements, Purpose::Write)?;
        let has_rows = answers.iter().any(|answer| !answer.series.is_empty());
        self.has_rows.fetch_or(has_rows, Ordering::Relaxed);
        Ok(has_rows)
    }

    /// The highest positions, by stream.
    pub(super) fn read_marks(&self, condition: &str) -> Result<Vec<Watermark>, StoreError> {
        let statement = format!("SELECT \"stream\", \"position\" FROM \"{MARKS}\"{condition}");
        let mut marks: BTreeMap<Box<str>, u64> = BTreeMap::new();
        for answer in self.whole(self.ask(&[statement], Purpose::Write)?)? {
            for series in &answer.series {
                let streams = series.texts("stream");
                for ((_, stream), (_, position)) in streams.zip(series.texts("position")) {
                    let position: u64 = position.parse().unwrap_or(0);
                    let mark = marks.entry(stream.into()).or_default();
                    *mark = position.max(*mark);
                }
            }
        }
        let marks = marks.into_iter();
        let marks = marks.map(|(stream, position)| Watermark { stream, position });
        Ok(marks.collect())
    }

    pub(super) fn read_mark(&self, stream: &str) -> Result<Option<u64>, StoreError> {
        let condition = format!(" WHERE \"stream\"={}", quoted(stream));
        let marks = self.read_marks(&condition)?;
        let mark = marks.into_iter().find(|mark| *mark.stream == *stream);
        Ok(mark.map(|mark| mark.position))
    }
}
