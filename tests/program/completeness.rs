//! Every collection and table holds what GitHub has, for every kind of repository.

use std::collections::{BTreeMap, BTreeSet};

use rstest::rstest;
use serde_json::Value;

use fake_github::{FakeGitHub, Options, World, names};
use support::backends::Backends::{self, Embedded, Servers};
use support::program::Sandbox;

/// A list of GitHub's, and the collection and key that its items are found by.
struct Expected {
    path: &'static str,
    collection: &'static str,
    key: fn(&str, &Value) -> String,
    /// The document may know more than the list: it was read whole.
    at_least: bool,
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn tail(value: &Value) -> String {
    text(value).rsplit('/').next().unwrap().to_owned()
}

const LISTS: &[Expected] = &[
    Expected {
        path: "labels",
        collection: "repo_labels",
        key: |r, v| format!("{r}/{}", text(&v["name"])),
        at_least: false,
    },
    Expected {
        path: "milestones?state=all",
        collection: "milestones",
        key: |r, v| format!("{r}/{}", v["number"]),
        at_least: false,
    },
    Expected { path: "releases", collection: "releases", key: |r, v| format!("{r}/{}", v["id"]), at_least: false },
    Expected {
        path: "branches",
        collection: "branches",
        key: |r, v| format!("{r}/{}", text(&v["name"])),
        at_least: false,
    },
    Expected { path: "tags", collection: "tags", key: |r, v| format!("{r}/{}", text(&v["name"])), at_least: false },
    Expected {
        path: "contributors",
        collection: "contributors",
        key: |r, v| format!("{r}/{}", text(&v["login"])),
        at_least: false,
    },
    Expected {
        path: "collaborators?affiliation=all",
        collection: "repo_collaborators",
        key: |r, v| format!("{r}/{}", text(&v["login"])),
        at_least: false,
    },
    Expected {
        path: "comments",
        collection: "commit_comments",
        key: |r, v| format!("{r}/{}/{}", text(&v["commit_id"]), v["id"]),
        at_least: false,
    },
    Expected {
        path: "pulls?state=all",
        collection: "pull_requests",
        key: |r, v| format!("{r}/{}", v["number"]),
        at_least: true,
    },
    Expected {
        path: "pulls/comments",
        collection: "pull_request_comments",
        key: |r, v| format!("{r}/{}/{}", tail(&v["pull_request_url"]), v["id"]),
        at_least: false,
    },
    Expected {
        path: "issues?state=all",
        collection: "issues",
        key: |r, v| format!("{r}/{}", v["number"]),
        at_least: false,
    },
    Expected {
        path: "issues/comments",
        collection: "issue_comments",
        key: |r, v| format!("{r}/{}/{}", tail(&v["issue_url"]), v["id"]),
        at_least: false,
    },
    Expected {
        path: "issues/events",
        collection: "issue_events",
        key: |r, v| format!("{r}/{}/{}", v["issue"]["number"], v["id"]),
        at_least: false,
    },
    Expected { path: "forks", collection: "forks", key: |r, v| format!("{r}/{}", v["id"]), at_least: false },
    Expected { path: "events", collection: "events", key: |_, v| text(&v["id"]), at_least: false },
];

/// The list as the mirror reads it; what GitHub refuses (410, 409) is empty.
fn list(fake: &FakeGitHub, repository: &str, path: &str) -> Vec<Value> {
    fake.all(&format!("/repos/{repository}/{path}"))
}

#[rstest]
#[case(names::WEB)]
#[case(names::WEB_FORK)]
#[case(names::EMPTY)]
#[case(names::NO_ISSUES)]
#[case(names::PRIVATE)]
#[case(names::ARCHIVED)]
#[case(names::NEW_NAME)]
#[case(names::QUIET)]
#[tokio::test]
async fn every_document_is_there_as_github_serves_it(
    #[values(Embedded, Servers)] stores: Backends,
    #[case] repository: &str,
) {
    let _over = stores.select();
    let fake = FakeGitHub::start(World::edge_cases(1), Options::unlimited()).await;
    let sandbox = Sandbox::new(fake.url());
    sandbox.mirror(&[repository]).await;
    let documents = sandbox.stores().documents().await;
    let has_issues = fake.one(&format!("/repos/{repository}"))["has_issues"] == true;
    for expected in LISTS {
        // GitHub: 410 where issues are disabled.
        let refused = !has_issues && expected.path.starts_with("issues")
            // GitHub: 204 in place of an empty list.
            || repository == names::EMPTY && expected.path == "contributors";
        let truth = if refused { Vec::new() } else { list(&fake, repository, expected.path) };
        let found: BTreeMap<_, _> = documents[expected.collection]
            .iter()
            .filter(|(id, _)| !id.contains('/') || id.starts_with(&format!("{repository}/")))
            .collect();
        assert_eq!(found.len(), truth.len(), "{} of {repository}", expected.collection);
        for item in truth {
            let id = (expected.key)(repository, &item);
            let document = found.get(&id).unwrap_or_else(|| panic!("{} lacks {id}", expected.collection));
            for (field, value) in item.as_object().unwrap() {
                // Tags stand in the place of GitHub's own `owner` where it has one.
                if expected.collection == "forks" && field == "owner" {
                    continue;
                }
                assert_eq!(&document[field], value, "{} {id}: {field}", expected.collection);
            }
            let extra = document.as_object().unwrap().len() - item.as_object().unwrap().len();
            assert!(
                expected.at_least || extra <= 3,
                "{} {id} has nothing but tags beyond GitHub's",
                expected.collection
            );
        }
    }
}

#[rstest]
#[tokio::test]
async fn commits_of_all_refs_have_their_parents(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let fake = FakeGitHub::start(World::edge_cases(2), Options::unlimited()).await;
    let sandbox = Sandbox::new(fake.url());
    sandbox.mirror(&[names::WEB]).await;
    let mut truth: BTreeMap<String, Value> = BTreeMap::new();
    for points_at in [list(&fake, names::WEB, "branches"), list(&fake, names::WEB, "tags")].concat() {
        let sha = text(&points_at["commit"]["sha"]);
        for commit in list(&fake, names::WEB, &format!("commits?sha={sha}")) {
            truth.insert(text(&commit["sha"]), commit);
        }
    }
    let stores = sandbox.stores();
    let owned = stores
        .sql(
            "SELECT c.sha FROM project_commits x JOIN projects p ON p.id = x.project_id \
            JOIN commits c ON c.id = x.commit_id WHERE p.name = 'web'",
        )
        .await;
    let owned: BTreeSet<String> = owned.into_iter().map(|row| row[0].clone()).collect();
    assert_eq!(owned, truth.keys().cloned().collect());
    let tables = stores.tables().await;
    let documents = stores.collection("commits").await;
    for (sha, commit) in &truth {
        for parent in commit["parents"].as_array().unwrap() {
            let line = format!("{sha} | {}", text(&parent["sha"]));
            assert!(tables["commit_parents"].contains(&line), "{line}");
        }
        assert_eq!(documents[sha]["commit"], commit["commit"]);
        assert!(documents[sha]["stats"].is_object() && documents[sha]["files"].is_array(), "{sha} was read whole");
    }
    let empty = "SELECT count(*) FROM commits WHERE created_at IS NULL OR author_id IS NULL";
    assert_eq!(stores.number(empty).await, 0, "no commit is known by its SHA alone");
}

#[rstest]
#[tokio::test]
async fn every_row_says_what_github_says(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let fake = FakeGitHub::start(World::edge_cases(3), Options::unlimited()).await;
    let sandbox = Sandbox::new(fake.url());
    sandbox.mirror(&[names::WEB]).await;
    let tables = sandbox.stores().tables().await;
    let date = |value: &Value| value.as_str().map_or("NULL".to_owned(), |text| text.replace('T', " ").replace('Z', ""));
    let login = |value: &Value| value["login"].as_str().unwrap_or("ghost").to_owned();
    let optional = |value: &Value| value["login"].as_str().unwrap_or("NULL").to_owned();
    let body = |value: &Value| -> String { text(value).chars().filter(|c| *c != '\0').take(256).collect() };
    let null = |value: &Value| if value.is_null() { "NULL".to_owned() } else { text(value) };

    let mut issues = BTreeSet::new();
    let mut labels = BTreeSet::new();
    for issue in list(&fake, names::WEB, "issues?state=all") {
        let (number, pull) = (&issue["number"], !issue["pull_request"].is_null());
        let pull_number = if pull { number.to_string() } else { "NULL".to_owned() };
        let assignee = optional(&issue["assignee"]);
        issues.insert(format!(
            "web | {number} | {} | {assignee} | {} | {pull_number} | {}",
            login(&issue["user"]),
            i32::from(pull),
            date(&issue["created_at"])
        ));
        for label in issue["labels"].as_array().unwrap() {
            labels.insert(format!("web | {number} | {}", text(&label["name"])));
        }
    }
    assert_eq!(tables["issues"], issues);
    assert_eq!(tables["issue_labels"], labels);

    let comments = list(&fake, names::WEB, "issues/comments")
        .iter()
        .map(|c| {
            format!(
                "{} | web | {} | {} | {}",
                c["id"],
                tail(&c["issue_url"]),
                login(&c["user"]),
                date(&c["created_at"])
            )
        })
        .collect::<BTreeSet<_>>();
    assert_eq!(tables["issue_comments"], comments);

    let events = list(&fake, names::WEB, "issues/events")
        .iter()
        .map(|e| {
            let kind = text(&e["event"]);
            let specific = matches!(kind.as_str(), "referenced" | "merged" | "closed");
            let specific = if specific { null(&e["commit_id"]) } else { "NULL".to_owned() };
            format!(
                "{} | web | {} | {} | {kind} | {specific} | {}",
                e["id"],
                e["issue"]["number"],
                login(&e["actor"]),
                date(&e["created_at"])
            )
        })
        .collect::<BTreeSet<_>>();
    assert_eq!(tables["issue_events"], events);

    let reviews = list(&fake, names::WEB, "pulls/comments")
        .iter()
        .map(|c| {
            format!(
                "{} | web | {} | {} | {} | {} | {} | {}",
                c["id"],
                tail(&c["pull_request_url"]),
                login(&c["user"]),
                null(&c["original_position"]),
                body(&c["body"]),
                text(&c["original_commit_id"]),
                date(&c["created_at"])
            )
        })
        .collect::<BTreeSet<_>>();
    assert_eq!(tables["pull_request_comments"], reviews);

    let on_commits = list(&fake, names::WEB, "comments")
        .iter()
        .map(|c| {
            format!(
                "{} | {} | {} | {} | {} | {} | {}",
                c["id"],
                text(&c["commit_id"]),
                login(&c["user"]),
                body(&c["body"]),
                null(&c["line"]),
                null(&c["position"]),
                date(&c["created_at"])
            )
        })
        .collect::<BTreeSet<_>>();
    assert_eq!(tables["commit_comments"], on_commits);

    let mut pulls = BTreeSet::new();
    let mut commits_of_pulls = BTreeSet::new();
    let mut opened = BTreeSet::new();
    let mut merged = BTreeSet::new();
    for pull in list(&fake, names::WEB, "pulls?state=all") {
        let repo = &pull["head"]["repo"];
        let number = &pull["number"];
        pulls.insert(format!(
            "web | {number} | {} | {} | {} | {} | {}",
            optional(&repo["owner"]),
            null(&repo["name"]),
            text(&pull["head"]["sha"]),
            text(&pull["base"]["sha"]),
            i32::from(!repo.is_null() && repo["id"] == pull["base"]["repo"]["id"])
        ));
        for commit in list(&fake, names::WEB, &format!("pulls/{number}/commits")) {
            commits_of_pulls.insert(format!("web | {number} | {}", text(&commit["sha"])));
        }
        opened.insert(format!("web | {number} | opened | {} | {}", date(&pull["created_at"]), login(&pull["user"])));
        let whole = fake.one(&format!("/repos/{}/pulls/{number}", names::WEB));
        if !whole["merged_at"].is_null() {
            merged.insert(format!(
                "web | {number} | merged | {} | {}",
                date(&whole["merged_at"]),
                login(&whole["merged_by"])
            ));
        }
    }
    assert_eq!(tables["pull_requests"], pulls);
    assert_eq!(tables["pull_request_commits"], commits_of_pulls);
    let history = |action: &str| {
        let of = |line: &&String| line.split(" | ").nth(2) == Some(action);
        tables["pull_request_history"].iter().filter(of).cloned().collect::<BTreeSet<_>>()
    };
    assert_eq!(history("opened"), opened);
    assert_eq!(history("merged"), merged);

    let stars = fake.all(&format!("/repos/{}/stargazers", names::WEB)).len();
    assert_eq!(tables["watchers"].len(), stars);
    assert!(tables["watchers"].iter().all(|line| !line.ends_with("NULL")), "every star has its date");
    let names_of = |path: &str, field: &str| {
        let items = list(&fake, names::WEB, path);
        items.iter().map(|item| format!("web | {}", text(&item[field]))).collect::<BTreeSet<_>>()
    };
    let labels: BTreeSet<_> = names_of("labels", "name");
    assert!(tables["repo_labels"].is_superset(&labels));
    assert_eq!(tables["repo_milestones"], names_of("milestones?state=all", "title"));
    let members: BTreeSet<String> =
        tables["project_members"].iter().map(|l| l.split(" | ").nth(1).unwrap().to_owned()).collect();
    assert_eq!(
        members,
        list(&fake, names::WEB, "collaborators?affiliation=all").iter().map(|m| text(&m["login"])).collect()
    );
    let forks = list(&fake, names::WEB, "forks");
    for fork in &forks {
        let head = format!("{} | {} | ", text(&fork["owner"]["login"]), text(&fork["name"]));
        let line = tables["projects"].iter().find(|line| line.starts_with(&head)).expect("a fork's row");
        assert!(line.contains(" | contoso | web | "), "{line} points at its parent");
    }
}

#[rstest]
#[tokio::test]
async fn authors_without_account_are_one_fake_user_per_email(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let fake = FakeGitHub::start(World::edge_cases(4), Options::unlimited()).await;
    let sandbox = Sandbox::new(fake.url());
    sandbox.mirror(&[names::WEB]).await;
    let stores = sandbox.stores();
    assert_eq!(stores.number("SELECT count(*) FROM users WHERE login = 'ghost'").await, 1);
    assert_eq!(stores.number("SELECT count(*) FROM users WHERE login LIKE '%[bot]' AND type <> 'USR'").await, 0);
    assert_eq!(stores.number("SELECT count(*) FROM users WHERE login = 'contoso' AND type = 'ORG'").await, 1);
    assert_eq!(stores.number("SELECT count(*) FROM users WHERE id = -1 AND login = '0xnoone'").await, 1);
    let twice =
        "SELECT count(*) FROM (SELECT email FROM users WHERE fake = 1 GROUP BY email HAVING count(*) > 1) AS twice";
    assert_eq!(stores.number(twice).await, 0);

    let mut by_address: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut commits = Vec::new();
    for branch in list(&fake, names::WEB, "branches") {
        commits.extend(list(&fake, names::WEB, &format!("commits?sha={}", text(&branch["commit"]["sha"]))));
    }
    for commit in &commits {
        for (who, in_git) in [("author", &commit["commit"]["author"]), ("committer", &commit["commit"]["committer"])] {
            if let Some(login) = commit[who]["login"].as_str() {
                by_address.entry(text(&in_git["email"])).or_default().insert(login.to_owned());
            }
        }
    }
    let rows =
        stores.sql("SELECT c.sha, u.login, u.fake, u.email FROM commits c JOIN users u ON u.id = c.author_id").await;
    let rows: BTreeMap<String, Vec<String>> = rows.into_iter().map(|row| (row[0].clone(), row)).collect();
    let (mut fakes, mut tied) = (0, 0);
    for commit in &commits {
        let row = &rows[commit["sha"].as_str().unwrap()];
        let email = text(&commit["commit"]["author"]["email"]);
        match (commit["author"]["login"].as_str(), by_address.get(&email)) {
            (Some(login), _) => assert_eq!(row[1], login),
            (None, Some(logins)) if email != "noreply@github.com" => {
                tied += 1;
                assert!(logins.contains(&row[1]), "{row:?} is the account that another commit ties the address to");
            }
            (None, _) if email.is_empty() && text(&commit["commit"]["author"]["name"]).is_empty() => {
                assert_eq!(row[1], "ghost", "nobody at all is the ghost");
            }
            (None, _) => {
                fakes += 1;
                let shown: String = email.chars().take(255).collect();
                assert_eq!((row[2].as_str(), &row[3]), ("1", &shown), "{row:?}");
                assert!(row[1].len() >= 8 && row[1].chars().all(|c| c.is_ascii_uppercase()), "{row:?}");
            }
        }
    }
    assert!(fakes > 0 && tied > 0, "the world has both kinds: {fakes} and {tied}");
}

#[rstest]
#[tokio::test]
async fn capped_pulls_and_commits_are_complete_or_reported(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let fake = FakeGitHub::start(World::edge_cases(1), Options::unlimited()).await;
    let sandbox = Sandbox::new(fake.url());
    sandbox.run(&["retrieve-repo", names::BIG_PR]).await;
    // What can't be had is said by every run, though only the first one asks.
    let output = sandbox.run(&["retrieve-repo", names::BIG_PR]).await;
    let stores = sandbox.stores();
    assert_eq!(stores.number("SELECT count(*) FROM pull_request_commits").await, 260);
    let commits = stores.collection("commits").await;
    let files: Vec<usize> = commits.values().filter_map(|commit| Some(commit["files"].as_array()?.len())).collect();
    assert_eq!(files.iter().max(), Some(&3000));
    assert_eq!(files.iter().filter(|&&count| count == 350).count(), 1);
    // One commit has more files than GitHub ever lists: that is said, and asking again is of no use.
    assert_eq!(output.code, Some(0), "{}", output.out);
    assert!(
        output.out.contains("details: limited: commit") && output.out.contains("first 3000 files"),
        "{}",
        output.out
    );
    assert_eq!(stores.number("SELECT count(*) FROM msght_projects WHERE retrieved_at IS NOT NULL").await, 1);
}

#[rstest]
#[tokio::test]
async fn fork_has_its_commits_and_fork_point(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let fake = FakeGitHub::start(World::edge_cases(1), Options::unlimited()).await;
    let sandbox = Sandbox::new(fake.url());
    sandbox.mirror(&[names::WEB_FORK]).await;
    let stores = sandbox.stores();
    let facts = fake.one(&format!("/repos/{}", names::WEB_FORK));
    let head = text(&facts["default_branch"]);
    let parent = &facts["parent"];
    let compare = fake.one(&format!(
        "/repos/{}/compare/{}:{}...{head}",
        names::WEB_FORK,
        text(&parent["owner"]["login"]),
        text(&parent["default_branch"])
    ));
    let point = stores
        .sql(
            "SELECT c.sha, pu.login, pp.name FROM projects p JOIN commits c ON c.id = p.forked_commit_id \
            JOIN projects pp ON pp.id = p.forked_from JOIN users pu ON pu.id = pp.owner_id WHERE p.name = 'web-fork'",
        )
        .await;
    assert_eq!(point, [[text(&compare["merge_base_commit"]["sha"]), "contoso".to_owned(), "web".to_owned()]]);
    for commit in compare["commits"].as_array().unwrap() {
        let sql = format!(
            "SELECT count(*) FROM project_commits x JOIN commits c ON c.id = x.commit_id WHERE c.sha = '{}'",
            text(&commit["sha"])
        );
        assert_eq!(stores.number(&sql).await, 1);
    }
    let base = format!(
        "SELECT count(*) FROM project_commits x JOIN commits c ON c.id = x.commit_id WHERE c.sha = '{}'",
        point[0][0]
    );
    assert_eq!(stores.number(&base).await, 0, "what the parent has is not the fork's own");
    let empty = "SELECT count(*) FROM commits WHERE created_at IS NULL OR author_id IS NULL";
    assert_eq!(stores.number(empty).await, 0, "what its own commits refer to is known, too");
    let output = sandbox.mirror(&[names::WEB_FORK]).await;
    assert_eq!(output.stage("details")[5], "0", "the parent's history is not read commit by commit: {}", output.out);
    assert_eq!(output.stage("commits")[5], "0", "heads that were compared are not compared again: {}", output.out);
}

#[rstest]
#[tokio::test]
async fn generated_worlds_are_mirrored_completely(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    for seed in 10..14 {
        let fake = FakeGitHub::start(World::edge_cases(seed), Options::unlimited()).await;
        let sandbox = Sandbox::new(fake.url());
        sandbox.mirror(&[names::WEB, "--detail", "skeleton"]).await;
        let documents = sandbox.stores().documents().await;
        for expected in LISTS {
            let truth = list(&fake, names::WEB, expected.path);
            assert_eq!(documents[expected.collection].len(), truth.len(), "{} with seed {seed}", expected.collection);
        }
    }
}
