//! Two processes write the same people at the same moment.

use std::time::Duration;

use sha2::{Digest, Sha256};
use sqlx::mysql::MySqlConnection;
use sqlx::{AssertSqlSafe, Connection};

use fake_github::{FakeGitHub, Options, UserKind, World, names};
use support::backends::Backends;
use support::program::{Sandbox, finish};
use support::stores::{RelationalStore, difference};

/// Long enough for a run over a small repository to come to what it has to wait for, or to its end if it doesn't wait.
const MEANWHILE: Duration = Duration::from_secs(10);

/// The login of an author who is known by an address alone (`docs/data-model.md`, `users`: derived from it).
fn fake_login(email: &str) -> String {
    let digest = Sha256::digest(format!("email:{email}").as_bytes());
    digest.iter().take(12).map(|byte| char::from(b'A' + byte % 26)).collect()
}

/// A sandbox with tables and next to nobody in them, and what an undisturbed run makes.
async fn prepared() -> (FakeGitHub, Sandbox, Sandbox, MySqlConnection) {
    let fake = FakeGitHub::start(World::edge_cases(1), Options::unlimited()).await;
    let undisturbed = Sandbox::over(fake.url(), Backends::Embedded, Backends::Servers);
    let sandbox = Sandbox::over(fake.url(), Backends::Embedded, Backends::Servers);
    for sandbox in [&undisturbed, &sandbox] {
        sandbox.mirror(&[names::EMPTY]).await;
    }
    undisturbed.mirror(&[names::WEB]).await;
    let RelationalStore::Mysql { url } = &sandbox.stores().relational else { panic!("a server's") };
    let mut other = MySqlConnection::connect(url).await.unwrap();
    // As msght's own sessions, which lock no gaps.
    execute(&mut other, "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED".to_owned()).await;
    (fake, undisturbed, sandbox, other)
}

async fn execute(connection: &mut MySqlConnection, sql: String) {
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await.unwrap();
}

/// Mirrors, and commits what the other process is at only when the run can't get on without, or has ended.
async fn mirrored_meanwhile(sandbox: &Sandbox, mut other: MySqlConnection) {
    let running = finish(sandbox.spawn(&["retrieve-repo", names::WEB]));
    tokio::pin!(running);
    let ended = tokio::time::timeout(MEANWHILE, &mut running).await;
    execute(&mut other, "COMMIT".to_owned()).await;
    match ended {
        Ok(output) => output,
        Err(_) => running.await,
    }
    .assert_output(0, &[]);
}

/// An address that an account was tied to.
async fn tied(sandbox: &Sandbox) -> String {
    let sql = "SELECT e.email FROM msght_emails e JOIN users u ON u.id = e.user_id \
               JOIN commits c ON c.author_id = u.id ORDER BY u.login LIMIT 1";
    sandbox.stores().sql(sql).await.remove(0).remove(0)
}

#[tokio::test]
async fn concurrent_fake_user_becomes_the_account() {
    let (_fake, undisturbed, sandbox, mut other) = prepared().await;
    let email = tied(&undisturbed).await;
    let login = fake_login(&email);
    execute(
        &mut other,
        format!("BEGIN; INSERT INTO users (login, name, email, fake) VALUES ('{login}', 'me', '{email}', 1)"),
    )
    .await;
    mirrored_meanwhile(&sandbox, other).await;
    assert_eq!(difference(&undisturbed.dump().await, &sandbox.dump().await), None);
}

#[tokio::test]
async fn concurrently_linked_email_makes_no_fake_user() {
    let (fake, undisturbed, sandbox, mut other) = prepared().await;
    fake.world_mut(|w| w.add_user("bystander", UserKind::User));
    let email = undisturbed
        .stores()
        .sql("SELECT email FROM users WHERE fake = 1 AND email <> '' LIMIT 1")
        .await
        .remove(0)
        .remove(0);
    let login = fake_login(&email);
    let fakes = format!("SELECT count(*) FROM users WHERE login = '{login}'");
    assert_eq!(undisturbed.stores().number(&fakes).await, 1);
    // Nobody that the run has to do with, so that it waits for the address alone.
    execute(&mut other, "INSERT INTO users (login) VALUES ('bystander')".to_owned()).await;
    let tie =
        format!("INSERT INTO msght_emails (email, user_id) SELECT '{email}', id FROM users WHERE login = 'bystander'");
    execute(&mut other, format!("BEGIN; {tie}")).await;
    mirrored_meanwhile(&sandbox, other).await;
    assert_eq!(sandbox.stores().number(&fakes).await, 0);
    sandbox.stores().assert_sound().await;
}
