//! Upgrades a database that GHTorrent has made (`schema_info` 31) to msght's tables, in place.
//!
//! First it is examined, which changes nothing: what its tables lack, and which rows stand in the way. The target is the
//! first migration's own text (`target.rs`); after the upgrade the migrations run as over any other database.

mod apply;
mod changes;
mod database;
mod obstacles;
mod present;
mod target;

use tokio_util::sync::CancellationToken;

pub use obstacles::{Obstacle, Remedy};

use self::apply::{Went, Work};
use self::database::Database;
use self::present::Present;
use super::mysql::MysqlBackend;
use crate::backend_url::{BackendKind, BackendUrl};
use crate::retry::RetryPolicy;
use crate::store::StoreError;

/// The version of GHTorrent's schema that can be upgraded: its last.
const VERSION: i64 = 31;

/// What a relational store needs.
pub enum Examined {
    /// Nothing, and why.
    NothingToDo(String),
    /// Its tables are msght's, but an upgrade or a first command was cut off while making them.
    Unfinished(Unfinished),
    /// It is GHTorrent's.
    Upgrade(Box<Upgrade>),
}

/// A database in which some of msght's own tables are yet to be made.
pub struct Unfinished {
    /// The server's name, product and version, and what is to be done.
    pub described: String,
    url: BackendUrl,
}

impl Unfinished {
    /// Makes what is missing.
    ///
    /// # Errors
    /// A statement that the server has refused, or a database that a newer msght has made.
    pub async fn finish(&self, retry_policy: &RetryPolicy) -> Result<(), StoreError> {
        MysqlBackend::finish_upgrade(&self.url, retry_policy).await
    }
}

/// A database of GHTorrent's that was examined.
pub struct Upgrade {
    database: Database,
    url: BackendUrl,
    tables: Vec<TableChange>,
    obstacles: Vec<Obstacle>,
}

/// What is to be done to one table.
#[derive(Debug, Clone)]
pub struct TableChange {
    /// Its name.
    pub table: String,
    /// How many rows it has; `None` where it is yet to be made.
    pub rows: Option<i64>,
    /// In words; empty for nothing.
    pub change: String,
}

/// Examines a relational store; nothing is changed. With `alone` no other process may upgrade it from now on until the
/// value is dropped.
///
/// # Errors
/// A server that can't be reached, a database of another program or of another version of GHTorrent's schema, or one
/// that another process upgrades at the moment.
pub async fn examine(url: &BackendUrl, alone: bool) -> Result<Examined, StoreError> {
    if url.kind() != BackendKind::Mysql {
        return Ok(Examined::NothingToDo(format!("{url}: an embedded store, which every command upgrades itself")));
    }
    let database = Database::open(url).await?;
    if alone && !database.lock().await? {
        return Err(refused(&database, "another process is upgrading it".to_owned(), "wait until it has ended"));
    }
    let present = Present::read(&database).await.map_err(StoreError::at_open)?;
    let has = |table: &str| present.tables.contains_key(table);
    if has("_sqlx_migrations") {
        let done = database.rows("SELECT version FROM _sqlx_migrations WHERE success").await?;
        let done: Vec<i64> = done.iter().map(|row| database::number(&row[0])).collect();
        let left = MysqlBackend::migrations_left(&done);
        let shown = format!("{} ({}): its tables are msght's already", database.shown, database.server);
        if left == 0 {
            return Ok(Examined::NothingToDo(shown));
        }
        let described = format!("{shown}, but {left} migrations are unfinished");
        return Ok(Examined::Unfinished(Unfinished { described, url: url.clone() }));
    }
    if present.tables.is_empty() {
        let shown =
            format!("{} ({}): it is empty, the first command makes the tables", database.shown, database.server);
        return Ok(Examined::NothingToDo(shown));
    }
    if !has("schema_info") || !has("users") {
        let problem = "it holds tables, but not GHTorrent's (users, schema_info)".to_owned();
        return Err(refused(&database, problem, "name GHTorrent's database in `sql.url`"));
    }
    let version = database.count("SELECT CAST(coalesce(max(version), 0) AS SIGNED) FROM schema_info").await?;
    if version != VERSION {
        let problem =
            format!("GHTorrent's schema has version {version} there, and only version {VERSION} can be upgraded");
        return Err(refused(&database, problem, "bring it to version 31 with GHTorrent's own migrations first"));
    }
    let tables = table_changes(&database, &present).await?;
    let obstacles = obstacles::find(&database, &present).await?;
    Ok(Examined::Upgrade(Box::new(Upgrade { database, url: url.clone(), tables, obstacles })))
}

async fn table_changes(database: &Database, present: &Present) -> Result<Vec<TableChange>, StoreError> {
    let mut tables = Vec::new();
    for table in target::tables() {
        let there = present.tables.contains_key(&table.name);
        let rows = match there {
            true => Some(database.count(&format!("SELECT count(*) FROM `{}`", table.name)).await?),
            false => None,
        };
        let change = match there {
            true => changes::of(table, present, database.is_mariadb()).summary(),
            false => "create".to_owned(),
        };
        tables.push(TableChange { table: table.name.clone(), rows, change });
    }
    Ok(tables)
}

fn refused(database: &Database, problem: String, advice: &'static str) -> StoreError {
    StoreError { tried: format!("upgrading {}", database.shown), problem, advice, at_open: true }
}

impl Upgrade {
    /// Product, version and place.
    pub fn described(&self) -> String {
        format!("{} ({})", self.database.shown, self.database.server)
    }

    /// What is to be done, table by table.
    pub fn tables(&self) -> &[TableChange] {
        &self.tables
    }

    /// What stands in the way.
    pub fn obstacles(&self) -> &[Obstacle] {
        &self.obstacles
    }

    /// Whether nothing stands in the way that is not set right. `repair`: whether duplicates and orphans are.
    pub fn is_possible(&self, repair: bool) -> bool {
        self.obstacles.iter().all(|obstacle| match obstacle.remedy {
            Remedy::Conversion(_) => true,
            Remedy::Repair(_) => repair,
            Remedy::Yours(_) => false,
        })
    }

    /// Upgrades the database, if that [is possible](Self::is_possible). `tell` gets a line for each step. Returns whether
    /// all was done: `stop` ends it between two steps. One that was cut off anywhere is gone on with by the next.
    ///
    /// # Errors
    /// A statement that the server has refused. What was done until then stays done.
    pub async fn apply(
        self,
        repair: bool,
        retry_policy: &RetryPolicy,
        tell: &(dyn Fn(&str) + Send + Sync),
        stop: &CancellationToken,
    ) -> Result<bool, StoreError> {
        if !self.is_possible(repair) {
            return Ok(false);
        }
        let work = Work { database: &self.database, repair, tell, stop };
        if work.run(!self.obstacles.is_empty()).await? == Went::Stopped || stop.is_cancelled() {
            return Ok(false);
        }
        tell("msght's own tables are made");
        MysqlBackend::finish_upgrade(&self.url, retry_policy).await?;
        Ok(true)
    }
}
