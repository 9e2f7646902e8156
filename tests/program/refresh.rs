//! The second run: free where nothing changed, and GitHub's newest state where something did.

use rstest::rstest;
use serde_json::Value;

use fake_github::{FakeGitHub, NewPull, Options, World, WorldSize, names};
use support::backends::Backends::{self, Embedded, Servers};
use support::program::Sandbox;
use support::stores::{Documents, Tables, difference};

/// Counted requests that a run over unchanged data may cost.
const UNCHANGED_COST: usize = 25;

#[rstest]
#[tokio::test]
async fn unchanged_run_is_free_and_writes_nothing(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let fake = FakeGitHub::start(World::edge_cases(1), Options::unlimited()).await;
    let sandbox = Sandbox::new(fake.url());
    sandbox.mirror(&[names::WEB]).await;
    let before = sandbox.stores().data_fingerprint().await;
    for run in 2..=3 {
        fake.reset_counters();
        let output = sandbox.mirror(&[names::WEB]).await;
        assert!(
            fake.counted() <= UNCHANGED_COST,
            "run {run} cost {}: {:?}\n{}",
            fake.counted(),
            fake.by_template(),
            output.out
        );
        let total = output.stage("total");
        assert_eq!(&total[..2], ["0", "0"], "nothing new, nothing changed\n{}", output.out);
        assert!(sandbox.stores().data_fingerprint().await == before, "run {run} rewrote a document or row");
    }
    assert_eq!(fake.counted(), 0, "the third run is free altogether: {:?}", fake.by_template());
}

/// Everything that can happen to a repository between two runs.
fn change(world: &mut World) {
    let r = world.repo(names::WEB);
    let alice = world.find_user("alice");
    let bob = world.find_user("bob").unwrap();
    let open: Vec<u32> =
        world.repos[r].issues.iter().filter(|i| i.open && i.pull.is_none() && !i.deleted).map(|i| i.number).collect();
    world.close_issue(r, open[0], alice);
    world.edit_issue_title(r, open[1], "a new title 🎉");
    let label = world.repos[r].labels.iter().find(|label| !label.deleted).unwrap().name.clone();
    world.label_issue(r, open[2], &label);
    world.unlabel_issue(r, open[2], &label);
    world.assign(r, open[3], bob, alice);
    let comment = world.repos[r].comments.iter().find(|comment| !comment.deleted).unwrap().id;
    world.edit_comment(r, comment, "edited");
    world.add_comment(r, open[1], alice, "a new comment");
    let new = world.open_issue(r, alice, "a new issue", Some("with a body"));
    world.add_comment(r, new, None, "from nobody");
    let pulls: Vec<u32> = world.repos[r]
        .issues
        .iter()
        .filter(|i| i.open && i.pull.as_ref().is_some_and(|pull| pull.head_repo.is_some()))
        .map(|i| i.number)
        .collect();
    world.merge_pull(r, pulls[0], alice);
    world.push_to_pull(r, pulls[1], 3);
    world.force_push_pull(r, pulls[2], 2);
    world.add_label(r, "brand new/label %", None);
    world.add_milestone(r, "2.0", alice);
    let person = world.person_of(bob);
    let default = world.repos[r].default_branch.clone();
    let pushed = world.push(r, &default, 120, person);
    world.create_branch(r, "topic/über", pushed[7]);
    world.push(r, "topic/über", 2, person);
    world.comment_commit(r, pushed[3], alice, "on a commit");
    let stranger = world.add_user("stranger", fake_github::UserKind::User);
    world.star(r, stranger);
    world.fork(r, "stranger/web");
    world.set_topics(r, &["rust", "mirror"]);
    world.set_languages(r, &[("Rust", 100), ("Shell", 5)]);
    let release = world.add_release(r, "v9", stranger, Some("notes"));
    world.edit_release(r, release, "other notes");
    let old = world.repos[r].releases[0].id;
    world.delete_release(r, old);
    world.add_collaborator(r, stranger, "write");
    world.unassign(r, open[3], bob, alice);
    let moved = world.repos[r].tags.keys().next().unwrap().clone();
    world.move_tag(r, &moved, pushed[5]);
    let on_commit = world.repos[r].commit_comments[0].id;
    world.delete_commit_comment(r, on_commit);
    let review = world.repos[r].reviews.iter().find(|review| review.number == pulls[3]).map(|review| review.id);
    if let Some(review) = review {
        world.dismiss_review(r, review, alice, "outdated");
    }
    world.rename_default_branch(r, "trunk");
    world.rename_user("dave", "david");
    world.rename_user("alice", "Alice");
    world.rename_repo(r, "Web");
}

#[rstest]
#[tokio::test]
async fn refresh_equals_a_fresh_mirror(#[values(Embedded, Servers)] stores: Backends, #[values(1, 2, 3)] seed: u64) {
    let _over = stores.select();
    let fake = FakeGitHub::start(World::edge_cases(seed), Options::unlimited()).await;
    let sandbox = Sandbox::new(fake.url());
    sandbox.mirror(&[names::WEB]).await;
    fake.world_mut(change);
    fake.reset_counters();
    sandbox.mirror(&[names::WEB]).await;
    let cost = fake.counted();
    fake.reset_counters();
    let fresh = Sandbox::new(fake.url());
    fresh.mirror(&[names::WEB]).await;
    let whole = fake.counted();
    assert!(cost * 2 < whole, "{cost} requests for the changes, {whole} for everything");
    assert_as_fresh(&sandbox, &fresh).await;
}

#[rstest]
#[tokio::test]
async fn changes_during_a_run_are_stored_by_the_next(
    #[values(Embedded, Servers)] stores: Backends,
    #[values(3, 12, 30, 55, 140, 300)] nth: u32,
) {
    let _over = stores.select();
    let fake = FakeGitHub::start(World::edge_cases(1), Options::unlimited()).await;
    fake.before_request("/", nth, change);
    let sandbox = Sandbox::new(fake.url());
    sandbox.mirror(&[names::WEB]).await;
    sandbox.mirror(&[names::WEB]).await;
    let fresh = Sandbox::new(fake.url());
    fresh.mirror(&[names::WEB]).await;
    assert_as_fresh(&sandbox, &fresh).await;
}

/// A mirror that has seen the world change holds what one holds that sees it for the first time, but for what only history
/// explains: what is marked as gone, commits that a force-push took away, languages, topics and feeds of earlier looks.
async fn assert_as_fresh(sandbox: &Sandbox, fresh: &Sandbox) {
    assert_dumps_as_fresh(sandbox.dump().await, fresh.dump().await);
}

/// The same where items are gone: their rows stay, marked, and those of what hung on them.
pub async fn assert_live_as_fresh(sandbox: &Sandbox, fresh: &Sandbox) {
    let (mut refreshed, mut anew) = (sandbox.dump().await, fresh.dump().await);
    for (table, number) in [("issues", "issue_id"), ("pull_requests", "pullreq_id")] {
        for gone in fresh.stores().sql(&format!("SELECT {number} FROM {table} WHERE deleted = 1")).await {
            let row = format!("web | {} | ", gone[0]);
            anew.1.get_mut(table).unwrap().retain(|line| !line.to_lowercase().starts_with(&row));
        }
    }
    for table in
        ["issues", "pull_requests", "issue_comments", "pull_request_comments", "repo_labels", "repo_milestones"]
    {
        let live = sandbox.stores().number(&format!("SELECT count(*) FROM {table} WHERE deleted = 0")).await;
        let all = fresh.stores().number(&format!("SELECT count(*) FROM {table} WHERE deleted = 0")).await;
        assert_eq!(live, all, "live rows of {table}");
    }
    for table in [
        "issues",
        "issue_comments",
        "issue_events",
        "issue_labels",
        "pull_requests",
        "pull_request_comments",
        "pull_request_commits",
        "repo_labels",
        "repo_milestones",
    ] {
        let of_anew = anew.1[table].clone();
        refreshed.1.get_mut(table).unwrap().retain(|row| of_anew.contains(row));
    }
    assert_dumps_as_fresh(refreshed, anew);
}

fn assert_dumps_as_fresh(mut refreshed: (Documents, Tables), mut anew: (Documents, Tables)) {
    for documents in refreshed.0.values_mut() {
        documents.retain(|_, document| document["_msght"] != "deleted");
    }
    let of_anew = anew.1["commit_comments"].clone();
    refreshed.1.get_mut("commit_comments").unwrap().retain(|row| of_anew.contains(row));
    for more in ["commits", "pull_request_commits", "events"] {
        let (more, less) = (refreshed.0.remove(more).unwrap(), anew.0.remove(more).unwrap());
        let missing: Vec<&String> = less.keys().filter(|id| !more.contains_key(*id)).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }
    for more in ["commits", "commit_parents", "project_commits", "pull_request_history", "project_languages"] {
        let (more, less) = (refreshed.1.remove(more).unwrap(), anew.1.remove(more).unwrap());
        let missing: Vec<&String> = less.iter().filter(|row| !more.contains(*row)).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }
    for dump in [&mut refreshed, &mut anew] {
        dump.1.remove("project_topics");
        dump.0.remove("topics");
        for (collection, documents) in &mut dump.0 {
            for document in documents.values_mut() {
                leave_out_moving(collection, document);
            }
        }
    }
    assert_eq!(difference(&anew, &refreshed), None);
}

/// Takes out of a document what moves on without a change of the document's own that GitHub would tell.
fn leave_out_moving(collection: &str, document: &mut Value) {
    let removed: &[&str] = match collection {
        // An event never changes, and embeds its issue as it is now.
        "issue_events" => &["issue"],
        // A profile counts what others do, and is read again after a month.
        "users" => &["followers", "following", "public_repos", "updated_at"],
        // A comment that GitHub removes is taken off the count without a change of the date.
        "pull_requests" => &["comments", "review_comments"],
        // A team's list has the repository as it was when the team was read.
        "team_repos" => &[
            "open_issues",
            "open_issues_count",
            "pushed_at",
            "size",
            "stargazers_count",
            "updated_at",
            "watchers",
            "watchers_count",
        ],
        _ => &[],
    };
    if let Some(object) = document.as_object_mut() {
        object.retain(|field, _| !removed.contains(&field.as_str()));
        // The branch that a pull request is to be merged into moves on, and a label has its owner's name.
        for (side, moving) in [("base", ["sha", "label"].as_slice()), ("head", &["label"])] {
            if let Some(side) = object.get_mut(side).and_then(Value::as_object_mut) {
                side.retain(|field, _| !moving.contains(&field.as_str()));
            }
        }
        for embedded in object.values_mut() {
            stand_for(embedded);
        }
    }
}

/// Puts the number in the place of every account and repository that something embeds: they have names and counters of
/// their own, and those that have not changed since are not read again for them.
fn stand_for(value: &mut Value) {
    match value {
        Value::Object(object)
            if object.contains_key("node_id") && (object.contains_key("login") || object.contains_key("full_name")) =>
        {
            *value = object["id"].clone();
        }
        // What was not read again bears the addresses that it had.
        Value::String(text) => *text = text.replace("contoso/web", "contoso/Web"),
        Value::Object(object) => object.values_mut().for_each(stand_for),
        Value::Array(values) => values.iter_mut().for_each(stand_for),
        _ => {}
    }
}

#[rstest]
#[tokio::test]
async fn each_change_arrives_in_document_and_row(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let fake = FakeGitHub::start(World::edge_cases(5), Options::unlimited()).await;
    let sandbox = Sandbox::new(fake.url());
    sandbox.mirror(&[names::WEB]).await;
    let (number, label, pull) = fake.world(|w| {
        let r = w.repo(names::WEB);
        let issue = w.repos[r].issues.iter().find(|i| i.open && i.pull.is_none() && !i.labels.is_empty()).unwrap();
        let label = w.repos[r].labels[issue.labels[0] as usize].name.clone();
        let pull = w.repos[r].issues.iter().find(|i| i.open && i.pull.as_ref().is_some_and(|p| p.head_repo.is_some()));
        (issue.number, label, pull.unwrap().number)
    });
    fake.world_mut(|w| {
        let (r, alice) = (w.repo(names::WEB), w.find_user("alice"));
        w.unlabel_issue(r, number, &label);
        w.close_issue(r, number, alice);
        w.merge_pull(r, pull, alice);
        w.lose_topic(r, &w.repos[r].topics[0].clone());
    });
    sandbox.mirror(&[names::WEB]).await;
    let stores = sandbox.stores();
    let issue = &stores.collection("issues").await[&format!("{}/{number}", names::WEB)];
    assert_eq!(issue["state"], "closed");
    let tables = stores.tables().await;
    assert!(!tables["issue_labels"].contains(&format!("web | {number} | {label}")));
    let document = &stores.collection("pull_requests").await[&format!("{}/{pull}", names::WEB)];
    assert_eq!((&document["state"], &document["merged_by"]["login"]), (&Value::from("closed"), &Value::from("alice")));
    let facts: Vec<&String> =
        tables["pull_request_history"].iter().filter(|line| line.starts_with(&format!("web | {pull} | "))).collect();
    assert_eq!(facts.len(), 3, "opened, closed and merged, each once: {facts:?}");
    assert!(facts.iter().all(|line| !line.ends_with("NULL")), "{facts:?}");
    assert_eq!(stores.number("SELECT count(*) FROM project_topics WHERE deleted = 1").await, 1);
}

#[rstest]
#[tokio::test]
async fn what_is_gone_is_marked_and_nothing_is_erased(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let fake = FakeGitHub::start(World::edge_cases(6), Options::unlimited()).await;
    let sandbox = Sandbox::new(fake.url());
    sandbox.mirror(&[names::WEB]).await;
    let before = sandbox.stores().documents().await;
    let (comment, label, renamed, star) = fake.world_mut(|w| {
        let r = w.repo(names::WEB);
        let comment = w.repos[r].comments.iter().find(|c| !c.deleted).map(|c| (c.on, c.id)).unwrap();
        w.delete_comment(r, comment.1);
        let used = |l: &u32, w: &World| w.repos[r].issues.iter().any(|i| i.labels.contains(l));
        let labels: Vec<(u32, String)> = (0..).zip(&w.repos[r].labels).map(|(n, l)| (n, l.name.clone())).collect();
        let in_use: Vec<&(u32, String)> = labels.iter().filter(|(n, _)| used(n, w)).collect();
        let (gone, old) = (in_use[0].1.clone(), in_use[1].1.clone());
        w.delete_label(r, &gone);
        w.rename_label(r, &old, "renamed label");
        let star = w.repos[r].stars[0].user;
        w.unstar(r, star);
        (comment, gone, old, w.users[star as usize].login.clone())
    });
    sandbox.mirror(&[names::WEB]).await;
    let stores = sandbox.stores();
    let labels = stores.collection("repo_labels").await;
    for gone in [&label, &renamed] {
        assert!(labels[&format!("{}/{gone}", names::WEB)]["_msght"]["deleted_at"].is_string(), "{gone}");
        let sql = format!(
            "SELECT count(*) FROM issue_labels x JOIN repo_labels l ON l.id = x.label_id WHERE l.name = '{gone}'"
        );
        assert_eq!(stores.number(&sql).await, 0, "no issue has the label {gone} any more");
    }
    assert!(labels.contains_key(&format!("{}/renamed label", names::WEB)));
    let watcher = &stores.collection("watchers").await[&format!("{}/{star}", names::WEB)];
    assert!(watcher["_msght"]["deleted_at"].is_string());

    // A comment that is gone shows only where the list is read whole.
    sandbox.mirror(&[names::WEB, "--full"]).await;
    let id = format!("{}/{}/{}", names::WEB, comment.0, comment.1);
    assert!(stores.collection("issue_comments").await[&id]["_msght"]["deleted_at"].is_string());
    let after = stores.documents().await;
    for (collection, documents) in &before {
        for id in documents.keys() {
            assert!(after[collection].contains_key(id), "{collection} lost {id}");
        }
    }
    let marked: Vec<_> = after["issue_comments"].iter().filter(|(_, d)| d["_msght"] == "deleted").collect();
    assert_eq!(marked.len(), 1, "only the deleted comment is marked");
}

#[rstest]
#[tokio::test]
async fn renamed_repository_stays_one_project(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let fake = FakeGitHub::start(World::edge_cases(1), Options::unlimited()).await;
    let sandbox = Sandbox::new(fake.url());
    sandbox.mirror(&[names::QUIET]).await;
    let documents = sandbox.stores().documents().await["issues"].len();
    fake.world_mut(|w| {
        let r = w.repo(names::QUIET);
        w.rename_repo(r, "silent");
    });
    // By its old name, which GitHub redirects, and by its new one.
    sandbox.mirror(&[names::QUIET]).await;
    sandbox.mirror(&["contoso/silent"]).await;
    let stores = sandbox.stores();
    assert_eq!(stores.number("SELECT count(*) FROM projects WHERE name IN ('quiet', 'silent')").await, 1);
    let issues = stores.collection("issues").await;
    assert_eq!(issues.len(), documents);
    assert!(issues.iter().all(|(id, d)| id.starts_with("contoso/silent/") && d["repo"] == "silent"));
}

#[rstest]
#[tokio::test]
async fn deleted_repository_is_marked_and_kept(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let fake = FakeGitHub::start(World::edge_cases(1), Options::unlimited()).await;
    let sandbox = Sandbox::new(fake.url());
    sandbox.mirror(&[names::QUIET]).await;
    sandbox.mirror(&[names::ARCHIVED]).await;
    fake.world_mut(|w| {
        let (quiet, archived) = (w.repo(names::QUIET), w.repo(names::ARCHIVED));
        w.delete_repo(quiet);
        w.take_down(archived);
    });
    for name in [names::QUIET, names::ARCHIVED] {
        let output = sandbox.run(&["retrieve-repo", name]).await;
        assert_eq!(output.code, Some(1));
        assert!(output.err.contains("marked as deleted"), "{}", output.err);
    }
    let stores = sandbox.stores();
    assert_eq!(stores.number("SELECT count(*) FROM projects WHERE deleted = 1").await, 2);
    assert_eq!(stores.documents().await["issues"].len(), 4);
}

#[rstest]
#[tokio::test]
async fn pull_request_opened_during_a_run_is_found(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let fake = FakeGitHub::start(World::edge_cases(7), Options::unlimited()).await;
    let sandbox = Sandbox::new(fake.url());
    // The issues alone: they mention every pull request.
    sandbox.mirror(&[names::WEB, "--only", "issues"]).await;
    let mentioned = sandbox.stores().number("SELECT count(*) FROM pull_requests").await;
    assert!(mentioned > 50);
    fake.world_mut(|w| {
        let r = w.repo(names::WEB);
        let alice = w.find_user("alice").unwrap();
        let new = NewPull {
            user: alice,
            head_repo: r,
            head_ref: "late".to_owned(),
            base_ref: w.repos[r].default_branch.clone(),
            commits: 2,
            title: "late".to_owned(),
            body: None,
            draft: false,
        };
        w.open_pull(r, new);
    });
    sandbox.mirror(&[names::WEB, "--detail", "skeleton"]).await;
    let stores = sandbox.stores();
    let pulls = stores.documents().await["pull_requests"].len();
    assert_eq!(
        stores.number("SELECT count(*) FROM issues WHERE pull_request = 1").await,
        i64::try_from(pulls).unwrap()
    );
}

#[rstest]
#[tokio::test]
async fn renamed_label_costs_pages_not_issues(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let mut world = World::sized(2, WorldSize::of(100, 450, 20));
    let r = world.repo("contoso/huge");
    let label = world.repos[r].labels[0].name.clone();
    for number in 1..=400 {
        if !world.repos[r].issues[number - 1].labels.contains(&0) {
            world.label_issue(r, u32::try_from(number).unwrap(), &label);
        }
    }
    let fake = FakeGitHub::start(world, Options::unlimited()).await;
    let sandbox = Sandbox::new(fake.url());
    sandbox.mirror(&["contoso/huge", "--detail", "skeleton"]).await;
    fake.world_mut(|w| w.rename_label(w.repo("contoso/huge"), &label, "renamed"));
    fake.reset_counters();
    sandbox.mirror(&["contoso/huge", "--detail", "skeleton"]).await;
    assert!(fake.counted() <= 20, "{:?}", fake.by_template());
    let sql = "SELECT count(*) FROM issue_labels x JOIN repo_labels l ON l.id = x.label_id WHERE l.name = ";
    assert_eq!(sandbox.stores().number(&format!("{sql}'{label}'")).await, 0);
    assert!(sandbox.stores().number(&format!("{sql}'renamed'")).await >= 400);
}
