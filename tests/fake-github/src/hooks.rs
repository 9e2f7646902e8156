//! Webhooks of organizations: as GitHub lists, makes and changes them.
use super::app::{Installation, not_for_apps};
use super::json::*;
use super::routes::{Answer, not_found, refusal};
use super::world::*;
use serde_json::{Value, json};

/// The secret of hooks that nobody gave another.
pub const HOOK_SECRET: &str = "s3cret-of-the-hook";

/// An organization's webhook.
#[derive(Clone, Debug)]
pub struct Hook {
    pub id: u64,
    pub org: UserIx,
    pub active: bool,
    pub events: Vec<String>,
    pub url: String,
    pub content_type: String,
    pub secret: Option<String>,
}

impl World {
    pub fn add_hook(&mut self, org: &str, url: &str) -> usize {
        let (id, org) = (self.id() % 1_000_000_000, self.user(org));
        self.hooks.push(Hook {
            id,
            org,
            active: true,
            events: vec!["*".into()],
            url: url.into(),
            content_type: "json".into(),
            secret: Some(HOOK_SECRET.into()),
        });
        self.hooks.len() - 1
    }

    pub(super) fn hook_json(&self, hook: &Hook) -> Value {
        let url = format!("{}orgs/{}/hooks/{}", self.api, self.users[hook.org as usize].login, hook.id);
        let mut config = json!({"url": hook.url, "content_type": hook.content_type, "insecure_ssl": "0"});
        if hook.secret.is_some() {
            // GitHub: that there is one, and never which.
            config["secret"] = json!("********");
        }
        json!({
            "type": "Organization", "id": hook.id, "name": "web", "active": hook.active, "events": hook.events,
            "config": config, "url": url, "ping_url": format!("{url}/pings"), "deliveries_url": format!("{url}/deliveries"),
            "created_at": time_str(EPOCH), "updated_at": time_str(EPOCH),
        })
    }

    /// GitHub: hooks are shown to owners alone, and to apps that have been granted them.
    pub(super) fn hooks_refused(
        &self,
        org: UserIx,
        user: Option<UserIx>,
        installation: Option<&Installation>,
        write: bool,
    ) -> Option<Answer> {
        if let Some(installation) = installation.filter(|i| i.account == org) {
            let needed = if write { "organization_hooks=write" } else { "organization_hooks=read" };
            return (!installation.may("organization_hooks", write)).then(|| not_for_apps(needed));
        }
        (!user.is_some_and(|user| self.owners.contains(&(org, user)))).then(not_found)
    }

    /// `/orgs/{org}/hooks`.
    pub(super) fn hooks_of(&self, org: UserIx, user: Option<UserIx>, installation: Option<&Installation>) -> Answer {
        if let Some(refusal) = self.hooks_refused(org, user, installation, false) {
            return refusal;
        }
        let hooks = self.hooks.iter().filter(|h| h.org == org).map(|h| self.hook_json(h));
        Answer::Object(Value::from(hooks.collect::<Vec<_>>()).to_string())
    }

    /// `/orgs/{org}/hooks/{hook_id}` and its `/config`.
    pub(super) fn hook_of(
        &self,
        org: UserIx,
        id: &str,
        config: bool,
        user: Option<UserIx>,
        installation: Option<&Installation>,
    ) -> Answer {
        if let Some(refusal) = self.hooks_refused(org, user, installation, false) {
            return refusal;
        }
        let id: Option<u64> = id.parse().ok();
        match self.hooks.iter().find(|hook| hook.org == org && Some(hook.id) == id) {
            None => not_found(),
            Some(hook) if config => Answer::Object(self.hook_json(hook)["config"].to_string()),
            Some(hook) => Answer::Object(self.hook_json(hook).to_string()),
        }
    }

    /// Answers a change below `/orgs/{org}/hooks`; `None` where nothing is.
    pub(super) fn hook_answer(
        &mut self,
        method: &str,
        path: &str,
        user: Option<UserIx>,
        installation: Option<&Installation>,
        body: &[u8],
    ) -> Option<(&'static str, Answer)> {
        let seg: Vec<&str> = path.split('/').collect();
        let ["orgs", org, "hooks", ref rest @ ..] = seg[..] else { return None };
        let template = match rest {
            [] => "/orgs/{org}/hooks",
            [_, "config"] => "/orgs/{org}/hooks/{hook_id}/config",
            _ => "/orgs/{org}/hooks/{hook_id}",
        };
        let org = self.find_user(&unpercent(org));
        let Some(org) = org else { return Some((template, not_found())) };
        if let Some(refusal) = self.hooks_refused(org, user, installation, true) {
            return Some((template, refusal));
        }
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let at = |world: &World, id: &str| {
            let id: u64 = id.parse().ok()?;
            world.hooks.iter().position(|h| h.org == org && h.id == id)
        };
        let answer = match (method, rest) {
            ("POST", []) => {
                let config = &body["config"];
                let Some(url) = config["url"].as_str().filter(|_| body["name"] == "web") else {
                    return Some((template, refusal(422, "Validation Failed")));
                };
                if self.hooks.iter().any(|h| h.org == org && h.url == url) {
                    return Some((template, refusal(422, "Hook already exists on this organization")));
                }
                let login = self.users[org as usize].login.clone();
                let (url, ix) = (url.to_owned(), self.hooks.len());
                self.add_hook(&login, &url);
                self.hooks[ix].secret = None;
                // GitHub's defaults.
                self.hooks[ix].content_type = "form".into();
                self.hooks[ix].events = vec!["push".into()];
                self.change_hook(ix, &body);
                self.configure(ix, config);
                Answer::Status(201, self.hook_json(&self.hooks[ix]).to_string(), vec![])
            }
            ("PATCH", [id]) => match at(self, id) {
                None => not_found(),
                Some(ix) => {
                    self.change_hook(ix, &body);
                    // GitHub: a change without a secret takes it away.
                    if body.get("config").is_some() {
                        self.hooks[ix].secret = None;
                        self.configure(ix, &body["config"]);
                    }
                    Answer::Object(self.hook_json(&self.hooks[ix]).to_string())
                }
            },
            ("PATCH", [id, "config"]) => match at(self, id) {
                None => not_found(),
                Some(ix) => {
                    self.configure(ix, &body);
                    Answer::Object(self.hook_json(&self.hooks[ix])["config"].to_string())
                }
            },
            _ => not_found(),
        };
        Some((template, answer))
    }

    fn change_hook(&mut self, hook: usize, body: &Value) {
        let hook = &mut self.hooks[hook];
        if let Some(active) = body["active"].as_bool() {
            hook.active = active;
        }
        if let Some(events) = body["events"].as_array() {
            hook.events = events.iter().filter_map(Value::as_str).map(str::to_owned).collect();
        }
    }

    fn configure(&mut self, hook: usize, config: &Value) {
        let hook = &mut self.hooks[hook];
        let text = |key: &str| config[key].as_str().map(str::to_owned);
        if let Some(url) = text("url") {
            hook.url = url;
        }
        if let Some(content_type) = text("content_type") {
            hook.content_type = content_type;
        }
        hook.secret = text("secret").or(hook.secret.take());
    }
}
