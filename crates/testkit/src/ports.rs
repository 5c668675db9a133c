//! Ports that nobody else takes.
//!
//! A port that the system chose is free again until its server listens, and while its server is
//! restarted. Another test gets it then. These ports are outside of the range from which systems
//! choose, and each belongs to one process of tests until that process ends.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Mutex, PoisonError};

/// Below the range from which Linux (32768), macOS and Windows (49152) choose.
const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;
/// How far apart two processes begin to look.
const STRIDE: u32 = 97;

struct Held {
    next: Option<u16>,
    /// The locks are released when the process ends, however it ends.
    locks: Vec<File>,
}

static HELD: Mutex<Held> = Mutex::new(Held {
    next: None,
    locks: Vec::new(),
});

/// A port of 127.0.0.1 that nobody listens on, and that no other test gets before this process ends.
///
/// # Panics
/// If there is none, or the folder of temporary files cannot be written.
#[must_use]
pub fn reserve() -> u16 {
    let folder = std::env::temp_dir().join("klinecast-test-ports");
    fs::create_dir_all(&folder).expect("the folder of temporary files can be written");
    let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
    for _ in 0..COUNT {
        let begin = || {
            let spread = std::process::id().wrapping_mul(STRIDE) % u32::from(COUNT);
            u16::try_from(spread).unwrap_or_default()
        };
        let offset = held.next.unwrap_or_else(begin);
        held.next = Some((offset + 1) % COUNT);
        let port = FIRST + offset;
        let Ok(lock) = File::create(folder.join(port.to_string())) else {
            // Another user's.
            continue;
        };
        // The address of all interfaces is taken by those of one, and the other way round.
        let is_free = || TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok();
        if lock.try_lock().is_ok() && is_free() {
            held.locks.push(lock);
            return port;
        }
    }
    panic!("no port from {FIRST} on is free");
}

/// An address of 127.0.0.1 with a port of [`reserve`].
#[must_use]
pub fn reserve_address() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, reserve()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_given_once_and_not_while_somebody_listens() {
        let first = reserve();
        let next = FIRST + (first - FIRST + 1) % COUNT;
        // Whether it is free already or not, nobody gets it now.
        let _listener = TcpListener::bind((Ipv4Addr::LOCALHOST, next));
        let others: Vec<u16> = (0..20).map(|_| reserve()).collect();
        assert!(
            !others.contains(&first) && !others.contains(&next),
            "{others:?}"
        );
        let folder = std::env::temp_dir().join("klinecast-test-ports");
        let same = File::open(folder.join(first.to_string())).expect("its lock");
        assert!(
            same.try_lock().is_err(),
            "another process could have {first}"
        );
    }
}
