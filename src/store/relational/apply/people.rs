//! Users: accounts, the one ghost, and authors known only by an e-mail address (data model, §4).

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};

use sha2::{Digest, Sha256};

use super::super::rows::{Account, Person, Profile, Rows};
use super::super::sql::{Rule, Upsert, Value, date};
use super::{Batch, TEXT, cut_option, id_of};

/// The login that GitHub shows for people it no longer knows.
pub const GHOST: &str = "ghost";

/// The committer of everything that is done in GitHub's web interface: it belongs to nobody, so that it must never
/// tie an account to an author.
const WEB_FLOW_EMAIL: &str = "noreply@github.com";

/// Letters of a fake user's login. 26^12 leaves a collision out of the question.
const FAKE_LOGIN_LETTERS: usize = 12;

const NEW_ACCOUNTS: Upsert = Upsert { table: "users", columns: &["login", "type"], key: &["login"], update: &[] };

const ACCOUNT_FACTS: Upsert =
    Upsert { table: "msght_users", columns: &["user_id", "github_id"], key: &[], update: &[] };

const PROFILES: Upsert = Upsert {
    table: "users",
    columns: &["login", "type", "name", "company", "location", "email", "created_at", "deleted"],
    key: &["login"],
    update: &[
        ("type", Rule::Replace),
        ("name", Rule::Replace),
        ("company", Rule::Replace),
        ("location", Rule::Replace),
        ("email", Rule::Replace),
        ("created_at", Rule::Replace),
        ("deleted", Rule::Replace),
    ],
};

pub(super) const PROFILE_FACTS: Upsert = Upsert {
    table: "msght_users",
    columns: &["user_id", "profile_at"],
    key: &["user_id"],
    update: &[("profile_at", Rule::Replace)],
};

/// Of several names under one address the first in the alphabet stays, whatever order commits come in.
const FAKES: Upsert = Upsert {
    table: "users",
    columns: &["login", "name", "email", "fake"],
    key: &["login"],
    update: &[("name", Rule::Least)],
};

const EMAILS: Upsert = Upsert { table: "msght_emails", columns: &["email", "user_id"], key: &["email"], update: &[] };

fn type_of(account: &Account) -> &'static str {
    if account.organization { "ORG" } else { "USR" }
}

/// What tells people apart within a batch.
pub(super) fn key_of(person: &Person) -> String {
    match person {
        Person::Account(account) => account.login.to_lowercase(),
        Person::Ghost => GHOST.to_owned(),
        Person::Fake { name, email } => fake_login(name.as_deref(), email.as_deref()),
    }
}

/// The login of somebody known only by an e-mail address: letters derived from it, so that every run and every
/// worker makes the same one. Without an address the name must do.
pub(super) fn fake_login(name: Option<&str>, email: Option<&str>) -> String {
    let source = match email.filter(|email| !email.is_empty()) {
        Some(email) => format!("email:{email}"),
        None => format!("name:{}", name.unwrap_or_default()),
    };
    let digest = Sha256::digest(source.as_bytes());
    digest.iter().take(FAKE_LOGIN_LETTERS).map(|byte| char::from(b'A' + byte % 26)).collect()
}

/// What an account's row is remembered by. GitHub's number is a part of it: a login may pass to another account.
fn cache_key(login: &str, github_id: Option<i64>) -> String {
    github_id.map_or_else(|| login.to_owned(), |github_id| format!("{login}#{github_id}"))
}

/// What an e-mail address is found by: itself, or a digest of one that is longer than its column.
fn email_key(email: &str) -> Cow<'_, str> {
    if email.chars().count() <= TEXT {
        return Cow::Borrowed(email);
    }
    let digest = Sha256::digest(email.as_bytes());
    Cow::Owned(digest.iter().map(|byte| format!("{byte:02x}")).collect())
}

impl Batch<'_> {
    /// Makes sure of everybody the batch speaks of, and remembers their row ids.
    pub(super) async fn people(&mut self, rows: &Rows) -> Result<(), sqlx::Error> {
        let mut accounts: BTreeMap<String, Account> = BTreeMap::new();
        let mut fakes: BTreeMap<String, (Option<String>, Option<String>)> = BTreeMap::new();
        let ghost = Account { login: GHOST.to_owned(), github_id: None, organization: false };
        let mut see = |person: &Person| match person {
            Person::Account(account) => {
                accounts.entry(account.login.to_lowercase()).or_insert_with(|| account.clone());
            }
            Person::Ghost => {
                accounts.entry(GHOST.to_owned()).or_insert_with(|| ghost.clone());
            }
            Person::Fake { name, email } => {
                let entry = fakes.entry(key_of(person)).or_insert_with(|| (name.clone(), email.clone()));
                if name.is_some() && (entry.0.is_none() || *name < entry.0) {
                    entry.0.clone_from(name);
                }
            }
        };
        for person in everybody(rows) {
            see(&person);
        }
        self.accounts(&accounts).await?;
        self.profiles(&rows.profiles).await?;
        self.emails(&rows.emails).await?;
        self.fakes(fakes).await
    }

    /// The row id of the one ghost.
    pub(super) async fn ghost(&mut self) -> Result<i64, sqlx::Error> {
        let ghost = Account { login: GHOST.to_owned(), github_id: None, organization: false };
        self.accounts(&BTreeMap::from([(GHOST.to_owned(), ghost)])).await?;
        Ok(self.people.get(GHOST).copied().unwrap_or(-1))
    }

    async fn accounts(&mut self, accounts: &BTreeMap<String, Account>) -> Result<(), sqlx::Error> {
        let mut missing: BTreeMap<&String, &Account> = BTreeMap::new();
        for (login, account) in accounts {
            match self.ids.users.get(&cache_key(login, account.github_id)) {
                Some(id) => _ = self.people.insert(login.clone(), id),
                None => _ = missing.insert(login, account),
            }
        }
        self.find_users(&mut missing).await?;
        self.find_renamed(&mut missing).await?;
        if missing.is_empty() {
            return Ok(());
        }
        let rows = missing.values().map(|account| vec![account.login.as_str().into(), type_of(account).into()]);
        self.tx.upsert(&NEW_ACCOUNTS, rows.collect()).await?;
        let new = missing.clone();
        self.find_users(&mut missing).await?;
        let facts: Vec<Vec<Value>> = new
            .iter()
            .filter_map(|(login, account)| {
                let id = *self.people.get(*login)?;
                Some(vec![id.into(), account.github_id.into()])
            })
            .collect();
        self.tx.upsert(&ACCOUNT_FACTS, facts).await?;
        Ok(())
    }

    /// Takes out of `missing` whom the table has already.
    async fn find_users(&mut self, missing: &mut BTreeMap<&String, &Account>) -> Result<(), sqlx::Error> {
        let keys: Vec<Value> = missing.keys().map(|login| login.as_str().into()).collect();
        if keys.is_empty() {
            return Ok(());
        }
        let sql = "SELECT u.id, u.login, u.type, m.github_id FROM users u LEFT JOIN msght_users m ON m.user_id = u.id \
                   WHERE u.login IN ({})";
        for row in self.lookup(sql, &[], &keys).await? {
            let (id, login) = (id_of(&row), row[1].as_str().unwrap_or_default().to_lowercase());
            let Some(account) = missing.get(&login).copied() else { continue };
            if let (Some(wanted), Some(former)) = (account.github_id, row[3].as_i64())
                && wanted != former
            {
                self.set_login_aside(id, &account.login, former).await?;
                continue;
            }
            missing.remove(&login);
            if account.organization && row[2].as_str() != Some("ORG") {
                let sql = "UPDATE users SET type = 'ORG' WHERE id = ?";
                self.tx.execute(sql, vec![id.into()]).await?;
            }
            self.ids.users.put(cache_key(&login, account.github_id), id);
            self.people.insert(login, id);
        }
        Ok(())
    }

    /// GitHub has given a login to somebody else: the row of who had it before bears a login that nobody can have, until
    /// that account is met again under its present one.
    async fn set_login_aside(&mut self, id: i64, login: &str, github_id: i64) -> Result<(), sqlx::Error> {
        let aside = format!("{login}~{github_id}");
        self.tx.execute("UPDATE users SET login = ? WHERE id = ?", vec![aside.into(), id.into()]).await?;
        self.ids.users.forget(&cache_key(&login.to_lowercase(), None));
        Ok(())
    }

    /// An unknown login whose numeric id is known belongs to an account that was renamed: its row takes the new login.
    async fn find_renamed(&mut self, missing: &mut BTreeMap<&String, &Account>) -> Result<(), sqlx::Error> {
        let by_id: HashMap<i64, String> =
            missing.iter().filter_map(|(login, account)| Some((account.github_id?, (*login).clone()))).collect();
        let keys: Vec<Value> = by_id.keys().map(|id| (*id).into()).collect();
        if keys.is_empty() {
            return Ok(());
        }
        let sql = "SELECT user_id, github_id FROM msght_users WHERE github_id IN ({})";
        for row in self.lookup(sql, &[], &keys).await? {
            let Some(login) = row[1].as_i64().and_then(|github_id| by_id.get(&github_id)) else { continue };
            let Some(account) = missing.remove(login) else { continue };
            let sql = "UPDATE users SET login = ? WHERE id = ?";
            self.tx.execute(sql, vec![account.login.as_str().into(), id_of(&row).into()]).await?;
            self.people.insert(login.clone(), id_of(&row));
            self.ids.users.put(cache_key(login, account.github_id), id_of(&row));
        }
        Ok(())
    }

    async fn profiles(&mut self, profiles: &[Profile]) -> Result<(), sqlx::Error> {
        let rows = profiles.iter().map(|profile| {
            vec![
                profile.account.login.as_str().into(),
                type_of(&profile.account).into(),
                cut_option(profile.name.as_ref(), TEXT),
                cut_option(profile.company.as_ref(), TEXT),
                cut_option(profile.location.as_ref(), TEXT),
                cut_option(profile.email.as_ref(), TEXT),
                profile.created_at.into(),
                false.into(),
            ]
        });
        self.tx.upsert(&PROFILES, rows.collect()).await?;
        let facts: Vec<Vec<Value>> = profiles
            .iter()
            .filter_map(|profile| {
                let id = *self.people.get(&profile.account.login.to_lowercase())?;
                Some(vec![id.into(), date(profile.read_at).into()])
            })
            .collect();
        self.tx.upsert(&PROFILE_FACTS, facts).await?;
        Ok(())
    }

    /// Learns which account an e-mail address belongs to. A fake user made for the address earlier becomes that
    /// account: all that refers to it follows.
    async fn emails(&mut self, ties: &[(String, Account)]) -> Result<(), sqlx::Error> {
        // By key: the address itself, and the account's row.
        let mut unknown: BTreeMap<String, (&str, i64)> = BTreeMap::new();
        for (email, account) in ties {
            let key = email_key(email).into_owned();
            if email.is_empty() || email == WEB_FLOW_EMAIL || self.ids.emails.get(&key).is_some() {
                continue;
            }
            if let Some(id) = self.people.get(&account.login.to_lowercase()) {
                unknown.entry(key).or_insert((email, *id));
            }
        }
        for (key, id) in self.known_emails(unknown.keys().map(String::as_str), "").await? {
            unknown.remove(&key);
            self.ids.emails.put(key, id);
        }
        if unknown.is_empty() {
            return Ok(());
        }
        let rows = unknown.iter().map(|(key, (_, id))| vec![key.as_str().into(), (*id).into()]).collect();
        self.tx.upsert(&EMAILS, rows).await?;
        let by_login: HashMap<String, i64> =
            unknown.values().map(|(email, id)| (fake_login(None, Some(email)), *id)).collect();
        let keys: Vec<Value> = by_login.keys().map(|login| login.as_str().into()).collect();
        // Another process may be making the fake user just now: the one who comes second sees what the first has done.
        let sql = format!("SELECT id, login FROM users WHERE fake = 1 AND login IN ({{}}){}", self.tx.for_update());
        let mut merged = HashSet::new();
        for row in self.lookup(&sql, &[], &keys).await? {
            let Some(account) = row[1].as_str().and_then(|login| by_login.get(login)) else { continue };
            if merged.insert(id_of(&row)) {
                self.merge_fake(id_of(&row), *account).await?;
            }
        }
        for (key, (_, id)) in unknown {
            self.ids.emails.put(key, id);
        }
        Ok(())
    }

    async fn merge_fake(&mut self, fake: i64, account: i64) -> Result<(), sqlx::Error> {
        for sql in [
            "UPDATE commits SET author_id = ? WHERE author_id = ?",
            "UPDATE commits SET committer_id = ? WHERE committer_id = ?",
        ] {
            self.tx.execute(sql, vec![account.into(), fake.into()]).await?;
        }
        self.tx.execute("DELETE FROM users WHERE id = ?", vec![fake.into()]).await?;
        Ok(())
    }

    async fn known_emails(
        &mut self,
        emails: impl Iterator<Item = &str>,
        locking: &str,
    ) -> Result<Vec<(String, i64)>, sqlx::Error> {
        let keys: Vec<Value> = emails.map(Value::from).collect();
        let sql = format!("SELECT user_id, email FROM msght_emails WHERE email IN ({{}}){locking}");
        let rows = self.lookup(&sql, &[], &keys).await?;
        Ok(rows.into_iter().filter_map(|row| Some((row[1].as_str()?.to_owned(), id_of(&row)))).collect())
    }

    async fn fakes(&mut self, fakes: BTreeMap<String, (Option<String>, Option<String>)>) -> Result<(), sqlx::Error> {
        if fakes.is_empty() {
            return Ok(());
        }
        let mut tied: HashMap<String, i64> = HashMap::new();
        let emails: Vec<Cow<'_, str>> =
            fakes.values().filter_map(|(_, email)| email.as_deref().map(email_key)).collect();
        for (email, id) in self.known_emails(emails.iter().map(AsRef::as_ref), "").await? {
            tied.insert(email, id);
        }
        let (mut made, mut rows): (Vec<Value>, Vec<Vec<Value>>) = Default::default();
        for (login, (name, email)) in &fakes {
            if let Some(id) = email.as_ref().and_then(|email| tied.get(&*email_key(email))) {
                self.people.insert(login.clone(), *id);
                continue;
            }
            rows.push(vec![
                login.as_str().into(),
                cut_option(name.as_ref(), TEXT),
                cut_option(email.as_ref(), TEXT),
                true.into(),
            ]);
            made.push(login.as_str().into());
        }
        let touched = self.tx.upsert(&FAKES, rows).await?;
        for row in self.lookup("SELECT id, login FROM users WHERE login IN ({})", &[], &made).await? {
            if let Some(login) = row[1].as_str() {
                self.people.insert(login.to_owned(), id_of(&row));
            }
        }
        let locking = self.tx.for_update();
        // Where nobody else writes meanwhile, nothing has to be waited for.
        if touched > 0 && !locking.is_empty() {
            self.merge_tied_meanwhile(&fakes, locking).await?;
        }
        Ok(())
    }

    /// Another process may have tied an address to its account since it was looked up: whoever waits for the other's row
    /// sees it, here or in [`emails`](Self::emails).
    async fn merge_tied_meanwhile(
        &mut self,
        fakes: &BTreeMap<String, (Option<String>, Option<String>)>,
        locking: &str,
    ) -> Result<(), sqlx::Error> {
        let by_key: HashMap<String, &String> = fakes
            .iter()
            .filter_map(|(login, (_, email))| Some((email_key(email.as_deref()?).into_owned(), login)))
            .collect();
        for (key, account) in self.known_emails(by_key.keys().map(String::as_str), locking).await? {
            let Some(login) = by_key.get(&key) else { continue };
            if let Some(fake) = self.people.insert((*login).clone(), account).filter(|fake| *fake != account) {
                self.merge_fake(fake, account).await?;
            }
        }
        Ok(())
    }
}

/// Everybody that a batch refers to.
fn everybody(rows: &Rows) -> Vec<Person> {
    let mut people: Vec<Person> = Vec::new();
    people.extend(rows.accounts.iter().cloned().map(Person::Account));
    people.extend(rows.profiles.iter().map(|profile| Person::Account(profile.account.clone())));
    people.extend(rows.emails.iter().map(|(_, account)| Person::Account(account.clone())));
    people.extend(rows.projects.iter().map(|project| Person::Account(project.owner.clone())));
    people.extend(rows.commits.iter().flat_map(|commit| [commit.author.clone(), commit.committer.clone()]));
    people.extend(rows.commit_comments.iter().map(|comment| comment.user.clone()));
    people.extend(rows.pulls.iter().flat_map(|pull| [Some(pull.user.clone()), pull.assignee.clone()]).flatten());
    people.extend(rows.pull_facts.iter().filter_map(|fact| fact.actor.clone()));
    people.extend(rows.review_comments.iter().map(|comment| comment.user.clone()));
    people
        .extend(rows.issues.iter().flat_map(|issue| [Some(issue.reporter.clone()), issue.assignee.clone()]).flatten());
    people.extend(rows.issue_comments.iter().map(|comment| comment.user.clone()));
    people.extend(rows.issue_events.iter().map(|event| event.actor.clone()));
    people.extend(rows.teams.iter().map(|team| Person::Account(team.organization.clone())));
    people.extend(rows.team_members.iter().map(|(_, member)| Person::Account(member.clone())));
    for ties in [&rows.followers, &rows.organization_members, &rows.outside_collaborators] {
        people.extend(ties.iter().flat_map(|tie| [tie.to.clone(), tie.from.clone()]).map(Person::Account));
    }
    for ties in [&rows.members, &rows.watchers, &rows.watchers_from_events] {
        people.extend(ties.iter().map(|tie| tie.user.clone()));
    }
    people
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fake_login_is_at_least_eight_capitals_and_depends_on_the_address_alone() {
        let login = fake_login(Some("Jane"), Some("jane@example.org"));
        assert!(login.len() >= 8 && login.chars().all(|c| c.is_ascii_uppercase()), "{login}");
        assert_eq!(login, fake_login(Some("Someone else"), Some("jane@example.org")));
        assert_ne!(login, fake_login(Some("Jane"), Some("joe@example.org")));
        assert_ne!(fake_login(Some("Jane"), None), fake_login(Some("Joe"), None));
    }
}
