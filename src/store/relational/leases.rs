//! Named leases with a TTL: at most one holder at a time; a dead holder's lease expires.

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Relational;
use super::sql::{Upsert, Value};
use crate::process_id;
use crate::store::BackendError;

/// Lifetime of a lease that is not renewed. Longer than a database restart, so that one costs no work in progress;
/// short enough that a dead worker's repository is soon taken over.
const LEASE_TTL: Duration = Duration::from_mins(1);
/// Longest lease that is believed: anything later was written by a clock that was ahead. Twice [`LEASE_TTL`], so that a
/// small step back of the clock costs no live holder its lease.
const MAX_LEASE_TTL: Duration = Duration::from_mins(2);
/// Interval between renewals: several within [`LEASE_TTL`].
const RENEWAL_INTERVAL: Duration = Duration::from_secs(10);

const LEASES: Upsert =
    Upsert { table: "msght_leases", columns: &["name", "holder", "since", "expires_at"], key: &["name"], update: &[] };

/// The current holder of a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseHolder {
    /// The process (host, process id, machine mark), with a part for its job.
    pub name: String,
    /// Start of the lease, by the database's clock.
    pub since: DateTime<Utc>,
}

impl fmt::Display for LeaseHolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} has it since {}", self.name, self.since.format("%Y-%m-%d %H:%M:%S UTC"))
    }
}

/// A lease held by this process, renewed until it is [released](Lease::release) or dropped. A dropped one expires.
pub struct Lease {
    relational: Relational,
    name: String,
    holder: String,
    lost_token: CancellationToken,
    renewal_task: JoinHandle<()>,
}

/// Returns this process's name among those that share the stores: `HOST/PROCESS/MACHINE`.
pub fn process_name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").ok().or_else(|| std::env::var("HOSTNAME").ok());
    let host: String = host.as_deref().unwrap_or("host").trim().chars().take(100).collect();
    format!("{host}/{}/{}", std::process::id(), process_id::namespace_mark())
}

/// Returns whether the process that a holder names has certainly ended.
pub(super) fn has_holder_ended(holder: &str) -> bool {
    let mut parts = holder.rsplit('/').skip(1);
    let (Some(mark), Some(pid)) = (parts.next(), parts.next()) else { return false };
    pid.parse().is_ok_and(|pid| process_id::has_pid_ended(pid, mark))
}

impl Relational {
    /// Takes a lease for a process unless anybody holds it, including another job of the same process. Names compare
    /// case-insensitively.
    ///
    /// # Errors
    /// The store can't be read or written.
    pub async fn try_lease(&self, name: &str, process: &str) -> Result<Result<Lease, LeaseHolder>, BackendError> {
        let holder = format!("{process}/{:08x}", rand::random::<u32>());
        let mut found = self.claim_lease(name, &holder).await?;
        if has_holder_ended(&found.name) {
            tracing::info!(lease = name, holder = found.name, "a dead process's lease is taken over");
            self.delete_lease(name, &found.name).await?;
            found = self.claim_lease(name, &holder).await?;
        }
        if found.name != holder {
            return Ok(Err(found));
        }
        let lost_token = CancellationToken::new();
        let renewal_task = tokio::spawn(renew(self.clone(), name.to_owned(), holder.clone(), lost_token.clone()));
        Ok(Ok(Lease { relational: self.clone(), name: name.to_owned(), holder, lost_token, renewal_task }))
    }

    /// Renews a lease and returns whether it was still held.
    async fn renew_lease(&self, name: &str, holder: &str) -> Result<bool, BackendError> {
        let now = self.backend.now_expression();
        let sql = format!("UPDATE msght_leases SET expires_at = {now} + ? WHERE name = ? AND holder = ?");
        let holds = i64::try_from(LEASE_TTL.as_secs()).unwrap_or(0);
        let renew = async || {
            let mut tx = self.backend.begin().await?;
            let renewed = tx.execute(&sql, vec![holds.into(), name.into(), holder.into()]).await?;
            tx.commit().await?;
            Ok(renewed > 0)
        };
        self.backend.with_retry(renew).await.map_err(|error| self.backend.backend_error("writing to", &error))
    }

    async fn delete_lease(&self, name: &str, holder: &str) -> Result<(), BackendError> {
        let sql = "DELETE FROM msght_leases WHERE name = ? AND holder = ?";
        self.write(sql, vec![name.into(), holder.into()]).await.map(drop)
    }

    /// Takes a lease if it is free and returns its holder afterwards.
    async fn claim_lease(&self, name: &str, holder: &str) -> Result<LeaseHolder, BackendError> {
        let now_sql = self.backend.now_expression();
        let take = async || {
            let mut tx = self.backend.begin().await?;
            let now = tx.fetch(&format!("SELECT {now_sql}"), Vec::new()).await?;
            let now = now.first().and_then(|row| row[0].as_i64()).unwrap_or(0);
            let until = now.saturating_add(i64::try_from(LEASE_TTL.as_secs()).unwrap_or(0));
            let latest = now.saturating_add(i64::try_from(MAX_LEASE_TTL.as_secs()).unwrap_or(0));
            let take_over = "UPDATE msght_leases SET holder = ?1, since = ?2, expires_at = ?3 \
                             WHERE name = ?4 AND (expires_at <= ?2 OR expires_at > ?5)";
            tx.execute(take_over, vec![holder.into(), now.into(), until.into(), name.into(), latest.into()]).await?;
            tx.upsert(&LEASES, vec![vec![name.into(), holder.into(), now.into(), until.into()]]).await?;
            let found = tx.fetch("SELECT holder, since FROM msght_leases WHERE name = ?", vec![name.into()]).await?;
            tx.commit().await?;
            Ok(found)
        };
        let found = self.backend.with_retry(take).await;
        let found = found.map_err(|error| self.backend.backend_error("writing to", &error))?;
        let row = found.into_iter().next().unwrap_or_default();
        let since = row.get(1).and_then(Value::as_i64).and_then(|at| DateTime::from_timestamp(at, 0));
        Ok(LeaseHolder {
            name: row.into_iter().next().and_then(Value::into_text).unwrap_or_default(),
            since: since.unwrap_or_default(),
        })
    }
}

/// Renews a lease until it is lost: taken by another process, or not renewed in time because of an outage.
async fn renew(relational: Relational, name: String, holder: String, lost_token: CancellationToken) {
    let mut renewed_at = Instant::now();
    loop {
        tokio::time::sleep(RENEWAL_INTERVAL).await;
        let began = Instant::now();
        let deadline = renewed_at + LEASE_TTL - RENEWAL_INTERVAL;
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
        return lost_token.cancel();
    }
}

impl Lease {
    /// Returns the token that is canceled when the lease is lost: the work must stop, another process may have taken
    /// over.
    pub fn lost_token(&self) -> &CancellationToken {
        &self.lost_token
    }

    /// Releases the lease.
    ///
    /// # Errors
    /// The store can't be written; the lease will expire.
    pub async fn release(self) -> Result<(), BackendError> {
        self.renewal_task.abort();
        self.relational.delete_lease(&self.name, &self.holder).await
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.renewal_task.abort();
    }
}
