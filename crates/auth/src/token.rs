//! Checks a token.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, Validation, decode, decode_header};
use market_core::TopicPattern;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::config::TokenConfig;
use crate::keys::KeyStore;
use crate::permissions::{PermissionPool, Permissions};

/// Most patterns with wildcards in a token's claim: each is compared with each topic that a session
/// requests. The token's length limits the number of topics.
const CLAIM_WILDCARDS_MAX: usize = 50;

/// The result of a valid token.
#[derive(Clone, Debug)]
pub struct Grant {
    /// What may be subscribed.
    pub permissions: Arc<Permissions>,
    /// The token's limit of subscriptions, if it has one.
    pub subscriptions_max: Option<usize>,
    /// When the token expires, ms since 1970.
    pub expires_ms: u64,
    /// The time until then; zero within the leeway.
    pub expires_in: Duration,
    /// For how long it is accepted: the leeway longer, because clocks differ.
    pub lasts: Duration,
}

/// Why a token is not accepted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TokenError {
    /// Longer than allowed.
    #[error("the token is too long")]
    TooLong,
    /// It is not a signed JWT, or there are several.
    #[error("this is not one JWT signed with HS256, RS256, ES256 or EdDSA")]
    Malformed,
    /// No key has its algorithm.
    #[error("no key of this program has the token's algorithm (alg)")]
    Algorithm,
    /// No key has its id.
    #[error("the token's key (kid) is not known here")]
    UnknownKey,
    /// The signature is another's.
    #[error("the token's signature is wrong")]
    Signature,
    /// Its time is over.
    #[error("the token has expired: get a new one")]
    Expired,
    /// It is not valid yet.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// Issued by someone else.
    #[error("tokens of this issuer (iss) are not accepted here")]
    Issuer,
    /// Issued for someone else.
    #[error("the token is not for this audience (aud)")]
    Audience,
    /// A claim is missing or malformed.
    #[error(
        "a claim of the token is missing or malformed: it needs exp, and topics as docs/protocol.md says"
    )]
    Claims,
    /// Too many bad tokens came from the address.
    #[error("too many bad tokens from this address: wait")]
    TooManyFailures,
}

impl TokenError {
    /// As a metric's label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TooLong => "too_long",
            Self::Malformed => "malformed",
            Self::Algorithm => "algorithm",
            Self::UnknownKey => "unknown_key",
            Self::Signature => "signature",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::Issuer => "issuer",
            Self::Audience => "audience",
            Self::Claims => "claims",
            Self::TooManyFailures => "too_many_failures",
        }
    }
}

/// Checks tokens.
#[derive(Debug)]
pub(crate) struct Tokens {
    keys: KeyStore,
    /// All checks except the algorithm, which the key decides.
    validation: Validation,
    claim: String,
    default_permissions: Arc<Permissions>,
    pool: PermissionPool,
    bytes_max: usize,
}

#[derive(Deserialize)]
struct PermissionClaim {
    #[serde(default)]
    topics: Vec<TopicText>,
    #[serde(default)]
    max_subscriptions: Option<usize>,
}

struct TopicText(TopicPattern);

impl<'de> Deserialize<'de> for TopicText {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self).map_err(serde::de::Error::custom)
    }
}

impl Tokens {
    /// Checks tokens with these keys by the configuration.
    #[must_use]
    pub(crate) fn new(config: &TokenConfig, keys: KeyStore) -> Self {
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.leeway = config.auth_leeway_s;
        validation.validate_nbf = true;
        let mut required = vec!["exp"];
        if !config.auth_issuer.is_empty() {
            validation.set_issuer(&config.auth_issuer);
            required.push("iss");
        }
        if !config.auth_audience.is_empty() {
            validation.set_audience(&config.auth_audience);
            required.push("aud");
        }
        validation.set_required_spec_claims(&required);
        Self {
            keys,
            validation,
            claim: config.auth_claim.clone(),
            default_permissions: Arc::new(Permissions::new(config.auth_default_topics.clone())),
            pool: PermissionPool::default(),
            bytes_max: config.auth_token_bytes_max,
        }
    }

    /// The keys for its checks.
    #[must_use]
    pub(crate) fn keys(&self) -> &KeyStore {
        &self.keys
    }

    /// What a token gives.
    ///
    /// # Errors
    /// Why it gives nothing.
    pub(crate) fn check(&self, token: &str) -> Result<Grant, TokenError> {
        if token.len() > self.bytes_max {
            return Err(TokenError::TooLong);
        }
        let header = decode_header(token).map_err(|_| TokenError::Malformed)?;
        if header.crit.is_some() {
            // It requires an extension, and none is known here.
            return Err(TokenError::Malformed);
        }
        let keys = self.keys.current();
        if !keys.has(header.alg) {
            return Err(TokenError::Algorithm);
        }
        let key = keys
            .find(header.alg, header.kid.as_deref())
            .ok_or(TokenError::UnknownKey)?;
        let validation = Validation {
            algorithms: vec![key.algorithm()],
            ..self.validation.clone()
        };
        let token = decode::<Map<String, Value>>(token, &key.decoding, &validation)
            .map_err(|error| token_error(error.kind()))?;
        self.grant(&token.claims, wall_clock())
    }

    fn grant(&self, claims: &Map<String, Value>, now: SystemTime) -> Result<Grant, TokenError> {
        let now_ms = now
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |since| {
                u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
            });
        let expires_ms = match claims.get("exp") {
            Some(Value::Number(exp)) => exp
                .as_u64()
                .or_else(|| exp.as_f64().map(|exp| exp as u64))
                .ok_or(TokenError::Claims)?
                .saturating_mul(1_000),
            _ => return Err(TokenError::Claims),
        };
        let (permissions, subscriptions_max) = match claims.get(&self.claim) {
            None => (Arc::clone(&self.default_permissions), None),
            Some(claim) => {
                let claim = PermissionClaim::deserialize(claim).map_err(|_| TokenError::Claims)?;
                let patterns = claim.topics.into_iter().map(|topic| topic.0).collect();
                let permissions = Permissions::new(patterns);
                if permissions.wildcard_count() > CLAIM_WILDCARDS_MAX {
                    return Err(TokenError::Claims);
                }
                (self.pool.share(permissions), claim.max_subscriptions)
            }
        };
        Ok(Grant {
            permissions,
            subscriptions_max,
            expires_ms,
            expires_in: Duration::from_millis(expires_ms.saturating_sub(now_ms)),
            lasts: Duration::from_millis(
                expires_ms
                    .saturating_add(self.validation.leeway * 1_000)
                    .saturating_sub(now_ms),
            ),
        })
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the issuer's times are wall-clock times"
)]
fn wall_clock() -> SystemTime {
    SystemTime::now()
}

fn token_error(kind: &ErrorKind) -> TokenError {
    match kind {
        ErrorKind::InvalidSignature => TokenError::Signature,
        ErrorKind::ExpiredSignature => TokenError::Expired,
        ErrorKind::ImmatureSignature => TokenError::NotYetValid,
        ErrorKind::InvalidIssuer => TokenError::Issuer,
        ErrorKind::InvalidAudience => TokenError::Audience,
        ErrorKind::MissingRequiredClaim(claim) if claim == "iss" => TokenError::Issuer,
        ErrorKind::MissingRequiredClaim(claim) if claim == "aud" => TokenError::Audience,
        ErrorKind::MissingRequiredClaim(_) | ErrorKind::InvalidClaimFormat(_) => TokenError::Claims,
        ErrorKind::InvalidAlgorithm | ErrorKind::UnsupportedAlgorithm => TokenError::Algorithm,
        _ => TokenError::Malformed,
    }
}

#[cfg(test)]
mod tests;
