//! The wall clock, as the API shows it.

use std::time::SystemTime;

use async_nats::datetime::{self, DateTime};

/// Now, as `2024-01-01T12:00:00Z`.
pub(crate) fn now_text() -> String {
    text(datetime::now())
}

/// A time, as `2024-01-01T12:00:00.250Z`.
pub(crate) fn text_of(time: SystemTime) -> String {
    let time = DateTime::from(time);
    let seconds = text(time);
    let milliseconds = time.millisecond();
    format!("{}.{milliseconds:03}Z", seconds.trim_end_matches('Z'))
}

/// Now, in unix nanoseconds.
pub(crate) fn now_ns() -> i128 {
    datetime::now().unix_timestamp_nanos()
}

/// Unix nanoseconds of a time that the JetStream API gives.
pub(crate) fn ns_of(text: &str) -> Option<i128> {
    datetime::parse_rfc3339(text)
        .ok()
        .map(DateTime::unix_timestamp_nanos)
}

fn text(time: DateTime) -> String {
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
        time.year(),
        u8::from(time.month()),
        time.day(),
        time.hour(),
        time.minute(),
        time.second()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_they_are_read() {
        let time = datetime::from_nanos(1_704_110_400_000_000_000).expect("a time");
        assert_eq!(text(time), "2024-01-01T12:00:00Z");
        assert_eq!(
            ns_of("2024-01-01T12:00:00Z"),
            Some(1_704_110_400_000_000_000)
        );
        assert_eq!(ns_of("yesterday"), None);
    }
}
