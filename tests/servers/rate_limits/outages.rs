//! The ledger's server goes away: requests wait for it, and don't go out uncounted.

use std::time::{Duration, Instant};

use msght::rate_limit::Reservation;
use msght::store::rate_limits::open;

use super::{mysql, retry_policy};
use support::servers::mariadb::MariaDb;

#[tokio::test(flavor = "multi_thread")]
async fn request_waits_for_the_server() {
    let server = MariaDb::start();
    let ledger = open(&mysql(&server.url(&server.create_database())), &retry_policy(60)).await.unwrap();
    assert_eq!(ledger.reserve("t", 0).await, Ok(Reservation::Granted));
    for _ in 0..3 {
        server.kill();
        let waiting = tokio::spawn({
            let ledger = ledger.clone();
            async move { ledger.reserve("t", 0).await }
        });
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert!(!waiting.is_finished());
        server.restart();
        assert_eq!(waiting.await.unwrap(), Ok(Reservation::Granted));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn store_timeout_error_hides_password() {
    let server = MariaDb::start();
    let database = server.create_database();
    server.execute("CREATE USER ann IDENTIFIED BY 's3cr3t'; GRANT ALL ON *.* TO ann");
    let url = format!("mysql://ann:s3cr3t@127.0.0.1:{}/{database}", server.port());
    let ledger = open(&mysql(&url), &retry_policy(1)).await.unwrap();
    server.kill();
    let started = Instant::now();
    let error = ledger.reserve("t", 0).await.unwrap_err().to_string();
    assert!(started.elapsed() < Duration::from_secs(5));
    assert!(error.contains("mysql://ann:***@127.0.0.1") && error.contains("check that the server runs"), "{error}");
}

#[tokio::test]
async fn unusable_ledger_is_reported_at_once() {
    let server = MariaDb::shared();
    server.execute("CREATE OR REPLACE USER low IDENTIFIED BY 's3cr3t'; GRANT SELECT ON *.* TO low");
    let database = server.create_database();
    let host = format!("127.0.0.1:{}", server.port());
    for (url, part) in [
        (format!("mysql://low:wr0ng@{host}/{database}"), "check the user and password"),
        (format!("mysql://root@{host}/nothing"), "create the database"),
        (format!("mysql://low:s3cr3t@{host}/{database}"), "grant the user what it lacks"),
        ("mysql://root@127.0.0.1:1/x".to_owned(), "check that the server runs"),
    ] {
        let started = Instant::now();
        let error = open(&mysql(&url), &retry_policy(60)).await.err().unwrap();
        assert!(error.before_start && started.elapsed() < Duration::from_secs(15));
        let text = error.to_string();
        assert!(text.contains(part) && !text.contains("s3cr3t") && !text.contains("wr0ng"), "{text}");
    }
}
