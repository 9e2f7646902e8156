//! Results of profile requests that returned no profile.

use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};

use super::super::sql::{OnConflict, Upsert, Value, date};
use super::BatchWriter;
use super::people::PROFILE_TIMES;

/// Initial recheck interval of a deleted account; later it equals the time since the account was first missed.
const MIN_BACKOFF: TimeDelta = TimeDelta::hours(1);
const MAX_BACKOFF: TimeDelta = TimeDelta::days(30);

const MISSING: Upsert = Upsert {
    table: "msght_profiles",
    columns: &["user_id", "missing_since", "look_again_at"],
    key: &["user_id"],
    update: &[("missing_since", OnConflict::KeepExisting), ("look_again_at", OnConflict::Overwrite)],
};

impl BatchWriter<'_> {
    pub(super) async fn profile_unchanged(&mut self, user: i64, at: DateTime<Utc>) -> Result<(), sqlx::Error> {
        self.tx.execute("UPDATE users SET updated_at = ? WHERE id = ?", vec![at.into(), user.into()]).await?;
        self.tx.upsert(&PROFILE_TIMES, vec![vec![user.into(), date(at).into()]]).await.map(drop)
    }

    /// Marks an account as deleted if that is certain; otherwise the next run asks again.
    pub(super) async fn profile_missing(
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
    fn looks_for_a_gone_account_become_rarer_up_to_a_month() {
        let hours = |gone: i64| backoff(TimeDelta::hours(gone)).num_hours();
        assert_eq!([0, 1, 2, 36, 10_000].map(hours), [1, 1, 2, 36, 720]);
    }
}
