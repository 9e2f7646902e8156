//! The two families of backends that the whole-program tests run over.

use std::cell::Cell;
use std::path::Path;
use std::time::Duration;

use super::servers::block_on_thread::block_on_thread;
use super::servers::mariadb::MariaDb;
use super::servers::mongodb::MongoServer;
use super::stores::{DocumentStore, RelationalStore, StoredData};

/// What a store runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backends {
    /// SQLite files in the data directory: the default without any setting.
    Embedded,
    /// MongoDB's protocol and MariaDB, which all tests of a process share.
    Servers,
}

thread_local! {
    static SELECTED: Cell<Backends> = const { Cell::new(Backends::Embedded) };
}

/// Ends a selection when it is dropped.
#[must_use]
pub struct Selection(());

impl Backends {
    /// Selects what the sandboxes of this test are made over. A test has a thread of its own, so that others are not affected.
    pub fn select(self) -> Selection {
        SELECTED.set(self);
        Selection(())
    }
}

impl Drop for Selection {
    fn drop(&mut self) {
        SELECTED.set(Backends::Embedded);
    }
}

/// The backends that this test has selected; the embedded ones if none.
pub fn selected() -> Backends {
    SELECTED.get()
}

/// Fresh stores for one sandbox; databases on servers are dropped with it.
pub struct FreshStores {
    data: StoredData,
    relational_database: Option<String>,
    /// Whether the databases are left to their servers' end.
    kept: bool,
}

impl FreshStores {
    /// Each store on what it is asked for. The files of embedded ones are made by the program.
    pub fn new(data_dir: &Path, documents: Backends, relational: Backends) -> Self {
        let documents = match documents {
            Backends::Embedded => DocumentStore::Sqlite(data_dir.join("documents.db")),
            Backends::Servers => {
                let url = MongoServer::next_shared().url(&unique_name());
                // On a genuine server it is called otherwise.
                let path = url.rsplit('/').next().unwrap_or_default();
                let database = path.split('?').next().unwrap_or_default().to_owned();
                DocumentStore::Mongodb { url, database }
            }
        };
        let relational_database = (relational == Backends::Servers).then(|| MariaDb::shared().create_database());
        let relational = match &relational_database {
            None => RelationalStore::Sqlite(data_dir.join("github.db")),
            Some(name) => RelationalStore::Mysql { url: MariaDb::shared().url(name) },
        };
        Self { data: StoredData { documents, relational }, relational_database, kept: false }
    }

    /// Stores on servers of the caller's own, which end with everything in them.
    pub fn of(data: StoredData) -> Self {
        Self { data, relational_database: None, kept: true }
    }

    pub fn data(&self) -> &StoredData {
        &self.data
    }

    /// The settings that lead the program to them.
    pub fn environment(&self) -> Vec<(&'static str, &str)> {
        let mut environment = Vec::new();
        if let DocumentStore::Mongodb { url, .. } = &self.data.documents {
            environment.push(("MSGHT_DOCUMENTS__URL", url.as_str()));
        }
        if let RelationalStore::Mysql { url } = &self.data.relational {
            environment.push(("MSGHT_SQL__URL", url.as_str()));
        }
        environment
    }
}

impl Drop for FreshStores {
    /// What can't be dropped goes with the server.
    fn drop(&mut self) {
        if let Some(name) = &self.relational_database {
            let _ = MariaDb::shared().try_execute(&format!("DROP DATABASE IF EXISTS {name}"));
        }
        if let DocumentStore::Mongodb { url, database } = &self.data.documents
            && !self.kept
        {
            block_on_thread(async {
                let Ok(client) = mongodb::Client::with_uri_str(url).await else { return };
                // A server that a test has stopped for good is not waited for.
                let _ =
                    tokio::time::timeout(Duration::from_secs(5), client.database(database).drop().into_future()).await;
            });
        }
    }
}

/// A database's name that no other sandbox has, on a server that other processes may use, too.
fn unique_name() -> String {
    use std::sync::atomic::{AtomicUsize, Ordering};
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    format!("test_{}_{}_{}", since.as_millis(), std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}
