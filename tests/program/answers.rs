//! What stands between msght and GitHub, and what GitHub can't make or does not give: limits told by web pages, links that
//! lead in a circle, an inner address, pages that are too large, features that are switched off, permissions.

use rstest::rstest;

use fake_github::{FakeGitHub, Fault, FaultKind, Limits, Options, World, names};
use support::program::Sandbox;

/// A world whose [`names::QUIET`] has so many labels more.
fn world_with_labels(labels: usize) -> World {
    let mut world = World::edge_cases(1);
    let quiet = world.repo(names::QUIET);
    for number in 0..labels {
        world.add_label(quiet, &format!("label {number:04}"), None);
    }
    world
}

#[rstest]
#[case::too_many_requests(429)]
#[case::forbidden(403)]
#[tokio::test]
async fn limit_told_by_web_page_is_kept(#[case] status: u16) {
    let options = Options { limits: Limits { secondary: false, ..Limits::default() }, ..Options::default() };
    let fake = FakeGitHub::start(World::edge_cases(1), options).await;
    // The very first answer, and one in the middle of the work.
    for path in ["/repos/", "/issues"] {
        fake.set_fault(Fault::next(1, path, FaultKind::LimitPage { status, retry_after: 2 }));
    }
    let output = Sandbox::new(fake.url()).mirror(&[names::QUIET]).await;
    assert!(output.err.contains("waiting"), "{}", output.err);
    assert!(fake.faults().iter().all(|fault| fault.struck == 1));
    assert!(fake.limit_violations().is_empty(), "{:?}", fake.limit_violations());
}

#[tokio::test]
async fn link_cycle_ends_walk_and_heals() {
    let fake = FakeGitHub::start(world_with_labels(250), Options::unlimited()).await;
    fake.set_fault(Fault::always("/labels?per_page=100&page=3", FaultKind::NextPage(2)));
    let sandbox = Sandbox::new(fake.url());
    for _ in 0..2 {
        fake.reset_counters();
        let output = sandbox.run(&["retrieve-repo", names::QUIET, "--only", "labels,milestones"]).await;
        assert_eq!(output.code, Some(1), "{}", output.out);
        assert_eq!((output.stage("labels")[0].as_str(), output.stage("milestones")[0].as_str()), ("failed", "done"));
        assert!(output.out.contains("form a cycle"), "{}", output.out);
        assert!(fake.request_count() < 10, "{} requests", fake.request_count());
    }
    fake.clear_faults();
    sandbox.mirror(&[names::QUIET, "--only", "labels"]).await;
    assert_eq!(sandbox.stores().documents().await["repo_labels"].len(), 251);
}

#[tokio::test]
async fn commits_that_link_in_a_circle_end() {
    let mut world = World::edge_cases(1);
    let quiet = world.repo(names::QUIET);
    let person = world.person_of(world.user("alice"));
    world.push(quiet, "main", 250, person);
    let fake = FakeGitHub::start(world, Options { last_link: false, ..Options::unlimited() }).await;
    fake.set_fault(Fault::always("page=3", FaultKind::NextPage(2)));
    let output = Sandbox::new(fake.url()).run(&["retrieve-repo", names::QUIET, "--only", "commits"]).await;
    assert_eq!(output.code, Some(1), "{}", output.out);
    assert!(output.out.contains("form a cycle"), "{}", output.out);
    assert!(fake.request_count() < 15, "{} requests", fake.request_count());
}

#[rstest]
#[case::same_paths("https://ghe.example.com/", "")]
#[case::other_paths("https://ghe.example.com/api/v3/", "")]
#[case::set("https://ghe.example.com/api/v3/", "https://ghe.example.com/api/v3")]
#[tokio::test]
async fn inner_address_reads_links_of_the_public_one(#[case] link_base: &str, #[case] setting: &str) {
    let options = Options { link_base: Some(link_base.to_owned()), ..Options::unlimited() };
    let fake = FakeGitHub::start(world_with_labels(150), options).await;
    let sandbox = Sandbox::new(fake.url()).with("MSGHT_GITHUB__PUBLIC_URL", setting);
    sandbox.mirror(&[names::QUIET, "--only", "labels"]).await;
    // A repository that has not changed tells its address no more, nor does a page that is moved to another one.
    let quiet = fake.world(|world| world.repo(names::QUIET));
    let more: Vec<String> = (0..100).map(|number| format!("a {number:03}")).collect();
    fake.world_mut(|world| {
        for name in &more {
            world.add_label(quiet, name, None);
        }
    });
    sandbox.mirror(&[names::QUIET, "--only", "labels"]).await;
    assert_eq!(sandbox.stores().documents().await["repo_labels"].len(), 251);
    sandbox.mirror(&[names::OLD_NAME, "--only", "topics"]).await;
    let roots = fake.requests().iter().filter(|record| record.template == "/").count();
    assert!(roots <= 2 && (setting.is_empty() || roots == 0), "{roots} questions for the root");
}

#[tokio::test]
async fn link_to_another_host_names_the_setting() {
    let fake = FakeGitHub::start(world_with_labels(150), Options::unlimited()).await;
    fake.set_fault(Fault::always("/labels", FaultKind::ForeignNext("https://ghe.example.com/".to_owned())));
    let output = Sandbox::new(fake.url()).run(&["retrieve-repo", names::QUIET, "--only", "labels"]).await;
    assert_eq!((output.code, output.stage("labels")[0].as_str()), (Some(1), "failed"));
    assert!(output.out.contains("set github.public_url"), "{}", output.out);
}

#[tokio::test]
async fn disabled_pull_requests_keep_mirrored_ones() {
    let fake = FakeGitHub::start(World::edge_cases(1), Options::unlimited()).await;
    let sandbox = Sandbox::new(fake.url());
    sandbox.mirror(&[names::NO_ISSUES]).await;
    let before = sandbox.dump().await;
    let enable = |on: bool| {
        fake.world_mut(|world| {
            let repo = world.repo(names::NO_ISSUES);
            world.repos[repo].has_pull_requests = on;
        });
    };
    enable(false);
    let output = sandbox.mirror(&[names::NO_ISSUES]).await;
    for stage in ["pulls", "review-comments"] {
        assert_eq!(output.stage(stage)[0], "disabled", "{}", output.out);
    }
    assert_eq!(output.stage("details")[0], "done");
    let after = sandbox.stores().documents().await;
    for collection in ["pull_requests", "pull_request_commits", "pull_request_reviews"] {
        assert_eq!(before.0[collection], after[collection], "{collection}");
    }
    let fresh = Sandbox::new(fake.url()).mirror(&[names::NO_PULLS]).await;
    assert_eq!(fresh.stage("pulls")[0], "disabled");
    // The same answer without the repository's word for it.
    enable(true);
    fake.set_fault(Fault::always("/pulls", FaultKind::Status { status: 404, html: false }));
    let output = sandbox.run(&["retrieve-repo", names::NO_ISSUES]).await;
    assert_eq!((output.code, output.stage("pulls")[0].as_str()), (Some(1), "failed"));
}

#[rstest]
#[case::errors_of_the_server(500, 10, 40)]
#[case::time_outs_down_to_single_items(504, 4, 240)]
#[tokio::test]
async fn pages_shrink_to_what_the_server_makes(#[case] status: u16, #[case] most: usize, #[case] requests: usize) {
    let options = Options { heavy_page: Some(most), heavy_status: status, ..Options::unlimited() };
    let fake = FakeGitHub::start(world_with_labels(103), options).await;
    let sandbox = Sandbox::new(fake.url());
    sandbox.mirror(&[names::QUIET, "--only", "labels"]).await;
    assert_eq!(sandbox.stores().documents().await["repo_labels"].len(), 104);
    assert!(fake.request_count() < requests, "{} requests", fake.request_count());
}

#[tokio::test]
async fn missing_permission_of_any_stage_is_no_failure() {
    let fake = FakeGitHub::start(World::edge_cases(1), Options::unlimited()).await;
    let sandbox = Sandbox::new(fake.url());
    for path in ["/milestones?", "/issues?", "/pulls?", "/commits?"] {
        fake.set_fault(Fault::always(path, FaultKind::Permission("issues=read")));
    }
    let output = sandbox.mirror(&[names::QUIET]).await;
    for stage in ["milestones", "issues", "pulls", "commits"] {
        assert_eq!(&output.stage(stage)[..2], ["not", "permitted"], "{stage}\n{}", output.out);
    }
    assert_eq!(output.stage("labels")[0], "done");
    assert!(output.out.contains("it needs the permission issues=read"), "{}", output.out);
}
