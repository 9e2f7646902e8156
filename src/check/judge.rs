//! What of all that was found is missing, and what is worth knowing.

use chrono::{TimeDelta, Utc};

use super::github::Wanted;
use super::{CheckedOrganization, CheckedToken, GithubSide, Webhooks};
use crate::github::Installation;

/// What an App needs to mirror an organisation.
const NEEDED: [(&str, &str); 5] =
    [("metadata", "read"), ("contents", "read"), ("issues", "read"), ("pull_requests", "read"), ("members", "read")];
/// GitHub's order of permissions.
const LEVELS: [&str; 3] = ["read", "write", "admin"];
/// A clock that is further off makes times in logs and reports hard to compare, and an App's signature invalid.
const CLOCK_OFF: i64 = 60;
/// A token that ends within this time is worth a line.
const ENDS_SOON: TimeDelta = TimeDelta::days(7);

impl GithubSide {
    /// Says what is missing, and what is worth knowing.
    pub(super) fn judge(&mut self, wanted: &Wanted, installations: &[Installation]) {
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
pub(super) fn has(on: &Installation, (name, level): (&str, &str)) -> bool {
    let rank = |level: &str| LEVELS.iter().position(|known| *known == level);
    on.permissions.iter().any(|(has, at)| has == name && rank(at) >= rank(level))
}
