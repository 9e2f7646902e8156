//! What exists in the fake GitHub: compact records, rendered to JSON only when asked for.
use super::hooks::Hook;
use super::shelf::Shelf;
use super::teams::Team;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Instant;

pub type UserIx = u32;
pub type RepoIx = usize;
pub type CommitIx = u32;
/// Seconds since 1970, UTC.
pub type Time = i64;
pub type Sha = [u8; 20];

/// 2024-01-01T00:00:00Z, when every world begins.
pub const EPOCH: Time = 1_704_067_200;

/// GitHub: deleted accounts appear as this user.
pub const GHOST_ID: u64 = 10_137;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UserKind {
    User,
    Bot,
    Organization,
    Mannequin,
}

impl UserKind {
    pub fn name(self) -> &'static str {
        match self {
            UserKind::User => "User",
            UserKind::Bot => "Bot",
            UserKind::Organization => "Organization",
            UserKind::Mannequin => "Mannequin",
        }
    }
}

#[derive(Clone)]
pub struct User {
    pub id: u64,
    pub login: String,
    pub kind: UserKind,
    pub name: Option<String>,
    pub email: Option<String>,
    pub company: Option<String>,
    pub location: Option<String>,
    pub bio: Option<String>,
    pub site_admin: bool,
    /// GitHub: a managed user's profile answers 404 to outsiders.
    pub profile_hidden: bool,
    pub created: Time,
    pub updated: Time,
}

/// Whom GitHub ties a git author or committer to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Account {
    User(UserIx),
    /// The e-mail matches nobody: `null`.
    Null,
    /// The e-mail matches nobody, in its other form: `{}`.
    Empty,
}

/// The author or committer written in a git commit.
#[derive(Clone)]
pub struct Person {
    pub name: String,
    pub email: String,
    pub account: Account,
}

#[derive(Clone)]
pub struct Commit {
    pub sha: Sha,
    pub author: u32,
    pub committer: u32,
    pub authored: Time,
    pub committed: Time,
    pub parents: Box<[CommitIx]>,
    pub message: Box<str>,
    /// The root of the fork network in whose object store it lies.
    pub network: RepoIx,
    pub files: u32,
    pub comments: u32,
    pub verified: bool,
}

#[derive(Clone)]
pub struct Label {
    pub id: u64,
    pub name: String,
    pub description: Option<String>,
    pub color: &'static str,
    pub default: bool,
    pub deleted: bool,
}

#[derive(Clone)]
pub struct Milestone {
    pub id: u64,
    pub number: u32,
    pub title: String,
    pub description: Option<String>,
    pub creator: Option<UserIx>,
    pub open: bool,
    pub created: Time,
    pub updated: Time,
    pub closed: Option<Time>,
    pub due: Option<Time>,
}

#[derive(Clone)]
pub struct Release {
    pub id: u64,
    pub tag: String,
    pub name: Option<String>,
    pub body: Option<String>,
    pub draft: bool,
    pub prerelease: bool,
    pub author: UserIx,
    pub created: Time,
    pub updated: Time,
    pub published: Option<Time>,
    /// Names and sizes.
    pub assets: Vec<(String, u64)>,
    pub deleted: bool,
}

#[derive(Clone)]
pub struct Issue {
    pub id: u64,
    pub number: u32,
    pub title: Box<str>,
    pub body: Option<Box<str>>,
    pub user: Option<UserIx>,
    pub open: bool,
    pub state_reason: Option<&'static str>,
    /// The name of its type, where the organization has issue types.
    pub kind: Option<&'static str>,
    /// Positions in the repository's labels.
    pub labels: Vec<u32>,
    pub assignees: Vec<UserIx>,
    /// Position in the repository's milestones.
    pub milestone: Option<u32>,
    pub locked: bool,
    pub comments: u32,
    pub created: Time,
    pub updated: Time,
    pub closed: Option<Time>,
    pub closed_by: Option<UserIx>,
    pub pull: Option<Box<Pull>>,
    pub deleted: bool,
    /// Deleted by GitHub: it answers 404 in the place of 410.
    pub removed: bool,
    /// Transferred: it answers 301 to there, and is in no list here any more.
    pub moved_to: Option<(RepoIx, u32)>,
}

/// What a pull request has beyond its issue.
#[derive(Clone)]
pub struct Pull {
    pub id: u64,
    /// `None` when the fork was deleted: `head.repo` and `head.user` are null then.
    pub head_repo: Option<RepoIx>,
    pub head_user: Option<UserIx>,
    /// Login in front of the colon of `head.label`, which survives the fork.
    pub head_owner: String,
    pub head_ref: String,
    pub base_ref: String,
    pub head: CommitIx,
    pub base: CommitIx,
    /// Oldest first.
    pub commits: Vec<CommitIx>,
    pub merged: Option<Time>,
    pub merged_by: Option<UserIx>,
    pub merge_commit: Option<CommitIx>,
    pub draft: bool,
    pub reviewers: Vec<UserIx>,
    pub files: u32,
}

#[derive(Clone)]
pub struct Comment {
    pub id: u64,
    /// The issue's or pull request's number; for a commit comment the position of its commit.
    pub on: u32,
    pub user: Option<UserIx>,
    pub body: Box<str>,
    pub created: Time,
    pub updated: Time,
    pub deleted: bool,
    /// Review comments: the review, the commit now and at first, line and what it answers.
    pub review: Option<Box<ReviewSpot>>,
}

#[derive(Clone)]
pub struct ReviewSpot {
    pub review: Option<u64>,
    pub commit: CommitIx,
    pub original_commit: CommitIx,
    pub path: String,
    /// `None` when the line is outdated.
    pub position: Option<u32>,
    pub original_position: u32,
    pub reply_to: Option<u64>,
}

#[derive(Clone)]
pub struct Review {
    pub id: u64,
    pub number: u32,
    pub user: Option<UserIx>,
    pub state: &'static str,
    pub body: Box<str>,
    pub submitted: Option<Time>,
    /// GitHub: null when the commit is no longer there.
    pub commit: Option<CommitIx>,
}

#[derive(Clone)]
pub struct IssueEvent {
    pub id: u64,
    pub number: u32,
    pub actor: Option<UserIx>,
    pub event: &'static str,
    pub commit: Option<CommitIx>,
    pub created: Time,
    pub detail: Detail,
}

/// What belongs to some kinds of issue events only.
#[derive(Clone)]
pub enum Detail {
    None,
    Label {
        name: String,
        color: &'static str,
    },
    Assignee {
        assignee: Option<UserIx>,
        assigner: Option<UserIx>,
    },
    Milestone(String),
    Rename {
        from: String,
        to: String,
    },
    Reviewer {
        requester: UserIx,
        reviewer: UserIx,
    },
    Lock(Option<&'static str>),
    Closed(Option<&'static str>),
    /// With the state that the review had before, in lower case.
    Dismissed {
        review: u64,
        state: String,
        message: Option<String>,
    },
}

#[derive(Clone)]
pub struct FeedEvent {
    pub id: u64,
    pub actor: UserIx,
    pub created: Time,
    pub shown: Shown,
    pub payload: Payload,
}

/// When an entry of the feed is to be seen. GitHub: late, and some never.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shown {
    At(Instant),
    Always,
    Never,
}

impl Shown {
    pub fn is_now(self) -> bool {
        match self {
            Shown::At(at) => at <= Instant::now(),
            Shown::Always => true,
            Shown::Never => false,
        }
    }
}

/// An entry of the events feed, in the form that GitHub trimmed on 2025-10-07.
#[derive(Clone)]
pub enum Payload {
    Push {
        push_id: u64,
        ref_name: String,
        head: CommitIx,
        before: CommitIx,
    },
    PullRequest {
        action: &'static str,
        number: u32,
    },
    Issues {
        action: &'static str,
        number: u32,
    },
    /// Position in the repository's comments.
    IssueComment {
        comment: usize,
    },
    CommitComment {
        comment: usize,
    },
    ReviewComment {
        comment: usize,
    },
    Review {
        review: usize,
        action: &'static str,
    },
    Create {
        ref_type: &'static str,
        name: Option<String>,
    },
    Delete {
        ref_type: &'static str,
        name: String,
    },
    Fork {
        forkee: RepoIx,
    },
    Watch,
    Member {
        user: UserIx,
    },
    Release {
        release: usize,
    },
    Gollum {
        page: String,
    },
    Public,
    /// A type that nobody knows yet.
    Future,
}

#[derive(Clone)]
pub struct Star {
    pub user: UserIx,
    pub at: Time,
}

/// A membership in an organization.
#[derive(Clone)]
pub struct Member {
    pub org: UserIx,
    pub user: UserIx,
    /// Whether everybody may know of it.
    pub public: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RepoState {
    Live,
    /// 451 to everybody.
    Dmca,
    /// 404 to everybody.
    Deleted,
}

#[derive(Clone)]
pub struct Repo {
    pub id: u64,
    pub owner: UserIx,
    pub name: String,
    pub description: Option<String>,
    pub homepage: Option<String>,
    pub state: RepoState,
    pub private: bool,
    pub archived: bool,
    pub has_issues: bool,
    pub has_pull_requests: bool,
    /// Stargazers answer 403, as to a token without the right.
    pub stars_denied: bool,
    pub parent: Option<RepoIx>,
    /// The root of the fork network; itself when it isn't a fork.
    pub network: RepoIx,
    pub created: Time,
    pub updated: Time,
    pub pushed: Time,
    pub default_branch: String,
    pub topics: Vec<String>,
    pub languages: Vec<(String, u64)>,
    pub labels: Vec<Label>,
    pub milestones: Vec<Milestone>,
    pub branches: BTreeMap<String, CommitIx>,
    /// Names that branches had before, with the newer ones.
    pub old_branches: HashMap<String, String>,
    pub tags: BTreeMap<String, CommitIx>,
    pub releases: Vec<Release>,
    /// Number n is at n - 1.
    pub issues: Vec<Issue>,
    pub comments: Vec<Comment>,
    pub review_comments: Vec<Comment>,
    pub commit_comments: Vec<Comment>,
    pub reviews: Vec<Review>,
    pub events: Vec<IssueEvent>,
    pub stars: Vec<Star>,
    pub subscribers: Vec<UserIx>,
    pub forks: Vec<RepoIx>,
    /// With their `role_name`.
    pub collaborators: Vec<(UserIx, &'static str)>,
    /// Oldest first.
    pub feed: Vec<FeedEvent>,
}

#[derive(Clone)]
pub struct World {
    pub seed: u64,
    /// The world's own time: each change moves it on.
    pub clock: Time,
    pub users: Vec<User>,
    pub people: Vec<Person>,
    pub repos: Shelf<Repo>,
    pub commits: Shelf<Commit>,
    /// Follower and followed, oldest first.
    pub follows: Vec<(UserIx, UserIx)>,
    pub members: Vec<Member>,
    /// Organization and member.
    pub owners: Vec<(UserIx, UserIx)>,
    pub teams: Vec<Team>,
    pub hooks: Vec<Hook>,
    /// Organization and outside collaborator.
    pub outside: Vec<(UserIx, UserIx)>,
    /// Whether comparisons have no pages, as on older Enterprise Servers.
    pub unpaged_comparisons: bool,
    /// Logins that users had until then, oldest first.
    pub former_logins: Vec<(UserIx, Time, String)>,
    /// Names that repositories had before, in lower case.
    pub old_names: HashMap<String, RepoIx>,
    pub(super) by_sha: HashMap<Sha, CommitIx>,
    pub(super) by_login: HashMap<String, UserIx>,
    pub(super) next_id: u64,
    pub(super) rng: u64,
    pub(super) cache: Cache,
    /// Base of API addresses in documents, with a slash at the end.
    pub(super) api: String,
    pub(super) html: String,
}

/// Rendered pieces and sorted lists: thrown away on every change.
#[derive(Default)]
pub(super) struct Cache {
    pub users: Vec<OnceLock<Box<str>>>,
    pub repos: Vec<RepoCache>,
    pub lists: Mutex<HashMap<String, Arc<Vec<u32>>>>,
    pub reach: Mutex<HashMap<CommitIx, Arc<Vec<CommitIx>>>>,
}

/// A world that was copied renders anew.
impl Clone for Cache {
    fn clone(&self) -> Cache {
        Cache { reach: Mutex::new(self.reach.lock().unwrap().clone()), ..Cache::default() }
    }
}

#[derive(Default)]
pub(super) struct RepoCache {
    pub object: [OnceLock<Box<str>>; 2],
    pub labels: OnceLock<Vec<Box<str>>>,
    pub milestones: OnceLock<Vec<Box<str>>>,
    pub comments_of: OnceLock<HashMap<u32, Vec<u32>>>,
    pub review_comments_of: OnceLock<HashMap<u32, Vec<u32>>>,
    pub events_of: OnceLock<HashMap<u32, Vec<u32>>>,
    pub reviews_of: OnceLock<HashMap<u32, Vec<u32>>>,
}

impl World {
    /// A world with its standing users and no repository.
    pub fn empty(seed: u64) -> World {
        let mut w = World {
            seed,
            clock: EPOCH,
            users: vec![],
            people: vec![],
            repos: Shelf::default(),
            commits: Shelf::default(),
            follows: vec![],
            members: vec![],
            owners: vec![],
            teams: vec![],
            hooks: vec![],
            outside: vec![],
            unpaged_comparisons: false,
            former_logins: vec![],
            old_names: HashMap::new(),
            by_sha: HashMap::new(),
            by_login: HashMap::new(),
            // GitHub: ids of pull requests, comments and events have outgrown 32 bits.
            next_id: 4_400_000_000,
            rng: seed ^ 0x9e37_79b9_7f4a_7c15,
            cache: Cache::default(),
            api: "https://api.github.com/".into(),
            html: "https://github.com/".into(),
        };
        for (id, login, kind) in [
            (GHOST_ID, "ghost", UserKind::User),
            (19_864_447, "web-flow", UserKind::User),
            (49_699_333, "dependabot[bot]", UserKind::Bot),
            (6_154_722, "contoso", UserKind::Organization),
            (6_154_723, "fabrikam", UserKind::Organization),
        ] {
            w.add_user_with_id(id, login, kind);
        }
        w.add_person("GitHub", "noreply@github.com", Account::User(w.user("web-flow")));
        w
    }

    /// A pseudo-random number, the same for the same seed.
    pub fn rand(&mut self) -> u64 {
        // splitmix64
        self.rng = self.rng.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.rng;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        (self.rand() % n.max(1) as u64) as usize
    }

    /// True `percent` times in a hundred.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.rand() % 100 < percent
    }

    pub(super) fn id(&mut self) -> u64 {
        self.next_id += 1 + self.next_id % 7;
        self.next_id
    }

    /// What happens while the server runs happens now, as its answers' `Date` has it; what was before is history.
    pub fn catch_up(&mut self, now: u64) {
        self.clock = self.clock.max(Time::try_from(now).unwrap_or(Time::MAX));
    }

    /// Moves the world's time on.
    pub fn tick(&mut self, seconds: i64) -> Time {
        self.clock += seconds;
        self.clock
    }

    pub fn add_user(&mut self, login: &str, kind: UserKind) -> UserIx {
        let id = 1_000_000 + self.users.len() as u64 * 37;
        self.add_user_with_id(id, login, kind)
    }

    fn add_user_with_id(&mut self, id: u64, login: &str, kind: UserKind) -> UserIx {
        let ix = self.users.len() as UserIx;
        let person = kind == UserKind::User && !matches!(login, "ghost" | "web-flow");
        self.users.push(User {
            id,
            login: login.into(),
            kind,
            name: person.then(|| format!("{} Person", login.trim_end_matches(char::is_numeric))),
            email: (person && ix.is_multiple_of(3)).then(|| format!("{login}@example.com")),
            company: (person && ix.is_multiple_of(4)).then(|| "@contoso".into()),
            location: (person && ix.is_multiple_of(2)).then(|| "Athína, Ελλάδα".into()),
            bio: None,
            site_admin: false,
            profile_hidden: false,
            created: EPOCH - 86_400 * (400 + i64::from(ix)),
            updated: EPOCH,
        });
        self.by_login.insert(login.to_lowercase(), ix);
        self.cache.users.push(OnceLock::new());
        ix
    }

    pub fn add_person(&mut self, name: &str, email: &str, account: Account) -> u32 {
        self.people.push(Person { name: name.into(), email: email.into(), account });
        self.people.len() as u32 - 1
    }

    /// What a user was called at that time.
    pub fn login_at(&self, user: UserIx, at: Time) -> &str {
        let then = self.former_logins.iter().find(|former| former.0 == user && at < former.1);
        then.map_or(self.users[user as usize].login.as_str(), |former| former.2.as_str())
    }

    /// The user of that login; logins ignore case.
    pub fn find_user(&self, login: &str) -> Option<UserIx> {
        self.by_login.get(&login.to_lowercase()).copied()
    }

    /// The user of that login, who must exist.
    pub fn user(&self, login: &str) -> UserIx {
        self.find_user(login).unwrap_or_else(|| panic!("the fake GitHub has no user {login}"))
    }

    /// The repository now called `owner/name`; names ignore case.
    pub fn find_repo(&self, full_name: &str) -> Option<RepoIx> {
        let (owner, name) = full_name.split_once('/')?;
        let owner = self.find_user(owner)?;
        self.repos
            .iter()
            .position(|r| r.owner == owner && r.state != RepoState::Deleted && r.name.eq_ignore_ascii_case(name))
    }

    /// The repository now called `owner/name`, which must exist.
    pub fn repo(&self, full_name: &str) -> RepoIx {
        self.find_repo(full_name).unwrap_or_else(|| panic!("the fake GitHub has no repository {full_name}"))
    }

    /// `owner/name`.
    pub fn full_name(&self, repo: RepoIx) -> String {
        format!("{}/{}", self.users[self.repos[repo].owner as usize].login, self.repos[repo].name)
    }

    pub fn find_commit(&self, sha: &Sha) -> Option<CommitIx> {
        self.by_sha.get(sha).copied()
    }

    /// A commit's hash in hexadecimal.
    pub fn sha(&self, commit: CommitIx) -> String {
        let mut s = String::with_capacity(40);
        super::json::hex(&mut s, &self.commits[commit as usize].sha);
        s
    }

    /// The hashes of a commit's parents.
    pub fn parents(&self, commit: CommitIx) -> Vec<String> {
        self.commits[commit as usize].parents.iter().map(|&p| self.sha(p)).collect()
    }

    /// The issue or pull request of that number.
    pub fn issue(&self, repo: RepoIx, number: u32) -> &Issue {
        &self.repos[repo].issues[number as usize - 1]
    }

    pub(super) fn issue_mut(&mut self, repo: RepoIx, number: u32) -> &mut Issue {
        &mut self.repos[repo].issues[number as usize - 1]
    }

    /// The hashes of a pull request's own commits, oldest first.
    pub fn pull_shas(&self, repo: RepoIx, number: u32) -> Vec<String> {
        let pull = self.issue(repo, number).pull.as_ref().expect("a pull request");
        pull.commits.iter().map(|&c| self.sha(c)).collect()
    }

    /// The world as it is now; what changes from here on is not shared with it.
    pub(super) fn snapshot(&self) -> World {
        let mut copy = self.clone();
        copy.changed();
        copy
    }

    /// Sets the base of API addresses in documents.
    pub fn set_api(&mut self, api: &str) {
        self.api = api.into();
        self.changed();
    }

    /// Throws away what was rendered. Call it after changing fields by hand.
    pub fn changed(&mut self) {
        let reach = std::mem::take(&mut self.cache.reach);
        self.cache = Cache {
            users: self.users.iter().map(|_| OnceLock::new()).collect(),
            repos: self.repos.iter().map(|_| RepoCache::default()).collect(),
            lists: Mutex::default(),
            // Commits never change, so neither does what they reach.
            reach,
        };
    }
}
