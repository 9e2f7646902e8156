//! `msght check`: tries everything that a run needs.

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{Outcome, client_settings, new_client, one_line, plain_table, print};
use crate::check::{
    CheckedOrganization, CheckedToken, GithubSide, Part, Wanted, Webhooks, look_at_github, look_at_outlets,
    look_at_stores,
};
use crate::cli::CheckArgs;
use crate::config::Settings;
use crate::lists::{ListError, Orgs};
use crate::telemetry::Console;

/// Looks at it all, and says what is there and what is missing.
///
/// # Errors
/// An `orgs.txt` or a setting that can't be used, or standard output that can't be written.
pub async fn run(
    mut settings: Settings,
    args: CheckArgs,
    console: Console,
    shutdown: CancellationToken,
) -> anyhow::Result<Outcome> {
    let mut notes = settings.exposed_secrets();
    let organizations = match Orgs::read(&args.orgs, false) {
        Ok(orgs) => orgs.logins,
        Err(error @ (ListError::Missing { .. } | ListError::Empty { .. })) => {
            notes.push(error.to_string());
            Vec::new()
        }
        Err(error) => return Err(error.into()),
    };
    let hook_token = settings.hook_token();
    let wanted = Wanted {
        organizations,
        webhooks: settings.webhooks.public_url.as_ref().map(|_| settings.webhooks.secret.is_some()),
        read: settings.tokens().into_iter().map(|token| token.secret).collect(),
        hooks: hook_token.map(|token| (token, settings.github.hook_token.is_some())),
        app: settings.app().map(|(id, _)| id.to_owned()),
    };
    settings.github.tokens.extend(settings.github.hook_token.clone());
    // What there is to say of a token is in the table. And no store is needed to ask GitHub, nor its ledger of tokens.
    let mut asking = client_settings(&settings, None, |notice| tracing::warn!(%notice, "GitHub"));
    // A few requests more or less are no matter, and a wait for a reserve's sake would be.
    asking.tokens.iter_mut().for_each(|token| token.reserve = 0);
    asking.app.iter_mut().for_each(|app| app.reserve = 0);
    notes.extend(asking.plain_text_warning());
    let github = new_client(asking)?;
    console.line("asking GitHub");
    let github_side = tokio::select! {
        side = look_at_github(&github, &wanted) => side,
        () = shutdown.cancelled() => return Ok(Outcome::Incomplete),
    };
    let mut parts = look_at_stores(&settings).await;
    parts.extend(look_at_outlets(&settings).await);
    let checked = Checked { github: github_side, parts, notes };
    print(if args.json { checked.as_json()? } else { checked.as_text() }.as_bytes())?;
    let problems = checked.problems();
    if problems.is_empty() {
        return Ok(Outcome::Complete);
    }
    for problem in &problems {
        console.error(&format!("error: {problem}"));
    }
    console.error(&format!("{} of what a run needs is missing", problems.len()));
    Ok(Outcome::Incomplete)
}

struct Checked {
    github: GithubSide,
    parts: Vec<Part>,
    notes: Vec<String>,
}

impl Checked {
    fn problems(&self) -> Vec<String> {
        let part = |part: &Part| part.looked.as_ref().err().map(|error| format!("{}: {error}", part.name));
        self.github.problems.iter().cloned().chain(self.parts.iter().filter_map(part)).collect()
    }

    fn notes(&self) -> Vec<&String> {
        self.notes.iter().chain(&self.github.notes).collect()
    }

    fn as_json(&self) -> anyhow::Result<String> {
        let parts: Value = self.parts.iter().map(|part| (part.name.to_owned(), part_as_json(part))).collect();
        let (problems, notes) = (self.problems(), self.notes());
        let all = json!({
            "ok": problems.is_empty(),
            "tokens": self.github.tokens,
            "app": self.github.app,
            "organizations": self.github.organizations,
            "clock_ahead_seconds": self.github.clock_ahead_seconds,
            "requests": self.github.requests,
            "parts": parts,
            "problems": problems,
            "notes": notes,
        });
        Ok(format!("{}\n", serde_json::to_string_pretty(&all)?))
    }

    fn as_text(&self) -> String {
        let GithubSide { tokens, app, organizations, clock_ahead_seconds, requests, .. } = &self.github;
        let header = ["token", "of", "kind", "for", "left of an hour", "ends", "scopes or permissions", "found"];
        let mut text = plain_table(header, tokens.iter().map(token_row).collect());
        if let Some(app) = app {
            let on = if app.installed_on.is_empty() { "nothing".to_owned() } else { app.installed_on.join(", ") };
            let name = app.name.as_ref().map_or(String::new(), |name| format!(" ({name})"));
            text.push_str(&format!("\n{}\n", one_line(&format!("App {}{name}, installed on {on}", app.id))));
        }
        if !organizations.is_empty() {
            let header = ["organisation", "token", "private repositories", "member", "webhooks", "found"];
            text.push('\n');
            text.push_str(&plain_table(header, organizations.iter().flat_map(organization_rows).collect()));
        }
        text.push('\n');
        text.push_str(&parts_as_table(&self.parts));
        let clock = match clock_ahead_seconds {
            None => "not told".to_owned(),
            Some(ahead @ ..0) => format!("{} s behind this machine's", -ahead),
            Some(ahead) => format!("{ahead} s ahead of this machine's"),
        };
        text.push_str(&format!("\nGitHub's clock: {clock}; requests used: {requests}\n"));
        for note in self.notes() {
            text.push_str(&format!("note: {}\n", one_line(note)));
        }
        text
    }
}

fn or_dash<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

fn token_row(token: &CheckedToken) -> [String; 8] {
    let left = token.remaining.zip(token.limit).map(|(left, limit)| format!("{left} of {limit}"));
    [
        token.token.clone(),
        or_dash(token.login.as_ref()),
        if token.kind.is_empty() { "-" } else { token.kind }.to_owned(),
        token.uses.join(", "),
        or_dash(left),
        or_dash(token.expires_at.map(|at| at.format("%Y-%m-%d %H:%M").to_string())),
        or_dash(token.rights.as_ref().filter(|rights| !rights.is_empty())),
        token.problem.clone().unwrap_or_else(|| "fine".to_owned()),
    ]
}

fn organization_rows(checked: &CheckedOrganization) -> Vec<[String; 6]> {
    let name = &checked.organization;
    if checked.access.is_empty() {
        let found = match (&checked.problem, checked.person) {
            (Some(problem), _) => problem.clone(),
            (None, true) => "a person".to_owned(),
            (None, false) => "fine".to_owned(),
        };
        return vec![[name.clone(), "-".into(), "-".into(), "-".into(), "-".into(), found]];
    }
    let row = |access: &crate::check::Access| {
        let webhooks = match access.webhooks {
            Webhooks::No => "no",
            Webhooks::Seen => "seen",
            Webhooks::Yes => "yes",
        };
        [
            name.clone(),
            access.token.clone(),
            or_dash(access.private_repositories),
            if access.member { "yes" } else { "no" }.to_owned(),
            webhooks.to_owned(),
            access.problem.clone().unwrap_or_else(|| "fine".to_owned()),
        ]
    };
    checked.access.iter().map(row).collect()
}

/// Stores and places, one a line.
pub(super) fn parts_as_table(parts: &[Part]) -> String {
    let row = |Part { name, url, looked }: &Part| match looked {
        Ok(found) => [(*name).to_owned(), found.product.clone(), found.place.clone(), found.state.clone()],
        Err(error) => {
            let problem = format!("{}; {}", error.problem, error.advice);
            [(*name).to_owned(), "unusable".to_owned(), url.clone(), problem]
        }
    };
    plain_table(["store", "product", "place", "found"], parts.iter().map(row).collect())
}

/// A store or a place for machines.
pub(super) fn part_as_json(Part { url, looked, .. }: &Part) -> Value {
    match looked {
        Ok(found) => {
            json!({"url": url, "usable": true, "product": found.product, "place": found.place, "found": found.state})
        }
        Err(error) => json!({"url": url, "usable": false, "problem": error.problem, "advice": error.advice}),
    }
}
