//! Items that are referred to but that GitHub answers 404 for, and the schedule of further attempts.

use std::collections::HashMap;

use chrono::{DateTime, Duration, NaiveDateTime, Utc};

use super::Relational;
use super::sql::Value;
use crate::store::BackendError;

/// Number of days in which every run asks for a missing item again: a temporary fault may look the same.
const DAILY_ATTEMPT_DAYS: i64 = 3;
/// Minimum and maximum days between later attempts; the interval doubles.
const RETRY_INTERVAL_DAYS: (i64, i64) = (1, 30);

/// The kind of a missing item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ItemKind {
    /// A commit, by its SHA.
    Commit,
    /// A pull request, by its number.
    Pull,
}

impl ItemKind {
    /// Returns the name stored in the table.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Commit => "commit",
            Self::Pull => "pull",
        }
    }
}

/// An item that GitHub doesn't have.
#[derive(Debug, Clone)]
pub struct MissingItem {
    /// The project that refers to it.
    pub project: i64,
    /// The kind.
    pub kind: ItemKind,
    /// Its SHA or number.
    pub item: String,
    /// GitHub's last answer.
    pub answer: String,
    /// Number of attempts.
    pub attempts: i64,
    /// Time of the first attempt.
    pub first_at: DateTime<Utc>,
    /// Time of the last attempt.
    pub last_at: DateTime<Utc>,
}

impl MissingItem {
    /// Returns whether another attempt is due: in every run of the first days, then at doubling intervals.
    pub fn is_due(&self, now: DateTime<Utc>) -> bool {
        let missing_for = self.last_at - self.first_at;
        // A wrong clock must not postpone it.
        if self.last_at > now || missing_for < Duration::days(DAILY_ATTEMPT_DAYS) {
            return true;
        }
        let (least, most) = RETRY_INTERVAL_DAYS;
        let wait = missing_for - Duration::days(DAILY_ATTEMPT_DAYS - least);
        now >= self.last_at + wait.clamp(Duration::days(least), Duration::days(most))
    }
}

impl Relational {
    /// Returns a project's missing items of a kind, by SHA or number.
    pub async fn missing_items(
        &self,
        project: i64,
        kind: ItemKind,
    ) -> Result<HashMap<String, MissingItem>, BackendError> {
        let sql = "SELECT item, answer, attempts, first_at, last_at FROM msght_missing_items \
                   WHERE project_id = ? AND kind = ?";
        let rows = self.read(sql, vec![project.into(), kind.name().into()]).await?;
        let missing = |row: Vec<Value>| {
            let item = row[0].as_str()?.to_owned();
            let missing = MissingItem {
                project,
                kind,
                item: item.clone(),
                answer: row[1].as_str()?.to_owned(),
                attempts: row[2].as_i64()?,
                first_at: time(&row[3])?,
                last_at: time(&row[4])?,
            };
            Some((item, missing))
        };
        Ok(rows.into_iter().filter_map(missing).collect())
    }

    /// Returns the SHAs of the commits that have one of these as a parent.
    pub async fn child_commits(&self, shas: &[String]) -> Result<Vec<String>, BackendError> {
        let sql = "SELECT DISTINCT c.sha FROM commits p JOIN commit_parents cp ON cp.parent_id = p.id \
                   JOIN commits c ON c.id = cp.commit_id WHERE p.sha IN ({})";
        let rows = self.read_many(sql, &[], shas).await?;
        Ok(rows.into_iter().filter_map(|row| row[0].as_str().map(str::to_owned)).collect())
    }
}

fn time(value: &Value) -> Option<DateTime<Utc>> {
    let naive = NaiveDateTime::parse_from_str(value.as_str()?, "%Y-%m-%d %H:%M:%S").ok()?;
    Some(naive.and_utc())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the days on which a nightly run asks, the first one on day 0.
    #[test]
    fn attempts_are_daily_then_at_doubling_intervals() {
        let start = DateTime::UNIX_EPOCH;
        let mut missing = MissingItem {
            project: 1,
            kind: ItemKind::Commit,
            item: "a".to_owned(),
            answer: "404".to_owned(),
            attempts: 1,
            first_at: start,
            last_at: start,
        };
        assert!(missing.is_due(start + Duration::minutes(1)), "another run of the same day asks, too");
        let mut asked = vec![0];
        for day in 1..120 {
            let now = start + Duration::days(day);
            if missing.is_due(now) {
                missing.last_at = now;
                asked.push(day);
            }
        }
        assert_eq!(asked, [0, 1, 2, 3, 4, 6, 10, 18, 34, 64, 94]);
        missing.last_at = start + Duration::days(400);
        assert!(missing.is_due(start + Duration::days(120)), "a clock that was ahead puts nothing off");
    }
}
