//! An organization's webhook: one for the configured address, active, with all events in JSON, and signed
//! (`docs/organizations.md`, The webhook).
//!
//! Nothing here deletes a webhook: several for one address are reported.

mod deliveries;

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
use crate::validator::Validator;

pub use deliveries::{LogPage, LoggedDelivery, SentDelivery, WebhookRef};

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

/// The webhook that was found at an organization.
#[derive(Debug, Clone)]
pub struct WebhookInspection {
    /// Its state.
    pub state: WebhookState,
    /// GitHub's number of it; `None` if there is none, or several.
    pub id: Option<i64>,
    /// Makes the next inspection conditional.
    pub validator: Option<Validator>,
}

/// A webhook as GitHub lists it, whatever its address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedWebhook {
    /// GitHub's number of it.
    pub id: i64,
    /// The address that it delivers to.
    pub address: String,
    /// The events that it delivers.
    pub events: Vec<String>,
    /// `json` or `form`.
    pub content_type: String,
    /// Delivers: it is active.
    pub active: bool,
    /// Its problems, if it is to deliver to us.
    pub wrong: Vec<&'static str>,
}

impl ListedWebhook {
    /// Returns whether it delivers to an address, compared without case.
    pub fn is_for(&self, address: &Url) -> bool {
        is_address(&self.address, address)
    }
}

impl GitHub {
    /// Lists an organization's webhooks, of all addresses.
    ///
    /// # Errors
    /// As [`GitHub::send`].
    pub async fn webhooks(
        &self,
        organization: &str,
        token: Option<&TokenRef>,
        counter: &RequestCounter,
    ) -> Result<Vec<ListedWebhook>, ApiError> {
        let reconciler = Reconciler { github: self, organization, token, counter };
        let listed = reconciler.hooks(None).await?;
        Ok(listed.map(|(hooks, _)| hooks.into_iter().map(Hook::into_listed).collect()).unwrap_or_default())
    }

    /// Inspects the organization's webhook for the address; with `spec.repair` one that is missing is created and a wrong one
    /// repaired. Returns `None` if nothing has changed since `validator` was issued.
    pub async fn inspect_webhook(
        &self,
        organization: &str,
        spec: &WebhookSpec,
        validator: Option<Validator>,
        token: Option<&TokenRef>,
        counter: &RequestCounter,
    ) -> Option<WebhookInspection> {
        let reconciler = Reconciler { github: self, organization, token, counter };
        match reconciler.hooks(validator).await {
            Ok(None) => None,
            Ok(Some((mut hooks, validator))) => {
                hooks.retain(|hook| hook.is_for(&spec.url));
                if hooks.is_empty() && !spec.repair {
                    let state = WebhookState::Misconfigured("there is no webhook for the address".to_owned());
                    return Some(WebhookInspection { state, id: None, validator });
                }
                let (state, id) = reconciler.reconcile_found(spec, hooks).await;
                // What was changed has another ETag.
                let validator =
                    validator.filter(|_| matches!(state, WebhookState::Active | WebhookState::Misconfigured(_)));
                Some(WebhookInspection { state, id, validator })
            }
            Err(error) => {
                let state = WebhookState::Unknown(describe_error("GET", &error));
                Some(WebhookInspection { state, id: None, validator: None })
            }
        }
    }

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
        match self.hooks(None).await {
            Ok(listed) => {
                let mut hooks = listed.map(|(hooks, _)| hooks).unwrap_or_default();
                hooks.retain(|hook| hook.is_for(&spec.url));
                self.reconcile_found(spec, hooks).await.0
            }
            Err(error) => WebhookState::Unknown(describe_error("GET", &error)),
        }
    }

    /// Reconciles the webhooks that were found for the address, and returns the number of the only one.
    async fn reconcile_found(&self, spec: &WebhookSpec, hooks: Vec<Hook>) -> (WebhookState, Option<i64>) {
        let id = match &hooks[..] {
            [hook] => Some(hook.id),
            _ => None,
        };
        let mut created = None;
        let state = self.reconciled(spec, hooks, &mut created).await;
        (state, id.or(created))
    }

    async fn reconciled(&self, spec: &WebhookSpec, hooks: Vec<Hook>, created: &mut Option<i64>) -> WebhookState {
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
                    Ok(id) => {
                        *created = id;
                        WebhookState::Created
                    }
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
                    Ok(_) => WebhookState::Repaired(wrong),
                    Err(error) => WebhookState::Misconfigured(format!("{wrong}; {}", describe_error("PATCH", &error))),
                }
            }
            (_, Some(wrong)) => WebhookState::Misconfigured(wrong),
        }
    }

    /// Changes a webhook, and returns its number where the answer tells.
    async fn change(&self, method: Method, below: &[&str], body: Value) -> Result<Option<i64>, ApiError> {
        let url = ApiUrl::path(&[&["orgs", self.organization, "hooks"], below].concat());
        let request = Request::mutation(method, url, &body).token(self.token.cloned());
        let Fetched::Page(page) = self.github.send(&request, self.counter).await? else { return Ok(None) };
        let changed: Value = serde_json::from_slice(&page.body).unwrap_or_default();
        Ok(changed.get("id").and_then(Value::as_i64))
    }

    /// Lists the organization's webhooks, with the list's validator; `None` if `validator` says that nothing has changed.
    async fn hooks(&self, validator: Option<Validator>) -> Result<Option<(Vec<Hook>, Option<Validator>)>, ApiError> {
        let mut found = Vec::new();
        let mut next = Some(ApiUrl::path(&["orgs", self.organization, "hooks"]).query("per_page", PER_PAGE));
        let mut visited = VisitedUrls::default();
        let (mut known, mut first) = (validator, None);
        let mut pages = 0;
        while let Some(url) = next.take() {
            visited.visit(&url)?;
            let request = Request::get(url).token(self.token.cloned()).validator(known.take());
            let Fetched::Page(page) = self.github.send(&request, self.counter).await? else { return Ok(None) };
            let hooks: Vec<Value> = serde_json::from_slice(&page.body).unwrap_or_default();
            found.extend(hooks.iter().filter_map(Hook::read));
            next = page.links.next;
            pages += 1;
            first = page.validator;
        }
        // The ETag of a page says nothing about the others.
        Ok(Some((found, first.filter(|_| pages == 1))))
    }
}

/// A webhook, as GitHub lists it.
#[derive(Debug, Clone)]
struct Hook {
    id: i64,
    address: String,
    active: bool,
    events: Vec<String>,
    content_type: String,
    has_secret: bool,
}

impl Hook {
    fn read(value: &Value) -> Option<Self> {
        let text = |path: &str| value.pointer(path).and_then(Value::as_str);
        let events = value.get("events").and_then(Value::as_array).into_iter().flatten();
        Some(Self {
            id: value.get("id").and_then(Value::as_i64)?,
            address: text("/config/url")?.to_owned(),
            active: value.get("active").and_then(Value::as_bool).unwrap_or(false),
            events: events.filter_map(Value::as_str).map(str::to_owned).collect(),
            content_type: text("/config/content_type").unwrap_or_default().to_owned(),
            // GitHub shows that there is one, but never which.
            has_secret: text("/config/secret").is_some_and(|secret| !secret.is_empty()),
        })
    }

    fn is_for(&self, address: &Url) -> bool {
        is_address(&self.address, address)
    }

    fn has_all_events(&self) -> bool {
        self.events.iter().any(|event| event == "*")
    }

    fn has_only_wrong_config(&self) -> bool {
        self.active && self.has_all_events()
    }

    fn into_listed(self) -> ListedWebhook {
        let wrong = self.wrong();
        let Self { id, address, active, events, content_type, .. } = self;
        ListedWebhook { id, address, events, content_type, active, wrong }
    }

    fn wrong(&self) -> Vec<&'static str> {
        let all = [
            (self.active, "it is not active"),
            (self.has_all_events(), "it does not deliver all events"),
            (self.content_type == "json", "it does not deliver JSON"),
            (self.has_secret, "it has no secret"),
        ];
        all.into_iter().filter(|(fine, _)| !fine).map(|(_, wrong)| wrong).collect()
    }
}

/// Returns whether a webhook's address is this one, compared without case.
fn is_address(found: &str, address: &Url) -> bool {
    found.trim_end_matches('/').eq_ignore_ascii_case(address.as_str().trim_end_matches('/'))
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
