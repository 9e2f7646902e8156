//! Lists that move while they are read: nothing slips between two pages.

use std::collections::BTreeSet;

use rstest::rstest;
use serde_json::Value;

use fake_github::{FakeGitHub, Fault, FaultKind, Options, UserKind, World, WorldSize, names};
use support::backends::Backends::{self, Embedded, Servers};
use support::program::Sandbox;

const HUGE: &str = "contoso/huge";

async fn huge() -> FakeGitHub {
    let mut world = World::sized(5, WorldSize::of(300, 1500, 80));
    let r = world.repo(HUGE);
    for number in 0..800 {
        let user = world.add_user(&format!("gazer-{number}"), UserKind::User);
        world.star(r, user);
    }
    FakeGitHub::start(world, Options::unlimited()).await
}

/// Ids that GitHub lists and the store lacks, or has marked as gone.
async fn missing(fake: &FakeGitHub, sandbox: &Sandbox, path: &str, collection: &str) -> Vec<String> {
    let id_of = |document: &Value| match document["id"].as_i64() {
        Some(id) => id.to_string(),
        None => document["user"]["login"].as_str().unwrap().to_owned(),
    };
    let listed = fake.all(&format!("/repos/{HUGE}/{path}"));
    assert!(listed.len() > 500, "{path} has only {}", listed.len());
    let stored = sandbox.stores().collection(collection).await;
    let live = stored.values().filter(|document| document["_msght"]["deleted_at"].is_null());
    let live: BTreeSet<String> = live.map(id_of).collect();
    listed.iter().map(id_of).filter(|id| !live.contains(id)).collect()
}

#[rstest]
#[case::soon_after_the_beginning(3)]
#[case::in_the_middle(8)]
#[case::near_the_end(13)]
#[tokio::test]
async fn items_shifted_back_by_a_deletion_are_found(#[values(Embedded, Servers)] stores: Backends, #[case] nth: u32) {
    let _over = stores.select();
    let fake = huge().await;
    fake.before_request("/issues/comments?", nth, |w| {
        let r = w.repo(HUGE);
        let first: Vec<u64> = w.repos[r].comments.iter().take(3).map(|comment| comment.id).collect();
        first.into_iter().for_each(|id| w.delete_comment(r, id));
    });
    fake.before_request("/stargazers?", nth.min(4), |w| {
        let r = w.repo(HUGE);
        let first: Vec<u32> = w.repos[r].stars.iter().take(2).map(|star| star.user).collect();
        first.into_iter().for_each(|user| w.unstar(r, user));
    });
    let sandbox = Sandbox::new(fake.url());
    sandbox.mirror(&[HUGE, "--only", "issue-comments,stars"]).await;
    assert_eq!(missing(&fake, &sandbox, "issues/comments", "issue_comments").await, [""; 0]);
    assert_eq!(missing(&fake, &sandbox, "stargazers", "watchers").await, [""; 0]);
}

#[rstest]
#[case(2)]
#[case(7)]
#[case(12)]
#[tokio::test]
async fn items_shifted_forward_by_new_ones_are_found(#[values(Embedded, Servers)] stores: Backends, #[case] nth: u32) {
    let _over = stores.select();
    let fake = huge().await;
    for later in [nth, nth + 2] {
        fake.before_request("/issues/events?", later, |w| {
            let (r, label) = (w.repo(HUGE), w.repos[w.repo(HUGE)].labels[0].name.clone());
            for number in 1..=70 {
                w.label_issue(r, number, &label);
                w.unlabel_issue(r, number, &label);
            }
        });
    }
    let sandbox = Sandbox::new(fake.url());
    sandbox.mirror(&[HUGE, "--only", "issue-events"]).await;
    sandbox.mirror(&[HUGE, "--only", "issue-events"]).await;
    assert_eq!(missing(&fake, &sandbox, "issues/events", "issue_events").await, [""; 0]);
}

#[rstest]
#[tokio::test]
async fn interrupted_refresh_leaves_no_gap(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let fake = huge().await;
    let sandbox = Sandbox::new(fake.url());
    sandbox.mirror(&[HUGE, "--only", "issue-events"]).await;
    fake.world_mut(|w| {
        let (r, label) = (w.repo(HUGE), w.repos[w.repo(HUGE)].labels[0].name.clone());
        for number in 1..=175 {
            w.label_issue(r, number, &label);
            w.unlabel_issue(r, number, &label);
        }
    });
    fake.set_fault(Fault::always("page=2", FaultKind::Permission("issues=read")));
    let output = sandbox.run(&["retrieve-repo", HUGE, "--only", "issue-events"]).await;
    assert_eq!((output.code, output.stage("issue-events")[0].as_str()), (Some(1), "failed"), "{}", output.out);
    fake.clear_faults();
    fake.reset_counters();
    sandbox.mirror(&[HUGE, "--only", "issue-events"]).await;
    assert_eq!(missing(&fake, &sandbox, "issues/events", "issue_events").await, [""; 0]);
    assert!(fake.counted() <= 6, "it reads on to what it knows, and no further: {:?}", fake.by_template());
}

#[rstest]
#[tokio::test]
async fn lists_without_last_link_are_read_completely(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let fake = FakeGitHub::start(World::edge_cases(1), Options::unlimited()).await;
    let expected = Sandbox::new(fake.url());
    expected.mirror(&[names::WEB, "--detail", "skeleton"]).await;
    let shy = FakeGitHub::start(World::edge_cases(1), Options { last_link: false, ..Options::unlimited() }).await;
    let sandbox = Sandbox::new(shy.url());
    sandbox.mirror(&[names::WEB, "--detail", "skeleton"]).await;
    let (expected, found) = (expected.stores().documents().await, sandbox.stores().documents().await);
    for (collection, documents) in &expected {
        assert_eq!(found[collection].len(), documents.len(), "{collection}");
    }
    for run in 2..=3 {
        shy.reset_counters();
        let output = sandbox.mirror(&[names::WEB, "--detail", "skeleton"]).await;
        assert!(shy.counted() <= 25, "run {run}: {:?}", shy.by_template());
        let total = output.stage("total");
        assert_eq!(
            (&total[..2], total[3].as_str()),
            (["0".to_owned(), "0".to_owned()].as_slice(), "0"),
            "{}",
            output.out
        );
    }
}
