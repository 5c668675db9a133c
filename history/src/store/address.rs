//! The choice of the store.

use std::convert::Infallible;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use reqwest::Url;

/// The URL of a database server, which may have a password.
#[derive(Clone, PartialEq, Eq)]
pub struct RemoteUrl {
    scheme: &'static str,
    is_tls: bool,
    host: String,
    port: Option<u16>,
    database: String,
    user: Option<String>,
    password: Option<String>,
    options: Vec<(String, String)>,
}

impl RemoteUrl {
    /// Reads `scheme://[user[:password]@]host[:port]/database[?option=value&...]`; an `s` behind the
    /// scheme means TLS. `None` for anything else.
    fn parse(scheme: &'static str, text: &str) -> Option<Self> {
        let rest = text.strip_prefix(scheme)?;
        let (is_tls, rest) = match rest.strip_prefix("s://") {
            Some(rest) => (true, rest),
            None => (false, rest.strip_prefix("://")?),
        };
        // A scheme that every parser knows: it finds the host, and checks it.
        let url: Url = format!("http://{rest}").parse().ok()?;
        let port = rest
            .split(['/', '?', '#'])
            .next()
            .and_then(|authority| authority.rsplit_once(':'))
            .and_then(|(_, port)| port.parse().ok());
        let path = decoded(url.path().strip_prefix('/')?)?;
        let is_name = |name: &str| {
            name.len() <= 128
                && name
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
        };
        if path.is_empty() || !is_name(&path) || url.fragment().is_some() {
            return None;
        }
        let user = Some(url.username()).filter(|user| !user.is_empty());
        Some(Self {
            scheme,
            is_tls,
            host: url.host_str()?.to_owned(),
            port: port.or(url.port()),
            database: path,
            user: match user {
                Some(user) => Some(decoded(user)?),
                None => None,
            },
            password: match url.password() {
                Some(password) => Some(decoded(password)?),
                None => None,
            },
            options: url.query_pairs().into_owned().collect(),
        })
    }

    /// `http://host:port` or `https://host:port`.
    pub(crate) fn origin(&self, port: u16, tls_port: u16) -> String {
        let (scheme, port_of_scheme) = match self.is_tls {
            true => ("https", tls_port),
            false => ("http", port),
        };
        format!(
            "{scheme}://{}:{}",
            self.host,
            self.port.unwrap_or(port_of_scheme)
        )
    }

    /// The name of the database.
    #[must_use]
    pub fn database(&self) -> &str {
        &self.database
    }

    /// The same server with another database.
    pub(crate) fn with_database(&self, database: String) -> Self {
        Self {
            database,
            ..self.clone()
        }
    }

    /// User and password: for the requests alone.
    pub(crate) fn login(&self) -> Option<(&str, Option<&str>)> {
        let user = self
            .user
            .as_deref()
            .or(self.password.as_ref().map(|_| ""))?;
        Some((user, self.password.as_deref()))
    }

    /// What stands behind the question mark.
    pub(crate) fn options(&self) -> &[(String, String)] {
        &self.options
    }
}

/// Text without percent-encoding; `None` if it is no UTF-8.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut out = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => {
                let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
                let (high, low) = (digit(bytes.next())?, digit(bytes.next())?);
                u8::try_from(high * 16 + low).ok()?
            }
            byte => byte,
        });
    }
    String::from_utf8(out).ok()
}

impl fmt::Display for RemoteUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tls = if self.is_tls { "s" } else { "" };
        write!(f, "{}{tls}://{}", self.scheme, self.host)?;
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        write!(f, "/{}", self.database)
    }
}

impl fmt::Debug for RemoteUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// `sqlite:DIR`, `clickhouse://[user:password@]host[:port]/database` or
/// `influxdb://[user:password@]host[:port]/database`; `clickhouses://` and `influxdbs://` with TLS.
///
/// It is shown and logged without user and password. Reading one never fails, because the command
/// line parser would print the value with its password: an invalid one is kept, and refused when
/// the store is opened.
#[derive(Clone, PartialEq, Eq)]
pub enum StoreAddress {
    /// The embedded store in a directory.
    Sqlite(PathBuf),
    /// A `ClickHouse` server.
    ClickHouse(RemoteUrl),
    /// An `InfluxDB` server.
    Influx(RemoteUrl),
    /// None of these.
    Invalid,
}

impl StoreAddress {
    /// The same store for simulated rows: they never mix with rows of a market.
    #[must_use]
    pub fn simulated(self) -> Self {
        let simulated = |url: &RemoteUrl| url.with_database(format!("{}_simulated", url.database));
        match self {
            Self::Sqlite(directory) => Self::Sqlite(directory.join("simulated")),
            Self::ClickHouse(url) => Self::ClickHouse(simulated(&url)),
            Self::Influx(url) => Self::Influx(simulated(&url)),
            Self::Invalid => Self::Invalid,
        }
    }

    /// Whether it is a server.
    #[must_use]
    pub fn is_remote(&self) -> bool {
        matches!(self, Self::ClickHouse(_) | Self::Influx(_))
    }
}

impl FromStr for StoreAddress {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        let directory = text.strip_prefix("sqlite:").filter(|dir| !dir.is_empty());
        let address = directory
            .map(|directory| Self::Sqlite(PathBuf::from(directory)))
            .or_else(|| RemoteUrl::parse("clickhouse", text).map(Self::ClickHouse))
            .or_else(|| RemoteUrl::parse("influxdb", text).map(Self::Influx));
        Ok(address.unwrap_or(Self::Invalid))
    }
}

impl fmt::Display for StoreAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(directory) => write!(f, "sqlite:{}", directory.display()),
            Self::ClickHouse(url) | Self::Influx(url) => fmt::Display::fmt(url, f),
            Self::Invalid => f.write_str("(invalid)"),
        }
    }
}

impl fmt::Debug for StoreAddress {
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
            ("sqlite:/var/lib/klinecast", "sqlite:/var/lib/klinecast"),
            ("clickhouse://host:8123/db", "clickhouse://host:8123/db"),
            ("clickhouse://u:s3cret@host/db", "clickhouse://host/db"),
            ("clickhouses://u:s3c%40ret@host/db", "clickhouses://host/db"),
            (
                "influxdb://:s3cret@[::1]:8086/db?org=s3c",
                "influxdb://[::1]:8086/db",
            ),
            ("clickhouse://u:s3cret@host", "(invalid)"),
            ("clickhouse://u:s3cret@host/a/b", "(invalid)"),
            ("clickhouse://u:s3cret@host/a'b", "(invalid)"),
            ("clickhouse://u:s3cret@/db", "(invalid)"),
            ("mysql://u:s3cret@host/db", "(invalid)"),
            ("sqlite:", "(invalid)"),
            ("s3cret", "(invalid)"),
        ] {
            let address: StoreAddress = text.parse().expect("never fails");
            assert_eq!(address.to_string(), shown, "{text}");
            assert!(!format!("{address:?}").contains("s3c"), "{text}");
        }
    }

    #[test]
    fn a_url_has_all_that_a_request_needs() {
        let address: StoreAddress = "clickhouses://a%40b:p%3A@host/db?ttl=3"
            .parse()
            .expect("never fails");
        let StoreAddress::ClickHouse(url) = address.clone() else {
            panic!("{address}");
        };
        assert_eq!(url.origin(8_123, 8_443), "https://host:8443");
        assert_eq!(url.login(), Some(("a@b", Some("p:"))));
        assert_eq!(url.options(), [("ttl".to_owned(), "3".to_owned())]);
        let text = address.simulated().to_string();
        assert_eq!(text, "clickhouses://host/db_simulated");
        let address: StoreAddress = "influxdb://host:80/db".parse().expect("never fails");
        let StoreAddress::Influx(url) = address else {
            panic!("{address}");
        };
        assert_eq!(url.origin(8_086, 8_086), "http://host:80");
        assert_eq!(url.login(), None);
    }
}
