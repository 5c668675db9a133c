//! The body of an answer: its tag, its compression, and how long it may be kept.

use std::io::Write as _;

use axum::body::Body;
use axum::http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, IF_NONE_MATCH, LINK, VARY,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use flate2::Compression;
use flate2::write::GzEncoder;
use twox_hash::XxHash3_64;

/// Shorter bodies are not compressed.
const GZIP_BYTES_MIN: usize = 1_024;

/// How long others may keep an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Keep {
    /// New bars change it: ask each time whether it is the same.
    Ask,
    /// The range is over. A late trade may still revise a bar.
    Minute,
    /// It says what was known at a time of the past, which does not change.
    Always,
}

impl Keep {
    fn header(self) -> &'static str {
        match self {
            Self::Ask => "no-cache",
            Self::Minute => "public, max-age=60",
            Self::Always => "public, max-age=86400, immutable",
        }
    }
}

/// An answer before it is written.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) content_type: &'static str,
    pub(crate) body: Vec<u8>,
    pub(crate) keep: Keep,
    /// The address of the next page.
    pub(crate) next: Option<String>,
}

impl Answer {
    /// JSON that new bars change.
    pub(crate) fn json(body: Vec<u8>) -> Self {
        Self {
            content_type: "application/json",
            body,
            keep: Keep::Ask,
            next: None,
        }
    }

    /// Writes the answer to a request with these headers. It compresses: call it on a thread that
    /// may block.
    pub(crate) fn respond(self, request: &HeaderMap) -> Response {
        let gzips = self.body.len() >= GZIP_BYTES_MIN && accepts_gzip(request);
        let tag = tag_of(&self.body, gzips);
        let mut response = Response::new(Body::empty());
        let is_known = request.get_all(IF_NONE_MATCH).iter().any(|value| {
            let mut tags = value.to_str().unwrap_or_default().split(',');
            let is_same = |other: &str| {
                let other = other.trim();
                other == "*" || other.trim_start_matches("W/") == tag
            };
            tags.any(is_same)
        });
        if is_known {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
        } else if gzips {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            // Writing to memory does not fail.
            let _ = encoder.write_all(&self.body);
            *response.body_mut() = Body::from(encoder.finish().unwrap_or_default());
        } else {
            *response.body_mut() = Body::from(self.body);
        }
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static(self.keep.header()));
        headers.insert(VARY, HeaderValue::from_static("accept, accept-encoding"));
        if let Ok(tag) = HeaderValue::from_str(&tag) {
            headers.insert(ETAG, tag);
        }
        if gzips && !is_known {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        if let Some(next) = self.next
            && let Ok(link) = HeaderValue::from_str(&format!("<{next}>; rel=\"next\""))
        {
            headers.insert(LINK, link);
        }
        response
    }
}

/// Equal bodies have equal tags. A compressed body is another representation.
fn tag_of(body: &[u8], gzips: bool) -> String {
    // A page has half a megabyte: the hasher of the standard library takes 0.1 ms, and this one a tenth.
    let hash = XxHash3_64::oneshot(body);
    let suffix = if gzips { "-gzip" } else { "" };
    format!("\"{hash:016x}{:x}{suffix}\"", body.len())
}

fn accepts_gzip(request: &HeaderMap) -> bool {
    let values = request.get_all(ACCEPT_ENCODING).iter();
    let codings = values.filter_map(|value| value.to_str().ok());
    codings.flat_map(|value| value.split(',')).any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        let is_gzip = parts
            .next()
            .is_some_and(|name| name.eq_ignore_ascii_case("gzip"));
        // A weight of zero declines it.
        let declines = |part: &str| {
            let weight = part
                .strip_prefix("q=")
                .and_then(|weight| weight.parse().ok());
            weight == Some(0.0f32)
        };
        is_gzip && !parts.any(declines)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_str(value).expect("a value"));
        }
        headers
    }

    #[test]
    fn a_known_answer_is_not_sent_again_and_a_changed_one_is() {
        let answer = Answer::json(b"{}".to_vec());
        let first = answer.clone().respond(&HeaderMap::new());
        let tag = first.headers()[ETAG].to_str().expect("a tag").to_owned();
        for known in [tag.clone(), format!("\"x\", W/{tag}"), "*".to_owned()] {
            let again = answer
                .clone()
                .respond(&headers(&[("if-none-match", &known)]));
            assert_eq!(again.status(), StatusCode::NOT_MODIFIED, "{known}");
        }
        let changed = Answer::json(b"[]".to_vec());
        let changed = changed.respond(&headers(&[("if-none-match", &tag)]));
        assert_eq!(changed.status(), StatusCode::OK);
    }

    #[test]
    fn long_answers_are_compressed_for_those_who_read_gzip() {
        for (accepted, expected) in [
            ("gzip", true),
            ("br, GZIP;q=0.5", true),
            ("gzip;q=0", false),
            ("br", false),
        ] {
            let answer = Answer::json(vec![b' '; GZIP_BYTES_MIN]);
            let response = answer.respond(&headers(&[("accept-encoding", accepted)]));
            let is_gzip = response.headers().contains_key(CONTENT_ENCODING);
            assert_eq!(is_gzip, expected, "{accepted}");
        }
        let short = Answer::json(vec![b' '; GZIP_BYTES_MIN - 1]);
        let short = short.respond(&headers(&[("accept-encoding", "gzip")]));
        assert!(!short.headers().contains_key(CONTENT_ENCODING));
    }
}
