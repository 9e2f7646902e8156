//! Commits of all branches, each once, and comments on them.
//!
//! A project's commits are closed under parents: whatever way they were read in, in the end no commit of a branch may
//! lack its parent. This is checked, and what is missing is read from there on; so neither a list that ends too early
//! nor a run that was cut off leaves a hole.

use std::collections::HashSet;

use futures::{StreamExt, TryStreamExt};
use serde_json::Value;

use super::context::{ForkCommits, Map, Mapped, Repository, Work, read_now};
use super::error::MirrorError;
use super::item::{Item, account, at, commit_person, split_under};
use super::pages::{List, PER_PAGE, Pages, read_all, snapshot};
use crate::github::{Accept, ApiError};
use crate::store::documents::Collection;
use crate::store::relational::Rows;
use crate::store::relational::rows::{Commit, CommitComment, Progress};
use crate::store::relational::state::{PageState, fingerprint};

/// Branches walked at once.
const BRANCHES_IN_FLIGHT: usize = 8;
/// Rounds of looking for parents that are missing. Each round reads on from them; one is enough unless lists end early.
const CLOSING_ROUNDS: usize = 50;

/// A commit's document and row.
pub fn map_commit(
    repository: &Repository,
    item: &Item<'_>,
    out: &mut Mapped,
    on_branch: bool,
) -> Result<String, MirrorError> {
    let sha = item.need_text("sha")?;
    out.documents.push(item.document(Collection::Commits, vec![sha.as_str().into()], &[]));
    commit_row(repository, item, &mut out.rows, on_branch)?;
    Ok(sha)
}

/// A commit's row, with what it tells of its people.
pub fn commit_row(
    repository: &Repository,
    item: &Item<'_>,
    rows: &mut Rows,
    on_branch: bool,
) -> Result<(), MirrorError> {
    let mut person = |on_github: &str, in_git: &str| {
        let (on_github, in_git) = (item.at(on_github), item.at(in_git));
        let email = in_git.and_then(|git| git.get("email")).and_then(Value::as_str).map(str::trim);
        if let (Some(account), Some(email)) = (account(on_github), email)
            && !account.login.eq_ignore_ascii_case("ghost")
        {
            rows.emails.push((email.to_owned(), account));
        }
        commit_person(on_github, in_git)
    };
    let author = person("author", "commit.author");
    let committer = person("committer", "commit.committer");
    let parents = item.at("parents").and_then(Value::as_array).into_iter().flatten();
    rows.commits.push(Commit {
        project: repository.project,
        sha: item.need_text("sha")?,
        author,
        committer,
        created_at: item.date("commit.author.date"),
        parents: parents.filter_map(|parent| at(parent, "sha")?.as_str().map(str::to_owned)).collect(),
        on_branch,
    });
    Ok(())
}

/// The commits of all branches.
pub async fn commits(work: &Work) -> Result<(), MirrorError> {
    let relational = &work.shared.stores.relational;
    let state = relational.list(work.project(), "commits").await?;
    let heads = heads(work).await?;
    if work.repository().facts.get("fork").and_then(Value::as_bool) == Some(true) {
        match (work.shared.options.fork_commits, fork_point(work, &heads).await?) {
            (ForkCommits::None, _) => return complete(work, state.id, None).await,
            (ForkCommits::ForkPoint, Some(point)) => return own_commits(work, state.id, &heads, &point).await,
            // Without anything in common with a parent all commits are its own.
            (ForkCommits::ForkPoint, None) | (ForkCommits::All, _) => {}
        }
    }
    let unknown = unknown(work, &heads).await?;
    if unknown.is_empty() && state.completed {
        return Ok(());
    }
    let mut heads = unknown.into_iter();
    if state.watermark.is_none() {
        // The first walk reads the whole history of one branch, many pages at a time. A SHA's history never changes, so
        // a walk that was cut off goes on with the same SHA, wherever its branch is now.
        let Some(first) = state.pending.clone().or_else(|| heads.next()) else {
            return complete(work, state.id, None).await;
        };
        relational.set_pending(state.id, &first).await?;
        let name = format!("commits:{first}");
        let list = history(work, &name, &first);
        read_all(work, &list).await?;
        work.flush().await?;
        let watermark = Progress::Watermark { list: state.id, watermark: first };
        work.write(Vec::new(), Rows { progress: vec![watermark], ..Rows::default() }).await?;
    }
    relational.set_pending(state.id, "").await?;
    let rest = self::unknown(work, &heads.collect::<Vec<_>>()).await?;
    walk(work, rest).await?;
    close(work).await?;
    complete(work, state.id, None).await
}

async fn complete(work: &Work, list: i64, watermark: Option<String>) -> Result<(), MirrorError> {
    let step = Progress::Completed { list, watermark };
    work.write(Vec::new(), Rows { progress: vec![step], ..Rows::default() }).await
}

/// The SHAs that branches point at, the default branch's first.
async fn heads(work: &Work) -> Result<Vec<String>, MirrorError> {
    const BRANCHES_AT_A_TIME: u32 = 500;
    let Repository { name, facts, .. } = work.repository();
    let documents = &work.shared.stores.documents;
    let default = at(facts, "default_branch").and_then(Value::as_str).unwrap_or("main");
    let default = format!("{name}/{default}");
    let (mut heads, mut after) = (Vec::new(), String::new());
    loop {
        let ids =
            documents.ids_after(Collection::Branches, name.owner(), name.name(), &after, BRANCHES_AT_A_TIME).await?;
        let Some(last) = ids.last() else { break };
        after.clone_from(last);
        for id in ids {
            let Some(json) = documents.get(Collection::Branches, &id).await? else { continue };
            let value: Value = serde_json::from_str(&json).unwrap_or_default();
            let Some(sha) = at(&value, "commit.sha").and_then(Value::as_str) else { continue };
            if id == default {
                heads.insert(0, sha.to_owned());
            } else {
                heads.push(sha.to_owned());
            }
        }
    }
    let mut seen = HashSet::new();
    heads.retain(|sha| seen.insert(sha.clone()));
    Ok(heads)
}

async fn unknown(work: &Work, heads: &[String]) -> Result<Vec<String>, MirrorError> {
    let known = work.shared.stores.relational.known_commits(work.project(), heads).await?;
    Ok(heads.iter().filter(|sha| !known.contains(*sha)).cloned().collect())
}

const ON_BRANCH: &Map =
    &|repository: &Repository, item: &Item<'_>, out: &mut Mapped| map_commit(repository, item, out, true).map(drop);

fn history<'a>(work: &Work, name: &'a str, sha: &str) -> List<'a> {
    let url = work.url(&["commits"]).query("sha", sha);
    List { name, url, accept: Accept::Json, collection: Collection::Commits, map: ON_BRANCH }
}

/// Reads histories from these SHAs down to commits that are known.
async fn walk(work: &Work, shas: Vec<String>) -> Result<(), MirrorError> {
    futures::stream::iter(shas)
        .map(Ok)
        .try_for_each_concurrent(BRANCHES_IN_FLIGHT, |sha| async move { walk_one(work, &sha).await })
        .await?;
    work.flush().await
}

async fn walk_one(work: &Work, sha: &str) -> Result<(), MirrorError> {
    let list = history(work, "commits", sha);
    let mut seen: HashSet<i64> = HashSet::new();
    let mut open: HashSet<String> = HashSet::new();
    let mut pages = Pages::new(work, &list);
    while let Some(Mapped { documents, rows, .. }) = pages.next().await? {
        for commit in &rows.commits {
            open.remove(&commit.sha);
            seen.insert(fingerprint(&commit.sha));
        }
        let parents =
            rows.commits.iter().flat_map(|commit| &commit.parents).filter(|sha| !seen.contains(&fingerprint(sha)));
        open.extend(parents.cloned());
        let asked: Vec<String> = open.iter().cloned().collect();
        for known in work.shared.stores.relational.known_commits(work.project(), &asked).await? {
            open.remove(&known);
        }
        work.write(documents, rows).await?;
        if open.is_empty() {
            break;
        }
    }
    Ok(())
}

/// Reads on wherever a commit of the project lacks its parent, until none does.
async fn close(work: &Work) -> Result<(), MirrorError> {
    let mut before: Vec<String> = Vec::new();
    for _ in 0..CLOSING_ROUNDS {
        work.flush().await?;
        let missing = work.shared.stores.relational.missing_parents(work.project(), PER_PAGE as u32).await?;
        if missing.is_empty() {
            return Ok(());
        }
        if missing == before {
            break;
        }
        walk(work, missing.clone()).await?;
        before = missing;
    }
    work.shortfall(format!("the history before {} could not be read", before.join(", ")));
    Ok(())
}

/// Where a fork left its parent, as GitHub's comparison of their default branches tells it (data model, §4).
async fn fork_point(work: &Work, heads: &[String]) -> Result<Option<String>, MirrorError> {
    let relational = &work.shared.stores.relational;
    if let Some(known) = relational.fork_point(work.project()).await? {
        return Ok(Some(known));
    }
    let facts = &work.repository().facts;
    let text = |path: &str| at(facts, path).and_then(Value::as_str);
    let (Some(owner), Some(branch), Some(head)) =
        (text("parent.owner.login"), text("parent.default_branch"), heads.first())
    else {
        return Ok(None);
    };
    let url = work.url(&["compare", &format!("{owner}:{branch}...{head}")]).query("per_page", "1");
    match work.get_page(&url, Accept::Json).await {
        Ok(page) => {
            let item = Item::single(&page.body, read_now())?;
            let sha = item.need_text("merge_base_commit.sha")?;
            relational.set_fork_point(work.project(), &sha).await?;
            Ok(Some(sha))
        }
        // The parent is gone or private, or they have no common history: then all commits are the fork's own.
        Err(MirrorError::Api(
            ApiError::NotFound { .. } | ApiError::Unprocessable { .. } | ApiError::Forbidden { .. },
        )) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A fork's own commits: those of its branches that are not reachable from the fork point.
///
/// Most of a fork's branches are copies of its parent's, with nothing of its own: the heads that were compared are
/// remembered, so that they are not compared again.
async fn own_commits(work: &Work, list: i64, heads: &[String], fork_point: &str) -> Result<(), MirrorError> {
    let pages = work.shared.stores.relational.pages(list).await?;
    let compared: HashSet<i64> = pages.into_iter().flat_map(|page| page.keys).collect();
    for head in heads.iter().filter(|head| !compared.contains(&fingerprint(head)) && *head != fork_point) {
        match compare(work, fork_point, head, ON_BRANCH).await {
            Ok(_) => {}
            // No history in common: all that leads to it is the fork's own.
            Err(MirrorError::Api(ApiError::NotFound { .. })) => walk_one(work, head).await?,
            Err(error) => return Err(error),
        }
    }
    if heads.iter().all(|head| compared.contains(&fingerprint(head))) {
        return Ok(());
    }
    let page = PageState { keys: heads.iter().map(|head| fingerprint(head)).collect(), ..PageState::only(&"", None) };
    let progress = vec![Progress::Page { list, page }];
    work.write(Vec::new(), Rows { progress, ..Rows::default() }).await
}

/// Stores the commits that `head` has and `base` lacks, and returns their SHAs. GitHub's comparison is paged without
/// the cap that other lists of commits have.
pub async fn compare(work: &Work, base: &str, head: &str, map: &Map) -> Result<Vec<String>, MirrorError> {
    let mut url = Some(work.url(&["compare", &format!("{base}...{head}")]).query("per_page", "100"));
    let mut shas = Vec::new();
    while let Some(next) = url.take() {
        let page = work.get_page(&next, Accept::Json).await?;
        let items = split_under(&page.body, "commits")?;
        let Mapped { documents, rows, .. } = work.map(map, &items, read_now());
        shas.extend(rows.commits.iter().map(|commit| commit.sha.clone()));
        work.write(documents, rows).await?;
        url = page.links.next;
    }
    Ok(shas)
}

/// The comments on commits. Their list has no key to read on from: every page is asked for, conditionally.
pub async fn commit_comments(work: &Work) -> Result<(), MirrorError> {
    let map: &Map = &|repository: &Repository, item: &Item<'_>, out: &mut Mapped| {
        let (id, sha) = (item.need_integer("id")?, item.need_text("commit_id")?);
        let key = vec![repository.name.owner().into(), repository.name.name().into(), sha.as_str().into(), id.into()];
        out.documents.push(item.document(Collection::CommitComments, key, &repository.tags(&[])));
        out.rows.commit_comments.push(CommitComment {
            project: repository.project,
            sha,
            user: item.person("user"),
            body: item.text("body"),
            line: item.integer("line"),
            position: item.integer("position"),
            comment_id: id,
            created_at: item.date("created_at"),
        });
        Ok(())
    };
    let url = work.url(&["comments"]);
    let list = List { name: "commit-comments", url, accept: Accept::Json, collection: Collection::CommitComments, map };
    snapshot(work, &list).await.map(drop)
}
