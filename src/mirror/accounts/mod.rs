//! Accounts: people, bots and organizations.

mod permissions;
pub(super) mod profiles;
pub(super) mod relations;
mod resolve;

use std::fmt;

use serde_json::Value;

use super::resource::Resource;
use super::sync_keys::account_list;
use crate::github::TokenRef;
use crate::names::RepoName;
use crate::store::relational::NO_PROJECT;
use crate::store::relational::rows::Account;

/// An account that is being mirrored: a person, a bot or an organization.
#[derive(Debug, Clone)]
pub(super) struct User {
    /// GitHub's id, which survives a rename.
    pub github_id: i64,
    /// Natural key of its row, in GitHub's spelling.
    pub account: Account,
    /// GitHub's JSON of it.
    pub json: Value,
    /// Token that its lists are requested with, where the answer depends on the token.
    pub token: Option<TokenRef>,
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.account.login)
    }
}

impl Resource for User {
    fn project(&self) -> i64 {
        NO_PROJECT
    }

    fn list_name(&self, list: &str) -> String {
        account_list(self.github_id, list)
    }

    fn key(&self) -> Vec<&str> {
        vec![&self.account.login]
    }

    fn repo(&self) -> Option<&RepoName> {
        None
    }

    fn token(&self) -> Option<&TokenRef> {
        self.token.as_ref()
    }
}
