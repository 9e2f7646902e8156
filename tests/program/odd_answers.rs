//! Answers that are right in form and not the whole truth: nothing is missing because of them, or a run says so.

use std::collections::BTreeSet;

use rstest::rstest;
use serde_json::Value;

use fake_github::{Edit, FakeGitHub, Fault, FaultKind, Options, UserKind, World, WorldSize, names};
use support::program::Sandbox;

const HUGE: &str = "contoso/huge";
const STAGES: &str = "labels,issues,issue-comments,issue-events,pulls,review-comments,stars,forks,commit-comments";

async fn live(sandbox: &Sandbox, collection: &str) -> BTreeSet<String> {
    let stored = sandbox.stores().collection(collection).await;
    stored.into_iter().filter(|(_, document)| document["_msght"]["deleted_at"].is_null()).map(|(id, _)| id).collect()
}

fn huge() -> World {
    let mut world = World::sized(5, WorldSize::of(30, 230, 20));
    let r = world.repo(HUGE);
    for number in 0..150 {
        let user = world.add_user(&format!("gazer-{number}"), UserKind::User);
        world.star(r, user);
        world.add_label(r, &format!("label {number}"), None);
    }
    world
}

#[tokio::test]
async fn full_pages_without_links_are_followed() {
    let fake = FakeGitHub::start(huge(), Options::unlimited()).await;
    let expected = Sandbox::new(fake.url());
    expected.mirror(&[HUGE, "--only", STAGES]).await;
    fake.set_fault(Fault::always("/", FaultKind::NoLink));
    let sandbox = Sandbox::new(fake.url());
    sandbox.mirror(&[HUGE, "--only", STAGES]).await;
    sandbox.mirror(&[HUGE, "--only", STAGES]).await;
    for collection in ["issues", "issue_comments", "issue_events", "repo_labels", "watchers", "pull_requests"] {
        assert_eq!(live(&sandbox, collection).await, live(&expected, collection).await, "{collection}");
    }
}

/// GitHub hides an account's items after it has cut the pages: a page that stands for 100 shows 99 and links to no other.
#[tokio::test]
async fn new_page_behind_an_unchanged_one_is_read() {
    let mut world = World::empty(1);
    let r = world.plain(names::QUIET);
    let alice = world.find_user("alice");
    let spammer = world.add_user("spammer", UserKind::User);
    for number in 1..100 {
        let gazer = if number == 50 { spammer } else { world.add_user(&format!("gazer-{number}"), UserKind::User) };
        world.star(r, gazer);
        let author = if number == 50 { Some(spammer) } else { alice };
        world.add_comment(r, 1, author, "more");
        world.add_label(r, &format!("label {number:03}"), None);
    }
    let fake = FakeGitHub::start(world, Options::unlimited()).await;
    let by_spammer = |item: &Value| item["user"]["login"] == "spammer" || item["name"] == "label 050";
    for path in ["/stargazers?", "/issues/comments?", "/labels?"] {
        fake.set_fault(Fault::always(path, FaultKind::hidden(by_spammer)));
    }
    let sandbox = Sandbox::new(fake.url());
    let stages = [names::QUIET, "--only", "stars,issue-comments,labels"];
    sandbox.mirror(&stages).await;
    assert_eq!(live(&sandbox, "watchers").await.len(), 99);
    fake.world_mut(|w| {
        let r = w.repo(names::QUIET);
        for number in 0..3 {
            let gazer = w.add_user(&format!("late-{number}"), UserKind::User);
            w.star(r, gazer);
            w.add_comment(r, 1, Some(gazer), "late");
            w.add_label(r, &format!("zz late {number}"), None);
        }
    });
    sandbox.mirror(&stages).await;
    for collection in ["watchers", "issue_comments", "repo_labels"] {
        assert_eq!(live(&sandbox, collection).await.len(), 102, "{collection}");
    }
    sandbox.mirror(&stages).await;
    fake.reset_counters();
    sandbox.mirror(&stages).await;
    assert_eq!(fake.counted(), 0, "what is unchanged is free: {:?}", fake.by_template());
}

#[rstest]
#[case::labels("labels", "/labels?", "repo_labels")]
#[case::issues("issues", "/issues?", "issues")]
#[case::issue_comments("issue-comments", "/issues/comments?", "issue_comments")]
#[case::issue_events("issue-events", "/issues/events?", "issue_events")]
#[case::pulls("pulls", "/pulls?", "pull_requests")]
#[case::review_comments("review-comments", "/pulls/comments?", "pull_request_comments")]
#[case::stars("stars", "/stargazers?", "watchers")]
#[case::events("events", "/events?", "events")]
#[case::releases("releases", "/releases?", "releases")]
#[tokio::test]
async fn unusable_item_is_reported_until_it_comes(#[case] stage: &str, #[case] path: &str, #[case] collection: &str) {
    let fake = FakeGitHub::start(World::edge_cases(1), Options::unlimited()).await;
    let whole = Sandbox::new(fake.url());
    whole.mirror(&[names::WEB, "--only", stage]).await;
    let expected = live(&whole, collection).await;
    let key = |item: &Value| ["id", "starred_at", "name"].iter().map(|key| item[*key].to_string()).collect::<String>();
    let template = format!("/repos/{}{path}state=all", names::WEB);
    let nulled = key(&fake.all(&template)[fake.all(&template).len() / 2]);
    let sandbox = Sandbox::new(fake.url());
    fake.set_fault(Fault::always(path, FaultKind::nulls(move |item| key(item) == nulled)));
    for run in 1..=2 {
        let output = sandbox.run(&["retrieve-repo", names::WEB, "--only", stage]).await;
        assert_eq!(
            (output.code, output.stage(stage)[0].as_str()),
            (Some(1), "incomplete"),
            "run {run}\n{}",
            output.out
        );
        assert_eq!(live(&sandbox, collection).await.len(), expected.len() - 1, "run {run}: the others are stored");
    }
    fake.clear_faults();
    sandbox.mirror(&[names::WEB, "--only", stage]).await;
    assert_eq!(live(&sandbox, collection).await, expected);
}

#[tokio::test]
async fn empty_lists_for_a_moment_take_nothing_away() {
    let fake = FakeGitHub::start(World::edge_cases(1), Options::unlimited()).await;
    let sandbox = Sandbox::new(fake.url());
    let stages = ["retrieve-repo", names::WEB, "--only", STAGES];
    sandbox.mirror(&stages[1..]).await;
    let collections = ["watchers", "forks", "issues", "issue_comments", "repo_labels", "pull_requests"];
    let mut before = Vec::new();
    for collection in collections {
        before.push(live(&sandbox, collection).await);
    }
    let stars = sandbox.stores().number("SELECT count(*) FROM watchers").await;
    fake.set_fault(Fault::always(&format!("/{}/", names::WEB), FaultKind::empty_list()));
    fake.set_fault(Fault::always("/repositories/", FaultKind::empty_list()));
    let output = sandbox.run(&stages).await;
    assert_eq!(output.code, Some(1), "{}", output.out);
    for stage in ["stars", "forks", "labels"] {
        assert_eq!(output.stage(stage)[0], "incomplete", "{}", output.out);
    }
    for (collection, before) in collections.iter().zip(&before) {
        assert_eq!(&live(&sandbox, collection).await, before, "{collection}\n{}", output.out);
    }
    assert_eq!(sandbox.stores().number("SELECT count(*) FROM watchers").await, stars);
    // A mirror that begins at such a moment doesn't take it for all there is.
    let late = Sandbox::new(fake.url());
    assert_eq!(late.run(&stages).await.code, Some(1));
    fake.clear_faults();
    for sandbox in [&sandbox, &late] {
        sandbox.mirror(&stages[1..]).await;
        sandbox.mirror(&stages[1..]).await;
        for (collection, before) in collections.iter().zip(&before) {
            assert_eq!(&live(sandbox, collection).await, before, "{collection}");
        }
    }
}

#[tokio::test]
async fn empty_list_is_believed_by_the_second_run() {
    let fake = FakeGitHub::start(World::edge_cases(1), Options::unlimited()).await;
    fake.world_mut(|w| w.add_label(w.repo(names::QUIET), "another", None));
    let sandbox = Sandbox::new(fake.url());
    let stages = ["retrieve-repo", names::QUIET, "--only", "labels"];
    sandbox.mirror(&stages[1..]).await;
    fake.world_mut(|w| {
        let r = w.repo(names::QUIET);
        let labels: Vec<String> = w.repos[r].labels.iter().map(|label| label.name.clone()).collect();
        labels.iter().for_each(|label| w.delete_label(r, label));
    });
    let output = sandbox.run(&stages).await;
    assert!(output.code == Some(1) && output.out.contains("suddenly empty"), "{}", output.out);
    sandbox.mirror(&stages[1..]).await;
    assert_eq!(live(&sandbox, "repo_labels").await.len(), 0);
    assert_eq!(sandbox.stores().number("SELECT count(*) FROM repo_labels WHERE deleted = 0").await, 0);
}

#[tokio::test]
async fn dates_in_the_future_hide_no_later_change() {
    let fake = FakeGitHub::start(huge(), Options::unlimited()).await;
    let sandbox = Sandbox::new(fake.url());
    let stages = [HUGE, "--only", "issues,issue-comments,pulls"];
    let far = 4_070_908_800;
    fake.world_mut(|w| {
        let r = w.repo(HUGE);
        let pull = w.repos[r].issues.iter().position(|issue| issue.pull.is_some()).unwrap();
        for at in [3, pull] {
            w.repos[r].issues[at].updated = far;
        }
        w.repos[r].comments[5].updated = far;
    });
    sandbox.mirror(&stages).await;
    let (issue, pull, comment) = fake.world_mut(|w| {
        let r = w.repo(HUGE);
        let issue = w.open_issue(r, None, "after the import", None);
        let comment = w.add_comment(r, issue, None, "after the import");
        let pull = w.repos[r].issues.iter().rfind(|issue| issue.pull.is_some() && issue.updated != far);
        let pull = pull.unwrap().number;
        w.edit_issue_title(r, pull, "another title");
        (issue, pull, comment)
    });
    sandbox.mirror(&stages).await;
    assert!(live(&sandbox, "issues").await.contains(&format!("{HUGE}/{issue}")));
    assert!(live(&sandbox, "issue_comments").await.contains(&format!("{HUGE}/{issue}/{comment}")));
    let pulls = sandbox.stores().collection("pull_requests").await;
    assert_eq!(pulls[&format!("{HUGE}/{pull}")]["title"], "another title");
}

/// A comment that appears behind one that is seconds newer.
#[tokio::test]
async fn late_items_are_found_by_overlap() {
    let mut world = World::sized(5, WorldSize::of(20, 1_000, 20));
    let r = world.repo(HUGE);
    let (held, now) = {
        let comments = &mut world.repos[r].comments;
        let newest = comments.iter().map(|comment| comment.updated).max().unwrap();
        let at = comments.iter().position(|comment| !comment.deleted).unwrap();
        (comments[at].updated, comments[at].deleted) = (newest - 2, true);
        (comments[at].id, newest)
    };
    let fake = FakeGitHub::start(world, Options::unlimited()).await;
    let sandbox = Sandbox::new(fake.url());
    let stages = [HUGE, "--only", "issue-comments"];
    sandbox.mirror(&stages).await;
    assert!(now > 0);
    fake.world_mut(|w| {
        let r = w.repo(HUGE);
        w.repos[r].comments.iter_mut().find(|comment| comment.id == held).unwrap().deleted = false;
    });
    sandbox.mirror(&stages).await;
    let suffix = format!("/{held}");
    assert!(live(&sandbox, "issue_comments").await.iter().any(|id| id.ends_with(&suffix)));
}

#[tokio::test]
async fn star_without_account_is_reported() {
    let fake = FakeGitHub::start(World::edge_cases(1), Options::unlimited()).await;
    let sandbox = Sandbox::new(fake.url());
    let stages = ["retrieve-repo", names::WEB, "--only", "stars"];
    sandbox.mirror(&stages[1..]).await;
    let (first, second) = fake.world_mut(|w| {
        let r = w.repo(names::WEB);
        let (first, second) = (w.repos[r].stars[0].user, w.repos[r].stars[1].user);
        (w.users[first as usize].login.clone(), w.users[second as usize].login.clone())
    });
    let nobody = first.clone();
    fake.set_fault(Fault::always(
        "/stargazers?",
        FaultKind::Edited(Edit::new(move |body| {
            for item in body.as_array_mut().into_iter().flatten() {
                if item["user"]["login"] == nobody.as_str() {
                    item["user"] = Value::Null;
                }
            }
        })),
    ));
    fake.world_mut(|w| {
        let (r, user) = (w.repo(names::WEB), w.user(&second));
        w.unstar(r, user);
    });
    for _ in 0..2 {
        let output = sandbox.run(&stages).await;
        assert_eq!((output.code, output.stage("stars")[0].as_str()), (Some(0), "limited"), "{}", output.out);
        assert!(output.out.contains("1 stars belong to deleted accounts"), "{}", output.out);
    }
    let stars = live(&sandbox, "watchers").await;
    assert!(!stars.contains(&format!("{}/{second}", names::WEB)));
    let rows = format!("SELECT count(*) FROM watchers w JOIN users u ON u.id = w.user_id WHERE u.login = '{second}'");
    assert_eq!(sandbox.stores().number(&rows).await, 0);
}

#[tokio::test]
async fn feed_that_outran_the_runs_is_incomplete_once() {
    let fake = FakeGitHub::start(World::edge_cases(1), Options::unlimited()).await;
    let sandbox = Sandbox::new(fake.url());
    let stages = ["retrieve-repo", names::QUIET, "--only", "events"];
    sandbox.mirror(&stages[1..]).await;
    fake.world_mut(|w| {
        let (r, alice) = (w.repo(names::QUIET), w.find_user("alice"));
        for _ in 0..500 {
            w.add_comment(r, 1, alice, "busy");
        }
    });
    let output = sandbox.run(&stages).await;
    assert_eq!((output.code, output.stage("events")[0].as_str()), (Some(1), "incomplete"), "{}", output.out);
    assert!(output.out.contains("older entries are lost"), "{}", output.out);
    sandbox.mirror(&stages[1..]).await;
}
