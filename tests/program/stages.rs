//! Stages by themselves: `--only`, `--skip`, `--detail`, and the feed's options.

use rstest::rstest;

use fake_github::{FakeGitHub, Options, World, names};
use support::backends::Backends::{self, Embedded, Servers};
use support::program::Sandbox;
use support::stores::difference;

const STAGES: [&str; 18] = [
    "people",
    "labels",
    "milestones",
    "topics",
    "languages",
    "releases",
    "branches",
    "commits",
    "commit-comments",
    "pulls",
    "review-comments",
    "issues",
    "issue-comments",
    "issue-events",
    "stars",
    "forks",
    "events",
    "details",
];

#[rstest]
#[tokio::test]
async fn stages_in_any_order_agree(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let fake = FakeGitHub::start(World::edge_cases(1), Options::unlimited()).await;
    let together = Sandbox::new(fake.url());
    together.mirror(&[names::WEB]).await;
    let one_by_one = Sandbox::new(fake.url());
    // Comments before their issues, commits of pull requests before branches, details last.
    for stage in STAGES.iter().rev().skip(1) {
        let output = one_by_one.mirror(&[names::WEB, "--only", stage]).await;
        assert_eq!(output.stage(stage)[0], "done");
    }
    one_by_one.mirror(&[names::WEB]).await;
    assert_eq!(difference(&together.dump().await, &one_by_one.dump().await), None);
}

#[rstest]
#[case("labels", "repo_labels")]
#[case("stars", "watchers")]
#[case("issues", "issues")]
#[tokio::test]
async fn only_selected_stages_fill_collections(
    #[values(Embedded, Servers)] stores: Backends,
    #[case] stage: &str,
    #[case] collection: &str,
) {
    let _over = stores.select();
    let fake = FakeGitHub::start(World::edge_cases(1), Options::unlimited()).await;
    let alone = Sandbox::new(fake.url());
    alone.mirror(&[names::WEB, "--only", stage]).await;
    assert!(!alone.stores().documents().await[collection].is_empty());
    let without = Sandbox::new(fake.url());
    let output = without.mirror(&[names::WEB, "--skip", stage, "--detail", "skeleton"]).await;
    assert!(without.stores().documents().await[collection].is_empty());
    assert!(!output.out.lines().any(|line| line.split_whitespace().next() == Some(stage)), "{}", output.out);
}

#[rstest]
#[tokio::test]
async fn skeleton_requests_no_details(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let fake = FakeGitHub::start(World::edge_cases(1), Options::unlimited()).await;
    let sandbox = Sandbox::new(fake.url());
    sandbox.mirror(&[names::WEB, "--detail", "skeleton"]).await;
    let by = fake.by_template();
    for template in [
        "/repos/{owner}/{repo}/commits/{ref}",
        "/repos/{owner}/{repo}/pulls/{number}",
        "/repos/{owner}/{repo}/pulls/{number}/reviews",
    ] {
        assert_eq!(by.get(template), None, "{by:?}");
    }
    let output = sandbox.mirror(&[names::WEB]).await;
    assert!(output.err.contains("details take about"), "{}", output.err);
    let straight = Sandbox::new(fake.url());
    straight.mirror(&[names::WEB]).await;
    assert_eq!(difference(&straight.dump().await, &sandbox.dump().await), None);
}

#[rstest]
#[tokio::test]
async fn feed_events_can_be_left_out_by_type_and_by_id(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let fake = FakeGitHub::start(World::edge_cases(1), Options::unlimited()).await;
    let feed = fake.all(&format!("/repos/{}/events", names::WEB));
    let middle = feed[feed.len() / 2]["id"].as_str().unwrap().to_owned();
    let kept = |predicate: &dyn Fn(&str, i64) -> bool| {
        feed.iter()
            .filter(|e| predicate(e["type"].as_str().unwrap(), e["id"].as_str().unwrap().parse().unwrap()))
            .count()
    };
    let middle_id: i64 = middle.parse().unwrap();
    let cases: [(Vec<&str>, usize); 4] = [
        (vec!["--no-events"], 0),
        (
            vec!["--exclude-events", "PushEvent,WatchEvent"],
            kept(&|kind, _| kind != "PushEvent" && kind != "WatchEvent"),
        ),
        (vec!["--events-after", &middle], kept(&|_, id| id > middle_id)),
        (vec!["--events-before", &middle], kept(&|_, id| id < middle_id)),
    ];
    for (options, expected) in cases {
        let sandbox = Sandbox::new(fake.url());
        let mut args = vec![names::WEB, "--detail", "skeleton"];
        args.extend(&options);
        sandbox.mirror(&args).await;
        assert_eq!(sandbox.stores().documents().await["events"].len(), expected, "{options:?}");
    }
}

#[rstest]
#[tokio::test]
async fn forbidden_stars_are_reported(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let fake = FakeGitHub::start(World::edge_cases(1), Options::unlimited()).await;
    fake.world_mut(|w| {
        let r = w.repo(names::NO_STARS);
        let bob = w.find_user("bob").unwrap();
        w.star(r, bob);
    });
    let sandbox = Sandbox::new(fake.url());
    let output = sandbox.mirror(&[names::NO_STARS]).await;
    assert!(output.out.contains("stars: not permitted: "), "{}", output.out);
    let rows = sandbox.stores().tables().await["watchers"].clone();
    assert!(rows.iter().any(|line| line.starts_with("no-stars | bob | 20")), "{rows:?}");
}

#[rstest]
#[tokio::test]
async fn repository_without_issues_is_complete(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let fake = FakeGitHub::start(World::edge_cases(1), Options::unlimited()).await;
    let output = Sandbox::new(fake.url()).mirror(&[names::NO_ISSUES]).await;
    for stage in ["issues", "issue-comments", "issue-events"] {
        assert_eq!(output.stage(stage)[0], "disabled", "{}", output.out);
    }
    assert!(output.out.contains("Issues has been disabled"), "{}", output.out);
}

#[rstest]
#[case("all", true)]
#[case("none", false)]
#[tokio::test]
async fn a_forks_commits_follow_the_setting(
    #[values(Embedded, Servers)] stores: Backends,
    #[case] setting: &str,
    #[case] parents_too: bool,
) {
    let _over = stores.select();
    let fake = FakeGitHub::start(World::edge_cases(1), Options::unlimited()).await;
    let sandbox = Sandbox::new(fake.url()).with("MSGHT_MIRROR__FORK_COMMITS", setting);
    for _ in 0..2 {
        sandbox.mirror(&[names::WEB_FORK, "--detail", "skeleton"]).await;
        let sql =
            "SELECT count(*) FROM project_commits x JOIN projects p ON p.id = x.project_id WHERE p.name = 'web-fork'";
        let commits = sandbox.stores().number(sql).await;
        assert_eq!(commits > 100, parents_too, "{commits} commits with {setting}");
        assert!(parents_too || commits == 0);
        let sql = "SELECT count(*) FROM projects WHERE name = 'web-fork' AND forked_commit_id IS NOT NULL";
        assert_eq!(sandbox.stores().number(sql).await, 1);
    }
}
