//! Commits, issues, comments and events, as GitHub's JSON.
use super::json::*;
use super::render::*;
use super::world::*;
use std::collections::HashMap;
use std::fmt::Write;

/// An invented change of one file.
struct FileChange {
    name: String,
    status: &'static str,
    added: u64,
    removed: u64,
}

impl World {
    fn file(&self, commit: CommitIx, at: u32) -> FileChange {
        let s = &self.commits[commit as usize].sha;
        let mix = u64::from(s[(at % 20) as usize]) + u64::from(at) * 13;
        let status = match mix % 9 {
            0 => "added",
            1 => "removed",
            2 => "renamed",
            _ => "modified",
        };
        FileChange {
            name: format!("src/part{}/file{at}.rs", mix % 40),
            status,
            added: if status == "removed" { 0 } else { 1 + mix % 50 },
            removed: if status == "added" { 0 } else { mix % 23 },
        }
    }

    /// Lines added and removed by a commit.
    pub fn commit_stats(&self, commit: CommitIx) -> (u64, u64) {
        let files = (0..self.commits[commit as usize].files).map(|i| self.file(commit, i));
        files.fold((0, 0), |(a, r), f| (a + f.added, r + f.removed))
    }

    /// One file of a diff.
    pub fn diff_entry(&self, o: &mut String, repo: RepoIx, commit: CommitIx, at: u32) {
        let f = self.file(commit, at);
        let (url, sha, name) = (self.repo_url(repo), self.sha(commit), &f.name);
        let page = format!("{}{}", self.html, self.full_name(repo));
        let path = percent(name);
        let _ = write!(
            o,
            r#"{{"sha":"{}","filename":"{name}","status":"{}","additions":{},"deletions":{},"changes":{},"blob_url":"{page}/blob/{sha}/{path}","raw_url":"{page}/raw/{sha}/{path}","contents_url":"{url}/contents/{path}?ref={sha}","patch":"@@ -1,3 +1,4 @@\n fn main() {{\n+    step{at}();\n }}""#,
            blob(&sha, at),
            f.status,
            f.added,
            f.removed,
            f.added + f.removed
        );
        if f.status == "renamed" {
            let _ = write!(o, r#","previous_filename":"src/old{at}.rs""#);
        }
        o.push('}');
    }

    /// A commit as lists show it.
    pub fn commit(&self, o: &mut String, repo: RepoIx, commit: CommitIx) {
        o.push('{');
        self.commit_fields(o, &self.repo_url(repo), &self.full_name(repo), commit);
        o.push('}');
    }

    /// Several commits: the repository's names are made once.
    pub fn commits_json(&self, o: &mut String, repo: RepoIx, commits: &[CommitIx]) {
        let (url, name) = (self.repo_url(repo), self.full_name(repo));
        for (i, &c) in commits.iter().enumerate() {
            o.push_str(if i > 0 { ",{" } else { "{" });
            self.commit_fields(o, &url, &name, c);
            o.push('}');
        }
    }

    fn git_user(&self, o: &mut String, person: u32, at: Time) {
        let p = &self.people[person as usize];
        o.push_str(r#"{"name":"#);
        esc(o, &p.name);
        o.push_str(r#","email":"#);
        esc(o, &p.email);
        o.push_str(r#","date":"#);
        time(o, at);
        o.push('}');
    }

    fn account(&self, o: &mut String, person: u32) {
        o.push_str(match self.people[person as usize].account {
            Account::User(u) => self.stub(u),
            Account::Null => "null",
            Account::Empty => "{}",
        });
    }

    fn commit_fields(&self, o: &mut String, url: &str, full_name: &str, commit: CommitIx) {
        let c = &self.commits[commit as usize];
        let mut sha = String::with_capacity(40);
        hex(&mut sha, &c.sha);
        let sha = sha.as_str();
        // The tree gets a hash that is related to the commit's, yet another one.
        let tree: String = sha.chars().rev().collect();
        cat(o, &[r#""sha":""#, sha, r#"","node_id":"C_kwDO"#, sha, r#"","commit":{"author":"#]);
        self.git_user(o, c.author, c.authored);
        o.push_str(r#","committer":"#);
        self.git_user(o, c.committer, c.committed);
        o.push_str(r#","message":"#);
        esc(o, &c.message);
        cat(o, &[r#","tree":{"sha":""#, &tree, r#"","url":""#, url, "/git/trees/", &tree, r#""},"url":""#]);
        cat(o, &[url, "/git/commits/", sha, r#"","comment_count":"#]);
        num(o, c.comments.into());
        if c.verified {
            o.push_str(r#","verification":{"verified":true,"reason":"valid","signature":"-----BEGIN PGP SIGNATURE-----\n\nwsFcBAABCAAQBQJlkgQACRC1aQ7uu5UhlAAA\n=x1Yz\n-----END PGP SIGNATURE-----\n","payload":"tree "#);
            cat(o, &[&tree, r#"\nauthor GitHub <noreply@github.com>\n","verified_at":"#]);
            time(o, c.committed);
            o.push_str("}}");
        } else {
            o.push_str(r#","verification":{"verified":false,"reason":"unsigned","signature":null,"payload":null,"verified_at":null}}"#);
        }
        cat(o, &[r#","url":""#, url, "/commits/", sha, r#"","html_url":""#, &self.html, full_name, "/commit/", sha]);
        cat(o, &[r#"","comments_url":""#, url, "/commits/", sha, r#"/comments","author":"#]);
        self.account(o, c.author);
        o.push_str(r#","committer":"#);
        self.account(o, c.committer);
        o.push_str(r#","parents":["#);
        for (i, &p) in c.parents.iter().enumerate() {
            let mut parent = String::with_capacity(40);
            hex(&mut parent, &self.commits[p as usize].sha);
            let lead = if i > 0 { r#",{"sha":""# } else { r#"{"sha":""# };
            cat(o, &[lead, &parent, r#"","url":""#, url, "/commits/", &parent]);
            cat(o, &[r#"","html_url":""#, &self.html, full_name, "/commit/", &parent, r#""}"#]);
        }
        o.push(']');
    }

    /// `/git/commits/{sha}`: the commit as git has it.
    pub fn git_commit(&self, o: &mut String, repo: RepoIx, commit: CommitIx) {
        let c = &self.commits[commit as usize];
        let (url, sha) = (self.repo_url(repo), self.sha(commit));
        cat(o, &[r#"{"sha":""#, &sha, r#"","url":""#, &url, "/git/commits/", &sha, r#"","author":"#]);
        self.git_user(o, c.author, c.authored);
        o.push_str(r#","committer":"#);
        self.git_user(o, c.committer, c.committed);
        o.push_str(r#","message":"#);
        esc(o, &c.message);
        o.push_str(r#","parents":["#);
        for (i, parent) in self.parents(commit).iter().enumerate() {
            let lead = if i > 0 { r#",{"sha":""# } else { r#"{"sha":""# };
            cat(o, &[lead, parent, r#"","url":""#, &url, "/git/commits/", parent, r#""}"#]);
        }
        o.push_str("]}");
    }

    /// `/commits/{sha}`, with the files from `first` to before `last`.
    pub fn full_commit(&self, o: &mut String, repo: RepoIx, commit: CommitIx, files: std::ops::Range<u32>) {
        o.push('{');
        self.commit_fields(o, &self.repo_url(repo), &self.full_name(repo), commit);
        let (added, removed) = self.commit_stats(commit);
        let _ = write!(
            o,
            r#","stats":{{"total":{},"additions":{added},"deletions":{removed}}},"files":["#,
            added + removed
        );
        for i in files.clone() {
            if i > files.start {
                o.push(',');
            }
            self.diff_entry(o, repo, commit, i);
        }
        o.push_str("]}");
    }

    /// How GitHub says that a user stands to a repository.
    pub fn association(&self, repo: RepoIx, user: Option<UserIx>) -> &'static str {
        let r = &self.repos[repo];
        match user {
            None => "NONE",
            Some(u) if u == r.owner => "OWNER",
            Some(u) => match self.users[u as usize].kind {
                UserKind::Mannequin => "MANNEQUIN",
                _ if r.collaborators.iter().any(|c| c.0 == u) => "MEMBER",
                _ => "CONTRIBUTOR",
            },
        }
    }

    fn reactions(o: &mut String, url: &[&str]) {
        o.push_str(r#","reactions":{"url":""#);
        cat(o, url);
        o.push_str(r#"/reactions","total_count":0,"+1":0,"-1":0,"laugh":0,"hooray":0,"confused":0,"heart":0,"rocket":0,"eyes":0}"#);
    }

    /// An issue, or a pull request in its form as an issue.
    pub fn issue_json(&self, o: &mut String, repo: RepoIx, number: u32, view: View) {
        self.issue_with(o, repo, &self.repo_url(repo), &self.full_name(repo), number, view);
    }

    /// Several issues.
    pub fn issues_json(&self, o: &mut String, repo: RepoIx, numbers: &[u32], view: View) {
        let (url, name) = (self.repo_url(repo), self.full_name(repo));
        for (i, &n) in numbers.iter().enumerate() {
            if i > 0 {
                o.push(',');
            }
            self.issue_with(o, repo, &url, &name, n, view);
        }
    }

    fn issue_with(&self, o: &mut String, repo: RepoIx, url: &str, full_name: &str, number: u32, view: View) {
        let i = self.issue(repo, number);
        let mut n = String::with_capacity(10);
        num(&mut n, number.into());
        let n = n.as_str();
        let page = if i.pull.is_some() { "/pull/" } else { "/issues/" };
        cat(o, &[r#"{"url":""#, url, "/issues/", n, r#"","repository_url":""#, url, r#"","labels_url":""#]);
        cat(o, &[url, "/issues/", n, r#"/labels{/name}","comments_url":""#, url, "/issues/", n]);
        cat(o, &[r#"/comments","events_url":""#, url, "/issues/", n, r#"/events","html_url":""#]);
        cat(o, &[&self.html, full_name, page, n, r#"","id":"#]);
        num(o, i.id);
        let kind = if i.pull.is_some() { "PR" } else { "I" };
        let _ = write!(o, r#","node_id":"{kind}_kwDO{:012x}","number":{n},"title":"#, i.id);
        esc(o, &i.title);
        cat(o, &[r#","user":"#, self.stub_opt(i.user), r#","labels":["#]);
        let labels = self.labels(repo);
        for (k, &l) in i.labels.iter().enumerate() {
            if k > 0 {
                o.push(',');
            }
            o.push_str(&labels[l as usize]);
        }
        cat(o, &[r#"],"state":""#, if i.open { "open" } else { "closed" }, r#"","locked":"#]);
        o.push_str(if i.locked { "true" } else { "false" });
        if view.version == ApiVersion::V2022 {
            cat(o, &[r#","assignee":"#, self.stub_opt(i.assignees.first().copied())]);
        }
        o.push_str(r#","assignees":["#);
        for (k, &u) in i.assignees.iter().enumerate() {
            if k > 0 {
                o.push(',');
            }
            o.push_str(self.stub(u));
        }
        let milestone = i.milestone.map_or("null", |m| &self.milestones(repo)[m as usize]);
        cat(o, &[r#"],"milestone":"#, milestone, r#","comments":"#]);
        num(o, i.comments.into());
        o.push_str(r#","created_at":"#);
        time(o, i.created);
        o.push_str(r#","updated_at":"#);
        time(o, i.updated);
        o.push_str(r#","closed_at":"#);
        time_opt(o, i.closed);
        cat(o, &[r#","author_association":""#, self.association(repo, i.user), r#"","active_lock_reason":"#]);
        o.push_str(if i.locked { r#""too heated""# } else { "null" });
        if let Some(p) = &i.pull {
            cat(o, &[r#","draft":"#, if p.draft { "true" } else { "false" }]);
            cat(o, &[r#","pull_request":{"url":""#, url, "/pulls/", n, r#"","html_url":""#, &self.html]);
            cat(o, &[full_name, "/pull/", n, r#"","diff_url":""#, &self.html, full_name, "/pull/", n]);
            cat(o, &[r#".diff","patch_url":""#, &self.html, full_name, "/pull/", n, r#".patch","merged_at":"#]);
            time_opt(o, p.merged);
            o.push('}');
        } else {
            match i.kind {
                Some(name) => {
                    o.push_str(r#","type":"#);
                    issue_type(o, name);
                }
                None => o.push_str(r#","type":null"#),
            }
            o.push_str(r#","sub_issues_summary":{"total":0,"completed":0,"percent_completed":0},"issue_dependencies_summary":{"blocked_by":0,"total_blocked_by":0,"blocking":0,"total_blocking":0}"#);
        }
        o.push_str(r#","body":"#);
        esc_opt(o, i.body.as_deref());
        cat(o, &[r#","closed_by":"#, self.stub_opt(i.closed_by)]);
        Self::reactions(o, &[url, "/issues/", n]);
        cat(o, &[r#","timeline_url":""#, url, "/issues/", n, r#"/timeline","performed_via_github_app":null"#]);
        o.push_str(r#","state_reason":"#);
        esc_opt(o, i.state_reason);
        o.push_str(r#","pinned_comment":null}"#);
    }

    /// A comment on an issue or pull request.
    pub fn comment_json(&self, o: &mut String, repo: RepoIx, at: usize) {
        let c = &self.repos[repo].comments[at];
        let (url, id, on) = (self.repo_url(repo), c.id, c.on);
        let page = if self.issue(repo, on).pull.is_some() { "pull" } else { "issues" };
        let _ = write!(
            o,
            r#"{{"url":"{url}/issues/comments/{id}","html_url":"{}{}/{page}/{on}#issuecomment-{id}","issue_url":"{url}/issues/{on}","id":{id},"node_id":"IC_kwDO{id:012x}","user":{},"created_at":"#,
            self.html,
            self.full_name(repo),
            self.stub_opt(c.user)
        );
        time(o, c.created);
        o.push_str(r#","updated_at":"#);
        time(o, c.updated);
        o.push_str(r#","body":"#);
        esc(o, &c.body);
        let _ = write!(o, r#","author_association":"{}""#, self.association(repo, c.user));
        Self::reactions(o, &[&url, "/issues/comments/", &id.to_string()]);
        o.push_str(r#","performed_via_github_app":null,"minimized":null}"#);
    }

    /// A comment on a commit. The feed leaves `author_association` out.
    pub fn commit_comment_json(&self, o: &mut String, repo: RepoIx, at: usize, in_feed: bool) {
        let c = &self.repos[repo].commit_comments[at];
        let (url, sha, id) = (self.repo_url(repo), self.sha(c.on), c.id);
        let place = if at % 2 == 1 {
            r#""path":"src/lib.rs","position":4,"line":14"#
        } else {
            r#""path":null,"position":null,"line":null"#
        };
        let _ = write!(
            o,
            r#"{{"url":"{url}/comments/{id}","html_url":"{}{}/commit/{sha}#commitcomment-{id}","id":{id},"node_id":"CC_kwDO{id:08x}","user":{},{place},"commit_id":"{sha}","created_at":"#,
            self.html,
            self.full_name(repo),
            self.stub_opt(c.user)
        );
        time(o, c.created);
        o.push_str(r#","updated_at":"#);
        time(o, c.updated);
        if !in_feed {
            let _ = write!(o, r#","author_association":"{}""#, self.association(repo, c.user));
        }
        o.push_str(r#","body":"#);
        esc(o, &c.body);
        Self::reactions(o, &[&url, "/comments/", &id.to_string()]);
        o.push('}');
    }

    /// An issue event; `with_issue` in the repository's list, without in the issue's own.
    pub fn event_json(&self, o: &mut String, repo: RepoIx, at: usize, with_issue: bool, view: View) {
        let e = &self.repos[repo].events[at];
        let (url, id) = (self.repo_url(repo), e.id);
        let _ = write!(
            o,
            r#"{{"id":{id},"node_id":"EV_lADO{id:012x}","url":"{url}/issues/events/{id}","actor":{},"event":"{}""#,
            self.stub_opt(e.actor),
            e.event
        );
        match e.commit {
            Some(c) => {
                let sha = self.sha(c);
                let _ = write!(o, r#","commit_id":"{sha}","commit_url":"{url}/commits/{sha}""#);
            }
            None => o.push_str(r#","commit_id":null,"commit_url":null"#),
        }
        o.push_str(r#","created_at":"#);
        time(o, e.created);
        match &e.detail {
            Detail::None => {}
            Detail::Label { name, color } => {
                o.push_str(r#","label":{"name":"#);
                esc(o, name);
                let _ = write!(o, r#","color":"{color}"}}"#);
            }
            Detail::Assignee { assignee, assigner } => {
                cat(o, &[r#","assignee":"#, self.stub_opt(*assignee), r#","assigner":"#, self.stub_opt(*assigner)]);
            }
            Detail::Milestone(title) => {
                o.push_str(r#","milestone":{"title":"#);
                esc(o, title);
                o.push('}');
            }
            Detail::Rename { from, to } => {
                o.push_str(r#","rename":{"from":"#);
                esc(o, from);
                o.push_str(r#","to":"#);
                esc(o, to);
                o.push('}');
            }
            Detail::Reviewer { requester, reviewer } => {
                let (from, to) = (self.stub(*requester), self.stub(*reviewer));
                cat(o, &[r#","review_requester":"#, from, r#","requested_reviewer":"#, to]);
            }
            Detail::Lock(reason) => {
                o.push_str(r#","lock_reason":"#);
                esc_opt(o, *reason);
            }
            Detail::Closed(reason) => {
                o.push_str(r#","state_reason":"#);
                esc_opt(o, *reason);
            }
            Detail::Dismissed { review, state, message } => {
                let _ =
                    write!(o, r#","dismissed_review":{{"state":"{state}","review_id":{review},"dismissal_message":"#);
                esc_opt(o, message.as_deref());
                o.push('}');
            }
        }
        if with_issue {
            o.push_str(r#","issue":"#);
            // GitHub: the events of a deleted issue stay, without it.
            if self.issue(repo, e.number).deleted {
                o.push_str("null");
            } else {
                self.issue_json(o, repo, e.number, view);
            }
        }
        o.push_str(r#","performed_via_github_app":null}"#);
    }

    /// An entry of `/stargazers`: a user, or with the star media type also when.
    pub fn stargazer(&self, o: &mut String, repo: RepoIx, at: usize, with_time: bool) {
        let s = &self.repos[repo].stars[at];
        if with_time {
            o.push_str(r#"{"starred_at":"#);
            time(o, s.at);
            cat(o, &[r#","user":"#, self.stub(s.user), "}"]);
        } else {
            o.push_str(self.stub(s.user));
        }
    }

    fn grouped(items: impl Iterator<Item = (u32, bool)>) -> HashMap<u32, Vec<u32>> {
        let mut of: HashMap<u32, Vec<u32>> = HashMap::new();
        for (i, (on, deleted)) in items.enumerate() {
            if !deleted {
                of.entry(on).or_default().push(i as u32);
            }
        }
        of
    }

    /// Positions of an issue's comments, oldest first.
    pub fn comments_of(&self, repo: RepoIx, number: u32) -> Vec<u32> {
        let cache = &self.cache.repos[repo].comments_of;
        let all = || Self::grouped(self.repos[repo].comments.iter().map(|c| (c.on, c.deleted)));
        cache.get_or_init(all).get(&number).cloned().unwrap_or_default()
    }

    /// Positions of a pull request's review comments, oldest first.
    pub fn review_comments_of(&self, repo: RepoIx, number: u32) -> Vec<u32> {
        let cache = &self.cache.repos[repo].review_comments_of;
        let all = || Self::grouped(self.repos[repo].review_comments.iter().map(|c| (c.on, c.deleted)));
        cache.get_or_init(all).get(&number).cloned().unwrap_or_default()
    }

    /// Positions of an issue's events, oldest first.
    pub fn events_of(&self, repo: RepoIx, number: u32) -> Vec<u32> {
        let cache = &self.cache.repos[repo].events_of;
        let all = || Self::grouped(self.repos[repo].events.iter().map(|e| (e.number, false)));
        cache.get_or_init(all).get(&number).cloned().unwrap_or_default()
    }

    /// Positions of a pull request's reviews, oldest first.
    pub fn reviews_of(&self, repo: RepoIx, number: u32) -> Vec<u32> {
        let cache = &self.cache.repos[repo].reviews_of;
        let all = || Self::grouped(self.repos[repo].reviews.iter().map(|r| (r.number, false)));
        cache.get_or_init(all).get(&number).cloned().unwrap_or_default()
    }
}

/// A blob's hash, made from its commit's.
/// A type of issues. The same type has the same number in every issue.
pub(super) fn issue_type(o: &mut String, name: &str) {
    let id = 1_400_000 + name.bytes().map(u64::from).sum::<u64>();
    let _ = write!(
        o,
        r#"{{"id":{id},"node_id":"IT_kwDO{id:08x}","name":"{name}","description":"What {name} says","color":"red","created_at":"#
    );
    time(o, EPOCH);
    o.push_str(r#","updated_at":"#);
    time(o, EPOCH);
    o.push_str(r#","is_enabled":true}"#);
}

fn blob(sha: &str, at: u32) -> String {
    format!("{:08x}{}", at ^ 0x5eed, &sha[8..])
}
