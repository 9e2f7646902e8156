//! GitHub's apps: who an app is and where it is installed, told to its JSON web token; and the tokens of its
//! installations, which it asks for with that.
use super::json::*;
use super::limits::{TokenSpec, now};
use super::options::Options;
use super::paging::Query;
use super::routes::{Answer, Viewer, not_found, refusal};
use super::server::FakeGitHub;
use super::world::*;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, dangerous};
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// The private key of every app here, as GitHub hands it out.
pub const APP_KEY: &str = include_str!("app_key.pem");
/// Where that key lies.
pub const APP_KEY_FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/app_key.pem");
/// What the server checks signatures with.
const PUBLIC_KEY: &[u8] = include_bytes!("app_public.pem");

/// By name, each with `read` or `write`.
pub type Permissions = Vec<(&'static str, &'static str)>;

/// What an app that reads everything and makes webhooks has been granted.
const PERMISSIONS: [(&str, &str); 6] = [
    ("metadata", "read"),
    ("contents", "read"),
    ("issues", "read"),
    ("pull_requests", "read"),
    ("members", "read"),
    ("organization_hooks", "write"),
];

/// An app.
#[derive(Clone, Debug)]
pub struct AppSpec {
    pub id: u64,
    pub client_id: String,
    pub slug: String,
    /// Login of the account that has registered it.
    pub owner: String,
    pub permissions: Permissions,
    pub installations: Vec<InstallationSpec>,
    /// How long an installation's token is good. GitHub: an hour.
    pub token_life: Duration,
    /// Whether an issuer that is no number is refused. GitHub takes the client's id, and has been seen not to.
    pub issuer_is_number: bool,
}

impl AppSpec {
    /// An app that is installed nowhere.
    pub fn new(id: u64) -> AppSpec {
        AppSpec {
            id,
            client_id: format!("Iv23li{id:014}"),
            slug: "contoso-mirror".into(),
            owner: "app-maker".into(),
            permissions: PERMISSIONS.into(),
            installations: vec![],
            token_life: Duration::from_secs(3_600),
            issuer_is_number: false,
        }
    }

    /// Installed there too.
    pub fn installed(mut self, installation: InstallationSpec) -> AppSpec {
        self.installations.push(installation);
        self
    }

    /// Makes every token good for so long only.
    pub fn token_life(mut self, life: Duration) -> AppSpec {
        self.token_life = life;
        self
    }
}

/// An app on an account.
#[derive(Clone, Debug)]
pub struct InstallationSpec {
    /// 0 for one that the server chooses: 50000001 is the first.
    pub id: u64,
    /// Login of an organization or a user.
    pub account: String,
    /// All repositories of the account, or only these, by full name, as they are called now.
    pub selected: Option<Vec<String>>,
    pub permissions: Permissions,
    pub suspended: bool,
    /// Requests an hour, of all its tokens together.
    pub limit: u32,
    /// What is left of this hour.
    pub remaining: u32,
    /// Seconds from the first request until the hour ends.
    pub reset_in: u64,
}

impl InstallationSpec {
    /// On all repositories of an account, which may be read.
    pub fn on(account: &str) -> InstallationSpec {
        InstallationSpec {
            id: 0,
            account: account.into(),
            selected: None,
            permissions: PERMISSIONS.into(),
            suspended: false,
            limit: 5_000,
            remaining: 5_000,
            reset_in: 3_600,
        }
    }

    pub fn numbered(mut self, id: u64) -> InstallationSpec {
        self.id = id;
        self
    }

    /// On these repositories only.
    pub fn selected(mut self, repositories: &[&str]) -> InstallationSpec {
        self.selected = Some(repositories.iter().map(|r| r.to_string()).collect());
        self
    }

    /// With a permission more, or another degree of it: `read` or `write`.
    pub fn with(mut self, permission: &'static str, degree: &'static str) -> InstallationSpec {
        self = self.without(permission);
        self.permissions.push((permission, degree));
        self
    }

    /// With a permission less.
    pub fn without(mut self, permission: &str) -> InstallationSpec {
        self.permissions.retain(|p| p.0 != permission);
        self
    }

    pub fn suspended(mut self) -> InstallationSpec {
        self.suspended = true;
        self
    }

    /// Leaves so many requests, for so many seconds.
    pub fn budget(mut self, limit: u32, remaining: u32, reset_in: u64) -> InstallationSpec {
        (self.limit, self.remaining, self.reset_in) = (limit, remaining, reset_in);
        self
    }
}

/// What the ledger and the log call the requests of an installation, on whichever of its tokens they come.
pub fn installation_name(id: u64) -> String {
    format!("installation:{id}")
}

/// What they call those on an app's own JSON web tokens.
pub const APP_NAME: &str = "app";

const BAD_CREDENTIALS: &str = "Bad credentials";
const UNDECODED: &str = "A JSON web token could not be decoded";
const SUSPENDED: &str = "This installation has been suspended";
pub(super) const NOT_FOR_APPS: &str = "Resource not accessible by integration";

/// GitHub's refusal of an app whose installation lacks a permission, naming what would do.
pub(super) fn not_for_apps(needs: &str) -> Answer {
    refusal(403, NOT_FOR_APPS).with("x-accepted-github-permissions", needs.into())
}

/// An installation as it is now.
#[derive(Clone)]
pub(super) struct Installation {
    spec: InstallationSpec,
    pub account: UserIx,
}

impl Installation {
    pub fn id(&self) -> u64 {
        self.spec.id
    }

    pub fn may(&self, permission: &str, write: bool) -> bool {
        self.spec.permissions.iter().any(|&(name, degree)| name == permission && (!write || degree == "write"))
    }

    /// Whether a repository is among those that it is on.
    pub fn covers(&self, world: &World, repo: RepoIx) -> bool {
        let on = |names: &Vec<String>| {
            let full_name = world.full_name(repo);
            names.iter().any(|name| name.eq_ignore_ascii_case(&full_name))
        };
        world.repos[repo].owner == self.account && self.spec.selected.as_ref().is_none_or(on)
    }

    /// The refusal of an address in a repository that it may see.
    pub fn refuses(&self, world: &World, repo: RepoIx, rest: &[&str]) -> Option<Answer> {
        let own = self.covers(world, repo);
        match *rest {
            ["stargazers"] if !own || !self.may("contents", true) => {
                return Some(not_for_apps("metadata=read; contents=write"));
            }
            ["collaborators"] if !own => return Some(not_for_apps("metadata=read")),
            _ => {}
        }
        let needed = permission_for(rest);
        // What everybody may read needs no permission.
        (world.repos[repo].private && !self.may(needed, false)).then(|| not_for_apps(&format!("{needed}=read")))
    }

    fn selection(&self) -> &'static str {
        if self.spec.selected.is_some() { "selected" } else { "all" }
    }

    fn token_spec(&self) -> TokenSpec {
        let InstallationSpec { limit, remaining, reset_in, .. } = self.spec;
        account(&installation_name(self.spec.id)).budget(limit, remaining, reset_in)
    }
}

/// What the ledger counts requests on that are an app's: nobody's in particular.
fn account(name: &str) -> TokenSpec {
    TokenSpec { login: String::new(), ..TokenSpec::new(name) }
}

/// The permission on repositories that an address in one needs. GitHub: comments on commits are metadata.
fn permission_for(rest: &[&str]) -> &'static str {
    match *rest {
        ["issues" | "labels" | "milestones", ..] => "issues",
        ["pulls", ..] => "pull_requests",
        ["commits", _, "comments"] => "metadata",
        ["commits" | "branches" | "releases" | "compare" | "git", ..] => "contents",
        _ => "metadata",
    }
}

/// A token of an installation.
struct Issued {
    token: String,
    installation: u64,
    until: Instant,
}

/// Who sends a request with a token that is an app's affair.
pub(super) enum Caller {
    /// The app itself, with a JSON web token.
    App(TokenSpec),
    Installation(Arc<Installation>, TokenSpec),
    /// Refused with a status and a message.
    Refused {
        spec: Option<TokenSpec>,
        status: u16,
        message: &'static str,
    },
}

/// The app, its installations and their tokens.
pub(super) struct Apps {
    spec: Option<AppSpec>,
    installations: Vec<Arc<Installation>>,
    issued: Vec<Issued>,
    next_id: u64,
    clock_skew: i64,
}

impl Apps {
    pub fn new(world: &mut World, options: &Options) -> Apps {
        let (spec, clock_skew) = (options.app.clone(), options.clock_skew);
        let mut apps = Apps { spec, installations: vec![], issued: vec![], next_id: 50_000_001, clock_skew };
        if let Some(spec) = &apps.spec {
            if world.find_user(&spec.owner).is_none() {
                world.add_user(&spec.owner, UserKind::User);
            }
            for installation in spec.installations.clone() {
                apps.install(world, installation);
            }
        }
        apps
    }

    fn install(&mut self, world: &World, mut spec: InstallationSpec) -> u64 {
        if spec.id == 0 {
            (spec.id, self.next_id) = (self.next_id, self.next_id + 1);
        }
        let (id, account) = (spec.id, world.user(&spec.account));
        assert!(self.find(id).is_none(), "installation {id} is there already");
        self.installations.push(Arc::new(Installation { spec, account }));
        id
    }

    fn find(&self, id: u64) -> Option<&Arc<Installation>> {
        self.installations.iter().find(|i| i.id() == id)
    }

    /// Who it is that sends this to an address; `None` where that is no matter of apps.
    pub fn caller(&self, authorization: Option<&str>, path: &str) -> Option<Caller> {
        let (scheme, token) = authorization.map_or(("", ""), |a| a.split_once(' ').unwrap_or(("", a)));
        let token = token.trim();
        if let Some(issued) = self.issued.iter().find(|i| i.token == token) {
            let found = self.find(issued.installation);
            let spec = found.map_or_else(|| account(&installation_name(issued.installation)), |i| i.token_spec());
            let (status, message) = match found {
                _ if is_for_apps(path) => (401, UNDECODED),
                Some(found) if Instant::now() < issued.until && !found.spec.suspended => {
                    return Some(Caller::Installation(found.clone(), spec));
                }
                Some(_) if Instant::now() < issued.until => (403, SUSPENDED),
                _ => (401, BAD_CREDENTIALS),
            };
            return Some(Caller::Refused { spec: Some(spec), status, message });
        }
        let is_jwt = token.starts_with("eyJ");
        let spec = is_jwt.then(|| account(APP_NAME));
        if !is_for_apps(path) {
            return is_jwt.then_some(Caller::Refused { spec, status: 401, message: BAD_CREDENTIALS });
        }
        // GitHub: a JSON web token comes as Bearer only.
        let decoded = if scheme.eq_ignore_ascii_case("bearer") { self.decode(token) } else { Err((401, UNDECODED)) };
        Some(match decoded {
            Ok(()) => Caller::App(account(APP_NAME)),
            Err((status, message)) => Caller::Refused { spec, status, message },
        })
    }

    /// The server's clock.
    fn now(&self) -> i64 {
        now() as i64 + self.clock_skew
    }

    /// Whether a JSON web token is this app's and good now.
    fn decode(&self, token: &str) -> Result<(), (u16, &'static str)> {
        let claims: Value = dangerous::insecure_decode_claims(token).map_err(|_| (401, UNDECODED))?;
        // GitHub: the issuer says whose key is to be tried.
        let issuer = &claims["iss"];
        if self.spec.as_ref().is_some_and(|app| app.issuer_is_number) && !issuer.is_u64() {
            return Err((401, "'Issuer' claim ('iss') must be an Integer"));
        }
        let is = |app: &AppSpec| {
            let text = issuer.as_str();
            let number = text.and_then(|text| text.parse().ok()).or(issuer.as_u64());
            number == Some(app.id) || text == Some(&app.client_id)
        };
        if !self.spec.as_ref().is_some_and(is) {
            return Err((404, "Integration not found"));
        }
        let mut rules = Validation::new(Algorithm::RS256);
        rules.required_spec_claims.clear();
        (rules.validate_exp, rules.validate_aud) = (false, false);
        let key = DecodingKey::from_rsa_pem(PUBLIC_KEY).expect("a public key");
        jsonwebtoken::decode::<Value>(token, &key, &rules).map_err(|_| (401, UNDECODED))?;
        let now = self.now();
        // GitHub allows for no difference of clocks, in either claim.
        if claims["iat"].as_i64().is_none_or(|iat| iat > now) {
            return Err((
                401,
                "'Issued at' claim ('iat') must be an Integer representing the time that the assertion was issued",
            ));
        }
        match claims["exp"].as_i64() {
            Some(exp) if exp > now + 600 => Err((401, "'Expiration time' claim ('exp') is too far in the future")),
            Some(exp) if exp > now => Ok(()),
            _ => Err((
                401,
                "'Expiration time' claim ('exp') must be a numeric value representing the future time at which the assertion expires",
            )),
        }
    }

    /// Answers what an app asks about itself, with the template of that address.
    pub fn answer(&mut self, world: &World, method: &str, path: &str, q: &Query) -> (&'static str, Answer) {
        let seg: Vec<&str> = path.split('/').collect();
        let Some(app) = &self.spec else { return ("unknown", not_found()) };
        let by_id = |id: &str| id.parse().ok().and_then(|id: u64| self.find(id)).cloned();
        let json = |of: Option<&Arc<Installation>>| {
            of.map_or_else(not_found, |i| Answer::Object(installation_json(world, app, i).to_string()))
        };
        let on_account = |login: &str, organization: bool| {
            let account = world.find_user(&unpercent(login))?;
            let kind = world.users[account as usize].kind == UserKind::Organization;
            self.installations.iter().find(|i| i.account == account && kind == organization)
        };
        match (method, &seg[..]) {
            ("POST", ["app", "installations", id, "access_tokens"]) => {
                let template = "/app/installations/{installation_id}/access_tokens";
                match by_id(id) {
                    None => (template, not_found()),
                    Some(found) if found.spec.suspended => (template, refusal(403, SUSPENDED)),
                    Some(found) => (template, Answer::Status(201, self.issue(&found).to_string(), vec![])),
                }
            }
            (m, _) if m != "GET" => ("unknown", not_found()),
            (_, ["app"]) => ("/app", Answer::Object(app_json(world, app, self.installations.len()).to_string())),
            (_, ["app", "installations"]) => {
                let rows = self.installations.len();
                let page =
                    self.installations.iter().skip((q.page() - 1).saturating_mul(q.per_page())).take(q.per_page());
                let page: Vec<Value> = page.map(|i| installation_json(world, app, i)).collect();
                let body = Value::from(page).to_string();
                ("/app/installations", Answer::Paged { body, rows, per_page: q.per_page() })
            }
            (_, ["app", "installations", id]) => ("/app/installations/{installation_id}", json(by_id(id).as_ref())),
            (_, ["orgs", org, "installation"]) => ("/orgs/{org}/installation", json(on_account(org, true))),
            (_, ["users", login, "installation"]) => ("/users/{username}/installation", json(on_account(login, false))),
            (_, ["repos", owner, name, "installation"]) => {
                let repo = world.find_repo(&format!("{}/{}", unpercent(owner), unpercent(name)));
                let found = repo.and_then(|repo| self.installations.iter().find(|i| i.covers(world, repo)));
                ("/repos/{owner}/{repo}/installation", json(found))
            }
            _ => ("unknown", not_found()),
        }
    }

    /// Makes a token. GitHub: the app's id and a JSON web token of its own, about 520 characters in all.
    fn issue(&mut self, installation: &Installation) -> Value {
        let app = self.spec.as_ref().expect("an app");
        let at = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos();
        let seed = format!("{at} {} {}", self.issued.len(), installation.id());
        let letters = |part: u64, length: usize| -> String {
            const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
            let hash = |i: usize| xxhash_rust::xxh3::xxh3_64_with_seed(seed.as_bytes(), part << 32 | i as u64);
            (0..length).map(|i| DIGITS[hash(i) as usize % 64] as char).collect()
        };
        let token = format!("ghs_{}_eyJ{}.eyJ{}.{}", app.id, letters(1, 33), letters(2, 125), letters(3, 342));
        let expires = time_str(self.now() + app.token_life.as_secs() as i64);
        let until = Instant::now() + app.token_life;
        self.issued.push(Issued { token: token.clone(), installation: installation.id(), until });
        json!({
            "token": token, "expires_at": expires, "permissions": named(&installation.spec.permissions),
            "repository_selection": installation.selection(),
        })
    }
}

/// Whether an address is for apps alone, with their JSON web tokens.
fn is_for_apps(path: &str) -> bool {
    let seg: Vec<&str> = path.split('/').collect();
    matches!(seg[..], ["app", ..] | ["orgs" | "users", _, "installation"] | ["repos", _, _, "installation"])
}

fn named(permissions: &Permissions) -> Value {
    Value::Object(permissions.iter().map(|&(name, degree)| (name.into(), degree.into())).collect::<Map<_, _>>())
}

const EVENTS: [&str; 4] = ["issues", "pull_request", "push", "star"];

fn account_json(world: &World, user: UserIx) -> Value {
    serde_json::from_str(world.stub(user)).expect("valid JSON")
}

fn app_json(world: &World, app: &AppSpec, installations: usize) -> Value {
    json!({
        "id": app.id, "slug": app.slug, "client_id": app.client_id, "node_id": format!("A_kwDO{:08x}", app.id),
        "owner": account_json(world, world.user(&app.owner)), "name": app.slug, "description": "Keeps a copy.",
        "external_url": "https://msght.example.com", "html_url": format!("{}apps/{}", world.html, app.slug),
        "created_at": time_str(EPOCH), "updated_at": time_str(EPOCH), "permissions": named(&app.permissions),
        "events": EVENTS, "installations_count": installations,
    })
}

fn installation_json(world: &World, app: &AppSpec, installation: &Installation) -> Value {
    let user = &world.users[installation.account as usize];
    let (api, html, id) = (&world.api, &world.html, installation.id());
    let page = match user.kind {
        UserKind::Organization => format!("{html}organizations/{}/settings/installations/{id}", user.login),
        _ => format!("{html}settings/installations/{id}"),
    };
    let suspended = installation.spec.suspended;
    json!({
        "id": id, "client_id": app.client_id, "account": account_json(world, installation.account),
        "repository_selection": installation.selection(),
        "access_tokens_url": format!("{api}app/installations/{id}/access_tokens"),
        "repositories_url": format!("{api}installation/repositories"), "html_url": page, "app_id": app.id,
        "app_slug": app.slug, "target_id": user.id, "target_type": user.kind.name(),
        "permissions": named(&installation.spec.permissions), "events": EVENTS,
        "created_at": time_str(EPOCH), "updated_at": time_str(EPOCH), "single_file_name": null,
        "has_multiple_single_files": false, "single_file_paths": [],
        "suspended_by": suspended.then(|| account_json(world, world.user(&app.owner))),
        "suspended_at": suspended.then(|| time_str(EPOCH + 86_400)),
    })
}

impl World {
    /// `/installation/repositories`: what an installation is on.
    pub(super) fn installation_repositories(&self, q: &Query, who: &Viewer) -> Answer {
        let Some(installation) = who.installation else {
            return match who.user {
                None => refusal(401, "Requires authentication"),
                Some(_) => refusal(
                    403,
                    "You must authenticate with an installation access token in order to list repositories for an installation.",
                ),
            };
        };
        let live = |&r: &RepoIx| self.repos[r].state == RepoState::Live && installation.covers(self, r);
        let list: Vec<RepoIx> = (0..self.repos.len()).filter(live).collect();
        let mut body = format!(
            r#"{{"total_count":{},"repository_selection":"{}","repositories":["#,
            list.len(),
            installation.selection()
        );
        let page = list.iter().skip((q.page() - 1).saturating_mul(q.per_page())).take(q.per_page());
        for (i, &repo) in page.enumerate() {
            if i > 0 {
                body.push(',');
            }
            body.push_str(self.repo_json(repo, who.view));
        }
        body.push_str("]}");
        Answer::Paged { body, rows: list.len(), per_page: q.per_page() }
    }
}

impl FakeGitHub {
    fn installation<T>(&self, id: u64, change: impl FnOnce(&mut Installation) -> T) -> T {
        let mut apps = self.shared.apps.lock().unwrap();
        let found = apps.installations.iter_mut().find(|i| i.id() == id);
        change(Arc::make_mut(found.unwrap_or_else(|| panic!("the fake GitHub has no installation {id}"))))
    }

    /// Installs the app on one account more; its number.
    pub fn install(&self, installation: InstallationSpec) -> u64 {
        let world = self.shared.world.read().unwrap();
        self.shared.apps.lock().unwrap().install(&world, installation)
    }

    /// Changes an installation: its repositories, permissions, ...; not its number nor its account.
    pub fn reinstall(&self, id: u64, change: impl FnOnce(&mut InstallationSpec)) {
        self.installation(id, |i| change(&mut i.spec));
    }

    /// Takes an installation away, and its tokens with it.
    pub fn uninstall(&self, id: u64) {
        self.shared.apps.lock().unwrap().installations.retain(|i| i.id() != id);
    }

    /// GitHub: no token is issued to a suspended installation, and those that it has are refused.
    pub fn suspend(&self, id: u64) {
        self.installation(id, |i| i.spec.suspended = true);
    }

    pub fn unsuspend(&self, id: u64) {
        self.installation(id, |i| i.spec.suspended = false);
    }

    /// The tokens that an installation has been issued so far, oldest first.
    pub fn issued(&self, id: u64) -> Vec<String> {
        let apps = self.shared.apps.lock().unwrap();
        apps.issued.iter().filter(|i| i.installation == id).map(|i| i.token.clone()).collect()
    }

    /// Makes all tokens that an installation has been issued so far answer 401.
    pub fn revoke_installation_tokens(&self, id: u64) {
        self.issued(id).iter().for_each(|token| self.revoke(token));
    }
}
