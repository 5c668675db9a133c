//! The choice of the cache.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

/// The URL of a Redis server, which may have a password.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisUrl(String);

impl RedisUrl {
    /// All of it, with its password: for the connection alone.
    pub(super) fn secret(&self) -> &str {
        &self.0
    }
}

/// `none`, `memory:`, or `redis://[user:password@]host[:port][/database]`.
///
/// It is shown and logged without user and password. Reading one never fails, because the command
/// line parser would print the value with its password: an invalid one is kept, and refused when
/// history opens it.
#[derive(Clone, PartialEq, Eq)]
pub enum CacheAddress {
    /// No cache.
    None,
    /// In this process.
    Memory,
    /// A Redis server.
    Redis(RedisUrl),
    /// None of these.
    Invalid,
}

impl FromStr for CacheAddress {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text {
            "none" => Self::None,
            "memory:" => Self::Memory,
            _ if text.starts_with("redis://") => Self::Redis(RedisUrl(text.to_owned())),
            _ => Self::Invalid,
        })
    }
}

impl fmt::Display for CacheAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Memory => f.write_str("memory:"),
            Self::Redis(url) => fmt::Display::fmt(url, f),
            Self::Invalid => f.write_str("(invalid)"),
        }
    }
}

impl fmt::Debug for CacheAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rest = self.0.strip_prefix("redis://").unwrap_or_default();
        // A password may have an @ that is not encoded: the host is behind the last one.
        let host = rest.rsplit('@').next().unwrap_or_default();
        let host = host.split(['?', '#']).next().unwrap_or_default();
        write!(f, "redis://{host}")
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_without_its_password() {
        for (text, shown) in [
            ("none", "none"),
            ("memory:", "memory:"),
            ("redis://host:6379/2", "redis://host:6379/2"),
            ("redis://:s3cret@host", "redis://host"),
            ("redis://user:s3cret@host:1", "redis://host:1"),
            ("redis://user:s3c@ret@host", "redis://host"),
            ("redis://host?password=s3cret", "redis://host"),
            ("rediss://:s3cret@host", "(invalid)"),
            ("s3cret", "(invalid)"),
        ] {
            let address: CacheAddress = text.parse().expect("never fails");
            assert_eq!(address.to_string(), shown, "{text}");
            assert!(!format!("{address:?}").contains("s3c"), "{text}");
        }
    }
}
