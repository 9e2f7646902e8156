//! Evaluates a report on GitHub: problems that keep a run from working, and remarks.

use chrono::{TimeDelta, Utc};

use super::report::{CheckedOrganization, CheckedToken, Expected, GithubReport, WebhookAccess};
use crate::github::Installation;

/// The permissions that an App needs to mirror an organization.
const REQUIRED_PERMISSIONS: [(&str, &str); 5] =
    [("metadata", "read"), ("contents", "read"), ("issues", "read"), ("pull_requests", "read"), ("members", "read")];
/// The levels of a permission, in ascending order.
const LEVELS: [&str; 3] = ["read", "write", "admin"];
/// Maximum clock skew in seconds: more makes times hard to compare, and an App's signature invalid.
const MAX_CLOCK_SKEW: i64 = 60;
/// A token that expires within this time is remarked on.
const EXPIRY_WARNING: TimeDelta = TimeDelta::days(7);

impl GithubReport {
    /// Adds the problems and remarks that follow from what was found.
    pub(super) fn evaluate(&mut self, expected: &Expected, installations: &[Installation]) {
        self.evaluate_installations(expected, installations);
        self.evaluate_app(expected);
        self.evaluate_tokens(expected);
        self.evaluate_organizations(expected);
        if expected.webhooks == Some(false) {
            let problem = "webhooks.public_url is set, webhooks.secret is not: no webhook can be created";
            self.problems.push(problem.to_owned());
        }
        if let Some(ahead) = self.clock_ahead_seconds.filter(|ahead| ahead.abs() > MAX_CLOCK_SKEW) {
            let way = if ahead > 0 { "behind" } else { "ahead of" };
            self.notes.push(format!("this machine's clock is {} s {way} GitHub's: set it by NTP", ahead.abs()));
        }
    }

    /// Reports the permissions that installations lack: a problem on organizations to mirror, a remark elsewhere.
    fn evaluate_installations(&mut self, expected: &Expected, installations: &[Installation]) {
        for installation in installations {
            let account = &installation.account;
            let is_expected = expected.organizations.iter().any(|login| login.eq_ignore_ascii_case(account));
            let list = if is_expected { &mut self.problems } else { &mut self.notes };
            if installation.suspended {
                list.push(format!("the App is suspended on {account}: its owner has to unsuspend it"));
                continue;
            }
            // The permission on webhooks is evaluated by organization, since another token may have it.
            let required =
                REQUIRED_PERMISSIONS.iter().filter(|(name, _)| installation.organization || *name != "members");
            let missing: Vec<String> = required
                .filter(|required| !has_permission(installation, **required))
                .map(|(name, level)| format!("{name}: {level}"))
                .collect();
            if !missing.is_empty() {
                list.push(format!("the App lacks permissions on {account}: {}", missing.join(", ")));
            }
            if installation.selected {
                self.notes.push(format!("on {account} the App can see selected repositories only"));
            }
        }
    }

    fn evaluate_app(&mut self, expected: &Expected) {
        let Some(app) = &self.app else { return };
        if let Some(problem) = &app.problem {
            self.problems.push(format!("the App: {problem}"));
            return;
        }
        let is_installed = |login: &String| app.installed_on.iter().any(|on| on.eq_ignore_ascii_case(login));
        for login in expected.organizations.iter().filter(|login| !is_installed(login)) {
            self.notes.push(format!("the App is not installed on {login}"));
        }
    }

    fn evaluate_tokens(&mut self, expected: &Expected) {
        for CheckedToken { token, expires_at, kind, permissions, problem, .. } in &self.tokens {
            self.problems.extend(problem.iter().map(|problem| format!("{token}: {problem}")));
            if let Some(at) = expires_at.filter(|at| *at - Utc::now() < EXPIRY_WARNING) {
                self.notes.push(format!("{token} expires at {}", at.format("%Y-%m-%d %H:%M UTC")));
            }
            if let (&"classic", Some(scopes)) = (kind, permissions) {
                let has_any = |wanted: &[&str]| scopes.split(',').any(|scope| wanted.contains(&scope.trim()));
                if !has_any(&["repo"]) {
                    self.notes.push(format!("{token} lacks the scope repo: it can see public repositories only"));
                }
                if !has_any(&["read:org", "write:org", "admin:org"]) {
                    self.notes.push(format!("{token} lacks the scope read:org: it can't see teams"));
                }
            }
        }
        if expected.read_tokens.is_empty() && expected.app.is_none() {
            let note = "there is no token to read with: GitHub answers 60 requests per hour, about public data only";
            self.notes.push(note.to_owned());
        }
    }

    fn evaluate_organizations(&mut self, expected: &Expected) {
        for CheckedOrganization { organization, person, access, problem } in &self.organizations {
            if let Some(problem) = problem {
                self.problems.push(format!("{organization}: {problem}"));
                continue;
            }
            if *person {
                self.notes.push(format!("{organization} is a person's account: its own repositories are mirrored"));
                continue;
            }
            if !access.iter().any(|access| access.member) {
                self.notes.push(format!("{organization}: no token is a member's: members and teams will not be read"));
            }
            if expected.webhooks.is_some() && access.iter().all(|access| access.webhooks == WebhookAccess::None) {
                self.problems.push(format!(
                    "{organization}: no token may manage its webhooks: a classic one needs admin:org_hook of an owner, \
                     others the organization permission Webhooks"
                ));
            }
        }
    }
}

/// Returns whether an installation has a permission at this level or a higher one.
pub(super) fn has_permission(installation: &Installation, (name, level): (&str, &str)) -> bool {
    let rank = |level: &str| LEVELS.iter().position(|known| *known == level);
    installation.permissions.iter().any(|(has, at)| has == name && rank(at) >= rank(level))
}
