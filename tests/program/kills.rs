//! Killed anywhere, it goes on from there; two at once do no harm.

use std::time::Duration;

use rstest::rstest;

use fake_github::{FakeGitHub, Options, World, WorldSize, names};
use support::backends::Backends::{self, Embedded, Servers};
use support::program::{Sandbox, finish};
use support::stores::difference;

/// A little generator, so that the moments of the kills vary and can be repeated.
struct Moments(u64);

impl Moments {
    fn next(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }
}

#[rstest]
#[tokio::test]
async fn thirty_kills_end_like_an_undisturbed_run(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let latency = Duration::from_millis(2);
    let options = || Options { latency, ..Options::unlimited() };
    let world = || World::sized(3, WorldSize::of(2500, 400, 150));
    let fake = FakeGitHub::start(world(), options()).await;
    let undisturbed = Sandbox::new(fake.url());
    undisturbed.mirror(&["contoso/huge"]).await;
    let cost = fake.counted();
    fake.reset_counters();

    let sandbox = Sandbox::new(fake.url());
    let mut moments = Moments(20_260_101);
    let mut kills = 0;
    let mut runs = 0;
    while kills < 30 {
        runs += 1;
        assert!(runs < 200, "the run ends before it can be killed often enough: {kills} kills");
        // Early and late moments alike. A run that has ended well in the meantime begins anew.
        let wait = 30 + moments.next(400);
        let mut child = sandbox.spawn(&["retrieve-repo", "contoso/huge"]);
        tokio::time::sleep(Duration::from_millis(wait)).await;
        if child.try_wait().unwrap().is_some() {
            assert_eq!(finish(child).await.code, Some(0));
            if difference(&undisturbed.dump().await, &sandbox.dump().await).is_none() && kills >= 10 {
                // All was done: from here on kills strike a run that reads everything anew.
                let mut full = sandbox.spawn(&["retrieve-repo", "contoso/huge", "--full"]);
                tokio::time::sleep(Duration::from_millis(200 + wait)).await;
                full.kill().await.unwrap();
                kills += 1;
            }
            continue;
        }
        child.kill().await.unwrap();
        kills += 1;
    }
    sandbox.mirror(&["contoso/huge"]).await;
    assert_eq!(difference(&undisturbed.dump().await, &sandbox.dump().await), None);
    eprintln!("{kills} kills in {runs} runs: {} requests, {cost} without", fake.counted());
}

#[rstest]
#[tokio::test]
async fn kill_costs_only_requests_in_flight(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let options = Options { latency: Duration::from_millis(5), ..Options::unlimited() };
    let fake = FakeGitHub::start(World::sized(4, WorldSize::of(4000, 600, 300)), options).await;
    let undisturbed = Sandbox::new(fake.url());
    undisturbed.mirror(&["contoso/huge", "--detail", "skeleton"]).await;
    let cost = fake.request_count();
    let sandbox = Sandbox::new(fake.url());
    let mut extra = Vec::new();
    fake.reset_counters();
    for wait in [250_u64, 400, 550] {
        let mut child = sandbox.spawn(&["retrieve-repo", "contoso/huge", "--detail", "skeleton"]);
        tokio::time::sleep(Duration::from_millis(wait)).await;
        child.kill().await.unwrap();
        extra.push(fake.request_count());
    }
    sandbox.mirror(&["contoso/huge", "--detail", "skeleton"]).await;
    let whole = fake.request_count();
    // Each start asks again for the repository, its owner and the short lists, and for what was in flight (16).
    assert!(whole <= cost + 3 * (25 + 2 * 16 + 8), "{whole} requests with kills at {extra:?}, {cost} without");
    assert_eq!(difference(&undisturbed.dump().await, &sandbox.dump().await), None);
}

#[rstest]
#[tokio::test]
async fn two_processes_on_the_same_stores_agree(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let fake = FakeGitHub::start(World::edge_cases(1), Options::unlimited()).await;
    let alone = Sandbox::new(fake.url());
    alone.mirror(&[names::WEB]).await;
    let sandbox = Sandbox::new(fake.url());
    let both = [0, 1].map(|_| sandbox.spawn(&["retrieve-repo", names::WEB]));
    for child in both {
        let output = finish(child).await;
        assert_eq!(output.code, Some(0), "{}\n{}", output.out, output.err);
    }
    assert_eq!(difference(&alone.dump().await, &sandbox.dump().await), None);
    sandbox.stores().assert_sound().await;
}

#[cfg(unix)]
#[rstest]
#[tokio::test]
async fn a_polite_stop_leaves_the_rest_for_the_next_run(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let options = Options { latency: Duration::from_millis(20), ..Options::unlimited() };
    let fake = FakeGitHub::start(World::edge_cases(1), options).await;
    let sandbox = Sandbox::new(fake.url());
    for (signal, code) in [("-INT", 130), ("-TERM", 143), ("-HUP", 129)] {
        fake.reset_counters();
        let child = sandbox.spawn(&["retrieve-repo", names::WEB]);
        // In the midst of its work, however long the stores take to open.
        for _ in 0..3000 {
            if fake.request_count() >= 20 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let pid = child.id().unwrap().to_string();
        std::process::Command::new("kill").args([signal, &pid]).status().unwrap();
        let output = finish(child).await;
        assert_eq!(output.code, Some(code), "{}\n{}", output.out, output.err);
        assert!(output.out.contains("not reached: stopped on request"), "{}\n{}", output.err, output.out);
    }
    sandbox.mirror(&[names::WEB]).await;
    let alone = Sandbox::new(fake.url());
    alone.mirror(&[names::WEB]).await;
    assert_eq!(difference(&alone.dump().await, &sandbox.dump().await), None);
}
