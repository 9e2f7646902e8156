//! Pull requests: their rows, commits, review comments and history.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use chrono::NaiveDateTime;

use super::super::batch::RowBatch;
use super::super::rows::PullRequestHistory;
use super::super::sql::{OnConflict, Upsert, Value, date};
use super::{BatchWriter, MAX_BODY, MAX_TEXT, id_of, projects, truncate, truncate_option};

/// Reports of the same action within this many seconds are one event (`docs/data-model.md`, "pull_request_history").
const SAME_EVENT_SECONDS: i64 = 3;

const PULLS: Upsert = Upsert {
    table: "pull_requests",
    columns: &[
        "head_repo_id",
        "base_repo_id",
        "head_commit_id",
        "base_commit_id",
        "pullreq_id",
        "intra_branch",
        "deleted",
    ],
    key: &["base_repo_id", "pullreq_id"],
    update: &[
        // A head repository stays known after it is deleted.
        ("head_repo_id", OnConflict::OverwriteIfPresent),
        ("head_commit_id", OnConflict::OverwriteIfPresent),
        ("base_commit_id", OnConflict::OverwriteIfPresent),
        ("intra_branch", OnConflict::Overwrite),
        ("deleted", OnConflict::Overwrite),
    ],
};

const STUBS: Upsert = Upsert {
    table: "pull_requests",
    columns: &["base_repo_id", "pullreq_id"],
    key: &["base_repo_id", "pullreq_id"],
    update: &[],
};

const PULL_STATE: Upsert = Upsert {
    table: "msght_pulls",
    columns: &["pull_request_id", "updated_at", "head", "review_comments"],
    key: &["pull_request_id"],
    update: &[
        ("updated_at", OnConflict::Overwrite),
        ("head", OnConflict::Overwrite),
        ("review_comments", OnConflict::OverwriteIfPresent),
    ],
};

const COMMITS_READ: Upsert = Upsert {
    table: "msght_pulls",
    columns: &["pull_request_id", "commits_of"],
    key: &["pull_request_id"],
    update: &[("commits_of", OnConflict::Overwrite)],
};

const PULL_COMMITS: Upsert = Upsert {
    table: "pull_request_commits",
    columns: &["pull_request_id", "commit_id"],
    key: &["pull_request_id", "commit_id"],
    update: &[],
};

const COMMENTS: Upsert = Upsert {
    table: "pull_request_comments",
    columns: &["pull_request_id", "user_id", "comment_id", "position", "body", "commit_id", "created_at", "deleted"],
    key: &["comment_id"],
    update: &[
        ("pull_request_id", OnConflict::Overwrite),
        ("user_id", OnConflict::Overwrite),
        ("position", OnConflict::Overwrite),
        ("body", OnConflict::Overwrite),
        ("commit_id", OnConflict::OverwriteIfPresent),
        ("created_at", OnConflict::Overwrite),
        ("deleted", OnConflict::Overwrite),
    ],
};

impl BatchWriter<'_> {
    pub(super) async fn pulls(&mut self, rows: &RowBatch) -> Result<(), sqlx::Error> {
        let values = rows
            .pulls
            .iter()
            .map(|pull| {
                let head_repo = pull
                    .head_repo
                    .as_ref()
                    .and_then(|(owner, name)| self.ids.projects.get(&projects::key_of(owner, name)));
                let mut commit = |sha: &Option<String>| sha.as_ref().and_then(|sha| self.ids.commits.get(sha));
                vec![
                    head_repo.into(),
                    pull.project.into(),
                    commit(&pull.head_sha).into(),
                    commit(&pull.base_sha).into(),
                    pull.number.into(),
                    pull.intra_branch.into(),
                    false.into(),
                ]
            })
            .collect();
        self.tx.upsert(&PULLS, values).await?;
        self.ensure_pull_stubs(rows).await?;

        let states = rows
            .pulls
            .iter()
            .filter_map(|pull| {
                let id = self.ids.pulls.get(&(pull.project, pull.number))?;
                let (head, base) = (pull.head_sha.as_deref()?, pull.base_ref.as_deref().unwrap_or_default());
                Some(vec![
                    id.into(),
                    pull.updated_at.map(date).into(),
                    format!("{head} {base}").into(),
                    pull.review_comments.into(),
                ])
            })
            .collect();
        self.tx.upsert(&PULL_STATE, states).await?;
        self.pull_commits(rows).await?;
        self.review_comments(rows).await?;
        self.history(&rows.pull_history).await
    }

    /// Finds the row ids of all pull requests of the batch, inserting stubs for those only referred to.
    async fn ensure_pull_stubs(&mut self, rows: &RowBatch) -> Result<(), sqlx::Error> {
        let mut mentioned: BTreeSet<(i64, i64)> = BTreeSet::new();
        mentioned.extend(rows.pulls.iter().map(|pull| (pull.project, pull.number)));
        mentioned.extend(rows.pull_history.iter().map(|event| (event.project, event.number)));
        mentioned.extend(rows.pull_commits.iter().map(|pull| (pull.project, pull.number)));
        mentioned.extend(rows.review_comments.iter().map(|comment| (comment.project, comment.number)));
        mentioned
            .extend(rows.issues.iter().filter(|issue| issue.pull_request).map(|issue| (issue.project, issue.number)));
        mentioned.retain(|key| self.ids.pulls.get(key).is_none());
        self.find_pulls(&mentioned).await?;
        mentioned.retain(|key| self.ids.pulls.get(key).is_none());
        if mentioned.is_empty() {
            return Ok(());
        }
        let stubs = mentioned.iter().map(|(project, number)| vec![(*project).into(), (*number).into()]).collect();
        self.tx.upsert(&STUBS, stubs).await?;
        self.find_pulls(&mentioned).await
    }

    pub(super) async fn find_pulls(&mut self, keys: &BTreeSet<(i64, i64)>) -> Result<(), sqlx::Error> {
        let sql = "SELECT id, pullreq_id FROM pull_requests WHERE base_repo_id = ? AND pullreq_id IN ({})";
        for (project, numbers) in by_project(keys) {
            for row in self.lookup(sql, &[project.into()], &numbers).await? {
                if let Some(number) = row[1].as_i64() {
                    self.ids.pulls.put((project, number), id_of(&row));
                }
            }
        }
        Ok(())
    }

    /// Replaces a pull request's commits as a whole: after a force-push the former ones are no longer its own. An
    /// incomplete list only adds, and the next run asks again.
    async fn pull_commits(&mut self, rows: &RowBatch) -> Result<(), sqlx::Error> {
        let mut wanted: HashMap<i64, HashSet<i64>> = HashMap::new();
        let mut read: Vec<Vec<Value>> = Vec::new();
        for pull in &rows.pull_commits {
            let Some(id) = self.ids.pulls.get(&(pull.project, pull.number)) else { continue };
            let commits = pull.shas.iter().filter_map(|sha| self.ids.commits.get(sha)).collect();
            wanted.insert(id, commits);
            if pull.complete {
                read.push(vec![id.into(), pull.head.as_str().into()]);
            }
        }
        let keys: Vec<Value> = read.iter().map(|row| row[0].clone()).collect();
        let sql = "SELECT DISTINCT pull_request_id, commit_id FROM pull_request_commits WHERE pull_request_id IN ({})";
        for row in self.lookup(sql, &[], &keys).await? {
            let (pull, commit) = (id_of(&row), row[1].as_i64().unwrap_or(0));
            if !wanted.get(&pull).is_some_and(|commits| commits.contains(&commit)) {
                let sql = "DELETE FROM pull_request_commits WHERE pull_request_id = ? AND commit_id = ?";
                self.tx.execute(sql, vec![pull.into(), commit.into()]).await?;
            }
        }
        let pairs = wanted
            .into_iter()
            .flat_map(|(pull, commits)| commits.into_iter().map(move |commit| vec![pull.into(), commit.into()]))
            .collect();
        self.tx.upsert(&PULL_COMMITS, pairs).await?;
        self.tx.upsert(&COMMITS_READ, read).await?;
        Ok(())
    }

    async fn review_comments(&mut self, rows: &RowBatch) -> Result<(), sqlx::Error> {
        let values = rows
            .review_comments
            .iter()
            .filter_map(|comment| {
                let pull = self.ids.pulls.get(&(comment.project, comment.number))?;
                let commit = comment.sha.as_ref().and_then(|sha| self.ids.commits.get(sha));
                Some(vec![
                    pull.into(),
                    self.person(&comment.user),
                    comment.comment_id.into(),
                    comment.position.into(),
                    truncate_option(comment.body.as_ref(), MAX_BODY),
                    commit.into(),
                    comment.created_at.into(),
                    false.into(),
                ])
            })
            .collect();
        self.tx.upsert(&COMMENTS, values).await?;
        Ok(())
    }

    /// Records events of pull requests. The list, the details, the issue's events and the feed may report the same one;
    /// it is one row.
    async fn history(&mut self, events: &[PullRequestHistory]) -> Result<(), sqlx::Error> {
        let mut by_pull: BTreeMap<i64, Vec<&PullRequestHistory>> = BTreeMap::new();
        // Events with a date that no column can hold are in the document alone.
        for event in events.iter().filter(|event| Value::from(event.at) != Value::Null) {
            if let Some(id) = self.ids.pulls.get(&(event.project, event.number)) {
                by_pull.entry(id).or_default().push(event);
            }
        }
        let keys: Vec<Value> = by_pull.keys().map(|id| (*id).into()).collect();
        let sql = "SELECT DISTINCT id, pull_request_id, action, created_at, actor_id FROM pull_request_history \
                   WHERE pull_request_id IN ({})";
        let mut known: HashMap<i64, Vec<HistoryRow>> = HashMap::new();
        for row in self.lookup(sql, &[], &keys).await? {
            let text = |column: usize| row[column].as_str().unwrap_or_default().to_owned();
            let history = HistoryRow {
                id: Some(id_of(&row)),
                action: text(2),
                at: text(3),
                actor: row[4].as_i64(),
                changed: false,
            };
            known.entry(row[1].as_i64().unwrap_or(0)).or_default().push(history);
        }
        let (mut new, mut changed) = (Vec::new(), Vec::new());
        for (pull, events) in by_pull {
            let rows = known.entry(pull).or_default();
            for event in events {
                let actor = self.optional_person(event.actor.as_ref()).as_i64();
                merge_event(rows, &truncate(&event.action, MAX_TEXT), &date(event.at), actor);
            }
            for row in rows.drain(..) {
                match row.id {
                    None => new.push(vec![pull.into(), row.at.into(), row.action.into(), row.actor.into()]),
                    Some(id) if row.changed => {
                        changed.push(vec![id.into(), pull.into(), row.at.into(), row.action.into(), row.actor.into()]);
                    }
                    Some(_) => {}
                }
            }
        }
        self.tx.upsert(&HISTORY_CHANGED, changed).await?;
        self.tx.upsert(&HISTORY, new).await?;
        Ok(())
    }
}

const HISTORY: Upsert = Upsert {
    table: "pull_request_history",
    columns: &["pull_request_id", "created_at", "action", "actor_id"],
    key: &[],
    update: &[],
};

/// Updates of existing rows: a later source knew the actor or an earlier time.
const HISTORY_CHANGED: Upsert = Upsert {
    table: "pull_request_history",
    columns: &["id", "pull_request_id", "created_at", "action", "actor_id"],
    key: &["id"],
    update: &[("created_at", OnConflict::Overwrite), ("actor_id", OnConflict::Overwrite)],
};

#[derive(Debug, Clone, PartialEq)]
struct HistoryRow {
    id: Option<i64>,
    action: String,
    at: String,
    actor: Option<i64>,
    changed: bool,
}

/// Adds an event to a pull request's history, or merges it into the row of the same event. The result doesn't depend on
/// the order of sources: the earlier time and the known actor stay.
fn merge_event(rows: &mut Vec<HistoryRow>, action: &str, at: &str, actor: Option<i64>) {
    let once = matches!(action, "opened" | "merged");
    // The row of exactly this time first: moving another one to it would make a duplicate.
    let exact = rows.iter().position(|row| row.action == action && row.at == at);
    let near = |row: &HistoryRow| row.action == action && (once || seconds_between(&row.at, at) <= SAME_EVENT_SECONDS);
    let Some(row) = exact.or_else(|| rows.iter().position(near)).and_then(|position| rows.get_mut(position)) else {
        let row = HistoryRow { id: None, action: action.to_owned(), at: at.to_owned(), actor, changed: false };
        rows.push(row);
        return;
    };
    if *at < *row.at {
        row.at = at.to_owned();
        row.changed = true;
    }
    if row.actor.is_none() && actor.is_some() {
        row.actor = actor;
        row.changed = true;
    }
}

fn seconds_between(a: &str, b: &str) -> i64 {
    let parse = |text: &str| NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S");
    match (parse(a), parse(b)) {
        (Ok(a), Ok(b)) => (a - b).num_seconds().abs(),
        _ => i64::MAX,
    }
}

/// Groups (project, number) keys by project, for lookups.
pub(super) fn by_project(keys: &BTreeSet<(i64, i64)>) -> BTreeMap<i64, Vec<Value>> {
    let mut groups: BTreeMap<i64, Vec<Value>> = BTreeMap::new();
    for (project, number) in keys {
        groups.entry(*project).or_default().push((*number).into());
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_event_from_two_sources_is_one_row_in_any_order() {
        let list = ("closed", "2024-01-01 10:00:02", None);
        let event = ("closed", "2024-01-01 10:00:00", Some(7));
        let outcome = |events: [(&str, &str, Option<i64>); 2]| {
            let mut rows = Vec::new();
            for (action, at, actor) in events {
                merge_event(&mut rows, action, at, actor);
            }
            assert_eq!(rows.len(), 1);
            (rows[0].at.clone(), rows[0].actor)
        };
        assert_eq!(outcome([list, event]), outcome([event, list]));
        assert_eq!(outcome([list, event]), ("2024-01-01 10:00:00".to_owned(), Some(7)));
    }

    #[test]
    fn merging_never_duplicates_an_event_time() {
        let mut rows = Vec::new();
        for second in [4, 0, 2, 0, 4] {
            merge_event(&mut rows, "closed", &format!("2024-01-01 10:00:0{second}"), Some(1));
        }
        let times: BTreeSet<&str> = rows.iter().map(|row| row.at.as_str()).collect();
        assert_eq!(times.len(), rows.len(), "{rows:?}");
        // As they may be in a table.
        let row = |second| HistoryRow {
            id: Some(second),
            action: "closed".to_owned(),
            at: format!("2024-01-01 10:00:0{second}"),
            actor: None,
            changed: false,
        };
        let mut rows = vec![row(3), row(1)];
        merge_event(&mut rows, "closed", "2024-01-01 10:00:01", Some(1));
        assert_eq!((rows[0].changed, rows[1].actor), (false, Some(1)));
    }

    #[test]
    fn closing_twice_is_two_events_and_opening_twice_is_one() {
        let mut rows = Vec::new();
        merge_event(&mut rows, "closed", "2024-01-01 10:00:00", Some(1));
        merge_event(&mut rows, "closed", "2024-01-02 10:00:00", Some(1));
        merge_event(&mut rows, "opened", "2024-01-01 09:00:00", None);
        merge_event(&mut rows, "opened", "2024-01-03 09:00:00", Some(2));
        assert_eq!(rows.len(), 3);
        assert_eq!(rows[2].actor, Some(2));
    }
}
