//! The configuration of tokens. Gateways and history need the same values.

use std::path::PathBuf;

use clap::ValueEnum;
use market_core::TopicPattern;

/// Whether clients need a token.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum AuthMode {
    /// Tokens are not checked: everyone may have every topic
    #[default]
    Off,
    /// A client without a token may have the anonymous topics
    Optional,
    /// A client without a token gets nothing
    Required,
}

/// Tokens: which topics a client may see.
#[derive(clap::Args, Clone, Debug, PartialEq, Eq)]
#[group(id = "auth")]
pub struct TokenConfig {
    /// Whether clients need a token (JWT).
    #[arg(long, env = "KLINECAST_AUTH_MODE", value_enum, default_value_t)]
    pub auth_mode: AuthMode,

    /// File with the secret of HS256 tokens, at least 32 bytes; read again when it changes.
    #[arg(long, env = "KLINECAST_AUTH_HS256_SECRET_FILE")]
    pub auth_hs256_secret_file: Option<PathBuf>,

    /// File with a JWK set of public keys (RS256, ES256, EdDSA with Ed25519); read again when it
    /// changes.
    #[arg(long, env = "KLINECAST_AUTH_JWKS_FILE")]
    pub auth_jwks_file: Option<PathBuf>,

    /// Issuers (iss) whose tokens are accepted, separated by commas. Without any, all are.
    #[arg(long, env = "KLINECAST_AUTH_ISSUER", value_delimiter = ',')]
    pub auth_issuer: Vec<String>,

    /// Audiences (aud), separated by commas. A token must name one of them. Without any, tokens that
    /// name an audience are refused.
    #[arg(long, env = "KLINECAST_AUTH_AUDIENCE", value_delimiter = ',')]
    pub auth_audience: Vec<String>,

    /// Largest difference between the clocks of issuer and program, s.
    #[arg(long, env = "KLINECAST_AUTH_LEEWAY_S", default_value_t = Self::default().auth_leeway_s, value_parser = clap::value_parser!(u64).range(..=600))]
    pub auth_leeway_s: u64,

    /// Name of a cookie in which a handshake or an HTTP request may send its token; gateways need
    /// --allowed-origins with it.
    #[arg(long, env = "KLINECAST_AUTH_COOKIE")]
    pub auth_cookie: Option<String>,

    /// Claim that says what a token permits: {"topics":["kline:1m:*"],"max_subscriptions":100}.
    #[arg(long, env = "KLINECAST_AUTH_CLAIM", default_value_t = Self::default().auth_claim)]
    pub auth_claim: String,

    /// Topics and patterns that a token without the claim permits, separated by commas. *:> is
    /// all topics.
    #[arg(long, env = "KLINECAST_AUTH_DEFAULT_TOPICS", value_delimiter = ',')]
    pub auth_default_topics: Vec<TopicPattern>,

    /// Topics and patterns for clients without a token if the mode is optional, separated by
    /// commas.
    #[arg(long, env = "KLINECAST_AUTH_ANONYMOUS_TOPICS", value_delimiter = ',')]
    pub auth_anonymous_topics: Vec<TopicPattern>,

    /// Longest token, bytes.
    #[arg(long, env = "KLINECAST_AUTH_TOKEN_BYTES_MAX", default_value_t = Self::default().auth_token_bytes_max)]
    pub auth_token_bytes_max: usize,

    /// Most bad tokens of one client address at once, and one more each second. Further tokens are
    /// refused without a check. 0 is no limit. The default is 60; it does not apply to loopback
    /// addresses.
    #[arg(long, env = "KLINECAST_AUTH_FAILURES_PER_IP")]
    pub auth_failures_per_ip: Option<u32>,

    /// How often the program checks the key files for changes, ms.
    #[arg(long, env = "KLINECAST_AUTH_KEYS_CHECK_MS", default_value_t = Self::default().auth_keys_check_ms)]
    pub auth_keys_check_ms: u64,
}

impl Default for TokenConfig {
    fn default() -> Self {
        Self {
            auth_mode: AuthMode::Off,
            auth_hs256_secret_file: None,
            auth_jwks_file: None,
            auth_issuer: Vec::new(),
            auth_audience: Vec::new(),
            auth_leeway_s: 5,
            auth_cookie: None,
            auth_claim: "klinecast".to_owned(),
            auth_default_topics: Vec::new(),
            auth_anonymous_topics: Vec::new(),
            auth_token_bytes_max: 4 * 1024,
            auth_failures_per_ip: None,
            auth_keys_check_ms: 1_000,
        }
    }
}

impl TokenConfig {
    /// Refuses a configuration that would be less safe than it looks.
    ///
    /// # Errors
    /// What to change.
    pub fn check(&self) -> Result<(), String> {
        let mut variables = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
        if let Some(message) = variables.find_map(|name| renamed(&name)) {
            return Err(message);
        }
        let has_keys = self.auth_hs256_secret_file.is_some() || self.auth_jwks_file.is_some();
        let message = match self.auth_mode {
            AuthMode::Off if has_keys || self.auth_cookie.is_some() => {
                "keys or a cookie for tokens are configured, but tokens are not looked at: set --auth-mode required or optional"
            }
            AuthMode::Optional | AuthMode::Required if !has_keys => {
                "tokens are wanted, but there is no key to check them with: set --auth-jwks-file or --auth-hs256-secret-file"
            }
            AuthMode::Optional if self.auth_anonymous_topics.is_empty() => {
                "say what clients without a token may have: set --auth-anonymous-topics, such as kline:1m:*, or --auth-mode required"
            }
            AuthMode::Off | AuthMode::Required if !self.auth_anonymous_topics.is_empty() => {
                "--auth-anonymous-topics goes with --auth-mode optional only"
            }
            _ if self
                .auth_cookie
                .as_deref()
                .is_some_and(|name| name.trim().is_empty()) =>
            {
                "--auth-cookie names no cookie"
            }
            _ => return Ok(()),
        };
        Err(message.to_owned())
    }
}

/// What to do about a variable with the name that it had when gateways alone checked tokens: a
/// configuration that nobody reads would leave the server open.
fn renamed(variable: &str) -> Option<String> {
    let rest = variable.strip_prefix("KLINECAST_GATEWAY_AUTH_")?;
    let is_of_gateway = ["NOTICE_MS", "FAILURES_PER_SESSION"].contains(&rest);
    (!is_of_gateway)
        .then(|| format!("{variable} has another name now: set KLINECAST_AUTH_{rest} instead"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_with_its_old_name_is_refused_and_not_overlooked() {
        for name in ["MODE", "JWKS_FILE", "HS256_SECRET_FILE"] {
            let message = renamed(&format!("KLINECAST_GATEWAY_AUTH_{name}")).expect("refused");
            assert!(
                message.contains(&format!(" KLINECAST_AUTH_{name} ")),
                "{message}"
            );
        }
        for name in [
            "KLINECAST_GATEWAY_AUTH_NOTICE_MS",
            "KLINECAST_GATEWAY_AUTH_FAILURES_PER_SESSION",
            "KLINECAST_AUTH_MODE",
            "PATH",
        ] {
            assert_eq!(renamed(name), None, "{name}");
        }
    }

    #[track_caller]
    fn check_refused(change: impl FnOnce(&mut TokenConfig), expected: &str) {
        let mut config = TokenConfig::default();
        change(&mut config);
        let message = config.check().expect_err("unsafe");
        assert!(message.contains(expected), "{message}");
    }

    #[test]
    fn a_configuration_that_is_less_safe_than_it_looks_is_refused() {
        let file = || Some(PathBuf::from("keys.json"));
        assert_eq!(TokenConfig::default().check(), Ok(()));
        check_refused(|config| config.auth_jwks_file = file(), "--auth-mode");
        check_refused(|config| config.auth_mode = AuthMode::Required, "no key");
        check_refused(
            |config| {
                config.auth_mode = AuthMode::Optional;
                config.auth_jwks_file = file();
            },
            "--auth-anonymous-topics",
        );
        check_refused(
            |config| {
                config.auth_mode = AuthMode::Required;
                config.auth_jwks_file = file();
                config.auth_cookie = Some(" ".to_owned());
            },
            "no cookie",
        );
    }
}
