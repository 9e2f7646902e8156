//! What is particular to a document store on a server with MongoDB's protocol: GHTorrent's databases, outages, refusals.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use futures::TryStreamExt;
use mongodb::bson::{self, Bson, doc};
use mongodb::{Client, Database, IndexModel};
use msght::backend_url::{BackendKind, BackendUrl};
use msght::retry::RetryPolicy;
use msght::store::BackendError;
use msght::store::documents::{Collection, Document, Documents, Representation, WriteOutcome, repair_duplicates};
use serde_json::{Value, json};
use support::servers::free_port;
use support::servers::mongodb::{MongoServer, ScriptedServer};

/// The wire version of MongoDB 4.4, the oldest that is served.
const OLDEST_SERVED: i32 = 9;

fn url(text: &str) -> BackendUrl {
    BackendUrl::parse(text, &[BackendKind::Mongodb]).unwrap()
}

fn retry_policy(seconds: u64) -> RetryPolicy {
    RetryPolicy::new(Duration::from_secs(seconds), |_| {})
}

async fn open(text: &str) -> Documents {
    Documents::open(&url(text), &retry_policy(60)).await.unwrap()
}

async fn refused(text: &str) -> BackendError {
    let began = Instant::now();
    let Err(error) = Documents::open(&url(text), &retry_policy(600)).await else { panic!("{text} was opened") };
    assert!(error.before_start, "{error}");
    assert!(began.elapsed() < Duration::from_secs(30), "opening took {:?}", began.elapsed());
    error
}

/// The database as another client sees it.
async fn database(text: &str) -> Database {
    let client = Client::with_uri_str(text).await.unwrap();
    client.default_database().unwrap()
}

fn read_at(second: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_700_000_000 + second, 0).unwrap()
}

fn issue(number: i64, title: &str) -> Document {
    Document {
        collection: Collection::Issues,
        key: vec!["octo".into(), "a".into(), number.into()],
        json: json!({"number": number, "title": title, "owner": "octo", "repo": "a"}).to_string(),
        representation: Representation::Summary,
        fetched_at: read_at(0),
        source: None,
    }
}

async fn read(store: &Documents, collection: Collection, id: &str) -> Value {
    serde_json::from_str(&store.get(collection, id).await.unwrap().expect("the document is there")).unwrap()
}

/// Whether an index on these keys is there, and whether it is unique.
async fn index(database: &Database, collection: &str, keys: &bson::Document) -> Vec<bool> {
    let indexes: Vec<IndexModel> =
        database.collection::<bson::Document>(collection).list_indexes().await.unwrap().try_collect().await.unwrap();
    let same = |index: &&IndexModel| index.keys.keys().eq(keys.keys());
    indexes
        .iter()
        .filter(same)
        .map(|index| index.options.as_ref().and_then(|options| options.unique).unwrap_or(false))
        .collect()
}

#[tokio::test]
async fn documents_have_mongodb_types_and_indexes() {
    let text = MongoServer::shared().url("types");
    let store = open(&text).await;
    store.upsert(vec![issue(1, "x")]).await.unwrap();
    let database = database(&text).await;
    let stored = database.collection::<bson::Document>("issues").find_one(doc! { "number": 1 }).await.unwrap().unwrap();
    let order: Vec<_> = stored.keys().filter(|key| *key != "_id").collect();
    assert_eq!(order, ["number", "title", "owner", "repo", "_msght"]);
    assert!(stored.get_object_id("_id").is_ok());
    let meta = stored.get_document("_msght").unwrap();
    assert_eq!(meta.get_datetime("fetched_at").unwrap().timestamp_millis(), 1_700_000_000_000);
    assert_eq!(meta.get_str("key").unwrap(), "octo/a/1");
    if MongoServer::shared().is_genuine() {
        assert_eq!(stored.get_i64("number").unwrap(), 1);
    }
    for (collection, keys) in [
        ("issues", doc! { "repo": 1, "owner": 1, "number": 1 }),
        ("repos", doc! { "name": 1, "owner.login": 1 }),
        ("commits", doc! { "sha": 1 }),
        ("commit_comments", doc! { "commit_id": 1, "id": 1 }),
        ("watchers", doc! { "repo": 1, "owner": 1, "login": 1 }),
        ("issue_events", doc! { "repo": 1, "owner": 1, "issue_id": 1, "id": 1 }),
    ] {
        assert_eq!(index(&database, collection, &keys).await, [true], "{collection}");
        assert_eq!(index(&database, collection, &doc! { "_msght.fetched_at": 1 }).await, [false], "{collection}");
    }
}

#[tokio::test]
async fn a_url_without_a_database_means_ghtorrents() {
    let server = MongoServer::start();
    let store = open(&server.url("")).await;
    store.upsert(vec![issue(1, "x")]).await.unwrap();
    let github = database(&server.url("github")).await;
    assert_eq!(github.collection::<bson::Document>("issues").count_documents(doc! {}).await.unwrap(), 1);
}

#[tokio::test]
async fn ghtorrents_documents_are_adopted() {
    let text = MongoServer::shared().url("ghtorrent");
    let database = database(&text).await;
    let issues = database.collection::<bson::Document>("issues");
    let commits = database.collection::<bson::Document>("commits");
    let keys = doc! { "repo": 1, "owner": 1, "number": 1 };
    issues.create_index(IndexModel::builder().keys(keys.clone()).build()).await.unwrap();
    let theirs = doc! { "owner": "octo", "repo": "a", "number": 1_i32, "title": "old", "state": "open" };
    let id = issues.insert_one(theirs).await.unwrap().inserted_id;
    issues.insert_one(doc! { "owner": "octo", "repo": "a", "number": 2_i32, "title": "left alone" }).await.unwrap();
    commits.insert_one(doc! { "sha": "s", "message": "old" }).await.unwrap();
    assert_eq!(index(&database, "issues", &keys).await, [false]);

    let store = open(&text).await;
    assert_eq!(index(&database, "issues", &keys).await, [true]);
    let commit = Document {
        collection: Collection::Commits,
        key: vec!["s".into()],
        json: json!({"sha": "s", "message": "new"}).to_string(),
        representation: Representation::Summary,
        fetched_at: read_at(0),
        source: None,
    };
    let batch = vec![issue(1, "new"), issue(3, "x"), commit];
    let stored = store.upsert(batch.clone()).await.unwrap();
    assert_eq!(stored.written, [WriteOutcome::Updated, WriteOutcome::Inserted, WriteOutcome::Updated]);
    let taken = issues.find_one(doc! { "number": 1 }).await.unwrap().unwrap();
    assert_eq!((taken.get("_id"), taken.get_str("title").unwrap()), (Some(&id), "new"));
    assert_eq!(taken.get("state"), None, "the document is GitHub's newest state, and nothing else");
    assert_eq!(issues.count_documents(doc! {}).await.unwrap(), 3);
    assert_eq!(read(&store, Collection::Commits, "s").await["message"], "new");
    assert_eq!(store.upsert(batch).await.unwrap().written, [WriteOutcome::Unchanged; 3]);

    // What msght has not read yet follows its repository, without a mark of msght's.
    store.rename_repository(("octo", "a"), ("octo", "b")).await.unwrap();
    let left = issues.find_one(doc! { "number": 2 }).await.unwrap().unwrap();
    assert_eq!((left.get_str("repo").unwrap(), left.get("_msght")), ("b", None));
}

#[tokio::test]
async fn ghtorrents_duplicates_are_reported_then_repaired() {
    let text = MongoServer::shared().url("duplicates");
    let database = database(&text).await;
    let issues = database.collection::<bson::Document>("issues");
    let of = |number: i32, more: bson::Document| {
        let mut issue = doc! { "owner": "octo", "repo": "a", "number": number };
        issue.extend(more);
        issue
    };
    let date = |second: i64| Bson::DateTime(bson::DateTime::from_millis(1_700_000_000_000 + second * 1000));
    for document in [
        of(1, doc! { "t": "read earlier", "_msght": { "fetched_at": date(1) } }),
        of(1, doc! { "t": "kept", "_msght": { "fetched_at": date(2) } }),
        of(1, doc! { "t": "never read", "updated_at": "2030-01-01T00:00:00Z" }),
        of(2, doc! { "t": "kept", "updated_at": "2020-01-02T00:00:00Z" }),
        of(2, doc! { "t": "older", "updated_at": "2020-01-01T00:00:00Z" }),
        of(3, doc! { "t": "first" }),
        of(3, doc! { "t": "kept" }),
        of(4, doc! { "t": "kept" }),
    ] {
        issues.insert_one(document).await.unwrap();
    }
    let error = refused(&text).await;
    let said = error.to_string();
    for part in
        ["issues", "a/octo/1 (3 documents)", "a/octo/2 (2 documents)", "msght migrate --apply --repair-duplicates"]
    {
        assert!(said.contains(part), "{part:?} is missing in: {said}");
    }
    assert!(!said.contains("octo/4"), "{said}");

    assert_eq!(repair_duplicates(&url(&text), &retry_policy(10)).await.unwrap(), [(Collection::Issues, 4)]);
    let left: Vec<_> = issues.find(doc! {}).await.unwrap().try_collect().await.unwrap();
    assert_eq!(left.len(), 4);
    assert!(left.iter().all(|issue| issue.get_str("t").is_ok_and(|text| text == "kept")), "{left:?}");
    open(&text).await;
    assert_eq!(repair_duplicates(&url(&text), &retry_policy(10)).await.unwrap(), []);
}

#[tokio::test]
async fn documents_without_key_are_reported_and_kept() {
    let text = MongoServer::shared().url("incomplete");
    let database = database(&text).await;
    let forks = database.collection::<bson::Document>("forks");
    for name in ["x", "y"] {
        forks.insert_one(doc! { "owner": "octo", "repo": "a", "full_name": name }).await.unwrap();
    }
    let said = refused(&text).await.to_string();
    assert!(said.contains("forks") && said.contains("a/octo/(none)") && said.contains("lack a part"), "{said}");
    assert_eq!(repair_duplicates(&url(&text), &retry_policy(10)).await.unwrap(), []);
    assert_eq!(forks.count_documents(doc! {}).await.unwrap(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn repeated_server_kills_lose_nothing() {
    const BATCHES: i64 = 60;
    const IN_A_BATCH: i64 = 20;
    let server = Arc::new(MongoServer::start());
    let text = server.url("killed");
    let told = Arc::new(Mutex::new(Vec::<String>::new()));
    let lines = Arc::clone(&told);
    let retry_policy =
        RetryPolicy::new(Duration::from_secs(120), move |line| lines.lock().unwrap().push(line.to_owned()));
    let store = Documents::open(&url(&text), &retry_policy).await.unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let killer = {
        let (server, done) = (Arc::clone(&server), Arc::clone(&done));
        std::thread::spawn(move || {
            let mut kills = 0;
            while !done.load(Ordering::Relaxed) && kills < 4 {
                std::thread::sleep(Duration::from_millis(250));
                server.kill();
                std::thread::sleep(Duration::from_millis(if kills == 1 { 1500 } else { 100 }));
                server.restart();
                kills += 1;
            }
            kills
        })
    };
    let mut generation = 0;
    for batch in 0..BATCHES {
        // Half of each batch is new, half is a change of the batch before.
        let issues = (0..IN_A_BATCH).map(|n| issue(batch * IN_A_BATCH / 2 + n, &format!("{batch}"))).collect();
        let stored = store.upsert(issues).await.unwrap();
        let fresh = stored.written.iter().filter(|written| **written == WriteOutcome::Inserted).count();
        assert_eq!(fresh, if batch == 0 { 20 } else { 10 }, "batch {batch}: {:?}", stored.written);
        assert!(stored.written.iter().all(|written| *written != WriteOutcome::Unchanged), "batch {batch}");
        assert!(stored.generation.unwrap() > generation);
        generation = stored.generation.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    done.store(true, Ordering::Relaxed);
    assert!(killer.join().unwrap() >= 2);
    let issues = database(&text).await.collection::<bson::Document>("issues");
    let expected = u64::try_from((BATCHES + 1) * IN_A_BATCH / 2).unwrap();
    assert_eq!(issues.count_documents(doc! {}).await.unwrap(), expected);
    for number in [0, 15, 305, (BATCHES + 1) * IN_A_BATCH / 2 - 1] {
        let title = (number / 10).min(BATCHES - 1).to_string();
        assert_eq!(read(&store, Collection::Issues, &format!("octo/a/{number}")).await["title"], title.as_str());
    }
    let told = told.lock().unwrap();
    assert!(told.iter().all(|line| !line.contains("Topology")), "{told:?}");
}

#[tokio::test]
async fn absent_server_is_an_error_after_timeout() {
    let server = MongoServer::start();
    let store = Documents::open(&url(&server.url("away")), &retry_policy(1)).await.unwrap();
    server.kill();
    let error = store.upsert(vec![issue(1, "x")]).await.unwrap_err();
    assert!(!error.before_start && error.to_string().contains("check that the server runs"), "{error}");
}

#[tokio::test]
async fn unreachable_host_is_an_error_at_once() {
    let text = format!("mongodb://me:s3cr%21t@127.0.0.1:{}/db", free_port());
    let error = refused(&text).await;
    let said = error.to_string();
    assert!(said.contains("Connection refused") && said.contains("right host, port"), "{said}");
    assert!(!said.contains("s3cr") && said.contains("me:***@127.0.0.1"), "{said}");
    let said = refused("mongodb://no-such-host.invalid/db?serverSelectionTimeoutMS=1000").await.to_string();
    assert!(said.contains("no-such-host.invalid"), "{said}");
}

#[tokio::test]
async fn rejected_url_hides_password() {
    for text in [
        "mongodb://me:s3cr:t/x@127.0.0.1/db",
        "mongodb://me:s3cr@t@127.0.0.1/db",
        "mongodb://me:s3cr%zzt@127.0.0.1/db?w=0",
        "mongodb://me:s3crt@127.0.0.1/db?readPreference=nearby",
    ] {
        let said = refused(text).await.to_string();
        assert!(!said.contains("s3cr"), "{said}");
    }
    let said = refused("mongodb://127.0.0.1/db?w=0").await.to_string();
    assert!(said.contains("w=0"), "{said}");
}

#[tokio::test]
async fn a_server_that_is_too_old_says_so() {
    let server = ScriptedServer::start(OLDEST_SERVED - 1, |_, _| Some(doc! { "ok": 1 }));
    let said = refused(&server.url("", "db")).await.to_string();
    assert!(said.contains("MongoDB 4.4 or newer"), "{said}");
}

#[tokio::test]
async fn a_wrong_password_says_so_and_is_not_shown() {
    let server = ScriptedServer::start(OLDEST_SERVED, |command, _| match command {
        "saslStart" => Some(failure(18, "AuthenticationFailed", "Authentication failed.")),
        _ => Some(doc! { "ok": 1 }),
    });
    let said = refused(&server.url("me:s3cret@", "db")).await.to_string();
    assert!(said.contains("Authentication failed") && said.contains("authSource"), "{said}");
    assert!(!said.contains("s3cret"), "{said}");
}

#[tokio::test]
async fn missing_role_is_named() {
    let server = ScriptedServer::start(OLDEST_SERVED, |command, _| match command {
        "createIndexes" => Some(failure(13, "Unauthorized", "not authorized on db to execute command createIndexes")),
        command => Some(healthy(command)),
    });
    let said = refused(&server.url("", "db")).await.to_string();
    assert!(said.contains("not authorized") && said.contains("readWrite") && said.contains("events"), "{said}");
}

#[tokio::test]
async fn a_full_disk_of_the_server_says_so() {
    let server = ScriptedServer::start(OLDEST_SERVED, |command, _| match command {
        "insert" => Some(doc! { "ok": 1, "n": 0, "writeErrors": [
            { "index": 0, "code": 14031, "errmsg": "available disk space of 1 bytes is less than required" },
        ] }),
        command => Some(healthy(command)),
    });
    let store = open(&server.url("", "db")).await;
    let said = store.upsert(vec![issue(1, "x")]).await.unwrap_err().to_string();
    assert!(said.contains("disk is full") && said.contains("free some space on the server"), "{said}");
    assert!(said.contains("a/octo/1 of issues"), "{said}");
}

#[tokio::test]
async fn what_passes_is_tried_again() {
    let server = ScriptedServer::start(OLDEST_SERVED, |command, before| {
        Some(match (command, before) {
            ("insert", 0) => failure(10107, "NotWritablePrimary", "not primary"),
            ("insert", 1) => return None,
            ("insert", 2) => doc! { "ok": 1, "n": 1, "writeConcernError": {
                "code": 64, "codeName": "WriteConcernFailed", "errmsg": "waiting for replication timed out",
            } },
            ("insert", 3) => failure(112, "WriteConflict", "write conflict"),
            ("insert", _) => doc! { "ok": 1, "n": 1 },
            ("findAndModify", 0) => failure(11602, "InterruptedDueToReplStateChange", "interrupted"),
            ("findAndModify", _) => doc! { "ok": 1, "value": { "_id": "store", "id": "x", "generation": 7.0 } },
            (command, _) => healthy(command),
        })
    });
    let store = open(&server.url("", "db")).await;
    let stored = store.upsert(vec![issue(1, "x")]).await.unwrap();
    assert_eq!((stored.written, stored.generation), (vec![WriteOutcome::Inserted], Some(7)));
    assert_eq!(server.asked().iter().filter(|command| *command == "insert").count(), 5);
}

#[tokio::test]
async fn foreign_unique_index_is_an_error() {
    let server = ScriptedServer::start(OLDEST_SERVED, |command, _| match command {
        "insert" => Some(doc! { "ok": 1, "n": 0, "writeErrors": [
            { "index": 0, "code": 11000, "errmsg": "E11000 duplicate key error index: theirs" },
        ] }),
        command => Some(healthy(command)),
    });
    let store = Documents::open(&url(&server.url("", "db")), &retry_policy(0)).await.unwrap();
    let said = store.upsert(vec![issue(1, "x")]).await.unwrap_err().to_string();
    assert!(said.contains("index: theirs") && said.contains("drop that index"), "{said}");
}

#[tokio::test]
async fn a_document_that_mongodb_cant_hold_is_named() {
    let store = open(&MongoServer::shared().url("too_large")).await;
    let stored = store.upsert(vec![issue(7, &"x".repeat(17 * 1024 * 1024)), issue(8, "small")]).await.unwrap();
    assert_eq!(stored.written, [WriteOutcome::Rejected, WriteOutcome::Inserted], "the others are stored");
    let [(0, said)] = &stored.rejected[..] else { panic!("{:?}", stored.rejected) };
    assert!(said.contains("octo/a/7 of issues") && said.contains("16777216"), "{said}");
    // Together they are larger than a message may be.
    let large: Vec<Document> = (0..5).map(|number| issue(number, &"x".repeat(12 * 1024 * 1024))).collect();
    assert_eq!(store.upsert(large).await.unwrap().written, [WriteOutcome::Inserted; 5]);
    assert_eq!(store.ids_after(Collection::Issues, &["octo", "a"], "", 9).await.unwrap().len(), 6);
}

#[tokio::test]
async fn dropped_store_gets_a_new_identity() {
    let text = MongoServer::shared().url("dropped");
    let store = open(&text).await;
    let before = store.identity().await.unwrap();
    database(&text).await.collection::<bson::Document>("msght_store").delete_many(doc! {}).await.unwrap();
    assert_eq!(store.upsert(vec![issue(1, "x")]).await.unwrap().generation, Some(1));
    assert_ne!(store.identity().await.unwrap().id, before.id);
}

fn failure(code: i32, name: &str, message: &str) -> bson::Document {
    doc! { "ok": 0, "code": code, "codeName": name, "errmsg": message }
}

/// What an empty database answers.
fn healthy(command: &str) -> bson::Document {
    let found = match command {
        "find" => vec![doc! { "_id": "store", "id": "x", "generation": 0 }],
        _ => vec![],
    };
    doc! { "ok": 1, "n": 1, "cursor": { "id": 0_i64, "ns": "db.x", "firstBatch": found } }
}
