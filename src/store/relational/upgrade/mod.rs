//! Upgrades a database of GHTorrent's (`schema_info` 31) to msght's tables, in place.
//!
//! An assessment comes first and changes nothing: it lists what the tables lack and the rows that block the upgrade.
//! The target is the text of the first migration (`target.rs`); after the upgrade the migrations run as on any other
//! database.

mod apply;
mod blockers;
mod database;
mod diff;
mod introspect;
mod target;

use tokio_util::sync::CancellationToken;

pub use blockers::{Blocker, Fix};

use self::apply::{StepResult, UpgradeRun};
use self::database::Database;
use self::introspect::ExistingSchema;
use super::mysql::MysqlBackend;
use crate::backend_url::{BackendKind, BackendUrl};
use crate::retry::RetryPolicy;
use crate::store::BackendError;

/// The schema version of GHTorrent's that can be upgraded: its last.
const VERSION: i64 = 31;

/// The assessment of a relational store.
pub enum Assessment {
    /// No upgrade is needed, for this reason.
    NothingToDo(String),
    /// The tables are msght's, but some are missing: an upgrade or a first command was interrupted.
    Unfinished(Unfinished),
    /// A database of GHTorrent's.
    Upgrade(Box<Upgrade>),
}

/// A database that lacks some of msght's own tables.
pub struct Unfinished {
    /// The server, its product and version, and the pending work.
    pub description: String,
    url: BackendUrl,
}

impl Unfinished {
    /// Creates the missing tables.
    ///
    /// # Errors
    /// The server has rejected a statement, or a newer msght has created the database.
    pub async fn finish(&self, retry_policy: &RetryPolicy) -> Result<(), BackendError> {
        MysqlBackend::finish_upgrade(&self.url, retry_policy).await
    }
}

/// An assessed database of GHTorrent's.
pub struct Upgrade {
    database: Database,
    url: BackendUrl,
    tables: Vec<TableChange>,
    blockers: Vec<Blocker>,
}

/// The changes to one table.
#[derive(Debug, Clone)]
pub struct TableChange {
    /// The table's name.
    pub table: String,
    /// Number of rows; `None` if the table will be created.
    pub rows: Option<i64>,
    /// Description of the changes; empty for none.
    pub change: String,
}

/// Assesses a relational store without changing it. With `exclusive` no other process may upgrade it until the returned
/// value is dropped.
///
/// # Errors
/// A server that can't be reached, a database of another program or of another version of GHTorrent's schema, or one
/// that another process upgrades at the moment.
pub async fn assess(url: &BackendUrl, exclusive: bool) -> Result<Assessment, BackendError> {
    if url.kind() != BackendKind::Mysql {
        return Ok(Assessment::NothingToDo(format!("{url}: an embedded store, which every command upgrades itself")));
    }
    let database = Database::open(url).await?;
    if exclusive && !database.lock().await? {
        return Err(rejected(&database, "another process is upgrading it".to_owned(), "wait until it has ended"));
    }
    let existing = ExistingSchema::read(&database).await.map_err(BackendError::before_start)?;
    let has = |table: &str| existing.tables.contains_key(table);
    if has("_sqlx_migrations") {
        let done = database.rows("SELECT version FROM _sqlx_migrations WHERE success").await?;
        let done: Vec<i64> = done.iter().map(|row| database::number(&row[0])).collect();
        let left = MysqlBackend::count_pending_migrations(&done);
        let shown = format!("{} ({}): its tables are msght's already", database.shown, database.server);
        if left == 0 {
            return Ok(Assessment::NothingToDo(shown));
        }
        let description = format!("{shown}, but {left} migrations are unfinished");
        return Ok(Assessment::Unfinished(Unfinished { description, url: url.clone() }));
    }
    if existing.tables.is_empty() {
        let shown =
            format!("{} ({}): it is empty: the first command creates the tables", database.shown, database.server);
        return Ok(Assessment::NothingToDo(shown));
    }
    if !has("schema_info") || !has("users") {
        let cause = "it holds tables, but not GHTorrent's (users, schema_info)".to_owned();
        return Err(rejected(&database, cause, "name GHTorrent's database in `sql.url`"));
    }
    let version = database.count("SELECT CAST(coalesce(max(version), 0) AS SIGNED) FROM schema_info").await?;
    if version != VERSION {
        let cause =
            format!("GHTorrent's schema has version {version} there, and only version {VERSION} can be upgraded");
        return Err(rejected(&database, cause, "bring it to version 31 with GHTorrent's own migrations first"));
    }
    let tables = table_changes(&database, &existing).await?;
    let blockers = blockers::find(&database, &existing).await?;
    Ok(Assessment::Upgrade(Box::new(Upgrade { database, url: url.clone(), tables, blockers })))
}

async fn table_changes(database: &Database, existing: &ExistingSchema) -> Result<Vec<TableChange>, BackendError> {
    let mut tables = Vec::new();
    for table in target::tables() {
        let there = existing.tables.contains_key(&table.name);
        let rows =
            if there { Some(database.count(&format!("SELECT count(*) FROM `{}`", table.name)).await?) } else { None };
        let change = if there {
            diff::table_diff(table, existing, database.is_mariadb()).summary()
        } else {
            "create".to_owned()
        };
        tables.push(TableChange { table: table.name.clone(), rows, change });
    }
    Ok(tables)
}

fn rejected(database: &Database, cause: String, hint: &'static str) -> BackendError {
    BackendError { operation: format!("upgrading {}", database.shown), cause, hint, before_start: true }
}

impl Upgrade {
    /// Returns product, version and location.
    pub fn description(&self) -> String {
        format!("{} ({})", self.database.shown, self.database.server)
    }

    /// Returns the changes by table.
    pub fn tables(&self) -> &[TableChange] {
        &self.tables
    }

    /// Returns the blockers.
    pub fn blockers(&self) -> &[Blocker] {
        &self.blockers
    }

    /// Returns whether every blocker will be fixed. `repair`: fix duplicates and orphans, too.
    pub fn is_possible(&self, repair: bool) -> bool {
        self.blockers.iter().all(|blocker| match blocker.fix {
            Fix::Automatic(_) => true,
            Fix::WithRepair(_) => repair,
            Fix::Manual(_) => false,
        })
    }

    /// Upgrades the database if that [is possible](Self::is_possible). `report` gets a line per step. Returns whether
    /// all was done: `stop` interrupts it between two steps, and the next upgrade resumes where one stopped.
    ///
    /// # Errors
    /// A statement that the server has refused. What was done until then stays done.
    pub async fn apply(
        self,
        repair: bool,
        retry_policy: &RetryPolicy,
        report: &(dyn Fn(&str) + Send + Sync),
        stop: &CancellationToken,
    ) -> Result<bool, BackendError> {
        if !self.is_possible(repair) {
            return Ok(false);
        }
        let work = UpgradeRun { database: &self.database, repair, report, stop };
        if work.run(!self.blockers.is_empty()).await? == StepResult::Stopped || stop.is_cancelled() {
            return Ok(false);
        }
        report("creating msght's own tables");
        MysqlBackend::finish_upgrade(&self.url, retry_policy).await?;
        Ok(true)
    }
}
