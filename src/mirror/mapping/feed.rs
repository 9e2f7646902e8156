//! Documents and rows from entries of the events feed.

use chrono::{DateTime, Duration, Utc};
use serde_json::Value;

use super::MappedPage;
use super::item::JsonItem;
use super::marks::mark_of_entry;
use crate::mirror::resource::Repository;
use crate::store::relational::outbox::{EventPublishing, StoredEvent};
use crate::store::relational::rows::{Account, Person, ProjectUser, PullRequestHistory};

/// Actions of a PullRequestEvent that belong to a pull request's history.
const HISTORY_ACTIONS: [&str; 5] = ["opened", "closed", "merged", "reopened", "synchronize"];

/// Maximum number of entries in GitHub's feed (GitHub docs: events), some of which it hides.
const MAX_FEED_ENTRIES: usize = 300;
const MAX_HIDDEN_ENTRIES: usize = 50;
/// Maximum age in days of an entry (GitHub's changelog of 2024-11-08).
const MAX_FEED_DAYS: i64 = 30;

/// Returns whether entries may have passed through a feed unseen since it was last read: `entries` were read now, and none
/// of them was known.
pub(crate) fn has_gap(last_read: DateTime<Utc>, entries: usize, now: DateTime<Utc>) -> bool {
    entries + MAX_HIDDEN_ENTRIES >= MAX_FEED_ENTRIES || now - last_read > Duration::days(MAX_FEED_DAYS)
}

/// Returns the outbox's row of an entry.
pub(crate) fn stored_event(id: String, kind: &str, item: &JsonItem<'_>, publishing: EventPublishing) -> StoredEvent {
    StoredEvent {
        id,
        kind: kind.to_owned(),
        repository: item.text("repo.name"),
        repository_id: item.integer("repo.id"),
        mark: mark_of_entry(item.value()),
        created_at: item.date("created_at"),
        publishing,
    }
}

/// Adds the actor of an entry, and the facts that only the feed tells.
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
    let actor = item.account("actor").filter(|account| account.login != "ghost");
    out.rows.accounts.extend(actor.map(|account| Account { as_of: at, ..account }));
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
