//! What is mirrored: a repository, an account, or a part of one.

use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use crate::github::TokenRef;
use crate::names::RepoName;
use crate::store::documents::{Collection, Document, KeyValue, SourceRepository};
use crate::store::relational::RowBatch;

/// What is mirrored, in words: a [`Repository`] or an [`User`](super::accounts::User). Lists are read in the same way
/// for all of them.
pub trait Subject: fmt::Display + Send + Sync + 'static {
    /// The row of `projects` that its sync state belongs to.
    fn project(&self) -> i64;

    /// What one of its lists is called in the sync state of that row.
    fn list_name(&self, list: &str) -> String;

    /// The values with which the keys of its documents begin.
    fn key(&self) -> Vec<&str>;

    /// The repository that its requests belong to, where it is one.
    fn repo(&self) -> Option<&RepoName>;

    /// The token that its requests go out with, where it has to be a certain one.
    fn token(&self) -> Option<&TokenRef> {
        None
    }

    /// Puts what belongs to it as a whole with what is written for it.
    fn stamp(&self, _documents: &mut [Document], _rows: &mut RowBatch) {}
}

/// The repository that is being mirrored.
#[derive(Debug, Clone)]
pub struct Repository {
    /// Its row.
    pub project: i64,
    /// Its present name, in GitHub's spelling.
    pub name: RepoName,
    /// GitHub's answer for it.
    pub facts: Value,
    /// What documents that it shares with others tell of it.
    pub source: Option<Arc<SourceRepository>>,
}

impl Repository {
    /// A flag of the repository's answer, such as `has_issues`; `true` where GitHub says nothing.
    pub fn has(&self, flag: &str) -> bool {
        self.facts.get(flag).and_then(Value::as_bool).unwrap_or(true)
    }

    /// A count of the repository's answer, such as `stargazers_count`.
    pub fn count(&self, key: &str) -> Option<u64> {
        self.facts.get(key).and_then(Value::as_u64)
    }

    /// Returns the key of a document of the repository: its owner, its name, and `rest`.
    pub fn document_key<const N: usize>(&self, rest: [KeyValue; N]) -> Vec<KeyValue> {
        let mut key: Vec<KeyValue> = vec![self.name.owner().into(), self.name.name().into()];
        key.extend(rest);
        key
    }

    /// Tags of a document that belongs to the repository, more of its own following.
    pub fn tags<'a>(&self, more: &[(&'a str, Value)]) -> Vec<(&'a str, Value)> {
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

impl Subject for Repository {
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

    /// A commit's document tells which repository it was read from, and accounts that no row refers to are remembered as
    /// mentioned here.
    fn stamp(&self, documents: &mut [Document], rows: &mut RowBatch) {
        for document in documents.iter_mut().filter(|document| document.collection == Collection::Commits) {
            document.source = self.source.clone();
        }
        rows.mentions.extend(rows.accounts.drain(..).map(|account| (self.project, account)));
    }
}
