//! Requests without a token that programs of this host send, and no page of another site.

use std::net::IpAddr;

use axum::http::{HeaderMap, HeaderName};

/// The headers in which a proxy says for whom it asks.
const FORWARDED: [HeaderName; 3] = [
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("forwarded"),
    HeaderName::from_static("x-real-ip"),
];

/// Whether a proxy sent this request for a client. Its connection comes from this host, but the
/// client may be anywhere, and chooses the header `Host`.
#[must_use]
pub fn is_forwarded(headers: &HeaderMap) -> bool {
    FORWARDED.iter().any(|name| headers.contains_key(name))
}

/// Whether the header `Host`, a name or an address with or without a port, names this host.
/// A name server can resolve any other name to this host.
#[must_use]
pub fn is_loopback_name(host: &str) -> bool {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !name.is_empty() && !port.contains(']') => (name, Some(port)),
        _ => (host, None),
    };
    let address = match name.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').unwrap_or_default(),
        None => name,
    };
    let is_ours = name.eq_ignore_ascii_case("localhost")
        || address
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback());
    is_ours && port.is_none_or(|port| port.parse::<u16>().is_ok())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn only_names_of_this_host_are_local() {
        for host in [
            "localhost",
            "LocalHost:8092",
            "127.0.0.1:1",
            "127.9.9.9",
            "[::1]",
            "[::1]:80",
        ] {
            assert!(is_loopback_name(host), "{host}");
        }
        for host in [
            "",
            ":80",
            "evil.example",
            "localhost.evil.example:80",
            "127.0.0.1.evil",
            "localhost:x",
            "10.0.0.1",
            "[::2]",
            "[::2]:1",
            "[::1",
        ] {
            assert!(!is_loopback_name(host), "{host}");
        }
    }

    #[test]
    fn a_request_of_a_proxy_is_forwarded() {
        assert!(!is_forwarded(&HeaderMap::new()));
        for name in FORWARDED {
            let value = HeaderValue::from_static("192.0.2.1");
            assert!(is_forwarded(&HeaderMap::from_iter([(name, value)])));
        }
    }
}
