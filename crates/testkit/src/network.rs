//! A network of a test's own, in which the kernel drops the packets of single addresses.
//!
//! Everything runs in one network namespace, and talks to itself. What is to be cut off has an
//! address of its own. While a route leads this address to an interface that nobody listens at, the
//! packets of both directions vanish: connections stay, new ones get no answer, and TCP sends again
//! what was lost. Linux needs neither a firewall nor a module for this.

use std::net::Ipv4Addr;
use std::process::{Command, Stdio};

/// Is set within such a network.
const INSIDE: &str = "KLINECAST_OWN_NETWORK";
/// Its other end is not up: what is sent to it vanishes.
const SINK: &str = "sink";
/// Runs its arguments in a new network namespace. Root may make one; others need a user namespace, in
/// which they keep their own id: nginx as root would change its groups, which is not permitted there.
const SCRIPT: &str = r#"
set -e
PATH="$PATH:/usr/sbin:/sbin"
if [ "$(id -u)" = 0 ]; then set -- unshare --net "$@"; else set -- unshare --user --map-current-user --keep-caps --net "$@"; fi
exec "$@"
"#;
const PREPARE: &str = r#"
set -e
PATH="$PATH:/usr/sbin:/sbin"
ip link set lo up
ip link add sink type veth peer name void
ip link set sink up
ip link set void up
exec "$@"
"#;

/// Where a test is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inside {
    /// In a network of its own.
    Own,
    /// In the machine's: this system allows no other, or has no `ip`.
    Machine,
    /// It has run in a network of its own, and has passed.
    Done,
}

/// Whether the test is in a network of its own.
#[must_use]
pub fn is_own() -> bool {
    std::env::var_os(INSIDE).is_some()
}

/// Runs the test of this path again, in a network of its own, unless it is in one.
///
/// # Panics
/// If the test fails there.
#[must_use]
pub fn enter(test: &str) -> Inside {
    if is_own() {
        return Inside::Own;
    }
    let command = |inside: &[&str]| {
        let mut command = Command::new("sh");
        command.args(["-c", SCRIPT, "sh", "sh", "-c", PREPARE, "sh"]);
        command.args(inside).env(INSIDE, "1");
        command
    };
    let tried = command(&["true"]).stderr(Stdio::null()).status();
    if !tried.is_ok_and(|status| status.success()) {
        println!(
            "skipped: dropped packets: this needs ip (Debian: iproute2), and root or a system that \
             lets users make namespaces"
        );
        return Inside::Machine;
    }
    let this = std::env::current_exe().expect("a test has a path");
    let this = this.to_str().expect("UTF-8");
    let status = command(&[this, "--exact", "--nocapture", test]).status();
    let status = status.expect("there is a shell");
    assert!(status.success(), "{test} failed: {status}");
    Inside::Done
}

/// An address that can be cut off. Only within a network of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address(Ipv4Addr);

impl Address {
    /// Gives the network this address.
    ///
    /// # Panics
    /// If the test is not in a network of its own, or has this address already.
    #[must_use]
    pub fn add(address: Ipv4Addr) -> Self {
        assert!(is_own(), "this is the machine's network");
        ip(&["address", "add", &format!("{address}/32"), "dev", "lo"]);
        Self(address)
    }

    /// The address.
    #[must_use]
    pub fn get(self) -> Ipv4Addr {
        self.0
    }

    /// From now on the kernel drops its packets, without a word.
    pub fn drop_packets(self) {
        self.route(&[], &["dev", SINK]);
        // Nobody would answer who has the address, and the kernel would tell.
        let to = self.0.to_string();
        ip(&[
            "neighbour",
            "replace",
            &to,
            "lladdr",
            "02:00:00:00:00:01",
            "dev",
            SINK,
            "nud",
            "permanent",
        ]);
    }

    /// Its packets pass again.
    pub fn pass(self) {
        self.route(&["local"], &["dev", "lo", "src", &self.0.to_string()]);
    }

    fn route(self, kind: &[&str], to: &[&str]) {
        let address = format!("{}/32", self.0);
        let arguments = [
            &["route", "replace"],
            kind,
            &[&address],
            to,
            &["table", "local"],
        ];
        ip(&arguments.concat());
    }
}

fn ip(arguments: &[&str]) {
    let done = Command::new("sh")
        .args(["-c", "PATH=\"$PATH:/usr/sbin:/sbin\" exec ip \"$@\"", "sh"])
        .args(arguments)
        .output()
        .expect("there is a shell");
    let why = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "ip {arguments:?}: {why}");
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::time::Duration;

    use super::*;

    #[test]
    fn packets_of_one_address_vanish_and_are_sent_again_afterwards() {
        let test = "network::tests::packets_of_one_address_vanish_and_are_sent_again_afterwards";
        if enter(test) != Inside::Own {
            return;
        }
        let pair = |address: Address| {
            let listener = TcpListener::bind((address.get(), 0)).expect("a free port");
            let near = TcpStream::connect(listener.local_addr().expect("it listens"));
            (
                near.expect("it listens"),
                listener.accept().expect("it came").0,
            )
        };
        let (cut, other) = (
            Address::add(Ipv4Addr::new(10, 77, 0, 1)),
            Address::add(Ipv4Addr::new(10, 77, 0, 2)),
        );
        let (mut cut_near, mut cut_far) = pair(cut);
        let (mut near, mut far) = pair(other);
        cut.drop_packets();
        let mut byte = [0];
        near.write_all(b"a").expect("sent");
        far.read_exact(&mut byte)
            .expect("only one address is cut off");
        cut_near.write_all(b"b").expect("it waits to be sent again");
        cut_far.write_all(b"c").expect("it waits to be sent again");
        for stream in [&mut cut_near, &mut cut_far] {
            stream
                .set_read_timeout(Some(Duration::from_millis(300)))
                .expect("set");
            let nothing = stream.read(&mut byte).expect_err("nothing comes");
            assert_eq!(nothing.kind(), ErrorKind::WouldBlock);
            stream.set_read_timeout(None).expect("set");
        }
        cut.pass();
        cut_far.read_exact(&mut byte).expect("sent again");
        assert_eq!(byte, *b"b");
        cut_near.read_exact(&mut byte).expect("sent again");
        assert_eq!(byte, *b"c");
    }
}
