//! Bar intervals of the venues: their lengths and where they start.

/// Milliseconds in a day.
pub(crate) const DAY_MS: i64 = 86_400_000;

/// An interval of bars, aligned to UTC (or to a venue's offset).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Interval {
    /// A fixed length in milliseconds, aligned to the epoch.
    Fixed(i64),
    /// Monday to Monday.
    Week,
    /// Calendar months; the number of months, aligned to January.
    Months(u8),
}

impl Interval {
    /// One minute.
    pub(crate) const MINUTE: Interval = Interval::Fixed(60_000);

    /// Reads `1s`, `15m`, `4h`, `1d`, `1w`, `1M`, as Binance spells them.
    pub(crate) fn parse(text: &str) -> Option<Interval> {
        let unit = text.chars().last()?;
        let count: i64 = text[..text.len() - unit.len_utf8()].parse().ok()?;
        if !(1..=999).contains(&count) {
            return None;
        }
        match (unit, count) {
            ('s', _) => Some(Interval::Fixed(count * 1000)),
            ('m', _) => Some(Interval::Fixed(count * 60_000)),
            ('h', _) => Some(Interval::Fixed(count * 3_600_000)),
            ('d', _) => Some(Interval::Fixed(count * DAY_MS)),
            ('w', 1) => Some(Interval::Week),
            ('M', 1..=12) => Some(Interval::Months(count as u8)),
            _ => None,
        }
    }

    /// Start of the bar that contains `at_ms`, when days begin `offset_ms` before midnight UTC.
    pub(crate) fn start_of(self, at_ms: i64, offset_ms: i64) -> i64 {
        let local = at_ms + offset_ms;
        let start = match self {
            Interval::Fixed(length_ms) => local.div_euclid(length_ms) * length_ms,
            // 1970-01-05 was a Monday.
            Interval::Week => (local - 4 * DAY_MS).div_euclid(7 * DAY_MS) * 7 * DAY_MS + 4 * DAY_MS,
            Interval::Months(months) => {
                let (year, month) = year_month(local.div_euclid(DAY_MS));
                let index =
                    (year * 12 + month - 1).div_euclid(i64::from(months)) * i64::from(months);
                month_start(index)
            }
        };
        start - offset_ms
    }

    /// Start of the bar after the one that starts at `start_ms`.
    pub(crate) fn next(self, start_ms: i64, offset_ms: i64) -> i64 {
        match self {
            Interval::Fixed(length_ms) => start_ms + length_ms,
            Interval::Week => start_ms + 7 * DAY_MS,
            Interval::Months(months) => {
                self.start_of(start_ms + (i64::from(months) * 31 + 1) * DAY_MS, offset_ms)
            }
        }
    }

    /// Start of the bar before the one that starts at `start_ms`.
    pub(crate) fn previous(self, start_ms: i64, offset_ms: i64) -> i64 {
        self.start_of(start_ms - 1, offset_ms)
    }
}

/// Year and month (1 to 12) of a day counted from the epoch. Source: Howard Hinnant, "chrono-compatible
/// low-level date algorithms".
fn year_month(day: i64) -> (i64, i64) {
    let (year, month, _) = civil(day);
    (year, month)
}

/// Year, month (1 to 12) and day (1 to 31) of a day counted from the epoch.
pub(crate) fn civil(day: i64) -> (i64, i64, i64) {
    let shifted = day + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day_of_month)
}

/// Days from the epoch to a date.
pub(crate) fn days_from_civil(year: i64, month: i64, day_of_month: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let month_from_march = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * month_from_march + 2) / 5 + day_of_month - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Milliseconds at which a month begins, months counted from January of year 0.
fn month_start(index: i64) -> i64 {
    days_from_civil(index.div_euclid(12), index.rem_euclid(12) + 1, 1) * DAY_MS
}

/// `2026-11-21T03:04:05.678901Z`: a time in microseconds as Coinbase writes it.
pub(crate) fn iso_us(event_us: i64) -> String {
    let seconds = event_us.div_euclid(1_000_000);
    let (year, month, day) = civil(seconds.div_euclid(86_400));
    let of_day = seconds.rem_euclid(86_400);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:06}Z",
        of_day / 3600,
        of_day / 60 % 60,
        of_day % 60,
        event_us.rem_euclid(1_000_000)
    )
}

/// Reads `2026-11-21T03:04:05[.fraction][Z]` as microseconds since the epoch, UTC.
pub(crate) fn parse_iso_us(text: &str) -> Option<i64> {
    let text = text
        .strip_suffix('Z')
        .or_else(|| text.strip_suffix("+00:00"))
        .unwrap_or(text);
    let (date, time) = text
        .split_once('T')
        .or_else(|| text.split_once(' '))
        .unwrap_or((text, "00:00:00"));
    let mut date = date.splitn(3, '-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let (clock, fraction) = time.split_once('.').unwrap_or((time, ""));
    let mut clock = clock.splitn(3, ':').map(|part| part.parse::<i64>().ok());
    let (hour, minute, second) = (
        clock.next()??,
        clock.next()??,
        clock.next().unwrap_or(Some(0))?,
    );
    let in_range = (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && (0..9999).contains(&year)
        && (0..24).contains(&hour)
        && (0..60).contains(&minute)
        && (0..=60).contains(&second);
    if !in_range || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let mut micros = 0;
    for position in 0..6 {
        micros = micros * 10
            + fraction
                .as_bytes()
                .get(position)
                .map_or(0, |byte| i64::from(byte - b'0'));
    }
    let seconds = days_from_civil(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
    Some(seconds * 1_000_000 + micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(interval: &str, at: &str, start: &str, next: &str) {
        let ms = |text| parse_iso_us(text).expect("a time") / 1000;
        let interval = Interval::parse(interval).expect("an interval");
        assert_eq!(interval.start_of(ms(at), 0), ms(start));
        assert_eq!(interval.next(ms(start), 0), ms(next));
        assert_eq!(interval.previous(ms(next), 0), ms(start));
    }

    #[test]
    fn bars_start_where_binance_starts_them() {
        check(
            "1s",
            "2026-11-21T03:04:05.9Z",
            "2026-11-21T03:04:05Z",
            "2026-11-21T03:04:06Z",
        );
        check(
            "4h",
            "2026-11-21T03:04:05Z",
            "2026-11-21T00:00:00Z",
            "2026-11-21T04:00:00Z",
        );
        check(
            "1w",
            "2026-11-21T03:04:05Z",
            "2026-11-16T00:00:00Z",
            "2026-11-23T00:00:00Z",
        );
        check(
            "1M",
            "2024-02-29T23:59:59.999Z",
            "2024-02-01T00:00:00Z",
            "2024-03-01T00:00:00Z",
        );
        check(
            "3M",
            "2026-11-21T03:04:05Z",
            "2026-10-01T00:00:00Z",
            "2027-01-01T00:00:00Z",
        );
    }

    #[test]
    fn days_of_another_zone_start_at_its_midnight() {
        let at = parse_iso_us("2026-11-20T17:00:00Z").expect("a time") / 1000;
        let start = Interval::Fixed(DAY_MS).start_of(at, 8 * 3_600_000);
        assert_eq!(iso_us(start * 1000), "2026-11-20T16:00:00.000000Z");
    }

    #[test]
    fn times_read_back() {
        for text in ["2021-04-17T16:43:15.270101Z", "1970-01-01T00:00:00.000000Z"] {
            assert_eq!(iso_us(parse_iso_us(text).expect("a time")), text);
        }
        assert_eq!(parse_iso_us("nonsense"), None);
        assert_eq!(parse_iso_us("2021-13-17T16:43:15Z"), None);
    }
}
