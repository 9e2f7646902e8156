//! Commits, their parents, and comments on them.

use std::collections::HashSet;

use super::super::batch::RowBatch;
use super::super::sql::{OnConflict, Upsert, Value};
use super::{BatchWriter, MAX_BODY, id_of, truncate_option};

const COMMITS: Upsert = Upsert {
    table: "commits",
    columns: &["sha", "author_id", "committer_id", "project_id", "created_at"],
    key: &["sha"],
    update: &[
        ("author_id", OnConflict::Overwrite),
        ("committer_id", OnConflict::Overwrite),
        ("project_id", OnConflict::KeepExisting),
        ("created_at", OnConflict::Overwrite),
    ],
};

/// A commit that is referred to before it is read itself.
pub(in super::super) const STUBS: Upsert =
    Upsert { table: "commits", columns: &["sha", "project_id"], key: &["sha"], update: &[] };

const PARENTS: Upsert = Upsert {
    table: "commit_parents",
    columns: &["commit_id", "parent_id"],
    key: &["commit_id", "parent_id"],
    update: &[],
};

const PROJECT_COMMITS: Upsert = Upsert {
    table: "project_commits",
    columns: &["project_id", "commit_id"],
    key: &["project_id", "commit_id"],
    update: &[],
};

const COMMENTS: Upsert = Upsert {
    table: "commit_comments",
    columns: &["commit_id", "user_id", "body", "line", "position", "comment_id", "created_at", "deleted"],
    key: &["comment_id"],
    update: &[
        ("commit_id", OnConflict::Overwrite),
        ("user_id", OnConflict::Overwrite),
        ("body", OnConflict::Overwrite),
        ("line", OnConflict::Overwrite),
        ("position", OnConflict::Overwrite),
        ("created_at", OnConflict::Overwrite),
        ("deleted", OnConflict::Overwrite),
    ],
};

impl BatchWriter<'_> {
    pub(super) async fn commits(&mut self, rows: &RowBatch) -> Result<(), sqlx::Error> {
        let mut seen = HashSet::new();
        let values = rows
            .commits
            .iter()
            .filter(|commit| seen.insert(commit.sha.as_str()))
            .map(|commit| {
                vec![
                    commit.sha.as_str().into(),
                    self.person(&commit.author),
                    self.person(&commit.committer),
                    commit.project.into(),
                    commit.created_at.into(),
                ]
            })
            .collect();
        self.tx.upsert(&COMMITS, values).await?;
        self.ensure_commit_stubs(rows).await?;

        let mut parents = Vec::new();
        let mut memberships = Vec::new();
        for commit in &rows.commits {
            let Some(id) = self.ids.commits.get(&commit.sha) else { continue };
            for parent in &commit.parents {
                if let Some(parent) = self.ids.commits.get(parent) {
                    parents.push(vec![id.into(), parent.into()]);
                }
            }
            if commit.on_branch {
                memberships.push(vec![commit.project.into(), id.into()]);
            }
        }
        self.tx.upsert(&PARENTS, parents).await?;
        self.tx.upsert(&PROJECT_COMMITS, memberships).await?;

        let comments = rows
            .commit_comments
            .iter()
            .filter_map(|comment| {
                let commit = self.ids.commits.get(&comment.sha)?;
                Some(vec![
                    commit.into(),
                    self.person(&comment.user),
                    truncate_option(comment.body.as_ref(), MAX_BODY),
                    comment.line.into(),
                    comment.position.into(),
                    comment.comment_id.into(),
                    comment.created_at.into(),
                    false.into(),
                ])
            })
            .collect();
        self.tx.upsert(&COMMENTS, comments).await?;
        Ok(())
    }

    /// Finds the row ids of all commits of the batch, inserting stubs for those only referred to.
    async fn ensure_commit_stubs(&mut self, rows: &RowBatch) -> Result<(), sqlx::Error> {
        let mut mentioned: Vec<(i64, &str)> = Vec::new();
        for commit in &rows.commits {
            mentioned.push((commit.project, &commit.sha));
            mentioned.extend(commit.parents.iter().map(|parent| (commit.project, parent.as_str())));
        }
        mentioned.extend(rows.commit_comments.iter().map(|comment| (comment.project, comment.sha.as_str())));
        for pull in &rows.pulls {
            mentioned
                .extend([&pull.head_sha, &pull.base_sha].into_iter().flatten().map(|sha| (pull.project, sha.as_str())));
        }
        for pull in &rows.pull_commits {
            mentioned.extend(pull.shas.iter().map(|sha| (pull.project, sha.as_str())));
        }
        mentioned
            .extend(rows.review_comments.iter().filter_map(|comment| Some((comment.project, comment.sha.as_deref()?))));
        let mut seen = HashSet::new();
        mentioned.retain(|(_, sha)| seen.insert(*sha) && self.ids.commits.get(&(*sha).to_owned()).is_none());

        self.find_commits(mentioned.iter().map(|(_, sha)| *sha)).await?;
        mentioned.retain(|(_, sha)| self.ids.commits.get(&(*sha).to_owned()).is_none());
        if mentioned.is_empty() {
            return Ok(());
        }
        let stubs = mentioned.iter().map(|(project, sha)| vec![(*sha).into(), (*project).into()]).collect();
        self.tx.upsert(&STUBS, stubs).await?;
        self.find_commits(mentioned.iter().map(|(_, sha)| *sha)).await
    }

    pub(super) async fn find_commits(&mut self, shas: impl Iterator<Item = &str>) -> Result<(), sqlx::Error> {
        let keys: Vec<Value> = shas.map(Value::from).collect();
        for row in self.lookup("SELECT id, sha FROM commits WHERE sha IN ({})", &[], &keys).await? {
            if let Some(sha) = row[1].as_str() {
                self.ids.commits.put(sha.to_owned(), id_of(&row));
            }
        }
        Ok(())
    }
}
