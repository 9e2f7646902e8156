//! Accounts' profiles: those that were read, and requests that returned none.

use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};

use super::super::rows::Profile;
use super::super::sql::{OnConflict, Upsert, Value, date};
use super::account_identity::account_type;
use super::{BatchWriter, MAX_TEXT, truncate_option};

/// Initial recheck interval of a deleted account; later it equals the time since the account was first missed.
const MIN_BACKOFF: TimeDelta = TimeDelta::hours(1);
const MAX_BACKOFF: TimeDelta = TimeDelta::days(30);

const PROFILES: Upsert = Upsert {
    table: "users",
    columns: &["login", "type", "name", "company", "location", "email", "created_at", "deleted", "updated_at"],
    key: &["login"],
    update: &[
        ("type", OnConflict::Overwrite),
        ("name", OnConflict::Overwrite),
        ("company", OnConflict::Overwrite),
        ("location", OnConflict::Overwrite),
        ("email", OnConflict::Overwrite),
        ("created_at", OnConflict::Overwrite),
        ("deleted", OnConflict::Overwrite),
        ("updated_at", OnConflict::Overwrite),
    ],
};

const PROFILE_TIMES: Upsert = Upsert {
    table: "msght_users",
    columns: &["user_id", "profile_at"],
    key: &["user_id"],
    update: &[("profile_at", OnConflict::Overwrite)],
};

const PROFILE_STATE: Upsert = Upsert {
    table: "msght_profiles",
    columns: &["user_id", "documents_as", "etag", "token", "missing_since", "look_again_at"],
    key: &["user_id"],
    update: &[
        ("documents_as", OnConflict::Overwrite),
        ("etag", OnConflict::Overwrite),
        ("token", OnConflict::Overwrite),
        ("missing_since", OnConflict::Overwrite),
        ("look_again_at", OnConflict::Overwrite),
    ],
};

const MISSING: Upsert = Upsert {
    table: "msght_profiles",
    columns: &["user_id", "missing_since", "look_again_at"],
    key: &["user_id"],
    update: &[("missing_since", OnConflict::KeepExisting), ("look_again_at", OnConflict::Overwrite)],
};

impl BatchWriter<'_> {
    /// Stores profiles.
    pub(super) async fn profiles(&mut self, profiles: &[Profile]) -> Result<(), sqlx::Error> {
        let rows = profiles.iter().map(|profile| {
            vec![
                profile.account.login.as_str().into(),
                account_type(&profile.account).into(),
                truncate_option(profile.name.as_ref(), MAX_TEXT),
                truncate_option(profile.company.as_ref(), MAX_TEXT),
                truncate_option(profile.location.as_ref(), MAX_TEXT),
                truncate_option(profile.email.as_ref(), MAX_TEXT),
                profile.created_at.into(),
                false.into(),
                profile.read_at.into(),
            ]
        });
        self.tx.upsert(&PROFILES, rows.collect()).await?;
        let (mut times, mut facts): (Vec<Vec<Value>>, Vec<Vec<Value>>) = Default::default();
        for profile in profiles {
            let Some(id) = self.account(&profile.account) else { continue };
            times.push(vec![id.into(), date(profile.read_at).into()]);
            let (etag, token) = profile.validator.clone().map(|v| (v.etag, v.scope)).unzip();
            let login = profile.account.login.as_str();
            facts.push(vec![id.into(), login.into(), etag.into(), token.into(), Value::Null, Value::Null]);
        }
        self.tx.upsert(&PROFILE_TIMES, times).await?;
        self.tx.upsert(&PROFILE_STATE, facts).await.map(drop)
    }

    /// Records that a profile is as it was when it was read.
    pub(super) async fn record_unchanged_profile(&mut self, user: i64, at: DateTime<Utc>) -> Result<(), sqlx::Error> {
        self.tx.execute("UPDATE users SET updated_at = ? WHERE id = ?", vec![at.into(), user.into()]).await?;
        self.tx.upsert(&PROFILE_TIMES, vec![vec![user.into(), date(at).into()]]).await.map(drop)
    }

    /// Marks an account as deleted if that is certain; otherwise the next run asks again.
    pub(super) async fn record_missing_profile(
        &mut self,
        user: i64,
        at: DateTime<Utc>,
        certain: bool,
    ) -> Result<(), sqlx::Error> {
        let mut look_again_at = Value::Null;
        if certain {
            self.tx.execute("UPDATE users SET deleted = 1 WHERE id = ?", vec![user.into()]).await?;
            self.tx.upsert(&PROFILE_TIMES, vec![vec![user.into(), date(at).into()]]).await?;
            let sql = "SELECT missing_since FROM msght_profiles WHERE user_id = ?";
            let found = self.tx.fetch(sql, vec![user.into()]).await?;
            let since = found.first().and_then(|row| parse(row[0].as_str()?)).unwrap_or(at);
            look_again_at = date(at + backoff(at - since)).into();
        }
        self.tx.upsert(&MISSING, vec![vec![user.into(), date(at).into(), look_again_at]]).await.map(drop)
    }
}

/// Returns the recheck interval of an account that has been missing for a time.
fn backoff(gone: TimeDelta) -> TimeDelta {
    gone.clamp(MIN_BACKOFF, MAX_BACKOFF)
}

fn parse(text: &str) -> Option<DateTime<Utc>> {
    NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S").ok().map(|naive| naive.and_utc())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recheck_interval_of_missing_account_grows_to_a_month() {
        let hours = |gone: i64| backoff(TimeDelta::hours(gone)).num_hours();
        assert_eq!([0, 1, 2, 36, 10_000].map(hours), [1, 1, 2, 36, 720]);
    }
}
