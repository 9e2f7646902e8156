//! Lenient parsing of GitHub's JSON: whatever the grammar allows becomes a value.
//!
//! `serde_json` rejects three things that JSON allows and that reach GitHub's responses through git and old imports: lone
//! surrogates, numbers beyond a double, and deep nesting. A text with any of them is parsed again with these replaced; the
//! text itself, which the stores keep, is not changed.

use std::borrow::Cow;

use serde::de::DeserializeOwned;

/// Depth from which nested containers become their own text; below the limits of `serde_json` (128) and MongoDB (100).
pub const MAX_DEPTH: usize = 80;

/// Parses a JSON text and replaces what Rust can't represent: a lone surrogate by U+FFFD, a number beyond a double and a container
/// nested deeper than [`MAX_DEPTH`] by its text.
///
/// # Errors
/// The text is not JSON, or not of this type.
pub fn parse<T: DeserializeOwned>(text: &str) -> Result<T, serde_json::Error> {
    serde_json::from_str(text).or_else(|error| match replace_unrepresentable(text) {
        Cow::Owned(text) => serde_json::from_str(&text),
        Cow::Borrowed(_) => Err(error),
    })
}

/// Parses a response's bytes as [`parse`] does.
///
/// # Errors
/// The bytes are not JSON, or not of this type.
pub fn parse_bytes<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, serde_json::Error> {
    match std::str::from_utf8(bytes) {
        Ok(text) => parse(text),
        Err(_) => serde_json::from_slice(bytes),
    }
}

/// Replaces what can't be represented; returns the text itself if there is nothing to replace.
fn replace_unrepresentable(text: &str) -> Cow<'_, str> {
    let bytes = text.as_bytes();
    let mut out = String::new();
    let (mut copied, mut at, mut depth) = (0, 0, 0_usize);
    while let Some(byte) = bytes.get(at) {
        let end = match byte {
            b'"' => {
                let end = end_of_string(bytes, at);
                for (start, length) in lone_surrogates(&bytes[at..end]) {
                    out.push_str(&text[copied..at + start]);
                    out.push_str("\\ufffd");
                    copied = at + start + length;
                }
                end
            }
            b'{' | b'[' if depth == MAX_DEPTH => {
                let end = end_of_container(bytes, at);
                out.push_str(&text[copied..at]);
                out.push_str(&serde_json::Value::from(&text[at..end]).to_string());
                copied = end;
                end
            }
            b'{' | b'[' => {
                depth += 1;
                at + 1
            }
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                at + 1
            }
            b'-' | b'0'..=b'9' => {
                let is_part = |byte: &&u8| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E');
                let end = at + bytes[at..].iter().take_while(is_part).count();
                if text[at..end].parse::<f64>().is_ok_and(f64::is_infinite) {
                    out.push_str(&text[copied..at]);
                    out.push('"');
                    out.push_str(&text[at..end]);
                    out.push('"');
                    copied = end;
                }
                end
            }
            _ => at + 1,
        };
        at = end;
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    out.push_str(&text[copied..]);
    Cow::Owned(out)
}

/// Returns the position after a string that begins at `start`, or the text's end if it is unterminated.
fn end_of_string(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// Returns the position after an object or array that begins at `start`, or the text's end if it is unterminated.
fn end_of_container(bytes: &[u8], start: usize) -> usize {
    let (mut at, mut depth) = (start, 0_usize);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => {
                at = end_of_string(bytes, at);
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            _ => {}
        }
        at += 1;
        if depth == 0 {
            return at;
        }
    }
    bytes.len()
}

/// Returns positions and lengths of the escapes of lone surrogates in a string.
fn lone_surrogates(string: &[u8]) -> Vec<(usize, usize)> {
    const ESCAPE: usize = "\\ud83d".len();
    let unit = |at: usize| {
        let digits = string.get(at..at + ESCAPE)?.strip_prefix(b"\\u")?;
        u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
    };
    let (mut lone, mut at) = (Vec::new(), 0);
    while at < string.len() {
        if string[at] != b'\\' {
            at += 1;
            continue;
        }
        at += match unit(at) {
            Some(0xd800..=0xdbff) if matches!(unit(at + ESCAPE), Some(0xdc00..=0xdfff)) => 2 * ESCAPE,
            Some(0xd800..=0xdfff) => {
                lone.push((at, ESCAPE));
                ESCAPE
            }
            _ => 2,
        };
    }
    lone
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn lone_surrogates_become_replacement_characters() {
        let value: Value =
            parse(r#"{"a":"x\ud83d","b":"\udc00\\ud83d \ud83d\ude00","\ud83d":["\ud83d\ud83d"]}"#).unwrap();
        assert_eq!(value, json!({"a": "x\u{fffd}", "b": "\u{fffd}\\ud83d 😀", "\u{fffd}": ["\u{fffd}\u{fffd}"]}));
    }

    #[test]
    fn numbers_beyond_a_double_and_deep_containers_become_texts() {
        let value: Value = parse(r#"[1e999,-1E+400,-2.5,{"a":"]1e999"}]"#).unwrap();
        assert_eq!(value, json!(["1e999", "-1E+400", -2.5, {"a": "]1e999"}]));
        let deep = format!("{}\"]\\\"\"{}", "[".repeat(100_000), "]".repeat(100_000));
        let mut value: Value = parse(&deep).unwrap();
        for _ in 0..MAX_DEPTH {
            value = value[0].take();
        }
        assert!(value.as_str().unwrap().starts_with("[[") && value.as_str().unwrap().len() > 199_000);
    }

    #[test]
    fn malformed_json_stays_an_error() {
        for text in ["", "{", "[\"\\ud83d\"", "[1e999", "\"\\u12", "{]", "]]\"\\ud800\"", "nothing", "\"\\"] {
            assert!(parse::<Value>(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_value_round_trips(text in ".*", number in any::<f64>().prop_filter("JSON has none", |n| n.is_finite())) {
            let value = json!({"text": text, "number": number, "list": [[text]]});
            let written = value.to_string();
            prop_assert!(matches!(replace_unrepresentable(&written), Cow::Borrowed(_)));
            prop_assert_eq!(parse::<Value>(&written).unwrap(), value);
        }

        #[test]
        fn no_text_causes_a_panic(text in "[\\[\\]{}\"\\\\ud8e9\\-:, é]{0,40}") {
            let _ = parse::<Value>(&text);
        }
    }
}
