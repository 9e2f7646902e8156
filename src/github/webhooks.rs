//! An organization's webhook: one for the configured address, active, with all events in JSON, and signed
//! (`docs/organizations.md`, The webhook).
//!
//! Nothing here deletes a webhook: several for one address are reported.

use std::fmt;

use http::Method;
use serde_json::{Value, json};
use url::Url;

use super::client::GitHub;
use super::error::ApiError;
use super::page::Fetched;
use super::request::{Request, RequestCounter};
use super::token_info::TokenRef;
use super::url::ApiUrl;
use super::visited::VisitedUrls;
use crate::secret::Secret;

/// Webhooks per page, GitHub's maximum.
const PER_PAGE: &str = "100";

/// The webhook that each organization should have.
#[derive(Debug, Clone)]
pub struct WebhookSpec {
    /// The address that GitHub delivers to.
    pub url: Url,
    /// The secret that signs deliveries.
    pub secret: Option<Secret>,
    /// Repair a misconfigured one.
    pub repair: bool,
}

/// The state of an organization's webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WebhookState {
    /// As it should be.
    Active,
    /// It was created now.
    Created,
    /// It was repaired; this was wrong.
    Repaired(String),
    /// This is wrong with it.
    Misconfigured(String),
    /// It can't be read or created, for this reason.
    Unknown(String),
}

impl WebhookState {
    /// Returns what is wrong, if anything is.
    pub fn problem(&self) -> Option<&str> {
        match self {
            Self::Misconfigured(why) | Self::Unknown(why) => Some(why),
            Self::Active | Self::Created | Self::Repaired(_) => None,
        }
    }
}

impl fmt::Display for WebhookState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Active => "active",
            Self::Created => "created",
            Self::Repaired(_) => "repaired",
            Self::Misconfigured(_) => "wrong",
            Self::Unknown(_) => "unknown",
        })
    }
}

impl GitHub {
    /// Ensures that an organization has one webhook for the address, created or repaired as needed. An existing one is changed only
    /// if `spec.repair` is set. Only `token` is used, if it is given.
    pub async fn reconcile_webhook(
        &self,
        organization: &str,
        spec: &WebhookSpec,
        token: Option<&TokenRef>,
        counter: &RequestCounter,
    ) -> WebhookState {
        Reconciler { github: self, organization, token, counter }.reconcile(spec).await
    }
}

/// The reconciliation of one organization's webhook.
struct Reconciler<'a> {
    github: &'a GitHub,
    organization: &'a str,
    token: Option<&'a TokenRef>,
    counter: &'a RequestCounter,
}

impl Reconciler<'_> {
    async fn reconcile(&self, spec: &WebhookSpec) -> WebhookState {
        let hooks = match self.hooks_for(&spec.url).await {
            Ok(hooks) => hooks,
            Err(error) => return WebhookState::Unknown(describe_error("GET", &error)),
        };
        let Some(secret) = spec.secret.as_ref().map(Secret::expose) else {
            return match &hooks[..] {
                [] => WebhookState::Unknown(
                    "there is no webhook, and webhooks.secret is not set to create one with".to_owned(),
                ),
                hooks => find_problem(hooks).map_or(WebhookState::Active, WebhookState::Misconfigured),
            };
        };
        let config = json!({
            "url": spec.url.as_str(),
            "content_type": "json",
            "secret": secret,
            "insecure_ssl": "0",
        });
        match (&hooks[..], find_problem(&hooks)) {
            ([], _) => {
                let body = json!({"name": "web", "active": true, "events": ["*"], "config": config});
                match self.change(Method::POST, &[], body).await {
                    Ok(()) => WebhookState::Created,
                    Err(error) => WebhookState::Unknown(describe_error("POST", &error)),
                }
            }
            (_, None) => WebhookState::Active,
            ([hook], Some(wrong)) if spec.repair => {
                let id = hook.id.to_string();
                let changed = if hook.has_only_wrong_config() {
                    self.change(Method::PATCH, &[&id, "config"], config).await
                } else {
                    // An update without the secret removes it (GitHub docs: update an organization webhook).
                    let body = json!({"active": true, "events": ["*"], "config": config});
                    self.change(Method::PATCH, &[&id], body).await
                };
                match changed {
                    Ok(()) => WebhookState::Repaired(wrong),
                    Err(error) => WebhookState::Misconfigured(format!("{wrong}; {}", describe_error("PATCH", &error))),
                }
            }
            (_, Some(wrong)) => WebhookState::Misconfigured(wrong),
        }
    }

    async fn change(&self, method: Method, below: &[&str], body: Value) -> Result<(), ApiError> {
        let url = ApiUrl::path(&[&["orgs", self.organization, "hooks"], below].concat());
        let request = Request::mutation(method, url, &body).token(self.token.cloned());
        self.github.send(&request, self.counter).await.map(drop)
    }

    /// Lists the organization's webhooks for an address, compared without case.
    async fn hooks_for(&self, address: &Url) -> Result<Vec<Hook>, ApiError> {
        let mut found = Vec::new();
        let mut next = Some(ApiUrl::path(&["orgs", self.organization, "hooks"]).query("per_page", PER_PAGE));
        let mut visited = VisitedUrls::default();
        while let Some(url) = next.take() {
            visited.visit(&url)?;
            let request = Request::get(url).token(self.token.cloned());
            let Fetched::Page(page) = self.github.send(&request, self.counter).await? else { break };
            let hooks: Vec<Value> = serde_json::from_slice(&page.body).unwrap_or_default();
            found.extend(hooks.iter().filter_map(Hook::read).filter(|hook| hook.is_for(address)));
            next = page.links.next;
        }
        Ok(found)
    }
}

/// A webhook, as GitHub lists it.
#[derive(Debug, Clone)]
struct Hook {
    id: u64,
    address: String,
    active: bool,
    all_events: bool,
    json: bool,
    has_secret: bool,
}

impl Hook {
    fn read(value: &Value) -> Option<Self> {
        let text = |path: &str| value.pointer(path).and_then(Value::as_str);
        let events = value.get("events").and_then(Value::as_array);
        Some(Self {
            id: value.get("id").and_then(Value::as_u64)?,
            address: text("/config/url")?.to_owned(),
            active: value.get("active").and_then(Value::as_bool).unwrap_or(false),
            all_events: events.is_some_and(|events| events.iter().any(|event| event == "*")),
            json: text("/config/content_type") == Some("json"),
            // GitHub shows that there is one, but never which.
            has_secret: text("/config/secret").is_some_and(|secret| !secret.is_empty()),
        })
    }

    fn is_for(&self, address: &Url) -> bool {
        self.address.trim_end_matches('/').eq_ignore_ascii_case(address.as_str().trim_end_matches('/'))
    }

    fn has_only_wrong_config(&self) -> bool {
        self.active && self.all_events
    }

    fn wrong(&self) -> Vec<&'static str> {
        let all = [
            (self.active, "it is not active"),
            (self.all_events, "it does not deliver all events"),
            (self.json, "it does not deliver JSON"),
            (self.has_secret, "it has no secret"),
        ];
        all.into_iter().filter(|(fine, _)| !fine).map(|(_, wrong)| wrong).collect()
    }
}

/// Returns what is wrong with the webhooks for one address, if anything is.
fn find_problem(hooks: &[Hook]) -> Option<String> {
    if hooks.len() > 1 {
        let ids: Vec<String> = hooks.iter().map(|hook| hook.id.to_string()).collect();
        return Some(format!(
            "there are {} webhooks for the address ({}): delete all but one",
            hooks.len(),
            ids.join(", ")
        ));
    }
    let wrong: Vec<&str> = hooks.iter().flat_map(Hook::wrong).collect();
    (!wrong.is_empty()).then(|| wrong.join(", "))
}

/// Describes an error, with the method that it was about.
fn describe_error(method: &str, error: &ApiError) -> String {
    let is_denied = error.is_access_denied();
    let text = error.to_string().replacen("GET ", &format!("{method} "), 1);
    if is_denied {
        format!(
            "the hook token may not manage the organization's webhooks: {text}; a classic token needs admin:org_hook of an owner, others the organization permission Webhooks"
        )
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn webhook_problems_are_listed() {
        let hook = |config: Value, active: bool, events: Value| {
            Hook::read(&json!({"id": 1, "active": active, "events": events, "config": config})).unwrap()
        };
        let fine = json!({"url": "https://Msght.example.com/hook", "content_type": "json", "secret": "********"});
        let fine = hook(fine, true, json!(["*"]));
        assert_eq!(find_problem(std::slice::from_ref(&fine)), None);
        assert!(fine.is_for(&Url::parse("https://msght.example.com/HOOK/").unwrap()));
        assert!(!fine.is_for(&Url::parse("https://msght.example.com/other").unwrap()));
        let bad = hook(json!({"url": "https://x", "content_type": "form"}), false, json!(["push"]));
        let wrong = find_problem(&[bad]).unwrap();
        assert_eq!(
            wrong,
            "it is not active, it does not deliver all events, it does not deliver JSON, it has no secret"
        );
        assert!(find_problem(&[fine.clone(), fine]).unwrap().contains("2 webhooks"));
    }
}
