//! How repositories change: every change bumps what GitHub would bump, and leaves its issue event and feed entry.
//! The generator builds its worlds with the same steps.
use super::world::*;

impl World {
    // ---- repositories

    pub fn add_repo(&mut self, full_name: &str) -> RepoIx {
        let (owner, name) = full_name.split_once('/').expect("owner/name");
        let owner = match self.find_user(owner) {
            Some(u) => u,
            None => self.add_user(owner, UserKind::Organization),
        };
        let ix = self.repos.len();
        let now = self.tick(60);
        self.repos.push(Repo {
            id: 720_000_000 + ix as u64 * 1_117,
            owner,
            name: name.into(),
            description: Some(format!("{name}, kept by the Contoso open-source office")),
            homepage: None,
            state: RepoState::Live,
            private: false,
            archived: false,
            has_issues: true,
            has_pull_requests: true,
            stars_denied: false,
            parent: None,
            network: ix,
            created: now,
            updated: now,
            pushed: now,
            default_branch: "main".into(),
            topics: vec![],
            languages: vec![],
            labels: vec![],
            milestones: vec![],
            branches: Default::default(),
            old_branches: Default::default(),
            tags: Default::default(),
            releases: vec![],
            issues: vec![],
            comments: vec![],
            review_comments: vec![],
            commit_comments: vec![],
            reviews: vec![],
            events: vec![],
            stars: vec![],
            subscribers: vec![],
            forks: vec![],
            collaborators: vec![],
            feed: vec![],
        });
        self.cache.repos.push(RepoCache::default());
        ix
    }

    /// Forks a repository with its branches and tags as they are now.
    pub fn fork(&mut self, parent: RepoIx, full_name: &str) -> RepoIx {
        let fork = self.add_repo(full_name);
        let (branches, tags, network, description) = {
            let p = &self.repos[parent];
            (p.branches.clone(), p.tags.clone(), p.network, p.description.clone())
        };
        let now = self.clock;
        let f = &mut self.repos[fork];
        (f.branches, f.tags, f.network, f.description) = (branches, tags, network, description);
        f.parent = Some(parent);
        // GitHub: a fork keeps the time of its parent's last push until it is pushed to.
        f.has_issues = false;
        let (pushed, languages) = (self.repos[parent].pushed, self.repos[parent].languages.clone());
        self.repos[fork].pushed = pushed;
        self.repos[fork].languages = languages;
        self.repos[parent].forks.push(fork);
        self.repos[parent].updated = now;
        let owner = self.repos[fork].owner;
        self.feed(parent, owner, Payload::Fork { forkee: fork });
        fork
    }

    pub fn rename_repo(&mut self, repo: RepoIx, new_name: &str) {
        let old = self.full_name(repo).to_lowercase();
        self.repos[repo].name = new_name.into();
        self.touch(repo, 60);
        self.old_names.insert(old, repo);
    }

    /// Gives a repository to another owner. GitHub: its old address leads to the new one.
    pub fn transfer_repo(&mut self, repo: RepoIx, new_owner: &str) {
        let old = self.full_name(repo).to_lowercase();
        let owner = match self.find_user(new_owner) {
            Some(u) => u,
            None => self.add_user(new_owner, UserKind::Organization),
        };
        let login = self.users[owner as usize].login.clone();
        self.repos[repo].owner = owner;
        self.touch(repo, 60);
        self.old_names.insert(old, repo);
        for pull in self.pulls_mut().filter(|p| p.head_repo == Some(repo)) {
            (pull.head_user, pull.head_owner) = (Some(owner), login.clone());
        }
    }

    /// Renames a user or an organization. GitHub: old addresses of its repositories lead to the new ones, that of its
    /// profile is free for others.
    pub fn rename_user(&mut self, old: &str, new: &str) {
        let user = self.user(old);
        let now = self.tick(60);
        for repo in (0..self.repos.len()).filter(|&r| self.repos[r].owner == user) {
            if self.repos[repo].state != RepoState::Deleted {
                self.old_names.insert(self.full_name(repo).to_lowercase(), repo);
            }
        }
        self.by_login.remove(&old.to_lowercase());
        self.by_login.insert(new.to_lowercase(), user);
        self.former_logins.push((user, now, self.users[user as usize].login.clone()));
        let u = &mut self.users[user as usize];
        (u.login, u.updated) = (new.into(), now);
        for pull in self.pulls_mut().filter(|p| p.head_user == Some(user)) {
            pull.head_owner = new.into();
        }
    }

    fn pulls_mut(&mut self) -> impl Iterator<Item = &mut Pull> {
        self.repos.iter_mut().flat_map(|r| &mut r.issues).filter_map(|i| i.pull.as_deref_mut())
    }

    /// Deletes an account. GitHub: what it wrote stays without a user, its own repositories, stars and roles go; git
    /// commits are nobody's any more.
    pub fn account_becomes_ghost(&mut self, user: UserIx) {
        self.tick(60);
        let ghost = self.user("ghost");
        self.by_login.remove(&self.users[user as usize].login.to_lowercase());
        for repo in (0..self.repos.len()).filter(|&r| self.repos[r].owner == user).collect::<Vec<_>>() {
            self.delete_repo(repo);
        }
        for person in self.people.iter_mut().filter(|p| p.account == Account::User(user)) {
            person.account = Account::Null;
        }
        self.untie(user);
        let forget = |who: &mut Option<UserIx>| {
            who.take_if(|u| *u == user);
        };
        let replace = |who: &mut UserIx| {
            if *who == user {
                *who = ghost;
            }
        };
        for r in &mut self.repos {
            for i in &mut r.issues {
                forget(&mut i.user);
                forget(&mut i.closed_by);
                i.assignees.retain(|&u| u != user);
                if let Some(p) = &mut i.pull {
                    forget(&mut p.merged_by);
                    forget(&mut p.head_user);
                    p.reviewers.retain(|&u| u != user);
                }
            }
            r.comments.iter_mut().chain(&mut r.review_comments).chain(&mut r.commit_comments).for_each(|c| {
                forget(&mut c.user);
            });
            r.reviews.iter_mut().for_each(|x| forget(&mut x.user));
            r.milestones.iter_mut().for_each(|m| forget(&mut m.creator));
            r.releases.iter_mut().for_each(|x| replace(&mut x.author));
            for e in &mut r.events {
                forget(&mut e.actor);
                match &mut e.detail {
                    Detail::Assignee { assignee, assigner } => {
                        forget(assignee);
                        forget(assigner);
                    }
                    Detail::Reviewer { requester, reviewer } => {
                        replace(requester);
                        replace(reviewer);
                    }
                    _ => {}
                }
            }
            for e in &mut r.feed {
                replace(&mut e.actor);
                if let Payload::Member { user } = &mut e.payload {
                    replace(user);
                }
            }
            r.stars.retain(|s| s.user != user);
            r.subscribers.retain(|&u| u != user);
            r.collaborators.retain(|c| c.0 != user);
        }
    }

    /// GitHub: pull requests from a deleted fork keep their label and lose their head repository.
    pub fn delete_repo(&mut self, repo: RepoIx) {
        self.tick(60);
        self.repos[repo].state = RepoState::Deleted;
        let parent = self.repos[repo].parent;
        if let Some(parent) = parent {
            self.repos[parent].forks.retain(|&f| f != repo);
            for pull in self.repos[parent].issues.iter_mut().filter_map(|i| i.pull.as_mut()) {
                if pull.head_repo == Some(repo) {
                    pull.head_repo = None;
                    pull.head_user = None;
                }
            }
        }
    }

    pub fn make_private(&mut self, repo: RepoIx) {
        self.repos[repo].private = true;
        self.touch(repo, 60);
    }

    pub fn make_public(&mut self, repo: RepoIx) {
        self.repos[repo].private = false;
        self.touch(repo, 60);
        let owner = self.repos[repo].owner;
        self.feed(repo, owner, Payload::Public);
    }

    /// Answers 451 from now on.
    pub fn take_down(&mut self, repo: RepoIx) {
        self.repos[repo].state = RepoState::Dmca;
    }

    pub(super) fn touch(&mut self, repo: RepoIx, seconds: i64) -> Time {
        let now = self.tick(seconds);
        self.repos[repo].updated = now;
        now
    }

    pub fn set_topics(&mut self, repo: RepoIx, topics: &[&str]) {
        self.touch(repo, 60);
        self.repos[repo].topics = topics.iter().map(|t| t.to_string()).collect();
    }

    pub fn lose_topic(&mut self, repo: RepoIx, topic: &str) {
        self.touch(repo, 60);
        self.repos[repo].topics.retain(|t| t != topic);
    }

    pub fn set_languages(&mut self, repo: RepoIx, languages: &[(&str, u64)]) {
        self.repos[repo].languages = languages.iter().map(|(l, b)| (l.to_string(), *b)).collect();
    }

    pub fn star(&mut self, repo: RepoIx, user: UserIx) {
        let at = self.touch(repo, 60);
        if self.repos[repo].stars.iter().all(|s| s.user != user) {
            self.repos[repo].stars.push(Star { user, at });
            self.feed(repo, user, Payload::Watch);
        }
    }

    /// GitHub: no event tells of a star that is taken back.
    pub fn unstar(&mut self, repo: RepoIx, user: UserIx) {
        self.touch(repo, 60);
        self.repos[repo].stars.retain(|s| s.user != user);
    }

    pub fn add_collaborator(&mut self, repo: RepoIx, user: UserIx, role: &'static str) {
        self.tick(60);
        self.repos[repo].collaborators.push((user, role));
        self.feed(repo, user, Payload::Member { user });
    }

    pub fn remove_collaborator(&mut self, repo: RepoIx, user: UserIx) {
        self.tick(60);
        self.repos[repo].collaborators.retain(|c| c.0 != user);
    }

    pub fn add_tag(&mut self, repo: RepoIx, tag: &str, at: CommitIx) {
        let now = self.touch(repo, 60);
        self.repos[repo].pushed = now;
        self.repos[repo].tags.insert(tag.into(), at);
        let actor = self.actor(repo);
        self.feed(repo, actor, Payload::Create { ref_type: "tag", name: Some(tag.into()) });
    }

    pub fn add_release(&mut self, repo: RepoIx, tag: &str, author: UserIx, body: Option<&str>) -> u64 {
        let now = self.tick(60);
        // GitHub: release ids still fit 32 bits.
        let id = self.id() % 400_000_000;
        let assets = vec![(format!("{}-{tag}.tar.gz", self.repos[repo].name), 48_213)];
        self.repos[repo].releases.push(Release {
            id,
            tag: tag.into(),
            name: Some(format!("Release {tag}")),
            body: body.map(Into::into),
            draft: false,
            prerelease: tag.contains('-'),
            author,
            created: now,
            updated: now,
            published: Some(now),
            assets,
            deleted: false,
        });
        let release = self.repos[repo].releases.len() - 1;
        self.feed(repo, author, Payload::Release { release });
        id
    }

    fn release_mut(&mut self, repo: RepoIx, id: u64) -> &mut Release {
        self.repos[repo].releases.iter_mut().find(|r| r.id == id).expect("a release of that id")
    }

    /// GitHub: no feed event tells of it.
    pub fn edit_release(&mut self, repo: RepoIx, id: u64, body: &str) {
        let now = self.tick(60);
        let release = self.release_mut(repo, id);
        (release.body, release.updated) = (Some(body.into()), now);
    }

    /// GitHub: the release's tag stays.
    pub fn delete_release(&mut self, repo: RepoIx, id: u64) {
        self.tick(60);
        self.release_mut(repo, id).deleted = true;
    }

    pub fn delete_tag(&mut self, repo: RepoIx, tag: &str) {
        let now = self.touch(repo, 60);
        self.repos[repo].pushed = now;
        self.repos[repo].tags.remove(tag).expect("a tag of that name");
        let actor = self.actor(repo);
        self.feed(repo, actor, Payload::Delete { ref_type: "tag", name: tag.into() });
    }

    /// Sets a tag to another commit; the feed doesn't tell of it.
    pub fn move_tag(&mut self, repo: RepoIx, tag: &str, to: CommitIx) {
        let now = self.touch(repo, 60);
        self.repos[repo].pushed = now;
        *self.repos[repo].tags.get_mut(tag).expect("a tag of that name") = to;
    }

    // ---- commits and branches

    pub(super) fn actor(&self, repo: RepoIx) -> UserIx {
        let r = &self.repos[repo];
        r.collaborators.first().map_or(r.owner, |c| c.0)
    }

    /// The git identity of a user.
    pub fn person_of(&mut self, user: UserIx) -> u32 {
        if let Some(p) = self.people.iter().position(|p| p.account == Account::User(user)) {
            return p as u32;
        }
        let u = &self.users[user as usize];
        let (name, email) = (
            u.name.clone().unwrap_or_else(|| u.login.clone()),
            u.email.clone().unwrap_or_else(|| format!("{}+{}@users.noreply.github.com", u.id, u.login)),
        );
        self.add_person(&name, &email, Account::User(user))
    }

    /// Takes a commit out of git: nothing knows its hash any more but what mentions it.
    pub fn lose_commit(&mut self, commit: CommitIx) {
        self.commits[commit as usize].network = usize::MAX;
    }

    /// Puts it back.
    pub fn restore_commit(&mut self, repo: RepoIx, commit: CommitIx) {
        self.commits[commit as usize].network = self.repos[repo].network;
    }

    /// Makes a commit that no branch points at yet.
    pub fn new_commit(&mut self, repo: RepoIx, parents: &[CommitIx], author: u32, message: &str) -> CommitIx {
        let ix = self.commits.len() as CommitIx;
        let seed = self.seed;
        let a = xxhash_rust::xxh3::xxh3_128_with_seed(&ix.to_le_bytes(), seed).to_be_bytes();
        let b = xxhash_rust::xxh3::xxh3_64_with_seed(&a, seed).to_be_bytes();
        let mut sha = [0; 20];
        sha[..16].copy_from_slice(&a);
        sha[16..].copy_from_slice(&b[..4]);
        let committed = self.tick(30);
        let files = 1 + (self.rand() % 7) as u32;
        // web-flow is the committer of merges made on the web.
        let committer = if parents.len() > 1 { 0 } else { author };
        self.commits.push(Commit {
            sha,
            author,
            committer,
            authored: committed - 20,
            committed,
            parents: parents.into(),
            message: message.into(),
            network: self.repos[repo].network,
            files,
            comments: 0,
            verified: parents.len() > 1,
        });
        self.by_sha.insert(sha, ix);
        ix
    }

    /// Pushes `n` new commits to a branch, which is made from the default branch when it isn't there.
    pub fn push(&mut self, repo: RepoIx, branch: &str, n: usize, author: u32) -> Vec<CommitIx> {
        let default = self.repos[repo].default_branch.clone();
        let before = self.repos[repo].branches.get(branch).copied();
        let mut head = before.or_else(|| self.repos[repo].branches.get(&default).copied());
        let mut made = vec![];
        for _ in 0..n {
            let message = self.sentence();
            let c = self.new_commit(repo, head.as_slice(), author, &message);
            head = Some(c);
            made.push(c);
        }
        if let Some(head) = head {
            self.point(repo, branch, head, author);
        }
        made
    }

    /// Sets a branch to a commit: a push, a new branch, or a force-push.
    pub fn point(&mut self, repo: RepoIx, branch: &str, to: CommitIx, pusher: u32) {
        let now = self.touch(repo, 5);
        self.repos[repo].pushed = now;
        let before = self.repos[repo].branches.insert(branch.into(), to);
        let actor = match self.people[pusher as usize].account {
            Account::User(u) => u,
            _ => self.actor(repo),
        };
        match before {
            None => self.feed(repo, actor, Payload::Create { ref_type: "branch", name: Some(branch.into()) }),
            Some(before) => {
                let push_id = self.id() * 4;
                let ref_name = format!("refs/heads/{branch}");
                self.feed(repo, actor, Payload::Push { push_id, ref_name, head: to, before });
            }
        }
    }

    pub fn create_branch(&mut self, repo: RepoIx, branch: &str, at: CommitIx) {
        let actor = self.actor(repo);
        let person = self.person_of(actor);
        self.point(repo, branch, at, person);
    }

    pub fn delete_branch(&mut self, repo: RepoIx, branch: &str) {
        let now = self.touch(repo, 60);
        self.repos[repo].pushed = now;
        self.repos[repo].branches.remove(branch);
        let actor = self.actor(repo);
        self.feed(repo, actor, Payload::Delete { ref_type: "branch", name: branch.into() });
    }

    /// GitHub: open pull requests go along with the branch that they are for, and its old address leads to the new.
    pub fn rename_default_branch(&mut self, repo: RepoIx, new: &str) {
        let now = self.touch(repo, 60);
        let r = &mut self.repos[repo];
        let old = std::mem::replace(&mut r.default_branch, new.into());
        if let Some(head) = r.branches.remove(&old) {
            r.branches.insert(new.into(), head);
        }
        r.old_branches.retain(|name, _| name != new);
        r.old_branches.values_mut().filter(|name| **name == old).for_each(|name| *name = new.into());
        for issue in r.issues.iter_mut().filter(|i| i.open) {
            if let Some(pull) = issue.pull.as_mut().filter(|p| p.base_ref == old) {
                pull.base_ref = new.into();
                issue.updated = now;
            }
        }
        r.old_branches.insert(old, new.into());
    }

    /// Throws away the newest `drop` commits of a branch (along first parents) and puts `n` new ones in their place.
    pub fn force_push(&mut self, repo: RepoIx, branch: &str, drop: usize, n: usize) -> Vec<CommitIx> {
        let mut head = self.repos[repo].branches[branch];
        for _ in 0..drop {
            head = *self.commits[head as usize].parents.first().unwrap_or(&head);
        }
        let actor = self.actor(repo);
        let person = self.person_of(actor);
        let mut made = vec![];
        for _ in 0..n {
            let message = self.sentence();
            head = self.new_commit(repo, &[head], person, &message);
            made.push(head);
        }
        self.point(repo, branch, head, person);
        made
    }

    pub fn comment_commit(&mut self, repo: RepoIx, commit: CommitIx, user: Option<UserIx>, body: &str) -> u64 {
        let now = self.tick(60);
        let id = self.id();
        self.commits[commit as usize].comments += 1;
        self.repos[repo].commit_comments.push(Comment {
            // GitHub: commit comment ids still fit 32 bits.
            id: id % 200_000_000,
            on: commit,
            user,
            body: body.into(),
            created: now,
            updated: now,
            deleted: false,
            review: None,
        });
        let comment = self.repos[repo].commit_comments.len() - 1;
        let actor = user.unwrap_or(0);
        self.feed(repo, actor, Payload::CommitComment { comment });
        id % 200_000_000
    }

    pub fn delete_commit_comment(&mut self, repo: RepoIx, id: u64) {
        self.tick(60);
        let comment = self.repos[repo].commit_comments.iter_mut().find(|c| c.id == id);
        let comment = comment.expect("a commit comment of that id");
        comment.deleted = true;
        self.commits[comment.on as usize].comments -= 1;
    }

    // ---- labels and milestones

    pub fn add_label(&mut self, repo: RepoIx, name: &str, description: Option<&str>) -> u32 {
        const COLORS: [&str; 6] = ["d73a4a", "0075ca", "cfd3d7", "a2eeef", "7057ff", "008672"];
        let id = self.id() * 2;
        let labels = &mut self.repos[repo].labels;
        labels.push(Label {
            id,
            name: name.into(),
            description: description.map(Into::into),
            color: COLORS[labels.len() % COLORS.len()],
            default: matches!(name, "bug" | "duplicate" | "enhancement" | "invalid" | "question" | "wontfix"),
            deleted: false,
        });
        labels.len() as u32 - 1
    }

    pub(super) fn label_ix(&self, repo: RepoIx, name: &str) -> u32 {
        let at = self.repos[repo].labels.iter().position(|l| l.name == name && !l.deleted);
        at.unwrap_or_else(|| panic!("no label {name}")) as u32
    }

    /// GitHub: renaming a label does not bump the issues that carry it.
    pub fn rename_label(&mut self, repo: RepoIx, name: &str, new_name: &str) {
        let at = self.label_ix(repo, name);
        self.tick(60);
        self.repos[repo].labels[at as usize].name = new_name.into();
    }

    /// GitHub: deleting a label takes it from its issues, without bumping them.
    pub fn delete_label(&mut self, repo: RepoIx, name: &str) {
        let at = self.label_ix(repo, name);
        self.tick(60);
        self.repos[repo].labels[at as usize].deleted = true;
        for issue in &mut self.repos[repo].issues {
            issue.labels.retain(|&l| l != at);
        }
    }

    pub fn add_milestone(&mut self, repo: RepoIx, title: &str, creator: Option<UserIx>) -> u32 {
        let now = self.tick(60);
        let id = self.id() % 20_000_000;
        let milestones = &mut self.repos[repo].milestones;
        let number = milestones.len() as u32 + 1;
        milestones.push(Milestone {
            id,
            number,
            title: title.into(),
            description: (!number.is_multiple_of(2)).then(|| "What must be done first".into()),
            creator,
            open: true,
            created: now,
            updated: now,
            closed: None,
            due: number.is_multiple_of(2).then_some(now + 86_400 * 30),
        });
        number - 1
    }

    /// GitHub: neither is a change of the issues that carry it.
    pub fn recolor_label(&mut self, repo: RepoIx, name: &str, color: &'static str) {
        let at = self.label_ix(repo, name);
        self.tick(60);
        self.repos[repo].labels[at as usize].color = color;
    }

    /// GitHub: renaming a milestone does not bump the issues that carry it.
    pub fn rename_milestone(&mut self, repo: RepoIx, number: u32, title: &str) {
        let now = self.tick(60);
        let milestone = &mut self.repos[repo].milestones[number as usize - 1];
        (milestone.title, milestone.updated) = (title.into(), now);
    }

    pub fn close_milestone(&mut self, repo: RepoIx, number: u32) {
        let now = self.tick(60);
        let m = &mut self.repos[repo].milestones[number as usize - 1];
        (m.open, m.closed, m.updated) = (false, Some(now), now);
    }
}
