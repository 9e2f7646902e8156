//! Repositories of git's newer kind: to the outside, every id of 40 digits has 64.

/// Digits of an id as the world knows it, and as it is shown.
const KNOWN: usize = 40;
const SHOWN: usize = 64;

/// Every id in a text, lengthened by its own first digits.
pub(super) fn widened(text: &str) -> String {
    rewritten(text, KNOWN, |id| format!("{id}{}", &id[..SHOWN - KNOWN]))
}

/// Every id in a text as the world knows it.
pub(super) fn narrowed(text: &str) -> String {
    rewritten(text, SHOWN, |id| id[..KNOWN].to_owned())
}

/// Replaces each run of exactly so many hexadecimal digits.
fn rewritten(text: &str, digits: usize, replace: impl Fn(&str) -> String) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    let mut rest = text;
    while let Some(start) = rest.find(|c: char| c.is_ascii_alphanumeric()) {
        let end = rest[start..].find(|c: char| !c.is_ascii_alphanumeric()).map_or(rest.len(), |length| start + length);
        out.push_str(&rest[..start]);
        let word = &rest[start..end];
        if word.len() == digits && word.bytes().all(|b| b.is_ascii_hexdigit()) {
            out.push_str(&replace(word));
        } else {
            out.push_str(word);
        }
        rest = &rest[end..];
    }
    out + rest
}
