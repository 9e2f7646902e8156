//! `msght hooks ping`: lets GitHub ping a webhook, and follows the ping to the inbox.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::time::Instant;

use super::super::hook_clients::HookClients;
use super::super::output::print;
use super::super::{App, CommandOutcome};
use super::{organizations, public_url};
use crate::cli::HooksPingArgs;
use crate::github::webhooks::{LoggedDelivery, WebhookRef, WebhookSpec, WebhookState};
use crate::github::{GitHub, RequestCounter};
use crate::store::documents::Documents;
use crate::store::documents::deliveries::DeliveryKey;
use crate::webhooks::missed::HookClient;

/// Time between two looks.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// Time for which the inbox is looked at after GitHub was told that it has the ping.
const INBOX_PATIENCE: Duration = Duration::from_secs(5);
/// GitHub's clock may differ from this machine's by as much.
const CLOCK_TOLERANCE: TimeDelta = TimeDelta::minutes(2);

/// Pings each organization's webhook, one after another.
///
/// # Errors
/// A setting, a file or a store that can't be used.
pub(super) async fn run(app: App, args: &HooksPingArgs) -> anyhow::Result<CommandOutcome> {
    let organizations = organizations(&args.targets)?;
    let spec =
        WebhookSpec { url: public_url(&app)?, secret: app.settings.webhooks.secrets.first().cloned(), repair: false };
    let mirror = app.mirror().await?;
    let clients = HookClients::new(&app, &mirror.github).await?;
    let mut outcome = CommandOutcome::Complete;
    for organization in &organizations {
        let own = clients.of(organization);
        let pinged = ping(&app, &mirror.stores.documents, organization, &spec, &own, args.wait);
        let pinged = tokio::select! {
            () = app.shutdown.cancelled() => break,
            pinged = pinged => pinged,
        };
        match pinged {
            Ok(took) => drop(print(&format!("{organization}: the ping arrived after {:.1} s\n", took.as_secs_f64()))?),
            Err(problem) => {
                app.console.error(&format!("error: {organization}: {problem}"));
                outcome = CommandOutcome::Incomplete;
            }
        }
    }
    clients.close().await;
    mirror.close().await;
    Ok(outcome)
}

/// Pings a webhook, and returns how long the ping took to the inbox.
///
/// # Errors
/// The part of the way that failed.
async fn ping(
    app: &App,
    documents: &Documents,
    organization: &str,
    spec: &WebhookSpec,
    clients: &[HookClient],
    wait: Duration,
) -> Result<Duration, String> {
    let counter = RequestCounter::default();
    let mut found = Err("no token may see to the organization's webhooks".to_owned());
    for (github, token) in clients {
        let inspected = github.inspect_webhook(organization, spec, None, token.as_ref(), &counter).await;
        let Some(inspected) = inspected else { continue };
        found = match (inspected.id, inspected.state) {
            (_, WebhookState::Unknown(why)) => Err(why),
            (Some(id), state) => {
                if let Some(problem) = state.problem() {
                    app.console.line(&format!("{organization}: {problem}"));
                }
                Ok((github, WebhookRef { organization: organization.to_owned(), id, token: token.clone() }))
            }
            (None, state) => Err(state.problem().unwrap_or("there is no webhook").to_owned()),
        };
        if found.is_ok() {
            break;
        }
    }
    let (github, hook) = found?;
    let (asked, started) = (Utc::now() - CLOCK_TOLERANCE, Instant::now());
    let before = latest_ping(github, &hook, asked, &counter).await?.map(|entry| entry.id);
    let refused = |error| format!("GitHub does not send a ping: {error}");
    github.ping_webhook(&hook, &counter).await.map_err(refused)?;
    let logged = loop {
        let entry = latest_ping(github, &hook, asked, &counter).await?;
        if let Some(entry) = entry.filter(|entry| Some(entry.id) != before) {
            break entry;
        }
        if started.elapsed() >= wait {
            return Err(format!(
                "GitHub has no ping in its log after {} s; it may be late: run the command again",
                wait.as_secs()
            ));
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    };
    if !logged.is_delivered() {
        return Err(explain(&logged, spec));
    }
    let key = DeliveryKey::new(&logged.guid, hook.id);
    let patience = Instant::now() + INBOX_PATIENCE;
    loop {
        let states = documents.known_deliveries(std::slice::from_ref(&key)).await.map_err(|error| error.to_string())?;
        if states.iter().any(Option::is_some) {
            return Ok(started.elapsed());
        }
        if Instant::now() >= patience {
            return Err(format!(
                "{} was answered with {}, but the ping is not in the inbox: another server answers at {}, or it has another document store",
                logged.guid,
                logged.outcome(),
                spec.url
            ));
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// Returns the newest ping in the log since a time.
async fn latest_ping(
    github: &GitHub,
    hook: &WebhookRef,
    since: DateTime<Utc>,
    counter: &RequestCounter,
) -> Result<Option<LoggedDelivery>, String> {
    let page = github.delivery_log(hook, None, counter).await;
    let page = page.map_err(|error| format!("the log of deliveries can't be read: {error}"))?;
    Ok(page.entries.into_iter().find(|entry| entry.event == "ping" && entry.delivered_at >= since))
}

/// Explains why a ping was not delivered.
fn explain(logged: &LoggedDelivery, spec: &WebhookSpec) -> String {
    let (url, outcome) = (&spec.url, logged.outcome());
    match logged.status_code {
        Some(401) => format!(
            "{url} answered 401: the ping is signed with another secret than those of webhooks.secret; `msght hooks missed --repair` or \
             `msght get-repos --repair-hooks` sets it where GitHub shows none"
        ),
        Some(404 | 405) => {
            format!(
                "{url} answered {outcome}: the path leads elsewhere than to `/` or `/webhooks/github` of `msght webhooks`"
            )
        }
        Some(413 | 415 | 400) => {
            format!(
                "{url} answered {outcome}: what came is not what GitHub has sent: look at the proxy in front of the server"
            )
        }
        Some(503) => format!("{url} answered 503: the server runs, and can't store what it gets: see its log"),
        Some(502 | 504) => format!(
            "GitHub can't reach {url} ({outcome}, {}): no server listens there, or a proxy or firewall lets nothing through",
            logged.status.as_deref().unwrap_or("no reason given")
        ),
        None | Some(0) => {
            format!("GitHub got no answer from {url} within 10 s ({outcome}): is the server up, and the firewall open?")
        }
        Some(_) => format!("{url} answered {outcome}"),
    }
}
