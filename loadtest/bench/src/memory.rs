//! Memory that no process shows: the kernel's memory for sockets.

use anyhow::Context;

/// Bytes of a page. Linux on x86-64 and most ARM; `sockstat` counts in pages.
const PAGE_BYTES: u64 = 4_096;

/// The kernel's memory, and the machine's available memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Kernel {
    /// Objects of the kernel: sockets, files, epoll entries; bytes.
    pub(crate) slab_bytes: u64,
    /// What TCP's buffers hold, bytes.
    pub(crate) tcp_bytes: u64,
    /// TCP sockets, both ends.
    pub(crate) tcp_sockets: u64,
    /// The memory that is available to programs, bytes.
    pub(crate) available_bytes: u64,
}

impl Kernel {
    /// As it is now.
    ///
    /// # Errors
    /// If `/proc` does not say.
    pub(crate) fn now() -> anyhow::Result<Kernel> {
        let read = |path: &str| {
            std::fs::read_to_string(path).with_context(|| format!("failed to read {path}"))
        };
        parse(&read("/proc/meminfo")?, &read("/proc/net/sockstat")?)
            .context("failed to understand /proc/meminfo or /proc/net/sockstat")
    }
}

fn parse(meminfo: &str, sockstat: &str) -> Option<Kernel> {
    let bytes_of = |name: &str| -> Option<u64> {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
        let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kib * 1_024)
    };
    let tcp: Vec<&str> = sockstat
        .lines()
        .find_map(|line| line.strip_prefix("TCP: "))?
        .split_whitespace()
        .collect();
    let count_of = |name: &str| -> Option<u64> {
        let at = tcp.iter().position(|word| *word == name)?;
        tcp.get(at + 1)?.parse().ok()
    };
    Some(Kernel {
        slab_bytes: bytes_of("Slab:")?,
        tcp_bytes: count_of("mem")? * PAGE_BYTES,
        tcp_sockets: count_of("inuse")?,
        available_bytes: bytes_of("MemAvailable:")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_holds_is_read_in_bytes() {
        let meminfo = "MemTotal: 24 kB\nMemAvailable:   20 kB\nSlab:    3 kB\n";
        let sockstat = "sockets: used 9\nTCP: inuse 7 orphan 0 tw 1 alloc 8 mem 2\nUDP: inuse 0\n";
        assert_eq!(
            parse(meminfo, sockstat),
            Some(Kernel {
                slab_bytes: 3_072,
                tcp_bytes: 8_192,
                tcp_sockets: 7,
                available_bytes: 20_480,
            })
        );
        assert_eq!(parse("MemTotal: 24 kB\n", sockstat), None);
    }

    #[test]
    fn this_machine_can_be_read() {
        assert!(Kernel::now().is_ok_and(|kernel| kernel.available_bytes > 0));
    }
}
