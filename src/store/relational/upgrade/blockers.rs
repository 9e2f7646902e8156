//! Rows that block the upgrade, which GHTorrent's looser tables allow: missing or ill-typed values, dangling
//! references, duplicate keys.

use super::database::{Database, text};
use super::diff::{self, ROW};
use super::introspect::{self, ExistingSchema};
use super::target::{self, Column, Key, Kind, PRIMARY, Reference, Table};
use crate::store::BackendError;

/// Maximum number of example rows in a message.
const MAX_EXAMPLES: usize = 3;
/// Placeholder for an unknown date, in servers that allow it.
const ZERO_DATE: &str = "'0000-00-00 00:00:00'";
/// The reserved row for "nobody" or "nothing" (`docs/data-model.md`, "Tables").
const NOBODY: &str = "-1";
const NULL: &str = "NULL";

/// The fix for blocking rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fix {
    /// Applied by every upgrade; nothing is lost.
    Automatic(&'static str),
    /// Applied only on request.
    WithRepair(&'static str),
    /// Left to the user, with advice: msght would have to guess.
    Manual(&'static str),
}

/// A blocker of the upgrade: rows, or the table itself.
#[derive(Debug, Clone)]
pub struct Blocker {
    /// The table.
    pub table: String,
    /// Description of the problem.
    pub what: String,
    /// Number of rows.
    pub rows: i64,
    /// Examples.
    pub examples: Vec<String>,
    /// The fix.
    pub fix: Fix,
}

/// A condition for blocking rows, and their fix.
pub(super) struct Finding {
    pub column: String,
    pub what: String,
    pub condition: String,
    pub fix: Fix,
    /// New value of the column; `None` removes the row.
    pub set: Option<String>,
}

impl Finding {
    pub(super) fn becomes_null(&self) -> bool {
        self.set.as_deref() == Some(NULL)
    }
}

/// Finds all blockers, in the order of the tables.
pub(super) async fn find(database: &Database, existing: &ExistingSchema) -> Result<Vec<Blocker>, BackendError> {
    let mut found = structure(existing);
    for table in target::tables() {
        let Some(there) = existing.tables.get(&table.name) else { continue };
        let values = values(table, there).into_iter();
        for finding in values.chain(orphans(table, existing)) {
            let from = format!("FROM `{}` t WHERE {}", table.name, finding.condition);
            let rows = database.count(&format!("SELECT count(*) {from}")).await?;
            if rows > 0 {
                let shown = shown_columns(table, there, &finding.column);
                let examples = examples(database, &shown, &from).await?;
                let Finding { what, fix, .. } = finding;
                found.push(Blocker { table: table.name.clone(), what, rows, examples, fix });
            }
        }
        for key in table.unique_keys() {
            found.extend(duplicates(database, table, there, key).await?);
        }
    }
    Ok(found)
}

/// Finds structural blockers, which are not about rows.
fn structure(existing: &ExistingSchema) -> Vec<Blocker> {
    let is_ours = |name: &str| target::tables().iter().any(|table| table.name == name);
    let mut found = Vec::new();
    let mut add = |table: &str, what: String, hint| {
        found.push(Blocker { table: table.to_owned(), what, rows: 0, examples: Vec::new(), fix: Fix::Manual(hint) });
    };
    for (name, there) in &existing.tables {
        for reference in there.references.iter().filter(|reference| !is_ours(name) && is_ours(&reference.table)) {
            add(
                name,
                format!("the foreign key {} refers to {}, whose ids become BIGINT", reference.name, reference.table),
                "drop that foreign key; after the upgrade make its column BIGINT and add it again",
            );
        }
    }
    for table in target::tables() {
        let Some(there) = existing.tables.get(&table.name) else { continue };
        for (name, column) in &there.columns {
            let needs_value = !column.nullable && column.default.is_none() && column.extra.is_empty();
            if table.column(name).is_none() && name != ROW && needs_value {
                add(
                    &table.name,
                    format!("the column {name}, which msght doesn't know, takes no row without a value"),
                    "give that column a default, or let it be NULL",
                );
            }
        }
    }
    found
}

/// Finds values that the target columns can't hold.
pub(super) fn values(table: &Table, there: &introspect::Table) -> Vec<Finding> {
    let mut findings = Vec::new();
    for column in table.columns.iter().filter(|column| column.generated.is_none() && !column.auto_increment) {
        let Some(found) = there.columns.get(&column.name) else { continue };
        let name = format!("t.`{}`", column.name);
        let zero = found.is_date().then(|| format!("{name} = {ZERO_DATE}"));
        let finding = |what: &str, condition: String, fix, set: Option<String>| Finding {
            column: column.name.clone(),
            what: format!("{} {what}", column.name),
            condition,
            fix,
            set,
        };
        if column.nullable {
            let fix = Fix::Automatic("becomes NULL");
            findings.extend(zero.map(|zero| finding("is a date of zeros", zero, fix, Some(NULL.to_owned()))));
        } else {
            let null = found.nullable.then(|| format!("{name} IS NULL"));
            let conditions: Vec<String> = null.into_iter().chain(zero).collect();
            if !conditions.is_empty() {
                let (fix, set) = for_missing(table, column);
                findings.push(finding("is missing", conditions.join(" OR "), fix, set));
            }
        }
        if matches!(column.kind, Kind::Integer) && found.is_text() {
            let hint = Fix::Manual("correct or remove these rows");
            findings.push(finding("is not a number", format!("NOT {name} REGEXP '^-?[0-9]{{1,18}}$'"), hint, None));
        }
        if let Some(limit) = diff::text_limit(table, column, found) {
            let hint = Fix::Manual("shorten these texts, or remove the rows");
            let what = format!("is longer than {limit} characters");
            findings.push(finding(&what, format!("char_length({name}) > {limit}"), hint, None));
        }
    }
    findings
}

/// Returns the fix for a row without a required value.
fn for_missing(table: &Table, column: &Column) -> (Fix, Option<String>) {
    if let Some(default) = &column.default {
        return (Fix::Automatic("gets the default"), Some(default.clone()));
    }
    let reference = table.references.iter().find(|reference| reference.column == column.name);
    match reference {
        Some(reference) => for_orphan(table, reference),
        None if table.is_leaf() => (Fix::WithRepair("the rows are removed"), None),
        None => (Fix::Manual("complete or remove these rows, and what refers to them"), None),
    }
}

/// Returns the fix for a row with a dangling reference.
fn for_orphan(table: &Table, reference: &Reference) -> (Fix, Option<String>) {
    let column = table.column(&reference.column);
    let in_unique_key = table.unique_keys().any(|key| key.columns.contains(&reference.column));
    if reference.column == "forked_from" {
        return (Fix::WithRepair("becomes -1 (unknown parent)"), Some(NOBODY.to_owned()));
    }
    if column.is_some_and(|column| column.nullable) {
        return (Fix::WithRepair("becomes NULL"), Some(NULL.to_owned()));
    }
    if reference.table == "users" && !in_unique_key {
        return (Fix::WithRepair("becomes -1, nobody"), Some(NOBODY.to_owned()));
    }
    if table.is_leaf() {
        return (Fix::WithRepair("the rows are removed"), None);
    }
    (Fix::Manual("add what they refer to, or remove them and what refers to them"), None)
}

/// Finds dangling references.
pub(super) fn orphans(table: &Table, existing: &ExistingSchema) -> Vec<Finding> {
    let there = existing.tables.get(&table.name);
    let of = |reference: &Reference| {
        there.is_some_and(|there| there.columns.contains_key(&reference.column)).then(|| {
            let column = format!("t.`{}`", reference.column);
            let mut condition = format!("{column} IS NOT NULL");
            if matches!(reference.table.as_str(), "users" | "projects") {
                // The reserved rows will be created.
                condition.push_str(&format!(" AND {column} <> {NOBODY}"));
            }
            if existing.tables.contains_key(&reference.table) {
                let (referred, key) = (&reference.table, &reference.key);
                // MySQL rejects a statement that changes a table it reads, unless the read is materialized first.
                let source = if *referred == table.name {
                    format!("(SELECT `{key}` FROM `{referred}`)")
                } else {
                    format!("`{referred}`")
                };
                condition.push_str(&format!(" AND NOT EXISTS (SELECT 1 FROM {source} r WHERE r.`{key}` = {column})"));
            }
            let (fix, set) = for_orphan(table, reference);
            Finding {
                column: reference.column.clone(),
                what: format!("{} refers to nothing in {}", reference.column, reference.table),
                condition,
                fix,
                set,
            }
        })
    };
    table.references.iter().filter_map(of).collect()
}

/// Returns a key's columns as they will compare; `None` if one does not exist yet and can't be derived.
pub(super) fn key_expressions(
    table: &Table,
    there: &introspect::Table,
    key: &Key,
    mariadb: bool,
) -> Option<Vec<String>> {
    let expression = |name: &String| {
        let column = table.column(name)?;
        let source = match (&column.generated, there.columns.get(name)) {
            (Some(expression), _) => format!("({expression})"),
            (None, Some(_)) => format!("`{name}`"),
            (None, None) => return None,
        };
        let is_text = there.columns.get(name).is_none_or(introspect::Column::is_text);
        Some(match column.kind {
            Kind::Text { exact, .. } => {
                format!("CONVERT({source} USING utf8mb4) COLLATE {}", diff::collation(exact, mariadb))
            }
            Kind::Integer if is_text => format!("CAST({source} AS SIGNED)"),
            _ => source,
        })
    };
    key.columns.iter().map(expression).collect()
}

/// Returns the condition that a row has all parts of a key, without which it conflicts with no other.
pub(super) fn has_key(expressions: &[String]) -> String {
    expressions.iter().map(|expression| format!("{expression} IS NOT NULL")).collect::<Vec<_>>().join(" AND ")
}

async fn duplicates(
    database: &Database,
    table: &Table,
    there: &introspect::Table,
    key: &Key,
) -> Result<Option<Blocker>, BackendError> {
    if is_unique_already(table, there, key) {
        return Ok(None);
    }
    let Some(expressions) = key_expressions(table, there, key, database.is_mariadb()) else { return Ok(None) };
    let list = expressions.join(", ");
    let groups = format!(
        "SELECT {}, count(*) AS row_count FROM `{}` WHERE {} GROUP BY {list} HAVING count(*) > 1",
        named(&expressions),
        table.name,
        has_key(&expressions)
    );
    let surplus = format!("SELECT CAST(coalesce(sum(row_count - 1), 0) AS SIGNED) FROM ({groups}) g");
    let rows = database.count(&surplus).await?;
    if rows == 0 {
        return Ok(None);
    }
    let columns: Vec<String> = (0..expressions.len()).map(|place| format!("CAST(k{place} AS CHAR)")).collect();
    let sql =
        format!("SELECT concat_ws('/', {}, row_count) FROM ({groups}) g LIMIT {MAX_EXAMPLES}", columns.join(", "));
    let mut examples = Vec::new();
    for row in database.rows(&sql).await? {
        let shown = text(&row[0]);
        let (key, count) = shown.rsplit_once('/').unwrap_or((&shown, ""));
        examples.push(format!("{key} ({count} rows)"));
    }
    let fix = if key.name == PRIMARY && table.has_id() {
        Fix::Manual("give all but one of these rows another id")
    } else {
        Fix::WithRepair("the newest is kept")
    };
    let what = format!("several rows of one key ({})", key.columns.join(", "));
    Ok(Some(Blocker { table: table.name.clone(), what, rows, examples, fix }))
}

/// Returns whether an index guarantees uniqueness already: on the same columns, at least as loosely compared.
pub(super) fn is_unique_already(table: &Table, there: &introspect::Table, key: &Key) -> bool {
    // A column whose collation changes is compared anew.
    let exact_as_before = |name: &String| {
        let found = there.columns.get(name);
        match table.column(name).map(|column| &column.kind) {
            Some(Kind::Text { exact: false, .. }) => found
                .and_then(|found| found.collation.as_deref())
                .is_some_and(|collation| collation.ends_with("general_ci")),
            Some(Kind::Integer) => found.is_some_and(|found| !found.is_text()),
            _ => true,
        }
    };
    there.is_unique(&key.columns) && key.columns.iter().all(exact_as_before)
}

/// Renders `e0 AS k0, e1 AS k1, ...`
fn named(expressions: &[String]) -> String {
    let list: Vec<String> =
        expressions.iter().enumerate().map(|(place, expression)| format!("{expression} AS k{place}")).collect();
    list.join(", ")
}

/// Returns the columns that identify a row in messages: its id or key, and the one in question.
fn shown_columns(table: &Table, there: &introspect::Table, column: &str) -> Vec<String> {
    let key = match table.unique_keys().next() {
        _ if table.has_id() => vec!["id".to_owned()],
        Some(key) => key.columns.clone(),
        None => Vec::new(),
    };
    let mut columns: Vec<String> = key.into_iter().filter(|name| there.columns.contains_key(name)).collect();
    if !columns.iter().any(|name| name == column) {
        columns.push(column.to_owned());
    }
    columns
}

async fn examples(database: &Database, columns: &[String], from: &str) -> Result<Vec<String>, BackendError> {
    let parts: Vec<String> = columns
        .iter()
        .map(|name| format!("concat('{name} ', coalesce(left(CAST(t.`{name}` AS CHAR), 40), 'NULL'))"))
        .collect();
    let sql = format!("SELECT concat_ws(', ', {}) {from} LIMIT {MAX_EXAMPLES}", parts.join(", "));
    Ok(database.rows(&sql).await?.iter().map(|row| text(&row[0])).collect())
}
