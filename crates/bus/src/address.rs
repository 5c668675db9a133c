//! The choice of the bus: `memory:` or NATS servers.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

use async_nats::ServerAddr;

use crate::BusError;

/// `memory:`, or one or more servers as `nats://[user:password@|token@]host[:port]`, separated by
/// commas; `tls://` instead of `nats://` demands TLS.
///
/// It is shown and logged without credentials. Reading one from a flag never fails, because the
/// command line parser would print the value with its password. [`crate::connect`] refuses an
/// invalid one.
#[derive(Clone, PartialEq, Eq)]
pub struct BusAddress(Kind);

#[derive(Clone, PartialEq, Eq)]
enum Kind {
    Memory,
    Nats(NatsServers),
    Invalid(String),
}

/// Servers of one cluster and how to log in to them.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct NatsServers {
    /// Without credentials, because the client library would log them.
    pub(crate) addresses: Vec<ServerAddr>,
    pub(crate) credentials: Credentials,
}

#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Credentials {
    None,
    UserPassword { user: String, password: String },
    Token(String),
}

impl BusAddress {
    /// The bus inside this process.
    pub fn memory() -> BusAddress {
        BusAddress(Kind::Memory)
    }

    /// Whether it is the bus inside this process.
    pub fn is_memory(&self) -> bool {
        matches!(self.0, Kind::Memory)
    }

    /// The parser for a command line. The type's documentation says why it keeps an invalid value.
    pub(crate) fn from_flag(value: &str) -> Result<BusAddress, Infallible> {
        Ok(value
            .parse()
            .unwrap_or_else(|error: BusError| BusAddress(Kind::Invalid(error.to_string()))))
    }

    pub(crate) fn nats_servers(&self) -> Result<&NatsServers, BusError> {
        let reason = match &self.0 {
            Kind::Nats(servers) => return Ok(servers),
            Kind::Memory => "the bus address is memory:, not a nats server".to_owned(),
            Kind::Invalid(reason) => reason.clone(),
        };
        Err(BusError::Config { reason })
    }
}

impl FromStr for BusAddress {
    type Err = BusError;

    fn from_str(value: &str) -> Result<BusAddress, BusError> {
        if value == "memory:" {
            return Ok(BusAddress::memory());
        }
        let mut addresses = Vec::new();
        let mut credentials: Option<Credentials> = None;
        for (index, server) in value.split(',').enumerate() {
            let (address, own_credentials) = parse_server(server.trim())
                .map_err(|reason| invalid(&format!("server {}: {reason}", index + 1)))?;
            addresses.push(address);
            match &credentials {
                None => credentials = Some(own_credentials),
                Some(first) if *first == own_credentials => {}
                Some(_) => return Err(invalid("all servers must have the same credentials")),
            }
        }
        Ok(BusAddress(Kind::Nats(NatsServers {
            addresses,
            credentials: credentials.unwrap_or(Credentials::None),
        })))
    }
}

impl NatsServers {
    /// The servers for a message: `nats://host:port`, separated by commas.
    pub(crate) fn display(&self) -> String {
        let servers: Vec<String> = self.addresses.iter().map(display_server).collect();
        servers.join(",")
    }
}

impl fmt::Display for BusAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Memory => formatter.write_str("memory:"),
            Kind::Nats(servers) => formatter.write_str(&servers.display()),
            Kind::Invalid(_) => formatter.write_str("(invalid bus address)"),
        }
    }
}

impl fmt::Debug for BusAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "BusAddress({self})")
    }
}

fn invalid(reason: &str) -> BusError {
    BusError::Config {
        reason: format!(
            "invalid bus address: {reason}; it is memory: or nats://host:port[,nats://host:port]"
        ),
    }
}

fn display_server(address: &ServerAddr) -> String {
    let host = address.host();
    if host.contains(':') {
        return format!("{}://[{host}]:{}", address.scheme(), address.port());
    }
    format!("{}://{host}:{}", address.scheme(), address.port())
}

/// The reasons contain no part of the value: it may be a password.
fn parse_server(server: &str) -> Result<(ServerAddr, Credentials), &'static str> {
    if !server.starts_with("nats://") && !server.starts_with("tls://") {
        return Err("it must start with nats:// or tls://");
    }
    let mut url = ServerAddr::from_str(server)
        .map_err(|_| "it is not a url")?
        .into_inner();
    if url.host_str().is_none_or(str::is_empty) {
        return Err("the host is missing");
    }
    let user = percent_decode(url.username()).ok_or("the user is not percent-encoded utf-8")?;
    let password = url
        .password()
        .map(|password| percent_decode(password).ok_or("the password is not percent-encoded utf-8"))
        .transpose()?;
    let credentials = match (user.is_empty(), password) {
        (true, None) => Credentials::None,
        (true, Some(_)) => return Err("there is a password without a user"),
        (false, Some(password)) => Credentials::UserPassword { user, password },
        (false, None) => Credentials::Token(user),
    };
    let stripped = url.set_username("").and_then(|()| url.set_password(None));
    stripped.map_err(|()| "it cannot hold credentials")?;
    let address = ServerAddr::from_url(url).map_err(|_| "it is not a url")?;
    Ok((address, credentials))
}

fn percent_decode(text: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'%' {
            decoded.push(*first);
            continue;
        }
        let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
        decoded.push(u8::from_str_radix(digits, 16).ok()?);
        rest = &rest[2..];
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn parse(value: &str) -> NatsServers {
        let address: BusAddress = value.parse().expect("the address is valid");
        address.nats_servers().expect("it is nats").clone()
    }

    #[track_caller]
    fn check_refused(value: &str, reason: &str) {
        let error = value.parse::<BusAddress>().expect_err("it is invalid");
        assert!(error.to_string().contains(reason), "{error}");
        assert!(!error.to_string().contains("s3cret"), "{error}");
        let kept = BusAddress::from_flag(value).expect("flags never fail");
        assert!(!format!("{kept} {kept:?}").contains("s3cret"));
        assert_eq!(kept.nats_servers().err(), Some(error));
    }

    #[test]
    fn memory_is_memory() {
        assert_eq!("memory:".parse(), Ok(BusAddress::memory()));
    }

    #[test]
    fn servers_are_shown_with_their_port_and_without_credentials() {
        let address: BusAddress = "nats://me:s3cret@a.example, nats://me:s3cret@[::1]:4333"
            .parse()
            .expect("the address is valid");
        let shown = "nats://a.example:4222,nats://[::1]:4333";
        assert_eq!(address.to_string(), shown);
        assert_eq!(format!("{address:?}"), format!("BusAddress({shown})"));
    }

    #[test]
    fn credentials_are_taken_out_of_the_url_and_decoded() {
        let servers = parse("nats://me:p%40ss@localhost:4222");
        let expected = Credentials::UserPassword {
            user: "me".to_owned(),
            password: "p@ss".to_owned(),
        };
        assert!(servers.credentials == expected);
        assert!(!format!("{:?}", servers.addresses).contains("p%40ss"));
        let servers = parse("tls://t0ken@localhost");
        assert!(servers.credentials == Credentials::Token("t0ken".to_owned()));
    }

    #[test]
    fn wrong_addresses_are_refused_without_showing_them() {
        check_refused(
            "redis://me:s3cret@host",
            "server 1: it must start with nats://",
        );
        check_refused("nats://", "server 1: ");
        check_refused("nats://:s3cret@host", "a password without a user");
        check_refused(
            "nats://a:s3cret@h,nats://b:s3cret@h",
            "the same credentials",
        );
        check_refused("nats://a,", "server 2: it must start with");
        check_refused("nats://a:s3cret%4@h", "percent-encoded");
        check_refused("nats://a:s3cret@h:99999", "server 1: it is not a url");
    }
}
