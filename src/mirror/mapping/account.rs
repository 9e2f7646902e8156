//! Accounts as GitHub's JSON embeds them.

use serde_json::Value;

use crate::store::relational::rows::{Account, Person};

/// Reads an account's stub. Null, `{}` and a stub without a login are no account (GitHub docs: `user` is nullable).
pub(crate) fn account(value: Option<&Value>) -> Option<Account> {
    let value = value?;
    let login = value.get("login").and_then(Value::as_str).filter(|login| !login.is_empty())?;
    Some(Account {
        login: login.to_owned(),
        github_id: value.get("id").and_then(Value::as_i64),
        organization: value.get("type").and_then(Value::as_str) == Some("Organization"),
        as_of: None,
    })
}

/// Converts an account to a person: GitHub shows deleted people as `ghost`.
pub(crate) fn as_person(account: Account) -> Person {
    if account.login.eq_ignore_ascii_case("ghost") { Person::Ghost } else { Person::Account(account) }
}
