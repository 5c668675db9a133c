//! Secrets that come in files.

use std::fs::{self, File, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use ring::rand::{SecureRandom, SystemRandom};
use tracing::info;

use crate::error::Error;

/// Shortest secret: a guess must not find it.
const LEN_MIN: usize = 16;
/// Longest secret.
const LEN_MAX: usize = 4_096;
/// Random bytes of a secret that is made here.
const MADE_BYTES: usize = 32;
/// Only the user of this program may read such a file.
const MODE: u32 = 0o600;

/// Reads the one line of a file. What is wrong is told without it.
pub(crate) fn read(path: &Path, flag: &str) -> Result<String, Error> {
    let text = fs::read_to_string(path).map_err(|error| wrong(path, flag, &error))?;
    let secret = text.trim();
    if !(LEN_MIN..=LEN_MAX).contains(&secret.len())
        || !secret.bytes().all(|byte| byte.is_ascii_graphic())
    {
        return Err(wrong(
            path,
            flag,
            &"it has one line of 16 to 4096 characters, ASCII without spaces: `openssl rand -hex 32` makes one",
        ));
    }
    Ok(secret.to_owned())
}

/// Makes the file with a random secret, unless it is there. It is there only when it is whole, also after
/// a crash.
pub(crate) fn make(path: &Path, flag: &str) -> Result<(), Error> {
    if path.exists() {
        return Ok(());
    }
    let mut bytes = [0; MADE_BYTES];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| wrong(path, flag, &"the system has no random numbers"))?;
    let secret: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    write(path, &secret).map_err(|error| wrong(path, flag, &error))?;
    info!(path = %path.display(), "the file of {flag} is made: rules are changed with its token");
    Ok(())
}

fn write(path: &Path, secret: &str) -> io::Result<()> {
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(".new");
    let mut file = File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(MODE)
        .open(&unfinished)?;
    // Also where the file was there already.
    file.set_permissions(Permissions::from_mode(MODE))?;
    writeln!(file, "{secret}")?;
    file.sync_all()?;
    // A file that somebody else has put there meanwhile stays.
    match fs::hard_link(&unfinished, path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
        Ok(()) | Err(_) => {}
    }
    fs::remove_file(&unfinished)
}

fn wrong(path: &Path, flag: &str, reason: &dyn std::fmt::Display) -> Error {
    Error::Config(format!("{flag} {}: {reason}", path.display()))
}
