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
