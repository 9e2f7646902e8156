//! What is read from a delivery before it is kept: its key, its kind, and the accounts that it is about.

use std::borrow::Cow;
use std::collections::HashMap;

use http::HeaderMap;
use serde_json::Value;
use serde_json::value::RawValue;
use url::form_urlencoded;

use crate::json;
use crate::names::{RepoName, is_login};
use crate::store::documents::deliveries::DeliveryKey;

/// Maximum characters of an event's name; GitHub's longest has about 40.
const MAX_EVENT_CHARS: usize = 100;
/// Maximum characters of a payload's `action` that are kept.
const MAX_ACTION_CHARS: usize = 100;
/// Maximum bytes of a header that is kept.
const MAX_HEADER_BYTES: usize = 1000;

/// The form of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyForm {
    /// `application/json`: the payload itself.
    Json,
    /// `application/x-www-form-urlencoded`: the payload in the field `payload`.
    Form,
}

impl BodyForm {
    /// Returns the form that a content type names.
    pub(super) fn of(content_type: &str) -> Option<Self> {
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        match essence.to_ascii_lowercase().as_str() {
            "application/json" => Some(Self::Json),
            "application/x-www-form-urlencoded" => Some(Self::Form),
            _ => None,
        }
    }

    /// Returns the payload's text. Bytes that are not UTF-8 become U+FFFD in it: the body itself is kept as it came.
    pub(super) fn text(self, body: &[u8]) -> Option<Cow<'_, str>> {
        match self {
            Self::Json => Some(String::from_utf8_lossy(body)),
            Self::Form => form_urlencoded::parse(body).find(|(name, _)| name == "payload").map(|(_, payload)| payload),
        }
    }
}

/// What the headers tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DeliveryHeaders {
    pub key: DeliveryKey,
    pub event: String,
}

impl DeliveryHeaders {
    /// Reads the headers of a delivery.
    ///
    /// # Errors
    /// The first one that is missing or malformed.
    pub(super) fn parse(headers: &HeaderMap) -> Result<Self, &'static str> {
        let one = |name| {
            let mut values = headers.get_all(name).iter();
            match (values.next(), values.next()) {
                (Some(value), None) => Ok(Some(value.to_str().map_err(|_| ())?)),
                (None, _) => Ok(None),
                (Some(_), Some(_)) => Err(()),
            }
        };
        let is_event = |name: &str| {
            !name.is_empty()
                && name.len() <= MAX_EVENT_CHARS
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        };
        let event = one("x-github-event").ok().flatten().filter(|event| is_event(event));
        let event = event.ok_or("X-GitHub-Event is missing, or is not an event's name")?;
        let guid = one("x-github-delivery").ok().flatten().filter(|guid| is_guid(guid));
        let guid = guid.ok_or("X-GitHub-Delivery is missing, or is not a GUID")?;
        let hook_id = match one("x-github-hook-id") {
            Ok(None) => Some(0),
            Ok(Some(id)) => id.parse().ok().filter(|id: &i64| *id > 0),
            Err(()) => None,
        };
        let hook_id = hook_id.ok_or("X-GitHub-Hook-ID is not a number")?;
        Ok(Self { key: DeliveryKey::new(guid, hook_id), event: event.to_ascii_lowercase() })
    }
}

/// Returns whether a text is a GUID: hex digits in groups of 8, 4, 4, 4 and 12.
fn is_guid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(index, byte)| match index {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// Returns the headers that are kept, by lower-case name: GitHub's, the content type and the sender. A signature never is.
pub(super) fn kept_headers(headers: &HeaderMap) -> Vec<(String, String)> {
    let is_kept = |name: &str| name.starts_with("x-github-") || name == "content-type" || name == "user-agent";
    headers
        .iter()
        .filter(|(name, value)| is_kept(name.as_str()) && value.len() <= MAX_HEADER_BYTES)
        .filter_map(|(name, value)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned())))
        .collect()
}

/// What a payload tells of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct PayloadFacts {
    pub action: Option<String>,
    /// Logins of the accounts that it is about: the organization, the repository's owner, and their former ones.
    pub accounts: Vec<String>,
    /// Something names an account in a way that no account is named.
    pub has_odd_account: bool,
    pub repository: Option<RepoName>,
}

impl PayloadFacts {
    /// Reads a payload without parsing more of it than needed; `None` if it is no JSON object.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let members: HashMap<Cow<'_, str>, &RawValue> = match serde_json::from_str(text) {
            Ok(members) => members,
            // A name may have an escape that Rust's strings can't hold.
            Err(_) => return Self::parse_leniently(text),
        };
        Some(Self::from_members(|name| members.get(name).and_then(|raw| json::parse(raw.get()).ok())))
    }

    fn parse_leniently(text: &str) -> Option<Self> {
        let members: serde_json::Map<String, Value> = json::parse(text).ok()?;
        Some(Self::from_members(|name| members.get(name).cloned()))
    }

    fn from_members(member: impl Fn(&str) -> Option<Value>) -> Self {
        const LOGINS: [(&str, &[&str]); 3] = [
            ("organization", &["/login"]),
            ("repository", &["/owner/login", "/owner/name"]),
            ("changes", &["/owner/from/user/login", "/owner/from/organization/login", "/login/from"]),
        ];
        let mut facts = Self::default();
        for (name, pointers) in LOGINS {
            let Some(value) = member(name) else { continue };
            let logins = pointers.iter().filter_map(|pointer| value.pointer(pointer)?.as_str());
            for login in logins {
                if !is_login(login) {
                    facts.has_odd_account = true;
                } else if !facts.accounts.iter().any(|known| known.eq_ignore_ascii_case(login)) {
                    facts.accounts.push(login.to_owned());
                }
            }
            if name == "repository" {
                let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str);
                let owner = text("/owner/login").or_else(|| text("/owner/name"));
                facts.repository = owner.zip(text("/name")).and_then(|(owner, name)| RepoName::new(owner, name).ok());
            }
        }
        let action = member("action").and_then(|action| action.as_str().map(str::to_owned));
        let is_word = |text: &String| text.len() <= MAX_ACTION_CHARS && !text.chars().any(char::is_control);
        facts.action = action.filter(is_word);
        facts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderName, HeaderValue};
    use proptest::prelude::*;

    const GUID: &str = "72d3162e-cc78-11e3-81ab-4c9367dc0958";

    fn headers(list: &[(&str, &str)]) -> HeaderMap {
        let header = |(name, value): &(&str, &str)| {
            (name.parse::<HeaderName>().unwrap(), HeaderValue::from_bytes(value.as_bytes()).unwrap())
        };
        list.iter().map(header).collect()
    }

    #[test]
    fn headers_are_checked() {
        let event = ("x-github-event", "issues");
        let parse = |list: &[(&str, &str)]| DeliveryHeaders::parse(&headers(list));
        let parsed = parse(&[event, ("x-github-delivery", &GUID.to_uppercase()), ("x-github-hook-id", "42")]).unwrap();
        assert_eq!((parsed.key, parsed.event.as_str()), (DeliveryKey::new(GUID, 42), "issues"));
        assert_eq!(parse(&[event, ("x-github-delivery", GUID)]).unwrap().key.hook_id, 0);
        for guid in ["", "x", "../../etc/passwd", &GUID[1..], &GUID.replace('-', "/"), &format!("{GUID}0")] {
            assert!(parse(&[event, ("x-github-delivery", guid)]).is_err(), "{guid}");
        }
        for event in ["", "../x", "a b", "é", &"x".repeat(200)] {
            assert!(parse(&[("x-github-event", event), ("x-github-delivery", GUID)]).is_err(), "{event}");
        }
        for id in ["", "x", "-1", "1.5", "99999999999999999999"] {
            assert!(parse(&[event, ("x-github-delivery", GUID), ("x-github-hook-id", id)]).is_err(), "{id}");
        }
    }

    #[test]
    fn signatures_and_foreign_headers_are_not_kept() {
        let all = headers(&[
            ("x-github-event", "push"),
            ("x-hub-signature-256", "sha256=00"),
            ("x-hub-signature", "sha1=00"),
            ("authorization", "Bearer s3cret"),
            ("content-type", "application/json"),
            ("cookie", "s3cret"),
        ]);
        let names: Vec<String> = kept_headers(&all).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["x-github-event", "content-type"]);
    }

    #[test]
    fn accounts_are_those_of_now_and_before() {
        let facts = PayloadFacts::parse(
            r#"{"action": "transferred", "organization": {"login": "contoso"},
                "repository": {"name": "web", "owner": {"login": "Contoso"}},
                "changes": {"owner": {"from": {"organization": {"login": "fabrikam"}}}}}"#,
        );
        let facts = facts.unwrap();
        assert_eq!(facts.accounts, ["contoso", "fabrikam"]);
        assert_eq!(facts.repository.unwrap().to_string(), "Contoso/web");
        assert_eq!(facts.action.as_deref(), Some("transferred"));
    }

    #[test]
    fn odd_payloads_are_read_leniently() {
        for (text, accounts) in [
            ("{}", 0),
            (r#"{"repository": 5, "organization": [], "action": {}}"#, 0),
            (r#"{"organization": {"login": "a\ud83d"}, "\ud83d": 1}"#, 0),
            (r#"{"organization": {"login": "contoso"}, "\ud83d": 1e999}"#, 1),
        ] {
            assert_eq!(PayloadFacts::parse(text).unwrap().accounts.len(), accounts, "{text}");
        }
        let odd = r#"{"repository": {"name": "..", "owner": {"login": "../x"}}, "action": "a\u0000b"}"#;
        let facts = PayloadFacts::parse(odd).unwrap();
        assert!(facts.has_odd_account && facts.repository.is_none() && facts.action.is_none());
        for text in ["", "[]", "null", "{", "{\"a\": 1} x", "<xml/>", "\"x\""] {
            assert!(PayloadFacts::parse(text).is_none(), "{text}");
        }
        let deep = format!(
            "{{\"a\": {}{}, \"organization\": {{\"login\": \"contoso\"}}}}",
            "[".repeat(100_000),
            "]".repeat(100_000)
        );
        assert_eq!(PayloadFacts::parse(&deep).unwrap().accounts, ["contoso"]);
    }

    #[test]
    fn forms_hold_their_payload_in_a_field() {
        assert_eq!(BodyForm::of("application/json; charset=utf-8"), Some(BodyForm::Json));
        assert_eq!(BodyForm::of("Application/X-WWW-Form-Urlencoded"), Some(BodyForm::Form));
        assert_eq!(BodyForm::of("text/plain"), None);
        let text = BodyForm::Form.text(b"a=b&payload=%7B%22zen%22%3A+%22%F0%9F%8E%89%ff%22%7D").unwrap();
        assert_eq!(text, "{\"zen\": \"\u{1f389}\u{fffd}\"}");
        assert_eq!(BodyForm::Form.text(b"payloads=x"), None);
        assert_eq!(BodyForm::Json.text(b"{\"a\": \"\xff\"}").unwrap(), "{\"a\": \"\u{fffd}\"}");
    }

    proptest! {
        #[test]
        fn any_bytes_are_parsed_without_a_panic(body: Vec<u8>) {
            for form in [BodyForm::Json, BodyForm::Form] {
                let _ = form.text(&body).and_then(|text| PayloadFacts::parse(&text));
            }
        }

        #[test]
        fn any_headers_are_parsed_without_a_panic(event: Vec<u8>, guid in "\\PC{0,40}", id in "\\PC{0,24}") {
            let mut map = HeaderMap::new();
            for (name, value) in [("x-github-event", event), ("x-github-delivery", guid.into()), ("x-github-hook-id", id.into())] {
                if let Ok(value) = HeaderValue::from_bytes(&value) {
                    map.insert(name, value);
                }
            }
            let _ = (DeliveryHeaders::parse(&map), kept_headers(&map));
        }

        #[test]
        fn any_text_is_a_login_or_odd(login: String, name: String) {
            let payload = serde_json::json!({"repository": {"name": name, "owner": {"login": login}}}).to_string();
            let facts = PayloadFacts::parse(&payload).unwrap();
            prop_assert_eq!(facts.has_odd_account, !is_login(&login));
            prop_assert!(facts.repository.is_none_or(|repository| repository.owner() == login && repository.name() == name));
        }
    }
}
