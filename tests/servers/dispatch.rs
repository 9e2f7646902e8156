//! GitHub's own examples of deliveries: each goes through, and names what the table of kinds says.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use msght::backend_url::{BackendKind, BackendUrl};
use msght::retry::RetryPolicy;
use msght::store::relational::Relational;
use msght::webhooks::dispatch::dispatch;
use serde_json::Value;

/// Kinds of deliveries that name something.
const NAMING: &[&str] = &[
    "commit_comment",
    "create",
    "delete",
    "fork",
    "gollum",
    "issue_comment",
    "issues",
    "label",
    "member",
    "membership",
    "milestone",
    "organization",
    "public",
    "pull_request",
    "pull_request_review",
    "pull_request_review_comment",
    "pull_request_review_thread",
    "push",
    "release",
    "repository",
    "star",
    "team",
    "team_add",
    "watch",
];

fn examples() -> Vec<(String, Value)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/node_modules/@octokit/webhooks-examples/api.github.com/index.json");
    let text = std::fs::read(path).expect("GitHub's examples of deliveries: run `npm ci --prefix tests`");
    let kinds: Vec<Value> = serde_json::from_slice(&text).unwrap();
    let of_kind = |kind: &Value| {
        let name = kind["name"].as_str().unwrap().to_owned();
        let examples = kind["examples"].as_array().unwrap().clone();
        examples.into_iter().map(move |example| (name.clone(), example)).collect::<Vec<_>>()
    };
    kinds.iter().flat_map(of_kind).collect()
}

#[tokio::test]
async fn examples_of_github_are_dispatched_without_loss() {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}/github.db", directory.path().display());
    let url = BackendUrl::parse(&url, &[BackendKind::Sqlite]).unwrap();
    let relational = Relational::open(&url, &RetryPolicy::new(Duration::from_secs(5), |_| {})).await.unwrap();
    let (mut named, mut wishes, mut number) = (BTreeSet::new(), BTreeSet::new(), 0);
    for (event, payload) in examples() {
        number += 1;
        let found = dispatch(&event, &payload).refreshes;
        let invited = payload["action"] == "member_invited";
        if NAMING.contains(&event.as_str()) && !invited {
            assert!(!found.is_empty(), "{event} {payload}");
            named.insert(event);
        } else {
            assert!(found.is_empty() || event == "discussion", "{event} names {found:?}");
        }
        wishes.extend(found.iter().map(|wish| (wish.target(), wish.kind.name(), wish.entity.clone())));
        relational.request_refreshes(found).await.unwrap();
    }
    assert!(number >= 300, "{number} examples");
    assert_eq!(named.iter().map(String::as_str).collect::<Vec<_>>(), NAMING);
    assert_eq!(relational.refresh_counts().await.unwrap().pending, wishes.len() as u64);
}
