//! JSON texts that are close to valid input of a reader.

use std::ops::Range;

use arbitrary::{Result, Unstructured};

/// Values that each caused a bug somewhere.
const EXTREMES: [&str; 42] = [
    "0",
    "-0",
    "-1",
    "1",
    "1e5",
    "1E400",
    "-1e-400",
    "0.5",
    "4294967295",
    "4294967296",
    "9007199254740993",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "999999999999999999",
    "253402300799999",
    "253402300800000",
    "null",
    "true",
    "false",
    "[]",
    "{}",
    r#""""#,
    r#""0""#,
    r#""-1""#,
    r#""+1""#,
    r#""1e-12""#,
    r#""NaN""#,
    r#"".5""#,
    r#""5.""#,
    r#""00.5""#,
    r#""0.000000000000000001""#,
    r#""999999999999999999""#,
    r#""99999999999999999999999999999999999999""#,
    r#""18446744073709551615""#,
    r#""9223372036854775807""#,
    r#""-9223372036854775808""#,
    r#""\ud800""#,
    r#""\u0000\"\\""#,
    r#""9999-12-31T23:59:59.999999999Z""#,
];

/// A text like `template`, with other values, more or fewer parts, and other spacing. `words` are
/// values that have a meaning for its reader.
pub(crate) fn vary(u: &mut Unstructured<'_>, template: &str, words: &[&str]) -> Result<String> {
    let mut text = template.to_owned();
    for _ in 0..u.int_in_range(0..=4)? {
        let tokens = tokens(&text);
        if tokens.is_empty() {
            break;
        }
        let token = u.choose(&tokens)?.clone();
        match u.int_in_range(0..=9u8)? {
            0 => text.insert_str(token.start, u.choose(&[" ", "\n", "\t\r", "  "])?),
            1 => {
                // Repeats a part at another place: keys and rows that come twice.
                let other = u.choose(&tokens)?.clone();
                if token.start < other.start {
                    let part = text[token.start..other.start].to_owned();
                    text.insert_str(token.start, &part);
                }
            }
            2 => {
                let other = u.choose(&tokens)?.clone();
                if token.start < other.start {
                    text.replace_range(token.start..other.start, "");
                }
            }
            _ => text.replace_range(token, &value(u, words)?),
        }
    }
    if u.ratio(1, 8)? {
        let mut end = u.int_in_range(0..=text.len())?;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
    }
    Ok(text)
}

/// A JSON value, mostly an odd one.
pub(crate) fn value(u: &mut Unstructured<'_>, words: &[&str]) -> Result<String> {
    Ok(match u.int_in_range(0..=9u8)? {
        0..=2 => (*u.choose(&EXTREMES)?).to_owned(),
        3 | 4 if !words.is_empty() => quoted(u.choose(words)?),
        5 => u.arbitrary::<i64>()?.to_string(),
        6 => format!("\"{}\"", u.arbitrary::<u64>()?),
        7 => {
            let digits = "9".repeat(u.int_in_range(1..=400)?);
            match u.arbitrary()? {
                true => digits,
                false => format!("\"0.{digits}\""),
            }
        }
        8 => {
            let depth = u.int_in_range(1..=200)?;
            match u.arbitrary()? {
                true => format!("{}{}", "[".repeat(depth), "]".repeat(depth)),
                false => format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth)),
            }
        }
        _ => quoted(u.arbitrary()?),
    })
}

/// A text as JSON.
pub(crate) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The same text with spaces wherever JSON permits them.
pub(crate) fn spaced(text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    let mut end = 0;
    for token in tokens(text) {
        for mark in text[end..token.start].chars() {
            out.extend([' ', mark]);
        }
        out.push(' ');
        out.push_str(&text[token.clone()]);
        end = token.end;
    }
    for mark in text[end..].chars() {
        out.extend([' ', mark]);
    }
    out.push(' ');
    out
}

/// The positions of texts, numbers and literals, as far as the text is JSON.
fn tokens(text: &str) -> Vec<Range<usize>> {
    let bytes = text.as_bytes();
    let is_mark = |byte: u8| b"{}[],: \n\r\t".contains(&byte);
    let mut tokens = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let start = at;
        match bytes[at] {
            b'"' => {
                at += 1;
                while at < bytes.len() && bytes[at] != b'"' {
                    at += if bytes[at] == b'\\' { 2 } else { 1 };
                }
                at = (at + 1).min(bytes.len());
                while !text.is_char_boundary(at) {
                    at += 1;
                }
            }
            mark if is_mark(mark) => {
                at += 1;
                continue;
            }
            _ => {
                while at < bytes.len() && !is_mark(bytes[at]) && bytes[at] != b'"' {
                    at += 1;
                }
            }
        }
        tokens.push(start..at);
    }
    tokens
}
