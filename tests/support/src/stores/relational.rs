//! A relational store, read with the driver of what it runs on.

use std::fmt::Write as _;
use std::path::PathBuf;

use sqlx::mysql::{MySqlConnection, MySqlRow};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteRow};
use sqlx::{AssertSqlSafe, Column, Connection, Row, TypeInfo, ValueRef};

/// Where the tables are.
#[derive(Clone)]
pub enum RelationalStore {
    Sqlite(PathBuf),
    Mysql { url: String },
}

impl RelationalStore {
    /// A query's rows, each value as text (`NULL` for nothing).
    pub async fn query(&self, sql: &str) -> Vec<Vec<String>> {
        match self {
            Self::Sqlite(path) => query_sqlite(path, sql).await,
            Self::Mysql { url } => {
                let mut connection = MySqlConnection::connect(url).await.expect("the store opens");
                // Not prepared, so that the server itself writes every value as text.
                let rows = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(&mut connection).await.expect(sql);
                let _ = connection.close().await;
                rows.iter().map(texts_of_mysql).collect()
            }
        }
    }

    /// Runs a statement.
    pub async fn execute(&self, sql: &str) {
        match self {
            Self::Sqlite(path) => {
                let options =
                    SqliteConnectOptions::new().filename(path).busy_timeout(std::time::Duration::from_secs(20));
                let mut connection = SqliteConnection::connect_with(&options).await.expect("the store opens");
                sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.expect(sql);
            }
            Self::Mysql { url } => {
                let mut connection = MySqlConnection::connect(url).await.expect("the store opens");
                sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.expect(sql);
                let _ = connection.close().await;
            }
        }
    }

    /// The store as it was before anything was stored: an empty database, or no file.
    pub async fn lose(&self) {
        match self {
            Self::Sqlite(path) => remove_sqlite(path),
            Self::Mysql { url } => {
                let name = url.rsplit('/').next().expect("the URL names a database");
                let mut connection = MySqlConnection::connect(url).await.expect("the store opens");
                let sql = format!("DROP DATABASE {name}; CREATE DATABASE {name}");
                sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.expect("the database is dropped");
            }
        }
    }

    pub(super) async fn assert_sound(&self) {
        match self {
            Self::Sqlite(path) => {
                assert_eq!(query_sqlite(path, "PRAGMA integrity_check").await, [["ok"]]);
                assert!(query_sqlite(path, "PRAGMA foreign_key_check").await.is_empty());
            }
            Self::Mysql { .. } => {
                let stored = "SELECT table_name FROM information_schema.tables \
                              WHERE table_schema = DATABASE() AND engine = 'InnoDB'";
                // Tables in memory have nothing that could be damaged, and can't be checked.
                for table in self.query(stored).await.into_iter().flatten() {
                    let said = self.query(&format!("CHECK TABLE `{table}`")).await;
                    assert_eq!(said.last().and_then(|row| row.last()).map(String::as_str), Some("OK"), "{said:?}");
                }
                self.assert_references().await;
            }
        }
    }

    /// Every value of a foreign key is there in the table that it refers to.
    async fn assert_references(&self) {
        let references = self
            .query(
                "SELECT table_name, column_name, referenced_table_name, referenced_column_name \
                 FROM information_schema.key_column_usage \
                 WHERE table_schema = DATABASE() AND referenced_table_name IS NOT NULL",
            )
            .await;
        assert!(!references.is_empty(), "the tables have foreign keys");
        for reference in references {
            let [table, column, referenced, key] = &reference[..] else { panic!("four columns: {reference:?}") };
            let sql = format!(
                "SELECT count(*) FROM `{table}` x LEFT JOIN `{referenced}` y ON y.`{key}` = x.`{column}` \
                 WHERE x.`{column}` IS NOT NULL AND y.`{key}` IS NULL"
            );
            assert_eq!(self.query(&sql).await, [["0"]], "{reference:?}");
        }
    }

    async fn table_names(&self) -> Vec<String> {
        let sql = match self {
            Self::Sqlite(_) => "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'",
            Self::Mysql { .. } => {
                "SELECT table_name FROM information_schema.tables \
                 WHERE table_schema = DATABASE() AND table_type = 'BASE TABLE'"
            }
        };
        self.query(sql).await.into_iter().map(|mut row| row.remove(0)).collect()
    }

    /// Every value of every table.
    pub(super) async fn everything(&self) -> String {
        let mut all = String::new();
        for table in self.table_names().await {
            let _ = writeln!(all, "{table}: {:?}", self.query(&format!("SELECT * FROM {table}")).await);
        }
        all
    }
}

/// Rows of a query over an SQLite file.
pub(super) async fn query_sqlite(path: &std::path::Path, sql: &str) -> Vec<Vec<String>> {
    let options = SqliteConnectOptions::new().filename(path).read_only(true);
    let mut connection = SqliteConnection::connect_with(&options).await.expect("the store opens");
    let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(&mut connection).await.expect(sql);
    rows.iter().map(texts_of_sqlite).collect()
}

/// A file with its write-ahead log.
pub(super) fn remove_sqlite(path: &std::path::Path) {
    for ending in ["", "-wal", "-shm"] {
        let mut name = path.as_os_str().to_owned();
        name.push(ending);
        let _ = std::fs::remove_file(name);
    }
}

fn texts_of_sqlite(row: &SqliteRow) -> Vec<String> {
    let text = |position: usize| {
        let raw = row.try_get_raw(position).expect("a column");
        if raw.is_null() {
            return "NULL".to_owned();
        }
        match raw.type_info().name() {
            "INTEGER" | "BOOLEAN" => row.get_unchecked::<i64, _>(position).to_string(),
            _ => row.get_unchecked::<String, _>(position),
        }
    };
    row.columns().iter().map(|column| text(column.ordinal())).collect()
}

fn texts_of_mysql(row: &MySqlRow) -> Vec<String> {
    let text = |position: usize| {
        let bytes: Option<Vec<u8>> = row.get_unchecked(position);
        bytes.map_or("NULL".to_owned(), |bytes| String::from_utf8_lossy(&bytes).into_owned())
    };
    row.columns().iter().map(|column| text(column.ordinal())).collect()
}
