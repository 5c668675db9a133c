//! Secrets that come in files.

use std::path::Path;

use crate::error::Error;

/// Shortest secret: a guess must not find it.
const LEN_MIN: usize = 16;
/// Longest secret.
const LEN_MAX: usize = 4_096;

/// Reads the one line of a file. What is wrong is told without it.
pub(crate) fn read(path: &Path, flag: &str) -> Result<String, Error> {
    let wrong = |reason: &str| Error::Config(format!("{flag} {}: {reason}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| wrong(&error.to_string()))?;
    let secret = text.trim();
    if !(LEN_MIN..=LEN_MAX).contains(&secret.len())
        || !secret.bytes().all(|byte| byte.is_ascii_graphic())
    {
        return Err(wrong(
            "it has one line of 16 to 4096 characters, ASCII without spaces: `openssl rand -hex 32` makes one",
        ));
    }
    Ok(secret.to_owned())
}
