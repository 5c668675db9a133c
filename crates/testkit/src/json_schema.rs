//! Holds JSON against the schemas of a document of ours: OpenAPI or AsyncAPI.
//!
//! It knows the words that our documents use, and panics at others. It is stricter than JSON Schema
//! in one thing: a field that the schema does not name is a fault, so that what we send is documented.

use regex::Regex;
use serde_json::Value;

/// Why a value is not as a schema says; empty if it is.
///
/// # Panics
/// If the schema has a word that is not known here, or refers to nothing.
#[must_use]
pub fn faults(document: &Value, schema: &Value, value: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    check(document, schema, value, "", &mut faults);
    faults
}

fn check(document: &Value, schema: &Value, value: &Value, place: &str, faults: &mut Vec<String>) {
    let words = schema.as_object().expect("a schema is an object");
    for (word, wanted) in words {
        let is_right = match word.as_str() {
            "description" | "default" | "format" => true,
            "$ref" => {
                let path = wanted.as_str().and_then(|name| name.strip_prefix('#'));
                let target = path.and_then(|path| document.pointer(path));
                let target = target.unwrap_or_else(|| panic!("{wanted} is nowhere"));
                check(document, target, value, place, faults);
                true
            }
            "type" => match wanted {
                Value::Array(names) => names.iter().any(|name| is_of(name, value)),
                name => is_of(name, value),
            },
            "const" => value == wanted,
            "enum" => list(wanted).contains(value),
            "pattern" => {
                let pattern = wanted.as_str().expect("a pattern is a text");
                let pattern = Regex::new(pattern).expect("a pattern is a regular expression");
                value.as_str().is_none_or(|text| pattern.is_match(text))
            }
            "minimum" => value.as_f64() >= wanted.as_f64() || !value.is_number(),
            "maximum" => value.as_f64() <= wanted.as_f64() || !value.is_number(),
            "minItems" | "maxItems" => {
                let limit = wanted
                    .as_u64()
                    .and_then(|limit| usize::try_from(limit).ok());
                let limit = limit.expect("a limit is a number");
                value.as_array().is_none_or(|items| match word.as_str() {
                    "minItems" => items.len() >= limit,
                    _ => items.len() <= limit,
                })
            }
            "required" => list(wanted)
                .iter()
                .all(|name| value.get(name.as_str().expect("a name")).is_some()),
            "items" => {
                for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                    check(document, wanted, item, &format!("{place}[{index}]"), faults);
                }
                true
            }
            "properties" => {
                for (name, schema) in wanted.as_object().expect("properties") {
                    if let Some(value) = value.get(name) {
                        check(document, schema, value, &format!("{place}.{name}"), faults);
                    }
                }
                true
            }
            "additionalProperties" => true,
            other => panic!("{place}: the word {other} is not known"),
        };
        if !is_right {
            faults.push(format!("{place}: {word} {wanted}: {value}"));
        }
    }
    if let (true, Some(fields)) = (words.contains_key("type"), value.as_object()) {
        let known = schema.get("properties").and_then(Value::as_object);
        for (name, field) in fields {
            let is_known = known.is_some_and(|known| known.contains_key(name));
            match schema.get("additionalProperties") {
                _ if is_known => {}
                Some(Value::Bool(true)) => {}
                Some(others @ Value::Object(_)) => {
                    check(document, others, field, &format!("{place}.{name}"), faults);
                }
                _ => faults.push(format!("{place}.{name} is not documented")),
            }
        }
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().expect("a list of the schema")
}

fn is_of(name: &Value, value: &Value) -> bool {
    match name.as_str().expect("the name of a type") {
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "null" => value.is_null(),
        other => panic!("unknown type {other}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_word_of_a_schema_finds_what_it_forbids() {
        let document = json!({"a": {
            "type": "object",
            "required": ["op"],
            "properties": {
                "op": {"type": "string", "const": "live"},
                "n": {"type": ["integer", "null"], "minimum": 1, "maximum": 9},
                "s": {"type": "string", "enum": ["x", "y"]},
                "d": {"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]+)?$"},
                "t": {"type": "string", "pattern": "^kline:"},
                "w": {"type": "string", "pattern": "^[1-9][0-9]{0,3}[smhdwM]$"},
                "k": {"type": "string", "pattern": r"^k1\.[0-9]+\.[0-9]+$"},
                "l": {"type": "array", "items": {"$ref": "#/b"}, "minItems": 1, "maxItems": 2},
                "m": {"type": "object", "additionalProperties": {"type": "integer"}},
                "o": {"type": "object", "additionalProperties": true}
            }
        }, "b": {"type": "boolean"}});
        let faults_of = |value: Value| faults(&document, &document["a"], &value);
        let good = json!({"op": "live", "n": null, "s": "x", "d": "-0.5", "t": "kline:1m:A-B", "w": "7m",
            "k": "k1.5.6", "l": [true], "m": {"any": 5}, "o": {"any": "text"}});
        assert_eq!(faults_of(good.clone()), Vec::<String>::new());
        for (field, wrong) in [
            ("op", json!("dead")),
            ("op", json!(5)),
            ("n", json!(0)),
            ("n", json!(10)),
            ("n", json!(1.5)),
            ("s", json!("z")),
            ("d", json!("1e5")),
            ("d", json!("-")),
            ("d", json!("5.")),
            ("t", json!("trade:A-B")),
            ("w", json!("0m")),
            ("w", json!("m")),
            ("w", json!("")),
            ("k", json!("k1.5")),
            ("l", json!([])),
            ("l", json!([true, true, true])),
            ("l", json!([5])),
            ("m", json!({"any": "text"})),
            ("new", json!(1)),
        ] {
            let mut bad = good.clone();
            bad[field] = wrong.clone();
            assert!(!faults_of(bad).is_empty(), "{field}: {wrong}");
        }
        assert_eq!(faults_of(json!({})).len(), 1);
    }
}
