//! What the client of a request may read.

use std::net::IpAddr;
use std::sync::Arc;

use auth::{Auth, Grant, MetricNames, Permissions, Source};
use axum::extract::{FromRequestParts, Query};
use axum::http::header::{CACHE_CONTROL, VARY};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Uri};
use market_core::channel::{BOOK, QUOTE, TRADE};
use market_core::{Topic, Width};
use metrics::counter;

use super::error::ApiError;
use super::refusal::Refusal;
use crate::store::Instrument;

/// The metrics of tokens.
pub(crate) const METRICS: MetricNames = MetricNames {
    checks: "history_auth_total",
    keys: "history_auth_keys",
    key_reloads: "history_auth_key_reloads_total",
    unmetered: "history_unmetered_addresses_total",
};

/// The header in which clients of Binance send their key.
const API_KEY: &str = "x-mbx-apikey";

/// What a client may read: the bars and trades that it may subscribe at a gateway.
#[derive(Clone, Debug)]
pub(crate) enum Access {
    /// Everything: tokens are not checked.
    All,
    /// What these permit.
    Permitted(Arc<Permissions>),
}

impl Access {
    /// The access of a request.
    ///
    /// # Errors
    /// If its token is missing or not accepted.
    pub(crate) fn of_request(
        auth: Option<&Auth>,
        headers: &HeaderMap,
        uri: &Uri,
        client: Option<IpAddr>,
    ) -> Result<Self, Refusal> {
        let Some(auth) = auth else {
            return Ok(Self::All);
        };
        let grant = auth.check_request(headers, &pairs(uri), or_unknown(client));
        Self::of_grant(auth, grant.map_err(Refusal::Token)?)
    }

    /// The access of a request of a client of Binance: its token may also be its API key.
    ///
    /// # Errors
    /// See [`Access::of_request`].
    pub(crate) fn of_binance_request(
        auth: Option<&Auth>,
        headers: &HeaderMap,
        uri: &Uri,
        client: Option<IpAddr>,
    ) -> Result<Self, Refusal> {
        let Some(auth) = auth else {
            return Ok(Self::All);
        };
        let client = or_unknown(client);
        let mut grant = auth
            .check_request(headers, &pairs(uri), client)
            .map_err(Refusal::Token)?;
        // Clients send their key with every request. A token that somebody added by hand outranks it.
        if grant.is_none()
            && let Some(key) = headers.get(API_KEY)
        {
            // Bytes that are no text are no token.
            let token = key.to_str().unwrap_or("?").trim();
            let outcome = auth.check(Source::ApiKey, token, client);
            grant = Some(outcome.map_err(Refusal::Token)?);
        }
        Self::of_grant(auth, grant)
    }

    fn of_grant(auth: &Auth, grant: Option<Grant>) -> Result<Self, Refusal> {
        match grant {
            Some(grant) => Ok(Self::Permitted(grant.permissions)),
            None if auth.is_required() => Err(Refusal::Missing),
            None => Ok(Self::Permitted(Arc::clone(auth.anonymous()))),
        }
    }

    /// Whether the bars of an instrument may be read.
    pub(crate) fn permits_bars(&self, instrument: &Instrument, width: impl Into<Width>) -> bool {
        match self {
            Self::All => true,
            Self::Permitted(_) => self.permits(&Topic::bars(width, &instrument.symbol), instrument),
        }
    }

    /// Whether one of these widths of an instrument may be read.
    pub(crate) fn permits_any_bars(&self, instrument: &Instrument, widths: &[Width]) -> bool {
        matches!(self, Self::All)
            || widths
                .iter()
                .any(|width| self.permits_bars(instrument, *width))
    }

    /// Refuses bars that may not be read.
    ///
    /// # Errors
    /// 403, with what the token permits.
    pub(crate) fn check_bars(
        &self,
        instrument: &Instrument,
        width: impl Into<Width>,
    ) -> Result<(), ApiError> {
        match self {
            Self::All => Ok(()),
            Self::Permitted(_) => self.check(&Topic::bars(width, &instrument.symbol), instrument),
        }
    }

    /// Refuses trades that may not be read.
    ///
    /// # Errors
    /// 403, with what the token permits.
    pub(crate) fn check_trades(&self, instrument: &Instrument) -> Result<(), ApiError> {
        match self {
            Self::All => Ok(()),
            Self::Permitted(_) => {
                self.check(&Topic::of_symbol(&TRADE, &instrument.symbol), instrument)
            }
        }
    }

    /// Whether the quotes of an instrument may be read.
    pub(crate) fn permits_quotes(&self, instrument: &Instrument) -> bool {
        self.permits(&Topic::of_symbol(&QUOTE, &instrument.symbol), instrument)
    }

    /// Refuses quotes that may not be read.
    ///
    /// # Errors
    /// 403, with what the token permits.
    pub(crate) fn check_quotes(&self, instrument: &Instrument) -> Result<(), ApiError> {
        self.check(&Topic::of_symbol(&QUOTE, &instrument.symbol), instrument)
    }

    /// Refuses order books that may not be read.
    ///
    /// # Errors
    /// 403, with what the token permits.
    pub(crate) fn check_books(&self, instrument: &Instrument) -> Result<(), ApiError> {
        self.check(&Topic::of_symbol(&BOOK, &instrument.symbol), instrument)
    }

    fn check(&self, topic: &Topic, instrument: &Instrument) -> Result<(), ApiError> {
        let Self::Permitted(permissions) = self else {
            return Ok(());
        };
        if self.permits(topic, instrument) {
            return Ok(());
        }
        counter!("history_forbidden_total").increment(1);
        let message = format!(
            "{} is not permitted: the token permits {}",
            topic.as_str(),
            permissions.describe()
        );
        Err(ApiError::forbidden(message))
    }

    /// A topic has a second name with its venue in front: either may be permitted, as at a gateway.
    fn permits(&self, topic: &Topic, instrument: &Instrument) -> bool {
        match self {
            Self::All => true,
            Self::Permitted(permissions) => {
                permissions.permits(topic)
                    || topic
                        .with_exchange(&instrument.exchange)
                        .is_some_and(|second| permissions.permits(&second))
            }
        }
    }
}

/// The access that the middleware found. Without a middleware there is none: a route that forgot it
/// answers with an error, and not with everything.
impl<S: Sync> FromRequestParts<S> for Access {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        let access = parts.extensions.get::<Self>();
        access.cloned().ok_or_else(ApiError::internal)
    }
}

/// The parameters of a query. One that cannot be read is refused later.
fn pairs(uri: &Uri) -> Vec<(String, String)> {
    let query = Query::<Vec<(String, String)>>::try_from_uri(uri);
    query.map(|Query(pairs)| pairs).unwrap_or_default()
}

/// Clients whose address is not known share one budget of failures.
fn or_unknown(client: Option<IpAddr>) -> IpAddr {
    client.unwrap_or(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED))
}

/// An answer to one token is not for clients with another: caches of many clients must not keep it.
pub(crate) fn keep_private(headers: &mut HeaderMap) {
    let kept = headers
        .get(CACHE_CONTROL)
        .and_then(|kept| kept.to_str().ok());
    if let Some(private) = kept
        .and_then(|kept| kept.strip_prefix("public"))
        .and_then(|rest| HeaderValue::try_from(format!("private{rest}")).ok())
    {
        headers.insert(CACHE_CONTROL, private);
    }
    headers.append(VARY, HeaderValue::from_static("authorization, cookie"));
}
