//! `msght start`.

use crate::support::fake_github::{FakeGitHub, Options, World};
use crate::support::program::Place;

#[tokio::test]
async fn measure() {
    let fake = FakeGitHub::start(World::estate(3, &[("contoso", 12)]), Options::default()).await;
    let place = Place::new(fake.url());
    std::fs::write(place.path().join("orgs.txt"), "contoso\n").unwrap();
    let ran =
        place.run(&["retrieve-repo", "contoso/r000", "contoso/r001", "contoso/r002", "--detail", "skeleton"]).await;
    println!("{}{}", ran.out, ran.err);
    let ran = place.run(&["start", "--detail", "skeleton"]).await;
    println!("{}{}", ran.out, ran.err);
    fake.world_mut(|w| {
        let repo = w.repo("contoso/r001");
        let user = w.user("dev1");
        let who = w.person_of(user);
        w.push(repo, "main", 2, who);
        let repo = w.repo("contoso/r002");
        w.open_issue(repo, Some(user), "A title", None);
    });
    let ran = place.run(&["start", "--max-age", "0", "--detail", "skeleton"]).await;
    println!("{}{}", ran.out, ran.err);
    let ran = place.run(&["retrieve-repo", "contoso/r003"]).await;
    println!("{}{}", ran.out, ran.err);
}
