//! The lines of capture files.

use market_core::UnixMicros;

/// One line of a capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line<'a> {
    /// A frame, and when it was received.
    Frame {
        /// By the recorder's clock.
        received_us: UnixMicros,
        /// As received.
        frame: &'a str,
    },
    /// A REST row: no receive time.
    Row(&'a str),
    /// A line of a CSV file of trades that the venue publishes.
    Csv(&'a str),
    /// A connection was opened here.
    Connected,
    /// A line that the recorder sent, the header of a CSV file, or an empty line.
    Skipped,
}

/// Why a line cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "this is not a line of a capture: expected '<ns> <frame>', '<seconds>: <frame>', a connect record, a JSON row or a line of a CSV file of trades"
)]
pub struct CaptureError;

/// Reads one line:
///
/// ```text
/// 1723161254087896568 {"stream":...}                    hftbacktest: ns, a space
/// 1652459225.5072603: {"arg":...}                       cryptofeed: seconds, a colon
/// wss://ws.okx.com:8443/ws/v5/public <-> 1652459224.53  connected
/// wss://ws.okx.com:8443/ws/v5/public <- 1652459225.29: {"op":...}   sent
/// {"a":13519807,"p":"0.00141342",...}                   a REST row
/// 26129,0.01633102,4.7,27781,27781,1498793709153,true   a line of the venue's CSV files
/// ```
///
/// # Errors
/// [`CaptureError`] for anything else.
pub fn parse_line(line: &str) -> Result<Line<'_>, CaptureError> {
    let line = line.trim();
    match line.as_bytes().first() {
        None => return Ok(Line::Skipped),
        Some(b'{' | b'[') => return Ok(Line::Row(line)),
        Some(byte) if byte.is_ascii_digit() => {}
        Some(_) => {
            return if line.contains(" <-> ") {
                Ok(Line::Connected)
            } else if line.contains(" <- ") || line.contains(",price,") {
                Ok(Line::Skipped)
            } else {
                Err(CaptureError)
            };
        }
    }
    if !line.contains(' ') && line.contains(',') {
        return Ok(Line::Csv(line));
    }
    let (time, frame) = line.split_once(' ').ok_or(CaptureError)?;
    let received_us = match time.strip_suffix(':') {
        Some(seconds) => micros_of_seconds(seconds),
        None => micros_of_integer(time),
    };
    Ok(Line::Frame {
        received_us: received_us.ok_or(CaptureError)?,
        frame: frame.trim(),
    })
}

/// `1652459225.5072603`, exactly.
fn micros_of_seconds(text: &str) -> Option<UnixMicros> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let whole: i64 = whole.parse().ok()?;
    let micros = fraction
        .bytes()
        .chain(std::iter::repeat(b'0'))
        .take(6)
        .fold(0, |micros, digit| micros * 10 + i64::from(digit - b'0'));
    whole.checked_mul(1_000_000)?.checked_add(micros)
}

/// ns, µs, ms or s, recognised by their size.
fn micros_of_integer(text: &str) -> Option<UnixMicros> {
    let value: i64 = text.parse().ok()?;
    Some(match value {
        0..100_000_000_000 => value * 1_000_000,
        100_000_000_000..100_000_000_000_000 => value * 1_000,
        100_000_000_000_000..100_000_000_000_000_000 => value,
        _ => value / 1_000,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(line: &str, expected: Result<Line<'_>, CaptureError>) {
        assert_eq!(parse_line(line), expected, "{line}");
    }

    #[test]
    fn every_known_format_is_read() {
        let frame = |received_us, frame| Ok(Line::Frame { received_us, frame });
        check(
            "1723161254087896568 {\"a\":1}",
            frame(1_723_161_254_087_896, "{\"a\":1}"),
        );
        check("1723161254087 {}", frame(1_723_161_254_087_000, "{}"));
        check("1652459225.5072603: {}", frame(1_652_459_225_507_260, "{}"));
        check("1652459225: pong", frame(1_652_459_225_000_000, "pong"));
        check("wss://x/y <-> 1652459224.53", Ok(Line::Connected));
        check("wss://x/y <- 1652459224.53: {}", Ok(Line::Skipped));
        check("{\"a\":1}", Ok(Line::Row("{\"a\":1}")));
        let csv = "26129,0.016,4.7,27781,27781,1498793709153,true";
        check(csv, Ok(Line::Csv(csv)));
        check(
            "id,price,qty,quote_qty,time,is_buyer_maker",
            Ok(Line::Skipped),
        );
        check("  ", Ok(Line::Skipped));
        check("hello", Err(CaptureError));
        check("12", Err(CaptureError));
        check("12.x: {}", Err(CaptureError));
    }

    proptest! {
        #[test]
        fn arbitrary_lines_never_panic(line in ".{0,80}", digits in "[0-9.:]{0,30}") {
            let _ = parse_line(&line);
            let _ = parse_line(&format!("{digits} {line}"));
        }
    }
}
