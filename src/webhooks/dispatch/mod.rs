//! What a delivery names: from its kind and payload to the entities that are to be read again.
//!
//! A payload says where to look; its documents are never taken over, since they differ from the API's in form and even in
//! value. Nothing here is an error: what is unknown, or has another shape than expected, names nothing.
//!
//! | file | kinds |
//! |---|---|
//! | `payload.rs` | reads payloads |
//! | `code.rs` | pushes, branches, tags, releases, comments on commits |
//! | `work.rs` | issues and pull requests, their comments, reviews, labels and milestones |
//! | `repository.rs` | the repository itself, its stars and forks |
//! | `people.rs` | members, teams, organizations |

mod code;
mod payload;
mod people;
mod repository;
mod work;

use serde_json::Value;

use self::payload::Payload;
use crate::store::relational::refreshes::RefreshRequest;

/// What a delivery names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dispatch {
    /// Entities to be read again.
    pub refreshes: Vec<RefreshRequest>,
}

/// Adds what a payload names to the wishes.
type Namer = fn(Payload<'_>, &mut Dispatch);

/// The kinds of deliveries that name something (GitHub docs: webhook events and payloads). A kind that is missing here, such as
/// `ping`, names nothing.
const KINDS: &[(&str, Namer)] = &[
    ("push", code::push),
    ("create", code::create),
    ("delete", code::delete),
    ("commit_comment", code::commit_comment),
    ("release", code::release),
    ("issues", work::issues),
    ("issue_comment", work::issue_comment),
    ("sub_issues", work::related_issues),
    ("issue_dependencies", work::related_issues),
    ("issue_relates_to", work::related_issues),
    ("label", work::label),
    ("milestone", work::milestone),
    ("pull_request", work::pull_request),
    ("pull_request_review", work::review),
    ("pull_request_review_comment", work::review_comment),
    ("pull_request_review_thread", work::review_thread),
    ("pull_request_target", work::pull_request),
    ("repository", repository::repository),
    ("public", repository::itself),
    ("gollum", repository::counts),
    ("watch", repository::counts),
    ("discussion", repository::counts),
    ("star", repository::star),
    ("fork", repository::fork),
    ("member", people::member),
    ("membership", people::membership),
    ("team", people::team),
    ("team_add", people::team_add),
    ("organization", people::organization),
];

/// Returns what a delivery names. `event` is its kind, as in the header `X-GitHub-Event`.
pub fn dispatch(event: &str, payload: &Value) -> Dispatch {
    let mut dispatch = Dispatch::default();
    if let Some((_, name)) = KINDS.iter().find(|(kind, _)| *kind == event) {
        name(Payload(payload), &mut dispatch);
    }
    dispatch
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use serde_json::{Map, json};

    use super::*;
    use crate::store::relational::refreshes::{RefreshKind, Wanted};

    fn repository() -> Value {
        json!({"id": 7, "name": "web", "owner": {"login": "contoso", "type": "Organization"}, "open_issues_count": 3,
               "updated_at": "2026-11-27T10:00:00Z", "pushed_at": 1_795_000_000})
    }

    /// The wishes of a payload, as `kind entity wanted`, without what nobody waits for.
    fn named(event: &str, mut payload: Value) -> BTreeSet<String> {
        payload["repository"] = repository();
        let found = dispatch(event, &payload).refreshes.into_iter();
        let found = found.filter(|wish| !wish.kind.is_background()).map(|wish| {
            let wanted = match wish.wanted {
                Wanted::UpdatedAt(at) => at.format("%H:%M").to_string(),
                Wanted::Commit(sha) => sha,
                wanted => format!("{wanted:?}").to_lowercase(),
            };
            let entity = wish.entity.unwrap_or_default();
            format!("{} {entity} {wanted}", wish.kind.name())
        });
        found.collect()
    }

    fn assert_named(event: &str, payload: Value, expected: &[&str]) {
        let expected = expected.iter().map(|wish| (*wish).to_owned()).collect();
        assert_eq!(named(event, payload.clone()), expected, "{event} {payload}");
    }

    #[test]
    fn each_kind_names_its_entities() {
        let at = "2026-11-27T10:00:00Z";
        let issue = json!({"number": 4, "updated_at": at});
        assert_named("issues", json!({"action": "opened", "issue": issue}), &["issues 4 10:00"]);
        assert_named(
            "issues",
            json!({"action": "closed", "issue": issue}),
            &["issues 4 10:00", "issue_events 4 10:00"],
        );
        assert_named("issues", json!({"action": "deleted", "issue": issue}), &["issues 4 gone"]);
        let comment = json!({"id": 9, "updated_at": at});
        assert_named(
            "issue_comment",
            json!({"action": "deleted", "issue": issue, "comment": comment}),
            &["issue_comments 4/9 gone", "issues 4 10:00"],
        );
        assert_named(
            "label",
            json!({"action": "edited", "label": {"name": "new"}, "changes": {"name": {"from": "old"}}}),
            &["labels new present", "labels old gone"],
        );
        assert_named("push", json!({"ref": "refs/heads/a/b", "after": "abc"}), &["branches a/b abc"]);
        assert_named("push", json!({"ref": "refs/tags/v1", "after": "0000", "deleted": true}), &["tags v1 gone"]);
        assert_named("delete", json!({"ref": "topic", "ref_type": "branch"}), &["branches topic gone"]);
        let pull = json!({"number": 5, "updated_at": at, "head": {"sha": "abc"}});
        assert_named(
            "pull_request",
            json!({"action": "synchronize", "pull_request": pull}),
            &["pulls 5 10:00", "issues 5 10:00", "pull_commits 5 abc"],
        );
        assert_named(
            "pull_request_review",
            json!({"action": "submitted", "pull_request": pull, "review": {"id": 3}}),
            &["pulls 5 10:00", "issues 5 10:00", "reviews 5/3 present"],
        );
        assert_named("star", json!({"action": "deleted", "sender": {"login": "x"}}), &["stars x gone"]);
        assert_named("fork", json!({"forkee": {"id": 8}}), &["forks 8 present"]);
        assert_named("repository", json!({"action": "deleted"}), &["repository  gone"]);
        assert_named("milestone", json!({"action": "deleted", "milestone": {"number": 2}}), &["milestones 2 gone"]);
        assert_named(
            "organization",
            json!({"action": "member_added", "membership": {"user": {"login": "x"}}}),
            &["members x present"],
        );
        assert_named(
            "membership",
            json!({"action": "removed", "team": {"id": 6}, "member": {"login": "x"}}),
            &["team_members 6/x gone"],
        );
        for event in ["ping", "meta", "check_run", "never heard of", ""] {
            assert_named(event, json!({"action": "created", "issue": issue}), &[]);
        }
    }

    #[test]
    fn transferred_issue_is_named_on_both_sides() {
        let there = json!({"id": 8, "name": "api", "owner": {"login": "contoso"}});
        let payload = json!({"action": "transferred", "issue": {"number": 4}, "repository": repository(),
            "changes": {"new_issue": {"number": 1}, "new_repository": there}});
        let found = dispatch("issues", &payload).refreshes;
        let issues = found.iter().filter(|wish| wish.kind == RefreshKind::Issues);
        let issues: Vec<_> = issues.map(|wish| (wish.repository_id, wish.entity.as_deref())).collect();
        assert_eq!(issues, [(Some(7), Some("4")), (Some(8), Some("1"))]);
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "\\PC{0,12}".prop_map(Value::from),
            Just(Value::from("../..")),
        ];
        let key = prop::sample::select(vec![
            "action",
            "repository",
            "organization",
            "issue",
            "number",
            "id",
            "name",
            "login",
            "owner",
            "comment",
            "pull_request",
            "updated_at",
            "ref",
            "after",
            "team",
            "member",
            "sender",
            "label",
            "changes",
            "head",
            "sha",
        ]);
        leaf.prop_recursive(5, 64, 8, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec((key.clone(), inner), 0..8).prop_map(|members| {
                    Value::Object(
                        members.into_iter().map(|(key, value)| (key.to_owned(), value)).collect::<Map<_, _>>(),
                    )
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn payload_of_any_shape_names_only_valid_targets(at in 0..KINDS.len(), payload in any_json()) {
            for wish in dispatch(KINDS[at].0, &payload).refreshes {
                let is_valid = crate::names::is_login(&wish.owner)
                    && (wish.repo.is_empty() || crate::names::RepoName::new(&wish.owner, &wish.repo).is_ok());
                prop_assert!(is_valid, "{:?}", wish);
            }
        }
    }
}
