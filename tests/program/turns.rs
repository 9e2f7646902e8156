//! One process at a time at a repository, whatever command it runs.

use fake_github::{FakeGitHub, Options, World, names};
use support::program::Sandbox;

#[tokio::test]
async fn repository_in_another_hand_is_waited_for() {
    let fake = FakeGitHub::start(World::edge_cases(1), Options::unlimited()).await;
    let sandbox = Sandbox::new(fake.url());
    sandbox.mirror(&[names::QUIET, "--only", "topics"]).await;
    let hold = |name: &str, until: &str| {
        format!(
            "INSERT INTO msght_leases (name, holder, since, expires_at) \
             VALUES ('{name}', 'elsewhere/1/00000000/11111111', 0, unixepoch() + {until})"
        )
    };
    let tables = &sandbox.stores().relational;
    tables.execute(&hold(&format!("project {}", names::QUIET), "3")).await;
    let output = sandbox.run(&["retrieve-repo", names::QUIET, "--only", "topics"]).await;
    output.assert_output(0, &["elsewhere/1/00000000/11111111 has it since", "waiting up to"]);
    // No lease ends in an hour: that holder's clock was ahead.
    tables.execute(&hold(&format!("project {}", names::QUIET), "3600")).await;
    let output = sandbox.run(&["update-repo", names::QUIET]).await;
    output.assert_output(0, &[]);
    assert!(!output.err.contains("has it since"), "{}", output.err);
    tables.execute(&hold("user alice", "2")).await;
    sandbox.run(&["retrieve-user", "alice"]).await.assert_output(0, &["has it since"]);
    assert_eq!(sandbox.stores().number("SELECT count(*) FROM msght_leases").await, 0);
}
