//! Servers that can't be used as they are set: a clear message, exit code 2 before any work begins, and no password
//! anywhere. And what `msght config --check` says of each store.

mod old_mysql;
mod old_rabbitmq;

use std::net::{TcpListener, TcpStream};

use mongodb::bson::doc;
use rstest::rstest;
use serde_json::Value;

use fake_github::{FakeGitHub, Options, World, names};
use support::backends::Backends;
use support::program::{RunOutput, Sandbox};
use support::servers::azurite::{self, Azurite};
use support::servers::free_port;
use support::servers::mariadb::MariaDb;
use support::servers::mongodb::{MongoServer, ScriptedServer};
use support::servers::rabbitmq::RabbitServer;

/// What must never be seen; of the other passwords every part would be noticed too.
const PASSWORD: &str = "p@ss/w:rd?#%\u{e9}s3cret";
/// Never connected to: whatever fails here fails before.
const NOWHERE: &str = "http://127.0.0.1:9/";
/// The oldest wire version that the MongoDB driver takes: that of MongoDB 4.4.
const WIRE: i32 = 9;

fn encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

fn embedded() -> Sandbox {
    Sandbox::over(NOWHERE, Backends::Embedded, Backends::Embedded)
}

/// No part of the password in what was printed, nor in any file that was written, in whatever form.
fn shows_no_password(sandbox: &Sandbox, output: &RunOutput) {
    let mut seen = format!("{}\n{}", output.out, output.err);
    let mut directories = vec![sandbox.path().to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap().flatten() {
            match entry.path() {
                path if path.is_dir() => directories.push(path),
                path => seen.push_str(&String::from_utf8_lossy(&std::fs::read(path).unwrap())),
            }
        }
    }
    for secret in ["s3cret", PASSWORD, &encoded(PASSWORD)] {
        assert!(!seen.contains(secret), "{secret} is seen in\n{seen}");
    }
}

/// A user of the shared server with these rights on a fresh database; the URL without scheme and user.
fn mariadb_user(name: &str, rights: &str) -> String {
    let server = MariaDb::shared();
    let database = server.create_database();
    let password = PASSWORD.replace('\'', "''");
    server.execute(&format!(
        "CREATE USER IF NOT EXISTS '{name}'@'%' IDENTIFIED BY '{password}'; GRANT {rights} ON {database}.* TO '{name}'@'%'"
    ));
    format!("127.0.0.1:{}/{database}", server.port())
}

async fn refused(sandbox: &Sandbox, shown: &[&str]) {
    for args in [&["retrieve-repo", "a/b"][..], &["-v", "retrieve-repo", "a/b"]] {
        let output = sandbox.run(args).await;
        output.assert_output(2, shown);
        shows_no_password(sandbox, &output);
    }
}

#[tokio::test]
async fn mariadb_login_errors_are_reported() {
    let there = mariadb_user("reader", "SELECT");
    let wrong = embedded().with("MSGHT_SQL__URL", &format!("mysql://reader:s3cret@{there}"));
    refused(&wrong, &["Access denied", "sql.url", "reader:***@127.0.0.1", "%40 for @"]).await;
    let url = format!("mysql://root:@127.0.0.1:{}/not_there", MariaDb::shared().port());
    refused(&embedded().with("MSGHT_SQL__URL", &url), &["Unknown database 'not_there'", "CREATE DATABASE"]).await;
}

#[tokio::test]
async fn rights_that_are_missing_in_mariadb_are_named() {
    let there = mariadb_user("reader_only", "SELECT");
    let url = format!("mysql://reader_only:{}@{there}", encoded(PASSWORD));
    let sandbox = embedded().with("MSGHT_SQL__URL", &url);
    refused(&sandbox, &["CREATE command denied", "GRANT ALL"]).await;
    let checked = sandbox.run(&["config", "--check"]).await;
    assert!(checked.out.contains("CREATE command denied"), "{}\n{}", checked.out, checked.err);
    checked.assert_output(2, &["sql"]);
}

#[tokio::test]
async fn password_characters_must_be_escaped() {
    let fake = FakeGitHub::start(World::edge_cases(1), Options::unlimited()).await;
    let there = mariadb_user("escaped", "ALL");
    let url = format!("mysql://escaped:{}@{there}", encoded(PASSWORD));
    let sandbox = Sandbox::over(fake.url(), Backends::Embedded, Backends::Embedded).with("MSGHT_SQL__URL", &url);
    let output = sandbox.mirror(&["-v", names::QUIET]).await;
    shows_no_password(&sandbox, &output);
    for url in [
        format!("mysql://escaped:{PASSWORD}@{there}"),
        format!("mysql://escaped:s3cret/x@{there}"),
        format!("mysql://escaped:s3cret@x@{there}"),
    ] {
        refused(&embedded().with("MSGHT_SQL__URL", &url), &["percent-encoded", "%40"]).await;
    }
}

/// A server that greets as one of an older version does, until this process ends; its port.
fn old_server(serve: fn(TcpStream, &str) -> Option<()>, version: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || serve(stream, version));
        }
    });
    port
}

#[tokio::test]
async fn a_mysql_that_is_too_old_is_said() {
    let port = old_server(old_mysql::serve, "5.6.51-log");
    let url = format!("mysql://me:s3cret@127.0.0.1:{port}/github?ssl-mode=disabled");
    refused(&embedded().with("MSGHT_SQL__URL", &url), &["MySQL 5.6.51", "too old", "MySQL 8.0"]).await;
}

#[tokio::test]
async fn a_rabbitmq_that_is_too_old_is_said() {
    let port = old_server(old_rabbitmq::serve, "3.8.9");
    let url = format!("amqp://me:s3cret@127.0.0.1:{port}/%2F");
    let sandbox = embedded().with("MSGHT_QUEUE__URL", &url);
    let output = sandbox.run(&["retrieve-repos", "--drain"]).await;
    output.assert_output(2, &["RabbitMQ 3.8.9 is too old", "3.10 or newer"]);
    assert!(!output.err.contains("s3cret"), "{}", output.err);
}

#[tokio::test]
async fn a_full_disk_of_mariadb_is_said() {
    let sandbox = Sandbox::over(NOWHERE, Backends::Embedded, Backends::Servers);
    let support::stores::RelationalStore::Mysql { url } = &sandbox.stores().relational else { panic!("a server's") };
    let database = url.rsplit('/').next().unwrap();
    sandbox.run(&["retrieve-repo", "a/b"]).await;
    // A table in memory that is full gives the error of a full disk. It is written to by what notes another document store.
    MariaDb::shared().execute(&format!(
        "USE {database}; SET SESSION max_heap_table_size = 16384; CREATE TABLE full (id CHAR(64)) ENGINE = MEMORY; \
         CREATE TRIGGER fill BEFORE INSERT ON msght_document_store FOR EACH ROW INSERT INTO full VALUES ('more'); \
         DELETE FROM msght_document_store"
    ));
    let fill = format!(
        "USE {database}; INSERT INTO full WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 90) \
         SELECT i FROM n"
    );
    let full = (0..100).find_map(|_| MariaDb::shared().try_execute(&fill).err()).expect("the table is full");
    assert!(full.to_string().contains("is full"), "{full}");
    let shown = ["the server's disk is full: free some space there", "resumes where it stopped"];
    sandbox.run(&["retrieve-repo", "a/b"]).await.assert_output(2, &shown);
}

#[rstest]
#[case::wrong_password("saslStart", 18, "Authentication failed.", "me:s3cret@", &["Authentication failed", "authSource"])]
#[case::no_right_to_make_indexes(
    "createIndexes", 13, "not authorized on db to execute command createIndexes", "", &["not authorized", "readWrite"]
)]
#[case::a_full_disk("createIndexes", 14031, "no space left", "", &["no space left", "free some space on the server"])]
#[tokio::test]
async fn what_a_mongodb_refuses_is_said(
    #[case] refusing: &'static str,
    #[case] code: i32,
    #[case] message: &'static str,
    #[case] user: &str,
    #[case] shown: &[&str],
) {
    let server = ScriptedServer::start(WIRE, move |command, _| {
        Some(match command {
            command if command == refusing => doc! { "ok": 0, "code": code, "codeName": "Refused", "errmsg": message },
            "listIndexes" | "find" => {
                doc! { "ok": 1, "cursor": { "id": 0_i64, "ns": "db.events", "firstBatch": [] } }
            }
            _ => doc! { "ok": 1 },
        })
    });
    refused(&embedded().with("MSGHT_DOCUMENTS__URL", &server.url(user, "db")), shown).await;
}

#[tokio::test]
async fn an_unescaped_password_of_mongodb_is_said() {
    let url = format!("mongodb://me:{PASSWORD}@127.0.0.1:{}/db", free_port());
    refused(&embedded().with("MSGHT_DOCUMENTS__URL", &url), &["documents.url", "%XX"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_broker_refuses_is_said() {
    let broker = RabbitServer::shared();
    let port = broker.port();
    for (url, shown) in [
        (format!("amqp://guest:guest@127.0.0.1:{port}/not-there"), &["not-there", "rabbitmqctl add_vhost"][..]),
        (format!("amqp://guest:s3cret@127.0.0.1:{port}/v0"), &["queue.url", "user and password"]),
        (format!("amqp://guest:{PASSWORD}@127.0.0.1:{port}/v0"), &["percent-encode"]),
    ] {
        let sandbox = embedded().with("MSGHT_QUEUE__URL", &url);
        let output = sandbox.run(&["retrieve-repos", "--drain"]).await;
        output.assert_output(2, shown);
        shows_no_password(&sandbox, &output);
        let checked = sandbox.run(&["config", "--check"]).await;
        checked.assert_output(2, &["queue"]);
        shows_no_password(&sandbox, &checked);
        assert!(shown.iter().all(|text| checked.out.contains(text)), "{}", checked.out);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_queue_arguments_are_reported_early() {
    use lapin::options::QueueDeclareOptions;
    use lapin::types::{AMQPValue, FieldTable};
    let url = RabbitServer::shared().vhost_url();
    let connection = lapin::Connection::connect(&url, lapin::ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    let mut arguments = FieldTable::default();
    arguments.insert("x-max-length".into(), AMQPValue::LongInt(5));
    channel.queue_declare("msght.projects".into(), durable, arguments).await.unwrap();
    let sandbox = embedded().with("MSGHT_QUEUE__URL", &url);
    let checked = sandbox.run(&["config", "--check"]).await;
    assert!(checked.out.contains("created with other properties"), "{}", checked.out);
    checked.assert_output(2, &["queue"]);
    sandbox.run(&["retrieve-repos", "--drain"]).await.assert_output(2, &["created with other properties"]);
}

/// What `config --check --json` says of a store.
async fn checked(sandbox: &Sandbox, code: i32) -> Value {
    let output = sandbox.run(&["config", "--check", "--json"]).await;
    assert_eq!(output.code, Some(code), "{}\n{}", output.out, output.err);
    shows_no_password(sandbox, &output);
    serde_json::from_str(&output.out).unwrap()
}

fn found<'a>(checked: &'a Value, store: &str) -> &'a str {
    checked[store]["found"].as_str().unwrap_or_else(|| panic!("{checked:#}"))
}

#[tokio::test]
async fn check_creates_no_store() {
    let fake = FakeGitHub::start(World::edge_cases(1), Options::unlimited()).await;
    let sandbox = Sandbox::over(fake.url(), Backends::Embedded, Backends::Embedded);
    let before = checked(&sandbox, 0).await;
    for store in ["documents", "sql", "queue"] {
        assert_eq!(found(&before, store), "not created yet: the first command creates it");
    }
    assert!(!sandbox.data_dir().exists(), "nothing was made");
    sandbox.mirror(&[names::QUIET]).await;
    sandbox.run(&["retrieve-repos", "--drain"]).await.assert_output(0, &[]);
    let after = checked(&sandbox, 0).await;
    assert!(found(&after, "documents").contains("layout 3, writable"), "{after:#}");
    assert!(found(&after, "sql").contains("tables at version") && !found(&after, "sql").contains("more"), "{after:#}");
    assert!(after["queue"]["product"].as_str().unwrap().starts_with("SQLite 3."), "{after:#}");
    let output = sandbox.run(&["config", "--check"]).await;
    assert!(output.out.lines().count() == 4 && output.out.contains("github.db"), "{}", output.out);
}

#[tokio::test]
async fn the_check_collects_every_problem() {
    let sandbox = embedded()
        .with("MSGHT_DOCUMENTS__URL", &format!("mongodb://me:s3cret@127.0.0.1:{}/db", free_port()))
        .with("MSGHT_SQL__URL", &format!("mysql://me:s3cret@127.0.0.1:{}/db", free_port()))
        .with("MSGHT_QUEUE__URL", "sqlite:file/queue.db");
    std::fs::write(sandbox.path().join("file"), "no directory").unwrap();
    let all = checked(&sandbox, 2).await;
    for (store, advice) in [("documents", "the server runs"), ("sql", "the server runs"), ("queue", "directory")] {
        assert_eq!(all[store]["usable"], false);
        assert!(all[store]["advice"].as_str().unwrap().contains(advice), "{all:#}");
    }
    let same = embedded().with("MSGHT_DOCUMENTS__URL", "sqlite:one.db").with("MSGHT_SQL__URL", "sqlite:one.db");
    assert!(checked(&same, 2).await["sql"]["problem"].as_str().unwrap().contains("same file"));
}

#[tokio::test(flavor = "multi_thread")]
async fn check_describes_servers() {
    let fake = FakeGitHub::start(World::edge_cases(1), Options::unlimited()).await;
    let sandbox = Sandbox::over(fake.url(), Backends::Servers, Backends::Servers)
        .with("MSGHT_QUEUE__URL", &RabbitServer::shared().vhost_url());
    let before = checked(&sandbox, 0).await;
    assert!(before["sql"]["product"].as_str().unwrap().starts_with("MariaDB 1"), "{before:#}");
    assert!(before["queue"]["product"].as_str().unwrap().starts_with("RabbitMQ "), "{before:#}");
    for store in ["documents", "sql", "queue"] {
        assert!(found(&before, store).contains("the first command creates"), "{before:#}");
    }
    let again = checked(&sandbox, 0).await;
    assert_eq!(before, again, "looking makes nothing");
    sandbox.mirror(&[names::QUIET]).await;
    sandbox.run(&["retrieve-repos", "--drain"]).await.assert_output(0, &[]);
    let after = checked(&sandbox, 0).await;
    assert!(found(&after, "documents").ends_with("writable"), "{after:#}");
    assert!(found(&after, "sql").contains("tables at version"), "{after:#}");
    assert!(found(&after, "queue").contains("queue msght.projects: 0 messages"), "{after:#}");
    assert!(!MongoServer::shared().is_genuine() || after["documents"]["product"] != "");
}

/// What `msght check` says of one part, with its exit code.
async fn part(sandbox: &Sandbox, name: &str) -> (Option<i32>, Value) {
    let output = sandbox.run(&["check", "--json"]).await;
    let json: Value = serde_json::from_str(&output.out).unwrap_or_else(|error| panic!("{error}\n{}", output.err));
    shows_no_password(sandbox, &output);
    assert!(!output.out.contains(azurite::KEY) && !output.err.contains(azurite::KEY), "{}\n{}", output.out, output.err);
    (output.code, json["parts"][name].clone())
}

#[tokio::test]
async fn check_tries_the_azure_container() {
    let fake = FakeGitHub::start(World::edge_cases(1), Options::unlimited()).await;
    let azure = Azurite::start();
    let sandbox = |endpoint: &str, key: &str| {
        Sandbox::over(fake.url(), Backends::Embedded, Backends::Embedded)
            .with("MSGHT_DUMP__TARGET", "az://dumps/daily")
            .with("AZURE_STORAGE_ACCOUNT", azurite::ACCOUNT)
            .with("AZURE_STORAGE_ACCESS_KEY", key)
            .with("MSGHT_DUMP__AZURE_ENDPOINT", endpoint)
    };
    let fine = sandbox(&azure.endpoint, azurite::KEY);
    let (code, found) = part(&fine, "dump").await;
    assert_eq!((code, found["usable"].as_bool()), (Some(0), Some(true)), "{found}");
    assert!(found["found"].as_str().unwrap().contains("the container does not exist yet"), "{found}");
    azure.create_container("dumps");
    let (_, found) = part(&fine, "dump").await;
    assert_eq!((&found["product"], &found["found"]), (&"Azure Blob Storage".into(), &"writable".into()), "{found}");

    let (code, found) = part(&sandbox(&azure.endpoint, "d3Jvbmcga2V5"), "dump").await;
    assert_eq!((code, found["usable"].as_bool()), (Some(1), Some(false)), "{found}");
    assert!(found["problem"].as_str().unwrap().contains("the account rejected its key (403"), "{found}");
    let (_, found) = part(&sandbox(NOWHERE, azurite::KEY), "dump").await;
    assert!(found["advice"].as_str().unwrap().contains("dump.azure_endpoint"), "{found}");
    let without =
        Sandbox::over(fake.url(), Backends::Embedded, Backends::Embedded).with("MSGHT_DUMP__TARGET", "az://dumps");
    let (code, found) = part(&without, "dump").await;
    assert_eq!(code, Some(1));
    assert!(found["advice"].as_str().unwrap().contains("AZURE_STORAGE_ACCESS_KEY"), "{found}");
}

#[tokio::test]
async fn check_tries_servers_and_where_telemetry_goes() {
    let fake = FakeGitHub::start(World::edge_cases(1), Options::unlimited()).await;
    let key = "00000000-1111-2222-3333-444444444444";
    let sandbox = |endpoint: &str| {
        let connection = format!("InstrumentationKey={key};IngestionEndpoint={endpoint}");
        Sandbox::over(fake.url(), Backends::Servers, Backends::Servers)
            .with("MSGHT_QUEUE__URL", &RabbitServer::shared().vhost_url())
            .with("APPLICATIONINSIGHTS_CONNECTION_STRING", &connection)
    };
    let output = sandbox(fake.url()).run(&["check"]).await;
    output.assert_output(0, &[]);
    for product in ["MariaDB", "RabbitMQ", "Application Insights"] {
        assert!(output.out.contains(product), "{product} is not in\n{}", output.out);
    }
    assert!(!output.out.contains("1111-2222"), "{}", output.out);
    let (code, found) = part(&sandbox(NOWHERE), "telemetry").await;
    assert_eq!(code, Some(1));
    assert!(found["advice"].as_str().unwrap().contains("IngestionEndpoint"), "{found}");
    let sandbox = sandbox("ftp://nowhere/");
    sandbox.run(&["check"]).await.assert_output(2, &["telemetry.connection_string", "neither http nor https"]);
}
