//! Where a venue is found, if not where it always is.

use std::fmt;
use std::str::FromStr;

use super::error::ConfigError;

/// Another address for a venue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointOverride {
    pub(super) exchange: String,
    pub(super) is_websocket: bool,
    pub(super) url: String,
}

/// Where an exchange-sim listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimAddress {
    pub(super) authority: String,
}

impl FromStr for EndpointOverride {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let wrong = || ConfigError::Text {
            given: text.to_owned(),
            what: "an endpoint",
            example: "binance.ws=ws://127.0.0.1:9443/ws or binance.rest=http://127.0.0.1:9443",
        };
        let (key, url) = text.split_once('=').ok_or_else(wrong)?;
        let (exchange, kind) = key.split_once('.').ok_or_else(wrong)?;
        let schemes = match kind {
            "ws" => ["ws://", "wss://"],
            "rest" => ["http://", "https://"],
            _ => return Err(wrong()),
        };
        if !schemes
            .iter()
            .any(|scheme| url.len() > scheme.len() && url.starts_with(scheme))
        {
            return Err(wrong());
        }
        Ok(Self {
            exchange: exchange.to_owned(),
            is_websocket: kind == "ws",
            url: url.to_owned(),
        })
    }
}

impl fmt::Display for EndpointOverride {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.is_websocket { "ws" } else { "rest" };
        write!(f, "{}.{kind}={}", self.exchange, self.url)
    }
}

impl FromStr for SimAddress {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let authority = text
            .strip_prefix("http://")
            .map(|at| at.trim_end_matches('/'));
        match authority {
            Some(authority) if !authority.is_empty() && !authority.contains('/') => Ok(Self {
                authority: authority.to_owned(),
            }),
            _ => Err(ConfigError::Text {
                given: text.to_owned(),
                what: "the address of an exchange-sim",
                example: "http://127.0.0.1:9443",
            }),
        }
    }
}

impl fmt::Display for SimAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}", self.authority)
    }
}

/// An address without a path takes the venue's own.
pub(super) fn with_path(url: &str, like: &str) -> String {
    let path_of = |url: &str| {
        let after_scheme = url.find("://").map_or(0, |at| at + 3);
        url[after_scheme..]
            .find('/')
            .map(|at| url[after_scheme + at..].to_owned())
    };
    match path_of(url).as_deref() {
        None | Some("/") => {
            url.trim_end_matches('/').to_owned() + path_of(like).as_deref().unwrap_or("/")
        }
        Some(_) => url.to_owned(),
    }
}
