//! Items that GitHub refuses: what it refuses for a while is asked for again until it comes; what it has no more is listed.

use std::collections::BTreeMap;

use serde_json::Value;

use fake_github::{FakeGitHub, Fault, FaultKind, Issue, Options, World, names};
use support::program::{RunOutput, Sandbox};
use support::stores::difference;

const NO_DIFF: FaultKind = FaultKind::Refusal { status: 422, message: "Server Error: no diff in time" };

fn refused(path: &str, status: u16, message: &'static str) -> Fault {
    Fault::always(path, FaultKind::Refusal { status, message })
}

async fn whole_commits(sandbox: &Sandbox) -> (usize, usize) {
    let commits: BTreeMap<String, Value> = sandbox.stores().collection("commits").await;
    (commits.values().filter(|commit| commit["stats"].is_object()).count(), commits.len())
}

fn details(output: &RunOutput) -> String {
    output.stage("details")[0].clone()
}

#[tokio::test]
async fn refused_items_are_retried_until_they_come() {
    let fake = FakeGitHub::start(World::edge_cases(1), Options::unlimited()).await;
    let sandbox = Sandbox::new(fake.url());
    // Every commit, by the first digit of its SHA, and every second pull request.
    let refusals = [(404, "Not Found"), (409, "Conflict: try later"), (410, "Gone"), (451, "Blocked"), (418, "No")];
    for (digit, (status, message)) in "0123456789abcdef".chars().zip(refusals.into_iter().cycle()) {
        fake.set_fault(refused(&format!("/web/commits/{digit}"), status, message));
    }
    for digit in [0, 2, 4, 6, 8] {
        fake.set_fault(refused(&format!("{digit}/reviews"), 404, "Not Found"));
        fake.set_fault(refused(&format!("/pulls/{digit}/commits"), 404, "Not Found"));
    }
    for _ in 0..2 {
        let output = sandbox.run(&["retrieve-repo", names::WEB]).await;
        assert_eq!((output.code, details(&output).as_str()), (Some(1), "incomplete"), "{}", output.out);
        assert!(output.out.contains("(404)") && output.out.contains("more, each in the log"), "{}", output.out);
        assert_eq!(whole_commits(&sandbox).await.0, 0);
    }
    fake.clear_faults();
    fake.set_fault(Fault::always("/web/commits/", NO_DIFF));
    let output = sandbox.run(&["retrieve-repo", names::WEB]).await;
    assert_eq!(output.code, Some(1));
    assert!(
        output.out.contains("details: incomplete: commit ") && output.out.contains("no diff in time"),
        "{}",
        output.out
    );
    fake.clear_faults();
    let output = sandbox.mirror(&[names::WEB]).await;
    assert_eq!(details(&output), "done", "{}", output.out);
    let (whole, all) = whole_commits(&sandbox).await;
    assert!(whole == all && all > 50, "{whole} of {all} commits are whole");
    let fresh = Sandbox::new(fake.url());
    fresh.mirror(&[names::WEB]).await;
    assert_eq!(difference(&fresh.dump().await, &sandbox.dump().await), None);
}

#[tokio::test]
async fn unserved_item_blocks_no_other() {
    let fake = FakeGitHub::start(World::edge_cases(1), Options::unlimited()).await;
    let (commit, pull) = fake.world(|w| {
        let web = w.repo(names::WEB);
        let pull = w.repos[web].issues.iter().find(|issue| issue.pull.is_some()).unwrap().number;
        (w.branch_shas(web, "main")[1].clone(), pull)
    });
    fake.set_fault(Fault::always(&format!("/pulls/{pull}/reviews"), FaultKind::Status { status: 500, html: false }));
    fake.set_fault(refused(&format!("/web/commits/{commit}"), 451, "Blocked"));
    fake.set_fault(refused("/users/carol", 451, "Blocked"));
    let sandbox = Sandbox::new(fake.url());
    let output = sandbox.run(&["retrieve-repo", names::WEB]).await;
    assert_eq!((output.code, details(&output).as_str()), (Some(1), "incomplete"), "{}", output.out);
    let named =
        [format!("pull request #{pull}: GET "), format!("commit {commit}: GET "), "profile of carol".to_owned()];
    for named in named {
        assert!(output.out.contains(&named), "{named} is not in {}", output.out);
    }
    let (whole, all) = whole_commits(&sandbox).await;
    assert_eq!(whole, all - 1);
    assert_eq!(output.stage("events")[0], "done");
    fake.clear_faults();
    sandbox.mirror(&[names::WEB]).await;
    let fresh = Sandbox::new(fake.url());
    fresh.mirror(&[names::WEB]).await;
    assert_eq!(difference(&fresh.dump().await, &sandbox.dump().await), None);
}

#[tokio::test]
async fn unusable_items_are_reported_until_they_come() {
    let mut world = World::many(1, 1);
    let repo = world.repo("contoso/r000");
    let user = world.user("dev0");
    let pull = world.repos[repo].issues.iter().find(|issue| issue.pull.is_some()).unwrap().number;
    let review = world.add_review(repo, pull, Some(user), "APPROVED", "Fine");
    let (who, base) = (world.person_of(user), world.repos[repo].branches["main"]);
    let tagged = world.new_commit(repo, &[base], who, "Tagged");
    world.add_tag(repo, "v1", tagged);
    let fake = FakeGitHub::start(world, Options::unlimited()).await;
    let (tagged, of_pull) = fake.world(|w| {
        let commit = w.issue(repo, pull).pull.as_ref().unwrap().commits[0];
        (w.sha(tagged), w.sha(commit))
    });
    let without = |path: &str, from: &str| {
        let key = FaultKind::Rewrite { from: format!(r#""{from},"#), to: r#""lost":0,"#.to_owned() };
        fake.set_fault(Fault::always(path, key));
    };
    without(&format!("/pulls/{pull}/reviews"), &format!(r#"id":{review}"#));
    without(&format!("/pulls/{pull}/commits"), &format!(r#"sha":"{of_pull}""#));
    without("/commits?sha=", &format!(r#"sha":"{tagged}""#));
    let sandbox = Sandbox::new(fake.url());
    for _ in 0..2 {
        let output = sandbox.run(&["retrieve-repo", "contoso/r000"]).await;
        assert_eq!(output.code, Some(1));
        for stage in ["commits", "pulls", "details"] {
            assert_eq!(output.stage(stage)[0], "incomplete", "{stage}: {}", output.out);
        }
    }
    fake.clear_faults();
    sandbox.mirror(&["contoso/r000"]).await;
    let fresh = Sandbox::new(fake.url());
    fresh.mirror(&["contoso/r000"]).await;
    assert_eq!(difference(&fresh.dump().await, &sandbox.dump().await), None);
}

#[tokio::test]
async fn an_outage_is_not_retried_in_every_stage() {
    let fake = FakeGitHub::start(World::many(1, 1), Options::unlimited()).await;
    fake.set_fault(Fault::always("/repos/contoso/r000/", FaultKind::Status { status: 500, html: false }));
    let sandbox = Sandbox::new(fake.url());
    let output = sandbox.run(&["retrieve-repo", "contoso/r000"]).await;
    assert_eq!((output.code, output.stage("events")[0].as_str()), (Some(1), "failed"), "{}", output.out);
    let requests = fake.requests();
    let sent = |list: &str| requests.iter().filter(|r| r.path_and_query.starts_with(list)).count();
    assert!(sent("/repos/contoso/r000/labels") > 1, "an outage of seconds is waited for");
    assert_eq!(sent("/repos/contoso/r000/events"), 1, "GitHub is known to be down");
    fake.clear_faults();
    sandbox.mirror(&["contoso/r000"]).await;
}

#[tokio::test]
async fn unpaged_comparison_completes_the_commits() {
    let mut world = World::edge_cases(1);
    world.unpaged_comparisons = true;
    let fake = FakeGitHub::start(world, Options::unlimited()).await;
    let sandbox = Sandbox::new(fake.url());
    let stored = async || sandbox.stores().number("SELECT count(*) FROM pull_request_commits").await;
    sandbox.mirror(&[names::BIG_PR, "--detail", "skeleton"]).await;
    assert_eq!(stored().await, 260);
    // The list breaks off after 200.
    fake.set_fault(refused("/commits?per_page=100&page=3", 404, "Not Found"));
    let output = sandbox.run(&["retrieve-repo", names::BIG_PR, "--detail", "skeleton", "--full"]).await;
    assert_eq!((output.code, output.stage("pulls")[0].as_str()), (Some(1), "incomplete"), "{}", output.out);
    assert_eq!(stored().await, 260, "a short answer takes nothing away");
}

#[tokio::test]
async fn what_only_a_tag_leads_to_is_mirrored() {
    let mut world = World::many(1, 1);
    let repo = world.repo("contoso/r000");
    let who = world.person_of(world.user("dev0"));
    let base = world.repos[repo].branches["main"];
    world.add_tag(repo, "at-main", base);
    let mut head = base;
    for step in 0..3 {
        head = world.new_commit(repo, &[head], who, &format!("Release work {step}"));
    }
    world.add_tag(repo, "v1", head);
    let fake = FakeGitHub::start(world, Options::unlimited()).await;
    let sandbox = Sandbox::new(fake.url());
    sandbox.mirror(&["contoso/r000"]).await;
    let own = "SELECT count(*) FROM project_commits";
    let expected = fake.world(|w| w.reachable(repo).len());
    assert_eq!(sandbox.stores().number(own).await, expected as i64);
    fake.world_mut(|w| {
        let next = w.new_commit(repo, &[head], who, "A hotfix");
        w.add_tag(repo, "v2", next);
    });
    sandbox.mirror(&["contoso/r000"]).await;
    assert_eq!(sandbox.stores().number(own).await, expected as i64 + 1);
    let output = sandbox.mirror(&["contoso/r000"]).await;
    assert_eq!(output.stage("commits")[5], "0", "known heads cost nothing: {}", output.out);
}

#[tokio::test]
async fn what_github_counts_is_compared_with_what_came() {
    let fake = FakeGitHub::start(World::edge_cases(1), Options::unlimited()).await;
    let sandbox = Sandbox::new(fake.url());
    let pull = fake.world(|w| {
        let web = w.repo(names::WEB);
        let small = |issue: &&Issue| issue.pull.as_ref().is_some_and(|pull| pull.commits.len() == 1);
        w.repos[web].issues.iter().find(small).unwrap().number
    });
    let claim = |path: &str, from: &str, to: &str| {
        fake.set_fault(Fault::always(path, FaultKind::Rewrite { from: from.to_owned(), to: to.to_owned() }));
    };
    claim("/compare/", r#""total_commits":260"#, r#""total_commits":300"#);
    claim(&format!("/web/pulls/{pull}"), r#""commits":1,"#, r#""commits":3,"#);
    for (repository, stages, said) in [
        (names::BIG_PR, ["pulls", "pulls"], "pull request #1: only 260 of its 300 commits came".to_owned()),
        (names::WEB, ["details", "pulls"], format!("pull request #{pull}: only 1 of its 3 commits came")),
    ] {
        for stage in stages {
            let output = sandbox.run(&["retrieve-repo", repository]).await;
            assert_eq!((output.code, output.stage(stage)[0].as_str()), (Some(1), "incomplete"), "{}", output.out);
            assert!(output.out.contains(&said), "{said} is not in {}", output.out);
        }
    }
    fake.clear_faults();
    sandbox.mirror(&[names::BIG_PR, names::WEB]).await;
}

#[tokio::test]
async fn fork_excludes_its_parents_commits() {
    let mut world = World::many(1, 1);
    let parent = world.repo("contoso/r000");
    let who = world.person_of(world.user("dev0"));
    let main = world.repos[parent].branches["main"];
    for version in 0..5 {
        let release = world.new_commit(parent, &[main], who, "A release");
        world.add_tag(parent, &format!("v{version}"), release);
    }
    let fork = world.fork(parent, "dev1/r000");
    let own = world.new_commit(fork, &[main], who, "Mine");
    world.add_tag(fork, "mine", own);
    let fake = FakeGitHub::start(world, Options::unlimited()).await;
    // One answer doesn't prove that parent and fork have nothing in common.
    fake.set_fault(Fault::next(1, "/compare/", FaultKind::Refusal { status: 404, message: "Not Found" }));
    let sandbox = Sandbox::new(fake.url());
    sandbox.mirror(&["dev1/r000"]).await;
    let sql = "SELECT c.sha FROM project_commits x JOIN commits c ON c.id = x.commit_id";
    assert_eq!(sandbox.stores().sql(sql).await, [[fake.world(|w| w.sha(own))]]);
    let compared = fake.requests().iter().filter(|request| request.path_and_query.contains("/compare/")).count();
    assert!(compared <= 4, "tags that the parent has, too, are not compared one by one: {compared}");
}

#[tokio::test]
async fn failed_pull_list_keeps_reading_commits() {
    let fake = FakeGitHub::start(World::many(1, 1), Options::unlimited()).await;
    let sandbox = Sandbox::new(fake.url());
    let stored = async || sandbox.stores().number("SELECT count(*) FROM pull_request_commits").await;
    for (failing, expected) in [("/commits?per_page", 0), ("/pulls?", 1)] {
        fake.clear_faults();
        fake.set_fault(refused(failing, 451, "Blocked"));
        let output = sandbox.run(&["retrieve-repo", "contoso/r000"]).await;
        assert_eq!(output.code, Some(1), "{}", output.out);
        assert_eq!(stored().await, expected, "{failing} is refused");
    }
}
