//! Servers are killed and come back: the work waits, goes on, and ends as if nothing had happened.

use std::time::Duration;

use tokio::task::spawn_blocking;

use fake_github::{FakeGitHub, Options, World, WorldSize};
use support::backends::Backends;
use support::program::{Sandbox, finish};
use support::servers::mariadb::MariaDb;
use support::servers::mongodb::MongoServer;
use support::servers::rabbitmq::RabbitServer;
use support::stores::{DocumentStore, RelationalStore, StoredData, difference};
use support::workers::{assert_no_concurrent_work, drain, load, worker};

/// Servers that no other test uses, so that they can be killed.
struct Own {
    mongodb: MongoServer,
    mariadb: MariaDb,
}

impl Own {
    async fn start() -> Self {
        blocking(|| Self { mongodb: MongoServer::start(), mariadb: MariaDb::start() }).await
    }

    fn sandbox(&self, fake: &FakeGitHub) -> Sandbox {
        let documents = DocumentStore::Mongodb { url: self.mongodb.url("own"), database: "own".to_owned() };
        self.mariadb.execute("CREATE DATABASE own");
        let relational = RelationalStore::Mysql { url: self.mariadb.url("own") };
        Sandbox::at(fake.url(), StoredData { documents, relational })
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    spawn_blocking(work).await.unwrap()
}

#[tokio::test]
async fn retrieval_survives_server_restarts() {
    let options = Options { latency: Duration::from_millis(10), ..Options::unlimited() };
    let fake = FakeGitHub::start(World::sized(5, WorldSize::of(500, 100, 40)), options).await;
    let undisturbed = Sandbox::over(fake.url(), Backends::Servers, Backends::Servers);
    undisturbed.mirror(&["contoso/huge"]).await;
    let own = Own::start().await;
    let sandbox = own.sandbox(&fake);
    let mut child = sandbox.spawn(&["retrieve-repo", "contoso/huge"]);
    let before = fake.request_count();
    while fake.request_count() < before + 50 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut kills = 0;
    while child.try_wait().unwrap().is_none() {
        tokio::time::sleep(Duration::from_millis(400)).await;
        if kills < 8 {
            match kills % 2 {
                0 => own.mariadb.kill(),
                _ => own.mongodb.kill(),
            }
            tokio::time::sleep(Duration::from_millis(if kills < 2 { 7000 } else { 200 })).await;
            match kills % 2 {
                0 => own.mariadb.restart(),
                _ => own.mongodb.restart(),
            }
            kills += 1;
        }
    }
    let output = finish(child).await;
    assert_eq!(output.code, Some(0), "{}\n{}", output.out, output.err);
    assert!(kills >= 4, "the run ended after {kills} kills");
    for server in ["mysql://", "mongodb://"] {
        let told = |end: &str| output.err.lines().any(|line| line.contains(server) && line.contains(end));
        assert!(told("can't be reached") && told("is back"), "{server} in\n{}", output.err);
    }
    assert_eq!(difference(&undisturbed.dump().await, &sandbox.dump().await), None);
}

#[tokio::test]
async fn absent_server_ends_the_run() {
    let options = Options { latency: Duration::from_millis(20), ..Options::unlimited() };
    let fake = FakeGitHub::start(World::sized(5, WorldSize::of(500, 100, 40)), options).await;
    let own = Own::start().await;
    let sandbox = own.sandbox(&fake);
    let child = sandbox.spawn(&["retrieve-repo", "contoso/huge", "--store-timeout", "2s"]);
    while fake.request_count() < 50 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    own.mariadb.kill();
    let output = finish(child).await;
    output.assert_output(1, &["error: contoso/huge: ", "mysql://root@127.0.0.1", "check that the server runs"]);
    // At the start it is the settings that are wrong, or the server: nothing has begun.
    let output = sandbox.run(&["retrieve-repo", "contoso/huge"]).await;
    output.assert_output(2, &["opening the relational store mysql://root@127.0.0.1", "check that the server runs"]);
    own.mariadb.restart();
    sandbox.mirror(&["contoso/huge"]).await;
}

#[tokio::test]
async fn four_workers_survive_server_restarts() {
    const REPOSITORIES: usize = 200;
    let options = Options { latency: Duration::from_millis(2), ..Options::unlimited() };
    let fake = FakeGitHub::start(World::many(7, REPOSITORIES), options).await;
    let own = Own::start().await;
    let rabbitmq = blocking(RabbitServer::start).await;
    let sandbox = own.sandbox(&fake).with("MSGHT_QUEUE__URL", &rabbitmq.url()).with("MSGHT_QUEUE__RETRY_AFTER", "1s");
    load(&sandbox, REPOSITORIES).await;
    let mut workers: Vec<_> = (0..4).map(|number| worker(&sandbox, number)).collect();
    for round in 0..6 {
        tokio::time::sleep(Duration::from_millis(1500)).await;
        match round % 3 {
            0 => own.mariadb.kill(),
            1 => own.mongodb.kill(),
            _ => rabbitmq.kill(),
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        match round % 3 {
            0 => own.mariadb.restart(),
            1 => own.mongodb.restart(),
            _ => rabbitmq.restart(),
        }
        // A worker dies with every second server, and another one takes its place.
        if round % 2 == 0 {
            workers[round / 2].kill().await.unwrap();
            workers.push(worker(&sandbox, 10 + round));
        }
    }
    for child in workers {
        let output = finish(child).await;
        assert!(matches!(output.code, Some(0) | None), "{:?}\n{}\n{}", output.code, output.out, output.err);
    }
    drain(&sandbox).await;
    assert_no_concurrent_work(&fake);
    let alone = Sandbox::over(fake.url(), Backends::Servers, Backends::Servers);
    let names: Vec<String> = (0..REPOSITORIES).map(|r| format!("contoso/r{r:03}")).collect();
    alone.mirror(&names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    assert_eq!(difference(&alone.dump().await, &sandbox.dump().await), None);
}
