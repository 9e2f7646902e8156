//! Leases: one process at a time works on a thing, and a process that dies gives it free.

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Relational;
use super::sql::{Upsert, Value};
use crate::process_id;
use crate::store::StoreError;

/// How long a lease holds without being renewed. Longer than a database's restart, so that one doesn't cost the work in
/// hand; short enough that a dead worker's repository is soon taken up.
const HOLDS: Duration = Duration::from_secs(60);
/// No lease ends later than this: a holder whose clock was ahead can't have meant it. Twice [`HOLDS`], so that a clock which
/// is put back a little costs no live holder its lease.
const MAX_HOLDS: Duration = Duration::from_secs(120);
/// How often it is renewed: several times within [`HOLDS`].
const RENEWED_EVERY: Duration = Duration::from_secs(10);

const LEASES: Upsert =
    Upsert { table: "msght_leases", columns: &["name", "holder", "since", "expires_at"], key: &["name"], update: &[] };

/// Who has a lease that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// The process, as it calls itself (host, process number, a mark of its machine), and a part for its job.
    pub name: String,
    /// Since when, by the database's clock.
    pub since: DateTime<Utc>,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} has it since {}", self.name, self.since.format("%Y-%m-%d %H:%M:%S UTC"))
    }
}

/// A lease that this process holds, renewed until it is [released](Lease::release) or dropped; a dropped one ends by
/// itself.
pub struct Lease {
    relational: Relational,
    name: String,
    holder: String,
    lost: CancellationToken,
    renewing: JoinHandle<()>,
}

/// What this process is called among those that share the stores: `HOST/PROCESS/MACHINE`.
pub fn process_name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").ok().or_else(|| std::env::var("HOSTNAME").ok());
    let host: String = host.as_deref().unwrap_or("host").trim().chars().take(100).collect();
    format!("{host}/{}/{}", std::process::id(), process_id::surroundings_mark())
}

/// Returns whether the process that a holder names has certainly ended.
fn has_ended(holder: &str) -> bool {
    let mut parts = holder.rsplit('/').skip(1);
    let (Some(mark), Some(pid)) = (parts.next(), parts.next()) else { return false };
    pid.parse().is_ok_and(|pid| process_id::has_ended(pid, mark))
}

impl Relational {
    /// Takes a lease for a process if nobody has it, another job of the same process included. Its name compares without
    /// case.
    ///
    /// # Errors
    /// The store can't be read or written.
    pub async fn lease(&self, name: &str, process: &str) -> Result<Result<Lease, Holder>, StoreError> {
        let holder = format!("{process}/{:08x}", rand::random::<u32>());
        let mut found = self.take_lease(name, &holder).await?;
        if has_ended(&found.name) {
            tracing::info!(lease = name, holder = found.name, "a dead process's lease is taken over");
            self.end_lease(name, &found.name).await?;
            found = self.take_lease(name, &holder).await?;
        }
        if found.name != holder {
            return Ok(Err(found));
        }
        let lost = CancellationToken::new();
        let renewing = tokio::spawn(renew(self.clone(), name.to_owned(), holder.clone(), lost.clone()));
        Ok(Ok(Lease { relational: self.clone(), name: name.to_owned(), holder, lost, renewing }))
    }

    /// Renews a lease; whether it was still there.
    async fn renew_lease(&self, name: &str, holder: &str) -> Result<bool, StoreError> {
        let now = self.backend.unix_seconds();
        let sql = format!("UPDATE msght_leases SET expires_at = {now} + ? WHERE name = ? AND holder = ?");
        let holds = i64::try_from(HOLDS.as_secs()).unwrap_or(0);
        let renew = async || {
            let mut tx = self.backend.begin().await?;
            let renewed = tx.execute(&sql, vec![holds.into(), name.into(), holder.into()]).await?;
            tx.commit().await?;
            Ok(renewed > 0)
        };
        self.backend.with_retry(renew).await.map_err(|error| self.backend.explain("writing to", &error))
    }

    async fn end_lease(&self, name: &str, holder: &str) -> Result<(), StoreError> {
        let sql = "DELETE FROM msght_leases WHERE name = ? AND holder = ?";
        self.write(sql, vec![name.into(), holder.into()]).await.map(drop)
    }

    /// Takes a lease that nobody has; returns who has it then.
    async fn take_lease(&self, name: &str, holder: &str) -> Result<Holder, StoreError> {
        let now_sql = self.backend.unix_seconds();
        let take = async || {
            let mut tx = self.backend.begin().await?;
            let now = tx.fetch(&format!("SELECT {now_sql}"), Vec::new()).await?;
            let now = now.first().and_then(|row| row[0].as_i64()).unwrap_or(0);
            let until = now.saturating_add(i64::try_from(HOLDS.as_secs()).unwrap_or(0));
            let latest = now.saturating_add(i64::try_from(MAX_HOLDS.as_secs()).unwrap_or(0));
            let take_over = "UPDATE msght_leases SET holder = ?1, since = ?2, expires_at = ?3 \
                             WHERE name = ?4 AND (expires_at <= ?2 OR expires_at > ?5)";
            tx.execute(take_over, vec![holder.into(), now.into(), until.into(), name.into(), latest.into()]).await?;
            tx.upsert(&LEASES, vec![vec![name.into(), holder.into(), now.into(), until.into()]]).await?;
            let found = tx.fetch("SELECT holder, since FROM msght_leases WHERE name = ?", vec![name.into()]).await?;
            tx.commit().await?;
            Ok(found)
        };
        let found = self.backend.with_retry(take).await;
        let found = found.map_err(|error| self.backend.explain("writing to", &error))?;
        let row = found.into_iter().next().unwrap_or_default();
        let since = row.get(1).and_then(Value::as_i64).and_then(|at| DateTime::from_timestamp(at, 0));
        Ok(Holder {
            name: row.into_iter().next().and_then(Value::into_text).unwrap_or_default(),
            since: since.unwrap_or_default(),
        })
    }
}

/// Renews a lease until it is lost: taken by somebody else, or not renewed in time, since an outage can last longer.
async fn renew(relational: Relational, name: String, holder: String, lost: CancellationToken) {
    let mut renewed_at = Instant::now();
    loop {
        tokio::time::sleep(RENEWED_EVERY).await;
        let began = Instant::now();
        let deadline = renewed_at + HOLDS - RENEWED_EVERY;
        let why = match tokio::time::timeout_at(deadline, relational.renew_lease(&name, &holder)).await {
            Ok(Ok(true)) => {
                renewed_at = began;
                continue;
            }
            Ok(Ok(false)) => "it has expired and was taken".to_owned(),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "the store did not answer in time".to_owned(),
        };
        tracing::warn!(lease = name, why, "a lease was lost");
        return lost.cancel();
    }
}

impl Lease {
    /// Cancelled when the lease was lost: the work must end, somebody else may be at it.
    pub fn lost(&self) -> &CancellationToken {
        &self.lost
    }

    /// Gives the lease back.
    ///
    /// # Errors
    /// The store can't be written; the lease ends by itself then.
    pub async fn release(self) -> Result<(), StoreError> {
        self.renewing.abort();
        self.relational.end_lease(&self.name, &self.holder).await
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.renewing.abort();
    }
}
