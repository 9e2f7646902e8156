//! The admin listener: a status page, readiness and metrics, for the operator's eyes only.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use chrono::{DateTime, SecondsFormat, Utc};
use futures::future::{BoxFuture, join_all};
use http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::time::timeout;

use super::accounts::MirroredAccounts;
use super::inbox::Inbox;
use super::intake::Intake;
use super::metrics::Exposition;
use crate::secret::Secret;
use crate::store::documents::Documents;
use crate::store::documents::deliveries::{DeliveryCounts, ListeningGap};

/// Maximum time for a check: whoever asks gives up after some seconds, too.
const CHECK_TIMEOUT: Duration = Duration::from_secs(4);

/// A check of something that the server needs; its result is shown.
pub type Check = Box<dyn Fn() -> BoxFuture<'static, Result<String, String>> + Send + Sync>;

/// What the admin listener shows, and to whom.
pub struct Admin {
    /// The token that requests need, if any.
    pub token: Option<Secret>,
    /// Names under which the listener may be called, beside IP addresses and `localhost`.
    pub hosts: Vec<String>,
    /// Checks of stores and queue, by name.
    pub checks: Vec<(&'static str, Check)>,
    /// The document store, for counts.
    pub documents: Documents,
    /// The inbox's writer.
    pub inbox: Inbox,
    /// The intake.
    pub intake: Arc<Intake>,
    /// The mirrored accounts.
    pub accounts: Arc<MirroredAccounts>,
    /// Time of the start.
    pub started_at: DateTime<Utc>,
    /// The time before the start in which nobody listened.
    pub gap: Option<ListeningGap>,
}

/// Returns the routes of the admin listener.
pub fn routes(admin: Arc<Admin>) -> Router {
    Router::new()
        .route("/", get(status_page))
        .route("/readyz", get(readiness))
        .route("/metrics", get(metrics))
        .layer(from_fn_with_state(Arc::clone(&admin), guard))
        .with_state(admin)
}

/// Rejects requests without the token, and those that a browser was led to by another site's name.
async fn guard(State(admin): State<Arc<Admin>>, request: Request<Body>, next: Next) -> Response {
    if !admin.is_own_host(request.headers()) {
        return (StatusCode::FORBIDDEN, "not this server's name: add it to webhooks.admin_hosts\n").into_response();
    }
    if !admin.has_token(request.headers()) {
        let challenge = [(http::header::WWW_AUTHENTICATE, "Bearer")];
        return (StatusCode::UNAUTHORIZED, challenge, "webhooks.admin_token is needed\n").into_response();
    }
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    let policy = HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'");
    headers.insert(CONTENT_SECURITY_POLICY, policy);
    response
}

impl Admin {
    fn is_own_host(&self, headers: &HeaderMap) -> bool {
        let Some(host) = headers.get(HOST).and_then(|host| host.to_str().ok()) else { return false };
        let name = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
            _ => host,
        };
        let address = name.trim_start_matches('[').trim_end_matches(']');
        address.parse::<IpAddr>().is_ok()
            || name.eq_ignore_ascii_case("localhost")
            || self.hosts.iter().any(|own| own.eq_ignore_ascii_case(name) || own.eq_ignore_ascii_case(host))
    }

    fn has_token(&self, headers: &HeaderMap) -> bool {
        let Some(token) = &self.token else { return true };
        let given = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let given = given.and_then(|value| value.strip_prefix("Bearer ").or_else(|| value.strip_prefix("bearer ")));
        // Of digests, the time of the comparison tells nothing.
        given.is_some_and(|given| Sha256::digest(given.trim()) == Sha256::digest(token.expose()))
    }

    /// Runs all checks side by side.
    async fn check(&self) -> Vec<(&'static str, Result<String, String>)> {
        let inbox = if self.inbox.is_down() {
            Err("the document store can't be written: deliveries are rejected".to_owned())
        } else {
            Ok("deliveries are accepted".to_owned())
        };
        let checks = self.checks.iter().map(|(name, check)| async move {
            let result = timeout(CHECK_TIMEOUT, check()).await;
            (*name, result.unwrap_or_else(|_| Err(format!("no answer within {} s", CHECK_TIMEOUT.as_secs()))))
        });
        let mut results = vec![("inbox", inbox)];
        results.extend(join_all(checks).await);
        results
    }

    async fn counts(&self) -> Result<DeliveryCounts, String> {
        match timeout(CHECK_TIMEOUT, self.documents.delivery_counts()).await {
            Ok(counts) => counts.map_err(|error| error.to_string()),
            Err(_) => Err(format!("no answer within {} s", CHECK_TIMEOUT.as_secs())),
        }
    }
}

/// Returns the states with their counts.
fn by_state(counts: &DeliveryCounts) -> [(&'static str, u64); 5] {
    [
        ("received", counts.received),
        ("working", counts.working),
        ("failed", counts.failed),
        ("done", counts.done),
        ("dead", counts.dead),
    ]
}

async fn readiness(State(admin): State<Arc<Admin>>) -> Response {
    let results = admin.check().await;
    let is_ready = results.iter().all(|(_, result)| result.is_ok());
    let shown = results.into_iter().map(|(name, result)| {
        let (state, text) = match result {
            Ok(text) => ("ok", text),
            Err(text) => ("failed", text),
        };
        (name.to_owned(), json!({ "state": state, "text": text }))
    });
    let body = json!({ "ready": is_ready, "checks": shown.collect::<serde_json::Map<_, _>>() });
    let status = if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, [(CONTENT_TYPE, "application/json")], body.to_string() + "\n").into_response()
}

async fn metrics(State(admin): State<Arc<Admin>>) -> Response {
    let mut text = Exposition::default();
    admin.intake.metrics().write(&mut text);
    let gauge = "gauge";
    let in_hand = admin.intake.bytes_in_hand() as u64;
    text.single("msght_webhooks_bytes_in_hand", gauge, "Bytes of bodies being read or stored.", in_hand);
    text.single("msght_webhooks_accounts", gauge, "Accounts that are mirrored.", admin.accounts.len() as u64);
    let up = u64::from(!admin.inbox.is_down());
    text.single("msght_inbox_up", gauge, "Whether the inbox can be written.", up);
    let started = u64::try_from(admin.started_at.timestamp()).unwrap_or(0);
    text.single("msght_webhooks_start_time_seconds", gauge, "Time of the start, in seconds since 1970.", started);
    if let Some(gap) = admin.gap {
        let seconds = (gap.until - gap.from).num_seconds().unsigned_abs();
        text.single("msght_webhooks_last_gap_seconds", gauge, "Seconds before the start without a listener.", seconds);
    }
    match admin.counts().await {
        Ok(counts) => {
            text.labeled("msght_deliveries", gauge, "Deliveries by state.", "state", by_state(&counts));
            let age = counts.oldest_pending.map_or(0, |at| (Utc::now() - at).num_seconds().max(0).unsigned_abs());
            let help = "Age of the oldest delivery that is neither done nor dead.";
            text.single("msght_deliveries_oldest_pending_seconds", gauge, help, age);
        }
        Err(error) => tracing::warn!(error, "counting deliveries"),
    }
    ([(CONTENT_TYPE, "text/plain; version=0.0.4")], text.finish()).into_response()
}

async fn status_page(State(admin): State<Arc<Admin>>) -> Response {
    let time = |at: DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::Secs, true);
    let mut rows = String::new();
    let mut row = |name: &str, value: &str| {
        let _ = writeln!(rows, "<tr><th>{}</th><td>{}</td></tr>", escape(name), escape(value));
    };
    row("version", env!("CARGO_PKG_VERSION"));
    row("running since", &time(admin.started_at));
    row("mirrored accounts", &admin.accounts.len().to_string());
    if let Some(gap) = admin.gap {
        let kind = if gap.stopped_cleanly { "an orderly stop" } else { "no orderly stop: at most" };
        row("nobody listened before", &format!("{} to {} ({kind})", time(gap.from), time(gap.until)));
    }
    for (name, result) in admin.check().await {
        row(name, &result.unwrap_or_else(|error| format!("FAILED: {error}")));
    }
    match admin.counts().await {
        Ok(counts) => {
            let states = by_state(&counts).map(|(state, count)| format!("{count} {state}"));
            row("deliveries in the inbox", &states.join(", "));
            row("oldest that is not done", &counts.oldest_pending.map_or_else(|| "none".to_owned(), time));
        }
        Err(error) => row("deliveries in the inbox", &format!("FAILED: {error}")),
    }
    let metrics = admin.intake.metrics();
    let answers: Vec<String> = metrics.answers.get().iter().map(|(code, count)| format!("{count} of {code}")).collect();
    row("answers since the start", &if answers.is_empty() { "none".to_owned() } else { answers.join(", ") });
    row("stored / known already", &format!("{} / {}", metrics.stored.get(), metrics.repeated.get()));
    row("ignored / not mirrored", &format!("{} / {}", metrics.ignored.total(), metrics.not_mirrored.get()));
    Html(format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>msght webhooks</title>\
         <style>body{{font:16px system-ui;margin:2em}}th{{text-align:left;padding-right:2em;vertical-align:top}}</style>\
         <h1>msght webhooks</h1><table>\n{rows}</table><p>/metrics, /readyz</p></html>\n"
    ))
    .into_response()
}

/// Escapes a text for HTML.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
