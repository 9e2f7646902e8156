//! Documents beyond the 16 MiB that MongoDB stores: a commit without its patches, all else named by every run.

use fake_github::{FakeGitHub, Fault, FaultKind, Options, World};
use support::backends::Backends;
use support::program::Sandbox;

const REPOSITORY: &str = "contoso/large";

#[tokio::test]
async fn oversized_documents_are_reduced_or_reported() {
    let mut w = World::empty(1);
    let r = w.plain(REPOSITORY);
    let commit = w.repos[r].branches["main"];
    w.commits[commit as usize].files = 100;
    let sha = w.sha(commit);
    let fake = FakeGitHub::start(w, Options::unlimited()).await;
    let rewrite = |path: &str, from: &str, to: String| {
        fake.set_fault(Fault::always(path, FaultKind::Rewrite { from: from.to_owned(), to }));
    };
    rewrite(&format!("/commits/{sha}"), r#""patch":""#, format!(r#""patch":"{}"#, "+x\\n".repeat(60_000)));
    rewrite("/issues?", "Nothing happens.", "Nothing happens. ".repeat(1_100_000));
    let sandbox = Sandbox::over(fake.url(), Backends::Servers, Backends::Servers);
    for run in 0..3 {
        let args: &[&str] =
            if run == 2 { &["retrieve-repo", REPOSITORY, "--full"] } else { &["retrieve-repo", REPOSITORY] };
        let output = sandbox.run(args).await;
        assert_eq!(output.code, Some(1), "{}\n{}", output.out, output.err);
        assert_eq!(output.stage("issues")[0], "incomplete", "{}", output.out);
        assert!(output.out.contains("the document contoso/large/1 of issues is not stored"), "{}", output.out);
        assert_eq!(output.stage("details")[0], "limited", "{}", output.out);
        assert!(output.out.contains(&sha) && output.out.contains("without the patches"), "{}", output.out);
        let stores = sandbox.stores();
        assert_eq!(stores.collection("issues").await.into_keys().collect::<Vec<_>>(), ["contoso/large/2"]);
        let commit = &stores.collection("commits").await[&sha];
        assert_eq!(
            (commit["files"].as_array().unwrap().len(), &commit["files"][0]["patch"]),
            (100, &serde_json::Value::Null)
        );
        assert_eq!(commit["_msght"]["without"][0], "files.patch");
    }
    fake.clear_faults();
    sandbox.mirror(&[REPOSITORY]).await;
    assert_eq!(sandbox.stores().collection("issues").await.len(), 2);
}
