//! What relational store is there, without making anything.

use super::{migrations, mysql};
use crate::backend_url::{BackendKind, BackendUrl};
use crate::retry::RetryPolicy;
use crate::store::StoreError;
use crate::store::look::{self, Found};

/// Looks at the relational store that the URL names; nothing is made.
///
/// # Errors
/// A store that could not be used, as [`Relational::open`](super::Relational::open) would say it.
pub async fn look(url: &BackendUrl, retry_policy: &RetryPolicy) -> Result<Found, StoreError> {
    let Some(path) = url.sqlite_path() else {
        return match url.kind() {
            BackendKind::Mysql => mysql::MysqlBackend::look(url, retry_policy).await,
            _ => Err(StoreError::unsupported_scheme("relational store", url, super::SUPPORTED_URLS)),
        };
    };
    let Some(mut file) = look::file("relational store", path).await? else {
        return Ok(Found::yet_to_be_made(look::product(), path.display().to_string()));
    };
    let migrated = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = '_sqlx_migrations'";
    let done = if file.number(migrated).await? == 0 {
        Vec::new()
    } else {
        file.numbers("SELECT version FROM _sqlx_migrations WHERE success").await?
    };
    match migrations::summary(&migrations::SQLITE, &done) {
        Ok(state) => Ok(file.found(state).await),
        Err(version) => Err(file.newer(format!("it has migration {version}, which this one does not know"))),
    }
}
