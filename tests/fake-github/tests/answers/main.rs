//! The fake GitHub's own tests: that it answers as GitHub does.
use fake_github::*;
use reqwest::{Client, Response};
use serde_json::Value;
use std::collections::HashSet;
use std::time::{Duration, Instant};

mod deliveries;
mod openapi;

/// Reads an answer's body as JSON.
trait Parse {
    async fn json<T: serde::de::DeserializeOwned>(self) -> serde_json::Result<T>;
}

impl Parse for Response {
    async fn json<T: serde::de::DeserializeOwned>(self) -> serde_json::Result<T> {
        serde_json::from_slice(&self.bytes().await.expect("a whole body"))
    }
}

/// A client that follows nothing and says who it is.
fn client() -> Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder().user_agent("tests").redirect(reqwest::redirect::Policy::none()).build().unwrap()
}

async fn edge_cases() -> FakeGitHub {
    FakeGitHub::start(World::edge_cases(1), Options::unlimited()).await
}

async fn get(fake: &FakeGitHub, path: &str) -> Response {
    let url = format!("{}{}", fake.url(), path.trim_start_matches('/'));
    client().get(url).bearer_auth("fake-token").send().await.unwrap()
}

async fn json(fake: &FakeGitHub, path: &str) -> Value {
    let answer = get(fake, path).await;
    assert_eq!(answer.status(), 200, "{path}");
    answer.json().await.unwrap()
}

async fn json_of(answer: Response) -> Value {
    answer.json().await.unwrap()
}

fn header(r: &Response, name: &str) -> String {
    r.headers().get(name).map(|v| v.to_str().unwrap().to_owned()).unwrap_or_default()
}

/// The address of a relation in `Link`.
fn rel(r: &Response, rel: &str) -> Option<String> {
    let link = header(r, "link");
    let part = link.split(", ").find(|p| p.ends_with(&format!("rel=\"{rel}\"")))?;
    Some(part[1..part.find('>')?].to_owned())
}

/// Follows `next` to the end.
async fn walk(fake: &FakeGitHub, path: &str) -> (Vec<Value>, usize) {
    let mut url = Some(format!("{}{path}", fake.url()));
    let (mut rows, mut pages) = (vec![], 0);
    while let Some(at) = url {
        let answer = client().get(&at).bearer_auth("fake-token").send().await.unwrap();
        assert_eq!(answer.status(), 200, "{at}");
        url = rel(&answer, "next");
        rows.extend(answer.json::<Vec<Value>>().await.unwrap());
        pages += 1;
    }
    (rows, pages)
}

#[tokio::test]
async fn answers_fit_githubs_description() {
    let fake = edge_cases().await;
    fake.world_mut(|w| {
        let (reader, alice, web) = (w.user("contoso-reader"), w.user("alice"), w.repo("contoso/web"));
        w.make_owner("contoso", reader);
        w.let_in("contoso", alice);
        w.add_hook("contoso", "https://msght.example.com/");
        w.add_team("contoso", "First", &[alice], &[web]);
        let second = w.add_team("contoso", "The second", &[alice, reader], &[web]);
        w.teams[second].parent = Some(second - 1);
        w.add_repo("alice/own");
        w.add_repo("contoso-reader/own");
    });
    let api = openapi::load();
    let mut wrong = vec![];
    for name in names::ANSWERING {
        for (template, path) in openapi::addresses(&fake, name) {
            wrong.extend(openapi::check(&api, &fake, template, &path));
        }
    }
    for (template, path) in [
        ("/users/{username}", "/users/alice"),
        ("/users/{username}", "/users/dependabot[bot]"),
        ("/users/{username}", "/users/contoso"),
        ("/user/{account_id}", "/user/6154722"),
        ("/users/{username}/followers", "/users/alice/followers"),
        ("/users/{username}/followers", "/users/contoso/followers"),
        ("/users/{username}/following", "/users/alice/following"),
        ("/users/{username}/orgs", "/users/alice/orgs"),
        ("/orgs/{org}/members", "/orgs/contoso/members"),
        ("/orgs/{org}/public_members", "/orgs/contoso/public_members"),
        ("/user", "/user"),
        ("/user/orgs", "/user/orgs"),
        ("/orgs/{org}", "/orgs/contoso"),
        ("/orgs/{org}/repos", "/orgs/contoso/repos"),
        ("/orgs/{org}/events", "/orgs/contoso/events"),
        ("/orgs/{org}/teams", "/orgs/contoso/teams"),
        ("/orgs/{org}/teams/{team_slug}", "/orgs/contoso/teams/the-second"),
        ("/orgs/{org}/teams/{team_slug}/members", "/orgs/contoso/teams/the-second/members"),
        ("/orgs/{org}/teams/{team_slug}/repos", "/orgs/contoso/teams/the-second/repos"),
        ("/orgs/{org}/outside_collaborators", "/orgs/contoso/outside_collaborators"),
        ("/orgs/{org}/hooks", "/orgs/contoso/hooks"),
        ("/users/{username}/repos", "/users/alice/repos"),
        ("/user/repos", "/user/repos"),
        ("/versions", "/versions"),
        ("/meta", "/meta"),
    ] {
        wrong.extend(openapi::check(&api, &fake, template, path));
    }
    assert!(
        wrong.is_empty(),
        "{} answers do not fit, such as:\n{}",
        wrong.len(),
        wrong[..wrong.len().min(20)].join("\n")
    );
}

#[test]
fn the_description_tells_wrong_from_right() {
    let api = openapi::load();
    let fake = FakeGitHub::start_blocking(World::edge_cases(1), Options::unlimited());
    let template = "/repos/{owner}/{repo}/issues/{issue_number}";
    let right = fake.one("/repos/contoso/web/issues/1");
    assert!(openapi::check_value(&api, template, &right).is_empty());
    for (at, wrong) in [
        ("/user/login", Value::Null),
        ("/labels/0/id", "1".into()),
        ("/created_at", "yesterday".into()),
        ("/state_reason", "because".into()),
        ("/milestone/due_on", 5.into()),
    ] {
        let mut row = right.clone();
        *row.pointer_mut(at).unwrap() = wrong;
        assert!(!openapi::check_value(&api, template, &row).is_empty(), "{at}");
    }
    let mut row = right.clone();
    row.as_object_mut().unwrap().remove("html_url");
    assert!(!openapi::check_value(&api, template, &row).is_empty());
}

#[tokio::test]
async fn rate_limit_fits_githubs_description() {
    let fake = FakeGitHub::start(World::edge_cases(1), Options::default()).await;
    let body = json(&fake, "rate_limit").await;
    let wrong = openapi::check_value(&openapi::load(), "/rate_limit", &body);
    assert!(wrong.is_empty(), "{wrong:?}");
    assert_eq!(body["resources"]["core"]["remaining"], 5_000);
    assert_eq!(fake.counted(), 0);
}

#[tokio::test]
async fn every_list_can_be_walked_to_its_whole_length() {
    let fake = edge_cases().await;
    for path in [
        "issues?state=all&per_page=10",
        "issues?state=all&per_page=7&sort=updated&direction=asc",
        "issues?state=all&per_page=7&page=1",
        "issues?per_page=50",
        "issues?state=all&labels=bug",
        "pulls?state=all&per_page=13&sort=updated&direction=desc",
        "commits?per_page=9",
        "commits?sha=develop&per_page=2",
        "commits?sha=feature%2Fa%2Bb%231%20%25%20%26%20%F0%9F%8C%BF&per_page=50",
        "issues/comments?sort=updated&direction=asc&per_page=11",
        "issues/comments",
        "issues/events?per_page=100",
        "pulls/comments",
        "branches",
        "git/matching-refs/heads",
        "forks",
        "events?per_page=100",
        "labels?per_page=2",
        "stargazers?per_page=2",
        "comments?per_page=1",
    ] {
        let path = format!("repos/{}/{path}", names::WEB);
        let (mut rows, pages) = walk(&fake, &path).await;
        let mut truth = fake.all(&format!("/{path}"));
        if path.contains("stargazers") {
            // Without the star media type: users.
            truth = truth.into_iter().map(|s| s["user"].clone()).collect();
        }
        assert!(!rows.is_empty(), "{path}");
        assert!(pages > 1 || rows.len() <= 100, "{path}");
        assert_eq!(rows.len(), truth.len(), "{path}");
        assert!(rows == truth, "{path}");
        let ids: HashSet<String> = rows.drain(..).map(|r| r.to_string()).collect();
        assert_eq!(ids.len(), truth.len(), "{path} repeats rows");
    }
    let (repos, _) = walk(&fake, "orgs/contoso/repos?per_page=2").await;
    assert_eq!(repos.len(), 10);
}

#[tokio::test]
async fn cursors_keep_their_place_while_issues_change() {
    let fake = edge_cases().await;
    let path = format!("repos/{}/issues?state=all&sort=updated&direction=asc&per_page=100", names::WEB);
    let first = get(&fake, &path).await;
    assert_eq!(rel(&first, "last"), None);
    let next = rel(&first, "next").unwrap();
    assert!(next.contains("/repositories/720000000/issues?") && next.contains("after="), "{next}");
    let first: Vec<Value> = first.json().await.unwrap();
    let mut seen: HashSet<u64> = first.iter().map(|i| i["number"].as_u64().unwrap()).collect();
    fake.world_mut(|w| w.close_issue(w.repo(names::WEB), 1, None));
    let (rest, _) = walk(&fake, next.strip_prefix(fake.url()).unwrap()).await;
    seen.extend(rest.iter().map(|i| i["number"].as_u64().unwrap()));
    assert_eq!(seen.len(), fake.all(&format!("/repos/{}/issues?state=all", names::WEB)).len());
    assert_eq!(rest.last().unwrap()["number"], 1);
}

#[tokio::test]
async fn defaults_are_githubs() {
    let fake = edge_cases().await;
    let issues = json(&fake, "repos/contoso/web/issues?per_page=1000").await;
    let issues = issues.as_array().unwrap();
    assert_eq!(issues.len(), 100);
    assert!(issues.iter().all(|i| i["state"] == "open"));
    let created: Vec<&str> = issues.iter().map(|i| i["created_at"].as_str().unwrap()).collect();
    assert!(created.is_sorted_by(|a, b| a >= b));
    assert_eq!(json(&fake, "repos/contoso/web/commits").await.as_array().unwrap().len(), 30);
    let ids = |rows: &[Value]| rows.iter().map(|r| r["id"].as_u64().unwrap()).collect::<Vec<_>>();
    assert!(ids(&fake.all("/repos/contoso/web/issues/comments?direction=desc")).is_sorted());
    assert!(ids(&fake.all("/repos/contoso/web/comments")).is_sorted());
    assert!(ids(&fake.all("/repos/contoso/web/issues/events")).is_sorted_by(|a, b| a >= b));
    let ids = ids(&fake.all("/repos/contoso/web/issues/comments"));
    assert!(ids.iter().all(|&id| id > u64::from(u32::MAX)));
    assert!(fake.all("/repos/contoso/web/issues?state=all&since=1970-01-01T00:00:00Z").is_empty());
    let newest = fake.all("/repos/contoso/web/issues?state=all&sort=updated")[0]["updated_at"].clone();
    let since = format!("/repos/contoso/web/issues?state=all&since={}", newest.as_str().unwrap());
    assert!(!fake.all(&since).is_empty());
}

#[tokio::test]
async fn refusals_are_githubs() {
    let fake = edge_cases().await;
    for (path, status) in [
        ("repos/contoso/gone", 404),
        ("repos/contoso/web/", 404),
        ("repos/contoso/web/nonsense", 404),
        ("repos/contoso/dmca", 451),
        ("repos/contoso/dmca/issues", 451),
        ("repos/contoso/empty", 200),
        ("repos/contoso/empty/commits", 409),
        ("repos/contoso/empty/git/matching-refs/heads", 409),
        ("repos/contoso/empty/contributors", 204),
        ("repos/contoso/empty/branches", 200),
        ("repos/contoso/no-issues/issues", 410),
        ("repos/contoso/no-issues/pulls", 200),
        ("repos/contoso/no-stars/stargazers", 403),
        ("repos/contoso/old-name", 301),
        ("repos/contoso/new-name", 200),
        ("repos/CONTOSO/Web", 200),
        ("repositories/720000000/issues", 200),
        ("repos/contoso/web/commits/0000000000000000000000000000000000000000", 422),
        ("repos/contoso/web/commits?sha=no-such-branch", 404),
        ("repos/contoso/web/events?per_page=100&page=4", 422),
        ("users/managed_emu", 404),
        ("users/nobody-at-all", 404),
        ("users/managed_emu/followers", 404),
        ("users/nobody-at-all/followers", 404),
        ("users/alice/nonsense", 404),
        ("user/1", 404),
        ("orgs/alice/members", 404),
    ] {
        let answer = get(&fake, path).await;
        assert_eq!(answer.status(), status, "{path}");
        if status >= 400 {
            let body: Value = answer.json().await.unwrap();
            assert!(body["message"].is_string(), "{path}");
            if status == 451 {
                assert_eq!(body["block"]["reason"], "dmca");
            }
        }
    }
    let moved = get(&fake, "repos/contoso/old-name/issues?state=all").await;
    let to = header(&moved, "location");
    assert!(to.contains("/repositories/") && to.ends_with("/issues?state=all"), "{to}");
    let answer = client().get(&to).bearer_auth("fake-token").send().await.unwrap();
    assert_eq!(answer.json::<Vec<Value>>().await.unwrap().len(), 2);
    let denied = get(&fake, "repos/contoso/no-stars/stargazers").await;
    assert_eq!(header(&denied, "x-accepted-github-permissions"), "metadata=read; contents=write");
    // A deleted issue.
    let gone = fake.world(|w| {
        let r = w.repo(names::WEB);
        w.repos[r].issues.iter().find(|i| i.deleted).unwrap().number
    });
    assert_eq!(get(&fake, &format!("repos/contoso/web/issues/{gone}")).await.status(), 410);
}

#[tokio::test]
async fn refusals_fit_githubs_description() {
    let tokens = vec![TokenSpec::new("fake-token").without_stars().refused(&[names::ARCHIVED])];
    let fake = FakeGitHub::start(World::edge_cases(1), Options { tokens, ..Options::unlimited() }).await;
    let api = openapi::load();
    let gone = fake.world(|w| w.repos[w.repo(names::WEB)].issues.iter().find(|i| i.deleted).unwrap().number);
    fake.world_mut(|w| w.rename_default_branch(w.repo(names::QUIET), "trunk"));
    let mut wrong = vec![];
    for (template, path, status) in [
        ("", "contoso/old-name", 301),
        ("/branches/{branch}", "contoso/quiet/branches/main", 301),
        ("", "contoso/archived", 403),
        ("/contributors", "contoso/archived/contributors", 403),
        ("/stargazers", "contoso/web/stargazers", 403),
        ("/collaborators", "contoso/web/collaborators", 403),
        ("", "contoso/gone", 404),
        ("/issues/events/{event_id}", "contoso/web/issues/events/1", 404),
        ("/pulls/comments/{comment_id}", "contoso/web/pulls/comments/1", 404),
        ("/pulls/{pull_number}", "contoso/web/pulls/1", 404),
        ("/branches/{branch}", "contoso/web/branches/nowhere", 404),
        ("/compare/{basehead}", "contoso/web/compare/main...gh-pages", 404),
        ("/commits", "contoso/empty/commits", 409),
        ("/commits/{ref}", "contoso/empty/commits/main", 409),
        ("/git/matching-refs/{ref}", "contoso/empty/git/matching-refs/heads", 409),
        ("/issues", "contoso/no-issues/issues", 410),
        ("/issues/{issue_number}", &format!("contoso/web/issues/{gone}"), 410),
        ("/commits/{ref}", "contoso/web/commits/0000000000000000000000000000000000000000", 422),
        ("/issues", "contoso/web/issues?per_page=100&page=101", 422),
        ("/events", "contoso/web/events?per_page=100&page=4", 422),
        ("", "contoso/dmca", 451),
    ] {
        let answer = get(&fake, &format!("repos/{path}")).await;
        assert_eq!(answer.status(), status, "{path}");
        let template = format!("/repos/{{owner}}/{{repo}}{template}");
        wrong.extend(openapi::check_refusal(&api, &template, status, &answer.json().await.unwrap()));
    }
    let hidden = json_of(get(&fake, "users/managed_emu").await).await;
    wrong.extend(openapi::check_refusal(&api, "/users/{username}", 404, &hidden));
    for (template, path) in
        [("/user/{account_id}", "user/1"), ("/users/{username}/followers", "users/no-one/followers")]
    {
        let answer = json_of(get(&fake, path).await).await;
        wrong.extend(openapi::check_refusal(&api, template, 404, &answer));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let odd = serde_json::json!({"message": 5, "documentation_url": "x"});
    assert!(!openapi::check_refusal(&api, "/repos/{owner}/{repo}", 404, &odd).is_empty());
}

#[tokio::test]
async fn tokens_see_what_they_may() {
    let options = Options {
        tokens: vec![
            TokenSpec::new("all"),
            TokenSpec::new("some").private(Visible::Only(vec![names::PRIVATE.into()])),
            TokenSpec::new("public").private(Visible::None),
        ],
        ..Options::default()
    };
    let fake = FakeGitHub::start(World::edge_cases(1), options).await;
    let url = format!("{}repos/{}", fake.url(), names::PRIVATE);
    for (auth, status) in [("Bearer all", 200), ("token some", 200), ("Bearer public", 404), ("Bearer wrong", 401)] {
        let answer = client().get(&url).header("authorization", auth).send().await.unwrap();
        assert_eq!(answer.status(), status, "{auth}");
    }
    assert_eq!(client().get(&url).send().await.unwrap().status(), 404);
    let public = format!("{}repos/{}", fake.url(), names::WEB);
    let anonymous = client().get(&public).send().await.unwrap();
    assert_eq!((anonymous.status().as_u16(), header(&anonymous, "x-ratelimit-limit").as_str()), (200, "60"));
    let old = client().get(&public).header("x-github-api-version", "2019-01-01").send().await.unwrap();
    assert_eq!(old.status(), 400);
    let _ = rustls::crypto::ring::default_provider().install_default();
    let nameless = Client::new().get(&public).bearer_auth("all").send().await.unwrap();
    assert_eq!(nameless.status(), 403);
}

#[tokio::test]
async fn tokens_without_permission_are_rejected() {
    let options = Options {
        tokens: vec![
            TokenSpec::new("all"),
            TokenSpec::new("starless").without_stars(),
            TokenSpec::new("outside").refused(&["Contoso/Quiet"]).private(Visible::None),
        ],
        ..Options::default()
    };
    let fake = FakeGitHub::start(World::edge_cases(1), options).await;
    let ask = |token: &'static str, path: &str| client().get(format!("{}{path}", fake.url())).bearer_auth(token).send();
    let quiet = fake.world(|w| w.repos[w.repo(names::QUIET)].id);
    for path in ["stargazers", "collaborators"] {
        for at in ["repos/contoso/quiet".to_owned(), format!("repositories/{quiet}")] {
            let at = format!("{at}/{path}");
            assert_eq!(ask("all", &at).await.unwrap().status(), 200, "{at}");
            let refused = ask("starless", &at).await.unwrap();
            assert!(header(&refused, "x-accepted-github-permissions").starts_with("metadata=read"), "{at}");
            let body: Value = refused.json().await.unwrap();
            assert_eq!(body["message"], "Resource not accessible by personal access token");
            let refused = ask("outside", &at).await.unwrap();
            assert_eq!(refused.status(), 403);
            assert!(header(&refused, "x-github-sso").starts_with("required; url=https://github.com/orgs/contoso/"));
        }
    }
    for (token, path, status) in [
        ("starless", "repos/contoso/quiet/labels", 200),
        ("starless", "repos/contoso/gone/stargazers", 404),
        ("outside", "repos/contoso/quiet", 403),
        ("outside", "repos/contoso/web/stargazers", 200),
        ("outside", "repos/contoso/private", 404),
        ("outside", "orgs/contoso/repos", 200),
    ] {
        assert_eq!(ask(token, path).await.unwrap().status(), status, "{token} {path}");
    }
    assert_eq!(fake.requests()[1].template, "/repos/{owner}/{repo}/stargazers");
}

#[tokio::test]
async fn versions_differ_as_githubs_do() {
    let fake = edge_cases().await;
    for (version, has) in [("2022-11-28", true), ("2026-03-10", false)] {
        for path in ["repos/contoso/web/pulls", "repos/contoso/web/pulls/129", "repos/contoso/web/issues"] {
            let url = format!("{}{path}", fake.url());
            let request = client().get(url).bearer_auth("fake-token").header("x-github-api-version", version);
            let answer = request.send().await.unwrap();
            assert_eq!(header(&answer, "x-github-api-version-selected"), version);
            let body: Value = answer.json().await.unwrap();
            let row = body.get(0).unwrap_or(&body);
            assert_eq!(row.get("assignee").is_some(), has, "{path} {version}");
            if path.contains("pulls") {
                assert_eq!(row.get("merge_commit_sha").is_some(), has, "{path} {version}");
                assert_eq!(row["base"]["repo"].get("has_downloads").is_some(), has);
            }
        }
    }
}

#[tokio::test]
async fn unchanged_answers_are_free() {
    let fake = FakeGitHub::start(World::edge_cases(1), Options::default()).await;
    let first = get(&fake, "repos/contoso/web/labels").await;
    let tag = header(&first, "etag");
    assert!(tag.starts_with("W/\""), "{tag}");
    let url = format!("{}repos/contoso/web/labels", fake.url());
    let again = |tag: String| client().get(&url).bearer_auth("fake-token").header("if-none-match", tag).send();
    for sent in [tag.clone(), tag.trim_start_matches("W/").to_owned()] {
        let answer = again(sent).await.unwrap();
        assert_eq!(answer.status(), 304);
        assert_eq!(header(&answer, "etag"), tag.trim_start_matches("W/"));
        assert_eq!(header(&answer, "x-ratelimit-remaining"), "4999");
    }
    assert_eq!((fake.counted(), fake.request_count()), (1, 3));
    // Without a token the same answer counts, and it has another tag.
    let other = client().get(&url).header("if-none-match", &tag).send().await.unwrap();
    assert_eq!(other.status(), 200);
    fake.world_mut(|w| w.rename_label(w.repo(names::WEB), "bug", "defect"));
    assert_eq!(again(tag).await.unwrap().status(), 200);
}

#[tokio::test]
async fn lists_end_where_githubs_do() {
    let mut world = World::edge_cases(1);
    let quiet = world.repo(names::QUIET);
    for i in 0..40_050 {
        let user = world.add_user(&format!("star{i}"), UserKind::User);
        world.repos[quiet].stars.push(Star { user, at: EPOCH + i });
    }
    for _ in 0..10_100 {
        world.open_issue(quiet, None, "one of many", None);
    }
    let fake = FakeGitHub::start(world, Options { deep_page_cap: Some(1), ..Options::unlimited() }).await;
    let answer = get(&fake, "repos/contoso/quiet/stargazers?per_page=100&page=400").await;
    assert_eq!((answer.status().as_u16(), rel(&answer, "next")), (200, None));
    assert_eq!(get(&fake, "repos/contoso/quiet/stargazers?per_page=100&page=401").await.status(), 422);
    assert_eq!(get(&fake, "repos/contoso/quiet/issues?per_page=100&page=100").await.status(), 200);
    assert_eq!(get(&fake, "repos/contoso/quiet/issues?per_page=100&page=101").await.status(), 422);
    assert_eq!(walk(&fake, "repos/contoso/quiet/issues?per_page=100").await.0.len(), 10_101);
    // An option: long lists that end silently.
    assert_eq!(walk(&fake, "repos/contoso/web/commits?per_page=100").await.0.len(), 100);

    let big = "repos/contoso/big-pr";
    assert_eq!(walk(&fake, &format!("{big}/pulls/1/commits?per_page=100")).await.0.len(), 250);
    let shas = fake.world(|w| w.pull_shas(w.repo(names::BIG_PR), 1));
    let spec = fake.world(|w| {
        let pull = w.issue(w.repo(names::BIG_PR), 1).pull.as_ref().unwrap();
        format!("{}...{}", w.sha(pull.base), w.sha(pull.head))
    });
    let whole = json(&fake, &format!("{big}/compare/{spec}")).await;
    assert_eq!(whole["total_commits"], 260);
    assert_eq!(whole["commits"].as_array().unwrap().len(), 250);
    assert_eq!(whole["commits"][249]["sha"], shas[259]);
    assert_eq!(whole["files"].as_array().unwrap().len(), 300);
    assert_eq!(whole["merge_base_commit"]["sha"], spec[..40]);
    let mut found = vec![];
    for page in 1..=3 {
        let part = json(&fake, &format!("{big}/compare/{spec}?per_page=100&page={page}")).await;
        found.extend(part["commits"].as_array().unwrap().iter().map(|c| c["sha"].as_str().unwrap().to_owned()));
        assert_eq!(part.get("files").is_some(), page == 1);
    }
    assert_eq!(found, shas);
    let mut files = 0;
    let mut next = Some(format!("{}{big}/commits/main", fake.url()));
    while let Some(url) = next {
        let answer = client().get(url).bearer_auth("fake-token").send().await.unwrap();
        next = rel(&answer, "next");
        let body: Value = answer.json().await.unwrap();
        files += body["files"].as_array().unwrap().len();
    }
    assert_eq!(files, 3_000);
}

#[tokio::test]
async fn primary_limit_ends_and_returns() {
    let options = Options { tokens: vec![TokenSpec::new("fake-token").budget(5_000, 2, 2)], ..Options::default() };
    let fake = FakeGitHub::start(World::edge_cases(1), options).await;
    for left in ["1", "0"] {
        let answer = get(&fake, "repos/contoso/quiet").await;
        assert_eq!((answer.status().as_u16(), header(&answer, "x-ratelimit-remaining").as_str()), (200, left));
    }
    tokio::time::sleep(Duration::from_millis(150)).await;
    let refused = get(&fake, "repos/contoso/quiet").await;
    assert_eq!((refused.status().as_u16(), header(&refused, "x-ratelimit-remaining").as_str()), (403, "0"));
    assert_eq!(fake.limit_violations().len(), 1);
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    let answer = get(&fake, "repos/contoso/quiet").await;
    assert_eq!((answer.status().as_u16(), header(&answer, "x-ratelimit-remaining").as_str()), (200, "4999"));
    assert_eq!((fake.counted(), fake.limit_violations().len()), (3, 1));
}

#[tokio::test]
async fn concurrent_requests_do_not_share_one_remaining_request() {
    let tokens = vec![TokenSpec::new("fake-token").budget(5_000, 1, 3_600)];
    let latency = Duration::from_millis(300);
    let fake = FakeGitHub::start(World::edge_cases(1), Options { tokens, latency, ..Options::default() }).await;
    let answers = futures::future::join_all((0..16).map(|_| get(&fake, "versions"))).await;
    assert!(answers.iter().all(|r| header(r, "x-ratelimit-remaining") == "0"));
    assert_eq!((fake.by_status()[&200], fake.by_status()[&403], fake.counted()), (1, 15, 1));
    assert!(fake.limit_violations().is_empty());

    // What an answer doesn't count is there for the next request: a 304, a failure of the server, a refusal.
    let tokens = vec![TokenSpec::new("fake-token").budget(5_000, 2, 3_600)];
    let fake = FakeGitHub::start(World::edge_cases(1), Options { tokens, ..Options::default() }).await;
    let tag = header(&get(&fake, "versions").await, "etag");
    let again = || {
        client().get(format!("{}versions", fake.url())).bearer_auth("fake-token").header("if-none-match", &tag).send()
    };
    fake.set_fault(Fault::next(1, "meta", FaultKind::Status { status: 502, html: true }));
    for answer in [again().await.unwrap(), get(&fake, "meta").await, again().await.unwrap()] {
        assert!(matches!(answer.status().as_u16(), 304 | 502));
        assert_eq!(
            (header(&answer, "x-ratelimit-remaining"), header(&answer, "x-ratelimit-used")),
            ("1".into(), "4999".into())
        );
    }
    fake.set_fault(Fault::next(1, "meta", FaultKind::Hang));
    let hung =
        client().get(format!("{}meta", fake.url())).bearer_auth("fake-token").timeout(Duration::from_millis(200));
    assert!(hung.send().await.is_err());
    assert_eq!(fake.remaining("fake-token"), Some(1));
    assert_eq!(header(&get(&fake, "meta").await, "x-ratelimit-remaining"), "0");
}

#[tokio::test]
async fn secondary_limit_without_header_still_applies() {
    let limits = Limits { points_per_minute: 2, retry_after: None, hidden_pause: 1, ..Limits::default() };
    let fake = FakeGitHub::start(World::edge_cases(1), Options { limits, ..Options::default() }).await;
    for status in [200, 200, 403, 403] {
        let answer = get(&fake, "versions").await;
        assert_eq!((answer.status().as_u16(), header(&answer, "retry-after").as_str()), (status, ""));
    }
    assert!(fake.limit_violations().is_empty());
    tokio::time::sleep(Duration::from_millis(150)).await;
    assert!(get(&fake, "versions").await.text().await.unwrap().contains("secondary rate limit"));
    assert_eq!(fake.limit_violations()[0].why, "inside a pause without Retry-After");

    let limits = Limits { hidden_pause: 1, ..Limits::default() };
    let fake = FakeGitHub::start(World::edge_cases(1), Options { limits, ..Options::default() }).await;
    fake.set_fault(Fault::next(1, "versions", FaultKind::Secondary { status: 429, retry_after: None }));
    assert_eq!(get(&fake, "versions").await.status(), 429);
    // A fault waits until no limit answers in its place.
    fake.set_fault(Fault::next(1, "meta", FaultKind::HtmlOk));
    assert_eq!(get(&fake, "meta").await.status(), 403);
    assert_eq!(fake.faults()[1].struck, 0);
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    assert!(get(&fake, "meta").await.json::<Value>().await.is_err());
    assert_eq!(get(&fake, "meta").await.status(), 200);
}

#[tokio::test]
async fn no_limits_can_be_said_in_zeros() {
    let options = Options { limits: Limits::zero(), prefix: "api/v3/".into(), ..Options::default() };
    let fake = FakeGitHub::start(World::edge_cases(1), options).await;
    for _ in 0..3 {
        let answer = get(&fake, "versions").await;
        let numbers = ["limit", "remaining", "used"].map(|n| header(&answer, &format!("x-ratelimit-{n}")));
        assert_eq!((answer.status().as_u16(), numbers), (200, ["0", "0", "0"].map(String::from)));
    }
    assert_eq!(json(&fake, "rate_limit").await["resources"]["core"]["limit"], 0);
    assert!(fake.limit_violations().is_empty());
}

#[tokio::test]
async fn secondary_limits_watch_speed_and_concurrency() {
    let limits = Limits { points_per_minute: 3, retry_after: Some(30), status: 429, ..Limits::default() };
    let fake = FakeGitHub::start(World::edge_cases(1), Options { limits, ..Options::default() }).await;
    for _ in 0..3 {
        assert_eq!(get(&fake, "versions").await.status(), 200);
    }
    let refused = get(&fake, "versions").await;
    assert_eq!((refused.status().as_u16(), header(&refused, "retry-after").as_str()), (429, "30"));
    assert!(fake.limit_violations().is_empty());
    tokio::time::sleep(Duration::from_millis(150)).await;
    assert_eq!(get(&fake, "versions").await.status(), 429);
    assert_eq!(fake.limit_violations()[0].why, "inside a Retry-After pause");
    assert_eq!(fake.max_points("fake-token"), 5);

    let limits = Limits { concurrent: 4, ..Limits::default() };
    let latency = Duration::from_millis(300);
    let fake = FakeGitHub::start(World::edge_cases(1), Options { limits, latency, ..Options::default() }).await;
    let answers = futures::future::join_all((0..6).map(|_| get(&fake, "versions"))).await;
    assert_eq!(answers.iter().filter(|r| r.status() == 403).count(), 2);
    assert_eq!(fake.max_in_flight("fake-token"), 6);
}

#[tokio::test]
async fn faults_strike_as_told() {
    let limits = Limits { hidden_pause: 0, ..Limits::default() };
    let fake = FakeGitHub::start(World::edge_cases(1), Options { limits, ..Options::default() }).await;
    let decoy = Decoy::start().await;
    let path = "repos/contoso/web/branches";
    let strike = |kind: FaultKind| fake.set_fault(Fault::next(1, "web/branches", kind));
    strike(FaultKind::Status { status: 502, html: true });
    let answer = get(&fake, path).await;
    assert_eq!((answer.status().as_u16(), header(&answer, "content-type").starts_with("text/html")), (502, true));
    for status in [403, 404] {
        strike(FaultKind::Status { status, html: true });
        let answer = get(&fake, path).await;
        assert_eq!(
            (answer.status(), header(&answer, "content-type")),
            (status.try_into().unwrap(), "text/html; charset=utf-8".into())
        );
    }
    strike(FaultKind::Unavailable { status: 503, retry_after: 7 });
    let answer = get(&fake, path).await;
    assert_eq!((answer.status().as_u16(), header(&answer, "retry-after").as_str()), (503, "7"));
    strike(FaultKind::HtmlOk);
    assert!(get(&fake, path).await.json::<Value>().await.is_err());
    strike(FaultKind::Empty);
    let answer = get(&fake, path).await;
    assert_eq!((answer.status().as_u16(), answer.bytes().await.unwrap().len()), (200, 0));
    // Half a body that looks like a whole one but for its JSON.
    strike(FaultKind::Cut);
    let answer = get(&fake, path).await;
    assert_eq!((answer.status().as_u16(), header(&answer, "content-length").as_str()), (200, ""));
    let half = answer.bytes().await.unwrap();
    assert!(half.starts_with(b"[{") && serde_json::from_slice::<Value>(&half).is_err());
    strike(FaultKind::Drip { pieces: 10, pause: Duration::from_millis(20) });
    let start = Instant::now();
    assert_eq!(get(&fake, path).await.json::<Vec<Value>>().await.unwrap().len(), 30);
    assert!(start.elapsed() >= Duration::from_millis(180));
    strike(FaultKind::Truncated);
    let answer = get(&fake, path).await;
    assert_eq!(answer.status(), 200);
    assert!(answer.bytes().await.is_err());
    strike(FaultKind::Reset);
    let url = format!("{}{path}", fake.url());
    assert!(client().get(&url).bearer_auth("fake-token").send().await.is_err());
    strike(FaultKind::Hang);
    let hung = client().get(&url).bearer_auth("fake-token").timeout(Duration::from_millis(300)).send().await;
    assert!(hung.unwrap_err().is_timeout());
    strike(FaultKind::Slow(Duration::from_millis(200)));
    let start = Instant::now();
    assert_eq!(get(&fake, path).await.status(), 200);
    assert!(start.elapsed() >= Duration::from_millis(200));
    strike(FaultKind::Secondary { status: 429, retry_after: None });
    let answer = get(&fake, path).await;
    assert_eq!((answer.status().as_u16(), header(&answer, "retry-after").as_str()), (429, ""));
    assert!(answer.text().await.unwrap().contains("secondary rate limit"));
    strike(FaultKind::SsoPartial);
    let answer = get(&fake, path).await;
    assert_eq!(header(&answer, "x-github-sso"), "partial-results; organizations=1,2");
    strike(FaultKind::SsoRequired);
    assert!(header(&get(&fake, path).await, "x-github-sso").starts_with("required; url="));
    strike(FaultKind::Permission("issues=read"));
    assert_eq!(header(&get(&fake, path).await, "x-accepted-github-permissions"), "issues=read");
    strike(FaultKind::Redirect(decoy.url().into()));
    assert_eq!(header(&get(&fake, path).await, "location"), decoy.url());
    strike(FaultKind::ForeignNext(decoy.url().into()));
    let next = rel(&get(&fake, path).await, "next").unwrap();
    assert!(next.starts_with(decoy.url()));
    client().get(&next).header("authorization", "leak").send().await.unwrap();
    assert_eq!(decoy.seen()[0].header("authorization"), Some("leak"));
    strike(FaultKind::Revoke);
    assert_eq!(get(&fake, path).await.status(), 401);
    assert_eq!(get(&fake, "versions").await.status(), 401);
    fake.reinstate("fake-token");
    strike(FaultKind::Primary { status: 403 });
    for _ in 0..2 {
        let answer = get(&fake, path).await;
        assert_eq!((answer.status().as_u16(), header(&answer, "x-ratelimit-remaining").as_str()), (403, "0"));
    }
    assert!(fake.faults().iter().all(|f| f.struck == 1));
    fake.clear_faults();

    let fake = edge_cases().await;
    fake.set_fault(Fault::percent(30, 7, "", FaultKind::Status { status: 500, html: false }));
    let mut failed = 0;
    for _ in 0..100 {
        failed += usize::from(get(&fake, "versions").await.status() == 500);
    }
    assert!((15..45).contains(&failed), "{failed}");
}

#[tokio::test]
async fn it_can_look_like_a_server_of_ones_own() {
    let options = Options { prefix: "api/v3/".into(), gzip: true, ..Options::unlimited() };
    let fake = FakeGitHub::start(World::edge_cases(1), options).await;
    assert!(fake.url().ends_with("/api/v3/"));
    let answer = get(&fake, "repos/contoso/web/commits").await;
    assert_eq!(header(&answer, "x-ratelimit-limit"), "");
    assert!(rel(&answer, "next").unwrap().starts_with(fake.url()));
    assert_eq!(answer.json::<Vec<Value>>().await.unwrap().len(), 30);
    assert_eq!(
        walk(&fake, "repos/contoso/web/commits?per_page=100").await.0.len(),
        100.max(fake.all("/repos/contoso/web/commits").len())
    );
    assert_eq!(get(&fake, "rate_limit").await.status(), 404);
}

fn ignore<T>(_: T) {}

#[tokio::test]
async fn changes_are_visible_and_newest() {
    type Change = (&'static str, fn(&mut World, RepoIx));
    let fake = edge_cases().await;
    let issues: [Change; 11] = [
        ("close", |w, r| w.close_issue(r, 20, None)),
        ("reopen", |w, r| w.reopen_issue(r, 20, None)),
        ("title", |w, r| w.edit_issue_title(r, 21, "new title")),
        ("comment", |w, r| ignore(w.add_comment(r, 22, None, "new"))),
        ("label", |w, r| w.label_issue(r, 23, "bug")),
        ("unlabel", |w, r| w.unlabel_issue(r, 23, "bug")),
        ("push to pull", |w, r| ignore(w.push_to_pull(r, 129, 2))),
        ("force-push pull", |w, r| ignore(w.force_push_pull(r, 129, 2))),
        ("review", |w, r| ignore(w.add_review(r, 129, None, "APPROVED", "ok"))),
        ("merge", |w, r| ignore(w.merge_pull(r, 129, None))),
        ("delete comment", |w, r| {
            let id = w.repos[r].comments.iter().find(|c| !c.deleted && c.on == 22).unwrap().id;
            w.delete_comment(r, id);
        }),
    ];
    let updated = "/repos/contoso/web/issues?state=all&sort=updated&direction=desc";
    let newest = || fake.all(updated)[0]["updated_at"].as_str().unwrap().to_owned();
    for (what, change) in issues {
        let before = newest();
        fake.world_mut(|w| change(w, w.repo(names::WEB)));
        assert!(newest() > before, "{what}");
    }
    let others: [Change; 14] = [
        ("push", |w, r| ignore(w.push(r, "main", 2, 1))),
        ("branch", |w, r| w.create_branch(r, "new", w.repos[r].branches["main"])),
        ("force-push", |w, r| ignore(w.force_push(r, "new", 2, 3))),
        ("drop branch", |w, r| w.delete_branch(r, "new")),
        ("star", |w, r| w.star(r, w.user("alice"))),
        ("unstar", |w, r| w.unstar(r, w.user("alice"))),
        ("fork", |w, r| ignore(w.fork(r, "alice/web"))),
        ("topic", |w, r| w.lose_topic(r, "web")),
        ("release", |w, r| ignore(w.add_release(r, "v2", w.user("bob"), None))),
        ("edit comment", |w, r| w.edit_comment(r, w.repos[r].comments[0].id, "edited")),
        ("rename label", |w, r| w.rename_label(r, "C#", "F#")),
        ("delete label", |w, r| w.delete_label(r, "F#")),
        ("event", |w, r| ignore(w.add_event(r, 1, None, "pinned", None, Detail::None))),
        ("rename", |w, r| w.rename_repo(r, "site")),
    ];
    let everything = || {
        [
            "",
            "/branches",
            "/labels",
            "/stargazers",
            "/forks",
            "/topics",
            "/releases",
            "/issues/comments",
            "/issues/events",
        ]
        .map(|p| fake.all(&format!("/repositories/720000000{p}")))
    };
    for (what, change) in others {
        let (before, clock) = (everything(), fake.world(|w| w.clock));
        fake.world_mut(|w| change(w, 0));
        assert!(everything() != before, "{what}");
        assert!(fake.world(|w| w.clock) > clock, "{what}");
    }
    assert_eq!(get(&fake, "repos/contoso/web").await.status(), 301);
    fake.world_mut(|w| w.make_private(0));
    assert_eq!(client().get(format!("{}repositories/720000000", fake.url())).send().await.unwrap().status(), 404);
    fake.world_mut(|w| w.delete_repo(0));
    assert_eq!(get(&fake, "repositories/720000000").await.status(), 404);
}

#[tokio::test]
async fn people_follow_and_join_and_stop() {
    let fake = edge_cases().await;
    let (alice, bob, contoso) = fake.world(|w| (w.user("alice"), w.user("bob"), w.user("contoso")));
    let logins = |path: &str| -> Vec<String> {
        fake.all(path).iter().map(|row| row["login"].as_str().unwrap().to_owned()).collect()
    };
    assert!(logins("/users/alice/following").contains(&"bob".to_owned()));
    assert!(logins("/users/bob/followers").contains(&"alice".to_owned()));
    assert_eq!(logins("/orgs/contoso/members"), ["alice", "bob", "carol", "dave", "erin"]);
    // Outsiders are shown those only whom everybody may know.
    assert_eq!(logins("/orgs/contoso/public_members"), ["alice", "carol", "dave"]);
    let url = format!("{}orgs/contoso/members?per_page=2", fake.url());
    let sent_on = client().get(url).send().await.unwrap();
    assert_eq!(sent_on.status(), 302);
    assert!(header(&sent_on, "location").ends_with("/orgs/contoso/public_members?per_page=2"));
    assert_eq!(logins("/users/bob/orgs"), ["fabrikam"]);
    let number = fake.world(|w| w.users[alice as usize].id);
    assert_eq!(logins(&format!("/user/{number}/followers")), logins("/users/alice/followers"));

    let profile = |login: &str| fake.one(&format!("/users/{login}"));
    let before = (profile("alice")["following"].as_u64().unwrap(), profile("bob")["followers"].as_u64().unwrap());
    fake.world_mut(|w| {
        w.unfollow(alice, bob);
        w.leave(contoso, alice);
        w.join(contoso, bob, true);
    });
    assert!(!logins("/users/alice/following").contains(&"bob".to_owned()));
    let after = (profile("alice")["following"].as_u64().unwrap(), profile("bob")["followers"].as_u64().unwrap());
    assert_eq!(after, (before.0 - 1, before.1 - 1));
    assert_eq!(logins("/orgs/contoso/public_members"), ["bob", "carol", "dave"]);
    assert_eq!(logins("/users/bob/orgs"), ["contoso", "fabrikam"]);
    fake.world_mut(|w| {
        for number in 0..120 {
            let fan = w.add_user(&format!("fan-{number}"), UserKind::User);
            w.follow(fan, alice);
        }
        w.account_becomes_ghost(bob);
    });
    let (rows, pages) = walk(&fake, "users/alice/followers?per_page=100").await;
    assert!(rows.len() >= 120 && pages == 2 && rows == fake.all("/users/alice/followers"));
    let first = get(&fake, "users/alice/followers?per_page=100").await;
    assert!(rel(&first, "next").unwrap().contains(&format!("/user/{number}/followers?")));
    assert!(!logins("/orgs/contoso/members").contains(&"bob".to_owned()));
}

#[tokio::test]
async fn repositories_and_their_owners_move() {
    let fake = edge_cases().await;
    fake.world_mut(|w| {
        w.transfer_repo(w.repo(names::QUIET), "northwind");
        w.transfer_repo(w.repo("dave/web"), "erin");
    });
    let number = |name: &str| fake.world(|w| w.repos[w.repo(name)].id);
    let moved = get(&fake, "repos/contoso/quiet/labels").await;
    assert_eq!(moved.status(), 301);
    assert!(header(&moved, "location").ends_with(&format!("/repositories/{}/labels", number("northwind/quiet"))));
    assert_eq!(fake.one("/repos/northwind/quiet")["organization"]["login"], "northwind");
    let pull =
        fake.all("/repos/contoso/web/pulls?state=all").into_iter().find(|p| p["title"] == "Open, from a fork's main");
    let head = &pull.unwrap()["head"];
    assert_eq!((&head["label"], &head["user"]["login"]), (&"erin:main".into(), &"erin".into()));

    fake.world_mut(|w| w.rename_user("contoso", "contoso-oss"));
    fake.world_mut(|w| w.rename_user("alice", "alicia"));
    for (path, status) in [
        ("repos/contoso/web", 301),
        ("repos/contoso/old-name", 301),
        ("repos/contoso/quiet", 301),
        ("repos/contoso-oss/web", 200),
        ("orgs/contoso", 404),
        ("orgs/contoso-oss", 200),
        ("users/alice", 404),
        ("users/alicia", 200),
    ] {
        assert_eq!(get(&fake, path).await.status(), status, "{path}");
    }
    assert!(fake.all("/repos/contoso-oss/web/issues/comments").iter().all(|c| c["user"]["login"] != "alice"));
    // Who takes the old name gets the address with it.
    fake.world_mut(|w| ignore(w.add_repo(names::WEB)));
    assert_eq!(get(&fake, "repos/contoso/web").await.status(), 200);
}

#[tokio::test]
async fn what_can_be_taken_back_is_gone_or_changed() {
    let fake = edge_cases().await;
    let at = |path: &str| format!("/repos/contoso/web{path}");
    let (r, bob, carol) = fake.world(|w| (w.repo(names::WEB), w.user("bob"), w.user("carol")));
    let ids = fake.world(|w| {
        let x = &w.repos[r];
        (x.commit_comments[0].id, x.review_comments[0].id, x.releases[0].id, x.releases[1].id, x.reviews[0].id)
    });
    let (comment, review_comment, release, other, review) = ids;
    let pull = fake.world(|w| w.repos[r].reviews[0].number);
    let tag = fake.world(|w| w.repos[r].tags["v1.1.0"]);
    fake.world_mut(|w| {
        w.delete_commit_comment(r, comment);
        w.delete_review_comment(r, review_comment);
        w.edit_release(r, release, "new notes");
        w.delete_release(r, other);
        w.delete_tag(r, "only/in-a-tag");
        w.move_tag(r, "v1.0.0", tag);
        w.unassign(r, 1, bob, None);
        w.dismiss_review(r, review, Some(bob), "stale");
        w.rename_default_branch(r, "trunk");
    });
    for path in [format!("comments/{comment}"), format!("pulls/comments/{review_comment}")] {
        assert_eq!(get(&fake, &at(&format!("/{path}"))).await.status(), 404, "{path}");
    }
    let releases = fake.all(&at("/releases"));
    assert_eq!((releases.len(), &releases[0]["body"]), (1, &"new notes".into()));
    assert!(releases[0]["updated_at"].as_str() > releases[0]["created_at"].as_str());
    let tags = fake.all(&at("/tags"));
    assert!(tags.len() == 2 && tags[0]["commit"] == tags[1]["commit"]);
    assert!(fake.one(&at("/issues/1"))["assignees"].as_array().unwrap().iter().all(|a| a["login"] != "bob"));
    let kinds: Vec<Value> = fake.all(&at("/issues/1/events")).into_iter().map(|mut e| e["event"].take()).collect();
    assert_eq!(kinds.last().unwrap(), "unassigned");
    assert_eq!(fake.all(&at(&format!("/pulls/{pull}/reviews")))[0]["state"], "DISMISSED");
    let last = fake.all(&at(&format!("/issues/{pull}/events"))).pop().unwrap();
    assert_eq!(
        (&last["event"], &last["dismissed_review"]["state"]),
        (&"review_dismissed".into(), &"changes_requested".into())
    );
    assert_eq!(fake.one(&at(""))["default_branch"], "trunk");
    assert!(header(&get(&fake, &at("/branches/main")).await, "location").ends_with("/branches/trunk"));
    assert!(fake.all(&at("/pulls?state=open")).iter().all(|p| p["base"]["ref"] == "trunk"));

    // Being mentioned elsewhere is no change of an issue.
    let before = fake.one(&at("/issues/2"));
    for kind in ["referenced", "mentioned", "subscribed"] {
        fake.world_mut(|w| ignore(w.add_event(r, 2, Some(carol), kind, None, Detail::None)));
    }
    assert_eq!(fake.one(&at("/issues/2")), before);

    let stars = fake.all(&at("/stargazers")).len();
    fake.world_mut(|w| w.account_becomes_ghost(carol));
    for path in [
        "/issues?state=all",
        "/issues/comments",
        "/pulls?state=all",
        "/pulls/comments",
        "/issues/events",
        "/commits",
        "/stargazers",
        "/collaborators",
        "/events",
    ] {
        assert!(!fake.all(&at(path)).iter().any(|row| row.to_string().contains(r#""login":"carol""#)), "{path}");
    }
    assert!(fake.all(&at("/pulls?state=all")).iter().any(|p| p["title"] == "Merged 🎉" && p["user"].is_null()));
    assert_eq!(
        (get(&fake, "users/carol").await.status().as_u16(), fake.all(&at("/stargazers")).len()),
        (404, stars - 1)
    );
    let api = openapi::load();
    for (template, path) in [
        ("pulls", "/pulls?state=all"),
        ("events", "/events"),
        ("releases", "/releases"),
        ("issues/events", "/issues/events"),
    ] {
        let wrong = openapi::check(&api, &fake, &format!("/repos/{{owner}}/{{repo}}/{template}"), &at(path));
        assert!(wrong.is_empty(), "{wrong:?}");
    }
}

#[tokio::test]
async fn the_odd_things_are_there() {
    let fake = edge_cases().await;
    assert_eq!(fake.one("/repos/contoso/no-pulls")["has_pull_requests"], false);
    let comments = fake.all("/repos/contoso/web/issues/comments");
    assert!(comments.iter().any(|c| c["user"]["login"] == "managed_emu"));
    assert!(comments.iter().any(|c| c["user"]["login"].as_str().is_some_and(|l| l.len() == 39)));
    let issues = fake.all("/repos/contoso/web/issues?state=all");
    assert!(issues.iter().any(|i| i["type"]["name"] == "Bug"));
    for reason in ["completed", "reopened", "not_planned", "duplicate"] {
        assert!(issues.iter().any(|i| i["state_reason"] == reason), "{reason}");
    }
    assert_eq!(fake.all("/repos/contoso/web/events").iter().filter(|e| e["type"] == "FutureEvent").count(), 1);
    let commits = fake.all("/repos/contoso/web/commits");
    assert!(commits.iter().any(|c| c["author"].is_null()));
    assert!(commits.iter().any(|c| c["author"].as_object().is_some_and(|o| o.is_empty())));
    assert!(commits.iter().any(|c| c["committer"]["login"] == "web-flow"));
    assert!(commits.iter().any(|c| c["parents"].as_array().unwrap().len() == 3));
    let of = |email: &str| commits.iter().filter(|c| c["commit"]["author"]["email"] == email).collect::<Vec<_>>();
    let erin = of("erin@early.example");
    assert!(erin.iter().any(|c| c["author"].is_null()) && erin.iter().any(|c| c["author"]["login"] == "erin"));
    let issues = fake.all("/repos/contoso/web/issues?state=all");
    assert!(issues.iter().any(|i| i["title"].as_str().unwrap().contains('\0')));
    assert!(issues.iter().any(|i| i["body"].as_str().is_some_and(|b| b.len() >= 100_000)));
    for login in ["ghost", "dependabot[bot]", "mona-import"] {
        assert!(issues.iter().any(|i| i["user"]["login"] == login), "{login}");
    }
    assert!(issues.iter().any(|i| i["user"].is_null()));
    let pulls = fake.all("/repos/contoso/web/pulls?state=all");
    let orphan = pulls.iter().find(|p| p["head"]["repo"].is_null()).unwrap();
    assert!(orphan["head"]["user"].is_null() && orphan["head"]["label"] == "erin:topic/lost");
    assert!(pulls.iter().any(|p| p["head"]["repo"]["full_name"] == "dave/web"));
    let fork = fake.one("/repos/fabrikam/web-fork");
    assert_eq!((&fork["parent"]["full_name"], &fork["fork"]), (&"contoso/web".into(), &true.into()));
    let apart = fake.one("/repos/contoso/web/compare/main...fabrikam:main");
    assert_eq!((&apart["status"], &apart["ahead_by"]), (&"diverged".into(), &4.into()));
    let kinds: HashSet<String> =
        fake.all("/repos/contoso/web/issues/events").iter().map(|e| e["event"].as_str().unwrap().into()).collect();
    for kind in ["closed", "reopened", "labeled", "merged", "referenced", "assigned", "renamed", "milestoned", "locked"]
    {
        assert!(kinds.contains(kind), "{kind}");
    }
    let main: HashSet<String> = fake.world(|w| w.branch_shas(0, "main")).into_iter().collect();
    assert_eq!(main.len(), commits.len());
    assert!(fake.world(|w| w.branch_shas(0, "gh-pages")).iter().all(|s| !main.contains(s)));
}

#[tokio::test]
async fn the_same_seed_makes_the_same_world() {
    let options = || Options { link_base: Some("https://api.github.com/".into()), ..Options::unlimited() };
    let size = WorldSize::of(300, 40, 30);
    let mut seen = vec![];
    for seed in [1, 1, 2] {
        let fake = FakeGitHub::start(World::sized(seed, size), options()).await;
        let paths = ["commits", "issues?state=all", "pulls?state=all", "events", "issues/comments"];
        seen.push(paths.map(|p| fake.all(&format!("/repos/contoso/huge/{p}"))));
    }
    assert!(seen[0] == seen[1] && seen[1] != seen[2]);
    assert_eq!((seen[0][1].len(), seen[0][2].len()), (70, 30));
    let w = World::sized(1, size);
    assert!((295..=310).contains(&w.commits.len()), "{}", w.commits.len());
}

/// A JSON web token of the app with that issuer, which is so many seconds old and good for so many more.
fn jwt(issuer: impl Into<Value>, age: i64, left: i64) -> String {
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs() as i64;
    signed(serde_json::json!({"iss": issuer.into(), "iat": now - age, "exp": now + left}))
}

fn signed(claims: Value) -> String {
    let key = jsonwebtoken::EncodingKey::from_rsa_pem(APP_KEY.as_bytes()).unwrap();
    jsonwebtoken::encode(&jsonwebtoken::Header::new(jsonwebtoken::Algorithm::RS256), &claims, &key).unwrap()
}

async fn ask(fake: &FakeGitHub, method: &str, token: &str, path: &str) -> Response {
    let url = format!("{}{path}", fake.url());
    client().request(method.parse().unwrap(), url).bearer_auth(token).send().await.unwrap()
}

/// An app's answer to its own JSON web token.
async fn as_app(fake: &FakeGitHub, path: &str) -> Value {
    let answer = ask(fake, "GET", &jwt(7, 60, 300), path).await;
    assert_eq!(answer.status(), 200, "{path}");
    json_of(answer).await
}

/// A new token of an installation.
async fn issue(fake: &FakeGitHub, id: u64) -> String {
    let answer = ask(fake, "POST", &jwt(7, 60, 300), &format!("app/installations/{id}/access_tokens")).await;
    assert_eq!(answer.status(), 201);
    json_of(answer).await["token"].as_str().unwrap().to_owned()
}

async fn message(answer: Response) -> (u16, String) {
    let status = answer.status().as_u16();
    (status, json_of(answer).await["message"].as_str().unwrap_or_default().to_owned())
}

async fn with_app(app: AppSpec) -> FakeGitHub {
    FakeGitHub::start(World::edge_cases(1), Options { app: Some(app), ..Options::default() }).await
}

/// The first installation of an app.
const FIRST: u64 = 50_000_001;

#[tokio::test]
async fn apps_are_known_by_their_json_web_tokens() {
    let fake = with_app(AppSpec::new(7).installed(InstallationSpec::on("contoso"))).await;
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let client_id = AppSpec::new(7).client_id;
    let undecoded = "A JSON web token could not be decoded";
    let late = "'Expiration time' claim ('exp') must be a numeric value representing the future time at which the assertion expires";
    let issued = "'Issued at' claim ('iat') must be an Integer representing the time that the assertion was issued";
    let mut forged = jwt(7, 60, 300);
    forged.replace_range(forged.len() - 20..forged.len() - 18, "AA");
    for (token, status, says) in [
        (jwt(7, 60, 300), 200, ""),
        (jwt("7", 0, 600), 200, ""),
        (jwt(client_id.clone(), 60, 540), 200, ""),
        (jwt(8, 60, 300), 404, "Integration not found"),
        (forged, 401, undecoded),
        ("nonsense".into(), 401, undecoded),
        ("fake-token".into(), 401, undecoded),
        (jwt(7, -30, 300), 401, issued),
        (signed(serde_json::json!({"iss": 7, "exp": now + 60})), 401, issued),
        (jwt(7, 60, 605), 401, "'Expiration time' claim ('exp') is too far in the future"),
        (jwt(7, 60, -1), 401, late),
        (signed(serde_json::json!({"iss": 7, "iat": now})), 401, late),
    ] {
        let answer = ask(&fake, "GET", &token, "app").await;
        assert_eq!((answer.status().as_u16(), message(answer).await.1.as_str()), (status, says), "{token}");
    }
    let url = format!("{}app", fake.url());
    let scheme = client().get(&url).header("authorization", format!("token {}", jwt(7, 60, 300))).send().await.unwrap();
    assert_eq!(message(scheme).await, (401, undecoded.into()));
    assert_eq!(message(client().get(&url).send().await.unwrap()).await, (401, undecoded.into()));
    for path in ["repos/contoso/web", "orgs/contoso/repos", "user", "rate_limit", "installation/repositories"] {
        assert_eq!(message(ask(&fake, "GET", &jwt(7, 60, 300), path).await).await, (401, "Bad credentials".into()));
    }
    // A budget of its own.
    let limits = ["limit", "remaining"].map(|n| format!("x-ratelimit-{n}"));
    let answer = ask(&fake, "GET", &jwt(7, 0, 60), "app").await;
    assert_eq!(limits.map(|name| header(&answer, &name)), ["5000", "4996"].map(String::from));
    assert_eq!((fake.remaining(APP_NAME), fake.by_token()[APP_NAME]), (Some(4_996), 17));

    let strict = with_app(AppSpec { issuer_is_number: true, ..AppSpec::new(7) }).await;
    let number = "'Issuer' claim ('iss') must be an Integer";
    assert_eq!(message(ask(&strict, "GET", &jwt(client_id, 60, 300), "app").await).await, (401, number.into()));
    assert_eq!(as_app(&strict, "app").await["installations_count"], 0);
    assert_eq!(message(ask(&edge_cases().await, "GET", &jwt(7, 60, 300), "app").await).await.0, 404);
    assert_eq!(std::fs::read_to_string(APP_KEY_FILE).unwrap(), APP_KEY);
}

#[tokio::test]
async fn the_servers_clock_judges_an_app() {
    let at = |skew: i64| async move {
        let app = Some(AppSpec::new(7).installed(InstallationSpec::on("contoso")));
        FakeGitHub::start(World::edge_cases(1), Options { app, clock_skew: skew, ..Options::default() }).await
    };
    for (skew, status) in [(-120, 401), (120, 200), (400, 401)] {
        let fake = at(skew).await;
        let answer = ask(&fake, "GET", &jwt(7, 60, 300), "app").await;
        assert_eq!(answer.status(), status, "{skew}");
        let said = chrono::DateTime::parse_from_rfc2822(&header(&answer, "date")).unwrap().timestamp();
        let ahead = said - std::time::UNIX_EPOCH.elapsed().unwrap().as_secs() as i64;
        assert!((skew - 2..=skew).contains(&ahead), "{ahead}");
    }
    let fake = at(0).await;
    let dates = ask(&fake, "GET", "fake-token", "versions").await;
    assert_eq!(dates.headers().get_all("date").iter().count(), 1);
}

#[tokio::test]
async fn answers_to_apps_fit_githubs_description() {
    let app = AppSpec::new(7)
        .installed(InstallationSpec::on("contoso"))
        .installed(InstallationSpec::on("alice").suspended())
        .installed(InstallationSpec::on("fabrikam").selected(&[names::WEB_FORK]));
    let fake = with_app(app).await;
    let mut api = openapi::load();
    let post = api["paths"]["/app/installations/{installation_id}/access_tokens"]["post"].take();
    api["paths"]["/tokens"]["get"] = post;
    api["paths"]["/tokens"]["get"]["responses"]["200"] = api["paths"]["/tokens"]["get"]["responses"]["201"].clone();
    // GitHub's description of the list wants an account to be a user and an enterprise at once, that of one either.
    let list = "/paths/~1app~1installations/get/responses/200/content/application~1json/schema/items";
    *api.pointer_mut(list).unwrap() = serde_json::json!({"$ref": "#/components/schemas/installation"});
    let mut wrong = vec![];
    for (template, path) in [
        ("/app", "app"),
        ("/app/installations", "app/installations"),
        ("/app/installations/{installation_id}", "app/installations/50000002"),
        ("/orgs/{org}/installation", "orgs/contoso/installation"),
        ("/users/{username}/installation", "users/alice/installation"),
        ("/repos/{owner}/{repo}/installation", "repos/fabrikam/web-fork/installation"),
    ] {
        wrong.extend(openapi::check_value(&api, template, &as_app(&fake, path).await));
    }
    let token = issue(&fake, FIRST).await;
    let listed = ask(&fake, "GET", &token, "installation/repositories").await;
    wrong.extend(openapi::check_value(&api, "/installation/repositories", &json_of(listed).await));
    let made = ask(&fake, "POST", &jwt(7, 60, 300), "app/installations/50000003/access_tokens").await;
    wrong.extend(openapi::check_value(&api, "/tokens", &json_of(made).await));
    for (id, status) in [(50_000_002_u64, 403), (1, 404)] {
        let refused = ask(&fake, "POST", &jwt(7, 60, 300), &format!("app/installations/{id}/access_tokens")).await;
        assert_eq!(refused.status(), status);
        wrong.extend(openapi::check_refusal(&api, "/tokens", status, &json_of(refused).await));
    }
    let user = ask(&fake, "GET", &token, "user").await;
    wrong.extend(openapi::check_refusal(&api, "/user", 403, &json_of(user).await));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn apps_are_told_where_they_are_installed() {
    let mut app = AppSpec::new(7).installed(InstallationSpec::on("contoso").numbered(12));
    app = app.installed(InstallationSpec::on("alice").suspended());
    let fake = with_app(app).await;
    for (path, id) in [
        ("orgs/contoso/installation", 12),
        ("orgs/CONTOSO/installation", 12),
        ("users/alice/installation", FIRST),
        ("repos/contoso/private/installation", 12),
        ("app/installations/12", 12),
    ] {
        assert_eq!(as_app(&fake, path).await["id"], id, "{path}");
    }
    for path in [
        "orgs/fabrikam/installation",
        "orgs/alice/installation",
        "users/contoso/installation",
        "repos/contoso/gone/installation",
        "repos/fabrikam/web-fork/installation",
        "app/installations/13",
        "app/nonsense",
    ] {
        assert_eq!(ask(&fake, "GET", &jwt(7, 60, 300), path).await.status(), 404, "{path}");
    }
    let (own, suspended) = (as_app(&fake, "app").await, as_app(&fake, "users/alice/installation").await);
    assert_eq!((&own["id"], &own["installations_count"]), (&7.into(), &2.into()));
    assert!(suspended["suspended_at"].is_string() && suspended["target_type"] == "User");
    let tokens = format!("app/installations/{FIRST}/access_tokens");
    let refused = || async { message(ask(&fake, "POST", &jwt(7, 60, 300), &tokens).await).await };
    assert_eq!(refused().await, (403, "This installation has been suspended".into()));
    fake.unsuspend(FIRST);
    assert_eq!(refused().await.0, 201);

    let third = fake.install(InstallationSpec::on("fabrikam").selected(&[names::WEB_FORK]));
    assert_eq!(
        (third, as_app(&fake, "repos/fabrikam/web-fork/installation").await["id"].as_u64()),
        (third, Some(third))
    );
    let first = ask(&fake, "GET", &jwt(7, 60, 300), "app/installations?per_page=2").await;
    assert!(rel(&first, "next").unwrap().ends_with("/app/installations?per_page=2&page=2"));
    assert_eq!(json_of(first).await.as_array().unwrap().len(), 2);
    let rest = as_app(&fake, "app/installations?per_page=2&page=2").await;
    assert_eq!((rest.as_array().unwrap().len(), &rest[0]["repository_selection"]), (1, &"selected".into()));
    fake.uninstall(12);
    assert_eq!(ask(&fake, "GET", &jwt(7, 60, 300), "orgs/contoso/installation").await.status(), 404);
    assert_eq!(as_app(&fake, "app/installations").await.as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn an_installations_tokens_end() {
    let app = AppSpec::new(7).installed(InstallationSpec::on("contoso")).token_life(Duration::from_secs(2));
    let fake = with_app(app).await;
    let status = |token: String| {
        let fake = &fake;
        async move { message(ask(fake, "GET", &token, "repos/contoso/private").await).await }
    };
    let answer = ask(&fake, "POST", &jwt(7, 60, 300), &format!("app/installations/{FIRST}/access_tokens")).await;
    let made = json_of(answer).await;
    let expires = chrono::DateTime::parse_from_rfc3339(made["expires_at"].as_str().unwrap()).unwrap().timestamp();
    let left = expires - std::time::UNIX_EPOCH.elapsed().unwrap().as_secs() as i64;
    assert!((0..=2).contains(&left) && made["expires_at"].as_str().unwrap().ends_with('Z'));
    assert_eq!((&made["permissions"]["issues"], &made["repository_selection"]), (&"read".into(), &"all".into()));
    let first = made["token"].as_str().unwrap().to_owned();
    assert!(first.starts_with("ghs_7_eyJ") && first.split('.').count() == 3);
    assert!((500..540).contains(&first.len()), "{}", first.len());
    let bad = || (401, "Bad credentials".to_owned());
    assert_eq!(status(first.clone()).await.0, 200);
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    assert_eq!(status(first.clone()).await, bad());

    let tokens = [issue(&fake, FIRST).await, issue(&fake, FIRST).await];
    assert_eq!(fake.issued(FIRST), [first, tokens[0].clone(), tokens[1].clone()]);
    assert_ne!(tokens[0], tokens[1]);
    fake.revoke(&tokens[0]);
    assert_eq!((status(tokens[0].clone()).await, status(tokens[1].clone()).await.0), (bad(), 200));
    fake.set_fault(Fault::next(1, "private", FaultKind::Revoke).on_token(&installation_name(FIRST)));
    assert_eq!((status(tokens[1].clone()).await, status(tokens[1].clone()).await), (bad(), bad()));
    let before = issue(&fake, FIRST).await;
    fake.revoke_installation_tokens(FIRST);
    let after = issue(&fake, FIRST).await;
    assert_eq!((status(before).await, status(after.clone()).await.0), (bad(), 200));
    fake.suspend(FIRST);
    assert_eq!(status(after.clone()).await, (403, "This installation has been suspended".into()));
    fake.unsuspend(FIRST);
    assert_eq!(status(after.clone()).await.0, 200);
    fake.uninstall(FIRST);
    assert_eq!(status(after).await, bad());
    let tokens = ask(&fake, "POST", &jwt(7, 60, 300), &format!("app/installations/{FIRST}/access_tokens")).await;
    assert_eq!(tokens.status(), 404);
}

#[tokio::test]
async fn installation_tokens_share_budget_but_no_validators() {
    let app = AppSpec::new(7).installed(InstallationSpec::on("contoso").budget(6_000, 3, 3_600));
    let fake = with_app(app.installed(InstallationSpec::on("fabrikam"))).await;
    let tokens = [issue(&fake, FIRST).await, issue(&fake, FIRST).await];
    let path = "repos/contoso/web/labels";
    let first = ask(&fake, "GET", &tokens[0], path).await;
    assert_eq!(["limit", "remaining"].map(|n| header(&first, &format!("x-ratelimit-{n}"))), ["6000", "2"]);
    let url = format!("{}{path}", fake.url());
    let tag = header(&first, "etag");
    for (token, status, left) in [(&tokens[0], 304, "2"), (&tokens[1], 200, "1"), (&tokens[0], 304, "1")] {
        let again = client().get(&url).bearer_auth(token).header("if-none-match", &tag).send().await.unwrap();
        assert_eq!((again.status().as_u16(), header(&again, "x-ratelimit-remaining").as_str()), (status, left));
    }
    let limit = json_of(ask(&fake, "GET", &tokens[0], "rate_limit").await).await;
    assert_eq!(limit["resources"]["core"]["remaining"], 1);
    assert_eq!(ask(&fake, "GET", &tokens[0], path).await.status(), 200);
    let spent = message(ask(&fake, "GET", &tokens[1], path).await).await;
    assert_eq!(spent, (403, format!("API rate limit exceeded for installation ID {FIRST}.")));
    let other = issue(&fake, FIRST + 1).await;
    assert_eq!(header(&ask(&fake, "GET", &other, path).await, "x-ratelimit-remaining"), "4999");
    let name = installation_name(FIRST);
    assert_eq!((fake.remaining(&name), fake.by_token()[&name]), (Some(0), 7));
    assert_eq!(fake.requests()[2].sent_token, tokens[0]);
}

#[tokio::test]
async fn an_installation_sees_what_it_is_on() {
    let mut world = World::edge_cases(1);
    for name in ["fabrikam/secret", "alice/secret", "contoso/secret"] {
        let repo = world.add_repo(name);
        world.make_private(repo);
    }
    let app = AppSpec::new(7)
        .installed(InstallationSpec::on("contoso"))
        .installed(InstallationSpec::on("contoso").selected(&[names::WEB, "contoso/secret"]))
        .installed(InstallationSpec::on("alice"));
    let fake = FakeGitHub::start(world, Options { app: Some(app), ..Options::default() }).await;
    let tokens = [issue(&fake, FIRST).await, issue(&fake, FIRST + 1).await, issue(&fake, FIRST + 2).await];
    for (path, statuses) in [
        ("repos/contoso/web", [200, 200, 200]),
        ("repos/contoso/private", [200, 404, 404]),
        ("repos/contoso/secret", [200, 200, 404]),
        ("repos/fabrikam/secret", [404, 404, 404]),
        ("repos/alice/secret", [404, 404, 200]),
        ("repos/fabrikam/web-fork", [200, 200, 200]),
        ("repos/contoso/quiet/collaborators", [200, 403, 403]),
        ("repos/contoso/quiet/stargazers", [403, 403, 403]),
        ("user", [403, 403, 403]),
        ("user/orgs", [403, 403, 403]),
        ("user/repos", [403, 403, 403]),
        ("users/alice", [200, 200, 200]),
        ("app", [401, 401, 401]),
        ("nonsense", [404, 404, 404]),
    ] {
        for (token, status) in tokens.iter().zip(statuses) {
            let answer = ask(&fake, "GET", token, path).await;
            assert_eq!(answer.status(), status, "{path}");
            if status == 403 {
                assert_eq!(message(answer).await.1, "Resource not accessible by integration", "{path}");
            }
        }
    }
    let listed = |token: String, query: &'static str| {
        let fake = &fake;
        async move { json_of(ask(fake, "GET", &token, &format!("installation/repositories{query}")).await).await }
    };
    let all = listed(tokens[0].clone(), "?per_page=100").await;
    let public = fake.all("/orgs/contoso/repos").len();
    assert_eq!(
        (all["total_count"].as_u64(), all["repositories"].as_array().unwrap().len()),
        (Some(public as u64), public)
    );
    let some = listed(tokens[1].clone(), "").await;
    assert_eq!((&some["repository_selection"], &some["total_count"]), (&"selected".into(), &2.into()));
    let page = listed(tokens[1].clone(), "?per_page=1&page=2").await;
    assert_eq!(page["repositories"][0]["full_name"], "contoso/secret");
    let first = ask(&fake, "GET", &tokens[1], "installation/repositories?per_page=1").await;
    assert!(rel(&first, "next").unwrap().ends_with("/installation/repositories?per_page=1&page=2"));
    let org = json_of(ask(&fake, "GET", &tokens[1], "orgs/contoso/repos?type=private").await).await;
    assert_eq!((org.as_array().unwrap().len(), &org[0]["name"]), (1, &"secret".into()));
    assert_eq!(get(&fake, "installation/repositories").await.status(), 403);
}

#[tokio::test]
async fn an_installation_may_what_it_was_granted() {
    let mut world = World::edge_cases(1);
    for org in ["contoso", "fabrikam"] {
        let alice = world.user("alice");
        world.add_team(org, "First", &[alice], &[]);
        world.let_in(org, alice);
    }
    let little = ["issues", "pull_requests", "contents", "members", "organization_hooks"];
    let little = little.iter().fold(InstallationSpec::on("contoso"), |spec, name| spec.without(name));
    let app = AppSpec::new(7)
        .installed(InstallationSpec::on("contoso"))
        .installed(little)
        .installed(InstallationSpec::on("contoso").with("organization_hooks", "read").with("contents", "write"));
    let fake = FakeGitHub::start(world, Options { app: Some(app), ..Options::default() }).await;
    let tokens = [issue(&fake, FIRST).await, issue(&fake, FIRST + 1).await, issue(&fake, FIRST + 2).await];
    let private = "repos/contoso/private";
    for (path, statuses, needs) in [
        ("", [200, 200, 200], ""),
        ("/topics", [200, 200, 200], ""),
        ("/comments", [200, 200, 200], ""),
        ("/collaborators", [200, 200, 200], ""),
        ("/issues", [200, 403, 200], "issues=read"),
        ("/issues/comments", [200, 403, 200], "issues=read"),
        ("/issues/events", [200, 403, 200], "issues=read"),
        ("/labels", [200, 403, 200], "issues=read"),
        ("/milestones", [200, 403, 200], "issues=read"),
        ("/pulls", [200, 403, 200], "pull_requests=read"),
        ("/pulls/comments", [200, 403, 200], "pull_requests=read"),
        ("/commits", [200, 403, 200], "contents=read"),
        ("/branches", [200, 403, 200], "contents=read"),
        ("/releases", [200, 403, 200], "contents=read"),
        ("/stargazers", [403, 403, 200], "metadata=read; contents=write"),
    ]
    .map(|(path, statuses, needs)| (format!("{private}{path}"), statuses, needs))
    .into_iter()
    .chain([
        // Where everybody may look nothing is needed.
        ("repos/contoso/web/issues".into(), [200, 200, 200], ""),
        ("orgs/contoso/members".into(), [200, 302, 200], ""),
        ("orgs/contoso/teams".into(), [200, 403, 200], "members=read"),
        ("orgs/contoso/teams/first/members".into(), [200, 403, 200], "members=read"),
        ("orgs/contoso/outside_collaborators".into(), [200, 403, 200], "members=read"),
        ("orgs/contoso/hooks".into(), [200, 403, 200], "organization_hooks=read"),
        ("orgs/fabrikam/members".into(), [302, 302, 302], ""),
        ("orgs/fabrikam/teams".into(), [404, 404, 404], ""),
        ("orgs/fabrikam/hooks".into(), [404, 404, 404], ""),
    ]) {
        for (token, status) in tokens.iter().zip(statuses) {
            let answer = ask(&fake, "GET", token, &path).await;
            assert_eq!(answer.status(), status, "{path}");
            let said = header(&answer, "x-accepted-github-permissions");
            assert_eq!(said, if status == 403 { needs } else { "" }, "{path}");
        }
    }
    let hook = r#"{"name":"web","events":["*"],"config":{"url":"https://msght.example.com/","secret":"s"}}"#;
    let post = |token: String, org: &'static str| {
        client().post(format!("{}orgs/{org}/hooks", fake.url())).bearer_auth(token).body(hook).send()
    };
    let made = post(tokens[0].clone(), "contoso").await.unwrap();
    assert_eq!(made.status(), 201);
    let id = json_of(made).await["id"].as_u64().unwrap();
    let change = |token: &str| {
        let url = format!("{}orgs/contoso/hooks/{id}", fake.url());
        client().patch(url).bearer_auth(token).body(r#"{"active":false}"#).send()
    };
    assert_eq!(change(&tokens[0]).await.unwrap().status(), 200);
    for refused in [post(tokens[2].clone(), "contoso").await.unwrap(), change(&tokens[1]).await.unwrap()] {
        assert_eq!(header(&refused, "x-accepted-github-permissions"), "organization_hooks=write");
        assert_eq!(message(refused).await, (403, "Resource not accessible by integration".into()));
    }
    assert_eq!(post(tokens[0].clone(), "fabrikam").await.unwrap().status(), 404);
    fake.reinstall(FIRST + 1, |spec| spec.permissions.push(("issues", "read")));
    assert_eq!(ask(&fake, "GET", &tokens[1], &format!("{private}/issues")).await.status(), 200);
}
