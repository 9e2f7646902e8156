//! Resolves accounts to rows: by GitHub's id, and only where no id is known by login.
//!
//! Logins compare case-insensitively, and a row keeps GitHub's current spelling. A row takes another login from its own
//! profile or from a mention in a live response; a possibly outdated mention (a feed entry) never renames a row. Any
//! new login in a mention makes the row's profile due, which then decides.

use std::collections::{BTreeMap, HashMap};

use super::super::rows::Account;
use super::super::sql::{OnConflict, Upsert, Value, date};
use super::{BatchWriter, id_of};

const NEW_ACCOUNTS: Upsert = Upsert { table: "users", columns: &["login", "type"], key: &["login"], update: &[] };

/// GitHub id of an account; an existing id stays.
const ACCOUNT_GITHUB_IDS: Upsert = Upsert {
    table: "msght_users",
    columns: &["user_id", "github_id"],
    key: &["user_id"],
    update: &[("github_id", OnConflict::KeepExisting)],
};

const NEVER_RECHECKED: Upsert = Upsert {
    table: "msght_profiles",
    columns: &["user_id", "look_again_at"],
    key: &["user_id"],
    update: &[("look_again_at", OnConflict::Overwrite)],
};

const COLUMNS: &str = "SELECT u.id, u.login, u.type, m.github_id, m.profile_at FROM users u";

/// A mention of an account in a batch.
#[derive(Debug, Clone)]
pub(super) struct Mention {
    pub account: Account,
    /// From the account's own profile.
    pub own: bool,
}

impl Mention {
    /// Returns whether this mention has the account's current login.
    fn is_current(&self) -> bool {
        self.own || self.account.as_of.is_none()
    }

    /// Returns whether this mention is more reliable than the other one.
    pub(super) fn outranks(&self, other: &Self) -> bool {
        let rank = |mention: &Self| (mention.own, mention.account.as_of.is_none(), mention.account.as_of);
        rank(self) > rank(other)
    }
}

/// The identifying columns of a `users` row.
#[derive(Debug, Clone)]
struct AccountRow {
    id: i64,
    login: String,
    organization: bool,
    github_id: Option<i64>,
    profile_at: Option<String>,
}

impl AccountRow {
    fn of(row: &[Value]) -> Self {
        let text = |column: usize| row[column].as_str().map(str::to_owned);
        Self {
            id: id_of(row),
            login: text(1).unwrap_or_default(),
            organization: row[2].as_str() == Some("ORG"),
            github_id: row[3].as_i64(),
            profile_at: text(4),
        }
    }
}

/// Rows that may match a batch's accounts, by GitHub id and by lower-case login.
#[derive(Default)]
struct Candidates {
    by_github_id: HashMap<i64, AccountRow>,
    by_login: HashMap<String, AccountRow>,
}

pub(super) fn account_type(account: &Account) -> &'static str {
    if account.organization { "ORG" } else { "USR" }
}

/// Returns an account's key within a batch: its GitHub id if known.
pub(super) fn account_key(account: &Account) -> String {
    account.github_id.map_or_else(|| account.login.to_lowercase(), |github_id| format!("#{github_id}"))
}

/// Returns an account's key in the id cache. It includes the GitHub id, because a login may pass to another account,
/// and the spelling, so that a new one is noticed.
fn cache_key(account: &Account) -> String {
    match account.github_id {
        Some(github_id) => format!("{}#{github_id}", account.login),
        None => account.login.to_lowercase(),
    }
}

impl BatchWriter<'_> {
    /// Finds or inserts the rows of these accounts and caches their ids.
    pub(super) async fn accounts(&mut self, mentions: BTreeMap<String, Mention>) -> Result<(), sqlx::Error> {
        let mut missing: Vec<(String, Mention)> = Vec::new();
        for (key, mention) in mentions {
            let cached = self.ids.users.get(&cache_key(&mention.account)).filter(|_| !mention.own);
            match cached {
                Some(id) => _ = self.people.insert(key, id),
                None => missing.push((key, mention)),
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        let mut candidates = self.find_candidates(&missing).await?;
        let mut new: Vec<(String, Mention, String)> = Vec::new();
        for (key, mention) in missing {
            match self.resolve(&mention, &mut candidates).await? {
                Resolved::Row(id) => self.cache_id(key, &mention, id),
                Resolved::New(login) => new.push((key, mention, login)),
            }
        }
        self.insert_accounts(new).await
    }

    /// Caches a row id. Outdated mentions are looked up each time: they may leave undone what a current one does.
    fn cache_id(&mut self, key: String, mention: &Mention, id: i64) {
        if mention.is_current() {
            self.ids.users.put(cache_key(&mention.account), id);
        }
        self.people.insert(key, id);
    }

    async fn find_candidates(&mut self, missing: &[(String, Mention)]) -> Result<Candidates, sqlx::Error> {
        let mut found = Candidates::default();
        let github_ids: Vec<Value> = missing.iter().filter_map(|(_, m)| Some(m.account.github_id?.into())).collect();
        let sql = format!("{COLUMNS} JOIN msght_users m ON m.user_id = u.id WHERE m.github_id IN ({{}})");
        for row in self.lookup_unless_empty(&sql, &github_ids).await? {
            let row = AccountRow::of(&row);
            found.by_github_id.extend(row.github_id.map(|github_id| (github_id, row.clone())));
        }
        let settled = |account: &Account| {
            let row = account.github_id.and_then(|github_id| found.by_github_id.get(&github_id));
            row.is_some_and(|row| row.login == account.login)
        };
        let logins = missing.iter().filter(|(_, mention)| !settled(&mention.account));
        let logins: Vec<Value> = logins.map(|(_, mention)| mention.account.login.as_str().into()).collect();
        let sql = format!("{COLUMNS} LEFT JOIN msght_users m ON m.user_id = u.id WHERE u.login IN ({{}})");
        for row in self.lookup_unless_empty(&sql, &logins).await? {
            let row = AccountRow::of(&row);
            found.by_login.insert(row.login.to_lowercase(), row);
        }
        Ok(found)
    }

    /// Queries by a list of keys, which may be empty.
    async fn lookup_unless_empty(&mut self, sql: &str, keys: &[Value]) -> Result<Vec<Vec<Value>>, sqlx::Error> {
        if keys.is_empty() { Ok(Vec::new()) } else { self.lookup(sql, &[], keys).await }
    }

    /// Resolves one account, whose row may take another login or GitHub id from the mention.
    async fn resolve(&mut self, mention: &Mention, found: &mut Candidates) -> Result<Resolved, sqlx::Error> {
        let account = &mention.account;
        let login = account.login.to_lowercase();
        let identified = account.github_id.and_then(|github_id| found.by_github_id.get(&github_id).cloned());
        if let Some(mut row) = identified {
            if row.login != account.login {
                if mention.is_current() {
                    self.rename(&mut row, mention, found).await?;
                } else {
                    self.check_login(&row, account).await?;
                }
            }
            self.record_organization(&row, account).await?;
            return Ok(Resolved::Row(row.id));
        }
        let Some(mut row) = found.by_login.get(&login).cloned() else {
            return Ok(Resolved::New(account.login.clone()));
        };
        match (account.github_id, row.github_id) {
            (Some(wanted), Some(former)) if wanted != former => {
                if !mention.is_current() {
                    // Its own profile will tell its current login.
                    return Ok(Resolved::New(format!("{}~{wanted}", account.login)));
                }
                self.displace_login(&row).await?;
                found.by_login.remove(&login);
                Ok(Resolved::New(account.login.clone()))
            }
            (Some(wanted), None) => {
                if mention.is_current() {
                    self.tx.upsert(&ACCOUNT_GITHUB_IDS, vec![vec![row.id.into(), wanted.into()]]).await?;
                    row.github_id = Some(wanted);
                    found.by_github_id.insert(wanted, row.clone());
                    if row.login != account.login {
                        self.rename(&mut row, mention, found).await?;
                    }
                }
                self.record_organization(&row, account).await?;
                Ok(Resolved::Row(row.id))
            }
            _ => {
                self.record_organization(&row, account).await?;
                Ok(Resolved::Row(row.id))
            }
        }
    }

    /// Renames a row to the login of a live response; the former holder of the login is displaced.
    async fn rename(
        &mut self,
        row: &mut AccountRow,
        mention: &Mention,
        found: &mut Candidates,
    ) -> Result<(), sqlx::Error> {
        let account = &mention.account;
        let login = account.login.to_lowercase();
        if let Some(holder) = found.by_login.get(&login).cloned().filter(|holder| holder.id != row.id) {
            self.displace_login(&holder).await?;
            if let Some(holder) = holder.github_id.and_then(|github_id| found.by_github_id.get_mut(&github_id)) {
                holder.login = displaced_login(holder);
            }
        }
        let sql = "UPDATE users SET login = ? WHERE id = ?";
        self.tx.execute(sql, vec![account.login.as_str().into(), row.id.into()]).await?;
        if !mention.own {
            self.make_profile_due(row.id).await?;
        }
        self.uncache_login(row);
        found.by_login.remove(&row.login.to_lowercase());
        row.login.clone_from(&account.login);
        found.by_login.insert(login, row.clone());
        if let Some(github_id) = row.github_id {
            found.by_github_id.insert(github_id, row.clone());
        }
        Ok(())
    }

    /// Displaces a row whose login GitHub has given to another account: it gets an impossible login until its own
    /// profile tells the current one. Without a GitHub id nobody can ask for that, and the account is marked as
    /// deleted.
    async fn displace_login(&mut self, row: &AccountRow) -> Result<(), sqlx::Error> {
        let unknown = row.github_id.is_none();
        let sql = "UPDATE users SET login = ?1, deleted = CASE WHEN ?2 THEN 1 ELSE deleted END WHERE id = ?3";
        self.tx.execute(sql, vec![displaced_login(row).into(), unknown.into(), row.id.into()]).await?;
        if unknown {
            self.tx.upsert(&NEVER_RECHECKED, vec![vec![row.id.into(), "9999-12-31 00:00:00".into()]]).await?;
        } else {
            self.make_profile_due(row.id).await?;
        }
        self.uncache_login(row);
        Ok(())
    }

    fn uncache_login(&mut self, row: &AccountRow) {
        self.ids.users.remove(&row.login.to_lowercase());
        if let Some(github_id) = row.github_id {
            self.ids.users.remove(&format!("{}#{github_id}", row.login));
        }
    }

    /// Makes a row's profile due if a mention with another login is newer than the last read profile.
    async fn check_login(&mut self, row: &AccountRow, account: &Account) -> Result<(), sqlx::Error> {
        let younger = account.as_of.map(date) > row.profile_at;
        if younger && row.profile_at.is_some() && !row.login.eq_ignore_ascii_case(&account.login) {
            self.make_profile_due(row.id).await?;
        }
        Ok(())
    }

    async fn make_profile_due(&mut self, user: i64) -> Result<(), sqlx::Error> {
        let sql = "UPDATE msght_users SET profile_at = NULL WHERE user_id = ?";
        self.tx.execute(sql, vec![user.into()]).await?;
        let sql = "UPDATE msght_profiles SET look_again_at = NULL WHERE user_id = ?";
        self.tx.execute(sql, vec![user.into()]).await.map(drop)
    }

    async fn record_organization(&mut self, row: &AccountRow, account: &Account) -> Result<(), sqlx::Error> {
        if account.organization && !row.organization {
            self.tx.execute("UPDATE users SET type = 'ORG' WHERE id = ?", vec![row.id.into()]).await?;
        }
        Ok(())
    }

    /// Inserts rows for accounts that have none, under these logins.
    async fn insert_accounts(&mut self, new: Vec<(String, Mention, String)>) -> Result<(), sqlx::Error> {
        if new.is_empty() {
            return Ok(());
        }
        let rows = new.iter().map(|(_, m, login)| vec![login.as_str().into(), account_type(&m.account).into()]);
        self.tx.upsert(&NEW_ACCOUNTS, rows.collect()).await?;
        let logins: Vec<Value> = new.iter().map(|(_, _, login)| login.as_str().into()).collect();
        let mut ids: HashMap<String, i64> = HashMap::new();
        for row in self.lookup("SELECT id, login FROM users WHERE login IN ({})", &[], &logins).await? {
            ids.insert(row[1].as_str().unwrap_or_default().to_lowercase(), id_of(&row));
        }
        let mut github_ids = Vec::new();
        for (key, mention, login) in new {
            let Some(id) = ids.get(&login.to_lowercase()).copied() else { continue };
            github_ids.push(vec![id.into(), mention.account.github_id.into()]);
            self.cache_id(key, &mention, id);
        }
        self.tx.upsert(&ACCOUNT_GITHUB_IDS, github_ids).await.map(drop)
    }
}

/// The outcome of resolving an account.
enum Resolved {
    Row(i64),
    /// No row exists: one is inserted under this login.
    New(String),
}

/// Returns an impossible login, for a row whose own login belongs to another account.
fn displaced_login(row: &AccountRow) -> String {
    match row.github_id {
        Some(github_id) => format!("{}~{github_id}", row.login),
        None => format!("{}~row{}", row.login, row.id),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::DateTime;

    fn mention(as_of: Option<i64>, own: bool) -> Mention {
        let as_of = as_of.and_then(|seconds| DateTime::from_timestamp(seconds, 0));
        Mention { account: Account { login: "a".to_owned(), github_id: Some(1), organization: false, as_of }, own }
    }

    #[test]
    fn profile_outranks_live_mention_outranks_old_one() {
        let by_rank = [mention(Some(1), false), mention(Some(2), false), mention(None, false), mention(None, true)];
        for pair in by_rank.windows(2) {
            assert!(pair[1].outranks(&pair[0]) && !pair[0].outranks(&pair[1]));
        }
    }
}
