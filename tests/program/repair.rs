//! What goes wrong in the middle is put right by the next run, and what comes late is not lost.

use std::time::Duration;

use rstest::rstest;

use fake_github::{FakeGitHub, Fault, FaultKind, Options, World, names};
use support::backends::Backends::{self, Embedded, Servers};
use support::program::{Sandbox, finish};
use support::stores::difference;

async fn mirrored(repository: &str) -> (FakeGitHub, Sandbox) {
    let fake = FakeGitHub::start(World::edge_cases(1), Options::unlimited()).await;
    let sandbox = Sandbox::new(fake.url());
    sandbox.mirror(&[repository]).await;
    (fake, sandbox)
}

const NOT_FOUND: FaultKind = FaultKind::Status { status: 404, html: false };

#[rstest]
#[tokio::test]
async fn failed_commit_fetch_keeps_stored_commits(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let (fake, sandbox) = mirrored(names::WEB).await;
    let count = "SELECT count(*) FROM pull_request_commits";
    let before = sandbox.stores().number(count).await;
    fake.set_fault(Fault::next(2, "/commits?per_page=100", NOT_FOUND));
    let output = sandbox.run(&["retrieve-repo", names::WEB, "--only", "pulls", "--full"]).await;
    assert_eq!((output.code, output.stage("pulls")[0].as_str()), (Some(1), "incomplete"), "{}", output.out);
    assert_eq!(sandbox.stores().number(count).await, before);
    fake.clear_faults();
    fake.reset_counters();
    sandbox.mirror(&[names::WEB, "--only", "pulls"]).await;
    let asked = fake.by_template().get("/repos/{owner}/{repo}/pulls/{number}/commits").copied();
    assert_eq!(asked, Some(2), "{:?}", fake.by_template());
}

#[rstest]
#[tokio::test]
async fn deleted_label_leaves_issues_after_a_failure(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let (fake, sandbox) = mirrored(names::WEB).await;
    let label = fake.world_mut(|w| {
        let r = w.repo(names::WEB);
        let used = w.repos[r].issues.iter().find(|i| !i.deleted && !i.labels.is_empty()).unwrap().labels[0];
        let label = w.repos[r].labels[used as usize].name.clone();
        w.delete_label(r, &label);
        label
    });
    let refused = FaultKind::Status { status: 422, html: false };
    fake.set_fault(Fault::always("/issues/", refused.clone()));
    fake.set_fault(Fault::always("sort=created", refused));
    let output = sandbox.run(&["retrieve-repo", names::WEB, "--only", "labels"]).await;
    assert_eq!((output.code, output.stage("labels")[0].as_str()), (Some(1), "incomplete"), "{}", output.out);
    fake.clear_faults();
    sandbox.mirror(&[names::WEB, "--only", "labels,pulls"]).await;
    let sql =
        format!("SELECT count(*) FROM issue_labels x JOIN repo_labels l ON l.id = x.label_id WHERE l.name = '{label}'");
    assert_eq!(sandbox.stores().number(&sql).await, 0);
    for collection in ["issues", "pull_requests"] {
        for (id, document) in sandbox.stores().collection(collection).await {
            let carries = document["labels"].as_array().unwrap().iter().any(|l| l["name"] == label.as_str());
            assert!(!carries, "{collection} {id} still has {label}");
        }
    }
}

#[rstest]
#[tokio::test]
async fn commits_are_incomplete_without_branches(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let fake = FakeGitHub::start(World::edge_cases(1), Options::unlimited()).await;
    let sandbox = Sandbox::new(fake.url());
    sandbox.mirror(&[names::QUIET, "--only", "commits"]).await;
    let count = "SELECT count(*) FROM project_commits";
    assert_eq!(sandbox.stores().number(count).await, 5);
    fake.world_mut(|w| {
        let (r, alice) = (w.repo(names::QUIET), w.find_user("alice").unwrap());
        let person = w.person_of(alice);
        w.push(r, "main", 3, person);
    });
    sandbox.mirror(&[names::QUIET, "--skip", "branches", "--detail", "skeleton"]).await;
    assert_eq!(sandbox.stores().number(count).await, 8);
    fake.set_fault(Fault::always("/branches", FaultKind::Status { status: 422, html: false }));
    let output = Sandbox::new(fake.url()).run(&["retrieve-repo", names::QUIET, "--only", "branches,commits"]).await;
    assert_eq!((output.stage("branches")[0].as_str(), output.stage("commits")[0].as_str()), ("failed", "failed"));
}

#[rstest]
#[tokio::test]
async fn the_details_of_a_fork_end_with_its_own_commits(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let (fake, sandbox) = mirrored(names::WEB_FORK).await;
    fake.reset_counters();
    let output = sandbox.mirror(&[names::WEB_FORK]).await;
    assert!(fake.counted() <= 5, "{:?}\n{}", fake.by_template(), output.out);
}

#[rstest]
#[tokio::test]
async fn former_collaborator_does_not_return_with_the_feed(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let fake = FakeGitHub::start(World::edge_cases(1), Options::unlimited()).await;
    let sandbox = Sandbox::new(fake.url());
    let bob = fake.world_mut(|w| {
        let (r, bob) = (w.repo(names::QUIET), w.find_user("bob").unwrap());
        w.add_collaborator(r, bob, "write");
        bob
    });
    sandbox.mirror(&[names::QUIET, "--detail", "skeleton"]).await;
    fake.world_mut(|w| w.remove_collaborator(w.repo(names::QUIET), bob));
    for _ in 0..2 {
        sandbox.mirror(&[names::QUIET, "--detail", "skeleton"]).await;
        let sql = "SELECT count(*) FROM project_members m JOIN users u ON u.id = m.user_id WHERE u.login = 'bob'";
        assert_eq!(sandbox.stores().number(sql).await, 0);
    }
}

#[rstest]
#[tokio::test]
async fn forbidden_stars_come_from_the_feed(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let (fake, sandbox) = mirrored(names::QUIET).await;
    fake.world_mut(|w| {
        let (r, carol) = (w.repo(names::QUIET), w.find_user("carol").unwrap());
        w.star(r, carol);
        w.repos[r].stars_denied = true;
    });
    let output = sandbox.mirror(&[names::QUIET]).await;
    assert_eq!(output.stage("stars")[0], "not", "{}", output.out);
    let sql = "SELECT count(*) FROM watchers w JOIN users u ON u.id = w.user_id WHERE u.login = 'carol'";
    assert_eq!(sandbox.stores().number(sql).await, 1);
}

#[rstest]
#[tokio::test]
async fn full_run_fetches_everything_again(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let (fake, sandbox) = mirrored(names::WEB).await;
    // A profile's date is exact to the second: one that was read in this one is as new as can be.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    fake.reset_counters();
    sandbox.mirror(&[names::WEB, "--full"]).await;
    let by = fake.by_template();
    for template in ["/repos/{owner}/{repo}/commits", "/users/{login}", "/repos/{owner}/{repo}/pulls/{number}/commits"]
    {
        assert!(by.get(template).is_some_and(|count| *count > 2), "{template}: {by:?}");
    }
    let fresh = Sandbox::new(fake.url());
    fresh.mirror(&[names::WEB]).await;
    assert_eq!(difference(&fresh.dump().await, &sandbox.dump().await), None);
}

#[rstest]
#[tokio::test]
async fn full_run_does_not_stop_another_process(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let (fake, sandbox) = mirrored(names::WEB).await;
    let args = [["--full", "--detail=skeleton"], ["--events-after=1", "--full"], ["--full", "--detail=skeleton"]];
    let children = args.map(|[a, b]| sandbox.spawn(&["retrieve-repo", names::WEB, a, b]));
    for child in children {
        let output = finish(child).await;
        assert_eq!(output.code, Some(0), "{}\n{}", output.out, output.err);
    }
    let fresh = Sandbox::new(fake.url());
    fresh.mirror(&[names::WEB]).await;
    sandbox.mirror(&[names::WEB]).await;
    assert_eq!(difference(&fresh.dump().await, &sandbox.dump().await), None);
}

#[rstest]
#[tokio::test]
async fn resumed_run_reads_later_changes(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let fake = FakeGitHub::start(World::edge_cases(1), Options::unlimited()).await;
    let sandbox = Sandbox::new(fake.url());
    fake.set_fault(Fault::always("page=2", FaultKind::Permission("issues=read")));
    let output = sandbox.run(&["retrieve-repo", names::WEB, "--only", "issue-comments,pulls"]).await;
    assert_eq!(output.code, Some(1), "{}", output.out);
    fake.clear_faults();
    let (comment, pull) = fake.world_mut(|w| {
        let r = w.repo(names::WEB);
        let comment = w.repos[r].comments.iter().find(|c| !c.deleted).unwrap().id;
        let pull = w.repos[r].issues.iter().find(|i| i.pull.is_some() && i.open).unwrap().number;
        w.edit_comment(r, comment, "edited meanwhile");
        w.close_issue(r, pull, w.find_user("alice"));
        (comment, pull)
    });
    sandbox.mirror(&[names::WEB, "--only", "issue-comments,pulls"]).await;
    let comments = sandbox.stores().collection("issue_comments").await;
    let edited = comments.values().find(|c| c["id"] == comment).unwrap();
    assert_eq!(edited["body"], "edited meanwhile");
    let pulls = sandbox.stores().collection("pull_requests").await;
    assert_eq!(pulls[&format!("{}/{pull}", names::WEB)]["state"], "closed");
}

#[rstest]
#[tokio::test]
async fn an_outage_of_ten_seconds_is_outlasted(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let fake = FakeGitHub::start(World::edge_cases(1), Options::unlimited()).await;
    fake.set_fault(Fault::always("/issues", FaultKind::Status { status: 503, html: true }));
    let sandbox = Sandbox::new(fake.url());
    let child = sandbox.spawn(&["retrieve-repo", names::QUIET]);
    tokio::time::sleep(Duration::from_secs(10)).await;
    fake.clear_faults();
    let output = finish(child).await;
    assert_eq!(output.code, Some(0), "{}\n{}", output.out, output.err);
    assert!(output.err.contains("retrying"), "{}", output.err);
}

#[rstest]
#[tokio::test]
async fn lost_store_is_filled_again(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let (fake, sandbox) = mirrored(names::QUIET).await;
    for lost in ["documents", "tables"] {
        match lost {
            "documents" => sandbox.stores().documents.lose().await,
            _ => sandbox.stores().relational.lose().await,
        }
        let output = sandbox.mirror(&[names::QUIET]).await;
        assert_eq!(output.err.contains("everything is fetched again"), lost == "documents", "{}", output.err);
        let fresh = Sandbox::new(fake.url());
        fresh.mirror(&[names::QUIET]).await;
        assert_eq!(difference(&fresh.dump().await, &sandbox.dump().await), None, "without {lost}");
    }
}

#[rstest]
#[tokio::test]
async fn older_documents_are_detected_and_filled(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let (fake, sandbox) = mirrored(names::QUIET).await;
    let backup = sandbox.stores().documents.backup().await;
    sandbox.mirror(&[names::ARCHIVED]).await;
    sandbox.stores().documents.restore(&backup).await;
    let output = sandbox.mirror(&[names::ARCHIVED]).await;
    assert!(output.err.contains("everything is fetched again"), "{}", output.err);
    sandbox.mirror(&[names::QUIET]).await;
    let fresh = Sandbox::new(fake.url());
    fresh.mirror(&[names::QUIET]).await;
    fresh.mirror(&[names::ARCHIVED]).await;
    assert_eq!(difference(&fresh.dump().await, &sandbox.dump().await), None);
    let output = sandbox.mirror(&[names::QUIET]).await;
    assert!(!output.err.contains("everything is fetched again"), "{}", output.err);
}

#[cfg(unix)]
#[rstest]
#[tokio::test]
async fn hanging_log_does_not_block_the_second_signal(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let fake = FakeGitHub::start(World::edge_cases(1), Options::unlimited()).await;
    let sandbox = Sandbox::new(fake.url()).with("MSGHT_LOGGING__FILE", "fifo");
    let made = std::process::Command::new("mkfifo").arg(sandbox.path().join("fifo")).status().unwrap();
    assert!(made.success());
    let child = sandbox.spawn(&["retrieve-repo", names::QUIET]);
    let pid = child.id().unwrap().to_string();
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_millis(700)).await;
        std::process::Command::new("kill").args(["-TERM", &pid]).status().unwrap();
    }
    let output = tokio::time::timeout(Duration::from_secs(10), finish(child)).await.expect("the second signal ends it");
    assert_eq!(output.code, Some(143), "{}", output.err);
}
