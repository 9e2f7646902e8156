//! Requests are the currency: how many a first run may take.

use std::collections::BTreeMap;

use rstest::rstest;

use fake_github::{FakeGitHub, Options, World, WorldSize, names};
use support::backends::Backends::{self, Embedded, Servers};
use support::minimum_cost::pages_of_lists;
use support::program::Sandbox;
use support::snapshot::assert_snapshot;

/// The requests of a run as the server saw them: those that count, and those that were answered 304.
fn requests(title: &str, fake: &FakeGitHub) -> String {
    let not_modified = fake.by_status().get(&304).copied().unwrap_or(0);
    format!("{title}: {} counted, {not_modified} not modified\n", fake.counted())
}

/// Requests by path, with those that were answered 304.
fn paths(fake: &FakeGitHub) -> String {
    fake.by_template().into_iter().map(|(path, count)| format!("{count:7} {path}\n")).collect()
}

/// The bound: 1.10 × the sum over the lists of ⌈items/100⌉, one a pull request, one a branch whose head is not yet
/// known, and 20.
fn bound(fake: &FakeGitHub, repository: &str) -> usize {
    let all = |path: &str| fake.all(&format!("/repos/{repository}/{path}"));
    let mut shas = std::collections::BTreeSet::new();
    let mut branches = 0;
    for branch in all("branches") {
        let head = branch["commit"]["sha"].as_str().unwrap().to_owned();
        branches += usize::from(!shas.contains(&head));
        let commits = all(&format!("commits?sha={head}"));
        shas.extend(commits.iter().map(|commit| commit["sha"].as_str().unwrap().to_owned()));
    }
    let pages = pages_of_lists(fake, repository) + shas.len().div_ceil(100);
    pages * 110 / 100 + all("pulls?state=all").len() + branches + 20
}

#[rstest]
#[tokio::test]
async fn skeleton_run_costs_the_minimum(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let worlds: [(&str, World); 3] = [
        (names::WEB, World::edge_cases(1)),
        (names::QUIET, World::edge_cases(1)),
        ("contoso/huge", World::sized(1, WorldSize::of(3000, 900, 250))),
    ];
    let mut seen = String::new();
    for (repository, world) in worlds {
        let fake = FakeGitHub::start(world, Options::unlimited()).await;
        let sandbox = Sandbox::new(fake.url());
        let output = sandbox.mirror(&[repository, "--detail", "skeleton"]).await;
        let (cost, bound) = (fake.counted(), bound(&fake, repository));
        assert!(
            cost <= bound,
            "{repository}: {cost} requests, at most {bound}: {:?}\n{}",
            fake.by_template(),
            output.out
        );
        seen += &requests(&format!("{repository}, first run"), &fake);
        seen += &paths(&fake);
        fake.reset_counters();
        sandbox.mirror(&[repository, "--detail", "skeleton"]).await;
        // How many pages of a long list are asked for again differs from run to run.
        seen += &format!("{repository}, again: {} counted\n", fake.counted());
    }
    assert_snapshot("requests_skeleton", &seen);
}

#[rstest]
#[tokio::test]
async fn the_table_counts_what_the_server_counted(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let fake = FakeGitHub::start(World::edge_cases(1), Options::unlimited()).await;
    let sandbox = Sandbox::new(fake.url());
    let mut seen = String::new();
    for title in ["first run", "again"] {
        fake.reset_counters();
        let output = sandbox.mirror(&[names::QUIET]).await;
        let total = output.stage("total");
        let free = fake.by_status().get(&304).copied().unwrap_or(0);
        assert_eq!((total[4].parse(), total[5].parse()), (Ok(fake.counted()), Ok(free)), "{}", output.out);
        seen += &requests(title, &fake);
        seen += &paths(&fake);
    }
    assert_snapshot("requests_full", &seen);
}

#[rstest]
#[tokio::test]
async fn pushed_pull_request_costs_only_its_own_requests(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let fake = FakeGitHub::start(World::edge_cases(1), Options::unlimited()).await;
    let sandbox = Sandbox::new(fake.url());
    let mut seen = String::new();
    for title in ["first run", "again"] {
        fake.reset_counters();
        sandbox.mirror(&[names::WEB]).await;
        seen += &requests(title, &fake);
        seen += &paths(&fake);
    }
    fake.world_mut(|w| {
        let r = w.repo(names::WEB);
        let open = w.repos[r].issues.iter().find(|i| i.open && i.pull.as_ref().is_some_and(|p| p.head_repo.is_some()));
        let number = open.unwrap().number;
        w.push_to_pull(r, number, 1);
    });
    fake.reset_counters();
    sandbox.mirror(&[names::WEB]).await;
    let by: BTreeMap<&str, usize> = fake.by_template();
    let commits = by.get("/repos/{owner}/{repo}/pulls/{number}/commits").copied().unwrap_or(0);
    assert_eq!(commits, 1, "{by:?}");
    assert!(fake.counted() < 25, "{by:?}");
    seen += &requests("after a push to a pull request", &fake);
    seen += &paths(&fake);
    assert_snapshot("requests_of_a_push", &seen);
}
