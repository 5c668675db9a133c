//! Which pages may connect.
//!
//! A browser names a page's origin in the handshake and lets any page connect anywhere: the server
//! decides. Programs other than browsers send no origin.

use std::fmt;
use std::str::FromStr;

use axum::http::HeaderMap;
use axum::http::header;

/// An origin that may connect: `https://app.example.com`, `http://localhost:5173`,
/// `https://*.example.com` for all names below, or `null` for pages without an origin.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OriginPattern {
    scheme: String,
    host: Host,
    port: Option<u16>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Host {
    Exact(String),
    /// Any name with this end, which begins with a dot.
    Below(String),
}

/// Why a text is not an origin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is not an origin: write scheme and host, such as https://app.example.com or https://*.example.com, without a path"
)]
pub struct ParseOriginError(String);

/// Pages without an origin, such as files and sandboxed frames.
const NULL: &str = "null";

/// Splits into scheme, host and port, in lower case; the scheme's default port becomes `None`.
fn split(text: &str) -> Option<(String, String, Option<u16>)> {
    if text == NULL {
        return Some((NULL.to_owned(), String::new(), None));
    }
    let (scheme, rest) = text.split_once("://")?;
    let scheme = scheme.to_ascii_lowercase();
    let is_scheme = scheme.starts_with(|first: char| first.is_ascii_lowercase())
        && scheme
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'));
    // An IPv6 address contains colons, but ends with a bracket.
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port.parse::<u16>().ok()?)),
        _ => (rest, None),
    };
    let is_host = if let Some(inner) = host.strip_prefix('[') {
        inner
            .strip_suffix(']')
            .is_some_and(|address| address.parse::<std::net::Ipv6Addr>().is_ok())
    } else {
        !host.is_empty()
            && host.bytes().all(|byte| {
                byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'*')
            })
    };
    let own_port = match scheme.as_str() {
        "http" | "ws" => Some(80),
        "https" | "wss" => Some(443),
        _ => None,
    };
    let port = port.filter(|_| port != own_port);
    (is_scheme && is_host).then(|| (scheme, host.to_ascii_lowercase(), port))
}

impl FromStr for OriginPattern {
    type Err = ParseOriginError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let malformed = || ParseOriginError(text.to_owned());
        let (scheme, host, port) = split(text).ok_or_else(malformed)?;
        let host = match host.strip_prefix('*') {
            Some(below) if below.len() > 1 && below.starts_with('.') => {
                Host::Below(below.to_owned())
            }
            Some(_) => return Err(malformed()),
            None => Host::Exact(host),
        };
        let (Host::Exact(name) | Host::Below(name)) = &host;
        if name.contains('*') {
            return Err(malformed());
        }
        Ok(Self { scheme, host, port })
    }
}

impl fmt::Display for OriginPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.scheme == NULL {
            return f.write_str(NULL);
        }
        let (star, host) = match &self.host {
            Host::Exact(host) => ("", host),
            Host::Below(host) => ("*", host),
        };
        write!(f, "{}://{star}{host}", self.scheme)?;
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

impl OriginPattern {
    /// Whether it matches an origin as a browser sends it.
    #[must_use]
    pub fn matches(&self, origin: &str) -> bool {
        let Some((scheme, host, port)) = split(origin) else {
            return false;
        };
        let is_host = match &self.host {
            Host::Exact(exact) => *exact == host,
            Host::Below(below) => host.len() > below.len() && host.ends_with(below.as_str()),
        };
        scheme == self.scheme && is_host && port == self.port
    }
}

/// Why a handshake's origin is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum OriginRefusal {
    /// It is not on the list.
    NotAllowed,
    /// There is none, but it is required.
    Missing,
}

impl OriginRefusal {
    /// What to do, for people.
    #[must_use]
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::NotAllowed => {
                "pages of this origin may not connect: the gateway's operator can add it to --allowed-origins\n"
            }
            Self::Missing => {
                "this gateway wants an Origin header: connect from a page, or send the Origin of one that may connect\n"
            }
        }
    }
}

/// Which origins may connect.
#[derive(Clone, Debug)]
pub(crate) struct Origins {
    allowed: Vec<OriginPattern>,
    is_required: bool,
}

impl Origins {
    /// The allowed origins of pages, and whether a handshake must name an origin.
    #[must_use]
    pub(crate) fn new(allowed: &[OriginPattern], is_required: bool) -> Self {
        Self {
            allowed: allowed.to_vec(),
            is_required,
        }
    }

    /// Whether a handshake with these headers may continue.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn check(&self, headers: &HeaderMap) -> Result<(), OriginRefusal> {
        let mut origins = headers.get_all(header::ORIGIN).iter();
        match (origins.next(), origins.next()) {
            (None, _) if self.is_required => Err(OriginRefusal::Missing),
            (None, _) => Ok(()),
            _ if self.allowed.is_empty() => Ok(()),
            (Some(origin), None) => {
                let is_allowed = origin
                    .to_str()
                    .is_ok_and(|origin| self.allowed.iter().any(|pattern| pattern.matches(origin)));
                is_allowed.then_some(()).ok_or(OriginRefusal::NotAllowed)
            }
            (Some(_), Some(_)) => Err(OriginRefusal::NotAllowed),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(pattern: &str, origin: &str, expected: bool) {
        let pattern: OriginPattern = pattern.parse().expect("an origin");
        assert_eq!(pattern.matches(origin), expected, "{pattern} and {origin}");
    }

    #[test]
    fn an_origin_matches_by_scheme_host_and_port() {
        check("https://app.example.com", "https://app.example.com", true);
        check(
            "https://App.Example.com:443",
            "HTTPS://app.example.com",
            true,
        );
        check("https://app.example.com", "http://app.example.com", false);
        check(
            "https://app.example.com",
            "https://app.example.com:8443",
            false,
        );
        check(
            "https://app.example.com",
            "https://app.example.com.evil.org",
            false,
        );
        check(
            "https://app.example.com",
            "https://evil.org/https://app.example.com",
            false,
        );
        check("https://app.example.com", "null", false);
        check("null", "null", true);
        check("http://localhost:5173", "http://localhost:5173", true);
        check("http://[::1]:8080", "http://[::1]:8080", true);
        check(
            "chrome-extension://abcdef",
            "chrome-extension://abcdef",
            true,
        );
    }

    #[test]
    fn a_wildcard_stands_for_names_below_and_not_for_the_name_itself() {
        check("https://*.example.com", "https://a.example.com", true);
        check("https://*.example.com", "https://a.b.example.com", true);
        check("https://*.example.com", "https://example.com", false);
        check("https://*.example.com", "https://.example.com", false);
        check("https://*.example.com", "https://evilexample.com", false);
        check(
            "https://*.example.com",
            "https://a.example.com.evil.org",
            false,
        );
    }

    #[test]
    fn what_is_no_origin_is_refused() {
        for text in [
            "",
            "*",
            "app.example.com",
            "https://",
            "https://*",
            "https://*.",
            "https://a.*.com",
            "https://*example.com",
            "https://example.com/",
            "https://a b",
            "https://a:b",
            "://x",
            "https://[::g]",
        ] {
            assert!(text.parse::<OriginPattern>().is_err(), "{text}");
        }
    }

    #[test]
    fn several_origins_are_as_none_that_may() {
        let allowed = ["https://a.b".parse().expect("an origin")];
        let origins = Origins::new(&allowed, false);
        let mut headers = HeaderMap::new();
        assert_eq!(origins.check(&headers), Ok(()));
        headers.append(header::ORIGIN, "https://a.b".parse().expect("a value"));
        assert_eq!(origins.check(&headers), Ok(()));
        headers.append(header::ORIGIN, "https://a.b".parse().expect("a value"));
        assert_eq!(origins.check(&headers), Err(OriginRefusal::NotAllowed));
    }

    proptest! {
        #[test]
        fn arbitrary_origins_never_panic_and_patterns_round_trip(text in ".{0,40}", name in "[a-z]{1,5}(\\.[a-z]{1,5}){0,2}", port in proptest::option::of(1u16..)) {
            let _ = text.parse::<OriginPattern>();
            let port = port.map(|port| format!(":{port}")).unwrap_or_default();
            let origin = format!("https://{name}{port}");
            let pattern: OriginPattern = origin.parse().expect("an origin");
            prop_assert!(pattern.matches(&origin));
            prop_assert!(!pattern.matches(&text) || text.eq_ignore_ascii_case(&origin));
            prop_assert_eq!(pattern.to_string().parse::<OriginPattern>(), Ok(pattern));
        }
    }
}
