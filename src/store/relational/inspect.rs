//! Read-only inspection of the relational store.

use super::{migrations, mysql};
use crate::backend_url::{BackendKind, BackendUrl};
use crate::retry::RetryPolicy;
use crate::store::BackendError;
use crate::store::inspect::{self, BackendStatus};

/// Inspects the relational store that the URL names; creates nothing.
///
/// # Errors
/// The store is unusable, as [`Relational::open`](super::Relational::open) would report it.
pub async fn inspect(url: &BackendUrl, retry_policy: &RetryPolicy) -> Result<BackendStatus, BackendError> {
    let Some(path) = url.sqlite_path() else {
        return match url.kind() {
            BackendKind::Mysql => mysql::MysqlBackend::inspect(url, retry_policy).await,
            _ => Err(BackendError::no_relational_store(url)),
        };
    };
    let Some(mut file) = inspect::open_existing("relational store", path).await? else {
        return Ok(BackendStatus::not_created(inspect::sqlite_product(), path.display().to_string()));
    };
    let migrated = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = '_sqlx_migrations'";
    let done = if file.read_integer(migrated).await? == 0 {
        Vec::new()
    } else {
        file.read_integers("SELECT version FROM _sqlx_migrations WHERE success").await?
    };
    match migrations::summary(&migrations::SQLITE, &done) {
        Ok(state) => Ok(file.into_status(state).await),
        Err(version) => {
            Err(file.newer_version_error(format!("it has migration {version}, which this version does not know")))
        }
    }
}
