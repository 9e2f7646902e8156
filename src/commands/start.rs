//! `msght start`: lists every organisation, then retrieves each repository that is due.

use std::time::Instant;

use chrono::{Local, TimeDelta, Utc};
use tokio_util::sync::CancellationToken;

use super::get_repos::{Lists, list};
use super::{Outcome, open_mirror, open_queue, plain_table, print};
use crate::cli::{StartArgs, stages_of};
use crate::config::Settings;
use crate::mirror::{Mirror, Options};
use crate::queue::Route;
use crate::schedule::{Due, Limits, Plan, Report, estimate, work};
use crate::store::relational::leases::process_name;
use crate::telemetry::{Console, Event};

/// What a run over all repositories holds a lease on.
const LEASE: &str = "start";
/// Messages published at a time.
const BATCH: usize = 1000;

/// Lists the organisations and retrieves what is due.
///
/// # Errors
/// What kept it from starting, or ended every repository's work; what fails within one is counted and shown.
pub async fn run(
    settings: Settings,
    args: StartArgs,
    console: Console,
    shutdown: CancellationToken,
) -> anyhow::Result<Outcome> {
    let lists = Lists::read(&args.lists, &console)?;
    let settings = args.lists.tokens.apply(settings, &console);
    let mirror = open_mirror(&settings, &console, &shutdown).await?;
    let process = process_name();
    let outcome = match mirror.stores.relational.lease(LEASE, &process).await? {
        Err(holder) => {
            console.error(&format!(
                "error: another msght start is running on these stores: {holder}; a process that has died gives the \
                 lease free within a minute"
            ));
            Ok(Outcome::Incomplete)
        }
        Ok(lease) => {
            Event::DataCollectionStarting.emit();
            // Whoever loses the lease has lost the stores for long: another run may have begun.
            let run = Mirror { cancel: shutdown.child_token(), ..mirror.clone() };
            let cancel = run.cancel.clone();
            let all = all(&settings, &args, run, lists, &console, &process);
            tokio::pin!(all);
            let outcome = tokio::select! {
                outcome = &mut all => outcome,
                () = lease.lost().cancelled() => {
                    console.error("error: the lease on this run was lost, and another one may have begun: stopping");
                    cancel.cancel();
                    all.await
                }
            };
            lease.release().await?;
            Event::DataCollectionComplete.emit();
            outcome
        }
    };
    mirror.close().await;
    outcome
}

async fn all(
    settings: &Settings,
    args: &StartArgs,
    mirror: Mirror,
    lists: Lists,
    console: &Console,
    process: &str,
) -> anyhow::Result<Outcome> {
    let started = Instant::now();
    let listed = list(settings, &mirror, lists, &args.lists, console, process, args.dry_run).await?;
    let listing = listed.outcome(console);
    let inventory = mirror.stores.relational.inventory().await?;
    let plan = Plan::new(listed.projects.repositories(), &inventory, args.max_age, Utc::now());
    if args.dry_run {
        print(shown(&plan, args, &mirror).await?.as_bytes())?;
        return Ok(listing);
    }
    console.line(&format!("{} repositories are due, {} are fresh enough", plan.due.len(), plan.fresh));
    if args.enqueue {
        enqueue(settings, &plan.due, console, &mirror.cancel).await?;
        return Ok(listing);
    }
    let options = Options { fork_commits: settings.mirror.fork_commits, ..Options::of(stages_of(args.detail)) };
    let limits = Limits::new(args.until, args.max_requests, Local::now());
    let worked = work(&mirror, plan.due, args.jobs, &options, process, limits, console).await?;
    let report = Report { worked, time: started.elapsed() };
    print(report.to_string().as_bytes())?;
    if report.is_done() {
        return Ok(listing);
    }
    console.error(&format!("error: not all repositories are done: {}", report.totals()));
    Ok(Outcome::Incomplete)
}

async fn enqueue(
    settings: &Settings,
    due: &[Due],
    console: &Console,
    shutdown: &CancellationToken,
) -> anyhow::Result<()> {
    let queue = open_queue(settings, console, shutdown).await?;
    queue.declare(&[Route::Projects]).await?;
    for batch in due.chunks(BATCH) {
        let bodies = batch.iter().map(|due| format!("{} {}", due.name.owner(), due.name.name())).collect();
        queue.publish(&Route::Projects, bodies).await?;
    }
    queue.close().await;
    console.line(&format!("{} repositories put on the queue {}", due.len(), Route::Projects.queue()));
    Ok(())
}

/// The plan, for people.
async fn shown(plan: &Plan, args: &StartArgs, mirror: &Mirror) -> anyhow::Result<String> {
    let estimate = estimate(mirror, &plan.due, &stages_of(args.detail)).await?;
    let mut text = plain_table(
        ["repository", "last retrieved", "requests"],
        plan.due
            .iter()
            .zip(&estimate.each)
            .map(|(due, requests)| {
                let last = due.retrieved_at.map_or("never".to_owned(), |at| at.format("%Y-%m-%d %H:%M").to_string());
                [due.name.to_string(), last, requests.to_string()]
            })
            .collect(),
    );
    text.push('\n');
    let rows = estimate.kinds.iter().map(|(kind, requests)| [(*kind).to_owned(), requests.to_string()]).collect();
    text.push_str(&plain_table(["kind", "requests"], rows));
    let total: u64 = estimate.each.iter().sum();
    text.push_str(&format!(
        "\n{} repositories are due, {} are fresh enough; about {total} requests that count\n",
        plan.due.len(),
        plan.fresh
    ));
    let end = Local::now() + TimeDelta::from_std(mirror.github.budget().time_for(total)).unwrap_or(TimeDelta::zero());
    text.push_str(&format!("with the present tokens it would end at about {}\n", end.format("%Y-%m-%d %H:%M")));
    Ok(text)
}
