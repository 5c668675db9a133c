//! YAML as a tree, within bounds.
//!
//! A configuration needs no anchors, aliases, tags or merge keys: a file with them is refused. So no
//! short text can stand for a large tree.

use std::fmt;

use granit_parser::{Event, Parser, ScalarStyle};
use serde_json::{Map, Number, Value};

/// Longest file, in bytes.
pub const BYTES_MAX: usize = 1 << 20;
/// Most levels of mappings and sequences.
const DEPTH_MAX: usize = 32;
/// Most scalars, mappings and sequences.
const NODES_MAX: usize = 20_000;

/// Why a text is no configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct YamlError {
    line: usize,
    reason: String,
}

impl fmt::Display for YamlError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => formatter.write_str(&self.reason),
            line => write!(formatter, "line {line}: {}", self.reason),
        }
    }
}

/// A collection whose end has not come.
enum Open {
    Sequence(Vec<Value>),
    Mapping(Map<String, Value>, Option<String>),
}

struct Tree {
    open: Vec<Open>,
    root: Option<Value>,
    nodes: usize,
}

/// Reads one document. An empty one is an empty mapping.
///
/// # Errors
/// If it is no YAML, has what a configuration does not need, or is beyond the bounds; with the line.
pub fn parse(text: &str) -> Result<Value, YamlError> {
    if text.len() > BYTES_MAX {
        return Err(YamlError {
            line: 0,
            reason: format!("the file is longer than {BYTES_MAX} bytes"),
        });
    }
    let mut tree = Tree {
        open: Vec::new(),
        root: None,
        nodes: 0,
    };
    let mut documents = 0;
    for next in Parser::new_from_str(text) {
        let (event, span) = next.map_err(|error| YamlError {
            line: error.marker().line(),
            reason: error.info(),
        })?;
        let line = span.start.line();
        let refused = |reason: &str| YamlError {
            line,
            reason: reason.to_owned(),
        };
        if matches!(event, Event::DocumentStart(..)) {
            documents += 1;
            if documents > 1 {
                return Err(refused("there is a second document: a file has one"));
            }
        }
        tree.take(event).map_err(|reason| refused(&reason))?;
    }
    Ok(match tree.root {
        None | Some(Value::Null) => Value::Object(Map::new()),
        Some(root) => root,
    })
}

impl Tree {
    fn take(&mut self, event: Event<'_>) -> Result<(), String> {
        match event {
            Event::Alias(_) | Event::UnresolvedAlias(_) => {
                Err("aliases are not supported: write the value out".to_owned())
            }
            Event::Scalar(text, style, anchor, tag) => {
                refuse_extras(anchor, tag.is_some())?;
                self.count()?;
                self.scalar(&text, style)
            }
            Event::SequenceStart(_, anchor, tag) => {
                refuse_extras(anchor, tag.is_some())?;
                self.begin(Open::Sequence(Vec::new()))
            }
            Event::MappingStart(_, anchor, tag) => {
                refuse_extras(anchor, tag.is_some())?;
                self.begin(Open::Mapping(Map::new(), None))
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(Open::Sequence(items)) => self.put(Value::Array(items)),
                Some(Open::Mapping(fields, _)) => self.put(Value::Object(fields)),
                None => Err("an end without a start".to_owned()),
            },
            _ => Ok(()),
        }
    }

    fn count(&mut self) -> Result<(), String> {
        self.nodes += 1;
        match self.nodes > NODES_MAX {
            true => Err(format!("there are more than {NODES_MAX} values")),
            false => Ok(()),
        }
    }

    fn begin(&mut self, collection: Open) -> Result<(), String> {
        self.count()?;
        if self.open.len() >= DEPTH_MAX {
            return Err(format!("there are more than {DEPTH_MAX} levels"));
        }
        if let Some(Open::Mapping(_, None)) = self.open.last() {
            return Err("a key must be a text".to_owned());
        }
        self.open.push(collection);
        Ok(())
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle) -> Result<(), String> {
        if let Some(Open::Mapping(fields, key @ None)) = self.open.last_mut() {
            if text == "<<" && style == ScalarStyle::Plain {
                return Err("merge keys are not supported: write the values out".to_owned());
            }
            if fields.contains_key(text) {
                return Err(format!("the key {text:?} is there twice"));
            }
            *key = Some(text.to_owned());
            return Ok(());
        }
        self.put(match style {
            ScalarStyle::Plain => plain(text),
            _ => Value::String(text.to_owned()),
        })
    }

    fn put(&mut self, value: Value) -> Result<(), String> {
        match self.open.last_mut() {
            None => self.root = Some(value),
            Some(Open::Sequence(items)) => items.push(value),
            Some(Open::Mapping(fields, key)) => match key.take() {
                Some(key) => {
                    fields.insert(key, value);
                }
                None => return Err("a key must be a text".to_owned()),
            },
        }
        Ok(())
    }
}

fn refuse_extras(anchor: usize, has_tag: bool) -> Result<(), String> {
    if anchor != 0 {
        return Err("anchors are not supported: write the value out where it is used".to_owned());
    }
    if has_tag {
        return Err("tags are not supported: leave out what begins with !".to_owned());
    }
    Ok(())
}

/// A scalar without quotes, by YAML 1.2's core schema: `no` and `on` are texts.
fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        _ => {}
    }
    let digits = text.strip_prefix('-').unwrap_or(text);
    let is_number = digits.starts_with(|first: char| first.is_ascii_digit());
    if is_number && let Ok(number) = text.parse::<i64>() {
        return Value::Number(number.into());
    }
    if is_number && let Ok(number) = text.parse::<u64>() {
        return Value::Number(number.into());
    }
    let is_fraction = is_number && text.contains(['.', 'e', 'E']);
    let fraction = is_fraction.then(|| text.parse::<f64>().ok()).flatten();
    match fraction.and_then(Number::from_f64) {
        Some(number) => Value::Number(number),
        None => Value::String(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check_refused(text: &str, reason: &str) {
        let error = parse(text).expect_err("it is refused").to_string();
        assert!(error.contains(reason), "{error}");
    }

    #[test]
    fn scalars_have_the_types_of_the_core_schema() {
        let text = "a: 7200\nb: \"7200\"\nc: 1GB\nd: true\ne: no\nf: ~\ng: [x, 'y z', -1, 1.5]\nh: {i: }\nj: 18446744073709551615\nk: 10.0.0.1\n";
        let expected = json!({
            "a": 7200, "b": "7200", "c": "1GB", "d": true, "e": "no", "f": null,
            "g": ["x", "y z", -1, 1.5], "h": {"i": null}, "j": 18_446_744_073_709_551_615u64,
            "k": "10.0.0.1",
        });
        assert_eq!(parse(text), Ok(expected));
        assert_eq!(parse(""), Ok(json!({})));
        assert_eq!(parse("# nothing\n"), Ok(json!({})));
    }

    #[test]
    fn a_bomb_of_aliases_is_refused_at_its_first_anchor() {
        let bomb = "a: &a [x, x, x]\nb: &b [*a, *a, *a]\nc: [*b, *b, *b]\n";
        check_refused(bomb, "line 1: anchors are not supported");
        check_refused("a: 1\nb:\n  <<: {c: 1}\n", "merge keys are not supported");
        check_refused("a: !!binary aGk=\n", "tags are not supported");
    }

    #[test]
    fn trees_beyond_the_bounds_are_refused() {
        let deep = format!("{}{}", "[".repeat(60), "]".repeat(60));
        check_refused(&deep, "more than 32 levels");
        check_refused(&"- 1\n".repeat(NODES_MAX + 1), "more than 20000 values");
        check_refused(&"#".repeat(BYTES_MAX + 1), "longer than");
    }

    #[test]
    fn what_could_be_meant_in_two_ways_is_refused_with_its_line() {
        check_refused("a: 1\nb: 2\na: 3\n", "line 3: the key \"a\" is there twice");
        check_refused("a: 1\n---\nb: 2\n", "second document");
        check_refused("? [a, b]\n: 1\n", "a key must be a text");
        check_refused("a: [1, 2\nb: 3\n", "line ");
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[-:{}\\[\\],&*!|>'\"%@`#a-c0-9 \\n\\t\u{0}\u{feff}]{0,200}") {
            let _ = parse(&text);
        }
    }
}
