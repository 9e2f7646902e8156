//! GitHub fails in every way that it does: nothing is lost, nothing doubled, and what is missing is said.

use std::time::{Duration, SystemTime};

use rstest::rstest;

use fake_github::{Decoy, FakeGitHub, Fault, FaultKind, Limits, Options, TokenSpec, World, names};
use support::backends::Backends::{self, Embedded, Servers};
use support::program::Sandbox;
use support::stores::difference;

async fn undisturbed(fake: &FakeGitHub) -> Sandbox {
    let sandbox = Sandbox::new(fake.url());
    sandbox.mirror(&[names::WEB]).await;
    fake.reset_counters();
    sandbox
}

#[rstest]
#[case::server_errors(FaultKind::Status { status: 503, html: false })]
#[case::bad_gateways(FaultKind::Status { status: 502, html: true })]
#[case::resets(FaultKind::Reset)]
#[case::truncated_bodies(FaultKind::Truncated)]
#[case::html_in_place_of_json(FaultKind::HtmlOk)]
#[case::empty_bodies(FaultKind::Empty)]
#[case::bodies_cut_without_a_trace(FaultKind::Cut)]
#[case::bodies_that_drip(FaultKind::Drip { pieces: 4, pause: Duration::from_millis(20) })]
#[case::outages_that_name_a_time(FaultKind::Unavailable { status: 503, retry_after: 1 })]
#[case::refusals_of_a_machine_in_between(FaultKind::Status { status: 403, html: true })]
#[case::nothing_found_by_a_machine_in_between(FaultKind::Status { status: 404, html: true })]
#[tokio::test]
async fn occasional_faults_change_nothing(#[values(Embedded, Servers)] stores: Backends, #[case] kind: FaultKind) {
    let _over = stores.select();
    let fake = FakeGitHub::start(World::edge_cases(1), Options::unlimited()).await;
    let expected = undisturbed(&fake).await;
    fake.set_fault(Fault::percent(4, 7, "/repos/", kind));
    let sandbox = Sandbox::new(fake.url());
    sandbox.mirror(&[names::WEB]).await;
    assert!(fake.faults()[0].struck > 0);
    assert_eq!(difference(&expected.dump().await, &sandbox.dump().await), None);
}

#[rstest]
#[case::not_found(404, "Not Found")]
#[case::unprocessable(422, "Server Error: try again later")]
#[tokio::test]
async fn refusals_now_and_then_are_cured_by_quiet_runs(
    #[values(Embedded, Servers)] stores: Backends,
    #[case] status: u16,
    #[case] message: &'static str,
) {
    let _over = stores.select();
    let fake = FakeGitHub::start(World::edge_cases(1), Options::unlimited()).await;
    let expected = undisturbed(&fake).await;
    fake.set_fault(Fault::percent(10, 3, "/web/", FaultKind::Refusal { status, message }));
    let sandbox = Sandbox::new(fake.url());
    let output = sandbox.run(&["retrieve-repo", names::WEB]).await;
    assert_eq!(output.code, Some(1), "what is missing is said: {}", output.out);
    fake.clear_faults();
    sandbox.mirror(&[names::WEB]).await;
    assert_eq!(difference(&expected.dump().await, &sandbox.dump().await), None);
}

#[rstest]
#[tokio::test]
async fn indivisible_page_is_retried_as_often_as_any(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let fake = FakeGitHub::start(World::edge_cases(1), Options::unlimited()).await;
    let expected = undisturbed(&fake).await;
    let number = fake
        .world_mut(|w| w.repos[w.repo(names::WEB)].issues.iter().find(|issue| issue.pull.is_some()).unwrap().number);
    let bad_gateway = FaultKind::Status { status: 502, html: true };
    fake.set_fault(Fault::next(4, &format!("/pulls/{number}/commits"), bad_gateway));
    let sandbox = Sandbox::new(fake.url());
    sandbox.mirror(&[names::WEB]).await;
    assert_eq!(fake.faults()[0].struck, 4);
    assert_eq!(difference(&expected.dump().await, &sandbox.dump().await), None);
}

#[rstest]
#[case::by_status_403(FaultKind::Secondary { status: 403, retry_after: Some(1) })]
#[case::by_status_429(FaultKind::Secondary { status: 429, retry_after: Some(1) })]
#[tokio::test]
async fn a_pause_that_github_asks_for_is_kept(#[values(Embedded, Servers)] stores: Backends, #[case] kind: FaultKind) {
    let _over = stores.select();
    let options = Options { limits: Limits { secondary: false, ..Limits::default() }, ..Options::default() };
    let fake = FakeGitHub::start(World::edge_cases(1), options).await;
    fake.set_fault(Fault::next(1, "/issues", kind));
    let sandbox = Sandbox::new(fake.url());
    let output = sandbox.mirror(&[names::QUIET]).await;
    assert!(output.err.contains("waiting"), "{}", output.err);
    assert!(fake.limit_violations().is_empty(), "{:?}", fake.limit_violations());
}

#[rstest]
#[tokio::test]
async fn exhausted_token_waits_for_its_reset(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let options = Options {
        tokens: vec![TokenSpec::new("fake-token").budget(200, 70, 6)],
        limits: Limits { hour: 6, ..Limits::default() },
        ..Options::default()
    };
    let fake = FakeGitHub::start(World::edge_cases(1), options).await;
    let sandbox = Sandbox::new(fake.url());
    let output = sandbox.mirror(&[names::QUIET]).await;
    assert!(output.err.contains("rate limit"), "{}", output.err);
    assert!(fake.limit_violations().is_empty(), "{:?}", fake.limit_violations());
}

#[rstest]
#[tokio::test]
async fn server_without_limits_is_not_waited_for(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let fake = FakeGitHub::start(World::edge_cases(1), Options { limits: Limits::zero(), ..Options::default() }).await;
    let output = Sandbox::new(fake.url()).mirror(&[names::QUIET]).await;
    assert!(!output.err.contains("waiting"), "{}", output.err);
}

#[rstest]
#[tokio::test]
async fn limit_without_time_pauses_a_minute(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    // A little shorter than the minute that the client waits, so that coming too early would show.
    let limits = Limits { secondary: false, hidden_pause: 50, ..Limits::default() };
    let fake = FakeGitHub::start(World::edge_cases(1), Options { limits, ..Options::default() }).await;
    fake.set_fault(Fault::next(1, "/labels", FaultKind::Secondary { status: 403, retry_after: None }));
    let output = Sandbox::new(fake.url()).mirror(&[names::QUIET, "--only", "labels"]).await;
    assert!(output.err.contains("secondary rate limit"), "{}", output.err);
    assert!(fake.limit_violations().is_empty(), "{:?}", fake.limit_violations());
}

#[rstest]
#[tokio::test]
async fn the_last_requests_of_an_hour_are_not_overspent(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let options = Options {
        tokens: vec![TokenSpec::new("fake-token").budget(300, 80, 5)],
        limits: Limits { hour: 5, ..Limits::default() },
        latency: Duration::from_millis(40),
        ..Options::default()
    };
    let fake = FakeGitHub::start(World::edge_cases(1), options).await;
    Sandbox::new(fake.url()).mirror(&[names::QUIET]).await;
    assert!(fake.limit_violations().is_empty(), "{:?}", fake.limit_violations());
    assert_eq!(fake.by_status().get(&403), None, "no request met an empty budget");
}

#[rstest]
#[tokio::test]
async fn revoked_token_leaves_work_to_others(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let options = Options {
        tokens: vec![TokenSpec::new("first-token-0001"), TokenSpec::new("other-token-0002")],
        ..Options::unlimited()
    };
    let fake = FakeGitHub::start(World::edge_cases(1), options).await;
    fake.set_fault(Fault::next(1, "/issues/comments", FaultKind::Revoke));
    let sandbox = Sandbox::new(fake.url()).tokens("first-token-0001,other-token-0002");
    let output = sandbox.mirror(&[names::WEB]).await;
    assert!(
        output.err.contains("401") || output.err.to_lowercase().contains("refused") || output.err.contains("rejected"),
        "{}",
        output.err
    );
    for shown in [&output.err, &output.out] {
        assert!(!shown.contains("token-0001") && !shown.contains("token-0002"), "{shown}");
    }
}

#[rstest]
#[tokio::test]
async fn failing_stage_is_reported_and_others_complete(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let fake = FakeGitHub::start(World::edge_cases(1), Options::unlimited()).await;
    fake.set_fault(Fault::always("/labels?", FaultKind::Status { status: 500, html: false }));
    let sandbox = Sandbox::new(fake.url());
    let output = sandbox.run(&["retrieve-repo", names::QUIET]).await;
    assert_eq!(output.code, Some(1));
    assert_eq!(output.stage("labels")[0], "failed");
    assert_eq!(output.stage("issues")[0], "done");
    assert!(output.out.contains("labels: failed: ") && output.out.contains("500"), "{}", output.out);
    fake.clear_faults();
    sandbox.mirror(&[names::QUIET]).await;
    let fresh = Sandbox::new(fake.url());
    fresh.mirror(&[names::QUIET]).await;
    assert_eq!(difference(&fresh.dump().await, &sandbox.dump().await), None);
}

#[rstest]
#[case::partial_results(FaultKind::SsoPartial, "partial list")]
#[case::sso_required(FaultKind::SsoRequired, "single sign-on")]
#[tokio::test]
async fn withheld_data_is_an_error(
    #[values(Embedded, Servers)] stores: Backends,
    #[case] kind: FaultKind,
    #[case] said: &str,
) {
    let _over = stores.select();
    let fake = FakeGitHub::start(World::edge_cases(1), Options::unlimited()).await;
    fake.set_fault(Fault::always("/issues?", kind));
    let sandbox = Sandbox::new(fake.url());
    let output = sandbox.run(&["retrieve-repo", names::QUIET, "--detail", "skeleton"]).await;
    assert_eq!(output.code, Some(1), "{}", output.out);
    assert_eq!(output.stage("issues")[0], "failed");
    assert!(output.out.contains(said), "{said} is not in {}", output.out);
}

#[rstest]
#[tokio::test]
async fn a_token_never_leaves_for_another_host(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let decoy = Decoy::start().await;
    for kind in [FaultKind::Redirect(format!("{}repos/x", decoy.url())), FaultKind::ForeignNext(decoy.url().to_owned())]
    {
        let fake = FakeGitHub::start(World::edge_cases(1), Options::unlimited()).await;
        fake.set_fault(Fault::always("/issues?", kind));
        let sandbox = Sandbox::new(fake.url());
        let output = sandbox.run(&["retrieve-repo", names::WEB, "--only", "issues"]).await;
        assert_eq!(output.code, Some(1), "{}", output.out);
        assert_eq!(output.stage("issues")[0], "failed");
    }
    assert!(decoy.seen().is_empty(), "the other host saw {:?}", decoy.seen().len());
}

#[rstest]
#[tokio::test]
async fn heavy_pages_are_requested_in_parts(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let fake = FakeGitHub::start(World::edge_cases(1), Options::unlimited()).await;
    let expected = undisturbed(&fake).await;
    let heavy = FakeGitHub::start(World::edge_cases(1), Options { heavy_page: Some(60), ..Options::unlimited() }).await;
    let sandbox = Sandbox::new(heavy.url());
    sandbox.mirror(&[names::WEB, "--only", "issue-comments,pulls,issues"]).await;
    let (expected, found) = (expected.stores().documents().await, sandbox.stores().documents().await);
    for collection in ["issue_comments", "issues", "pull_requests"] {
        assert_eq!(expected[collection].len(), found[collection].len(), "{collection}");
    }
}

#[rstest]
#[tokio::test]
async fn capped_lists_are_completed_otherwise(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    // Every third page on is cut off: of pull requests, commits and issue comments.
    let options = Options { deep_page_cap: Some(1), ..Options::unlimited() };
    let fake = FakeGitHub::start(World::edge_cases(1), Options::unlimited()).await;
    let expected = undisturbed(&fake).await;
    let capped = FakeGitHub::start(World::edge_cases(1), options).await;
    let sandbox = Sandbox::new(capped.url());
    sandbox.mirror(&[names::WEB]).await;
    let (expected, found) = (expected.stores().documents().await, sandbox.stores().documents().await);
    for collection in ["commits", "pull_requests", "issue_comments"] {
        let missing: Vec<_> = expected[collection].keys().filter(|id| !found[collection].contains_key(*id)).collect();
        assert!(missing.is_empty(), "{collection} lacks {missing:?}");
    }
}

#[rstest]
#[tokio::test]
async fn the_limits_of_concurrency_and_pace_are_kept(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let options = Options { latency: Duration::from_millis(100), ..Options::default() };
    let fake = FakeGitHub::start(World::edge_cases(1), options).await;
    let sandbox = Sandbox::new(fake.url());
    sandbox.mirror(&[names::WEB]).await;
    let in_flight = fake.max_in_flight("fake-token");
    assert!((12..=16).contains(&in_flight), "{in_flight} in flight");
    // 900 requests take more than a minute. A burst of 60 and 13.5 a second, over whatever time, are what keeps each minute
    // below them.
    let mut at: Vec<SystemTime> = fake.requests().iter().map(|request| request.at).collect();
    at.sort();
    assert!(at.len() > 150, "{} requests are within any pace", at.len());
    for (first, began) in at.iter().enumerate() {
        for (last, ended) in at.iter().enumerate().skip(first + 70) {
            let seconds = ended.duration_since(*began).unwrap().as_secs_f64();
            // What is sent may come late, but not more of it at once than is in flight.
            let most = 60.0 + 13.5 * seconds + 16.0;
            assert!((last - first + 1) as f64 <= most, "{} requests in {seconds} s", last - first + 1);
        }
    }
    assert!(fake.limit_violations().is_empty());
}
