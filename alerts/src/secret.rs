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
/// Random bytes in the name of a file that is not finished.
const NAME_BYTES: usize = 4;
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
    let mut bytes = [0; MADE_BYTES + NAME_BYTES];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| wrong(path, flag, &"the system has no random numbers"))?;
    let hex = |bytes: &[u8]| -> String { bytes.iter().map(|byte| format!("{byte:02x}")).collect() };
    let (secret, name) = bytes.split_at(MADE_BYTES);
    write(path, &hex(secret), &hex(name)).map_err(|error| wrong(path, flag, &error))?;
    info!(path = %path.display(), "the file of {flag} is made: rules are changed with its token");
    Ok(())
}

fn write(path: &Path, secret: &str, own_name: &str) -> io::Result<()> {
    // Of its own: another program may make the same file now.
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(format!(".new-{own_name}"));
    let mut file = File::options()
        .write(true)
        .create_new(true)
        .mode(MODE)
        .open(&unfinished)?;
    // Whatever the mask of the process is.
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

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use testkit::directory::Directory;

    use super::*;

    #[test]
    fn programs_that_make_one_file_at_once_make_one_whole_token_and_leave_nothing_behind() {
        for _ in 0..20 {
            let folder = Directory::named("alerts-token-race");
            let file = folder.path().join("token");
            let together = Barrier::new(4);
            let read = std::thread::scope(|scope| {
                let programs = [(); 4].map(|()| {
                    scope.spawn(|| {
                        together.wait();
                        make(&file, "--token-file").expect("it can be made");
                        fs::read_to_string(&file).expect("it is there")
                    })
                });
                programs.map(|program| program.join().expect("it does not panic"))
            });
            assert_eq!(read[0].trim().len(), 2 * MADE_BYTES);
            assert!(read.iter().all(|token| *token == read[0]), "{read:?}");
            assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1);
        }
    }
}
