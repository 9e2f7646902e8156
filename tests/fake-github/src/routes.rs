//! Which address answers what: from a path and a query to a list, an object or GitHub's refusal.
use super::app::{Installation, NOT_FOR_APPS};
use super::json::*;
use super::paging::{Query, Rule};
use super::render::*;
use super::world::*;
use std::cmp::Reverse;
use std::sync::Arc;

/// Who asks.
pub struct Viewer<'a> {
    pub user: Option<UserIx>,
    /// The installation of an app whose token it is.
    pub(super) installation: Option<&'a Installation>,
    pub sees: &'a dyn Fn(&World, RepoIx) -> bool,
    pub view: View,
    /// `application/vnd.github.star+json` was asked for.
    pub star_times: bool,
}

/// How the rows of a list are rendered.
#[derive(Clone)]
pub enum Kind {
    Commit,
    Issue,
    Pull,
    Comment,
    ReviewComment,
    CommitComment,
    Review,
    Event {
        with_issue: bool,
    },
    Stargazer {
        with_time: bool,
    },
    User,
    /// A repository with what a team may do there.
    TeamRepo,
    Label,
    Milestone,
    Release,
    Branch(Arc<Vec<String>>),
    Tag(Arc<Vec<String>>),
    GitRef(&'static str, Arc<Vec<String>>),
    Collaborator,
    Contributor(Arc<Vec<(UserIx, u32)>>),
    Repo,
    Feed(Arc<Vec<(RepoIx, usize)>>),
    File(CommitIx),
    Org,
    Team,
}

pub struct List {
    pub repo: RepoIx,
    pub kind: Kind,
    pub items: Arc<Vec<u32>>,
    pub rule: Rule,
}

pub enum Answer {
    List(List),
    Object(String),
    /// An object that carries one page of a longer list: rows in all, and the default and largest page.
    Paged {
        body: String,
        rows: usize,
        per_page: usize,
    },
    Status(u16, String, Vec<(&'static str, String)>),
}

/// GitHub's form of a refusal.
pub fn refusal(status: u16, message: &str) -> Answer {
    let mut body = String::from(r#"{"message":"#);
    esc(&mut body, message);
    body.push_str(&format!(r#","documentation_url":"https://docs.github.com/rest","status":"{status}"}}"#));
    Answer::Status(status, body, vec![])
}

/// GitHub's refusal of a token that lacks a permission, naming those that would do.
pub fn lacks(needs: &str) -> Answer {
    refusal(403, "Resource not accessible by personal access token").with("x-accepted-github-permissions", needs.into())
}

impl Answer {
    /// A refusal with one header more.
    pub fn with(mut self, name: &'static str, value: String) -> Answer {
        if let Answer::Status(_, _, headers) = &mut self {
            headers.push((name, value));
        }
        self
    }
}

pub(super) fn object(f: impl FnOnce(&mut String)) -> Answer {
    let mut o = String::new();
    f(&mut o);
    Answer::Object(o)
}

pub(super) fn not_found() -> Answer {
    refusal(404, "Not Found")
}

const EMPTY: &str = "Git Repository is empty.";

impl World {
    /// Answers a path, which starts without a slash; with it the template that the path is an instance of.
    pub fn answer(&self, path: &str, q: &Query, who: &Viewer) -> (&'static str, Answer) {
        let seg: Vec<&str> = path.split('/').collect();
        match seg[..] {
            [""] => (
                "/",
                object(|o| {
                    o.push_str(r#"{"current_user_url":"#);
                    esc(o, &format!("{}user", self.api));
                    o.push('}');
                }),
            ),
            ["versions"] => ("/versions", Answer::Object(r#"["2022-11-28","2026-03-10"]"#.into())),
            ["meta"] => (
                "/meta",
                Answer::Object(
                    r#"{"verifiable_password_authentication":false,"hooks":["192.30.252.0/22"],"web":["192.30.252.0/22"],"api":["192.30.252.0/22"],"git":["192.30.252.0/22"]}"#
                        .into(),
                ),
            ),
            [of @ "user"] | ["user", of @ ("orgs" | "repos")] if who.installation.is_some() => {
                let template = match of {
                    "orgs" => "/user/orgs",
                    "repos" => "/user/repos",
                    _ => "/user",
                };
                (template, refusal(403, NOT_FOR_APPS))
            }
            ["installation", "repositories"] => ("/installation/repositories", self.installation_repositories(q, who)),
            ["user"] => ("/user", who.user.map_or_else(needs_auth, |u| object(|o| self.own_profile(o, u)))),
            ["user", "orgs"] => ("/user/orgs", who.user.map_or_else(needs_auth, |u| self.orgs_of(u))),
            ["user", "memberships", "orgs", org] => (
                "/user/memberships/orgs/{org}",
                self.find_user(&unpercent(org)).and_then(|org| self.membership(org, who.user?)).unwrap_or_else(not_found),
            ),
            ["user", "repos"] => ("/user/repos", who.user.map_or_else(needs_auth, |u| self.repos_of(u, true, q))),
            ["users", whom, "repos"] => {
                let found = self.find_user(&unpercent(whom));
                ("/users/{login}/repos", found.map_or_else(not_found, |u| self.repos_of(u, false, q)))
            }
            [by @ ("users" | "user"), whom, ref rest @ ..] => self.user_answer(self.user_in(by, whom), rest),
            ["orgs", org, ref rest @ ..] => self.org_answer(self.find_user(&unpercent(org)), rest, q, who),
            ["organizations", id, ref rest @ ..] => {
                let id = id.parse().ok();
                let org = id.and_then(|id: u64| self.users.iter().position(|u| u.id == id)).map(|u| u as UserIx);
                self.org_answer(org, rest, q, who)
            }
            ["repositories", id, ref rest @ ..] => {
                let repo = id.parse().ok().and_then(|id: u64| self.repos.iter().position(|r| r.id == id));
                self.repo_answer(repo, rest, q, who)
            }
            ["repos", owner, name, ref rest @ ..] => {
                let full = format!("{}/{}", unpercent(owner), unpercent(name));
                let repo = self.find_repo(&full);
                if let (None, Some(&moved)) = (repo, self.old_names.get(&full.to_lowercase()))
                    && (who.sees)(self, moved)
                {
                    return ("/repos/{owner}/{repo} (moved)", self.moved(moved, rest, q));
                }
                self.repo_answer(repo, rest, q, who)
            }
            _ => ("unknown", not_found()),
        }
    }

    /// The repository that a path is about, by name or number, and what follows that.
    pub(super) fn repo_in<'a>(&self, path: &'a str) -> Option<(RepoIx, &'a str)> {
        let (kind, rest) = path.split_once('/')?;
        let head_and_rest = |at: usize| match rest.match_indices('/').nth(at) {
            Some((i, _)) => (&rest[..i], &rest[i + 1..]),
            None => (rest, ""),
        };
        match kind {
            "repos" => {
                let (name, rest) = head_and_rest(1);
                Some((self.find_repo(&unpercent(name))?, rest))
            }
            "repositories" => {
                let (id, rest) = head_and_rest(0);
                let id: u64 = id.parse().ok()?;
                Some((self.repos.iter().position(|r| r.id == id)?, rest))
            }
            _ => None,
        }
    }

    /// GitHub: a renamed repository answers 301 to its address by number.
    fn moved(&self, repo: RepoIx, rest: &[&str], q: &Query) -> Answer {
        let mut to = format!("{}repositories/{}", self.api, self.repos[repo].id);
        for s in rest {
            to.push('/');
            to.push_str(s);
        }
        to.push_str(&q.with(&[]));
        let body = format!(
            r#"{{"message":"Moved Permanently","url":"{to}","documentation_url":"https://docs.github.com/rest/guides/best-practices-for-using-the-rest-api#follow-redirects"}}"#
        );
        Answer::Status(301, body, vec![("location", to)])
    }

    fn org_answer(&self, found: Option<UserIx>, rest: &[&str], q: &Query, who: &Viewer) -> (&'static str, Answer) {
        let Some(org) = found.filter(|&u| self.users[u as usize].kind == UserKind::Organization) else {
            return ("/orgs/{org}", not_found());
        };
        let live = |r: RepoIx| self.repos[r].owner == org && self.repos[r].state == RepoState::Live;
        let seen = (0..self.repos.len()).filter(|&r| live(r) && (who.sees)(self, r));
        match rest {
            [] => ("/orgs/{org}", object(|o| self.org(o, org))),
            ["repos"] => {
                let kind = q.get("type").unwrap_or("all");
                let mut list: Vec<u32> = seen
                    .filter(|&r| match kind {
                        "public" => !self.repos[r].private,
                        "private" => self.repos[r].private,
                        "forks" => self.repos[r].parent.is_some(),
                        "sources" => self.repos[r].parent.is_none(),
                        _ => true,
                    })
                    .map(|r| r as u32)
                    .collect();
                let r = |i: &u32| &self.repos[*i as usize];
                let sort = q.get("sort").unwrap_or("created");
                match sort {
                    "updated" => list.sort_by_key(|i| Reverse((r(i).updated, r(i).id))),
                    "pushed" => list.sort_by_key(|i| Reverse((r(i).pushed, r(i).id))),
                    "full_name" => list.sort_by_key(|i| Reverse(r(i).name.to_lowercase())),
                    _ => list.sort_by_key(|i| Reverse((r(i).created, r(i).id))),
                }
                if q.get("direction").unwrap_or(if sort == "full_name" { "asc" } else { "desc" }) == "asc" {
                    list.reverse();
                }
                ("/orgs/{org}/repos", rows(0, Kind::Repo, list))
            }
            ["members"] => ("/orgs/{org}/members", self.members_answer(org, false, q, who)),
            ["public_members"] => ("/orgs/{org}/public_members", self.members_answer(org, true, q, who)),
            ["events"] => {
                let repos: Vec<RepoIx> = seen.filter(|&r| !self.repos[r].private).collect();
                ("/orgs/{org}/events", self.feed_list(0, &repos))
            }
            ["hooks"] => ("/orgs/{org}/hooks", self.hooks_of(org, who.user, who.installation)),
            ["hooks", id] => ("/orgs/{org}/hooks/{hook_id}", self.hook_of(org, id, false, who.user, who.installation)),
            ["hooks", id, "config"] => {
                ("/orgs/{org}/hooks/{hook_id}/config", self.hook_of(org, id, true, who.user, who.installation))
            }
            _ => self.team_answer(org, rest, who).unwrap_or_else(|| ("unknown", not_found())),
        }
    }

    fn feed_list(&self, repo: RepoIx, of: &[RepoIx]) -> Answer {
        let mut all: Vec<(RepoIx, usize)> =
            of.iter().flat_map(|&r| (0..self.repos[r].feed.len()).map(move |i| (r, i))).collect();
        all.retain(|&(r, i)| self.repos[r].feed[i].shown.is_now());
        all.sort_by_key(|&(r, i)| Reverse(self.repos[r].feed[i].id));
        all.truncate(300);
        let items = Arc::new((0..all.len() as u32).collect());
        Answer::List(List { repo, kind: Kind::Feed(Arc::new(all)), items, rule: Rule::Events })
    }

    fn repo_answer(&self, repo: Option<RepoIx>, rest: &[&str], q: &Query, who: &Viewer) -> (&'static str, Answer) {
        let template = template(rest);
        let Some(repo) = repo.filter(|&r| self.repos[r].state != RepoState::Deleted && (who.sees)(self, r)) else {
            return (template, not_found());
        };
        if let Some(refusal) = who.installation.and_then(|i| i.refuses(self, repo, rest)) {
            return (template, refusal);
        }
        if self.repos[repo].state == RepoState::Dmca {
            let body = format!(
                r#"{{"message":"Repository access blocked","block":{{"reason":"dmca","created_at":"{}","html_url":"https://github.com/github/dmca/blob/master/2024/01/2024-01-15-example.md"}}}}"#,
                time_str(EPOCH + 86_400 * 14)
            );
            return (template, Answer::Status(451, body, vec![]));
        }
        let answer = self.in_repo(repo, rest, q, who).unwrap_or_else(not_found);
        (template, answer)
    }

    fn in_repo(&self, repo: RepoIx, rest: &[&str], q: &Query, who: &Viewer) -> Option<Answer> {
        let r = &self.repos[repo];
        let view = who.view;
        let empty = r.branches.is_empty();
        let upto = |n: usize| (0..n as u32).collect::<Vec<u32>>();
        if rest.first() == Some(&"issues") && !r.has_issues {
            return Some(refusal(410, "Issues has been disabled in this repository."));
        }
        if rest.first() == Some(&"pulls") && !r.has_pull_requests {
            return None;
        }
        Some(match *rest {
            [] => object(|o| self.full_repo(o, repo, view)),
            ["collaborators"] if who.user.is_none() && who.installation.is_none() => needs_auth(),
            ["collaborators"] => rows(repo, Kind::Collaborator, upto(r.collaborators.len())),
            ["contributors"] if empty => Answer::Status(204, String::new(), vec![]),
            ["contributors"] => {
                let list = self.contributors(repo);
                let n = list.len();
                rows(repo, Kind::Contributor(Arc::new(list)), upto(n))
            }
            ["labels"] => {
                let mut list: Vec<u32> = upto(r.labels.len());
                list.retain(|&l| !r.labels[l as usize].deleted);
                list.sort_by_key(|&l| r.labels[l as usize].name.to_lowercase());
                rows(repo, Kind::Label, list)
            }
            ["milestones"] => {
                let state = q.get("state").unwrap_or("open");
                let mut list = upto(r.milestones.len());
                list.retain(|&m| state == "all" || r.milestones[m as usize].open == (state == "open"));
                rows(repo, Kind::Milestone, list)
            }
            ["topics"] => object(|o| {
                o.push_str(r#"{"names":["#);
                for (i, t) in r.topics.iter().enumerate() {
                    if i > 0 {
                        o.push(',');
                    }
                    esc(o, t);
                }
                o.push_str("]}");
            }),
            ["languages"] => object(|o| {
                o.push('{');
                for (i, (l, n)) in r.languages.iter().enumerate() {
                    if i > 0 {
                        o.push(',');
                    }
                    esc(o, l);
                    o.push_str(&format!(":{n}"));
                }
                o.push('}');
            }),
            ["releases"] => {
                let mut list = upto(r.releases.len());
                // GitHub: drafts are shown to those who may push.
                let writes = |c: &(UserIx, &str)| Some(c.0) == who.user && matches!(c.1, "admin" | "write");
                let drafts = r.collaborators.iter().any(writes);
                list.retain(|&rel| !r.releases[rel as usize].deleted && (drafts || !r.releases[rel as usize].draft));
                list.reverse();
                rows(repo, Kind::Release, list)
            }
            ["branches"] => {
                let names: Vec<String> = r.branches.keys().cloned().collect();
                let n = names.len();
                rows(repo, Kind::Branch(Arc::new(names)), upto(n))
            }
            ["branches", ref name @ ..] => {
                let name = unpercent(&name.join("/"));
                if let (false, Some(new)) = (r.branches.contains_key(&name), r.old_branches.get(&name)) {
                    return Some(self.moved(repo, &["branches", &percent(new)], q));
                }
                if !r.branches.contains_key(&name) {
                    return Some(refusal(404, "Branch not found"));
                }
                object(|o| self.full_branch(o, repo, &name))
            }
            ["tags"] => {
                // GitHub: newest version first, more or less.
                let names: Vec<String> = r.tags.keys().rev().cloned().collect();
                let n = names.len();
                rows(repo, Kind::Tag(Arc::new(names)), upto(n))
            }
            ["git", "matching-refs", kind, ref prefix @ ..] => {
                if empty {
                    return Some(refusal(409, EMPTY));
                }
                let (kind, map) = match kind {
                    "heads" => ("heads", &r.branches),
                    "tags" => ("tags", &r.tags),
                    _ => return Some(rows(repo, Kind::Label, vec![])),
                };
                let prefix = unpercent(&prefix.join("/"));
                let names: Vec<String> = map.keys().filter(|n| n.starts_with(&prefix)).cloned().collect();
                let n = names.len();
                // GitHub: this list is not paged.
                let items = Arc::new(upto(n));
                Answer::List(List { repo, kind: Kind::GitRef(kind, Arc::new(names)), items, rule: Rule::Whole })
            }
            ["git", "commits", sha] => {
                if empty {
                    return Some(refusal(409, EMPTY));
                }
                let commit = unhex(sha).and_then(|_| self.resolve(repo, sha))?;
                object(|o| self.git_commit(o, repo, commit))
            }
            ["commits"] => {
                if empty {
                    return Some(refusal(409, EMPTY));
                }
                let from = self.resolve(repo, q.get("sha").unwrap_or(&r.default_branch))?;
                self.commit_list(repo, from, q)
            }
            ["commits", sha, "comments"] => {
                let commit = self.resolve(repo, sha)?;
                let mut list = upto(r.commit_comments.len());
                list.retain(|&c| r.commit_comments[c as usize].on == commit && !r.commit_comments[c as usize].deleted);
                rows(repo, Kind::CommitComment, list)
            }
            ["commits", ref name @ ..] if !name.is_empty() => {
                if empty {
                    return Some(refusal(409, EMPTY));
                }
                let name = unpercent(&name.join("/"));
                let Some(commit) = self.resolve(repo, &name) else {
                    return Some(refusal(422, &format!("No commit found for SHA: {name}")));
                };
                // GitHub: 300 files a page, 3,000 in all.
                let files = self.commits[commit as usize].files.min(3_000);
                let per = q.number("per_page").unwrap_or(300).clamp(1, 300) as u32;
                let first = (q.page() as u32 - 1).saturating_mul(per).min(files);
                let mut body = String::new();
                self.full_commit(&mut body, repo, commit, first..(first + per).min(files));
                Answer::Paged { body, rows: files as usize, per_page: per as usize }
            }
            ["compare", ref spec @ ..] => self.compare_answer(repo, &unpercent(&spec.join("/")), q)?,
            ["comments"] => {
                let mut list = upto(r.commit_comments.len());
                list.retain(|&c| !r.commit_comments[c as usize].deleted);
                rows(repo, Kind::CommitComment, list)
            }
            ["comments", id] => {
                let at = at_id(&r.commit_comments, id)?;
                object(|o| self.commit_comment_json(o, repo, at, false))
            }
            ["pulls"] => self.pull_list(repo, q),
            ["pulls", "comments"] => {
                let items = self.comment_list(repo, &r.review_comments, "review", q);
                Answer::List(List { repo, kind: Kind::ReviewComment, items, rule: Rule::Pages })
            }
            ["pulls", "comments", id] => {
                let at = at_id(&r.review_comments, id)?;
                object(|o| self.review_comment_json(o, repo, at, false))
            }
            ["pulls", n, ref more @ ..] => {
                let n = self.pull_number(repo, n)?;
                let pull = self.issue(repo, n).pull.as_ref()?;
                match *more {
                    [] => object(|o| self.pull_json(o, repo, n, true, view)),
                    ["commits"] => {
                        // GitHub: 250 commits at most.
                        let list: Vec<u32> = pull.commits.iter().copied().take(250).collect();
                        rows(repo, Kind::Commit, list)
                    }
                    ["files"] => rows(repo, Kind::File(pull.head), upto(pull.files.min(3_000) as usize)),
                    ["reviews"] => rows(repo, Kind::Review, self.reviews_of(repo, n)),
                    ["comments"] => rows(repo, Kind::ReviewComment, self.review_comments_of(repo, n)),
                    _ => return None,
                }
            }
            ["issues"] => self.issue_list(repo, q),
            ["issues", "comments"] => {
                let items = self.comment_list(repo, &r.comments, "issue", q);
                Answer::List(List { repo, kind: Kind::Comment, items, rule: Rule::Deep })
            }
            ["issues", "comments", id] => {
                let at = at_id(&r.comments, id)?;
                object(|o| self.comment_json(o, repo, at))
            }
            ["issues", "events"] => {
                let mut list = upto(r.events.len());
                list.retain(|&e| !self.issue(repo, r.events[e as usize].number).deleted);
                list.reverse();
                rows(repo, Kind::Event { with_issue: true }, list)
            }
            ["issues", "events", id] => {
                let id: u64 = id.parse().ok()?;
                let at = r.events.iter().position(|e| e.id == id)?;
                object(|o| self.event_json(o, repo, at, true, view))
            }
            ["issues", n, ref more @ ..] => {
                let n: u32 = n.parse().ok()?;
                let issue = r.issues.get((n as usize).checked_sub(1)?)?;
                if let Some((to, there)) = issue.moved_to {
                    return Some(self.moved(to, &["issues", &there.to_string()], q));
                }
                if issue.removed {
                    return None;
                }
                if issue.deleted {
                    return Some(refusal(410, "This issue was deleted"));
                }
                match *more {
                    [] => object(|o| self.issue_json(o, repo, n, view)),
                    ["comments"] => {
                        let mut list = self.comments_of(repo, n);
                        if let Some(since) = q.get("since").and_then(parse_time) {
                            list.retain(|&c| r.comments[c as usize].updated >= since);
                        }
                        rows(repo, Kind::Comment, list)
                    }
                    ["events"] => rows(repo, Kind::Event { with_issue: false }, self.events_of(repo, n)),
                    _ => return None,
                }
            }
            ["stargazers"] if r.stars_denied => lacks("metadata=read; contents=write"),
            ["stargazers"] => Answer::List(List {
                repo,
                kind: Kind::Stargazer { with_time: who.star_times },
                items: Arc::new(upto(r.stars.len())),
                rule: Rule::Stars,
            }),
            ["subscribers"] => rows(repo, Kind::User, r.subscribers.clone()),
            ["forks"] => {
                let mut list: Vec<u32> = r.forks.iter().map(|&f| f as u32).collect();
                list.retain(|&f| (who.sees)(self, f as usize));
                match q.get("sort").unwrap_or("newest") {
                    "oldest" => {}
                    "stargazers" | "watchers" => list.sort_by_key(|&f| Reverse(self.repos[f as usize].stars.len())),
                    _ => list.reverse(),
                }
                rows(repo, Kind::Repo, list)
            }
            ["events"] => self.feed_list(repo, &[repo]),
            ["hash-algorithm"] => Answer::Object(r#"{"hash_algorithm":"sha1"}"#.into()),
            _ => return None,
        })
    }

    fn pull_number(&self, repo: RepoIx, n: &str) -> Option<u32> {
        let n: u32 = n.parse().ok()?;
        let issue = self.repos[repo].issues.get((n as usize).checked_sub(1)?)?;
        (issue.pull.is_some() && !issue.deleted).then_some(n)
    }

    /// A hash, branch or tag; or `owner:branch` and `owner:repo:branch` within the fork network.
    pub fn resolve(&self, repo: RepoIx, name: &str) -> Option<CommitIx> {
        let r = &self.repos[repo];
        let name = &unpercent(name);
        if let Some(c) = unhex(name).and_then(|sha| self.find_commit(&sha)) {
            return (self.commits[c as usize].network == r.network).then_some(c);
        }
        if let Some((owner, rest)) = name.split_once(':') {
            let owner = self.find_user(owner)?;
            let (wanted, branch) = match rest.split_once(':') {
                Some((repo, branch)) => (Some(repo), branch),
                None => (None, rest),
            };
            let other = self.repos.iter().find(|x| {
                let named = wanted.is_none_or(|w| x.name.eq_ignore_ascii_case(w));
                x.owner == owner && x.network == r.network && named && x.state == RepoState::Live
            })?;
            return other.branches.get(branch).copied();
        }
        let short = name.trim_start_matches("refs/").trim_start_matches("heads/").trim_start_matches("tags/");
        r.branches.get(name.as_str()).or_else(|| r.tags.get(name.as_str())).or_else(|| r.branches.get(short)).copied()
    }
}

pub(super) fn rows(repo: RepoIx, kind: Kind, items: Vec<u32>) -> Answer {
    Answer::List(List { repo, kind, items: Arc::new(items), rule: Rule::Pages })
}

fn needs_auth() -> Answer {
    refusal(401, "Requires authentication")
}

fn at_id(comments: &[Comment], id: &str) -> Option<usize> {
    let id: u64 = id.parse().ok()?;
    comments.iter().position(|c| c.id == id && !c.deleted)
}

/// The template of a path inside a repository, for counting by endpoint.
fn template(rest: &[&str]) -> &'static str {
    match *rest {
        [] => "/repos/{owner}/{repo}",
        ["collaborators"] => "/repos/{owner}/{repo}/collaborators",
        ["contributors"] => "/repos/{owner}/{repo}/contributors",
        ["labels"] => "/repos/{owner}/{repo}/labels",
        ["milestones"] => "/repos/{owner}/{repo}/milestones",
        ["topics"] => "/repos/{owner}/{repo}/topics",
        ["languages"] => "/repos/{owner}/{repo}/languages",
        ["releases"] => "/repos/{owner}/{repo}/releases",
        ["branches"] => "/repos/{owner}/{repo}/branches",
        ["branches", ..] => "/repos/{owner}/{repo}/branches/{branch}",
        ["tags"] => "/repos/{owner}/{repo}/tags",
        ["git", "matching-refs", ..] => "/repos/{owner}/{repo}/git/matching-refs/{ref}",
        ["git", "commits", _] => "/repos/{owner}/{repo}/git/commits/{sha}",
        ["commits"] => "/repos/{owner}/{repo}/commits",
        ["commits", _, "comments"] => "/repos/{owner}/{repo}/commits/{sha}/comments",
        ["commits", ..] => "/repos/{owner}/{repo}/commits/{sha}",
        ["compare", ..] => "/repos/{owner}/{repo}/compare/{base}...{head}",
        ["comments"] => "/repos/{owner}/{repo}/comments",
        ["comments", _] => "/repos/{owner}/{repo}/comments/{id}",
        ["pulls"] => "/repos/{owner}/{repo}/pulls",
        ["pulls", "comments"] => "/repos/{owner}/{repo}/pulls/comments",
        ["pulls", "comments", _] => "/repos/{owner}/{repo}/pulls/comments/{id}",
        ["pulls", _] => "/repos/{owner}/{repo}/pulls/{number}",
        ["pulls", _, "commits"] => "/repos/{owner}/{repo}/pulls/{number}/commits",
        ["pulls", _, "files"] => "/repos/{owner}/{repo}/pulls/{number}/files",
        ["pulls", _, "reviews"] => "/repos/{owner}/{repo}/pulls/{number}/reviews",
        ["pulls", _, "comments"] => "/repos/{owner}/{repo}/pulls/{number}/comments",
        ["issues"] => "/repos/{owner}/{repo}/issues",
        ["issues", "comments"] => "/repos/{owner}/{repo}/issues/comments",
        ["issues", "comments", _] => "/repos/{owner}/{repo}/issues/comments/{id}",
        ["issues", "events"] => "/repos/{owner}/{repo}/issues/events",
        ["issues", "events", _] => "/repos/{owner}/{repo}/issues/events/{id}",
        ["issues", _] => "/repos/{owner}/{repo}/issues/{number}",
        ["issues", _, "comments"] => "/repos/{owner}/{repo}/issues/{number}/comments",
        ["issues", _, "events"] => "/repos/{owner}/{repo}/issues/{number}/events",
        ["stargazers"] => "/repos/{owner}/{repo}/stargazers",
        ["subscribers"] => "/repos/{owner}/{repo}/subscribers",
        ["forks"] => "/repos/{owner}/{repo}/forks",
        ["events"] => "/repos/{owner}/{repo}/events",
        ["hash-algorithm"] => "/repos/{owner}/{repo}/hash-algorithm",
        _ => "unknown",
    }
}
