//! The target tables, parsed from the text of the first migration.

use std::sync::LazyLock;

/// GHTorrent's tables as msght creates them.
static SCHEMA: &str = include_str!("../migrations/mysql/0001_ghtorrent.sql");

/// The name of a primary key, as `information_schema` has it.
pub(super) const PRIMARY: &str = "PRIMARY";

/// A target table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Table {
    pub name: String,
    pub columns: Vec<Column>,
    pub keys: Vec<Key>,
    pub references: Vec<Reference>,
}

/// A target column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Column {
    pub name: String,
    pub kind: Kind,
    pub nullable: bool,
    /// The default's SQL text, unless it is NULL.
    pub default: Option<String>,
    pub auto_increment: bool,
    /// The expression of a generated column, which is invisible to `SELECT *`.
    pub generated: Option<String>,
}

/// A column's type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Integer,
    Flag,
    Date,
    /// SQL text, such as `DECIMAL(10,8)`.
    Decimal(String),
    Text {
        characters: u64,
        fixed: bool,
        /// Case and trailing blanks are significant.
        exact: bool,
    },
}

/// An index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key {
    pub name: String,
    pub columns: Vec<String>,
    pub unique: bool,
}

/// A foreign key. Each of GHTorrent's is of one column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reference {
    pub name: String,
    pub column: String,
    pub table: String,
    pub key: String,
}

impl Table {
    pub(super) fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// Returns whether no other table refers to it, so that its rows can be removed.
    pub(super) fn is_leaf(&self) -> bool {
        !tables().iter().any(|other| other.references.iter().any(|reference| reference.table == self.name))
    }

    /// Returns whether its rows have ids.
    pub(super) fn has_id(&self) -> bool {
        self.column("id").is_some()
    }

    pub(super) fn unique_keys(&self) -> impl Iterator<Item = &Key> {
        self.keys.iter().filter(|key| key.unique)
    }
}

/// Returns all tables, each after those it refers to (but for a project's fork point).
pub(super) fn tables() -> &'static [Table] {
    static TABLES: LazyLock<Vec<Table>> = LazyLock::new(|| statements("CREATE TABLE").filter_map(table).collect());
    &TABLES
}

/// Returns the statements that insert GHTorrent's reserved rows.
pub(super) fn reserved_rows() -> impl Iterator<Item = &'static str> {
    statements("INSERT INTO users").chain(statements("INSERT INTO projects"))
}

/// Returns the statements with this beginning, without semicolons.
fn statements(beginning: &'static str) -> impl Iterator<Item = &'static str> {
    SCHEMA.split(';').filter_map(move |part| {
        let statement = part.find(beginning).map(|start| &part[start..])?;
        // Only comments and empty lines precede a statement.
        let before = &part[..part.len() - statement.len()];
        before.lines().all(|line| line.trim().is_empty() || line.starts_with("--")).then_some(statement)
    })
}

/// Parses `CREATE TABLE IF NOT EXISTS name (...) ENGINE ...`.
fn table(statement: &str) -> Option<Table> {
    let (head, rest) = statement.split_once('(')?;
    let (body, _) = rest.rsplit_once(") ENGINE")?;
    let name = head.split_whitespace().last()?.to_owned();
    let mut table = Table { name, columns: Vec::new(), keys: Vec::new(), references: Vec::new() };
    for item in outer_items(body) {
        let words: Vec<&str> = item.split_whitespace().take(3).collect();
        match words[..] {
            ["PRIMARY", ..] => {
                table.keys.push(Key { name: PRIMARY.to_owned(), columns: bracketed(item)?, unique: true });
            }
            ["UNIQUE", "KEY", name] => {
                table.keys.push(Key { name: name.to_owned(), columns: bracketed(item)?, unique: true });
            }
            ["KEY", name, ..] => {
                table.keys.push(Key { name: name.to_owned(), columns: bracketed(item)?, unique: false });
            }
            ["CONSTRAINT", name, ..] => {
                let (own, referenced) = item.split_once("REFERENCES")?;
                table.references.push(Reference {
                    name: name.to_owned(),
                    column: bracketed(own)?.pop()?,
                    table: referenced.split_whitespace().next()?.to_owned(),
                    key: bracketed(referenced)?.pop()?,
                });
            }
            _ => {
                let column = column(item)?;
                if item.contains("PRIMARY KEY") {
                    let columns = vec![column.name.clone()];
                    table.keys.push(Key { name: PRIMARY.to_owned(), columns, unique: true });
                }
                table.columns.push(column);
            }
        }
    }
    Some(table)
}

/// Splits at commas outside parentheses.
fn outer_items(body: &str) -> Vec<&str> {
    let (mut items, mut start, mut depth) = (Vec::new(), 0, 0_u32);
    for (at, character) in body.char_indices() {
        match character {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                items.push(body[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    items.push(body[start..].trim());
    items
}

/// Returns the names in the first parentheses.
fn bracketed(text: &str) -> Option<Vec<String>> {
    let (_, rest) = text.split_once('(')?;
    let (names, _) = rest.split_once(')')?;
    Some(names.split(',').map(|name| name.trim().trim_matches('`').to_owned()).collect())
}

fn column(item: &str) -> Option<Column> {
    let mut words = item.split_whitespace();
    let name = words.next()?.trim_matches('`').to_owned();
    let sql_type = words.next()?;
    let length = || sql_type.split_once('(')?.1.trim_end_matches(')').parse().ok();
    let exact = item.contains("COLLATE /*");
    let kind = match sql_type.split('(').next()? {
        "BIGINT" => Kind::Integer,
        "BOOLEAN" => Kind::Flag,
        "DATETIME" => Kind::Date,
        "DECIMAL" => Kind::Decimal(sql_type.to_owned()),
        "VARCHAR" => Kind::Text { characters: length()?, fixed: false, exact },
        "CHAR" => Kind::Text { characters: length()?, fixed: true, exact },
        _ => return None,
    };
    let generated =
        item.split_once("GENERATED ALWAYS AS (").and_then(|(_, rest)| Some(rest.rsplit_once(')')?.0.to_owned()));
    let default = item.split_once(" DEFAULT ").and_then(|(_, rest)| rest.split_whitespace().next());
    Some(Column {
        name,
        kind,
        nullable: !item.contains("NOT NULL") && !item.contains("PRIMARY KEY"),
        default: default.map(str::to_owned),
        auto_increment: item.contains("AUTO_INCREMENT"),
        generated,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> &'static Table {
        tables().iter().find(|table| table.name == name).unwrap()
    }

    #[test]
    fn every_line_of_the_schema_is_parsed() {
        assert_eq!(tables().len(), SCHEMA.matches("CREATE TABLE").count());
        let counted = |text| SCHEMA.matches(text).count();
        let sum = |count: fn(&Table) -> usize| tables().iter().map(count).sum::<usize>();
        assert_eq!(sum(|table| table.references.len()), counted("FOREIGN KEY ("));
        assert_eq!(sum(|table| table.keys.iter().filter(|key| key.name == PRIMARY).count()), counted("PRIMARY KEY"));
        assert_eq!(sum(|table| table.unique_keys().filter(|key| key.name != PRIMARY).count()), counted("UNIQUE KEY"));
        let items = sum(|table| table.columns.len() + table.keys.len() + table.references.len());
        let inline_primary = counted("AUTO_INCREMENT PRIMARY KEY");
        let lines = SCHEMA.lines().filter(|line| line.starts_with("    ") && !line.trim().starts_with("/*")).count();
        assert_eq!(items, lines + inline_primary);
        assert_eq!(reserved_rows().count(), 2);
    }

    #[test]
    fn columns_keys_and_references_are_parsed() {
        let history = named("pull_request_history");
        let once = history.column("once_only").unwrap();
        assert_eq!(once.generated.as_deref(), Some("CASE WHEN action IN ('opened', 'merged') THEN action END"));
        assert!(once.nullable && once.kind == Kind::Text { characters: 16, fixed: false, exact: true });
        let users = named("users");
        assert_eq!(users.column("type").unwrap().default.as_deref(), Some("'USR'"));
        assert_eq!(users.column("long").unwrap().kind, Kind::Decimal("DECIMAL(11,8)".to_owned()));
        assert!(users.column("id").unwrap().auto_increment && !users.is_leaf() && named("watchers").is_leaf());
        let reference = &named("issues").references[1];
        assert_eq!((&*reference.column, &*reference.table, &*reference.key), ("reporter_id", "users", "id"));
    }
}
