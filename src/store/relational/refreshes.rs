//! Refreshes that deliveries and events ask for: one durable row per entity, merged, claimed a target at a time.

use std::collections::BTreeMap;

use chrono::{DateTime, SecondsFormat, Utc};

use super::Relational;
use super::sql::{OnConflict, Upsert, Value, placeholders};
use crate::store::BackendError;

/// Seconds between a wish and its first reading: what one action on GitHub sends in several deliveries is read at once.
const COALESCE_SECONDS: i64 = 1;
/// The same for what nobody waits for.
const BACKGROUND_COALESCE_SECONDS: i64 = 20;
/// Minimum number of seconds between two readings of what nobody waits for.
const BACKGROUND_PACE_SECONDS: i64 = 120;
/// Seconds until the next attempt, by the number of failed ones. GitHub's API lags behind its own deliveries.
const RETRY_DELAYS: [i64; 5] = [2, 10, 60, 600, 3600];
/// The same where a key may come back: GitHub's answer is believed at the third.
const SETTLING_DELAYS: [i64; 5] = [2, 10, 25, 600, 3600];
/// Seconds for which a claim keeps other workers away. A lease on the repository guards work that takes longer.
const CLAIM_SECONDS: i64 = 60;
/// Seconds in which a kind of a target is read twice at most.
const PACE_SECONDS: i64 = 60;
/// Minimum number of seconds between two readings of a kind of a target.
const MIN_PACE_SECONDS: i64 = 5;
/// Maximum length of an entity's key in characters; the rest of a longer one is hashed.
const MAX_ENTITY_CHARS: usize = 200;
/// Keys per lookup statement.
const KEYS_PER_LOOKUP: usize = 64;

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident: $name:literal $($reusable:ident)?;)+) => {
        /// A kind of entity that can be refreshed by itself.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum RefreshKind {
            $($(#[$doc])* $kind,)+
        }

        impl RefreshKind {
            /// Every kind.
            pub const ALL: &'static [Self] = &[$(Self::$kind),+];

            /// Returns the name that is stored.
            pub fn name(self) -> &'static str {
                match self { $(Self::$kind => $name),+ }
            }

            /// Returns whether an entity that went may come back under its key, as a branch may: the latest wish does
            /// not follow from the wishes alone then, and what GitHub shows after a while is believed.
            pub fn is_reusable(self) -> bool {
                match self { $(Self::$kind => [$(kinds!(@$reusable),)? false][0]),+ }
            }
        }
    };
    (@reusable) => { true };
}

kinds! {
    /// The repository itself; entity: none.
    Repository: "repository" reusable;
    /// The repository's counts and dates, which its entities change; entity: none. Nobody waits for them.
    Counts: "counts" reusable;
    /// Whole commits and pull requests, and profiles of people; entity: none. Nobody waits for them.
    Details: "details" reusable;
    /// How much each person has contributed; entity: none. Nobody waits for it.
    Contributors: "contributors" reusable;
    /// Topics; entity: none.
    Topics: "topics" reusable;
    /// Languages; entity: none. Nobody waits for them.
    Languages: "languages" reusable;
    /// Labels, by name.
    Labels: "labels" reusable;
    /// Milestones, by number.
    Milestones: "milestones" reusable;
    /// Branches and their commits, by name.
    Branches: "branches" reusable;
    /// Tags, by name.
    Tags: "tags" reusable;
    /// Commits, by SHA.
    Commits: "commits";
    /// Comments on commits, as `SHA/ID`.
    CommitComments: "commit_comments";
    /// Issues, and pull requests in their form as issues, by number.
    Issues: "issues";
    /// Comments of issues, as `NUMBER/ID`.
    IssueComments: "issue_comments";
    /// Events of issues, by the issue's number.
    IssueEvents: "issue_events" reusable;
    /// Pull requests, by number.
    Pulls: "pulls";
    /// Commits of a pull request, by its number.
    PullCommits: "pull_commits" reusable;
    /// Reviews, as `NUMBER/ID`.
    Reviews: "reviews";
    /// Review comments, as `NUMBER/ID`.
    ReviewComments: "review_comments";
    /// Releases, by id.
    Releases: "releases";
    /// Stars, by login.
    Stars: "stars" reusable;
    /// Forks, by id.
    Forks: "forks";
    /// Collaborators, by login.
    Collaborators: "collaborators" reusable;
    /// The profile of the organization; entity: none.
    Organization: "organization" reusable;
    /// Members of the organization, by login.
    Members: "members" reusable;
    /// Teams, by id.
    Teams: "teams";
    /// Members of a team, as `TEAM/LOGIN`.
    TeamMembers: "team_members" reusable;
    /// Repositories of a team, as `TEAM/REPOSITORY`.
    TeamRepositories: "team_repositories" reusable;
    /// Outside collaborators of the organization, by login.
    OutsideCollaborators: "outside_collaborators" reusable;
}

impl RefreshKind {
    fn retry_delays(self) -> &'static [i64] {
        if self.is_reusable() { &SETTLING_DELAYS } else { &RETRY_DELAYS }
    }

    /// Returns whether nobody waits for it.
    pub fn is_background(self) -> bool {
        matches!(self, Self::Counts | Self::Details | Self::Contributors | Self::Languages)
    }

    /// Returns the number of seconds between a wish and its first reading, and the minimum between two readings.
    fn delays(self) -> (i64, i64) {
        if self.is_background() {
            (BACKGROUND_COALESCE_SECONDS, BACKGROUND_PACE_SECONDS)
        } else {
            (COALESCE_SECONDS, MIN_PACE_SECONDS)
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.name() == name)
    }
}

/// State of the stores that makes a wish come true.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// The entity is stored with this `updated_at` or a later one.
    UpdatedAt(DateTime<Utc>),
    /// The commit is known, or the branch or pull request has it for its head.
    Commit(String),
    /// The entity is stored, with the request's facts if it has any.
    Present,
    /// The entity is not there: GitHub has answered so.
    Gone,
    /// The entity was read since the wish.
    Read,
}

impl Wanted {
    fn name(&self) -> &'static str {
        match self {
            Self::UpdatedAt(_) => "updated",
            Self::Commit(_) => "commit",
            Self::Present => "present",
            Self::Gone => "gone",
            Self::Read => "read",
        }
    }

    fn value(&self) -> Option<String> {
        match self {
            Self::UpdatedAt(at) => Some(timestamp(*at)),
            Self::Commit(sha) => Some(sha.clone()),
            Self::Present | Self::Gone | Self::Read => None,
        }
    }

    fn parse(name: &str, value: Option<&str>) -> Self {
        match (name, value) {
            ("updated", Some(at)) => parse_timestamp(at).map_or(Self::Read, Self::UpdatedAt),
            ("commit", Some(sha)) => Self::Commit(sha.to_owned()),
            ("present", _) => Self::Present,
            ("gone", _) => Self::Gone,
            _ => Self::Read,
        }
    }
}

/// A wish that an entity be read again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefreshRequest {
    /// GitHub's id of the repository, if known.
    pub repository_id: Option<i64>,
    /// Login of the repository's owner, or of the organization.
    pub owner: String,
    /// Name of the repository; empty for what belongs to the organization.
    pub repo: String,
    /// The kind of entity.
    pub kind: RefreshKind,
    /// Key of the entity within its repository or organization (see [`RefreshKind`]); `None` for the whole kind.
    pub entity: Option<String>,
    /// The state to be reached.
    pub wanted: Wanted,
    /// Facts of the payload, as a JSON object: what the entity is to look like, or what the API may not tell.
    pub facts: Option<String>,
    /// Time at which the payload was true, if it tells: of two wishes that contradict each other, the later one counts.
    pub as_of: Option<DateTime<Utc>>,
}

impl RefreshRequest {
    /// Creates a wish for an entity of a repository.
    pub fn of_repository(
        repository_id: Option<i64>,
        owner: &str,
        repo: &str,
        kind: RefreshKind,
        entity: Option<String>,
        wanted: Wanted,
    ) -> Self {
        let (owner, repo) = (owner.to_owned(), repo.to_owned());
        Self { repository_id, owner, repo, kind, entity, wanted, facts: None, as_of: None }
    }

    /// Creates a wish for an entity of an organization.
    pub fn of_organization(owner: &str, kind: RefreshKind, entity: Option<String>, wanted: Wanted) -> Self {
        Self::of_repository(None, owner, "", kind, entity, wanted)
    }

    /// Returns the key of its repository or organization: wishes with the same one are worked together.
    pub fn target(&self) -> String {
        match self.repository_id {
            Some(number) => format!("repo/{number}"),
            None if self.repo.is_empty() => format!("org/{}", self.owner.to_lowercase()),
            None => format!("name/{}/{}", self.owner.to_lowercase(), self.repo.to_lowercase()),
        }
    }

    fn stored_entity(&self) -> String {
        let entity = self.entity.as_deref().unwrap_or_default();
        match entity.char_indices().nth(MAX_ENTITY_CHARS) {
            Some((end, _)) => format!("{}~{:016x}", &entity[..end], xxhash_rust::xxh3::xxh3_64(entity.as_bytes())),
            None => entity.to_owned(),
        }
    }

    /// Merges a wish with the one that is there for the same entity. The order in which they come matters only where
    /// nothing else tells which one is newer.
    fn merge(self, there: Self) -> Self {
        let (earlier, later) = match (self.as_of, there.as_of) {
            (Some(new), Some(old)) if new < old => (self, there),
            _ => (there, self),
        };
        let names = (later.owner.clone(), later.repo.clone());
        let merged = match (&earlier.wanted, &later.wanted) {
            (Wanted::UpdatedAt(one), Wanted::UpdatedAt(other)) if one > other => earlier,
            // Nothing comes back under its key.
            (Wanted::Gone, _) if !later.kind.is_reusable() => earlier,
            // Says less than the other one.
            (wanted, Wanted::Read) if *wanted != Wanted::Read => earlier,
            _ => later,
        };
        Self { owner: names.0, repo: names.1, ..merged }
    }
}

/// A wish that a worker has claimed.
#[derive(Debug, Clone)]
pub struct Refresh {
    /// The wish.
    pub request: RefreshRequest,
    /// Number of failed attempts.
    pub attempts: i64,
    /// Seconds since the wish was last expressed.
    pub age: i64,
    /// Whether its next attempt is due; one that isn't is claimed along with others of its kind.
    pub due: bool,
    version: i64,
    stored_entity: String,
}

impl Refresh {
    /// Creates a wish that is worked at once, without a row.
    pub fn immediate(request: RefreshRequest) -> Self {
        let stored_entity = request.stored_entity();
        Self { request, attempts: 0, age: i64::MAX, due: true, version: 0, stored_entity }
    }
}

/// The state of a wish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RefreshState {
    /// It waits for its first or next attempt.
    Pending,
    /// It was given up, for this reason.
    Failed(String),
    /// There is none: it was never expressed, or it has come true.
    Concluded,
}

/// The wishes of one repository or organization that a worker has claimed.
#[derive(Debug, Clone)]
pub struct ClaimedTarget {
    /// Its key, as of [`RefreshRequest::target`].
    pub target: String,
    /// The wishes.
    pub refreshes: Vec<Refresh>,
}

/// Result of working on a wish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RefreshOutcome {
    /// It has come true.
    Done,
    /// GitHub doesn't show it yet, or a request failed: tried again, and given up in the end.
    Retry(String),
    /// Nothing was tried for this reason: due again after so many seconds, with no attempt counted.
    Defer(String, i64),
    /// It can't come true, for this reason.
    Failed(String),
}

/// Numbers of wishes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RefreshCounts {
    /// Waiting for their first or next attempt.
    pub pending: u64,
    /// Of these, those that have failed at least once.
    pub retried: u64,
    /// Given up.
    pub failed: u64,
    /// Seconds since the oldest pending one was last expressed.
    pub oldest_age: Option<i64>,
}

const REFRESHES: Upsert = Upsert {
    table: "msght_refreshes",
    columns: &[
        "target",
        "entity",
        "kind",
        "repository_id",
        "owner",
        "repo",
        "wanted",
        "value",
        "facts",
        "as_of",
        "state",
        "version",
        "attempts",
        "requested_at",
        "next_at",
        "claimed_until",
        "last_error",
    ],
    key: &["target", "entity", "kind"],
    update: &[
        ("repository_id", OnConflict::Overwrite),
        ("owner", OnConflict::Overwrite),
        ("repo", OnConflict::Overwrite),
        ("wanted", OnConflict::Overwrite),
        ("value", OnConflict::Overwrite),
        ("facts", OnConflict::Overwrite),
        ("as_of", OnConflict::Overwrite),
        ("state", OnConflict::Overwrite),
        ("version", OnConflict::Overwrite),
        ("attempts", OnConflict::Overwrite),
        ("requested_at", OnConflict::Overwrite),
        ("next_at", OnConflict::Overwrite),
        ("last_error", OnConflict::Overwrite),
    ],
};

const PACES: Upsert = Upsert {
    table: "msght_refresh_paces",
    columns: &["target", "kind", "read_at", "next_at"],
    key: &["target", "kind"],
    update: &[("read_at", OnConflict::Overwrite), ("next_at", OnConflict::Overwrite)],
};

const COLUMNS: &str = "target, entity, kind, repository_id, owner, repo, wanted, value, facts, as_of, state, version, \
                       attempts, requested_at, next_at";

/// A stored row.
struct Row {
    request: RefreshRequest,
    stored_entity: String,
    failed: bool,
    version: i64,
    attempts: i64,
    requested_at: i64,
    next_at: i64,
}

impl Relational {
    /// Records wishes. One for an entity that is waited for already is merged with it, so that repeating them changes
    /// nothing but the time of the next attempt.
    ///
    /// # Errors
    /// The store can't be written; none of them is recorded.
    pub async fn request_refreshes(&self, requests: Vec<RefreshRequest>) -> Result<(), BackendError> {
        let mut wishes: BTreeMap<(String, String, RefreshKind), RefreshRequest> = BTreeMap::new();
        for request in requests {
            let key = (request.target(), request.stored_entity(), request.kind);
            let merged = match wishes.remove(&key) {
                Some(there) => request.merge(there),
                None => request,
            };
            wishes.insert(key, merged);
        }
        if wishes.is_empty() {
            return Ok(());
        }
        let now_sql = self.backend.now_expression();
        let record = async || {
            let _turn = self.ids.lock().await;
            let mut tx = self.backend.begin().await?;
            let now = tx.fetch(&format!("SELECT {now_sql}"), Vec::new()).await?;
            let now = now.first().and_then(|row| row[0].as_i64()).unwrap_or(0);
            let mut stored: BTreeMap<(String, String, RefreshKind), Row> = BTreeMap::new();
            let mut entities: BTreeMap<&String, Vec<&String>> = BTreeMap::new();
            for (target, entity, _) in wishes.keys() {
                let entities = entities.entry(target).or_default();
                if entities.last() != Some(&entity) {
                    entities.push(entity);
                }
            }
            let sql = format!(
                "SELECT {COLUMNS} FROM msght_refreshes WHERE target = ? AND entity IN ({}){}",
                placeholders(KEYS_PER_LOOKUP),
                tx.locking_clause()
            );
            for (target, entities) in entities {
                for chunk in entities.chunks(KEYS_PER_LOOKUP) {
                    let mut params: Vec<Value> = vec![target.as_str().into()];
                    let padded = (0..KEYS_PER_LOOKUP).map(|at| chunk[at.min(chunk.len() - 1)].as_str().into());
                    params.extend(padded);
                    for row in tx.fetch(&sql, params).await?.iter().filter_map(|row| decode(row)) {
                        stored.insert((target.clone(), row.stored_entity.clone(), row.request.kind), row);
                    }
                }
            }
            let rows = wishes.iter().map(|(key, wish)| {
                let due = now + key.2.delays().0;
                let (request, version, next_at) = match stored.remove(key) {
                    Some(there) if there.failed => (wish.clone(), there.version + 1, due),
                    Some(there) => (wish.clone().merge(there.request), there.version + 1, due.min(there.next_at)),
                    None => (wish.clone(), 1, due),
                };
                encode(key, &request, version, now, next_at)
            });
            tx.upsert(&REFRESHES, rows.collect()).await?;
            tx.commit().await
        };
        self.backend.with_retry(record).await.map_err(|error| self.backend.backend_error("writing to", &error))
    }

    /// Returns the state of a wish for the same entity.
    ///
    /// # Errors
    /// The store can't be read.
    pub async fn refresh_state(&self, request: &RefreshRequest) -> Result<RefreshState, BackendError> {
        let sql = "SELECT state, last_error FROM msght_refreshes WHERE target = ? AND entity = ? AND kind = ?";
        let key = vec![request.target().into(), request.stored_entity().into(), request.kind.name().into()];
        let rows = self.read(sql, key).await?;
        Ok(match rows.first() {
            None => RefreshState::Concluded,
            Some(row) if row[0].as_str() == Some("failed") => {
                RefreshState::Failed(row[1].as_str().unwrap_or("given up").to_owned())
            }
            Some(_) => RefreshState::Pending,
        })
    }

    /// Claims the wishes of repositories and organizations with due ones, those that have waited longest first. Other
    /// wishes for the same kinds come along, since one reading serves them all. A claim that is not concluded expires.
    /// With `eager`, what was not tried yet is due at once, and no kind rests: for those who wait until nothing is left.
    ///
    /// # Errors
    /// The store can't be read or written.
    pub async fn claim_refreshes(&self, targets: u32, eager: bool) -> Result<Vec<ClaimedTarget>, BackendError> {
        let now_sql = self.backend.now_expression();
        let claim = async || {
            let _turn = self.ids.lock().await;
            let mut tx = self.backend.begin().await?;
            let now = tx.fetch(&format!("SELECT {now_sql}"), Vec::new()).await?;
            let now = now.first().and_then(|row| row[0].as_i64()).unwrap_or(0);
            let due = if eager {
                "(r.next_at <= ?1 OR r.attempts = 0)"
            } else {
                "r.next_at <= ?1 AND coalesce(p.next_at, 0) <= ?1"
            };
            let sql = format!(
                "SELECT r.target, min(r.next_at) FROM msght_refreshes r \
                 LEFT JOIN msght_refresh_paces p ON p.target = r.target AND p.kind = r.kind \
                 WHERE r.state = 'pending' AND r.claimed_until <= ?1 AND {due} GROUP BY r.target ORDER BY 2, 1 LIMIT ?2"
            );
            let due = tx.fetch(&sql, vec![now.into(), i64::from(targets).into()]).await?;
            let mut claimed = Vec::new();
            for target in due.into_iter().filter_map(|row| row.into_iter().next()?.into_text()) {
                let sql = "UPDATE msght_refreshes SET claimed_until = ?1 WHERE target = ?2 AND state = 'pending' \
                           AND claimed_until <= ?3";
                let until = now + CLAIM_SECONDS;
                if tx.execute(sql, vec![until.into(), target.as_str().into(), now.into()]).await? == 0 {
                    continue;
                }
                let sql = format!("SELECT {COLUMNS} FROM msght_refreshes WHERE target = ? AND state = 'pending'");
                let rows = tx.fetch(&sql, vec![target.as_str().into()]).await?;
                let sql = "SELECT kind, next_at FROM msght_refresh_paces WHERE target = ?";
                let paces = tx.fetch(sql, vec![target.as_str().into()]).await?;
                let resting = |kind: RefreshKind| {
                    paces.iter().any(|row| row[0].as_str() == Some(kind.name()) && row[1].as_i64() > Some(now))
                };
                let rows: Vec<Row> = rows.iter().filter_map(|row| decode(row)).collect();
                let is_due = |row: &Row| {
                    let is_rested = eager || !resting(row.request.kind);
                    is_rested && (row.next_at <= now || eager && row.attempts == 0)
                };
                let kinds: Vec<RefreshKind> =
                    rows.iter().filter(|row| is_due(row)).map(|row| row.request.kind).collect();
                let refreshes = rows.into_iter().filter(|row| kinds.contains(&row.request.kind)).map(|row| Refresh {
                    due: is_due(&row),
                    age: now - row.requested_at,
                    request: row.request,
                    attempts: row.attempts,
                    version: row.version,
                    stored_entity: row.stored_entity,
                });
                claimed.push(ClaimedTarget { refreshes: refreshes.collect(), target });
            }
            tx.commit().await?;
            Ok(claimed)
        };
        self.backend.with_retry(claim).await.map_err(|error| self.backend.backend_error("writing to", &error))
    }

    /// Records the results for claimed wishes, in their order, and gives up the claim. `read` are the kinds that were
    /// asked for at GitHub: they rest for a while. A wish that was expressed anew meanwhile stays.
    ///
    /// # Errors
    /// The store can't be written; the claim expires.
    pub async fn conclude_refreshes(
        &self,
        claimed: &ClaimedTarget,
        outcomes: &[RefreshOutcome],
        read: &[RefreshKind],
    ) -> Result<(), BackendError> {
        let now_sql = self.backend.now_expression();
        let conclude = async || {
            let _turn = self.ids.lock().await;
            let mut tx = self.backend.begin().await?;
            let now = tx.fetch(&format!("SELECT {now_sql}"), Vec::new()).await?;
            let now = now.first().and_then(|row| row[0].as_i64()).unwrap_or(0);
            let key = "target = ? AND entity = ? AND kind = ? AND version = ?";
            for (refresh, outcome) in claimed.refreshes.iter().zip(outcomes) {
                let keys: [Value; 4] = [
                    claimed.target.as_str().into(),
                    refresh.stored_entity.as_str().into(),
                    refresh.request.kind.name().into(),
                    refresh.version.into(),
                ];
                let failed = usize::try_from(refresh.attempts).unwrap_or(usize::MAX);
                let (state, attempts, next_at, why) = match outcome {
                    RefreshOutcome::Done => {
                        tx.execute(&format!("DELETE FROM msght_refreshes WHERE {key}"), keys.to_vec()).await?;
                        continue;
                    }
                    // It came along with others: its own attempt is yet to come.
                    RefreshOutcome::Retry(_) if !refresh.due => continue,
                    RefreshOutcome::Retry(why) => match refresh.request.kind.retry_delays().get(failed) {
                        Some(delay) => ("pending", refresh.attempts + 1, now + delay, why),
                        None => ("failed", refresh.attempts + 1, now, why),
                    },
                    RefreshOutcome::Defer(why, delay) => ("pending", refresh.attempts, now + delay, why),
                    RefreshOutcome::Failed(why) => ("failed", refresh.attempts + 1, now, why),
                };
                let sql = format!(
                    "UPDATE msght_refreshes SET state = ?, attempts = ?, next_at = ?, last_error = ? WHERE {key}"
                );
                let mut params: Vec<Value> = vec![state.into(), attempts.into(), next_at.into(), why.as_str().into()];
                params.extend(keys);
                tx.execute(&sql, params).await?;
            }
            if !read.is_empty() {
                let sql = "SELECT kind, read_at FROM msght_refresh_paces WHERE target = ?";
                let before = tx.fetch(sql, vec![claimed.target.as_str().into()]).await?;
                let rows = read.iter().map(|kind| {
                    let last = before.iter().find(|row| row[0].as_str() == Some(kind.name()));
                    let last = last.and_then(|row| row[1].as_i64()).unwrap_or(0);
                    let next = (last + PACE_SECONDS).max(now + kind.delays().1);
                    vec![claimed.target.as_str().into(), kind.name().into(), now.into(), next.into()]
                });
                tx.upsert(&PACES, rows.collect()).await?;
            }
            let sql = "UPDATE msght_refreshes SET claimed_until = 0 WHERE target = ?";
            tx.execute(sql, vec![claimed.target.as_str().into()]).await?;
            tx.commit().await
        };
        self.backend.with_retry(conclude).await.map_err(|error| self.backend.backend_error("writing to", &error))
    }

    /// Counts the wishes.
    ///
    /// # Errors
    /// The store can't be read.
    pub async fn refresh_counts(&self) -> Result<RefreshCounts, BackendError> {
        let sql = format!(
            "SELECT state, CASE WHEN attempts > 0 THEN 1 ELSE 0 END, count(*), {} - min(requested_at) \
             FROM msght_refreshes GROUP BY 1, 2",
            self.backend.now_expression()
        );
        let mut counts = RefreshCounts::default();
        for row in self.read(&sql, Vec::new()).await? {
            let number = row[2].as_i64().and_then(|number| u64::try_from(number).ok()).unwrap_or(0);
            if row[0].as_str() == Some("failed") {
                counts.failed += number;
                continue;
            }
            counts.pending += number;
            counts.retried += if row[1].as_i64() == Some(1) { number } else { 0 };
            counts.oldest_age = counts.oldest_age.max(row[3].as_i64());
        }
        Ok(counts)
    }

    /// Returns the wishes that were given up, with their reasons, in the order of their keys.
    ///
    /// # Errors
    /// The store can't be read.
    pub async fn failed_refreshes(&self, limit: u32) -> Result<Vec<(RefreshRequest, String)>, BackendError> {
        let sql = format!(
            "SELECT {COLUMNS}, last_error FROM msght_refreshes WHERE state = 'failed' ORDER BY target, entity, kind \
             LIMIT ?"
        );
        let rows = self.read(&sql, vec![i64::from(limit).into()]).await?;
        let why = |row: &[Value]| row.last().and_then(Value::as_str).unwrap_or_default().to_owned();
        Ok(rows.iter().filter_map(|row| Some((decode(row)?.request, why(row)))).collect())
    }

    /// Forgets when kinds were read that have rested long enough.
    ///
    /// # Errors
    /// The store can't be written.
    pub async fn purge_refresh_paces(&self) -> Result<(), BackendError> {
        let now = self.backend.now_expression();
        let sql = format!("DELETE FROM msght_refresh_paces WHERE read_at < {now} - ?");
        self.write(&sql, vec![(2 * PACE_SECONDS).into()]).await.map(drop)
    }
}

fn timestamp(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

fn parse_timestamp(text: &str) -> Option<DateTime<Utc>> {
    Some(DateTime::parse_from_rfc3339(text).ok()?.with_timezone(&Utc))
}

fn encode(
    (target, entity, kind): &(String, String, RefreshKind),
    request: &RefreshRequest,
    version: i64,
    now: i64,
    next_at: i64,
) -> Vec<Value> {
    vec![
        target.as_str().into(),
        entity.as_str().into(),
        kind.name().into(),
        request.repository_id.into(),
        request.owner.as_str().into(),
        request.repo.as_str().into(),
        request.wanted.name().into(),
        request.wanted.value().into(),
        request.facts.clone().into(),
        request.as_of.map(timestamp).into(),
        "pending".into(),
        version.into(),
        0.into(),
        now.into(),
        next_at.into(),
        0.into(),
        Value::Null,
    ]
}

fn decode(row: &[Value]) -> Option<Row> {
    let text = |at: usize| row[at].as_str().map(str::to_owned);
    let stored_entity = text(1)?;
    let request = RefreshRequest {
        repository_id: row[3].as_i64(),
        owner: text(4)?,
        repo: text(5)?,
        kind: RefreshKind::from_name(row[2].as_str()?)?,
        entity: Some(stored_entity.clone()).filter(|entity| !entity.is_empty()),
        wanted: Wanted::parse(row[6].as_str()?, row[7].as_str()),
        facts: text(8),
        as_of: row[9].as_str().and_then(parse_timestamp),
    };
    Some(Row {
        request,
        stored_entity,
        failed: row[10].as_str() == Some("failed"),
        version: row[11].as_i64()?,
        attempts: row[12].as_i64()?,
        requested_at: row[13].as_i64()?,
        next_at: row[14].as_i64()?,
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use super::*;
    use crate::backend_url::{BackendKind, BackendUrl};
    use crate::retry::RetryPolicy;

    fn at(second: u32) -> DateTime<Utc> {
        parse_timestamp(&format!("2026-11-27T10:00:{second:02}Z")).unwrap()
    }

    fn wish(kind: RefreshKind, entity: &str, wanted: Wanted) -> RefreshRequest {
        RefreshRequest::of_repository(Some(7), "contoso", "web", kind, Some(entity.to_owned()), wanted)
    }

    async fn open(directory: &Path) -> Relational {
        let url =
            BackendUrl::parse(&format!("sqlite:{}/github.db", directory.display()), &[BackendKind::Sqlite]).unwrap();
        Relational::open(&url, &RetryPolicy::new(Duration::from_secs(5), |_| {})).await.unwrap()
    }

    async fn claim_all(relational: &Relational) -> Vec<ClaimedTarget> {
        for table in ["msght_refreshes", "msght_refresh_paces"] {
            relational.write(&format!("UPDATE {table} SET next_at = 0"), Vec::new()).await.unwrap();
        }
        relational.claim_refreshes(10, false).await.unwrap()
    }

    #[test]
    fn latest_date_and_final_deletion_win_in_any_order() {
        let (old, new) = (Wanted::UpdatedAt(at(1)), Wanted::UpdatedAt(at(2)));
        let merged = |kind, one: &Wanted, other: &Wanted| {
            let [one, other] = [one, other].map(|wanted| wish(kind, "1", wanted.clone()));
            (one.clone().merge(other.clone()).wanted, other.merge(one).wanted)
        };
        assert_eq!(merged(RefreshKind::Issues, &old, &new), (new.clone(), new.clone()));
        assert_eq!(merged(RefreshKind::Issues, &Wanted::Gone, &new), (Wanted::Gone, Wanted::Gone));
        assert_eq!(merged(RefreshKind::Issues, &Wanted::Read, &new), (new.clone(), new));
        let (on, off) = (Wanted::Present, Wanted::Gone);
        assert_eq!(merged(RefreshKind::Labels, &on, &off), (on, off), "the one that came last");
    }

    #[test]
    fn later_payload_decides_over_a_key_that_may_come_back() {
        let star = |wanted, second| RefreshRequest { as_of: Some(at(second)), ..wish(RefreshKind::Stars, "x", wanted) };
        let (starred, unstarred) = (star(Wanted::Present, 1), star(Wanted::Gone, 2));
        assert_eq!(starred.clone().merge(unstarred.clone()).wanted, Wanted::Gone);
        assert_eq!(unstarred.merge(starred).wanted, Wanted::Gone);
    }

    #[tokio::test]
    async fn wish_is_claimed_once_retried_and_given_up() {
        let directory = tempfile::tempdir().unwrap();
        let relational = open(directory.path()).await;
        let request = wish(RefreshKind::Issues, "1", Wanted::UpdatedAt(at(1)));
        relational.request_refreshes(vec![request.clone(), request.clone()]).await.unwrap();
        relational.request_refreshes(vec![request.clone()]).await.unwrap();
        for attempt in 0..=RETRY_DELAYS.len() {
            let claimed = claim_all(&relational).await;
            assert_eq!(claimed.len(), 1, "attempt {attempt}");
            assert_eq!(claimed[0].refreshes[0].request, request);
            assert!(claim_all(&relational).await.is_empty(), "claimed twice");
            let outcome = RefreshOutcome::Retry("404".to_owned());
            relational.conclude_refreshes(&claimed[0], &[outcome], &[RefreshKind::Issues]).await.unwrap();
        }
        assert!(claim_all(&relational).await.is_empty());
        let failed = relational.failed_refreshes(10).await.unwrap();
        assert_eq!(failed, [(request.clone(), "404".to_owned())]);
        let counts = relational.refresh_counts().await.unwrap();
        assert_eq!(counts, RefreshCounts { failed: 1, ..RefreshCounts::default() });
        relational.request_refreshes(vec![request]).await.unwrap();
        assert_eq!(relational.refresh_counts().await.unwrap().pending, 1, "expressed anew, it is due again");
    }

    #[tokio::test]
    async fn wish_that_comes_while_its_entity_is_read_stays() {
        let directory = tempfile::tempdir().unwrap();
        let relational = open(directory.path()).await;
        relational.request_refreshes(vec![wish(RefreshKind::Issues, "1", Wanted::UpdatedAt(at(1)))]).await.unwrap();
        let claimed = claim_all(&relational).await;
        relational.request_refreshes(vec![wish(RefreshKind::Issues, "1", Wanted::UpdatedAt(at(2)))]).await.unwrap();
        relational.conclude_refreshes(&claimed[0], &[RefreshOutcome::Done], &[]).await.unwrap();
        let claimed = claim_all(&relational).await;
        assert_eq!(claimed[0].refreshes[0].request.wanted, Wanted::UpdatedAt(at(2)));
    }

    #[tokio::test]
    async fn kind_that_was_read_twice_rests() {
        let directory = tempfile::tempdir().unwrap();
        let relational = open(directory.path()).await;
        for reading in 0..3 {
            let request = wish(RefreshKind::Issues, &reading.to_string(), Wanted::Read);
            relational.request_refreshes(vec![request, wish(RefreshKind::Labels, "x", Wanted::Read)]).await.unwrap();
            relational.write("UPDATE msght_refreshes SET next_at = 0", Vec::new()).await.unwrap();
            let claimed = relational.claim_refreshes(10, false).await.unwrap();
            let kinds: Vec<_> = claimed[0].refreshes.iter().map(|refresh| refresh.request.kind).collect();
            let all = [RefreshKind::Issues, RefreshKind::Labels];
            assert_eq!(kinds, if reading == 0 { &all[..] } else { &all[1..] });
            let done = vec![RefreshOutcome::Done; kinds.len()];
            relational.conclude_refreshes(&claimed[0], &done, &[RefreshKind::Issues]).await.unwrap();
        }
    }

    #[test]
    fn kinds_have_names_of_their_own_and_long_keys_are_cut() {
        for kind in RefreshKind::ALL {
            assert_eq!(RefreshKind::from_name(kind.name()), Some(*kind));
        }
        assert!(RefreshKind::Labels.is_reusable() && !RefreshKind::Issues.is_reusable());
        let long = |end: &str| wish(RefreshKind::Branches, &format!("{}{end}", "é".repeat(300)), Wanted::Read);
        assert!(long("a").stored_entity().chars().count() < 255);
        assert_ne!(long("a").stored_entity(), long("b").stored_entity());
    }
}
