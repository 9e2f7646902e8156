//! The families hold the same: document for document, row for row.

use rstest::rstest;

use fake_github::{FakeGitHub, Options, World, names};
use support::backends::Backends;
use support::program::Sandbox;
use support::stores::difference;

#[rstest]
#[case(Backends::Servers, Backends::Servers)]
#[case(Backends::Servers, Backends::Embedded)]
#[case(Backends::Embedded, Backends::Servers)]
#[tokio::test]
async fn both_families_store_the_same(#[case] documents: Backends, #[case] relational: Backends) {
    let fake = FakeGitHub::start(World::edge_cases(5), Options::unlimited()).await;
    let embedded = Sandbox::over(fake.url(), Backends::Embedded, Backends::Embedded);
    let other = Sandbox::over(fake.url(), documents, relational);
    let repositories =
        [names::WEB, names::WEB_FORK, names::QUIET, names::EMPTY, names::NO_ISSUES, names::PRIVATE, names::NEW_NAME];
    for sandbox in [&embedded, &other] {
        sandbox.mirror(&repositories).await;
    }
    assert_eq!(difference(&embedded.dump().await, &other.dump().await), None);
    // What goes through an update, a renamed repository and a mark of deletion, too.
    fake.world_mut(|w| {
        let web = w.repo(names::WEB);
        let (issue, comment) = (w.repos[web].issues[0].number, w.repos[web].comments[0].id);
        w.edit_issue_title(web, issue, "another title \u{1f389} 'with' \"quotes\" \\ and % . $");
        w.delete_comment(web, comment);
        let quiet = w.repo(names::QUIET);
        w.rename_repo(quiet, "silent");
    });
    for sandbox in [&embedded, &other] {
        sandbox.mirror(&[names::WEB, "contoso/silent"]).await;
    }
    assert_eq!(difference(&embedded.dump().await, &other.dump().await), None);
}
