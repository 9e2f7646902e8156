//! A world with one repository for each thing that can be odd.
use super::mutate_issues::NewPull;
use super::world::*;

/// The repositories of [`World::edge_cases`].
pub mod names {
    /// Everything in it.
    pub const WEB: &str = "contoso/web";
    /// A fork of [`WEB`] with commits of its own, in another organization.
    pub const WEB_FORK: &str = "fabrikam/web-fork";
    /// No commit: 409.
    pub const EMPTY: &str = "contoso/empty";
    /// Pull requests are disabled; it has none.
    pub const NO_PULLS: &str = "contoso/no-pulls";
    /// Issues are disabled: 410. It has a pull request.
    pub const NO_ISSUES: &str = "contoso/no-issues";
    /// Private.
    pub const PRIVATE: &str = "contoso/private";
    pub const ARCHIVED: &str = "contoso/archived";
    /// 301 to [`NEW_NAME`] by its number.
    pub const OLD_NAME: &str = "contoso/old-name";
    pub const NEW_NAME: &str = "contoso/new-name";
    /// 451.
    pub const DMCA: &str = "contoso/dmca";
    /// 404.
    pub const GONE: &str = "contoso/gone";
    /// Pull request 1 has 260 commits, the last of which changes 350 files.
    pub const BIG_PR: &str = "contoso/big-pr";
    /// Stargazers are refused: 403.
    pub const NO_STARS: &str = "contoso/no-stars";
    /// Small and plain.
    pub const QUIET: &str = "contoso/quiet";

    /// All that answer 200.
    pub const ANSWERING: [&str; 11] =
        [WEB, WEB_FORK, EMPTY, NO_PULLS, NO_ISSUES, PRIVATE, ARCHIVED, NEW_NAME, BIG_PR, NO_STARS, QUIET];
}

impl World {
    /// The world of edge cases.
    pub fn edge_cases(seed: u64) -> World {
        let mut w = World::empty(seed);
        for login in ["alice", "bob", "carol", "dave", "erin", "frank-with-his-login-of-just-39-letters"] {
            w.add_user(login, UserKind::User);
        }
        w.add_user("mona-import", UserKind::Mannequin);
        let hidden = w.add_user("managed_emu", UserKind::User);
        w.users[hidden as usize].profile_hidden = true;
        w.web();
        for name in [names::QUIET, names::PRIVATE, names::ARCHIVED, names::NO_STARS] {
            w.plain(name);
        }
        let r = w.repo(names::PRIVATE);
        w.repos[r].private = true;
        let r = w.repo(names::ARCHIVED);
        w.repos[r].archived = true;
        let r = w.repo(names::NO_STARS);
        w.repos[r].stars_denied = true;
        w.add_repo(names::EMPTY);
        let r = w.plain(names::OLD_NAME);
        w.rename_repo(r, "new-name");
        let r = w.plain(names::DMCA);
        w.take_down(r);
        let r = w.plain(names::GONE);
        w.delete_repo(r);
        w.no_issues();
        let r = w.plain(names::NO_PULLS);
        w.repos[r].has_pull_requests = false;
        w.big_pr();
        let people = ["alice", "bob", "carol", "dave", "erin", "frank-with-his-login-of-just-39-letters"];
        let (people, orgs) = (people.map(|p| w.user(p)), ["contoso", "fabrikam"].map(|o| w.user(o)));
        w.acquaint(&people, &orgs);
        w
    }

    /// A repository with a little of the usual.
    pub fn plain(&mut self, name: &str) -> RepoIx {
        let r = self.add_repo(name);
        let alice = match self.find_user("alice") {
            Some(u) => u,
            None => self.add_user("alice", UserKind::User),
        };
        let person = self.person_of(alice);
        self.push(r, "main", 5, person);
        self.add_collaborator(r, alice, "admin");
        self.add_label(r, "bug", Some("Something isn't working"));
        self.open_issue(r, Some(alice), "It does not start", Some("Nothing happens."));
        self.label_issue(r, 1, "bug");
        self.add_comment(r, 1, Some(alice), "Still so.");
        self.close_issue(r, 1, Some(alice));
        let n = self.open_issue(r, Some(alice), "It is too quiet", None);
        self.star(r, alice);
        self.set_topics(r, &["plain"]);
        self.set_languages(r, &[("Go", 1_024)]);
        debug_assert_eq!(n, 2);
        r
    }

    fn no_issues(&mut self) {
        let r = self.add_repo(names::NO_ISSUES);
        let (alice, bob) = (self.user("alice"), self.user("bob"));
        let person = self.person_of(alice);
        self.push(r, "main", 3, person);
        self.repos[r].has_issues = false;
        self.pull(r, bob, r, "fix", 1, "A change all the same");
    }

    fn big_pr(&mut self) {
        let r = self.add_repo(names::BIG_PR);
        let (alice, bob) = (self.user("alice"), self.user("bob"));
        let person = self.person_of(alice);
        self.push(r, "main", 2, person);
        let n = self.pull(r, bob, r, "rewrite", 260, "Rewrite everything");
        let head = self.issue(r, n).pull.as_ref().unwrap().head;
        self.commits[head as usize].files = 350;
        self.issue_mut(r, n).pull.as_mut().unwrap().files = 350;
        // More files than GitHub will ever list.
        let vendored = self.push(r, "main", 1, person)[0];
        self.commits[vendored as usize].files = 3_200;
    }

    fn pull(&mut self, base: RepoIx, user: UserIx, home: RepoIx, branch: &str, commits: usize, title: &str) -> u32 {
        let body = Some("As discussed.\r\n\r\n- [x] tests".into());
        let (head_ref, base_ref) = (branch.into(), self.repos[base].default_branch.clone());
        let new =
            NewPull { user, head_repo: home, head_ref, base_ref, commits, title: title.into(), body, draft: false };
        self.open_pull(base, new)
    }

    fn web(&mut self) {
        let r = self.add_repo(names::WEB);
        let [alice, bob, carol, dave, erin] = ["alice", "bob", "carol", "dave", "erin"].map(|l| self.user(l));
        let frank = self.user("frank-with-his-login-of-just-39-letters");
        let (bot, ghost, mona) = (self.user("dependabot[bot]"), self.user("ghost"), self.user("mona-import"));
        let (a, b, c) = (self.person_of(alice), self.person_of(bob), self.person_of(carol));
        let robot = self.person_of(bot);
        for (u, role) in [(alice, "admin"), (bob, "write"), (carol, "read")] {
            self.add_collaborator(r, u, role);
        }
        self.repos[r].description = Some("The web site 🌍 of \"Contoso\"; back\\slash, ta\tb and \u{7f}".into());
        self.repos[r].homepage = Some("https://web.example.com".into());
        self.set_topics(r, &["web", "typescript", "kubernetes-operator"]);
        self.set_languages(r, &[("TypeScript", 5_000_000_000), ("C++", 120_000), ("Jupyter Notebook", 7)]);

        self.web_commits(r, a, b, c, robot);
        self.web_issues(r, [alice, bob, carol, dave], ghost, mona, bot, frank);
        self.web_pulls(r, [alice, bob, carol, dave, erin], ghost, bot);

        for u in [bob, carol, dave, frank, ghost] {
            self.star(r, u);
        }
        self.repos[r].subscribers = vec![alice, erin];
        for i in 0..30 {
            self.add_user(&format!("forker{i}"), UserKind::User);
            self.fork(r, &format!("forker{i}/web"));
        }
        let fork = self.fork(r, names::WEB_FORK);
        self.push(fork, "main", 4, c);
        self.push(fork, "fabrikam/special", 2, b);
        self.push(r, "main", 2, a);
        // Its documents are there for all to read, its profile isn't.
        let managed = self.user("managed_emu");
        self.add_comment(r, 8, Some(managed), "From a managed account");
        self.feed(r, bob, Payload::Future);
    }

    fn web_commits(&mut self, r: RepoIx, a: u32, b: u32, c: u32, robot: u32) {
        // GitHub: an e-mail that matches nobody gives null, or {}.
        let nobody = self.add_person("No Body", "nobody@example.org", Account::Null);
        let empty = self.add_person("Emp Ty", "empty@example.org", Account::Empty);
        // The same e-mail twice: at first it matches nobody, in a later commit it is erin's.
        let early = self.add_person("Erin Early", "erin@early.example", Account::Null);
        let erin = self.user("erin");
        let late = self.add_person("Erin Early", "erin@early.example", Account::User(erin));
        let blank = self.add_person("", "", Account::Null);
        let strange =
            self.add_person(&"Ünïcödé 🦀 ".repeat(40), &format!("{}@example.org", "x".repeat(280)), Account::Null);
        for who in [a, nobody, empty, early, b, blank, strange, robot, late] {
            self.push(r, "main", 3, who);
        }
        // Messages that break naive stores.
        let odd = [
            "quotes \" and \\ backslashes / slashes",
            "a NUL \u{0} inside, and \u{1b}[31mcolour\u{1b}[0m",
            "four bytes: 😀🏴‍☠️ 𝒳, right to left: שלום",
            "",
            "\u{feff}byte order mark\r\nand CRLF",
        ];
        for message in odd {
            let head = self.repos[r].branches["main"];
            let commit = self.new_commit(r, &[head], a, message);
            self.point(r, "main", commit, a);
        }
        let long = format!("Long message\n\n{}", self.text(70_000));
        let head = self.repos[r].branches["main"];
        let commit = self.new_commit(r, &[head], b, &long);
        self.point(r, "main", commit, b);

        // Branches: some share history, one has commits of its own, one is merged, one name has slashes and worse.
        let main = self.repos[r].branches["main"];
        self.create_branch(r, "same-as-main", main);
        self.push(r, "develop", 6, b);
        let develop = self.repos[r].branches["develop"];
        self.push(r, "main", 3, c);
        let main = self.repos[r].branches["main"];
        let merge = self.new_commit(r, &[main, develop], a, "Merge branch 'develop'");
        self.point(r, "main", merge, a);
        self.push(r, "feature/a+b#1 % & 🌿", 3, c);
        self.push(r, "release/1.x", 2, a);
        let doomed = self.push(r, "short-lived", 2, b)[1];
        self.delete_branch(r, "short-lived");
        // An octopus, and a root without parents.
        let (x, y) = (self.push(r, "left", 1, a)[0], self.push(r, "right", 1, b)[0]);
        let main = self.repos[r].branches["main"];
        let octopus = self.new_commit(r, &[main, x, y], a, "Merge branches 'left' and 'right'");
        self.point(r, "main", octopus, a);
        let root = self.new_commit(r, &[], c, "Start of the site");
        self.point(r, "gh-pages", root, c);
        for (tag, at) in [("v1.0.0", main), ("v1.1.0", octopus), ("only/in-a-tag", doomed)] {
            self.add_tag(r, tag, at);
        }
        let alice = self.user("alice");
        self.add_release(r, "v1.0.0", alice, Some("First 🎉"));
        self.add_release(r, "v1.1.0-rc.1", alice, None);
        let bob = self.user("bob");
        for (commit, user, body) in
            [(main, Some(alice), "Nice"), (octopus, Some(bob), "Line 14: why?"), (main, None, "from a deleted account")]
        {
            self.comment_commit(r, commit, user, body);
        }
        let page = Payload::Gollum { page: "Home".into() };
        self.feed(r, bob, page);
    }

    fn web_issues(
        &mut self,
        r: RepoIx,
        [alice, bob, carol, dave]: [UserIx; 4],
        ghost: UserIx,
        mona: UserIx,
        bot: UserIx,
        frank: UserIx,
    ) {
        let labels = ["bug", "good first issue", "area/api", "100% sure", "🚀 launch", "a, comma", "C#", "question?"];
        for (i, l) in labels.iter().enumerate() {
            self.add_label(r, l, (i % 3 != 2).then_some("What it says"));
        }
        let longest = "L".repeat(50);
        self.add_label(r, &longest, Some(""));
        self.add_milestone(r, "v1.0", Some(alice));
        self.add_milestone(r, "A milestone whose title is far longer than twenty-four characters", Some(bob));
        self.add_milestone(r, "by nobody", None);

        let odd_bodies: Vec<Option<String>> = vec![
            Some("Steps:\r\n1. open\r\n2. \"quote\" \\ backslash".into()),
            None,
            Some(String::new()),
            Some("NUL \u{0} and vertical tab \u{b}".into()),
            Some("😀 𝒳 🏴‍☠️ Ελληνικά עברית 日本語".into()),
            Some(self.text(100_000)),
        ];
        let titles = ["Crash on \"start\"", "Null body", "Empty body", "NUL \u{0} title", "😀 title", "100 KB"];
        let who = [Some(alice), None, Some(bot), Some(ghost), Some(mona), Some(frank)];
        for ((title, body), user) in titles.into_iter().zip(odd_bodies).zip(who) {
            let n = self.open_issue(r, user, title, body.as_deref());
            for l in labels.iter().skip(n as usize % 4).step_by(3) {
                self.label_issue(r, n, l);
            }
        }
        self.assign(r, 1, bob, Some(alice));
        self.assign(r, 1, carol, Some(ghost));
        self.set_milestone(r, 1, 1);
        self.set_milestone(r, 2, 2);
        self.lock_issue(r, 3);
        self.close_issue(r, 2, Some(bob));
        self.close_issue(r, 3, None);
        self.close_issue(r, 4, Some(ghost));
        self.reopen_issue(r, 4, Some(alice));
        self.edit_issue_title(r, 5, "😀 another title");
        let commit = self.repos[r].branches["main"];
        self.add_event(r, 1, Some(bob), "referenced", Some(commit), Detail::None);
        self.add_event(r, 1, Some(dave), "mentioned", None, Detail::None);
        self.add_event(r, 1, Some(dave), "subscribed", None, Detail::None);
        self.add_event(r, 1, None, "unlabeled", None, Detail::Label { name: "gone".into(), color: "ededed" });
        self.add_event(r, 5, Some(carol), "closed", Some(commit), Detail::Closed(None));
        self.add_event(r, 5, Some(alice), "pinned", None, Detail::None);
        for (n, user, text) in [
            (1, Some(bob), "Same here 👍"),
            (1, None, "comment of a deleted account"),
            (1, Some(bot), "Bumps [left-pad](https://example.com) from 1 to 2."),
            (2, Some(mona), "imported"),
            (4, Some(ghost), "NUL \u{0}"),
            (6, Some(frank), ""),
        ] {
            self.add_comment(r, n, user, text);
        }
        let doomed = self.add_comment(r, 6, Some(dave), "to be deleted");
        self.delete_comment(r, doomed);
        let n = self.open_issue(r, Some(dave), "To be deleted", None);
        self.delete_issue(r, n);
        // Enough to need more than one page at any page size.
        for i in 0..120 {
            let (title, body) = (self.sentence(), self.text(300));
            let n = self.open_issue(r, Some([alice, bob, carol, dave][i % 4]), &title, Some(&body));
            self.add_comment(r, n, Some(bob), &title);
            match i {
                1 => self.set_issue_type(r, n, "Bug"),
                3 => self.close_issue_as(r, n, Some(alice), "not_planned"),
                6 => self.close_issue_as(r, n, None, "duplicate"),
                _ if i % 3 == 0 => self.close_issue(r, n, Some(alice)),
                _ => {}
            }
        }
    }

    fn web_pulls(&mut self, r: RepoIx, people: [UserIx; 5], ghost: UserIx, bot: UserIx) {
        let [alice, bob, carol, dave, erin] = people;
        let fork = self.fork(r, "dave/web");
        let lost = self.fork(r, "erin/web");
        // Open within the repository; merged; closed; from a fork; from a fork that is deleted afterwards.
        let open = self.pull(r, bob, r, "topic/open", 3, "Open, from a branch");
        let merged = self.pull(r, carol, r, "topic/merged", 2, "Merged 🎉");
        let closed = self.pull(r, dave, fork, "topic/closed", 1, "Closed, from a fork");
        let from_fork = self.pull(r, dave, fork, "main", 2, "Open, from a fork's main");
        let orphan = self.pull(r, erin, lost, "topic/lost", 2, "Its fork is gone");
        let bots = self.pull(r, bot, r, "dependabot/npm_and_yarn/left-pad-2", 1, "Bump left-pad from 1 to 2");
        let nobody = self.pull(r, alice, r, "topic/nobody", 1, "Its author is gone");
        self.issue_mut(r, nobody).user = None;

        self.request_review(r, open, carol);
        self.label_issue(r, open, "area/api");
        self.assign(r, open, alice, Some(bob));
        self.set_milestone(r, open, 0);
        let review = self.add_review(r, open, Some(carol), "CHANGES_REQUESTED", "Not yet 🙂");
        let first = self.add_review_comment(r, open, Some(review), Some(carol), "Why \"this\"?", None);
        self.add_review_comment(r, open, None, Some(bob), "Because.", Some(first));
        self.add_review(r, open, None, "COMMENTED", "");
        let approval = self.add_review(r, open, Some(alice), "APPROVED", "");
        let gone = Detail::Dismissed { review: approval, state: "approved".into(), message: Some("stale".into()) };
        self.add_event(r, open, Some(bob), "review_dismissed", None, gone);
        self.add_review(r, open, Some(ghost), "PENDING", "still writing");
        self.push_to_pull(r, open, 1);
        self.add_comment(r, open, Some(dave), "Discussion on a pull request");
        // The comment's line has gone, and its author too.
        self.add_review_comment(r, open, Some(review), None, "Outdated NUL \u{0}", None);
        let spot = self.repos[r].review_comments.last_mut().unwrap().review.as_mut().unwrap();
        spot.position = None;
        let lost_commit = self.repos[r].reviews.len() - 1;
        self.repos[r].reviews[lost_commit].commit = None;

        self.merge_pull(r, merged, Some(alice));
        self.merge_pull(r, bots, Some(alice));
        self.close_issue(r, closed, Some(alice));
        self.delete_branch(r, "topic/merged");
        self.add_event(r, merged, Some(carol), "head_ref_deleted", None, Detail::None);
        self.force_push_pull(r, from_fork, 3);
        self.merge_pull(r, orphan, None);
        self.delete_repo(lost);
        // Enough for more than one page of a hundred.
        for i in 0..105 {
            let title = self.sentence();
            let n = self.pull(r, people[i % 4], r, &format!("work/{i}"), 1, &title);
            if i % 2 == 0 {
                self.merge_pull(r, n, Some(people[i % 3]));
                self.repos[r].branches.remove(&format!("work/{i}"));
            }
        }
    }
}
