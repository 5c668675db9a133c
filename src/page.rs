//! The chart page, embedded in the program.

use axum::Router;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use rust_embed::EmbeddedFile;

#[derive(rust_embed::RustEmbed)]
#[folder = "web/dist"]
#[allow_missing = true]
struct Dist;

const NOT_BUILT: &str = "The chart page was not built into this program: run `make web`, then build it again.\n\
                         The WebSocket endpoint is /ws.\n";

/// The compressions of the page's build: the name in HTTP, and the file's ending. The smallest
/// comes first.
const ENCODINGS: [(&str, &str); 2] = [("br", ".br"), ("gzip", ".gz")];

const NOT_FOUND: &str = r#"{"code":"not_found","message":"nothing is served at this path: the page is at / and the WebSocket at /ws"}"#;

/// Serves the page at `/`, and its files beside it.
pub(crate) fn routes() -> Router {
    Router::new().fallback(|uri: Uri, headers: HeaderMap| async move { file(uri.path(), &headers) })
}

fn not_found(content_type: &'static str, body: &'static str) -> Response {
    let headers = [(header::CONTENT_TYPE, content_type)];
    (StatusCode::NOT_FOUND, headers, body).into_response()
}

fn file(path: &str, request: &HeaderMap) -> Response {
    let name = match path.trim_start_matches('/') {
        "" => "index.html",
        name => name,
    };
    let Some(content_type) = content_type(name) else {
        return not_found("application/json", NOT_FOUND);
    };
    let Some((file, encoding)) = find(name, request) else {
        let is_page = name == "index.html";
        return match is_page {
            true => not_found("text/plain; charset=utf-8", NOT_BUILT),
            false => not_found("application/json", NOT_FOUND),
        };
    };
    let etag = etag(&file);
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(content_type)),
        // The names have no hash, and a new build must be seen at the next load. The tag avoids the
        // transfer if nothing has changed.
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (header::VARY, HeaderValue::from_static("accept-encoding")),
        (
            header::CONTENT_SECURITY_POLICY,
            HeaderValue::from_static(
                "default-src 'self'; connect-src 'self' ws: wss:; style-src 'self' 'unsafe-inline'; img-src 'self' data:",
            ),
        ),
        (
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        ),
    ];
    let is_known = lists(request, header::IF_NONE_MATCH, |known| {
        known.trim_start_matches("W/") == etag || known == "*"
    });
    let mut response = if is_known {
        (StatusCode::NOT_MODIFIED, headers).into_response()
    } else {
        (headers, file.data).into_response()
    };
    let own = response.headers_mut();
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        own.insert(header::ETAG, etag);
    }
    if let Some(encoding) = encoding {
        own.insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding));
    }
    response
}

/// The file with this name in the smallest form that the client accepts, and its encoding.
fn find(name: &str, request: &HeaderMap) -> Option<(EmbeddedFile, Option<&'static str>)> {
    for (encoding, ending) in ENCODINGS {
        if !lists(request, header::ACCEPT_ENCODING, |item| {
            accepts(item, encoding)
        }) {
            continue;
        }
        if let Some(file) = Dist::get(&format!("{name}{ending}")) {
            return Some((file, Some(encoding)));
        }
    }
    Some((Dist::get(name)?, None))
}

/// Whether one item of the header, which is a comma-separated list, meets the condition.
fn lists(request: &HeaderMap, name: HeaderName, mut is_met: impl FnMut(&str) -> bool) -> bool {
    request
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|item| is_met(item.trim()))
}

/// Whether an item of Accept-Encoding, such as `br;q=0.5`, permits this encoding.
fn accepts(item: &str, encoding: &str) -> bool {
    let (name, weight) = item.split_once(';').unwrap_or((item, ""));
    let is_refused = weight
        .trim()
        .strip_prefix("q=")
        .is_some_and(|q| q.trim().parse() == Ok(0.0));
    name.trim().eq_ignore_ascii_case(encoding) && !is_refused
}

/// A tag of the sent bytes, so each encoding has its own.
fn etag(file: &EmbeddedFile) -> String {
    let hash = file.metadata.sha256_hash();
    let hex: String = hash[..16]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("\"{hex}\"")
}

/// The files of the page; compressed forms have no separate address.
fn content_type(name: &str) -> Option<&'static str> {
    match name.rsplit_once('.')?.1 {
        "html" => Some("text/html; charset=utf-8"),
        "js" => Some("text/javascript; charset=utf-8"),
        "css" => Some("text/css; charset=utf-8"),
        "svg" => Some("image/svg+xml"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(path: &str, headers: &[(HeaderName, &str)]) -> Response {
        let headers = headers
            .iter()
            .map(|(name, value)| (name.clone(), HeaderValue::from_str(value).expect("a value")))
            .collect();
        file(path, &headers)
    }

    fn header<'a>(response: &'a Response, name: &HeaderName) -> Option<&'a str> {
        response.headers().get(name)?.to_str().ok()
    }

    fn is_built() -> bool {
        Dist::get("index.html").is_some()
    }

    #[test]
    fn the_page_is_sent_compressed_to_whom_takes_it() {
        if !is_built() {
            assert_eq!(ask("/", &[]).status(), StatusCode::NOT_FOUND);
            return;
        }
        for (accepted, expected) in [
            ("gzip, deflate, br, zstd", Some("br")),
            ("gzip;q=1.0, br;q=0", Some("gzip")),
            ("identity", None),
            ("", None),
        ] {
            let response = ask("/app.js", &[(header::ACCEPT_ENCODING, accepted)]);
            assert_eq!(response.status(), StatusCode::OK);
            assert_eq!(header(&response, &header::CONTENT_ENCODING), expected);
            assert_eq!(
                header(&response, &header::CONTENT_TYPE),
                Some("text/javascript; charset=utf-8")
            );
            assert_eq!(header(&response, &header::VARY), Some("accept-encoding"));
        }
        assert_eq!(ask("/app.js.br", &[]).status(), StatusCode::NOT_FOUND);
    }

    #[test]
    fn a_file_that_the_browser_has_already_is_not_sent_again() {
        if !is_built() {
            assert_eq!(ask("/app.js", &[]).status(), StatusCode::NOT_FOUND);
            return;
        }
        let br = (header::ACCEPT_ENCODING, "br");
        let plain = ask("/app.js", &[]);
        let plain_tag = header(&plain, &header::ETAG).expect("a tag");
        let first = ask("/app.js", std::slice::from_ref(&br));
        let tag = header(&first, &header::ETAG).expect("a tag");
        assert_ne!(tag, plain_tag, "the bytes differ");
        let known = format!("\"old\", {tag}");
        let again = ask("/app.js", &[br.clone(), (header::IF_NONE_MATCH, &known)]);
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
        assert_eq!(header(&again, &header::ETAG), Some(tag));
        let other = ask("/app.js", &[br, (header::IF_NONE_MATCH, plain_tag)]);
        assert_eq!(other.status(), StatusCode::OK);
    }
}
