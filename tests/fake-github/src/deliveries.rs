//! Deliveries of webhooks: sent over HTTP as GitHub sends them, and kept in a log that can be read and sent from again.
//! [`Live`] says what goes wrong on the way.
use super::app::Installation;
use super::changes::Change;
use super::json::*;
use super::paging::Query;
use super::routes::{Answer, not_found};
use super::server::{FakeGitHub, Shared};
use super::world::*;
use axum::http::Request;
use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::{Notify, Semaphore, mpsc};

/// GitHub: the log reaches back three days.
pub const LOG_KEPT: Duration = Duration::from_secs(3 * 86_400);

/// How deliveries, the API and the feeds keep up with the world; shares are in hundredths.
#[derive(Clone, Debug)]
pub struct Live {
    /// Share that is neither sent nor logged.
    pub lost: u64,
    /// Share that is logged as timed out and never sent.
    pub dropped: u64,
    /// Share that is sent twice.
    pub duplicated: u64,
    /// Share that is sent after the one behind it.
    pub reordered: u64,
    /// Share whose signature is another's.
    pub missigned: u64,
    /// How long deliveries take, evenly between these.
    pub delay: Range<Duration>,
    /// How many deliveries of all hooks are under way at once; one keeps them in order.
    pub in_flight: usize,
    /// How long an answer is waited for.
    pub timeout: Duration,
    /// How long a delivery is missing in the log.
    pub log_lag: Duration,
    /// How long at most the API shows a repository as it was before.
    pub api_lag: Duration,
    /// How long at most an event is missing in its feed.
    pub feed_lag: Duration,
    /// Share of the events that come so late that they stand behind known ones.
    pub feed_behind: u64,
    /// Share of the events that never come.
    pub feed_omitted: u64,
}

impl Default for Live {
    fn default() -> Live {
        Live {
            lost: 0,
            dropped: 0,
            duplicated: 0,
            reordered: 0,
            missigned: 0,
            delay: Duration::ZERO..Duration::ZERO,
            in_flight: 1,
            timeout: Duration::from_secs(10),
            log_lag: Duration::ZERO,
            api_lag: Duration::ZERO,
            feed_lag: Duration::ZERO,
            feed_behind: 0,
            feed_omitted: 0,
        }
    }
}

/// One delivery, or one attempt of it, as the log has it.
#[derive(Clone, Debug)]
pub struct Delivery {
    pub id: u64,
    /// The event's: the same in every attempt, and for every hook.
    pub guid: String,
    pub hook: u64,
    pub org: UserIx,
    pub at: SystemTime,
    pub redelivery: bool,
    pub duration: f64,
    /// `OK`, or what went wrong; `None` while it's under way.
    pub status: Option<String>,
    /// GitHub: what timed out has none.
    pub status_code: Option<u16>,
    pub event: String,
    pub action: Option<String>,
    pub repository_id: Option<u64>,
    pub url: String,
    pub headers: Vec<(&'static str, String)>,
    /// In JSON, however it is sent.
    pub payload: String,
    /// When it appears in the log.
    pub shown: Instant,
}

/// What is to be sent.
struct Parcel {
    delivery: u64,
    missigned: bool,
    delay: Duration,
    /// Goes after the next.
    reordered: bool,
}

/// The deliveries of all hooks.
pub(super) struct Post {
    pub(super) log: std::sync::Mutex<Vec<Delivery>>,
    queue: mpsc::UnboundedSender<Parcel>,
    under_way: AtomicUsize,
    settled: Notify,
    rng: std::sync::Mutex<u64>,
}

/// The signature of a body, as GitHub writes it behind `sha256=`.
pub fn signature(secret: &str, body: &[u8]) -> String {
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(body);
    mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn sha1_signature(secret: &str, body: &[u8]) -> String {
    let mut mac = Hmac::<sha1::Sha1>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(body);
    mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Post {
    pub(super) fn new(seed: u64) -> (Post, Queue) {
        let (queue, parcels) = mpsc::unbounded_channel();
        let post = Post {
            log: Default::default(),
            queue,
            under_way: AtomicUsize::new(0),
            settled: Notify::new(),
            rng: std::sync::Mutex::new(seed | 1),
        };
        (post, Queue(parcels))
    }

    fn rand(&self) -> u64 {
        let mut rng = self.rng.lock().unwrap();
        *rng ^= *rng << 13;
        *rng ^= *rng >> 7;
        *rng ^= *rng << 17;
        *rng >> 11
    }

    fn chance(&self, percent: u64) -> bool {
        percent > 0 && self.rand() % 100 < percent
    }

    /// A time between these.
    fn between(&self, range: &Range<Duration>) -> Duration {
        let width = range.end.saturating_sub(range.start).as_millis() as u64;
        range.start + Duration::from_millis(if width == 0 { 0 } else { self.rand() % (width + 1) })
    }

    fn send(&self, parcel: Parcel) {
        self.under_way.fetch_add(1, Ordering::SeqCst);
        if self.queue.send(parcel).is_err() {
            self.done();
        }
    }

    fn done(&self) {
        if self.under_way.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.settled.notify_waiters();
        }
    }

    /// A number that the events of one change have in common.
    fn guid(&self) -> String {
        let (a, b) = (self.rand(), self.rand());
        let hex = format!("{:032x}", u128::from(a) << 64 | u128::from(b));
        format!("{}-{}-11f0-8{}-{}", &hex[..8], &hex[8..12], &hex[17..20], &hex[20..])
    }
}

pub(super) struct Queue(mpsc::UnboundedReceiver<Parcel>);

/// An answer, the template of its address, and the relations of its `Link`.
pub(super) type Linked = (&'static str, Answer, Vec<(&'static str, String)>);

type Http = Client<HttpConnector, Full<Bytes>>;

impl Queue {
    /// Sends what comes until the server ends.
    pub(super) async fn run(mut self, shared: Arc<Shared>) {
        let http: Http = Client::builder(TokioExecutor::new()).build_http();
        let slots = Arc::new(Semaphore::new(Semaphore::MAX_PERMITS));
        let mut held: Option<Parcel> = None;
        while let Some(parcel) = self.0.recv().await {
            let parcel = match held.take() {
                None if parcel.reordered && !self.0.is_empty() => {
                    held = Some(parcel);
                    continue;
                }
                None => vec![parcel],
                Some(before) => vec![parcel, before],
            };
            for parcel in parcel {
                let (shared, http) = (shared.clone(), http.clone());
                let limit = shared.live.lock().unwrap().in_flight.max(1);
                let taken = Semaphore::MAX_PERMITS - slots.available_permits();
                if parcel.delay.is_zero() && limit == 1 && taken == 0 {
                    shared.deliver(&http, parcel).await;
                    continue;
                }
                while Semaphore::MAX_PERMITS - slots.available_permits() >= limit && parcel.delay.is_zero() {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                let slot = slots.clone().acquire_owned().await;
                tokio::spawn(async move {
                    let _slot = slot;
                    tokio::time::sleep(parcel.delay).await;
                    shared.deliver(&http, parcel).await;
                });
            }
        }
    }
}

impl Shared {
    /// Has every hook that wants to know told of changes.
    pub(super) fn post(&self, world: &World, changes: Vec<Change>) {
        let live = self.live.lock().unwrap().clone();
        for change in changes {
            let guid = self.post.guid();
            let wants = |hook: &&super::hooks::Hook| {
                let wanted = |event: &String| event == "*" || *event == change.event || change.event == "ping";
                hook.org == change.org && hook.active && hook.events.iter().any(wanted)
            };
            for hook in world.hooks.iter().filter(wants) {
                if change.event != "ping" && self.post.chance(live.lost) {
                    continue;
                }
                self.enter(world, hook, &change, &guid, &live);
            }
        }
    }

    fn enter(&self, world: &World, hook: &super::hooks::Hook, change: &Change, guid: &str, live: &Live) {
        let id = {
            let mut log = self.post.log.lock().unwrap();
            // GitHub: numbers of deliveries have outgrown 53 bits.
            let id = 9_100_000_000_000_000_000 + log.len() as u64 * 17;
            log.push(Delivery {
                id,
                guid: guid.to_owned(),
                hook: hook.id,
                org: hook.org,
                at: SystemTime::now(),
                redelivery: false,
                duration: 0.0,
                status: None,
                status_code: None,
                event: change.event.clone(),
                action: change.action.clone(),
                repository_id: change.repository_id,
                url: hook.url.clone(),
                headers: headers(world, hook, &change.event, guid),
                payload: change.payload.clone(),
                shown: Instant::now() + live.log_lag,
            });
            id
        };
        if self.post.chance(live.dropped) {
            self.note(id, live.timeout, "timed out", None);
            return;
        }
        let missigned = self.post.chance(live.missigned);
        for _ in 0..1 + u64::from(self.post.chance(live.duplicated)) {
            let (delay, reordered) = (self.post.between(&live.delay), self.post.chance(live.reordered));
            self.post.send(Parcel { delivery: id, missigned, delay, reordered });
        }
    }

    fn note(&self, id: u64, took: Duration, status: &str, code: Option<u16>) {
        let mut log = self.post.log.lock().unwrap();
        if let Some(entry) = log.iter_mut().rfind(|entry| entry.id == id) {
            entry.duration = (took.as_secs_f64() * 100.0).round() / 100.0;
            (entry.status, entry.status_code) = (Some(status.to_owned()), code);
        }
    }

    async fn deliver(&self, http: &Http, parcel: Parcel) {
        let found = self.post.log.lock().unwrap().iter().rfind(|entry| entry.id == parcel.delivery).cloned();
        if let Some(entry) = found {
            let started = Instant::now();
            let (status, code) = self.attempt(http, &entry, parcel.missigned).await;
            self.note(entry.id, started.elapsed(), &status, code);
        }
        self.post.done();
    }

    async fn attempt(&self, http: &Http, entry: &Delivery, missigned: bool) -> (String, Option<u16>) {
        let hook = {
            let world = self.world.read().unwrap();
            world.hooks.iter().find(|hook| hook.id == entry.hook).cloned()
        };
        let Some(hook) = hook else { return ("hook was deleted".into(), Some(404)) };
        let uri = hook.url.parse::<axum::http::Uri>().ok();
        let here = |uri: &axum::http::Uri| {
            uri.scheme_str() == Some("http") && matches!(uri.host(), Some("127.0.0.1" | "localhost" | "[::1]"))
        };
        // Nothing leaves this machine.
        let Some(uri) = uri.filter(here) else { return ("failed to connect to host".into(), Some(502)) };
        let (kind, body) = match hook.content_type.as_str() {
            "form" => {
                let payload = percent(&entry.payload).replace("%20", "+");
                ("application/x-www-form-urlencoded", format!("payload={payload}"))
            }
            _ => ("application/json", entry.payload.clone()),
        };
        let mut request = Request::post(uri).header("accept", "*/*").header("content-type", kind);
        for (name, value) in &entry.headers {
            request = request.header(*name, value);
        }
        if let Some(secret) = &hook.secret {
            let secret = if missigned { "another secret" } else { secret };
            request = request
                .header("x-hub-signature", format!("sha1={}", sha1_signature(secret, body.as_bytes())))
                .header("x-hub-signature-256", format!("sha256={}", signature(secret, body.as_bytes())));
        }
        let timeout = self.live.lock().unwrap().timeout;
        let request = request.body(Full::new(Bytes::from(body))).expect("a sound request");
        let answered = async {
            let answer = http.request(request).await.ok()?;
            let status = answer.status().as_u16();
            let _ = answer.into_body().collect().await;
            Some(status)
        };
        match tokio::time::timeout(timeout, answered).await {
            Err(_) => ("timed out".into(), None),
            Ok(None) => ("failed to connect to host".into(), Some(502)),
            Ok(Some(status @ 200..300)) => ("OK".into(), Some(status)),
            Ok(Some(status)) => (format!("Invalid HTTP Response: {status}"), Some(status)),
        }
    }

    /// Answers below `/orgs/{org}/hooks/{id}/deliveries` and to pings, with the relations of its `Link`; `None` where
    /// nothing of it is.
    pub(super) fn delivery_answer(
        &self,
        method: &str,
        path: &str,
        q: &Query,
        user: Option<UserIx>,
        installation: Option<&Installation>,
    ) -> Option<Linked> {
        let world = self.world.read().unwrap();
        let seg: Vec<&str> = path.split('/').collect();
        let (org, id, rest) = match seg[..] {
            ["orgs", org, "hooks", id, ref rest @ ..] => (world.find_user(&unpercent(org)), id, rest),
            ["organizations", org, "hooks", id, ref rest @ ..] => {
                let org: Option<u64> = org.parse().ok();
                (world.users.iter().position(|u| Some(u.id) == org).map(|at| at as UserIx), id, rest)
            }
            _ => return None,
        };
        let template = match (method, rest) {
            ("GET", ["deliveries"]) => "/orgs/{org}/hooks/{hook_id}/deliveries",
            ("GET", ["deliveries", _]) => "/orgs/{org}/hooks/{hook_id}/deliveries/{delivery_id}",
            ("POST", ["deliveries", _, "attempts"]) => "/orgs/{org}/hooks/{hook_id}/deliveries/{delivery_id}/attempts",
            ("POST", ["pings"]) => "/orgs/{org}/hooks/{hook_id}/pings",
            _ => return None,
        };
        let refuse = |answer| Some((template, answer, vec![]));
        let Some(org) = org else { return refuse(not_found()) };
        if let Some(answer) = world.hooks_refused(org, user, installation, method == "POST") {
            return refuse(answer);
        }
        let hook = id.parse().ok().and_then(|id: u64| world.hooks.iter().position(|h| h.org == org && h.id == id));
        let Some(hook) = hook else { return refuse(not_found()) };
        let hook_id = world.hooks[hook].id;
        if rest == ["pings"] {
            let ping = world.ping(hook);
            self.post(&world, vec![ping]);
            return refuse(Answer::Status(204, String::new(), vec![]));
        }
        let now = SystemTime::now();
        let shown = |entry: &&Delivery| {
            let young = now.duration_since(entry.at).is_ok_and(|age| age <= LOG_KEPT);
            entry.hook == hook_id && entry.shown <= Instant::now() && entry.status.is_some() && young
        };
        let log = self.post.log.lock().unwrap();
        if let ["deliveries", id, more @ ..] = rest {
            let id: Option<u64> = id.parse().ok();
            let Some(entry) = log.iter().filter(shown).find(|entry| Some(entry.id) == id).cloned() else {
                return refuse(not_found());
            };
            drop(log);
            if more.is_empty() {
                return refuse(Answer::Object(entry_json(&world, &entry, true)));
            }
            self.again(entry);
            return refuse(Answer::Status(202, "{}".into(), vec![]));
        }
        let per_page = q.per_page();
        let before: u64 = match q.get("cursor").map(|cursor| cursor.strip_prefix("v1_").unwrap_or(cursor).parse()) {
            None => u64::MAX,
            Some(Ok(at)) => at,
            Some(Err(_)) => return refuse(super::routes::refusal(422, "Invalid cursor")),
        };
        let wanted = |entry: &&Delivery| match q.get("status") {
            Some("success") => entry.status_code.is_some_and(|code| code < 400),
            // GitHub: of what failed, only what has a code for it.
            Some("failure") => entry.status_code.is_some_and(|code| (400..600).contains(&code)),
            _ => true,
        };
        let mut rows: Vec<&Delivery> =
            log.iter().filter(shown).filter(wanted).filter(|entry| entry.id < before).collect();
        // Newest first.
        rows.sort_by_key(|entry| std::cmp::Reverse(entry.id));
        let more = rows.len() > per_page;
        rows.truncate(per_page);
        let next = rows.last().filter(|_| more).map(|entry| format!("v1_{}", entry.id));
        let links = next.map(|cursor| ("next", q.with(&[("cursor", Some(cursor))]))).into_iter().collect();
        let rows: Vec<String> = rows.into_iter().map(|entry| entry_json(&world, entry, false)).collect();
        Some((template, Answer::Object(format!("[{}]", rows.join(","))), links))
    }

    fn again(&self, entry: Delivery) {
        let mut log = self.post.log.lock().unwrap();
        let id = 9_100_000_000_000_000_000 + log.len() as u64 * 17;
        let (at, shown) = (SystemTime::now(), Instant::now() + self.live.lock().unwrap().log_lag);
        log.push(Delivery { id, at, shown, redelivery: true, status: None, status_code: None, ..entry });
        drop(log);
        self.post.send(Parcel { delivery: id, missigned: false, delay: Duration::ZERO, reordered: false });
    }

    /// When a feed entry that is made now will be seen.
    pub(super) fn feed_shown(&self, live: &Live) -> Shown {
        if self.post.chance(live.feed_omitted) {
            return Shown::Never;
        }
        if live.feed_lag.is_zero() && live.feed_behind == 0 {
            return Shown::Always;
        }
        let mut lag = live.feed_lag;
        if self.post.chance(live.feed_behind) {
            lag += self.post.between(&(lag..lag * 3)) + Duration::from_secs(1);
        }
        Shown::At(Instant::now() + lag)
    }

    /// For how long the API shows a repository as it was.
    pub(super) fn lag(&self, live: &Live) -> Duration {
        self.post.between(&(Duration::ZERO..live.api_lag))
    }
}

fn headers(world: &World, hook: &super::hooks::Hook, event: &str, guid: &str) -> Vec<(&'static str, String)> {
    vec![
        ("user-agent", "GitHub-Hookshot/044aadd".into()),
        ("x-github-delivery", guid.into()),
        ("x-github-event", event.into()),
        ("x-github-hook-id", hook.id.to_string()),
        ("x-github-hook-installation-target-id", world.users[hook.org as usize].id.to_string()),
        ("x-github-hook-installation-target-type", "organization".into()),
    ]
}

fn entry_json(world: &World, entry: &Delivery, whole: bool) -> String {
    let at = chrono::DateTime::<chrono::Utc>::from(entry.at).format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string();
    let mut body = json!({
        "id": entry.id, "guid": entry.guid, "delivered_at": at, "redelivery": entry.redelivery,
        "duration": entry.duration, "status": entry.status, "status_code": entry.status_code,
        "event": entry.event, "action": entry.action, "installation_id": null,
        "repository_id": entry.repository_id, "throttled_at": null,
    });
    if !whole {
        return body.to_string();
    }
    let hook = world.hooks.iter().find(|hook| hook.id == entry.hook);
    let kind = if hook.is_some_and(|hook| hook.content_type == "form") {
        "application/x-www-form-urlencoded"
    } else {
        "application/json"
    };
    let mut headers: serde_json::Map<String, Value> =
        entry.headers.iter().map(|(name, value)| (title(name), json!(value))).collect();
    headers.insert("Accept".into(), json!("*/*"));
    headers.insert("content-type".into(), json!(kind));
    body["url"] = json!(entry.url);
    body["request"] = json!({"headers": headers, "payload": null});
    body["response"] = json!({"headers": {}, "payload": ""});
    // The payload may hold what no text of ours can.
    body.to_string().replacen(r#""payload":null"#, &format!(r#""payload":{}"#, entry.payload), 1)
}

/// A header's name as GitHub writes it.
fn title(name: &str) -> String {
    let word = |word: &str| match word {
        "github" => "GitHub".to_owned(),
        "id" => "ID".to_owned(),
        word => word[..1].to_uppercase() + &word[1..],
    };
    name.split('-').map(word).collect::<Vec<_>>().join("-")
}

impl FakeGitHub {
    /// Changes how deliveries, the API and the feeds keep up with the world, from now on.
    pub fn live(&self, change: impl FnOnce(&mut Live)) {
        change(&mut self.shared.live.lock().unwrap());
    }

    /// All deliveries so far, oldest first: those under way, those not yet to be seen in the log, and all attempts.
    pub fn deliveries(&self) -> Vec<Delivery> {
        self.shared.post.log.lock().unwrap().clone()
    }

    /// Changes the log of deliveries by hand.
    pub fn deliveries_mut<T>(&self, change: impl FnOnce(&mut Vec<Delivery>) -> T) -> T {
        change(&mut self.shared.post.log.lock().unwrap())
    }

    /// Has an organization's hooks told of something that the world knows nothing of.
    pub fn tell(&self, org: &str, event: &str, payload: &Value) {
        let world = self.shared.world.read().unwrap();
        let change = Change {
            org: world.user(org),
            event: event.into(),
            action: payload["action"].as_str().map(str::to_owned),
            repository_id: payload["repository"]["id"].as_u64(),
            payload: payload.to_string(),
        };
        self.shared.post(&world, vec![change]);
    }

    /// Waits until every delivery has been sent and answered, given up or lost.
    pub async fn delivered(&self) {
        loop {
            let settled = self.shared.post.settled.notified();
            tokio::pin!(settled);
            settled.as_mut().enable();
            if self.shared.post.under_way.load(Ordering::SeqCst) == 0 {
                return;
            }
            settled.await;
        }
    }
}
