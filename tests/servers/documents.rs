//! What the document store does, on each of its backends: an SQLite file and a server with MongoDB's protocol.

use std::time::Duration;

use chrono::{DateTime, Utc};
use msght::backend_url::{BackendKind, BackendUrl};
use msght::retry::RetryPolicy;
use msght::store::documents::{Collection, Document, Documents, KeyValue, Representation, WriteOutcome};
use rstest::rstest;
use serde_json::{Value, json};
use support::servers::mongodb::MongoServer;
use tempfile::TempDir;

/// What a store runs on.
#[derive(Clone, Copy, Debug)]
enum On {
    Sqlite,
    Mongodb,
}

/// A fresh store's URL; the directory is to be kept as long as the store.
fn fresh(on: On, name: &str) -> (BackendUrl, TempDir) {
    let directory = TempDir::new().unwrap();
    let url = match on {
        On::Sqlite => BackendUrl::sqlite(directory.path().join("documents.db")),
        On::Mongodb => {
            BackendUrl::parse(&MongoServer::shared().url(name), &[BackendKind::Mongodb]).expect("the server's URL")
        }
    };
    (url, directory)
}

fn retry_policy() -> RetryPolicy {
    RetryPolicy::new(Duration::from_secs(60), |_| {})
}

async fn open(url: &BackendUrl) -> Documents {
    Documents::open(url, &retry_policy()).await.unwrap()
}

fn read_at(second: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_700_000_000 + second, 0).unwrap()
}

fn document(collection: Collection, key: &[KeyValue], json: Value, representation: Representation) -> Document {
    Document {
        collection,
        key: key.to_vec(),
        json: json.to_string(),
        representation,
        fetched_at: read_at(0),
        source: None,
    }
}

fn issue(repo: &str, number: i64, title: &str) -> Document {
    let key = ["octo".into(), repo.into(), number.into()];
    let json = json!({"number": number, "title": title, "owner": "octo", "repo": repo});
    document(Collection::Issues, &key, json, Representation::Summary)
}

fn commit(sha: &str, url: &str, more: Value, representation: Representation) -> Document {
    let mut json = json!({"sha": sha, "url": url});
    json.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    document(Collection::Commits, &[sha.into()], json, representation)
}

async fn read(store: &Documents, collection: Collection, id: &str) -> Option<Value> {
    store.get(collection, id).await.unwrap().map(|json| serde_json::from_str(&json).unwrap())
}

async fn written(store: &Documents, documents: &[Document]) -> Vec<WriteOutcome> {
    store.upsert(documents.to_vec()).await.unwrap().written
}

#[rstest]
#[tokio::test]
async fn a_document_is_new_then_unchanged_then_changed(#[values(On::Sqlite, On::Mongodb)] on: On) {
    let (url, _directory) = fresh(on, "new_unchanged_changed");
    let store = open(&url).await;
    let first = store.identity().await.unwrap();
    let stored = store.upsert(vec![issue("a", 1, "x"), issue("a", 2, "x")]).await.unwrap();
    assert_eq!(stored.written, [WriteOutcome::Inserted, WriteOutcome::Inserted]);
    assert!(stored.generation.unwrap() > first.generation);
    let again = store.upsert(vec![issue("a", 1, "x"), issue("a", 2, "y")]).await.unwrap();
    assert_eq!(again.written, [WriteOutcome::Unchanged, WriteOutcome::Updated]);
    let unchanged = store.upsert(vec![issue("a", 1, "x")]).await.unwrap();
    assert_eq!((unchanged.written, unchanged.generation), (vec![WriteOutcome::Unchanged], None));
    let last = store.identity().await.unwrap();
    assert_eq!((last.id, Some(last.generation)), (first.id.clone(), again.generation));
    store.close().await;

    let store = open(&url).await;
    assert_eq!(store.identity().await.unwrap().id, first.id, "it is the same store when it is opened again");
    assert_eq!(read(&store, Collection::Issues, "octo/a/2").await.unwrap()["title"], "y");
    assert_eq!(read(&store, Collection::Issues, "octo/a/3").await, None);
}

#[rstest]
#[tokio::test]
async fn a_document_comes_back_as_it_went_in(#[values(On::Sqlite, On::Mongodb)] on: On) {
    let (url, _directory) = fresh(on, "round_trip");
    let store = open(&url).await;
    let awkward = json!({
        "owner": "octo", "repo": "a", "number": 9_007_199_254_740_993_i64,
        "$ref": {"$inc": 1, "a.b": [{"": null, "%24": "%", "%2E": "x.y$"}]}, "dotted.name": true,
        "_id": "theirs", "nested": {"_id": 7}, "float": 1.5, "whole": 2.0, "negative": -0.25, "small": 3,
        "least": i64::MIN, "text": "a\u{0}b \u{1F600} \u{e9}", "empty": {}, "list": [], "no": false, "nothing": null,
    });
    let key = ["octo".into(), "a".into(), 9_007_199_254_740_993_i64.into()];
    let awkward_document = document(Collection::Issues, &key, awkward.clone(), Representation::Summary);
    assert_eq!(written(&store, std::slice::from_ref(&awkward_document)).await, [WriteOutcome::Inserted]);
    let mut back = read(&store, Collection::Issues, "octo/a/9007199254740993").await.unwrap();
    let meta = back.as_object_mut().unwrap().remove("_msght").unwrap();
    assert_eq!(back, awkward);
    assert_eq!(meta, json!({"fetched_at": "2023-11-14T22:13:20Z"}));
    assert_eq!(written(&store, &[awkward_document]).await, [WriteOutcome::Unchanged]);
}

#[rstest]
#[tokio::test]
async fn repeated_key_is_compared_with_its_first(#[values(On::Sqlite, On::Mongodb)] on: On) {
    let (url, _directory) = fresh(on, "twice_in_a_batch");
    let store = open(&url).await;
    let batch = [issue("a", 1, "x"), issue("a", 1, "x"), issue("a", 1, "y"), issue("a", 2, "z")];
    assert_eq!(
        written(&store, &batch).await,
        [WriteOutcome::Inserted, WriteOutcome::Unchanged, WriteOutcome::Updated, WriteOutcome::Inserted]
    );
    assert_eq!(read(&store, Collection::Issues, "octo/a/1").await.unwrap()["title"], "y");
    assert_eq!(store.ids_after(Collection::Issues, &["octo", "a"], "", 10).await.unwrap(), ["octo/a/1", "octo/a/2"]);
}

#[rstest]
#[tokio::test]
async fn summary_keeps_detailed_commit(#[values(On::Sqlite, On::Mongodb)] on: On) {
    let (url, _directory) = fresh(on, "two_shapes");
    let store = open(&url).await;
    let full = commit("s", "one", json!({"files": [1], "message": "m"}), Representation::Detailed);
    let list = commit("s", "one", json!({"message": "n"}), Representation::Summary);
    let elsewhere = commit("s", "two", json!({"message": "o"}), Representation::Summary);
    assert_eq!(written(&store, std::slice::from_ref(&list)).await, [WriteOutcome::Inserted]);
    assert_eq!(written(&store, &[full]).await, [WriteOutcome::Updated]);
    assert_eq!(
        written(&store, std::slice::from_ref(&list)).await,
        [WriteOutcome::Unchanged],
        "the list's state was seen before"
    );
    let newer = commit("s", "one", json!({"message": "p"}), Representation::Summary);
    assert_eq!(written(&store, &[newer.clone(), elsewhere]).await, [WriteOutcome::Updated, WriteOutcome::Unchanged]);
    let value = read(&store, Collection::Commits, "s").await.unwrap();
    assert_eq!((&value["files"], &value["message"], &value["url"]), (&json!([1]), &json!("p"), &json!("one")));
    assert_eq!(value["_msght"]["detailed_at"], "2023-11-14T22:13:20Z");
    assert_eq!(written(&store, &[newer]).await, [WriteOutcome::Unchanged]);
}

#[rstest]
#[tokio::test]
async fn deleted_document_is_marked_and_unmarked(#[values(On::Sqlite, On::Mongodb)] on: On) {
    let (url, _directory) = fresh(on, "deleted");
    let store = open(&url).await;
    written(&store, &[issue("a", 1, "x"), issue("a", 2, "x"), issue("a", 3, "x")]).await;
    let gone = ["octo/a/1".to_owned(), "octo/a/3".to_owned(), "octo/a/9".to_owned()];
    assert_eq!(store.tombstone(Collection::Issues, &gone, read_at(60)).await.unwrap(), 2);
    assert_eq!(store.tombstone(Collection::Issues, &gone, read_at(90)).await.unwrap(), 0);
    let value = read(&store, Collection::Issues, "octo/a/1").await.unwrap();
    let dates = json!({"fetched_at": "2023-11-14T22:13:20Z", "deleted_at": "2023-11-14T22:14:20Z"});
    assert_eq!((&value["title"], &value["_msght"]), (&json!("x"), &dates));
    assert_eq!(store.ids_after(Collection::Issues, &["octo", "a"], "", 10).await.unwrap(), ["octo/a/2"]);
    assert_eq!(written(&store, &[issue("a", 1, "x")]).await, [WriteOutcome::Updated]);
    let value = read(&store, Collection::Issues, "octo/a/1").await.unwrap();
    assert_eq!(value["_msght"], json!({"fetched_at": "2023-11-14T22:13:20Z"}));
}

#[rstest]
#[tokio::test]
async fn ids_are_paged_in_order(#[values(On::Sqlite, On::Mongodb)] on: On) {
    let (url, _directory) = fresh(on, "ids_after");
    let store = open(&url).await;
    let others = [issue("a-b", 1, "x"), issue("b", 1, "x"), issue("a.", 1, "x"), issue("aa", 1, "x")];
    let mine: Vec<Document> = (1..=25).map(|number| issue("a", number, "x")).collect();
    written(&store, &[&others[..], &mine[..]].concat()).await;
    let mut ids = Vec::new();
    while let page =
        store.ids_after(Collection::Issues, &["octo", "a"], ids.last().map_or("", String::as_str), 10).await.unwrap()
        && !page.is_empty()
    {
        assert!(page.len() <= 10);
        ids.extend(page);
    }
    let mut expected: Vec<String> = (1..=25).map(|number| format!("octo/a/{number}")).collect();
    expected.sort();
    assert_eq!(ids, expected);
    assert_eq!(store.ids_after(Collection::Issues, &["octo", "a"], "", 0).await.unwrap(), Vec::<String>::new());
}

#[rstest]
#[tokio::test]
async fn rename_moves_and_replaces_documents(#[values(On::Sqlite, On::Mongodb)] on: On) {
    let (url, _directory) = fresh(on, "rename");
    let store = open(&url).await;
    let comment = |repo: &str| {
        let key = ["octo".into(), repo.into(), "sha".into(), 5_i64.into()];
        let json = json!({"commit_id": "sha", "id": 5, "owner": "octo", "repo": repo});
        document(Collection::CommitComments, &key, json, Representation::Summary)
    };
    let branch = |repo: &str| {
        let json = json!({"name": "feature/x", "owner": "octo", "repo": repo});
        document(Collection::Branches, &["octo".into(), repo.into(), "feature/x".into()], json, Representation::Summary)
    };
    let entry = |name: &str| {
        let json = json!({"name": name, "owner": {"login": "octo"}});
        document(Collection::Repos, &["octo".into(), name.into()], json, Representation::Detailed)
    };
    let before = [issue("old", 1, "mine"), issue("old", 2, "mine"), comment("old"), branch("old"), entry("old")];
    written(&store, &before).await;
    written(&store, &[issue("new", 2, "in the way"), issue("new", 3, "stays"), issue("older", 1, "another")]).await;
    let generation = store.identity().await.unwrap().generation;
    store.rename_repository(("octo", "old"), ("octo", "new")).await.unwrap();
    store.rename_repository(("octo", "old"), ("octo", "new")).await.unwrap();
    store.rename_repository(("octo", "new"), ("octo", "new")).await.unwrap();

    assert!(store.identity().await.unwrap().generation > generation);
    let ids = store.ids_after(Collection::Issues, &["octo", "new"], "", 10).await.unwrap();
    assert_eq!(ids, ["octo/new/1", "octo/new/2", "octo/new/3"]);
    assert_eq!(store.ids_after(Collection::Issues, &["octo", "old"], "", 10).await.unwrap(), Vec::<String>::new());
    let moved = read(&store, Collection::Issues, "octo/new/2").await.unwrap();
    assert_eq!((&moved["title"], &moved["repo"]), (&json!("mine"), &json!("new")));
    assert!(read(&store, Collection::CommitComments, "octo/new/sha/5").await.is_some());
    assert!(read(&store, Collection::Branches, "octo/new/feature/x").await.is_some());
    assert!(read(&store, Collection::Issues, "octo/older/1").await.is_some());
    assert_eq!(read(&store, Collection::Repos, "octo/old").await, None);
    assert_eq!(written(&store, &[comment("new"), entry("new")]).await, [WriteOutcome::Updated, WriteOutcome::Inserted]);
}

#[rstest]
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_writers_lose_nothing(#[values(On::Sqlite, On::Mongodb)] on: On) {
    const COMMITS: usize = 60;
    let (url, _directory) = fresh(on, "concurrent");
    // Stores of their own, as two processes have them.
    let (one, two) = tokio::join!(open(&url), open(&url));
    let sha = |number: usize| format!("sha{number}");
    let list = move |round: usize| {
        (0..COMMITS)
            .map(|n| commit(&sha(n), "u", json!({"message": round}), Representation::Summary))
            .collect::<Vec<_>>()
    };
    one.upsert(list(0)).await.unwrap();
    let lists = tokio::spawn(async move {
        for round in 1..40 {
            one.upsert(list(round)).await.unwrap();
        }
    });
    // Each full answer comes once: what a list takes from it is gone for good.
    let fulls = tokio::spawn(async move {
        for n in 0..COMMITS {
            let full = commit(&sha(n), "u", json!({"message": "full", "files": [n]}), Representation::Detailed);
            two.upsert(vec![full]).await.unwrap();
        }
    });
    lists.await.unwrap();
    fulls.await.unwrap();
    let store = open(&url).await;
    for number in 0..COMMITS {
        let value = read(&store, Collection::Commits, &sha(number)).await.unwrap();
        assert_eq!(value["files"], json!([number]), "a list's answer has taken the files of {value}");
    }
}

#[tokio::test]
async fn both_backends_give_back_the_same_documents() {
    let (file, _directory) = fresh(On::Sqlite, "");
    let (server, _other) = fresh(On::Mongodb, "same_as_file");
    let mut read_back = Vec::new();
    for url in [&file, &server] {
        let store = open(url).await;
        written(&store, &[issue("a", 1, "x"), commit("s", "u", json!({"files": []}), Representation::Detailed)]).await;
        written(&store, &[commit("s", "u", json!({"message": "m"}), Representation::Summary)]).await;
        store.tombstone(Collection::Issues, &["octo/a/1".to_owned()], read_at(5)).await.unwrap();
        store.rename_repository(("octo", "a"), ("octo", "b")).await.unwrap();
        let (issue, commit) =
            (read(&store, Collection::Issues, "octo/b/1").await, read(&store, Collection::Commits, "s").await);
        assert!(issue.is_some() && commit.is_some());
        read_back.push((issue, commit));
    }
    assert_eq!(read_back[0], read_back[1]);
}

fn follower(follows: &str, login: &str) -> Document {
    let json = json!({"login": login, "follows": follows});
    document(Collection::Followers, &[follows.into(), login.into()], json, Representation::Summary)
}

#[rstest]
#[tokio::test]
async fn ids_of_an_account_are_its_own_alone(#[values(On::Sqlite, On::Mongodb)] on: On) {
    let (url, _directory) = fresh(on, "ids_of_an_account");
    let store = open(&url).await;
    let all = [follower("octo", "b"), follower("octo", "a"), follower("octo-cat", "a"), follower("oct", "octo")];
    written(&store, &all).await;
    assert_eq!(store.ids_after(Collection::Followers, &["octo"], "", 10).await.unwrap(), ["octo/a", "octo/b"]);
    assert_eq!(store.ids_after(Collection::Followers, &["octo"], "octo/a", 10).await.unwrap(), ["octo/b"]);
    store.tombstone(Collection::Followers, &["octo/a".to_owned()], read_at(9)).await.unwrap();
    assert_eq!(store.ids_after(Collection::Followers, &["octo"], "", 10).await.unwrap(), ["octo/b"]);
}

#[tokio::test]
async fn first_layout_is_upgraded() {
    let (url, directory) = fresh(On::Sqlite, "layout");
    let store = open(&url).await;
    written(&store, &[issue("a", 1, "x")]).await;
    let identity = store.identity().await.unwrap();
    store.close().await;
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(directory.path().join("documents.db"));
    let mut connection = <sqlx::SqliteConnection as sqlx::Connection>::connect_with(&options).await.unwrap();
    let first = "DROP TABLE followers; DROP TABLE following; DROP TABLE org_members; DROP TABLE user_orgs; \
                 PRAGMA user_version = 1";
    sqlx::raw_sql(first).execute(&mut connection).await.unwrap();
    sqlx::Connection::close(connection).await.unwrap();
    let store = open(&url).await;
    assert_eq!(store.identity().await.unwrap(), identity);
    written(&store, &[follower("octo", "a")]).await;
    assert_eq!(store.ids_after(Collection::Issues, &["octo", "a"], "", 10).await.unwrap(), ["octo/a/1"]);
}
