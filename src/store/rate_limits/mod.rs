//! Rate limits shared by the processes that use the same tokens, kept beside the relational store: in an SQLite file of
//! its own, or in two tables of the MySQL or MariaDB server.
//!
//! [`crate::rate_limit`] has the contract, and `docs/tokens.md` the guarantees.

use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt as _};

use self::mysql::MysqlBackend;
use self::sql::{Dialect, MAX_AHEAD_MICROS, MAX_THROTTLE_AHEAD_MICROS, Param, Statement, Statements, WINDOW_MICROS};
use self::sqlite::SqliteBackend;
use super::BackendError;
use crate::backend_url::{BackendKind, BackendUrl};
use crate::rate_limit::{
    ConcurrencyClaim, MAX_BURST, REQUEST_INTERVAL, RateLimitStore, RateLimitStoreError, RateWindow, Reservation,
    UsageReport, WaitReason,
};
use crate::retry::RetryPolicy;

mod mysql;
mod sql;
mod sqlite;

pub(crate) use sqlite::path_beside;

/// Delay before asking again for a token whose remaining requests are all in flight: they are answered or spent by
/// then.
const BUSY_DELAY: Duration = Duration::from_millis(250);
/// Maximum duration of a request: the client gives up after two minutes.
const MAX_FLIGHT: Duration = Duration::from_secs(130);
/// Maximum attempts on a token whose state keeps changing, before it is asked for again later.
const MAX_ATTEMPTS: u32 = 3;
/// Maximum length of a pause or window. Whoever has to wait longer asks again then.
const MAX_WAIT: Duration = Duration::from_micros(WINDOW_MICROS.unsigned_abs());

/// Opens the shared rate limits beside the relational store at this URL, creating them as needed.
///
/// # Errors
/// The file or server can't be created, reached, read or written.
pub async fn open(url: &BackendUrl, retry_policy: &RetryPolicy) -> Result<Arc<dyn RateLimitStore>, BackendError> {
    let (storage, dialect, name) = match (url.kind(), url.sqlite_path()) {
        (BackendKind::Mysql, _) => {
            (Storage::Mysql(Box::new(MysqlBackend::open(url).await?)), Dialect::Mysql, url.to_string())
        }
        (_, Some(path)) => {
            let name = sqlite::path_beside(path).display().to_string();
            (Storage::Sqlite(SqliteBackend::open(path, retry_policy).await?), Dialect::Sqlite, name)
        }
        (_, None) => {
            return Err(BackendError::no_relational_store(url));
        }
    };
    let rate_limits = StoredRateLimits {
        storage,
        statements: Statements::new(dialect),
        name,
        retry_policy: retry_policy.for_backend(),
    };
    rate_limits.execute("purging expired entries", &rate_limits.statements.purge_expired, &[]).await?;
    Ok(Arc::new(rate_limits))
}

enum Storage {
    Sqlite(SqliteBackend),
    Mysql(Box<MysqlBackend>),
}

struct StoredRateLimits {
    storage: Storage,
    statements: Statements,
    /// The file or server, without secrets.
    name: String,
    retry_policy: RetryPolicy,
}

/// A token's row and the time at which it was read; times in microseconds on the store's clock.
#[derive(Debug, Clone, Copy)]
struct TokenRow {
    now: i64,
    /// Requests per hour; `None`: unknown, 0: unlimited.
    hourly: Option<i64>,
    used: i64,
    remaining: i64,
    reset_at: i64,
    due: i64,
    reserved_at: i64,
    paused_until: i64,
    paused_for: i64,
    secondary_limit_hits: i64,
}

/// The reason why a reservation was refused, and what follows.
#[derive(Debug, PartialEq, Eq)]
enum Refusal {
    /// The answer to the caller.
    Final(Reservation),
    /// Unanswered reservations have to be replaced by GitHub's own count.
    SettleFirst,
    /// It would be granted by now.
    Over,
}

impl TokenRow {
    fn from(row: &[Option<i64>]) -> Option<Self> {
        let [now, hourly, used, remaining, reset_at, due, reserved_at, paused_until, paused_for, secondary_limit_hits] =
            *row
        else {
            return None;
        };
        Some(Self {
            now: now?,
            hourly,
            used: used?,
            remaining: remaining?,
            reset_at: reset_at?,
            due: due?,
            reserved_at: reserved_at?,
            paused_until: paused_until?,
            paused_for: paused_for?,
            secondary_limit_hits: secondary_limit_hits?,
        })
    }

    /// Returns whether a time is in the future, and not further ahead than anything can explain.
    fn is_ahead(&self, moment: i64, max: i64) -> bool {
        moment > self.now && moment <= self.now.saturating_add(max)
    }

    fn until(&self, moment: i64) -> Duration {
        Duration::from_micros(u64::try_from(moment.saturating_sub(self.now)).unwrap_or(0))
    }

    /// Repeats the decision of the reserving statement, and returns its reason.
    fn refusal(&self, floor: i64) -> Refusal {
        if self.is_ahead(self.paused_until, MAX_AHEAD_MICROS) {
            let secondary_limit_hits = u32::try_from(self.secondary_limit_hits).unwrap_or(0);
            let (wait, reason) = (self.until(self.paused_until), reason(self.paused_for));
            return Refusal::Final(Reservation::Blocked { wait, reason, secondary_limit_hits });
        }
        let Some(hourly @ 1..) = self.hourly else { return Refusal::Over };
        let floor = floor.min(hourly - 1);
        if self.is_ahead(self.reset_at, MAX_AHEAD_MICROS) && hourly.saturating_sub(self.used) <= floor {
            if self.remaining <= floor {
                let wait = self.until(self.reset_at);
                return Refusal::Final(Reservation::Blocked {
                    wait,
                    reason: WaitReason::RateLimit,
                    secondary_limit_hits: 0,
                });
            }
            // GitHub has reported more than is left here: the rest is in flight, or was when its process died.
            let flight = self.now.saturating_sub(self.reserved_at);
            if flight > micros(MAX_FLIGHT) || flight < -micros(MAX_FLIGHT) {
                return Refusal::SettleFirst;
            }
            return Refusal::Final(Reservation::Busy(BUSY_DELAY.min(self.until(self.reset_at))));
        }
        let next = self.due.saturating_sub(micros(REQUEST_INTERVAL * (MAX_BURST - 1)));
        if self.is_ahead(next, MAX_THROTTLE_AHEAD_MICROS) {
            Refusal::Final(Reservation::Busy(self.until(next)))
        } else {
            Refusal::Over
        }
    }
}

impl StoredRateLimits {
    fn backend_error(&self, operation: &str, error: &sqlx::Error) -> BackendError {
        let operation = format!("{operation} in the shared rate limits {}", self.name);
        match &self.storage {
            Storage::Sqlite(_) => BackendError::from_sqlite(operation, error),
            Storage::Mysql(_) => super::mysql::backend_error(&operation, error),
        }
    }

    fn retryability(&self, error: &sqlx::Error) -> crate::retry::Retryability {
        match &self.storage {
            Storage::Sqlite(_) => SqliteBackend::retryability(error),
            Storage::Mysql(_) => super::mysql::retryability(error),
        }
    }

    /// Runs a statement, retrying through outages, and returns the number of rows matched. A statement whose reply was
    /// lost runs again, so that a request may be counted twice, but never missed.
    async fn execute(&self, operation: &str, statement: &Statement, params: &[Param<'_>]) -> Result<u64, BackendError> {
        let attempt = || async {
            match &self.storage {
                Storage::Sqlite(backend) => backend.execute(statement, params).await,
                Storage::Mysql(backend) => backend.execute(statement, params).await,
            }
        };
        let done = self.retry_policy.retry(&self.name, |error| self.retryability(error), attempt).await;
        done.map_err(|error| self.backend_error(operation, &error))
    }

    async fn fetch(
        &self,
        operation: &str,
        statement: &Statement,
        params: &[Param<'_>],
    ) -> Result<Option<Vec<Option<i64>>>, BackendError> {
        let attempt = || async {
            match &self.storage {
                Storage::Sqlite(backend) => backend.fetch(statement, params).await,
                Storage::Mysql(backend) => backend.fetch(statement, params).await,
            }
        };
        let found = self.retry_policy.retry(&self.name, |error| self.retryability(error), attempt).await;
        found.map_err(|error| self.backend_error(operation, &error))
    }

    async fn reserve_request(&self, token: &str, floor: u64) -> Result<Reservation, BackendError> {
        const OPERATION: &str = "reserving a request";
        let (sql, floor) = (&self.statements, number(floor));
        for _ in 0..MAX_ATTEMPTS {
            if self.execute(OPERATION, &sql.reserve, &[Param::Text(token), Param::Number(floor)]).await? > 0 {
                return Ok(Reservation::Granted);
            }
            let row = self.fetch(OPERATION, &sql.select, &[Param::Text(token)]).await?;
            let Some(row) = row.as_deref().and_then(TokenRow::from) else {
                self.execute(OPERATION, &sql.insert_token, &[Param::Text(token)]).await?;
                continue;
            };
            match row.refusal(floor) {
                Refusal::Final(reservation) => return Ok(reservation),
                Refusal::SettleFirst => {
                    let params = [Param::Text(token), Param::Number(row.reserved_at)];
                    self.execute(OPERATION, &sql.settle, &params).await?;
                }
                Refusal::Over => {}
            }
        }
        Ok(Reservation::Busy(BUSY_DELAY))
    }

    /// Updates a token's row, inserting it if necessary.
    async fn write(&self, operation: &str, statement: &Statement, params: &[Param<'_>]) -> Result<(), BackendError> {
        let Some(token) = params.first().copied() else { return Ok(()) };
        if self.execute(operation, statement, params).await? == 0 {
            self.execute(operation, &self.statements.insert_token, &[token]).await?;
            self.execute(operation, statement, params).await?;
        }
        Ok(())
    }

    async fn allocate_each(&self, process: &str, claims: &[ConcurrencyClaim]) -> Result<Vec<usize>, BackendError> {
        const OPERATION: &str = "allocating requests in flight";
        let sql = &self.statements;
        let mut shares = Vec::with_capacity(claims.len());
        for claim in claims {
            let own = [Param::Text(&claim.token), Param::Text(process)];
            let [token, name] = own;
            let amount = |n: usize| Param::Number(i64::try_from(n).unwrap_or(i64::MAX));
            let all = [token, name, amount(claim.current), amount(claim.max)];
            if self.execute(OPERATION, &sql.heartbeat, &all).await? == 0 {
                self.execute(OPERATION, &sql.register, &own).await?;
                self.execute(OPERATION, &sql.heartbeat, &all).await?;
            }
            let row = self.fetch(OPERATION, &sql.share, &own).await?;
            let share = row.and_then(|row| row.first().copied().flatten()).unwrap_or(1);
            shares.push(usize::try_from(share).unwrap_or(1).max(1));
        }
        Ok(shares)
    }
}

impl RateLimitStore for StoredRateLimits {
    fn reserve<'a>(&'a self, token: &'a str, floor: u64) -> BoxFuture<'a, Result<Reservation, RateLimitStoreError>> {
        async move { self.reserve_request(token, floor).await.map_err(store_error) }.boxed()
    }

    fn report<'a>(&'a self, token: &'a str, report: UsageReport) -> BoxFuture<'a, Result<(), RateLimitStoreError>> {
        const OPERATION: &str = "recording a token's usage";
        async move {
            let sql = &self.statements;
            let done = match report {
                UsageReport::Window { window: RateWindow { limit, remaining, reset, wait }, refunded } => {
                    let reset = reset.clamp(0, MAX_NUMBER);
                    let numbers = [number(limit), number(remaining), reset, micros(wait), refunded.into()];
                    let [limit, remaining, reset, wait, refunded] = numbers.map(Param::Number);
                    let params = [Param::Text(token), limit, remaining, reset, wait, refunded];
                    self.write(OPERATION, &sql.report_window, &params).await
                }
                UsageReport::NoLimit { stated } => {
                    // It may find nothing to change.
                    let params = [Param::Text(token), Param::Number(stated.into())];
                    self.write(OPERATION, &sql.no_limit, &params).await
                }
            };
            done.map_err(store_error)
        }
        .boxed()
    }

    fn pause<'a>(
        &'a self,
        token: &'a str,
        wait: Duration,
        reason: WaitReason,
        secondary_limit_hits: u32,
    ) -> BoxFuture<'a, Result<(), RateLimitStoreError>> {
        async move {
            let [wait, reason, secondary_limit_hits] =
                [micros(wait), code(reason), secondary_limit_hits.into()].map(Param::Number);
            let params = [Param::Text(token), wait, reason, secondary_limit_hits];
            self.write("recording a token's pause", &self.statements.pause, &params).await.map_err(store_error)
        }
        .boxed()
    }

    fn allocate<'a>(
        &'a self,
        process: &'a str,
        claims: &'a [ConcurrencyClaim],
    ) -> BoxFuture<'a, Result<Vec<usize>, RateLimitStoreError>> {
        async move { self.allocate_each(process, claims).await.map_err(store_error) }.boxed()
    }

    fn deregister<'a>(&'a self, process: &'a str) -> BoxFuture<'a, Result<(), RateLimitStoreError>> {
        async move {
            let done = self.execute("deregistering", &self.statements.deregister, &[Param::Text(process)]).await;
            done.map(|_| ()).map_err(store_error)
        }
        .boxed()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        async move {
            match &self.storage {
                Storage::Sqlite(backend) => backend.close().await,
                Storage::Mysql(backend) => backend.close().await,
            }
        }
        .boxed()
    }
}

fn store_error(error: BackendError) -> RateLimitStoreError {
    RateLimitStoreError(error.to_string())
}

/// Upper bound of any number of requests, and of any second of the next 30,000 years. It keeps sums of server-supplied
/// numbers from overflowing.
const MAX_NUMBER: i64 = 1 << 40;

fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(MAX_NUMBER).min(MAX_NUMBER)
}

fn micros(time: Duration) -> i64 {
    i64::try_from(time.min(MAX_WAIT).as_micros()).unwrap_or(i64::MAX)
}

fn code(reason: WaitReason) -> i64 {
    match reason {
        WaitReason::RateLimit => 0,
        WaitReason::RetryAfter | WaitReason::NoToken => 1,
        WaitReason::SecondaryLimit => 2,
    }
}

fn reason(code: i64) -> WaitReason {
    match code {
        0 => WaitReason::RateLimit,
        2 => WaitReason::SecondaryLimit,
        _ => WaitReason::RetryAfter,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;

    fn row() -> TokenRow {
        TokenRow {
            now: 1000 * SECOND,
            hourly: Some(5000),
            used: 4990,
            remaining: 30,
            reset_at: 1600 * SECOND,
            due: 0,
            reserved_at: 999 * SECOND,
            paused_until: 0,
            paused_for: 0,
            secondary_limit_hits: 0,
        }
    }

    #[test]
    fn in_flight_requests_delay_and_stale_ones_settle() {
        assert_eq!(row().refusal(9), Refusal::Over);
        assert_eq!(row().refusal(10), Refusal::Final(Reservation::Busy(BUSY_DELAY)));
        let still = TokenRow { now: row().now + 131 * SECOND, ..row() };
        assert_eq!(still.refusal(10), Refusal::SettleFirst);
        // GitHub itself has told that the reserve is reached.
        let wait = Duration::from_secs(600);
        let exhausted =
            Refusal::Final(Reservation::Blocked { wait, reason: WaitReason::RateLimit, secondary_limit_hits: 0 });
        assert_eq!(row().refusal(30), exhausted);
        let over = TokenRow { now: row().reset_at, ..row() };
        assert_eq!(over.refusal(30), Refusal::Over);
    }

    #[test]
    fn pause_precedes_budget_and_budget_precedes_throttle() {
        let paused_until = 1007 * SECOND;
        let paused =
            TokenRow { paused_until, paused_for: code(WaitReason::SecondaryLimit), secondary_limit_hits: 3, ..row() };
        let (wait, reason) = (Duration::from_secs(7), WaitReason::SecondaryLimit);
        let expected = Refusal::Final(Reservation::Blocked { wait, reason, secondary_limit_hits: 3 });
        assert_eq!(paused.refusal(0), expected);
        // A clock that was ahead wrote it: no pause lasts for so long.
        assert_eq!(TokenRow { paused_until: 4606 * SECOND, ..paused }.refusal(0), Refusal::Over);
        assert_eq!(TokenRow { hourly: None, ..paused }.refusal(0), expected);
        let ahead = micros(REQUEST_INTERVAL * (MAX_BURST - 1));
        let paced = TokenRow { due: 1000 * SECOND + ahead + 2000, ..row() };
        assert_eq!(paced.refusal(0), Refusal::Final(Reservation::Busy(Duration::from_millis(2))));
        assert_eq!(TokenRow { hourly: Some(0), ..paced }.refusal(0), Refusal::Over);
    }
}
