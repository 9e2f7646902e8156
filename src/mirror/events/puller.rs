//! The pull of one feed.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use chrono::{DateTime, Duration, Utc};
use serde_json::Value;

use crate::github::{ApiUrl, Fetched, Page, Request, RequestCounter, TokenRef};
use crate::mirror::error::MirrorError;
use crate::mirror::mapping::MappedPage;
use crate::mirror::mapping::feed::{has_gap, rows_of, stored_event};
use crate::mirror::mapping::item::{JsonItem, parse_items};
use crate::mirror::resource::Repository;
use crate::mirror::session::Mirror;
use crate::mirror::stats::WriteCounts;
use crate::mirror::writer::{WriteRequest, Writer};
use crate::names::RepoName;
use crate::store::documents::Collection;
use crate::store::relational::ApplyOutcome;
use crate::store::relational::feeds::{Feed, FeedOwner, Pull};

/// Entries per page: GitHub's maximum (GitHub docs: using pagination).
const PER_PAGE: &str = "100";
/// Maximum number of pages of a pull: GitHub's feeds have 300 entries.
const MAX_PAGES: usize = 3;
/// Entries appear late, behind known ones: a pull reads on until it is so many hours behind the newest one of the last pull.
const OVERLAP_HOURS: i64 = 6;

/// The result of a pull with the number of events that it has stored.
pub(super) struct Pulled {
    /// Its recorded state.
    pub pull: Pull,
    /// Events that were new.
    pub new: usize,
}

/// A repository as an entry's rows refer to it; `None` if it is not mirrored.
struct KnownRepository {
    repository: Repository,
    stars_listed: bool,
    members_listed: bool,
}

/// The state of a pull.
struct Puller<'a> {
    mirror: &'a Mirror,
    feed: &'a Feed,
    counter: &'a RequestCounter,
    repositories: HashMap<i64, Option<KnownRepository>>,
    /// Time of the newest and of the oldest entry so far.
    newest: Option<(String, DateTime<Utc>)>,
    oldest: Option<DateTime<Utc>>,
    entries: usize,
    new: usize,
    /// Entries that could not be used: the page is fetched again.
    unusable: usize,
}

/// Pulls a feed and stores what is new.
///
/// # Errors
/// GitHub does not answer, or a store can't be used. What was stored before is kept.
pub(super) async fn pull(mirror: &Mirror, feed: &Feed, counter: &RequestCounter) -> Result<Pulled, MirrorError> {
    let (writer, tasks) = Writer::start(&mirror.stores);
    let mut puller = Puller {
        mirror,
        feed,
        counter,
        repositories: HashMap::new(),
        newest: None,
        oldest: None,
        entries: 0,
        new: 0,
        unusable: 0,
    };
    let pulled = puller.pages(&writer).await;
    let flushed = writer.flush().await;
    drop(writer);
    tasks.finished().await;
    let first = pulled?;
    flushed?;
    Ok(puller.finish(first))
}

impl Puller<'_> {
    /// Fetches and stores pages until enough known entries were met. Returns the first page; `None` if it has not changed.
    async fn pages(&mut self, writer: &Writer) -> Result<Option<Page>, MirrorError> {
        let (repo, url) = match &self.feed.owner {
            FeedOwner::Repository { owner, name, .. } => {
                let name = RepoName::new(owner, name).map_err(|error| MirrorError::Answer(error.to_string()))?;
                let url = ApiUrl::repo(&name, &["events"]);
                (Some(name), url)
            }
            FeedOwner::Organization { login } => (None, ApiUrl::path(&["orgs", login, "events"])),
        };
        // A feed that stands still may move for another token.
        let (token, mut validator) =
            if self.feed.stands_still { (self.other_token(), None) } else { (None, self.feed.validator.clone()) };
        let mut url = url.query("per_page", PER_PAGE);
        let mut first = None;
        for _ in 0..MAX_PAGES {
            let request = Request::get(url).repo(repo.clone()).validator(validator.take()).token(token.clone());
            let page = match self.mirror.get(&request, self.counter).await? {
                Fetched::NotModified => return Ok(None),
                Fetched::Page(page) => *page,
            };
            let next = page.links.next.clone();
            self.page(&page, writer).await?;
            first.get_or_insert(page);
            match next {
                Some(next) if !self.has_met_enough() => url = next,
                _ => break,
            }
        }
        Ok(first)
    }

    fn other_token(&self) -> Option<TokenRef> {
        let (FeedOwner::Repository { owner, .. } | FeedOwner::Organization { login: owner }) = &self.feed.owner;
        let last = self.feed.validator.as_ref().map(|validator| validator.scope.as_str()).unwrap_or_default();
        let tokens = self.mirror.github.tokens_for(owner);
        tokens.into_iter().find(|token| token.fingerprint != last)
    }

    /// Returns whether the pull has gone far enough behind the newest entry of the last one to find late ones. That an entry is
    /// stored says nothing: another feed, or a backfill, may have stored it, and not those behind it.
    fn has_met_enough(&self) -> bool {
        let reached = self.feed.newest_at.map(|known| known - Duration::hours(OVERLAP_HOURS));
        reached.zip(self.oldest).is_some_and(|(reached, oldest)| oldest < reached)
    }

    /// Stores the new entries of a page.
    async fn page(&mut self, page: &Page, writer: &Writer) -> Result<(), MirrorError> {
        let read_at = Utc::now();
        let mut items = Vec::new();
        for raw in parse_items(&page.body)? {
            let item = JsonItem::new(raw, read_at).and_then(|item| Ok((item.require_text("id")?, item)));
            match item {
                Ok(item) => items.push(item),
                Err(error) => {
                    self.unusable += 1;
                    tracing::warn!(feed = self.feed.key, %error, "an entry of the feed can't be used");
                }
            }
        }
        self.entries += items.len();
        let ids: Vec<String> = items.iter().map(|(id, _)| id.clone()).collect();
        let known = self.mirror.stores.relational.known_events(&ids).await?;
        let mut out = MappedPage::default();
        let mut seen: HashSet<String> = HashSet::new();
        for (id, item) in items {
            self.note(&id, &item);
            if !known.contains(&id) && seen.insert(id.clone()) {
                self.new += 1;
                self.entry(id, &item, &mut out).await?;
            }
        }
        if out.documents.is_empty() {
            return Ok(());
        }
        let counts = Arc::new(WriteCounts::default());
        writer.write(WriteRequest { counts, documents: out.documents, rows: out.rows }).await
    }

    fn note(&mut self, id: &str, item: &JsonItem<'_>) {
        let Some(at) = item.date("created_at") else { return };
        if self.newest.as_ref().is_none_or(|(_, newest)| at > *newest) {
            self.newest = Some((id.to_owned(), at));
        }
        self.oldest = Some(self.oldest.map_or(at, |oldest| oldest.min(at)));
    }

    /// Maps a new entry: its document, its row in the outbox, and what it tells of a repository that is mirrored.
    async fn entry(&mut self, id: String, item: &JsonItem<'_>, out: &mut MappedPage) -> Result<(), MirrorError> {
        let kind = item.text("type").unwrap_or_default();
        out.documents.push(item.document(Collection::Events, vec![id.as_str().into()], &[]));
        out.rows.events.push(stored_event(id, &kind, item, self.mirror.publishing));
        let Some(number) = item.integer("repo.id") else { return Ok(()) };
        if !self.repositories.contains_key(&number) {
            let known = known_repository(self.mirror, number).await?;
            self.repositories.insert(number, known);
        }
        if let Some(Some(known)) = self.repositories.get(&number) {
            map_rows(known, item, &kind, out);
        }
        Ok(())
    }

    fn finish(self, first: Option<Page>) -> Pulled {
        let Some(first) = first else { return Pulled { pull: Pull::default(), new: 0 } };
        // An empty feed reaches back to nothing, and may have lost all of it.
        let reaches_back = |known| self.oldest.is_some_and(|oldest| oldest <= known);
        let before = self.feed.pulled_at.zip(self.feed.newest_at);
        let gap = before
            .is_some_and(|(pulled_at, known)| !reaches_back(known) && has_gap(pulled_at, self.entries, Utc::now()));
        Pulled {
            pull: Pull {
                validator: first.validator.filter(|_| self.unusable == 0),
                poll_interval: first.poll_interval,
                changed: self.new > 0,
                newest: self.newest,
                gap: gap.then_some(self.oldest),
            },
            new: self.new,
        }
    }
}

fn map_rows(known: &KnownRepository, item: &JsonItem<'_>, kind: &str, out: &mut MappedPage) {
    let KnownRepository { repository, stars_listed, members_listed } = known;
    rows_of(repository, item, kind, *stars_listed, *members_listed, out);
    // Accounts that no row refers to are mentioned by the repository.
    let project = repository.project;
    let accounts = std::mem::take(&mut out.rows.accounts);
    out.rows.mentions.extend(accounts.into_iter().map(|account| (project, account)));
}

/// Finds the row of a repository by GitHub's number.
async fn known_repository(mirror: &Mirror, number: i64) -> Result<Option<KnownRepository>, MirrorError> {
    let relational = &mirror.stores.relational;
    let Some(record) = relational.find_project_by_github_id(number).await? else { return Ok(None) };
    let Ok(name) = RepoName::new(&record.owner, &record.name) else { return Ok(None) };
    // Where a list can be read it knows better who has starred or joined, and who has left.
    let stars_listed = relational.list(record.id, "stars").await?.completed;
    let members_listed = relational.list(record.id, "collaborators").await?.completed;
    let repository = Repository { project: record.id, name, json: Value::Null, source: None };
    Ok(Some(KnownRepository { repository, stars_listed, members_listed }))
}

impl Mirror {
    /// Stores the rows that a stored event's document tells of, if its repository is mirrored. Returns whether it is.
    ///
    /// # Errors
    /// The document is no event, or a store can't be used.
    pub async fn apply_event(&self, json: &str) -> Result<bool, MirrorError> {
        let item = JsonItem::single(json.as_bytes(), Utc::now())?;
        let Some(number) = item.integer("repo.id") else { return Ok(false) };
        let Some(known) = known_repository(self, number).await? else { return Ok(false) };
        let mut out = MappedPage::default();
        map_rows(&known, &item, &item.text("type").unwrap_or_default(), &mut out);
        if !out.rows.is_empty() {
            // A row that the database rejects must not end the worker.
            if let ApplyOutcome::Rejected(reason) = self.stores.relational.apply_or_reject(&out.rows).await? {
                return Err(MirrorError::Answer(format!("its rows are not stored: {reason}")));
            }
        }
        Ok(true)
    }
}
