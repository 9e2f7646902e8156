//! What GitHub tells of a change: the world before and after it are compared, so that every change is told of, however
//! it was made. What happens between two looks is one change: an issue that is opened and closed is opened, and closed.
use super::json::*;
use super::render::{ApiVersion, View};
use super::render_work::issue_type;
use super::world::*;
use std::collections::BTreeMap;

const VIEW: View = View { version: ApiVersion::V2022 };
/// GitHub: a push of more tags than these is not told of at all.
const TAGS_TOLD: usize = 3;
/// GitHub: a push names so many of its commits at most.
const COMMITS_TOLD: usize = 2_048;
const NO_COMMIT: &str = "0000000000000000000000000000000000000000";

/// One event as webhooks tell of it.
#[derive(Clone, Debug)]
pub struct Change {
    pub org: UserIx,
    pub event: String,
    pub action: Option<String>,
    pub repository_id: Option<u64>,
    /// In JSON.
    pub payload: String,
}

/// Members of a payload, each with its JSON.
type Fields<'a> = &'a [(&'a str, String)];

struct Teller<'a> {
    old: &'a World,
    new: &'a World,
    told: Vec<Change>,
}

fn json(render: impl FnOnce(&mut String)) -> String {
    let mut o = String::new();
    render(&mut o);
    o
}

fn text(s: &str) -> String {
    json(|o| esc(o, s))
}

fn text_opt(s: Option<&str>) -> String {
    json(|o| esc_opt(o, s))
}

fn object(fields: Fields) -> String {
    let mut o = String::from("{");
    for (i, (name, value)) in fields.iter().enumerate() {
        if i > 0 {
            o.push(',');
        }
        cat(&mut o, &["\"", name, "\":", value]);
    }
    o.push('}');
    o
}

/// `changes`, where anything has changed: what was there before.
fn changes(fields: &[(&str, bool, String)]) -> Option<String> {
    let changed: Vec<_> = fields
        .iter()
        .filter(|(_, changed, _)| *changed)
        .map(|(name, _, from)| (*name, object(&[("from", from.clone())])))
        .collect();
    (!changed.is_empty()).then(|| object(&changed))
}

impl World {
    /// What webhooks tell of all that has changed since.
    pub(super) fn changes_since(&self, old: &World) -> Vec<Change> {
        let mut teller = Teller { old, new: self, told: vec![] };
        for repo in 0..self.repos.len() {
            let parent = self.repos[repo].parent.filter(|_| repo >= old.repos.len());
            if let Some(parent) = parent.filter(|&parent| self.has_hooks(self.repos[parent].owner)) {
                let forkee = ("forkee", self.repo_json(repo, VIEW).to_owned());
                teller.in_repo(parent, Some(self.repos[repo].owner), "fork", "", &[forkee]);
            }
            if !self.repos.shares(&old.repos, repo) && self.has_hooks(self.repos[repo].owner) {
                teller.repository(repo);
            }
        }
        for org in 0..self.users.len() as UserIx {
            if self.has_hooks(org) {
                teller.organization(org);
            }
        }
        // GitHub: of an issue's transfer it tells there first.
        teller.told.sort_by_key(|change| change.action.as_deref() == Some("transferred") && change.event == "issues");
        teller.told
    }

    pub(super) fn has_hooks(&self, org: UserIx) -> bool {
        self.hooks.iter().any(|hook| hook.org == org)
    }

    /// The payload of an event, as all are built.
    fn payload(
        &self,
        org: UserIx,
        repo: Option<RepoIx>,
        sender: UserIx,
        action: Option<&str>,
        fields: Fields,
    ) -> String {
        let mut all: Vec<(&str, String)> = action.map(|action| ("action", text(action))).into_iter().collect();
        all.extend(fields.iter().cloned());
        all.extend(repo.map(|repo| ("repository", self.repo_json(repo, VIEW).to_owned())));
        if self.users[org as usize].kind == UserKind::Organization {
            all.push(("organization", json(|o| self.org_stub(o, org))));
        }
        all.push(("sender", self.stub(sender).to_owned()));
        object(&all)
    }

    /// What a hook is sent to try it.
    pub(super) fn ping(&self, hook: usize) -> Change {
        let hook = &self.hooks[hook];
        let sender = self.owners.iter().find(|(org, _)| *org == hook.org).map_or(hook.org, |(_, owner)| *owner);
        let fields = [
            ("zen", text("Keep it logically awesome.")),
            ("hook_id", hook.id.to_string()),
            ("hook", self.hook_json(hook).to_string()),
        ];
        Change {
            org: hook.org,
            event: "ping".into(),
            action: None,
            repository_id: None,
            payload: self.payload(hook.org, None, sender, None, &fields),
        }
    }
}

impl Teller<'_> {
    fn tell(&mut self, org: UserIx, repo: Option<RepoIx>, sender: UserIx, event: &str, action: &str, fields: Fields) {
        let action = (!action.is_empty()).then_some(action);
        self.told.push(Change {
            org,
            event: event.into(),
            action: action.map(str::to_owned),
            repository_id: repo.map(|repo| self.new.repos[repo].id),
            payload: self.new.payload(org, repo, sender, action, fields),
        });
    }

    fn in_repo(&mut self, repo: RepoIx, sender: Option<UserIx>, event: &str, action: &str, fields: Fields) {
        let owner = self.new.repos[repo].owner;
        let sender = sender.unwrap_or_else(|| self.sender(repo));
        self.tell(owner, Some(repo), sender, event, action, fields);
    }

    fn was(&self, repo: RepoIx) -> Option<&Repo> {
        self.old.repos.get(repo)
    }

    /// Whoever did the newest of what is new.
    fn sender(&self, repo: RepoIx) -> UserIx {
        let r = &self.new.repos[repo];
        let newest = self.was(repo).and_then(|was| was.feed.last()).map_or(0, |entry| entry.id);
        let by_feed = r.feed.last().filter(|entry| entry.id > newest).map(|entry| entry.actor);
        let seen = self.was(repo).map_or(0, |was| was.events.len());
        let by_event = r.events.iter().skip(seen).next_back().and_then(|event| event.actor);
        by_feed.or(by_event).unwrap_or_else(|| self.new.actor(repo))
    }

    fn repository(&mut self, repo: RepoIx) {
        let (new, old) = (self.new, self.old);
        let r = &new.repos[repo];
        let Some(was) = old.repos.get(repo) else {
            self.in_repo(repo, None, "repository", "created", &[]);
            self.inside(repo, None);
            return;
        };
        if r.state == RepoState::Deleted {
            if was.state != RepoState::Deleted {
                self.in_repo(repo, None, "repository", "deleted", &[]);
            }
            return;
        }
        if was.owner != r.owner {
            let from = match old.users[was.owner as usize].kind {
                UserKind::Organization => ("organization", self.org_of_hooks(was.owner)),
                _ => ("user", old.stub(was.owner).to_owned()),
            };
            let owner = object(&[("owner", object(&[("from", object(&[from]))]))]);
            self.in_repo(repo, None, "repository", "transferred", &[("changes", owner)]);
        }
        if was.name != r.name {
            let name = object(&[("name", object(&[("from", text(&was.name))]))]);
            self.in_repo(repo, None, "repository", "renamed", &[("changes", object(&[("repository", name)]))]);
        }
        if was.private != r.private {
            let action = if r.private { "privatized" } else { "publicized" };
            self.in_repo(repo, None, "repository", action, &[]);
            if !r.private {
                self.in_repo(repo, None, "public", "", &[]);
            }
        }
        if was.archived != r.archived {
            let action = if r.archived { "archived" } else { "unarchived" };
            self.in_repo(repo, None, "repository", action, &[]);
        }
        let topics: Vec<String> = was.topics.iter().map(|topic| text(topic)).collect();
        let edited = changes(&[
            ("description", was.description != r.description, text_opt(was.description.as_deref())),
            ("homepage", was.homepage != r.homepage, text_opt(was.homepage.as_deref())),
            ("default_branch", was.default_branch != r.default_branch, text(&was.default_branch)),
            ("topics", was.topics != r.topics, format!("[{}]", topics.join(","))),
        ]);
        if let Some(edited) = edited {
            self.in_repo(repo, None, "repository", "edited", &[("changes", edited)]);
        }
        self.inside(repo, Some(was));
    }

    /// An organization as a transfer names it.
    fn org_of_hooks(&self, org: UserIx) -> String {
        json(|o| self.old.org_stub(o, org))
    }

    fn inside(&mut self, repo: RepoIx, was: Option<&Repo>) {
        self.refs(repo, was);
        self.labels_and_milestones(repo, was);
        for number in 1..=self.new.repos[repo].issues.len() as u32 {
            self.issue(repo, was.and_then(|was| was.issues.get(number as usize - 1)), number);
        }
        self.comments(repo, was);
        self.reviews(repo, was);
        self.releases(repo, was);
        self.people(repo, was);
        let pages = self.new.repos[repo].feed.iter();
        let newest = was.and_then(|was| was.feed.last()).map_or(0, |entry| entry.id);
        let pages: Vec<(UserIx, String)> = pages
            .filter(|entry| entry.id > newest)
            .filter_map(|entry| match &entry.payload {
                Payload::Gollum { page } => Some((entry.actor, self.new.wiki_page(repo, page))),
                _ => None,
            })
            .collect();
        for (actor, page) in pages {
            self.in_repo(repo, Some(actor), "gollum", "", &[("pages", format!("[{page}]"))]);
        }
    }

    fn refs(&mut self, repo: RepoIx, was: Option<&Repo>) {
        let new = self.new;
        let r = &new.repos[repo];
        let nothing = BTreeMap::new();
        for (kind, before, now) in [
            ("branch", was.map_or(&nothing, |was| &was.branches), &r.branches),
            ("tag", was.map_or(&nothing, |was| &was.tags), &r.tags),
        ] {
            let made: Vec<&String> = now.keys().filter(|name| !before.contains_key(*name)).collect();
            let gone: Vec<&String> = before.keys().filter(|name| !now.contains_key(*name)).collect();
            let quiet = |names: &[&String]| kind == "tag" && names.len() > TAGS_TOLD;
            if !quiet(&made) {
                for name in made {
                    let fields = [
                        ("ref", text(name)),
                        ("ref_type", text(kind)),
                        ("master_branch", text(&r.default_branch)),
                        ("description", text_opt(r.description.as_deref())),
                        ("pusher_type", text("user")),
                    ];
                    self.in_repo(repo, None, "create", "", &fields);
                    self.push(repo, kind, name, None, Some(now[name]));
                }
            }
            for (name, &to) in now {
                if let Some(&from) = before.get(name).filter(|from| **from != to) {
                    self.push(repo, kind, name, Some(from), Some(to));
                }
            }
            if !quiet(&gone) {
                for name in gone {
                    let fields = [("ref", text(name)), ("ref_type", text(kind)), ("pusher_type", text("user"))];
                    self.in_repo(repo, None, "delete", "", &fields);
                    self.push(repo, kind, name, Some(before[name]), None);
                }
            }
        }
    }

    fn push(&mut self, repo: RepoIx, kind: &str, name: &str, before: Option<CommitIx>, after: Option<CommitIx>) {
        let new = self.new;
        let r = &new.repos[repo];
        let folder = if kind == "tag" { "tags" } else { "heads" };
        let sha = |commit: Option<CommitIx>| commit.map_or(NO_COMMIT.to_owned(), |commit| new.sha(commit));
        let (from, to) = (sha(before), sha(after));
        let comparison = before.zip(after).and_then(|(before, after)| new.compare(before, after));
        let forced = comparison.as_ref().is_some_and(|found| found.behind > 0)
            || before.zip(after).is_some() && comparison.is_none();
        // GitHub: a new branch's push names what no other branch has.
        let pushed: Vec<CommitIx> = match (&comparison, after) {
            (Some(found), _) => found.ahead.clone(),
            (None, Some(after)) if kind == "branch" && before.is_none() => {
                let default = r.branches.get(&r.default_branch).filter(|_| name != r.default_branch);
                default.and_then(|&base| new.compare(base, after)).map_or_else(Vec::new, |found| found.ahead)
            }
            _ => vec![],
        };
        let commits: Vec<String> =
            pushed.iter().take(COMMITS_TOLD).map(|&commit| new.pushed_commit(repo, commit)).collect();
        let head = after.map_or("null".to_owned(), |head| new.pushed_commit(repo, head));
        let sender = self.sender(repo);
        let pusher = object(&[("name", text(&new.users[sender as usize].login)), ("email", "null".into())]);
        let fields = [
            ("ref", text(&format!("refs/{folder}/{name}"))),
            ("before", text(&from)),
            ("after", text(&to)),
            ("pusher", pusher),
            ("created", before.is_none().to_string()),
            ("deleted", after.is_none().to_string()),
            ("forced", forced.to_string()),
            ("base_ref", "null".into()),
            ("compare", text(&format!("{}{}/compare/{from}...{to}", new.html, new.full_name(repo)))),
            ("commits", format!("[{}]", commits.join(","))),
            ("head_commit", head),
        ];
        self.in_repo(repo, Some(sender), "push", "", &fields);
    }

    fn labels_and_milestones(&mut self, repo: RepoIx, was: Option<&Repo>) {
        let new = self.new;
        let r = &new.repos[repo];
        for (at, label) in r.labels.iter().enumerate() {
            let shown = new.labels(repo)[at].to_string();
            match was.and_then(|was| was.labels.get(at)) {
                None if label.deleted => {}
                None => self.in_repo(repo, None, "label", "created", &[("label", shown)]),
                Some(was) if label.deleted => {
                    if !was.deleted {
                        self.in_repo(repo, None, "label", "deleted", &[("label", shown)]);
                    }
                }
                Some(was) => {
                    let edited = changes(&[
                        ("name", was.name != label.name, text(&was.name)),
                        ("color", was.color != label.color, text(was.color)),
                        (
                            "description",
                            was.description != label.description,
                            text(was.description.as_deref().unwrap_or_default()),
                        ),
                    ]);
                    if let Some(edited) = edited {
                        self.in_repo(repo, None, "label", "edited", &[("label", shown), ("changes", edited)]);
                    }
                }
            }
        }
        for (at, milestone) in r.milestones.iter().enumerate() {
            let shown = ("milestone", new.milestones(repo)[at].to_string());
            let Some(was) = was.and_then(|was| was.milestones.get(at)) else {
                self.in_repo(repo, None, "milestone", "created", &[shown]);
                continue;
            };
            if was.open != milestone.open {
                let action = if milestone.open { "opened" } else { "closed" };
                self.in_repo(repo, None, "milestone", action, std::slice::from_ref(&shown));
            }
            let description = |milestone: &Milestone| milestone.description.clone();
            let edited = changes(&[
                ("title", was.title != milestone.title, text(&was.title)),
                (
                    "description",
                    description(was) != description(milestone),
                    text(was.description.as_deref().unwrap_or_default()),
                ),
            ]);
            if let Some(edited) = edited {
                self.in_repo(repo, None, "milestone", "edited", &[("changes", edited), shown]);
            }
        }
    }

    /// The issue or pull request itself, as its events carry it.
    fn subject(&self, repo: RepoIx, number: u32) -> (&'static str, Vec<(&'static str, String)>) {
        match self.new.issue(repo, number).pull {
            Some(_) => {
                let pull = json(|o| self.new.pull_json(o, repo, number, true, VIEW));
                ("pull_request", vec![("number", number.to_string()), ("pull_request", pull)])
            }
            None => ("issues", vec![("issue", json(|o| self.new.issue_json(o, repo, number, VIEW)))]),
        }
    }

    fn issue(&mut self, repo: RepoIx, was: Option<&Issue>, number: u32) {
        let new = self.new;
        let issue = new.issue(repo, number);
        if was.is_some_and(|was| was.deleted) || was.is_none() && issue.deleted {
            return;
        }
        let mut told: Vec<(&str, Vec<(&str, String)>)> = vec![];
        if let Some(was) = was {
            if let Some((to, there)) = issue.moved_to {
                let issue = json(|o| new.issue_json(o, to, there, VIEW));
                let moved = [("new_issue", issue), ("new_repository", new.repo_json(to, VIEW).to_owned())];
                told.push(("transferred", vec![("changes", object(&moved))]));
            } else if issue.removed {
                return;
            } else if issue.deleted {
                told.push(("deleted", vec![]));
            } else {
                self.differences(repo, was, issue, &mut told);
            }
        } else {
            let from = new.repos.iter().enumerate().find_map(|(home, r)| {
                let at = r.issues.iter().position(|i| i.moved_to == Some((repo, number)))?;
                Some((home, at as u32 + 1))
            });
            let moved = from.map(|(home, number)| {
                let issue = json(|o| new.issue_json(o, home, number, VIEW));
                object(&[("old_issue", issue), ("old_repository", new.repo_json(home, VIEW).to_owned())])
            });
            told.push(("opened", moved.map(|moved| ("changes", moved)).into_iter().collect()));
            let blank = Issue { labels: vec![], assignees: vec![], milestone: None, ..issue.clone() };
            if !issue.open {
                told.push(("closed", vec![]));
            }
            self.differences(repo, &blank, issue, &mut told);
        }
        if told.is_empty() {
            return;
        }
        let (event, subject) = self.subject(repo, number);
        for (action, more) in told {
            let sender = if action == "opened" { issue.user } else { None };
            self.in_repo(repo, sender, event, action, &[subject.clone(), more].concat());
        }
    }

    fn differences<'a>(
        &self,
        repo: RepoIx,
        was: &Issue,
        issue: &Issue,
        told: &mut Vec<(&'a str, Vec<(&'a str, String)>)>,
    ) {
        let new = self.new;
        let body = |issue: &Issue| issue.body.as_deref().unwrap_or_default().to_owned();
        let edited = changes(&[
            ("title", was.title != issue.title, text(&was.title)),
            ("body", was.body != issue.body, text(&body(was))),
        ]);
        if let Some(edited) = edited {
            told.push(("edited", vec![("changes", edited)]));
        }
        let lists = |before: &[u32], now: &[u32]| {
            let only = |a: &[u32], b: &[u32]| a.iter().copied().filter(|x| !b.contains(x)).collect::<Vec<_>>();
            (only(now, before), only(before, now))
        };
        let (labeled, unlabeled) = lists(&was.labels, &issue.labels);
        for (action, labels) in [("labeled", labeled), ("unlabeled", unlabeled)] {
            // Of a deleted label's issues nothing is told.
            for label in labels.into_iter().filter(|&label| !new.repos[repo].labels[label as usize].deleted) {
                told.push((action, vec![("label", new.labels(repo)[label as usize].to_string())]));
            }
        }
        let (assigned, unassigned) = lists(&was.assignees, &issue.assignees);
        for (action, users) in [("assigned", assigned), ("unassigned", unassigned)] {
            told.extend(users.into_iter().map(|user| (action, vec![("assignee", new.stub(user).to_owned())])));
        }
        if was.milestone != issue.milestone {
            let (action, milestone) = match (issue.milestone, was.milestone) {
                (Some(now), _) => ("milestoned", now),
                (None, before) => ("demilestoned", before.unwrap_or_default()),
            };
            told.push((action, vec![("milestone", new.milestones(repo)[milestone as usize].to_string())]));
        }
        if was.locked != issue.locked {
            told.push((if issue.locked { "locked" } else { "unlocked" }, vec![]));
        }
        if let Some(kind) = issue.kind.or(was.kind).filter(|_| was.kind != issue.kind) {
            let action = if issue.kind.is_some() { "typed" } else { "untyped" };
            told.push((action, vec![("type", json(|o| issue_type(o, kind)))]));
        }
        if let (Some(before), Some(now)) = (&was.pull, &issue.pull) {
            if before.head != now.head {
                let shas = [("before", text(&new.sha(before.head))), ("after", text(&new.sha(now.head)))];
                told.push(("synchronize", shas.to_vec()));
            }
            if before.base_ref != now.base_ref {
                let from = |s: &str| object(&[("from", text(s))]);
                let base = object(&[("ref", from(&before.base_ref)), ("sha", from(&new.sha(before.base)))]);
                told.push(("edited", vec![("changes", object(&[("base", base)]))]));
            }
            if before.draft != now.draft {
                told.push((if now.draft { "converted_to_draft" } else { "ready_for_review" }, vec![]));
            }
            let (asked, excused) = lists(&before.reviewers, &now.reviewers);
            for (action, users) in [("review_requested", asked), ("review_request_removed", excused)] {
                let one = |user: UserIx| (action, vec![("requested_reviewer", new.stub(user).to_owned())]);
                told.extend(users.into_iter().map(one));
            }
        }
        if was.open != issue.open {
            told.push((if issue.open { "reopened" } else { "closed" }, vec![]));
        }
    }

    fn comments(&mut self, repo: RepoIx, was: Option<&Repo>) {
        let new = self.new;
        let r = &new.repos[repo];
        let nothing: &[Comment] = &[];
        for (event, now, before) in [
            ("issue_comment", &r.comments, was.map_or(nothing, |was| &was.comments)),
            ("pull_request_review_comment", &r.review_comments, was.map_or(nothing, |was| &was.review_comments)),
            ("commit_comment", &r.commit_comments, was.map_or(nothing, |was| &was.commit_comments)),
        ] {
            for (at, comment) in now.iter().enumerate() {
                let was = before.get(at);
                let on_commit = event == "commit_comment";
                let action = match was {
                    // GitHub: comments that came with their issue from elsewhere are not told of.
                    None if !on_commit && comment.created < new.issue(repo, comment.on).created => continue,
                    None if comment.deleted => continue,
                    None => "created",
                    // GitHub: of a comment on a commit, only that there is one.
                    Some(_) if on_commit => continue,
                    Some(was) if !was.deleted && comment.deleted && !new.issue(repo, comment.on).deleted => "deleted",
                    Some(was) if was.body != comment.body => "edited",
                    Some(_) => continue,
                };
                let mut fields = vec![];
                match event {
                    "issue_comment" => {
                        fields.push(("issue", json(|o| new.issue_json(o, repo, comment.on, VIEW))));
                        fields.push(("comment", json(|o| new.comment_json(o, repo, at))));
                    }
                    "commit_comment" => {
                        fields.push(("comment", json(|o| new.commit_comment_json(o, repo, at, false))));
                    }
                    _ => {
                        fields.push(("comment", json(|o| new.review_comment_json(o, repo, at, false))));
                        let pull = json(|o| new.pull_json(o, repo, comment.on, false, VIEW));
                        fields.push(("pull_request", pull));
                    }
                }
                if let Some(was) = was.filter(|_| action == "edited") {
                    let from = object(&[("body", object(&[("from", text(&was.body))]))]);
                    fields.insert(0, ("changes", from));
                }
                let sender = if action == "created" { comment.user } else { None };
                self.in_repo(repo, sender, event, action, &fields);
            }
        }
    }

    fn reviews(&mut self, repo: RepoIx, was: Option<&Repo>) {
        let new = self.new;
        for (at, review) in new.repos[repo].reviews.iter().enumerate() {
            let was = was.and_then(|was| was.reviews.get(at));
            let pending = |review: &Review| review.state == "PENDING";
            let action = match was {
                _ if pending(review) => continue,
                None => "submitted",
                Some(was) if pending(was) => "submitted",
                Some(was) if was.state != review.state && review.state == "DISMISSED" => "dismissed",
                Some(was) if was.body != review.body => "edited",
                Some(_) => continue,
            };
            let mut fields = vec![("review", json(|o| new.hook_review(o, repo, at)))];
            fields.push(("pull_request", json(|o| new.pull_json(o, repo, review.number, false, VIEW))));
            if let Some(was) = was.filter(|_| action == "edited") {
                fields.insert(0, ("changes", object(&[("body", object(&[("from", text(&was.body))]))])));
            }
            let sender = if action == "submitted" { review.user } else { None };
            self.in_repo(repo, sender, "pull_request_review", action, &fields);
        }
    }

    fn releases(&mut self, repo: RepoIx, was: Option<&Repo>) {
        let new = self.new;
        for (at, release) in new.repos[repo].releases.iter().enumerate() {
            let was = was.and_then(|was| was.releases.get(at));
            let actions: &[&str] = match was {
                Some(was) if was.deleted => continue,
                None if release.deleted => continue,
                Some(_) if release.deleted => &["deleted"],
                None if release.draft => &["created"],
                None if release.prerelease => &["created", "prereleased", "published"],
                None => &["created", "released", "published"],
                Some(was) if was.draft && !release.draft => &["released", "published"],
                Some(was) if was.body != release.body || was.name != release.name => &["edited"],
                Some(_) => continue,
            };
            for action in actions {
                let mut fields = vec![("release", json(|o| new.release(o, repo, at)))];
                if let Some(was) = was.filter(|_| *action == "edited") {
                    let edited = changes(&[
                        ("body", was.body != release.body, text(was.body.as_deref().unwrap_or_default())),
                        ("name", was.name != release.name, text(was.name.as_deref().unwrap_or_default())),
                    ]);
                    fields.push(("changes", edited.unwrap_or_else(|| "{}".into())));
                }
                self.in_repo(repo, Some(release.author), "release", action, &fields);
            }
        }
    }

    fn people(&mut self, repo: RepoIx, was: Option<&Repo>) {
        let new = self.new;
        let r = &new.repos[repo];
        let (no_stars, nobody) = (vec![], vec![]);
        let stars = was.map_or(&no_stars, |was| &was.stars);
        let has = |stars: &[Star], user: UserIx| stars.iter().any(|star| star.user == user);
        for star in r.stars.iter().filter(|star| !has(stars, star.user)) {
            let at = [("starred_at", json(|o| time(o, star.at)))];
            self.in_repo(repo, Some(star.user), "star", "created", &at);
            self.in_repo(repo, Some(star.user), "watch", "started", &[]);
        }
        for star in stars.iter().filter(|star| !has(&r.stars, star.user)) {
            self.in_repo(repo, Some(star.user), "star", "deleted", &[("starred_at", "null".into())]);
        }
        let before = was.map_or(&nobody, |was| &was.collaborators);
        let role = |list: &[(UserIx, &'static str)], user| list.iter().find(|(u, _)| *u == user).map(|(_, role)| *role);
        for &(user, now) in &r.collaborators {
            let member = ("member", new.stub(user).to_owned());
            match role(before, user) {
                None => {
                    let to = object(&[("role_name", object(&[("to", text(now))]))]);
                    self.in_repo(repo, None, "member", "added", &[member, ("changes", to)]);
                }
                Some(before) if before != now => {
                    let from_to = object(&[("from", text(before)), ("to", text(now))]);
                    let change = ("changes", object(&[("permission", from_to)]));
                    self.in_repo(repo, None, "member", "edited", &[member, change]);
                }
                Some(_) => {}
            }
        }
        for &(user, _) in before.iter().filter(|(user, _)| role(&r.collaborators, *user).is_none()) {
            self.in_repo(repo, None, "member", "removed", &[("member", new.stub(user).to_owned())]);
        }
    }

    fn organization(&mut self, org: UserIx) {
        let (new, old) = (self.new, self.old);
        let sender = new.owners.iter().find(|(of, _)| *of == org).map_or(org, |(_, owner)| *owner);
        let (now, was) = (&new.users[org as usize], old.users.get(org as usize));
        if let Some(was) = was.filter(|was| was.login != now.login) {
            let renamed = object(&[("login", object(&[("from", text(&was.login))]))]);
            self.tell(org, None, sender, "organization", "renamed", &[("changes", renamed)]);
        }
        let members = |world: &World| -> Vec<UserIx> {
            world.members.iter().filter(|member| member.org == org).map(|member| member.user).collect()
        };
        let (before, after) = (members(old), members(new));
        for (action, here, there) in [("member_added", &after, &before), ("member_removed", &before, &after)] {
            for &user in here.iter().filter(|user| !there.contains(user)) {
                let member = [("membership", new.membership_json(org, user))];
                self.tell(org, None, sender, "organization", action, &member);
            }
        }
        for (at, team) in new.teams.iter().enumerate().filter(|(_, team)| team.org == org) {
            let shown = ("team", json(|o| new.team_json(o, at)));
            let was = old.teams.get(at);
            if team.deleted {
                if was.is_some_and(|was| !was.deleted) {
                    self.tell(org, None, sender, "team", "deleted", &[shown]);
                }
                continue;
            }
            let (nobody, nothing) = (vec![], vec![]);
            match was {
                None => self.tell(org, None, sender, "team", "created", std::slice::from_ref(&shown)),
                Some(was) => {
                    let edited = changes(&[
                        ("name", was.name != team.name, text(&was.name)),
                        (
                            "description",
                            was.description != team.description,
                            text(was.description.as_deref().unwrap_or_default()),
                        ),
                        ("privacy", was.secret != team.secret, text(if was.secret { "secret" } else { "closed" })),
                    ]);
                    if let Some(edited) = edited {
                        self.tell(org, None, sender, "team", "edited", &[shown.clone(), ("changes", edited)]);
                    }
                }
            }
            let (members, repos) = was.map_or((&nobody, &nothing), |was| (&was.members, &was.repos));
            for (action, here, there) in [("added", &team.members, members), ("removed", members, &team.members)] {
                for &user in here.iter().filter(|user| !there.contains(user)) {
                    let member = ("member", new.stub(user).to_owned());
                    let fields = [("scope", text("team")), member, shown.clone()];
                    self.tell(org, None, sender, "membership", action, &fields);
                }
            }
            for &repo in team.repos.iter().filter(|repo| !repos.contains(repo)) {
                self.tell(org, Some(repo), sender, "team", "added_to_repository", std::slice::from_ref(&shown));
                self.tell(org, Some(repo), sender, "team_add", "", std::slice::from_ref(&shown));
            }
            for &repo in repos.iter().filter(|repo| !team.repos.contains(repo)) {
                self.tell(org, Some(repo), sender, "team", "removed_from_repository", std::slice::from_ref(&shown));
            }
        }
    }
}

// ---- what only webhooks carry

impl World {
    /// A review. GitHub: in lower case, and with when it last changed.
    fn hook_review(&self, o: &mut String, repo: RepoIx, at: usize) {
        let mut review = json(|o| self.review_json(o, repo, at, true));
        review.pop();
        let user = self.repos[repo].reviews[at].user;
        cat(o, &[&review, r#","author_association":""#, self.association(repo, user), r#""}"#]);
    }

    /// A commit as a push names it.
    fn pushed_commit(&self, repo: RepoIx, commit: CommitIx) -> String {
        let (sha, c) = (self.sha(commit), &self.commits[commit as usize]);
        let person = |person: u32| {
            let person = &self.people[person as usize];
            let login = match person.account {
                Account::User(user) => Some(("username", text(&self.users[user as usize].login))),
                _ => None,
            };
            let mut fields = vec![("name", text(&person.name)), ("email", text(&person.email))];
            fields.extend(login);
            object(&fields)
        };
        object(&[
            ("id", text(&sha)),
            ("tree_id", text(&sha)),
            ("distinct", "true".into()),
            ("message", text(&c.message)),
            ("timestamp", json(|o| time(o, c.committed))),
            ("url", text(&format!("{}{}/commit/{sha}", self.html, self.full_name(repo)))),
            ("author", person(c.author)),
            ("committer", person(c.committer)),
            ("added", "[]".into()),
            ("removed", "[]".into()),
            ("modified", r#"["src/lib.rs"]"#.into()),
        ])
    }

    fn membership_json(&self, org: UserIx, user: UserIx) -> String {
        let role = if self.owners.contains(&(org, user)) { "admin" } else { "member" };
        let (login, name) = (&self.users[org as usize].login, &self.users[user as usize].login);
        object(&[
            ("url", text(&format!("{}orgs/{login}/memberships/{name}", self.api))),
            ("state", text("active")),
            ("role", text(role)),
            ("organization_url", text(&format!("{}orgs/{login}", self.api))),
            ("user", self.stub(user).to_owned()),
        ])
    }

    /// A page of a wiki that was edited.
    pub(super) fn wiki_page(&self, repo: RepoIx, page: &str) -> String {
        format!(
            r#"{{"page_name":"{page}","title":"{page}","summary":null,"action":"edited","sha":"6dcb09b5b57875f334f61aebed695e2e4193db5e","html_url":"{}{}/wiki/{page}"}}"#,
            self.html,
            self.full_name(repo)
        )
    }
}
