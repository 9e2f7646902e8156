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
use fake_github::{FakeGitHub, Options, TokenSpec, UserKind, World, names};
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
        for org in ["contoso", "fabrikam"] {
            if world.find_user(org).is_some() {
                world.add_hook(org, NOBODY);
            }
        }
        Self::over(FakeGitHub::start(world, options).await, &[names::WEB], false).await
    }

    /// Mirrors repositories, or lists the organization.
    async fn over(fake: FakeGitHub, repositories: &[&str], lists: bool) -> Self {
        let sandbox = Sandbox::new(fake.url()).with_queue();
        if lists {
            std::fs::write(sandbox.path().join("orgs.txt"), "contoso\n").unwrap();
            sandbox.run(&["get-repos"]).await.assert_output(0, &[]);
        } else {
            sandbox.mirror(repositories).await;
        }
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

#[rstest]
#[tokio::test]
async fn what_the_api_shows_late_is_read_again(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let mut live = Live::start(6).await;
    live.fake.live(|live| live.api_lag = Duration::from_secs(6));
    let output = live
        .change(|w| {
            let (r, alice) = (w.repo(names::WEB), w.find_user("alice"));
            let number = w.open_issue(r, alice, "a new issue", None);
            w.add_comment(r, number, alice, "on it");
            w.close_issue(r, open(w, false)[0], alice);
            let comment = w.repos[r].comments.iter().find(|comment| !comment.deleted).unwrap().id;
            w.delete_comment(r, comment);
            let person = w.person_of(w.find_user("bob").unwrap());
            let default = w.repos[r].default_branch.clone();
            w.push(r, &default, 3, person);
            w.add_label(r, "late", None);
        })
        .await;
    println!("{}", output.err);
    live.fake.live(|live| live.api_lag = Duration::ZERO);
    live.assert_as_fresh(names::WEB).await;
}

/// Shuffles by a seed.
fn shuffle<T>(items: &mut [T], mut seed: u64) {
    for at in (1..items.len()).rev() {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        items.swap(at, usize::try_from(seed >> 33).unwrap() % (at + 1));
    }
}

#[rstest]
#[tokio::test]
async fn deliveries_in_any_order_end_the_same(
    #[values(Embedded, Servers)] stores: Backends,
    #[values(1, 2, 3)] seed: u64,
) {
    let _over = stores.select();
    let mut live = Live::start(7).await;
    let mut deliveries = Vec::new();
    let number = live.fake.world(|w| open(w, false)[0]);
    for round in 0..25 {
        live.fake.world_mut(|w| {
            let (r, alice) = (w.repo(names::WEB), w.find_user("alice"));
            match round % 5 {
                0 => _ = w.add_comment(r, number, alice, "another"),
                1 => w.close_issue(r, number, alice),
                2 => w.edit_issue_title(r, number, &format!("title {round}")),
                3 => w.reopen_issue(r, number, alice),
                _ => {
                    let own = w.repos[r].comments.iter().find(|one| one.on == number && !one.deleted);
                    let id = own.unwrap().id;
                    w.delete_comment(r, id);
                }
            }
        });
        deliveries.extend(live.deliveries().await);
    }
    deliveries.extend(deliveries.clone());
    shuffle(&mut deliveries, seed);
    assert!(deliveries.len() >= 50, "{}", deliveries.len());
    // Some are worked while others are yet to come.
    let (first, second) = deliveries.split_at(deliveries.len() / 2);
    live.request(first).await;
    live.drain().await;
    live.request(second).await;
    live.drain().await;
    live.assert_as_fresh(names::WEB).await;
}

#[rstest]
#[tokio::test]
async fn burst_of_comments_costs_a_few_requests(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let mut live = Live::start(8).await;
    let number = live.fake.world(|w| open(w, false)[0]);
    let mut made = Vec::new();
    for _ in 0..60 {
        live.fake.world_mut(|w| made.push(w.add_comment(w.repo(names::WEB), number, w.find_user("alice"), "more")));
    }
    for round in 0..240 {
        let (id, text) = (made[round % made.len()], format!("edited {round}"));
        live.fake.world_mut(|w| w.edit_comment(w.repo(names::WEB), id, &text));
    }
    let deliveries = live.deliveries().await;
    assert!(deliveries.len() >= 300, "{}", deliveries.len());
    live.request(&deliveries).await;
    live.fake.reset_counters();
    let output = live.drain().await;
    assert!(live.fake.counted() <= 3, "{}\n{:?}", output.err, live.fake.by_template());
    live.assert_as_fresh(names::WEB).await;
}

#[rstest]
#[tokio::test]
async fn repository_is_followed_and_found_gone(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let mut live = Live::start(9).await;
    live.sandbox.mirror(&[names::QUIET]).await;
    live.change(|w| w.rename_repo(w.repo(names::WEB), "site")).await;
    // In one go, and with something inside it.
    let renamed = live.fake.world(|w| w.repos[w.repo("contoso/site")].owner);
    assert_eq!(renamed, live.fake.world(|w| w.user("contoso")));
    live.change(|w| {
        let r = w.repo("contoso/site");
        w.open_issue(r, w.find_user("alice"), "before the move", None);
        w.rename_repo(r, "place");
        w.transfer_repo(r, "fabrikam");
    })
    .await;
    let name = "SELECT u.login, p.name FROM projects p JOIN users u ON u.id = p.owner_id \
                JOIN msght_projects m ON m.project_id = p.id WHERE m.documents_as = 'fabrikam/place'";
    assert_eq!(live.sandbox.stores().sql(name).await, [["fabrikam", "place"]]);
    let issues = live.sandbox.stores().collection("issues").await;
    let moved = issues.values().filter(|issue| issue["title"] == "before the move");
    assert_eq!(moved.map(|issue| issue["repo"].as_str().unwrap()).collect::<Vec<_>>(), ["place"]);
    live.change(|w| w.delete_repo(w.repo(names::QUIET))).await;
    let quiet = names::QUIET.split_once('/').unwrap().1;
    let deleted = format!("SELECT deleted FROM projects WHERE name = '{quiet}'");
    assert_eq!(live.sandbox.stores().number(&deleted).await, 1);
}

#[rstest]
#[tokio::test]
async fn repository_never_mirrored_is_queued_once(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let mut live = Live::start(10).await;
    live.change(|w| {
        let r = w.repo(names::QUIET);
        for _ in 0..3 {
            w.open_issue(r, w.find_user("alice"), "new", None);
        }
    })
    .await;
    let output = live.sandbox.run(&["retrieve-repos", "--drain"]).await;
    output.assert_output(0, &["1 done"]);
    let issues = live.sandbox.stores().collection("issues").await;
    assert!(issues.keys().any(|id| id.starts_with(names::QUIET)), "{:?}", issues.keys());
}

#[rstest]
#[tokio::test]
async fn refused_star_is_stored_as_delivered(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let options = Options { tokens: vec![TokenSpec::new("fake-token").without_stars()], ..Options::unlimited() };
    let mut live = Live::of(World::edge_cases(11), options).await;
    let star = async |live: &Live| {
        let sql = "SELECT w.created_at FROM watchers w JOIN users u ON u.id = w.user_id WHERE u.login = 'stranger'";
        (live.sandbox.stores().sql(sql).await, live.sandbox.stores().collection("watchers").await)
    };
    live.change(|w| {
        let stranger = w.add_user("stranger", UserKind::User);
        w.star(w.repo(names::WEB), stranger);
    })
    .await;
    let (rows, documents) = star(&live).await;
    let document = &documents[&format!("{}/stranger", names::WEB)];
    let at = document["starred_at"].as_str().unwrap().replace('T', " ").replace('Z', "");
    assert_eq!(rows, [[at]]);
    live.change(|w| {
        let stranger = w.find_user("stranger").unwrap();
        w.unstar(w.repo(names::WEB), stranger);
    })
    .await;
    let (rows, documents) = star(&live).await;
    assert!(rows.is_empty(), "{rows:?}");
    assert!(documents[&format!("{}/stranger", names::WEB)]["_msght"]["deleted_at"].is_string());
}

/// What happens to an organization's people and teams.
const PEOPLE: &[Change] = &[
    ("joined", |w| {
        let newcomer = w.add_user("newcomer", UserKind::User);
        w.join(w.user("contoso"), newcomer, true);
    }),
    ("team made", |w| {
        let (newcomer, r) = (w.user("newcomer"), w.repo("contoso/r001"));
        w.add_team("contoso", "Night Watch", &[newcomer], &[r]);
    }),
    ("team left", |w| {
        let newcomer = w.user("newcomer");
        w.teams.last_mut().unwrap().members.retain(|member| *member != newcomer);
        w.changed();
    }),
    ("team lost a repository", |w| {
        w.teams.last_mut().unwrap().repos.clear();
        w.changed();
    }),
    ("team deleted", |w| {
        w.teams.last_mut().unwrap().deleted = true;
        w.changed();
    }),
    ("left", |w| {
        let newcomer = w.user("newcomer");
        w.leave(w.user("contoso"), newcomer);
    }),
];

#[rstest]
#[tokio::test]
async fn people_of_an_organization_are_made_fresh(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let mut world = World::estate(5, &[("contoso", 3)]);
    world.add_hook("contoso", NOBODY);
    let token = TokenSpec { login: "dev0".to_owned(), ..TokenSpec::new("fake-token") };
    let fake = FakeGitHub::start(world, Options { tokens: vec![token], ..Options::unlimited() }).await;
    let mut live = Live::over(fake, &[], true).await;
    let sql = "SELECT 'member', o.login, u.login FROM organization_members m JOIN users o ON o.id = m.org_id \
               JOIN users u ON u.id = m.user_id \
               UNION ALL SELECT 'team', t.slug, '' FROM teams t WHERE t.deleted = 0 \
               UNION ALL SELECT 'team member', t.slug, u.login FROM team_members m JOIN teams t ON t.id = m.team_id \
               JOIN users u ON u.id = m.user_id \
               UNION ALL SELECT 'team project', t.slug, p.name FROM team_projects m JOIN teams t ON t.id = m.team_id \
               JOIN projects p ON p.id = m.project_id ORDER BY 1, 2, 3";
    for (what, change) in PEOPLE {
        let output = live.change(change).await;
        println!("{what}: {}", output.err.lines().last().unwrap_or_default());
        let fresh = Sandbox::new(live.fake.url());
        std::fs::write(fresh.path().join("orgs.txt"), "contoso\n").unwrap();
        fresh.run(&["get-repos"]).await.assert_output(0, &[]);
        assert_eq!(live.sandbox.stores().sql(sql).await, fresh.stores().sql(sql).await, "{what}");
    }
}
