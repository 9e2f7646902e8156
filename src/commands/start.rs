//! `msght start`: lists every organization, then retrieves each repository that is due.

use std::time::Instant;

use chrono::{Local, TimeDelta, Utc};

use super::get_repos::{InputFiles, list};
use super::output::{counted, plain_table, print};
use super::{App, CommandOutcome};
use crate::cli::{StartArgs, stages_of};
use crate::mirror::{Mirror, Options};
use crate::queue::Route;
use crate::scheduler::{self, DueRepository, Plan, RunReport, StopConditions, estimate};
use crate::store::relational::leases::process_name;
use crate::telemetry::CustomEvent;

/// The lease of a run over all repositories.
const LEASE: &str = "start";
/// Messages published at a time.
const PUBLISH_BATCH: usize = 1000;

/// Lists the organizations and retrieves what is due, under a lease.
///
/// # Errors
/// The reason why it could not start, or a failure that ends all repositories' work; others are counted and shown.
pub(super) async fn run(app: App, args: &StartArgs) -> anyhow::Result<CommandOutcome> {
    let files = InputFiles::read(&app, &args.lists)?;
    let app = app.with_tokens(&args.lists.tokens);
    let mirror = app.mirror().await?;
    let process = process_name();
    let outcome = match mirror.stores.relational.try_lease(LEASE, &process).await? {
        Err(holder) => {
            app.console.error(&format!(
                "error: another msght start is running on these stores: {holder}; the lease of a dead process expires \
                 within a minute"
            ));
            Ok(CommandOutcome::Incomplete)
        }
        Ok(lease) => {
            CustomEvent::DataCollectionStarting.emit();
            // A lost lease means that the stores were away for long: another run may have started.
            let app = app.child();
            let mirror = Mirror { cancel: app.shutdown.clone(), ..mirror.clone() };
            let run = list_and_retrieve(&app, args, mirror, files, &process);
            tokio::pin!(run);
            let outcome = tokio::select! {
                outcome = &mut run => outcome,
                () = lease.lost_token().cancelled() => {
                    app.console.error("error: this run lost its lease, and another one may have started: stopping");
                    app.shutdown.cancel();
                    run.await
                }
            };
            lease.release().await?;
            CustomEvent::DataCollectionComplete.emit();
            outcome
        }
    };
    mirror.close().await;
    outcome
}

async fn list_and_retrieve(
    app: &App,
    args: &StartArgs,
    mirror: Mirror,
    files: InputFiles,
    process: &str,
) -> anyhow::Result<CommandOutcome> {
    let started = Instant::now();
    let listing = list(app, &mirror, files, &args.lists, process, args.dry_run).await?;
    let outcome = listing.outcome(app);
    let inventory = mirror.stores.relational.inventory().await?;
    let plan = Plan::due_stalest_first(listing.projects.repositories(), &inventory, args.max_age, Utc::now());
    if args.dry_run {
        print(&render_plan(&plan, args, &mirror).await?)?;
        return Ok(outcome);
    }
    app.console.line(&summary(&plan));
    if args.enqueue {
        enqueue(app, &plan.due).await?;
        return Ok(outcome);
    }
    let fork_commits = app.settings.mirror.fork_commits;
    let options = Options { fork_commits, ..Options::of(stages_of(args.detail)) };
    let limits = StopConditions::new(args.until, args.max_requests, Local::now());
    let results = scheduler::run(&mirror, plan.due, args.jobs, &options, process, limits, &app.console).await?;
    let report = RunReport { results, time: started.elapsed() };
    print(&report.to_string())?;
    if report.is_done() {
        return Ok(outcome);
    }
    app.console.error(&format!("error: not all repositories are done: {}", report.totals()));
    Ok(CommandOutcome::Incomplete)
}

/// Publishes the due repositories to the queue of `msght retrieve-repos`.
async fn enqueue(app: &App, due: &[DueRepository]) -> anyhow::Result<()> {
    let queue = app.queue().await?;
    queue.declare(&[Route::Projects]).await?;
    for batch in due.chunks(PUBLISH_BATCH) {
        let bodies = batch.iter().map(|due| format!("{} {}", due.name.owner(), due.name.name())).collect();
        queue.publish(&Route::Projects, bodies).await?;
    }
    queue.close().await;
    let published = counted(due.len() as u64, "repository", "repositories");
    app.console.line(&format!("{published} put on the queue {}", Route::Projects.queue()));
    Ok(())
}

/// Returns a line with the numbers of due and fresh repositories.
fn summary(plan: &Plan) -> String {
    let due = counted(plan.due.len() as u64, "repository is", "repositories are");
    format!(
        "{due} due, {} fresh enough",
        if plan.fresh == 1 { "1 is".to_owned() } else { format!("{} are", plan.fresh) }
    )
}

/// Formats the plan, its cost and its estimated end.
async fn render_plan(plan: &Plan, args: &StartArgs, mirror: &Mirror) -> anyhow::Result<String> {
    let estimate = estimate(mirror, &plan.due, &stages_of(args.detail)).await?;
    let row = |(due, requests): (&DueRepository, &u64)| {
        let last = due.retrieved_at.map_or("never".to_owned(), |at| at.format("%Y-%m-%d %H:%M").to_string());
        [due.name.to_string(), last, requests.to_string()]
    };
    let rows = plan.due.iter().zip(&estimate.each).map(row).collect();
    let mut text = plain_table(["repository", "last retrieved", "requests"], rows);
    text.push('\n');
    let rows = estimate.kinds.iter().map(|(kind, requests)| [(*kind).to_owned(), requests.to_string()]).collect();
    text.push_str(&plain_table(["kind", "requests"], rows));
    let total: u64 = estimate.each.iter().sum();
    text.push_str(&format!("\n{}; about {total} requests that count\n", summary(plan)));
    let end = Local::now() + TimeDelta::from_std(mirror.github.budget().time_for(total)).unwrap_or(TimeDelta::zero());
    text.push_str(&format!("with these tokens it would end at about {}\n", end.format("%Y-%m-%d %H:%M")));
    Ok(text)
}
