//! `msght webhooks`: receives deliveries, keeps them, and works them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use chrono::{SecondsFormat, Utc};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::hooks::keep_looking;
use super::{App, CommandOutcome};
use crate::cli::{UsageError, WebhooksArgs};
use crate::config::Settings;
use crate::mirror::events::{FeedStats, run_feeds};
use crate::queue;
use crate::retry::RetryPolicy;
use crate::store::documents::Documents;
use crate::store::documents::deliveries::ListeningGap;
use crate::store::relational;
use crate::store::relational::leases::process_name;
use crate::store::relational::outbox::FIRST_LIVE_START;
use crate::telemetry::Console;
use crate::webhooks::accounts::MirroredAccounts;
use crate::webhooks::admin::{self, Admin, Check};
use crate::webhooks::inbox::Inbox;
use crate::webhooks::intake::Intake;
use crate::webhooks::metrics::Metrics;
use crate::webhooks::received::ReceivedEvents;
use crate::webhooks::server;
use crate::webhooks::signature::Verifier;
use crate::webhooks::worker::InboxWorker;
use crate::workers::{EventsConfig, RefreshConfig, run_events, run_refreshes};

/// Interval of looks at the lists of mirrored accounts.
const RELOAD_INTERVAL: Duration = Duration::from_secs(5);
/// Repositories that `--process` reads at a time.
const PROCESS_JOBS: u16 = 4;
/// Delay between attempts to open what only the work on deliveries needs.
const OPEN_RETRY_DELAY: Duration = Duration::from_secs(5);

/// Serves until it is stopped. Deliveries are received while the document store is there, whatever else is not.
///
/// # Errors
/// A setting, a list or the document store that can't be used, or an address that is in use.
pub(super) async fn run(mut app: App, args: &WebhooksArgs) -> anyhow::Result<CommandOutcome> {
    app.console = app.console.without_progress();
    let settings = &app.settings.webhooks;
    if settings.secrets.is_empty() && !args.insecure_no_secret {
        let problem = "webhooks.secret is not set: nothing tells GitHub's deliveries from anybody else's; set it (also \
                       GHT_WEBHOOK_SECRET), or pass --insecure-no-secret";
        return Err(UsageError::new(problem).into());
    }
    let accounts = Arc::new(MirroredAccounts::read(&args.orgs, &args.projects)?);
    let documents = Documents::open_inbox(&app.settings.documents.url).await?;
    let listener = bind(args.listen.unwrap_or(settings.listen)).await?;
    let admin_listener = bind(settings.admin_listen).await?;

    let metrics = Arc::<Metrics>::default();
    let started_at = Utc::now();
    let gap = documents.begin_listening(started_at).await?;
    let console = app.console.clone();
    let (inbox, writer) = Inbox::new(documents.clone(), Arc::clone(&metrics), move |line| console.line(line));
    let intake = Arc::new(Intake::new(
        Verifier::new(settings.secrets.clone()),
        Arc::clone(&accounts),
        &settings.ignore,
        inbox.clone(),
        Arc::clone(&metrics),
    ));
    let admin = Arc::new(Admin {
        token: settings.admin_token.clone(),
        hosts: settings.admin_hosts.clone(),
        checks: checks(&app.settings),
        documents: documents.clone(),
        inbox: inbox.clone(),
        intake: Arc::clone(&intake),
        accounts: Arc::clone(&accounts),
        started_at,
        gap,
    });
    announce(&app.console, &listener, &admin_listener, settings.secrets.is_empty(), gap)?;

    // What is received last is stored last: the writer stops after the server, and everything else with the signal.
    let stop_writer = CancellationToken::new();
    let writer = tokio::spawn(writer.run(stop_writer.clone()));
    let stop = &app.shutdown;
    tokio::join!(
        server::serve(admin_listener, admin::routes(admin), Arc::default(), stop.clone()),
        follow_lists(accounts, app.console.clone(), stop.clone()),
        keep_looking(app.child(), &args.orgs, inbox.clone()),
        work(app.clone(), inbox, Arc::clone(&metrics)),
        follow_up(app.child(), args.process),
        async {
            server::serve(listener, server::routes(intake), Arc::clone(&metrics), stop.clone()).await;
            stop_writer.cancel();
        },
    );
    writer.await.context("the inbox's writer failed")?;
    documents.close().await;
    Ok(CommandOutcome::Complete)
}

async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    server::bind(address).await.with_context(|| format!("can't listen on {address}"))
}

/// Says where deliveries are received, and how long nobody did.
fn announce(
    console: &Console,
    listener: &TcpListener,
    admin: &TcpListener,
    is_unsigned: bool,
    gap: Option<ListeningGap>,
) -> anyhow::Result<()> {
    if is_unsigned {
        console.error("warning: without webhooks.secret, deliveries of anybody are accepted");
    }
    if let Some(gap) = gap {
        let time = gap.from.to_rfc3339_opts(SecondsFormat::Secs, true);
        let how = if gap.stopped_cleanly {
            "an orderly stop"
        } else {
            "the last sign of a server that did not stop in order"
        };
        console.line(&format!("nobody received deliveries since {time} ({how})"));
        tracing::info!(from = %gap.from, until = %gap.until, stopped_cleanly = gap.stopped_cleanly, "nobody listened");
    }
    console.line(&format!(
        "receiving deliveries on http://{}/, status on http://{}/",
        listener.local_addr()?,
        admin.local_addr()?
    ));
    Ok(())
}

/// Follows the lists of mirrored accounts. One that can't be read keeps what was known.
async fn follow_lists(accounts: Arc<MirroredAccounts>, console: Console, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(RELOAD_INTERVAL) => {}
            () = stop.cancelled() => return,
        }
        match accounts.reload() {
            Ok(false) => {}
            Ok(true) => tracing::info!(accounts = accounts.len(), "lists of mirrored accounts read again"),
            Err(error) => {
                tracing::error!(%error, "the lists of mirrored accounts stay as they were");
                console.error(&format!("the mirrored accounts stay as they were: {error}"));
            }
        }
    }
}

/// Works deliveries as soon as the stores can be opened.
async fn work(app: App, inbox: Inbox, metrics: Arc<Metrics>) {
    let mut is_reported = false;
    let stores = loop {
        let opened = async {
            let stores = app.stores().await?;
            stores.relational.remember_moment(FIRST_LIVE_START).await?;
            anyhow::Ok(stores)
        };
        match opened.await {
            Ok(stores) => break stores,
            Err(error) => {
                tracing::error!(error = format!("{error:#}"), "deliveries are kept, and worked later");
                if !std::mem::replace(&mut is_reported, true) {
                    app.console.error(&format!("deliveries are kept, and worked later: {error:#}"));
                }
            }
        }
        tokio::select! {
            () = tokio::time::sleep(OPEN_RETRY_DELAY) => {}
            () = app.shutdown.cancelled() => return,
        }
    };
    let keep_days = app.settings.webhooks.keep_days;
    let received = received_events(&app).await;
    let (stop, own) = (app.shutdown.clone(), stores.clone());
    let worker = InboxWorker { stores: own, inbox, metrics, keep_days, received, cancel: stop };
    worker.run().await;
    stores.close().await;
}

/// Returns where received events are reported. Without the queue it is the log: no delivery waits for a report.
async fn received_events(app: &App) -> ReceivedEvents {
    if !app.settings.telemetry.via_queue {
        return ReceivedEvents::Log;
    }
    match app.queue().await {
        Ok(queue) => ReceivedEvents::Queue(queue),
        Err(error) => {
            tracing::warn!(%error, "received events are reported to the log");
            ReceivedEvents::Log
        }
    }
}

/// Pulls the feeds that deliveries announce, publishes their events, and with `process` reads again what deliveries name and
/// processes the queues of events.
/// Begins again after an error: deliveries are received meanwhile.
async fn follow_up(app: App, process: bool) {
    let mut is_reported = false;
    while !app.shutdown.is_cancelled() {
        if let Err(error) = try_follow_up(&app, process).await {
            tracing::error!(error = format!("{error:#}"), "deliveries are kept, and followed up later");
            if !std::mem::replace(&mut is_reported, true) {
                app.console.error(&format!("deliveries are kept, and followed up later: {error:#}"));
            }
        }
        tokio::select! {
            () = tokio::time::sleep(OPEN_RETRY_DELAY) => {}
            () = app.shutdown.cancelled() => {}
        }
    }
}

async fn try_follow_up(app: &App, process: bool) -> anyhow::Result<()> {
    let queue = app.queue().await?;
    let mirror = match app.mirror().await {
        Ok(mirror) => mirror,
        Err(error) => {
            queue.close().await;
            return Err(error);
        }
    };
    let stats = Arc::<FeedStats>::default();
    let feeds = async { run_feeds(&mirror, &queue, &stats, &app.shutdown).await.map_err(anyhow::Error::from) };
    let refreshes = async {
        if !process {
            return Ok(());
        }
        let fork_commits = app.settings.mirror.fork_commits;
        let config = RefreshConfig { jobs: PROCESS_JOBS, drain: false, fork_commits };
        let stats = run_refreshes(mirror.clone(), queue.clone(), config, process_name(), &app.shutdown).await;
        stats.map(drop)
    };
    let events = async {
        if !process {
            return Ok(());
        }
        let (prefetch, attempts) = (app.settings.queue.prefetch, app.settings.queue.attempts);
        let config = EventsConfig { types: Vec::new(), prefetch, drain: false, attempts };
        run_events(&mirror, &queue, &config, &app.console, &app.shutdown).await.map(drop)
    };
    let done = tokio::try_join!(feeds, refreshes, events);
    queue.close().await;
    mirror.close().await;
    done.map(drop)
}

/// Returns the checks of readiness: the tables and the queue. The inbox itself is checked by whoever writes to it.
fn checks(settings: &Settings) -> Vec<(&'static str, Check)> {
    let once = || RetryPolicy::new(Duration::ZERO, |_| {});
    let sql = settings.sql.url.clone();
    let tables: Check = Box::new(move || {
        let (url, policy) = (sql.clone(), once());
        Box::pin(async move {
            let status = relational::inspect(&url, &policy).await.map_err(|error| error.to_string())?;
            Ok(format!("{}: {}", status.product, status.state))
        })
    });
    let settings = settings.queue.clone();
    let queue: Check = Box::new(move || {
        let (settings, policy) = (settings.clone(), once());
        Box::pin(async move {
            let status = queue::inspect(&settings.url, &settings.exchange, &[], &policy)
                .await
                .map_err(|error| error.to_string())?;
            Ok(format!("{}: {}", status.product, status.state))
        })
    });
    vec![("sql", tables), ("queue", queue)]
}
