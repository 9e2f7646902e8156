//! Issues, their comments, events and labels.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::super::batch::RowBatch;
use super::super::sql::{OnConflict, Upsert, Value};
use super::pulls::by_project;
use super::{BatchWriter, MAX_ACTION_SPECIFIC, MAX_TEXT, id_of, truncate, truncate_option};

const ISSUES: Upsert = Upsert {
    table: "issues",
    columns: &[
        "repo_id",
        "reporter_id",
        "assignee_id",
        "issue_id",
        "pull_request",
        "pull_request_id",
        "created_at",
        "deleted",
    ],
    key: &["repo_id", "issue_id"],
    update: &[
        ("reporter_id", OnConflict::Overwrite),
        ("assignee_id", OnConflict::Overwrite),
        ("pull_request", OnConflict::Overwrite),
        ("pull_request_id", OnConflict::Overwrite),
        ("created_at", OnConflict::Overwrite),
        ("deleted", OnConflict::Overwrite),
    ],
};

/// A pull request's issue row, derived from the pull request itself: the issue list takes precedence.
const FROM_PULLS: Upsert = Upsert {
    update: &[
        ("reporter_id", OnConflict::KeepExisting),
        ("assignee_id", OnConflict::KeepExisting),
        ("pull_request", OnConflict::Overwrite),
        ("pull_request_id", OnConflict::Overwrite),
        ("created_at", OnConflict::KeepExisting),
    ],
    ..ISSUES
};

const STUBS: Upsert =
    Upsert { table: "issues", columns: &["repo_id", "issue_id"], key: &["repo_id", "issue_id"], update: &[] };

/// State and comment count of an issue according to GitHub.
const ISSUE_STATE: Upsert = Upsert {
    table: "msght_issues",
    columns: &["issue_id", "open", "comments"],
    key: &["issue_id"],
    update: &[("open", OnConflict::Overwrite), ("comments", OnConflict::Overwrite)],
};

const LABELS: Upsert =
    Upsert { table: "repo_labels", columns: &["repo_id", "name"], key: &["repo_id", "name"], update: &[] };

/// Labels from the repository's own list.
const LISTED_LABELS: Upsert =
    Upsert { columns: &["repo_id", "name", "deleted"], update: &[("deleted", OnConflict::Overwrite)], ..LABELS };

const ISSUE_LABELS: Upsert =
    Upsert { table: "issue_labels", columns: &["label_id", "issue_id"], key: &["issue_id", "label_id"], update: &[] };

const COMMENTS: Upsert = Upsert {
    table: "issue_comments",
    columns: &["issue_id", "user_id", "comment_id", "created_at", "deleted"],
    key: &["comment_id"],
    update: &[
        ("issue_id", OnConflict::Overwrite),
        ("user_id", OnConflict::Overwrite),
        ("created_at", OnConflict::Overwrite),
        ("deleted", OnConflict::Overwrite),
    ],
};

const EVENTS: Upsert = Upsert {
    table: "issue_events",
    columns: &["event_id", "issue_id", "actor_id", "action", "action_specific", "created_at"],
    key: &["event_id", "issue_id"],
    update: &[
        ("actor_id", OnConflict::Overwrite),
        ("action", OnConflict::Overwrite),
        ("action_specific", OnConflict::Overwrite),
        ("created_at", OnConflict::Overwrite),
    ],
};

impl BatchWriter<'_> {
    pub(super) async fn issues(&mut self, rows: &RowBatch) -> Result<(), sqlx::Error> {
        self.revive(rows).await?;
        let from_list = rows
            .issues
            .iter()
            .map(|issue| {
                let pull = if issue.pull_request { self.ids.pulls.get(&(issue.project, issue.number)) } else { None };
                vec![
                    issue.project.into(),
                    self.person(&issue.reporter),
                    self.optional_person(issue.assignee.as_ref()),
                    issue.number.into(),
                    issue.pull_request.into(),
                    pull.into(),
                    issue.created_at.into(),
                    false.into(),
                ]
            })
            .collect();
        self.tx.upsert(&ISSUES, from_list).await?;
        let from_pulls = rows
            .pulls
            .iter()
            .map(|pull| {
                vec![
                    pull.project.into(),
                    self.person(&pull.user),
                    self.optional_person(pull.assignee.as_ref()),
                    pull.number.into(),
                    true.into(),
                    self.ids.pulls.get(&(pull.project, pull.number)).into(),
                    pull.created_at.into(),
                    false.into(),
                ]
            })
            .collect();
        self.tx.upsert(&FROM_PULLS, from_pulls).await?;
        self.ensure_issue_stubs(rows).await?;
        let facts = rows
            .issues
            .iter()
            .filter_map(|issue| {
                let id = self.ids.issues.get(&(issue.project, issue.number))?;
                Some(vec![id.into(), issue.open.into(), issue.comments.into()])
            })
            .collect();
        self.tx.upsert(&ISSUE_STATE, facts).await?;
        self.labels(rows).await?;
        self.issue_labels(rows).await?;

        let comments = rows
            .issue_comments
            .iter()
            .filter_map(|comment| {
                let issue = self.ids.issues.get(&(comment.project, comment.number))?;
                let user = self.person(&comment.user);
                Some(vec![issue.into(), user, comment.comment_id.into(), comment.created_at.into(), false.into()])
            })
            .collect();
        self.tx.upsert(&COMMENTS, comments).await?;
        let events = rows
            .issue_events
            .iter()
            .filter_map(|event| {
                let issue = self.ids.issues.get(&(event.project, event.number))?;
                Some(vec![
                    event.event_id.into(),
                    issue.into(),
                    self.person(&event.actor),
                    truncate(&event.action, MAX_TEXT).into(),
                    truncate_option(event.action_specific.as_ref(), MAX_ACTION_SPECIFIC),
                    event.created_at.into(),
                ])
            })
            .collect();
        self.tx.upsert(&EVENTS, events).await?;
        Ok(())
    }

    /// Clears the deleted mark of listed items and marks everything attached to them for reading again.
    async fn revive(&mut self, rows: &RowBatch) -> Result<(), sqlx::Error> {
        let mut listed: BTreeSet<(i64, i64)> = rows.issues.iter().map(|issue| (issue.project, issue.number)).collect();
        let unknown = listed.iter().copied().filter(|key| self.ids.issues.get(key).is_none()).collect();
        self.find_issues(&unknown).await?;
        let issues: Vec<Value> = listed.iter().filter_map(|key| self.ids.issues.get(key)).map(Value::from).collect();
        for row in self.lookup("SELECT id FROM issues WHERE deleted = 1 AND id IN ({})", &[], &issues).await? {
            let sql = "UPDATE msght_issues SET comments_read_of = NULL WHERE issue_id = ?";
            self.tx.execute(sql, vec![id_of(&row).into()]).await?;
        }
        listed.retain(|key| self.ids.pulls.get(key).is_some());
        let pulls: Vec<Value> = listed.iter().filter_map(|key| self.ids.pulls.get(key)).map(Value::from).collect();
        for row in self.lookup("SELECT id FROM pull_requests WHERE deleted = 1 AND id IN ({})", &[], &pulls).await? {
            let sql = "UPDATE msght_pulls SET updated_at = NULL, detailed_of = NULL, review_comments_read_of = NULL \
                       WHERE pull_request_id = ?";
            self.tx.execute(sql, vec![id_of(&row).into()]).await?;
            let sql = "UPDATE pull_requests SET deleted = 0 WHERE id = ?";
            self.tx.execute(sql, vec![id_of(&row).into()]).await?;
        }
        Ok(())
    }

    /// Finds the row ids of all issues of the batch, inserting stubs for those only referred to.
    async fn ensure_issue_stubs(&mut self, rows: &RowBatch) -> Result<(), sqlx::Error> {
        let mut mentioned: BTreeSet<(i64, i64)> = BTreeSet::new();
        mentioned.extend(rows.issues.iter().map(|issue| (issue.project, issue.number)));
        mentioned
            .extend(rows.pulls.iter().filter(|pull| pull.labels.is_some()).map(|pull| (pull.project, pull.number)));
        mentioned.extend(rows.issue_comments.iter().map(|comment| (comment.project, comment.number)));
        mentioned.extend(rows.issue_events.iter().map(|event| (event.project, event.number)));
        mentioned.retain(|key| self.ids.issues.get(key).is_none());
        self.find_issues(&mentioned).await?;
        mentioned.retain(|key| self.ids.issues.get(key).is_none());
        if mentioned.is_empty() {
            return Ok(());
        }
        let stubs = mentioned.iter().map(|(project, number)| vec![(*project).into(), (*number).into()]).collect();
        self.tx.upsert(&STUBS, stubs).await?;
        self.find_issues(&mentioned).await
    }

    async fn find_issues(&mut self, keys: &BTreeSet<(i64, i64)>) -> Result<(), sqlx::Error> {
        let sql = "SELECT id, issue_id FROM issues WHERE repo_id = ? AND issue_id IN ({})";
        for (project, numbers) in by_project(keys) {
            for row in self.lookup(sql, &[project.into()], &numbers).await? {
                if let Some(number) = row[1].as_i64() {
                    self.ids.issues.put((project, number), id_of(&row));
                }
            }
        }
        Ok(())
    }

    /// Inserts every label of the batch and caches its id.
    async fn labels(&mut self, rows: &RowBatch) -> Result<(), sqlx::Error> {
        let listed: Vec<_> = rows
            .labels
            .iter()
            .map(|(project, name)| vec![(*project).into(), truncate(name, MAX_TEXT).into(), false.into()])
            .collect();
        self.tx.upsert(&LISTED_LABELS, listed).await?;
        let mut names: BTreeSet<(i64, String)> = BTreeSet::new();
        names.extend(rows.labels.iter().map(|(project, name)| (*project, truncate(name, MAX_TEXT))));
        for (project, _, labels) in labels_of(rows) {
            names.extend(labels.iter().map(|name| (project, truncate(name, MAX_TEXT))));
        }
        names.retain(|key| self.ids.labels.get(key).is_none());
        if names.is_empty() {
            return Ok(());
        }
        let values = names.iter().map(|(project, name)| vec![(*project).into(), name.as_str().into()]).collect();
        self.tx.upsert(&LABELS, values).await?;
        let mut by_project: HashMap<i64, Vec<Value>> = HashMap::new();
        for (project, name) in &names {
            by_project.entry(*project).or_default().push(name.as_str().into());
        }
        let sql = "SELECT id, name FROM repo_labels WHERE repo_id = ? AND name IN ({})";
        for (project, names) in by_project {
            for row in self.lookup(sql, &[project.into()], &names).await? {
                if let Some(name) = row[1].as_str() {
                    self.ids.labels.put((project, name.to_owned()), id_of(&row));
                }
            }
        }
        Ok(())
    }

    /// Replaces the labels of each issue by those of its newest state.
    async fn issue_labels(&mut self, rows: &RowBatch) -> Result<(), sqlx::Error> {
        let mut wanted: HashMap<i64, HashSet<i64>> = HashMap::new();
        for (project, number, names) in labels_of(rows) {
            let Some(issue) = self.ids.issues.get(&(project, number)) else { continue };
            let labels =
                names.iter().filter_map(|name| self.ids.labels.get(&(project, truncate(name, MAX_TEXT)))).collect();
            wanted.insert(issue, labels);
        }
        let keys: Vec<Value> = wanted.keys().map(|id| (*id).into()).collect();
        let sql = "SELECT DISTINCT issue_id, label_id FROM issue_labels WHERE issue_id IN ({})";
        for row in self.lookup(sql, &[], &keys).await? {
            let (issue, label) = (id_of(&row), row[1].as_i64().unwrap_or(0));
            if !wanted.get_mut(&issue).is_some_and(|labels| labels.remove(&label)) {
                let sql = "DELETE FROM issue_labels WHERE issue_id = ? AND label_id = ?";
                self.tx.execute(sql, vec![issue.into(), label.into()]).await?;
            }
        }
        let pairs = wanted
            .into_iter()
            .flat_map(|(issue, labels)| labels.into_iter().map(move |label| vec![label.into(), issue.into()]))
            .collect();
        self.tx.upsert(&ISSUE_LABELS, pairs).await?;
        Ok(())
    }
}

/// Returns the label lists of a batch: of issues, and of pull requests whose labels no issue list tells.
fn labels_of(rows: &RowBatch) -> impl Iterator<Item = (i64, i64, &[String])> {
    let issues = rows.issues.iter().map(|issue| (issue.project, issue.number, issue.labels.as_slice()));
    let pulls = rows.pulls.iter().filter_map(|pull| Some((pull.project, pull.number, pull.labels.as_deref()?)));
    issues.chain(pulls)
}
