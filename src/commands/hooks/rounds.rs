//! Rounds over the organizations' webhooks, as `msght webhooks` makes them.

use std::path::Path;
use std::time::Duration;

use url::Url;

use super::super::App;
use super::super::hook_clients::HookClients;
use super::{outcome, rounds};
use crate::list_files::Orgs;
use crate::webhooks::inbox::Inbox;
use crate::webhooks::missed::INTERVAL;

/// Delay after a round that could not be made.
const RETRY_DELAY: Duration = Duration::from_mins(1);

/// Makes a round at once, every quarter of an hour, and whenever the inbox could not be written and is back.
pub(in crate::commands) async fn keep_looking(app: App, orgs: &Path, inbox: Inbox) {
    let settings = &app.settings;
    let Some(url) = settings.webhooks.public_url.clone() else {
        tracing::info!("webhooks.public_url is not set: missed deliveries are not looked for");
        return;
    };
    let mut is_reported = false;
    while !app.shutdown.is_cancelled() {
        let pause = match round(&app, orgs, url.clone()).await {
            Ok(()) => INTERVAL,
            Err(error) => {
                tracing::error!(error = format!("{error:#}"), "missed deliveries can't be looked for");
                if !std::mem::replace(&mut is_reported, true) && !app.shutdown.is_cancelled() {
                    app.console.error(&format!("missed deliveries can't be looked for: {error:#}"));
                }
                RETRY_DELAY
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = inbox.came_back() => {}
            () = app.shutdown.cancelled() => {}
        }
    }
}

/// Makes one round over all organizations.
async fn round(app: &App, orgs: &Path, url: Url) -> anyhow::Result<()> {
    let organizations = Orgs::read(orgs, true)?.logins;
    let mirror = app.mirror().await?;
    let rounds = rounds(app, &mirror, url, (false, false)).await?;
    let clients = HookClients::new(app, &mirror.github).await?;
    let mut reports = Vec::new();
    let mut failure = None;
    for organization in &organizations {
        if app.shutdown.is_cancelled() {
            break;
        }
        match rounds.organization(organization, &clients.of(organization)).await {
            Ok(report) => reports.push(report),
            Err(error) => {
                failure = Some(error);
                break;
            }
        }
    }
    clients.close().await;
    rounds.queue.close().await;
    mirror.close().await;
    for report in &reports {
        if report.missing > 0 {
            app.console.line(&format!(
                "{}: {} of {} deliveries did not arrive; {} taken in from GitHub's log",
                report.organization, report.missing, report.deliveries, report.fetched
            ));
        }
    }
    outcome(app, &reports);
    failure.map_or(Ok(()), |error| Err(error.into()))
}
