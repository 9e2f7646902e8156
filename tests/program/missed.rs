//! Deliveries that nobody received, and webhooks that are not as they should be: `msght hooks`.

use std::time::{Duration, SystemTime};

use fake_github::{Delivery, FakeGitHub, HOOK_SECRET, Hook, LOG_KEPT, Options, TokenSpec, World};
use msght::backend_url::{BackendKind, BackendUrl};
use rstest::rstest;
use serde_json::{Value, json};
use support::backends::Backends::{self, Embedded, Servers};
use support::program::Sandbox;
use tokio::io::AsyncBufReadExt as _;

/// Nobody listens there.
const URL: &str = "http://127.0.0.1:1/";

/// An organization with a webhook that leads nowhere; its owner's token.
async fn estate(backends: Backends) -> (FakeGitHub, Sandbox) {
    let mut world = World::estate(21, &[("contoso", 6)]);
    world.add_hook("contoso", URL);
    let token = TokenSpec { login: "dev0".to_owned(), ..TokenSpec::new("fake-token") };
    let fake = FakeGitHub::start(world, Options { tokens: vec![token], ..Options::unlimited() }).await;
    let sandbox = Sandbox::over(fake.url(), backends, backends)
        .with("MSGHT_WEBHOOKS__PUBLIC_URL", URL)
        .with("GHT_WEBHOOK_SECRET", HOOK_SECRET);
    std::fs::write(sandbox.path().join("orgs.txt"), "contoso\n").unwrap();
    (fake, sandbox)
}

/// Runs a round, and returns what it says of the organization.
async fn round(sandbox: &Sandbox, args: &[&str], code: i32) -> Value {
    let output = sandbox.run(&[&["hooks", "missed", "--json"], args].concat()).await;
    assert_eq!(output.code, Some(code), "{}\n{}", output.out, output.err);
    let reports: Value = serde_json::from_str(&output.out).unwrap();
    reports[0].clone()
}

fn numbers<const N: usize>(report: &Value, names: [&str; N]) -> [u64; N] {
    names.map(|name| report[name].as_u64().unwrap_or_else(|| panic!("{name} in {report}")))
}

/// Opens issues of which nobody learns.
fn open_issues(fake: &FakeGitHub, count: usize) {
    for _ in 0..count {
        fake.world_mut(|w| {
            let repo = w.repo("contoso/r000");
            w.open_issue(repo, None, "unheard 🦊", Some("\u{0}of"));
        });
    }
}

fn requests(fake: &FakeGitHub, template: &str) -> usize {
    fake.by_template().get(template).copied().unwrap_or_default()
}

#[rstest]
#[tokio::test]
async fn missed_deliveries_are_taken_in_once(#[values(Embedded, Servers)] backends: Backends) {
    let (fake, sandbox) = estate(backends).await;
    open_issues(&fake, 3);
    // What timed out has no status code, and no failure filter finds it.
    fake.live(|live| live.dropped = 100);
    open_issues(&fake, 2);
    fake.tell("contoso", "check_run", &json!({"action": "created", "organization": {"login": "contoso"}}));
    fake.delivered().await;
    let report = round(&sandbox, &[], 0).await;
    assert_eq!(numbers(&report, ["log_entries", "deliveries", "missed", "taken_in"]), [6, 5, 5, 5], "{report}");
    assert_eq!(report["webhook"]["state"], "active");
    // What waits in the inbox is not fetched again, and an unchanged webhook costs nothing.
    fake.reset_counters();
    let report = round(&sandbox, &[], 0).await;
    assert_eq!(numbers(&report, ["missed", "waiting", "requests", "free_requests"]), [0, 5, 1, 1], "{report}");
}

#[tokio::test]
async fn few_that_matter_among_many_cost_few_requests() {
    let (fake, sandbox) = estate(Embedded).await;
    open_issues(&fake, 270);
    fake.delivered().await;
    fake.deliveries_mut(|log| {
        let first = log[0].clone();
        let count = log.len() as u64;
        let ignored = (count..7_000).map(|n| Delivery {
            id: first.id + n * 17,
            guid: format!("00000000-0000-11f0-8000-{n:012x}"),
            event: "check_run".to_owned(),
            payload: "{}".to_owned(),
            ..first.clone()
        });
        log.extend(ignored);
    });
    fake.reset_counters();
    let report = round(&sandbox, &[], 0).await;
    assert_eq!(numbers(&report, ["log_pages", "log_entries", "missed", "taken_in"]), [70, 7_000, 270, 270]);
    assert_eq!(requests(&fake, "/orgs/{org}/hooks/{hook_id}/deliveries"), 70);
    assert_eq!(requests(&fake, "/orgs/{org}/hooks/{hook_id}/deliveries/{delivery_id}"), 270);
    assert!(fake.limit_violations().is_empty());
}

#[tokio::test]
async fn a_gap_beyond_the_log_queues_what_has_changed_since() {
    let (fake, sandbox) = estate(Embedded).await;
    round(&sandbox, &[], 0).await;
    // The last round was five days ago, as the store has it.
    let past = "UPDATE msght_webhooks SET scanned_until = scanned_until - 432000";
    sandbox.stores().relational.execute(past).await;
    open_issues(&fake, 1);
    fake.world_mut(|w| {
        let (repo, person) = (w.repo("contoso/r003"), w.user("dev1"));
        w.star(repo, person);
    });
    fake.delivered().await;
    fake.deliveries_mut(|log| log.iter_mut().for_each(|entry| entry.at -= LOG_KEPT));
    let report = round(&sandbox, &[], 0).await;
    assert_eq!(numbers(&report, ["missed", "taken_in"]), [0, 0]);
    let gaps = report["gaps"].as_array().unwrap();
    assert_eq!((gaps.len(), &gaps[0]["repositories"]), (1, &json!(1)), "{report}");
    let worked = sandbox.run(&["retrieve-repos", "--drain", "--detail", "skeleton"]).await;
    worked.assert_output(0, &[]);
    assert_eq!(requests(&fake, "/repos/{owner}/{repo}"), 1);
    assert!(round(&sandbox, &[], 0).await["gaps"].as_array().unwrap().is_empty());
}

#[tokio::test]
async fn github_is_asked_to_deliver_again() {
    let (fake, sandbox) = estate(Embedded).await;
    open_issues(&fake, 4);
    fake.delivered().await;
    let started = SystemTime::now();
    let report = round(&sandbox, &["--redeliver"], 0).await;
    assert_eq!(numbers(&report, ["missed", "taken_in", "redelivered"]), [4, 0, 4]);
    // At most 180 a minute: 5 points each, of 900.
    assert!(started.elapsed().unwrap() >= Duration::from_secs(1));
    fake.delivered().await;
    assert_eq!(fake.deliveries().iter().filter(|entry| entry.redelivery).count(), 4);
}

#[tokio::test]
async fn a_wrong_hook_is_told_and_repaired() {
    let (fake, sandbox) = estate(Embedded).await;
    type Damage = fn(&mut Hook);
    let damages: [(Damage, &str); 3] = [
        (|hook| hook.content_type = "form".to_owned(), "it does not deliver JSON"),
        (|hook| hook.events = vec!["push".to_owned()], "it does not deliver all events"),
        (|hook| hook.active = false, "it is not active"),
    ];
    for (damage, told) in damages {
        fake.world_mut(|w| damage(&mut w.hooks[0]));
        for _ in 0..2 {
            let output = sandbox.run(&["hooks", "missed"]).await;
            output.assert_output(1, &[told, "--repair"]);
        }
        assert_eq!(round(&sandbox, &["--repair"], 0).await["webhook"]["state"], "repaired");
        let hook = fake.world(|w| w.hooks[0].clone());
        assert!(hook.active && hook.content_type == "json" && hook.events == ["*"], "{hook:?}");
        assert_eq!(hook.secret.as_deref(), Some(HOOK_SECRET));
        assert_eq!(round(&sandbox, &[], 0).await["webhook"]["state"], "active");
    }
    // A mistake of the form alone is put right through `/config`.
    assert!(requests(&fake, "/orgs/{org}/hooks/{hook_id}/config") >= 1);
    fake.world_mut(|w| w.hooks.clear());
    sandbox.run(&["hooks", "missed"]).await.assert_output(1, &["there is no webhook for the address"]);
    assert_eq!(round(&sandbox, &["--repair"], 0).await["webhook"]["state"], "created");
    let listed = sandbox.run(&["hooks", "list"]).await;
    assert!(listed.out.contains(URL) && listed.out.contains("ours"), "{}", listed.out);
}

#[tokio::test]
async fn a_payload_that_is_gone_is_a_gap() {
    let (fake, sandbox) = estate(Embedded).await;
    open_issues(&fake, 2);
    fake.delivered().await;
    let id = fake.deliveries()[0].id;
    let path = format!("/deliveries/{id}");
    fake.set_fault(fake_github::Fault::always(&path, fake_github::FaultKind::Status { status: 404, html: false }));
    let report = round(&sandbox, &[], 0).await;
    assert_eq!(numbers(&report, ["missed", "taken_in"]), [2, 1], "{report}");
    assert_eq!(report["gaps"].as_array().unwrap().len(), 1, "{report}");
}

/// A server that answers every delivery alike; none hangs up.
async fn answering(status: u16) -> String {
    let answer = move || async move { axum::http::StatusCode::from_u16(status).unwrap() };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, axum::Router::new().fallback(answer)).await });
    url
}

#[tokio::test]
async fn a_ping_tells_which_part_of_the_way_failed() {
    let (fake, sandbox) = estate(Embedded).await;
    for (status, told) in [
        (401, "another secret"),
        (404, "the path leads elsewhere"),
        (503, "can't store"),
        (413, "proxy"),
        (202, "is not in the inbox"),
    ] {
        let url = answering(status).await;
        fake.world_mut(|w| w.hooks[0].url = url.clone());
        let sandbox = &sandbox_for(&sandbox, &url);
        sandbox.run(&["hooks", "ping"]).await.assert_output(1, &[told, &url]);
    }
    // Nobody listens.
    fake.world_mut(|w| w.hooks[0].url = URL.to_owned());
    let output = sandbox.run(&["hooks", "ping", "contoso"]).await;
    output.assert_output(1, &["GitHub can't reach http://127.0.0.1:1/"]);
    // Nobody answers.
    fake.live(|live| live.dropped = 100);
    sandbox.run(&["hooks", "ping"]).await.assert_output(1, &["got no answer"]);
    // Nothing is in the log.
    fake.live(|live| (live.dropped, live.log_lag) = (0, Duration::from_secs(60)));
    sandbox.run(&["hooks", "ping", "--wait", "2s"]).await.assert_output(1, &["no ping in its log"]);
    // There is no webhook, or no right to it.
    fake.world_mut(|w| w.hooks.clear());
    sandbox.run(&["hooks", "ping"]).await.assert_output(1, &["there is no webhook for the address"]);
    fake.world_mut(|w| w.owners.clear());
    sandbox.run(&["hooks", "ping"]).await.assert_output(1, &["may not manage the organization's webhooks"]);
    let output = sandbox_for(&sandbox, "").run(&["hooks", "ping"]).await;
    output.assert_output(2, &["webhooks.public_url"]);
}

#[tokio::test]
async fn a_server_takes_in_what_it_missed_and_gets_pings() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap().to_string();
    drop(free);
    let url = format!("http://{address}/");
    let (fake, sandbox) = estate(Embedded).await;
    fake.world_mut(|w| w.hooks[0].url = url.clone());
    let sandbox = sandbox_for(&sandbox, &url).with("MSGHT_WEBHOOKS__ADMIN_LISTEN", "127.0.0.1:0");
    open_issues(&fake, 3);
    fake.delivered().await;
    let mut server = sandbox.spawn(&["webhooks", "--listen", &address]);
    let mut lines = tokio::io::BufReader::new(server.stderr.take().unwrap()).lines();
    let found = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            if line.contains("3 of 3 deliveries did not arrive; 3 taken in") {
                return;
            }
        }
        panic!("the server ends");
    };
    tokio::time::timeout(Duration::from_secs(60), found).await.expect("the round at start");
    let output = sandbox.run(&["hooks", "ping"]).await;
    assert_eq!(output.code, Some(0), "{}", output.err);
    assert!(output.out.contains("contoso: the ping arrived after"), "{}", output.out);
    server.kill().await.unwrap();
    let log = std::fs::read_to_string(sandbox.data_dir().join("logfile.txt")).unwrap();
    assert!(log.contains("WEBHOOKS: Received Event") && log.contains("Type=issues"), "{log}");
}

/// The same GitHub with another address of ours.
fn sandbox_for(sandbox: &Sandbox, url: &str) -> Sandbox {
    let command = sandbox.command(&[]);
    let api = command.as_std().get_envs().find(|(name, _)| *name == "MSGHT_GITHUB__API_URL").unwrap().1.unwrap();
    let other = Sandbox::new(api.to_str().unwrap()).with("GHT_WEBHOOK_SECRET", HOOK_SECRET);
    std::fs::write(other.path().join("orgs.txt"), "contoso\n").unwrap();
    if url.is_empty() { other } else { other.with("MSGHT_WEBHOOKS__PUBLIC_URL", url) }
}

#[rstest]
#[tokio::test]
async fn received_events_are_reported_from_the_queue(#[values(Embedded, Servers)] backends: Backends) {
    let _selected = backends.select();
    let fake = FakeGitHub::start(World::empty(1), Options::unlimited()).await;
    let sandbox = Sandbox::new(fake.url()).with_queue().with("MSGHT_TELEMETRY__VIA_QUEUE", "true");
    let command = sandbox.command(&[]);
    let url = command.as_std().get_envs().find(|(name, _)| *name == "MSGHT_QUEUE__URL").and_then(|(_, url)| url);
    let url = url.map(|url| url.to_str().unwrap().to_owned());
    let url = url.unwrap_or_else(|| format!("sqlite:{}", sandbox.data_dir().join("queue.db").display()));
    std::fs::create_dir_all(sandbox.data_dir()).unwrap();
    let policy = msght::retry::RetryPolicy::new(Duration::from_secs(5), |_| {});
    let kinds = [BackendKind::Sqlite, BackendKind::Amqp];
    let url = BackendUrl::parse(&url, &kinds).unwrap();
    let queue = msght::queue::Queue::open(&url, "github", &policy).await.unwrap();
    let route = msght::queue::Route::Log;
    queue.declare(std::slice::from_ref(&route)).await.unwrap();
    let bodies = ["PushEvent 17", "nonsense", "star 5a1c"].map(str::to_owned).to_vec();
    queue.publish(&route, bodies).await.unwrap();
    queue.close().await;
    let output = sandbox.run(&["webhook-listener", "--drain"]).await;
    output.assert_output(1, &["2 reported, 1 given up", "expected TYPE ID"]);
    let log = std::fs::read_to_string(sandbox.data_dir().join("logfile.txt")).unwrap();
    assert!(log.contains("WEBHOOKS: Received Event") && log.contains("Type=PushEvent, ID=17"), "{log}");
    assert!(log.contains("Type=star, ID=5a1c"), "{log}");
}
