//! The subprotocol `klinecast.json.v1`: the JSON of the bus, joined by `\n`.

const SKIPPED_KEY: &[u8] = b"\"skipped\":";

/// Appends the bytes before the body of an update.
pub fn put_prefix(out: &mut Vec<u8>, is_first: bool, skipped: u64) {
    if !is_first {
        out.push(b'\n');
    }
    out.push(b'{');
    if skipped > 0 {
        out.extend_from_slice(SKIPPED_KEY);
        out.extend_from_slice(skipped.to_string().as_bytes());
        out.push(b',');
    }
}

/// The body of an update: the object after its opening brace.
#[must_use]
pub fn body(object: &[u8]) -> &[u8] {
    &object[1..]
}

/// The first part of the topic of a publication, which each publication begins with. Empty for an
/// object that begins otherwise.
pub fn topic_root(object: &[u8]) -> &str {
    const START: &[u8] = br#"{"topic":""#;
    let topic = object.strip_prefix(START).unwrap_or_default();
    let end = topic.iter().position(|byte| *byte == b':').unwrap_or(0);
    std::str::from_utf8(&topic[..end]).unwrap_or_default()
}
