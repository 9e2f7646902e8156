//! Processes that use the same tokens keep GitHub's limits together: the ledger, clients that meet in it, and the program.

#[path = "../support/mod.rs"]
mod support;

mod clients;
mod ledger;
mod outages;
mod program;

use std::sync::Arc;
use std::time::Duration;

use msght::github::ledger::Ledger;
use msght::patience::Patience;
use msght::store::ledger::open;
use msght::store_url::{Backend, StoreUrl};
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
    url: StoreUrl,
    /// The database whose tables are to be on disk.
    innodb: Option<String>,
    _directory: TempDir,
}

impl Meeting {
    fn new(kept: Kept) -> Self {
        let directory = TempDir::new().unwrap();
        let mut database = String::new();
        let url = match kept {
            Kept::Sqlite => StoreUrl::sqlite(directory.path().join("github.db")),
            Kept::Mariadb | Kept::Innodb => {
                database = MariaDb::shared().create_database();
                mysql(&MariaDb::shared().url(&database))
            }
        };
        let innodb = matches!(kept, Kept::Innodb).then_some(database);
        Self { url, innodb, _directory: directory }
    }

    /// The ledger as one more process opens it, over a connection of its own.
    async fn enter(&self) -> Arc<dyn Ledger> {
        let ledger = open(&self.url, &patience(60)).await.unwrap();
        for table in ["msght_tokens", "msght_token_users"] {
            if let Some(database) = &self.innodb {
                MariaDb::shared().execute(&format!("ALTER TABLE {database}.{table} ENGINE=InnoDB"));
            }
        }
        ledger
    }

    async fn enter_times(&self, times: usize) -> Vec<Arc<dyn Ledger>> {
        let mut ledgers = Vec::new();
        for _ in 0..times {
            ledgers.push(self.enter().await);
        }
        ledgers
    }
}

fn mysql(url: &str) -> StoreUrl {
    StoreUrl::parse(url, &[Backend::Mysql]).unwrap()
}

fn patience(seconds: u64) -> Patience {
    Patience::new(Duration::from_secs(seconds), |_| {})
}
