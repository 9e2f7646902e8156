//! Who can read what: private repositories, several tokens, none at all.

use rstest::rstest;

use fake_github::{FakeGitHub, Fault, FaultKind, Options, TokenSpec, Visible, World, names};
use support::backends::Backends::{self, Embedded, Servers};
use support::program::Sandbox;

fn two_tokens() -> Options {
    Options {
        tokens: vec![
            TokenSpec::new("blind-token-0001").private(Visible::None),
            TokenSpec::new("seeing-token-0002").private(Visible::Only(vec![names::PRIVATE.to_owned()])),
        ],
        ..Options::unlimited()
    }
}

#[rstest]
#[tokio::test]
async fn private_repository_is_read_with_the_right_token(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let fake = FakeGitHub::start(World::edge_cases(1), two_tokens()).await;
    let sandbox = Sandbox::new(fake.url()).tokens("blind-token-0001,seeing-token-0002");
    sandbox.mirror(&[names::PRIVATE]).await;
    let asked = fake.requests();
    let blind = asked
        .iter()
        .filter(|request| request.token == "blind-token-0001" && request.path_and_query.contains("private"))
        .count();
    assert!(blind <= 1, "the blind token is asked once at most, for the repository itself: {blind}");
}

#[rstest]
#[tokio::test]
async fn owners_new_token_confirms_private_deletion(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let mut world = World::edge_cases(1);
    let other = world.repo(names::ARCHIVED);
    world.repos[other].private = true;
    let old = TokenSpec::new("old-token-000001");
    let new = TokenSpec { login: "contoso-admin".into(), ..TokenSpec::new("new-token-000002") };
    let tokens = vec![old, new.scopes("repo, read:org")];
    let fake = FakeGitHub::start(world, Options { tokens, ..Options::unlimited() }).await;
    let sandbox = Sandbox::new(fake.url()).tokens("old-token-000001");
    sandbox.mirror(&[names::PRIVATE, "--only", "topics"]).await;
    let sandbox = sandbox.tokens("new-token-000002");
    fake.world_mut(|world| {
        let gone = world.repo(names::PRIVATE);
        world.delete_repo(gone);
        let (contoso, admin) = (world.user("contoso"), world.user("contoso-admin"));
        world.join(contoso, admin, false);
    });
    let admin = fake.world(|world| world.user("contoso-admin"));
    let deleted = async || sandbox.stores().number("SELECT count(*) FROM projects WHERE deleted = 1").await;
    // A member is shown what it was given, an owner everything.
    let output = sandbox.run(&["retrieve-repo", names::PRIVATE]).await;
    assert!(output.err.contains("no token can read"), "{}", output.err);
    assert_eq!(deleted().await, 0);
    fake.world_mut(|world| world.make_owner("contoso", admin));
    let output = sandbox.run(&["retrieve-repo", names::PRIVATE]).await;
    assert!(output.err.contains("marked as deleted"), "{}", output.err);
    assert_eq!(deleted().await, 1);
}

#[rstest]
#[tokio::test]
async fn private_repository_in_other_case_uses_same_token(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let fake = FakeGitHub::start(World::edge_cases(1), two_tokens()).await;
    let sandbox = Sandbox::new(fake.url()).tokens("blind-token-0001,seeing-token-0002");
    sandbox.mirror(&["Contoso/PRIVATE"]).await;
    assert_eq!(sandbox.stores().number("SELECT count(*) FROM projects WHERE name = 'private'").await, 1);
}

#[rstest]
#[tokio::test]
async fn unreadable_repository_names_each_token_and_run_continues(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let options = Options {
        tokens: vec![
            TokenSpec::new("blind-token-0001").private(Visible::None),
            TokenSpec::new("dark-token-00002").private(Visible::None),
        ],
        ..Options::unlimited()
    };
    let fake = FakeGitHub::start(World::edge_cases(1), options).await;
    let sandbox = Sandbox::new(fake.url()).tokens("blind-token-0001,dark-token-00002");
    let output = sandbox.run(&["retrieve-repo", names::PRIVATE, names::QUIET]).await;
    assert_eq!(output.code, Some(1));
    assert!(output.err.contains("no token can read contoso/private"), "{}", output.err);
    assert!(
        output.err.contains("2 tried") && output.err.contains("blin…") && output.err.contains("dark…"),
        "{}",
        output.err
    );
    assert!(!output.err.contains("token-0001"), "{}", output.err);
    assert!(output.out.contains(names::QUIET), "the next repository is mirrored: {}", output.out);
    assert!(output.err.contains("1 of 2 repositories"), "{}", output.err);
}

#[rstest]
#[tokio::test]
async fn anonymous_run_mirrors_public_repositories(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let fake = FakeGitHub::start(World::edge_cases(1), Options::unlimited()).await;
    let sandbox = Sandbox::new(fake.url()).tokens("");
    let output = sandbox.run(&["retrieve-repo", names::QUIET, "--only", "issues,labels"]).await;
    assert_eq!(output.code, Some(0), "{}\n{}", output.out, output.err);
    assert_eq!(output.err.matches("60").count(), 1, "said once: {}", output.err);
    assert!(!sandbox.stores().documents().await["issues"].is_empty());
}

#[rstest]
#[tokio::test]
async fn no_secret_is_in_any_output_log_or_database(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let token = "ghp_verysecrettokenverysecrettoken012345";
    let options = Options { tokens: vec![TokenSpec::new(token)], ..Options::unlimited() };
    let fake = FakeGitHub::start(World::edge_cases(1), options).await;
    let sandbox = Sandbox::new(fake.url()).tokens(token).with("MSGHT_LOGGING__LEVEL", "trace");
    let output = sandbox.run(&["--verbose", "retrieve-repo", names::QUIET, names::GONE]).await;
    let mut leaks = vec![("output", output.out.into_bytes()), ("errors", output.err.into_bytes())];
    for entry in std::fs::read_dir(sandbox.data_dir()).unwrap() {
        leaks.push(("a file of the data directory", std::fs::read(entry.unwrap().path()).unwrap()));
    }
    let on_servers = sandbox.stores().everything_on_servers().await;
    leaks.extend(on_servers.into_iter().map(|text| ("a database", text.into_bytes())));
    assert!(leaks.len() > 4, "output, errors, the log and both stores");
    for (name, bytes) in leaks {
        let found = bytes.windows(12).any(|window| window == &token.as_bytes()[4..16]);
        assert!(!found, "the token is in {name}");
    }
}

#[rstest]
#[tokio::test]
async fn anonymous_run_reports_what_needs_a_token(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let options = Options { anonymous: true, ..Options::unlimited() };
    let fake = FakeGitHub::start(World::edge_cases(1), options).await;
    let output = Sandbox::new(fake.url()).tokens("").mirror(&[names::QUIET, "--detail", "skeleton"]).await;
    assert_eq!(output.stage("people")[..2], ["not", "permitted"], "{}", output.out);
    assert!(output.out.contains("GitHub requires a token for this (401); set GITHUB_TOKEN"), "{}", output.out);
    for stage in ["issues", "commits", "issue-events", "events", "forks"] {
        assert_eq!(output.stage(stage)[0], "done", "{}", output.out);
    }
}

#[rstest]
#[tokio::test]
async fn renamed_private_repository_keeps_its_token(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let mut world = World::edge_cases(1);
    let private = world.repo(names::PRIVATE);
    world.rename_repo(private, "hidden");
    let options = Options {
        tokens: vec![
            TokenSpec::new("blind-token-0001").private(Visible::None),
            TokenSpec::new("seeing-token-0002").private(Visible::Only(vec!["contoso/hidden".to_owned()])),
        ],
        ..Options::unlimited()
    };
    let fake = FakeGitHub::start(world, options).await;
    let sandbox = Sandbox::new(fake.url()).tokens("blind-token-0001,seeing-token-0002");
    sandbox.mirror(&[names::PRIVATE]).await;
    sandbox.mirror(&["contoso/hidden"]).await;
    assert_eq!(sandbox.stores().number("SELECT count(*) FROM projects WHERE name = 'hidden'").await, 1);
}

#[rstest]
#[tokio::test]
async fn rejected_token_is_skipped_for_public_repositories(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let options = Options {
        tokens: vec![TokenSpec::new("refused-token-001").refused(&[names::QUIET]), TokenSpec::new("allowed-token-002")],
        ..Options::unlimited()
    };
    let fake = FakeGitHub::start(World::edge_cases(1), options).await;
    let sandbox = Sandbox::new(fake.url()).tokens("refused-token-001,allowed-token-002");
    for _ in 0..2 {
        sandbox.mirror(&[names::QUIET]).await;
    }
    let alone = Sandbox::new(fake.url()).tokens("refused-token-001");
    let output = alone.run(&["retrieve-repo", names::QUIET]).await;
    assert_eq!(output.code, Some(1));
    assert!(output.err.contains("single sign-on"), "{}", output.err);
}

#[rstest]
#[tokio::test]
async fn unchanged_run_with_several_tokens_is_free(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let tokens = ["token-one-00001", "token-two-00002", "token-three-0003"];
    let options = Options { tokens: tokens.map(TokenSpec::new).to_vec(), ..Options::unlimited() };
    let fake = FakeGitHub::start(World::edge_cases(1), options).await;
    let sandbox = Sandbox::new(fake.url()).tokens(&tokens.join(","));
    sandbox.mirror(&[names::WEB]).await;
    sandbox.mirror(&[names::WEB]).await;
    fake.reset_counters();
    sandbox.mirror(&[names::WEB]).await;
    let free = fake.by_status().get(&304).copied().unwrap_or(0);
    assert!(free >= 20 && fake.counted() <= 1, "{} counted, {free} free", fake.counted());
}

#[rstest]
#[tokio::test]
async fn forbidden_list_falls_back_to_another_token(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let options = Options {
        tokens: vec![TokenSpec::new("narrow-token-001").without_stars(), TokenSpec::new("wide-token-00002")],
        ..Options::unlimited()
    };
    let fake = FakeGitHub::start(World::edge_cases(1), options).await;
    for tokens in ["narrow-token-001,wide-token-00002", "wide-token-00002,narrow-token-001"] {
        let output = Sandbox::new(fake.url()).tokens(tokens).mirror(&[names::WEB, "--detail", "skeleton"]).await;
        assert_eq!(
            (output.stage("stars")[0].as_str(), output.stage("people")[0].as_str()),
            ("done", "done"),
            "{}",
            output.out
        );
    }
}

#[rstest]
#[tokio::test]
async fn unproven_deletion_marks_nothing(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let fake = FakeGitHub::start(World::edge_cases(1), Options::unlimited()).await;
    let sandbox = Sandbox::new(fake.url());
    sandbox.mirror(&[names::QUIET]).await;
    for kind in [FaultKind::Permission("metadata=read"), FaultKind::Status { status: 404, html: true }] {
        fake.clear_faults();
        fake.set_fault(Fault::next(1, names::QUIET, kind));
        sandbox.run(&["retrieve-repo", names::QUIET]).await;
        assert_eq!(sandbox.stores().number("SELECT count(*) FROM projects WHERE deleted = 1").await, 0);
    }
    // A fork that is known from the list of forks alone was never mirrored.
    sandbox.mirror(&[names::WEB, "--only", "forks"]).await;
    fake.world_mut(|w| w.delete_repo(w.repo(names::WEB_FORK)));
    assert_eq!(sandbox.run(&["retrieve-repo", names::WEB_FORK]).await.code, Some(1));
    assert_eq!(sandbox.stores().number("SELECT count(*) FROM projects WHERE deleted = 1").await, 0);
    // What was deleted, and comes back unchanged, is there again.
    fake.clear_faults();
    let number = fake.world(|w| w.repos[w.repo(names::QUIET)].id);
    for path in [names::QUIET.to_owned(), format!("/repositories/{number}")] {
        fake.set_fault(Fault::next(1, &path, FaultKind::Status { status: 404, html: false }));
    }
    assert_eq!(sandbox.run(&["retrieve-repo", names::QUIET]).await.code, Some(1));
    assert_eq!(sandbox.stores().number("SELECT count(*) FROM projects WHERE deleted = 1").await, 1);
    sandbox.mirror(&[names::QUIET]).await;
    assert_eq!(sandbox.stores().number("SELECT count(*) FROM projects WHERE deleted = 1").await, 0);
}
