//! What JSON and git allow is stored; what a store rejects is named, and keeps nothing else from being stored.

use serde_json::json;

use rstest::rstest;

use fake_github::{Detail, FakeGitHub, Fault, FaultKind, HALF_A_PAIR, Options, World};
use support::backends::Backends::{self, Embedded, Servers};
use support::program::Sandbox;
use support::stores::{RelationalStore, difference};

const ODD: &str = "contoso/odd";

fn odd_world() -> World {
    let mut w = World::empty(1);
    w.plain(ODD);
    w
}

fn rewrite(path: &str, from: &str, to: String) -> Fault {
    Fault::always(path, FaultKind::Rewrite { from: from.to_owned(), to })
}

#[rstest]
#[tokio::test]
async fn whatever_json_allows_is_stored(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let mut w = odd_world();
    let r = w.repo(ODD);
    let alice = w.user("alice");
    let who = w.person_of(alice);
    let half = format!("half {HALF_A_PAIR} a pair");
    w.edit_issue_title(r, 1, &half);
    w.edit_issue_body(r, 2, &half);
    w.add_comment(r, 2, Some(alice), &half);
    w.add_label(r, &half, Some(&half));
    w.label_issue(r, 2, &half);
    let head = w.repos[r].branches["main"];
    let commit = w.new_commit(r, &[head], who, &half);
    w.point(r, "main", commit, who);
    w.repos[r].description = Some(half.clone());
    let sha = w.sha(commit);
    let fake = FakeGitHub::start(w, Options::unlimited()).await;
    let odd = format!(
        r#""year_zero":"0000-01-01T00:00:00Z","later":"10000-01-01T00:00:00Z","wide":18446744073709551616,"huge":1e999,"twice":1,"twice":2,"deep":{}{},"locked":false"#,
        "[".repeat(1_500),
        "]".repeat(1_500)
    );
    fake.set_fault(rewrite("/issues?", r#""locked":false"#, odd));
    // A date that no column holds, in every place where a commit has one.
    fake.set_fault(rewrite("/commits", r#""date":"2"#, r#""date":"0"#.to_owned()));
    let sandbox = Sandbox::new(fake.url());
    sandbox.mirror(&[ODD]).await;
    let stores = sandbox.stores();
    let replaced = "half \u{fffd} a pair";
    let issues = stores.collection("issues").await;
    assert_eq!(
        (&issues["contoso/odd/1"]["title"], &issues["contoso/odd/2"]["body"]),
        (&json!(replaced), &json!(replaced))
    );
    assert_eq!(issues["contoso/odd/1"]["huge"], "1e999");
    assert_eq!(issues["contoso/odd/1"]["twice"], 2);
    let comments = stores.collection("issue_comments").await;
    assert!(comments.values().any(|comment| comment["body"] == replaced));
    assert_eq!(stores.collection("commits").await[&sha]["commit"]["message"], replaced);
    assert_eq!(stores.number("SELECT count(*) FROM commits WHERE created_at IS NULL").await, 6);
    let label =
        stores.sql("SELECT l.name FROM issue_labels x JOIN repo_labels l ON l.id = x.label_id ORDER BY 1").await;
    assert!(label.contains(&vec![replaced.to_owned()]), "{label:?}");
    // The same once more changes nothing, and a mark can be set on any of them.
    let before = stores.data_fingerprint().await;
    sandbox.mirror(&[ODD]).await;
    assert!(stores.data_fingerprint().await == before, "a document or row was written again");
    fake.world_mut(|w| {
        let r = w.repo(ODD);
        w.delete_issue(r, 1);
    });
    sandbox.mirror(&[ODD]).await;
    assert!(stores.collection("issues").await["contoso/odd/1"]["_msght"].is_object());
}

#[rstest]
#[tokio::test]
async fn rejected_row_is_reported_until_stored(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let fake = FakeGitHub::start(odd_world(), Options::unlimited()).await;
    let sandbox = Sandbox::new(fake.url());
    sandbox.mirror(&[ODD, "--only", "repo"]).await;
    let trigger = |table: &str, column: &str, value: &str| {
        let insert = format!("CREATE TRIGGER refuse_{table} BEFORE INSERT ON {table} FOR EACH ROW");
        match &sandbox.stores().relational {
            RelationalStore::Sqlite(_) => {
                format!("{insert} WHEN NEW.{column} = {value} BEGIN SELECT RAISE(ABORT, 'not that one'); END")
            }
            RelationalStore::Mysql { .. } => format!(
                "{insert} IF NEW.{column} = {value} THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'not that one'; END IF"
            ),
        }
    };
    let (comment, head) = fake.world_mut(|w| {
        let r = w.repo(ODD);
        let alice = w.user("alice");
        w.add_comment(r, 1, Some(alice), "another");
        (w.repos[r].comments[0].id, w.sha(w.repos[r].branches["main"]))
    });
    let relational = &sandbox.stores().relational;
    relational.execute(&trigger("issue_comments", "comment_id", &comment.to_string())).await;
    relational.execute(&trigger("commits", "sha", &format!("'{head}'"))).await;
    for _ in 0..2 {
        let output = sandbox.run(&["retrieve-repo", ODD]).await;
        assert_eq!(output.code, Some(1), "{}\n{}", output.out, output.err);
        assert_eq!((&*output.stage("issue-comments")[0], &*output.stage("commits")[0]), ("incomplete", "incomplete"));
        assert_eq!(output.stage("issues")[0], "done");
        for said in [&format!("issue_comments {comment}"), &format!("commits {head}"), "not that one"] {
            assert!(output.out.contains(said), "{said} is not in {}", output.out);
        }
        assert_eq!(sandbox.stores().number("SELECT count(*) FROM issue_comments").await, 1);
        assert_eq!(sandbox.stores().number("SELECT count(*) FROM commits").await, 4);
    }
    relational.execute("DROP TRIGGER refuse_issue_comments").await;
    relational.execute("DROP TRIGGER refuse_commits").await;
    sandbox.mirror(&[ODD]).await;
    let fresh = Sandbox::new(fake.url());
    fresh.mirror(&[ODD]).await;
    assert_eq!(difference(&fresh.dump().await, &sandbox.dump().await), None);
}

#[rstest]
#[tokio::test]
async fn sha256_repository_is_mirrored_like_any_other(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let mut w = odd_world();
    let r = w.repo(ODD);
    let alice = w.user("alice");
    let who = w.person_of(alice);
    w.push(r, "other", 105, who);
    let head = w.repos[r].branches["main"];
    w.comment_commit(r, head, Some(alice), "Nice");
    w.add_event(r, 1, Some(alice), "referenced", Some(head), Detail::None);
    let fake = FakeGitHub::start(w, Options { sha256: true, ..Options::unlimited() }).await;
    let sandbox = Sandbox::new(fake.url());
    sandbox.mirror(&[ODD]).await;
    let stores = sandbox.stores();
    assert_eq!(stores.number("SELECT count(*) FROM commits WHERE length(sha) <> 64").await, 0);
    assert_eq!(stores.number("SELECT count(*) FROM project_commits").await, 110);
    assert_eq!(stores.number("SELECT count(*) FROM msght_commit_details").await, 110);
    assert_eq!(stores.number("SELECT count(*) FROM issue_events WHERE length(action_specific) = 64").await, 1);
    assert_eq!(stores.collection("commits").await.len(), 110);
    assert_eq!(stores.number("SELECT count(*) FROM commit_comments").await, 1);
    sandbox.mirror(&[ODD]).await;
    assert_eq!(stores.collection("commits").await.len(), 110);
}
