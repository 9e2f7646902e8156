//! Clients that meet in the ledger, each with a connection of its own, as processes do.

use std::sync::Arc;
use std::time::{Duration, Instant};

use msght::github::{ApiUrl, ClientSettings, GitHub, Request, RequestCounter, TokenConfig};
use msght::names::RepoName;
use msght::rate_limit::RateLimitStore;
use msght::secret::Secret;
use rstest::rstest;
use sqlx::{Connection as _, SqliteConnection};

use super::{Kept, Meeting};
use fake_github::{FakeGitHub, Fault, FaultKind, Limits, Options, TokenSpec, World, names};

fn client(fake: &FakeGitHub, ledger: Arc<dyn RateLimitStore>, concurrency: Option<usize>) -> GitHub {
    GitHub::new(ClientSettings {
        api_url: fake.url().parse().unwrap(),
        public_url: None,
        tokens: vec![TokenConfig { secret: Secret::new("fake-token"), reserve: 0 }],
        app: None,
        concurrency,
        user_agent: "msght-test".to_owned(),
        rate_limit_store: Some(ledger),
        notify: Arc::new(|_| {}),
    })
    .unwrap()
}

/// Asks for so many pages at once, and for all of them.
async fn read(client: &GitHub, requests: usize) {
    let (owner, name) = names::QUIET.split_once('/').unwrap();
    let request =
        Request::get(ApiUrl::path(&["repos", owner, name, "labels"])).repo(names::QUIET.parse::<RepoName>().unwrap());
    let counter = RequestCounter::default();
    let all = (0..requests).map(|_| client.send(&request, &counter));
    futures::future::try_join_all(all).await.unwrap();
}

/// Four clients over one store, each started a moment after the other.
async fn four(fake: &FakeGitHub, meeting: &Meeting, concurrency: Option<usize>, requests: usize) {
    let mut tasks = Vec::new();
    for _ in 0..4 {
        let client = client(fake, meeting.enter().await, concurrency);
        tasks.push(tokio::spawn(async move { read(&client, requests).await }));
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    futures::future::try_join_all(tasks).await.unwrap();
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn exhausted_budget_stops_every_client(#[values(Kept::Sqlite, Kept::Mariadb)] kept: Kept) {
    let options = Options {
        tokens: vec![TokenSpec::new("fake-token").budget(300, 90, 6)],
        limits: Limits { hour: 6, ..Limits::default() },
        latency: Duration::from_millis(60),
        ..Options::default()
    };
    let fake = FakeGitHub::start(World::edge_cases(1), options).await;
    four(&fake, &Meeting::new(kept), None, 60).await;
    assert!(fake.limit_violations().is_empty(), "{:?}", fake.limit_violations());
    // What is left is known exactly but for the first answers: nobody runs into the end.
    let by_status = fake.by_status();
    assert_eq!(by_status.get(&200), Some(&240), "{by_status:?}");
    assert!(by_status.get(&403).copied().unwrap_or(0) <= 3, "{by_status:?}");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_pause_that_one_client_is_told_of_all_keep(
    #[values(Kept::Sqlite, Kept::Mariadb)] kept: Kept,
    #[values(Some(2), None)] retry_after: Option<u64>,
) {
    let options = Options {
        limits: Limits { secondary: false, hidden_pause: 60, ..Limits::default() },
        latency: Duration::from_millis(40),
        ..Options::default()
    };
    let fake = FakeGitHub::start(World::edge_cases(1), options).await;
    let meeting = Meeting::new(kept);
    let work = four(&fake, &meeting, None, 80);
    let trouble = async {
        tokio::time::sleep(Duration::from_millis(1500)).await;
        fake.set_fault(Fault::next(1, "/labels", FaultKind::Secondary { status: 403, retry_after }));
    };
    let both = async { tokio::join!(work, trouble) };
    match retry_after {
        Some(_) => {
            both.await;
        }
        // A minute's pause is not waited for: that nothing comes for some seconds is enough.
        None => {
            assert!(tokio::time::timeout(Duration::from_secs(8), both).await.is_err());
        }
    }
    assert_eq!(fake.faults()[0].struck, 1);
    assert!(fake.limit_violations().is_empty(), "{:?}", fake.limit_violations());
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn pause_applies_without_limits_too(#[values(Kept::Sqlite, Kept::Mariadb)] kept: Kept) {
    const LATENCY: Duration = Duration::from_millis(40);
    let fake = FakeGitHub::start(World::edge_cases(1), Options { latency: LATENCY, ..Options::unlimited() }).await;
    let meeting = Meeting::new(kept);
    let trouble = async {
        tokio::time::sleep(Duration::from_millis(1500)).await;
        fake.set_fault(Fault::next(1, "/labels", FaultKind::Secondary { status: 429, retry_after: Some(2) }));
    };
    tokio::join!(four(&fake, &meeting, None, 1000), trouble);
    let requests = fake.requests();
    let told = requests.iter().find(|request| request.status == 429).unwrap().at + LATENCY;
    let during = |at| at > told + Duration::from_millis(100) && at < told + Duration::from_millis(1900);
    assert_eq!(requests.iter().filter(|request| during(request.at)).count(), 0);
    assert!(requests.iter().filter(|request| request.at > told).count() > 100, "the work went on afterwards");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn clients_share_the_concurrency_limit(#[values(Kept::Sqlite, Kept::Mariadb)] kept: Kept) {
    let options = Options { latency: Duration::from_millis(250), ..Options::unlimited() };
    let fake = FakeGitHub::start(World::edge_cases(1), options).await;
    four(&fake, &Meeting::new(kept), Some(90), 400).await;
    let most = fake.max_in_flight("fake-token");
    assert!((70..=100).contains(&most), "{most} in flight");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn together_they_keep_one_tokens_pace(#[values(Kept::Sqlite, Kept::Mariadb)] kept: Kept) {
    let options = Options { latency: Duration::from_millis(20), ..Options::default() };
    let fake = FakeGitHub::start(World::edge_cases(1), options).await;
    let started = Instant::now();
    four(&fake, &Meeting::new(kept), None, 35).await;
    let (sent, seconds) = (fake.request_count() as f64, started.elapsed().as_secs_f64());
    assert!(sent <= 61.0 + 13.5 * seconds, "{sent} in {seconds} s");
    assert!(seconds < 10.0, "{seconds} s for what takes 6 s at this pace");
}

#[tokio::test]
async fn failed_store_ends_the_request() {
    let fake = FakeGitHub::start(World::edge_cases(1), Options::unlimited()).await;
    let meeting = Meeting::new(Kept::Sqlite);
    let client = client(&fake, meeting.enter().await, None);
    read(&client, 1).await;
    let file = meeting.url.sqlite_path().unwrap().with_file_name("github-tokens.db");
    let mut connection = SqliteConnection::connect(&format!("sqlite:{}", file.display())).await.unwrap();
    sqlx::raw_sql("DROP TABLE msght_tokens").execute(&mut connection).await.unwrap();
    // Without limits a grant is good for a moment.
    tokio::time::sleep(Duration::from_millis(60)).await;
    let before = fake.request_count();
    let request = Request::get(ApiUrl::path(&["repos", "contoso", "web", "labels"]))
        .repo(names::WEB.parse::<RepoName>().unwrap());
    let error = client.send(&request, &RequestCounter::default()).await.unwrap_err().to_string();
    assert!(error.contains("not sent") && error.contains("github-tokens.db"), "{error}");
    assert_eq!(fake.request_count(), before);
}
