//! The outbox: how far each stored event has come on its way to the exchange and through processing.
//!
//! The rows are written in the transaction that follows the events' documents, so an event that has a row is stored, and
//! one whose row was lost with a crash is stored again. Times are Unix seconds by this machine's clock.

use std::collections::HashSet;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::leases::has_holder_ended;
use super::sql::{Upsert, Value, placeholders};
use super::{KEYS_PER_READ, Relational};
use crate::store::BackendError;

/// The moment of the first start of a command that routes events: the first live event is not older.
pub const FIRST_LIVE_START: &str = "events.live";
/// Time for which a publisher's claim is believed. A publisher gives up earlier ([`PUBLISH_TIMEOUT`]), so that nobody else
/// publishes what it still might.
const CLAIM_TTL: Duration = Duration::from_mins(10);
/// Time within which a claimed batch must be published and noted.
pub const PUBLISH_TIMEOUT: Duration = Duration::from_mins(8);
/// Characters of an error that are kept with an event.
const MAX_ERROR_CHARS: usize = 1000;

const MOMENTS: Upsert = Upsert { table: "msght_moments", columns: &["name", "at"], key: &["name"], update: &[] };

/// The rule for which stored events are published to the exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EventPublishing {
    /// Those created since the first start of a command that routes events.
    #[default]
    Live,
    /// All, those that a backfill finds as well.
    All,
    /// None.
    None,
}

impl EventPublishing {
    /// Every choice.
    pub const ALL: [Self; 3] = [Self::Live, Self::All, Self::None];

    /// Returns its name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::All => "all",
            Self::None => "none",
        }
    }
}

/// A stored event, as its row is first written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEvent {
    /// GitHub's id, a text.
    pub id: String,
    /// The type, such as `PushEvent`.
    pub kind: String,
    /// The repository's name, `OWNER/NAME`, as the event has it.
    pub repository: Option<String>,
    /// GitHub's number of the repository.
    pub repository_id: Option<i64>,
    /// What a delivery would announce it by, if deliveries announce its kind.
    pub mark: Option<String>,
    /// Time of the event.
    pub created_at: Option<DateTime<Utc>>,
    /// The rule that decides whether it is published.
    pub publishing: EventPublishing,
}

/// An event's way so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventRecord {
    /// GitHub's id.
    pub id: String,
    /// The type.
    pub kind: String,
    /// Time of the event.
    pub created_at: Option<DateTime<Utc>>,
    /// Time at which it was stored.
    pub stored_at: Option<DateTime<Utc>>,
    /// Time at which it was published, if it was.
    pub published_at: Option<DateTime<Utc>>,
    /// Time at which it was processed, if it was.
    pub processed_at: Option<DateTime<Utc>>,
}

/// An event on its way to a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxEvent {
    /// GitHub's id: the body of its message.
    pub id: String,
    /// The type, which names the route.
    pub kind: String,
}

/// Numbers of events by how far they have come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EventCounts {
    /// Stored and to be published, but not yet.
    pub unpublished: u64,
    /// Published and neither processed nor given up.
    pub unprocessed: u64,
    /// Given up.
    pub dead: u64,
}

/// The events that [`Relational::events_between`] returns.
#[derive(Debug, Clone)]
pub struct EventRange {
    /// Inclusive lower bound of `created_at`.
    pub since: DateTime<Utc>,
    /// Exclusive upper bound of `created_at`.
    pub until: Option<DateTime<Utc>>,
    /// The only type, if one was chosen.
    pub kind: Option<String>,
}

/// The present moment as rows hold it.
pub(super) fn unix_now() -> i64 {
    Utc::now().timestamp()
}

/// Returns the time in a column.
pub(super) fn moment(value: &Value) -> Option<DateTime<Utc>> {
    value.as_i64().and_then(|at| DateTime::from_timestamp(at, 0))
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

fn outbox_event(row: &[Value]) -> Option<OutboxEvent> {
    Some(OutboxEvent { id: row.first()?.as_str()?.to_owned(), kind: row.get(1)?.as_str()?.to_owned() })
}

fn texts(ids: &[String]) -> Vec<Value> {
    ids.iter().map(|id| id.as_str().into()).collect()
}

impl Relational {
    /// Records the present as a moment unless it has been recorded before. Returns the recorded moment.
    pub async fn remember_moment(&self, name: &str) -> Result<DateTime<Utc>, BackendError> {
        self.upsert(&MOMENTS, vec![vec![name.into(), unix_now().into()]]).await?;
        Ok(self.moment(name).await?.unwrap_or_default())
    }

    /// Returns a moment, if it has been recorded.
    pub async fn moment(&self, name: &str) -> Result<Option<DateTime<Utc>>, BackendError> {
        let rows = self.read("SELECT at FROM msght_moments WHERE name = ?", vec![name.into()]).await?;
        Ok(rows.first().and_then(|row| moment(&row[0])))
    }

    /// Returns which of these events have a row, and so are stored.
    pub async fn known_events(&self, ids: &[String]) -> Result<HashSet<String>, BackendError> {
        let rows = self.read_many("SELECT event_id FROM msght_events WHERE event_id IN ({})", &[], ids).await?;
        Ok(rows.into_iter().filter_map(|row| row.into_iter().next()?.into_text()).collect())
    }

    /// Returns an event's way so far, if it is stored.
    pub async fn event_record(&self, id: &str) -> Result<Option<EventRecord>, BackendError> {
        let sql = "SELECT type, created_at, published_at, processed_at, stored_at FROM msght_events WHERE event_id = ?";
        let rows = self.read(sql, vec![id.into()]).await?;
        Ok(rows.first().and_then(|row| {
            Some(EventRecord {
                id: id.to_owned(),
                kind: row[0].as_str()?.to_owned(),
                created_at: moment(&row[1]),
                published_at: moment(&row[2]),
                processed_at: moment(&row[3]),
                stored_at: moment(&row[4]),
            })
        }))
    }

    /// Claims events that are stored but not published, the oldest first, for a publisher whose name no other claim has. It
    /// must note them as published within [`PUBLISH_TIMEOUT`], or release them.
    pub async fn claim_unpublished(&self, publisher: &str, limit: u32) -> Result<Vec<OutboxEvent>, BackendError> {
        self.release_claims_of_dead_publishers().await?;
        let claim = async || {
            let _turn = self.ids.lock().await;
            let mut tx = self.backend.begin().await?;
            let now = unix_now();
            let sql = format!(
                "SELECT event_id, type FROM msght_events WHERE publish = 1 AND published_at IS NULL \
                 AND (publisher IS NULL OR publisher_until < ?) ORDER BY created_at, event_id LIMIT {limit}{}",
                tx.locking_clause()
            );
            let rows = tx.fetch(&sql, vec![now.into()]).await?;
            let events: Vec<OutboxEvent> = rows.iter().filter_map(|row| outbox_event(row)).collect();
            for chunk in events.chunks(KEYS_PER_READ) {
                let sql = format!(
                    "UPDATE msght_events SET publisher = ?, publisher_until = ? WHERE event_id IN ({})",
                    placeholders(chunk.len())
                );
                let mut params = vec![publisher.into(), (now + seconds(CLAIM_TTL)).into()];
                params.extend(chunk.iter().map(|event| event.id.as_str().into()));
                tx.execute(&sql, params).await?;
            }
            tx.commit().await?;
            Ok(events)
        };
        self.backend.with_retry(claim).await.map_err(|error| self.backend.backend_error("writing to", &error))
    }

    /// Releases the claims of processes of this machine that have ended.
    async fn release_claims_of_dead_publishers(&self) -> Result<(), BackendError> {
        let sql = "SELECT DISTINCT publisher FROM msght_events WHERE publish = 1 AND published_at IS NULL \
                   AND publisher IS NOT NULL";
        for row in self.read(sql, Vec::new()).await? {
            if let Some(publisher) = row[0].as_str().filter(|publisher| has_holder_ended(publisher)) {
                self.release_unpublished(publisher).await?;
            }
        }
        Ok(())
    }

    /// Releases what a publisher has claimed and not published.
    pub async fn release_unpublished(&self, publisher: &str) -> Result<(), BackendError> {
        let sql = "UPDATE msght_events SET publisher = NULL, publisher_until = NULL \
                   WHERE publish = 1 AND published_at IS NULL AND publisher = ?";
        self.write(sql, vec![publisher.into()]).await.map(drop)
    }

    /// Notes that the exchange has confirmed these events.
    pub async fn mark_published(&self, ids: &[String]) -> Result<(), BackendError> {
        let now = unix_now();
        let set = "published_at = coalesce(published_at, ?), queued_at = ?, publisher = NULL, publisher_until = NULL";
        self.update_events(set, vec![now.into(), now.into()], ids).await
    }

    /// Notes that both stores have what these events tell of.
    pub async fn mark_events_processed(&self, ids: &[String]) -> Result<(), BackendError> {
        let set = "processed_at = coalesce(processed_at, ?), dead_at = NULL";
        self.update_events(set, vec![unix_now().into()], ids).await
    }

    /// Notes a failed attempt at an event; `dead` says that it was the last.
    pub async fn mark_event_failed(&self, id: &str, error: &str, dead: bool) -> Result<(), BackendError> {
        let error: String = error.chars().take(MAX_ERROR_CHARS).collect();
        let now = unix_now();
        let dead_at: Option<i64> = dead.then_some(now);
        let set = "attempts = attempts + 1, last_error = ?, queued_at = ?, dead_at = ?";
        self.update_events(set, vec![error.into(), now.into(), dead_at.into()], &[id.to_owned()]).await
    }

    /// Notes that these events are on msght's own queue again, and no dead letters any more.
    pub async fn mark_events_requeued(&self, ids: &[String]) -> Result<(), BackendError> {
        self.update_events("queued_at = ?, dead_at = NULL", vec![unix_now().into()], ids).await
    }

    async fn update_events(&self, set: &str, values: Vec<Value>, ids: &[String]) -> Result<(), BackendError> {
        for chunk in ids.chunks(KEYS_PER_READ) {
            let sql = format!("UPDATE msght_events SET {set} WHERE event_id IN ({})", placeholders(chunk.len()));
            let mut params = values.clone();
            params.extend(texts(chunk));
            self.write(&sql, params).await?;
        }
        Ok(())
    }

    /// Returns the types of events that were published, not processed and not put on a queue for `age`.
    pub async fn overdue_event_types(&self, age: Duration) -> Result<Vec<String>, BackendError> {
        let sql = "SELECT DISTINCT type FROM msght_events WHERE publish = 1 AND processed_at IS NULL AND dead_at IS NULL \
                   AND queued_at < ? ORDER BY type";
        let rows = self.read(sql, vec![(unix_now() - seconds(age)).into()]).await?;
        Ok(rows.into_iter().filter_map(|row| row.into_iter().next()?.into_text()).collect())
    }

    /// Takes events of a type that were published, not processed and not put on a queue for `age`, the oldest first, and
    /// notes that they are put on a queue now.
    pub async fn take_overdue_events(
        &self,
        kind: &str,
        age: Duration,
        limit: u32,
    ) -> Result<Vec<String>, BackendError> {
        let take = async || {
            let _turn = self.ids.lock().await;
            let mut tx = self.backend.begin().await?;
            let now = unix_now();
            let sql = format!(
                "SELECT event_id FROM msght_events WHERE publish = 1 AND processed_at IS NULL AND dead_at IS NULL \
                 AND queued_at < ? AND type = ? ORDER BY queued_at LIMIT {limit}{}",
                tx.locking_clause()
            );
            let rows = tx.fetch(&sql, vec![(now - seconds(age)).into(), kind.into()]).await?;
            let ids: Vec<String> = rows.into_iter().filter_map(|row| row.into_iter().next()?.into_text()).collect();
            for chunk in ids.chunks(KEYS_PER_READ) {
                let sql =
                    format!("UPDATE msght_events SET queued_at = ? WHERE event_id IN ({})", placeholders(chunk.len()));
                let mut params = vec![now.into()];
                params.extend(texts(chunk));
                tx.execute(&sql, params).await?;
            }
            tx.commit().await?;
            Ok(ids)
        };
        self.backend.with_retry(take).await.map_err(|error| self.backend.backend_error("writing to", &error))
    }

    /// Returns the types of all events that are stored.
    pub async fn event_types(&self) -> Result<Vec<String>, BackendError> {
        let rows = self.read("SELECT DISTINCT type FROM msght_events ORDER BY type", Vec::new()).await?;
        Ok(rows.into_iter().filter_map(|row| row.into_iter().next()?.into_text()).collect())
    }

    /// Returns stored events of a range, the oldest first, at most `limit` after the last one of the page before.
    pub async fn events_between(
        &self,
        range: &EventRange,
        after: Option<&(i64, String)>,
        limit: u32,
    ) -> Result<Vec<(i64, OutboxEvent)>, BackendError> {
        let until = range.until.map_or(i64::MAX, |until| until.timestamp());
        let (after_at, after_id) = after.cloned().unwrap_or((i64::MIN, String::new()));
        let sql = format!(
            "SELECT event_id, type, created_at FROM msght_events WHERE created_at >= ?1 AND created_at < ?2 \
             AND (?3 IS NULL OR type = ?3) AND (created_at > ?4 OR (created_at = ?4 AND event_id > ?5)) \
             ORDER BY created_at, event_id LIMIT {limit}"
        );
        let params = vec![
            range.since.timestamp().into(),
            until.into(),
            range.kind.clone().into(),
            after_at.into(),
            after_id.into(),
        ];
        let rows = self.read(&sql, params).await?;
        Ok(rows.iter().filter_map(|row| Some((row[2].as_i64()?, outbox_event(row)?))).collect())
    }

    /// Counts events by how far they have come.
    pub async fn event_counts(&self) -> Result<EventCounts, BackendError> {
        let sql = "SELECT (SELECT count(*) FROM msght_events WHERE publish = 1 AND published_at IS NULL), \
                   (SELECT count(*) FROM msght_events WHERE publish = 1 AND processed_at IS NULL AND dead_at IS NULL \
                    AND queued_at IS NOT NULL), \
                   (SELECT count(*) FROM msght_events WHERE dead_at IS NOT NULL)";
        let rows = self.read(sql, Vec::new()).await?;
        let count = |column: usize| {
            let number = rows.first().and_then(|row| row.get(column)).and_then(Value::as_i64);
            u64::try_from(number.unwrap_or(0)).unwrap_or(0)
        };
        Ok(EventCounts { unpublished: count(0), unprocessed: count(1), dead: count(2) })
    }
}
