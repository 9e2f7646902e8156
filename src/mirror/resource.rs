//! Resources that are mirrored: a repository, an account, or a part of one.

use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use crate::github::TokenRef;
use crate::names::RepoName;
use crate::store::documents::{Collection, Document, KeyValue, SourceRepository};
use crate::store::relational::RowBatch;

/// A resource that is mirrored, such as a [`Repository`] or a [`User`](super::accounts::User). Lists are synced in the
/// same way for all of them; its display is its name for users.
pub(super) trait Resource: fmt::Display + Send + Sync + 'static {
    /// Returns the row of `projects` that its sync state belongs to.
    fn project(&self) -> i64;

    /// Returns the name of one of its lists in the sync state of that row.
    fn list_name(&self, list: &str) -> String;

    /// Returns the prefix of its documents' keys.
    fn key(&self) -> Vec<&str>;

    /// Returns the repository that its requests belong to, if it is one.
    fn repo(&self) -> Option<&RepoName>;

    /// Returns the token for its requests, if it has to be a certain one.
    fn token(&self) -> Option<&TokenRef> {
        None
    }

    /// Adds the resource's provenance to documents and rows.
    fn stamp(&self, _documents: &mut [Document], _rows: &mut RowBatch) {}
}

/// A repository that is being mirrored.
#[derive(Debug, Clone)]
pub(super) struct Repository {
    /// Id of its row.
    pub project: i64,
    /// Present name, in GitHub's spelling.
    pub name: RepoName,
    /// GitHub's JSON of it.
    pub json: Value,
    /// Origin that documents shared with other repositories record.
    pub source: Option<Arc<SourceRepository>>,
}

impl Repository {
    /// Returns whether the repository may have a feature, by a flag of its JSON, such as `has_issues`; `true` if that is
    /// missing.
    pub(super) fn may_have(&self, flag: &str) -> bool {
        self.json.get(flag).and_then(Value::as_bool).unwrap_or(true)
    }

    /// Returns a count of the repository's JSON, such as `stargazers_count`.
    pub(super) fn count(&self, key: &str) -> Option<u64> {
        self.json.get(key).and_then(Value::as_u64)
    }

    /// Returns the key of a document of the repository: its owner, its name, and `rest`.
    pub(super) fn document_key<const N: usize>(&self, rest: [KeyValue; N]) -> Vec<KeyValue> {
        let mut key: Vec<KeyValue> = vec![self.name.owner().into(), self.name.name().into()];
        key.extend(rest);
        key
    }

    /// Returns the tags of a document of the repository, followed by `more`.
    pub(super) fn tags<'a>(&self, more: &[(&'a str, Value)]) -> Vec<(&'a str, Value)> {
        let mut tags = vec![("owner", Value::from(self.name.owner())), ("repo", Value::from(self.name.name()))];
        tags.extend_from_slice(more);
        tags
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.name.fmt(f)
    }
}

impl Resource for Repository {
    fn project(&self) -> i64 {
        self.project
    }

    fn list_name(&self, list: &str) -> String {
        list.to_owned()
    }

    fn key(&self) -> Vec<&str> {
        vec![self.name.owner(), self.name.name()]
    }

    fn repo(&self) -> Option<&RepoName> {
        Some(&self.name)
    }

    /// Records with commits' documents the repository that they were fetched from, and accounts that no row refers to as
    /// mentioned here.
    fn stamp(&self, documents: &mut [Document], rows: &mut RowBatch) {
        for document in documents.iter_mut().filter(|document| document.collection == Collection::Commits) {
            document.source = self.source.clone();
        }
        rows.mentions.extend(rows.accounts.drain(..).map(|account| (self.project, account)));
    }
}
