//! Probes tokens, the App, and their access to each organization.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use chrono::{TimeDelta, Utc};
use futures::StreamExt;
use futures::stream;
use serde_json::Value;

use super::findings::has_permission;
use super::report::{Access, CheckedApp, CheckedOrganization, CheckedToken, Expected, GithubReport, WebhookAccess};
use crate::github::{ApiUrl, Fetched, GitHub, Installation, Page, Request, RequestCounter, TokenRef, TokenState};

/// A request is given up after this time: a check does not wait for the end of a rate limit.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// A token's pause that ends within this time is waited for.
const MAX_PAUSE: TimeDelta = TimeDelta::seconds(10);
/// Interval at which a token is checked for a pause while it has a request.
const PAUSE_POLL_INTERVAL: Duration = Duration::from_millis(200);
/// Tokens, then organizations, that are probed concurrently.
const MAX_CONCURRENT_PROBES: usize = 8;
/// The permission to manage an organization's webhooks.
const MANAGE_WEBHOOKS: (&str, &str) = ("organization_hooks", "write");

/// The sender of a check's requests, each with one given token.
struct Prober<'a> {
    github: &'a GitHub,
    counter: &'a RequestCounter,
    /// Tokens that timed out or pause, by fingerprint, with the reason: they are not waited for again.
    unresponsive: Mutex<HashMap<String, String>>,
    /// Seconds by which GitHub's clock is ahead, by the latest response.
    clock_ahead: Mutex<Option<i64>>,
}

/// A request without a page for an answer.
struct ProbeError {
    reason: String,
    /// GitHub denies the token access, which is a result too.
    is_access_denied: bool,
}

impl ProbeError {
    fn failed(reason: String) -> Self {
        Self { reason, is_access_denied: false }
    }
}

/// A usable token and its uses.
struct UsableToken {
    token: TokenRef,
    reads: bool,
    manages_webhooks: bool,
}

/// Probes each token of the client, which are exactly those of the settings, and each organization.
pub async fn check_github(github: &GitHub, expected: &Expected) -> GithubReport {
    let (mut report, counter) = (GithubReport::default(), RequestCounter::default());
    let prober = Prober { github, counter: &counter, unresponsive: Mutex::default(), clock_ahead: Mutex::default() };
    report.app = prober.app(expected).await;
    let tokens = github.tokens();
    let probes = tokens.iter().map(|token| prober.token(token));
    let checked: Vec<CheckedToken> = stream::iter(probes).buffered(MAX_CONCURRENT_PROBES).collect().await;
    let mut usable = Vec::new();
    for (token, mut checked) in tokens.into_iter().zip(checked) {
        let is_app = token.installed_on.is_some();
        let is_anonymous = token.fingerprint.is_empty();
        let reads = is_app || is_anonymous || expected.read_tokens.iter().any(|secret| token.matches(secret));
        let manages_webhooks = match &expected.hook_token {
            Some((secret, is_dedicated)) => (is_app && !is_dedicated) || token.matches(secret),
            None => is_app,
        };
        checked.uses.extend(reads.then_some("read"));
        checked.uses.extend(manages_webhooks.then_some("webhooks"));
        if checked.problem.is_none() {
            usable.push(UsableToken { token, reads, manages_webhooks });
        }
        report.tokens.push(checked);
    }
    let probes = expected.organizations.iter().map(|login| prober.organization(login, &usable));
    report.organizations = stream::iter(probes).buffered(MAX_CONCURRENT_PROBES).collect().await;
    report.clock_ahead_seconds = *prober.clock_ahead.lock().unwrap_or_else(PoisonError::into_inner);
    report.evaluate(expected, github.installations());
    report.requests = counter.counted();
    report
}

impl Prober<'_> {
    /// Probes the App: its name, its installations, and whether it is disabled.
    async fn app(&self, expected: &Expected) -> Option<CheckedApp> {
        let mut app = CheckedApp { id: expected.app.clone()?, name: None, installed_on: Vec::new(), problem: None };
        let probe = async {
            let page = self.github.app(self.counter).await?;
            self.github.find_installations(self.counter).await.map(|()| page)
        };
        match tokio::time::timeout(REQUEST_TIMEOUT, probe).await {
            Ok(Ok(page)) => {
                app.name = page.as_ref().and_then(|page| text(page, "name"));
                self.record_clock(page.as_ref());
            }
            Ok(Err(error)) => app.problem = Some(error.to_string()),
            Err(_) => app.problem = Some(no_answer()),
        }
        // The client reports no error for it while other tokens remain.
        let hint = format!("App {}", app.id);
        let disabled = self.github.disabled_for("").into_iter().find(|(disabled, _)| *disabled == hint);
        app.problem = app.problem.or(disabled.map(|(_, reason)| reason));
        app.installed_on = self.github.installations().iter().map(|on| on.account.clone()).collect();
        Some(app)
    }

    /// Gets a page with one token, unless it times out or the token pauses for long.
    async fn get(&self, url: ApiUrl, token: &TokenRef) -> Result<Page, ProbeError> {
        let unresponsive = || self.unresponsive.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(reason) = unresponsive().get(&token.fingerprint) {
            return Err(ProbeError::failed(reason.clone()));
        }
        let only = Some(token.clone());
        let request = Request::get(url).token(only);
        let reason = tokio::select! {
            fetched = self.github.send(&request, self.counter) => {
                return match fetched {
                    Ok(Fetched::Page(page)) => {
                        self.record_clock(Some(&page));
                        Ok(*page)
                    }
                    Ok(Fetched::NotModified) => Err(ProbeError::failed("304 to an unconditional request".to_owned())),
                    Err(error) => Err(ProbeError { is_access_denied: error.is_access_denied(), reason: error.to_string() }),
                };
            }
            reason = self.long_pause(token) => reason,
            () = tokio::time::sleep(REQUEST_TIMEOUT) => no_answer(),
        };
        unresponsive().insert(token.fingerprint.clone(), reason.clone());
        Err(ProbeError::failed(reason))
    }

    /// Waits until the token pauses for longer than [`MAX_PAUSE`], and returns a description of the pause.
    async fn long_pause(&self, token: &TokenRef) -> String {
        loop {
            tokio::time::sleep(PAUSE_POLL_INTERVAL).await;
            if let Some((until, reason)) = self.github.token_state(token).paused
                && until - Utc::now() > MAX_PAUSE
            {
                return format!("it waits for {reason} until {}", until.format("%Y-%m-%d %H:%M UTC"));
            }
        }
    }

    /// Records the clock skew that a response shows.
    fn record_clock(&self, page: Option<&Page>) {
        if let Some(date) = page.and_then(|page| page.date) {
            let ahead = (date - Utc::now()).num_seconds();
            *self.clock_ahead.lock().unwrap_or_else(PoisonError::into_inner) = Some(ahead);
        }
    }

    /// Returns the length of a list, by a request for its first row.
    async fn count(&self, url: ApiUrl, token: &TokenRef) -> Result<u64, ProbeError> {
        let page = self.get(url.clone().query("per_page", "1"), token).await?;
        let rows = serde_json::from_slice::<Vec<serde_json::Map<String, Value>>>(&page.body);
        let rows = rows.map_err(|_| ProbeError::failed(format!("GET {url}: the answer is not a list")))?;
        Ok(page.links.last_page().map_or(rows.len() as u64, u64::from))
    }

    /// Probes whether a token can see a list; a failed request is recorded as a problem of the access.
    async fn probe_list(&self, url: ApiUrl, token: &TokenRef, access: &mut Access) -> bool {
        match self.count(url, token).await {
            Ok(_) => true,
            Err(error) if error.is_access_denied => false,
            Err(error) => {
                access.problem.get_or_insert(error.reason);
                false
            }
        }
    }

    /// Probes a token with one request, and one to `/rate_limit`, which is free.
    async fn token(&self, token: &TokenRef) -> CheckedToken {
        let mut checked = CheckedToken { token: token.hint.clone(), ..CheckedToken::default() };
        // The free request comes first: a token with nothing remaining would wait for its next hour.
        let limits = self.get(ApiUrl::path(&["rate_limit"]), token).await;
        let state = self.github.token_state(token);
        checked.record(&state);
        let installation = self.github.installations().iter().find(|on| on.token.as_ref() == Some(token));
        if let Some(installation) = installation {
            (checked.kind, checked.login) = ("App", Some(installation.account.clone()));
            checked.permissions = Some(permission_list(installation));
        }
        if checked.remaining == Some(0) {
            checked.problem = Some("no requests remain in this hour, so it was not checked further".to_owned());
            return checked;
        }
        let is_anonymous = token.fingerprint.is_empty();
        if is_anonymous {
            checked.kind = "none";
        }
        // A server without limits has no `/rate_limit`; `/meta` tells whether it is a GitHub.
        let response = match (installation, is_anonymous) {
            (Some(_), _) => {
                self.get(ApiUrl::path(&["installation", "repositories"]).query("per_page", "1"), token).await
            }
            (None, true) if limits.is_ok() => limits,
            (None, true) => self.get(ApiUrl::path(&["meta"]), token).await,
            (None, false) => self.get(ApiUrl::path(&["user"]), token).await,
        };
        match response {
            Err(error) => checked.problem = Some(error.reason),
            Ok(page) if installation.is_some() => {
                if number(&page, "total_count").is_none() {
                    checked.problem = Some("GitHub's answer has no number of repositories".to_owned());
                }
            }
            Ok(_) if is_anonymous => {}
            Ok(page) => {
                checked.login = text(&page, "login");
                if checked.login.is_none() {
                    checked.problem = Some("GitHub's answer has no login".to_owned());
                }
                let state = self.github.token_state(token);
                checked.record(&state);
                // GitHub names scopes for classic tokens only.
                checked.kind = if state.scopes.is_some() { "classic" } else { "fine-grained" };
                checked.permissions = state.scopes;
            }
        }
        checked
    }

    /// Probes an organization: one request for the type of account, then each token's access.
    async fn organization(&self, login: &str, usable: &[UsableToken]) -> CheckedOrganization {
        let mut checked = CheckedOrganization { organization: login.to_owned(), ..CheckedOrganization::default() };
        // An installation elsewhere sees what is public, as everybody does.
        let candidates: Vec<&UsableToken> =
            usable.iter().filter(|usable| !usable.token.is_installed_elsewhere(login)).collect();
        let Some(first) = candidates.first().copied().or(usable.first()) else {
            checked.problem = Some("there is no usable token".to_owned());
            return checked;
        };
        match self.get(ApiUrl::path(&["users", login]), &first.token).await {
            Ok(page) => match text(&page, "type") {
                Some(kind) => checked.person = kind != "Organization",
                None => checked.problem = Some("GitHub's answer has no type of account".to_owned()),
            },
            Err(error) => checked.problem = Some(error.reason),
        }
        if checked.problem.is_some() || checked.person {
            return checked;
        }
        for usable in &candidates {
            checked.access.push(self.access(login, usable).await);
        }
        let mut reading = checked.access.iter().zip(&candidates).filter(|(_, usable)| usable.reads);
        if !reading.any(|(access, _)| access.problem.is_none()) {
            let reasons: Vec<&str> = checked.access.iter().filter_map(|access| access.problem.as_deref()).collect();
            checked.problem = Some(match &reasons[..] {
                [] => "no token may read it: only public repositories would be listed".to_owned(),
                reasons => format!("no token can list its repositories: {}", reasons.join("; ")),
            });
        }
        checked
    }

    /// Probes a token's access to an organization with two or three requests.
    async fn access(&self, login: &str, usable: &UsableToken) -> Access {
        let token = &usable.token;
        let mut access = Access { token: token.hint.clone(), ..Access::default() };
        let list = |what: &str| ApiUrl::path(&["orgs", login, what]);
        match self.count(list("repos").query("type", "private"), token).await {
            Ok(count) => access.private_repositories = Some(count),
            Err(error) => access.problem = Some(error.reason),
        }
        if usable.reads && access.problem.is_none() {
            access.member = self.probe_list(list("teams"), token, &mut access).await;
        }
        if usable.manages_webhooks && self.probe_list(list("hooks"), token, &mut access).await {
            access.webhooks = match self.may_manage_webhooks(token) {
                Some(true) => WebhookAccess::Write,
                Some(false) => WebhookAccess::None,
                None => WebhookAccess::Read,
            };
        }
        access
    }

    /// Returns whether a token may change webhooks that it can see; `None` where GitHub does not say.
    fn may_manage_webhooks(&self, token: &TokenRef) -> Option<bool> {
        if let Some(on) = self.github.installations().iter().find(|on| on.token.as_ref() == Some(token)) {
            return Some(has_permission(on, MANAGE_WEBHOOKS));
        }
        let scopes = self.github.token_state(token).scopes?;
        Some(scopes.split(',').any(|scope| matches!(scope.trim(), "admin:org_hook" | "write:org_hook")))
    }
}

impl CheckedToken {
    /// Takes over expiry and rate limit.
    fn record(&mut self, state: &TokenState) {
        self.expires_at = state.expires;
        self.resets_at = state.resets_at;
        if let Some((remaining, limit)) = state.budget.filter(|(_, limit)| *limit < u64::MAX) {
            (self.remaining, self.limit) = (Some(remaining), Some(limit));
        }
    }
}

fn permission_list(on: &Installation) -> String {
    on.permissions.iter().map(|(name, level)| format!("{name}: {level}")).collect::<Vec<_>>().join(", ")
}

fn text(page: &Page, key: &str) -> Option<String> {
    serde_json::from_slice::<Value>(&page.body).ok()?.get(key)?.as_str().map(str::to_owned)
}

fn number(page: &Page, key: &str) -> Option<u64> {
    serde_json::from_slice::<Value>(&page.body).ok()?.get(key)?.as_u64()
}

fn no_answer() -> String {
    format!("no answer within {} s", REQUEST_TIMEOUT.as_secs())
}
