//! Pins what the program makes on servers: MariaDB's tables, MongoDB's indexes.
//!
//! After a wanted change: `INSTA_UPDATE=always cargo test --test servers schema`, then read the difference with git.

use futures::TryStreamExt as _;

use fake_github::{FakeGitHub, Options, World, names};
use support::backends::Backends;
use support::program::Sandbox;
use support::snapshot::assert_snapshot;
use support::stores::{DocumentStore, RelationalStore};

#[tokio::test]
async fn schema_of_stores_on_servers() {
    let fake = FakeGitHub::start(World::edge_cases(1), Options::unlimited()).await;
    let sandbox = Sandbox::over(fake.url(), Backends::Servers, Backends::Servers);
    sandbox.mirror(&[names::EMPTY]).await;
    assert_snapshot("schema_mariadb", &tables(&sandbox.stores().relational).await);
    assert_snapshot("schema_mongodb", &indexes(&sandbox.stores().documents).await);
}

/// How each table is created, without its counter's state.
async fn tables(store: &RelationalStore) -> String {
    let sql = "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE() ORDER BY table_name";
    let mut all = String::new();
    for name in store.query(sql).await.into_iter().flatten() {
        let created = store.query(&format!("SHOW CREATE TABLE `{name}`")).await.remove(0).remove(1);
        let words = created.split(' ').filter(|word| !word.starts_with("AUTO_INCREMENT="));
        all += &format!("{};\n\n", words.collect::<Vec<_>>().join(" "));
    }
    all
}

/// A line an index of each collection: its keys, and whether it is unique.
async fn indexes(store: &DocumentStore) -> String {
    let DocumentStore::Mongodb { url, database } = store else { panic!("not on MongoDB") };
    let database = mongodb::Client::with_uri_str(url).await.unwrap().database(database);
    let mut lines = Vec::new();
    for name in database.list_collection_names().await.unwrap() {
        let collection = database.collection::<mongodb::bson::Document>(&name);
        let indexes: Vec<mongodb::IndexModel> = collection.list_indexes().await.unwrap().try_collect().await.unwrap();
        for index in indexes {
            let unique = index.options.and_then(|options| options.unique).unwrap_or_default();
            lines.push(format!("{name}: {}{}\n", index.keys, if unique { ", unique" } else { "" }));
        }
    }
    lines.sort();
    lines.concat()
}
