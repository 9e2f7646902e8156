//! What deliveries name is read again: by the wishes that `webhooks::dispatch` makes of them, and `msght data-retrieval`.

use std::time::Duration;

use msght::backend_url::{BackendKind, BackendUrl};
use msght::retry::RetryPolicy;
use msght::store::relational::Relational;
use msght::store::relational::refreshes::RefreshCounts;
use msght::webhooks::dispatch::dispatch;
use rstest::rstest;
use serde_json::Value;

use crate::refresh::assert_live_as_fresh;
use fake_github::{FakeGitHub, Options, UserKind, World, names};
use support::backends::Backends::{self, Embedded, Servers};
use support::program::{RunOutput, Sandbox};
use support::stores::relational_url;

/// An address at which nobody listens: the fake's log of deliveries has what it would have got.
const NOBODY: &str = "http://127.0.0.1:9/";

/// A mirrored world whose changes are told of.
struct Live {
    fake: FakeGitHub,
    sandbox: Sandbox,
    relational: Relational,
    /// Deliveries that were dispatched.
    told: usize,
}

impl Live {
    async fn start(seed: u64) -> Self {
        Self::of(World::edge_cases(seed), Options::unlimited()).await
    }

    async fn of(mut world: World, options: Options) -> Self {
        world.add_hook("contoso", NOBODY);
        let fake = FakeGitHub::start(world, options).await;
        let sandbox = Sandbox::new(fake.url()).with_queue();
        sandbox.mirror(&[names::WEB]).await;
        let url = relational_url(sandbox.stores());
        let url = BackendUrl::parse(&url, &[BackendKind::Sqlite, BackendKind::Mysql]).unwrap();
        let policy = RetryPolicy::new(Duration::from_secs(30), |_| {});
        let relational = Relational::open(&url, &policy).await.unwrap();
        Self { fake, sandbox, relational, told: 0 }
    }

    /// Deliveries that were not dispatched yet.
    async fn deliveries(&mut self) -> Vec<(String, Value)> {
        self.fake.delivered().await;
        let all = self.fake.deliveries();
        let new = all[self.told..].iter().map(|one| (one.event.clone(), serde_json::from_str(&one.payload).unwrap()));
        let new = new.collect();
        self.told = all.len();
        new
    }

    async fn request(&self, deliveries: &[(String, Value)]) {
        for (event, payload) in deliveries {
            self.relational.request_refreshes(dispatch(event, payload).refreshes).await.unwrap();
        }
    }

    /// Changes the world, and works what is told of it.
    async fn change(&mut self, change: impl FnOnce(&mut World)) -> RunOutput {
        self.fake.world_mut(change);
        let deliveries = self.deliveries().await;
        assert!(!deliveries.is_empty(), "nobody is told of the change");
        self.request(&deliveries).await;
        self.drain().await
    }

    async fn drain(&self) -> RunOutput {
        let output = self.sandbox.run(&["data-retrieval", "--drain"]).await;
        output.assert_output(0, &[]);
        let counts = self.relational.refresh_counts().await.unwrap();
        assert_eq!(counts, RefreshCounts::default(), "{}\n{:?}", output.err, self.relational.failed_refreshes(9).await);
        output
    }

    async fn assert_as_fresh(&self, repository: &str) {
        // The feed has a way of its own.
        self.sandbox.mirror(&["--only", "events", "--", repository]).await;
        let fresh = Sandbox::new(self.fake.url());
        fresh.mirror(&[repository]).await;
        assert_live_as_fresh(&self.sandbox, &fresh).await;
    }
}

/// Numbers of the open issues, or of pull requests from branches of the repository itself.
fn open(w: &World, pulls: bool) -> Vec<u32> {
    let r = w.repo(names::WEB);
    let is_wanted = |pull: Option<&fake_github::Pull>| match pull {
        // What is pushed to forks, nobody is told of.
        Some(pull) => pulls && pull.head_repo == Some(r),
        None => !pulls,
    };
    w.repos[r]
        .issues
        .iter()
        .filter(|i| i.open && !i.deleted && is_wanted(i.pull.as_deref()))
        .map(|i| i.number)
        .collect()
}

type Change = (&'static str, fn(&mut World));

const ISSUES: &[Change] = &[
    ("opened", |w| _ = w.open_issue(w.repo(names::WEB), w.find_user("alice"), "a new issue", Some("🎉"))),
    ("closed", |w| w.close_issue(w.repo(names::WEB), open(w, false)[0], w.find_user("alice"))),
    ("edited", |w| w.edit_issue_title(w.repo(names::WEB), open(w, false)[1], "another title")),
    ("deleted", |w| w.delete_issue(w.repo(names::WEB), open(w, false)[2])),
    ("assigned", |w| {
        w.assign(w.repo(names::WEB), open(w, false)[3], w.find_user("bob").unwrap(), w.find_user("alice"))
    }),
    ("commented", |w| _ = w.add_comment(w.repo(names::WEB), open(w, false)[1], w.find_user("bob"), "a comment")),
    ("comment edited", |w| {
        let r = w.repo(names::WEB);
        let id = w.repos[r].comments.iter().find(|comment| !comment.deleted).unwrap().id;
        w.edit_comment(r, id, "edited");
    }),
    ("comment deleted", |w| {
        let r = w.repo(names::WEB);
        let id = w.repos[r].comments.iter().rfind(|comment| !comment.deleted).unwrap().id;
        w.delete_comment(r, id);
    }),
    ("label made", |w| _ = w.add_label(w.repo(names::WEB), "brand new/label %", Some("of today"))),
    ("label recolored", |w| {
        let r = w.repo(names::WEB);
        let name = w.repos[r].labels.iter().find(|label| !label.deleted).unwrap().name.clone();
        w.recolor_label(r, &name, "abcdef");
    }),
    ("label renamed", |w| {
        let r = w.repo(names::WEB);
        let name = w.repos[r].labels.iter().find(|label| !label.deleted).unwrap().name.clone();
        w.rename_label(r, &name, "renamed");
    }),
    ("label deleted", |w| {
        let r = w.repo(names::WEB);
        let name = w.repos[r].labels.iter().rfind(|label| !label.deleted).unwrap().name.clone();
        w.delete_label(r, &name);
    }),
    ("milestone made", |w| _ = w.add_milestone(w.repo(names::WEB), "2.0", w.find_user("alice"))),
    ("milestone renamed", |w| w.rename_milestone(w.repo(names::WEB), 1, "renamed")),
    ("milestone closed", |w| w.close_milestone(w.repo(names::WEB), 1)),
];

const PULLS: &[Change] = &[
    ("pushed to", |w| _ = w.push_to_pull(w.repo(names::WEB), open(w, true)[0], 3)),
    ("force-pushed", |w| _ = w.force_push_pull(w.repo(names::WEB), open(w, true)[1], 2)),
    ("merged", |w| _ = w.merge_pull(w.repo(names::WEB), open(w, true)[0], w.find_user("alice"))),
    ("commented", |w| _ = w.add_comment(w.repo(names::WEB), open(w, true)[0], w.find_user("bob"), "a comment")),
    ("dismissed", |w| {
        let r = w.repo(names::WEB);
        let id = w.repos[r].reviews.iter().find(|review| !w.issue(r, review.number).deleted).unwrap().id;
        w.dismiss_review(r, id, w.find_user("alice"), "outdated");
    }),
    ("review comment deleted", |w| {
        let r = w.repo(names::WEB);
        let id = w.repos[r].review_comments.iter().find(|comment| !comment.deleted).unwrap().id;
        w.delete_review_comment(r, id);
    }),
];

const CODE: &[Change] = &[
    ("pushed", |w| {
        let (r, person) = (w.repo(names::WEB), w.person_of(w.find_user("bob").unwrap()));
        let default = w.repos[r].default_branch.clone();
        w.push(r, &default, 12, person);
    }),
    ("branch made", |w| {
        let r = w.repo(names::WEB);
        let head = w.repos[r].branches[&w.repos[r].default_branch];
        w.create_branch(r, "topic/über", head);
    }),
    ("force-pushed", |w| {
        let (r, person) = (w.repo(names::WEB), w.person_of(w.find_user("bob").unwrap()));
        w.push(r, "topic/über", 3, person);
        w.force_push(r, "topic/über", 2, 4);
    }),
    ("branch deleted", |w| w.delete_branch(w.repo(names::WEB), "topic/über")),
    ("tag made", |w| {
        let r = w.repo(names::WEB);
        let head = w.repos[r].branches[&w.repos[r].default_branch];
        w.add_tag(r, "v77", head);
    }),
    ("tag deleted", |w| w.delete_tag(w.repo(names::WEB), "v77")),
    ("release made", |w| _ = w.add_release(w.repo(names::WEB), "v9", w.find_user("alice").unwrap(), Some("notes"))),
    ("release edited", |w| {
        let r = w.repo(names::WEB);
        let id = w.repos[r].releases[0].id;
        w.edit_release(r, id, "other notes");
    }),
    ("release deleted", |w| {
        let r = w.repo(names::WEB);
        let id = w.repos[r].releases[0].id;
        w.delete_release(r, id);
    }),
    ("commit commented", |w| {
        let r = w.repo(names::WEB);
        let head = w.repos[r].branches[&w.repos[r].default_branch];
        w.comment_commit(r, head, w.find_user("alice"), "on a commit");
    }),
];

const REPOSITORY: &[Change] = &[
    ("starred", |w| {
        let stranger = w.add_user("stranger", UserKind::User);
        w.star(w.repo(names::WEB), stranger);
    }),
    ("unstarred", |w| {
        let r = w.repo(names::WEB);
        let user = w.repos[r].stars[0].user;
        w.unstar(r, user);
    }),
    ("forked", |w| _ = w.fork(w.repo(names::WEB), "stranger/web")),
    ("topics", |w| w.set_topics(w.repo(names::WEB), &["rust", "mirror"])),
    ("collaborator added", |w| {
        let stranger = w.find_user("stranger").unwrap();
        w.add_collaborator(w.repo(names::WEB), stranger, "write");
    }),
    ("collaborator removed", |w| {
        let stranger = w.find_user("stranger").unwrap();
        w.remove_collaborator(w.repo(names::WEB), stranger);
    }),
    ("default branch", |w| w.rename_default_branch(w.repo(names::WEB), "trunk")),
];

#[rstest]
#[case::issues(ISSUES)]
#[case::pulls(PULLS)]
#[case::code(CODE)]
#[case::repository(REPOSITORY)]
#[tokio::test]
async fn each_kind_is_made_fresh(#[values(Embedded, Servers)] stores: Backends, #[case] changes: &[Change]) {
    let _over = stores.select();
    let mut live = Live::start(5).await;
    for (what, change) in changes {
        let before = live.fake.counted();
        let output = live.change(change).await;
        println!(
            "{what}: {} requests; {}",
            live.fake.counted() - before,
            output.err.lines().last().unwrap_or_default()
        );
    }
    live.assert_as_fresh(names::WEB).await;
}
