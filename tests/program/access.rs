//! Who can read what: private repositories, several tokens, none at all.

use crate::support::fake_github::{FakeGitHub, Options, TokenSpec, Visible, World, names};
use crate::support::program::Place;

fn two_tokens() -> Options {
    Options {
        tokens: vec![
            TokenSpec::new("blind-token-0001").private(Visible::None),
            TokenSpec::new("seeing-token-0002").private(Visible::Only(vec![names::PRIVATE.to_owned()])),
        ],
        ..Options::unlimited()
    }
}

#[tokio::test]
async fn the_token_that_can_read_a_private_repository_is_found_and_used() {
    let fake = FakeGitHub::start(World::edge_cases(1), two_tokens()).await;
    let place = Place::new(fake.url()).tokens("blind-token-0001,seeing-token-0002");
    place.mirror(&[names::PRIVATE]).await;
    let asked = fake.requests();
    let blind = asked
        .iter()
        .filter(|request| request.token == "blind-token-0001" && request.path_and_query.contains("private"))
        .count();
    assert!(blind <= 1, "the blind token is asked once at most, for the repository itself: {blind}");
}

#[tokio::test]
async fn a_private_repository_named_in_another_case_is_read_by_the_same_token() {
    let fake = FakeGitHub::start(World::edge_cases(1), two_tokens()).await;
    let place = Place::new(fake.url()).tokens("blind-token-0001,seeing-token-0002");
    place.mirror(&["Contoso/PRIVATE"]).await;
    assert_eq!(place.stores().number("SELECT count(*) FROM projects WHERE name = 'private'").await, 1);
}

#[tokio::test]
async fn a_repository_that_no_token_can_read_is_said_with_every_token_and_the_run_goes_on() {
    let options = Options {
        tokens: vec![
            TokenSpec::new("blind-token-0001").private(Visible::None),
            TokenSpec::new("dark-token-00002").private(Visible::None),
        ],
        ..Options::unlimited()
    };
    let fake = FakeGitHub::start(World::edge_cases(1), options).await;
    let place = Place::new(fake.url()).tokens("blind-token-0001,dark-token-00002");
    let ran = place.run(&["retrieve-repo", names::PRIVATE, names::QUIET]).await;
    assert_eq!(ran.code, Some(1));
    assert!(ran.err.contains("no token can read contoso/private"), "{}", ran.err);
    assert!(ran.err.contains("2 tried") && ran.err.contains("blin…") && ran.err.contains("dark…"), "{}", ran.err);
    assert!(!ran.err.contains("token-0001"), "{}", ran.err);
    assert!(ran.out.contains(names::QUIET), "the next repository is mirrored: {}", ran.out);
    assert!(ran.err.contains("1 of 2 repositories"), "{}", ran.err);
}

#[tokio::test]
async fn without_a_token_public_repositories_are_read_and_that_is_said_once() {
    let fake = FakeGitHub::start(World::edge_cases(1), Options::unlimited()).await;
    let place = Place::new(fake.url()).tokens("");
    let ran = place.run(&["retrieve-repo", names::QUIET, "--only", "issues,labels"]).await;
    assert_eq!(ran.code, Some(0), "{}\n{}", ran.out, ran.err);
    assert_eq!(ran.err.matches("60").count(), 1, "said once: {}", ran.err);
    assert!(!place.stores().documents().await["issues"].is_empty());
}

#[tokio::test]
async fn no_secret_is_in_any_output_log_or_database() {
    let token = "ghp_verysecrettokenverysecrettoken012345";
    let options = Options { tokens: vec![TokenSpec::new(token)], ..Options::unlimited() };
    let fake = FakeGitHub::start(World::edge_cases(1), options).await;
    let place = Place::new(fake.url()).tokens(token).with("MSGHT_LOGGING__LEVEL", "trace");
    let ran = place.run(&["--verbose", "retrieve-repo", names::QUIET, names::GONE]).await;
    let mut places = vec![("output", ran.out.into_bytes()), ("errors", ran.err.into_bytes())];
    for entry in std::fs::read_dir(place.data_dir()).unwrap() {
        places.push(("a file of the data directory", std::fs::read(entry.unwrap().path()).unwrap()));
    }
    assert!(places.len() > 4);
    for (name, bytes) in places {
        let found = bytes.windows(12).any(|window| window == &token.as_bytes()[4..16]);
        assert!(!found, "the token is in {name}");
    }
}
