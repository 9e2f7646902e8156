//! Large worlds, and the texts that all worlds are made of.
use super::mutate_issues::NewPull;
use super::world::*;

/// How much a generated repository holds.
#[derive(Clone, Copy, Debug)]
pub struct WorldSize {
    pub commits: usize,
    pub issues: usize,
    pub pulls: usize,
    /// Issue comments for every hundred issues and pull requests.
    pub comments_per_100: usize,
    /// Review comments, and as many reviews, for every hundred pull requests.
    pub reviews_per_100: usize,
    pub stars: usize,
    pub users: usize,
    pub forks: usize,
}

impl WorldSize {
    pub const SMALL: WorldSize = WorldSize::of(500, 100, 60);
    pub const MEDIUM: WorldSize = WorldSize::of(10_000, 2_000, 1_000);
    pub const LARGE: WorldSize = WorldSize::of(100_000, 20_000, 10_000);

    /// The given numbers, the rest in proportion.
    pub const fn of(commits: usize, issues: usize, pulls: usize) -> WorldSize {
        let users = 50 + issues / 20;
        WorldSize {
            commits,
            issues,
            pulls,
            comments_per_100: 150,
            reviews_per_100: 80,
            stars: users / 2,
            users,
            forks: 5 + pulls / 500,
        }
    }
}

const WORDS: &[&str] = &[
    "add",
    "fix",
    "the",
    "parser",
    "when",
    "a",
    "request",
    "fails",
    "while",
    "reading",
    "config",
    "cache",
    "value",
    "without",
    "header",
    "support",
    "for",
    "new",
    "token",
    "format",
    "of",
    "release",
    "build",
    "and",
    "test",
    "page",
    "update",
    "docs",
    "remove",
    "old",
    "client",
    "retry",
    "on",
    "timeout",
    "error",
    "message",
    "in",
    "worker",
    "queue",
    "rename",
    "field",
    "schema",
    "index",
    "slow",
    "query",
    "Größe",
    "naïve",
    "日本語",
    "crash",
    "again",
];

impl World {
    /// Words enough for `len` bytes, or a few more.
    pub fn text(&mut self, len: usize) -> String {
        let mut s = String::with_capacity(len + 16);
        while s.len() < len {
            let w = WORDS[self.below(WORDS.len())];
            if !s.is_empty() {
                s.push(if self.chance(6) { '\n' } else { ' ' });
            }
            s.push_str(w);
        }
        s
    }

    /// A line for a title or a commit.
    pub fn sentence(&mut self) -> String {
        let len = 20 + self.below(40);
        self.text(len).replace('\n', " ")
    }

    /// The repository `contoso/huge` of that size, and nothing else but its forks.
    pub fn sized(seed: u64, size: WorldSize) -> World {
        let mut w = World::empty(seed);
        let users: Vec<UserIx> =
            (0..size.users.max(4)).map(|i| w.add_user(&format!("dev{i}"), UserKind::User)).collect();
        let mut people: Vec<u32> = users.iter().map(|&u| w.person_of(u)).collect();
        for i in 0..users.len() / 10 {
            people.push(w.add_person(&format!("Mail {i}"), &format!("mail{i}@example.org"), Account::Null));
        }
        let repo = w.add_repo("contoso/huge");
        for (i, &u) in users.iter().take(8).enumerate() {
            w.add_collaborator(repo, u, ["admin", "write", "read"][i % 3]);
        }
        for l in ["bug", "enhancement", "question", "good first issue", "area/api", "p1", "🚀 perf", "100% sure"] {
            w.add_label(repo, l, Some("A label"));
        }
        for m in 1..=4 {
            w.add_milestone(repo, &format!("v{m}.0"), Some(users[0]));
        }
        w.set_topics(repo, &["mirror", "rust", "github"]);
        w.set_languages(repo, &[("Rust", 812_331), ("Shell", 9_120)]);
        for _ in 0..3 {
            let who = people[0];
            w.push(repo, "main", 1, who);
        }
        let forks: Vec<RepoIx> = (0..size.forks)
            .map(|i| {
                let login = w.users[users[i % users.len()] as usize].login.clone();
                w.fork(repo, &format!("{login}/huge{}", if i < users.len() { String::new() } else { i.to_string() }))
            })
            .collect();

        // Issues, pull requests and pushes are spread evenly over the world's life.
        let total = size.issues + size.pulls;
        let mut opened_pulls = 0;
        for i in 0..total {
            let pulls_due = (i + 1) * size.pulls / total.max(1);
            let user = users[w.below(users.len())];
            let title = w.sentence();
            let len = 200 + w.below(400);
            let body = w.text(len);
            let number = if pulls_due > opened_pulls {
                opened_pulls += 1;
                let room = size.commits.saturating_sub(w.commits.len()) > size.pulls - opened_pulls;
                let commits = 1 + if room { w.below(3) } else { 0 };
                let (head_repo, head_ref) = if w.chance(50) && !forks.is_empty() {
                    (forks[w.below(forks.len())], format!("topic-{i}"))
                } else {
                    (repo, format!("topic-{i}"))
                };
                let number = w.open_pull(
                    repo,
                    NewPull {
                        user,
                        head_repo,
                        head_ref: head_ref.clone(),
                        base_ref: "main".into(),
                        commits,
                        title,
                        body: Some(body),
                        draft: i % 17 == 0,
                    },
                );
                if w.below(100) < size.reviews_per_100 {
                    let reviewer = users[w.below(users.len())];
                    let id = w.add_review(repo, number, Some(reviewer), "APPROVED", "Looks right");
                    let text = w.sentence();
                    w.add_review_comment(repo, number, Some(id), Some(reviewer), &text, None);
                }
                match i % 10 {
                    0 => {}
                    1 | 2 => w.close_issue(repo, number, Some(user)),
                    _ => {
                        w.merge_pull(repo, number, Some(users[i % 8 % users.len()]));
                    }
                }
                // Branches are deleted when their work is done, as most are.
                if !w.issue(repo, number).open {
                    w.repos[head_repo].branches.remove(&head_ref);
                }
                number
            } else {
                let number = w.open_issue(repo, Some(user), &title, Some(&body));
                if w.chance(30) {
                    w.label_issue(repo, number, "bug");
                }
                if w.chance(20) {
                    let a = users[w.below(8)];
                    w.assign(repo, number, a, Some(users[0]));
                }
                if w.chance(10) {
                    w.set_milestone(repo, number, i as u32 % 4);
                }
                number
            };
            let mut due = size.comments_per_100 / 100;
            if w.below(100) < size.comments_per_100 % 100 {
                due += 1;
            }
            for _ in 0..due {
                let who = users[w.below(users.len())];
                let len = 60 + w.below(300);
                let text = w.text(len);
                w.add_comment(repo, number, Some(who), &text);
            }
            if w.issue(repo, number).pull.is_none() && w.chance(60) {
                w.close_issue(repo, number, Some(user));
            }
            // Direct pushes make up the number of commits.
            let target = size.commits * (i + 1) / total;
            let planned = (size.pulls - opened_pulls) * 3 * (i + 1) / total.max(1);
            let n = target.saturating_sub(w.commits.len() + planned).min(200);
            if n > 0 {
                let who = people[w.below(people.len())];
                w.push(repo, "main", n, who);
            }
        }
        while w.commits.len() < size.commits {
            let n = (size.commits - w.commits.len()).min(50);
            let who = people[w.below(people.len())];
            w.push(repo, "main", n, who);
        }
        let head = w.repos[repo].branches["main"];
        w.add_tag(repo, "v1.0", head);
        w.add_release(repo, "v1.0", users[0], Some("The first release"));
        for &user in users.iter().take(size.stars) {
            w.star(repo, user);
        }
        let contoso = w.user("contoso");
        w.acquaint(&users, &[contoso]);
        w
    }

    /// So many small repositories of `contoso`, whose people are the same and whose commits are their own.
    pub fn many(seed: u64, repositories: usize) -> World {
        let mut w = World::empty(seed);
        let users: Vec<UserIx> = (0..12).map(|i| w.add_user(&format!("dev{i}"), UserKind::User)).collect();
        for r in 0..repositories {
            w.small_repo(&format!("contoso/r{r:03}"), r, &users);
        }
        w
    }

    /// Makes one change somewhere, of one kind or another, and tells which repository it was in.
    pub fn something_happens(&mut self) -> RepoIx {
        let live = |r: &Repo| r.state == RepoState::Live && r.parent.is_none() && r.branches.contains_key("main");
        let repos: Vec<RepoIx> = (0..self.repos.len()).filter(|&r| live(&self.repos[r])).collect();
        let repo = repos[self.below(repos.len())];
        self.something_happens_in(repo);
        repo
    }

    /// Makes one change in a repository.
    pub fn something_happens_in(&mut self, repo: RepoIx) {
        let people: Vec<UserIx> =
            (0..self.users.len() as UserIx).filter(|&u| self.users[u as usize].login.starts_with("dev")).collect();
        let user = if people.is_empty() { self.repos[repo].owner } else { people[self.below(people.len())] };
        let person = self.person_of(user);
        let text = self.sentence();
        let open: Vec<u32> =
            self.repos[repo].issues.iter().filter(|i| i.open && !i.deleted).map(|i| i.number).collect();
        let any = (!open.is_empty()).then(|| open[self.below(open.len())]);
        let pulls: Vec<u32> = open.iter().copied().filter(|&n| self.issue(repo, n).pull.is_some()).collect();
        let pull = (!pulls.is_empty()).then(|| pulls[self.below(pulls.len())]);
        match (self.below(12), any, pull) {
            (0 | 1, ..) => _ = self.push(repo, "main", 1 + text.len() % 3, person),
            (2, ..) => _ = self.open_issue(repo, Some(user), &text, Some("made while you wait")),
            (3 | 4, Some(number), _) => _ = self.add_comment(repo, number, Some(user), &text),
            (5, Some(number), None) => self.close_issue(repo, number, Some(user)),
            (5, _, Some(number)) => _ = self.add_review(repo, number, Some(user), "APPROVED", &text),
            (6, Some(number), _) => self.edit_issue_title(repo, number, &text),
            (7, _, Some(number)) => _ = self.push_to_pull(repo, number, 1),
            (8, _, Some(number)) => _ = self.add_review_comment(repo, number, None, Some(user), &text, None),
            (9, ..) => self.star(repo, user),
            (10, ..) => {
                let head_ref = format!("work/{}", self.repos[repo].issues.len() + 1);
                let new = NewPull {
                    user,
                    head_repo: repo,
                    head_ref,
                    base_ref: "main".into(),
                    commits: 1,
                    title: text,
                    body: None,
                    draft: false,
                };
                self.open_pull(repo, new);
            }
            (11, ..) => {
                let comment = self.repos[repo].comments.iter().rev().find(|c| !c.deleted).map(|c| c.id);
                if let Some(id) = comment {
                    self.edit_comment(repo, id, &text);
                }
            }
            _ => _ = self.open_issue(repo, Some(user), &text, None),
        }
    }

    /// A repository with a little of everything, told from others by its number.
    pub(super) fn small_repo(&mut self, full_name: &str, r: usize, users: &[UserIx]) -> RepoIx {
        let repo = self.add_repo(full_name);
        let user = users[r % users.len()];
        let who = self.person_of(user);
        self.add_label(repo, "bug", None);
        self.push(repo, "main", 3 + r % 4, who);
        for i in 0..2 + r % 2 {
            let title = self.sentence();
            let number = self.open_issue(repo, Some(user), &title, None);
            self.label_issue(repo, number, "bug");
            let text = self.sentence();
            self.add_comment(repo, number, Some(users[(r + i) % users.len()]), &text);
        }
        let pull = NewPull {
            user,
            head_repo: repo,
            head_ref: "topic".to_owned(),
            base_ref: "main".to_owned(),
            commits: 1,
            title: "A change".to_owned(),
            body: None,
            draft: false,
        };
        let number = self.open_pull(repo, pull);
        self.merge_pull(repo, number, Some(users[0]));
        self.star(repo, user);
        repo
    }
}
