//! Pins what users read: help, tables, settings, the errors they meet most, and the embedded stores' schemas.
//!
//! After a wanted change: `INSTA_UPDATE=always cargo test --test program snapshots`, then read the difference with git.

use std::fmt::Write as _;

use fake_github::{AppSpec, FakeGitHub, Fault, FaultKind, InstallationSpec, Options, TokenSpec, World, names};
use support::program::{RunOutput, Sandbox};
use support::snapshot::{assert_snapshot, render};
use support::stores::{DocumentStore, RelationalStore};

/// An address that nothing answers at.
const NOWHERE: &str = "http://127.0.0.1:1/";

/// Compares a run's exit code and outputs with a snapshot.
fn assert_run(name: &str, sandbox: &Sandbox, args: &[&str], output: &RunOutput) {
    assert_snapshot(name, &render(sandbox, args, output));
}

#[tokio::test]
async fn help_of_every_command() {
    let sandbox = Sandbox::new(NOWHERE);
    let help = sandbox.run(&["--help"]).await;
    let commands = help.out.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    // A description that is longer than a line goes on below itself.
    let named = commands.filter(|line| !line.starts_with("   "));
    let names: Vec<&str> = named.filter_map(|line| line.split_whitespace().next()).collect();
    assert!(names.len() > 10, "{names:?}");
    assert_run("help", &sandbox, &["--help"], &help);
    for name in names.into_iter().filter(|name| *name != "help") {
        let output = sandbox.run(&[name, "--help"]).await;
        assert_run(&format!("help_{name}"), &sandbox, &[name, "--help"], &output);
    }
}

#[tokio::test]
async fn settings_as_table_and_json() {
    let sandbox = Sandbox::new(NOWHERE).with("GHT_WEBHOOK_SECRET", "correct-horse-battery");
    std::fs::write(sandbox.path().join("msght.toml"), "[queue]\nprefetch = 5\n").unwrap();
    for (name, args) in [("config", &["config"][..]), ("config_json", &["config", "--json"])] {
        assert_run(name, &sandbox, args, &sandbox.run(args).await);
    }
}

#[tokio::test]
async fn tables_of_one_repository() {
    let fake = FakeGitHub::start(World::edge_cases(1), Options::unlimited()).await;
    let sandbox = Sandbox::new(fake.url());
    for (name, args) in [
        ("config_check_before_first_run", &["config", "--check"][..]),
        ("retrieve_repo_first", &["retrieve-repo", names::QUIET]),
        ("retrieve_repo_again", &["retrieve-repo", names::QUIET]),
        ("retrieve_repo_skeleton", &["retrieve-repo", names::NO_ISSUES, "--detail", "skeleton"]),
        ("retrieve_repo_only", &["retrieve-repo", names::NO_PULLS, "--only", "labels,pulls"]),
        ("retrieve_repo_renamed", &["retrieve-repo", names::OLD_NAME, "--only", "topics"]),
        ("retrieve_repo_quiet", &["retrieve-repo", names::QUIET, "--quiet"]),
        ("update_repo", &["update-repo", names::QUIET, names::EMPTY]),
        ("retrieve_user", &["retrieve-user", "alice", "nobody-of-that-name"]),
        ("config_check", &["config", "--check"]),
        ("migrate", &["migrate"]),
    ] {
        assert_run(name, &sandbox, args, &sandbox.run(args).await);
    }
}

#[tokio::test]
async fn table_of_an_incomplete_repository() {
    let mut world = World::empty(1);
    let r = world.plain("contoso/large");
    let commit = world.repos[r].branches["main"];
    world.commits[commit as usize].files = 3100;
    let fake = FakeGitHub::start(world, Options::unlimited()).await;
    fake.set_fault(Fault::always("/labels", FaultKind::Status { status: 422, html: false }));
    fake.set_fault(Fault::always("/milestones?", FaultKind::Permission("issues=read")));
    let sandbox = Sandbox::new(fake.url());
    let args = ["retrieve-repo", "contoso/large"];
    assert_run("retrieve_repo_incomplete", &sandbox, &args, &sandbox.run(&args).await);
}

#[tokio::test]
async fn tables_of_an_organization() {
    let tokens = vec![
        TokenSpec { login: "dev0".to_owned(), ..TokenSpec::new("token-one") }.scopes("repo, read:org"),
        TokenSpec { login: "outsider".to_owned(), ..TokenSpec::new("token-two") },
    ];
    let options = Options { tokens, ..Options::default() };
    let fake = FakeGitHub::start(World::estate(41, &[("contoso", 4), ("fabrikam", 2)]), options).await;
    let sandbox = Sandbox::new(fake.url()).tokens("token-one,token-two");
    std::fs::write(sandbox.path().join("orgs.txt"), "contoso\nfabrikam\n").unwrap();
    for (name, args) in [("check", &["check"][..]), ("check_json", &["check", "--json"])] {
        assert_run(name, &sandbox, args, &sandbox.run(args).await);
    }
    // One token alone, so that every run finds the tags that were given to it.
    let sandbox = sandbox.tokens("token-one");
    for (name, args) in [
        ("get_repos_first", &["get-repos"][..]),
        ("get_repos_again", &["get-repos"]),
        ("start_dry_run", &["start", "--dry-run"]),
        ("start", &["start", "--detail", "skeleton", "--jobs", "1"]),
        ("start_nothing_due", &["start", "--detail", "skeleton", "--jobs", "1"]),
        ("start_enqueue", &["start", "--max-age", "0", "--enqueue"]),
        ("retrieve_repos", &["retrieve-repos", "--drain", "--jobs", "1", "--detail", "skeleton"]),
    ] {
        assert_run(name, &sandbox, args, &sandbox.run(args).await);
    }
    fake.world_mut(|w| {
        let r = w.repo("contoso/r000");
        w.rename_repo(r, "renamed");
    });
    std::fs::write(sandbox.path().join("orgs.txt"), "contoso\nnowhere\n").unwrap();
    for (name, args) in [
        ("get_repos_missing_organization", &["get-repos"][..]),
        ("start_with_failures", &["start", "--detail", "skeleton", "--jobs", "1", "--max-age", "0"]),
        ("start_request_limit", &["start", "--jobs", "1", "--max-age", "0", "--max-requests", "5"]),
    ] {
        assert_run(name, &sandbox, args, &sandbox.run(args).await);
    }
}

#[tokio::test]
async fn check_with_problems() {
    let app = AppSpec::new(4711).installed(InstallationSpec::on("contoso").without("issues"));
    let tokens = vec![TokenSpec::new("good-token-00001").scopes("gist")];
    let options = Options { tokens, app: Some(app), ..Options::default() };
    let fake = FakeGitHub::start(World::estate(41, &[("contoso", 3)]), options).await;
    let sandbox = Sandbox::new(fake.url())
        .tokens("good-token-00001,gone-token-00002")
        .with("MSGHT_WEBHOOKS__PUBLIC_URL", "https://msght.example.com/hook")
        .with("GHT_WEBHOOK_SECRET", "correct-horse-battery")
        .with("MSGHT_DUMP__TARGET", "az://container/prefix");
    std::fs::write(sandbox.path().join("orgs.txt"), "contoso\nnowhere\n").unwrap();
    assert_run("check_with_problems", &sandbox, &["check"], &sandbox.run(&["check"]).await);
}

/// Runs that fail, as far as GitHub answers.
#[tokio::test]
async fn errors_of_tokens_and_repositories() {
    let fake = FakeGitHub::start(World::edge_cases(1), Options { anonymous: false, ..Options::unlimited() }).await;
    let sandbox = |tokens: &str| Sandbox::new(fake.url()).tokens(tokens);
    for (name, tokens, args) in [
        ("error_no_token", "", &["retrieve-repo", names::QUIET, "--only", "labels"][..]),
        ("error_bad_token", "bad-token", &["retrieve-repo", names::QUIET, "--only", "labels"]),
        ("error_bad_token_user", "bad-token", &["retrieve-user", "alice"]),
        ("error_unknown_repository", "fake-token", &["retrieve-repo", "contoso/nothing"]),
        ("error_unknown_repository_update", "fake-token", &["update-repo", "contoso/nothing"]),
    ] {
        let sandbox = sandbox(tokens);
        assert_run(name, &sandbox, args, &sandbox.run(args).await);
    }
    let sandbox = sandbox("bad-token");
    std::fs::write(sandbox.path().join("orgs.txt"), "contoso\n").unwrap();
    for (name, args) in [("error_bad_token_get_repos", &["get-repos"][..]), ("error_bad_token_start", &["start"])] {
        assert_run(name, &sandbox, args, &sandbox.run(args).await);
    }
    let open = FakeGitHub::start(World::edge_cases(1), Options::unlimited()).await;
    let sandbox = Sandbox::new(open.url()).tokens("");
    let args = ["retrieve-repo", names::QUIET, "--only", "labels"];
    assert_run("warning_no_token", &sandbox, &args, &sandbox.run(&args).await);
}

/// Errors before anything is asked for, one after the other in one snapshot.
#[tokio::test]
async fn errors_of_usage_and_settings() {
    let mut all = String::new();
    let mut add = |sandbox: &Sandbox, args: &[&str], output: &RunOutput| {
        writeln!(all, "{}", render(sandbox, args, output)).unwrap()
    };
    let sandbox = Sandbox::new(NOWHERE);
    for args in [
        &["no-such-command"][..],
        &["retrieve-repo"],
        &["retrieve-repo", "a/b/c"],
        &["retrieve-repo", "a/b", "--only", "everything"],
        &["retrieve-repo", "a/b", "--events-after", "5", "--events-before", "5"],
        &["--log-level", "loud", "config"],
        &["--config", "none.toml", "config"],
        &["start"],
        &["get-repos"],
        &["start", "--until", "25:99"],
        &["load", "--route", "projects", "--file", "none.txt"],
        &["load", "--route", "log", "--file", "none.txt"],
        &["load", "--route", "projects"],
    ] {
        add(&sandbox, args, &sandbox.run(args).await);
    }
    std::fs::write(sandbox.path().join("bad.txt"), "contoso\na b/c\n").unwrap();
    let args = ["get-repos", "--orgs", "bad.txt"];
    add(&sandbox, &args, &sandbox.run(&args).await);
    for file in [
        "colour = 1",
        "[github]\nap_url = 'x'",
        "[github]\nconcurrency = 0",
        "[github]\n\ntokens = '",
        "[github]\ntokens_file = 'none'",
        "[stores]\ntimeout = 'soon'",
    ] {
        let sandbox = Sandbox::new(NOWHERE);
        std::fs::write(sandbox.path().join("msght.toml"), file).unwrap();
        add(&sandbox, &["config"], &sandbox.run(&["config"]).await);
    }
    for (name, value) in [
        ("MSGHT_COLOUR", "red"),
        ("MSGHT_GITHUB__API_URL", "ftp://x/"),
        ("MSGHT_QUEUE__PREFETCH", "-1"),
        ("MSGHT_SQL__URL", "postgres://u:S3CRET@h/d"),
        ("MSGHT_QUEUE__URL", "sqlite:msght-data/github.db"),
    ] {
        let sandbox = Sandbox::new(NOWHERE).with(name, value);
        add(&sandbox, &["config"], &sandbox.run(&["config"]).await);
        let args = ["retrieve-repo", "a/b"];
        add(&sandbox, &args, &sandbox.run(&args).await);
    }
    assert_snapshot("errors_of_usage_and_settings", &all);
}

#[tokio::test]
async fn errors_of_stores() {
    let mut all = String::new();
    let mut add = |sandbox: &Sandbox, args: &[&str], output: &RunOutput| {
        writeln!(all, "{}", render(sandbox, args, output)).unwrap()
    };
    let args = ["retrieve-repo", "a/b", "--store-timeout", "1s"];
    for (name, value) in [
        ("MSGHT_SQL__URL", "mysql://root:S3CRET@127.0.0.1:1/x"),
        ("MSGHT_DOCUMENTS__URL", "mongodb://root:S3CRET@127.0.0.1:1/x"),
        ("MSGHT_SQL__URL", "sqlite:/proc/none/github.db"),
    ] {
        let sandbox = Sandbox::new(NOWHERE).with(name, value);
        add(&sandbox, &args, &sandbox.run(&args).await);
    }
    let sandbox = Sandbox::new(NOWHERE).with("MSGHT_QUEUE__URL", "amqp://guest:S3CRET@127.0.0.1:1");
    let args_of_queue = ["retrieve-repos", "--drain", "--store-timeout", "1s"];
    add(&sandbox, &args_of_queue, &sandbox.run(&args_of_queue).await);
    // A data directory that is a file, and a store that is no database.
    let sandbox = Sandbox::new(NOWHERE);
    std::fs::write(sandbox.path().join("file"), "").unwrap();
    let args_of_file = ["retrieve-repo", "a/b", "--data-dir", "file"];
    add(&sandbox, &args_of_file, &sandbox.run(&args_of_file).await);
    let args_of_check = ["config", "--check", "--data-dir", "file"];
    add(&sandbox, &args_of_check, &sandbox.run(&args_of_check).await);
    std::fs::create_dir(sandbox.data_dir()).unwrap();
    std::fs::write(sandbox.data_dir().join("github.db"), "this is no database, whatever its name says").unwrap();
    add(&sandbox, &args, &sandbox.run(&args).await);
    add(&sandbox, &["config", "--check"], &sandbox.run(&["config", "--check"]).await);
    assert_snapshot("errors_of_stores", &all);
}

#[tokio::test]
async fn schema_of_embedded_stores() {
    let fake = FakeGitHub::start(World::edge_cases(1), Options::unlimited()).await;
    let sandbox = Sandbox::new(fake.url());
    std::fs::write(sandbox.path().join("list"), "contoso/empty\n").unwrap();
    sandbox.mirror(&[names::EMPTY]).await;
    sandbox.run(&["load", "--route", "projects", "--file", "list"]).await.assert_output(0, &[]);
    let mut files: Vec<_> = std::fs::read_dir(sandbox.data_dir()).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "db"));
    files.sort();
    let DocumentStore::Sqlite(documents) = &sandbox.stores().documents else { panic!("an embedded store") };
    assert!(files.contains(documents), "{files:?}");
    for file in files {
        let sql = "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY type DESC, name";
        let rows = RelationalStore::Sqlite(file.clone()).query(sql).await;
        let schema: String = rows.iter().map(|row| format!("{};\n", row[0])).collect();
        assert_snapshot(&format!("schema_sqlite_{}", file.file_stem().unwrap().to_str().unwrap()), &schema);
    }
}
