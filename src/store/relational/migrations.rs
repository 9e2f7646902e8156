//! The two sets of migrations, which create the same tables, and a database's progress through them.

use sqlx::migrate::Migrator;

/// The migrations of an SQLite file.
pub(super) static SQLITE: Migrator = sqlx::migrate!("src/store/relational/migrations/sqlite");
/// The migrations of a MySQL or MariaDB database.
pub(super) static MYSQL: Migrator = sqlx::migrate!("src/store/relational/migrations/mysql");

/// Summarizes applied and pending migrations. Returns a version that this build doesn't know as the error.
pub(super) fn summary(migrations: &Migrator, done: &[i64]) -> Result<String, i64> {
    if let Some(newer) = done.iter().find(|version| !migrations.version_exists(**version)) {
        return Err(*newer);
    }
    let all = migrations.iter().count();
    Ok(match (done.len(), all.saturating_sub(done.len())) {
        (0, _) => "no tables yet: the first command creates them".to_owned(),
        (done, 0) => format!("tables at version {done}, writable"),
        (done, left) => format!("tables at version {done}, writable: the first command applies {left} more migrations"),
    })
}
