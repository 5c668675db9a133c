//! Times as `2021-04-17T16:43:15.270101Z`.

use market_core::UnixMillis;

/// Unix ms of an ISO 8601 time in UTC, rounded down; `None` for anything else.
pub(crate) fn parse(text: &str) -> Option<UnixMillis> {
    let bytes = text.as_bytes();
    if bytes.len() < 20
        || bytes[4] != b'-'
        || bytes[7] != b'-'
        || bytes[10] != b'T'
        || bytes[13] != b':'
        || bytes[16] != b':'
        || bytes.last() != Some(&b'Z')
    {
        return None;
    }
    let year = digits(&bytes[0..4])?;
    let month = digits(&bytes[5..7])?;
    let day = digits(&bytes[8..10])?;
    let hour = digits(&bytes[11..13])?;
    let minute = digits(&bytes[14..16])?;
    let second = digits(&bytes[17..19])?;
    let is_in_range = year >= 1970
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60;
    if !is_in_range {
        return None;
    }
    let fraction = &bytes[19..bytes.len() - 1];
    let millis = match fraction {
        [] => 0,
        [b'.', fraction @ ..] if !fraction.is_empty() => {
            digits(fraction)?;
            let mut millis = 0;
            for place in 0..3 {
                let digit = fraction.get(place).map_or(0, |byte| i64::from(byte - b'0'));
                millis = millis * 10 + digit;
            }
            millis
        }
        _ => return None,
    };
    let days = days_since_epoch(year, month, day);
    Some((((days * 24 + hour) * 60 + minute) * 60 + second) * 1_000 + millis)
}

/// `2021-04-17T16:43:15Z` of a unix time in seconds.
pub(crate) fn format_seconds(unix_s: i64) -> String {
    let (days, second_of_day) = (unix_s.div_euclid(86_400), unix_s.rem_euclid(86_400));
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (
        second_of_day / 3_600,
        second_of_day / 60 % 60,
        second_of_day % 60,
    );
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

fn digits(bytes: &[u8]) -> Option<i64> {
    let mut value = 0i64;
    for &byte in bytes {
        if !byte.is_ascii_digit() {
            return None;
        }
        value = value.wrapping_mul(10).wrapping_add(i64::from(byte - b'0'));
    }
    Some(value)
}

/// Source: Howard Hinnant, chrono-compatible low-level date algorithms (`days_from_civil`).
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The same source's `civil_from_days`.
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = shifted_month + if shifted_month < 10 { 3 } else { -9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn venue_times_are_read_to_the_millisecond() {
        assert_eq!(
            parse("2021-04-17T16:43:15.270101Z"),
            Some(1_618_677_795_270)
        );
        assert_eq!(parse("2021-04-17T16:43:15Z"), Some(1_618_677_795_000));
        assert_eq!(parse("1970-01-01T00:00:00.5Z"), Some(500));
        assert_eq!(
            parse("2024-02-29T00:00:00.000000Z"),
            Some(1_709_164_800_000)
        );
        for text in [
            "",
            "2021-04-17",
            "2021-04-17T16:43:15",
            "2021-04-17T16:43:15+00:00",
            "2021-13-17T16:43:15Z",
            "2021-04-17T16:43:15.Z",
            "2021-04-17T16:43:15.1xZ",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn seconds_round_trip(unix_s in 0i64..4_000_000_000) {
            prop_assert_eq!(parse(&format_seconds(unix_s)), Some(unix_s * 1_000));
        }

        #[test]
        fn arbitrary_text_never_panics(text in ".{0,40}") {
            let _ = parse(&text);
        }
    }
}
