//! The WebSocket handshake. The gateway answers it itself, to get the raw socket.

use std::net::IpAddr;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use axum::{Extension, Router};
use hyper::upgrade::OnUpgrade;
use market_core::protocol::{Request as ClientRequest, RequestError, RequestLimits};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::auth::{Auth, Grant, Origins, TokenError};
use crate::dialect::Dialect;
use crate::encode::encoding::Encoding;
use crate::entry::extension::{self, Accepted};
use crate::entry::forwarded::{Network, client_ip};
use crate::limits::AddressBudget;
use crate::metrics::Metrics;

const NOT_FOUND: &str =
    r#"{"code":"not_found","message":"nothing is served at this path: the WebSocket is at /ws"}"#;
const METHOD_NOT_ALLOWED: &str = r#"{"code":"method_not_allowed","message":"this path is served with another method: see the Allow header"}"#;

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

/// Where a connection's handshake leaves its result: an extension of its requests.
#[derive(Clone, Debug)]
pub(crate) struct HandshakeState {
    /// The other end of the TCP connection.
    pub peer_ip: IpAddr,
    /// What was agreed on.
    pub negotiated: Arc<Mutex<Option<Negotiated>>>,
    /// The client for whom a handshake counts: only for a proxy, through which many clients come.
    /// Other clients were counted when they connected.
    pub handshakes: Option<Arc<AddressBudget>>,
    /// Whether the last request was answered. A connection that ends before is a failed handshake.
    pub is_answered: Arc<AtomicBool>,
}

#[derive(Clone)]
struct HandshakeContext {
    trusted: Arc<[Network]>,
    limits: RequestLimits,
    metrics: Arc<Metrics>,
    compresses: bool,
    origins: Arc<Origins>,
    auth: Option<Arc<Auth>>,
    is_echo: bool,
}

/// The dialect of the first known subprotocol in the request, if any.
fn dialect_of(headers: &HeaderMap) -> Option<Dialect> {
    headers
        .get_all(header::SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .find_map(|name| Dialect::of_subprotocol(name.trim()))
}

impl HandshakeContext {
    /// The accepted offer of compression, if any.
    fn accept_extension(&self, headers: &HeaderMap) -> Option<Accepted> {
        let values = headers.get_all(header::SEC_WEBSOCKET_EXTENSIONS);
        let texts = values.iter().filter_map(|value| value.to_str().ok());
        extension::accept(texts).filter(|_| self.compresses)
    }
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

/// The public routes: the WebSocket, and the given ones.
pub(crate) fn router(
    config: HandshakeConfig,
    metrics: &Arc<Metrics>,
    auth: Option<Arc<Auth>>,
    extra_routes: Router,
) -> Router {
    let context = HandshakeContext {
        trusted: config.trusted.into(),
        limits: config.limits,
        metrics: Arc::clone(metrics),
        compresses: config.compresses,
        origins: Arc::new(config.origins),
        auth,
        is_echo: false,
    };
    let mut sockets = Router::new()
        .route("/ws", any(shake).with_state(context.clone()))
        // A balancer asks before it sends a client: a gateway that stands still does not answer.
        .route("/alive", get(|| async { StatusCode::NO_CONTENT }));
    if let Some(path) = &config.echo_path {
        let echo = HandshakeContext {
            is_echo: true,
            ..context
        };
        sockets = sockets.route(path, any(shake).with_state(echo));
    }
    extra_routes
        .merge(sockets)
        .layer(axum::middleware::map_response(explain))
}

/// Adds a body to the router's own answers, which are empty.
async fn explain(response: Response) -> Response {
    if response.headers().contains_key(header::CONTENT_TYPE) {
        return response;
    }
    let body = match response.status() {
        StatusCode::NOT_FOUND => NOT_FOUND,
        StatusCode::METHOD_NOT_ALLOWED => METHOD_NOT_ALLOWED,
        _ => return response,
    };
    let (mut parts, _) = response.into_parts();
    parts.headers.remove(header::CONTENT_LENGTH);
    let json = HeaderValue::from_static("application/json");
    parts.headers.insert(header::CONTENT_TYPE, json);
    Response::from_parts(parts, body.into())
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

async fn shake(
    State(context): State<HandshakeContext>,
    Extension(state): Extension<HandshakeState>,
    Query(query): Query<Vec<(String, String)>>,
    mut request: Request<axum::body::Body>,
) -> Response {
    let key = match check(request.method(), request.headers()) {
        Ok(key) => key,
        Err((reason, status, text)) => {
            context.metrics.handshake_failed(reason);
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
            return response;
        }
    };
    let Some(on_upgrade) = request.extensions_mut().remove::<OnUpgrade>() else {
        context.metrics.handshake_failed("http_version");
        return (
            StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            "open the WebSocket with HTTP/1.1\n",
        )
            .into_response();
    };
    let forwarded = request
        .headers()
        .get_all("x-forwarded-for")
        .iter()
        .map(|value| value.to_str().unwrap_or("unreadable"))
        .collect::<Vec<_>>();
    let client_ip = client_ip(state.peer_ip, forwarded.into_iter(), &context.trusted);
    if let Some(handshakes) = &state.handshakes
        && !handshakes.take(client_ip, Instant::now())
    {
        context.metrics.handshake_failed("handshake_rate_per_ip");
        return too_many_handshakes();
    }
    if let Err(refusal) = context.origins.check(request.headers()) {
        context.metrics.handshake_failed("origin");
        return (StatusCode::FORBIDDEN, refusal.as_str()).into_response();
    }
    let checked = match &context.auth {
        Some(auth) => auth.check_handshake(request.headers(), &query, client_ip),
        None => Ok(None),
    };
    let grant = match checked {
        Ok(grant) => grant,
        Err(error) => {
            context.metrics.handshake_failed("token");
            return unauthorized(error);
        }
    };
    let dialect = dialect_of(request.headers());
    let accepted = context.accept_extension(request.headers());
    let encoding = Encoding {
        dialect: dialect.unwrap_or_default(),
        window: accepted.as_ref().map(|accepted| accepted.window),
    };
    let negotiated = Negotiated {
        on_upgrade,
        encoding,
        client_ip,
        grant,
        request: ClientRequest::from_query(&query, context.limits).transpose(),
        is_echo: context.is_echo,
    };
    *state.negotiated.lock().expect("no holder panics") = Some(negotiated);
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
    if let Some(dialect) = dialect {
        let value = HeaderValue::from_static(dialect.subprotocol());
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
    let challenge = HeaderValue::from_str(&challenge).expect("the errors' texts are plain ASCII");
    let headers = [(header::WWW_AUTHENTICATE, challenge)];
    (StatusCode::UNAUTHORIZED, headers, text).into_response()
}
