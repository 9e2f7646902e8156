//! `msght check`: what a run needs, tried before it is needed.

use std::time::{Duration, Instant};

use serde_json::Value;

use fake_github::{
    APP_KEY_FILE, AppSpec, FakeGitHub, Fault, FaultKind, InstallationSpec, Options, TokenSpec, Visible, World,
};
use support::program::{RunOutput, Sandbox, finish};

const FABRIKAM: u64 = 102;

fn owner(token: &str) -> TokenSpec {
    TokenSpec { login: "dev0".to_owned(), ..TokenSpec::new(token) }
}

/// Two organizations of six and three repositories, of which two and one are private.
async fn estate(options: Options) -> (FakeGitHub, Sandbox) {
    let fake = FakeGitHub::start(World::estate(41, &[("contoso", 6), ("fabrikam", 3)]), options).await;
    let sandbox = Sandbox::new(fake.url());
    std::fs::write(sandbox.path().join("orgs.txt"), "contoso\nfabrikam\n").unwrap();
    (fake, sandbox)
}

async fn check(sandbox: &Sandbox) -> (RunOutput, Value) {
    let output = sandbox.run(&["check", "--json"]).await;
    let json =
        serde_json::from_str(&output.out).unwrap_or_else(|error| panic!("{error}\n{}\n{}", output.out, output.err));
    (output, json)
}

/// The row of a table that begins with these cells.
fn row<'a>(output: &'a RunOutput, cells: &[&str]) -> &'a str {
    let is = |line: &&str| {
        line.split_whitespace().zip(cells).filter(|(cell, wanted)| cell == *wanted).count() == cells.len()
    };
    output.out.lines().find(is).unwrap_or_else(|| panic!("no row {cells:?} in\n{}\n{}", output.out, output.err))
}

#[tokio::test]
async fn check_describes_each_token() {
    let classic =
        owner("classic-token-001").scopes("repo, read:org, admin:org_hook").expires("2099-02-04 16:42:10 UTC");
    let narrow = TokenSpec { login: "dev3".to_owned(), ..TokenSpec::new("narrow-token-002") }
        .private(Visible::Only(vec!["contoso/r002".to_owned()]))
        .budget(5_000, 4_000, 3_600);
    let (fake, sandbox) = estate(Options { tokens: vec![classic, narrow], ..Options::default() }).await;
    let sandbox = sandbox
        .tokens("classic-token-001,narrow-token-002")
        .with("MSGHT_WEBHOOKS__PUBLIC_URL", "https://msght.example.com/hook")
        .with("GHT_WEBHOOK_SECRET", "correct-horse-battery");
    let (output, json) = check(&sandbox).await;
    output.assert_output(0, &[]);
    assert_eq!(json["ok"], true, "{json}");
    let [classic, narrow] = &json["tokens"].as_array().unwrap()[..] else { panic!("{json}") };
    assert_eq!([&classic["login"], &classic["kind"]], ["dev0", "classic"]);
    assert_eq!(classic["rights"], "repo, read:org, admin:org_hook");
    assert_eq!(classic["expires_at"], "2099-02-04T16:42:10Z");
    assert_eq!(classic["uses"], serde_json::json!(["read", "webhooks"]));
    assert_eq!([&narrow["login"], &narrow["kind"]], ["dev3", "fine-grained"]);
    assert!(narrow["remaining"].as_u64().unwrap() > 3_900 && narrow["limit"] == 5_000, "{narrow}");
    let access = |org: usize, token: usize| json["organizations"][org]["access"][token].clone();
    assert_eq!(access(0, 0)["private_repositories"], 2);
    assert_eq!(access(0, 0)["webhooks"], "yes");
    assert_eq!(
        [access(0, 1)["private_repositories"].as_u64(), access(1, 1)["private_repositories"].as_u64()],
        [Some(1), Some(0)]
    );
    assert_eq!(access(1, 1)["member"], true);
    for part in ["documents", "sql", "queue", "dump", "log"] {
        assert_eq!(json["parts"][part]["usable"], true, "{json}");
    }
    assert!(json["clock_ahead_seconds"].as_i64().unwrap().abs() <= 1, "{json}");
    assert_eq!(json["requests"], fake.counted());

    let output = sandbox.run(&["check"]).await;
    output.assert_output(0, &[]);
    assert!(row(&output, &["clas…", "dev0", "classic"]).contains("2099-02-04 16:42"), "{}", output.out);
    assert!(row(&output, &["contoso", "narr…", "1", "yes", "no", "fine"]).len() > 10);
    assert!(output.out.contains("GitHub's clock: 0 s") || output.out.contains("GitHub's clock: 1 s"), "{}", output.out);
    assert!(!sandbox.data_dir().join("github.db").exists(), "nothing is made");
}

#[tokio::test]
async fn check_names_what_is_missing_and_continues() {
    let tokens = vec![owner("good-token-00001"), owner("gone-token-00002"), TokenSpec::new("hook-token-00003")];
    let (fake, sandbox) = estate(Options { tokens, ..Options::default() }).await;
    fake.revoke("gone-token-00002");
    std::fs::write(sandbox.path().join("orgs.txt"), "contoso\nnowhere\ndev4\n").unwrap();
    std::fs::create_dir_all(sandbox.data_dir().join("queue.db")).unwrap();
    let sandbox = sandbox
        .tokens("good-token-00001,gone-token-00002")
        .with("GHT_WEBHOOK_TOKEN", "hook-token-00003")
        .with("MSGHT_WEBHOOKS__PUBLIC_URL", "https://msght.example.com/hook")
        .with("GHT_WEBHOOK_SECRET", "correct-horse-battery")
        .with("MSGHT_DUMP__TARGET", "az://container/prefix");
    let output = sandbox.run(&["check"]).await;
    output.assert_output(
        1,
        &[
            "error: gone…: GET /user: no usable token is left: GitHub rejected the token gone… (401): it is expired",
            "error: nowhere: GET /users/nowhere: not found (404)",
            "error: contoso: no token may manage its webhooks",
            "error: queue: ",
            "error: dump: Azure Blob Storage, az://container/prefix: no storage account is set",
            "problems that keep a run from working: 5",
        ],
    );
    assert!(row(&output, &["good…", "dev0", "fine-grained", "read"]).ends_with("fine"), "{}", output.out);
    assert!(row(&output, &["hook…", "contoso-reader"]).contains("webhooks"), "{}", output.out);
    assert!(row(&output, &["contoso", "good…", "2"]).contains("yes"), "{}", output.out);
    assert!(row(&output, &["dev4"]).ends_with("a person"), "{}", output.out);
    for token in ["good-token", "gone-token", "hook-token"] {
        assert!(!output.out.contains(token) && !output.err.contains(token), "{}\n{}", output.out, output.err);
    }
}

#[tokio::test]
async fn what_is_worth_knowing_is_a_note() {
    let tokens = vec![owner("weak-token-00001").scopes("gist").expires("2026-01-01 00:00:00 UTC")];
    let (_fake, sandbox) = estate(Options { tokens, clock_skew: 300, ..Options::default() }).await;
    let (output, json) = check(&sandbox.tokens("weak-token-00001")).await;
    output.assert_output(0, &[]);
    let notes = json["notes"].to_string();
    for note in
        ["scope repo", "scope read:org", "expires at 2026-01-01", "this machine's clock is 300 s behind GitHub's"]
    {
        assert!(notes.contains(note) || notes.contains(&note.replace("300", "299")), "{note} is not in {notes}");
    }
}

#[tokio::test]
async fn it_waits_for_no_limit_and_no_server() {
    let tokens = vec![owner("spent-token-0001").budget(5_000, 0, 3_600), owner("other-token-0002")];
    let (fake, sandbox) = estate(Options { tokens, ..Options::default() }).await;
    let sandbox = sandbox.tokens("spent-token-0001,other-token-0002");
    let begun = Instant::now();
    let (output, json) = check(&sandbox).await;
    output.assert_output(1, &["error: spen…: no requests remain in this hour"]);
    assert_eq!(json["tokens"][0]["remaining"], 0);
    assert_eq!(json["organizations"][0]["access"][0]["token"], "othe…");
    assert_eq!(fake.limit_violations().len(), 0);
    drop(fake);
    std::fs::write(sandbox.path().join("orgs.txt"), "").unwrap();
    let (output, json) = check(&sandbox).await;
    output.assert_output(1, &["can't connect to"]);
    assert_eq!(json["parts"]["sql"]["usable"], true, "{json}");
    assert!(json["notes"].to_string().contains("orgs.txt"), "{json}");
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    std::fs::write(sandbox.path().join("orgs.txt"), "a b/c\n").unwrap();
    sandbox.run(&["check"]).await.assert_output(2, &["orgs.txt"]);
}

#[tokio::test]
async fn an_app_is_looked_at_where_it_is_installed() {
    let app = AppSpec::new(4711).installed(InstallationSpec::on("contoso").selected(&["contoso/r002"])).installed(
        InstallationSpec::on("fabrikam").numbered(FABRIKAM).without("issues").with("organization_hooks", "read"),
    );
    let (fake, sandbox) = estate(Options { app: Some(app), ..Options::default() }).await;
    let sandbox = sandbox
        .tokens("")
        .with("MSGHT_GITHUB__APP_ID", "4711")
        .with("MSGHT_GITHUB__APP_PRIVATE_KEY_FILE", APP_KEY_FILE)
        .with("MSGHT_WEBHOOKS__PUBLIC_URL", "https://msght.example.com/hook")
        .with("GHT_WEBHOOK_SECRET", "correct-horse-battery");
    let (output, json) = check(&sandbox).await;
    output.assert_output(
        1,
        &[
            "error: the App lacks permissions on fabrikam: issues: read",
            "error: fabrikam: no token may manage its webhooks",
        ],
    );
    assert_eq!(json["app"]["installed_on"], serde_json::json!(["contoso", "fabrikam"]), "{json}");
    assert!(json["notes"].to_string().contains("on contoso the App can see selected repositories only"), "{json}");
    assert_eq!(json["tokens"][0]["kind"], "App");
    assert_eq!(json["organizations"][0]["access"][0]["private_repositories"], 1);
    assert_eq!(json["organizations"][0]["access"][0]["webhooks"], "yes");
    assert_eq!(json["organizations"][1]["access"][0]["webhooks"], "no");
    fake.suspend(FABRIKAM);
    let (output, _) = check(&sandbox).await;
    output.assert_output(1, &["error: the App is suspended on fabrikam", "error: fabrikam: no token may read it"]);
    // Beside other tokens, it is missed all the same.
    let sandbox = sandbox.tokens("fake-token");
    fake.set_fault(Fault::always("/app/installations?", FaultKind::Permission("none")));
    let (output, _) = check(&sandbox).await;
    output.assert_output(1, &["error: the App: "]);
    fake.clear_faults();
    let sandbox = sandbox.with("MSGHT_GITHUB__APP_ID", "5");
    let (output, json) = check(&sandbox).await;
    output.assert_output(1, &["error: the App: GitHub rejected the App 5"]);
    assert_eq!(json["app"]["id"], "5");
}

#[tokio::test]
async fn check_rejects_servers_that_are_not_github() {
    let (fake, sandbox) = estate(Options { tokens: vec![owner("good-token-00001")], ..Options::default() }).await;
    let sandbox = sandbox.tokens("good-token-00001");
    // Something that answers everything.
    let answers = |body: &'static str| {
        let app = axum::Router::new()
            .fallback(move || async move { axum::Json(serde_json::from_str::<Value>(body).unwrap()) });
        async move {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = format!("http://{}/", listener.local_addr().unwrap());
            tokio::spawn(async move { axum::serve(listener, app).await });
            address
        }
    };
    for body in ["{}", "null", "[]", "\"x\"", r#"{"login": 5, "type": []}"#] {
        let address = answers(body).await;
        let output = sandbox.command(&["check"]).env("MSGHT_GITHUB__API_URL", address).spawn().unwrap();
        finish(output).await.assert_output(1, &["error: good…: GitHub's answer has no login", "error: contoso: "]);
    }
    // A list that is none.
    fake.set_fault(Fault::always("/orgs/contoso/repos", FaultKind::HtmlOk));
    fake.set_fault(Fault::always("/orgs/fabrikam/teams", FaultKind::Status { status: 502, html: false }));
    let (output, json) = check(&sandbox).await;
    output.assert_output(1, &["error: contoso: no token can list its repositories"]);
    assert_eq!(json["organizations"][1]["access"][0]["member"], false);
    assert!(json["organizations"][1]["access"][0]["problem"].as_str().unwrap().contains("no answer"), "{json}");
}

#[tokio::test]
async fn a_token_that_pauses_is_told_and_not_waited_for() {
    let (fake, sandbox) = estate(Options { tokens: vec![owner("good-token-00001")], ..Options::default() }).await;
    let sandbox = sandbox.tokens("good-token-00001");
    fake.set_fault(Fault::next(1, "/rate_limit", FaultKind::Secondary { status: 429, retry_after: Some(86_400) }));
    let begun = Instant::now();
    let (output, _) = check(&sandbox).await;
    output.assert_output(1, &["error: good…: it waits for the pause GitHub asked for until "]);
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert_eq!(fake.limit_violations().len(), 0);
}

#[tokio::test]
async fn check_rejects_shared_files_and_hides_secrets() {
    let (_fake, sandbox) = estate(Options::default()).await;
    let refused = async |name: &str, value: &str, args: &[&str], shown: &[&str]| {
        let output = finish(sandbox.command(args).env(name, value).spawn().unwrap()).await;
        output.assert_output(2, shown);
        assert!(!output.err.contains("s3cret") && !output.out.contains("s3cret"), "{}\n{}", output.out, output.err);
    };
    let key = "-----BEGIN RSA PRIVATE KEY-----\ns3cret\n-----END RSA PRIVATE KEY-----\n";
    let config: &[&str] = &["config"];
    refused("MSGHT_GITHUB__APP_PRIVATE_KEY_FILE", key, config, &["a key or a token itself"]).await;
    refused("MSGHT_GITHUB__TOKENS_FILE", "ghp_s3cret", config, &["a key or a token itself"]).await;
    refused("MSGHT_GITHUB__APP_ID", key, config, &["found a long text"]).await;
    refused("MSGHT_GITHUB__API_URL", "https://ghp_s3cret@api.github.com/", config, &["***@api.github.com"]).await;
    refused("MSGHT_DUMP__TARGET", "az://c:s3cret/x", config, &["no container's name"]).await;
    refused("MSGHT_LOGGING__FILE", "msght-data/queue.db", config, &["logging.file: found the file of queue.url"]).await;
    refused("MSGHT_QUEUE__URL", "sqlite:msght-data/github.db", config, &["queue.url: found the file of sql.url"]).await;
    refused("MSGHT_LOGGING__FILE", "orgs.txt", &["get-repos"], &["--orgs orgs.txt is the file of logging.file"]).await;
    let database = ["get-repos", "--projects", "p.db"];
    refused("MSGHT_SQL__URL", "sqlite:p.db", &database, &["--projects p.db is the file of sql.url"]).await;
    assert_eq!(std::fs::read_to_string(sandbox.path().join("orgs.txt")).unwrap(), "contoso\nfabrikam\n");
}
