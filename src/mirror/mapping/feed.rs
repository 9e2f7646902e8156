//! Rows from entries of the events feed.

use serde_json::Value;

use super::MappedPage;
use super::item::JsonItem;
use crate::mirror::resource::Repository;
use crate::store::relational::rows::{Account, Person, ProjectUser, PullRequestHistory};

/// Actions of a PullRequestEvent that belong to a pull request's history.
const HISTORY_ACTIONS: [&str; 5] = ["opened", "closed", "merged", "reopened", "synchronize"];

pub(crate) fn rows_of(
    repository: &Repository,
    item: &JsonItem<'_>,
    kind: &str,
    stars_listed: bool,
    members_listed: bool,
    out: &mut MappedPage,
) {
    let project = repository.project;
    let at = item.date("created_at");
    // An entry shows people as they were called then.
    let person = |path: &str| match item.person(path) {
        Person::Account(account) => Person::Account(Account { as_of: at, ..account }),
        other => other,
    };
    match kind {
        "WatchEvent" if !stars_listed => {
            out.rows.watchers_from_events.push(ProjectUser { project, user: person("actor"), since: at });
        }
        "MemberEvent" if item.get_path("payload.action").and_then(Value::as_str) == Some("added") => {
            // Where the list is read, it decides who is a member, and only the feed tells since when.
            let tie = ProjectUser { project, user: person("payload.member"), since: at };
            if !members_listed {
                out.rows.members.push(tie.clone());
            }
            out.rows.member_dates.extend(at.is_some().then_some(tie));
            let member = item.account("payload.member").filter(|member| !member.login.eq_ignore_ascii_case("ghost"));
            out.rows.accounts.extend(member.map(|account| Account { as_of: at, ..account }));
        }
        "PullRequestEvent" => {
            let number = item.integer("payload.number").or_else(|| item.integer("payload.pull_request.number"));
            let action = item.text("payload.action").filter(|action| HISTORY_ACTIONS.contains(&action.as_str()));
            if let (Some(number), Some(action), Some(at)) = (number, action, at) {
                let actor = Some(person("actor"));
                out.rows.pull_history.push(PullRequestHistory { project, number, action, at, actor });
            }
        }
        _ => {}
    }
}
