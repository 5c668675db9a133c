//! Times as clients write them.

use market_core::UnixMillis;
use market_core::timeframe::days_before_month;

/// The last instant that has four digits of a year, 9999-12-31T23:59:59.999Z.
const TIME_MAX_MS: UnixMillis = 253_402_300_799_999;
/// Numbers below it, other than 0, are seconds by mistake: as milliseconds they are before 1973.
const SECONDS_BELOW: i64 = 100_000_000_000;

/// Why a text is no time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ParseTimeError {
    #[error(
        "'{0}' is not a time: write unix milliseconds, or RFC 3339 such as 2026-03-01T12:00:00Z"
    )]
    Malformed(String),
    #[error("{0} looks like seconds: write unix milliseconds, {0}000")]
    Seconds(i64),
}

/// Unix milliseconds, or RFC 3339 (a date alone is its first instant in UTC).
pub(crate) fn parse(text: &str) -> Result<UnixMillis, ParseTimeError> {
    let malformed = || ParseTimeError::Malformed(text.chars().take(40).collect());
    if let Ok(number) = text.parse::<i64>() {
        return match number {
            1..SECONDS_BELOW => Err(ParseTimeError::Seconds(number)),
            0..=TIME_MAX_MS => Ok(number),
            _ => Err(malformed()),
        };
    }
    parse_rfc3339(text.as_bytes()).ok_or_else(malformed)
}

fn parse_rfc3339(text: &[u8]) -> Option<UnixMillis> {
    let (date, time) = match text.len() {
        10 => (text, None),
        20.. => (&text[..10], Some(&text[10..])),
        _ => return None,
    };
    let (year, month, day) = (
        number(&date[..4])?,
        number(&date[5..7])?,
        number(&date[8..])?,
    );
    let is_date = date[4] == b'-' && date[7] == b'-' && year >= 1970 && (1..=12).contains(&month);
    if !is_date {
        return None;
    }
    let (next_year, next_month) = if month == 12 {
        (year + 1, 1)
    } else {
        (year, month + 1)
    };
    let first = days_before_month(year, month);
    let days = days_before_month(next_year, next_month) - first;
    if !(1..=days).contains(&day) {
        return None;
    }
    let at = (first + day - 1) * 86_400_000 + time.map_or(Some(0), parse_time)?;
    (0..=TIME_MAX_MS).contains(&at).then_some(at)
}

/// `T12:34:56.789Z` or `T12:34:56+02:00`, as milliseconds of its day in UTC.
fn parse_time(text: &[u8]) -> Option<i64> {
    let (hour, minute, second) = (
        number(&text[1..3])?,
        number(&text[4..6])?,
        number(&text[7..9])?,
    );
    let is_time = matches!(text[0], b'T' | b't' | b' ') && text[3] == b':' && text[6] == b':';
    // A leap second is the first instant after it.
    if !is_time || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let (millis, zone) = match &text[9..] {
        [b'.', rest @ ..] => {
            let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
            if digits == 0 {
                return None;
            }
            let kept = number(&rest[..digits.min(3)])?;
            let scale = [100, 10, 1][digits.min(3) - 1];
            (kept * scale, &rest[digits..])
        }
        zone => (0, zone),
    };
    let offset = match zone {
        b"Z" | b"z" => 0,
        [sign @ (b'+' | b'-' | b' '), rest @ ..] if rest.len() == 5 && rest[2] == b':' => {
            let (hours, minutes) = (number(&rest[..2])?, number(&rest[3..])?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            // A plus sign in a query string is read as a space.
            let minutes = hours * 60 + minutes;
            if *sign == b'-' { -minutes } else { minutes }
        }
        _ => return None,
    };
    Some(((hour * 60 + minute - offset) * 60 + second) * 1_000 + millis)
}

/// Up to four plain digits.
fn number(digits: &[u8]) -> Option<i64> {
    let is_plain = digits.len() <= 4 && digits.iter().all(u8::is_ascii_digit);
    is_plain.then(|| {
        let values = digits.iter().map(|digit| i64::from(digit - b'0'));
        values.fold(0, |sum, value| sum * 10 + value)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_are_milliseconds_or_rfc_3339() {
        for (text, expected) in [
            ("0", 0),
            ("1723206855000", 1_723_206_855_000),
            ("2024-08-09", 1_723_161_600_000),
            ("2024-08-09T12:34:15Z", 1_723_206_855_000),
            ("2024-08-09t12:34:15.5z", 1_723_206_855_500),
            ("2024-08-09T12:34:15.123456Z", 1_723_206_855_123),
            ("2024-08-09T14:34:15+02:00", 1_723_206_855_000),
            ("2024-08-09T14:34:15 02:00", 1_723_206_855_000),
            ("2024-08-09T07:04:15-05:30", 1_723_206_855_000),
            ("2024-02-29T00:00:00Z", 1_709_164_800_000),
            ("9999-12-31T23:59:59.999Z", TIME_MAX_MS),
        ] {
            assert_eq!(parse(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused_with_what_to_write() {
        for text in [
            "",
            "now",
            "-1",
            "1e3",
            "2023-02-29",
            "2024-13-01",
            "2024-00-01",
            "2024-08-09T12:34",
            "2024-08-09T12:34:15",
            "2024-08-09T24:00:00Z",
            "2024-08-09T12:34:15.Z",
            "2024-08-09T12:34:15+2:00",
            "1969-12-31",
            "99999999999999999999",
            "253402300800000",
            "2024-08-09T12:34:15\u{e9}",
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.to_string().contains("RFC 3339"), "{error}");
        }
        let error = parse("1723206855").expect_err("seconds");
        assert!(error.to_string().contains("1723206855000"), "{error}");
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,40}|[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9:.]{0,14}[Zz+-]?[0-9:]{0,6}") {
            if let Ok(at) = parse(&text) {
                prop_assert!((0..=TIME_MAX_MS).contains(&at));
            }
        }
    }
}
