//! Four processes of the program on one token, each with a repository of its own, over the same stores.

use std::time::Duration;

use fake_github::{FakeGitHub, Fault, FaultKind, Limits, Options, TokenSpec, World, names};
use support::program::{RunOutput, Sandbox, finish};

/// The four at once; all succeed.
async fn four(sandbox: &Sandbox) -> Vec<RunOutput> {
    let repositories = [names::QUIET, names::PRIVATE, names::NO_PULLS, names::NO_ISSUES];
    let running: Vec<_> = repositories.map(|name| finish(sandbox.spawn(&["retrieve-repo", name]))).into();
    let all = futures::future::join_all(running).await;
    for output in &all {
        assert_eq!(output.code, Some(0), "{}\n{}", output.out, output.err);
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn four_processes_stop_at_exhaustion() {
    let options = Options {
        tokens: vec![TokenSpec::new("fake-token").budget(40, 20, 4)],
        limits: Limits { hour: 4, ..Limits::default() },
        latency: Duration::from_millis(20),
        ..Options::default()
    };
    let fake = FakeGitHub::start(World::edge_cases(1), options).await;
    let all = four(&Sandbox::new(fake.url()).with("MSGHT_GITHUB__RESERVE", "0")).await;
    assert!(all.iter().any(|output| output.err.contains("waiting")), "the budget was used up");
    assert!(fake.limit_violations().is_empty(), "{:?}", fake.limit_violations());
    assert!(fake.max_points("fake-token") < 900 && fake.max_in_flight("fake-token") <= 100);
    let by_status = fake.by_status();
    assert!(by_status.get(&403).copied().unwrap_or(0) <= 3, "{by_status:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn four_processes_keep_a_pause() {
    let options = Options {
        limits: Limits { secondary: false, ..Limits::default() },
        latency: Duration::from_millis(20),
        ..Options::default()
    };
    let fake = FakeGitHub::start(World::edge_cases(1), options).await;
    for path in ["/issues", "/commits", "/pulls"] {
        fake.set_fault(Fault::next(1, path, FaultKind::Secondary { status: 403, retry_after: Some(2) }));
    }
    four(&Sandbox::new(fake.url())).await;
    assert!(fake.faults().iter().any(|fault| fault.struck > 0));
    assert!(fake.limit_violations().is_empty(), "{:?}", fake.limit_violations());
}
