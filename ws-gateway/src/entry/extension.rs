//! The negotiation of permessage-deflate (RFC 7692).

use client_frames::encode::deflate::Window;

const NAME: &str = "permessage-deflate";

/// The answer to a client's offer of compression.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Accepted {
    /// The window of compressed frames.
    pub window: Window,
    /// Value of the answer's `Sec-WebSocket-Extensions`.
    pub header: String,
}

/// The first acceptable offer in the values of all `Sec-WebSocket-Extensions`.
///
/// Neither side keeps a context between messages: we have none for a client, and keep no window of
/// its messages.
#[must_use]
pub(crate) fn accept<'a>(values: impl Iterator<Item = &'a str>) -> Option<Accepted> {
    values
        .flat_map(|value| split(value, b','))
        .find_map(accept_offer)
}

fn accept_offer(offer: &str) -> Option<Accepted> {
    let mut parts = split(offer, b';');
    if parts.next()? != NAME {
        return None;
    }
    let (mut server_bits, mut names) = (None, Vec::new());
    for part in parts {
        let (name, value) = match part.split_once('=') {
            Some((name, value)) => (name.trim(), Some(unquote(value.trim())?)),
            None => (part, None),
        };
        if names.contains(&name) {
            return None;
        }
        names.push(name);
        match (name, value) {
            ("server_no_context_takeover" | "client_no_context_takeover", None) => {}
            // A hint about the client's window: any value is accepted.
            ("client_max_window_bits", None) => {}
            ("client_max_window_bits", Some(bits)) => {
                window_bits(bits)?;
            }
            ("server_max_window_bits", Some(bits)) => server_bits = Some(window_bits(bits)?),
            _ => return None,
        }
    }
    let window = Window::within(server_bits.unwrap_or(15))?;
    let mut header = format!("{NAME}; server_no_context_takeover; client_no_context_takeover");
    if server_bits.is_some() {
        header += &format!("; server_max_window_bits={}", window.bits());
    }
    Some(Accepted { window, header })
}

fn window_bits(text: &str) -> Option<u8> {
    // Without a leading zero or sign.
    let bits = text.parse().ok().filter(|bits| (8..=15).contains(bits))?;
    (text.starts_with(['8', '9', '1'])).then_some(bits)
}

/// Without quotes; `None` if there is only one, or if quotes were unnecessary.
fn unquote(text: &str) -> Option<&str> {
    let inner = match text.strip_prefix('"') {
        Some(rest) => rest.strip_suffix('"')?,
        None => text,
    };
    (!inner.is_empty() && !inner.contains(['"', '\\'])).then_some(inner)
}

/// The parts between unquoted separators, trimmed.
fn split(text: &str, separator: u8) -> impl Iterator<Item = &str> {
    let mut is_quoted = false;
    text.split(move |char: char| {
        is_quoted ^= char == '"';
        !is_quoted && char == char::from(separator)
    })
    .map(str::trim)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOTH: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

    fn header(offers: &[&str]) -> Option<String> {
        accept(offers.iter().copied()).map(|accepted| accepted.header)
    }

    #[test]
    fn offers_of_browsers_and_libraries_are_accepted() {
        for offer in [
            "permessage-deflate",
            "permessage-deflate; client_max_window_bits",
            "permessage-deflate;client_max_window_bits=15",
            "permessage-deflate; client_no_context_takeover; server_no_context_takeover",
            "x-webkit-deflate-frame, permessage-deflate; client_max_window_bits=\"10\"",
        ] {
            assert_eq!(header(&[offer]).as_deref(), Some(BOTH), "{offer}");
        }
    }

    #[test]
    fn a_window_that_the_client_can_hold_is_promised() {
        for (offered, promised) in [(15, 12), (13, 12), (12, 12), (11, 9), (9, 9)] {
            let offer = format!("permessage-deflate; server_max_window_bits={offered}");
            let expected = format!("{BOTH}; server_max_window_bits={promised}");
            assert_eq!(header(&[&offer]), Some(expected));
        }
        assert_eq!(
            header(&["permessage-deflate; server_max_window_bits=8"]),
            None
        );
    }

    #[test]
    fn the_first_offer_that_is_possible_is_accepted() {
        let narrow = "permessage-deflate; server_max_window_bits=8";
        let unknown = "permessage-deflate; speed=9";
        let good = "permessage-deflate; server_max_window_bits=10";
        let expected = Some(format!("{BOTH}; server_max_window_bits=9"));
        assert_eq!(
            header(&[&format!("{narrow}, {unknown},{good}, permessage-deflate")]),
            expected
        );
        assert_eq!(header(&[narrow, "a;b=\",\"", good]), expected);
    }

    #[test]
    fn what_the_rfc_does_not_allow_is_declined() {
        for offer in [
            "",
            "permessage-bzip2",
            "permessage-deflate; ",
            "permessage-deflate; unknown",
            "permessage-deflate; server_max_window_bits",
            "permessage-deflate; server_max_window_bits=16",
            "permessage-deflate; server_max_window_bits=7",
            "permessage-deflate; server_max_window_bits=012",
            "permessage-deflate; server_max_window_bits=+12",
            "permessage-deflate; server_max_window_bits=",
            "permessage-deflate; server_max_window_bits=\"12",
            "permessage-deflate; client_max_window_bits=0",
            "permessage-deflate; client_no_context_takeover=1",
            "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
            "permessage-deflate; client_max_window_bits; client_max_window_bits=9",
        ] {
            assert_eq!(header(&[offer]), None, "{offer}");
        }
    }

    proptest! {
        #[test]
        fn any_header_is_read_without_a_panic(value in "[a-z\";,= 0-9\\\\_-]{0,80}") {
            let _ = header(&[&value]);
            let _ = header(&[&format!("permessage-deflate; {value}")]);
        }
    }
}
