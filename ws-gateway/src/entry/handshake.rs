//! The WebSocket handshake. The gateway answers it itself, to get the raw socket.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use auth::{Auth, Grant, TokenError};
use axum::extract::Query;
use axum::http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper::upgrade::OnUpgrade;
use market_core::protocol::{Request as ClientRequest, RequestError, RequestLimits};
use service::{Network, client_ip};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::access::Origins;
use crate::entry::extension::{self, Accepted};
use crate::entry::opening::{self, Opening};
use crate::limits::AddressBudget;
use crate::metrics::Metrics;
use client_frames::encode::encoding::Encoding;

/// A client of Binance's cannot send its token in a frame.
const TOKEN_NEEDED: &str = "this gateway wants a token: add ?token=... to the URL, or send it in the header Authorization: Bearer ...\n";

/// The result of a handshake.
#[derive(Debug)]
pub(crate) struct Negotiated {
    /// Completes with the connection after the answer is sent.
    pub on_upgrade: OnUpgrade,
    /// Whose session it is.
    pub client_ip: IpAddr,
    /// How its frames look.
    pub encoding: Encoding,
    /// What its token permits.
    pub grant: Option<Box<Grant>>,
    /// Its initial subscription.
    pub request: Option<Result<ClientRequest, RequestError>>,
    /// Whether it is the echo of the conformance tests.
    pub is_echo: bool,
}

/// The other end of a TCP connection.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    /// Its address.
    pub ip: IpAddr,
    /// The budget for handshakes of a proxy's clients: many clients come through it. Other clients
    /// were counted when they connected.
    pub handshakes: Option<Arc<AddressBudget>>,
}

/// Answers handshakes by the configured rules.
pub(crate) struct Handshaker {
    config: HandshakeConfig,
    metrics: Arc<Metrics>,
    auth: Option<Arc<Auth>>,
}

/// The rules for a handshake.
#[derive(Clone, Debug)]
pub(crate) struct HandshakeConfig {
    /// Trusted proxies, whose forwarded addresses are believed.
    pub trusted: Vec<Network>,
    /// The limits of the handshake's request.
    pub limits: RequestLimits,
    /// Whether an offer of compression is accepted.
    pub compresses: bool,
    /// Which pages may connect.
    pub origins: Origins,
    /// The path that echoes messages, for conformance tests.
    pub echo_path: Option<String>,
}

fn has_token(headers: &HeaderMap, name: header::HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|part| part.trim().eq_ignore_ascii_case(token))
}

/// The error of a handshake: metric label, status, and what to do.
type Refusal = (&'static str, StatusCode, &'static str);

fn check(method: &Method, headers: &HeaderMap) -> Result<HeaderValue, Refusal> {
    if method != Method::GET {
        return Err((
            "method",
            StatusCode::METHOD_NOT_ALLOWED,
            "this is a WebSocket: open it with GET\n",
        ));
    }
    if !has_token(headers, header::UPGRADE, "websocket")
        || !has_token(headers, header::CONNECTION, "upgrade")
    {
        return Err((
            "not_websocket",
            StatusCode::UPGRADE_REQUIRED,
            "this is a WebSocket: connect with ws:// or wss://, through proxies that pass the Upgrade and Connection headers\n",
        ));
    }
    if headers
        .get(header::SEC_WEBSOCKET_VERSION)
        .is_none_or(|version| version.as_bytes() != b"13")
    {
        return Err((
            "version",
            StatusCode::UPGRADE_REQUIRED,
            "only WebSocket version 13 is spoken here: send Sec-WebSocket-Version: 13\n",
        ));
    }
    match headers.get(header::SEC_WEBSOCKET_KEY) {
        // 16 bytes in base64.
        Some(key) if key.len() == 24 && key.as_bytes().ends_with(b"==") => Ok(key.clone()),
        _ => Err((
            "key",
            StatusCode::BAD_REQUEST,
            "Sec-WebSocket-Key has to hold 16 bytes in base64\n",
        )),
    }
}

impl Handshaker {
    /// Handshakes by the rules of `config`, with tokens if there is `auth`.
    pub(crate) fn new(
        config: HandshakeConfig,
        metrics: &Arc<Metrics>,
        auth: Option<Arc<Auth>>,
    ) -> Self {
        Self {
            config,
            metrics: Arc::clone(metrics),
            auth,
        }
    }

    /// Whether a WebSocket is served at this path.
    pub(crate) fn serves(&self, path: &str) -> bool {
        opening::serves(path) || self.is_echo(path)
    }

    fn is_echo(&self, path: &str) -> bool {
        self.config.echo_path.as_deref() == Some(path)
    }

    /// The accepted offer of compression, if any.
    fn accept_extension(&self, headers: &HeaderMap) -> Option<Accepted> {
        let values = headers.get_all(header::SEC_WEBSOCKET_EXTENSIONS);
        let texts = values.iter().filter_map(|value| value.to_str().ok());
        extension::accept(texts).filter(|_| self.config.compresses)
    }

    /// The answer to a request for a WebSocket, and the agreed settings if it is accepted.
    pub(crate) fn shake<B>(
        &self,
        request: &mut Request<B>,
        peer: &Peer,
    ) -> (Response, Option<Negotiated>) {
        match self.negotiate(request, peer) {
            Ok((response, negotiated)) => (response, Some(negotiated)),
            Err(refusal) => (*refusal, None),
        }
    }

    fn negotiate<B>(
        &self,
        request: &mut Request<B>,
        peer: &Peer,
    ) -> Result<(Response, Negotiated), Box<Response>> {
        let refuse = |reason: &'static str, response: Response| {
            self.metrics.handshake_failed(reason);
            Box::new(response)
        };
        let key = check(request.method(), request.headers())
            .map_err(|refusal| refuse(refusal.0, not_a_handshake(refusal)))?;
        let Some(on_upgrade) = request.extensions_mut().remove::<OnUpgrade>() else {
            let text = "open the WebSocket with HTTP/1.1\n";
            let answer = (StatusCode::HTTP_VERSION_NOT_SUPPORTED, text).into_response();
            return Err(refuse("http_version", answer));
        };
        let Query(query) = Query::<Vec<(String, String)>>::try_from_uri(request.uri())
            .map_err(|rejection| refuse("malformed", rejection.into_response()))?;
        let headers = request.headers();
        let forwarded = headers
            .get_all("x-forwarded-for")
            .iter()
            .map(|value| value.to_str().unwrap_or("unreadable"))
            .collect::<Vec<_>>();
        let client_ip = client_ip(peer.ip, forwarded.into_iter(), &self.config.trusted);
        if let Some(handshakes) = &peer.handshakes
            && !handshakes.take(client_ip, Instant::now())
        {
            return Err(refuse("handshake_rate_per_ip", too_many_handshakes()));
        }
        if let Err(refusal) = self.config.origins.check(headers) {
            let answer = (StatusCode::FORBIDDEN, refusal.as_str()).into_response();
            return Err(refuse("origin", answer));
        }
        let grant = match &self.auth {
            Some(auth) => auth
                .check_request(headers, &query, client_ip)
                .map_err(|error| refuse("token", unauthorized(error)))?
                .map(Box::new),
            None => None,
        };
        let path = request.uri().path();
        let opening = Opening::read(path, &query, headers, self.config.limits);
        let is_token_missing =
            grant.is_none() && self.auth.as_ref().is_some_and(|auth| auth.is_required());
        if opening.dialect.is_binance() && is_token_missing {
            let answer = challenged("Bearer realm=\"klinecast\"", TOKEN_NEEDED);
            return Err(refuse("token", answer));
        }
        let accepted = self.accept_extension(headers);
        let negotiated = Negotiated {
            on_upgrade,
            encoding: Encoding {
                dialect: opening.dialect,
                window: accepted.as_ref().map(|accepted| accepted.window),
            },
            client_ip,
            grant,
            request: opening.request,
            is_echo: self.is_echo(path),
        };
        let response = switching_protocols(&key, accepted, opening.subprotocol);
        Ok((response, negotiated))
    }
}

/// The answer to a request that is not a WebSocket handshake.
fn not_a_handshake((_, status, text): Refusal) -> Response {
    let mut response = (status, text).into_response();
    let headers = response.headers_mut();
    if status == StatusCode::UPGRADE_REQUIRED {
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(
            header::SEC_WEBSOCKET_VERSION,
            HeaderValue::from_static("13"),
        );
    } else if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(header::ALLOW, HeaderValue::from_static("GET"));
    }
    response
}

/// The answer to an accepted handshake.
fn switching_protocols(
    key: &HeaderValue,
    accepted: Option<Accepted>,
    subprotocol: Option<&'static str>,
) -> Response {
    let accept = HeaderValue::from_str(&derive_accept_key(key.as_bytes()))
        .expect("base64 is a valid header value");
    let mut response = (
        StatusCode::SWITCHING_PROTOCOLS,
        [
            (header::CONNECTION, HeaderValue::from_static("Upgrade")),
            (header::UPGRADE, HeaderValue::from_static("websocket")),
            (header::SEC_WEBSOCKET_ACCEPT, accept),
        ],
    )
        .into_response();
    let headers = response.headers_mut();
    if let Some(accepted) = accepted {
        let value = HeaderValue::try_from(accepted.header).expect("plain characters");
        headers.insert(header::SEC_WEBSOCKET_EXTENSIONS, value);
    }
    if let Some(subprotocol) = subprotocol {
        let value = HeaderValue::from_static(subprotocol);
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, value);
    }
    response
}

/// The answer to a proxy's client beyond its rate. It is not 503: a balancer treats 503 as a
/// failing gateway, and sends it no clients for a while.
fn too_many_handshakes() -> Response {
    let retry = [(header::RETRY_AFTER, HeaderValue::from_static("5"))];
    let text = "too many connections from this address: try again in seconds\n";
    (StatusCode::TOO_MANY_REQUESTS, retry, text).into_response()
}

/// The answer to a token that is not accepted (RFC 6750).
fn unauthorized(error: TokenError) -> Response {
    let text = format!("{error}\n");
    if error == TokenError::TooManyFailures {
        let retry = [(header::RETRY_AFTER, HeaderValue::from_static("10"))];
        return (StatusCode::TOO_MANY_REQUESTS, retry, text).into_response();
    }
    let challenge =
        format!(r#"Bearer realm="klinecast", error="invalid_token", error_description="{error}""#);
    challenged(&challenge, &text)
}

fn challenged(challenge: &str, text: &str) -> Response {
    let challenge = HeaderValue::from_str(challenge).expect("the errors' texts are plain ASCII");
    let headers = [(header::WWW_AUTHENTICATE, challenge)];
    (StatusCode::UNAUTHORIZED, headers, text.to_owned()).into_response()
}
