//! The configuration of origins and tokens.

use auth::TokenConfig;

use super::origin::OriginPattern;

/// Origins and tokens: which clients may connect, and which topics they may see.
#[derive(clap::Args, Clone, Debug, PartialEq)]
#[group(id = "ws-gateway-auth")]
pub struct AuthConfig {
    /// Origins of pages that may connect, separated by commas: `https://app.example.com` or
    /// `https://*.example.com`. Without any, every origin may.
    #[arg(long, env = "KLINECAST_GATEWAY_ALLOWED_ORIGINS", value_delimiter = ',')]
    pub allowed_origins: Vec<OriginPattern>,

    /// Refuse handshakes without an Origin header, which programs other than browsers send.
    #[arg(long, env = "KLINECAST_GATEWAY_REQUIRE_ORIGIN")]
    pub require_origin: bool,

    /// How long before a token expires its session gets a notice, ms.
    #[arg(long, env = "KLINECAST_GATEWAY_AUTH_NOTICE_MS", default_value_t = Self::default().auth_notice_ms)]
    pub auth_notice_ms: u64,

    /// Bad tokens in a row after which a session is closed (close code 4003).
    #[arg(long, env = "KLINECAST_GATEWAY_AUTH_FAILURES_PER_SESSION", default_value_t = Self::default().auth_failures_per_session)]
    pub auth_failures_per_session: u32,

    /// The tokens.
    #[command(flatten)]
    pub tokens: TokenConfig,
}

impl Default for AuthConfig {
    fn default() -> Self {
        Self {
            allowed_origins: Vec::new(),
            require_origin: false,
            auth_notice_ms: 30_000,
            auth_failures_per_session: 3,
            tokens: TokenConfig::default(),
        }
    }
}

impl AuthConfig {
    /// Refuses a configuration that would be less safe than it looks.
    ///
    /// # Errors
    /// What to change.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.tokens.auth_cookie.is_some() && self.allowed_origins.is_empty() {
            let message = "with tokens in cookies any page could connect in the name of its visitors: set --allowed-origins to the pages that may";
            return Err(message.to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_without_allowed_origins_is_refused() {
        let mut config = AuthConfig::default();
        assert_eq!(config.check(), Ok(()));
        config.tokens.auth_cookie = Some("session".to_owned());
        let message = config.check().expect_err("unsafe");
        assert!(message.contains("--allowed-origins"), "{message}");
    }
}
