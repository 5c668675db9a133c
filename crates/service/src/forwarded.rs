//! The client's address: forwarded by a trusted proxy, or the peer's own.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// An address or a network: `127.0.0.1`, `10.0.0.0/8`, `fd00::/8`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Network {
    address: IpAddr,
    prefix_bits: u8,
}

/// Why a text is not a network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is not a network: write an address with an optional prefix length, such as 10.0.0.0/8"
)]
pub struct ParseNetworkError(String);

impl FromStr for Network {
    type Err = ParseNetworkError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let malformed = || ParseNetworkError(text.to_owned());
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.trim().parse().map_err(|_| malformed())?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        let prefix_bits = match prefix {
            None => width,
            Some(prefix) => prefix.trim().parse().map_err(|_| malformed())?,
        };
        if prefix_bits > width {
            return Err(malformed());
        }
        Ok(Self {
            address,
            prefix_bits,
        })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix_bits)
    }
}

impl Network {
    /// Whether the network contains the address.
    #[must_use]
    pub fn contains(self, address: IpAddr) -> bool {
        let bits = |address: IpAddr| match address {
            IpAddr::V4(v4) => u128::from(v4.to_bits()) << 96,
            IpAddr::V6(v6) => v6.to_bits(),
        };
        let mask = u128::MAX
            .checked_shl(128 - u32::from(self.prefix_bits))
            .unwrap_or(0);
        self.address.is_ipv4() == address.is_ipv4()
            && bits(self.address) & mask == bits(address) & mask
    }
}

/// The client's address: the rightmost forwarded address that is not a trusted proxy, if the peer
/// is one. The client may have written the addresses left of it itself.
#[must_use]
pub fn client_ip<'a>(
    peer: IpAddr,
    forwarded_for: impl DoubleEndedIterator<Item = &'a str>,
    trusted: &[Network],
) -> IpAddr {
    let peer = peer.to_canonical();
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(address));
    let mut client = peer;
    if !is_trusted(peer) {
        return peer;
    }
    for hop in forwarded_for.rev().flat_map(|line| line.rsplit(',')) {
        let Some(address) = parse_hop(hop.trim()) else {
            // Hops left of an unreadable one cannot be believed.
            return client;
        };
        client = address;
        if !is_trusted(address) {
            return client;
        }
    }
    client
}

/// An address with or without a port, as proxies write it.
fn parse_hop(hop: &str) -> Option<IpAddr> {
    let address = hop.parse().ok().or_else(|| {
        hop.parse()
            .ok()
            .map(|socket: std::net::SocketAddr| socket.ip())
    });
    address.map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(peer: &str, forwarded: &[&str], expected: &str) {
        let trusted: Vec<Network> = ["127.0.0.1", "10.0.0.0/8", "fd00::/8"]
            .iter()
            .map(|text| text.parse().expect("network"))
            .collect();
        let client = client_ip(
            peer.parse().expect("address"),
            forwarded.iter().copied(),
            &trusted,
        );
        assert_eq!(client, expected.parse::<IpAddr>().expect("address"));
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        check("203.0.113.9", &["198.51.100.1"], "203.0.113.9");
        check("127.0.0.1", &["198.51.100.1"], "198.51.100.1");
        check("127.0.0.1", &[], "127.0.0.1");
        check("fd00::1", &["2001:db8::1"], "2001:db8::1");
    }

    #[test]
    fn the_rightmost_hop_that_is_no_proxy_is_the_client() {
        check(
            "127.0.0.1",
            &["1.2.3.4, 198.51.100.1, 10.1.2.3"],
            "198.51.100.1",
        );
        check(
            "127.0.0.1",
            &["1.2.3.4", "198.51.100.1", "10.1.2.3"],
            "198.51.100.1",
        );
        check("127.0.0.1", &["198.51.100.1:4711"], "198.51.100.1");
        check("127.0.0.1", &["1.2.3.4, unknown"], "127.0.0.1");
        check("127.0.0.1", &["::ffff:198.51.100.1"], "198.51.100.1");
    }

    #[test]
    fn networks_are_parsed_and_malformed_ones_refused() {
        for text in ["", "10.0.0.0/33", "x/8", "10.0.0.0/", "::/129"] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
        let all: Network = "0.0.0.0/0".parse().expect("network");
        assert!(all.contains("1.2.3.4".parse().expect("address")));
        assert!(!all.contains("::1".parse().expect("address")));
        assert_eq!(
            "10.0.0.0/8"
                .parse::<Network>()
                .expect("network")
                .to_string(),
            "10.0.0.0/8"
        );
    }
}
