//! Reads a sandbox's two stores as a user would, in a form that can be compared: references as natural keys, row ids and
//! times of reading left out. The form is the same whatever the stores run on.

mod documents;
// The program's own reader of JSON that Rust can't hold; the crate as a whole would have to be built first.
#[allow(dead_code, reason = "one of its functions is used here")]
#[path = "../../../../src/json.rs"]
mod json;
mod relational;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;

pub use documents::DocumentStore;
pub use relational::RelationalStore;

/// Collection to natural key to document.
pub type Documents = BTreeMap<String, BTreeMap<String, Value>>;
/// Table to rows, each a line of its values.
pub type Tables = BTreeMap<&'static str, BTreeSet<String>>;

/// Both stores of a sandbox.
#[derive(Clone)]
pub struct StoredData {
    pub documents: DocumentStore,
    pub relational: RelationalStore,
}

/// What changes with every write, even of what is there already.
#[derive(PartialEq)]
pub struct Fingerprint {
    documents: Documents,
    tables: Tables,
    /// A document's bookkeeping: when its state was read, and what it is recognized by.
    bookkeeping: BTreeMap<String, Vec<String>>,
}

/// Every table of the relational store, with references resolved to natural keys.
const TABLES: &[(&str, &str)] = &[
    ("users", "SELECT login, name, company, location, email, created_at, type, fake, deleted FROM users"),
    (
        "projects",
        "SELECT u.login, p.name, p.url, p.description, p.language, p.created_at, p.deleted, p.forked_from = -1, \
         pu.login, pp.name, c.sha FROM projects p JOIN users u ON u.id = p.owner_id \
         LEFT JOIN projects pp ON pp.id = p.forked_from LEFT JOIN users pu ON pu.id = pp.owner_id \
         LEFT JOIN commits c ON c.id = p.forked_commit_id",
    ),
    (
        "commits",
        "SELECT c.sha, a.login, m.login, p.name, c.created_at FROM commits c LEFT JOIN users a ON a.id = c.author_id \
         LEFT JOIN users m ON m.id = c.committer_id LEFT JOIN projects p ON p.id = c.project_id",
    ),
    (
        "commit_parents",
        "SELECT c.sha, p.sha FROM commit_parents x JOIN commits c ON c.id = x.commit_id JOIN commits p ON p.id = x.parent_id",
    ),
    (
        "project_commits",
        "SELECT p.name, c.sha FROM project_commits x JOIN projects p ON p.id = x.project_id JOIN commits c ON c.id = x.commit_id",
    ),
    (
        "commit_comments",
        "SELECT x.comment_id, c.sha, u.login, x.body, x.line, x.position, x.created_at FROM commit_comments x \
         JOIN commits c ON c.id = x.commit_id JOIN users u ON u.id = x.user_id",
    ),
    (
        "followers",
        "SELECT u.login, f.login, x.created_at FROM followers x JOIN users u ON u.id = x.user_id \
         JOIN users f ON f.id = x.follower_id",
    ),
    (
        "organization_members",
        "SELECT o.login, u.login, x.created_at FROM organization_members x JOIN users o ON o.id = x.org_id \
         JOIN users u ON u.id = x.user_id",
    ),
    (
        "project_members",
        "SELECT p.name, u.login, x.created_at, x.ext_ref_id FROM project_members x JOIN projects p ON p.id = x.repo_id \
         JOIN users u ON u.id = x.user_id",
    ),
    (
        "watchers",
        "SELECT p.name, u.login, x.created_at FROM watchers x JOIN projects p ON p.id = x.repo_id JOIN users u ON u.id = x.user_id",
    ),
    (
        "project_languages",
        "SELECT p.name, x.language, x.bytes FROM project_languages x JOIN projects p ON p.id = x.project_id",
    ),
    (
        "project_topics",
        "SELECT p.name, x.topic_name, x.deleted FROM project_topics x JOIN projects p ON p.id = x.project_id",
    ),
    (
        "pull_requests",
        "SELECT b.name, x.pullreq_id, hu.login, h.name, hc.sha, bc.sha, x.intra_branch FROM pull_requests x \
         JOIN projects b ON b.id = x.base_repo_id LEFT JOIN projects h ON h.id = x.head_repo_id \
         LEFT JOIN users hu ON hu.id = h.owner_id LEFT JOIN commits hc ON hc.id = x.head_commit_id \
         LEFT JOIN commits bc ON bc.id = x.base_commit_id",
    ),
    (
        "pull_request_history",
        "SELECT b.name, p.pullreq_id, x.action, x.created_at, u.login FROM pull_request_history x \
         JOIN pull_requests p ON p.id = x.pull_request_id JOIN projects b ON b.id = p.base_repo_id \
         LEFT JOIN users u ON u.id = x.actor_id",
    ),
    (
        "pull_request_commits",
        "SELECT b.name, p.pullreq_id, c.sha FROM pull_request_commits x JOIN pull_requests p ON p.id = x.pull_request_id \
         JOIN projects b ON b.id = p.base_repo_id JOIN commits c ON c.id = x.commit_id",
    ),
    (
        "pull_request_comments",
        "SELECT x.comment_id, b.name, p.pullreq_id, u.login, x.position, x.body, c.sha, x.created_at \
         FROM pull_request_comments x JOIN pull_requests p ON p.id = x.pull_request_id \
         JOIN projects b ON b.id = p.base_repo_id JOIN users u ON u.id = x.user_id LEFT JOIN commits c ON c.id = x.commit_id",
    ),
    (
        "issues",
        "SELECT r.name, x.issue_id, u.login, a.login, x.pull_request, p.pullreq_id, x.created_at FROM issues x \
         JOIN projects r ON r.id = x.repo_id LEFT JOIN users u ON u.id = x.reporter_id \
         LEFT JOIN users a ON a.id = x.assignee_id LEFT JOIN pull_requests p ON p.id = x.pull_request_id",
    ),
    (
        "issue_comments",
        "SELECT x.comment_id, r.name, i.issue_id, u.login, x.created_at FROM issue_comments x JOIN issues i ON i.id = x.issue_id \
         JOIN projects r ON r.id = i.repo_id JOIN users u ON u.id = x.user_id",
    ),
    (
        "issue_events",
        "SELECT x.event_id, r.name, i.issue_id, u.login, x.action, x.action_specific, x.created_at FROM issue_events x \
         JOIN issues i ON i.id = x.issue_id JOIN projects r ON r.id = i.repo_id JOIN users u ON u.id = x.actor_id",
    ),
    ("repo_labels", "SELECT r.name, x.name FROM repo_labels x JOIN projects r ON r.id = x.repo_id"),
    (
        "issue_labels",
        "SELECT r.name, i.issue_id, l.name FROM issue_labels x JOIN issues i ON i.id = x.issue_id \
         JOIN projects r ON r.id = i.repo_id JOIN repo_labels l ON l.id = x.label_id",
    ),
    ("repo_milestones", "SELECT r.name, x.name FROM repo_milestones x JOIN projects r ON r.id = x.repo_id"),
    ("schema_info", "SELECT version FROM schema_info"),
];

/// The URL of the relational store, as in the settings.
pub fn relational_url(stores: &StoredData) -> String {
    match &stores.relational {
        RelationalStore::Sqlite(path) => format!("sqlite:{}", path.display()),
        RelationalStore::Mysql { url } => url.clone(),
    }
}

impl StoredData {
    /// The embedded stores of a data directory.
    pub fn embedded(data_dir: &Path) -> Self {
        let (documents, relational) = (data_dir.join("documents.db"), data_dir.join("github.db"));
        Self { documents: DocumentStore::Sqlite(documents), relational: RelationalStore::Sqlite(relational) }
    }

    /// Rows of a query over the relational store, in SQL that both families know; each value as text (`NULL` for nothing).
    pub async fn sql(&self, sql: &str) -> Vec<Vec<String>> {
        self.relational.query(sql).await
    }

    /// One number from the relational store.
    pub async fn number(&self, sql: &str) -> i64 {
        self.sql(sql).await[0][0].parse().expect("a number")
    }

    /// A collection's documents, with `_msght`.
    pub async fn collection(&self, name: &str) -> BTreeMap<String, Value> {
        self.documents.collection(name).await
    }

    /// All documents, without the times at which they were read; a deletion mark stays, without its time.
    pub async fn documents(&self) -> Documents {
        let mut all = Documents::new();
        for (name, mut documents) in self.documents.all().await {
            for document in documents.values_mut() {
                let meta = document.as_object_mut().and_then(|object| object.remove("_msght")).unwrap_or_default();
                assert!(meta.get("fetched_at").is_some(), "every document says when it was read");
                if meta.get("deleted_at").is_some() {
                    document["_msght"] = Value::from("deleted");
                }
            }
            all.insert(name, documents);
        }
        all
    }

    /// All tables, with references as natural keys.
    pub async fn tables(&self) -> Tables {
        let mut all = Tables::new();
        for (table, sql) in TABLES {
            let rows = self.sql(sql).await;
            let count = rows.len();
            let lines: BTreeSet<String> = rows.into_iter().map(|row| row.join(" | ")).collect();
            // Languages keep a set of rows a look; everything else has a key, so that no two rows may be alike.
            assert_eq!(lines.len(), count, "{table} holds two equal rows");
            all.insert(*table, lines);
        }
        all
    }

    /// Everything in the stores, comparable.
    pub async fn dump(&self) -> (Documents, Tables) {
        (self.documents().await, self.tables().await)
    }

    /// Equal only where nothing was written in between.
    pub async fn data_fingerprint(&self) -> Fingerprint {
        Fingerprint {
            documents: self.documents().await,
            tables: self.tables().await,
            bookkeeping: self.documents.bookkeeping().await,
        }
    }

    /// Asserts what a database system knows about its own health: that nothing is damaged, and every reference leads
    /// to a row.
    pub async fn assert_sound(&self) {
        self.documents.assert_sound().await;
        self.relational.assert_sound().await;
    }

    /// Everything that is stored outside of the data directory, as text.
    pub async fn everything_on_servers(&self) -> Vec<String> {
        let mut all = Vec::new();
        if let DocumentStore::Mongodb { .. } = &self.documents {
            all.push(self.documents.everything().await);
        }
        if let RelationalStore::Mysql { .. } = &self.relational {
            all.push(self.relational.everything().await);
        }
        all
    }
}

/// The members that differ between two documents.
fn differing(expected: &Value, found: &Value) -> String {
    let (Some(expected), Some(found)) = (expected.as_object(), found.as_object()) else { return String::new() };
    let keys: BTreeSet<&String> = expected.keys().chain(found.keys()).collect();
    let differ = keys.into_iter().filter(|key| expected.get(*key) != found.get(*key));
    let shown = differ.map(|key| format!("{key}: {:.80?} {:.80?}", expected.get(key), found.get(key)));
    shown.collect::<Vec<_>>().join(", ")
}

/// What differs between two dumps, as a short text for a failing test.
pub fn difference(expected: &(Documents, Tables), found: &(Documents, Tables)) -> Option<String> {
    let mut lines = Vec::new();
    for (name, rows) in &expected.1 {
        let other = &found.1[name];
        lines.extend(rows.difference(other).take(5).map(|row| format!("{name}: missing {row}")));
        lines.extend(other.difference(rows).take(5).map(|row| format!("{name}: unexpected {row}")));
    }
    for (name, documents) in &expected.0 {
        let other = found.0.get(name).cloned().unwrap_or_default();
        for (id, document) in documents {
            match other.get(id) {
                None => lines.push(format!("{name}: missing document {id}")),
                Some(there) if there != document => {
                    lines.push(format!("{name}: document {id} differs: {}", differing(document, there)));
                }
                Some(_) => {}
            }
        }
        lines.extend(
            other.keys().filter(|id| !documents.contains_key(*id)).map(|id| format!("{name}: unexpected {id}")),
        );
    }
    lines.truncate(30);
    (!lines.is_empty()).then(|| lines.join("\n"))
}
