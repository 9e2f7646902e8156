//! A GitHub App as a set of tokens: alone, beside others, and as it comes and goes.

use std::time::Duration;

use fake_github::{
    APP_KEY, APP_KEY_FILE, AppSpec, FakeGitHub, Fault, FaultKind, InstallationSpec, Limits, Options, TokenSpec,
    Visible, World, installation_name,
};
use support::program::{RunOutput, Sandbox, finish};

const CONTOSO: u64 = 101;
const FABRIKAM: u64 = 102;

fn app() -> AppSpec {
    AppSpec::new(4711)
        .installed(InstallationSpec::on("contoso").numbered(CONTOSO))
        .installed(InstallationSpec::on("fabrikam").numbered(FABRIKAM))
}

/// Two organizations, and the App on both.
async fn estate(sizes: [usize; 2], options: Options) -> (FakeGitHub, Sandbox) {
    let world = World::estate(31, &[("contoso", sizes[0]), ("fabrikam", sizes[1])]);
    let fake = FakeGitHub::start(world, options).await;
    let sandbox = sandbox(&fake, "");
    (fake, sandbox)
}

fn sandbox(fake: &FakeGitHub, tokens: &str) -> Sandbox {
    let sandbox = Sandbox::new(fake.url())
        .tokens(tokens)
        .with("MSGHT_GITHUB__APP_ID", "4711")
        .with("MSGHT_GITHUB__APP_PRIVATE_KEY_FILE", APP_KEY_FILE);
    std::fs::write(sandbox.path().join("orgs.txt"), "contoso\nfabrikam\n").unwrap();
    sandbox
}

fn with_app(app: AppSpec) -> Options {
    Options { app: Some(app), ..Options::unlimited() }
}

async fn start(sandbox: &Sandbox, args: &[&str]) -> RunOutput {
    let mut all = vec!["start", "--detail", "skeleton"];
    all.extend(args);
    sandbox.run(&all).await
}

/// The requests on the tokens of an installation.
fn asked(fake: &FakeGitHub, installation: u64) -> usize {
    fake.by_token().get(&installation_name(installation)).copied().unwrap_or(0)
}

#[tokio::test]
async fn app_alone_mirrors_installed_repositories() {
    let (fake, sandbox) = estate([6, 4], with_app(app())).await;
    let sandbox = sandbox.with("MSGHT_LOGGING__LEVEL", "trace");
    let output = start(&sandbox, &["--verbose"]).await;
    output.assert_output(0, &["10 repositories are due"]);
    assert!(output.out.ends_with("10 done\n"), "{}", output.out);
    // What a person's token that sees all of it mirrors; only who has starred it is not shown to an App.
    let by_hand = Sandbox::new(fake.url());
    let names = std::fs::read_to_string(sandbox.path().join("projects.txt")).unwrap().replace(' ', "/");
    let mut args: Vec<&str> = names.lines().collect();
    assert_eq!(args.len(), 10);
    args.extend(["--detail", "skeleton"]);
    by_hand.mirror(&args).await;
    let (own, whole) = (sandbox.stores().tables().await, by_hand.stores().tables().await);
    for table in ["projects", "commits", "issues", "issue_comments", "pull_requests", "issue_events", "repo_labels"] {
        assert_eq!(own[table], whole[table], "{table}");
    }
    assert!(sandbox.stores().number("SELECT count(*) FROM team_members").await > 0);
    // Each organization is asked about with its own installation.
    for request in fake.requests().iter().filter(|request| request.token == installation_name(FABRIKAM)) {
        let path = &request.path_and_query;
        assert!(!path.starts_with("/repos/contoso") && !path.starts_with("/orgs/contoso"), "{path}");
    }
    let key_line = APP_KEY.lines().nth(3).unwrap();
    let tokens = [fake.issued(CONTOSO), fake.issued(FABRIKAM)].concat();
    assert_eq!(tokens.len(), 2, "one token an installation");
    let mut outputs = vec![output.out.into_bytes(), output.err.into_bytes()];
    for entry in std::fs::read_dir(sandbox.data_dir()).unwrap() {
        outputs.push(std::fs::read(entry.unwrap().path()).unwrap());
    }
    for bytes in outputs {
        for secret in tokens.iter().map(|token| &token[..30]).chain([key_line, "eyJ0eXAi", "eyJhbGci"]) {
            assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()), "{secret}");
        }
    }
}

#[tokio::test]
async fn its_tokens_are_replaced_in_the_middle_of_a_run() {
    // GitHub says that they are good for a second, and after a second they are not.
    let (fake, sandbox) = estate(
        [8, 6],
        Options { latency: Duration::from_millis(25), ..with_app(app().token_life(Duration::from_secs(1))) },
    )
    .await;
    start(&sandbox, &["--jobs", "2"]).await.assert_output(0, &[]);
    assert!(fake.issued(CONTOSO).len() > 1, "{:?}", fake.by_status());
    // Refused ones are replaced at once: no request is lost.
    let (fake, sandbox) = estate([8, 6], with_app(app())).await;
    let run = sandbox.spawn(&["start", "--detail", "skeleton"]);
    for _ in 0..3 {
        let before = fake.request_count();
        while fake.request_count() < before + 40 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        fake.revoke_installation_tokens(CONTOSO);
    }
    finish(run).await.assert_output(0, &[]);
    assert_eq!(fake.issued(CONTOSO).len(), 4);
    assert_eq!(fake.issued(FABRIKAM).len(), 1);
}

#[tokio::test]
async fn its_budget_stands_beside_that_of_the_tokens() {
    let token = TokenSpec { login: "dev0".to_owned(), ..TokenSpec::new("token-one") }.budget(5_000, 60, 8);
    let limits = Limits { secondary: false, ..Limits::default() };
    let options = Options { tokens: vec![token], limits, app: Some(app()), ..Options::default() };
    let (fake, _) = estate([6, 4], options).await;
    let sandbox = sandbox(&fake, "token-one").with("MSGHT_GITHUB__RESERVE", "0");
    // Who has starred what only the token is shown, which the App does not stand in for.
    start(&sandbox, &[]).await.assert_output(0, &["10 repositories are due", "for the rate limit"]);
    assert_eq!(fake.limit_violations().len(), 0, "{:?}", fake.limit_violations());
    let shares = [asked(&fake, CONTOSO), asked(&fake, FABRIKAM)];
    assert!(shares.iter().all(|requests| *requests > 10), "{shares:?}");
}

#[tokio::test]
async fn what_lasts_is_asked_with_a_token_that_lasts() {
    let token = TokenSpec { login: "dev0".to_owned(), ..TokenSpec::new("token-one") };
    let (fake, _) = estate([6, 4], Options { tokens: vec![token], ..with_app(app()) }).await;
    let sandbox = sandbox(&fake, "token-one");
    start(&sandbox, &["--jobs", "1"]).await.assert_output(0, &[]);
    fake.revoke_installation_tokens(CONTOSO);
    fake.revoke_installation_tokens(FABRIKAM);
    let before = fake.request_count();
    start(&sandbox, &["--max-age", "0"]).await.assert_output(0, &[]);
    let counted = fake.requests().iter().skip(before).filter(|request| request.counted).count();
    // The App's own list, and two tokens; the rest is as it was.
    assert!(counted <= 12, "{counted} requests where nothing has changed");
}

#[tokio::test]
async fn uninstalled_app_marks_nothing_deleted() {
    let (fake, sandbox) = estate([6, 4], with_app(app())).await;
    start(&sandbox, &[]).await.assert_output(0, &[]);
    let deleted = async || sandbox.stores().number("SELECT count(*) FROM projects WHERE deleted = 1").await;
    let listed = async || sandbox.stores().number("SELECT count(*) FROM project_listings WHERE state = 'listed'").await;
    let all = listed().await;

    fake.suspend(CONTOSO);
    let output = start(&sandbox, &["--max-age", "0"]).await;
    output.assert_output(
        1,
        &[
            "App on contoso is disabled (the installation is suspended)",
            "contoso: App on contoso is disabled (the installation is suspended)",
        ],
    );
    // What everybody may read, the App is shown elsewhere too.
    assert!(output.out.ends_with("8 done, 2 inaccessible\n"), "{}", output.out);
    assert_eq!((deleted().await, listed().await), (0, all));

    fake.uninstall(CONTOSO);
    let output = start(&sandbox, &["--max-age", "0"]).await;
    output.assert_output(1, &["contoso: the App is not installed there, and there is no other token"]);
    assert_eq!((deleted().await, listed().await), (0, all));

    fake.install(InstallationSpec::on("contoso").numbered(CONTOSO + 10));
    start(&sandbox, &["--max-age", "0"]).await.assert_output(0, &[]);

    // The same in the middle of a run.
    let before = fake.request_count();
    let run = sandbox.spawn(&["start", "--detail", "skeleton", "--max-age", "0"]);
    while fake.request_count() < before + 30 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    fake.uninstall(CONTOSO + 10);
    let output = finish(run).await;
    output.assert_output(1, &["App on contoso is disabled"]);
    assert_eq!((deleted().await, listed().await), (0, all));
}

#[tokio::test]
async fn rejected_app_leaves_work_to_tokens() {
    let token = TokenSpec { login: "dev0".to_owned(), ..TokenSpec::new("token-one") };
    let (fake, sandbox) = estate([2, 2], Options { tokens: vec![token], ..with_app(app()) }).await;
    let sandbox = sandbox.with("MSGHT_GITHUB__APP_ID", "9999");
    let alone = start(&sandbox, &[]).await;
    alone.assert_output(
        1,
        &["GitHub rejected the App 9999", "check github.app_id, its private key and this machine's clock"],
    );
    let sandbox = self::sandbox(&fake, "token-one").with("MSGHT_GITHUB__APP_ID", "9999");
    let output = start(&sandbox, &[]).await;
    output.assert_output(
        1,
        &["App 9999 is disabled", "continuing without it", "contoso: App 9999 is disabled", "4 repositories are due"],
    );
    assert!(output.out.ends_with("4 done\n"), "{}", output.out);

    let (_fake, sandbox) = estate([2, 2], with_app(AppSpec::new(4711))).await;
    start(&sandbox, &[]).await.assert_output(1, &["the GitHub App 4711 is installed on no account"]);
    let sandbox = sandbox.with("MSGHT_GITHUB__APP_PRIVATE_KEY_FILE", "nowhere.pem");
    start(&sandbox, &[]).await.assert_output(2, &["can't read the App's private key", "nowhere.pem"]);
}

#[tokio::test]
async fn a_clock_that_is_wrong_does_it_no_harm() {
    for clock_skew in [-4_000, 4_000] {
        let (_fake, sandbox) = estate([2, 1], Options { clock_skew, ..with_app(app()) }).await;
        start(&sandbox, &[]).await.assert_output(0, &["3 repositories are due"]);
    }
    // By its client id, too.
    let (_fake, sandbox) = estate([2, 1], with_app(app())).await;
    let sandbox = sandbox.with("MSGHT_GITHUB__APP_ID", &app().client_id);
    start(&sandbox, &[]).await.assert_output(0, &[]);
}

#[tokio::test]
async fn app_discovers_organizations_and_creates_hooks() {
    let (fake, sandbox) = estate([2, 2], with_app(app())).await;
    std::fs::remove_file(sandbox.path().join("orgs.txt")).unwrap();
    let sandbox = sandbox
        .with("MSGHT_WEBHOOKS__PUBLIC_URL", "https://msght.example.com/hook")
        .with("GHT_WEBHOOK_SECRET", "correct-horse-battery");
    let output = sandbox.run(&["get-repos", "--discover"]).await;
    output.assert_output(0, &["contoso added to orgs.txt", "fabrikam added to orgs.txt"]);
    assert_eq!(fake.world(|w| w.hooks.len()), 2);
    // A read token that may not manage hooks is no obstacle, unless it was set for just that.
    let outsider = TokenSpec::new("outsider-token").private(Visible::None);
    let (fake, _) = estate([2, 2], Options { tokens: vec![outsider], ..with_app(app()) }).await;
    let hooks = |sandbox: Sandbox| {
        sandbox
            .with("MSGHT_WEBHOOKS__PUBLIC_URL", "https://msght.example.com/hook")
            .with("GHT_WEBHOOK_SECRET", "correct-horse-battery")
    };
    hooks(self::sandbox(&fake, "outsider-token")).run(&["get-repos"]).await.assert_output(0, &[]);
    assert_eq!(fake.world(|w| w.hooks.len()), 2);
    let sandbox = hooks(self::sandbox(&fake, "outsider-token")).with("GHT_WEBHOOK_TOKEN", "outsider-token");
    sandbox.run(&["get-repos"]).await.assert_output(1, &["the hook token may not manage the organization's webhooks"]);
}

#[tokio::test]
async fn what_it_is_not_shown_is_said() {
    let app = AppSpec::new(4711)
        .installed(InstallationSpec::on("contoso").selected(&["contoso/r002"]))
        .installed(InstallationSpec::on("fabrikam").without("issues"));
    let (_fake, sandbox) = estate([6, 3], with_app(app)).await;
    let output = start(&sandbox, &[]).await;
    // r005 is private and not selected; f002 is private, and its issues may not be read.
    output.assert_output(0, &["contoso: the App is installed on selected repositories only"]);
    let line = output.err.lines().find(|line| line.starts_with("fabrikam/f002: ")).unwrap();
    assert!(line.contains("; issues not permitted"), "{line}");
    let projects = std::fs::read_to_string(sandbox.path().join("projects.txt")).unwrap();
    assert!(projects.contains("contoso r002") && !projects.contains("contoso r005"), "{projects}");
}

/// A private repository of contoso's: the third.
const PRIVATE: &str = "contoso/r002";

fn member(token: &str, private: Visible) -> TokenSpec {
    TokenSpec { login: "dev0".to_owned(), ..TokenSpec::new(token) }.private(private)
}

async fn deleted(sandbox: &Sandbox) -> i64 {
    sandbox.stores().number("SELECT count(*) FROM projects WHERE deleted = 1").await
}

#[tokio::test]
async fn repositories_of_a_missing_reader_are_left_alone() {
    // Once the App is out, and once a token that alone was shown the repository.
    let tokens = vec![member("token-one", Visible::Only(vec![PRIVATE.to_owned()])), member("token-two", Visible::None)];
    let (fake, alone) = estate([6, 4], Options { tokens, ..with_app(app()) }).await;
    let whole = Sandbox::new(fake.url()).tokens("token-one");
    whole.mirror(&[PRIVATE]).await;
    let with_tokens = Sandbox::new(fake.url()).tokens("token-one,token-two");
    // One commit after the other, so that some are left; what everybody is shown, any token is asked for.
    let [alone, with_tokens] = [alone, with_tokens].map(|sandbox| sandbox.with("MSGHT_GITHUB__CONCURRENCY", "1"));
    fake.set_fault(Fault::always("/commits/", FaultKind::Slow(Duration::from_millis(30))));
    for (sandbox, by_token) in [(&alone, false), (&with_tokens, true)] {
        let before = fake.request_count();
        let run = sandbox.spawn(&["retrieve-repo", PRIVATE]);
        let details = || fake.requests().iter().skip(before).filter(|r| r.path_and_query.contains("/commits/")).count();
        while details() < 3 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        if by_token {
            fake.revoke("token-one")
        } else {
            fake.uninstall(CONTOSO)
        }
        let output = finish(run).await;
        output.assert_output(1, &[if by_token { "token … (401)" } else { "App on contoso" }]);
        assert_eq!(deleted(sandbox).await, 0);
        if by_token {
            fake.reinstate("token-one")
        } else {
            _ = fake.install(InstallationSpec::on("contoso").numbered(CONTOSO))
        };
        sandbox.mirror(&[PRIVATE]).await;
        let (own, all) = (sandbox.stores().documents().await, whole.stores().documents().await);
        assert_eq!(own["commits"], all["commits"], "every commit has its details");
    }
}

#[tokio::test]
async fn missing_reader_marks_no_repository_deleted() {
    let (fake, _) =
        estate([6, 4], Options { tokens: vec![member("token-one", Visible::None)], ..with_app(app()) }).await;
    let sandbox = sandbox(&fake, "token-one");
    sandbox.mirror(&[PRIVATE, "contoso/r000", "--detail", "skeleton"]).await;
    fake.uninstall(CONTOSO);
    sandbox.run(&["retrieve-repo", PRIVATE]).await.assert_output(1, &["no token can read contoso/r002"]);
    sandbox.run(&["get-repos"]).await.assert_output(0, &[]);
    assert_eq!(deleted(&sandbox).await, 0);
    // What everybody could read is gone for everybody.
    fake.world_mut(|w| w.delete_repo(w.repo("contoso/r000")));
    sandbox.run(&["retrieve-repo", "contoso/r000"]).await;
    assert_eq!(deleted(&sandbox).await, 1);
    // Nor where the App is shown less than before.
    let again = fake.install(InstallationSpec::on("contoso"));
    sandbox.run(&["retrieve-repo", PRIVATE, "--detail", "skeleton"]).await.assert_output(0, &[]);
    fake.reinstall(again, |on| on.selected = Some(vec![]));
    sandbox.run(&["get-repos"]).await.assert_output(0, &["selected repositories only"]);
    assert_eq!(deleted(&sandbox).await, 1);
}

#[tokio::test]
async fn transferred_repository_is_found_by_id() {
    let (fake, sandbox) = estate([6, 4], with_app(app())).await;
    sandbox.mirror(&[PRIVATE, "--detail", "skeleton"]).await;
    fake.world_mut(|w| {
        let repo = w.repo(PRIVATE);
        w.transfer_repo(repo, "fabrikam");
    });
    let before = fake.request_count();
    let output = sandbox.run(&["retrieve-repo", PRIVATE, "--detail", "skeleton"]).await;
    output.assert_output(0, &["contoso/r002 is now fabrikam/r002"]);
    assert_eq!(deleted(&sandbox).await, 0);
    // One that is nowhere costs one question more for each other installation, and one that was never known none.
    let cost = |from: usize| fake.requests().iter().skip(from).filter(|request| request.status == 404).count();
    // By its name and by its number where it was, before it is found where it is.
    assert_eq!(cost(before), 2);
    let before = fake.request_count();
    sandbox
        .run(&["retrieve-repo", "elsewhere/typo"])
        .await
        .assert_output(1, &["no token can read elsewhere/typo (1 tried"]);
    assert_eq!(cost(before), 1);
}

#[tokio::test]
async fn private_members_stay_for_outsiders() {
    let app = app().installed(InstallationSpec::on("dev3"));
    let (fake, sandbox) = estate([1, 1], with_app(app)).await;
    sandbox.run(&["get-repos"]).await.assert_output(0, &[]);
    let members = async || sandbox.stores().number("SELECT count(*) FROM organization_members").await;
    let all = members().await;
    assert_eq!(all, 16);
    sandbox.run(&["retrieve-user", "contoso"]).await.assert_output(0, &[]);
    assert_eq!(members().await, all);
    fake.uninstall(CONTOSO);
    for _ in 0..2 {
        sandbox.run(&["retrieve-user", "contoso"]).await;
        assert_eq!(members().await, all, "who is not shown to outsiders may be one all the same");
    }
}

#[tokio::test]
async fn app_and_token_replace_each_other() {
    // The hour of the only known reader ends in the middle.
    let spent = member("token-one", Visible::All).budget(5_000, 12, 3_600);
    let limits = Limits { secondary: false, ..Limits::default() };
    let options = Options { tokens: vec![spent], limits: limits.clone(), app: Some(app()), ..Options::default() };
    let (fake, _) = estate([6, 4], options).await;
    let sandbox = self::sandbox(&fake, "token-one").with("MSGHT_GITHUB__RESERVE", "0");
    sandbox.mirror(&[PRIVATE, "--detail", "skeleton", "--skip", "stars,people"]).await;
    assert!(asked(&fake, CONTOSO) > 5, "{:?}", fake.by_token());

    // GitHub gives the App no tokens.
    let options =
        Options { tokens: vec![member("token-one", Visible::All)], limits, app: Some(app()), ..Options::default() };
    let (fake, _) = estate([6, 4], options).await;
    let sandbox = self::sandbox(&fake, "token-one");
    fake.set_fault(Fault::always("/access_tokens", FaultKind::Status { status: 502, html: false }));
    sandbox.mirror(&[PRIVATE, "--detail", "skeleton"]).await;
}

#[tokio::test]
async fn a_limit_on_the_app_itself_is_waited_for() {
    let (fake, sandbox) = estate([2, 1], Options { app: Some(app()), ..Options::default() }).await;
    let limit = FaultKind::Secondary { status: 403, retry_after: Some(1) };
    fake.set_fault(Fault::next(1, "/app/installations?", limit.clone()));
    fake.set_fault(Fault::next(1, "/access_tokens", limit));
    start(&sandbox, &[]).await.assert_output(0, &["3 repositories are due"]);
    assert_eq!(fake.limit_violations().len(), 0, "{:?}", fake.limit_violations());
}

#[tokio::test]
async fn token_errors_are_redacted_and_lists_end() {
    // An answer of another form, in which the token stands.
    let secret = "\"ghs_s3cret-token-of-an-installation\"";
    let listed = r#"[{"id": 7, "account": {"login": "contoso", "type": "Organization"}}]"#;
    let app = axum::Router::new()
        .route("/app/installations", axum::routing::get(move || async move { json(listed) }))
        .route("/app/installations/7/access_tokens", axum::routing::post(move || async move { json(secret) }));
    let (fake, sandbox) = estate([1, 1], with_app(app_nowhere())).await;
    drop(fake);
    let serve = async |app: axum::Router| {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}/", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await });
        address
    };
    let address = serve(app).await;
    let run = sandbox.command(&["get-repos"]).env("MSGHT_GITHUB__API_URL", &address).spawn().unwrap();
    let output = finish(run).await;
    output.assert_output(1, &["App on contoso (GitHub issued a token that can't be sent)"]);
    let log = std::fs::read_to_string(sandbox.data_dir().join("logfile.txt")).unwrap();
    for text in [&output.out, &output.err, &log] {
        assert!(!text.contains("s3cret"), "{text}");
    }
    // A next page that leads to itself.
    let page = |uri: axum::http::Uri| async move {
        let next = format!("<{uri}>; rel=\"next\"").replace("per_page=100>", "per_page=100&page=2>");
        ([("content-type", "application/json"), ("link", next.leak())], "[]")
    };
    let address = serve(axum::Router::new().route("/app/installations", axum::routing::get(page))).await;
    let run = sandbox.command(&["get-repos"]).env("MSGHT_GITHUB__API_URL", &address).spawn().unwrap();
    finish(run).await.assert_output(1, &["the list's links form a cycle"]);
}

fn app_nowhere() -> AppSpec {
    AppSpec::new(4711)
}

fn json(body: &'static str) -> ([(&'static str, &'static str); 1], &'static str) {
    ([("content-type", "application/json")], body)
}
