//! A document store, read with the driver of what it runs on.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use chrono::{DateTime, SecondsFormat};
use futures::TryStreamExt as _;
use mongodb::bson::{Bson, Document, doc};
use mongodb::{Client, Database};
use serde_json::{Map, Value};

use super::json;
use super::relational::{query_sqlite, remove_sqlite};

/// Where the documents are.
#[derive(Clone)]
pub enum DocumentStore {
    Sqlite(PathBuf),
    Mongodb { url: String, database: String },
}

/// A store's state at a moment.
pub enum Backup {
    Sqlite(Vec<u8>),
    Mongodb(BTreeMap<String, Vec<Document>>),
}

impl DocumentStore {
    /// A collection's documents by their natural keys, with `_msght`.
    pub async fn collection(&self, name: &str) -> BTreeMap<String, Value> {
        let mut all = BTreeMap::new();
        match self {
            Self::Sqlite(path) => {
                for row in query_sqlite(path, &format!("SELECT _id, doc FROM {name}")).await {
                    all.insert(row[0].clone(), json::parse(&row[1]).expect("a document is JSON"));
                }
            }
            Self::Mongodb { .. } => {
                for document in read(&self.database().await, name).await {
                    let value = json_of_document(document);
                    let id = natural_key(name, &value);
                    assert!(all.insert(id.clone(), value).is_none(), "{name} holds {id} twice");
                }
            }
        }
        all
    }

    /// Every collection, also an empty one.
    pub(super) async fn all(&self) -> BTreeMap<String, BTreeMap<String, Value>> {
        let mut all = BTreeMap::new();
        for name in self.names().await {
            let documents = self.collection(&name).await;
            all.insert(name, documents);
        }
        all
    }

    /// Names of the collections of documents, without the store's own bookkeeping and the inbox of deliveries.
    async fn names(&self) -> Vec<String> {
        let mut names = match self {
            Self::Sqlite(path) => {
                let sql = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'";
                query_sqlite(path, sql).await.into_iter().map(|mut row| row.remove(0)).collect()
            }
            Self::Mongodb { .. } => self.database().await.list_collection_names().await.expect("the collections"),
        };
        let others = ["msght_", "system.", "deliver"];
        names.retain(|name: &String| !others.iter().any(|prefix| name.starts_with(prefix)));
        names
    }

    /// A line a document: when its state was read, and what it is recognized by.
    pub(super) async fn bookkeeping(&self) -> BTreeMap<String, Vec<String>> {
        let mut all = BTreeMap::new();
        for name in self.names().await {
            let mut lines: Vec<String> = match self {
                Self::Sqlite(path) => {
                    let sql = format!("SELECT _id, fetched_at, hash, summary_hash FROM {name}");
                    query_sqlite(path, &sql).await.into_iter().map(|row| row.join(" ")).collect()
                }
                Self::Mongodb { .. } => {
                    let documents = read(&self.database().await, &name).await;
                    documents.into_iter().map(|d| format!("{:?} {:?}", d.get("_id"), d.get("_msght"))).collect()
                }
            };
            lines.sort_unstable();
            all.insert(name, lines);
        }
        all
    }

    pub(super) async fn assert_sound(&self) {
        match self {
            Self::Sqlite(path) => assert_eq!(query_sqlite(path, "PRAGMA integrity_check").await, [["ok"]]),
            // That no key is there twice is asserted wherever documents are read.
            Self::Mongodb { .. } => {
                self.all().await;
            }
        }
    }

    /// Everything that is stored, as text.
    pub(super) async fn everything(&self) -> String {
        let Self::Mongodb { .. } = self else { return String::new() };
        let (mut text, database) = (String::new(), self.database().await);
        for name in database.list_collection_names().await.expect("the collections") {
            let _ = writeln!(text, "{name}: {:?}", read(&database, &name).await);
        }
        text
    }

    /// The store as it was before anything was stored: an empty database, or no file.
    pub async fn lose(&self) {
        match self {
            Self::Sqlite(path) => remove_sqlite(path),
            Self::Mongodb { .. } => self.database().await.drop().await.expect("the database is dropped"),
        }
    }

    /// Takes a copy of everything. Nobody may be writing.
    pub async fn backup(&self) -> Backup {
        match self {
            Self::Sqlite(path) => Backup::Sqlite(std::fs::read(path).expect("the file")),
            Self::Mongodb { .. } => {
                let (mut all, database) = (BTreeMap::new(), self.database().await);
                for name in database.list_collection_names().await.expect("the collections") {
                    let documents = read(&database, &name).await;
                    all.insert(name, documents);
                }
                Backup::Mongodb(all)
            }
        }
    }

    /// Puts the copy in the place of what is there now. Nobody may be writing.
    pub async fn restore(&self, backup: &Backup) {
        match (self, backup) {
            (Self::Sqlite(path), Backup::Sqlite(bytes)) => {
                remove_sqlite(path);
                std::fs::write(path, bytes).expect("the file is written");
            }
            (Self::Mongodb { .. }, Backup::Mongodb(all)) => {
                let database = self.database().await;
                for name in database.list_collection_names().await.expect("the collections") {
                    let collection = database.collection::<Document>(&name);
                    collection.delete_many(doc! {}).await.expect("the collection is emptied");
                    let documents = all.get(&name).filter(|documents| !documents.is_empty());
                    if let Some(documents) = documents {
                        collection.insert_many(documents).await.expect("the copy is written");
                    }
                }
            }
            _ => panic!("the copy is of another kind of store"),
        }
    }

    async fn database(&self) -> Database {
        let Self::Mongodb { url, database } = self else { panic!("not on MongoDB") };
        Client::with_uri_str(url).await.expect("the URL is valid").database(database)
    }
}

/// A collection's documents as they are.
async fn read(database: &Database, name: &str) -> Vec<Document> {
    let documents = database.collection::<Document>(name).find(doc! {}).await.expect("the collection is read");
    documents.try_collect().await.expect("the collection is read to its end")
}

/// A collection's key, as pointers into its documents: `docs/data-model.md`, "Collections".
fn key(collection: &str) -> &'static [&'static str] {
    match collection {
        "events" => &["/id"],
        "users" => &["/login"],
        "repos" => &["/owner/login", "/name"],
        "commits" | "pull_request_commits" => &["/sha"],
        "commit_comments" => &["/owner", "/repo", "/commit_id", "/id"],
        "pull_requests" | "issues" | "milestones" => &["/owner", "/repo", "/number"],
        "pull_request_comments" | "pull_request_reviews" => &["/owner", "/repo", "/pullreq_id", "/id"],
        "issue_comments" | "issue_events" => &["/owner", "/repo", "/issue_id", "/id"],
        "repo_labels" | "branches" | "tags" => &["/owner", "/repo", "/name"],
        "repo_collaborators" | "watchers" | "contributors" => &["/owner", "/repo", "/login"],
        "forks" | "releases" => &["/owner", "/repo", "/id"],
        "topics" => &["/owner", "/repo", "/topic"],
        "repo_languages" => &["/owner", "/repo"],
        "followers" => &["/follows", "/login"],
        "following" => &["/follower", "/login"],
        "org_members" | "outside_collaborators" => &["/org", "/login"],
        "user_orgs" => &["/user", "/login"],
        "teams" => &["/org", "/id"],
        "team_members" => &["/org", "/team_id", "/login"],
        "team_repos" => &["/org", "/team_id", "/id"],
        _ => panic!("{collection} is no collection that the tests know"),
    }
}

/// A document's natural key, its values joined by `/`: the fields that users find it by.
fn natural_key(collection: &str, document: &Value) -> String {
    let values = key(collection).iter().map(|pointer| match document.pointer(pointer) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        other => panic!("{collection}: {pointer} is {other:?} in {document}"),
    });
    values.collect::<Vec<_>>().join("/")
}

/// The JSON that a document was made from.
fn json_of_document(mut document: Document) -> Value {
    document.remove("_id");
    let fetched_at = document.get_document("_msght").ok().and_then(|meta| meta.get("fetched_at"));
    assert!(matches!(fetched_at, Some(Bson::DateTime(_))), "_msght.fetched_at is a date: {document}");
    json_of(Bson::Document(document))
}

fn json_of(value: Bson) -> Value {
    match value {
        Bson::Document(document) => {
            let members = document.into_iter().map(|(key, value)| (unescaped(&key), json_of(value)));
            Value::Object(members.collect::<Map<_, _>>())
        }
        Bson::Array(items) => items.into_iter().map(json_of).collect(),
        Bson::Int32(number) => Value::from(number),
        Bson::Int64(number) => Value::from(number),
        Bson::Double(number) => Value::from(number),
        Bson::String(text) => Value::from(text),
        Bson::Boolean(truth) => Value::from(truth),
        Bson::Null => Value::Null,
        Bson::DateTime(at) => {
            let at = DateTime::from_timestamp_millis(at.timestamp_millis()).expect("a date of this era");
            Value::from(at.to_rfc3339_opts(SecondsFormat::Secs, true))
        }
        other => panic!("JSON has no such value: {other:?}"),
    }
}

/// A key as GitHub wrote it: what MongoDB can't hold in a key is percent-encoded there.
fn unescaped(key: &str) -> String {
    percent_encoding::percent_decode_str(key).decode_utf8().expect("an escaped key is text").into_owned()
}
