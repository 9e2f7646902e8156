//! Tokens, the App, and what they are shown of each organisation.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use chrono::{TimeDelta, Utc};
use futures::StreamExt;
use futures::stream;
use serde_json::Value;

use super::{Access, CheckedApp, CheckedOrganization, CheckedToken, GithubSide, Webhooks};
use crate::github::{Accept, ApiUrl, Fetched, Get, GitHub, Installation, Meter, Page, TokenRef, TokenState};
use crate::secret::Secret;

/// A question that is not answered by then is given up: whoever checks does not want to wait for a limit's end.
const PATIENCE: Duration = Duration::from_secs(60);
/// Organisations that are asked about side by side.
const AT_A_TIME: usize = 8;
/// What an App needs to mirror an organisation.
const NEEDED: [(&str, &str); 5] =
    [("metadata", "read"), ("contents", "read"), ("issues", "read"), ("pull_requests", "read"), ("members", "read")];
/// What it needs to look after webhooks.
const HOOKS: (&str, &str) = ("organization_hooks", "write");
/// GitHub's order of permissions.
const LEVELS: [&str; 3] = ["read", "write", "admin"];
/// A clock that is further off makes times in logs and reports hard to compare, and an App's signature invalid.
const CLOCK_OFF: i64 = 60;
/// A token that ends within this time is worth a line.
const ENDS_SOON: TimeDelta = TimeDelta::days(7);

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
    /// Tokens that gave no answer once are not waited for again.
    silent: Mutex<HashSet<String>>,
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
    look_at_app(github, wanted, &meter, &mut side).await;
    let asker = Asker { github, meter: &meter, silent: Mutex::default() };
    let mut usable = Vec::new();
    for token in github.tokens() {
        let is_app = token.installed_on.is_some();
        let nobody = token.fingerprint.is_empty();
        let reads = is_app || nobody || wanted.read.iter().any(|secret| token.is(secret));
        let hooks = match &wanted.hooks {
            Some((secret, own)) => (is_app && !own) || token.is(secret),
            None => is_app,
        };
        let mut checked = asker.token(&token, &mut side).await;
        checked.uses =
            [(reads, "read"), (hooks, "webhooks")].iter().filter(|(is, _)| *is).map(|(_, use_)| *use_).collect();
        if checked.problem.is_none() {
            usable.push(Usable { token, reads, hooks });
        }
        side.tokens.push(checked);
    }
    let asked = wanted.organizations.iter().map(|login| asker.organization(login, &usable));
    side.organizations = stream::iter(asked).buffered(AT_A_TIME).collect().await;
    side.judge(wanted, github.installations());
    side.requests = meter.counted();
    side
}

async fn look_at_app(github: &GitHub, wanted: &Wanted, meter: &Meter, side: &mut GithubSide) {
    let Some(id) = &wanted.app else { return };
    let mut app = CheckedApp { id: id.clone(), name: None, installed_on: Vec::new(), problem: None };
    let asked = async {
        let page = github.app(meter).await?;
        github.find_installations(meter).await.map(|()| page)
    };
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(Ok(page)) => {
            app.name = page.as_ref().and_then(|page| text(page, "name"));
            side.hear(page.as_ref());
        }
        Ok(Err(error)) => app.problem = Some(error.to_string()),
        Err(_) => app.problem = Some(no_answer()),
    }
    app.installed_on = github.installations().iter().map(|on| on.account.clone()).collect();
    side.app = Some(app);
}

impl Asker<'_> {
    async fn ask(&self, url: ApiUrl, token: &TokenRef) -> Result<Page, Unanswered> {
        let failed = |why| Unanswered { why, refused: false };
        let silent = || self.silent.lock().unwrap_or_else(PoisonError::into_inner);
        if silent().contains(&token.fingerprint) {
            return Err(failed("not asked: it gave no answer before".to_owned()));
        }
        let only = Some(token.clone());
        let request = Get { url, repo: None, accept: Accept::Json, validator: None, divisible: false, only };
        match tokio::time::timeout(PATIENCE, self.github.get(&request, self.meter)).await {
            Ok(Ok(Fetched::Page(page))) => Ok(*page),
            Ok(Ok(Fetched::Unchanged)) => Err(failed("304 to an unconditional request".to_owned())),
            Ok(Err(error)) => Err(Unanswered { refused: error.is_refusal(), why: error.to_string() }),
            Err(_) => {
                silent().insert(token.fingerprint.clone());
                Err(failed(no_answer()))
            }
        }
    }

    /// Whether a token is shown something; what can't be told is a problem of the access.
    async fn is_shown(&self, url: ApiUrl, token: &TokenRef, access: &mut Access) -> bool {
        match self.ask(url, token).await {
            Ok(_) => true,
            Err(unanswered) if unanswered.refused => false,
            Err(unanswered) => {
                access.problem.get_or_insert(unanswered.why);
                false
            }
        }
    }

    /// What a token is. That costs one request, and one that is free.
    async fn token(&self, token: &TokenRef, side: &mut GithubSide) -> CheckedToken {
        let mut checked = CheckedToken { token: token.hint.clone(), ..CheckedToken::default() };
        // First what is free: a token with nothing left would wait for its next hour.
        let limits = self.ask(ApiUrl::path(&["rate_limit"]), token).await;
        side.hear(limits.as_ref().ok());
        let state = self.github.token_state(token);
        checked.take(&state);
        let installation = self.github.installations().iter().find(|on| on.token.as_ref() == Some(token));
        if let Some(installation) = installation {
            (checked.kind, checked.login) = ("App", Some(installation.account.clone()));
            checked.rights = Some(permissions(installation));
        }
        // A server without limits has no such address.
        if let Err(problem) = &limits
            && (state.out.is_some() || state.budget.is_none())
        {
            checked.problem = Some(problem.why.clone());
            return checked;
        }
        if checked.remaining == Some(0) {
            checked.problem = Some("nothing is left of its hour, so that no more was asked".to_owned());
            return checked;
        }
        if installation.is_some() {
            return checked;
        }
        if token.fingerprint.is_empty() {
            checked.kind = "none";
            return checked;
        }
        match self.ask(ApiUrl::path(&["user"]), token).await {
            Ok(page) => {
                checked.login = text(&page, "login");
                side.hear(Some(&page));
            }
            Err(problem) if self.github.token_state(token).out.is_some() => checked.problem = Some(problem.why),
            Err(problem) => side.notes.push(format!("whose {} is can't be told: {}", token.hint, problem.why)),
        }
        let state = self.github.token_state(token);
        checked.take(&state);
        // GitHub tells the scopes of classic tokens alone.
        checked.kind = if state.scopes.is_some() { "classic" } else { "fine-grained" };
        checked.rights = state.scopes;
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
            Ok(page) => checked.person = text(&page, "type").is_some_and(|kind| kind != "Organization"),
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
        let first = |path: &[&str]| ApiUrl::path(path).query("per_page", "1");
        match self.ask(first(&["orgs", login, "repos"]).query("type", "private"), token).await {
            Ok(page) => access.private_repositories = Some(count(&page)),
            Err(problem) => access.problem = Some(problem.why),
        }
        if one.reads && access.problem.is_none() {
            access.member = self.is_shown(first(&["orgs", login, "teams"]), token, &mut access).await;
        }
        if one.hooks && self.is_shown(first(&["orgs", login, "hooks"]), token, &mut access).await {
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

impl GithubSide {
    /// Takes the time from an answer.
    fn hear(&mut self, page: Option<&Page>) {
        let date = page.and_then(|page| page.date);
        self.clock_ahead_seconds = date.map(|date| (date - Utc::now()).num_seconds()).or(self.clock_ahead_seconds);
    }

    /// Says what is missing, and what is worth knowing.
    fn judge(&mut self, wanted: &Wanted, installations: &[Installation]) {
        self.judge_installations(installations, wanted);
        let (mut problems, mut notes) = (Vec::new(), Vec::new());
        if let Some(app) = &self.app {
            problems.extend(app.problem.iter().map(|problem| format!("the App: {problem}")));
            if app.problem.is_none() {
                let outside = |login: &&String| !app.installed_on.iter().any(|on| on.eq_ignore_ascii_case(login));
                let outside: Vec<&String> = wanted.organizations.iter().filter(outside).collect();
                notes.extend(outside.iter().map(|login| format!("the App is not installed on {login}")));
            }
        }
        for token in &self.tokens {
            let CheckedToken { token, expires_at, kind, rights, problem, .. } = token;
            problems.extend(problem.iter().map(|problem| format!("{token}: {problem}")));
            if let Some(at) = expires_at.filter(|at| *at - Utc::now() < ENDS_SOON) {
                notes.push(format!("{token} ends at {}", at.format("%Y-%m-%d %H:%M UTC")));
            }
            if let (&"classic", Some(scopes)) = (kind, rights) {
                let has = |any: &[&str]| scopes.split(',').any(|scope| any.contains(&scope.trim()));
                if !has(&["repo"]) {
                    notes.push(format!("{token} has not the scope repo: it is shown public repositories only"));
                }
                if !has(&["read:org", "write:org", "admin:org"]) {
                    notes.push(format!("{token} has not the scope read:org: it is not shown teams"));
                }
            }
        }
        for CheckedOrganization { organization, person, access, problem } in &self.organizations {
            if let Some(problem) = problem {
                problems.push(format!("{organization}: {problem}"));
                continue;
            }
            if *person {
                notes.push(format!("{organization} is a person: the person's own repositories are taken"));
                continue;
            }
            if !access.iter().any(|access| access.member) {
                notes.push(format!("{organization}: no token is a member's: members and teams will not be read"));
            }
            if wanted.webhooks.is_some() && access.iter().all(|access| access.webhooks == Webhooks::No) {
                problems.push(format!(
                    "{organization}: no token may manage its webhooks: a classic one needs admin:org_hook of an owner, \
                     others the organisation permission Webhooks"
                ));
            }
        }
        if wanted.webhooks == Some(false) {
            problems.push("webhooks.public_url is set and webhooks.secret is not: no webhook can be made".to_owned());
        }
        if wanted.read.is_empty() && wanted.app.is_none() {
            notes.push(
                "there is no token to read with: GitHub answers 60 requests an hour, about what is public".to_owned(),
            );
        }
        if let Some(ahead) = self.clock_ahead_seconds.filter(|ahead| ahead.abs() > CLOCK_OFF) {
            let way = if ahead > 0 { "behind" } else { "ahead of" };
            notes.push(format!("this machine's clock is {} s {way} GitHub's: set it by NTP", ahead.abs()));
        }
        self.problems.extend(problems);
        self.notes.extend(notes);
    }

    /// What the App's installations lack. That is a problem where they are wanted.
    fn judge_installations(&mut self, installations: &[Installation], wanted: &Wanted) {
        for on in installations {
            let is_wanted = wanted.organizations.iter().any(|login| login.eq_ignore_ascii_case(&on.account));
            let list = if is_wanted { &mut self.problems } else { &mut self.notes };
            if on.suspended {
                list.push(format!("the App is suspended on {}: its owner has to let it in again", on.account));
                continue;
            }
            // Whether any token may manage the webhooks is seen organisation by organisation.
            let needed = NEEDED.into_iter().filter(|needed| on.organization || needed.0 != "members");
            let lacking: Vec<String> =
                needed.filter(|needed| !has(on, *needed)).map(|(name, level)| format!("{name}: {level}")).collect();
            if !lacking.is_empty() {
                list.push(format!("the App lacks permissions on {}: {}", on.account, lacking.join(", ")));
            }
            if on.selected {
                self.notes.push(format!("on {} the App is shown selected repositories only", on.account));
            }
        }
    }
}

/// Whether an installation has a permission, or more.
fn has(on: &Installation, (name, level): (&str, &str)) -> bool {
    let rank = |level: &str| LEVELS.iter().position(|known| *known == level);
    on.permissions.iter().any(|(has, at)| has == name && rank(at) >= rank(level))
}

fn permissions(on: &Installation) -> String {
    on.permissions.iter().map(|(name, level)| format!("{name}: {level}")).collect::<Vec<_>>().join(", ")
}

fn text(page: &Page, key: &str) -> Option<String> {
    serde_json::from_slice::<Value>(&page.body).ok()?.get(key)?.as_str().map(str::to_owned)
}

/// How many rows a list has of which one was asked for.
fn count(page: &Page) -> u64 {
    let rows = serde_json::from_slice::<Vec<Value>>(&page.body).map_or(0, |rows| rows.len() as u64);
    page.links.last_page().map_or(rows, u64::from)
}

fn no_answer() -> String {
    format!("no answer within {} s", PATIENCE.as_secs())
}
