//! Deliveries that nobody received, and webhooks that are not as they should be: `msght hooks`.

use std::time::{Duration, SystemTime};

use fake_github::{Delivery, FakeGitHub, HOOK_SECRET, Hook, LOG_KEPT, Options, TokenSpec, World};
use rstest::rstest;
use serde_json::{Value, json};
use support::backends::Backends::{self, Embedded, Servers};
use support::program::Sandbox;

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
