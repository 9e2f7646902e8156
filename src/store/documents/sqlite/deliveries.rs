//! The inbox of deliveries in the embedded store: heads in one table, bodies beside it, so that heads stay small.

use std::collections::HashMap;

use sqlx::{AssertSqlSafe, Row as _, Sqlite, Transaction};

use super::SqliteDocuments;
use crate::store::BackendError;
use crate::store::documents::deliveries::{
    Claim, ClaimedDelivery, CompressedBody, DeliveryCounts, DeliveryKey, DeliveryState, ListeningGap, NewDelivery,
    PurgedDeliveries, Stored, from_millis, headers_from_json, headers_to_json,
};

/// The statements that create the tables (`docs/data-model.md`, "Deliveries"). `available_at` is the time from which a
/// delivery may be claimed: its receipt, the end of its lease, or its next attempt; none when it is done or dead.
pub(super) const SCHEMA: [&str; 6] = [
    "CREATE TABLE IF NOT EXISTS deliveries (id INTEGER NOT NULL PRIMARY KEY, guid TEXT NOT NULL, hook_id INTEGER NOT NULL, \
     event TEXT NOT NULL, action TEXT, owner TEXT, repo TEXT, headers TEXT NOT NULL, received_at INTEGER NOT NULL, \
     size INTEGER NOT NULL, state TEXT NOT NULL, attempts INTEGER NOT NULL DEFAULT 0, available_at INTEGER, lease TEXT, \
     holder TEXT, finished_at INTEGER, reason TEXT)",
    "CREATE UNIQUE INDEX IF NOT EXISTS deliveries_key ON deliveries (guid, hook_id)",
    "CREATE INDEX IF NOT EXISTS deliveries_available_at ON deliveries (available_at) WHERE available_at IS NOT NULL",
    "CREATE INDEX IF NOT EXISTS deliveries_state ON deliveries (state, received_at)",
    "CREATE TABLE IF NOT EXISTS delivery_bodies (id INTEGER NOT NULL PRIMARY KEY, body BLOB NOT NULL)",
    "CREATE TABLE IF NOT EXISTS msght_listening (id INTEGER NOT NULL PRIMARY KEY CHECK (id = 1), last_at INTEGER NOT NULL, \
     stopped_cleanly INTEGER NOT NULL, gap_from INTEGER, gap_until INTEGER, gap_clean INTEGER)",
];

/// Keys per lookup statement.
const KEYS_PER_STATEMENT: usize = 100;

impl SqliteDocuments {
    pub(in super::super) async fn store_deliveries(
        &self,
        deliveries: &[NewDelivery],
    ) -> Result<Vec<Stored>, BackendError> {
        let failed = self.failed("storing deliveries in");
        let mut tx = self.begin().await.map_err(&failed)?;
        let mut stored = Vec::with_capacity(deliveries.len());
        for delivery in deliveries {
            stored.push(store(&mut tx, delivery).await.map_err(&failed)?);
        }
        tx.commit().await.map_err(&failed)?;
        Ok(stored)
    }

    pub(in super::super) async fn claim_deliveries(&self, claim: &Claim) -> Result<Vec<ClaimedDelivery>, BackendError> {
        let failed = self.failed("reading deliveries of");
        // Most looks find nothing, and need no write lock then.
        let waiting: Option<i64> =
            sqlx::query_scalar("SELECT 1 FROM deliveries WHERE available_at IS NOT NULL AND available_at <= ? LIMIT 1")
                .bind(claim.now)
                .fetch_optional(&self.pool)
                .await
                .map_err(&failed)?;
        if waiting.is_none() {
            return Ok(Vec::new());
        }
        let mut tx = self.begin().await.map_err(&failed)?;
        let rows = sqlx::query(
            "UPDATE deliveries SET state = 'working', available_at = ?1, lease = ?2, holder = ?3 WHERE id IN \
             (SELECT id FROM deliveries WHERE available_at IS NOT NULL AND available_at <= ?4 ORDER BY available_at LIMIT ?5) \
             RETURNING guid, hook_id, event, headers, received_at, attempts, id",
        )
        .bind(claim.until)
        .bind(claim.lease.clone())
        .bind(claim.holder.clone())
        .bind(claim.now)
        .bind(claim.limit)
        .fetch_all(&mut *tx)
        .await
        .map_err(&failed)?;
        tx.commit().await.map_err(&failed)?;
        let mut claimed = Vec::with_capacity(rows.len());
        for row in rows {
            let mut read = || -> Result<(), sqlx::Error> {
                let headers: String = row.try_get(3)?;
                let delivery = ClaimedDelivery {
                    key: DeliveryKey { guid: row.try_get(0)?, hook_id: row.try_get(1)? },
                    event: row.try_get(2)?,
                    headers: headers_from_json(&headers),
                    received_at: from_millis(row.try_get(4)?),
                    attempts: u32::try_from(row.try_get::<i64, _>(5)?).unwrap_or(u32::MAX),
                    lease: claim.lease.clone(),
                };
                claimed.push((row.try_get::<i64, _>(6)?, delivery));
                Ok(())
            };
            read().map_err(&failed)?;
        }
        // SQLite returns them in any order.
        claimed.sort_by_key(|(id, _)| *id);
        Ok(claimed.into_iter().map(|(_, delivery)| delivery).collect())
    }

    pub(in super::super) async fn delivery_body(
        &self,
        key: &DeliveryKey,
    ) -> Result<Option<CompressedBody>, BackendError> {
        let failed = self.failed("reading a delivery of");
        let row: Option<(Vec<u8>, i64)> = sqlx::query_as(
            "SELECT b.body, d.size FROM deliveries d JOIN delivery_bodies b ON b.id = d.id WHERE d.guid = ? AND d.hook_id = ?",
        )
        .bind(key.guid.clone())
        .bind(key.hook_id)
        .fetch_optional(&self.pool)
        .await
        .map_err(failed)?;
        Ok(row.map(|(gzip, size)| CompressedBody { gzip, size: size.unsigned_abs() }))
    }

    pub(in super::super) async fn finish_deliveries(
        &self,
        claimed: &[ClaimedDelivery],
        now: i64,
    ) -> Result<u64, BackendError> {
        let failed = self.failed("marking deliveries as done in");
        let mut tx = self.begin().await.map_err(&failed)?;
        let mut done = 0;
        for ClaimedDelivery { key, lease, .. } in claimed {
            let query = sqlx::query(
                "UPDATE deliveries SET state = 'done', available_at = NULL, lease = NULL, holder = NULL, finished_at = ?, \
                 reason = NULL WHERE guid = ? AND hook_id = ? AND lease = ?",
            )
            .bind(now)
            .bind(key.guid.clone())
            .bind(key.hook_id)
            .bind(lease.clone());
            done += query.execute(&mut *tx).await.map_err(&failed)?.rows_affected();
        }
        tx.commit().await.map_err(&failed)?;
        Ok(done)
    }

    pub(in super::super) async fn fail_delivery(
        &self,
        claimed: &ClaimedDelivery,
        retry_at: Option<i64>,
        reason: &str,
        now: i64,
    ) -> Result<(), BackendError> {
        let state = if retry_at.is_some() { DeliveryState::Failed } else { DeliveryState::Dead };
        sqlx::query(
            "UPDATE deliveries SET state = ?, attempts = attempts + 1, available_at = ?, lease = NULL, holder = NULL, \
             finished_at = ?, reason = ? WHERE guid = ? AND hook_id = ? AND lease = ?",
        )
        .bind(state.name())
        .bind(retry_at)
        .bind(retry_at.is_none().then_some(now))
        .bind(reason.to_owned())
        .bind(claimed.key.guid.clone())
        .bind(claimed.key.hook_id)
        .bind(claimed.lease.clone())
        .execute(&self.pool)
        .await
        .map(drop)
        .map_err(self.failed("recording a failed delivery in"))
    }

    pub(in super::super) async fn release_deliveries(
        &self,
        claimed: &[ClaimedDelivery],
        now: i64,
    ) -> Result<(), BackendError> {
        let failed = self.failed("releasing deliveries of");
        let mut tx = self.begin().await.map_err(&failed)?;
        for ClaimedDelivery { key, lease, .. } in claimed {
            sqlx::query(
                "UPDATE deliveries SET state = CASE WHEN attempts > 0 THEN 'failed' ELSE 'received' END, available_at = ?, \
                 lease = NULL, holder = NULL WHERE guid = ? AND hook_id = ? AND lease = ?",
            )
            .bind(now)
            .bind(key.guid.clone())
            .bind(key.hook_id)
            .bind(lease.clone())
            .execute(&mut *tx)
            .await
            .map_err(&failed)?;
        }
        tx.commit().await.map_err(&failed)
    }

    pub(in super::super) async fn delivery_holders(&self) -> Result<Vec<String>, BackendError> {
        sqlx::query_scalar("SELECT DISTINCT holder FROM deliveries WHERE state = 'working' AND holder IS NOT NULL")
            .fetch_all(&self.pool)
            .await
            .map_err(self.failed("reading deliveries of"))
    }

    pub(in super::super) async fn release_deliveries_of(
        &self,
        holders: &[String],
        now: i64,
    ) -> Result<u64, BackendError> {
        let mut released = 0;
        for holder in holders {
            let query = sqlx::query(
                "UPDATE deliveries SET state = CASE WHEN attempts > 0 THEN 'failed' ELSE 'received' END, available_at = ?, \
                 lease = NULL, holder = NULL WHERE state = 'working' AND holder = ?",
            )
            .bind(now)
            .bind(holder.clone());
            let done = query.execute(&self.pool).await.map_err(self.failed("releasing deliveries of"))?;
            released += done.rows_affected();
        }
        Ok(released)
    }

    pub(in super::super) async fn delivery_counts(&self) -> Result<DeliveryCounts, BackendError> {
        let failed = self.failed("counting deliveries of");
        let rows: Vec<(String, i64)> = sqlx::query_as("SELECT state, count(*) FROM deliveries GROUP BY state")
            .fetch_all(&self.pool)
            .await
            .map_err(&failed)?;
        let mut counts = DeliveryCounts::default();
        for (state, count) in rows {
            if let Some(state) = DeliveryState::parse(&state) {
                counts.set(state, count.unsigned_abs());
            }
        }
        let oldest: Option<i64> = sqlx::query_scalar(
            "SELECT min(received_at) FROM deliveries WHERE state IN ('received', 'working', 'failed')",
        )
        .fetch_one(&self.pool)
        .await
        .map_err(&failed)?;
        counts.oldest_pending = oldest.map(from_millis);
        Ok(counts)
    }

    pub(in super::super) async fn known_deliveries(
        &self,
        keys: &[DeliveryKey],
    ) -> Result<HashMap<DeliveryKey, DeliveryState>, BackendError> {
        let mut known = HashMap::new();
        for chunk in keys.chunks(KEYS_PER_STATEMENT) {
            let marks = vec!["(?,?)"; chunk.len()].join(",");
            let sql = format!("SELECT guid, hook_id, state FROM deliveries WHERE (guid, hook_id) IN (VALUES {marks})");
            let mut query = sqlx::query_as(AssertSqlSafe(sql));
            for key in chunk {
                query = query.bind(key.guid.clone()).bind(key.hook_id);
            }
            let rows: Vec<(String, i64, String)> =
                query.fetch_all(&self.pool).await.map_err(self.failed("reading deliveries of"))?;
            known.extend(rows.into_iter().filter_map(|(guid, hook_id, state)| {
                Some((DeliveryKey { guid, hook_id }, DeliveryState::parse(&state)?))
            }));
        }
        Ok(known)
    }

    pub(in super::super) async fn purge_deliveries(
        &self,
        bodies_before: i64,
        heads_before: i64,
        limit: u32,
    ) -> Result<PurgedDeliveries, BackendError> {
        const FINISHED: &str = "d.state IN ('done', 'dead') AND d.received_at < ?1 AND d.finished_at < ?1";
        let failed = self.failed("removing old deliveries from");
        // Read without a lock, which others wait for: only what is found is then removed.
        let bodies = format!(
            "SELECT b.id FROM delivery_bodies b CROSS JOIN deliveries d ON d.id = b.id WHERE {FINISHED} ORDER BY b.id LIMIT ?2"
        );
        let heads = format!("SELECT d.id FROM deliveries d WHERE {FINISHED} LIMIT ?2");
        let mut found: [Vec<i64>; 2] = [Vec::new(), Vec::new()];
        for (found, (sql, before)) in found.iter_mut().zip([(bodies, bodies_before), (heads, heads_before)]) {
            let query = sqlx::query_scalar(AssertSqlSafe(sql)).bind(before).bind(limit);
            *found = query.fetch_all(&self.pool).await.map_err(&failed)?;
        }
        let [bodies, heads] = found;
        let mut purged = PurgedDeliveries::default();
        if bodies.is_empty() && heads.is_empty() {
            return Ok(purged);
        }
        let mut tx = self.begin().await.map_err(&failed)?;
        for id in bodies.iter().chain(&heads) {
            let query = sqlx::query("DELETE FROM delivery_bodies WHERE id = ?").bind(id);
            purged.bodies += query.execute(&mut *tx).await.map_err(&failed)?.rows_affected();
        }
        for id in heads {
            let query = sqlx::query("DELETE FROM deliveries WHERE id = ?").bind(id);
            purged.heads += query.execute(&mut *tx).await.map_err(&failed)?.rows_affected();
        }
        tx.commit().await.map_err(&failed)?;
        Ok(purged)
    }

    pub(in super::super) async fn last_listened(&self) -> Result<Option<(i64, bool)>, BackendError> {
        sqlx::query_as("SELECT last_at, stopped_cleanly FROM msght_listening")
            .fetch_optional(&self.pool)
            .await
            .map_err(self.failed("reading"))
    }

    pub(in super::super) async fn record_listening(&self, now: i64, stopped: bool) -> Result<(), BackendError> {
        sqlx::query(
            "INSERT INTO msght_listening (id, last_at, stopped_cleanly) VALUES (1, ?1, ?2) ON CONFLICT (id) DO UPDATE \
             SET last_at = max(last_at, ?1), stopped_cleanly = ?2",
        )
        .bind(now)
        .bind(stopped)
        .execute(&self.pool)
        .await
        .map(drop)
        .map_err(self.failed("writing to"))
    }

    pub(in super::super) async fn record_gap(&self, from: i64, until: i64, clean: bool) -> Result<(), BackendError> {
        sqlx::query(
            "UPDATE msght_listening SET gap_from = ?1, gap_until = ?2, gap_clean = ?3, last_at = max(last_at, ?2), \
             stopped_cleanly = 0",
        )
        .bind(from)
        .bind(until)
        .bind(clean)
        .execute(&self.pool)
        .await
        .map(drop)
        .map_err(self.failed("writing to"))
    }

    pub(in super::super) async fn last_listening_gap(&self) -> Result<Option<ListeningGap>, BackendError> {
        let row: Option<(i64, i64, bool)> =
            sqlx::query_as("SELECT gap_from, gap_until, gap_clean FROM msght_listening WHERE gap_from IS NOT NULL")
                .fetch_optional(&self.pool)
                .await
                .map_err(self.failed("reading"))?;
        Ok(row.map(|(from, until, stopped_cleanly)| ListeningGap {
            from: from_millis(from),
            until: from_millis(until),
            stopped_cleanly,
        }))
    }
}

/// Stores one delivery within a transaction.
async fn store(tx: &mut Transaction<'static, Sqlite>, delivery: &NewDelivery) -> Result<Stored, sqlx::Error> {
    let NewDelivery { key, event, action, owner, repo, headers, received_at, body } = delivery;
    let received_at = received_at.timestamp_millis();
    let inserted: Option<i64> = sqlx::query_scalar(
        "INSERT INTO deliveries (guid, hook_id, event, action, owner, repo, headers, received_at, size, state, available_at) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 'received', ?8) ON CONFLICT (guid, hook_id) DO NOTHING RETURNING id",
    )
    .bind(key.guid.clone())
    .bind(key.hook_id)
    .bind(event.clone())
    .bind(action.clone())
    .bind(owner.clone())
    .bind(repo.clone())
    .bind(headers_to_json(headers))
    .bind(received_at)
    .bind(i64::try_from(body.size).unwrap_or(i64::MAX))
    .fetch_optional(&mut **tx)
    .await?;
    if let Some(id) = inserted {
        write_body(tx, id, body).await?;
        return Ok(Stored::New);
    }
    let (id, state): (i64, String) = sqlx::query_as("SELECT id, state FROM deliveries WHERE guid = ? AND hook_id = ?")
        .bind(key.guid.clone())
        .bind(key.hook_id)
        .fetch_one(&mut **tx)
        .await?;
    match DeliveryState::parse(&state) {
        Some(DeliveryState::Done) => return Ok(Stored::Done),
        // Somebody is at it; should that fail, its lease ends.
        Some(DeliveryState::Working) => return Ok(Stored::Pending),
        Some(DeliveryState::Received | DeliveryState::Failed | DeliveryState::Dead) | None => {}
    }
    write_body(tx, id, body).await?;
    sqlx::query(
        "UPDATE deliveries SET attempts = CASE WHEN state = 'dead' THEN 0 ELSE attempts END, state = 'received', \
         available_at = ?, finished_at = NULL, size = ? WHERE id = ?",
    )
    .bind(received_at)
    .bind(i64::try_from(body.size).unwrap_or(i64::MAX))
    .bind(id)
    .execute(&mut **tx)
    .await?;
    Ok(Stored::Pending)
}

async fn write_body(tx: &mut Transaction<'static, Sqlite>, id: i64, body: &CompressedBody) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT OR REPLACE INTO delivery_bodies (id, body) VALUES (?, ?)")
        .bind(id)
        .bind(body.gzip.clone())
        .execute(&mut **tx)
        .await
        .map(drop)
}
