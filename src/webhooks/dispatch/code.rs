//! Pushes, branches, tags, releases, and comments on commits.

use super::Dispatch;
use super::payload::Payload;
use crate::store::relational::refreshes::{RefreshKind, Wanted};

/// The SHA that stands for no commit, of either length.
fn is_nothing(sha: &str) -> bool {
    sha.bytes().all(|byte| byte == b'0')
}

/// A branch or tag was moved, made or deleted, perhaps by force.
pub(super) fn push(payload: Payload<'_>, out: &mut Dispatch) {
    let Some((repository, reference)) = payload.repository().zip(payload.text("ref")) else { return };
    let (kind, name) = match (reference.strip_prefix("refs/heads/"), reference.strip_prefix("refs/tags/")) {
        (Some(branch), _) => (RefreshKind::Branches, branch),
        (_, Some(tag)) => (RefreshKind::Tags, tag),
        // Such as refs/pull: no list has it.
        _ => return,
    };
    let after = payload.text("after").filter(|after| !is_nothing(after) && !payload.flag("deleted"));
    let wanted = match (after, kind) {
        (None, _) => Wanted::Gone,
        (Some(after), RefreshKind::Branches) => Wanted::Commit(after.to_owned()),
        // An annotated tag's object is not the commit that it points at.
        (Some(_), _) => Wanted::Present,
    };
    out.wish(repository.wish(kind, name.to_owned(), wanted));
    if kind == RefreshKind::Branches {
        out.wish(repository.wish(RefreshKind::Languages, None, Wanted::Read));
        out.wish(repository.wish(RefreshKind::Contributors, None, Wanted::Read));
    }
    out.wish_counts(payload);
}

/// A branch or tag was made.
pub(super) fn create(payload: Payload<'_>, out: &mut Dispatch) {
    reference(payload, out, Wanted::Present);
}

/// A branch or tag was deleted.
pub(super) fn delete(payload: Payload<'_>, out: &mut Dispatch) {
    reference(payload, out, Wanted::Gone);
}

fn reference(payload: Payload<'_>, out: &mut Dispatch, wanted: Wanted) {
    let Some(repository) = payload.repository() else { return };
    let kind = match payload.text("ref_type") {
        Some("branch") => RefreshKind::Branches,
        Some("tag") => RefreshKind::Tags,
        // The repository itself, in events of the feed.
        _ => return out.wish(repository.wish(RefreshKind::Repository, None, Wanted::Read)),
    };
    let Some(name) = payload.text("ref") else { return };
    out.wish(repository.wish(kind, name.to_owned(), wanted));
    out.wish_counts(payload);
}

/// A commit was commented on.
pub(super) fn commit_comment(payload: Payload<'_>, out: &mut Dispatch) {
    let (Some(repository), Some(comment)) = (payload.repository(), payload.member("comment")) else { return };
    let Some((sha, id)) = comment.text("commit_id").zip(comment.integer("id")) else { return };
    out.wish(repository.updated(RefreshKind::CommitComments, format!("{sha}/{id}"), comment.date("updated_at")));
}

/// A release was made, edited or deleted.
pub(super) fn release(payload: Payload<'_>, out: &mut Dispatch) {
    let (Some(repository), Some(release)) = (payload.repository(), payload.member("release")) else { return };
    let Some(id) = release.integer("id") else { return };
    let mut wish = match (payload.action(), release.date("updated_at")) {
        ("deleted", _) => repository.wish(RefreshKind::Releases, id.to_string(), Wanted::Gone),
        (_, Some(at)) => repository.updated(RefreshKind::Releases, id.to_string(), Some(at)),
        _ => repository.wish(RefreshKind::Releases, id.to_string(), Wanted::Present),
    };
    if wish.wanted == Wanted::Present {
        wish.facts = release.facts(&["name", "tag_name", "draft", "prerelease", "body"]);
    }
    out.wish(wish);
    // A release may have made its tag; pushes of many tags are not told of.
    out.wish(repository.wish(RefreshKind::Tags, release.text("tag_name").map(str::to_owned), Wanted::Read));
}
