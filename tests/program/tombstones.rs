//! What GitHub has no more is marked by ordinary runs, also in lists that only tell what changed; what appears with an old
//! date is found.

use std::collections::BTreeSet;
use std::time::Duration;

use fake_github::{FakeGitHub, Options, World, WorldSize};
use support::program::Sandbox;

const HUGE: &str = "contoso/huge";
/// Within so many runs every page of a long list is looked at again.
const RUNS_PER_ROUND: usize = 10;

async fn mirrored(size: WorldSize) -> (FakeGitHub, Sandbox) {
    let mut world = World::sized(5, size);
    world.add_repo("contoso/other");
    let fake = FakeGitHub::start(world, Options::unlimited()).await;
    let sandbox = Sandbox::new(fake.url());
    sandbox.mirror(&[HUGE, "--detail", "skeleton"]).await;
    (fake, sandbox)
}

/// Ids that are stored and not marked as gone.
async fn live(sandbox: &Sandbox, collection: &str) -> BTreeSet<String> {
    let stored = sandbox.stores().collection(collection).await;
    stored.into_iter().filter(|(_, document)| document["_msght"]["deleted_at"].is_null()).map(|(id, _)| id).collect()
}

/// What GitHub lists, in the form of the documents' ids.
fn listed(fake: &FakeGitHub, path: &str) -> BTreeSet<String> {
    let tail = |url: &serde_json::Value| url.as_str().unwrap().rsplit('/').next().unwrap().to_owned();
    let rows = fake.all(&format!("/repos/{HUGE}/{path}"));
    let id = |row: &serde_json::Value| {
        if let Some(issue) = row.get("issue") {
            format!("{HUGE}/{}/{}", issue["number"], row["id"])
        } else if row.get("issue_url").is_some() && row.get("state").is_none() {
            format!("{HUGE}/{}/{}", tail(&row["issue_url"]), row["id"])
        } else if row.get("pull_request_url").is_some() {
            format!("{HUGE}/{}/{}", tail(&row["pull_request_url"]), row["id"])
        } else {
            format!("{HUGE}/{}", row["number"])
        }
    };
    rows.iter().map(id).collect()
}

async fn assert_as_listed(fake: &FakeGitHub, sandbox: &Sandbox) {
    for (path, collection) in [
        ("issues?state=all", "issues"),
        ("pulls?state=all", "pull_requests"),
        ("issues/comments", "issue_comments"),
        ("issues/events", "issue_events"),
        ("pulls/comments", "pull_request_comments"),
    ] {
        let (live, listed) = (live(sandbox, collection).await, listed(fake, path));
        let (more, less) = (live.difference(&listed).next(), listed.difference(&live).next());
        assert!(more.is_none() && less.is_none(), "{collection}: {more:?} is still there, {less:?} is missing");
    }
}

#[tokio::test]
async fn next_run_marks_deletions_and_transfers() {
    let (fake, sandbox) = mirrored(WorldSize::of(60, 260, 60)).await;
    fake.world_mut_from(Duration::from_secs(3600), |w| {
        let (r, other) = (w.repo(HUGE), w.repo("contoso/other"));
        let issues: Vec<u32> = w.repos[r].issues.iter().filter(|i| i.pull.is_none()).map(|i| i.number).collect();
        let pull = w.repos[r].issues.iter().find(|i| i.pull.is_some()).unwrap().number;
        w.delete_issue(r, issues[3]);
        w.delete_issue(r, issues[150]);
        w.transfer_issue(r, issues[30], other);
        w.remove_issue(r, issues[40]);
        w.remove_issue(r, pull);
        let comments: Vec<u64> = w.repos[r].comments.iter().filter(|c| !c.deleted).map(|c| c.id).collect();
        w.delete_comment(r, comments[5]);
        // Without a trace in its issue, and behind it one that makes up the number.
        w.remove_comment(r, comments[20]);
        let on = w.repos[r].comments.iter().find(|c| c.id == comments[20]).unwrap().on;
        w.add_comment(r, on, None, "in its place");
    });
    sandbox.mirror(&[HUGE, "--detail", "skeleton"]).await;
    assert_as_listed(&fake, &sandbox).await;
    let deleted = "SELECT count(*) FROM issues WHERE deleted = 1";
    assert_eq!(sandbox.stores().number(deleted).await, 5, "their rows are marked, too");
    assert_eq!(sandbox.stores().number("SELECT count(*) FROM pull_requests WHERE deleted = 1").await, 1);
    fake.reset_counters();
    sandbox.mirror(&[HUGE, "--detail", "skeleton"]).await;
    sandbox.mirror(&[HUGE, "--detail", "skeleton"]).await;
    fake.reset_counters();
    sandbox.mirror(&[HUGE, "--detail", "skeleton"]).await;
    assert_eq!(fake.counted(), 0, "it is found once: {:?}", fake.by_template());
}

#[tokio::test]
async fn long_lists_reveal_deletions_within_ten_runs() {
    let (fake, sandbox) = mirrored(WorldSize::of(20, 1_200, 20)).await;
    let before = live(&sandbox, "issue_comments").await.len();
    assert!(before > 700, "{before} comments");
    fake.world_mut(|w| {
        let r = w.repo(HUGE);
        let issues: Vec<u32> = w.repos[r].issues.iter().filter(|i| !i.open).map(|i| i.number).collect();
        // Closed ones, so that no count of GitHub's tells.
        w.delete_issue(r, issues[7]);
        w.remove_issue(r, issues[issues.len() / 2]);
        let comments: Vec<u64> = w.repos[r].comments.iter().filter(|c| !c.deleted).map(|c| c.id).collect();
        let on = w.repos[r].comments.iter().find(|c| c.id == comments[300]).unwrap().on;
        w.remove_comment(r, comments[300]);
        w.add_comment(r, on, None, "in its place");
    });
    let pages = |path| fake.all(&format!("/repos/{HUGE}/{path}")).len().div_ceil(100);
    let whole = pages("issues?state=all") + pages("issues/comments");
    let mut costs = Vec::new();
    for _ in 0..RUNS_PER_ROUND {
        fake.reset_counters();
        sandbox.mirror(&[HUGE, "--only", "issues,issue-comments,issue-events,pulls,review-comments"]).await;
        costs.push((fake.counted(), fake.by_template()));
    }
    assert_as_listed(&fake, &sandbox).await;
    assert!(costs.iter().all(|(cost, _)| *cost < whole), "no run reads all {whole} pages: {costs:?}");
    let total: usize = costs.iter().map(|(cost, _)| cost).sum();
    assert!(total < 2 * whole, "what has moved is read about once: {costs:?}");
}

#[tokio::test]
async fn issue_count_reveals_a_deleted_issue() {
    let (fake, sandbox) = mirrored(WorldSize::of(20, 1_200, 20)).await;
    fake.world_mut(|w| {
        let r = w.repo(HUGE);
        let open: Vec<u32> = w.repos[r].issues.iter().filter(|i| i.open).map(|i| i.number).collect();
        w.delete_issue(r, open[open.len() - 3]);
    });
    sandbox.mirror(&[HUGE, "--detail", "skeleton"]).await;
    assert_as_listed(&fake, &sandbox).await;
}

#[tokio::test]
async fn transferred_issue_brings_its_old_comments() {
    let (fake, sandbox) = mirrored(WorldSize::of(20, 700, 10)).await;
    fake.world_mut(|w| {
        let (r, other) = (w.repo(HUGE), w.repo("contoso/other"));
        let alice = w.find_user("alice").unwrap_or(0);
        let moving = w.open_issue(other, Some(alice), "It belongs there", None);
        for text in ["one", "two", "three"] {
            w.add_comment(other, moving, Some(alice), text);
        }
        for comment in w.repos[other].comments.iter_mut().filter(|c| c.on == moving) {
            (comment.created, comment.updated) = (1_710_000_000, 1_710_000_000);
        }
        w.transfer_issue(other, moving, r);
    });
    fake.reset_counters();
    sandbox.mirror(&[HUGE, "--detail", "skeleton"]).await;
    assert_as_listed(&fake, &sandbox).await;
    assert!(fake.counted() <= 25, "{:?}", fake.by_template());
}
