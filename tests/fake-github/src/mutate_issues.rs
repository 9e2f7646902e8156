//! How issues and pull requests change: every change bumps what GitHub would bump, and leaves its issue event and
//! feed entry.
use super::world::*;

/// What a pull request is opened with.
pub struct NewPull {
    pub user: UserIx,
    /// The repository that its head branch lives in: the base repository itself, or a fork of it.
    pub head_repo: RepoIx,
    pub head_ref: String,
    pub base_ref: String,
    /// How many commits to make on the head branch for it.
    pub commits: usize,
    pub title: String,
    pub body: Option<String>,
    pub draft: bool,
}

impl World {
    // ---- issues

    pub fn open_issue(&mut self, repo: RepoIx, user: Option<UserIx>, title: &str, body: Option<&str>) -> u32 {
        let number = self.new_issue(repo, user, title, body);
        let actor = user.unwrap_or(0);
        self.feed(repo, actor, Payload::Issues { action: "opened", number });
        number
    }

    fn new_issue(&mut self, repo: RepoIx, user: Option<UserIx>, title: &str, body: Option<&str>) -> u32 {
        let now = self.tick(60);
        let id = self.id();
        let issues = &mut self.repos[repo].issues;
        let number = issues.len() as u32 + 1;
        issues.push(Issue {
            id,
            number,
            title: title.into(),
            body: body.map(Into::into),
            user,
            open: true,
            state_reason: None,
            kind: None,
            labels: vec![],
            assignees: vec![],
            milestone: None,
            locked: false,
            comments: 0,
            created: now,
            updated: now,
            closed: None,
            closed_by: None,
            pull: None,
            deleted: false,
            removed: false,
            moved_to: None,
        });
        number
    }

    fn touch_issue(&mut self, repo: RepoIx, number: u32) -> Time {
        let now = self.tick(60);
        self.issue_mut(repo, number).updated = now;
        now
    }

    /// Adds an event to an issue's history, and bumps the issue. GitHub: events that come of being named elsewhere
    /// bump nothing.
    pub fn add_event(
        &mut self,
        repo: RepoIx,
        number: u32,
        actor: Option<UserIx>,
        event: &'static str,
        commit: Option<CommitIx>,
        detail: Detail,
    ) -> u64 {
        let created = match event {
            "referenced" | "mentioned" | "subscribed" => self.tick(60),
            _ => self.touch_issue(repo, number),
        };
        let id = self.id() * 3;
        self.repos[repo].events.push(IssueEvent { id, number, actor, event, commit, created, detail });
        id
    }

    /// Closes an issue, or a pull request without merging it.
    pub fn close_issue(&mut self, repo: RepoIx, number: u32, by: Option<UserIx>) {
        self.close_as(repo, number, by, None);
    }

    /// Closes an issue for another reason than that it is done: `not_planned` or `duplicate`.
    pub fn close_issue_as(&mut self, repo: RepoIx, number: u32, by: Option<UserIx>, reason: &'static str) {
        self.close_as(repo, number, by, Some(reason));
    }

    fn close_as(&mut self, repo: RepoIx, number: u32, by: Option<UserIx>, reason: Option<&'static str>) {
        self.add_event(repo, number, by, "closed", None, Detail::Closed(reason));
        let now = self.clock;
        let issue = self.issue_mut(repo, number);
        (issue.open, issue.closed, issue.closed_by) = (false, Some(now), by);
        let is_pull = issue.pull.is_some();
        if !is_pull {
            issue.state_reason = Some(reason.unwrap_or("completed"));
        }
        self.issue_feed(repo, number, by, "closed");
    }

    /// Gives an issue a type, such as `Bug`.
    pub fn set_issue_type(&mut self, repo: RepoIx, number: u32, kind: &'static str) {
        let by = self.actor(repo);
        self.add_event(repo, number, Some(by), "issue_type_added", None, Detail::None);
        self.issue_mut(repo, number).kind = Some(kind);
    }

    fn issue_feed(&mut self, repo: RepoIx, number: u32, by: Option<UserIx>, action: &'static str) {
        let payload = match self.issue(repo, number).pull {
            Some(_) => Payload::PullRequest { action, number },
            None => Payload::Issues { action, number },
        };
        self.feed(repo, by.unwrap_or(0), payload);
    }

    pub fn reopen_issue(&mut self, repo: RepoIx, number: u32, by: Option<UserIx>) {
        self.add_event(repo, number, by, "reopened", None, Detail::None);
        let issue = self.issue_mut(repo, number);
        (issue.open, issue.closed, issue.closed_by) = (true, None, None);
        if issue.pull.is_none() {
            issue.state_reason = Some("reopened");
        }
        self.issue_feed(repo, number, by, "reopened");
    }

    pub fn edit_issue_title(&mut self, repo: RepoIx, number: u32, title: &str) {
        let from = self.issue(repo, number).title.to_string();
        let by = self.issue(repo, number).user;
        self.add_event(repo, number, by, "renamed", None, Detail::Rename { from, to: title.into() });
        self.issue_mut(repo, number).title = title.into();
    }

    pub fn edit_issue_body(&mut self, repo: RepoIx, number: u32, body: &str) {
        self.touch_issue(repo, number);
        self.issue_mut(repo, number).body = Some(body.into());
    }

    /// GitHub: a deleted issue answers 410, and is in no list any more; nor are its comments and events.
    pub fn delete_issue(&mut self, repo: RepoIx, number: u32) {
        self.touch_issue(repo, number);
        self.issue_mut(repo, number).deleted = true;
        let r = &mut self.repos[repo];
        let own = r.comments.iter_mut().chain(&mut r.review_comments).filter(|comment| comment.on == number);
        own.for_each(|comment| comment.deleted = true);
    }

    /// GitHub: what a banned account wrote is nowhere any more; an issue or pull request of its answers 404.
    pub fn remove_issue(&mut self, repo: RepoIx, number: u32) {
        self.delete_issue(repo, number);
        self.issue_mut(repo, number).removed = true;
    }

    /// GitHub: a transferred issue is a new one in the other repository, and its old address leads there.
    pub fn transfer_issue(&mut self, repo: RepoIx, number: u32, to: RepoIx) -> u32 {
        let (user, title) = (self.issue(repo, number).user, self.issue(repo, number).title.clone());
        let there = self.open_issue(to, user, &title, None);
        // GitHub: its comments are made anew there, with their own dates.
        let own = |comment: &&Comment| comment.on == number && !comment.deleted;
        let comments: Vec<_> = self.repos[repo]
            .comments
            .iter()
            .filter(own)
            .map(|comment| (comment.user, comment.body.clone(), comment.created, comment.updated))
            .collect();
        for (user, body, created, updated) in comments {
            let (id, deleted, review) = (self.id(), false, None);
            self.repos[to].comments.push(Comment { id, on: there, user, body, created, updated, deleted, review });
            self.issue_mut(to, there).comments += 1;
        }
        self.delete_issue(repo, number);
        self.issue_mut(repo, number).moved_to = Some((to, there));
        there
    }

    pub fn label_issue(&mut self, repo: RepoIx, number: u32, label: &str) {
        let at = self.label_ix(repo, label);
        let l = &self.repos[repo].labels[at as usize];
        let detail = Detail::Label { name: l.name.clone(), color: l.color };
        let by = self.actor(repo);
        self.add_event(repo, number, Some(by), "labeled", None, detail);
        self.issue_mut(repo, number).labels.push(at);
        self.issue_feed(repo, number, Some(by), "labeled");
    }

    pub fn unlabel_issue(&mut self, repo: RepoIx, number: u32, label: &str) {
        let at = self.label_ix(repo, label);
        let l = &self.repos[repo].labels[at as usize];
        let detail = Detail::Label { name: l.name.clone(), color: l.color };
        let by = self.actor(repo);
        self.add_event(repo, number, Some(by), "unlabeled", None, detail);
        self.issue_mut(repo, number).labels.retain(|&l| l != at);
        self.issue_feed(repo, number, Some(by), "unlabeled");
    }

    pub fn assign(&mut self, repo: RepoIx, number: u32, user: UserIx, by: Option<UserIx>) {
        let detail = Detail::Assignee { assignee: Some(user), assigner: by };
        self.add_event(repo, number, Some(user), "assigned", None, detail);
        self.issue_mut(repo, number).assignees.push(user);
        self.issue_feed(repo, number, by, "assigned");
    }

    pub fn unassign(&mut self, repo: RepoIx, number: u32, user: UserIx, by: Option<UserIx>) {
        let detail = Detail::Assignee { assignee: Some(user), assigner: by };
        self.add_event(repo, number, Some(user), "unassigned", None, detail);
        self.issue_mut(repo, number).assignees.retain(|&u| u != user);
        self.issue_feed(repo, number, by, "unassigned");
    }

    pub fn set_milestone(&mut self, repo: RepoIx, number: u32, milestone: u32) {
        let title = self.repos[repo].milestones[milestone as usize].title.clone();
        let by = self.actor(repo);
        self.add_event(repo, number, Some(by), "milestoned", None, Detail::Milestone(title));
        self.issue_mut(repo, number).milestone = Some(milestone);
    }

    pub fn lock_issue(&mut self, repo: RepoIx, number: u32) {
        let by = self.actor(repo);
        self.add_event(repo, number, Some(by), "locked", None, Detail::Lock(Some("too heated")));
        self.issue_mut(repo, number).locked = true;
    }

    pub fn add_comment(&mut self, repo: RepoIx, number: u32, user: Option<UserIx>, body: &str) -> u64 {
        let now = self.touch_issue(repo, number);
        let id = self.id();
        let (body, deleted, review) = (body.into(), false, None);
        self.repos[repo].comments.push(Comment {
            id,
            on: number,
            user,
            body,
            created: now,
            updated: now,
            deleted,
            review,
        });
        self.issue_mut(repo, number).comments += 1;
        let comment = self.repos[repo].comments.len() - 1;
        self.feed(repo, user.unwrap_or(0), Payload::IssueComment { comment });
        id
    }

    /// GitHub: editing a comment leaves no feed event and does not bump the issue.
    pub fn edit_comment(&mut self, repo: RepoIx, id: u64, body: &str) {
        let now = self.tick(60);
        let r = &mut self.repos[repo];
        let comment = r.comments.iter_mut().chain(&mut r.review_comments).chain(&mut r.commit_comments);
        let comment = comment.filter(|c| c.id == id).last().expect("a comment of that id");
        (comment.body, comment.updated) = (body.into(), now);
    }

    pub fn delete_comment(&mut self, repo: RepoIx, id: u64) {
        let now = self.tick(60);
        let comment = self.repos[repo].comments.iter_mut().find(|c| c.id == id).expect("a comment of that id");
        comment.deleted = true;
        let number = comment.on;
        let issue = self.issue_mut(repo, number);
        issue.comments -= 1;
        issue.updated = now;
    }

    /// GitHub: a comment of a banned account is gone as if it had been deleted, and its issue is not bumped.
    pub fn remove_comment(&mut self, repo: RepoIx, id: u64) {
        let comment = self.repos[repo].comments.iter_mut().find(|c| c.id == id).expect("a comment of that id");
        comment.deleted = true;
        let number = comment.on;
        self.issue_mut(repo, number).comments -= 1;
    }

    // ---- pull requests

    pub fn open_pull(&mut self, repo: RepoIx, new: NewPull) -> u32 {
        let base = self.repos[repo].branches[&new.base_ref];
        let author = self.person_of(new.user);
        let mut head = base;
        let mut commits = vec![];
        for _ in 0..new.commits {
            let message = self.sentence();
            head = self.new_commit(repo, &[head], author, &message);
            commits.push(head);
        }
        self.point(new.head_repo, &new.head_ref, head, author);
        let number = self.new_issue(repo, Some(new.user), &new.title, new.body.as_deref());
        let id = self.id();
        let owner = self.repos[new.head_repo].owner;
        let files = (1 + self.below(9)) as u32;
        let pull = Pull {
            id,
            head_repo: Some(new.head_repo),
            head_user: Some(owner),
            head_owner: self.users[owner as usize].login.clone(),
            head_ref: new.head_ref,
            base_ref: new.base_ref,
            head,
            base,
            commits,
            merged: None,
            merged_by: None,
            merge_commit: None,
            draft: new.draft,
            reviewers: vec![],
            files,
        };
        self.issue_mut(repo, number).pull = Some(Box::new(pull));
        self.feed(repo, new.user, Payload::PullRequest { action: "opened", number });
        number
    }

    fn pull_mut(&mut self, repo: RepoIx, number: u32) -> &mut Pull {
        self.issue_mut(repo, number).pull.as_mut().expect("a pull request")
    }

    fn pull_author(&mut self, repo: RepoIx, number: u32) -> u32 {
        let user = self.issue(repo, number).user.unwrap_or(0);
        self.person_of(user)
    }

    /// Adds commits to a pull request's head. GitHub: neither an issue event nor a feed event of the pull request
    /// tells of it, but it is bumped.
    pub fn push_to_pull(&mut self, repo: RepoIx, number: u32, n: usize) -> Vec<CommitIx> {
        let author = self.pull_author(repo, number);
        let mut head = self.pull_mut(repo, number).head;
        let mut made = vec![];
        for _ in 0..n {
            let message = self.sentence();
            head = self.new_commit(repo, &[head], author, &message);
            made.push(head);
        }
        self.touch_issue(repo, number);
        let pull = self.pull_mut(repo, number);
        pull.head = head;
        pull.commits.extend(&made);
        let (home, branch) = (pull.head_repo, pull.head_ref.clone());
        if let Some(home) = home {
            self.point(home, &branch, head, author);
        }
        made
    }

    /// Replaces all commits of a pull request by `n` new ones.
    pub fn force_push_pull(&mut self, repo: RepoIx, number: u32, n: usize) -> Vec<CommitIx> {
        let base = self.pull_mut(repo, number).base;
        let pull = self.pull_mut(repo, number);
        pull.commits.clear();
        pull.head = base;
        let made = self.push_to_pull(repo, number, n);
        let (head, user) = (*made.last().expect("at least one commit"), self.issue(repo, number).user);
        self.add_event(repo, number, user, "head_ref_force_pushed", Some(head), Detail::None);
        made
    }

    /// Merges with a merge commit, as the web does: `web-flow` commits it.
    pub fn merge_pull(&mut self, repo: RepoIx, number: u32, by: Option<UserIx>) -> CommitIx {
        let (head, base_ref) = {
            let pull = self.pull_mut(repo, number);
            (pull.head, pull.base_ref.clone())
        };
        let onto = self.repos[repo].branches[&base_ref];
        let author = self.person_of(by.unwrap_or(0));
        let message = format!("Merge pull request #{number}\n\n{}", self.issue(repo, number).title);
        let merge = self.new_commit(repo, &[onto, head], author, &message);
        self.point(repo, &base_ref, merge, author);
        self.add_event(repo, number, by, "merged", Some(merge), Detail::None);
        let now = self.clock;
        let pull = self.pull_mut(repo, number);
        (pull.merged, pull.merged_by, pull.merge_commit) = (Some(now), by, Some(merge));
        let id = self.id() * 3;
        let closed = IssueEvent {
            id,
            number,
            actor: by,
            event: "closed",
            commit: None,
            created: now,
            detail: Detail::Closed(None),
        };
        self.repos[repo].events.push(closed);
        let issue = self.issue_mut(repo, number);
        (issue.open, issue.closed, issue.closed_by) = (false, Some(now), by);
        self.issue_feed(repo, number, by, "merged");
        merge
    }

    pub fn add_review(
        &mut self,
        repo: RepoIx,
        number: u32,
        user: Option<UserIx>,
        state: &'static str,
        body: &str,
    ) -> u64 {
        let now = self.touch_issue(repo, number);
        let id = self.id();
        let commit = Some(self.pull_mut(repo, number).head);
        self.repos[repo].reviews.push(Review {
            id,
            number,
            user,
            state,
            body: body.into(),
            submitted: (state != "PENDING").then_some(now),
            commit,
        });
        let review = self.repos[repo].reviews.len() - 1;
        self.feed(repo, user.unwrap_or(0), Payload::Review { review, action: "created" });
        id
    }

    pub fn add_review_comment(
        &mut self,
        repo: RepoIx,
        number: u32,
        review: Option<u64>,
        user: Option<UserIx>,
        body: &str,
        reply_to: Option<u64>,
    ) -> u64 {
        let now = self.touch_issue(repo, number);
        let id = self.id();
        let head = self.pull_mut(repo, number).head;
        let spot = ReviewSpot {
            review,
            commit: head,
            original_commit: head,
            path: "src/lib.rs".into(),
            position: Some(4),
            original_position: 4,
            reply_to,
        };
        self.repos[repo].review_comments.push(Comment {
            id,
            on: number,
            user,
            body: body.into(),
            created: now,
            updated: now,
            deleted: false,
            review: Some(Box::new(spot)),
        });
        let comment = self.repos[repo].review_comments.len() - 1;
        self.feed(repo, user.unwrap_or(0), Payload::ReviewComment { comment });
        id
    }

    pub fn delete_review_comment(&mut self, repo: RepoIx, id: u64) {
        let comment = self.repos[repo].review_comments.iter_mut().find(|c| c.id == id);
        let comment = comment.expect("a review comment of that id");
        comment.deleted = true;
        let number = comment.on;
        self.touch_issue(repo, number);
    }

    pub fn dismiss_review(&mut self, repo: RepoIx, id: u64, by: Option<UserIx>, message: &str) {
        let review = self.repos[repo].reviews.iter().position(|r| r.id == id).expect("a review of that id");
        let (number, state) = (self.repos[repo].reviews[review].number, self.repos[repo].reviews[review].state);
        let detail = Detail::Dismissed { review: id, state: state.to_lowercase(), message: Some(message.into()) };
        self.add_event(repo, number, by, "review_dismissed", None, detail);
        self.repos[repo].reviews[review].state = "DISMISSED";
        self.feed(repo, by.unwrap_or(0), Payload::Review { review, action: "dismissed" });
    }

    pub fn request_review(&mut self, repo: RepoIx, number: u32, reviewer: UserIx) {
        let requester = self.actor(repo);
        let detail = Detail::Reviewer { requester, reviewer };
        self.add_event(repo, number, Some(requester), "review_requested", None, detail);
        self.pull_mut(repo, number).reviewers.push(reviewer);
    }
}
