//! Pull requests, reviews, comparisons and the events feed, as GitHub's JSON.
use super::json::*;
use super::render::*;
use super::world::*;
use std::fmt::Write;

impl World {
    /// A pull request as `/pulls` lists it, or in full as `/pulls/{number}`.
    pub fn pull_json(&self, o: &mut String, repo: RepoIx, number: u32, full: bool, view: View) {
        let i = self.issue(repo, number);
        let p = i.pull.as_ref().expect("a pull request");
        let (url, name) = (self.repo_url(repo), self.full_name(repo));
        let (id, n) = (p.id, number);
        let page = format!("{}{name}/pull/{n}", self.html);
        let sha = self.sha(p.head);
        let _ = write!(
            o,
            r#"{{"url":"{url}/pulls/{n}","id":{id},"node_id":"PR_kwDO{id:012x}","html_url":"{page}","diff_url":"{page}.diff","patch_url":"{page}.patch","issue_url":"{url}/issues/{n}","number":{n},"state":"{}","locked":{},"title":"#,
            if i.open { "open" } else { "closed" },
            i.locked
        );
        esc(o, &i.title);
        cat(o, &[r#","user":"#, self.stub_opt(i.user), r#","body":"#]);
        esc_opt(o, i.body.as_deref());
        for (key, at) in [
            (r#","created_at":"#, Some(i.created)),
            (r#","updated_at":"#, Some(i.updated)),
            (r#","closed_at":"#, i.closed),
            (r#","merged_at":"#, p.merged),
        ] {
            o.push_str(key);
            time_opt(o, at);
        }
        if view.version == ApiVersion::V2022 {
            o.push_str(r#","merge_commit_sha":"#);
            let sha = p.merge_commit.map(|c| self.sha(c));
            esc_opt(o, sha.as_deref());
            cat(o, &[r#","assignee":"#, self.stub_opt(i.assignees.first().copied())]);
        }
        o.push_str(r#","assignees":["#);
        self.stubs(o, &i.assignees);
        o.push_str(r#"],"requested_reviewers":["#);
        self.stubs(o, &p.reviewers);
        o.push_str(r#"],"requested_teams":[],"labels":["#);
        let labels = self.labels(repo);
        for (k, &l) in i.labels.iter().enumerate() {
            if k > 0 {
                o.push(',');
            }
            o.push_str(&labels[l as usize]);
        }
        let milestone = i.milestone.map_or("null", |m| &self.milestones(repo)[m as usize]);
        cat(o, &[r#"],"milestone":"#, milestone]);
        let _ = write!(
            o,
            r#","draft":{},"commits_url":"{url}/pulls/{n}/commits","review_comments_url":"{url}/pulls/{n}/comments","review_comment_url":"{url}/pulls/comments{{/number}}","comments_url":"{url}/issues/{n}/comments","statuses_url":"{url}/statuses/{sha}","head":{{"label":"#,
            p.draft
        );
        esc(o, &format!("{}:{}", p.head_owner, p.head_ref));
        o.push_str(r#","ref":"#);
        esc(o, &p.head_ref);
        let home = p.head_repo.map_or("null", |r| self.repo_json(r, view));
        cat(o, &[r#","sha":""#, &sha, r#"","user":"#, self.stub_opt(p.head_user), r#","repo":"#, home]);
        o.push_str(r#"},"base":{"label":"#);
        let owner = self.repos[repo].owner;
        esc(o, &format!("{}:{}", self.users[owner as usize].login, p.base_ref));
        o.push_str(r#","ref":"#);
        esc(o, &p.base_ref);
        cat(o, &[r#","sha":""#, &self.sha(p.base), r#"","user":"#, self.stub(owner), r#","repo":"#]);
        let _ = write!(
            o,
            r#"{}}},"_links":{{"self":{{"href":"{url}/pulls/{n}"}},"html":{{"href":"{page}"}},"issue":{{"href":"{url}/issues/{n}"}},"comments":{{"href":"{url}/issues/{n}/comments"}},"review_comments":{{"href":"{url}/pulls/{n}/comments"}},"review_comment":{{"href":"{url}/pulls/comments{{/number}}"}},"commits":{{"href":"{url}/pulls/{n}/commits"}},"statuses":{{"href":"{url}/statuses/{sha}"}}}},"author_association":"{}","auto_merge":null,"active_lock_reason":{}"#,
            self.repo_json(repo, view),
            self.association(repo, i.user),
            if i.locked { r#""too heated""# } else { "null" }
        );
        if full {
            let (added, removed) = self.pull_stats(p);
            let state = if i.open { "clean" } else { "unknown" };
            let mergeable = if i.open { "true" } else { "null" };
            let review_comments = self.review_comments_of(repo, n).len();
            let _ = write!(
                o,
                r#","merged":{},"mergeable":{mergeable},"rebaseable":{mergeable},"mergeable_state":"{state}","merged_by":{},"comments":{},"review_comments":{review_comments},"maintainer_can_modify":{},"commits":{},"additions":{added},"deletions":{removed},"changed_files":{}"#,
                p.merged.is_some(),
                self.stub_opt(p.merged_by),
                i.comments,
                p.head_repo != Some(repo) && i.open,
                p.commits.len(),
                p.files,
            );
        }
        o.push('}');
    }

    fn stubs(&self, o: &mut String, users: &[UserIx]) {
        for (k, &u) in users.iter().enumerate() {
            if k > 0 {
                o.push(',');
            }
            o.push_str(self.stub(u));
        }
    }

    fn pull_stats(&self, p: &Pull) -> (u64, u64) {
        p.commits.iter().map(|&c| self.commit_stats(c)).fold((0, 0), |s, t| (s.0 + t.0, s.1 + t.1))
    }

    /// An entry of `/pulls/{number}/reviews`; the feed leaves `author_association` out.
    pub fn review_json(&self, o: &mut String, repo: RepoIx, at: usize, in_feed: bool) {
        let r = &self.repos[repo].reviews[at];
        let (url, id, n) = (self.repo_url(repo), r.id, r.number);
        let page = format!("{}{}/pull/{n}#pullrequestreview-{id}", self.html, self.full_name(repo));
        let _ = write!(o, r#"{{"id":{id},"node_id":"PRR_kwDO{id:012x}","user":{},"body":"#, self.stub_opt(r.user));
        esc(o, &r.body);
        let state = if in_feed { r.state.to_lowercase() } else { r.state.into() };
        let _ = write!(
            o,
            r#","state":"{state}","html_url":"{page}","pull_request_url":"{url}/pulls/{n}","_links":{{"html":{{"href":"{page}"}},"pull_request":{{"href":"{url}/pulls/{n}"}}}}"#
        );
        if !in_feed {
            let _ = write!(o, r#","author_association":"{}""#, self.association(repo, r.user));
        }
        // GitHub: a pending review has no submitted_at at all.
        if let Some(at) = r.submitted {
            o.push_str(r#","submitted_at":"#);
            time(o, at);
        }
        if in_feed {
            o.push_str(r#","updated_at":"#);
            time(o, r.submitted.unwrap_or(self.clock));
        }
        o.push_str(r#","commit_id":"#);
        let commit = r.commit.map(|c| self.sha(c));
        esc_opt(o, commit.as_deref());
        o.push('}');
    }

    /// A review comment; the feed leaves `author_association` out.
    pub fn review_comment_json(&self, o: &mut String, repo: RepoIx, at: usize, in_feed: bool) {
        let c = &self.repos[repo].review_comments[at];
        let s = c.review.as_ref().expect("a review comment");
        let (url, id, n) = (self.repo_url(repo), c.id, c.on);
        let page = format!("{}{}/pull/{n}#discussion_r{id}", self.html, self.full_name(repo));
        let review = s.review.map_or("null".into(), |r| r.to_string());
        let _ = write!(
            o,
            r#"{{"url":"{url}/pulls/comments/{id}","pull_request_review_id":{review},"id":{id},"node_id":"PRRC_kwDO{id:012x}","diff_hunk":"@@ -1,3 +1,4 @@ fn main() {{\n+    let x = \"1\";","path":"{}","commit_id":"{}","original_commit_id":"{}","user":{},"body":"#,
            s.path,
            self.sha(s.commit),
            self.sha(s.original_commit),
            self.stub_opt(c.user)
        );
        esc(o, &c.body);
        o.push_str(r#","created_at":"#);
        time(o, c.created);
        o.push_str(r#","updated_at":"#);
        time(o, c.updated);
        let _ = write!(
            o,
            r#","html_url":"{page}","pull_request_url":"{url}/pulls/{n}","_links":{{"self":{{"href":"{url}/pulls/comments/{id}"}},"html":{{"href":"{page}"}},"pull_request":{{"href":"{url}/pulls/{n}"}}}}"#
        );
        if !in_feed {
            let _ = write!(o, r#","author_association":"{}""#, self.association(repo, c.user));
        }
        let _ = write!(
            o,
            r#","reactions":{{"url":"{url}/pulls/comments/{id}/reactions","total_count":0,"+1":0,"-1":0,"laugh":0,"hooray":0,"confused":0,"heart":0,"rocket":0,"eyes":0}}"#
        );
        let now = |p: Option<u32>| p.map_or("null".into(), |p| p.to_string());
        let _ = write!(o, r#","position":{},"original_position":{}"#, now(s.position), s.original_position);
        if !in_feed {
            let _ = write!(
                o,
                r#","start_line":null,"original_start_line":null,"start_side":null,"line":{},"original_line":{},"side":"RIGHT""#,
                now(s.position.map(|p| p + 10)),
                s.original_position + 10
            );
        }
        o.push_str(r#","subject_type":"line""#);
        if let Some(to) = s.reply_to {
            let _ = write!(o, r#","in_reply_to_id":{to}"#);
        }
        o.push('}');
    }

    fn minimal_pull(&self, o: &mut String, repo: RepoIx, number: u32) {
        let p = self.issue(repo, number).pull.as_ref().expect("a pull request");
        let side = |o: &mut String, name: &str, commit: CommitIx, home: Option<RepoIx>| {
            o.push_str(r#"{"ref":"#);
            esc(o, name);
            let _ = write!(o, r#","sha":"{}","repo":"#, self.sha(commit));
            match home {
                Some(r) => {
                    let _ = write!(
                        o,
                        r#"{{"id":{},"url":"{}","name":"{}"}}}}"#,
                        self.repos[r].id,
                        self.repo_url(r),
                        self.repos[r].name
                    );
                }
                None => o.push_str("null}"),
            }
        };
        let _ =
            write!(o, r#"{{"url":"{}/pulls/{number}","id":{},"number":{number},"head":"#, self.repo_url(repo), p.id);
        side(o, &p.head_ref, p.head, p.head_repo);
        o.push_str(r#","base":"#);
        side(o, &p.base_ref, p.base, Some(repo));
        o.push('}');
    }

    /// An entry of `/events`.
    pub fn feed_json(&self, o: &mut String, repo: RepoIx, at: usize, view: View) {
        let r = &self.repos[repo];
        let e = &r.feed[at];
        let _ = write!(o, r#"{{"id":"{}","type":"{}","actor":"#, e.id, e.payload.kind());
        self.actor_json(o, e.actor, e.created, true);
        let _ = write!(
            o,
            r#","repo":{{"id":{},"name":"{}","url":"{}"}},"payload":{{"#,
            r.id,
            self.full_name(repo),
            self.repo_url(repo)
        );
        let assignee_label = |o: &mut String, action: &str, number: u32| {
            let i = self.issue(repo, number);
            if action.ends_with("assigned") {
                if let Some(&a) = i.assignees.last() {
                    cat(o, &[r#","assignee":"#, self.stub(a), r#","assignees":["#]);
                    self.stubs(o, &i.assignees);
                    o.push(']');
                }
            } else if action.ends_with("labeled")
                && let Some(&l) = i.labels.last()
            {
                let l = &self.labels(repo)[l as usize];
                cat(o, &[r#","label":"#, l, r#","labels":["#, l, "]"]);
            }
        };
        match &e.payload {
            Payload::Push { push_id, ref_name, head, before } => {
                let _ = write!(o, r#""repository_id":{},"push_id":{push_id},"ref":"#, r.id);
                esc(o, ref_name);
                let _ = write!(o, r#","head":"{}","before":"{}""#, self.sha(*head), self.sha(*before));
            }
            Payload::PullRequest { action, number } => {
                let _ = write!(o, r#""action":"{action}","number":{number},"pull_request":"#);
                self.minimal_pull(o, repo, *number);
                assignee_label(o, action, *number);
            }
            Payload::Issues { action, number } => {
                let _ = write!(o, r#""action":"{action}","issue":"#);
                self.issue_json(o, repo, *number, view);
                assignee_label(o, action, *number);
            }
            Payload::IssueComment { comment } => {
                o.push_str(r#""action":"created","issue":"#);
                self.issue_json(o, repo, r.comments[*comment].on, view);
                o.push_str(r#","comment":"#);
                self.comment_json(o, repo, *comment);
            }
            Payload::CommitComment { comment } => {
                o.push_str(r#""action":"created","comment":"#);
                self.commit_comment_json(o, repo, *comment, true);
            }
            Payload::ReviewComment { comment } => {
                o.push_str(r#""action":"created","comment":"#);
                self.review_comment_json(o, repo, *comment, true);
                o.push_str(r#","pull_request":"#);
                self.minimal_pull(o, repo, r.review_comments[*comment].on);
            }
            Payload::Review { review, action } => {
                let _ = write!(o, r#""action":"{action}","review":"#);
                self.review_json(o, repo, *review, true);
                o.push_str(r#","pull_request":"#);
                self.minimal_pull(o, repo, r.reviews[*review].number);
            }
            Payload::Create { ref_type, name } => {
                let name = name.as_deref().unwrap_or(&r.default_branch);
                o.push_str(r#""ref":"#);
                esc(o, name);
                let _ = write!(o, r#","ref_type":"{ref_type}","full_ref":"#);
                esc(o, &full_ref(ref_type, name));
                let _ = write!(o, r#","master_branch":"{}","description":"#, r.default_branch);
                esc_opt(o, r.description.as_deref());
                o.push_str(r#","pusher_type":"user""#);
            }
            Payload::Delete { ref_type, name } => {
                o.push_str(r#""ref":"#);
                esc(o, name);
                let _ = write!(o, r#","ref_type":"{ref_type}","full_ref":"#);
                esc(o, &full_ref(ref_type, name));
                o.push_str(r#","pusher_type":"user""#);
            }
            Payload::Fork { forkee } => {
                cat(o, &[r#""action":"forked","forkee":"#, self.repo_json(*forkee, view)]);
            }
            Payload::Watch => o.push_str(r#""action":"started""#),
            Payload::Member { user } => cat(o, &[r#""action":"added","member":"#, self.stub(*user)]),
            Payload::Release { release } => {
                o.push_str(r#""action":"published","release":"#);
                self.release(o, repo, *release);
            }
            Payload::Gollum { page } => {
                cat(o, &[r#""pages":["#, &self.wiki_page(repo, page), "]"]);
            }
            Payload::Public => {}
            Payload::Future => o.push_str(r#""action":"foreseen","marvel":{"id":9007199254740993}"#),
        }
        let _ = write!(o, r#"}},"public":{},"created_at":"#, !r.private);
        time(o, e.created);
        if self.users[r.owner as usize].kind == UserKind::Organization {
            o.push_str(r#","org":"#);
            self.actor_json(o, r.owner, e.created, false);
        }
        o.push('}');
    }
}

fn full_ref(ref_type: &str, name: &str) -> String {
    match ref_type {
        "tag" => format!("refs/tags/{name}"),
        _ => format!("refs/heads/{name}"),
    }
}

impl Payload {
    /// The entry's `type`.
    pub fn kind(&self) -> &'static str {
        match self {
            Payload::Push { .. } => "PushEvent",
            Payload::PullRequest { .. } => "PullRequestEvent",
            Payload::Issues { .. } => "IssuesEvent",
            Payload::IssueComment { .. } => "IssueCommentEvent",
            Payload::CommitComment { .. } => "CommitCommentEvent",
            Payload::ReviewComment { .. } => "PullRequestReviewCommentEvent",
            Payload::Review { .. } => "PullRequestReviewEvent",
            Payload::Create { .. } => "CreateEvent",
            Payload::Delete { .. } => "DeleteEvent",
            Payload::Fork { .. } => "ForkEvent",
            Payload::Watch => "WatchEvent",
            Payload::Member { .. } => "MemberEvent",
            Payload::Release { .. } => "ReleaseEvent",
            Payload::Gollum { .. } => "GollumEvent",
            Payload::Public => "PublicEvent",
            Payload::Future => "FutureEvent",
        }
    }
}
