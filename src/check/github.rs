//! Tokens, the App, and what they are shown of each organisation.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use chrono::{TimeDelta, Utc};
use futures::StreamExt;
use futures::stream;
use serde_json::Value;

use super::judge::has;
use super::{Access, CheckedApp, CheckedOrganization, CheckedToken, GithubSide, Webhooks};
use crate::github::{Accept, ApiUrl, Fetched, Get, GitHub, Installation, Meter, Page, TokenRef, TokenState};
use crate::secret::Secret;

/// A question that is not answered by then is given up: whoever checks does not want to wait for a limit's end.
const PATIENCE: Duration = Duration::from_secs(30);
/// A pause that is over sooner is waited for.
const WORTH_WAITING: TimeDelta = TimeDelta::seconds(10);
/// How often it is looked whether a token pauses.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// Organisations that are asked about side by side.
const AT_A_TIME: usize = 8;
/// What it needs to look after webhooks.
const HOOKS: (&str, &str) = ("organization_hooks", "write");

/// What is to be checked.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// The organisations that are to be read.
    pub organizations: Vec<String>,
    /// Whether they are to have webhooks, and if so, whether there is a secret to sign deliveries with.
    pub webhooks: Option<bool>,
    /// The tokens to read with.
    pub read: Vec<Secret>,
    /// The token that manages webhooks, and whether it was set for just this: else the App may stand in for it.
    pub hooks: Option<(Secret, bool)>,
    /// The App's id, where one is set.
    pub app: Option<String>,
}

/// Who asks GitHub.
struct Asker<'a> {
    github: &'a GitHub,
    meter: &'a Meter,
    /// Tokens that gave no answer once, and why, are not waited for again.
    silent: Mutex<HashMap<String, String>>,
    /// How many seconds GitHub's clock is ahead, as the last answer told.
    ahead: Mutex<Option<i64>>,
}

/// Why there is no answer.
struct Unanswered {
    why: String,
    /// GitHub keeps it from the token, which is an answer too.
    refused: bool,
}

/// A token that can be used, and what for.
struct Usable {
    token: TokenRef,
    reads: bool,
    hooks: bool,
}

/// Asks GitHub about each of the client's tokens, which are all that are wanted, and about each organisation.
pub async fn look_at_github(github: &GitHub, wanted: &Wanted) -> GithubSide {
    let (mut side, meter) = (GithubSide::default(), Meter::default());
    let asker = Asker { github, meter: &meter, silent: Mutex::default(), ahead: Mutex::default() };
    side.app = asker.app(wanted).await;
    let tokens = github.tokens();
    let asked = tokens.iter().map(|token| asker.token(token));
    let checked: Vec<CheckedToken> = stream::iter(asked).buffered(AT_A_TIME).collect().await;
    let mut usable = Vec::new();
    for (token, mut checked) in tokens.into_iter().zip(checked) {
        let is_app = token.installed_on.is_some();
        let nobody = token.fingerprint.is_empty();
        let reads = is_app || nobody || wanted.read.iter().any(|secret| token.is(secret));
        let hooks = match &wanted.hooks {
            Some((secret, own)) => (is_app && !own) || token.is(secret),
            None => is_app,
        };
        checked.uses =
            [(reads, "read"), (hooks, "webhooks")].iter().filter(|(is, _)| *is).map(|(_, use_)| *use_).collect();
        if checked.problem.is_none() {
            usable.push(Usable { token, reads, hooks });
        }
        side.tokens.push(checked);
    }
    let asked = wanted.organizations.iter().map(|login| asker.organization(login, &usable));
    side.organizations = stream::iter(asked).buffered(AT_A_TIME).collect().await;
    side.clock_ahead_seconds = *asker.ahead.lock().unwrap_or_else(PoisonError::into_inner);
    side.judge(wanted, github.installations());
    side.requests = meter.counted();
    side
}

impl Asker<'_> {
    async fn app(&self, wanted: &Wanted) -> Option<CheckedApp> {
        let mut app = CheckedApp { id: wanted.app.clone()?, name: None, installed_on: Vec::new(), problem: None };
        let asked = async {
            let page = self.github.app(self.meter).await?;
            self.github.find_installations(self.meter).await.map(|()| page)
        };
        match tokio::time::timeout(PATIENCE, asked).await {
            Ok(Ok(page)) => {
                app.name = page.as_ref().and_then(|page| text(page, "name"));
                self.hear(page.as_ref());
            }
            Ok(Err(error)) => app.problem = Some(error.to_string()),
            Err(_) => app.problem = Some(no_answer()),
        }
        // Where there are other tokens, they go on without it.
        let hint = format!("App {}", app.id);
        let out = self.github.out_for("").into_iter().find(|(out, _)| *out == hint);
        app.problem = app.problem.or(out.map(|(_, why)| why));
        app.installed_on = self.github.installations().iter().map(|on| on.account.clone()).collect();
        Some(app)
    }

    async fn ask(&self, url: ApiUrl, token: &TokenRef) -> Result<Page, Unanswered> {
        let failed = |why| Unanswered { why, refused: false };
        let silent = || self.silent.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(why) = silent().get(&token.fingerprint) {
            return Err(failed(why.clone()));
        }
        let only = Some(token.clone());
        let request = Get { url, repo: None, accept: Accept::Json, validator: None, divisible: false, only };
        let why = tokio::select! {
            fetched = self.github.get(&request, self.meter) => {
                return match fetched {
                    Ok(Fetched::Page(page)) => {
                        self.hear(Some(&page));
                        Ok(*page)
                    }
                    Ok(Fetched::Unchanged) => Err(failed("304 to an unconditional request".to_owned())),
                    Err(error) => Err(Unanswered { refused: error.is_refusal(), why: error.to_string() }),
                };
            }
            why = self.pause_of(token) => why,
            () = tokio::time::sleep(PATIENCE) => no_answer(),
        };
        silent().insert(token.fingerprint.clone(), why.clone());
        Err(failed(why))
    }

    /// Returns when the token pauses for long, with the words for it.
    async fn pause_of(&self, token: &TokenRef) -> String {
        loop {
            tokio::time::sleep(LOOK_AGAIN).await;
            if let Some((until, reason)) = self.github.token_state(token).paused
                && until - Utc::now() > WORTH_WAITING
            {
                return format!("it waits for {reason} until {}", until.format("%Y-%m-%d %H:%M UTC"));
            }
        }
    }

    /// Takes the time from an answer.
    fn hear(&self, page: Option<&Page>) {
        if let Some(date) = page.and_then(|page| page.date) {
            let ahead = (date - Utc::now()).num_seconds();
            *self.ahead.lock().unwrap_or_else(PoisonError::into_inner) = Some(ahead);
        }
    }

    /// Asks for the first row of a list, and how many there are.
    async fn count(&self, url: ApiUrl, token: &TokenRef) -> Result<u64, Unanswered> {
        let page = self.ask(url.clone().query("per_page", "1"), token).await?;
        let rows = serde_json::from_slice::<Vec<serde_json::Map<String, Value>>>(&page.body);
        let rows = rows.map_err(|_| Unanswered { why: format!("GET {url}: the answer is no list"), refused: false })?;
        Ok(page.links.last_page().map_or(rows.len() as u64, u64::from))
    }

    /// Whether a token is shown a list; what can't be told is a problem of the access.
    async fn is_shown(&self, url: ApiUrl, token: &TokenRef, access: &mut Access) -> bool {
        match self.count(url, token).await {
            Ok(_) => true,
            Err(unanswered) if unanswered.refused => false,
            Err(unanswered) => {
                access.problem.get_or_insert(unanswered.why);
                false
            }
        }
    }

    /// What a token is. That costs one request, and one that is free.
    async fn token(&self, token: &TokenRef) -> CheckedToken {
        let mut checked = CheckedToken { token: token.hint.clone(), ..CheckedToken::default() };
        // First what is free: a token with nothing left would wait for its next hour.
        let limits = self.ask(ApiUrl::path(&["rate_limit"]), token).await;
        let state = self.github.token_state(token);
        checked.take(&state);
        let installation = self.github.installations().iter().find(|on| on.token.as_ref() == Some(token));
        if let Some(installation) = installation {
            (checked.kind, checked.login) = ("App", Some(installation.account.clone()));
            checked.rights = Some(permissions(installation));
        }
        if checked.remaining == Some(0) {
            checked.problem = Some("nothing is left of its hour, so that no more was asked".to_owned());
            return checked;
        }
        let nobody = token.fingerprint.is_empty();
        if nobody {
            checked.kind = "none";
        }
        // A server without limits has no such address: what only GitHub answers tells whether it is one.
        let asked = match (installation, nobody) {
            (Some(_), _) => {
                self.ask(ApiUrl::path(&["installation", "repositories"]).query("per_page", "1"), token).await
            }
            (None, true) if limits.is_ok() => limits,
            (None, true) => self.ask(ApiUrl::path(&["meta"]), token).await,
            (None, false) => self.ask(ApiUrl::path(&["user"]), token).await,
        };
        match asked {
            Err(unanswered) => checked.problem = Some(unanswered.why),
            Ok(page) if installation.is_some() => {
                if number(&page, "total_count").is_none() {
                    checked.problem = Some("GitHub's answer does not say what it is shown".to_owned());
                }
            }
            Ok(_) if nobody => {}
            Ok(page) => {
                checked.login = text(&page, "login");
                if checked.login.is_none() {
                    checked.problem = Some("GitHub's answer does not say whose it is".to_owned());
                }
                let state = self.github.token_state(token);
                checked.take(&state);
                // GitHub tells the scopes of classic tokens alone.
                checked.kind = if state.scopes.is_some() { "classic" } else { "fine-grained" };
                checked.rights = state.scopes;
            }
        }
        checked
    }

    /// An organisation. Whether it is one costs one request.
    async fn organization(&self, login: &str, usable: &[Usable]) -> CheckedOrganization {
        let mut checked = CheckedOrganization { organization: login.to_owned(), ..CheckedOrganization::default() };
        // An installation elsewhere is shown what everybody is.
        let foreign = |one: &&Usable| one.token.is_foreign_to(login);
        let (_, near): (Vec<&Usable>, Vec<&Usable>) = usable.iter().partition(foreign);
        let Some(first) = near.first().copied().or(usable.first()) else {
            checked.problem = Some("there is no token to ask with".to_owned());
            return checked;
        };
        match self.ask(ApiUrl::path(&["users", login]), &first.token).await {
            Ok(page) => match text(&page, "type") {
                Some(kind) => checked.person = kind != "Organization",
                None => checked.problem = Some("GitHub's answer does not say what account it is".to_owned()),
            },
            Err(problem) => checked.problem = Some(problem.why),
        }
        if checked.problem.is_some() || checked.person {
            return checked;
        }
        for one in &near {
            checked.access.push(self.access(login, one).await);
        }
        let mut reading = checked.access.iter().zip(&near).filter(|(_, one)| one.reads);
        if !reading.any(|(access, _)| access.problem.is_none()) {
            let why: Vec<&str> = checked.access.iter().filter_map(|access| access.problem.as_deref()).collect();
            checked.problem = Some(match &why[..] {
                [] => "no token may read it: only public repositories would be listed".to_owned(),
                why => format!("no token can list its repositories: {}", why.join("; ")),
            });
        }
        checked
    }

    /// What a token is shown of an organisation. That costs three requests, or two.
    async fn access(&self, login: &str, one: &Usable) -> Access {
        let token = &one.token;
        let mut access = Access { token: token.hint.clone(), ..Access::default() };
        let list = |what: &str| ApiUrl::path(&["orgs", login, what]);
        match self.count(list("repos").query("type", "private"), token).await {
            Ok(count) => access.private_repositories = Some(count),
            Err(problem) => access.problem = Some(problem.why),
        }
        if one.reads && access.problem.is_none() {
            access.member = self.is_shown(list("teams"), token, &mut access).await;
        }
        if one.hooks && self.is_shown(list("hooks"), token, &mut access).await {
            access.webhooks = match self.may_write_hooks(token) {
                Some(true) => Webhooks::Yes,
                Some(false) => Webhooks::No,
                None => Webhooks::Seen,
            };
        }
        access
    }

    /// Whether a token may change webhooks that it is shown, where GitHub tells.
    fn may_write_hooks(&self, token: &TokenRef) -> Option<bool> {
        if let Some(on) = self.github.installations().iter().find(|on| on.token.as_ref() == Some(token)) {
            return Some(has(on, HOOKS));
        }
        let scopes = self.github.token_state(token).scopes?;
        Some(scopes.split(',').any(|scope| matches!(scope.trim(), "admin:org_hook" | "write:org_hook")))
    }
}

impl CheckedToken {
    fn take(&mut self, state: &TokenState) {
        self.expires_at = state.expires;
        self.resets_at = state.resets_at;
        if let Some((remaining, limit)) = state.budget.filter(|(_, limit)| *limit < u64::MAX) {
            (self.remaining, self.limit) = (Some(remaining), Some(limit));
        }
    }
}

fn permissions(on: &Installation) -> String {
    on.permissions.iter().map(|(name, level)| format!("{name}: {level}")).collect::<Vec<_>>().join(", ")
}

fn text(page: &Page, key: &str) -> Option<String> {
    serde_json::from_slice::<Value>(&page.body).ok()?.get(key)?.as_str().map(str::to_owned)
}

fn number(page: &Page, key: &str) -> Option<u64> {
    serde_json::from_slice::<Value>(&page.body).ok()?.get(key)?.as_u64()
}

fn no_answer() -> String {
    format!("no answer within {} s", PATIENCE.as_secs())
}
