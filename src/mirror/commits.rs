//! Commits of all branches, each once, and comments on them.
//!
//! A project's commits are closed under parents: whatever way they were read in, in the end no commit of a branch may
//! lack its parent. This is checked, and what is missing is read from there on; so neither a list that ends too early
//! nor a run that was cut off leaves a hole.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use futures::{StreamExt, TryStreamExt};
use serde_json::Value;

use super::context::{ForkCommits, Map, Mapped, Repository, Subject, Work, read_now};
use super::error::MirrorError;
use super::item::{Item, account, at, commit_person, split_under};
use super::pages::{List, PER_PAGE, Pages, read_all, snapshot};
use super::refs;
use super::stage::Stage;
use crate::github::{Accept, ApiError};
use crate::store::documents::Collection;
use crate::store::relational::Rows;
use crate::store::relational::rows::{Commit, CommitComment, Progress};
use crate::store::relational::state::{ListState, PageState, fingerprint};

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
    let branches = relational.list(work.project(), "branches").await?;
    if !branches.completed || !work.shared.options.stages.contains(&Stage::Branches) {
        // Without their heads nothing could be walked, and nothing would look complete.
        refs::heads(work).await?;
        work.flush().await?;
    }
    let state = relational.list(work.project(), "commits").await?;
    let heads = heads(work).await?;
    if work.repository().facts.get("fork").and_then(Value::as_bool) == Some(true) {
        match (work.shared.options.fork_commits, fork_point(work, &heads).await?) {
            (ForkCommits::None, _) => return complete(work, state.id).await,
            (ForkCommits::ForkPoint, Some(point)) => return own_commits(work, state.id, &heads, &point).await,
            // Without anything in common with a parent all commits are its own.
            (ForkCommits::ForkPoint, None) | (ForkCommits::All, _) => {}
        }
    }
    let unknown = unknown(work, &heads).await?;
    if unknown.is_empty() && state.completed {
        return Ok(());
    }
    // Whoever asks for everything anew has the commits of this run alone for known.
    let seen = work.shared.options.full.then(|| Mutex::new(HashSet::new()));
    let mut heads = if seen.is_some() { heads } else { unknown };
    if state.watermark.is_none() {
        let read = first_branch(work, &state, &heads).await?;
        if let Some(seen) = &seen {
            *seen.lock().unwrap_or_else(PoisonError::into_inner) = read;
        }
    } else {
        relational.set_pending(state.id, "").await?;
    }
    if seen.is_none() {
        heads = self::unknown(work, &heads).await?;
    }
    walk(work, heads, seen.as_ref()).await?;
    close(work).await?;
    complete(work, state.id).await
}

/// The first walk reads the whole history of one branch, many pages at a time. A SHA's history never changes, so a walk
/// that was cut off goes on with the same SHA, wherever its branch is now. Returns the fingerprints of what it read.
async fn first_branch(work: &Work, state: &ListState, heads: &[String]) -> Result<HashSet<i64>, MirrorError> {
    let relational = &work.shared.stores.relational;
    let begun = state.pending.as_ref().filter(|sha| !sha.is_empty());
    let Some(first) = begun.or_else(|| heads.first()) else { return Ok(HashSet::new()) };
    relational.set_pending(state.id, first).await?;
    let name = format!("commits:{first}");
    let read = match read_all(work, &history(work, &name, first)).await {
        // A force-push has taken away what an earlier run began with.
        Err(MirrorError::Api(ApiError::NotFound { .. } | ApiError::Unprocessable { .. })) if begun.is_some() => {
            relational.set_pending(state.id, "").await?;
            return Ok(HashSet::new());
        }
        read => read?,
    };
    let watermark = Progress::Watermark { list: state.id, watermark: first.clone() };
    work.write(Vec::new(), Rows { progress: vec![watermark], ..Rows::default() }).await?;
    work.flush().await?;
    relational.set_pending(state.id, "").await?;
    Ok(read)
}

async fn complete(work: &Work, list: i64) -> Result<(), MirrorError> {
    let step = Progress::Completed { list, watermark: None };
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
            documents.ids_after(Collection::Branches, &work.repository().key(), &after, BRANCHES_AT_A_TIME).await?;
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

/// What a run for everything has read so far: fingerprints of SHAs.
type Seen = Mutex<HashSet<i64>>;

/// Reads histories from these SHAs down to commits that are known; with `seen`, to those that this run has read.
async fn walk(work: &Work, shas: Vec<String>, seen: Option<&Seen>) -> Result<(), MirrorError> {
    futures::stream::iter(shas)
        .map(Ok)
        .try_for_each_concurrent(BRANCHES_IN_FLIGHT, |sha| async move { walk_one(work, &sha, seen).await })
        .await?;
    work.flush().await
}

async fn walk_one(work: &Work, sha: &str, seen: Option<&Seen>) -> Result<(), MirrorError> {
    let seen_before =
        |sha: &str| seen.is_some_and(|s| s.lock().unwrap_or_else(PoisonError::into_inner).contains(&fingerprint(sha)));
    if seen_before(sha) {
        return Ok(());
    }
    let list = history(work, "commits", sha);
    let mut ends = OpenEnds::default();
    let mut pages = Pages::new(work, &list);
    while let Some(Mapped { documents, rows, .. }) = pages.next().await? {
        ends.take(&rows.commits);
        if let Some(seen) = seen {
            ends.open.retain(|sha| !seen_before(sha));
            let read = rows.commits.iter().map(|commit| fingerprint(&commit.sha));
            seen.lock().unwrap_or_else(PoisonError::into_inner).extend(read);
        } else {
            ends.close_known(work).await?;
        }
        work.write(documents, rows).await?;
        if ends.open.is_empty() {
            break;
        }
    }
    Ok(())
}

/// Where a history that is being read goes on: parents that have not come yet.
#[derive(Default)]
struct OpenEnds {
    read: HashSet<i64>,
    open: HashSet<String>,
}

impl OpenEnds {
    fn take(&mut self, commits: &[Commit]) {
        for commit in commits {
            self.open.remove(&commit.sha);
            self.read.insert(fingerprint(&commit.sha));
        }
        let parents = commits.iter().flat_map(|commit| &commit.parents);
        self.open.extend(parents.filter(|sha| !self.read.contains(&fingerprint(sha))).cloned());
    }

    /// Takes away those that the project is known to have.
    async fn close_known(&mut self, work: &Work) -> Result<(), MirrorError> {
        let asked: Vec<String> = self.open.iter().cloned().collect();
        for known in work.shared.stores.relational.known_commits(work.project(), &asked).await? {
            self.open.remove(&known);
        }
        Ok(())
    }
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
        walk(work, missing.clone(), None).await?;
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
/// Most of a fork's branches are copies of its parent's, with nothing of their own: the heads that were compared are
/// remembered one by one, so that they are not compared again.
async fn own_commits(work: &Work, list: i64, heads: &[String], fork_point: &str) -> Result<(), MirrorError> {
    let pages = work.shared.stores.relational.pages(list).await?;
    let before: HashSet<i64> = pages.into_iter().flat_map(|page| page.keys).collect();
    let known = heads.iter().map(|head| fingerprint(head)).filter(|key| before.contains(key)).collect();
    // Held while the state is handed in, so that a shorter one never follows a longer one.
    let compared: &tokio::sync::Mutex<Vec<i64>> = &tokio::sync::Mutex::new(known);
    let refreshes = !before.is_empty();
    let new: Vec<String> =
        heads.iter().filter(|head| !before.contains(&fingerprint(head)) && *head != fork_point).cloned().collect();
    futures::stream::iter(new)
        .map(Ok)
        .try_for_each_concurrent(BRANCHES_IN_FLIGHT, |head| async move {
            own_commits_of(work, &head, fork_point, refreshes).await?;
            let mut compared = compared.lock().await;
            compared.push(fingerprint(&head));
            let page = PageState { keys: compared.clone(), ..PageState::only(&"", None) };
            work.write(Vec::new(), Rows { progress: vec![Progress::Page { list, page }], ..Rows::default() }).await
        })
        .await
}

async fn own_commits_of(work: &Work, head: &str, fork_point: &str, refreshes: bool) -> Result<(), MirrorError> {
    if refreshes && few_new_commits(work, head, fork_point).await? {
        return Ok(());
    }
    match compare(work, fork_point, head, ON_BRANCH).await {
        // No history in common: all that leads to it is the fork's own.
        Err(MirrorError::Api(ApiError::NotFound { .. })) => {
            let name = format!("commits:{head}");
            read_all(work, &history(work, &name, head)).await.map(drop)
        }
        done => done.map(drop),
    }
}

/// A push to a fork's own branch is one page that ends at commits that are known as its own, or at the fork point: it is
/// stored then. Otherwise nothing is, and a comparison has to tell what is the fork's own.
async fn few_new_commits(work: &Work, head: &str, fork_point: &str) -> Result<bool, MirrorError> {
    let list = history(work, "commits", head);
    let Some(Mapped { documents, rows, .. }) = Pages::new(work, &list).next().await? else { return Ok(false) };
    let Rows { mut commits, emails, .. } = rows;
    let shas: Vec<String> = commits.iter().map(|commit| commit.sha.clone()).collect();
    let known = work.shared.stores.relational.known_commits(work.project(), &shas).await?;
    let Some(new) = shas.iter().position(|sha| known.contains(sha) || sha == fork_point) else { return Ok(false) };
    commits.truncate(new);
    let mut ends = OpenEnds::default();
    ends.take(&commits);
    ends.open.remove(fork_point);
    ends.close_known(work).await?;
    if !ends.open.is_empty() {
        return Ok(false);
    }
    let new: HashSet<&String> = shas[..new].iter().collect();
    let documents = documents.into_iter().filter(|document| new.contains(&document.id())).collect();
    work.write(documents, Rows { commits, emails, ..Rows::default() }).await?;
    Ok(true)
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
    snapshot(work, &list).await
}
