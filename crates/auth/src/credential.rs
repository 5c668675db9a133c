//! The place of a request's token.

use axum::http::{HeaderMap, header};

/// The place from which a token came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    /// `Authorization: Bearer`.
    Header,
    /// `?token=`.
    Query,
    /// The configured cookie.
    Cookie,
    /// `{"op":"auth"}`.
    Message,
    /// `X-MBX-APIKEY`, as clients of Binance send their key.
    ApiKey,
}

impl Source {
    /// As a metric's label.
    #[must_use]
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Header => "header",
            Self::Query => "query",
            Self::Cookie => "cookie",
            Self::Message => "message",
            Self::ApiKey => "api_key",
        }
    }
}

/// What a request brings.
#[derive(PartialEq, Eq)]
pub(crate) enum Credential<'a> {
    /// No token.
    None,
    /// A token.
    Token(Source, &'a str),
    /// There are several tokens, so it is not clear which one is meant.
    Ambiguous,
}

/// Finds a request's token. A cookie counts only if there is no other token, because browsers
/// send it unasked.
#[must_use]
pub(crate) fn find<'a>(
    headers: &'a HeaderMap,
    query: &'a [(String, String)],
    cookie: Option<&str>,
) -> Credential<'a> {
    // Bytes that are not text are an invalid token.
    let bearers = headers
        .get_all(header::AUTHORIZATION)
        .iter()
        .filter_map(|value| bearer(value.to_str().unwrap_or("Bearer ?")))
        .map(|token| (Source::Header, token));
    let queries = query
        .iter()
        .filter(|(name, _)| name == "token")
        .map(|(_, value)| (Source::Query, value.as_str()));
    let mut explicit = bearers.chain(queries);
    match (explicit.next(), explicit.next()) {
        (Some((source, token)), None) => return Credential::Token(source, token),
        (Some(_), Some(_)) => return Credential::Ambiguous,
        (None, _) => {}
    }
    let Some(cookie) = cookie else {
        return Credential::None;
    };
    let mut found = headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.split_once('='))
        .filter(|(name, _)| name.trim() == cookie)
        .map(|(_, value)| value.trim().trim_matches('"'))
        .filter(|value| !value.is_empty());
    match (found.next(), found.next()) {
        (Some(token), None) => Credential::Token(Source::Cookie, token),
        (Some(_), Some(_)) => Credential::Ambiguous,
        (None, _) => Credential::None,
    }
}

/// The token of an `Authorization` header; `None` if it has another scheme.
fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.trim().split_once(' ').unwrap_or((value.trim(), ""));
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            let name: header::HeaderName = name.parse().expect("a name");
            headers.append(name, value.parse().expect("a value"));
        }
        headers
    }

    #[track_caller]
    fn check(pairs: &[(&str, &str)], query: &str, expected: &Credential<'_>) {
        let query: Vec<_> = query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        assert!(find(&headers(pairs), &query, Some("sid")) == *expected);
    }

    #[test]
    fn a_token_is_found_in_header_query_or_cookie() {
        check(&[], "", &Credential::None);
        check(&[], "topics=a:b", &Credential::None);
        check(
            &[("authorization", "bearer  x.y.z")],
            "",
            &Credential::Token(Source::Header, "x.y.z"),
        );
        check(&[("authorization", "Basic eA==")], "", &Credential::None);
        check(
            &[("authorization", "Bearer")],
            "",
            &Credential::Token(Source::Header, ""),
        );
        check(&[], "token=x", &Credential::Token(Source::Query, "x"));
        check(&[], "token=", &Credential::Token(Source::Query, ""));
        check(
            &[("cookie", "a=b; sid=x; c=d")],
            "",
            &Credential::Token(Source::Cookie, "x"),
        );
        check(
            &[("cookie", "a=b"), ("cookie", "asid=x; sid=")],
            "",
            &Credential::None,
        );
    }

    #[test]
    fn two_tokens_are_ambiguous_but_a_cookie_yields() {
        check(
            &[("authorization", "Bearer x")],
            "token=y",
            &Credential::Ambiguous,
        );
        check(&[], "token=x&token=y", &Credential::Ambiguous);
        check(&[("cookie", "sid=x; sid=y")], "", &Credential::Ambiguous);
        check(
            &[("cookie", "sid=x")],
            "token=y",
            &Credential::Token(Source::Query, "y"),
        );
        assert!(find(&headers(&[("cookie", "sid=x")]), &[], None) == Credential::None);
    }

    proptest! {
        #[test]
        fn arbitrary_headers_never_panic(
            authorization in proptest::collection::vec(any::<u8>(), 0..40),
            cookie in proptest::collection::vec(any::<u8>(), 0..40),
            token in ".{0,20}",
        ) {
            let mut headers = HeaderMap::new();
            for (name, bytes) in [(header::AUTHORIZATION, authorization), (header::COOKIE, cookie)] {
                if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                    headers.append(name, value);
                }
            }
            let query = [("token".to_owned(), token.clone())];
            let is_explicit = matches!(find(&headers, &[], None), Credential::Token(..));
            let _ = find(&headers, &[], Some("sid"));
            match find(&headers, &query, Some("sid")) {
                Credential::Token(source, found) => {
                    prop_assert!(source == Source::Query && found == token && !is_explicit);
                }
                Credential::Ambiguous => prop_assert!(is_explicit),
                Credential::None => prop_assert!(false, "the query's token is not found"),
            }
        }
    }
}
