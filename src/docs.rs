//! Checks `docs/` against what it describes, so that it can't go stale.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use sqlx::sqlite::SqlitePoolOptions;

use crate::store::documents::Collection;

const DATA_MODEL: &str = include_str!("../docs/data-model.md");
const ARCHITECTURE: &str = include_str!("../docs/architecture.md");
const CONFIGURATION: &str = include_str!("../docs/configuration.md");
/// The settings' manual: each key with its default.
const SETTINGS: &str = include_str!("../config/msght.toml");

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns the texts between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// Returns the sections under a heading, by their titles.
fn sections<'a>(document: &'a str, heading: &str) -> BTreeMap<String, &'a str> {
    let start = format!("\n## {heading}\n");
    let (_, rest) = document.split_once(&start).unwrap_or_else(|| panic!("no heading {heading}"));
    let rest = rest.split("\n## ").next().unwrap_or_default();
    let mut sections = BTreeMap::new();
    for section in rest.split("\n### ").skip(1) {
        let (title, body) = section.split_once('\n').unwrap_or((section, ""));
        let twice = sections.insert(title.trim_matches('`').to_owned(), body);
        assert!(twice.is_none(), "{title} has two sections under {heading}");
    }
    sections
}

/// Returns the names in the first column of a section's tables.
fn first_column(section: &str) -> BTreeSet<String> {
    let rows = section.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    rows.flat_map(quoted).map(str::to_owned).collect()
}

#[test]
fn data_model_has_every_collection_with_its_key() {
    let documented: BTreeMap<String, Vec<String>> = sections(DATA_MODEL, "Collections")
        .into_iter()
        .map(|(name, section)| {
            let line = section.lines().find_map(|line| line.strip_prefix("Key: ")).unwrap_or_default();
            let key = line.split(". ").next().unwrap_or_default().replace('.', "_");
            (name, quoted(&key).map(str::to_owned).collect())
        })
        .collect();
    let actual = Collection::ALL.iter().map(|collection| {
        let key = collection.key().iter().map(|column| column.name.to_owned()).collect();
        (collection.name().to_owned(), key)
    });
    assert_eq!(documented, actual.collect());
}

#[tokio::test]
async fn data_model_has_every_table_with_its_columns() {
    let pool = SqlitePoolOptions::new().max_connections(1).connect("sqlite::memory:").await.unwrap();
    let migrations = root().join("src/store/relational/migrations/sqlite");
    sqlx::migrate::Migrator::new(migrations).await.unwrap().run(&pool).await.unwrap();
    let columns: Vec<(String, String)> = sqlx::query_as(
        "SELECT t.name, c.name FROM sqlite_schema t, pragma_table_info(t.name) c WHERE t.type = 'table' \
         AND t.name NOT LIKE 'sqlite_%' AND t.name <> '_sqlx_migrations'",
    )
    .fetch_all(&pool)
    .await
    .unwrap();
    let mut actual: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (table, column) in columns {
        actual.entry(table).or_default().insert(column);
    }
    let mut documented = sections(DATA_MODEL, "Tables");
    documented.extend(sections(DATA_MODEL, "Bookkeeping tables"));
    let documented: BTreeMap<String, BTreeSet<String>> =
        documented.into_iter().map(|(table, section)| (table, first_column(section))).collect();
    assert_eq!(documented, actual);
}

/// Returns the keys of the settings' manual, with the defaults of those that aren't commented out.
fn settings() -> BTreeMap<String, Option<String>> {
    let mut section = String::new();
    let mut settings = BTreeMap::new();
    for line in SETTINGS.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            section = format!("{name}.");
        }
        let Some((key, value)) = line.trim_start_matches("# ").split_once(" = ") else { continue };
        if key.chars().all(|c| c.is_ascii_lowercase() || c == '_') {
            let default = (!line.starts_with('#')).then(|| value.trim_matches('"').to_owned());
            settings.insert(format!("{section}{key}"), default);
        }
    }
    settings
}

#[test]
fn configuration_has_every_key_with_its_default() {
    let (_, keys) = CONFIGURATION.split_once("\n## Keys\n").unwrap();
    let mut documented = BTreeMap::new();
    for row in keys.lines().filter(|line| line.starts_with("| `")) {
        let mut cells = row.trim_start_matches("| ").split(" | ");
        let (keys, default) = (cells.next().unwrap(), cells.next().unwrap());
        documented.extend(quoted(keys).map(|key| (key.to_owned(), default.trim_matches('`').to_owned())));
    }
    let settings = settings();
    assert_eq!(documented.keys().collect::<Vec<_>>(), settings.keys().collect::<Vec<_>>());
    for (key, default) in settings {
        assert!(default.is_none_or(|default| documented[&key] == default), "{key}: {}", documented[&key]);
    }
}

/// Returns the documents: those at the root and those in `docs/`.
fn documents() -> Vec<PathBuf> {
    let files =
        [root().to_owned(), root().join("docs")].into_iter().flat_map(|directory| directory.read_dir().unwrap());
    let paths = files.map(|file| file.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|extension| extension == "md")).collect()
}

/// Returns a heading's anchor, as GitHub makes it.
fn anchor(heading: &str) -> String {
    let kept = heading.to_lowercase();
    kept.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c)).collect::<String>().replace(' ', "-")
}

#[test]
fn documents_link_to_files_and_headings_that_exist() {
    let mut broken = Vec::new();
    for document in documents() {
        let text = std::fs::read_to_string(&document).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.contains("://") {
                continue;
            }
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { document.clone() } else { document.parent().unwrap().join(file) };
            let found = target.exists()
                && (heading.is_empty() || {
                    let text = std::fs::read_to_string(&target).unwrap();
                    let mut headings = text.lines().filter(|line| line.starts_with('#'));
                    headings.any(|line| anchor(line.trim_start_matches('#').trim()) == heading)
                });
            if !found {
                broken.push(format!("{}: {link}", document.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn documents_name_files_that_exist() {
    const DIRECTORIES: [&str; 6] = ["src/", "docs/", "tests/", "config/", "benches/", ".github/"];
    let mut missing = Vec::new();
    for document in documents() {
        let text = std::fs::read_to_string(&document).unwrap();
        for name in text.lines().flat_map(quoted) {
            if DIRECTORIES.iter().any(|directory| name.starts_with(directory)) {
                let path = name.split([' ', ':', '{', '*']).next().unwrap_or(name);
                if !root().join(path).exists() {
                    missing.push(format!("{}: {name}", document.display()));
                }
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn architecture_has_the_modules_of_lib_rs_in_its_words() {
    let lib = std::fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let path = |module: &str| {
        let directory = format!("src/{module}/");
        if root().join(&directory).is_dir() { directory } else { format!("src/{module}.rs") }
    };
    let mut missing = Vec::new();
    for row in lib.lines().filter_map(|line| line.strip_prefix("//! | [")) {
        let (modules, contents) = row.split_once(" | ").unwrap();
        let paths: Vec<String> = quoted(modules).map(|module| format!("`{}`", path(module))).collect();
        let row = format!("| {} | {contents}", paths.join(", "));
        if !ARCHITECTURE.lines().any(|line| line == row) {
            missing.push(row);
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

/// Returns the source files below a directory.
fn sources(directory: &Path) -> Vec<PathBuf> {
    let entries = directory.read_dir().unwrap().map(|entry| entry.unwrap().path());
    let (directories, files): (Vec<PathBuf>, Vec<PathBuf>) = entries.partition(|path| path.is_dir());
    let mut sources: Vec<PathBuf> = directories.iter().flat_map(|directory| sources(directory)).collect();
    sources.extend(files.into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "rs")));
    sources
}

#[test]
fn tables_of_files_have_every_file_of_their_module() {
    let mut missing = Vec::new();
    for source in sources(&root().join("src")) {
        let text = std::fs::read_to_string(&source).unwrap();
        let rows: Vec<&str> =
            text.lines().filter_map(|line| line.strip_prefix("//! | ")?.split(" | ").next()).collect();
        if !rows.iter().any(|cell| ["file", "module"].contains(cell)) {
            continue;
        }
        let names = rows.iter().flat_map(|cell| quoted(cell)).flat_map(|path| path.trim_end_matches(".rs").split('/'));
        let listed: BTreeSet<&str> = names.collect();
        let mut is_test = false;
        for line in text.lines() {
            let declared = line.split_once("mod ").filter(|(before, _)| before.is_empty() || before.starts_with("pub"));
            if let Some(module) = declared.and_then(|(_, rest)| rest.strip_suffix(';')).filter(|_| !is_test)
                && !listed.contains(module)
            {
                missing.push(format!("{}: {module}", source.display()));
            }
            is_test = line == "#[cfg(test)]";
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}
