//! The roles of tokens for the HTTP API.

use std::path::Path;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use ring::digest::{SHA256, digest};
use subtle::ConstantTimeEq;

/// Shortest token: a guess must not find it.
const TOKEN_LEN_MIN: usize = 16;
/// Longest token that is compared.
const TOKEN_LEN_MAX: usize = 4_096;
/// Most tokens: each one costs a comparison with each request.
const TOKENS_MAX: usize = 100;

/// What a token permits; each role may also do what those before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    /// Read everything.
    Read,
    /// Publish messages, but not for Klinecast's programs.
    Publish,
    /// Change streams.
    Admin,
}

impl Role {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Publish => "publish",
            Self::Admin => "admin",
        }
    }
}

/// The tokens of a file, as digests: what is compared has one length, and no token is in memory.
#[derive(Clone)]
pub(crate) struct Tokens(Vec<(Role, [u8; 32])>);

impl Tokens {
    /// Reads a file of lines `ROLE TOKEN`; empty lines and lines that begin with # are left out.
    ///
    /// # Errors
    /// What is wrong, without the token.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("failed to read the tokens of {}: {error}", path.display()))?;
        Self::parse(&text).map_err(|error| format!("{}: {error}", path.display()))
    }

    fn parse(text: &str) -> Result<Self, String> {
        let mut tokens = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let refused = |reason: &str| format!("line {}: {reason}", index + 1);
            let (role, token) = line
                .split_once(char::is_whitespace)
                .ok_or_else(|| refused("a line is ROLE TOKEN"))?;
            let role = match role {
                "read" => Role::Read,
                "publish" => Role::Publish,
                "admin" => Role::Admin,
                _ => return Err(refused("a role is read, publish or admin")),
            };
            let token = token.trim();
            if token.len() < TOKEN_LEN_MIN || token.len() > TOKEN_LEN_MAX {
                return Err(refused(
                    "a token has 16 to 4096 characters: `openssl rand -hex 32` makes one",
                ));
            }
            if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(refused("a token is ASCII without spaces"));
            }
            if tokens.len() >= TOKENS_MAX {
                return Err(refused("there are more than 100 tokens"));
            }
            tokens.push((role, hash(token)));
        }
        if tokens.is_empty() {
            return Err("there is no token in it: a line is ROLE TOKEN".to_owned());
        }
        Ok(Self(tokens))
    }

    /// What the token of a request permits; `None` for no token that is known. The time it takes
    /// says nothing about how much of a token is right.
    pub(crate) fn role(&self, headers: &HeaderMap) -> Option<Role> {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let (value, None) = (values.next()?, values.next()) else {
            return None;
        };
        let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
        let token = token.trim();
        if !scheme.eq_ignore_ascii_case("bearer") || token.len() > TOKEN_LEN_MAX {
            return None;
        }
        let given = hash(token);
        let mut found = None;
        for (role, known) in &self.0 {
            let is_it = bool::from(given.ct_eq(known));
            found = found.max(is_it.then_some(*role));
        }
        found
    }
}

fn hash(token: &str) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
    bytes
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    const FILE: &str =
        "# ours\nread 0123456789abcdef0\n\npublish 0123456789abcdef1\nadmin\t0123456789abcdef2\n";

    fn role(authorization: &[&'static str]) -> Option<Role> {
        let mut headers = HeaderMap::new();
        for value in authorization {
            headers.append(AUTHORIZATION, HeaderValue::from_static(value));
        }
        Tokens::parse(FILE).expect("tokens").role(&headers)
    }

    #[test]
    fn a_token_has_its_role_and_anything_else_has_none() {
        assert_eq!(role(&["Bearer 0123456789abcdef0"]), Some(Role::Read));
        assert_eq!(role(&["bearer  0123456789abcdef1 "]), Some(Role::Publish));
        assert_eq!(role(&["Bearer 0123456789abcdef2"]), Some(Role::Admin));
        for wrong in [
            "Bearer 0123456789abcdef",
            "Bearer",
            "Bearer ",
            "Basic 0123456789abcdef2",
            "0123456789abcdef2",
        ] {
            assert_eq!(role(&[wrong]), None, "{wrong}");
        }
        let twice = ["Bearer 0123456789abcdef2", "Bearer 0123456789abcdef2"];
        assert_eq!(role(&twice), None);
        assert_eq!(role(&[]), None);
    }

    #[test]
    fn a_file_that_cannot_be_meant_is_refused_without_showing_a_token() {
        for (text, reason) in [
            ("", "no token in it"),
            ("admin short", "line 1: a token has 16"),
            ("root 0123456789abcdef2", "line 1: a role is"),
            ("0123456789abcdef2", "line 1: a line is ROLE TOKEN"),
            ("admin 0123456789 abcdef2", "without spaces"),
        ] {
            let error = Tokens::parse(text).map(drop).expect_err(reason);
            assert!(error.contains(reason), "{error}");
            assert!(!error.contains("0123456789"), "{error}");
        }
    }
}
