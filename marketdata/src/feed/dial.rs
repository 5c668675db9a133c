//! Opens a venue's socket: name, address, TLS, handshake.
//!
//! A name may have addresses that do not answer, above all IPv6 addresses on a host without an IPv6
//! route. So the next address is tried soon, while the attempt before continues, and the first one
//! that opens is used.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{
    Connector, MaybeTlsStream, WebSocketStream, client_async_tls_with_config, tungstenite,
};

/// How long an attempt may take before the next address is also tried.
const STAGGER: Duration = Duration::from_millis(250);
/// Most addresses of a name that are tried.
const ADDRESSES_MAX: usize = 8;
/// Variables that name a proxy for REST.
const PROXY_VARIABLES: [&str; 4] = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];

/// A venue's socket.
pub(crate) type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Why no socket was opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    /// No address of the host could be connected to.
    #[error("failed to connect to {host}: {source}")]
    Connect {
        /// The host.
        host: String,
        /// The last error.
        source: std::io::Error,
    },
    /// TLS or the WebSocket handshake failed.
    #[error(transparent)]
    Handshake(#[from] tungstenite::Error),
}

/// Why a file of certificates cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("--venue-ca-file {path}: {why}: write the path of a PEM file with CA certificates")]
pub struct CaFileError {
    path: PathBuf,
    why: String,
}

/// The trusted certificate authorities for venues.
#[derive(Clone, Default)]
pub struct VenueTls {
    /// Authorities beyond the built-in ones.
    more: Option<More>,
}

#[derive(Clone)]
struct More {
    config: Arc<ClientConfig>,
    rest: Vec<reqwest::Certificate>,
}

impl VenueTls {
    /// The built-in authorities, and the authorities of a PEM file.
    ///
    /// # Errors
    /// See [`CaFileError`].
    pub fn with_file(path: Option<&Path>) -> Result<Self, CaFileError> {
        let Some(path) = path else {
            return Ok(Self::default());
        };
        let unusable = |why: String| CaFileError {
            path: path.to_owned(),
            why,
        };
        let pem = std::fs::read(path).map_err(|error| unusable(error.to_string()))?;
        let mut roots = RootCertStore {
            roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
        };
        let built_in = roots.len();
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            let certificate = certificate.map_err(|error| unusable(error.to_string()))?;
            let added = roots.add(certificate);
            added.map_err(|error| unusable(error.to_string()))?;
        }
        if roots.len() == built_in {
            return Err(unusable("no certificate in it".to_owned()));
        }
        let rest = reqwest::Certificate::from_pem_bundle(&pem);
        let config = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self {
            more: Some(More {
                config: Arc::new(config),
                rest: rest.map_err(|error| unusable(error.to_string()))?,
            }),
        })
    }

    /// The certificates beside the built-in ones, for REST.
    pub(crate) fn rest_certificates(&self) -> Vec<reqwest::Certificate> {
        self.more
            .as_ref()
            .map_or(Vec::new(), |more| more.rest.clone())
    }

    fn connector(&self) -> Option<Connector> {
        let more = self.more.as_ref()?;
        Some(Connector::Rustls(Arc::clone(&more.config)))
    }
}

/// The variable that names a proxy, if any: REST uses the proxy, sockets do not.
pub(crate) fn proxy_variable() -> Option<&'static str> {
    let is_set = |name: &&str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    PROXY_VARIABLES.into_iter().find(|name| is_set(name))
}

/// Opens a socket. It has no time limit: call it with a deadline.
pub(crate) async fn open(
    url: &str,
    tls: &VenueTls,
    config: WebSocketConfig,
) -> Result<Socket, DialError> {
    let request = url.into_client_request()?;
    let uri = request.uri();
    let host = uri.host().unwrap_or_default();
    let host = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .to_owned();
    let is_tls = uri.scheme_str() == Some("wss");
    let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
    let stream = async {
        let found: Vec<SocketAddr> = lookup_host((host.as_str(), port)).await?.collect();
        connect_first(in_turns(found)).await
    };
    let stream = stream
        .await
        .map_err(|source| DialError::Connect { host, source })?;
    let (socket, _) =
        client_async_tls_with_config(request, stream, Some(config), tls.connector()).await?;
    Ok(socket)
}

/// Alternates the address families, beginning with the first one's.
fn in_turns(found: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let begins_with_v6 = found.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) = found
        .into_iter()
        .partition(|address| address.is_ipv6() == begins_with_v6);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut turns = Vec::new();
    loop {
        let pair = (first.next(), second.next());
        if pair == (None, None) {
            turns.truncate(ADDRESSES_MAX);
            return turns;
        }
        turns.extend(pair.0);
        turns.extend(pair.1);
    }
}

/// The first address that opens.
async fn connect_first(addresses: Vec<SocketAddr>) -> std::io::Result<TcpStream> {
    let mut failure = std::io::Error::new(std::io::ErrorKind::NotFound, "no address");
    let mut attempts = JoinSet::new();
    let mut rest = addresses.into_iter();
    let mut is_next_due = true;
    loop {
        if std::mem::take(&mut is_next_due)
            && let Some(address) = rest.next()
        {
            attempts.spawn(TcpStream::connect(address));
        }
        tokio::select! {
            attempt = attempts.join_next() => match attempt {
                Some(Ok(Ok(stream))) => {
                    // Our frames are small and should not wait for each other.
                    stream.set_nodelay(true)?;
                    return Ok(stream);
                }
                Some(Ok(Err(error))) => {
                    failure = error;
                    is_next_due = true;
                }
                Some(Err(error)) => {
                    failure = std::io::Error::other(error);
                    is_next_due = true;
                }
                None if rest.len() == 0 => return Err(failure),
                None => is_next_due = true,
            },
            () = sleep(STAGGER), if rest.len() > 0 => is_next_due = true,
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn addresses_of_both_families_take_turns() {
        let found = ["[::1]:1", "[::2]:1", "[::3]:1", "127.0.0.1:1"].map(address);
        assert_eq!(
            in_turns(found.to_vec()),
            ["[::1]:1", "127.0.0.1:1", "[::2]:1", "[::3]:1"].map(address)
        );
    }

    #[tokio::test]
    async fn an_address_that_answers_nothing_does_not_keep_from_the_next_one() {
        // A listener whose queue is full lets no more connections open: as a black hole does.
        let hole = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)
            .expect("a socket");
        hole.bind(&address("127.0.0.1:0").into()).expect("a port");
        hole.listen(0).expect("listening");
        let hole_address = hole
            .local_addr()
            .expect("bound")
            .as_socket()
            .expect("an address");
        let mut fillers = Vec::new();
        while let Ok(Ok(stream)) =
            tokio::time::timeout(STAGGER, TcpStream::connect(hole_address)).await
        {
            fillers.push(stream);
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let good = listener.local_addr().expect("bound");
        let stream = connect_first(vec![hole_address, good])
            .await
            .expect("connected");
        assert_eq!(stream.peer_addr().expect("connected"), good);
    }

    #[tokio::test]
    async fn an_address_that_refuses_is_passed_over_and_the_last_failure_is_told() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let good = listener.local_addr().expect("bound");
        let closed = {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            listener.local_addr().expect("bound")
        };
        let stream = connect_first(vec![closed, good]).await.expect("connected");
        assert_eq!(stream.peer_addr().expect("connected"), good);
        let error = connect_first(vec![closed]).await.expect_err("refused");
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
        let error = connect_first(Vec::new()).await.expect_err("none");
        assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
    }

    #[test]
    fn a_file_without_certificates_is_refused_with_what_to_write() {
        let name = format!("klinecast-ca-{}.pem", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, "no certificate").expect("a temporary file");
        let empty = VenueTls::with_file(Some(&path)).err();
        std::fs::remove_file(&path).expect("it is there");
        let absent = VenueTls::with_file(Some(&path)).err();
        for error in [empty, absent] {
            let text = error.expect("refused").to_string();
            assert!(text.contains("write the path of a PEM file"), "{text}");
        }
        assert!(VenueTls::with_file(None).is_ok());
    }
}
