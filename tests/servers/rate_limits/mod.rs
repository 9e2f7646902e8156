//! Processes that use the same tokens keep GitHub's limits together: the ledger, clients that meet in it, and the program.

mod clients;
mod ledger;
mod outages;
mod program;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use msght::backend_url::{BackendKind, BackendUrl};
use msght::rate_limit::RateLimitStore;
use msght::retry::RetryPolicy;
use msght::store::rate_limits::open;
use sqlx::{Connection as _, SqliteConnection};
use tempfile::TempDir;

use support::servers::mariadb::MariaDb;

/// Where the ledger is kept.
#[derive(Debug, Clone, Copy)]
enum Kept {
    Sqlite,
    Mariadb,
    /// Where the server has no tables in memory. MariaDB needs that engine itself, so that it can't be switched off there:
    /// the tables are changed after they were made.
    Innodb,
}

/// A store in which processes meet, fresh for one test.
struct Meeting {
    url: BackendUrl,
    /// The database whose tables are to be on disk.
    innodb: Option<String>,
    /// The database, where it is on a server.
    database: Option<String>,
    _directory: TempDir,
}

impl Meeting {
    fn new(kept: Kept) -> Self {
        let directory = TempDir::new().unwrap();
        let mut database = String::new();
        let url = match kept {
            Kept::Sqlite => BackendUrl::sqlite(directory.path().join("github.db")),
            Kept::Mariadb | Kept::Innodb => {
                database = MariaDb::shared().create_database();
                mysql(&MariaDb::shared().url(&database))
            }
        };
        let database = Some(database).filter(|database| !database.is_empty());
        let innodb = database.clone().filter(|_| matches!(kept, Kept::Innodb));
        Self { url, innodb, database, _directory: directory }
    }

    /// The ledger as one more process opens it, over a connection of its own.
    async fn enter(&self) -> Arc<dyn RateLimitStore> {
        let ledger = open(&self.url, &retry_policy(60)).await.unwrap();
        for table in ["msght_tokens", "msght_token_users"] {
            if let Some(database) = &self.innodb {
                MariaDb::shared().execute(&format!("ALTER TABLE {database}.{table} ENGINE=InnoDB"));
            }
        }
        ledger
    }

    /// Moves a deadline of every token so many microseconds ahead of now.
    async fn put_ahead(&self, column: &str, micros: i64) {
        let now = match self.url.sqlite_path() {
            Some(_) => "CAST(unixepoch('subsec') * 1000000 AS INTEGER)",
            None => "TIMESTAMPDIFF(MICROSECOND, '1970-01-01 00:00:00', UTC_TIMESTAMP(6))",
        };
        self.execute(&format!("UPDATE msght_tokens SET {column} = {now} + {micros}")).await;
    }

    /// Forgets all tokens.
    async fn forget(&self) {
        self.execute("DELETE FROM msght_tokens").await;
    }

    async fn execute(&self, sql: &str) {
        match &self.database {
            Some(database) => {
                MariaDb::shared().execute(&sql.replace("msght_tokens", &format!("{database}.msght_tokens")))
            }
            None => {
                let file = format!("sqlite:{}", self.ledger_file().display());
                let mut connection = SqliteConnection::connect(&file).await.unwrap();
                sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
                connection.close().await.unwrap();
            }
        }
    }

    /// The embedded ledger's file.
    fn ledger_file(&self) -> PathBuf {
        self.url.sqlite_path().unwrap().with_file_name("github-tokens.db")
    }

    async fn enter_times(&self, times: usize) -> Vec<Arc<dyn RateLimitStore>> {
        let mut ledgers = Vec::new();
        for _ in 0..times {
            ledgers.push(self.enter().await);
        }
        ledgers
    }
}

fn mysql(url: &str) -> BackendUrl {
    BackendUrl::parse(url, &[BackendKind::Mysql]).unwrap()
}

fn retry_policy(seconds: u64) -> RetryPolicy {
    RetryPolicy::new(Duration::from_secs(seconds), |_| {})
}
