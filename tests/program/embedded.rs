//! Labels and milestones change inside issues and pull requests without a change of those.

use serde_json::Value;

use fake_github::{FakeGitHub, Options, World, names};
use support::program::Sandbox;

#[tokio::test]
async fn carriers_have_current_labels_and_milestones() {
    let mut world = World::edge_cases(1);
    let r = world.repo(names::WEB);
    let used = |w: &World, l: u32, pull: bool| {
        w.repos[r].issues.iter().any(|i| !i.deleted && i.pull.is_some() == pull && i.labels.contains(&l))
    };
    let live: Vec<u32> =
        (0..).zip(&world.repos[r].labels).filter(|(_, label)| !label.deleted).map(|(at, _)| at).collect();
    let label = live.into_iter().find(|l| used(&world, *l, false)).unwrap();
    let name = world.repos[r].labels[label as usize].name.clone();
    let (issue, pull) = {
        let first = |pull: bool| world.repos[r].issues.iter().find(|i| !i.deleted && i.pull.is_some() == pull);
        (first(false).unwrap().number, first(true).unwrap().number)
    };
    for number in [issue, pull] {
        if !world.issue(r, number).labels.contains(&label) {
            world.label_issue(r, number, &name);
        }
        world.set_milestone(r, number, 0);
    }
    let fake = FakeGitHub::start(world, Options::unlimited()).await;
    let sandbox = Sandbox::new(fake.url());
    sandbox.mirror(&[names::WEB, "--detail", "skeleton"]).await;
    let old_title = fake.world_mut(|w| {
        let old = w.repos[r].milestones[0].title.clone();
        w.recolor_label(r, &name, "123456");
        w.close_milestone(r, 1);
        w.rename_milestone(r, 1, "another title");
        old
    });
    sandbox.mirror(&[names::WEB, "--detail", "skeleton"]).await;
    for (collection, path) in [("issues", "issues?state=all"), ("pull_requests", "pulls?state=all")] {
        let documents = sandbox.stores().collection(collection).await;
        let listed = fake.all(&format!("/repos/{}/{path}", names::WEB));
        let mut carriers = 0;
        for item in listed {
            let document = &documents[&format!("{}/{}", names::WEB, item["number"])];
            assert_eq!(document["labels"], item["labels"], "{collection} {}", item["number"]);
            for field in ["title", "state"] {
                assert_eq!(document["milestone"][field], item["milestone"][field], "{collection} {}", item["number"]);
            }
            carriers += usize::from(item["milestone"] != Value::Null);
        }
        assert!(carriers > 0, "some {collection} carry it");
    }
    let stores = sandbox.stores();
    let old = format!("SELECT deleted FROM repo_milestones WHERE name = '{old_title}'");
    assert_eq!(stores.number(&old).await, 1, "the former title's row is marked");
    assert_eq!(stores.number("SELECT deleted FROM repo_milestones WHERE name = 'another title'").await, 0);
}
