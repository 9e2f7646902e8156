//! The live half as a whole: GitHub delivers while the server and the worker are killed and started again, and in the end
//! the stores are as a fresh mirror's.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use fake_github::{FakeGitHub, HOOK_SECRET, Live, Options, TokenSpec, World};
use msght::backend_url::{BackendKind, BackendUrl};
use msght::retry::RetryPolicy;
use msght::store::documents::Documents;
use rstest::rstest;
use support::backends::Backends::{self, Embedded, Servers};
use support::program::Sandbox;
use support::stores::DocumentStore;
use tokio::net::TcpStream;
use tokio::process::Child;

use crate::refresh::assert_live_as_fresh;

/// Changes, over as many repositories as the organization has.
const CHANGES: usize = 120;
const REPOSITORIES: usize = 24;
/// How long at most the API lags behind deliveries.
const API_LAG: Duration = Duration::from_secs(2);
/// No inbox takes longer to be worked.
const PATIENCE: Duration = Duration::from_secs(120);

/// A server on an address that it keeps.
async fn serve(sandbox: &Sandbox, address: &str) -> Child {
    let server = sandbox.spawn(&["webhooks", "--listen", address]);
    let began = Instant::now();
    while TcpStream::connect(address).await.is_err() {
        assert!(began.elapsed() < PATIENCE, "the server doesn't listen");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    server
}

async fn inbox(sandbox: &Sandbox) -> Documents {
    let url = match &sandbox.stores().documents {
        DocumentStore::Sqlite(path) => BackendUrl::sqlite(path.clone()),
        DocumentStore::Mongodb { url, .. } => BackendUrl::parse(url, &[BackendKind::Mongodb]).unwrap(),
    };
    Documents::open(&url, &RetryPolicy::new(Duration::from_secs(60), |_| {})).await.unwrap()
}

#[rstest]
#[ignore = "open fault: in some runs a commit that a fresh mirror has is missing from the live store"]
#[tokio::test]
async fn changes_reach_the_stores_through_kills(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap().to_string();
    drop(free);
    let url = format!("http://{address}/");
    let mut world = World::estate(77, &[("contoso", REPOSITORIES)]);
    world.add_hook("contoso", &url);
    let token = TokenSpec { login: "dev0".to_owned(), ..TokenSpec::new("fake-token") };
    let fake = FakeGitHub::start(world, Options { tokens: vec![token], ..Options::unlimited() }).await;
    let sandbox = Sandbox::new(fake.url())
        .with_queue()
        .with("MSGHT_WEBHOOKS__PUBLIC_URL", &url)
        .with("MSGHT_WEBHOOKS__ADMIN_LISTEN", "127.0.0.1:0")
        .with("GHT_WEBHOOK_SECRET", HOOK_SECRET);
    std::fs::write(sandbox.path().join("orgs.txt"), "contoso\n").unwrap();
    sandbox.run(&["start", "--jobs", "8"]).await.assert_output(0, &[]);

    fake.live(|live| {
        *live = Live {
            dropped: 3,
            duplicated: 5,
            reordered: 10,
            missigned: 2,
            in_flight: 4,
            timeout: Duration::from_secs(5),
            api_lag: API_LAG,
            feed_lag: Duration::from_secs(1),
            feed_behind: 5,
            feed_omitted: 3,
            ..Live::default()
        };
    });
    let mut server = serve(&sandbox, &address).await;
    let mut worker = sandbox.spawn(&["data-retrieval"]);
    let mut touched = BTreeSet::new();
    for change in 0..CHANGES {
        let repo = fake.world_mut(World::something_happens);
        touched.insert(fake.world(|w| w.full_name(repo)));
        tokio::time::sleep(Duration::from_millis(50)).await;
        match change {
            30 | 90 => server.kill().await.unwrap(),
            45 | 95 => server = serve(&sandbox, &address).await,
            60 | 91 => worker.kill().await.unwrap(),
            70 | 100 => worker = sandbox.spawn(&["data-retrieval"]),
            _ => {}
        }
    }
    fake.delivered().await;
    fake.live(|live| *live = Live::default());
    tokio::time::sleep(API_LAG).await;

    // What nobody received is in GitHub's log alone.
    let failed = fake.deliveries().iter().filter(|entry| entry.status_code != Some(202)).count();
    assert!(failed > 0);
    sandbox.run(&["hooks", "missed"]).await.assert_output(0, &[]);
    let documents = inbox(&sandbox).await;
    let began = Instant::now();
    while documents.delivery_counts().await.unwrap().pending() > 0 {
        assert!(began.elapsed() < PATIENCE, "{:?}", documents.delivery_counts().await);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let counts = documents.delivery_counts().await.unwrap();
    let guids: BTreeSet<String> = fake.deliveries().into_iter().map(|entry| entry.guid).collect();
    assert_eq!((counts.done, counts.dead), (guids.len() as u64, 0), "every delivery is worked once");
    worker.kill().await.unwrap();
    let drained = sandbox.run(&["data-retrieval", "--drain"]).await;
    drained.assert_output(0, &[]);
    server.kill().await.unwrap();

    // The feeds have a way of their own.
    let names: Vec<&str> = touched.iter().map(String::as_str).collect();
    sandbox.mirror(&[&["--only", "events", "--"], &names[..]].concat()).await;
    let fresh = Sandbox::new(fake.url());
    std::fs::write(fresh.path().join("orgs.txt"), "contoso\n").unwrap();
    fresh.run(&["start", "--jobs", "8", "--no-hooks"]).await.assert_output(0, &[]);
    assert_live_as_fresh(&sandbox, &fresh).await;
}
