//! One process at a time at a repository, whatever command it runs.

use fake_github::{FakeGitHub, Options, World, names};
use support::program::Place;

#[tokio::test]
async fn repository_in_another_hand_is_waited_for() {
    let fake = FakeGitHub::start(World::edge_cases(1), Options::unlimited()).await;
    let place = Place::new(fake.url());
    place.mirror(&[names::QUIET, "--only", "topics"]).await;
    let hold = |name: &str, until: &str| {
        format!(
            "INSERT INTO msght_leases (name, holder, since, expires_at) \
             VALUES ('{name}', 'elsewhere/1/00000000/11111111', 0, unixepoch() + {until})"
        )
    };
    let tables = &place.stores().relational;
    tables.execute(&hold(&format!("project {}", names::QUIET), "3")).await;
    let ran = place.run(&["retrieve-repo", names::QUIET, "--only", "topics"]).await;
    ran.said(0, &["elsewhere/1/00000000/11111111 has it since", "waiting up to"]);
    // No lease ends in an hour: that holder's clock was ahead.
    tables.execute(&hold(&format!("project {}", names::QUIET), "3600")).await;
    let ran = place.run(&["update-repo", names::QUIET]).await;
    ran.said(0, &[]);
    assert!(!ran.err.contains("has it since"), "{}", ran.err);
    tables.execute(&hold("user alice", "2")).await;
    place.run(&["retrieve-user", "alice"]).await.said(0, &["has it since"]);
    assert_eq!(place.stores().number("SELECT count(*) FROM msght_leases").await, 0);
}
