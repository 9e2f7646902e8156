//! `update-repo`: repositories themselves, without what is in them.

use rstest::rstest;

use fake_github::{FakeGitHub, Options, World, names};
use support::backends::Backends::{self, Embedded, Servers};
use support::program::Sandbox;

#[rstest]
#[tokio::test]
async fn each_repository_gets_a_line_and_one_request(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let fake = FakeGitHub::start(World::edge_cases(1), Options::unlimited()).await;
    let sandbox = Sandbox::new(fake.url());
    sandbox.mirror(&[names::QUIET]).await;
    sandbox.mirror(&[names::ARCHIVED, "--detail", "skeleton"]).await;
    fake.world_mut(|w| {
        let (quiet, archived) = (w.repo(names::QUIET), w.repo(names::ARCHIVED));
        w.repos[quiet].description = Some("quieter".to_owned());
        w.rename_repo(archived, "kept");
    });
    fake.reset_counters();
    let output = sandbox.run(&["update-repo", names::QUIET, "contoso/kept", names::NO_STARS, names::ARCHIVED]).await;
    output.assert_output(0, &[]);
    assert_eq!(
        output.out,
        "contoso/quiet: changed\ncontoso/kept: renamed from contoso/archived\ncontoso/no-stars: new\n\
         contoso/kept: renamed from contoso/archived\n"
    );
    let stores = sandbox.stores();
    assert_eq!(stores.sql("SELECT description FROM projects WHERE name = 'quiet'").await, [["quieter"]]);
    assert_eq!(stores.collection("repos").await[names::QUIET]["description"], "quieter");
    assert_eq!(stores.number("SELECT count(*) FROM projects WHERE name = 'kept'").await, 1);
    assert!(stores.collection("issues").await.keys().any(|id| id.starts_with("contoso/kept/")));
    // The redirect is a request, too.
    assert_eq!(fake.request_count(), 5, "{:?}", fake.by_template());

    fake.reset_counters();
    let before = stores.data_fingerprint().await;
    let output = sandbox.run(&["update-repo", "contoso", "quiet"]).await;
    output.assert_output(0, &[]);
    assert_eq!((output.out.as_str(), fake.counted()), ("contoso/quiet: unchanged\n", 0));
    assert!(stores.data_fingerprint().await == before);
}

#[rstest]
#[tokio::test]
async fn gone_repository_is_marked_unknown_is_an_error(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let fake = FakeGitHub::start(World::edge_cases(1), Options::unlimited()).await;
    let sandbox = Sandbox::new(fake.url());
    sandbox.mirror(&[names::QUIET]).await;
    sandbox.run(&["update-repo", names::NO_STARS, names::WEB]).await.assert_output(0, &[]);
    fake.world_mut(|w| {
        w.delete_repo(w.repo(names::QUIET));
        w.take_down(w.repo(names::NO_STARS));
    });
    for _ in 0..2 {
        let output = sandbox.run(&["update-repo", names::QUIET, names::NO_STARS, names::WEB]).await;
        output.assert_output(0, &[]);
        assert_eq!(
            output.out,
            "contoso/quiet: gone, marked deleted\ncontoso/no-stars: gone, marked deleted\ncontoso/web: unchanged\n"
        );
    }
    let stores = sandbox.stores();
    let deleted = stores.sql("SELECT name FROM projects WHERE deleted = 1 ORDER BY name").await;
    assert_eq!(deleted, [["no-stars"], ["quiet"]]);
    assert!(stores.collection("repos").await[names::QUIET]["_msght"]["deleted_at"].is_string());
    assert!(!stores.collection("issues").await.is_empty(), "its data stay");

    let output = sandbox.run(&["update-repo", names::GONE, names::WEB]).await;
    output.assert_output(1, &["error: contoso/gone: no token can read contoso/gone", "1 of 2 repositories incomplete"]);
    assert_eq!(output.out, "contoso/web: unchanged\n");
    let output = sandbox.run(&["update-repo", "nonsense"]).await;
    output.assert_output(2, &["\"nonsense\" is not a repository name"]);
}
