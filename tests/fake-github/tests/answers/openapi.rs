//! Checks the fake GitHub's answers against GitHub's own description of its REST API.
use fake_github::{FakeGitHub, RepoIx};
use jsonschema::Validator;
use serde_json::{Value, json};
use std::collections::BTreeSet;

const FILE: &str = "../node_modules/@octokit/openapi/generated/api.github.com.json";

/// Where GitHub's answers differ from GitHub's description, with the reason: these may be null all the same.
const NULL_IN_TRUTH: &[(&str, &str, &str)] = &[
    ("pull-request", "/properties/head/properties/repo", "the fork was deleted"),
    ("pull-request", "/properties/head/properties/user", "the fork was deleted"),
    ("pull-request", "/properties/user", "the author's account was deleted"),
    ("pull-request-simple", "/properties/head/properties/repo", "the fork was deleted"),
    ("pull-request-simple", "/properties/labels/items/properties/description", "a label needs no description"),
    ("pull-request-minimal", "/properties/head/properties/repo", "the fork was deleted"),
    ("pull-request-review-comment", "/properties/position", "the line is outdated"),
    ("pull-request-review-comment", "/properties/line", "the line is outdated"),
];

/// Events of an issue whose description says that an actor or an app is always there.
const ISSUE_EVENTS: &[&str] = &[
    "labeled-issue-event",
    "unlabeled-issue-event",
    "assigned-issue-event",
    "milestoned-issue-event",
    "renamed-issue-event",
    "review-requested-issue-event",
    "review-dismissed-issue-event",
    "locked-issue-event",
    // Has no member of its own that is required: every event of another kind ("closed", "merged", ...) goes by it.
    "added-to-project-issue-event",
];

/// GitHub's description, made readable for a JSON Schema validator.
pub fn load() -> Value {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(FILE);
    let Ok(text) = std::fs::read(&path) else {
        panic!("GitHub's OpenAPI description is missing: run `npm ci --prefix tests`");
    };
    let mut api: Value = serde_json::from_slice(&text).unwrap();
    for (schema, at, why) in NULL_IN_TRUTH {
        let place =
            api["components"]["schemas"][schema].pointer_mut(at).unwrap_or_else(|| panic!("{schema}{at}: {why}"));
        let inner = place.take();
        *place = json!({"nullable": true, "allOf": [inner]});
    }
    for schema in ISSUE_EVENTS {
        for member in ["actor", "performed_via_github_app", "assigner", "assignee"] {
            if let Some(place) = api["components"]["schemas"][schema]["properties"].get_mut(member) {
                // The account was deleted; no app was at work.
                let inner = place.take();
                *place = json!({"nullable": true, "allOf": [inner]});
            }
        }
    }
    // Its `oneOf` can never hold: an empty PublicEvent fits every payload. `check` picks the payload by the type.
    api["components"]["schemas"]["event"]["properties"]["payload"] = json!({"type": "object"});
    let components =
        json!({"schemas": api["components"]["schemas"].take(), "responses": api["components"]["responses"].take()});
    let mut out = json!({"components": components, "paths": api["paths"].take()});
    plain(&mut out["components"]["schemas"]);
    out
}

/// GitHub's description of what webhooks carry.
pub fn load_webhooks() -> Value {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../node_modules/@octokit/openapi-webhooks/generated/api.github.com.json");
    let Ok(text) = std::fs::read(&path) else {
        panic!("GitHub's description of its webhooks is missing: run `npm ci --prefix tests`");
    };
    serde_json::from_slice(&text).unwrap()
}

/// Checks what one delivery carries.
pub fn check_delivery(api: &Value, event: &str, action: Option<&str>, payload: &Value) -> Vec<String> {
    let name = [Some(event), action].into_iter().flatten().collect::<Vec<_>>().join("-").replace('_', "-");
    let schema = &api["webhooks"][&name]["post"]["requestBody"]["content"]["application/json"]["schema"];
    if schema.is_null() {
        return vec![format!("GitHub knows no {name}")];
    }
    errors(&kept(api, &format!("webhook {name}"), || schema.clone()), payload, &name)
}

/// OpenAPI 3.0's `nullable` in JSON Schema's words.
fn plain(v: &mut Value) {
    match v {
        Value::Array(items) => items.iter_mut().for_each(plain),
        Value::Object(map) => {
            map.values_mut().for_each(plain);
            if map.get("nullable") == Some(&Value::Bool(true)) {
                map.remove("nullable");
                let inner = v.take();
                *v = json!({"anyOf": [inner, {"type": "null"}]});
            }
        }
        _ => {}
    }
}

/// A validator of a schema, with only those others along that it leads to.
fn validator(api: &Value, mut schema: Value) -> Validator {
    plain(&mut schema);
    let mut wanted = vec![schema.clone()];
    let mut seen = BTreeSet::new();
    let mut along = serde_json::Map::new();
    while let Some(v) = wanted.pop() {
        refs(&v, &mut |name| {
            if seen.insert(name.to_owned()) {
                let schema = api["components"]["schemas"][name].clone();
                along.insert(name.into(), schema.clone());
                wanted.push(schema);
            }
        });
    }
    let root = json!({"components": {"schemas": along}, "allOf": [schema]});
    jsonschema::options()
        .with_draft(jsonschema::Draft::Draft4)
        .should_validate_formats(true)
        .build(&root)
        .expect("a sound schema")
}

fn refs(v: &Value, found: &mut impl FnMut(&str)) {
    match v {
        Value::Array(items) => items.iter().for_each(|i| refs(i, found)),
        Value::Object(map) => {
            if let Some(name) =
                map.get("$ref").and_then(Value::as_str).and_then(|r| r.strip_prefix("#/components/schemas/"))
            {
                found(name);
            }
            map.values().for_each(|i| refs(i, found));
        }
        _ => {}
    }
}

/// What the description says that an address answers.
fn answer_schema(api: &Value, template: &str) -> Value {
    let schema = &api["paths"][template]["get"]["responses"]["200"]["content"]["application/json"]["schema"];
    assert!(!schema.is_null(), "GitHub's description has no {template}");
    schema.clone()
}

fn errors(v: &Validator, value: &Value, what: &str) -> Vec<String> {
    let text = |e: jsonschema::ValidationError| {
        let shown: String = e.to_string().chars().take(300).collect();
        format!("{what} at {}: {shown}", e.instance_path())
    };
    v.iter_errors(value).take(3).map(text).collect()
}

/// Checks one value.
pub fn check_value(api: &Value, template: &str, value: &Value) -> Vec<String> {
    errors(&validator(api, answer_schema(api, template)), value, template)
}

/// Checks the body of a refusal. Where the description has no such answer for the address it goes by GitHub's common
/// form of an error.
pub fn check_refusal(api: &Value, template: &str, status: u16, body: &Value) -> Vec<String> {
    let answers = &api["paths"][template]["get"]["responses"];
    assert!(!answers.is_null(), "GitHub's description has no {template}");
    let mut answer = &answers[status.to_string()];
    if let Some(name) = answer["$ref"].as_str().and_then(|r| r.strip_prefix("#/components/responses/")) {
        answer = &api["components"]["responses"][name];
    }
    let content = &answer["content"];
    let described = ["application/json", "application/scim+json"].map(|kind| &content[kind]["schema"]);
    let schema = described.into_iter().find(|s| !s.is_null()).cloned();
    let schema = schema.unwrap_or_else(|| json!({"$ref": "#/components/schemas/basic-error"}));
    let what = format!("{template} {status}");
    let mut wrong = errors(&kept(api, &what, || schema), body, &what);
    // The common form requires nothing, yet this much is always there.
    if !body["message"].is_string() {
        wrong.push(format!("{what} has no message"));
    }
    wrong
}

thread_local! {
    static VALIDATORS: std::cell::RefCell<std::collections::HashMap<String, std::rc::Rc<Validator>>> = Default::default();
}

fn kept(api: &Value, name: &str, schema: impl FnOnce() -> Value) -> std::rc::Rc<Validator> {
    if let Some(v) = VALIDATORS.with(|k| k.borrow().get(name).cloned()) {
        return v;
    }
    let made = std::rc::Rc::new(validator(api, schema()));
    VALIDATORS.with(|k| k.borrow_mut().insert(name.into(), made.clone()));
    made
}

/// Checks everything that an address answers, all pages.
pub fn check(api: &Value, fake: &FakeGitHub, template: &str, path: &str) -> Vec<String> {
    let schema = answer_schema(api, template);
    let is_list = schema["type"] == "array" || template.ends_with("/stargazers");
    let v = kept(api, template, || schema);
    let rows = fake.all(path);
    let mut wrong = vec![];
    if template.ends_with("}/events") || template == "/repos/{owner}/{repo}/events" {
        // A type that is still to come has no description.
        for e in rows.iter().filter(|e| e.get("payload").is_some() && e["type"] != "FutureEvent") {
            let name = payload_schema(e["type"].as_str().unwrap());
            let v = kept(api, &name, || json!({"$ref": format!("#/components/schemas/{name}")}));
            wrong.extend(errors(&v, &e["payload"], &format!("{path} {name}")));
        }
    }
    let value = if is_list { Value::Array(rows) } else { rows.into_iter().next().unwrap() };
    wrong.extend(errors(&v, &value, path));
    wrong
}

/// `PullRequestReviewEvent` is described by `pull-request-review-event`.
fn payload_schema(kind: &str) -> String {
    let mut name = String::new();
    for c in kind.chars() {
        if c.is_uppercase() && !name.is_empty() {
            name.push('-');
        }
        name.push(c.to_ascii_lowercase());
    }
    name
}

/// The addresses of a repository, each with the template that describes it.
pub fn addresses(fake: &FakeGitHub, name: &str) -> Vec<(&'static str, String)> {
    let mut list: Vec<(&'static str, String)> = vec![];
    let mut add = |template: &'static str, path: String| list.push((template, format!("/repos/{name}{path}")));
    add("/repos/{owner}/{repo}", String::new());
    for (template, path) in [
        ("/repos/{owner}/{repo}/collaborators", "/collaborators"),
        ("/repos/{owner}/{repo}/labels", "/labels"),
        ("/repos/{owner}/{repo}/milestones", "/milestones?state=all"),
        ("/repos/{owner}/{repo}/topics", "/topics"),
        ("/repos/{owner}/{repo}/languages", "/languages"),
        ("/repos/{owner}/{repo}/releases", "/releases"),
        ("/repos/{owner}/{repo}/branches", "/branches"),
        ("/repos/{owner}/{repo}/tags", "/tags"),
        ("/repos/{owner}/{repo}/comments", "/comments"),
        ("/repos/{owner}/{repo}/subscribers", "/subscribers"),
        ("/repos/{owner}/{repo}/forks", "/forks"),
        ("/repos/{owner}/{repo}/events", "/events"),
        ("/repos/{owner}/{repo}/hash-algorithm", "/hash-algorithm"),
    ] {
        add(template, path.into());
    }
    fake.world(|w| {
        let repo: RepoIx = w.repo(name);
        let r = &w.repos[repo];
        if !r.stars_denied {
            add("/repos/{owner}/{repo}/stargazers", "/stargazers".into());
        }
        if r.has_pull_requests {
            add("/repos/{owner}/{repo}/pulls", "/pulls?state=all".into());
            add("/repos/{owner}/{repo}/pulls/comments", "/pulls/comments".into());
        }
        if r.has_issues {
            add("/repos/{owner}/{repo}/issues", "/issues?state=all".into());
            add("/repos/{owner}/{repo}/issues/comments", "/issues/comments".into());
            add("/repos/{owner}/{repo}/issues/events", "/issues/events".into());
        }
        if !r.branches.is_empty() {
            add("/repos/{owner}/{repo}/commits", "/commits".into());
            add("/repos/{owner}/{repo}/contributors", "/contributors".into());
            add("/repos/{owner}/{repo}/git/matching-refs/{ref}", "/git/matching-refs/heads".into());
            add("/repos/{owner}/{repo}/git/matching-refs/{ref}", "/git/matching-refs/tags".into());
            for branch in r.branches.keys().filter(|b| !b.starts_with("work/")) {
                let branch: String = url::form_urlencoded::byte_serialize(branch.as_bytes()).collect();
                let branch = branch.replace('+', "%20");
                add("/repos/{owner}/{repo}/branches/{branch}", format!("/branches/{branch}"));
                add("/repos/{owner}/{repo}/commits/{ref}", format!("/commits/{branch}"));
            }
            let main = w.sha(r.branches["main"]);
            for &b in r.branches.values() {
                if w.compare(r.branches["main"], b).is_some() {
                    add("/repos/{owner}/{repo}/compare/{basehead}", format!("/compare/{main}...{}", w.sha(b)));
                }
            }
        }
        for c in &r.commit_comments {
            add("/repos/{owner}/{repo}/comments/{comment_id}", format!("/comments/{}", c.id));
            add("/repos/{owner}/{repo}/commits/{commit_sha}/comments", format!("/commits/{}/comments", w.sha(c.on)));
        }
        for i in r.issues.iter().filter(|i| !i.deleted).filter(|i| i.number <= 12 || i.pull.is_some()) {
            let n = i.number;
            if r.has_issues {
                add("/repos/{owner}/{repo}/issues/{issue_number}", format!("/issues/{n}"));
                add("/repos/{owner}/{repo}/issues/{issue_number}/comments", format!("/issues/{n}/comments"));
                add("/repos/{owner}/{repo}/issues/{issue_number}/events", format!("/issues/{n}/events"));
            }
            if i.pull.is_some() {
                add("/repos/{owner}/{repo}/pulls/{pull_number}", format!("/pulls/{n}"));
                add("/repos/{owner}/{repo}/pulls/{pull_number}/commits", format!("/pulls/{n}/commits"));
                add("/repos/{owner}/{repo}/pulls/{pull_number}/files", format!("/pulls/{n}/files"));
                add("/repos/{owner}/{repo}/pulls/{pull_number}/reviews", format!("/pulls/{n}/reviews"));
                add("/repos/{owner}/{repo}/pulls/{pull_number}/comments", format!("/pulls/{n}/comments"));
            }
        }
        for c in r.comments.iter().filter(|c| !c.deleted && r.has_issues).take(10) {
            add("/repos/{owner}/{repo}/issues/comments/{comment_id}", format!("/issues/comments/{}", c.id));
        }
        // One event of each kind, and one without its actor.
        let mut kinds = BTreeSet::new();
        for e in r.events.iter().filter(|e| r.has_issues && kinds.insert((e.event, e.actor.is_none()))) {
            add("/repos/{owner}/{repo}/issues/events/{event_id}", format!("/issues/events/{}", e.id));
        }
        for c in r.review_comments.iter().filter(|c| !c.deleted) {
            add("/repos/{owner}/{repo}/pulls/comments/{comment_id}", format!("/pulls/comments/{}", c.id));
        }
    });
    list
}
