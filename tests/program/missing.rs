//! What others refer to and GitHub no longer has: listed by every run, and asked for again until it comes.

use rstest::rstest;

use fake_github::{FakeGitHub, Fault, FaultKind, Options, World};
use support::backends::Backends::{self, Embedded, Servers};
use support::program::Sandbox;

#[rstest]
#[tokio::test]
async fn missing_commit_is_listed_and_retried(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let mut world = World::many(1, 1);
    let repo = world.repo("contoso/r000");
    let (user, head) = (world.user("dev0"), world.repos[repo].branches["main"]);
    let who = world.person_of(user);
    let lost = world.new_commit(repo, &[head], who, "Pushed away");
    world.comment_commit(repo, lost, Some(user), "Why?");
    world.lose_commit(lost);
    let fake = FakeGitHub::start(world, Options::unlimited()).await;
    let sha = fake.world(|w| w.sha(lost));
    let sandbox = Sandbox::new(fake.url());
    for attempt in 1..=2 {
        let output = sandbox.mirror(&["contoso/r000"]).await;
        assert_eq!(output.stage("details")[0], "limited", "{}", output.out);
        assert!(output.out.contains(&format!("commit {sha}: GET ")), "{}", output.out);
        assert!(output.out.contains(&format!("attempt {attempt}")), "{}", output.out);
    }
    // What a branch leads to can't be gone, whatever GitHub says of it.
    fake.world_mut(|w| w.restore_commit(repo, lost));
    let sha_of_head = fake.world(|w| w.sha(head));
    let pushed = fake.world_mut(|w| w.push(repo, "main", 1, who))[0];
    sandbox.mirror(&["contoso/r000", "--detail", "skeleton"]).await;
    fake.world_mut(|w| {
        w.force_push(repo, "main", 1, 0);
        w.lose_commit(pushed);
    });
    let output = sandbox.mirror(&["contoso/r000"]).await;
    assert_eq!(output.stage("details")[0], "limited", "no branch leads to it after the force-push: {}", output.out);
    fake.world_mut(|w| w.restore_commit(repo, pushed));
    sandbox.mirror(&["contoso/r000"]).await;
    assert_eq!(sandbox.stores().number("SELECT count(*) FROM msght_missing_items").await, 0);
    let commits = sandbox.stores().collection("commits").await;
    assert!(commits.values().all(|commit| commit["stats"].is_object()));
    let not_found = FaultKind::Refusal { status: 404, message: "Not Found" };
    fake.set_fault(Fault::always(&format!("/commits/{sha_of_head}"), not_found));
    for _ in 0..2 {
        let output = sandbox.run(&["retrieve-repo", "contoso/r000", "--full"]).await;
        assert_eq!((output.code, output.stage("details")[0].as_str()), (Some(1), "incomplete"), "{}", output.out);
        assert!(output.out.contains("a branch or tag leads to it"), "{}", output.out);
    }
}
