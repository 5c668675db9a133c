//! Retention policies: how long the server keeps rows, and which other rows a deletion would meet.

use super::InfluxStore;
use super::answer::Statement;
use super::point::TIME_END_MS;
use super::question::{between, name};
use crate::store::StoreError;
use crate::store::remote::Purpose;

/// By how much the clocks may differ.
const CLOCK_MS: i64 = 300_000;

/// A retention policy of the database.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Policy {
    name: String,
    /// How long it keeps rows, ms; `None` for ever.
    keep_ms: Option<i64>,
    is_default: bool,
}

/// A duration as InfluxDB writes it: `672h0m0s`; 0 is for ever. `None` if it cannot be read.
fn duration_ms(text: &str) -> Option<i64> {
    let (mut total_ms, mut number) = (0_i64, 0_i64);
    for char in text.chars() {
        if let Some(digit) = char.to_digit(10) {
            number = number.checked_mul(10)?.checked_add(digit.into())?;
            continue;
        }
        let unit_ms = match char {
            'h' => 3_600_000,
            'm' => 60_000,
            's' => 1_000,
            _ => return None,
        };
        total_ms = total_ms.checked_add(number.checked_mul(unit_ms)?)?;
        number = 0;
    }
    Some(total_ms)
}

/// The time of a line, ms.
fn line_ms(line: &str) -> Option<i64> {
    let (_, at_ns) = line.trim_end().rsplit_once(' ')?;
    Some(at_ns.parse::<i64>().ok()?.div_euclid(1_000_000))
}

/// How many of the lines can be older than what is kept, by a clock.
pub(super) fn expired(lines: &[String], keep_ms: Option<i64>, now_ms: i64) -> usize {
    let Some(keep_ms) = keep_ms else { return 0 };
    let oldest_ms = now_ms.saturating_sub(keep_ms).saturating_add(CLOCK_MS);
    let times = lines.iter().filter_map(|line| line_ms(line));
    times.filter(|at_ms| *at_ms < oldest_ms).count()
}

fn policies(answers: &[Statement]) -> Vec<Policy> {
    let mut found = Vec::new();
    for series in answers.iter().flat_map(|answer| &answer.series) {
        let rows = series.columns(["name", "duration", "default"]);
        found.extend(rows.filter_map(|[name, duration, default]| {
            Some(Policy {
                name: name?.as_str()?.to_owned(),
                keep_ms: duration_ms(duration?.as_str()?).filter(|keep_ms| *keep_ms > 0),
                is_default: default?.as_bool()?,
            })
        }));
    }
    found
}

impl InfluxStore {
    fn policies(&self, purpose: Purpose) -> Result<Vec<Policy>, StoreError> {
        let database = name(self.client.url().database());
        let statement = format!("SHOW RETENTION POLICIES ON {database}");
        Ok(policies(&self.ask(&[statement], purpose)?))
    }

    fn is_own(&self, policy: &Policy) -> bool {
        match &self.retention_policy {
            Some(own) => policy.name == *own,
            None => policy.is_default,
        }
    }

    /// How long the server keeps rows, ms; `None` for ever.
    pub(super) fn keep_ms(&self) -> Result<Option<i64>, StoreError> {
        let policies = self.policies(Purpose::Write)?;
        let own = policies.iter().find(|policy| self.is_own(policy));
        Ok(own.and_then(|policy| policy.keep_ms))
    }

    /// Refuses to delete rows of measurements before an instant if another retention policy has some,
    /// such as somebody's wider rows: InfluxDB before 1.12 would delete them, too.
    pub(super) fn check_others(
        &self,
        measurements: &[&str],
        condition: &str,
        end_ms: i64,
    ) -> Result<(), StoreError> {
        let end_ms = end_ms.clamp(0, TIME_END_MS);
        for policy in self.policies(Purpose::Survey)? {
            if self.is_own(&policy) {
                continue;
            }
            let statements = measurements.iter().map(|measurement| {
                let (policy, measurement) = (name(&policy.name), name(measurement));
                let before = between(0, end_ms);
                format!("SELECT * FROM {policy}.{measurement} WHERE {condition}{before} LIMIT 1")
            });
            let answers = self.ask(&statements.collect::<Vec<_>>(), Purpose::Survey)?;
            if answers.iter().any(|answer| !answer.series.is_empty()) {
                let other = policy.name;
                return Err(self.refused(format!(
                    "its retention policy {other} has rows of the same measurements, which a deletion would delete, too: leave --history-keep-days out, and set the DURATION of history's own retention policy"
                )));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_read_as_influxdb_writes_it() {
        for (text, ms) in [
            ("0s", Some(0)),
            ("1h0m0s", Some(3_600_000)),
            ("672h0m0s", Some(2_419_200_000)),
            ("1h30m5s", Some(5_405_000)),
            ("99999999999999999999h", None),
            ("1y", None),
        ] {
            assert_eq!(duration_ms(text), ms, "{text}");
        }
    }

    #[test]
    fn a_row_is_too_old_only_by_the_own_clock() {
        const DAY_MS: i64 = 86_400_000;
        let now_ms = 100 * DAY_MS;
        let line =
            |at_ms: i64| format!("market_klines,symbol=A row=\"1 2\" {}\n", at_ms * 1_000_000);
        let lines = [0, 69, 71, 100].map(|day| line(day * DAY_MS));
        assert_eq!(expired(&lines, Some(30 * DAY_MS), now_ms), 2);
        assert_eq!(expired(&lines, None, now_ms), 0);
        // At the border, both clocks may be right.
        let border = [line(70 * DAY_MS + 1_000)];
        assert_eq!(expired(&border, Some(30 * DAY_MS), now_ms), 1);
    }
}
