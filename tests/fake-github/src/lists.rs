//! Long lists - commits, issues, pull requests, comments - with their filters and orders; and the rows of all lists.
use super::json::*;
use super::paging::{Query, Rule};
use super::render::*;
use super::routes::{Answer, Kind, List, refusal};
use super::world::*;
use std::sync::Arc;

impl World {
    /// A list made once and kept until the world changes.
    fn cached(&self, key: String, make: impl FnOnce() -> Vec<u32>) -> Arc<Vec<u32>> {
        if let Some(known) = self.cache.lists.lock().unwrap().get(&key) {
            return known.clone();
        }
        let made = Arc::new(make());
        let mut known = self.cache.lists.lock().unwrap();
        if known.len() > 200 {
            known.clear();
        }
        known.insert(key, made.clone());
        made
    }

    pub(super) fn commit_list(&self, repo: RepoIx, from: CommitIx, q: &Query) -> Answer {
        let (since, until) = (q.get("since").and_then(parse_time), q.get("until").and_then(parse_time));
        let items = if since.is_none() && until.is_none() {
            self.reach(from)
        } else {
            self.cached(format!("{repo} commits {from} {since:?} {until:?}"), || {
                let at = |c: CommitIx| self.commits[c as usize].committed;
                let within = |c: &CommitIx| since.is_none_or(|s| at(*c) >= s) && until.is_none_or(|u| at(*c) <= u);
                self.reach(from).iter().copied().filter(within).collect()
            })
        };
        Answer::List(List { repo, kind: Kind::Commit, items, rule: Rule::Deep })
    }

    pub(super) fn issue_list(&self, repo: RepoIx, q: &Query) -> Answer {
        let state = q.get("state").unwrap_or("open");
        let sort = q.get("sort").unwrap_or("created");
        let direction = q.get("direction").unwrap_or("desc");
        let since = q.get("since").and_then(parse_time);
        let labels: Vec<&str> = q.get("labels").map(|l| l.split(',').collect()).unwrap_or_default();
        let creator = q.get("creator");
        let r = &self.repos[repo];
        let key = format!("{repo} issues {state} {sort} {direction} {since:?} {labels:?} {creator:?}");
        let items = self.cached(key, || {
            // A `since` at the epoch answers an empty list: met by more than one mirror.
            if since == Some(0) {
                return vec![];
            }
            let creator = creator.map(|c| self.find_user(c));
            let mut list: Vec<u32> = r
                .issues
                .iter()
                .filter(|i| !i.deleted && (state == "all" || i.open == (state == "open")))
                .filter(|i| since.is_none_or(|s| i.updated >= s) && creator.is_none_or(|c| i.user == c))
                .filter(|i| labels.iter().all(|l| i.labels.iter().any(|&x| r.labels[x as usize].name == *l)))
                .map(|i| i.number)
                .collect();
            list.sort_by_key(|&n| (issue_key(self.issue(repo, n), sort), n));
            if direction != "asc" {
                list.reverse();
            }
            list
        });
        let rule = Rule::Issues { sort: sort.into(), ascending: direction == "asc" };
        Answer::List(List { repo, kind: Kind::Issue, items, rule })
    }

    pub(super) fn pull_list(&self, repo: RepoIx, q: &Query) -> Answer {
        let state = q.get("state").unwrap_or("open");
        let sort = q.get("sort").unwrap_or("created");
        // GitHub: newest first when sorted by creation, otherwise ascending.
        let direction = q.get("direction").unwrap_or(if sort == "created" { "desc" } else { "asc" });
        let (head, base) = (q.get("head"), q.get("base"));
        let key = format!("{repo} pulls {state} {sort} {direction} {head:?} {base:?}");
        let items = self.cached(key, || {
            let wanted = |i: &&Issue| {
                let Some(p) = &i.pull else { return false };
                !i.deleted
                    && (state == "all" || i.open == (state == "open"))
                    && head.is_none_or(|h| h == format!("{}:{}", p.head_owner, p.head_ref))
                    && base.is_none_or(|b| b == p.base_ref)
            };
            let mut list: Vec<u32> = self.repos[repo].issues.iter().filter(wanted).map(|i| i.number).collect();
            let sort = if sort == "popularity" { "comments" } else { sort };
            list.sort_by_key(|&n| (issue_key(self.issue(repo, n), sort), n));
            if direction != "asc" {
                list.reverse();
            }
            list
        });
        Answer::List(List { repo, kind: Kind::Pull, items, rule: Rule::Deep })
    }

    /// Comments of a whole repository: by ascending id, unless `sort` is given.
    pub(super) fn comment_list(&self, repo: RepoIx, all: &[Comment], what: &str, q: &Query) -> Arc<Vec<u32>> {
        let (sort, direction) = (q.get("sort"), q.get("direction").unwrap_or("desc"));
        let since = q.get("since").and_then(parse_time);
        self.cached(format!("{repo} {what} comments {sort:?} {direction} {since:?}"), || {
            if since == Some(0) {
                return vec![];
            }
            let mut list: Vec<u32> = (0..all.len() as u32).collect();
            list.retain(|&c| !all[c as usize].deleted && since.is_none_or(|s| all[c as usize].updated >= s));
            if let Some(sort) = sort {
                let key = |c: &Comment| if sort == "updated" { c.updated } else { c.created };
                list.sort_by_key(|&c| (key(&all[c as usize]), c));
                if direction == "desc" {
                    list.reverse();
                }
            }
            list
        })
    }

    pub(super) fn compare_answer(&self, repo: RepoIx, spec: &str, q: &Query) -> Option<Answer> {
        let (base_name, head_name) = spec.split_once("...")?;
        let (base, head) = (self.resolve(repo, base_name)?, self.resolve(repo, head_name)?);
        let Some(c) = self.compare(base, head) else {
            return Some(refusal(404, &format!("No common ancestor between {base_name} and {head_name}.")));
        };
        let ahead = c.ahead.len();
        let paged = !self.unpaged_comparisons && (q.get("page").is_some() || q.get("per_page").is_some());
        let per = if paged { q.per_page() } else { 250 };
        let commits = if paged {
            let first = (q.page() - 1).saturating_mul(per).min(ahead);
            &c.ahead[first..(first + per).min(ahead)]
        } else {
            // GitHub: unpaged, the last 250.
            &c.ahead[ahead.saturating_sub(250)..]
        };
        let status = match (ahead, c.behind) {
            (0, 0) => "identical",
            (_, 0) => "ahead",
            (0, _) => "behind",
            _ => "diverged",
        };
        let (url, page) = (self.repo_url(repo), format!("{}{}", self.html, self.full_name(repo)));
        let (b, h) = (self.sha(base), self.sha(head));
        let mut body = format!(
            r#"{{"url":"{url}/compare/{b}...{h}","html_url":"{page}/compare/{b}...{h}","permalink_url":"{page}/compare/{b}...{h}","diff_url":"{page}/compare/{b}...{h}.diff","patch_url":"{page}/compare/{b}...{h}.patch","base_commit":"#
        );
        self.commit(&mut body, repo, base);
        body.push_str(r#","merge_base_commit":"#);
        self.commit(&mut body, repo, c.merge_base);
        body.push_str(&format!(
            r#","status":"{status}","ahead_by":{ahead},"behind_by":{},"total_commits":{ahead},"commits":["#,
            c.behind
        ));
        self.commits_json(&mut body, repo, commits);
        body.push(']');
        // GitHub: files come on the first page only, 300 at most.
        if q.page() == 1 {
            body.push_str(r#","files":["#);
            let files = if ahead == 0 { 0 } else { self.commits[head as usize].files.min(300) };
            for i in 0..files {
                if i > 0 {
                    body.push(',');
                }
                self.diff_entry(&mut body, repo, head, i);
            }
            body.push(']');
        }
        body.push('}');
        let rows = if paged { ahead } else { 0 };
        Some(Answer::Paged { body, rows, per_page: per })
    }

    /// Appends rows of a list, separated by commas.
    pub fn render_rows(&self, o: &mut String, list: &List, keys: &[u32], view: View) {
        let repo = list.repo;
        match &list.kind {
            Kind::Commit => return self.commits_json(o, repo, keys),
            Kind::Issue => return self.issues_json(o, repo, keys, view),
            _ => {}
        }
        for (i, &k) in keys.iter().enumerate() {
            if i > 0 {
                o.push(',');
            }
            let at = k as usize;
            match &list.kind {
                Kind::Commit | Kind::Issue => unreachable!(),
                Kind::Pull => self.pull_json(o, repo, k, false, view),
                Kind::Comment => self.comment_json(o, repo, at),
                Kind::ReviewComment => self.review_comment_json(o, repo, at, false),
                Kind::CommitComment => self.commit_comment_json(o, repo, at, false),
                Kind::Review => self.review_json(o, repo, at, false),
                Kind::Event { with_issue } => self.event_json(o, repo, at, *with_issue, view),
                Kind::Stargazer { with_time } => self.stargazer(o, repo, at, *with_time),
                Kind::User => o.push_str(self.stub(k)),
                Kind::TeamRepo => {
                    let repository = self.repo_json(at, view);
                    o.push_str(repository.strip_suffix('}').unwrap_or(repository));
                    o.push_str(r#","role_name":"write"}"#);
                }
                Kind::Label => o.push_str(&self.labels(repo)[at]),
                Kind::Milestone => o.push_str(&self.milestones(repo)[at]),
                Kind::Release => self.release(o, repo, at),
                Kind::Branch(names) => self.branch(o, repo, &names[at]),
                Kind::Tag(names) => self.tag(o, repo, &names[at]),
                Kind::GitRef(kind, names) => self.git_ref(o, repo, kind, &names[at]),
                Kind::Collaborator => self.collaborator(o, repo, at),
                Kind::Contributor(list) => self.contributor(o, list[at].0, list[at].1),
                Kind::Repo => o.push_str(self.repo_json(at, view)),
                Kind::Feed(list) => self.feed_json(o, list[at].0, list[at].1, view),
                Kind::File(commit) => self.diff_entry(o, repo, *commit, k),
                Kind::Org => self.org_stub(o, k),
                Kind::Team => self.team_json(o, k as usize),
            }
        }
    }
}

/// What issues are sorted by.
pub fn issue_key(i: &Issue, sort: &str) -> i64 {
    match sort {
        "updated" => i.updated,
        "comments" => i.comments.into(),
        _ => i.created,
    }
}
