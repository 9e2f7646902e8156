//! Events feeds that are pulled: what was announced, what is known, when each is due, and its gaps.
//!
//! Any number of processes share them: a pull is claimed, and the claim of a dead process expires. Times are Unix seconds by
//! this machine's clock.

use std::collections::HashSet;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::Relational;
use super::backend::Tx;
use super::outbox::{moment, unix_now};
use super::sql::{OnConflict, Upsert, Value};
use crate::store::BackendError;
use crate::validator::Validator;

/// Ages of an announcement at which its feed is pulled for it: at once, and then 10 s, 1, 5, 30 min, 2 and 6 h after the pull
/// before. GitHub says that an event takes from 30 s to 6 h (GitHub docs: events).
const PULL_AGES: [i64; 7] = [0, 10, 70, 370, 2_170, 9_370, 30_970];
/// Time for which the claim of a pull is believed. A pull gives up earlier ([`PULL_TIMEOUT`]).
const CLAIM_TTL: i64 = 300;
/// Time within which a claimed pull must be finished.
pub const PULL_TIMEOUT: Duration = Duration::from_mins(4);
/// Delay in seconds after the first failed pull, and the maximum; it doubles.
const FAILURE_DELAY: (i64, i64) = (30, 3600);
/// Characters of an error that are kept with a feed.
const MAX_ERROR_CHARS: usize = 1000;
/// Characters of a mark: its column's. What is longer is cut on both sides of the comparison.
const MAX_MARK_CHARS: usize = 255;

const FEEDS: Upsert = Upsert {
    table: "msght_feeds",
    columns: &["feed", "owner", "name", "repository_id", "requested_at"],
    key: &["feed"],
    update: &[
        ("owner", OnConflict::Overwrite),
        ("name", OnConflict::Overwrite),
        ("repository_id", OnConflict::Overwrite),
        ("requested_at", OnConflict::Overwrite),
    ],
};

const ANNOUNCEMENTS: Upsert = Upsert {
    table: "msght_announcements",
    columns: &["feed", "mark", "type", "announced_at"],
    key: &["feed", "mark"],
    update: &[],
};

const GAPS: Upsert = Upsert {
    table: "msght_feed_gaps",
    columns: &["feed", "found_at", "after_at", "before_at"],
    key: &["feed", "found_at"],
    update: &[],
};

/// The owner of a feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FeedOwner {
    /// A repository.
    Repository {
        /// GitHub's number, if known: the feed keeps its state when the repository is renamed.
        id: Option<i64>,
        /// The owner's login.
        owner: String,
        /// The name.
        name: String,
    },
    /// An organization.
    Organization {
        /// Its login.
        login: String,
    },
}

/// An event that a delivery announces, and that a feed should show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announcement {
    /// The event's type in the feed, such as `PushEvent`.
    pub kind: String,
    /// What tells it from all other events, the same from a delivery as from a feed's entry.
    pub mark: String,
    /// Time at which it was announced.
    pub at: DateTime<Utc>,
}

/// A feed that is to be pulled, with what is expected of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedTarget {
    /// The feed's owner.
    pub owner: FeedOwner,
    /// The event that the feed should show, if one is announced.
    pub announced: Option<Announcement>,
}

/// A feed whose pull is claimed.
#[derive(Debug, Clone)]
pub struct Feed {
    /// Its key in the table.
    pub key: String,
    /// Its owner.
    pub owner: FeedOwner,
    /// Time of the claim.
    pub claimed_at: DateTime<Utc>,
    /// Time of the last pull.
    pub pulled_at: Option<DateTime<Utc>>,
    /// The first page's validator.
    pub validator: Option<Validator>,
    /// Time of the newest event that is known.
    pub newest_at: Option<DateTime<Utc>>,
    /// Whether something was announced half an hour ago and the feed has shown nothing new since.
    pub stands_still: bool,
}

/// The result of a pull.
#[derive(Debug, Clone, Default)]
pub struct Pull {
    /// The first page's validator; `None` keeps the known one.
    pub validator: Option<Validator>,
    /// The interval that GitHub wants between two pulls; `None` keeps the known one.
    pub poll_interval: Option<Duration>,
    /// Whether it showed anything new.
    pub changed: bool,
    /// The newest entry: its id and time.
    pub newest: Option<(String, DateTime<Utc>)>,
    /// The time of the oldest entry, if the feed doesn't reach back to what was known.
    pub gap: Option<Option<DateTime<Utc>>>,
}

/// A gap in what feeds have shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedGap {
    /// The feed's key in the table.
    pub feed: String,
    /// The feed's owner.
    pub owner: FeedOwner,
    /// Unix seconds at which it was found, which is a part of its key.
    pub found_at: i64,
    /// The newest event known before it.
    pub after_at: Option<DateTime<Utc>>,
    /// The oldest event behind it.
    pub before_at: Option<DateTime<Utc>>,
}

/// Announced events that no feed has shown, of one type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedMisses {
    /// The type.
    pub kind: String,
    /// Their number.
    pub never_in_feed: u64,
}

impl FeedOwner {
    /// Returns the feed's key in the table.
    fn key(&self) -> String {
        match self {
            Self::Repository { id: Some(id), .. } => format!("repo/{id}"),
            Self::Repository { id: None, owner, name } => format!("repo/{owner}/{name}"),
            Self::Organization { login } => format!("org/{login}"),
        }
    }

    fn columns(&self) -> [Value; 3] {
        match self {
            Self::Repository { id, owner, name } => [owner.as_str().into(), name.as_str().into(), (*id).into()],
            Self::Organization { login } => [login.as_str().into(), Value::Null, Value::Null],
        }
    }

    fn from_columns(owner: &Value, name: &Value, id: &Value) -> Option<Self> {
        let owner = owner.as_str()?.to_owned();
        Some(match name.as_str() {
            Some(name) => Self::Repository { id: id.as_i64(), owner, name: name.to_owned() },
            None => Self::Organization { login: owner },
        })
    }
}

impl FeedTarget {
    /// Returns the feed of a repository.
    pub fn repository(id: Option<i64>, owner: impl Into<String>, name: impl Into<String>) -> Self {
        Self { owner: FeedOwner::Repository { id, owner: owner.into(), name: name.into() }, announced: None }
    }

    /// Returns the feed of an organization.
    pub fn organization(login: impl Into<String>) -> Self {
        Self { owner: FeedOwner::Organization { login: login.into() }, announced: None }
    }

    /// Names the event that the feed should show.
    #[must_use]
    pub fn announcing(mut self, announcement: Option<Announcement>) -> Self {
        self.announced = announcement;
        self
    }
}

/// Cuts a mark to its column.
pub(super) fn cut_mark(mark: &str) -> String {
    mark.chars().take(MAX_MARK_CHARS).collect()
}

/// Returns when a feed is pulled next for what was announced at this time, after a pull at `pulled`; `None` when it has had
/// its last one.
fn next_pull_for(announced: i64, pulled: i64) -> Option<i64> {
    PULL_AGES.into_iter().map(|age| announced + age).find(|at| *at > pulled)
}

impl Relational {
    /// Asks for feeds to be pulled: at once, or as soon as GitHub's interval allows. Asking twice is asking once.
    pub async fn request_feeds(&self, targets: Vec<FeedTarget>) -> Result<(), BackendError> {
        if targets.is_empty() {
            return Ok(());
        }
        let request = async || {
            let _turn = self.ids.lock().await;
            let mut tx = self.backend.begin().await?;
            let now = unix_now();
            let mut requested = HashSet::new();
            for target in &targets {
                let key = target.owner.key();
                if requested.insert(key.clone()) {
                    let [owner, name, id] = target.owner.columns();
                    tx.upsert(&FEEDS, vec![vec![key.as_str().into(), owner, name, id, now.into()]]).await?;
                    // GitHub's interval counts from the last pull; a pull that is due earlier stays.
                    let sql = "UPDATE msght_feeds SET next_at = CASE \
                               WHEN next_at IS NOT NULL AND next_at <= coalesce(pulled_at + poll_interval, 0) THEN next_at \
                               WHEN next_at IS NOT NULL AND next_at <= ?1 THEN next_at \
                               WHEN coalesce(pulled_at + poll_interval, 0) > ?1 THEN pulled_at + poll_interval \
                               ELSE ?1 END WHERE feed = ?2";
                    tx.execute(sql, vec![now.into(), key.as_str().into()]).await?;
                }
                if let Some(Announcement { kind, mark, at }) = &target.announced {
                    let row = vec![
                        key.as_str().into(),
                        cut_mark(mark).into(),
                        kind.as_str().into(),
                        at.timestamp().min(now).into(),
                    ];
                    tx.upsert(&ANNOUNCEMENTS, vec![row]).await?;
                }
            }
            tx.commit().await
        };
        self.backend.with_retry(request).await.map_err(|error| self.backend.backend_error("writing to", &error))
    }

    /// Claims feeds that are due, those due longest first. Each must be finished or failed within [`PULL_TIMEOUT`].
    pub async fn claim_due_feeds(&self, puller: &str, limit: usize) -> Result<Vec<Feed>, BackendError> {
        let now = unix_now();
        let due = self
            .read(
                &format!(
                    "SELECT feed FROM msght_feeds WHERE next_at <= ? AND (puller IS NULL OR puller_until < ?) \
                     ORDER BY next_at LIMIT {limit}"
                ),
                vec![now.into(), now.into()],
            )
            .await?;
        let mut claimed = Vec::new();
        for row in due {
            let Some(key) = row.into_iter().next().and_then(Value::into_text) else { continue };
            if let Some(feed) = self.claim_feed(&key, puller, now).await? {
                claimed.push(feed);
            }
        }
        Ok(claimed)
    }

    async fn claim_feed(&self, key: &str, puller: &str, now: i64) -> Result<Option<Feed>, BackendError> {
        let claim = async || {
            let _turn = self.ids.lock().await;
            let mut tx = self.backend.begin().await?;
            let sql = "UPDATE msght_feeds SET puller = ?1, puller_until = ?2 \
                       WHERE feed = ?3 AND next_at <= ?4 AND (puller IS NULL OR puller_until < ?4)";
            let params = vec![puller.into(), (now + CLAIM_TTL).into(), key.into(), now.into()];
            let claimed = tx.execute(sql, params).await? > 0;
            let feed = if claimed { read_feed(&mut tx, key, now).await? } else { None };
            tx.commit().await?;
            Ok(feed)
        };
        self.backend.with_retry(claim).await.map_err(|error| self.backend.backend_error("writing to", &error))
    }

    /// Returns whether a feed is due, or is being pulled.
    pub async fn has_due_feeds(&self) -> Result<bool, BackendError> {
        let sql = "SELECT EXISTS (SELECT 1 FROM msght_feeds WHERE next_at <= ?)";
        let rows = self.read(sql, vec![unix_now().into()]).await?;
        Ok(rows.first().and_then(|row| row[0].as_i64()) == Some(1))
    }

    /// Returns when the next feed is due, unless another process is pulling it.
    pub async fn next_feed_at(&self) -> Result<Option<DateTime<Utc>>, BackendError> {
        let sql = "SELECT min(next_at) FROM msght_feeds WHERE puller IS NULL OR puller_until < ?";
        let rows = self.read(sql, vec![unix_now().into()]).await?;
        Ok(rows.first().and_then(|row| moment(&row[0])))
    }

    /// Records a pull whose events are stored, and ends its claim. What was announced and is stored is settled; what is still missing decides when
    /// the feed is pulled again, until it counts as never shown.
    pub async fn finish_pull(&self, feed: &Feed, pull: &Pull) -> Result<(), BackendError> {
        let started = feed.claimed_at.timestamp();
        let finish = async || {
            let _turn = self.ids.lock().await;
            let mut tx = self.backend.begin().await?;
            let now = unix_now();
            let next = settle_announcements(&mut tx, &feed.key, started).await?;
            if let Some(before) = pull.gap {
                let row = vec![feed.key.as_str().into(), now.into(), unix(feed.newest_at), unix(before)];
                tx.upsert(&GAPS, vec![row]).await?;
            }
            let (newest_id, newest_at) = match &pull.newest {
                Some((id, at)) if feed.newest_at.is_none_or(|known| *at >= known) => {
                    (Value::from(id.as_str()), at.timestamp().into())
                }
                _ => (Value::Null, Value::Null),
            };
            let (etag, token) = pull.validator.clone().map(|known| (known.etag, known.scope)).unzip();
            let interval = pull.poll_interval.and_then(|interval| i64::try_from(interval.as_secs()).ok());
            let sql = "UPDATE msght_feeds SET puller = NULL, puller_until = NULL, failures = 0, last_error = NULL, \
                       pulled_at = ?1, changed_at = CASE WHEN ?2 THEN ?1 ELSE changed_at END, \
                       poll_interval = coalesce(?3, poll_interval), \
                       etag = coalesce(?4, etag), token = coalesce(?5, token), \
                       newest_id = coalesce(?6, newest_id), newest_at = coalesce(?7, newest_at), \
                       next_at = CASE WHEN requested_at >= ?1 THEN ?1 ELSE ?8 END WHERE feed = ?9";
            let params = vec![
                started.into(),
                pull.changed.into(),
                interval.into(),
                etag.into(),
                token.into(),
                newest_id,
                newest_at,
                next.into(),
                feed.key.as_str().into(),
            ];
            tx.execute(sql, params).await?;
            // GitHub's interval is the least distance of two pulls.
            let sql = "UPDATE msght_feeds SET next_at = pulled_at + poll_interval \
                       WHERE feed = ? AND next_at < pulled_at + poll_interval";
            tx.execute(sql, vec![feed.key.as_str().into()]).await?;
            tx.commit().await
        };
        self.backend.with_retry(finish).await.map_err(|error| self.backend.backend_error("writing to", &error))
    }

    /// Records a failed pull and ends its claim: it is tried again after a delay that doubles.
    pub async fn fail_pull(&self, feed: &Feed, error: &str) -> Result<(), BackendError> {
        let rows = self.read("SELECT failures FROM msght_feeds WHERE feed = ?", vec![feed.key.as_str().into()]).await?;
        let failures = rows.first().and_then(|row| row[0].as_i64()).unwrap_or(0);
        let (first, most) = FAILURE_DELAY;
        let delay = first.saturating_mul(1 << failures.clamp(0, 16)).min(most);
        let error: String = error.chars().take(MAX_ERROR_CHARS).collect();
        let sql = "UPDATE msght_feeds SET puller = NULL, puller_until = NULL, failures = ?, last_error = ?, next_at = ? \
                   WHERE feed = ?";
        let params = vec![(failures + 1).into(), error.into(), (unix_now() + delay).into(), feed.key.as_str().into()];
        self.write(sql, params).await.map(drop)
    }

    /// Ends the claim of a pull that was stopped: the feed is due as before.
    pub async fn release_feed(&self, feed: &Feed) -> Result<(), BackendError> {
        let sql = "UPDATE msght_feeds SET puller = NULL, puller_until = NULL WHERE feed = ?";
        self.write(sql, vec![feed.key.as_str().into()]).await.map(drop)
    }

    /// Gives up a feed that GitHub doesn't have any more, with what was announced for it.
    pub async fn drop_feed(&self, feed: &Feed) -> Result<(), BackendError> {
        self.write("DELETE FROM msght_announcements WHERE feed = ?", vec![feed.key.as_str().into()]).await?;
        let sql = "UPDATE msght_feeds SET puller = NULL, puller_until = NULL, next_at = NULL WHERE feed = ?";
        self.write(sql, vec![feed.key.as_str().into()]).await.map(drop)
    }

    /// Returns gaps that are not closed yet, the oldest first.
    pub async fn open_feed_gaps(&self, limit: usize) -> Result<Vec<FeedGap>, BackendError> {
        let sql = format!(
            "SELECT g.feed, g.found_at, g.after_at, g.before_at, f.owner, f.name, f.repository_id \
             FROM msght_feed_gaps g JOIN msght_feeds f ON f.feed = g.feed WHERE g.closed_at IS NULL \
             ORDER BY g.found_at LIMIT {limit}"
        );
        let rows = self.read(&sql, Vec::new()).await?;
        let gap = |row: Vec<Value>| {
            Some(FeedGap {
                feed: row[0].as_str()?.to_owned(),
                owner: FeedOwner::from_columns(&row[4], &row[5], &row[6])?,
                found_at: row[1].as_i64()?,
                after_at: moment(&row[2]),
                before_at: moment(&row[3]),
            })
        };
        Ok(rows.into_iter().filter_map(gap).collect())
    }

    /// Records that what may have happened within a gap is asked for otherwise.
    pub async fn close_feed_gap(&self, gap: &FeedGap) -> Result<(), BackendError> {
        let sql = "UPDATE msght_feed_gaps SET closed_at = ? WHERE feed = ? AND found_at = ?";
        let params = vec![unix_now().into(), gap.feed.as_str().into(), gap.found_at.into()];
        self.write(sql, params).await.map(drop)
    }

    /// Counts the announced events that no feed has shown, by type.
    pub async fn feed_misses(&self) -> Result<Vec<FeedMisses>, BackendError> {
        let sql = "SELECT type, CAST(sum(never_in_feed) AS SIGNED) FROM msght_feed_misses GROUP BY type ORDER BY type";
        let rows = self.read(sql, Vec::new()).await?;
        let misses = |row: Vec<Value>| {
            let never_in_feed = u64::try_from(row[1].as_i64()?).ok()?;
            Some(FeedMisses { kind: row[0].as_str()?.to_owned(), never_in_feed })
        };
        Ok(rows.into_iter().filter_map(misses).collect())
    }
}

fn unix(at: Option<DateTime<Utc>>) -> Value {
    at.map(|at| at.timestamp()).into()
}

async fn read_feed(tx: &mut Tx, key: &str, now: i64) -> Result<Option<Feed>, sqlx::Error> {
    let sql = "SELECT owner, name, repository_id, pulled_at, etag, token, newest_at, changed_at, \
               (SELECT min(announced_at) FROM msght_announcements a WHERE a.feed = msght_feeds.feed) \
               FROM msght_feeds WHERE feed = ?";
    let rows = tx.fetch(sql, vec![key.into()]).await?;
    Ok(rows.into_iter().next().and_then(|row| {
        let validator = row[4].as_str().zip(row[5].as_str());
        let announced = row[8].as_i64();
        let stands_still =
            announced.is_some_and(|at| now - at >= STAND_STILL && row[7].as_i64().is_none_or(|changed| changed < at));
        Some(Feed {
            key: key.to_owned(),
            owner: FeedOwner::from_columns(&row[0], &row[1], &row[2])?,
            claimed_at: DateTime::from_timestamp(now, 0)?,
            pulled_at: moment(&row[3]),
            validator: validator.map(|(etag, scope)| Validator { etag: etag.to_owned(), scope: scope.to_owned() }),
            newest_at: moment(&row[6]),
            stands_still,
        })
    }))
}

/// Seconds without anything new after an announcement, after which a feed is not believed to one token.
const STAND_STILL: i64 = 30 * 60;

/// Settles what a feed has shown, gives up what it has not shown in time, and returns when it is pulled next for the rest.
async fn settle_announcements(tx: &mut Tx, feed: &str, pulled: i64) -> Result<Option<i64>, sqlx::Error> {
    let sql = "SELECT a.mark, a.type, a.announced_at, EXISTS (SELECT 1 FROM msght_events e WHERE e.mark = a.mark) \
               FROM msght_announcements a WHERE a.feed = ?";
    let mut next: Option<i64> = None;
    for row in tx.fetch(sql, vec![feed.into()]).await? {
        let (Some(mark), Some(kind), Some(at)) = (row[0].as_str(), row[1].as_str(), row[2].as_i64()) else { continue };
        if row[3].as_i64() != Some(1) {
            if let Some(again) = next_pull_for(at, pulled) {
                next = Some(next.map_or(again, |next| next.min(again)));
                continue;
            }
            let sql = "UPDATE msght_feed_misses SET never_in_feed = never_in_feed + 1, last_at = ? \
                       WHERE feed = ? AND type = ?";
            if tx.execute(sql, vec![pulled.into(), feed.into(), kind.into()]).await? == 0 {
                let sql = "INSERT INTO msght_feed_misses (feed, type, never_in_feed, last_at) VALUES (?, ?, 1, ?)";
                tx.execute(sql, vec![feed.into(), kind.into(), pulled.into()]).await?;
            }
        }
        let sql = "DELETE FROM msght_announcements WHERE feed = ? AND mark = ?";
        tx.execute(sql, vec![feed.into(), mark.into()]).await?;
    }
    Ok(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn feed_is_pulled_at_growing_distances_for_what_is_announced() {
        let mut pulled = 999;
        let mut ages = Vec::new();
        while let Some(next) = next_pull_for(1000, pulled) {
            ages.push(next - 1000);
            pulled = next;
        }
        assert_eq!(ages, PULL_AGES);
        assert_eq!(next_pull_for(1000, 1100), Some(1370), "a pull for something else counts as well");
    }

    #[test]
    fn repository_keeps_its_feed_when_it_is_renamed() {
        let key = |target: FeedTarget| target.owner.key();
        assert_eq!(key(FeedTarget::repository(Some(7), "a", "b")), key(FeedTarget::repository(Some(7), "a", "c")));
        assert_eq!(key(FeedTarget::organization("contoso")), "org/contoso");
    }
}
