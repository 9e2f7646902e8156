//! Items that GitHub refuses: what it refuses for a while is asked for again until it comes; what it has no more is listed.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::support::fake_github::{FakeGitHub, Fault, FaultKind, Options, World, names};
use crate::support::program::{Place, Ran};
use crate::support::stores::difference;

const NO_DIFF: FaultKind = FaultKind::Refusal { status: 422, message: "Server Error: no diff in time" };

fn refused(path: &str, status: u16, message: &'static str) -> Fault {
    Fault::always(path, FaultKind::Refusal { status, message })
}

async fn whole_commits(place: &Place) -> (usize, usize) {
    let commits: BTreeMap<String, Value> = place.stores().collection("commits").await;
    (commits.values().filter(|commit| commit["stats"].is_object()).count(), commits.len())
}

fn details(ran: &Ran) -> String {
    ran.stage("details")[0].clone()
}

#[tokio::test]
async fn refused_items_are_asked_for_again_until_they_come() {
    let fake = FakeGitHub::start(World::edge_cases(1), Options::unlimited()).await;
    let place = Place::new(fake.url());
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
        let ran = place.run(&["retrieve-repo", names::WEB]).await;
        assert_eq!((ran.code, details(&ran).as_str()), (Some(1), "incomplete"), "{}", ran.out);
        assert!(ran.out.contains("(404)") && ran.out.contains("more, each in the log"), "{}", ran.out);
        assert_eq!(whole_commits(&place).await.0, 0);
    }
    fake.clear_faults();
    fake.set_fault(Fault::always("/web/commits/", NO_DIFF));
    let ran = place.run(&["retrieve-repo", names::WEB]).await;
    assert_eq!(ran.code, Some(1));
    assert!(ran.out.contains("details: incomplete: commit ") && ran.out.contains("no diff in time"), "{}", ran.out);
    fake.clear_faults();
    let ran = place.mirror(&[names::WEB]).await;
    assert_eq!(details(&ran), "done", "{}", ran.out);
    let (whole, all) = whole_commits(&place).await;
    assert!(whole == all && all > 50, "{whole} of {all} commits are whole");
    let fresh = Place::new(fake.url());
    fresh.mirror(&[names::WEB]).await;
    assert_eq!(difference(&fresh.dump().await, &place.dump().await), None);
}

#[tokio::test]
async fn one_item_that_is_never_served_keeps_no_other_away() {
    let fake = FakeGitHub::start(World::edge_cases(1), Options::unlimited()).await;
    let (commit, pull) = fake.world(|w| {
        let web = w.repo(names::WEB);
        let pull = w.repos[web].issues.iter().find(|issue| issue.pull.is_some()).unwrap().number;
        (w.branch_shas(web, "main")[1].clone(), pull)
    });
    fake.set_fault(Fault::always(&format!("/pulls/{pull}/reviews"), FaultKind::Status { status: 500, html: false }));
    fake.set_fault(refused(&format!("/web/commits/{commit}"), 451, "Blocked"));
    fake.set_fault(refused("/users/carol", 451, "Blocked"));
    let place = Place::new(fake.url());
    let ran = place.run(&["retrieve-repo", names::WEB]).await;
    assert_eq!((ran.code, details(&ran).as_str()), (Some(1), "incomplete"), "{}", ran.out);
    let named =
        [format!("pull request #{pull}: GET "), format!("commit {commit}: GET "), "profile of carol".to_owned()];
    for named in named {
        assert!(ran.out.contains(&named), "{named} is not in {}", ran.out);
    }
    let (whole, all) = whole_commits(&place).await;
    assert_eq!(whole, all - 1);
    assert_eq!(ran.stage("events")[0], "done");
    fake.clear_faults();
    place.mirror(&[names::WEB]).await;
    let fresh = Place::new(fake.url());
    fresh.mirror(&[names::WEB]).await;
    assert_eq!(difference(&fresh.dump().await, &place.dump().await), None);
}

#[tokio::test]
async fn a_commit_that_is_gone_is_listed_and_asked_for_again() {
    let mut world = World::many(1, 1);
    let repo = world.repo("contoso/r000");
    let (user, head) = (world.user("dev0"), world.repos[repo].branches["main"]);
    let who = world.person_of(user);
    let lost = world.new_commit(repo, &[head], who, "Pushed away");
    world.comment_commit(repo, lost, Some(user), "Why?");
    world.lose_commit(lost);
    let fake = FakeGitHub::start(world, Options::unlimited()).await;
    let sha = fake.world(|w| w.sha(lost));
    let place = Place::new(fake.url());
    for attempt in 1..=2 {
        let ran = place.mirror(&["contoso/r000"]).await;
        assert_eq!(details(&ran), "limited", "{}", ran.out);
        assert!(ran.out.contains(&format!("commit {sha}: GET ")), "{}", ran.out);
        assert!(ran.out.contains(&format!("attempt {attempt}")), "{}", ran.out);
    }
    // What a branch leads to can't be gone, whatever GitHub says of it.
    fake.world_mut(|w| w.restore_commit(repo, lost));
    let sha_of_head = fake.world(|w| w.sha(head));
    let pushed = fake.world_mut(|w| w.push(repo, "main", 1, who))[0];
    place.mirror(&["contoso/r000", "--detail", "skeleton"]).await;
    fake.world_mut(|w| {
        w.force_push(repo, "main", 1, 0);
        w.lose_commit(pushed);
    });
    let ran = place.mirror(&["contoso/r000"]).await;
    assert_eq!(details(&ran), "limited", "no branch leads to it after the force-push: {}", ran.out);
    fake.world_mut(|w| w.restore_commit(repo, pushed));
    place.mirror(&["contoso/r000"]).await;
    assert_eq!(place.stores().number("SELECT count(*) FROM msght_missing_items").await, 0);
    let (whole, all) = whole_commits(&place).await;
    assert_eq!(whole, all);
    fake.set_fault(refused(&format!("/commits/{sha_of_head}"), 404, "Not Found"));
    for _ in 0..2 {
        let ran = place.run(&["retrieve-repo", "contoso/r000", "--full"]).await;
        assert_eq!((ran.code, details(&ran).as_str()), (Some(1), "incomplete"), "{}", ran.out);
        assert!(ran.out.contains("a branch or tag leads to it"), "{}", ran.out);
    }
}

#[tokio::test]
async fn unusable_items_are_said_by_every_run_until_they_come() {
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
    let place = Place::new(fake.url());
    for _ in 0..2 {
        let ran = place.run(&["retrieve-repo", "contoso/r000"]).await;
        assert_eq!(ran.code, Some(1));
        for stage in ["commits", "pulls", "details"] {
            assert_eq!(ran.stage(stage)[0], "incomplete", "{stage}: {}", ran.out);
        }
    }
    fake.clear_faults();
    place.mirror(&["contoso/r000"]).await;
    let fresh = Place::new(fake.url());
    fresh.mirror(&["contoso/r000"]).await;
    assert_eq!(difference(&fresh.dump().await, &place.dump().await), None);
}

#[tokio::test]
async fn an_outage_is_not_retried_in_every_stage() {
    let fake = FakeGitHub::start(World::many(1, 1), Options::unlimited()).await;
    fake.set_fault(Fault::always("/repos/contoso/r000/", FaultKind::Status { status: 500, html: false }));
    let place = Place::new(fake.url());
    let ran = place.run(&["retrieve-repo", "contoso/r000"]).await;
    assert_eq!((ran.code, ran.stage("events")[0].as_str()), (Some(1), "failed"), "{}", ran.out);
    let requests = fake.requests();
    let sent = |list: &str| requests.iter().filter(|r| r.path_and_query.starts_with(list)).count();
    assert!(sent("/repos/contoso/r000/labels") > 1, "an outage of seconds is waited for");
    assert_eq!(sent("/repos/contoso/r000/events"), 1, "GitHub is known to be down");
    fake.clear_faults();
    place.mirror(&["contoso/r000"]).await;
}

#[tokio::test]
async fn a_comparison_without_pages_adds_to_the_list_of_commits() {
    let mut world = World::edge_cases(1);
    world.unpaged_comparisons = true;
    let fake = FakeGitHub::start(world, Options::unlimited()).await;
    let place = Place::new(fake.url());
    let stored = async || place.stores().number("SELECT count(*) FROM pull_request_commits").await;
    place.mirror(&[names::BIG_PR, "--detail", "skeleton"]).await;
    assert_eq!(stored().await, 260);
    // The list breaks off after 200.
    fake.set_fault(refused("/commits?per_page=100&page=3", 404, "Not Found"));
    let ran = place.run(&["retrieve-repo", names::BIG_PR, "--detail", "skeleton", "--full"]).await;
    assert_eq!((ran.code, ran.stage("pulls")[0].as_str()), (Some(1), "incomplete"), "{}", ran.out);
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
    let place = Place::new(fake.url());
    place.mirror(&["contoso/r000"]).await;
    let own = "SELECT count(*) FROM project_commits";
    let expected = fake.world(|w| w.reachable(repo).len());
    assert_eq!(place.stores().number(own).await, expected as i64);
    fake.world_mut(|w| {
        let next = w.new_commit(repo, &[head], who, "A hotfix");
        w.add_tag(repo, "v2", next);
    });
    place.mirror(&["contoso/r000"]).await;
    assert_eq!(place.stores().number(own).await, expected as i64 + 1);
    let ran = place.mirror(&["contoso/r000"]).await;
    assert_eq!(ran.stage("commits")[5], "0", "known heads cost nothing: {}", ran.out);
}
