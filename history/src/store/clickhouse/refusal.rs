//! What an answer that is no success means.

use crate::store::StoreError;
use crate::store::remote::{Answer, RemoteClient};

/// Something is wrong with a value of a row: a view of the table cannot parse it or divides by it, it is
/// out of range, or violates a constraint. Rows that do not fit the columns are no such rows: all of
/// them would be refused, and thrown away.
const ROW_CODES: [u32; 9] = [6, 38, 41, 69, 72, 153, 321, 407, 469];
/// No space, no memory, too many parts.
const FULL_CODES: [u32; 4] = [241, 243, 252, 425];
/// Busy, too slow, without its keeper, being stopped.
const AWAY_CODES: [u32; 13] = [
    159, 160, 202, 203, 209, 210, 225, 236, 242, 319, 335, 394, 999,
];
/// The user may not change settings, or not to this value.
const SETTINGS_CODES: [u32; 2] = [164, 452];
/// The database or a table is not there.
const GONE_CODES: [u32; 2] = [60, 81];

/// The number of an exception: of the header, or in `Code: 60. DB::Exception: ...`.
fn code_of(answer: &Answer) -> Option<u32> {
    if let Some(code) = answer.header("x-clickhouse-exception-code") {
        return code.parse().ok();
    }
    code_in(&answer.reason())
}

fn code_in(text: &str) -> Option<u32> {
    let digits = text.split("Code: ").nth(1)?;
    digits
        .split(|char: char| !char.is_ascii_digit())
        .next()?
        .parse()
        .ok()
}

/// Whether a question was refused for its settings.
pub(super) fn is_of_settings(reason: &str) -> bool {
    code_in(reason).is_some_and(|code| SETTINGS_CODES.contains(&code))
}

/// The error, and whether a table is not there.
pub(super) fn error_of(
    client: &RemoteClient,
    answer: &Answer,
    is_insert: bool,
) -> (StoreError, bool) {
    let store: Box<str> = client.name().into();
    let reason = answer.reason();
    let is_without_space = reason.contains("No space left on device");
    let error = match code_of(answer) {
        Some(code) if FULL_CODES.contains(&code) || is_without_space => {
            StoreError::ServerFull { store, reason }
        }
        Some(code) if is_insert && ROW_CODES.contains(&code) => {
            StoreError::RowRefused { store, reason }
        }
        Some(code) if AWAY_CODES.contains(&code) => client.away(reason),
        Some(code) if GONE_CODES.contains(&code) => return (client.away(reason), true),
        None if matches!(answer.status, 408 | 429 | 502 | 503 | 504) => client.away(reason),
        _ => StoreError::Refused { store, reason },
    };
    (error, false)
}
