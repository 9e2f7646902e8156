//! No statement over the embedded stores reads a table that grows from end to end, and no foreign key is checked that way.
//!
//! The commands run within this process, so that every statement they prepare is seen; each one's plan is then asked for.

// The stricter lints are for the program.
#![allow(unreachable_pub, clippy::pedantic, clippy::print_stderr, clippy::print_stdout)]

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex};

use clap::Parser;
use msght::cli::Cli;
use msght::commands;
use msght::telemetry::Console;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, Connection, Row};
use tokio_util::sync::CancellationToken;
use tracing::field::{Field, Visit};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use fake_github::{FakeGitHub, Options, World, names};

/// Tables that hold a row or a few, however much is mirrored.
const SMALL: [&str; 5] = ["msght_document_store", "msght_store", "schema_info", "_sqlx_migrations", "sqlite_master"];
/// The statement that reads the inventory of all organizations at once, as `get-repos` and `start` need it.
const WHOLE_INVENTORY: &str = "FROM msght_projects m JOIN projects p";

/// Collects the text of every statement that sqlx runs.
#[derive(Clone, Default)]
struct Statements(Arc<Mutex<BTreeSet<String>>>);

impl<S: tracing::Subscriber> Layer<S> for Statements {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        if event.metadata().target() != "sqlx::query" {
            return;
        }
        let mut texts = Texts::default();
        event.record(&mut texts);
        let sql = if texts.statement.trim().is_empty() { texts.summary } else { texts.statement };
        self.0.lock().unwrap().insert(sql.trim().to_owned());
    }
}

#[derive(Default)]
struct Texts {
    summary: String,
    statement: String,
}

impl Visit for Texts {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "summary" => value.clone_into(&mut self.summary),
            "db.statement" => value.clone_into(&mut self.statement),
            _ => {}
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
}

async fn run(directory: &Path, args: &[&str]) {
    let config = directory.join("msght.toml");
    let mut all = vec!["msght", "--quiet", "--config", config.to_str().unwrap()];
    all.extend(args);
    let outcome = commands::run(Cli::parse_from(&all), Console::new(true), CancellationToken::new()).await;
    let outcome = outcome.unwrap_or_else(|error| panic!("{args:?}: {error:#}"));
    assert_eq!(outcome, commands::CommandOutcome::Complete, "{args:?}");
}

async fn open(path: &Path) -> SqliteConnection {
    SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(path).read_only(true)).await.unwrap()
}

/// Tables of a database.
async fn tables(connection: &mut SqliteConnection) -> Vec<String> {
    let sql = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'";
    sqlx::query_scalar(sql).fetch_all(connection).await.unwrap()
}

/// Lines of a statement's plan that read a table that grows from end to end; nothing where it is another database's.
async fn scans(connection: &mut SqliteConnection, sql: &str) -> Vec<String> {
    if !["SELECT", "INSERT", "UPDATE", "DELETE", "REPLACE", "WITH"].iter().any(|verb| sql.starts_with(verb)) {
        return Vec::new();
    }
    let explain = format!("EXPLAIN QUERY PLAN {sql}");
    let Ok(rows) = sqlx::raw_sql(AssertSqlSafe(explain)).fetch_all(connection).await else { return Vec::new() };
    let lines: Vec<String> = rows.iter().map(|row| row.get("detail")).collect();
    // Values of an INSERT, and results of a part of the statement, are no tables.
    let of_a_part = |name: &str| {
        let made = |line: &String| ["CO-ROUTINE", "MATERIALIZE"].iter().any(|how| *line == format!("{how} {name}"));
        lines.iter().any(made)
    };
    let is_scan = |line: &&String| {
        let Some(what) = line.strip_prefix("SCAN ") else { return false };
        let table = what.split_whitespace().next().unwrap_or_default();
        let is_table =
            !table.starts_with('(') && !table.starts_with(|c: char| c.is_ascii_digit()) && table != "CONSTANT";
        is_table && !of_a_part(table) && !SMALL.contains(&table)
    };
    lines.iter().filter(is_scan).cloned().collect()
}

/// A command's future is as large as a program's main thread has room for: a test's thread has a quarter of that.
#[test]
fn no_statement_scans_a_table_that_grows() {
    const MAIN_THREAD_STACK: usize = 8 * 1024 * 1024;
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let thread = std::thread::Builder::new().stack_size(MAIN_THREAD_STACK);
    thread.spawn(move || runtime.block_on(run_commands_and_explain())).unwrap().join().unwrap();
}

async fn run_commands_and_explain() {
    let statements = Statements::default();
    tracing_subscriber::registry().with(statements.clone()).init();
    let fake = FakeGitHub::start(World::edge_cases(1), Options::unlimited()).await;
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let files = ["orgs.txt", "projects.txt"].map(|name| directory.path().join(name));
    let [orgs, projects] = files.each_ref().map(|path| path.to_str().unwrap());
    std::fs::write(orgs, "contoso\n").unwrap();
    let settings = format!(
        "data_dir = {data:?}\n[github]\napi_url = {:?}\ntokens = ['fake-token']\n[logging]\nfile = {:?}\n",
        fake.url(),
        data.join("log.txt")
    );
    std::fs::write(directory.path().join("msght.toml"), settings).unwrap();
    run(directory.path(), &["get-repos", "--orgs", orgs, "--projects", projects]).await;
    let quiet = fake.world(|w| w.repo(names::QUIET));
    for round in 0..3 {
        let full: &[&str] = if round == 2 { &["--full"] } else { &[] };
        run(directory.path(), &[&["retrieve-repo", names::WEB, names::WEB_FORK, names::QUIET], full].concat()).await;
        run(directory.path(), &["retrieve-user", "alice", "contoso"]).await;
        fake.world_mut(|w| {
            let r = w.repo(names::WEB);
            let alice = w.user("alice");
            let who = w.person_of(alice);
            w.push(r, "main", 2, who);
            w.edit_issue_title(r, 1, &format!("title {round}"));
            let comment = w.repos[r].comments[round].id;
            w.delete_comment(r, comment);
            w.delete_label(r, ["bug", "C#", "question?"][round]);
            w.rename_repo(quiet, ["silent", "mute", "still"][round]);
        });
    }
    run(directory.path(), &["get-repos", "--orgs", orgs, "--projects", projects]).await;
    let statements = statements.0.lock().unwrap().clone();
    assert!(statements.len() > 100, "only {} statements were seen", statements.len());
    let mut found = Vec::new();
    for file in ["github.db", "documents.db"] {
        let mut connection = open(&data.join(file)).await;
        for sql in &statements {
            for scan in scans(&mut connection, sql).await {
                if !sql.contains(WHOLE_INVENTORY) {
                    found.push(format!("{scan}: {sql}"));
                }
            }
        }
        for table in tables(&mut connection).await {
            for column in unindexed_references(&mut connection, &table).await {
                found.push(format!("{table}.{column} refers to another table and has no index"));
            }
        }
    }
    assert!(found.is_empty(), "{} statements or columns:\n{}", found.len(), found.join("\n"));
}

/// Columns with a foreign key that no index begins with.
async fn unindexed_references(connection: &mut SqliteConnection, table: &str) -> Vec<String> {
    let referring: Vec<String> = sqlx::query_scalar("SELECT \"from\" FROM pragma_foreign_key_list(?)")
        .bind(table)
        .fetch_all(&mut *connection)
        .await
        .unwrap();
    let first_of_an_index = "SELECT i.name FROM pragma_index_list(?1) l, pragma_index_info(l.name) i \
                             WHERE i.seqno = 0 AND l.partial = 0 \
                             UNION SELECT name FROM pragma_table_info(?1) WHERE pk = 1 AND type = 'INTEGER'";
    let indexed: Vec<String> =
        sqlx::query_scalar(first_of_an_index).bind(table).fetch_all(&mut *connection).await.unwrap();
    referring.into_iter().filter(|column| !indexed.contains(column)).collect()
}
