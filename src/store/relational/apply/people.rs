//! Users: accounts, the one ghost, and authors known only by an e-mail address (`docs/data-model.md`, "users").

use std::borrow::Cow;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};

use sha2::{Digest, Sha256};

use super::super::batch::RowBatch;
use super::super::rows::{Account, Person};
use super::super::sql::{OnConflict, Upsert, Value};
use super::account_identity::{Mention, account_key};
use super::{BatchWriter, MAX_TEXT, id_of, truncate_option};

/// Login that GitHub shows for accounts it no longer knows.
pub(super) const GHOST: &str = "ghost";

/// Committer of everything done in GitHub's web interface. It belongs to nobody and must never tie an account to an
/// author.
const WEB_FLOW_EMAIL: &str = "noreply@github.com";

/// Letters of a fake user's login: 26^12 rules out collisions.
const FAKE_LOGIN_LETTERS: usize = 12;

const MENTIONS: Upsert = Upsert {
    table: "msght_mentions",
    columns: &["project_id", "user_id"],
    key: &["project_id", "user_id"],
    update: &[],
};

/// Keeps the alphabetically first of several names under one address, whatever the order of commits.
const FAKES: Upsert = Upsert {
    table: "users",
    columns: &["login", "name", "email", "fake"],
    key: &["login"],
    update: &[("name", OnConflict::Min)],
};

const EMAILS: Upsert = Upsert { table: "msght_emails", columns: &["email", "user_id"], key: &["email"], update: &[] };

/// Returns the account that stands for everybody whom GitHub no longer knows.
fn ghost_account() -> Account {
    Account { login: GHOST.to_owned(), github_id: None, organization: false, as_of: None }
}

/// Records a mention of an account unless the batch has a more reliable one.
fn record_mention(accounts: &mut BTreeMap<String, Mention>, account: &Account, own: bool) {
    let mention = Mention { account: account.clone(), own };
    match accounts.entry(account_key(account)) {
        Entry::Vacant(entry) => _ = entry.insert(mention),
        Entry::Occupied(mut entry) if mention.outranks(entry.get()) => _ = entry.insert(mention),
        Entry::Occupied(_) => {}
    }
}

/// Returns a person's key within a batch.
pub(super) fn key_of(person: &Person) -> String {
    match person {
        Person::Account(account) => account_key(account),
        Person::Ghost => GHOST.to_owned(),
        Person::Fake { name, email } => fake_login(name.as_deref(), email.as_deref()),
    }
}

/// Returns the login of a person known only by an e-mail address: letters derived from it, the same in every run and
/// worker. Without an address it is derived from the name.
pub(super) fn fake_login(name: Option<&str>, email: Option<&str>) -> String {
    let source = match email.filter(|email| !email.is_empty()) {
        Some(email) => format!("email:{email}"),
        None => format!("name:{}", name.unwrap_or_default()),
    };
    let digest = Sha256::digest(source.as_bytes());
    digest.iter().take(FAKE_LOGIN_LETTERS).map(|byte| char::from(b'A' + byte % 26)).collect()
}

/// Returns the lookup key of an e-mail address: itself, or a digest if it is longer than its column.
fn email_key(email: &str) -> Cow<'_, str> {
    if email.chars().count() <= MAX_TEXT {
        return Cow::Borrowed(email);
    }
    let digest = Sha256::digest(email.as_bytes());
    Cow::Owned(digest.iter().map(|byte| format!("{byte:02x}")).collect())
}

impl BatchWriter<'_> {
    /// Finds or inserts everybody the batch refers to and keeps their row ids.
    pub(super) async fn people(&mut self, rows: &RowBatch) -> Result<(), sqlx::Error> {
        let mut accounts: BTreeMap<String, Mention> = BTreeMap::new();
        let mut fakes: BTreeMap<String, (Option<String>, Option<String>)> = BTreeMap::new();
        let mut see = |person: &Person| match person {
            Person::Account(account) => record_mention(&mut accounts, account, false),
            Person::Ghost => record_mention(&mut accounts, &ghost_account(), false),
            Person::Fake { name, email } => {
                let entry = fakes.entry(key_of(person)).or_insert_with(|| (name.clone(), email.clone()));
                if name.is_some() && (entry.0.is_none() || *name < entry.0) {
                    entry.0.clone_from(name);
                }
            }
        };
        for person in all_people(rows) {
            see(&person);
        }
        for profile in &rows.profiles {
            record_mention(&mut accounts, &profile.account, true);
        }
        self.accounts(accounts).await?;
        self.mentions(&rows.mentions).await?;
        self.profiles(&rows.profiles).await?;
        self.emails(&rows.emails).await?;
        self.fakes(fakes).await
    }

    /// Returns the row id of the ghost.
    pub(super) async fn ghost(&mut self) -> Result<i64, sqlx::Error> {
        let ghost = Mention { account: ghost_account(), own: false };
        self.accounts(BTreeMap::from([(GHOST.to_owned(), ghost)])).await?;
        Ok(self.people.get(GHOST).copied().unwrap_or(-1))
    }

    /// Records the accounts that a project's documents mention, so that their profiles are read with the project's.
    async fn mentions(&mut self, mentions: &[(i64, Account)]) -> Result<(), sqlx::Error> {
        let mut rows: Vec<(i64, i64)> =
            mentions.iter().filter_map(|(project, account)| Some((*project, self.account(account)?))).collect();
        rows.sort_unstable();
        rows.dedup();
        let rows = rows.into_iter().map(|(project, user)| vec![project.into(), user.into()]).collect();
        self.tx.upsert(&MENTIONS, rows).await.map(drop)
    }

    /// Records the account of an e-mail address. A fake user with that address is merged into the account, with all
    /// references.
    async fn emails(&mut self, emails: &[(String, Account)]) -> Result<(), sqlx::Error> {
        // By lookup key: the address, and the account's row id.
        let mut unknown: BTreeMap<String, (&str, i64)> = BTreeMap::new();
        for (email, account) in emails {
            let key = email_key(email).into_owned();
            if email.is_empty() || email == WEB_FLOW_EMAIL || self.ids.emails.get(&key).is_some() {
                continue;
            }
            if let Some(id) = self.account(account) {
                unknown.entry(key).or_insert((email, id));
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
        // Another process may be inserting the fake user right now: the second one sees what the first has done.
        let sql = format!("SELECT id, login FROM users WHERE fake = 1 AND login IN ({{}}){}", self.tx.locking_clause());
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
                truncate_option(name.as_ref(), MAX_TEXT),
                truncate_option(email.as_ref(), MAX_TEXT),
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
        let locking = self.tx.locking_clause();
        // With a single writer there is nothing to wait for.
        if touched > 0 && !locking.is_empty() {
            self.merge_late_fakes(&fakes, locking).await?;
        }
        Ok(())
    }

    /// Merges fake users whose address another process has tied to an account since the lookup. Whoever waits for the
    /// other's row sees it, here or in [`emails`](Self::emails).
    async fn merge_late_fakes(
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

/// Returns everybody that a batch refers to.
fn all_people(rows: &RowBatch) -> Vec<Person> {
    let mut people: Vec<Person> = Vec::new();
    people.extend(rows.accounts.iter().cloned().map(Person::Account));
    people.extend(rows.mentions.iter().map(|(_, account)| Person::Account(account.clone())));
    people.extend(rows.emails.iter().map(|(_, account)| Person::Account(account.clone())));
    people.extend(rows.projects.iter().map(|project| Person::Account(project.owner.clone())));
    people.extend(rows.commits.iter().flat_map(|commit| [commit.author.clone(), commit.committer.clone()]));
    people.extend(rows.commit_comments.iter().map(|comment| comment.user.clone()));
    people.extend(rows.pulls.iter().flat_map(|pull| [Some(pull.user.clone()), pull.assignee.clone()]).flatten());
    people.extend(rows.pull_history.iter().filter_map(|fact| fact.actor.clone()));
    people.extend(rows.review_comments.iter().map(|comment| comment.user.clone()));
    people
        .extend(rows.issues.iter().flat_map(|issue| [Some(issue.reporter.clone()), issue.assignee.clone()]).flatten());
    people.extend(rows.issue_comments.iter().map(|comment| comment.user.clone()));
    people.extend(rows.issue_events.iter().map(|event| event.actor.clone()));
    people.extend(rows.teams.iter().map(|team| Person::Account(team.organization.clone())));
    people.extend(rows.team_members.iter().map(|(_, member)| Person::Account(member.clone())));
    for relations in [&rows.followers, &rows.organization_members, &rows.outside_collaborators] {
        people.extend(relations.iter().flat_map(|tie| [tie.to.clone(), tie.from.clone()]).map(Person::Account));
    }
    for users in [&rows.members, &rows.member_dates, &rows.watchers, &rows.watchers_from_events] {
        people.extend(users.iter().map(|tie| tie.user.clone()));
    }
    people
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fake_login_depends_only_on_address() {
        let login = fake_login(Some("Jane"), Some("jane@example.org"));
        assert!(login.len() >= 8 && login.chars().all(|c| c.is_ascii_uppercase()), "{login}");
        assert_eq!(login, fake_login(Some("Someone else"), Some("jane@example.org")));
        assert_ne!(login, fake_login(Some("Jane"), Some("joe@example.org")));
        assert_ne!(fake_login(Some("Jane"), None), fake_login(Some("Joe"), None));
    }
}
