//! `msght check`: checks everything that a run needs.

use serde_json::{Value, json};

use super::app::build_client;
use super::output::{one_line, plain_table, pretty_json, print};
use super::{App, CommandOutcome};
use crate::check::{
    Access, BackendCheck, CheckedOrganization, CheckedToken, Expected, GithubReport, WebhookAccess, check_github,
    check_outputs, check_stores,
};
use crate::cli::CheckArgs;
use crate::list_files::{ListError, Orgs};

/// Checks tokens, organizations, stores and outputs, and prints what works and what is missing.
///
/// # Errors
/// An `orgs.txt` or a setting that can't be used, or standard output that can't be written.
pub(super) async fn run(mut app: App, args: &CheckArgs) -> anyhow::Result<CommandOutcome> {
    let mut notes = app.settings.exposed_secrets();
    let organizations = match Orgs::read(&args.orgs, false) {
        Ok(orgs) => orgs.logins,
        Err(error @ (ListError::Missing { .. } | ListError::Empty { .. })) => {
            notes.push(error.to_string());
            Vec::new()
        }
        Err(error) => return Err(error.into()),
    };
    let settings = &mut app.settings;
    let hook_token = settings.hook_token();
    let expected = Expected {
        organizations,
        webhooks: settings.webhooks.public_url.as_ref().map(|_| !settings.webhooks.secrets.is_empty()),
        read_tokens: settings.tokens().into_iter().map(|token| token.secret).collect(),
        hook_token: hook_token.map(|token| (token, settings.github.hook_token.is_some())),
        app: settings.app().map(|(id, _)| id.to_owned()),
    };
    settings.github.tokens.extend(settings.github.hook_token.clone());
    // The table reports on each token, so events are only logged. The check works without any store.
    let mut client = app.client_settings(None, |notice| tracing::warn!(%notice, "GitHub"));
    // A check takes a few requests; a wait for the sake of a reserve would be worse.
    client.tokens.iter_mut().for_each(|token| token.reserve = 0);
    client.app.iter_mut().for_each(|app| app.reserve = 0);
    notes.extend(client.plain_text_warning());
    let github = build_client(client)?;
    app.console.line("checking GitHub");
    let github = tokio::select! {
        report = check_github(&github, &expected) => report,
        () = app.shutdown.cancelled() => return Ok(CommandOutcome::Incomplete),
    };
    let mut backends = check_stores(&app.settings).await;
    backends.extend(check_outputs(&app.settings).await);
    let report = Report { github, backends, notes };
    print(&if args.json { report.as_json()? } else { report.as_text() })?;
    let problems = report.problems();
    if problems.is_empty() {
        return Ok(CommandOutcome::Complete);
    }
    for problem in &problems {
        app.console.error(&format!("error: {problem}"));
    }
    app.console.error(&format!("problems that keep a run from working: {}", problems.len()));
    Ok(CommandOutcome::Incomplete)
}

struct Report {
    github: GithubReport,
    backends: Vec<BackendCheck>,
    notes: Vec<String>,
}

impl Report {
    fn problems(&self) -> Vec<String> {
        let unusable =
            |backend: &BackendCheck| backend.status.as_ref().err().map(|error| format!("{}: {error}", backend.name));
        self.github.problems.iter().cloned().chain(self.backends.iter().filter_map(unusable)).collect()
    }

    fn notes(&self) -> Vec<&String> {
        self.notes.iter().chain(&self.github.notes).collect()
    }

    fn as_json(&self) -> anyhow::Result<String> {
        let (problems, notes) = (self.problems(), self.notes());
        pretty_json(&json!({
            "ok": problems.is_empty(),
            "tokens": self.github.tokens,
            "app": self.github.app,
            "organizations": self.github.organizations,
            "clock_ahead_seconds": self.github.clock_ahead_seconds,
            "requests": self.github.requests,
            "parts": backends_as_json(&self.backends),
            "problems": problems,
            "notes": notes,
        }))
    }

    fn as_text(&self) -> String {
        let GithubReport { tokens, app, organizations, clock_ahead_seconds, requests, .. } = &self.github;
        let header = ["token", "owner", "kind", "use", "left this hour", "expires", "scopes or permissions", "result"];
        let mut text = plain_table(header, tokens.iter().map(token_row).collect());
        if let Some(app) = app {
            let on = if app.installed_on.is_empty() { "nothing".to_owned() } else { app.installed_on.join(", ") };
            let name = app.name.as_ref().map_or(String::new(), |name| format!(" ({name})"));
            text.push_str(&format!("\n{}\n", one_line(&format!("App {}{name}, installed on {on}", app.id))));
        }
        if !organizations.is_empty() {
            let header = ["organization", "token", "private repositories", "member", "webhooks", "result"];
            text.push('\n');
            text.push_str(&plain_table(header, organizations.iter().flat_map(organization_rows).collect()));
        }
        text.push('\n');
        text.push_str(&backends_as_table(&self.backends));
        let clock = match clock_ahead_seconds {
            None => "unknown".to_owned(),
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
        or_dash(token.permissions.as_ref().filter(|permissions| !permissions.is_empty())),
        token.problem.clone().unwrap_or_else(|| "fine".to_owned()),
    ]
}

fn organization_rows(checked: &CheckedOrganization) -> Vec<[String; 6]> {
    let name = &checked.organization;
    if checked.access.is_empty() {
        let result = match (&checked.problem, checked.person) {
            (Some(problem), _) => problem.clone(),
            (None, true) => "a person".to_owned(),
            (None, false) => "fine".to_owned(),
        };
        return vec![[name.clone(), "-".into(), "-".into(), "-".into(), "-".into(), result]];
    }
    let row = |access: &Access| {
        let webhooks = match access.webhooks {
            WebhookAccess::None => "no",
            WebhookAccess::Read => "seen",
            WebhookAccess::Write => "yes",
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

/// Formats stores and outputs as a table, one per line.
pub(super) fn backends_as_table(backends: &[BackendCheck]) -> String {
    let row = |BackendCheck { name, url, status }: &BackendCheck| match status {
        Ok(found) => [(*name).to_owned(), found.product.clone(), found.place.clone(), found.state.clone()],
        Err(error) => {
            let problem = format!("{}; {}", error.cause, error.hint);
            [(*name).to_owned(), "unusable".to_owned(), url.clone(), problem]
        }
    };
    plain_table(["store", "product", "place", "result"], backends.iter().map(row).collect())
}

/// Converts stores and outputs to a JSON object, one key per backend.
pub(super) fn backends_as_json(backends: &[BackendCheck]) -> Value {
    let value = |BackendCheck { url, status, .. }: &BackendCheck| match status {
        Ok(found) => {
            json!({"url": url, "usable": true, "product": found.product, "place": found.place, "found": found.state})
        }
        Err(error) => json!({"url": url, "usable": false, "problem": error.cause, "advice": error.hint}),
    };
    backends.iter().map(|backend| (backend.name.to_owned(), value(backend))).collect()
}
