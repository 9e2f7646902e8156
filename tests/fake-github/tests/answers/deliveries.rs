//! Deliveries are sent, signed, logged and sent again as GitHub does it, and what they carry fits its description.
use super::{client, openapi};
use axum::http::HeaderMap;
use fake_github::*;
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

type Got = Arc<Mutex<Vec<(HeaderMap, Vec<u8>)>>>;

/// Somebody who takes deliveries and answers with a status.
async fn receiver(status: u16) -> (String, Got) {
    let got = Got::default();
    let kept = got.clone();
    let take = move |headers: HeaderMap, body: axum::body::Bytes| async move {
        kept.lock().unwrap().push((headers, body.to_vec()));
        axum::http::StatusCode::from_u16(status).unwrap()
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let app = axum::Router::new().fallback(take).layer(axum::extract::DefaultBodyLimit::disable());
        axum::serve(listener, app).await.unwrap();
    });
    (url, got)
}

async fn estate(url: &str) -> FakeGitHub {
    let mut world = World::estate(5, &[("contoso", 4), ("fabrikam", 2)]);
    world.add_hook("contoso", url);
    let tokens = vec![TokenSpec { login: "dev0".into(), ..TokenSpec::new("fake-token") }];
    FakeGitHub::start(world, Options { tokens, ..Options::unlimited() }).await
}

async fn get(fake: &FakeGitHub, path: &str) -> (u16, Value, Option<String>) {
    ask(fake, "GET", path).await
}

async fn ask(fake: &FakeGitHub, method: &str, path: &str) -> (u16, Value, Option<String>) {
    let url = if path.starts_with("http") { path.to_owned() } else { format!("{}{path}", fake.url()) };
    let answer = client().request(method.parse().unwrap(), url).bearer_auth("fake-token").send().await.unwrap();
    let status = answer.status().as_u16();
    let next = answer.headers().get("link").and_then(|link| {
        let link = link.to_str().unwrap();
        Some(link.split_once('<')?.1.split_once('>')?.0.to_owned())
    });
    let body = answer.bytes().await.unwrap();
    (status, serde_json::from_slice(&body).unwrap_or_default(), next)
}

fn hook_path(fake: &FakeGitHub) -> String {
    format!("orgs/contoso/hooks/{}", fake.world(|w| w.hooks[0].id))
}

#[test]
fn signatures_are_githubs() {
    // The example of GitHub's own documentation.
    let signed = signature("It's a Secret to Everybody", b"Hello, World!");
    assert_eq!(signed, "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17");
}

#[tokio::test]
async fn changes_are_delivered_in_order_and_signed() {
    let (url, got) = receiver(202).await;
    let fake = estate(&url).await;
    let id = fake.world(|w| w.hooks[0].id.to_string());
    fake.world_mut(|w| {
        let repo = w.repo("contoso/r000");
        w.open_issue(repo, None, "Crème brûlée 🍮 \"quoted\" \\", Some("at\nlast"));
        // Nobody is told of what happens where there is no hook.
        let repo = w.repo("fabrikam/f000");
        w.open_issue(repo, None, "unheard", None);
    });
    fake.delivered().await;
    fake.world_mut(|w| {
        let repo = w.repo("contoso/r000");
        let number = w.repos[repo].issues.len() as u32;
        w.add_comment(repo, number, None, "and more");
        w.hooks[0].content_type = "form".into();
    });
    fake.delivered().await;
    let got = got.lock().unwrap().clone();
    assert_eq!(got.len(), 2);
    for ((headers, body), event) in got.iter().zip(["issues", "issue_comment"]) {
        let header = |name: &str| headers[name].to_str().unwrap();
        assert_eq!(header("x-github-event"), event);
        assert_eq!(header("x-github-hook-id"), id);
        assert_eq!(header("x-github-hook-installation-target-id"), "6154722");
        assert_eq!(header("x-github-hook-installation-target-type"), "organization");
        assert!(header("user-agent").starts_with("GitHub-Hookshot/"));
        assert_eq!(header("x-hub-signature-256"), format!("sha256={}", signature(HOOK_SECRET, body)));
        assert!(header("x-hub-signature").starts_with("sha1="));
        assert_eq!(header("x-github-delivery").len(), 36);
    }
    let issue: Value = serde_json::from_slice(&got[0].1).unwrap();
    assert_eq!(issue["action"], "opened");
    assert_eq!(issue["issue"]["title"], "Crème brûlée 🍮 \"quoted\" \\");
    let form: Vec<(String, String)> = url::form_urlencoded::parse(&got[1].1).into_owned().collect();
    assert_eq!(
        (got[1].0["content-type"].to_str().unwrap(), form[0].0.as_str()),
        ("application/x-www-form-urlencoded", "payload")
    );
    let comment: Value = serde_json::from_str(&form[0].1).unwrap();
    assert_eq!(comment["comment"]["body"], "and more");
}

#[tokio::test]
async fn every_kind_of_change_is_told_and_fits_githubs_description() {
    let (url, _) = receiver(202).await;
    let fake = estate(&url).await;
    every_change(&fake);
    fake.world_mut(|w| w.add_hook("contoso", "http://127.0.0.1:1/"));
    let ping = format!("{}/pings", hook_path(&fake));
    assert_eq!(ask(&fake, "POST", &ping).await.0, 204);
    fake.delivered().await;
    let described = openapi::load_webhooks();
    let (mut wrong, mut told) = (BTreeSet::new(), BTreeSet::new());
    for delivery in fake.deliveries() {
        let payload: Value = serde_json::from_str(&delivery.payload).unwrap();
        told.insert(match &delivery.action {
            Some(action) => format!("{}.{action}", delivery.event),
            None => delivery.event.clone(),
        });
        wrong.extend(openapi::check_delivery(&described, &delivery.event, delivery.action.as_deref(), &payload));
        if delivery.event != "ping" {
            assert_eq!(payload["organization"]["login"], "contoso");
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let of_nothing = openapi::check_delivery(&described, "star", Some("created"), &Value::Null);
    assert!(!of_nothing.is_empty());
    let told: Vec<&str> = told.iter().map(String::as_str).collect();
    assert_eq!(told, TOLD.split_whitespace().collect::<Vec<_>>());
}

const TOLD: &str = "commit_comment.created create delete fork gollum issue_comment.created issue_comment.deleted
    issue_comment.edited issues.assigned issues.closed issues.deleted issues.edited issues.labeled issues.locked
    issues.milestoned issues.opened issues.reopened issues.transferred issues.typed issues.unassigned issues.unlabeled
    label.created label.deleted label.edited member.added member.removed membership.added membership.removed
    milestone.closed milestone.created milestone.edited organization.member_added organization.member_removed ping public
    pull_request.closed pull_request.opened pull_request.review_requested pull_request.synchronize
    pull_request_review.dismissed pull_request_review.submitted pull_request_review_comment.created
    pull_request_review_comment.deleted push release.created release.deleted release.edited release.published
    release.released repository.archived repository.created repository.deleted repository.edited repository.privatized
    repository.publicized repository.renamed repository.transferred repository.unarchived star.created star.deleted
    team.added_to_repository team.created team.deleted team.edited team.removed_from_repository team_add watch.started";

/// Each change that the world knows, one at a time.
fn every_change(fake: &FakeGitHub) {
    let repo = fake.world(|w| w.repo("contoso/r000"));
    let (a, b) = fake.world(|w| (w.user("dev1"), w.user("dev2")));
    let step = |change: &mut dyn FnMut(&mut World)| fake.world_mut(|w| change(w));
    let (mut issue, mut pull, mut comment, mut at) = (0, 0, 0, 0);
    step(&mut |w| issue = w.open_issue(repo, Some(a), "one", Some("text")));
    step(&mut |w| w.edit_issue_title(repo, issue, "two"));
    step(&mut |w| w.edit_issue_body(repo, issue, "more"));
    step(&mut |w| _ = w.add_label(repo, "urgent", Some("now")));
    step(&mut |w| w.label_issue(repo, issue, "urgent"));
    step(&mut |w| w.unlabel_issue(repo, issue, "urgent"));
    step(&mut |w| w.rename_label(repo, "urgent", "later"));
    step(&mut |w| w.recolor_label(repo, "later", "aabbcc"));
    step(&mut |w| w.delete_label(repo, "later"));
    step(&mut |w| at = w.add_milestone(repo, "v9", Some(a)));
    step(&mut |w| w.set_milestone(repo, issue, at));
    step(&mut |w| w.rename_milestone(repo, at + 1, "v10"));
    step(&mut |w| w.close_milestone(repo, at + 1));
    step(&mut |w| w.assign(repo, issue, a, Some(b)));
    step(&mut |w| w.unassign(repo, issue, a, Some(b)));
    step(&mut |w| w.set_issue_type(repo, issue, "Bug"));
    step(&mut |w| comment = w.add_comment(repo, issue, Some(b), "hello"));
    step(&mut |w| w.edit_comment(repo, comment, "goodbye"));
    step(&mut |w| w.delete_comment(repo, comment));
    step(&mut |w| w.close_issue(repo, issue, Some(a)));
    step(&mut |w| w.reopen_issue(repo, issue, Some(a)));
    step(&mut |w| w.lock_issue(repo, issue));
    step(&mut |w| w.close_issue_as(repo, issue, Some(a), "not_planned"));
    let other = fake.world(|w| w.repo("contoso/r001"));
    step(&mut |w| _ = w.transfer_issue(repo, issue, other));
    step(&mut |w| issue = w.open_issue(repo, Some(a), "short", None));
    step(&mut |w| w.delete_issue(repo, issue));
    step(&mut |w| {
        let new = NewPull {
            user: a,
            head_repo: repo,
            head_ref: "topic".into(),
            base_ref: "main".into(),
            commits: 2,
            title: "a pull".into(),
            body: None,
            draft: false,
        };
        pull = w.open_pull(repo, new);
    });
    step(&mut |w| _ = w.push_to_pull(repo, pull, 1));
    step(&mut |w| w.request_review(repo, pull, b));
    let mut review = 0;
    step(&mut |w| review = w.add_review(repo, pull, Some(b), "APPROVED", "fine"));
    step(&mut |w| comment = w.add_review_comment(repo, pull, Some(review), Some(b), "here", None));
    step(&mut |w| w.delete_review_comment(repo, comment));
    step(&mut |w| w.dismiss_review(repo, review, Some(a), "no"));
    step(&mut |w| _ = w.merge_pull(repo, pull, Some(b)));
    let person = fake.world_mut(|w| w.person_of(a));
    step(&mut |w| _ = w.push(repo, "main", 2, person));
    step(&mut |w| _ = w.push(repo, "fresh", 1, person));
    step(&mut |w| _ = w.force_push(repo, "fresh", 1, 2));
    step(&mut |w| w.delete_branch(repo, "fresh"));
    let head = fake.world(|w| w.repos[repo].branches["main"]);
    step(&mut |w| w.add_tag(repo, "v3", head));
    step(&mut |w| w.delete_tag(repo, "v3"));
    step(&mut |w| _ = w.comment_commit(repo, head, Some(a), "why"));
    let mut release = 0;
    step(&mut |w| release = w.add_release(repo, "v4", a, Some("notes")));
    step(&mut |w| w.edit_release(repo, release, "better notes"));
    step(&mut |w| w.delete_release(repo, release));
    let star = fake.world_mut(|w| w.add_user("stargazer", UserKind::User));
    step(&mut |w| w.star(repo, star));
    step(&mut |w| w.unstar(repo, star));
    step(&mut |w| _ = w.fork(repo, "stargazer/r000"));
    step(&mut |w| w.add_collaborator(repo, star, "write"));
    step(&mut |w| w.remove_collaborator(repo, star));
    step(&mut |w| w.feed(repo, a, Payload::Gollum { page: "Home".into() }));
    step(&mut |w| w.set_topics(repo, &["rust"]));
    step(&mut |w| w.repos[repo].archived = true);
    step(&mut |w| w.repos[repo].archived = false);
    step(&mut |w| w.make_private(repo));
    step(&mut |w| w.make_public(repo));
    step(&mut |w| w.rename_repo(repo, "renamed"));
    let foreign = fake.world(|w| w.repo("fabrikam/f000"));
    step(&mut |w| w.transfer_repo(foreign, "contoso"));
    step(&mut |w| w.delete_repo(foreign));
    step(&mut |w| _ = w.add_repo("contoso/new"));
    let (org, mut team) = (fake.world(|w| w.user("contoso")), 0);
    step(&mut |w| w.join(org, star, true));
    step(&mut |w| team = w.add_team("contoso", "Night Shift", &[star], &[other]));
    step(&mut |w| w.teams[team].name = "Day Shift".into());
    step(&mut |w| w.teams[team].members.clear());
    step(&mut |w| w.teams[team].repos.clear());
    step(&mut |w| w.teams[team].deleted = true);
    step(&mut |w| w.leave(org, star));
}

#[tokio::test]
async fn the_log_is_paged_read_and_sent_from_again() {
    let (url, got) = receiver(503).await;
    let fake = estate(&url).await;
    for _ in 0..25 {
        fake.world_mut(|w| _ = w.open_issue(w.repo("contoso/r000"), None, "again", None));
    }
    fake.live(|live| live.dropped = 100);
    fake.world_mut(|w| _ = w.open_issue(w.repo("contoso/r000"), None, "timed out", None));
    fake.delivered().await;
    fake.live(|live| live.dropped = 0);
    let log = format!("{}/deliveries", hook_path(&fake));
    let (mut rows, mut pages) = (vec![], 0);
    let mut next = Some(format!("{log}?per_page=10"));
    while let Some(path) = next.take() {
        let (status, page, more) = get(&fake, &path).await;
        assert_eq!(status, 200);
        rows.extend(page.as_array().unwrap().clone());
        (next, pages) = (more, pages + 1);
    }
    assert_eq!((rows.len(), pages), (26, 3));
    assert_eq!((&rows[0]["status"], &rows[0]["status_code"]), (&"timed out".into(), &Value::Null));
    assert_eq!((&rows[1]["status"], &rows[1]["status_code"]), (&"Invalid HTTP Response: 503".into(), &503.into()));
    let guids: BTreeSet<&str> = rows.iter().map(|row| row["guid"].as_str().unwrap()).collect();
    assert_eq!(guids.len(), 26);
    // Time-outs are not among what failed.
    let (_, failed, _) = get(&fake, &format!("{log}?status=failure&per_page=100")).await;
    assert_eq!(failed.as_array().unwrap().len(), 25);
    let api = openapi::load();
    let list = "/orgs/{org}/hooks/{hook_id}/deliveries";
    assert_eq!(openapi::check_value(&api, list, &failed), [""; 0]);
    let one = format!("{log}/{}", rows[1]["id"]);
    let (_, whole, _) = get(&fake, &one).await;
    assert_eq!(openapi::check_value(&api, &format!("{list}/{{delivery_id}}"), &whole), [""; 0]);
    assert_eq!(whole["request"]["payload"]["issue"]["title"], "again");
    assert_eq!(whole["request"]["headers"]["X-GitHub-Delivery"], whole["guid"]);
    let before = got.lock().unwrap().len();
    assert_eq!(ask(&fake, "POST", &format!("{one}/attempts")).await.0, 202);
    fake.delivered().await;
    let again = got.lock().unwrap()[before].clone();
    assert_eq!(again.0["x-github-delivery"].to_str().unwrap(), whole["guid"].as_str().unwrap());
    assert_eq!(serde_json::from_slice::<Value>(&again.1).unwrap(), whole["request"]["payload"]);
    let (_, first, _) = get(&fake, &log).await;
    assert_eq!((&first[0]["redelivery"], &first[0]["guid"]), (&true.into(), &whole["guid"]));
    // The log ends after three days.
    fake.deliveries_mut(|log| log.iter_mut().take(25).for_each(|entry| entry.at -= LOG_KEPT));
    assert_eq!(get(&fake, &log).await.1.as_array().unwrap().len(), 2);
    assert_eq!(get(&fake, "orgs/fabrikam/hooks/1/deliveries").await.0, 404);
    let (status, hook, _) = get(&fake, &hook_path(&fake)).await;
    assert_eq!((status, openapi::check_value(&api, "/orgs/{org}/hooks/{hook_id}", &hook)), (200, vec![]));
}

#[tokio::test]
async fn the_api_and_the_feed_lag_behind() {
    let (url, got) = receiver(202).await;
    let fake = estate(&url).await;
    fake.live(|live| (live.api_lag, live.feed_lag) = (Duration::from_millis(1), Duration::from_secs(1)));
    // Evenly between nothing and this: of several, some are seen late.
    fake.live(|live| live.api_lag = Duration::from_secs(3));
    let known = get(&fake, "repos/contoso/r000/events").await.1.as_array().unwrap().len();
    let mut late = 0;
    for n in 0..4 {
        let name = format!("contoso/r00{n}");
        let number = fake.world_mut(|w| w.open_issue(w.repo(&name), None, "late", None));
        let path = format!("repos/{name}/issues/{number}");
        late += usize::from(get(&fake, &path).await.0 == 404);
        // The truth is known at once, and the delivery is out.
        assert_eq!(fake.one(&format!("/{path}"))["title"], "late");
    }
    fake.world_mut(|w| _ = w.add_repo("contoso/newest"));
    fake.delivered().await;
    assert!(late >= 2, "{late}");
    assert!(got.lock().unwrap().len() >= 5);
    assert_eq!(get(&fake, "repos/contoso/r000/events").await.1.as_array().unwrap().len(), known);
    tokio::time::sleep(Duration::from_millis(3_100)).await;
    for n in 0..4 {
        let number = fake.world(|w| w.repos[w.repo(&format!("contoso/r00{n}"))].issues.len());
        assert_eq!(get(&fake, &format!("repos/contoso/r00{n}/issues/{number}")).await.0, 200);
    }
    assert_eq!(get(&fake, "repos/contoso/newest").await.0, 200);
    assert_eq!(get(&fake, "repos/contoso/r000/events").await.1.as_array().unwrap().len(), known + 1);
    fake.live(|live| live.feed_omitted = 100);
    fake.world_mut(|w| _ = w.open_issue(w.repo("contoso/r000"), None, "never", None));
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    assert_eq!(get(&fake, "repos/contoso/r000/events").await.1.as_array().unwrap().len(), known + 1);
}

#[tokio::test]
async fn what_can_go_wrong_on_the_way_does() {
    let (url, got) = receiver(202).await;
    let fake = estate(&url).await;
    let open = |n: usize| {
        for _ in 0..n {
            fake.world_mut(|w| _ = w.open_issue(w.repo("contoso/r000"), None, "odd", None));
        }
    };
    let count = || got.lock().unwrap().len();
    fake.live(|live| live.lost = 100);
    open(3);
    fake.delivered().await;
    assert_eq!((count(), fake.deliveries().len()), (0, 0));
    fake.live(|live| (live.lost, live.duplicated) = (0, 100));
    open(3);
    fake.delivered().await;
    assert_eq!((count(), fake.deliveries().len()), (6, 3));
    fake.live(|live| (live.duplicated, live.missigned) = (0, 100));
    open(1);
    fake.delivered().await;
    let (headers, body) = got.lock().unwrap().last().unwrap().clone();
    assert_ne!(headers["x-hub-signature-256"].to_str().unwrap(), format!("sha256={}", signature(HOOK_SECRET, &body)));
    fake.live(|live| (live.missigned, live.reordered) = (0, 30));
    fake.live(|live| live.delay = Duration::ZERO..Duration::from_millis(20));
    let before = count();
    open(60);
    fake.delivered().await;
    let numbers: Vec<u64> = got.lock().unwrap()[before..]
        .iter()
        .map(|(_, body)| serde_json::from_slice::<Value>(body).unwrap()["issue"]["number"].as_u64().unwrap())
        .collect();
    assert_eq!(numbers.len(), 60);
    assert!(!numbers.is_sorted());
}
