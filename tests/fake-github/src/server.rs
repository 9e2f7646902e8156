//! The server: it listens on a free port of 127.0.0.1, in a runtime of its own.
use super::app::{Apps, Caller, Installation, NOT_FOR_APPS};
use super::connection::{Breakable, Broken};
use super::deliveries::{Live, Post};
use super::faults::{Fault, FaultKind};
use super::json::*;
use super::limits::*;
use super::options::Options;
use super::paging::{Query, numbered, page_of};
use super::render::{ApiVersion, View};
use super::routes::{Answer, Viewer, lacks, refusal};
use super::sha256;
use super::world::*;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use serde_json::Value;
use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::io;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant, SystemTime};
use tokio::net::TcpListener;

/// A request and what became of it.
#[derive(Clone, Debug)]
pub struct Record {
    pub method: String,
    pub path_and_query: String,
    /// `/repos/{owner}/{repo}/issues`, ...; "unknown" when it is none that is known.
    pub template: &'static str,
    /// Empty for none; `installation:ID` for an app's installation, and `app` for the app itself.
    pub token: String,
    /// The token as it was sent.
    pub sent_token: String,
    /// 0 when no answer was given.
    pub status: u16,
    /// Whether it drew on the primary limit.
    pub counted: bool,
    pub at: SystemTime,
    pub if_none_match: Option<String>,
    pub accept: Option<String>,
    pub version: Option<String>,
    pub user_agent: Option<String>,
}

pub(super) struct Shared {
    pub(super) world: RwLock<World>,
    options: Options,
    base: String,
    ledger: Mutex<Ledger>,
    log: Mutex<Vec<Record>>,
    faults: Mutex<Vec<Fault>>,
    revoked: Mutex<HashSet<String>>,
    pub(super) apps: Mutex<Apps>,
    /// Changes of the world that wait for a request.
    awaited: Mutex<Vec<Awaited>>,
    serial: AtomicU64,
    pub(super) live: Mutex<Live>,
    pub(super) post: Post,
    lagging: Mutex<Lagging>,
}

/// Repositories that the API still shows as they were.
#[derive(Default)]
struct Lagging {
    /// Until when, and the world that shows it; oldest first.
    repos: Vec<(RepoIx, Instant, Arc<World>)>,
    /// The world as it's shown, and until when.
    shown: Option<(Instant, Arc<World>)>,
}

/// The world that the API shows.
enum Seen<'a> {
    Now(RwLockReadGuard<'a, World>),
    Before(Arc<World>),
}

impl Deref for Seen<'_> {
    type Target = World;

    fn deref(&self) -> &World {
        match self {
            Seen::Now(world) => world,
            Seen::Before(world) => world,
        }
    }
}

struct Awaited {
    path: String,
    requests_left: u32,
    change: Box<dyn FnOnce(&mut World) + Send>,
}

pub struct FakeGitHub {
    pub(super) shared: Arc<Shared>,
    runtime: Option<tokio::runtime::Runtime>,
}

impl FakeGitHub {
    /// Starts answering for a world.
    pub async fn start(world: World, options: Options) -> FakeGitHub {
        FakeGitHub::start_blocking(world, options)
    }

    /// The same, for callers without a runtime.
    pub fn start_blocking(mut world: World, options: Options) -> FakeGitHub {
        let listener = std::net::TcpListener::bind(("127.0.0.1", options.port)).expect("a free port");
        listener.set_nonblocking(true).unwrap();
        let base = format!("http://{}/{}", listener.local_addr().unwrap(), options.prefix);
        for spec in &options.tokens {
            if world.find_user(&spec.login).is_none() {
                world.add_user(&spec.login, UserKind::User);
            }
        }
        world.set_api(options.link_base.as_deref().unwrap_or(&base));
        let apps = Mutex::new(Apps::new(&mut world, &options));
        let (post, queue) = Post::new(world.seed);
        let shared = Arc::new(Shared {
            world: RwLock::new(world),
            live: Mutex::new(options.live.clone()),
            post,
            lagging: Mutex::default(),
            options,
            base,
            ledger: Mutex::default(),
            log: Mutex::default(),
            faults: Mutex::default(),
            revoked: Mutex::default(),
            apps,
            awaited: Mutex::default(),
            serial: AtomicU64::new(0),
        });
        let app = axum::Router::new().fallback(handle).with_state(shared.clone());
        // A runtime of its own: a test may block its own while the program under test talks to us.
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.spawn(queue.run(shared.clone()));
        runtime.spawn(async move {
            let listener = Breakable(TcpListener::from_std(listener).unwrap());
            let _ = axum::serve(listener, app.into_make_service_with_connect_info::<Broken>()).await;
        });
        FakeGitHub { shared, runtime: Some(runtime) }
    }

    /// The base address, with a slash at the end.
    pub fn url(&self) -> &str {
        &self.shared.base
    }

    /// Looks at the world.
    pub fn world<T>(&self, f: impl FnOnce(&World) -> T) -> T {
        f(&self.shared.world.read().unwrap())
    }

    /// Changes the world now. Each change moves its clock by a minute or so, so that several are dated ahead of the server's.
    pub fn world_mut<T>(&self, f: impl FnOnce(&mut World) -> T) -> T {
        self.world_mut_from(Duration::ZERO, f)
    }

    /// Changes the world as of some time ago, so that no change is dated ahead of the server's clock.
    pub fn world_mut_from<T>(&self, ago: Duration, f: impl FnOnce(&mut World) -> T) -> T {
        self.shared.change(ago, f)
    }

    /// Changes the world just before the `nth` request (from 1) whose path and query contain `path` is answered.
    pub fn before_request(&self, path: &str, nth: u32, change: impl FnOnce(&mut World) + Send + 'static) {
        let awaited = Awaited { path: path.into(), requests_left: nth, change: Box::new(change) };
        self.shared.awaited.lock().unwrap().push(awaited);
    }

    /// Every row of a list as it is served (in the older API version), whatever its paging and limits; uncounted.
    /// For an address that answers one object, that object. The path starts with a slash.
    pub fn all(&self, path_and_query: &str) -> Vec<Value> {
        self.all_in(path_and_query, ApiVersion::V2022)
    }

    /// The same in an API version.
    pub fn all_in(&self, path_and_query: &str, version: ApiVersion) -> Vec<Value> {
        let (path, query) = path_and_query.split_once('?').unwrap_or((path_and_query, ""));
        let world = self.shared.world.read().unwrap();
        let view = View { version };
        let user = self.shared.options.tokens.first().and_then(|t| world.find_user(&t.login));
        let sees = |_: &World, _: RepoIx| true;
        let who = Viewer { user, installation: None, sees: &sees, view, star_times: path.ends_with("/stargazers") };
        match world.answer(path.trim_start_matches('/'), &Query::parse(Some(query)), &who).1 {
            Answer::List(list) => {
                let mut o = String::from("[");
                world.render_rows(&mut o, &list, &list.items, view);
                o.push(']');
                serde_json::from_str(&o).expect("valid JSON")
            }
            Answer::Object(body) | Answer::Paged { body, .. } => {
                match serde_json::from_str(&body).expect("valid JSON") {
                    Value::Array(rows) => rows,
                    object => vec![object],
                }
            }
            Answer::Status(status, body, _) => panic!("{path_and_query} answers {status}: {body}"),
        }
    }

    /// The first and only row of [`FakeGitHub::all`].
    pub fn one(&self, path_and_query: &str) -> Value {
        self.all(path_and_query).swap_remove(0)
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<Record> {
        self.shared.log.lock().unwrap().clone()
    }

    /// How many requests came.
    pub fn request_count(&self) -> usize {
        self.shared.log.lock().unwrap().len()
    }

    /// How many drew on the primary limit.
    pub fn counted(&self) -> usize {
        self.shared.log.lock().unwrap().iter().filter(|r| r.counted).count()
    }

    fn by<K: Ord>(&self, key: impl Fn(&Record) -> K) -> BTreeMap<K, usize> {
        let mut counts = BTreeMap::new();
        for r in self.shared.log.lock().unwrap().iter() {
            *counts.entry(key(r)).or_insert(0) += 1;
        }
        counts
    }

    pub fn by_template(&self) -> BTreeMap<&'static str, usize> {
        self.by(|r| r.template)
    }

    pub fn by_token(&self) -> BTreeMap<String, usize> {
        self.by(|r| r.token.clone())
    }

    pub fn by_status(&self) -> BTreeMap<u16, usize> {
        self.by(|r| r.status)
    }

    /// Forgets the requests and the violations so far; budgets stay as they are.
    pub fn reset_counters(&self) {
        self.shared.log.lock().unwrap().clear();
        let mut ledger = self.shared.ledger.lock().unwrap();
        ledger.violations.clear();
        for a in ledger.accounts.values_mut() {
            a.max_in_flight = a.in_flight;
            a.max_points = 0;
        }
    }

    /// Requests that came although their token had been told to wait.
    pub fn limit_violations(&self) -> Vec<Violation> {
        self.shared.ledger.lock().unwrap().violations.clone()
    }

    /// The most requests of a token that were under way at once.
    pub fn max_in_flight(&self, token: &str) -> usize {
        self.shared.ledger.lock().unwrap().accounts.get(token).map_or(0, |a| a.max_in_flight)
    }

    /// The most points of a token in any 60 seconds.
    pub fn max_points(&self, token: &str) -> usize {
        self.shared.ledger.lock().unwrap().accounts.get(token).map_or(0, |a| a.max_points)
    }

    /// What is left of a token's budget, once it has been used.
    pub fn remaining(&self, token: &str) -> Option<u32> {
        self.shared.ledger.lock().unwrap().accounts.get(token).map(|a| a.remaining)
    }

    /// Makes something go wrong.
    pub fn set_fault(&self, fault: Fault) {
        self.shared.faults.lock().unwrap().push(fault);
    }

    pub fn clear_faults(&self) {
        self.shared.faults.lock().unwrap().clear();
    }

    /// The faults that are set, with how often each has struck.
    pub fn faults(&self) -> Vec<Fault> {
        self.shared.faults.lock().unwrap().clone()
    }

    /// A token that answers 401 from now on.
    pub fn revoke(&self, token: &str) {
        self.shared.revoked.lock().unwrap().insert(token.into());
    }

    /// Makes a revoked token good again.
    pub fn reinstate(&self, token: &str) {
        self.shared.revoked.lock().unwrap().remove(token);
    }
}

impl Drop for FakeGitHub {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

// ---- one request

/// An answer before it's put on the wire.
struct Reply {
    status: u16,
    body: Vec<u8>,
    html: bool,
    headers: Vec<(&'static str, String)>,
}

impl Reply {
    fn refuse(status: u16, message: &str) -> Reply {
        match refusal(status, message) {
            Answer::Status(status, body, headers) => Reply { status, body: body.into_bytes(), html: false, headers },
            _ => unreachable!(),
        }
    }

    fn with(mut self, name: &'static str, value: impl ToString) -> Reply {
        self.headers.push((name, value.to_string()));
        self
    }
}

/// Who sends a request.
struct Sender<'a> {
    /// As the ledger and the log call it.
    name: String,
    /// The token as it was sent.
    token: Option<String>,
    spec: Option<Cow<'a, TokenSpec>>,
    is_app: bool,
    /// The installation of an app whose token it is.
    installation: Option<Arc<Installation>>,
    /// Why nothing is answered.
    refused: Option<(u16, &'static str)>,
}

/// Takes the request out of flight, also when the client goes away.
struct Flight<'a> {
    shared: &'a Shared,
    name: String,
    /// What it has taken off the primary budget, until it's known that its answer counts.
    reserved: Option<Reserved>,
}

impl Flight<'_> {
    /// GitHub: a 304 to a token's request, and a failure of GitHub's own, draw on nothing.
    fn give_back(&mut self) {
        if let Some(reserved) = self.reserved.take() {
            self.shared.ledger.lock().unwrap().give_back(&self.name, reserved);
        }
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        self.give_back();
        self.shared.ledger.lock().unwrap().leave(&self.name);
    }
}

const SSO: &str = "Resource protected by organization SAML enforcement. You must grant your Personal Access token access to this organization.";
const SECONDARY: &str = "You have exceeded a secondary rate limit. Please wait a few minutes before you try again. If you reach out to GitHub Support for help, please include the request ID.";
const HTML: &str = "<!DOCTYPE html>\n<html><head><title>Unicorn! &middot; GitHub</title></head><body><p><strong>This page is taking too long to load.</strong></p></body></html>\n";

async fn handle(State(shared): State<Arc<Shared>>, ConnectInfo(broken): ConnectInfo<Broken>, req: Request) -> Response {
    let (req, body) = req.into_parts();
    let body = axum::body::to_bytes(body, 1024 * 1024).await.unwrap_or_default();
    let header = |name: &str| req.headers.get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
    let path_and_query = req.uri.path_and_query().map_or(String::new(), |p| p.to_string());
    let from = shared.sender(header("authorization").as_deref(), req.uri.path());
    let mut record = Record {
        method: req.method.to_string(),
        path_and_query: path_and_query.clone(),
        template: "unknown",
        token: from.name.clone(),
        sent_token: from.token.clone().unwrap_or_default(),
        status: 0,
        counted: false,
        at: SystemTime::now(),
        if_none_match: header("if-none-match"),
        accept: header("accept"),
        version: header("x-github-api-version"),
        user_agent: header("user-agent"),
    };
    let (name, spec) = (from.name.clone(), from.spec.as_deref());
    let free =
        path_and_query.trim_start_matches('/').trim_start_matches(&shared.options.prefix).starts_with("rate_limit");
    let verdict = shared.ledger.lock().unwrap().arrive(&name, spec, &shared.options.limits, &path_and_query, free);
    let reserved = if let Verdict::Go(reserved) = verdict { reserved } else { None };
    let mut flight = Flight { shared: &shared, name: name.clone(), reserved };
    if !shared.options.latency.is_zero() {
        tokio::time::sleep(shared.options.latency).await;
    }
    let fault = match verdict {
        Verdict::Go(_) => {
            let mut faults = shared.faults.lock().unwrap();
            faults.iter_mut().find_map(|f| f.strikes(&path_and_query, &name).then(|| f.kind.clone()))
        }
        // A limit answers first: the fault is still to come.
        _ => None,
    };
    match &fault {
        Some(FaultKind::Slow(time)) => tokio::time::sleep(*time).await,
        Some(FaultKind::Hang) => {
            shared.log.lock().unwrap().push(record);
            flight.give_back();
            std::future::pending::<()>().await;
            unreachable!()
        }
        Some(FaultKind::Revoke) => {
            shared.revoked.lock().unwrap().extend(from.token.clone());
        }
        _ => {}
    }
    shared.awaited_changes(&path_and_query);
    let reply = shared.reply((&req, &body), &from, verdict, fault.as_ref(), &mut record);
    record.status = reply.status;
    if record.counted {
        flight.reserved = None;
    } else {
        flight.give_back();
    }
    if matches!(fault, Some(FaultKind::Reset)) {
        broken.0.store(true, Ordering::Relaxed);
        record.status = 0;
    }
    let response = shared.wire(reply, &name, spec, fault.as_ref(), &req.headers);
    shared.log.lock().unwrap().push(record);
    drop(flight);
    response
}

/// The answer draws on the primary budget.
fn count(reply: Reply, record: &mut Record) -> Reply {
    record.counted = true;
    reply
}

fn sso(owner: &str) -> String {
    format!("required; url=https://github.com/orgs/{owner}/sso?authorization_request=AAAA")
}

/// What a token may not read although it may see the repository.
fn refused(world: &World, path: &str, spec: &TokenSpec, answer: &Answer) -> Option<Answer> {
    let (repo, rest) = world.repo_in(path)?;
    let full_name = world.full_name(repo);
    if spec.refused.iter().any(|name| name.eq_ignore_ascii_case(&full_name)) {
        let owner = full_name.split('/').next().unwrap_or_default();
        return Some(refusal(403, SSO).with("x-github-sso", sso(owner)));
    }
    // Where there is no such repository for the token, that is what it's told.
    let listed = matches!(answer, Answer::List(_));
    match rest {
        "stargazers" if spec.no_stars && listed => Some(lacks("metadata=read; contents=write")),
        "collaborators" if spec.no_stars && listed => Some(lacks("metadata=read")),
        _ => None,
    }
}

impl Shared {
    /// A path within the API, without a slash before it.
    fn path<'a>(&self, path: &'a str) -> Option<&'a str> {
        path.trim_start_matches('/').strip_prefix(self.options.prefix.as_str())
    }

    fn sender(&self, authorization: Option<&str>, path: &str) -> Sender<'_> {
        let token = authorization.map(|a| a.split_once(' ').map_or(a, |(_, token)| token.trim()).to_string());
        let known = self.options.tokens.iter().find(|s| Some(&s.token) == token.as_ref()).map(Cow::Borrowed);
        let (mut is_app, mut installation, mut refused) = (false, None, None);
        let spec = match self.apps.lock().unwrap().caller(authorization, self.path(path).unwrap_or_default()) {
            None => {
                refused = (token.is_some() && known.is_none()).then_some((401, "Bad credentials"));
                known
            }
            Some(Caller::App(spec)) => {
                is_app = true;
                Some(Cow::Owned(spec))
            }
            Some(Caller::Installation(found, spec)) => {
                installation = Some(found);
                Some(Cow::Owned(spec))
            }
            Some(Caller::Refused { spec, status, message }) => {
                refused = Some((status, message));
                spec.map(Cow::Owned).or(known)
            }
        };
        let name = spec.as_ref().map_or_else(|| token.clone().unwrap_or_default(), |spec| spec.token.clone());
        Sender { name, token, spec, is_app, installation, refused }
    }

    /// Changes the world, and tells its hooks.
    fn change<T>(&self, ago: Duration, f: impl FnOnce(&mut World) -> T) -> T {
        let live = self.live.lock().unwrap().clone();
        let mut world = self.world.write().unwrap();
        let lags = !live.api_lag.is_zero();
        let late = !live.feed_lag.is_zero() || live.feed_behind > 0 || live.feed_omitted > 0;
        let before = (lags || late || !world.hooks.is_empty()).then(|| world.snapshot());
        world.catch_up(now().saturating_sub(ago.as_secs()));
        let result = f(&mut world);
        if let Some(before) = before.as_ref().filter(|_| late) {
            for repo in 0..world.repos.len() {
                let known = before.repos.get(repo).map_or(0, |r| r.feed.last().map_or(0, |entry| entry.id));
                if world.repos.shares(&before.repos, repo) {
                    continue;
                }
                for entry in world.repos[repo].feed.iter_mut().filter(|entry| entry.id > known) {
                    entry.shown = self.feed_shown(&live);
                }
            }
        }
        world.changed();
        let Some(before) = before else { return result };
        let told = world.changes_since(&before);
        if lags {
            let before = Arc::new(before);
            let mut lagging = self.lagging.lock().unwrap();
            for repo in (0..world.repos.len()).filter(|&repo| !world.repos.shares(&before.repos, repo)) {
                lagging.repos.push((repo, Instant::now() + self.lag(&live), before.clone()));
            }
            lagging.shown = None;
        } else {
            self.lagging.lock().unwrap().shown = None;
        }
        self.post(&world, told);
        result
    }

    /// The world as the API shows it now.
    fn seen(&self) -> Seen<'_> {
        let world = self.world.read().unwrap();
        let mut lagging = self.lagging.lock().unwrap();
        if lagging.repos.is_empty() {
            return Seen::Now(world);
        }
        let now = Instant::now();
        if let Some((_, shown)) = lagging.shown.as_ref().filter(|(until, _)| now < *until) {
            return Seen::Before(shown.clone());
        }
        lagging.repos.retain(|(_, until, _)| *until > now);
        let Some(until) = lagging.repos.iter().map(|(_, until, _)| *until).min() else { return Seen::Now(world) };
        let mut shown = world.snapshot();
        let mut set = HashSet::new();
        for (repo, _, before) in &lagging.repos {
            if !set.insert(*repo) {
                continue;
            }
            if before.repos.get(*repo).is_some() {
                shown.repos.take_from(&before.repos, *repo);
            } else {
                shown.repos[*repo].state = RepoState::Deleted;
            }
        }
        shown.changed();
        let shown = Arc::new(shown);
        lagging.shown = Some((until, shown.clone()));
        Seen::Before(shown)
    }

    fn awaited_changes(&self, path_and_query: &str) {
        let mut awaited = self.awaited.lock().unwrap();
        for waiting in awaited.iter_mut().filter(|waiting| path_and_query.contains(&waiting.path)) {
            waiting.requests_left = waiting.requests_left.saturating_sub(1);
        }
        for due in awaited.extract_if(.., |waiting| waiting.requests_left == 0) {
            self.change(Duration::ZERO, due.change);
        }
    }

    fn reply(
        &self,
        req: (&Parts, &[u8]),
        from: &Sender,
        verdict: Verdict,
        fault: Option<&FaultKind>,
        record: &mut Record,
    ) -> Reply {
        let name = from.name.as_str();
        let limits = &self.options.limits;
        if record.user_agent.as_deref().unwrap_or("").is_empty() {
            return Reply::refuse(
                403,
                "Request forbidden by administrative rules. Please make sure your request has a User-Agent header (https://docs.github.com/en/rest/overview/resources-in-the-rest-api#user-agent-required). Check https://developer.github.com for other possible causes.",
            );
        }
        if let Some((status, message)) = from.refused {
            return Reply::refuse(status, message);
        }
        if from.token.as_ref().is_some_and(|token| self.revoked.lock().unwrap().contains(token)) {
            return Reply::refuse(401, "Bad credentials");
        }
        if from.token.is_none() && !self.options.anonymous {
            return Reply::refuse(401, "Requires authentication");
        }
        let version = match record.version.as_deref() {
            None | Some("2022-11-28") => ApiVersion::V2022,
            Some("2026-03-10") => ApiVersion::V2026,
            Some(_) => return Reply::refuse(400, "The provided API version is invalid."),
        };
        match verdict {
            Verdict::Go(_) => {}
            Verdict::Primary => {
                let message = match &from.installation {
                    Some(installation) => format!("API rate limit exceeded for installation ID {}.", installation.id()),
                    None => format!("API rate limit exceeded for user ID {}.", 1_000_000 + name.len()),
                };
                return Reply::refuse(limits.status, &message);
            }
            Verdict::Secondary(retry_after) => {
                self.ledger.lock().unwrap().tell_of_pause(name);
                let reply = Reply::refuse(limits.status, SECONDARY);
                return match retry_after {
                    Some(s) => reply.with("retry-after", s),
                    None => reply,
                };
            }
        }
        match fault {
            Some(FaultKind::Status { status, html: false }) => return Reply::refuse(*status, "Server Error"),
            Some(FaultKind::Refusal { status, message }) => return Reply::refuse(*status, message),
            Some(FaultKind::Status { status, html: true }) => {
                return Reply { status: *status, body: HTML.into(), html: true, headers: vec![] };
            }
            Some(FaultKind::Unavailable { status, retry_after }) => {
                return Reply::refuse(*status, "Service Unavailable").with("retry-after", retry_after);
            }
            Some(FaultKind::Empty) => {
                return Reply { status: 200, body: vec![], html: false, headers: vec![] };
            }
            Some(FaultKind::HtmlOk) => {
                return Reply { status: 200, body: HTML.into(), html: true, headers: vec![] };
            }
            Some(FaultKind::Secondary { status, retry_after }) => {
                let mut ledger = self.ledger.lock().unwrap();
                ledger.pause(name, *retry_after, limits);
                ledger.tell_of_pause(name);
                let reply = Reply::refuse(*status, SECONDARY);
                return match retry_after {
                    Some(s) => reply.with("retry-after", s),
                    None => reply,
                };
            }
            Some(FaultKind::LimitPage { status, retry_after }) => {
                let mut ledger = self.ledger.lock().unwrap();
                ledger.pause(name, Some(*retry_after), limits);
                ledger.tell_of_pause(name);
                let reply = Reply { status: *status, body: HTML.into(), html: true, headers: vec![] };
                return reply.with("retry-after", retry_after);
            }
            Some(FaultKind::Primary { status }) => {
                self.ledger.lock().unwrap().exhaust(name);
                return Reply::refuse(*status, "API rate limit exceeded for user ID 1000001.");
            }
            Some(FaultKind::Permission(needs)) => {
                let message = match &from.installation {
                    Some(_) => NOT_FOR_APPS,
                    None => "Resource not accessible by personal access token",
                };
                return Reply::refuse(403, message).with("x-accepted-github-permissions", needs);
            }
            Some(FaultKind::SsoRequired) => {
                return Reply::refuse(403, SSO).with("x-github-sso", sso("contoso"));
            }
            Some(FaultKind::Redirect(to)) => {
                return Reply::refuse(301, "Moved Permanently").with("location", to);
            }
            _ => {}
        }
        let mut reply = self.content(req, from, version, fault, record);
        if matches!(fault, Some(FaultKind::SsoPartial)) && reply.status == 200 {
            reply = reply.with("x-github-sso", "partial-results; organizations=1,2");
        }
        reply.headers.push(("x-github-api-version-selected", version.name().into()));
        reply
    }

    fn content(
        &self,
        (req, sent): (&Parts, &[u8]),
        from: &Sender,
        version: ApiVersion,
        fault: Option<&FaultKind>,
        record: &mut Record,
    ) -> Reply {
        let Some(path) = self.path(req.uri.path()).map(sha256::narrowed) else {
            return Reply::refuse(404, "Not Found");
        };
        let path = path.as_str();
        let spec = from.spec.as_deref();
        let installation = from.installation.as_deref();
        if path == "rate_limit" {
            record.template = "/rate_limit";
            return self.rate_limit(&from.name, spec, version);
        }
        let narrow = req.uri.query().map(sha256::narrowed);
        let query = Query::parse(narrow.as_deref());
        let mut links: Vec<(&'static str, String)> = vec![];
        let mut log = None;
        if !from.is_app && path.contains("/hooks/") {
            let user = spec.and_then(|s| self.world.read().unwrap().find_user(&s.login));
            log = self.delivery_answer(req.method.as_str(), path, &query, user, installation);
        }
        if req.method != "GET" && !from.is_app && path.contains("/hooks") {
            let answered = match log.take() {
                Some((template, answer, _)) => Some((template, answer)),
                None => {
                    let mut world = self.world.write().unwrap();
                    let user = spec.and_then(|s| world.find_user(&s.login));
                    let hooks = world.hooks.len();
                    let answered = world.hook_answer(req.method.as_str(), path, user, installation, sent);
                    if world.hooks.len() > hooks {
                        let ping = world.ping(hooks);
                        self.post(&world, vec![ping]);
                    }
                    answered
                }
            };
            if let Some((template, answer)) = answered {
                record.template = template;
                let (status, body, headers) = match answer {
                    Answer::Status(status, body, headers) => (status, body, headers),
                    Answer::Object(body) => (200, body, vec![]),
                    Answer::List(_) | Answer::Paged { .. } => unreachable!(),
                };
                return count(Reply { status, body: body.into_bytes(), html: false, headers }, record);
            }
        }
        if req.method != "GET" && !from.is_app {
            return Reply::refuse(404, "Not Found");
        }
        let world = self.seen();
        let sees = |w: &World, r: RepoIx| {
            !w.repos[r].private
                || match (installation, spec.map(|s| &s.private)) {
                    (Some(installation), _) => installation.covers(w, r),
                    (None, Some(Visible::All)) => true,
                    (None, Some(Visible::Only(names))) => {
                        let full = w.full_name(r);
                        names.iter().any(|n| n.eq_ignore_ascii_case(&full))
                    }
                    (None, Some(Visible::None) | None) => false,
                }
        };
        let star_times = record.accept.as_deref().is_some_and(|a| a.contains("star+json"));
        let view = View { version };
        let user = spec.and_then(|s| world.find_user(&s.login));
        let who = Viewer { user, installation, sees: &sees, view, star_times };
        let (template, mut answer) = if let Some((template, answer, shown)) = log {
            links = shown;
            (template, answer)
        } else if from.is_app {
            self.apps.lock().unwrap().answer(&world, req.method.as_str(), path, &query)
        } else {
            world.answer(path, &query, &who)
        };
        record.template = template;
        if let Some(spec) = spec
            && let Some(refusal) = refused(&world, path, spec, &answer)
        {
            answer = refusal;
        }
        let mut headers = vec![];
        let mut body = String::new();
        match answer {
            Answer::Object(b) => body = b,
            Answer::Paged { body: b, rows, per_page } => {
                body = b;
                links = numbered(&query, query.page(), per_page, rows);
            }
            Answer::Status(status, body, headers) => {
                return count(Reply { status, body: body.into_bytes(), html: false, headers }, record);
            }
            Answer::List(list) => match page_of(&world, &list, &query, self.options.deep_page_cap) {
                Err(Answer::Status(status, body, headers)) => {
                    return count(Reply { status, body: body.into_bytes(), html: false, headers }, record);
                }
                Err(_) => unreachable!(),
                Ok(page) => {
                    if self.options.heavy_page.is_some_and(|max| page.rows.len() > max) {
                        return match self.options.heavy_status {
                            500 => Reply::refuse(500, "Server Error"),
                            status => count(Reply { status, body: HTML.into(), html: true, headers: vec![] }, record),
                        };
                    }
                    body.push('[');
                    world.render_rows(&mut body, &list, &list.items[page.rows], view);
                    body.push(']');
                    links = page.links;
                }
            },
        }
        if path.ends_with("/events") && !path.contains("/issues/") {
            headers.push(("x-poll-interval", "60".to_string()));
        }
        if let Some(FaultKind::Edited(edit)) = fault {
            body = edit.apply(&body);
        }
        let unlinked = matches!(fault, Some(FaultKind::NoLink)) || body == "[]";
        links.retain(|(rel, _)| !unlinked && (self.options.last_link || *rel != "last"));
        // A tag says nothing of it.
        let mut shown = links.clone();
        if let Some(FaultKind::NextPage(page)) = fault {
            shown.retain(|(rel, _)| *rel != "next");
            shown.push(("next", query.with(&[("page", Some(page.to_string()))])));
        }
        if let Some(link) = self.link(&world, path, &shown, fault) {
            headers.push(("link", if self.options.sha256 { sha256::widened(&link) } else { link }));
        }
        if self.options.sha256 {
            body = sha256::widened(&body);
        }
        if let Some(FaultKind::Rewrite { from, to }) = fault {
            body = body.replace(from, to);
        }
        let tag = {
            let mut hash = xxhash_rust::xxh3::Xxh3::new();
            hash.update(body.as_bytes());
            hash.update(if star_times { b"star" } else { b"" });
            if self.options.etag_per_token {
                hash.update(from.token.as_deref().unwrap_or_default().as_bytes());
            }
            format!("\"{:032x}{:032x}\"", hash.digest128(), hash.digest128().rotate_left(64))
        };
        let bare = |t: &str| t.trim().trim_start_matches("W/").to_string();
        let wanted = record.if_none_match.as_deref();
        if wanted.is_some_and(|w| w.split(',').any(|t| bare(t) == tag)) {
            // GitHub: the tag comes back without W/, and with a valid token the answer is free.
            headers.push(("etag", tag));
            let reply = Reply { status: 304, body: vec![], html: false, headers };
            return if spec.is_some() { reply } else { count(reply, record) };
        }
        headers.push(("etag", format!("W/{tag}")));
        count(Reply { status: 200, body: body.into_bytes(), html: false, headers }, record)
    }

    /// GitHub: relations point at `/repositories/{id}/...`, with the query that was sent.
    fn link(
        &self,
        world: &World,
        path: &str,
        links: &[(&'static str, String)],
        fault: Option<&FaultKind>,
    ) -> Option<String> {
        if links.is_empty() {
            return None;
        }
        let mut path = path.to_string();
        if let Some(rest) = path.strip_prefix("repos/") {
            let mut parts = rest.splitn(3, '/');
            let (owner, repo, rest) = (parts.next()?, parts.next()?, parts.next().unwrap_or(""));
            let repo = world.find_repo(&format!("{}/{}", unpercent(owner), unpercent(repo)))?;
            path = format!("repositories/{}/{rest}", world.repos[repo].id);
        } else if let Some(rest) = path.strip_prefix("users/") {
            let (login, rest) = rest.split_once('/')?;
            path = format!("user/{}/{rest}", world.users[world.find_user(&unpercent(login))? as usize].id);
        } else if let Some(rest) = path.strip_prefix("orgs/") {
            let (org, rest) = rest.split_once('/')?;
            path = format!("organizations/{}/{rest}", world.users[world.find_user(org)? as usize].id);
        }
        let mut text = String::new();
        for (rel, query) in links {
            let base = match fault {
                Some(FaultKind::ForeignNext(base)) if *rel == "next" => base,
                _ => &world.api,
            };
            if !text.is_empty() {
                text.push_str(", ");
            }
            text.push_str(&format!("<{base}{path}{query}>; rel=\"{rel}\""));
        }
        Some(text)
    }

    fn rate_limit(&self, name: &str, spec: Option<&TokenSpec>, version: ApiVersion) -> Reply {
        let limits = &self.options.limits;
        if !limits.on {
            // GitHub Enterprise Server without limits.
            return Reply::refuse(404, "Rate limiting is not enabled.");
        }
        let mut ledger = self.ledger.lock().unwrap();
        let a = ledger.account(name, spec, limits);
        let core = format!(
            r#"{{"limit":{},"used":{},"remaining":{},"reset":{}}}"#,
            a.limit,
            a.limit - a.remaining,
            a.remaining,
            a.reset
        );
        let reset = a.reset;
        let other = |limit: u32| format!(r#"{{"limit":{limit},"used":0,"remaining":{limit},"reset":{reset}}}"#);
        let rate = if version == ApiVersion::V2022 { format!(r#","rate":{core}"#) } else { String::new() };
        let body = format!(
            r#"{{"resources":{{"core":{core},"search":{},"graphql":{},"code_search":{}}}{rate}}}"#,
            other(30),
            other(5_000),
            other(10)
        );
        Reply { status: 200, body: body.into_bytes(), html: false, headers: vec![] }
    }

    fn wire(
        &self,
        mut reply: Reply,
        name: &str,
        spec: Option<&TokenSpec>,
        fault: Option<&FaultKind>,
        sent: &HeaderMap,
    ) -> Response {
        let limits = &self.options.limits;
        if let Some(spec) = spec.filter(|_| reply.status != 401) {
            let told = [("x-oauth-scopes", &spec.scopes), ("github-authentication-token-expiration", &spec.expires)];
            reply.headers.extend(told.into_iter().filter_map(|(name, value)| Some((name, value.clone()?))));
        }
        if limits.on && reply.status != 401 {
            let mut ledger = self.ledger.lock().unwrap();
            let a = ledger.account(name, spec, limits);
            let (limit, remaining, reset) = (a.limit, a.remaining, a.reset);
            ledger.tell(name);
            drop(ledger);
            reply = reply
                .with("x-ratelimit-limit", limit)
                .with("x-ratelimit-remaining", remaining)
                .with("x-ratelimit-used", limit - remaining.min(limit))
                .with("x-ratelimit-reset", reset)
                .with("x-ratelimit-resource", "core");
        }
        let serial = self.serial.fetch_add(1, Ordering::Relaxed);
        let kind = if reply.html { "text/html; charset=utf-8" } else { "application/json; charset=utf-8" };
        let mut b = Response::builder()
            .status(StatusCode::from_u16(reply.status).unwrap())
            .header("x-github-media-type", "github.v3; format=json")
            .header("x-github-request-id", format!("FA4E:{serial:08X}"))
            .header("cache-control", "private, max-age=60, s-maxage=60")
            .header("vary", "Accept, Authorization, Cookie, X-GitHub-OTP,Accept-Encoding, Accept, X-Requested-With");
        if self.options.clock_skew != 0 {
            let at = chrono::Utc::now() + chrono::TimeDelta::seconds(self.options.clock_skew);
            b = b.header("date", at.format("%a, %d %b %Y %H:%M:%S GMT").to_string());
        }
        if !matches!(reply.status, 204 | 304) {
            b = b.header("content-type", kind);
        }
        for (name, value) in reply.headers {
            b = b.header(HeaderName::from_static(name), HeaderValue::from_str(&value).unwrap());
        }
        let half = || Bytes::copy_from_slice(&reply.body[..reply.body.len() / 2]);
        if matches!(fault, Some(FaultKind::Truncated)) {
            let short = half();
            // The headers and the half must be on their way before the connection ends.
            let end = async {
                tokio::time::sleep(Duration::from_millis(50)).await;
                Err(io::Error::from(io::ErrorKind::ConnectionReset))
            };
            let cut = futures::StreamExt::chain(futures::stream::once(async { Ok(short) }), futures::stream::once(end));
            return b.header("content-length", reply.body.len()).body(Body::from_stream(cut)).unwrap();
        }
        if matches!(fault, Some(FaultKind::Cut)) {
            // A stream has no length to compare with.
            let short = half();
            return b.body(Body::from_stream(futures::stream::once(async { Ok::<_, io::Error>(short) }))).unwrap();
        }
        if let Some(&FaultKind::Drip { pieces, pause }) = fault {
            let size = reply.body.len().div_ceil(pieces.max(1)).max(1);
            let pieces: Vec<Bytes> = reply.body.chunks(size).map(Bytes::copy_from_slice).collect();
            let slowly = futures::StreamExt::then(futures::stream::iter(pieces), move |piece| async move {
                tokio::time::sleep(pause).await;
                Ok::<_, io::Error>(piece)
            });
            return b.header("content-length", reply.body.len()).body(Body::from_stream(slowly)).unwrap();
        }
        let accepts = sent.get("accept-encoding").and_then(|v| v.to_str().ok()).is_some_and(|v| v.contains("gzip"));
        if self.options.gzip && accepts && reply.body.len() > 500 {
            use std::io::Write;
            let mut z = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            z.write_all(&reply.body).unwrap();
            return b.header("content-encoding", "gzip").body(Body::from(z.finish().unwrap())).unwrap();
        }
        b.body(Body::from(reply.body)).unwrap()
    }
}
